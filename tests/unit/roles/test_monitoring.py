"""What the role monitoring does with the token of the gateways, run by Ansible itself."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
import yaml

CHECKOUT = pathlib.Path(__file__).parents[3]
ROLE = CHECKOUT / "roles/monitoring"


@pytest.fixture
def keep(tmp_path):
    """keep(token, …): plays the role's tasks that have to do with the token, once for each."""

    def play(*tokens):
        tasks = [task for task in yaml.safe_load((ROLE / "tasks/configure.yml").read_text()) if "gateway_token" in json.dumps(task)]
        plays = [{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks, "vars": {"monitoring_gateway_token": token},
                  "vars_files": [str(ROLE / "vars/main.yml")]} for token in tokens]  # fmt: skip
        (tmp_path / "play.yml").write_text(yaml.safe_dump(plays))
        extra = {"ansible_python_interpreter": sys.executable, "__monitoring_config": str(tmp_path), "__monitoring_group": os.getegid()}
        done = subprocess.run(
            [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), "-i", "localhost,", "-e", json.dumps(extra), str(tmp_path / "play.yml")],
            env={**os.environ, "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"), "ANSIBLE_HOME": str(CHECKOUT / ".ansible")}, cwd=CHECKOUT,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return tmp_path / "gateway_token"

    return play


def test_of_two_tokens_of_a_gateway_the_first_is_sent(keep):
    assert keep("\nthe-new-token-of-it \nthe-old-token-of-it\n").read_text() == "the-new-token-of-it"


def test_a_token_that_was_taken_away_is_not_kept(keep):
    assert not keep("the-token-that-was-there", "").exists()
