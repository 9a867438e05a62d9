"""What to do about a plan: sentences with a code, each from something that the plan found. No TensorFlow here."""

import re
from typing import Any, Dict, List, Optional

_NMS = re.compile(r"^(Combined)?NonMaxSuppression")
_CONTROL = ("While", "StatelessWhile", "If", "StatelessIf", "Enter", "Switch", "Merge", "Exit", "NextIteration", "LoopCond")
# A segment that computes less than this share of the whole costs more in copying and launching than it can win.
_WORTH = 0.01


def of(answer: Dict[str, Any]) -> List[Dict[str, str]]:
    """[{"code", "text"}] for the answer of a plan."""
    left = {entry["op"] for entry in answer["left"]}
    found = [_fewer(answer), _more(answer), _batch(answer), _suppression(left), _types(answer), _control(left), _asserts(left), _nothing(answer)]
    return [entry for entry in found if entry]


def _entry(code: str, text: str) -> Dict[str, str]:
    return {"code": code, "text": text}


def _fewer(answer: Dict[str, Any]) -> Optional[Dict[str, str]]:
    """The largest minimum_segment_size that only drops segments which compute next to nothing."""
    segments, total = answer["segments"], answer["flops"]["total"]
    if len(segments) < 2 or not total:
        return None
    lost, dropped, size = 0.0, 0, 0
    for segment in sorted(segments, key=lambda one: one["nodes"]):
        lost += segment["flops"]
        if lost > _WORTH * total:
            break
        dropped, size = dropped + 1, segment["nodes"] + 1
    if not dropped or dropped == len(segments):
        return None
    return _entry(
        "raise_minimum_segment_size",
        "With minimum_segment_size %d, %d of the %d segments go, which compute under %d %% together: each engine costs a copy, a launch and memory."
        % (size, dropped, len(segments), 100 * _WORTH),
    )


def _more(answer: Dict[str, Any]) -> Optional[Dict[str, str]]:
    total = answer["flops"]["total"]
    if not total or answer["too_small"]["flops"] <= _WORTH * total:
        return None
    return _entry(
        "lower_minimum_segment_size",
        "%.1f %% of the computation is in operations that TensorRT takes, but in segments of fewer than %d: try a smaller minimum_segment_size."
        % (100.0 * answer["too_small"]["flops"] / total, answer["minimum_segment_size"]),
    )


def _batch(answer: Dict[str, Any]) -> Optional[Dict[str, str]]:
    reasons = [entry for entry in answer["left"] if "implicit batch" in entry["reason"] or "explicit batch" in entry["reason"]]
    if not reasons or answer["dynamic_shape"]:
        return None
    return _entry(
        "dynamic_shape",
        "%d operations stay only because the batch is implicit: plan and convert with --dynamic-shape and a profile (TensorFlow 2.5 and later)."
        % sum(entry["count"] for entry in reasons),
    )


def _suppression(left: Any) -> Optional[Dict[str, str]]:
    names = sorted(op for op in left if _NMS.match(op))
    if not names:
        return None
    return _entry(
        "nms_on_cpu",
        "%s stays in TensorFlow, which has it on the CPU: pin what surrounds it there as well when you export (device cpu), raise its score threshold from "
        "1e-8 to 0.3 so that it gets fewer boxes, and take a larger minimum_segment_size (50 is usual for detectors)." % " and ".join(names),
    )


def _types(answer: Dict[str, Any]) -> Optional[Dict[str, str]]:
    wide = sorted({entry["op"] for entry in answer["left"] for word in ("int64", "DT_INT64", "uint8", "DT_UINT8") if word in entry["reason"]})
    if not wide:
        return None
    return _entry(
        "types",
        "%s stays because of its type: TensorRT has no int64 and no uint8. Export with 32-bit whole numbers, and let the graph take floats or cast first."
        % ", ".join(wide),
    )


def _control(left: Any) -> Optional[Dict[str, str]]:
    names = sorted(op for op in left if op in _CONTROL)
    if not names:
        return None
    text = "Loops and branches (%s) cut the graph in pieces. For a detector, batch 1 without a map over the pictures has none."
    return _entry("control_flow", text % ", ".join(names))


def _asserts(left: Any) -> Optional[Dict[str, str]]:
    return _entry("asserts", "Assert operations cut the graph in pieces and check what serving has checked: export without them.") if "Assert" in left else None


def _nothing(answer: Dict[str, Any]) -> Optional[Dict[str, str]]:
    if answer["segments"]:
        return None
    return _entry("native", "TF-TRT would take nothing of this model: release the native variant, or one for the CPU (tflite, grappler).")
