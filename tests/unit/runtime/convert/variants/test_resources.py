"""Memory and disk, as a kernel tells them."""

import os

import pytest

from tfleet.convert.variants import resources
from tfleet.errors import TfleetError

MIB = 2**20


def kernel(tmp_path, total, available, swap, limit=None, used=None):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text(
        "MemTotal: %d kB\nMemFree: 1 kB\nMemAvailable: %d kB\nSwapTotal: %d kB\nSwapFree: %d kB\nHugePages_Total: 0\n"
        % (total * 1024, available * 1024, swap * 1024, swap * 1024)
    )
    (tmp_path / "cgroup").mkdir()
    if limit is not None:
        (tmp_path / "cgroup" / "memory.max").write_text("%s\n" % limit)
        (tmp_path / "cgroup" / "memory.current").write_text("%d\n" % used)
    return resources.memory(str(tmp_path / "proc"), str(tmp_path / "cgroup"))


def test_memory_of_a_host(tmp_path):
    assert kernel(tmp_path, 4000, 3000, 2000) == (3000 * MIB, 2000 * MIB, 4000 * MIB)


def test_memory_of_a_container_with_a_limit(tmp_path):
    assert kernel(tmp_path, 4000, 3000, 0, limit=1000 * MIB, used=400 * MIB)[:1] == (600 * MIB,)


def test_a_limit_of_max_is_none(tmp_path):
    assert kernel(tmp_path, 4000, 3000, 0, limit="max", used=1)[0] == 3000 * MIB


def test_memory_of_this_process():
    assert resources.resident([os.getpid()]) > 5 * MIB
    assert resources.resident([2**30]) == 0


def check(kind, model, workspace, available, swap):
    resources.check_memory(kind, model * MIB, workspace and workspace * MIB, resources.Memory(available * MIB, swap * MIB, 4000 * MIB))


def test_enough_memory():
    check("grappler", 100, None, 1000, 0)
    check("tftrt", 100, 32, 900, 1500)


@pytest.mark.parametrize(
    ("kind", "model", "workspace", "available", "swap", "parts"),
    [
        ("grappler", 400, None, 1000, 0, ["1000 MiB of memory", "0 MiB of swap", "1700 MiB", "add swap", "stop the model server"]),
        ("tftrt", 100, 1024, 1100, 8000, ["1024 MiB of workspace in memory proper", "lower the workspace", "build fewer batch sizes"]),
    ],
)
def test_too_little_memory(kind, model, workspace, available, swap, parts):
    with pytest.raises(TfleetError) as caught:
        check(kind, model, workspace, available, swap)
    for part in parts:
        assert part in str(caught.value)
    assert "Nothing was begun" in str(caught.value) and "--ignore-memory" in str(caught.value)


def test_too_little_disk(tmp_path):
    resources.check_disk(str(tmp_path / "not" / "yet" / "model"), MIB)
    with pytest.raises(TfleetError) as caught:
        resources.check_disk(str(tmp_path / "model"), 2**60)
    assert "is too full" in str(caught.value) and str(tmp_path) in str(caught.value)
