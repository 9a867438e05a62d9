"""`tfleet parity`: how far two builds of a model are apart."""

import argparse
import os
from typing import Any, Dict, List

from tfleet.cli import asking

HELP = "Compare two builds or servers of a model, output by output, and say whether one may stand in for the other."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("reference", metavar="A", help="what is right: %s, or a golden file with recorded answers" % asking.BUILD)
    parser.add_argument("candidate", metavar="B", help="what is judged: " + asking.BUILD)
    asking.add_arguments(parser, required=False)
    asking.add_amounts(parser)
    parser.add_argument("--thresholds", metavar="JSON|@FILE", help='{"outputs": {"scores": {"mean_abs": 0.01, "top1": 0.99}}, "detection": {"matched": 0.95}}')
    parser.add_argument("--top-k", type=asking.positive, default=5, metavar="K", help="default: %(default)d")
    parser.add_argument("--label-map", metavar="FILE", help="class names: JSON, one name a line, or an Object Detection pbtxt")
    parser.add_argument("--worst", type=asking.positive, default=4, metavar="N", help="how many of the worst rows to tell (default: %(default)d)")
    parser.add_argument("--picture", metavar="OUT.png", help="write the worst rows, if they are pictures, as both builds see them, side by side")


def run(args: argparse.Namespace) -> Dict[str, Any]:
    """Returns the dict of the CLI contract; `ok` and `holds` are false with `msg` if the builds differ by more than the thresholds."""
    from tfleet.errors import TfleetError
    from tfleet.measure import builds, parity, thresholds

    limits = thresholds.check(_thresholds(args.thresholds))
    recorded = asking.golden_of(args)
    reference: Any = None
    if args.reference.endswith(".npz"):
        if args.golden or args.tfrecord or args.image or args.random:
            raise TfleetError("%s brings its own inputs: leave out --golden, --tfrecord, --image and --random." % args.reference)
        args.golden = args.reference
        reference = recorded = asking.golden_of(args)
    elif not (args.golden or args.tfrecord or args.image or args.random):
        raise TfleetError("Say what to ask both builds: --golden, --tfrecord, --image or --random.")
    signature = asking.signature_of(args, recorded)
    labels = asking.labels_of(args, recorded)

    def opener(source: str) -> Any:
        return lambda: builds.open_build(source, signature, args.timeout)

    found = parity.compare(
        reference or opener(args.reference),
        opener(args.candidate),
        asking.source_of(args, recorded, args.batch_size, args.examples),
        limits,
        args.top_k,
        args.worst,
        {name: number for number, name in labels.items()},
    )
    min_score = limits["detection"]["min_score"]
    result = dict(found.result, reference=args.reference, candidate=args.candidate, signature=signature or "serving_default")
    result["worst"] = parity.readings(found.worst, labels, min_score)
    result["picture"] = _draw(args, found.worst, labels, min_score)
    result["ok"] = result["holds"]
    if not result["holds"]:
        result["msg"] = "%s and %s are not the same model any more: %s" % (args.reference, args.candidate, " ".join(result["problems"]))
    return result


def render(result: Dict[str, Any]) -> str:
    """A table of the outputs, for people."""
    lines = [
        "%s and %s agree on %d rows (signature %s, batches of %d)"
        % (result["reference"], result["candidate"], result["rows"], result["signature"], result["batch_size"]),
        "%-28s %10s %10s %10s %10s %8s %8s %8s" % ("output", "max abs", "mean abs", "max rel", "mean rel", "equal", "top-1", "top-k"),
    ]
    for alias, found in sorted(result["outputs"].items()):
        errors = ["%.3g" % found[name] for name in ("max_abs", "mean_abs", "max_rel", "mean_rel")]
        shares = ["-" if found[name] is None else "%.2f %%" % (100 * found[name]) for name in ("equal", "top1", "topk")]
        lines.append("%-28s %10s %10s %10s %10s %8s %8s %8s" % tuple([alias] + errors + shares))
    lines += _more(result)
    return "\n".join(lines)


def _more(result: Dict[str, Any]) -> List[str]:
    lines = []
    found = result["detection"]
    if found:
        lines.append("objects: %d and %d; matched %.1f %% at IoU %g, of these %s with the same class" % (
            found["reference"], found["candidate"], 100 * found["matched"], found["min_iou"],
            "-" if found["classes"] is None else "%.1f %%" % (100 * found["classes"])))  # fmt: skip
    for name in ("accuracy", "map"):
        if result[name]:
            lines.append("%s: %.4f and %.4f" % (name, result[name]["reference"], result[name]["candidate"]))
    if result["worst"]:
        lines.append("worst: %s" % ", ".join("%s (%s)" % (row["name"], row["output"]) for row in result["worst"]))
    if result["picture"]:
        lines.append("picture: %s" % result["picture"])
    return lines


def _draw(args: argparse.Namespace, rows: Any, labels: Dict[int, str], min_score: float) -> Any:
    if not args.picture or not rows:
        return None
    from tfleet.errors import TfleetError

    try:
        from tfleet.measure import worst
    except ImportError:
        raise TfleetError("--picture needs Pillow, which this environment lacks: pip install 'Pillow>=8.4'.")
    path = os.path.abspath(os.path.expanduser(args.picture))
    return path if worst.draw(path, rows, (_title("reference", args.reference), _title("candidate", args.candidate)), labels, min_score) else None


def _title(which: str, source: str) -> str:
    return "%s: %s" % (which, "/".join(source.rstrip("/").split("/")[-2:]))


def _thresholds(text: Any) -> Any:
    import json

    from tfleet import files
    from tfleet.errors import TfleetError

    if not text:
        return {}
    if text.startswith("@"):
        return files.read_json(text[1:])
    try:
        return json.loads(text)
    except ValueError as error:
        raise TfleetError("The thresholds are not JSON: %s." % error)
