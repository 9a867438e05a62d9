"""TF-TRT's own code, with a stand-in for TensorRT: every option up to the saved graph, and plans. It proves nothing about speed or engines."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from .conftest import run

MOBILENET = "mobilenet_v2"


def engine(answer):
    """The engine with the most nodes."""
    assert "error" not in answer, answer
    return max(answer["summary"]["engines"], key=lambda one: one["nodes"])


def test_fp32_with_defaults(convert, native):
    answer = convert(native(MOBILENET))
    found = engine(answer)
    assert found["precision"] == "FP32" and found["operations"]["Conv2D"] > 30 and found["inputs"] == [[-1, 96, 96, 3]]
    assert found["cached_engines"] == 1 and found["build_at_runtime"] and not found["dynamic_shape"] and not found["static"]
    assert not found["use_calibration"]
    assert answer["summary"]["nodes_taken"] > 3 * answer["summary"]["nodes_left"]
    assert answer["fed"]["build"] == [{"images": [1, 96, 96, 3]}]
    assert answer["phases"] == ["segmenting", "building engines", "saving"]


def test_fp16_with_every_option(convert, native):
    answer = convert(
        native(MOBILENET), "FP16", batch_sizes=[1, 4, 8], workspace_bytes=2**25, minimum_segment_size=20, cached_engines=5, build_at_runtime=False
    )  # fmt: skip
    found = engine(answer)
    assert found["precision"] == "FP16" and found["cached_engines"] == 5 and not found["build_at_runtime"]
    assert 0 < found["workspace_bytes"] <= 2**25
    assert min(one["nodes"] for one in answer["summary"]["engines"]) >= 20
    assert answer["fed"]["build"] == [{"images": [size, 96, 96, 3]} for size in (1, 4, 8)]


def test_engines_are_cached_for_each_shape_that_is_built(convert, native):
    assert engine(convert(native("digits"), "FP16", batch_sizes=[1, 2, 3], minimum_segment_size=1))["cached_engines"] == 3


def test_dynamic_shapes_with_a_profile(convert, native):
    found = engine(convert(native(MOBILENET), dynamic_shape=True, profile_strategy="Range+Optimal", batch_sizes=[1, 8]))
    assert found["dynamic_shape"] and found["profile_strategy"].lower() == "range+optimal"


def test_int8_is_calibrated_with_batches_of_one_shape(convert, native, records):
    answer = convert(native(MOBILENET), "INT8", calibration=[records(10)], calibration_batch=4, batch_sizes=[1])
    assert engine(answer)["precision"] == "INT8" and engine(answer)["use_calibration"]
    assert answer["fed"]["calibration"] == [{"images": [4, 96, 96, 3]}] * 2
    assert answer["phases"] == ["segmenting", "calibrating", "building engines", "saving"]


def test_no_build(convert, native):
    answer = convert(native(MOBILENET), build=False)
    assert answer["fed"]["build"] == [] and answer["summary"]["engine_files"] == []


def test_free_sizes_without_a_shape(convert, native):
    said = convert(native("digits_detector"))["error"]
    assert "an engine has fixed sizes" in said and "--shape image_tensor=1x300x300x3" in said
    answer = convert(native("digits_detector"), shapes={"image_tensor": [[1, 96, 96, 3], [1, 96, 128, 3]]})
    assert answer["fed"]["build"] == [{"image_tensor": [1, 96, 96, 3]}, {"image_tensor": [1, 96, 128, 3]}]


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"signature": "serving"}, "has no signature `serving`"),
        ({"shapes": {"image": [[1, 96, 96, 3]]}}, "has no input `image`. Did you mean `images`?"),
        ({"shapes": {"images": [[1, 50, 96, 3]]}}, "does not fit the input `images`"),
        ({"minimum_segment_size": 100000}, "TF-TRT took nothing of this model"),
    ],
)
def test_what_cannot_be_converted(convert, native, options, part):
    assert part in convert(native(MOBILENET), **options)["error"]


def test_the_converted_graph_is_a_saved_model(convert, native, tfleet):
    answer = tfleet("inspect", convert(native(MOBILENET))["built"])
    assert answer["meta_graphs"][0]["signatures"]["serving_default"]["inputs"]["images"]["shape"] == [-1, 96, 96, 3]
    assert answer["meta_graphs"][0]["ops"]["TRTEngineOp"] >= 1


# What the device says, with the real probe


def command(tmp_path, native):
    return ["convert", native("digits"), str(tmp_path / "variant"), "--variant", "tftrt", "--hardware-class", "here"]


def test_tensorrt_is_missing_not_not_built(tfleet, native, tmp_path):
    answer = tfleet(*command(tmp_path, native))
    assert not answer["ok"] and answer["msg"].startswith("TensorRT is missing: TensorFlow 2.17.1 has TF-TRT, made for TensorRT 8.6.1")
    assert not (tmp_path / "variant").exists()


def test_tensorrt_of_another_major(tfleet, native, tmp_path, stand_in):
    answer = tfleet(*command(tmp_path, native), LD_LIBRARY_PATH=stand_in("7.2.3"))
    assert not answer["ok"] and "built for TensorRT 8.6.1, but TensorRT 7.2.3 is installed" in answer["msg"]
    assert os.listdir(str(tmp_path)) == []


def test_no_gpu(tfleet, native, tmp_path, stand_in):
    answer = tfleet(*command(tmp_path, native), LD_LIBRARY_PATH=stand_in("8.6.1"))
    assert not answer["ok"] and "sees no GPU on this device" in answer["msg"] and "`tfleet plan` works without a GPU" in answer["msg"]
    assert os.listdir(str(tmp_path)) == []


# Plans


def test_plan_of_a_classifier(plan):
    answer = plan(MOBILENET, "--precision", "FP16")
    assert answer["ok"] and answer["tensorrt"] == "8.6.1" and "no engine was built" in answer["estimate"]
    assert len(answer["segments"]) >= 1 and answer["nodes"]["share"] > 0.8 and answer["flops"]["share"] > 0.95
    # By hand: about 10.6 million multiplications at 96 x 96 and alpha 0.35 (two operations each), and the rest.
    assert 15e6 < answer["flops"]["total"] < 40e6
    assert sum(segment["flops"] for segment in answer["segments"]) == answer["flops"]["taken"]


def test_plan_grows_with_the_batch_and_int8_needs_no_data(plan):
    one, four = plan(MOBILENET, "--precision", "FP16"), plan(MOBILENET, "--precision", "INT8", "--batch-sizes", "4")
    assert four["precision"] == "INT8"
    assert four["flops"]["total"] == pytest.approx(4 * one["flops"]["total"], rel=0.01)


@pytest.mark.parametrize("name", ["ssd", "faster_rcnn"])
def test_plan_of_a_detector(plan, name):
    answer = plan(name)
    assert answer["segments"] and answer["flops"]["share"] > 0.3
    assert any(entry["op"].startswith("NonMaxSuppression") for entry in answer["left"])
    assert "nms_on_cpu" in [entry["code"] for entry in answer["advice"]]


@pytest.mark.parametrize(("name", "shape"), [("digits", "images=1x8x8x1"), ("digits_detector", "image_tensor=1x96x96x3")])
def test_plan_of_the_demo_models(plan, name, shape):
    answer = plan(name, "--shape", shape)
    assert answer["ok"] and answer["nodes"]["total"] > 5, answer


def test_plan_without_sizes_counts_nothing(plan):
    answer = plan("digits_detector")
    assert answer["flops"]["share"] is None and "an engine has fixed sizes" in answer["notes"][0]


def test_plan_for_people(environment, native):
    status, out, err = run([sys.executable, "-m", "tfleet", "plan", native("ssd")], environment)
    assert status == 0, err[-2000:]
    assert out.startswith("TF-TRT for TensorRT 8.6.1, FP32: takes ") and "\nadvice: " in out and "\nstays" in out


def test_plan_without_a_compiler(tfleet, native, tmp_path):
    answer = tfleet("plan", native("digits"), XDG_CACHE_HOME=str(tmp_path), CXX="", PATH="/nowhere")
    assert not answer["ok"] and "C++ compiler" in answer["msg"]


def test_plan_of_what_is_no_model(tfleet, native, tmp_path):
    assert "is not a SavedModel folder" in tfleet("plan", str(tmp_path))["msg"]
    assert "has no signature `raw`" in tfleet("plan", native("digits"), "--signature", "raw")["msg"]


@pytest.fixture(scope="session")
def records(tmp_path_factory):
    """``records(count)``: a TFRecord file with random pictures for MobileNetV2."""
    import numpy as np

    from tfleet import examples
    from tfleet.wire import tfrecord

    def make(count):
        path = tmp_path_factory.mktemp("records") / "pictures.tfrecord"
        rows = np.random.RandomState(3).random_sample((count, 96 * 96 * 3)).astype(np.float32)
        listed = [examples.encode(examples.Example(str(number), None, None, None, "", None, {"images": row})) for number, row in enumerate(rows)]
        path.write_bytes(tfrecord.encode(listed))
        return str(path)

    return make


def test_the_worker_is_ended_with_its_parent(environment, native, tmp_path, stand_in):
    """A killed command leaves no process and no artifact, and the next run sweeps what it had begun."""
    argv = [sys.executable, "-m", "tfleet", "convert", native(MOBILENET), str(tmp_path / "variant"), "--variant", "grappler", "--json"]
    with open(os.devnull, "wb") as null:
        process = subprocess.Popen(argv, env=environment, stdout=null, stderr=null)
        for _ in range(300):
            if any(name.startswith(".variant.tfleet-") for name in os.listdir(str(tmp_path))):
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
        process.wait()
    time.sleep(1)
    assert not (tmp_path / "variant").exists()
    status, out, err = run(argv, environment)
    assert status == 0, err
    assert json.loads(out)["changed"] and sorted(os.listdir(str(tmp_path))) == ["variant"]
