"""The best batching_parameters of one build under a latency target: short looks at many, long ones at the best, a verdict against none."""

import os
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from tfleet.errors import TfleetError
from tfleet.measure import builds, comparing, inprocess, load, payloads, served, statistics
from tfleet.measure.progress import Progress
from tfleet.measure.servers import Server

Parameters = NamedTuple("Parameters", [("max_batch_size", int), ("batch_timeout_micros", int), ("num_batch_threads", int)])
Target = NamedTuple("Target", [("milliseconds", float), ("percentile", float)])

_TIMEOUTS = (0, 1000, 5000)
_FINALISTS = 2
_LOOK_WINDOWS = 2
_MAX_ENQUEUED = 100
OFF = "no batching"


def text(parameters: Parameters) -> str:
    """A batching parameters file, as the server reads it."""
    return (
        "max_batch_size { value: %d }\nbatch_timeout_micros { value: %d }\nnum_batch_threads { value: %d }\nmax_enqueued_batches { value: %d }\n"
        % (parameters.max_batch_size, parameters.batch_timeout_micros, parameters.num_batch_threads, _MAX_ENQUEUED)
    )


def default(concurrency: int, batch_size: int) -> str:
    """The file for `batching: on` where none is given: batches as large as there are clients, without waiting for more."""
    return text(Parameters(max(2, concurrency * batch_size), 0, os.cpu_count() or 1))


def candidates(concurrency: int, batch_size: int, target: Target) -> List[Parameters]:
    """What is tried: batches of two requests and more up to all clients at once, waiting for them or not, within the target."""
    found = []
    size = 2 * batch_size
    while size <= max(2, concurrency) * batch_size:
        for timeout in _TIMEOUTS:
            if timeout / 1e3 < target.milliseconds / 2:
                found.append(Parameters(size, timeout, os.cpu_count() or 1))
        size *= 2
    return found


class Search(object):
    """Looks for the parameters; run() gives {"best", "file", "verdict"..., "tried"}."""

    def __init__(
        self, named: inprocess.Named, signature: str, setting: served.Setting, source: Any, plan: inprocess.Plan, timeout: float, command: Sequence[str] = ()
    ) -> None:
        self._named = named
        self._signature = signature
        self._setting = setting
        self._source = source
        self._plan = plan
        self._timeout = timeout
        self._command = command
        self._requests: List[bytes] = []

    def run(self, target: Target) -> Dict[str, Any]:
        """Raises TfleetError if the model's rows cannot be put together."""
        clients = self._setting.concurrency or 1
        tried = []
        choices = candidates(clients, self._setting.batch_size, target)
        with Progress("trying batching parameters", len(choices) + 1) as progress:
            for parameters in [None, *choices]:
                tried.append(self._look(parameters, target))
                progress.step(note=tried[-1]["name"])
        fitting = [line for line in tried[1:] if line["within"]]
        fitting.sort(key=lambda line: -line["throughput"])
        finalists = [tried[0], *fitting[:_FINALISTS]]
        final = self._final([line["parameters"] for line in finalists], target) if fitting else tried[:1]
        return _told(final, tried, target, self._plan.margin, clients)

    def _serve(self, parameters: Optional[Parameters]) -> served.Served:
        server = Server(self._named.source, None if parameters is None else text(parameters), self._command)
        return served.Served(_name(parameters), self._named.source, server.address, server)

    def _target(self, one: served.Served) -> load.Target:
        if not self._requests:
            with builds.ServedBuild(one.source, one.address, self._signature, self._timeout) as build:
                if not builds.rows_are_free(build.signature):
                    raise TfleetError("%s takes a fixed number of rows at once: a server cannot batch its requests." % one.source)
                plain = payloads.make(self._source(build.signature, self._setting.batch_size), build.signature, self._setting.batch_size)
                self._requests = [payloads.addressed(request, one.address, build.signature_name) for request in plain]
        return load.Target(one.name, one.address, self._requests, self._timeout, self._setting.concurrency or 1)

    def _look(self, parameters: Optional[Parameters], target: Target) -> Dict[str, Any]:
        one = self._serve(parameters)
        try:
            assert one.server is not None
            one.server.wait()
            with self._target(one) as asked:
                served.settle(asked, self._setting, self._plan)
                windows = [(served.ask(asked, self._setting, self._plan.window), None) for _ in range(_LOOK_WINDOWS)]
            return self._line(one, windows, parameters, target)
        finally:
            if one.server:
                one.server.close()

    def _line(self, one: served.Served, windows: Any, parameters: Optional[Parameters], target: Target) -> Dict[str, Any]:
        line = served.row(one, self._setting, windows)
        took = sorted(value for window, _ in windows for value in window.took)
        reached = round(1e3 * statistics.percentile(took, target.percentile), 4) if took else None
        within = reached is not None and not line["errors"] and reached <= target.milliseconds
        line.update(parameters=parameters, reached_ms=reached, within=within)
        return line

    def _final(self, finalists: Sequence[Optional[Parameters]], target: Target) -> List[Dict[str, Any]]:
        """The same again for the best, in turns, with as many rounds as any comparison has; the first is without batching."""
        running: List[served.Served] = []
        targets: List[load.Target] = []
        try:
            running += [self._serve(parameters) for parameters in finalists]
            for one in running:
                assert one.server is not None
                one.server.wait()
                targets.append(self._target(one))
                served.settle(targets[-1], self._setting, self._plan)
            with Progress("measuring the best", self._plan.rounds * len(running)) as progress:
                windows = served.rounds(targets, running, self._setting, self._plan, progress)
            lines = [self._line(one, windows[one.name], parameters, target) for one, parameters in zip(running, finalists)]
            for one, line in zip(running, lines):
                line["seconds"] = [served.per_request(window, self._setting) for window, _ in windows[one.name]]
            return lines
        finally:
            for one_target in targets:
                one_target.close()
            for one in running:
                if one.server:
                    one.server.close()


def _told(final: List[Dict[str, Any]], tried: List[Dict[str, Any]], target: Target, margin: float, clients: int) -> Dict[str, Any]:
    off, rest = final[0], [line for line in final[1:] if line["within"]]
    told: Dict[str, Any] = {
        "latency_target_ms": target.milliseconds,
        "percentile": target.percentile,
        "concurrency": clients,
        "tried": [{name: line[name] for name in ("name", "throughput", "reached_ms", "within", "errors")} for line in tried],
        "best": None,
        "file": None,
        "results": [{name: value for name, value in off.items() if name not in ("parameters", "seconds")}],
        "comparisons": [],
    }
    if not rest:
        words = "without batching it is reached" if tried[0]["within"] else "nor is it without batching: ask for a longer latency, or fewer clients"
        told.update(verdict=statistics.UNDECIDED, reason="With no parameters p%g stays within %g ms; %s." % (target.percentile, target.milliseconds, words))
        return told
    best = max(rest, key=lambda line: line["throughput"])
    told["results"] = [off, *rest]
    told.update(best=dict(best["parameters"]._asdict(), throughput=best["throughput"], reached_ms=best["reached_ms"]), file=text(best["parameters"]))
    told["comparisons"] = comparing.compare([off, *rest], [off["seconds"]] + [line["seconds"] for line in rest], margin).rows
    compared = next(line for line in told["comparisons"] if line["name"] == best["name"])
    told.update({name: compared[name] for name in ("ratio", "low", "high", "verdict", "reason")})
    for line in told["results"]:
        line.pop("seconds")
        line.pop("parameters")
    return told


def _name(parameters: Optional[Parameters]) -> str:
    if parameters is None:
        return OFF
    return "batches of %d, waiting %d us" % (parameters.max_batch_size, parameters.batch_timeout_micros)
