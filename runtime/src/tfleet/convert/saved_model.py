"""SavedModels as protocol buffers: reading, telling their signatures, choosing a meta graph, checking what must lie beside it."""

import os
import re
from typing import Any, Dict, Iterable

from tfleet.convert import framework, graph
from tfleet.convert.source import describe_folder
from tfleet.errors import TfleetError

_INTERNAL = ("__saved_model_init_op", "__saved_model_train_op")


def read(path: str) -> Any:
    """The SavedModel proto in the folder ``path``. Raises TfleetError if there is none or it cannot be read."""
    from tensorflow.core.protobuf import saved_model_pb2

    binary, text = os.path.join(path, "saved_model.pb"), os.path.join(path, "saved_model.pbtxt")
    name = binary if os.path.isfile(binary) else text
    if not os.path.isfile(name):
        raise TfleetError("`%s` is not a SavedModel: there is no saved_model.pb in it. %s" % (path, describe_folder(path)))
    model = saved_model_pb2.SavedModel()
    if not parse_file(model, name) or not model.meta_graphs:
        raise TfleetError(
            "`%s` is not a SavedModel protocol buffer: it is damaged or truncated (%d bytes). Copy it again and compare its "
            "SHA-256." % (name, os.path.getsize(name))
        )
    return model


def parse_file(message: Any, path: str) -> bool:
    """Whether the file ``path`` (text if its name ends in .pbtxt) is the kind of ``message``, which is filled with it.

    Filling rather than returning lets a graph be read into its place in a SavedModel, so that a large one is in memory once.
    Raises TfleetError for an empty or too large file.
    """
    size = os.path.getsize(path)
    if size == 0:
        raise TfleetError("`%s` is empty: the copy failed or the disk was full. Copy it again." % path)
    if size > framework.PROTOBUF_LIMIT:
        raise TfleetError(
            "`%s` has %d bytes, but a protocol buffer ends at 2 GiB. Keep the weights in variables: export the model as a "
            "SavedModel instead of freezing it." % (path, size)
        )
    try:
        with open(path, "rb") as stream:
            data = stream.read()
    except MemoryError:
        raise TfleetError("There is not enough memory to read `%s` (%d bytes). Free memory or add swap, and run again." % (path, size))
    if path.endswith(".pbtxt"):
        return _parse_text(message, data)
    return graph.parse(message, data, "`%s`" % path)


def _parse_text(message: Any, data: bytes) -> bool:
    from google.protobuf import text_format

    try:
        text_format.Parse(data.decode("utf-8"), message)
    except (text_format.ParseError, UnicodeDecodeError, RecursionError, ValueError):
        return False
    return True


def describe_signatures(tf: Any, meta_graph: Any) -> Dict[str, Dict[str, Any]]:
    """``{name: {"inputs": {alias: {"name", "dtype", "shape"}}, "outputs": {…}, "method_name"}}`` without TensorFlow's internal ones."""
    return {name: _describe_signature(tf, meta_graph.signature_def[name]) for name in sorted(meta_graph.signature_def) if name not in _INTERNAL}


def _describe_signature(tf: Any, signature: Any) -> Dict[str, Any]:
    return {
        "inputs": {alias: _describe_tensor(tf, signature.inputs[alias]) for alias in sorted(signature.inputs)},
        "outputs": {alias: _describe_tensor(tf, signature.outputs[alias]) for alias in sorted(signature.outputs)},
        "method_name": signature.method_name,
    }


def _describe_tensor(tf: Any, info: Any) -> Dict[str, Any]:
    described = {"name": info.name, "dtype": framework.dtype_name(tf, info.dtype), "shape": framework.shape_list(info.tensor_shape)}
    encoding = info.WhichOneof("encoding")
    if encoding == "coo_sparse":
        described.update(name=info.coo_sparse.values_tensor_name, encoding="sparse")
    elif encoding == "composite_tensor":
        described.update(name=", ".join(part.name for part in info.composite_tensor.components), encoding="composite")
    return described


def choose(model: Any, tags: Iterable[str], path: str) -> int:
    """The index of the meta graph whose tag set is exactly ``tags``: a model server looks for exactly its own. Raises TfleetError."""
    sets = [sorted(meta.meta_info_def.tags) for meta in model.meta_graphs]
    if sorted(tags) not in sets:
        raise TfleetError(
            "`%s` has no graph tagged %s; its tag sets are %s. Give one of these as tags."
            % (path, "{%s}" % ", ".join(sorted(tags)), "; ".join("{%s}" % ", ".join(found) for found in sets)),
            tag_sets=sets,
        )
    return sets.index(sorted(tags))


def check_complete(path: str, meta_graph: Any) -> None:
    """Raise TfleetError if a file that ``meta_graph`` needs is not in the SavedModel folder ``path``: shards of variables, assets."""
    index = os.path.join(path, "variables", "variables.index")
    if graph.has_variables(meta_graph.graph_def) and meta_graph.HasField("saver_def") and not os.path.isfile(index):
        raise TfleetError("`%s` is incomplete: it has variables, but %s is missing. Copy the whole folder, variables/ included." % (path, index))
    folder = os.path.dirname(index)
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        shard = re.match(r"^variables\.data-\d{5}-of-(\d{5})$", name)
        count = int(shard.group(1)) if shard else 0
        for number in range(count):
            needed = "variables.data-%05d-of-%05d" % (number, count)
            if not os.path.isfile(os.path.join(folder, needed)):
                raise TfleetError("`%s` is incomplete: variables/%s is missing. Copy the whole folder again." % (path, needed))
    if os.path.isfile(index) and not any(name.startswith("variables.data-") for name in os.listdir(folder)):
        raise TfleetError(
            "`%s` is incomplete: variables/ holds an index but no variables.data-00000-of-00001 or other data. Copy the whole folder again." % path
        )
    for asset in meta_graph.asset_file_def:
        if not os.path.isfile(os.path.join(path, "assets", asset.filename)):
            raise TfleetError("`%s` is incomplete: assets/%s is missing. Copy the whole folder, assets/ included." % (path, asset.filename))


def new(tf: Any, tags: Iterable[str]) -> Any:
    """An empty SavedModel proto with one meta graph for ``tags``, which is to be filled."""
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel(saved_model_schema_version=1)
    info = model.meta_graphs.add().meta_info_def
    info.tags.extend(sorted(tags))
    info.tensorflow_version = tf.__version__
    info.tensorflow_git_version = getattr(tf.compat.v1, "GIT_VERSION", "unknown")
    return model


def record_operations(meta_graph: Any) -> None:
    """Note the definitions of the operations in use, by which a newer or older TensorFlow drops attributes it does not know."""
    from tensorflow.python.framework import meta_graph as tools

    meta_graph.meta_info_def.stripped_op_list.CopyFrom(tools.stripped_op_list_for_graph(meta_graph.graph_def))


def declare(loaded: graph.Graph, meta_graph: Any, declared: Dict[str, Dict[str, Any]]) -> None:
    """Replace the signatures of ``meta_graph`` by the ``declared`` ones (normalised), looked up in ``loaded`` (graph.Graph)."""
    chosen = {}
    for name, signature in declared.items():
        chosen[name] = (look_up(loaded, name, signature), signature["method_name"])
    _forget(meta_graph)
    for name, (tensors, method) in chosen.items():
        target = meta_graph.signature_def[name]
        target.method_name = method
        for side, infos in (("inputs", target.inputs), ("outputs", target.outputs)):
            for alias, tensor in tensors[side].items():
                infos[alias].name = tensor.name
                infos[alias].dtype = tensor.dtype.base_dtype.as_datatype_enum
                infos[alias].tensor_shape.CopyFrom(tensor.shape.as_proto())


def look_up(loaded: graph.Graph, name: str, signature: Dict[str, Any]) -> Dict[str, Dict[str, Any]]:
    """``{"inputs": {alias: tensor}, "outputs": …}`` of one declared signature. Raises TfleetError for a name that is none, and a missing input."""
    tensors = {
        side: {alias: loaded.tensor(tensor, "Signature `%s`, %s `%s`" % (name, side[:-1], alias)) for alias, tensor in signature[side].items()}
        for side in ("inputs", "outputs")
    }
    loaded.check_computable(name, signature)
    return tensors


def _forget(meta_graph: Any) -> None:
    """Drop the signatures and TensorFlow 2's object graph, which describes them once more as functions.

    Without the object graph tf.saved_model.load (and through it TF-TRT) goes by the signatures, as a model server does. What initialises
    tables is then found by its collection, where TensorFlow 1 models have it.
    """
    init = meta_graph.signature_def["__saved_model_init_op"].outputs["__saved_model_init_op"].name
    main = meta_graph.collection_def["saved_model_main_op"].node_list.value
    if not init and not main:
        del meta_graph.collection_def["saved_model_main_op"]
    elif not main:
        main.append(init)
    meta_graph.signature_def.clear()
    meta_graph.ClearField("object_graph_def")
