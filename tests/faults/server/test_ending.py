"""The server's end: in order, while it is asked; and by SIGKILL."""

import http.client
import signal
import threading
import time

import grpc
from live_server import LiveServer
from load import Load

from tfleet import wire

SLOW = 'model_spec { name: "slow" } inputs { key: "n" value { dtype: DT_INT64 tensor_shape { } int64_val: %d } }'


def refused_in_order(error):
    """How a client sees a server that ends and takes nothing new: nothing of its request was begun."""
    if isinstance(error, grpc.RpcError):
        # A call that arrives in the very moment when the port closes is cancelled by the gRPC library, before anybody saw it.
        return error.code() == grpc.StatusCode.UNAVAILABLE or (error.code(), error.details()) == (grpc.StatusCode.CANCELLED, "CANCELLED")
    # An idle connection that the server has closed, or a port that nobody listens on any more.
    return isinstance(error, (ConnectionRefusedError, ConnectionResetError, BrokenPipeError, http.client.RemoteDisconnected, http.client.CannotSendRequest))


def test_sigterm_under_load(model_files, fault):
    row = fault("SIGTERM under load", "draining")
    with LiveServer("--model_config_file=%s/model.config" % model_files, "--allow_version_labels_for_unavailable_models=true",
                    "--enable_grpc_healthcheck_service", "--tfleet_drain_seconds=30") as server:
        server.wait_state("half", 2, "AVAILABLE")
        health, ended, answers, answered = [], threading.Event(), [], {}

        def check():
            with grpc.insecure_channel(server.address) as channel:
                stub = channel.unary_unary(wire.HEALTH_CHECK, response_deserializer=wire.HealthCheckResponse.FromString)
                while not ended.is_set():
                    try:
                        health.append(stub(b"", timeout=5).status)
                        answered[health[-1]] = time.time()
                    except grpc.RpcError as error:
                        health.append(error.code().name)
                    time.sleep(0.02)

        # How long a slow answer takes depends on the machine: make it a few seconds.
        began = time.time()
        assert server.call(wire.PREDICT, SLOW % 20000)[0] == "OK"
        steps = int(20000 * 3.0 / max(time.time() - began, 0.01))
        slow = [threading.Thread(target=lambda: answers.append(server.call(wire.PREDICT, SLOW % steps, timeout=60)[0] == "OK")),
                threading.Thread(target=lambda: answers.append(server.http("POST", "/v1/models/slow:predict", '{"inputs": %d}' % steps)[0] == 200))]
        terminated = []

        def refusal(error):
            return bool(terminated) and refused_in_order(error)

        with Load(server, "half", {2: 4.0}, refusal=refusal) as load:
            load.wait_answers(50)
            for one in [*slow, threading.Thread(target=check)]:
                one.start()
            time.sleep(0.5)
            terminated.append(time.time())
            assert server.terminate() == 0
            took = time.time() - terminated[0]
            ended.set()
            for one in slow:
                one.join()
        load.report(row)
        row.runs += len(answers)
        row.failed_answers += answers.count(False)
        row.note = "drained for %.1f s, %d requests refused, health was %s" % (took, load.refused, sorted(set(map(str, health))))
        assert answers == [True, True], "requests that were running have to be answered"
        assert took < 20
        assert health[0] == 1
        assert 2 in health, "health has to tell NOT_SERVING while requests finish"
        assert answered[2] - terminated[0] > took / 2, "it has to tell so for as long as they take"
        first = health.index(2)
        assert set(health[:first]) == {1}
        assert set(health[first:]) <= {2, "UNAVAILABLE"}, health
        assert load.refused > 0


def test_sigterm_while_it_starts(tmp_path, fault):
    row = fault("SIGTERM while the server starts", "loading")
    (tmp_path / "m").mkdir()
    # Without a version the start waits for ever.
    with LiveServer("--model_name=m", "--model_base_path=%s/m" % tmp_path, "--tfleet_drain_seconds=30", wait=False) as server:
        deadline = time.time() + 60
        while "Adding/updating models" not in server.log:
            assert time.time() < deadline, server.log
            time.sleep(0.05)
        began = time.time()
        assert server.terminate(signal.SIGTERM, seconds=5) == 0
        row.runs = 1
        row.note = "ended after %.2f s" % (time.time() - began)
