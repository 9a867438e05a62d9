"""What an export is asked for besides its source: signatures, tags, and the changes that make a graph fit to be served. No TensorFlow here."""

from typing import Any, Dict, NamedTuple, Optional, Tuple

from tfleet.convert import signatures
from tfleet.errors import TfleetError

DEVICES = ("keep", "clear", "cpu", "gpu")
BATCHES = ("keep", "free", "loop")

Wanted = NamedTuple(
    "Wanted",
    [
        ("declared", Optional[signatures.Signatures]),  # normalised; None keeps those of the source
        ("tags", Tuple[str, ...]),  # sorted
        ("device", str),  # keep: the device strings of the source; clear: none; cpu, gpu: every node on CPU:0 or GPU:0
        ("image_bytes", str),  # the input that takes encoded pictures (as `image_bytes`) instead of pixels; "" for none
        ("pixel_values", Tuple[float, float]),  # what the darkest and the brightest pixel become in it, if it is of floats
        ("batch", str),  # keep; free: a fixed first dimension takes any size; loop: the graph is run for each row
    ],
)


def wanted(
    declared: Any = None,
    tags: Any = ("serve",),
    device: str = "keep",
    image_bytes: Optional[str] = None,
    pixel_values: Tuple[float, float] = (0.0, 1.0),
    batch: str = "keep",
) -> Wanted:
    """A Wanted in one form for equal wishes. Raises TfleetError for values that do not exist."""
    for name, value, known in (("device", device, DEVICES), ("batch", batch, BATCHES)):
        if value not in known:
            raise TfleetError("%s is `%s`.%s It takes %s." % (name, value, signatures.did_you_mean(value, known), ", ".join(known)))
    values = (float(pixel_values[0]), float(pixel_values[1])) if image_bytes else (0.0, 1.0)
    return Wanted(signatures.normalised(declared), tuple(sorted(set(tags))) or ("serve",), device, image_bytes or "", values, batch)


def options(asked: Wanted) -> Dict[str, Any]:
    """The options as provenance keeps them, and as the fingerprint counts them: what is not asked for does not appear."""
    given: Dict[str, Any] = {"signatures": asked.declared, "tags": list(asked.tags)}
    if asked.device != "keep":
        given["device"] = asked.device
    if asked.image_bytes:
        given["image_bytes"], given["pixel_values"] = asked.image_bytes, list(asked.pixel_values)
    if asked.batch != "keep":
        given["batch"] = asked.batch
    return given
