"""Archives and URLs: what they hold is found, and what is hostile stays outside."""

import hashlib
import http.server
import io
import os
import shutil
import struct
import tarfile
import threading
import zipfile

import pytest

from tfleet.convert import archive, download
from tfleet.convert.export import export
from tfleet.errors import TfleetError

LINEAR = {"serving_default": {"inputs": {"x": "x:0"}, "outputs": {"y": "y:0"}}}


def sha256(path):
    with open(str(path), "rb") as stream:
        return "sha256:" + hashlib.sha256(stream.read()).hexdigest()


def refused(source, tmp_path, **options):
    before = sorted(os.listdir(str(tmp_path)))
    with pytest.raises(TfleetError) as caught:
        export(str(source), str(tmp_path / "model"), **options)
    assert sorted(os.listdir(str(tmp_path))) == before
    return caught.value


def tar_of(path, *members, **options):
    """A tar with ``(TarInfo or name, bytes)`` members."""
    with tarfile.open(str(path), options.get("mode", "w:gz")) as out:
        for member, content in members:
            info = member if isinstance(member, tarfile.TarInfo) else tarfile.TarInfo(member)
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))
    return path


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


# Archives


@pytest.mark.parametrize("name, form", [("m.tar", "tar"), ("m.tar.gz", "gztar"), ("m.zip", "zip"), ("m.bin", "gztar")])
def test_a_saved_model_in_an_archive(tf2_saved_model, tmp_path, name, form):
    made = shutil.make_archive(str(tmp_path / "made"), form, os.path.dirname(tf2_saved_model), os.path.basename(tf2_saved_model))
    os.rename(made, str(tmp_path / name))
    result = export(str(tmp_path / name), str(tmp_path / "model"), checksum=sha256(tmp_path / name))
    assert result["kind"] == "saved_model" and sorted(result["signatures"]) == ["serving_default", "word"]
    assert os.path.isfile(str(tmp_path / "model" / "variables" / "variables.index"))
    assert sorted(os.listdir(str(tmp_path))) == sorted([name, "model"])
    assert export(str(tmp_path / name), str(tmp_path / "model"))["changed"] is False


def test_an_archive_with_both_kinds_asks_which(linear, tf2_saved_model, tmp_path):
    with tarfile.open(str(tmp_path / "zoo.tar.gz"), "w:gz") as out:
        out.add(linear, "ssd/frozen_inference_graph.pb")
        out.add(tf2_saved_model, "ssd/saved_model")
    error = refused(tmp_path / "zoo.tar.gz", tmp_path)
    assert "more than one model" in str(error) and "`ssd/saved_model` (saved_model)" in str(error) and "Say which kind" in str(error)
    assert export(str(tmp_path / "zoo.tar.gz"), str(tmp_path / "a"), kind="saved_model")["kind"] == "saved_model"
    assert export(str(tmp_path / "zoo.tar.gz"), str(tmp_path / "b"), kind="frozen_graph", declared=LINEAR)["kind"] == "frozen_graph"


def test_a_keras_file_is_not_taken_for_an_archive(keras_files, tmp_path):
    shutil.copy(keras_files[1], str(tmp_path / "model.zip"))
    assert export(str(tmp_path / "model.zip"), str(tmp_path / "out"))["kind"] == "keras"


def test_an_archive_without_a_model(tmp_path):
    assert "holds no model" in str(refused(tar_of(tmp_path / "a.tar.gz", ("readme.txt", b"hello")), tmp_path))


@pytest.mark.parametrize(
    "member, words",
    [
        ("/etc/passwd", "absolute"),
        ("../../evil.pb", "climbs out"),
        ("a/../../evil.pb", "climbs out"),
        ("C:evil.pb", "foreign"),
        ("a\\..\\evil.pb", "foreign"),
        ("x/" * 600 + "y", "too long"),
        (special("link.pb", tarfile.SYMTYPE, "/etc/passwd"), "is a link"),
        (special("link.pb", tarfile.LNKTYPE, "graph.pb"), "is a link"),
        (special("disk.pb", tarfile.BLKTYPE), "is a link, a device"),
        (special("pipe.pb", tarfile.FIFOTYPE), "is a link, a device"),
    ],
)
def test_hostile_members_of_a_tar(linear, tmp_path, member, words):
    with open(linear, "rb") as stream:
        content = stream.read()
    (tmp_path / "deep" / "er").mkdir(parents=True)
    hostile = tar_of(tmp_path / "deep" / "er" / "h.tar.gz", ("graph.pb", content), (member, b"" if not isinstance(member, str) else b"evil"))
    error = refused(hostile, tmp_path / "deep" / "er", declared=LINEAR)
    assert words in str(error) and "refused" in str(error)
    assert sorted(os.listdir(str(tmp_path))) == ["deep"] and os.listdir(str(tmp_path / "deep")) == ["er"]


def test_a_member_that_is_there_twice(tmp_path):
    assert "twice" in str(refused(tar_of(tmp_path / "a.tar", ("g.pb", b"1"), ("./g.pb", b"2"), mode="w"), tmp_path))


def test_hostile_members_of_a_zip(tmp_path):
    link = zipfile.ZipInfo("link.pb")
    link.external_attr = 0o120777 << 16
    for number, (member, words) in enumerate([("../evil.pb", "climbs out"), ("/abs.pb", "absolute"), (link, "is a link")]):
        path = tmp_path / ("%d.zip" % number)
        with zipfile.ZipFile(str(path), "w") as out:
            out.writestr(member, "evil")
        assert words in str(refused(path, tmp_path))


def test_a_bomb_stops_early(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "RATIO_FROM", 2**20)
    zeros = b"\0" * (64 * 2**20)
    tar_of(tmp_path / "bomb.tar.gz", ("graph.pb", zeros))
    with zipfile.ZipFile(str(tmp_path / "bomb.zip"), "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("graph.pb", zeros)
    for name in ("bomb.tar.gz", "bomb.zip"):
        assert "bomb" in str(refused(tmp_path / name, tmp_path)).partition("member")[2]
    monkeypatch.setattr(archive, "MAX_BYTES", 10 * 2**20)
    monkeypatch.setattr(archive, "RATIO_FROM", 2**40)
    assert "unpacks to more than" in str(refused(tmp_path / "bomb.zip", tmp_path))


def test_too_many_members(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_MEMBERS", 10)
    assert "one too many" in str(refused(tar_of(tmp_path / "a.tar", *[("%d.txt" % n, b"") for n in range(12)]), tmp_path))


def test_a_header_that_would_fill_memory(tmp_path):
    header = tarfile.TarInfo("././@PaxHeader")
    header.type, header.size = tarfile.XHDTYPE, 3 * 2**30
    (tmp_path / "pax.tar").write_bytes(header.tobuf(tarfile.USTAR_FORMAT) + b"\0" * 10240)
    assert "extended header" in str(refused(tmp_path / "pax.tar", tmp_path))


def test_damaged_archives(tf2_saved_model, tmp_path):
    for form in ("gztar", "tar", "zip"):
        made = shutil.make_archive(str(tmp_path / "made"), form, tf2_saved_model)
        with open(made, "rb") as stream:
            content = stream.read()
        os.unlink(made)
        # A tar that ends between members is a valid tar: what is missing then is told as an incomplete model.
        for keep in (600, len(content) // 2, len(content) * 3 // 4):
            (tmp_path / "cut").write_bytes(content[:keep])
            text = str(refused(tmp_path / "cut", tmp_path))
            assert "damaged" in text or "incomplete" in text or "holds no model" in text, (form, keep, text)


def test_a_zip_with_a_wrong_sum(tmp_path):
    with zipfile.ZipFile(str(tmp_path / "a.zip"), "w") as out:
        out.writestr("graph.pb", b"A" * 1000)
    content = (tmp_path / "a.zip").read_bytes().replace(b"A" * 1000, b"A" * 999 + b"B")
    (tmp_path / "a.zip").write_bytes(content)
    assert "damaged" in str(refused(tmp_path / "a.zip", tmp_path))


def test_a_zip_that_lies_about_its_size(tmp_path):
    with zipfile.ZipFile(str(tmp_path / "a.zip"), "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("graph.pb", b"\0" * 10**6)
    content = (tmp_path / "a.zip").read_bytes().replace(struct.pack("<L", 10**6), struct.pack("<L", 10))
    (tmp_path / "a.zip").write_bytes(content)
    refused(tmp_path / "a.zip", tmp_path)


# URLs


@pytest.fixture
def served(tmp_path):
    """A folder, its address on loopback, and the list of requests."""
    root = tmp_path / "served"
    root.mkdir()
    requests = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args, **options):
            super().__init__(*args, directory=str(root), **options)

        def do_GET(self):
            requests.append((self.path, self.headers.get("Authorization")))
            if self.path.startswith("/cut"):
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.wfile.write(b"short")
            elif self.path.startswith("/huge"):
                self.send_response(200)
                self.send_header("Content-Length", str(2**60))
                self.end_headers()
            elif self.path.startswith("/endless"):
                self.send_response(200)
                self.end_headers()
                try:
                    while True:
                        self.wfile.write(b"\0" * 65536)
                except OSError:
                    pass
            elif self.path.startswith("/moved"):
                self.send_response(302)
                self.send_header("Location", "file:///etc/passwd" if "bad" in self.path else "/linear.pb")
                self.end_headers()
            else:
                super().do_GET()

        def log_message(self, *_args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield root, "http://127.0.0.1:%d" % server.server_port, requests
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_url_with_its_checksum(linear, served, tmp_path):
    root, address, requests = served
    shutil.copy(linear, str(root / "linear.pb"))
    url = address.replace("http://", "http://me:p%40ss@") + "/linear.pb?token=1"
    result = export(url, str(tmp_path / "model"), checksum=sha256(linear), declared=LINEAR)
    assert result["changed"] and requests == [("/linear.pb?token=1", "Basic bWU6cEBzcw==")]
    told = (tmp_path / "model" / "assets.extra" / "tfleet_provenance.json").read_text()
    assert "p%40ss" not in told and "token" not in told and '"source": "linear.pb"' in told
    assert sorted(os.listdir(str(tmp_path))) == ["model", "served"]
    # The checksum says what the source is: the second time nothing is downloaded.
    assert export(url, str(tmp_path / "model"), checksum=sha256(linear), declared=LINEAR)["changed"] is False
    assert len(requests) == 1


def test_the_same_graph_by_path_and_by_url_is_the_same_export(linear, served, tmp_path):
    root, address, _requests = served
    shutil.copy(linear, str(root / "linear.pb"))
    made = export(linear, str(tmp_path / "model"), declared=LINEAR)
    for url in (address + "/linear.pb", address + "/moved/linear.pb", "file://" + linear):
        assert export(url, str(tmp_path / "model"), checksum=sha256(linear), declared=LINEAR) == dict(made, changed=False)


def test_a_redirect_is_followed_but_not_to_a_file(linear, served, tmp_path):
    root, address, _requests = served
    shutil.copy(linear, str(root / "linear.pb"))
    assert export(address + "/moved", str(tmp_path / "model"), checksum=sha256(linear), declared=LINEAR)["changed"]
    assert "cannot be downloaded" in str(refused(address + "/moved/bad", tmp_path / "served", checksum=sha256(linear)))


def test_urls_that_cannot_be_used(linear, served, tmp_path, monkeypatch):
    root, address, _requests = served
    (root / "linear.pb").write_bytes(b"something else")
    right = sha256(linear)
    assert "needs a checksum" in str(refused(address + "/linear.pb", tmp_path))
    error = refused(address + "/linear.pb", tmp_path, checksum=right)
    assert error.result["expected"] == right[7:] and error.result["found"] in str(error)
    assert "status 404" in str(refused(address + "/none.pb", tmp_path, checksum=right))
    assert "after 5 of 1000 bytes" in str(refused(address + "/cut.pb", tmp_path, checksum=right))
    assert "more than is free" in str(refused(address + "/huge.pb", tmp_path, checksum=right))
    assert "the scheme `ftp`" in str(refused("ftp://host/model.pb", tmp_path, checksum=right))
    assert "three slashes" in str(refused("file://model.pb", tmp_path, checksum=right))
    monkeypatch.setattr(download, "MAX_BYTES", 10**6)
    assert "does not end after" in str(refused(address + "/endless.pb", tmp_path, checksum=right))


def test_a_server_that_is_not_there(tmp_path):
    text = str(refused("http://me:secret@127.0.0.1:9/model.pb?key=1", tmp_path, checksum="sha256:" + "0" * 64))
    assert "`http://127.0.0.1:9/model.pb` cannot be downloaded" in text and "secret" not in text and "key" not in text


@pytest.mark.parametrize("checksum", ["md5:" + "0" * 32, "0" * 64, "sha256:xyz", "sha256:" + "0" * 63])
def test_checksums_have_one_form(linear, tmp_path, checksum):
    assert "sha256:HEX" in str(refused(linear, tmp_path, checksum=checksum, declared=LINEAR))


def test_the_checksum_of_a_folder_is_the_one_that_export_tells(tf2_saved_model, tmp_path):
    told = export(tf2_saved_model, str(tmp_path / "a"))["source_sha256"]
    assert export(tf2_saved_model, str(tmp_path / "b"), checksum="sha256:" + told)["changed"]
    shutil.copytree(tf2_saved_model, str(tmp_path / "copy"))
    (tmp_path / "copy" / "assets" / "words.txt").write_text("yes\nno\n")
    assert told in str(refused(tmp_path / "copy", tmp_path, checksum="sha256:" + told))


def test_links_to_folders_in_a_source(tf2_saved_model, tmp_path):
    shutil.copytree(tf2_saved_model, str(tmp_path / "copy"))
    os.rename(str(tmp_path / "copy" / "variables"), str(tmp_path / "elsewhere"))
    os.symlink(str(tmp_path / "elsewhere"), str(tmp_path / "copy" / "variables"))
    assert "cp -rL" in str(refused(tmp_path / "copy", tmp_path))
