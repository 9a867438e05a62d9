"""apt_packages with the real apt and dpkg, in a root directory of their own, on a repository of small real packages."""

import json
import os
import shutil
import subprocess

import pytest
from ansible_collections.tfleet.serving.plugins.module_utils import apt as rules
from ansible_collections.tfleet.serving.tests.apt_repository import build_package, index

pytestmark = pytest.mark.skipif(not shutil.which("apt-get"), reason="needs apt, so Debian or Ubuntu")

ENGINE = {"docker-ce": "27.5.1", "docker-ce-cli": "27.5.1", "containerd.io": ""}
SUFFIX = "~debian.12~bookworm"


@pytest.fixture(scope="session")
def repository(tmp_path_factory):
    place = tmp_path_factory.mktemp("repository")
    for version in ("27.5.1", "28.0.1"):
        whole = "5:%s-1%s" % (version, SUFFIX)
        build_package(place, "docker-ce", whole, depends="containerd.io (>= 1.4), docker-ce-cli, libslirp")
        build_package(place, "docker-ce-cli", whole)
    build_package(place, "containerd.io", "1.7.27-1", fields={"Conflicts": "containerd"})
    build_package(place, "libslirp", "4.7.0-1")
    build_package(place, "docker-compose", "1.29.2-3", depends="docker-ce")
    build_package(place, "containerd", "1.6.20~ds1-1")
    build_package(place, "leftover", "1")
    build_package(place, "docker.io", "20.10.24", files={"/etc/default/docker": "# none\n"}, scripts={"conffiles": "/etc/default/docker\n"})
    index(place)
    return place


class Root:
    """A root directory with its own dpkg database and apt configuration."""

    def __init__(self, place, repository):
        self.place = place
        for name in ("dpkg/updates", "dpkg/info", "dpkg/triggers", "lists/partial", "archives/partial", "etc/preferences.d", "etc/apt.conf.d", "root/var/lib"):
            (place / name).mkdir(parents=True)
        (place / "dpkg/status").touch()
        (place / "dpkg/available").touch()
        (place / "root/var/lib/dpkg").symlink_to(place / "dpkg")
        self.source(repository)
        (place / "apt.conf").write_text(f"""
Dir::State "{place}"; Dir::State::lists "{place}/lists"; Dir::State::status "{place}/dpkg/status"; Dir::State::extended_states "{place}/extended";
Dir::Cache "{place}"; Dir::Cache::archives "{place}/archives"; Dir::Etc "{place}/etc"; Dir::Etc::sourcelist "{place}/sources.list";
Dir::Etc::sourceparts "-"; Dir::Etc::parts "{place}/etc/apt.conf.d"; Dir::Log "{place}"; Debug::NoLocking "true"; APT::Architecture "amd64";
APT::Sandbox::User "root"; Acquire::Languages "none"; Acquire::Retries "0"; Dir::Bin::dpkg "{place}/dpkg.sh";
""")
        # Without maintainer scripts nothing has to run inside the root, so no rights are needed.
        script = place / "dpkg.sh"
        script.write_text(f'#!/bin/sh\nexec dpkg --root={place}/root --force-not-root,bad-path --log=/dev/null "$@"\n')
        script.chmod(0o755)
        self.environment = {"APT_CONFIG": str(place / "apt.conf"), "DPKG_ADMINDIR": str(place / "dpkg")}

    def source(self, address):
        (self.place / "sources.list").write_text(f"deb [trusted=yes] {address if ':' in str(address) else f'copy:{address}'} ./\n")

    def run(self, *argv):
        return subprocess.run(argv, env={**os.environ, **self.environment}, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout

    def installed(self):
        lines = self.run("dpkg-query", "--show", "--showformat=${Package} ${Version} ${db:Status-Want}\\n").splitlines()
        return {line.split()[0]: (line.split()[1], line.split()[2]) for line in lines}


@pytest.fixture
def root(tmp_path, repository, monkeypatch):
    root = Root(tmp_path / "root", repository)
    for name, value in root.environment.items():
        monkeypatch.setenv(name, value)
    return root


@pytest.fixture
def packages(run_module, root):
    def run(packages=None, **more):
        return run_module("apt_packages", set_by="docker_engine", packages=packages or {}, record_directory=str(root.place / "record"), **more)

    return run


def test_a_pinned_engine_comes_with_its_dependencies_is_held_and_goes_with_them(packages, root):
    checked = packages(ENGINE, hold=True, check=True)
    assert checked["changed"] and checked["versions"] == dict.fromkeys(ENGINE)
    assert "docker-ce (once its package list is fetched)" in checked["diff"]["after"].splitlines()
    result = packages(ENGINE, hold=True)
    assert result["changed"]
    assert result["versions"]["docker-ce"] == "5:27.5.1-1" + SUFFIX
    assert root.installed() == {
        "docker-ce": ("5:27.5.1-1" + SUFFIX, "hold"), "docker-ce-cli": ("5:27.5.1-1" + SUFFIX, "hold"), "containerd.io": ("1.7.27-1", "hold"),
        "libslirp": ("4.7.0-1", "install")}
    assert not packages(ENGINE, hold=True, check=True)["changed"]
    assert not packages(ENGINE, hold=True)["changed"]
    assert packages(state="absent", check=True)["diff"]["before"].splitlines() == [
        "containerd.io 1.7.27-1", "docker-ce 5:27.5.1-1" + SUFFIX, "docker-ce-cli 5:27.5.1-1" + SUFFIX, "libslirp 4.7.0-1"]
    assert packages(state="absent")["changed"]
    assert root.installed() == {}
    assert not (root.place / "record").exists()
    assert not packages(state="absent")["changed"]


def test_the_check_knows_what_would_come_once_the_lists_are_there(packages, root):
    root.run("apt-get", "update")
    result = packages(ENGINE, check=True)
    assert "libslirp 4.7.0-1" in result["diff"]["after"].splitlines()
    assert root.installed() == {}


def test_what_was_there_before_stays(packages, root):
    root.run("apt-get", "update")
    root.run("apt-get", "install", "--yes", "libslirp", "docker-ce-cli=5:27.5.1-1" + SUFFIX)
    packages(ENGINE, hold=True)
    packages(state="absent")
    assert root.installed() == {"libslirp": ("4.7.0-1", "install"), "docker-ce-cli": ("5:27.5.1-1" + SUFFIX, "install")}


def test_our_own_hold_is_no_obstacle_to_a_newer_version(packages, root):
    packages(ENGINE, hold=True)
    result = packages({"docker-ce": "28.0.1", "docker-ce-cli": "28.0.1", "containerd.io": ""}, hold=True)
    assert result["diff"]["before"].splitlines() == ["docker-ce 5:27.5.1-1" + SUFFIX, "docker-ce-cli 5:27.5.1-1" + SUFFIX]
    assert root.installed()["docker-ce"] == ("5:28.0.1-1" + SUFFIX, "hold")
    assert packages(dict.fromkeys(ENGINE, ""))["changed"], "without hold they are let go"
    assert root.installed()["docker-ce"] == ("5:28.0.1-1" + SUFFIX, "install")


def test_somebody_elses_hold_is_refused(packages, root):
    root.run("apt-get", "update")
    root.run("apt-get", "install", "--yes", "docker-ce-cli=5:27.5.1-1" + SUFFIX)
    root.run("apt-mark", "hold", "docker-ce-cli")
    result = packages({"docker-ce-cli": "28.0.1"})
    assert "docker-ce-cli is held at 5:27.5.1-1" in result["msg"] and "apt-mark unhold docker-ce-cli" in result["msg"]
    assert not packages({"docker-ce-cli": "27.5.1"}, hold=True)["changed"]
    assert packages(state="absent")["changed"] is False
    assert root.installed()["docker-ce-cli"][1] == "hold"


def test_a_newer_version_is_refused(packages, root):
    packages({"docker-ce": "28.0.1"})
    result = packages(ENGINE, check=True)
    assert "docker-ce is installed at 5:28.0.1-1%s, which is newer than the 5:27.5.1-1" % SUFFIX in result["msg"]


def test_an_installation_that_removes_something_is_refused(packages, root):
    root.run("apt-get", "update")
    root.run("apt-get", "install", "--yes", "containerd")
    result = packages(ENGINE)
    assert "Installing containerd.io and docker-ce and docker-ce-cli would remove containerd." in result["msg"]
    assert set(root.installed()) == {"containerd"}


def test_a_removal_that_takes_somebody_elses_package_along_is_refused(packages, root):
    packages(ENGINE)
    root.run("apt-get", "install", "--yes", "docker-compose", "leftover")
    result = packages(state="absent")
    assert "docker-compose needs it, and somebody else installed that" in result["msg"]
    root.run("apt-get", "purge", "--yes", "docker-compose")
    packages(state="absent")
    assert set(root.installed()) == {"leftover"}


@pytest.mark.parametrize("killed", [False, True])
def test_a_purge_that_would_delete_data_finds_its_script_gone(packages, root, killed):
    data, script = root.place / "data", root.place / "data/nuke"
    data.mkdir()
    (data / "volume").touch()
    # As docker.io's prerm and postrm do it.
    dpkg = root.place / "dpkg.sh"
    dpkg.write_text(dpkg.read_text().replace("exec ", f"""
case "$*" in *--remove*) touch {script} ;; *--purge*) if [ -e {script} ]; then rm -r {data}; fi ;; esac
exec """))
    packages({"docker.io": ""})
    if killed:
        root.run("apt-get", "remove", "--yes", "docker.io")
    assert packages(state="absent", delete_before_purge=[str(script)])["changed"]
    assert [path.name for path in data.iterdir()] == ["volume"]
    assert root.installed() == {}


@pytest.mark.parametrize(("wanted", "said"), [
    ({"docker-ce": "26.0.0"}, "docker-ce 26.0.0 is in no package list; there are 5:28.0.1-1~debian.12~bookworm, 5:27.5.1-1~debian.12~bookworm."),
    ({"nvidia-container-toolkit": ""}, "No package list of this host knows nvidia-container-toolkit. Is the repository"),
])
def test_what_no_list_knows_is_said(packages, wanted, said):
    result = packages(wanted)
    assert said in result["msg"]
    assert result["unknown"] == list(wanted)


def test_a_repository_that_cannot_be_reached_is_said(packages, root):
    root.source("http://127.0.0.1:9/debian")
    result = packages(ENGINE)
    assert "could not all be fetched" in result["msg"] and "127.0.0.1:9" in result["msg"]
    assert "does the host reach it" in result["msg"]


def test_somebody_elses_unreachable_repository_is_only_a_warning(packages, root):
    with (root.place / "sources.list").open("a") as stream:
        stream.write("deb [trusted=yes] http://127.0.0.1:9/debian ./\n")
    result = packages(ENGINE)
    assert result["changed"] and "127.0.0.1:9" in str(result["warnings"])


def test_a_killed_run_is_finished(packages, root):
    packages({"docker-ce-cli": "27.5.1"})
    status = root.place / "dpkg/status"
    status.write_text(status.read_text().replace("install ok installed", "install ok unpacked"))
    assert packages({"docker-ce-cli": "27.5.1"}, check=True)["changed"]
    assert packages({"docker-ce-cli": "27.5.1"})["changed"]
    assert "install ok installed" in status.read_text()
    assert not packages({"docker-ce-cli": "27.5.1"})["changed"]


def test_a_record_that_cannot_be_read_is_said(packages, root):
    (root.place / "record").mkdir()
    (root.place / "record/docker_engine.json").write_text("{")
    assert "docker_engine.json cannot be read" in packages(ENGINE)["msg"]


@pytest.mark.parametrize(("version", "upstream"), [
    ("5:27.5.1-1~ubuntu.22.04~jammy", "27.5.1"), ("20.10.24+dfsg1-1+deb12u1+b2", "20.10.24+dfsg1"), ("1.20.0-1", "1.20.0"),
    ("0.10.0+jetpack", "0.10.0+jetpack"),
])
def test_upstream_version(version, upstream):
    assert rules.upstream(version) == upstream


def test_the_lock_of_somebody_else_is_waited_for(monkeypatch):
    answers = [(100, "", "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 1 (unattended-upgr)"), (0, "", "")]
    monkeypatch.setattr(rules.time, "sleep", lambda seconds: None)
    apt = rules.Apt(lambda argv, environ_update: answers.pop(0))
    apt.purge(["docker-ce"])
    assert answers == []


def test_the_record_is_readable_json(packages, root):
    packages(ENGINE, hold=True)
    record = json.loads((root.place / "record/docker_engine.json").read_text())
    assert record == {"packages": sorted(ENGINE), "along": ["libslirp"], "before": {}, "held": sorted(ENGINE)}
