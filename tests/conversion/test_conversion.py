"""Conversion on this machine: variants are built, compared, measured and released by the rule, and a second run changes nothing.

It runs the real playbooks in a directory and on ports of its own, for the demo models and for one of which it is certain what is faster. Of the others that is
the machine's to say: the tests hold the playbook to what it measured. They are steps of one story, in the order of the file.
"""

import base64
import html
import json
import pathlib
import re
import subprocess
import sys

import pytest
import yaml

CHECKOUT = pathlib.Path(__file__).parents[2]
NAMES = {"chain": ["tflite-fp32"], "digits": ["tflite-fp32", "grappler-fp32"], "digits_detector": ["tflite-fp32", "grappler-fp32"]}
TFLITE = {"model": "chain", "variant": "tflite", "version": 2}
# More than all numbers the same: a limit that no conversion can hold.
STRICT = dict(TFLITE, thresholds={"outputs": {"y": {"max_abs": 0, "equal": 1.1}}})


@pytest.fixture(scope="module")
def settings(work):
    """Options for short measurements of the demo models and of the chain."""
    (work / "chain").mkdir()
    subprocess.run([sys.executable, pathlib.Path(__file__).parent / "chain.py", work / "chain"], check=True)
    local = yaml.safe_load((CHECKOUT / "inventories/local/group_vars/all.yml").read_text())
    release = {"version": 1, "source": str(work / "chain/frozen_graph.pb"), "golden": str(work / "chain/golden.npz"), "latency_budget_ms": 1000,
               "signatures": {"serving_default": {"inputs": {"x": "x:0"}, "outputs": {"y": "y:0"}}}}
    (work / "settings.json").write_text(json.dumps({
        "tfleet_models": [*local["tfleet_models"], {"name": "chain", "releases": [release]}],
        "model_conversion_variants": [*local["model_conversion_variants"], TFLITE],
        "model_conversion_rounds": 5, "model_conversion_window": 0.3, "serving_benchmark_rounds": 5, "serving_benchmark_window": 0.3,
    }))
    return "-e", f"@{work}/settings.json"


@pytest.fixture(scope="module")
def first(playbook, settings):
    return playbook("convert", *settings)


@pytest.fixture
def record(first, work):
    (path,) = (work / "conversions").glob("*.json")
    return json.loads(path.read_text())


@pytest.fixture
def served(smoke_lines, work):
    """Read which version of each model the smoke test saw last."""
    lines = smoke_lines((work / "reports" / "smoke.jsonl").read_text())
    return {line["model"]: line["version"] for line in lines if line["ok"]}


def on_disk(work, model):
    # Whoever asks for no version gets the highest one on the disk.
    return sorted(path.name for path in (work / "models" / model).glob("[0-9]*"))


def test_check_mode_before_anything_is_there_changes_nothing(playbook, settings, work):
    playbook("convert", "--check", *settings)
    assert not (work / "conversions").exists()
    assert not (work / "variants").exists()


def test_every_variant_is_built_and_answers_as_the_native_model(record):
    assert sorted(record["models"]) == sorted(NAMES)
    for name, entry in record["models"].items():
        assert [candidate["name"] for candidate in entry["candidates"]] == NAMES[name]
        for candidate in entry["candidates"]:
            assert (candidate["converted"], candidate["parity"]) == (True, True), candidate["reason"]
            assert candidate["verdict"] in ("faster", "slower", "same", "undecided")


def test_a_variant_is_released_exactly_if_it_is_faster(first, record, served, work):
    for name, entry in record["models"].items():
        faster = [candidate for candidate in entry["candidates"] if candidate["verdict"] == "faster"]
        best = max(faster, key=lambda candidate: candidate["ratio"]) if faster else None
        assert (entry["release"] or {}).get("version") == (best["version"] if best else None)
        expected = best["version"] if best else entry["source_version"]
        assert served[name] == expected
        manifest = json.loads((work / "models" / name / str(expected) / "manifest.json").read_text())
        assert (manifest["variant"], manifest["source_version"]) == ((best["variant"], entry["source_version"]) if best else ("native", None))
        # The playbook's output is folded at the end of its lines.
        assert entry["reason"] in " ".join(first.split())


def test_what_is_certainly_faster_is_released(record, served):
    (candidate,) = record["models"]["chain"]["candidates"]
    assert candidate["verdict"] == "faster" and candidate["ratio"] > 1.3, candidate
    assert served["chain"] == 2


def test_the_report_says_why_and_opens_without_a_server(record, work):
    page = (work / "reports" / "conversion.html").read_text()
    for name, entry in record["models"].items():
        assert f"<h2>{name}</h2>" in page
        assert base64.b64encode(entry["measured"]["chart"].encode()).decode() in page
        for candidate in entry["candidates"]:
            assert html.escape(candidate["reason"], quote=False).split("'")[0] in page
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", page)


def test_a_second_run_changes_and_measures_nothing(first, playbook, settings, changed, record, work):
    output = playbook("convert", *settings)
    assert changed(output) == {0}
    (path,) = (work / "conversions").glob("*.json")
    assert json.loads(path.read_text()) == record


def test_the_benchmark_compares_what_is_served(first, playbook, settings, work):
    playbook("benchmark", *settings, "-e", '{"serving_benchmark_models": ["chain"], "serving_benchmark_concurrency": [1]}')
    (entry,) = json.loads((work / "reports" / "benchmark.json").read_text())
    (verdict,) = entry["benchmarks"][0]["summary"]
    # A machine with other work can leave it open what is faster, and never turns it round.
    assert entry["model"] == "chain" and verdict["verdict"] in ("faster", "undecided"), verdict
    assert (verdict["name"], verdict["baseline"]) == ("version 2, tflite-float32", "version 1") and verdict["low"] < verdict["ratio"] < verdict["high"]
    assert verdict["reason"] in (work / "reports" / "benchmark.html").read_text()


def test_a_variant_that_answers_otherwise_is_taken_back(first, playbook, settings, smoke_lines, work):
    assert on_disk(work, "chain") == ["1", "2"]
    playbook("convert", *settings, "-e", json.dumps({"model_conversion_variants": [STRICT]}))
    (path,) = (work / "conversions").glob("*.json")
    entry = json.loads(path.read_text())["models"]["chain"]
    assert (entry["release"], entry["candidates"][0]["parity"]) == (None, False)
    assert "answers otherwise" in entry["reason"]
    lines = smoke_lines((work / "reports" / "smoke.jsonl").read_text())
    assert ("chain", 1, True) in {(line["model"], line["version"], line["ok"]) for line in lines}
    assert on_disk(work, "chain") == ["1"]
    assert json.loads((work / "models/chain/.aside/2.json").read_text())["reason"] == entry["reason"]
