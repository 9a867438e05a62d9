"""What Prometheus scrapes, worked out of the inventory alone: addresses, ports, who cannot be reached."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest
import yaml
from ansible_collections.tfleet.serving.plugins.module_utils import monitoring_targets as rules

CHECKOUT = pathlib.Path(__file__).parents[3]
DEFAULTS = yaml.safe_load((CHECKOUT / "roles/monitoring/defaults/main.yml").read_text())


def host(name="a", **more):
    return {"inventory_hostname": name, "group_names": ["jetsons"], **more}


def addresses(job, *hosts, **options):
    return [entry["targets"] for entry in rules.scrape_targets(hosts, **options)[job]]


def test_a_host_is_scraped_where_it_listens():
    found = rules.scrape_targets([host(ansible_host="10.0.0.5", monitoring_listen="0.0.0.0", monitoring_port=9200, tfleet_listen_address="10.0.0.5",
                                       tfleet_rest_port=8601, rollout_site="north")])
    labels = {"instance": "a", "site": "north"}
    assert found == {"node": [{"targets": ["10.0.0.5:9200"], "labels": labels}], "tfleet_model_server": [{"targets": ["10.0.0.5:8601"], "labels": labels}],
                     "tfleet_gateway": [], "unreachable": []}


def test_what_listens_on_the_loopback_is_scraped_on_the_host_itself_alone():
    found = rules.scrape_targets([host("a"), host("b", monitoring_listen="0.0.0.0")], "a")
    assert [entry["targets"] for entry in found["node"]] == [["127.0.0.1:9100"], ["b:9100"]]
    assert [entry["targets"] for entry in found["tfleet_model_server"]] == [["127.0.0.1:8501"]]
    assert found["unreachable"] == ["b: Prometheus cannot reach the job tfleet_model_server, which listens on 127.0.0.1 alone. Set tfleet_listen_address."]


@pytest.mark.parametrize("listen", ["127.0.0.1", "localhost", "::1", "127.1.2.3"])
def test_every_loopback_is_one(listen):
    assert rules.scrape_targets([host(monitoring_listen=listen)])["node"] == []


def test_an_address_of_its_own_comes_before_that_of_ansible():
    assert addresses("node", host(ansible_host="container-7", monitoring_address="fd00::7", monitoring_listen="::")) == [["[fd00::7]:9100"]]


def test_each_gpu_of_a_list_has_a_server():
    found = rules.scrape_targets([host(model_server_backend="container", model_server_gpu=[0, 1], tfleet_listen_address="0.0.0.0")])["tfleet_model_server"]
    assert [(entry["targets"], entry["labels"]["server"]) for entry in found] == [(["a:8501"], "8501"), (["a:8511"], "8511")]
    assert rules.rest_addresses(host(model_server_backend="container", model_server_gpu=[0, 1])) == ["127.0.0.1:8501", "127.0.0.1:8511"]
    assert rules.rest_addresses(host(model_server_backend="container", model_server_gpu="all", model_server_listen_address="10.0.0.5")) == ["10.0.0.5:8501"]


@pytest.mark.parametrize("changes", [{"model_server_monitoring": False}, {"group_names": ["monitoring_servers"]}])
def test_a_host_without_a_page_has_no_model_server(changes):
    assert addresses("tfleet_model_server", host(tfleet_listen_address="0.0.0.0", **changes)) == []


@pytest.mark.parametrize("changes", [{"monitoring_device": False}, {"monitoring_state": "absent"}, {"model_server_backend": "embedded"}])
def test_a_host_that_is_not_measured_is_not_asked_for_its_page(changes):
    found = rules.scrape_targets([host(monitoring_listen="0.0.0.0", tfleet_listen_address="0.0.0.0", **changes)])
    assert found["node"] == [] and found["unreachable"] == [] and len(found["tfleet_model_server"]) == 1


def test_a_gateway_that_only_its_proxy_opens_is_named():
    behind = host(monitoring_gateway=True, web_gateway_listen_address="0.0.0.0", web_gateway_proxy_user_header="X-User", monitoring_device=False,
                  model_server_monitoring=False)
    for name in ("a", None):
        found = rules.scrape_targets([behind], name)
        assert found["tfleet_gateway"] == [] and len(found["unreachable"]) == 1
        assert found["unreachable"][0].startswith("a: ") and found["unreachable"][0].endswith("Set web_gateway_token too.")
    found = rules.scrape_targets([dict(behind, web_gateway_token="x" * 20)])
    assert len(found["tfleet_gateway"]) == 1 and found["unreachable"] == []


@pytest.mark.parametrize("changes, found", [({}, "a:8502"), ({"tfleet_gateway_port": 9502}, "a:9502"), ({"web_gateway_port": 9503}, "a:9503")])
def test_a_gateway_is_scraped_where_there_is_one(changes, found):
    assert addresses("tfleet_gateway", host(web_gateway_listen_address="0.0.0.0", **changes)) == []
    assert addresses("tfleet_gateway", host(monitoring_gateway=True, web_gateway_listen_address="0.0.0.0", **changes)) == [[found]]
    assert addresses("tfleet_gateway", host(monitoring_gateway=True)) == []


def test_it_knows_the_defaults_of_the_roles():
    assert (DEFAULTS["monitoring_listen"], DEFAULTS["monitoring_port"]) == (rules.LOOPBACK, rules.NODE_PORT)
    gateway = yaml.safe_load((CHECKOUT / "roles/web_gateway/defaults/main.yml").read_text())
    assert gateway["web_gateway_listen_address"] == rules.LOOPBACK and str(rules.GATEWAY_PORT) in gateway["web_gateway_port"]


@pytest.mark.parametrize("url, expected", [
    ("http://alerts:9093", {"scheme": "http", "path_prefix": "/", "target": "alerts:9093"}),
    ("https://example.net/alerts", {"scheme": "https", "path_prefix": "/alerts", "target": "example.net"}),
])  # fmt: skip
def test_an_alertmanager_is_named_by_its_url(url, expected):
    assert rules.alertmanager_of(url) == expected


@pytest.mark.parametrize("url", ["alerts:9093", "ftp://alerts", "http://user:secret@alerts:9093", "http://"])
def test_what_names_no_alertmanager_is_refused_without_its_password(url):
    with pytest.raises(rules.TargetsError) as refused:
        rules.alertmanager_of(url)
    assert "secret" not in str(refused.value)


def test_the_command_of_the_guide_writes_the_targets(tmp_path):
    (command,) = re.findall(r"^```sh\n(ansible localhost.*?)^```", (CHECKOUT / "docs/monitoring.md").read_text(), re.DOTALL | re.MULTILINE)
    command = command.replace("inventories/mine", str(CHECKOUT / "inventories/example")).replace("targets.json", str(tmp_path / "targets.json"))
    done = subprocess.run(command, shell=True, cwd=CHECKOUT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env={
        **os.environ, "PATH": f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}", "ANSIBLE_HOME": str(CHECKOUT / ".ansible"),
        "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg")})  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "targets.json").read_text())
    assert set(found) == {"node", "tfleet_model_server", "tfleet_gateway", "unreachable"}
    assert any(sentence.startswith("line-3-camera-1.example.net: ") for sentence in found["unreachable"])
