"""A build of a model that can be asked, wherever it runs: a SavedModel or TensorFlow Lite in this process, or a server over gRPC."""

import os
import re
from typing import Any, Dict, List, NamedTuple, Optional

import numpy as np

from tfleet import wire
from tfleet.client import inputs as client_inputs
from tfleet.client.answers import Metadata, shape_of
from tfleet.errors import TfleetError

Arrays = Dict[str, np.ndarray]

SCHEME = "grpc://"
_URL = re.compile(r"grpc://(?P<address>[^/]+|unix:[^?]+)/(?P<model>[^/]+)(?:/(?P<which>[^/]+))?$")

Address = NamedTuple("Address", [("address", str), ("model", str), ("version", Optional[int]), ("label", Optional[str])])


class Build(object):
    """What all builds have: `source` as it was named, `signature` (a wire.SignatureDef), `signature_name`, predict() and close()."""

    source: str
    signature: Any
    signature_name: str

    def predict(self, arrays: Arrays) -> Arrays:
        """All outputs of one request, by alias. Raises TfleetError."""
        raise NotImplementedError

    def close(self) -> None:
        """Frees what it holds."""

    def __enter__(self) -> "Build":
        return self

    def __exit__(self, *unused: Any) -> None:
        self.close()


def served(source: str) -> Optional[Address]:
    """The parts of grpc://host:port/model[/version|/label]; None for a path. Raises TfleetError for a malformed one."""
    if not source.startswith(SCHEME):
        return None
    found = _URL.match(source)
    if not found:
        raise TfleetError("'%s' does not name a served model: write grpc://host:port/model, with /version or /label behind it if not the latest." % source)
    which = found.group("which")
    number = int(which) if which and which.isdigit() else None
    return Address(found.group("address"), found.group("model"), number, which if number is None else None)


def open_build(source: str, signature: str = "", timeout: float = 60.0, tags: str = "serve") -> Build:
    """The build that `source` names, ready to be asked. Raises TfleetError if there is none, or it has no such signature."""
    address = served(source)
    if address:
        return ServedBuild(source, address, signature, timeout)
    return LocalBuild(source, signature, tags)


class ServedBuild(Build):
    """A model behind a model server's gRPC port."""

    def __init__(self, source: str, address: Address, signature: str, timeout: float) -> None:
        from tfleet.client.grpc_client import Client

        self.source = source
        self.address = address
        self.client = Client(address.address, timeout)
        try:
            metadata = self.client.metadata(address.model, address.version, address.label)
            self.signature_name = signature or "serving_default"
            self.signature = client_inputs.signature_of(metadata, self.signature_name)
        except TfleetError:
            self.client.close()
            raise
        self.version = metadata.version

    def predict(self, arrays: Arrays) -> Arrays:
        found = self.client.predict(
            self.address.model, arrays, version=self.address.version, label=self.address.label, signature=self.signature_name
        )
        return found.outputs

    def close(self) -> None:
        self.client.close()


class LocalBuild(Build):
    """A model in this process, loaded and run by the model server's own code: what is measured is what will serve."""

    def __init__(self, source: str, signature: str, tags: str = "serve") -> None:
        from tfleet.server.status import StatusError

        self.source = source
        path = os.path.abspath(os.path.expanduser(source))
        if not os.path.exists(path):
            raise TfleetError("There is no model %s. Give the folder of a SavedModel, a .tflite file, or grpc://host:port/model." % path, missing=True)
        try:
            self._servable = _load(path, [tag for tag in tags.split(",") if tag])
        except StatusError as error:
            raise TfleetError("The model %s cannot be loaded: %s. See what it is with tfleet inspect." % (path, error.message.rstrip(".")))
        try:
            self.signature_name = signature or "serving_default"
            self.signature = client_inputs.signature_of(Metadata(path, None, self._servable.signatures), self.signature_name)
        except TfleetError:
            self.close()
            raise
        self._outputs = sorted(self.signature.outputs)
        self._fetches = [self.signature.outputs[alias].name for alias in self._outputs]
        self._feeds = {alias: self.signature.inputs[alias].name for alias in self.signature.inputs}
        self._error = StatusError

    def predict(self, arrays: Arrays) -> Arrays:
        return dict(zip(self._outputs, self.run(self.feeds(arrays))))

    def feeds(self, arrays: Arrays) -> List[Any]:
        """What run() takes, made once for arrays that are sent many times."""
        unknown = sorted(set(arrays) - set(self._feeds))
        if unknown:
            raise TfleetError("%s has no input '%s'. Its inputs are: %s." % (self.source, unknown[0], client_inputs.describe_inputs(self.signature)))
        return [(self._feeds[alias], array) for alias, array in arrays.items()]

    def run(self, feeds: List[Any]) -> List[np.ndarray]:
        """One run of the model, without anything around it."""
        try:
            answer: List[np.ndarray] = self._servable.run(feeds, self._fetches)
            return answer
        except self._error as error:
            raise TfleetError("%s cannot answer: %s" % (self.source, error.message))

    def close(self) -> None:
        self._servable.close()


def rows_are_free(signature: Any) -> bool:
    """Whether requests may be put together to batches: every input and every output has a free first dimension."""
    infos = list(signature.inputs.values()) + list(signature.outputs.values())
    shapes = [shape_of(info) for info in infos]
    return all(shape is not None and len(shape) > 0 and shape[0] == -1 for shape in shapes)


def described_inputs(signature: Any) -> Dict[str, Dict[str, Any]]:
    """{alias: {"dtype", "shape"}}, the form that tfleet.examples takes."""
    described = {}
    for alias in signature.inputs:
        info = signature.inputs[alias]
        string = info.dtype == wire.DT.Value("DT_STRING")
        described[alias] = {"dtype": "string" if string else wire.tensors.numpy_dtype(info.dtype).name, "shape": shape_of(info)}
    return described


def _load(path: str, tags: List[str]) -> Any:
    from tfleet.server import executor, native, tflite

    # Errors only: TensorFlow logs three about CUDA on every import.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if path.endswith(".tflite") or os.path.isfile(os.path.join(path, tflite.FILE)):
        return tflite.TfLiteModel(path if path.endswith(".tflite") else os.path.join(path, tflite.FILE), 1, 1)
    options = executor.tensorflow().compat.v1.ConfigProto()
    # On a Jetson the GPU's memory is everybody's: TensorFlow would take all of it at once.
    options.gpu_options.allow_growth = True
    session = executor.SessionOptions(serialized=options.SerializeToString())
    return native.load(path, tags, session) or executor.load(path, tags, session)
