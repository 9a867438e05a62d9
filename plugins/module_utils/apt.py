# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Packages by apt's own commands: they need no python3-apt for whichever interpreter runs the module.

Nothing is installed or removed that was not simulated before, and what would surprise somebody is refused with a sentence.
"""
import collections
import re
import time

from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError

ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8", "APT_LISTCHANGES_FRONTEND": "none", "NEEDRESTART_MODE": "l"}
# A configuration file that somebody changed stays as it is.
INSTALL = ["--yes", "--no-install-recommends", "-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"]
# Our own holds are no obstacle; what somebody else holds was there before, and is not purged.
PURGE = ["purge", "--yes", "--allow-change-held-packages"]
LOCK_SECONDS = 120
LOCKED = re.compile(r"Could not get lock|is another process using it|Unable to acquire the dpkg frontend lock|Unable to lock directory")
TROUBLE = re.compile(r"^(?:W|E|Err)\b.*")

# broken: unpacked but not configured, which a killed run leaves behind.
Installed = collections.namedtuple("Installed", "version held broken")
# installs: {name: version}, upgrades among them; removes: names.
Simulation = collections.namedtuple("Simulation", "installs removes")


class AptError(ModuleError):
    """apt cannot do it, or what it would do was not asked for."""


def upstream(version):
    """Return a version without Debian's epoch and revision: 27.5.1 of 5:27.5.1-1~debian.12~bookworm."""
    return version.split(":", 1)[-1].rsplit("-", 1)[0]


def matches(version, wanted):
    """Say whether a package's version is the wanted one, given whole or as upstream calls it."""
    return wanted in (version, upstream(version))


class Apt(object):
    """apt on this host.

    :param run_command: AnsibleModule.run_command, or a function like it.
    :param environment: more of apt's environment, such as proxies.
    """

    def __init__(self, run_command, environment=None):
        self._run_command = run_command
        self._environment = dict(environment or {}, **ENVIRONMENT)
        self.trouble = []

    def installed(self):
        """Return {name: Installed} of every package whose files are there."""
        found = {}
        for line in self._read(["dpkg-query", "--show", "--showformat=${Package}\\t${Version}\\t${db:Status-Abbrev}\\n"]).splitlines():
            name, version, status = line.split("\t")
            if status[1] not in "nc":
                found[name] = Installed(version, status[0] == "h", status[1] in "HUF")
        return found

    def versions(self, name):
        """Return the versions of a package that the package lists offer, the newest first."""
        lines = self._read(["apt-cache", "madison", name]).splitlines()
        fields = [[field.strip() for field in line.split("|")] for line in lines]
        return [line[1] for line in fields if len(line) == 3 and line[0] == name and line[2].endswith("Packages")]

    def update(self):
        """Fetch the package lists; what went wrong is kept in ``trouble``: another repository's fault need not be ours."""
        code, out, err = self._patiently(["apt-get", "update"])
        said = [line.strip() for line in (out + "\n" + err).splitlines() if TROUBLE.match(line)]
        self.trouble = said or (["apt-get update ended with exit status %d" % code] if code else [])

    def simulate(self, arguments):
        """Return the Simulation of an apt-get command.

        :raises AptError: apt sees no way to do it.
        """
        code, out, err = self._run(["apt-get", "--simulate"] + arguments)
        if code:
            raise AptError("apt could not work out how to `apt-get %s`: %s. Correct that by hand (`apt-get --fix-broken install` helps with half "
                           "installed packages). Nothing was changed." % (" ".join(arguments), _last(out + err)))
        installs = re.findall(r"^Inst ([^\s:]+)\S* (?:\[[^\]]+\] )?\((\S+)", out, re.MULTILINE)
        removes = re.findall(r"^(?:Remv|Purg) ([^\s:]+)", out, re.MULTILINE)
        return Simulation(dict(installs), sorted(set(removes)))

    def finish(self):
        """Configure what a killed run has left unpacked."""
        self._change(["dpkg", "--configure", "--pending", "--force-confdef", "--force-confold"])

    def install(self, arguments):
        """Install ``name=version`` arguments.

        :raises AptError: with apt's own words.
        """
        self._change(["apt-get", "install"] + INSTALL + arguments)

    def remove(self, names):
        """Remove packages and leave their configuration."""
        self._change(["apt-get", "remove"] + PURGE[1:] + names)

    def leftovers(self):
        """Return the packages of which only the configuration is there."""
        lines = self._read(["dpkg-query", "--show", "--showformat=${Package}\\t${db:Status-Abbrev}\\n"]).splitlines()
        return [name for name, status in (line.split("\t") for line in lines) if status[1] == "c"]

    def purge(self, names):
        """Remove packages with their configuration."""
        self._change(["apt-get"] + PURGE + names)

    def purged_with(self, names, orphans):
        """Return the packages that go when ``names`` go, these included: those that need them, and with ``orphans`` those that nothing needs then."""
        # A package that came along and that another one merely recommends would stay otherwise.
        options = ["--auto-remove", "-o", "APT::AutoRemove::RecommendsImportant=false", "-o", "APT::AutoRemove::SuggestsImportant=false"]
        return self.simulate(PURGE + (options if orphans else []) + names).removes if names else []

    def hold(self, names, held=True):
        """Hold packages at their version, or let them go."""
        self._change(["apt-mark", "hold" if held else "unhold"] + names)

    def compare(self, one, relation, other):
        """Compare two versions as dpkg does; ``relation`` is lt, le, eq, ge or gt."""
        return self._run(["dpkg", "--compare-versions", one, relation, other])[0] == 0

    def _change(self, argv):
        code, out, err = self._patiently(argv)
        if code:
            raise AptError("`%s` failed: %s" % (" ".join(argv), _last(err + "\n" + out)))

    def _read(self, argv):
        code, out, err = self._run(argv)
        if code:
            raise AptError("`%s` failed: %s. Is this a Debian or Ubuntu host?" % (" ".join(argv), _last(err or out)))
        return out

    def _patiently(self, argv):
        # Unattended upgrades hold apt's locks for a while; old versions of apt do not wait by themselves.
        end = time.time() + LOCK_SECONDS
        while True:
            code, out, err = self._run(argv)
            if code == 0 or not LOCKED.search(err) or time.time() >= end:
                return code, out, err
            time.sleep(2)

    def _run(self, argv):
        return self._run_command(argv, environ_update=self._environment)


def _last(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("E:")]
    return " ".join(errors or lines[-5:]).rstrip(".")
