"""The module model_version: a version is there, verified, or gone, or aside; and the server never sees half of one."""
import hashlib
import json
import os
import tarfile

import pytest
from ansible_collections.tfleet.serving.plugins.module_utils import manifest as manifests
from ansible_collections.tfleet.serving.plugins.module_utils import version_store
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.modules import model_version
from ansible_collections.tfleet.serving.tests.unit.plugins.release_tools import FILES, make_release, make_saved_model, rewrite, tree

DEFAULTS = {"model": "digits", "version": 1, "src": None, "state": "present", "reason": "because", "keep": 0, "protect": [],
            "hardware_class": None, "owner": None, "group": None, "mode": "0644", "reserve_bytes": 0, "trusted_keys": []}


@pytest.fixture
def base(tmp_path):
    return tmp_path / "models" / "digits"


@pytest.fixture
def ensure(base):
    def run(check_mode=False, **changes):
        return model_version.ensure(dict(DEFAULTS, base_path=str(base), **changes), check_mode)
    return run


@pytest.fixture
def deploy(ensure, tmp_path):
    """Deploy small releases of the given versions; returns the last result."""
    def run(*versions, **changes):
        return [ensure(version=version, src=make_release(tmp_path, version), **changes) for version in versions][-1]
    return run


def assert_in_place(base, *versions):
    """The server sees exactly these versions, each whole, and nothing else is left in base."""
    assert sorted(name for name in os.listdir(str(base)) if name != ".aside") == [str(version) for version in versions]
    for version in versions:
        manifest, _content = manifests.read(str(base / str(version)))
        assert manifest["version"] == version
        assert manifests.findings(str(base / str(version)), manifest) == []


def test_present_four_times(four_times, base, tmp_path):
    src = make_release(tmp_path, 2)
    results = four_times("model_version", base_path=str(base), model="digits", version=2, src=src)
    for result in results:
        assert (result["versions"], result["aside"], result["retired"], result["path"]) == ([2], [], [], str(base / "2"))
        assert result["manifest"]["version"] == 2
    assert results[0]["actions"] == results[1]["actions"]
    assert_in_place(base, 2)
    assert {name: content for name, content in tree(base / "2").items() if content is not None and name != "manifest.json"} == FILES


def test_aside_four_times_then_back(four_times, run_module, deploy, base):
    deploy(1, 2)
    results = four_times("model_version", base_path=str(base), model="digits", version=2, state="aside", reason="wrong answers")
    for result in results:
        assert (result["versions"], result["aside"], result["path"]) == ([1], [2], str(base / ".aside" / "2"))
    assert_in_place(base, 1)
    why = json.loads((base / ".aside" / "2.json").read_text())
    assert (why["version"], why["reason"]) == (2, "wrong answers")
    back = run_module("model_version", base_path=str(base), model="digits", version=2)
    assert (back["changed"], back["versions"], back["aside"]) == (True, [1, 2], [])
    assert_in_place(base, 1, 2)
    assert os.listdir(str(base / ".aside")) == []


def test_absent_four_times(four_times, deploy, base):
    deploy(1, 2)
    results = four_times("model_version", base_path=str(base), model="digits", version=2, state="absent")
    assert [result["retired"] for result in results] == [[2], [2], [], []]
    assert_in_place(base, 1)


def test_check_mode_makes_nothing(ensure, base, tmp_path):
    assert ensure(check_mode=True, src=make_release(tmp_path, 1))["changed"] is True
    assert not base.exists()


def test_check_mode_before_the_release_was_copied(ensure, deploy, base, tmp_path):
    result = ensure(check_mode=True, src=str(tmp_path / "not yet.tar"), owner="nobody-has-this-name")
    assert (result["changed"], result["versions"], result["manifest"]) == (True, [1], None)
    deploy(1)
    assert ensure(check_mode=True, src=str(tmp_path / "not yet.tar"))["changed"] is False


def test_the_manifest_in_place_is_the_one_that_model_release_told(run_module, deploy, base, tmp_path):
    deploy(1)
    told = run_module("model_release", src=str(tmp_path / "saved_model-1"), dest=str(tmp_path / "digits-1.tar"), model="digits", version=1)
    assert hashlib.sha256((base / "1" / "manifest.json").read_bytes()).hexdigest() == told["manifest_sha256"]


def test_a_version_directory_is_a_release_too(ensure, deploy, base, tmp_path):
    deploy(1)
    (tmp_path / "other").mkdir()
    result = model_version.ensure(dict(DEFAULTS, base_path=str(tmp_path / "other"), src=str(base / "1")), False)
    assert result["changed"] is True
    assert tree(tmp_path / "other" / "1") == tree(base / "1")


@pytest.mark.parametrize("changes, word", [
    ({"version": 0}, "positive whole number"), ({"version": -2}, "positive whole number"), ({"model": "a/b"}, "name"),
    ({"base_path": "models/digits"}, "relative"), ({"base_path": "/etc/passwd"}, "not a directory"), ({"keep": -1}, "negative"),
    ({"reserve_bytes": -1}, "negative"), ({"mode": "rw"}, "octal"), ({"mode": "0044"}, "hide"), ({"owner": "nobody-has-this-name"}, "no user"),
    ({"group": "nobody-has-this-name"}, "no group"), ({"src": "/nonexistent.tar"}, "no release at /nonexistent.tar"),
    ({}, "src names no release"),
])
def test_bad_arguments_are_named_and_nothing_is_made(base, changes, word):
    with pytest.raises(ModuleError, match=word):
        model_version.ensure(dict(DEFAULTS, **dict({"base_path": str(base)}, **changes)), False)
    assert not base.exists()


@pytest.mark.parametrize("asked", [{"version": 3}, {"model": "letters"}])
def test_a_release_of_something_else_is_refused(ensure, base, tmp_path, asked):
    src = make_release(tmp_path, 1)
    with pytest.raises(ModuleError, match="is version 1 of digits by its manifest, but version"):
        ensure(src=src, **asked)
    assert not base.exists()


def _member(name, kind=tarfile.REGTYPE, linkname=""):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, linkname
    return member


HOSTILE = {
    "absolute": (_member("/etc/evil"), b"x", "not a plain relative path"),
    "parent": (_member("../evil"), b"x", "not a plain relative path"),
    "parent inside": (_member("variables/../../evil"), b"x", "not a plain relative path"),
    "symbolic link": (_member("variables/l", tarfile.SYMTYPE, "/etc/passwd"), None, "symbolic link"),
    "hard link": (_member("variables/l", tarfile.LNKTYPE, "/etc/passwd"), None, "hard link"),
    "character device": (_member("null", tarfile.CHRTYPE), None, "character device"),
    "block device": (_member("sda", tarfile.BLKTYPE), None, "block device"),
    "named pipe": (_member("pipe", tarfile.FIFOTYPE), None, "named pipe"),
    "extra": (_member("variables/extra"), b"x", "not in the manifest"),
    "twice": (_member("saved_model.pb"), b"other", "twice"),
    "file as directory": (_member("saved_model.pb", tarfile.DIRTYPE), None, "twice"),
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_hostile_members_are_refused_before_anything_is_written(ensure, base, tmp_path, name):
    member, content, word = HOSTILE[name]
    src = make_release(tmp_path, 1)
    rewrite(src, lambda members: [*members, (member, content)])
    with pytest.raises(ModuleError, match=word):
        ensure(src=src)
    assert not base.exists()
    assert not (tmp_path / "models" / "evil").exists()


def test_members_that_lead_nowhere_but_backwards_end_in_an_error(ensure, tmp_path):
    src = make_release(tmp_path, 1)
    with open(src, "r+b") as stream:
        header = bytearray(stream.read(512))
        # A size of -1024 in base 256, and the checksum that makes it a valid header.
        header[124:136] = (2 ** 96 - 1024).to_bytes(12, "big")
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        stream.seek(0)
        stream.write(header)
    with pytest.raises(ModuleError, match=r"Do not use this archive|damaged|not an uncompressed tar"):
        ensure(src=src)


def _without(name):
    return lambda members: [(member, content) for member, content in members if member.name != name]


def _with(name, new):
    return lambda members: [(member, new if member.name == name else content) for member, content in members]


@pytest.mark.parametrize("change, word", [
    (_without("manifest.json"), "no manifest.json"), (_without("saved_model.pb"), "saved_model.pb: expected a file, found no such file"),
    (_with("saved_model.pb", b"longer than it"), "saved_model.pb: expected 9 bytes, found 14 bytes"),
    (_with("saved_model.pb", b"The graph"), "saved_model.pb: expected sha256 [0-9a-f]{64}, found sha256 [0-9a-f]{64}"),
    (_with("manifest.json", b"{}"), "format None"),
])
def test_a_release_that_is_not_its_manifest_names_the_file(ensure, base, tmp_path, change, word):
    src = make_release(tmp_path, 1)
    rewrite(src, change)
    with pytest.raises(ModuleError, match=word):
        ensure(src=src)
    assert tree(base) == {}


@pytest.mark.parametrize("size", [0, 100, 700, 2000, 6000])
def test_a_truncated_archive_is_refused(ensure, base, tmp_path, size):
    src = make_release(tmp_path, 1)
    with open(src, "r+b") as stream:
        stream.truncate(size)
    with pytest.raises(ModuleError, match=r"damaged|cut off|not an uncompressed tar|no such file|no manifest"):
        ensure(src=src)
    assert tree(base) == {}


def _flip(path):
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("change, word", [
    (lambda directory: _flip(directory / "saved_model.pb"), "saved_model.pb: expected sha256"),
    (lambda directory: (directory / "saved_model.pb").write_bytes(b""), "saved_model.pb: expected 9 bytes, found 0 bytes"),
    (lambda directory: (directory / "saved_model.pb").unlink(), "saved_model.pb: expected a regular file, found no such file"),
    (lambda directory: (directory / "new").write_bytes(b""), "new: expected no such file, found a regular file"),
])
def test_a_version_changed_in_place_is_named_and_left(ensure, deploy, base, tmp_path, change, word):
    deploy(1)
    change(base / "1")
    before = tree(base)
    for src in (None, str(tmp_path / "digits-1.tar")):
        for check_mode in (True, False):
            with pytest.raises(ModuleError, match="changed in place after its release.*%s.*state: aside" % word) as error:
                ensure(check_mode, src=src)
            assert error.value.result["findings"]
    assert tree(base) == before


def test_a_changed_version_can_be_put_aside_and_deployed_again(ensure, deploy, base):
    deploy(1)
    for again in (1, 2):
        _flip(base / "1" / "saved_model.pb")
        assert ensure(state="aside")["aside"] == [1]
        assert deploy(1)["versions"] == [1]
        assert_in_place(base, 1)
        assert len([name for name in os.listdir(str(base / ".aside")) if not name.endswith(".json")]) == again
    assert sorted(os.listdir(str(base / ".aside"))) == ["1", "1-2", "1-2.json", "1.json"]
    assert ensure(state="absent")["changed"] is True
    assert os.listdir(str(base / ".aside")) == []


def test_what_is_aside_and_damaged_is_not_put_back(ensure, deploy, base, tmp_path):
    deploy(1)
    ensure(state="aside")
    _flip(base / ".aside" / "1" / "saved_model.pb")
    with pytest.raises(ModuleError, match="src names no release"):
        ensure()
    assert ensure(src=str(tmp_path / "digits-1.tar"))["versions"] == [1]
    assert_in_place(base, 1)


def test_another_release_of_a_version_in_place_is_refused(ensure, deploy, base, tmp_path):
    deploy(1)
    other = make_release(tmp_path / "other", 1, {"saved_model.pb": b"another graph"})
    with pytest.raises(ModuleError, match=r"comes from another release.*saved_model\.pb is 9 bytes.*new version number"):
        ensure(src=other)
    assert_in_place(base, 1)


def test_a_directory_that_tfleet_did_not_put_there_is_not_touched(ensure, base, tmp_path):
    make_saved_model(base / "1")
    before = tree(base)
    with pytest.raises(ModuleError, match=r"1 has no manifest\.json"):
        ensure(src=make_release(tmp_path, 1))
    assert tree(base) == before


def test_a_file_with_a_version_name_is_an_error(ensure, base, tmp_path):
    base.mkdir(parents=True)
    (base / "1").write_text("not a model")
    with pytest.raises(ModuleError, match="is not a directory, but the server takes it for version 1"):
        ensure(src=make_release(tmp_path, 1))


def test_two_names_of_one_version_are_refused(ensure, deploy, base):
    deploy(2)
    (base / "00000002").mkdir()
    with pytest.raises(ModuleError, match="both '00000002' and '2'"):
        ensure(version=2)


def test_a_version_under_a_longer_name_is_that_version(ensure, deploy, base):
    deploy(2)
    os.rename(str(base / "2"), str(base / "00000002"))
    assert (ensure(version=2)["changed"], ensure(version=2)["path"]) == (False, str(base / "00000002"))
    assert ensure(version=2, state="absent")["versions"] == []


@pytest.mark.parametrize("name, number", [
    ("1", 1), ("00000123", 123), (" 7 ", 7), ("-1", -1), ("+5", 5), ("9223372036854775807", 2 ** 63 - 1), ("9223372036854775808", None), ("1a", None),
    ("", None), (".staging-1", None), ("1.0", None), ("1_000", None), ("٣", None), ("tmp", None),
])
def test_names_are_read_as_the_server_reads_them(name, number):
    assert version_store.as_version(name) == number


def test_keep_retires_the_oldest_but_never_protected_deployed_or_foreign_ones(ensure, deploy, base):
    deploy(1, 2, 3, 4, 5)
    make_saved_model(base / "6")
    result = ensure(version=2, keep=2, protect=[1])
    assert (result["retired"], result["versions"]) == ([3, 4], [1, 2, 5, 6])
    result = ensure(version=5, keep=1, protect=[])
    assert (result["retired"], result["versions"]) == ([1, 2], [5, 6])
    assert ensure(version=5, keep=1)["changed"] is False


def test_golden_answers_go_with_their_version(ensure, deploy, base):
    for version in (1, 2):
        deploy(version)
    for name in ("1", "2", "7", "notes"):
        (base / ".golden" / name).mkdir(parents=True)
    ensure(version=1, state="aside")
    assert sorted(path.name for path in (base / ".golden").iterdir()) == ["1", "2", "notes"]  # what is aside may come back
    ensure(version=1, state="absent")
    assert sorted(path.name for path in (base / ".golden").iterdir()) == ["2", "notes"]


def test_a_foreign_directory_beyond_keep_is_left_with_a_warning(run_module, deploy, base):
    make_saved_model(base / "1")
    deploy(2, 3)
    result = run_module("model_version", base_path=str(base), model="digits", version=3, keep=1)
    assert result["versions"] == [1, 3]
    assert "1 is beyond the newest 1 versions but was not put there from a release of digits" in str(result["warnings"])


def test_deploying_an_old_version_does_not_retire_it(deploy, base):
    deploy(2, 3)
    assert deploy(1, keep=2)["versions"] == [1, 2, 3]


@pytest.mark.parametrize("state", ["aside", "absent"])
def test_a_protected_version_stays(ensure, deploy, base, state):
    deploy(1)
    with pytest.raises(ModuleError, match="a label points to it"):
        ensure(state=state, protect=[1])
    assert_in_place(base, 1)


@pytest.mark.parametrize("state", ["aside", "absent"])
def test_what_was_never_there_is_already_gone(ensure, base, state):
    assert ensure(state=state)["changed"] is False
    assert not base.exists()


def test_modes_are_normalised_and_put_right_again(ensure, deploy, base):
    mask = os.umask(0o077)
    try:
        deploy(1)
    finally:
        os.umask(mask)

    def modes():
        return {oct(os.stat(parent).st_mode & 0o7777) for parent, _names, _files in os.walk(str(base))}, {
            oct(os.stat(os.path.join(parent, name)).st_mode & 0o7777) for parent, _names, files in os.walk(str(base)) for name in files}

    assert modes() == ({"0o755"}, {"0o644"})
    os.chmod(str(base / "1" / "variables"), 0o700)
    assert (ensure(check_mode=True)["changed"], ensure()["changed"], ensure()["changed"]) == (True, True, False)
    assert modes() == ({"0o755"}, {"0o644"})
    assert ensure(mode="0640")["changed"] is True
    assert modes()[1] == {"0o640"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_files_belong_to_owner_and_group(ensure, deploy, base):
    deploy(1, owner="nobody", group="12345")
    uid = os.stat(str(base)).st_uid
    assert uid != 0
    for parent, names, files in os.walk(str(base)):
        for name in names + files:
            status = os.stat(os.path.join(parent, name))
            assert (status.st_uid, status.st_gid) == (uid, 12345)
    assert ensure(owner="nobody", group="12345")["changed"] is False
    assert ensure(owner="root")["changed"] is True


def test_too_little_room_is_told_before_anything_is_written(ensure, base, tmp_path):
    with pytest.raises(ModuleError, match=r"Not enough room.*to stay free \(reserve_bytes\).*Nothing was changed\. Free \d+ bytes") as error:
        ensure(src=make_release(tmp_path, 1), reserve_bytes=2 ** 60)
    assert error.value.result["reserve_bytes"] == 2 ** 60
    assert not base.exists()


def test_a_run_waits_for_the_one_before_it(ensure, deploy, base, monkeypatch):
    deploy(1)
    monkeypatch.setattr(version_store, "LOCK_SECONDS", 0.3)
    store = version_store.VersionStore(str(base), None)
    with store.lock(), pytest.raises(ModuleError, match=r"Another tfleet run \(process %d\) has been working" % os.getpid()):
        ensure(state="absent")
    assert_in_place(base, 1)
    assert ensure(state="absent")["changed"] is True
