"""Benchmarks of real builds: what is measured, what is concluded, and what is not."""

import csv
import os
import subprocess
import sys
import time
import xml.dom.minidom

import pytest

from tfleet.measure import builds, chart, conditions, load, payloads, servers, worker

QUICK = ("--rounds", 6, "--window", 0.1)


def verdicts(answer):
    return [line["verdict"] for line in answer["summary"]]


def test_slower_faster_and_nothing_to_conclude(tfleet, classifier, golden_file):
    """Against one build in turns: a faster one, and itself twice, by real runs."""
    slow, fast = classifier("slower"), classifier()
    status, answer = tfleet("benchmark", "slow=" + slow, "fast=" + fast, "again=" + slow, "--golden", golden_file, *QUICK, "--batch-sizes", "1,4")
    assert status == 0 and answer["mode"] == "inprocess"
    assert verdicts(answer)[0] == "faster", answer["summary"]
    # Whatever else the machine does, a build is never faster or slower than itself.
    itself = [line["verdict"] for line in answer["comparisons"] + answer["summary"] if line["name"] == "again"]
    assert len(itself) == 3 and set(itself) <= {"undecided", "same"}, answer["summary"]
    assert [(row["name"], row["batch_size"]) for row in answer["results"][2:4]] == [("again", 1), ("slow", 4)]
    row = answer["results"][0]
    assert row["requests"] > 30 and row["latency_ms"]["p50"] <= row["latency_ms"]["p99"] <= row["latency_ms"]["max"]
    assert row["memory_mb"]["model"] > 0 and row["memory_mb"]["peak"] >= row["memory_mb"]["resident"]
    assert answer["builds"][1]["name"] == "fast" and answer["builds"][1]["memory_mb"]["model"] > 0


def test_served_by_servers_of_its_own(tfleet, classifier, golden_file, tmp_path):
    table, plot = tmp_path / "rows.csv", tmp_path / "bars.svg"
    status, answer = tfleet(
        "benchmark", "a=" + classifier(), "--served", "--golden", golden_file, "--concurrency", "1,3", *QUICK, "--batching", "both",
        "--csv", table, "--plot", plot,
    )
    assert status == 0 and answer["mode"] == "served"
    assert [(row["name"], row["concurrency"]) for row in answer["results"]] == [("a", 1), ("a (batching)", 1), ("a", 3), ("a (batching)", 3)]
    assert all(row["errors"] == {} and row["requests"] > 20 and row["cpu_ms"] > 0 for row in answer["results"])
    assert len(answer["comparisons"]) == 2 and [line["name"] for line in answer["summary"]] == ["a (batching)"]
    with open(str(table), encoding="utf-8") as stream:
        lines = list(csv.DictReader(stream))
    assert len(lines) == 4 and float(lines[1]["throughput"]) > 0 and lines[0]["verdict"] == ""
    assert len(xml.dom.minidom.parse(str(plot)).getElementsByTagName("rect")) == 4


def test_a_killed_measurement_leaves_no_server_behind(classifier):
    code = "import sys, time; from tfleet.measure import servers; print(servers.Server(sys.argv[1])._process.pid, flush=True); time.sleep(60)"
    env = dict(os.environ, PYTHONPATH=os.path.dirname(os.path.dirname(os.path.dirname(servers.__file__))))
    with subprocess.Popen([sys.executable, "-c", code, classifier()], stdout=subprocess.PIPE, env=env) as process:
        pid = int(process.stdout.readline())
        process.kill()
    end = time.time() + 20
    while _runs(pid):
        assert time.time() < end
        time.sleep(0.05)


def _runs(pid):
    try:
        with open("/proc/%d/stat" % pid, encoding="ascii") as stream:
            return stream.read().split()[2] != "Z"
    except OSError:
        return False


def test_a_running_server_at_a_fixed_rate(tfleet, classifier, golden_file, served):
    source = served(classifier())
    status, answer = tfleet("benchmark", "a=" + source, "b=" + source, "--golden", golden_file, "--rate", "50", "--rounds", 5, "--window", 0.4)
    assert status == 0
    row = answer["results"][0]
    assert (row["rate"], row["requests"], row["concurrency"]) == (50, 100, None)
    assert row["throughput"] == pytest.approx(50, rel=0.2)
    # One and the same server: the mean latency of ten windows of 20 requests proves no difference.
    assert verdicts(answer) in (["undecided"], ["same"])


def test_a_search_tells_parameters_the_server_takes(tfleet, classifier, golden_file):
    status, answer = tfleet(
        "benchmark", classifier(), "--served", "--golden", golden_file, "--concurrency", 2, "--batching", "search", "--latency-target-ms", 1900,
        "--rounds", 5, "--window", 0.2,
    )  # fmt: skip
    found = answer["batching"]
    assert status == 0 and len(found["tried"]) == 4 and found["tried"][0]["name"] == "no batching"
    assert found["best"]["max_batch_size"] == 2 and "max_batch_size { value: 2 }" in found["file"]
    assert found["verdict"] in ("faster", "slower", "same", "undecided")


@pytest.mark.parametrize(
    "arguments, word",
    [
        (["/nonexistent"], "There is no model /nonexistent"),
        (["/nonexistent", "--served"], "There is no folder /nonexistent"),
        (["{right}", "--concurrency", 2], "add --served"),
        (["{right}", "--batch-sizes", 1, "--signature", "other"], "no signature 'other'"),
        (["{detector}", "--batch-sizes", 4], "takes exactly 1 rows at once"),
        (["{right}", "--served", "--batching", "search"], "--latency-target-ms"),
        (["grpc://127.0.0.1:1/m", "--timeout", 1], "UNAVAILABLE"),
        (["grpc://127.0.0.1:1/m", "--batching", "on"], "starts servers of its own"),
        (["a={right}", "a={right}"], "Two builds are named 'a'"),
        (["{golden_folder}", "--served"], "does not serve it"),
    ],
)
def test_what_cannot_be_measured_is_said(tfleet, classifier, detector, golden_file, arguments, word):
    places = {"{right}": classifier(), "{detector}": detector(), "{golden_folder}": os.path.dirname(golden_file)}
    arguments = [str(argument) for argument in arguments]
    for name, place in places.items():
        arguments = [argument.replace(name, place) for argument in arguments]
    status, answer = tfleet("benchmark", *arguments, "--rounds", 2, "--window", 0.05)
    assert status == 1 and word in answer["msg"]


def target(stalling, clients=1):
    return load.Target("m", builds.served(stalling.source), [payloads.encode({})], 5.0, clients)


def test_clients_that_wait_send_no_more_than_they_are_answered(stalling):
    stalling.seconds = 0.02
    with target(stalling, 2) as asked:
        window = asked.clients(2, 0.5)
    assert 20 <= len(window.took) <= 52 and min(window.took) >= 0.02


def test_a_stalled_server_is_not_spared_at_a_fixed_rate(stalling):
    """Two requests at once, 0.1 s each: 20 a second. At 100 a second the fiftieth waits for two seconds; clients that wait would never see it."""
    stalling.seconds = 0.1
    with target(stalling) as asked:
        window = asked.rate(100, 0.5)
    assert len(window.took) == 50
    assert max(window.took) > 1.5
    assert window.seconds > 2


def test_errors_are_counted_by_code_and_nothing_is_concluded(stalling, tfleet):
    stalling.failing = True
    with target(stalling) as asked:
        window = asked.clients(1, 0.2)
    assert window.errors["UNAVAILABLE"] > 0 and window.took
    _, answer = tfleet("benchmark", "a=" + stalling.source, "b=" + stalling.source, "--rounds", 5, "--window", 0.1)
    assert verdicts(answer) == ["undecided"] and "failed (UNAVAILABLE" in answer["comparisons"][0]["reason"]


def test_the_loop_adds_next_to_nothing():
    """What the benchmark's own loop takes, by a model that does nothing: a fiftieth of a millisecond is the whole budget."""
    took = worker.repeat(lambda feeds: None, [None], 0.2)
    whole = time.perf_counter()
    count = len(worker.repeat(lambda feeds: None, [None], 0.2))
    per_run = (time.perf_counter() - whole) / count
    assert per_run < 20e-6 and sorted(took)[len(took) // 2] < 5e-6


def test_requests_are_written_and_read_as_they_were(tmp_path):
    requests = [b"", b"one", b"x" * 5000]
    worker.write_requests(str(tmp_path / "requests"), requests)
    assert worker.read_requests(str(tmp_path / "requests")) == requests


def test_a_table_for_people_and_no_bar_without_a_terminal(tfleet_process, classifier, golden_file):
    done = tfleet_process("benchmark", "only=" + classifier(), "--golden", golden_file, "--rounds", 1, "--window", 0.1, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
    assert "in-process, one row a request" in done.stdout and "only" in done.stdout and "p99.9 ms" in done.stdout


def test_a_bar_on_a_terminal(tfleet_process, classifier, golden_file):
    import pty

    ours, theirs = pty.openpty()
    tfleet_process("benchmark", "only=" + classifier(), "--golden", golden_file, "--rounds", 4, "--window", 0.15, "--json", stderr=theirs, stdout=-3)
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert "measuring  [###" in shown and "% " in shown


def device(tmp_path, clock=1377000000, count=0):
    files = {
        "sys/class/devfreq/17000000.gv11b/cur_freq": str(clock),
        "sys/class/devfreq/17000000.gv11b/max_freq": "1377000000",
        "sys/class/thermal/thermal_zone0/type": "GPU-therm",
        "sys/class/thermal/thermal_zone0/temp": "43000",
        "sys/class/thermal/thermal_zone1/type": "PMIC-Die",
        "sys/class/thermal/thermal_zone1/temp": "100000",
        "sys/class/hwmon/hwmon2/name": "soctherm_oc",
        "sys/class/hwmon/hwmon2/oc1_event_cnt": str(count),
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1190400",
        "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "2265600",
        "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=2 NAME=MODE_15W >\n< PM_CONFIG DEFAULT=2 >\n",
        "var/lib/nvpmodel/status": "pmode:0002 fmode:quiet\n",
        "proc/loadavg": "0.10 0.20 0.30 1/100 1\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return conditions.Roots(*[str(tmp_path / name) for name in ("proc", "sys", "etc", "var")])


def test_power_mode_clocks_and_throttling_of_a_jetson(tmp_path):
    machine = conditions.Conditions(device(tmp_path))
    device(tmp_path, clock=624000000, count=3)
    found = machine.report()
    assert (found["power_mode"], found["throttled"], found["hottest_celsius"], found["load"]) == ("MODE_15W", True, 43.0, 0.1)
    assert found["clocks_mhz"]["gpu"] == {"before": 1377, "after": 624, "highest": 1377}
    notes = " ".join(found["notes"])
    assert "jetson_clocks" in notes and "fell from 1377 to 624 MHz" in notes and "over-current oc1: 3 times" in notes


def test_a_machine_that_tells_nothing(tmp_path):
    found = conditions.Conditions(conditions.Roots(*[str(tmp_path)] * 4)).report()
    assert (found["power_mode"], found["throttled"], found["hottest_celsius"], found["notes"]) == (None, None, None, [])


@pytest.mark.parametrize(("high", "ends"), [(2.5, 2), (9.0, 1), (None, 1)])
def test_an_interval_is_drawn_to_its_end_or_leaves_the_picture(high, ends):
    """The scale makes room for it, up to an end that would leave no bar to see."""
    row = {"name": "one", "batch_size": 1, "concurrency": 1, "rate": None, "throughput": 100.0}
    line = dict(row, name="two", ratio=2.0, low=1.5, high=high)
    svg = xml.dom.minidom.parseString(chart.bars([row, dict(row, name="two", throughput=200.0)], [line]))
    (path,) = [found for found in svg.getElementsByTagName("path") if found.getAttribute("class") == "spread"]
    bar = float(svg.getElementsByTagName("rect")[1].getAttribute("width"))
    begin, end = (float(text.split("M")[0].split()[0]) - 210 for text in path.getAttribute("d")[1:].split("H"))
    assert begin == pytest.approx(0.75 * bar, abs=0.1)
    assert end == pytest.approx({2.5: 1.25}.get(high, 1.6) * bar, abs=0.1)
    assert path.getAttribute("d").count("v8") == ends


def test_the_chart_takes_any_name():
    row = {"name": "<b>&\"" + "x" * 60, "batch_size": 1, "concurrency": 4, "rate": None, "throughput": 10.0}
    line = dict(row, name="two", ratio=2.0, low=0.0, high=None)
    text = chart.bars([row, dict(row, name="two")], [line])
    assert xml.dom.minidom.parseString(text).documentElement.tagName == "svg"
