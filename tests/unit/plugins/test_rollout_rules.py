"""What the gate makes of what was measured, the locks, and what model.config says at each step."""
import os
import subprocess
import sys

import pytest
from ansible_collections.tfleet.serving.plugins.module_utils import rollout_gate as gate
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.model_config import fields_of, models_of, values
from ansible_collections.tfleet.serving.plugins.module_utils.models import ModelsError, normalise
from ansible_collections.tfleet.serving.plugins.module_utils.reporting import drift
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_configs import rollout_configs, rollout_item
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_lock import ControllerLock, Hold

MIB = 1024 * 1024


# ---- latency ----
@pytest.mark.parametrize(("rounds", "findings"), [
    ([(10.0, 12.0)], 0), ([(10.0, 100.0)], 1), ([(10.0, 39.0)], 0),
    # Noise in some of the turns is no property of the version.
    ([(10.0, 500.0), (10.0, 11.0)], 0), ([(None, 90.0)], 0), ([(None, 110.0)], 1), ([(10.0, 150.0), (10.0, 120.0)], 2),
])
def test_latency_is_judged_by_the_best_turn(rounds, findings):
    assert len(gate.latency(rounds, 2, 20, 100)) == findings


def test_without_a_budget_only_the_old_version_is_the_measure():
    assert gate.latency([(900.0, 1000.0)], 2, 20, None) == []


# ---- health ----
def reading(swap=0, celsius=50.0, over_current=None, throttling=None, server=0, run="boot 12 99"):
    return {"servers": [{"pid": 12, "run": run, "resident_bytes": server}],
            "memory": {"available_bytes": 1}, "swap": [{"used_bytes": swap}], "thermal": [{"zone": "CPU-therm", "celsius": celsius, "critical_celsius": 100.0}],
            "over_current": over_current, "throttling": throttling}


@pytest.mark.parametrize(("after", "words"), [
    (reading(swap=300 * MIB), "300 MiB of swap"), (reading(celsius=96.0), "96 degrees, allowed are 95"), (reading(over_current={"oc1": 3}), "gave out 2 time"),
    (reading(throttling=["kernel: throttled"]), "slowed down meanwhile: kernel: throttled"),
    (reading(server=301 * MIB), "holds 301 MiB of memory more than before, allowed are 300 MiB"),
])
def test_what_a_version_may_not_do_to_a_device(after, words):
    (finding,) = gate.health(reading(over_current={"oc1": 1}), after, 300 * MIB, 256 * MIB, 0)
    assert words in finding


def test_what_was_so_before_is_not_the_versions_fault():
    before = reading(swap=MIB, over_current={"oc1": 7}, throttling=["kernel: throttled"])
    assert gate.health(before, before, 0, 0, 0) == []


def test_memory_is_not_judged_where_the_device_does_not_tell_what_it_has():
    assert gate.health(reading(), reading(server=10 ** 12), None, 0, 0) == []


@pytest.mark.parametrize(("before", "after", "fell", "words"), [
    (reading(), reading(), False, None), (reading(), reading(run="boot 77 100"), False, "process 12 is gone"),
    # What the processes tell is surer than the counters.
    (reading(), reading(), True, None), (dict(reading(), servers=None), reading(), True, "counts its requests from 0"),
    (dict(reading(), servers=None), reading(), False, None),
])
def test_a_server_that_was_started_again_speaks_against_a_version(before, after, fell, words):
    found = gate.restarts(before, after, fell)
    assert len(found) == (0 if words is None else 1)
    assert words is None or words in found[0]


def test_counters_that_fell_began_anew():
    assert gate.counts_fell({"OK": 10}, {"OK": 9, "INTERNAL": 2})
    assert gate.counts_fell({"OK": 10}, {})
    assert not gate.counts_fell({"OK": 10}, {"OK": 10})


def test_a_device_that_tells_nothing_has_nothing_against_it():
    silent = {"memory": None, "swap": None, "thermal": [], "over_current": None, "throttling": None}
    assert gate.health(silent, silent, 0, 0, 0) == []


def test_a_limit_of_ones_own_for_the_temperature():
    assert len(gate.health(reading(), reading(celsius=71.0), 0, 0, 70)) == 1


# ---- counters ----
METRICS = """# TYPE :tensorflow:serving:request_count counter
:tensorflow:serving:request_count{model_name="digits",status="OK"} 100
:tensorflow:serving:request_count{model_name="digits",status="INTERNAL"} 3
:tensorflow:serving:request_count{model_name="other",status="INTERNAL"} 9
:tensorflow:serving:request_latency_count{model_name="digits"} 5
"""


def test_counters_are_read_for_one_model():
    assert gate.request_counts(METRICS, "digits") == {"OK": 100, "INTERNAL": 3}
    assert gate.request_counts("", "digits") == {}


@pytest.mark.parametrize(("before", "after", "bad"), [
    ({"OK": 10}, {"OK": 20}, False), ({"OK": 10, "INTERNAL": 5}, {"OK": 20, "INTERNAL": 5}, False), ({"OK": 10}, {"OK": 20, "INTERNAL": 1}, True),
    ({"OK": 10}, {"OK": 1010, "INTERNAL": 5}, False), ({}, {}, False),
    # The server was started again: it counts from 0.
    ({"OK": 10}, {"OK": 5, "INTERNAL": 1}, True),
])
def test_errors_count_from_when_the_labels_moved(before, after, bad):
    findings, total, failed = gate.errors(before, after, 0.01)
    assert bool(findings) is bad
    assert total >= failed


# ---- locks ----
def test_a_lock_whose_process_lives_refuses_and_names_it(tmp_path):
    lock = ControllerLock(str(tmp_path), "digits")
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert lock.take("digits-1-a", other.pid, "somebody@there") is None
        with pytest.raises(ModuleError, match=r"digits-1-a of digits goes on now, in process %d .*somebody@there.*rollout_resume=digits-1-a" % other.pid):
            lock.take("digits-1-b", os.getpid(), "me")
    finally:
        other.communicate()
    # Nobody has to remove it by hand.
    assert lock.take("digits-1-b", os.getpid(), "me") == "digits-1-a"
    lock.release("digits-1-a")
    assert lock.holder()["rollout"] == "digits-1-b"
    lock.release("digits-1-b")
    assert lock.holder() is None


def test_a_lock_is_for_one_model(tmp_path):
    ControllerLock(str(tmp_path), "digits").take("digits-1-a", 1, "init")
    assert ControllerLock(str(tmp_path), "faces").take("faces-1-a", os.getpid(), "me") is None


def test_a_device_is_held_by_one_rollout_and_remembers_what_it_was(tmp_path):
    hold = Hold(str(tmp_path))
    hold.take("a", "me@here", 2, {"labels": {"stable": 1}})
    # The same rollout again, after a kill, with what it finds now.
    assert hold.take("a", "me@here", 2, {"labels": {"stable": 2}})["before"] == {"labels": {"stable": 1}}
    with pytest.raises(ModuleError, match=r"held by the rollout a to version 2, begun by me@here .*rollout_resume=a.*rollout_supersede=a"):
        hold.take("b", "you@there", 3, {})
    second = hold.take("b", "you@there", 3, {"labels": {"stable": 2}}, supersede=["a"])
    assert (second["before"], second["brought"]) == ({"labels": {"stable": 1}}, [2, 3])
    third = hold.take("c", "you@there", 4, {"labels": {"stable": 3}}, supersede=["b"])
    assert (third["before"], third["brought"]) == ({"labels": {"stable": 1}}, [2, 3, 4])
    hold.remove()
    assert hold.read() is None


def test_a_device_that_is_done_holds_nobody_up(tmp_path):
    hold = Hold(str(tmp_path))
    hold.take("a", "me", 2, {"labels": {"stable": 1}})
    hold.note(hold.read(), done=True)
    assert hold.check("a")["done"]
    # Nor is it taken back by one that takes the place of the rollout because of others: what it was before may have been retired here.
    assert hold.check("b", supersede=["a"]) is None
    later = hold.take("b", "me", 3, {"labels": {"stable": 2}}, supersede=["a"])
    assert (later["before"], later["brought"]) == ({"labels": {"stable": 2}}, [3])


def test_a_rollout_that_was_taken_back_holds_the_device_no_more_and_the_next_ones_do(tmp_path):
    hold = Hold(str(tmp_path))
    for number in range(20):
        hold.take("r%d" % number, "me", 2, {})
        hold.remove()
        for _again in range(2):
            hold.end(["s%d" % number, "r%d" % number])
        for late in ("r%d" % number, "s%d" % number, "r%d" % max(0, number - 4)):
            with pytest.raises(ModuleError, match="was taken back on this device") as refused:
                hold.take(late, "me", 2, {})
            assert refused.value.result["untouched"] is True
        assert hold.read() is None
    assert len((tmp_path / ".rolled_back").read_text().split()) == 10
    # A device whose disk takes nothing any more was taken back all the same.
    Hold(str(tmp_path / "nowhere")).end(["r"])


def test_a_hold_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / ".rollout.json").write_text("{")
    with pytest.raises(ModuleError, match=r"rollout\.json cannot be read"):
        Hold(str(tmp_path)).read()


# ---- what model.config says ----
def models(**more):
    releases = [{"version": version, "source": "m/%d" % version, "golden": "g/%d.npz" % version, **({"source_version": 2} if version == 3 else {})}
                for version in more.pop("versions", (1, 2))]
    return normalise([{"name": "digits", "releases": releases, **more}, {"name": "faces", "releases": [{"version": 4, "source": "f"}]}], "/models", "/src")


def seen(labels, versions=(1,)):
    return {"labels": labels, "versions": list(versions)}


def told(text):
    """(labels, policy) of the one model of a model.config."""
    (model,) = models_of(text)
    assert (model["name"], model["base_path"]) == ("digits", "/models/digits")
    (group,) = values(fields_of(text), "model_config_list")
    ((kind,),) = values(values(group, "config")[0], "model_version_policy")
    return model["labels"], {kind.name: [int(field.value) for field in kind.value]}


def step(name, declared=None, now=None, versions=(1,)):
    now = {"digits": {"canary": 1, "stable": 1}, "faces": {"stable": 4}} if now is None else now
    return told(rollout_configs(seen(now, versions), rollout_item(declared or models(), "digits"))[name])


def test_the_labels_move_in_two_steps_and_nothing_is_said_of_other_models():
    assert step("bridge") == ({"canary": 1, "stable": 1}, {"latest": [2]})
    assert step("canary")[0] == {"canary": 2, "stable": 1}
    assert step("stable")[0] == step("final")[0] == {"canary": 2, "stable": 2}


def test_a_label_that_is_declared_elsewhere_stays_where_it_is():
    declared = models(labels={"canary": 2, "stable": 1})
    made = rollout_configs(seen({"digits": {"canary": 2, "old": 2}}, (1, 2)), rollout_item(declared, "digits"))
    assert [told(made[name])[0] for name in ("canary", "stable", "final")] == [
        {"canary": 2, "old": 2}, {"canary": 2, "old": 2, "stable": 1}, {"canary": 2, "stable": 1}]


def test_a_policy_that_would_unload_the_old_version_waits_until_the_end():
    declared = models(policy={"latest": {"num_versions": 1}})
    for name in ("bridge", "canary", "stable"):
        assert step(name, declared)[1] == {"specific": [1, 2]}
    assert step("final", declared)[1] == {"latest": [1]}


def test_a_version_between_does_not_push_the_served_one_out():
    assert step("bridge", models(versions=(1, 3)), versions=(1, 2))[1] == {"specific": [1, 3]}


def test_an_exchange_has_one_version_at_a_time_and_no_label_meanwhile():
    assert step("alone") == ({}, {"specific": [2]})
    assert step("kept") == ({"canary": 1, "stable": 1}, {"specific": [1]})
    assert step("moved") == ({"canary": 2, "stable": 2}, {"specific": [2]})


def test_without_labels_the_newest_is_what_clients_get():
    assert step("kept", now={"digits": {}})[1] == {"specific": [1]}


def test_the_release_of_a_host_is_what_it_declares():
    assert rollout_item(models(), "digits", 2)["version"] == 2
    assert rollout_item(models(), "digits", "2")["files"] == {"golden.npz": "/src/g/2.npz"}
    assert rollout_item(models(), "dogs") == {}
    # A variant that was made from version 2 is version 2 on its hardware.
    assert rollout_item(models(versions=(1, 2, 3)), "digits", 2)["version"] == 3
    assert rollout_item(models(), "digits", {"nano": 2, "xavier": 7}, "nano")["version"] == 2


@pytest.mark.parametrize(("wanted", "hardware_class", "words"), [
    (1, "", "declares version 2 for this host"), ({"nano": 2}, "xavier", "no version of digits for the hardware class xavier"),
    ("two", "", "must be a version number"), (True, "", "must be a version number"),
])
def test_another_version_than_the_declared_one_is_refused(wanted, hardware_class, words):
    with pytest.raises(ModelsError, match=words):
        rollout_item(models(), "digits", wanted, hardware_class)


# ---- drift ----
def host(labels):
    return {"inventory_hostname": "h", "preflight_models": models()[:1], "model_server_seen": {"reachable": True},
            "model_server_labels_now": {"digits": labels}}


def test_drift_is_where_labels_are_otherwise_than_declared():
    assert drift([host({"canary": 2, "stable": 2})]) == []
    assert drift([host({"canary": 2, "stable": 1})]) == ["h, digits: the label stable is on version 1, declared is version 2."]
    assert drift([host({"stable": 2, "old": 1})]) == [
        "h, digits: the label canary is nowhere, declared is version 2.", "h, digits: nobody declares the label old."]
    assert drift([{"inventory_hostname": "gone"}]) == []
