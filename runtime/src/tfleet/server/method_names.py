"""--enable_signature_method_name_check: a signature answers only the kind of request that its method_name names.

Off unless the flag is given, and then for the whole process, as in TensorFlow Serving.
"""
from typing import Any

from .status import INTERNAL, StatusError, invalid_argument

PREDICT = "tensorflow/serving/predict"
CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"

_state = {"checked": False}


def enable(checked: bool) -> None:
    """Turns the check on or off."""
    _state["checked"] = checked


def check_predict(signature: Any) -> None:
    """Raises StatusError, INTERNAL, unless the signature is one for Predict, Classify or Regress."""
    allowed = (PREDICT, CLASSIFY, REGRESS)
    if _state["checked"] and signature.method_name not in allowed:
        raise StatusError(INTERNAL, "Expected prediction signature method_name to be one of {%s}. Was: %s"
                          % (", ".join(allowed), signature.method_name))


def check_classify(signature: Any) -> None:
    """Raises StatusError, INVALID_ARGUMENT, unless the signature is one for Classify."""
    _check_one(signature, "classification", CLASSIFY)


def check_regress(signature: Any) -> None:
    """Raises StatusError, INVALID_ARGUMENT, unless the signature is one for Regress."""
    _check_one(signature, "regression", REGRESS)


def _check_one(signature: Any, kind: str, expected: str) -> None:
    if _state["checked"] and signature.method_name != expected:
        raise invalid_argument("Expected %s signature method_name to be %s. Was: %s" % (kind, expected, signature.method_name))
