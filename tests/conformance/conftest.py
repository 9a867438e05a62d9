"""pytest tests/conformance [--address HOST:PORT --rest-address HOST:PORT]: against `tfleet serve`, or any server that serves
the models of served_models.py."""

import os
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import live_server


def pytest_addoption(parser):
    parser.addoption("--address", help="gRPC address of a running server with the models of served_models.py")
    parser.addoption("--rest-address", help="its REST address")


@pytest.fixture(scope="session")
def model_files(tmp_path_factory):
    """A directory with the models and model.config, written by TensorFlow in a process of its own."""
    root = tmp_path_factory.mktemp("models")
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "served_models.py")
    done = subprocess.run([sys.executable, script, str(root)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True, check=False)
    assert done.returncode == 0, done.stdout
    return root


@pytest.fixture(scope="session")
def server(request):
    """The server that the conformance table is run against."""
    address = request.config.getoption("--address")
    if address:
        client = live_server.Client(address, request.config.getoption("--rest-address"))
        yield client
        client.close()
        return
    root = request.getfixturevalue("model_files")
    monitoring = root / "monitoring.config"
    monitoring.write_text("prometheus_config { enable: true }\n")
    with live_server.LiveServer("--model_config_file=%s/model.config" % root, "--allow_version_labels_for_unavailable_models=true",
                                "--rest_api_timeout_in_ms=1500", "--monitoring_config_file=%s" % monitoring,
                                "--enable_grpc_healthcheck_service") as running:
        running.wait_state("half", 1, "AVAILABLE")
        yield running


@pytest.fixture
def own_server(request, server):
    """The same, for tests that only make sense for our own server."""
    if request.config.getoption("--address"):
        pytest.skip("runs only against a server that the tests started")
    return server


@pytest.fixture
def own_models(request, tmp_path):
    """An empty directory for a server of the test's own; skipped when a running server is tested."""
    if request.config.getoption("--address"):
        pytest.skip("runs only against servers that the tests start")
    return tmp_path
