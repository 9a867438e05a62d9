"""`tfleet convert`: a variant of a SavedModel for one kind of hardware."""

import argparse
import json
import os
import sys
import time
from typing import Any, Callable, Dict, List

HELP = "Build a variant of a SavedModel: TF-TRT on a GPU of the hardware class, TensorFlow Lite or a folded graph for CPUs."

_LINE_SECONDS = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", help="the native SavedModel folder")
    parser.add_argument("dest", metavar="DEST", help="the folder to make; it must not hold anything else")
    parser.add_argument("--variant", choices=("tftrt", "tflite", "grappler"), required=True, help="how to build it")
    add_options(parser)
    parser.add_argument("--time-limit", type=float, default=7200, metavar="SECONDS", help="end the conversion after so long (default: 7200)")
    parser.add_argument("--ignore-memory", action="store_true", help="begin even if the estimate says that memory will not suffice")
    parser.add_argument("--progress-file", metavar="FILE", help="keep a JSON object with phase, engines, elapsed seconds and memory in this file")
    parser.add_argument("--dry-run", action="store_true", help="check everything that needs no TensorFlow, write nothing")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that decide the result; `tfleet plan` has them too."""
    parser.add_argument("--precision", choices=("FP32", "FP16", "INT8"), default="FP32", type=str.upper, help="of the computation (default: FP32)")
    parser.add_argument("--signature", default="serving_default", help="the signature to convert; others are not in the result")
    parser.add_argument("--tags", default="serve", help="comma separated tag set (default: serve)")
    calibration = parser.add_argument_group("INT8")
    calibration.add_argument("--calibration", action="append", default=[], metavar="FILE", help="TFRecord of typical examples; may be repeated")
    calibration.add_argument("--calibration-examples", type=int, default=500, metavar="N", help="use at most so many (default: 500)")
    calibration.add_argument("--calibration-batch", type=int, default=8, metavar="N", help="TF-TRT: so many at once (default: 8)")
    calibration.add_argument("--values", default="0..1", metavar="LOW..HIGH", help="range of float pixels (default: 0..1)")
    tftrt = parser.add_argument_group("TF-TRT")
    tftrt.add_argument("--hardware-class", metavar="CLASS", help="the class of this device, which alone will be able to use the engines")
    tftrt.add_argument("--device-precisions", default="", metavar="LIST", help="what this device's chip can do, such as FP32,FP16")
    tftrt.add_argument("--batch-sizes", default="", metavar="LIST", help="build engines for these, such as 1,4,8 (those of allowed_batch_sizes)")
    tftrt.add_argument("--shape", action="append", default=[], metavar="ALIAS=1x300x300x3", help="build an engine for this shape; may be repeated")
    tftrt.add_argument("--dynamic-shape", action="store_true", help="one engine for a range of shapes, from a profile of those above")
    tftrt.add_argument("--profile-strategy", metavar="NAME", help="Range, Optimal, Range+Optimal or ImplicitBatchModeCompatible")
    tftrt.add_argument("--workspace-bytes", type=int, metavar="N", help="GPU memory that TensorRT may use for trying and running")
    tftrt.add_argument("--minimum-segment-size", type=int, default=3, metavar="N", help="leave smaller parts to TensorFlow (default: 3)")
    tftrt.add_argument("--cached-engines", type=int, metavar="N", help="engines that a segment keeps (default: one for each shape)")
    tftrt.add_argument("--no-build", action="store_true", help="build no engines now: the first requests will")
    tftrt.add_argument("--no-build-at-runtime", action="store_true", help="shapes without an engine run in TensorFlow instead of building one")
    tftrt.add_argument("--gpu-memory-bytes", type=int, metavar="N", help="GPU memory of the conversion (default: what it needs, growing)")


def request_of(kind: str, args: argparse.Namespace) -> Any:
    """The variants.request.Request that the options say. Raises TfleetError."""
    from tfleet.convert.variants import request
    from tfleet.errors import TfleetError
    from tfleet.examples import value_range

    try:
        values = list(value_range(args.values))
    except ValueError:
        raise TfleetError("--values %s cannot be read: write LOW..HIGH, the lower first, such as --values=0..1 or --values=-1..1." % args.values)
    try:
        batch_sizes = [int(part) for part in _listed(args.batch_sizes)]
    except ValueError:
        raise TfleetError("--batch-sizes %s cannot be read: write whole numbers with commas, such as --batch-sizes 1,4,8." % args.batch_sizes)
    return request.new(
        kind,
        args.precision,
        signature=args.signature,
        tags=_listed(args.tags),
        hardware_class=args.hardware_class,
        device_precisions=[part.upper() for part in _listed(args.device_precisions)],
        calibration=args.calibration,
        calibration_examples=args.calibration_examples,
        calibration_batch=args.calibration_batch,
        values=values,
        batch_sizes=batch_sizes,
        shapes=_shapes(args.shape),
        dynamic_shape=args.dynamic_shape,
        profile_strategy=args.profile_strategy,
        workspace_bytes=args.workspace_bytes,
        minimum_segment_size=args.minimum_segment_size,
        cached_engines=args.cached_engines,
        build=not args.no_build,
        build_at_runtime=not args.no_build_at_runtime,
        gpu_memory_bytes=args.gpu_memory_bytes,
    )


def run(args: argparse.Namespace) -> Dict[str, Any]:
    from tfleet.convert.variants.build import convert

    result = convert(
        request_of(args.variant, args), args.source, args.dest, args.time_limit, args.ignore_memory, args.dry_run, _watcher(args.progress_file)
    )
    return dict(result, dry_run=True) if args.dry_run else result


def render(result: Dict[str, Any]) -> str:
    state = ("would be made" if "dry_run" in result else "made") if result["changed"] else "unchanged"
    lines = ["%s  (%s, variant %s)" % (result["dest"], state, result["variant"])]
    if "seconds" in result:
        lines.append("  %.0f s, at most %d MiB of memory" % (result["seconds"], result["peak_bytes"] // 2**20))
    summary = result["summary"]
    if "engines" in summary:
        lines.append("  %d engines with %d operations, %d left to TensorFlow" % (len(summary["engines"]), summary["nodes_taken"], summary["nodes_left"]))
        lines += ["    %s: %d operations, %s" % (engine["name"], engine["nodes"], engine["precision"]) for engine in summary["engines"]]
        lines += ["  left: %d x %s: %s" % (entry["count"], entry["op"], entry["reason"]) for entry in summary["reasons"]]
        lines += ["  " + note for note in summary["notes"]]
    elif "nodes_before" in summary:
        lines.append("  %d operations of %d" % (summary["nodes_after"], summary["nodes_before"]))
    elif "operations" in summary:
        used = "TensorFlow's operations for what TensorFlow Lite lacks" if summary["tensorflow_operations"] else "TensorFlow Lite's own operations"
        lines.append("  %d bytes, %s" % (summary["bytes"], used))
    return "\n".join(lines)


def _watcher(path: Any) -> Callable[[Any], None]:
    """Tells people on stderr at each new phase and every few seconds, and programs in a file."""
    from tfleet import files
    from tfleet.convert.variants import job

    told: Dict[str, Any] = {"phase": None, "done": None, "when": 0.0}

    def watch(progress: Any) -> None:
        new = (progress.phase, progress.done) != (told["phase"], told["done"])
        if not new and time.time() - told["when"] < _LINE_SECONDS:
            return
        told.update(phase=progress.phase, done=progress.done, when=time.time())
        sys.stderr.write("tfleet convert: %s\n" % job.line(progress))
        sys.stderr.flush()
        if path:
            files.atomic_write(os.path.abspath(path), json.dumps(dict(progress._asdict(), line=job.line(progress)), sort_keys=True) + "\n")

    return watch


def _listed(text: str) -> List[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _shapes(texts: List[str]) -> Dict[str, List[List[int]]]:
    from tfleet.convert.variants.request import parse_shape
    from tfleet.errors import TfleetError

    shapes: Dict[str, List[List[int]]] = {}
    for text in texts:
        alias, equals, sizes = text.partition("=")
        try:
            if not (alias and equals):
                raise ValueError
            shapes.setdefault(alias, []).append(parse_shape(sizes))
        except ValueError:
            raise TfleetError("--shape %s: write the input's alias and its sizes, such as --shape images=1x300x300x3." % text)
    return shapes
