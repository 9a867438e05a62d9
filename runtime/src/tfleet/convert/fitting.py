"""Changes that make a graph fit to be served: device strings, a batch dimension, pictures as files instead of pixels.

All but the loop change nodes where they stand, so that a large graph stays in memory once.
"""

from typing import Any, Dict, List, Tuple

from tfleet.convert import framework, graph, signatures
from tfleet.convert.wanted import Wanted
from tfleet.errors import TfleetError

IMAGE_BYTES = "image_bytes"
_DEVICES = {"clear": "", "cpu": "/device:CPU:0", "gpu": "/device:GPU:0"}


def fit(tf: Any, asked: Wanted, kind: str, graph_def: Any, what: str, declared: signatures.Signatures) -> signatures.Signatures:
    """Change ``graph_def`` as ``asked``. Returns the signatures, in which ``image_bytes`` may have taken the place of an input."""
    if asked.batch == "loop":
        if kind == "saved_model":
            raise TfleetError("%s: a SavedModel cannot be put into a loop (batch: loop). Freeze it first, or give the frozen graph." % what)
        _loop(tf, graph.Graph(tf, graph_def, what), declared)
    elif asked.batch == "free":
        _free(tf, graph.Graph(tf, graph_def, what), declared)
    if asked.image_bytes:
        declared = _take_image_bytes(tf, graph.Graph(tf, graph_def, what), declared, asked)
    if asked.device != "keep":
        place(graph_def, _DEVICES[asked.device])
    return declared


def place(graph_def: Any, device: str) -> None:
    """Give every node, functions included, the device string ``device``."""
    for group in [graph_def.node] + [function.node_def for function in graph_def.library.function]:
        for node in group:
            node.device = device


# A batch dimension


def _free(tf: Any, loaded: graph.Graph, declared: signatures.Signatures) -> None:
    """Make the fixed first dimension of every input free, and see that the outputs follow."""
    fixed: Dict[str, Any] = {}
    for name, signature in sorted(declared.items()):
        for alias, tensor in signature["inputs"].items():
            shape = framework.shape_list(loaded.tensor(tensor, "Signature `%s`, input `%s`" % (name, alias)).shape.as_proto())
            if shape and shape[0] > 0:
                fixed[tensor] = _placeholder(loaded, alias, tensor)
    if not fixed:
        raise TfleetError("%s has no input with a fixed batch, so there is nothing to set free (batch: free)." % loaded.what)
    before = {tensor: _first(loaded, tensor) for signature in declared.values() for tensor in signature["outputs"].values()}
    for node in fixed.values():
        node.attr["shape"].shape.dim[0].size = -1
        node.attr.pop("_output_shapes", None)
    freed = graph.Graph(tf, loaded.graph_def, loaded.what)
    stuck = sorted(tensor for tensor, first in before.items() if first > 0 and _first(freed, tensor) == first)
    if stuck:
        raise TfleetError(
            "%s has its batch of %d built in: %s keep it although the input is free, so that other sizes would be answered wrong or not at all. Use "
            "batch: loop, which runs the graph for each row, or export the model without a fixed batch." % (loaded.what, before[stuck[0]], _listed(stuck)),
            outputs=stuck,
        )


def _first(loaded: graph.Graph, tensor: str) -> int:
    """The first dimension of a tensor; -1 if it is free or unknown."""
    shape = framework.shape_list(loaded.tensor(tensor, "An output").shape.as_proto())
    return shape[0] if shape else -1


def _loop(tf: Any, loaded: graph.Graph, declared: signatures.Signatures) -> None:
    """Replace the graph by one that runs it for each row of its inputs, and stacks what comes out."""
    if len(declared) != 1:
        raise TfleetError("A loop (batch: loop) needs exactly one signature, and there are %d: %s." % (len(declared), ", ".join(sorted(declared))))
    ((name, signature),) = declared.items()
    body = tf.compat.v1.GraphDef()
    body.versions.CopyFrom(loaded.graph_def.versions)
    body.library.CopyFrom(loaded.graph_def.library)
    inputs = sorted(set(signature["inputs"].values()))
    outputs = sorted(set(signature["outputs"].values()))
    body.node.extend(loaded.needed(outputs, inputs))
    tensors = {tensor: loaded.tensor(tensor, "Signature `%s`" % name) for tensor in inputs + outputs}
    known = {tensor: framework.shape_list(tensors[tensor].shape.as_proto()) for tensor in tensors}
    free = [tensor for tensor in inputs if _takes_any_batch(known[tensor])]
    if free:
        raise TfleetError("%s needs no loop (batch: loop): its input %s takes any number of rows." % (loaded.what, _listed(free)))
    # Inputs such as [1, ?, ?, 3] are batches of one, and so are the outputs then; others have no batch dimension at all.
    shapes = {tensor: known[tensor] or [] for tensor in inputs}
    of_one = [tensor for tensor in inputs if shapes[tensor][:1] == [1]]

    def one(row: Any) -> List[Any]:
        fed = {tensor: tf.expand_dims(value, 0) if tensor in of_one else value for tensor, value in zip(inputs, row)}
        found = tf.compat.v1.import_graph_def(body, input_map=fed, return_elements=outputs, name="row")
        return [value[0] if of_one and known[tensor] != [] else value for tensor, value in zip(outputs, found)]

    with tf.Graph().as_default() as looped:
        fed = []
        for tensor in inputs:
            row = shapes[tensor][1:] if tensor in of_one else shapes[tensor]
            shape = [None if size < 0 else size for size in [-1] + row]
            fed.append(tf.compat.v1.placeholder(tensors[tensor].dtype.base_dtype, shape, name=graph.source_of(tensor)[0]))
        stacked = tf.compat.v1.map_fn(one, fed, dtype=[tensors[tensor].dtype.base_dtype for tensor in outputs])
        for tensor, value in zip(outputs, stacked):
            if graph.source_of(tensor)[1]:
                raise TfleetError("The output %s is not the first of its operation: name another, or put an identity behind it." % tensor)
            tf.identity(value, name=graph.source_of(tensor)[0])
    loaded.graph_def.CopyFrom(looped.as_graph_def())


def _takes_any_batch(shape: Any) -> bool:
    """Whether the first dimension is a free batch: it is free, and the tensor is no single picture [?, ?, 3]."""
    if shape is None:
        return True
    return len(shape) > 0 and shape[0] < 0 and not (len(shape) == 3 and shape[1] < 0 and shape[2] in (1, 3, 4))


# Pictures as files


def _take_image_bytes(tf: Any, loaded: graph.Graph, declared: signatures.Signatures, asked: Wanted) -> signatures.Signatures:
    """Decode pictures in front of the input; its placeholder becomes what they are decoded to."""
    alias = asked.image_bytes
    having = [name for name in sorted(declared) if alias in declared[name]["inputs"]]
    if not having:
        known = sorted({known for signature in declared.values() for known in signature["inputs"]})
        raise TfleetError(
            "No signature has an input `%s` that could take encoded pictures.%s The inputs are %s."
            % (alias, signatures.did_you_mean(alias, known), ", ".join(known))
        )
    tensors = {declared[name]["inputs"][alias] for name in having}
    if len(tensors) > 1:
        raise TfleetError("The input `%s` is another tensor in each of the signatures %s: export them apart." % (alias, ", ".join(having)))
    tensor = tensors.pop()
    if IMAGE_BYTES in loaded.nodes:
        raise TfleetError("%s has a node called %s already: declare it as the input." % (loaded.what, IMAGE_BYTES))
    node = _placeholder(loaded, alias, tensor)
    info = loaded.describe(loaded.tensor(tensor, "The input `%s`" % alias))
    decoder, decoded = _decoder(tf, info, alias, asked.pixel_values)
    loaded.graph_def.node.extend(decoder.node)
    known_functions = {function.signature.name for function in loaded.graph_def.library.function}
    loaded.graph_def.library.function.extend(function for function in decoder.library.function if function.signature.name not in known_functions)
    # The placeholder keeps its name: whoever still feeds pixels by another signature does so over the decoded ones.
    dtype = node.attr["dtype"].type
    node.op = "Identity"
    del node.input[:]
    node.input.append(decoded)
    for key in list(node.attr):
        del node.attr[key]
    node.attr["T"].type = dtype
    changed = {name: dict(signature, inputs=dict(signature["inputs"])) for name, signature in declared.items()}
    for name in having:
        del changed[name]["inputs"][alias]
        changed[name]["inputs"][IMAGE_BYTES] = IMAGE_BYTES + ":0"
    return changed


def _decoder(tf: Any, info: Dict[str, Any], alias: str, values: Tuple[float, float]) -> Tuple[Any, str]:
    """``(GraphDef, tensor)``: from the placeholder ``image_bytes`` to pictures of the input's dtype and shape."""
    shape = [-1, -1, -1, 3] if info["shape"] is None else info["shape"]
    dtype = tf.as_dtype(info["dtype"])
    if len(shape) not in (3, 4) or shape[-1] not in (-1, 1, 3, 4) or not (dtype.is_floating or dtype in (tf.uint8, tf.int32)):
        raise TfleetError(
            "The input `%s` is %s %s, which is no picture: %s takes the place of inputs such as float32 [?, 224, 224, 3] or uint8 [1, ?, ?, 3]."
            % (alias, info["dtype"], framework.shape_text(info["shape"]), IMAGE_BYTES)
        )
    height, width, channels = shape[-3], shape[-2], 3 if shape[-1] < 0 else shape[-1]

    def decode(content: Any) -> Any:
        # Under this name since TensorFlow 1: the operation tells JPEG, PNG and GIF apart by itself.
        pixels = tf.io.decode_png(content, channels=channels)
        if height < 0 and width < 0 and not dtype.is_floating:
            return tf.cast(pixels, dtype)
        pixels = tf.cast(pixels, tf.float32)
        if height > 0 or width > 0:
            actual = tf.shape(pixels)
            size = [height if height > 0 else actual[0], width if width > 0 else actual[1]]
            # Half-pixel centres, as tf.image.resize in TensorFlow 2; the old default shifts pictures by half a pixel.
            pixels = tf.compat.v2.image.resize(pixels, size)
        if not dtype.is_floating:
            return tf.cast(tf.clip_by_value(tf.round(pixels), 0.0, 255.0), dtype)
        low, high = values
        return tf.cast(pixels * ((high - low) / 255.0) + low, dtype)

    with tf.Graph().as_default() as decoder:
        batch = None if len(shape) == 4 and shape[0] < 0 else shape[0]
        encoded = tf.compat.v1.placeholder(tf.string, [] if len(shape) == 3 else [batch], name=IMAGE_BYTES)
        with tf.compat.v1.name_scope("decode_" + IMAGE_BYTES):
            if len(shape) == 3:
                pictures = decode(encoded)
            elif batch == 1:
                pictures = tf.expand_dims(decode(encoded[0]), 0)
            else:
                pictures = tf.compat.v1.map_fn(decode, encoded, dtype=dtype)
            pictures = tf.identity(pictures, name="pictures")
    return decoder.as_graph_def(), pictures.op.name


def _placeholder(loaded: graph.Graph, alias: str, tensor: str) -> Any:
    """The node of an input. Raises TfleetError unless it is a placeholder: only these can be changed without changing what feeds them."""
    node = loaded.nodes[graph.source_of(tensor)[0]]
    if node.op != "Placeholder":
        raise TfleetError("The input `%s` (%s) is computed by %s: only placeholders can be changed. Declare the placeholder." % (alias, tensor, node.op))
    return node


def _listed(names: List[str]) -> str:
    return ", ".join("`%s`" % name for name in names[:5])
