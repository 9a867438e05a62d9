"""Which known failure a host has: by what its commands and files say, as the fact page and the real tools word it."""

import copy

import pytest
from ansible_collections.tfleet.serving.plugins.module_utils import container_findings as rules
from ansible_collections.tfleet.serving.plugins.module_utils.hardware_data import load

GOOD = {
    "docker": {"version": "27.5.1", "runtimes": ["nvidia", "runc"], "default_runtime": "nvidia", "cgroup_driver": "cgroupfs", "rootless": False},
    "snap": False,
    "runtime_installed": True,
    "runtime_registered": True,
    "devices": {"/dev/nvidiactl": True, "/dev/nvidia0": True},
    "gpus": 1,
    "stale_files": [],
    "csv": {},
    "test": None,
    "messages": {},
}
GPUS = 'docker: Error response from daemon: could not select device driver "" with capabilities: [[gpu]].'
LIBRARY = (
    "docker: Error response from daemon: failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: "
    "unable to start container process: error during container init: error running prestart hook #0: exit status 1, stdout: , stderr: Auto-detected mode "
    "as 'legacy'\nnvidia-container-cli: initialization error: load library failed: libnvidia-ml.so.1: cannot open shared object file: no such file or "
    "directory: unknown."
)
RUNTIME = "docker: Error response from daemon: unknown or invalid runtime name: nvidia."
HOOK = (
    "nvidia-container-cli.real: mount error: ... invoking the NVIDIA Container Runtime Hook directly (e.g. specifying the docker --gpus flag) is not "
    "supported. Please use the NVIDIA Container Runtime (e.g. specify the --runtime=nvidia flag) instead: unknown."
)


def host(**changes):
    seen = copy.deepcopy(GOOD)
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(seen[key], dict):
            seen[key].update(value)
        else:
            seen[key] = value
    return seen


def found(kind, **changes):
    return [(finding["id"], finding["level"]) for finding in rules.container_findings(host(**changes), kind)]


@pytest.mark.parametrize("kind", ["gpu_server", "jetson"])
def test_a_good_host_has_none(kind):
    assert found(kind) == []


@pytest.mark.parametrize(("kind", "changes", "expected"), [
    ("gpu_server", {"snap": True, "runtime_installed": False}, ["snap_docker", "toolkit_missing"]),
    ("gpu_server", {"docker": {"rootless": True}}, ["rootless_docker"]),
    ("gpu_server", {"runtime_installed": False}, ["toolkit_missing"]),
    ("gpu_server", {"docker": {"runtimes": ["runc"]}}, ["docker_not_restarted"]),
    ("jetson", {"docker": {"runtimes": ["runc"]}, "runtime_registered": False}, ["runtime_unregistered"]),
    ("gpu_server", {"gpus": None}, ["driver_missing"]),
    ("gpu_server", {"gpus": 0}, ["driver_missing"]),
    ("gpu_server", {"devices": {"/dev/nvidiactl": False, "/dev/nvidia0": False}}, ["device_nodes_missing"]),
    ("jetson", {"devices": {"/dev/nvidiactl": False, "/dev/nvidia0": False}}, ["jetson_device_nodes_missing"]),
    ("gpu_server", {"stale_files": ["/etc/apt/sources.list.d/nvidia-docker.list"]}, ["signed_by_conflict"]),
    ("jetson", {"docker": {"default_runtime": "runc"}}, ["default_runtime"]),
    ("gpu_server", {"docker": {"default_runtime": "runc"}}, []),
    ("jetson", {"csv": {"l4t.csv": {"exists": False, "missing": []}}}, ["csv_files_missing"]),
    ("jetson", {"csv": {"tensorrt.csv": {"exists": True, "missing": ["/usr/lib/aarch64-linux-gnu/libnvinfer.so.8"]}}}, ["csv_targets_missing"]),
])
def test_what_the_host_shows(kind, changes, expected):
    assert found(kind, **changes) == [(name, "failure") for name in expected]


def test_what_will_fail_later_is_a_warning_and_a_failure_once_it_does():
    assert found("gpu_server", docker={"cgroup_driver": "systemd"}) == [("nvml_after_reload", "warning")]
    assert found("jetson", docker={"cgroup_driver": "systemd"}) == []
    said = {"docker run": "Failed to initialize NVML: Unknown Error"}
    assert found("gpu_server", docker={"cgroup_driver": "systemd"}, test=False, messages=said) == [("nvml_after_reload", "failure")]


@pytest.mark.parametrize(("kind", "text", "changes", "expected"), [
    ("gpu_server", GPUS, {"runtime_installed": False}, ["toolkit_missing"]),
    ("gpu_server", GPUS, {"docker": {"runtimes": ["runc"]}}, ["docker_not_restarted"]),
    ("gpu_server", GPUS, {}, ["snap_docker", "rootless_docker", "toolkit_missing", "docker_not_restarted"]),
    ("gpu_server", LIBRARY, {"gpus": None}, ["driver_missing"]),
    ("gpu_server", LIBRARY, {}, ["driver_missing"]),
    ("jetson", RUNTIME, {"docker": {"runtimes": ["runc"]}, "runtime_registered": False}, ["runtime_unregistered"]),
    ("jetson", HOOK, {}, ["gpus_on_jetson"]),
    ("gpu_server", "E: Conflicting values set for option Signed-By regarding source https://nvidia.github.io/ /", {}, ["signed_by_conflict"]),
])
def test_what_a_test_container_says(kind, text, changes, expected):
    findings = rules.container_findings(host(test=False, messages={"docker run": text}, **changes), kind)
    assert [finding["id"] for finding in findings] == expected
    assert all(finding["because"] and finding["cure"] for finding in findings)


def test_a_message_that_nobody_knows_is_told_whole():
    (finding,) = rules.container_findings(host(test=False, messages={"docker run x": "no space left on device"}), "jetson")
    assert (finding["id"], finding["because"]) == ("unknown", "docker run x: no space left on device")


def test_docker_that_does_not_answer_comes_first():
    seen = dict(host(), docker=None, messages={"docker info": "Cannot connect to the Docker daemon at unix:///var/run/docker.sock."})
    (finding,) = rules.container_findings(seen, "gpu_server")
    assert finding["id"] == "docker_silent" and "Cannot connect" in finding["because"]


def test_every_row_of_the_table_can_be_found():
    for row in load("docker")["failures"]:
        assert row["condition"] or row["says"], row["id"]
        assert row["condition"] is None or row["condition"] in rules.CONDITIONS, row["id"]
        assert row["cause"][0].islower() or row["cause"].startswith(("NVIDIA", "Docker", "CUDA")), row["id"]
    assert {row["condition"] for row in load("docker")["failures"] if row["condition"]} == set(rules.CONDITIONS)


JETSON = "https://repo.download.nvidia.com/jetson"


@pytest.mark.parametrize(("l4t", "soc", "text"), [
    ("32.7.1", "tegra186", f"deb {JETSON}/common r32.7 main\ndeb {JETSON}/t186 r32.7 main\n"),
    ("36.4.3", "tegra234", f"deb {JETSON}/common r36.4 main\ndeb {JETSON}/t234 r36.4 main\ndeb {JETSON}/ffmpeg r36.4 main\n"),
    ("36.4.3", "tegra234", f"# comment\ndeb [arch=arm64 signed-by=/etc/key.asc] {JETSON}/common r36.4 main\ndeb [arch=arm64] {JETSON}/t234 r36.4 main"),
    ("38.2.0", "tegra264", f"deb {JETSON}/common r38.2 main\ndeb {JETSON}/som r38.2 main\n"),
])
def test_the_repository_of_the_jetsons_own_l4t_is_good(l4t, soc, text):
    assert rules.l4t_source_faults(text, l4t, soc) == []


@pytest.mark.parametrize(("text", "said"), [
    ("", "no active line for common and t186"),
    (f"#deb {JETSON}/common r32.7 main\n#deb {JETSON}/t186 r32.7 main\n", "no active line for common and t186"),
    (f"deb {JETSON}/common r32.7 main\n", "no active line for t186"),
    (f"deb {JETSON}/common r32.7 main\ndeb {JETSON}/<SOC> r32.7 main\n", "placeholder <SOC>"),
    (f"deb {JETSON}/common r35.1 main\ndeb {JETSON}/t186 r35.1 main\n", "its lines are for r35.1, and the Jetson has L4T 32.7.1 (r32.7)"),
])
def test_any_other_repository_is_not(text, said):
    (fault,) = rules.l4t_source_faults(text, "32.7.1", "tegra186")
    assert said in fault


def test_a_mirror_is_known_by_its_address():
    text = "deb http://mirror/l4t/common r32.7 main\ndeb http://mirror/l4t/t210 r32.7 main\n"
    assert rules.l4t_source_faults(text, "32.7.6", "tegra210", "http://mirror/l4t") == []
    assert rules.l4t_source_faults(text, "32.7.6", "tegra210")
