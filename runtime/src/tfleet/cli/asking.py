"""What the commands that ask a model share: options by which requests are chosen, golden files, class names. Not a command."""

import argparse
from typing import Any, Callable, Dict, Optional

BUILD = "a SavedModel folder, a folder or file of TensorFlow Lite, or grpc://host:port/model[/version|/label]"


def add_arguments(parser: argparse.ArgumentParser, required: bool, random_rows: Optional[int] = None) -> None:
    """The sources of requests, of which one is chosen, and how they are put together."""
    parser.add_argument("--signature", default="", help="default: the golden file's, else serving_default")
    source = parser.add_mutually_exclusive_group(required=required)
    source.add_argument("--golden", metavar="FILE.npz", help="ask the inputs of a golden file")
    source.add_argument("--tfrecord", nargs="+", metavar="FILE", help="ask labelled Examples: files, names of shards, or folders of them")
    source.add_argument("--image", nargs="+", metavar="FILE", help="ask pictures")
    source.add_argument("--random", type=positive, metavar="ROWS", help="ask seeded random rows%s" % (" (default: %d)" % random_rows if random_rows else ""))
    parser.add_argument("--values", default="0..1", metavar="LOW..HIGH", help="range of a picture's numbers for a float input (default: %(default)s)")
    parser.add_argument("--timeout", type=seconds, default=60.0, metavar="S", help="for each answer of a server (default: %(default)g)")


def add_amounts(parser: argparse.ArgumentParser) -> None:
    """How many requests, and how many at once."""
    parser.add_argument("--examples", type=positive, metavar="N", help="at most so many")
    parser.add_argument("--batch-size", type=positive, default=16, metavar="N", help="rows at once, where the model takes any number (default: %(default)d)")


def golden_of(args: argparse.Namespace) -> Any:
    """The golden.Golden of --golden, None without it."""
    if not args.golden:
        return None
    from tfleet.client import golden

    return golden.read(args.golden)


def signature_of(args: argparse.Namespace, recorded: Any) -> str:
    """The name of the signature to call."""
    return str(args.signature or (recorded.meta.get("signature_name") if recorded else None) or "")


def source_of(args: argparse.Namespace, recorded: Any, batch_size: int, limit: Optional[int] = None) -> Callable[[Any], Any]:
    """A function that makes the requests.Source for a signature. Raises TfleetError."""
    values = value_range(args.values)

    def make(signature: Any) -> Any:
        from tfleet.measure import builds, requests

        if recorded is not None:
            return requests.of_golden(recorded, builds.rows_are_free(signature), batch_size, limit)
        if args.tfrecord:
            return requests.of_tfrecord(args.tfrecord, signature, batch_size, limit, values)
        if args.image:
            return requests.of_images(args.image, signature, batch_size, limit, values)
        return requests.of_random(signature, args.random, batch_size)

    return make


def labels_of(args: argparse.Namespace, recorded: Any) -> Dict[int, str]:
    """Class names by number, of --label-map or of the golden file."""
    from tfleet.client import label_map
    from tfleet.errors import TfleetError

    if args.label_map:
        return label_map.load(args.label_map)
    names = recorded.meta.get("labels") if recorded else None
    try:
        return label_map.from_json(names) if names else {}
    except ValueError as error:
        raise TfleetError("The labels in %s cannot be used: %s." % (args.golden, error))


def positive(text: str) -> int:
    """A whole number, 1 or more."""
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError("'%s' is not a whole number, 1 or more" % text)
    return int(text)


def seconds(text: str) -> float:
    """A duration, in whatever unit its option has: a number greater than 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError("'%s' is not a number greater than 0" % text)
    return value


def value_range(text: str) -> Any:
    """LOW..HIGH of --values as two numbers. Raises TfleetError."""
    from tfleet.errors import TfleetError
    from tfleet.examples import value_range

    try:
        return value_range(text)
    except ValueError as error:
        raise TfleetError("--values: %s." % error)
