"""The guides as a reader sees them: which commands they tell, and how each of them is known to work.

A command stands in a block that begins with ```sh. By default a test runs it. A comment on the line above the block says otherwise:

<!-- proven by tests/demo -->                       that test, scenario or page runs it; what the command consists of is looked for there
<!-- checked, not run: needs a Jetson -->           its own parser reads it
"""

import pathlib
import re
import shlex
from typing import Iterator, List, NamedTuple, Tuple

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
PAGES = [path for path in sorted([*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/*.md"), CHECKOUT / "models/README.md"]) if path.name != "CHANGELOG.md"]
PROVEN, CHECKED, WHOLE_PAGE = "proven by ", "checked, not run: ", ": every block of this page"
# What begins a command, where it stands outside of such a block.
STARTS = ("tfleet ", "make ", "ansible", ".venv/bin/", ".venv-core", "docker ", "python", "pytest ", "sudo ", "curl ", "pip ", "git ")


class Command(NamedTuple):
    """One command of a page."""

    page: str
    line: int
    text: str
    mark: str

    @property
    def words(self) -> List[str]:
        """Without comments; a program of an environment goes by its name."""
        words = shlex.split(self.text, comments=True)
        return [re.sub(r"^\.venv[^/]*/bin/", "", words[0]), *words[1:]]

    @property
    def proofs(self) -> List[str]:
        """Paths of what runs it."""
        return self.mark[len(PROVEN):].split(", ") if self.mark.startswith(PROVEN) else []

    @property
    def runs(self) -> bool:
        """Whether tests/guides itself runs it."""
        return not self.mark.startswith((PROVEN, CHECKED))


def blocks(page: pathlib.Path) -> Iterator[Tuple[int, str, str, List[str]]]:
    """(line, language, mark, lines) of each fenced block."""
    lines, number, mark, whole = page.read_text(encoding="utf-8").splitlines(), 0, "", ""
    while number < len(lines):
        line = lines[number]
        fence = re.match(r"^( *)```(\w*)$", line)
        comment = re.match(r"^ *<!-- (.*) -->$", line)
        if fence:
            end = next(place for place in range(number + 1, len(lines)) if lines[place].strip() == "```")
            yield number + 2, fence.group(2), mark or whole, [text[len(fence.group(1)):] for text in lines[number + 1:end]]
            number, mark = end, ""
        elif comment:
            mark = comment.group(1)
            if mark.endswith(WHOLE_PAGE):
                mark = whole = mark[:-len(WHOLE_PAGE)]
        else:
            mark = ""
        number += 1


def commands(page: pathlib.Path) -> Iterator[Command]:
    """Every command of a page, in its order; one that is continued on further lines is one."""
    name = page.relative_to(CHECKOUT).as_posix()
    for number, language, mark, lines in blocks(page):
        text = ""
        for place, line in enumerate(lines if language == "sh" else []):
            text = text[:-1] + " " + line.strip() if text.endswith("\\") else text + "\n" + line if text else line
            if text.endswith("\\") or _open(text):
                continue
            if text.strip() and not text.startswith("#"):
                yield Command(name, number + place, text, mark)
            text = ""


def _open(text: str) -> bool:
    try:
        shlex.split(text, comments=True)
    except ValueError:
        return True
    return False


COMMANDS = [command for page in PAGES for command in commands(page)]
