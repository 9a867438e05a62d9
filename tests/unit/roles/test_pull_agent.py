"""A device that updates itself: its pins, its unit, and which commits it runs."""

import os
import pathlib
import shlex
import subprocess

import jinja2
import pytest
import yaml

CHECKOUT = pathlib.Path(__file__).parents[3]


def pins(name):
    return {line for line in (CHECKOUT / name).read_text().splitlines() if "==" in line and not line.startswith("#")}


def test_its_pins_are_those_of_a_checkout():
    own = pins("roles/pull_agent/files/requirements.txt")
    assert any(line.startswith("ansible-core==") for line in own)
    assert own <= pins("requirements.txt") | pins("runtime/requirements.txt")


@pytest.fixture
def rendered():
    """``rendered(name, **variables)`` returns a template as the role writes it."""
    role = CHECKOUT / "roles/pull_agent"
    templates = jinja2.Environment(loader=jinja2.FileSystemLoader(role / "templates"), trim_blocks=True, keep_trailing_newline=True)
    templates.filters.update(comment="# {}".format, quote=shlex.quote)
    known = {**yaml.safe_load((role / "defaults/main.yml").read_text()), **yaml.safe_load((role / "vars/main.yml").read_text())}
    return lambda name, **variables: templates.get_template(name).render({**known, **variables})


@pytest.fixture
def written(rendered):
    """``written(environment)`` returns the unit and the file with its environment."""
    return lambda environment: [rendered(name, pull_agent_environment=environment) for name in ("tfleet-pull.service.j2", "environment.j2")]


def test_the_unit_that_everybody_reads_holds_no_password(written):
    unit, environment = written({"https_proxy": "http://user:secret@proxy:3128"})
    assert "secret" not in unit
    assert "\nEnvironmentFile=/etc/tfleet-pull/environment\n" in unit
    assert environment == 'https_proxy="http://user:secret@proxy:3128"\n'


def test_it_waits_for_the_time_where_the_device_does(rendered):
    (after,) = [line for line in rendered("tfleet-pull.service.j2").splitlines() if line.startswith("After=")]
    assert {"network-online.target", "time-sync.target"} <= set(after[len("After="):].split())


def test_only_root_reads_its_environment_and_no_output_shows_it():
    block = yaml.safe_load((CHECKOUT / "roles/pull_agent/tasks/timer.yml").read_text())[0]["block"]
    (task,) = [task for task in block if task.get("ansible.builtin.template", {}).get("src") == "environment.j2"]
    assert task["ansible.builtin.template"]["mode"] == "0600"
    assert task["no_log"] is True


def test_values_of_the_environment_are_quoted(written):
    # A shell reads double quotes as systemd does here.
    value = 'a "b" \\ %h \'c\' #d'
    _unit, environment = written({"NAME": value})
    assert subprocess.run(["sh", "-c", environment + 'printf %s "$NAME"'], stdout=subprocess.PIPE, text=True, check=True).stdout == value


# ---- which commits ----
class Fleet:
    """A repository of signed commits, and a device that fetches from it with the role's own script."""

    def __init__(self, root, rendered):
        self.root, self._rendered = root, rendered
        (root / "keys").mkdir(mode=0o700)
        self._environment = {**os.environ, "GNUPGHOME": str(root / "keys"), "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null",
                             **{f"GIT_{who}_{what}": f"fleet{at}" for who in ("AUTHOR", "COMMITTER") for what, at in (("NAME", ""), ("EMAIL", "@example.org"))}}
        self._do("gpg", "--batch", "--quiet", "--passphrase", "", "--quick-generate-key", "fleet@example.org", "ed25519", "sign")
        self._do("git", "init", "--quiet", "--initial-branch", "main", str(root / "served"))

    def _do(self, *argv, **more):
        return subprocess.run(argv, env=self._environment, check=True, stdout=subprocess.PIPE, text=True, **more).stdout.strip()

    def commit(self, *, signed=True):
        sign = "--gpg-sign=fleet@example.org" if signed else "--no-gpg-sign"
        self._do("git", "commit", "--quiet", "--allow-empty", sign, "--message", "x", cwd=self.root / "served")
        return self._do("git", "rev-parse", "HEAD", cwd=self.root / "served")

    def serve(self, commit):
        self._do("git", "reset", "--quiet", "--hard", commit, cwd=self.root / "served")

    def fetch(self, signers=("key.asc",)):
        """Returns (what the device runs, what it said)."""
        script = self._rendered("fetch.j2", pull_agent_url=str(self.root / "served"), pull_agent_signers=list(signers),
                                __pull_agent_state_dir=str(self.root / "device"), ansible_managed="managed")
        done = subprocess.run(["sh", "-c", script], env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        runs = self._do("git", "rev-parse", "fleet", cwd=self.root / "device/repository")
        assert (done.returncode == 0) == (runs == self._do("git", "rev-parse", "main", cwd=self.root / "served")), done.stdout
        return runs, done.stdout


@pytest.fixture
def fleet(tmp_path, rendered):
    made = Fleet(tmp_path, rendered)
    yield made
    subprocess.run(["gpgconf", "--homedir", str(tmp_path / "keys"), "--kill", "gpg-agent"], check=True)


def test_a_device_runs_what_is_signed_and_comes_after_the_last_it_ran(fleet):
    first, second = fleet.commit(), fleet.commit()
    assert fleet.fetch()[0] == second
    # An older commit is signed too, and what is made from it.
    fleet.serve(first)
    runs, output = fleet.fetch()
    assert runs == second
    assert f"Commit {first} does not come after {second}" in output
    assert "git revert" in output
    fleet.commit()
    assert fleet.fetch()[0] == second
    # One that nobody has signed is not run, and bars no way to the next one.
    fleet.serve(second)
    unsigned = fleet.commit(signed=False)
    runs, output = fleet.fetch()
    assert runs == second
    assert f"Commit {unsigned} is signed by nobody whom this device trusts" in output
    fleet.serve(second)
    third = fleet.commit()
    assert [fleet.fetch()[0], fleet.fetch()[0]] == [third, third]


def test_without_signers_every_commit_of_the_branch_is_run(fleet):
    first, second = fleet.commit(), fleet.commit(signed=False)
    assert fleet.fetch(signers=())[0] == second
    fleet.serve(first)
    assert fleet.fetch(signers=())[0] == first
