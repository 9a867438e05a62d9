"""``tfleet convert`` whole: a real child process, the folder, its provenance, and everything that is refused."""

import json
import os
import shutil

import numpy as np
import pytest

from tfleet import cli
from tfleet.convert import provenance
from tfleet.convert.variants import build, request, resources
from tfleet.errors import TfleetError

from .conftest import provenance_of


def refused(*args, **options):
    with pytest.raises(TfleetError) as caught:
        build.convert(*args, **options)
    return caught.value


@pytest.fixture(scope="module")
def variant(native, tmp_path_factory):
    """A grappler variant of digits that was really made, and the answer."""
    folder = str(tmp_path_factory.mktemp("variant") / "digits")
    seen = []
    answer = build.convert(request.new("grappler"), native("digits"), folder, watch=seen.append)
    return folder, answer, seen


def test_what_is_made(variant, native):
    folder, answer, seen = variant
    assert answer["changed"] and answer["variant"] == "grappler" and answer["hardware_class"] is None
    assert answer["seconds"] > 0 and answer["peak_bytes"] > 100 * 2**20
    assert sorted(os.listdir(folder)) == ["assets.extra", "saved_model.pb"]
    assert os.listdir(os.path.dirname(folder)) == ["digits"]
    told = provenance_of(folder)
    assert told["variant"] == "grappler" and told["fingerprint"] == answer["fingerprint"] and told["summary"] == answer["summary"]
    assert told["source_fingerprint"] == provenance_of(native("digits"))["fingerprint"]
    assert told["versions"]["tensorflow"].startswith("2.") and told["signatures"]["serving_default"]["inputs"]["images"]["shape"] == [-1, 8, 8, 1]
    assert provenance.differences(folder, told) == []
    assert {progress.phase for progress in seen} >= {"loading TensorFlow"}


def test_the_same_again_changes_nothing(variant, native):
    folder, answer, _seen = variant
    before = {name: os.stat(os.path.join(folder, name)).st_mtime_ns for name in os.listdir(folder)}
    again = build.convert(request.new("grappler"), native("digits"), folder)
    assert not again["changed"] and again["fingerprint"] == answer["fingerprint"] and again["summary"] == answer["summary"]
    assert before == {name: os.stat(os.path.join(folder, name)).st_mtime_ns for name in os.listdir(folder)}


def test_dry_run_writes_nothing(native, tmp_path, variant):
    answer = build.convert(request.new("tflite", "FP16"), native("digits"), str(tmp_path / "deep" / "variant"), dry_run=True)
    assert answer["changed"] and answer["variant"] == "tflite-float16" and os.listdir(str(tmp_path)) == []
    assert not build.convert(request.new("grappler"), native("digits"), variant[0], dry_run=True)["changed"]


def test_warm_up_requests_go_along(native, tmp_path):
    source = str(tmp_path / "native")
    shutil.copytree(native("digits"), source)
    with open(os.path.join(source, "assets.extra", "tf_serving_warmup_requests"), "wb") as stream:
        stream.write(b"requests")
    folder = str(tmp_path / "variant")
    build.convert(request.new("grappler"), source, folder)
    assert sorted(os.listdir(os.path.join(folder, "assets.extra"))) == ["tf_serving_warmup_requests", "tfleet_provenance.json"]


def test_another_variant_in_the_place(variant, native):
    folder, _answer, _seen = variant
    assert "holds another variant: grappler, not tflite-float32" in str(refused(request.new("tflite"), native("digits"), folder))
    assert "of another source" in str(refused(request.new("grappler"), native("digits_detector"), folder))
    assert "serving_default, not raw" in str(refused(request.new("grappler", signature="raw"), native("digits"), folder))


def test_an_engine_for_another_class(variant, native, tmp_path):
    folder = str(tmp_path / "engine")
    shutil.copytree(variant[0], folder)
    told = dict(provenance_of(folder), variant="tftrt-nano-FP16", hardware_class="nano")
    with open(os.path.join(folder, provenance.PATH), "w") as stream:
        json.dump(told, stream)
    wanted = request.new("tftrt", "FP16", hardware_class="orin")
    assert "were built on hardware class nano and cannot run on orin" in str(refused(wanted, native("digits"), folder))


def test_a_changed_file_is_named(variant, native, tmp_path):
    folder = str(tmp_path / "changed")
    shutil.copytree(variant[0], folder)
    with open(os.path.join(folder, "saved_model.pb"), "ab") as stream:
        stream.write(b"\0")
    assert "saved_model.pb was changed" in str(refused(request.new("grappler"), native("digits"), folder))


def test_sources_and_places_that_will_not_do(variant, native, tmp_path):
    wanted = request.new("grappler")
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "one.txt").write_text("dear")
    (tmp_path / "graph.pb").write_bytes(b"graph")
    new = str(tmp_path / "new")
    for source, dest, part in (
        (str(tmp_path / "nowhere"), new, "There is no"),
        (str(tmp_path / "graph.pb"), new, "`tfleet export` first"),
        (str(tmp_path / "letters"), new, "is not a SavedModel"),
        (variant[0], new, "is the variant grappler already"),
        (native("digits"), str(tmp_path / "letters"), "was not made by tfleet convert"),
        (native("digits"), native("digits"), "is the source itself"),
    ):
        assert part in str(refused(wanted, source, dest)), part
    assert sorted(os.listdir(str(tmp_path))) == ["graph.pb", "letters"]


def test_a_calibration_file_that_is_none(native, tmp_path):
    (tmp_path / "picture.jpg").write_bytes(b"\xff\xd8\xff" + bytes(100))
    for path, part in (("picture.jpg", "no TFRecord file"), ("nowhere.tfrecord", "There is no TFRecord file")):
        wanted = request.new("tflite", "INT8", calibration=[str(tmp_path / path)])
        assert part in str(refused(wanted, native("digits"), str(tmp_path / "variant")))
    assert os.listdir(str(tmp_path)) == ["picture.jpg"]


def test_an_unknown_signature_leaves_nothing(native, tmp_path):
    error = refused(request.new("grappler", signature="serving"), native("digits"), str(tmp_path / "variant"))
    assert "has no signature `serving`" in str(error) and error.result["signatures"] == ["serving_default"]
    assert os.listdir(str(tmp_path)) == []


def test_the_time_limit_leaves_nothing(native, tmp_path):
    error = refused(request.new("grappler"), native("digits"), str(tmp_path / "variant"), time_limit=0.3)
    assert "did not finish within" in str(error) and os.listdir(str(tmp_path)) == []


def test_too_little_memory_begins_nothing(native, tmp_path, monkeypatch):
    monkeypatch.setattr(resources, "memory", lambda: resources.Memory(100 * 2**20, 0, 4000 * 2**20))
    assert "too little memory" in str(refused(request.new("grappler"), native("digits"), str(tmp_path / "variant")))
    assert os.listdir(str(tmp_path)) == []
    assert build.convert(request.new("grappler"), native("digits"), str(tmp_path / "variant"), ignore_memory=True)["changed"]


def test_a_build_of_tensorflow_without_tf_trt(native, tmp_path):
    wanted = request.new("tftrt", hardware_class="here")
    assert "made without TF-TRT" in str(refused(wanted, native("digits"), str(tmp_path / "variant")))
    assert os.listdir(str(tmp_path)) == []


def test_a_calibration_decides_the_fingerprint(native, tmp_path, calibration, digits_pictures):
    pictures = np.asarray(digits_pictures)[:20].astype(np.float32).reshape(-1, 8, 8, 1)
    marks = set()
    for count in (10, 20):
        wanted = request.new("tflite", "INT8", calibration=[calibration({"images": pictures[:count]})])
        marks.add(build.convert(wanted, native("digits"), str(tmp_path / "variant"), dry_run=True)["fingerprint"])
    assert len(marks) == 2


def test_the_command(native, tmp_path, capsys):
    progress = str(tmp_path / "progress.json")
    dest = str(tmp_path / "variant")
    assert cli.main(["convert", native("digits"), dest, "--variant", "tflite", "--progress-file", progress, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["summary"]["inputs"]["images"]
    with open(progress) as stream:
        told = json.load(stream)
    assert told["line"].endswith(" MiB") and told["phase"] in told["line"] and told["memory_bytes"] >= 0
    assert "tfleet convert: loading TensorFlow" in err
    assert cli.main(["convert", native("digits"), dest, "--variant", "tflite"]) == 0
    assert "(unchanged, variant tflite-float32)" in capsys.readouterr()[0]


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--variant", "tftrt", "--hardware-class", "c", "--shape", "images"], "--shape images: write the input's alias"),
        (["--variant", "tftrt", "--hardware-class", "c", "--batch-sizes", "1,x"], "--batch-sizes 1,x cannot be read: write whole numbers"),
        (["--variant", "tflite", "--values", "1..0"], "--values 1..0 cannot be read: write LOW..HIGH"),
        (["--variant", "tflite", "--values", "a..b"], "--values a..b cannot be read: write LOW..HIGH"),
    ],
)
def test_options_that_cannot_be_read(options, part, native, tmp_path, capsys):
    assert cli.main(["convert", native("digits"), str(tmp_path / "variant"), *options]) == 1
    assert part in capsys.readouterr()[1]
