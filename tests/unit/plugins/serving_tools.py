"""A real model server with the real digits model, for the tests of the modules that talk to one."""
import contextlib
import functools
import json
import os
import socket
import subprocess
import tempfile
import time

from ansible_collections.tfleet.serving.plugins.module_utils import manifest as manifests
from ansible_collections.tfleet.serving.plugins.module_utils.release_archive import write
from ansible_collections.tfleet.serving.plugins.modules import model_version
from ansible_collections.tfleet.serving.tests.conformance.live_server import free_ports

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 3))
GOLDEN = os.path.join(ROOT, "models", "digits", "%d", "golden.npz")
START_SECONDS = 60


@functools.lru_cache(maxsize=None)
def _scratch():
    # Removed when the interpreter ends.
    return tempfile.TemporaryDirectory(prefix="tfleet-test-")


@functools.lru_cache(maxsize=None)
def exported(runtime, version):
    """Export version 1 or 2 of the digits model and return its folder, which is for looking at and copying; done once for all tests."""
    saved_model = os.path.join(_scratch().name, "digits-%d" % version)
    subprocess.run(
        [runtime, "export", os.path.join(ROOT, "models", "digits", str(version), "frozen_graph.pb"), saved_model, "--signatures",
         json.dumps({"serving_default": {"inputs": {"images": "images:0"}, "outputs": {"scores": "scores:0", "classes": "classes:0"}}}), "--json"],
        check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)
    return saved_model


@functools.lru_cache(maxsize=None)
def release(runtime, version, source=None):
    """Return the release archive of what `exported` returns, that of version ``source`` under another number if it is given."""
    saved_model = exported(runtime, source or version)
    path = "%s-as-%d.tar" % (saved_model, version)
    with open(path, "wb") as stream:
        write(stream, saved_model, manifests.build(saved_model, "digits", version))
    return path


def deploy(runtime, base, *versions):
    """Put versions of digits below the directory ``base``."""
    for version in versions:
        model_version.ensure({
            "base_path": str(base), "model": "digits", "version": version, "src": release(runtime, version), "state": "present", "reason": "",
            "keep": 0, "protect": [], "hardware_class": None, "owner": None, "group": None, "mode": "0644", "reserve_bytes": 0, "trusted_keys": []}, False)


def write_config(path, base, labels=None, name="digits", policy="all {}"):
    """Write a model.config that serves the versions below ``base``."""
    lines = "".join('    version_labels { key: "%s" value: %d }\n' % item for item in sorted((labels or {}).items()))
    path.write_text('model_config_list {\n  config {\n    name: "%s"\n    base_path: "%s"\n    model_platform: "tensorflow"\n'
                    "    model_version_policy { %s }\n%s  }\n}\n" % (name, base, policy, lines))


def free_port():
    """Return a TCP port that nobody has."""
    return free_ports(1)[0]


@contextlib.contextmanager
def server(runtime, directory, config):
    """Run `tfleet serve` for the model.config; gives its address and ends it."""
    port = free_port()
    with open(str(directory / "server.log"), "wb") as log:
        process = subprocess.Popen(
            [runtime, "serve", "--port=%d" % port, "--model_config_file=%s" % config, "--max_num_load_retries=0",
             "--allow_version_labels_for_unavailable_models=true", "--tensorflow_intra_op_parallelism=1", "--tensorflow_inter_op_parallelism=1"],
            stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        end = time.time() + START_SECONDS
        while not _listens(port):
            assert process.poll() is None and time.time() < end, (directory / "server.log").read_text()
            time.sleep(0.1)
        yield "127.0.0.1:%d" % port
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
