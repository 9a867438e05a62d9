"""TensorFlow Serving's protocol without TensorFlow: message classes, RPC paths, and tensors to and from numpy.

Each message and enum of `tfleet.wire.schema` is an attribute of this module by its short name: `wire.PredictRequest`,
`wire.ModelServerConfig`, `wire.Any`. They live in `wire.POOL`, apart from any other package that defines the same names;
exchange messages with those packages as bytes. text_format and json_format work on them; where an Any may occur, pass
`descriptor_pool=wire.POOL`.
"""

import typing as _typing

from tfleet.wire import predict_bytes, tensors
from tfleet.wire.messages import POOL, TYPES

__all__ = ["DT", "METHODS", "POOL", "TYPES", "ErrorCode", "predict_bytes", "tensors"]

globals().update(TYPES)

DT: _typing.Any = TYPES["DataType"]
"""tensorflow.DataType: `DT.Name(1) == "DT_FLOAT"`, `DT.Value("DT_FLOAT") == 1`."""

ErrorCode: _typing.Any = TYPES["Code"]
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

METHODS: _typing.Dict[str, _typing.Tuple[_typing.Any, _typing.Any]] = {
    PREDICT: (TYPES["PredictRequest"], TYPES["PredictResponse"]),
    CLASSIFY: (TYPES["ClassificationRequest"], TYPES["ClassificationResponse"]),
    REGRESS: (TYPES["RegressionRequest"], TYPES["RegressionResponse"]),
    MULTI_INFERENCE: (TYPES["MultiInferenceRequest"], TYPES["MultiInferenceResponse"]),
    GET_MODEL_METADATA: (TYPES["GetModelMetadataRequest"], TYPES["GetModelMetadataResponse"]),
    GET_MODEL_STATUS: (TYPES["GetModelStatusRequest"], TYPES["GetModelStatusResponse"]),
    RELOAD_CONFIG: (TYPES["ReloadConfigRequest"], TYPES["ReloadConfigResponse"]),
    HEALTH_CHECK: (TYPES["HealthCheckRequest"], TYPES["HealthCheckResponse"]),
    HEALTH_WATCH: (TYPES["HealthCheckRequest"], TYPES["HealthCheckResponse"]),
}
"""RPC path -> (request class, response class). HEALTH_WATCH streams its responses."""


def __getattr__(name: str) -> _typing.Any:
    """Only reached for unknown names; tells type checkers that message classes are attributes of this module."""
    raise AttributeError("tfleet.wire has no message or enum named %r: see tfleet.wire.schema" % name)
