"""The real parts together: a model server, the web gateway, the node exporter with the collector's page, and Prometheus as the role configures it."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest
import yaml
from ansible_collections.tfleet.serving.plugins.module_utils import monitoring_collector
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_lock import ROLLED_BACK, Hold
from ansible_collections.tfleet.serving.plugins.module_utils.version_state import ensure_version

from ..conformance.live_server import free_ports
from ..fixtures.devices import build as trees
from ..unit.plugins.release_tools import make_release
from .conftest import CHECKOUT, DASHBOARD, expressions, metrics

TFLEET = [sys.executable, "-m", "tfleet"]
ROLLOUT = "digits-2-20261121T120000Z"
DEVICE, AWAY = "line-3-camera-1", "line-3-camera-2"
TOKEN = "not-in-any-configuration"
# What Prometheus makes itself.
OWN = {"up", "ALERTS"}
START_SECONDS = 120


def get(url):
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10) as answer:
        return answer.read().decode()


def wait_for(what, check, log):
    end = time.time() + START_SECONDS
    while True:
        try:
            found = check()
        except OSError:
            found = None
        if found:
            return found
        assert time.time() < end, f"{what} did not come. {log.read_text()[-3000:]}"
        time.sleep(0.3)


@pytest.fixture(scope="module")
def processes():
    """``start(log, *argv)``: what was started ends with the tests."""
    started = []

    def start(log, *argv):
        with open(log, "wb") as stream:
            started.append(subprocess.Popen([str(word) for word in argv], stdin=subprocess.DEVNULL, stdout=stream, stderr=stream))

    yield start
    for process in started:
        process.terminate()
    for process in started:
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("monitoring")


@pytest.fixture(scope="module")
def ports():
    return dict(zip(("grpc", "rest", "gateway", "node", "prometheus", "nobody"), free_ports(6)))


def model(name, base, labels):
    texts = "".join('version_labels { key: "%s" value: %d } ' % item for item in labels.items())
    return f'config {{ name: "{name}" base_path: "{base}" model_platform: "tensorflow" model_version_policy {{ all {{}} }} {texts}}} '


@pytest.fixture(scope="module")
def server(work, ports, processes):
    """`tfleet serve` with versions 1 and 3 of digits, whose version 2 a rollout took back."""
    base = work / "models/digits"
    subprocess.run([*TFLEET, "export", str(CHECKOUT / "models/digits/1/frozen_graph.pb"), str(base / "1"), "--signatures", json.dumps(
        {"serving_default": {"inputs": {"images": "images:0"}, "outputs": {"scores": "scores:0", "classes": "classes:0"}}})], check=True, timeout=120)
    # The label canary is on the same model under another number.
    shutil.copytree(base / "1", base / "3")
    for state, src in (("present", make_release(work, 2)), ("aside", None)):
        ensure_version({"base_path": str(base), "model": "digits", "version": 2, "src": src, "state": state, "keep": 0, "protect": [], "owner": None,
                        "reason": ROLLED_BACK % (ROLLOUT, "wrong answers"), "group": None, "mode": "0644", "hardware_class": None, "reserve_bytes": 0,
                        "trusted_keys": []}, False)
    config = work / "model.config"
    config.write_text("model_config_list { %s}" % model("digits", base, {"stable": 1, "canary": 3}))
    (work / "monitoring.pbtxt").write_text("prometheus_config { enable: true }\n")
    processes(work / "server.log", *TFLEET, "serve", f"--port={ports['grpc']}", f"--rest_api_port={ports['rest']}", f"--model_config_file={config}",
              f"--monitoring_config_file={work / 'monitoring.pbtxt'}", "--allow_version_labels_for_unavailable_models=true",
              "--tensorflow_intra_op_parallelism=1", "--tensorflow_inter_op_parallelism=1")
    waited = subprocess.run([*TFLEET, "status", "--address", f"127.0.0.1:{ports['grpc']}", "--wait", "digits=1", "digits=3",
                             "--timeout", str(START_SECONDS)], capture_output=True, text=True, check=False)
    assert waited.returncode == 0, waited.stdout + waited.stderr + (work / "server.log").read_text()[-3000:]
    # The collector's model.config has one more: that a rollout holds, and that this server does not know.
    held = work / "models/held"
    held.mkdir()
    Hold(str(held)).take("held-5-20261121T120000Z", "me", 5, {"labels": {}})
    config.write_text("model_config_list { %s%s}" % (model("digits", base, {"stable": 1, "canary": 3}), model("held", held, {"stable": 4})))
    return config


@pytest.fixture(scope="module")
def gateway(work, ports, processes):
    """``ask()`` for a picture: the web gateway of that model server and of one that is away."""
    (work / "token").write_text(TOKEN)
    (work / "gateway.json").write_text(json.dumps({
        "listen": f"127.0.0.1:{ports['gateway']}", "servers": [f"127.0.0.1:{ports[name]}" for name in ("grpc", "nobody")], "models": [{"name": "digits"}],
        "token_file": "token"}))
    processes(work / "gateway.log", *TFLEET, "gateway", "--config", work / "gateway.json")
    url, picture = f"http://127.0.0.1:{ports['gateway']}", (CHECKOUT / "models/digits_detector/scene.png").read_bytes()
    wait_for("The gateway", lambda: get(f"{url}/healthz"), work / "gateway.log")

    def ask():
        return json.loads(get(urllib.request.Request(f"{url}/api/v1/models/digits:predict", picture, {"Authorization": f"Bearer {TOKEN}"})))

    # The model server has not been started yet: the first of the answers that the alert counts.
    with pytest.raises(urllib.error.HTTPError, match="503") as refused:
        ask()
    refused.value.close()
    return ask


@pytest.fixture(scope="module")
def node(work, ports, processes, server, tool):
    """The node exporter with the page that the collector makes of a Jetson's files and of this server; ``collect()`` makes it anew."""
    textfiles = work / "textfiles"
    textfiles.mkdir()
    place = trees.build(trees.TABLE["devices"]["agx-orin-64gb-6.2.1"], work / "device")
    trees.command(place, "dmesg", "true")
    (place / "proc/swaps").write_text("Filename Type Size Used Priority\n/dev/zram0 partition 1024 512 5\n")
    monitor = place / "sys/class/hwmon/hwmon0"
    monitor.mkdir(parents=True)
    for name, text in {"name": "soctherm_oc", "oc1_event_cnt": "0"}.items():
        (monitor / name).write_text(text + "\n")

    def collect():
        path = os.environ["PATH"]
        os.environ["PATH"] = f"{place / 'bin'}:{path}"
        try:
            assert monitoring_collector.main([
                "--output", str(textfiles / "tfleet.prom"), "--model-config", str(server), "--server", f"127.0.0.1:{ports['rest']}", "--kind", "jetson",
                *[f"--{root}-root={place / root}" for root in ("proc", "sys", "etc")]]) == 0
        finally:
            os.environ["PATH"] = path

    collect()
    processes(work / "node.log", tool("prometheus-node-exporter"), f"--web.listen-address=127.0.0.1:{ports['node']}",
              f"--collector.textfile.directory={textfiles}")
    wait_for("The node exporter", lambda: get(f"http://127.0.0.1:{ports['node']}/metrics"), work / "node.log")
    return collect


@pytest.fixture(scope="module")
def configuration(work, ports, tool):
    """What the role writes for an inventory of two devices, of which one runs Prometheus and one is away."""
    tool("promtool")
    inventory = {"jetsons": {"hosts": {
        DEVICE: {"monitoring_port": ports["node"], "tfleet_rest_port": ports["rest"], "rollout_site": "north",
                 "monitoring_gateway": True, "tfleet_gateway_port": ports["gateway"]},
        AWAY: {"ansible_host": "127.0.0.1", "monitoring_listen": "0.0.0.0", "monitoring_port": ports["nobody"]}}}}
    (work / "inventory.yml").write_text(json.dumps(inventory))
    place = work / "prometheus"
    for name in ("prometheus/rules", "prometheus/targets", "grafana/datasources"):
        (work / name).mkdir(parents=True)
    roles = [{"ansible.builtin.include_role": {"name": "tfleet.serving.monitoring", "tasks_from": part}} for part in ("configure", "grafana")]
    (work / "play.yml").write_text(json.dumps([{"hosts": DEVICE, "gather_facts": False, "tasks": roles}]))
    variables = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "__monitoring_config": str(place),
                 "monitoring_scrape_interval": "1s", "monitoring_server_port": ports["prometheus"],
                 "monitoring_alertmanager_url": "http://127.0.0.1:9/alerts", "monitoring_gateway_token": TOKEN, "__monitoring_group": os.getegid(),
                 "monitoring_grafana_dir": str(work / "grafana")}
    environment = {**os.environ, "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"), "ANSIBLE_HOME": str(CHECKOUT / ".ansible"), "ANSIBLE_NOCOLOR": "1"}

    def configure(*options):
        done = subprocess.run([str(pathlib.Path(sys.executable).parent / "ansible-playbook"), "-i", str(work / "inventory.yml"), str(work / "play.yml"), "-e",
                               json.dumps(variables), *options], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    first = configure("--diff")
    assert "changed=0" not in first and TOKEN not in first + (place / "prometheus.yml").read_text()
    assert (place / "gateway_token").read_text() == TOKEN
    assert "changed=0" in configure("--diff")
    return place


@pytest.fixture(scope="module")
def prometheus(work, ports, gateway, node, configuration, processes, tool):
    """``ask(path, **parameters)`` of Prometheus' HTTP API."""
    processes(work / "prometheus.log", tool("prometheus"), f"--config.file={configuration / 'prometheus.yml'}",
              f"--web.listen-address=127.0.0.1:{ports['prometheus']}", f"--storage.tsdb.path={work / 'data'}")

    def ask(path, **parameters):
        answer = json.loads(get(f"http://127.0.0.1:{ports['prometheus']}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"))
        assert answer["status"] == "success"
        return answer["data"]

    # Asked again and again, so that there is a rate.
    golden = [*TFLEET, "predict", "--address", f"127.0.0.1:{ports['grpc']}", "--model", "digits", "--golden", str(CHECKOUT / "models/digits/1/golden.npz")]
    subprocess.run(golden, check=True, stdout=subprocess.DEVNULL)
    wait_for("Prometheus", lambda: len(query(ask, 'up{job!="prometheus"} == 1')) == 3, work / "prometheus.log")
    subprocess.run(golden, check=True, stdout=subprocess.DEVNULL)
    node()
    rates = ("instance_model_name:tensorflow_serving_answers:rate5m > 0", "rate(tfleet_gateway_upstream_failures_total[5m]) > 0",
             "instance:tfleet_gateway_request_errors:ratio_rate5m")
    wait_for("Rates", lambda: gateway() and all(query(ask, rate) for rate in rates), work / "prometheus.log")
    return ask


def query(ask, expression):
    return [row["metric"] for row in ask("query", query=expression)["result"]]


def test_targets_come_from_the_inventory(prometheus):
    found = {(target["labels"]["job"], target["labels"]["instance"]): target for target in prometheus("targets")["activeTargets"]}
    here = {(job, DEVICE) for job in ("prometheus", "node", "tfleet_model_server", "tfleet_gateway")}
    assert set(found) == here | {("node", AWAY)}
    assert {key: target["health"] for key, target in found.items() if key in here} == dict.fromkeys(here, "up")
    assert found["node", AWAY]["health"] == "down"
    assert found["node", DEVICE]["labels"]["site"] == "north"


def test_the_served_version_can_be_asked_for(prometheus):
    assert {(row["model"], row["label"], row["version"]) for row in query(prometheus, f'tfleet_model_label_info{{instance="{DEVICE}"}}')} == {
        ("digits", "stable", "1"), ("digits", "canary", "3")}
    assert query(prometheus, "tfleet_model_label_drift == 1") == []


def test_a_version_that_failed_its_gate_raises_the_alarm(prometheus):
    alerts = [alert for alert in prometheus("alerts")["alerts"] if alert["labels"]["alertname"] == "TfleetGateFailed"]
    assert [(alert["state"], alert["labels"]["instance"], alert["labels"]["model"], alert["labels"]["version"]) for alert in alerts] == [
        ("firing", DEVICE, "digits", "2")]
    assert ROLLOUT in alerts[0]["annotations"]["description"]


def test_a_device_that_is_away_is_noticed(prometheus):
    pending = {(alert["labels"]["alertname"], alert["labels"]["instance"]) for alert in prometheus("alerts")["alerts"]}
    assert ("TfleetDeviceDown", AWAY) in pending


def test_all_rules_are_evaluated(prometheus):
    assert [(rule["name"], rule["lastError"]) for group in prometheus("rules")["groups"] for rule in group["rules"] if rule["health"] != "ok"] == []


def test_the_gateway_is_scraped_and_watched(prometheus, ports):
    answers = {(row["route"], row["status"]) for row in query(prometheus, f'tfleet_gateway_requests_total{{instance="{DEVICE}",site="north"}}')}
    assert {("predict", "200"), ("predict", "503"), ("metrics", "200")} <= answers
    failures = query(prometheus, "rate(tfleet_gateway_upstream_failures_total[5m]) > 0")
    assert [(row["server"], row["code"]) for row in failures] == [(f"127.0.0.1:{ports['nobody']}", "UNAVAILABLE")]
    # What alerts compare is there, and so is what the dashboard shows.
    watched = {where: re.sub(r" (==|>) [\d.]+$", "", text).replace("$instance", ".*") for where, text in expressions().items() if "tfleet_gateway" in text}
    assert {"TfleetGatewayDown", "TfleetGatewayErrors"} <= set(watched)
    assert [where for where, text in watched.items() if DEVICE not in [row.get("instance") for row in query(prometheus, text)]] == []
    assert "TfleetGatewayDown" not in [alert["labels"]["alertname"] for alert in prometheus("alerts")["alerts"]]


def test_every_metric_of_rules_and_dashboard_is_exported(prometheus):
    known = set(prometheus("label/__name__/values")) | OWN
    recorded = {where for where in expressions() if ":" in where and " " not in where}
    unknown = {where: sorted(metrics(text) - known - recorded) for where, text in expressions().items()}
    assert {where: names for where, names in unknown.items() if names} == {}


def test_every_expression_is_understood(prometheus):
    for text in expressions().values():
        prometheus("query", query=text.replace("$instance", ".*").replace("$model", ".*"))


def test_grafana_is_given_the_dashboard_and_where_the_data_are(configuration, work, ports):
    provisioning = work / "grafana"
    (source,) = yaml.safe_load((provisioning / "datasources/tfleet.yml").read_text())["datasources"]
    assert (source["type"], source["uid"], source["url"]) == ("prometheus", "tfleet", f"http://127.0.0.1:{ports['prometheus']}")
    (provider,) = yaml.safe_load((provisioning / "dashboards/tfleet.yml").read_text())["providers"]
    (dashboard,) = pathlib.Path(provider["options"]["path"]).iterdir()
    assert json.loads(dashboard.read_text()) == DASHBOARD


def test_what_prometheus_reads_is_checked_before_it_takes_the_old_ones_place(configuration, tool, tmp_path):
    place = shutil.copytree(configuration, tmp_path / "prometheus")
    text = (place / "prometheus.yml").read_text()
    (place / "prometheus.yml").write_text(text.replace(str(configuration), str(place)).replace("scrape_interval", "scrape_intervall"))
    assert subprocess.run([tool("promtool"), "check", "config", place / "prometheus.yml"], capture_output=True, check=False).returncode == 1
