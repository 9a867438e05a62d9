"""A variant whose engines belong to one hardware class, at release and on its way to a host."""

import json
import os

import pytest
from ansible_collections.tfleet.serving.plugins.module_utils import manifest as manifests

CLASS = "orin-sm87-l4t36.4.3"


@pytest.fixture
def engine(tmp_path):
    """The folder of a TF-TRT variant as `tfleet convert` leaves it."""
    folder = tmp_path / "variant"
    (folder / "assets.extra").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    provenance = {"variant": "tftrt-%s-FP16" % CLASS, "hardware_class": CLASS}
    (folder / "assets.extra" / "tfleet_provenance.json").write_text(json.dumps(provenance))
    return folder


@pytest.fixture
def release(engine, tmp_path, run_module):
    path = str(tmp_path / "detector-2.tar")
    made = run_module("model_release", src=str(engine), dest=path, model="detector", version=2, variant="tftrt-%s-FP16" % CLASS, source_version=1)
    assert made["manifest"]["provenance"]["hardware_class"] == CLASS
    return path


def place(run_module, release, base, **options):
    return run_module("model_version", base_path=base, model="detector", version=2, src=release, **options)


def test_a_host_of_the_class_takes_it(release, run_module, tmp_path):
    base = str(tmp_path / "models")
    assert place(run_module, release, base, hardware_class=CLASS)["changed"]
    assert not place(run_module, release, base, hardware_class=CLASS)["changed"]


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(("own", "part"), [("nano-sm53", "cannot run on this host, which is nano-sm53"), (None, "nobody said of which class this host is")])
def test_others_refuse_it_and_nothing_is_made(release, run_module, tmp_path, own, part, check):
    base = str(tmp_path / "models")
    result = place(run_module, release, base, check=check, **({"hardware_class": own} if own else {}))
    assert result["failed"] and part in result["msg"] and CLASS in result["msg"]
    assert not os.path.exists(base)


def test_one_that_is_there_already_is_refused_too(release, run_module, tmp_path):
    """A disk that was moved to another device."""
    base = str(tmp_path / "models")
    place(run_module, release, base, hardware_class=CLASS)
    result = run_module("model_version", base_path=base, model="detector", version=2, hardware_class="nano-sm53")
    assert result["failed"] and "cannot run on this host" in result["msg"]
    assert run_module("model_version", base_path=base, model="detector", version=2, state="absent")["changed"]


def test_a_variant_is_not_released_under_another_name(engine, run_module, tmp_path):
    result = run_module("model_release", src=str(engine), dest=str(tmp_path / "a.tar"), model="detector", version=2)
    assert result["failed"] and "is to be released as native. Say variant: tftrt-%s-FP16" % CLASS in result["msg"]


@pytest.mark.parametrize(
    ("variant", "provenance", "bound"),
    [
        ("native", {}, None),
        ("tflite-int8", {"hardware_class": None}, None),
        ("tftrt-%s-FP16" % CLASS, {}, CLASS),
        ("tftrt-a-b-int8", {}, "a-b"),
        ("whatever", {"hardware_class": "x"}, "x"),
    ],
)
def test_what_a_version_is_bound_to(variant, provenance, bound):
    assert manifests.hardware_class_of({"variant": variant, "provenance": provenance}) == bound


def test_tensorflow_lite_alone_is_a_version(tmp_path, run_module):
    (tmp_path / "lite").mkdir()
    (tmp_path / "lite" / "model.tflite").write_bytes(b"TFL3")
    release = str(tmp_path / "lite.tar")
    made = run_module("model_release", src=str(tmp_path / "lite"), dest=release, model="digits", version=3, variant="tflite-int8", source_version=1)
    assert made["changed"]
    assert run_module("model_version", base_path=str(tmp_path / "models"), model="digits", version=3, src=release)["versions"] == [3]
