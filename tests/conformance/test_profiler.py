"""tensorflow.ProfilerService on the gRPC port: asked by TensorFlow's own profiler client."""

import os
import subprocess
import sys
import threading
import time

import pytest
from live_server import LiveServer, command
from test_options import tensorflow_version

CAPTURE = """
import sys
import tensorflow as tf
tf.profiler.experimental.client.trace("grpc://" + sys.argv[1], sys.argv[2], 1000)
"""
CAPTURE_1_15 = """
import sys
from tensorflow.python.eager import profiler_client
profiler_client.start_tracing(sys.argv[1], sys.argv[2], 1000)
"""
TERMINATE, MONITOR = ("/tensorflow.ProfilerService/" + name for name in ("Terminate", "Monitor"))


def raw(server, method, data=b"", timeout=20):
    """(code, details or response bytes) of a call in bytes."""
    import grpc

    try:
        return "OK", server._channel.unary_unary(method)(data, timeout=timeout)
    except grpc.RpcError as error:
        return error.code().name, error.details()


def listening_addresses(pid):
    """The addresses of a process's TCP ports that can be reached from any interface."""
    lines = subprocess.run(["ss", "-ltnpH"], stdout=subprocess.PIPE, universal_newlines=True, check=True).stdout.splitlines()
    return [line.split()[3] for line in lines if "pid=%d," % pid in line]


@pytest.fixture
def busy(own_models, model_files):
    """A server that is answering all the time."""
    with LiveServer("--model_base_path=%s/half" % model_files) as server:
        stop = threading.Event()

        def ask():
            while not stop.is_set():
                server.predict("default", [1.0])

        asker = threading.Thread(target=ask)
        asker.start()
        yield server
        stop.set()
        asker.join()


def test_a_profile_of_the_running_server(busy, own_models):
    code = CAPTURE if subprocess.run([sys.executable, "-c", "import tensorflow as tf; tf.profiler.experimental"], check=False,
                                     stderr=subprocess.DEVNULL).returncode == 0 else CAPTURE_1_15
    done = subprocess.run([sys.executable, "-c", code, busy.address, str(own_models)], env=command()[1], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, universal_newlines=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout
    found = [os.path.join(folder, name) for folder, _, names in os.walk(str(own_models)) for name in names]
    content = b""
    for name in found:
        with open(name, "rb") as stream:
            content += stream.read()
    assert any(word in content for word in (b"SessionRun", b"Mul", b"AddV2")), found


def test_the_rest_of_the_service(busy):
    assert raw(busy, TERMINATE)[0] == ("OK" if tensorflow_version() >= (2, 2) else "UNIMPLEMENTED")
    # TensorFlow itself has Monitor for TPUs only: its own answer comes through.
    assert raw(busy, MONITOR)[0] == "UNIMPLEMENTED"
    # The port that TensorFlow opens for it is not for the network.
    private = [address for address in listening_addresses(busy.process.pid) if not address.endswith((busy.address[9:], busy.rest_address[9:]))]
    assert len(private) == 1
    assert "%lo" in private[0]


def test_a_deadline_ends_the_call(busy, own_models):
    began = time.time()
    # A ProfileRequest for a minute, of the host: duration_ms = 1, opts = 4 {host_tracer_level = 2, version = 5, duration_ms = 9},
    # repository_root = 5, where TensorFlow writes the profile on the server's side.
    minute, root = b"\xe0\xd4\x03", str(own_models).encode()
    request = b"\x08" + minute + b"\x22\x08\x10\x02\x28\x01\x48" + minute + b"\x2a" + bytes([len(root)]) + root
    code, _ = raw(busy, "/tensorflow.ProfilerService/Profile", request, timeout=2)
    assert (code, time.time() - began < 10) == ("DEADLINE_EXCEEDED", True)
    assert busy.predict("default", [2.0]) == (2, [4.0])


def test_it_can_be_turned_off(own_models, model_files):
    with LiveServer("--model_base_path=%s/half" % model_files, "--enable_profiler=false") as server:
        assert raw(server, TERMINATE)[0] == "UNIMPLEMENTED"
