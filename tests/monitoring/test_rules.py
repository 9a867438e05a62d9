"""Recording and alert rules against samples, by Prometheus' own checker; and what else can be said of rules and dashboard without a server."""

import re
import subprocess

import pytest
import yaml

from .conftest import CHECKOUT, DASHBOARD, RULES, expressions, metrics, panels, rules

TESTS = CHECKOUT / "tests/monitoring/rules.yml"
ALERTS = sorted(rule["alert"] for rule in rules() if "alert" in rule)


def run(*argv):
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_rules_are_rules(tool):
    status, said = run(tool("promtool"), "check", "rules", *RULES)
    assert status == 0, said


def test_rules_make_of_samples_what_they_shall(tool):
    status, said = run(tool("promtool"), "test", "rules", TESTS)
    assert status == 0, said


def asked():
    for test in yaml.safe_load(TESTS.read_text())["tests"]:
        yield from test.get("alert_rule_test", [])


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_is_seen_silent_and_firing(alert):
    cases = [case["exp_alerts"] for case in asked() if case["alertname"] == alert]
    assert [] in cases and any(cases)


@pytest.mark.parametrize("record", [rule["record"] for rule in rules() if "record" in rule])
def test_every_recording_rule_is_computed(record):
    expected = [case["expr"] for test in yaml.safe_load(TESTS.read_text())["tests"] for case in test.get("promql_expr_test", [])]
    assert any(record in metrics(expression) for expression in expected)


@pytest.mark.parametrize("alert", ALERTS)
def test_the_guide_says_what_to_do(alert):
    assert re.search(rf"^\| `{alert}` \| .+ \| .+ \|$", (CHECKOUT / "docs/monitoring.md").read_text(), re.MULTILINE)


def test_metrics_are_found_in_expressions():
    text = 'sum by (a, b) (rate(:x:y_total{c="d_total"}[5m])) / on (a) group_left (e) f:g:ratio or vector(0) > 1e6 unless h == 0.5 * i_bytes'
    assert metrics(text) == {":x:y_total", "f:g:ratio", "h", "i_bytes"}


def test_panels_have_their_own_number_place_and_data():
    places = [tuple(panel["gridPos"][side] for side in "xywh") for panel in DASHBOARD["panels"]]
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(places) == len({place[:2] for place in places})
    assert all(x + width <= 24 for x, _y, width, _height in places)
    assert all(target["datasource"]["uid"] == "${datasource}" for panel in panels() for target in panel["targets"])
    assert len(expressions()) > len(panels())
