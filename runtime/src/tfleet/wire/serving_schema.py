"""The messages of package tensorflow.serving, and of the standard gRPC health service. See `tfleet.wire.schema`."""

from typing import List, Tuple

SERVING: List[Tuple[str, str, str]] = [
    (
        "tensorflow_serving/config/model_server_config.proto",
        "tensorflow.serving",
        """
message FileSystemStoragePathSourceConfig {
  message ServableVersionPolicy {
    message Latest {
      uint32 num_versions = 1;
    }
    message All {
    }
    message Specific {
      repeated int64 versions = 1;
    }
    oneof policy_choice {
      Latest latest = 100;
      All all = 101;
      Specific specific = 102;
    }
  }
  message ServableToMonitor {
    string servable_name = 1;
    string base_path = 2;
    ServableVersionPolicy servable_version_policy = 4;
  }
  repeated ServableToMonitor servables = 5;
  int64 file_system_poll_wait_seconds = 3;
  bool fail_if_zero_versions_at_startup = 4;
  bool servable_versions_always_present = 6;
}
message LogCollectorConfig {
  string type = 1;
  string filename_prefix = 2;
}
message SamplingConfig {
  enum Attributes {
    ATTR_DEFAULT = 0;
    ATTR_REQUEST_ORIGIN = 1;
    ATTR_REQUEST_CRITICALITY = 2;
  }
  double sampling_rate = 1;
  int32 attributes = 2;
}
message LoggingConfig {
  LogCollectorConfig log_collector_config = 1;
  SamplingConfig sampling_config = 2;
}
enum ModelType {
  MODEL_TYPE_UNSPECIFIED = 0;
  TENSORFLOW = 1;
  OTHER = 2;
}
message ModelConfig {
  string name = 1;
  string base_path = 2;
  ModelType model_type = 3;
  string model_platform = 4;
  FileSystemStoragePathSourceConfig.ServableVersionPolicy model_version_policy = 7;
  map<string, int64> version_labels = 8;
  LoggingConfig logging_config = 6;
}
message ModelConfigList {
  repeated ModelConfig config = 1;
}
message ModelServerConfig {
  oneof config {
    ModelConfigList model_config_list = 1;
    google.protobuf.Any custom_model_config = 2;
  }
}
""",
    ),
    (
        "tensorflow_serving/config/server_files.proto",
        "tensorflow.serving",
        """
message BatchingParameters {
  google.protobuf.Int64Value max_batch_size = 1;
  google.protobuf.Int64Value batch_timeout_micros = 2;
  google.protobuf.Int64Value max_enqueued_batches = 3;
  google.protobuf.Int64Value num_batch_threads = 4;
  google.protobuf.StringValue thread_pool_name = 5;
  repeated int64 allowed_batch_sizes = 6;
  bool pad_variable_length_inputs = 7;
  google.protobuf.BoolValue enable_large_batch_splitting = 8;
  google.protobuf.Int64Value max_execution_batch_size = 9;
}
message PrometheusConfig {
  bool enable = 1;
  string path = 2;
}
message MonitoringConfig {
  PrometheusConfig prometheus_config = 1;
}
message SSLConfig {
  string server_key = 1;
  string server_cert = 2;
  string custom_ca = 3;
  bool client_verify = 4;
}
message PlatformConfig {
  google.protobuf.Any source_adapter_config = 1;
}
message PlatformConfigMap {
  map<string, PlatformConfig> platform_configs = 1;
}
""",
    ),
    (
        "tensorflow_serving/apis/model.proto",
        "tensorflow.serving",
        """
message ModelSpec {
  string name = 1;
  oneof version_choice {
    google.protobuf.Int64Value version = 2;
    string version_label = 4;
  }
  string signature_name = 3;
}
message StatusProto {
  tensorflow.error.Code error_code = 1 [json_name = "error_code"];
  string error_message = 2 [json_name = "error_message"];
}
""",
    ),
    (
        "tensorflow_serving/apis/predict.proto",
        "tensorflow.serving",
        """
message PredictRequest {
  ModelSpec model_spec = 1;
  map<string, TensorProto> inputs = 2;
  repeated string output_filter = 3;
  PredictStreamedOptions predict_streamed_options = 5;
  optional bytes client_id = 6;
  message RequestOptions {
    enum DeterministicMode {
      DETERMINISTIC_MODE_UNSPECIFIED = 0;
      FIXED_DECODER_SLOT = 1;
    }
    optional bytes client_id = 1;
    optional DeterministicMode deterministic_mode = 2;
  }
  optional RequestOptions request_options = 7;
}
message PredictStreamedOptions {
  enum RequestState {
    NONE = 0;
    SPLIT = 1;
    END_SPLIT = 2;
  }
  RequestState request_state = 1;
  map<string, int32> split_dimensions = 2;
}
message PredictResponse {
  ModelSpec model_spec = 2;
  map<string, TensorProto> outputs = 1;
}
""",
    ),
    (
        "tensorflow_serving/apis/input.proto",
        "tensorflow.serving",
        """
message ExampleList {
  repeated Example examples = 1;
}
message ExampleListWithContext {
  repeated Example examples = 1;
  Example context = 2;
}
message Input {
  oneof kind {
    ExampleList example_list = 1;
    ExampleListWithContext example_list_with_context = 2;
  }
}
""",
    ),
    (
        "tensorflow_serving/apis/inference.proto",
        "tensorflow.serving",
        """
message Class {
  string label = 1;
  float score = 2;
}
message Classifications {
  repeated Class classes = 1;
}
message ClassificationResult {
  repeated Classifications classifications = 1;
}
message ClassificationRequest {
  ModelSpec model_spec = 1;
  Input input = 2;
}
message ClassificationResponse {
  ModelSpec model_spec = 2;
  ClassificationResult result = 1;
}
message Regression {
  float value = 1;
}
message RegressionResult {
  repeated Regression regressions = 1;
}
message RegressionRequest {
  ModelSpec model_spec = 1;
  Input input = 2;
}
message RegressionResponse {
  ModelSpec model_spec = 2;
  RegressionResult result = 1;
}
message InferenceTask {
  ModelSpec model_spec = 1;
  string method_name = 2;
}
message InferenceResult {
  ModelSpec model_spec = 1;
  oneof result {
    ClassificationResult classification_result = 2;
    RegressionResult regression_result = 3;
  }
}
message MultiInferenceRequest {
  repeated InferenceTask tasks = 1;
  Input input = 2;
}
message MultiInferenceResponse {
  repeated InferenceResult results = 1;
}
""",
    ),
    (
        "tensorflow_serving/apis/get_model_metadata.proto",
        "tensorflow.serving",
        """
message SignatureDefMap {
  map<string, SignatureDef> signature_def = 1;
}
message GetModelMetadataRequest {
  ModelSpec model_spec = 1;
  repeated string metadata_field = 2;
}
message GetModelMetadataResponse {
  ModelSpec model_spec = 1;
  map<string, google.protobuf.Any> metadata = 2;
}
""",
    ),
    (
        "tensorflow_serving/apis/model_service.proto",
        "tensorflow.serving",
        """
message GetModelStatusRequest {
  ModelSpec model_spec = 1;
}
message ModelVersionStatus {
  enum State {
    UNKNOWN = 0;
    START = 10;
    LOADING = 20;
    AVAILABLE = 30;
    UNLOADING = 40;
    END = 50;
  }
  int64 version = 1;
  State state = 2;
  StatusProto status = 3;
}
message GetModelStatusResponse {
  repeated ModelVersionStatus model_version_status = 1 [json_name = "model_version_status"];
}
message ReloadConfigRequest {
  ModelServerConfig config = 1;
  repeated string metric_names = 2;
}
message ReloadConfigResponse {
  StatusProto status = 1;
  repeated Metric metric = 2;
}
message Metric {
  string name = 1;
  oneof value_increase {
    int64 int64_value_increase = 2;
  }
}
""",
    ),
    (
        "tensorflow_serving/apis/prediction_log.proto",
        "tensorflow.serving",
        """
message LogMetadata {
  ModelSpec model_spec = 1;
  SamplingConfig sampling_config = 2;
  repeated string saved_model_tags = 3;
  int64 timestamp_secs = 4;
  string dc = 5;
  string request_origin = 6;
  string request_criticality = 7;
}
message SessionRunRequest {
  ModelSpec model_spec = 1;
  repeated NamedTensorProto feed = 2;
  repeated string fetch = 3;
  repeated string target = 4;
  bool tensor_name_is_alias = 6;
}
message SessionRunResponse {
  ModelSpec model_spec = 3;
  repeated NamedTensorProto tensor = 1;
}
message ClassifyLog {
  ClassificationRequest request = 1;
  ClassificationResponse response = 2;
}
message RegressLog {
  RegressionRequest request = 1;
  RegressionResponse response = 2;
}
message PredictLog {
  PredictRequest request = 1;
  PredictResponse response = 2;
}
message PredictStreamedLog {
  repeated PredictRequest request = 1;
  repeated PredictResponse response = 2;
}
message MultiInferenceLog {
  MultiInferenceRequest request = 1;
  MultiInferenceResponse response = 2;
}
message SessionRunLog {
  SessionRunRequest request = 1;
  SessionRunResponse response = 2;
}
message PredictionLog {
  LogMetadata log_metadata = 1;
  oneof log_type {
    ClassifyLog classify_log = 2;
    RegressLog regress_log = 3;
    PredictLog predict_log = 6;
    PredictStreamedLog predict_streamed_log = 7;
    MultiInferenceLog multi_inference_log = 4;
    SessionRunLog session_run_log = 5;
  }
}
""",
    ),
]

HEALTH: List[Tuple[str, str, str]] = [
    (
        "grpc/health/v1/health.proto",
        "grpc.health.v1",
        """
message HealthCheckRequest {
  string service = 1;
}
message HealthCheckResponse {
  enum ServingStatus {
    UNKNOWN = 0;
    SERVING = 1;
    NOT_SERVING = 2;
    SERVICE_UNKNOWN = 3;
  }
  ServingStatus status = 1;
}
""",
    ),
]
