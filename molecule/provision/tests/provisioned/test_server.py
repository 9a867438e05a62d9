"""The server: Docker's own packages, pinned and held, on the second disk, behind a proxy, and containers with the GPU."""

import json

import pytest

testinfra_hosts = ["ansible://gpu_servers"]
HIDDEN = "not-in-any-log"


def test_the_pinned_version_is_there_and_held_though_a_newer_one_is_offered(host):
    assert host.package("docker-ce").version == "5:27.5.1-1~debian.12~bookworm"
    assert set(host.check_output("apt-mark showhold").split()) >= {"docker-ce", "docker-ce-cli", "containerd.io"}
    assert "5:28.0.1" in host.check_output("apt-cache madison docker-ce")


def test_images_are_on_the_second_disk(host, docker_info):
    assert docker_info["DockerRootDir"] == "/data/docker"
    assert "/data" in host.service("docker").systemd_properties["RequiresMountsFor"]


def test_the_daemon_has_its_mirror_and_its_proxy(docker_info):
    assert docker_info["RegistryConfig"]["Mirrors"] == ["https://mirror.example.net/"]
    assert docker_info["HttpProxy"] == "http://xxxxx:xxxxx@127.0.0.1:9"


def test_root_is_logged_in(host):
    file = host.file("/root/.docker/config.json")
    assert list(json.loads(file.content_string)["auths"]) == ["127.0.0.1:5000"]
    assert file.mode == 0o600


@pytest.mark.parametrize("command", ["systemctl show docker", "systemctl cat docker", "journalctl --no-pager", "docker info", "ps -eo args"])
def test_no_secret_is_shown(host, command):
    assert HIDDEN not in host.check_output(command)


def test_no_secret_is_in_a_file_that_others_may_read(host):
    # The registry's own source is the test's.
    assert host.run(f"find /etc /run /var/lib/tfleet /var/log -type f -perm /044 -exec grep --text --files-with-matches {HIDDEN} {{}} +").stdout == ""


@pytest.mark.parametrize("name", ["nvidia-container-toolkit", "nvidia-container-toolkit-base", "libnvidia-container-tools", "libnvidia-container1"])
def test_all_parts_of_the_toolkit_have_the_pinned_version(host, name):
    assert host.package(name).version == "1.20.0-1"
    assert name in host.check_output("apt-mark showhold").split()


def test_the_entry_of_years_ago_is_out_of_the_way(host):
    names = host.file("/etc/apt/sources.list.d").listdir()
    assert "nvidia-docker.list" not in names
    assert host.run("apt-get update").stderr == ""


def test_gpus_and_the_runtime_work_and_the_default_runtime_is_dockers_own(host, docker_info, container):
    assert docker_info["DefaultRuntime"] == "runc"
    for options in (["--gpus", "all"], ["--gpus", "device=0"], ["--runtime", "nvidia"]):
        done = container(*options)
        assert done.rc == 0, done.stderr
    assert host.file("/run/nvidia-container-runtime-hook.asked").exists


def test_ansibles_docker_modules_have_what_they_need(host):
    assert host.run("/usr/bin/python3 -c 'import requests'").rc == 0
