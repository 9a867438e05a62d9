"""Predict on a loaded version: checks a request against its signature, runs it, in TensorFlow Serving's order and words."""
import time
from collections import OrderedDict
from typing import Any, Dict, List, Mapping, Optional, Sequence

from .. import wire
from . import method_names
from .core import ServerCore
from .lifecycle import Harness
from .metrics import Metrics
from .status import failed_precondition, invalid_argument

DEFAULT_SIGNATURE = "serving_default"
_NOTHING: Mapping[str, Any] = {}


def predict(core: ServerCore, request: Any, timeout_ms: Optional[int], as_content: bool = False,
            cuts: Mapping[str, Any] = _NOTHING) -> bytes:
    """Answers a PredictRequest with a serialised PredictResponse.

    timeout_ms: what is left of the call's deadline, None for none; as_content: outputs as tensor_content instead of
    typed fields; cuts: values that wire.predict_bytes cut out of the request. Raises StatusError.
    """
    with core.use(request.model_spec if request.HasField("model_spec") else None) as harness:
        return predict_on(core.metrics, harness, request, timeout_ms, as_content, cuts)


def predict_on(metrics: Metrics, harness: Harness, request: Any, timeout_ms: Optional[int], as_content: bool = False,
               cuts: Mapping[str, Any] = _NOTHING) -> bytes:
    """Like predict, on a version that is already held, whatever model the request names."""
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    signature = harness.servable.signatures.get(name)
    if signature is None:
        raise failed_precondition('Serving signature key "%s" not found.' % name)
    outputs = run(metrics, harness, signature, _Decoded(request.inputs, cuts), request.output_filter, timeout_ms, "Predict")
    return wire.predict_bytes.response(request.model_spec.name, harness.version, name, outputs, as_content)


class _Decoded(Mapping):
    """The inputs of a request as numpy arrays, decoded when they are asked for; ValueError if one cannot be."""

    def __init__(self, inputs: Any, cuts: Mapping[str, Any]) -> None:
        self._inputs = inputs
        self._cuts = cuts

    def __getitem__(self, alias: str) -> Any:
        return wire.tensors.to_numpy(self._inputs[alias], self._cuts.get(alias))

    def __contains__(self, alias: object) -> bool:
        return alias in self._inputs

    def __iter__(self) -> Any:
        return iter(self._inputs)

    def __len__(self) -> int:
        return len(self._inputs)


def run(metrics: Metrics, harness: Harness, signature: Any, inputs: Mapping, output_filter: Sequence[str],
        timeout_ms: Optional[int], api: str) -> Dict[str, Any]:
    """The outputs of a signature by alias, in alias order, as numpy arrays.

    inputs: alias -> array (a ValueError while getting one is a tensor that could not be decoded); output_filter: the
    wanted aliases, empty for all; api: the label of the latency metric. Raises StatusError.
    """
    method_names.check_predict(signature)
    names = _names(signature)
    feeds = names.feeds(inputs) or _feeds(signature, inputs)
    wanted = _wanted(signature, output_filter) if output_filter else names.wanted
    fetches = [signature.outputs[alias].name for alias in wanted] if output_filter else names.fetches
    started = time.time()
    arrays = harness.servable.run(feeds, fetches, timeout_ms)
    metrics.runtime_latency.observe((time.time() - started) * 1e6, harness.model, api, "TF1")
    return OrderedDict(zip(wanted, arrays))


class _Names:
    """The names in a signature, taken out of the message once: every request needs them, and messages are slow to ask."""

    def __init__(self, signature: Any) -> None:
        self.signature = signature
        self._tensors = [(alias, signature.inputs[alias].name) for alias in sorted(signature.inputs)]
        self.wanted = sorted(signature.outputs)
        self.fetches = [signature.outputs[alias].name for alias in self.wanted]

    def feeds(self, inputs: Mapping) -> Optional[List[Any]]:
        """The feeds if the inputs are exactly those of the signature and can be decoded; None if there is more to say."""
        if len(inputs) != len(self._tensors) or not all(alias in inputs for alias, _ in self._tensors):
            return None
        try:
            return [(name, inputs[alias]) for alias, name in self._tensors]
        except ValueError:
            return None


_MOST_NAMES = 1000
_known_names: Dict[int, _Names] = {}


def _names(signature: Any) -> _Names:
    # By the message's id: it cannot be hashed. The entry keeps the message, so that no other one gets the id.
    found = _known_names.get(id(signature))
    if found is None:
        if len(_known_names) >= _MOST_NAMES:
            _known_names.clear()
        found = _known_names[id(signature)] = _Names(signature)
    return found


def _feeds(signature: Any, inputs: Mapping) -> List[Any]:
    expected = signature.inputs
    defaults = signature.defaults
    if len(inputs) > len(expected) or len(inputs) < len(expected) - len(defaults):
        sent, required = set(inputs), set(expected)
        raise invalid_argument(
            "input size does not match signature: %d!=%d len({%s}) != len({%s}). Sent extra: {%s}. Missing but required: {%s}."
            % (len(inputs), len(expected), _join(sent), _join(required), _join(sent - required),
               _join(required - sent - set(defaults))))
    feeds = []
    used = []
    for alias in sorted(expected):
        if alias in inputs:
            used.append(alias)
            try:
                feeds.append((expected[alias].name, inputs[alias]))
            except ValueError:
                raise invalid_argument("tensor parsing error: " + alias)
        elif alias in defaults:
            try:
                feeds.append((expected[alias].name, wire.tensors.to_numpy(defaults[alias])))
            except ValueError:
                raise invalid_argument("tensor parsing error: " + alias)
        else:
            raise invalid_argument(
                "Signature input alias: %s(feed name: %s) not found in request and no default value provided. Inputs "
                "expected to be in the request {%s}, or default input alias set: %s"
                % (alias, expected[alias].name, _join(inputs), _join(defaults)))
    if len(used) != len(inputs):
        raise invalid_argument("Inputs contains invalid name. Used request inputs: %s, request input: %s"
                               % (_join(used), _join(inputs)))
    return feeds


def _wanted(signature: Any, output_filter: Sequence[str]) -> List[str]:
    seen: List[str] = []
    for alias in output_filter:
        if alias not in signature.outputs:
            raise invalid_argument("output tensor alias not found in signature: %s Outputs expected to be in the set {%s}."
                                   % (alias, _join(signature.outputs)))
        if alias in seen:
            raise invalid_argument("duplicate output tensor alias: " + alias)
        seen.append(alias)
    return seen


def _join(names: Any) -> str:
    return ",".join(sorted(names))
