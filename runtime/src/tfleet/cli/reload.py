"""`tfleet reload`: gives a running model server another model.config."""

import argparse
from typing import Any, Dict

HELP = "Give a running model server another model.config; returns when its new models are loaded."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--address", default="127.0.0.1:8500", help="host:port of the server (default: %(default)s)")
    parser.add_argument("--config", required=True, metavar="FILE", help="model.config in text format")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds to wait for the new models (default: %(default)g)")


def run(args: argparse.Namespace) -> Dict[str, Any]:
    """Returns {"address", "models": [names]}. Raises TfleetError with the file's mistake or the server's own error."""
    config = read_config(args.config)

    from tfleet.client.grpc_client import Client

    with Client(args.address, args.timeout) as client:
        client.reload(config)
    return {"address": args.address, "models": [model.name for model in config.model_config_list.config]}


def render(result: Dict[str, Any]) -> str:
    """One line."""
    return "%s now serves: %s" % (result["address"], ", ".join(result["models"]) or "no model")


def read_config(path: str) -> Any:
    """A wire.ModelServerConfig from a text-format file. Raises TfleetError with the line and column of a mistake."""
    from google.protobuf import text_format

    from tfleet import files, wire
    from tfleet.errors import TfleetError

    try:
        with open(path, "rb") as stream:
            text = stream.read().decode("utf-8")
        return text_format.Parse(text, wire.ModelServerConfig(), descriptor_pool=wire.POOL)
    except OSError as error:
        raise TfleetError("Could not read %s: %s." % (path, files.reason(error)))
    except UnicodeDecodeError:
        raise TfleetError("%s is not text in UTF-8." % path)
    except text_format.ParseError as error:
        raise TfleetError("%s is not a model.config: %s. See: tfleet config check --kind model %s" % (path, str(error).rstrip("."), path))
