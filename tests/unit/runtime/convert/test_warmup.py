"""`tfleet warmup`: files that TensorFlow reads back, and refusals that leave nothing behind."""

import json
import os

import numpy as np
import pytest

from tfleet import cli, wire
from tfleet.client import golden
from tfleet.wire import tfrecord

FILE = os.path.join("assets.extra", "tf_serving_warmup_requests")


def save(tf, path, build):
    """build(tf.compat.v1) -> {signature: (inputs, outputs)}; the folder as str."""
    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        info = v1.saved_model.utils.build_tensor_info
        signatures = {
            name: v1.saved_model.signature_def_utils.build_signature_def(
                *[{alias: info(tensor) for alias, tensor in tensors.items()} for tensors in pair], "tensorflow/serving/predict")
            for name, pair in build(v1).items()
        }
        builder = v1.saved_model.builder.SavedModelBuilder(str(path))
        builder.add_meta_graph_and_variables(session, ["serve"], signatures)
        builder.save()
    return str(path)


def two_signatures(tf, path):
    """y = x summed over the columns, x being [None, 2] floats below 7; the same as `other`; count takes a scalar."""

    def build(v1):
        x = v1.placeholder(tf.float32, [None, 2], name="x")
        with tf.control_dependencies([v1.assert_less(x, 7.0)]):
            y = tf.reduce_sum(x, 1, name="y")
        n = v1.placeholder(tf.int64, [], name="n")
        return {"serving_default": ({"x": x}, {"y": y}), "other": ({"x": x}, {"y": y}), "count": ({"n": n}, {"n": n + 1})}

    return save(tf, path, build)


def text_model(tf, path):
    """Texts [None] as they are."""

    def build(v1):
        text = v1.placeholder(tf.string, [None], name="text")
        return {"serving_default": ({"text": text}, {"same": tf.identity(text)})}

    return save(tf, path, build)


@pytest.fixture
def model(tf, tmp_path):
    return two_signatures(tf, tmp_path / "model")


@pytest.fixture
def tfleet(capfd):
    def run(*arguments):
        code = cli.main(["warmup"] + [str(argument) for argument in arguments] + ["--json"])
        result = json.loads(capfd.readouterr().out)
        assert result["ok"] is (code == 0)
        return result

    return run


def read_back(tf, model):
    """The requests, as TensorFlow's own reader finds them."""
    records = tf.compat.v1.io.tf_record_iterator(os.path.join(model, FILE))
    logs = [wire.PredictionLog.FromString(record) for record in records]
    return [getattr(log, log.WhichOneof("log_type")).request for log in logs]


def arrays(request):
    return {alias: wire.tensors.to_numpy(request.inputs[alias]).tolist() for alias in request.inputs}


def example(value):
    message = wire.Example()
    message.features.feature["x"].float_list.value.append(value)
    return message


def test_sums_are_those_of_the_standard():
    assert tfrecord.crc32c(b"123456789") == 0xE3069283
    assert tfrecord.crc32c(b"\0" * 32) == 0x8A9136AA


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 200003])
def test_tensorflow_reads_what_is_written(tf, tmp_path, size):
    data = np.random.RandomState(size).bytes(size)
    path = tmp_path / "records"
    path.write_bytes(tfrecord.encode([b"first", data]))
    assert list(tf.compat.v1.io.tf_record_iterator(str(path))) == [b"first", data]
    with tf.compat.v1.io.TFRecordWriter(str(path)) as writer:
        writer.write(data)
        writer.write(b"last")
    assert list(tfrecord.decode(path.read_bytes())) == [data, b"last"]


def test_a_damaged_record_is_found():
    content = tfrecord.encode([b"abcdefgh", b"x"])
    for place in range(len(content)):
        with pytest.raises(ValueError, match=r"at byte (0|24)"):
            list(tfrecord.decode(content[:place] + bytes([content[place] ^ 1]) + content[place + 1:]))
    with pytest.raises(ValueError, match="cut short"):
        list(tfrecord.decode(content[:-1]))


def test_one_record_for_each_batch_size(tf, model, tfleet):
    result = tfleet(model, "--input", "x=[[1, 2], [3, 4]]", "--batch-sizes", "4,1", "--check")
    assert (result["changed"], result["records"], result["batch_sizes"], result["checked"]) == (True, 2, [1, 4], True)
    one, four = read_back(tf, model)
    assert arrays(one) == {"x": [[1, 2]]}
    assert arrays(four) == {"x": [[1, 2], [3, 4], [1, 2], [3, 4]]}
    assert (one.model_spec.name, one.model_spec.signature_name) == ("model", "serving_default")
    assert tfleet(model, "--input", "x=[[1, 2], [3, 4]]", "--batch-sizes", "4,1")["changed"] is False
    assert tfleet(model, "--input", "x=[[1, 2]]")["changed"] is True
    assert [arrays(request) for request in read_back(tf, model)] == [{"x": [[1, 2]]}]


def test_golden_examples_share_the_records_of_a_shape(tf, model, tmp_path, tfleet):
    path = str(tmp_path / "golden.npz")
    examples = [({"x": np.float32([[n, n]])}, {"y": np.float32([[n]])}) for n in range(3)]
    golden.write(path, {"model": "model", "signature_name": "other"}, examples)
    (tmp_path / "model" / "batching_params.pbtxt").write_text("max_batch_size { value: 5 } allowed_batch_sizes: [2, 5]")
    assert tfleet(model, "--golden", path)["requests"] == 3
    requests = read_back(tf, model)
    assert [request.model_spec.signature_name for request in requests] == ["other", "other"]
    assert [arrays(request)["x"] for request in requests] == [[[0, 0], [1, 1]], [[0, 0], [1, 1], [2, 2], [0, 0], [1, 1]]]


def test_strings_are_repeated_too(tf, tmp_path, tfleet):
    model = text_model(tf, tmp_path / "texts")
    tfleet(model, "--input", 'text=["a", {"b64": "/wA="}]', "--batch-sizes=3", "--check")
    assert arrays(read_back(tf, model)[0]) == {"text": [b"a", b"\xff\0", b"a"]}


def test_captured_requests(tf, model, tmp_path, tfleet):
    predict = wire.PredictRequest(output_filter=["y"])
    predict.model_spec.name = "live"
    predict.inputs["x"].CopyFrom(wire.tensors.to_proto(np.float32([[1, 2]])))
    log = wire.PredictionLog()
    log.predict_log.request.CopyFrom(predict)
    log.predict_log.response.model_spec.name = "not needed again"
    classify = wire.PredictionLog()
    classify.classify_log.request.model_spec.name = "live"
    classify.classify_log.request.input.example_list.examples.extend([example(1.0), example(2.0)])
    path = tmp_path / "captured"
    path.write_bytes(tfrecord.encode([predict.SerializeToString(), log.SerializeToString(), classify.SerializeToString()]))
    assert tfleet(model, "--captured", path)["records"] == 3
    assert read_back(tf, model) == [predict, predict, classify.classify_log.request]
    assert tfleet(model, "--captured", path, "--batch-sizes=3")["records"] == 2
    assert arrays(read_back(tf, model)[0]) == {"x": [[1, 2]] * 3}
    assert list(read_back(tf, model)[0].output_filter) == ["y"]
    values = [one.features.feature["x"].float_list.value[0] for one in read_back(tf, model)[1].input.example_list.examples]
    assert values == [1.0, 2.0, 1.0]


def captured(tmp_path, message):
    path = tmp_path / "captured"
    path.write_bytes(tfrecord.encode([message.SerializeToString()]))
    return path


def session_run(tmp_path):
    log = wire.PredictionLog()
    log.session_run_log.request.feed.add(name="x")
    return captured(tmp_path, log)


def other_dtype(tmp_path):
    request = wire.PredictRequest()
    request.inputs["x"].CopyFrom(wire.tensors.to_proto(np.int64([[1, 2]])))
    return captured(tmp_path, request)


def other_input(tmp_path):
    request = wire.PredictRequest()
    request.inputs["z"].CopyFrom(wire.tensors.to_proto(np.float32([[1, 2]])))
    return captured(tmp_path, request)


@pytest.mark.parametrize(("arguments", "message"), [
    (["--input", "x=[[1, 2]]", "--signature", "none"], "has no signature 'none'"),
    (["--input", "y=[[1, 2]]"], "has no input 'y'"),
    (["--input", "x=[[1, 2]]", "--batch-sizes", ",".join(map(str, range(1, 1002)))], "more than 1000"),
    (["--input", "n=3", "--signature", "count", "--batch-sizes", "2"], "Leave out the batch sizes."),
    (["--captured", session_run], "Record 0 of"),
    (["--captured", other_dtype], "is DT_INT64, but the signature has"),
    (["--captured", other_input], "x is missing"),
    (["--captured", lambda tmp_path: tmp_path / "nothing"], "No such file"),
    (["--input", "x=[[1, 2]]", "--batching-parameters", "/no/such/file"], "No such file"),
    (["--input", "x=[[7, 7]]", "--check"], "record 0 fails: INVALID_ARGUMENT: assertion failed"),
])
def test_refusals(model, tmp_path, tfleet, arguments, message):
    result = tfleet(model, *[argument(tmp_path) if callable(argument) else argument for argument in arguments])
    assert not result["ok"]
    assert message in result["msg"]
    assert not os.path.exists(os.path.join(model, FILE))


def test_a_folder_that_is_not_there(tmp_path, tfleet):
    assert "There is no folder" in tfleet(str(tmp_path / "nothing"), "--input", "x=[[1, 2]]")["msg"]


def test_a_released_version_is_left_alone(model, tfleet):
    with open(os.path.join(model, "manifest.json"), "w") as manifest:
        manifest.write("{}")
    result = tfleet(model, "--input", "x=[[1, 2]]")
    assert "is a released version" in result["msg"]
    assert not os.path.exists(os.path.join(model, FILE))
