# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The variables of an inventory against what the roles declare: unknown names, removed ones, values of the wrong kind.

A role checks its own when it starts, and takes no notice of a name that it does not know: a wrong letter would leave the default in place, without a word.
"""
import difflib
import glob
import os
from typing import Any, Dict, Set

from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.yaml import yaml_load

ROLES = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "roles"))
# Names that begin so are tfleet's own, besides those that begin with the name of a role.
OWN_PREFIXES = ("tfleet_", "jetson_facts_")

_KNOWN: Dict[str, Any] = {}


def declared(roles=ROLES):
    """Return {name: specification} of all options of all roles."""
    if roles not in _KNOWN:
        options: Dict[str, Any] = {}
        for path in sorted(glob.glob(os.path.join(roles, "*", "meta", "argument_specs.yml"))):
            for entry in _read(path)["argument_specs"].values():
                options.update(entry.get("options", {}))
        _KNOWN[roles] = options
    return _KNOWN[roles]


def variable_problems(variables, removed, roles=ROLES):
    """Return one sentence for each variable of a host that tfleet would misunderstand.

    :param variables: the host's variables, such as ``hostvars[inventory_hostname]``.
    :param removed: {name: what to write instead} of variables that tfleet once had.
    """
    options, facts = declared(roles), _facts(roles)
    prefixes = OWN_PREFIXES + tuple(name + "_" for name in sorted(os.listdir(roles)) if os.path.isdir(os.path.join(roles, name)))
    problems = []
    for name in sorted(str(name) for name in variables):
        if name in removed:
            problems.append("%s is no longer a variable: %s." % (name, str(removed[name]).rstrip(".")))
        elif name in options:
            problems += _value_problems(name, options[name], variables)
        elif name.startswith(prefixes) and name not in facts:
            near = difflib.get_close_matches(name, sorted(options), n=1)
            hint = "Did you mean %s?" % near[0] if near else "The variables are in inventories/example/group_vars/all.yml."
            problems.append("%s is unknown to tfleet. %s" % (name, hint))
    return problems


def _value_problems(name, option, variables):
    try:
        value = variables[name]
    except AnsibleError:
        return []
    # It is made of something that is only known later, as facts are (ansible-core 2.16 then hands out the template): the role checks it when it starts.
    if isinstance(value, str) and "{{" in value:
        return []
    secret = option.get("no_log", False)
    errors = ArgumentSpecValidator(_plain({name: option})).validate({name: value}).error_messages
    if errors and secret:
        return ["%s is not what it must be: %s. Its value is secret and not shown." % (name, option["type"])]
    return ["%s: %s." % (name, error.rstrip(".")) for error in errors]


def _plain(options):
    """A specification without what is for people only: some defaults there are sentences."""
    plain = {}
    for name, option in options.items():
        plain[name] = {key: value for key, value in option.items() if key not in ("description", "default", "version_added")}
        if "options" in option:
            plain[name]["options"] = _plain(option["options"])
    return plain


def _facts(roles) -> Set[str]:
    """Names that the roles themselves set while they run: they stand among a host's variables the next time."""
    key = roles + "#facts"
    if key not in _KNOWN:
        names: Set[str] = set()
        for path in glob.glob(os.path.join(roles, "*", "tasks", "*.yml")):
            names.update(_set_by(_read(path) or []))
        _KNOWN[key] = names
    return _KNOWN[key]


def _set_by(tasks):
    names = {"tfleet_device"}
    for task in tasks:
        names.update(task.get("ansible.builtin.set_fact", {}))
        names.update([task["register"]] if "register" in task else [])
        for block in ("block", "rescue", "always"):
            names.update(_set_by(task.get(block, [])))
    return names


def _read(path):
    with open(path, encoding="utf-8") as stream:
        return yaml_load(stream)
