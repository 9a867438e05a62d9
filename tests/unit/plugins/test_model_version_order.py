"""What model_version asks of the kernel, and in which order: seen by strace, and cut short by kill -9 at every single call.

What a power loss does to the disk itself cannot be shown on a running machine; that the calls are in the right order can.
"""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile

import pytest
from ansible_collections.tfleet.serving.plugins.module_utils import manifest as manifests
from ansible_collections.tfleet.serving.plugins.module_utils.version_store import as_version
from ansible_collections.tfleet.serving.plugins.modules import model_version
from ansible_collections.tfleet.serving.tests.unit.plugins.release_tools import make_release

CALLS = "write,fsync,openat,?rename,?renameat,?renameat2,?mkdir,?mkdirat,?unlink,?unlinkat,?rmdir,?chmod,?fchmod,?fchmodat"
FILES = {"saved_model.pb": b"the graph", "variables/variables.index": b"index"}
DRIVER = """
import json, sys
from ansible_collections.tfleet.serving.plugins.modules import model_version
model_version.ensure(json.loads(sys.argv[1]), False)
"""


def parameters(base, **changes):
    return dict({"base_path": str(base), "model": "digits", "src": None, "state": "present", "reason": "because", "keep": 0, "protect": [],
                 "hardware_class": None, "owner": None, "group": None, "mode": "0644", "reserve_bytes": 0, "trusted_keys": []}, **changes)


@pytest.fixture(scope="module")
def strace():
    if shutil.which("strace") is None:
        pytest.fail("These tests need strace to see and to cut the calls of the module: apt-get install strace")
    return shutil.which("strace")


@pytest.fixture(scope="module")
def releases(tmp_path_factory):
    directory = tmp_path_factory.mktemp("releases")
    return {version: make_release(directory, version, FILES) for version in (1, 2, 3)}


@pytest.fixture
def trace(strace, collections_path, tmp_path):
    """Run the module under strace; return the lines of the trace that name the model's directory."""
    def run(options, inject=()):
        log = tmp_path / "trace"
        process = subprocess.run(
            [strace, "-f", "-qq", "-y", "-s", "0", "-o", str(log), "-e", "trace=" + CALLS, *inject, sys.executable, "-B", "-c", DRIVER, json.dumps(options)],
            env=dict(os.environ, PYTHONPATH=collections_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, timeout=60)
        # strace ends as the command did.
        assert process.returncode == (-signal.SIGKILL if inject else 0), process.stderr.decode()
        counts = {}
        lines = []
        for line in log.read_text().splitlines():
            match = re.match(r"^\d+ +(\w+)\((.*)", line)
            if match:
                counts[match.group(1)] = counts.get(match.group(1), 0) + 1
                if options["base_path"] in line:
                    lines.append((match.group(1), counts[match.group(1)], match.group(2)))
        return lines
    return run


def position(lines, call, text, last=False):
    """The index of the first (or last) call of that name whose arguments match ``text``."""
    found = [index for index, (name, _count, arguments) in enumerate(lines) if name.startswith(call) and re.search(text, arguments)]
    assert found, "no %s of %s in\n%s" % (call, text, "\n".join(map(str, lines)))
    return found[-1 if last else 0]


def test_everything_is_on_the_disk_before_the_server_can_see_it_and_the_name_right_after(trace, releases, tmp_path):
    base = tmp_path / "digits"
    lines = trace(parameters(base, version=3, src=releases[3]))
    staging = re.escape(str(base)) + r"/\.staging-3-\w+"
    appears = position(lines, "rename", staging + '", "' + re.escape(str(base)) + '/3"')
    for name in [*FILES, "manifest.json"]:
        written = position(lines, "write", "%s/%s>" % (staging, name), last=True)
        assert written < position(lines, "fsync", "%s/%s>" % (staging, name)) < appears
    for directory in (staging + "/variables", staging):
        created = position(lines, "openat", directory + r"/[^/]+\", .*O_CREAT", last=True)
        assert created < position(lines, "fsync", directory + ">") < appears
    assert appears < position(lines, "fsync", re.escape(str(base)) + ">", last=True)
    # And the directory made for the model is on the disk too.
    assert position(lines, "mkdir", re.escape(str(base)) + '"') < appears


def test_what_was_staged_is_on_the_disk_before_it_gets_its_name(trace, releases, tmp_path):
    base = tmp_path / "digits"
    staged = base / ".staging" / "3"
    staged.mkdir(parents=True)
    with tarfile.open(releases[3]) as tar:
        tar.extractall(str(staged))
    lines = trace(parameters(base, version=3, src=str(staged)))
    appears = position(lines, "rename", re.escape(str(staged)) + '", "' + re.escape(str(base)) + '/3"')
    for path in [*(staged / name for name in FILES), staged / "manifest.json", staged / "variables", staged]:
        assert position(lines, "fsync", re.escape(str(path)) + ">") < appears
    assert appears < position(lines, "fsync", re.escape(str(base)) + ">", last=True)
    assert os.listdir(str(base)) == ["3"]


def test_a_version_disappears_in_one_step_before_its_files_are_removed(trace, releases, tmp_path):
    base = tmp_path / "digits"
    model_version.ensure(parameters(base, version=1, src=releases[1]), False)
    lines = trace(parameters(base, version=1, state="absent"))
    gone = position(lines, "rename", '/1", ')
    assert gone < position(lines, "fsync", re.escape(str(base)) + ">") < position(lines, "unlink", "")


def test_the_reason_is_on_the_disk_before_the_version_is_aside(trace, releases, tmp_path):
    base = tmp_path / "digits"
    model_version.ensure(parameters(base, version=1, src=releases[1]), False)
    lines = trace(parameters(base, version=1, state="aside"))
    assert position(lines, "fsync", r"\.json") < position(lines, "rename", r"1\.json") < position(lines, "rename", '/1", ')


def leftovers(base):
    names = [name for name in os.listdir(str(base)) if as_version(name) is None and name != ".aside"]
    aside = base / ".aside"
    if aside.exists():
        whole = {name for name in os.listdir(str(aside)) if as_version(name) is not None}
        names += [name for name in os.listdir(str(aside)) if name not in whole and name[:-len(".json")] not in whole]
    return names


def assert_server_sees_whole_versions(base):
    for name in os.listdir(str(base)):
        if as_version(name) is not None:
            manifest, _content = manifests.read(str(base / name))
            assert manifests.findings(str(base / name), manifest) == [], name


SCENARIOS = {
    # name: (versions in place, versions aside, what is asked, versions and versions aside in the end)
    "deploy": ((1, 2), (), {"version": 3, "keep": 2}, ([2, 3], [])),
    "first": ((), (), {"version": 3}, ([3], [])),
    "aside": ((1, 2), (), {"version": 2, "state": "aside"}, ([1], [2])),
    "put back": ((1,), (2,), {"version": 2}, ([1, 2], [])),
    "absent": ((1, 2), (2,), {"version": 2, "state": "absent"}, ([1], [])),
}


@pytest.mark.parametrize("scenario", sorted(SCENARIOS))
def test_killed_at_any_call_the_next_run_ends_at_the_same_place(trace, releases, tmp_path, scenario):
    in_place, aside, asked, (versions_after, aside_after) = SCENARIOS[scenario]
    start = tmp_path / "start"
    for version in aside:
        model_version.ensure(parameters(start, version=version, src=releases[version]), False)
        model_version.ensure(parameters(start, version=version, state="aside"), False)
    for version in in_place:
        if version in aside:
            # The same version in place and aside: a damaged copy was set aside and the release deployed again.
            (start / ".aside" / str(version) / "saved_model.pb").write_bytes(b"damaged")
        model_version.ensure(parameters(start, version=version, src=releases[version]), False)

    base = tmp_path / "digits"

    def begin():
        shutil.rmtree(str(base), ignore_errors=True)
        if start.exists():
            shutil.copytree(str(start), str(base))

    src = releases[asked["version"]] if asked.get("state", "present") == "present" and scenario != "put back" else None
    options = parameters(base, src=src, **asked)
    begin()
    cuts = [(call, count) for call, count, arguments in trace(options) if call != "openat" or "O_CREAT" in arguments]
    assert len(cuts) > 4, cuts
    for call, count in cuts:
        begin()
        trace(options, ["-e", "inject=%s:signal=KILL:when=%d" % (call, count)])
        where = "killed at %s number %d" % (call, count)
        if base.exists():
            assert_server_sees_whole_versions(base)
        result = model_version.ensure(options, False)
        assert (result["versions"], result["aside"]) == (versions_after, aside_after), where
        assert_server_sees_whole_versions(base)
        assert leftovers(base) == [], where
        assert model_version.ensure(options, False)["changed"] is False, where
