"""Freezing without moving the weights about: TensorFlow's own tools hold a model's weights ten to twenty times while they freeze it.

The graph goes through function inlining and Grappler with a placeholder for each large weight. The weights themselves stay where they are, in
a session's variables or in the constants of the graph that was read, and go into the file one by one at the end.
"""

from typing import Any, Dict, List, Optional

from tfleet.convert import graph, saved_model

# Smaller ones are given to Grappler as they are, which folds what is computed of them: scales and offsets of normalisations, shapes.
HELD_BYTES = 64 * 1024


class Unsupported(Exception):  # noqa: N818 (not an error: there is a slower way)
    """Variables are used in a way that needs TensorFlow's own freezing."""


class Weights(object):
    """The large weights of a graph by the names of their nodes: constants of the source, or variables of a session."""

    def __init__(self, owner: Any = None, session: Any = None) -> None:
        self._owner = owner  # keeps the constants' memory
        self._session = session
        self._constants: Dict[str, Any] = {}
        self._variables: Dict[str, Any] = {}

    def hold_constant(self, node: Any) -> None:
        self._constants[node.name] = node

    def hold_variable(self, name: str, tensor: Any) -> None:
        self._variables[name] = tensor

    def __contains__(self, name: str) -> bool:
        return name in self._constants or name in self._variables

    def names(self) -> List[str]:
        return sorted(list(self._constants) + list(self._variables))

    def fill(self, node: Any) -> None:
        """Turn a placeholder back into the constant that it stands for."""
        name = node.name
        dtype = node.attr["dtype"].type
        node.op = "Const"
        node.attr.clear()
        node.attr["dtype"].type = dtype
        if name in self._constants:
            node.attr["value"].tensor.CopyFrom(self._constants[name].attr["value"].tensor)
        else:
            put_array(node, self._session.run(self._variables[name]))

    def completed(self, node: Any) -> Any:
        """The node with its weight, if it stands for one: a message of its own, whose memory goes with it."""
        if node.name not in self:
            return node
        whole = type(node)()
        whole.CopyFrom(node)
        self.fill(whole)
        return whole

    def close(self) -> None:
        """Let go of where the weights were."""
        if self._session is not None:
            self._session.close()
        self._owner = self._session = None
        self._constants, self._variables = {}, {}


def put_array(node: Any, array: Any) -> None:
    """Make `node` the constant of this array."""
    tensor = node.attr["value"].tensor
    tensor.dtype = node.attr["dtype"].type
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    tensor.tensor_content = array.tobytes()


def freeze(tf: Any, source: str, tags: List[str], keep: List[str]) -> Any:
    """`(graph_def, Weights)`: the graph behind the tensors `keep`, functions inlined, with placeholders for large weights. Raises Unsupported."""
    model = saved_model.read(source)
    meta = model.meta_graphs[saved_model.choose(model, tags, source)]
    session = None
    if graph.has_variables(meta.graph_def):
        meta, model = None, None
        session = _session(tf, source, tags)
        weights, original = Weights(session=session), session.graph.as_graph_def()
    else:
        weights, original = Weights(owner=model), meta.graph_def
    try:
        inlined = _inlined(_without_weights(original, weights), keep + [name + ":0" for name in weights.names()])
        small = tf.compat.v1.graph_util.extract_sub_graph(inlined, sorted({name.partition(":")[0] for name in keep}))
        _variables(tf, small, weights, session)
    except Unsupported:
        weights.close()
        raise
    return small, weights


def _session(tf: Any, source: str, tags: List[str]) -> Any:
    v1 = tf.compat.v1
    session = v1.Session(graph=tf.Graph(), config=v1.ConfigProto(device_count={"GPU": 0}))
    with session.graph.as_default():
        v1.saved_model.loader.load(session, tags, source)
    return session


def _without_weights(original: Any, weights: Weights) -> Any:
    """A copy of the graph in which large constants are placeholders."""
    copied = type(original)()
    copied.versions.CopyFrom(original.versions)
    copied.library.CopyFrom(original.library)
    for node in original.node:
        if node.op == "Const" and node.attr["value"].tensor.ByteSize() > HELD_BYTES:
            weights.hold_constant(node)
            _placeholder(copied.node.add(), node.name, node.attr["dtype"].type, node.attr["value"].tensor.tensor_shape)
        else:
            copied.node.add().CopyFrom(node)
    return copied


def _placeholder(node: Any, name: str, dtype: int, shape: Any) -> None:
    kept = type(shape)()
    kept.CopyFrom(shape)  # it may be inside of what is cleared
    node.Clear()
    node.name, node.op = name, "Placeholder"
    node.attr["dtype"].type = dtype
    node.attr["shape"].shape.CopyFrom(kept)


def _inlined(graph_def: Any, keep: List[str]) -> Any:
    from tensorflow.core.protobuf import config_pb2

    config = config_pb2.ConfigProto()
    options = config.graph_options.rewrite_options
    options.min_graph_nodes = -1
    options.optimizers.append("function")
    return optimize(config, graph_def, keep)


def optimize(config: Any, graph_def: Any, keep: List[str]) -> Any:
    """Grappler's answer for a graph, of which the tensors `keep` must stay."""
    from tensorflow.core.protobuf import meta_graph_pb2
    from tensorflow.python.grappler import tf_optimizer

    meta = meta_graph_pb2.MetaGraphDef()
    meta.graph_def.CopyFrom(graph_def)
    meta.collection_def["train_op"].node_list.value.extend(sorted(set(keep)))
    return tf_optimizer.OptimizeGraph(config, meta)


def _variables(tf: Any, graph_def: Any, weights: Weights, session: Any) -> None:
    """Replace reads of variables: large ones by placeholders, small ones by their values. Raises Unsupported for any other use of one."""
    nodes = {node.name: node for node in graph_def.node}
    reads: List[Any] = []
    handles = {name for name, node in nodes.items() if node.op == "VarHandleOp"}
    for node in graph_def.node:
        if node.op in ("VariableV2", "Variable"):
            raise Unsupported(node.op)
        behind = [_handle(nodes, name) for name in node.input]
        if not any(name in handles for name in behind) or node.op == "Identity":
            continue
        if node.op != "ReadVariableOp":
            raise Unsupported(node.op)
        reads.append((node, nodes[str(behind[0])]))
    if reads:
        _read(tf, reads, weights, session)
    kept = type(graph_def)()
    gone = {node.name for node in graph_def.node if _handle(nodes, node.name) in handles}
    for node in graph_def.node:
        if node.name not in gone:
            inputs = [name for name in node.input if not (name.startswith("^") and name[1:] in gone)]
            del node.input[:]
            node.input.extend(inputs)
            kept.node.add().CopyFrom(node)
    kept.versions.CopyFrom(graph_def.versions)
    kept.library.CopyFrom(graph_def.library)
    graph_def.CopyFrom(kept)


def _handle(nodes: Dict[str, Any], name: str) -> Optional[str]:
    """The VarHandleOp behind a name, through Identity operations; None for a control input."""
    if name.startswith("^"):
        return None
    node = nodes.get(name.partition(":")[0])
    while node is not None and node.op == "Identity":
        node = nodes.get(node.input[0].partition(":")[0])
    return node.name if node is not None and node.op == "VarHandleOp" else None


def _read(tf: Any, reads: List[Any], weights: Weights, session: Any) -> None:
    """Make a placeholder or a constant of each of `reads`, pairs of a read and the handle. A graph that grows between runs is slow: all at once.

    Raises Unsupported if loading the SavedModel into a session does not give each of them a value, as with some of Keras 3.
    """
    values, ready = [], []
    with session.graph.as_default():
        for _node, handle in reads:
            tensor = session.graph.get_tensor_by_name(handle.name + ":0")
            values.append(tf.raw_ops.ReadVariableOp(resource=tensor, dtype=tf.as_dtype(handle.attr["dtype"].type)))
            ready.append(tf.raw_ops.VarIsInitializedOp(resource=tensor))
    if not all(session.run(ready)):
        raise Unsupported("a variable without a value")
    small = []
    for (node, handle), value in zip(reads, values):
        shape, dtype = handle.attr["shape"].shape, tf.as_dtype(handle.attr["dtype"].type)
        size = dtype.size
        for dim in shape.dim:
            size *= max(dim.size, 1)
        _placeholder(node, node.name, dtype.as_datatype_enum, shape)
        if size > HELD_BYTES:
            weights.hold_variable(node.name, value)
        else:
            small.append((node, value))
    for (node, _value), array in zip(small, session.run([value for _node, value in small])):
        node.op = "Const"
        del node.attr["shape"]
        put_array(node, array)
