"""The workflows on GitHub run targets of the Makefile, with no more rights than they need; and a release has one version."""

import pathlib
import re
import subprocess

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


def test_the_suites_find_what_they_call_here_and_on_github():
    steps = [step.get("run", "") for step in yaml.safe_load((CHECKOUT / ".github/workflows/ci.yml").read_text())["jobs"]["test"]["steps"]]
    assert steps.index("sudo --preserve-env=PATH .ci/packages") < steps.index("make test")
    text = (CHECKOUT / ".ci/run").read_text()
    assert 0 < text.index("\n.ci/packages || exit 1\n") < text.index("make --no-print-directory test")


@pytest.mark.parametrize("there", [("chromium",), ("google-chrome", "zstd", "gpg")])
def test_what_is_there_is_not_installed(tmp_path, there):
    for name in ("apt-get", *there):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run([CHECKOUT / ".ci/packages"], env={"PATH": str(tmp_path), "HOME": str(tmp_path)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False)
    named = set(done.stdout.replace(",", "").split())
    assert {"strace", "faketime", "prometheus"} <= named, done.stdout
    assert not named & {"chromium", *there} and ("gnupg" in named) == ("gpg" not in there), done.stdout


def test_the_hooks_of_pre_commit_call_targets_too():
    hooks = [hook for repository in yaml.safe_load((CHECKOUT / ".pre-commit-config.yaml").read_text())["repos"] for hook in repository["hooks"]]
    assert hooks and {hook["entry"] for hook in hooks} <= {f"make {target}" for target in TARGETS}


def test_the_collection_and_the_package_have_the_same_version():
    package = re.search(r'__version__ = "(.+)"', (CHECKOUT / "runtime/src/tfleet/__init__.py").read_text())
    assert package.group(1) == yaml.safe_load((CHECKOUT / "galaxy.yml").read_text())["version"]
