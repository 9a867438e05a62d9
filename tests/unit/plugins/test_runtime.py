"""The launcher: what it passes on, what it hides, and what it says when the runtime cannot answer."""

import os
import signal
import stat
import sys
import time

import pytest
from ansible_collections.tfleet.serving.plugins.module_utils import runtime as launcher


@pytest.fixture
def script(tmp_path):
    """``script(text)`` makes an executable shell script and returns its path."""

    def make(text):
        path = tmp_path / "tfleet"
        path.write_text("#!/bin/sh\n" + text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return str(path)

    return make


def failure_of(command, name="export", args=(), **options):
    with pytest.raises(launcher.RuntimeFailure) as caught:
        launcher.Runtime(command, **options).run(name, args)
    return caught.value


def test_the_real_runtime_answers_with_its_message_and_result(tfleet_runtime, tmp_path):
    failure = failure_of(tfleet_runtime, "inspect", [str(tmp_path / "nothing.pb")])
    assert "There is no `%s`" % (tmp_path / "nothing.pb") in str(failure)
    assert failure.result["missing"] is True and failure.result["ok"] is False


def test_an_answer_is_returned_as_it_is(script):
    command = script("""echo noise >&2; echo '{"ok": true, "args": "'"$*"'"}'""")
    assert launcher.Runtime(command).run("status", ["--address", "127.0.0.1:1"]) == {"ok": True, "args": "status --address 127.0.0.1:1 --json"}


def test_standard_input_and_a_fixed_locale_reach_the_command(script):
    command = script("""printf '{"ok": true, "stdin": "%s", "lang": "%s", "extra": "%s"}' "$(cat)" "$LC_ALL" "$EXTRA" """)
    answer = launcher.Runtime(command, {"EXTRA": 7}).run("export", ["--signatures", "-"], stdin="grün")
    assert answer == {"ok": True, "stdin": "grün", "lang": "C.UTF-8", "extra": "7"}
    assert launcher.Runtime(command).run("export")["stdin"] == ""


@pytest.mark.parametrize(
    "name, words",
    [
        ("KILL", ["was killed", "out of memory", "MiB of memory", "add swap"]),
        ("ABRT", ["aborted in native code", "libnvinfer"]),
        ("SEGV", ["crashed in native code", "SIGSEGV"]),
        ("TERM", ["ended by signal 15"]),
    ],
)
def test_a_process_ended_by_a_signal_becomes_a_sentence(script, name, words):
    failure = failure_of(script("echo 'loading weights' >&2; kill -%s $$; sleep 5" % name))
    assert failure.result["rc"] == -getattr(signal, "SIG" + name)
    for word in words + ["`tfleet export`", os.uname().nodename, "interpreter /bin/sh", "loading weights"]:
        assert word in str(failure)


@pytest.mark.parametrize("status, word", [(137, "out of memory"), (134, "aborted in native code"), (139, "crashed in native code")])
def test_the_exit_status_of_a_shell_or_container_means_the_same(script, status, word):
    assert word in str(failure_of(script("exit %d" % status)))


def test_a_wrapper_around_a_killed_child_is_understood(script):
    assert "out of memory" in str(failure_of(script("sh -c 'kill -KILL $$'; exit $?")))


def test_a_missing_command_names_what_installs_it():
    for command in ("/nowhere/tfleet", "tfleet-that-is-not-there"):
        with pytest.raises(launcher.RuntimeMissing, match="tensorflow_runtime") as caught:
            launcher.Runtime(command).run("inspect", [])
        assert command in str(caught.value)


def test_a_script_whose_interpreter_is_gone_is_a_missing_runtime(tmp_path):
    path = tmp_path / "tfleet"
    path.write_text("#!/nowhere/python\n")
    path.chmod(0o755)
    with pytest.raises(launcher.RuntimeMissing, match="interpreter /nowhere/python"):
        launcher.Runtime(str(path)).run("inspect", [])


@pytest.mark.parametrize("text", ["hello", '{"ok": true} {"ok": true}', "[1]", '{"changed": true}', ""])
def test_anything_but_one_json_object_is_no_answer(script, text):
    failure = failure_of(script("printf '%%s' '%s'" % text))
    assert "did not answer with one JSON object" in str(failure) and "`runtime`" in str(failure)


def test_a_traceback_is_shown_by_its_end(script):
    failure = failure_of(script("i=0; while [ $i -lt 50 ]; do echo line $i >&2; i=$((i+1)); done; exit 1"))
    assert "exit status 1" in str(failure) and "line 49" in str(failure) and "line 20" not in str(failure)


def test_wrong_options_mean_another_release_of_the_runtime(tfleet_runtime):
    failure = failure_of(tfleet_runtime, "inspect", ["--no-such-option", "x"])
    assert failure.result["rc"] == 2 and "another release" in str(failure) and "--no-such-option" in str(failure)


def test_a_command_that_is_too_slow_is_ended_with_all_it_started(script, tmp_path):
    pid_file = tmp_path / "pid"
    started = time.time()
    failure = failure_of(script("sleep 60 & echo $! > %s; echo waiting >&2; wait" % pid_file), timeout=1)
    assert time.time() - started < 10
    assert "within 1 seconds" in str(failure) and "runtime_timeout" in str(failure) and "waiting" in str(failure)
    with pytest.raises(OSError):
        for _attempt in range(50):
            os.kill(int(pid_file.read_text()), 0)
            time.sleep(0.1)


def test_a_command_that_ignores_polite_ending_is_killed(script):
    started = time.time()
    failure = failure_of(script("trap '' TERM; while :; do sleep 0.2; done"), timeout=1)
    assert failure.result["timed_out"] is True and time.time() - started < 15


def test_secrets_never_appear(script):
    command = script('echo "$HUB_TOKEN $HTTPS_PROXY https://u:pw@h/x?sig=abc $*" >&2; exit 1')
    failure = failure_of(
        command,
        args=["https://me:hidden@host/model.pb?X-Signature=123", "--password", "pass1", "--api-key=key2"],
        env={"HUB_TOKEN": "tok-3", "HTTPS_PROXY": "http://user:prox4@proxy:3128"},
    )
    text = str(failure) + repr(failure.result)
    for secret in ("hidden", "X-Signature", "pass1", "key2", "tok-3", "prox4", "pw@", "abc"):
        assert secret not in text
    assert "https://********@host/model.pb?********" in text and "proxy:3128" in text


def test_secrets_are_hidden_in_answers_too(script):
    command = script("""echo '{"ok": false, "msg": "tok-3 refused by https://a:b@h/", "list": ["tok-3"]}'; exit 1""")
    failure = failure_of(command, env={"HUB_TOKEN": "tok-3"})
    assert str(failure) == "******** refused by https://********@h/" and failure.result["list"] == ["********"]


def test_memory_is_told_where_the_kernel_tells_it(tmp_path):
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 4058000 kB\nMemAvailable: 102400 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n")
    assert launcher.memory_sentence(str(meminfo)) == "Now 100 of 3962 MiB of memory and 0 of 0 MiB of swap are free. "
    assert launcher.memory_sentence(str(tmp_path / "none")) == ""


def test_the_interpreter_is_the_one_of_the_first_line(tmp_path):
    path = tmp_path / "tfleet"
    path.write_text("#!/opt/tfleet/bin/python3\n")
    assert launcher.interpreter_of(str(path)) == "/opt/tfleet/bin/python3"
    assert launcher.interpreter_of(sys.executable) == sys.executable
