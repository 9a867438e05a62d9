"""Which variables of a SavedModel get a value when it is loaded."""

import os
from typing import Any, List, Optional, Set

from tfleet.convert.graph import source_of
from tfleet.convert.lint.reach import Body

VARIABLES = frozenset(("Variable", "VariableV2", "VarHandleOp", "AutoReloadVariable"))
_ASSIGNS = ("Assign", "AssignVariableOp")
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")


def initialised(tf: Any, path: str, meta: Any) -> Set[str]:
    """The names of the variables (nodes) that restoring the checkpoint of the SavedModel ``path``, or its initialisation, assigns.

    A value that the checkpoint lacks does not count.
    """
    body = Body("", meta.graph_def.node, False)
    stored = _stored(tf, path)
    found: Set[str] = set()
    seen: Set[str] = set()
    todo = _roots(meta)
    while todo:
        name = todo.pop()
        node = body.nodes.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        todo += [body.source(text)[0] for text in node.input]
        if node.op in _ASSIGNS and _has_value(body, node.input[1], stored):
            found.update(_variables(body, node.input[0]))
        elif node.op in _CALLS:
            # TensorFlow 2 restores in a function, to which it hands the variables that it assigns.
            for text in node.input:
                found.update(_variables(body, text))
    return found


def _roots(meta: Any) -> List[str]:
    """The operations that a server runs on load."""
    roots = [meta.saver_def.restore_op_name]
    # Asking a map for what it lacks would put it there, and into the file that is written.
    if "__saved_model_init_op" in meta.signature_def:
        roots += [info.name for info in meta.signature_def["__saved_model_init_op"].outputs.values()]
    for key in ("saved_model_main_op", "legacy_init_op"):
        roots += list(meta.collection_def[key].node_list.value) if key in meta.collection_def else []
    return [source_of(name)[0] for name in roots if name]


def _variables(body: Body, text: str) -> List[str]:
    node = body.origin(text)
    return [node.name] if node is not None and node.op in VARIABLES else []


def _stored(tf: Any, path: str) -> Optional[Set[str]]:
    """The names in the checkpoint; None if it cannot be listed."""
    prefix = os.path.join(path, "variables", "variables")
    if not os.path.isfile(prefix + ".index"):
        return None
    try:
        return set(tf.train.load_checkpoint(prefix).get_variable_to_shape_map())
    except Exception:  # noqa: BLE001 (a damaged index is told by whoever loads it)
        return None


def _has_value(body: Body, text: str, stored: Optional[Set[str]]) -> bool:
    """Whether what is assigned is there: everything but what a restore operation asks the checkpoint for in vain."""
    tensor = body.source(text)
    node = body.nodes.get(tensor[0])
    while node is not None and node.op == "Identity":
        tensor = body.source(node.input[0])
        node = body.nodes.get(tensor[0])
    if node is None or node.op != "RestoreV2" or stored is None:
        return True
    names = body.nodes.get(body.source(node.input[1])[0])
    values = list(names.attr["value"].tensor.string_val) if names is not None and names.op == "Const" else []
    return tensor[1] >= len(values) or values[tensor[1]].decode("utf-8", "replace") in stored
