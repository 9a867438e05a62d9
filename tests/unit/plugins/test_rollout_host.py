"""The steps of a rollout on one device, against a real model server: each twice, because each may be killed and done again."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time

import pytest
from ansible_collections.tfleet.serving.plugins.module_utils.durable import sha256_file
from ansible_collections.tfleet.serving.plugins.module_utils.lock import alone_in
from ansible_collections.tfleet.serving.plugins.module_utils.model_entry import entry_of, serving, with_entry
from ansible_collections.tfleet.serving.plugins.module_utils.release_archive import open_release
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_lock import Hold
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_server import digest
from ansible_collections.tfleet.serving.tests.unit.plugins import serving_tools

LABELS = {"canary": 1, "stable": 1}
POLICY = "latest { num_versions: 2 }"


class Device:
    """A device that serves version 1 of digits, and the steps that bring version 2 to it."""

    def __init__(self, root, runtime, run_module, collections_path):
        self.base, self.config = root / "digits", root / "model.config"
        self.run_module, self.runtime, self.root, self.collections_path = run_module, runtime, root, collections_path
        serving_tools.deploy(runtime, self.base, 1)
        (self.base / ".golden/1").mkdir(parents=True)
        shutil.copy(serving_tools.GOLDEN % 1, self.base / ".golden/1/golden.npz")
        serving_tools.write_config(self.config, self.base, LABELS, policy=POLICY)
        # Another model of the device, which is in the hands of others.
        serving_tools.deploy(runtime, root / "other", 1)
        serving_tools.write_config(root / "text", root / "other", {"stable": 1}, name="other")
        self.config.write_text(with_entry(self.config.read_text(), "other", entry_of((root / "text").read_text(), "other")))
        self.golden = serving_tools.GOLDEN % 2
        self.address = None
        # As the controller's look tells it: a label that has moved stays where it is.
        self.stable = 1
        self.rollout = "digits-2-x"

    def text(self, labels, *versions):
        """What the controller makes: one entry, with these versions where the policy would not load them."""
        path = self.root / "text"
        serving_tools.write_config(path, self.base, labels, policy=POLICY)
        text = path.read_text()
        return with_entry(text, "digits", serving(entry_of(text, "digits"), versions)) if versions else text

    def step(self, name, version=2, **more):
        return self.run_module("rollout_host", **self.parameters(name, version, **more))

    def killed(self, name, when, **more):
        """A step that is killed as soon as `when` says so."""
        arguments = self.root / "killed.json"
        arguments.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": self.parameters(name, 2, **more)}))
        process = subprocess.Popen([sys.executable, os.path.join(serving_tools.ROOT, "plugins", "modules", "rollout_host.py"), str(arguments)],
                                   env=dict(os.environ, PYTHONPATH=self.collections_path), stdout=subprocess.PIPE)
        while not when():
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.kill()
        process.communicate()

    def parameters(self, name, version, **more):
        release = open_release(self.release(version))
        manifest = hashlib.sha256(release.content).hexdigest()
        release.close()
        now, new = {"canary": self.stable, "stable": self.stable}, {"canary": version, "stable": version}
        params = {
            "runtime": self.runtime, "rollout": self.rollout, "by": "me@here", "model": "digits", "base_path": str(self.base), "labels": new,
            "policy": {"latest": {"num_versions": 2}}, "manifest_sha256": manifest, "release_bytes": 1, "addresses": [self.address],
            "config_file": str(self.config), "companions": {"golden.npz": sha256_file(self.golden)},
            "settings": {"rollout_latency_slack_ms": 5000, "rollout_rounds": 1},
            "configs": {"bridge": self.text(now, self.stable, version), "kept": self.text(now, self.stable), "alone": self.text({}, version),
                        "moved": self.text(new, version), "canary": self.text(dict(now, canary=version)), "stable": self.text(new), "final": self.text(new)}}
        return dict(params, step=name, version=version, **more)

    def release(self, version):
        return serving_tools.release(self.runtime, version, min(version, 2))

    def looked(self, version=2, **more):
        seen = self.step("look", version, **more)
        assert not seen.get("failed"), seen
        return dict(more, seen=seen, src=self.release(version), arrived={"golden.npz": self.golden})

    def gate(self, version=2, **more):
        return self.step("gate", version, **self.looked(version, **more))

    def asks(self, **target):
        golden = serving_tools.GOLDEN % target.get("version", 1)
        return self.run_module("grpc_predict", runtime=self.runtime, address=self.address, model="digits", golden=golden, **target)

    def labels(self):
        return json.loads((self.base / ".rollout.json").read_text())["before"]["labels"] if (self.base / ".rollout.json").exists() else None


@pytest.fixture
def device(tmp_path, tfleet_runtime, run_module, collections_path):
    made = Device(tmp_path, tfleet_runtime, run_module, collections_path)
    with serving_tools.server(tfleet_runtime, tmp_path, made.config) as address:
        made.address = address
        yield made


def test_a_version_goes_through_all_steps_and_each_can_be_done_again(device):
    before, other = device.config.read_text(), ('key: "stable" value: 1 }\n  }\n}', 'key: "proven" value: 1 }\n  }\n}')
    look = device.step("look")
    assert (look["there"], look["missing"], look["versions"], look["available"], look["labels"]) == (
        False, ["golden.npz"], [1], [1], {"digits": LABELS, "other": {"stable": 1}})
    for again in (False, True):
        gate = device.gate()
        assert not gate.get("failed"), gate
        assert gate["changed"] is not again
        assert gate["old"] == 1
        assert len(gate["rounds"]) == 1
        assert all(size > 1024 ** 2 for size in gate["health"]["server_bytes"])
        # What the device was before the first time.
        assert device.labels() == LABELS
        assert json.loads((device.base / ".rollout.json").read_text())["before"]["available"] == [1]
    # The other model is rolled out at the same time.
    device.config.write_text(device.config.read_text().replace(*other))
    before = before.replace(*other)
    assert '"proven"' in before
    for again in (False, True):
        promote = device.step("promote")
        assert (promote.get("failed", False), promote["changed"]) == (False, not again), promote
        assert set(promote["asked"]) == {"canary", "stable"}
        device.stable = 2
    assert device.config.read_text() == before.replace('"canary" value: 1', '"canary" value: 2').replace('"stable" value: 1', '"stable" value: 2')
    check = device.step("check")
    assert (check.get("failed", False), check["changed"], check["versions"]) == (False, False, [1, 2]), check
    assert json.loads((device.base / ".rollout.json").read_text())["done"] is True
    # A rollback of all waves reaches a device that is done, after one that was killed when it had written what it did not tell the server any more.
    device.config.write_text(before)
    for again in (False, True):
        back = device.step("rollback", reason="another host failed")
        assert (back.get("failed", False), back["changed"]) == (False, not again), back
    assert device.config.read_text() == before
    assert "another host failed" in json.loads((device.base / ".aside/2.json").read_text())["reason"]
    assert not (device.base / "2").exists()


def test_a_device_that_has_it_all_has_no_further_step_until_anything_differs(device):
    assert device.step("look")["settled"] is False
    for name in ("promote", "check"):
        if name == "promote":
            assert not device.gate().get("failed")
        assert not device.step(name).get("failed")
    # What this rollout has begun with it leads to its end; only to the next one nothing is left to do.
    assert device.step("look")["settled"] is False
    before = device.config.read_text()
    look = device.step("look", rollout="digits-2-y")
    assert (look["settled"], look["changed"], device.config.read_text()) == (True, False, before)
    golden = device.base / ".golden/2/golden.npz"
    kept = golden.read_bytes()
    # Answers that are not those of the release, a damaged file, an entry that somebody has changed: each is left to the steps of a rollout.
    golden.write_bytes((device.base / ".golden/1/golden.npz").read_bytes() + b"more")
    assert device.step("look", rollout="digits-2-y")["settled"] is False
    golden.write_bytes(kept)
    saved = device.base / "2/saved_model.pb"
    content = saved.read_bytes()
    saved.write_bytes(content[:-1] + b"x")
    assert device.step("look", rollout="digits-2-y")["settled"] is False
    saved.write_bytes(content)
    device.config.write_text(before.replace("num_versions: 2", "num_versions: 3", 1))
    assert device.step("look", rollout="digits-2-y")["settled"] is False
    device.config.write_text(before)
    assert device.step("look", rollout="digits-2-y")["settled"] is True


def test_a_version_that_does_not_pass_leaves_the_device_as_it_was(device):
    before = device.config.read_text()
    seen = device.step("look")
    device.config.write_text(before.replace('"canary"', '"somebody"'))
    gate = device.step("gate", seen=seen, src=serving_tools.release(device.runtime, 2))
    assert "changed since the rollout looked at it" in gate["msg"]
    # So a run that resumes leads it through the steps again.
    assert gate["untouched"] is True
    assert not (device.base / ".rollout.json").exists()
    device.config.write_text(before)
    gate = device.gate(settings={"rollout_rounds": 1, "rollout_latency_slack_ms": 5000, "rollout_memory_growth": "1M"})
    assert "of memory more than before, allowed are 1 MiB (rollout_memory_growth" in gate["msg"]
    assert not device.step("rollback").get("failed")
    device.rollout = "digits-2-y"
    # Another release of that number, in the place of the one that was staged.
    (device.base / ".aside/2").rename(device.base.parent / "aside")
    gate = device.step("gate", **dict(device.looked(), src=serving_tools.release(device.runtime, 2, 1)))
    assert "is not the release of version 2 that is rolled out" in gate["msg"], gate
    assert device.asks(label="stable")["version"] == 1
    assert not device.step("rollback").get("failed")
    device.rollout = "digits-2-z"
    device.golden = serving_tools.GOLDEN % 1
    gate = device.gate()
    assert gate["failed"]
    assert "differ from" in gate["msg"]
    # What it said, and what it should have: drawn in the report.
    assert [len(side["scores"][0]) for sample in gate["samples"] for side in (sample["output"], sample["expected"])] == [10] * 6
    assert len(json.dumps(gate["samples"])) < 8192
    # It takes back what the device holds; the inventory may declare another version by now.
    back = device.step("rollback", 7)
    assert (back["returned_to"], back["version"]) == (1, 2)
    assert device.config.read_text() == before
    assert sorted(path.name for path in device.base.iterdir() if path.name.isdigit()) == ["1"]


def test_a_failed_rollout_that_took_over_another_goes_back_to_before_both(device):
    before = device.config.read_text()
    assert not device.gate().get("failed")
    assert not device.step("promote").get("failed")
    device.stable, device.golden = 2, serving_tools.GOLDEN % 1
    more = {"rollout": "digits-3-y", "supersede": "digits-2-x"}
    gate = device.gate(3, **more)
    assert "Wrong or no answer by version 3" in gate["msg"]
    # Version 1 made room for version 3, and two of the three are loaded by the policy.
    back = device.step("rollback", 3, **more)
    assert (back.get("failed", False), back["returned_to"]) == (False, 1), back
    assert device.asks(label="stable")["version"] == device.asks(label="canary")["version"] == 1
    assert device.config.read_text() == before
    assert sorted(path.name for path in device.base.iterdir() if path.name.isdigit()) == ["1"]
    assert {name.name for name in (device.base / ".aside").iterdir()} == {"2", "2.json", "3", "3.json"}
    assert device.labels() is None


def test_a_rollback_waits_for_a_step_that_was_given_up(device):
    before = device.config.read_text()
    # The controller gave the gate up, and it goes on here.
    gate = threading.Thread(target=device.step, args=("gate",), kwargs=device.looked())
    gate.start()
    while not (device.base / ".rollout.json").exists():
        time.sleep(0.01)
    assert device.step("rollback")["returned_to"] == 1
    gate.join()
    assert device.config.read_text() == before
    assert sorted(path.name for path in device.base.iterdir() if path.name.isdigit()) == ["1"]
    assert device.labels() is None


def test_an_exchange_that_was_killed_goes_on_as_one(device, tmp_path):
    before = device.config.read_text()
    (tmp_path / "meminfo").write_text("MemTotal: 4000000 kB\nMemAvailable: 1 kB\n")
    small = {"roots": {"proc": str(tmp_path)}, "release_bytes": 10 ** 6, "policy": {"latest": {"num_versions": 1}},
             "settings": {"rollout_rounds": 1, "rollout_exchange_seconds": 30}}
    # Longer than it may be without the model no version is asked.
    gate = device.gate(**dict(small, settings={"rollout_rounds": 100, "rollout_exchange_seconds": 3}))
    assert gate["failed"], gate
    assert "within the 3 seconds that this device may be without the model (rollout_exchange_seconds)" in gate["msg"]
    assert device.asks(label="stable")["version"] == 1
    assert device.step("rollback")["returned_to"] == 1
    device.rollout = "digits-2-y"
    # The old version is gone, and nothing points to the new one yet, which is asked without end.
    device.killed("gate", lambda: "canary" not in device.config.read_text() and not device.asks(version=2).get("failed"),
                  **device.looked(**dict(small, settings=dict(small["settings"], rollout_rounds=100))))
    assert device.step("look")["available"] == [2]
    promote = device.step("promote", **small)
    assert "killed within its exchange" in promote["msg"]
    gate = device.gate(**small)
    assert not gate.get("failed"), gate
    look = device.step("look")
    assert (look["available"], look["labels"]["digits"]) == ([2], {"canary": 2, "stable": 2})
    # One that was killed right after that takes the labels from nobody.
    again = device.gate(**small)
    assert (again.get("failed", False), again["changed"]) == (False, False), again
    assert not device.step("promote", **small).get("failed")
    assert device.step("rollback")["answers"] == {"canary": 1, "stable": 1}
    assert device.config.read_text() == before


@pytest.fixture
def unserved(tmp_path, tfleet_runtime, run_module, collections_path):
    made = Device(tmp_path, tfleet_runtime, run_module, collections_path)
    made.address = "127.0.0.1:%d" % serving_tools.free_port()
    return made


def test_a_gate_that_begins_only_after_the_rollback_does_nothing(unserved):
    seen = {"entry_sha256": digest(entry_of(unserved.config.read_text(), "digits")), "labels": {"digits": LABELS}, "versions": [1], "available": [1]}
    before = unserved.config.read_text()
    # The controller has given it up and called for the rollback, and the device was too busy to begin it.
    assert unserved.step("rollback", supersede=["digits-2-w"])["returned_to"] is None
    for rollout in ("digits-2-x", "digits-2-w"):
        late = unserved.step("gate", seen=seen, src=unserved.release(2), rollout=rollout)
        assert "The rollout %s was taken back on this device" % rollout in late["msg"]
        assert (late["untouched"], late["changed"], unserved.labels(), unserved.config.read_text()) == (True, False, None, before)


@pytest.mark.parametrize("name", ["promote", "check"])
def test_no_step_comes_before_the_gate(unserved, name):
    result = unserved.step(name)
    assert result["failed"]
    assert "not held by the rollout digits-2-x" in result["msg"]


def test_a_version_that_was_served_before_stays_without_a_label_too(unserved):
    entry = entry_of(unserved.text({}), "digits")
    shutil.copytree(unserved.base / "1", unserved.base / "2")
    before = {"entry": entry, "labels": {}, "versions": [1, 2], "available": [1]}
    Hold(str(unserved.base)).take("digits-2-x", "me@here", 1, before)
    assert "was served before" in unserved.step("rollback", 1)["note"]
    assert (unserved.base / "1").exists()
    # One that only lay there is the rollout's.
    unserved.rollout = "digits-2-y"
    Hold(str(unserved.base)).take("digits-2-y", "me@here", 2, before)
    assert "note" not in unserved.step("rollback", 2)
    assert not (unserved.base / "2").exists()


def test_another_rollout_is_refused_before_anything_is_done(unserved):
    hold = Hold(str(unserved.base))
    hold.take("digits-2-y", "you@there", 2, {"labels": LABELS})
    for name in ("look", "promote"):
        result = unserved.step(name)
        assert result["failed"]
        assert "held by the rollout digits-2-y" in result["msg"]
        # Who lost the race for a device owes it nothing.
        assert result["untouched"] is True
    back = unserved.step("rollback")
    assert (back.get("failed", False), back["changed"], back["returned_to"]) == (False, False, None)
    assert "the rollout digits-2-y has it" in back["note"]
    assert hold.read()["rollout"] == "digits-2-y"
    # Whose it is when its hold cannot be read nobody knows.
    (unserved.base / ".rollout.json").write_text("{")
    assert "cannot be read" in unserved.step("rollback")["msg"]


@pytest.mark.parametrize("name", ["look", "rollback"])
def test_a_step_says_what_is_still_at_work(unserved, name):
    with alone_in(str(unserved.config.parent), 0):
        result = unserved.step(name, settings={"rollout_step_seconds": 1})
    assert "is still at work on this device" in result["msg"]
    assert "(process %d)" % os.getpid() in result["msg"]
    assert "rollout_resume=digits-2-x" in result["msg"]


def test_a_server_that_does_not_answer_is_no_place_for_a_rollout(unserved):
    look = unserved.step("look")
    assert look["failed"]
    assert "No model server answers" in look["msg"]
    assert unserved.step("rollback")["returned_to"] is None
