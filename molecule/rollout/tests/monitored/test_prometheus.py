"""What Prometheus knows of the rollout: on the host whose build answered wrongly, of that host and of one that is done."""

import json
import time
import urllib.parse

import pytest

testinfra_hosts = ["ansible://tfleet-rollout-5"]
FETCH = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())"
SECONDS = 60


@pytest.fixture
def ask(host):
    """``ask(path, **parameters)`` of its HTTP API, on the host itself: nobody else reaches it."""

    def call(path, **parameters):
        url = f"http://127.0.0.1:9090/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        return json.loads(host.check_output("python3 -c %s %s", FETCH, url))["data"]

    return call


@pytest.fixture
def wait(ask):
    """``wait(query, labels)``: the labels of all its samples, as soon as there are any."""

    def call(query, *labels):
        end = time.time() + SECONDS
        while True:
            found = {tuple(row["metric"][label] for label in labels) for row in ask("query", query=query)["result"]}
            if found or time.time() > end:
                return found
            time.sleep(1)

    return call


def test_all_it_can_reach_is_up(wait, ask):
    assert wait('up{job="node", instance="tfleet-rollout-2"} == 1 and on () up{job="tfleet_model_server"} == 1', "instance") == {("tfleet-rollout-2",)}
    targets = {(target["labels"]["job"], target["labels"]["instance"]): target["health"] for target in ask("targets")["activeTargets"]}
    # The model servers of the other hosts, and their node exporters but one, are open to nobody.
    assert targets == {("prometheus", "tfleet-rollout-5"): "up", ("node", "tfleet-rollout-5"): "up", ("node", "tfleet-rollout-2"): "up",
                       ("tfleet_model_server", "tfleet-rollout-5"): "up"}


def test_it_knows_which_version_each_host_serves(wait):
    assert wait('count by (instance, version) (tfleet_model_label_info{label="stable"}) and on () count(tfleet_model_server_up == 1) == 2',
                "instance", "version") == {("tfleet-rollout-2", "2"), ("tfleet-rollout-5", "1")}


def test_the_version_that_failed_its_gate_raises_the_alarm(wait):
    assert wait('ALERTS{alertname="TfleetGateFailed", alertstate="firing"}', "instance", "model", "version") == {("tfleet-rollout-5", "digits", "3")}
    assert wait("tfleet_rollout_gate_passed == 1", "instance", "model", "version") == {("tfleet-rollout-2", "digits", "2")}


def test_the_collector_may_do_nothing_but_read(host):
    shown = host.check_output("systemctl show tfleet-metrics.service --property Result,CapabilityBoundingSet,ProtectSystem")
    assert sorted(shown.splitlines()) == ["CapabilityBoundingSet=cap_dac_read_search cap_syslog", "ProtectSystem=strict", "Result=success"]
    page = host.file("/var/lib/prometheus/node-exporter/tfleet.prom")
    assert (page.user, oct(page.mode)) == ("root", "0o644")
    assert host.file("/var/lib/prometheus/node-exporter").listdir() == ["tfleet.prom"]


def test_nothing_is_open_that_nobody_opened(host):
    for port in (9090, 9100):
        assert host.socket(f"tcp://127.0.0.1:{port}").is_listening
        assert not host.socket(f"tcp://0.0.0.0:{port}").is_listening and not host.socket(f"tcp://:::{port}").is_listening
