"""GetModelMetadata: the signatures of a loaded version."""
from typing import Any

from .. import wire
from .core import ServerCore
from .status import invalid_argument

_FIELD = "signature_def"


def model_metadata(core: ServerCore, request: Any) -> Any:
    """Answers a GetModelMetadataRequest. Raises StatusError."""
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    if not request.metadata_field:
        raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
    for field in request.metadata_field:
        if field != _FIELD:
            raise invalid_argument("Metadata field %s is not supported" % field)
    with core.use(request.model_spec) as harness:
        signatures = wire.SignatureDefMap()
        for name, signature in harness.servable.signatures.items():
            signatures.signature_def[name].CopyFrom(signature)
        response = wire.GetModelMetadataResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = harness.version
        packed = response.metadata[_FIELD]
        packed.type_url = "type.googleapis.com/" + wire.SignatureDefMap.DESCRIPTOR.full_name
        packed.value = signatures.SerializeToString(deterministic=True)
        return response
