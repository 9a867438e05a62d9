"""The image for ansible-runner and AWX: ansible-builder accepts its definition, and what it copies and pins is what a checkout has."""

import pathlib
import re
import subprocess

import pytest
import yaml

CHECKOUT = pathlib.Path(__file__).parents[3]
DEFINITION = CHECKOUT / "meta/execution-environment.yml"


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    """The build context that ansible-builder makes; it checks the definition against its schema. The image itself needs a registry."""
    place = tmp_path_factory.mktemp("execution-environment")
    done = subprocess.run(["ansible-builder", "create", "--file", str(DEFINITION), "--context", str(place), "--output-filename", "Containerfile"],
                          cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return place


def test_all_that_the_image_copies_is_in_the_context(context):
    copied = re.findall(r"^COPY (_build\S*) ", (context / "Containerfile").read_text(), re.MULTILINE)
    assert "_build/controller" in copied
    assert all((context / source).exists() for source in copied)
    build = context / "_build"
    for name in ("requirements.txt", "runtime/requirements.txt", "runtime/requirements-gateway.txt", "runtime/setup.cfg", "runtime/src/tfleet/cli/__init__.py"):
        source = CHECKOUT / name
        assert (build / "controller" / name).read_bytes() == source.read_bytes()
    assert yaml.safe_load((build / "requirements.yml").read_text()) == yaml.safe_load((CHECKOUT / "requirements.yml").read_text())


@pytest.mark.parametrize("package, pins", [("ansible_core", "requirements.txt"), ("ansible_runner", "requirements-test.txt")])
def test_its_ansible_is_the_one_that_is_tested(package, pins):
    assert yaml.safe_load(DEFINITION.read_text())["dependencies"][package]["package_pip"] in (CHECKOUT / pins).read_text().splitlines()
