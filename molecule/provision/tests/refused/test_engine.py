"""The engine on both hosts, provisioned and through everything that was refused since: it runs, with its options, and so do containers."""

import json

testinfra_hosts = ["ansible://gpu_servers", "ansible://jetsons"]


def test_the_engine_runs_and_will_run_after_a_reboot(host):
    service = host.service("docker")
    assert service.is_running, host.run("journalctl --no-pager --lines 50 --unit docker").stdout
    assert service.is_enabled


def test_it_runs_containers(container):
    done = container()
    assert done.rc == 0, done.stderr


def test_options_are_there_beside_each_other(host, docker_info):
    options = json.loads(host.file("/etc/docker/daemon.json").content_string)
    assert options["log-opts"] == {"max-size": "10m", "max-file": "3"}
    assert "nvidia" in docker_info["Runtimes"]
