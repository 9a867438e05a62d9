"""Version discovery."""

import logging
import os

import pytest
from google.protobuf import text_format

from tfleet import wire
from tfleet.server import storage
from tfleet.server.status import StatusError


def policy(text):
    return text_format.Parse(text, wire.ModelConfig().model_version_policy)


@pytest.fixture
def base(tmp_path):
    for name in ("1", "2", "10", "00000123", "text", "3x", "9223372036854775808", "+4", "5 "):
        (tmp_path / name).mkdir()
    (tmp_path / "7").write_text("a file counts too: only names matter")
    return tmp_path


@pytest.mark.parametrize(("text", "expected"), [
    ("", [123]),
    ("latest {}", [123]),
    ("latest { num_versions: 0 }", [123]),
    ("latest { num_versions: 2 }", [123, 10]),
    ("latest { num_versions: 99 }", [123, 10, 7, 2, 1]),
    ("all {}", [123, 10, 7, 2, 1]),
    ("specific { versions: 2 versions: 1 }", [2, 1]),
    ("specific { versions: 123 versions: 99 versions: 1 }", [123, 1]),
    ("specific {}", []),
])
def test_policies(base, text, expected):
    found = storage.aspired("m", str(base), policy(text))
    assert [version for version, _ in found] == expected
    assert all(os.path.exists(path) for _, path in found)


def test_of_two_names_with_one_number_the_later_wins(tmp_path, caplog):
    for name in ("7", "007"):
        (tmp_path / name).mkdir()
    assert storage.aspired("m", str(tmp_path), policy("")) == [(7, str(tmp_path / "7"))]
    assert "Duplicate version directories detected" in caplog.text


def test_no_version(tmp_path, caplog):
    assert storage.aspired("m", str(tmp_path), policy("")) == []
    assert ("No versions of servable m found under base path %s. Did you forget to name your leaf directory as a number (eg. '/1/')?" % tmp_path) in caplog.text


def test_a_missing_specific_version_is_said(base, caplog):
    storage.aspired("m", str(base), policy("specific { versions: 99 }"))
    assert "Version 99 of servable m, which was requested to be served as a 'specific' version" in caplog.text


def test_missing_base_path(tmp_path):
    with pytest.raises(StatusError) as failure:
        storage.aspired("m", str(tmp_path / "no"), policy(""))
    assert str(failure.value).startswith("INVALID_ARGUMENT: Could not find base path %s for servable m with error NOT_FOUND" % (tmp_path / "no"))


def test_one_missing_path_abandons_the_poll_unless_told_otherwise(tmp_path, caplog):
    caplog.set_level(logging.ERROR)
    (tmp_path / "there" / "4").mkdir(parents=True)
    models = {name: wire.ModelConfig(name=name, base_path=str(tmp_path / name)) for name in ("absent", "there")}
    with pytest.raises(StatusError):
        storage.poll(models, False)
    assert storage.poll(models, True) == {"there": [(4, str(tmp_path / "there" / "4"))]}
    assert "FileSystemStoragePathSource encountered a filesystem access error: INVALID_ARGUMENT: Could not find base path" in caplog.text


def test_stamp_tells_a_changed_file(tmp_path):
    (tmp_path / "a").write_text("one")
    before = storage.stamp(str(tmp_path))
    assert storage.stamp(str(tmp_path)) == before
    (tmp_path / "a").write_text("four")
    assert storage.stamp(str(tmp_path)) != before
    assert storage.stamp(str(tmp_path / "absent")) == (0, 0, 0)


def test_dropping_the_page_cache_leaves_the_files(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 10000)
    os.symlink(str(tmp_path / "absent"), str(tmp_path / "dangling"))
    storage.drop_page_cache(str(tmp_path))
    assert (tmp_path / "a").read_bytes() == b"x" * 10000
