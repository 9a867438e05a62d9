"""Loading and running real SavedModels; the only unit tests of the server that need TensorFlow."""

import importlib.util
import os

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="the model server runs on the TensorFlow of its environment")

from tfleet.server import executor
from tfleet.server.status import StatusError

pytestmark = pytest.mark.filterwarnings("ignore")


def served_models():
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "conformance", "served_models.py")
    spec = importlib.util.spec_from_file_location("served_models", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    directory = tmp_path_factory.mktemp("models")
    models = served_models()
    models.half_plus(str(directory / "half"), 2)
    models.slow(str(directory / "slow"))
    return directory


def load(path, tags=("serve",), **options):
    return executor.load(str(path), tags, executor.SessionOptions(**options))


def test_load_run_close(root):
    model = load(root / "half", intra_op=1, inter_op=1)
    assert list(model.signatures) == ["serving_default"]
    info = model.signatures["serving_default"].inputs["x"]
    assert (info.name, info.dtype) == ("x:0", 1)
    assert [array.tolist() for array in model.run([("x:0", np.array([1, 2], np.float32))], ["y:0", "y:0"])] == [[2.5, 3.0]] * 2
    model.close()


def test_time_limit(root):
    model = load(root / "slow")
    with pytest.raises(StatusError) as failure:
        model.run([("n:0", np.array(10 ** 9))], ["count:0"], timeout_ms=100)
    assert str(failure.value) == "DEADLINE_EXCEEDED: Timed out waiting for notification"
    assert model.run([("n:0", np.array(10))], ["count:0"], timeout_ms=60000)[0] == 10
    model.close()


def options_of_runs(model, monkeypatch):
    """What the runs of the model say to the runtime, as a list that grows."""
    seen = []
    run = model._run
    monkeypatch.setattr(model, "_run", lambda feeds, fetches, options: (seen.append(options), run(feeds, fetches, options))[1])
    return seen


def test_light_runs_stay_in_their_thread(root, monkeypatch):
    monkeypatch.setattr(executor, "_LIGHT_SECONDS", 10)
    model = load(root / "half")
    seen = options_of_runs(model, monkeypatch)
    for count in (2, 2, 1, 3, 3):
        assert model.run([("x:0", np.ones(count, np.float32))], ["y:0"], timeout_ms=1000)[0].tolist() == [2.5] * count
    assert [options == executor._IN_CALLER for options in seen] == [False, True, True, False, True]
    model.run([("x:0", np.ones(1, np.float32))], ["y:0"], timeout_ms=10)  # nothing could end it in time
    assert seen[-1] != executor._IN_CALLER
    with pytest.raises(StatusError, match="Expects arg"):
        model.run([("x:0", np.array([1]))], ["y:0"])
    model.close()


def test_heavy_runs_do_not(root, monkeypatch):
    model = load(root / "half")
    seen = options_of_runs(model, monkeypatch)
    for seconds, in_caller in ((10, False), (10, True), (0, True), (0, False), (0, False)):
        monkeypatch.setattr(executor, "_LIGHT_SECONDS", seconds)
        model.run([("x:0", np.ones(1, np.float32))], ["y:0"])
        assert (seen[-1] == executor._IN_CALLER) is in_caller
    model.close()


def test_runs_with_loops_never_do(root, monkeypatch):
    monkeypatch.setattr(executor, "_LIGHT_SECONDS", 10)
    model = load(root / "slow")
    seen = options_of_runs(model, monkeypatch)
    for _ in range(3):
        model.run([("n:0", np.array(1))], ["count:0"])
    assert seen == [b""] * 3
    model.close()


@pytest.mark.parametrize(("feeds", "fetches", "message"), [
    ([("x:0", np.array([b"a"], object))], ["y:0"], "INVALID_ARGUMENT: Expects arg[0] to be float but string is provided"),
    ([("nix:0", np.zeros(1, np.float32))], ["y:0"], "NOT_FOUND: FeedInputs: unable to find feed output nix:0"),
    ([("x:0", np.zeros(1, np.float32))], ["nix:0"], "NOT_FOUND: FetchOutputs node nix:0: not found"),
])
def test_run_errors(root, feeds, fetches, message):
    model = load(root / "half")
    with pytest.raises(StatusError) as failure:
        model.run(feeds, fetches)
    assert str(failure.value) == message
    model.close()


def test_missing_and_damaged_models(root, tmp_path):
    with pytest.raises(StatusError, match="Could not find SavedModel .pb or .pbtxt at supplied export directory path: %s" % tmp_path):
        load(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes((root / "half" / "saved_model.pb").read_bytes()[:200])
    with pytest.raises(StatusError) as failure:
        load(tmp_path)
    assert str(failure.value) == "DATA_LOSS: Can't parse %s/saved_model.pb as binary proto" % tmp_path


def test_missing_variables(root, tmp_path):
    (tmp_path / "saved_model.pb").write_bytes((root / "half" / "saved_model.pb").read_bytes())
    with pytest.raises(StatusError) as failure:
        load(tmp_path)
    assert "variables" in failure.value.message


def test_tags_must_match_exactly(root):
    with pytest.raises(StatusError) as failure:
        load(root / "half", tags=("serve", "gpu"))
    assert str(failure.value) == (
        "NOT_FOUND: Could not find meta graph def matching supplied tags: { serve gpu }. To inspect available tag-sets in the SavedModel, "
        "please use the SavedModel CLI: `saved_model_cli`")


def test_session_config_file(root, tmp_path):
    file = tmp_path / "session.config"
    file.write_text("intra_op_parallelism_threads: 1 gpu_options { allow_growth: true }")
    assert executor.SessionOptions(str(file)).proto().gpu_options.allow_growth is True
    file.write_text("no_such_field: 1")
    with pytest.raises(StatusError, match="Invalid protobuf file"):
        load(root / "half", config_file=str(file))


@pytest.mark.parametrize(("timeout", "encoded"), [(1, b"\x10\x01"), (0, b"\x10\x01"), (127, b"\x10\x7f"), (128, b"\x10\x80\x01"), (30000, b"\x10\xb0\xea\x01")])
def test_run_options(timeout, encoded):
    assert executor._run_options(timeout) == encoded


def test_records(tmp_path):
    import tensorflow as tf

    path = str(tmp_path / "records")
    with tf.io.TFRecordWriter(path) as writer:
        for record in (b"one", b""):
            writer.write(record)
    assert list(executor.read_records(path)) == [b"one", b""]
    with open(path, "r+b") as file:
        file.seek(5)
        file.write(b"\xff")
    with pytest.raises(StatusError, match="corrupted record"):
        list(executor.read_records(path))
