# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What stands in the way on a host before anything is installed: its Python, its service manager, its board. Pure functions over its facts."""
from ansible_collections.tfleet.serving.plugins.module_utils import hardware_data
from ansible_collections.tfleet.serving.plugins.module_utils.hardware_data import number

# Of runtime/requirements.txt: they build the package tfleet for the hosts, and an environment of Ansible alone has neither.
_BUILDERS = "setuptools==80.9.0 wheel==0.48.0"


def host_problems(facts, core, backend, power_mode=""):
    """Return what stands in the way on a host besides the decision of :func:`resolve`, as sentences.

    :param facts: ``ansible_facts`` with python, service_mgr and tfleet_device.
    :param core: release of ansible-core.
    :param backend: ``model_server_backend``.
    :param power_mode: name of the power mode that is wanted; empty for none.
    """
    device, python = facts["tfleet_device"], facts["python"]["version"]
    problems = [core_problem(core, "%s.%s.%s" % (python["major"], python["minor"], python["micro"]), facts["python"]["executable"])]
    if device["l4t_known_as"] is not None and problems[0] is None:
        # apt runs again under the system's Python if another one cannot import python3-apt.
        problems.append(core_problem(core, hardware_data.l4t_release(device["l4t_known_as"])["generation"]["python"], "/usr/bin/python3 of this JetPack"))
    if backend == "systemd" and facts["service_mgr"] != "systemd":
        problems.append("The host runs %s as its service manager, and model_server_backend is systemd. Set model_server_backend to embedded for a machine "
                        "without systemd." % facts["service_mgr"])
    modes = [mode["name"] for mode in (device["power"] or {}).get("modes", [])]
    if power_mode and modes and _short(power_mode) not in map(_short, modes):
        problems.append("The board has no power mode %s (jetson_power_mode). It has %s." % (power_mode, ", ".join(modes)))
    return [problem for problem in problems if problem]


def _short(mode):
    # Some boards write MODE_15W for what the others call 15W.
    return mode[len("MODE_"):] if mode.startswith("MODE_") else mode


def core_problem(core, python, whose):
    """Return why an ansible-core cannot manage a host with a Python, with the remedy; None if it can.

    :param core: such as 2.19.14. One that data/ansible.yml does not know is held to what tfleet's own modules need.
    :param python: such as 3.6.9.
    :param whose: the path of that Python.
    """
    data = hardware_data.load("ansible")
    own, found = data["oldest_target"], number(python)[:2]
    if found < number(own):
        return "%s is Python %s, and the modules need %s or later. Set ansible_python_interpreter to another one." % (whose, python, own)
    row = data["cores"].get(".".join(str(core).split(".")[:2]))
    if row is None or found >= number(row["target"]):
        return None
    last = max((name for name, each in data["cores"].items() if number(each["target"]) <= found), key=number)
    package = data["cores"][last]["package"]
    return ("%s is Python %s, which ansible-core %s cannot manage: it needs %s or later. The last that can is %s. Make a second environment with it on "
            "the controller, with Python %s or later: `python3 -m venv .venv-core-%s && .venv-core-%s/bin/pip install '%s' %s`. Run its ansible-playbook "
            "with --limit for such hosts; docs/jetson.md shows how." % (
                whose, python, core, row["target"], last, data["cores"][last]["controller"], last, last,
                "ansible==%s.*" % package if package else "ansible-core==%s.*" % last, _BUILDERS))
