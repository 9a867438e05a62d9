"""Who takes part in which wave."""
import pathlib

import pytest
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_settings import DEFAULTS, count_of, settings, within_hours
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_waves import Host, plan


def fleet(count, sites=1, classes=1):
    return [Host("h%d" % index, "site%d" % (index % sites) if sites > 1 else "", "class%d" % (index % classes)) for index in range(count)]


def sizes(waves):
    return [len(wave.hosts) for wave in waves]


def test_every_host_takes_part_once_whatever_is_wished():
    for canary in ([], ["h3", "h7"], "one_of_each_class"):
        for wish in ([1], [3, "50%"], ["10%", "100%"], ["100%"], [1000]):
            for share in (1, 20, 100):
                waves = plan(fleet(17, 3, 4), canary, wish, share)
                names = [name for wave in waves for name in wave.hosts]
                assert sorted(names) == sorted(host.name for host in fleet(17))
                assert [wave.number for wave in waves] == list(range(1, len(waves) + 1))


def test_named_canaries_come_first_in_their_order():
    waves = plan(fleet(10), ["h7", "h3"], ["100%"], 100)
    assert (waves[0].kind, waves[0].hosts) == ("canary", ("h7", "h3"))
    assert sizes(waves) == [2, 8]


def test_one_canary_of_each_hardware_class():
    waves = plan(fleet(10, classes=3), "one_of_each_class", ["100%"], 100)
    assert waves[0].hosts == ("h0", "h1", "h2")


def test_a_host_of_which_nobody_knows_the_class_is_no_canary_unless_it_is_named():
    hosts = [Host("off", "", ""), *fleet(3)]
    assert plan(hosts, "one_of_each_class", ["100%"], 100)[0].hosts == ("h0",)
    assert plan(hosts, ["off"], ["100%"], 100)[0].hosts == ("off",)
    assert [wave.kind for wave in plan(hosts[:1], "one_of_each_class", ["100%"], 100)] == ["wave"]


def test_sizes_are_counts_and_percents_of_all_and_the_last_repeats():
    assert sizes(plan(fleet(100), [], [1, "5%", "30%"], 100)) == [1, 5, 30, 30, 30, 4]
    # A percentage of few hosts is at least one.
    assert sizes(plan(fleet(5), [], ["10%", "100%"], 100)) == [1, 4]


def test_a_wave_takes_no_more_of_a_site_than_its_share_and_at_least_one():
    waves = plan(fleet(40, sites=4), [], ["100%"], 30)
    for wave in waves:
        at = [int(name[1:]) % 4 for name in wave.hosts]
        assert max(at.count(site) for site in range(4)) <= 3
    assert sizes(plan(fleet(6, sites=3), [], ["100%"], 1)) == [3, 3]


def test_hosts_without_a_site_are_in_no_place_together():
    assert sizes(plan(fleet(6), [], ["100%"], 1)) == [6]


def test_small_waves_touch_many_sites():
    waves = plan(fleet(12, sites=4), [], [4], 100)
    assert all(len({int(name[1:]) % 4 for name in wave.hosts}) == 4 for wave in waves)


@pytest.mark.parametrize(("canary", "wish", "words"), [
    (["h1", "h1"], [1], "twice"), (["strange"], [1], "strange"), ("first", [1], "one_of_each_class"), ([], [], "empty"),
    ([], ["half"], "rollout_waves: 'half'"), ([], [0], "no hosts"), ([], ["0%"], "no hosts"), ([], [-1], "neither"),
    ([], ["101%"], "neither"), ([], [True], "neither"), ([], [1.5], "neither"),
])
def test_wishes_that_make_no_waves_are_refused(canary, wish, words):
    with pytest.raises(ModuleError, match=words):
        plan(fleet(3), canary, wish, 50)


def test_no_hosts_are_no_rollout():
    with pytest.raises(ModuleError, match="No host"):
        plan([], [], [1], 50)


@pytest.mark.parametrize(("window", "clock", "minutes"), [
    ("", 0, None), ("08:00-17:00", 8 * 60, None), ("08:00-17:00", 17 * 60, 15 * 60), ("08:00-17:00", 7 * 60 + 59, 1), ("22:00-05:00", 23 * 60, None),
    ("22:00-05:00", 4 * 60, None), ("22:00-05:00", 5 * 60, 17 * 60), ("00:00-00:00", 700, None),
])
def test_working_hours(window, clock, minutes):
    assert within_hours(window, clock) == minutes


@pytest.mark.parametrize("window", ["8-17", "24:00-05:00", "08:00", "08:60-09:00", "08:00-17:00 CET"])
def test_working_hours_that_are_none(window):
    with pytest.raises(ModuleError, match="rollout_hours"):
        within_hours(window, 0)


def test_settings_have_defaults_and_take_what_the_inventory_says():
    assert settings({"rollout_soak_seconds": "5", "other": 1})["rollout_soak_seconds"] == 5
    assert settings({})["rollout_waves"] == DEFAULTS["rollout_waves"]
    assert settings({"rollout_waves": "25%"})["rollout_waves"] == ["25%"]
    assert settings({"rollout_swap_growth": 268435456})["rollout_swap_growth"] == "268435456"


@pytest.mark.parametrize(("name", "value", "words"), [
    ("rollout_wave", [1], "Did you mean rollout_waves"), ("rollout_site_share", 0, "from 1 to 100"), ("rollout_soak_seconds", "long", "rollout_soak_seconds"),
    ("rollout_rollback", "none", "host, wave, all"), ("rollout_approval", True, "none, file, prompt"), ("rollout_rounds", True, "rollout_rounds"),
    ("rollout_hours", "8-17", "rollout_hours"), ("rollout_swap_growth", "much", "rollout_swap_growth"), ("rollout_swap_growth", "1", "less than 1 MiB"),
    ("rollout_memory_growth", "much", "rollout_memory_growth"),
    ("rollout_latency_factor", 0.5, "from 1"), ("rollout_error_share", float("nan"), "rollout_error_share"),
])
def test_settings_that_make_no_sense_are_refused(name, value, words):
    with pytest.raises(ModuleError, match=words):
        settings({name: value})


def test_every_setting_is_in_the_example_and_in_the_runbook():
    checkout = pathlib.Path(__file__).parents[3]
    for path in ("inventories/example/group_vars/all.yml", "docs/rollout.md"):
        text = (checkout / path).read_text()
        assert [name for name in (*DEFAULTS, "rollout_site") if name not in text] == []


def test_numbers_of_hosts():
    assert [count_of("x", value, 40) for value in (0, 3, "3", "0%", "10%", "1%", "100%")] == [0, 3, 3, 0, 4, 1, 40]
