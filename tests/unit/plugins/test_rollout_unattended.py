"""What a device that updates itself does next, by the ledger that it keeps."""

import pytest
from ansible_collections.tfleet.serving.plugins.module_utils.models import normalise
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_ledger import Ledger
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_unattended import unattended_runs

ROLLOUT = "digits-2-20261121T000000Z"
STEPS = ("stage", "gate", "promote", "check")


def declared(version, name="digits", models="/srv/models"):
    release = {"version": version, "source": "models/digits/1/frozen_graph.pb",
               "signatures": {"serving_default": {"inputs": {"x": "x:0"}, "outputs": {"y": "y:0"}}}}
    return normalise([{"name": name, "releases": [release]}], str(models), "/checkout")


@pytest.fixture
def ledger(tmp_path):
    """``ledger(line, …)`` keeps the record of a rollout of version 2 with these lines; ``ledger.next(version)`` asks what comes next."""

    class Kept:
        def __call__(self, *lines, rollout=ROLLOUT, version=2):
            kept = Ledger(str(tmp_path / rollout))
            kept.create({"rollout": rollout, "model": "digits", "by": "root@orin", "targets": {"orin": version},
                         "waves": [{"number": 1, "kind": "canary", "hosts": ["orin"]}]})
            kept.append({"step": "run"})
            for line in lines:
                kept.append(line)

        def next(self, version):
            (run,) = unattended_runs(declared(version), str(tmp_path), "orin")
            assert (run["model"], run["version"]) == ("digits", version)
            return run["variables"], run["reason"]

    return Kept()


def passed(*steps):
    return [{"host": "orin", "step": step, "outcome": "ok"} for step in steps]


def failed(step, outcome="failed"):
    return {"host": "orin", "step": step, "outcome": outcome, "msg": "Output 'classes' differs."}


DECISION = {"step": "decision", "wave": 1, "after": "gate", "verdict": "stop", "reason": "1 failed", "roll_back": ["orin"]}


def test_the_first_version_is_rolled_out(ledger):
    assert ledger.next(2) == ({"rollout_model": "digits"}, "Version 2 of digits is new here.")


def test_what_the_bench_has_deployed_is_left_alone_and_what_follows_is_not(tmp_path):
    (tmp_path / "models/digits/2").mkdir(parents=True)
    ((run,), (later,)) = (unattended_runs(declared(version, models=tmp_path / "models"), str(tmp_path / "rollouts"), "orin") for version in (2, 3))
    assert (run["variables"], run["reason"]) == (None, "Version 2 of digits was here before the device began to update itself.")
    assert later["variables"] == {"rollout_model": "digits"}


def test_one_that_was_brought_is_left_alone_and_the_next_one_is_not(ledger):
    ledger(*passed(*STEPS), {"step": "end", "outcome": "done", "counts": {}})
    assert ledger.next(2) == (None, f"Version 2 of digits was brought by {ROLLOUT}.")
    assert ledger.next(3)[0] == {"rollout_model": "digits"}


@pytest.mark.parametrize("steps", [STEPS[:count] for count in range(4)])
def test_a_killed_run_is_resumed(ledger, steps):
    ledger(*passed(*steps))
    assert ledger.next(2) == ({"rollout_model": "digits", "rollout_resume": ROLLOUT}, f"{ROLLOUT} did not come to its end.")


def test_one_that_was_killed_before_it_went_back_goes_back_first(ledger):
    ledger(*passed("stage"), failed("gate"), DECISION)
    assert ledger.next(2)[0] == {"rollout_model": "digits", "rollout_resume": ROLLOUT}


def test_one_that_was_killed_before_the_decision_is_resumed(ledger):
    ledger(*passed("stage"), failed("gate"))
    assert ledger.next(2)[0] == {"rollout_model": "digits", "rollout_resume": ROLLOUT}


def test_a_version_that_failed_is_not_tried_again_and_the_reason_is_told(ledger):
    ledger(*passed("stage"), failed("gate"), DECISION, *passed("rollback"))
    variables, reason = ledger.next(2)
    assert variables is None
    assert "failed here in" in reason
    assert reason.endswith("Output 'classes' differs.")
    assert ledger.next(3)[0] == {"rollout_model": "digits"}


@pytest.mark.parametrize("outcome", ["failed", "unreachable"])
def test_one_that_never_arrived_is_tried_again(ledger, outcome):
    ledger(failed("stage", outcome))
    assert ledger.next(2) == ({"rollout_model": "digits", "rollout_resume": ROLLOUT}, f"{ROLLOUT} did not come to its end.")


def test_what_stands_half_way_gives_way_to_a_newer_declaration(ledger):
    ledger(*passed("stage", "gate"))
    assert ledger.next(3)[0] == {"rollout_model": "digits", "rollout_supersede": ROLLOUT}


def test_the_last_rollout_counts(ledger):
    ledger(*passed("stage"), failed("gate"), DECISION, *passed("rollback"))
    ledger(*passed(*STEPS), rollout="digits-3-20261122T000000Z", version=3)
    assert ledger.next(3)[0] is None
    # Back to the earlier one by declaration: that it failed once was another day.
    assert ledger.next(2)[0] == {"rollout_model": "digits"}


def test_a_damaged_record_is_named_and_keeps_no_model_back(ledger, tmp_path):
    ledger(*passed(*STEPS))
    kept = tmp_path / ROLLOUT / "ledger.jsonl"
    kept.write_text(kept.read_text().replace('"gate"', '"gat'))
    digits, faces = unattended_runs([*declared(2), *declared(2, "faces")], str(tmp_path), "orin")
    assert digits["variables"] == {"rollout_model": "digits", "rollout_supersede": ROLLOUT}
    assert "Line 4 of %s is damaged" % kept in digits["reason"]
    assert faces["variables"] == {"rollout_model": "faces"}
    # The one that took its place is the last.
    ledger(*passed(*STEPS), rollout="digits-2-20261122T000000Z")
    assert ledger.next(2)[0] is None


def test_a_model_without_releases_and_one_of_a_similar_name_are_not_confused(ledger, tmp_path):
    ledger(*passed(*STEPS))
    models = [*declared(2), *declared(2, "digits-2"), *normalise([{"name": "borrowed", "base_path": "/srv/borrowed"}], "/srv/models", "/checkout")]
    runs = {run["model"]: run["variables"] for run in unattended_runs(models, str(tmp_path), "orin")}
    assert runs == {"digits": None, "digits-2": {"rollout_model": "digits-2"}}
