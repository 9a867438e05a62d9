"""What `tfleet predict` does with folders of pictures and cameras. Not a command."""

import argparse
import os
import sys
import time
from typing import Any, Dict, Iterator, List, Optional, Tuple

from tfleet.cli import asking, preparing

_FORMATS = ("table", "jsonl", "csv")
_EVERY = 0.2
"""Seconds between two times that lines are written."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    many = parser.add_argument_group("many pictures")
    many.add_argument("--output", metavar="FILE.jsonl|FILE.csv", help="write an answer for each picture; run it again and it goes on")
    many.add_argument("--format", choices=_FORMATS, help="default: by the name of --output, else table")
    many.add_argument("--batch-size", type=asking.positive, default=8, metavar="N", help="pictures in a request, if the model takes many (default %(default)d)")
    many.add_argument("--in-flight", type=asking.positive, default=2, metavar="N", help="requests at once (default: %(default)d)")
    watch = "go on with pictures that appear, until none has for SECONDS, or Ctrl-C"
    many.add_argument("--watch", nargs="?", type=asking.seconds, const=float("inf"), metavar="SECONDS", help=watch)
    many.add_argument("--frames", type=asking.positive, metavar="N", help="frames of the camera (default: all)")


def model_of(args: argparse.Namespace, client: Any, labels: Dict[int, str]) -> Any:
    """The served.Model for pictures; None if values are asked."""
    if not (args.image or args.camera):
        return None
    from tfleet.client.served import Model

    return Model(client, args.model, args.version, args.label, args.signature, preparing.declaration_of(args), labels, args.min_score, args.top_k)


def are_many(args: argparse.Namespace) -> bool:
    """Whether pictures go through the pipeline of many, instead of one by one."""
    from tfleet.client import sources

    return bool(args.camera or args.output or args.format or args.watch is not None or sources.several(args.image))


def decoded(model: Any, prepared: Any, answer: Any) -> Any:
    """An answer whose outputs are those that the model's declaration makes of them."""
    return answer._replace(outputs=model.seen([prepared], answer, 0.0)[0].outputs)


def run(args: argparse.Namespace, model: Any) -> Dict[str, Any]:
    """Asks for many pictures. Returns the dict of the CLI contract; `ok` is false with `msg` if some could not be used."""
    from tfleet.client import lines
    from tfleet.errors import TfleetError

    form = _format(args)
    if args.annotate and args.annotate.lower().endswith((".png", ".jpg", ".jpeg")):
        raise TfleetError("--annotate %s names one file, but there may be many pictures: give a folder." % args.annotate)
    if not args.output:
        return _through(args, model, set(), _Collected(form, args.json))
    with lines.Lines(args.output, form, args.model) as output:
        return _through(args, model, output.done, output)


def render(result: Dict[str, Any]) -> str:
    """The table, unless the lines went elsewhere, and a summary."""
    summary = _summary(result)
    if result["output"] or result["printed"]:
        sys.stderr.write(summary + "\n")
        return ""
    from tfleet.client.lines import rows

    head = ("image", "class", "score", "ymin", "xmin", "ymax", "xmax")
    table: List[Tuple[str, ...]] = [head]
    for line in result["predictions"]:
        for row in rows(line):
            box = ["%.3f" % row[side] if side in row else "" for side in head[3:]]
            what = row.get("error") or row.get("label") or "-"
            table.append((line["image"], what, "%.3f" % row["score"] if row.get("score") is not None else "") + tuple(box))
    widths = [max(len(row[column]) for row in table if column or len(row[1]) < 60) for column in range(len(head))]
    shown = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in table]
    return "\n".join(shown + [summary])


class _Collected(object):
    """In place of an output file: lines on stdout as they come, or kept for the table and the JSON object."""

    def __init__(self, form: str, as_json: bool) -> None:
        from tfleet.errors import TfleetError

        if form != "table" and as_json:
            raise TfleetError("--json prints one object: leave out --format %s, or give --output FILE.%s." % (form, form))
        self.form = form
        self.kept: List[Dict[str, Any]] = []
        self._begun = False

    def write(self, several: List[Dict[str, Any]]) -> None:
        from tfleet.client import lines

        if self.form == "table":
            self.kept += several
            return
        if self.form == "csv" and not self._begun:
            sys.stdout.write(",".join(lines.COLUMNS) + "\r\n")
        self._begun = True
        sys.stdout.write(lines.text(several, self.form))
        sys.stdout.flush()


def _through(args: argparse.Namespace, model: Any, done: Any, output: Any) -> Dict[str, Any]:
    from tfleet.client import many
    from tfleet.errors import TfleetError
    from tfleet.progress import Progress

    endless = bool(args.camera) or args.watch is not None
    items, total = _items(args, done)
    tally = _Tally()
    waiting: List[Dict[str, Any]] = []
    begin = written = time.monotonic()
    try:
        with Progress("predicting", total, "pictures") as progress:
            for line in many.look(model, items, args.batch_size, args.in_flight, _finisher(args, model)):
                tally.add(line)
                waiting.append(line)
                # What is done is safe before it becomes much; but flushing to the disk takes its time too.
                if endless or time.monotonic() - written > _EVERY:
                    output.write(waiting)
                    waiting, written = [], time.monotonic()
                progress.update(tally.count, "%.1f a second" % (tally.count / max(1e-9, time.monotonic() - begin)))
    except KeyboardInterrupt:
        if not endless:
            raise
    except BrokenPipeError:  # `tfleet predict … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        waiting = []
    except TfleetError as error:
        safe = " %d of %s pictures are in %s: the same command goes on from there." % (len(done) + tally.count, total and total + len(done), args.output)
        raise TfleetError(str(error) + (safe if args.output and tally.count else ""), **error.result)
    finally:
        output.write(waiting)
    return _result(args, model, tally, len(done), time.monotonic() - begin, output)


class _Tally(object):
    def __init__(self) -> None:
        self.count = 0
        self.errors: List[Tuple[str, str]] = []
        self.versions: Dict[Any, int] = {}

    def add(self, line: Dict[str, Any]) -> None:
        self.count += 1
        if "error" in line:
            self.errors.append((line["image"], line["error"]))
        else:
            self.versions[line["version"]] = self.versions.get(line["version"], 0) + 1


def _items(args: argparse.Namespace, done: Any) -> Tuple[Iterator[Any], Optional[int]]:
    from tfleet.client import sources
    from tfleet.errors import TfleetError

    if args.camera:
        return sources.frames(args.camera, args.frames), args.frames
    if args.watch is not None:
        return sources.watched(args.image, done, None if args.watch == float("inf") else args.watch), None
    found = sources.pictures(args.image)
    if not found:
        raise TfleetError("There are no pictures in %s. Names that end in %s are looked for." % (", ".join(args.image), ", ".join(sources.PICTURES)))
    left = [path for path in found if path not in done]
    return iter(left), len(left)


def _finisher(args: argparse.Namespace, model: Any) -> Any:
    """A function, for threads, from an outcome to its line; it draws the picture first, so that a line says that it is there."""
    from tfleet.client import many, results

    root = _root(args)

    def finish(outcome: Any) -> Dict[str, Any]:
        if isinstance(outcome, many.Failed):
            return {"image": outcome.name, "error": outcome.error}
        line: Dict[str, Any] = {"image": outcome.name, "model": model.name, "version": outcome.version}
        line["width"], line["height"] = outcome.picture.size
        line.update(outcome.reading or {"outputs": results.short(outcome.outputs)})
        if args.annotate:
            try:
                line["picture"] = _draw(args.annotate, root, outcome, model)
            except (OSError, SyntaxError, ValueError) as error:  # of a file that was sent as it is, and that only the model could read
                return {"image": outcome.name, "error": "%s cannot be drawn: %s." % (outcome.name, str(error).rstrip("."))}
        return line

    return finish


def _draw(folder: str, root: str, seen: Any, model: Any) -> str:
    """The path of the picture that was drawn: its name in the folder is that below the root; PNG, but JPEG for JPEG."""
    import io

    from tfleet import files
    from tfleet.client import pictures

    name = os.path.relpath(seen.name, root) if root else seen.name
    jpeg = name.lower().endswith((".jpg", ".jpeg"))
    path = os.path.join(folder, name if jpeg or name.lower().endswith(".png") else name + ".png")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    drawn = pictures.annotated(pictures.Shown(seen.picture, 0, seen.outputs, None), model.labels, model.min_score)
    buffer = io.BytesIO()
    drawn.save(buffer, "JPEG", quality=90) if jpeg else drawn.save(buffer, "PNG", compress_level=1)
    files.atomic_write(path, buffer.getvalue())
    return path


def _root(args: argparse.Namespace) -> str:
    """The folder that all pictures of the arguments lie in."""
    if args.camera:
        return ""
    import glob

    folders = []
    for argument in args.image:
        folder = argument if os.path.isdir(argument) else os.path.dirname(argument)
        while glob.has_magic(folder):
            folder = os.path.dirname(folder)
        folders.append(os.path.abspath(folder))
    return os.path.commonpath(folders)


def _result(args: argparse.Namespace, model: Any, tally: _Tally, before: int, seconds: float, output: Any) -> Dict[str, Any]:
    result = {
        "model": args.model,
        "version": next(iter(tally.versions)) if len(tally.versions) == 1 else None,
        "versions": {str(version): count for version, count in sorted(tally.versions.items())},
        "label": args.label,
        "signature": model.signature_name or "serving_default",
        "address": args.address,
        "images": {"done": tally.count - len(tally.errors), "before": before, "failed": len(tally.errors)},
        "seconds": round(seconds, 3),
        "images_per_second": round(tally.count / max(seconds, 1e-9), 2),
        "predictions": getattr(output, "kept", []),
        "output": args.output,
        "printed": getattr(output, "form", None) in ("jsonl", "csv") and not args.output,
        "picture": args.annotate,
        "ok": not tally.errors,
    }
    if tally.errors:
        more = " and %d more" % (len(tally.errors) - 1) if len(tally.errors) > 1 else ""
        again = " The same command tries them again." if args.output else ""
        result["msg"] = "%s%s. %s%s" % (tally.errors[0][1].rstrip("."), more, _summary(result), again)
    return result


def _summary(result: Dict[str, Any]) -> str:
    images = result["images"]
    versions = ", ".join("version %s: %d" % pair for pair in result["versions"].items()) if len(result["versions"]) != 1 else "version %s" % result["version"]
    text = "%s %s: %d pictures in %.1f s (%.1f a second)" % (result["model"], versions, images["done"], result["seconds"], result["images_per_second"])
    text += ", %d before" % images["before"] if images["before"] else ""
    text += ", %d failed" % images["failed"] if images["failed"] else ""
    text += "; answers in %s" % result["output"] if result["output"] else ""
    return text + ("; pictures in %s" % result["picture"] if result["picture"] else "") + "."


def _format(args: argparse.Namespace) -> str:
    from tfleet.errors import TfleetError

    ending = (args.output or "").rpartition(".")[2].lower()
    form = args.format or (ending if ending in _FORMATS else None if args.output else "table")
    if form is None or (args.output and form == "table"):
        raise TfleetError("--output %s: its name ends neither in .jsonl nor in .csv. Say which it is: --format jsonl or --format csv." % args.output)
    return str(form)
