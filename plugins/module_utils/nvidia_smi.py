# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The GPUs of a server, as ``nvidia-smi`` tells them in CSV, and as the PCI bus shows them where the driver does not work."""
import csv
import os
import re
from typing import Any, Dict

# compute_cap is the newest of the columns: an older driver knows all but that one.
_COLUMNS = ("index", "name", "uuid", "driver_version", "memory.total", "compute_cap")
_NVIDIA = "0x10de"
# Display controllers, which 3D controllers without an output belong to.
_DISPLAY_CLASS = "0x03"


def read_gpus(commands, pci_devices, notes):
    """Return {gpus, driver, cuda, on_bus}: what nvidia-smi tells, the CUDA that the driver offers, and whether the bus has an NVIDIA GPU at all.

    :param commands: a :class:`commands.Commands`.
    :param pci_devices: directory with the devices of the PCI bus.
    :param notes: list to which a sentence is added for each thing that a person should know.
    """
    result: Dict[str, Any] = {"gpus": [], "driver": None, "cuda": None, "on_bus": _on_bus(pci_devices)}
    answer = _query(commands, _COLUMNS)
    if answer is not None and answer.status not in (0, None) and "compute_cap" in answer.stdout + answer.stderr:
        answer = _query(commands, _COLUMNS[:-1])
    if answer is None:
        if result["on_bus"]:
            notes.append("There is an NVIDIA GPU on the PCI bus, but no nvidia-smi: install NVIDIA's driver on this host.")
        return result
    if answer.status != 0:
        said = " ".join((answer.stdout + " " + answer.stderr).split())[:200]
        notes.append("nvidia-smi %s. The driver is not loaded or hangs; reboot after its installation, and look at `dmesg | grep -i nvidia`." % (
            "did not answer within %d seconds" % commands.timeout if answer.timed_out else "failed: " + (said.rstrip(".") or "exit status %s" % answer.status)))
        return result
    for row in csv.reader(answer.stdout.splitlines(), skipinitialspace=True):
        gpu = _gpu(row)
        if gpu is not None:
            result["gpus"].append(gpu)
        elif row:
            notes.append("nvidia-smi: a line was not understood: %s" % ", ".join(row)[:160])
    result["driver"] = next((gpu["driver"] for gpu in result["gpus"] if gpu["driver"]), None)
    header = commands.ask("nvidia-smi")
    offered = re.search(r"CUDA Version\s*:\s*(\d{1,3}\.\d{1,3})", header.stdout) if header is not None else None
    result["cuda"] = offered.group(1) if offered else None
    return result


def _query(commands, columns):
    return commands.ask("nvidia-smi", "--query-gpu=" + ",".join(columns), "--format=csv,noheader,nounits")


def _gpu(row):
    if len(row) not in (len(_COLUMNS), len(_COLUMNS) - 1) or not re.match(r"\d{1,4}$", row[0]):
        return None
    # What a GPU does not have is [N/A] or [Not Supported].
    name, uuid, driver, memory, capability = [None if cell.strip().startswith("[") else cell.strip() for cell in row[1:] + ["[N/A]"]][:5]
    return {
        "index": int(row[0]), "name": name, "uuid": uuid, "driver": driver,
        "memory_bytes": int(memory) * 1024 ** 2 if memory and re.match(r"\d{1,12}$", memory) else None,
        "compute_capability": capability if re.match(r"\d{1,3}\.\d{1,2}$", capability or "") else None,
    }


def _on_bus(directory):
    try:
        devices = os.listdir(directory)
    except OSError:
        return False
    return any(_read(directory, device, "vendor") == _NVIDIA and _read(directory, device, "class").startswith(_DISPLAY_CLASS) for device in devices)


def _read(directory, device, name):
    try:
        with open(os.path.join(directory, device, name)) as stream:
            return stream.read(64).strip()
    except (OSError, IOError, ValueError):
        return ""
