"""Hosts for the benchmark: containers with sshd on a network of their own, every link shaped by tbf, the controller's too.

Each host's link is shaped in both directions where it meets the network's bridge; the controller's, where its packets enter the bridge. So
what all hosts together get from the controller is limited, as it is by the cable of a real one, and what it sends is counted there.
With ``memory`` the hosts' /srv is memory: real ones have a disk each, these would all flush to the one of this machine. Without a ``rate`` nothing is shaped.
"""
import concurrent.futures
import json
import os
import pathlib
import shutil
import subprocess
import time

IMAGE = "tfleet-bench-host:latest"
BURST = "256kb"


class Lab:
    """``count`` hosts, called ``<prefix>-1`` and so on; a context manager.

    :param more: further options of docker run.
    """

    def __init__(self, folder, count, rate="100mbit", prefix="tfleet-link", releases=None, memory=False, more=()):
        self.more = [*more, *(["-v", "%s:/releases:ro" % releases] if releases else []), *(["--tmpfs", "/srv:exec,size=2g"] if memory else [])]
        self.folder, self.count, self.rate, self.prefix = pathlib.Path(folder), count, rate, prefix
        self.hosts = {}
        self.bridge = None

    def __enter__(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        image()
        self._remove()
        network = docker("network", "create", self.prefix + "-net")
        self.bridge = "br-" + network[:12]
        self.gateway = json.loads(docker("network", "inspect", self.prefix + "-net"))[0]["IPAM"]["Config"][0]["Gateway"]
        key = self.folder / "key"
        if not key.exists():
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
        public = (self.folder / "key.pub").read_text().strip()
        start = "mkdir -p /run/sshd /root/.ssh; echo '%s' > /root/.ssh/authorized_keys; ssh-keygen -A -q; exec /usr/sbin/sshd -D -e" % public
        names = ["%s-%d" % (self.prefix, number) for number in range(1, self.count + 1)]
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda name: docker("run", "-d", "--name", name, "--hostname", name, "--network", self.prefix + "-net", *self.more, IMAGE, "sh", "-c",
                                              start), names))
        for name in names:
            found = json.loads(docker("inspect", name))[0]
            self.hosts[name] = found["NetworkSettings"]["Networks"][self.prefix + "-net"]["IPAddress"]
            if self.rate:
                self.shape(name, self.rate)
        if self.rate:
            run("tc", "qdisc", "add", "dev", self.bridge, "root", "tbf", "rate", self.rate, "burst", BURST, "latency", "50ms")
        self._inventory()
        self._answering()
        return self

    def __exit__(self, *_error):
        self._remove()

    def shape(self, name, rate):
        """Give the link of a host this rate in both directions."""
        tbf = ["root", "tbf", "rate", rate, "burst", BURST, "latency", "50ms"]
        pid = self.process(name)
        inside = ["nsenter", "-t", str(pid), "-n"]
        run(*inside, "tc", "qdisc", "replace", "dev", "eth0", *tbf)
        peer = int(pathlib.Path("/proc/%d/root/sys/class/net/eth0/iflink" % pid).read_text())
        for link in pathlib.Path("/sys/class/net").iterdir():
            if int((link / "ifindex").read_text()) == peer:
                run("tc", "qdisc", "replace", "dev", link.name, *tbf)

    def _inventory(self):
        lines = ["all:", "  vars:", "    ansible_user: root", "    ansible_ssh_private_key_file: %s" % (self.folder / "key"),
                 "    ansible_python_interpreter: /usr/bin/python3",
                 "    ansible_ssh_common_args: -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
                 "  children:", "    cpu_servers:", "      hosts:"]
        lines += ["        %s: {ansible_host: %s}" % pair for pair in self.hosts.items()]
        (self.folder / "hosts.yml").write_text("\n".join(lines) + "\n")

    def _answering(self):
        for address in self.hosts.values():
            for _ in range(100):
                done = subprocess.run(["ssh", "-i", str(self.folder / "key"), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o",
                                       "LogLevel=ERROR", "-o", "ConnectTimeout=2", "root@" + address, "true"], check=False, stderr=subprocess.DEVNULL)
                if done.returncode == 0:
                    break
                time.sleep(0.2)
            else:
                raise RuntimeError("%s does not answer over ssh." % address)

    def egress(self):
        """Bytes that the controller has put onto its link."""
        return int(pathlib.Path("/sys/class/net/%s/statistics/tx_bytes" % self.bridge).read_text())

    def process(self, name):
        """The number of a host's first process, by which its network is entered."""
        return json.loads(docker("inspect", name))[0]["State"]["Pid"]

    def cpu(self):
        """CPU seconds that all hosts together have used."""
        total = 0.0
        for name in self.hosts:
            lines = pathlib.Path("/proc/%d/cgroup" % self.process(name)).read_text().splitlines()
            groups = {controller: path for _number, controllers, path in (line.split(":", 2) for line in lines) for controller in controllers.split(",")}
            usage = pathlib.Path("/sys/fs/cgroup/cpuacct/%s/cpuacct.usage" % groups.get("cpuacct", ""))
            if usage.exists():
                total += int(usage.read_text()) / 1e9
            else:
                total += int(pathlib.Path("/sys/fs/cgroup/%s/cpu.stat" % groups[""]).read_text().split()[1]) / 1e6
        return total

    def each(self, command):
        """Run a shell command on every host."""
        for name in self.hosts:
            docker("exec", name, "sh", "-c", command)

    def _remove(self):
        names = docker("ps", "-aq", "--filter", "name=^%s-[0-9]+$" % self.prefix).split()
        if names:
            docker("rm", "-f", "-v", *names)
        network = self.prefix + "-net"
        if docker("network", "ls", "-q", "--filter", "name=^%s$" % network):
            # A busy engine may forget to take a container that it has removed out of its network.
            for name in docker("network", "inspect", network, "--format", "{{range .Containers}}{{.Name}} {{end}}").split():
                docker("network", "disconnect", "-f", network, name)
            docker("network", "rm", network)


def image():
    """Make the hosts' image once: that of Molecule's hosts, with libtorrent and zstd."""
    if docker("images", "-q", IMAGE):
        return
    run("molecule/shared/test_hosts", "up")
    docker("run", "-d", "--name", "tfleet-bench-build", *[word for name in ("http_proxy", "https_proxy", "no_proxy") for word in ("-e", name)],
           "tfleet-test-host:latest", "sleep", "infinity")
    try:
        docker("exec", "-e", "DEBIAN_FRONTEND=noninteractive", "tfleet-bench-build", "sh", "-euc",
               "apt-get update -qq; apt-get install -y -qq --no-install-recommends python3-libtorrent zstd gpgv >/dev/null; apt-get clean")
        docker("commit", "tfleet-bench-build", IMAGE)
    finally:
        docker("rm", "-f", "tfleet-bench-build")


def docker(*words):
    """What a docker command prints."""
    return run("docker", *words)


def run(*words):
    """What a command prints; RuntimeError with its last words if it fails."""
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if done.returncode != 0:
        raise RuntimeError("%s: %s" % (" ".join(words[:6]), done.stderr.decode().strip()[-400:]))
    return done.stdout.decode().strip()


def tools():
    """Fail early, by name, where something is missing."""
    missing = [name for name in ("tc", "nsenter", "ssh", "rsync", "zstd") if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        raise SystemExit("Links of containers are shaped here, which needs root%s. apt-get install iproute2 util-linux openssh-client rsync zstd"
                         % (" and " + ", ".join(missing) if missing else ""))
    run("molecule/shared/test_hosts", "engine")
