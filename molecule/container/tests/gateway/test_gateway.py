"""The gateway in a container, confined, on the host's own address, in front of the model server's container."""

import json

import pytest

CONTAINER = "tfleet-gateway"
ASK = """
import json, sys, urllib.request
request = urllib.request.Request("http://127.0.0.1:8502/api/v1/models/digits_detector:predict", open(sys.argv[2], "rb").read())
request.add_header("Authorization", "Bearer " + sys.argv[1])
print(urllib.request.urlopen(request, timeout=30).read().decode())
"""


@pytest.fixture
def container(host):
    """The gateway's container as the engine describes it."""
    return json.loads(host.check_output(f"docker container inspect {CONTAINER}"))[0]


def test_a_picture_is_answered(host):
    sample = "/var/lib/tfleet/models/digits_detector/.golden/1/sample.png"
    answer = json.loads(host.check_output("python3 -c %s %s %s", ASK, "the-second-token-of-this-test", sample))
    assert answer["version"] == 1 and len(answer["detections"]) >= 8


def test_it_is_confined(container):
    config = container["HostConfig"]
    assert config["ReadonlyRootfs"] and config["CapDrop"] == ["ALL"] and "no-new-privileges:true" in config["SecurityOpt"]
    assert container["Config"]["User"].split(":")[0] not in ("", "0", "root")
    assert [(mount["Destination"], mount["RW"]) for mount in container["Mounts"]] == [("/etc/tfleet-gateway", False)]
    assert "-token-of-this-test" not in json.dumps(container)


def test_the_health_check_of_its_image_passes(host, container):
    assert container["Config"]["Healthcheck"]["Test"][0] == "CMD"
    assert host.run(f"docker exec {CONTAINER} /opt/tfleet/bin/python /opt/tfleet/package/healthcheck.py").rc == 0


def test_it_listens_on_the_host_alone(host):
    assert host.socket("tcp://127.0.0.1:8502").is_listening and not host.socket("tcp://0.0.0.0:8502").is_listening


def test_its_image_has_no_tensorflow_and_no_wheels(host):
    python = "docker run --rm --entrypoint /opt/tfleet/bin/python tfleet-gateway:current"
    assert host.run(f"{python} -c 'import tensorflow'").rc != 0
    listed = host.check_output("docker run --rm --entrypoint /bin/sh tfleet-gateway:current -c 'ls -R /opt/tfleet/package /tmp'")
    assert ".whl" not in listed and "pip.conf" not in listed


def test_the_second_run_has_not_restarted_it(host):
    now = host.check_output("awk '{ print $1, $22 }' /proc/$(pgrep --oldest --full 'tfleet gateway')/stat")
    assert now == host.file("/root/gateway-before").content_string.strip()
