"""What Prometheus is told. Values live in files that all workers share, in the directory that PROMETHEUS_MULTIPROC_DIR names before this is imported."""

import os

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

CONTENT_TYPE = CONTENT_TYPE_LATEST

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

REQUESTS = Counter("tfleet_gateway_requests_total", "Requests by route and status.", ["route", "method", "status"])
SECONDS = Histogram("tfleet_gateway_request_seconds", "Duration of requests by route, from their first byte to their answer.", ["route"], buckets=_SECONDS)
IN_FLIGHT = Gauge("tfleet_gateway_requests_in_flight", "Requests that are worked on.", multiprocess_mode="livesum")
REFUSED = Counter("tfleet_gateway_refused_total", "Requests that were refused, by reason.", ["reason"])
PREDICTIONS = Counter("tfleet_gateway_predictions_total", "Pictures that were answered, by model and version.", ["model", "version"])
MODEL_SECONDS = Histogram("tfleet_gateway_model_seconds", "Duration of the model servers' part of an answer.", ["model"], buckets=_SECONDS)
RETRIES = Counter("tfleet_gateway_upstream_retries_total", "Calls that were given to another model server.")
UPSTREAM_FAILURES = Counter("tfleet_gateway_upstream_failures_total", "Calls that a model server did not answer, by code.", ["server", "code"])
UPSTREAM_UP = Gauge("tfleet_gateway_upstream_up", "1 if a model server is asked, 0 if it is left alone.", ["server"], multiprocess_mode="livemin")


def text() -> bytes:
    """All metrics of all workers."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    return generate_latest(registry)
