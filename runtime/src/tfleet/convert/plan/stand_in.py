"""The stand-in for TensorRT, compiled once per version into a cache."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from typing import List

from tfleet import files
from tfleet.errors import TfleetError

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "stand_in.cc")
_COMPILERS = ("g++", "c++", "clang++")
_NAMES = ("libnvinfer.so", "libnvinfer_plugin.so")


def folder(version: str) -> str:
    """A folder for LD_LIBRARY_PATH with the stand-in of this TensorRT version (``8.6.1``). Raises TfleetError where it cannot be compiled."""
    with open(SOURCE, "rb") as stream:
        mark = hashlib.sha256(stream.read()).hexdigest()[:12]
    root = os.path.join(_cache(), "tfleet")
    found = os.path.join(root, "tensorrt-stand-in-%s-%s" % (version, mark))
    if os.path.isdir(found):
        return found
    try:
        os.makedirs(root, exist_ok=True)
        built = tempfile.mkdtemp(prefix=".stand-in-", dir=root)
    except OSError as error:
        raise TfleetError("The stand-in for TensorRT cannot be kept in %s: %s. Set XDG_CACHE_HOME to a folder that is writable." % (root, files.reason(error)))
    try:
        _compile(version, built)
        try:
            os.rename(built, found)
        except OSError:
            if not os.path.isdir(found):  # another process was faster, which is as good
                raise
    finally:
        shutil.rmtree(built, ignore_errors=True)
    return found


def _cache() -> str:
    """The user's cache; in a throw-away container, where nothing but /tmp can be written, that."""
    wanted = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    place = wanted
    while not os.path.exists(place):
        place = os.path.dirname(place)
    return wanted if os.access(place, os.W_OK) else tempfile.gettempdir()


def version_number(version: str) -> int:
    """8601 of 8.6.1, as getInferLibVersion tells it until TensorRT 9; 100100 of 10.1.0 after."""
    major, minor, patch = (int(part) for part in version.split("."))
    return major * 1000 + minor * 100 + patch if major < 10 else major * 10000 + minor * 100 + patch


def _compile(version: str, built: str) -> None:
    compiler = os.environ.get("CXX") or next((found for found in map(shutil.which, _COMPILERS) if found), None)
    if compiler is None:
        raise TfleetError(
            "Planning needs a C++ compiler, for a stand-in of TensorRT of 60 lines, and none of %s is here. Install one (apt-get install g++), or set CXX."
            % ", ".join(_COMPILERS)
        )
    for name in _NAMES:
        full = "%s.%s" % (name, version)
        number = "-DTENSORRT_VERSION=%d" % version_number(version)
        _run([compiler, "-shared", "-fPIC", "-O1", number, "-Wl,-soname,%s" % full, "-o", os.path.join(built, full), SOURCE])
        # TensorFlow asks for the whole version or only the major one, by release.
        for short in (name, "%s.%s" % (name, version.partition(".")[0])):
            os.symlink(full, os.path.join(built, short))


def _run(argv: List[str]) -> None:
    try:
        done = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    except OSError as error:
        raise TfleetError("The compiler %s cannot be started: %s. Set CXX to a C++ compiler." % (argv[0], files.reason(error)))
    said = done.communicate()[0]
    if done.returncode != 0:
        raise TfleetError("The compiler %s cannot make the stand-in for TensorRT: %s" % (argv[0], said.strip()[-800:]))
