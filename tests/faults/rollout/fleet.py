"""A fleet on this machine: hosts with directories and ports of their own, real model servers that are started again when they die, and clients that
ask each for its label `stable` without pause."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import yaml
from conformance.live_server import free_ports
from process_trees import kill_tree, wait_until_said

from tfleet.client.grpc_client import Client
from tfleet.errors import TfleetError

CHECKOUT = pathlib.Path(__file__).resolve().parents[3]
TFLEET = pathlib.Path(sys.executable).parent / "tfleet"
INPUT = np.array([1.0, 4.0, -2.5], np.float32)
START_SECONDS = 240

# As systemd does it: who dies is started again.
SUPERVISED = 'trap "kill \\$!; wait; exit" TERM; while true; do "$@" & wait $!; sleep 0.3; done'


class Host:
    """One host, which serves version 1 of `half`."""

    def __init__(self, name, root, models):
        self.name = name
        self.root = root / name
        self.base = self.root / "models" / "half"
        self.config = self.root / "serving" / "model.config"
        self.config.parent.mkdir(parents=True)
        self.grpc, self.rest = free_ports(2)
        self.client = None
        self._place(models)

    def _place(self, models):
        shutil.copytree(models / "1", self.base / "1")
        golden = self.base / ".golden" / "1"
        golden.mkdir(parents=True)
        shutil.copy(models / "1.npz", golden / "golden.npz")
        self.config.write_text('model_config_list { config { name: "half" base_path: "%s" model_platform: "tensorflow" model_version_policy { latest '
                               '{ num_versions: 2 } } version_labels { key: "canary" value: 1 } version_labels { key: "stable" value: 1 } } }\n' % self.base)
        (self.config.parent / "monitoring.pbtxt").write_text('prometheus_config { enable: true path: "/monitoring/prometheus/metrics" }\n')

    def variables(self):
        return {"tfleet_grpc_port": self.grpc, "tfleet_rest_port": self.rest, "tfleet_config_dir": str(self.config.parent),
                "tfleet_models_root": str(self.root / "models"), "ansible_connection": "local", "ansible_python_interpreter": sys.executable}

    def start(self):
        argv = [str(TFLEET), "serve", "--port=%d" % self.grpc, "--rest_api_port=%d" % self.rest, "--model_config_file=%s" % self.config,
                "--file_system_poll_wait_seconds=1", "--max_num_load_retries=0", "--allow_version_labels_for_unavailable_models=true",
                "--monitoring_config_file=%s" % (self.config.parent / "monitoring.pbtxt"), "--tfleet_failed_model_blocks_only_itself=true",
                "--tfleet_start_guard_file=%s" % (self.root / "start_guard.json"), "--tfleet_bind_address=127.0.0.1",
                "--tfleet_reload_polls_at_once=true", "--tfleet_retry_failed_version_on_change=true",
                "--tensorflow_intra_op_parallelism=1", "--tensorflow_inter_op_parallelism=1"]
        with open(self.config.parent / "server.log", "ab") as log:
            self._process = subprocess.Popen(["bash", "-c", SUPERVISED, "server", *argv], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                             start_new_session=True)

    def ready(self, version=1):
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                found = self.ask("stable")
            except TfleetError as error:
                found = error
            if found == version:
                return
            assert time.monotonic() < end, "%s: %s\n%s" % (self.name, found, (self.config.parent / "server.log").read_text()[-3000:])
            time.sleep(0.2)

    def end(self):
        os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)

    def kill_server(self):
        """kill -9 of the model server; its keeper starts it again."""
        for child in pathlib.Path("/proc/%d/task/%d/children" % (self._process.pid, self._process.pid)).read_text().split():
            os.kill(int(child), signal.SIGKILL)

    def ask(self, label):
        """The version that answers by a label, rightly."""
        with Client("127.0.0.1:%d" % self.grpc, 5.0) as client:
            answer = client.predict("half", {"x": INPUT}, label=label)
        assert right(answer), answer
        return int(answer.version)

    def versions(self):
        return sorted(int(path.name) for path in self.base.iterdir() if path.name.isdigit())

    def aside(self, version):
        """Why a version was moved aside."""
        return json.loads((self.base / ".aside" / ("%d.json" % version)).read_text())["reason"]

    def hold(self):
        path = self.base / ".rollout.json"
        return json.loads(path.read_text()) if path.exists() else None


def right(answer):
    """Version 1 adds one, every other one two."""
    return np.allclose(answer.outputs["y"], INPUT * 0.5 + (1 if int(answer.version) == 1 else 2), atol=1e-3)


class Asking(threading.Thread):
    """Asks a host for `stable` without pause until it is told to stop."""

    def __init__(self, host):
        super().__init__(daemon=True)
        self.host = host
        self.answers = self.failed = self.wrong = 0
        self.errors = []
        self._stopping = threading.Event()

    def run(self):
        while not self._stopping.is_set():
            try:
                with Client("127.0.0.1:%d" % self.host.grpc, 5.0) as client:
                    while not self._stopping.is_set():
                        answer = client.predict("half", {"x": INPUT}, label="stable")
                        self.answers += 1
                        self.wrong += not right(answer)
                        # Forty questions a second leave the machine to what is tested.
                        time.sleep(0.025)
            except TfleetError as error:
                self.failed += 1
                self.errors.append(str(error))
                time.sleep(0.025)

    def stop(self):
        self._stopping.set()
        self.join(20)


class Fleet:
    """Hosts, their inventory, and the playbooks run on it."""

    def __init__(self, root, models, count):
        self.root, self.models = root, models
        self.hosts = [Host("h%d" % number, root, models) for number in range(1, count + 1)]
        self.inventory = root / "hosts.yml"
        self.work = root / "work"
        self.temporary = root / "temporary"
        self.temporary.mkdir()
        self.own = {host.name: {} for host in self.hosts}

    def __getitem__(self, name):
        return next(host for host in self.hosts if host.name == name)

    def release(self, version, source, golden=2):
        """A release of the model as it is, one of rollout_models.py."""
        return {"version": version, "source": str(self.models / str(source)), "variant": "as-it-is", "golden": str(self.models / ("%d.npz" % golden))}

    def declare(self, *releases, **variables):
        """Write the inventory: these releases for every host that has none of its own."""
        hosts = {host.name: {**host.variables(), **self.own.get(host.name, {})} for host in self.hosts}
        shared = {"tfleet_source_root": str(CHECKOUT), "tfleet_work_dir": str(self.work), "model_server_backend": "embedded", "tfleet_runtime": str(TFLEET),
                  "tfleet_models": [{"name": "half", "keep": 5, "releases": list(releases)}], "rollout_soak_seconds": 1, "rollout_site_share": 100,
                  "rollout_latency_slack_ms": 150, "rollout_canaries": ["h1"], "rollout_waves": ["100%"], "rollout_rounds": 4, **variables}
        self.inventory.write_text(yaml.safe_dump({"all": {"vars": shared, "children": {"cpu_servers": {"hosts": hosts}, "gpu_servers": {}, "jetsons": {}}}}))

    def argv(self, *more, playbook="rollout"):
        return [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), "-i", str(self.inventory), "playbooks/%s.yml" % playbook, *more]

    def environment(self):
        # With skipped hosts shown, the name of a task is printed when it begins, and not when its first host is done.
        return {**os.environ, "NO_COLOR": "1", "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "true",
                # Nobody comes for what a gate has found whose controller was killed.
                "TMPDIR": str(self.temporary),
                "PATH": "%s:%s" % (pathlib.Path(sys.executable).parent, os.environ["PATH"])}

    def start(self, *more, playbook="rollout"):
        """Begin a playbook; in a session of its own, as a terminal would."""
        return subprocess.Popen(self.argv(*more, playbook=playbook), cwd=CHECKOUT, env=self.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, start_new_session=True)

    def rollout(self, *more, fails=False):
        """Run a rollout and return its output without the line breaks that Ansible puts into messages."""
        process = self.start(*more)
        output = process.communicate(timeout=900)[0]
        assert (process.returncode != 0) == fails, output[-6000:]
        return " ".join(output.split())

    def interrupt(self, process, words, number, after=0.0):
        """Send a signal to a run, and all it started, so many seconds after it said `words`."""
        wait_until_said(process, words)
        time.sleep(after)
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            kill_tree(process.pid, number)
        process.stdout.close()
        process.wait(60)

    def ledger(self, rollout):
        return [json.loads(line) for line in (self.work / "rollouts" / rollout / "ledger.jsonl").read_text().splitlines()]

    def last(self):
        """The name of the newest rollout."""
        return max((path.parent for path in (self.work / "rollouts").glob("*/ledger.jsonl")), key=lambda path: path.stat().st_ctime_ns).name
