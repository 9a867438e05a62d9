# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Work that goes on on the device after its module has ended, and the answer that it leaves.

A module that works for minutes keeps one of the controller's forks for as long, so that a wave of more hosts than forks comes to its end fork by fork. Ansible's
own ``async`` would start the interpreter twice more, bring the module over five connections instead of one, and ask for the end by another module.
"""
import fcntl
import json
import os
import shlex
import tempfile
import time
import traceback
from typing import Any, Callable, Dict

# Kernel and util-linux alone: it waits without looking again and again, and a process that is killed gives the lock back too.
LATE = 75
_WAIT = "flock --shared --timeout %d --conflict-exit-code %d %s cat %s && rm -f %s"


def begin(name: str, work: Callable[[], Dict[str, Any]]) -> str:
    """Do ``work()`` in a process of its own that nothing waits for, and return at once the file that will hold its result.

    Files of the caller that are open stay so for it. The file is in the system's directory for temporary ones, readable by its owner alone, and locked until
    the process has ended, however it ends; then it holds the result as JSON, with the
    ``seconds`` that it took, or nothing.

    :param name: begin of the file's name.
    """
    file, path = tempfile.mkstemp(prefix=name + "-")
    fcntl.flock(file, fcntl.LOCK_EX)
    if os.fork() == 0:
        # Nothing of the caller's may run twice, such as what it does when it ends.
        try:
            os.setsid()
            null = os.open(os.devnull, os.O_RDWR)
            for stream in range(3):
                os.dup2(null, stream)
            content = json.dumps(_result(work)).encode("utf-8")
            while content:
                content = content[os.write(file, content):]
        finally:
            os._exit(0)
    os.close(file)
    return path


def _result(work):
    started = time.monotonic()
    try:
        result = work()
    except Exception as error:  # there is nobody else whom it could reach
        result = {"failed": True, "msg": "%s: %s" % (type(error).__name__, error), "module_stderr": traceback.format_exc()}
    return dict(result, seconds=time.monotonic() - started)


def wait_command(path: str, seconds: float) -> str:
    """Return the shell command that prints the result when the work has ended, and removes it; its exit code is LATE after so many seconds.

    :param path: what :func:`begin` returned.
    """
    return _WAIT % ((max(1, round(seconds)), LATE) + (shlex.quote(path),) * 3)
