"""Golden files: recorded inputs and outputs of a model, with tolerances, in one .npz that numpy alone can read.

The arrays are `<i>/inputs/<alias>` and `<i>/outputs/<alias>` for example i = 0, 1, ..., each with the request's own batch
dimension; the array `meta` holds JSON: {"format": 1, "model", "signature_name", "examples": N,
"tolerance": {output: {"abs", "rel"}}, "labels": optional class names, "accuracy": optional}.
"""

import io
import json
import math
import zipfile
import zlib
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from tfleet import files
from tfleet.errors import TfleetError

FORMAT = 1
_RECORD = "Record it again from the source model."
_SMALL = 1 << 18
"""Bytes. Larger arrays are not compressed: that takes longer than asking a model for its answer to them."""
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the oldest time a zip file can hold

Arrays = Dict[str, np.ndarray]
Golden = NamedTuple("Golden", [("meta", Dict[str, Any]), ("examples", List[Tuple[Arrays, Arrays]])])
Comparison = NamedTuple(
    "Comparison",
    [
        ("ok", bool),
        # output -> {"output", "abs", "rel", "example"}: the element that is worst in relation to its tolerance;
        # abs and rel are None where no difference can be computed (another shape, a missing output, strings, NaN)
        ("errors", Dict[str, Dict[str, Any]]),
        ("worst", Optional[Dict[str, Any]]),
        ("problems", List[str]),  # one sentence per output outside its tolerance
    ],
)


def write(path: str, meta: Dict[str, Any], examples: Sequence[Tuple[Arrays, Arrays]]) -> None:
    """Writes a golden file; see encode(). Raises TfleetError for an unwritable file too."""
    files.atomic_write(path, encode(path, meta, examples))


def encode(path: str, meta: Dict[str, Any], examples: Sequence[Tuple[Arrays, Arrays]]) -> bytes:
    """The content of a golden file; equal content gives equal bytes. `format` and `examples` of meta are filled in.

    Strings may be dtype S, U or object. Raises TfleetError, naming `path`, for byte strings that end in zero bytes, which
    numpy's own dtype would lose.
    """
    arrays = {"meta": np.array(json.dumps(dict(meta, format=FORMAT, examples=len(examples)), sort_keys=True))}
    for index, (inputs, outputs) in enumerate(examples):
        for kind, values in (("inputs", inputs), ("outputs", outputs)):
            for alias, value in sorted(values.items()):
                arrays["%d/%s/%s" % (index, kind, alias)] = _storable(path, alias, value)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(name + ".npy", _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED if array.nbytes <= _SMALL else zipfile.ZIP_STORED
            entry.external_attr = 0o644 << 16
            entry.file_size = array.nbytes  # beyond 2 GiB the archive needs longer numbers, which it has to know before
            with archive.open(entry, "w") as stream:
                _put_array(stream, array)
    return buffer.getvalue()


def read(path: str) -> Golden:
    """Reads a golden file. Raises TfleetError, saying what is wrong with it."""
    arrays = _load(path)
    try:
        meta = json.loads(str(arrays.pop("meta")[()]))
        version, count = meta["format"], meta["examples"]
    except (KeyError, IndexError, TypeError, ValueError):
        raise TfleetError("%s is not a golden file: it has no description named 'meta'. %s" % (path, _RECORD))
    if version != FORMAT:
        raise TfleetError("%s is a golden file of format %r; this tfleet reads %d. %s" % (path, version, FORMAT, _RECORD))
    examples: List[Tuple[Arrays, Arrays]] = [({}, {}) for _ in range(count)]
    for name, array in arrays.items():
        parts = name.split("/", 2)
        if len(parts) != 3 or not parts[0].isdigit() or parts[1] not in ("inputs", "outputs") or int(parts[0]) >= count:
            raise TfleetError("%s has an array '%s', which is not <example>/inputs|outputs/<alias>. %s" % (path, name, _RECORD))
        examples[int(parts[0])][parts[1] == "outputs"][parts[2]] = array
    for index, (inputs, outputs) in enumerate(examples):
        if not inputs or not outputs:
            raise TfleetError("%s: example %d lacks its inputs or its outputs. %s" % (path, index, _RECORD))
    if not examples:
        raise TfleetError("%s has no examples. %s" % (path, _RECORD))
    return Golden(meta, examples)


def compare(golden: Golden, answers: Sequence[Arrays]) -> Comparison:
    """Compares answers[i] = {output: array} with example i, each element by |difference| <= abs + rel * |expected|.

    An output without a tolerance must be equal. Strings are compared as bytes; NaN equals NaN.
    Raises ValueError if there are not as many answers as examples.
    """
    if len(answers) != len(golden.examples):
        raise ValueError("%d answers for %d examples" % (len(answers), len(golden.examples)))
    errors: Dict[str, Dict[str, Any]] = {}
    severity: Dict[str, float] = {}
    problems = []
    for index, ((_, expected), answer) in enumerate(zip(golden.examples, answers)):
        for output in sorted(expected):
            tolerance = golden.meta.get("tolerance", {}).get(output, {})
            found = _difference(expected[output], answer.get(output), tolerance)
            if output not in errors or found.severity > severity[output]:
                severity[output] = found.severity
                errors[output] = {"output": output, "abs": found.abs, "rel": found.rel, "example": index}
                if found.severity > 1:
                    errors[output]["problem"] = found.problem
    for output in sorted(errors):
        problem = errors[output].pop("problem", None)
        if problem:
            problems.append("Output '%s' of example %d %s." % (output, errors[output]["example"], problem))
    worst = errors[max(sorted(errors), key=lambda output: severity[output])] if errors else None
    return Comparison(not problems, errors, worst, problems)


_Difference = NamedTuple(
    "_Difference",
    [("severity", float), ("abs", Optional[float]), ("rel", Optional[float]), ("problem", str)],
)


def _difference(expected: np.ndarray, actual: Optional[np.ndarray], tolerance: Dict[str, float]) -> _Difference:
    """How far the worst element is off; severity 1 is the limit of the tolerance."""
    if actual is None:
        return _Difference(math.inf, None, None, "is missing in the answer")
    if actual.shape != expected.shape:
        problem = "has shape %s instead of %s" % (list(actual.shape), list(expected.shape))
        return _Difference(math.inf, None, None, problem)
    if expected.dtype.kind in "OSU":
        wrong = [place for place, pair in enumerate(zip(_texts(expected), _texts(actual))) if pair[0] != pair[1]]
        if not wrong:
            return _Difference(0.0, 0.0, 0.0, "")
        problem = "is %r instead of %r at element %d" % (_texts(actual)[wrong[0]], _texts(expected)[wrong[0]], wrong[0])
        return _Difference(math.inf, None, None, problem)
    if expected.size == 0 or np.array_equal(expected, actual):
        return _Difference(0.0, 0.0, 0.0, "")
    wide = np.complex128 if expected.dtype.kind == "c" else np.float64
    want, got = expected.astype(wide).reshape(-1), actual.astype(wide).reshape(-1)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        absolute = np.abs(got - want)
        absolute[(want == got) | (np.isnan(want) & np.isnan(got))] = 0.0
        relative = np.where(absolute == 0, 0.0, absolute / np.abs(want))
        allowed = tolerance.get("abs", 0.0) + tolerance.get("rel", 0.0) * np.abs(want)
        share = np.where(absolute == 0, 0.0, absolute / allowed)
    share[np.isnan(share) | np.isinf(want)] = np.inf
    share[absolute == 0] = 0.0
    place = int(np.argmax(share))
    problem = "is %s instead of %s at element %d: off by %.3g where %.3g is allowed" % (
        actual.reshape(-1)[place],
        expected.reshape(-1)[place],
        place,
        absolute[place],
        allowed[place],
    )
    return _Difference(float(share[place]), _finite(absolute[place]), _finite(relative[place]), problem)


def _finite(value: Any) -> Optional[float]:
    """JSON has no infinity and no NaN."""
    return float(value) if np.isfinite(value) else None


def _texts(array: np.ndarray) -> List[bytes]:
    return [text.encode("utf-8") if isinstance(text, str) else text for text in array.reshape(-1).tolist()]


def _storable(path: str, alias: str, value: Any) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind != "O":
        return array
    texts = _texts(array)
    if any(text.endswith(b"\0") for text in texts):
        raise TfleetError("%s: '%s' has a string that ends in a zero byte, which a golden file cannot hold." % (path, alias))
    return np.array(texts, dtype=bytes).reshape(array.shape)


def _put_array(stream: Any, array: np.ndarray) -> None:
    """The array as numpy writes it; a large one without numpy's two copies of it."""
    if array.nbytes <= _SMALL or not array.flags.c_contiguous:
        np.lib.format.write_array(stream, array, allow_pickle=False)
        return
    np.lib.format.write_array_header_1_0(stream, np.lib.format.header_data_from_array_1_0(array))
    stream.write(array.reshape(-1).view(np.uint8).data)


def _load(path: str) -> Arrays:
    try:
        if not zipfile.is_zipfile(path):
            with open(path, "rb"):  # a missing or unreadable file is another mistake
                raise TfleetError("%s is not a golden file: it is no .npz archive, or cut short. %s" % (path, _RECORD))
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except OSError as error:
        raise TfleetError("Could not read the golden file %s: %s." % (path, files.reason(error)))
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise TfleetError("%s is not a golden file, or is damaged: %s. %s" % (path, error, _RECORD))
