"""The module nvpmodel: the boards of the fact page, and the question that must never be waited for."""

import os
import pathlib
import time

import pytest
import yaml
from ansible_collections.tfleet.serving.plugins.module_utils import power_modes as power

CHECKOUT = pathlib.Path(__file__).parents[3]
DEVICE = CHECKOUT / "tests/system/device"

# facts/jetson.md, section 7a: number and name of each mode, in the order of their numbers.
BOARDS = {
    "Nano": "0 MAXN, 1 5W",
    "TX2": "0 MAXN, 1 MAXQ, 2 MAXP_CORE_ALL, 3 MAXP_CORE_ARM, 4 MAXP_CORE_DENVER",
    "AGX Xavier": "0 MAXN, 1 MODE_10W, 2 MODE_15W, 3 MODE_30W_ALL, 4 MODE_30W_6CORE, 5 MODE_30W_4CORE, 6 MODE_30W_2CORE, 7 MODE_15W_DESKTOP",
    "Xavier NX": "0 MODE_15W_2CORE, 1 MODE_15W_4CORE, 2 MODE_15W_6CORE, 3 MODE_10W_2CORE, 4 MODE_10W_4CORE, 5 MODE_10W_DESKTOP, 6 MODE_20W_2CORE,"
                 " 7 MODE_20W_4CORE, 8 MODE_20W_6CORE",
    "AGX Orin 64GB": "0 MAXN, 1 MODE_15W, 2 MODE_30W, 3 MODE_50W",
    "Orin Nano": "0 15W, 1 25W, 2 MAXN_SUPER, 3 7W",
    "Thor T5000": "0 MAXN, 1 120W, 2 90W, 3 70W",
}  # fmt: skip


def modes_of(board):
    return [power.Mode(int(number), name) for number, name in (mode.split() for mode in BOARDS[board].split(", "))]


def conf_of(board, default=0):
    """A board's nvpmodel.conf in NVIDIA's form, with what stands between the modes."""
    sections = [f"< POWER_MODEL ID={mode.id} NAME={mode.name} >\nCPU_ONLINE CORE_0 1\nGPU MAX_FREQ -1\n" for mode in modes_of(board)]
    return "\n".join(["# < POWER_MODEL ID=9 NAME=EXAMPLE >", "< PARAM TYPE=FILE NAME=CPU_ONLINE >", "CORE_0 /sys/devices/system/cpu/cpu0/online", *sections,
                      f"< PM_CONFIG DEFAULT={default} >"]) + "\n"  # fmt: skip


@pytest.mark.parametrize("board", BOARDS)
def test_modes_of_each_board(board):
    assert power.parse_modes(conf_of(board)) == modes_of(board)


def test_default_and_other_spacing():
    assert power.parse_default("< PM_CONFIG DEFAULT=2 >\n") == 2
    assert power.parse_default("# < PM_CONFIG DEFAULT=2 >\n") is None
    assert power.parse_modes("<POWER_MODEL  ID=0   NAME=MAXN>\n < POWER_MODEL ID=1 NAME=5W >\n") == [power.Mode(0, "MAXN"), power.Mode(1, "5W")]
    assert power.parse_modes("") == []


@pytest.mark.parametrize(
    "text, name",
    [
        ("NV Power Mode: MAXN\n0\n", "MAXN"),
        ("NVPM WARN: fan mode is not set!\nNV Power Mode: MODE_15W\n1\n", "MODE_15W"),
        ("NV Fan Mode:cool\nNV Power Mode: MAXN\n0\n", "MAXN"),
        ("NV Power Mode: \n", None),
        ("NVPM ERROR: failed\n", None),
        ("", None),
    ],
)
def test_current_mode_is_read_by_its_name(text, name):
    assert power.parse_current(text) == name


@pytest.mark.parametrize(
    "board, name, number",
    [("Nano", "maxn", 0), ("AGX Orin 64GB", "30W", 2), ("AGX Orin 64GB", "MODE_30W", 2), ("Orin Nano", "MODE_15W", 0), ("TX2", "MAXP_CORE_ARM", 3)],
)
def test_mode_by_its_name(board, name, number):
    assert power.find_mode(modes_of(board), name).id == number


@pytest.mark.parametrize("board, name", [("Xavier NX", "MAXN"), ("Nano", "10W"), ("AGX Orin 64GB", "0"), ("TX2", "MAX")])
def test_mode_that_a_board_does_not_have_lists_those_it_has(board, name):
    with pytest.raises(power.PowerError) as error:
        power.find_mode(modes_of(board), name)
    assert all(mode.name in str(error.value) for mode in modes_of(board))
    assert error.value.result["modes"][0] == {"id": 0, "name": modes_of(board)[0].name}


def test_known_reboots_name_modes_of_their_boards():
    known = yaml.safe_load((CHECKOUT / "data/power.yml").read_text())["needs_reboot"]
    boards = {"orin-nano": "Orin Nano", "thor": "Thor T5000"}
    assert set(known) == set(boards)
    for board, modes in known.items():
        assert set(modes) <= {mode.name for mode in modes_of(boards[board])}
        assert board in yaml.safe_load((CHECKOUT / "data/jetsons.yml").read_text())["modules"]


# ---- the module, on an Orin Nano whose mode 7W asks for a reboot ----
@pytest.fixture
def board(tmp_path, monkeypatch):
    """etc_root and record_dir of the board, and its nvpmodel in PATH."""
    for name in ("etc", "bin", "var"):
        (tmp_path / name).mkdir()
    (tmp_path / "etc/nvpmodel.conf").write_text(conf_of("Orin Nano", default=1))
    (tmp_path / "var/status").write_text("pmode:0000 fmode:quiet\n")
    command = (DEVICE / "nvpmodel").read_text()
    command = command.replace("/etc/nvpmodel.conf", f"{tmp_path}/etc/nvpmodel.conf").replace("/var/lib/nvpmodel/status", f"{tmp_path}/var/status")
    (tmp_path / "bin/nvpmodel").write_text(command.replace("exec systemctl reboot", f"touch {tmp_path}/rebooted"))
    (tmp_path / "bin/nvpmodel").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    return {"etc_root": f"{tmp_path}/etc", "record_dir": f"{tmp_path}/originals"}


def mode_now(tmp_path):
    return int((tmp_path / "var/status").read_text()[6:10])


def test_mode_is_set_and_put_back(board, tmp_path, four_times):
    result = four_times("nvpmodel", mode="maxn_super", **board)[1]
    assert (result["mode"], result["reboot_required"], mode_now(tmp_path)) == ("MAXN_SUPER", False, 2)
    assert result["diff"]["before"] == {"power mode": "15W"} and result["diff"]["after"] == {"power mode": "MAXN_SUPER"}
    four_times("nvpmodel", mode="MODE_25W", **board)
    four_times("nvpmodel", state="original", **board)
    assert mode_now(tmp_path) == 0
    assert list((tmp_path / "originals").iterdir()) == []


def test_mode_that_needs_a_reboot_says_so_and_changes_nothing(board, tmp_path, run_module):
    for _time in range(2):
        result = run_module("nvpmodel", mode="7W", **board)
        assert (result["changed"], result["reboot_required"], result["mode"]) == (False, True, "15W")
        assert result["diff"]["before"] == result["diff"]["after"]
    assert mode_now(tmp_path) == 0 and not (tmp_path / "rebooted").exists()
    # The command that it names does it.
    assert os.system(result["reboot_command"] + " > /dev/null") == 0
    assert mode_now(tmp_path) == 3 and (tmp_path / "rebooted").exists()
    assert not run_module("nvpmodel", mode="7W", **board)["changed"]


def test_check_mode_knows_the_reboot_where_it_is_known(board, run_module):
    assert run_module("nvpmodel", check=True, mode="7W", reboot_modes=["7W"], **board)["reboot_required"]
    assert run_module("nvpmodel", check=True, mode="25W", reboot_modes=["7W"], **board)["changed"]


def test_unknown_mode_changes_nothing(board, tmp_path, run_module):
    for check in (True, False):
        result = run_module("nvpmodel", check=check, mode="MAXN", **board)
        assert "15W, 25W, MAXN_SUPER, 7W" in result["msg"] and len(result["modes"]) == 4
    assert mode_now(tmp_path) == 0 and not (tmp_path / "originals").exists()


def test_gathered_lists_the_modes(board, run_module):
    result = run_module("nvpmodel", state="gathered", **board)
    assert result["modes"][3] == {"id": 3, "name": "7W"} and (result["mode"], result["changed"]) == ("15W", False)


def test_board_in_none_of_its_modes_goes_back_to_its_default(board, tmp_path, run_module):
    (tmp_path / "var/status").write_text("pmode:0009 fmode:quiet\n")
    assert run_module("nvpmodel", mode="MAXN_SUPER", **board)["changed"]
    assert run_module("nvpmodel", state="original", **board)["mode"] == "25W"


def test_host_without_power_modes_is_told_apart(board, tmp_path, run_module):
    (tmp_path / "etc/nvpmodel.conf").write_text("# nothing\n")
    assert "names no power mode" in run_module("nvpmodel", mode="MAXN", **board)["msg"]
    (tmp_path / "etc/nvpmodel.conf").unlink()
    assert "it is no Jetson" in run_module("nvpmodel", mode="MAXN", **board)["msg"]
    assert not run_module("nvpmodel", state="original", **board)["changed"]


@pytest.mark.parametrize(
    "command, words",
    [
        ('#!/bin/sh\n[ "$1" = -q ] && echo "NV Power Mode: 15W" || echo "NVPM ERROR: no" >&2\n', "did not take the power mode 25W (number 1)"),
        ("#!/bin/sh\necho 'NVPM ERROR: run as root' >&2\nexit 1\n", "become: true"),
    ],
    ids=["says yes and does nothing", "wants root"],
)
def test_nvpmodel_that_refuses(board, tmp_path, run_module, command, words):
    (tmp_path / "bin/nvpmodel").write_text(command)
    assert words in run_module("nvpmodel", mode="25W", **board)["msg"]


def test_question_of_any_kind_finds_the_end_of_its_input(board, tmp_path, run_module):
    (tmp_path / "bin/nvpmodel").write_text('#!/bin/sh\n[ "$1" = -q ] && { echo "NV Power Mode: 15W"; exit; }\nread a; read b; read c; exit 1\n')
    begin = time.monotonic()
    assert "did not take" in run_module("nvpmodel", mode="25W", **board)["msg"]
    assert time.monotonic() - begin < 20
