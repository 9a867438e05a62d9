"""How far one output of two builds is apart, added up batch by batch: errors, equality, agreement of the classes."""

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

FLOOR = 0.01
"""A relative error is taken of the element, or of this share of the largest one of its row: of 1e-9 beside 1 nobody cares."""

SCORES = ("scores", "probabilities", "logits")

Arrays = Dict[str, np.ndarray]
Row = NamedTuple("Row", [("output", str), ("error", float), ("agrees", Optional[bool])])


class Output(object):
    """One output's sums. add() both builds' arrays of the same requests, result() at the end."""

    def __init__(self, alias: str, top_k: int = 0) -> None:
        """`top_k` is for the scores of a classifier; 0: the rows are not scores of classes."""
        self.alias = alias
        self._top_k = top_k
        self._elements = self._equal = 0
        self._max_abs = self._max_rel = 0.0
        self._sum_abs = self._sum_rel = 0.0
        self._not_finite = {"reference": 0, "candidate": 0}
        self._rows = self._top1 = self._topk = 0
        self._classes = 0
        # Of the last batch: its rows with a number in one build and none in the other, and how many elements these are.
        self._broken, self._unequal = np.zeros(0, bool), 0
        self._spread = {"reference": _Spread(), "candidate": _Spread()}
        self._whole = False
        self.problem = ""

    def add(self, want: np.ndarray, got: Optional[np.ndarray]) -> List[Row]:
        """Takes a batch in; returns for each of its rows how wrong it is. A missing or misshapen output is a problem, not an error."""
        if got is None:
            self.problem = "is missing in the candidate's answer"
            return []
        if want.shape != got.shape:
            self.problem = "has shape %s in the candidate and %s in the reference" % (list(got.shape), list(want.shape))
            return []
        if want.dtype.kind in "OSU" or got.dtype.kind in "OSU":
            return self._add_texts(want, got)
        rows = want.shape[0] if want.ndim else 1
        if not want.size:
            return [Row(self.alias, 0.0, None)] * rows
        self._whole = want.dtype.kind in "iub"
        left, right = _wide(want).reshape(rows, -1), _wide(got).reshape(rows, -1)
        absolute, relative = self._errors(left, right)
        agrees = self._agreement(want, got) if self._top_k and want.ndim == 2 and want.dtype.kind == "f" else None
        if want.dtype.kind in "iub":
            agrees = absolute.max(axis=1) == 0
        worst = relative.mean(axis=1)
        if self._broken.any():
            agrees = ~self._broken if agrees is None else agrees & ~self._broken
        return [Row(self.alias, float(worst[row]), None if agrees is None else bool(agrees[row])) for row in range(rows)]

    def _errors(self, left: np.ndarray, right: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        with np.errstate(invalid="ignore", over="ignore"):
            absolute = np.abs(right - left)
        size = np.abs(left)
        self._broken, self._unequal = np.zeros(len(left), bool), 0
        # One sum tells whether there is anything to look for: it is not finite if any element is not.
        if not np.isfinite(absolute.sum()):
            finite, found = np.isfinite(left), np.isfinite(right)
            self._not_finite["reference"] += int(left.size - finite.sum())
            self._not_finite["candidate"] += int(right.size - found.sum())
            same = (left == right) | (np.isnan(left) & np.isnan(right))
            self._broken = ~(same | (finite & found)).all(axis=1)
            # They are counted, and no number says how far a number is from none.
            absolute[~(finite & found)] = 0
            self._unequal = int(np.count_nonzero(~same & ~(finite & found)))
            size = np.where(finite, size, 0)
        floor = np.maximum(size, FLOOR * size.max(axis=1, keepdims=True))
        # Beside zeros only, one as a whole is the measure.
        relative = absolute / np.where(floor > 0, floor, 1)
        self._elements += absolute.size
        self._equal += int(absolute.size - np.count_nonzero(absolute)) - self._unequal
        self._max_abs = max(self._max_abs, float(absolute.max()))
        self._max_rel = max(self._max_rel, float(relative.max()))
        self._sum_abs += float(absolute.sum(dtype=np.float64))
        self._sum_rel += float(relative.sum(dtype=np.float64))
        self._spread["reference"].add(left)
        self._spread["candidate"].add(right)
        return absolute, relative

    def _agreement(self, want: np.ndarray, got: np.ndarray) -> np.ndarray:
        best = want.argmax(axis=1)
        agrees: np.ndarray = best == got.argmax(axis=1)
        self._classes = want.shape[1]
        self._rows += len(best)
        self._top1 += int(agrees.sum())
        # Its place in the candidate's order: how many classes have a higher score there.
        ahead = (got > got[np.arange(len(best)), best][:, np.newaxis]).sum(axis=1)
        self._topk += int((ahead < self._top_k).sum())
        return agrees

    def _add_texts(self, want: np.ndarray, got: np.ndarray) -> List[Row]:
        rows = want.shape[0] if want.ndim else 1
        same = np.array([_text(a) == _text(b) for a, b in zip(want.reshape(-1).tolist(), got.reshape(-1).tolist())], dtype=bool)
        self._elements += same.size
        self._equal += int(same.sum())
        whole = same.reshape(rows, -1).all(axis=1) if same.size else np.ones(rows, dtype=bool)
        return [Row(self.alias, 0.0 if fine else 1.0, bool(fine)) for fine in whole]

    def result(self) -> Dict[str, Any]:
        """{"max_abs", "mean_abs", "max_rel", "mean_rel", "equal", "not_finite", "whole" (numbers)}, with top1 and topk where rows are scores of classes."""
        count = max(self._elements, 1)
        found: Dict[str, Any] = {
            "max_abs": self._max_abs,
            "mean_abs": self._sum_abs / count,
            "max_rel": self._max_rel,
            "mean_rel": self._sum_rel / count,
            "equal": self._equal / count,
            "top1": None,
            "topk": None,
            "not_finite": self._not_finite,
            "whole": self._whole,
            "spread": {name: spread.result() for name, spread in self._spread.items()},
        }
        if self._rows:
            found.update(top1=self._top1 / self._rows, topk=self._topk / self._rows, classes=self._classes, k=self._top_k)
        if self.problem:
            found["problem"] = self.problem
        return found


class _Spread(object):
    """How much an output's elements change from row to row: their mean standard deviation."""

    def __init__(self) -> None:
        self._count = 0
        self._sum: Any = 0.0
        self._squares: Any = 0.0

    def add(self, rows: np.ndarray) -> None:
        if self._count and np.shape(self._sum) != rows.shape[1:]:
            return  # another size of picture: the elements are not the same ones
        self._count += len(rows)
        wide = rows.astype(np.complex128 if rows.dtype.kind == "c" else np.float64, copy=False)
        self._sum = self._sum + wide.sum(axis=0)
        self._squares = self._squares + (np.abs(wide) ** 2).sum(axis=0)

    def result(self) -> Optional[float]:
        if self._count < 2:
            return None
        with np.errstate(invalid="ignore", over="ignore"):
            variance = self._squares / self._count - np.abs(self._sum / self._count) ** 2
            spread = float(np.sqrt(np.clip(variance, 0, None)).mean())
        return spread if np.isfinite(spread) else None


def scores_of(outputs: Arrays, named: Tuple[str, ...] = SCORES) -> Optional[str]:
    """The output with the scores [rows, classes] of a classifier: named so, or the only one of that form whose rows are shares."""
    found = [alias for alias in sorted(outputs) if outputs[alias].ndim == 2 and outputs[alias].dtype.kind == "f" and outputs[alias].shape[1] > 1]
    for alias in found:
        if alias in named:
            return alias
    for alias in found:
        rows = outputs[alias]
        if rows.size and rows.min() >= 0 and np.allclose(rows.sum(axis=1), 1, atol=0.01):
            return alias
    return None


def _wide(array: np.ndarray) -> np.ndarray:
    """Numbers whose difference is a number: unsigned ones would wrap around, float16 overflow. float32 stays: its errors are of its size."""
    if array.dtype.name in ("float32", "float64"):
        return array
    if array.dtype.kind == "c":
        return array.astype(np.complex128)
    return array.astype(np.float64 if array.dtype.kind in "iub" and array.dtype.itemsize > 2 else np.float32)


def _text(value: Any) -> bytes:
    return value.encode("utf-8") if isinstance(value, str) else bytes(value)
