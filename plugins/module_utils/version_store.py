# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The versions of one model on one host: what is there, what is wanted, and the steps between.

    <base_path>/2/                       what the server sees: names that parse as int64, and only those
    <base_path>/.staging-2-0123456789ab/ a release being unpacked (the digits are of its manifest's SHA-256)
    <base_path>/.staging/2/              a release that was brought here by release_stage, whole or the half of it
    <base_path>/.retired-1               a version being removed
    <base_path>/.aside/2/                a version taken out of service but kept, and
    <base_path>/.aside/2.json            why and when
    <base_path>/.golden/2/               what the smoke test asks of version 2 (role model_release); goes when the version goes

Every change the server can see is one rename. ``plan`` turns the difference between actual and desired into a list of
actions; a run that is killed between or inside any of them leaves a state from which the next plan ends at the same place.
"""
import contextlib
import hashlib
import os
import re
import time
import typing

from ansible_collections.tfleet.serving.plugins.module_utils import manifest as manifests
from ansible_collections.tfleet.serving.plugins.module_utils import signature as signatures
from ansible_collections.tfleet.serving.plugins.module_utils import staging as stagings
from ansible_collections.tfleet.serving.plugins.module_utils.durable import (
    canonical_json,
    make_directories,
    remove_tree,
    rename,
    write_atomically,
)
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.lock import alone_in

STAGING, STAGED, RETIRED, ASIDE, GOLDEN = ".staging-", ".staging", ".retired-", ".aside", ".golden"
LOCK_SECONDS = 30
# A file that says why a version is aside, and one that a killed run did not finish.
REASON = re.compile(r"^(?:\.)?([1-9][0-9]*(?:-[1-9][0-9]*)?)\.json(?:\.tmp)?\Z")


class Actual(typing.NamedTuple):
    """What the names in a base_path say."""

    versions: typing.Dict[int, str]  # number: name
    staging: typing.List[str]
    retired: typing.List[str]
    aside: typing.Dict[str, int]  # name: number
    reasons: typing.List[str]  # reasons without their version, in .aside
    golden: typing.List[int]  # versions with golden answers


class Desired(typing.NamedTuple):
    """What the versions of a model should be."""

    model: str
    version: int
    state: str  # present | aside | absent
    keep: int
    protect: typing.FrozenSet[int]
    reason: str


class Action(typing.NamedTuple):
    """One step; a run may be killed before, in and after it."""

    verb: str  # remove | rename | stage | adopt | own | sign | explain
    path: str
    target: str = ""  # of a rename


class StoreError(ModuleError):
    """The versions on this host cannot be brought to the desired state, and were left as they are."""


def as_version(name):
    """Return the number that TensorFlow Serving reads from a directory's name (``00000002`` is 2), or None."""
    if not re.match(r"^[ \t\n\v\f\r]*[+-]?[0-9]+[ \t\n\v\f\r]*\Z", name):
        return None
    number = int(name)
    return number if -2 ** 63 <= number < 2 ** 63 else None


class VersionStore:
    """One model's base_path.

    :param base_path: absolute path; it and its parents are created when the first version comes.
    :param ownership: staging.Ownership of every version.
    :param reserve_bytes: bytes that must stay free on the disk.
    """

    def __init__(self, base_path, ownership, reserve_bytes=0):
        if not os.path.isabs(base_path):
            raise StoreError("base_path %r is relative. The server needs an absolute path: write /…/%s." % (base_path, base_path))
        if os.path.lexists(base_path) and not os.path.isdir(base_path):
            raise StoreError("base_path %s is not a directory. Name the directory that holds the version directories." % base_path)
        self.base = os.path.normpath(base_path)
        self.ownership = ownership
        self.reserve = reserve_bytes

    def scan(self):
        """Return the Actual state, from names alone.

        :raises StoreError: two names stand for one version.
        """
        versions: typing.Dict[int, str] = {}
        staging, retired = [], []
        for name in sorted(_names(self.base)):
            number = as_version(name)
            if number is not None:
                if number in versions:
                    raise StoreError("%s holds both %r and %r, which are the same version %d to the server. Move one of them away."
                                     % (self.base, versions[number], name, number))
                versions[number] = name
            elif name.startswith(STAGING):
                staging.append(name)
            elif name.startswith(RETIRED):
                retired.append(name)
        names = _names(self._path(ASIDE))
        aside = {name: int(name.split("-")[0]) for name in names if re.match(r"^[1-9][0-9]*(-[1-9][0-9]*)?\Z", name)}
        explained = [(name, match.group(1)) for name, match in ((name, REASON.match(name)) for name in names) if match]
        reasons = [name for name, version in explained if version not in aside or name.startswith(".")]
        golden = [int(name) for name in _names(self._path(GOLDEN)) if re.match(r"^[1-9][0-9]*\Z", name)]
        return Actual(versions, staging, retired, aside, sorted(reasons), sorted(golden))

    def look(self, version, actual):
        """Return (manifest, findings) of a version in place, reading all of it; (None, None) if it is not there.

        :raises StoreError: it was not put there from a release.
        """
        if version not in actual.versions:
            return None, None
        path = self._path(actual.versions[version])
        if os.path.islink(path) or not os.path.isdir(path):
            raise StoreError("%s is not a directory, but the server takes it for version %d. Move it away." % (path, version))
        if not os.path.lexists(os.path.join(path, manifests.NAME)):
            raise StoreError("%s has no manifest.json, so it was not put there from a release. Set it aside with state: aside, make a release "
                             "of it with model_release and deploy that." % path)
        manifest, _content = manifests.read(path)
        return manifest, manifests.findings(path, manifest)

    def where(self, version, actual):
        """Return the path of a version, in place or else the last one set aside, or None if it is nowhere."""
        if version in actual.versions:
            return self._path(actual.versions[version])
        names = [name for name in actual.aside if actual.aside[name] == version]
        # "2-10" was set aside after "2-9", and "2" before both.
        return self._path(ASIDE, max(names, key=lambda name: (len(name), name))) if names else None

    def manifest_of(self, version, actual):
        """Return the manifest of a version in place or aside if there is one that can be read, else None."""
        path = self.where(version, actual)
        try:
            return manifests.read(path)[0] if path else None
        except (OSError, manifests.ManifestError):
            return None

    def plan(self, desired, actual, release=None, announced=False):
        """Return (actions, after, notes): the steps from actual to desired, the Actual they lead to, and warnings.

        :param release: what release_archive.open_release() gave; None if there is none.
        :param announced: there is no release yet, but there will be when it is not check mode.
        :raises StoreError: nothing must be done, because something would be lost or is not what it should be.
        """
        actions = [Action("remove", self._path(name)) for name in actual.retired]
        actions += [Action("remove", self._path(ASIDE, name)) for name in actual.reasons]
        after = Actual(dict(actual.versions), [], [], dict(actual.aside), [], [])
        own_staging = _staging_name(release) if desired.state == "present" and release else None
        actions += [Action("remove", self._path(name)) for name in actual.staging if name != own_staging]
        notes = []
        if desired.state == "present":
            arrive = self._arrive(desired, actual, release, announced, after)
            if own_staging in actual.staging and not any(action.verb == "stage" for action in arrive):
                actions.append(Action("remove", self._path(own_staging)))
            actions += arrive
            retire, notes = self._retire(desired, after)
            actions += retire
        elif desired.state == "aside":
            actions += self._set_aside(desired, actual, after)
        else:
            actions += self._take_away(desired, actual, after)
        kept = {*after.versions, *after.aside.values()}
        actions += [Action("remove", self._path(GOLDEN, str(version))) for version in actual.golden if version not in kept]
        return actions, after, notes

    def perform(self, action, desired, release=None):
        """Do one action of a plan."""
        if action.verb == "remove":
            remove_tree(action.path)
        elif action.verb == "rename":
            make_directories(os.path.dirname(action.target), self.ownership.directory_mode)
            rename(action.path, action.target)
            if os.path.dirname(action.path) == self._path(STAGED):
                # The last one out closes the door; another version may be on its way here.
                with contextlib.suppress(OSError):
                    os.rmdir(self._path(STAGED))
        elif action.verb == "stage":
            stagings.fill(action.path, release, self.ownership)
        elif action.verb == "adopt":
            stagings.adopt(action.path, release.manifest, self.ownership)
        elif action.verb == "sign":
            write_atomically(action.path, release.signature, self.ownership.file_mode)
            self.ownership.apply(action.path)
        elif action.verb == "own":
            self.ownership.apply_tree(action.path)
        elif action.verb == "explain":
            make_directories(os.path.dirname(action.path), self.ownership.directory_mode)
            when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            write_atomically(action.path, canonical_json({"version": desired.version, "reason": desired.reason, "when": when}))
        else:
            raise AssertionError("unknown action %r" % (action,))

    def prepare(self, release):
        """Check the space for a release that has to be unpacked, then make base_path.

        :raises StagingError: the disk is too full; nothing was made.
        """
        self.check_space(release)
        for directory in make_directories(self.base, self.ownership.directory_mode):
            self.ownership.apply(directory)

    def check_space(self, release):
        """Make sure that ``release`` fits beside what is there, and the reserve stays free.

        :raises StagingError: the disk is too full.
        """
        disk = self.base
        while not os.path.exists(disk):
            disk = os.path.dirname(disk)
        block = os.statvfs(disk).f_frsize
        staging = self._path(_staging_name(release))
        stagings.check_space(self.base, stagings.missing_bytes(staging, release.manifest, block), self.reserve)

    def staged(self, version):
        """Return where release_stage brings a version."""
        return self._path(STAGED, str(version))

    def lock(self):
        """Return a context in which no other run changes this base_path (there is nothing to change while it does not exist)."""
        return alone_in(self.base, LOCK_SECONDS) if os.path.isdir(self.base) else contextlib.ExitStack()

    def _arrive(self, desired, actual, release, announced, after):
        path = self._path(str(desired.version))
        manifest, wrong = self.look(desired.version, actual)
        if manifest is not None:
            there = self._path(actual.versions[desired.version])
            self._check_in_place(desired, there, manifest, wrong, release)
            return self._sign(there, release) + ([Action("own", there)] if self.ownership.tree_differs(there) else [])
        after.versions[desired.version] = str(desired.version)
        name = self._good_aside(desired, actual, release)
        if name is not None:
            del after.aside[name]
            source = self._path(ASIDE, name)
            own = [Action("own", source)] if self.ownership.tree_differs(source) else []
            return [*self._sign(source, release), *own, Action("rename", source, path), Action("remove", source + ".json")]
        if release is None and announced:
            return [Action("stage", self._path(STAGING + str(desired.version)))]
        if release is None:
            raise StoreError("Version %d of %s is not on this host and src names no release to make it from. Give the release archive as src."
                             % (desired.version, desired.model))
        if release.path == self.staged(desired.version):
            return [Action("adopt", release.path), Action("rename", release.path, path)]
        staging = self._path(_staging_name(release))
        return [Action("stage", staging), Action("rename", staging, path)]

    def _sign(self, there, release):
        """A version that came unsigned, or signed by a key of the past, gets the signature of the same release."""
        path = os.path.join(there, manifests.SIGNATURE)
        if release is None or release.signature in (None, signatures.read(path)):
            return []
        return [Action("sign", path)]

    def _check_in_place(self, desired, path, manifest, wrong, release):
        if (manifest["model"], manifest["version"]) != (desired.model, desired.version):
            raise StoreError("%s is version %d of %s by its manifest, not version %d of %s. Move it away, or correct model and version."
                             % (path, manifest["version"], manifest["model"], desired.version, desired.model), manifest=manifest)
        if wrong:
            raise StoreError("Version %d of %s was changed in place after its release, in %s: %s It was left as it is. Move it aside "
                             "with state: aside to look into it, then release again under a new version number (or deploy the same release again)."
                             % (desired.version, desired.model, path, manifests.sentence(wrong)), findings=wrong, manifest=manifest)
        different = manifests.difference(manifest, release.manifest) if release else None
        if different:
            raise StoreError("Version %d of %s on this host (%s) comes from another release than %s: %s A version never changes: "
                             "give the new release a new version number." % (desired.version, desired.model, path, release.path, different),
                             manifest=manifest)

    def _good_aside(self, desired, actual, release):
        for name in sorted(actual.aside):
            if actual.aside[name] != desired.version:
                continue
            path = self._path(ASIDE, name)
            try:
                manifest, _content = manifests.read(path)
                same = manifests.difference(manifest, release.manifest) is None if release else manifest["model"] == desired.model
                if same and manifest["version"] == desired.version and not manifests.findings(path, manifest):
                    return name
            except manifests.ManifestError:
                # What is not a whole release stays aside; it is no hindrance for one that comes from src.
                continue
        return None

    def _retire(self, desired, after):
        actions: typing.List[Action] = []
        notes: typing.List[str] = []
        if not desired.keep:
            return actions, notes
        newest = sorted(after.versions, reverse=True)[:desired.keep]
        for version in sorted(after.versions):
            if version in newest or version == desired.version or version in desired.protect:
                continue
            name = after.versions[version]
            manifest = self.manifest_of(version, after)
            if manifest is None or manifest["model"] != desired.model:
                notes.append("%s is beyond the newest %d versions but was not put there from a release of %s, so it was left. Remove it by hand "
                             "if nobody needs it." % (self._path(name), desired.keep, desired.model))
                continue
            actions += self._remove_version(name, after, version)
        return actions, notes

    def _remove_version(self, name, after, version):
        del after.versions[version]
        retired = self._path(RETIRED + str(version))
        return [Action("rename", self._path(name), retired), Action("remove", retired)]

    def _set_aside(self, desired, actual, after):
        if desired.version not in actual.versions:
            return []
        self._refuse_protected(desired)
        name, count = str(desired.version), 1
        while name in actual.aside:
            count += 1
            name = "%d-%d" % (desired.version, count)
        del after.versions[desired.version]
        after.aside[name] = desired.version
        target = self._path(ASIDE, name)
        return [Action("explain", target + ".json"), Action("rename", self._path(actual.versions[desired.version]), target)]

    def _take_away(self, desired, actual, after):
        actions = []
        if desired.version in actual.versions:
            self._refuse_protected(desired)
            actions += self._remove_version(actual.versions[desired.version], after, desired.version)
        for name in sorted(actual.aside):
            if actual.aside[name] == desired.version:
                del after.aside[name]
                retired = self._path("%saside-%s" % (RETIRED, name))
                actions += [Action("rename", self._path(ASIDE, name), retired), Action("remove", self._path(ASIDE, name + ".json")),
                            Action("remove", retired)]
        return actions

    def _refuse_protected(self, desired):
        if desired.version in desired.protect:
            raise StoreError("Version %d of %s is protected: a label points to it. Move the label to another version first."
                             % (desired.version, desired.model))

    def _path(self, *parts):
        return os.path.join(self.base, *parts)


def sentence(action):
    """Return what an action does, for ``actions`` in the result and for check mode."""
    if action.verb == "rename":
        return "rename %s to %s" % (action.path, action.target)
    return {"remove": "remove %s", "stage": "unpack and verify the release in %s", "own": "set owner, group and modes of %s",
            "adopt": "verify what was staged in %s", "sign": "write the signature %s",
            "explain": "write the reason to %s"}[action.verb] % action.path


def _staging_name(release):
    return "%s%d-%s" % (STAGING, release.manifest["version"], hashlib.sha256(release.content).hexdigest()[:12])


def _names(directory):
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []
