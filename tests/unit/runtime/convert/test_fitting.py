"""Graphs made fit to be served: device strings, a batch dimension, encoded pictures. Each answers as the graph it was made from."""

import io
import json
import os

import numpy as np
import pytest
from PIL import Image

from tfleet.convert.export import export
from tfleet.errors import TfleetError

from .conftest import DETECTOR, LINEAR, refused

OUTPUTS = sorted(DETECTOR["serving_default"]["outputs"])


def encoded(pixels, form="PNG", **options):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form, **options)
    return stream.getvalue()


@pytest.fixture
def pictures():
    return np.random.RandomState(3).randint(0, 255, (3, 6, 5, 3)).astype(np.uint8)


@pytest.fixture(scope="session")
def brightness(tf, folder):
    """y [?, 3] = the average colour of float pictures [?, 4, 4, 3]."""
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 4, 4, 3], "x")
        tf.reduce_mean(x, [1, 2], name="y")
    path = folder / "brightness.pb"
    path.write_bytes(graph.as_graph_def().SerializeToString())
    return str(path)


@pytest.fixture(scope="session")
def single(tf, folder):
    """y [3] = the average colour of one uint8 picture [?, ?, 3], without a batch dimension."""
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.uint8, [None, None, 3], "x")
        tf.reduce_mean(tf.cast(x, tf.float32), [0, 1], name="y")
    path = folder / "single.pb"
    path.write_bytes(graph.as_graph_def().SerializeToString())
    return str(path)


@pytest.fixture(scope="session")
def fixed(tf, folder):
    """y = 2 x for a batch of exactly 4, which nothing but the placeholder fixes."""
    with tf.Graph().as_default() as graph:
        tf.multiply(tf.compat.v1.placeholder(tf.float32, [4, 3], "x"), 2.0, name="y")
    path = folder / "fixed.pb"
    path.write_bytes(graph.as_graph_def().SerializeToString())
    return str(path)


# Device strings


@pytest.mark.parametrize(("device", "expected"), [("keep", {"", "/device:GPU:1"}), ("clear", {""}), ("cpu", {"/device:CPU:0"}), ("gpu", {"/device:GPU:0"})])
def test_device_strings(tf, tmp_path, dest, device, expected, run_saved_model):
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 3], "x")
        with tf.device("/device:GPU:1"):
            y = tf.compat.v1.cond(tf.reduce_sum(x) > 0, lambda: x * 2.0, lambda: x * 3.0)
        tf.identity(y, name="y")
    (tmp_path / "g.pb").write_bytes(graph.as_graph_def().SerializeToString())
    export(str(tmp_path / "g.pb"), dest, declared=LINEAR, device=device)
    from tfleet.convert import saved_model

    written = saved_model.read(dest).meta_graphs[0].graph_def
    assert {node.device for node in written.node} == expected
    assert {node.device for function in written.library.function for node in function.node_def} <= expected
    if device in ("clear", "cpu"):
        assert run_saved_model(dest, x=[[1, 2, 3]])["y"].tolist() == [[2, 4, 6]]


def test_device_strings_of_a_saved_model_leave_its_objects_and_signatures(tf, tf2_saved_model, dest):
    answer = export(tf2_saved_model, dest, device="cpu")
    assert sorted(answer["signatures"]) == ["serving_default", "word"]
    loaded = tf.saved_model.load(dest)
    assert loaded.signatures["serving_default"](tf.constant([[1.0, 1.0, 1.0]]))["score"].numpy().tolist() == [[3.0]]
    assert loaded.score(tf.constant([[1.0, 0.0, 0.0]]))["score"].numpy().tolist() == [[2.0]]


# A batch dimension


def test_a_fixed_batch_is_set_free(fixed, dest, run_saved_model):
    answer = export(fixed, dest, declared=LINEAR, batch="free")
    assert answer["signatures"]["serving_default"]["inputs"]["x"]["shape"] == [-1, 3]
    assert answer["signatures"]["serving_default"]["outputs"]["y"]["shape"] == [-1, 3]
    assert answer["warnings"] == []
    assert run_saved_model(dest, x=np.ones((7, 3)))["y"].tolist() == [[2, 2, 2]] * 7


def test_a_batch_that_is_built_in_is_not_set_free_but_put_into_a_loop(detector, dest, run_saved_model, tmp_path, pictures):
    error = refused(detector, dest, declared=DETECTOR, batch="free")
    assert "batch of 1 built in" in str(error)
    assert "batch: loop" in str(error)
    export(detector, dest, declared=DETECTOR)
    answer = export(detector, str(tmp_path / "loop"), declared=DETECTOR, batch="loop")
    assert answer["signatures"]["serving_default"]["inputs"]["inputs"]["shape"] == [-1, -1, -1, 3]
    assert answer["warnings"] == []
    together = run_saved_model(tmp_path / "loop", inputs=pictures)
    for row, picture in enumerate(pictures):
        alone = run_saved_model(dest, inputs=picture[np.newaxis])
        for name in OUTPUTS:
            np.testing.assert_allclose(together[name][row], alone[name][0], rtol=1e-6)


def test_a_graph_without_a_batch_is_put_into_a_loop(single, dest, run_saved_model, pictures, tf):
    answer = export(single, dest, declared=LINEAR, batch="loop")
    assert (answer["signatures"]["serving_default"]["inputs"]["x"]["shape"], answer["warnings"]) == ([-1, -1, -1, 3], [])
    wanted = pictures.astype(np.float32).mean(axis=(1, 2))
    np.testing.assert_allclose(run_saved_model(dest, x=pictures)["y"], wanted, rtol=1e-5)
    np.testing.assert_allclose(tf.saved_model.load(dest).signatures["serving_default"](x=tf.constant(pictures))["y"], wanted, rtol=1e-5)


def test_what_cannot_be_freed_or_looped_is_told(linear, tf2_saved_model, function_graph, dest):
    assert "no input with a fixed batch" in str(refused(linear, dest, declared=LINEAR, batch="free"))
    assert "takes any number of rows" in str(refused(linear, dest, declared=LINEAR, batch="loop"))
    assert "Freeze it first" in str(refused(tf2_saved_model, dest, batch="loop"))
    assert "exactly one signature, and there are 2" in str(refused(linear, dest, declared=dict(LINEAR, other=LINEAR["serving_default"]), batch="loop"))


# Encoded pictures


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF"])
def test_pictures_are_decoded_in_front_of_the_input(brightness, dest, run_saved_model, form):
    answer = export(brightness, dest, declared=LINEAR, image_bytes="x")
    assert answer["signatures"]["serving_default"]["inputs"] == {"image_bytes": {"name": "image_bytes:0", "dtype": "string", "shape": [-1]}}
    grey = [encoded(np.full((9, 5, 3), value, np.uint8), form) for value in (0, 51, 255)]
    np.testing.assert_allclose(run_saved_model(dest, image_bytes=grey)["y"], [[0] * 3, [0.2] * 3, [1] * 3], atol=0.01)


def test_pixels_are_those_that_a_client_would_send(brightness, dest, tmp_path, run_saved_model, pictures, tf):
    export(brightness, str(tmp_path / "plain"), declared=LINEAR)
    export(brightness, dest, declared=LINEAR, image_bytes="x", pixel_values=(-1.0, 1.0))
    sent = tf.image.resize(pictures, (4, 4)).numpy() / 127.5 - 1
    np.testing.assert_allclose(
        run_saved_model(dest, image_bytes=[encoded(picture) for picture in pictures])["y"], run_saved_model(tmp_path / "plain", x=sent)["y"], atol=1e-5
    )


def test_a_detector_takes_files(detector, dest, tmp_path, run_saved_model, pictures):
    export(detector, str(tmp_path / "plain"), declared=DETECTOR)
    export(detector, dest, declared=DETECTOR, image_bytes="inputs")
    export(detector, str(tmp_path / "loop"), declared=DETECTOR, image_bytes="inputs", batch="loop")
    alone = run_saved_model(tmp_path / "plain", inputs=pictures[:1])
    by_bytes = run_saved_model(dest, image_bytes=[encoded(pictures[0])])
    both = run_saved_model(tmp_path / "loop", image_bytes=[encoded(picture) for picture in pictures])
    for name in OUTPUTS:
        np.testing.assert_array_equal(by_bytes[name], alone[name])
        np.testing.assert_allclose(both[name][0], alone[name][0], rtol=1e-6)


def test_a_saved_model_takes_files_and_its_other_signature_still_takes_pixels(tf, tmp_path, dest, run_saved_model):
    class Model(tf.Module):
        def __init__(self):
            super().__init__()
            self.scale = tf.Variable(2.0)

        @tf.function(input_signature=[tf.TensorSpec([None, 2, 2, 3], tf.float32, name="image")])
        def mean(self, image):
            return {"y": self.scale * tf.reduce_mean(image, [1, 2])}

    model = Model()
    tf.saved_model.save(model, str(tmp_path / "m"), signatures={"serving_default": model.mean})
    answer = export(str(tmp_path / "m"), dest, image_bytes="image")
    assert list(answer["signatures"]["serving_default"]["inputs"]) == ["image_bytes"]
    white = encoded(np.full((2, 2, 3), 255, np.uint8))
    np.testing.assert_allclose(run_saved_model(dest, image_bytes=[white])["y"], [[2, 2, 2]], rtol=1e-6)
    loaded = tf.saved_model.load(dest).signatures["serving_default"]
    np.testing.assert_allclose(loaded(image_bytes=tf.constant([white]))["y"], [[2, 2, 2]], rtol=1e-6)


@pytest.mark.parametrize(("alias", "said"), [("y", "No signature has an input `y`"), ("x", r"float32 \[\?, 3\], which is no picture")])
def test_inputs_that_take_no_pictures(linear, dest, alias, said):
    with pytest.raises(TfleetError, match=said):
        export(linear, dest, declared=LINEAR, image_bytes=alias)


# The options as a whole


def test_options_decide_the_fingerprint_and_are_kept(fixed, dest, tmp_path):
    plain = export(fixed, dest, declared=LINEAR)
    same = export(fixed, dest, declared=LINEAR, device="keep", batch="keep", pixel_values=(0, 255))
    assert (same["changed"], same["fingerprint"]) == (False, plain["fingerprint"])
    with pytest.raises(TfleetError, match=r"of the same source with other batch \(None, not free\)"):
        export(fixed, dest, declared=LINEAR, batch="free")
    other = export(fixed, str(tmp_path / "other"), declared=LINEAR, batch="free", device="cpu")
    assert other["fingerprint"] != plain["fingerprint"]
    assert export(fixed, str(tmp_path / "other"), declared=LINEAR, batch="free", device="cpu")["changed"] is False
    with open(os.path.join(str(tmp_path / "other"), "assets.extra", "tfleet_provenance.json"), encoding="utf-8") as stream:
        kept = json.load(stream)["options"]
    assert (kept["batch"], kept["device"], "image_bytes" in kept) == ("free", "cpu", False)


@pytest.mark.parametrize("wish", [{"device": "tpu"}, {"batch": "fre"}])
def test_wishes_that_do_not_exist(fixed, dest, wish):
    assert "It takes keep, " in str(refused(fixed, dest, declared=LINEAR, **wish))


def test_the_command_takes_the_options(tfleet, fixed, dest):
    arguments = ["export", fixed, dest, "--input", "x=x:0", "--output", "y=y:0", "--batch", "free", "--device", "clear"]
    process = tfleet(*arguments)
    assert (process.returncode, process.answer["changed"], process.answer["warnings"]) == (0, True, [])
    assert tfleet("export", fixed, dest, "--pixel-values", "1..0").returncode == 2
