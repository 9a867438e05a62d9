"""`tfleet config check|import`: the model server's configuration files, without starting a server."""

from typing import Any, Dict

HELP = "check or import a model server's configuration files"


def add_arguments(parser: Any) -> None:
    """Adds the subcommands check and import."""
    from tfleet.server.config_check import KINDS

    commands = parser.add_subparsers(dest="action", metavar="check|import")
    commands.required = True
    check = commands.add_parser("check", help="check a file by the server's own rules")
    check.add_argument("--kind", choices=sorted(KINDS), default="model", help="what the file is (default: %(default)s)")
    check.add_argument("file")
    bring = commands.add_parser("import", help="turn a hand-written model.config into inventory variables")
    bring.add_argument("file")


def run(args: Any) -> Dict[str, Any]:
    """Answers the models in inventory form, with warnings (check) or notes (import). Raises TfleetError."""
    from tfleet.server import config_check

    if args.action == "import":
        imported = config_check.import_models(args.file)
        return {"ok": True, "models": imported.models, "notes": imported.notes}
    checked = config_check.check(args.kind, args.file)
    return {"ok": True, "kind": args.kind, "file": args.file, "models": checked.models, "warnings": checked.warnings}


def render(result: Dict[str, Any]) -> str:
    """YAML to paste for an import; a sentence for a check."""
    from tfleet.server.config_check import yaml_text

    if "notes" in result:
        return yaml_text(result["models"], result["notes"])
    lines = ["%s is a valid %s configuration" % (result["file"], result["kind"])]
    if result["models"]:
        lines[0] += ": " + ", ".join(model["name"] for model in result["models"])
    return "\n".join(lines + ["warning: " + warning for warning in result["warnings"]])
