"""Section 7 of the specification: (request, status, body), byte for byte where the specification gives bytes."""

import base64
import gzip
import http.client
import json

import pytest

HALF = "/v1/models/half:predict"
PAIR = "/v1/models/pair:predict"
TYPES = "/v1/models/types:predict"


def error(message):
    """The body of an error answer."""
    return '{\n    "error": %s\n}' % json.dumps(message, ensure_ascii=False)


def doc(text):
    """How the server echoes a small document of one list or text: pretty-printed with four spaces."""
    return json.dumps(json.loads(text), indent=4)


ANSWERS = [
    # id, path, request, body
    ("row", HALF, '{"instances": [-1.0, 0, 5.1]}', '{\n    "predictions": [2.5, 3.0, 5.55\n    ]\n}'),
    ("row of one", HALF, '{"instances": [1]}', '{\n    "predictions": [3.5\n    ]\n}'),
    ("column", HALF, '{"inputs": [1, 2]}', '{\n    "outputs": [\n        3.5,\n        4.0\n    ]\n}'),
    ("column of a scalar", HALF, '{"inputs": 2}', '{\n    "outputs": 4.0\n}'),
    ("column by name", HALF, '{"inputs": {"x": [1], "ignored": 3}}', '{\n    "outputs": [\n        3.5\n    ]\n}'),
    ("row by name", HALF, '{"instances": [{"x": 1}, {"x": 2}]}', '{\n    "predictions": [3.5, 4.0\n    ]\n}'),
    ("signature by name", HALF, '{"signature_name": "serving_default", "instances": [1]}', '{\n    "predictions": [3.5\n    ]\n}'),
    ("version", "/v1/models/half/versions/1:predict", '{"instances": [1]}', '{\n    "predictions": [2.5\n    ]\n}'),
    ("label", "/v1/models/half/labels/stable:predict", '{"instances": [1]}', '{\n    "predictions": [2.5\n    ]\n}'),
    ("percent-decoded names", "/v1/models/h%61lf/labels/st%61ble:predict", '{"instances": [1]}', '{\n    "predictions": [2.5\n    ]\n}'),
    ("path in capitals", "/V1/MODELS/half:predict", '{"instances": [1]}', '{\n    "predictions": [3.5\n    ]\n}'),
    ("NaN and Infinity", HALF, '{"instances": [NaN, Infinity, -Infinity]}', '{\n    "predictions": [NaN, Infinity, -Infinity\n    ]\n}'),
    ("number formats", TYPES, '{"signature_name": "float32", "instances": [0.2, 9000000, 0.00003, 1234567.0, 16777215, -0.0, 1e30]}',
     '{\n    "predictions": [0.2, 9e+06, 3e-05, 1234567.0, 16777215.0, -0.0, 1e+30\n    ]\n}'),
    ("numbers that need nine digits", TYPES, '{"signature_name": "float32", "instances": [0.1234567, 3.14159274]}',
     '{\n    "predictions": [0.123456702, 3.14159274\n    ]\n}'),
    ("doubles that need seventeen digits", TYPES, '{"signature_name": "float64", "instances": [0.1, 3.141592653589793]}',
     '{\n    "predictions": [0.1, 3.1415926535897931\n    ]\n}'),
    ("int8", TYPES, '{"signature_name": "int8", "instances": [-128, 127]}', '{\n    "predictions": [-128, 127\n    ]\n}'),
    ("int64", TYPES, '{"signature_name": "int64", "instances": [9223372036854775807]}', '{\n    "predictions": [9223372036854775807\n    ]\n}'),
    ("uint64", TYPES, '{"signature_name": "uint64", "instances": [18446744073709551615]}', '{\n    "predictions": [18446744073709551615\n    ]\n}'),
    ("bool", TYPES, '{"signature_name": "bool", "instances": [true, false]}', '{\n    "predictions": [true, false\n    ]\n}'),
    ("string", TYPES, '{"signature_name": "string", "instances": ["a\\u0001\\"é", {"b64": "aGk="}]}', '{\n    "predictions": ["a\\u0001\\"é", "hi"\n    ]\n}'),
    ("matrix rows", TYPES, '{"signature_name": "int32", "instances": [[[1, 2]], [[3, 4]]]}', '{\n    "predictions": [[[1, 2]], [[3, 4]]\n    ]\n}'),
    ("matrix column", TYPES, '{"signature_name": "int32", "inputs": [[1, 2], [3, 4]]}',
     '{\n    "outputs": [\n        [\n            1,\n            2\n        ],\n        [\n            3,\n            4\n        ]\n    ]\n}'),
    ("empty column", TYPES, '{"signature_name": "float32", "inputs": []}', '{\n    "outputs": []\n}'),
    ("bytes", TYPES, '{"signature_name": "bytes", "instances": [{"b64": "/wA="}, "hi"]}',
     '{\n    "predictions": [{\n            "b64": "/wA="\n        }, {\n            "b64": "aGk="\n        }\n    ]\n}'),
    ("several outputs, row", PAIR, '{"instances": [{"a": [1, 2], "b": 3}, {"a": [3, 4], "b": 4}]}',
     '{\n    "predictions": [\n        {\n            "scaled": 30,\n            "total": [2.0, 3.0]\n        },\n'
     '        {\n            "scaled": 40,\n            "total": [4.0, 5.0]\n        }\n    ]\n}'),
    ("several outputs, column", PAIR, '{"inputs": {"a": [[1, 2]], "b": [3]}}',
     '{\n    "outputs": {\n        "scaled": [\n            30\n        ],\n        "total": [\n            [\n                2.0,\n'
     '                3.0\n            ]\n        ]\n    }\n}'),
    ("a scalar output in a column", PAIR, '{"signature_name": "mean", "inputs": [[1, 2]]}', '{\n    "outputs": 1.5\n}'),
]


@pytest.mark.parametrize(("path", "request_body", "body"), [case[1:] for case in ANSWERS], ids=[case[0] for case in ANSWERS])
def test_predict(server, path, request_body, body):
    status, headers, answer = server.http("POST", path, request_body.encode("utf-8"))
    assert (status, answer.decode("utf-8")) == (200, body)
    assert headers["Content-Type"] == "application/json"


ERRORS = [
    # id, method, path, request, status, message
    ("empty body", "POST", HALF, "", 400, "JSON Parse error: The document is empty"),
    ("not JSON", "POST", HALF, "hello", 400, "JSON Parse error: Invalid value. at offset: 0"),
    ("not an object", "POST", HALF, "[1]", 400, "JSON Value: [\n    1\n] Is not object"),
    ("neither key", "POST", HALF, "{}", 400, "Missing 'inputs' or 'instances' key"),
    ("both keys", "POST", HALF, '{"inputs": 1, "instances": [1]}', 400,
     "JSON Value: %s Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist " % doc('{"inputs": 1, "instances": [1]}')),
    ("instances is no list", "POST", HALF, '{"instances": 1}', 400,
     "JSON Value: %s Expecting 'instances' to be an list/array" % doc('{"instances": 1}')),
    ("no instances", "POST", HALF, '{"instances": []}', 400, "JSON Value: %s No values in 'instances' array" % doc('{"instances": []}')),
    ("signature_name is no text", "POST", HALF, '{"signature_name": 5}', 400,
     "JSON Value: %s not formatted correctly. 'signature_name' key must be a string value." % doc('{"signature_name": 5}')),
    ("unknown signature: 400, not gRPC's code", "POST", HALF, '{"signature_name": "nix", "instances": [1]}', 400,
     'Serving signature name: "nix" not found in signature def'),
    ("no default signature", "POST", TYPES, '{"instances": [1]}', 400, 'Serving signature name: "serving_default" not found in signature def'),
    ("signature without inputs", "POST", PAIR, '{"signature_name": "nothing", "instances": [1]}', 400, "Failed to get input map for signature: nothing"),
    ("wrong type", "POST", HALF, '{"instances": [1, "x"]}', 400,
     "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: \"x\" Type: String is not of expected type: float"),
    ("wrong type by name", "POST", HALF, '{"instances": [{"x": true}]}', 400,
     "Failed to process element: 0 key: x of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: true Type: True is not of expected type: float"),
    ("wrong type in a column", "POST", HALF, '{"inputs": [null]}', 400, "JSON Value: null Type: Null is not of expected type: float"),
    ("a decimal for an integer", "POST", TYPES, '{"signature_name": "int32", "instances": [1.0]}', 400,
     "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: 1.0 Type: Number is not of expected type: int32"),
    ("other size", "POST", TYPES, '{"signature_name": "int32", "instances": [[1, 2], [3]]}', 400,
     "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting tensor size: 2 but got: 1"),
    ("other shape", "POST", TYPES, '{"signature_name": "int32", "instances": [[1, 2], [[1, 2]]]}', 400,
     "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting shape [2] but got: [1,2]"),
    ("uneven list", "POST", TYPES, '{"signature_name": "int32", "inputs": [[1, 2], [1]]}', 400,
     "Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
    ("list too deep", "POST", TYPES, '{"signature_name": "int32", "inputs": [1, [2]]}', 400, "Encountered list at unexpected level: 1 expected < 1"),
    ("value too high", "POST", TYPES, '{"signature_name": "int32", "inputs": [[1], 2]}', 400,
     "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
    ("unknown name", "POST", HALF, '{"instances": [{"z": 1}]}', 400,
     "Failed to process element: 0 key: z of 'instances' list. Error: INVALID_ARGUMENT: JSON object: does not have named input: z"),
    ("missing name in a column", "POST", HALF, '{"inputs": {"z": 1}}', 400, "Missing named input: x in 'inputs' object."),
    ("plain list for several inputs", "POST", PAIR, '{"instances": [1]}', 400,
     "instances is a plain list, but expecting list of objects as multiple input tensors required as per tensorinfo_map"),
    ("plain value for several inputs", "POST", PAIR, '{"inputs": 1}', 400,
     "inputs is a plain value/list, but expecting an object as multiple input tensors required as per tensorinfo_map"),
    ("base64", "POST", TYPES, '{"signature_name": "string", "instances": [{"b64": "#"}]}', 400,
     "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: Unable to base64 decode"),
    ("half in", "POST", TYPES, '{"signature_name": "float16", "inputs": 1}', 501, "Conversion of JSON Value: 1 to type: half"),
    ("a scalar output in a row", "POST", PAIR, '{"signature_name": "mean", "instances": [[1, 2]]}', 400, "Tensor name: mean has no shape information "),
    ("outputs of two batch sizes", "POST", PAIR, '{"signature_name": "uneven", "instances": [1, 2]}', 400,
     "Tensor name: some has inconsistent batch size: 1 expecting: 2"),
    ("unknown model", "POST", "/v1/models/nix:predict", '{"instances": [1]}', 404, "Servable not found for request: Latest(nix)"),
    ("unknown version", "POST", "/v1/models/half/versions/9:predict", '{"instances": [1]}', 404, "Servable not found for request: Specific(half, 9)"),
    ("unknown label", "POST", "/v1/models/half/labels/nix:predict", '{"instances": [1]}', 400, "Unrecognized servable version label: nix"),
    ("version too large", "GET", "/v1/models/half/versions/99999999999999999999", "", 400,
     "Failed to convert version: 99999999999999999999 to numeric."),
    ("verb in capitals", "POST", "/v1/models/half:PREDICT", '{"instances": [1]}', 400, "Malformed request: POST /v1/models/half:PREDICT"),
    ("unknown verb", "POST", "/v1/models/half:guess", "{}", 400, "Malformed request: POST /v1/models/half:guess"),
    ("GET of a verb", "GET", HALF, "", 400, "Malformed request: GET /v1/models/half:predict"),
    ("POST of a status", "POST", "/v1/models/half", "{}", 400, "Malformed request: POST /v1/models/half"),
    ("a query is part of the path", "POST", HALF + "?a=b", "{}", 400, "Malformed request: POST /v1/models/half:predict?a=b"),
    ("another method", "PUT", "/v1/models/half", "{}", 400, "Malformed request: PUT /v1/models/half"),
    ("no model", "GET", "/v1/models", "", 400, "Missing model name in request."),
    ("status of an unknown model", "GET", "/v1/models/nix", "", 404, "Could not find any versions of model nix"),
    ("status of an unknown version", "GET", "/v1/models/half/versions/7", "", 404, "Could not find version 7 of model half"),
    ("metadata of an unknown model", "GET", "/v1/models/nix/metadata", "", 404, "Servable not found for request: Latest(nix)"),
]


@pytest.mark.parametrize(("method", "path", "request_body", "status", "message"), [case[1:] for case in ERRORS], ids=[case[0] for case in ERRORS])
def test_error(server, method, path, request_body, status, message):
    answer = server.http(method, path, request_body.encode("utf-8"))
    assert (answer[0], answer[2].decode("utf-8")) == (status, error(message))
    assert answer[1]["Content-Type"] == "application/json"


def test_echo_is_cut(own_server):
    status, _, body = own_server.http("POST", HALF, '{"inputs": "%s"}' % ("long " * 200))
    message = json.loads(body.decode())["error"]
    assert status == 400
    assert message.startswith('JSON Value: "long long')
    assert len(message) < 400


STATUS_ROW = '  {\n   "version": "%d",\n   "state": "AVAILABLE",\n   "status": {\n    "error_code": "OK",\n    "error_message": ""\n   }\n  }'


@pytest.mark.parametrize(("path", "versions"), [
    ("/v1/models/half", [2, 1]), ("/v1/models/half/versions/1", [1]), ("/v1/models/half/labels/stable", [2, 1])])
def test_status(server, path, versions):
    status, headers, body = server.http("GET", path)
    rows = ",\n".join(STATUS_ROW % version for version in versions)
    assert (status, body.decode()) == (200, '{\n "model_version_status": [\n%s\n ]\n}\n' % rows)
    assert headers["Content-Type"] == "application/json"


def test_metadata(server):
    status, _, body = server.http("GET", "/v1/models/half/labels/stable/metadata")
    assert status == 200
    assert body.startswith(b'{\n"model_spec":{\n "name": "half",\n "signature_name": "",\n "version": "1"\n}\n,\n"metadata": {"signature_def": {\n'
                           b' "signature_def": {\n  "serving_default": {\n   "inputs": {\n    "x": {\n     "dtype": "DT_FLOAT",\n'
                           b'     "tensor_shape": {\n      "dim": [\n       {\n        "size": "-1",\n        "name": ""\n       }\n      ],\n'
                           b'      "unknown_rank": false\n     },\n     "name": "x:0"\n    }\n   },\n')
    signature = json.loads(body.decode())["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    assert signature["outputs"]["y"]["name"] == "y:0"


def test_gzip_request(server):
    body = gzip.compress(b'{"instances": [1]}')
    assert server.http("POST", HALF, body, {"Content-Encoding": "gzip"})[2] == b'{\n    "predictions": [3.5\n    ]\n}'


@pytest.mark.parametrize("body", [b"not gzip", gzip.compress(b'{"instances": [1]}')[:-9]])
def test_damaged_gzip_request(own_server, body):
    assert own_server.http("POST", HALF, body, {"Content-Encoding": "gzip"})[0] == 400


def test_gzip_bomb(own_server):
    bomb = gzip.compress(b" " * (101 * 1000 * 1000))
    status, _, body = own_server.http("POST", HALF, bomb, {"Content-Encoding": "gzip"})
    assert status == 400
    assert "inflates to more than" in body.decode()


def test_outside_the_api(server):
    status, _, body = server.http("GET", "/")
    assert status == 404
    assert b"404 Not Found" in body


@pytest.mark.parametrize(("origin", "status"), [("https://a.example", 200), ("a.example", 400)])
def test_options(server, origin, status):
    assert server.http("OPTIONS", HALF, headers={"Origin": origin})[0] == status


def test_timeout(server):
    status, _, body = server.http("POST", "/v1/models/slow:predict", '{"inputs": 1000000000}')
    assert (status, body.decode()) == (504, error("Timed out waiting for notification"))


def test_chunked_request(server):
    connection = http.client.HTTPConnection(server.rest_address, timeout=10)
    connection.request("POST", HALF, iter([b'{"insta', b'nces": ', b"[1]}"]), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
    assert connection.getresponse().read() == b'{\n    "predictions": [3.5\n    ]\n}'
    connection.close()


def test_keep_alive(server):
    connection = http.client.HTTPConnection(server.rest_address, timeout=10)
    bodies = []
    for _ in range(3):
        connection.request("POST", HALF, '{"instances": [1]}')
        bodies.append(connection.getresponse().read())
        sock = connection.sock
        assert sock is not None
    assert bodies == [b'{\n    "predictions": [3.5\n    ]\n}'] * 3
    connection.close()


def test_a_megapixel_image(server):
    picture = base64.b64encode(bytes(range(256)) * 4096).decode("ascii")
    status, _, body = server.http("POST", TYPES, json.dumps({"signature_name": "bytes", "instances": [{"b64": picture}]}))
    assert status == 200
    assert json.loads(body.decode())["predictions"] == [{"b64": picture}]


def test_monitoring_page(own_server):
    own_server.http("POST", "/v1/models/counted:predict", '{"instances": [1]}')
    own_server.http("POST", HALF, '{"instances": [1]}')
    own_server.predict("half", [1.0])
    status, headers, body = own_server.http("GET", "/monitoring/prometheus/metrics")
    lines = body.decode().splitlines()
    assert status == 200
    assert headers["Content-Type"] == "text/plain"
    assert "# TYPE :tensorflow:serving:request_count counter" in lines
    assert ':tensorflow:serving:request_count{model_name="counted",status="NOT_FOUND"} 1' in lines
    assert "# TYPE :tensorflow:serving:request_latency histogram" in lines
    for api, entrypoint in (("Predict", "GRPC"), ("predict", "REST")):
        start = ':tensorflow:serving:request_latency_bucket{model_name="half",API="%s",entrypoint="%s",le="' % (api, entrypoint)
        limits = [line[len(start):].split('"')[0] for line in lines if line.startswith(start)]
        assert limits[:3] == ["10", "18", "32.4"]
        assert limits[-1] == "+Inf"
        assert len(limits) == 34
    assert own_server.http("GET", "/monitoring/prometheus/metrics/")[0] == 404


def test_gateway_metrics_of_grpc_errors(own_server):
    own_server.call("/tensorflow.serving.PredictionService/Predict", 'model_spec { name: "counted_too" }')
    page = own_server.http("GET", "/monitoring/prometheus/metrics")[2].decode()
    assert ':tensorflow:serving:request_count{model_name="counted_too",status="NOT_FOUND"} 1\n' in page
