"""TensorFlow 1's checkpoint with its meta graph, as training leaves it: optimizer, input pipeline and all."""

import os
import shutil

import numpy as np
import pytest

from tfleet.convert import checkpoint_files
from tfleet.convert.export import export

from .conftest import LINEAR, append, refused


@pytest.fixture(scope="session")
def training(tf, folder):
    """A training folder with two checkpoints: y = x @ w + b with w partitioned, an Adam step, and an input pipeline behind x."""
    v1 = tf.compat.v1
    path = folder / "training"
    path.mkdir()
    with v1.Session(graph=tf.Graph()) as session:
        batches = v1.data.make_one_shot_iterator(tf.data.Dataset.from_tensors(np.ones((4, 3), np.float32)).repeat()).get_next()
        x = tf.identity(batches, name="x")
        with tf.device("/device:GPU:0"):
            w = v1.get_variable("w", [3, 2], initializer=v1.ones_initializer(), partitioner=v1.fixed_size_partitioner(3), use_resource=False)
            b = v1.get_variable("b", [2], initializer=v1.zeros_initializer(), use_resource=True)
        y = tf.add(tf.matmul(x, tf.convert_to_tensor(w)), b, name="y")
        grown = [v1.assign_add(part, tf.ones_like(part)) for part in w]
        saver = v1.train.Saver()
        session.run(v1.global_variables_initializer())
        saver.save(session, str(path / "model.ckpt"), global_step=9)
        session.run(grown)
        saver.save(session, str(path / "model.ckpt"), global_step=10)
        wanted = session.run(y)
    return str(path), wanted


@pytest.fixture
def copied(training, tmp_path):
    """A copy that a test may damage."""
    shutil.copytree(training[0], str(tmp_path / "training"))
    return str(tmp_path / "training")


@pytest.mark.parametrize("name", ["", "model.ckpt-10", "model.ckpt-10.meta", "model.ckpt-10.index"])
def test_a_checkpoint_by_any_of_its_names(training, dest, run_saved_model, name):
    answer = export(os.path.join(training[0], name), dest, declared=LINEAR, device="clear")
    assert (answer["kind"], answer["warnings"][0]["code"]) == ("checkpoint", "fixed_batch")
    np.testing.assert_array_equal(run_saved_model(dest, x=np.ones((4, 3)))["y"], training[1])


def test_the_input_pipeline_and_the_training_are_left_behind(training, dest, run_saved_model, tf):
    export(training[0], dest, declared=LINEAR, device="clear", batch="free")
    from tfleet.convert import saved_model

    operations = {node.op for node in saved_model.read(dest).meta_graphs[0].graph_def.node}
    assert not operations & {"IteratorGetNext", "OneShotIterator", "VariableV2", "VarHandleOp", "SaveV2", "RestoreV2", "AssignAdd"}
    assert run_saved_model(dest, x=np.ones((1, 3)))["y"].tolist() == [[6, 6]]
    assert tf.saved_model.load(dest).signatures["serving_default"](x=tf.ones((2, 3)))["y"].numpy().tolist() == [[6, 6], [6, 6]]


def test_device_strings_are_those_of_the_meta_graph(training, dest):
    answer = export(training[0], dest, declared=LINEAR)
    assert "hard_wired_device" in [warning["code"] for warning in answer["warnings"]]


def test_the_older_checkpoint_can_be_named(training, dest, run_saved_model):
    export(os.path.join(training[0], "model.ckpt-9.meta"), dest, declared=LINEAR, device="clear")
    assert run_saved_model(dest, x=np.ones((4, 3)))["y"].tolist() == [[3, 3]] * 4


def test_the_same_again_is_unchanged_also_under_another_name(training, dest, tmp_path):
    first = export(training[0], dest, declared=LINEAR)
    for path in checkpoint_files.files_of(os.path.join(training[0], "model.ckpt-10")):
        shutil.copy(path, str(tmp_path / os.path.basename(path).replace("model.ckpt-10", "renamed")))
    again = export(str(tmp_path / "renamed.meta"), dest, declared=LINEAR)
    assert (again["changed"], again["source_sha256"]) == (False, first["source_sha256"])


def test_an_archive_with_a_checkpoint(training, dest, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "model"), "gztar", training[0])
    assert "holds more than one model: `model.ckpt-10.meta` (checkpoint), `model.ckpt-9.meta` (checkpoint)" in str(refused(archive, dest, declared=LINEAR))
    only = tmp_path / "only"
    only.mkdir()
    for path in checkpoint_files.files_of(os.path.join(training[0], "model.ckpt-10")):
        shutil.copy(path, str(only))
    assert export(shutil.make_archive(str(tmp_path / "one"), "zip", str(only)), dest, declared=LINEAR)["kind"] == "checkpoint"


def test_without_signatures_candidates_are_told(training, dest):
    error = refused(training[0], dest)
    assert "has no signature" in str(error)
    assert "y:0" in [entry["name"] for entry in error.result["candidates"]["outputs"]]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: os.unlink(path + ".data-00000-of-00001"), "cannot be restored"),
        (lambda path: append(path + ".index", b"xx"), "cannot be restored"),
        (lambda path: shutil.copy(path.replace("-10", "-9") + ".index", path + ".meta"), "is not a meta graph"),
        (lambda path: os.unlink(path + ".index"), "meta graph of a checkpoint, without weights"),
        (lambda path: open(path + ".meta", "wb").close(), "is empty"),
    ],
)
def test_damaged_checkpoints(copied, dest, damage, said):
    prefix = os.path.join(copied, "model.ckpt-10")
    damage(prefix)
    assert said in str(refused(prefix + ".meta", dest, declared=LINEAR))


def test_a_checkpoint_of_another_training(tf, copied, dest, tmp_path):
    v1 = tf.compat.v1
    with v1.Session(graph=tf.Graph()) as session:
        v1.get_variable("other", [], initializer=v1.zeros_initializer())
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(tmp_path / "other"))
    for path in checkpoint_files.files_of(str(tmp_path / "other")):
        if not path.endswith(".meta"):
            shutil.copy(path, os.path.join(copied, "model.ckpt-10" + path[len(str(tmp_path / "other")):]))
    assert "lacks weights that its meta graph wants" in str(refused(copied, dest, declared=LINEAR))


def test_mistakes_with_kinds_and_folders(copied, dest, tmp_path, linear):
    assert "is a part of a checkpoint, but kind is frozen_graph" in str(refused(os.path.join(copied, "model.ckpt-9.meta"), dest, kind="frozen_graph"))
    (tmp_path / "empty").mkdir()
    assert "holds no checkpoint with its meta graph" in str(refused(str(tmp_path / "empty"), dest, kind="checkpoint"))
    shutil.copy(linear, copied)
    assert "It holds the file linear.pb" in str(refused(copied, dest, declared=LINEAR))
    assert "there is no tensor `z:0`" in str(
        refused(os.path.join(copied, "model.ckpt-9"), dest, declared={"s": {"inputs": {"x": "x:0"}, "outputs": {"z": "z:0"}}})
    )
