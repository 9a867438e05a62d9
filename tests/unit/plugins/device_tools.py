"""Devices of tests/fixtures/devices as the tests read them."""

import os

from ansible_collections.tfleet.serving.plugins.module_utils.commands import Commands
from ansible_collections.tfleet.serving.plugins.module_utils.device_facts import Device
from ansible_collections.tfleet.serving.plugins.module_utils.device_identity import describe

from ...fixtures.devices import build as trees

DEVICES = trees.TABLE["devices"]
TEGRASTATS = trees.TABLE["tegrastats"]


def observe(place, timeout=1):
    """The readings of the tree at a place."""
    roots = {name: str(place / name) for name in ("proc", "sys", "etc", "var")}
    return Device(roots, Commands([str(place / "bin")], timeout), str(place / "var/lib/tfleet/models")).observe()


def device(name_or_row, place, l4t_override=None, **changes):
    """tfleet_device of a row of devices.yml, or of one given as a dictionary, with changes."""
    row = DEVICES[name_or_row] if isinstance(name_or_row, str) else name_or_row
    return describe(observe(trees.build({**row, **changes}, place)), l4t_override)


def parameters(place):
    """What jetson_facts is told to read the tree at a place."""
    return {**{f"{name}_root": str(place / name) for name in ("proc", "sys", "etc", "var")}, "command_path": [str(place / "bin")], "command_timeout": 1,
            "disk": os.fspath(place)}
