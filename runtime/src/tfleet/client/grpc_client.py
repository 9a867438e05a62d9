"""The gRPC client: one method for each call that a fleet needs, without TensorFlow and without generated stubs."""

import re
from typing import Any, Dict, List, Optional, Sequence

import grpc

from tfleet import wire
from tfleet.client.answers import Call, Metadata, Prediction, VersionStatus
from tfleet.errors import TfleetError

# A model server is addressed directly: gRPC would send even 127.0.0.1 through the proxy of http_proxy. The other limits
# are gRPC's own 4 MiB for received messages, which a batch of pictures exceeds.
OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
)
_PROBE_SECONDS = 2.0


class Client(object):
    """Talks to one model server. Connects at the first call; use it as a context manager, or close() it.

    `address` is host:port or unix:/path. `timeout` is in seconds and applies to each call. `credentials` is a
    grpc.ChannelCredentials for servers started with --ssl_config_file. All methods raise TfleetError; its `result` has code
    (the name of the gRPC status code), details (the server's message), address, model, version, label and signature.
    """

    def __init__(self, address: str, timeout: float = 10.0, credentials: Any = None) -> None:
        self.address = check_address(address)
        self.timeout = timeout
        if credentials is None:
            self._channel = grpc.insecure_channel(self.address, options=OPTIONS)
        else:
            self._channel = grpc.secure_channel(self.address, credentials, options=OPTIONS)
        self._methods: Dict[str, Any] = {}

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *unused: Any) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection."""
        self._channel.close()

    def predict(
        self,
        model: str,
        inputs: Dict[str, Any],
        version: Optional[int] = None,
        label: Optional[str] = None,
        signature: str = "",
        outputs: Sequence[str] = (),
    ) -> Prediction:
        """Sends {alias: array or wire.TensorProto}, returns all outputs of the signature, or those named, as arrays."""
        spec = wire.ModelSpec()
        _set_model(spec, model, version, label, signature)
        try:
            request = wire.predict_bytes.request(spec, inputs, outputs)
        except ValueError as error:
            raise TfleetError(str(error))
        call = self._call("Predict", model, version, label, signature)
        answer = self._send(wire.PREDICT, request, call)
        arrays = {}
        for alias in answer.outputs:
            try:
                arrays[alias] = wire.tensors.to_numpy(answer.outputs[alias])
            except ValueError as error:
                raise call.failure("INTERNAL", "output '%s': %s" % (alias, error), "The server's answer cannot be used.")
        spec = answer.model_spec
        return Prediction(spec.name or model, _version(spec), spec.signature_name or signature or "serving_default", arrays)

    def metadata(
        self, model: str, version: Optional[int] = None, label: Optional[str] = None, timeout: Optional[float] = None
    ) -> Metadata:
        """The signatures of a model version, with names, dtypes and shapes."""
        request = wire.GetModelMetadataRequest(metadata_field=["signature_def"])
        _set_model(request.model_spec, model, version, label, "")
        answer = self._send(
            wire.GET_MODEL_METADATA, request, self._call("GetModelMetadata", model, version, label, timeout=timeout)
        )
        signatures = wire.SignatureDefMap.FromString(answer.metadata["signature_def"].value)
        return Metadata(answer.model_spec.name or model, _version(answer.model_spec), dict(signatures.signature_def))

    def status(self, model: str, version: Optional[int] = None, timeout: Optional[float] = None) -> List[VersionStatus]:
        """The state of each version the server knows of the model, newest first, or of one version."""
        request = wire.GetModelStatusRequest()
        _set_model(request.model_spec, model, version, None, "")
        answer = self._send(
            wire.GET_MODEL_STATUS, request, self._call("GetModelStatus", model, version, timeout=timeout)
        )
        return [version_status(row) for row in answer.model_version_status]

    def reload(self, config: Any) -> None:
        """Gives the server another wire.ModelServerConfig; returns when its new models are loaded."""
        request = wire.ReloadConfigRequest(config=config)
        call = self._call("HandleReloadConfigRequest")
        answer = self._send(wire.RELOAD_CONFIG, request, call)
        if answer.status.error_code:
            raise call.failure(wire.ErrorCode.Name(answer.status.error_code), answer.status.error_message)

    def _call(
        self,
        what: str,
        model: str = "",
        version: Optional[int] = None,
        label: Optional[str] = None,
        signature: Optional[str] = None,
        timeout: Optional[float] = None,
    ) -> Call:
        return Call(what, self.address, model, version, label, signature, self.timeout if timeout is None else timeout)

    def _send(self, path: str, request: Any, call: Call) -> Any:
        method = self._methods.get(path)
        if method is None:
            response_class = wire.METHODS[path][1]
            method = self._channel.unary_unary(path, request_serializer=_serialised, response_deserializer=response_class.FromString)
            self._methods[path] = method
        try:
            return method(request, timeout=call.timeout)
        except grpc.RpcError as error:
            code, details = error.code().name, error.details() or ""
            raise call.failure(code, details, self._advice(code, details, call))

    def _advice(self, code: str, details: str, call: Call) -> Optional[str]:
        """What only a look at the server can tell: the port speaks HTTP, or the signature wants something else."""
        from tfleet.client import mistakes

        if code in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "UNKNOWN", "INTERNAL") and self._speaks_http(details):
            return mistakes.wrong_port(self.address, "grpc")
        return mistakes.advice(self, call, code, details)

    def _speaks_http(self, details: str) -> bool:
        if "http1.x server" in details or "http1.1" in details:
            return True
        if "refused" in details or self.address.startswith("unix:"):
            return False
        import http.client

        connection = http.client.HTTPConnection(self.address, timeout=_PROBE_SECONDS)
        try:
            connection.request("GET", "/v1/models/")
            return connection.getresponse().version in (10, 11)
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def check_address(address: str) -> str:
    """Returns host:port or unix:/path unchanged. Raises TfleetError for anything else."""
    if re.match(r"unix:.", address):
        return address
    if "://" in address:
        raise TfleetError("'%s' is a URL: an address is host:port, such as 127.0.0.1:8500." % address)
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise TfleetError("'%s' is not an address: write host:port, such as 127.0.0.1:8500, or unix:/path." % address)
    return address


def version_status(row: Any) -> VersionStatus:
    """A VersionStatus from a wire.ModelVersionStatus."""
    return VersionStatus(
        row.version,
        _enum_name(wire.ModelVersionStatus.State, row.state),
        _enum_name(wire.ErrorCode, row.status.error_code),
        row.status.error_message,
    )


def _enum_name(enum: Any, number: int) -> str:
    try:
        return str(enum.Name(number))
    except ValueError:  # from a server newer than this file
        return str(number)


def _serialised(request: Any) -> bytes:
    return request if isinstance(request, bytes) else bytes(request.SerializeToString())


def _set_model(spec: Any, model: str, version: Optional[int], label: Optional[str], signature: str) -> None:
    spec.name = model
    spec.signature_name = signature
    if version is not None:
        spec.version.value = version
    elif label:
        spec.version_label = label


def _version(spec: Any) -> Optional[int]:
    return int(spec.version.value) if spec.HasField("version") else None
