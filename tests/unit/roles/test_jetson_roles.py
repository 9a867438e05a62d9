"""The roles that change a Jetson itself, run by Ansible on this machine: they look before they change, and leave alone what nobody declared."""

import json
import os
import pathlib
import subprocess
import sys

CHECKOUT = pathlib.Path(__file__).parents[3]


def run(role, tmp_path, **variables):
    """Exit status and output of one role with some variables."""
    playbook = [{"hosts": "localhost", "connection": "local", "gather_facts": False, "roles": [{"role": f"tfleet.serving.{role}"}]}]
    (tmp_path / "play.yml").write_text(json.dumps(playbook))
    done = subprocess.run(
        [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), "-i", "localhost,", str(tmp_path / "play.yml"), "-e",
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
