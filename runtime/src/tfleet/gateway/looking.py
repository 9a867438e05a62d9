"""One picture through one model: what the page and the API both answer."""

import base64
import io
import time
from typing import Any, Dict, Optional

from tfleet import __version__
from tfleet.client import inputs, pictures, results
from tfleet.errors import TfleetError
from tfleet.gateway import metrics
from tfleet.gateway.catalogue import Catalogue, Choice
from tfleet.gateway.refusal import RefusedError
from tfleet.gateway.uploads import Upload
from tfleet.gateway.upstreams import Inquiry, missing, overloaded

_AGAIN = 2
"""Seconds after which a server that is away may be back."""
_STALE = ("INVALID_ARGUMENT", "FAILED_PRECONDITION")


def look(
    catalogue: Catalogue, inquiry: Inquiry, choice: Choice, upload: Upload, annotate: bool, min_score: Optional[float], top: int
) -> Dict[str, Any]:
    """The answer of the API for a picture. Raises RefusedError."""
    seen, model, size = _seen(catalogue, inquiry, choice, upload)
    metrics.PREDICTIONS.labels(choice.model, str(seen.version)).inc()
    metrics.MODEL_SECONDS.labels(choice.model).observe(seen.milliseconds / 1000)
    least = model.min_score if min_score is None else min_score
    reading = results.read(seen.outputs, model.labels, least, top)
    answer: Dict[str, Any] = {
        "model": choice.model,
        "version": seen.version,
        "label": choice.label,
        "width": upload.width,
        "height": upload.height,
        "used": {"width": size[0], "height": size[1]},
        "milliseconds": {"model": round(seen.milliseconds, 2)},
    }
    if reading:
        answer.update((name, reading[0][name]) for name in ("detections", "top") if name in reading[0])
    else:
        answer["outputs"] = results.short(seen.outputs)
    if annotate:
        answer["picture"] = {"media_type": "image/jpeg", "data": _drawn(upload.picture, seen, model, least)}
    return answer


def _seen(catalogue: Catalogue, inquiry: Inquiry, choice: Choice, upload: Upload) -> Any:
    try:
        try:
            return _asked(catalogue, inquiry, choice, upload)
        except TfleetError as error:
            # Another version may have come in the meantime, whose signature is another.
            if error.result.get("code") not in _STALE or not catalogue.forget(choice):
                raise
            return _asked(catalogue, inquiry, choice, upload)
    except TfleetError as error:
        raise refusal(error, choice)


def _asked(catalogue: Catalogue, inquiry: Inquiry, choice: Choice, upload: Upload) -> Any:
    model = catalogue.model(choice, inquiry)
    if len(model.signature.inputs) != 1:
        wanted = inputs.describe_inputs(model.signature)
        raise RefusedError(422, "not_for_pictures", "Model '%s' does not take a picture alone; its inputs are: %s." % (choice.model, wanted))
    prepared = model.prepare_opened((choice.model, upload.picture, upload.content))
    return model.ask([prepared])[0], model, upload.picture.size


def refusal(error: TfleetError, choice: Choice) -> RefusedError:
    """What a client is told of a model server's failure, or of a picture that does not fit the model."""
    code, details = error.result.get("code"), error.result.get("details", "")
    which = "model '%s'" % choice.model
    if choice.version is not None:
        which = "version %d of " % choice.version + which
    elif choice.label:
        which = "the version with label '%s' of " % choice.label + which
    if missing(error):
        return RefusedError(404, "not_served", "%s is not served now. GET api/v1/models tells what is." % (which[0].upper() + which[1:]))
    if code == "UNAVAILABLE" and overloaded(error):
        return RefusedError(503, "busy", "The model servers have too much to do. Try again in a moment.", _AGAIN)
    if code == "UNAVAILABLE":
        return RefusedError(503, "unavailable", "No model server can be reached now. Try again in a moment.", _AGAIN)
    if code == "DEADLINE_EXCEEDED":
        return RefusedError(504, "too_slow", "There was no answer in time. Try again, or send a smaller picture.")
    if code == "RESOURCE_EXHAUSTED":
        return RefusedError(503, "no_memory", "The model server has no memory for this picture. Send a smaller one.", _AGAIN)
    if code in _STALE + ("OUT_OF_RANGE",):
        return RefusedError(422, "not_accepted", "%s cannot use this picture: %s" % (which[0].upper() + which[1:], _short(details)))
    if code is None:  # of preparing the picture or of reading the answer: the declaration or the signature
        return RefusedError(422, "not_for_pictures", "%s cannot be asked with a picture: %s" % (which[0].upper() + which[1:], _short(str(error))))
    return RefusedError(502, "failed", "The model server failed at this picture (%s)." % code)


def _short(text: str) -> str:
    """The first line of a server's message: what follows are graph nodes."""
    lines = text.strip().splitlines() or [""]
    return lines[0][:300]


def _drawn(picture: Any, seen: Any, model: Any, min_score: float) -> str:
    buffer = io.BytesIO()
    pictures.annotated(pictures.Shown(picture, 0, seen.outputs, None), model.labels, min_score).save(buffer, "JPEG", quality=90)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


class Stopwatch(object):
    """Milliseconds since it was made."""

    def __init__(self) -> None:
        self._begin = time.perf_counter()

    def milliseconds(self) -> float:
        """Rounded to hundredths."""
        return round(1000 * (time.perf_counter() - self._begin), 2)


GENERATOR = "tfleet %s" % __version__
