"""The samples of facts/jetson.md, section 7c, word by word, and lines that tegrastats never wrote."""

import json
import random
import time

import pytest
from ansible_collections.tfleet.serving.plugins.module_utils.tegrastats import LONGEST_LINE, parse

from .device_tools import TEGRASTATS

MB = 1024**2
# Name: memory used and total, blocks and their size, swap used, GPU, a temperature, a rail now and average.
SAMPLES = {
    "nano": ((1923, 3964), (2, 2), 191, {"percent": 0, "mhz": [76]}, ("AO", 45.0), ("POM_5V_IN", 1750, 1628)),
    "tx2": ((2344, 7852), (1154, 4), 0, {"percent": 0, "mhz": [624]}, ("Tdiode", 34.25), ("VDD_IN", 3056, 3056)),
    "agx-xavier": ((721, 31927), (7291, 4), 0, {"percent": 0, "mhz": [318]}, ("thermal", 36.9), ("CPU", 311, 311)),
    "xavier-nx": ((4412, 7772), (237, 4), 139, {"percent": 62, "mhz": [306]}, ("thermal", 42.55), ("VDD_SOC", 1353, 1353)),
    "orin-r35": ((6334, 15388), (1770, 4), 491, {"percent": 0, "mhz": [611]}, ("tj", 48.875), ("VDD_IN", 5299, 5299)),
    "orin-r36-root": ((29114, 30697), (3, 4), 4915, {"percent": 0, "mhz": [305, 305]}, ("cpu", 53.062), ("VDD_CPU_CV", 4405, 4405)),
    "orin-r36-user": ((5137, 62841), (2, 4), 0, {"percent": 0, "mhz": []}, ("tj", 52.875), ("VDD_GPU_SOC", 3178, 3178)),
    "orin-r39": ((5137, 62841), (2, 4), None, {"percent": 12, "mhz": [1300, 1300]}, ("cpu", 52.968), ("VDD_GPU_SOC", 5139, 5139)),
    "thor-r38": ((5137, 125771), (2, 4), None, {"percent": None, "mhz": [1000, 1000, 1000]}, None, None),
}


@pytest.mark.parametrize("name", TEGRASTATS)
def test_sample(name):
    ram, blocks, swap, gpu, temperature, rail = SAMPLES[name]
    found = parse(TEGRASTATS[name])
    assert found["ram"] == {"used_bytes": ram[0] * MB, "total_bytes": ram[1] * MB}
    assert (found["largest_free_blocks"], found["largest_free_block_bytes"]) == (blocks[0], blocks[1] * MB)
    assert (found["swap"] and found["swap"]["used_bytes"] // MB) == swap
    assert found["gpu"] == gpu
    if temperature:
        assert found["temperatures"][temperature[0]] == temperature[1]
    if rail:
        assert found["power"][rail[0]] == {"now_mw": rail[1], "average_mw": rail[2]}
    assert "PMIC" not in found["temperatures"]
    # What the fact page left out is all that is not understood.
    assert set(found["unparsed"]) <= {"..."}
    assert ("..." in TEGRASTATS[name]) is bool(found["unparsed"])


def test_cores_that_are_off_keep_their_place():
    assert parse(TEGRASTATS["tx2"])["cpu"][:4] == [{"percent": 1, "mhz": 345}, None, None, {"percent": 1, "mhz": 345}]


def test_other_engines():
    loads = parse("EMC_FREQ 4%@1600 VIC_FREQ 729 APE 174 NVENC off NVDEC off VIC off")["loads"]
    assert loads == {"EMC": {"percent": 4, "mhz": 1600}, "VIC": None, "APE": {"percent": None, "mhz": 174}, "NVENC": None, "NVDEC": None}


def test_spaces_and_order_do_not_matter():
    assert parse("  CPU@40C   SWAP 1/2MB  (cached 0MB)   RAM\t1/3MB   (lfb 1x2MB)\r\n") == parse("RAM 1/3MB (lfb 1x2MB) SWAP 1/2MB (cached 0MB) CPU@40C")


def test_a_sensor_that_is_off_is_left_out():
    found = parse("cv0@-256C cpu@-5.5C")
    assert (found["temperatures"], found["unparsed"]) == ({"cpu": -5.5}, [])


def test_no_free_block_is_none():
    assert parse("RAM 9/9MB (lfb 0x4MB)")["largest_free_block_bytes"] == 0


@pytest.mark.parametrize(
    "line, unparsed",
    [
        ("", []),
        ("   \n", []),
        ("Segmentation fault (core dumped)", ["Segmentation", "fault", "(core", "dumped)"]),
        ("RAM 5000/4000MB (lfb 1x4MB)", ["RAM 5000/4000MB"]),
        ("SWAP 5/4MB", ["SWAP 5/4MB"]),
        ("RAM 99999999999999999999/4000MB", ["RAM", "99999999999999999999/4000MB"]),
        ("RAM 1/2TB", ["RAM", "1/2TB"]),
        ("RAM -1/2MB", ["RAM", "-1/2MB"]),
        ("CPU [5%@1224,fast,,off]", ["fast"]),
        ("CPU [5%@1224", ["CPU", "[5%@1224"]),
        ("GPU@nanC CPU@1e9C", ["GPU@nanC", "CPU@1e9C"]),
        ("GR3D_FREQ 0%@[1,x]", ["GR3D_FREQ", "0%@[1,x]"]),
        ("VDD_IN -4mW/3mW", ["VDD_IN", "-4mW/3mW"]),
        ("\x1b[31mRAM 1/2MB", ["\x1b[31mRAM", "1/2MB"]),
        ("RAM １/２MB", ["RAM", "１/２MB"]),
    ],
)
def test_what_is_not_understood_is_handed_back(line, unparsed):
    assert parse(line)["unparsed"] == unparsed


def test_a_line_without_end_is_cut_and_said_so():
    started = time.monotonic()
    found = parse("RAM 1/2MB " + "EMC_FREQ 0% " * 200000)
    assert found["ram"] == {"used_bytes": MB, "total_bytes": 2 * MB}
    assert found["unparsed"] == [f"… {10 + 2400000 - LONGEST_LINE} more characters"]
    assert time.monotonic() - started < 1


def test_damaged_lines_never_raise():
    chance = random.Random(4)
    lines = list(TEGRASTATS.values())
    for _ in range(3000):
        line = list(chance.choice(lines))
        for _ in range(chance.randint(1, 12)):
            place = chance.randrange(len(line))
            line[place : place + chance.randint(0, 4)] = chance.choice(["", "\x00", "%", "@", "/", "[", "]", "9" * 30, "\udcff", " ", "MB", "C"])
        assert json.dumps(parse("".join(line)))
