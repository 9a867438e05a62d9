"""The child process of a conversion, however it ends. The children are real processes that speak as the worker does."""

import os
import signal
import sys
import threading
import time

import pytest

from tfleet.convert.variants import job
from tfleet.errors import TfleetError

SPEAK = "import json, os, signal, sys, time\ntask = json.load(sys.stdin)\ndef say(**what):\n    print('tfleet ' + json.dumps(what), flush=True)\n"


@pytest.fixture
def child(tmp_path, monkeypatch):
    """``child(source, limit, watch)`` runs a module of that source as a job."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def run(source, limit=30, watch=None):
        (tmp_path / "speaking.py").write_text(SPEAK + source)
        return job.Job("speaking", {"number": 7}, str(tmp_path / "log"), {"SPEAKING": "yes"}).run(limit, watch)

    return run


def refused(child, source, **options):
    with pytest.raises(TfleetError) as caught:
        child(source, **options)
    return caught.value


def test_a_result(child):
    seen = []
    result = child(
        "say(phase='building engines', done=1, total=3)\nprint('noise')\nbig = bytearray(50 * 2**20)\ntime.sleep(1)\n"
        "say(result={'number': task['number'], 'environment': os.environ['SPEAKING']})",
        watch=seen.append,
    )
    assert result["number"] == 7 and result["environment"] == "yes" and result["seconds"] >= 1
    assert result["peak_bytes"] > 50 * 2**20
    last = seen[-1]
    assert (last.phase, last.done, last.total) == ("building engines", 1, 3) and last.memory_bytes > 50 * 2**20
    assert job.line(last).startswith("building engines, 1 of 3, ") and job.line(last).endswith(" MiB")


def test_a_sentence_of_the_child(child):
    error = refused(child, "say(error='There is no signature.', result={'signatures': ['a']})\nsys.exit(1)")
    assert str(error) == "There is no signature." and error.result["signatures"] == ["a"]


def test_killed_is_put_down_to_memory(child):
    error = refused(child, "say(phase='building engines')\nbig = bytearray(30 * 2**20)\ntime.sleep(1)\nos.kill(os.getpid(), signal.SIGKILL)")
    assert "was killed, most likely by the kernel for lack of memory" in str(error) and "building engines" in str(error)
    assert "MiB of memory and" in str(error) and "--workspace-bytes" in str(error) and error.result["rc"] == -signal.SIGKILL


@pytest.mark.parametrize("error", ["", "OOM when allocating tensor"])
def test_out_of_memory(child, error):
    source = "say(error=%r, memory=True)\nsys.exit(1)" % error
    assert "ran out of memory" in str(refused(child, source)) and "Lower the workspace" in str(refused(child, source))


def test_aborted_in_native_code(child):
    error = refused(child, "say(phase='segmenting')\nsys.stderr.write('getInferLibVersion symbol not found.\\n'); sys.stderr.flush()\nos.abort()")
    assert "aborted in native code" in str(error) and "134" in str(error) and "getInferLibVersion symbol not found." in str(error)


def test_other_ends(child):
    assert "was ended from outside (signal 15)" in str(refused(child, "os.kill(os.getpid(), signal.SIGTERM)"))
    assert "exit status 3" in str(refused(child, "sys.exit(3)"))
    assert "without a result" in str(refused(child, "pass"))


def test_the_time_limit_ends_what_the_child_started_too(child, tmp_path):
    source = (
        "import subprocess\ninner = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "open(%r, 'w').write(str(inner.pid))\nsay(phase='building engines')\ntime.sleep(60)" % str(tmp_path / "pid")
    )
    began = time.time()
    error = refused(child, source, limit=1.5)
    assert "did not finish within 1 seconds" in str(error) and "building engines" in str(error) and "--time-limit" in str(error)
    assert time.time() - began < 15
    assert error.result["timed_out"] and error.result["progress"]["phase"] == "building engines"
    for _ in range(50):
        if gone((tmp_path / "pid").read_text()):
            return
        time.sleep(0.1)
    pytest.fail("the grandchild lives")


def gone(pid):
    """Whether a process has ended, be it that nobody has asked for its exit status yet."""
    try:
        with open("/proc/%s/stat" % pid) as stream:
            return " Z " in stream.read()
    except OSError:
        return True


def test_a_caller_that_is_interrupted_takes_the_child_along(child, tmp_path):
    # A shell that runs the tests in the background lets them ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(1.5, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        child("open(%r, 'w').write(str(os.getpid()))\ntime.sleep(60)" % str(tmp_path / "pid"))
    signal.signal(signal.SIGINT, before)
    assert not os.path.exists("/proc/%s" % (tmp_path / "pid").read_text())


def test_the_interpreter_is_this_one(child):
    assert child("say(result={'python': sys.executable})")["python"] == sys.executable
