"""Section 8 of the specification: recorded requests run before a version becomes AVAILABLE, and any failure fails its load."""

import shutil
import struct
import subprocess
import sys

import pytest
from google.protobuf import text_format
from live_server import LiveServer, command, free_ports, run_to_end
from test_lifecycle_live import release

from tfleet import wire

PREDICT = 'predict_log { request { model_spec { name: "whatever" } inputs { key: "%s" value { dtype: DT_FLOAT tensor_shape { dim { size: 1 } } } } } }'


def crc32c(data):
    """The Castagnoli sum with TFRecord's mask, bit by bit: short texts only."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def record(data):
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", crc32c(length)) + data + struct.pack("<I", crc32c(data))


def logged(text):
    return record(text_format.Parse(text, wire.PredictionLog()).SerializeToString())


@pytest.fixture
def base(own_models, model_files):
    release(model_files, 1, own_models, 1)
    (own_models / "1" / "assets.extra").mkdir(exist_ok=True)
    return own_models


def warmup_file(base):
    return base / "1" / "assets.extra" / "tf_serving_warmup_requests"


def test_requests_are_replayed(base):
    warmup_file(base).write_bytes(logged(PREDICT % "x") * 3 + record(b""))
    with LiveServer("--model_base_path=%s" % base, "--num_request_iterations_for_warmup=2") as server:
        assert server.predict("default", [2.0]) == (1, [3.0])
        assert "Number of warmup records read: 4." in server.log


def test_without_a_file_it_is_said(base):
    with LiveServer("--model_base_path=%s" % base) as server:
        assert "No warmup data file found at %s" % warmup_file(base) in server.log


FAILURES = [
    ("the request's own error", logged(PREDICT % "z"), "INVALID_ARGUMENT: Signature input alias: x(feed name: x:0) not found in request"),
    ("no TFRecord", b"this is certainly not a file of records", "Please verify your warmup data is in TFRecord format."),
    ("no PredictionLog", record(b"\xff\xff\xff"), "INVALID_ARGUMENT: Failed to parse warmup record: "),
    ("session_run_log", logged("session_run_log {}"), "UNIMPLEMENTED: "),
    ("predict_streamed_log", logged("predict_streamed_log {}"), "UNIMPLEMENTED: "),
    ("too many", record(b"") * 1001, "INVALID_ARGUMENT: Number of warmup records exceeds the maximum (1000) at "),
]


@pytest.mark.parametrize(("content", "message"), [case[1:] for case in FAILURES], ids=[case[0] for case in FAILURES])
def test_a_failure_fails_the_load(base, content, message):
    warmup_file(base).write_bytes(content)
    code, out, _ = run_to_end("--port=%d" % free_ports(1)[0], "--model_base_path=%s" % base, "--max_num_load_retries=0")
    assert code == 255
    assert message in out


def test_it_can_be_turned_off(base):
    warmup_file(base).write_bytes(b"damaged")
    with LiveServer("--model_base_path=%s" % base, "--enable_model_warmup=false") as server:
        assert server.predict("default", [2.0]) == (1, [3.0])


def test_a_file_written_by_tfleet_warmup(base):
    (base / "1" / "batching_params.pbtxt").write_text("max_batch_size { value: 4 } allowed_batch_sizes: [1, 4]")
    arguments = [sys.executable, "-m", "tfleet", "warmup", str(base / "1"), "--input", "x=[2.0]"]
    assert subprocess.run(arguments, env=command()[1], stdout=subprocess.DEVNULL, check=False).returncode == 0
    with LiveServer("--model_base_path=%s" % base, "--enable_batching", "--enable_per_model_batching_parameters") as server:
        assert server.predict("default", [2.0]) == (1, [3.0])
        assert "Number of warmup records read: 2." in server.log


def test_every_kind_of_request_is_replayed(own_models, model_files):
    shutil.copytree(str(model_files / "examples"), str(own_models / "m"))
    spec, examples = 'model_spec { signature_name: "%s" } ', "input { example_list { examples {} examples {} } } "
    task = 'tasks { model_spec { name: "any" signature_name: "regress" } method_name: "tensorflow/serving/regress" } '
    extra = own_models / "m" / "3" / "assets.extra"
    extra.mkdir()
    (extra / "tf_serving_warmup_requests").write_bytes(
        logged("classify_log { request { %s } }" % (spec % "serving_default" + examples))
        + logged("regress_log { request { %s } }" % (spec % "regress" + examples))
        + logged("multi_inference_log { request { %s } }" % (task + examples)))
    monitoring = own_models / "monitoring.config"
    monitoring.write_text("prometheus_config { enable: true }")
    with LiveServer("--model_base_path=%s/m" % own_models, "--monitoring_config_file=%s" % monitoring) as server:
        assert "Number of warmup records read: 3." in server.log
        page = server.http("GET", "/monitoring/prometheus/metrics")[2].decode()
        for api in ("Classify", "Regress", "MultiInference"):
            assert ':tensorflow:serving:runtime_latency_count{model_name="default",API="%s",runtime="TF1"} 1\n' % api in page
        assert ':tensorflow:serving:model_warmup_latency_count{model_path="%s/m/3",status="OK"} 1\n' % own_models in page
