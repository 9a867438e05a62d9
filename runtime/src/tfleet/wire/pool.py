"""Builds message classes from the texts of `tfleet.wire.schema` in a descriptor pool of its own.

Generated modules are not used for two reasons: those of a newer generator do not load on protobuf 3.19, the last for
Python 3.6, and they register in the global pool, where tensorflow-serving-api has registered the same names.
"""

import re
from typing import Any, Dict, Iterable, Iterator, List, Optional, Tuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.internal import enum_type_wrapper

_FIELD = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "double": _FIELD.TYPE_DOUBLE,
    "float": _FIELD.TYPE_FLOAT,
    "int64": _FIELD.TYPE_INT64,
    "uint64": _FIELD.TYPE_UINT64,
    "int32": _FIELD.TYPE_INT32,
    "bool": _FIELD.TYPE_BOOL,
    "string": _FIELD.TYPE_STRING,
    "bytes": _FIELD.TYPE_BYTES,
    "uint32": _FIELD.TYPE_UINT32,
    "sint64": _FIELD.TYPE_SINT64,
}
_UNPACKABLE = (_FIELD.TYPE_STRING, _FIELD.TYPE_BYTES)
_STATEMENT = re.compile(
    r"(?P<block>message|enum|oneof) (?P<block_name>\w+) \{"
    r"|map<(?P<key>\w+), (?P<map_value>[\w.]+)> (?P<map_name>\w+) = (?P<map_number>\d+);"
    r"|(?:(?P<label>repeated|optional) )?(?P<type>[\w.]+) (?P<name>\w+) = (?P<number>\d+)(?: \[json_name = \"(?P<json>\w+)\"\])?;"
    r"|(?P<value_name>\w+) = (?P<value>\d+);"
    r"|(?P<end>\})"
)

Source = Tuple[str, str, str]


class _Reader(object):
    """Turns schema texts into FileDescriptorProtos. Types may be used before their definition, so they are resolved last."""

    def __init__(self) -> None:
        self.files: List[Any] = []
        self._kinds: Dict[str, int] = {}
        self._unresolved: List[Tuple[Any, str, str]] = []

    def read(self, source: Source) -> None:
        """Reads one file: (path, package, text). Each file may use every type of the files read before it."""
        path, package, text = source
        file = descriptor_pb2.FileDescriptorProto(name=path, package=package, syntax="proto3")
        file.dependency.extend(earlier.name for earlier in self.files)
        self.files.append(file)
        blocks: List[Tuple[str, Any, str]] = [("file", file, package)]
        for line in text.strip().splitlines():
            self._statement(line.strip(), blocks)

    def _statement(self, line: str, blocks: List[Tuple[str, Any, str]]) -> None:
        match = _STATEMENT.fullmatch(line)
        if match is None:
            raise ValueError("not a statement of the schema: %r" % line)
        kind, block, scope = blocks[-1]
        part = match.groupdict()
        if part["end"]:
            blocks.pop()
        elif part["block"] == "oneof":
            block.oneof_decl.add(name=part["block_name"])
            blocks.append(("oneof", block, scope))
        elif part["block"]:
            blocks.append(self._open(part["block"], part["block_name"], kind, block, scope))
        elif part["map_name"]:
            self._map(block, scope, part["map_name"], int(part["map_number"]), part["key"], part["map_value"])
        elif part["value_name"]:
            block.value.add(name=part["value_name"], number=int(part["value"]))
        else:
            field = self._field(block, scope, part["type"], part["name"], int(part["number"]), part["label"], kind == "oneof")
            if part["json"]:
                field.json_name = part["json"]

    def _open(self, keyword: str, name: str, kind: str, block: Any, scope: str) -> Tuple[str, Any, str]:
        full_name = "%s.%s" % (scope, name)
        if keyword == "enum":
            self._kinds[full_name] = _FIELD.TYPE_ENUM
            return "enum", block.enum_type.add(name=name), full_name
        self._kinds[full_name] = _FIELD.TYPE_MESSAGE
        messages = block.message_type if kind == "file" else block.nested_type
        return "message", messages.add(name=name), full_name

    def _field(
        self, message: Any, scope: str, type_name: str, name: str, number: int, label: Optional[str], in_oneof: bool
    ) -> Any:
        repeated = label == "repeated"
        field = message.field.add(
            name=name, number=number, label=_FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL
        )
        if type_name in _SCALARS:
            field.type = _SCALARS[type_name]
            # Said aloud because the pure Python parser of old protobuf releases does not infer it from proto3.
            if repeated and field.type not in _UNPACKABLE:
                field.options.packed = True
        else:
            self._unresolved.append((field, type_name, scope))
        if in_oneof:
            field.oneof_index = len(message.oneof_decl) - 1
        elif label == "optional":
            # Presence in proto3 is a oneof with one member; such oneofs come after the real ones.
            field.proto3_optional = True
            field.oneof_index = len(message.oneof_decl)
            message.oneof_decl.add(name="_" + name)
        return field

    def _map(self, message: Any, scope: str, name: str, number: int, key: str, value: str) -> None:
        entry_name = "".join(word.capitalize() for word in name.split("_")) + "Entry"
        entry = message.nested_type.add(name=entry_name)
        entry.options.map_entry = True
        entry_scope = "%s.%s" % (scope, entry_name)
        self._kinds[entry_scope] = _FIELD.TYPE_MESSAGE
        self._field(entry, entry_scope, key, "key", 1, None, False)
        self._field(entry, entry_scope, value, "value", 2, None, False)
        self._field(message, scope, entry_name, name, number, "repeated", False)

    def resolve(self) -> None:
        """Fills in the full type name of each field, looking from the innermost scope outwards as protoc does."""
        for field, type_name, scope in self._unresolved:
            candidate = scope
            while candidate and "%s.%s" % (candidate, type_name) not in self._kinds:
                candidate = candidate.rpartition(".")[0]
            full_name = "%s.%s" % (candidate, type_name) if candidate else type_name
            field.type = self._kinds[full_name]
            field.type_name = "." + full_name


def build(sources: Iterable[Source]) -> Tuple[Any, Dict[str, Any]]:
    """Builds a DescriptorPool and the classes of all top-level messages and enums, by their short names.

    Raises ValueError for a line it cannot read, KeyError for an undefined type.
    """
    reader = _Reader()
    for source in sources:
        reader.read(source)
    reader.resolve()
    pool = descriptor_pool.DescriptorPool()
    get_class = getattr(message_factory, "GetMessageClass", None)
    if get_class is None:  # protobuf before 4.22
        get_class = message_factory.MessageFactory(pool).GetPrototype
    types: Dict[str, Any] = {}
    for file in reader.files:
        pool.AddSerializedFile(file.SerializeToString())
        for message in file.message_type:
            descriptor = pool.FindMessageTypeByName("%s.%s" % (file.package, message.name))
            types[message.name] = get_class(descriptor)
            _kept.extend(map(get_class, _nested(descriptor)))
        for enum in file.enum_type:
            types[enum.name] = enum_type_wrapper.EnumTypeWrapper(pool.FindEnumTypeByName("%s.%s" % (file.package, enum.name)))
    return pool, types


# protobuf makes the class of a nested message on first use and keeps none itself. What the garbage collector is taking away
# it still gives to other threads, as a class without methods: now and then a poll or a request would fail.
_kept: List[Any] = []


def _nested(descriptor: Any) -> Iterator[Any]:
    for inner in descriptor.nested_types:
        yield inner
        yield from _nested(inner)
