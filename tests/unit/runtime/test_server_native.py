"""What is particular to models run by TensorFlow's C API; that they answer like the others is in test_server_executor."""

import gc
import os
import shutil
import threading
import time

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="the model server runs on the TensorFlow of its environment")

import tensorflow as tf

from tfleet.server import executor, light_runs, native
from tfleet.server.status import DEADLINE_EXCEEDED, StatusError

from .test_server_executor import served_models

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(native._api() is None, reason="this TensorFlow has no C API that fits"),
]
MB = 1 << 20


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """SavedModels: of numbers, of numbers and strings, one that takes time, and one of every numeric type."""
    directory = tmp_path_factory.mktemp("native")
    models = served_models()
    models.half_plus(str(directory / "half"), 2)
    models.pair(str(directory / "pair"))
    models.types(str(directory / "types"))
    models.slow(str(directory / "slow"))
    numbers = [name for name in models.TYPES if name != "string"]
    _save(directory / "numbers", lambda v1: {
        name: (v1.placeholder(getattr(tf, name), None, name=name), lambda x: tf.identity(x, name="y_" + x.op.name)) for name in numbers})
    return directory


def _save(path, build):
    """A SavedModel with signatures {name: (placeholder, function of it)}, one input x and one output y each."""
    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        info = v1.saved_model.utils.build_tensor_info
        signatures = {name: v1.saved_model.signature_def_utils.build_signature_def({"x": info(x)}, {"y": info(function(x))}, "")
                      for name, (x, function) in build(v1).items()}
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        builder = v1.saved_model.builder.SavedModelBuilder(str(path))
        builder.add_meta_graph_and_variables(session, ["serve"], signatures, main_op=v1.tables_initializer(),
                                             assets_collection=graph.get_collection(v1.GraphKeys.ASSET_FILEPATHS))
        builder.save()


def load(path, **options):
    model = native.load(str(path), ["serve"], executor.SessionOptions(**options))
    assert model is None or isinstance(model, native.NativeModel)
    return model


def resident():
    with open("/proc/self/statm") as stream:
        return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MB


def random_arrays(name):
    """Arrays of a type, in the forms that are copied in different ways."""
    random = np.random.RandomState(3)
    for shape in ((), (0, 3), (5,), (3, 4), (300, 300)):  # the last is large enough to be neither copied nor owned by numpy
        yield np.asarray(random.rand(*shape) * 100).astype(name)
    yield (random.rand(7, 5) * 100).astype(name).T


@pytest.mark.parametrize("name", [name for name in served_models().TYPES if name != "string"])
def test_every_type_and_form_arrives_and_comes_back(root, name):
    model = load(root / "numbers")
    info = model.signatures[name]
    for array in random_arrays(name):
        (answer,) = model.run([(info.inputs["x"].name, array)], [info.outputs["y"].name])
        assert (answer.dtype, answer.shape) == (array.dtype, array.shape)
        assert answer.tobytes() == array.tobytes()
    model.close()


def test_several_inputs_and_outputs_keep_their_order(root):
    feeds = [("b:0", np.array([1, 2])), ("a:0", np.array([[1, 2], [3, 4]], np.float32))]
    models = [load(root / "pair"), executor.load(str(root / "pair"), ["serve"], executor.SessionOptions())]
    answers = [[array.tolist() for array in model.run(feeds, ["scaled:0", "total:0", "scaled"])] for model in models]
    assert answers[0] == answers[1] == [[10, 20], [[2.0, 3.0], [4.0, 5.0]], [10, 20]]
    for model in models:
        model.close()


def test_models_with_strings_are_left_to_the_other(root):
    assert load(root / "types") is None


def test_a_signature_that_is_wrong_about_its_tensor_is_left_to_the_other(root, tmp_path):
    shutil.copytree(str(root / "half"), str(tmp_path / "wrong"))
    file = tmp_path / "wrong" / "saved_model.pb"
    data = file.read_bytes()
    end = data.rindex(b"\x03y:0")
    file.write_bytes(data[:end] + b"\x03q:0" + data[end + 4:])
    assert load(tmp_path / "wrong") is None


@pytest.mark.parametrize("way", ["no file", "text", "damaged", "tags"])
def test_what_has_no_head_is_left_to_the_other(root, tmp_path, way):
    path = tmp_path / "model"
    shutil.copytree(str(root / "half"), str(path))
    file = path / "saved_model.pb"
    if way == "tags":
        assert native.load(str(path), ["serve", "gpu"], executor.SessionOptions()) is None
        return
    data = file.read_bytes()
    file.unlink()
    if way == "text":
        (path / "saved_model.pbtxt").write_text("saved_model_schema_version: 1")
    if way == "damaged":
        file.write_bytes(data[:-20])
    assert load(path) is None


def test_tables_are_filled_from_their_assets(tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("7\n5\n")

    def build(v1):
        index = tf.lookup.TextFileIndex
        initializer = tf.lookup.TextFileInitializer(str(words), tf.int64, 0, tf.int64, index.LINE_NUMBER)
        table = tf.lookup.StaticHashTable(initializer, -1)
        return {"serving_default": (v1.placeholder(tf.int64, [None], name="x"), table.lookup)}

    _save(tmp_path / "table", build)
    words.unlink()  # what counts is the copy among the model's assets
    model = load(tmp_path / "table")
    info = model.signatures["serving_default"]
    assert model.run([("x:0", np.array([5, 7, 9]))], [info.outputs["y"].name])[0].tolist() == [1, 0, -1]
    model.close()


def test_variables_of_two_versions_are_apart(root, tmp_path):
    served_models().half_plus(str(tmp_path / "other"), 3)
    one, two = load(root / "half"), load(tmp_path / "other")
    x = [("x:0", np.array([2], np.float32))]
    assert [model.run(x, ["y:0"])[0].tolist() for model in (one, two, one)] == [[3.0], [4.0], [3.0]]
    one.close()
    assert two.run(x, ["y:0"])[0].tolist() == [4.0]
    two.close()


def test_other_threads_work_during_a_run(root):
    model = load(root / "slow")
    turns, outcome = [], []

    def run():
        with pytest.raises(StatusError) as failure:
            model.run([("n:0", np.array(10 ** 9))], ["count:0"], timeout_ms=1000)
        outcome.append(failure.value.code)

    thread = threading.Thread(target=run)
    thread.start()
    while thread.is_alive():
        turns.append(time.perf_counter())
        time.sleep(0.005)
    assert outcome == [DEADLINE_EXCEEDED]
    assert len(turns) > 50
    assert max(late - early for early, late in zip(turns, turns[1:])) < 0.5
    model.close()


def test_many_threads_share_a_model(root):
    model = load(root / "half")
    wrong = []

    def ask(number):
        for count in range(200):
            x = np.full(1 + (number + count) % 7, number, np.float32)
            answer = model.run([("x:0", x)], ["y:0"], timeout_ms=5000)[0]
            if answer.tolist() != [number / 2 + 2] * len(x):
                wrong.append((number, answer))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    model.close()


def test_large_outputs_live_as_long_as_they_are_used(root):
    model = load(root / "half")
    x = np.arange(8 * MB, dtype=np.float32)  # 32 MB

    def run():
        return model.run([("x:0", x)], ["y:0"])[0]

    kept = run()[5:]
    for _ in range(3):
        run()
    before = resident()
    for _ in range(20):
        run()
    gc.collect()
    assert resident() - before < 100  # twenty of them are 640 MB
    model.close()
    assert kept[:3].tolist() == [4.5, 5.0, 5.5] and kept[-1] == x[-1] / 2 + 2


def test_closing_frees_the_variables(tmp_path):
    _save(tmp_path / "large", lambda v1: {"serving_default": (
        v1.placeholder(tf.float32, [None], name="x"),
        lambda x: x + tf.reduce_sum(v1.get_variable("large", initializer=tf.ones([16 * MB]))))})  # 64 MB
    sizes = []
    for _ in range(6):
        model = load(tmp_path / "large")
        y = model.signatures["serving_default"].outputs["y"].name
        assert model.run([("x:0", np.zeros(1, np.float32))], [y])[0] == 16 * MB
        model.close()
        sizes.append(resident())
    assert sizes[-1] - sizes[1] < 64


def test_failed_runs_keep_nothing(root):
    model = load(root / "half")
    x = np.zeros(4 * MB, np.int32)  # 16 MB of the wrong type
    sizes = []
    for _ in range(12):
        with pytest.raises(StatusError, match="Expects arg"):
            model.run([("x:0", x)], ["y:0"])
        sizes.append(resident())
    assert sizes[-1] - sizes[1] < 32
    model.close()


def test_work_that_a_value_decides_keeps_no_lock(tmp_path):
    """A client sends small numbers until the model is light, then a large one: the server must go on answering others."""
    _save(tmp_path / "range", lambda v1: {"range": (v1.placeholder(tf.int64, []), lambda n: tf.reduce_sum(tf.range(n)))})
    model = load(tmp_path / "range")
    info = model.signatures["range"]

    def run(n):
        return model.run([(info.inputs["x"].name, np.array(n))], [info.outputs["y"].name])

    for _ in range(20):
        assert run(5) == [10]
    thread = threading.Thread(target=run, args=(50000000,))
    last, longest = time.perf_counter(), 0.0
    thread.start()
    while thread.is_alive():
        time.sleep(0.001)
        now = time.perf_counter()
        last, longest = now, max(longest, now - last)
    thread.join()
    assert longest < 0.1
    model.close()


def test_light_runs_are_made_in_their_thread(root, monkeypatch):
    """Which of the C API's two faces is called, and with what options."""
    monkeypatch.setattr(light_runs, "_QUICK_SECONDS", 10)
    monkeypatch.setattr(light_runs, "_INSTANT_SECONDS", 10)
    for path, feed, fetch, ways in (("half", ("x:0", np.ones(2, np.float32)), "y:0", [0, 1, 2, 2]),
                                    ("slow", ("n:0", np.array(3)), "count:0", [0, 0, 0, 0])):
        model = load(root / path)
        seen = []
        run = model._run
        monkeypatch.setattr(model, "_run", lambda *arguments, run=run, seen=seen: (seen.append(arguments[2]), run(*arguments))[1])
        for _ in ways:
            model.run([feed], [fetch])
        assert seen == ways
        model.close()
