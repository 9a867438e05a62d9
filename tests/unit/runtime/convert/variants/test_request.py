"""What may be asked of a conversion, the names of variants, and what makes two conversions the same."""

import pytest

from tfleet.convert.variants import request
from tfleet.errors import TfleetError

CLASS = "orin-sm87-l4t36.4.3"


def refused(*args, **options):
    with pytest.raises(TfleetError) as caught:
        request.new(*args, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("args", "options", "name"),
    [
        (("tftrt", "fp16"), {"hardware_class": CLASS}, "tftrt-orin-sm87-l4t36.4.3-FP16"),
        (("tftrt", "INT8"), {"hardware_class": CLASS, "calibration": ["a.tfrecord"]}, "tftrt-orin-sm87-l4t36.4.3-INT8"),
        (("tflite",), {}, "tflite-float32"),
        (("tflite", "FP16"), {}, "tflite-float16"),
        (("tflite", "INT8"), {"calibration": ["a.tfrecord"]}, "tflite-int8"),
        (("grappler",), {}, "grappler"),
    ],
)
def test_names(args, options, name):
    assert request.name(request.new(*args, **options)) == name


@pytest.mark.parametrize("kind", ["tftrt", "tflite"])
def test_int8_without_calibration_data(kind):
    said = refused(kind, "INT8", **({"hardware_class": CLASS} if kind == "tftrt" else {}))
    assert "INT8 needs calibration data" in said and "tfleet tfrecord write" in said


def test_int8_on_a_chip_without_it():
    said = refused("tftrt", "INT8", hardware_class="nano-sm53", device_precisions=["FP32", "FP16"], calibration=["a"])
    assert "has no INT8" in said and "FP32, FP16" in said and "nano-sm53" in said


@pytest.mark.parametrize("options", [{"dynamic_shape": True}, {"profile_strategy": "Range"}])
def test_dynamic_shape_and_profile_belong_together(options):
    said = refused("tftrt", hardware_class=CLASS, **options)
    assert "profile" in said and ("--batch-sizes" in said or "--dynamic-shape" in said)


@pytest.mark.parametrize(
    ("args", "options", "part"),
    [
        (("onnx",), {}, "There is no variant `onnx`"),
        (("grappler", "FP16"), {}, "has no precision FP16"),
        (("tftrt",), {}, "belongs to one hardware class"),
        (("tftrt",), {"hardware_class": "a/b"}, "cannot be part of a name"),
        (("tftrt",), {"hardware_class": CLASS, "dynamic_shape": True, "batch_sizes": [1], "profile_strategy": "Best"}, "no profile strategy `Best`"),
        (("tftrt",), {"hardware_class": CLASS, "dynamic_shape": True, "batch_sizes": [1], "build": False}, "engines built now"),
        (("tftrt",), {"hardware_class": CLASS, "batch_sizes": [0]}, "1 or more"),
        (("tftrt",), {"hardware_class": CLASS, "workspace_bytes": 0}, "workspace must be more than 0"),
        (("tftrt", "FP16"), {"hardware_class": CLASS, "calibration": ["a"]}, "for INT8 only"),
        (("tflite",), {"workspace_bytes": 1}, "`workspace_bytes` means something to TF-TRT only"),
        (("grappler",), {"hardware_class": CLASS}, "`hardware_class` means something to TF-TRT only"),
        (("tflite", "INT8"), {"calibration": ["a"], "calibration_examples": 0}, "1 or more"),
    ],
)
def test_what_makes_no_sense(args, options, part):
    assert part in refused(*args, **options)


def test_the_fingerprint_is_of_what_decides_the_result():
    def mark(source="s", data="c", **changes):
        values = dict({"hardware_class": CLASS, "calibration": ["a.tfrecord"], "batch_sizes": [4, 1]}, **changes)
        return request.fingerprint(request.new("tftrt", "INT8", **values), source, data)

    same = mark()
    assert mark(batch_sizes=[1, 4, 4]) == same
    assert mark(calibration=["elsewhere.tfrecord"]) == same
    assert mark(data="other data") != same and mark(source="t") != same
    assert mark(device_precisions=["INT8"]) == same and mark(gpu_memory_bytes=2**30) == same
    for changes in ({"hardware_class": "other"}, {"batch_sizes": [1]}, {"minimum_segment_size": 50}, {"workspace_bytes": 2**25}, {"build_at_runtime": False}):
        assert mark(**changes) != same, changes


def test_options_that_do_not_apply_do_not_count():
    one = request.new("tflite", "FP16")
    other = request.new("tflite", "FP16", calibration_examples=7)
    assert request.fingerprint(one, "s", None) == request.fingerprint(other, "s", None)


def test_shapes():
    assert request.parse_shape("1x300x300x3") == [1, 300, 300, 3]
    for text in ("", "1x", "0x3", "-1x3", "a"):
        with pytest.raises(ValueError):
            request.parse_shape(text)
