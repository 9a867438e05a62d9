"""Which versions of a model its directory holds, and which of them its policy wants served.

Only the names of base_path's children matter: one that parses as an int64 is a version. What is inside a version
directory is never looked at, so a release appears with one rename and vanishes with another.
"""
import logging
import os
import re
from typing import Any, Callable, Dict, List, Tuple

from .status import StatusError, invalid_argument

log = logging.getLogger(__name__)

_VERSION = re.compile(r"-?[0-9]+\Z")
_INT64 = 1 << 63

Versions = List[Tuple[int, str]]
Allowed = Callable[[str, str, Dict[int, str]], Dict[int, str]]


def parse_version(name: str) -> int:
    """The version number of a directory name (leading zeros allowed). Raises ValueError for any other name."""
    if _VERSION.match(name):
        number = int(name)
        if -_INT64 <= number < _INT64:
            return number
    raise ValueError(name)


def index(base_path: str) -> Dict[int, str]:
    """Version number -> child name of base_path. Of two names with one number the later in string order wins."""
    found: Dict[int, str] = {}
    for name in sorted(os.listdir(base_path)):
        try:
            number = parse_version(name)
        except ValueError:
            continue
        if number in found:
            log.warning("Duplicate version directories detected. Version %d will be loaded from %s, ignoring %s.",
                        number, name, found[number])
        found[number] = name
    return found


def _all(_name: str, _base_path: str, found: Dict[int, str]) -> Dict[int, str]:
    return found


def aspired(name: str, base_path: str, policy: Any, allowed: Allowed = _all) -> Versions:
    """The (version, directory) pairs that the policy wants served now, highest first.

    policy: a ServableVersionPolicy message; allowed: (name, base_path, {version: child}) -> those that may be loaded, the
    others count as absent. Raises StatusError if base_path cannot be listed.
    """
    try:
        os.stat(base_path)
        if policy.WhichOneof("policy_choice") == "specific":
            wanted = list(policy.specific.versions)
            found = {v: str(v) for v in wanted if os.path.lexists(os.path.join(base_path, str(v)))}
            if len(found) < len(set(wanted)):
                found = index(base_path)
        else:
            found = index(base_path)
    except OSError as error:
        raise invalid_argument("Could not find base path %s for servable %s with error %s"
                               % (base_path, name, _os_status(error)))
    chosen = _choose(name, policy, allowed(name, base_path, found))
    if not chosen and not (policy.WhichOneof("policy_choice") == "specific" and not policy.specific.versions):
        log.warning("No versions of servable %s found under base path %s. Did you forget to name your leaf directory "
                    "as a number (eg. '/1/')?", name, base_path)
    return [(number, os.path.join(base_path, found[number])) for number in sorted(chosen, reverse=True)]


def _choose(name: str, policy: Any, found: Dict[int, str]) -> List[int]:
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        return list(found)
    if choice == "specific":
        if not policy.specific.versions:
            log.warning("No specific versions requested for servable %s.", name)
        for number in policy.specific.versions:
            if number not in found:
                log.warning("Version %d of servable %s, which was requested to be served as a 'specific' version in "
                            "the servable's version policy, was not found in the file system", number, name)
        return [number for number in set(policy.specific.versions) if number in found]
    count = policy.latest.num_versions if choice == "latest" else 1
    return sorted(found, reverse=True)[:max(count, 1)]  # 0 is taken as 1


def _os_status(error: OSError) -> str:
    code = {2: "NOT_FOUND", 13: "PERMISSION_DENIED", 20: "FAILED_PRECONDITION"}.get(error.errno or 0, "UNKNOWN")
    return "%s: %s; %s" % (code, error.filename, error.strerror)


def poll(models: Dict[str, Any], missing_path_blocks_only_itself: bool, allowed: Allowed = _all) -> Dict[str, Versions]:
    """The wanted versions of every configured model (name -> ModelConfig).

    One missing base_path abandons the whole poll (StatusError), as TensorFlow Serving does, unless
    missing_path_blocks_only_itself: then only that model is left out of the answer. allowed: see aspired.
    """
    answer: Dict[str, Versions] = {}
    for name in sorted(models):
        try:
            answer[name] = aspired(name, models[name].base_path, models[name].model_version_policy, allowed)
        except StatusError as error:
            if not missing_path_blocks_only_itself:
                raise
            log.error("FileSystemStoragePathSource encountered a filesystem access error: %s", error)
    return answer


def stamp(path: str) -> Tuple[int, int, int]:
    """(files, bytes, newest change in ns) of a version directory: differs when something inside was changed."""
    files = size = newest = 0
    for folder, _, names in os.walk(path):
        for entry in [folder] + [os.path.join(folder, name) for name in names]:
            try:
                found = os.stat(entry)
            except OSError:
                continue
            files += 1
            size += found.st_size
            newest = max(newest, found.st_mtime_ns, found.st_ctime_ns)
    return files, size, newest


def drop_page_cache(path: str) -> None:
    """Tells the kernel that the files of a loaded version will not be read again soon."""
    if not hasattr(os, "posix_fadvise"):
        return
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                descriptor = os.open(os.path.join(folder, name), os.O_RDONLY)
            except OSError:
                continue
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            except OSError:
                pass  # a file system without the call: the advice is only a saving
            finally:
                os.close(descriptor)
