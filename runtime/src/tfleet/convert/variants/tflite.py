"""The variants `tflite-<precision>`: TensorFlow Lite for CPUs, with the aliases of the SavedModel's signature."""

import os
import re
from typing import Any, Callable, Dict, Iterator, List

from tfleet import files
from tfleet.convert import framework, memory, saved_model
from tfleet.convert.variants import feeds, light, tflite_signatures
from tfleet.convert.variants import frozen as freezing
from tfleet.convert.variants.request import Request
from tfleet.convert.workspace import put
from tfleet.errors import TfleetError

FILE = "model.tflite"
_NEEDS_FLEX = re.compile(r"flex|select.?tf.?ops|custom ops|not currently supported|unsupported op|not supported|failed to legalize", re.IGNORECASE)


def convert(tf: Any, source: str, built: str, request: Request, signature: Any, report: Callable[..., None]) -> Dict[str, Any]:
    """Write the variant to `built` and return its summary."""
    inputs = freezing.described(tf, signature)
    if os.path.isfile(os.path.join(source, "variables", "variables.index")):
        # The converter aborts ("missing attribute 'value'") on variables that a session does not initialise, as Keras 3 has them; we find their values.
        report("freezing")
        source = _frozen(tf, source, built + "-frozen", request, signature)
        memory.give_back()
    outline = built + "-outline"
    report("converting")
    try:
        content, fallback = _model(tf, source, outline, request, inputs, False, report), False
    except TfleetError:
        raise
    except Exception as error:  # noqa: BLE001 (ConverterError, ValueError, RuntimeError: each release has its own)
        if not _NEEDS_FLEX.search(str(error)):
            raise TfleetError("TensorFlow Lite cannot convert `%s`: %s" % (source, _first_lines(error)))
        content, fallback = _with_tensorflow_operations(tf, source, outline, request, inputs, report), True
    report("checking")
    # A reference is kept only here: the interpreter reads the file.
    size = len(content)
    os.makedirs(built, exist_ok=True)
    path = os.path.join(built, FILE)
    unsigned = path + ".unsigned"
    put(unsigned, [content])
    told = _look(tf, unsigned, request.signature, signature)
    put(path, [tflite_signatures.header(content, {request.signature: told["signature"]}), content])
    os.unlink(unsigned)
    files.fsync_directory(built)
    return {"bytes": size, "operations": told["operations"], "tensorflow_operations": fallback, "inputs": told["inputs"], "outputs": told["outputs"]}


def _frozen(tf: Any, source: str, place: str, request: Request, signature: Any) -> str:
    """A SavedModel of constants in `place`, which the caller's workspace takes along when it goes."""
    frozen = freezing.freeze(tf, source, request.tags, request.signature, signature)
    freezing.write(tf, place, frozen.graph_def, frozen, request.signature, signature, request.tags)
    return place


def _with_tensorflow_operations(tf: Any, source: str, outline: str, request: Request, inputs: Any, report: Callable[..., None]) -> bytes:
    """With TensorFlow's own kernels (Flex) for what TensorFlow Lite lacks: TensorFlow's interpreter has them, a bare one does not."""
    try:
        return _model(tf, source, outline, request, inputs, True, report)
    except TfleetError:
        raise
    except Exception as error:  # noqa: BLE001
        raise TfleetError(
            "TensorFlow Lite cannot convert `%s`, not even with TensorFlow's own operations for what it lacks: %s" % (source, _first_lines(error))
        )


def _model(tf: Any, source: str, outline: str, request: Request, inputs: Any, flex: bool, report: Callable[..., None]) -> bytes:
    lite = tf.lite
    if tf.__version__.startswith("1."):
        converter = lite.TFLiteConverter.from_saved_model(source, tag_set=set(request.tags), signature_key=request.signature)
    else:
        converter = _converter(tf, source, outline, request)
    kinds = [lite.OpsSet.TFLITE_BUILTINS] + ([lite.OpsSet.SELECT_TF_OPS] if flex else [])
    if request.precision == "FP16":
        converter.optimizations = [lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    elif request.precision == "INT8":
        converter.optimizations = [lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: _representative(request, inputs, report)
        # Whole numbers wherever there is a kernel for them; inputs and outputs stay what the signature says.
        kinds.insert(0, lite.OpsSet.TFLITE_BUILTINS_INT8)
    converter.target_spec.supported_ops = kinds
    return bytes(converter.convert())


def _converter(tf: Any, source: str, outline: str, request: Request) -> Any:
    """TensorFlow 2's converter for `source`, made of its outline.

    Before it converts, it loads the model twice in Python, for names and statistics, and so holds ten copies of the weights (measured, 2.17) while
    native code converts what is in the folder `saved_model_dir`.
    """

    def made(folder: str) -> Any:
        return tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[request.signature], tags=set(request.tags))

    _outline(source, outline)
    memory.give_back()
    converter = made(outline)
    if getattr(converter, "saved_model_dir", None) != outline or not hasattr(converter, "_load_saved_model"):
        return made(source)  # older releases convert what Python has loaded
    loaded = converter._load_saved_model(outline, set(request.tags))
    converter._load_saved_model = lambda *_arguments: loaded
    converter.saved_model_dir = source
    return converter


def _outline(source: str, place: str) -> None:
    """The SavedModel `source` in the folder `place` without the content of its large constants."""
    if os.path.isdir(place):
        return  # of the attempt without TensorFlow's own operations
    model = saved_model.read(source)
    for meta in model.meta_graphs:
        for nodes in [meta.graph_def.node] + [function.node_def for function in meta.graph_def.library.function]:
            for node in nodes:
                if node.op == "Const" and node.attr["value"].tensor.ByteSize() > light.HELD_BYTES:
                    _empty(node.attr["value"].tensor)
    os.makedirs(place)
    put(os.path.join(place, "saved_model.pb"), [model.SerializeToString()])
    if os.path.isdir(os.path.join(source, "assets")):
        os.symlink(os.path.abspath(os.path.join(source, "assets")), os.path.join(place, "assets"))


def _empty(tensor: Any) -> None:
    """Keep dtype and shape: TensorFlow takes what has no values for zeros."""
    kept = type(tensor)(dtype=tensor.dtype)
    kept.tensor_shape.CopyFrom(tensor.tensor_shape)
    tensor.CopyFrom(kept)


def _representative(request: Request, inputs: Any, report: Callable[..., None]) -> Iterator[Any]:
    for arrays in feeds.calibration(request, inputs, report, 1):
        # One input goes by place in every release, several by name from 2.7 on.
        yield [next(iter(arrays.values()))] if len(arrays) == 1 else dict(arrays)


def _look(tf: Any, path: str, name: str, signature: Any) -> Dict[str, Any]:
    """Load the file as a server will, and tell the signature with the names that its tensors have now."""
    try:
        interpreter = tf.lite.Interpreter(model_path=path)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise TfleetError("The TensorFlow Lite model that was made of this cannot be loaded: %s" % _first_lines(error))
    target = type(signature)()
    target.CopyFrom(signature)
    if hasattr(interpreter, "get_signature_runner") and name in interpreter.get_signature_list():
        runner = interpreter.get_signature_runner(name)
        tensors = {"inputs": runner.get_input_details(), "outputs": runner.get_output_details()}
    else:
        tensors = {
            "inputs": _by_tensor(signature.inputs, interpreter.get_input_details()),
            "outputs": _by_tensor(signature.outputs, interpreter.get_output_details()),
        }
    told: Dict[str, Any] = {"inputs": {}, "outputs": {}}
    for side, infos in (("inputs", target.inputs), ("outputs", target.outputs)):
        for alias in infos:
            if alias not in tensors[side]:
                raise TfleetError(
                    "TensorFlow Lite's model has lost the %s `%s`: nothing in the graph uses it. Convert a signature without it." % (side[:-1], alias)
                )
            detail, info = tensors[side][alias], infos[alias]
            if tf.as_dtype(detail["dtype"]).as_datatype_enum != info.dtype:
                raise TfleetError(
                    "TensorFlow Lite's model has the %s `%s` as %s, but the signature says %s, and clients would have to change. Cast it in the model "
                    "and export again." % (side[:-1], alias, tf.as_dtype(detail["dtype"]).name, framework.dtype_name(tf, info.dtype))
                )
            info.name = detail["name"]
            told[side][alias] = detail["name"]
    told["signature"] = target.SerializeToString()
    told["operations"] = _operations(interpreter)
    return told


def _by_tensor(infos: Any, details: List[Dict[str, Any]]) -> Dict[str, Any]:
    """Where the file has no signatures of its own (before 2.5) its tensors have the graph's names."""
    known = {detail["name"].partition(":")[0]: detail for detail in details}
    return {alias: known[info.name.partition(":")[0]] for alias, info in infos.items() if info.name.partition(":")[0] in known}


def _operations(interpreter: Any) -> Dict[str, int]:
    counted: Dict[str, int] = {}
    try:
        for operation in interpreter._get_ops_details():  # not public, but the only way to tell; before 2.3 there is none
            counted[operation["op_name"]] = counted.get(operation["op_name"], 0) + 1
    except (AttributeError, KeyError, ValueError):
        return {}
    return counted


def _first_lines(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:3])[:600]
