"""The command `tfleet gateway`: real processes, with what only those show."""

import argparse
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from tfleet.cli import gateway as cli
from tfleet.errors import TfleetError

from ....conformance.live_server import free_ports
from .parts import TOKEN, Served, picture

# Pages that pictures of 640x480 cost after the first: their pixels, and the request made of them.
PAGES = """
import resource, sys
if sys.argv[1:]:
    from tfleet.gateway import serving
    serving.keep_memory()
pixels = b"x" * (640 * 480 * 3)
for number in range(110):
    if number == 10:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytes(bytearray(pixels))
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 100)
"""


def test_memory_of_one_picture_is_there_for_the_next():
    def pages(*how):
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
        return int(subprocess.run([sys.executable, "-c", PAGES, *how], env=environment, stdout=subprocess.PIPE, check=True, timeout=60).stdout)

    assert pages() > 100  # of 450 in all; else this proves nothing here
    assert pages("kept") < 10


@pytest.fixture
def start(tmp_path, serve):
    """start(served, **settings) -> Gateway, ended after the test."""
    running = []

    def started(served=None, **values):
        running.append(Gateway(tmp_path, serve((served or Served()).answers()).address, values))
        return running[-1]

    yield started
    for gateway in running:
        gateway.end(signal.SIGKILL)


class Gateway:
    """A process."""

    def __init__(self, place, server, values):
        (self.port,) = free_ports(1)
        self.path = place / "gateway.json"
        settings = {"listen": "127.0.0.1:%d" % self.port, "servers": [server], "models": [{"name": "cats", "labels": ["stable"]}], "rate": 0}
        self.path.write_text(json.dumps({**settings, **values}))
        environment = {**os.environ, "TMPDIR": str(place)}
        self.process = subprocess.Popen([sys.executable, "-m", "tfleet", "gateway", "--config", str(self.path)], env=environment,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.log = []
        self.reader = threading.Thread(target=lambda: self.log.extend(self.process.stdout))
        self.reader.start()

    def ready(self):
        until = time.monotonic() + 30
        while True:
            try:
                if self.ask("GET", "/readyz")[0] == 200:
                    return self
            except OSError:
                pass
            assert self.process.poll() is None and time.monotonic() < until, "".join(self.log)
            time.sleep(0.05)

    def ask(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def end(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(30)
        self.reader.join()
        self.process.stdout.close()
        return code


def test_it_serves_with_workers_that_count_together_and_ends_cleanly(start, tmp_path):
    gateway = start(workers=2).ready()
    for _ in range(12):
        assert gateway.ask("POST", "/api/v1/models/cats:predict", picture())[0] == 200
    text = gateway.ask("GET", "/metrics")[1]
    assert 'tfleet_gateway_requests_total{method="POST",route="predict",status="200"} 12.0' in text
    assert "tfleet_gateway_requests_in_flight 1.0" in text
    children = pathlib.Path("/proc/%d/task/%d/children" % ((gateway.process.pid,) * 2)).read_text().split()
    assert len(children) == 2
    os.kill(int(children[0]), signal.SIGKILL)
    gateway.ready()
    assert gateway.ask("POST", "/api/v1/models/cats:predict", picture())[0] == 200
    assert gateway.end() == 0
    assert "listens at http://127.0.0.1:%d/" % gateway.port in "".join(gateway.log)
    assert not list(tmp_path.glob("tfleet-gateway-*"))


def test_what_is_begun_is_answered_when_it_is_told_to_end(start):
    begun, ends = threading.Event(), threading.Event()
    served, answers = Served(), []
    before = served.outputs
    served.outputs = lambda arrays: begun.set() or (ends.wait(20) and before(arrays))
    gateway = start(served).ready()
    thread = threading.Thread(target=lambda: answers.append(gateway.ask("POST", "/api/v1/models/cats:predict", picture())))
    thread.start()
    assert begun.wait(20)
    gateway.process.terminate()
    time.sleep(0.3)
    ends.set()
    thread.join()
    assert answers[0][0] == 200 and gateway.end() == 0


def test_who_sends_too_slowly_is_cut_off_and_others_are_served(start):
    gateway = start(request_seconds=1.5).ready()
    slow = [socket.create_connection(("127.0.0.1", gateway.port), timeout=10) for _ in range(4)]
    head = b"POST /api/v1/models/cats:predict HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    slow[0].sendall(head + b"Content-Length: 1000\r\n\r\n\x89PNG")
    for one in slow[1:]:
        one.sendall(head)
    ended, begin = set(), time.monotonic()
    while len(ended) < len(slow) and time.monotonic() - begin < 8:
        for one in slow:
            try:
                if one not in ended:
                    one.sendall(b"X")  # a byte now and then, which keeps a connection alive for ever elsewhere
            except OSError:
                ended.add(one)
        assert gateway.ask("GET", "/healthz")[0] == 200
        time.sleep(0.2)
    for one in slow:
        one.close()
    assert len(ended) == len(slow)


@pytest.mark.parametrize("raw, status", [
    (b"GET /" + b"a" * 3000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414), (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 17000 + b"\r\n\r\n", 431),
    (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400), (b"\x16\x03\x01 hello\r\n\r\n", 400),
])  # fmt: skip
def test_what_is_no_proper_http_is_refused(shared, raw, status):
    with socket.create_connection(("127.0.0.1", shared.port), timeout=10) as connection:
        connection.sendall(raw)
        answer = connection.makefile("rb").read()
    # What is over the limits may get its status or just an end; it is never served.
    assert answer.split(b" ")[1:2] == [str(status).encode()] or answer == b"" or answer.split(b" ")[1] in (b"400", b"431", b"414")


def test_the_cookies_of_a_log_in_are_taken(shared):
    connection = http.client.HTTPConnection("127.0.0.1", shared.port, timeout=20)
    connection.request("GET", "/healthz", headers={"Cookie": "session=" + "a" * 12000})
    assert connection.getresponse().status == 200
    connection.close()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_refused_however_it_comes(shared, chunked):
    connection = http.client.HTTPConnection("127.0.0.1", shared.port, timeout=20)
    body = (b"x" * 10000 for _ in range(10)) if chunked else b"x" * 100000
    connection.request("POST", "/api/v1/models/cats:predict", body, encode_chunked=chunked, headers={"Transfer-Encoding": "chunked"} if chunked else {})
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["code"]) == (413, "too_large")
    connection.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One process for tests that only send something strange."""
    gateway = Gateway(tmp_path_factory.mktemp("shared"), "127.0.0.1:1", {"body_bytes": 65536, "waiting_seconds": 0})
    until = time.monotonic() + 30
    while True:
        try:
            assert gateway.ask("GET", "/healthz")[0] == 200
            break
        except OSError:
            assert gateway.process.poll() is None and time.monotonic() < until, "".join(gateway.log)
            time.sleep(0.05)
    yield gateway
    assert gateway.ask("GET", "/healthz")[0] == 200  # whatever it was sent
    gateway.end()


@pytest.mark.parametrize("values, said", [
    ({"listen": "0.0.0.0:8502"}, "would answer everybody who reaches 0.0.0.0:8502. Set token_file"),
    ({"token_file": "missing"}, "The tokens cannot be read from .*missing: No such file"),
    ({"modles": []}, "there is no setting 'modles': did you mean 'models'"),
])  # fmt: skip
def test_it_refuses_to_start_with_a_clear_sentence(start, values, said):
    gateway = start(**values)
    assert gateway.end(0) == 1
    assert len(gateway.log) == 1 and re.search(said, gateway.log[0])


def test_settings_are_checked_without_starting(tmp_path):
    path = tmp_path / "g.json"
    path.write_text(json.dumps({"servers": ["a:1"], "models": [{"name": "cats"}]}))
    command = [sys.executable, "-m", "tfleet", "gateway", "--config", str(path), "--check", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"config": str(path), "listen": "127.0.0.1:8502", "models": ["cats"], "ok": True}


def test_tokens_are_checked_without_starting(tmp_path):
    path = tmp_path / "g.json"
    path.write_text(json.dumps({"servers": ["a:1"], "models": [{"name": "cats"}], "token_file": "token"}))
    (tmp_path / "token").write_text("short\n")
    with pytest.raises(TfleetError, match="at least 16 characters"):
        cli.run(argparse.Namespace(config=str(path), check=True))


def test_a_token_stands_neither_in_the_log_nor_in_the_arguments(start, tmp_path):
    (tmp_path / "token").write_text(TOKEN)
    gateway = start(token_file=str(tmp_path / "token")).ready()
    assert gateway.ask("POST", "/api/v1/models/cats:predict?token=" + TOKEN, picture(), {"Authorization": "Bearer " + TOKEN})[0] == 200
    arguments = pathlib.Path("/proc/%d/cmdline" % gateway.process.pid).read_text()
    gateway.end()
    assert TOKEN not in arguments and TOKEN not in "".join(gateway.log) and " token POST /api/v1/models/cats:predict 200 " in "".join(gateway.log)
