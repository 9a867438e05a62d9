"""Real hosts on links of their own, and releases large enough to be interrupted on the way."""

import importlib.util
import json
import os
import pathlib
import random
import subprocess
import sys

import pytest

from tests.bench.transport import lab
from tests.faults.transport.roads import SIZE, SMALL_SIZE

CHECKOUT = pathlib.Path(__file__).parents[3]
HOSTS = 4
PREPARE = """
import json, sys
sys.path.insert(0, %r)
import conftest
from ansible_collections.tfleet.serving.plugins.modules import model_release
for wanted in json.load(sys.stdin):
    model_release.ensure(dict({"variant": "native", "source_version": None, "signing_keys": [], "origin": None, "provenance": {}}, **wanted), False)
""" % str(CHECKOUT / "tests/unit/plugins")
PLAY = """
- hosts: all
  gather_facts: false
  vars:
    base: /srv/models/{{ model }}
  tasks:
    - name: Bring it
      block:
        - name: Stage
          tfleet.serving.release_stage:
            model: "{{ model }}"
            version: "{{ version }}"
            base_path: "{{ base }}"
            release: "{{ release | default(folder ~ '/' ~ model ~ '-' ~ version ~ '.tar') }}"
            transport: "{{ transport }}"
            urls: "{{ urls | default([]) }}"
            timeout: "{{ patience | default(20) }}"
          timeout: "{{ limit | default(0) | int }}"
          register: stage
          when: stages | default(true) | bool
        - name: Place
          tfleet.serving.model_version:
            base_path: "{{ base }}"
            model: "{{ model }}"
            version: "{{ version }}"
            src: "{{ stage.staged | default(base ~ '/.staging/' ~ version) }}"
            trusted_keys: "{{ trusted | default([]) }}"
          when: places | default(true) | bool
      rescue:
        - name: Keep what went wrong
          ansible.builtin.set_fact:
            wrong: "{{ ansible_failed_result }}"
    - name: Say it
      ansible.builtin.copy:
        content: "{{ (wrong | default(stage)) | to_json }}"
        dest: "{{ folder }}/result-{{ inventory_hostname }}.json"
        mode: "0644"
      delegate_to: localhost
      become: false
      vars:
        ansible_python_interpreter: "{{ ansible_playbook_python }}"
    - name: Fail
      ansible.builtin.fail:
        msg: "{{ wrong.msg }}"
      when: wrong is defined
"""


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Two large releases, of which the second differs in two blocks, and small ones, signed by two keys; and the playbook."""
    path = tmp_path_factory.mktemp("transport")
    for name in ("key", "stranger"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(path / name)], check=True)
    data = bytearray(random.Random(1).randbytes(SIZE))
    wanted = []
    for version in (1, 2):
        _write(path / "tree" / str(version), weights=data)
        wanted.append({"src": "tree/%d" % version, "dest": "weights-%d.tar" % version, "model": "weights", "version": version})
        data[5000000:5100000] = random.Random(2).randbytes(100000)
    for number, (where, version, keys) in enumerate((
            (".", 1, ["key"]), (".", 2, ["key"]), ("strange", 2, ["stranger"]), ("unsigned", 2, []), ("older", 2, ["key"]))):
        # The older one is another release of the same number.
        seed = number if where in (".", "older") else 1
        tree = "tree/small-%d" % seed
        _write(path / tree, weights=random.Random(10 + seed).randbytes(SMALL_SIZE), more=random.Random(20 + seed).randbytes(SMALL_SIZE))
        (path / where).mkdir(exist_ok=True)
        wanted.append({"src": tree, "dest": "%s/small-%d.tar" % (where, version), "model": "small", "version": version,
                       "signing_keys": [str(path / name) for name in keys]})
    subprocess.run([sys.executable, "-c", PREPARE], input=json.dumps(wanted).encode(), cwd=str(path), check=True)
    (path / "play.yml").write_text(PLAY)
    return path


def _write(tree, **files):
    tree.mkdir(parents=True, exist_ok=True)
    (tree / "saved_model.pb").write_bytes(b"graph")
    for name, content in files.items():
        (tree / name).write_bytes(content)


@pytest.fixture(scope="session")
def hosts(folder):
    """Four hosts with links of 30 Mbit/s, and a user that becomes root by sudo."""
    if os.geteuid() != 0 or importlib.util.find_spec("libtorrent") is None:
        pytest.fail("These tests shape the links of containers and run a swarm: they need root, Docker, and libtorrent beside Ansible (make setup-test).")
    lab.tools()
    with lab.Lab(folder / "lab", HOSTS, "30mbit", "tfleet-fault", folder) as running:
        running.each("useradd -m deploy; echo 'deploy ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/deploy; "
                     "mkdir /home/deploy/.ssh; cp /root/.ssh/authorized_keys /home/deploy/.ssh/; chown -R deploy /home/deploy/.ssh")
        yield running


@pytest.fixture(autouse=True)
def clean(hosts):
    """Every test begins with hosts that have nothing."""
    # What a killed controller began, or a test that failed, may be at work still.
    hosts.each("pkill -9 -f '[A]nsiballZ|[t]fleet-peer'; rm -rf /srv/models/*")


@pytest.fixture
def start(hosts, folder):
    """Begin to stage and place a version on hosts; returns the process. ``before`` comes before the command, all other words are variables."""
    processes = []

    def run(version, transport, limit_to="all", model="weights", before=(), **variables):
        for path in folder.glob("result-*.json"):
            path.unlink()
        variables.update(version=version, transport=transport, model=model, folder=str(folder))
        command = [*before, str(pathlib.Path(sys.executable).with_name("ansible-playbook")), "-i", str(hosts.folder / "hosts.yml"), "--limit", limit_to,
                   str(folder / "play.yml"), "-e", json.dumps(variables)]
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
