"""What repeated measurements prove: percentiles, and the ratio of two builds with its spread. Standard library only."""

import math
import statistics
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

FASTER, SLOWER, SAME, UNDECIDED = "faster", "slower", "same", "undecided"

FLOOR = 0.02
"""Two processes of one and the same build differ by so much, however often they run: each finds its memory elsewhere."""

MIN_ROUNDS = 5
"""Fewer rounds say nothing about their own spread."""

# Student's t, two-sided 99 %, for 1, 2, ... degrees of freedom; the normal distribution's beyond.
_T99 = (
    63.657, 9.925, 5.841, 4.604, 4.032, 3.707, 3.499, 3.355, 3.250, 3.169, 3.106, 3.055, 3.012, 2.977, 2.947, 2.921, 2.898, 2.878, 2.861, 2.845,
    2.831, 2.819, 2.807, 2.797, 2.787, 2.779, 2.771, 2.763, 2.756, 2.750,
)  # fmt: skip
_NORMAL99 = 2.576

Ratio = NamedTuple("Ratio", [("ratio", float), ("low", float), ("high", float), ("rounds", int)])


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which `share` (0..100) of the ascending values lie, by linear interpolation."""
    place = (len(ordered) - 1) * share / 100.0
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def latency(seconds: Sequence[float]) -> Dict[str, float]:
    """{"mean", "p50", "p90", "p95", "p99", "p99.9", "max"} in milliseconds; {} if there are none."""
    if not seconds:
        return {}
    ordered = sorted(seconds)
    found = {"mean": sum(ordered) / len(ordered), "max": ordered[-1]}
    found.update(("p%g" % share, percentile(ordered, share)) for share in (50, 90, 95, 99, 99.9))
    return {name: round(value * 1e3, 4) for name, value in found.items()}


def ratio(baseline: Sequence[float], candidate: Sequence[float]) -> Ratio:
    """How many times faster the candidate is, from the seconds of each round: the rounds' geometric mean and its 99 % interval.

    Round i of both was measured at the same time, so that what disturbs the machine disturbs both and cancels out.
    Raises ValueError if the rounds are not pairs, or not positive.
    """
    if len(baseline) != len(candidate) or not baseline:
        raise ValueError("%d rounds of one build and %d of the other" % (len(baseline), len(candidate)))
    return interval([math.log(slow / fast) for slow, fast in zip(baseline, candidate)])


def interval(logs: Sequence[float]) -> Ratio:
    """The same from the logarithms of the rounds' ratios. One round alone has no spread: its interval is everything."""
    count = len(logs)
    mean = sum(logs) / count
    if count < 2:
        return Ratio(math.exp(mean), 0.0, math.inf, count)
    error = statistics.stdev(logs) / math.sqrt(count)
    reach = error * (_T99[count - 2] if count - 2 < len(_T99) else _NORMAL99)
    reach = math.hypot(reach, FLOOR)
    return Ratio(math.exp(mean), math.exp(mean - reach), math.exp(mean + reach), count)


def verdict(found: Ratio, margin: float, name: str, baseline: str) -> Dict[str, Any]:
    """{"ratio", "low", "high", "verdict", "reason"}: `faster` only if even the lower end is faster by the margin."""
    low, high = found.low, found.high
    span = "%s times %s (99 %% of such runs: %s to %s)" % (_three(found.ratio), "the speed of " + baseline, _three(low), _three(high))
    if found.rounds < MIN_ROUNDS:
        word = UNDECIDED
        reason = "%s: measured in %d round(s), which say nothing about the noise. Measure %d rounds or more." % (span, found.rounds, MIN_ROUNDS)
    elif low > 1 and low >= 1 + margin:
        word, reason = FASTER, "%s." % span
    elif high < 1:
        word, reason = SLOWER, "%s." % span
    elif high < 1 + margin:
        word = SAME
        reason = "%s: less than the %g %% that were asked for." % (span, 100 * margin)
    else:
        word = UNDECIDED
        what = "the difference" if low <= 1 else "its distance from the %g %% that were asked for" % (100 * margin)
        reason = "%s: the noise is larger than %s, so nothing is concluded. Measure longer, on a machine with nothing else to do." % (span, what)
    return {
        "ratio": _rounded(found.ratio),
        "low": _rounded(low),
        "high": _rounded(high),
        "verdict": word,
        "reason": "%s has %s" % (name, reason),
    }


def settled(values: Sequence[float], count: int = 3, within: float = 0.1) -> bool:
    """Whether the last `count` values lie within a share of their mean: the stabilisation of a measurement."""
    last: List[float] = list(values[-count:])
    if len(last) < count:
        return False
    mean = sum(last) / count
    return mean > 0 and all(abs(value - mean) <= within * mean for value in last)


def _rounded(value: float) -> Optional[float]:
    """JSON has no infinity."""
    return float("%.5g" % value) if math.isfinite(value) else None


def _three(value: float) -> str:
    return "%.3f" % value if math.isfinite(value) else "any"
