"""One signature of a SavedModel as a graph of constants, and a SavedModel made of such a graph. Runs in the worker; TensorFlow of any version."""

import os
from typing import Any, Dict, List, NamedTuple

from tfleet.convert import framework, saved_model
from tfleet.convert.encoding import Encoded
from tfleet.convert.signatures import did_you_mean
from tfleet.convert.variants import light
from tfleet.convert.workspace import put
from tfleet.errors import TfleetError

Frozen = NamedTuple(
    "Frozen",
    [
        ("graph_def", Any),  # with placeholders for the large weights
        ("weights", light.Weights),
        ("inputs", Dict[str, str]),  # tensor names by alias
        ("outputs", Dict[str, str]),
    ],
)

_TABLES = ("HashTable", "HashTableV2", "MutableHashTableV2", "LookupTableFindV2", "LookupTableFind")
_STATE = ("VarHandleOp", "VariableV2", "Variable", "ReadVariableOp")


def signature_of(source: str, tags: List[str], name: str) -> Any:
    """The SignatureDef `name` of a SavedModel. Raises TfleetError with those there are."""
    model = saved_model.read(source)
    meta = model.meta_graphs[saved_model.choose(model, tags, source)]
    saved_model.check_complete(source, meta)
    known = [key for key in sorted(meta.signature_def) if not key.startswith("__saved_model")]
    if name not in known:
        raise TfleetError(
            "`%s` has no signature `%s`.%s Its signatures are: %s." % (source, name, did_you_mean(name, known), ", ".join(known) or "none"),
            signatures=known,
        )
    found = type(meta.signature_def[name])()
    found.CopyFrom(meta.signature_def[name])
    return found


def described(tf: Any, signature: Any) -> Dict[str, Dict[str, Any]]:
    """{alias: {"dtype", "shape"}} of its inputs, the form that tfleet.examples takes."""
    return {
        alias: {"dtype": framework.dtype_name(tf, info.dtype), "shape": framework.shape_list(info.tensor_shape)}
        for alias, info in sorted(signature.inputs.items())
    }


def freeze(tf: Any, source: str, tags: List[str], name: str, signature: Any) -> Frozen:
    """The signature with its variables as constants. Raises TfleetError for what cannot be a graph of constants."""
    try:
        inputs, outputs = _names(signature.inputs), _names(signature.outputs)
        graph_def, weights = light.freeze(tf, source, tags, list(inputs.values()) + list(outputs.values()))
        frozen = Frozen(graph_def, weights, inputs, outputs)
    except light.Unsupported:
        functions = hasattr(tf, "function") and tf.executing_eagerly()
        frozen = _freeze_function(tf, source, tags, name) if functions else _freeze_session(tf, source, tags, signature)
    nodes = [node for part in [frozen.graph_def.node] + [function.node_def for function in frozen.graph_def.library.function] for node in part]
    tables = sorted(node.name for node in nodes if node.op in _TABLES)
    if tables:
        raise TfleetError(
            "`%s` looks things up in tables (%s), which a frozen graph loses. Serve the native variant, or do the lookup in the client."
            % (source, ", ".join(tables[:3]))
        )
    state = sorted(node.name for node in nodes if node.op in _STATE)
    if state:
        sentence = "`%s` changes variables when it is called (%s), so they cannot become constants. Serve the native variant."
        raise TfleetError(sentence % (source, ", ".join(state[:3])))
    return frozen


def _names(infos: Any) -> Dict[str, str]:
    return {alias: infos[alias].name for alias in sorted(infos)}


def _freeze_function(tf: Any, source: str, tags: List[str], name: str) -> Frozen:
    from tensorflow.python.framework import convert_to_constants

    # The model is let go before the caller goes on: its variables are in memory beside the constants until then.
    model = tf.saved_model.load(source, tags=tags)
    function = model.signatures[name]
    # Names of arguments are known to the function, positions to its graph: both are in the same order.
    aliases = list(function._arg_keywords)
    outputs = sorted(function.structured_outputs)
    constant = convert_to_constants.convert_variables_to_constants_v2(function, lower_control_flow=False)
    inputs = {alias: tensor.name for alias, tensor in zip(aliases, constant.inputs)}
    return Frozen(constant.graph.as_graph_def(), light.Weights(), inputs, {alias: tensor.name for alias, tensor in zip(outputs, constant.outputs)})


def _freeze_session(tf: Any, source: str, tags: List[str], signature: Any) -> Frozen:
    v1 = tf.compat.v1
    inputs, outputs = _names(signature.inputs), _names(signature.outputs)
    with tf.Graph().as_default(), v1.Session(config=v1.ConfigProto(device_count={"GPU": 0})) as session:
        v1.saved_model.loader.load(session, tags, source)
        keep = sorted({tensor.partition(":")[0] for tensor in list(inputs.values()) + list(outputs.values())})
        graph_def = v1.graph_util.convert_variables_to_constants(session, session.graph.as_graph_def(), keep)
    return Frozen(graph_def, light.Weights(), inputs, outputs)


def write(tf: Any, built: str, graph_def: Any, frozen: Frozen, name: str, signature: Any, tags: List[str]) -> None:
    """A SavedModel of `graph_def`, with its weights back in place and the signature as it was: the same names, dtypes and shapes."""
    model = saved_model.new(tf, tags)
    meta = model.meta_graphs[0]
    meta.graph_def.CopyFrom(graph_def)
    graph_def.Clear()
    target = meta.signature_def[name]
    target.CopyFrom(signature)
    for names, infos in ((frozen.inputs, target.inputs), (frozen.outputs, target.outputs)):
        for alias, tensor in names.items():
            infos[alias].name = tensor
    saved_model.record_operations(meta)
    os.makedirs(built, exist_ok=True)
    put(os.path.join(built, "saved_model.pb"), Encoded(model, frozen.weights.completed))
    frozen.weights.close()
