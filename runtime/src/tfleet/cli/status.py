"""`tfleet status`: which versions a model server serves, and waiting for a version to become available."""

import argparse
import time
from typing import Any, Dict, List, Tuple

HELP = "Show the versions that a model server serves, or wait until it serves the wanted ones."

_POLL_SECONDS = 0.2
# A version that failed and was put back stays END in the server's list until its next look at the disk (1 s by default).
_GRACE_SECONDS = 3.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--address", default="127.0.0.1:8500", help="host:port of the server (default: %(default)s)")
    parser.add_argument("--config", metavar="FILE", help="the server's model.config: shows its models and their labels")
    parser.add_argument("--model", nargs="+", default=[], action="append", metavar="NAME", help="models to show")
    parser.add_argument("--signatures", action="store_true", help="show the inputs and outputs of the newest version of each model too")
    parser.add_argument(
        "--wait", nargs="+", default=[], action="append", type=_wanted, metavar="MODEL=VERSION", help="wait until AVAILABLE"
    )
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds to wait, or for an answer (default: %(default)g)")


def run(args: argparse.Namespace) -> Dict[str, Any]:
    """Returns {"address", "models": {name: {"versions": [...], "labels": {...}}}}. Raises TfleetError."""
    from tfleet.client.grpc_client import Client
    from tfleet.errors import TfleetError

    wanted = [pair for group in args.wait for pair in group]
    named = [name for group in args.model for name in group] + [name for name, _ in wanted]
    labels = _labels(args.config) if args.config else {}
    names = list(dict.fromkeys(named + list(labels)))
    if not names:
        raise TfleetError("The protocol has no list of models: name them with --model, or give the server's --config.")
    with Client(args.address, args.timeout) as client:
        deadline = time.monotonic() + args.timeout
        if wanted:
            _wait(client, wanted, deadline, args.timeout)
        models = {}
        for name in names:
            try:
                versions = [row._asdict() for row in client.status(name, timeout=max(1.0, deadline - time.monotonic()))]
            except TfleetError as error:
                # A configured model without a version on disk is a state to show; a misspelt name is a mistake.
                if error.result.get("code") != "NOT_FOUND" or name in named:
                    raise
                versions = []
            models[name] = {"versions": versions, "labels": labels.get(name, {})}
            if args.signatures:
                models[name]["signatures"] = _signatures(client, name, versions)
    return {"address": args.address, "models": models}


def render(result: Dict[str, Any]) -> str:
    """A line for each version."""
    lines = []
    for name, model in sorted(result["models"].items()):
        for row in model["versions"]:
            labels = sorted(label for label, version in model["labels"].items() if version == row["version"])
            line = "%s  %d  %s" % (name, row["version"], row["state"])
            line += "  (%s)" % ", ".join(labels) if labels else ""
            line += "  %s: %s" % (row["error_code"], row["error_message"]) if row["error_code"] != "OK" else ""
            lines.append(line)
        if not model["versions"]:
            lines.append("%s  no version" % name)
        lines += ["  %s (%s)" % pair for pair in sorted(model.get("signatures", {}).items())]
    return "\n".join(lines)


def _signatures(client: Any, name: str, versions: List[Dict[str, Any]]) -> Dict[str, str]:
    """`inputs -> outputs` by the name of the signature; empty if no version is served."""
    from tfleet.client.answers import INTERNAL_SIGNATURE, describe_signature

    if not any(row["state"] == "AVAILABLE" for row in versions):
        return {}
    found = client.metadata(name).signatures
    return {signature: describe_signature(found[signature]) for signature in found if signature != INTERNAL_SIGNATURE}


def _wait(client: Any, wanted: List[Tuple[str, int]], deadline: float, timeout: float) -> None:
    """Returns when all (model, version) are AVAILABLE. Raises TfleetError when one failed to load, or at the deadline."""
    from tfleet.errors import TfleetError

    begin = time.monotonic()
    waiting = list(wanted)
    while True:
        now = time.monotonic()
        states = []
        for name, version in list(waiting):
            try:
                row = client.status(name, version, timeout=min(5.0, max(0.5, deadline - now)))[0]
            except TfleetError as error:
                if error.result.get("code") not in ("NOT_FOUND", "UNAVAILABLE", "DEADLINE_EXCEEDED"):
                    raise
                states.append(str(error))
                continue
            if row.state == "AVAILABLE":
                waiting.remove((name, version))
                continue
            reason = ": %s: %s" % (row.error_code, row.error_message) if row.error_code != "OK" else ""
            states.append("Version %d of model '%s' is in state %s%s." % (version, name, row.state, reason))
            if row.state == "END" and reason and now - begin >= _GRACE_SECONDS:
                raise TfleetError(
                    "Version %d of model '%s' failed to load at %s%s. Correct the version and release it under a new number; "
                    "the version served before keeps answering." % (version, name, client.address, reason),
                    model=name,
                    version=version,
                    state=row.state,
                    error_code=row.error_code,
                    error_message=row.error_message,
                )
        if not waiting:
            return
        if now >= deadline:
            raise TfleetError(
                "Not available at %s after %g s: %s. %s Look into the server's log, or allow more time with --timeout."
                % (client.address, timeout, ", ".join("%s=%d" % pair for pair in waiting), " ".join(states))
            )
        time.sleep(min(_POLL_SECONDS, max(0.0, deadline - now)))


def _labels(path: str) -> Dict[str, Dict[str, int]]:
    from tfleet.cli.reload import read_config

    config = read_config(path)
    return {model.name: dict(model.version_labels) for model in config.model_config_list.config}


def _wanted(text: str) -> Tuple[str, int]:
    name, equals, version = text.rpartition("=")
    if not name or not equals or not version.isdigit():
        raise argparse.ArgumentTypeError("'%s' is not MODEL=VERSION" % text)
    return name, int(version)
