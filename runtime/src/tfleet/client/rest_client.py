"""The REST client, for where only the HTTP port is reachable. Standard library and tfleet.wire; same answers as gRPC.

Two things are different by the protocol: a predict answer does not name its version, which is therefore asked for by a
metadata request just before, and numbers travel as decimal text.
"""

import base64
import http.client
import json
from typing import Any, Dict, List, Optional, Sequence
from urllib.parse import quote

import numpy as np
from google.protobuf import json_format

from tfleet import wire
from tfleet.client.answers import Call, Metadata, Prediction, VersionStatus, describe_signatures
from tfleet.client.grpc_client import check_address, version_status

_CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    413: "RESOURCE_EXHAUSTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class RestClient(object):
    """Talks to one model server's REST port (usually 8501); each call is a connection of its own.

    Methods, results and errors are those of `tfleet.client.grpc_client.Client`.
    """

    def __init__(self, address: str, timeout: float = 10.0) -> None:
        self.address = check_address(address)
        self.timeout = timeout

    def __enter__(self) -> "RestClient":
        return self

    def __exit__(self, *unused: Any) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is kept open; for symmetry with the gRPC client."""

    def predict(
        self,
        model: str,
        inputs: Dict[str, Any],
        version: Optional[int] = None,
        label: Optional[str] = None,
        signature: str = "",
        outputs: Sequence[str] = (),
    ) -> Prediction:
        """Sends {alias: array}, returns the signature's outputs, or those named, as arrays of the signature's dtypes."""
        call = self._call("Predict", model, version, label, signature)
        metadata = self.metadata(model, version, label)
        name = signature or "serving_default"
        if name not in metadata.signatures:
            raise call.failure(
                "INVALID_ARGUMENT",
                'Serving signature name: "%s" not found in signature def' % name,
                "The model's signatures are: %s." % describe_signatures(metadata.signatures),
            )
        body = {"signature_name": name, "inputs": {alias: _to_json(inputs[alias]) for alias in inputs}}
        try:
            data = json.dumps(body).encode("utf-8")
        except TypeError as error:
            raise call.failure("INVALID_ARGUMENT", str(error), "JSON cannot carry this dtype: use the gRPC port.")
        # The version asked for now is the one whose signature was just read, whatever was loaded in between.
        path = _path(model, metadata.version if version is None and not label else version, label) + ":predict"
        answer = self._send("POST", path, call, data, metadata)
        infos = metadata.signatures[name].outputs
        values = answer.get("outputs")
        if len(infos) == 1:
            values = {next(iter(infos)): values}
        try:
            arrays = {alias: _from_json(values[alias], infos[alias].dtype) for alias in values}
        except (KeyError, TypeError, ValueError) as error:
            raise call.failure("INTERNAL", "the answer does not fit the signature: %s" % error, "Use the gRPC port.")
        return Prediction(model, metadata.version, name, {a: arrays[a] for a in arrays if not outputs or a in outputs})

    def metadata(
        self, model: str, version: Optional[int] = None, label: Optional[str] = None, timeout: Optional[float] = None
    ) -> Metadata:
        """The signatures of a model version, with names, dtypes and shapes."""
        call = self._call("GetModelMetadata", model, version, label, timeout=timeout)
        answer = self._send("GET", _path(model, version, label) + "/metadata", call)
        try:
            text = answer["metadata"]["signature_def"]
            signatures = json_format.ParseDict(text, wire.SignatureDefMap(), ignore_unknown_fields=True)
            answered = int(answer["model_spec"]["version"])
        except (KeyError, TypeError, ValueError, json_format.ParseError) as error:
            raise call.failure("INTERNAL", "the answer is not model metadata: %s" % error, "Check the port.")
        return Metadata(model, answered, dict(signatures.signature_def))

    def status(self, model: str, version: Optional[int] = None, timeout: Optional[float] = None) -> List[VersionStatus]:
        """The state of each version the server knows of the model, newest first, or of one version."""
        call = self._call("GetModelStatus", model, version, timeout=timeout)
        answer = self._send("GET", _path(model, version, None), call)
        try:
            parsed = json_format.ParseDict(answer, wire.GetModelStatusResponse(), ignore_unknown_fields=True)
        except json_format.ParseError as error:
            raise call.failure("INTERNAL", "the answer is not a model status: %s" % error, "Check the port.")
        return [version_status(row) for row in parsed.model_version_status]

    def _call(
        self,
        what: str,
        model: str,
        version: Optional[int] = None,
        label: Optional[str] = None,
        signature: Optional[str] = None,
        timeout: Optional[float] = None,
    ) -> Call:
        return Call(what, self.address, model, version, label, signature, self.timeout if timeout is None else timeout)

    def _send(
        self, method: str, path: str, call: Call, body: Optional[bytes] = None, metadata: Optional[Metadata] = None
    ) -> Any:
        connection = http.client.HTTPConnection(self.address, timeout=call.timeout)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
            response = connection.getresponse()
            status, text = response.status, response.read().decode("utf-8", "replace")
        except http.client.HTTPException:
            from tfleet.client import mistakes

            raise call.failure("UNAVAILABLE", "the answer is not HTTP", mistakes.wrong_port(self.address, "rest"))
        except OSError as error:  # refused, unreachable, timed out, unknown name
            timed_out = "timed out" in str(error)
            raise call.failure("DEADLINE_EXCEEDED" if timed_out else "UNAVAILABLE", error.strerror or str(error))
        finally:
            connection.close()
        try:
            answer = json.loads(text)
        except ValueError:
            answer = None
        if status != 200:
            details = answer.get("error") if isinstance(answer, dict) else None
            code = _CODES.get(status, "UNKNOWN")
            raise call.failure(code, details or "HTTP status %d" % status, self._advice(call, status, code, details, metadata))
        if not isinstance(answer, dict):
            raise call.failure("INTERNAL", "the answer is not a JSON object", "Check the port.")
        return answer

    def _advice(self, call: Call, status: int, code: str, details: Optional[str], metadata: Optional[Metadata]) -> Optional[str]:
        from tfleet.client import mistakes

        if status == 413:  # of a proxy: the servers have no limit of their own
            return mistakes.message_size()
        if details is None:
            return "%s answers HTTP, but not as a TensorFlow model server: check the port." % self.address
        if metadata is not None and code == "INVALID_ARGUMENT":
            return "The model's signatures are: %s." % describe_signatures(metadata.signatures)
        return mistakes.advice(self, call, code, details)


def _path(model: str, version: Optional[int], label: Optional[str]) -> str:
    path = "/v1/models/" + quote(model, safe="")
    if version is not None:
        return "%s/versions/%d" % (path, version)
    return "%s/labels/%s" % (path, quote(label, safe="")) if label else path


def _to_json(value: Any) -> Any:
    array = wire.tensors.to_numpy(value) if isinstance(value, wire.TensorProto) else np.asarray(value)
    return _encode_strings(array.tolist()) if array.dtype.kind in "OSU" else array.tolist()


def _encode_strings(value: Any) -> Any:
    if isinstance(value, list):
        return [_encode_strings(element) for element in value]
    if isinstance(value, str):
        value = value.encode("utf-8")
    return {"b64": base64.b64encode(value).decode("ascii")}


def _from_json(value: Any, dtype: int) -> np.ndarray:
    wanted = wire.tensors.numpy_dtype(dtype)
    if wanted == np.dtype(object):
        return np.array(_decode_strings(value), dtype=object)
    return np.array(value, dtype=wanted)


def _decode_strings(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode_strings(element) for element in value]
    if isinstance(value, dict):
        return base64.b64decode(value["b64"])
    return value.encode("utf-8")
