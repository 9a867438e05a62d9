"""What failed is said again below the table of times: whoever sees only the end of CI's output finds the reason there."""

import pathlib
import subprocess
import sys

import pytest

CHECKOUT = pathlib.Path(__file__).resolve().parents[3]

TESTS = """
import pytest

@pytest.fixture(scope="module")
def server():
    assert False, "the server does not start\\n" + "\\n".join("line %d of its log" % number for number in range(40))

def test_one(server):
    pass

def test_two(server):
    pass

def test_other():
    assert 1 == 2
"""


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """What a run of a suite that fails beside one that does not ends with, after the table's last line."""
    place = tmp_path_factory.mktemp("suites")
    (place / "test_broken.py").write_text(TESTS)
    (place / "Makefile").write_text(f"broken:\n\t{sys.executable} -m pytest -ra -p no:cacheprovider test_broken.py\nwhole:\n\t@echo well\n")
    done = subprocess.run([CHECKOUT / "tools/run_suites", "broken:60", "whole:60"], cwd=place, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=120, check=False)
    assert done.returncode == 1, done.stdout
    return done.stdout.partition("from begin to end")[2].splitlines()[1:]


def test_the_reason_is_said_again_from_its_begin_and_its_end(output):
    reasons = [line for line in output if line.startswith("broken          | E  ")]
    assert "the server does not start" in reasons[0]
    assert "line 39 of its log" in "".join(reasons[-3:])
    assert len(reasons) == 16 and "line 20 of its log" not in "".join(reasons)


def test_tests_that_fail_for_one_reason_take_one_line(output):
    kinds = [line for line in output if " | ERROR " in line or " | FAILED " in line]
    assert len(kinds) == 2
    assert "test_broken.py::test_one" in kinds[0] and kinds[0].endswith("(and 1 more like it)")
    assert "test_broken.py::test_other" in kinds[1]


def test_the_last_line_counts(output):
    assert output[-1] == "1 passed, 3 failed"
