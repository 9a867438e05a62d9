# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The manifest of a release: which files a model version consists of, and whether a directory is exactly that.

``manifest.json`` lies beside ``saved_model.pb`` in the version directory and in the release archive::

    {"format": 1, "model": "digits", "version": 2, "variant": "native", "source_version": null,
     "files": [{"path": "saved_model.pb", "size": 1234, "sha256": "…"}], "provenance": {}}

It has no time stamp, so that the same SavedModel gives the same release, byte for byte. Directories are not
listed (an empty one means nothing to a SavedModel), the manifest itself is not either.
"""
import json
import os
import re
import stat

from ansible_collections.tfleet.serving.plugins.module_utils.durable import canonical_json, sha256_file
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError

FORMAT = 1
NAME = "manifest.json"
# Beside the manifest and not in it: it is made of the manifest, and may be added later.
SIGNATURE = "manifest.json.sig"
GRAPHS = ("saved_model.pb", "saved_model.pbtxt", "model.tflite")
PROVENANCE = "assets.extra/tfleet_provenance.json"
# A manifest is read into memory before anything in it can be trusted.
MAX_BYTES = 16 * 1024 * 1024
MAX_VERSION = 2 ** 63 - 1
KEYS = ("files", "format", "model", "provenance", "source_version", "variant", "version")


class ManifestError(ModuleError):
    """A manifest, or a directory that should have one, is not what it must be."""


def check_version(version, what="version"):
    """Return ``version`` if TensorFlow Serving can serve it under that number.

    :raises ManifestError: for anything but an integer from 1 to 2**63-1.
    """
    if isinstance(version, bool) or not isinstance(version, int) or not 0 < version <= MAX_VERSION:
        raise ManifestError("%s %r is not a positive whole number of at most 63 bits. Number the versions of a model 1, 2, 3, …" % (what, version))
    return version


def check_model(name):
    """Return ``name`` if it can be a model's name in paths and in REST addresses.

    :raises ManifestError: otherwise.
    """
    if not isinstance(name, str) or not re.match(r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", name):
        raise ManifestError("model %r: a name consists of letters, digits, '_', '.' and '-' and does not begin with '.' or '-'." % (name,))
    return name


def check_path(path, where):
    """Return ``path`` if it is relative, normal and stays inside the version directory.

    :raises ManifestError: otherwise, naming ``where`` it was found.
    """
    if not isinstance(path, str) or not path or path.startswith("/") or any(part in ("", ".", "..") for part in path.split("/")):
        raise ManifestError("%s holds the path %r, which is not a plain relative path. Rebuild the release with model_release; "
                            "do not use this one." % (where, path))
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        raise ManifestError("%s holds a file name that is not UTF-8: %r. Rename the file." % (where, path)) from None
    if any(ord(character) < 32 for character in path):
        raise ManifestError("%s holds a file name with a control character: %r. Rename the file." % (where, path))
    return path


def list_files(root):
    """Return the paths of all regular files below ``root``, relative, sorted.

    :raises ManifestError: for a link, device, socket or pipe, or a name that no release may hold.
    """
    found = []
    for directory, names, files in os.walk(root, onerror=_raise):
        for name in names + files:
            path = os.path.join(directory, name)
            relative = check_path(os.path.relpath(path, root), root)
            mode = os.lstat(path).st_mode
            if stat.S_ISREG(mode):
                found.append(relative)
            elif not stat.S_ISDIR(mode):
                raise ManifestError("%s is a %s. A version holds regular files only: replace it by the file it stands for."
                                    % (path, kind_of(mode)), path=relative)
    return sorted(found)


def kind_of(mode):
    """Return in a word what an ``st_mode`` says a path is."""
    for test, word in ((stat.S_ISLNK, "symbolic link"), (stat.S_ISDIR, "directory"), (stat.S_ISFIFO, "named pipe"),
                       (stat.S_ISSOCK, "socket"), (stat.S_ISBLK, "block device"), (stat.S_ISCHR, "character device")):
        if test(mode):
            return word
    return "regular file"


def build(src, model, version, variant="native", source_version=None, origin=None):
    """Return the manifest (a dict) of the SavedModel directory ``src``; every file is read once.

    A ``manifest.json`` at the top of ``src`` is ignored: it is what is being made, and so is its signature.

    :param origin: what else is known of where it comes from (git commit, accuracy, …): ``release`` in the provenance.

    :raises ManifestError: ``src`` is not a SavedModel directory, or holds what a release may not hold.
    """
    check_model(model)
    check_version(version)
    if source_version is not None:
        check_version(source_version, "source_version")
    if not os.path.isdir(src):
        raise ManifestError("%s is not a directory. Name the SavedModel directory, the one that holds saved_model.pb." % src)
    paths = [path for path in list_files(src) if path not in (NAME, SIGNATURE)]
    if not any(name in paths for name in GRAPHS):
        raise ManifestError("%s is not a SavedModel: it has none of saved_model.pb, saved_model.pbtxt and model.tflite.%s Export one with the "
                            "module saved_model." % (src, _nested_hint(paths)))
    provenance = _provenance(src) if PROVENANCE in paths else {}
    if provenance.get("variant", variant) != variant:
        raise ManifestError("%s was converted to the variant %s, but is to be released as %s. Say variant: %s."
                            % (src, provenance["variant"], variant, provenance["variant"]))
    if origin:
        provenance["release"] = origin
    return {
        "format": FORMAT,
        "model": model,
        "version": version,
        "variant": variant,
        "source_version": source_version,
        "files": [{"path": path, "size": os.path.getsize(os.path.join(src, path)), "sha256": sha256_file(os.path.join(src, path))}
                  for path in paths],
        "provenance": provenance,
    }


def hardware_class_of(manifest):
    """Return the hardware class that a version is bound to, None if it runs anywhere: only TensorRT's engines are bound."""
    named = manifest["provenance"].get("hardware_class")
    if named:
        return named
    match = re.match(r"^tftrt-(.+)-(?:FP32|FP16|INT8)$", manifest["variant"], re.IGNORECASE)
    return match.group(1) if match else None


def check_hardware_class(manifest, own, where):
    """Make sure that a version may go to a host of the hardware class ``own`` (None: nobody said).

    :raises ManifestError: its engines were built for another class, or nobody said which this host is.
    """
    bound = hardware_class_of(manifest)
    if bound is None or bound == own:
        return
    if not own:
        raise ManifestError("%s is the variant %s, which runs on hardware class %s only, and nobody said of which class this host is. Give "
                            "hardware_class (tfleet_device.hardware_class of jetson_facts)." % (where, manifest["variant"], bound), manifest=manifest)
    raise ManifestError("%s is the variant %s: its TensorRT engines were built on hardware class %s and cannot run on this host, which is %s. Release the "
                        "native variant here, or convert the model on a device of this class." % (where, manifest["variant"], bound, own), manifest=manifest)


def dump(manifest):
    """Return the manifest's bytes as they stand in manifest.json."""
    return canonical_json(manifest)


def parse(content, where):
    """Return the manifest in ``content`` (bytes) after checking all of it.

    :param where: the file it comes from, for messages.
    :raises ManifestError: naming what is wrong.
    """
    if len(content) > MAX_BYTES:
        raise ManifestError("%s is larger than %d bytes and so cannot be a manifest." % (where, MAX_BYTES))
    try:
        manifest = json.loads(content.decode("utf-8"))
    except ValueError as error:
        raise ManifestError("%s is not JSON: %s. Build the release again with model_release." % (where, error)) from error
    if not isinstance(manifest, dict):
        raise ManifestError("%s is not a manifest: it holds no JSON object. Build the release again with model_release." % where)
    if manifest.get("format") != FORMAT:
        raise ManifestError("%s has the format %r, this tfleet reads format %d. Use the tfleet that built it, or build the release again."
                            % (where, manifest.get("format"), FORMAT))
    odd = sorted(set(manifest).symmetric_difference(KEYS))
    if odd:
        raise ManifestError("%s: key %s is %s. Build the release again with model_release."
                            % (where, odd[0], "unknown" if odd[0] in manifest else "missing"))
    check_model(manifest["model"])
    check_version(manifest["version"])
    if manifest["source_version"] is not None:
        check_version(manifest["source_version"], "source_version")
    if not isinstance(manifest["variant"], str) or not manifest["variant"]:
        raise ManifestError("%s: variant %r is not a name." % (where, manifest["variant"]))
    if not isinstance(manifest["provenance"], dict):
        raise ManifestError("%s: provenance is not a JSON object." % where)
    _check_files(manifest["files"], where)
    return manifest


def read(directory):
    """Return (manifest, its bytes) of the version directory ``directory``.

    :raises ManifestError: no manifest, not a regular file, or one that is not valid.
    """
    path = os.path.join(directory, NAME)
    try:
        mode = os.lstat(path).st_mode
        if not stat.S_ISREG(mode):
            raise ManifestError("%s is a %s, not a regular file." % (path, kind_of(mode)))
        with open(path, "rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ManifestError("%s has no manifest.json, so it was not put there from a release. Build one from it with model_release." % directory) from None
    return parse(content, path), content


def findings(directory, manifest):
    """Compare a version directory with its manifest, reading every file.

    :returns: list of {"path", "expected", "found"}, sorted by path; empty if the directory is exactly the release.
        ``expected`` and ``found`` are sentences' ends such as "sha256 ab12…" or "no such file".
    """
    listed = {entry["path"]: entry for entry in manifest["files"]}
    wrong = []
    for path in sorted(listed):
        entry = listed[path]
        # A directory on the way that is a link would lead outside, so every part is looked at without following.
        found = _odd_kind(directory, path)
        if found is not None:
            wrong.append({"path": path, "expected": "a regular file", "found": found})
            continue
        full = os.path.join(directory, path)
        size = os.path.getsize(full)
        if size != entry["size"]:
            wrong.append({"path": path, "expected": "%d bytes" % entry["size"], "found": "%d bytes" % size})
            continue
        digest = sha256_file(full)
        if digest != entry["sha256"]:
            wrong.append({"path": path, "expected": "sha256 %s" % entry["sha256"], "found": "sha256 %s" % digest})
    for path, mode in sorted(_everything_but_directories(directory)):
        if path not in listed and path != NAME and not (path == SIGNATURE and stat.S_ISREG(mode)):
            # A name from the disk need not be UTF-8, a module's result must be.
            readable = path.encode("utf-8", "backslashreplace").decode("utf-8")
            wrong.append({"path": readable, "expected": "no such file", "found": "a %s that is not in the manifest" % kind_of(mode)})
    return sorted(wrong, key=lambda finding: finding["path"])


def difference(old, new):
    """Return the first difference between two manifests as a sentence, or None if they describe the same release."""
    if old == new:
        return None
    for key in ("model", "version", "variant", "source_version"):
        if old[key] != new[key]:
            return "%s is %r there and %r here." % (key, old[key], new[key])
    before = {entry["path"]: entry for entry in old["files"]}
    after = {entry["path"]: entry for entry in new["files"]}
    for path in sorted(set(before) | set(after)):
        if before.get(path) != after.get(path):
            return "%s is %s there and %s here." % (path, _describe(before.get(path)), _describe(after.get(path)))
    return "the provenance differs."


def sentence(wrong):
    """Return the first finding as a sentence, and how many more there are."""
    first = wrong[0]
    more = " (and %d more)" % (len(wrong) - 1) if len(wrong) > 1 else ""
    return "%s: expected %s, found %s%s." % (first["path"], first["expected"], first["found"], more)


def _check_files(files, where):
    if not isinstance(files, list) or not files:
        raise ManifestError("%s lists no files." % where)
    seen = set()
    for entry in files:
        if not isinstance(entry, dict) or sorted(entry) != ["path", "sha256", "size"]:
            raise ManifestError("%s: an entry of files must have exactly path, size and sha256, not %r." % (where, entry))
        path = check_path(entry["path"], where)
        if path in (NAME, SIGNATURE) or path in seen:
            raise ManifestError("%s lists %s %s." % (where, path, "twice" if path in seen else "itself"))
        seen.add(path)
        if isinstance(entry["size"], bool) or not isinstance(entry["size"], int) or entry["size"] < 0:
            raise ManifestError("%s: the size of %s is %r, not a number of bytes." % (where, path, entry["size"]))
        if not isinstance(entry["sha256"], str) or not re.match(r"^[0-9a-f]{64}\Z", entry["sha256"]):
            raise ManifestError("%s: the sha256 of %s is %r, not 64 hexadecimal digits." % (where, path, entry["sha256"]))
    for path in seen:
        parts = path.split("/")
        for count in range(1, len(parts)):
            if "/".join(parts[:count]) in seen or parts[0] == NAME:
                raise ManifestError("%s lists %s below a file." % (where, path))
    if not any(name in seen for name in GRAPHS):
        raise ManifestError("%s lists none of saved_model.pb, saved_model.pbtxt and model.tflite, so there is nothing to serve." % where)


def _everything_but_directories(root):
    for directory, names, files in os.walk(root, onerror=_raise):
        for name in names + files:
            path = os.path.join(directory, name)
            mode = os.lstat(path).st_mode
            if not stat.S_ISDIR(mode):
                yield os.path.relpath(path, root), mode


def _odd_kind(directory, path):
    full = directory
    for part in path.split("/"):
        full = os.path.join(full, part)
        try:
            mode = os.lstat(full).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return "no such file"
        if stat.S_ISLNK(mode):
            return "a symbolic link"
    return None if stat.S_ISREG(mode) else "a %s" % kind_of(mode)


def _provenance(src):
    path = os.path.join(src, PROVENANCE)
    try:
        with open(path, "rb") as stream:
            provenance = json.loads(stream.read().decode("utf-8"), parse_constant=_no_constant)
    except ValueError as error:
        raise ManifestError("%s is not JSON: %s. Export the SavedModel again with the module saved_model." % (path, error)) from error
    if not isinstance(provenance, dict):
        raise ManifestError("%s holds no JSON object. Export the SavedModel again with the module saved_model." % path)
    return provenance


def _nested_hint(paths):
    for path in paths:
        if os.path.basename(path) in GRAPHS:
            return " There is a %s below it: did you mean the directory %s?" % (path, os.path.dirname(path))
    return ""


def _describe(entry):
    return "missing" if entry is None else "%d bytes with sha256 %s" % (entry["size"], entry["sha256"])


def _no_constant(name):
    raise ValueError("%s is not JSON" % name)


def _raise(error):
    raise error
