"""The manifest of a release: what it may say, and what it finds."""
import json
import os
import socket

import pytest
from ansible_collections.tfleet.serving.plugins.module_utils import manifest as manifests
from ansible_collections.tfleet.serving.tests.unit.plugins.release_tools import FILES, make_saved_model


@pytest.fixture
def model(tmp_path):
    return make_saved_model(tmp_path / "model")


def test_build_lists_every_file_with_size_and_digest(model):
    manifest = manifests.build(model, "digits", 2)
    assert [entry["path"] for entry in manifest["files"]] == sorted(FILES)
    assert manifest["files"][0] == {
        "path": "saved_model.pb", "size": 9, "sha256": "16b9f2912007922fe48f5343d131850f01f2095edbc97bf38d36efc3178bafc2"}
    assert (manifest["model"], manifest["version"], manifest["variant"], manifest["source_version"]) == ("digits", 2, "native", None)


def test_what_was_dumped_is_parsed_to_the_same(model):
    manifest = manifests.build(model, "digits", 3, "tftrt-orin-fp16", 2)
    assert manifests.parse(manifests.dump(manifest), "here") == manifest


def test_provenance_is_taken_from_the_saved_model(model):
    make_saved_model(model, {"assets.extra/tfleet_provenance.json": b'{"source": "frozen.pb"}'})
    assert manifests.build(model, "digits", 1)["provenance"] == {"source": "frozen.pb"}


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"a": NaN}', b"\xff"])
def test_provenance_that_is_no_json_object_is_refused(model, content):
    make_saved_model(model, {"assets.extra/tfleet_provenance.json": content})
    with pytest.raises(manifests.ManifestError, match=r"tfleet_provenance\.json"):
        manifests.build(model, "digits", 1)


def test_text_graph_is_a_saved_model_too(tmp_path):
    src = make_saved_model(tmp_path / "text", {"saved_model.pbtxt": b"x"})
    assert manifests.build(src, "digits", 1)["files"][0]["path"] == "saved_model.pbtxt"


def test_a_manifest_in_the_source_is_not_part_of_the_release(model):
    before = manifests.build(model, "digits", 1)
    make_saved_model(model, {"manifest.json": b"old"})
    assert manifests.build(model, "digits", 1) == before


@pytest.mark.parametrize("version", [0, -1, 2 ** 63, True, "2", 1.0, None])
def test_a_version_is_a_positive_whole_number_of_63_bits(model, version):
    with pytest.raises(manifests.ManifestError, match="positive whole number"):
        manifests.build(model, "digits", version)


@pytest.mark.parametrize("name", ["", "a/b", "../x", ".hidden", "a:b", "a b", None])
def test_a_model_name_works_in_paths_and_addresses(model, name):
    with pytest.raises(manifests.ManifestError, match="name"):
        manifests.build(model, name, 1)


def test_no_graph_names_the_directory_that_has_one(tmp_path):
    make_saved_model(tmp_path / "outer" / "1")
    with pytest.raises(manifests.ManifestError, match="did you mean the directory 1"):
        manifests.build(str(tmp_path / "outer"), "digits", 1)


def test_a_file_is_not_a_directory(tmp_path):
    path = make_saved_model(tmp_path / "model") + "/saved_model.pb"
    with pytest.raises(manifests.ManifestError, match="Name the SavedModel directory"):
        manifests.build(path, "digits", 1)


def _link(path):
    os.symlink("saved_model.pb", path)


def _directory_link(path):
    os.symlink("variables", path)


def _socket(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)


@pytest.mark.parametrize("make, word", [(_link, "symbolic link"), (_directory_link, "symbolic link"), (os.mkfifo, "named pipe"), (_socket, "socket")])
def test_links_and_special_files_are_refused(model, make, word):
    here = os.getcwd()
    os.chdir(model)
    try:
        make("odd")
    finally:
        os.chdir(here)
    with pytest.raises(manifests.ManifestError, match="odd is a %s" % word):
        manifests.build(model, "digits", 1)


@pytest.mark.parametrize("name, word", [(b"caf\xe9", "not UTF-8"), (b"two\nlines", "control character")])
def test_names_that_would_not_travel_are_refused(model, name, word):
    with open(os.path.join(os.fsencode(model), name), "wb"):
        pass
    with pytest.raises(manifests.ManifestError, match=word):
        manifests.build(model, "digits", 1)


def _with(**changes):
    def change(manifest):
        manifest.update(changes)
    return change


def _with_file(**changes):
    def change(manifest):
        manifest["files"][0].update(changes)
    return change


def _without(key):
    def change(manifest):
        del manifest[key]
    return change


@pytest.mark.parametrize("change, word", [
    (_with(format=2), "format 2"), (_with(version=0), "positive whole number"), (_with(version="1"), "positive whole number"),
    (_with(model="../x"), "name"), (_with(surprise=1), "surprise is unknown"), (_without("variant"), "variant is missing"),
    (_with(variant=""), "variant"), (_with(source_version=-1), "source_version"), (_with(provenance=[]), "provenance"),
    (_with(files=[]), "lists no files"), (_with(files=[1]), "exactly path, size and sha256"),
    (_with_file(path="/etc/passwd"), "not a plain relative path"), (_with_file(path="../x"), "not a plain relative path"),
    (_with_file(path="a//b"), "not a plain relative path"), (_with_file(path="./a"), "not a plain relative path"),
    (_with_file(path="manifest.json"), "itself"), (_with_file(path="manifest.json/x"), "below a file"),
    (_with_file(path="variables/variables.index"), "twice"), (_with_file(path="variables/variables.index/x"), "below a file"),
    (_with_file(path="other.pb"), "nothing to serve"), (_with_file(size=-1), "not a number of bytes"), (_with_file(size=True), "not a number of bytes"),
    (_with_file(sha256="00"), "64 hexadecimal digits"), (_with_file(sha256="0" * 63 + "\n"), "64 hexadecimal digits"), (_with_file(mode=1), "exactly"),
])
def test_parse_says_what_is_wrong(model, change, word):
    manifest = manifests.build(model, "digits", 1)
    change(manifest)
    with pytest.raises(manifests.ManifestError, match=word):
        manifests.parse(json.dumps(manifest).encode("utf-8"), "here")


@pytest.mark.parametrize("content, word", [
    (b"{", "not JSON"), (b"[]", "no JSON object"), (b"\xff", "not JSON"), (b" " * (manifests.MAX_BYTES + 1), "larger"),
], ids=["cut off", "list", "not UTF-8", "too long"])
def test_parse_refuses_what_is_no_manifest(content, word):
    with pytest.raises(manifests.ManifestError, match=word):
        manifests.parse(content, "here")


def test_a_directory_that_is_the_release_has_no_findings(model):
    os.makedirs(os.path.join(model, "assets"))
    assert manifests.findings(model, manifests.build(model, "digits", 1)) == []


def _append(path):
    with open(path, "ab") as stream:
        stream.write(b"x")


def _flip(path):
    with open(path, "r+b") as stream:
        first = stream.read(1)
        stream.seek(0)
        stream.write(bytes([first[0] ^ 1]))


def _replace_by_link(path):
    os.rename(path, path + ".elsewhere")
    os.symlink(path + ".elsewhere", path)


def _replace_by_directory(path):
    os.unlink(path)
    os.mkdir(path)


@pytest.mark.parametrize("change, expected, found", [
    (os.unlink, "a regular file", "no such file"), (_append, "9 bytes", "10 bytes"), (_flip, "sha256 ", "sha256 "),
    (_replace_by_link, "a regular file", "a symbolic link"), (_replace_by_directory, "a regular file", "a directory"),
])
def test_findings_name_the_file_with_expected_and_found(model, change, expected, found):
    manifest = manifests.build(model, "digits", 1)
    change(os.path.join(model, "saved_model.pb"))
    first = manifests.findings(model, manifest)[0]
    assert first["path"] == "saved_model.pb"
    assert first["expected"].startswith(expected)
    assert first["found"].startswith(found)
    assert first["expected"] != first["found"]


def test_a_file_beside_the_release_is_a_finding(model):
    manifest = manifests.build(model, "digits", 1)
    make_saved_model(model, {"variables/more": b""})
    assert manifests.findings(model, manifest) == [
        {"path": "variables/more", "expected": "no such file", "found": "a regular file that is not in the manifest"}]


def test_a_directory_swapped_for_a_link_is_not_followed(model, tmp_path):
    manifest = manifests.build(model, "digits", 1)
    os.rename(os.path.join(model, "variables"), str(tmp_path / "elsewhere"))
    os.symlink(str(tmp_path / "elsewhere"), os.path.join(model, "variables"))
    assert {finding["found"] for finding in manifests.findings(model, manifest)} == {
        "a symbolic link", "a symbolic link that is not in the manifest"}


def test_difference_names_the_first_file(model):
    old = manifests.build(model, "digits", 1)
    make_saved_model(model, {"saved_model.pb": b"another"})
    assert manifests.difference(old, old) is None
    assert manifests.difference(old, manifests.build(model, "digits", 1)).startswith("saved_model.pb is 9 bytes")
