"""Engines of another hardware class are refused before they are loaded."""

import json

import pytest

from tfleet.server import flags, hardware_class, loader
from tfleet.server.status import FAILED_PRECONDITION, StatusError


def version(tmp_path, **provenance):
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / "assets.extra" / "tfleet_provenance.json").write_text(json.dumps(provenance))
    return str(tmp_path)


def test_another_class(tmp_path):
    path = version(tmp_path, variant="tftrt-nano-FP16", hardware_class="nano")
    with pytest.raises(StatusError) as caught:
        hardware_class.check(path, "orin")
    assert caught.value.code == FAILED_PRECONDITION
    assert "tftrt-nano-FP16" in caught.value.message and "hardware class nano" in caught.value.message and "orin" in caught.value.message


def test_the_loader_refuses_before_it_reads_the_model(tmp_path):
    """There is no model at all: the class comes first."""
    path = version(tmp_path, variant="tftrt-nano-FP16", hardware_class="nano")
    chosen = loader.settings(flags.parse(["--tfleet_hardware_class=orin"]))
    with pytest.raises(StatusError) as caught:
        loader.Loader(chosen, None, False).load("detector", 1, path)
    assert "cannot run on this one, orin" in caught.value.message


@pytest.mark.parametrize("own", ["nano", ""])
def test_the_same_class_and_a_server_that_was_not_told(tmp_path, own):
    hardware_class.check(version(tmp_path, variant="tftrt-nano-FP16", hardware_class="nano"), own)


@pytest.mark.parametrize("provenance", [{}, {"variant": "tflite-int8", "hardware_class": None}])
def test_what_runs_anywhere(tmp_path, provenance):
    hardware_class.check(version(tmp_path, **provenance), "orin")


def test_models_of_others(tmp_path):
    hardware_class.check(str(tmp_path), "orin")
    (tmp_path / "assets.extra").mkdir()
    for text in ("not JSON", "[1]"):
        (tmp_path / "assets.extra" / "tfleet_provenance.json").write_text(text)
        hardware_class.check(str(tmp_path), "orin")
