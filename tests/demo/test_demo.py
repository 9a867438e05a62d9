"""What a newcomer does: `make demo`, look at the result and the status, roll back, roll out, `make demo` again, `make stop`.

It runs the real commands in a directory and on ports of its own, so that a demo in the same checkout is left alone.
The tests are steps of one story, in the order of the file.
"""

import base64
import io
import json
import pathlib
import re
import shlex
import socket
import subprocess
import urllib.request

import pytest
from PIL import Image

CHECKOUT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def first(make):
    return make("demo")


def test_the_demo_ends_with_a_right_answer_from_the_released_versions(first, smoke_lines):
    lines = smoke_lines(first)
    assert {(line["model"], line["version"], line["ok"]) for line in lines} == {("digits", 2, True), ("digits_detector", 1, True)}
    assert all(set(line["by"]) == {"version", "canary", "stable"} for line in lines)


def test_it_names_a_picture_and_a_page(first, work):
    paths = [pathlib.Path(line) for line in first.splitlines() if line.endswith((".png", ".html"))]
    assert {path.suffix for path in paths} == {".png", ".html"}
    for path in paths:
        assert path.is_relative_to(work / "reports")
        if path.suffix == ".png":
            with Image.open(path) as picture:
                # A picture that the model drew on is no single colour.
                assert len(picture.convert("RGB").getcolors(1 << 24)) > 100
        else:
            assert "digits_detector" in path.read_text()


def test_the_status_shows_what_is_served(first, playbook):
    status = playbook("status")
    assert "digits_detector" in status
    assert "AVAILABLE" in status


def test_the_gateway_answers_a_picture_of_the_newcomers_own(first, make, changed, tmp_path):
    (url,) = set(re.findall(r"Open (http://127\.0\.0\.1:\d+/) and drop a picture", make("gateway")))
    picture = tmp_path / "own.jpg"
    with Image.open(CHECKOUT / "models/digits_detector/scene.png") as scene:
        scene.convert("RGB").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(picture)
    browser = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with browser.open(url) as page:
        assert 'value="digits_detector/labels/stable"' in page.read().decode()
    with browser.open(f"{url}api/v1/models/digits_detector/labels/stable:predict?annotate=true", picture.read_bytes()) as answer:
        seen = json.load(answer)
    assert seen["version"] == 1 and len(seen["detections"]) > 3
    with Image.open(io.BytesIO(base64.b64decode(seen["picture"]["data"]))) as drawn:
        assert drawn.size == (480, 360)
    assert changed(make("gateway")) == {0}


def test_the_rollback_returns_to_the_version_before(first, playbook, work, smoke_lines):
    playbook("rollback", "-e", "rollback_model=digits")
    lines = smoke_lines((work / "reports/smoke.jsonl").read_text())
    assert ("digits", 1, True) in {(line["model"], line["version"], line["ok"]) for line in lines}


def test_a_rollout_under_ansible_runner_brings_the_declared_version_back(first, command, work, smoke_lines):
    # What AWX and its execution nodes do: the checkout is the project, and all that happens is in the runner's artifacts.
    _playbook, _i, inventory, playbook, *options = command("rollout", "-e", "rollout_model=digits", "-e", "rollout_soak_seconds=1")
    runner = work / "runner"
    done = subprocess.run(
        ["ansible-runner", "run", str(runner), "--project-dir", str(CHECKOUT), "--inventory", str(CHECKOUT / inventory), "--playbook", playbook,
         "--cmdline", shlex.join(options), "--ident", "rollout"],
        cwd=CHECKOUT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    artifacts = runner / "artifacts/rollout"
    assert (artifacts / "status").read_text() == "successful"
    events = [json.loads(path.read_text()) for path in sorted((artifacts / "job_events").glob("*.json"), key=lambda path: int(path.name.split("-")[0]))]
    steps = [event["event_data"]["task"] for event in events if event["event"] == "runner_on_ok"]
    assert [step for step in steps if "Do the step" in step] == [f"Do the step {step}" for step in ("stage", "gate", "wait", "promote", "check")]
    (ledger,) = (work / "rollouts").glob("digits-2-*/ledger.jsonl")
    assert json.loads(ledger.read_text().splitlines()[-1])["outcome"] == "done"


def test_after_it_nothing_is_left_to_do_for_the_demo(first, make, changed, smoke_lines):
    output = make("demo")
    assert changed(output) == {0}
    assert ("digits", 2, True) in {(line["model"], line["version"], line["ok"]) for line in smoke_lines(output)}


def test_stop_ends_the_servers(first, make, options):
    make("stop")
    for name in ("grpc", "gateway"):
        port = int(re.search(rf"tfleet_{name}_port=(\d+)", options)[1])
        with socket.socket() as client, pytest.raises(ConnectionRefusedError):
            client.connect(("127.0.0.1", port))
