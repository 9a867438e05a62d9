"""A throw-away host with systemd whose swap, zram and power tools are real where this machine has them, for tests of roles on a whole system.

Swap and zram belong to the kernel, so to the whole machine: nothing here runs unless CI=true or TFLEET_TEST_SYSTEM=1 says that it may, and whatever
happens, what the tests brought into use is taken out of use in the end.

That check mode announces what the roles set up, and that a second run finds nothing to do, is Molecule's scenario `provision` to prove; here are the ways back.
"""

import json
import os
import pathlib
import subprocess
import uuid

import pytest

CHECKOUT = pathlib.Path(__file__).parents[2]
DEVICE = pathlib.Path(__file__).parent / "device"
DISK = "/srv/disk"
# What systemd and swapon need; --privileged asks for capabilities that nested machines do not have.
RIGHTS = ["--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"]
ALLOWED = os.environ.get("CI") == "true" or os.environ.get("TFLEET_TEST_SYSTEM") == "1"


def pytest_collection_modifyitems(items):
    here = [item for item in items if pathlib.Path(__file__).parent in item.path.parents]
    for item in here:
        if not ALLOWED:
            item.add_marker(pytest.mark.skip(reason="changes swap and zram of the whole machine: set CI=true or TFLEET_TEST_SYSTEM=1"))


def shell(*argv, check=True, text=None):
    done = subprocess.run([str(word) for word in argv], input=text, stdin=None if text else subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        pytest.fail(f"{' '.join(map(str, argv))}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}", pytrace=False)
    return done


class Host:
    """The container, and Ansible's way to it."""

    def __init__(self, name, place):
        self.name, self.place = name, place

    def run(self, command, check=True):
        """Run a command of the shell and return what it printed."""
        return shell("docker", "exec", self.name, "sh", "-c", command, check=check).stdout.strip()

    def succeeds(self, command):
        return shell("docker", "exec", self.name, "sh", "-c", command, check=False).returncode == 0

    def write(self, path, content, mode="644"):
        shell("docker", "exec", "--interactive", self.name, "sh", "-c", f"mkdir -p $(dirname {path}) && cat > {path} && chmod {mode} {path}", text=content)

    def install(self, name, path, mode="644"):
        self.write(path, (DEVICE / name).read_text(), mode)

    def boot(self):
        """Wait for systemd, and do what a container lacks: its /sys and /proc/sys are read-only, and it has no module index."""
        shell("docker", "exec", self.name, "sh", "-c", "for i in $(seq 60); do systemctl is-system-running --wait && exit; sleep 0.5; done; exit 0")
        self.run("mount -o remount,rw /sys; mount -o remount,rw /proc/sys")

    def restart(self):
        shell("docker", "restart", "--time", "5", self.name)
        self.boot()

    def role(self, role, entry="main", check=False, **variables):
        """Run an entry of a role; returns a Run."""
        environment = {
            **os.environ,
            "ANSIBLE_HOME": str(CHECKOUT / ".ansible"),
            "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
            "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
            "ANSIBLE_PIPELINING": "true",
        }
        # The disk is the machine's, and its free part is not these tests' business.
        variables = {"role": role, "entry": entry, "ansible_connection": "community.docker.docker", "ansible_python_interpreter": "/usr/bin/python3",
                     "jetson_memory_keep_free_percent": 1, **variables}  # fmt: skip
        done = subprocess.run(
            ["ansible-playbook", "--inventory", f"{self.name},", "--diff", *(["--check"] if check else []), "--extra-vars", json.dumps(variables),
             pathlib.Path(__file__).parent / "role.yml"],
            cwd=CHECKOUT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert "{" in done.stdout, done.stdout + done.stderr
        return Run(json.loads(done.stdout[done.stdout.index("{"):]), self.name)

    def changes_once(self, role, **variables):
        """Check mode announces a change, the run makes it, and the next finds nothing to do. Returns the run that changed."""
        runs = [self.role(role, check=check, **variables) for check in (True, False, False)]
        assert [run.failure for run in runs] == [None] * 3
        assert [bool(run.changed) for run in runs] == [True, True, False], [run.changed for run in runs]
        return runs[1]

    def changes(self, role, **variables):
        """Run a role that must change something."""
        run = self.role(role, **variables)
        assert run.failure is None and run.changed
        return run

    def swaps(self):
        """{path: (MiB, priority)} of the swap areas that this host's tests brought into use."""
        found = {}
        for line in self.run("cat /proc/swaps").splitlines()[1:]:
            path, _kind, size, _used, priority = line.split()
            found[path] = (round(int(size) / 1024), int(priority))
        return found


class Run:
    """What one run of ansible-playbook did."""

    def __init__(self, report, host):
        tasks = [task for play in report["plays"] for task in play["tasks"] if host in task["hosts"]]
        results = [(task["task"]["name"].rpartition(" : ")[2], task["hosts"][host]) for task in tasks]
        self.changed = [name for name, result in results if result.get("changed")]
        self.facts = {key: value for _name, result in results for key, value in result.get("ansible_facts", {}).items()}
        self.failed = report["stats"][host]["failures"] > 0 or report["stats"][host]["unreachable"] > 0
        self.failure = next((str(result.get("msg", result)) for _name, result in reversed(results) if result.get("failed")), "unknown") if self.failed else None


@pytest.fixture(scope="session")
def machine():
    """Afterwards no swap and no zram device is left that was not there before."""
    swaps_before = {line.split()[0] for line in pathlib.Path("/proc/swaps").read_text().splitlines()[1:]}
    zram_before = {path.name for path in pathlib.Path("/sys/block").glob("zram*")}
    swappiness = pathlib.Path("/proc/sys/vm/swappiness").read_text()
    if any(path.startswith("/dev/zram") for path in swaps_before):
        pytest.fail("This machine uses zram itself; the tests would take it away. Run them on another machine.", pytrace=False)
    yield
    assert pathlib.Path("/proc/sys/vm/swappiness").read_text() == swappiness
    left = {line.split()[0] for line in pathlib.Path("/proc/swaps").read_text().splitlines()[1:]} - swaps_before
    assert not left
    assert {path.name for path in pathlib.Path("/sys/block").glob("zram*")} == zram_before


@pytest.fixture
def host(machine, tmp_path):
    """A fresh host: systemd, a disk with ext4, JetPack's zram and power tools."""
    name = f"tfleet-system-{uuid.uuid4().hex[:8]}"
    label = ["--label", f"tfleet.checkout={CHECKOUT}"]
    zram_major = pathlib.Path("/sys/block/zram0/dev").read_text().split(":")[0]
    swappiness = pathlib.Path("/proc/sys/vm/swappiness").read_text().strip()
    zram_before = {path.name for path in pathlib.Path("/sys/block").glob("zram*")}
    shell("docker", "volume", "create", *label, name)
    try:
        shell(
            "docker", "run", "--detach", "--restart", "always", "--name", name, "--hostname", name, *label, *RIGHTS, "--cgroupns=host",
            "--volume", "/sys/fs/cgroup:/sys/fs/cgroup:rw", "--volume", f"{name}:{DISK}",
            "--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp:exec", "--device-cgroup-rule", f"b {zram_major}:* rmw",
            "tfleet-test-host:latest", "/lib/systemd/systemd",
        )  # fmt: skip
        host = Host(name, tmp_path)
        host.boot()
        # A container has no udev that would make the node. The kernel has zram built in, which modprobe knows from an index.
        host.run(f"mknod -m 660 /dev/zram0 b {zram_major} 0; mkdir -p /lib/modules/$(uname -r); cd /lib/modules/$(uname -r);"
                 " echo kernel/drivers/block/zram/zram.ko > modules.builtin; touch modules.order; depmod")  # fmt: skip
        yield host
    finally:
        release(name, swappiness, zram_before)


def release(name, swappiness, zram_before):
    """Take everything out of use, remove the host and the devices that came. Works from a second container, whatever became of the first."""
    zram_major = pathlib.Path("/sys/block/zram0/dev").read_text().split(":")[0]
    shell("docker", "rm", "--force", "--volumes", name, check=False)
    script = f"""
        mount -o remount,rw /sys; mount -o remount,rw /proc/sys
        find {DISK} -type f -exec swapoff {{}} \\;
        for device in /sys/block/zram*; do
            mknod -m 660 /dev/$(basename $device) b {zram_major} $(cut -d: -f2 $device/dev)
            swapoff /dev/$(basename $device)
            echo 1 > $device/reset
            case " {" ".join(zram_before)} " in *" $(basename $device) "*) continue;; esac
            echo ${{device##*zram}} > /sys/class/zram-control/hot_remove
        done
        sysctl -qw vm.swappiness={swappiness}
    """
    shell("docker", "run", "--rm", *RIGHTS, "--device-cgroup-rule", f"b {zram_major}:* rmw", "--volume", f"{name}:{DISK}",
          "tfleet-test-host:latest", "sh", "-c", script, check=False)  # fmt: skip
    shell("docker", "volume", "rm", name, check=False)
