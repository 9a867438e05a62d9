"""The TF-TRT converter of whatever TensorFlow is here, by looking at its signature, never at a version number (facts/jetson.md, section 8a).

TensorFlow 1.15 has TrtGraphConverter with keywords; 2.0 to 2.7 have TrtGraphConverterV2 with a namedtuple of options, whose fields came
and went; from 2.8 on the options are keywords again.
"""

import inspect
from typing import Any, Dict, List, NamedTuple, Tuple

from tfleet.convert.variants.request import Request

Form = NamedTuple(
    "Form",
    [
        ("version", int),  # 1: converts and saves graphs in sessions. 2: functions
        ("arguments", Dict[str, Any]),  # what the constructor gets
        ("left_out", List[str]),  # options that were asked for and that this release does not have
    ],
)


def converter_class(trt: Any) -> Any:
    """TrtGraphConverterV2 where it exists and is to be used, else TrtGraphConverter."""
    import tensorflow as tf

    if hasattr(trt, "TrtGraphConverterV2") and tf.executing_eagerly():
        return trt.TrtGraphConverterV2
    return trt.TrtGraphConverter


def form_of(converter: Any, default_params: Any, request: Request, source: str) -> Form:
    """The constructor's arguments for `request`.

    :param converter: the class, or anything with its __init__
    :param default_params: trt_convert.DEFAULT_TRT_CONVERSION_PARAMS, None where the release has none
    """
    accepted = parameters(converter)
    arguments: Dict[str, Any] = {
        "input_saved_model_dir": source,
        "input_saved_model_tags": list(request.tags),
        "input_saved_model_signature_key": request.signature,
    }
    version = 1 if "conversion_params" not in accepted and "is_dynamic_op" in accepted else 2
    wanted = _wanted(request, version)
    shape_options = {"use_dynamic_shape": True, "dynamic_shape_profile_strategy": request.profile_strategy} if request.dynamic_shape else {}
    if "precision_mode" in accepted:
        taken, left_out = _split(wanted, accepted)
        arguments.update(taken)
    else:
        taken, left_out = _split(wanted, default_params._fields)
        arguments["conversion_params"] = default_params._replace(**taken)
    taken, more = _split(shape_options, accepted)
    arguments.update({key: value for key, value in taken.items() if value is not None})
    return Form(version, arguments, sorted(_asked_for(left_out, request) + more))


def parameters(converter: Any) -> Tuple[str, ...]:
    """Names of the constructor's parameters, under TensorFlow's decorators too."""
    return tuple(name for name in inspect.signature(converter.__init__).parameters if name not in ("self", "args", "kwargs"))


def engines(request: Request) -> int:
    """How many engines a segment keeps: one for each shape that is built, unless somebody said otherwise."""
    shapes = max([len(request.batch_sizes)] + [len(listed) for listed in request.shapes.values()])
    return request.cached_engines or max(1, shapes)


def _wanted(request: Request, version: int) -> Dict[str, Any]:
    wanted: Dict[str, Any] = {
        "precision_mode": request.precision,
        "minimum_segment_size": request.minimum_segment_size,
        "maximum_cached_engines": engines(request),
        "use_calibration": request.precision == "INT8",
        "allow_build_at_runtime": request.build_at_runtime,
        # Functions have engines for the shapes that come, which is all that 2.5 and later know.
        "is_dynamic_op": True,
    }
    if version == 1 and request.build and request.precision != "INT8":
        # A graph has no build() and saves no engines but static ones, which convert() builds for batches up to the largest.
        wanted.update(is_dynamic_op=False, max_batch_size=max(request.batch_sizes or [1]))
    if request.workspace_bytes is not None:
        wanted["max_workspace_size_bytes"] = request.workspace_bytes
    return wanted


def _split(wanted: Dict[str, Any], known: Any) -> Tuple[Dict[str, Any], List[str]]:
    return {key: value for key, value in wanted.items() if key in known}, [key for key in wanted if key not in known]


def _asked_for(left_out: List[str], request: Request) -> List[str]:
    """Of the options this release lacks, those whose absence changes something."""
    return [key for key in left_out if key == "allow_build_at_runtime" and not request.build_at_runtime]
