"""Work that goes on after its caller has ended: real processes, and the shell command that waits for them."""
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from ansible_collections.tfleet.serving.plugins.module_utils.background import LATE, wait_command

# Prints the file of the answer, then ends as a module does: with what it does at its end, which the work must not do once more.
CALLER = """
import atexit, os, sys, time
from ansible_collections.tfleet.serving.plugins.module_utils.background import begin

def work():
    print("of no interest", flush=True)
    with open({pid!r}, "w") as stream:
        stream.write(str(os.getpid()))
    while not os.path.exists({flag!r}):
        time.sleep(0.01)
    {work}

atexit.register(print, "the end")
held = os.open({brought!r}, os.O_RDONLY)
print(begin("tfleet-test", work), flush=True)
os.unlink({brought!r})
"""


@pytest.fixture
def begun(tmp_path, collections_path):
    """begun(what the work does in the end) -> file of its answer; it goes on until ``begun.go()``."""
    def begin(work):
        (tmp_path / "brought").write_text("brought")
        names = {name: str(tmp_path / name) for name in ("pid", "flag", "brought")}
        done = subprocess.run([sys.executable, "-c", CALLER.format(work=work, **names)], env=dict(os.environ, PYTHONPATH=collections_path, TMPDIR=str(tmp_path)),
                              stdout=subprocess.PIPE, check=True, timeout=30)
        path, end = done.stdout.decode().splitlines()
        assert end == "the end"
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            time.sleep(0.01)
        return path

    def kill():
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)

    begin.go = (tmp_path / "flag").touch
    begin.kill = kill
    yield begin
    begin.go()


def wait(path, seconds=30):
    return subprocess.run(["sh", "-c", wait_command(path, seconds)], stdout=subprocess.PIPE, check=False, timeout=60)


def test_the_answer_comes_when_the_work_has_ended_and_is_gone_then(begun):
    path = begun("return {'said': 'grün', 'brought': open('/proc/self/fd/%d' % held).read()}")
    assert os.stat(path).st_mode & 0o777 == 0o600
    waiting = subprocess.Popen(["sh", "-c", wait_command(path, 30)], stdout=subprocess.PIPE)
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(0.5)
    begun.go()
    answer = json.loads(waiting.communicate(timeout=30)[0])
    assert answer.pop("seconds") >= 0.5
    assert (answer, waiting.returncode, os.path.exists(path)) == ({"said": "grün", "brought": "brought"}, 0, False)


def test_one_that_is_late_is_waited_for_no_longer_and_may_be_waited_for_again(begun):
    path = begun("return {}")
    assert (wait(path, 1).returncode, wait(path, -5).returncode) == (LATE, LATE)
    begun.go()
    assert wait(path).returncode == 0


def test_one_that_is_killed_leaves_nothing_and_nobody_waits_for_it(begun):
    path = begun("return {}")
    begun.kill()
    done = wait(path)
    assert (done.returncode, done.stdout, os.path.exists(path)) == (0, b"", False)


def test_an_error_is_an_answer(begun):
    path = begun("raise ValueError('half \\udcff')")
    begun.go()
    answer = json.loads(wait(path).stdout)
    assert (answer["failed"], answer["msg"]) == (True, "ValueError: half \udcff")
    assert "in work" in answer["module_stderr"]
