"""A running model server and the two ways to ask it; used by the conformance and fault tests."""

import fcntl
import http.client
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import grpc
from google.protobuf import text_format

from tfleet import wire

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "runtime", "src")
OK = ("OK", "")


# Below those that Linux gives to whoever binds port 0 or connects (ip_local_port_range begins at 32768).
_PORTS = range(20000, 32000)
_given = set()
_claims = []


def free_ports(count):
    """TCP ports that nobody listens on now, and that no other test run of this user is given until this process ends.

    A server opens its ports seconds after they were chosen, and two suites run beside each other: a port that the kernel gave for an instant would be
    given to others meanwhile.
    """
    if not _claims:
        # One file, of which each port is a byte: the locks go with the process, however it ends.
        path = os.path.join(tempfile.gettempdir(), "tfleet-test-ports-%d" % os.getuid())
        _claims.append(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    found = []
    while len(found) < count:
        port = random.SystemRandom().choice(_PORTS)
        if port not in _given and _claim(port):
            _given.add(port)
            found.append(port)
    return found


def _claim(port):
    try:
        fcntl.lockf(_claims[0], fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
        with socket.socket() as probe:
            probe.bind(("", port))
    except OSError:
        return False
    return True


def command(*flags):
    """The command line of the server under test and its environment."""
    environment = dict(os.environ, TF_CPP_MIN_LOG_LEVEL="2", PYTHONPATH=os.pathsep.join([SOURCE] + os.environ.get("PYTHONPATH", "").split(os.pathsep)))
    return [sys.executable, "-m", "tfleet", "serve"] + list(flags), environment


class Client:
    """Asks a server by gRPC (messages in text format) and by REST."""

    def __init__(self, address, rest_address):
        self.address = address
        self.rest_address = rest_address
        self._channel = grpc.insecure_channel(address, options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)])

    def call(self, method, request="", timeout=20):
        """(code name, details or the response message). request: a message, or its text format."""
        request_type, response_type = wire.METHODS[method]
        if isinstance(request, str):
            request = text_format.Parse(request, request_type())
        stub = self._channel.unary_unary(method, request_serializer=request_type.SerializeToString, response_deserializer=response_type.FromString)
        try:
            return "OK", stub(request, timeout=timeout)
        except grpc.RpcError as error:
            return error.code().name, error.details()

    def predict(self, model, x, version=None, timeout=20):
        """(version, y as a list) of a half_plus model. Raises AssertionError if the call failed."""
        request = wire.PredictRequest()
        request.model_spec.name = model
        if version is not None:
            request.model_spec.version.value = version
        request.inputs["x"].dtype = 1
        request.inputs["x"].tensor_shape.dim.add(size=len(x))
        request.inputs["x"].float_val.extend(x)
        code, answer = self.call(wire.PREDICT, request, timeout)
        assert code == "OK", (code, answer)
        return answer.model_spec.version.value, list(answer.outputs["y"].float_val)

    def states(self, model):
        """{version: (state name, error message)} of a model; {} if it was never seen."""
        code, answer = self.call(wire.GET_MODEL_STATUS, 'model_spec { name: "%s" }' % model)
        if code == "NOT_FOUND":
            return {}
        assert code == "OK", (code, answer)
        names = wire.GetModelStatusResponse.DESCRIPTOR.fields_by_name["model_version_status"].message_type.enum_types_by_name["State"]
        return {row.version: (names.values_by_number[row.state].name, row.status.error_message) for row in answer.model_version_status}

    def wait_state(self, model, version, state, seconds=20):
        """Waits until a version is in a state; its error message."""
        deadline = time.time() + seconds
        while True:
            now = self.states(model).get(version, ("", ""))
            if now[0] == state:
                return now[1]
            assert time.time() < deadline, "%s %s is %s, not %s" % (model, version, now, state)
            time.sleep(0.05)

    def http(self, method, path, body=None, headers=None):
        """(status, headers, body) of one REST request on a connection of its own."""
        connection = http.client.HTTPConnection(self.rest_address, timeout=30)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def close(self):
        self._channel.close()


class LiveServer(Client):
    """`tfleet serve` in a process of its own, on free ports of 127.0.0.1. A context manager; ends with SIGKILL at the latest.

    prefix: a command that runs the server's command line, such as prlimit with its options.
    """

    def __init__(self, *flags, wait=True, prefix=()):
        port, rest_port = free_ports(2)
        super().__init__("127.0.0.1:%d" % port, "127.0.0.1:%d" % rest_port)
        arguments, environment = command("--tfleet_bind_address=127.0.0.1", "--port=%d" % port, "--rest_api_port=%d" % rest_port,
                                         "--tensorflow_session_parallelism=2", *flags)
        self.process = subprocess.Popen(list(prefix) + arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        universal_newlines=True, errors="backslashreplace")
        self._log = []
        self._listening = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        if wait:
            try:
                self.wait_listening()
            except AssertionError:  # nobody has a server yet whom he could end
                self.__exit__()
                raise

    def _read(self):
        for line in self.process.stdout:
            self._log.append(line)
            if "Exporting HTTP/REST API" in line:
                self._listening.set()
        self._listening.set()

    @property
    def log(self):
        return "".join(self._log)

    def wait_listening(self, seconds=60):
        assert self._listening.wait(seconds), "the server did not open its ports:\n" + self.log
        assert self.process.poll() is None, "the server has ended:\n" + self.log

    def terminate(self, number=signal.SIGTERM, seconds=20):
        """Sends a signal and waits; the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(seconds)
        self._reader.join()
        return code

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        self.process.stdout.close()


def run_to_end(*flags, seconds=60):
    """Runs a server that is expected to end by itself: (exit code, stdout, stderr)."""
    arguments, environment = command(*flags)
    done = subprocess.run(arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True, timeout=seconds, check=False)
    return done.returncode, done.stdout, done.stderr
