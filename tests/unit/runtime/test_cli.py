"""The command `tfleet`: its frame, and predict, status and reload against a real gRPC server in this process."""

import json
import os
import subprocess
import sys
import threading
import time

import grpc
import numpy as np
import pytest
from PIL import Image

from tfleet import cli, wire
from tfleet.client import golden

SCORES = np.float32([[0.1, 0.9]])


@pytest.fixture
def tfleet(capfd):
    """tfleet("status", ...) -> (exit code, stdout, stderr); with --json in the arguments stdout is parsed."""

    def run(*arguments):
        code = cli.main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        if "--json" in arguments:
            assert out.count("\n") == 1
            out = json.loads(out)
        return code, out, err

    return run


@pytest.fixture
def classifier(serve):
    """A server whose model answers SCORES to every row."""

    def predict(request, context):
        if request.model_spec.signature_name not in ("", "serving_default"):
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, 'Serving signature key "s" not found.')
        response = wire.PredictResponse()
        response.model_spec.name = request.model_spec.name
        # A server that has version 2 only, whatever is asked for.
        response.model_spec.version.value = 2
        rows = request.inputs["images"].tensor_shape.dim[0].size
        response.outputs["scores"].CopyFrom(wire.tensors.to_typed_proto(np.repeat(SCORES, rows, axis=0)))
        return response

    def metadata(request, context):
        signatures = wire.SignatureDefMap()
        signature = signatures.signature_def["serving_default"]
        for infos, alias, shape in ((signature.inputs, "images", [-1, 4, 4, 1]), (signature.outputs, "scores", [-1, 2])):
            infos[alias].dtype = wire.DT.Value("DT_FLOAT")
            for size in shape:
                infos[alias].tensor_shape.dim.add(size=size)
        response = wire.GetModelMetadataResponse()
        response.metadata["signature_def"].Pack(signatures)
        return response

    return serve({wire.PREDICT: predict, wire.GET_MODEL_METADATA: metadata})


@pytest.fixture
def recorded(tmp_path):
    """A golden file that the classifier meets."""
    path = str(tmp_path / "golden.npz")
    examples = [({"images": np.zeros((1, 4, 4, 1), np.float32)}, {"scores": SCORES})] * 3
    golden.write(path, {"model": "m", "signature_name": "serving_default", "labels": ["no", "yes"]}, examples)
    return path


def test_help_and_version(tfleet):
    code, out, _ = tfleet("--help")
    assert code == 0 and all("  %s" % name in out for name in cli.COMMANDS)
    assert tfleet("--version") == (0, "tfleet 0.1.0\n", "")
    assert tfleet()[0] == 2
    assert tfleet("prdict")[::2] == (2, "tfleet: there is no command 'prdict'. Commands: %s.\n" % ", ".join(cli.COMMANDS))


@pytest.mark.parametrize("name", sorted(set(cli.COMMANDS) - {"serve"}))
def test_every_command_has_help(name, tfleet):
    code, out, _ = tfleet(name, "--help")
    assert code == 0 and "usage: tfleet %s" % name in out and "--json" in out


HEAVY = {"numpy", "grpc", "google.protobuf", "google.protobuf.json_format", "PIL", "tensorflow"}


def imported_by(*arguments):
    """Which of HEAVY a process has imported after it ran a command."""
    script = (
        "import sys; from tfleet import cli; code = cli.main(sys.argv[2:]);"
        "print(sorted(set(sys.argv[1].split()) & set(sys.modules)), file=sys.stderr); sys.exit(code)"
    )
    command = [sys.executable, "-c", script, " ".join(HEAVY)] + list(arguments)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True)
    return json.loads(done.stderr.decode().replace("'", '"'))


def test_help_imports_no_heavy_package():
    assert imported_by("predict", "--help") == []


def test_a_golden_call_imports_neither_tensorflow_nor_pillow(classifier, recorded):
    arguments = ["predict", "--address", classifier.address, "--model", "m", "--golden", recorded, "--json"]
    assert imported_by(*arguments) == ["google.protobuf", "grpc", "numpy"]


def test_golden(classifier, recorded, tfleet):
    code, result, _ = tfleet("predict", "--address", classifier.address, "--model", "m", "--golden", recorded, "--json", "--label", "stable")
    assert code == 0 and result["ok"]
    assert (result["model"], result["version"], result["label"], result["signature"]) == ("m", 2, "stable", "serving_default")
    assert result["address"] == classifier.address and result["requests"] == 3 and result["picture"] is None
    assert result["worst_error"] == {"output": "scores", "abs": 0, "rel": 0, "example": 0}
    assert 0 < result["latency_ms"]["p50"] <= result["latency_ms"]["p90"] <= result["latency_ms"]["max"]
    first = result["predictions"][0]
    assert (first["request"], first["label"], first["expected"]) == ("example 0", "yes", "yes")
    assert {request.model_spec.version_label for request in classifier.seen} == {"stable"}


def test_text_for_people(classifier, recorded, tfleet):
    code, out, err = tfleet("predict", "--address", classifier.address, "--model", "m", "--golden", recorded)
    assert code == 0 and err == ""
    assert "m version 2 answered 3 requests at %s (signature serving_default)" % classifier.address in out
    assert "golden: within tolerance" in out and "example 0: yes (90.0 %)" in out


def test_wrong_answers_wrong_version_and_slow_answers_are_failures(classifier, tmp_path, tfleet):
    path = str(tmp_path / "golden.npz")
    golden.write(path, {}, [({"images": np.zeros((1, 4, 4, 1), np.float32)}, {"scores": np.float32([[0.5, 0.5]])})])
    code, result, _ = tfleet(
        "predict", "--address", classifier.address, "--model", "m", "--golden", path, "--version", 3, "--latency-budget-ms", 1e-6, "--json"
    )
    assert code == 1 and result["ok"] is False and result["version"] == 2
    assert "Version 3 of model 'm' at %s was asked for, but version 2 answered." % classifier.address in result["msg"]
    assert "Output 'scores' of example 0 is 0.1 instead of 0.5" in result["msg"]
    assert "more than the budget of 1e-06 ms" in result["msg"]
    assert result["requests"] == 6 and result["worst_error"]["abs"] == pytest.approx(0.4)


def test_pictures_are_sent_named_and_drawn(classifier, tmp_path, tfleet):
    for name in ("a.png", "b.png"):
        Image.new("L", (9, 5), 200).save(str(tmp_path / name))
    (tmp_path / "labels.json").write_text('{"1": "yes"}')
    out = tmp_path / "out.png"
    code, result, _ = tfleet(
        "predict", "--address", classifier.address, "--model", "m", "--image", tmp_path / "a.png", tmp_path / "b.png",
        "--annotate", out, "--label-map", tmp_path / "labels.json", "--json",
    )  # fmt: skip
    assert code == 0 and result["picture"] == str(out) and out.stat().st_size > 1000
    assert [(row["request"], row["label"]) for row in result["predictions"]] == [
        (str(tmp_path / "a.png"), "yes"),
        (str(tmp_path / "b.png"), "yes"),
    ]
    sent = wire.tensors.to_numpy(classifier.seen[-1].inputs["images"])
    assert sent.shape == (1, 4, 4, 1) and sent.max() == pytest.approx(200 / 255)


def test_values(classifier, tmp_path, tfleet):
    np.save(str(tmp_path / "x.npy"), np.ones((2, 4, 4, 1)))
    code, out, _ = tfleet("predict", "--address", classifier.address, "--model", "m", "--input", "images=%s/x.npy" % tmp_path)
    assert code == 0 and "request, row 1: 1 (90.0 %)" in out
    code, result, _ = tfleet("predict", "--address", classifier.address, "--model", "m", "--input", "imges=[1]", "--json")
    assert code == 1 and result["msg"] == "The signature has no input 'imges'. Its inputs are: images: DT_FLOAT [-1,4,4,1]."
    code, result, _ = tfleet("predict", "--address", classifier.address, "--model", "m", "--input", "images=[1]", "--annotate", "o", "--json")
    assert code == 1 and "have shape [1]" in result["msg"]


def test_server_errors_are_json_with_their_details(classifier, recorded, tfleet):
    code, result, err = tfleet(
        "predict", "--address", classifier.address, "--model", "m", "--golden", recorded, "--signature", "s", "--json"
    )
    assert code == 1 and result["ok"] is False and result["code"] == "FAILED_PRECONDITION" and err == ""
    assert "The model's signatures are: serving_default (images" in result["msg"]
    code, out, err = tfleet("predict", "--address", "nonsense", "--model", "m", "--golden", recorded)
    assert code == 1 and out == "" and err.startswith("tfleet: 'nonsense' is not an address")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--model", "m"],
        ["--golden", "g"],
        ["--model", "m", "--golden", "g", "--image", "i"],
        ["--model", "m", "--golden", "g", "--version", "1", "--label", "l"],
        ["--model", "m", "--golden", "g", "--version", "-1"],
        ["--model", "m", "--golden", "g", "--version", "9" * 20],
        ["--model", "m", "--golden", "g", "--timeout", "0"],
    ],
)
def test_wrong_usage(arguments, tfleet):
    code, out, err = tfleet("predict", *arguments)
    assert code == 2 and out == "" and "usage: tfleet predict" in err


def test_noise_on_stdout_goes_to_stderr(tfleet, monkeypatch):
    from tfleet.cli import reload

    def noisy(args):
        os.write(1, b"native noise\n")
        print("python noise")
        return {"address": "a", "models": []}

    monkeypatch.setattr(reload, "run", noisy)
    code, result, err = tfleet("reload", "--config", "c", "--json")
    assert code == 0 and result == {"ok": True, "address": "a", "models": []}
    assert "native noise" in err and "python noise" in err


@pytest.fixture
def states(serve):
    """A server whose models' versions a test changes: states.now = {(model, version): (state, code, message)}."""

    def status(request, context):
        response = wire.GetModelStatusResponse()
        spec = request.model_spec
        for (model, version), (state, code, message) in sorted(server.now.items(), reverse=True):
            if model == spec.name and (not spec.HasField("version") or spec.version.value == version):
                row = response.model_version_status.add(version=version, state=state)
                row.status.error_code = wire.ErrorCode.Value(code)
                row.status.error_message = message
        if not response.model_version_status:
            context.abort(grpc.StatusCode.NOT_FOUND, "Could not find any versions of model %s" % spec.name)
        return response

    server = serve({wire.GET_MODEL_STATUS: status, wire.RELOAD_CONFIG: lambda request, context: wire.ReloadConfigResponse()})
    server.now = {}
    return server


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "model.config"
    models = 'config { name: "%s" base_path: "/m" model_platform: "tensorflow" %s }'
    labels = 'version_labels { key: "stable" value: 1 }'
    path.write_text("model_config_list { %s %s }" % (models % ("a", labels), models % ("b", "")))
    return path


def test_status_of_configured_models(states, config, tfleet):
    states.now = {("a", 1): ("AVAILABLE", "OK", ""), ("a", 2): ("END", "NOT_FOUND", "gone")}
    code, result, _ = tfleet("status", "--address", states.address, "--config", config, "--json")
    assert code == 0
    assert result["models"] == {
        "a": {
            "labels": {"stable": 1},
            "versions": [
                {"version": 2, "state": "END", "error_code": "NOT_FOUND", "error_message": "gone"},
                {"version": 1, "state": "AVAILABLE", "error_code": "OK", "error_message": ""},
            ],
        },
        "b": {"labels": {}, "versions": []},
    }
    assert tfleet("status", "--address", states.address, "--config", config)[1] == (
        "a  2  END  NOT_FOUND: gone\na  1  AVAILABLE  (stable)\nb  no version\n"
    )


def test_status_needs_a_name_and_knows_a_wrong_one(states, tfleet):
    assert "has no list of models: name them with --model" in tfleet("status", "--address", states.address)[2]
    code, result, _ = tfleet("status", "--address", states.address, "--model", "typo", "--json")
    assert code == 1 and result["code"] == "NOT_FOUND" and "Check the name" in result["msg"]


def test_waiting_for_a_version(states, tfleet):
    states.now = {("a", 1): ("LOADING", "OK", "")}
    timer = threading.Timer(0.5, states.now.update, [{("a", 1): ("AVAILABLE", "OK", "")}])
    timer.start()
    begin = time.monotonic()
    code, result, _ = tfleet("status", "--address", states.address, "--wait", "a=1", "--timeout", 20, "--json")
    assert code == 0 and result["models"]["a"]["versions"][0]["state"] == "AVAILABLE"
    assert 0.4 < time.monotonic() - begin < 5


def test_waiting_ends_with_the_reason(states, tfleet):
    states.now = {("a", 1): ("LOADING", "OK", "")}
    code, result, _ = tfleet("status", "--address", states.address, "--wait", "a=1", "b=2", "--timeout", 0.5, "--json")
    assert code == 1
    assert "Not available at %s after 0.5 s: a=1, b=2. Version 1 of model 'a' is in state LOADING." % states.address in result["msg"]
    assert "Could not find any versions of model b" in result["msg"]


def test_a_version_that_failed_to_load_is_not_waited_for(states, tfleet):
    states.now = {("a", 2): ("END", "NOT_FOUND", "Could not find SavedModel .pb"), ("a", 1): ("AVAILABLE", "OK", "")}
    begin = time.monotonic()
    code, result, _ = tfleet("status", "--address", states.address, "--wait", "a=2", "--timeout", 60, "--json")
    assert code == 1 and result["error_message"] == "Could not find SavedModel .pb" and result["version"] == 2
    assert "failed to load at %s: NOT_FOUND: Could not find SavedModel .pb." % states.address in result["msg"]
    assert time.monotonic() - begin < 10


def test_reload(states, config, tfleet):
    code, result, _ = tfleet("reload", "--address", states.address, "--config", config, "--json")
    assert code == 0 and result == {"ok": True, "address": states.address, "models": ["a", "b"]}
    assert states.seen[-1].config.model_config_list.config[0].version_labels["stable"] == 1
    assert "now serves: a, b" in tfleet("reload", "--address", states.address, "--config", config)[1]


@pytest.mark.parametrize(
    "content, message",
    [
        (b"model_config_list {\n  confg {} }", "is not a model.config: 2:3 : .* no field named \"confg\". See: tfleet config check"),
        (b"\xff", "is not text in UTF-8"),
        (None, "Could not read .*: No such file or directory"),
    ],
)
def test_reload_of_a_bad_file(content, message, tmp_path, tfleet):
    path = tmp_path / "model.config"
    if content is not None:
        path.write_bytes(content)
    code, result, _ = tfleet("reload", "--config", path, "--json")
    assert code == 1
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(result["msg"])
