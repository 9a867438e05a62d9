"""`tfleet plan`: what TF-TRT would take of a SavedModel, on any machine."""

import argparse
from typing import Any, Dict

HELP = "Estimate, without a GPU and without TensorRT, what TF-TRT would take of a SavedModel, what stays and why."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from tfleet.cli import convert

    parser.add_argument("source", metavar="SOURCE", help="the native SavedModel folder")
    convert.add_options(parser)
    parser.add_argument("--time-limit", type=float, default=600, metavar="SECONDS", help="end the planning after so long (default: 600)")


def run(args: argparse.Namespace) -> Dict[str, Any]:
    from tfleet.cli import convert
    from tfleet.convert.plan.estimate import plan

    # A plan is for no particular device, and INT8 segments are the same whatever the calibration data.
    args.hardware_class = args.hardware_class or "planned"
    request = convert.request_of("tftrt", args) if args.precision != "INT8" or args.calibration else _uncalibrated(args)
    return plan(request, args.source, args.time_limit)


def _uncalibrated(args: argparse.Namespace) -> Any:
    from tfleet.cli import convert

    precision, args.precision = args.precision, "FP32"
    return convert.request_of("tftrt", args)._replace(precision=precision)


def render(result: Dict[str, Any]) -> str:
    from tfleet.convert.plan.estimate import render as text

    return text(result)
