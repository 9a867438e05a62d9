"""A release on its way to a device: blocks that are there are not sent again, and nothing that breaks on the way costs more than a block."""
import base64
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import types
import zlib

import pytest
from ansible_collections.tfleet.serving.plugins.action.release_stage import ActionModule
from ansible_collections.tfleet.serving.plugins.module_utils import manifest as manifests
from ansible_collections.tfleet.serving.plugins.module_utils import release_index, signature, sources
from ansible_collections.tfleet.serving.plugins.module_utils.durable import canonical_json
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.modules import model_version, release_stage
from ansible_collections.tfleet.serving.plugins.plugin_utils import release_sending
from ansible_collections.tfleet.serving.plugins.plugin_utils.transport_choice import choose
from ansible_collections.tfleet.serving.tests.unit.plugins.range_server import Mirror
from ansible_collections.tfleet.serving.tests.unit.plugins.release_tools import FILES, make_release

BLOCK = release_index.SMALLEST_BLOCK
BLOCKS = 12
WEIGHTS = "variables/variables.data-00000-of-00001"
DATA = random.Random(1).randbytes(BLOCK * BLOCKS - 1000)

DRIVER = """
import json, sys
from ansible_collections.tfleet.serving.plugins.modules import release_stage
with open(sys.argv[1]) as stream:
    release_stage.ensure(json.load(stream), False)
"""


def changed(*numbers):
    """The weights with one byte of these blocks changed."""
    data = bytearray(DATA)
    for number in numbers:
        data[number * BLOCK + 7] ^= 255
    return bytes(data)


@pytest.fixture
def folder(tmp_path):
    """Versions 1, and 2 with blocks 3, 4 and 9 changed, as a controller or mirror has them."""
    path = tmp_path / "releases"
    path.mkdir()
    for version, data in ((1, DATA), (2, changed(3, 4, 9))):
        archive = make_release(path, version, dict(FILES, **{WEIGHTS: data}))
        release_index.write(release_index.path_of(archive), archive)
    return path


@pytest.fixture
def base(tmp_path):
    return tmp_path / "models" / "digits"


def given(archive):
    """An index as the controller's part hands it over."""
    index = {key: value for key, value in release_index.load(release_index.path_of(str(archive))).items() if key != "parsed"}
    return {"index": base64.b64encode(zlib.compress(canonical_json(index))).decode()}


@pytest.fixture
def stage(base, folder):
    def run(version, work=None, check_mode=False, **more):
        params = dict({"model": "digits", "version": version, "base_path": str(base), "urls": [], "bandwidth_limit": 0, "reserve_bytes": 0, "timeout": 5,
                       "swarm_python": None}, **more)
        archive = folder / ("digits-%d.tar" % version)
        work = dict(given(archive), fetch="archive", archive=str(archive)) if work is None else work
        return release_stage.ensure(dict(params, work=work), check_mode)
    return run


@pytest.fixture
def mirror(folder):
    with Mirror(folder) as running:
        yield running


@pytest.fixture
def place(base):
    def run(version, src=None):
        return model_version.ensure({
            "base_path": str(base), "model": "digits", "version": version, "src": src, "state": "present", "reason": "", "keep": 0, "protect": [],
            "hardware_class": None, "owner": None, "group": None, "mode": "0644", "reserve_bytes": 0, "trusted_keys": []}, False)
    return run


def assert_staged(result, version):
    manifest, _content = manifests.read(result["staged"])
    assert manifest["version"] == version
    assert manifests.findings(result["staged"], manifest) == []


def test_staged_then_placed_by_a_rename_then_known(stage, place, base):
    result = stage(1)
    assert (result["changed"], result["staged"], result["bytes_reused"]) == (True, str(base / ".staging" / "1"), 0)
    assert_staged(result, 1)
    assert stage(1)["changed"] is False
    inode = os.stat(os.path.join(result["staged"], WEIGHTS)).st_ino
    place(1, result["staged"])
    assert os.stat(str(base / "1" / WEIGHTS)).st_ino == inode
    assert sorted(os.listdir(str(base))) == ["1"]
    again = stage(1)
    assert (again["changed"], again["staged"]) == (False, str(base / "1"))
    assert place(1, again["staged"])["changed"] is False


def test_what_is_signed_later_gets_its_signature_without_being_sent_again(stage, place, base, folder):
    def signed(text, where):
        work = dict(given(folder / "digits-1.tar"), fetch="archive", archive="/nowhere", signature=base64.b64encode(text).decode())
        result = stage(1, work=work)
        assert (result["changed"], result["staged"], stage(1, work=work)["changed"]) == (True, str(where), False)
        assert (where / signature.SIGNATURE).read_bytes() == text

    stage(1)
    signed(b"first", base / ".staging" / "1")
    place(1, str(base / ".staging" / "1"))
    signed(b"second", base / "1")


def test_check_mode_says_it_and_makes_nothing(stage, base):
    assert stage(1, check_mode=True)["changed"] is True
    assert not base.exists()


def test_one_aside_is_not_sent_again(stage, place, base):
    place(1, stage(1)["staged"])
    os.makedirs(str(base / ".aside"))
    shutil.move(str(base / "1"), str(base / ".aside" / "1"))
    result = stage(1)
    assert (result["changed"], result["staged"]) == (False, str(base / ".aside" / "1"))
    assert place(1, result["staged"])["versions"] == [1]


def test_the_other_version_that_was_on_its_way_is_given_up(stage, base):
    stage(1)
    stage(2)
    assert sorted(os.listdir(str(base / ".staging"))) == ["2"]


# ---- pull ----
def pull(mirror, *more, **options):
    return dict({"work": {"fetch": "pull"}, "urls": [mirror.url, *[other.url for other in more]]}, **options)


def test_an_update_fetches_its_blocks_only(stage, place, mirror):
    place(1, stage(1)["staged"])
    result = stage(2, **pull(mirror))
    assert_staged(result, 2)
    assert mirror.sent == 3 * BLOCK
    assert [name for name, _range in mirror.requests if name.endswith(".tar")] == ["digits-2.tar"] * 2
    assert result["bytes_reused"] == result["bytes"] - 3 * BLOCK


def test_a_killed_transfer_goes_on_where_it_was(stage, mirror, folder, base, collections_path):
    mirror.delay = 0.02
    params = {"model": "digits", "version": 1, "base_path": str(base), "urls": [mirror.url], "bandwidth_limit": 0, "reserve_bytes": 0, "timeout": 5,
              "swarm_python": None, "work": {"fetch": "pull"}}
    (folder / "params").write_text(json.dumps(params))
    process = subprocess.Popen([sys.executable, "-c", DRIVER, str(folder / "params")], env=dict(os.environ, PYTHONPATH=collections_path))
    while mirror.sent < 5 * BLOCK:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    mirror.delay, mirror.sent = 0.0, 0
    result = stage(1, **pull(mirror))
    assert_staged(result, 1)
    # Four blocks at least were whole, the fifth may have been cut.
    assert mirror.sent <= (BLOCKS - 4) * BLOCK


def test_a_cut_link_goes_on_with_the_next_mirror_and_by_itself_when_it_is_back(stage, folder, mirror):
    with Mirror(folder) as other:
        mirror.break_after = 3 * BLOCK
        result = stage(1, **pull(mirror, other))
        assert_staged(result, 1)
        assert other.sent <= (BLOCKS - 2) * BLOCK
    with pytest.raises(ModuleError, match="no mirror sent a byte"):
        mirror.break_after = mirror.sent
        stage(2, **pull(mirror, timeout=1))
    mirror.break_after = None
    assert_staged(stage(2, **pull(mirror)), 2)


def test_a_flipped_byte_is_asked_of_another_mirror_and_found_if_there_is_none(stage, folder, mirror):
    mirror.flip = release_index.load(release_index.path_of(str(folder / "digits-1.tar")))["files"][-2]["offset"] + 5 * BLOCK
    with Mirror(folder) as other:
        assert_staged(stage(1, **pull(mirror, other)), 1)
        assert other.sent
    with pytest.raises(ModuleError, match="is not what the index says"):
        stage(2, **pull(mirror, timeout=1))


def test_a_truncated_archive_a_swapped_one_and_an_old_one_are_refused(stage, folder, mirror):
    archive = folder / "digits-2.tar"
    whole = archive.read_bytes()
    archive.write_bytes(whole[:len(whole) // 2])
    with pytest.raises(ModuleError, match="no mirror sent a byte"):
        stage(2, **pull(mirror, timeout=1))
    archive.write_bytes((folder / "digits-1.tar").read_bytes())
    with pytest.raises(ModuleError, match="is not what the index says"):
        stage(2, **pull(mirror, timeout=1))
    shutil.copy(str(folder / "digits-1.tar.index"), str(folder / "digits-2.tar.index"))
    with pytest.raises(ModuleError, match="gives version 1 of digits for version 2"):
        stage(2, **pull(mirror))


def test_one_that_is_given_little_time_ends_after_a_block_and_goes_on_when_it_is_asked_again(stage, mirror):
    mirror.delay = 0.03
    sent, calls = 0, 0
    result = {"missing": True}
    while result["missing"]:
        result = stage(1, **pull(mirror, work={"fetch": "pull", "seconds": 0.3}))
        sent, calls = sent + result["bytes_sent"], calls + 1
    assert_staged(result, 1)
    assert calls > 3
    # The index comes each time; the blocks do not.
    assert mirror.sent < (BLOCKS + calls) * BLOCK <= sent + (calls + 1) * BLOCK


def test_a_mirror_that_has_no_signature_does_not_make_it_an_unsigned_release(stage, folder, mirror, tmp_path, monkeypatch):
    behind = tmp_path / "behind"
    shutil.copytree(str(folder), str(behind))
    (folder / "digits-1.tar.sig").write_bytes(b"signature")
    with Mirror(behind) as other:
        result = stage(1, **pull(other, mirror))
        with open(os.path.join(result["staged"], signature.SIGNATURE), "rb") as stream:
            assert stream.read() == b"signature"
        # Who has none at all asks everybody, and one that is away does not hold it up for ever.
        monkeypatch.setattr(sources, "PAUSE_SECONDS", (0.1, 0.1))
        begin = time.time()
        result = stage(2, **pull(other, urls=[other.url, "http://127.0.0.1:9"]))
        assert time.time() - begin < 3
    assert not os.path.exists(os.path.join(result["staged"], signature.SIGNATURE))


def test_a_server_without_ranges_serves_too(stage, mirror):
    mirror.ranges = False
    assert_staged(stage(1, **pull(mirror)), 1)


def test_the_bandwidth_limit_holds(stage, mirror):
    begin = time.time()
    result = stage(1, **pull(mirror, bandwidth_limit=2000000))
    assert result["bytes"] / (time.time() - begin) < 2000000 * 1.05


def test_a_secret_in_an_address_is_sent_but_not_said(stage, mirror):
    url = mirror.url.replace("//", "//user:hidden@")
    assert_staged(stage(1, work={"fetch": "pull"}, urls=[url]), 1)
    mirror.break_after = 0
    with pytest.raises(ModuleError) as caught:
        stage(2, work={"fetch": "pull"}, urls=[url], timeout=1)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("version", [1, 3])
def test_no_output_of_a_playbook_shows_a_secret_of_an_address(base, mirror, collections_path, tmp_path, version):
    arguments = {"model": "digits", "version": version, "base_path": str(base), "transport": "pull", "timeout": 1,
                 "urls": [mirror.url.replace("//", "//user:hidden@")]}
    play = tmp_path / "play.json"
    play.write_text(json.dumps([{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [
        {"tfleet.serving.release_stage": arguments, "register": "staged"}, {"ansible.builtin.debug": {"var": "staged"}}]}]))
    done = subprocess.run(
        [os.path.join(os.path.dirname(sys.executable), "ansible-playbook"), "-vvv", "-i", "localhost,", "-e", "ansible_python_interpreter=" + sys.executable,
         str(play)],
        env=dict(os.environ, ANSIBLE_COLLECTIONS_PATH=collections_path, PYTHONPATH=collections_path, ANSIBLE_HOME=str(tmp_path / "ansible"),
                 ANSIBLE_NOCOLOR="1"),
        cwd=str(tmp_path), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    output = done.stdout.decode()
    assert done.returncode == (0 if version == 1 else 2), output
    assert (str(base / ".staging" / "1") in output) == (version == 1)
    assert "invocation" in output and "hidden" not in output, output


class Elsewhere(Mirror):
    """Sends everybody to another address; what it was told of a user is in ``authorized``."""

    def __init__(self, folder, other=None):
        super().__init__(folder)
        self.other, self.authorized = other, []

    def answer(self, handler):
        self.authorized.append(handler.headers.get("Authorization"))
        if not self.other or handler.path.startswith("/there/"):
            super().answer(handler)
            return
        handler.send_response(302)
        handler.send_header("Location", "%s/there%s" % (self.other, handler.path))
        handler.send_header("Content-Length", "0")
        handler.end_headers()


def test_a_redirect_takes_the_password_no_farther_than_to_its_own_server(stage, folder):
    with Elsewhere(folder) as stranger, Elsewhere(folder, stranger.url) as mirror:
        assert_staged(stage(1, work={"fetch": "pull"}, urls=[mirror.url.replace("//", "//user:hidden@")]), 1)
        assert set(mirror.authorized) == {"Basic dXNlcjpoaWRkZW4="}
        assert set(stranger.authorized) == {None}
    with Elsewhere(folder) as mirror:
        mirror.other = mirror.url
        assert_staged(stage(2, work={"fetch": "pull"}, urls=[mirror.url.replace("//", "//user:hidden@")]), 2)
        assert set(mirror.authorized) == {"Basic dXNlcjpoaWRkZW4="}


# ---- packed copies ----
def test_packed_blocks_are_put_where_they_belong_even_if_the_last_copy_was_cut(stage, place, folder, base, monkeypatch):
    place(1, stage(1)["staged"])
    archive = folder / "digits-2.tar"
    monkeypatch.setattr(release_sending, "PART_BYTES", 2 * BLOCK)
    index = release_index.load(release_index.path_of(str(archive)))
    first = stage(2, work=given(archive))
    assert sum(count for _first, count in first["missing"][WEIGHTS]) == 3
    sent = []
    for path in release_sending.parts(str(archive), index, first["missing"]):
        sent.append(shutil.copy(path, first["parts"]))
    # One block, and as that was quickly done, two.
    assert len(sent) == 2
    os.truncate(sent[1], os.path.getsize(sent[1]) - 1)
    second = stage(2, work=given(archive))
    assert second["missing"] == {WEIGHTS: [[9, 1]]}
    for path in release_sending.parts(str(archive), index, second["missing"]):
        shutil.copy(path, second["parts"])
    last = stage(2, work=given(archive))
    assert last["missing"] == {}
    assert_staged(last, 2)


@pytest.mark.parametrize(("damaged", "failed"), [(1000, True), (3, False)])
def test_a_disk_that_damages_what_it_writes_is_given_up(stage, folder, damaged, failed):
    archive = str(folder / "digits-1.tar")
    rounds, copies = [], []

    def put(source, target):
        with open(source, "rb") as stream:
            content = bytearray(stream.read())
        copies.append(target)
        content[-1] ^= len(copies) <= damaged
        with open(target, "wb") as stream:
            stream.write(content)

    def module(_task_vars, work):
        rounds.append(work)
        assert len(rounds) < 20
        return dict(stage(1, work=given(archive)), rsync=False)

    action = ActionModule.__new__(ActionModule)
    action._archive, action._index, action._rate, action._module = archive, release_index.load(release_index.path_of(archive)), 0, module
    action._task = types.SimpleNamespace(timeout=0)
    action._connection = types.SimpleNamespace(transport="ssh", put_file=put, _shell=types.SimpleNamespace(join_path=os.path.join))
    result = action._push({})
    assert bool(result.get("failed")) == failed, result
    assert not failed or "Look at the disk" in result["msg"]


def test_a_device_is_sent_what_the_release_has_whatever_it_asks_for(folder):
    archive = str(folder / "digits-1.tar")
    asked = {"../secret": [[0, 1]], WEIGHTS: [[-5, 6], [BLOCKS - 1, 10 ** 15]]}
    named = []
    for path in release_sending.parts(archive, release_index.load(release_index.path_of(archive)), asked):
        with open(path, "rb") as stream:
            named += json.loads(stream.readline().decode())
    assert named == [[WEIGHTS, 0, 1], [WEIGHTS, BLOCKS - 1, 1]]


def test_nonsense_in_a_packed_copy_is_passed_over(stage, folder):
    first = stage(1, work=given(folder / "digits-1.tar"))
    for number, content in enumerate((b"", b"[[", b'[["../x", 0, 1]]\nx', b'[["saved_model.pb", 99999, 1]]\nx', b'{"a": 1}\n', b"\xff" * 100)):
        with open(os.path.join(first["parts"], str(number)), "wb") as stream:
            stream.write(content)
    assert stage(1, work=given(folder / "digits-1.tar"))["missing"] == first["missing"]


def test_the_slower_a_link_the_smaller_what_is_copied_at_once(folder, monkeypatch):
    archive = str(folder / "digits-1.tar")
    monkeypatch.setattr(release_sending, "PART_SECONDS", 0.1)

    def sizes(seconds_for):
        found = []
        for path in release_sending.parts(archive, release_index.load(release_index.path_of(archive)), {WEIGHTS: [[0, BLOCKS]]}):
            found.append(round(os.path.getsize(path) / BLOCK))
            time.sleep(seconds_for(found[-1]))
        return found

    assert sizes(lambda blocks: 0) == [1, 2, 4, 5]
    # It is never so large that the next one would take much longer than it should.
    assert sizes(lambda blocks: 0.08 * blocks) == [1] * 12
    assert sizes(lambda blocks: 0.04 * blocks) == [1, *[2] * 5, 1]


# ---- rsync over a link that breaks ----
# Stands for ssh: 1.2 MB at 800 kB/s reach the other side, then the link is gone.
SHELL = """#!{python}
import os, signal, subprocess, sys, time
other = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE)
signal.signal(signal.SIGCHLD, lambda *_: os._exit(other.wait()))
count = 0
while count < {most}:
    data = os.read(0, 16384)
    os.write(other.stdin.fileno(), data)
    count += len(data)
    time.sleep(0.02)
signal.signal(signal.SIGCHLD, signal.SIG_DFL)
other.kill()
sys.exit(255)
"""


class Connection:
    """What rsync is told of Ansible's connection."""

    become, host = None, "device"

    def get_option(self, name):
        return {"host": self.host}[name]


@pytest.fixture
def rsync(tmp_path, folder, monkeypatch):
    """Send version 1 over a link that breaks after so many bytes; returns what was said of it, and how often it got farther."""
    if shutil.which("rsync") is None:
        pytest.fail("These tests send with rsync: apt-get install rsync")
    monkeypatch.setattr(release_sending, "PAUSE_SECONDS", 0.3)
    staged = tmp_path / "staged"
    staged.mkdir()

    def run(most, timeout):
        shell = tmp_path / "shell"
        shell.write_text(SHELL.format(python=sys.executable, most=most))
        shell.chmod(0o755)
        moved = []
        try:
            release_sending.rsync(Connection(), [str(shell)], release_sending.tree(str(folder / "digits-1.tar")), {WEIGHTS: [[0, BLOCKS]]}, str(staged), 0,
                                  timeout, lambda: moved.append(1))
        except release_sending.SendingError as error:
            return error.result, len(moved)
        return {}, len(moved)
    return run


def test_a_link_that_breaks_again_and_again_but_gets_farther_is_not_given_up(rsync, tmp_path):
    begin = time.time()
    result, moved = rsync(1200000, 1)
    assert (tmp_path / "staged" / WEIGHTS).read_bytes() == DATA, result
    # Longer than the time in which it must get farther, and seen to do so.
    assert time.time() - begin > 3
    assert moved >= 3


def test_a_link_on_which_nothing_comes_farther_is_no_fault_of_the_release(rsync):
    assert rsync(0, 1) == ({"unreachable": True}, 0)


# ---- the disk ----
def test_too_small_a_disk_is_told_before_anything_is_written(stage, base):
    with pytest.raises(ModuleError, match="Not enough room"):
        stage(1, reserve_bytes=10 ** 15)
    assert not (base / ".staging" / "1").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_disk_that_becomes_full_is_freed_again(stage, base, folder, mirror):
    base.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%d" % (BLOCK * (BLOCKS + 2)), "tmpfs", str(base)], check=True)
    try:
        mirror.delay = 0.01

        def fill():
            while mirror.sent < 4 * BLOCK:
                time.sleep(0.005)
            with open(str(base / "log"), "wb") as stream:
                stream.write(b"x" * (6 * BLOCK))

        other = threading.Thread(target=fill)
        other.start()
        with pytest.raises(ModuleError, match="became full"):
            stage(1, **pull(mirror))
        other.join()
        assert os.listdir(str(base / ".staging")) == []
        os.unlink(str(base / "log"))
        # The controller's part has filled it, and asks what is wrong.
        first = stage(1, work=given(folder / "digits-1.tar"))
        with open(os.path.join(first["parts"], "part-0000"), "wb") as stream, pytest.raises(OSError, match="No space left"):
            stream.write(b"x" * (BLOCKS + 3) * BLOCK)
        with pytest.raises(ModuleError, match="became full"):
            stage(1, work=given(folder / "digits-1.tar"))
        assert os.listdir(str(base / ".staging")) == []
        assert_staged(stage(1, **pull(mirror)), 1)
    finally:
        subprocess.run(["umount", str(base)], check=True)


def test_files_are_on_the_disk_before_the_manifest_that_says_so(folder, base, collections_path, tmp_path):
    if shutil.which("strace") is None:
        pytest.fail("This test needs strace to see the calls: apt-get install strace")
    archive = folder / "digits-1.tar"
    params = {"model": "digits", "version": 1, "base_path": str(base), "urls": [], "bandwidth_limit": 0, "reserve_bytes": 0, "timeout": 5,
              "swarm_python": None, "work": dict(given(archive), fetch="archive", archive=str(archive))}
    (tmp_path / "params").write_text(json.dumps(params))
    subprocess.run(["strace", "-f", "-qq", "-y", "-s", "0", "-o", str(tmp_path / "trace"), "-e", "trace=pwrite64,write,fsync,?rename", sys.executable, "-B",
                    "-c", DRIVER, str(tmp_path / "params")], env=dict(os.environ, PYTHONPATH=collections_path), check=True, timeout=120)
    lines = (tmp_path / "trace").read_text().splitlines()

    def last(pattern):
        return max(number for number, line in enumerate(lines) if re.search(pattern, line))

    appears = last(r'rename\(".*/\.staging/1/\.manifest\.json\.tmp", ".*/manifest\.json"')
    for name in (*FILES, ".manifest.json.tmp"):
        path = re.escape("/.staging/1/" + name) + ">"
        assert last(r"write(64)?\(\d+<.*" + path) < last(r"fsync\(\d+<.*" + path) < appears
    assert appears < last(r"fsync\(\d+<.*/\.staging/1>")


# ---- the choice ----
@pytest.mark.parametrize(("arguments", "transport", "why"), [
    ((1, 2e8, "ssh", True, False, True), "push", "1 host wants 200 MB"),
    ((16, 2e8, "ssh", True, False, True), "swarm", "libtorrent"),
    ((16, 2e8, "ssh", True, False, False), "push", "no libtorrent"),
    ((16, 2e8, "ssh", True, True, False), "pull", "mirrors"),
    ((16, 2e8, "community.docker.docker", True, False, True), "push", "says nothing of the network"),
    ((16, 1e6, "ssh", True, False, True), "push", "1.0 MB each"),
    ((1, 0, "local", False, True, False), "pull", "on the mirrors only"),
])
def test_auto_says_why(arguments, transport, why):
    chosen, reason = choose(*arguments)
    assert chosen == transport
    assert why in reason


def test_addresses_that_are_none_are_refused():
    with pytest.raises(ModuleError, match="http:// or https://"):
        sources.Mirrors(["file:///etc"], "digits-1.tar")
