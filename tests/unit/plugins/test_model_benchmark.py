"""The module model_benchmark against real builds of the digits model, and what the role makes of its results."""
import subprocess
import types

import pytest
from ansible_collections.tfleet.serving.plugins.module_utils import benchmarking
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.modules import model_benchmark
from ansible_collections.tfleet.serving.tests.unit.plugins.serving_tools import GOLDEN, deploy, server, write_config

PARAMS = {
    "builds": [{"name": "a", "source": "/a"}, {"name": "b", "source": "/b"}], "mode": "inprocess", "signature": None, "golden": None, "tfrecord": None,
    "images": None, "random": None, "values": "0..1", "batch_sizes": [1], "rounds": 10, "window": 2.0, "warmup": 10, "concurrency": None, "rate": None,
    "batching": "off", "batching_parameters": None, "latency_target_ms": None, "percentile": 99.0, "margin": 0.05, "csv": None, "plot": None, "timeout": 60.0,
    "proc_root": "/proc", "sys_root": "/sys", "etc_root": "/etc", "var_root": "/var",
}
QUICK = {"rounds": 5, "window": 0.1}


@pytest.fixture(scope="module")
def served(tfleet_runtime, tmp_path_factory):
    directory = tmp_path_factory.mktemp("benchmark")
    deploy(tfleet_runtime, directory / "digits", 1, 2)
    write_config(directory / "model.config", directory / "digits")
    with server(tfleet_runtime, directory, directory / "model.config") as address:
        yield types.SimpleNamespace(address=address, source="grpc://%s/digits" % address, folder=str(directory / "digits"), runtime=tfleet_runtime)


@pytest.fixture
def benchmark(run_module, served):
    def run(check=False, **parameters):
        return run_module("model_benchmark", check=check, **dict(QUICK, runtime=served.runtime, **parameters))
    return run


def test_in_process_the_larger_network_is_slower(benchmark, served, tmp_path):
    builds = [{"name": "small", "source": served.folder + "/1"}, {"name": "large", "source": served.folder + "/2"}]
    result = benchmark(builds=builds, golden=GOLDEN % 1, batch_sizes=[8], csv=str(tmp_path / "rows.csv"), plot=str(tmp_path / "bars.svg"))
    assert (result["ok"], result["changed"], result["mode"]) == (True, False, "inprocess")
    assert [line["verdict"] for line in result["summary"]] == ["slower"], result["summary"]
    assert result["chart"].startswith("<svg") and (tmp_path / "bars.svg").read_text().startswith("<svg")
    assert (tmp_path / "rows.csv").read_text().count("\n") == 3


def test_versions_of_the_running_server(benchmark, served):
    builds = [{"name": "one", "source": served.source + "/1"}, {"name": "two", "source": served.source + "/2"}]
    result = benchmark(builds=builds, golden=GOLDEN % 1, concurrency=[2])
    assert [(row["name"], row["concurrency"], row["errors"]) for row in result["results"]] == [("one", 2, {}), ("two", 2, {})]
    assert result["summary"][0]["verdict"] in ("faster", "slower", "same", "undecided")


def test_check_mode_measures_nothing(benchmark, served):
    result = benchmark(check=True, builds=[{"name": "x", "source": "/nonexistent"}])
    assert (result["ok"], result["changed"], result["msg"]) == (None, False, "Would measure x (inprocess).")


def test_what_cannot_be_measured_fails(benchmark, served):
    assert "There is no model /nonexistent" in benchmark(builds=[{"name": "x", "source": "/nonexistent"}])["msg"]
    assert "latency_target_ms" in benchmark(builds=[{"name": "x", "source": "/a"}], mode="served", batching="search")["msg"]


@pytest.mark.parametrize("changes, word", [
    ({"rounds": 0}, "rounds 0"), ({"concurrency": [4, 0]}, "concurrency"), ({"rate": [-1.0]}, "rate"), ({"builds": [{"name": "a=b", "source": "/a"}]}, "a=b"),
])
def test_numbers_and_names_that_make_no_sense_are_named(changes, word):
    with pytest.raises(ModuleError, match=word):
        model_benchmark.arguments(dict(PARAMS, **changes))


def test_arguments_are_those_the_command_knows(served):
    params = dict(PARAMS, mode="served", rate=[50.0, 0.5], golden="/g", csv="/c", plot="/p", sys_root="/host/sys", batching="both", batching_parameters="/b")
    found = model_benchmark.arguments(params)
    assert found[:2] == ["a=/a", "b=/b"] and "--rate=50,0.5" in found and "--served" in found and "--sys-root=/host/sys" in found
    text = subprocess.run([served.runtime, "benchmark", "--help"], check=True, stdout=subprocess.PIPE, universal_newlines=True).stdout
    assert [option for option in found if option.startswith("--") and option.partition("=")[0] not in text] == []


def test_the_launcher_waits_as_long_as_it_takes():
    assert model_benchmark.seconds(PARAMS) >= 2 * 10 * 2
    assert model_benchmark.seconds(dict(PARAMS, concurrency=[1, 2, 4], batch_sizes=[1, 8])) >= 6 * 2 * 10 * 2


MODEL = {"name": "digits", "base_path": "/srv/digits", "releases": [
    {"version": 1, "golden": "/g1", "variant": "native"}, {"version": 2, "golden": "/g2", "variant": "native"},
    {"version": 12, "golden": None, "variant": "tflite-int8"}]}
SEEN = {"models": {"digits": {"versions": [
    {"version": 12, "state": "AVAILABLE"}, {"version": 2, "state": "AVAILABLE"}, {"version": 1, "state": "END"}]}}}


def test_what_is_available_is_measured_oldest_first():
    (item,) = benchmarking.benchmark_items([MODEL, {"name": "other", "base_path": "/o", "releases": []}], SEEN, "h:8500")
    assert item["builds"] == [
        {"name": "version 2", "source": "grpc://h:8500/digits/2"}, {"name": "version 12, tflite-int8", "source": "grpc://h:8500/digits/12"}]
    assert item["golden"] == "/srv/digits/.golden/2/golden.npz"
    assert benchmarking.benchmark_items([MODEL], SEEN, "h:8500", ["other"]) == []


def test_a_failed_measurement_is_an_entry_with_its_reason():
    (item,) = benchmarking.benchmark_items([MODEL], SEEN, "h:8500")
    entry = benchmarking.benchmark_entry({"item": item, "failed": True, "msg": "no answer"}, "host")
    assert [(line["decision"], line["reason"]) for line in entry["candidates"]] == [("failed", "no answer")]
    assert entry["benchmarks"] == []
    assert benchmarking.benchmark_lines([entry]) == ["host, digits: no answer"]
