"""A device's own ansible-core is the one that is tested."""

import pathlib

CHECKOUT = pathlib.Path(__file__).parents[3]


def pins(name):
    return {line for line in (CHECKOUT / name).read_text().splitlines() if "==" in line and not line.startswith("#")}


def test_its_pins_are_those_of_a_checkout():
    own = pins("roles/pull_agent/files/requirements.txt")
    assert any(line.startswith("ansible-core==") for line in own)
    assert own <= pins("requirements.txt") | pins("runtime/requirements.txt")
