"""The stand-in for TensorRT: compiled by the real compiler, loaded by the real loader."""

import ctypes
import os

import pytest

from tfleet.convert.plan import stand_in
from tfleet.errors import TfleetError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CXX", raising=False)


@pytest.mark.parametrize(("version", "number"), [("8.6.1", 8601), ("7.1.3", 7103), ("10.3.0", 100300)])
def test_it_tells_the_version(version, number):
    folder = stand_in.folder(version)
    library = ctypes.CDLL(os.path.join(folder, "libnvinfer.so.%s" % version))
    assert library.getInferLibVersion() == number
    assert library.initLibNvInferPlugins(None, b"") & 1
    assert sorted(os.listdir(folder)) == sorted(
        name + end for name in ("libnvinfer.so", "libnvinfer_plugin.so") for end in ("", "." + version.partition(".")[0], "." + version)
    )


def test_it_is_compiled_once(monkeypatch):
    folder = stand_in.folder("8.6.1")
    monkeypatch.setenv("CXX", "/nowhere/g++")
    assert stand_in.folder("8.6.1") == folder
    assert [name for name in os.listdir(os.path.dirname(folder)) if name.startswith(".")] == []


def test_no_compiler(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(TfleetError) as caught:
        stand_in.folder("8.6.1")
    assert "apt-get install g++" in str(caught.value)


def test_a_compiler_that_fails(monkeypatch, tmp_path):
    for command, part in (("/nowhere/g++", "cannot be started"), ("/bin/false", "cannot make the stand-in")):
        monkeypatch.setenv("CXX", command)
        with pytest.raises(TfleetError) as caught:
            stand_in.folder("8.6.1")
        assert part in str(caught.value)
    assert os.listdir(str(tmp_path / "cache" / "tfleet")) == []
