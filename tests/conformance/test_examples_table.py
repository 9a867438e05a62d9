"""Classify, Regress and MultiInference, over gRPC and REST."""

import json

import pytest
from google.protobuf import text_format

from tfleet import wire

TWO = """input { example_list {
  examples { features { feature { key: "x" value { float_list { value: 2 } } } } }
  examples { features { feature { key: "x" value { float_list { value: 0.5 } } } } } } }"""
SPEC = 'model_spec { name: "examples" %s} '
ANSWER_SPEC = 'model_spec { name: "examples" version { value: 3 } signature_name: "%s" }'
CLASSES = """classifications { classes { label: "a" score: 2 } classes { label: "b" score: 4 } }
  classifications { classes { label: "a" score: 0.5 } classes { label: "b" score: 1 } }"""
VALUES = "regressions { value: 3 } regressions { value: 2.25 }"


def signature(name):
    return SPEC % ('signature_name: "%s" ' % name)


def tasks(*items):
    return " ".join('tasks { model_spec { name: "%s" signature_name: "%s" } method_name: "tensorflow/serving/%s" }' % item for item in items)


ANSWERS = [
    ("classify", wire.CLASSIFY, SPEC % "" + TWO, "result { %s } %s" % (CLASSES, ANSWER_SPEC % "serving_default")),
    ("classify with scores alone", wire.CLASSIFY, signature("only_scores") + TWO,
     "result { classifications { classes { score: 2 } classes { score: 4 } } classifications { classes { score: 0.5 } classes { score: 1 } } } "
     + ANSWER_SPEC % "only_scores"),
    ("regress", wire.REGRESS, signature("regress") + TWO, "result { %s } %s" % (VALUES, ANSWER_SPEC % "regress")),
    ("a context counts for every example", wire.REGRESS, signature("regress") + """input { example_list_with_context {
       context { features { feature { key: "x" value { float_list { value: 2 } } } } } examples {} examples {
       features { feature { key: "x" value { float_list { value: 0.5 } } } } } } }""", "result { %s } %s" % (VALUES, ANSWER_SPEC % "regress")),
    ("multi inference", wire.MULTI_INFERENCE, tasks(("examples", "regress", "regress"), ("examples", "serving_default", "classify")) + TWO,
     "results { %s regression_result { %s } } results { %s classification_result { %s } }"
     % (ANSWER_SPEC % "regress", VALUES, ANSWER_SPEC % "serving_default", CLASSES)),
]


@pytest.mark.parametrize(("method", "request_text", "answer"), [case[1:] for case in ANSWERS], ids=[case[0] for case in ANSWERS])
def test_answer(server, method, request_text, answer):
    assert server.call(method, request_text) == ("OK", text_format.Parse(answer, wire.METHODS[method][1]()))


ERRORS = [
    ("no model_spec", wire.CLASSIFY, "", "INVALID_ARGUMENT", "Missing ModelSpec"),
    ("unknown model", wire.REGRESS, 'model_spec { name: "nix" }', "NOT_FOUND", "Servable not found for request: Latest(nix)"),
    ("unknown signature", wire.CLASSIFY, signature("nix") + TWO, "INVALID_ARGUMENT", "No signature was found with the name: nix"),
    ("no input", wire.CLASSIFY, SPEC % "", "INVALID_ARGUMENT", "Input is empty."),
    ("no example", wire.REGRESS, signature("regress") + "input { example_list {} }", "INVALID_ARGUMENT", "Input is empty."),
    ("two inputs", wire.REGRESS, signature("two_inputs") + TWO, "INVALID_ARGUMENT", "Expected one input Tensor."),
    ("three outputs", wire.CLASSIFY, signature("three") + TWO, "INVALID_ARGUMENT", "Expected one or two output Tensors, found 3"),
    ("two outputs", wire.REGRESS, SPEC % "" + TWO, "INVALID_ARGUMENT", "Expected one output Tensor."),
    ("scores of one dimension", wire.CLASSIFY, signature("flat") + TWO, "INVALID_ARGUMENT",
     "Expected Tensor shape: [batch_size num_classes] but got [2]"),
    ("values of two columns", wire.REGRESS, signature("wide_regress") + TWO, "INVALID_ARGUMENT",
     "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [2,2]"),
    ("multi: no task", wire.MULTI_INFERENCE, TWO, "INVALID_ARGUMENT", "ModelSpec has no name specified."),
    ("multi: empty name further on", wire.MULTI_INFERENCE, tasks(("examples", "regress", "regress"), ("", "", "classify")) + TWO,
     "INVALID_ARGUMENT", "Found ModelSpec with an empty model name."),
    ("multi: two models", wire.MULTI_INFERENCE, tasks(("examples", "regress", "regress"), ("half", "", "classify")) + TWO,
     "INVALID_ARGUMENT", "All ModelSpecs in a MultiInferenceRequest must access the same model name."),
    ("multi: twice the same", wire.MULTI_INFERENCE, tasks(("examples", "regress", "regress"), ("examples", "regress", "regress")) + TWO,
     "INVALID_ARGUMENT", "Duplicate evaluation of signature: regress"),
    ("multi: unknown signature", wire.MULTI_INFERENCE, tasks(("examples", "nix", "regress")) + TWO, "INVALID_ARGUMENT",
     "Requested signature not found in model graph: nix"),
    ("multi: unknown method", wire.MULTI_INFERENCE, tasks(("examples", "regress", "predict")) + TWO, "UNIMPLEMENTED",
     "Unsupported signature method_name: tensorflow/serving/predict"),
]


@pytest.mark.parametrize(("method", "request_text", "code", "message"), [case[1:] for case in ERRORS], ids=[case[0] for case in ERRORS])
def test_error(server, method, request_text, code, message):
    assert server.call(method, request_text) == (code, message)


@pytest.mark.parametrize(("method", "name", "start"), [
    (wire.CLASSIFY, "odd_output", 'Expected classification signature outputs to contain at least one of "classes" or "scores". Signature was: '),
    (wire.CLASSIFY, "odd_input", "No classification inputs found in SignatureDef: "),
    (wire.REGRESS, "odd_input", "No regression inputs found in SignatureDef: "),
    (wire.REGRESS, "odd_output", "No regression outputs found in SignatureDef: "),
])
def test_signature_of_another_form(server, method, name, start):
    code, message = server.call(method, signature(name) + TWO)
    assert code == "INVALID_ARGUMENT"
    assert message.startswith(start)


REST_ANSWERS = [
    ("classify", "classify", '{"examples": [{"x": 2.0}, {"x": [0.5]}]}',
     '{\n    "results": [[["a", 2.0], ["b", 4.0]], [["a", 0.5], ["b", 1.0]]\n    ]\n}'),
    ("no labels", "classify", '{"signature_name": "only_scores", "examples": [{"x": 2.0}]}', '{\n    "results": [[["", 2.0], ["", 4.0]]\n    ]\n}'),
    ("regress", "regress", '{"signature_name": "regress", "examples": [{"x": 2.0}, {"x": 0.5}]}', '{\n    "results": [3.0, 2.25]\n}'),
    ("context", "regress", '{"signature_name": "regress", "context": {"x": 2.0}, "examples": [{}, {"x": 0.5}]}', '{\n    "results": [3.0, 2.25]\n}'),
]


@pytest.mark.parametrize(("verb", "body", "answer"), [case[1:] for case in REST_ANSWERS], ids=[case[0] for case in REST_ANSWERS])
def test_rest_answer(server, verb, body, answer):
    status, headers, got = server.http("POST", "/v1/models/examples:" + verb, body)
    assert (status, got.decode()) == (200, answer)
    assert headers["Content-Type"] == "application/json"


REST_ERRORS = [
    ("no examples", "regress", "{}", "JSON Value: {} When method is classify, key 'examples' is expected and was not found"),
    ("examples is no list", "classify", '{"examples": 1}', 'JSON Value: {\n    "examples": 1\n} Expecting \'examples\' value to be an list/array'),
    ("empty list", "classify", '{"examples": []}', 'JSON Value: {\n    "examples": []\n} \'examples\' value is an empty array'),
    ("an example is no object", "classify", '{"examples": [1]}', "Example must be JSON object but got JSON Number"),
    ("two kinds in one feature", "classify", '{"examples": [{"x": [1.5, 1]}]}', "Unexpected element type in feature: x expecting type: float"),
    ("null", "classify", '{"examples": [{"x": null}]}', "Feature: x has element with unexpected JSON type: Null"),
    ("uint64", "classify", '{"examples": [{"x": 18446744073709551615}]}', "Feature: x has uint64 element. Only int64 is supported."),
    ("unknown signature", "regress", '{"signature_name": "nix", "examples": [{"x": 1.0}]}', "No signature was found with the name: nix"),
]


@pytest.mark.parametrize(("verb", "body", "message"), [case[1:] for case in REST_ERRORS], ids=[case[0] for case in REST_ERRORS])
def test_rest_error(server, verb, body, message):
    status, _, got = server.http("POST", "/v1/models/examples:" + verb, body)
    assert status == 400
    assert json.loads(got.decode()) == {"error": message}


def test_every_kind_of_feature_reaches_the_model(server):
    body = '{"signature_name": "regress", "examples": [{"x": 2.0, "a": [1, true], "b": ["text", {"b64": "/w=="}], "c": []}]}'
    assert server.http("POST", "/v1/models/examples:regress", body)[2] == b'{\n    "results": [3.0]\n}'


def test_examples_are_counted(own_server):
    def counts():
        lines = own_server.http("GET", "/monitoring/prometheus/metrics")[2].decode().splitlines()
        found = {line.rpartition(" ")[0]: line.rpartition(" ")[2] for line in lines}
        assert found["# TYPE :tensorflow:serving:request_example_counts"] == "histogram"
        assert found["# TYPE :tensorflow:serving:request_example_count_total"] == "counter"
        start = ":tensorflow:serving:request_example_count"
        return [int(found[start + name]) for name in (
            's_count{model="examples"}', 's_sum{model="examples"}', 's_bucket{model="examples",le="2"}', 's_bucket{model="examples",le="16384"}',
            's_bucket{model="examples",le="+Inf"}', '_total{model="examples"}')]

    request = tasks(("examples", "regress", "regress"), ("examples", "serving_default", "classify")) + TWO
    assert own_server.call(wire.MULTI_INFERENCE, request)[0] == "OK"
    before = counts()
    assert own_server.call(wire.MULTI_INFERENCE, request)[0] == "OK"
    # Classify and Regress by themselves do not count.
    assert own_server.call(wire.CLASSIFY, SPEC % "" + TWO)[0] == "OK"
    # Two examples are not less than two: they fall between 2 and 4.
    assert [now - then for now, then in zip(counts(), before)] == [1, 2, 0, 1, 1, 2]
