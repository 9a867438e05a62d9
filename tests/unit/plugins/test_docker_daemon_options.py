"""daemon.json: merged by meaning, recorded, and taken back to the byte."""
import json
import os

import pytest
from ansible_collections.tfleet.serving.plugins.module_utils import daemon_options as rules

# As `nvidia-ctk runtime configure` writes it (facts/jetson.md, section 4d), and as JetPack 4 ships it.
BY_NVIDIA_CTK = """{
    "log-level": "warn",
    "runtimes": {
        "nvidia": {
            "args": [],
            "path": "nvidia-container-runtime"
        }
    }
}"""
BY_JETPACK = '{\n  "runtimes": {\n    "nvidia": {"path": "nvidia-container-runtime", "runtimeArgs": []}\n  }\n}\n'
NVIDIA = {"default-runtime": "nvidia", "runtimes": {"nvidia": {"path": "nvidia-container-runtime", "runtimeArgs": []}}}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "docker" / "daemon.json"


@pytest.fixture
def set_options(run_module, path, tmp_path):
    def run(options=None, set_by="engine", **more):
        parameters = dict({"dockerd": "no-such-dockerd", "pid_file": str(tmp_path / "docker.pid")}, **more)
        return run_module("docker_daemon_options", set_by=set_by, path=str(path), options=options or {}, **parameters)

    return run


@pytest.fixture
def given(path):
    def write(text):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    return write


def test_check_change_check_same(four_times, path, tmp_path):
    results = four_times("docker_daemon_options", set_by="engine", path=str(path), options=NVIDIA, pid_file=str(tmp_path / "docker.pid"))
    assert results[1]["diff"]["before"] == ""
    assert json.loads(path.read_text()) == NVIDIA
    assert path.stat().st_mode & 0o777 == 0o644
    assert os.stat(str(path) + ".tfleet").st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", [BY_NVIDIA_CTK, BY_JETPACK])
def test_a_runtime_that_says_the_same_is_left_as_it_is(set_options, given, path, text):
    given(text)
    result = set_options({"runtimes": NVIDIA["runtimes"]})
    assert path.read_text() == text
    assert result["diff"]["before"] == result["diff"]["after"]
    assert not set_options({"runtimes": {"nvidia": {"path": "nvidia-container-runtime"}}}, check=True)["restart_needed"]


@pytest.mark.parametrize("runtime", [{"path": "/opt/nvidia-container-runtime"}, {"path": "nvidia-container-runtime", "args": ["--debug"]}])
def test_a_runtime_that_says_something_else_is_replaced(set_options, given, path, runtime):
    given(BY_NVIDIA_CTK)
    set_options({"runtimes": {"nvidia": runtime}})
    assert json.loads(path.read_text()) == {"log-level": "warn", "runtimes": {"nvidia": runtime}}


def test_keys_of_others_stay(set_options, given, path):
    given('{"log-opts": {"max-size": "1m", "tag": "x"}, "dns": ["10.0.0.1"], "runtimes": {"kata": {"path": "kata"}}}')
    set_options(dict(NVIDIA, **{"log-opts": {"max-size": "10m", "max-file": 3}}))
    assert json.loads(path.read_text()) == {
        "log-opts": {"max-size": "10m", "tag": "x", "max-file": "3"},
        "dns": ["10.0.0.1"],
        "runtimes": {"kata": {"path": "kata"}, "nvidia": NVIDIA["runtimes"]["nvidia"]},
        "default-runtime": "nvidia",
    }


@pytest.mark.parametrize("text", [None, "", BY_NVIDIA_CTK, BY_JETPACK, '{"default-runtime":"kata","runtimes":{"kata":{"path":"k"}}}'])
def test_absent_leaves_the_file_as_it_was_to_the_byte(set_options, given, path, text):
    if text is not None:
        given(text)
    set_options({"data-root": "/data/docker", "log-opts": {"max-size": "10m"}})
    set_options(NVIDIA, set_by="toolkit")
    set_options(state="absent")
    assert json.loads(path.read_text())["default-runtime"] == "nvidia"
    assert "data-root" not in json.loads(path.read_text())
    assert set_options(set_by="toolkit", state="absent")["changed"]
    assert (path.read_text() if path.exists() else None) == text
    assert not os.path.exists(str(path) + ".tfleet")
    assert not set_options(set_by="toolkit", state="absent")["changed"]


def test_options_that_are_no_longer_given_return_to_what_they_were(set_options, given, path):
    given('{"log-driver": "journald", "debug": true}')
    set_options({"log-driver": "local", "log-opts": {"max-size": "10m"}, "debug": False})
    set_options({"debug": False})
    assert json.loads(path.read_text()) == {"log-driver": "journald", "debug": False}


def test_what_was_set_before_can_be_set_again(set_options, path):
    set_options(NVIDIA, set_by="toolkit")
    set_options({"log-opts": {"max-size": "10m"}})
    before = path.read_text()
    result = set_options({"no-such-option": True})
    assert result["previous_options"] == {"log-opts": {"max-size": "10m"}}
    set_options(result["previous_options"])
    assert json.loads(path.read_text()) == json.loads(before)
    set_options(state="absent")
    set_options(set_by="toolkit", state="absent")
    assert not path.exists()


def test_what_somebody_else_changed_since_is_left_alone(set_options, path):
    set_options({"data-root": "/data/docker", "debug": True})
    path.write_text('{"data-root": "/srv/docker", "debug": true}')
    result = set_options(state="absent")
    assert json.loads(path.read_text()) == {"data-root": "/srv/docker"}
    assert "data-root was changed by somebody else" in str(result["warnings"])


def test_one_option_has_one_owner(set_options, path):
    set_options({"default-runtime": "runc"})
    result = set_options(NVIDIA, set_by="toolkit")
    assert "default-runtime is set to \"runc\" by engine and would be set to \"nvidia\" by toolkit" in result["msg"]
    assert json.loads(path.read_text()) == {"default-runtime": "runc"}


@pytest.mark.parametrize(("text", "said"), [
    ('{"a": 1,}', "is not JSON"),
    ("# none\n{}", "is not JSON"),
    ("\ufeff{}", "is not JSON"),
    ("[]", "holds a JSON list"),
    ('{"log-opts": "max-size=10m"}', "log-opts in daemon.json is"),
])
def test_a_file_that_docker_could_not_read_is_refused_and_left_alone(set_options, given, path, text, said):
    given(text)
    result = set_options({"log-opts": {"max-size": "10m"}})
    assert result["failed"]
    assert said in result["msg"]
    assert path.read_text() == text
    assert os.listdir(str(path.parent)) == ["daemon.json"]


def test_an_option_without_a_value_is_refused(set_options):
    assert "data-root has no value" in set_options({"data-root": None})["msg"]


def test_the_old_file_is_kept_on_request(set_options, given, path):
    given(BY_JETPACK)
    result = set_options({"debug": True}, backup=True)
    with open(result["backup_file"]) as stream:
        assert stream.read() == BY_JETPACK
    assert "backup_file" not in set_options({"debug": True}, backup=True)


@pytest.fixture
def dockerd(tmp_path):
    """A daemon's command that answers ``--validate`` as told, and writes down what it was given to read."""

    def make(line):
        command = tmp_path / "dockerd"
        command.write_text('#!/bin/sh\n[ "$1 $2" = "--validate --config-file" ] && cp "$3" %s/validated\n%s\n' % (tmp_path, line))
        command.chmod(0o755)
        return str(command)

    return make


def test_the_new_content_is_validated_before_it_is_written(set_options, given, path, tmp_path, dockerd):
    given("{}")
    said = "unable to configure the Docker daemon with file $3: the following directives don't match any configuration option: x"
    result = set_options({"x": 1}, dockerd=dockerd('echo "%s" >&2; exit 1' % said))
    assert "Docker would not start with the new %s: unable to configure the Docker daemon with file %s" % (path, path) in result["msg"]
    assert json.loads((tmp_path / "validated").read_text()) == {"x": 1}
    assert path.read_text() == "{}"


@pytest.mark.parametrize(("line", "validated"), [("echo configuration OK", True), ("echo unknown flag: --validate >&2; exit 125", None)])
def test_a_daemon_that_cannot_validate_stops_nobody(set_options, path, dockerd, line, validated):
    result = set_options({"debug": True}, dockerd=dockerd(line))
    assert result["validated"] is validated
    assert json.loads(path.read_text()) == {"debug": True}


def test_a_running_daemon_that_has_not_read_the_file_needs_a_restart(set_options, path, tmp_path):
    started = tmp_path / "docker.pid"
    assert not set_options({"debug": True})["restart_needed"], "a daemon that does not run needs none"
    started.write_text("1")
    os.utime(str(started), (os.stat(str(path)).st_mtime + 5,) * 2)
    assert not set_options({"debug": True})["restart_needed"]
    assert set_options({"debug": False})["restart_needed"]
    os.utime(str(started), (os.stat(str(path)).st_mtime - 5,) * 2)
    again = set_options({"debug": False})
    assert again["restart_needed"], "a run that was killed before the restart is made good"
    assert not again["changed"]
    assert set_options(state="absent")["restart_needed"]
    assert not set_options(state="absent")["restart_needed"]


def test_a_killed_run_leaves_a_record_that_takes_back_nothing_wrong(given, path):
    given('{"debug": true}')
    file = rules.DaemonFile(str(path))
    planned = rules.plan(file.options, file.record, "engine", {"debug": False, "ipv6": True})
    file.write(planned)
    given('{"debug": true}')  # as if killed between record and file
    file = rules.DaemonFile(str(path))
    file.write(rules.plan(file.options, file.record, "engine", {}))
    assert path.read_text() == '{"debug": true}'
