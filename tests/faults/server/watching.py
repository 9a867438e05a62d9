"""Whether a server stays as it was while it is maltreated: its answers, its memory, its log."""

import contextlib
import os
import re
import time

_EVERY = 250
_RISE = re.compile(r"Traceback|unexpected error|Fatal Python|Segmentation")


def memory_mb(pid):
    """(resident, most ever resident) of a process in MB."""
    with open("/proc/%d/status" % pid) as status:
        sizes = dict(line.split(":", 1) for line in status)
    return int(sizes["VmRSS"].split()[0]) / 1024.0, int(sizes["VmHWM"].split()[0]) / 1024.0


def cpu_seconds(pid):
    """What a process has used of the processors so far."""
    with open("/proc/%d/stat" % pid) as stat:
        return sum(map(int, stat.read().rsplit(")", 1)[1].split()[11:13])) / float(os.sysconf("SC_CLK_TCK"))


def threads(pid):
    with open("/proc/%d/status" % pid) as status:
        return int(dict(line.split(":", 1) for line in status)["Threads"])


def right_answers(server):
    """None if half_plus answers rightly by gRPC and REST, else what it answered."""
    try:
        by_grpc = server.predict("half", [1.0, 4.0])
    except AssertionError as error:
        by_grpc = error
    by_rest = server.http("POST", "/v1/models/half:predict", '{"instances": [1.0]}')
    if by_grpc == (2, [3.5, 5.0]) and (by_rest[0], by_rest[2]) == (200, b'{\n    "predictions": [3.5\n    ]\n}'):
        return None
    return by_grpc, by_rest


class Watch:
    """`with watch.of(name, phase, limit):` around the maltreatment, in which failed() and tick() tell it what happens."""

    def __init__(self, server, fault):
        self._server = server
        self._make = fault
        self._row = None
        self._failures = []
        self._settled = 0
        self._before = (0.0, 0.0)

    @contextlib.contextmanager
    def of(self, name, phase, growth_mb, settled=0):
        """Fails at the end if an answer failed or was wrong, memory grew by more, or the log holds a traceback.

        settled: after how many requests to begin to look at the memory; the first ones fill caches and the allocator.
        """
        self._settled = settled
        self._row = self._make(name, phase)
        pid = self._server.process.pid
        assert right_answers(self._server) is None
        logged = len(self._server.log)
        self._before, began = memory_mb(pid), time.time()
        yield
        assert self._server.process.poll() is None, "the server died:\n" + self._server.log[-3000:]
        wrong = right_answers(self._server)
        after = memory_mb(pid)
        self._row.wrong_answers += wrong is not None
        self._row.note = "%.0f s, memory %+.1f MB (peak %+.1f MB)" % (time.time() - began, after[0] - self._before[0], after[1] - self._before[1])
        assert not self._failures, "\n".join(self._failures[:10])
        assert wrong is None, wrong
        noise = _RISE.search(self._server.log[logged:])
        assert noise is None, self._server.log[logged:][noise.start():][:3000]
        assert after[0] - self._before[0] < growth_mb, self._row.note

    def failed(self, what):
        self._row.failed_answers += 1
        self._failures.append(what)

    def tick(self, position):
        """One more was sent; every so often an ordinary client looks in."""
        self._row.runs += 1
        if self._row.runs == self._settled:
            self._before = memory_mb(self._server.process.pid)
        if position % _EVERY == _EVERY - 1:
            wrong = right_answers(self._server)
            if wrong is not None:
                self._row.wrong_answers += 1
                self._failures.append("after %d: an ordinary request was answered %s" % (position, wrong))
