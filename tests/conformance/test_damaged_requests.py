"""Requests that no client library would send: they are answered or refused, and the server stays as it was."""

import http.client
import random
import socket

import grpc

from tfleet import wire

PREDICT = (
    'model_spec { name: "half" } inputs { key: "x" value { dtype: DT_FLOAT tensor_shape { dim { size: 2 } } tensor_content: "12345678" } } output_filter: "y"'
)


def damaged(random_source, data):
    """A copy with some bytes changed, cut out or repeated."""
    data = bytearray(data)
    for _ in range(random_source.randint(1, 4)):
        start = random_source.randrange(len(data) + 1)
        kind = random_source.randrange(3)
        if kind == 0 and start < len(data):
            data[start] = random_source.randrange(256)
        elif kind == 1:
            del data[start:start + random_source.randint(1, 8)]
        else:
            data[start:start] = data[start:start + 8] or b"\xff"
    return bytes(data)


def still_serves(server):
    return server.predict("half", [1.0]) == (2, [3.5]) and server.http("GET", "/v1/models/half")[0] == 200


def test_damaged_grpc_messages(own_server):
    from google.protobuf import text_format

    source = random.Random(5)
    whole = text_format.Parse(PREDICT, wire.PredictRequest()).SerializeToString()
    codes = set()
    with grpc.insecure_channel(own_server.address) as channel:
        stubs = [channel.unary_unary(method) for method in (wire.PREDICT, wire.CLASSIFY, wire.MULTI_INFERENCE, wire.GET_MODEL_METADATA, wire.GET_MODEL_STATUS)]
        for _ in range(600):
            try:
                source.choice(stubs)(damaged(source, whole), timeout=10)
            except grpc.RpcError as error:
                codes.add(error.code().name)
    assert codes <= {"INVALID_ARGUMENT", "NOT_FOUND", "INTERNAL", "FAILED_PRECONDITION", "UNIMPLEMENTED"}, codes
    assert still_serves(own_server)


def test_damaged_json(own_server):
    source = random.Random(6)
    bodies = [b'{"signature_name": "serving_default", "instances": [{"x": 1.5}, {"x": [2, 3]}]}', b'{"inputs": {"x": [1, NaN, -1e5]}}']
    connection = http.client.HTTPConnection(own_server.rest_address, timeout=30)
    for _ in range(600):
        connection.request("POST", "/v1/models/half:predict", damaged(source, source.choice(bodies)))
        answer = connection.getresponse()
        answer.read()
        assert answer.status in (200, 400), answer.status
    connection.close()
    assert still_serves(own_server)


def test_damaged_http(own_server):
    source = random.Random(7)
    host, port = own_server.rest_address.split(":")
    whole = b'POST /v1/models/half:predict HTTP/1.1\r\nHost: a\r\nContent-Length: 18\r\n\r\n{"instances": [1]}'
    for _ in range(150):
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(damaged(source, whole))
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
    assert still_serves(own_server)


def test_a_shape_that_asks_for_all_memory_is_refused(own_server):
    request = 'model_spec { name: "half" } inputs { key: "x" value { dtype: DT_FLOAT tensor_shape { dim { size: 1099511627776 } } float_val: 1 } }'
    assert own_server.call(wire.PREDICT, request) == ("INVALID_ARGUMENT", "tensor parsing error: x")


def test_many_idle_connections_and_a_dripping_body_hold_nobody_up(own_server):
    host, port = own_server.rest_address.split(":")
    idle = [socket.create_connection((host, int(port)), timeout=10) for _ in range(200)]
    try:
        for connection in idle[:100]:
            connection.sendall(b"POST /v1/models/half:predict HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n{")
        assert still_serves(own_server)
    finally:
        for connection in idle:
            connection.close()
