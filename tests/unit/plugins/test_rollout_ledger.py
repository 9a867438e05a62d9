"""The record of a rollout: what survives, what follows from it, and what is decided."""
import json
import multiprocessing
import os
import pathlib
import time

import pytest
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_decision import Budget, budget, decide
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_ledger import Ledger, known, name_of
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_report import report, summary, trend, waiting
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_settings import settings
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_state import State
from ansible_collections.tfleet.serving.tests.unit.plugins.rollout_simulation import simulate

WAVES = [
    {"number": 1, "kind": "canary", "hosts": ["a"]}, {"number": 2, "kind": "wave", "hosts": ["b", "c", "d"]}, {"number": 3, "kind": "wave", "hosts": ["e"]},
]
NO_FAILURE = Budget(0, 0)


def plan_line(waves=None):
    waves = waves or WAVES
    return {"rollout": "digits-2-20261121T000000Z", "model": "digits", "by": "me@here", "waves": waves,
            "targets": {name: 2 for wave in waves for name in wave["hosts"]}}


def lines(*answers):
    """The plan, one run, and answers such as "b gate ok"."""
    made = [dict(plan_line(), step="plan", time="2026-11-21T00:00:00Z"), {"step": "run", "time": "2026-11-21T00:00:00Z"}]
    for index, answer in enumerate(answers):
        line = dict(answer) if isinstance(answer, dict) else dict(zip(("host", "step", "outcome"), answer.split()), seconds=1)
        line.setdefault("msg", "%s %s" % (line.get("host"), line.get("outcome")))
        made.append(dict(line, time="2026-11-21T00:00:%02dZ" % min(59, index + 1)))
    return made


def through(host, *steps):
    return ["%s %s ok" % (host, step) for step in (steps or ("stage", "gate", "promote", "check"))]


@pytest.fixture
def ledger(tmp_path):
    made = Ledger(str(tmp_path / "rollouts" / "digits-2-20261121T000000Z"))
    made.create(plan_line())
    return made


# ---- the file ----
def test_it_gives_back_what_was_written_with_the_time(ledger):
    ledger.append({"host": "a", "step": "gate", "outcome": "ok", "msg": "grün"})
    read = ledger.read()
    assert read[0]["step"] == "plan"
    assert (read[1]["msg"], read[1]["time"][:2]) == ("grün", "20")


def test_what_json_has_no_word_for_is_no_reason_to_lose_a_line(ledger):
    ledger.append({"host": "a", "step": "gate", "outcome": "failed", "msg": "half \udcff", "detail": {"rounds": [[1.0, float("nan")], [-float("inf"), 2.5]]}})
    line = ledger.read()[1]
    assert (line["msg"], line["detail"]) == ("half ?", {"rounds": [[1.0, "NaN"], ["-Infinity", 2.5]]})


def test_only_the_owner_may_read_it(ledger):
    assert [oct(os.stat(path).st_mode)[-3:] for path in (ledger.directory, ledger.path)] == ["700", "600"]


def test_a_torn_last_line_is_dropped_and_the_next_one_is_whole(ledger):
    ledger.append({"host": "a", "step": "gate", "outcome": "ok"})
    with open(ledger.path, "ab") as stream:
        stream.write(b'{"host": "b", "step": "ga')
    assert [line.get("host") for line in ledger.read()] == [None, "a"]
    ledger.append({"host": "c", "step": "gate", "outcome": "ok"})
    assert [line.get("host") for line in ledger.read()] == [None, "a", "c"]


@pytest.mark.parametrize("cut", range(1, 40))
def test_wherever_a_line_is_torn_the_others_stay(ledger, cut):
    ledger.append({"host": "a", "step": "gate", "outcome": "ok"})
    whole = pathlib.Path(ledger.path).read_bytes()
    ledger.append({"host": "b", "step": "gate", "outcome": "ok"})
    content = pathlib.Path(ledger.path).read_bytes()
    with open(ledger.path, "wb") as stream:
        stream.write(content[:len(whole) + cut])
    ledger.append({"host": "c", "step": "gate", "outcome": "ok"})
    assert [line.get("host") for line in ledger.read()] == [None, "a", "c"]


def test_a_damaged_line_inside_is_refused_and_nothing_changes(ledger):
    ledger.append({"host": "a", "step": "gate", "outcome": "ok"})
    content = pathlib.Path(ledger.path).read_bytes().replace(b'"gate"', b'"ga')
    with open(ledger.path, "wb") as stream:
        stream.write(content)
    with pytest.raises(ModuleError, match=r"Line 2 of .* is damaged"):
        ledger.read()
    assert pathlib.Path(ledger.path).read_bytes() == content


def test_one_that_is_there_is_not_begun_again(ledger):
    with pytest.raises(ModuleError, match="rollout_resume"):
        ledger.create(plan_line())


def test_one_that_is_killed_while_it_begins_is_none(tmp_path):
    path = tmp_path / "rollouts" / "digits-2-20261121T000000Z"

    def killed(_descriptor):
        os._exit(9)

    child = os.fork()
    if child == 0:
        path.mkdir(parents=True)
        # The first thing that it would wait for: all that is written stands in the file.
        os.fsync = killed
        Ledger(str(path)).create(plan_line())
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 9 << 8
    assert not (path / "ledger.jsonl").exists()
    assert known(str(path.parent)) == []
    Ledger(str(path)).create(plan_line())
    assert [line["step"] for line in Ledger(str(path)).read()] == ["plan"]


@pytest.mark.parametrize("left", [b"", b'{"time": "2026-11-21T00:00:00Z", "ste'])
def test_one_without_a_whole_plan_is_not_known_and_can_be_begun(ledger, tmp_path, left):
    pathlib.Path(ledger.path).write_bytes(left)
    assert known(str(tmp_path / "rollouts")) == []
    with pytest.raises(ModuleError, match=r"cut off before it had a plan, so nothing was changed\. Begin a new rollout\.\Z"):
        ledger.read()
    ledger.create(plan_line())
    assert (known(str(tmp_path / "rollouts")), len(ledger.read())) == ([os.path.basename(ledger.directory)], 1)


@pytest.mark.parametrize("first", [b'{"step": "pl@@\n', b'{"step": "run"}\n'])
def test_one_whose_plan_is_damaged_says_how_a_new_one_begins(ledger, tmp_path, first):
    pathlib.Path(ledger.path).write_bytes(first)
    assert known(str(tmp_path / "rollouts")) == ["digits-2-20261121T000000Z"]
    with pytest.raises(ModuleError, match="begin a new rollout with -e rollout_supersede=digits-2-20261121T000000Z"):
        ledger.read()


@pytest.mark.parametrize(("old", "new", "number"), [
    ('"gate"', '"gatd"', 2), ('"step": "gate"', '"stes": "gate"', 2), ('"host"', '"hos\x7f"', 2), ('"outcome"', '"outcomd"', 2),
    ('"time": "20', '"time": "2p', 1), ('"waves"', '"wavds"', 1), ('"host": "a"', '"host": "a"}, "', 2),
])
def test_a_line_whose_damage_left_it_readable_is_named_too(ledger, old, new, number):
    ledger.append({"host": "a", "step": "gate", "outcome": "ok"})
    path = pathlib.Path(ledger.path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ModuleError, match="Line %d of " % number):
        ledger.read()
    path.write_text(text + "5\n")
    with pytest.raises(ModuleError, match="Line 3 of "):
        ledger.read()


def test_one_that_is_not_there_is_named_with_those_that_are(ledger, tmp_path):
    with pytest.raises(ModuleError, match="digits-2-20261121T000000Z"):
        Ledger(str(tmp_path / "rollouts" / "digits-3-20261121T000000Z")).read()
    assert known(str(tmp_path / "rollouts")) == ["digits-2-20261121T000000Z"]
    assert known(str(tmp_path / "nowhere")) == []


def test_the_last_one_is_that_which_began_last_whatever_was_copied_or_written_since(ledger, tmp_path):
    for name in ("digits-10-20261122T000000Z", "digits-3-20261123T000000Z"):
        Ledger(str(tmp_path / "rollouts" / name)).create(plan_line())
    os.utime(ledger.path, (time.time() + 100, time.time() + 100))
    assert known(str(tmp_path / "rollouts")) == ["digits-2-20261121T000000Z", "digits-10-20261122T000000Z", "digits-3-20261123T000000Z"]


@pytest.mark.parametrize(("clock", "name"), [
    (62, "digits-3+4-20261121T000001Z"), (1795219200, "digits-3+4-20261121T000001Z"), (1795219260, "digits-3+4-20261121T000100Z"),
])
def test_the_next_one_comes_after_the_last_whatever_the_clock_says(ledger, tmp_path, monkeypatch, clock, name):
    # Of another model.
    Ledger(str(tmp_path / "rollouts" / "digits-2-9-20991121T000000Z")).create(plan_line())
    monkeypatch.setattr(time, "time", lambda: clock)
    assert name_of("digits", {4, 3}, str(tmp_path / "rollouts")) == name
    Ledger(str(tmp_path / "rollouts" / name)).create(plan_line())
    assert known(str(tmp_path / "rollouts"))[:2] == [os.path.basename(ledger.directory), name]


def test_the_first_one_begins_by_the_clock(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 62)
    assert name_of("digits", {2}, str(tmp_path / "nowhere")) == "digits-2-19700101T000102Z"


def test_one_of_another_format_is_refused(ledger):
    with open(ledger.path, "wb") as stream:
        stream.write(json.dumps({"step": "plan", "format": 2}).encode() + b"\n")
    with pytest.raises(ModuleError, match="format 2"):
        ledger.read()


def _write(path, name, count):
    for index in range(count):
        Ledger(path).append({"host": name, "step": "gate", "outcome": "ok", "msg": "x" * (index * 37 % 5000)})


def test_forks_write_at_once_and_every_line_is_whole(ledger):
    workers = [multiprocessing.Process(target=_write, args=(ledger.directory, "h%d" % index, 25)) for index in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    hosts = [line["host"] for line in ledger.read()[1:]]
    assert sorted(set(hosts)) == ["h%d" % index for index in range(6)]
    assert len(hosts) == 150


# ---- what follows from it ----
def test_the_status_of_a_host_is_its_last_step():
    state = State(lines(*through("a"), *through("b", "stage", "gate", "promote"), *through("c", "stage", "gate"), *through("d", "stage")))
    assert [host.status for host in state.hosts.values()] == ["done", "promoted", "gated", "staged", "pending"]


def test_a_resumed_run_leads_who_is_not_done_through_the_waves_they_were_in():
    state = State(lines(*through("a"), *through("b"), *through("c", "stage", "gate"), "d stage unreachable"))
    assert [(wave["number"], wave["hosts"]) for wave in state.waves()] == [(2, ["c", "d"]), (3, ["e"])]


def test_a_host_that_failed_is_not_led_again_and_counts_for_ever():
    state = State([*lines("b stage ok", "b gate failed", {"step": "decision", "verdict": "go_on", "reason": "", "roll_back": ["b"]}, "b rollback ok"),
                   {"step": "run"}])
    assert state.failed() == ["b"]
    assert "b" not in [name for wave in state.waves() for name in wave["hosts"]]
    assert state.hosts["b"].status == "rolled_back"


@pytest.mark.parametrize("answer", ["b stage failed", "b stage silent", {"host": "b", "step": "gate", "outcome": "failed", "detail": {"untouched": True}}])
def test_a_host_that_failed_before_anything_was_changed_is_led_again_and_counts_anew(answer):
    ended = [*lines(answer), {"step": "decision", "wave": 2, "verdict": "stop", "reason": "1 of 5 hosts failed, 0 may be.", "roll_back": []}]
    told = summary(State(ended))
    assert told["counts"]["failed"] == 1
    assert told["sentences"][-1] == "Put that right, then go on with -e rollout_resume=digits-2-20261121T000000Z."
    resumed = State([*ended, {"step": "run"}])
    assert (resumed.failed(), resumed.owed()) == ([], [])
    assert resumed.waves()[1]["hosts"] == ["b", "c", "d"]
    assert State([*ended, {"step": "run"}, *lines("b stage failed")[2:]]).failed() == ["b"]
    assert State([*ended, {"step": "run"}, *lines(*through("b"))[2:]]).hosts["b"].status == "done"


def test_an_unreachable_host_that_comes_back_is_no_longer_counted():
    state = State([*lines("b stage unreachable"), {"step": "run"}, *lines(*through("b"))[2:]])
    assert state.unreachable() == []
    assert state.hosts["b"].status == "done"


def test_a_rollback_that_was_ordered_is_owed_until_it_is_done():
    ordered = lines("b stage ok", "b gate failed", {"step": "decision", "verdict": "stop", "reason": "x", "roll_back": ["b", "c"]})
    assert State(ordered).owed() == ["b"]  # c was never touched
    assert State([*ordered, *lines("b rollback unreachable")[2:]]).owed() == ["b"]
    assert State([*ordered, *lines("b rollback unreachable", "b rollback ok")[2:]]).owed() == []


def test_who_left_no_answer_is_silent_in_the_step_that_was_theirs():
    state = State(lines("b stage ok", "b gate ok", "c stage ok", "d stage failed"))
    assert state.silent(["b", "c", "d", "e"], ("stage", "gate")) == {"c": "gate", "e": "stage"}


def test_answers_of_an_earlier_run_are_no_answers_now():
    state = State([*lines("b stage ok", "b gate ok"), {"step": "run"}, *lines("b stage ok")[2:]])
    assert state.silent(["b"], ("stage", "gate")) == {"b": "gate"}


# ---- what is decided ----
def test_who_failed_before_a_killed_run_could_decide_owes_its_rollback_to_the_next_one():
    killed = lines(*through("a"), *through("b", "stage"), *through("c", "stage"), "d stage failed", "b gate failed", "c gate ok")
    assert State(killed).owed() == []
    resumed = State([*killed, {"step": "run"}])
    assert resumed.owed() == ["b"]  # d was never touched
    assert [wave["hosts"] for wave in resumed.waves()] == [["c", "d"], ["e"]]
    assert resumed.failed() == ["b"]


def decision(answers, allowed=NO_FAILURE, policy="wave", wave=("b", "c", "d")):
    return decide(State(lines(*answers)), list(wave), allowed, policy)


GATED = [*through("a"), *through("b", "stage", "gate"), *through("d", "stage", "gate"), "c stage ok", "c gate failed"]


def test_all_well_goes_on():
    assert decision([*through("b"), *through("c"), *through("d")])[::2] == ("go_on", [])


@pytest.mark.parametrize(("policy", "back"), [("host", ["c"]), ("wave", ["b", "c", "d"]), ("all", ["a", "b", "c", "d"])])
def test_what_goes_back_when_the_budget_is_exceeded_is_the_policy(policy, back):
    found = decision(GATED, policy=policy)
    assert (found.verdict, found.roll_back) == ("stop", back)
    assert "1 of 5 hosts failed, 0 may" in found.reason
    assert "c in step gate: c failed" in found.reason


UNTOUCHED = {"host": "c", "step": "gate", "outcome": "failed", "seconds": 1, "detail": {"untouched": True}}


@pytest.mark.parametrize("policy", ["wave", "all"])
def test_a_host_on_which_nothing_was_tried_takes_nobody_back(policy):
    found = decision([*GATED[:-1], UNTOUCHED], policy=policy)
    assert (found.verdict, found.roll_back) == ("stop", [])
    # They go on where they stood, as soon as that is put right.
    state = State([*lines(*GATED[:-1], UNTOUCHED, {"step": "decision", "verdict": "stop", "reason": "", "roll_back": []}), {"step": "run"}])
    assert [wave["hosts"] for wave in state.waves()] == [["b", "c", "d"], ["e"]]


def test_a_version_that_failed_in_an_earlier_wave_had_its_chance():
    earlier = ["a stage ok", "a gate failed", {"step": "decision", "verdict": "go_on", "reason": "", "roll_back": ["a"]}, "a rollback ok"]
    assert decision([*earlier, *GATED[4:-1], UNTOUCHED], Budget(1, 0)).roll_back == ["b", "d"]


def test_within_the_budget_the_host_goes_back_alone_whatever_the_policy():
    found = decision(GATED, Budget(1, 0), "all")
    assert (found.verdict, found.roll_back) == ("go_on", ["c"])


def test_the_budget_counts_over_all_waves():
    earlier = ["a stage ok", "a gate failed", {"step": "decision", "verdict": "go_on", "reason": "", "roll_back": ["a"]}, "a rollback ok"]
    assert decision([*earlier, *GATED[4:]], Budget(1, 0)).verdict == "stop"
    assert decision([*earlier, *GATED[4:]], Budget(2, 0)).verdict == "go_on"


def test_a_host_that_failed_while_it_was_staged_was_never_touched():
    assert decision(["b stage failed", *through("c", "stage", "gate"), *through("d", "stage", "gate")], policy="host").roll_back == []


def test_unreachable_hosts_are_counted_apart_and_take_nobody_back():
    answers = [*through("b", "stage", "gate"), "c stage unreachable", *through("d", "stage", "gate")]
    assert decision(answers, Budget(0, 1)).verdict == "go_on"
    found = decision(answers, Budget(5, 0), "all")
    assert (found.verdict, found.roll_back) == ("stop", [])
    assert "Not reachable: c" in found.reason


def test_silence_counts_as_failure():
    assert decision([*through("b", "stage", "gate"), "c stage ok", "c gate silent"], policy="host").roll_back == ["c"]


def test_who_was_cut_off_on_the_way_goes_back_with_its_wave():
    assert "d" in decision(["c stage ok", "c gate failed", "d stage ok", "d gate unreachable"]).roll_back


@pytest.mark.parametrize(("variables", "total", "failed"), [
    ({}, 100, 0), ({"rollout_budget_hosts": 3}, 100, 3), ({"rollout_budget_percent": 5}, 100, 5), ({"rollout_budget_percent": "5%"}, 19, 0),
    ({"rollout_budget_hosts": 3, "rollout_budget_percent": 1}, 100, 1), ({"rollout_budget_hosts": 0, "rollout_budget_percent": 50}, 100, 0),
])
def test_the_budget_is_the_smaller_of_hosts_and_percent(variables, total, failed):
    assert budget(settings(variables), total).failed == failed


@pytest.mark.parametrize("variables", [{"rollout_budget_hosts": -1}, {"rollout_budget_percent": 101}, {"rollout_budget_percent": "x"},
                                       {"rollout_budget_unreachable": "many"}])
def test_a_budget_that_is_none_is_refused(variables):
    with pytest.raises(ModuleError, match="rollout_budget"):
        budget(settings(variables), 10)


# ---- how it ended ----
def test_the_summary_says_what_is_missing_and_what_to_do():
    state = State(lines(*through("a"), *through("b"), *through("c"), *through("d"), *through("e")))
    assert summary(state)["outcome"] == "done"
    state = State(lines(*through("a"), *through("b"), *through("c"), "d stage unreachable", *through("e")))
    told = summary(state)
    assert (told["outcome"], told["counts"]) == ("incomplete", {"done": 4, "unreachable": 1})
    assert "rollout_resume=digits-2-20261121T000000Z when d can be reached" in told["sentences"][-1]


def test_the_report_places_every_answer_on_the_time_line():
    made = lines(*through("a"), "b stage ok", "b gate failed")
    shown = report(made, State(made))
    assert [bar["step"] for bar in shown["waves"][0]["bars"]] == ["stage", "gate", "promote", "check"]
    assert all(0 <= bar["start"] <= shown["seconds"] for wave in shown["waves"] for bar in wave["bars"])
    assert [(failure["host"], failure["step"]) for failure in shown["failures"]] == [("b", "gate")]
    assert len(shown["ticks"]) <= 9


SAMPLE = {"input": "0", "output": {"y": [1.5]}, "expected": {"y": [1.5]}}


@pytest.mark.parametrize(("detail", "new_ms", "drawings"), [
    ({"rounds": "x"}, None, 0), ({"rounds": [[1, "a"], [2, 3], [4], 5]}, 3, 0), ({"rounds": {"a": 1}, "transport": "x", "requests": "x"}, None, 0),
    ({"samples": [{}, "x", {"input": 1, "output": [], "expected": None}, SAMPLE]}, None, 1), ({"samples": "x"}, None, 0), ({"samples": {"a": 1}}, None, 0),
])
def test_one_malformed_answer_leaves_the_report_of_all_others(detail, new_ms, drawings):
    made = lines(*(dict(zip(("host", "step", "outcome"), answer.split()), seconds=1, detail=detail) for answer in through("a")), *through("b"))
    shown = report(made, State(made))
    assert (shown["hosts"][0]["new_ms"], shown["hosts"][1]["words"]) == (new_ms, "on the new version")
    assert sum(len(sample["drawings"]) for sample in shown["samples"]) == drawings
    assert trend(made, State(made))["new_ms"] == new_ms


# ---- a thousand hosts ----
def test_the_work_of_a_thousand_hosts_is_little_and_grows_with_their_number(tmp_path):
    # The first one pays for what is imported late.
    simulate(tmp_path, 50)
    small, large = simulate(tmp_path, 250), simulate(tmp_path, 1000)
    assert large < 60
    # Four times the hosts: quadratic growth would be sixteen times the seconds.
    assert large < 8 * small, (small, large)


def test_what_hosts_wait_for_is_said_until_all_are_done():
    sentences = waiting(State(lines(*through("a"), "b stage unreachable", "c stage failed")))
    resume = "-e rollout_resume=digits-2-20261121T000000Z."
    assert [sentence.split(": ")[1] for sentence in sentences] == [
        f"c. It waits for a person, and then for {resume}", f"b. It waits for {resume}", f"d, e. They wait for {resume}"]
    assert waiting(State(lines(*(answer for host in "abcde" for answer in through(host))))) == []


def test_only_hosts_that_were_changed_are_half_way():
    state = State(lines(*through("a"), *through("b", "stage", "gate"), *through("c", "stage"), "d gate failed", "d rollback ok"))
    assert state.half_way() == ["b"]
