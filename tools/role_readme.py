#!/usr/bin/env python3
"""Write each role's README.md from its meta/argument_specs.yml, so that the two cannot say different things.

Usage: tools/role_readme.py [--check]   (--check writes nothing and exits 1 if a README is not up to date)
"""
import pathlib
import re
import sys

import yaml

# A default that depends on the host, of a type that no sentence has: Ansible's documentation refuses it under the key `default`.
COMPUTED = re.compile(r" By default ([^.]+\.)$")
ROLES = pathlib.Path(__file__).resolve().parent.parent / "roles"


def render(role: str, specs: dict) -> str:
    """Return the README of one role as Markdown."""
    lines = [f"# tfleet.serving.{role}", ""]
    for entry, spec in sorted(specs.items(), key=lambda pair: (pair[0] != "main", pair[0])):
        if entry != "main":
            lines += [f"## tasks_from: {entry}", ""]
        lines += [spec["short_description"] + ".", ""]
        lines += [_markdown(line) for line in spec.get("description", [])] + [""]
        options = spec.get("options", {})
        if options:
            lines += ["| variable | type | default | meaning |", "|---|---|---|---|"]
        for name, option in options.items():
            choices = " One of " + ", ".join(f"`{choice}`" for choice in option["choices"]) + "." if "choices" in option else ""
            description, computed = option["description"], COMPUTED.search(option["description"])
            default = option.get("default", "")
            shown = f"`{default}`" if "default" in option and not str(default).endswith(".") else str(default)
            if computed:
                description, shown = description[:computed.start()], _markdown(computed.group(1))
            lines.append(f"| `{name}` | {option['type']} | {shown} | {_markdown(description)}{choices} |")
        lines.append("")
    lines += ["This page is written by `tools/role_readme.py` from `meta/argument_specs.yml`.", ""]
    return "\n".join(lines)


def _markdown(text: str) -> str:
    # Ansible's C(...) is Markdown's code.
    while "C(" in text:
        before, rest = text.split("C(", 1)
        depth, end = 1, 0
        while depth:
            depth += {"(": 1, ")": -1}.get(rest[end], 0)
            end += 1
        text = f"{before}`{rest[:end - 1]}`{rest[end:]}"
    return text.strip()


def main() -> int:
    """Write or check every README; return the exit code."""
    check, stale = "--check" in sys.argv[1:], []
    for path in sorted(ROLES.glob("*/meta/argument_specs.yml")):
        role = path.parent.parent
        text = render(role.name, yaml.safe_load(path.read_text())["argument_specs"])
        readme = role / "README.md"
        if readme.exists() and readme.read_text() == text:
            continue
        stale.append(str(readme.relative_to(ROLES.parent)))
        if not check:
            readme.write_text(text)
    if stale:
        print(("not up to date, run tools/role_readme.py: " if check else "written: ") + ", ".join(stale))
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
