"""The module swapfile: real files and real mkswap; taking them into use is tested for real in tests/system."""

import os
import re
import subprocess

import pytest
from ansible_collections.tfleet.serving.plugins.module_utils import memory
from ansible_collections.tfleet.serving.plugins.module_utils.filesystems import file_system_of, swap_refusal
from ansible_collections.tfleet.serving.plugins.module_utils.fstab import Fstab, swap_line

from .system_tree import SWAPS, Tree

MIB = 1024 * 1024
FSTAB = "# a comment\nUUID=1 / ext4 defaults 0 1\n\n/dev/sdb1\t/data  ext4 noatime 0 2"


@pytest.fixture
def tree(tmp_path, monkeypatch):
    tree = Tree(tmp_path)
    monkeypatch.setenv("PATH", tree.path)
    (tmp_path / "etc/fstab").write_text(FSTAB + "\n")
    return tree


@pytest.fixture
def path(tree):
    return tree.root / "disk/swapfile"


@pytest.fixture
def arguments(tree, path):
    return {"path": str(path), "keep_free_percent": 0, **tree.roots}


def make_swap(path, mib, mode=0o600):
    path.write_bytes(b"\0" * mib * MIB)
    path.chmod(mode)
    subprocess.run(["mkswap", str(path)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"})
    return path


def fstab(tree):
    return (tree.root / "etc/fstab").read_text()


def test_made_changed_and_taken_back(tree, path, arguments, four_times, run_module):
    made = four_times("swapfile", size="8M", **arguments)[1]
    assert (made["size_bytes"], made["active"]) == (8 * MIB, True)
    assert path.stat().st_mode & 0o777 == 0o600 and path.stat().st_size == 8 * MIB
    assert path.stat().st_blocks * 512 >= 8 * MIB
    assert tree.swaps() == [str(path)]
    assert fstab(tree) == f"{FSTAB}\n{path} none swap sw,nofail 0 0\n"

    for size, mib in (("12M", 12), ("4096K", 4)):
        assert four_times("swapfile", size=size, **arguments)[1]["size_bytes"] == mib * MIB
        assert path.stat().st_size == mib * MIB
    assert fstab(tree).count(str(path)) == 1

    assert four_times("swapfile", state="original", **arguments)[1]["size_bytes"] == 0
    assert (path.exists(), tree.swaps(), fstab(tree), tree.records) == (False, [], FSTAB + "\n", [])
    assert os.listdir(tree.root / "disk") == []


def test_one_that_was_there_is_put_back_as_it_was(tree, path, arguments, four_times):
    make_swap(path, 4)
    (tree.root / "etc/fstab").write_text(f"{path} swap swap defaults,pri=3 0 0\n{FSTAB}\n")
    tree_swaps = SWAPS + f"{path} file\t4092\t0\t3\n"
    (tree.root / "proc/swaps").write_text(tree_swaps)
    four_times("swapfile", size="8M", priority=7, **arguments)
    assert fstab(tree) == f"{path} none swap sw,nofail,pri=7 0 0\n{FSTAB}\n"
    back = four_times("swapfile", state="original", **arguments)[1]
    assert (back["size_bytes"], back["active"]) == (4 * MIB, True)
    assert fstab(tree) == f"{path} swap swap defaults,pri=3 0 0\n{FSTAB}\n"
    assert (tree.root / "proc/swaps").read_text().split() == tree_swaps.split()


def test_one_that_does_already_is_left_alone(tree, path, arguments, run_module):
    make_swap(path, 4)
    line = f"{path}   swap  swap  defaults,nofail 0 0"
    (tree.root / "etc/fstab").write_text(line + "\n")
    (tree.root / "proc/swaps").write_text(SWAPS + f"{path} file\t4092\t0\t-2\n")
    assert not run_module("swapfile", size="4M", **arguments)["changed"]
    assert fstab(tree) == line + "\n"


def test_absent_removes_file_and_line(tree, path, arguments, four_times):
    make_swap(path, 4)
    (tree.root / "etc/fstab").write_text(FSTAB + f"\n{path} none swap sw 0 0\n{path} none swap sw 0 0\n")
    result = four_times("swapfile", state="absent", **arguments)[1]
    assert result["actions"] == [f"remove {path} from {tree.root}/etc/fstab", f"remove {path}"]
    assert not path.exists()
    assert fstab(tree) == FSTAB + "\n"


def test_not_persistent_leaves_fstab_alone(tree, path, arguments, four_times):
    four_times("swapfile", size="4M", persistent=False, **arguments)
    assert fstab(tree) == FSTAB + "\n"


def test_mode_that_others_can_read_is_mended(tree, path, arguments, four_times):
    make_swap(path, 4, 0o644)
    four_times("swapfile", size="4M", **arguments)
    assert path.stat().st_mode & 0o777 == 0o600


def test_sparse_file_is_made_anew(tree, path, arguments, run_module):
    make_swap(path, 4)
    content = path.read_bytes()[:65536]
    path.write_bytes(content)
    os.truncate(path, 4 * MIB)
    assert any("make a swap file" in action for action in run_module("swapfile", size="4M", **arguments)["actions"])
    assert path.stat().st_blocks * 512 >= 4 * MIB


@pytest.mark.parametrize("left", [b"", b"half of a file" * 1000], ids=["nothing yet", "half"])
def test_what_a_killed_run_left_is_taken_away(tree, path, arguments, four_times, left):
    (path.parent / ".swapfile.tfleet-new").write_bytes(left)
    four_times("swapfile", size="4M", **arguments)
    assert os.listdir(path.parent) == ["swapfile"]


def test_run_killed_before_it_was_taken_into_use_is_finished(tree, path, arguments, four_times):
    make_swap(path, 4)
    four_times("swapfile", size="4M", **arguments)
    assert tree.swaps() == [str(path)]


def test_file_that_the_kernel_refuses_is_removed_again(tree, path, arguments, run_module):
    (tree.root / "bin/swapon").write_text("#!/bin/sh\necho swapon: Operation not permitted >&2\nexit 255\n")
    result = run_module("swapfile", size="4M", **arguments)
    assert "Operation not permitted" in result["msg"] and "become: true" in result["msg"] and "removed again" in result["msg"]
    assert (os.listdir(path.parent), fstab(tree)) == ([], FSTAB + "\n")


# ---- refusals: nothing is changed ----
def refused(run_module, tree, arguments, **changes):
    before = {file: file.read_bytes() for file in tree.root.rglob("*") if file.is_file() and "collections" not in str(file) and "arguments" not in file.name}
    results = [run_module("swapfile", check=check, **{"size": "4M", **arguments, **changes}) for check in (True, False)]
    assert [result.get("failed") for result in results] == [True, True]
    # What the disk has left may change between the two.
    assert re.sub(r"[0-9]+ MiB", "N MiB", results[0]["msg"]) == re.sub(r"[0-9]+ MiB", "N MiB", results[1]["msg"])
    after = {file: file.read_bytes() for file in tree.root.rglob("*") if file.is_file() and "collections" not in str(file) and "arguments" not in file.name}
    assert after == before
    return results[1]["msg"]


@pytest.mark.parametrize("disk", ["overlay", "tmpfs", "nfs4", "btrfs", "vfat", "squashfs", "fuse.sshfs", "zfs"])
def test_file_system_that_takes_no_swap_file_is_refused(tree, arguments, run_module, disk):
    tree.mount(disk)
    assert disk in refused(run_module, tree, arguments)


def test_read_only_file_system_is_refused(tree, arguments, run_module):
    tree.mount("ext4", "ro")
    assert "read-only" in refused(run_module, tree, arguments)


def test_btrfs_without_copy_on_write_is_taken(tree):
    tree.mount("btrfs", "rw,nodatacow")
    assert swap_refusal(file_system_of(str(tree.root / "disk"), str(tree.root / "proc")), str(tree.root / "disk")) is None


def test_more_than_the_disk_has_is_refused_with_what_it_has(tree, arguments, run_module):
    disk = os.statvfs(tree.root)
    msg = refused(run_module, tree, arguments, size=f"{disk.f_frsize * disk.f_bavail // MIB + 1}M", keep_free_percent=10)
    assert "10 % of the disk stay free" in msg and "MiB or less" in msg


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda path: path.mkdir(), "a directory"),
        (lambda path: path.symlink_to("/nowhere"), "a symbolic link"),
        (lambda path: path.write_text("a file of somebody"), "without a swap signature"),
        (os.mkfifo, "no regular file"),
    ],
    ids=["directory", "link", "file", "pipe"],
)
@pytest.mark.parametrize("state", ["present", "absent"])
def test_what_is_no_swap_file_is_never_touched(tree, path, arguments, run_module, make, words, state):
    make(path)
    assert words in refused(run_module, tree, arguments, state=state)


def test_swap_that_finds_no_room_in_memory_stays(tree, path, arguments, run_module):
    make_swap(path, 4)
    (tree.root / "proc/swaps").write_text(SWAPS + f"{path} file\t2097152\t1048576\t-2\n")
    tree.memory(4096, 500)
    msg = refused(run_module, tree, arguments, size="8M")
    assert "1 GiB of swap are in use" in msg and "500 MiB of memory" in msg


@pytest.mark.parametrize("size", ["", "many", "-1G", "0", "100", "50%", "1.2.3G"])
def test_size_that_is_none_is_refused(tree, arguments, run_module, size):
    assert "size" in refused(run_module, tree, arguments, size=size)


@pytest.mark.parametrize(
    "changes, words",
    [({"path": "swapfile"}, "absolute"), ({"path": "/nowhere/at/all/swapfile"}, "no directory"), ({"priority": 40000}, "0 to 32767"),
     ({"keep_free_percent": 100}, "0 to 99")],
    ids=["relative", "no directory", "priority", "percent"],
)  # fmt: skip
def test_nonsense_is_refused(tree, arguments, run_module, changes, words):
    changes = dict(changes)
    if changes.get("path") == "swapfile":
        changes["path"] = "../swapfile"
    assert words in refused(run_module, tree, arguments, **changes)


# ---- sizes, fstab and mounts ----
@pytest.mark.parametrize(
    "text, expected",
    [("8G", 8 << 30), ("512M", 512 << 20), ("1.5G", 1536 << 20), ("8GiB", 8 << 30), ("2gb", 2 << 30), ("1048576", 1 << 20), ("1048577", 2 << 20),
     ("50%", 2 << 30), ("12.5 %", 512 << 20)],
)  # fmt: skip
def test_sizes(text, expected):
    assert memory.parse_size(text, "size", 4 << 30) == expected


@pytest.mark.parametrize("size, text", [(8 << 30, "8 GiB"), (1536 << 20, "1.5 GiB"), (300 << 20, "300 MiB")])
def test_sizes_for_people(size, text):
    assert memory.human(size) == text


def test_fstab_keeps_every_other_byte(tmp_path):
    path = tmp_path / "fstab"
    before = b"# \xe4 in latin-1\r\n/dev/x /a\\040b ext4 defaults 0 1\n/swap\\040file none swap sw 0 0\n#/swap none swap sw 0 0\n\t\n/dev/sda2 none swap sw 0 0"
    path.write_bytes(before)
    path.chmod(0o600)
    table = Fstab(str(path))
    assert table.lines_of("/swap file") == ["/swap\\040file none swap sw 0 0"]
    table.replace("/swap file", [swap_line("/swap file", 5)])
    assert path.read_bytes() == before.replace(b"/swap\\040file none swap sw 0 0", b"/swap\\040file none swap sw,nofail,pri=5 0 0") + b"\n"
    assert path.stat().st_mode & 0o777 == 0o600
    table.replace("/swap file", [])
    assert b"swap\\040file" not in path.read_bytes() and table.lines_of("/dev/sda2")


def test_fstab_that_is_missing_or_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "fstab").symlink_to("real/fstab")
    table = Fstab(str(tmp_path / "fstab"))
    assert table.lines_of("/swap") == []
    table.replace("/swap", ["/swap none swap sw,nofail 0 0"])
    assert (tmp_path / "fstab").is_symlink() and (tmp_path / "real/fstab").read_text() == "/swap none swap sw,nofail 0 0\n"


@pytest.mark.parametrize(
    "path, expected",
    [("/srv/disk/swap", "ext4"), ("/srv/diskette", "xfs"), ("/srv", "xfs"), ("/with blank/x", "f2fs"), ("/home", "overlay"), ("/srv/disk", "ext4")],
)
def test_file_system_by_the_longest_mount_point(tmp_path, path, expected):
    mounts = ["overlay / overlay", "x /srv xfs", "y /srv/disk tmpfs", "y /srv/disk ext4", "z /with\\040blank f2fs"]
    (tmp_path / "mounts").write_text("".join(f"{mount} rw 0 0\n" for mount in mounts))
    assert file_system_of(path, str(tmp_path)).type == expected
