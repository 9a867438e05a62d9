"""Writing a SavedModel proto piece by piece.

Serialised in one piece, a large graph is in memory five times (measured with protobuf 4.25: the message, a buffer grown by doubling, the
bytes); on a device with 4 GB that decides whether it can be exported at all. Node by node it is there once.
"""

from typing import Any, Callable, Iterator

from tfleet.convert import framework
from tfleet.errors import TfleetError

# Field numbers of tensorflow/core/protobuf: SavedModel.meta_graphs, MetaGraphDef.graph_def, GraphDef.node.
_META_GRAPHS, _GRAPH_DEF, _NODE = 2, 2, 1


class Encoded:
    """A SavedModel proto with one meta graph as chunks of bytes: iterate to write them, ``size`` is their sum.

    The bytes are the same for equal protos in every process. Raises TfleetError if they exceed what a protocol buffer may hold.

    :param complete: gives the node to write for a node, such as one with its weights, which are then in memory one at a time. Called twice for each.
    """

    def __init__(self, model: Any, complete: Callable[[Any], Any] = lambda node: node) -> None:
        self._complete = complete
        meta = model.meta_graphs[0]
        self._nodes = meta.graph_def.node
        self._graph_rest = _without(meta.graph_def, "node")
        self._meta_rest = _without(meta, "graph_def")
        nodes = sum(len(_header(_NODE, size)) + size for size in (complete(node).ByteSize() for node in self._nodes))
        self._graph_header = _header(_GRAPH_DEF, nodes + len(self._graph_rest))
        meta_size = len(self._meta_rest) + len(self._graph_header) + nodes + len(self._graph_rest)
        self._head = _without(model, "meta_graphs") + _header(_META_GRAPHS, meta_size)
        self.size = len(self._head) + meta_size
        if self.size > framework.PROTOBUF_LIMIT:
            raise TfleetError(
                "The SavedModel would have %d bytes, but a protocol buffer ends at 2 GiB. Keep the weights in variables: export the model as "
                "a SavedModel where it was trained." % self.size
            )

    def __iter__(self) -> Iterator[bytes]:
        yield self._head
        yield self._meta_rest
        yield self._graph_header
        for node in self._nodes:
            data = self._complete(node).SerializeToString(deterministic=True)
            yield _header(_NODE, len(data))
            yield data
        yield self._graph_rest


def _header(field: int, length: int) -> bytes:
    """What precedes a message of ``length`` bytes in field number ``field``: key (wire type 2) and length, as varints."""
    return _varint(field << 3 | 2) + _varint(length)


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _without(message: Any, left_out: str) -> bytes:
    """``message`` serialised without its field ``left_out``, which may be too large to be copied."""
    rest = type(message)()
    for field, value in message.ListFields():
        target = getattr(rest, field.name)
        if field.name == left_out:
            continue
        if field.label != field.LABEL_REPEATED and field.message_type is None:
            setattr(rest, field.name, value)
        elif field.label != field.LABEL_REPEATED:
            target.CopyFrom(value)
        elif field.message_type is not None and field.message_type.GetOptions().map_entry:
            for key in value:
                target[key].CopyFrom(value[key])
        else:
            target.extend(value)
    return bytes(rest.SerializeToString(deterministic=True))
