"""The guides name variables, playbooks, files and pages that exist."""

import pathlib
import re

import pytest
import yaml

CHECKOUT = pathlib.Path(__file__).parents[3]
GUIDES = sorted([*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/*.md"), CHECKOUT / "models/README.md"])
ROLES = sorted(path.name for path in (CHECKOUT / "roles").iterdir() if path.is_dir())
# What stands on the command line of a playbook; the comments above the playbook say so.
OPTIONS = set(re.findall(r"^# -e (\w+)", "\n".join(path.read_text() for path in (CHECKOUT / "playbooks").glob("*.yml")), re.MULTILINE))


DECLARED = {name for path in (CHECKOUT / "roles").glob("*/meta/argument_specs.yml") for entry in yaml.safe_load(path.read_text())["argument_specs"].values()
            for name in entry.get("options", {})}  # fmt: skip


@pytest.fixture(params=GUIDES, ids=lambda path: path.relative_to(CHECKOUT).with_suffix("").as_posix())
def guide(request):
    return request.param


def settings():
    """Every name that tfleet reads, sets or tells: options of roles, what playbooks take, metrics."""
    text = (CHECKOUT / "inventories/example/group_vars/all.yml").read_text()
    metrics = [*CHECKOUT.glob("plugins/module_utils/*.py"), *CHECKOUT.glob("runtime/src/tfleet/gateway/*.py"), *CHECKOUT.glob("roles/monitoring/files/*/*")]
    told = [name for path in metrics for name in re.findall(r"\btfleet_\w+", path.read_text())]
    return {*DECLARED, *OPTIONS, *told, *re.findall(r"\b[a-z]+(?:_[a-z0-9]+)+\b", text)}


def test_every_variable_that_is_named_exists(guide):
    code = " ".join(re.findall(r"```.*?```|`[^`\n]+`", guide.read_text(), re.DOTALL))
    named = {name for name in re.findall(r"(?<![\w/.-])([a-z]+(?:_[a-z0-9]+)+)(?![\w/.(-])", code)
             if name.startswith((*(f"{role}_" for role in ROLES), "tfleet_", "rollout_", "rollback_"))}  # fmt: skip
    facts = {"tfleet_device", "tfleet_tensorflow_metadata"}
    assert named - settings() - facts == set()


def test_every_playbook_that_is_named_exists(guide):
    named = set(re.findall(r"playbooks/([a-z_]+\.yml)", guide.read_text()))
    assert {name for name in named if not (CHECKOUT / "playbooks" / name).exists()} == set()


def test_every_link_leads_somewhere(guide):
    for target in re.findall(r"\]\(([^)\s]+)\)", guide.read_text()):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        page = (guide.parent / name).resolve() if name else guide
        assert page.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).replace(" ", "-") for heading in headings}, target


def test_every_variable_of_the_migration_page_can_be_declared():
    # There each one is something to write into an inventory, so it has to be an option of a role.
    page = (CHECKOUT / "docs/migration.md").read_text()
    named = {name for name in re.findall(r"`([a-z]+(?:_[a-z0-9]+)+)[:`]", page) if name.startswith(tuple(ROLES) + ("tfleet_",))}
    assert len(named) > 35 and named - DECLARED == set()


def test_every_page_is_in_the_index():
    index = (CHECKOUT / "docs/README.md").read_text()
    pages = {path.relative_to(CHECKOUT / "docs").as_posix() for path in (*CHECKOUT.glob("docs/*.md"), *CHECKOUT.glob("docs/reference/*.md"))}
    assert {page for page in pages - {"README.md"} if f"({page})" not in index} == set()


def test_the_variables_of_yaml_blocks_are_read_by_somebody(guide):
    for block in re.findall(r"^```yaml\n(.*?)^```", guide.read_text(), re.DOTALL | re.MULTILINE):
        content = yaml.safe_load(re.sub(r"{{.*?}}", "x", block))
        if isinstance(content, dict):
            own = {name for name in content if str(name).startswith((*(f"{role}_" for role in ROLES), "tfleet_", "rollout_"))}
            assert own - settings() == set()


TROUBLE = (CHECKOUT / "docs/troubleshooting.md").read_text()


def quoted(section):
    """The texts in the first column of a section's tables."""
    rows = re.search(rf"^## {section}\n(.*?)(?=^## |\Z)", TROUBLE, re.DOTALL | re.MULTILINE).group(1).splitlines()
    return [text for row in rows if row.startswith("| ") for text in re.findall(r"`([^`]+)`", row.split(" | ")[0])]


SOURCES = [path.read_text() for folder in ("plugins", "runtime/src", "roles", "tools", "playbooks", "tests/conformance")
           for path in sorted((CHECKOUT / folder).rglob("*"))
           if path.suffix in (".py", ".yml") or (path.parent.name == "tools" and path.is_file())]  # fmt: skip
# The pieces of a message that is written over several lines, put together; what is filled in stands for anything.
MESSAGES = re.sub(r'"\s*\n\s*[rf]?"', "", "\n".join(SOURCES))
MESSAGES = re.sub(r"\s+", " ", re.sub(r'\\"', '"', MESSAGES))


@pytest.mark.parametrize("text", quoted("What tfleet says") + quoted("What the gateway and the monitoring say") + quoted("What a model server says"))
def test_a_message_of_ours_that_the_page_explains_is_one_that_we_print(text):
    pieces = [re.sub(r"\s+", " ", piece).strip() for piece in re.split(r"…|NAME, V|NAME", text)]
    assert [piece for piece in pieces if len(piece) > 3 and piece not in MESSAGES] == []


def test_every_known_failure_of_containers_is_on_the_page():
    failures = yaml.safe_load((CHECKOUT / "data/docker.yml").read_text())["failures"]
    said = {failure["says"] for failure in failures if failure["says"]}
    assert said and {text for text in said if not re.search(text, TROUBLE)} == set()
