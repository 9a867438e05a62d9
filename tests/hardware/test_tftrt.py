"""TF-TRT for real: engines built on the device's GPU, what they answer, how fast they are, and where they are refused."""

import shlex

import pytest

CLASS = "this-device"


def convert(device, source, name, precision, *options):
    dest = "%s/%s-%s" % (device.folder, name, precision)
    arguments = ["convert", source, dest, "--variant", "tftrt", "--precision", precision, "--hardware-class", CLASS, "--workspace-bytes", 2**28, *options]
    return dest, device.tfleet(*arguments), arguments


@pytest.fixture(scope="session")
def mobilenet(device, native):
    """The FP16 variant of MobileNetV2 with engines for batches of 1 and 4."""
    dest, answer, arguments = convert(device, native("mobilenet_v2"), "mobilenet", "FP16", "--batch-sizes", "1,4")
    assert answer["ok"], answer.get("msg")
    return dest, answer, arguments


def test_the_device_can(device):
    found = device.tfleet("probe")
    assert found["gpus"] and found["tensorrt"]["usable"], found["tensorrt"]["reason"]


def test_engines_are_built_and_saved(mobilenet):
    _dest, answer, _arguments = mobilenet
    summary = answer["summary"]
    assert summary["engines"] and summary["engine_files"] and summary["engine_bytes"] > 0 and summary["notes"] == []
    assert all(engine["precision"] == "FP16" for engine in summary["engines"])


def test_the_same_again_changes_nothing(device, mobilenet):
    _dest, _answer, arguments = mobilenet
    assert device.tfleet(*arguments)["changed"] is False


def test_the_plan_said_so(device, native, mobilenet):
    """The estimate may differ by what this TensorRT takes and the linked one did not, not by much."""
    planned = device.tfleet("plan", native("mobilenet_v2"), "--precision", "FP16")
    assert planned["ok"], planned.get("msg")
    assert planned["nodes"]["taken"] == pytest.approx(mobilenet[1]["summary"]["nodes_taken"], rel=0.2)


def test_fp16_answers_like_the_native_model(device, native, mobilenet):
    limits = '{"outputs": {"scores": {"max_abs": 0.02, "top1": 0.95}}}'
    found = device.tfleet("parity", native("mobilenet_v2"), mobilenet[0], "--random", 32, "--thresholds", limits)
    assert found["ok"], found.get("msg")


def test_fp32_answers_like_the_native_model(device, native):
    dest, answer, _arguments = convert(device, native("resnet50"), "resnet50", "FP32", "--batch-sizes", "1")
    assert answer["ok"], answer.get("msg")
    found = device.tfleet("parity", native("resnet50"), dest, "--random", 16, "--thresholds", '{"outputs": {"scores": {"max_abs": 0.001}}}')
    assert found["ok"], found.get("msg")


def test_int8_is_calibrated(device, native, records):
    dest, answer, _arguments = convert(device, native("mobilenet_v2"), "mobilenet", "INT8", "--calibration", records, "--calibration-batch", 8)
    assert answer["ok"], answer.get("msg")
    assert all(engine["calibrated"] for engine in answer["summary"]["engines"])
    assert device.tfleet("parity", native("mobilenet_v2"), dest, "--tfrecord", records)["ok"]


def test_dynamic_shapes(device, native):
    options = ("--batch-sizes", "1,8", "--dynamic-shape", "--profile-strategy", "Range")
    _dest, answer, _arguments = convert(device, native("mobilenet_v2"), "dynamic", "FP16", *options)
    assert answer["ok"], answer.get("msg")
    assert all(engine["dynamic_shape"] for engine in answer["summary"]["engines"])


def test_the_demo_detector(device, native):
    dest, answer, _arguments = convert(device, native("digits_detector"), "detector", "FP16", "--shape", "image_tensor=1x240x320x3")
    assert answer["ok"], answer.get("msg")
    assert dest


def test_it_is_measured(device, native, mobilenet):
    """No speed is demanded: that the device tells one, with its power mode beside it, is."""
    found = device.tfleet("benchmark", "native=" + native("mobilenet_v2"), "tftrt=" + mobilenet[0], "--batch-sizes", "1,4")
    assert found["ok"], found.get("msg")


def test_too_little_gpu_memory_is_a_sentence(device, native):
    dest, answer, _arguments = convert(device, native("resnet50"), "small", "FP16", "--gpu-memory-bytes", 2**24)
    assert not answer["ok"] and "memory" in answer["msg"]
    assert device.shell("test -e %s || echo gone" % shlex.quote(dest)).strip() == "gone"


def test_another_class_refuses_to_load_it(device, mobilenet):
    base = "%s/served" % device.folder
    device.shell("mkdir -p %s && cp -r %s %s/1" % (base, mobilenet[0], base))
    flags = ["--port=18500", "--model_name=m", "--model_base_path=" + base, "--tfleet_hardware_class=another", "--max_num_load_retries=0"]
    words = [*device.runtime, "serve", *flags]
    said = device.shell("timeout 120 %s 2>&1 || true" % " ".join(shlex.quote(word) for word in words))
    assert "were built for hardware class this-device" in said
