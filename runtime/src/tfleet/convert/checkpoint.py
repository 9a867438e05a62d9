"""TensorFlow 1's checkpoint with its meta graph: reading it, and freezing its graph."""

import os
from typing import Any, Iterable

from tfleet.convert import framework, graph, saved_model
from tfleet.convert.checkpoint_files import META, files_of
from tfleet.errors import TfleetError


def read(tf: Any, path: str) -> Any:
    """The MetaGraphDef in the file ``path``. Raises TfleetError."""
    meta = tf.compat.v1.MetaGraphDef()
    if not saved_model.parse_file(meta, path) or not meta.graph_def.node:
        raise TfleetError("`%s` is not a meta graph: it is damaged or truncated (%d bytes). Copy it again." % (path, os.path.getsize(path)))
    if not (meta.HasField("saver_def") and meta.saver_def.restore_op_name):
        raise TfleetError("`%s` has no saver, which brings the weights into its graph. Save it again with tf.train.Saver, or export a SavedModel." % path)
    return meta


def freeze(tf: Any, prefix: str, meta: Any, outputs: Iterable[str]) -> Any:
    """The part of the graph that computes the tensors ``outputs``, with the checkpoint's values as constants, and its own device strings.

    This is the one export that runs a session: only the graph's own restore operation knows how its variables lie in the checkpoint
    (partitioned, renamed, of either kind). It needs about three times the weights in memory.
    """
    # Importing clears them in `meta` itself.
    devices = {node.name: node.device for node in meta.graph_def.node if node.device}
    operations = sorted({graph.source_of(name)[0] for name in outputs})
    config = tf.compat.v1.ConfigProto(allow_soft_placement=True)
    try:
        with tf.Graph().as_default() as restored, tf.compat.v1.Session(graph=restored, config=config) as session:
            # Its device strings may name a GPU or a parameter server that is not here.
            saver = tf.compat.v1.train.import_meta_graph(meta, clear_devices=True)
            saver.restore(session, prefix)
            frozen = tf.compat.v1.graph_util.convert_variables_to_constants(session, restored.as_graph_def(), operations)
    except MemoryError:
        raise TfleetError("There is not enough memory to restore `%s`. Free memory or add swap, and run again." % prefix)
    except Exception as error:  # noqa: BLE001 (NotFoundError, DataLossError, ValueError, …: TensorFlow's way to refuse differs by version)
        raise TfleetError(_why_not(tf, prefix, meta, error))
    for node in frozen.node:
        node.device = devices.get(node.name, "")
    return frozen


def cut_at_inputs(tf: Any, frozen: Any, inputs: Iterable[str], outputs: Iterable[str], what: str) -> Any:
    """``frozen`` without what computes its declared inputs (an input pipeline), which become placeholders, and without what no output needs."""
    loaded = graph.Graph(tf, frozen, what)
    inputs, outputs = sorted(set(inputs)), sorted(set(outputs))
    tensors = {name: loaded.tensor(name, "The input `%s`" % name) for name in inputs}
    keep = {node.name for node in loaded.needed(outputs, inputs)}
    cut = tf.compat.v1.GraphDef()
    cut.versions.CopyFrom(frozen.versions)
    cut.library.CopyFrom(frozen.library)
    for node in frozen.node:
        tensor = tensors.get(node.name + ":0")
        if tensor is not None and node.name not in keep and len(loaded.imported.get_operation_by_name(node.name).outputs) == 1:
            placeholder = cut.node.add(name=node.name, op="Placeholder", device=node.device)
            placeholder.attr["dtype"].type = tensor.dtype.base_dtype.as_datatype_enum
            placeholder.attr["shape"].shape.CopyFrom(tensor.shape.as_proto())
        elif node.name in keep:
            cut.node.add().CopyFrom(node)
    present = {node.name for node in cut.node}
    # An input that is one of several outputs of its operation is fed over what computes it, which has to be there.
    return cut if all(graph.source_of(name)[0] in present for name in inputs) else frozen


def _why_not(tf: Any, prefix: str, meta: Any, error: Exception) -> str:
    text = framework.first_line(error)
    if "not found in checkpoint" in text or "not found in file" in text:
        return "`%s` lacks weights that its meta graph wants: %s. The two are of different trainings, or the checkpoint is incomplete." % (prefix, text)
    if isinstance(error, tf.errors.OpError):
        return "`%s` cannot be restored: %s. Copy all of its files again: %s." % (prefix, text, ", ".join(map(os.path.basename, files_of(prefix))))
    return graph.why_not_imported(tf, meta.graph_def, "the meta graph `%s`" % (prefix + META), error)
