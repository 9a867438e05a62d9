"""Debian's own Prometheus and node exporter, which these tests run; and which metrics a PromQL expression names."""

import json
import pathlib
import re
import shutil

import pytest
import yaml

from ..unit.plugins import conftest as _collection  # noqa: F401  (makes the checkout importable as a collection)

CHECKOUT = pathlib.Path(__file__).parents[2]
ROLE = CHECKOUT / "roles/monitoring"
RULES = sorted((ROLE / "files/rules").glob("*.yml"))
DASHBOARD = json.loads((ROLE / "files/grafana/tfleet.json").read_text())

_WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan"}


@pytest.fixture(scope="session")
def tool():
    """The path of a program of Debian's packages prometheus and prometheus-node-exporter."""

    def find(name):
        path = shutil.which(name)
        assert path, f"There is no {name}. Install it: apt-get install --no-install-recommends prometheus prometheus-node-exporter"
        return path

    return find


def rules():
    """All rules as they stand in the files."""
    return [rule for path in RULES for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


def panels():
    """All panels of the dashboard that show something."""
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def expressions():
    """{where: PromQL} of all rules, panels and variables of the dashboard."""
    found = {rule.get("alert") or rule["record"]: rule["expr"] for rule in rules()}
    found.update({f"{panel['title']} {target['refId']}": target["expr"] for panel in panels() for target in panel["targets"]})
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            found[f"variable {variable['name']}"] = re.fullmatch(r"label_values\((.*), \w+\)", variable["query"]["query"]).group(1)
    return found


def metrics(expression):
    """Names of the metrics of an expression: what is left without labels, groupings, ranges, functions, numbers and words."""
    bare = re.sub(r'"[^"]*"', "", expression)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", " ", bare)
    bare = re.sub(r"\b(by|on|without|ignoring|group_left|group_right)\s*\([^)]*\)", " ", bare)
    return {name for name in re.findall(r"(?<![\w.:])[a-zA-Z_:][\w:]*(?![\w:]*\s*\()", bare) if name not in _WORDS}
