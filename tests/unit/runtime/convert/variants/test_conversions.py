"""Real conversions, and what the variants answer beside the native model, loaded and asked as the model server does it."""

import functools
import os

import numpy as np
import pytest

from tfleet.convert import framework
from tfleet.convert.variants import frozen, grappler, request, tflite
from tfleet.errors import TfleetError
from tfleet.measure.builds import open_build

from . import architectures

CLASSIFIERS = ("mobilenet_v2", "resnet50")


def answers(folder, arrays):
    with open_build(folder) as build:
        return build.predict(arrays)


@functools.lru_cache(maxsize=None)
def native_answers(folder, name, count):
    """What an architecture answers to its random pictures: asked once for all variants of it."""
    return answers(folder, {"images": architectures.pictures(name, count)})


def both(native_folder, variant, arrays=None, name=None, count=1):
    """The answers of the native model and of its variant to `arrays`, or to `count` random pictures for the architecture `name`."""
    if name:
        arrays = {"images": architectures.pictures(name, count)}
    one, other = native_answers(native_folder, name, count) if name else answers(native_folder, arrays), answers(variant, arrays)
    assert sorted(one) == sorted(other)
    for alias in one:
        assert one[alias].dtype == other[alias].dtype and one[alias].shape == other[alias].shape, alias
    return one, other


@pytest.mark.parametrize("name", CLASSIFIERS + architectures.DETECTORS)
def test_grappler(name, native, converted):
    folder, summary = converted(native(name), "grappler")
    assert 0 < summary["nodes_after"] < summary["nodes_before"] and "VarHandleOp" not in summary["operations"]
    assert os.listdir(folder) == ["saved_model.pb"]
    one, other = both(native(name), folder, name=name)
    for alias in one:
        np.testing.assert_allclose(other[alias], one[alias], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["grappler", "tflite"])
@pytest.mark.parametrize("name", CLASSIFIERS + architectures.DETECTORS)
def test_parity_holds(name, kind, native, converted, command):
    folder, _summary = converted(native(name), kind)
    answer = command("parity", native(name), folder, "--random", "4")
    assert answer["holds"] and answer["rows"] == 4 and sorted(answer["outputs"]) == sorted(native_answers(native(name), name, 1))


@pytest.mark.parametrize("name", ["mobilenet_v2", "ssd"])
def test_variants_are_measured_beside_the_native_model(name, native, converted, command):
    builds = ["native=" + native(name)] + ["%s=%s" % (kind, converted(native(name), kind)[0]) for kind in ("grappler", "tflite")]
    answer = command("benchmark", *builds, "--random", "1", "--rounds", "5", "--window", "0.1")
    assert sorted(row["name"] for row in answer["results"]) == ["grappler", "native", "tflite"]
    # Each turn has one request at least, also on a busy machine.
    assert all(row["requests"] >= 5 and row["errors"] == {} and row["memory_mb"]["model"] > 0 for row in answer["results"])
    assert [(line["name"], line["baseline"]) for line in answer["summary"]] == [("grappler", "native"), ("tflite", "native")]
    assert all(line["low"] <= line["ratio"] <= line["high"] for line in answer["summary"])


@pytest.mark.parametrize("precision", ["FP32", "FP16"])
@pytest.mark.parametrize("name", CLASSIFIERS + architectures.DETECTORS)
def test_tflite(name, precision, native, converted):
    folder, summary = converted(native(name), "tflite", precision)
    assert sorted(summary["inputs"]) == ["images"]
    # What TensorFlow Lite has no kernel for is TensorFlow's own in it.
    assert summary["tensorflow_operations"] == (name == "faster_rcnn")
    one, other = both(native(name), folder, name=name)
    tolerance = {"FP32": 1e-4, "FP16": 2e-2}[precision]
    if name in CLASSIFIERS or precision == "FP32":
        for alias in one:
            np.testing.assert_allclose(other[alias], one[alias], rtol=tolerance, atol=tolerance)


def test_the_outline_leaves_no_trace(native, converted):
    """Python gets the model without its weights: what native code makes of the whole one is byte for byte what TensorFlow makes alone."""
    folder, _summary = converted(native("mobilenet_v2"), "tflite")
    outline, whole = (os.path.getsize(os.path.join(folder + suffix, "saved_model.pb")) for suffix in ("-outline", "-frozen"))
    assert outline < 0.6 * whole
    alone = framework.load().lite.TFLiteConverter.from_saved_model(folder + "-frozen", signature_keys=["serving_default"]).convert()
    with open(os.path.join(folder, tflite.FILE), "rb") as stream:
        assert stream.read().endswith(alone)


def test_float16_halves_the_file(native, converted):
    _folder, whole = converted(native("mobilenet_v2"), "tflite")
    _folder, half = converted(native("mobilenet_v2"), "tflite", "FP16")
    assert half["bytes"] < 0.6 * whole["bytes"]


@pytest.mark.parametrize("name", ["mobilenet_v2", "ssd"])
def test_int8(name, native, converted, calibration):
    data = calibration({"images": architectures.pictures(name, 20, seed=1)})
    folder, summary = converted(native(name), "tflite", "INT8", calibration=[data], calibration_examples=15)
    _folder, whole = converted(native(name), "tflite")
    assert "QUANTIZE" in summary["operations"] and summary["bytes"] < 0.6 * whole["bytes"]
    if name == "mobilenet_v2":
        one, other = both(native(name), folder, name=name)
        assert np.abs(one["scores"] - other["scores"]).max() < 0.05
    else:
        other = answers(folder, {"images": architectures.pictures(name)})
        assert other["detection_boxes"].dtype == np.float32 and np.isfinite(other["detection_boxes"]).all()


def test_digits_in_whole_numbers(native, converted, calibration, digits_pictures):
    pictures = np.asarray(digits_pictures)[:100].astype(np.float32).reshape(-1, 8, 8, 1)
    data = calibration({"images": pictures})
    folder, _summary = converted(native("digits"), "tflite", "INT8", calibration=[data])
    one, other = both(native("digits"), folder, {"images": pictures})
    assert (one["classes"] == other["classes"]).mean() > 0.95


@pytest.mark.parametrize("kind", ["grappler", "tflite"])
def test_the_demo_detector(kind, native, converted):
    folder, _summary = converted(native("digits_detector"), kind)
    picture = np.random.RandomState(0).randint(0, 255, (1, 96, 128, 3)).astype(np.uint8)
    one, other = both(native("digits_detector"), folder, {"image_tensor": picture})
    for alias in one:
        np.testing.assert_allclose(other[alias], one[alias], atol=1e-3)


@pytest.mark.parametrize("kind", ["grappler", "tflite"])
def test_batches_stay_free(kind, native, converted):
    folder, _summary = converted(native("mobilenet_v2"), kind)
    one, other = both(native("mobilenet_v2"), folder, name="mobilenet_v2", count=5)
    assert other["scores"].shape == (5, 10)
    np.testing.assert_allclose(other["scores"], one["scores"], atol=1e-4)


def test_calibration_that_does_not_fit_the_input(native, converted, calibration):
    data = calibration({"pictures": np.zeros((2, 5), np.float32)})
    with pytest.raises(TfleetError) as caught:
        converted(native("mobilenet_v2"), "tflite", "INT8", calibration=[data])
    assert "neither a feature `images` nor a picture" in str(caught.value) and "pictures" in str(caught.value)
    small = calibration({"images": np.zeros((2, 5), np.float32)})
    with pytest.raises(TfleetError) as caught:
        converted(native("mobilenet_v2"), "tflite", "INT8", calibration=[small])
    assert "which do not fill the input's shape" in str(caught.value)


def test_an_unknown_signature(native):
    with pytest.raises(TfleetError) as caught:
        frozen.signature_of(native("digits"), ["serve"], "serving_defualt")
    assert "has no signature `serving_defualt`. Did you mean `serving_default`?" in str(caught.value)


def test_tables_cannot_be_frozen(tmp_path):
    tf = framework.load()
    module = tf.Module()
    values = tf.lookup.KeyValueTensorInitializer(["a", "b"], [1.0, 2.0])
    module.table = tf.lookup.StaticHashTable(values, 0.0)
    call = tf.function(lambda words: {"numbers": module.table.lookup(words)}, input_signature=[tf.TensorSpec([None], tf.string, name="words")])
    tf.saved_model.save(module, str(tmp_path / "table"), {"serving_default": call})
    signature = frozen.signature_of(str(tmp_path / "table"), ["serve"], "serving_default")
    wanted = request.new("grappler")
    with pytest.raises(TfleetError) as caught:
        grappler.convert(tf, str(tmp_path / "table"), str(tmp_path / "built"), wanted, signature, lambda *_: None)
    assert "looks things up in tables" in str(caught.value) and not (tmp_path / "built").exists()


def test_the_signature_of_a_tflite_file_is_the_native_one(native, converted):
    """Aliases, dtypes and shapes; only the tensors' names are the file's own."""
    folder, summary = converted(native("digits"), "tflite")
    with open_build(folder) as build:
        assert build.signature_name == "serving_default"
        assert {alias: info.name for alias, info in build.signature.inputs.items()} == summary["inputs"]
        assert [dim.size for dim in build.signature.inputs["images"].tensor_shape.dim] == [-1, 8, 8, 1]
    # TensorFlow's own reader finds the model unharmed by what was put in front of it.
    tf = framework.load()
    interpreter = tf.lite.Interpreter(model_path=os.path.join(folder, tflite.FILE))
    assert "serving_default" in interpreter.get_signature_list()
