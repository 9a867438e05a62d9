"""A SavedModel version in memory, through TensorFlow's C API: the same C++ loader and session as TensorFlow Serving's.

Python's own bindings hold its lock while they read, copy and build a graph, so that loading a frozen model of 200 MB stops every
other request for seconds in all; here nothing is stopped, loading takes half the time and memory, and a small run a third.
The C API is the one that TensorFlow keeps for other languages. It is used where it can be (TensorFlow 2.4 or later, models
whose inputs and outputs are numbers); executor.py is for all the rest.
"""
import ctypes
import logging
import os
import time
from ctypes import POINTER, c_char_p, c_int, c_int64, c_size_t, c_void_p
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from .. import wire
from . import executor, light_runs, saved_model_head
from .status import StatusError, not_found

log = logging.getLogger(__name__)

_LIBRARIES = ("libtensorflow_cc.so.2", os.path.join("python", "_pywrap_tensorflow_internal.so"))
_STRING = wire.DT.Value("DT_STRING")
_BFLOAT16 = wire.DT.Value("DT_BFLOAT16")
_STRING_BYTES = 24  # of a string in a tensor, from TensorFlow 2.4 on; all zeros are an empty one
_DTYPES = {wire.DT.Value(name): wire.tensors.numpy_dtype(wire.DT.Value(name)) for name in (
    "DT_FLOAT", "DT_DOUBLE", "DT_HALF", "DT_INT8", "DT_INT16", "DT_INT32", "DT_INT64", "DT_UINT8", "DT_UINT16", "DT_UINT32",
    "DT_UINT64", "DT_BOOL", "DT_COMPLEX64", "DT_COMPLEX128")}
_NUMBERS = {dtype: number for number, dtype in _DTYPES.items()}
_INIT_OP = "__saved_model_init_op"  # TensorFlow 2 keeps its initialiser as a signature, which has no tensor to ask for
_VARIABLES = {"VarHandleOp", "Variable", "VariableV2"}
_LARGE = 1 << 16  # bytes of an output that is not copied
_MOST_PLANS = 64  # clients choose the outputs


class _Output(ctypes.Structure):
    _fields_ = [("operation", c_void_p), ("index", c_int)]


_FUNCTIONS: Dict[str, Tuple[Any, List[Any]]] = {
    "TF_NewStatus": (c_void_p, []),
    "TF_DeleteStatus": (None, [c_void_p]),
    "TF_GetCode": (c_int, [c_void_p]),
    "TF_Message": (c_char_p, [c_void_p]),
    "TF_NewSessionOptions": (c_void_p, []),
    "TF_SetConfig": (None, [c_void_p, c_char_p, c_size_t, c_void_p]),
    "TF_DeleteSessionOptions": (None, [c_void_p]),
    "TF_NewGraph": (c_void_p, []),
    "TF_DeleteGraph": (None, [c_void_p]),
    "TF_LoadSessionFromSavedModel": (c_void_p, [c_void_p, c_void_p, c_char_p, POINTER(c_char_p), c_int, c_void_p, c_void_p, c_void_p]),
    "TF_CloseSession": (None, [c_void_p, c_void_p]),
    "TF_DeleteSession": (None, [c_void_p, c_void_p]),
    "TF_GraphOperationByName": (c_void_p, [c_void_p, c_char_p]),
    "TF_OperationNumOutputs": (c_int, [c_void_p]),
    "TF_OperationOutputType": (c_int, [_Output]),
    "TF_AllocateTensor": (c_void_p, [c_int, POINTER(c_int64), c_int, c_size_t]),
    "TF_DeleteTensor": (None, [c_void_p]),
    "TF_TensorType": (c_int, [c_void_p]),
    "TF_NumDims": (c_int, [c_void_p]),
    "TF_Dim": (c_int64, [c_void_p, c_int]),
    "TF_TensorByteSize": (c_size_t, [c_void_p]),
    "TF_TensorData": (c_void_p, [c_void_p]),
    "TF_NewBufferFromString": (c_void_p, [c_char_p, c_size_t]),
    "TF_DeleteBuffer": (None, [c_void_p]),
    "TF_SessionRun": (None, [c_void_p, c_void_p, POINTER(_Output), POINTER(c_void_p), c_int, POINTER(_Output), POINTER(c_void_p), c_int,
                             POINTER(c_void_p), c_int, c_void_p, c_void_p]),
}


class _Api:
    """The functions as attributes: of `quick` keeping Python's lock, of `slow` without it."""

    def __init__(self, path: str) -> None:
        # Only what Python's TensorFlow has loaded itself: a second copy of the runtime in one process would be its end.
        mode = ctypes.RTLD_LOCAL | os.RTLD_NOLOAD
        self.quick = _typed(ctypes.PyDLL(path, mode))
        self.slow = _typed(ctypes.CDLL(path, mode))
        options = light_runs.run_options(light_runs.IN_CALLER, None)
        self.in_caller = self.quick.TF_NewBufferFromString(options, len(options))  # kept for ever: every light run has these


def _typed(library: Any) -> Any:
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


_found: List[Optional[_Api]] = []


def _api() -> Optional[_Api]:
    """The C API of the TensorFlow that is imported here; None if it has not all that is needed."""
    if not _found:
        tf = executor.tensorflow()
        answer = None
        if tuple(int(part) for part in tf.__version__.split(".")[:2]) >= (2, 4):
            for name in _LIBRARIES:
                path = os.path.join(os.path.dirname(tf.__file__), name)
                try:
                    answer = _Api(path) if os.path.exists(path) else None
                except (OSError, AttributeError) as error:
                    log.debug("%s has not TensorFlow's C API: %s", path, error)
                if answer is not None:
                    break
        _found.append(answer)
    return _found[0]


class NativeModel:
    """A loaded version, with the face of executor.SavedModel: signatures, run(), close()."""

    def __init__(self, api: _Api, session: Any, graph: Any, head: saved_model_head.Head) -> None:
        self.signatures = head.signatures
        self._api = api
        self._session = session
        self._graph = graph
        self._light = light_runs.LightRuns(bool(head.ops) and not light_runs.may_wait(head.ops))
        self._plans: Dict[Any, _Plan] = {}

    def run(self, feeds: Sequence[executor.Feed], fetches: Sequence[str], timeout_ms: Optional[int] = None) -> List[Any]:
        """Like executor.SavedModel.run; the arrays may be read-only."""
        names, wanted = tuple(name for name, _ in feeds), tuple(fetches)
        plan = self._plans.get((names, wanted)) or self._plan(names, wanted)
        arrays = [array for _, array in feeds]
        shapes = light_runs.shapes_of(arrays)
        how = self._light.choose(wanted, shapes, timeout_ms)
        started = self._light.clock(how)
        answer = self._run(arrays, plan, how, timeout_ms)
        self._light.learn(wanted, shapes, how, self._light.clock(how) - started)
        return answer

    def _plan(self, names: Tuple[str, ...], wanted: Tuple[str, ...]) -> "_Plan":
        plan = _Plan([self._tensor(name, "feed") for name in names], [self._tensor(name, "fetch") for name in wanted])
        if len(self._plans) < _MOST_PLANS:
            self._plans[names, wanted] = plan
        return plan

    def _tensor(self, name: str, use: str) -> _Output:
        operation_name, _, index = name.partition(":")
        quick = self._api.quick
        operation = quick.TF_GraphOperationByName(self._graph, operation_name.encode("utf-8"))
        place = int(index) if index.isdigit() else 0
        if not operation or place >= quick.TF_OperationNumOutputs(operation):
            raise not_found("FeedInputs: unable to find feed output %s" % name if use == "feed" else
                            "FetchOutputs node %s: not found" % name)
        return _Output(operation, place)

    def speaks_numbers(self) -> bool:
        """Whether all tensors of the signatures are numbers that numpy has, as the signatures say."""
        for signature in _callable(self.signatures):
            for use, infos in (("feed", signature.inputs), ("fetch", signature.outputs)):
                for info in infos.values():
                    try:
                        if self._api.quick.TF_OperationOutputType(self._tensor(info.name, use)) not in _DTYPES:
                            return False
                    except StatusError:
                        return False
        return True

    def _run(self, arrays: List[Any], plan: "_Plan", how: int, timeout_ms: Optional[int]) -> List[Any]:
        quick = self._api.quick
        library = quick if how == light_runs.WITH_LOCK else self._api.slow
        given, answers = plan.given(), plan.answers()
        status = quick.TF_NewStatus()
        options = light_runs.run_options(how, timeout_ms) if how == light_runs.NORMAL else b""
        own = quick.TF_NewBufferFromString(options, len(options)) if options else None
        buffer = own if how == light_runs.NORMAL else self._api.in_caller
        try:
            for place, array in enumerate(arrays):
                given[place] = self._given(array)
            library.TF_SessionRun(self._session, buffer, plan.inputs, given, plan.given_count, plan.outputs, answers, plan.answers_count,
                                  None, 0, None, status)
            _check(quick, status)
            return [self._taken(answers, place) for place in range(plan.answers_count)]
        finally:
            for tensors in (given, answers):
                for tensor in tensors:
                    if tensor:
                        quick.TF_DeleteTensor(tensor)
            quick.TF_DeleteStatus(status)
            if own:
                quick.TF_DeleteBuffer(own)

    def _given(self, array: Any) -> Any:
        """A tensor with a copy of the array. Strings, which no input here takes, become empty ones: the runtime will say so."""
        quick = self._api.quick
        dims = _dims(array.ndim)(*array.shape)
        if array.dtype.kind == "O":
            tensor = quick.TF_AllocateTensor(_STRING, dims, array.ndim, array.size * _STRING_BYTES)
            ctypes.memset(quick.TF_TensorData(tensor), 0, array.size * _STRING_BYTES)
            return tensor
        number = _NUMBERS.get(array.dtype, _BFLOAT16)  # the only other one that requests are decoded to; no input here takes it either
        size = array.nbytes
        tensor = quick.TF_AllocateTensor(number, dims, array.ndim, size)
        if size >= _LARGE or not array.flags.c_contiguous:
            memory = (ctypes.c_char * size).from_address(quick.TF_TensorData(tensor))
            np.frombuffer(memory, array.dtype).reshape(array.shape)[...] = array  # lets other threads work meanwhile
        elif size:
            ctypes.memmove(quick.TF_TensorData(tensor), array.__array_interface__["data"][0], size)
        return tensor

    def _taken(self, answers: Any, place: int) -> Any:
        """The array of an answer. A large one keeps the tensor and frees it in the end."""
        quick = self._api.quick
        tensor = answers[place]
        dtype = _DTYPES[quick.TF_TensorType(tensor)]
        shape = [quick.TF_Dim(tensor, dimension) for dimension in range(quick.TF_NumDims(tensor))]
        size = quick.TF_TensorByteSize(tensor)
        if size < _LARGE:
            return np.frombuffer(ctypes.string_at(quick.TF_TensorData(tensor), size), dtype).reshape(shape)
        memory: Any = (ctypes.c_char * size).from_address(quick.TF_TensorData(tensor))
        memory.owner = _Owner(quick, tensor)
        answers[place] = None
        return np.frombuffer(memory, dtype).reshape(shape)

    def close(self) -> None:
        """Frees the session and the graph. Nothing may be running."""
        session, graph, self._session, self._graph = self._session, self._graph, None, None
        self._plans.clear()
        slow = self._api.slow
        status = slow.TF_NewStatus()
        slow.TF_CloseSession(session, status)
        slow.TF_DeleteSession(session, status)
        slow.TF_DeleteGraph(graph)
        slow.TF_DeleteStatus(status)


class _Plan:
    """What runs with the same inputs and outputs share: the arguments of TF_SessionRun that do not change, and the types of others."""

    def __init__(self, inputs: List[_Output], outputs: List[_Output]) -> None:
        self.given_count, self.answers_count = len(inputs), len(outputs)
        self.inputs, self.outputs = (_Output * len(inputs))(*inputs), (_Output * len(outputs))(*outputs)
        self.given, self.answers = c_void_p * len(inputs), c_void_p * len(outputs)


_types_of_dims: Dict[int, Any] = {}


def _dims(count: int) -> Any:
    # Making the type takes longer than a small run, and ctypes forgets types that nobody holds.
    if count not in _types_of_dims:
        _types_of_dims[count] = c_int64 * count
    return _types_of_dims[count]


class _Owner:
    """Frees a tensor with the last array that uses its memory."""

    def __init__(self, library: Any, tensor: Any) -> None:
        self._library = library
        self._tensor = tensor

    def __del__(self) -> None:
        self._library.TF_DeleteTensor(self._tensor)


def _check(library: Any, status: Any) -> None:
    code = library.TF_GetCode(status)
    if code:
        raise StatusError(code, library.TF_Message(status).decode("utf-8", "replace"))


def load(path: str, tags: Sequence[str], options: executor.SessionOptions) -> Optional[NativeModel]:
    """Loads a SavedModel directory; None if it is one for executor.load. Raises StatusError with TensorFlow's code and text."""
    head = saved_model_head.read(path, tags)
    if head is None or not _all_numbers(head.signatures) or _lost_its_variables(path, head):
        return None
    api = _api()
    if api is None:
        return None
    started = time.time()
    model = _load(api, path, tags, options.proto().SerializeToString(), head)
    if not model.speaks_numbers():  # the signatures are wrong about a tensor; whoever asks for it will hear
        model.close()
        return None
    log.info("SavedModel load for tags { %s }; took %d microseconds.", " ".join(tags), (time.time() - started) * 1e6)
    return model


def _lost_its_variables(path: str, head: saved_model_head.Head) -> bool:
    # The C++ loader takes such a model for one without variables, and every request fails; executor.load refuses it.
    return not _VARIABLES.isdisjoint(head.ops) and not os.path.exists(os.path.join(path, "variables", "variables.index"))


def _callable(signatures: Dict[str, Any]) -> List[Any]:
    return [signature for name, signature in signatures.items() if name != _INIT_OP]


def _all_numbers(signatures: Dict[str, Any]) -> bool:
    return all(info.dtype in _DTYPES for signature in _callable(signatures) for infos in (signature.inputs, signature.outputs)
               for info in infos.values())


def _load(api: _Api, path: str, tags: Sequence[str], config: bytes, head: saved_model_head.Head) -> NativeModel:
    slow = api.slow
    status, session_options, graph = slow.TF_NewStatus(), slow.TF_NewSessionOptions(), slow.TF_NewGraph()
    try:
        slow.TF_SetConfig(session_options, config, len(config), status)
        _check(slow, status)
        names = (c_char_p * len(tags))(*(tag.encode("utf-8") for tag in tags))
        session = slow.TF_LoadSessionFromSavedModel(session_options, None, os.fsencode(path), names, len(tags), graph, None, status)
        _check(slow, status)
    except StatusError:
        slow.TF_DeleteGraph(graph)
        raise
    finally:
        slow.TF_DeleteSessionOptions(session_options)
        slow.TF_DeleteStatus(status)
    return NativeModel(api, session, graph, head)
