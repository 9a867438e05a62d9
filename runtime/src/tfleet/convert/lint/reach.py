"""What runs when a signature is called: the nodes its outputs need, through functions, without branches that are never taken."""

from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Set, Tuple

from tfleet.convert.graph import source_of

_IFS = ("If", "StatelessIf")
_PASS_ON = ("Identity", "StopGradient", "Snapshot", "Enter", "ReadVariableOp", "Cast")
# Names by which nodes in functions call the two outputs of a Switch.
_PORTS = {"output_false": 0, "output_true": 1}

Tensor = Tuple[str, int]  # node and output; -1 for a control input


class Body(object):
    """A graph or a function of its library: nodes by name, and who consumes whom."""

    def __init__(self, name: str, nodes: Iterable[Any], in_function: bool) -> None:
        self.name = name
        self.nodes: Dict[str, Any] = {node.name: node for node in nodes}
        self._in_function = in_function
        self.consumers: Dict[str, List[Any]] = {}
        for node in self.nodes.values():
            for text in node.input:
                self.consumers.setdefault(self.source(text)[0], []).append(node)

    def source(self, text: str) -> Tensor:
        """The tensor that an input names, in the form of graphs (`a:1`) or of functions (`a:output:0`)."""
        if not self._in_function or text.startswith("^"):
            return source_of(text)
        name, _colon, port = text.partition(":")
        return name, _PORTS.get(port.partition(":")[0], 0)

    def origin(self, text: str) -> Optional[Any]:
        """The node that an input comes from, through operations that hand it on; None for an argument of a function."""
        node = self.nodes.get(self.source(text)[0])
        for _ in range(20):
            if node is None or node.op not in _PASS_ON or not node.input:
                return node
            node = self.nodes.get(self.source(node.input[0])[0])
        return node


Used = NamedTuple("Used", [("node", Any), ("body", Body)])


def used(graph_def: Any, outputs: Optional[Iterable[str]], inputs: Iterable[str]) -> List[Used]:
    """The nodes that computing the tensors ``outputs`` runs when ``inputs`` are fed; all nodes if ``outputs`` is None."""
    functions = {function.signature.name: function for function in graph_def.library.function}
    main = Body("", graph_def.node, False)
    if outputs is None:
        roots: Iterable[Tensor] = [(name, 0) for name in main.nodes]
    else:
        roots = [source_of(name) for name in outputs]
    found = _walk(main, roots, {source_of(name) for name in inputs})
    called = [name for use in found for name in _functions_of(use, functions)]
    seen: Set[str] = set()
    while called:
        name = called.pop()
        if name in seen:
            continue
        seen.add(name)
        function = functions[name]
        body = Body(name, function.node_def, True)
        results = [body.source(text) for text in list(function.ret.values()) + list(getattr(function, "control_ret", {}).values())]
        inner = _walk(body, results, set())
        found += inner
        called += [other for use in inner for other in _functions_of(use, functions)]
    return found


def _walk(body: Body, roots: Iterable[Tensor], fed: Set[Tensor]) -> List[Used]:
    dead = _dead(body, fed)
    todo = list(roots)
    seen: Dict[str, Used] = {}
    while todo:
        tensor = todo.pop()
        if tensor in fed or tensor in dead or tensor[0] in seen or tensor[0] not in body.nodes:
            continue
        node = body.nodes[tensor[0]]
        seen[node.name] = Used(node, body)
        todo += [body.source(text) for text in node.input]
    return list(seen.values())


def _functions_of(use: Used, functions: Dict[str, Any]) -> List[str]:
    """The functions that a node calls: of a condition that is known, the one it takes."""
    node = use.node
    if node.op in _IFS and node.input:
        value = _truth(use.body, node.input[0], set())
        if value is not None:
            return [node.attr["then_branch" if value else "else_branch"].func.name]
    names = [node.op]
    for value in node.attr.values():
        names += [value.func.name] + [function.name for function in value.list.func]
    return [name for name in names if name in functions]


def _truth(body: Body, text: str, fed: Set[Tensor]) -> Optional[bool]:
    """The value of a condition that is a constant, or has a default which no signature overrides; None if it is not known."""
    inverted = False
    for _ in range(20):
        tensor = body.source(text)
        node = body.nodes.get(tensor[0])
        if node is None or tensor in fed:
            return None
        if node.op == "Const":
            tensor_proto = node.attr["value"].tensor
            values = list(tensor_proto.bool_val) or [bool(octet) for octet in tensor_proto.tensor_content[:1]]
            return bool(values[0]) != inverted if values else None
        if node.op == "LogicalNot":
            inverted = not inverted
        elif node.op not in _PASS_ON and node.op != "PlaceholderWithDefault":
            return None
        text = node.input[0]
    return None


def _dead(body: Body, fed: Set[Tensor]) -> Set[Tensor]:
    """The tensors that are never computed, because TensorFlow 1's Switch sends nothing there."""
    dead: Set[Tensor] = set()
    todo: List[Tensor] = []
    for node in body.nodes.values():
        if node.op in ("Switch", "RefSwitch") and len(node.input) > 1:
            value = _truth(body, node.input[1], fed)
            if value is not None:
                todo.append((node.name, 0 if value else 1))
    while todo:
        tensor = todo.pop()
        if tensor in dead:
            continue
        dead.add(tensor)
        for node in body.consumers.get(tensor[0], ()):
            sources = [body.source(text) for text in node.input]
            # A merge waits for one of its inputs, every other operation for all of them.
            merge = node.op in ("Merge", "RefMerge")
            gone = [source in dead for source in sources if not (merge and source[1] < 0)]
            if all(gone) if merge else any(gone):
                todo += [(node.name, port) for port in (-1, 0, 1, 2, 3)]
    return dead
