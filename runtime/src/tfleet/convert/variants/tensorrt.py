"""Whether TF-TRT can be used by the TensorFlow that is here, as a sentence. Asked of `tfleet probe`, which is a process of its own."""

import json
import subprocess
import sys
from typing import Any, Dict

from tfleet.errors import TfleetError

EXPLICIT_BATCH = 10  # from this TensorRT on there is no other (facts/jetson.md, section 3c; data/tftrt.yml for the controller)
LAST = (2, 17)  # the last TensorFlow with TF-TRT (facts/jetson.md, section 8e; data/tftrt.yml for the controller)


def probe() -> Dict[str, Any]:
    """What `tfleet probe` tells. Raises TfleetError."""
    argv = [sys.executable, "-m", "tfleet", "probe", "--json"]
    child = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, universal_newlines=True
    )
    text = child.communicate()[0]
    try:
        answer: Dict[str, Any] = json.loads(text)
    except ValueError:
        raise TfleetError("`tfleet probe` ended with %d and told nothing. Run it by hand on this device." % child.returncode)
    if not answer["ok"]:
        raise TfleetError(answer["msg"])
    return answer


def check_version(found: Dict[str, Any]) -> None:
    """Raise TfleetError unless this release of TensorFlow has TF-TRT, with TensorRT there or not."""
    version = str(found["tensorflow"])
    if tuple(int(part) for part in version.split(".")[:2]) > LAST:
        raise TfleetError(
            "TensorFlow %s has no TF-TRT: 2.17 is the last release with it. Convert with the image for TensorFlow 2.17 or earlier that "
            "docs/compatibility.md names for this device, or release the native variant." % version
        )
    if not found["tensorrt"]["linked"]:
        raise TfleetError(
            "This build of TensorFlow %s was made without TF-TRT (the package tensorflow-cpu, for example, is). Use NVIDIA's image for this device, or "
            "the package tensorflow==2.17.1, which has it." % version
        )


def check_batch(found: Dict[str, Any], dynamic_shape: bool) -> None:
    """Raise TfleetError if engines with fixed sizes are wanted of a TensorRT that has none. TF-TRT would say so only when it has frozen the model."""
    loaded = str(found["tensorrt"]["loaded"] or "")
    if loaded and not dynamic_shape and int(loaded.partition(".")[0]) >= EXPLICIT_BATCH:
        raise TfleetError(
            "TensorRT 10 has no implicit batch, and TensorRT %s is installed: add --dynamic-shape and --batch-sizes or --shape (in tftrt_convert "
            "dynamic_shape, batch_sizes and shapes), smallest and largest included." % loaded
        )


def check_usable(found: Dict[str, Any]) -> None:
    """Raise TfleetError unless engines can be built and run: the release, the library, its major version, a GPU."""
    check_version(found)
    tensorrt = found["tensorrt"]
    linked, loaded = tensorrt["linked"], tensorrt["loaded"]
    if tensorrt["usable"]:
        return
    if loaded:
        raise TfleetError(
            "TensorFlow %s was built for TensorRT %s, but TensorRT %s is installed: the major version must be the same, and not older. Use the container "
            "image that belongs to this TensorRT, or install TensorRT %s." % (found["tensorflow"], linked, loaded, linked.partition(".")[0])
        )
    raise TfleetError(
        "TensorRT is missing: TensorFlow %s has TF-TRT, made for TensorRT %s, but libnvinfer of that version cannot be loaded (%s). TensorFlow itself would "
        "call that `not built with TensorRT support`, which it is. Install libnvinfer %s, or use NVIDIA's image; on a Jetson with L4T r32 start the container "
        "with the NVIDIA runtime, which mounts it." % (found["tensorflow"], linked, tensorrt["reason"], linked.partition(".")[0])
    )
