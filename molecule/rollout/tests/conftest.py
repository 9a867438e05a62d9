"""What the tests of this scenario ask a host. They look at the host itself and know nothing of the roles' variables."""

import json
import pathlib

import pytest

TFLEET = "/opt/tfleet/venv/bin/tfleet"
BASE = "/var/lib/tfleet/models/digits"
CONFIG = "/etc/tfleet/model.config"


@pytest.fixture
def serves(host):
    """The version that answers by a label, after its golden answers were right."""

    def call(label, version):
        golden = f"{BASE}/.golden/{version}/golden.npz"
        done = host.run(f"runuser -u nobody -- {TFLEET} predict --json --address 127.0.0.1:8500 --model digits --label {label} --golden {golden}")
        assert done.rc == 0, done.stdout + done.stderr
        return json.loads(done.stdout)["version"]

    return call


@pytest.fixture
def versions(host):
    """Versions in place and aside."""

    def numbers(path):
        return sorted(int(name) for name in host.file(path).listdir() if name.isdigit()) if host.file(path).is_directory else []

    return lambda: (numbers(BASE), numbers(BASE + "/.aside"))


@pytest.fixture
def hold(host):
    """What the rollout has written about itself on the host, None if nothing is left of it."""
    file = host.file(BASE + "/.rollout.json")
    return json.loads(file.content_string) if file.exists else None


@pytest.fixture
def labels(host):
    """Labels in model.config."""
    answer = json.loads(host.check_output(f"{TFLEET} status --json --address 127.0.0.1:8500 --config {CONFIG}"))
    return answer["models"]["digits"]["labels"]


@pytest.fixture(scope="session")
def ledger():
    """Lines of the only rollout of this scenario, from the controller."""
    (path,) = pathlib.Path(__file__).resolve().parents[3].glob(".cache/molecule/rollouts/digits-*/ledger.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def serves_version_1_alone(serves, versions, hold, labels, host):
    """The host is what it was before, but for what lies aside."""

    def check(aside):
        assert labels == {"canary": 1, "stable": 1}
        assert serves("stable", 1) == serves("canary", 1) == 1
        assert versions() == ([1], aside)
        assert hold is None
        assert host.run(f"find {BASE}/.staging -type f").stdout == ""

    return check


@pytest.fixture
def serves_version_2(serves, versions, hold, labels, host):
    """The host is done."""

    def check():
        assert labels == {"canary": 2, "stable": 2}
        assert serves("stable", 2) == serves("canary", 2) == 2
        assert versions() == ([1, 2], [])
        assert hold["done"]
        assert host.run(f"find {BASE}/.staging -type f").stdout == ""
        config = host.file(CONFIG)
        assert (config.user, config.group, oct(config.mode)) == ("root", "tfleet", "0o640")

    return check
