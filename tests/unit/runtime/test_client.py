"""The gRPC and REST clients against a real server in this process: what they send, and what they say when it goes wrong."""

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import grpc
import numpy as np
import pytest
from google.protobuf import json_format

from tfleet import wire
from tfleet.client.grpc_client import Client
from tfleet.client.rest_client import RestClient
from tfleet.errors import TfleetError


def signatures():
    found = wire.SignatureDefMap()
    signature = found.signature_def["serving_default"]
    signature.method_name = "tensorflow/serving/predict"
    for infos, alias, dtype, shape in (
        (signature.inputs, "x", "DT_FLOAT", [-1, 2]),
        (signature.outputs, "y", "DT_FLOAT", [-1, 2]),
        (signature.outputs, "name", "DT_STRING", [-1]),
    ):
        infos[alias].name = alias + ":0"
        infos[alias].dtype = wire.DT.Value(dtype)
        for size in shape:
            infos[alias].tensor_shape.dim.add(size=size)
    found.signature_def["__saved_model_init_op"].outputs["__saved_model_init_op"].name = "NoOp"
    return found


def double(request, context):
    response = wire.PredictResponse()
    response.model_spec.name = request.model_spec.name
    response.model_spec.version.value = request.model_spec.version.value or 7
    response.model_spec.signature_name = request.model_spec.signature_name or "serving_default"
    x = wire.tensors.to_numpy(request.inputs["x"])
    response.outputs["y"].CopyFrom(wire.tensors.to_typed_proto(2 * x))
    response.outputs["name"].CopyFrom(wire.tensors.to_typed_proto([b"a", b"b"]))
    return response


def metadata(request, context):
    response = wire.GetModelMetadataResponse()
    response.model_spec.name = request.model_spec.name
    response.model_spec.version.value = 7
    response.metadata["signature_def"].Pack(signatures())
    return response


def status(request, context):
    response = wire.GetModelStatusResponse()
    response.model_version_status.add(version=7, state="AVAILABLE").status.SetInParent()
    response.model_version_status.add(version=6, state="END").status.error_code = wire.ErrorCode.Value("NOT_FOUND")
    response.model_version_status[1].status.error_message = "no saved_model.pb"
    return response


def fail(code, details):
    return lambda request, context: context.abort(getattr(grpc.StatusCode, code), details)


def sentence(call, *args, **kwargs):
    with pytest.raises(TfleetError) as error:
        call(*args, **kwargs)
    return str(error.value), error.value.result


def test_predict(serve):
    server = serve({wire.PREDICT: double})
    with Client(server.address) as client:
        answer = client.predict("m", {"x": np.float32([[1, 2]])}, version=3, signature="s", outputs=["y"])
    assert answer[:3] == ("m", 3, "s")
    assert answer.outputs["y"].tolist() == [[2, 4]] and answer.outputs["y"].dtype == np.float32
    assert answer.outputs["name"].tolist() == [b"a", b"b"]
    (request,) = server.seen
    assert request.model_spec.version.value == 3 and request.output_filter == ["y"]
    assert request.inputs["x"].tensor_content == np.float32([[1, 2]]).tobytes()


def test_label_and_ready_made_protos(serve):
    server = serve({wire.PREDICT: double})
    with Client(server.address) as client:
        answer = client.predict("m", {"x": wire.tensors.to_typed_proto(np.float32([1]))}, label="stable")
    assert answer.version == 7 and answer.signature == "serving_default"
    assert server.seen[0].model_spec.WhichOneof("version_choice") == "version_label"
    assert server.seen[0].inputs["x"].float_val == [1]


def test_answers_above_grpcs_default_of_4_mib(serve):
    server = serve({wire.PREDICT: double})
    with Client(server.address) as client:
        answer = client.predict("m", {"x": np.ones((2, 1 << 20), np.float32)})
    assert answer.outputs["y"].shape == (2, 1 << 20) and answer.outputs["y"].min() == 2


def test_metadata_status_and_reload(serve):
    def reload(request, context):
        response = wire.ReloadConfigResponse()
        if not request.config.model_config_list.config:
            response.status.error_code = wire.ErrorCode.Value("INVALID_ARGUMENT")
            response.status.error_message = "nothing to serve"
        return response

    server = serve({wire.GET_MODEL_METADATA: metadata, wire.GET_MODEL_STATUS: status, wire.RELOAD_CONFIG: reload})
    with Client(server.address) as client:
        found = client.metadata("m", label="stable")
        assert found.version == 7 and found.signatures["serving_default"].inputs["x"].name == "x:0"
        assert client.status("m") == [(7, "AVAILABLE", "OK", ""), (6, "END", "NOT_FOUND", "no saved_model.pb")]
        config = wire.ModelServerConfig()
        message, result = sentence(client.reload, config)
        assert "failed with INVALID_ARGUMENT: nothing to serve." in message and result["code"] == "INVALID_ARGUMENT"
        config.model_config_list.config.add(name="m", base_path="/m")
        client.reload(config)
    assert server.seen[-1].config.model_config_list.config[0].base_path == "/m"


def test_every_error_names_address_model_version_and_signature(serve):
    server = serve({wire.PREDICT: fail("NOT_FOUND", "Servable not found for request: Specific(m, 3)")})
    with Client(server.address) as client:
        message, result = sentence(client.predict, "m", {}, version=3, signature="s")
    assert message == (
        "Predict of model 'm' (version 3) by signature 's' at %s failed with NOT_FOUND: Servable not found for request: Specific(m, 3). "
        "See which models and versions are served: tfleet status --address %s --model m." % (server.address, server.address)
    )
    assert result == {
        "code": "NOT_FOUND",
        "details": "Servable not found for request: Specific(m, 3)",
        "address": server.address,
        "model": "m",
        "version": 3,
        "label": None,
        "signature": "s",
    }


@pytest.mark.parametrize(
    "code, details, advice",
    [
        ("UNAVAILABLE", "The batch scheduling queue to which this task was submitted is full", "raise max_enqueued_batches"),
        ("INVALID_ARGUMENT", "Unrecognized servable version label: l", "stand in the server's model.config"),
        ("RESOURCE_EXHAUSTED", "OOM when allocating tensor", "send a smaller batch"),
        ("INTERNAL", "", "failed with INTERNAL. Look for the cause in the server's log."),
    ],
)
def test_next_steps(code, details, advice, serve):
    with Client(serve({wire.PREDICT: fail(code, details)}).address) as client:
        assert advice in sentence(client.predict, "m", {}, label="l")[0]


@pytest.mark.parametrize("code", ["INVALID_ARGUMENT", "FAILED_PRECONDITION"])
def test_a_wrong_request_is_answered_with_the_signatures(code, serve):
    server = serve({wire.PREDICT: fail(code, "Expects arg[0] to be float but string is provided"), wire.GET_MODEL_METADATA: metadata})
    with Client(server.address) as client:
        message = sentence(client.predict, "m", {"x": b"text"})[0]
    assert "to be float but string is provided. The model's signatures are: serving_default" in message
    assert "(x: DT_FLOAT [-1,2] -> name: DT_STRING [-1], y: DT_FLOAT [-1,2])" in message
    assert "__saved_model_init_op" not in message


def test_an_answer_that_cannot_be_read_is_an_error(serve):
    def broken(request, context):
        response = wire.PredictResponse()
        response.outputs["y"].dtype = 1
        response.outputs["y"].tensor_shape.dim.add(size=-5)
        return response

    with Client(serve({wire.PREDICT: broken}).address) as client:
        assert "output 'y': the tensor's shape [-5] has a negative dimension" in sentence(client.predict, "m", {})[0]


def test_an_array_that_cannot_be_sent_is_named():
    with Client("127.0.0.1:1") as client:
        message = sentence(client.predict, "m", {"x": np.array(["2020-01-01"], "datetime64[D]")})[0]
    assert message.startswith("Input 'x' of model 'm' cannot be sent: an array of dtype datetime64")


def test_other_grpc_servers_and_dead_ports(serve, closed_port):
    with Client(serve({}).address) as client:
        assert "not as a TensorFlow model server: check the port" in sentence(client.status, "m")[0]
    for client in (Client("127.0.0.1:%d" % closed_port, timeout=5), RestClient("127.0.0.1:%d" % closed_port)):
        with client:
            message, result = sentence(client.status, "m")
            assert result["code"] == "UNAVAILABLE" and "refused" in message
            assert "gRPC port is usually 8500, REST 8501" in message


def test_deadline(serve):
    release = threading.Event()

    def slow(request, context):
        release.wait(10)
        return double(request, context)

    with Client(serve({wire.PREDICT: slow}).address, timeout=0.3) as client:
        message = sentence(client.predict, "m", {"x": np.float32([[1, 2]])})[0]
        release.set()
    assert "DEADLINE_EXCEEDED" in message and "Within 0.3 s no answer came" in message


@pytest.mark.parametrize(
    "address, message",
    [
        ("http://h:8500", "'http://h:8500' is a URL: an address is host:port"),
        ("h", "'h' is not an address: write host:port"),
        ("h:0", "is not an address"),
        ("h:99999", "is not an address"),
        (":8500", "is not an address"),
    ],
)
def test_addresses(address, message):
    assert message in sentence(Client, address)[0]


def test_unix_sockets(tmp_path, serve):
    path = "unix:%s/s" % tmp_path
    serve({wire.GET_MODEL_STATUS: status}, socket=path)
    with Client(path) as client:
        assert client.status("m")[0].version == 7


@pytest.fixture
def closed_port():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture
def rest():
    """A REST server: rest({"GET /path": (status, body)}) -> address; `rest.seen` has the requests' bodies."""
    servers = []

    def start(answers):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                start.seen.append((self.path, json.loads(body.decode()) if body else None))
                status, answer = answers.get("%s %s" % (self.command, self.path), (404, "<html>not here</html>"))
                data = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_POST = do_GET  # noqa: N815 (http.server's names)

            def log_message(self, *unused):
                """Nothing on stderr."""

        server = HTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        servers.append((server, thread))
        return "127.0.0.1:%d" % server.server_port

    start.seen = []
    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def rest_metadata():
    text = json_format.MessageToDict(signatures(), preserving_proto_field_name=True)
    return {"model_spec": {"name": "m", "signature_name": "", "version": "7"}, "metadata": {"signature_def": text}}


def test_rest_predict_restores_dtypes_and_version(rest):
    address = rest(
        {
            "GET /v1/models/a%2Fb/metadata": (200, rest_metadata()),
            "POST /v1/models/a%2Fb/versions/7:predict": (200, {"outputs": {"y": [[2.0, 4]], "name": [{"b64": "AP8="}]}}),
        }
    )
    with RestClient(address) as client:
        answer = client.predict("a/b", {"x": np.float32([[1, 2]])})
    assert answer.version == 7 and answer.outputs["y"].dtype == np.float32 and answer.outputs["y"].tolist() == [[2, 4]]
    assert answer.outputs["name"].tolist() == [b"\x00\xff"]
    assert rest.seen[-1][1] == {"signature_name": "serving_default", "inputs": {"x": [[1.0, 2.0]]}}


def test_rest_strings_single_outputs_and_labels(rest):
    described = rest_metadata()
    del described["metadata"]["signature_def"]["signature_def"]["serving_default"]["outputs"]["y"]
    address = rest(
        {
            "GET /v1/models/m/labels/stable/metadata": (200, described),
            "POST /v1/models/m/labels/stable:predict": (200, {"outputs": ["one"]}),
        }
    )
    with RestClient(address) as client:
        answer = client.predict("m", {"x": np.array([b"\xff", "u"], dtype=object)}, label="stable")
    assert answer.outputs["name"].tolist() == [b"one"]
    assert rest.seen[-1][1]["inputs"] == {"x": [{"b64": "/w=="}, {"b64": "dQ=="}]}


def test_rest_status(rest):
    row = {"version": "7", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    with RestClient(rest({"GET /v1/models/m/versions/7": (200, {"model_version_status": [row]})})) as client:
        assert client.status("m", 7) == [(7, "AVAILABLE", "OK", "")]


def test_rest_errors(rest):
    address = rest(
        {
            "GET /v1/models/m/metadata": (200, rest_metadata()),
            "POST /v1/models/m/versions/7:predict": (400, {"error": "Missing named input: x in 'inputs' object."}),
            "GET /v1/models/odd": (200, "[1]"),
        }
    )
    with RestClient(address) as client:
        message, result = sentence(client.predict, "m", {})
        assert "INVALID_ARGUMENT: Missing named input: x in 'inputs' object. The model's signatures are: serving_default (x:" in message
        assert result["model"] == "m"
        assert 'signature name: "s" not found' in sentence(client.predict, "m", {}, signature="s")[0]
        assert "answers HTTP, but not as a TensorFlow model server" in sentence(client.status, "m")[0]
        assert "not a JSON object" in sentence(client.status, "odd")[0]
        assert "use the gRPC port" in sentence(client.predict, "m", {"x": np.complex64([1])})[0]


def test_a_port_of_the_other_protocol_is_recognised(rest, serve):
    with Client(rest({}), timeout=5) as client:
        message = sentence(client.status, "m")[0]
    assert "speaks HTTP: it is the server's REST port or another web server. Use the gRPC port" in message and "by --protocol rest" in message
    with RestClient(serve({}).address, timeout=5) as client:
        message = sentence(client.status, "m")[0]
    assert "is not a REST port, perhaps the gRPC port: REST is usually 8501 (--address 127.0.0.1:8501)" in message


def test_a_version_or_a_model_that_is_not_served_is_told_apart(serve):
    missing = fail("NOT_FOUND", "Servable not found for request: Latest(m)")
    with Client(serve({wire.PREDICT: missing, wire.GET_MODEL_STATUS: status}).address) as client:
        assert "Of model 'm' version 7 is served: tfleet status --address" in sentence(client.predict, "m", {}, version=3)[0]
    with Client(serve({wire.PREDICT: missing, wire.GET_MODEL_STATUS: missing}).address) as client:
        message = sentence(client.predict, "m", {})[0]
    assert "There is no model 'm' on this server; case counts." in message and "tfleet status --address" in message and "--config model.config" in message


def test_a_label_that_does_not_exist(serve):
    server = serve({wire.PREDICT: fail("INVALID_ARGUMENT", "Unrecognized servable version label: blue")})
    with Client(server.address) as client:
        message = sentence(client.predict, "m", {}, label="blue")[0]
    assert "The labels of a model stand in the server's model.config" in message and "--config model.config" in message


def test_a_message_that_is_too_large(serve, rest):
    server = serve({wire.PREDICT: double, wire.GET_MODEL_METADATA: metadata}, options=[("grpc.max_receive_message_length", 1000000)])
    with Client(server.address) as client:
        message, result = sentence(client.predict, "m", {"x": np.zeros((200000, 2), np.float32)})
    assert result["code"] == "RESOURCE_EXHAUSTED"
    assert "The message is 1.6 MB, and 1.0 MB is the most that the server, or a proxy in front of it, takes. Send fewer pictures" in message
    assert "--grpc_channel_arguments=grpc.max_receive_message_length=BYTES" in message
    address = rest({"GET /v1/models/m/metadata": (200, rest_metadata()), "POST /v1/models/m/versions/7:predict": (413, "<html>too large</html>")})
    with RestClient(address) as client:
        message, result = sentence(client.predict, "m", {"x": np.zeros((2, 2), np.float32)})
    assert result["code"] == "RESOURCE_EXHAUSTED" and "client_max_body_size of nginx" in message
