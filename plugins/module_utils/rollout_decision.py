# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What happens next in a rollout: decided from its ledger alone, never from what Ansible believes of a host."""
from typing import Any, Dict, List, NamedTuple, Sequence

from ansible_collections.tfleet.serving.plugins.module_utils.rollout_settings import SettingsError, count_of
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_state import OWED, PENDING, ROLLED_BACK, State

GO_ON, STOP = "go_on", "stop"

Budget = NamedTuple("Budget", [("failed", int), ("unreachable", int)])
"""How many hosts of the whole rollout may fail, and how many may be unreachable, over all waves."""

Decision = NamedTuple("Decision", [("verdict", str), ("reason", str), ("roll_back", List[str])])


def budget(settings: Dict[str, Any], total: int) -> Budget:
    """Return the budget for ``total`` hosts: the smaller of rollout_budget_hosts and rollout_budget_percent; none if neither is set.

    :raises SettingsError: a value that is no number.
    """
    limits = []
    if settings["rollout_budget_hosts"] not in (None, ""):
        limits.append(count_of("rollout_budget_hosts", settings["rollout_budget_hosts"], total))
    if settings["rollout_budget_percent"] not in (None, ""):
        try:
            share = float(str(settings["rollout_budget_percent"]).rstrip("% "))
        except ValueError:
            share = -1.0
        if not 0 <= share <= 100:
            raise SettingsError("rollout_budget_percent must be a number from 0 to 100, not %r." % (settings["rollout_budget_percent"],))
        # Rounded down: half a host is none.
        limits.append(int(share * total / 100))
    return Budget(min(limits or [0]), count_of("rollout_budget_unreachable", settings["rollout_budget_unreachable"], total))


def decide(state: State, wave: Sequence[str], allowed: Budget, policy: str) -> Decision:
    """Decide after a step of a wave.

    A host that failed goes back whatever the policy says. What else goes back when the budget is exceeded is the policy's: nothing more (host), the
    whole wave, healthy hosts included (wave), or every host of the rollout (all). Hosts that cannot be reached, or failed before anything was tried on
    them, are no proof against a version: too many of them stop the rollout, and take nobody back.

    :param state: with the lines of this step, those for silent hosts included.
    :param wave: the hosts that take part in the wave in this run.
    """
    failed, unreachable, total = state.failed(), state.unreachable(), len(state.hosts)
    back = [name for name in wave if state.hosts[name].failed and _can_go_back(state, name)]
    counts = "%d of %d hosts failed, %d may; %d not reachable, %d may be." % (len(failed), total, allowed.failed, len(unreachable), allowed.unreachable)
    if len(failed) > allowed.failed:
        # Whoever failed last is what people look for.
        first = next((name for name in wave if name in set(failed)), failed[-1])
        failure = state.hosts[first].failure or {}
        if not any(_tried(state, name) for name in failed):
            # A host that is at work on something else, or has a full disk, tells nothing against those that have the version.
            policy = "host"
        if policy == "wave":
            back = [name for name in wave if _can_go_back(state, name)]
        elif policy == "all":
            back = [name for name in state.hosts if _can_go_back(state, name)]
        return Decision(STOP, "%s %s in step %s: %s" % (counts, first, failure.get("step"), failure.get("msg", "")), back)
    if len(unreachable) > allowed.unreachable:
        return Decision(STOP, "%s Not reachable: %s." % (counts, _some(unreachable)), back)
    return Decision(GO_ON, counts, back)


def _tried(state, name):
    """Whether the version had its chance there: one that was taken back had it."""
    return state.hosts[name].touched or state.hosts[name].status == ROLLED_BACK


def _can_go_back(state, name):
    host = state.hosts[name]
    return host.touched and host.status not in (PENDING, ROLLED_BACK, OWED)


def _some(names, count=10):
    return ", ".join(names[:count]) + (" and %d more" % (len(names) - count) if len(names) > count else "")
