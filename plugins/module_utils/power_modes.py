# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The power modes of a Jetson: those that its nvpmodel.conf names, the one it is in, and changing it without anybody at the keyboard.

Numbers differ from board to board and from release to release, so a mode is always looked up by its name (facts/jetson.md, section 7a).
"""
import collections
import os
import re
import typing

from ansible_collections.tfleet.serving.plugins.module_utils.commands import CommandError, run, said
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError

Mode = collections.namedtuple("Mode", "id name")

SECONDS = 60
PREFIX = "MODE_"
_MODEL = re.compile(r"^\s*<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)\s*>", re.MULTILINE)
_DEFAULT = re.compile(r"^\s*<\s*PM_CONFIG\s+DEFAULT=(\d+)\b", re.MULTILINE)
# Warnings may stand before it, and between it and the number.
_CURRENT = re.compile(r"^\s*NV Power Mode:\s*(\S+)", re.MULTILINE)
_REBOOT = re.compile(r"Reboot required", re.IGNORECASE)


class PowerError(ModuleError):
    """The board has no such mode, or does not take it."""


def read_modes(etc_root):
    """Return the Modes that the board offers, by number.

    :raises PowerError: there is no nvpmodel.conf, or it names none.
    """
    path = os.path.join(etc_root, "nvpmodel.conf")
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            text = stream.read()
    except FileNotFoundError:
        raise PowerError("This host has no %s, so it has no power modes: it is no Jetson, or its package nvidia-l4t-nvpmodel is missing. Remove the "
                         "host from the group jetsons, or install the package." % path) from None
    modes = parse_modes(text)
    if not modes:
        raise PowerError("%s names no power mode (a line such as < POWER_MODEL ID=0 NAME=MAXN >). Reinstall the package nvidia-l4t-nvpmodel, or link "
                         "the file of this board there." % path)
    return modes


def parse_modes(text):
    """Return the Modes of an nvpmodel.conf, by number. Lines that are comments do not count; a number that is named twice keeps its first name."""
    modes: typing.Dict[int, str] = {}
    for number, name in _MODEL.findall(text):
        modes.setdefault(int(number), name)
    return [Mode(number, modes[number]) for number in sorted(modes)]


def parse_default(text):
    """Return the number of the mode that the board starts with, None if the file does not say."""
    found = _DEFAULT.search(text)
    return int(found.group(1)) if found else None


def parse_current(text):
    """Return the name in the output of ``nvpmodel -q``, None if there is none."""
    found = _CURRENT.search(text)
    return found.group(1) if found else None


def find_mode(modes, name):
    """Return the Mode with this name; upper and lower case and a leading ``MODE_`` do not matter.

    :raises PowerError: the board has no such mode; lists those it has.
    """
    wanted = _plain(name)
    exact = [mode for mode in modes if mode.name == name]
    found = exact or [mode for mode in modes if _plain(mode.name) == wanted]
    if len(found) == 1:
        return found[0]
    raise PowerError("This board has no power mode %s. It has: %s. Give one of these. Nothing was changed."
                     % (name, ", ".join(mode.name for mode in modes)), modes=[dict(mode._asdict()) for mode in modes])


def current_mode(modes):
    """Return the Mode that the board is in; None if it is in none of its file's modes.

    :raises PowerError: nvpmodel does not answer.
    """
    done = run(["nvpmodel", "-q"], SECONDS)
    name = parse_current(done.stdout)
    if name is None and done.status != 0:
        raise PowerError("`nvpmodel -q` failed with exit status %d. It needs root on some releases (become: true).%s" % (done.status, said(done)))
    return next((mode for mode in modes if mode.name == name), None)


def default_mode(modes, etc_root):
    """Return the Mode that the board starts with by its nvpmodel.conf; None if it does not say."""
    with open(os.path.join(etc_root, "nvpmodel.conf"), encoding="utf-8", errors="replace") as stream:
        number = parse_default(stream.read())
    return next((mode for mode in modes if mode.id == number), None)


def change_mode(modes, mode):
    """Put the board into ``mode`` unless that needs a reboot, and say whether it does.

    The question whether to reboot now is answered with no, which leaves the mode as it was.

    :raises PowerError: nvpmodel refuses, or says yes and does nothing.
    """
    try:
        done = run(["nvpmodel", "-m", str(mode.id)], SECONDS, answer="no\n")
    except CommandError as error:
        raise PowerError("The power mode %s could not be set. %s" % (mode.name, error), **error.result) from error
    now = current_mode(modes)
    if now == mode:
        return False
    if _REBOOT.search(done.stdout + done.stderr):
        return True
    raise PowerError("nvpmodel did not take the power mode %s (number %d), the board is in %s. Look at `nvpmodel -m %d` on the host.%s"
                     % (mode.name, mode.id, now.name if now else "none of its modes", mode.id, said(done)), rc=done.status)


def _plain(name):
    name = name.upper()
    return name[len(PREFIX):] if name.startswith(PREFIX) else name
