"""Every command of every guide: run, or proven by what its mark names, or at least understood by its program."""

import pathlib
import re

import grammar
import pytest
from pages import CHECKED, CHECKOUT, COMMANDS, PAGES, PROVEN, STARTS, blocks

QUICKSTART = "docs/quickstart.md"


def name_of(command):
    return f"{command.page}:{command.line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(CHECKOUT).as_posix())
def test_commands_stand_in_blocks_where_they_are_found(page):
    outside = re.sub(r"^ *```\w+\n.*?^ *```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    indented = [line for line in outside.splitlines() if re.match(r" {4,}", line)]
    fenced = [line for _number, language, _mark, lines in blocks(page) if language == "" for line in lines]
    assert [line for line in (*indented, *fenced) if line.strip().startswith(STARTS)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(CHECKOUT).as_posix())
def test_marks_say_one_of_the_two_things_that_they_can_say(page):
    marks = re.findall(r"<!-- (.*?) -->", page.read_text())
    assert [mark for mark in marks if not mark.startswith((PROVEN, CHECKED))] == []


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.words[0] in grammar.PARSERS], ids=name_of)
def test_its_program_understands_it(command):
    grammar.PARSERS[command.words[0]](command.words)


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.mark.startswith(CHECKED)], ids=name_of)
def test_what_is_only_checked_has_a_parser(command):
    assert command.words[0] in grammar.PARSERS or command.words[0].startswith("python3")


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.proofs], ids=name_of)
def test_what_proves_it_has_all_its_parts(command):
    text = ""
    for proof in command.proofs:
        path = CHECKOUT / proof
        assert path.exists(), proof
        files = [path] if path.is_file() else [file for file in sorted(path.rglob("*")) if file.suffix in (".py", ".yml") and file.is_file()]
        text += "".join(file.read_text() for file in files)
    program, rest = command.words[0], command.words[1:]
    if command.proofs == ["tests/conformance/test_client_guide.py"]:
        # That test reads the page itself.
        assert f'"{pathlib.Path(command.page).name}"' in text
        return
    parts = [program] if program not in ("tfleet", "make", "ansible-playbook") else []
    if program == "ansible-playbook":
        parts += [pathlib.Path(word).stem for word in rest if word.endswith(".yml")] + re.findall(r"\b(\w+)=", " ".join(rest))
    elif program in ("tfleet", "make"):
        parts += [rest[0], *(word.split("=")[0] for word in rest[1:] if word.startswith("--"))]
    assert [part for part in parts if part not in text] == []


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.runs and command.page != QUICKSTART], ids=name_of)
def test_it_runs(command, place, served):
    words = command.words
    if words[0] == "tfleet" and words[1] in ("predict", "status") and "--address" not in words:
        words += ["--address", served.address]
    place.run(words)
