"""`tfleet benchmark`: how fast builds of a model are, in-process or served."""

import argparse
import os
from typing import Any, Dict, List

from tfleet.cli import asking

HELP = "Measure builds of a model against each other, in-process or over gRPC, and conclude only what the noise allows."

_RANDOM_REQUESTS = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("builds", nargs="+", metavar="[NAME=]BUILD", help=asking.BUILD + "; the others are compared with the first")
    parser.add_argument("--served", action="store_true", help="serve folders for the time, each by a server of its own on the loopback, and measure over gRPC")
    asking.add_arguments(parser, required=False, random_rows=_RANDOM_REQUESTS)
    parser.add_argument("--batch-sizes", type=_whole, default=[1], metavar="N,N,…", help="rows of a request (default: 1)")
    parser.add_argument("--rounds", type=asking.positive, default=10, metavar="N", help="turns of each build; their spread decides (default: %(default)d)")
    parser.add_argument("--window", type=asking.seconds, default=2.0, metavar="S", help="how long a turn is (default: %(default)g)")
    parser.add_argument("--warmup", type=asking.positive, default=10, metavar="N", help="runs before the first turn, in-process (default: %(default)d)")
    load = parser.add_mutually_exclusive_group()
    load.add_argument("--concurrency", type=_whole, metavar="N,N,…", help="served: clients that each wait for their answer (default: 1)")
    load.add_argument("--rate", type=_rates, metavar="R,R,…", help="served: requests a second, sent whether answers come or not")
    parser.add_argument("--batching", choices=("off", "on", "both", "search"), default="off", help="batching of the servers of --served (default: %(default)s)")
    parser.add_argument("--batching-parameters", metavar="FILE", help="for --batching on and both")
    parser.add_argument("--latency-target-ms", type=asking.seconds, metavar="MS", help="for --batching search: what --percentile is to stay within")
    parser.add_argument("--percentile", type=_percentile, default=99.0, metavar="P", help="default: %(default)g")
    parser.add_argument("--server", metavar="COMMAND", help="another server with TensorFlow Serving's flags for --served (default: tfleet serve)")
    parser.add_argument("--margin", type=_share, default=0.05, metavar="SHARE", help="faster means: by so much at least (default: %(default)g)")
    parser.add_argument("--csv", metavar="FILE", help="write the results as a table")
    parser.add_argument("--plot", metavar="FILE.svg", help="write the speed bars")
    for name in ("proc", "sys", "etc", "var"):
        parser.add_argument("--%s-root" % name, default="/" + name, metavar="DIR", help="where the host's /%s is (default: /%s)" % (name, name))


def run(args: argparse.Namespace) -> Dict[str, Any]:
    """Returns the dict of the CLI contract. What is slower, or undecided, is a result and no failure."""
    from tfleet.measure import chart, conditions, inprocess, reporting

    named = _named(args.builds)
    recorded = asking.golden_of(args)
    if not (args.golden or args.tfrecord or args.image or args.random):
        args.random = _RANDOM_REQUESTS
    plan = inprocess.Plan(args.rounds, args.window, args.warmup, args.margin)
    served = args.served or any(one.source.startswith("grpc://") for one in named)
    _check(args, named, served)
    machine = conditions.Conditions(conditions.Roots(args.proc_root, args.sys_root, args.etc_root, args.var_root))
    signature = asking.signature_of(args, recorded)

    def source(found: Any, rows: int) -> Any:
        if args.random:
            from tfleet.measure import requests

            return requests.of_random(found, args.random * rows, rows)
        return asking.source_of(args, recorded, rows)(found)

    if not served:
        result = inprocess.measure(named, signature, args.batch_sizes, source, plan)
    elif args.batching == "search":
        result = _search(args, named[0], signature, source, plan)
    else:
        result = _served(args, named, signature, source, plan)
    notes = result.pop("notes", [])
    told = machine.report()
    told["notes"] = told["notes"] + notes
    result.update(mode="served" if served else "inprocess", signature=signature or "serving_default", margin=args.margin, rounds=args.rounds, conditions=told)
    result["chart"] = chart.bars(result["results"], result["comparisons"])
    reporting.write(result, args.csv, args.plot)
    return result


def render(result: Dict[str, Any]) -> str:
    """A table for people."""
    from tfleet.measure import reporting

    return reporting.table(result)


def _served(args: argparse.Namespace, named: List[Any], signature: str, source: Any, plan: Any) -> Dict[str, Any]:
    from tfleet.measure import served

    settings = [
        served.Setting(size, None, rate) if args.rate else served.Setting(size, clients, None)
        for size in args.batch_sizes
        for rate, clients in ([(rate, None) for rate in args.rate] if args.rate else [(None, clients) for clients in args.concurrency or [1]])
    ]
    running: List[Any] = []
    try:
        for one in named:
            running += _serving(args, one)
        for found in running:
            if found.server:
                found.server.wait()
        return served.measure(running, signature, settings, source, plan, args.timeout)
    finally:
        for found in running:
            if found.server:
                found.server.close()


def _serving(args: argparse.Namespace, one: Any) -> List[Any]:
    """The servers of a build: its own address, or a server of ours without batching, with it, or both."""
    import shlex

    from tfleet.measure import batching_search, builds, served, servers

    address = builds.served(one.source)
    if address:
        return [served.Served(one.name, one.source, address, None)]
    started = []
    for batching in {"off": [False], "on": [True], "both": [False, True]}[args.batching]:
        text = None
        if batching:
            given = args.batching_parameters
            text = _read(given) if given else batching_search.default(max(args.concurrency or [1]), max(args.batch_sizes))
        server = servers.Server(one.source, text, shlex.split(args.server or ""))
        name = one.name + " (batching)" if batching and args.batching == "both" else one.name
        started.append(served.Served(name, one.source, server.address, server))
    return started


def _search(args: argparse.Namespace, one: Any, signature: str, source: Any, plan: Any) -> Dict[str, Any]:
    import shlex

    from tfleet.measure import batching_search, served

    setting = served.Setting(args.batch_sizes[0], max(args.concurrency or [8]), None)
    search = batching_search.Search(one, signature, setting, source, plan, args.timeout, shlex.split(args.server or ""))
    found = search.run(batching_search.Target(args.latency_target_ms, args.percentile))
    builds = [{"name": one.name, "source": one.source, "memory_mb": None}]
    return {"results": found.pop("results"), "comparisons": found.pop("comparisons"), "summary": [], "builds": builds, "batching": found}


def _check(args: argparse.Namespace, named: List[Any], served: bool) -> None:
    from tfleet.errors import TfleetError

    if not served and (args.concurrency or args.rate or args.batching != "off"):
        raise TfleetError("--concurrency, --rate and --batching are for servers: name builds as grpc://host:port/model, or add --served.")
    remote = [one for one in named if one.source.startswith("grpc://")]
    if remote and args.batching != "off":
        raise TfleetError("--batching starts servers of its own: give folders with --served. A running server's batching is what it was started with.")
    if args.batching == "search" and (not args.latency_target_ms or len(named) > 1 or args.rate):
        raise TfleetError("--batching search takes one build, --latency-target-ms, and --concurrency, not --rate.")
    if args.batching_parameters and args.batching not in ("on", "both"):
        raise TfleetError("--batching-parameters is for --batching on or both.")


def _named(texts: List[str]) -> List[Any]:
    """Builds by name: `tflite=/srv/work/tflite`, or the last part of the path."""
    from tfleet.errors import TfleetError
    from tfleet.measure import inprocess

    found: List[Any] = []
    for text in texts:
        name, equals, source = text.partition("=")
        if not equals or "/" in name:
            name, source = "/".join(text.rstrip("/").split("/")[-2:]), text
        if any(one.name == name for one in found):
            raise TfleetError("Two builds are named '%s': name them as NAME=BUILD." % name)
        found.append(inprocess.Named(name, source))
    return found


def _read(path: str) -> str:
    from tfleet import files
    from tfleet.errors import TfleetError

    try:
        with open(os.path.expanduser(path), encoding="utf-8") as stream:
            return stream.read()
    except (OSError, UnicodeDecodeError) as error:
        raise TfleetError("The batching parameters %s cannot be read: %s." % (path, files.reason(error) if isinstance(error, OSError) else error))


def _whole(text: str) -> List[int]:
    return [asking.positive(part) for part in text.split(",")]


def _rates(text: str) -> List[float]:
    return [asking.seconds(part) for part in text.split(",")]


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 10:
        raise argparse.ArgumentTypeError("'%s' is not a share such as 0.05" % text)
    return value


def _percentile(text: str) -> float:
    value = asking.seconds(text)
    if value >= 100:
        raise argparse.ArgumentTypeError("'%s' is not a percentile below 100" % text)
    return value
