"""Files, owners, modes, and the versions on disk with every byte that their manifests promise."""

import json

import pytest

MODELS = "/var/lib/tfleet/models"
VERSIONS = [("digits", 1), ("digits", 2), ("digits_detector", 1)]


@pytest.mark.parametrize(
    ("path", "owner", "group", "mode"),
    [
        ("/etc/tfleet", "root", "tfleet", 0o750),
        ("/etc/tfleet/model.config", "root", "tfleet", 0o640),
        ("/etc/tfleet/monitoring.pbtxt", "root", "tfleet", 0o640),
        ("/etc/systemd/system/tfleet-model-server.service", "root", "root", 0o644),
        (MODELS, "root", "tfleet", 0o755),
        (f"{MODELS}/digits", "root", "tfleet", 0o755),
    ],
)
def test_configuration_belongs_to_root_and_is_read_by_the_server(host, path, owner, group, mode):
    file = host.file(path)
    assert (file.user, file.group, file.mode) == (owner, group, mode)


def test_the_user_of_the_server_cannot_log_in(host):
    user = host.user("tfleet")
    assert user.shell == "/usr/sbin/nologin"
    assert user.password in ("!", "*", "!*")


def test_nothing_of_the_models_is_writable_for_others_than_root(host):
    assert host.check_output(f"find {MODELS} ! -user root -o -perm /022 ! -type l") == ""


def test_no_copy_of_a_configuration_is_left(host):
    names = host.file("/etc/tfleet").listdir()
    assert sorted(names) == ["model.config", "monitoring.pbtxt"]


@pytest.mark.parametrize("model", ["digits", "digits_detector"])
def test_versions_on_disk(versions_on_disk, model):
    assert versions_on_disk(model) == [version for name, version in VERSIONS if name == model]


@pytest.mark.parametrize(("model", "version"), VERSIONS)
def test_a_version_is_what_its_manifest_says(host, model, version):
    place = f"{MODELS}/{model}/{version}"
    manifest = json.loads(host.file(f"{place}/manifest.json").content_string)
    assert (manifest["model"], manifest["version"], manifest["variant"]) == (model, version, "native")
    sums = host.check_output(f"cd {place} && find . -type f ! -path ./manifest.json -exec sha256sum {{}} + | sort -k 2")
    found = {line[66:].removeprefix("./"): line[:64] for line in sums.splitlines()}
    assert found == {entry["path"]: entry["sha256"] for entry in manifest["files"]}


def test_no_staging_directory_is_left(host):
    assert host.check_output(f"find {MODELS} -name '.staging-*'") == ""
