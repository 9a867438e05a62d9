"""Who is to blame when the server dies while it loads."""

import json
import os
import threading
import time

import pytest

from tfleet.server import start_guard
from tfleet.server.start_guard import StartGuard
from tfleet.server.status import ABORTED, StatusError


class Host:
    """A directory with versions, and servers on it that die or end."""

    def __init__(self, root):
        self.root = root
        self.file = root / "guard.json"
        self.guard = None
        self.unfinished = []

    def start(self):
        self.die()
        self.guard = StartGuard(str(self.file))
        self.guard.open()
        return self.guard

    def die(self):
        """Like SIGKILL: nothing is written, the kernel takes the lock back."""
        if self.guard is not None:
            os.close(self.guard._lock_file)

    def path(self, version):
        directory = self.root / str(version)
        directory.mkdir(exist_ok=True)
        return str(directory)

    def load(self, *versions):
        """Begins to load and does not come to an end."""
        for version in versions:
            self.unfinished.append(self.guard.loading("m", version, self.path(version)))
            self.unfinished[-1].__enter__()

    def allowed(self, *versions):
        return sorted(self.guard.allowed("m", str(self.root), {version: str(version) for version in versions}))


@pytest.fixture
def host(tmp_path):
    one = Host(tmp_path)
    one.start()
    yield one
    one.die()


def test_the_version_that_was_being_loaded_is_put_aside(host):
    host.load(2)
    host.start()
    assert host.allowed(1, 2) == [1]
    why = host.guard.put_aside("m")[2]
    assert why.code == ABORTED
    assert "Version 2 of model m was being loaded when the server died" in why.message
    assert host.guard.put_aside("other") == {}
    assert host.start() and host.allowed(1, 2) == [1], "and it stays aside"


def test_a_version_that_was_loaded_or_failed_is_not(host):
    with host.guard.loading("m", 1, host.path(1)):
        pass
    with pytest.raises(RuntimeError), host.guard.loading("m", 2, host.path(2)):
        raise RuntimeError
    host.start()
    assert host.allowed(1, 2) == [1, 2]


def test_an_orderly_end_blames_nobody(host):
    host.load(2)
    host.guard.close()
    host.start()
    assert host.allowed(1, 2) == [1, 2]


def test_of_several_the_next_death_names_the_culprit(host):
    host.load(1, 2, 3)
    host.start()
    assert host.allowed(1, 2, 3) == [1, 2, 3], "nobody knows which yet"
    with host.guard.loading("m", 1, host.path(1)):
        pass
    host.load(2)
    host.start()
    assert host.allowed(1, 2, 3) == [1, 3]
    host.load(3)  # was never cleared
    host.start()
    assert host.allowed(1, 2, 3) == [1]


def test_suspects_are_loaded_alone_and_after_the_others(host):
    host.load(1, 2)
    host.start()
    order = []

    def load(version, seconds):
        with host.guard.loading("m", version, host.path(version)):
            order.append(("begin", version))
            time.sleep(seconds)
            order.append(("end", version))

    loads = [threading.Thread(target=load, args=arguments) for arguments in ((3, 0.3), (4, 0.2), (1, 0.1), (2, 0.1))]
    for one in loads:
        one.start()
        time.sleep(0.02)
    for one in loads:
        one.join()
    assert order[:4] == [("begin", 3), ("begin", 4), ("end", 4), ("end", 3)]
    assert sorted((order[4:6], order[6:])) == [[("begin", 1), ("end", 1)], [("begin", 2), ("end", 2)]]


def test_a_host_that_went_down_gives_one_more_chance(host, monkeypatch):
    host.load(2)
    monkeypatch.setattr(start_guard, "_boot_id", lambda: "the next one")
    host.start()
    assert host.allowed(1, 2) == [1, 2]
    host.load(2)
    monkeypatch.setattr(start_guard, "_boot_id", lambda: "the one after")
    host.start()
    assert host.allowed(1, 2) == [1], "a version that takes the host down twice"


def test_a_version_that_changed_is_tried_again(host):
    host.load(2)
    host.start()
    (host.root / "2" / "saved_model.pb").write_text("repaired")
    assert host.allowed(1, 2) == [1, 2]
    host.start()
    assert host.allowed(1, 2) == [1, 2]


def test_a_version_that_went_is_forgotten(host):
    host.load(2)
    host.start()
    (host.root / "2").rmdir()
    assert host.allowed(1) == [1]
    assert host.guard.put_aside("m") == {}


def test_a_second_server_does_not_take_a_load_for_a_crash(host):
    host.load(2)
    with pytest.raises(StatusError, match="is used by another server"):
        StartGuard(str(host.file)).open()
    assert [row["version"] for row in json.loads(host.file.read_text())["loading"]] == [2]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"boot": "", "loading": [1], "suspects": [], "aside": []}'])
def test_a_damaged_record_is_begun_anew(host, text, caplog):
    host.file.write_text(text)
    host.start()
    assert "The start guard begins anew" in caplog.text
    assert host.allowed(1, 2) == [1, 2]


def test_a_directory_that_is_not_there(tmp_path):
    with pytest.raises(StatusError, match="cannot be used: No such file or directory"):
        StartGuard(str(tmp_path / "absent" / "guard.json")).open()


def test_without_a_file_it_does_nothing(tmp_path):
    guard = StartGuard()
    guard.open()
    with guard.loading("m", 1, str(tmp_path)):
        pass
    guard.close()
    assert guard.allowed("m", str(tmp_path), {1: "1"}) == {1: "1"}
