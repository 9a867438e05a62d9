"""A TensorFlow Lite version in memory, with the face of executor.SavedModel: signatures, run(), close().

One interpreter runs one request at a time, so there is a pool of them. A request with more rows than an interpreter is to
take at once is divided among several, if the model has one input.
"""
import logging
import os
import queue
import time
from concurrent import futures
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from .. import wire
from . import executor, method_names, tflite_metadata
from .executor import Feed
from .flags import CPUS
from .status import ALREADY_EXISTS, INTERNAL, RESOURCE_EXHAUSTED, StatusError, invalid_argument

log = logging.getLogger(__name__)

FILE = "model.tflite"
_ROWS = 500  # what the official server's interpreters of one pool share


class _Interpreter:
    """One tf.lite.Interpreter with its tensors allocated."""

    def __init__(self, path: str, threads: int) -> None:
        lite = executor.tensorflow().lite
        try:
            try:
                self.native = lite.Interpreter(model_path=path, num_threads=threads)
            except TypeError:  # TensorFlow before 2.3 has no such argument, and one thread
                self.native = lite.Interpreter(model_path=path)
            self.native.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise invalid_argument("Cannot build FlatBufferModel from buffer: %s" % error)
        self._shapes: Dict[int, Tuple[int, ...]] = {}

    def run(self, feeds: Sequence[Tuple[int, Any]], fetches: Sequence[int]) -> List[Any]:
        native = self.native
        changed = [(index, array.shape) for index, array in feeds if self._shapes.get(index) != array.shape]
        try:
            if changed:
                self._shapes.clear()  # after a failure nothing is certain
                for index, array in feeds:
                    native.resize_tensor_input(index, array.shape)
                native.allocate_tensors()
                self._shapes.update((index, array.shape) for index, array in feeds)
        except (ValueError, RuntimeError) as error:
            log.error("TensorFlow Lite cannot take the shapes %s: %s", [shape for _, shape in changed], error)
            raise StatusError(INTERNAL, "Failed to allocate tensors")
        try:
            for index, array in feeds:
                native.set_tensor(index, array)
            native.invoke()
            return [native.get_tensor(index) for index in fetches]
        except (ValueError, RuntimeError) as error:
            log.error("TensorFlow Lite: %s", error)
            raise StatusError(INTERNAL, "Failed to invoke TfLite interpreter")


class TfLiteModel:
    """A loaded version. `signatures`: name -> wire.SignatureDef, from the model's metadata or made from its tensors."""

    def __init__(self, path: str, pools: int, interpreters_per_pool: int) -> None:
        pools = max(pools, 1)
        interpreters = [_Interpreter(path, max(CPUS // pools, 1)) for _ in range(pools)]
        self._idle: Any = queue.Queue()
        for interpreter in interpreters:
            self._idle.put(interpreter)
        native = interpreters[0].native
        self._inputs = _by_name("Input", native.get_input_details())
        self._outputs = _by_name("Output", native.get_output_details())
        self._rows = _rows_at_once(self._inputs, interpreters_per_pool)
        self._workers = futures.ThreadPoolExecutor(pools, thread_name_prefix="tflite") if self._rows else None
        self.signatures = _signatures(path, self._inputs, self._outputs)

    def run(self, feeds: Sequence[Feed], fetches: Sequence[str], timeout_ms: Optional[int] = None) -> List[Any]:
        """Like executor.SavedModel.run; the time-out ends the wait for an interpreter, not a computation that has begun."""
        indexed = [(_known(self._inputs, name, "input"), array) for name, array in feeds]
        wanted = [_known(self._outputs, name, "output")["index"] for name in fetches]
        for detail, array in indexed:
            _check_type(detail, array)
        arrays = [(detail["index"], array) for detail, array in indexed]
        deadline = None if timeout_ms is None else time.time() + timeout_ms / 1e3
        if self._workers is None or len(arrays) != 1 or arrays[0][1].ndim == 0 or len(arrays[0][1]) <= self._rows:
            return self._run_once(arrays, wanted, deadline)
        index, array = arrays[0]
        parts = [self._workers.submit(self._run_once, [(index, array[start:start + self._rows])], wanted, deadline)
                 for start in range(0, len(array), self._rows)]
        futures.wait(parts)
        return [np.concatenate(pieces) for pieces in zip(*[part.result() for part in parts])]

    def _run_once(self, feeds: Sequence[Tuple[int, Any]], fetches: Sequence[int], deadline: Optional[float]) -> List[Any]:
        try:
            interpreter = self._idle.get(timeout=None if deadline is None else max(deadline - time.time(), 1e-3))
        except queue.Empty:
            raise StatusError(RESOURCE_EXHAUSTED, "Run() timeout exceeded while waiting for an interpreter")
        try:
            answer: List[Any] = interpreter.run(feeds, fetches)
            return answer
        finally:
            self._idle.put(interpreter)

    def close(self) -> None:
        """Frees the interpreters. Nothing may be running."""
        if self._workers is not None:
            self._workers.shutdown()
        self._idle = queue.Queue()


def load(folder: str, pools: int, interpreters_per_pool: int) -> TfLiteModel:
    """Loads `model.tflite` of a version. Raises StatusError."""
    started = time.time()
    model = TfLiteModel(os.path.join(folder, FILE), pools, interpreters_per_pool)
    log.info("TensorFlow Lite model %s loaded; took %d microseconds.", os.path.join(folder, FILE), (time.time() - started) * 1e6)
    return model


def _by_name(use: str, details: Sequence[Dict[str, Any]]) -> Dict[str, Dict[str, Any]]:
    answer: Dict[str, Dict[str, Any]] = {}
    for detail in details:
        if detail["name"] in answer:
            raise StatusError(ALREADY_EXISTS, "%s tensor name: %s has multiple indices" % (use, detail["name"]))
        answer[detail["name"]] = detail
    return answer


def _rows_at_once(inputs: Dict[str, Dict[str, Any]], interpreters_per_pool: int) -> int:
    """How many rows one interpreter takes; 0 for all of them."""
    if interpreters_per_pool <= 1 or len(inputs) != 1:
        return 0
    shape = next(iter(inputs.values()))["shape"]
    own = int(shape[0]) if len(shape) else 0
    return own if own > 1 else -(-_ROWS // interpreters_per_pool)


def _signatures(path: str, inputs: Dict[str, Any], outputs: Dict[str, Any]) -> Dict[str, Any]:
    with open(path, "rb") as source:
        content = source.read()
    try:
        stored = tflite_metadata.signatures(content)
    except ValueError as error:
        raise invalid_argument("Invalid SignatureDefs found in TfLite model: %s" % error)
    for signature in stored.values():
        for use, infos, tensors in (("input", signature.inputs, inputs), ("output", signature.outputs, outputs)):
            for alias, info in infos.items():
                try:
                    info.name = _name(tensors, info.name)
                except StatusError as error:
                    raise StatusError(error.code, "%s\n\tSignature %s %s references an unknown tensor" % (error.message, use, alias))
    if stored:
        return stored
    log.warning("No signature def found in TFLite model. Generating one.")
    signature = wire.SignatureDef(method_name=method_names.PREDICT)
    for infos, tensors in ((signature.inputs, inputs), (signature.outputs, outputs)):
        for name, detail in tensors.items():
            info = infos[name.partition(":")[0]]
            info.name = name
            info.dtype = _dtype(detail)
            # shape_signature (TensorFlow 2.2 on) has -1 where a size may change; shape has the 1 of the first allocation.
            for size in detail.get("shape_signature", detail["shape"]):
                info.tensor_shape.dim.add(size=int(size))
    return {"serving_default": signature}


def _known(tensors: Dict[str, Dict[str, Any]], name: str, use: str) -> Dict[str, Any]:
    try:
        return tensors[_name(tensors, name)]
    except StatusError as error:
        raise StatusError(error.code, "%s\n\tMissing %s TFLite tensor: %s" % (error.message, use, name))


def _name(tensors: Dict[str, Any], name: str) -> str:
    """The tensor's own name: early converters dropped the `:0`."""
    for candidate in (name, name.partition(":")[0]):
        if candidate in tensors:
            return candidate
    raise StatusError(INTERNAL, "Unknown tensor '%s'." % name)


def _dtype(detail: Dict[str, Any]) -> int:
    dtype = np.dtype(detail["dtype"])
    return int(wire.DT.Value("DT_STRING") if dtype.kind in "SUO" else executor.tensorflow().as_dtype(dtype).as_datatype_enum)


def _check_type(detail: Dict[str, Any], array: Any) -> None:
    wanted = np.dtype(detail["dtype"])
    strings = wanted.kind in "SUO"
    if strings != (array.dtype.kind in "SUO") or (not strings and wanted != array.dtype):
        raise invalid_argument("Expects TFLite tensor %s to be %s but %s is provided" % tuple(
            [detail["name"]] + ["string" if dtype.kind in "SUO" else {"float32": "float", "float64": "double"}.get(dtype.name, dtype.name)
                                for dtype in (wanted, array.dtype)]))
