#!/usr/bin/env python3
"""Write docs/reference/*.md, and for ansible-doc plugins/filter/*.yml, from the sources, so that the two cannot say different things.

Usage: tools/references.py [--check]   (--check writes nothing and exits 1 if a page is not up to date)

The sources: the modules' documentation, the roles' argument specs, the comments above the playbooks, the docstrings of the filters' functions, and the
parsers of the `tfleet` commands. Run it with the Python of .venv.
"""

import argparse
import ast
import importlib
import inspect
import pathlib
import re
import sys
from typing import Any, Dict, Iterable, List

import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / ".ansible/collections"), str(ROOT / "runtime/src")]
COLLECTION = "tfleet.serving"
SIGN = "written by `tools/references.py` from"


# ---- modules ----
def documentation(path: pathlib.Path) -> Dict[str, Any]:
    """The DOCUMENTATION of a module or a fragment."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "DOCUMENTATION":
            return yaml.safe_load(ast.literal_eval(node.value))
    raise ValueError(f"{path} has no DOCUMENTATION")


def markdown(text: str) -> str:
    """Ansible's markup as Markdown, on one line of a table."""
    text = re.sub(r"\b(?:C|V|O|RV|E)\(((?:[^()\\]|\\.|\([^()]*\))*)\)", lambda found: f"`{found.group(1)}`", text)
    text = re.sub(r"\b[MP]\(" + re.escape(COLLECTION) + r"\.(\w+)(?:#(\w+))?\)", lambda found: f"`{found.group(1)}`", text)
    text = re.sub(r"\bL\(([^,]+),\s*([^)]+)\)", r"[\1](\2)", text)
    return re.sub(r"\bU\(([^)]+)\)", r"<\1>", re.sub(r"\s+", " ", text)).replace("|", "\\|").strip()


def sentences(description: Any) -> str:
    """A description, whether it is one text or a list of them."""
    return markdown(" ".join(description) if isinstance(description, list) else str(description))


def option_rows(options: Dict[str, Any], prefix: str = "") -> Iterable[str]:
    """The rows of a table of options, those inside others included."""
    for name, option in options.items():
        default = "required" if option.get("required") else "" if option.get("default") in (None, "") else f"`{option['default']}`"
        choices = " One of " + ", ".join(f"`{choice}`" for choice in option["choices"]) + "." if "choices" in option else ""
        yield f"| `{prefix}{name}` | {option.get('type', 'str')} | {default} | {sentences(option['description'])}{choices} |"
        yield from option_rows(option.get("suboptions", {}), f"{prefix}{name}.")


def modules() -> str:
    """The page of the modules."""
    shared = documentation(ROOT / "plugins/doc_fragments/runtime.py")["options"]
    lines = ["# Modules", "", f"This page is {SIGN} the modules' own documentation; `ansible-doc {COLLECTION}.NAME` shows examples and return values too. "
             "All support check mode.", ""]  # fmt: skip
    docs = {path.stem: documentation(path) for path in sorted((ROOT / "plugins/modules").glob("*.py"))}
    lines += ["| module | |", "|---|---|", *(f"| [`{name}`](#{name}) | {markdown(doc['short_description'])} |" for name, doc in docs.items()), ""]
    for name, doc in docs.items():
        lines += [f"## {name}", "", sentences(doc["description"]), ""]
        options = dict(doc.get("options", {}))
        if doc.get("extends_documentation_fragment"):
            lines += ["And the options of the [runtime](#the-runtime).", ""]
        if options:
            lines += ["| option | type | default | |", "|---|---|---|---|", *option_rows(options), ""]
    lines += ["## The runtime", "", "Options of every module that starts a `tfleet` command.", "", "| option | type | default | |", "|---|---|---|---|"]
    return "\n".join([*lines, *option_rows(shared), ""])


# ---- roles and playbooks ----
def roles() -> str:
    """The page of the playbooks and the roles."""
    lines = ["# Playbooks and roles", "", f"This page is {SIGN} the playbooks and the roles' argument specs. Each role's README has its variables, and "
             "`inventories/example` shows all of them in use.", "", "| playbook | what it does | options |", "|---|---|---|"]  # fmt: skip
    for path in sorted((ROOT / "playbooks").glob("*.yml")):
        text = path.read_text(encoding="utf-8")
        head = re.match(r"---\n((?:#.*\n)*)", text)
        options = [line[2:] for line in (head.group(1) if head else "").splitlines() if line.startswith("# -")]
        shown = "<br>".join(re.sub(r"^(-.*?)\s{2,}", r"`\1` ", option) if "  " in option else f"`{option}`" for option in options)
        plays = ". ".join(str(play["name"]) for play in yaml.safe_load(text))
        lines.append(f"| `{path.name}` | {plays}. | {shown} |")
    lines += ["", "| role | |", "|---|---|"]
    for path in sorted((ROOT / "roles").glob("*/meta/argument_specs.yml")):
        specs = yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"]
        entries = "; ".join((f"`tasks_from: {entry}` " if entry != "main" else "") + spec["short_description"] for entry, spec in specs.items())
        name = path.parent.parent.name
        lines.append(f"| [`{name}`](../../roles/{name}/README.md) | {markdown(entries)} |")
    return "\n".join([*lines, ""])


# ---- commands ----
def table(parser: argparse.ArgumentParser) -> List[str]:
    """The table of a parser, none if it has no arguments."""
    rows = []
    for action in parser._actions:
        if isinstance(action, (argparse._HelpAction, argparse._SubParsersAction)):
            continue
        metavar = action.metavar or ("|".join(map(str, action.choices)) if action.choices else "" if action.nargs == 0 else action.dest.upper())
        value = " ".join(metavar) if isinstance(metavar, tuple) else str(metavar)
        name = " ".join(part for part in (", ".join(action.option_strings), value) if part)
        needed = " (required)" if action.required and action.option_strings else ""
        text = (action.help or "") % dict(vars(action), prog=parser.prog)
        cells = [cell.replace("|", "\\|") for cell in (f"`{name}`{needed}", text)]
        rows.append("| " + " | ".join(cells) + " |")
    return ["| argument | |", "|---|---|", *rows, ""] if rows else []


def commands() -> str:
    """The page of the commands."""
    cli = importlib.import_module("tfleet.cli")
    lines = ["# The command tfleet", "", f"This page is {SIGN} the commands' parsers; `tfleet COMMAND --help` shows the same. Every command but `serve` "
             "takes `--json`: one JSON object on stdout and nothing else.", "", "| command | |", "|---|---|"]  # fmt: skip
    lines += [f"| [`tfleet {name}`](#tfleet-{name}) | {text} |" for name, text in cli.COMMANDS.items()] + [""]
    for name in cli.COMMANDS:
        lines += [f"## tfleet {name}", ""]
        if name == "serve":
            flags = importlib.import_module("tfleet.server.flags").FLAGS
            lines += ["TensorFlow Serving's flags, always as `--name=value`, and [our own](../model-server.md#flags-of-our-own).", "", "| flag | type | |",
                      "|---|---|---|", *(f"| `--{flag.name}` | {flag.kind} | {flag.help} |" for flag in flags), ""]  # fmt: skip
            continue
        command = importlib.import_module("tfleet.cli." + name)
        parser = argparse.ArgumentParser(prog="tfleet " + name)
        command.add_arguments(parser)
        lines += [command.HELP, "", *table(parser)]
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for word, part in action.choices.items():
                    lines += [f"`tfleet {name} {word}`", "", *table(part)]
    return "\n".join(lines)


# ---- filters ----
class Indented(yaml.SafeDumper):
    """YAML as yamllint wants it: members of lists stand to the right of their key."""

    def increase_indent(self, flow: bool = False, *_: Any, **__: Any) -> Any:
        return super().increase_indent(flow, False)


def filters() -> Dict[pathlib.Path, str]:
    """The documentation of every filter, beside its plugin, where Ansible looks for it."""
    pages = {}
    for path in sorted((ROOT / "plugins/filter").glob("*.py")):
        plugin = importlib.import_module(f"ansible_collections.tfleet.serving.plugins.filter.{path.stem}")
        for name, function in plugin.FilterModule().filters().items():
            text = yaml.dump(filter_page(name, function), Dumper=Indented, sort_keys=False, width=120, allow_unicode=True)
            pages[path.with_name(f"{name}.yml")] = f"---\n# Written by tools/references.py from the docstring of the function.\n{text}"
    return pages


def filter_page(name: str, function: Any) -> Dict[str, Any]:
    """What ansible-doc shows of a filter."""
    summary, described, returned = docstring(function)
    options: Dict[str, Any] = {}
    parameters = list(inspect.signature(function).parameters.values())
    for place, parameter in enumerate(parameters):
        option: Dict[str, Any] = {"description": described.get(parameter.name, "See the description."), "type": "raw"}
        if parameter.default is inspect.Parameter.empty:
            option["required"] = True
        options[parameter.name if place else "_input"] = option
    rest = [parameter.name for parameter in parameters[1:]]
    call = f"tfleet.serving.{name}" + (f"({', '.join(rest)})" if rest else "")
    return {
        "DOCUMENTATION": {
            "name": name, "short_description": summary[0].rstrip(".:"), "version_added": "0.1.0", "author": "tfleet contributors (@tfleet)",
            "description": [*summary, "A part of tfleet's own roles and playbooks; it changes with them."],
            **({"positional": rest} if rest else {}), "options": options,
        },
        "EXAMPLES": f"result: \"{{{{ {parameters[0].name} | {call} }}}}\"\n",
        "RETURN": {"_value": {"description": returned, "type": "raw"}},
    }  # fmt: skip


def docstring(function: Any) -> Any:
    """(paragraphs, {parameter: text}, what is returned) of a docstring."""
    text = re.sub(r":\w+:`([^`]+)`", r"C(\1)", inspect.getdoc(function) or "").replace("``", "`")
    text = re.sub(r"`([^`]+)`", r"C(\1)", text)
    fields = re.split(r"^:(param \w+|returns|raises \w+):", text, flags=re.MULTILINE)
    summary = [one(paragraph) for paragraph in fields[0].split("\n\n") if paragraph.strip()]
    described: Dict[str, str] = {}
    returned = summary[0]
    for field, content in zip(fields[1::2], fields[2::2]):
        text, _, more = content.partition("\n\n")
        summary += [one(more)] if more.strip() else []
        if field == "returns":
            returned = one(text)
        elif field.startswith("raises"):
            summary.append("Fails with " + one(text))
        else:
            described[field.split()[1]] = one(text)
    return summary, described, returned


def one(text: str) -> str:
    """A text on one line."""
    return re.sub(r"\s+", " ", text).strip()


def main() -> int:
    """Write or check every page; return the exit code."""
    reference = ROOT / "docs/reference"
    pages = {reference / "modules.md": modules(), reference / "roles.md": roles(), reference / "commands.md": commands(), **filters()}
    left = {path for path in (ROOT / "plugins/filter").glob("*.yml") if path not in pages}
    stale = sorted([path for path, text in pages.items() if not path.exists() or path.read_text(encoding="utf-8") != text] + list(left))
    names = ", ".join(str(path.relative_to(ROOT)) for path in stale)
    if "--check" in sys.argv[1:]:
        print(f"not up to date, run tools/references.py: {names}" if stale else "", end="\n" if stale else "")
        return int(bool(stale))
    reference.mkdir(exist_ok=True)
    for path in stale:
        if path in left:
            path.unlink()
        else:
            path.write_text(pages[path], encoding="utf-8")
    if stale:
        print(f"written: {names}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
