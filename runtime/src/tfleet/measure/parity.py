"""How far two builds of a model are apart, output by output, object by object, and where: the worst examples.

The builds are opened one after the other, so that a device needs memory for one of them.
"""

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from tfleet.client import golden as goldens
from tfleet.errors import TfleetError
from tfleet.measure import builds, detections, diagnosis, thresholds
from tfleet.measure.asking import Asker
from tfleet.measure.outputs import Output, Row, scores_of
from tfleet.measure.progress import Progress
from tfleet.measure.requests import Batch, Source

Arrays = Dict[str, np.ndarray]
Worst = NamedTuple(
    "Worst",
    [
        ("severity", float),
        ("output", str),
        ("row", int),  # of all rows
        ("name", str),
        ("inputs", Arrays),  # of this row alone, as are the next two
        ("reference", Arrays),
        ("candidate", Arrays),
    ],
)
Parity = NamedTuple("Parity", [("result", Dict[str, Any]), ("worst", List[Worst])])

Opener = Callable[[], builds.Build]


def compare(
    reference: Any,
    candidate: Opener,
    source: Callable[[Any], Source],
    limits: Dict[str, Any],
    top_k: int = 5,
    worst: int = 4,
    names: Optional[Dict[str, int]] = None,
) -> Parity:
    """Compares a candidate with a reference.

    reference: opens a build; or a golden.Golden, whose recorded outputs then are the reference's answers. candidate: opens a build.
    source: makes the Source of a signature (of None, for a Golden that knows its requests). limits: what thresholds.check() gave. names: class
    numbers by name, for labels without numbers. The result is the command's, `ok` excluded; `holds` tells the verdict.
    """
    comparison = _Comparison(limits, top_k, worst, names or {})
    seconds = {}
    if isinstance(reference, goldens.Golden):
        requests, answers = None, None
        seconds["reference"] = 0.0
    else:
        with reference() as build:
            requests = source(build.signature)
            asker = Asker(build)
            answers = comparison.ask(asker, requests, "reference")
        seconds["reference"] = asker.seconds
    with candidate() as build:
        if requests is None:
            requests = source(build.signature)
        asker = Asker(build)
        comparison.run(asker, requests, answers)
        if not comparison.finish():
            comparison.explain(asker)
    seconds["candidate"] = asker.seconds
    comparison.result["seconds"] = {name: round(value, 4) for name, value in seconds.items()}
    return Parity(comparison.result, comparison.worst())


class _Comparison(object):
    def __init__(self, limits: Dict[str, Any], top_k: int, worst: int, names: Dict[str, int]) -> None:
        self.result: Dict[str, Any] = {}
        self._limits = limits
        self._top_k = top_k
        self._keep = worst
        self._names = names
        self._outputs: Dict[str, Output] = {}
        self._worst: List[Tuple[float, int, Worst]] = []
        self._agreement: Optional[detections.Agreement] = None
        self._foregrounds: Dict[str, detections.Foreground] = {}
        self._scores: Optional[str] = None
        self._first: Optional[Tuple[Batch, Arrays]] = None
        self._diagnoses: List[Dict[str, str]] = []
        self._examples = self._rows = self._largest = 0
        self._labelled = {"rows": 0, "reference": 0, "candidate": 0}
        self._truths: List[detections.Truth] = []
        self._found: Dict[str, List[detections.Found]] = {"reference": [], "candidate": []}

    def ask(self, asker: Asker, source: Source, which: str) -> List[Arrays]:
        """The answers to all batches."""
        answers = []
        with Progress("asking the %s" % which, None) as progress:
            for batch in source.batches():
                answers.append(asker(batch))
                if len(answers) == 1:
                    self._diagnoses += diagnosis.repeats(asker, batch, answers[0], which)
                progress.step(sum(batch.sizes))
        return answers

    def run(self, asker: Asker, source: Source, answers: Optional[List[Arrays]]) -> None:
        """Asks the candidate and takes in what it answers. Raises TfleetError if there was nothing to ask."""
        with Progress("asking the candidate", None) as progress:
            for place, batch in enumerate(source.batches()):
                want = batch.expected if answers is None else answers[place]
                if want is None:
                    raise TfleetError("The requests have no recorded answers: a golden file is a reference only for its own inputs.")
                got = asker(batch)
                if self._first is None:
                    self._begin(batch, want)
                    self._diagnoses += diagnosis.repeats(asker, batch, got, "candidate")
                self._add(batch, want, got)
                progress.step(sum(batch.sizes))
        if self._first is None:
            raise TfleetError("There was nothing to ask: the golden file, the TFRecord files or the list of pictures are empty.")

    def _begin(self, batch: Batch, want: Arrays) -> None:
        detector = detections.is_detector(want)
        self._first = (batch, want)
        self._scores = None if detector else scores_of(want)
        self._limits = thresholds.complete(self._limits, want, self._scores, detector)
        self._outputs = {alias: Output(alias, self._top_k if self._is_scores(alias) else 0) for alias in sorted(want)}
        detection = self._limits["detection"]
        if detector:
            self._agreement = detections.Agreement(detection["min_score"], detection["iou"])
        for alias, array in want.items():
            if detections.is_anchor_scores(alias, array):
                self._foregrounds[alias] = detections.Foreground(alias, detection["min_score"])

    def _is_scores(self, alias: str) -> bool:
        limits = self._limits["outputs"].get(alias, {})
        return alias == self._scores or "top1" in limits or "topk" in limits

    def _add(self, batch: Batch, want: Arrays, got: Arrays) -> None:
        rows = sum(batch.sizes)
        self._largest = max(self._largest, rows)
        judged: Dict[int, Row] = {}
        for alias, output in self._outputs.items():
            for row, found in enumerate(output.add(want[alias], got.get(alias))):
                if alias in self._limits["outputs"] and (row not in judged or _severity(found) > _severity(judged[row])):
                    judged[row] = found
        for alias, foreground in self._foregrounds.items():
            if alias in got:
                foreground.add(want[alias], got[alias])
        whole = self._agreement is not None and detections.is_detector(got) and len(got["detection_scores"]) == rows
        for row in range(rows):
            severity, alias = (_severity(judged[row]), judged[row].output) if row in judged else (0.0, "")
            if self._agreement is not None and whole:
                severity, alias = self._agreement.add(want, got, row), "detection_boxes"
            self._note(severity, alias, batch, want, got, row)
            if batch.examples is not None:
                self._judge_labels(batch.examples[row], want, got, row, whole)
        self._rows += rows
        self._examples += len(batch.sizes)

    def _note(self, severity: float, output: str, batch: Batch, want: Arrays, got: Arrays, row: int) -> None:
        if self._keep < 1 or severity <= 0 or (len(self._worst) == self._keep and severity <= self._worst[-1][0]):
            return
        rows = sum(batch.sizes)
        mine = [{alias: array[row : row + 1] if array.ndim and len(array) == rows else array for alias, array in arrays.items()}
                for arrays in (batch.arrays, want, got)]  # fmt: skip
        ends = np.cumsum(batch.sizes)
        request = int(np.searchsorted(ends, row, side="right"))
        name = batch.names[request]
        if batch.sizes[request] > 1:
            name += ", row %d" % (row - (int(ends[request - 1]) if request else 0))
        found = Worst(severity, output, self._rows + row, name, mine[0], mine[1], mine[2])
        self._worst = sorted([*self._worst, (severity, -found.row, found)], key=lambda item: item[:2], reverse=True)[: self._keep]

    def worst(self) -> List[Worst]:
        """The worst rows, worst first."""
        return [found for _, _, found in self._worst]

    def _judge_labels(self, example: Any, want: Arrays, got: Arrays, row: int, whole: bool) -> None:
        if example.objects is not None and self._agreement is not None and whole:
            self._truths.append(detections.truth_of(self._numbered(example.objects)))
            self._found["reference"].append(detections.found_in(want, row))
            self._found["candidate"].append(detections.found_in(got, row))
        if example.label is not None and self._scores and self._scores in got and got[self._scores].shape == want[self._scores].shape:
            self._labelled["rows"] += 1
            self._labelled["reference"] += int(want[self._scores][row].argmax() == example.label)
            self._labelled["candidate"] += int(got[self._scores][row].argmax() == example.label)

    def _numbered(self, objects: Any) -> Any:
        if self._names and len(objects.classes) and (objects.classes < 0).all():
            return objects._replace(classes=np.array([self._names.get(name, -1) for name in objects.names], np.int64))
        return objects

    def finish(self) -> bool:
        """Fills the result; returns whether parity holds."""
        errors = {alias: output.result() for alias, output in self._outputs.items()}
        problems: List[str] = []
        for alias, limits in sorted(self._limits["outputs"].items()):
            problems += thresholds.exceeded(alias, errors[alias], limits)
        detection = self._detection(problems)
        for alias, foreground in sorted(self._foregrounds.items()):
            gone = foreground.gone()
            if gone:
                boxes = detections.boxes_agree(errors, self._first[1]) if self._first else None
                self._diagnoses.append(diagnosis.background(alias, boxes, *gone))
        accuracy, precision = self._accuracy(problems), self._precision(problems)
        problems = [item["message"] for item in self._diagnoses] + problems
        kind = "detector" if self._agreement else "classifier" if self._scores else "tensors"
        self.result = {
            "holds": not problems,
            "kind": kind,
            "examples": self._examples,
            "rows": self._rows,
            "batch_size": self._largest,
            "outputs": {alias: _plain(error) for alias, error in errors.items()},
            "detection": detection,
            "accuracy": accuracy,
            "map": precision,
            "thresholds": self._limits,
            "problems": problems,
            "diagnoses": self._diagnoses,
        }
        self._errors = errors
        return not problems

    def _detection(self, problems: List[str]) -> Optional[Dict[str, Any]]:
        if self._agreement is None:
            return None
        found, limits = self._agreement.result(), self._limits["detection"]
        if found["background"]:
            self._diagnoses.append(diagnosis.background("detection_scores", "detection_boxes", found["reference"], found["candidate"]))
        if found["matched"] < limits["matched"]:
            problems.append(
                "Of the objects that one build or the other finds (%d and %d), both find %.1f %%, fewer than %g %%."
                % (found["reference"], found["candidate"], 100 * found["matched"], 100 * limits["matched"])
            )
        if found["classes"] is not None and found["classes"] < limits["classes"]:
            problems.append("Of the objects that both find, %.1f %% have the same class, fewer than %g %%." % (100 * found["classes"], 100 * limits["classes"]))
        return found

    def _accuracy(self, problems: List[str]) -> Optional[Dict[str, Any]]:
        rows = self._labelled["rows"]
        if not rows:
            return None
        found = {which: self._labelled[which] / float(rows) for which in ("reference", "candidate")}
        drop = found["reference"] - found["candidate"]
        if drop > self._limits["accuracy_drop"]:
            problems.append("The accuracy on %d labelled rows falls from %.4f to %.4f, by more than %g." % (
                rows, found["reference"], found["candidate"], self._limits["accuracy_drop"]))  # fmt: skip
        return dict(found, drop=drop, rows=rows)

    def _precision(self, problems: List[str]) -> Optional[Dict[str, Any]]:
        if not self._truths:
            return None
        limits = self._limits["detection"]
        found = {which: detections.precision(self._truths, self._found[which], limits["iou"]) for which in ("reference", "candidate")}
        before, after = found["reference"]["map"], found["candidate"]["map"]
        if before is None:
            return None
        if before - after > limits["map_drop"]:
            problems.append("The mAP at IoU %g on %d labelled pictures falls from %.4f to %.4f, by more than %g." % (
                limits["iou"], len(self._truths), before, after, limits["map_drop"]))  # fmt: skip
        per_class = {str(label): {which: found[which]["per_class"][label] for which in found} for label in found["reference"]["per_class"]}
        return {"reference": before, "candidate": after, "drop": before - after, "images": len(self._truths), "per_class": per_class}

    def explain(self, asker: Asker) -> None:
        """Looks for the cause of what does not hold, if none is known yet."""
        if self._diagnoses or self._first is None:
            return
        batch, want = self._first
        found = diagnosis.explain(asker, batch, want, self._errors)
        self.result["diagnoses"] = self._diagnoses = found
        self.result["problems"] = [item["message"] for item in found] + self.result["problems"]


def _severity(row: Row) -> float:
    """Another class is worse than any error of the same class."""
    return row.error + (1e6 if row.agrees is False else 0.0)


def _plain(error: Dict[str, Any]) -> Dict[str, Any]:
    return {name: float("%.6g" % value) if isinstance(value, float) else value for name, value in error.items() if name != "spread"}


def readings(rows: Sequence[Worst], labels: Dict[int, str], min_score: float) -> List[Dict[str, Any]]:
    """The worst rows as a report tells them."""
    from tfleet.client import results

    told = []
    for found in rows:
        line: Dict[str, Any] = {"name": found.name, "row": found.row, "output": found.output, "severity": float("%.4g" % min(found.severity, 1e6))}
        for which in ("reference", "candidate"):
            outputs = getattr(found, which)
            read = results.read(outputs, labels, min_score)
            line[which] = read[0] if read else results.short(outputs)
        told.append(line)
    return told
