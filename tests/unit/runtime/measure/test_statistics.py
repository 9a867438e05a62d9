"""Verdicts on synthetic samples: what must be concluded, and what must not."""

import numpy as np
import pytest

from tfleet.measure import comparing, statistics

ROUNDS = 10


def judged(baseline, candidate, margin=0.0):
    return statistics.verdict(statistics.ratio(list(baseline), list(candidate)), margin, "new", "old")


def noisy(random, seconds, noise, shared=None):
    own = random.normal(0, noise, ROUNDS)
    return seconds * np.exp(own + (0 if shared is None else shared))


def test_percentiles_are_numpys():
    values = sorted(np.random.RandomState(1).rand(101).tolist())
    for share in (0, 50, 90, 99, 99.9, 100):
        assert statistics.percentile(values, share) == pytest.approx(np.percentile(values, share))
    assert statistics.percentile([3.0], 99.9) == 3.0


def test_latency_in_milliseconds():
    found = statistics.latency([0.001] * 99 + [0.101])
    assert (found["p50"], found["max"], found["mean"]) == (1.0, 101.0, 2.0)
    assert statistics.latency([]) == {}


@pytest.mark.parametrize("noise", [0.005, 0.05, 0.3])
def test_two_runs_of_one_build_are_never_different(noise):
    random = np.random.RandomState(5)
    words = [judged(noisy(random, 1.0, noise), noisy(random, 1.0, noise))["verdict"] for _ in range(400)]
    # The interval is that of 99 % of all runs: 4 of 400 by chance.
    assert sum(word in ("faster", "slower") for word in words) <= 10


def test_a_difference_above_the_noise_is_found_in_both_directions():
    random = np.random.RandomState(6)
    for _ in range(50):
        fast, slow = noisy(random, 0.8, 0.03), noisy(random, 1.0, 0.03)
        assert judged(slow, fast)["verdict"] == "faster"
        assert judged(fast, slow)["verdict"] == "slower"


def test_a_difference_below_the_noise_is_not_concluded_and_the_reason_says_so():
    random = np.random.RandomState(7)
    found = [judged(noisy(random, 1.0, 0.2), noisy(random, 0.97, 0.2)) for _ in range(50)]
    assert {line["verdict"] for line in found} == {"undecided"}
    assert "the noise is larger than the difference" in found[0]["reason"]
    assert found[0]["low"] < 1 < found[0]["high"]


def test_what_disturbs_both_builds_cancels_out():
    random = np.random.RandomState(8)
    drift = np.linspace(0, 1.5, ROUNDS)
    assert judged(noisy(random, 1.0, 0.02, drift), noisy(random, 0.85, 0.02, drift))["verdict"] == "faster"


def test_less_than_the_margin_is_the_same_and_the_margin_itself_needs_proof():
    random = np.random.RandomState(9)
    assert judged(noisy(random, 1.0, 0.005), noisy(random, 1.0, 0.005), margin=0.1)["verdict"] == "same"
    assert judged(noisy(random, 1.0, 0.005), noisy(random, 0.5, 0.005), margin=0.1)["verdict"] == "faster"
    close = judged(noisy(random, 1.0, 0.02), noisy(random, 1 / 1.11, 0.02), margin=0.1)
    assert close["verdict"] == "undecided"
    assert "its distance from the 10 %" in close["reason"]


def test_few_rounds_conclude_nothing():
    found = judged([1.0, 1.0, 1.0, 1.0], [0.1, 0.1, 0.1, 0.1])
    assert found["verdict"] == "undecided"
    assert "Measure 5 rounds or more" in found["reason"]
    one = judged([1.0], [0.5])
    assert (one["low"], one["high"], one["ratio"]) == (0.0, None, 2.0)


def test_rounds_are_pairs():
    with pytest.raises(ValueError, match="2 rounds of one build and 1 of the other"):
        statistics.ratio([1.0, 1.0], [1.0])


def test_settled_looks_at_the_last_windows_only():
    assert statistics.settled([10, 50, 100, 101, 99])
    assert not statistics.settled([100, 100])
    assert not statistics.settled([100, 100, 130])


def row(name, errors=None):
    return {"name": name, "batch_size": 1, "concurrency": None, "rate": None, "errors": errors or {}, "requests": 100}


def test_failed_requests_are_no_speed():
    found = comparing.compare([row("old"), row("new", {"UNAVAILABLE": 3})], [[1.0] * ROUNDS, [0.1] * ROUNDS], 0.0)
    assert found.rows[0]["verdict"] == "undecided"
    assert "3 of 103 requests to new failed (UNAVAILABLE 3 times)" in found.rows[0]["reason"]
    line = comparing.summary("old", {"new": []}, 1, 0.0)[0]
    assert (line["verdict"], line["ratio"]) == ("undecided", None)


def test_the_summary_takes_all_settings_together():
    logs = {"new": [[np.log(2.0)] * ROUNDS, [0.0] * ROUNDS]}
    line = comparing.summary("old", logs, 2, 0.0)[0]
    assert line["ratio"] == pytest.approx(2**0.5, rel=1e-3)
    assert comparing.summary("old", {"new": logs["new"][:1]}, 2, 0.0)[0]["verdict"] == "undecided"
