"""The gateway runs confined in an environment of its own, and answers a picture with what the model server sees."""

import json

import pytest

UNIT = "tfleet-gateway.service"
PYTHON = "/opt/tfleet/gateway/bin/python"
SAMPLE = "/var/lib/tfleet/models/digits_detector/.golden/1/sample.png"
ASK = """
import json, sys, urllib.request, urllib.error
path, token, picture = sys.argv[1:]
request = urllib.request.Request("http://127.0.0.1:8502/" + path, open(picture, "rb").read() if picture else None)
request.add_header("Content-Type", "image/png")
if token:
    request.add_header("Authorization", "Bearer " + token)
try:
    with urllib.request.urlopen(request, timeout=30) as answer:
        print(json.dumps([answer.status, answer.read().decode()]))
except urllib.error.HTTPError as error:
    print(json.dumps([error.code, error.read().decode()]))
"""


@pytest.fixture
def ask(host):
    """Ask the gateway from the host, with a token and a picture or without; (status, text)."""

    def call(path, token="", picture=""):
        return tuple(json.loads(host.check_output("python3 -c %s %s %s %s", ASK, path, token, picture)))

    return call


def test_a_picture_is_answered(ask):
    status, text = ask("api/v1/models/digits_detector/labels/stable:predict", "the-second-token-of-this-test", SAMPLE)
    assert status == 200, text
    answer = json.loads(text)
    assert answer["version"] == 1 and len(answer["detections"]) >= 8 and {one["label"] for one in answer["detections"]} <= set("0123456789")


@pytest.mark.parametrize("token", ["", "the-first-token-of-this-test"])
def test_without_the_token_nobody_is_answered(ask, token):
    assert ask("api/v1/models", token)[0] == 401


def test_it_is_ready_and_offers_what_the_inventory_declares(ask):
    assert ask("readyz")[0] == 200
    models = json.loads(ask("api/v1/models", "the-second-token-of-this-test")[1])["models"]
    assert {model["name"]: set(model["labels"]) for model in models} == {"digits": {"canary", "stable"}, "digits_detector": {"canary", "stable"}}


def test_the_second_run_has_not_restarted_it(host):
    now = host.check_output("awk '{ print $1, $22 }' /proc/$(pgrep --oldest --full 'tfleet gateway')/stat")
    assert now == host.file("/root/gateway-before").content_string.strip()


def test_the_unit_runs_and_is_confined(host):
    service = host.service(UNIT)
    assert service.is_running and service.is_enabled, host.run(f"journalctl --no-pager --lines 50 --unit {UNIT}").stdout
    wanted = {"User": "tfleet-gateway", "NoNewPrivileges": "yes", "ProtectSystem": "strict", "ProtectHome": "yes", "PrivateTmp": "yes",
              "PrivateDevices": "yes", "MemoryDenyWriteExecute": "yes", "CapabilityBoundingSet": "", "NRestarts": "0"}
    assert {name: service.systemd_properties.get(name, "") for name in wanted} == wanted


def test_it_listens_on_the_host_alone(host):
    assert host.socket("tcp://127.0.0.1:8502").is_listening and not host.socket("tcp://0.0.0.0:8502").is_listening


def test_its_environment_has_no_tensorflow(host):
    assert host.run(f"{PYTHON} -c 'import tensorflow'").rc != 0 and host.run(f"{PYTHON} -c 'import flask, gunicorn, grpc, PIL'").rc == 0


def test_settings_and_token_are_for_the_gateway_alone(host):
    for name in ("gateway.json", "token"):
        file = host.file("/etc/tfleet-gateway/" + name)
        assert (file.user, file.group, file.mode) == ("root", "tfleet-gateway", 0o640)
    assert host.run("runuser -u nobody -- cat /etc/tfleet-gateway/token").rc != 0
    assert "-token-of-this-test" not in host.check_output("journalctl --no-pager --unit %s", UNIT)
