"""The unit runs, is confined, and its journal is shown when it is not."""

import pytest

UNIT = "tfleet-model-server.service"
HARDENING = {
    "User": "tfleet",
    "Group": "tfleet",
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectKernelModules": "yes",
    "ProtectControlGroups": "yes",
    "RestrictSUIDSGID": "yes",
    "LockPersonality": "yes",
    "CapabilityBoundingSet": "",
    "AmbientCapabilities": "",
}


def test_the_unit_runs_and_will_run_after_a_reboot(host):
    service = host.service(UNIT)
    journal = host.run(f"journalctl --no-pager --lines 50 --unit {UNIT}").stdout
    assert service.is_running, journal
    assert service.is_enabled
    assert host.service(UNIT).systemd_properties["NRestarts"] == "0", journal


@pytest.mark.parametrize("name", HARDENING)
def test_systemd_confines_the_unit(host, name):
    assert host.service(UNIT).systemd_properties.get(name, "") == HARDENING[name]


@pytest.fixture
def process(host):
    """Path of the server's directory in /proc."""
    return f"/proc/{host.service(UNIT).systemd_properties['MainPID']}"


def test_the_process_has_no_rights(host, process):
    fields = dict(line.split(":", 1) for line in host.file(f"{process}/status").content_string.splitlines())
    assert set(fields["Uid"].split()) == {str(host.user("tfleet").uid)}
    assert int(fields["CapEff"], 16) == 0
    assert fields["NoNewPrivs"].strip() == "1"


@pytest.mark.parametrize("path", ["/var/lib/tfleet/models/digits", "/etc/tfleet/model.config", "/opt/tfleet/venv"])
def test_the_process_sees_its_models_and_configuration_read_only(host, process, path):
    mounts = [line.split() for line in host.file(f"{process}/mounts").content_string.splitlines()]
    covering = max((mount for mount in mounts if f"{path}/".startswith(mount[1].rstrip("/") + "/")), key=lambda mount: len(mount[1]))
    assert "ro" in covering[3].split(",")


def test_nothing_but_ssh_listens_beyond_the_loopback_address(host):
    lines = host.check_output("ss --no-header --listening --tcp --numeric").splitlines()
    listening = {line.split()[3].replace("[::ffff:127.0.0.1]", "127.0.0.1") for line in lines}
    assert {address for address in listening if not address.endswith(":22")} == {"127.0.0.1:8500", "127.0.0.1:8501"}
