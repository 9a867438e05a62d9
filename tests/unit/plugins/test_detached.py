"""Work that goes on after its module has ended: real processes, and the shell command that waits for them."""
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from ansible_collections.tfleet.serving.plugins.module_utils.detached import LATE, Detached
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError

# What a module is for its work: it has files open, and something to do at its own end, which the work must not do once more.
MODULE = """
import atexit, os, sys, time
from ansible_collections.tfleet.serving.plugins.module_utils.detached import Detached

def work():
    print("of no interest", flush=True)
    with open({pid!r}, "w") as stream:
        stream.write(str(os.getpid()))
    while not os.path.exists({flag!r}):
        time.sleep(0.01)
    with open("/proc/self/fd/%d" % held) as stream:
        return {{"brought": stream.read(), "half": "half \\udcff", "measured": float("inf")}}

atexit.register(print, "the end", flush=True)
held = os.open({brought!r}, os.O_RDONLY)
Detached({folder!r}).start({{}}, work)
os.unlink({brought!r})
"""


def test_detached_work(tmp_path):
    job = Detached(str(tmp_path / "job"))
    assert not job.exists() and not job.running() and job.result() is None
    job.start({"a": 1}, lambda: (time.sleep(0.5), {"done": True})[1])
    assert job.running() and job.request() == {"a": 1} and not job.wait(0)
    assert job.wait(10) and job.result() == {"answer": {"done": True}}
    job.forget()
    assert not job.exists()


@pytest.mark.parametrize(("error", "said"), [(ModuleError("It broke.", rc=3), {"msg": "It broke.", "rc": 3}), (KeyError("x"), None), (SystemExit(1), None)])
def test_detached_failures(tmp_path, error, said):
    def work():
        raise error

    job = Detached(str(tmp_path / "job"))
    job.start({}, work)
    assert job.wait(10)
    failure = job.result()["failure"]
    assert failure == said if said else type(error).__name__ in failure["msg"] and "report it" in failure["msg"]


def test_what_nobody_asked_for_goes_when_it_is_old(tmp_path):
    jobs = {name: Detached(str(tmp_path / ("tfleet-gate-" + name))) for name in ("old", "new", "busy", "now")}
    for name in ("old", "new", "busy"):
        jobs[name].start({}, lambda name=name: time.sleep(3 if name == "busy" else 0) or {})
    assert jobs["old"].wait(10) and jobs["new"].wait(10)
    for name in ("old", "busy"):
        os.utime(jobs[name].folder, (0, 0))
    other = tmp_path / "tfleet-gate-link"
    other.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    jobs["now"].forget_old(60)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "tfleet-gate-busy", "tfleet-gate-link", "tfleet-gate-new"]
    assert jobs["busy"].wait(10)


class Begun:
    """Work whose module has ended; it goes on until go()."""

    def __init__(self, place, collections_path):
        (place / "brought").write_text("brought")
        self._pid, self.go, self.job = place / "pid", (place / "flag").touch, Detached(str(place / "job"))
        names = {name: str(place / name) for name in ("pid", "flag", "brought")}
        done = subprocess.run([sys.executable, "-c", MODULE.format(folder=self.job.folder, **names)], env=dict(os.environ, PYTHONPATH=collections_path),
                              stdout=subprocess.PIPE, check=True, timeout=30)
        assert done.stdout == b"the end\n"
        while not self._pid.exists() or not self._pid.read_text():
            time.sleep(0.01)

    def kill(self):
        os.kill(int(self._pid.read_text()), signal.SIGKILL)

    def waiting(self, seconds=30):
        return subprocess.Popen(["sh", "-c", self.job.wait_command(seconds)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.fixture
def begun(tmp_path, collections_path):
    made = Begun(tmp_path, collections_path)
    yield made
    made.go()
    assert made.job.wait(10)


def test_a_shell_command_waits_prints_the_answer_and_clears_up(begun):
    waiting = begun.waiting()
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(0.5)
    begun.go()
    out, _ = waiting.communicate(timeout=30)
    assert out.splitlines()[0] == b"" and out.endswith(b"\n")
    assert json.loads(out) == {"answer": {"brought": "brought", "half": "half \udcff", "measured": float("inf")}}
    assert (waiting.returncode, begun.job.exists()) == (0, False)


@pytest.mark.parametrize("seconds", [1, -5])
def test_it_waits_no_longer_than_it_shall(begun, seconds):
    waiting = begun.waiting(seconds)
    assert (waiting.communicate(timeout=30)[0], waiting.returncode) == (b"", LATE)


def test_nobody_waits_for_one_that_was_killed(begun):
    begun.kill()
    waiting = begun.waiting()
    assert (waiting.communicate(timeout=10)[0], waiting.returncode, begun.job.exists()) == (b"", 1, False)
