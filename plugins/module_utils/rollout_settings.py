# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The variables ``rollout_*`` of an inventory: their defaults and their rules. Pure functions, used on the controller."""
import difflib
import os
import re
from collections import OrderedDict
from typing import Any, Dict, Mapping, Optional

from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.memory import parse_size

POLICIES = ("host", "wave", "all")
APPROVALS = ("none", "file", "prompt")

# What a person may set, with the value that holds otherwise. docs/rollout.md explains each.
DEFAULTS: Dict[str, Any] = OrderedDict([
    ("rollout_canaries", "one_of_each_class"),
    ("rollout_waves", ["10%", "50%", "100%"]),
    ("rollout_site_share", 50),
    ("rollout_soak_seconds", 60),
    ("rollout_hours", ""),
    ("rollout_approval", "none"),
    ("rollout_budget_hosts", None),
    ("rollout_budget_percent", None),
    ("rollout_budget_unreachable", "10%"),
    ("rollout_rollback", "wave"),
    ("rollout_load_seconds", 120),
    ("rollout_step_seconds", 600),
    ("rollout_rounds", 3),
    ("rollout_latency_factor", 2.0),
    ("rollout_latency_slack_ms", 20),
    ("rollout_error_share", 0.01),
    ("rollout_memory_factor", 2.0),
    ("rollout_memory_growth", "25%"),
    ("rollout_exchange_seconds", 0),
    ("rollout_swap_growth", "256M"),
    ("rollout_max_celsius", 0),
])
# What names one rollout, on the command line.
# rollout_site is a host's own: where it stands.
ARGUMENTS = ("rollout_site", "rollout_model", "rollout_version", "rollout_resume", "rollout_supersede", "rollout_take_over")
# What the playbook itself sets.
_OWN = ("rollout_step", "rollout_item", "rollout_seen", "rollout_common", "rollout_release", "rollout_control", "rollout_verdict",
        "rollout_settings", "rollout_end", "rollout_waiting")


class SettingsError(ModuleError):
    """A variable makes no sense: which one, and what to write instead."""


def settings(variables: Mapping[str, Any]) -> Dict[str, Any]:
    """Return all of DEFAULTS, checked, from a host's variables.

    :raises SettingsError: a name that is unknown, or a value that is none.
    """
    known = list(DEFAULTS) + list(ARGUMENTS) + list(_OWN)
    for name in sorted(variables):
        if name.startswith("rollout_") and name not in known:
            near = difflib.get_close_matches(name, list(DEFAULTS) + list(ARGUMENTS), 1)
            raise SettingsError("%s is unknown to tfleet. %s" % (name, "Did you mean %s?" % near[0] if near else "docs/rollout.md lists the variables."))
    result = {name: variables.get(name, default) for name, default in DEFAULTS.items()}
    for name, lowest, highest in (("rollout_site_share", 1, 100), ("rollout_soak_seconds", 0, 7 * 86400), ("rollout_load_seconds", 1, 86400),
                                  ("rollout_step_seconds", 10, 86400), ("rollout_rounds", 1, 100), ("rollout_exchange_seconds", 0, 86400)):
        result[name] = int(_number(name, result[name], lowest, highest))
    for name, lowest, highest in (("rollout_latency_factor", 1, 1000), ("rollout_latency_slack_ms", 0, 60000), ("rollout_error_share", 0, 1),
                                  ("rollout_memory_factor", 0, 100), ("rollout_max_celsius", 0, 200)):
        result[name] = _number(name, result[name], lowest, highest)
    result["rollout_rollback"] = _one_of("rollout_rollback", result["rollout_rollback"], POLICIES)
    result["rollout_approval"] = _one_of("rollout_approval", result["rollout_approval"], APPROVALS)
    within_hours(result["rollout_hours"], 0)
    for name, whole in (("rollout_memory_growth", 2 ** 40), ("rollout_swap_growth", None)):
        result[name] = str(result[name])
        parse_size(result[name], name, whole)
    if isinstance(result["rollout_waves"], (str, int)):
        result["rollout_waves"] = [result["rollout_waves"]]
    return result


def count_of(name: str, value: Any, total: int) -> int:
    """Return how many hosts a number (5) or a percentage ("10%") of ``total`` hosts is; a percentage above 0 is at least one host.

    :raises SettingsError: it is neither.
    """
    percent = re.match(r"([0-9]+(?:\.[0-9]+)?)\s*%\Z", value) if isinstance(value, str) else None
    if percent and float(percent.group(1)) <= 100:
        share = float(percent.group(1))
        return max(1, int(share * total / 100.0)) if share else 0
    if isinstance(value, str) and re.match(r"[0-9]+\Z", value):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise SettingsError('%s: %r is neither a number of hosts (5) nor a percentage ("10%%").' % (name, value))


def within_hours(window: str, minute_of_day: int) -> Optional[int]:
    """Return None inside the working hours, else the minutes until they begin.

    :param window: "HH:MM-HH:MM" (it may pass midnight), or empty for always.
    :param minute_of_day: 0 to 1439, in the time zone that the window is meant in.
    :raises SettingsError: the window is not one.
    """
    if not window:
        return None
    match = re.match(r"([01][0-9]|2[0-3]):([0-5][0-9])\s*-\s*([01][0-9]|2[0-3]):([0-5][0-9])\Z", str(window))
    if not match:
        raise SettingsError('rollout_hours must be written as "22:00-05:00", not %r.' % (window,))
    hours = [int(part) for part in match.groups()]
    begin, end = hours[0] * 60 + hours[1], hours[2] * 60 + hours[3]
    if begin == end:
        return None
    inside = begin <= minute_of_day < end if begin < end else minute_of_day >= begin or minute_of_day < end
    return None if inside else (begin - minute_of_day) % 1440


def _number(name, value, lowest, highest):
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if isinstance(value, bool) or not lowest <= number <= highest:
        raise SettingsError("%s must be a number from %g to %g, not %r." % (name, lowest, highest, value))
    return number


def _one_of(name, value, choices):
    # YAML reads `none` as text, and `no` as a boolean: neither is a choice that anybody means by it.
    if value not in choices:
        raise SettingsError("%s must be one of %s, not %r." % (name, ", ".join(choices), value))
    return value


def root_of(work_dir: str) -> str:
    """Return the directory of the rollouts' ledgers on the controller."""
    return os.path.join(work_dir, "rollouts")


def device_settings(checked: Dict[str, Any]) -> Dict[str, Any]:
    """Return those settings that the steps on a device need, without their prefix; a default where one is not given."""
    names = ("rollout_load_seconds", "rollout_step_seconds", "rollout_rounds", "rollout_latency_factor", "rollout_latency_slack_ms", "rollout_error_share",
             "rollout_memory_factor", "rollout_memory_growth", "rollout_exchange_seconds", "rollout_swap_growth", "rollout_max_celsius")
    return {name[len("rollout_"):]: checked.get(name, DEFAULTS[name]) for name in names}
