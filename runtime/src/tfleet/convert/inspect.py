"""``tfleet inspect``: what is in a SavedModel or a graph, without loading its variables, as data and as text for people."""

import os
from typing import Any, Dict, List, Sequence, Tuple

from tfleet.convert import framework, frozen_graph, graph, saved_model
from tfleet.convert import source as sources
from tfleet.errors import TfleetError


def inspect(path: str) -> Dict[str, Any]:
    """Describe the SavedModel folder or graph file ``path`` as ``tfleet inspect`` answers it.

    Shapes hold -1 for an unknown size and are None for an unknown rank. Candidates are given for graphs; a SavedModel has its signatures.
    Raises TfleetError if ``path`` is neither.
    """
    path = os.path.abspath(os.path.expanduser(path))
    if not os.path.exists(path):
        raise TfleetError("There is no `%s`.%s" % (path, sources.neighbours(path)), missing=True)
    if not os.access(path, os.R_OK):
        raise TfleetError("`%s` cannot be read: permission denied for user id %d. Change its mode or owner." % (path, os.geteuid()))
    tf = framework.load()
    described = _saved_model(tf, path) if os.path.isdir(path) else _graph(tf, path)
    return dict(described, ok=True, path=path, bytes=sources.size_of(path))


def _saved_model(tf: Any, path: str) -> Dict[str, Any]:
    model = saved_model.read(path)
    meta_graphs = [
        {
            "tags": sorted(meta.meta_info_def.tags),
            "signatures": saved_model.describe_signatures(tf, meta),
            "ops": graph.operations(meta.graph_def),
            "tensorflow_version": meta.meta_info_def.tensorflow_version,
        }
        for meta in model.meta_graphs
    ]
    return {"kind": "saved_model", "meta_graphs": meta_graphs, "candidates": {"inputs": [], "outputs": []}}


def _graph(tf: Any, path: str) -> Dict[str, Any]:
    graph_def = tf.compat.v1.GraphDef()
    frozen_graph.read(tf, path, graph_def)
    loaded = graph.Graph(tf, graph_def, "the graph `%s`" % path)
    return {
        "kind": "frozen_graph",
        "candidates": loaded.candidates(),
        "meta_graphs": [{"tags": [], "signatures": {}, "ops": graph.operations(graph_def), "tensorflow_version": ""}],
    }


def render(described: Dict[str, Any]) -> str:
    """The text of ``tfleet inspect`` for people."""
    lines = ["%s  (%s, %s)" % (described["path"], _KINDS[described["kind"]], _bytes(described["bytes"]))]
    for meta in described["meta_graphs"]:
        if described["kind"] == "saved_model":
            lines += ["", "Tag set {%s}, written by TensorFlow %s" % (", ".join(meta["tags"]), meta["tensorflow_version"] or "?")]
            lines += [line for name, signature in sorted(meta["signatures"].items()) for line in signature_lines(name, signature)]
            if not meta["signatures"]:
                lines += ["", "  No signature: declare one with tfleet export --input … --output …"]
        else:
            lines += _candidate_lines(described["candidates"])
        lines += _operation_lines(meta["ops"])
    return "\n".join(lines)


_KINDS = {"saved_model": "SavedModel", "frozen_graph": "graph without signatures"}


def signature_lines(name: str, signature: Dict[str, Any]) -> List[str]:
    """One described signature as lines of a table."""
    rows = [
        (side, alias, info["dtype"], framework.shape_text(info["shape"]), info["name"])
        for side, infos in (("input", signature["inputs"]), ("output", signature["outputs"]))
        for alias, info in sorted(infos.items())
    ]
    return ["", "  Signature %s  (%s)" % (name, signature["method_name"] or "no method")] + _table(rows, "    ")


def _candidate_lines(candidates: Dict[str, List[Dict[str, Any]]]) -> List[str]:
    rows = [
        (side, info["name"], info["dtype"], framework.shape_text(info["shape"]), info["op"])
        for side, infos in (("input", candidates["inputs"]), ("output", candidates["outputs"]))
        for info in infos
    ]
    return ["", "  Candidates by form: placeholders, and tensors that nothing in the graph consumes"] + _table(rows, "    ")


def _operation_lines(operations: Dict[str, int]) -> List[str]:
    lines = ["", "  Operations: %d in %d kinds" % (sum(operations.values()), len(operations))]
    line = "   "
    for name, count in sorted(operations.items(), key=lambda item: (-item[1], item[0])):
        entry = " %s %d" % (name, count)
        if len(line) + len(entry) > 110:
            lines.append(line + ",")
            line = "   "
        line += ("," if line.strip() else "") + entry
    return lines + [line]


def _table(rows: Sequence[Tuple[str, ...]], indent: str) -> List[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
    return [(indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths))).rstrip() for row in rows]


def _bytes(count: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return "%.1f %s" % (count / size, unit)
    return "%d bytes" % count
