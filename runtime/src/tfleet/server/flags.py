"""The command line of TensorFlow Serving's model server: the table of flags, its grammar and the usage text.

Grammar (TensorFlow's command_line_flags): only `--name=value`; a bool also as `--name`; the last of a repeated flag
wins; a number must parse whole; `--` ends parsing; what is not understood is left over and does not stop the server.
"""
import os
import re
from collections import namedtuple
from typing import Any, Dict, List

CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)

Flag = namedtuple("Flag", "name kind default help")

FLAGS = (
    Flag("port", "int32", 8500, "TCP port to listen on for gRPC API. Disabled if port set to zero."),
    Flag("grpc_socket_path", "string", "", "If non-empty, listen to a UNIX socket for gRPC API on the given path."),
    Flag("rest_api_port", "int32", 0, "Port to listen on for HTTP/REST API. If set to zero HTTP/REST API will not be exported."),
    Flag("rest_api_num_threads", "int32", 4 * CPUS, "Number of HTTP/REST requests processed at the same time."),
    Flag("rest_api_timeout_in_ms", "int32", 30000, "Timeout for HTTP/REST API calls."),
    Flag("rest_api_enable_cors_support", "bool", False, "Enable CORS headers in response"),
    Flag("enable_batching", "bool", False, "enable batching"),
    Flag("allow_version_labels_for_unavailable_models", "bool", False,
         "If true, allows assigning unused version labels to models that are not available yet."),
    Flag("batching_parameters_file", "string", "", "If non-empty, read an ascii BatchingParameters protobuf from the supplied file name."),
    Flag("enable_per_model_batching_parameters", "bool", False,
         "Enables model specific batching parameters like batch sizes, timeouts, batching queue etc."),
    Flag("model_config_file", "string", "",
         "If non-empty, read an ascii ModelServerConfig protobuf from the supplied file name, and serve the models in that file."),
    Flag("model_config_file_poll_wait_seconds", "int32", 0,
         "Interval in seconds between each poll of the filesystem for model_config_file. 0 reads it once."),
    Flag("model_name", "string", "default", "name of model (ignored if --model_config_file flag is set)"),
    Flag("model_base_path", "string", "", "path to export (ignored if --model_config_file flag is set, otherwise required)"),
    Flag("num_load_threads", "int32", 0, "The number of threads used to load servables. If set as 0, servables are loaded one after another."),
    Flag("num_unload_threads", "int32", 0, "The number of threads used to unload servables. If set as 0, one after another."),
    Flag("max_num_load_retries", "int32", 5, "maximum number of times it retries loading a model after the first failure, before giving up."),
    Flag("load_retry_interval_micros", "int64", 60 * 1000 * 1000, "The interval, in microseconds, between each servable load retry."),
    Flag("file_system_poll_wait_seconds", "int32", 1,
         "Interval in seconds between each poll of the filesystem for new model version. 0 polls once, a negative value never."),
    Flag("flush_filesystem_caches", "bool", True, "If true, drops the model files from the page cache after they were loaded."),
    Flag("tensorflow_session_parallelism", "int64", 0, "Number of threads to use for running a Tensorflow session. Auto-configured by default."),
    Flag("tensorflow_session_config_file", "string", "", "If non-empty, read an ascii TensorFlow Session ConfigProto protobuf from the supplied file name."),
    Flag("tensorflow_intra_op_parallelism", "int64", 0, "Number of threads to use to parallelize the execution of an individual op."),
    Flag("tensorflow_inter_op_parallelism", "int64", 0, "Controls the number of operators that can be executed simultaneously."),
    Flag("use_alts_credentials", "bool", False, "Use Google ALTS credentials"),
    Flag("ssl_config_file", "string", "", "If non-empty, read an ascii SSLConfig protobuf from the supplied file name and set up a secure gRPC channel"),
    Flag("platform_config_file", "string", "", "If non-empty, read an ascii PlatformConfigMap protobuf from the supplied file name."),
    Flag("per_process_gpu_memory_fraction", "float", 0.0, "Fraction that each process occupies of the GPU memory space, 0.0 to 1.0."),
    Flag("saved_model_tags", "string", "serve", "Comma-separated set of tags corresponding to the meta graph def to load from SavedModel."),
    Flag("grpc_channel_arguments", "string", "", "A comma separated list of arguments to be passed to the grpc server. (e.g. grpc.max_connection_age_ms=2000)"),
    Flag("grpc_max_threads", "int32", 4 * CPUS, "Max grpc server threads to handle grpc messages."),
    Flag("enable_model_warmup", "bool", True, "Enables model warmup, which triggers lazy initializations at load time."),
    Flag("num_request_iterations_for_warmup", "int32", 0, "Number of times a request is iterated during warmup replay."),
    Flag("version", "bool", False, "Display version"),
    Flag("monitoring_config_file", "string", "", "If non-empty, read an ascii MonitoringConfig protobuf from the supplied file name"),
    Flag("remove_unused_fields_from_bundle_metagraph", "bool", True, "Removes unused fields from MetaGraphDef proto message to save memory."),
    Flag("prefer_tflite_model", "bool", False, "Prefer TensorFlow Lite model from `model.tflite` file in SavedModel directory."),
    Flag("num_tflite_pools", "int32", CPUS, "Number of TFLite interpreter pools."),
    Flag("num_tflite_interpreters_per_pool", "int32", 1, "Number of TFLite interpreters in an interpreter pool."),
    Flag("enable_signature_method_name_check", "bool", False, "Enable method_name check for SignatureDef."),
    Flag("xla_cpu_compilation_enabled", "bool", False, "Enable XLA:CPU JIT."),
    Flag("enable_profiler", "bool", True, "Enable profiler service."),
    Flag("thread_pool_factory_config_file", "string", "", "If non-empty, read an ascii ThreadPoolConfig protobuf from the supplied file name."),
    Flag("mixed_precision", "string", "", "Specify mixed_precision mode."),
    Flag("skip_initialize_tpu", "bool", False, "Whether to skip auto initializing TPU."),
    Flag("enable_grpc_healthcheck_service", "bool", False, "Enable the standard gRPC healthcheck service."),
    Flag("xla_gpu_compilation_enabled", "bool", False, "Enable XLA:GPU JIT."),
    Flag("enable_serialization_as_tensor_content", "bool", False, "Whether to serialize outputs as tensor_content."),
    # Ours. Their defaults are TensorFlow Serving's behaviour; the roles turn them on.
    Flag("tfleet_bind_address", "string", "", "Address that gRPC and REST listen on; empty: every address, like TensorFlow Serving."),
    Flag("tfleet_drain_seconds", "int32", 0,
         "On SIGTERM stop taking requests, report NOT_SERVING and let running ones finish for up to so many seconds; 0 ends at once."),
    Flag("tfleet_reload_polls_at_once", "bool", False, "A reloaded model config looks at the model directories at once, not at the next poll."),
    Flag("tfleet_missing_path_blocks_only_itself", "bool", False, "A missing base_path delays its own model only, not the updates of all models."),
    Flag("tfleet_failed_model_blocks_only_itself", "bool", False, "A model that cannot be loaded does not end the start: the others are served."),
    Flag("tfleet_retry_failed_version_on_change", "bool", False, "A version that failed to load is tried again when its files change."),
    Flag("tfleet_hardware_class", "string", "",
         "If non-empty, refuse versions whose TensorRT engines were built for another hardware class than this."),
    Flag("tfleet_start_guard_file", "string", "",
         "If non-empty, record in this file which versions are being loaded; one that the server died of is not loaded again until it changes."),
)
_BY_NAME: Dict[str, Flag] = {flag.name: flag for flag in FLAGS}

_INT_LIMITS = {"int32": 1 << 31, "int64": 1 << 63}


class UsageError(Exception):
    """A value that does not parse, or `--help`: the server prints the usage and exits with 255."""


class Flags:
    """One attribute for each flag of the table; `leftover` holds the arguments that were not understood, in order."""

    def __init__(self, **values: Any) -> None:
        for flag in FLAGS:
            setattr(self, flag.name, flag.default)
        self.leftover: List[str] = []
        for name, value in values.items():
            if name not in _BY_NAME:
                raise TypeError("there is no flag --%s" % name)
            setattr(self, name, value)

    @property
    def bind_address(self) -> str:
        """What gRPC listens on: every IPv4 address unless --tfleet_bind_address says otherwise, as in TensorFlow Serving."""
        return self.tfleet_bind_address or "0.0.0.0"  # noqa: S104

    def __getattr__(self, name: str) -> Any:  # only for names that __init__ did not set; tells mypy the rest are Any
        raise AttributeError(name)


def parse(argv: List[str]) -> Flags:
    """The flags of a command line (without the program's name). Raises UsageError."""
    flags = Flags()
    for position, argument in enumerate(argv):
        if argument == "--":
            flags.leftover.extend(argv[position + 1:])
            break
        if argument == "--help":
            raise UsageError("")
        name, equals, text = argument[2:].partition("=")
        flag = _BY_NAME.get(name) if argument.startswith("--") else None
        if flag is None or (not equals and flag.kind != "bool"):
            flags.leftover.append(argument)
            continue
        setattr(flags, name, _value(flag, text if equals else "true"))
    return flags


def _value(flag: Flag, text: str) -> Any:
    if flag.kind == "string":
        return text
    if flag.kind == "bool":
        # Older TensorFlow takes only true and false, newer also 1, 0 and any case: accept all of them.
        value = {"true": True, "1": True, "false": False, "0": False}.get(text.lower())
        if value is not None:
            return value
    elif flag.kind == "float":
        try:
            return float(text)
        except ValueError:
            pass
    elif re.match(r"[+-]?[0-9]+\Z", text):
        number = int(text)
        if -_INT_LIMITS[flag.kind] <= number < _INT_LIMITS[flag.kind]:
            return number
    raise UsageError("Couldn't interpret value %s for flag %s." % (text, flag.name))


def usage(program: str) -> str:
    """The usage text, in the form of TensorFlow's flag library."""
    lines = ["usage: %s" % program, "Flags:"]
    for flag in FLAGS:
        shown = {"bool": lambda v: "true" if v else "false", "string": '"%s"'.__mod__, "float": "%f".__mod__}.get(flag.kind, str)
        lines.append("\t%-33s\t%s\t%s" % ("--%s=%s" % (flag.name, shown(flag.default)), flag.kind, flag.help))
    return "\n".join(lines) + "\n"
