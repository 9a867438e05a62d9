"""The playbook preflight.yml on devices of tests/fixtures/devices, as somebody would run it on a fleet of them."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from ...fixtures.devices import build as trees

CHECKOUT = pathlib.Path(__file__).parents[3]


@pytest.fixture
def preflight(tmp_path):
    """``preflight({host: row}, **variables)`` returns exit status, output and the JSON document (None if there is none)."""

    def run(hosts, *options, **variables):
        inventory = {"all": {
            "vars": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "ansible_become": False, "model_server_backend": "container",
                     "tfleet_work_dir": str(tmp_path / "work"), **variables},
            "children": {"jetsons": {"hosts": {}}, "gpu_servers": {"hosts": {}}, "cpu_servers": {"hosts": {}}},
        }}  # fmt: skip
        for name, row in hosts.items():
            own = dict(row) if isinstance(row, dict) else {"device": row}
            place = trees.build(trees.TABLE["devices"][own.pop("device")], tmp_path / "trees" / name)
            own.update({f"jetson_facts_{root}_root": str(place / root) for root in ("proc", "sys", "etc", "var")})
            own.update(jetson_facts_command_path=[str(place / "bin")], jetson_facts_command_timeout=2)
            inventory["all"]["children"]["gpu_servers" if "server" in name else "jetsons"]["hosts"][name] = own
        (tmp_path / "hosts.json").write_text(json.dumps(inventory))
        done = subprocess.run(
            ["ansible-playbook", "-i", str(tmp_path / "hosts.json"), str(CHECKOUT / "playbooks/preflight.yml"), *options],
            env={**os.environ, "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"), "ANSIBLE_HOME": str(CHECKOUT / ".ansible"), "ANSIBLE_NOCOLOR": "1"},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, cwd=CHECKOUT,
        )  # fmt: skip
        report = tmp_path / "work/reports/preflight.json"
        return done.returncode, " ".join((done.stdout + done.stderr).split()), json.loads(report.read_text()) if report.exists() else None

    return run


@pytest.mark.parametrize("options", [(), ("--check", "--diff")])
def test_a_fleet_with_nothing_in_the_way(preflight, options):
    status, output, report = preflight({"orin": "agx-orin-64gb-6.2.1", "server": "server-with-gpu"}, *options)
    assert status == 0, output
    assert "changed=0" in output
    assert "changed=1" not in output
    assert output.count("TensorFlow runs in TF-TRT precisions") == 1
    assert [(entry["host"], entry["device"]["kind"], entry["problems"]) for entry in report] == [("orin", "jetson", []), ("server", "gpu_server", [])]
    assert report[0]["decision"]["image"] == "nvcr.io/nvidia/tensorflow:24.11-tf2-py3-igpu"


def test_one_host_with_a_problem_stops_all_after_the_table(preflight):
    hosts = {
        "orin": {"device": "unknown-release"},
        "like-it": {"device": "unknown-release", "preflight_l4t_override": "36.4.7"},
        "thor": {"device": "thor-7.0", "preflight_image": "registry.local/own:1", "preflight_tftrt_precisions": ["FP16"]},
        "nano": {"device": "nano-b01-4.6.1", "preflight_tftrt_precisions": ["INT8"], "jetson_power_mode": "15W"},
        "server": "server-with-gpu",
    }
    status, output, report = preflight(hosts)
    assert status == 2
    problems = {entry["host"]: entry["problems"] for entry in report}
    assert len(problems["orin"]) == 1
    assert "data/l4t.yml has no such release" in problems["orin"][0]
    assert problems["like-it"] == problems["server"] == []
    assert "TF-TRT with FP16 is wanted, but is not possible here" in problems["thor"][0]
    assert [problem.split()[0] for problem in problems["nano"]] == ["INT8", "/usr/bin/python3", "The"]
    assert "The board has no power mode 15W (jetson_power_mode). It has MAXN, 5W." in output
    assert output.index("TensorFlow runs in TF-TRT precisions") < output.index("Nothing was changed.")
    # The models are looked at last, and nobody got so far.
    assert "Check the models" not in output


def test_variables_are_refused_before_any_host_is_asked(preflight):
    status, output, report = preflight(
        {"orin": {"device": "agx-orin-64gb-6.2.1", "model_server_grpc_prot": 9500}, "server": {"device": "server-with-gpu", "tfleet_grpc_port": "fast"}},
        model_server_models=[],
    )
    assert status == 2
    assert "orin: model_server_grpc_prot is unknown to tfleet. Did you mean model_server_grpc_port?" in output
    assert "server: tfleet_grpc_port: " in output
    assert "orin, server: model_server_models is no longer a variable" in output or "server, orin: model_server_models is no longer a variable" in output
    assert "Ask the host" not in output
    assert report is None


def test_a_python_that_this_core_cannot_use_is_named_with_the_remedy(preflight, tmp_path):
    old = tmp_path / "python3"
    # It fails as an old Python does: at the first line that it does not know. Its version it tells.
    old.write_text('#!/bin/sh\n[ "$1" = -c ] && { echo 3.6.9; exit; }\necho "SyntaxError: future feature annotations is not defined" >&2\nexit 1\n')
    old.chmod(0o755)
    status, output, report = preflight({"nano": {"device": "nano-b01-4.6.1", "ansible_python_interpreter": str(old)}, "server": "server-with-gpu"})
    assert status == 2
    assert "python3 is Python 3.6.9, which ansible-core 2.19" in output
    assert "pip install 'ansible==9.*'" in output.replace("''", "'")
    assert [entry["host"] for entry in report if entry["problems"]] == ["nano"]


def test_a_host_whose_python_is_missing_says_so(preflight):
    status, output, _report = preflight({"orin": {"device": "agx-orin-64gb-6.2.1", "ansible_python_interpreter": "/nonexistent/python3"}})
    assert status == 2
    assert "orin does not answer" in output
    assert "Try `/nonexistent/python3 --version` there" in output


def test_a_host_that_is_not_reached_is_told_and_holds_up_nobody(preflight):
    away = {"device": "tx2-4.6.1", "ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    status, output, report = preflight({"away": away, "orin": "agx-orin-64gb-6.2.1"})
    assert status == 4
    assert "away not reached" in output
    assert "Check the models" in output
    assert [(entry["host"], entry["reached"], entry["problems"]) for entry in report] == [("away", False, []), ("orin", True, [])]
