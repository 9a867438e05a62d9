"""Module saved_model with the real runtime, on the demo model's graph."""

import hashlib
import json
import os
import shutil

import pytest
from ansible_collections.tfleet.serving.tests.unit.plugins.serving_tools import exported

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 3))
GRAPH = os.path.join(ROOT, "models", "digits", "1", "frozen_graph.pb")
SIGNATURES = {"serving_default": {"inputs": {"images": "images:0"}, "outputs": {"scores": "scores:0", "classes": "classes:0"}}}


@pytest.fixture
def parameters(tfleet_runtime, tmp_path):
    return {"src": GRAPH, "dest": str(tmp_path / "model"), "signatures": SIGNATURES, "runtime": tfleet_runtime}


@pytest.fixture
def present(tfleet_runtime, parameters):
    """``present()`` puts in place what the module makes of these parameters."""
    return lambda: shutil.copytree(exported(tfleet_runtime, 1), parameters["dest"])


def tree(path):
    return {
        os.path.relpath(os.path.join(folder, name), path): os.stat(os.path.join(folder, name)).st_mtime_ns
        for folder, _folders, names in os.walk(path)
        for name in names
    }


def test_present_four_times(four_times, parameters):
    check, change, _check_same, same = four_times("saved_model", **parameters)
    assert sorted(tree(parameters["dest"])) == ["assets.extra/tfleet_provenance.json", "saved_model.pb"]
    assert check["diff"]["before"] == {} and check["diff"]["after"]["fingerprint"] == change["fingerprint"]
    assert change["signatures"]["serving_default"]["inputs"]["images"] == {"name": "images:0", "dtype": "float32", "shape": [-1, 8, 8, 1]}
    for key in ("kind", "fingerprint", "source_sha256", "signatures", "files", "bytes", "dest"):
        assert check[key] == change[key] == same[key]
    with open(os.path.join(parameters["dest"], "assets.extra", "tfleet_provenance.json")) as stream:
        assert json.load(stream)["fingerprint"] == change["fingerprint"]


def test_check_mode_writes_nothing(run_module, parameters, tmp_path):
    before = sorted(os.listdir(str(tmp_path)))
    assert run_module("saved_model", check=True, **parameters)["changed"]
    assert [name for name in sorted(os.listdir(str(tmp_path))) if name != "arguments.json"] == before


def test_absent_four_times(four_times, run_module, present, parameters, tmp_path):
    present()
    made = run_module("saved_model", **parameters)
    assert not made["changed"]
    results = four_times("saved_model", dest=parameters["dest"], state="absent")
    assert results[0]["diff"]["before"]["fingerprint"] == made["fingerprint"] and results[0]["diff"]["after"] == {}
    assert [name for name in os.listdir(str(tmp_path)) if "model" in name] == []


def test_absent_keeps_what_is_no_model(run_module, tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "one.txt").write_text("dear")
    result = run_module("saved_model", dest=str(tmp_path / "letters"), state="absent")
    assert result["failed"] and "is not a SavedModel folder" in result["msg"]
    assert (tmp_path / "letters" / "one.txt").read_text() == "dear"


def test_other_signatures_never_change_a_folder_in_place(run_module, present, parameters):
    present()
    before = tree(parameters["dest"])
    other = {"serving_default": {"inputs": {"images": "images:0"}, "outputs": {"scores": "scores:0"}}}
    for check in (True, False):
        result = run_module("saved_model", check=check, **dict(parameters, signatures=other))
        assert result["failed"] and "other signatures" in result["msg"] and "state absent" in result["msg"]
    assert tree(parameters["dest"]) == before


def test_a_changed_file_is_named(run_module, present, parameters):
    present()
    with open(os.path.join(parameters["dest"], "saved_model.pb"), "ab") as stream:
        stream.write(b"\0")
    result = run_module("saved_model", **parameters)
    assert result["failed"] and "saved_model.pb was changed" in result["msg"]


def test_a_warm_up_file_beside_it_is_welcome(run_module, present, parameters):
    present()
    with open(os.path.join(parameters["dest"], "assets.extra", "tf_serving_warmup_requests"), "wb") as stream:
        stream.write(b"record")
    assert run_module("saved_model", **parameters)["changed"] is False


def test_without_signatures_the_candidates_come_as_a_proposal(run_module, parameters):
    result = run_module("saved_model", **dict(parameters, signatures=None))
    assert result["failed"] and result["proposal"] == {
        "serving_default": {"inputs": {"images": "images:0"}, "outputs": {"scores": "scores:0", "classes": "classes:0"}}
    }
    assert 'signatures: {serving_default: {inputs: {images: "images:0"}' in result["msg"]
    assert result["candidates"]["outputs"][0]["shape"] == [-1, 10]
    assert run_module("saved_model", **dict(parameters, signatures=result["proposal"]))["changed"]


def test_a_tensor_name_without_output_number(run_module, parameters):
    wrong = {"serving_default": {"inputs": {"images": "images"}, "outputs": {"scores": "scores:0"}}}
    result = run_module("saved_model", **dict(parameters, signatures=wrong))
    assert result["failed"] and "Write `images:0`" in result["msg"] and result["candidates"] == ["images:0"]
    assert not os.path.exists(parameters["dest"])


def test_checksum_of_a_local_file(run_module, parameters):
    with open(GRAPH, "rb") as stream:
        right = hashlib.sha256(stream.read()).hexdigest()
    result = run_module("saved_model", **dict(parameters, checksum="sha256:" + "0" * 64))
    assert result["failed"] and result["expected"] == "0" * 64 and result["found"] == right
    assert run_module("saved_model", **dict(parameters, checksum="sha256:" + right))["source_sha256"] == right


def test_check_mode_goes_on_without_a_runtime_or_a_source(run_module, present, parameters, tmp_path):
    for missing in ({"runtime": str(tmp_path / "no-tfleet")}, {"src": str(tmp_path / "later.pb")}):
        check = run_module("saved_model", check=True, **dict(parameters, **missing))
        assert check["changed"] and "Would export" in check["msg"] and check["diff"]["after"]["signatures"] == SIGNATURES
        assert run_module("saved_model", **dict(parameters, **missing))["failed"]
    present()
    check = run_module("saved_model", check=True, **dict(parameters, runtime=str(tmp_path / "no-tfleet")))
    assert check["changed"] is False


def test_src_is_required_to_make_one(run_module, tmp_path):
    result = run_module("saved_model", dest=str(tmp_path / "model"))
    assert result["failed"] and "src" in result["msg"]


def test_secrets_of_the_environment_are_masked(run_module, parameters):
    result = run_module("saved_model", **dict(parameters, src="/nowhere/tok-12345.pb", runtime_env={"HUB_TOKEN": "tok-12345"}))
    assert result["failed"] and "tok-12345" not in json.dumps(result)


def test_a_killed_export_leaves_nothing_that_stays(run_module, parameters, tmp_path):
    leftover = tmp_path / ".model.tfleet-abandoned"
    shutil.copytree(os.path.dirname(GRAPH), str(leftover))
    assert run_module("saved_model", **parameters)["changed"]
    assert not leftover.exists()


def test_a_graph_is_made_fit_and_what_is_left_is_told(four_times, parameters):
    fitted = dict(parameters, device="cpu", image_bytes="images", pixel_values=[-1.0, 1.0])
    _check, change, _check_same, same = four_times("saved_model", **fitted)
    assert list(change["signatures"]["serving_default"]["inputs"]) == ["image_bytes"]
    assert (change["lint"], same["lint"]) == ([], [])
    with open(os.path.join(parameters["dest"], "assets.extra", "tfleet_provenance.json")) as stream:
        options = json.load(stream)["options"]
    assert (options["device"], options["image_bytes"], options["pixel_values"]) == ("cpu", "images", [-1.0, 1.0])


def test_warnings_of_the_linter_come_with_the_change_only(run_module, parameters):
    detector = dict(
        parameters,
        src=os.path.join(ROOT, "models", "digits_detector", "1", "frozen_graph.pb"),
        signatures={"serving_default": {"inputs": {"inputs": "image_tensor:0"}, "outputs": {"boxes": "detection_boxes:0"}}},
    )
    change, same = run_module("saved_model", **detector), run_module("saved_model", **detector)
    assert [warning["code"] for warning in change["lint"]] == [warning["code"] for warning in same["lint"]] == ["fixed_batch"]
    assert "image_tensor (inputs of serving_default)" in json.dumps(change["warnings"])
    assert not same.get("warnings")


def test_pixel_values_in_the_wrong_order(run_module, parameters):
    result = run_module("saved_model", **dict(parameters, image_bytes="images", pixel_values=[1, 0]))
    assert result["failed"] and "the smaller one first" in result["msg"]
