"""What is read of a SavedModel without its graph."""

import pytest

from tfleet import wire
from tfleet.server import saved_model_head
from tfleet.wire import varint
from tfleet.wire.fields import FIXED64, LENGTH_DELIMITED, MOST, VARINT, fields


def part(number, content):
    content = content if isinstance(content, bytes) else b"".join(content)
    return varint.encode_one(number << 3 | LENGTH_DELIMITED) + varint.encode_one(len(content)) + content


def meta_graph(tags=("serve",), ops=("Add",), signatures=("a",), graph=b"weights" * 100):
    info = [part(2, [part(1, part(1, op.encode()) + part(2, b"not a name")) for op in ops])] + [part(4, tag.encode()) for tag in tags]
    definition = wire.SignatureDef(method_name="m")
    definition.inputs["x"].name = "x:0"
    return part(2, [part(1, info), part(2, graph)] + [part(5, part(1, name.encode()) + part(2, definition.SerializeToString())) for name in signatures])


def read(tmp_path, *parts, tags=("serve",)):
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01" + b"".join(parts))
    return saved_model_head.read(str(tmp_path), tags)


def test_signatures_and_operations_of_the_graph_with_the_tags(tmp_path):
    head = read(tmp_path, meta_graph(("serve", "gpu"), signatures=("b",)), meta_graph(ops=("Add", "While"), signatures=("a", "c")))
    assert (sorted(head.signatures), head.ops) == (["a", "c"], ["Add", "While"])
    assert head.signatures["a"].inputs["x"].name == "x:0"
    assert sorted(read(tmp_path, meta_graph(("serve", "gpu")), tags=("gpu", "serve")).signatures) == ["a"]


@pytest.mark.parametrize("parts", [
    [], [meta_graph(("other",))], [meta_graph(), meta_graph()], [meta_graph()[:-1]], [b"\x13" + meta_graph()], [part(2, part(5, b"\xff"))]])
def test_anything_unusual_is_no_head(tmp_path, parts):
    assert read(tmp_path, *parts) is None


def test_no_file_and_an_empty_one(tmp_path):
    assert saved_model_head.read(str(tmp_path), ["serve"]) is None
    (tmp_path / "saved_model.pb").write_bytes(b"")
    assert saved_model_head.read(str(tmp_path), ["serve"]) is None


def test_fields_of_a_message():
    data = b"\x08\x96\x01" + b"\x11" + bytes(8) + part(3, b"abc") + b"\x25" + bytes(4)
    assert fields(data, 0, len(data)) == [(1, VARINT, 0, 1, 3), (2, FIXED64, 3, 4, 12), (3, LENGTH_DELIMITED, 12, 14, 17), (4, 5, 17, 18, 22)]
    for wrong in (data[:-1], data[:16], b"\x08", b"\x0b", b"\x08\x01" * (MOST + 1)):
        with pytest.raises(ValueError):
            fields(wrong, 0, len(wrong))
