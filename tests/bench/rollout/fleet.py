"""Hosts with a model server each, and what a run of ansible-playbook over them costs the controller.

The hosts are containers with sshd that have this checkout and its Python in the same places, read only, so that their client is the real one. Every
server is real too (servers.py). Its own CPU, like that of the modules on the hosts, is not the controller's: a control group counts what
ansible-playbook, its workers and its ssh clients use, those included that outlive it.
"""
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import yaml

from tests.bench import harness
from tests.bench.transport import lab

TFLEET = str(pathlib.Path(sys.executable).parent / "tfleet")
START_SECONDS = 120
MODEL = "half"
# As the role model_server writes it.
CONFIG = """#
# Ansible managed
#
model_config_list {
  config {
    name: "half"
    base_path: "/var/lib/tfleet/models/half"
    model_platform: "tensorflow"
    model_version_policy {
      latest { num_versions: 2 }
    }
    version_labels { key: "canary" value: 1 }
    version_labels { key: "stable" value: 1 }
  }
}
"""
FLAGS = ["--port=8500", "--rest_api_port=8501", "--model_config_file=/etc/tfleet/model.config", "--file_system_poll_wait_seconds=1",
         "--max_num_load_retries=0", "--allow_version_labels_for_unavailable_models=true", "--monitoring_config_file=/etc/tfleet/monitoring.pbtxt",
         "--tfleet_failed_model_blocks_only_itself=true", "--tfleet_bind_address=127.0.0.1", "--tfleet_reload_polls_at_once=true",
         "--tfleet_retry_failed_version_on_change=true", "--tensorflow_intra_op_parallelism=1", "--tensorflow_inter_op_parallelism=1"]
PLACE = """mkdir -p /etc/tfleet /var/lib/tfleet/models/half/.golden/1
cp -r /models/1 /var/lib/tfleet/models/half/1
cp /models/1.npz /var/lib/tfleet/models/half/.golden/1/golden.npz
printf 'prometheus_config { enable: true path: "/monitoring/prometheus/metrics" }' > /etc/tfleet/monitoring.pbtxt
cp /models/model.config /etc/tfleet/model.config
"""


class ControlGroup:
    """Counts the CPU seconds of the processes that are started in it."""

    def __init__(self, name="tfleet-bench"):
        # Of version 1 where that counts CPU, else the one of version 2.
        base = pathlib.Path("/sys/fs/cgroup/cpuacct")
        self.path = (base if (base / "cpuacct.usage").exists() else pathlib.Path("/sys/fs/cgroup")) / ("%s-%d" % (name, os.getpid()))
        self.path.mkdir()

    def enter(self):
        """To be called in a child before it becomes another program."""
        (self.path / "cgroup.procs").write_text("0")

    def seconds(self):
        usage = self.path / "cpuacct.usage"
        if usage.exists():
            return int(usage.read_text()) / 1e9
        return int((self.path / "cpu.stat").read_text().split()[1]) / 1e6

    def end(self):
        """End what is left, which is ssh's connections that wait for another task."""
        while True:
            left = (self.path / "cgroup.procs").read_text().split()
            if not left:
                return
            for pid in left:
                try:
                    os.kill(int(pid), signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.05)

    def remove(self):
        self.end()
        self.path.rmdir()


class Fleet:
    """``count`` hosts that serve version 1 of the model `half`; a context manager.

    :param models: a directory that tests/faults/rollout/rollout_models.py has written.
    """

    def __init__(self, folder, models, count):
        self.folder, self.models, self.count = folder, models, count
        self.version = 1
        (models / "model.config").write_text(CONFIG)
        # A Python of the system is in the hosts' image itself.
        python = [] if sys.base_prefix == "/usr" else ["-v", "%s:%s:ro" % (sys.base_prefix, sys.base_prefix)]
        self.lab = lab.Lab(folder / "lab", count, None, "tfleet-rollout", more=["-v", "%s:%s:ro" % (harness.ROOT, harness.ROOT), *python, "-v",
                                                                              "%s:/models:ro" % models])
        self.group = self.servers = None

    def __enter__(self):
        self.lab.__enter__()
        try:
            self.group = ControlGroup()
            self.lab.each(PLACE)
            self._serve()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error):
        if self.servers:
            self.servers.stdin.close()
            self.servers.wait()
        if self.group:
            self.group.remove()
        self.lab.__exit__()

    def _serve(self):
        env = dict(os.environ, TF_CPP_MIN_LOG_LEVEL="2", OPENBLAS_NUM_THREADS="1")
        self.servers = subprocess.Popen([sys.executable, "-m", "tests.bench.rollout.servers"], cwd=harness.ROOT, env=env, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.pids = []
        for name in self.lab.hosts:
            log = str(self.folder / (name + ".log"))
            self.servers.stdin.write(json.dumps({"pid": self.lab.process(name), "argv": FLAGS, "log": log}) + "\n")
            self.servers.stdin.flush()
            self.pids.append(int(self.servers.stdout.readline()))
        for name in self.lab.hosts:
            end = time.monotonic() + START_SECONDS
            while "Running gRPC" not in (self.folder / (name + ".log")).read_text():
                if time.monotonic() > end:
                    raise RuntimeError("The server of %s does not start: %s" % (name, (self.folder / (name + ".log")).read_text()[-2000:]))
                time.sleep(0.2)

    def memory(self):
        """Megabytes of all servers, pages that they share counted once."""
        total = 0
        for pid in self.pids:
            server = int(pathlib.Path("/proc/%d/task/%d/children" % (pid, pid)).read_text())
            lines = pathlib.Path("/proc/%d/smaps_rollup" % server).read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        return total / 1024

    def declare(self):
        """The next version as an inventory declares it; the release is tiny, so that nothing but the rollout is measured."""
        self.version += 1
        shared = {
            "tfleet_source_root": harness.ROOT, "tfleet_work_dir": str(self.folder / "work"), "model_server_backend": "systemd", "tfleet_runtime": TFLEET,
            "rollout_soak_seconds": 0,
            # All hosts are on two cores: what they measure of latencies is the load of the others. One round of questions, for the same reason.
            "rollout_latency_slack_ms": 60000, "rollout_rounds": 1,
            "tfleet_models": [{"name": MODEL, "keep": 2, "releases": [
                {"version": self.version, "source": str(self.models / "2"), "variant": "as-it-is", "golden": str(self.models / "2.npz")}]}],
        }
        more = self.folder / "lab" / "group_vars"
        more.mkdir(exist_ok=True)
        (more / "all.yml").write_text(yaml.safe_dump(shared))

    def rollout(self):
        """Roll the declared version out, whether it is there or not; returns (wall seconds, the controller's CPU seconds)."""
        return self._play(os.path.join(harness.ROOT, "playbooks", "rollout.yml"), "-e", "rollout_model=" + MODEL)

    def peer(self):
        """The same checks by the peer's playbook; returns as rollout() does."""
        return self._play(os.path.join(os.path.dirname(__file__), "peer.yml"), "-e", "version=%d" % self.version, "-e", "source=%s" % (self.models / "2"))

    def _play(self, playbook, *more):
        command = [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), "-i", str(self.folder / "lab" / "hosts.yml"), "-f", "32", playbook, *more]
        env = dict(os.environ, ANSIBLE_CONFIG=os.path.join(harness.ROOT, "ansible.cfg"), ANSIBLE_HOME=os.path.join(harness.ROOT, ".ansible"))
        used, begin = self.group.seconds(), time.perf_counter()
        done = subprocess.run(command, env=env, cwd=harness.ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              preexec_fn=self.group.enter, check=False)
        seconds = time.perf_counter() - begin
        self.group.end()
        if done.returncode:
            raise RuntimeError("%s ended with %d: %s" % (" ".join(command), done.returncode, done.stdout[-4000:]))
        if done.stdout.count("changed=0 ") != self.count and playbook.endswith("peer.yml"):
            raise RuntimeError("The peer found something to do: %s" % done.stdout[-4000:])
        return seconds, self.group.seconds() - used
