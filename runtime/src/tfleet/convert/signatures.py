"""What people declare: signatures by tensor names, checked for form before anything is read. No TensorFlow here."""

import difflib
import json
from typing import Any, Dict, Iterable, List, Optional

from tfleet.errors import TfleetError

METHODS = ("tensorflow/serving/predict", "tensorflow/serving/classify", "tensorflow/serving/regress")
DEFAULT_NAME = "serving_default"

# {name: {"inputs": {alias: tensor}, "outputs": {alias: tensor}, "method_name": method}}
Signatures = Dict[str, Dict[str, Any]]


def normalised(signatures: Any) -> Optional[Signatures]:
    """Declared signatures in one form: ``{name: {"inputs": {alias: tensor}, "outputs": {alias: tensor}, "method_name": method}}``.

    Returns None for None or ``{}`` (nothing declared). Raises TfleetError that names the signature and the faulty key.
    """
    if not signatures:
        return None
    if not isinstance(signatures, dict):
        raise TfleetError("Signatures must be a mapping of signature names, such as %s; this is a %s." % (_EXAMPLE, type(signatures).__name__))
    return {name: _normalised_one(name, signatures[name]) for name in sorted(signatures)}


_EXAMPLE = '{"serving_default": {"inputs": {"images": "image:0"}, "outputs": {"scores": "scores:0"}}}'


def _normalised_one(name: Any, declared: Any) -> Dict[str, Any]:
    if not isinstance(name, str) or not name or name.startswith("__saved_model"):
        raise TfleetError("`%s` cannot be the name of a signature: choose one like serving_default." % (name,))
    if not isinstance(declared, dict):
        raise TfleetError("Signature `%s` must be a mapping with `inputs` and `outputs`, such as %s." % (name, _EXAMPLE))
    for key in sorted(declared):
        if key not in ("inputs", "outputs", "method_name"):
            raise TfleetError(
                "Signature `%s` has the unknown key `%s`.%s It takes inputs, outputs and method_name."
                % (name, key, did_you_mean(key, ["inputs", "outputs", "method_name"]))
            )
    result = {"method_name": declared.get("method_name") or METHODS[0]}
    if result["method_name"] not in METHODS:
        raise TfleetError(
            "Signature `%s` has the method name `%s`, which a model server does not serve.%s Use one of %s."
            % (name, result["method_name"], did_you_mean(result["method_name"], METHODS), ", ".join(METHODS))
        )
    for side in ("inputs", "outputs"):
        result[side] = _aliases(name, side, declared.get(side))
    return result


def _aliases(name: str, side: str, declared: Any) -> Dict[str, str]:
    if not isinstance(declared, dict) or not declared:
        raise TfleetError('Signature `%s` declares no %s. Write `%s: {alias: "tensor:0"}`; `tfleet inspect` lists the candidates.' % (name, side, side))
    for alias in sorted(declared):
        if not isinstance(alias, str) or not alias or not isinstance(declared[alias], str):
            raise TfleetError(
                'Signature `%s`, %s: `%s: %s` must be an alias and a tensor name, both text, such as `images: "image:0"`.'
                % (name, side, alias, declared[alias])
            )
    return {alias: declared[alias] for alias in sorted(declared)}


def from_options(name: str, inputs: Optional[List[str]], outputs: Optional[List[str]]) -> Optional[Signatures]:
    """Signatures from ``alias=tensor:0`` texts, as ``--input`` and ``--output`` give them. None if there are none."""
    if not inputs and not outputs:
        return None
    return {name: {"inputs": _pairs("--input", inputs), "outputs": _pairs("--output", outputs)}}


def _pairs(option: str, texts: Optional[List[str]]) -> Dict[str, str]:
    pairs: Dict[str, str] = {}
    for text in texts or ():
        alias, equals, tensor = text.partition("=")
        if not (alias and equals and tensor):
            raise TfleetError("%s %s: write alias=tensor, for example %s images=image:0." % (option, text, option))
        if alias in pairs:
            raise TfleetError("%s %s: the alias `%s` is given twice." % (option, text, alias))
        pairs[alias] = tensor
    return pairs


def from_text(text: str, where: str) -> Any:
    """Signatures from JSON text. Raises TfleetError with line and column."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise TfleetError("The signatures in %s are not JSON: %s. They look like %s." % (where, error, _EXAMPLE))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` Did you mean `x`?`` with the nearest of ``known``, or an empty text."""
    near = nearest(word, known, 1)
    return " Did you mean `%s`?" % near[0] if near else ""


def nearest(word: str, known: Iterable[str], count: int = 3) -> List[str]:
    """The entries of ``known`` most like ``word``, the best first; also those that differ in scope or in upper and lower case only."""
    known = list(known)
    lower = word.lower()
    tail = lower.rsplit("/", 1)[-1].partition(":")[0]
    same_tail = [name for name in known if name.lower().rsplit("/", 1)[-1].partition(":")[0] == tail]
    folded: Dict[str, str] = {}
    for name in known:
        folded.setdefault(name.lower(), name)
    similar = [folded[name] for name in difflib.get_close_matches(lower, list(folded), count, 0.6)]
    result: List[str] = []
    for name in same_tail + similar:
        if name not in result:
            result.append(name)
    return result[:count]


def proposal(inputs: List[Dict[str, Any]], outputs: List[Dict[str, Any]]) -> Signatures:
    """A signature that uses all candidate ``inputs`` and ``outputs`` (lists of ``{"name", …}``), with aliases from their names."""
    return {DEFAULT_NAME: {"inputs": _named(inputs), "outputs": _named(outputs)}}


def _named(candidates: List[Dict[str, Any]]) -> Dict[str, str]:
    named: Dict[str, str] = {}
    for candidate in candidates:
        operation, _colon, index = candidate["name"].partition(":")
        alias = operation.rsplit("/", 1)[-1] + ("_" + index if index != "0" else "")
        unique = alias
        number = 2
        while unique in named:
            unique = "%s_%d" % (alias, number)
            number += 1
        named[unique] = candidate["name"]
    return named
