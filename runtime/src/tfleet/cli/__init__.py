"""The command `tfleet`: finds the command's module, runs it, and prints its result for people or, with --json, for programs.

A command is a module of this package with HELP, add_arguments(parser), run(args) -> dict and, where the text for people is not
simply `key: value` lines, render(result) -> str. Only the module of the command that was asked for is imported, because
`tfleet predict` has a budget of 0.3 s.
"""

import contextlib
import importlib
import json
import os
import sys
from typing import Any, Dict, Iterator, List, Optional

from tfleet import __version__

COMMANDS = {
    "export": "build a SavedModel from a frozen graph, a SavedModel or a Keras file",
    "lint": "warn of what in a graph spoils serving",
    "inspect": "show signatures, tensors and ops of a SavedModel or a frozen graph",
    "convert": "build a TF-TRT, TensorFlow Lite or folded variant of a SavedModel",
    "plan": "estimate, without a GPU, what TF-TRT would take of a SavedModel",
    "tfrecord": "write, read and check TFRecord files of labelled pictures",
    "warmup": "write the requests that a model server runs before it serves a version",
    "serve": "serve models with TensorFlow Serving's flags, files and protocol",
    "predict": "send requests to a model server and check the answers",
    "golden": "record what a build answers, for every later build to be held to",
    "parity": "compare two builds or servers of a model",
    "benchmark": "measure how fast builds of a model are, in-process or served",
    "status": "show, or wait for, the versions that a model server serves",
    "config": "check or import a model server's configuration files",
    "gateway": "serve a web page and a JSON API for pictures in front of model servers",
    "reload": "give a running model server another model.config",
    "probe": "show TensorFlow's version, its GPUs, and whether TensorRT can be used",
}

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


def main(argv: Optional[List[str]] = None) -> int:
    """Runs one command. Returns 0, 1 for a failure that was explained, 2 for wrong usage."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        sys.stdout.write(_overview())
        return OK if arguments else USAGE
    if arguments[0] == "--version":
        sys.stdout.write("tfleet %s\n" % __version__)
        return OK
    name = arguments.pop(0)
    if name not in COMMANDS:
        sys.stderr.write("tfleet: there is no command %r. Commands: %s.\n" % (name, ", ".join(COMMANDS)))
        return USAGE
    if name == "serve":
        # TensorFlow Serving's flags (--name=value, unknown ones are only reported) are not argparse's grammar.
        from tfleet.cli import serve

        return int(serve.run_raw(arguments))
    return _run(name, arguments)


def _overview() -> str:
    width = max(len(name) for name in COMMANDS)
    lines = ["usage: tfleet COMMAND ...", "       tfleet COMMAND --help", "       tfleet --version", "", "commands:"]
    lines += ["  %s  %s" % (name.ljust(width), COMMANDS[name]) for name in COMMANDS]
    return "\n".join(lines) + "\n"


def _run(name: str, arguments: List[str]) -> int:
    import argparse

    from tfleet.errors import TfleetError

    command: Any = importlib.import_module("tfleet.cli." + name)
    parser = argparse.ArgumentParser(prog="tfleet " + name, description=command.HELP)
    command.add_arguments(parser)
    # A command with subcommands takes --json on either side of the subcommand's name.
    as_json = "--json" in arguments
    arguments = [argument for argument in arguments if argument != "--json"]
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else; logs go to stderr")
    try:
        args = parser.parse_args(arguments)
    except SystemExit as end:
        return int(end.code or OK)
    args.json = as_json
    try:
        with _stdout_kept_clean() if as_json else _unchanged():
            result: Dict[str, Any] = command.run(args)
    except TfleetError as error:
        result = dict(error.result, ok=False, msg=str(error))
    except KeyboardInterrupt:
        sys.stderr.write("tfleet %s: interrupted.\n" % name)
        return INTERRUPTED
    result.setdefault("ok", True)
    _show(result, as_json, getattr(command, "render", _plain))
    return OK if result["ok"] else FAILED


def _show(result: Dict[str, Any], as_json: bool, render: Any) -> None:
    try:
        if as_json:
            sys.stdout.write(json.dumps(result, sort_keys=True, default=_plain_value) + "\n")
        elif result["ok"]:
            text = render(result)
            sys.stdout.write(text if not text or text.endswith("\n") else text + "\n")
        else:
            sys.stderr.write("tfleet: %s\n" % result["msg"])
        sys.stdout.flush()
    except BrokenPipeError:  # `tfleet ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _plain_value(value: Any) -> Any:
    """numpy scalars and arrays, bytes: for json."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError("%r has no form in JSON" % type(value))


def _plain(result: Dict[str, Any]) -> str:
    return "\n".join(
        "%s: %s" % (key, value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=_plain_value))
        for key, value in result.items()
    )


@contextlib.contextmanager
def _unchanged() -> Iterator[None]:
    yield


@contextlib.contextmanager
def _stdout_kept_clean() -> Iterator[None]:
    """Sends what native code and libraries print on stdout to stderr, so that stdout holds the JSON object alone."""
    sys.stdout.flush()
    saved = os.dup(1)
    os.dup2(2, 1)
    try:
        # sys.stdout may be another stream than file descriptor 1, if main() was called from Python.
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)
