"""How many floating-point operations each node of a graph does. Runs in the planning child; TensorFlow of any version.

Counted as is usual: a multiplication and an addition are two. Matrix products and convolutions by their shapes, everything else that
computes one per value it puts out. What is inside of functions (loops, branches) is not counted.
"""

from typing import Any, Dict, Optional

_FREE = frozenset(("Const", "Placeholder", "Identity", "IdentityN", "NoOp", "Reshape", "Squeeze", "ExpandDims", "Shape", "Pack", "StopGradient", "Assert"))
_CONVOLUTIONS = {"Conv2D": 3, "Conv3D": 4, "Conv2DBackpropInput": 3}


def count(tf: Any, graph_def: Any, placeholders: Dict[str, Any]) -> Dict[str, Optional[int]]:
    """{node: operations}, None where its shape is not known; only nodes of the graph itself.

    :param placeholders: {node: shape} of the inputs, all sizes known
    """
    v1 = tf.compat.v1
    found: Dict[str, Optional[int]] = {}
    with tf.Graph().as_default() as graph:
        mapped = {}
        for node in graph_def.node:
            if node.name in placeholders:
                mapped[node.name + ":0"] = v1.placeholder(node.attr["dtype"].type, placeholders[node.name], name="planned_" + node.name.replace("/", "_"))
        tf.import_graph_def(graph_def, input_map=mapped, name="")
        for node in graph_def.node:
            found[node.name] = 0 if node.op in _FREE or node.name in placeholders else _operations(graph.get_operation_by_name(node.name), node)
    return found


def _operations(operation: Any, node: Any) -> Optional[int]:
    if not operation.outputs:
        return 0
    out = _size(operation.outputs[0])
    if node.op in _CONVOLUTIONS or node.op.startswith("DepthwiseConv2dNative") or node.op in ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"):
        return _products(operation, node, out)
    if node.op in ("MaxPool", "AvgPool") and out is not None:
        window = 1
        for size in node.attr["ksize"].list.i:
            window *= size
        return out * window
    if not operation.outputs[0].dtype.is_floating:
        return 0
    return out


def _products(operation: Any, node: Any, out: Optional[int]) -> Optional[int]:
    shape = _shape(operation.inputs[1])
    if shape is None or out is None:
        return None
    if node.op.startswith("DepthwiseConv2dNative"):
        return 2 * out * shape[0] * shape[1]
    if node.op == "Conv2DBackpropInput":
        # Each value of what comes in (input 2) is multiplied with the whole filter of one channel.
        coming = _size(operation.inputs[2])
        return None if coming is None else 2 * coming * shape[0] * shape[1] * shape[2]
    if node.op in _CONVOLUTIONS:
        filter_size = 1
        for size in shape[:-1]:
            filter_size *= size
        return 2 * out * filter_size
    transposed = node.attr["transpose_b"].b or node.attr["adj_y"].b
    return 2 * out * (shape[-1] if transposed else shape[-2])


def _shape(tensor: Any) -> Any:
    shape = tensor.shape
    return shape.as_list() if shape.is_fully_defined() else None


def _size(tensor: Any) -> Optional[int]:
    shape = _shape(tensor)
    if shape is None:
        return None
    size = 1
    for part in shape:
        size *= part
    return size
