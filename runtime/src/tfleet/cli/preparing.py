"""Options that say how pictures are prepared and raw boxes are read; they change what a declaration says. Not a command."""

import argparse
from typing import Any, Dict, Tuple

from tfleet.cli import asking


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The declaration, and an option for each thing in it that one tries out."""
    how = parser.add_argument_group("how pictures are prepared and raw boxes are read")
    how.add_argument("--declaration", metavar="FILE.json", help="what the signature does not say; the options below change it (docs/client.md)")
    how.add_argument("--size", type=_size, metavar="HEIGHTxWIDTH", help="where the model takes any size")
    how.add_argument("--letterbox", action="store_true", help="keep the proportions and fill up with grey; boxes are mapped back")
    how.add_argument("--values", metavar="LOW..HIGH", help="range of a picture's numbers for a float input (default: 0..1)")
    how.add_argument("--mean", type=_numbers, metavar="A,B,C", help="subtracted from each channel, in the range of --values")
    how.add_argument("--std", type=_numbers, metavar="A,B,C", help="then each channel is divided by it")
    how.add_argument("--bgr", action="store_true", help="blue first, as models from OpenCV and Caffe want it")
    how.add_argument("--nms", choices=("hard", "linear", "gaussian"), help="non-maximum suppression of raw boxes; the last two are soft")
    how.add_argument("--iou", type=_share, metavar="X", help="overlap from which it suppresses (default: 0.5)")
    how.add_argument("--sigma", type=asking.seconds, metavar="X", help="of gaussian suppression (default: 0.5)")
    how.add_argument("--class-agnostic", action="store_true", help="objects of different classes suppress each other too")


def declaration_of(args: argparse.Namespace) -> Any:
    """The declaration.Declaration of --declaration, changed by the options. Raises TfleetError."""
    from tfleet.client import boxes, declaration, preprocessing
    from tfleet.errors import TfleetError

    found = declaration.load(args.declaration) if args.declaration else declaration.DEFAULT
    change: Dict[str, Any] = {name: getattr(args, name) for name in ("size", "mean", "std") if getattr(args, name)}
    if args.values:
        change["values"] = asking.value_range(args.values)
    if args.letterbox:
        change["fit"] = preprocessing.LETTERBOX
    if args.bgr:
        change["colours"] = preprocessing.BGR
    suppress: Dict[str, Any] = {name: getattr(args, name) for name in ("iou", "sigma") if getattr(args, name) is not None}
    if args.nms:
        suppress["method"] = args.nms
    if args.class_agnostic:
        suppress["classes"] = boxes.AGNOSTIC
    if suppress and found.decoder is None:
        raise TfleetError(
            '--nms, --iou, --sigma and --class-agnostic are for raw boxes. Say which outputs those are: --declaration \'{"decoder": {"kind": "boxes", …}}\'.'
        )
    return found._replace(preprocessing=found.preprocessing._replace(**change), suppression=found.suppression._replace(**suppress))


def _size(text: str) -> Tuple[int, int]:
    height, _, width = text.lower().partition("x")
    if not (height.isdigit() and width.isdigit() and int(height) and int(width)):
        raise argparse.ArgumentTypeError("'%s' is not HEIGHTxWIDTH, such as 480x640" % text)
    return int(height), int(width)


def _numbers(text: str) -> Tuple[float, ...]:
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError("'%s' is not one number, or one for each channel, such as 103.9,116.8,123.7" % text)


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError("'%s' is not a number from 0 to 1" % text)
    return value
