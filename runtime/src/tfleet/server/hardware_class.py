"""Variants whose engines belong to one hardware class are refused on others, before TensorRT can abort the server over them."""
import json
import os

from .status import failed_precondition

_PROVENANCE = os.path.join("assets.extra", "tfleet_provenance.json")


def check(path: str, own: str) -> None:
    """Raises StatusError if the version in `path` was built for another hardware class than `own`; an empty `own` takes everything."""
    if not own:
        return
    try:
        with open(os.path.join(path, _PROVENANCE), encoding="utf-8") as source:
            provenance = json.load(source)
    except (OSError, ValueError):
        return  # nothing of tfleet's making says that it belongs anywhere
    built_for = provenance.get("hardware_class") if isinstance(provenance, dict) else None
    if built_for and built_for != own:
        raise failed_precondition(
            "%s is the variant %s, whose TensorRT engines were built for hardware class %s and cannot run on this one, %s. Convert the model on a "
            "device of this class, or release the native variant." % (path, provenance.get("variant"), built_for, own))
