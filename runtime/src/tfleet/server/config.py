"""The server's text-format files: parsing them with protobuf's own parser, and the rules a model list must keep."""
import re
import sys
from typing import Any, Dict

from google.protobuf import text_format

from .. import wire
from .status import failed_precondition, invalid_argument, not_found

PLATFORM = "tensorflow"
_TENSORFLOW_TYPE = 1  # of the deprecated enum ModelType


def read(path: str, message: Any) -> Any:
    """Fills a message from a text-format file and returns it. Raises StatusError in TensorFlow Serving's words."""
    try:
        with open(path, "rb") as source:
            text = source.read()
    except OSError as error:
        raise not_found("%s; %s" % (path, error.strerror))
    try:
        return text_format.Parse(text.decode("utf-8"), message)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        # The C++ parser writes this line itself, and people look for it there.
        sys.stderr.write("[libprotobuf ERROR tfleet/server/config.py] Error parsing text-format %s: %s\n"
                         % (message.DESCRIPTOR.full_name, error))
        raise invalid_argument("Invalid protobuf file: '%s'" % path)


def read_model_config(path: str) -> Any:
    """A wire.ModelServerConfig from a file."""
    return read(path, wire.ModelServerConfig())


def single_model(name: str, base_path: str) -> Any:
    """The wire.ModelServerConfig that --model_name and --model_base_path stand for."""
    config = wire.ModelServerConfig()
    config.model_config_list.config.add(name=name, base_path=base_path, model_platform=PLATFORM)
    return config


def validate(config: Any, before: Any = None) -> Dict[str, Any]:
    """The models of a ModelServerConfig by name. Raises StatusError for what the server would not accept.

    before: the config it would replace, if there is one.
    """
    models: Dict[str, Any] = {}
    for model in config.model_config_list.config:
        if model.name in models:
            raise invalid_argument("Illegal to list model %s multiple times in config list" % model.name)
        models[model.name] = model
    for model in config.model_config_list.config:
        if not is_absolute(model.base_path):
            raise invalid_argument("Expected model %s to have an absolute path or URI; got base_path()=%s"
                                   % (model.name, model.base_path))
    if before is not None:
        _check_transition(before, config)
    for model in config.model_config_list.config:
        if platform(model) != PLATFORM:
            raise invalid_argument("Model %s requests unsupported platform %s" % (model.name, platform(model)))
    return models


def is_absolute(base_path: str) -> bool:
    """Absolute path or URI."""
    return base_path.startswith("/") or bool(re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", base_path))


def platform(model: Any) -> str:
    """The platform a ModelConfig asks for, by the new field or the deprecated one. Raises StatusError."""
    if model.model_type and model.model_platform:
        raise invalid_argument("Illegal setting both ModelServerConfig::model_type (deprecated) and "
                               "ModelServerConfig::model_platform, model name is " + model.name)
    if model.model_type:
        return PLATFORM if model.model_type == _TENSORFLOW_TYPE else "other"
    if not model.model_platform:
        raise invalid_argument("Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
                               "ModelServerConfig::model_platform, model name is " + model.name)
    return str(model.model_platform)


def _check_transition(before: Any, after: Any) -> None:
    known = {model.name: platform(model) for model in before.model_config_list.config}
    for model in after.model_config_list.config:
        now = platform(model)
        if known.get(model.name, now) != now:
            raise invalid_argument("Illegal to change a model's platform. For model %s platform was %s and new platform "
                                   "requested is %s" % (model.name, known[model.name], now))


def check_request_logging(config: Any) -> None:
    """Any logging_config fails a (re)load at its very end: this server has no request logger."""
    for model in config.model_config_list.config:
        if model.HasField("logging_config"):
            raise failed_precondition("No request-logger-creator provided.")


def check_batching(parameters: Any) -> None:
    """Raises StatusError for BatchingParameters that would fail every model's load."""
    allowed = list(parameters.allowed_batch_sizes)
    largest = parameters.max_batch_size.value if parameters.HasField("max_batch_size") else 1000
    execution = parameters.max_execution_batch_size.value if parameters.HasField("max_execution_batch_size") else largest
    splitting = parameters.enable_large_batch_splitting.value
    for field in ("max_batch_size", "num_batch_threads", "max_enqueued_batches", "max_execution_batch_size"):
        if parameters.HasField(field) and getattr(parameters, field).value < 1:
            raise invalid_argument("%s must be positive; was %d" % (field, getattr(parameters, field).value))
    if parameters.batch_timeout_micros.value < 0:
        raise invalid_argument("batch_timeout_micros must be non-negative; was %d" % parameters.batch_timeout_micros.value)
    if splitting and execution > largest:
        raise invalid_argument("max_execution_batch_size must be less than or equal to max_batch_size; "
                               "was %d and %d" % (execution, largest))
    if any(a >= b for a, b in zip(allowed, allowed[1:])) or (allowed and allowed[0] < 1):
        raise invalid_argument("allowed_batch_sizes entries must be monotonically increasing and positive")
    limit = execution if splitting else largest
    if allowed and allowed[-1] != limit:
        raise invalid_argument("Last entry in allowed_batch_sizes must match %s; last entry was %d; expected %d"
                               % ("max_execution_batch_size" if splitting else "max_batch_size", allowed[-1], limit))


def monitoring_path(config: Any) -> str:
    """Where a MonitoringConfig wants the Prometheus page; empty if it does not want one."""
    if not config.prometheus_config.enable:
        return ""
    return config.prometheus_config.path or "/monitoring/prometheus/metrics"


def check_monitoring(config: Any) -> None:
    """Raises StatusError for a page path no request could name."""
    path = config.prometheus_config.path
    if path and not path.startswith("/"):
        raise invalid_argument("prometheus_config.path must begin with a slash; was '%s'" % path)
