"""The linter's rules. Each names nodes, says why they spoil serving and what to do."""

import re
from typing import Any, Callable, Dict, Iterable, List, Optional, Set

from tfleet.convert.graph import source_of
from tfleet.convert.lint.reach import Body, Used, used
from tfleet.convert.lint.variables import VARIABLES, initialised

__all__ = ["initialised", "warnings"]

_MOST_NODES = 20
_RANDOM = re.compile(
    r"^(Stateful|Stateless)?(Random(Uniform|UniformInt|Normal|StandardNormal|Gamma|GammaV\d|Poisson|PoissonV2|Shuffle|Crop|Binomial)|"
    r"ParameterizedTruncatedNormal|TruncatedNormal|UniformInt|UniformFullInt|Uniform|StandardNormal\w*|Multinomial|SampleDistortedBoundingBox)(V\d+)?$"
)
_DROPOUT = re.compile(r"drop_?out|drop_?path|stochastic_?depth", re.IGNORECASE)
_OTHER_NORM = re.compile(r"(layer|group|instance)_?norm", re.IGNORECASE)
_PY_FUNC = ("PyFunc", "PyFuncStateless", "EagerPyFunc")
_MASKS = ("GreaterEqual", "Greater", "Less", "LessEqual", "Floor")
_HANDS_ON = ("Identity", "Mul", "Add", "AddV2", "Sub", "Cast")
_GPU = re.compile(r"/(device:)?(gpu|xla_gpu):", re.IGNORECASE)
_JOB = re.compile(r"/job:(?!localhost)\w+")


def warnings(graph_def: Any, signatures: Dict[str, Any], initial: Optional[Set[str]] = None) -> List[Dict[str, Any]]:
    """``[{"code", "nodes", "count", "text", "advice"}]`` of what the signatures run; of the whole graph if there are none.

    :param signatures: as ``saved_model.describe_signatures`` tells them
    :param initial: the names of the variables that get a value on load (``initialised``); None if no variable does, as in a frozen graph
    """
    found = _used(graph_def, signatures)
    listed = [
        _warning("batch_norm_training", _BATCH_NORM, _ADVICE_TRAINING, found, _in_training),
        _warning("dropout_training", _DROPOUT_TEXT, _ADVICE_TRAINING, found, _is_dropout),
        _warning("random_op", _RANDOM_TEXT, _ADVICE_RANDOM, found, lambda use: _is_random(use) and not _is_dropout(use)),
        _warning("py_func", _PY_FUNC_TEXT, _ADVICE_PY_FUNC, found, lambda use: use.node.op in _PY_FUNC),
        _warning("hard_wired_device", _DEVICE_TEXT, _ADVICE_DEVICE, found, lambda use: _GPU.search(use.node.device) or _JOB.search(use.node.device)),
        _warning(
            "uninitialised_variable",
            _VARIABLE_TEXT,
            _ADVICE_VARIABLE,
            found,
            lambda use: use.node.op in VARIABLES and not use.body.name and use.node.name not in (initial or ()),
        ),
    ]
    return [warning for warning in listed if warning] + _of_inputs(signatures)


_BATCH_NORM = "Batch normalisation runs in training mode: an answer depends on what else is in its batch, and the learned averages are not used."
_DROPOUT_TEXT = "Dropout is on: the same request gets another answer each time, and a worse one."
_ADVICE_TRAINING = "Export the model for inference: training=False, is_training=False, keras.Model.export, or the learning phase 0 before the graph is built."
_RANDOM_TEXT = "A random operation runs: the same request gets another answer each time."
_ADVICE_RANDOM = "If it belongs to training (augmentation, noise), export the model without it; if the model is meant to draw, say so in its golden tolerances."
_PY_FUNC_TEXT = "A Python function runs, which is not in the file: no model server and no other process has it."
_ADVICE_PY_FUNC = "Write it with TensorFlow's operations, or take it out of the model and do it in the client."
_DEVICE_TEXT = "Nodes are tied to a GPU or to a machine of the training cluster: without it the model does not load, or runs elsewhere than planned."
_ADVICE_DEVICE = "Export with the device strings cleared (device: clear), or pinned on purpose (device: cpu or gpu)."
_VARIABLE_TEXT = "Variables are read that nothing gives a value to on load: requests fail with FAILED_PRECONDITION (uninitialized value)."
_ADVICE_VARIABLE = "Save the model again with all of its variables in the saver (a Saver without var_list), or freeze it."


def _used(graph_def: Any, signatures: Dict[str, Any]) -> List[Used]:
    """What any of the signatures runs, each node once."""
    if not signatures:
        return used(graph_def, None, ())
    found: Dict[Any, Used] = {}
    for signature in signatures.values():
        outputs, inputs = (
            [name for info in signature[side].values() for name in info["name"].split(", ") if name] for side in ("outputs", "inputs")
        )
        for use in used(graph_def, outputs, inputs):
            found.setdefault((use.body.name, use.node.name), use)
    return list(found.values())


def _warning(code: str, text: str, advice: str, found: Iterable[Used], fits: Callable[[Used], Any]) -> Optional[Dict[str, Any]]:
    nodes = sorted(use.node.name + (" (function %s)" % use.body.name if use.body.name else "") for use in found if fits(use))
    return _made(code, nodes, text, advice) if nodes else None


def _made(code: str, nodes: List[str], text: str, advice: str) -> Dict[str, Any]:
    return {"code": code, "nodes": nodes[:_MOST_NODES], "count": len(nodes), "text": text, "advice": advice}


# Training mode


def _in_training(use: Used) -> bool:
    node = use.node
    if _OTHER_NORM.search(node.name):
        return False
    if node.op.startswith("FusedBatchNorm") and "Grad" not in node.op:
        # Keras 2 computes layer normalisation by this operation too, with a scale made of ones: it has nothing learned in it.
        scale = use.body.origin(node.input[1]) if len(node.input) > 1 else None
        return bool(node.attr["is_training"].b) and not (scale is not None and scale.op in ("Fill", "OnesLike"))
    # The other way to compute it: averages over the batch, which is the first dimension.
    if node.op == "Mean" and node.name.rsplit("/", 2)[-2:] == ["moments", "mean"] and len(node.input) > 1:
        axes = use.body.origin(node.input[1])
        return axes is not None and axes.op == "Const" and 0 in _whole_numbers(axes)
    return False


def _whole_numbers(constant: Any) -> List[int]:
    """The values of a small constant of int32."""
    tensor = constant.attr["value"].tensor
    if tensor.tensor_content:
        content = tensor.tensor_content
        return [int.from_bytes(content[place:place + 4], "little", signed=True) for place in range(0, len(content), 4)]
    return list(tensor.int_val) or [0]


def _is_random(use: Used) -> bool:
    return bool(_RANDOM.match(use.node.op))


def _is_dropout(use: Used) -> bool:
    """A random operation that becomes a mask, or is called dropout."""
    return _is_random(use) and (bool(_DROPOUT.search(use.node.name)) or _becomes_mask(use.body, use.node.name))


def _becomes_mask(body: Body, name: str, depth: int = 5) -> bool:
    for consumer in body.consumers.get(name, ()) if depth else ():
        if consumer.op in _MASKS or (consumer.op in _HANDS_ON and _becomes_mask(body, consumer.name, depth - 1)):
            return True
    return False


# Inputs


def _of_inputs(signatures: Dict[str, Any]) -> List[Dict[str, Any]]:
    fixed: List[str] = []
    single: List[str] = []
    int64: List[str] = []
    for name, signature in sorted(signatures.items()):
        for alias, info in sorted(signature["inputs"].items()):
            shown = "%s (%s of %s)" % (source_of(info["name"])[0], alias, name)
            shape = info["shape"]
            if shape and len(shape) == 3 and shape[2] in (1, 3, 4) and (shape[0] > 0) == (shape[1] > 0):
                single.append(shown)
            elif shape and shape[0] > 0:
                fixed.append(shown)
            if info["dtype"] == "int64":
                int64.append(shown)
    listed = []
    if fixed:
        text = "The batch is fixed: the server cannot put requests together, clients cannot send several at once, and every other size is refused."
        listed.append(_made("fixed_batch", fixed, text, "Export it with a free batch (batch: free), or, if it is built in, in a loop (batch: loop)."))
    if single:
        text = "The input has no batch dimension: it takes one picture, and the server cannot put requests together."
        listed.append(_made("fixed_batch", single, text, "Export it in a loop (batch: loop), or export the model with a batch dimension."))
    if int64:
        text = "The input is int64, which TensorRT refuses: TF-TRT leaves what it feeds to TensorFlow."
        listed.append(_made("int64_input", int64, text, "Make it int32 in the model and cast behind it, if the model is to be converted with TF-TRT."))
    return listed


def render(warnings_: List[Dict[str, Any]]) -> List[str]:
    """Lines for people."""
    lines = []
    for warning in warnings_:
        more = " and %d more" % (warning["count"] - 5) if warning["count"] > 5 else ""
        lines += ["warning: %s  [%s]" % (warning["text"], warning["code"]), "  nodes: %s%s" % (", ".join(warning["nodes"][:5]), more), "  " + warning["advice"]]
    return lines
