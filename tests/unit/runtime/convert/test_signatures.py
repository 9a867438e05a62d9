"""What people may declare, and what they are told when they slip."""

import pytest

from tfleet.convert import signatures
from tfleet.errors import TfleetError


def test_one_form_for_what_is_declared():
    assert signatures.normalised({"raw": {"outputs": {"y": "y:0"}, "inputs": {"x": "x:0"}}}) == {
        "raw": {"inputs": {"x": "x:0"}, "outputs": {"y": "y:0"}, "method_name": "tensorflow/serving/predict"}
    }
    assert signatures.normalised(None) is None and signatures.normalised({}) is None


@pytest.mark.parametrize(
    "declared, words",
    [
        (["x"], ["must be a mapping", "list"]),
        ({"s": "x:0"}, ["Signature `s`", "inputs", "outputs"]),
        ({"s": {"input": {"x": "x:0"}, "outputs": {"y": "y:0"}}}, ["unknown key `input`", "Did you mean `inputs`?"]),
        ({"s": {"inputs": {"x": "x:0"}}}, ["declares no outputs", "tfleet inspect"]),
        ({"s": {"inputs": {"x": 0}, "outputs": {"y": "y:0"}}}, ["inputs", "`x: 0`"]),
        (
            {"s": {"inputs": {"x": "x:0"}, "outputs": {"y": "y:0"}, "method_name": "tensorflow/serving/prediction"}},
            ["Did you mean `tensorflow/serving/predict`?"],
        ),
        ({"__saved_model_init_op": {"inputs": {"x": "x:0"}, "outputs": {"y": "y:0"}}}, ["cannot be the name"]),
    ],
)
def test_slips_are_named(declared, words):
    with pytest.raises(TfleetError) as caught:
        signatures.normalised(declared)
    for word in words:
        assert word in str(caught.value)


def test_options_become_a_signature():
    assert signatures.from_options("raw", ["x=scope/x:0"], ["y=y:0", "z=z:1"]) == {"raw": {"inputs": {"x": "scope/x:0"}, "outputs": {"y": "y:0", "z": "z:1"}}}
    assert signatures.from_options("raw", None, None) is None
    for inputs in (["x"], ["x="], ["=x:0"], ["x=a:0", "x=b:0"]):
        with pytest.raises(TfleetError, match="--input"):
            signatures.from_options("raw", inputs, ["y=y:0"])


def test_json_errors_have_line_and_column():
    with pytest.raises(TfleetError, match=r"s\.json are not JSON.*line 2 column 1"):
        signatures.from_text('{"a":\n}', "s.json")


def test_the_nearest_names_see_scopes_and_case():
    known = ["FeatureExtractor/detection_scores", "detection_boxes", "Scores", "scores_1", "loss"]
    assert signatures.nearest("detection_scores", known)[0] == "FeatureExtractor/detection_scores"
    assert signatures.nearest("detection_box", known)[0] == "detection_boxes"
    assert signatures.nearest("scores", known)[0] == "Scores"
    assert signatures.nearest("xyz", known) == []


def test_a_proposal_has_one_alias_for_each_tensor():
    proposed = signatures.proposal([{"name": "a/x:0"}, {"name": "b/x:0"}], [{"name": "top:0"}, {"name": "top:1"}])
    assert proposed == {"serving_default": {"inputs": {"x": "a/x:0", "x_2": "b/x:0"}, "outputs": {"top": "top:0", "top_1": "top:1"}}}
