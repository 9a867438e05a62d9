"""Rows of sections 1, 2, 3, 6 and 9 that need a server of their own: what a flag or a file of the model changes for clients."""

import json
import shutil
import threading
import time

import pytest
from google.protobuf import text_format
from live_server import LiveServer, free_ports, run_to_end
from test_command_line import wait_for_log
from test_lifecycle_live import COUNT, config, release, steps_in
from test_options import written
from test_warmup import logged

from tfleet import wire

X = 'inputs { key: "x" value { dtype: DT_FLOAT tensor_shape { dim { size: %d } } } }'


def start_fails(*flags):
    """What a start that fails prints after `Error: `."""
    code, out, _ = run_to_end("--port=%d" % free_ports(1)[0], *flags)
    assert code == 255
    assert out.startswith("Failed to start server. Error: ")
    return out[len("Failed to start server. Error: "):-1]


def test_last_flag_wins_and_only_equals_signs_count(own_models, model_files):
    with LiveServer("--model_base_path=/nowhere", "--model_base_path=%s/half" % model_files, "--model_name=a", "--model_name=b", "--model_name", "c",
                    "--enable_batching=0", "--", "--model_name=d") as server:
        assert server.predict("b", [2.0]) == (2, [4.0])
        assert "unknown argument: --model_name\n" in server.log


def test_config_file_wins_over_name_and_path(own_models, model_files):
    file = own_models / "model.config"
    file.write_text(config(("named", model_files / "half", "")))
    with LiveServer("--model_config_file=%s" % file, "--model_name=other", "--model_base_path=/nowhere") as server:
        assert server.predict("named", [2.0]) == (2, [4.0])
        assert server.states("other") == {}


def test_contradictions_and_files_that_fail_the_start(own_models, model_files):
    base = "--model_base_path=%s/half" % model_files
    assert start_fails(base, "--tensorflow_session_parallelism=1", "--tensorflow_intra_op_parallelism=1", "--tensorflow_inter_op_parallelism=1") == (
        "INVALID_ARGUMENT: Either configure server_options.tensorflow_session_parallelism or (server_options.tensorflow_intra_op_parallelism, "
        "server_options.tensorflow_inter_op_parallelism) separately.")
    assert start_fails(base, "--tensorflow_session_config_file=/no/file") == "NOT_FOUND: /no/file; No such file or directory"
    file = own_models / "session.config"
    file.write_text("intra_op_paralelism_threads: 2")
    assert start_fails(base, "--tensorflow_session_config_file=%s" % file) == "INVALID_ARGUMENT: Invalid protobuf file: '%s'" % file
    file.write_text('custom_model_config { type_url: "a" }')
    assert start_fails("--model_config_file=%s" % file) == "FAILED_PRECONDITION: ModelServer does not yet support custom model config."


def test_grpc_channel_arguments(own_models, model_files):
    with LiveServer("--model_base_path=%s/half" % model_files, "--grpc_channel_arguments=grpc.max_receive_message_length=1000,grpc.text=a") as server:
        assert server.predict("default", [2.0]) == (2, [4.0])
        request = wire.PredictRequest()
        request.inputs["x"].tensor_content = b"\0" * 2000
        assert server.call(wire.PREDICT, request)[0] == "RESOURCE_EXHAUSTED"


def test_outputs_as_tensor_content(own_models, model_files):
    with LiveServer("--model_base_path=%s/half" % model_files, "--enable_serialization_as_tensor_content") as server:
        code, answer = server.call(wire.PREDICT, 'model_spec { name: "default" } ' + X % 1)
        assert (code, list(answer.outputs["y"].float_val), answer.outputs["y"].tensor_content) == ("OK", [], b"\0\0\x40\x40")


@pytest.mark.parametrize("enabled", [False, True])
def test_cors(own_models, model_files, enabled):
    with LiveServer("--model_base_path=%s/half" % model_files, "--rest_api_enable_cors_support=%s" % str(enabled).lower()) as server:
        headers = server.http("GET", "/v1/models/default", headers={"Origin": "https://a.example"})[1]
        found = [headers["Access-Control-Allow-" + name] for name in ("Origin", "Methods", "Headers")]
        assert found == (["*", "POST, GET", "Content-Type"] if enabled else [None] * 3)


def test_one_poll_of_the_file_system(own_models, model_files):
    release(model_files, 1, own_models, 1)
    with LiveServer("--model_base_path=%s" % own_models, "--file_system_poll_wait_seconds=0") as server:
        release(model_files, 2, own_models, 2)
        time.sleep(2.5)
        assert server.states("default") == {1: ("AVAILABLE", "")}


def test_no_poll_of_the_file_system(own_models, model_files):
    """A negative period: nothing is ever found, and the start waits. With our flag, a reload looks."""
    release(model_files, 1, own_models, 1)
    flags = ("--model_name=m", "--model_base_path=%s" % own_models, "--file_system_poll_wait_seconds=-1")
    with LiveServer(*flags, wait=False) as server:
        wait_for_log(server, "(Re-)adding model: m")
        time.sleep(2.5)
        assert server.process.poll() is None
        assert "Loading servable" not in server.log and "Running gRPC ModelServer" not in server.log
    with LiveServer(*flags, "--tfleet_reload_polls_at_once") as server:
        release(model_files, 2, own_models, 2)
        time.sleep(2.5)
        assert server.states("m") == {1: ("AVAILABLE", "")}
        assert server.call(wire.RELOAD_CONFIG, "config { %s }" % config(("m", own_models, "")))[0] == "OK"
        server.wait_state("m", 2, "AVAILABLE")


@pytest.mark.parametrize("threads", [0, 2])
def test_load_threads(own_models, model_files, threads):
    """Two versions that take their time, wanted at once: loaded one after the other, or together."""
    for name in "ab":
        shutil.copytree(str(model_files / "slow"), str(own_models / name))
        (own_models / name / "1" / "assets.extra").mkdir()
    with LiveServer("--model_base_path=%s/half" % model_files, "--num_load_threads=%d" % threads, "--tfleet_reload_polls_at_once") as server:
        before = [("default", model_files / "half", "")]
        assert server.call(wire.RELOAD_CONFIG, "config { %s }" % config(*before, ("s", model_files / "slow", "")))[0] == "OK"
        warmup = logged("predict_log { request { %s } }" % COUNT % ("any", steps_in(server, "s", 2.0)))
        for name in "ab":
            (own_models / name / "1" / "assets.extra" / "tf_serving_warmup_requests").write_bytes(warmup)
        seen = len(server.log)
        models = before + [(name, own_models / name, "") for name in "ab"]
        assert server.call(wire.RELOAD_CONFIG, "config { %s }" % config(*models), timeout=60)[0] == "OK"
        log = server.log[seen:]
        assert log.count("SavedModel load for tags") == 2  # followed by the warm-up, which is part of loading
        together = log.rindex("SavedModel load for tags") < log.index("Successfully loaded servable version")
        assert together is (threads == 2)


@pytest.mark.parametrize("threads", [1, 4])
def test_rest_threads(own_models, model_files, threads):
    """While the only thread answers a request that takes until its time limit, others wait; with more they do not."""
    with LiveServer("--model_base_path=%s/slow" % model_files, "--rest_api_num_threads=%d" % threads, "--rest_api_timeout_in_ms=3000",
                    "--skip_initialize_tpu", "--num_unload_threads=1") as server:
        assert "unknown argument" not in server.log
        answers, took = [], []
        endless = json.dumps({"inputs": 10 ** 9})
        asker = threading.Thread(target=lambda: answers.append(server.http("POST", "/v1/models/default:predict", endless)[0]))
        asker.start()
        while asker.is_alive():
            began = time.time()
            assert server.http("GET", "/v1/models/default")[0] == 200
            took.append(time.time() - began)
        asker.join()
        assert answers == [504]
        assert (max(took) > 1.5) is (threads == 1), took


def test_retries_and_a_base_path_without_versions(own_models, model_files):
    base = own_models / "m"
    base.mkdir()
    with LiveServer("--model_base_path=%s" % base, "--max_num_load_retries=2", "--load_retry_interval_micros=100000", wait=False) as server:
        wait_for_log(server, "No versions of servable default found under base path %s. Did you forget to name your leaf directory as a number "
                             "(eg. '/1/')?" % base)
        (base / "4").mkdir()
        assert server.process.wait(60) == 255
        assert server.log.count("Loading servable: {name: default version: 4} failed: NOT_FOUND: Could not find SavedModel") == 3


def test_metrics_of_a_reload(own_models, model_files):
    bases = {name: own_models / name for name in ("a", "b")}
    for base in bases.values():
        base.mkdir()
        release(model_files, 1, base, 1)
    with LiveServer("--model_name=a", "--model_base_path=%s" % bases["a"]) as server:
        server.predict("a", [1.0])
        request = 'config { %s } metric_names: "/tensorflow/serving/request_count" metric_names: "/no/such"' % config(("b", bases["b"], ""))
        code, answer = server.call(wire.RELOAD_CONFIG, request)
        assert code == "OK"
        expected = 'status {} metric { name: "/tensorflow/serving/request_count" int64_value_increase: 0 }'
        assert answer == text_format.Parse(expected, wire.ReloadConfigResponse())


TF2 = """
import sys
import tensorflow as tf

class Model(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def answer(self, x):
        return {"y": x * 0.5 + 2.0}

model = Model()
tf.saved_model.save(model, sys.argv[1], signatures=model.answer)
"""


def test_the_initialiser_of_tensorflow_2_is_among_the_signatures(own_models):
    with LiveServer("--model_base_path=%s" % written(own_models, TF2)) as server:
        assert server.predict("default", [2.0]) == (1, [3.0])
        answer = server.call(wire.GET_MODEL_METADATA, 'model_spec { name: "default" } metadata_field: "signature_def"')[1]
        signatures = wire.SignatureDefMap.FromString(answer.metadata["signature_def"].value).signature_def
        assert sorted(signatures) == ["__saved_model_init_op", "serving_default"]


AS_TEXT = """
import os
import sys
from google.protobuf import text_format
from tensorflow.core.protobuf import saved_model_pb2
import served_models

served_models.half_plus(sys.argv[1], 2)
binary = os.path.join(sys.argv[1], "saved_model.pb")
with open(binary, "rb") as stream:
    model = saved_model_pb2.SavedModel.FromString(stream.read())
os.remove(binary)
with open(binary + "txt", "w") as stream:
    stream.write(text_format.MessageToString(model))
"""


def test_saved_model_as_text(own_models):
    with LiveServer("--model_base_path=%s" % written(own_models, AS_TEXT)) as server:
        assert server.predict("default", [2.0]) == (1, [3.0])


DEFAULTS = """
import os
import sys
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
import served_models

served_models.pair(sys.argv[1])
binary = os.path.join(sys.argv[1], "saved_model.pb")
with open(binary, "rb") as stream:
    model = saved_model_pb2.SavedModel.FromString(stream.read())
signature = model.meta_graphs[0].signature_def["serving_default"]
if not hasattr(signature, "defaults"):
    sys.exit("no defaults")
signature.defaults["b"].CopyFrom(tf.compat.v1.make_tensor_proto([7], tf.int64))
with open(binary, "wb") as stream:
    stream.write(model.SerializeToString())
"""


def test_defaults_of_a_signature(own_models):
    try:
        base = written(own_models, DEFAULTS)
    except AssertionError as error:
        if "no defaults" not in str(error):
            raise
        pytest.skip("signatures of this TensorFlow have no default inputs")
    a = 'model_spec { name: "default" } inputs { key: "%s" value { dtype: DT_FLOAT tensor_shape { dim { size: 1 } dim { size: 2 } } } } '
    b = 'inputs { key: "%s" value { dtype: DT_INT64 tensor_shape { dim { size: 1 } } int64_val: 1 } } '
    with LiveServer("--model_base_path=%s" % base) as server:
        def scaled(request):
            code, answer = server.call(wire.PREDICT, request)
            return list(answer.outputs["scaled"].int64_val) if code == "OK" else (code, answer)

        assert scaled(a % "a") == [70]
        assert scaled(a % "a" + b % "b") == [10]
        assert scaled(b.join(['model_spec { name: "default" } ', ""]) % "b") == (
            "INVALID_ARGUMENT", "Signature input alias: a(feed name: a:0) not found in request and no default value provided. Inputs expected to be in "
            "the request {b}, or default input alias set: b")
        assert scaled(a % "a" + b % "z") == ("INVALID_ARGUMENT", "Inputs contains invalid name. Used request inputs: a, request input: a,z")
        assert scaled('model_spec { name: "default" }') == (
            "INVALID_ARGUMENT", "input size does not match signature: 0!=2 len({}) != len({a,b}). Sent extra: {}. Missing but required: {a}.")


HALF_OUT = """
import sys
import tensorflow as tf
import served_models

def build(tf, v1):
    x = v1.placeholder(tf.float32, [None], name="x")
    serialized = v1.placeholder(tf.string, [None], name="examples")
    number = tf.ones([tf.shape(serialized)[0], 2], tf.int32)
    return {"half": ({"x": x}, {"y": tf.cast(x, tf.float16)}), "complex": ({"x": x}, {"y": tf.cast(x, tf.complex64)}),
            "integers": ({"inputs": serialized}, {"scores": number}), "texts": ({"inputs": serialized}, {"outputs": tf.cast(number[:, 0], tf.int64)})}

served_models._save(sys.argv[1], build)
"""


def test_outputs_of_types_that_have_no_form(own_models):
    with LiveServer("--model_base_path=%s" % written(own_models, HALF_OUT)) as server:
        for name in ("half", "complex"):
            status, _, body = server.http("POST", "/v1/models/default:predict", '{"signature_name": "%s", "inputs": [1]}' % name)
            assert (status, body.decode()) == (400, '{\n    "error": "Failed to write JSON value for tensor type: %s"\n}'
                                               % {"half": "half", "complex": "complex64"}[name])
        spec = 'model_spec { name: "default" signature_name: "%s" } input { example_list { examples {} } }'
        assert server.call(wire.CLASSIFY, spec % "integers") == ("INVALID_ARGUMENT", "Expected scores Tensor of DT_FLOAT. Got: DT_INT32")
        assert server.call(wire.REGRESS, spec % "texts") == ("INVALID_ARGUMENT", "Expected output Tensor of DT_FLOAT.  Got: DT_INT64")
