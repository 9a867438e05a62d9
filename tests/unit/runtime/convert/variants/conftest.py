"""Real conversions: the workers' own functions in this one process, so that TensorFlow starts once for the suite."""

import json
import os

import numpy as np
import pytest

from tfleet import cli, examples
from tfleet.client import golden
from tfleet.convert import export as exports
from tfleet.convert import framework
from tfleet.convert.variants import frozen, grappler, request, tflite
from tfleet.wire import tfrecord

from . import architectures

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 5))
DETECTIONS = ("num_detections", "detection_boxes", "detection_scores", "detection_classes")
DEMO = {
    "digits": {"inputs": {"images": "images:0"}, "outputs": {"scores": "scores:0", "classes": "classes:0"}},
    "digits_detector": {"inputs": {"image_tensor": "image_tensor:0"}, "outputs": {name: name + ":0" for name in DETECTIONS}},
}
_MODULES = {"grappler": grappler, "tflite": tflite}


@pytest.fixture(scope="session")
def native(tmp_path_factory):
    """``native(name)``: the SavedModel folder of a demo model or of a public architecture, made once."""
    made = {}

    def make(name):
        if name not in made:
            made[name] = str(tmp_path_factory.mktemp("native") / name)
            if name in DEMO:
                exports.export(os.path.join(ROOT, "models", name, "1", "frozen_graph.pb"), made[name], declared={"serving_default": DEMO[name]})
            else:
                architectures.save(name, made[name])
        return made[name]

    return make


@pytest.fixture(scope="session")
def calibration(tmp_path_factory):
    """``calibration(arrays)``: a TFRecord file with an Example for each row of {alias: array}."""

    def make(arrays, name="calibration.tfrecord"):
        path = tmp_path_factory.mktemp("records") / name
        count = len(next(iter(arrays.values())))
        rows = [{alias: flat(array[number]) for alias, array in arrays.items()} for number in range(count)]
        path.write_bytes(tfrecord.encode(examples.encode(examples.Example("%d" % n, None, None, None, "", None, row)) for n, row in enumerate(rows)))
        return str(path)

    return make


def flat(row):
    row = np.asarray(row).reshape(-1)
    return row.astype(np.float32 if row.dtype.kind == "f" else np.int64)


@pytest.fixture(scope="session")
def converted(tmp_path_factory):
    """``converted(source, kind, precision, **options)``: `(folder, summary)` of the variant, made once for all who look at it."""
    made = {}

    def make(source, kind, precision="FP32", **options):
        key = json.dumps([source, kind, precision, options], sort_keys=True)
        if key not in made:
            wanted = request.new(kind, precision, **options)
            tf = framework.load()
            built = str(tmp_path_factory.mktemp("converted") / request.name(wanted))
            signature = frozen.signature_of(source, wanted.tags, wanted.signature)
            made[key] = built, _MODULES[kind].convert(tf, source, built, wanted, signature, lambda *_args, **_options: None)
        return made[key]

    return make


@pytest.fixture
def command(capfd):
    """``command("parity", …)``: the answer of a command in this process, which must succeed."""

    def run(*arguments):
        status = cli.main([*arguments, "--json"])
        answer = json.loads(capfd.readouterr()[0])
        assert status == 0, answer
        return answer

    return run


@pytest.fixture(scope="session")
def digits_pictures():
    """The pictures of the golden file: [N, 8, 8, 1]."""
    recorded = golden.read(os.path.join(ROOT, "models", "digits", "1", "golden.npz"))
    return np.concatenate([inputs["images"] for inputs, _outputs in recorded.examples])


def provenance_of(folder):
    with open(os.path.join(folder, "assets.extra", "tfleet_provenance.json")) as stream:
        return json.load(stream)
