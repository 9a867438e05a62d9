"""The variants `tftrt-<hardware class>-<precision>`: TF-TRT as the TensorFlow that is here offers it. Runs in the worker, on a GPU."""

import collections
import os
from typing import Any, Callable, Dict, Iterator, List

from tfleet.convert import framework, saved_model
from tfleet.convert.variants import feeds, forms
from tfleet.convert.variants.frozen import described
from tfleet.convert.variants.request import Request
from tfleet.errors import TfleetError

ENGINE = "TRTEngineOp"
_SEGMENT = "_native_segment"
_ASSET = "trt-serialized-engine."


def load(request: Request) -> Any:
    """TensorFlow, with its GPU's memory held down before anything takes it. Raises TfleetError where there is no GPU."""
    import tensorflow as tf

    config = getattr(tf.config, "experimental", tf.config)
    gpus = gpu_devices(tf)
    if not gpus:
        raise TfleetError(
            "TensorFlow %s sees no GPU on this device, and TF-TRT builds its engines on one. Check the driver (nvidia-smi, or the NVIDIA runtime of the "
            "container on a Jetson) and CUDA_VISIBLE_DEVICES; `tfleet probe` tells what TensorFlow sees. `tfleet plan` works without a GPU." % tf.__version__
        )
    for gpu in gpus:
        if request.gpu_memory_bytes and hasattr(config, "set_virtual_device_configuration"):
            limit = config.VirtualDeviceConfiguration(memory_limit=request.gpu_memory_bytes // 2**20)
            config.set_virtual_device_configuration(gpu, [limit])
        elif hasattr(config, "set_memory_growth"):
            config.set_memory_growth(gpu, True)
    return tf


def gpu_devices(tf: Any) -> List[Any]:
    """The GPUs that TensorFlow sees."""
    listing = getattr(tf.config, "list_physical_devices", None) or tf.config.experimental.list_physical_devices
    return list(listing("GPU"))


def convert(tf: Any, source: str, built: str, request: Request, signature: Any, report: Callable[..., None]) -> Dict[str, Any]:
    """Write the variant to `built` and return its summary."""
    inputs = described(tf, signature)
    if request.build:
        feeds.shapes(request, inputs)  # what is missing is told before minutes of work
    converter, form = new_converter(tf, source, request)
    notes: List[str] = []
    report("segmenting")
    if form.version == 1:
        _convert_graph(converter, request, inputs, signature, report, notes)
    else:
        _convert_function(converter, form, request, inputs, report)
    report("saving")
    converter.save(built)
    summary = look(built)
    if not summary["engines"]:
        raise TfleetError(
            "TF-TRT took nothing of this model: no part of %d or more operations can run in TensorRT. `tfleet plan` tells which operations are in "
            "the way; a smaller minimum segment size may help, and otherwise the native variant is the right one." % request.minimum_segment_size,
            summary=summary,
        )
    if request.build and form.version == 2 and not summary["engine_files"]:
        notes.append("No engines were saved: they will be built by the first requests.")
    return dict(summary, notes=notes)


def new_converter(tf: Any, source: str, request: Request) -> Any:
    """`(converter, form)`. Raises TfleetError for an option that this release does not have, and for TensorRT that cannot be used."""
    from tensorflow.python.compiler.tensorrt import trt_convert as trt

    kind = forms.converter_class(trt)
    form = forms.form_of(kind, getattr(trt, "DEFAULT_TRT_CONVERSION_PARAMS", None), request, source)
    if form.left_out:
        raise TfleetError(
            "TF-TRT of TensorFlow %s has no %s. Leave it out, or convert on a device with a newer TensorFlow (dynamic shapes came with 2.5)."
            % (tf.__version__, " and no ".join(form.left_out))
        )
    if request.gpu_memory_bytes and "session_config" in forms.parameters(kind):
        share = tf.compat.v1.GPUOptions(allow_growth=True)
        form.arguments["session_config"] = tf.compat.v1.ConfigProto(gpu_options=share)
    try:
        return kind(**form.arguments), form
    except RuntimeError as error:
        raise TfleetError("TF-TRT cannot be used here: %s. `tfleet probe` tells which TensorRT was found." % str(error).rstrip("."))


def _convert_function(converter: Any, form: forms.Form, request: Request, inputs: Any, report: Callable[..., None]) -> None:
    """TensorFlow 2: convert, calibrate while doing so (with dynamic shapes while building), build."""
    by_name = "precision_mode" in form.arguments  # 2.8, whose converters take dictionaries too

    def fed(arrays: Iterator[feeds.Arrays]) -> Iterator[Any]:
        for listed in arrays:
            yield dict(listed) if by_name else tuple(listed[alias] for alias in _in_order(converter, listed))

    if request.precision == "INT8":
        converter.convert(calibration_input_fn=lambda: fed(feeds.calibration(request, inputs, report, request.calibration_batch)))
    else:
        converter.convert()
    if request.build:
        converter.build(input_fn=lambda: fed(feeds.made_up(request, inputs, report)))


def _in_order(converter: Any, arrays: feeds.Arrays) -> List[str]:
    """The aliases in the order of the converted function's arguments, which are called after them."""
    names = [tensor.name.partition(":")[0] for tensor in converter._converted_func.inputs]
    return [name for name in names if name in arrays] if set(arrays) <= set(names) else sorted(arrays)


def _convert_graph(converter: Any, request: Request, inputs: Any, signature: Any, report: Callable[..., None], notes: List[str]) -> None:
    """TensorFlow 1.15: engines for a fixed batch are built by convert(); INT8 is calibrated by running the graph."""
    converter.convert()
    if request.precision != "INT8":
        return
    arrays = list(feeds.calibration(request, inputs, report, request.calibration_batch))
    turn = iter(arrays)
    converter.calibrate(
        fetch_names=[info.name for info in signature.outputs.values()],
        num_runs=len(arrays),
        feed_dict_fn=lambda: {signature.inputs[alias].name: array for alias, array in next(turn).items()},
    )
    notes.append("TensorFlow 1.15 keeps the calibration, not the INT8 engines: the first request of each shape builds one.")


def look(built: str) -> Dict[str, Any]:
    """What is in a converted SavedModel: its engines with their nodes, precision and shapes, and the operations left to TensorFlow."""
    model = saved_model.read(built)
    engines: Dict[str, Dict[str, Any]] = {}
    taken: Dict[str, int] = collections.Counter()
    left: Dict[str, int] = collections.Counter()
    for meta in model.meta_graphs:
        for function in meta.graph_def.library.function:
            _count(function.signature.name, function.node_def, taken, left)
        _count("", meta.graph_def.node, taken, left)
        segments = {function.signature.name: function for function in meta.graph_def.library.function}
        for part in [meta.graph_def.node] + [function.node_def for function in meta.graph_def.library.function]:
            for node in part:
                if node.op == ENGINE:
                    # The same engine stands in the function of each signature under its prefix.
                    name = node.name.rpartition("/")[2]
                    engines[name] = _engine(name, node, segments)
    assets = os.path.join(built, "assets")
    files = sorted(name for name in os.listdir(assets) if name.startswith(_ASSET)) if os.path.isdir(assets) else []
    return {
        "engines": [engines[name] for name in sorted(engines)],
        "engine_files": files,
        "engine_bytes": sum(os.path.getsize(os.path.join(assets, name)) for name in files),
        "nodes_taken": sum(taken.values()),
        "nodes_left": sum(left.values()),
        "left": dict(left),
    }


# What computes nothing, or is the loading and saving of a SavedModel.
_IDLE = (ENGINE, "Const", "Placeholder", "Identity", "NoOp", "StatefulPartitionedCall", "PartitionedCall", "CreateTRTResourceHandle",
         "InitializeTRTResource", "DestroyResourceOp", "SaveV2", "RestoreV2", "MergeV2Checkpoints", "ShardedFilename", "StringJoin", "Pack",
         "StaticRegexFullMatch", "Select", "VarHandleOp", "ReadVariableOp", "AssignVariableOp")  # fmt: skip


def _count(function: str, nodes: Any, taken: Dict[str, int], left: Dict[str, int]) -> None:
    if function.startswith(("__inference__traced_save", "__inference__traced_restore")):
        return
    counted = taken if function.endswith(_SEGMENT) else left
    for node in nodes:
        if node.op not in _IDLE or (counted is taken and node.op in ("Pack", "Select")):
            counted[node.op] += 1


def _engine(name: str, node: Any, segments: Dict[str, Any]) -> Dict[str, Any]:
    segment = segments.get(node.attr["segment_func"].func.name) or segments.get(name + _SEGMENT)
    operations: Dict[str, int] = collections.Counter(inner.op for inner in segment.node_def if inner.op not in _IDLE) if segment else {}
    attr = node.attr
    # A SavedModel leaves out attributes with their default.
    return {
        "name": name,
        "precision": attr["precision_mode"].s.decode("ascii"),
        "nodes": sum(operations.values()),
        "operations": dict(operations),
        "inputs": [framework.shape_list(shape) for shape in attr["input_shapes"].list.shape],
        "workspace_bytes": attr["workspace_size_bytes"].i,
        "cached_engines": attr["max_cached_engines_count"].i if "max_cached_engines_count" in attr else 1,
        "use_calibration": attr["use_calibration"].b if "use_calibration" in attr else True,
        "calibrated": bool(attr["calibration_data"].s),
        "build_at_runtime": attr["_allow_build_at_runtime"].b if "_allow_build_at_runtime" in attr else True,
        # Only engines with explicit batches have profiles; the attribute for the batch itself changed its name and default between releases.
        "dynamic_shape": bool(attr["profile_strategy"].s),
        "profile_strategy": attr["profile_strategy"].s.decode("ascii"),
        "static": attr["static_engine"].b,
    }
