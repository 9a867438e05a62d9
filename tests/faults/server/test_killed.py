"""A server that dies while it loads: killed from outside, by its own model, for want of memory. It starts again by itself, as a
service manager would have it, and what it died of is out of the way."""

import json
import os
import resource
import signal
import time

import grpc
import pytest
from live_server import LiveServer
from load import Load
from releasing import config, release

OURS = ("--allow_version_labels_for_unavailable_models=true", "--tfleet_failed_model_blocks_only_itself", "--max_num_load_retries=0")


class Site:
    """Models, model.config and the guard's record, in a directory."""

    def __init__(self, root, models):
        self.root, self.models = root, models
        self.record = root / "start_guard.json"
        self.file = root / "model.config"
        for name, number in (("half", 1), ("half", 2), ("m", 1)):
            (root / name).mkdir(exist_ok=True)
            release(models / "half" / str(number), root / name, number)
        labels = 'version_labels { key: "stable" value: 1 } version_labels { key: "canary" value: 2 }'
        self.file.write_text(config(("half", root / "half", "model_version_policy { all {} } " + labels), ("m", root / "m", "")))

    def serve(self, wait=True, prefix=()):
        return LiveServer("--model_config_file=%s" % self.file, "--tfleet_start_guard_file=%s" % self.record, *OURS, wait=wait, prefix=prefix)

    def rows(self, kind):
        return [(row["model"], row["version"]) for row in json.loads(self.record.read_text())[kind]]


@pytest.fixture
def site(tmp_path, model_files):
    return Site(tmp_path, model_files)


def labels_survived(server):
    for version in (1, 2):
        server.wait_state("half", version, "AVAILABLE")
    answers = [server.http("POST", "/v1/models/half/labels/%s:predict" % label, '{"instances": [2.0]}')[2] for label in ("stable", "canary")]
    assert answers == [b'{\n    "predictions": [%s\n    ]\n}' % y for y in (b"3.0", b"4.0")]


def test_kill_9_while_it_loads(site, fault):
    row = fault("kill -9 while a version is loaded", "loading")
    with site.serve() as server:
        killed = []

        def refusal(error):
            return bool(killed) and (not isinstance(error, grpc.RpcError) or error.code() == grpc.StatusCode.UNAVAILABLE)

        with Load(server, "half", {2: 4.0}, refusal=refusal) as load:
            load.wait_answers(20)
            release(site.models / "big" / "1", site.root / "m", 2)
            deadline = time.time() + 20
            while site.rows("loading") != [("m", 2)]:
                assert time.time() < deadline, server.log
                time.sleep(0.002)
            killed.append(True)
            assert server.terminate(signal.SIGKILL) == -signal.SIGKILL
        load.report(row)
    with site.serve() as server:
        labels_survived(server)
        state, why = server.states("m")[2]
        assert state == "END"
        assert "Version 2 of model m was being loaded when the server died" in why
        assert server.predict("m", [2.0]) == (1, [3.0])
        with Load(server, "m", {1: 3.0, 2: 3.0}) as load:
            os.utime(str(site.root / "m" / "2"))
            server.wait_state("m", 2, "AVAILABLE", seconds=60)
            load.wait_answers(20)
        load.report(row)
        assert (site.rows("loading"), site.rows("suspects"), site.rows("aside")) == ([], [], [])


def test_a_model_that_kills_whoever_loads_it(site, fault):
    row = fault("a model that kills the process that loads it", "starting")
    release(site.models / "deadly" / "1", site.root / "m", 2)
    deaths = 0
    while True:
        with site.serve(wait=False) as server:
            server._listening.wait(60)
            if "Exporting HTTP/REST API" in server.log:
                assert server.predict("m", [2.0]) == (1, [3.0])
                assert server.states("m")[2][0] == "END"
                labels_survived(server)
                break
            assert "this model kills its server" in server.log
            deaths += 1
            assert deaths <= 2, "a crash loops"
    row.runs = deaths + 1
    row.note = "%d deaths, then it served the others" % deaths
    assert deaths >= 1


def test_a_version_that_takes_all_memory(site, fault):
    row = fault("memory runs out while a version is loaded", "loading")
    with site.serve() as server:
        pid = server.process.pid
        with open("/proc/%d/status" % pid) as status:
            size = next(int(line.split()[1]) for line in status if line.startswith("VmSize")) * 1024
        hard = resource.prlimit(pid, resource.RLIMIT_AS)[1]
        resource.prlimit(pid, resource.RLIMIT_AS, (size + (60 << 20), hard))
        release(site.models / "big" / "1", site.root / "m", 2)
        deadline = time.time() + 60
        state = ""
        while server.process.poll() is None and state != "END":
            assert time.time() < deadline and state != "AVAILABLE", server.log
            time.sleep(0.1)
            try:
                state = server.states("m").get(2, ("",))[0]
            except AssertionError:  # it died while it was asked
                server.process.wait(10)
        died = server.process.poll() is not None
        if not died:
            resource.prlimit(pid, resource.RLIMIT_AS, (hard, hard))
            assert server.predict("m", [2.0]) == (1, [3.0])
            row.runs += 1
    row.note = "the server died of it" if died else "the load failed, the server went on"
    if died:
        with site.serve() as server:
            assert server.predict("m", [2.0]) == (1, [3.0])
            assert server.states("m")[2][0] == "END"
            row.runs += 1
