"""Frozen graphs that TensorFlow 1.15 reads as well, and the golden and metrics files beside them."""
import json
from pathlib import Path
from typing import Callable, Dict, List, Tuple

import numpy as np
import tensorflow as tf

SIZE_LIMIT = 1_000_000

Example = Tuple[Dict[str, np.ndarray], Dict[str, np.ndarray]]


def freeze(build: Callable[[], None]) -> tf.compat.v1.GraphDef:
    """Run `build` in an empty graph and return the graph.

    Attributes at their default value are left out: TensorFlow 1.15 refuses a node with an attribute that it does not know,
    such as MaxPool's explicit_paddings. Shapes inferred by this TensorFlow (`_output_shapes`) and devices never get in.
    """
    with tf.Graph().as_default() as graph:
        build()
        definition = graph.as_graph_def()
    for node in definition.node:
        for known in graph.op_def_for_type(node.op).attr:
            if known.HasField("default_value") and known.name in node.attr and node.attr[known.name] == known.default_value:
                del node.attr[known.name]
    definition.library.Clear()
    return definition


def read_graph(path: Path) -> tf.compat.v1.GraphDef:
    """Return the graph in a frozen_graph.pb."""
    return tf.compat.v1.GraphDef.FromString(Path(path).read_bytes())


class FrozenGraph:
    """A frozen graph in a session, as a server would run it."""

    def __init__(self, definition: tf.compat.v1.GraphDef, threads: int = 1) -> None:
        self.graph = tf.Graph()
        with self.graph.as_default():
            copy = tf.compat.v1.GraphDef()
            copy.CopyFrom(definition)
            tf.import_graph_def(copy, name="")  # writes default attributes back into what it is given
        config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=1)
        self.session = tf.compat.v1.Session(graph=self.graph, config=config)

    @classmethod
    def load(cls, path: Path, threads: int = 1) -> "FrozenGraph":
        return cls(read_graph(path), threads)

    def run(self, signature: dict, inputs: Dict[str, np.ndarray]) -> Dict[str, np.ndarray]:
        """Answer `inputs` (alias to array) by `signature` ({"inputs": {alias: tensor name}, "outputs": {…}})."""
        feed = {signature["inputs"][alias]: array for alias, array in inputs.items()}
        return self.session.run(signature["outputs"], feed)

    def check_signature(self, signature: dict, expected: Dict[str, Tuple[str, list]]) -> None:
        """Raise ValueError unless each alias names a tensor of the expected (dtype name, shape; None for any length)."""
        for alias, tensor_name in {**signature["inputs"], **signature["outputs"]}.items():
            tensor = self.graph.get_tensor_by_name(tensor_name)
            found = (tensor.dtype.name, tensor.shape.as_list())
            if found != expected[alias]:
                raise ValueError("%s (%s) is %s %s; the signature promises %s %s"
                                 % (alias, tensor_name, *found, *expected[alias]))


def write_release(directory: Path, definition: tf.compat.v1.GraphDef, metrics: dict, golden_meta: dict,
                  examples: List[Example]) -> None:
    """Write frozen_graph.pb, golden.npz (the format of tfleet.client.golden) and metrics.json.

    Raises ValueError if the graph is larger than a demo artifact may be.
    """
    data = definition.SerializeToString(deterministic=True)
    if len(data) > SIZE_LIMIT:
        raise ValueError("%s/frozen_graph.pb would be %d bytes; demo artifacts stay under %d" % (directory, len(data), SIZE_LIMIT))
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "frozen_graph.pb").write_bytes(data)
    arrays = {"%d/%s/%s" % (i, kind, alias): array
              for i, example in enumerate(examples)
              for kind, group in zip(("inputs", "outputs"), example)
              for alias, array in group.items()}
    meta = dict(golden_meta, format=1, examples=len(examples))
    np.savez_compressed(directory / "golden.npz", meta=np.array(json.dumps(meta, sort_keys=True)), **arrays)
    metrics = dict(metrics, bytes=len(data))
    (directory / "metrics.json").write_text(json.dumps(metrics, indent=2, sort_keys=True) + "\n")
