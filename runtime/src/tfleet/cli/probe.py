"""`tfleet probe`: which TensorFlow the runtime has, the GPUs it sees, and whether TensorRT can be used."""

import argparse
import json
import os
import platform
import subprocess
import sys
from typing import Any, Dict, List

HELP = "Show TensorFlow's version, the GPUs that it sees, and whether TensorRT can be loaded."

# Runs in a process of its own: asking for TensorRT's version aborts where libnvinfer is missing or of another major version
# (facts/jetson.md, section 8d). What is known before comes on a line of its own, so that it survives that.
_CHILD = """
import json
import tensorflow as tf
build = getattr(tf.sysconfig, "get_build_info", dict)()
try:
    gpus = [device.name for device in tf.config.experimental.list_physical_devices("GPU")]
except AttributeError:
    gpus = []
known = {"tensorflow": tf.__version__, "gpus": gpus, "cuda": build.get("cuda_version"), "tensorrt_built": build.get("is_tensorrt_build")}
print("tfleet " + json.dumps(known), flush=True)
try:
    from tensorflow.compiler.tf2tensorrt import _pywrap_py_utils as tensorrt
except ImportError:
    from tensorflow.compiler.tf2tensorrt import wrap_py_utils as tensorrt
enabled = bool(tensorrt.is_tensorrt_enabled())
def version(numbers):
    return ".".join(map(str, numbers)) if any(numbers) else None
print("tfleet " + json.dumps({"enabled": enabled, "linked": version(tensorrt.get_linked_tensorrt_version())}), flush=True)
print("tfleet " + json.dumps({"loaded": version(tensorrt.get_loaded_tensorrt_version()) if enabled else None}), flush=True)
"""
_SECONDS = 300


def add_arguments(parser: argparse.ArgumentParser) -> None:
    del parser  # it takes no options


def run(_args: argparse.Namespace) -> Dict[str, Any]:
    """Returns {"python", "tensorflow", "cuda", "gpus": [..], "tensorrt": {"usable", "linked", "loaded", "reason"}}. Raises TfleetError."""
    from tfleet import __version__
    from tfleet.errors import TfleetError

    environment = dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3")
    child = subprocess.Popen([sys.executable, "-c", _CHILD], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             universal_newlines=True, env=environment)
    try:
        stdout, stderr = child.communicate(timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        stdout, stderr = child.communicate()
    parts = [json.loads(line[len("tfleet "):]) for line in stdout.splitlines() if line.startswith("tfleet ")]
    last = [line for line in stderr.splitlines() if line.strip()][-6:]
    if not parts:
        raise TfleetError(
            "TensorFlow cannot be imported by %s (%s). It said last:\n%s\nOn JetPack 4 its libraries come from the host: start the container with the "
            "NVIDIA runtime. Otherwise install the runtime again (role tensorflow_runtime)." % (sys.executable, _ending(child.returncode), "\n".join(last)))
    return dict(_told(parts, child.returncode, last), runtime=__version__, python=platform.python_version())


def render(result: Dict[str, Any]) -> str:
    tensorrt = result["tensorrt"]
    return "TensorFlow %s, Python %s, tfleet %s\nGPUs: %s\nTensorRT: %s" % (
        result["tensorflow"], result["python"], result["runtime"], ", ".join(result["gpus"]) or "none",
        "%s is usable" % tensorrt["loaded"] if tensorrt["usable"] else tensorrt["reason"])


def _told(parts: List[Dict[str, Any]], returncode: int, last: List[str]) -> Dict[str, Any]:
    known: Dict[str, Any] = {}
    for part in parts:
        known.update(part)
    tensorrt: Dict[str, Any] = {"usable": False, "linked": known.get("linked"), "loaded": known.get("loaded"), "reason": ""}
    if returncode != 0:
        tensorrt["reason"] = "asking for it ended the process (%s), which is a libnvinfer that is missing or of another major version: %s" % (
            _ending(returncode), " ".join(last))
    elif known["tensorrt_built"] is False or (not known["enabled"] and not known["linked"]):
        tensorrt["reason"] = "TensorFlow %s was built without it" % known["tensorflow"]
    elif not known["enabled"]:
        # Its own message says "not built with TensorRT", which misleads (facts/jetson.md, section 8c).
        tensorrt["reason"] = "TensorFlow was built for TensorRT %s, and libnvinfer cannot be loaded" % known["linked"]
    elif known["loaded"] is None:
        tensorrt["reason"] = "libnvinfer was loaded and does not tell its version"
    elif not _compatible(known["linked"], known["loaded"]):
        tensorrt["reason"] = "TensorFlow was built for TensorRT %s and finds %s: the major version must be the same, and not older" % (
            known["linked"], known["loaded"])
    else:
        tensorrt["usable"] = True
    return {"tensorflow": known["tensorflow"], "cuda": known["cuda"], "gpus": known["gpus"], "tensorrt": tensorrt}


def _compatible(linked: Any, loaded: Any) -> bool:
    """TensorFlow's own rule since 2.4: the same major version, and not older than what it was built for."""
    built, found = [[int(number) for number in str(text).split(".")] for text in (linked, loaded)]
    return built[0] == found[0] and found >= built


def _ending(returncode: int) -> str:
    return "signal %d" % -returncode if returncode < 0 else "exit code %d" % returncode
