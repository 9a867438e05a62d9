"""`tfleet export`: a SavedModel with declared signatures."""

import argparse
import sys
from typing import Any, Dict

HELP = "Make a SavedModel from a frozen graph, SavedModel, Keras file, or checkpoint with its meta graph, or an archive or URL of one."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", help="path, or http, https or file URL, of a model or an archive (.tar, .tar.gz, .zip) with one")
    parser.add_argument("dest", metavar="DEST", help="the SavedModel folder to make; it must not hold anything else")
    parser.add_argument("--kind", choices=("auto", "frozen_graph", "saved_model", "keras", "checkpoint"), default="auto", help="what the source is")
    parser.add_argument("--checksum", metavar="sha256:HEX", help="SHA-256 of the source; required for a URL")
    parser.add_argument(
        "--signatures",
        metavar="JSON|@FILE|-",
        help='signatures by tensor names: {"serving_default": {"inputs": {"images": "image:0"}, "outputs": {"scores": "scores:0"}}}',
    )
    parser.add_argument("--tags", default="serve", help="comma separated tag set (default: serve)")
    parser.add_argument("--input", action="append", metavar="ALIAS=TENSOR:0", help="an input of the one signature; may be repeated")
    parser.add_argument("--output", action="append", metavar="ALIAS=TENSOR:0", help="an output of the one signature; may be repeated")
    parser.add_argument("--signature-name", default="serving_default", help="name of the signature that --input and --output declare")
    parser.add_argument(
        "--device", choices=("keep", "clear", "cpu", "gpu"), default="keep", help="device strings of the nodes: as they are, none, CPU:0 or GPU:0"
    )
    parser.add_argument(
        "--batch",
        choices=("keep", "free", "loop"),
        default="keep",
        help="first dimension of the inputs: as it is; a fixed one set free; or a loop that runs the graph for each row",
    )
    parser.add_argument("--image-bytes", metavar="INPUT", help="let this input take encoded pictures (JPEG, PNG, GIF) as image_bytes instead of pixels")
    parser.add_argument(
        "--pixel-values", type=_range, default=(0.0, 1.0), metavar="LOW..HIGH", help="with --image-bytes, what pixels become in floats (default: 0..1)"
    )
    parser.add_argument("--dry-run", action="store_true", help="read and check everything, write nothing")


def run(args: argparse.Namespace) -> Dict[str, Any]:
    from tfleet.convert import signatures
    from tfleet.convert.export import export
    from tfleet.errors import TfleetError

    declared = signatures.from_options(args.signature_name, args.input, args.output)
    if args.signatures:
        if declared:
            raise TfleetError("Give either --signatures or --input and --output, not both.")
        declared = signatures.from_text(*_text(args.signatures))
    tags = [tag.strip() for tag in args.tags.split(",") if tag.strip()]
    result = export(
        args.source,
        args.dest,
        args.kind,
        args.checksum,
        declared,
        tags,
        args.dry_run,
        device=args.device,
        batch=args.batch,
        image_bytes=args.image_bytes,
        pixel_values=args.pixel_values,
    )
    return dict(result, dry_run=True) if args.dry_run else result


def render(result: Dict[str, Any]) -> str:
    from tfleet.convert.inspect import signature_lines
    from tfleet.convert.lint import rules

    state = ("would be made" if "dry_run" in result else "made") if result["changed"] else "unchanged"
    lines = ["%s  (%s, from a source of kind %s, %d files, %d bytes)" % (result["dest"], state, result["kind"], result["files"], result["bytes"])]
    for name, signature in sorted(result["signatures"].items()):
        lines += signature_lines(name, signature)
    return "\n".join(lines + rules.render(result["warnings"]))


def _range(text: str) -> Any:
    """--pixel-values=-1..1 as (-1.0, 1.0)."""
    low, dots, high = text.partition("..")
    if not dots or float(low) >= float(high):
        raise argparse.ArgumentTypeError("write LOW..HIGH, such as 0..1 or -1..1, not %r" % text)
    return float(low), float(high)


def _text(value: str) -> Any:
    """`(text, where it is from)` of an option that takes inline JSON, @FILE or - for standard input."""
    from tfleet.errors import TfleetError

    if value == "-":
        return sys.stdin.read(), "standard input"
    if not value.startswith("@"):
        return value, "--signatures"
    try:
        with open(value[1:], encoding="utf-8") as stream:
            return stream.read(), value[1:]
    except (OSError, UnicodeDecodeError) as error:
        raise TfleetError("The signatures file %s cannot be read: %s." % (value[1:], getattr(error, "strerror", None) or error))
