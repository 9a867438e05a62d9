"""nvidia_container_info on commands that answer as the real ones do; `docker info` is Docker's own answer, cut down."""

import json
import os

import pytest

# From Docker 27.5.1 with the runtime registered, and from a client without a daemon.
INFO = {
    "ServerVersion": "27.5.1",
    "Runtimes": {"nvidia": {"path": "nvidia-container-runtime"}, "io.containerd.runc.v2": {"path": "runc"}, "runc": {"path": "runc"}},
    "DefaultRuntime": "nvidia", "CgroupDriver": "systemd", "SecurityOptions": ["name=apparmor", "name=seccomp,profile=builtin", "name=cgroupns"],
}
SILENT = {"ServerErrors": ["Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"], "ClientInfo": {}}


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """``tools(name, script)`` puts a command before all others; docker and the driver's command are nowhere else."""
    place = tmp_path / "bin"
    place.mkdir()
    monkeypatch.setenv("PATH", "%s:%s" % (place, os.environ["PATH"]))

    def put(name, script):
        (place / name).write_text("#!/bin/sh\n" + script + "\n")
        (place / name).chmod(0o755)

    return put


@pytest.fixture
def observe(run_module, tmp_path):
    def run(check=False, **parameters):
        defaults = {"daemon_options": str(tmp_path / "daemon.json"), "csv_directory": str(tmp_path), "snap": str(tmp_path / "snap")}
        result = run_module("nvidia_container_info", check=check, **dict(defaults, **parameters))
        assert result["changed"] is False
        return result["observations"]

    return run


def test_a_server_with_everything(tools, observe, tmp_path):
    tools("docker", "cat <<'END'\n%s\nEND" % json.dumps(INFO))
    tools("nvidia-smi", '[ "$*" = "--query-gpu=index --format=csv,noheader" ] && printf "0\\n1\\n"')
    tools("nvidia-container-runtime", "exit 0")
    (tmp_path / "daemon.json").write_text('{"runtimes": {"nvidia": {"path": "nvidia-container-runtime", "args": []}}}')
    seen = observe(devices=["/dev/null", str(tmp_path)])
    assert seen == {
        "docker": {"version": "27.5.1", "runtimes": ["io.containerd.runc.v2", "nvidia", "runc"], "default_runtime": "nvidia", "cgroup_driver": "systemd",
                   "rootless": False},
        "snap": False, "runtime_installed": True, "runtime_registered": True, "devices": {"/dev/null": True, str(tmp_path): False}, "gpus": 2,
        "stale_files": [], "csv": {}, "test": None, "messages": {},
    }


@pytest.mark.parametrize("script", ["echo '%s'" % json.dumps(SILENT).replace("'", ""), "echo nonsense >&2; exit 1"])
def test_docker_that_does_not_answer(tools, observe, script):
    tools("docker", script)
    seen = observe()
    assert seen["docker"] is None
    assert seen["messages"]["docker info"]


def test_a_driver_that_does_not_work(tools, observe):
    tools("nvidia-smi", "echo \"NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\"; exit 9")
    seen = observe()
    assert seen["gpus"] is None
    assert "couldn't communicate" in seen["messages"]["nvidia-smi"]


def test_the_files_of_a_jetson(observe, tmp_path):
    (tmp_path / "tensorrt.csv").write_text("lib, %s/libnvinfer.so.8\nlib, %s/tensorrt.csv\ndir, %s/*.csv\nnonsense\n" % ((tmp_path,) * 3))
    (tmp_path / "l4t.csv").write_text("dev, /dev/nvhost-none\n")
    seen = observe(csv_files=["l4t.csv", "cuda.csv", "tensorrt.csv"], csv_targets=["tensorrt.csv"], stale_files=[str(tmp_path / "l4t.csv"), "/no/such"])
    assert seen["csv"] == {
        "l4t.csv": {"exists": True, "missing": []},
        "cuda.csv": {"exists": False, "missing": []},
        "tensorrt.csv": {"exists": True, "missing": ["%s/libnvinfer.so.8" % tmp_path]},
    }
    assert seen["stale_files"] == [str(tmp_path / "l4t.csv")]


def test_a_test_container_runs_in_earnest_only(tools, observe, tmp_path):
    tools("prove", 'touch %s/ran; echo "could not select device driver" >&2; exit 125' % tmp_path)
    assert observe(check=True, test=["prove", "--gpus"])["test"] is None
    assert not (tmp_path / "ran").exists()
    seen = observe(test=["prove", "--gpus"])
    assert seen["test"] is False and seen["messages"]["prove --gpus"] == "could not select device driver"
