"""`tfleet tfrecord`: labelled pictures in TFRecord files, for calibration, parity and warm-up."""

import argparse
from typing import Any, Dict, List, Optional

from tfleet.cli import asking

HELP = "Write TFRecord files of tf.train.Example from labelled pictures, read them, and check them. Needs no TensorFlow."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from tfleet.examples.writing import KINDS

    commands = parser.add_subparsers(dest="action", metavar="write|read|check")
    commands.required = True
    write = commands.add_parser("write", help="write a TFRecord file, or its shards, and a label map beside it")
    write.add_argument("source", metavar="SOURCE", help="folder with VOC's XML files, COCO's JSON file, folder with a folder per class, or golden.npz")
    write.add_argument("dest", metavar="DEST", help="the file, such as validation.tfrecord; shards get -00000-of-00004 behind it")
    write.add_argument("--kind", choices=KINDS, default="auto", help="what the source is (default: what it looks like)")
    write.add_argument("--images", metavar="DIR", help="where the pictures are, if not below the source")
    write.add_argument("--label-map", metavar="FILE", help="numbers of the classes; default: in the order of their names, VOC from 1, folders from 0")
    write.add_argument("--shards", type=int, default=1, metavar="N", help="how many files (default: 1)")
    write.add_argument("--limit", type=asking.positive, metavar="N", help="take N Examples at most: a fair sample, always the same")
    write.add_argument("--skip-bad", action="store_true", help="leave out what has a problem; without it nothing is written then")
    read = commands.add_parser("read", help="list the Examples")
    read.add_argument("paths", nargs="+", metavar="FILE", help="files, names of sharded files, folders of them")
    read.add_argument("--limit", type=asking.positive, default=10, metavar="N", help="list N Examples (default: 10)")
    check = commands.add_parser("check", help="look for damage, missing labels, wrong sizes, boxes outside, and doubles")
    check.add_argument("paths", nargs="+", metavar="FILE", help="files, names of sharded files, folders of them")
    check.add_argument("--label-map", metavar="FILE", help="classes that may occur")


def run(args: argparse.Namespace) -> Dict[str, Any]:
    """Returns what examples.writing.write or examples.checks.check return; for read {"examples": [...], "more": bool}."""
    return {"write": _write, "read": _read, "check": _check}[args.action](args)


def render(result: Dict[str, Any]) -> str:
    """Lines for people."""
    if "dest" in result:
        state = "written" if result["changed"] else "unchanged"
        lines = ["%s  (%s, %s, %d Examples, %d bytes)" % (path, state, result["kind"], result["examples"], result["bytes"]) for path in result["files"][:1]]
        lines += ["%s" % path for path in result["files"][1:]]
    elif "more" in result:
        lines = [_line(example) for example in result["examples"]] + (["… and more"] if result["more"] else [])
    else:
        lines = ["%d file(s), %d Examples, %d objects, %d bytes: in order" % (len(result["files"]), result["examples"], result["objects"], result["bytes"])]
        lines += ["  %s: %d" % pair for pair in result["classes"].items()]
    return "\n".join(lines + ["left out: %(where)s: %(text)s" % problem for problem in result.get("problems", [])])


def _write(args: argparse.Namespace) -> Dict[str, Any]:
    from tfleet.examples import writing
    from tfleet.progress import Progress

    with Progress("writing %s" % args.dest, unit="Examples") as progress:
        return writing.write(
            args.source,
            args.dest,
            args.kind,
            args.images,
            args.label_map,
            args.shards,
            args.limit,
            args.skip_bad,
            lambda done, total: progress.update(done, total=total),
        )


def _read(args: argparse.Namespace) -> Dict[str, Any]:
    from tfleet import examples

    listed: List[Dict[str, Any]] = []
    for example in examples.read(args.paths):
        if len(listed) == args.limit:
            return {"examples": listed, "more": True}
        listed.append(_described(example))
    return {"examples": listed, "more": False}


def _check(args: argparse.Namespace) -> Dict[str, Any]:
    from tfleet.client import label_map
    from tfleet.examples import checks
    from tfleet.progress import Progress

    labels: Optional[Dict[int, str]] = label_map.load(args.label_map) if args.label_map else None
    with Progress("checking", unit="Examples") as progress:
        result = checks.check(args.paths, labels, progress.update)
    if result["problems"]:
        listed = "".join("\n  %(where)s: %(text)s" % problem for problem in result["problems"][:20])
        more = "\n  and %d more" % (len(result["problems"]) - 20) if len(result["problems"]) > 20 else ""
        msg = "%d of %d Examples have problems:%s%s\nCorrect the source and write the file again."
        result.update(ok=False, msg=msg % (len(result["problems"]), result["examples"], listed, more))
    return result


def _described(example: Any) -> Dict[str, Any]:
    described = {"name": example.name, "bytes": len(example.image or b""), "size": example.size, "label": example.label, "text": example.text}
    if example.objects is not None:
        boxes, classes, names, difficult = example.objects
        described["objects"] = [
            {"box": [round(float(edge), 4) for edge in box], "class": int(number), "name": name, "difficult": bool(hard)}
            for box, number, name, hard in zip(boxes, classes, names, difficult)
        ]
    described["arrays"] = {key: "%s %d" % (values.dtype, values.size) for key, values in sorted(example.arrays.items())}
    return described


def _line(example: Dict[str, Any]) -> str:
    size = "%d x %d" % (example["size"][1], example["size"][0]) if example["size"] else "size unknown"
    parts = ["%s  %s, %d bytes" % (example["name"] or "(no name)", size, example["bytes"])] if example["bytes"] else [example["name"] or "(no name)"]
    if example["label"] is not None:
        parts.append("class %d %s" % (example["label"], example["text"]))
    parts += ["%s %s" % (found["name"] or found["class"], found["box"]) for found in example.get("objects", ())]
    parts += ["%s: %s" % pair for pair in example["arrays"].items()]
    return "; ".join(parts)
