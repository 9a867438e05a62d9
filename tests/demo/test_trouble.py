"""What goes wrong in practice, and what is left of it: kills, wrong answers, versions that do not load, changed files.

Real runs on a demo of its own with the digits alone; the tests are steps of one story, in the order of the file.
"""

import json
import pathlib
import re
import shutil
import signal
import subprocess
import sys

import pytest
import yaml
from process_trees import kill_tree, wait_until_said

CHECKOUT = pathlib.Path(__file__).parents[2]
SIGNATURES = {"serving_default": {"inputs": {"images": "images:0"}, "outputs": {"scores": "scores:0", "classes": "classes:0"}}}

# A SavedModel that is whole to look at, and whose variable cannot be read when it is loaded.
BROKEN_MODEL = """
import sys, pathlib, tensorflow as tf
graph = tf.Graph()
with graph.as_default(), tf.compat.v1.Session(graph=graph) as session:
    x = tf.compat.v1.placeholder(tf.float32, [None], name="x")
    w = tf.compat.v1.get_variable("w", shape=[4096], use_resource=True)
    y = tf.add(x, tf.reduce_sum(w), name="y")
    session.run(tf.compat.v1.global_variables_initializer())
    tf.compat.v1.saved_model.simple_save(session, sys.argv[1], {"x": x}, {"y": y})
data, = pathlib.Path(sys.argv[1], "variables").glob("variables.data-*")
data.write_bytes(data.read_bytes()[:100])
"""


def release(version, source=None, golden=None):
    return {"version": version, "source": str(source or f"models/digits/{version}/frozen_graph.pb"),
            "golden": f"models/digits/{golden or version}/golden.npz", "signatures": SIGNATURES}


@pytest.fixture(scope="module")
def models(work):
    """Write tfleet_models with these releases of digits to a file and return the option that reads it."""

    def write(*releases, **more):
        path = work / "models.yml"
        path.write_text(yaml.safe_dump({"tfleet_models": [{"name": "digits", "releases": list(releases), **more}]}))
        return "-e", f"@{path}"

    return write


@pytest.fixture(scope="module", autouse=True)
def no_server_is_left(make):
    """The fixture make stops the server of this demo in the end."""


def kill_when(argv, words):
    """Start a playbook, wait until it prints `words`, kill it and all of its processes; the model server is none of them."""
    with subprocess.Popen(argv, cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        wait_until_said(process, words)
        kill_tree(process.pid)
    assert process.returncode == -signal.SIGKILL


def said(output):
    """What a playbook printed, without the line breaks that Ansible's YAML puts into a message."""
    return " ".join(output.split())


@pytest.fixture
def served(work, options):
    """Ask the server itself for the states of the versions of digits, by number, and for its labels."""

    def ask():
        model = tfleet("status", options, "--config", str(work / "serving/model.config"))["models"]["digits"]
        return {version["version"]: version["state"] for version in model["versions"]}, model["labels"]

    return ask


@pytest.fixture
def prove(options):
    """Ask the stable version for the golden answers of a version."""
    return lambda version: tfleet("predict", options, "--model", "digits", "--label", "stable", "--golden", f"models/digits/{version}/golden.npz")


def tfleet(command, options, *more):
    port = re.search(r"tfleet_grpc_port=(\d+)", options)[1]
    done = subprocess.run(["tfleet", command, "--address", f"127.0.0.1:{port}", *more, "--json"], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("words", [
    "TASK [tfleet.serving.model_release : Verify it and put it in place]",
    "TASK [tfleet.serving.model_server : Write model.config]",
    "TASK [tfleet.serving.model_server : Have the running server read it]",
])
def test_a_run_is_killed(command, models, words):
    kill_when(command("site", *models(release(1), release(2))), words)


def test_the_next_run_finishes_what_the_killed_ones_began(playbook, models, changed, smoke_lines, work):
    playbook("site", *models(release(1), release(2)))
    assert changed(playbook("site", *models(release(1), release(2)))) == {0}
    (line,) = smoke_lines((work / "reports/smoke.jsonl").read_text())
    assert (line["model"], line["version"], line["ok"]) == ("digits", 2, True)
    assert not [path for path in (work / "models/digits").iterdir() if path.name.startswith((".staging", ".incoming"))]


def test_a_version_that_answers_wrongly_is_taken_back(playbook, models, served, smoke_lines, work):
    # The first model under the second one's golden answers: it loads, and is wrong.
    wrong = models(release(1), release(2), release(3, source="models/digits/1/frozen_graph.pb", golden=2))
    output = playbook("deploy", *wrong, fails=True)
    assert "differ from" in output
    assert "Output 'classes'" in output
    (line,) = [line for line in smoke_lines((work / "reports/smoke.jsonl").read_text()) if line["version"] == 3]
    assert line["ok"] is False
    states, labels = served()
    assert labels == {"canary": 2, "stable": 2}
    assert (states[1], states[2], states.get(3, "END")) == ("AVAILABLE", "AVAILABLE", "END")
    assert (work / "models/digits/.aside/3/manifest.json").exists()
    assert not (work / "models/digits/3").exists()


def test_a_version_that_does_not_load_leaves_the_old_one_serving(playbook, models, served, prove, work, tmp_path):
    source = tmp_path / "broken"
    subprocess.run([sys.executable, "-c", BROKEN_MODEL, str(source)], check=True, capture_output=True)
    broken = {"version": 4, "source": str(source), "golden": "models/digits/2/golden.npz"}
    output = said(playbook("deploy", *models(release(1), release(2), broken), fails=True))
    # The reason is the server's own, from GetModelStatus, and so is what still serves.
    assert "ersion 4 of model" in output, output[-3000:]
    assert "keep serving" in output or "keeps serving" in output
    states, labels = served()
    assert (states[2], states[4]) == ("AVAILABLE", "END")
    assert labels == {"canary": 2, "stable": 2}
    prove(2)
    shutil.rmtree(work / "models/digits/4")


def test_a_version_that_was_changed_in_place_is_never_overwritten(playbook, models, prove, work):
    graph = work / "models/digits/1/saved_model.pb"
    before = graph.read_bytes()
    changed = before[:-1] + bytes([before[-1] ^ 1])
    graph.write_bytes(changed)
    try:
        output = said(playbook("deploy", *models(release(1), release(2)), fails=True))
        assert "Version 1 of digits was changed in place after its release" in output
        assert "saved_model.pb" in output
        assert graph.read_bytes() == changed
    finally:
        graph.write_bytes(before)
    prove(2)


def test_a_restart_that_was_killed_is_made_up_for(command, playbook, models, prove, work):
    batching = json.dumps({"model_server_batching": {"max_batch_size": 64}})
    record = work / "serving/server.pid.json"
    before = json.loads(record.read_text())["pid"]
    kill_when(command("deploy", *models(release(1), release(2)), "-e", batching), "TASK [tfleet.serving.model_server : Run the server in the background]")
    # Whether the kill came before or after it, the server of the next run has the file's values.
    playbook("deploy", *models(release(1), release(2)), "-e", batching)
    assert json.loads(record.read_text())["pid"] != before
    assert any("batching_parameters_file" in flag for flag in json.loads(record.read_text())["argv"])
    prove(2)


@pytest.mark.parametrize("more, words", [
    ({"labels": {"stable": 7}}, "label stable points to version 7"),
    ({"base_path": "models/digits"}, "base_path 'models/digits' is relative"),
    ({"keep": 1}, "keep is 1"),
])
def test_a_wrong_inventory_changes_nothing(playbook, models, work, changed, more, words):
    before = sorted((work / "models").rglob("*"))
    output = playbook("site", *models(release(1), release(2), **more), fails=True)
    assert words in said(output)
    assert changed(output) == {0}
    assert sorted((work / "models").rglob("*")) == before


def test_a_port_that_is_taken_is_named(playbook, models, prove, work):
    # The demo's own server has the port; a second one beside it must say so, and must not tell the first its own configuration.
    pid = json.loads((work / "serving/server.pid.json").read_text())["pid"]
    output = playbook("site", *models(release(1)), "-e", f"tfleet_config_dir={work}/second", fails=True)
    assert f"is taken by process {pid}" in said(output), said(output)[-3000:]
    assert "Have the running server read it" not in output
    prove(2)


def test_a_proven_version_is_not_taken_back_for_a_wrong_configuration(playbook, models, work):
    # Golden requests have up to 64 rows: with smaller batches the server refuses them, whatever the version.
    small = json.dumps({"model_server_batching": {"max_batch_size": 1}})
    output = said(playbook("deploy", *models(release(1), release(2)), "-e", small, fails=True))
    assert "larger than maximum input batch size" in output
    assert (work / "models/digits/2").exists()
