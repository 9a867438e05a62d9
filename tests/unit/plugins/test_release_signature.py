"""Signed releases: real keys of OpenSSH and GPG, and everything that must be refused where a key is configured."""
import json
import os
import shutil
import subprocess
import sys

import pytest
from ansible_collections.tfleet.serving.plugins.module_utils import manifest as manifests
from ansible_collections.tfleet.serving.plugins.module_utils import release_archive, release_index, signature
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.tests.unit.plugins.release_tools import FILES, make_saved_model


def command(*argv, **environment):
    return subprocess.run(argv, env=dict(os.environ, **environment), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True).stdout.decode()


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Two OpenSSH keys and a GPG key: {name: (what signs, the public key's text)}."""
    for name, package in (("ssh-keygen", "openssh-client"), ("gpg", "gpg and gpg-agent"), ("gpgv", "gpgv")):
        if shutil.which(name) is None:
            pytest.fail("These tests sign and verify for real and need %s: apt-get install %s" % (name, package))
    folder = tmp_path_factory.mktemp("keys")
    found = {}
    for name in ("release", "stranger"):
        path = str(folder / name)
        command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", path)
        with open(path + ".pub") as stream:
            found[name] = (path, stream.read())
    home = str(folder / "gpg")
    os.mkdir(home, 0o700)
    before = os.environ.get("GNUPGHOME")
    os.environ["GNUPGHOME"] = home
    command("gpg", "--batch", "--passphrase", "", "--quick-generate-key", "release@example.net", "ed25519", "sign", "never")
    found["gpg"] = ("gpg:release@example.net", command("gpg", "--batch", "--armor", "--export", "release@example.net"))
    yield found
    command("gpgconf", "--kill", "all")
    os.environ.pop("GNUPGHOME")
    if before is not None:
        os.environ["GNUPGHOME"] = before


@pytest.fixture
def release(run_module, tmp_path):
    """``release(version, *keys)`` builds a release, signed by these keys, and returns its archive."""
    def build(version, *signing, **more):
        src = make_saved_model(tmp_path / ("model-%d" % version), dict(FILES, **{"saved_model.pb": b"graph %d" % version}))
        dest = str(tmp_path / ("digits-%d.tar" % version))
        result = run_module("model_release", src=src, dest=dest, model="digits", version=version, signing_keys=list(signing), **more)
        assert not result.get("failed"), result
        return dest
    return build


@pytest.fixture
def deploy(run_module, tmp_path):
    def run(src, version, *trusted):
        return run_module("model_version", base_path=str(tmp_path / "digits"), model="digits", version=version, src=src, trusted_keys=list(trusted))
    return run


@pytest.mark.parametrize("kind", ["release", "gpg"])
def test_signed_four_times_then_in_place_by_the_key(keys, four_times, deploy, tmp_path, kind):
    src, dest = make_saved_model(tmp_path / "model"), str(tmp_path / "digits-1.tar")
    results = four_times("model_release", src=src, dest=dest, model="digits", version=1, signing_keys=[keys[kind][0]])
    assert all(result["signed"] for result in results)
    result = deploy(dest, 1, keys["stranger"][1], keys[kind][1])
    assert result["changed"], result
    assert ("release@example.net" if kind == "gpg" else "SHA256:") in result["signer"]
    again = deploy(None, 1, keys[kind][1])
    assert (again["changed"], again["signer"]) == (False, result["signer"])


def test_the_archive_is_the_same_whoever_signs_it(keys, release):
    archive = release(1)
    with open(archive, "rb") as stream:
        unsigned = stream.read()
    release(1, keys["release"][0], keys["gpg"][0])
    with open(archive, "rb") as stream:
        assert stream.read() == unsigned


def test_one_of_two_kinds_is_enough_for_a_host_that_trusts_one(keys, release, deploy):
    archive = release(1, keys["release"][0], keys["gpg"][0])
    assert "release@example.net" in deploy(archive, 1, keys["gpg"][1])["signer"]


def opened(archive):
    found = release_archive.open_release(archive)
    found.close()
    return found


def refused(result, *words):
    assert result.get("failed"), result
    for word in words:
        assert word in result["msg"], result["msg"]


def test_unsigned_wrong_signer_damaged_and_other_purpose_are_refused(keys, release, deploy, tmp_path):
    trusted = keys["release"][1]
    archive = release(1)
    refused(deploy(archive, 1, trusted), "is not signed", "model_release_signing_keys")
    release(1, keys["stranger"][0])
    refused(deploy(archive, 1, trusted), "not one of a trusted key")
    refused(deploy(archive, 1, keys["gpg"][1]), "no OpenSSH key is trusted")
    content = opened(archive).content
    # A signature of the same key, of the same bytes, that was made for something else.
    path = tmp_path / "mail"
    path.write_bytes(content)
    command("ssh-keygen", "-q", "-Y", "sign", "-f", keys["release"][0], "-n", "file", str(path))
    shutil.copy(str(path) + ".sig", archive + ".sig")
    refused(deploy(archive, 1, trusted), "not one of a trusted key")
    with open(archive + ".sig", "wb") as stream:
        stream.write(b"no signature at all")
    refused(deploy(archive, 1, trusted), "holds no signature")
    assert not os.path.exists(str(tmp_path / "digits" / "1"))


CLOCK = """
import json, sys
from ansible_collections.tfleet.serving.plugins.module_utils import signature
key, public, made = json.loads(sys.argv[1])
made = made.encode() if made else signature.sign(b"{}", [key])
signature.verify(b"{}", made, [public], "it")
print(made.decode())
"""


@pytest.mark.parametrize("year", [1970, 2015, 2035])
@pytest.mark.parametrize("kind", ["release", "gpg"])
def test_a_clock_that_is_wrong_by_years_signs_and_verifies(keys, collections_path, kind, year):
    if shutil.which("faketime") is None:
        pytest.fail("This test sets clocks and needs faketime: apt-get install faketime")

    def at_that_time(made=None):
        return command("faketime", "%d-06-01 12:00:00" % year, sys.executable, "-B", "-c", CLOCK, json.dumps([*keys[kind], made]), PYTHONPATH=collections_path)

    # Signed by a right clock and verified by the wrong one, and the other way round.
    at_that_time(signature.sign(b"{}", [keys[kind][0]]).decode())
    assert signature.verify(b"{}", at_that_time().encode(), [keys[kind][1]], "it")


@pytest.mark.parametrize("kind", ["release", "gpg"])
def test_a_changed_manifest_is_refused(keys, kind):
    content = manifests.dump({"version": 2})
    made = signature.sign(content, [keys[kind][0]])
    assert signature.verify(content, made, [keys[kind][1]], "it")
    with pytest.raises(signature.SignatureError, match="not one of a trusted key"):
        signature.verify(content.replace(b"2", b"3"), made, [keys[kind][1]], "it")


def test_an_old_release_presented_as_the_new_one_is_refused(keys, release, deploy, run_module, tmp_path):
    old = release(1, keys["release"][0])
    refused(deploy(old, 2, keys["release"][1]), "is version 1 of digits", "version 2")
    result = run_module("model_version", base_path=str(tmp_path / "digits"), model="other", version=1, src=old, trusted_keys=[keys["release"][1]])
    refused(result, "is version 1 of digits", "other")
    # The old one's signature on the new one's files.
    new = release(2, keys["release"][0])
    shutil.copy(old + ".sig", new + ".sig")
    refused(deploy(new, 2, keys["release"][1]), "not one of a trusted key")


def test_a_fleet_that_begins_to_sign_signs_what_is_in_place(keys, release, deploy):
    archive = release(1)
    assert deploy(archive, 1)["signer"] is None
    refused(deploy(None, 1, keys["release"][1]), "is not signed")
    release(1, keys["release"][0])
    result = deploy(archive, 1, keys["release"][1])
    assert [action.split(" ")[0:3] for action in result["actions"]] == [["write", "the", "signature"]]
    assert deploy(None, 1, keys["release"][1])["changed"] is False


def test_keys_that_are_none_are_named(keys, release, deploy, run_module, tmp_path):
    refused(deploy(release(1, keys["release"][0]), 1, "keys/release.pub"), "neither an OpenSSH public key", "keys/release.pub")
    with pytest.raises(ModuleError, match=r"was not signed with .*missing"):
        signature.sign(b"{}", [str(tmp_path / "missing")])
    with pytest.raises(ModuleError, match="gpg --list-secret-keys nobody"):
        signature.sign(b"{}", ["gpg:nobody"])


def test_provenance_says_where_it_comes_from_and_what_is_known_later_makes_no_other_release(keys, release, run_module, tmp_path):
    source = tmp_path / "checkout" / "graph.pb"
    source.parent.mkdir()
    source.write_bytes(b"graph")
    archive = release(1, provenance={"accuracy": 0.99}, origin=str(source))
    origin = opened(archive).manifest["provenance"]["release"]
    assert origin == {"accuracy": 0.99, "source": "graph.pb"}
    for argv in (["init", "-q"], ["add", "graph.pb"], ["-c", "user.name=t", "-c", "user.email=t@example.net", "commit", "-q", "-m", "graph"]):
        command("git", "-C", str(source.parent), *argv)
    result = run_module("model_release", src=str(tmp_path / "model-1"), dest=archive, model="digits", version=1, origin=str(source))
    assert (result["changed"], result["manifest"]["provenance"]["release"]) == (False, origin)
    commit = command("git", "-C", str(source.parent), "rev-parse", "HEAD").strip()
    later = opened(release(2, origin=str(source))).manifest
    assert later["provenance"]["release"] == {"source": "graph.pb", "git_commit": commit}


def test_the_index_names_every_block_where_it_lies(release, tmp_path):
    archive = release(1)
    index = release_index.load(release_index.path_of(archive))
    with open(archive, "rb") as stream:
        content = stream.read()
    for entry in index["files"]:
        expected = b"graph 1" if entry["path"] == "saved_model.pb" else FILES[entry["path"]]
        data = content[entry["offset"]:entry["offset"] + len(expected)]
        assert data == expected
        (tmp_path / "file").write_bytes(data)
        assert release_index.missing(str(tmp_path / "file"), entry, len(data), index["block_bytes"]) == []
    assert release_index.runs([1, 2, 5, 6, 7, 9]) == [(1, 2), (5, 3), (9, 1)]
    with open(release_index.path_of(archive), "rb") as stream:
        damaged = stream.read().replace(b'"blocks": [', b'"blocks": [ "",', 1)
    with pytest.raises(ModuleError, match="are not those of a file"):
        release_index.parse(damaged, "it")
