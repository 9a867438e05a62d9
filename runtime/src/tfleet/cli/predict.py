"""`tfleet predict`: sends golden examples, pictures or values to a model server and judges the answers."""

import argparse
import time
from typing import Any, Dict, List, NamedTuple, Optional

from tfleet.cli import asking, pictures, preparing

HELP = "Send requests to a model server and check the answers: golden examples, pictures, or values."

_TIMED_REQUESTS = 6
"""With a latency budget, at least so many requests are sent: the first one also pays for the connection."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--address", default="127.0.0.1:8500", help="host:port of the server (default: %(default)s)")
    parser.add_argument("--model", required=True, help="name of the model")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--version", type=_version, help="exact version (default: the latest)")
    which.add_argument("--label", help="version label, such as stable")
    parser.add_argument("--signature", default="", help="default: the golden file's, else serving_default")
    parser.add_argument("--timeout", type=asking.seconds, default=10.0, help="seconds for each request (default: %(default)g)")
    parser.add_argument("--protocol", choices=("grpc", "rest"), default="grpc", help="default: %(default)s")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--golden", metavar="FILE.npz", help="recorded inputs and outputs to compare with")
    source.add_argument("--image", nargs="+", metavar="PATH", help="pictures; or folders and patterns ('scenes/*.jpg'), which are sent in batches")
    source.add_argument("--camera", metavar="NUMBER|URL", help="frames of a camera or a video file (needs OpenCV)")
    source.add_argument(
        "--input",
        nargs="+",
        action="append",
        metavar="ALIAS=VALUE",
        help='values of one request: FILE.npy, FILE.json, @FILE, - (stdin) or JSON; {"b64": "..."} are bytes',
    )
    parser.add_argument("--latency-budget-ms", type=asking.seconds, metavar="MS", help="fail if the median answer takes longer")
    parser.add_argument("--annotate", metavar="OUT", help="write pictures with boxes, masks, labels and scores: OUT.png, or a folder for many")
    parser.add_argument("--label-map", metavar="FILE", help="class names: JSON, one name a line, or an Object Detection pbtxt")
    parser.add_argument("--min-score", type=float, default=0.5, help="hide objects below this score (default: %(default)g)")
    parser.add_argument("--top-k", type=asking.positive, default=3, metavar="N", help="best classes to tell of each picture (default: %(default)d)")
    preparing.add_arguments(parser)
    pictures.add_arguments(parser)


_Request = NamedTuple(
    "_Request",
    [("name", str), ("inputs", Dict[str, Any]), ("expected", Optional[Dict[str, Any]]), ("prepared", Any)],
)


def run(args: argparse.Namespace) -> Dict[str, Any]:
    """Returns the dict of the CLI contract; `ok` is false with `msg` for a wrong answer, version or latency."""
    from tfleet import client
    from tfleet.client import results, samples

    golden = asking.golden_of(args)
    labels = asking.labels_of(args, golden)
    with client.connect(args.address, args.protocol, args.timeout) as server:
        model = pictures.model_of(args, server, labels)
        if model is not None and pictures.are_many(args):
            return pictures.run(args, model)
        requests = _requests(args, golden, server, model)
        signature = asking.signature_of(args, golden)
        answers, latencies = _send(args, server, requests, signature)
    first = answers[0]
    recorded = [(request.name, answer.outputs, request.expected) for request, answer in zip(requests, answers) if request.expected is not None]
    if model is not None:
        answers = [pictures.decoded(model, request.prepared, answer) for request, answer in zip(requests, answers)]
        labels = model.labels
    result: Dict[str, Any] = {
        "model": first.model,
        "version": first.version,
        "label": args.label,
        "signature": first.signature,
        "address": args.address,
        "requests": len(latencies),
        "latency_ms": _latency(latencies),
        "worst_error": None,
        "outputs": results.short(first.outputs),
        "predictions": _predictions(args, requests, answers, labels),
        "samples": samples.shortened(recorded),
        "picture": None,
    }
    if args.annotate:
        _annotate(args, requests, answers, labels)
        result["picture"] = args.annotate
    problems = _judge(args, golden, answers, result)
    result["ok"] = not problems
    if problems:
        result["msg"] = " ".join(problems)
    return result


def render(result: Dict[str, Any]) -> str:
    """A few lines for people."""
    if "images" in result:
        return pictures.render(result)
    latency = result["latency_ms"]
    lines = [
        "%s version %s answered %d request%s at %s (signature %s)"
        % (
            result["model"],
            result["version"],
            result["requests"],
            "" if result["requests"] == 1 else "s",
            result["address"],
            result["signature"],
        ),
        "latency: first %.1f ms, median %.1f ms, 90%% %.1f ms, max %.1f ms"
        % (latency["first"], latency["p50"], latency["p90"], latency["max"]),
    ]
    worst = result["worst_error"]
    if worst:
        lines.append("golden: within tolerance; worst is output '%(output)s' of example %(example)s, abs %(abs)s, rel %(rel)s" % worst)
    for prediction in result["predictions"]:
        lines += _prediction_lines(prediction)
    if not result["predictions"]:
        for alias, output in sorted(result["outputs"].items()):
            lines.append("%s: %s %s %s" % (alias, output["dtype"], output["shape"], output["values"]))
    if result["picture"]:
        lines.append("picture: %s" % result["picture"])
    return "\n".join(lines)


def _prediction_lines(prediction: Dict[str, Any]) -> List[str]:
    name = prediction["request"] + (", row %d" % prediction["row"] if prediction["row"] else "")
    if "detections" not in prediction:
        return ["%s: %s (%.1f %%)" % (name, prediction["label"], 100 * (prediction["score"] or 0))]
    found = prediction["detections"]
    lines = ["%s: %d object%s" % (name, len(found), "" if len(found) == 1 else "s")]
    for item in found:
        lines.append("  %s (%.1f %%) at ymin, xmin, ymax, xmax %s" % (item["label"], 100 * item["score"], item["box"]))
    return lines


def _requests(args: argparse.Namespace, golden: Any, client: Any, model: Any) -> List[_Request]:
    if golden:
        return [_Request("example %d" % i, sent, expected, None) for i, (sent, expected) in enumerate(golden.examples)]
    if model is not None:
        prepared = [model.prepare(path) for path in args.image]
        return [_Request(one.name, one.arrays, None, one) for one in prepared]
    from tfleet.client import inputs

    signature = inputs.signature_of(client.metadata(args.model, args.version, args.label), args.signature)
    options = [option for group in args.input for option in group]
    return [_Request("request", inputs.from_options(options, signature), None, None)]


def _send(args: argparse.Namespace, client: Any, requests: List[_Request], signature: str) -> Any:
    count = max(len(requests), _TIMED_REQUESTS if args.latency_budget_ms else 0)
    answers, latencies = [], []
    for index in range(count):
        begin = time.perf_counter()
        answer = client.predict(args.model, requests[index % len(requests)].inputs, args.version, args.label, signature)
        latencies.append(1000 * (time.perf_counter() - begin))
        # Repetitions serve the latency alone.
        if index < len(requests):
            answers.append(answer)
    return answers, latencies


def _latency(latencies: List[float]) -> Dict[str, float]:
    """Milliseconds. The first request is apart because it also pays for the connection."""
    steady = sorted(latencies[1:] or latencies)
    middle = len(steady) // 2
    median = steady[middle] if len(steady) % 2 else (steady[middle - 1] + steady[middle]) / 2
    values = {"first": latencies[0], "p50": median, "p90": steady[int(0.9 * (len(steady) - 1) + 0.5)], "max": max(latencies)}
    return {name: round(value, 3) for name, value in values.items()}


def _predictions(
    args: argparse.Namespace, requests: List[_Request], answers: List[Any], labels: Dict[int, str]
) -> List[Dict[str, Any]]:
    """What the model saw: each row of each request; of golden examples the first row, beside what was expected."""
    from tfleet.client import results

    predictions: List[Dict[str, Any]] = []
    for request, answer in zip(requests, answers):
        rows = results.read(answer.outputs, labels, args.min_score, args.top_k)
        if request.expected is not None:
            expected = results.read(request.expected, labels, args.min_score)
            rows = [dict(row, expected=best.get("label")) for row, best in zip(rows[:1], expected)]
        predictions += [dict(row, request=request.name, row=place) for place, row in enumerate(rows)]
    return predictions


def _annotate(args: argparse.Namespace, requests: List[_Request], answers: List[Any], labels: Dict[int, str]) -> None:
    from tfleet.errors import TfleetError

    try:
        from tfleet.client import pictures as drawn
    except ImportError:
        raise TfleetError("--annotate needs Pillow, which this environment lacks: pip install 'Pillow>=8.4'.")
    shown = []
    for request, answer in zip(requests, answers):
        images = [request.prepared.picture] if request.prepared is not None else drawn.images_in(request.inputs)
        for row, image in enumerate(images):
            shown.append(drawn.Shown(image, row, answer.outputs, request.expected))
    drawn.annotate(args.annotate, shown, labels, args.min_score)


def _judge(args: argparse.Namespace, golden: Any, answers: List[Any], result: Dict[str, Any]) -> List[str]:
    """Sentences for what is not as it should be; fills in worst_error."""
    problems = []
    where = "model '%s' at %s" % (args.model, args.address)
    wrong = sorted({str(answer.version) for answer in answers if args.version is not None and answer.version != args.version})
    if wrong:
        problems.append("Version %d of %s was asked for, but version %s answered." % (args.version, where, ", ".join(wrong)))
    if golden:
        from tfleet.client import golden as goldens

        comparison = goldens.compare(golden, [answer.outputs for answer in answers])
        result["worst_error"] = comparison.worst
        if not comparison.ok:
            problems.append(
                "The answers of version %s of %s differ from %s by more than its tolerance: %s "
                "Check that the version is a build of the model that the golden file was recorded from."
                % (result["version"], where, args.golden, " ".join(comparison.problems))
            )
    median = result["latency_ms"]["p50"]
    if args.latency_budget_ms and median > args.latency_budget_ms:
        problems.append(
            "The median answer of %s took %.1f ms, more than the budget of %g ms. Find out what loads the device, or raise the budget."
            % (where, median, args.latency_budget_ms)
        )
    return problems


def _version(text: str) -> int:
    if not text.isdigit() or int(text) >= 2 ** 63:
        raise argparse.ArgumentTypeError("'%s' is not a version: a whole number, 0 or more" % text)
    return int(text)
