"""pytest tests/faults: what the parts do when something goes wrong. Writes build/faults.json, one row for each fault tried."""

import json
import os

import pytest

REPORT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "build", "faults.json")


class Fault:
    """What one test provoked and what came of it; `ok` is the test's own verdict."""

    def __init__(self, name, phase):
        self.name = name
        self.phase = phase
        self.runs = 0
        self.failed_answers = 0
        self.wrong_answers = 0
        self.ok = False
        self.note = ""

    def row(self):
        return {"fault": self.name, "phase": self.phase, "runs": self.runs, "failed_answers": self.failed_answers,
                "wrong_answers": self.wrong_answers, "ok": self.ok, "note": self.note}


_tried = pytest.StashKey()
_faults = pytest.StashKey()


def pytest_configure(config):
    config.stash[_tried] = []


@pytest.fixture
def fault(request):
    """fault(name, phase) -> Fault: a row of the report, for the test to count in."""
    mine = request.node.stash.setdefault(_faults, [])

    def make(name, phase):
        mine.append(Fault(name, phase))
        request.config.stash[_tried].append(mine[-1])
        return mine[-1]

    return make


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if call.when == "call":
        for one in item.stash.get(_faults, []):
            one.ok = outcome.get_result().passed


def pytest_sessionfinish(session):
    rows = {(one.name, one.phase): one.row() for one in session.config.stash[_tried]}
    if rows:
        os.makedirs(os.path.dirname(REPORT), exist_ok=True)
        # What an earlier run of another part tried stays.
        earlier = {}
        if os.path.exists(REPORT):
            with open(REPORT) as report:
                earlier = {(row["fault"], row["phase"]): row for row in json.load(report)}
        with open(REPORT, "w") as report:
            json.dump(list({**earlier, **rows}.values()), report, indent=2)
            report.write("\n")


def pytest_terminal_summary(terminalreporter):
    for one in terminalreporter.config.stash[_tried]:
        terminalreporter.write_line("%-4s %s, %s: %d runs, %d failed and %d wrong answers. %s" % (
            "ok" if one.ok else "BAD", one.name, one.phase, one.runs, one.failed_answers, one.wrong_answers, one.note))
