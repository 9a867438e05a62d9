"""The roles that change a Jetson itself, run by Ansible on this machine: they look before they change, and leave alone what nobody declared."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

CHECKOUT = pathlib.Path(__file__).parents[3]


def run(role, tmp_path, **variables):
    """Exit status and output of one role with some variables, in check mode: this machine stays as it is even where a role is wrong."""
    playbook = [{"hosts": "localhost", "connection": "local", "gather_facts": False, "roles": [{"role": f"tfleet.serving.{role}"}]}]
    (tmp_path / "play.yml").write_text(json.dumps(playbook))
    done = subprocess.run(
        [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), "-i", "localhost,", "--check", str(tmp_path / "play.yml"), "-e",
         json.dumps({"ansible_python_interpreter": sys.executable, **variables})],
        env={**os.environ, "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"), "ANSIBLE_HOME": str(CHECKOUT / ".ansible"), "ANSIBLE_NOCOLOR": "1"},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, cwd=CHECKOUT,
    )  # fmt: skip
    return done.returncode, " ".join((done.stdout + done.stderr).split())


# ---- the desktop ----
def test_a_desktop_that_nobody_spoke_of_stays(tmp_path):
    # Not even looked at: the machine of this test has no systemd, which the role would ask.
    status, output = run("jetson_headless", tmp_path)
    assert status == 0, output
    assert "changed=0" in output and "Read the default target" not in output


# ---- the memory ----
@pytest.mark.parametrize(
    "refused, says",
    [
        ({"jetson_memory_swap_size": "64M", "jetson_memory_swap_path": "/nonexistent/swapfile"}, "There is no directory /nonexistent for the swap file"),
        ({"jetson_memory_swap_size": "much"}, "much"),
        ({"jetson_memory_swappiness": "200"}, "from 0 to 100"),
    ],
    ids=["path", "size", "swappiness"],
)
def test_what_is_refused_is_refused_before_zram_is_looked_at(tmp_path, refused, says):
    status, output = run("jetson_memory", tmp_path, jetson_memory_zram_size="64M", jetson_memory_zram_package="zram-tools", **refused)
    assert status == 2 and says in output
    assert "changed=0" in output and "See who manages zram" not in output


def test_the_playbook_of_the_exchange_in_the_documentation_is_one(tmp_path):
    snippets = re.findall(r"^```yaml\n(.*?)^```", (CHECKOUT / "docs/jetson.md").read_text(), re.DOTALL | re.MULTILINE)
    (snippet,) = [text for text in snippets if "import_playbook" in text]
    entries = re.findall(r"tasks_from: (\w+)", snippet)
    assert entries == ["exchange_begin", "exchange_end"]
    assert all((CHECKOUT / f"roles/jetson_memory/tasks/{entry}.yml").exists() for entry in entries)
    path = tmp_path / "play.yml"
    path.write_text(snippet.replace("import_playbook: ", f"import_playbook: {CHECKOUT}/playbooks/"))
    done = subprocess.run(
        [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), "-i", str(CHECKOUT / "inventories/example"), "--syntax-check", str(path)],
        env={**os.environ, "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"), "ANSIBLE_HOME": str(CHECKOUT / ".ansible"), "ANSIBLE_NOCOLOR": "1"},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, cwd=CHECKOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
