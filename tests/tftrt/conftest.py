"""TensorFlow 2.17.1 with TF-TRT compiled in, put in front of .venv's tensorflow-cpu; no GPU and no TensorRT anywhere."""

import hashlib
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent
CHECKOUT = HERE.parents[1]
ARCHITECTURES = CHECKOUT / "tests/unit/runtime/convert/variants/architectures.py"
DETECTIONS = ("num_detections", "detection_boxes", "detection_scores", "detection_classes")
USED = ("mobilenet_v2", "ssd", "faster_rcnn")
DEMO = {
    "digits": {"inputs": {"images": "images:0"}, "outputs": {"scores": "scores:0", "classes": "classes:0"}},
    "digits_detector": {"inputs": {"image_tensor": "image_tensor:0"}, "outputs": {name: name + ":0" for name in DETECTIONS}},
}


def run(argv, environment=None, stdin=None):
    """`(exit status, standard output, standard error)` of a command."""
    done = subprocess.run([str(word) for word in argv], input=stdin, capture_output=True, text=True, check=False, env=environment)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="session")
def packages():
    """The folder with the wheel, kept under .cache between runs and named after what decides its content."""
    if platform.machine() != "x86_64":
        pytest.skip("only the x86_64 wheel has TF-TRT; on aarch64 NVIDIA's images do")
    requirements = (HERE / "requirements.txt").read_text()
    place = CHECKOUT / ".cache" / "tftrt" / hashlib.sha256((requirements + sys.version).encode()).hexdigest()[:12]
    if not (place / ".complete").exists():
        shutil.rmtree(place, ignore_errors=True)
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target", place]
        status, out, err = run([*install, "-r", HERE / "requirements.txt"])
        assert status == 0, out + err
        (place / ".complete").touch()
    return place


@pytest.fixture(scope="session")
def environment(packages, tmp_path_factory):
    """The environment in which tfleet finds that TensorFlow, and keeps its stand-in apart."""
    paths = [str(packages), str(CHECKOUT / "runtime" / "src")]
    return dict(os.environ, PYTHONPATH=os.pathsep.join(paths), XDG_CACHE_HOME=str(tmp_path_factory.mktemp("cache")), CUDA_VISIBLE_DEVICES="-1")


@pytest.fixture(scope="session")
def tfleet(environment):
    """``tfleet(*args, **variables)``: the answer of a command, whether it succeeded or not."""

    def call(*args, **variables):
        status, out, err = run([sys.executable, "-m", "tfleet", *args, "--json"], dict(environment, **variables))
        assert out, err[-3000:]
        answer = json.loads(out)
        assert status == (0 if answer["ok"] else 1), err[-3000:]
        return answer

    return call


@pytest.fixture(scope="session")
def stand_in(environment):
    """``stand_in(version)``: a folder with libnvinfer that tells this version, in files of the version TensorFlow was linked with."""
    sys.path.insert(0, str(CHECKOUT / "runtime" / "src"))
    from tfleet.convert.plan import stand_in as library

    def make(version):
        folder = pathlib.Path(environment["XDG_CACHE_HOME"]) / ("other-" + version)
        folder.mkdir(exist_ok=True)
        for name in ("libnvinfer", "libnvinfer_plugin"):
            target = folder / (name + ".so.8.6.1")
            number = "-DTENSORRT_VERSION=%d" % library.version_number(version)
            status, _out, err = run(["g++", "-shared", "-fPIC", number, "-Wl,-soname," + target.name, "-o", target, library.SOURCE])
            assert status == 0, err
        return str(folder)

    return make


@pytest.fixture(scope="session")
def native(tmp_path_factory, tfleet):
    """``native(name)``: the SavedModel of a demo model or of an architecture, made once."""
    folder, made = tmp_path_factory.mktemp("native"), {}

    def make(name):
        place = str(folder / name)
        if name in DEMO and name not in made:
            graph = CHECKOUT / "models" / name / "1" / "frozen_graph.pb"
            answer = tfleet("export", graph, place, "--signatures", json.dumps({"serving_default": DEMO[name]}))
            assert answer["ok"], answer
            made[name] = place
        elif name not in made:
            # By the TensorFlow of the tests, in one process for all of them.
            status, _out, err = run([sys.executable, ARCHITECTURES, folder, *USED])
            assert status == 0, err
            made.update((used, str(folder / used)) for used in USED)
        return made[name]

    return make


@pytest.fixture(scope="session")
def plan(tfleet, native):
    """``plan(name, *options)``: what the command answers, asked once for all who look at it."""
    made = {}

    def call(name, *options):
        if (name, options) not in made:
            made[name, options] = tfleet("plan", native(name), *options)
        return made[name, options]

    return call


@pytest.fixture(scope="session")
def converting(environment, stand_in):
    """tests/tftrt/converting.py, with one TensorFlow for all conversions: ``converting(task)`` is what it says of one."""
    library = dict(environment, LD_LIBRARY_PATH=stand_in("8.6.1"), TF_CPP_MIN_LOG_LEVEL="2")
    with subprocess.Popen([sys.executable, HERE / "converting.py"], env=library, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def call(task):
            process.stdin.write(json.dumps(task) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
            assert line, "converting.py ended: its standard error says why"
            return json.loads(line)

        yield call


@pytest.fixture(scope="session")
def convert(converting, tmp_path_factory):
    """``convert(source, precision, options)``: what came of a conversion with the stand-in, made once for all who look at it. ``built`` is its folder."""
    made = {}

    def call(source, precision="FP32", **options):
        key = json.dumps([source, precision, options], sort_keys=True)
        if key not in made:
            built = str(tmp_path_factory.mktemp("converted") / "built")
            task = {"source": source, "built": built, "precision": precision, "options": options}
            made[key] = dict(converting(task), built=built)
        return made[key]

    return call
