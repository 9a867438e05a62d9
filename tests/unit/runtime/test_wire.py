"""The protocol of tfleet.wire against the packages that define it: tensorflow, tensorflow-serving-api and protobuf."""

import importlib
import os
import subprocess
import sys
import textwrap

import pytest
from google.protobuf import any_pb2, descriptor_pool, json_format, text_format, timestamp_pb2, wrappers_pb2

from tfleet import wire
from tfleet.wire import pool

# In no Python package: their numbers are checked against bytes below.
FILES_OF_THE_SERVER = {"BatchingParameters", "PrometheusConfig", "MonitoringConfig", "SSLConfig", "PlatformConfig", "PlatformConfigMap"}
HEALTH = {"HealthCheckRequest", "HealthCheckResponse"}
# They would bring TensorFlow's whole graph definition: see tfleet.wire.schema.
LEFT_OUT = {("tensorflow.serving.SessionRunRequest", "options"), ("tensorflow.serving.SessionRunResponse", "metadata")}

APIS = ["classification", "get_model_metadata", "get_model_status", "inference", "input", "logging", "model", "model_management"]
APIS += ["predict", "prediction_log", "regression", "session_service", "status"]


@pytest.fixture(scope="module")
def reference():
    """The global descriptor pool, filled by the real packages."""
    pytest.importorskip("tensorflow", reason="the reference needs TensorFlow, which the client does not")
    for name in APIS:
        importlib.import_module("tensorflow_serving.apis.%s_pb2" % name)
    importlib.import_module("tensorflow_serving.config.model_server_config_pb2")
    assert {any_pb2, wrappers_pb2, timestamp_pb2}
    return descriptor_pool.Default()


def messages(descriptors):
    for descriptor in descriptors:
        yield descriptor
        for nested in messages(descriptor.nested_types):
            yield nested


OURS = {
    descriptor.full_name: descriptor
    for descriptor in messages(kind.DESCRIPTOR for kind in wire.TYPES.values() if isinstance(kind, type))
}


def fields(descriptor):
    """Everything that decides about bytes, JSON and text."""
    return {
        field.name: (
            field.number,
            field.type,
            field.label,
            (field.message_type or field.enum_type).full_name if field.message_type or field.enum_type else None,
            field.containing_oneof.name if field.containing_oneof else None,
            field.json_name,
        )
        for field in descriptor.fields
        if (descriptor.full_name, field.name) not in LEFT_OUT
    }


@pytest.mark.parametrize("name", sorted(name for name in OURS if not set(name.split(".")) & (FILES_OF_THE_SERVER | HEALTH)))
def test_message_equals_the_reference(name, reference):
    theirs = reference.FindMessageTypeByName(name)
    assert fields(OURS[name]) == fields(theirs)
    assert bool(OURS[name].GetOptions().map_entry) == bool(theirs.GetOptions().map_entry)
    for enum in OURS[name].enum_types:
        assert values(enum) == values(theirs.enum_types_by_name[enum.name])


@pytest.mark.parametrize("name", ["tensorflow.DataType", "tensorflow.error.Code", "tensorflow.serving.ModelType"])
def test_enum_equals_the_reference(name, reference):
    assert values(wire.POOL.FindEnumTypeByName(name)) == values(reference.FindEnumTypeByName(name))


def values(enum):
    return {value.name: value.number for value in enum.values}


def test_no_message_of_the_public_api_is_missing(reference):
    for api in APIS:
        for name in reference.FindFileByName("tensorflow_serving/apis/%s.proto" % api).message_types_by_name:
            assert hasattr(wire, name), name


def test_rpc_paths_are_those_of_the_generated_stubs(reference):
    directory = os.path.dirname(importlib.import_module("tensorflow_serving.apis").__file__)
    stubs = ""
    for service in ("prediction_service", "model_service"):
        with open(os.path.join(directory, "%s_pb2_grpc.py" % service)) as source:
            stubs += source.read()
    for path in wire.METHODS:
        if "Health" not in path:
            assert "'%s'" % path in stubs


@pytest.mark.parametrize(
    "message, text, data",
    [
        (
            "BatchingParameters",
            'max_batch_size { value: 128 } batch_timeout_micros: { value: 0 } max_enqueued_batches { value: 3 } num_batch_threads { value: 2 }'
            ' thread_pool_name { value: "p" } allowed_batch_sizes: 1 allowed_batch_sizes: 128 pad_variable_length_inputs: true'
            " enable_large_batch_splitting { value: true } max_execution_batch_size { value: 64 }",
            "0a03088001 1200 1a020803 22020802 2a030a0170 3203018001 3801 42020801 4a020840",
        ),
        ("MonitoringConfig", 'prometheus_config { enable: true path: "/m" }', "0a06 0801 12022f6d"),
        ("SSLConfig", 'server_key: "k" server_cert: "c" custom_ca: "a" client_verify: true', "0a016b 120163 1a0161 2001"),
        (
            "PlatformConfigMap",
            'platform_configs { key: "t" value { source_adapter_config { type_url: "u" } } }',
            "0a0a 0a0174 1205 0a03 0a0175",
        ),
        ("HealthCheckRequest", 'service: "s"', "0a0173"),
        ("HealthCheckResponse", "status: NOT_SERVING", "0802"),
    ],
)
def test_bytes_of_messages_without_a_python_package(message, text, data):
    parsed = text_format.Parse(text, getattr(wire, message)())
    assert parsed.SerializeToString().hex() == data.replace(" ", "")


@pytest.mark.parametrize("first, second", [("ours", "theirs"), ("theirs", "ours")])
def test_lives_beside_tensorflow_serving_api_in_either_order(first, second):
    imports = {"ours": "from tfleet import wire", "theirs": "from tensorflow_serving.apis import predict_pb2"}
    script = imports[first] + "\n" + imports[second] + textwrap.dedent(
        """
        ours = wire.PredictRequest()
        ours.model_spec.version.value = 3
        ours.inputs["x"].CopyFrom(wire.tensors.to_proto([1.5, 2.5]))
        theirs = predict_pb2.PredictRequest.FromString(ours.SerializeToString())
        assert theirs.model_spec.version.value == 3
        assert wire.PredictRequest.FromString(theirs.SerializeToString()).SerializeToString(deterministic=True) \\
            == ours.SerializeToString(deterministic=True)
        """
    )
    subprocess.run([sys.executable, "-c", script], check=True, env=dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3"))


def test_text_and_json_go_through_any_and_wrappers():
    signatures = wire.SignatureDefMap()
    signatures.signature_def["serving_default"].inputs["x"].dtype = wire.DT.Value("DT_FLOAT")
    message = wire.GetModelMetadataResponse()
    message.model_spec.version.value = 3
    message.metadata["signature_def"].Pack(signatures)

    as_json = json_format.MessageToDict(message, preserving_proto_field_name=True, descriptor_pool=wire.POOL)
    assert as_json["model_spec"] == {"version": "3"}
    assert as_json["metadata"]["signature_def"]["signature_def"]["serving_default"]["inputs"]["x"] == {"dtype": "DT_FLOAT"}
    for again in (
        json_format.ParseDict(as_json, wire.GetModelMetadataResponse(), descriptor_pool=wire.POOL),
        text_format.Parse(
            text_format.MessageToString(message, descriptor_pool=wire.POOL), wire.GetModelMetadataResponse(), descriptor_pool=wire.POOL
        ),
    ):
        assert again.SerializeToString() == message.SerializeToString()
        unpacked = wire.SignatureDefMap()
        assert again.metadata["signature_def"].Unpack(unpacked)
        assert unpacked.signature_def["serving_default"].inputs["x"].dtype == 1


def test_model_config_reads_like_the_server_reads_it():
    config = text_format.Parse(
        """model_config_list: { config { name: 'a', base_path: "/m/a" model_platform: "tensorflow"
             model_version_policy { specific { versions: 1, versions: 2 } }
             version_labels { key: "stable" value: 1 } } }""",
        wire.ModelServerConfig(),
    )
    (model,) = config.model_config_list.config
    assert list(model.model_version_policy.specific.versions) == [1, 2]
    assert model.model_version_policy.WhichOneof("policy_choice") == "specific"
    assert dict(model.version_labels) == {"stable": 1}


def test_presence_of_optional_fields():
    request = wire.PredictRequest()
    assert not request.HasField("client_id")
    request.client_id = b""
    assert request.HasField("client_id")


def test_an_unknown_name_says_where_to_look():
    with pytest.raises(AttributeError, match=r"no message or enum named 'PredictReqest': see tfleet\.wire\.schema"):
        wire.PredictReqest  # noqa: B018


@pytest.mark.parametrize("text, error", [("message M {\n  strin x = 1;\n}", KeyError), ("message M {\n  string x;\n}", ValueError)])
def test_a_mistake_in_a_schema_is_an_error(text, error):
    with pytest.raises(error):
        pool.build([("a.proto", "a", text)])


def test_the_garbage_collector_leaves_the_nested_classes():
    """While it takes one away, another thread may be given it without its methods. In a process where no test holds them."""
    script = textwrap.dedent("""
        import gc, weakref
        from tfleet import wire

        config, request = wire.ModelConfig(), wire.PredictRequest()
        nested = [config.model_version_policy, config.model_version_policy.latest, request.inputs["x"].tensor_shape.dim.add()]
        alive = [weakref.ref(type(message)) for message in nested]
        del config, request, nested
        gc.collect()
        assert all(one() is not None for one in alive), alive
    """)
    subprocess.run([sys.executable, "-c", script], check=True)
