"""A real device: a Jetson, or a server with a GPU, that has the tfleet runtime. `make test-hardware HOST=user@device`.

HOST=local is this machine. Everything happens in one folder on the device, which is removed in the end; the model server of the device is
not touched (stop it first if memory is short).
"""

import json
import pathlib
import shlex
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent
CHECKOUT = HERE.parents[1]
ARCHITECTURES = CHECKOUT / "tests/unit/runtime/convert/variants/architectures.py"
DETECTIONS = ("num_detections", "detection_boxes", "detection_scores", "detection_classes")
DEMO = {
    "digits": {"inputs": {"images": "images:0"}, "outputs": {"scores": "scores:0", "classes": "classes:0"}},
    "digits_detector": {"inputs": {"image_tensor": "image_tensor:0"}, "outputs": {name: name + ":0" for name in DETECTIONS}},
}


def pytest_addoption(parser):
    parser.addoption("--host", help="the device, as ssh takes it, or local")
    told = "the tfleet command on the device, such as /opt/tfleet/bin/tfleet, or a docker run line that ends in tfleet"
    parser.addoption("--runtime", default="tfleet", help=told)


class Device:
    """Commands on the device, and files to it."""

    def __init__(self, host, runtime):
        self.host = host
        self.runtime = shlex.split(runtime)
        self.folder = self.shell("mktemp -d /var/tmp/tfleet-hardware-XXXXXX").strip()

    def shell(self, command):
        """Standard output of a shell command; a failure fails the test."""
        argv = ["sh", "-c", command] if self.host == "local" else ["ssh", "-o", "BatchMode=yes", self.host, command]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        assert done.returncode == 0, "%s: %s%s" % (command, done.stdout, done.stderr)
        return done.stdout

    def put(self, source):
        """Copy a file or folder into the folder of the device; returns its path there."""
        target = "%s/%s" % (self.folder, pathlib.Path(source).name)
        argv = ["cp", "-r", source, target] if self.host == "local" else ["scp", "-q", "-r", source, "%s:%s" % (self.host, target)]
        subprocess.run([str(word) for word in argv], check=True)
        return target

    def tfleet(self, *args):
        """The answer of a command, whether it succeeded or not."""
        command = " ".join(shlex.quote(str(word)) for word in [*self.runtime, *args, "--json"])
        answer = json.loads(self.shell(command + " || true"))
        print(json.dumps(answer, indent=1)[:3000])
        return answer


@pytest.fixture(scope="session")
def device(request):
    if not request.config.getoption("--host"):
        pytest.fail("Say which device: make test-hardware HOST=user@device", pytrace=False)
    made = Device(request.config.getoption("--host"), request.config.getoption("--runtime"))
    yield made
    made.shell("rm -rf %s" % shlex.quote(made.folder))


@pytest.fixture(scope="session")
def native(device, tmp_path_factory):
    """``native(name)``: the SavedModel of a demo model or of an architecture on the device, made once."""
    made = {}

    def make(name):
        if name in made:
            return made[name]
        if name in DEMO:
            graph = device.put(CHECKOUT / "models" / name / "1" / "frozen_graph.pb")
            folder = "%s/%s" % (device.folder, name)
            assert device.tfleet("export", graph, folder, "--signatures", json.dumps({"serving_default": DEMO[name]}))["ok"]
        else:
            here = tmp_path_factory.mktemp("native")
            subprocess.run([sys.executable, ARCHITECTURES, here, name], check=True)
            folder = device.put(here / name)
        made[name] = folder
        return folder

    return make


@pytest.fixture(scope="session")
def records(device, tmp_path_factory):
    """A TFRecord file on the device with random pictures for MobileNetV2."""
    import numpy as np

    from tfleet import examples
    from tfleet.wire import tfrecord

    rows = np.random.RandomState(3).random_sample((64, 96 * 96 * 3)).astype(np.float32)
    listed = [examples.encode(examples.Example(str(number), None, None, None, "", None, {"images": row})) for number, row in enumerate(rows)]
    path = tmp_path_factory.mktemp("records") / "pictures.tfrecord"
    path.write_bytes(tfrecord.encode(listed))
    return device.put(path)
