"""TFRecord files and their shards: which belong together, and the Examples in them, one after the other."""

import glob
import os
import re
from typing import Iterator, List, Sequence, Tuple, Union

from tfleet import files
from tfleet.errors import TfleetError
from tfleet.examples.features import Example, decode
from tfleet.wire import tfrecord

Paths = Union[str, Sequence[str]]

_SHARD = re.compile(r"^(.*)-(\d{5})-of-(\d{5})$")
_ENDINGS = (".tfrecord", ".tfrecords", ".record", ".records")


def locate(paths: Paths) -> List[str]:
    """The TFRecord files that ``paths`` names: files, a file's name whose shards exist, folders of them. Raises TfleetError if one is missing."""
    found: List[str] = []
    for given in [paths] if isinstance(paths, str) else paths:
        path = os.path.abspath(os.path.expanduser(given))
        found += _folder(path) if os.path.isdir(path) else _named(path)
    if not found:
        raise TfleetError("No TFRecord file was given. `tfleet tfrecord write` makes one from labelled pictures.")
    return found


def records(paths: Paths) -> Iterator[Tuple[str, int, bytes]]:
    """``(file, place in it, record)`` of all files. Raises TfleetError for a file that is damaged or something else."""
    for path in locate(paths):
        try:
            with open(path, "rb") as stream:
                for place, record in tfrecord.read(stream, os.fstat(stream.fileno()).st_size):
                    yield path, place, record
        except OSError as error:
            raise TfleetError("Could not read %s: %s." % (path, files.reason(error)))
        except ValueError as error:
            raise TfleetError("%s is damaged or no TFRecord file: %s. %s" % (path, error, _instead(path)), file=path)


def read(paths: Paths) -> Iterator[Example]:
    """The Examples of all files, in their order. Raises TfleetError for a damaged file, and for a record that is none."""
    for path, place, record in records(paths):
        try:
            yield decode(record)
        except ValueError as error:
            raise TfleetError(
                "%s: the record at byte %d cannot be used: %s. Write the file with `tfleet tfrecord write`, or with tf.train.Example and the "
                "feature names of the TensorFlow Object Detection API." % (path, place, error),
                file=path,
            )


def count(paths: Paths) -> int:
    """How many records the files hold, by reading them."""
    return sum(1 for _ in records(paths))


def shard_names(path: str, shards: int) -> List[str]:
    """The names of the files of ``path``: itself, or with TensorFlow's -00000-of-00004 if there are several."""
    return [path] if shards == 1 else ["%s-%05d-of-%05d" % (path, number, shards) for number in range(shards)]


def shards_of(path: str) -> List[str]:
    """The files that exist as ``path`` or as shards of it, whatever their number."""
    return [name for name in [path] + sorted(glob.glob(glob.escape(path) + "-?????-of-?????")) if os.path.isfile(name)]


def _named(path: str) -> List[str]:
    if os.path.isfile(path):
        return [path]
    found = shards_of(path)
    if not found:
        raise TfleetError("There is no TFRecord file %s, nor shards of it (%s-00000-of-00001)." % (path, os.path.basename(path)), missing=True)
    _complete(found)
    return found


def _folder(path: str) -> List[str]:
    names = sorted(name for name in os.listdir(path) if name.endswith(_ENDINGS) or _SHARD.match(name))
    found = [os.path.join(path, name) for name in names if os.path.isfile(os.path.join(path, name))]
    if not found:
        raise TfleetError("There is no TFRecord file in %s: none of its names ends in %s or -00000-of-00001." % (path, ", ".join(_ENDINGS)))
    _complete([name for name in found if _SHARD.match(name)])
    return found


def _complete(found: List[str]) -> None:
    """Raise TfleetError where a shard is missing: what is read then is not what was written."""
    sets = {(match.group(1), int(match.group(3))) for match in map(_SHARD.match, found) if match}
    for path, number in sorted(sets):
        missing = [name for name in shard_names(path, number) if name not in found] if number > 1 else []
        if missing:
            raise TfleetError("%s is incomplete: of its %d shards %s is missing. Copy all of them." % (path, number, os.path.basename(missing[0])))
    if len({path for path, _number in sets}) < len(sets):
        raise TfleetError("There are several sets of shards of one file beside each other: %s. Remove the older one." % ", ".join(sorted(found)))


def _instead(path: str) -> str:
    with open(path, "rb") as stream:
        head = stream.read(64)
    if head.startswith((b"\x1f\x8b", b"\x78\x01", b"\x78\x9c", b"\x78\xda")):
        return "It is compressed: unpack it first (gunzip)."
    if head.startswith((b"PK", b"\x93NUMPY")):
        return "It is an archive or a file of numpy's: a golden.npz becomes a TFRecord file by `tfleet tfrecord write`."
    if head.startswith((b"\xff\xd8\xff", b"\x89PNG")):
        return "It is a picture: `tfleet tfrecord write` makes a TFRecord file of a folder of them."
    return "Copy it again, or write it again with `tfleet tfrecord write`."
