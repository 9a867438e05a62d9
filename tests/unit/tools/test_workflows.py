"""The workflows on GitHub run targets of the Makefile, with no more rights than they need; and a release has one version."""

import pathlib
import re

import pytest
import yaml

CHECKOUT = pathlib.Path(__file__).resolve().parents[3]
WORKFLOWS = sorted((CHECKOUT / ".github/workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z][a-z0-9-]*):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.stem)
def workflow(request):
    return yaml.safe_load(request.param.read_text())


def steps_of(workflow):
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_it_calls_targets_that_exist(workflow):
    called = [target for step in steps_of(workflow) for target in re.findall(r"\bmake ([a-z0-9-]+)", step.get("run", ""))]
    assert called and set(called) <= TARGETS


def test_it_may_read_and_nothing_else_unless_a_job_says_so(workflow):
    assert workflow["permissions"] == {"contents": "read"}
    writing = {name: job["permissions"] for name, job in workflow["jobs"].items() if "permissions" in job}
    assert writing in ({}, {"collection": {"contents": "write"}})


def test_every_job_ends(workflow):
    assert all(0 < job["timeout-minutes"] <= 120 for job in workflow["jobs"].values())


def test_actions_are_those_of_github_by_release_and_leave_no_token_behind(workflow):
    for step in steps_of(workflow):
        if "uses" in step:
            assert re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"])
            if step["uses"].startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


def test_the_hooks_of_pre_commit_call_targets_too():
    hooks = [hook for repository in yaml.safe_load((CHECKOUT / ".pre-commit-config.yaml").read_text())["repos"] for hook in repository["hooks"]]
    assert hooks and {hook["entry"] for hook in hooks} <= {f"make {target}" for target in TARGETS}


def test_the_collection_and_the_package_have_the_same_version():
    package = re.search(r'__version__ = "(.+)"', (CHECKOUT / "runtime/src/tfleet/__init__.py").read_text())
    assert package.group(1) == yaml.safe_load((CHECKOUT / "galaxy.yml").read_text())["version"]
