# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Which packages are installed, pinned and held for whom, and how all of it is taken back: the logic of apt_packages.

A record for each party says what it installed, what came along, which versions were there before, and what was put on hold. So taking
back removes what came, with what came along and nothing needs any more, and never a package that was there.
"""
import contextlib
import json
import os

from ansible_collections.tfleet.serving.plugins.module_utils.apt import Apt, AptError, matches
from ansible_collections.tfleet.serving.plugins.module_utils.durable import canonical_json, make_directories, remove_tree, write_atomically


class Record(object):
    """What one party changed, or nothing yet: ``{"packages": [name], "along": [name], "before": {name: version}, "held": [name]}``.

    ``packages`` were asked for and came; ``along`` came with them; ``before`` were there and got another version.

    :param directory: where all records are.
    :param party: name of the party.
    """

    def __init__(self, directory, party):
        self.path = os.path.join(directory, party + ".json")
        try:
            with open(self.path, "rb") as stream:
                self.content = json.loads(stream.read().decode("utf-8"))
        except FileNotFoundError:
            self.content = None
        except ValueError as error:
            raise AptError("%s cannot be read: %s. It says which packages to remove again; remove it to have the present ones taken for the host's own."
                           % (self.path, error))

    def write(self, packages, along, before, held):
        """Add to the record before the change, so that a run which is killed can be taken back; ``held`` replaces what it said of holds."""
        old = self.content or {"packages": [], "along": [], "before": {}}
        content = {
            "packages": sorted(set(old["packages"]) | set(packages)),
            "along": sorted(set(old["along"]) | set(along)),
            "before": dict(before, **old["before"]),
            "held": sorted(held),
        }
        if content != self.content:
            make_directories(os.path.dirname(self.path))
            write_atomically(self.path, canonical_json(content), mode=0o644)
            self.content = content

    def remove(self):
        """Remove the record, and with the last one its directory and the one above."""
        remove_tree(self.path)
        directory = os.path.dirname(self.path)
        with contextlib.suppress(OSError):
            os.rmdir(directory)
            os.rmdir(os.path.dirname(directory))


def ensure_present(params, check_mode, run_command):
    """Install what is missing at the wanted versions and return the module's result, with what a person should know as ``notes``.

    :raises AptError: naming what is in the way; nothing was changed then.
    """
    apt, record = Apt(run_command, params["environment"]), Record(params["record_directory"], params["set_by"])
    before = apt.installed()
    broken = [name for name in params["packages"] if name in before and before[name].broken]
    if broken and not check_mode:
        apt.finish()
        before = apt.installed()
    mine = set((record.content or {}).get("held", []))
    wanted, unknown = _choose(apt, params, check_mode, before)
    _refuse(apt, wanted, before, mine, params)
    installs = {name: version for name, version in wanted.items() if name not in before or before[name].version != version}
    # dpkg forgets the hold of a package that it upgrades.
    holds = [name for name in wanted if params["hold"] and (name in installs or not before[name].held)]
    releases = [name for name in mine if name in before and before[name].held and not params["hold"]]
    arguments = ["%s=%s" % pair for pair in sorted(installs.items())]
    upgrades = ["--allow-change-held-packages"] if mine & set(installs) else []
    simulated = _simulate(apt, arguments + upgrades, installs) if installs else None
    changed = bool(broken or installs or holds or releases or unknown)
    result = {
        "changed": changed,
        "versions": dict(wanted, **dict.fromkeys(unknown)),
        "diff": _diff(before, installs, simulated, unknown, holds, releases),
        "notes": ["Not every package list could be fetched: %s" % " ".join(apt.trouble)] if apt.trouble else [],
    }
    if changed and not check_mode:
        held = ((mine | set(holds)) - set(releases)) if params["hold"] else set()
        fresh = [name for name in (simulated.installs if simulated else {}) if name not in before]
        upgraded = {name: before[name].version for name in installs if name in before}
        record.write([name for name in fresh if name in wanted], [name for name in fresh if name not in wanted], upgraded, held)
        if installs:
            apt.install(upgrades + arguments)
        if holds:
            apt.hold(sorted(holds))
        if releases:
            apt.hold(sorted(releases), held=False)
    return result


def ensure_absent(params, check_mode, run_command):
    """Remove what ensure_present() brought, with what came along, and return the module's result, with ``notes``.

    :raises AptError: something else on the host needs it; nothing was changed then.
    """
    apt, record = Apt(run_command, params["environment"]), Record(params["record_directory"], params["set_by"])
    if record.content is None:
        return {"changed": False, "versions": {}, "diff": {"before": "", "after": ""}, "notes": []}
    now, before, along = apt.installed(), record.content["before"], record.content["along"]
    mine = [name for name in record.content["packages"] if name in now]
    strangers = [name for name in apt.purged_with(mine, orphans=False) if name not in mine + along]
    if strangers:
        raise AptError("%s cannot be removed: %s needs it, and somebody else installed that. Remove it first, or keep both. Nothing was changed."
                       % (" and ".join(mine), " and ".join(strangers)))
    purges = [name for name in apt.purged_with(mine, orphans=True) if name in mine + along]
    holds = [name for name in record.content["held"] if name in now and now[name].held]
    changed = sorted(name for name in before if name in now and now[name].version != before[name])
    if not check_mode:
        if holds:
            apt.hold(holds, held=False)
        _purge(apt, purges, record.content["packages"] + along, params["delete_before_purge"])
        record.remove()
    return {
        "changed": True,
        "versions": {},
        "diff": {"before": _lines("%s %s" % (name, now[name].version) for name in purges), "after": ""},
        "notes": ["%s was %s before and stays at %s: an older version is not put back by itself." % (name, before[name], now[name].version)
                  for name in changed],
    }


def _purge(apt, names, recorded, delete):
    """Purge packages; ``delete`` are files that their removal leaves and their purge would act on."""
    if delete:
        if names:
            apt.remove(names)
        for path in delete:
            remove_tree(path)
        # Those of a run that was killed in between are among them.
        names = [name for name in apt.leftovers() if name in recorded]
    if names:
        apt.purge(names)


def _choose(apt, params, check_mode, before):
    """Return ({name: version to have}, [names that the package lists do not know]); lists are fetched once if that helps."""
    wanted, unknown = _look(apt, params, before)
    if unknown and params["fetch"] and not check_mode:
        apt.update()
        wanted, unknown = _look(apt, params, before)
    if unknown and not check_mode:
        raise AptError(_unknown(apt, params, unknown), unknown=unknown)
    return wanted, unknown


def _look(apt, params, before):
    wanted, unknown = {}, []
    for name, version in params["packages"].items():
        if name in before and (not version or matches(before[name].version, version)):
            wanted[name] = before[name].version
            continue
        known = [found for found in apt.versions(name) if not version or matches(found, version)]
        if known:
            wanted[name] = known[0]
        else:
            unknown.append(name)
    return wanted, unknown


def _unknown(apt, params, unknown):
    lines = []
    for name in unknown:
        version, known = params["packages"][name], apt.versions(name)
        if known:
            lines.append("%s %s is in no package list; there are %s." % (name, version, ", ".join(known[:5])))
        else:
            lines.append("No package list of this host knows %s." % name)
    if apt.trouble:
        lines.append("The package lists could not all be fetched: %s. Is the repository's address right, and does the host reach it "
                     "(proxy, firewall, clock)?" % " ".join(apt.trouble))
    elif any(apt.versions(name) for name in unknown):
        lines.append("Ask for one of these.")
    else:
        lines.append("Is the repository that has it configured for this release of the distribution?")
    return " ".join(lines) + " Nothing was changed."


def _refuse(apt, wanted, before, mine, params):
    for name, version in sorted(wanted.items()):
        if name not in before or before[name].version == version:
            continue
        now = before[name]
        if now.held and name not in mine:
            raise AptError("%s is held at %s by somebody else, and %s is asked for. Ask for %s, or let it go: apt-mark unhold %s. Nothing was changed."
                           % (name, now.version, params["packages"][name] or version, now.version, name))
        if apt.compare(now.version, "gt", version):
            raise AptError("%s is installed at %s, which is newer than the %s that is asked for, and going back can break what it has written since. "
                           "Ask for %s, or remove it by hand first. Nothing was changed." % (name, now.version, version, now.version))


def _simulate(apt, arguments, installs):
    simulated = apt.simulate(["install", "--yes", "--no-install-recommends"] + arguments)
    if simulated.removes:
        raise AptError("Installing %s would remove %s. Remove that by hand if it is not needed, or ask for other packages. Nothing was changed."
                       % (" and ".join(sorted(installs)), " and ".join(simulated.removes)))
    return simulated


def _diff(before, installs, simulated, unknown, holds, releases):
    touched = dict(simulated.installs if simulated else {}, **installs)
    old = ["%s %s" % (name, before[name].version) for name in sorted(touched) if name in before]
    new = ["%s %s" % (name, touched[name]) for name in sorted(touched)] + ["%s (once its package list is fetched)" % name for name in unknown]
    old += ["hold %s" % name for name in sorted(releases)]
    new += ["hold %s" % name for name in sorted(holds)]
    return {"before": _lines(old), "after": _lines(new)}


def _lines(texts):
    return "".join(text + "\n" for text in texts)
