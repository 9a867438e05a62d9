"""From labelled pictures to TFRecord files: checked one by one, in shards, whole or not at all."""

import hashlib
import json
import os
import shutil
import tempfile
from typing import Any, Callable, Dict, List, Optional, Tuple

from tfleet import files
from tfleet.client import label_map
from tfleet.errors import TfleetError
from tfleet.examples import checks, coco, folders, recorded, shards, voc
from tfleet.examples.features import Example, encode
from tfleet.examples.labelled import Collected, Problem
from tfleet.wire import tfrecord

# In this order: a folder of VOC's holds pictures as well.
_KINDS = {"golden": recorded, "coco": coco, "voc": voc, "folders": folders}
KINDS = ("auto",) + tuple(sorted(_KINDS))
MOST_SHARDS = 1000
LABELS_ENDING = ".labels.json"


def write(
    source: str,
    dest: str,
    kind: str = "auto",
    images: Optional[str] = None,
    labels: Optional[str] = None,
    number_of_shards: int = 1,
    limit: Optional[int] = None,
    skip_bad: bool = False,
    progress: Optional[Callable[[int, int], None]] = None,
) -> Dict[str, Any]:
    """Write the TFRecord file ``dest``, or its shards, from the labelled pictures ``source``, and a label map beside it.

    The order depends on the names of the pictures only and mixes the classes, so that the first hundred are a fair sample. Equal sources give
    equal bytes; files that are there already stay untouched (``changed`` is false then).

    :param images: folder of the pictures, if they are not below ``source``
    :param labels: a label map file that numbers the classes
    :param limit: take so many Examples at most
    :param skip_bad: leave out what has a problem, instead of writing nothing
    :param progress: called with the number of Examples done and their total
    :raises TfleetError: with every problem in its result; then nothing is written
    """
    source, dest = (os.path.abspath(os.path.expanduser(path)) for path in (source, dest))
    if not 1 <= number_of_shards <= MOST_SHARDS:
        raise TfleetError("%d shards are asked for: from 1 to %d are possible." % (number_of_shards, MOST_SHARDS))
    collected = _collect(source, kind, images, labels)
    chosen = _mixed(collected)[:limit]
    if not chosen and not collected.problems:
        raise TfleetError("There is nothing to write: %s holds no labelled picture." % source)
    if chosen and len(chosen) < number_of_shards:
        raise TfleetError("%d shards are asked for, but there are %d Examples: ask for fewer." % (number_of_shards, len(chosen)))
    os.makedirs(os.path.dirname(dest), exist_ok=True)
    workspace = tempfile.mkdtemp(prefix=".%s.tfleet-" % os.path.basename(dest), dir=os.path.dirname(dest))
    try:
        names = [os.path.basename(name) for name in shards.shard_names(dest, number_of_shards)]
        written, problems = _write(workspace, names, chosen, progress)
        problems = collected.problems + problems
        if problems and not (skip_bad and written):
            raise TfleetError(_refusal(source, problems, written), problems=checks.told(problems))
        if collected.labels:
            names.append(os.path.basename(dest) + LABELS_ENDING)
            text = json.dumps({str(number): name for number, name in sorted(collected.labels.items())}, indent=2) + "\n"
            files.atomic_write(os.path.join(workspace, names[-1]), text)
        changed = _put(workspace, names, dest)
    except OSError as error:
        raise TfleetError("Could not write %s: %s (%s). Nothing was changed." % (dest, files.reason(error), error.filename))
    finally:
        shutil.rmtree(workspace, ignore_errors=True)
    located = [os.path.join(os.path.dirname(dest), name) for name in names]
    return {
        "dest": dest,
        "changed": changed,
        "kind": collected.kind,
        "examples": written,
        "files": located,
        "bytes": sum(os.path.getsize(path) for path in located),
        "labels": {str(number): name for number, name in sorted(collected.labels.items())},
        "problems": checks.told(problems),
    }


def _collect(source: str, kind: str, images: Optional[str], labels: Optional[str]) -> Collected:
    if not os.path.exists(source):
        raise TfleetError("There is no %s." % source, missing=True)
    if images is not None and not os.path.isdir(images):
        raise TfleetError("The folder of pictures %s does not exist." % images, missing=True)
    numbers = None if labels is None else label_map.load(labels)
    for name, reader in _KINDS.items():
        if kind in ("auto", name) and reader.is_source(source):
            return reader.collect(source, images, numbers)
    raise TfleetError(
        "%s is not %s. What can be written: a folder with VOC's XML files and pictures (voc), COCO's JSON file beside its pictures (coco), a folder "
        "with a folder of pictures for each class (folders), or a golden.npz (golden)." % (source, "any of the known kinds" if kind == "auto" else kind)
    )


def _mixed(collected: Collected) -> List[Tuple[Optional[str], Example]]:
    """The Examples in an order that has nothing to do with their classes; recorded inputs keep theirs."""
    if collected.kind == "golden":
        return collected.examples
    return sorted(collected.examples, key=lambda pair: hashlib.sha256(os.fsencode("%s|%s" % (pair[1].text, pair[1].name))).digest())


def _write(
    workspace: str, names: List[str], chosen: List[Tuple[Optional[str], Example]], progress: Optional[Callable[[int, int], None]]
) -> Tuple[int, List[Problem]]:
    """Write the shards into the workspace. Returns how many Examples are in them, and the problems of the others."""
    problems: List[Problem] = []
    written = done = 0
    for number, name in enumerate(names):
        path = os.path.join(workspace, name)
        with open(path, "wb") as out:
            for picture, example in chosen[number * len(chosen) // len(names):(number + 1) * len(chosen) // len(names)]:
                loaded, found = _loaded(picture, example)
                problems += found
                if not found:
                    out.write(tfrecord.frame(encode(loaded)))
                    written += 1
                done += 1
                if progress is not None:
                    progress(done, len(chosen))
            out.flush()
            os.fsync(out.fileno())
        os.chmod(path, 0o644)
    return written, problems


def _loaded(picture: Optional[str], example: Example) -> Tuple[Example, List[Problem]]:
    """The Example with its picture and size, and what is wrong with it."""
    if picture is None:
        return example, []
    try:
        with open(picture, "rb") as stream:
            example = example._replace(image=stream.read())
    except OSError as error:
        return example, [Problem("unreadable", picture, files.reason(error))]
    problems = checks.of_example(example, picture)
    if not problems and example.size is None:
        from tfleet.client.inputs import decode_image

        decoded = decode_image(example.image or b"", picture)
        example = example._replace(size=(decoded.height, decoded.width))
    return example, problems


def _refusal(source: str, problems: List[Problem], written: int) -> str:
    listed = "".join("\n  %s: %s" % (problem.where, problem.text) for problem in problems[:8])
    more = "\n  and %d more" % (len(problems) - 8) if len(problems) > 8 else ""
    return "Nothing was written: %d of the Examples of %s cannot be used as they are:%s%s\nCorrect them%s." % (
        len(problems),
        source,
        listed,
        more,
        ", or leave them out with --skip-bad (%d others are in order)" % written if written else "",
    )


def _put(workspace: str, names: List[str], dest: str) -> bool:
    """Move the files to their place unless they are there already, and remove shards of another number. Returns whether anything changed."""
    folder = os.path.dirname(dest)
    wanted = {os.path.join(folder, name): os.path.join(workspace, name) for name in names}
    stale = [path for path in shards.shards_of(dest) if path not in wanted]
    changed = [path for path, new in wanted.items() if not os.path.isfile(path) or files.sha256_file(path) != files.sha256_file(new)]
    for path in changed:
        os.rename(wanted[path], path)
    for path in stale:
        os.unlink(path)
    if changed or stale:
        files.fsync_directory(folder)
    return bool(changed or stale)
