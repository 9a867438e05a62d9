"""A slow suite is due when something that it proves has changed, and only then."""

import importlib.util
import pathlib
import shutil
import subprocess
from importlib.machinery import SourceFileLoader

import pytest

CHECKOUT = pathlib.Path(__file__).resolve().parents[3]
loader = SourceFileLoader("due", str(CHECKOUT / "tools/due"))
tool = importlib.util.module_from_spec(importlib.util.spec_from_loader("due", loader))
loader.exec_module(tool)


@pytest.fixture(params=sorted(tool.WATCHED))
def suite(request):
    return request.param


@pytest.fixture
def checkout(tmp_path, suite):
    """A copy of what is watched, proven as it is."""
    for name in (*tool.WATCHED[suite], "docs"):
        source = CHECKOUT / name
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(source, tmp_path / name)
    (tmp_path / "tests").mkdir(exist_ok=True)
    tool.main(tmp_path, suite, note=True)
    return tmp_path


def due(checkout, suite):
    return tool.main(checkout, suite, note=False) == 0


def test_what_was_proven_is_not_due(checkout, suite):
    assert not due(checkout, suite)


def test_what_was_never_proven_is_due(checkout, suite):
    tool.proven(checkout, suite).unlink()
    assert due(checkout, suite)


def test_a_change_makes_it_due_and_its_undoing_does_not(checkout, suite):
    for name in tool.WATCHED[suite]:
        watched = checkout / name
        path = watched if watched.is_file() else sorted(found for found in watched.rglob("*") if found.is_file())[0]
        before = path.read_bytes()
        path.write_bytes(before + b"\n# a change\n")
        assert due(checkout, suite), path
        path.write_bytes(before)
        assert not due(checkout, suite), path


def test_new_removed_and_renamed_files_make_it_due(checkout, suite):
    folder = next(checkout / name for name in tool.WATCHED[suite] if (checkout / name).is_dir())
    (folder / "new.py").touch()
    assert due(checkout, suite)
    (folder / "new.py").rename(folder / "newer.py")
    assert due(checkout, suite)
    tool.main(checkout, suite, note=True)
    (folder / "newer.py").unlink()
    assert due(checkout, suite)


def test_what_a_run_leaves_behind_and_other_parts_do_not_matter(checkout, suite):
    folder = next(checkout / name for name in tool.WATCHED[suite] if (checkout / name).is_dir())
    (checkout / "docs/new.md").touch()
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__/x.pyc").touch()
    (folder / "tfleet.egg-info").mkdir()
    (folder / "tfleet.egg-info/PKG-INFO").touch()
    assert not due(checkout, suite)


@pytest.mark.parametrize("arguments", [[], ["arm"], ["arm64", "--notes"]])
def test_a_mistake_is_not_taken_for_an_answer(arguments):
    done = subprocess.run([CHECKOUT / "tools/due", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.startswith("Usage: tools/due ")
