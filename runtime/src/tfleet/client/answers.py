"""What a model server answers, the same over gRPC and REST, and the sentences for when it does not."""

from typing import Any, Dict, List, NamedTuple, Optional

from tfleet.errors import TfleetError

Prediction = NamedTuple(
    "Prediction",
    [
        ("model", str),
        ("version", Optional[int]),  # as the server answered it
        ("signature", str),
        ("outputs", Dict[str, Any]),  # alias -> numpy array
    ],
)

Metadata = NamedTuple(
    "Metadata",
    [
        ("model", str),
        ("version", Optional[int]),
        ("signatures", Dict[str, Any]),  # name -> wire.SignatureDef
    ],
)

VersionStatus = NamedTuple(
    "VersionStatus",
    [
        ("version", int),
        ("state", str),  # START, LOADING, AVAILABLE, UNLOADING or END
        ("error_code", str),  # OK, or why END was reached
        ("error_message", str),
    ],
)

INTERNAL_SIGNATURE = "__saved_model_init_op"
"""TensorFlow 2's initialisation, which servers list among a model's signatures; nobody can call it."""


class Call(object):
    """One request, as an error message describes it."""

    def __init__(
        self,
        what: str,
        address: str,
        model: str = "",
        version: Optional[int] = None,
        label: Optional[str] = None,
        signature: Optional[str] = None,
        timeout: float = 0,
    ) -> None:
        self.what = what
        self.address = address
        self.model = model
        self.version = version
        self.label = label
        self.signature = signature
        self.timeout = timeout

    def __str__(self) -> str:
        words = [self.what]
        if self.model:
            words.append("of model '%s'" % self.model)
            if self.version is not None:
                words.append("(version %d)" % self.version)
            elif self.label:
                words.append("(label '%s')" % self.label)
            elif self.signature is not None:
                words.append("(latest version)")
        if self.signature is not None:
            words.append("by signature '%s'" % (self.signature or "serving_default"))
        words.append("at %s" % self.address)
        return " ".join(words)

    def failure(self, code: str, details: str, next_step: Optional[str] = None) -> TfleetError:
        """The error to raise for a status code by name (NOT_FOUND), the server's message, and what to do about it."""
        details = details.strip()
        message = "%s failed with %s%s" % (self, code, ": " + details if details else "")
        message = message if message.endswith((".", "!", "?")) else message + "."
        return TfleetError(
            "%s %s" % (message, next_step or self._next_step(code, details)),
            code=code,
            details=details,
            address=self.address,
            model=self.model,
            version=self.version,
            label=self.label,
            signature=self.signature,
        )

    def _next_step(self, code: str, details: str) -> str:
        if code == "NOT_FOUND" and self.what == "GetModelStatus":
            return "Check the name: the models are those of the server's model.config."
        if code == "NOT_FOUND":
            return "See which models and versions are served: tfleet status --address %s --model %s." % (
                self.address,
                self.model or "NAME",
            )
        if code == "UNAVAILABLE":
            if "batch" in details and "queue" in details:
                return "The server is overloaded: send fewer requests at once, or raise max_enqueued_batches."
            return "Check the address, and that the model server is running there: its gRPC port is usually 8500, REST 8501."
        if code == "DEADLINE_EXCEEDED":
            return (
                "Within %g s no answer came: the host may be unreachable or the server overloaded. "
                "Check both, or allow more time with --timeout." % self.timeout
            )
        if code == "UNIMPLEMENTED":
            return "The address answers, but not as a TensorFlow model server: check the port."
        if code == "RESOURCE_EXHAUSTED":
            return "The server ran out of memory or takes no more requests: send a smaller batch, or check the server's log."
        if code in ("INVALID_ARGUMENT", "FAILED_PRECONDITION", "OUT_OF_RANGE"):
            return "Correct the request."
        return "Look for the cause in the server's log."


def describe_signatures(signatures: Dict[str, Any]) -> str:
    """`serving_default (images: DT_FLOAT [-1,8,8,1] -> classes: DT_INT64 [-1], scores: DT_FLOAT [-1,10])` for each signature."""
    return "; ".join("%s (%s)" % (name, describe_signature(signatures[name])) for name in sorted(signatures) if name != INTERNAL_SIGNATURE)


def describe_signature(signature: Any) -> str:
    """`images: DT_FLOAT [-1,8,8,1] -> scores: DT_FLOAT [-1,10]`"""
    return "%s -> %s" % (_tensors(signature.inputs), _tensors(signature.outputs))


def shape_of(info: Any) -> Optional[List[int]]:
    """The shape of a wire.TensorInfo with -1 for free dimensions; None if even the rank is unknown."""
    return None if info.tensor_shape.unknown_rank else [dim.size for dim in info.tensor_shape.dim]


def describe_tensor(info: Any) -> str:
    """`DT_FLOAT [-1,8,8,1]` for a wire.TensorInfo."""
    from tfleet.wire import tensors

    shape = shape_of(info)
    form = "of any shape" if shape is None else "[%s]" % ",".join(str(size) for size in shape)
    return "%s %s" % (tensors.dtype_name(info.dtype), form)


def _tensors(infos: Any) -> str:
    return ", ".join("%s: %s" % (alias, describe_tensor(infos[alias])) for alias in sorted(infos)) or "nothing"
