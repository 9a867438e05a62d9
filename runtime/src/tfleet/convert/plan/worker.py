"""The child process of a plan: TF-TRT's converter with the stand-in for TensorRT, up to the converted graph. `estimate` starts it."""

import contextlib
import sys
from typing import Any, Dict, Iterator

from tfleet.convert.variants import worker as convert_worker

_CALLS = ("While", "StatelessWhile", "If", "StatelessIf", "PartitionedCall", "StatefulPartitionedCall")


def main() -> int:
    """Plan what standard input asks for."""
    return convert_worker.serve(_plan)


def _plan(task: Dict[str, Any]) -> Dict[str, Any]:
    from tfleet.convert import framework
    from tfleet.convert.plan import flops
    from tfleet.convert.variants import feeds, frozen, tftrt
    from tfleet.convert.variants.request import Request
    from tfleet.errors import TfleetError

    request = Request(**task["request"])
    convert_worker.report("loading TensorFlow")
    tf = framework.load()
    signature = frozen.signature_of(task["source"], request.tags, request.signature)
    inputs = frozen.described(tf, signature)
    converter, form = tftrt.new_converter(tf, task["source"], request)
    convert_worker.report("segmenting")
    with pretended_gpu(converter) as graphs:
        converter.convert(calibration_input_fn=lambda: iter(())) if request.precision == "INT8" and form.version == 2 else converter.convert()
    converted = converter._converted_graph_def
    convert_worker.report("counting operations")
    notes = []
    try:
        listed = feeds.shapes(request, inputs)[0]
        names = _placeholders(graphs["native"], inputs)
        counted = flops.count(tf, graphs["native"], {names[alias]: listed[alias] for alias in names})
    except TfleetError as error:
        counted = {}
        notes.append("Floating-point operations were not counted: %s" % error)
    segments, taken = _segments(converted)
    return {
        "tensorflow": tf.__version__,
        "nodes": {node.name: node.op for node in graphs["native"].node},
        "functions": sum(1 for node in graphs["native"].node if node.op in _CALLS),
        "segments": segments,
        "taken": taken,
        "flops": counted,
        "notes": notes,
    }


@contextlib.contextmanager
def pretended_gpu(converter: Any) -> Iterator[Dict[str, Any]]:
    """Let convert() go on without a GPU, and keep the graph that the segmenter sees as ``native`` of what is yielded.

    From 2.11 on the converter asks where a tensor lies before it begins (facts/jetson.md, section 8c); the segmenter itself does not
    care. Calibration runs the converted graph, which only a GPU can, so there is none.
    """
    from tensorflow.python.compiler.tensorrt import trt_convert as trt

    graphs: Dict[str, Any] = {}
    arrays, optimizer = getattr(trt, "array_ops", None), trt.tf_optimizer
    trt.tf_optimizer = _Watched(optimizer, graphs)
    if arrays is not None:
        trt.array_ops = _Elsewhere(arrays)
    if hasattr(converter, "_execute_calibration"):
        converter._execute_calibration = lambda _input_fn: None
    try:
        yield graphs
    finally:
        trt.tf_optimizer = optimizer
        if arrays is not None:
            trt.array_ops = arrays


class _Elsewhere(object):
    """array_ops whose zeros() lie on a GPU."""

    class Tensor(object):
        device = "/job:localhost/replica:0/task:0/device:GPU:0"

    def __init__(self, real: Any) -> None:
        self._real = real

    def zeros(self, _shape: Any) -> "Tensor":
        return self.Tensor()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class _Watched(object):
    """tf_optimizer that also optimizes without TF-TRT: that is the graph of which the segmenter takes its segments."""

    def __init__(self, real: Any, graphs: Dict[str, Any]) -> None:
        self._real = real
        self._graphs = graphs

    def OptimizeGraph(self, config: Any, meta: Any, **options: Any) -> Any:  # noqa: N802 (TensorFlow's name)
        custom = config.graph_options.rewrite_options.custom_optimizers
        if any(optimizer.name == "TensorRTOptimizer" for optimizer in custom):
            plain = type(config)()
            plain.CopyFrom(config)
            kept = [optimizer for optimizer in custom if optimizer.name != "TensorRTOptimizer"]
            del plain.graph_options.rewrite_options.custom_optimizers[:]
            plain.graph_options.rewrite_options.custom_optimizers.extend(kept)
            self._graphs["native"] = self._real.OptimizeGraph(plain, meta, **dict(options, graph_id=b"native") if "graph_id" in options else options)
        return self._real.OptimizeGraph(config, meta, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def _placeholders(graph_def: Any, inputs: Any) -> Dict[str, str]:
    """{alias: node} of the inputs: their placeholders carry the alias, or there is only one of each."""
    names = [node.name for node in graph_def.node if node.op == "Placeholder"]
    found = {alias: alias for alias in inputs if alias in names}
    rest = [name for name in names if name not in found.values()]
    for alias in sorted(set(inputs) - set(found)):
        near = [name for name in rest if name.rpartition("/")[2].startswith(alias)]
        if near or len(rest) == 1:
            found[alias] = (near or rest)[0]
            rest.remove(found[alias])
    return found


def _segments(converted: Any) -> Any:
    """`(segments, nodes in them)` of a converted graph: [{"name", "nodes": [..]}], and {node: segment}."""
    functions = {function.signature.name: function for function in converted.library.function}
    segments, taken = [], {}
    for node in converted.node:
        if node.op != "TRTEngineOp":
            continue
        function = functions[node.attr["segment_func"].func.name]
        names = [inner.name for inner in function.node_def]
        segments.append({"name": node.name, "nodes": {inner.name: inner.op for inner in function.node_def}, "inputs": len(node.attr["InT"].list.type)})
        taken.update(dict.fromkeys(names, node.name))
    return segments, taken


if __name__ == "__main__":
    sys.exit(main())
