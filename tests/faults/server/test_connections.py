"""Clients that connect and then say nothing, or say it very slowly."""

import http.client
import re
import resource
import socket
import subprocess
import threading
import time

import grpc
import pytest
from google.protobuf import text_format
from live_server import LiveServer
from watching import cpu_seconds, memory_mb, right_answers, threads

from tfleet import wire

IDLE = 1000
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"


@pytest.fixture(scope="module")
def server(model_files):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # The limit that most hosts give a process: the server has to raise it.
    with LiveServer("--model_config_file=%s/model.config" % model_files, "--allow_version_labels_for_unavailable_models=true",
                    "--enable_grpc_healthcheck_service", prefix=("prlimit", "--nofile=1024:%d" % min(hard, 16384))) as running:
        running.wait_state("half", 1, "AVAILABLE")
        yield running
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connect(address, count, greeting=b""):
    host, port = address.rsplit(":", 1)
    found = []
    for _ in range(count):
        found.append(socket.create_connection((host, int(port)), timeout=30))
        if greeting:
            found[-1].sendall(greeting)
    return found


def close(connections):
    for connection in connections:
        connection.close()


def ask(server, row, seconds):
    """Asks rightly for a while; the slowest answer in seconds."""
    slowest, until = 0.0, time.time() + seconds
    while time.time() < until:
        began = time.time()
        wrong = right_answers(server)
        slowest = max(slowest, time.time() - began)
        row.runs += 1
        row.wrong_answers += wrong is not None
        assert wrong is None, wrong
    return slowest


class Drip(threading.Thread):
    """Sends `begin` and then `drop` every so often until the server ends it; `answer` and how long it was borne."""

    def __init__(self, address, begin, drop, every):
        super().__init__(daemon=True)
        self.answer, self.seconds = b"", 0.0
        self._connection = connect(address, 1, begin)[0]
        self._drop, self._every = drop, every
        self._stopped = False
        self._began = time.time()
        self.start()

    def run(self):
        try:
            self._connection.settimeout(self._every)
            while not self._stopped:
                try:
                    part = self._connection.recv(65536)
                    self.answer += part
                    if not part:
                        break
                except socket.timeout:
                    self._connection.sendall(self._drop)
        except OSError:
            pass
        self.seconds = time.time() - self._began
        self._connection.close()

    def stop(self):
        self._stopped = True
        self.join()


def slow_upload(server, megabytes, seconds):
    """Sends a predict of so many MB in so many seconds; (status, body)."""
    body = b'{"instances": [1.0' + b" " * (megabytes << 20) + b"]}"
    steps = 40
    connection = http.client.HTTPConnection(server.rest_address, timeout=60)
    connection.putrequest("POST", "/v1/models/half:predict")
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders()
    for step in range(steps):
        connection.send(body[len(body) * step // steps:len(body) * (step + 1) // steps])
        time.sleep(seconds / steps)
    answer = connection.getresponse()
    try:
        return answer.status, answer.read()
    finally:
        connection.close()


class SlowClients:
    """Four kinds of slow-loris, and one client that is only on a slow line."""

    def __init__(self, server):
        head = b"POST /v1/models/half:predict HTTP/1.1\r\n"
        self.heads = [Drip(server.rest_address, head + b"X: ", b"a", 1.0) for _ in range(40)]
        self.bodies = [Drip(server.rest_address, head + b"Content-Length: 100000\r\n\r\n", b" ", 1.0) for _ in range(40)]
        self.chunks = [Drip(server.rest_address, head + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n", 1.0) for _ in range(20)]
        self.frames = [Drip(server.address, PREFACE + b"\x00\xff\xff\x01\x04\x00\x00\x00\x01", b"\x00", 1.0) for _ in range(40)]
        self.uploads = []
        self._upload = threading.Thread(target=lambda: self.uploads.append(slow_upload(server, 8, 25)), daemon=True)
        self._upload.start()

    def over_http(self):
        return self.heads + self.bodies + self.chunks

    def wait(self):
        self._upload.join()
        for drip in self.frames:
            drip.stop()


@pytest.fixture(scope="module")
def slow_clients(server):
    """They need half a minute: they begin first and other tests run meanwhile."""
    return SlowClients(server)


def test_a_thousand_idle_connections_each(server, slow_clients, fault):
    row = fault("1000 idle HTTP and 1000 idle gRPC connections", "serving")
    pid = server.process.pid
    assert right_answers(server) is None
    before = memory_mb(pid)[0]
    idle = connect(server.rest_address, IDLE) + connect(server.address, IDLE // 2) + connect(server.address, IDLE // 2, PREFACE)
    try:
        slowest = ask(server, row, 3)
        grown = memory_mb(pid)[0] - before
        row.note = "%+.1f MB while they were open, slowest pair of answers %.0f ms, %d threads" % (grown, slowest * 1000, threads(pid))
    finally:
        close(idle)
    assert grown < 120
    assert slowest < 2
    deadline = time.time() + 20
    while threads(pid) > 300:
        assert time.time() < deadline, "threads of closed connections stay: %d" % threads(pid)
        time.sleep(0.1)
    ask(server, row, 0.5)


def test_a_server_without_free_files_recovers(server, fault):
    row = fault("more connections than files", "serving")
    pid = server.process.pid
    held = http.client.HTTPConnection(server.rest_address, timeout=20)
    held.request("GET", "/v1/models/half")
    assert held.getresponse().read()
    assert server.predict("half", [1.0]) == (2, [3.5])
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    open_files = int(subprocess.check_output(["sh", "-c", "ls /proc/%d/fd | wc -l" % pid]))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_files + 20, limits[1]))
    idle = connect(server.rest_address, 60)
    try:
        time.sleep(1)
        before = cpu_seconds(pid)
        for _ in range(10):  # clients that were there before are served
            held.request("GET", "/v1/models/half")
            row.wrong_answers += held.getresponse().read().count(b"AVAILABLE") != 2
            assert server.predict("half", [1.0]) == (2, [3.5])
            row.runs += 2
            time.sleep(0.1)
        used = cpu_seconds(pid) - before
    finally:
        close(idle)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    held.close()
    row.note = "%.2f s of CPU in a second or so without a free file" % used
    assert used < 0.4, "the server spins on what it cannot accept"
    assert row.wrong_answers == 0
    deadline = time.time() + 20
    while right_answers(server) is not None:
        assert time.time() < deadline
    row.runs += 1


def test_slow_loris(server, slow_clients, fault):
    row = fault("slow-loris heads, bodies, chunks and frames", "serving")
    # Without an end of their own these would be borne for hours.
    deadline = time.time() + 60
    slowest = ask(server, row, 1)
    while any(drip.is_alive() for drip in slow_clients.over_http()):
        assert time.time() < deadline, "%d slow clients are still borne" % sum(drip.is_alive() for drip in slow_clients.over_http())
        slowest = max(slowest, ask(server, row, 0.2))
    slow_clients.wait()
    borne = tuple(max(drip.seconds for drip in kind) for kind in (slow_clients.heads, slow_clients.bodies, slow_clients.chunks))
    row.note = "ended after %.0f s (heads), %.0f s (bodies), %.0f s (chunks); slowest pair of answers meanwhile %.0f ms" % (*borne, slowest * 1000)
    assert slow_clients.uploads == [(200, b'{\n    "predictions": [3.5\n    ]\n}')], "a big body on a slow line is no attack"
    assert all(re.match(rb"HTTP/1.1 408 ", drip.answer) for drip in slow_clients.bodies + slow_clients.chunks)
    assert max(borne) < 50
    assert slowest < 2
    ask(server, row, 0.2)


def test_calls_that_wait_for_ever(server, model_files, fault):
    """Watchers of the health, and reloads with a model whose directory never comes: neither may hold the threads of the others."""
    row = fault("40 health watchers and 40 reloads that wait for ever", "serving")
    reload = wire.ReloadConfigRequest()
    text_format.Parse((model_files / "model.config").read_text(), reload.config)
    reload.config.model_config_list.config.add(name="never", base_path=str(model_files / "never"), model_platform="tensorflow")
    with grpc.insecure_channel(server.address) as channel:
        watchers = [channel.unary_stream(wire.HEALTH_WATCH)(b"", timeout=60) for _ in range(40)]
        reloads = [channel.unary_unary(wire.RELOAD_CONFIG).future(reload.SerializeToString(), timeout=60) for _ in range(40)]
        time.sleep(0.5)
        slowest = ask(server, row, 2)
        row.note = "slowest pair of answers %.0f ms" % (slowest * 1000)
        assert not any(call.done() for call in reloads)
        for call in watchers + reloads:
            call.cancel()
    assert slowest < 2
    ask(server, row, 0.2)
