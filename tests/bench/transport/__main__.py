"""Releases to hosts over links of 100 Mbit/s: `make bench SUITE=transport`, as root with Docker.

Or `python -m tests.bench.transport [--size 200] [--hosts 4 16] [--peer-hosts 4] [--rounds 2] [--more]`. About a quarter of an hour: the peers alone
need a minute and more for each run. With --more the runs are added to those that are there, so that it can be done in pieces. Methods are run in
turn, and every run begins with hosts that have nothing, or the first version in place. Writes build/bench/transport.json,
transport-runs.json and transport.png; exits with 1 if a target is missed.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from tests.bench import harness
from tests.bench.transport import lab

HERE = pathlib.Path(__file__).parent
PEERS = ("copy", "synchronize", "get_url", "unarchive")
RATE = "100mbit"
PORT = 18080
KINDS = {1: "first version", 2: "5 % update", 3: "retrained"}
PREPARE = """
import json, sys
sys.path.insert(0, %r)
import conftest
from ansible_collections.tfleet.serving.plugins.modules import model_release
for version in (1, 2, 3):
    print(model_release.ensure({"src": "%%s/tree/%%d" %% (sys.argv[1], version), "dest": "%%s/weights-%%d.tar" %% (sys.argv[1], version), "model": "weights",
        "version": version, "variant": "native", "source_version": None, "signing_keys": [], "origin": None, "provenance": {}}, False)["bytes"])
""" % str(pathlib.Path(harness.ROOT, "tests", "unit", "plugins"))


def make_releases(folder, size):
    """A version of random bytes, one that differs in 5 % in eight runs, and one that has nothing in common with them; returns the bytes of each."""
    generator = random.Random(1)
    data = bytearray(generator.randbytes(size))
    _write(folder, 1, data)
    length = size * 5 // 100 // 8
    for number in range(8):
        begin = number * (size // 8) + generator.randrange(size // 8 - length)
        data[begin:begin + length] = generator.randbytes(length)
    _write(folder, 2, data)
    _write(folder, 3, generator.randbytes(size))
    sizes = lab.run(sys.executable, "-c", PREPARE, str(folder)).split()
    for version in (1, 2, 3):
        lab.run("zstd", "-q", "-f", "-1", str(folder / ("weights-%d.tar" % version)), "-o", str(folder / ("weights-%d.tar.zst" % version)))
    return int(sizes[0])


def _write(folder, version, data):
    path = folder / "tree" / str(version)
    (path / "variables").mkdir(parents=True)
    (path / "saved_model.pb").write_bytes(b"graph" * 20000)
    (path / "variables" / "variables.index").write_bytes(b"index" * 1000)
    (path / "variables" / "variables.data-00000-of-00001").write_bytes(data)


class Bench:
    """One set of hosts, and what is run on it."""

    def __init__(self, hosts, folder, server):
        self.hosts, self.folder, self.server = hosts, folder, server

    def begin(self, version, archive):
        """Bring the hosts to where the run starts: with nothing, or with the first version in place."""
        self.hosts.each("rm -rf /srv/models /srv/arrived.tar /srv/variables /srv/saved_model.pb; mkdir -p /srv/models/weights")
        if version == 1:
            return
        self.hosts.each("cp /releases/weights-1.tar /srv/arrived.tar" if archive else "cp -r /releases/in-place /srv/models/weights/1")

    def play(self, playbook, version, **variables):
        """Run a playbook for a version; returns (seconds, bytes from the controller, the controller's CPU seconds, a host's CPU seconds)."""
        release = self.folder / ("weights-%d.tar" % version)
        given = dict(variables, version=version, release=release, release_zst="%s.zst" % release, release_url="%s/%s" % (self.server, release.name))
        command = ["ansible-playbook", "-i", str(self.hosts.folder / "hosts.yml"), "-f", "32", str(playbook)]
        for name, value in given.items():
            command += ["-e", "%s=%s" % (name, value)]
        env = dict(os.environ, ANSIBLE_CONFIG=os.path.join(harness.ROOT, "ansible.cfg"), ANSIBLE_HOME=os.path.join(harness.ROOT, ".ansible"))
        before, used = self.hosts.egress(), self.hosts.cpu()
        seconds, _memory, cpu, _out = harness.run_process(command, env)
        return seconds, self.hosts.egress() - before, cpu, (self.hosts.cpu() - used) / len(self.hosts.hosts)

    def tfleet(self, version, transport="auto"):
        """Stage a version as a user would."""
        self.begin(version, False)
        found = self.play(HERE / "tfleet.yml", version, transport=transport)
        self.hosts.each("test -s /srv/models/weights/.staging/%d/manifest.json && cmp -s /srv/models/weights/.staging/%d/saved_model.pb "
                        "/srv/models/weights/.staging/%d/saved_model.pb" % (version, version, version))
        return found

    def peer(self, name, version):
        """Bring the archive in another way."""
        self.begin(version, True)
        return self.play(HERE / "peers" / (name + ".yml"), version)

    def once(self):
        """Seconds of sending the archive to one host, by nothing but ssh."""
        address = next(iter(self.hosts.hosts.values()))
        begin = time.perf_counter()
        with open(self.folder / "weights-1.tar", "rb") as stream:
            subprocess.run(["ssh", "-i", str(self.hosts.folder / "key"), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o",
                            "LogLevel=ERROR", "root@" + address, "cat > /dev/null"], stdin=stream, check=True)
        return time.perf_counter() - begin


def measure(folder, count, rounds, with_peers, ours, note):
    """Run everything on ``count`` hosts in turn; every run is given to ``note``.

    :param ours: whether tfleet's transports run, or the peers alone.
    """
    with lab.Lab(folder / "lab", count, RATE, releases=folder, memory=True) as hosts:
        server = subprocess.Popen([sys.executable, os.path.join(harness.ROOT, "tests", "unit", "plugins", "range_server.py"), str(folder),
                                   str(PORT), hosts.gateway])
        try:
            bench = Bench(hosts, folder, "http://%s:%d" % (hosts.gateway, PORT))
            for number in range(rounds):
                note(count, "once", 1, (bench.once(), 0, 0, 0))
                for version in ((1, 2) if number else (1, 2, 3)) if ours else ():
                    note(count, "tfleet", version, bench.tfleet(version))
                if ours:
                    note(count, "push", 2, bench.tfleet(2, "push"))
                if with_peers and not number:
                    for name in PEERS:
                        note(count, name, 1, bench.peer(name, 1))
                    note(count, "synchronize", 2, bench.peer("synchronize", 2))
        finally:
            server.terminate()
            server.wait()


class Runs:
    """All runs so far, on the disk as well."""

    def __init__(self, size, more):
        self.path, self.size = pathlib.Path(harness.RESULTS, "transport-runs.json"), size
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.all = json.loads(self.path.read_text()) if more and self.path.exists() else []
        if any(run["size"] != size for run in self.all):
            raise SystemExit("%s holds runs of another size. Leave out --more." % self.path)

    def note(self, count, method, version, result):
        """Add a run."""
        names = ("hosts", "method", "version", "seconds", "egress", "cpu", "host_cpu", "size")
        self.all.append(dict(zip(names, (count, method, version, *result, self.size))))
        self.path.write_text(json.dumps(self.all, indent=1) + "\n")
        _say(method, version, count, result)

    def of(self, count):
        """Return {(method, version): [(seconds, egress, cpu, CPU of a host)]} for one number of hosts."""
        found = {}
        for run in self.all:
            if run["hosts"] == count:
                found.setdefault((run["method"], run["version"]), []).append((run["seconds"], run["egress"], run["cpu"], run.get("host_cpu")))
        return found


def _say(method, version, count, result):
    sys.stderr.write("%2d hosts, %-11s %-13s %6.1f s, %7.1f MB from the controller, %5.1f s of its CPU, %5.1f s of a host's\n" % (
        count, method, KINDS[version], result[0], result[1] / 1e6, result[2], result[3]))


def rows_of(found, once, count, size):
    """Rows for one number of hosts; what the peers need is the baseline."""
    rows = []
    for (method, version), results in sorted(found.items(), key=str):
        if method != "tfleet":
            continue
        peers = [result for (other, kind), more in found.items() if other in PEERS and kind == version for result in more]
        name = "%d hosts, %s" % (count, KINDS[version])
        egress, wall = {1: (1.25, 2.0), 2: (0.25, 0.5)}.get(version, (None, None)) if count >= 16 else (None, None)
        rows.append(harness.row("egress, " + name, "release sizes", [result[1] / size for result in results],
                                [result[1] / size for result in peers] or None, target=egress))
        sent_once = statistics.median(once)
        rows.append(harness.row("time, " + name, "x of sending once", [result[0] / sent_once for result in results],
                                [result[0] / sent_once for result in peers] or None, target=wall))
        for place, who in ((2, "controller's CPU"), (3, "CPU of each host")):
            ours, theirs = ([result[place] for result in some if result[place] is not None] for some in (results, peers))
            if ours:
                rows.append(harness.row("%s, %s" % (who, name), "CPU s", ours, theirs or None))
    for (method, version), results in sorted(found.items(), key=str):
        theirs = [result[0] for result in results]
        ours = [result[0] for result in found.get(("tfleet", version), ())]
        if method in PEERS and ours:
            rows.append(harness.row("%d hosts, %s, beside %s" % (count, KINDS[version], method), "s", ours, theirs))
        elif method == "push":
            rows.append(harness.row("%d hosts, %s, by push" % (count, KINDS[version]), "s", theirs))
    return rows


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.bench.transport", description=__doc__)
    parser.add_argument("--size", type=int, default=200, help="megabytes of a release (200)")
    parser.add_argument("--hosts", type=int, nargs="+", default=[4, 16], help="numbers of hosts (4 16)")
    parser.add_argument("--peer-hosts", type=int, nargs="*", default=[4], help="with how many hosts the peers run too (4)")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--more", action="store_true", help="add to the runs that are there")
    parser.add_argument("--only-peers", action="store_true")
    arguments = parser.parse_args()
    lab.tools()
    harness.warn_if_busy()
    with tempfile.TemporaryDirectory(prefix="tfleet-bench-") as name:
        folder = pathlib.Path(name)
        size = make_releases(folder, arguments.size * 1000000)
        shutil.copytree(folder / "tree" / "1", folder / "in-place")
        with open(folder / "weights-1.tar.index", encoding="utf-8") as stream:
            manifest = json.load(stream)["manifest"]
            (folder / "in-place" / "manifest.json").write_text(manifest, encoding="utf-8")
        runs = Runs(size, arguments.more)
        for count in arguments.hosts:
            measure(folder, count, arguments.rounds, count in arguments.peer_hosts, not arguments.only_peers, runs.note)
    return report(runs, size)


def report(runs, size):
    """Write and print what all runs so far say; returns the exit code."""
    once = [run["seconds"] for run in runs.all if run["method"] == "once"]
    rows = [harness.row("sending the release once", "s", once)]
    few, many = ([result[0] for result in runs.of(count).get(("tfleet", 1), ())] for count in (4, 16))
    if few and many:
        growth = [seconds / statistics.median(few) for seconds in many]
        rows.append(harness.row("time with 16 hosts, first version", "x of 4 hosts", growth, target=1.5))
    for count in sorted({run["hosts"] for run in runs.all}):
        rows += rows_of(runs.of(count), once, count, size)
    return harness.report("transport", rows, ("tfleet", "peers"))


if __name__ == "__main__":
    sys.exit(main())
