"""What docs/gateway.md says to type does what it says."""

import json
import pathlib
import re
import shlex
import subprocess

import pytest

from tfleet.gateway import settings

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
GUIDE = (CHECKOUT / "docs/gateway.md").read_text()
PROVEN = re.findall(r"<!-- proven by tests/browser/test_gateway_guide\.py -->\n```sh\n(.*?)```", GUIDE, re.DOTALL)
LINES = [line for block in PROVEN for line in block.splitlines()]
SETTINGS = next(block for block in re.findall(r"```json\n(.*?)```", GUIDE, re.DOTALL) if '"listen"' in block)


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("curl ")])
def test_a_request_is_answered(gateway, line):
    argv = [word.replace("http://127.0.0.1:8502/", gateway.url) for word in shlex.split(line)]
    done = subprocess.run([argv[0], "--noproxy", "*", *argv[1:]], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    assert "models" in answer or answer.get("detections") or len(answer["top"]) == 3


def test_the_settings_of_the_guide_are_accepted(tmp_path):
    (tmp_path / "models").symlink_to(CHECKOUT / "models")
    (tmp_path / "gateway.json").write_text(SETTINGS)
    (check,) = [line for line in LINES if line.startswith("tfleet gateway --config ") and line.endswith(" --check")]
    done = subprocess.run(check.split(), cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "gateway.json: digits_detector at 127.0.0.1:8502\n"


def test_every_setting_stands_in_the_guide_with_its_default():
    table = dict(re.findall(r"^\| (`[^|]+) \| ([^|]*) \|", GUIDE, re.MULTILINE))
    shown = {}
    for names, values in table.items():
        shown.update(zip(re.findall(r"`(\w+)`", names), (float(value) for value in re.findall(r"[\d.]+", values))))
    defaults = {name: value for name, value in settings._DEFAULTS.items() if isinstance(value, (int, float))}
    assert shown == defaults
    assert {name for name in settings._CHECKS if f"`{name}`" not in GUIDE and f'"{name}"' not in GUIDE} == set()
