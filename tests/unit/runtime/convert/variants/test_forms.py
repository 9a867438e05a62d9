"""Which arguments TF-TRT's constructor gets, by the signatures that releases have: recorded from their wheels, and of the TensorFlow that is here."""

import collections
import inspect
import os

import pytest
import yaml

from tfleet.convert.variants import forms, request

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 5))
MODEL = "/srv/models/detector"
SAVED_MODEL = ["input_saved_model_dir", "input_saved_model_tags", "input_saved_model_signature_key"]

# facts/jetson.md, section 8a: parameters of the constructor, and fields of conversion_params.
RECORDED = {
    "1.15": (
        SAVED_MODEL
        + ["input_graph_def", "nodes_blacklist", "session_config", "max_batch_size", "max_workspace_size_bytes", "precision_mode"]
        + ["minimum_segment_size", "is_dynamic_op", "maximum_cached_engines", "use_calibration"],
        None,
    ),
    "2.0": (
        SAVED_MODEL + ["conversion_params"],
        ["rewriter_config_template", "max_workspace_size_bytes", "precision_mode", "minimum_segment_size", "is_dynamic_op", "maximum_cached_engines"]
        + ["use_calibration", "max_batch_size"],
    ),
    "2.2": (
        SAVED_MODEL + ["conversion_params"],
        ["rewriter_config_template", "max_workspace_size_bytes", "precision_mode", "minimum_segment_size", "is_dynamic_op", "maximum_cached_engines"]
        + ["use_calibration", "max_batch_size", "allow_build_at_runtime"],
    ),
    "2.5": (
        SAVED_MODEL + ["conversion_params", "use_dynamic_shape", "dynamic_shape_profile_strategy"],
        ["max_workspace_size_bytes", "precision_mode", "minimum_segment_size", "maximum_cached_engines", "use_calibration", "allow_build_at_runtime"],
    ),
    "2.8": (
        SAVED_MODEL
        + ["use_dynamic_shape", "dynamic_shape_profile_strategy", "max_workspace_size_bytes", "precision_mode", "minimum_segment_size"]
        + ["maximum_cached_engines", "use_calibration", "allow_build_at_runtime", "conversion_params"],
        ["max_workspace_size_bytes", "precision_mode", "minimum_segment_size", "maximum_cached_engines", "use_calibration", "allow_build_at_runtime"],
    ),
}


def recorded(release):
    """`(class, default params)` with the signature of that release; calling it with anything else is the TypeError it is there."""
    names, fields = RECORDED[release]
    signature = inspect.Signature([inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
                                  + [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None) for name in names])  # fmt: skip

    def constructor(self, **arguments):
        signature.bind(self, **arguments)
        self.arguments = arguments

    constructor.__signature__ = signature
    params = collections.namedtuple("TrtConversionParams", fields)(*[None] * len(fields)) if fields else None
    return type("Converter", (object,), {"__init__": constructor}), params


def asked(**changes):
    options = {"hardware_class": "c", "batch_sizes": [1, 8], "workspace_bytes": 2**25, "minimum_segment_size": 50}
    options.update(changes)
    return request.new("tftrt", changes.pop("precision", "FP16"), **{key: value for key, value in options.items() if key != "precision"})


def built(release, **changes):
    kind, params = recorded(release)
    form = forms.form_of(kind, params, asked(**changes), MODEL)
    return form, kind(**form.arguments).arguments


@pytest.mark.parametrize("release", sorted(RECORDED))
def test_every_release_gets_what_it_knows(release):
    form, arguments = built(release)
    assert form.left_out == []
    assert form.version == (1 if release == "1.15" else 2)
    options = arguments["conversion_params"]._asdict() if "conversion_params" in arguments else arguments
    assert options["precision_mode"] == "FP16" and options["minimum_segment_size"] == 50
    assert options["max_workspace_size_bytes"] == 2**25 and options["maximum_cached_engines"] == 2
    assert not options["use_calibration"]
    assert arguments["input_saved_model_dir"] == MODEL and arguments["input_saved_model_signature_key"] == "serving_default"


@pytest.mark.parametrize("release", sorted(RECORDED))
def test_the_data_file_says_the_same(release):
    """What the controller knows of the releases (data/tftrt.yml) are the signatures that this test recorded."""
    with open(os.path.join(ROOT, "data", "tftrt.yml")) as stream:
        rows = {row["first"]: row for row in yaml.safe_load(stream)["constructors"]}
    names, fields = RECORDED[release]
    others = SAVED_MODEL + ["input_graph_def", "conversion_params"]
    options = fields if rows[release]["arguments"] == "params" else [name for name in names if name not in others]
    assert sorted(rows[release]["options"]) == sorted(options)


@pytest.mark.parametrize("release", ["2.0", "2.2"])
def test_before_2_5_engines_must_be_dynamic(release):
    _form, arguments = built(release)
    assert arguments["conversion_params"].is_dynamic_op is True


def test_1_15_builds_engines_for_the_largest_batch_while_converting():
    _form, arguments = built("1.15")
    assert arguments["is_dynamic_op"] is False and arguments["max_batch_size"] == 8
    _form, arguments = built("1.15", precision="INT8", calibration=["a"])
    assert arguments["is_dynamic_op"] is True and arguments["use_calibration"] is True


@pytest.mark.parametrize("release", ["2.5", "2.8"])
def test_dynamic_shapes(release):
    _form, arguments = built(release, dynamic_shape=True, profile_strategy="Range+Optimal")
    assert arguments["use_dynamic_shape"] is True and arguments["dynamic_shape_profile_strategy"] == "Range+Optimal"
    _form, arguments = built(release, dynamic_shape=True)
    assert "dynamic_shape_profile_strategy" not in arguments


@pytest.mark.parametrize("release", ["1.15", "2.0", "2.2"])
def test_dynamic_shapes_that_a_release_lacks_are_told(release):
    form, _arguments = built(release, dynamic_shape=True)
    assert form.left_out == ["dynamic_shape_profile_strategy", "use_dynamic_shape"]


@pytest.mark.parametrize("release", ["1.15", "2.0"])
def test_an_option_that_would_be_lost_is_told(release):
    form, _arguments = built(release, build_at_runtime=False)
    assert form.left_out == ["allow_build_at_runtime"]


def test_the_tensorflow_that_is_here():
    import tensorflow  # noqa: F401
    from tensorflow.python.compiler.tensorrt import trt_convert

    kind = forms.converter_class(trt_convert)
    assert kind is trt_convert.TrtGraphConverterV2
    assert list(forms.parameters(kind)) == RECORDED["2.8"][0]
    assert list(trt_convert.DEFAULT_TRT_CONVERSION_PARAMS._fields) == RECORDED["2.8"][1]
    form = forms.form_of(kind, trt_convert.DEFAULT_TRT_CONVERSION_PARAMS, asked(dynamic_shape=True), MODEL)
    assert form.version == 2 and form.left_out == []
    inspect.signature(kind.__init__).bind(None, **form.arguments)
