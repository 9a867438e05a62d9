"""Loading and running real SavedModels, by TensorFlow's Python and by its C API: both have to say the same."""

import importlib.util
import os

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="the model server runs on the TensorFlow of its environment")

from tfleet import wire
from tfleet.server import executor, native
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
    models.pair(str(directory / "pair"))
    models.types(str(directory / "types"))
    return directory


@pytest.fixture(params=[executor, native], ids=["python", "native"])
def load(request):
    """load(path, tags, **options of the session) by one of the two; what native leaves to executor is loaded by that."""

    def by(path, tags=("serve",), **options):
        arguments = (str(path), tags, executor.SessionOptions(**options))
        return request.param.load(*arguments) or executor.load(*arguments)

    return by


def test_load_run_close(root, load):
    model = load(root / "half", intra_op=1, inter_op=1)
    assert list(model.signatures) == ["serving_default"]
    info = model.signatures["serving_default"].inputs["x"]
    assert (info.name, info.dtype) == ("x:0", 1)
    assert [array.tolist() for array in model.run([("x:0", np.array([1, 2], np.float32))], ["y:0", "y:0"])] == [[2.5, 3.0]] * 2
    model.close()


def test_time_limit(root, load):
    model = load(root / "slow")
    with pytest.raises(StatusError) as failure:
        model.run([("n:0", np.array(10 ** 9))], ["count:0"], timeout_ms=100)
    assert str(failure.value) == "DEADLINE_EXCEEDED: Timed out waiting for notification"
    assert model.run([("n:0", np.array(10))], ["count:0"], timeout_ms=60000)[0] == 10
    model.close()


@pytest.mark.parametrize(("feeds", "fetches", "message"), [
    ([("x:0", np.array([b"a"], object))], ["y:0"], "INVALID_ARGUMENT: Expects arg[0] to be float but string is provided"),
    ([("x:0", np.array([1, 2]))], ["y:0"], "INVALID_ARGUMENT: Expects arg[0] to be float but int64 is provided"),
    ([("x:0", wire.tensors.to_numpy(wire.TensorProto(dtype=wire.DT.Value("DT_BFLOAT16"), half_val=[16256])))], ["y:0"],
     "INVALID_ARGUMENT: Expects arg[0] to be float but bfloat16 is provided"),
    ([], ["y:0"], "INVALID_ARGUMENT: You must feed a value for placeholder tensor 'x' with dtype float and shape [?]\n\t [[{{node x}}]]"),
    ([("nix:0", np.zeros(1, np.float32))], ["y:0"], "NOT_FOUND: FeedInputs: unable to find feed output nix:0"),
    ([("x:0", np.zeros(1, np.float32))], ["nix:0"], "NOT_FOUND: FetchOutputs node nix:0: not found"),
])
def test_run_errors(root, feeds, fetches, message, load):
    model = load(root / "half")
    with pytest.raises(StatusError) as failure:
        model.run(feeds, fetches)
    assert str(failure.value) == message
    model.close()


def test_missing_and_damaged_models(root, tmp_path, load):
    with pytest.raises(StatusError, match="Could not find SavedModel .pb or .pbtxt at supplied export directory path: %s" % tmp_path):
        load(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes((root / "half" / "saved_model.pb").read_bytes()[:200])
    with pytest.raises(StatusError) as failure:
        load(tmp_path)
    assert str(failure.value) == "DATA_LOSS: Can't parse %s/saved_model.pb as binary proto" % tmp_path


def test_missing_variables(root, tmp_path, load):
    (tmp_path / "saved_model.pb").write_bytes((root / "half" / "saved_model.pb").read_bytes())
    with pytest.raises(StatusError) as failure:
        load(tmp_path)
    assert "variables" in failure.value.message


def test_tags_must_match_exactly(root, load):
    with pytest.raises(StatusError) as failure:
        load(root / "half", tags=("serve", "gpu"))
    assert str(failure.value) == (
        "NOT_FOUND: Could not find meta graph def matching supplied tags: { serve gpu }. To inspect available tag-sets in the SavedModel, "
        "please use the SavedModel CLI: `saved_model_cli`")


def test_session_config_file(root, tmp_path, load):
    file = tmp_path / "session.config"
    file.write_text("intra_op_parallelism_threads: 1 gpu_options { allow_growth: true }")
    assert executor.SessionOptions(str(file)).proto().gpu_options.allow_growth is True
    file.write_text("no_such_field: 1")
    with pytest.raises(StatusError, match="Invalid protobuf file"):
        load(root / "half", config_file=str(file))


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
