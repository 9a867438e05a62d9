"""The module model_release: a SavedModel becomes one archive, always the same one."""
import hashlib
import os
import tarfile

import pytest
from ansible_collections.tfleet.serving.plugins.module_utils import manifest as manifests
from ansible_collections.tfleet.serving.plugins.module_utils import release_archive
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.modules import model_release
from ansible_collections.tfleet.serving.tests.unit.plugins.release_tools import FILES, make_saved_model, rewrite

# Of the files in release_tools, as version 1 of digits: the same on every Python, file system and day.
DIGEST = "ac3ab019c996194571adef8fcc2c574699791d6e03564f9ee062688721713d9b"


@pytest.fixture
def params(tmp_path):
    return {"src": make_saved_model(tmp_path / "model"), "dest": str(tmp_path / "digits-1.tar"), "model": "digits", "version": 1,
            "variant": "native", "source_version": None, "signing_keys": [], "origin": None, "provenance": {}}


def sha256(path):
    with open(path, "rb") as stream:
        return hashlib.sha256(stream.read()).hexdigest()


def given(params):
    return {key: value for key, value in params.items() if value is not None}


def test_check_change_check_same(four_times, params):
    results = four_times("model_release", **given(params))
    for result in results:
        assert (result["sha256"], result["bytes"]) == (DIGEST, os.path.getsize(params["dest"]))
        assert result["manifest"] == manifests.build(params["src"], "digits", 1)
    assert sha256(params["dest"]) == DIGEST


def test_check_mode_writes_nothing_and_same_does_not_touch(run_module, params):
    run_module("model_release", check=True, **given(params))
    assert not [name for name in os.listdir(os.path.dirname(params["dest"])) if "digits-1" in name]
    run_module("model_release", **given(params))
    before = os.stat(params["dest"])
    run_module("model_release", **given(params))
    after = os.stat(params["dest"])
    # Reading may move the access time, nothing else may move.
    assert (after.st_ino, after.st_mtime_ns, after.st_ctime_ns) == (before.st_ino, before.st_mtime_ns, before.st_ctime_ns)


def test_the_archive_depends_on_nothing_but_the_release(params, tmp_path):
    params["src"] = make_saved_model(tmp_path / "again", {name: FILES[name] for name in sorted(FILES, reverse=True)})
    for name in FILES:
        os.utime(os.path.join(params["src"], name), (1, 1))
        os.chmod(os.path.join(params["src"], name), 0o600)
    assert model_release.ensure(params, False)["sha256"] == DIGEST
    assert sha256(params["dest"]) == DIGEST


def test_any_tar_can_read_it(params, tmp_path):
    long_name = "assets/" + "déjà-vu-" * 20 + ".txt"
    make_saved_model(params["src"], {long_name: b"words", "assets/empty": b""})
    result = model_release.ensure(params, False)
    with tarfile.open(params["dest"]) as tar:
        members = tar.getmembers()
        names = [member.name for member in members]
        assert names == sorted([*FILES, "assets", "assets/empty", "manifest.json", "variables", long_name])
        assert {(member.mtime, member.uid, member.gid) for member in members} == {(0, 0, 0)}
        assert {(member.isdir(), member.mode) for member in members} == {(True, 0o755), (False, 0o644)}
        assert tar.extractfile(long_name).read() == b"words"
        assert tar.extractfile("manifest.json").read() == manifests.dump(result["manifest"])


def test_a_file_beyond_what_eleven_octal_digits_hold_keeps_its_size():
    size = 8 ** 11
    header = release_archive._headers("variables/big", size, tarfile.REGTYPE)

    class Big:
        """The headers, then zeros for ever."""

        def __init__(self):
            self.position = 0

        def read(self, count):
            data = header[self.position:self.position + count].ljust(count, b"\0")
            self.position += count
            return data

        def tell(self):
            return self.position

        def seek(self, position):
            self.position = position

    with tarfile.open(fileobj=Big()) as tar:
        assert tar.next().size == size


def test_a_release_of_an_archive_reads_back(params):
    result = model_release.ensure(params, False)
    release = release_archive.open_release(params["dest"])
    assert release.manifest == result["manifest"]
    for name, content in FILES.items():
        assert release.open(name).read() == content
    release.close()


def test_check_mode_before_the_saved_model_exists(params, tmp_path):
    params["src"] = str(tmp_path / "not yet")
    result = model_release.ensure(params, True)
    assert result["changed"] is True
    assert "Would release" in result["msg"]


@pytest.mark.parametrize("change, word", [
    ({"version": 0}, "positive whole number"), ({"version": 2, "source_version": -1}, "source_version"), ({"model": "a/b"}, "name"),
    ({"src": "/nonexistent"}, "is not a directory"), ({"dest": "/nonexistent/x.tar"}, "Create it first"),
])
def test_bad_arguments_are_named(params, change, word):
    params.update(change)
    with pytest.raises(ModuleError, match=word):
        model_release.ensure(params, False)


def test_failure_reaches_ansible_as_a_message(run_module, params):
    params["version"] = 0
    result = run_module("model_release", **given(params))
    assert result["failed"] is True
    assert "positive whole number" in result["msg"]


def test_another_release_of_the_same_version_is_not_overwritten(params):
    model_release.ensure(params, False)
    before = sha256(params["dest"])
    make_saved_model(params["src"], {"saved_model.pb": b"another graph"})
    with pytest.raises(ModuleError, match=r"saved_model\.pb is 9 bytes .* there and 13 bytes .* here.*new version number"):
        model_release.ensure(params, False)
    assert sha256(params["dest"]) == before


@pytest.mark.parametrize("content", [b"", b"my thesis", b"\0" * 10240], ids=["empty", "text", "empty tar"])
def test_another_file_is_not_overwritten(params, content):
    with open(params["dest"], "wb") as stream:
        stream.write(content)
    with pytest.raises(ModuleError, match="not a release of this model"):
        model_release.ensure(params, False)
    with open(params["dest"], "rb") as stream:
        assert stream.read() == content


def test_an_archive_with_other_bytes_but_the_same_manifest_is_repaired(params):
    digest = model_release.ensure(params, False)["sha256"]
    rewrite(params["dest"], lambda members: [(member, b"THE GRAPH" if member.name == "saved_model.pb" else content) for member, content in members])
    assert sha256(params["dest"]) != digest
    assert model_release.ensure(params, True)["changed"] is True
    assert model_release.ensure(params, False)["changed"] is True
    assert sha256(params["dest"]) == digest


@pytest.mark.parametrize("content", [b"THE GRAPH", b"longer than before", b"short"])
def test_a_file_that_changes_while_it_is_released_is_noticed(params, content):
    manifest = manifests.build(params["src"], "digits", 1)
    make_saved_model(params["src"], {"saved_model.pb": content})
    with pytest.raises(ModuleError, match="changed while it was being released"):
        release_archive.write(None, params["src"], manifest)


def test_what_a_killed_run_left_is_taken_over(params):
    leftover = os.path.join(os.path.dirname(params["dest"]), ".digits-1.tar.tmp")
    with open(leftover, "wb") as stream:
        stream.write(b"x" * 100000)
    model_release.ensure(params, False)
    assert sha256(params["dest"]) == DIGEST
    assert not os.path.exists(leftover)
