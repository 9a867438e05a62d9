"""Section 5 of the specification on a live server: the flags, and that answers of a batch go to whom they belong."""

import threading

import pytest
from live_server import LiveServer, free_ports, run_to_end
from test_lifecycle_live import release

from tfleet import wire

TOO_MANY = 'model_spec { name: "default" } inputs { key: "x" value { dtype: DT_FLOAT tensor_shape { dim { size: 9 } } } }'


@pytest.fixture
def base(own_models, model_files):
    (own_models / "m").mkdir()
    release(model_files, 1, own_models / "m", 1)
    return own_models / "m"


def test_concurrent_requests_get_their_own_rows(own_models, base):
    file = own_models / "batching.config"
    file.write_text("max_batch_size { value: 8 } batch_timeout_micros { value: 20000 } num_batch_threads { value: 2 } "
                    "allowed_batch_sizes: [4, 8] thread_pool_name { value: 'tests' }")
    monitoring = own_models / "monitoring.config"
    monitoring.write_text("prometheus_config { enable: true }")
    with LiveServer("--model_base_path=%s" % base, "--enable_batching", "--batching_parameters_file=%s" % file,
                    "--monitoring_config_file=%s" % monitoring) as server:
        wrong = []

        def ask(start):
            for step in range(20):
                x = [float(start * 100 + step + row) for row in range(1 + start % 3)]
                if server.predict("default", x) != (1, [value / 2 + 2 for value in x]):
                    wrong.append(x)

        askers = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join()
        assert not wrong
        assert server.call(wire.PREDICT, TOO_MANY) == ("INVALID_ARGUMENT", "Task size 9 is larger than maximum input batch size 8")
        page = server.http("GET", "/monitoring/prometheus/metrics")[2].decode()
        counts = {line.split(" ")[0]: int(line.split(" ")[1]) for line in page.splitlines() if "wrapped_run_count" in line and line[0] != "#"}
        assert 0 < counts[":tensorflow:serving:batching_session:wrapped_run_count{}"] < 160
        assert ':tensorflow:serving:batching_session:queuing_latency_count{thread_pool_name="tests"} 160' in page


def test_a_parameters_file_needs_batching(own_models, base):
    file = own_models / "batching.config"
    file.write_text("max_batch_size { value: 8 }")
    assert run_to_end("--port=%d" % free_ports(1)[0], "--model_base_path=%s" % base, "--batching_parameters_file=%s" % file)[:2] == (
        255, "Failed to start server. Error: INVALID_ARGUMENT: server_options.batching_parameters_file is set without setting "
        "server_options.enable_batching to true.\n")


def test_contradicting_parameters_fail_the_load(own_models, base):
    file = own_models / "batching.config"
    file.write_text("max_batch_size { value: 8 } allowed_batch_sizes: 4")
    code, out, _ = run_to_end("--port=%d" % free_ports(1)[0], "--model_base_path=%s" % base, "--enable_batching",
                              "--batching_parameters_file=%s" % file, "--max_num_load_retries=0")
    assert code == 255
    assert "INVALID_ARGUMENT: Last entry in allowed_batch_sizes must match max_batch_size; last entry was 4; expected 8}, }" in out


def test_parameters_of_each_model(own_models, base, model_files):
    release(model_files, 1, base, 2)
    (base / "2" / "batching_params.pbtxt").write_text("max_batch_size { value: 3 }")
    file = own_models / "model.config"
    file.write_text('model_config_list { config { name: "default" base_path: "%s" model_platform: "tensorflow" model_version_policy { all {} } } }' % base)
    with LiveServer("--model_config_file=%s" % file, "--enable_batching", "--enable_per_model_batching_parameters") as server:
        for version in (1, 2):
            server.wait_state("default", version, "AVAILABLE")
        assert server.call(wire.PREDICT, TOO_MANY) == ("INVALID_ARGUMENT", "Task size 9 is larger than maximum input batch size 3")
        assert server.predict("default", [0.0] * 9, version=1) == (1, [2.0] * 9)


INPUT = 'inputs { key: "%s" value { dtype: %s tensor_shape { %s } } } '


def test_requests_that_no_batch_can_hold(own_models, model_files):
    with LiveServer("--model_base_path=%s/pair" % model_files, "--enable_batching") as server:
        def error(a, b):
            request = 'model_spec { name: "default" } ' + INPUT % ("a", "DT_FLOAT", a) + INPUT % ("b", "DT_INT64", b)
            return server.call(wire.PREDICT, request)

        row = "dim { size: %d }"
        assert error("", row % 1) == ("INVALID_ARGUMENT", "Batching Run() input tensors must have at least one dimension")
        assert error(row % 2 + row % 2, row % 3) == ("INVALID_ARGUMENT", "Batching Run() input tensors must have equal 0th-dimension size")
        # The signature `uneven` answers with outputs of other sizes than it was asked for, `mean` with a scalar.
        uneven = 'model_spec { name: "default" signature_name: "uneven" } ' + INPUT % ("b", "DT_INT64", row % 2)
        assert server.call(wire.PREDICT, uneven) == (
            "FAILED_PRECONDITION", "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input tensors")
        mean = 'model_spec { name: "default" signature_name: "mean" } ' + INPUT % ("a", "DT_FLOAT", row % 2 + row % 2)
        assert server.call(wire.PREDICT, mean) == ("FAILED_PRECONDITION", "Batched output tensor has 0 dimensions")


@pytest.mark.parametrize("padded", [False, True])
def test_rows_of_different_lengths(own_models, model_files, padded):
    (own_models / "b.config").write_text("max_batch_size { value: 2 } batch_timeout_micros { value: 3000000 } num_batch_threads { value: 1 } "
                                         "pad_variable_length_inputs: %s" % str(padded).lower())
    with LiveServer("--model_base_path=%s/types" % model_files, "--enable_batching", "--batching_parameters_file=%s/b.config" % own_models) as server:
        answers = {}

        def ask(length):
            sent = 'model_spec { name: "default" signature_name: "float32" } ' + INPUT % ("x", "DT_FLOAT", "dim { size: 1 } dim { size: %d }" % length)
            answers[length] = server.call(wire.PREDICT, sent)

        askers = [threading.Thread(target=ask, args=(length,)) for length in (2, 3)]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join()
        if padded:
            assert {length: [dim.size for dim in answer.outputs["y"].tensor_shape.dim] for length, (_, answer) in answers.items()} == {2: [1, 3], 3: [1, 3]}
        else:
            assert set(answers.values()) == {(
                "FAILED_PRECONDITION", "Tensors with name 'x_float32:0' from different tasks have different shapes and padding is turned off. Set "
                "pad_variable_length_inputs to true, or ensure that all tensors with the same name have equal dimensions starting with the first dim.")}


def test_a_full_queue(own_models, model_files):
    (own_models / "b.config").write_text("max_batch_size { value: 1 } max_enqueued_batches { value: 1 } num_batch_threads { value: 1 }")
    request = 'model_spec { name: "default" } inputs { key: "x" value { dtype: DT_FLOAT tensor_shape { dim { size: 1 } } } }'
    with LiveServer("--model_base_path=%s/half" % model_files, "--enable_batching", "--batching_parameters_file=%s/b.config" % own_models,
                    "--grpc_max_threads=32") as server:
        answers = []

        def ask():
            for _ in range(100):
                answers.append(server.call(wire.PREDICT, request))

        askers = [threading.Thread(target=ask) for _ in range(16)]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join()
        refused = {answer for answer in answers if answer[0] != "OK"}
        assert refused == {("UNAVAILABLE", "The batch scheduling queue to which this task was submitted is full; currently 1 batches enqueued and "
                                           "max_enqueued_batches is 1")}
        assert any(answer[0] == "OK" for answer in answers)
