"""Thousands of requests that nobody should send: each is answered or its connection closed, and the server stays as it was."""

import http.client
import os
import random
import re
import socket
import time

import fuzzing
import grpc
import pytest
from live_server import LiveServer
from watching import Watch

from tfleet import wire

# TFLEET_FUZZ=10000 tries that many of each kind; TFLEET_FUZZ_SEED another sequence.
COUNT = int(os.environ.get("TFLEET_FUZZ", "5000"))
SEED = int(os.environ.get("TFLEET_FUZZ_SEED", "1"))
GROWTH_MB = 20
REFUSALS = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "UNIMPLEMENTED"}
NOT_A_MESSAGE = re.compile(r"The request is not a [a-z0-9.]*[A-Za-z]+ message\Z")


@pytest.fixture(scope="module")
def server(model_files):
    monitoring = model_files / "monitoring.config"
    monitoring.write_text("prometheus_config { enable: true }\n")
    with LiveServer("--model_config_file=%s/model.config" % model_files, "--allow_version_labels_for_unavailable_models=true",
                    "--monitoring_config_file=%s" % monitoring, "--enable_grpc_healthcheck_service", "--rest_api_timeout_in_ms=5000") as running:
        running.wait_state("half", 1, "AVAILABLE")
        yield running


@pytest.fixture
def watch(server, fault):
    """Counts for the report, checks now and then that the server still answers rightly, and how much it grew."""
    return Watch(server, fault)


def addressed(address):
    host, port = address.rsplit(":", 1)
    return host, int(port)


@pytest.mark.parametrize(("name", "make", "count"), [
    ("damaged gRPC messages", fuzzing.damaged_message, COUNT), ("hostile gRPC messages", fuzzing.hostile_message, COUNT),
    ("damaged large gRPC messages", fuzzing.large_message, COUNT // 5)])
def test_grpc_messages(server, watch, name, make, count):
    source = random.Random(SEED)
    with watch.of(name, "serving", GROWTH_MB, count // 5), grpc.insecure_channel(server.address, options=[("grpc.max_receive_message_length", -1)]) as channel:
        stubs = {method: channel.unary_unary(method) for method in wire.METHODS}
        for position in range(count):
            method, data = make(source)
            code, message = "OK", ""
            try:
                stubs[method](data, timeout=20)
            except grpc.RpcError as error:
                code, message = error.code().name, error.details()
            if code not in REFUSALS and not (code == "INTERNAL" and NOT_A_MESSAGE.match(message)):
                watch.failed("%d: %s %r answered %s %s" % (position, method, data[:200], code, message))
            watch.tick(position)


def test_rest_requests(server, watch):
    # The allocator settles later here than with gRPC: 30 000 leave no more behind than 5 000.
    source = random.Random(SEED + 1)
    connection = http.client.HTTPConnection(server.rest_address, timeout=20)
    with watch.of("damaged and hostile REST requests", "serving", 2 * GROWTH_MB, COUNT // 5):
        for position in range(COUNT):
            method, path, headers, body = fuzzing.rest_request(source)
            try:
                connection.request(method, path, body, headers)
                answer = connection.getresponse()
                text = answer.read()
                good = answer.status in (200, 400, 404, 501) and (answer.status in (200, 404) or b'"error"' in text or method == "HEAD")
                status = answer.status
            except (OSError, http.client.HTTPException) as error:
                good, status, text = False, repr(error), b""
                connection.close()
            if not good:
                watch.failed("%d: %s %r %r %r answered %s %r" % (position, method, path[:100], headers, body[:200], status, text[:200]))
            watch.tick(position)
    connection.close()


@pytest.mark.parametrize(("name", "make", "port"), [
    ("damaged HTTP heads, lengths and chunks", fuzzing.raw_http, "rest_address"), ("damaged HTTP/2 frames", fuzzing.raw_http2, "address")])
def test_raw_bytes(server, watch, name, make, port):
    source = random.Random(SEED + 2)
    with watch.of(name, "serving", GROWTH_MB, COUNT // 5):
        for position in range(COUNT):
            data = make(source)
            began = time.time()
            try:
                with socket.create_connection(addressed(getattr(server, port)), timeout=20) as connection:
                    connection.sendall(data)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(65536):
                        pass
            except (BrokenPipeError, ConnectionResetError):
                pass  # the server had seen enough
            except OSError as error:
                watch.failed("%d: %r ended with %r after %.1f s" % (position, data[:200], error, time.time() - began))
            watch.tick(position)


def test_gzip_bombs(server, watch):
    bombs = [fuzzing.gzip_bomb(1000), fuzzing.gzip_bomb(90), fuzzing.gzip_bomb(90, b"["), fuzzing.gzip_bomb(40, b"1,"), b"\x1f\x8b" + b"\x00" * 1000]
    # The C library keeps some of the room that the first ones took, but ten of them must leave less than one inflates to.
    with watch.of("gzip bombs", "serving", 100):
        for position, bomb in enumerate(bombs * 2):
            status, _, body = server.http("POST", "/v1/models/half:predict", bomb, {"Content-Encoding": "gzip"})
            # 429: what it holds would become more objects than the server has memory for them, so it is not read at all.
            if not ((status == 400 and b'"error"' in body) or (status == 429 and b"MB of memory to read" in body)):
                watch.failed("bomb %d of %d bytes answered %s %r" % (position, len(bomb), status, body[:200]))
            watch.tick(position)


def test_a_few_bytes_that_ask_for_much_memory(server, watch):
    shapes = [(1 << 30,), (500000000,), (1 << 15, 1 << 14), (0, 1 << 62), (1 << 62, 0), (1 << 40,)]
    with watch.of("small requests for huge tensors", "serving", GROWTH_MB):
        for position, (shape, dtype) in enumerate([(shape, dtype) for shape in shapes for dtype in (1, 7, 9)]):
            request = wire.PredictRequest()
            request.model_spec.name = "types"
            request.model_spec.signature_name = {1: "float32", 7: "string", 9: "int64"}[dtype]
            request.inputs["x"].dtype = dtype
            for size in shape:
                request.inputs["x"].tensor_shape.dim.add(size=size)
            code, message = server.call(wire.PREDICT, request)
            if (code, message) != ("INVALID_ARGUMENT", "tensor parsing error: x"):
                watch.failed("shape %s of type %d answered %s %s" % (shape, dtype, code, str(message)[:100]))
            watch.tick(position)


@pytest.mark.parametrize(("head", "body", "status"), [
    (b"Content-Length: 18", b'{"instances": [1]}', 200),
    (b"Content-Length: 18\r\nContent-Length: 18", b'{"instances": [1]}', 200),
    (b"Content-Length: 18\r\nContent-Length: 17", b'{"instances": [1]}', 400),
    (b"Content-Length: +18", b'{"instances": [1]}', 400),
    (b"Content-Length: 1_8", b'{"instances": [1]}', 400),
    (b"Content-Length: \xb9", b"{", 400),
    (b"Content-Length: " + b"9" * 5000, b"{", 400),
    (b"Transfer-Encoding: chunked", b'12\r\n{"instances": [1]}\r\n0\r\n\r\n', 200),
    (b"Transfer-Encoding: Chunked", b'012;a=b\r\n{"instances": [1]}\r\n0\r\nT: x\r\n\r\n', 200),
    (b"Transfer-Encoding: chunked\r\nContent-Length: 18", b'12\r\n{"instances": [1]}\r\n0\r\n\r\n', 400),
    (b"Transfer-Encoding: gzip, chunked", b"0\r\n\r\n", 501),
    (b"Transfer-Encoding: xchunked", b"0\r\n\r\n", 501),
    (b"Transfer-Encoding: chunked", b'0x12\r\n{"instances": [1]}\r\n0\r\n\r\n', 400),
    (b"Transfer-Encoding: chunked", b'-12\r\n{"instances": [1]}\r\n0\r\n\r\n', 400),
    (b"Transfer-Encoding: chunked", b'11\r\n{"instances": [1]}\r\n0\r\n\r\n', 400),
    (b"Transfer-Encoding: chunked", b"0\r\n" + b"T: x\r\n" * 500 + b"\r\n", 400),
])
def test_a_length_that_two_readers_could_understand_differently_is_refused(server, head, body, status):
    with socket.create_connection(addressed(server.rest_address), timeout=20) as connection:
        connection.sendall(b"POST /v1/models/half:predict HTTP/1.1\r\nConnection: close\r\n" + head + b"\r\n\r\n" + body)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer


def test_what_only_longer_runs_found(server):
    status, _, answer = server.http("POST", "/v1/models/examples:regress", b'{"examples": [{"x": 1%s}]}' % (b"0" * 399))
    assert (status, answer[:47]) == (400, b'{\n    "error": "Cannot convert JSON value: 1000')
    # A message's string takes no other bytes than UTF-8.
    for body in (b'{"signature_name": "serv\xa8ng", "examples": [{"x": 1}]}', b'{"examples": [{"x\xfe": 1}]}'):
        status, _, answer = server.http("POST", "/v1/models/examples:classify", body)
        assert (status, answer) == (400, b'{\n    "error": "JSON Parse error: Invalid encoding in string."\n}')
