"""The processes behind the ports of model servers."""
import subprocess
import sys

import pytest
from ansible_collections.tfleet.serving.plugins.module_utils.server_process import servers
from ansible_collections.tfleet.serving.tests.unit.plugins import serving_tools

MIB = 1024 * 1024
# A server that listens, holds some memory and has started another process, which holds some more.
SERVER = """
import socket, subprocess, sys
listening = socket.create_server(("127.0.0.1", int(sys.argv[1])))
mine = b"x" * (64 << 20)
child = subprocess.Popen([sys.executable, "-c", "theirs = b'x' * (32 << 20); print('up', flush=True); input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
print("up", flush=True)
input()
"""


@pytest.fixture
def port():
    return serving_tools.free_port()


def started(port):
    process = subprocess.Popen([sys.executable, "-c", SERVER, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"up\n"
    return process


def nothing(_argv):
    raise AssertionError("nothing is to be run")


def test_a_server_is_found_by_its_port_with_all_that_it_holds_and_is_another_when_it_was_started_again(port):
    seen = []
    for _time in range(2):
        process = started(port)
        try:
            (server,) = servers([port], [], nothing)
            assert servers([port], [], nothing)[0]["run"] == server["run"]
            assert server["pid"] == process.pid
            assert 96 * MIB <= server["resident_bytes"] < 160 * MIB
            seen.append(server["run"])
        finally:
            process.communicate()
    assert seen[0] != seen[1]


def test_nobody_who_listens_is_nothing_known(port):
    assert servers([port], [], nothing) is None
    assert servers([], [], nothing) is None


def test_of_containers_docker_tells_the_process():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        said = []

        def docker(argv):
            said.append(argv)
            return 0, "%d\n" % process.pid, ""

        assert [server["pid"] for server in servers([8500], ["tfleet-model-server"], docker)] == [process.pid]
        assert said == [["docker", "container", "inspect", "--format", "{{.State.Pid}}", "tfleet-model-server"]]
        # One that does not run has process 0.
        assert servers([8500], ["gone"], lambda argv: (0, "0\n", "")) is None
        assert servers([8500], ["gone"], lambda argv: (1, "", "No such container")) is None
    finally:
        process.communicate()
