"""TensorFlow Serving's protocol without TensorFlow: message classes, RPC paths, and tensors to and from numpy.

Each message and enum of `tfleet.wire.schema` is an attribute of this module by its short name: `wire.PredictRequest`,
`wire.ModelServerConfig`, `wire.Any`. They live in `wire.POOL`, apart from any other package that defines the same names;
exchange messages with those packages as bytes. text_format and json_format work on them; where an Any may occur, pass
`descriptor_pool=wire.POOL`.
"""

from typing import Any as _AnyType

from tfleet.wire import pool as _pool
from tfleet.wire import schema as _schema
from tfleet.wire import serving_schema as _serving_schema

POOL, _TYPES = _pool.build(
    _schema.WELL_KNOWN + _schema.TENSORFLOW + _serving_schema.SERVING + _serving_schema.HEALTH
)
globals().update(_TYPES)

DT = _TYPES["DataType"]
"""tensorflow.DataType: `DT.Name(1) == "DT_FLOAT"`, `DT.Value("DT_FLOAT") == 1`."""

ErrorCode = _TYPES["Code"]
"""tensorflow.error.Code; the numbers are those of gRPC's status codes."""

PREDICT = "/tensorflow.serving.PredictionService/Predict"
CLASSIFY = "/tensorflow.serving.PredictionService/Classify"
REGRESS = "/tensorflow.serving.PredictionService/Regress"
MULTI_INFERENCE = "/tensorflow.serving.PredictionService/MultiInference"
GET_MODEL_METADATA = "/tensorflow.serving.PredictionService/GetModelMetadata"
GET_MODEL_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
RELOAD_CONFIG = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
HEALTH_CHECK = "/grpc.health.v1.Health/Check"
HEALTH_WATCH = "/grpc.health.v1.Health/Watch"

METHODS = {
    PREDICT: (_TYPES["PredictRequest"], _TYPES["PredictResponse"]),
    CLASSIFY: (_TYPES["ClassificationRequest"], _TYPES["ClassificationResponse"]),
    REGRESS: (_TYPES["RegressionRequest"], _TYPES["RegressionResponse"]),
    MULTI_INFERENCE: (_TYPES["MultiInferenceRequest"], _TYPES["MultiInferenceResponse"]),
    GET_MODEL_METADATA: (_TYPES["GetModelMetadataRequest"], _TYPES["GetModelMetadataResponse"]),
    GET_MODEL_STATUS: (_TYPES["GetModelStatusRequest"], _TYPES["GetModelStatusResponse"]),
    RELOAD_CONFIG: (_TYPES["ReloadConfigRequest"], _TYPES["ReloadConfigResponse"]),
    HEALTH_CHECK: (_TYPES["HealthCheckRequest"], _TYPES["HealthCheckResponse"]),
    HEALTH_WATCH: (_TYPES["HealthCheckRequest"], _TYPES["HealthCheckResponse"]),
}
"""RPC path -> (request class, response class). HEALTH_WATCH streams its responses."""


def __getattr__(name: str) -> _AnyType:
    """Only reached for unknown names; tells type checkers that message classes are attributes of this module."""
    raise AttributeError("tfleet.wire has no message or enum named %r: see tfleet.wire.schema" % name)


from tfleet.wire import tensors  # noqa: E402, F401  (needs the message classes above)
