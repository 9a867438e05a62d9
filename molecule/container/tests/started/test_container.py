"""The container has what it needs and nothing else."""

import json

import pytest

CONTAINER = "tfleet-model-server"


def test_it_runs_and_has_never_been_restarted(host, container):
    log = host.run(f"docker container logs --tail 50 {CONTAINER}").stderr
    assert container["State"]["Running"], log
    assert container["RestartCount"] == 0, log


def test_its_own_health_check_passes(host, container):
    done = host.run(f"docker exec {CONTAINER} {' '.join(container['Config']['Healthcheck']['Test'][1:])}")
    assert done.rc == 0, done.stdout + done.stderr
    assert container["State"]["Health"]["Status"] in ("healthy", "starting")


@pytest.mark.parametrize(("setting", "value"), [
    ("RestartPolicy", {"Name": "unless-stopped", "MaximumRetryCount": 0}),
    ("Init", True),
    ("ReadonlyRootfs", True),
    ("Privileged", False),
    ("CapDrop", ["ALL"]),
    ("SecurityOpt", ["no-new-privileges:true"]),
    ("Memory", 2 * 2**30),
    ("LogConfig", {"Type": "json-file", "Config": {"max-file": "3", "max-size": "10m"}}),
])
def test_the_engine_confines_it(container, setting, value):
    assert container["HostConfig"][setting] == value


def test_it_gets_no_capability_back(container):
    assert not container["HostConfig"]["CapAdd"]


def test_its_ports_are_published_on_the_configured_address_alone(host, container):
    assert container["HostConfig"]["PortBindings"] == {f"{port}/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(port)}] for port in (8500, 8501)}
    lines = host.check_output("ss --no-header --listening --tcp --numeric --processes").splitlines()
    # Each host has its sshd, and the engine's containerd takes a port of loopback for attached terminals.
    ours = {line.split()[3] for line in lines if not line.split()[3].endswith(":22") and '("containerd",' not in line}
    assert ours == {"127.0.0.1:8500", "127.0.0.1:8501"}


def test_it_sees_its_models_and_configuration_read_only_at_their_own_places(container):
    mounts = {mount["Destination"]: (mount["Source"], mount["RW"]) for mount in container["Mounts"]}
    assert mounts == {
        "/etc/tfleet": ("/etc/tfleet", False),
        "/var/lib/tfleet/models": ("/var/lib/tfleet/models", False),
        "/var/lib/tfleet-model-server": ("/var/lib/tfleet-model-server", True),
    }


def test_the_process_is_the_user_of_the_server_and_has_no_rights(host):
    pids = host.check_output(f"docker container top {CONTAINER} -o pid").split()[1:]
    assert pids
    for pid in pids:
        fields = dict(line.split(":", 1) for line in host.file(f"/proc/{pid}/status").content_string.splitlines())
        assert set(fields["Uid"].split()) == {str(host.user("tfleet").uid)}
        assert int(fields["CapEff"], 16) == 0
        assert fields["NoNewPrivs"].strip() == "1"


def test_nothing_secret_is_left_of_the_build(host):
    assert host.check_output("ls -A /opt/tfleet/image") == "context.tar"


def test_the_image_says_what_it_is(host):
    image = json.loads(host.check_output("docker image inspect tfleet-runtime:current"))[0]
    labels = image["Config"]["Labels"]
    assert labels["tfleet.image"] == "runtime"
    assert labels["org.opencontainers.image.base.name"] == "tfleet-test-base:latest"
    # Its other name is the digest of its content.
    assert sorted(image["RepoTags"]) == sorted(["tfleet-runtime:current", f"tfleet-runtime:{labels['tfleet.context'][:12]}"])
    assert image["Config"]["User"] == "8500:8500"


def test_a_command_that_needs_more_memory_than_its_limit_dies_alone(host, container):
    graph = "/opt/tfleet/image/dependencies/requirements-pinned.txt"
    done = host.run(f"docker run --rm --memory 40m --volume {graph}:/graph.pb:ro tfleet-runtime:current inspect /graph.pb --json")
    assert done.rc == 137
    again = json.loads(host.check_output(f"docker container inspect {CONTAINER}"))[0]
    assert again["State"]["StartedAt"] == container["State"]["StartedAt"]
