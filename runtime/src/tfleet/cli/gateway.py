"""`tfleet gateway`: a web page and a JSON API for pictures in front of model servers."""

import argparse
from typing import Any, Dict

HELP = "Serve a web page and a JSON API that ask model servers about pictures."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", required=True, metavar="FILE.json", help="its settings: docs/gateway.md")
    parser.add_argument("--check", action="store_true", help="only check the settings")


def run(args: argparse.Namespace) -> Dict[str, Any]:
    """Serves until it is told to end. Returns the dict of the CLI contract; raises TfleetError."""
    from tfleet.errors import TfleetError
    from tfleet.gateway import settings

    loaded = settings.load(args.config)
    result = {"config": args.config, "listen": settings.address_text(loaded.listen), "models": [model.name for model in loaded.models]}
    if loaded.token_file:
        from tfleet.gateway.access import Tokens

        Tokens(loaded.token_file)
    if args.check:
        return result
    try:
        from tfleet.gateway import serving
    except ImportError as error:
        raise TfleetError("The gateway needs %s, which this environment lacks: pip install 'tfleet[gateway]'." % (error.name or error))
    serving.run(loaded)
    return result


def render(result: Dict[str, Any]) -> str:
    """One line."""
    return "%s: %s at %s" % (result["config"], ", ".join(result["models"]), result["listen"])
