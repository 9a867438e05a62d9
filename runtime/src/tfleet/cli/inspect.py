"""`tfleet inspect`: signatures, tensors and operations of a SavedModel or a frozen graph."""

import argparse
from typing import Any, Dict

HELP = "Show signatures, dtypes, shapes and operations of a SavedModel, or candidate inputs and outputs of a frozen graph."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", help="a SavedModel folder, or a graph file (.pb, .pbtxt)")


def run(args: argparse.Namespace) -> Dict[str, Any]:
    from tfleet.convert.inspect import inspect

    return inspect(args.path)


def render(result: Dict[str, Any]) -> str:
    from tfleet.convert.inspect import render as text

    return text(result)
