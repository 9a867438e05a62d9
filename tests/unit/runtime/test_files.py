"""Files that survive a crash."""

import errno
import hashlib
import os
import stat

import pytest

from tfleet import files
from tfleet.errors import TfleetError


def test_atomic_write_replaces_content_and_mode(tmp_path):
    path = tmp_path / "f"
    path.write_text("old")
    files.atomic_write(str(path), "n\u00e9w", mode=0o600)
    assert path.read_bytes() == "n\u00e9w".encode("utf-8")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    files.atomic_write(str(path), b"\x00")
    assert path.read_bytes() == b"\x00" and stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [entry.name for entry in tmp_path.iterdir()] == ["f"]


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "f"
    path.write_text("old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TfleetError, match=r"Could not write .*/f: No space left on device. Check that"):
        files.atomic_write(str(path), "new")
    assert path.read_text() == "old" and [entry.name for entry in tmp_path.iterdir()] == ["f"]


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(TfleetError, match=r"Could not write .*/no/f: No such file or directory"):
        files.atomic_write(str(tmp_path / "no" / "f"), "x")


def test_data_is_on_disk_before_the_name_and_the_name_before_the_return(tmp_path, monkeypatch):
    calls = []
    rename, fsync = os.rename, os.fsync
    monkeypatch.setattr(os, "rename", lambda *names: (calls.append("rename"), rename(*names)))
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append(stat.S_IFMT(os.fstat(fd).st_mode)), fsync(fd)))
    files.atomic_write(str(tmp_path / "f"), "x")
    assert calls == [stat.S_IFREG, "rename", stat.S_IFDIR]


def test_checksums(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").write_bytes(b"a" * 3000000)
    (tmp_path / "b").write_bytes(b"")
    digest = hashlib.sha256(b"a" * 3000000).hexdigest()
    assert files.sha256_file(str(tmp_path / "d" / "a")) == digest
    assert files.sha256_tree(str(tmp_path)) == {"d/a": digest, "b": hashlib.sha256(b"").hexdigest()}
    with pytest.raises(OSError):
        files.sha256_tree(str(tmp_path / "none"))


def test_read_json(tmp_path):
    path = tmp_path / "f.json"
    path.write_text('{"a": 1}')
    assert files.read_json(str(path)) == {"a": 1}
    path.write_text('{"a":\n x}')
    with pytest.raises(TfleetError, match=r"f.json is not valid JSON: .*line 2 column 2"):
        files.read_json(str(path))
    path.write_bytes(b'"\xff"')
    with pytest.raises(TfleetError, match=r"f.json is not valid JSON"):
        files.read_json(str(path))
    with pytest.raises(TfleetError, match=r"Could not read .*none: No such file or directory"):
        files.read_json(str(tmp_path / "none"))
