"""The web gateway beside the model server that it asks: `make bench SUITE=gateway`, about two minutes.

A JPEG of 640x480 is posted to the gateway by clients that each wait for their answer; as many ask the model server itself with the pixels of the same
picture, ready to be sent. Writes build/bench/gateway.json and .png. Non-maximum suppression and folders of pictures are the suite `pictures`.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile

from tests.bench import harness
from tests.bench.server.processes import TICKS, Process, Server, load
from tests.conformance.live_server import free_ports

ROUNDS, SECONDS, CLIENTS = int(os.environ.get("ROUNDS", "5")), 4, 4
OF_THE_SERVER = 0.8
PREDICT = "/api/v1/models/digits_detector:predict"


class Gateway(Process):
    """`tfleet gateway` in front of a server, without a limit to its rate."""

    def __init__(self, directory, server):
        self.rest_address = "127.0.0.1:%d" % free_ports(1)[0]
        settings = {"listen": self.rest_address, "servers": [server.address], "models": [{"name": "digits_detector"}], "rate": 0}
        path = os.path.join(directory, "gateway.json")
        with open(path, "w", encoding="utf-8") as stream:
            json.dump(settings, stream)
        super().__init__([sys.executable, "-m", "tfleet", "gateway", "--config", path], stderr=subprocess.PIPE)
        line = self.process.stderr.readline()
        if b"listens" not in line:
            raise RuntimeError((line + self.process.stderr.read()).decode())
        # Its log goes nowhere; nobody may wait for a full pipe.
        self._drain = subprocess.Popen(["cat"], stdin=self.process.stderr, stdout=subprocess.DEVNULL)

    def cpu(self):
        """CPU seconds of the workers."""
        with open("/proc/%d/task/%d/children" % ((self.process.pid,) * 2), encoding="ascii") as stream:
            children = stream.read().split()
        total = 0
        for child in children:
            with open("/proc/%s/stat" % child, encoding="ascii") as stream:
                fields = stream.read().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        return total / TICKS

    def __exit__(self, *unused):
        super().__exit__()
        self.process.stderr.close()
        self._drain.wait()


def write_requests(directory):
    """The picture as a file, and as the message that asks the model server about it: ({name: path})."""
    import numpy as np
    from PIL import Image

    from tfleet import wire

    with Image.open(os.path.join(harness.ROOT, "models/digits_detector/scene.png")) as scene:
        picture = scene.convert("RGB").resize((640, 480), Image.Resampling.BICUBIC)
    paths = {"jpeg": os.path.join(directory, "scene.jpg"), "message": os.path.join(directory, "request")}
    picture.save(paths["jpeg"], quality=90)
    request = wire.PredictRequest()
    request.model_spec.name = "digits_detector"
    with Image.open(paths["jpeg"]) as decoded:
        request.inputs["image_tensor"].CopyFrom(wire.tensors.to_proto(np.asarray(decoded)[np.newaxis]))
    with open(paths["message"], "wb") as stream:
        stream.write(request.SerializeToString())
    return paths


def measured(directory, paths, servers, clients):
    """{name: results of load()}; the server has the cores `servers`, the gateway and who asks have `clients`."""
    everything = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, servers)  # what is started inherits it
    try:
        place = tempfile.mkdtemp(dir=directory)
        with Server(os.path.join(place, "server"), {"digits_detector": os.path.join(directory, "digits_detector")}) as server:
            os.sched_setaffinity(0, clients)
            with Gateway(place, server) as gateway:
                def through(path, count=CLIENTS):
                    return lambda: load(gateway, paths["jpeg"], SECONDS, clients=count, path=path)

                def own(count=CLIENTS):
                    return lambda: load(server, paths["message"], SECONDS, clients=count)

                return harness.interleaved(ROUNDS, {
                    "own": own(), "gateway": through(PREDICT), "drawn": through(PREDICT + "?annotate=true"), "own alone": own(1),
                    "gateway alone": through(PREDICT, 1),
                })  # fmt: skip
    finally:
        os.sched_setaffinity(0, everything)


def rows_of(found, where):
    """Lines of the report for one way to share the cores."""
    def rates(name):
        return [one["rate"] for one in found[name]]

    def waits(name):
        return [1000 * statistics.median(one["took"]) for one in found[name]]

    target = OF_THE_SERVER * statistics.median(rates("own"))
    return [
        harness.row("JPEG of 640x480 by %d clients, digits_detector, %s" % (CLIENTS, where), "pictures/s", rates("gateway"), rates("own"), target, True),
        harness.row("the same, every answer with the annotated picture", "pictures/s", rates("drawn"), rates("own"), None, True),
        harness.row("median answer of a single client, %s" % where, "ms", waits("gateway alone"), waits("own alone")),
        harness.row("CPU time of the gateway for a picture, %s" % where, "ms of CPU", [1000 * one["cpu"] for one in found["gateway"]]),
    ]


def main():
    harness.warn_if_busy()
    with tempfile.TemporaryDirectory(prefix="tfleet-bench-") as directory:
        command = [sys.executable, "-m", "tfleet", "export", "models/digits_detector/1/frozen_graph.pb", directory + "/digits_detector/1"]
        outputs = {name: name + ":0" for name in ("num_detections", "detection_boxes", "detection_scores", "detection_classes")}
        signature = {"serving_default": {"inputs": {"image_tensor": "image_tensor:0"}, "outputs": outputs}}
        harness.run_process(command + ["--signatures", json.dumps(signature)], dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3"))
        paths = write_requests(directory)
        cores = sorted(os.sched_getaffinity(0))
        rows = rows_of(measured(directory, paths, cores, cores), "all on the same cores")
        rows += rows_of(measured(directory, paths, cores[:1], cores[1:]), "the server on a core of its own")
    return harness.report("gateway", rows, ("gateway", "model server"))


if __name__ == "__main__":
    sys.exit(main())
