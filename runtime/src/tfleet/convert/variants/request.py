"""What is asked of a conversion: options, the variant's name, the fingerprint. No TensorFlow here."""

import hashlib
import json
import re
from typing import Any, Dict, List, NamedTuple, Optional

from tfleet.errors import TfleetError

FORMAT = 1
KINDS = ("tftrt", "tflite", "grappler")
PRECISIONS = {"tftrt": ("FP32", "FP16", "INT8"), "tflite": ("FP32", "FP16", "INT8"), "grappler": ("FP32",)}
STRATEGIES = ("Range", "Optimal", "Range+Optimal", "ImplicitBatchModeCompatible")
_LITE_NAMES = {"FP32": "float32", "FP16": "float16", "INT8": "int8"}
_CLASS = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")
# What belongs to TF-TRT alone, with its value when nobody asked for it.
_TFTRT_ONLY = {
    "batch_sizes": [], "shapes": {}, "dynamic_shape": False, "profile_strategy": None, "workspace_bytes": None, "minimum_segment_size": 3,
    "cached_engines": None, "build": True, "build_at_runtime": True, "gpu_memory_bytes": None,
}  # fmt: skip

Request = NamedTuple(
    "Request",
    [
        ("kind", str),  # tftrt | tflite | grappler
        ("precision", str),  # FP32 | FP16 | INT8
        ("signature", str),
        ("tags", List[str]),
        ("hardware_class", Optional[str]),  # tftrt: where the engines will be built, and may be used
        ("device_precisions", List[str]),  # what the device's chip can do; empty if nobody said
        ("calibration", List[str]),  # TFRecord files
        ("calibration_examples", int),
        ("calibration_batch", int),
        ("values", List[float]),  # the range of float pixels
        ("batch_sizes", List[int]),  # tftrt: engines are built for these
        ("shapes", Dict[str, List[List[int]]]),  # and, where more than the batch is free, for these
        ("dynamic_shape", bool),
        ("profile_strategy", Optional[str]),
        ("workspace_bytes", Optional[int]),
        ("minimum_segment_size", int),
        ("cached_engines", Optional[int]),
        ("build", bool),  # whether engines are built now
        ("build_at_runtime", bool),  # whether the server may build more
        ("gpu_memory_bytes", Optional[int]),  # None: memory grows as it is needed
    ],
)


def new(kind: str, precision: str = "FP32", **options: Any) -> Request:
    """A checked Request. Raises TfleetError that names the option and says what to give instead."""
    values: Dict[str, Any] = {
        "signature": "serving_default", "tags": ["serve"], "hardware_class": None, "device_precisions": [], "calibration": [],
        "calibration_examples": 500, "calibration_batch": 8, "values": [0.0, 1.0],
    }  # fmt: skip
    values.update(_TFTRT_ONLY)
    values.update(options)
    request = Request(kind=kind, precision=precision.upper(), **values)
    _check(request)
    return request._replace(tags=sorted(set(request.tags)), batch_sizes=sorted(set(request.batch_sizes)))


def name(request: Request) -> str:
    """The variant's name, as releases and reports have it: tftrt-<hardware class>-FP16, tflite-float16, grappler."""
    if request.kind == "tftrt":
        return "tftrt-%s-%s" % (request.hardware_class, request.precision)
    return "tflite-" + _LITE_NAMES[request.precision] if request.kind == "tflite" else "grappler"


def options(request: Request) -> Dict[str, Any]:
    """What decides the result, for the fingerprint and the provenance: without paths, and without options that do not apply."""
    chosen = dict(request._asdict())
    for key in ("kind", "hardware_class", "device_precisions", "calibration", "gpu_memory_bytes"):
        del chosen[key]
    if request.kind != "tftrt":
        for key in _TFTRT_ONLY:
            chosen.pop(key, None)
    if request.precision != "INT8":
        for key in ("calibration_examples", "calibration_batch", "values"):
            del chosen[key]
    return chosen


def fingerprint(request: Request, source_sha256: str, calibration_sha256: Optional[str]) -> str:
    """The SHA-256 that two conversions share exactly when source, options, calibration data and hardware class are the same."""
    content = {
        "format": FORMAT,
        "source_sha256": source_sha256,
        "calibration_sha256": calibration_sha256,
        "variant": name(request),
        "hardware_class": request.hardware_class,
        "options": options(request),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode("utf-8")).hexdigest()


def parse_shape(text: str) -> List[int]:
    """``[1, 300, 300, 3]`` of ``1x300x300x3``. Raises ValueError."""
    sizes = [int(part) for part in text.split("x")]
    if any(size < 1 for size in sizes):
        raise ValueError("a shape to build has no free sizes")
    return sizes


def _check(request: Request) -> None:
    if request.kind not in KINDS:
        raise TfleetError("There is no variant `%s`: use one of %s." % (request.kind, ", ".join(KINDS)))
    if request.precision not in PRECISIONS[request.kind]:
        raise TfleetError("The variant %s has no precision %s: use %s." % (request.kind, request.precision, " or ".join(PRECISIONS[request.kind])))
    if request.kind != "tftrt":
        foreign = sorted(key for key, value in _TFTRT_ONLY.items() if getattr(request, key) != value)
        if foreign or request.hardware_class:
            raise TfleetError(
                "`%s` means something to TF-TRT only, not to %s, which is the same on every device. Leave it out."
                % ((foreign + ["hardware_class"])[0], request.kind)
            )
    else:
        _check_tftrt(request)
    if request.precision == "INT8" and not request.calibration:
        raise TfleetError(
            "INT8 needs calibration data, from which the ranges of values are learned: give a TFRecord file of typical examples "
            "(--calibration, `tfleet tfrecord write` makes one), or choose FP16."
        )
    if request.precision != "INT8" and request.calibration:
        raise TfleetError("Calibration data is for INT8 only, but the precision is %s. Leave one of them out." % request.precision)
    if request.calibration_examples < 1 or request.calibration_batch < 1:
        raise TfleetError("The number of calibration examples and their batch must be 1 or more.")


def _check_tftrt(request: Request) -> None:
    if not request.hardware_class:
        raise TfleetError(
            "A TF-TRT variant belongs to one hardware class: say which this device is (--hardware-class; the fact "
            "tfleet_device.hardware_class of module jetson_facts)."
        )
    if not _CLASS.match(request.hardware_class):
        raise TfleetError("The hardware class `%s` cannot be part of a name: use letters, digits, '.', '_', '+' and '-'." % request.hardware_class)
    if request.device_precisions and request.precision not in request.device_precisions:
        raise TfleetError(
            "The chip of this device (hardware class %s) has no %s: TensorRT can use %s there. Choose one of these."
            % (request.hardware_class, request.precision, ", ".join(request.device_precisions))
        )
    if request.profile_strategy is not None and not request.dynamic_shape:
        raise TfleetError("A profile strategy is for dynamic shapes: add --dynamic-shape, or leave the strategy out.")
    if request.profile_strategy is not None and request.profile_strategy not in STRATEGIES:
        raise TfleetError("There is no profile strategy `%s`: use one of %s." % (request.profile_strategy, ", ".join(STRATEGIES)))
    if request.dynamic_shape and not (request.batch_sizes or request.shapes):
        raise TfleetError(
            "Dynamic shapes need a profile: name the batch sizes (--batch-sizes, those of allowed_batch_sizes) or the shapes (--shape) that "
            "clients will send, smallest and largest included."
        )
    if request.dynamic_shape and not request.build:
        raise TfleetError("Dynamic shapes need engines built now, from the shapes of the profile: leave --no-build out.")
    if request.minimum_segment_size < 1 or any(size < 1 for size in request.batch_sizes):
        raise TfleetError("The minimum segment size and the batch sizes must be 1 or more.")
    limits = {"workspace": request.workspace_bytes, "GPU memory limit": request.gpu_memory_bytes, "number of cached engines": request.cached_engines}
    for what, size in limits.items():
        if size is not None and size < 1:
            raise TfleetError("The %s must be more than 0." % what)
