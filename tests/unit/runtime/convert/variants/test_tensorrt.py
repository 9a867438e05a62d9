"""What `tfleet probe` found, as the sentence that says what to do; the probe itself is the real one, of the TensorFlow that is here."""

import pytest

from tfleet.convert.variants import build, request, tensorrt
from tfleet.errors import TfleetError


def found(version="2.17.1", linked="8.6.1", loaded=None, usable=False, reason=""):
    return {"tensorflow": version, "tensorrt": {"linked": linked, "loaded": loaded, "usable": usable, "reason": reason}}


def refused(answer):
    with pytest.raises(TfleetError) as caught:
        tensorrt.check_usable(answer)
    return str(caught.value)


def test_usable():
    tensorrt.check_usable(found(loaded="8.6.1", usable=True))
    tensorrt.check_usable(found("1.15.5", linked="7.1.3", loaded="7.1.3", usable=True))


@pytest.mark.parametrize("version", ["2.18.0", "2.20.1", "3.0.0"])
def test_tensorflow_2_18_or_later(version):
    said = refused(found(version, linked=None))
    assert "TensorFlow %s has no TF-TRT: 2.17 is the last" % version in said


def test_missing_is_not_called_not_built():
    said = refused(found(reason="exit code -6"))
    assert said.startswith("TensorRT is missing: TensorFlow 2.17.1 has TF-TRT") and "libnvinfer 8" in said


def test_another_major():
    said = refused(found(loaded="10.3.0"))
    assert "built for TensorRT 8.6.1, but TensorRT 10.3.0 is installed" in said and "major" in said


def test_a_build_without_it_is_told_by_the_real_probe():
    with pytest.raises(TfleetError) as caught:
        tensorrt.check_usable(tensorrt.probe())
    assert "made without TF-TRT" in str(caught.value) and "tensorflow==2.17.1" in str(caught.value)


def test_tensorrt_10_has_no_implicit_batch():
    ten = found("2.17.0", linked="10.8.0", loaded="10.8.0", usable=True)
    with pytest.raises(TfleetError) as caught:
        tensorrt.check_batch(ten, dynamic_shape=False)
    said = str(caught.value)
    assert "TensorRT 10 has no implicit batch" in said and "10.8.0" in said and "--dynamic-shape and --batch-sizes or --shape" in said
    tensorrt.check_batch(ten, dynamic_shape=True)
    tensorrt.check_batch(found(loaded="8.6.1", usable=True), dynamic_shape=False)
    tensorrt.check_batch(found(), dynamic_shape=False)


def test_a_conversion_asks_before_anything_is_built(native, tmp_path, monkeypatch):
    # The probe's answer of a machine with TensorRT 10, which is not here; everything else is real.
    monkeypatch.setattr(tensorrt, "probe", lambda: found("2.17.0", linked="10.8.0", loaded="10.8.0", usable=True))
    place = tmp_path / "variants" / "one"
    with pytest.raises(TfleetError) as caught:
        build.convert(request.new("tftrt", "FP16", hardware_class="orin", batch_sizes=[1]), native("digits"), str(place), ignore_memory=True)
    assert "TensorRT 10 has no implicit batch" in str(caught.value) and not place.parent.exists()
