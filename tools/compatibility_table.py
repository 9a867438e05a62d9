#!/usr/bin/env python3
"""Write docs/compatibility.md from data/*.yml, so that the page and the code cannot say different things.

Usage: tools/compatibility_table.py [--check]   (--check writes nothing and exits 1 if the page is not up to date)
"""

import pathlib
import sys
from typing import Any, Dict, Iterable, List, Sequence

import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/compatibility.md"

INTRODUCTION = """# What runs on what

This page is written by `tools/compatibility_table.py` from the files under `data/`, which the role `preflight` decides by: what stands here is what tfleet
does. H is known from NVIDIA's own files or from several sources that agree, M from one credible source, L is a likely thing that nobody verified; — is not
known, and is never guessed.

`ansible-playbook playbooks/preflight.yml` prints the row of each of your hosts. A release that is not here is refused with the name of the file to add it to;
`preflight_l4t_override` treats one host like a release that is. To add one: a line in `data/l4t.yml`, the range in `data/containers.yml` that has an image for
it (the unit tests say if there is none, or two), then this tool.
"""


def number(version: str) -> List[int]:
    """A version as numbers, to sort by."""
    return [int(part) for part in version.split(".")]


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> List[str]:
    """Lines of a Markdown table; None becomes a dash."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return lines + ["| " + " | ".join("—" if cell is None else str(cell) for cell in row) + " |" for row in rows] + [""]


def load(name: str) -> Dict[str, Any]:
    """The content of a data file."""
    return yaml.safe_load((ROOT / "data" / f"{name}.yml").read_text(encoding="utf-8"))


def span(row: Dict[str, Any]) -> str:
    """The releases that a row is for."""
    return row["first"] if row["first"] == row["last"] else f"{row['first']} to {row['last']}"


def modules() -> List[str]:
    """The modules of Jetsons with what their GPUs can do."""
    data, generations = load("jetsons"), load("l4t")["generations"]
    rows = []
    for name, module in data["modules"].items():
        soc = data["socs"][module["soc"]]
        jetpacks = list(dict.fromkeys(generations[major]["jetpack"] for major in module["l4t"]))
        rows.append((module["name"], f"`{name}`", soc["name"], soc["compute_capability"], ", ".join(soc["precisions"]), ", ".join(jetpacks)))
    return ["## Modules", "", *table(("module", "`tfleet_device.module`", "SoC", "compute capability", "TensorRT's precisions", "JetPack"), rows)]


def releases() -> List[str]:
    """The releases of Jetson Linux with what they bring and which image each gets."""
    data, containers = load("l4t"), load("containers")
    rows = []
    for release in sorted(data["releases"], key=number):
        row, generation = data["releases"][release], data["generations"][release.split(".")[0]]
        chosen: Dict[str, Any] = next((each for each in containers["selection"] if number(each["first"]) <= number(release) <= number(each["last"])), {})
        images = [f"{'`' + chosen[key][1] + '`'} ({chosen['confidence'][key]})" if key in chosen else "none" for key in ("tf2", "tf1")]
        parts = (row["cuda"], row["tensorrt"], row["cudnn"])
        rows.append((release, row["jetpack"], generation["ubuntu"], generation["python"], *parts, *images, row["confidence"]))
    header = ("L4T", "JetPack", "Ubuntu", "Python", "CUDA", "TensorRT", "cuDNN", "image for TensorFlow 2", "image for TensorFlow 1", "")
    names = [f"`{repository['name']}`" for repository in containers["repositories"].values() if repository["generations"]][:2]
    text = f"The images are tags of {names[0]} up to JetPack 5 and of {names[1]} (the `-igpu` ones) for JetPack 6."
    return ["## Releases of Jetson Linux", "", text, "", *table(header, rows)]


def images() -> List[str]:
    """What is in the images."""
    data, rows = load("containers"), []
    for repository, tags in data["images"].items():
        for tag, image in tags.items():
            name = f"`{data['repositories'][repository]['name']}:{tag}`"
            rows.append((name, image["tensorflow"], image["python"], *("the host's" if image[key] == "host" else image[key] for key in ("tensorrt", "cuda")),
                         image["confidence"]))  # fmt: skip
    repository, gpu_tag = data["servers"]["gpu_server"]
    serving = f"`{data['repositories'][repository]['name']}`, the tag `{gpu_tag}` with a GPU and `{data['servers']['cpu_server'][1]}` without one"
    text = f"Servers ({data['servers']['architecture']}) get {serving}. The community's images are taken only if `preflight_image` names one."
    return ["## Images", "", text, "", *table(("image", "TensorFlow", "Python", "TensorRT", "CUDA", ""), rows)]


def groups() -> List[str]:
    """Which image may run on which host."""
    rows = []
    for group in load("containers")["groups"]:
        host = "L4T " + group["first"]
        if group["last"] != group["first"]:
            # 32.7 to 32: from 32.7 to the end of 32.
            whole = group["first"].startswith(group["last"] + ".")
            host += f" and the later ones of {group['last']}" if whole else f" to {group['last']}"
        rows.append((host, "the very same release, or the one chosen above" if group["exact"] else "any of these"))
    text = "An image made for one release of L4T runs on the hosts of its group. An end such as 36.3 counts with all its patches."
    return ["## An image of another release", "", text, "", *table(("host", "image"), rows)]


def tftrt() -> List[str]:
    """TF-TRT by release of TensorFlow."""
    data = load("tftrt")
    rows = [(span(row), f"`{row['converter']}`", {"keyword": "options", "params": "`conversion_params`"}[row["arguments"]],
             ", ".join(f"`{method}`" for method in row["methods"])) for row in data["constructors"]]  # fmt: skip
    without = " and ".join(f"L4T {major}" for major in data["without_tensorrt"])
    text = [
        f"TensorFlow and TensorFlow Serving have TF-TRT from {data['first']} to {data['last']}. "
        f"With TensorRT {data['explicit_batch_from_tensorrt']} and later it works only with dynamic shapes.",
        "",
        f"On {without} it is refused: {data['without_tensorrt'][min(data['without_tensorrt'])]}. {data['instead']}.",
    ]
    return ["## TF-TRT", "", *text, "", *table(("TensorFlow", "converter", "takes", "methods"), rows)]


def wheels() -> List[str]:
    """NVIDIA's wheels for a Jetson without Docker."""
    data = load("containers")["wheels"]
    rows = [(span(row), *(f"`{row[key]}`" if key in row else None for key in ("tf2", "tf1")), row["confidence"]) for row in data["files"]]
    return ["## Wheels", "", f"NVIDIA's, from {data['base']}, for a Jetson without Docker.", "", *table(("L4T", "TensorFlow 2", "TensorFlow 1", ""), rows)]


def ansible() -> List[str]:
    """Which ansible-core manages which host."""
    data, generations = load("ansible"), load("l4t")["generations"]
    rows = []
    for core, row in data["cores"].items():
        managed = {each["jetpack"] for each in generations.values() if number(each["python"]) >= number(row["target"])}
        rows.append((core, row["package"], row["controller"], row["target"], ", ".join(sorted(managed))))
    needed = yaml.safe_load((ROOT / "meta/runtime.yml").read_text(encoding="utf-8"))["requires_ansible"]
    text = f"tfleet needs ansible-core {needed}. The package `ansible` brings the collections too."
    header = ("ansible-core", "package `ansible`", "oldest Python of the controller", "of the host", "manages JetPack")
    return ["## ansible-core", "", text, "", *table(header, rows)]


def render() -> str:
    """The whole page."""
    sections = (modules, releases, images, groups, tftrt, wheels, ansible)
    return "\n".join([INTRODUCTION, *(line for section in sections for line in section())]).rstrip("\n") + "\n"


def main() -> int:
    """Write or check the page; return the exit code."""
    check, text = "--check" in sys.argv[1:], render()
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    name = PAGE.relative_to(ROOT)
    if check:
        print(f"not up to date, run tools/compatibility_table.py: {name}")
        return 1
    PAGE.write_text(text, encoding="utf-8")
    print(f"written: {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
