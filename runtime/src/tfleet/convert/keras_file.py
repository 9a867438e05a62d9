"""Keras files (.keras, .h5): the model's inference function, frozen, with the names its author gave to inputs and outputs.

Freezing rather than ``model.export``: that writes object identities into the SavedModel, so that no two exports have the same bytes, and names
outputs output_0, output_1, …
"""

from tfleet.convert.signatures import DEFAULT_NAME
from tfleet.errors import TfleetError


def read(tf, path):
    """``(graph_def, signatures)`` of the Keras file ``path``: inputs and outputs keep their Keras names. Raises TfleetError."""
    if tf.__version__.startswith("1."):
        raise TfleetError("`%s` is a Keras file, which needs TensorFlow 2; here is %s. Export it as a SavedModel or frozen graph with the "
                         "TensorFlow 2 that trained it." % (path, tf.__version__))
    model = _load(tf, path)
    inputs = _names(getattr(model, "input_names", None), model.inputs, "input")
    outputs = _names(getattr(model, "output_names", None), model.outputs, "output")
    specs = [tf.TensorSpec(tensor.shape, tensor.dtype, name=name) for name, tensor in zip(inputs, model.inputs)]

    def infer(*tensors):
        return tf.nest.flatten(model(tensors[0] if len(tensors) == 1 else list(tensors), training=False))

    try:
        function = tf.function(infer, input_signature=specs).get_concrete_function()
        state = _other_state(tf, function)
        frozen = None if state else _freeze(function)
    except Exception as error:  # whatever the layers of a stranger's model raise while they are traced
        raise TfleetError("The Keras model `%s` cannot be traced for inference by TensorFlow %s: %s" % (path, tf.__version__, _first_line(error)))
    if state:
        raise TfleetError("The Keras model `%s` holds lookup tables or other state that a graph cannot keep (%s). Export it as a SavedModel "
                         "where it was trained (model.export) and give that." % (path, ", ".join(state[:3])))
    graph_def = frozen.graph.as_graph_def()
    return graph_def, {DEFAULT_NAME: {
        "inputs": {name: tensor.name for name, tensor in zip(inputs, frozen.inputs)},
        "outputs": {name: _named(graph_def, name, tensor) for name, tensor in zip(outputs, frozen.outputs)}}}


def _load(tf, path):
    try:
        return tf.keras.models.load_model(path, compile=False)
    except ImportError as error:
        raise TfleetError("`%s` cannot be read: %s. Install h5py beside TensorFlow (pip install h5py)." % (path, error))
    except Exception as error:  # Keras raises ValueError, TypeError, OSError, KeyError, and zipfile's and h5py's own errors
        raise TfleetError("Keras %s of TensorFlow %s cannot load `%s`: %s\nThe file is damaged, has layers of its author's own, or was saved by "
                         "another Keras: export it as a SavedModel where it was trained and give that." % (
                             getattr(tf.keras, "__version__", ""), tf.__version__, path, _first_line(error)))


def _first_line(error):
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return "%s: %s" % (type(error).__name__, lines[0][:300] if lines else "")


def _names(given, tensors, fallback):
    """One name for each tensor, usable as the name of a node: the given one, else the tensor's own, else ``input``, ``input_1``, …"""
    names = []
    for number, tensor in enumerate(tensors):
        name = given[number] if given and number < len(given) else tensor.name
        name = name.partition(":")[0].replace("/", "_") or fallback
        while name in names:
            name = "%s_%d" % (name, number)
        names.append(name)
    return names


def _other_state(tf, function):
    """The names of the resources that a concrete function captures besides variables: tables, random generators."""
    handles = [variable.handle for variable in function.graph.variables]
    return [inner.name for outer, inner in function.graph.captures
            if outer.dtype == tf.resource and not any(outer is handle for handle in handles)]


def _freeze(function):
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
    return convert_variables_to_constants_v2(function)


def _named(graph_def, name, tensor):
    """Append a node called ``name`` that hands ``tensor`` on: freezing calls the outputs Identity, Identity_1, … Returns its tensor's name."""
    taken = set(node.name for node in graph_def.node)
    while name in taken:
        name += "_output"
    node = graph_def.node.add(name=name, op="Identity")
    node.input.append(tensor.name)
    node.attr["T"].type = tensor.dtype.as_datatype_enum
    return name + ":0"
