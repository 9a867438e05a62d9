"""What a conversion may use: memory and disk, looked at before it begins and while it runs. Linux, no TensorFlow."""

import os
import shutil
from typing import Dict, Iterable, NamedTuple, Optional

from tfleet.errors import TfleetError

MIB = 2**20
# TensorFlow's own libraries and start, as `make bench SUITE=convert` measured them; TensorRT's and CUDA's come on top on a GPU.
TENSORFLOW_BYTES = {"grappler": 500 * MIB, "tflite": 600 * MIB, "tftrt": 1200 * MIB}
# The most a conversion holds of the model at once, beyond TensorFlow itself, as measured with 64 to 256 MiB of weights (docs/conversion.md says what holds
# it); for TF-TRT, which needs a GPU, an estimate.
MODEL_TIMES = {"grappler": 3.0, "tflite": 10.0, "tftrt": 6.0}
# TF-TRT's default where nobody sets the workspace (2.11 and later with TensorRT 8.4 take all there is: facts/jetson.md, section 8a).
DEFAULT_WORKSPACE = 1024 * MIB
_UNLIMITED = 2**60

Memory = NamedTuple("Memory", [("available", int), ("swap_free", int), ("total", int)])


def memory(proc: str = "/proc", cgroup: str = "/sys/fs/cgroup") -> Memory:
    """What is free on the host, or in the container if its limit leaves less."""
    values: Dict[str, int] = {}
    with open(os.path.join(proc, "meminfo")) as stream:
        for line in stream:
            key, _colon, rest = line.partition(":")
            if rest.split():
                values[key] = int(rest.split()[0]) * 1024
    available = values.get("MemAvailable", values.get("MemFree", 0))
    total = values["MemTotal"]
    for limit, usage in (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")):
        allowed, used = (_number(os.path.join(cgroup, name)) for name in (limit, usage))
        if allowed is not None and used is not None and allowed < min(total, _UNLIMITED):
            total, available = allowed, min(available, max(0, allowed - used))
    return Memory(available, values.get("SwapFree", 0), total)


def check_memory(kind: str, model_bytes: int, workspace: Optional[int], found: Memory) -> None:
    """Raise TfleetError unless memory and swap together suffice for the model, and memory alone for what cannot be swapped.

    A GPU of a Jetson shares the memory of the host and cannot use swap: the workspace must fit into memory (facts/jetson.md, section 8f).
    """
    pinned = (workspace if workspace is not None else min(DEFAULT_WORKSPACE, found.total // 4)) if kind == "tftrt" else 0
    needed = int(TENSORFLOW_BYTES[kind] + MODEL_TIMES[kind] * model_bytes + pinned)
    if found.available + found.swap_free >= needed and found.available >= pinned + model_bytes:
        return
    lower = ["stop the model server for the time (server_unit, server_container)", "add swap or zram"]
    if kind == "tftrt":
        lower.insert(0, "lower the workspace (--workspace-bytes 33554432 is enough for most detectors)")
        lower.append("build fewer batch sizes")
    raise TfleetError(
        "There is too little memory for this conversion: %d MiB of memory and %d MiB of swap are free, and it needs about %d MiB%s. Nothing "
        "was begun. What helps: %s. If the estimate is wrong for this model, run with --ignore-memory."
        % (found.available // MIB, found.swap_free // MIB, needed // MIB,
           " (of them %d MiB of workspace in memory proper)" % (pinned // MIB) if pinned else "", "; ".join(lower)),
        memory={"available": found.available, "swap_free": found.swap_free, "needed": needed},
    )  # fmt: skip


def check_disk(dest: str, model_bytes: int) -> None:
    """Raise TfleetError unless three times the model is free beside ``dest``: engines hold the weights once more than the graph."""
    folder = os.path.dirname(dest)
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    free, needed = shutil.disk_usage(folder).free, 3 * model_bytes + 16 * MIB
    if free < needed:
        raise TfleetError(
            "The disk of %s is too full: %d MiB are free, the conversion needs %d (three times the model). Nothing was begun. Make room "
            "and run again." % (folder, free // MIB, needed // MIB),
            free=free,
            needed=needed,
        )


def resident(pids: Iterable[int], proc: str = "/proc") -> int:
    """Bytes in memory of these processes together; those that ended count nothing."""
    total = 0
    for pid in pids:
        try:
            with open(os.path.join(proc, str(pid), "statm")) as stream:
                total += int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, IndexError, ValueError):
            continue
    return total


def _number(path: str) -> Optional[int]:
    try:
        with open(path) as stream:
            return int(stream.read())
    except (OSError, ValueError):  # no such file, or "max"
        return None
