# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What the gate makes of what was measured on a device: sentences for what speaks against a version. Pure functions.

A finding is a sentence that says what was measured, what was allowed, and what to look at.
"""
import re
import typing

from ansible_collections.tfleet.serving.plugins.module_utils.memory import human

_COUNT = re.compile(r'^:tensorflow:serving:request_count\{([^}]*)\} ([0-9.e+]+)$', re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def latency(rounds, factor, slack_ms, budget_ms):
    """Judge the median latencies of both versions, measured in turns in the same minute.

    The best of several turns is judged: noise only adds to a latency.

    :param rounds: [(old, new)] medians in milliseconds; old is None where there was nothing to compare with.
    :param factor: how many times slower the new version may be, beyond ``slack_ms``.
    :param budget_ms: what the release may take at most, None for any.
    """
    new = min(pair[1] for pair in rounds)
    compared = [pair for pair in rounds if pair[0] is not None]
    findings = []
    if budget_ms is not None and new > budget_ms:
        findings.append("Its median answer took %.1f ms in the best of %d turns, the budget (latency_budget_ms) is %g ms." % (new, len(rounds), budget_ms))
    if compared:
        best = min(compared, key=lambda pair: pair[1] - factor * pair[0])
        if best[1] > factor * best[0] + slack_ms:
            findings.append("Its median answer took %.1f ms, that of the version served now %.1f ms in the same minute: more than %g times as long "
                            "(rollout_latency_factor) and %g ms (rollout_latency_slack_ms)." % (best[1], best[0], factor, slack_ms))
    return findings


def health(before, after, memory_growth, swap_growth, max_celsius):
    """Judge the device after the version was loaded, against itself before.

    :param before, after: what ``Device.health()`` told, and ``servers`` as Server.processes() does.
    :param memory_growth: bytes that the servers may hold more than before, None for any.
    :param swap_growth: bytes of swap that loading may cost.
    :param max_celsius: degrees that no zone may pass; 0 for what the zone itself calls critical, less 5.
    """
    findings = []
    if memory_growth is not None and before.get("servers") and after.get("servers"):
        held = [sum(server["resident_bytes"] for server in reading["servers"]) for reading in (before, after)]
        if held[1] - held[0] > memory_growth:
            findings.append("The model server holds %s of memory more than before, allowed are %s (rollout_memory_growth, or the size of "
                            "the version's files times rollout_memory_factor if that is more)." % (human(held[1] - held[0]), human(memory_growth)))
    used = [sum(area["used_bytes"] for area in reading["swap"] or ()) for reading in (before, after)]
    if used[1] - used[0] > swap_growth:
        findings.append("%s of swap came into use while it was loaded, allowed are %s (rollout_swap_growth)." % (human(used[1] - used[0]), human(swap_growth)))
    for zone in after["thermal"] or ():
        limit = max_celsius or (zone["critical_celsius"] - 5 if zone["critical_celsius"] else 0)
        if limit and zone["celsius"] > limit:
            findings.append("The zone %s has %.0f degrees, allowed are %.0f (rollout_max_celsius)." % (zone["zone"], zone["celsius"], limit))
    for name, count in sorted((after["over_current"] or {}).items()):
        more = (count or 0) - ((before["over_current"] or {}).get(name) or 0)
        if more > 0:
            findings.append("The power supply gave out %d time(s) since (over-current %s): the device was slowed down. Look at its power mode and supply."
                            % (more, name))
    slowed = [event for event in after["throttling"] or () if event not in (before["throttling"] or ()) and not event.startswith("over-current")]
    if slowed:
        findings.append("The device was slowed down meanwhile: %s." % "; ".join(slowed))
    return findings


def restarts(before, after, fell=False):
    """Judge whether the servers are still the processes that they were.

    :param before, after: as for :func:`health`.
    :param fell: whether :func:`counts_fell`; it tells where the processes cannot be seen.
    """
    if before.get("servers") and after.get("servers"):
        gone = [server["pid"] for server in before["servers"] if server["run"] not in [now["run"] for now in after["servers"]]]
        words = " (process %s is gone)" % ", ".join(map(str, gone)) if gone else None
    else:
        words = " (it counts its requests from 0)" if fell else None
    if words is None:
        return []
    return ["The model server was started again meanwhile%s: it crashed, or somebody restarted it. Look at its log." % words]


def request_counts(text, model):
    """Return {status: requests} of a model from the server's metrics in Prometheus' form."""
    counts: typing.Dict[str, int] = {}
    for labels, value in _COUNT.findall(text):
        named = dict(_LABEL.findall(labels))
        if named.get("model_name") == model:
            counts[named.get("status", "")] = counts.get(named.get("status", ""), 0) + int(float(value))
    return counts


def counts_fell(before, after):
    """Whether the counters of a server began anew."""
    return any(after.get(status, 0) < count for status, count in before.items())


def errors(before, after, share):
    """Judge the server's counters over the soak.

    :param before, after: results of :func:`request_counts`; a server that was restarted counts from 0.
    :param share: part of the requests that may fail, from 0 to 1.
    :returns: (findings, requests, errors).
    """
    base = {} if counts_fell(before, after) else before
    grown = {status: count - base.get(status, 0) for status, count in after.items()}
    failed = sum(count for status, count in grown.items() if status != "OK")
    total = sum(grown.values())
    if failed > share * total:
        worst = ", ".join("%s %d" % item for item in sorted(grown.items()) if item[0] != "OK" and item[1])
        return (["%d of %d requests failed since the labels moved (%s); allowed are %g %% (rollout_error_share)." % (failed, total, worst, 100 * share)],
                total, failed)
    return [], total, failed


def memory_needed(release_bytes, factor):
    """Return the bytes of memory that a second version needs beside the first: its files, times what TensorFlow makes of them."""
    return int(release_bytes * factor)
