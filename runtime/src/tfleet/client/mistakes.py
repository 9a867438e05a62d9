"""What to do next, for the mistakes that everybody makes once: with the right value, or the command that shows it.

Imported only when something has failed.
"""

import re
from typing import Any, Optional

from tfleet.client.answers import describe_signatures
from tfleet.errors import TfleetError

_PROBE_SECONDS = 2.0
_SIZES = re.compile(r"\((\d+) vs\. (\d+)\)|(\d+) bytes exceeds? (\d+)")


def advice(client: Any, call: Any, code: str, details: str) -> Optional[str]:
    """The sentence for a call that failed with a status code, after another look at the server; None if nothing better is known.

    `client` is the Client or RestClient of the call, an answers.Call.
    """
    if _too_large(code, details):
        return message_size(details)
    if code == "NOT_FOUND" and call.what != "GetModelStatus":
        return _not_served(client, call)
    if code == "INVALID_ARGUMENT" and "version label" in details:
        return (
            "The labels of a model stand in the server's model.config, and versions are also asked by their numbers: "
            "tfleet status --address %s --config model.config." % client.address
        )
    if call.what == "Predict" and code in ("INVALID_ARGUMENT", "FAILED_PRECONDITION"):
        return _signatures(client, call)
    return None


def message_size(details: str = "") -> str:
    """For a request or answer that is larger than what the other side takes."""
    found = _SIZES.search(details)
    numbers = [int(number) for number in found.groups() if number] if found else []
    text = "The message is %s, and %s is the most" % tuple(_megabytes(number) for number in numbers[:2]) if numbers else "The message is too large"
    text += " that the server, or a proxy in front of it, takes. Send fewer pictures in a request (--batch-size 1)"
    text += ", smaller ones (--size), or files instead of pixels to a signature that takes image_bytes."
    return text + " The limits are --grpc_channel_arguments=grpc.max_receive_message_length=BYTES of the server, client_max_body_size of nginx."


def wrong_port(address: str, wanted: str) -> str:
    """For an address that speaks the other protocol than `wanted`, which is grpc or rest."""
    host = address.rpartition(":")[0]
    if wanted == "grpc":
        return (
            "%s speaks HTTP: it is the server's REST port or another web server. Use the gRPC port, usually 8500 "
            "(--address %s:8500), or stay with this one by --protocol rest." % (address, host)
        )
    return (
        "%s is not a REST port, perhaps the gRPC port: REST is usually 8501 (--address %s:8501). "
        "Or stay with this one by --protocol grpc." % (address, host)
    )


def _not_served(client: Any, call: Any) -> Optional[str]:
    try:
        rows = client.status(call.model, timeout=min(call.timeout, _PROBE_SECONDS))
    except TfleetError as error:
        if error.result.get("code") != "NOT_FOUND":
            return None
        return (
            "There is no model '%s' on this server; case counts. The protocol has no list of models, but the server's configuration has: "
            "tfleet status --address %s --config model.config." % (call.model, client.address)
        )
    served = ["%d" % row.version for row in rows if row.state == "AVAILABLE"]
    text = "Of model '%s' version %s is served" % (call.model, " and ".join(served)) if served else "No version of model '%s' is served now" % call.model
    return "%s: tfleet status --address %s --model %s shows what became of the others." % (text, client.address, call.model)


def _signatures(client: Any, call: Any) -> Optional[str]:
    try:
        metadata = client.metadata(call.model, call.version, call.label, timeout=min(call.timeout, _PROBE_SECONDS))
    except TfleetError:
        return None
    return "The model's signatures are: %s." % describe_signatures(metadata.signatures)


def _too_large(code: str, details: str) -> bool:
    return code == "RESOURCE_EXHAUSTED" and ("larger than max" in details or "exceed" in details or "413" in details)


def _megabytes(size: int) -> str:
    return "%.1f MB" % (size / 1e6) if size >= 100000 else "%d bytes" % size
