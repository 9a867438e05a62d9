"""Commands that do not end, ask questions, fail, or say more than anybody wants."""

import os
import pathlib
import time

import pytest
from ansible_collections.tfleet.serving.plugins.module_utils.commands import LARGEST_ANSWER, CommandError, Commands, demand, run, succeeds


@pytest.fixture
def ask(tmp_path):
    """``ask(script, …)`` runs a shell script as a command of the system."""

    def run(script, timeout=5, **options):
        path = tmp_path / "tool"
        path.write_text("#!/bin/sh\n" + script + "\n")
        path.chmod(0o755)
        return Commands([str(tmp_path)], timeout).ask("tool", "a b", "$HOME", **options)

    return run


def ended(number, patience=5):
    """Say whether the process with the number in this file has ended: a signal that was sent is delivered when the kernel comes to it."""
    stat = pathlib.Path("/proc", number.read_text().strip(), "stat")
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        try:
            # It is nobody's child now: where the machine's first process does not collect such, it stays as a zombie.
            if stat.read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.01)
    return False


def test_arguments_and_outputs(ask):
    assert ask('echo "$1|$2"; echo wrong >&2; exit 3') == (3, "a b|$HOME\n", "wrong\n", False)


def test_a_command_that_is_not_there(tmp_path):
    assert Commands([str(tmp_path)], 1).ask("tool") is None
    assert Commands([], 1).ask("sh") is None


def test_one_that_is_no_program():
    assert Commands([os.path.dirname(__file__)], 1).ask(os.path.basename(__file__)) is None


def test_one_whose_interpreter_is_gone(tmp_path):
    (tmp_path / "tool").write_text("#!/nonexistent/python\n")
    (tmp_path / "tool").chmod(0o755)
    answer = Commands([str(tmp_path)], 1).ask("tool")
    assert answer.status is None
    assert "tool cannot be started: No such file" in answer.stderr


def test_a_question_gets_no_answer_and_nothing_waits(ask):
    assert ask("read answer || echo nobody; [ -t 0 ] || echo 'no terminal'").stdout == "nobody\nno terminal\n"
    assert ask("(exec </dev/tty) 2>/dev/null || echo 'no terminal'").stdout == "no terminal\n"


def test_messages_are_not_translated(ask):
    assert ask("echo $LC_ALL $LANGUAGE").stdout == "C.UTF-8\n"


def test_the_first_line_ends_one_that_runs_for_ever(ask):
    started = time.monotonic()
    answer = ask("echo; echo one; sleep 600", first_line=True)
    assert answer.stdout.split() == ["one"]
    assert not answer.timed_out
    assert time.monotonic() - started < 4


def test_a_slow_one_is_ended_with_all_that_it_started(ask, tmp_path):
    started = time.monotonic()
    answer = ask(f"echo begun; sleep 600 & echo $! > {tmp_path}/child; wait", timeout=1)
    assert (answer.status, answer.stdout, answer.timed_out) == (None, "begun\n", True)
    assert time.monotonic() - started < 4
    assert ended(tmp_path / "child")


def test_one_that_leaves_a_child_with_its_output_is_not_waited_for(ask):
    started = time.monotonic()
    answer = ask("echo told; sleep 600 & exit 0", timeout=1)
    assert (answer.stdout, answer.timed_out) == ("told\n", True)
    assert time.monotonic() - started < 4


def test_what_babbles_is_cut(ask):
    answer = ask("yes", timeout=1)
    assert len(answer.stdout) == LARGEST_ANSWER
    assert answer.timed_out


def test_a_question_is_answered(ask):
    assert ask('read answer; echo "$answer"', answer="no\n").stdout == "no\n"


def test_one_that_ends_without_reading_its_answer(ask):
    assert ask("exit 3", answer="no\n" * 10000).status == 3


def test_one_that_works_on_in_silence_is_waited_for(ask):
    assert ask("exec >&- 2>&-; sleep 1.5; exit 4").status == 4


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """``tools(name, script)`` puts a command before all others."""
    monkeypatch.setenv("PATH", str(tmp_path) + os.pathsep + os.environ["PATH"])

    def make(name, script):
        (tmp_path / name).write_text("#!/bin/sh\n" + script + "\n")
        (tmp_path / name).chmod(0o755)

    return make


def test_run_tells_that_a_command_is_missing():
    with pytest.raises(CommandError, match="This host has no command nvpmodel-of-none"):
        run(["nvpmodel-of-none"])


def test_run_ends_a_command_with_its_children(tools, tmp_path):
    tools("hangs", "echo waiting for the driver; sleep 600 & echo $! > %s/child; wait" % tmp_path)
    started = time.monotonic()
    with pytest.raises(CommandError, match=r"(?s)`hangs now` did not end within 1 seconds and was killed.*waiting for the driver"):
        run(["hangs", "now"], timeout=1)
    assert time.monotonic() - started < 4
    assert ended(tmp_path / "child")


def test_run_tells_that_a_command_cannot_be_started(tools, tmp_path):
    tools("tool", "")
    (tmp_path / "tool").write_text("#!/nonexistent/python\n")
    with pytest.raises(CommandError, match=r"(?s)`tool` cannot be run.*No such file"):
        run(["tool"])


def test_demand_tells_the_exit_status_the_advice_and_the_last_words(tools):
    tools("mkswap", "echo 'mkswap: error: no space' >&2; exit 1")
    with pytest.raises(CommandError, match=r"(?s)`mkswap file` failed with exit status 1. Make room. It said:\nmkswap: error: no space") as caught:
        demand(["mkswap", "file"], "Make room.")
    assert caught.value.result == {"rc": 1}
    assert not succeeds(["mkswap"])
