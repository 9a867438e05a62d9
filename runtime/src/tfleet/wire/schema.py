"""The messages of TensorFlow Serving's public API, as protocol buffer definitions.

Field names and numbers are those of tensorflow and tensorflow-serving-api 2.17.1; a unit test compares each of them with
the descriptors of those packages. BatchingParameters, MonitoringConfig, SSLConfig and PlatformConfig are in no Python
package: their numbers come from tensorflow/serving 2.17.1 (servables/tensorflow/session_bundle_config.proto and config/).

Left out on purpose, because their types would drag in most of TensorFlow's graph definition: options and metadata of
SessionRunRequest and SessionRunResponse, which appear only in warm-up records that the server refuses. Their bytes
survive as unknown fields.

The grammar is the part of proto3 that `tfleet.wire.pool` reads: one statement a line.
"""

from typing import List, Tuple

WELL_KNOWN: List[Tuple[str, str, str]] = [
    (
        "google/protobuf/any.proto",
        "google.protobuf",
        """
message Any {
  string type_url = 1;
  bytes value = 2;
}
""",
    ),
    (
        "google/protobuf/timestamp.proto",
        "google.protobuf",
        """
message Timestamp {
  int64 seconds = 1;
  int32 nanos = 2;
}
""",
    ),
    (
        "google/protobuf/wrappers.proto",
        "google.protobuf",
        """
message DoubleValue {
  double value = 1;
}
message FloatValue {
  float value = 1;
}
message Int64Value {
  int64 value = 1;
}
message UInt64Value {
  uint64 value = 1;
}
message Int32Value {
  int32 value = 1;
}
message UInt32Value {
  uint32 value = 1;
}
message BoolValue {
  bool value = 1;
}
message StringValue {
  string value = 1;
}
message BytesValue {
  bytes value = 1;
}
""",
    ),
]

TENSORFLOW: List[Tuple[str, str, str]] = [
    (
        "tensorflow/core/framework/types.proto",
        "tensorflow",
        """
enum DataType {
  DT_INVALID = 0;
  DT_FLOAT = 1;
  DT_DOUBLE = 2;
  DT_INT32 = 3;
  DT_UINT8 = 4;
  DT_INT16 = 5;
  DT_INT8 = 6;
  DT_STRING = 7;
  DT_COMPLEX64 = 8;
  DT_INT64 = 9;
  DT_BOOL = 10;
  DT_QINT8 = 11;
  DT_QUINT8 = 12;
  DT_QINT32 = 13;
  DT_BFLOAT16 = 14;
  DT_QINT16 = 15;
  DT_QUINT16 = 16;
  DT_UINT16 = 17;
  DT_COMPLEX128 = 18;
  DT_HALF = 19;
  DT_RESOURCE = 20;
  DT_VARIANT = 21;
  DT_UINT32 = 22;
  DT_UINT64 = 23;
  DT_FLOAT8_E5M2 = 24;
  DT_FLOAT8_E4M3FN = 25;
  DT_INT4 = 29;
  DT_UINT4 = 30;
  DT_FLOAT_REF = 101;
  DT_DOUBLE_REF = 102;
  DT_INT32_REF = 103;
  DT_UINT8_REF = 104;
  DT_INT16_REF = 105;
  DT_INT8_REF = 106;
  DT_STRING_REF = 107;
  DT_COMPLEX64_REF = 108;
  DT_INT64_REF = 109;
  DT_BOOL_REF = 110;
  DT_QINT8_REF = 111;
  DT_QUINT8_REF = 112;
  DT_QINT32_REF = 113;
  DT_BFLOAT16_REF = 114;
  DT_QINT16_REF = 115;
  DT_QUINT16_REF = 116;
  DT_UINT16_REF = 117;
  DT_COMPLEX128_REF = 118;
  DT_HALF_REF = 119;
  DT_RESOURCE_REF = 120;
  DT_VARIANT_REF = 121;
  DT_UINT32_REF = 122;
  DT_UINT64_REF = 123;
  DT_FLOAT8_E5M2_REF = 124;
  DT_FLOAT8_E4M3FN_REF = 125;
  DT_INT4_REF = 129;
  DT_UINT4_REF = 130;
}
message SerializedDType {
  DataType datatype = 1;
}
""",
    ),
    (
        "tensorflow/core/framework/tensor_shape.proto",
        "tensorflow",
        """
message TensorShapeProto {
  message Dim {
    int64 size = 1;
    string name = 2;
  }
  repeated Dim dim = 2;
  bool unknown_rank = 3;
}
""",
    ),
    (
        "tensorflow/core/framework/tensor.proto",
        "tensorflow",
        """
message ResourceHandleProto {
  string device = 1;
  string container = 2;
  string name = 3;
  uint64 hash_code = 4;
  string maybe_type_name = 5;
  repeated DtypeAndShape dtypes_and_shapes = 6;
  message DtypeAndShape {
    DataType dtype = 1;
    TensorShapeProto shape = 2;
  }
}
message TensorProto {
  DataType dtype = 1;
  TensorShapeProto tensor_shape = 2;
  int32 version_number = 3;
  bytes tensor_content = 4;
  repeated float float_val = 5;
  repeated double double_val = 6;
  repeated int32 int_val = 7;
  repeated bytes string_val = 8;
  repeated float scomplex_val = 9;
  repeated int64 int64_val = 10;
  repeated bool bool_val = 11;
  repeated double dcomplex_val = 12;
  repeated int32 half_val = 13;
  repeated ResourceHandleProto resource_handle_val = 14;
  repeated VariantTensorDataProto variant_val = 15;
  repeated uint32 uint32_val = 16;
  repeated uint64 uint64_val = 17;
  bytes float8_val = 18;
}
message VariantTensorDataProto {
  string type_name = 1;
  bytes metadata = 2;
  repeated TensorProto tensors = 3;
}
message NamedTensorProto {
  string name = 1;
  TensorProto tensor = 2;
}
""",
    ),
    (
        "tensorflow/core/example/example.proto",
        "tensorflow",
        """
message BytesList {
  repeated bytes value = 1;
}
message FloatList {
  repeated float value = 1;
}
message Int64List {
  repeated int64 value = 1;
}
message Feature {
  oneof kind {
    BytesList bytes_list = 1;
    FloatList float_list = 2;
    Int64List int64_list = 3;
  }
}
message Features {
  map<string, Feature> feature = 1;
}
message FeatureList {
  repeated Feature feature = 1;
}
message FeatureLists {
  map<string, FeatureList> feature_list = 1;
}
message Example {
  Features features = 1;
}
message SequenceExample {
  Features context = 1;
  FeatureLists feature_lists = 2;
}
""",
    ),
    (
        "tensorflow/core/protobuf/struct.proto",
        "tensorflow",
        """
message StructuredValue {
  oneof kind {
    NoneValue none_value = 1;
    double float64_value = 11;
    sint64 int64_value = 12;
    string string_value = 13;
    bool bool_value = 14;
    TensorShapeProto tensor_shape_value = 31;
    DataType tensor_dtype_value = 32;
    TensorSpecProto tensor_spec_value = 33;
    TypeSpecProto type_spec_value = 34;
    BoundedTensorSpecProto bounded_tensor_spec_value = 35;
    ListValue list_value = 51;
    TupleValue tuple_value = 52;
    DictValue dict_value = 53;
    NamedTupleValue named_tuple_value = 54;
    TensorProto tensor_value = 55;
    TensorProto numpy_value = 56;
  }
}
message NoneValue {
}
message ListValue {
  repeated StructuredValue values = 1;
}
message TupleValue {
  repeated StructuredValue values = 1;
}
message DictValue {
  map<string, StructuredValue> fields = 1;
}
message PairValue {
  string key = 1;
  StructuredValue value = 2;
}
message NamedTupleValue {
  string name = 1;
  repeated PairValue values = 2;
}
message TensorSpecProto {
  string name = 1;
  TensorShapeProto shape = 2;
  DataType dtype = 3;
}
message BoundedTensorSpecProto {
  string name = 1;
  TensorShapeProto shape = 2;
  DataType dtype = 3;
  TensorProto minimum = 4;
  TensorProto maximum = 5;
}
message TypeSpecProto {
  enum TypeSpecClass {
    UNKNOWN = 0;
    SPARSE_TENSOR_SPEC = 1;
    INDEXED_SLICES_SPEC = 2;
    RAGGED_TENSOR_SPEC = 3;
    TENSOR_ARRAY_SPEC = 4;
    DATA_DATASET_SPEC = 5;
    DATA_ITERATOR_SPEC = 6;
    OPTIONAL_SPEC = 7;
    PER_REPLICA_SPEC = 8;
    VARIABLE_SPEC = 9;
    ROW_PARTITION_SPEC = 10;
    REGISTERED_TYPE_SPEC = 12;
    EXTENSION_TYPE_SPEC = 13;
  }
  TypeSpecClass type_spec_class = 1;
  StructuredValue type_state = 2;
  string type_spec_class_name = 3;
  int32 num_flat_components = 4;
}
""",
    ),
    (
        "tensorflow/core/protobuf/meta_graph.proto",
        "tensorflow",
        """
message TensorInfo {
  message CooSparse {
    string values_tensor_name = 1;
    string indices_tensor_name = 2;
    string dense_shape_tensor_name = 3;
  }
  message CompositeTensor {
    TypeSpecProto type_spec = 1;
    repeated TensorInfo components = 2;
  }
  oneof encoding {
    string name = 1;
    CooSparse coo_sparse = 4;
    CompositeTensor composite_tensor = 5;
  }
  DataType dtype = 2;
  TensorShapeProto tensor_shape = 3;
}
message SignatureDef {
  map<string, TensorInfo> inputs = 1;
  map<string, TensorInfo> outputs = 2;
  string method_name = 3;
  map<string, TensorProto> defaults = 4;
}
""",
    ),
    (
        "tsl/protobuf/error_codes.proto",
        "tensorflow.error",
        """
enum Code {
  OK = 0;
  CANCELLED = 1;
  UNKNOWN = 2;
  INVALID_ARGUMENT = 3;
  DEADLINE_EXCEEDED = 4;
  NOT_FOUND = 5;
  ALREADY_EXISTS = 6;
  PERMISSION_DENIED = 7;
  UNAUTHENTICATED = 16;
  RESOURCE_EXHAUSTED = 8;
  FAILED_PRECONDITION = 9;
  ABORTED = 10;
  OUT_OF_RANGE = 11;
  UNIMPLEMENTED = 12;
  INTERNAL = 13;
  UNAVAILABLE = 14;
  DATA_LOSS = 15;
  DO_NOT_USE_RESERVED_FOR_FUTURE_EXPANSION_USE_DEFAULT_IN_SWITCH_INSTEAD_ = 20;
}
""",
    ),
]
