"""The rule: what is converted where, what wins, and how a winner becomes a release of its hardware class only."""

import copy
import pathlib

import pytest
import yaml
from ansible_collections.tfleet.serving.plugins.module_utils import conversion_options, conversions
from ansible_collections.tfleet.serving.plugins.module_utils.models import ModelsError, normalise
from ansible_collections.tfleet.serving.plugins.modules import tftrt_convert

CHECKOUT = pathlib.Path(__file__).parents[3]

MODELS = [
    {
        "name": "digits",
        "releases": [
            {"version": 1, "source": "one.pb", "golden": "one.npz"},
            {"version": 2, "source": "two.pb", "golden": "two.npz", "label_map": "labels.json", "latency_budget_ms": 50},
        ],
    }
]
VARIANTS = [{"model": "digits", "variant": "tflite", "version": 3}, {"model": "digits", "variant": "grappler", "version": 4}]
SIGNATURES = ["serving_default"]


def items(variants=None, hardware_class="cpu", classes=("cpu",), models=None):
    normal = normalise(models or MODELS, "/models", "/src")
    return conversions.conversion_items(VARIANTS if variants is None else variants, normal, hardware_class, list(classes))


def built(version, **more):
    return dict({"finished": True, "failed": False, "variant": "v%d" % version, "fingerprint": "f%d" % version}, **more)


def line(name, verdict, ratio, **more):
    return dict({"name": name, "verdict": verdict, "ratio": ratio, "low": ratio - 0.1, "high": ratio + 0.1, "reason": "%s is %s." % (name, verdict)}, **more)


def verdict(results=None, parities=None, lines=(), signatures=SIGNATURES, variants=None):
    return conversions.conversion_verdict(
        items(variants),
        results or [built(3), built(4)],
        {3: {"holds": True}, 4: {"holds": True}} if parities is None else parities,
        {"summary": list(lines)},
        signatures,
    )


# What is converted


def test_the_last_native_version_is_converted_where_it_lies_on_the_host():
    first, second = items()
    assert (first["source"], first["source_version"], first["version"], first["name"]) == ("/models/digits/2", 2, 3, "tflite-fp32")
    assert (first["golden"], first["label_map"]) == ("/models/digits/.golden/2/golden.npz", "/models/digits/.golden/2/label_map.json")
    assert (second["variant"], second["version"], second["precision"]) == ("grappler", 4, "FP32")


def test_other_options_are_built_elsewhere():
    plain = items()[0]
    other = items([dict(VARIANTS[0], options={"signature": "raw"})])[0]
    assert plain["folder"] != other["folder"]
    assert other["folder"].startswith("tflite-fp32-")


def test_a_variant_may_be_for_some_classes_only():
    variants = [dict(VARIANTS[0], hardware_classes=["*xavier*"]), dict(VARIANTS[1], hardware_classes=["cpu*", "orin"])]
    assert [item["name"] for item in items(variants)] == ["grappler-fp32"]


def test_each_class_has_a_number_of_its_own():
    variants = [{"model": "digits", "variant": "tftrt", "precision": "fp16", "version": {"orin": 3, "xavier": 4}}]
    assert [items(variants, name, ("orin", "xavier"))[0]["version"] for name in ("orin", "xavier")] == [3, 4]


@pytest.mark.parametrize(
    ("variants", "classes", "said"),
    [
        (VARIANTS, ("cpu", "orin"), r"2 hardware classes. Write\n  version:\n    cpu: NUMBER\n    orin: NUMBER"),
        ([dict(VARIANTS[0], version={"orin": 3})], ("cpu",), "no number for the hardware class cpu. It has: orin"),
        ([dict(VARIANTS[0], version=2)], ("cpu",), "version 2 is not above the native version 2"),
        ([dict(VARIANTS[0], version=1)], ("cpu",), "version 1 is not above the native version 2"),
        ([dict(VARIANTS[0], version="soon")], ("cpu",), "is not a positive whole number"),
        ([dict(VARIANTS[0], model="digit")], ("cpu",), "there is no model digit in tfleet_models. Declared: digits"),
        ([dict(VARIANTS[0], variant="onnx")], ("cpu",), "variant 'onnx' is unknown"),
        ([dict(VARIANTS[0], precison="FP16")], ("cpu",), "unknown key 'precison'"),
        ([{"model": "digits", "version": 3}], ("cpu",), "has no variant"),
        (["tflite"], ("cpu",), "must be a dictionary"),
        ([dict(VARIANTS[0], tresholds={})], ("cpu",), r"\[0\]: unknown key 'tresholds' \(did you mean thresholds\?\)"),
        ([dict(VARIANTS[0], precision="FP8")], ("cpu",), "tflite has no precision 'FP8': write FP32 or FP16 or INT8"),
        ([dict(VARIANTS[1], precision="FP16")], ("cpu",), "grappler has no precision 'FP16': write FP32"),
        ([dict(VARIANTS[0], options={"callibration": []})], ("cpu",), r"no 'callibration' among the options \(did you mean calibration\?\)"),
        ([dict(VARIANTS[0], options=["signature"])], ("cpu",), "the options are .*: write a dictionary"),
        ([dict(VARIANTS[0], options={"workspace_bytes": "32M"})], ("cpu",), "option workspace_bytes is '32M': write a whole number"),
        ([dict(VARIANTS[0], options={"dynamic_shape": "maybe"})], ("cpu",), "option dynamic_shape is 'maybe': write true or false"),
        ([dict(VARIANTS[0], options={"batch_sizes": [1, 0]})], ("cpu",), "option batch_sizes is .*: write a list of whole numbers"),
        ([dict(VARIANTS[0], options={"calibration": [1]})], ("cpu",), "option calibration is .*: write a list of texts"),
        ([dict(VARIANTS[0], options={"shapes": {"images": "wide"}})], ("cpu",), r"the shape of images is 'wide': write \[1, 300, 300, 3\]"),
        ([dict(VARIANTS[0], options={"shapes": [1, 8, 8, 1]})], ("cpu",), "option shapes is .*: write shapes by input"),
        ([dict(VARIANTS[0], thresholds={"detections": {}})], ("cpu",), r"no 'detections' among the thresholds \(did you mean detection\?\)"),
        ([dict(VARIANTS[0], thresholds={"outputs": {"scores": {"top": 1}}})], ("cpu",), r"no 'top' among the thresholds of output scores \(did you mean top"),
        ([dict(VARIANTS[0], thresholds={"detection": {"matched": "97 %"}})], ("cpu",), "threshold matched is '97 %': write a number"),
        ([dict(VARIANTS[0], hardware_classes="*cpu*")], ("cpu",), r"hardware_classes is '\*cpu\*': write a list"),
        ([VARIANTS[0], dict(VARIANTS[1], version=3)], ("cpu",), "of model digits have the same version"),
        ([VARIANTS[0], dict(VARIANTS[0], version=9)], ("cpu",), "have the same variant and precision"),
    ],
)
def test_mistakes_are_named(variants, classes, said):
    with pytest.raises(ModelsError, match=said):
        items(variants, "cpu", classes)


def test_a_plain_number_is_enough_for_the_one_class_of_a_pattern():
    variants = [dict(VARIANTS[0], hardware_classes=["*xavier*"])]
    assert [item["version"] for item in items(variants, "agx-xavier", ("agx-xavier", "orin", "cpu"))] == [3]
    assert items(variants, "orin", ("agx-xavier", "orin", "cpu")) == []
    with pytest.raises(ModelsError, match=r"2 hardware classes. Write\n  version:\n    agx-xavier: NUMBER\n    xavier-nx: NUMBER$"):
        items(variants, "agx-xavier", ("agx-xavier", "xavier-nx", "orin"))


def test_every_option_that_can_be_written_is_one_of_the_module_and_handed_to_it():
    tasks = yaml.safe_load((CHECKOUT / "roles/model_conversion/tasks/build.yml").read_text())
    handed = next(task["tfleet.serving.tftrt_convert"] for task in tasks if "tfleet.serving.tftrt_convert" in task)
    assert {name for name, text in handed.items() if "__model_conversion_options" in text} == set(conversion_options.OPTIONS)
    said = yaml.safe_load(tftrt_convert.DOCUMENTATION)["options"]
    words = {"str": "text", "int": "whole number", "bool": "true or false", "list": "list of", "dict": "shapes"}
    assert [name for name, kind in conversion_options.OPTIONS.items() if words[said[name]["type"]] not in kind] == []


def test_what_is_right_is_accepted():
    options = {
        "signature": "raw", "calibration": ["/srv/a.tfrecord"], "calibration_examples": 100, "values": "-1..1", "batch_sizes": [1, "4"], "build": False,
        "shapes": {"a": [1, 8, 8, 1], "b": ["1x8", [2, 8]]}, "dynamic_shape": "yes", "workspace_bytes": "33554432", "cached_engines": None,
    }  # fmt: skip
    thresholds = {"outputs": {"scores": {"mean_abs": 0.01, "top1": 1}}, "detection": {"matched": 0.97}, "accuracy_drop": 0}
    variants = [{"model": "digits", "variant": "tftrt", "precision": "int8", "version": 3, "options": options, "thresholds": thresholds}]
    (item,) = items(variants)
    assert (item["options"], item["thresholds"], item["precision"]) == (options, thresholds, "INT8")


def test_the_mark_changes_with_whatever_the_verdict_depends_on():
    settings = {"margin": 0.05}
    mark = conversions.conversion_mark(list(zip(items(), ["a", "b"])), settings)
    assert mark == conversions.conversion_mark(list(zip(items(), ["a", "b"])), settings)
    assert mark != conversions.conversion_mark(list(zip(items(), ["a", "c"])), settings)
    assert mark != conversions.conversion_mark(list(zip(items(), ["a", "b"])), {"margin": 0.1})
    changed = items([dict(VARIANTS[0], thresholds={"outputs": {}, "accuracy_drop": 0.1}), VARIANTS[1]])
    assert mark != conversions.conversion_mark(list(zip(changed, ["a", "b"])), settings)


# What wins


def test_the_fastest_of_those_that_are_faster_wins():
    decided = verdict(lines=[line("tflite-fp32", "faster", 1.4), line("grappler-fp32", "faster", 1.6)])
    assert (decided["winner"]["name"], decided["complete"]) == ("grappler-fp32", True)
    assert "Version 4 (v4) takes the place of the native version 2: grappler-fp32 is faster." in decided["reason"]


@pytest.mark.parametrize("worse", ["slower", "same", "undecided"])
def test_what_is_not_faster_beyond_doubt_does_not_win(worse):
    decided = verdict(lines=[line("tflite-fp32", worse, 1.9), line("grappler-fp32", "slower", 0.9)])
    assert decided["winner"] is None
    assert decided["reason"].startswith("The native version 2 stays")
    assert "tflite-fp32 is %s." % worse in decided["reason"]


def test_what_answers_otherwise_is_not_even_measured():
    parities = {3: {"holds": False, "msg": "scores differ by 0.3."}, 4: {"holds": True}}
    fit = conversions.may_stand_in(items(), [built(3), built(4)], parities, SIGNATURES)
    assert [item["name"] for item in fit] == ["grappler-fp32"]
    decided = verdict(parities=parities, lines=[line("grappler-fp32", "slower", 0.5)])
    assert decided["winner"] is None
    assert "tflite-fp32 answers otherwise: scores differ by 0.3." in decided["reason"]
    assert decided["complete"] is True


def test_a_variant_that_could_not_be_made_is_tried_again_next_time():
    failed = {"failed": False, "msg": "There is not enough memory.", "fingerprint": "other"}
    decided = verdict([failed, built(4)], {4: {"holds": True}}, [line("grappler-fp32", "faster", 1.2)])
    assert (decided["winner"]["name"], decided["complete"]) == ("grappler-fp32", False)
    assert decided["candidates"][0]["reason"] == "tflite-fp32 could not be made: There is not enough memory."
    entry = conversions.conversion_entry(decided, "mark", 2, {}, {}, "/kept")
    assert entry["mark"] is None


def test_a_comparison_or_measurement_that_failed_is_tried_again_too():
    assert verdict(parities={3: {"msg": "no runtime"}, 4: {"holds": True}}, lines=[line("grappler-fp32", "same", 1)])["complete"] is False
    assert verdict(lines=[])["complete"] is False


def test_a_signature_is_not_lost_by_accident():
    signatures = ["raw", "serving_default"]
    everything = {3: {"holds": True}, 4: {"holds": True}}
    assert conversions.may_stand_in(items(), [built(3), built(4)], everything, signatures) == []
    decided = verdict(signatures=signatures)
    assert "has no signature raw, which the native model has: list it under drop_signatures" in decided["reason"]
    allowed = [dict(VARIANTS[0], drop_signatures=["raw"])]
    assert len(conversions.may_stand_in(items(allowed), [built(3)], everything, signatures)) == 1


def test_native_is_measured_first():
    assert conversions.benchmark_builds(items()[:1], "/models/digits/2", "/variants") == [
        {"name": "native", "source": "/models/digits/2"},
        {"name": "tflite-fp32", "source": "/variants/" + items()[0]["folder"]},
    ]


# How a winner is released


def recorded(**more):
    decided = verdict(lines=[line("tflite-fp32", "faster", 1.4), line("grappler-fp32", "slower", 0.6)])
    parities = {3: {"holds": True, "outputs": {"scores": {"max_abs": 0.1}}}, 4: {"holds": True}}
    entry = conversions.conversion_entry(decided, "mark", 2, parities, {"chart": "<svg/>", "rounds": 5, "ok": True}, "/kept")
    assert (entry["mark"], entry["measured"], entry["candidates"][0]["answers"]) == (
        "mark", {"chart": "<svg/>", "rounds": 5}, {"holds": True, "outputs": {"scores": {"max_abs": 0.1}}})
    return {"models": {"digits": dict(entry, **more)}}


def released(models=None, conversions_=None):
    record = recorded() if conversions_ is None else conversions_
    return normalise(conversions.with_variants(MODELS if models is None else models, record), "/models", "/src")[0]


def test_a_winner_becomes_the_last_release_with_everything_of_the_native_one():
    model = released()
    last = model["releases"][-1]
    assert (last["version"], last["variant"], last["source_version"], last["source"], last["kind"]) == (3, "v3", 2, "/kept/digits-3", "saved_model")
    assert (last["golden"], last["label_map"], last["latency_budget_ms"]) == ("/kept/digits-3.npz", "/src/labels.json", 50)
    assert (model["labels"], model["serve"], model["keep"]) == ({"canary": 3, "stable": 3}, [2, 3], 3)


def test_the_report_has_every_candidate_with_what_became_of_it():
    pictures = ["/w/conversions/cpu/digits-grappler-fp32-worst.png", "/w/conversions/orin/digits-tflite-fp32-worst.png"]
    report = conversions.conversion_report([dict(recorded(), hardware_class="cpu")], {"cpu": "edge-1"}, pictures)
    (entry,) = report["entries"]
    assert (entry["model"], entry["hardware_class"], entry["host"], entry["native"]) == ("digits", "cpu", "edge-1", "version 2")
    assert entry["benchmarks"] == [{"chart": "<svg/>", "rounds": 5}]
    assert [(one["variant"], one["decision"], one["picture"]) for one in entry["candidates"]] == [
        ("tflite-fp32", "promoted", None), ("grappler-fp32", "not promoted", pictures[0])]


def test_without_recorded_answers_the_native_ones_hold():
    late = recorded()
    late["models"]["digits"]["release"]["golden"] = None
    assert released(None, late)["releases"][-1]["golden"] == "/src/two.npz"
    decided = verdict(lines=[line("tflite-fp32", "faster", 1.4), line("grappler-fp32", "slower", 0.6)])
    assert conversions.conversion_entry(decided, "m", 2, {}, {}, "/kept", False)["release"]["golden"] is None


def test_without_a_record_or_a_winner_nothing_changes():
    for record in ({}, {"models": {}}, {"models": {"digits": {"release": None}}}, {"models": {"other": recorded()["models"]["digits"]}}):
        assert conversions.with_variants(MODELS, record) == MODELS
    before = copy.deepcopy(MODELS)
    conversions.with_variants(MODELS, recorded())
    assert before == MODELS


def test_labels_policy_and_keep_of_the_inventory_follow():
    model = dict(MODELS[0], labels={"stable": 2, "old": 1}, policy={"specific": {"versions": [1, 2]}}, keep=2)
    result = released([model])
    assert (result["labels"], result["policy"], result["keep"]) == ({"stable": 3, "old": 1}, {"specific": {"versions": [1, 2, 3]}}, 3)


def test_a_newer_native_version_waits_for_its_own_conversion():
    newer = dict(MODELS[0], releases=MODELS[0]["releases"] + [{"version": 5, "source": "five.pb"}])
    assert [release["version"] for release in released([newer])["releases"]] == [1, 2, 5]
    between = dict(MODELS[0], releases=MODELS[0]["releases"] + [{"version": 4, "source": "four.pb"}])
    late = recorded()
    late["models"]["digits"]["release"]["version"] = 9
    with pytest.raises(ModelsError, match="native version 4 has a lower number than the variant 9"):
        released([between], late)


def test_a_variant_that_somebody_declared_is_not_added_twice():
    declared = dict(MODELS[0], releases=MODELS[0]["releases"] + [{"version": 3, "source": "/srv/three", "variant": "tflite-float32", "source_version": 2}])
    assert [release["source"] for release in released([declared])["releases"]][-1] == "/srv/three"


@pytest.mark.parametrize("wrong", [None, "digits", [3], [{"name": "digits", "releases": "none"}], [{"name": "digits", "releases": [{"version": "x"}]}]])
def test_what_is_wrong_in_the_inventory_is_left_to_its_own_check(wrong):
    assert conversions.with_variants(wrong, recorded()) == wrong
