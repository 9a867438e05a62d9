"""What the tests of releases and versions have in common: small SavedModel directories and releases of them."""
import io
import os
import tarfile

from ansible_collections.tfleet.serving.plugins.module_utils import manifest as manifests
from ansible_collections.tfleet.serving.plugins.module_utils import release_archive

FILES = {"saved_model.pb": b"the graph", "variables/variables.index": b"index", "variables/variables.data-00000-of-00001": b"weights" * 1000}


def make_saved_model(directory, files=None):
    """Write ``files`` ({relative path: bytes}) below ``directory`` and return its path as a string."""
    for name, content in (FILES if files is None else files).items():
        path = os.path.join(str(directory), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as stream:
            stream.write(content)
    return str(directory)


def make_release(directory, version, files=None, model="digits"):
    """Write a release archive of a small SavedModel below ``directory`` and return its path."""
    src = make_saved_model(os.path.join(str(directory), "saved_model-%d" % version), files)
    path = os.path.join(str(directory), "%s-%d.tar" % (model, version))
    with open(path, "wb") as stream:
        release_archive.write(stream, src, manifests.build(src, model, version))
    return path


def rewrite(path, change):
    """Replace the members of the tar ``path`` by what ``change`` makes of them: a list of (TarInfo, bytes or None)."""
    with tarfile.open(path) as tar:
        members = [(member, tar.extractfile(member).read() if member.isreg() else None) for member in tar.getmembers()]
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for member, content in change(members):
            if content is not None:
                member.size = len(content)
            tar.addfile(member, io.BytesIO(content or b""))


def tree(directory):
    """Return {relative path: content} of all files below ``directory``, directories as None."""
    found = {}
    for parent, names, files in os.walk(str(directory)):
        for name in names:
            found[os.path.relpath(os.path.join(parent, name), str(directory))] = None
        for name in files:
            with open(os.path.join(parent, name), "rb") as stream:
                found[os.path.relpath(os.path.join(parent, name), str(directory))] = stream.read()
    return found
