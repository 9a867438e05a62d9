"""Model servers for many hosts from one process: ``python -m tests.bench.rollout.servers``, one line of JSON for each host on standard input.

Every server is a real ``tfleet serve``, forked when TensorFlow is already loaded, so that they share its pages, and moved into the network and the
files of its host: {"pid": process of the host, "argv": the server's flags, "log": where it writes, outside}. They end with this process.
"""
import ctypes
import json
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def _enter(pid):
    """Go into the network, the files and, with the next child, the processes of a process; this one must have a single thread, as a fork has."""
    libc = ctypes.CDLL(None, use_errno=True)
    spaces = [os.open("/proc/%d/ns/%s" % (pid, name), os.O_RDONLY) for name in ("net", "mnt", "pid")]
    for space in spaces:
        if libc.setns(space, 0) != 0:
            raise OSError(ctypes.get_errno(), "setns into process %d" % pid)
        os.close(space)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    server = os.fork()
    if server:
        os.waitpid(server, 0)
        os._exit(0)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _serve(host):
    log = os.open(host["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    _enter(host["pid"])
    from tfleet.cli.serve import run_raw

    os._exit(run_raw(host["argv"]))


def main():
    # Everything that a server loads at its start, and no session: TensorFlow's threads begin with the first one, and threads do not survive a fork.
    import tensorflow  # noqa: F401

    from tfleet.server import main as _server  # noqa: F401

    children = []
    for line in sys.stdin:
        child = os.fork()
        if not child:
            try:
                os.close(0)
                _serve(json.loads(line))
            finally:
                os._exit(1)
        children.append(child)
        sys.stdout.write("%d\n" % child)
        sys.stdout.flush()
    # The input is closed: the benchmark has ended.
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
