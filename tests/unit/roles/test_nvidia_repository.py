"""Files of the role nvidia_container_toolkit that somebody else may have made before: they come back, and what it did not write stays."""

import os
import pathlib
import subprocess
import sys

import pytest
import yaml

ROLE = pathlib.Path(__file__).parents[3] / "roles/nvidia_container_toolkit"


@pytest.fixture
def play(tmp_path):
    """``play(tasks, *options)`` runs tasks of the role on this host, with its files in tmp_path; returns what changed."""

    def run(tasks, *options):
        variables = {
            "ansible_connection": "local", "ansible_python_interpreter": sys.executable, "__nvidia_container_toolkit_records": str(tmp_path / "originals"),
            "__nvidia_container_toolkit_written": [str(tmp_path / "list"), str(tmp_path / "keyring")],
            "__nvidia_container_toolkit_data": {"cdi": {"file": str(tmp_path / "nvidia.yaml")}},
            "__nvidia_container_toolkit_server": {"source_file": str(tmp_path / "list"), "keyring": str(tmp_path / "keyring")},
        }  # fmt: skip
        # The test need not be root.
        tasks = yaml.safe_load(yaml.safe_dump(tasks).replace("owner: root", f"owner: '{os.getuid()}'").replace("group: root", f"group: '{os.getgid()}'"))
        (tmp_path / "play.yml").write_text(yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "vars": variables, "tasks": tasks}]))
        done = subprocess.run(["ansible-playbook", "-i", "localhost,", str(tmp_path / "play.yml"), *options], env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        return "changed=0" not in done.stdout

    return run


def tasks_of(file, *names):
    return [task for task in yaml.safe_load((ROLE / "tasks" / file).read_text()) if not names or task["name"] in names]


def test_somebodys_files_come_back_and_those_of_others_stay(play, tmp_path):
    (tmp_path / "list").write_text("somebody's\n")
    (tmp_path / "list").chmod(0o640)
    (tmp_path / "nvidia.yaml").write_text("somebody's, and never written here\n")
    keep = tasks_of("keep.yml")
    back = tasks_of("remove.yml", "Have the description of the GPUs and the repository as they were")
    assert not play(back)
    assert play(keep, "--check")
    assert not (tmp_path / "originals").exists()
    assert play(keep)
    (tmp_path / "list").write_text("ours\n")
    (tmp_path / "keyring").write_text("ours\n")
    assert not play(keep), "what a second run finds is ours"
    assert play(back)
    assert (tmp_path / "list").read_text() == "somebody's\n"
    assert (tmp_path / "list").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "nvidia.yaml").exists()
    assert not (tmp_path / "keyring").exists()
    assert list((tmp_path / "originals").iterdir()) == []
    assert not play(back)
