"""The launcher's throw-away containers: what they are given, and what is said when they cannot start. Molecule's scenario `container` runs real ones."""

import csv
import json
import os
import stat

import pytest
from ansible_collections.tfleet.serving.plugins.module_utils import container_runtime, runtime
from ansible_collections.tfleet.serving.plugins.module_utils.container_runtime import ContainerRuntime, mounts

IMAGE = "tfleet-runtime:current"
# Stands in for the client: answers like the runtime with the arguments it was given, and knows one image.
DOCKER = r"""#!%s
import json, os, sys
args = sys.argv[1:]
with open(os.environ["CALLS"], "a") as calls:
    calls.write(json.dumps(args) + "\n")
if args[:2] == ["image", "inspect"]:
    sys.exit(0 if args[-1] == "tfleet-runtime:current" else "Error: No such image: " + args[-1])
if args[0] == "run":
    exec(os.environ.get("RUN", "print(json.dumps({'ok': True, 'argv': args, 'token': os.environ.get('HUB_TOKEN')}))"))
"""


@pytest.fixture
def docker(tmp_path, monkeypatch):
    """A docker command in PATH; calling it returns the calls so far."""
    import sys

    path = tmp_path / "bin/docker"
    path.parent.mkdir()
    path.write_text(DOCKER % sys.executable)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(path.parent))
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    return lambda: [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]


def options(argv):
    """``{option: [values]}`` of a docker command up to its image."""
    found = {}
    words = argv[: argv.index(IMAGE)]
    for option, value in zip(words, words[1:] + [""]):
        if option.startswith("--"):
            found.setdefault(option, []).append("" if value.startswith("--") else value)
    return found


def mounted(argv):
    """``{path: writable}`` as Docker itself reads the option."""
    result = {}
    for value in options(argv).get("--mount", []):
        fields = dict(field.partition("=")[::2] for field in next(csv.reader([value])))
        assert fields["type"] == "bind" and fields["source"] == fields["target"]
        result[fields["source"]] = "readonly" not in fields
    return result


@pytest.mark.usefixtures("docker")
def test_a_command_gets_nothing_that_it_does_not_need():
    argv = ContainerRuntime(IMAGE).run("inspect", ["/srv/x"])["argv"]
    assert argv[argv.index(IMAGE):] == [IMAGE, "inspect", "/srv/x", "--json"]
    given = options(argv)
    assert given["--network"] == ["none"] and given["--cap-drop"] == ["ALL"] and given["--security-opt"] == ["no-new-privileges"]
    assert given["--user"] == ["%d:%d" % (os.geteuid(), os.getegid())]
    assert {"--rm", "--init", "--read-only", "--no-healthcheck"} <= set(given)
    assert not {"--privileged", "--gpus", "--runtime", "--memory", "--mount"} & set(given)
    assert given.get("--cap-add", []) == (["DAC_OVERRIDE"] if os.geteuid() == 0 else [])


@pytest.mark.usefixtures("docker")
def test_each_container_has_a_name_of_its_own():
    names = [options(ContainerRuntime(IMAGE).run("probe")["argv"])["--name"][0] for _ in range(2)]
    assert names[0] != names[1] and all(name.startswith("tfleet-probe-") for name in names)


@pytest.mark.usefixtures("docker")
def test_paths_are_mounted_where_they_are_and_only_as_writable_as_needed(tmp_path):
    golden, odd = tmp_path / "golden.npz", tmp_path / 'a,b "c".png'
    golden.touch()
    odd.touch()
    reads = [str(golden), str(odd), str(tmp_path / "missing")]
    argv = ContainerRuntime(IMAGE).run("predict", reads=reads, writes=[str(tmp_path / "bin/new/picture.png")])["argv"]
    assert mounted(argv) == {str(golden): False, str(odd): False, str(tmp_path / "bin"): True}


def test_what_lies_in_a_writable_directory_is_not_mounted_again(tmp_path):
    (tmp_path / "source").touch()
    assert mounts([str(tmp_path / "source")], [str(tmp_path / "dest")]) == {str(tmp_path): True}


@pytest.mark.parametrize("reads, writes, words", [
    (["model.pb"], [], "`model.pb` is relative"),
    ([], ["out"], "`out` is relative"),
    ([], ["/nowhere-at-all/model"], "root directory"),
])
def test_paths_that_a_container_cannot_be_given(reads, writes, words):
    with pytest.raises(runtime.RuntimeFailure, match=words):
        mounts(reads, writes)


@pytest.mark.parametrize("gpu, expected", [
    ("", []),
    ("nvidia", ["--runtime", "nvidia", "--env", "NVIDIA_VISIBLE_DEVICES=all"]),
    ("all", ["--gpus", "all"]),
    ("1", ["--gpus", '"device=1"']),
])
def test_a_gpu_is_given_as_the_kind_of_host_needs_it(gpu, expected):
    assert container_runtime.gpu_arguments(gpu) == expected


@pytest.mark.usefixtures("docker")
def test_a_server_is_reached_over_the_network_of_the_host_or_by_its_socket(tmp_path):
    (tmp_path / "server.sock").touch()
    over_tcp = ContainerRuntime(IMAGE).run("status", **runtime.reaching("127.0.0.1:8500"))["argv"]
    by_socket = ContainerRuntime(IMAGE).run("status", **runtime.reaching("unix:%s/server.sock" % tmp_path))["argv"]
    assert options(over_tcp)["--network"] == ["host"] and mounted(over_tcp) == {}
    assert options(by_socket)["--network"] == ["none"] and mounted(by_socket) == {str(tmp_path / "server.sock"): False}


@pytest.mark.usefixtures("docker")
def test_values_of_variables_never_stand_in_the_command(monkeypatch):
    answer = ContainerRuntime(IMAGE, env={"HUB_TOKEN": "tok-3"}, memory="1g").run("export")
    assert "tok-3" not in json.dumps(answer["argv"]) and answer["token"] == "********"
    given = options(answer["argv"])
    assert {"HUB_TOKEN", "LC_ALL"} <= set(given["--env"]) and given["--memory"] == ["1g"]


def failure(monkeypatch, run, **how):
    monkeypatch.setenv("RUN", run)
    with pytest.raises(runtime.RuntimeFailure) as caught:
        ContainerRuntime(IMAGE, **how).run("export")
    return str(caught.value)


@pytest.mark.usefixtures("docker")
@pytest.mark.parametrize("status, words", [
    (125, ["refused the container", "nvidia_container_toolkit", "it said so"]),
    (126, ["not the tfleet runtime image", "it said so"]),
    (127, ["not the tfleet runtime image", "`runtime_image`"]),
    (134, ["aborted in native code", "libnvinfer"]),
    (137, ["may use 1g of memory", "`runtime_memory`", "was killed"]),
])
def test_the_end_of_a_container_becomes_a_sentence(monkeypatch, status, words):
    text = failure(monkeypatch, "print('it said so', file=sys.stderr); sys.exit(%d)" % status, memory="1g")
    for word in words + [IMAGE, os.uname().nodename]:
        assert word in text


def test_a_container_that_is_too_slow_is_removed(docker, monkeypatch):
    assert "within 1 seconds" in failure(monkeypatch, "import time; time.sleep(60)", timeout=1)
    calls = docker()
    name = options(next(call for call in calls if call[0] == "run"))["--name"][0]
    assert calls[-1] == ["rm", "--force", name]


@pytest.mark.usefixtures("docker")
def test_an_image_that_is_not_there_is_a_missing_runtime_and_nothing_is_pulled():
    with pytest.raises(runtime.RuntimeMissing, match=r"no image other:1.*tensorflow_runtime"):
        ContainerRuntime("other:1").run("status")


def test_a_host_without_docker_is_a_missing_runtime(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(runtime.RuntimeMissing, match="docker_engine"):
        ContainerRuntime(IMAGE).run("status")


def test_a_module_chooses_the_container_by_its_option(docker, run_module, tmp_path, monkeypatch):
    graph = tmp_path / "graph.pb"
    graph.touch()
    monkeypatch.setenv("RUN", "print(json.dumps({'ok': True, 'argv': args}))")
    argv = run_module("saved_model_info", path=str(graph), runtime_image=IMAGE, runtime_memory="2g")["argv"]
    assert mounted(argv) == {str(graph): False} and options(argv)["--memory"] == ["2g"]
    later = run_module("saved_model_info", check=True, path=str(graph), runtime_image="other:1")
    assert "has no image other:1" in later["msg"] and not later.get("failed")
