"""Warm-up: replays a version's recorded requests before it becomes AVAILABLE, so that no client pays for first runs."""
import logging
import os
import time
from typing import Any, Callable, Dict

from google.protobuf.message import DecodeError

from .. import wire
from . import executor, inference, predict
from . import status as codes
from .lifecycle import Harness
from .metrics import Metrics
from .status import StatusError, invalid_argument, unimplemented

log = logging.getLogger(__name__)

FILE = os.path.join("assets.extra", "tf_serving_warmup_requests")
_MAX_RECORDS = 1000
_REPLAYS: Dict[str, Callable[..., Any]] = {
    "predict_log": predict.predict_on,
    "classify_log": inference.classify_on,
    "regress_log": inference.regress_on,
    "multi_inference_log": inference.multi_inference_on,
}


def replay(metrics: Metrics, harness: Harness, iterations: int) -> None:
    """Runs each record of the version's warm-up file so many times. Raises StatusError for any failure: it fails the load.

    The model that a record names is not looked at.
    """
    path = os.path.join(harness.path, FILE)
    if not os.path.exists(path):
        log.info("No warmup data file found at %s", path)
        return
    log.info("Starting to read warmup data for model at %s", path)
    started = time.time()
    status = "OK"
    try:
        count = _replay_file(metrics, harness, path, iterations)
        log.info("Finished reading warmup data for model at %s. Number of warmup records read: %d. Elapsed time (microseconds): %d.",
                 path, count, (time.time() - started) * 1e6)
    except StatusError as error:
        status = codes.name(error.code)
        raise
    finally:
        metrics.warmup_latency.observe((time.time() - started) * 1e6, harness.path, status)


def _replay_file(metrics: Metrics, harness: Harness, path: str, iterations: int) -> int:
    count = 0
    records = executor.read_records(path)
    while True:
        try:
            data = next(records, None)
        except StatusError as error:
            if error.code != codes.DATA_LOSS:
                raise
            raise StatusError(codes.DATA_LOSS, error.message + ". Please verify your warmup data is in TFRecord format.")
        if data is None:
            return count
        if count >= _MAX_RECORDS:
            raise invalid_argument("Number of warmup records exceeds the maximum (%d) at %s" % (_MAX_RECORDS, path))
        replay_record(metrics, harness, data, iterations)
        count += 1


def replay_record(metrics: Metrics, harness: Harness, data: bytes, iterations: int) -> None:
    """Runs one serialized PredictionLog so many times on a loaded version. Raises StatusError."""
    try:
        record = wire.PredictionLog.FromString(data)
    except DecodeError:
        raise invalid_argument("Failed to parse warmup record: %r" % data[:100])
    kind = record.WhichOneof("log_type")
    if kind is None:
        return
    if kind not in _REPLAYS:
        number = record.DESCRIPTOR.fields_by_name[kind].number
        raise unimplemented("Unsupported log_type for warmup: %d" % number)
    for _ in range(iterations):
        _REPLAYS[kind](metrics, harness, getattr(record, kind).request, None)
