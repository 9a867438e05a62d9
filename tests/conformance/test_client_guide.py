"""docs/client.md as a newcomer follows it: every command and every program in it, against a real server with the demo's models."""

import json
import os
import re
import shlex
import subprocess
import sys

import live_server
import numpy as np
import pytest
from PIL import Image

ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
GUIDE = os.path.join(ROOT, "docs", "client.md")
DETECTIONS = ("num_detections", "detection_boxes", "detection_scores", "detection_classes")
SIGNATURES = {
    "digits": {"serving_default": {"inputs": {"images": "images:0"}, "outputs": {"scores": "scores:0", "classes": "classes:0"}}},
    "digits_detector": {
        "serving_default": {"inputs": {"image_tensor": "image_tensor:0"}, "outputs": {alias: alias + ":0" for alias in DETECTIONS}},
        "raw": {"inputs": {"image_tensor": "image_tensor:0"}, "outputs": {alias: alias + ":0" for alias in ("raw_boxes", "raw_scores")}},
    },
}
# A model that takes files, as exporters make it for web services.
FILES_MODEL = """
import sys, tensorflow as tf
class Model(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def serve(self, image_bytes):
        mean = tf.map_fn(lambda one: tf.reduce_mean(tf.cast(tf.io.decode_jpeg(one, 3), tf.float32)) / 255, image_bytes, fn_output_signature=tf.float32)
        return {"scores": tf.stack([mean, 1 - mean], axis=1)}
model = Model()
tf.saved_model.save(model, sys.argv[1], signatures=model.serve)
"""


def blocks(language):
    with open(GUIDE, encoding="utf-8") as stream:
        return re.findall(r"```%s\n(.*?)```" % language, stream.read(), re.S)


COMMANDS = [line for block in blocks("sh") for line in block.strip().splitlines()]


def run(*arguments, folder=None, ok=True):
    done = subprocess.run(
        [sys.executable, "-m", "tfleet"] + [str(argument) for argument in arguments],
        cwd=str(folder or ROOT), stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True, timeout=120, check=False,
        env=dict(os.environ, PYTHONPATH=live_server.SOURCE, TF_CPP_MIN_LOG_LEVEL="2"),
    )
    assert (done.returncode == 0) == ok, done.stderr + done.stdout
    return done.stdout if ok else done.stderr


@pytest.fixture(scope="module")
def demo(request, tmp_path_factory):
    """The models of the demo, and one that takes files, served; a folder with models/ and scenes/ in which the guide's commands work."""
    if request.config.getoption("--address"):
        pytest.skip("runs only against a server that the tests started")
    root = tmp_path_factory.mktemp("guide")
    configs = []
    for name, signatures in SIGNATURES.items():
        graph = os.path.join(ROOT, "models", name, "1", "frozen_graph.pb")
        os.makedirs(str(root / "served" / name))
        run("export", graph, root / "served" / name / "1", "--signatures", json.dumps(signatures))
    subprocess.run([sys.executable, "-c", FILES_MODEL, str(root / "served" / "files" / "1")], check=True, stderr=subprocess.PIPE)
    for name in list(SIGNATURES) + ["files"]:
        label = ' version_labels { key: "stable" value: 1 }'
        configs.append('config { name: "%s" base_path: "%s" model_platform: "tensorflow"%s }' % (name, root / "served" / name, label))
    (root / "model.config").write_text("model_config_list { %s }" % " ".join(configs))
    os.symlink(os.path.join(ROOT, "models"), str(root / "models"))
    (root / "scenes").mkdir()
    with Image.open(os.path.join(ROOT, "models", "digits_detector", "scene.png")) as scene:
        for number, name in enumerate(("a.png", "b.jpg", "c.png", "d.jpg")):
            scene.convert("RGB").resize((scene.width - 40 * number, scene.height)).save(str(root / "scenes" / name))
    flags = "--model_config_file=%s" % (root / "model.config"), "--allow_version_labels_for_unavailable_models=true"
    with live_server.LiveServer(*flags) as server:
        for name in list(SIGNATURES) + ["files"]:
            server.wait_state(name, 1, "AVAILABLE", 60)
        server.folder = root
        yield server


def test_the_guide_has_commands():
    assert len(COMMANDS) >= 10 and len(blocks("python")) == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(demo, command):
    words = shlex.split(command)
    assert words[0] == "tfleet"
    assert run(*words[1:], "--address", demo.address, folder=demo.folder) or "--output" in words


@pytest.mark.parametrize("program", blocks("python"))
def test_programs(demo, program):
    program = program.replace("127.0.0.1:8500", demo.address)
    done = subprocess.run([sys.executable, "-c", program], cwd=str(demo.folder), stdout=subprocess.PIPE, check=True, universal_newlines=True,
                          env=dict(os.environ, PYTHONPATH=live_server.SOURCE), timeout=60)
    assert "'label': '3'" in done.stdout or done.stdout.startswith("[0 2]")


def test_suppression_in_the_client_finds_what_the_graph_finds(demo):
    command = ["predict", "--address", demo.address, "--model", "digits_detector", "--image", "scenes", "--min-score", "0.2", "--json"]
    graph = json.loads(run(*command, folder=demo.folder))["predictions"]
    mine = json.loads(run(*command, "--signature", "raw", "--declaration", "models/digits_detector/raw.json", folder=demo.folder))["predictions"]
    assert len(graph) == 4 and sum(len(line["detections"]) for line in graph) > 20
    for one, other in zip(graph, mine):
        assert len(one["detections"]) == len(other["detections"])
        for found, expected in zip(other["detections"], one["detections"]):
            assert found["class"] == expected["class"]
            np.testing.assert_allclose(found["box"] + [found["score"]], expected["box"] + [expected["score"]], atol=2e-6)


def test_a_letterbox_finds_the_same_digits_at_the_same_places(demo):
    command = ["predict", "--address", demo.address, "--model", "digits_detector", "--image", "models/digits_detector/scene.png", "--json"]
    plain = json.loads(run(*command, folder=demo.folder))["predictions"][0]["detections"]
    boxed = json.loads(run(*command, "--size", "480x640", "--letterbox", folder=demo.folder))["predictions"][0]["detections"]
    near = [one for one in plain for other in boxed if one["class"] == other["class"] and np.abs(np.subtract(one["box"], other["box"])).max() < 0.02]
    assert len(near) >= len(plain) - 2


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_files_go_as_they_are_and_a_damaged_one_does_not_spoil_the_others(demo, tmp_path, protocol):
    for number in range(6):
        Image.new("RGB", (20, 10), (40 * number,) * 3).save(str(tmp_path / ("%d.jpg" % number)), quality=95)
    whole = (tmp_path / "3.jpg").read_bytes()
    (tmp_path / "3.jpg").write_bytes(whole[: len(whole) // 2])  # its head is whole: the client sees no mistake
    address = demo.address if protocol == "grpc" else demo.rest_address
    out = tmp_path / "out.jsonl"
    said = run("predict", "--address", address, "--protocol", protocol, "--model", "files", "--image", tmp_path, "--output", out, ok=False)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert "1 failed" in said and [os.path.basename(line["image"]) for line in lines if "error" in line] == ["3.jpg"]
    for line in lines[:3] + lines[4:]:
        bright = next(entry["score"] for entry in line["top"] if entry["class"] == 0)
        assert abs(bright - 40 * int(os.path.basename(line["image"])[0]) / 255) < 0.01


def test_rest_and_grpc_say_the_same(demo):
    command = ["predict", "--model", "digits_detector", "--label", "stable", "--image", "scenes/b.jpg", "--format", "jsonl"]
    by_grpc = run(*command, "--address", demo.address, folder=demo.folder)
    assert by_grpc == run(*command, "--address", demo.rest_address, "--protocol", "rest", folder=demo.folder)


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--address", "{rest}", "--image", "scenes/a.png"], "speaks HTTP"),
        (["--address", "{grpc}", "--protocol", "rest", "--image", "scenes/a.png"], "is not a REST port, perhaps the gRPC port"),
        (["--address", "{grpc}", "--version", "9", "--image", "scenes/a.png"], "Of model 'digits' version 1 is served"),
        (["--address", "{rest}", "--protocol", "rest", "--version", "9", "--image", "scenes/a.png"], "Of model 'digits' version 1 is served"),
        (["--address", "{grpc}", "--label", "blue", "--image", "scenes/a.png"], "The labels of a model stand in the server's model.config"),
        (["--address", "{grpc}", "--signature", "raw", "--image", "scenes/a.png"], "Model 'digits' has no signature 'raw'. Its signatures are"),
        (["--address", "{grpc}", "--input", "image=[1]"], "The signature has no input 'image'. Its inputs are: images: DT_FLOAT [-1,8,8,1]"),
        (["--address", "{grpc}", "--input", "images=" + json.dumps(np.zeros((8, 8, 1)).tolist())], "the batch dimension is missing"),
        (["--address", "{grpc}", "--input", "images=scenes/a.png"], "is a picture's file: send it with --image scenes/a.png"),
    ],
)
def test_newcomers_mistakes(demo, arguments, said):
    arguments = [argument.format(grpc=demo.address, rest=demo.rest_address) if argument.startswith("{") else argument for argument in arguments]
    assert said in run("predict", "--model", "digits", *arguments, folder=demo.folder, ok=False)


def test_a_model_that_is_not_there(demo):
    for arguments in (["--address", demo.address], ["--address", demo.rest_address, "--protocol", "rest"]):
        said = run("predict", "--model", "Digits", "--image", "scenes/a.png", *arguments, folder=demo.folder, ok=False)
        assert "There is no model 'Digits' on this server; case counts." in said
