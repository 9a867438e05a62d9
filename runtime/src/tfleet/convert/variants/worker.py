"""The child process of a conversion: everything that touches TensorFlow. `build` starts it and reads what it says.

A JSON object comes on standard input; lines that begin with `tfleet ` go out: {"phase": …, "done", "total"} as it goes on, and
last {"result": …} or {"error": sentence}. Whatever native code prints goes elsewhere.
"""

import importlib
import json
import os
import platform
import sys
from typing import Any, Callable, Dict

# Where the parent listens. `serve` moves it away from standard output, on which native code prints.
_OUT = [1]


def say(**content: Any) -> None:
    """One line for the parent."""
    os.write(_OUT[0], ("tfleet " + json.dumps(content, sort_keys=True) + "\n").encode("utf-8"))


def report(phase: str, done: int = 0, total: int = 0) -> None:
    """How far it is."""
    say(phase=phase, done=done, total=total)


def main() -> int:
    """Convert what standard input asks for. Returns the exit status."""
    return serve(_convert)


def serve(work: Callable[[Dict[str, Any]], Dict[str, Any]]) -> int:
    """Read a task, do it, and say what came of it. Returns the exit status."""
    _die_with_parent()
    task = json.load(sys.stdin)
    _OUT[0] = os.dup(1)
    os.dup2(2, 1)
    from tfleet.errors import TfleetError

    try:
        say(result=work(task))
    except TfleetError as error:
        say(error=str(error), result=error.result)
        return 1
    except MemoryError:
        say(error="", memory=True)
        return 1
    except Exception as error:  # noqa: BLE001 (whatever TensorFlow raises must reach a person as a sentence)
        name = type(error).__name__
        text = " ".join(str(error).split())
        say(error="TensorFlow could not convert the model: %s: %s" % (name, text[:800]), memory=name == "ResourceExhaustedError", kind=name)
        return 1
    return 0


def _convert(task: Dict[str, Any]) -> Dict[str, Any]:
    from tfleet.convert import framework
    from tfleet.convert.variants import frozen
    from tfleet.convert.variants.request import Request

    request = Request(**task["request"])
    report("loading TensorFlow")
    variant = importlib.import_module("tfleet.convert.variants." + request.kind)
    tf = variant.load(request) if hasattr(variant, "load") else framework.load()
    signature = frozen.signature_of(task["source"], request.tags, request.signature)
    summary = variant.convert(tf, task["source"], task["built"], request, signature, report)
    return {
        "summary": summary,
        "signatures": _described(tf, request.signature, signature),
        "versions": {"tensorflow": tf.__version__, "python": platform.python_version()},
    }


def _described(tf: Any, name: str, signature: Any) -> Dict[str, Any]:
    from tensorflow.core.protobuf import meta_graph_pb2

    from tfleet.convert import saved_model

    meta = meta_graph_pb2.MetaGraphDef()
    meta.signature_def[name].CopyFrom(signature)
    return saved_model.describe_signatures(tf, meta)


def _die_with_parent() -> None:
    """A parent that is killed must not leave hours of work on a device behind."""
    import ctypes

    try:
        ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
    except (OSError, AttributeError):
        pass  # another kernel than Linux


if __name__ == "__main__":
    sys.exit(main())
