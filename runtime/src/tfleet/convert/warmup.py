"""The warm-up file of a SavedModel: the requests a model server runs through a version before it becomes AVAILABLE."""

import os
from collections import OrderedDict
from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple

import numpy as np
from google.protobuf.message import DecodeError

from tfleet import files, wire
from tfleet.client import inputs as client_inputs
from tfleet.client.answers import Metadata, describe_tensor, shape_of
from tfleet.convert import saved_model
from tfleet.errors import TfleetError
from tfleet.wire import tfrecord

PATH = os.path.join("assets.extra", "tf_serving_warmup_requests")
LIMIT = 1000
"""More records than this make the server refuse the version."""

_REPLAYED = ("predict_log", "classify_log", "regress_log", "multi_inference_log")

Arrays = Dict[str, np.ndarray]


def metadata(path: str, tags: List[str]) -> Metadata:
    """The signatures of the SavedModel folder ``path``. Raises TfleetError if it is none, or is a release already."""
    if os.path.exists(os.path.join(path, "manifest.json")):
        raise TfleetError(
            "`%s` is a released version: its manifest.json lists every file, and one more would make it invalid. Write the warm-up "
            "requests into the SavedModel it was made from, and release that as a new version." % path
        )
    model = saved_model.read(path)
    meta_graph = model.meta_graphs[saved_model.choose(model, tags, path)]
    signatures = {name: wire.SignatureDef.FromString(value.SerializeToString()) for name, value in meta_graph.signature_def.items()}
    folder, name = os.path.split(os.path.abspath(path))
    return Metadata(os.path.basename(folder) if name.isdigit() else name, None, signatures)


def of_arrays(model: Metadata, signature_name: str, examples: Iterable[Arrays]) -> List[Any]:
    """wire.PredictionLogs, one for each example. Raises TfleetError where an example does not fit the signature."""
    signature = client_inputs.signature_of(model, signature_name)
    logs = []
    for example in examples:
        arrays = {}
        for alias, array in sorted(example.items()):
            if alias not in signature.inputs:
                raise TfleetError("The signature has no input '%s'. Its inputs are: %s." % (alias, client_inputs.describe_inputs(signature)))
            arrays[alias] = client_inputs.fit(alias, array, signature.inputs[alias])
        logs.append(_predict_log(model.model, signature_name, (), arrays))
    return logs


def captured(model: Metadata, path: str) -> List[Any]:
    """wire.PredictionLogs from a TFRecord file of PredictRequest or PredictionLog messages. Raises TfleetError."""
    try:
        with open(path, "rb") as stream:
            records = list(tfrecord.decode(stream.read()))
    except OSError as error:
        raise TfleetError("Could not read the captured requests %s: %s." % (path, files.reason(error)))
    except ValueError as error:
        raise TfleetError("%s is not an uncompressed TFRecord file, or is damaged: %s." % (path, error))
    logs = []
    for number, record in enumerate(records):
        log = _parse(record)
        if log is None:
            raise TfleetError(
                "Record %d of %s is neither a PredictRequest nor a PredictionLog of a Predict, Classify, Regress or MultiInference "
                "request. A model server would refuse the version for it: leave it out." % (number, path)
            )
        _check(model, log, "record %d of %s" % (number, path))
        logs.append(log)
    return logs


def write(path: str, model: Metadata, logs: Sequence[Any], batch_sizes: Sequence[int]) -> Dict[str, Any]:
    """Writes the warm-up file of the SavedModel folder ``path`` and answers what `tfleet warmup` answers.

    With batch_sizes, requests of one kind and row shape become one record of each size, their rows repeated as often as it
    takes; without, each request is a record as it is. Raises TfleetError; then the folder is as it was.
    """
    records = encode(model, logs, batch_sizes)
    file = os.path.join(path, PATH)
    content = tfrecord.encode(records)
    changed = True
    try:
        if os.path.exists(file):
            with open(file, "rb") as stream:
                changed = stream.read() != content
    except OSError as error:
        raise TfleetError("Could not read %s: %s." % (file, files.reason(error)))
    if changed:
        try:
            os.makedirs(os.path.dirname(file), exist_ok=True)
            files.fsync_directory(path)
        except OSError as error:
            raise TfleetError("Could not make %s: %s." % (os.path.dirname(file), files.reason(error)))
        files.atomic_write(file, content)
    return {
        "path": path,
        "file": file,
        "changed": changed,
        "requests": len(logs),
        "records": len(records),
        "batch_sizes": list(batch_sizes),
        "bytes": len(content),
    }


def encode(model: Metadata, logs: Sequence[Any], batch_sizes: Sequence[int]) -> List[bytes]:
    """The records, serialized. Raises TfleetError for more than the server takes, or rows that cannot be repeated."""
    if batch_sizes:
        logs = [log for group in _groups(logs).values() for size in batch_sizes for log in [_of_size(model, group, size)]]
    if not logs:
        raise TfleetError("There is no request to write. Give at least one.")
    if len(logs) > LIMIT:
        raise TfleetError(
            "This would be %d records, and a model server refuses a version with more than %d. Give fewer requests or fewer batch "
            "sizes; requests whose rows have the same shape share their records." % (len(logs), LIMIT)
        )
    return [log.SerializeToString(deterministic=True) for log in logs]


def _predict_log(model_name: str, signature_name: str, output_filter: Iterable[str], arrays: Arrays) -> Any:
    log = wire.PredictionLog()
    request = log.predict_log.request
    request.model_spec.name = model_name
    request.model_spec.signature_name = signature_name or "serving_default"
    request.output_filter.extend(output_filter)
    for alias, array in sorted(arrays.items()):
        request.inputs[alias].CopyFrom(wire.tensors.to_proto(array))
    return log


def _parse(record: bytes) -> Optional[Any]:
    """The record as a PredictionLog without its response; None if it is neither kind of message, or one that is not replayed."""
    try:
        log = wire.PredictionLog.FromString(record)
        kind = log.WhichOneof("log_type")
        # A PredictRequest can look like a log of something, but not like one that names a model.
        if kind and (kind not in _REPLAYED or _named(getattr(log, kind).request)):
            if kind not in _REPLAYED:
                return None
            kept = wire.PredictionLog()
            getattr(kept, kind).request.CopyFrom(getattr(log, kind).request)
            return kept
    except DecodeError:
        pass
    try:
        request = wire.PredictRequest.FromString(record)
    except DecodeError:
        return None
    log = wire.PredictionLog()
    log.predict_log.request.CopyFrom(request)
    return log if request.inputs else None


def _named(request: Any) -> bool:
    return bool(request.tasks) if hasattr(request, "tasks") else bool(request.HasField("model_spec"))


def _check(model: Metadata, log: Any, what: str) -> None:
    """Raises TfleetError for a request that this model would answer with an error."""
    kind = log.WhichOneof("log_type")
    request = getattr(log, kind).request
    specs = [task.model_spec for task in request.tasks] if kind == "multi_inference_log" else [request.model_spec]
    signatures = [client_inputs.signature_of(model, spec.signature_name) for spec in specs]
    if kind != "predict_log":
        return
    missing = sorted(set(signatures[0].inputs) - set(request.inputs) - set(signatures[0].defaults))
    unknown = sorted(set(request.inputs) - set(signatures[0].inputs))
    if missing or unknown:
        raise TfleetError(
            "In %s, %s. The signature's inputs are: %s."
            % (what, "%s %s" % (", ".join(missing or unknown), "is missing" if missing else "is not an input"), client_inputs.describe_inputs(signatures[0]))
        )
    for alias in sorted(request.inputs):
        if request.inputs[alias].dtype != signatures[0].inputs[alias].dtype:
            raise TfleetError("In %s, '%s' is %s, but the signature has %s." % (
                what, alias, wire.tensors.dtype_name(request.inputs[alias].dtype), describe_tensor(signatures[0].inputs[alias])))


def _groups(logs: Sequence[Any]) -> Dict[Any, List[Any]]:
    """Requests that differ in their rows only, in the order of their first ones."""
    groups: Dict[Any, List[Any]] = OrderedDict()
    for log in logs:
        kind = log.WhichOneof("log_type")
        request = getattr(log, kind).request
        if kind == "predict_log":
            shapes = tuple((alias, request.inputs[alias].dtype, tuple(dim.size for dim in request.inputs[alias].tensor_shape.dim[1:]))
                           for alias in sorted(request.inputs))
            key: Tuple[Any, ...] = (kind, request.model_spec.signature_name, tuple(request.output_filter), shapes)
        else:
            rest = type(request).FromString(request.SerializeToString(deterministic=True))
            for examples in _example_lists(rest):
                del examples.examples[:]
            key = (kind, rest.SerializeToString(deterministic=True))
        groups.setdefault(key, []).append(log)
    return groups


def _example_lists(request: Any) -> List[Any]:
    kind = request.input.WhichOneof("kind")
    return [getattr(request.input, kind)] if kind else []


def _of_size(model: Metadata, group: Sequence[Any], size: int) -> Any:
    """One request with so many rows, which are those of the group in turn."""
    kind = group[0].WhichOneof("log_type")
    request = getattr(group[0], kind).request
    if kind == "predict_log":
        signature = client_inputs.signature_of(model, request.model_spec.signature_name)
        arrays: Arrays = {}
        count = 0
        for alias in request.inputs:
            rows = _rows(alias, [log.predict_log.request.inputs[alias] for log in group], signature.inputs[alias], size)
            if arrays and len(rows) != count:
                raise TfleetError("The inputs of a request have different numbers of rows, so it cannot be batched. Leave out the batch sizes.")
            count = len(rows)
            arrays[alias] = rows[np.arange(size) % count]
        return _predict_log(model.model, request.model_spec.signature_name, request.output_filter, arrays)
    examples = [example for log in group for listed in _example_lists(getattr(log, kind).request) for example in listed.examples]
    if not examples:
        raise TfleetError("A %s has no examples, so it cannot be repeated to a batch size." % kind)
    log = wire.PredictionLog.FromString(group[0].SerializeToString())
    for listed in _example_lists(getattr(log, kind).request):
        del listed.examples[:]
        listed.examples.extend(examples[place % len(examples)] for place in range(size))
    return log


def _rows(alias: str, protos: Sequence[Any], info: Any, size: int) -> np.ndarray:
    """All rows of one input. Raises TfleetError if it has none, or cannot have so many."""
    try:
        arrays = [wire.tensors.to_numpy(proto) for proto in protos]
    except ValueError as error:
        raise TfleetError("A captured request cannot be used: '%s': %s." % (alias, error))
    shape = shape_of(info)
    if any(array.ndim == 0 or len(array) == 0 for array in arrays) or (shape is not None and (not shape or shape[0] not in (-1, size))):
        raise TfleetError(
            "Input '%s' is %s, so there can be no request of %d rows. Leave out the batch sizes." % (alias, describe_tensor(info), size)
        )
    return np.concatenate(arrays)
