"""`tfleet golden`: records what a build answers, for every later build to be held to."""

import argparse
import os
from typing import Any, Dict

from tfleet.cli import asking

HELP = "Record inputs and outputs of a reference build in a golden file, which tfleet predict and tfleet parity compare with."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", help=asking.BUILD)
    parser.add_argument("golden_file", metavar="GOLDEN.npz", help="the file to write")
    asking.add_arguments(parser, required=True)
    asking.add_amounts(parser)
    parser.add_argument("--model", help="name of the model (default: from the source's name)")
    parser.add_argument("--label-map", metavar="FILE", help="class names to keep in it: JSON, one name a line, or an Object Detection pbtxt")
    parser.add_argument(
        "--tolerance",
        action="append",
        default=[],
        metavar="OUTPUT=ABS[,REL]",
        help="what another build's numbers may differ by (default: 1e-4,1e-3; whole numbers and texts are to be equal)",
    )


def run(args: argparse.Namespace) -> Dict[str, Any]:
    """Returns golden, changed, model, signature, examples, rows, outputs, tolerance, seconds, bytes."""
    from tfleet.measure import builds, recording

    tolerance = recording.tolerances(args.tolerance)
    recorded = asking.golden_of(args)
    labels = asking.labels_of(args, recorded)
    make = asking.source_of(args, recorded, args.batch_size, args.examples)
    meta: Dict[str, Any] = {"model": args.model or _name(args.source)}
    if labels:
        meta["labels"] = {str(number): name for number, name in labels.items()}
    path = os.path.abspath(os.path.expanduser(args.golden_file))
    with builds.open_build(args.source, asking.signature_of(args, recorded), args.timeout) as build:
        result = recording.record(build, make(build.signature), path, meta, tolerance)
    return dict(result, model=meta["model"])


def render(result: Dict[str, Any]) -> str:
    """One line for people."""
    return "%s  (%s: %d examples, %d rows of model %s, signature %s, %d bytes)" % (
        result["golden"],
        "written" if result["changed"] else "unchanged",
        result["examples"],
        result["rows"],
        result["model"],
        result["signature"],
        result["bytes"],
    )


def _name(source: str) -> str:
    """`digits` of /srv/models/digits/2 and of grpc://host:8500/digits/2."""
    from tfleet.measure import builds

    address = builds.served(source)
    if address:
        return address.model
    path = os.path.abspath(os.path.expanduser(source))
    parent, name = os.path.split(path)
    return os.path.basename(parent) if name.isdigit() and os.path.basename(parent) else os.path.splitext(name)[0]
