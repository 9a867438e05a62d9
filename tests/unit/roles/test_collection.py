"""The checkout is a collection: it builds, installs somewhere else, and its parts work there by their full names."""

import json
import os
import pathlib
import subprocess
import tarfile

import pytest
import yaml

CHECKOUT = pathlib.Path(__file__).parents[3]
PLAYBOOKS = sorted(path.stem for path in (CHECKOUT / "playbooks").glob("*.yml"))
ROLES = sorted(path.parents[1].name for path in (CHECKOUT / "roles").glob("*/meta/argument_specs.yml"))
MODULES = sorted(path.stem for path in (CHECKOUT / "plugins/modules").glob("*.py") if path.stem != "__init__")


def run(*argv, cwd, **environment):
    environment = {**os.environ, **environment}
    done = subprocess.run(argv, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def tarball(tmp_path_factory):
    """The collection as it is published, built from the checkout with whatever lies around in it."""
    place = tmp_path_factory.mktemp("tarball")
    run("ansible-galaxy", "collection", "build", "--output-path", str(place), cwd=CHECKOUT)
    return next(place.glob("tfleet-serving-*.tar.gz"))


@pytest.fixture(scope="session")
def installed(tarball, tmp_path_factory):
    """Environment variables of a place where only the installed collection is known."""
    place = tmp_path_factory.mktemp("installed")
    environment = {
        "ANSIBLE_CONFIG": str(place / "ansible.cfg"),
        "ANSIBLE_HOME": str(place / "home"),
        "ANSIBLE_COLLECTIONS_PATH": str(place / "collections"),
        "ANSIBLE_LOCALHOST_WARNING": "false",
    }
    (place / "ansible.cfg").touch()
    run("ansible-galaxy", "collection", "install", str(tarball), "--offline", cwd=place, **environment)
    return place, environment


def test_the_tarball_holds_only_what_belongs_to_the_collection(tarball):
    with tarfile.open(tarball) as archive:
        packed = {member.name for member in archive.getmembers() if not member.isdir()}
    tops = {name.split("/")[0] for name in packed}
    assert tops <= {
        "CHANGELOG.md", "CONTRIBUTING.md", "FILES.json", "LICENSE", "MANIFEST.json", "README.md", "SECURITY.md", "changelogs", "data", "docs", "images",
        "inventories", "meta", "playbooks", "plugins", "requirements.yml", "roles", "runtime", "templates",
    }  # fmt: skip
    known = run("git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=CHECKOUT).splitlines()
    assert packed - set(known) == {"FILES.json", "MANIFEST.json"}


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_playbook_of_the_installed_collection_is_found_by_its_full_name(installed, playbook):
    place, environment = installed
    inventory = str(CHECKOUT / "inventories/example")
    run("ansible-playbook", "--syntax-check", "-i", inventory, f"tfleet.serving.{playbook}", cwd=place, **environment)


@pytest.fixture(scope="session")
def documentation(installed):
    place, environment = installed
    return json.loads(run("ansible-doc", "--json", *(f"tfleet.serving.{name}" for name in MODULES), cwd=place, **environment))


@pytest.mark.parametrize("module", MODULES)
def test_module_documents_itself_with_three_examples(documentation, module):
    page = documentation[f"tfleet.serving.{module}"]
    tasks = yaml.safe_load(page["examples"])
    assert len([task for task in tasks if f"tfleet.serving.{module}" in task]) >= 3
    assert page["return"]


@pytest.mark.parametrize("module", MODULES)
def test_module_supports_check_and_diff_mode(documentation, module):
    attributes = documentation[f"tfleet.serving.{module}"]["doc"]["attributes"]
    assert attributes["check_mode"]["support"] == "full"
    assert attributes["diff_mode"]["support"] in ("full", "none")


@pytest.mark.parametrize("module", MODULES)
def test_module_page_renders(installed, module):
    place, environment = installed
    assert module.upper() in run("ansible-doc", f"tfleet.serving.{module}", cwd=place, **environment).upper()


def test_every_role_documents_its_entry_points(installed):
    place, environment = installed
    pages = json.loads(run("ansible-doc", "--type", "role", "--json", *(f"tfleet.serving.{name}" for name in ROLES), cwd=place, **environment))
    assert sorted(pages) == [f"tfleet.serving.{name}" for name in ROLES]
    for page in pages.values():
        assert page["entry_points"]["main"]["short_description"]


def test_every_filter_documents_itself(installed):
    place, environment = installed
    named = sorted(json.loads(run("ansible-doc", "--type", "filter", "--list", "--json", "tfleet.serving", cwd=place, **environment)))
    pages = json.loads(run("ansible-doc", "--type", "filter", "--json", *named, cwd=place, **environment))
    assert len(named) > 40 and sorted(pages) == named
    for name, page in pages.items():
        assert page["doc"]["description"] and page["return"]["_value"]["description"] and name in page["examples"]
