"""Reading graphs as protocol buffers and asking them questions: tensors, candidates, what an output needs."""

from typing import Any, Dict, Iterable, List, Set, Tuple

from tfleet.convert import framework, signatures
from tfleet.errors import TfleetError

# Constants above this many bytes are weights: shapes never depend on their values.
_LARGE_CONSTANT = 1024
_NOT_OUTPUTS = frozenset(
    (
        "Const",
        "NoOp",
        "Assert",
        "Print",
        "PrintV2",
        "Placeholder",
        "PlaceholderWithDefault",
        "PlaceholderV2",
        "SaveV2",
        "RestoreV2",
        "Assign",
        "AssignVariableOp",
        "AssignAddVariableOp",
        "AssignSubVariableOp",
        "VarHandleOp",
        "VarIsInitializedOp",
        "Variable",
        "VariableV2",
        "ScalarSummary",
        "HistogramSummary",
        "ImageSummary",
        "MergeSummary",
        "TensorSummaryV2",
        "SaveSlices",
        "ShardedFilename",
        "MergeV2Checkpoints",
        "InitializeTable",
        "InitializeTableV2",
        "InitializeTableFromTextFileV2",
        "CheckNumericsV2",
        "DebugIdentityV2",
    )
)
_VARIABLES = frozenset(("Variable", "VariableV2", "VarHandleOp", "AutoReloadVariable"))


def parse(message: Any, data: bytes, what: str) -> bool:
    """Whether ``data`` is the kind of ``message``, which is filled with it. Raises TfleetError if memory does not suffice."""
    try:
        message.MergeFromString(data)
        return True
    except MemoryError:
        raise TfleetError("There is not enough memory to read %s (%d bytes). Free memory or add swap, and run again." % (what, len(data)))
    except Exception:  # noqa: BLE001 (DecodeError, and what hostile input makes older parsers raise: RecursionError, ValueError, …)
        return False


class Graph(object):
    """A GraphDef together with its imported form, in which TensorFlow has inferred every dtype and shape.

    The imported form has no weights (see ``_skeleton``): it costs little memory however large the model is.
    """

    def __init__(self, tf: Any, graph_def: Any, what: str) -> None:
        self.tf = tf
        self.graph_def = graph_def
        self.what = what
        self.nodes: Dict[str, Any] = {node.name: node for node in graph_def.node}
        self.imported = _imported(tf, graph_def, what)

    def tensor(self, name: str, use: str) -> Any:
        """The imported tensor ``name``. ``use`` begins the message of the TfleetError raised for a name that is not one."""
        if name in self.nodes:
            count = len(self.imported.get_operation_by_name(name).outputs)
            raise TfleetError(
                "%s: `%s` names an operation, not a tensor. Write `%s:0`%s."
                % (use, name, name, " (it has outputs 0 to %d)" % (count - 1) if count > 1 else ""),
                tensor=name,
                candidates=[name + ":0"],
            )
        operation, colon, index = name.partition(":")
        if colon and operation in self.nodes and index.isdigit():
            outputs = self.imported.get_operation_by_name(operation).outputs
            if int(index) < len(outputs):
                return outputs[int(index)]
            raise TfleetError(
                "%s: there is no tensor `%s`: the operation `%s` (%s) has %d output%s."
                % (use, name, operation, self.nodes[operation].op, len(outputs), "" if len(outputs) == 1 else "s"),
                tensor=name,
                candidates=[tensor.name for tensor in outputs],
            )
        raise TfleetError(
            "%s: there is no tensor `%s` in %s. %s" % (use, name, self.what, self._hint(operation)), tensor=name, candidates=self._near(operation)
        )

    def _near(self, operation: str) -> List[str]:
        tensors = [node for node in self.nodes if self.imported.get_operation_by_name(node).outputs]
        wanted = operation[len("import/") :] if operation.startswith("import/") else operation
        if wanted in tensors:
            return [wanted + ":0"]
        return [node + ":0" for node in signatures.nearest(wanted, tensors)]

    def _hint(self, operation: str) -> str:
        near = self._near(operation)
        hint = "The nearest are %s." % ", ".join("`%s`" % name for name in near) if near else ("No name is like it: `tfleet inspect` lists the candidates.")
        if not self.graph_def.HasField("versions"):
            hint += (
                " The file has no versions record, which TensorFlow writes at its end: it may be truncated. Compare its size or its SHA-256 with the original."
            )
        return hint

    def describe(self, tensor: Any) -> Dict[str, Any]:
        """``{"name", "dtype", "shape"}`` of an imported tensor."""
        return {"name": tensor.name, "dtype": tensor.dtype.base_dtype.name, "shape": framework.shape_list(tensor.shape.as_proto())}

    def candidates(self) -> Dict[str, List[Dict[str, Any]]]:
        """``{"inputs", "outputs"}``: placeholders, and the tensors of operations that nobody consumes, with dtypes and shapes."""
        consumed: Set[str] = set()
        for node in self.graph_def.node:
            consumed.update(source_of(name)[0] for name in node.input if not name.startswith("^"))
        inputs: List[Dict[str, Any]] = []
        outputs: List[Dict[str, Any]] = []
        for node in self.graph_def.node:
            operation = self.imported.get_operation_by_name(node.name)
            chosen = inputs if node.op.startswith("Placeholder") else outputs
            if chosen is outputs and (node.name in consumed or node.op in _NOT_OUTPUTS):
                continue
            for tensor in operation.outputs:
                chosen.append(dict(self.describe(tensor), op=node.op))
        return {"inputs": inputs, "outputs": outputs}

    def needed(self, outputs: Iterable[str], inputs: Iterable[str]) -> List[Any]:
        """The nodes that computing the tensors ``outputs`` runs when the tensors ``inputs`` are fed."""
        fed = {source_of(name) for name in inputs}
        todo = [source_of(name) for name in outputs]
        seen: Dict[str, Any] = {}
        while todo:
            source = todo.pop()
            if source in fed or source[0] in seen or source[0] not in self.nodes:
                continue
            node = self.nodes[source[0]]
            seen[node.name] = node
            todo.extend(source_of(name) for name in node.input)
        return list(seen.values())

    def check_computable(self, name: str, signature: Dict[str, Any]) -> None:
        """Raise TfleetError if an output of ``signature`` needs a placeholder that is not fed."""
        for alias, output in sorted(signature["outputs"].items()):
            nodes = self.needed([output], signature["inputs"].values())
            missing = sorted(node.name for node in nodes if node.op in ("Placeholder", "PlaceholderV2"))
            if missing:
                raise TfleetError(
                    "Signature `%s`: its output `%s` (%s) cannot be computed without the placeholder%s %s, which %s not among its inputs. "
                    "Add %s to the inputs."
                    % (
                        name,
                        alias,
                        output,
                        "" if len(missing) == 1 else "s",
                        _listed(missing),
                        "is" if len(missing) == 1 else "are",
                        ", ".join('`%s: "%s:0"`' % (node.rsplit("/", 1)[-1], node) for node in missing[:3]),
                    ),
                    missing_inputs=missing,
                )

    def check_frozen(self, outputs: Iterable[str]) -> None:
        """Raise TfleetError if computing ``outputs`` reads a variable: a graph without its weights."""
        variables = sorted(node.name for node in self.needed(outputs, ()) if node.op in _VARIABLES)
        if variables:
            raise TfleetError(
                "%s is not frozen: it reads %d variable%s (%s) whose values are not in it. Freeze it where its checkpoint is "
                "(TF 1: convert_variables_to_constants, TF 2: convert_variables_to_constants_v2), or give the SavedModel."
                % (_capital(self.what), len(variables), "" if len(variables) == 1 else "s", _listed(variables)),
                variables=variables[:20],
            )


def source_of(name: str) -> Tuple[str, int]:
    """``("op", 1)`` for an input ``op:1``, ``("op", 0)`` for ``op`` and ``("op", -1)`` for the control input ``^op``."""
    if name.startswith("^"):
        return name[1:], -1
    operation, colon, index = name.rpartition(":")
    return (operation, int(index)) if colon and index.isdigit() else (name, 0)


def has_variables(graph_def: Any) -> bool:
    """Whether a graph or a function in it holds variables, whose values a checkpoint must bring."""
    nodes = [graph_def.node] + [function.node_def for function in graph_def.library.function]
    return any(node.op in _VARIABLES for group in nodes for node in group)


def operations(graph_def: Any) -> Dict[str, int]:
    """How often each operation is used, functions included: ``{"Conv2D": 3, …}``."""
    counts: Dict[str, int] = {}
    for group in [graph_def.node] + [function.node_def for function in graph_def.library.function]:
        for node in group:
            counts[node.op] = counts.get(node.op, 0) + 1
    return counts


def _listed(names: List[str], most: int = 5) -> str:
    return ", ".join("`%s`" % name for name in names[:most]) + (" and %d more" % (len(names) - most) if len(names) > most else "")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _skeleton(tf: Any, graph_def: Any) -> Any:
    """A copy of ``graph_def`` whose large constants have their dtype and shape but no content. Enough for names, dtypes and shapes."""
    skeleton = tf.compat.v1.GraphDef()
    skeleton.versions.CopyFrom(graph_def.versions)
    skeleton.library.CopyFrom(graph_def.library)
    for node in graph_def.node:
        copy = skeleton.node.add()
        if node.op != "Const" or node.attr["value"].tensor.ByteSize() <= _LARGE_CONSTANT:
            copy.CopyFrom(node)
            continue
        copy.name, copy.op, copy.device = node.name, node.op, node.device
        copy.input.extend(node.input)
        for key in node.attr:
            if key != "value":
                copy.attr[key].CopyFrom(node.attr[key])
        copy.attr["value"].tensor.dtype = node.attr["value"].tensor.dtype
        copy.attr["value"].tensor.tensor_shape.CopyFrom(node.attr["value"].tensor.tensor_shape)
    return skeleton


def _imported(tf: Any, graph_def: Any, what: str) -> Any:
    graph = tf.Graph()
    try:
        with graph.as_default():
            # name='' keeps the names people declare; the default would prefix every one with import/.
            tf.compat.v1.import_graph_def(_skeleton(tf, graph_def), name="")
    except Exception as error:  # noqa: BLE001 (ValueError, TypeError, KeyError, OpError: TensorFlow's way to refuse differs by version)
        raise TfleetError(why_not_imported(tf, graph_def, what, error), tensorflow=tf.__version__)
    return graph


def why_not_imported(tf: Any, graph_def: Any, what: str, error: Exception) -> str:
    """A sentence for TensorFlow's refusal to import a graph."""
    text = framework.first_line(error)
    unknown = sorted(op for op in operations(graph_def) if not _registered(op, graph_def)) if "not registered" in text else []
    if "TRTEngineOp" in unknown:
        return (
            "%s was converted with TF-TRT for another TensorFlow: TRTEngineOp is not in TensorFlow %s here. Convert the original model "
            "on the device instead." % (_capital(what), tf.__version__)
        )
    if unknown:
        return (
            "%s uses operations that TensorFlow %s does not have: %s. They are custom operations, or the graph was made with a newer "
            "TensorFlow: use a runtime with the TensorFlow that made it, or export it again without them." % (_capital(what), tf.__version__, _listed(unknown))
        )
    if "NodeDef mentions attr" in text or "min_consumer" in text or "GraphDef min consumer" in text:
        return (
            "%s was made with a newer TensorFlow than %s, which is here: %s. Use a runtime with that TensorFlow, or export the graph "
            "again with this one." % (_capital(what), tf.__version__, text)
        )
    return "TensorFlow %s cannot import %s: %s. The file is damaged or was cut out of a larger graph: compare its SHA-256 with the original." % (
        tf.__version__,
        what,
        text,
    )


def _registered(op: str, graph_def: Any) -> bool:
    from tensorflow.python.framework import op_def_registry

    if op in [function.signature.name for function in graph_def.library.function]:
        return True
    if hasattr(op_def_registry, "get"):
        return op_def_registry.get(op) is not None
    return op in op_def_registry.get_registered_ops()
