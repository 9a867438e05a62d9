"""Fixtures for tests in a real browser: `open_page(url or pathlib.Path, width=…, dark=…)` is all that most of them need."""

import os
import pathlib
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "conformance"))

import chromium
import gateway_process
import live_server

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def browser():
    """One Chromium for all tests."""
    with chromium.Chromium() as running:
        yield running


@pytest.fixture
def open_page(browser):
    """Opens a page: a URL or the pathlib.Path of a file. A test whose page has written an error into the console fails, unless it has cleared page.errors."""
    pages = []

    def opened(url, **options):
        page = browser.page(**options)
        pages.append(page)
        page.open(url)
        return page

    yield opened
    for page in pages:
        page.value("0")  # the last events come before this answer
        page.close()
    assert [page.errors for page in pages if page.errors] == []


@pytest.fixture(scope="session")
def demo_models(tmp_path_factory):
    """The demo models as SavedModels, and a model.config of them in which every version is served."""
    place = tmp_path_factory.mktemp("models")
    done = subprocess.run([sys.executable, str(pathlib.Path(__file__).with_name("export_models.py")), str(CHECKOUT), str(place)],
                          env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    labels = {"digits": 2, "digits_detector": 1}
    configs = "".join('config { name: "%s" base_path: "%s" model_platform: "tensorflow" model_version_policy { all {} }'
                      ' version_labels { key: "stable" value: %d } }\n' % (name, place / name, labels[name]) for name in labels)
    (place / "model.config").write_text("model_config_list {\n%s}\n" % configs)
    return place


@pytest.fixture(scope="session")
def start_server(demo_models):
    """start_server() -> a running `tfleet serve` with the demo models; the caller ends it."""
    def start(*flags):
        return live_server.LiveServer("--model_config_file=%s/model.config" % demo_models, "--allow_version_labels_for_unavailable_models=true", *flags)

    return start


@pytest.fixture(scope="session")
def server(start_server):
    """One of them for all tests."""
    with start_server() as running:
        running.wait_state("digits_detector", 1, "AVAILABLE", 60)
        running.wait_state("digits", 1, "AVAILABLE", 60)
        yield running


@pytest.fixture(scope="session")
def start_gateway(tmp_path_factory):
    """start_gateway(*addresses, **settings) -> a running `tfleet gateway` with the demo models."""
    running = []

    def start(*addresses, **settings):
        running.append(gateway_process.Gateway(tmp_path_factory.mktemp("gateway"), CHECKOUT, addresses, settings))
        return running[-1]

    yield start
    for gateway in running:
        gateway.end()


@pytest.fixture(scope="session")
def gateway(server, start_gateway):
    """One gateway for all tests that need nothing special."""
    return start_gateway(server.address)
