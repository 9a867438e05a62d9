"""Conversion on this machine: variants are built, compared, measured and released by the rule, and a second run changes nothing.

It runs the real playbook in a directory and on ports of its own. Which variant is faster is the machine's to say: the tests hold the playbook to
what it measured. They are steps of one story, in the order of the file.
"""

import base64
import html
import json
import re

import pytest

SHORT = ("-e", "model_conversion_rounds=5", "-e", "model_conversion_window=0.5")


@pytest.fixture(scope="module")
def first(playbook):
    return playbook("convert", *SHORT)


@pytest.fixture
def record(first, work):
    (path,) = (work / "conversions").glob("*.json")
    return json.loads(path.read_text())


def served(output, smoke_lines):
    return {line["model"]: line["version"] for line in smoke_lines(output) if line["ok"]}


def test_check_mode_before_anything_is_there_changes_nothing(playbook, work):
    playbook("convert", "--check", *SHORT)
    assert not (work / "conversions").exists()
    assert not (work / "variants").exists()


def test_every_variant_is_built_and_answers_as_the_native_model(record):
    assert sorted(record["models"]) == ["digits", "digits_detector"]
    for entry in record["models"].values():
        assert [candidate["name"] for candidate in entry["candidates"]] == ["tflite-fp32", "grappler-fp32"]
        for candidate in entry["candidates"]:
            assert (candidate["converted"], candidate["parity"]) == (True, True), candidate["reason"]
            assert candidate["verdict"] in ("faster", "slower", "same", "undecided")


def test_a_variant_is_released_exactly_if_it_is_faster(first, record, smoke_lines, work):
    for name, entry in record["models"].items():
        faster = [candidate for candidate in entry["candidates"] if candidate["verdict"] == "faster"]
        best = max(faster, key=lambda candidate: candidate["ratio"]) if faster else None
        assert (entry["release"] or {}).get("version") == (best["version"] if best else None)
        expected = best["version"] if best else entry["source_version"]
        assert served(first, smoke_lines)[name] == expected
        manifest = json.loads((work / "models" / name / str(expected) / "manifest.json").read_text())
        assert (manifest["variant"], manifest["source_version"]) == ((best["variant"], entry["source_version"]) if best else ("native", None))
        # The playbook's output is folded at the end of its lines.
        assert entry["reason"] in " ".join(first.split())


def test_the_report_says_why_and_opens_without_a_server(record, work):
    page = (work / "reports" / "conversion.html").read_text()
    for name, entry in record["models"].items():
        assert f"<h2>{name}</h2>" in page
        assert base64.b64encode(entry["measured"]["chart"].encode()).decode() in page
        for candidate in entry["candidates"]:
            assert html.escape(candidate["reason"], quote=False).split("'")[0] in page
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", page)


def test_a_second_run_changes_and_measures_nothing(first, playbook, changed, record, work):
    output = playbook("convert", *SHORT)
    assert changed(output) == {0}
    (path,) = (work / "conversions").glob("*.json")
    assert json.loads(path.read_text()) == record


def test_a_variant_that_answers_otherwise_is_taken_back(first, playbook, smoke_lines, work):
    """A limit that no conversion can hold: more than all numbers the same."""
    strict = [{"model": "digits", "variant": "tflite", "version": 3, "thresholds": {"outputs": {"scores": {"max_abs": 0, "equal": 1.1}}}}]
    playbook("convert", *SHORT, "-e", json.dumps({"model_conversion_variants": strict}))
    (path,) = (work / "conversions").glob("*.json")
    entry = json.loads(path.read_text())["models"]["digits"]
    assert (entry["release"], entry["candidates"][0]["parity"]) == (None, False)
    assert "answers otherwise" in entry["reason"]
    lines = smoke_lines((work / "reports" / "smoke.jsonl").read_text())
    assert ("digits", 2, True) in {(line["model"], line["version"], line["ok"]) for line in lines}
    # Whoever asks for no version gets the highest one on the disk.
    assert sorted(path.name for path in (work / "models" / "digits").glob("[0-9]*")) == ["1", "2"]
