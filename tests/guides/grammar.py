"""Whether a command is one that its program understands, without running it: asked of the program's own parser."""

import argparse
import importlib
import re
from typing import Callable, Dict, List

import yaml
from ansible.cli.adhoc import AdHocCLI
from ansible.cli.playbook import PlaybookCLI
from packaging.requirements import Requirement
from pages import CHECKOUT

from tfleet.server import flags

MAKEFILE = (CHECKOUT / "Makefile").read_text()
EXAMPLE = (CHECKOUT / "inventories/example/group_vars/all.yml").read_text()
DECLARED = {name for path in CHECKOUT.glob("roles/*/meta/argument_specs.yml") for entry in yaml.safe_load(path.read_text())["argument_specs"].values()
            for name in entry.get("options", {})}  # fmt: skip


def tfleet(words: List[str]) -> None:
    """By the command's argparse parser; the server has TensorFlow Serving's grammar."""
    name, arguments = words[1], words[2:]
    if name == "serve":
        assert flags.parse(arguments).leftover == []
        return
    command = importlib.import_module(f"tfleet.cli.{name}")
    parser = argparse.ArgumentParser(prog=f"tfleet {name}", exit_on_error=False)
    command.add_arguments(parser)
    parser.add_argument("--json", action="store_true")
    parser.parse_args(arguments)


def playbook(words: List[str]) -> None:
    """By ansible-playbook's parser; the playbook, its tags and its extra variables exist."""
    cli = PlaybookCLI(words)
    cli.parse()
    options = importlib.import_module("ansible.context").CLIARGS
    for path in options["args"]:
        text = (CHECKOUT / path).read_text()
        for tag in ",".join(options["tags"]).split(",") if options["tags"] != ("all",) else []:
            assert f"tfleet.serving.{tag}" in text, tag
        for name in [found.group(1) for extra in options["extra_vars"] for found in [re.match(r"(\w+)=", extra)] if found]:
            assert name in DECLARED or re.search(rf"\b{name}\b", text + EXAMPLE), name


def ad_hoc(words: List[str]) -> None:
    """By ansible's parser."""
    AdHocCLI(words).parse()


def make(words: List[str]) -> None:
    """The target and the variables are the Makefile's."""
    for word in words[1:]:
        name, given, _value = word.partition("=")
        assert re.search(rf"^{name} :=|\$\({name}\)" if given else rf"^{name}:", MAKEFILE, re.MULTILINE), word


def script(words: List[str]) -> None:
    """A program of the checkout: it is there, and its options occur in it."""
    path = CHECKOUT / next(word for word in words if (CHECKOUT / word).is_file() or (CHECKOUT / word).is_dir())
    files = [path] if path.is_file() else sorted(path.glob("*.py"))
    text = "".join(file.read_text() for file in files)
    for option in [word.split("=")[0] for word in words if word.startswith("--")]:
        assert option in text, option


def docker(words: List[str]) -> None:
    """What is handed to the runtime image or its build is what they take; the rest is Docker's own."""
    image = "".join((CHECKOUT / "images/runtime" / name).read_text() for name in ("Dockerfile", "package/entrypoint"))
    for option, value in zip(words, words[1:]):
        if option in ("--build-arg", "-e"):
            assert value.partition("=")[0] in image, value
    assert words[1] != "logs" or words[2] in (CHECKOUT / "roles/model_server/defaults/main.yml").read_text()


def pip(words: List[str]) -> None:
    """Requirements that pip can read; a release of the package ansible is one that data/ansible.yml knows."""
    known = [core["package"] for core in yaml.safe_load((CHECKOUT / "data/ansible.yml").read_text())["cores"].values()]
    for word in [word for word in words[2:] if not word.startswith("-") and not word.endswith(".txt")]:
        requirement = Requirement(word)
        assert requirement.name != "ansible" or re.search(r"==(\d+)", word).group(1) in known  # type: ignore[union-attr]


def journal(words: List[str]) -> None:
    """The unit is one of ours."""
    unit = words[words.index("--unit") + 1]
    assert any(unit in path.read_text() for path in CHECKOUT.glob("roles/*/vars/main.yml")), unit


PARSERS: Dict[str, Callable[[List[str]], None]] = {
    "tfleet": tfleet, "ansible-playbook": playbook, "ansible": ad_hoc, "make": make, "docker": docker, "journalctl": journal, "pip": pip,
    "images/runtime/context": script, "images/gateway/context": script, "python": script, "/tmp/train/bin/python": script, "pytest": script,
}  # fmt: skip
