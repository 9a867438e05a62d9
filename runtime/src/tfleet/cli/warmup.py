"""`tfleet warmup`: the requests that a model server runs through a version before it serves it."""

import argparse
import os
from typing import Any, Dict, List

HELP = "Write the warm-up requests of a SavedModel, so that no client waits for the first runs of a version."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="SAVED_MODEL", help="folder of a SavedModel that is not released yet")
    parser.add_argument("--signature", default="", help="default: the golden file's, else serving_default")
    parser.add_argument("--tags", default="serve", help="comma separated tag set (default: serve)")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--golden", metavar="FILE.npz", help="use the inputs of a golden file")
    source.add_argument("--image", nargs="+", metavar="FILE", help="use pictures; floats get pixels from 0 to 1")
    source.add_argument(
        "--input",
        nargs="+",
        action="append",
        metavar="ALIAS=VALUE",
        help='values of one request: FILE.npy, FILE.json, @FILE, - (stdin) or JSON; {"b64": "..."} are bytes',
    )
    source.add_argument("--captured", nargs="+", metavar="FILE", help="TFRecord files of PredictRequest or PredictionLog messages")
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--batch-sizes", type=_sizes, metavar="N,N,…", help="write one record of each size, rows repeated to it")
    sizes.add_argument(
        "--batching-parameters",
        metavar="FILE",
        help="take the sizes from allowed_batch_sizes of this file (default: of the model's own batching_params.pbtxt, if it has one)",
    )
    parser.add_argument("--check", action="store_true", help="load the model and run the requests before they are written")


def run(args: argparse.Namespace) -> Dict[str, Any]:
    """Returns path, file, changed, requests, records, batch_sizes, bytes, checked."""
    from tfleet.convert import framework, warmup
    from tfleet.errors import TfleetError

    framework.load()
    path = os.path.abspath(os.path.expanduser(args.path))
    if not os.path.isdir(path):
        raise TfleetError("There is no folder `%s`. Copy the SavedModel to this host first, or correct the path." % path)
    tags = [tag.strip() for tag in args.tags.split(",") if tag.strip()]
    model = warmup.metadata(path, tags)
    logs = _logs(args, model)
    sizes = args.batch_sizes or _allowed_sizes(args, path)
    if args.check:
        _check(path, tags, warmup.encode(model, logs, sizes))
    return dict(warmup.write(path, model, logs, sizes), checked=args.check)


def render(result: Dict[str, Any]) -> str:
    """One line for people."""
    sizes = ", batch sizes %s" % ", ".join(map(str, result["batch_sizes"])) if result["batch_sizes"] else ""
    return "%s  (%s, %d record%s%s, %d bytes%s)" % (
        result["file"],
        "written" if result["changed"] else "unchanged",
        result["records"],
        "" if result["records"] == 1 else "s",
        sizes,
        result["bytes"],
        ", checked" if result["checked"] else "",
    )


def _logs(args: argparse.Namespace, model: Any) -> List[Any]:
    from tfleet.client import golden, inputs
    from tfleet.convert import warmup

    if args.captured:
        return [log for path in args.captured for log in warmup.captured(model, path)]
    if args.golden:
        recorded = golden.read(args.golden)
        name = args.signature or recorded.meta.get("signature_name") or ""
        return warmup.of_arrays(model, name, [sent for sent, _expected in recorded.examples])
    signature = inputs.signature_of(model, args.signature)
    if args.input:
        examples = [inputs.from_options([option for group in args.input for option in group], signature)]
    else:
        examples = [inputs.from_image(path, signature)[0] for path in args.image]
    return warmup.of_arrays(model, args.signature, examples)


def _allowed_sizes(args: argparse.Namespace, path: str) -> List[int]:
    from tfleet import wire
    from tfleet.errors import TfleetError
    from tfleet.server import config
    from tfleet.server.status import StatusError

    own = os.path.join(path, "batching_params.pbtxt")
    file = args.batching_parameters or (own if os.path.exists(own) else "")
    if not file:
        return []
    try:
        parameters = config.read(file, wire.BatchingParameters())
        config.check_batching(parameters)
    except StatusError as error:
        raise TfleetError("The batching parameters %s cannot be used: %s." % (file, error.message))
    if args.batching_parameters and not parameters.allowed_batch_sizes:
        raise TfleetError("%s has no allowed_batch_sizes: a batch may have any size. Choose some with --batch-sizes." % file)
    return list(parameters.allowed_batch_sizes)


def _check(path: str, tags: List[str], records: List[bytes]) -> None:
    """Runs the records through the model. Raises TfleetError with the answer that would fail the version's load."""
    from tfleet.errors import TfleetError
    from tfleet.server import executor, warmup
    from tfleet.server.lifecycle import Harness
    from tfleet.server.metrics import Metrics
    from tfleet.server.status import StatusError

    harness = Harness("", 0, path)
    what = "it cannot be loaded"
    try:
        harness.servable = executor.load(path, tags, executor.SessionOptions())
        for number, record in enumerate(records):
            what = "record %d fails" % number
            warmup.replay_record(Metrics(), harness, record, 1)
    except StatusError as error:
        raise TfleetError("Nothing was written, because a model server would refuse `%s` for it: %s: %s." % (path, what, error))
    finally:
        if harness.servable is not None:
            harness.servable.close()


def _sizes(text: str) -> List[int]:
    sizes = sorted({int(part) for part in text.split(",")})
    if not sizes or sizes[0] < 1:
        raise argparse.ArgumentTypeError("batch sizes are positive")
    return sizes
