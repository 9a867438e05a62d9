"""``tfleet lint``: what in a graph spoils serving, with the nodes' names and what to do. Reads protocol buffers, runs nothing."""

import os
from typing import Any, Dict, Iterable

from tfleet.convert import framework, frozen_graph, saved_model, source
from tfleet.convert.lint import rules
from tfleet.errors import TfleetError


def lint(path: str, tags: Iterable[str] = ("serve",)) -> Dict[str, Any]:
    """``{"path", "kind", "warnings": [{"code", "nodes", "count", "text", "advice"}]}`` of a SavedModel folder or a graph file.

    Of a SavedModel that is linted which its signatures run, of a graph file everything. Raises TfleetError if ``path`` is neither.
    """
    path = os.path.abspath(os.path.expanduser(path))
    if not os.path.exists(path):
        raise TfleetError("There is no `%s`.%s" % (path, source.neighbours(path)), missing=True)
    tf = framework.load()
    if os.path.isdir(path):
        model = saved_model.read(path)
        meta = model.meta_graphs[saved_model.choose(model, list(tags), path)]
        found = rules.warnings(meta.graph_def, saved_model.describe_signatures(tf, meta), rules.initialised(tf, path, meta))
        return {"path": path, "kind": "saved_model", "warnings": found}
    graph_def = tf.compat.v1.GraphDef()
    frozen_graph.read(tf, path, graph_def)
    return {"path": path, "kind": "frozen_graph", "warnings": rules.warnings(graph_def, {})}
