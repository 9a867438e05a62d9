"""--platform_config_file: how versions are loaded, as the SessionBundleConfig inside a text PlatformConfigMap says it.

    platform_configs { key: "tensorflow" value { source_adapter_config {
      [type.googleapis.com/tensorflow.serving.SavedModelBundleSourceAdapterConfig] {
        legacy_config { session_config { intra_op_parallelism_threads: 2 } enable_model_warmup: true } } } } }
"""
import sys
from typing import Any, List, Tuple

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, text_format, wrappers_pb2
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import MessageFactory

from .. import wire
from .config import PLATFORM
from .executor import tensorflow
from .status import invalid_argument, not_found

_FIELD = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "tensorflow.serving."
_BATCHING_FILE = "tensorflow_serving/config/server_files.proto"
_WELL_KNOWN = ("google/protobuf/any.proto", "google/protobuf/wrappers.proto")

# Fields by name, number and type, from tensorflow/serving's session_bundle_config.proto and the two adapters' files. The
# numbers from 784 on are inferred: they matter to a value in binary form only, and the text form has none.
_MESSAGES: List[Tuple[str, List[Tuple[str, int, str]]]] = [
    ("ModelWarmupOptions", [("num_request_iterations", 1, ".google.protobuf.Int32Value")]),
    ("SessionBundleConfig", [
        ("session_target", 1, "string"),
        ("session_config", 2, ".tensorflow.ConfigProto"),
        ("batching_parameters", 3, ".tensorflow.serving.BatchingParameters"),
        ("session_run_load_threadpool_index", 4, ".google.protobuf.Int32Value"),
        ("experimental_transient_ram_bytes_during_load", 5, "uint64"),
        ("saved_model_tags", 6, "strings"),
        ("enable_model_warmup", 779, "bool"),
        ("model_warmup_options", 780, ".tensorflow.serving.ModelWarmupOptions"),
        ("enable_session_metadata", 781, "bool"),
        ("remove_unused_fields_from_bundle_metagraph", 782, "bool"),
        ("prefer_tflite_model", 783, "bool"),
        ("num_tflite_interpreters", 784, "int32"),
        ("num_tflite_interpreters_per_pool", 785, "int32"),
        ("num_tflite_pools", 786, "int32"),
    ]),
    ("SavedModelBundleSourceAdapterConfig", [("legacy_config", 1000, ".tensorflow.serving.SessionBundleConfig")]),
    ("SessionBundleSourceAdapterConfig", [("config", 1, ".tensorflow.serving.SessionBundleConfig")]),
]
_KINDS = {"string": _FIELD.TYPE_STRING, "strings": _FIELD.TYPE_STRING, "bool": _FIELD.TYPE_BOOL, "int32": _FIELD.TYPE_INT32,
          "uint64": _FIELD.TYPE_UINT64}


def read(path: str) -> Any:
    """The SessionBundleConfig of the platform tensorflow in a PlatformConfigMap file. Raises StatusError."""
    pool = _pool()
    try:
        with open(path, "rb") as source:
            text = source.read()
    except OSError as error:
        raise not_found("%s; %s" % (path, error.strerror))
    try:
        config = text_format.Parse(text.decode("utf-8"), wire.PlatformConfigMap(), descriptor_pool=pool)
    except (text_format.ParseError, UnicodeDecodeError, TypeError) as error:
        sys.stderr.write("[libprotobuf ERROR tfleet/server/platform_config.py] Error parsing text-format "
                         "tensorflow.serving.PlatformConfigMap: %s\n" % error)
        raise invalid_argument("Invalid protobuf file: '%s'" % path)
    if PLATFORM not in config.platform_configs:
        raise invalid_argument("%s configures no platform '%s', the only one there is: models of it could not be loaded" % (path, PLATFORM))
    packed = config.platform_configs[PLATFORM].source_adapter_config
    name = packed.type_url.rpartition("/")[2]
    for adapter, field in ((_PACKAGE + "SavedModelBundleSourceAdapterConfig", "legacy_config"),
                           (_PACKAGE + "SessionBundleSourceAdapterConfig", "config")):
        if name == adapter:
            try:
                return getattr(_message_class(pool, name).FromString(packed.value), field)
            except DecodeError:
                raise invalid_argument("%s: the value of source_adapter_config is not a %s" % (path, name))
    raise invalid_argument("%s: there is no source adapter for '%s'; use %sSavedModelBundleSourceAdapterConfig" % (path, name, _PACKAGE))


def _message_class(pool: Any, name: str) -> Any:
    descriptor = pool.FindMessageTypeByName(name)
    try:
        from google.protobuf.message_factory import GetMessageClass  # protobuf 4.22 on
    except ImportError:
        return MessageFactory(pool).GetPrototype(descriptor)
    return GetMessageClass(descriptor)


def _pool() -> Any:
    """A pool with these messages and the ConfigProto of this very TensorFlow."""
    tensorflow()
    from tensorflow.core.protobuf import config_pb2

    pool = descriptor_pool.DescriptorPool()
    added = set()

    def add(file: Any) -> None:
        if file.name not in added:
            added.add(file.name)
            for dependency in file.dependencies:
                add(dependency)
            pool.AddSerializedFile(file.serialized_pb)

    for module in (any_pb2, wrappers_pb2, config_pb2):
        add(module.DESCRIPTOR)
    batching = descriptor_pb2.FileDescriptorProto()
    wire.POOL.FindFileByName(_BATCHING_FILE).CopyToProto(batching)
    del batching.dependency[:]
    batching.dependency.extend(_WELL_KNOWN)
    pool.AddSerializedFile(batching.SerializeToString())
    own = descriptor_pb2.FileDescriptorProto(name="tfleet/platform_config.proto", package="tensorflow.serving", syntax="proto3")
    own.dependency.extend(_WELL_KNOWN + (_BATCHING_FILE, config_pb2.DESCRIPTOR.name))
    for name, fields in _MESSAGES:
        message = own.message_type.add(name=name)
        for field_name, number, kind in fields:
            field = message.field.add(name=field_name, number=number, label=_FIELD.LABEL_REPEATED if kind == "strings" else _FIELD.LABEL_OPTIONAL)
            if kind in _KINDS:
                field.type = _KINDS[kind]
            else:
                field.type, field.type_name = _FIELD.TYPE_MESSAGE, kind
    pool.AddSerializedFile(own.SerializeToString())
    return pool
