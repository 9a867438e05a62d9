"""Classify, Regress and MultiInference: tf.Examples in, classes, scores or values out, by the signature's conventions."""
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from .. import wire
from . import method_names
from .core import ServerCore
from .lifecycle import Harness
from .metrics import Metrics
from .predict import DEFAULT_SIGNATURE
from .status import invalid_argument, unimplemented

_INPUTS, _OUTPUTS, _CLASSES, _SCORES = "inputs", "outputs", "classes", "scores"

# input: name of the tensor for the Examples; outputs: the output tensors by alias
Plan = NamedTuple("Plan", [("input", str), ("outputs", Dict[str, str])])


def classify(core: ServerCore, request: Any, timeout_ms: Optional[int]) -> Any:
    """Answers a ClassificationRequest. Raises StatusError."""
    with core.use(request.model_spec if request.HasField("model_spec") else None) as harness:
        return classify_on(core.metrics, harness, request, timeout_ms)


def regress(core: ServerCore, request: Any, timeout_ms: Optional[int]) -> Any:
    """Answers a RegressionRequest. Raises StatusError."""
    with core.use(request.model_spec if request.HasField("model_spec") else None) as harness:
        return regress_on(core.metrics, harness, request, timeout_ms)


def multi_inference(core: ServerCore, request: Any, timeout_ms: Optional[int]) -> Any:
    """Answers a MultiInferenceRequest: every task on one run of the graph. Raises StatusError."""
    with core.use(request.tasks[0].model_spec if request.tasks else wire.ModelSpec()) as harness:
        return multi_inference_on(core.metrics, harness, request, timeout_ms)


def classify_on(metrics: Metrics, harness: Harness, request: Any, timeout_ms: Optional[int]) -> Any:
    """Like classify, on a version that is already held."""
    response = wire.ClassificationResponse()
    outputs, count = _one(metrics, harness, request, response.model_spec, _plan_classify, timeout_ms, "Classify")
    _classes(outputs, count, response.result)
    return response


def regress_on(metrics: Metrics, harness: Harness, request: Any, timeout_ms: Optional[int]) -> Any:
    """Like regress, on a version that is already held."""
    response = wire.RegressionResponse()
    outputs, count = _one(metrics, harness, request, response.model_spec, _plan_regress, timeout_ms, "Regress")
    _values(outputs, count, response.result)
    return response


def multi_inference_on(metrics: Metrics, harness: Harness, request: Any, timeout_ms: Optional[int]) -> Any:
    """Like multi_inference, on a version that is already held."""
    response = wire.MultiInferenceResponse()
    plans = _task_plans(harness, request.tasks)
    feeds = {plan.input for _, plan in plans}
    fetches = sorted({tensor for _, plan in plans for tensor in plan.outputs.values()})
    examples = _examples(request.input)
    metrics.example_counts.observe(len(examples), harness.model)
    metrics.example_count_total.add(harness.model, amount=len(examples))
    arrays = dict(zip(fetches, _run(metrics, harness, [(name, examples) for name in sorted(feeds)], fetches, timeout_ms, "MultiInference")))
    for task, (name, plan) in zip(request.tasks, plans):
        result = response.results.add()
        _fill_spec(result.model_spec, harness, name)
        outputs = {alias: arrays[tensor] for alias, tensor in plan.outputs.items()}
        if task.method_name == method_names.CLASSIFY:
            _classes(outputs, len(examples), result.classification_result)
        else:
            _values(outputs, len(examples), result.regression_result)
    return response


def _task_plans(harness: Harness, tasks: Any) -> List[Tuple[str, Plan]]:
    plans: List[Tuple[str, Plan]] = []
    for task in tasks:
        if not task.model_spec.name:
            raise invalid_argument("Found ModelSpec with an empty model name.")
        if task.model_spec.name != tasks[0].model_spec.name:
            raise invalid_argument("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        name = task.model_spec.signature_name or DEFAULT_SIGNATURE
        if any(name == earlier for earlier, _ in plans):
            raise invalid_argument("Duplicate evaluation of signature: " + name)
        signature = harness.servable.signatures.get(name)
        if signature is None:
            raise invalid_argument("Requested signature not found in model graph: " + name)
        if task.method_name == method_names.CLASSIFY:
            plans.append((name, _plan_classify(signature)))
        elif task.method_name == method_names.REGRESS:
            plans.append((name, _plan_regress(signature)))
        else:
            raise unimplemented("Unsupported signature method_name: " + task.method_name)
    return plans


def _one(metrics: Metrics, harness: Harness, request: Any, spec: Any, make_plan: Callable[[Any], Plan], timeout_ms: Optional[int],
         api: str) -> Tuple[Dict[str, Any], int]:
    """The outputs by alias and the number of Examples; fills the answer's spec."""
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    signature = harness.servable.signatures.get(name)
    if signature is None:
        raise invalid_argument("No signature was found with the name: " + name)
    plan = make_plan(signature)
    examples = _examples(request.input)
    aliases = sorted(plan.outputs)
    arrays = _run(metrics, harness, [(plan.input, examples)], [plan.outputs[alias] for alias in aliases], timeout_ms, api)
    _fill_spec(spec, harness, name)
    return dict(zip(aliases, arrays)), len(examples)


def _run(metrics: Metrics, harness: Harness, feeds: List[Tuple[str, Any]], fetches: List[str], timeout_ms: Optional[int], api: str) -> List[Any]:
    started = time.time()
    arrays: List[Any] = harness.servable.run(feeds, fetches, timeout_ms)
    metrics.runtime_latency.observe((time.time() - started) * 1e6, harness.model, api, "TF1")
    return arrays


def _fill_spec(spec: Any, harness: Harness, signature_name: str) -> None:
    spec.name = harness.model
    spec.version.value = harness.version
    spec.signature_name = signature_name


def _examples(source: Any) -> Any:
    """The Examples of an Input as a vector of serialized ones, each after the context they share."""
    if source.WhichOneof("kind") == "example_list_with_context":
        context = source.example_list_with_context.context.SerializeToString()
        examples = source.example_list_with_context.examples
    else:
        context = b""
        examples = source.example_list.examples
    if not examples:
        raise invalid_argument("Input is empty.")
    array = np.empty(len(examples), dtype=object)
    # Serialized messages that follow each other are one merged message.
    array[:] = [context + example.SerializeToString() for example in examples]
    return array


def _plan_classify(signature: Any) -> Plan:
    method_names.check_classify(signature)
    if len(signature.inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")
    if len(signature.outputs) not in (1, 2):
        raise invalid_argument("Expected one or two output Tensors, found %d" % len(signature.outputs))
    if _INPUTS not in signature.inputs:
        raise invalid_argument("No classification inputs found in SignatureDef: %s" % signature)
    outputs = {alias: signature.outputs[alias].name for alias in (_CLASSES, _SCORES) if alias in signature.outputs}
    if not outputs:
        raise invalid_argument('Expected classification signature outputs to contain at least one of "classes" or "scores". '
                               "Signature was: %s" % signature)
    return Plan(signature.inputs[_INPUTS].name, outputs)


def _plan_regress(signature: Any) -> Plan:
    method_names.check_regress(signature)
    if len(signature.inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")
    if len(signature.outputs) != 1:
        raise invalid_argument("Expected one output Tensor.")
    if _INPUTS not in signature.inputs:
        raise invalid_argument("No regression inputs found in SignatureDef: %s" % signature)
    if _OUTPUTS not in signature.outputs:
        raise invalid_argument("No regression outputs found in SignatureDef: %s" % signature)
    return Plan(signature.inputs[_INPUTS].name, {_OUTPUTS: signature.outputs[_OUTPUTS].name})


def _classes(outputs: Dict[str, Any], count: int, result: Any) -> None:
    classes, scores = outputs.get(_CLASSES), outputs.get(_SCORES)
    for array, name, kinds, dtype in ((classes, "classes", "OSU", "DT_STRING"), (scores, "scores", "f", "DT_FLOAT")):
        if array is None:
            continue
        if array.ndim != 2:
            raise invalid_argument("Expected Tensor shape: [batch_size num_classes] but got " + _shape_text(array))
        if array.dtype.kind not in kinds or (dtype == "DT_FLOAT" and array.dtype != np.float32):
            raise invalid_argument("Expected %s Tensor of %s. Got: %s" % (name, dtype, _dtype_name(array)))
        if array.shape[0] != count:
            raise invalid_argument("Expected %s output batch size of %d. Got: %d" % (name, count, array.shape[0]))
    if classes is not None and scores is not None and classes.shape[1] != scores.shape[1]:
        raise invalid_argument("Tensors class and score should match in dim_size(1). Got %d vs. %d" % (classes.shape[1], scores.shape[1]))
    labels = [] if classes is None else classes.tolist()
    numbers = [] if scores is None else scores.tolist()
    for row in range(count):
        listed = result.classifications.add()
        for column in range(len(labels[row] if labels else numbers[row])):
            item = listed.classes.add()
            if labels:
                item.label = labels[row][column].decode("utf-8", "replace")
            if numbers:
                item.score = numbers[row][column]


def _values(outputs: Dict[str, Any], count: int, result: Any) -> None:
    array = outputs[_OUTPUTS]
    if not (array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1)):
        raise invalid_argument("Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got " + _shape_text(array))
    if array.dtype != np.float32:
        raise invalid_argument("Expected output Tensor of DT_FLOAT.  Got: " + _dtype_name(array))
    if array.size != count:
        raise invalid_argument("Expected output batch size to be %d. Got: %d" % (count, array.size))
    for value in array.reshape(-1).tolist():
        result.regressions.add(value=value)


def _shape_text(array: Any) -> str:
    return "[%s]" % ",".join(map(str, array.shape))


def _dtype_name(array: Any) -> str:
    if array.dtype.kind in "OSU":
        return "DT_STRING"
    return {"float64": "DT_DOUBLE", "float16": "DT_HALF", "float32": "DT_FLOAT"}.get(array.dtype.name, "DT_" + array.dtype.name.upper())
