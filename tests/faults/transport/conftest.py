"""Real hosts on links of their own, and releases large enough to be interrupted on the way."""

import importlib.util
import os
import pathlib
import random
import subprocess
import sys

import pytest

from tests.bench.transport import lab

CHECKOUT = pathlib.Path(__file__).parents[3]
HOSTS = 4
SIZE = 17000000
PREPARE = """
import sys
sys.path.insert(0, %r)
import conftest
from ansible_collections.tfleet.serving.plugins.modules import model_release
for version in (1, 2):
    model_release.ensure({"src": "%%s/tree/%%d" %% (sys.argv[1], version), "dest": "%%s/weights-%%d.tar" %% (sys.argv[1], version), "model": "weights",
        "version": version, "variant": "native", "source_version": None, "signing_keys": [], "origin": None, "provenance": {}}, False)
""" % str(CHECKOUT / "tests/unit/plugins")
PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Stage
      tfleet.serving.release_stage:
        model: weights
        version: "{{ version }}"
        base_path: /srv/models/weights
        release: "{{ folder }}/weights-{{ version }}.tar"
        transport: "{{ transport }}"
        timeout: 20
      register: stage
    - name: Place
      tfleet.serving.model_version:
        base_path: /srv/models/weights
        model: weights
        version: "{{ version }}"
        src: "{{ stage.staged }}"
    - name: Say it
      ansible.builtin.copy:
        content: "{{ stage | to_json }}"
        dest: "{{ folder }}/result-{{ inventory_hostname }}.json"
        mode: "0644"
      delegate_to: localhost
      become: false
      vars:
        ansible_python_interpreter: "{{ ansible_playbook_python }}"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two releases, of which the second differs in two blocks, and the playbook."""
    path = tmp_path_factory.mktemp("transport")
    data = bytearray(random.Random(1).randbytes(SIZE))
    for version in (1, 2):
        tree = path / "tree" / str(version)
        tree.mkdir(parents=True)
        (tree / "saved_model.pb").write_bytes(b"graph")
        (tree / "weights").write_bytes(data)
        data[5000000:5100000] = random.Random(2).randbytes(100000)
    subprocess.run([sys.executable, "-c", PREPARE, str(path)], check=True)
    (path / "play.yml").write_text(PLAY)
    return path


@pytest.fixture(scope="module")
def hosts(folder):
    """Four hosts with links of 20 Mbit/s, and a user that becomes root by sudo."""
    if os.geteuid() != 0 or importlib.util.find_spec("libtorrent") is None:
        pytest.fail("These tests shape the links of containers and run a swarm: they need root, Docker, and libtorrent beside Ansible (make setup-test).")
    lab.tools()
    with lab.Lab(folder / "lab", HOSTS, "20mbit", "tfleet-fault", folder) as running:
        running.each("useradd -m deploy; echo 'deploy ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/deploy; "
                     "mkdir /home/deploy/.ssh; cp /root/.ssh/authorized_keys /home/deploy/.ssh/; chown -R deploy /home/deploy/.ssh")
        yield running


@pytest.fixture(autouse=True)
def clean(hosts):
    """Every test begins with hosts that have nothing."""
    # What a killed controller began, or a test that failed, may be at work still.
    hosts.each("pkill -9 -f '[A]nsiballZ|[t]fleet-peer'; rm -rf /srv/models")


@pytest.fixture
def start(hosts, folder):
    """Begin to stage and place a version on hosts; returns the process."""
    processes = []

    def run(version, transport, *more, limit="all"):
        for path in folder.glob("result-*.json"):
            path.unlink()
        command = [str(pathlib.Path(sys.executable).with_name("ansible-playbook")), "-i", str(hosts.folder / "hosts.yml"), "--limit", limit,
                   str(folder / "play.yml"), "-e", "version=%d" % version, "-e", "transport=" + transport, "-e", "folder=%s" % folder, *more]
        env = dict(os.environ, ANSIBLE_CONFIG=str(CHECKOUT / "ansible.cfg"), ANSIBLE_HOME=str(CHECKOUT / ".ansible"), NO_COLOR="1")
        processes.append(subprocess.Popen(command, cwd=CHECKOUT, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                          stderr=subprocess.STDOUT, text=True))
        return processes[-1]
    yield run
    for process in processes:
        if process.poll() is None:
            process.terminate()
            process.wait()
        process.stdout.close()


@pytest.fixture
def play(start):
    """The same to its end, which must be a good one unless ``fails``; returns what it printed."""
    def run(*arguments, fails=False, **more):
        process = start(*arguments, **more)
        out = process.communicate(timeout=240)[0]
        assert (process.returncode != 0) == fails, out[-4000:]
        return out
    return run
