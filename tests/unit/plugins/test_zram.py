"""The module zram: each manager's files and units in a tree; real zram devices are in tests/system."""

import pathlib

import pytest

from .system_tree import SWAPS, Tree

MIB = 1024 * 1024
DEVICE = pathlib.Path(__file__).parents[2] / "system/device"
ZRAMSWAP = "#ALGO=lz4\nPERCENT=50\n#SIZE=256\nPRIORITY=100\n"
GENERATOR = "# half of the memory\n[zram0]\ncompression-algorithm = zstd\n\n[zram1]\nmount-point = /var/cache\n"


@pytest.fixture
def tree(tmp_path, monkeypatch):
    tree = Tree(tmp_path)
    monkeypatch.setenv("PATH", tree.path)
    return tree


@pytest.fixture
def arguments(tree):
    return {"sys_root": f"{tree.root}/sys", **tree.roots}


@pytest.fixture
def nvzramconfig(tree):
    """JetPack's own: 2 devices, half of 4 GiB together."""
    units = tree.root / "etc/systemd/system"
    (units / "nvzramconfig.service").write_text((DEVICE / "nvzramconfig.service").read_text())
    enable(tree, "nvzramconfig.service")
    script = tree.root / "etc/systemd/nvzramconfig.sh"
    script.write_text((DEVICE / "nvzramconfig.sh").read_text())
    script.chmod(0o755)
    running(tree, 2, 1024, 5)
    return script


@pytest.fixture
def zram_tools(tree):
    (tree.root / "etc/systemd/system/zramswap.service").write_text("[Service]\nExecStart=/usr/sbin/zramswap start\n[Install]\nWantedBy=multi-user.target\n")
    enable(tree, "zramswap.service")
    config = tree.root / "etc/default/zramswap"
    config.write_text(ZRAMSWAP)
    running(tree, 1, 2048, 100)
    return config


@pytest.fixture
def generator(tree):
    (tree.root / "packages/systemd-zram-generator").touch()
    config = tree.root / "etc/systemd/zram-generator.conf"
    config.write_text(GENERATOR)
    running(tree, 1, 2048, 100)
    return config


def enable(tree, unit):
    wants = tree.root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / unit).symlink_to(f"/etc/systemd/system/{unit}")


def enabled(tree, unit):
    return (tree.root / "etc/systemd/system/multi-user.target.wants" / unit).is_symlink()


def running(tree, count, mib, priority):
    lines = ""
    for number in range(count):
        (tree.root / f"sys/block/zram{number}/disksize").write_text(f"{mib * MIB}\n")
        lines += f"/dev/zram{number} partition\t{mib * 1024 - 4}\t0\t{priority}\n"
    (tree.root / "proc/swaps").write_text(SWAPS + lines)


# ---- JetPack's own ----
def test_nvzramconfig_is_resized_and_put_back(tree, arguments, nvzramconfig, four_times):
    before = nvzramconfig.read_text()
    result = four_times("zram", size="1G", **arguments)[1]
    assert (result["manager"], result["size_bytes"], result["reboot_required"]) == ("nvzramconfig", 1024 * MIB, None)
    assert result["actions"] == [f"write {nvzramconfig}", "swap off /dev/zram0, /dev/zram1", "free the devices", "start nvzramconfig.service"]
    assert tree.zram_bytes() == 1024 * MIB
    changed = set(nvzramconfig.read_text().splitlines()) ^ set(before.splitlines())
    assert {line[:4] for line in changed} == {"mem="}
    assert nvzramconfig.stat().st_mode & 0o777 == 0o755
    # Only the line is put back: a release between may have brought another script.
    nvzramconfig.write_text(nvzramconfig.read_text() + "# upgraded\n")
    (tree.root / "sys/block/zram0/disksize").write_text("0\n")
    record = (tree.root / "originals/zram.json").read_text()
    assert "mem=$(( (memory / 2 / cores) * 1024 ))" in record
    (tree.root / "bin/systemctl").write_text((tree.root / "bin/systemctl").read_text().replace("eval ", "memory=4194304 cores=2; eval "))
    four_times("zram", state="original", **arguments)
    assert nvzramconfig.read_text() == before + "# upgraded\n"
    assert (tree.zram_bytes(), tree.records) == (2048 * MIB, [])


def test_nvzramconfig_is_disabled_and_put_back(tree, arguments, nvzramconfig, four_times):
    four_times("zram", state="absent", **arguments)
    assert (tree.swaps(), enabled(tree, "nvzramconfig.service")) == ([], False)
    (tree.root / "bin/systemctl").write_text((tree.root / "bin/systemctl").read_text().replace("eval ", "memory=4194304 cores=2; eval "))
    four_times("zram", state="original", **arguments)
    assert (tree.zram_bytes(), enabled(tree, "nvzramconfig.service"), tree.records) == (2048 * MIB, True, [])


def test_percentage_is_of_the_memory(tree, arguments, nvzramconfig, run_module):
    # The devices have that size already; from now on they keep it, whatever the script's own share.
    assert run_module("zram", size="50%", **arguments)["actions"] == [f"write {nvzramconfig}"]
    assert f"mem=$(( {2048 * MIB} / " in nvzramconfig.read_text()


def test_upgrade_that_brought_the_script_back_is_told_again(tree, arguments, nvzramconfig, four_times):
    before = nvzramconfig.read_text()
    four_times("zram", size="1G", **arguments)
    nvzramconfig.write_text(before)
    assert four_times("zram", size="1G", **arguments)[1]["actions"] == [f"write {nvzramconfig}"]


@pytest.mark.parametrize("text", ["#!/bin/sh\nexit 0\n", "mem=1\nmem=2\n", ""], ids=["none", "two", "empty"])
def test_script_of_an_unknown_form_is_refused_and_can_still_be_turned_off(tree, arguments, nvzramconfig, run_module, text):
    nvzramconfig.write_text(text)
    assert "mem=" in run_module("zram", size="1G", **arguments)["msg"]
    assert nvzramconfig.read_text() == text
    assert run_module("zram", state="absent", **arguments)["size_bytes"] == 0
    assert tree.swaps() == []


def test_devices_that_find_no_room_change_at_the_next_boot(tree, arguments, nvzramconfig, run_module):
    tree.use("/dev/zram0", 900)
    tree.memory(4096, 400)
    first = run_module("zram", size="1G", **arguments)
    assert first["changed"] and first["actions"] == [f"write {nvzramconfig}"]
    assert "900 MiB of swap are in use" in first["reboot_required"] and "next boot" in str(first["warnings"])
    second = run_module("zram", size="1G", **arguments)
    assert not second["changed"] and second["reboot_required"]
    assert tree.zram_bytes() == 2048 * MIB
    # Room in other swap counts as well.
    (tree.root / "proc/swaps").write_text((tree.root / "proc/swaps").read_text() + "/swapfile file\t1048576\t0\t-2\n")
    assert run_module("zram", size="1G", **arguments)["reboot_required"] is None
    assert tree.zram_bytes() == 1024 * MIB


def test_manager_that_makes_something_else_is_an_error(tree, arguments, nvzramconfig, run_module):
    (tree.root / "bin/systemctl").write_text((tree.root / "bin/systemctl").read_text().replace("count=2", "count=0"))
    assert "was told to make 1 GiB of zram and made 0 MiB" in run_module("zram", size="1G", **arguments)["msg"]


# ---- the packages ----
def test_zram_tools_are_sized_disabled_and_put_back(tree, arguments, zram_tools, four_times):
    assert four_times("zram", size="1G", **arguments)[1]["manager"] == "zram-tools"
    assert zram_tools.read_text() == "#ALGO=lz4\n#PERCENT=50\n#SIZE=256\nPRIORITY=100\nSIZE=1024\n"
    assert tree.zram_bytes() == 1024 * MIB
    four_times("zram", size="512M", **arguments)
    assert zram_tools.read_text().count("SIZE=512\n") == 1
    four_times("zram", state="absent", **arguments)
    assert (tree.swaps(), enabled(tree, "zramswap.service")) == ([], False)
    (tree.root / "bin/systemctl").write_text((tree.root / "bin/systemctl").read_text().replace("SIZE * 1048576", "2048 * 1048576"))
    four_times("zram", state="original", **arguments)
    assert (zram_tools.read_text(), enabled(tree, "zramswap.service"), tree.zram_bytes()) == (ZRAMSWAP, True, 2048 * MIB)


def test_generator_is_sized_disabled_and_put_back(tree, arguments, generator, four_times):
    assert four_times("zram", size="1G", **arguments)[1]["manager"] == "systemd-zram-generator"
    assert generator.read_text() == GENERATOR.replace("zstd\n", "zstd\nzram-size = 1024\n")
    assert tree.zram_bytes() == 1024 * MIB
    four_times("zram", state="absent", **arguments)
    assert generator.read_text() == "# half of the memory\n\n[zram1]\nmount-point = /var/cache\n"
    assert tree.swaps() == []
    four_times("zram", state="original", **arguments)
    assert (generator.read_text(), tree.zram_bytes(), tree.records) == (GENERATOR, 2048 * MIB, [])


def test_generator_without_a_file(tree, arguments, four_times):
    (tree.root / "packages/systemd-zram-generator").touch()
    config = tree.root / "etc/systemd/zram-generator.conf"
    four_times("zram", size="1G", **arguments)
    assert config.read_text() == "[zram0]\nzram-size = 1024\n"
    four_times("zram", state="original", **arguments)
    assert (config.exists(), tree.swaps(), tree.records) == (False, [], [])


def test_check_mode_announces_a_manager_that_is_not_installed_yet(tree, arguments, run_module):
    result = run_module("zram", check=True, size="1G", announced_manager="systemd-zram-generator", **arguments)
    assert result["changed"] and result["manager"] == "systemd-zram-generator"
    assert "Install systemd-zram-generator or zram-tools" in run_module("zram", size="1G", announced_manager="zram-tools", **arguments)["msg"]


# ---- whose zram it is ----
def test_two_managers_are_refused(tree, arguments, nvzramconfig, zram_tools, run_module):
    msg = run_module("zram", size="1G", **arguments)["msg"]
    assert "Two managers" in msg and "nvzramconfig" in msg and "zram-tools" in msg
    assert zram_tools.read_text() == ZRAMSWAP


def test_manager_that_is_installed_and_off_does_not_count(tree, arguments, nvzramconfig, generator, run_module):
    generator.write_text("# off\n")
    running(tree, 2, 1024, 5)
    assert run_module("zram", state="gathered", **arguments)["manager"] == "nvzramconfig"


def test_devices_that_nobody_knows_are_left_alone(tree, arguments, run_module):
    running(tree, 1, 512, 10)
    for state in ("present", "absent"):
        assert "managed by somebody else: /dev/zram0 is in use" in run_module("zram", size="1G", state=state, **arguments)["msg"]
    assert tree.zram_bytes() == 512 * MIB


@pytest.mark.parametrize(
    "path, text",
    [
        ("fstab", "/dev/zram0 none swap sw 0 0\n"),
        ("udev/rules.d/99-zram.rules", 'KERNEL=="zram0", ATTR{disksize}="1G"\n'),
        ("systemd/system/my-swap.service", "[Service]\nExecStart=/bin/sh -c 'echo 1G > /sys/block/zram0/disksize'\n"),
        ("rc.local", "modprobe zram && zramctl --find\n"),
        ("init.d/zram-config", "start() { modprobe zram num_devices=4; }\n"),
    ],
)  # fmt: skip
def test_strangers_are_named(tree, arguments, nvzramconfig, run_module, path, text):
    file = tree.root / "etc" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    result = run_module("zram", size="1G", **arguments)
    assert result["strangers"] == [str(file)] and str(file) in result["msg"]
    assert tree.zram_bytes() == 2048 * MIB


@pytest.mark.parametrize(
    "path, text",
    [
        ("fstab", "# /dev/zram0 none swap sw 0 0\n"),
        ("modules-load.d/20-zram-generator.conf", "zram\n"),
        ("modprobe.d/zram.conf", "options zram num_devices=4\n"),
        ("systemd/system/app.service", "[Unit]\nAfter=nvzramconfig.service\n"),
        ("systemd/system/nvzramconfig.service.d/wait.conf", "[Unit]\nAfter=nvzramconfig-wait.service\n"),
    ],
)
def test_what_only_speaks_of_zram_is_no_stranger(tree, arguments, nvzramconfig, run_module, path, text):
    file = tree.root / "etc" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    assert run_module("zram", state="gathered", **arguments)["manager"] == "nvzramconfig"


def test_zram_with_a_file_system_is_left_alone(tree, arguments, nvzramconfig, run_module):
    mounts = tree.root / "proc/mounts"
    mounts.write_text(mounts.read_text() + "/dev/zram1 /var/cache ext4 rw 0 0\n")
    assert "/dev/zram1 holds a file system" in run_module("zram", size="1G", **arguments)["msg"]


# ---- gathered and suspended ----
def test_gathered_says_what_is_there(tree, arguments, nvzramconfig, run_module):
    result = run_module("zram", state="gathered", **arguments)
    assert (result["manager"], result["unit"], result["size_bytes"], result["changed"]) == ("nvzramconfig", "nvzramconfig.service", 2048 * MIB, False)
    assert result["devices"][0] == {"device": "/dev/zram0", "size_bytes": 1024 * MIB, "used_bytes": 0, "priority": 5}


def test_gathered_where_there_is_none(tree, arguments, run_module):
    result = run_module("zram", state="gathered", **arguments)
    assert (result["manager"], result["devices"], result["size_bytes"]) == (None, [], 0)


def test_suspended_swaps_off_and_nothing_else(tree, arguments, nvzramconfig, four_times):
    before = nvzramconfig.read_text()
    four_times("zram", state="suspended", **arguments)
    assert (tree.swaps(), nvzramconfig.read_text(), enabled(tree, "nvzramconfig.service")) == ([], before, True)
    assert (tree.root / "sys/block/zram0/disksize").read_text() == f"{1024 * MIB}\n"


def test_suspended_without_room_is_refused(tree, arguments, nvzramconfig, run_module):
    tree.use("/dev/zram0", 900)
    tree.memory(4096, 400)
    assert "cannot be swapped off now: 900 MiB" in run_module("zram", state="suspended", **arguments)["msg"]
    assert tree.zram_bytes() == 2048 * MIB


def test_original_without_a_record_is_as_it_is(tree, arguments, nvzramconfig, run_module):
    assert not run_module("zram", state="original", **arguments)["changed"]


def test_record_that_cannot_be_read_is_an_error_that_names_it(tree, arguments, nvzramconfig, run_module):
    (tree.root / "originals").mkdir()
    (tree.root / "originals/zram.json").write_text("{")
    assert f"{tree.root}/originals/zram.json" in run_module("zram", state="original", **arguments)["msg"]


@pytest.mark.parametrize("size", ["", "much", "0", "150"])
def test_size_that_is_none_is_refused(tree, arguments, nvzramconfig, run_module, size):
    assert "size" in run_module("zram", size=size, **arguments)["msg"]
    assert tree.zram_bytes() == 2048 * MIB
