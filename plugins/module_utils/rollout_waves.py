# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""In which order the hosts of a rollout take part: the canary hosts, then waves of growing size, spread over the sites.

Pure: values in, values out. The same inventory and the same wishes always give the same waves.
"""
from collections import Counter, OrderedDict
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_settings import count_of

ONE_OF_EACH_CLASS = "one_of_each_class"

Host = NamedTuple("Host", [("name", str), ("site", str), ("hardware_class", str)])
Wave = NamedTuple("Wave", [("number", int), ("kind", str), ("hosts", Tuple[str, ...])])
"""kind: canary or wave; number counts from 1, the canary included."""


class WavesError(ModuleError):
    """The wishes do not make waves: what is wrong, where, and what to write instead."""


def plan(hosts: Sequence[Host], canary: Any, sizes: Sequence[Any], site_share: int) -> List[Wave]:
    """Return the waves; every host is in exactly one.

    :param hosts: in the order of the inventory.
    :param canary: names of hosts, or ONE_OF_EACH_CLASS (the first host of each hardware class), or an empty list.
    :param sizes: like Ansible's ``serial``: counts (5) and percents of all hosts ("10%"), the last one repeated until all took part.
    :param site_share: at most this many percent of one site's hosts are in one wave (at least one host always is); 100 for no limit.
    :raises WavesError: an unknown or repeated canary, a size that is none, a share that is none.
    """
    if not hosts:
        raise WavesError("No host takes part in this rollout. Check --limit, and that the groups gpu_servers, cpu_servers and jetsons have hosts.")
    counts = [count_of("rollout_waves", size, len(hosts)) for size in sizes]
    if 0 in counts:
        raise WavesError("rollout_waves: a wave of no hosts would never end.")
    if not counts:
        raise WavesError('rollout_waves is empty. Name at least one size, such as ["10%", "50%", "100%"].')
    first = _canary(hosts, canary)
    waves = [Wave(1, "canary", tuple(first))] if first else []
    at_site = Counter(host.site for host in hosts)
    # Hosts of which nobody said where they are need not be in one place.
    most = {site: max(1, count * site_share // 100) if site else count for site, count in at_site.items()}
    chosen = set(first)
    waiting = _spread([host for host in hosts if host.name not in chosen])
    while waiting:
        wave, waiting = _next_wave(waiting, counts.pop(0) if len(counts) > 1 else counts[0], most)
        waves.append(Wave(len(waves) + 1, "wave", tuple(wave)))
    return waves


def _canary(hosts: Sequence[Host], canary: Any) -> List[str]:
    if canary == ONE_OF_EACH_CLASS:
        found: Dict[str, str] = OrderedDict()
        for host in hosts:
            # One of which nobody knows what it is did not answer: it proves nothing.
            if host.hardware_class:
                found.setdefault(host.hardware_class, host.name)
        return list(found.values())
    if not isinstance(canary, (list, tuple)):
        raise WavesError("rollout_canaries must be a list of hosts or %s, not %r." % (ONE_OF_EACH_CLASS, canary))
    names = {host.name for host in hosts}
    unknown = [name for name in canary if name not in names]
    if unknown:
        raise WavesError("rollout_canaries names %s, which does not take part in this rollout. Take it out, or correct --limit." % ", ".join(map(str, unknown)))
    if len(set(canary)) != len(canary):
        raise WavesError("rollout_canaries names a host twice.")
    return list(canary)


def _spread(hosts: Sequence[Host]) -> List[Host]:
    """The hosts in turn from each site, so that a wave touches many sites a little and not one site wholly."""
    sites: Dict[str, List[Host]] = OrderedDict()
    for host in hosts:
        sites.setdefault(host.site, []).append(host)
    turns = max([len(group) for group in sites.values()] or [0])
    return [group[turn] for turn in range(turns) for group in sites.values() if turn < len(group)]


def _next_wave(waiting: List[Host], count: int, most: Dict[str, int]) -> Tuple[List[str], List[Host]]:
    wave: List[str] = []
    later: List[Host] = []
    taken: Dict[str, int] = {}
    for host in waiting:
        if len(wave) < count and taken.get(host.site, 0) < most[host.site]:
            wave.append(host.name)
            taken[host.site] = taken.get(host.site, 0) + 1
        else:
            later.append(host)
    return wave, later
