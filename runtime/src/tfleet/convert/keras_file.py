"""Keras files (.keras, .h5): the model's inference function, frozen, with the names its author gave to inputs and outputs.

Freezing rather than ``model.export``: that writes object identities into the SavedModel, so that no two exports have the same bytes, and names
outputs output_0, output_1, …
"""

import contextlib
import os
import tempfile
from typing import Any, Iterator, List, Tuple

from tfleet.convert import framework
from tfleet.convert.signatures import DEFAULT_NAME, Signatures
from tfleet.errors import TfleetError


def read(tf: Any, path: str) -> Tuple[Any, Signatures]:
    """``(graph_def, signatures)`` of the Keras file ``path``: inputs and outputs keep their Keras names. Raises TfleetError."""
    if tf.__version__.startswith("1."):
        raise TfleetError(
            "`%s` is a Keras file, which needs TensorFlow 2; here is %s. Export it as a SavedModel or frozen graph with the "
            "TensorFlow 2 that trained it." % (path, tf.__version__)
        )
    model = _load(tf, path)
    inputs, outputs = _layer_names(model.inputs), _layer_names(model.outputs)
    structure = getattr(model, "_inputs_struct", getattr(model, "_nested_inputs", model.inputs))
    specs = [tf.TensorSpec(tensor.shape, tensor.dtype, name=name) for name, tensor in zip(inputs, model.inputs)]

    def infer(*tensors: Any) -> Any:
        return tf.nest.flatten(model(tensors[0] if len(tensors) == 1 else tf.nest.pack_sequence_as(structure, tensors), training=False))

    try:
        function = tf.function(infer, input_signature=specs).get_concrete_function()
        state = _other_state(tf, function)
        frozen: Any = None if state else _freeze(function)
    except Exception as error:  # noqa: BLE001 (whatever the layers of a stranger's model raise while they are traced)
        raise TfleetError("The Keras model `%s` cannot be traced for inference by TensorFlow %s: %s" % (path, tf.__version__, _told(error)))
    if state:
        raise TfleetError(
            "The Keras model `%s` holds lookup tables or other state that a graph cannot keep (%s). Export it as a SavedModel "
            "where it was trained (model.export) and give that." % (path, ", ".join(state[:3]))
        )
    graph_def = frozen.graph.as_graph_def()
    return graph_def, {
        DEFAULT_NAME: {
            "inputs": {name: tensor.name for name, tensor in zip(inputs, frozen.inputs)},
            "outputs": {name: _named(graph_def, name, tensor) for name, tensor in zip(outputs, frozen.outputs)},
        }
    }


def _load(tf: Any, path: str) -> Any:
    try:
        with _well_named(path) as named:
            return tf.keras.models.load_model(named, compile=False)
    except ImportError as error:
        raise TfleetError("`%s` cannot be read: %s. Install h5py beside TensorFlow (pip install h5py)." % (path, error))
    except Exception as error:  # noqa: BLE001 (ValueError, TypeError, OSError, KeyError, and zipfile's and h5py's own errors)
        raise TfleetError(
            "Keras %s of TensorFlow %s cannot load `%s`: %s\nThe file is damaged, has layers of its author's own, or was saved by "
            "another Keras: export it as a SavedModel where it was trained and give that."
            % (getattr(tf.keras, "__version__", ""), tf.__version__, path, _told(error))
        )


@contextlib.contextmanager
def _well_named(path: str) -> Iterator[str]:
    """``path``, or a link to it with the ending by which Keras tells its formats apart."""
    if path.endswith((".keras", ".h5", ".hdf5")):
        yield path
        return
    with open(path, "rb") as stream:
        ending = ".keras" if stream.read(2) == b"PK" else ".h5"
    with tempfile.TemporaryDirectory() as folder:
        link = os.path.join(folder, "model" + ending)
        os.symlink(path, link)
        yield link


def _told(error: Exception) -> str:
    return "%s: %s" % (type(error).__name__, framework.first_line(error))


def _layer_names(tensors: List[Any]) -> List[str]:
    """One name for each Keras tensor, that of its layer: Keras 3 counts the tensors of a process (keras_tensor_19), which says nothing."""
    names: List[str] = []
    for tensor in tensors:
        history = tensor._keras_history
        layer = getattr(history, "operation", None) or history.layer
        name = unique = layer.name.replace("/", "_")
        number = 1
        while unique in names:
            unique = "%s_%d" % (name, number)
            number += 1
        names.append(unique)
    return names


def _other_state(tf: Any, function: Any) -> List[str]:
    """The names of the resources that a concrete function captures besides variables: tables, random generators."""
    handles = [variable.handle for variable in function.graph.variables]
    return [inner.name for outer, inner in function.graph.captures if outer.dtype == tf.resource and not any(outer is handle for handle in handles)]


def _freeze(function: Any) -> Any:
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    return convert_variables_to_constants_v2(function)


def _named(graph_def: Any, name: str, tensor: Any) -> str:
    """Append a node called ``name`` that hands ``tensor`` on: freezing calls the outputs Identity, Identity_1, … Returns its tensor's name."""
    taken = {node.name for node in graph_def.node}
    while name in taken:
        name += "_output"
    node = graph_def.node.add(name=name, op="Identity")
    node.input.append(tensor.name)
    node.attr["T"].type = tensor.dtype.as_datatype_enum
    return name + ":0"
