# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The processes behind the ports of a device's model servers: whether they are still those of before, and how much memory they hold."""
import contextlib
import os
import re
import typing

from ansible_collections.tfleet.serving.plugins.module_utils.listeners import listeners
from ansible_collections.tfleet.serving.plugins.module_utils.process import boot_id, status_of

# What a process alone holds; a program's code, which the kernel can drop, is not counted where the kernel tells them apart.
_RESIDENT = ("RssAnon", "VmRSS")


def servers(ports, containers, run_command):
    """Return [{"pid", "run", "resident_bytes"}], one for each server; None where one of them cannot be told.

    ``run`` changes when the server is started again. What it started itself counts as its memory.

    :param ports: their gRPC ports.
    :param containers: their names where they are containers, whose ports may be Docker's on the host.
    :param run_command: AnsibleModule.run_command.
    """
    pids = _of_containers(containers, run_command) if containers else _of_ports(ports)
    found = []
    for pid in pids:
        status = status_of(pid) if pid else None
        if status is None:
            return None
        found.append({"pid": pid, "run": "%s %d %d" % (boot_id(), pid, status.start_time), "resident_bytes": sum(_resident(each) for each in _family(pid))})
    return found or None


def _of_ports(ports):
    owners = {listener.port: listener.pid for listener in listeners(ports) if listener.pid is not None}
    return [owners.get(port) for port in ports]


def _of_containers(names, run_command):
    status, out, _err = run_command(["docker", "container", "inspect", "--format", "{{.State.Pid}}", *names])
    return [int(word) for word in out.split()] if status == 0 else [None]


def _family(pid):
    """A process and all that it, and these, have started."""
    children: typing.Dict[int, typing.List[int]] = {}
    for name in os.listdir("/proc"):
        # One may end while this looks.
        with contextlib.suppress(OSError, IndexError, ValueError):
            if name.isdigit():
                with open("/proc/%s/stat" % name, "rb") as stream:
                    children.setdefault(int(stream.read().rpartition(b")")[2].split()[1]), []).append(int(name))
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found


def _resident(pid):
    with contextlib.suppress(OSError), open("/proc/%d/status" % pid) as stream:
        lines = dict(re.findall(r"^(\w+):\s+(\d+) kB$", stream.read(), re.MULTILINE))
        return next((int(lines[name]) * 1024 for name in _RESIDENT if name in lines), 0)
    return 0
