"""A disk that becomes full while a release is unpacked: real small file systems, which only root can mount."""
import os
import subprocess

import pytest
from ansible_collections.tfleet.serving.plugins.module_utils import release_archive
from ansible_collections.tfleet.serving.plugins.module_utils.staging import Ownership, StagingError
from ansible_collections.tfleet.serving.plugins.module_utils.version_store import Desired, VersionStore
from ansible_collections.tfleet.serving.tests.unit.plugins.release_tools import make_release, tree


@pytest.fixture
def small_disk(tmp_path):
    """Mount a tmpfs with the given options and return its directory."""
    mounted = []

    def mount(options):
        if os.geteuid() != 0:
            pytest.skip("needs root to mount a small file system")
        directory = tmp_path / "disk"
        directory.mkdir()
        process = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tfleet-test", str(directory)], stderr=subprocess.PIPE, check=False)
        if process.returncode != 0:
            pytest.fail("Root may not mount a tmpfs here, so a full disk cannot be tested: %s. Give the container CAP_SYS_ADMIN, or run the "
                        "tests as another user to have this listed as not run." % process.stderr.decode().strip())
        mounted.append(str(directory))
        return directory

    yield mount
    for directory in mounted:
        subprocess.run(["umount", directory], check=True)


def big_release(directory, version, size=600 * 1024):
    return make_release(directory, version, {"saved_model.pb": b"graph", "variables/data": b"w" * size})


def test_a_release_that_does_not_fit_is_refused_before_it_is_begun(run_module, small_disk, tmp_path):
    base = small_disk("size=1m") / "digits"
    arguments = {"base_path": str(base), "model": "digits", "version": 1, "src": big_release(tmp_path, 1, 1024 * 1024)}
    result = run_module("model_version", **arguments)
    assert result["failed"] is True
    assert "Not enough room on the disk" in result["msg"]
    assert result["needed_bytes"] > 1024 * 1024 >= result["free_bytes"]
    assert not base.exists()


def test_what_fits_but_leaves_less_than_the_reserve_is_refused(run_module, small_disk, tmp_path):
    base = small_disk("size=1m") / "digits"
    arguments = {"base_path": str(base), "model": "digits", "version": 1, "src": big_release(tmp_path, 1)}
    assert "reserve_bytes" in run_module("model_version", reserve_bytes=500 * 1024, **arguments)["msg"]
    assert run_module("model_version", reserve_bytes=100 * 1024, **arguments)["changed"] is True


def test_running_out_of_inodes_on_the_way_leaves_nothing_behind(run_module, small_disk, tmp_path):
    # The room is checked, the number of free inodes is not: this is how a disk becomes full in spite of the check.
    base = small_disk("size=1m,nr_inodes=5") / "digits"
    result = run_module("model_version", base_path=str(base), model="digits", version=1, src=big_release(tmp_path, 1))
    assert result["failed"] is True
    assert "became full" in result["msg"]
    assert "removed" in result["msg"]
    assert tree(base) == {}


class Eater:
    """A release during whose unpacking somebody else fills the disk."""

    def __init__(self, release, directory):
        self.manifest, self.content, self.path = release.manifest, release.content, release.path
        self._release, self._directory = release, directory

    def open(self, name):
        if name == "variables/data":
            with pytest.raises(OSError, match="No space left"), open(str(self._directory / "eaten"), "wb", buffering=0) as stream:
                while True:
                    stream.write(b"x" * 4096)
        return self._release.open(name)


def test_a_disk_filled_by_somebody_else_leaves_the_old_version_and_no_half_one(small_disk, tmp_path):
    disk = small_disk("size=1m")
    base = disk / "digits"
    store = VersionStore(str(base), Ownership())
    old = release_archive.open_release(make_release(tmp_path, 1))
    store.prepare(old)

    def deploy(version, release):
        desired = Desired("digits", version, "present", 0, frozenset(), "")
        for action in store.plan(desired, store.scan(), release)[0]:
            store.perform(action, desired, release)

    deploy(1, old)
    before = tree(base)
    new = release_archive.open_release(big_release(tmp_path, 2))
    store.check_space(new)
    with pytest.raises(StagingError, match=r"became full.*removed"):
        deploy(2, Eater(new, disk))
    assert tree(base) == before
    (disk / "eaten").unlink()
    deploy(2, new)
    assert sorted(store.scan().versions) == [1, 2]
    new.close()
    old.close()
