"""`tfleet lint`: what in a graph spoils serving."""

import argparse
from typing import Any, Dict

HELP = (
    "Warn of what spoils serving: dropout or batch norm in training mode, random operations, Python functions, hard-wired devices, "
    "a fixed batch, int64 inputs, variables without a value."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", help="a SavedModel folder, or a graph file (.pb, .pbtxt)")
    parser.add_argument("--tags", default="serve", help="comma separated tag set of the SavedModel (default: serve)")
    parser.add_argument("--strict", action="store_true", help="fail if there is a warning")


def run(args: argparse.Namespace) -> Dict[str, Any]:
    """Returns path, kind, warnings [{code, nodes, count, text, advice}]."""
    from tfleet.convert.lint import lint, rules

    result = lint(args.path, [tag.strip() for tag in args.tags.split(",") if tag.strip()])
    if args.strict and result["warnings"]:
        result.update(ok=False, msg="\n".join(["%s has %d warning(s):" % (result["path"], len(result["warnings"]))] + rules.render(result["warnings"])))
    return result


def render(result: Dict[str, Any]) -> str:
    """Lines for people."""
    from tfleet.convert.lint import rules

    return "\n".join(rules.render(result["warnings"]) or ["%s  (no warnings)" % result["path"]])
