"""What a newcomer does: `make demo` twice, look at the result, roll back, look at the status, `make stop`.

It runs the real commands in a directory and on ports of its own, so that a demo in the same checkout is left alone.
The tests are steps of one story, in the order of the file.
"""

import pathlib
import re
import socket

import pytest
from PIL import Image


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


def test_a_second_run_changes_nothing(first, make, changed):
    assert changed(make("demo")) == {0}


def test_the_status_shows_what_is_served(first, playbook):
    status = playbook("status")
    assert "digits_detector" in status
    assert "AVAILABLE" in status


def test_the_rollback_returns_to_the_version_before(first, playbook, work, smoke_lines):
    playbook("rollback", "-e", "rollback_model=digits")
    lines = smoke_lines((work / "reports/smoke.jsonl").read_text())
    assert ("digits", 1, True) in {(line["model"], line["version"], line["ok"]) for line in lines}


def test_the_next_run_deploys_the_declared_version_again(first, make, smoke_lines):
    lines = smoke_lines(make("demo"))
    assert ("digits", 2, True) in {(line["model"], line["version"], line["ok"]) for line in lines}


def test_stop_ends_the_server(first, make, options):
    make("stop")
    port = int(re.search(r"tfleet_grpc_port=(\d+)", options)[1])
    with socket.socket() as client, pytest.raises(ConnectionRefusedError):
        client.connect(("127.0.0.1", port))
