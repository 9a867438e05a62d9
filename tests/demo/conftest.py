"""A demo of its own for each file of tests: its directory, its ports, and the real commands run in it."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from ..conformance.live_server import free_ports

CHECKOUT = pathlib.Path(__file__).parents[2]
sys.path.insert(0, str(CHECKOUT / "tests"))


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def options(work):
    """Options that set the demo apart: its directory and three free ports."""
    ports = free_ports(3)
    return f"-e tfleet_work_dir={work} -e tfleet_grpc_port={ports[0]} -e tfleet_rest_port={ports[1]} -e tfleet_gateway_port={ports[2]}"


def _run(argv, fails=False):
    environment = {**os.environ, "NO_COLOR": "1", "ANSIBLE_FORCE_COLOR": "0"}
    done = subprocess.run(argv, cwd=CHECKOUT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert (done.returncode != 0) == fails, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def make(work, options):
    """Run a make target for this demo; a step that fails leaves no server behind."""

    def call(target):
        return _run(["make", "--no-print-directory", target, f"ARGS={options}", f"REPORTS={work}/reports"])

    yield call
    if (work / "serving/server.pid").exists():
        call("stop")


@pytest.fixture(scope="module")
def command(options):
    """The ansible-playbook command line of this demo: command(name, *more)."""

    def line(name, *more):
        return ["ansible-playbook", "-i", "inventories/local", f"playbooks/{name}.yml", *options.split(), *more]

    return line


@pytest.fixture(scope="module")
def playbook(work, command):
    """Run a playbook and return its output; fails=True where it must end with an error. No server is left behind."""

    def call(name, *more, fails=False):
        return _run(command(name, *more), fails)

    yield call
    if (work / "serving/server.pid").exists():
        call("stop")


@pytest.fixture
def changed():
    """Read the numbers of changes in a playbook's recap."""
    return lambda output: {int(count) for count in re.findall(r"\bchanged=(\d+)", output)}


@pytest.fixture(scope="session")
def smoke_lines():
    """Read the JSON lines of a smoke test."""
    return lambda output: [json.loads(line) for line in output.splitlines() if line.startswith('{"')]
