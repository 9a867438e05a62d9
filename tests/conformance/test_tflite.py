"""--prefer_tflite_model (section 9): model.tflite instead of saved_model.pb, its signature, and many requests at once."""

import os
import shutil
import subprocess
import sys
import threading

import pytest
from google.protobuf import text_format
from live_server import LiveServer, free_ports, run_to_end

from tfleet import wire

ROWS = ('inputs { key: "%s" value { dtype: DT_FLOAT tensor_shape { dim { size: %d } dim { size: 2 } } %s } }')
CONFIG = 'config { name: "%s" base_path: "%s/%s" model_platform: "tensorflow" }'


@pytest.fixture(scope="module")
def lite_files(tmp_path_factory):
    root = tmp_path_factory.mktemp("tflite")
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tflite_models.py")
    # TensorFlow 1.15 starts a converter of its own from the PATH.
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    done = subprocess.run([sys.executable, script, str(root)], env=dict(os.environ, PATH=path), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          universal_newlines=True, check=False)
    assert done.returncode == 0, done.stdout
    return root


@pytest.fixture
def lite(request, lite_files, tmp_path):
    """A server of all three models."""
    if request.config.getoption("--address"):
        pytest.skip("runs only against servers that the tests start")
    names = sorted(name for name in os.listdir(str(lite_files)) if os.listdir(str(lite_files / name / "1")))
    file = tmp_path / "model.config"
    file.write_text("model_config_list { %s }" % " ".join(CONFIG % (name, lite_files, name) for name in names))
    with LiveServer("--model_config_file=%s" % file, "--prefer_tflite_model", "--num_tflite_pools=2",
                    "--num_tflite_interpreters_per_pool=250") as server:
        server.models = names
        yield server


def request(model, alias, values):
    listed = " ".join("float_val: %g" % value for value in values)
    return 'model_spec { name: "%s" } %s' % (model, ROWS % (alias, len(values) // 2, listed))


def values(answer, alias):
    assert answer[0] == "OK", answer
    output = answer[1].outputs[alias]
    return [dim.size for dim in output.tensor_shape.dim], list(output.float_val)


def test_models(lite):
    # The signature made from the tensors; the rows of one request go to several interpreters, two at a time.
    assert values(lite.call(wire.PREDICT, request("half", "x", [2, 4])), "y") == ([1, 2], [3, 4])
    ten = [float(n) for n in range(10)]
    assert values(lite.call(wire.PREDICT, request("half", "x", ten)), "y") == ([5, 2], [n / 2 + 2 for n in ten])
    metadata = lite.call(wire.GET_MODEL_METADATA, 'model_spec { name: "half" } metadata_field: "signature_def"')[1]
    made = wire.SignatureDefMap.FromString(metadata.metadata["signature_def"].value).signature_def
    assert dict(made)["serving_default"].method_name == "tensorflow/serving/predict"
    assert {alias: info.name for alias, info in made["serving_default"].inputs.items()} == {"x": "x"}
    # REST takes it as any other model; strings go in and out.
    assert lite.http("POST", "/v1/models/half:predict", '{"instances": [[2, 4]]}')[2] == b'{\n    "predictions": [[3.0, 4.0]\n    ]\n}'
    assert lite.http("POST", "/v1/models/text:predict", '{"inputs": ["a", {"b64": "AGI="}]}')[2] == (
        b'{\n    "outputs": [\n        [\n            "a"\n        ],\n        [\n            "\\u0000b"\n        ]\n    ]\n}')
    assert lite.call(wire.PREDICT, 'model_spec { name: "half" } inputs { key: "x" value { dtype: DT_INT64 tensor_shape { dim { size: 1 } } } }') == (
        "INVALID_ARGUMENT", "Expects TFLite tensor x to be float but int64 is provided")
    # A shape that the model cannot take fails its own request only.
    for _ in range(5):
        status, _, body = lite.http("POST", "/v1/models/text:predict", '{"inputs": ["a"]}')
        assert (status, body.decode()) in [(500, '{\n    "error": "Failed to %s"\n}' % what) for what in ("allocate tensors", "invoke TfLite interpreter")]
    assert lite.http("POST", "/v1/models/text:predict", '{"inputs": ["a", "b"]}')[0] == 200


def test_signature_in_the_metadata(lite):
    if "named" not in lite.models:
        pytest.skip("this TensorFlow brings nothing that writes signatures into a .tflite file")
    assert values(lite.call(wire.PREDICT, request("named", "features", [2, 4])), "scores") == ([1, 2], [3, 4])
    metadata = lite.call(wire.GET_MODEL_METADATA, 'model_spec { name: "named" } metadata_field: "signature_def"')[1]
    expected = text_format.Parse(
        'inputs { key: "features" value { name: "x" dtype: DT_FLOAT tensor_shape { dim { size: -1 } dim { size: 2 } } } } '
        'outputs { key: "scores" value { name: "y" dtype: DT_FLOAT tensor_shape { dim { size: -1 } dim { size: 2 } } } } '
        'method_name: "tensorflow/serving/predict"', wire.SignatureDef())
    assert wire.SignatureDefMap.FromString(metadata.metadata["signature_def"].value).signature_def["serving_default"] == expected


def test_many_clients_of_different_sizes_get_their_own_rows(lite):
    wrong = []

    def ask(number):
        for step in range(30):
            sent = [float(number * 1000 + step + n) for n in range(2 * (1 + (number + step) % 4))]
            got = values(lite.call(wire.PREDICT, request("half", "x", sent)), "y")[1]
            if got != [value / 2 + 2 for value in sent]:
                wrong.append((sent, got))

    askers = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert not wrong, wrong[:2]


def test_a_version_without_one_is_a_saved_model(own_models, model_files, lite_files):
    shutil.copytree(str(model_files / "half" / "1"), str(own_models / "1"))
    with LiveServer("--model_base_path=%s" % own_models, "--prefer_tflite_model") as server:
        assert server.predict("default", [2.0]) == (1, [3.0])
        shutil.copytree(str(model_files / "half" / "1"), str(own_models / "next"))
        shutil.copy(str(lite_files / "half" / "1" / "model.tflite"), str(own_models / "next"))
        os.rename(str(own_models / "next"), str(own_models / "2"))
        server.wait_state("default", 2, "AVAILABLE")
        assert values(server.call(wire.PREDICT, request("default", "x", [2, 4])), "y") == ([1, 2], [3, 4])
    # Without the flag the file is not looked at.
    with LiveServer("--model_base_path=%s" % own_models) as server:
        assert server.predict("default", [2.0]) == (2, [3.0])


def test_a_damaged_model_fails_the_load(own_models, model_files):
    shutil.copytree(str(model_files / "half" / "1"), str(own_models / "1"))
    (own_models / "1" / "model.tflite").write_bytes(b"TFL3 this is no model")
    code, out, _ = run_to_end("--port=%d" % free_ports(1)[0], "--model_base_path=%s" % own_models, "--prefer_tflite_model", "--max_num_load_retries=0")
    assert code == 255
    assert "INVALID_ARGUMENT: Cannot build FlatBufferModel from buffer" in out
