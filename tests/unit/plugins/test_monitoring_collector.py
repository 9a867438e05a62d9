"""What the textfile collector tells of a device: its page as Prometheus reads it, of a Jetson's files, of rollouts, and on Python 3.6's own."""

import ast
import json
import pathlib
import socket
import subprocess
import sys
import threading
import types
import urllib.error

import pytest
import yaml
from ansible_collections.tfleet.serving.plugins.module_utils import monitoring_collector as collector
from ansible_collections.tfleet.serving.plugins.module_utils.commands import Commands
from ansible_collections.tfleet.serving.plugins.module_utils.device_facts import Device
from ansible_collections.tfleet.serving.plugins.module_utils.exposition import Page
from ansible_collections.tfleet.serving.plugins.module_utils.model_config import ConfigError, models_of
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_lock import ROLLED_BACK, Hold
from ansible_collections.tfleet.serving.plugins.module_utils.version_state import ensure_version

from .device_tools import DEVICES, trees
from .release_tools import make_release

UTILS = pathlib.Path(collector.__file__).parent
ROLE = pathlib.Path(__file__).parents[3] / "roles/monitoring"


# ---- the format ----
def test_labels_and_numbers_are_written_as_prometheus_reads_them():
    page = Page()
    page.add("a_total", "counter", "Of a.", 2 ** 40, path='C:\\x "y"\n', none=None)
    page.add("a_total", "counter", "Of a.", 7)
    page.add("b", "gauge", "Of b.", 0.1 + 0.2)
    page.add("c", "gauge", "Of c.", None)
    assert page.text() == ("# HELP a_total Of a.\n# TYPE a_total counter\n" 'a_total 7\na_total{path="C:\\\\x \\"y\\" "} 1099511627776\n'
                           "# HELP b Of b.\n# TYPE b gauge\nb 0.30000000000000004\n")


def test_what_is_told_twice_is_told_once():
    page = Page()
    for celsius in (40.0, 55.5, 50.0):
        page.add("t", "gauge", "T.", celsius, zone="acpitz")
    assert page.text().splitlines()[2:] == ['t{zone="acpitz"} 55.5']


# ---- the device ----
def measured(name, place, **changes):
    row = {**DEVICES[name], **changes}
    trees.build(row, place)
    roots = {root: str(place / root) for root in ("proc", "sys", "etc", "var")}
    return Device(roots, Commands([str(place / "bin")], 1), "/").measure()


def samples(readings, **labels):
    page = Page()
    collector.device_metrics(page, readings, **labels)
    return dict(line.rsplit(" ", 1) for line in page.text().splitlines() if not line.startswith("#"))


def test_a_jetson_tells_its_sensors(tmp_path):
    found = samples(measured("tx2-4.6.1", tmp_path), kind="jetson", hardware_class="tx2_l4t-32.7.1")
    assert found['tfleet_device_info{device_model="quill",hardware_class="tx2_l4t-32.7.1",kind="jetson",l4t="32.7.1"}'] == "1"
    # The zone that is off, the one that refuses and the one that lies are not there.
    assert {line for line in found if line.startswith("tfleet_thermal_zone_celsius")} == {
        'tfleet_thermal_zone_celsius{zone="CPU-therm"}', 'tfleet_thermal_zone_celsius{zone="GPU-therm"}'}
    assert found['tfleet_thermal_zone_critical_celsius{zone="CPU-therm"}'] == "96.5"
    assert found['tfleet_power_rail_watts{rail="VDD_IN"}'] == "3.056"
    assert found['tfleet_power_mode_info{mode="MAXP_CORE_ARM"}'] == "1"
    assert found["tfleet_memory_largest_free_block_bytes"] == str(4 * 2 ** 20)
    assert found["tfleet_gpu_load_ratio"] == "0.0"


@pytest.mark.parametrize("place", ["devices/gpu.0/load", "devices/platform/gpu.0/load"])
def test_the_load_of_the_gpu_is_that_of_the_kernel(place, tmp_path):
    (tmp_path / "sys" / place).parent.mkdir(parents=True)
    (tmp_path / "sys" / place).write_text("437\n")
    assert samples(measured("xavier-nx-4.6.5", tmp_path))["tfleet_gpu_load_ratio"] == "0.437"


def test_the_load_of_the_gpu_is_else_that_of_tegrastats(tmp_path):
    assert samples(measured("xavier-nx-4.6.5", tmp_path))["tfleet_gpu_load_ratio"] == "0.62"


def test_over_current_swap_and_the_kernels_log_are_told(tmp_path):
    monitor = tmp_path / "sys/class/hwmon/hwmon3"
    monitor.mkdir(parents=True)
    for name, text in {"name": "soctherm_oc", "oc1_event_cnt": "0", "oc3_event_cnt": "7"}.items():
        (monitor / name).write_text(text + "\n")
    place = trees.build(DEVICES["agx-orin-64gb-6.2.1"], tmp_path)
    trees.command(place, "dmesg", "echo '[1.0] System throttled due to Over-current'; echo '[2.0] other'; echo '[3.0] System throttled due to Over-current'")
    (place / "proc/swaps").write_text("Filename Type Size Used Priority\n/dev/zram0 partition 1024 512 5\n/mnt/8G.swap file 2048 0 -2\n")
    roots = {root: str(place / root) for root in ("proc", "sys", "etc", "var")}
    found = samples(Device(roots, Commands([str(place / "bin")], 1), "/").measure())
    assert found['tfleet_over_current_events_total{counter="oc3"}'] == "7"
    assert found["tfleet_over_current_messages"] == "2"
    assert found['tfleet_swap_used_bytes{path="/dev/zram0",type="zram"}'] == str(512 * 1024)
    assert found['tfleet_swap_size_bytes{path="/mnt/8G.swap",type="file"}'] == str(2048 * 1024)


@pytest.mark.parametrize("name", DEVICES)
def test_no_device_keeps_it_from_its_page(name, tmp_path):
    # Every sample is a name, labels and a number.
    for line, value in samples(measured(name, tmp_path)).items():
        float(value)
        assert line.startswith("tfleet_")


def test_tegrastats_that_hangs_costs_only_what_it_would_tell(tmp_path):
    place = trees.build(DEVICES["tx2-4.6.1"], tmp_path)
    trees.command(place, "tegrastats", "exec sleep 60")
    roots = {root: str(place / root) for root in ("proc", "sys", "etc", "var")}
    found = samples(Device(roots, Commands([str(place / "bin")], 1), "/").measure())
    assert 'tfleet_thermal_zone_celsius{zone="GPU-therm"}' in found and "tfleet_gpu_load_ratio" not in found


# ---- model.config ----
@pytest.mark.parametrize("text", [
    'model_config_list { config { name: "m" base_path: "/m" version_labels { key: "stable" value: 4 } version_labels { key: "canary" value: 5 } } }',
    "model_config_list: <\n config: {name: 'm', base_path: '/' 'm'; # why\n version_labels: [{key: 'canary', value: 5}, {key: 'stable' value: 4}]\n"
    "  model_version_policy { specific { versions: [4, 5] } } } >",
], ids=["ours", "any"])
def test_models_and_labels_are_read_in_every_form(text):
    assert models_of(text) == [{"name": "m", "base_path": "/m", "labels": {"stable": 4, "canary": 5}}]


@pytest.mark.parametrize("text", ["model_config_list {", 'config { name: "m }', "{}", "model_config_list { config: , }"])
def test_what_is_no_model_config_is_refused(text):
    with pytest.raises(ConfigError):
        models_of(text)


# ---- rollouts ----
def rolled(base, name="digits"):
    page = Page()
    collector.rollout_metrics(page, {"name": name, "base_path": str(base), "labels": {"stable": 1}})
    return [line for line in page.text().splitlines() if not line.startswith("#")]


def gates(base):
    return [line for line in rolled(base) if line.startswith("tfleet_rollout_gate_passed")]


@pytest.fixture
def base(tmp_path):
    """Version 2 of a model, as rollouts put it in place."""
    bring(tmp_path / "digits", src=make_release(tmp_path, 2))
    return tmp_path / "digits"


def bring(base, src=None, state="present", reason=""):
    ensure_version({"base_path": str(base), "model": "digits", "version": 2, "src": src, "state": state, "reason": reason, "keep": 0, "protect": [],
                    "owner": None, "group": None, "mode": "0644", "hardware_class": None, "reserve_bytes": 0, "trusted_keys": []}, False)


def set_aside(base, reason):
    bring(base, state="aside", reason=reason)


def note(base, **more):
    path = base / ".rollout.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **more}))


def test_a_version_that_was_rolled_back_has_failed_its_gate(base):
    assert gates(base) == []
    set_aside(base, ROLLED_BACK % ("digits-2-20261121T120000Z", "1 of 8 hosts failed: wrong\nThe last lines of the server:\n…"))
    assert gates(base) == ['tfleet_rollout_gate_passed{model="digits",rollout="digits-2-20261121T120000Z",version="2"} 0']


def test_a_version_that_a_person_set_aside_has_not(base):
    set_aside(base, "Too slow, says the line")
    assert gates(base) == []


def test_the_next_rollout_that_passes_is_the_last(base):
    set_aside(base, ROLLED_BACK % ("old", "wrong"))
    record = base / ".aside/2.json"
    record.write_text(json.dumps(dict(json.loads(record.read_text()), when="2026-01-01T00:00:00Z")))
    Hold(str(base)).take("new", "me", 3, {"labels": {}})
    assert gates(base) == ['tfleet_rollout_gate_passed{model="digits",rollout="old",version="2"} 0']
    assert [line for line in rolled(base) if line.startswith('tfleet_rollout_hold_timestamp_seconds{model="digits",rollout="new",version="3"} 1')]
    note(base, promoted=True)
    assert gates(base) == ['tfleet_rollout_gate_passed{model="digits",rollout="new",version="3"} 1']
    note(base, done=True)
    assert not [line for line in rolled(base) if "hold" in line] and gates(base)


# ---- the command ----
def test_a_page_that_cannot_be_made_leaves_the_old_one_and_says_why(tmp_path, capsys):
    config, page = tmp_path / "model.config", tmp_path / "tfleet.prom"
    config.write_text("model_config_list {")
    page.write_text("old 1\n")
    assert collector.main(["--output", str(page), "--model-config", str(config)]) == 1
    assert page.read_text() == "old 1\n"
    assert str(page) in capsys.readouterr().err


def imports(name, found=None):
    """All modules of module_utils that are there when one is; what a function imports for a container is not needed here."""
    found = set() if found is None else found
    if name in found:
        return found
    found.add(name)
    for node in ast.parse((UTILS / f"{name}.py").read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("ansible"):
            package = node.module.split(".")[5:]
            for each in package or [alias.name for alias in node.names]:
                imports(each, found)
    return found


def test_the_role_installs_all_that_it_imports():
    assert sorted(yaml.safe_load((ROLE / "vars/main.yml").read_text())["__monitoring_collector_modules"]) == sorted(imports("monitoring_collector"))


def test_it_runs_from_those_files_alone(tmp_path):
    """As the timer runs it: no Ansible, no checkout."""
    library = tmp_path / "lib/ansible_collections/tfleet/serving/plugins/module_utils"
    library.mkdir(parents=True)
    for name in imports("monitoring_collector"):
        (library / f"{name}.py").write_text((UTILS / f"{name}.py").read_text())
    place = trees.build(DEVICES["nano-4.4"], tmp_path / "device")
    roots = [f"--{root}-root={place / root}" for root in ("proc", "sys", "etc")]
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(tmp_path / 'lib')!r}); "
         "from ansible_collections.tfleet.serving.plugins.module_utils.monitoring_collector import main; sys.exit(main())",
         "--output", str(tmp_path / "tfleet.prom"), "--model-config", str(tmp_path / "none"), *roots],
        env={"PATH": f"{place / 'bin'}:/usr/bin:/bin"}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert 'tfleet_device_info{device_model="NVIDIA Jetson Nano Developer Kit",l4t="32.4.3"} 1' in (tmp_path / "tfleet.prom").read_text()


# ---- the server ----
def answering(monkeypatch, answers):
    asked = []

    def get(_server, path):
        asked.append(path)
        if path not in answers:
            raise urllib.error.HTTPError(path, 404, "Not Found", None, None)
        return answers[path]

    monkeypatch.setattr(collector, "_get", get)
    return asked


def row(version, state="AVAILABLE", code="OK"):
    return {"version": str(version), "state": state, "status": {"error_code": code, "error_message": ""}}


def served(models):
    page = Page()
    collector.server_metrics(page, "127.0.0.1:8501", models)
    return dict(line.rsplit(" ", 1) for line in page.text().splitlines() if not line.startswith("#"))


def test_a_label_that_answers_otherwise_is_drift(monkeypatch, tmp_path):
    answering(monkeypatch, {"m": {"model_version_status": [row(2), row(1, "END", "INTERNAL")]}, "m/labels/stable/metadata": {"model_spec": {"version": "2"}}})
    found = served([{"name": "m", "base_path": str(tmp_path), "labels": {"stable": 1, "canary": 2}}])
    assert {line.split("label=")[1][:8]: value for line, value in found.items() if "drift" in line} == {'"stable"': "1", '"canary"': "1"}
    assert found['tfleet_model_label_info{label="stable",model="m",server="127.0.0.1:8501",version="2"}'] == "1"
    assert found['tfleet_model_version_load_failed{model="m",server="127.0.0.1:8501",version="1"}'] == "1"


def test_nothing_is_asked_by_label_while_a_rollout_counts(monkeypatch, tmp_path):
    asked = answering(monkeypatch, {"m": {"model_version_status": [row(1)]}})
    Hold(str(tmp_path)).take("r", "me", 2, {"labels": {}})
    found = served([{"name": "m", "base_path": str(tmp_path), "labels": {"stable": 1}}])
    assert asked == ["m"] and not any("label" in line for line in found)


def test_a_server_that_is_down_is_told_once(tmp_path):
    args = types.SimpleNamespace(server="127.0.0.1:1")
    page = Page()
    collector.server_metrics(page, args.server, [{"name": name, "base_path": str(tmp_path), "labels": {"stable": 1}} for name in "ab"])
    assert [line for line in page.text().splitlines() if not line.startswith("#")] == ['tfleet_model_server_up{server="127.0.0.1:1"} 0']


OK = b"HTTP/1.0 200 OK\r\n\r\n"
STATUS = b'{"model_version_status": [{"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK"}}]}'


@pytest.fixture
def odd():
    """odd(*replies) -> address of something that answers each connection with the next of these bytes."""
    listeners = []

    def answer(listener, replies):
        for reply in replies:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(reply)

    def start(*replies):
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        threading.Thread(target=answer, args=(listener, replies), daemon=True).start()
        return "127.0.0.1:%d" % listener.getsockname()[1]

    yield start
    for listener in listeners:
        listener.close()


@pytest.mark.parametrize("reply", [b"\0\0\x18\4\0\0\r\n\r\n", OK + b"[]", OK + b'{"model_version_status": 5}', OK + b'{"model_version_status": [{}]}'],
                         ids=["no-http", "list", "number", "row"])
def test_what_is_no_model_server_is_one_that_does_not_answer(odd, tmp_path, reply):
    page, server = Page(), odd(reply)
    collector.server_metrics(page, server, [{"name": "m", "base_path": str(tmp_path), "labels": {"stable": 1}}])
    assert [line for line in page.text().splitlines() if not line.startswith("#")] == ['tfleet_model_server_up{server="%s"} 0' % server]


@pytest.mark.parametrize("reply", [b"nonsense\r\n\r\n", OK + b"[]"], ids=["no-http", "list"])
def test_a_label_that_is_answered_with_nonsense_is_drift(odd, tmp_path, reply):
    page, server = Page(), odd(OK + STATUS, reply)
    collector.server_metrics(page, server, [{"name": "m", "base_path": str(tmp_path), "labels": {"stable": 1}}])
    assert 'tfleet_model_label_drift{label="stable",model="m",server="%s"} 1' % server in page.text().splitlines()
