"""What a SavedModel says of itself, read without its graph: a parser would take the weights of a frozen one into memory first."""
import mmap
import os
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

from .. import wire
from ..wire.fields import fields

# Field numbers of SavedModel, MetaGraphDef, MetaInfoDef, OpList and OpDef.
_META_GRAPHS = 2
_META_INFO, _SIGNATURES = 1, 5
_OPS_OF_GRAPH, _TAGS = 2, 4
_OP = _OP_NAME = 1
_KEY, _VALUE = 1, 2

Head = NamedTuple("Head", [("signatures", Dict[str, Any]), ("ops", List[str])])
"""signatures: name -> wire.SignatureDef; ops: the kinds of operations in the graph, empty if the file does not list them."""


def read(path: str, tags: Sequence[str]) -> Optional[Head]:
    """The head of the graph with exactly these tags; None if it cannot be found in this way, for any reason."""
    try:
        with open(os.path.join(path, "saved_model.pb"), "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            graphs = [_meta_graph(data, start, end, tags) for start, end in _parts(data, 0, len(data), _META_GRAPHS)]
            found = [head for head in graphs if head is not None]
            return found[0] if len(found) == 1 else None
    except Exception:  # noqa: BLE001 (whatever is wrong with the file, loading it will say)
        return None


def _parts(data: Any, start: int, end: int, number: int) -> List[Tuple[int, int]]:
    return [(field[3], field[4]) for field in fields(data, start, end) if field[0] == number]


def _meta_graph(data: Any, start: int, end: int, tags: Sequence[str]) -> Optional[Head]:
    ops: List[str] = []
    found_tags: Set[str] = set()
    for info_start, info_end in _parts(data, start, end, _META_INFO):
        found_tags.update(_text(data, *place) for place in _parts(data, info_start, info_end, _TAGS))
        for list_start, list_end in _parts(data, info_start, info_end, _OPS_OF_GRAPH):
            for op_start, op_end in _parts(data, list_start, list_end, _OP):
                ops += [_text(data, *place) for place in _parts(data, op_start, op_end, _OP_NAME)]
    if found_tags != set(tags):
        return None
    signatures = {}
    for entry_start, entry_end in _parts(data, start, end, _SIGNATURES):
        ((key_start, key_end),) = _parts(data, entry_start, entry_end, _KEY)
        ((value_start, value_end),) = _parts(data, entry_start, entry_end, _VALUE)
        signatures[_text(data, key_start, key_end)] = wire.SignatureDef.FromString(data[value_start:value_end])
    return Head(signatures, ops)


def _text(data: Any, start: int, end: int) -> str:
    return str(data[start:end], "utf-8")
