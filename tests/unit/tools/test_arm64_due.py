"""The emulated run is due when the image or the runtime changed, and only then."""

import importlib.util
import pathlib
import shutil
from importlib.machinery import SourceFileLoader

import pytest

CHECKOUT = pathlib.Path(__file__).resolve().parents[3]
loader = SourceFileLoader("arm64_due", str(CHECKOUT / "tools/arm64_due"))
arm64_due = importlib.util.module_from_spec(importlib.util.spec_from_loader("arm64_due", loader))
loader.exec_module(arm64_due)


@pytest.fixture
def checkout(tmp_path):
    """A copy of what is watched, proven as it is."""
    for name in (*arm64_due.WATCHED, "docs"):
        source = CHECKOUT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(source, tmp_path / name)
    arm64_due.main(tmp_path, note=True)
    return tmp_path


def due(checkout):
    return arm64_due.main(checkout, note=False) == 0


def test_what_was_proven_is_not_due(checkout):
    assert not due(checkout)


def test_what_was_never_proven_is_due(checkout):
    (checkout / arm64_due.PROVEN).unlink()
    assert due(checkout)


@pytest.mark.parametrize("path", ["images/runtime/Dockerfile", "images/runtime/package/entrypoint", "runtime/src/tfleet/cli/__init__.py",
                                  "runtime/requirements.txt", "tests/arm64/test_arm64.py"])
def test_a_change_makes_it_due_and_its_undoing_does_not(checkout, path):
    before = (checkout / path).read_bytes()
    (checkout / path).write_bytes(before + b"\n# a change\n")
    assert due(checkout)
    (checkout / path).write_bytes(before)
    assert not due(checkout)


def test_new_removed_and_renamed_files_make_it_due(checkout):
    new = checkout / "runtime/src/tfleet/new.py"
    new.touch()
    assert due(checkout)
    new.rename(checkout / "runtime/src/tfleet/newer.py")
    assert due(checkout)
    arm64_due.main(checkout, note=True)
    (checkout / "runtime/src/tfleet/newer.py").unlink()
    assert due(checkout)


def test_what_a_run_leaves_behind_and_other_parts_do_not_matter(checkout):
    (checkout / "docs/new.md").touch()
    (checkout / "runtime/src/tfleet/__pycache__").mkdir()
    (checkout / "runtime/src/tfleet/__pycache__/x.pyc").touch()
    (checkout / "runtime/src/tfleet.egg-info").mkdir()
    (checkout / "runtime/src/tfleet.egg-info/PKG-INFO").touch()
    assert not due(checkout)
