"""Flags of section 1 that change how models are run or who may connect: each with an effect that a client sees."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from live_server import LiveServer, command, free_ports, run_to_end
from test_lifecycle_live import release
from test_warmup import PREDICT, logged

from tfleet import wire

EXAMPLE = 'input { example_list { examples { features { feature { key: "x" value { float_list { value: 2 } } } } } } }'


def written(tmp_path, code):
    """Runs code that writes a SavedModel to `path` in a process of its own."""
    path = str(tmp_path / "1")
    environment = command()[1]
    environment["PYTHONPATH"] = os.pathsep.join([os.path.dirname(os.path.abspath(__file__)), environment["PYTHONPATH"]])
    done = subprocess.run([sys.executable, "-c", code, path], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          universal_newlines=True, check=False)
    assert done.returncode == 0, done.stdout
    return str(tmp_path)


def test_method_names(own_models, model_files):
    file = own_models / "model.config"
    file.write_text('model_config_list { config { name: "examples" base_path: "%s/examples" model_platform: "tensorflow" } }' % model_files)
    spec = 'model_spec { name: "examples" %s} ' + EXAMPLE
    with LiveServer("--model_config_file=%s" % file, "--enable_signature_method_name_check") as server:
        assert server.call(wire.CLASSIFY, spec % "") == (
            "INVALID_ARGUMENT", "Expected classification signature method_name to be tensorflow/serving/classify. Was: tensorflow/serving/predict")
        assert server.call(wire.REGRESS, spec % 'signature_name: "regress" ') == (
            "INVALID_ARGUMENT", "Expected regression signature method_name to be tensorflow/serving/regress. Was: tensorflow/serving/predict")
        request = 'model_spec { name: "examples" } inputs { key: "inputs" value { dtype: DT_STRING tensor_shape { dim { size: 1 } } string_val: "" } }'
        assert server.call(wire.PREDICT, request)[0] == "OK"


ODD_METHOD = """
import sys
import tensorflow as tf
v1 = tf.compat.v1
with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
    x = v1.placeholder(tf.float32, [None], name="x")
    info = v1.saved_model.utils.build_tensor_info
    signature = v1.saved_model.signature_def_utils.build_signature_def({"x": info(x)}, {"y": info(x + 1.0)}, "mine")
    builder = v1.saved_model.builder.SavedModelBuilder(sys.argv[1])
    builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
    builder.save()
"""


@pytest.mark.parametrize("checked", [False, True])
def test_method_name_of_predict(own_models, checked):
    base = written(own_models, ODD_METHOD)
    with LiveServer("--model_base_path=%s" % base, "--enable_signature_method_name_check=%s" % str(checked).lower()) as server:
        if not checked:
            assert server.predict("default", [1.0]) == (1, [2.0])
            return
        request = 'model_spec { name: "default" } inputs { key: "x" value { dtype: DT_FLOAT tensor_shape { dim { size: 1 } } float_val: 1 } }'
        assert server.call(wire.PREDICT, request) == (
            "INTERNAL", "Expected prediction signature method_name to be one of {tensorflow/serving/predict, tensorflow/serving/classify, "
            "tensorflow/serving/regress}. Was: mine")


MATMUL = """
import sys
import numpy as np
import tensorflow as tf
v1 = tf.compat.v1
with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
    x = v1.placeholder(tf.float32, [None], name="x")
    rows = tf.reshape(tf.tile(x, [4096]), [64, 64])
    weights = tf.constant(np.random.RandomState(1).rand(64, 64).astype(np.float32))
    y = tf.reshape(tf.matmul(tf.matmul(rows, weights), weights), [-1])
    info = v1.saved_model.utils.build_tensor_info
    signature = v1.saved_model.signature_def_utils.build_signature_def({"x": info(x)}, {"y": info(y)}, "tensorflow/serving/predict")
    builder = v1.saved_model.builder.SavedModelBuilder(sys.argv[1])
    builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
    builder.save()
"""


def tensorflow_version():
    return tuple(map(int, run_to_end("--version")[1].split("TensorFlow Library: ")[1].split(".")[:2]))


def test_bfloat16(own_models):
    with open("/proc/cpuinfo") as info:
        if not re.search(r"\b(avx512_bf16|amx_bf16)\b", info.read()):
            pytest.skip("this processor does not compute in bfloat16")
    if tensorflow_version() < (2, 9):
        pytest.skip("oneDNN is off by default in this TensorFlow")
    base = written(own_models, MATMUL)
    answers = {}
    for mode in ("", "bfloat16", "float8"):
        with LiveServer("--model_base_path=%s" % base, "--mixed_precision=%s" % mode) as server:
            answers[mode] = np.array(server.predict("default", [1.2345678])[1])
            assert ("Mixed precision mode 'float8' is not known; ignored" in server.log) == (mode == "float8")
    assert np.array_equal(answers[""], answers["float8"])
    difference = np.abs(answers["bfloat16"] / answers[""] - 1).max()
    assert 1e-4 < difference < 0.05  # eight bits instead of 24


JIT = """
import sys
import tensorflow as tf

class Model(tf.Module):
    @tf.function(jit_compile=True, input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def answer(self, x):
        return {"y": x * 0.5 + 2.0}

model = Model()
tf.saved_model.save(model, sys.argv[1], signatures=model.answer)
"""


def test_models_compiled_by_xla(own_models):
    if tensorflow_version() < (2, 5):
        pytest.skip("this TensorFlow has no jit_compile")
    with LiveServer("--model_base_path=%s" % written(own_models, JIT), "--xla_cpu_compilation_enabled") as server:
        assert server.predict("default", [2.0]) == (1, [3.0])


PLATFORM = """platform_configs { key: "tensorflow" value { source_adapter_config {
  [type.googleapis.com/tensorflow.serving.SavedModelBundleSourceAdapterConfig] { legacy_config {
    session_config { intra_op_parallelism_threads: 1 } enable_model_warmup: %s saved_model_tags: "serve"
    batching_parameters { max_batch_size { value: 2 } thread_pool_name { value: "from_the_file" } } } } } } }"""


def test_platform_config(own_models, model_files):
    base, file, monitoring = own_models / "m", own_models / "platform.config", own_models / "monitoring.config"
    base.mkdir()
    release(model_files, 1, base, 1)
    os.makedirs(str(base / "1" / "assets.extra"))
    (base / "1" / "assets.extra" / "tf_serving_warmup_requests").write_bytes(logged(PREDICT % "z"))
    monitoring.write_text("prometheus_config { enable: true }")
    file.write_text(PLATFORM % "false")
    # The flags for tags and warm-up are not looked at; batches are those of the file.
    with LiveServer("--model_base_path=%s" % base, "--platform_config_file=%s" % file, "--saved_model_tags=nothing", "--enable_model_warmup",
                    "--monitoring_config_file=%s" % monitoring) as server:
        assert server.predict("default", [2.0]) == (1, [3.0])
        assert ('queuing_latency_count{thread_pool_name="from_the_file"} 1' in server.http("GET", "/monitoring/prometheus/metrics")[2].decode())
        request = 'model_spec { name: "default" } inputs { key: "x" value { dtype: DT_FLOAT tensor_shape { dim { size: 3 } } } }'
        assert server.call(wire.PREDICT, request) == ("INVALID_ARGUMENT", "Task size 3 is larger than maximum input batch size 2")
    file.write_text(PLATFORM % "true")
    code, out, _ = run_to_end("--port=%d" % free_ports(1)[0], "--model_base_path=%s" % base, "--platform_config_file=%s" % file,
                              "--enable_model_warmup=false", "--max_num_load_retries=0")
    assert (code, "Signature input alias: x(feed name: x:0) not found in request" in out) == (255, True)


@pytest.mark.parametrize(("text", "message"), [
    ("platform_configs { kee: 1 }", "INVALID_ARGUMENT: Invalid protobuf file: '%s'"),
    ('platform_configs { key: "caffe" value {} }',
     "INVALID_ARGUMENT: %s configures no platform 'tensorflow', the only one there is: models of it could not be loaded"),
    ('platform_configs { key: "tensorflow" value { source_adapter_config { [type.googleapis.com/tensorflow.ConfigProto] {} } } }',
     "INVALID_ARGUMENT: %s: there is no source adapter for 'tensorflow.ConfigProto'; use tensorflow.serving.SavedModelBundleSourceAdapterConfig"),
])
def test_wrong_platform_config(own_models, model_files, text, message):
    file = own_models / "platform.config"
    file.write_text(text)
    assert run_to_end("--port=%d" % free_ports(1)[0], "--model_base_path=%s/half" % model_files, "--platform_config_file=%s" % file)[:2] == (
        255, "Failed to start server. Error: %s\n" % (message % file))


def test_a_thread_pool_factory_is_not_there(own_models, model_files):
    assert run_to_end("--port=%d" % free_ports(1)[0], "--model_base_path=%s/half" % model_files, "--thread_pool_factory_config_file=/a")[:2] == (
        255, "Failed to start server. Error: FAILED_PRECONDITION: --thread_pool_factory_config_file: there is no thread pool factory in this server. "
        "Choose thread counts with --tensorflow_intra_op_parallelism, --tensorflow_inter_op_parallelism or --tensorflow_session_config_file\n")


def test_alts_is_for_google_cloud(own_models, model_files):
    # Where its handshake service is missing gRPC opens no such port, for the official server either.
    assert run_to_end("--port=%d" % free_ports(1)[0], "--model_base_path=%s/half" % model_files, "--use_alts_credentials")[:2] == (
        255, "Failed to start server. Error: FAILED_PRECONDITION: --use_alts_credentials works on Google Cloud alone, and this host is not there. "
        "Use --ssl_config_file\n")


def test_alts_and_tls_exclude_each_other(own_models):
    assert run_to_end("--model_base_path=/m", "--use_alts_credentials", "--ssl_config_file=/a")[:2] == (
        255, "Failed to start server. Error: INVALID_ARGUMENT: --ssl_config_file and --use_alts_credentials cannot be used together\n")


def test_the_key_of_ml_metadata_is_on_the_monitoring_page(own_models, model_files):
    monitoring = own_models / "monitoring.config"
    monitoring.write_text("prometheus_config { enable: true }")
    release(model_files, 1, own_models, 1)
    os.makedirs(str(own_models / "1" / "assets.extra"))
    (own_models / "1" / "assets.extra" / "mlmd_uuid").write_text("1234-abcd\n")
    with LiveServer("--model_base_path=%s" % own_models, "--monitoring_config_file=%s" % monitoring) as server:
        page = server.http("GET", "/monitoring/prometheus/metrics")[2].decode()
        assert "# TYPE :tensorflow:serving:mlmd_map gauge\n" in page
        assert ':tensorflow:serving:mlmd_map{model_name="default",version="1",mlmd_uuid="1234-abcd"} 1\n' in page
