"""The variant `grappler`: variables frozen, constants folded, operations fused by TensorFlow's own optimizer, once instead of at each load."""

import collections
from typing import Any, Callable, Counter, Dict

from tfleet.convert.variants import frozen as freezing
from tfleet.convert.variants import light
from tfleet.convert.variants.request import Request

# What makes inference faster and is the same on every device. Not the layout optimizer, whose choice depends on the device that is here, nor
# the remapper: its fused operations are a matter of the device too, and TensorFlow applies them when it loads a graph.
_OPTIMIZERS = ("pruning", "function", "constfold", "shape", "arithmetic", "loop", "dependency", "common_subgraph_elimination")


def convert(tf: Any, source: str, built: str, request: Request, signature: Any, report: Callable[..., None]) -> Dict[str, Any]:
    """Write the variant to `built` and return its summary."""
    from tensorflow.core.protobuf import config_pb2

    report("freezing")
    frozen = freezing.freeze(tf, source, request.tags, request.signature, signature)
    before = _count(frozen.graph_def)
    config = config_pb2.ConfigProto()
    options = config.graph_options.rewrite_options
    options.min_graph_nodes = -1
    options.meta_optimizer_iterations = options.TWO
    options.optimizers.extend(_OPTIMIZERS)
    report("optimizing")
    held = [name + ":0" for name in frozen.weights.names()]
    optimized = light.optimize(config, frozen.graph_def, list(frozen.inputs.values()) + list(frozen.outputs.values()) + held)
    after = _count(optimized)
    report("saving")
    freezing.write(tf, built, optimized, frozen, request.signature, signature, request.tags)
    return {"nodes_before": sum(before.values()), "nodes_after": sum(after.values()), "operations": dict(after)}


def _count(graph_def: Any) -> Dict[str, int]:
    counted: Counter[str] = collections.Counter(node.op for node in graph_def.node)
    for function in graph_def.library.function:
        counted.update(node.op for node in function.node_def)
    return counted
