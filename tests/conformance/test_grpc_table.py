"""Sections 4 and 6 of the specification over gRPC: (request, code, message), message for message."""

import pytest
from google.protobuf import text_format

from tfleet import wire

X = 'inputs { key: "x" value { dtype: DT_FLOAT tensor_shape { dim { size: 1 } } float_val: 1 } }'
HALF = 'model_spec { name: "half" } ' + X


def named(name):
    return X.replace('"x"', '"%s"' % name)


ERRORS = [
    # id, method, request, code, message
    ("no model_spec", wire.PREDICT, "", "INVALID_ARGUMENT", "Missing ModelSpec"),
    ("empty name", wire.PREDICT, "model_spec {}", "INVALID_ARGUMENT", "ModelSpec has no name specified."),
    ("unknown model", wire.PREDICT, 'model_spec { name: "nix" }', "NOT_FOUND", "Servable not found for request: Latest(nix)"),
    ("unknown version", wire.PREDICT, 'model_spec { name: "half" version { value: 99 } }', "NOT_FOUND",
     "Servable not found for request: Specific(half, 99)"),
    ("version of an unknown model", wire.PREDICT, 'model_spec { name: "nix" version { value: 1 } }', "NOT_FOUND",
     "Servable not found for request: Specific(nix, 1)"),
    ("unknown label", wire.PREDICT, 'model_spec { name: "half" version_label: "nix" }', "INVALID_ARGUMENT",
     "Unrecognized servable version label: nix"),
    ("label on a version that is not loaded", wire.PREDICT, 'model_spec { name: "half" version_label: "gone" }', "NOT_FOUND",
     "Servable not found for request: Specific(half, 9)"),
    ("unknown signature", wire.PREDICT, 'model_spec { name: "half" signature_name: "nix" }', "FAILED_PRECONDITION",
     'Serving signature key "nix" not found.'),
    ("no default signature", wire.PREDICT, 'model_spec { name: "types" }', "FAILED_PRECONDITION",
     'Serving signature key "serving_default" not found.'),
    ("too many inputs", wire.PREDICT, 'model_spec { name: "half" } ' + named("a") + named("b"), "INVALID_ARGUMENT",
     "input size does not match signature: 2!=1 len({a,b}) != len({x}). Sent extra: {a,b}. Missing but required: {x}."),
    ("no inputs", wire.PREDICT, 'model_spec { name: "half" }', "INVALID_ARGUMENT",
     "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. Missing but required: {x}."),
    ("wrong name", wire.PREDICT, 'model_spec { name: "half" } ' + named("z"), "INVALID_ARGUMENT",
     "Signature input alias: x(feed name: x:0) not found in request and no default value provided. Inputs expected to be in the "
     "request {z}, or default input alias set: "),
    ("dtype 0", wire.PREDICT, 'model_spec { name: "half" } inputs { key: "x" value { } }', "INVALID_ARGUMENT", "tensor parsing error: x"),
    ("tensor_content of the wrong length", wire.PREDICT,
     'model_spec { name: "half" } inputs { key: "x" value { dtype: DT_FLOAT tensor_shape { dim { size: 2 } } tensor_content: "abc" } }',
     "INVALID_ARGUMENT", "tensor parsing error: x"),
    ("wrong dtype", wire.PREDICT,
     'model_spec { name: "half" } inputs { key: "x" value { dtype: DT_STRING tensor_shape { dim { size: 1 } } string_val: "a" } }',
     "INVALID_ARGUMENT", "Expects arg[0] to be float but string is provided"),
    ("unknown output", wire.PREDICT, HALF + ' output_filter: "q"', "INVALID_ARGUMENT",
     "output tensor alias not found in signature: q Outputs expected to be in the set {y}."),
    ("duplicate output", wire.PREDICT, HALF + ' output_filter: "y" output_filter: "y"', "INVALID_ARGUMENT", "duplicate output tensor alias: y"),
    ("metadata without a model_spec", wire.GET_MODEL_METADATA, 'metadata_field: "signature_def"', "INVALID_ARGUMENT", "Missing ModelSpec"),
    ("metadata without a field", wire.GET_MODEL_METADATA, 'model_spec { name: "half" }', "INVALID_ARGUMENT",
     "GetModelMetadataRequest must specify at least one metadata_field"),
    ("metadata of another field", wire.GET_MODEL_METADATA, 'model_spec { name: "half" } metadata_field: "size"', "INVALID_ARGUMENT",
     "Metadata field size is not supported"),
    ("metadata of an unknown model", wire.GET_MODEL_METADATA, 'model_spec { name: "nix" } metadata_field: "signature_def"', "NOT_FOUND",
     "Servable not found for request: Latest(nix)"),
    ("status of an unknown model", wire.GET_MODEL_STATUS, 'model_spec { name: "nix" }', "NOT_FOUND", "Could not find any versions of model nix"),
    ("status of an unknown version", wire.GET_MODEL_STATUS, 'model_spec { name: "half" version { value: 8 } }', "NOT_FOUND",
     "Could not find version 8 of model half"),
    ("reload without a model list", wire.RELOAD_CONFIG, "", "INVALID_ARGUMENT",
     "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently supported"),
    ("reload with one model twice", wire.RELOAD_CONFIG,
     'config { model_config_list { config { name: "a" base_path: "/a" model_platform: "tensorflow" } '
     'config { name: "a" base_path: "/b" model_platform: "tensorflow" } } }',
     "INVALID_ARGUMENT", "Illegal to list model a multiple times in config list"),
    ("reload with a relative path", wire.RELOAD_CONFIG,
     'config { model_config_list { config { name: "a" base_path: "a/b" model_platform: "tensorflow" } } }',
     "INVALID_ARGUMENT", "Expected model a to have an absolute path or URI; got base_path()=a/b"),
    ("reload without a platform", wire.RELOAD_CONFIG, 'config { model_config_list { config { name: "a" base_path: "/a" } } }', "INVALID_ARGUMENT",
     "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform, model name is a"),
    ("reload with an unknown platform", wire.RELOAD_CONFIG,
     'config { model_config_list { config { name: "a" base_path: "/a" model_platform: "caffe" } } }',
     "INVALID_ARGUMENT", "Model a requests unsupported platform caffe"),
]


@pytest.mark.parametrize(("method", "request_text", "code", "message"), [case[1:] for case in ERRORS], ids=[case[0] for case in ERRORS])
def test_error(server, method, request_text, code, message):
    assert server.call(method, request_text) == (code, message)


PREDICTIONS = [
    # id, request, response
    ("latest is the highest version", HALF,
     'outputs { key: "y" value { dtype: DT_FLOAT tensor_shape { dim { size: 1 } } float_val: 3.5 } } '
     'model_spec { name: "half" version { value: 2 } signature_name: "serving_default" }'),
    ("a version", 'model_spec { name: "half" version { value: 1 } } ' + X,
     'outputs { key: "y" value { dtype: DT_FLOAT tensor_shape { dim { size: 1 } } float_val: 2.5 } } '
     'model_spec { name: "half" version { value: 1 } signature_name: "serving_default" }'),
    ("a label, which the answer does not repeat", 'model_spec { name: "half" version_label: "stable" } ' + X,
     'outputs { key: "y" value { dtype: DT_FLOAT tensor_shape { dim { size: 1 } } float_val: 2.5 } } '
     'model_spec { name: "half" version { value: 1 } signature_name: "serving_default" }'),
    ("a short list is padded with its last value",
     'model_spec { name: "half" } inputs { key: "x" value { dtype: DT_FLOAT tensor_shape { dim { size: 3 } } float_val: 0 float_val: 1 } }',
     'outputs { key: "y" value { dtype: DT_FLOAT tensor_shape { dim { size: 3 } } float_val: 3 float_val: 3.5 float_val: 3.5 } } '
     'model_spec { name: "half" version { value: 2 } signature_name: "serving_default" }'),
    ("an empty list is zeros", 'model_spec { name: "half" } inputs { key: "x" value { dtype: DT_FLOAT tensor_shape { dim { size: 2 } } } }',
     'outputs { key: "y" value { dtype: DT_FLOAT tensor_shape { dim { size: 2 } } float_val: 3 float_val: 3 } } '
     'model_spec { name: "half" version { value: 2 } signature_name: "serving_default" }'),
    ("the signature's shape is not checked", 'model_spec { name: "half" } inputs { key: "x" value { dtype: DT_FLOAT tensor_shape { } float_val: 2 } }',
     'outputs { key: "y" value { dtype: DT_FLOAT tensor_shape { } float_val: 4 } } '
     'model_spec { name: "half" version { value: 2 } signature_name: "serving_default" }'),
    ("an output filter", 'model_spec { name: "pair" } output_filter: "scaled" '
     'inputs { key: "a" value { dtype: DT_FLOAT tensor_shape { dim { size: 1 } dim { size: 2 } } float_val: 1 } } '
     'inputs { key: "b" value { dtype: DT_INT64 tensor_shape { dim { size: 1 } } int64_val: -4 } }',
     'outputs { key: "scaled" value { dtype: DT_INT64 tensor_shape { dim { size: 1 } } int64_val: -40 } } '
     'model_spec { name: "pair" version { value: 7 } signature_name: "serving_default" }'),
    ("strings", 'model_spec { name: "types" signature_name: "string" } '
     'inputs { key: "x" value { dtype: DT_STRING tensor_shape { dim { size: 2 } } string_val: "a\\000" string_val: "" } }',
     'outputs { key: "y" value { dtype: DT_STRING tensor_shape { dim { size: 2 } } string_val: "a\\000" string_val: "" } } '
     'model_spec { name: "types" version { value: 1 } signature_name: "string" }'),
    ("small integers travel in int_val", 'model_spec { name: "types" signature_name: "int8" } '
     'inputs { key: "x" value { dtype: DT_INT8 tensor_shape { dim { size: 2 } } tensor_content: "\\377\\001" } }',
     'outputs { key: "y" value { dtype: DT_INT8 tensor_shape { dim { size: 2 } } int_val: -1 int_val: 1 } } '
     'model_spec { name: "types" version { value: 1 } signature_name: "int8" }'),
    ("half in half_val", 'model_spec { name: "types" signature_name: "float16" } '
     'inputs { key: "x" value { dtype: DT_HALF tensor_shape { dim { size: 1 } } half_val: 15360 } }',
     'outputs { key: "y" value { dtype: DT_HALF tensor_shape { dim { size: 1 } } half_val: 15360 } } '
     'model_spec { name: "types" version { value: 1 } signature_name: "float16" }'),
]


@pytest.mark.parametrize(("request_text", "response"), [case[1:] for case in PREDICTIONS], ids=[case[0] for case in PREDICTIONS])
def test_prediction(server, request_text, response):
    assert server.call(wire.PREDICT, request_text) == ("OK", text_format.Parse(response, wire.PredictResponse()))


def test_shape_error_is_the_kernels_own_message(server):
    code, message = server.call(wire.PREDICT, 'model_spec { name: "pair" signature_name: "product" } '
                                'inputs { key: "a" value { dtype: DT_FLOAT tensor_shape { dim { size: 1 } dim { size: 3 } } } }')
    assert code == "INVALID_ARGUMENT"
    assert message.startswith("Matrix size-incompatible: In[0]: [1,3], In[1]: [2,1]\n\t [[{{node product}}]]"), message


def test_deadline_ends_the_computation(server):
    code, _ = server.call(wire.PREDICT, 'model_spec { name: "slow" } inputs { key: "n" value { dtype: DT_INT64 tensor_shape { } int64_val: 1000000000 } }',
                          timeout=0.5)
    assert code == "DEADLINE_EXCEEDED"


def test_long_messages_are_cut(server):
    code, message = server.call(wire.PREDICT, 'model_spec { name: "%s" }' % ("n" * 2000))
    assert code == "NOT_FOUND"
    assert message == ("Servable not found for request: Latest(" + "n" * 2000)[:1024] + "...TRUNCATED"


def test_status_is_newest_first_and_ignores_a_label(server):
    expected = text_format.Parse(
        "model_version_status { version: 2 state: AVAILABLE status { } } model_version_status { version: 1 state: AVAILABLE status { } }",
        wire.GetModelStatusResponse())
    assert server.call(wire.GET_MODEL_STATUS, 'model_spec { name: "half" }') == ("OK", expected)
    assert server.call(wire.GET_MODEL_STATUS, 'model_spec { name: "half" version_label: "stable" }') == ("OK", expected)


def test_status_of_one_version(server):
    expected = text_format.Parse("model_version_status { version: 1 state: AVAILABLE status { } }", wire.GetModelStatusResponse())
    assert server.call(wire.GET_MODEL_STATUS, 'model_spec { name: "half" version { value: 1 } }') == ("OK", expected)


def test_metadata(server):
    code, answer = server.call(wire.GET_MODEL_METADATA, 'model_spec { name: "half" version { value: 1 } } metadata_field: "signature_def"')
    assert code == "OK"
    assert answer.model_spec == text_format.Parse('name: "half" version { value: 1 }', wire.ModelSpec())
    packed = answer.metadata["signature_def"]
    assert packed.type_url == "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    signature = wire.SignatureDefMap.FromString(packed.value).signature_def["serving_default"]
    assert signature == text_format.Parse(
        'inputs { key: "x" value { name: "x:0" dtype: DT_FLOAT tensor_shape { dim { size: -1 } } } } '
        'outputs { key: "y" value { name: "y:0" dtype: DT_FLOAT tensor_shape { dim { size: -1 } } } } method_name: "tensorflow/serving/predict"',
        wire.SignatureDef())


def test_messages_over_four_mebibytes(server):
    request = wire.PredictRequest()
    request.model_spec.name = "half"
    request.inputs["x"].dtype = 1
    request.inputs["x"].tensor_shape.dim.add(size=3 << 20)
    request.inputs["x"].tensor_content = b"\0" * (12 << 20)
    code, answer = server.call(wire.PREDICT, request)
    assert code == "OK"
    assert len(answer.outputs["y"].float_val) == 3 << 20


@pytest.mark.parametrize("service", ["", "ModelService", "PredictionService"])
def test_health(own_server, service):
    assert own_server.call(wire.HEALTH_CHECK, 'service: "%s"' % service) == ("OK", wire.HealthCheckResponse(status=1))


def test_health_of_an_unknown_service(own_server):
    assert own_server.call(wire.HEALTH_CHECK, 'service: "nix"')[0] == "NOT_FOUND"
