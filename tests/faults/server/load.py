"""Clients that ask all the time, by gRPC and by REST, and keep count of what they get."""

import http.client
import json
import threading
import time

import grpc

from tfleet import wire


class Load:
    """`with Load(server, model, right) as load:` asks for y of x = [2.0] until the block ends.

    right: {version: y} for gRPC answers; REST answers, which name no version, have to be one of its values.
    refusal(error) tells whether a failure is a refusal that the test expects. Threads that were refused go on asking.
    """

    def __init__(self, server, model, right, grpc_clients=2, rest_clients=2, refusal=lambda error: False):
        self._server, self._model, self._right, self._refusal = server, model, right, refusal
        self.answers, self.refused = 0, 0
        self.failed, self.wrong, self.versions = [], [], {}
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._askers = [threading.Thread(target=self._ask, args=(self._by_grpc,), daemon=True) for _ in range(grpc_clients)]
        self._askers += [threading.Thread(target=self._ask, args=(self._by_rest,), daemon=True) for _ in range(rest_clients)]

    def _ask(self, way):
        ask, close = way()
        while not self._stop.is_set():
            try:
                version, y = ask()
            except (grpc.RpcError, OSError, http.client.HTTPException, AssertionError) as error:
                with self._lock:
                    if self._refusal(error):
                        self.refused += 1
                    else:
                        self.failed.append(repr(error)[:500])
                time.sleep(0.01)
                continue
            with self._lock:
                self.answers += 1
                self.versions[version] = self.versions.get(version, 0) + 1
                if y not in ([self._right.get(version)] if version else list(self._right.values())):
                    self.wrong.append((version, y))
        close()

    def _by_grpc(self):
        channel = grpc.insecure_channel(self._server.address)
        stub = channel.unary_unary(wire.PREDICT, response_deserializer=wire.PredictResponse.FromString)
        request = wire.PredictRequest()
        request.model_spec.name = self._model
        request.inputs["x"].dtype = 1
        request.inputs["x"].tensor_shape.dim.add(size=1)
        request.inputs["x"].float_val.append(2.0)
        data = request.SerializeToString()

        def ask():
            answer = stub(data, timeout=30)
            return answer.model_spec.version.value, answer.outputs["y"].float_val[0]

        return ask, channel.close

    def _by_rest(self):
        connection = http.client.HTTPConnection(self._server.rest_address, timeout=30)

        def ask():
            try:
                connection.request("POST", "/v1/models/%s:predict" % self._model, '{"instances": [2.0]}')
                answer = connection.getresponse()
                body = answer.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                raise
            assert answer.status == 200, (answer.status, body)
            return 0, json.loads(body)["predictions"][0]

        return ask, connection.close

    def __enter__(self):
        for asker in self._askers:
            asker.start()
        return self

    def __exit__(self, *unused):
        self._stop.set()
        for asker in self._askers:
            asker.join()

    def wait_answers(self, count, seconds=30):
        """Waits until so many more were answered."""
        target, deadline = self.answers + count, time.time() + seconds
        while self.answers < target:
            assert time.time() < deadline, "only %d answers; failures: %s" % (self.answers, self.failed[:3])
            time.sleep(0.02)

    def report(self, row):
        """Counts in the row of a fault, and fails if anything failed."""
        row.runs += self.answers
        row.failed_answers += len(self.failed)
        row.wrong_answers += len(self.wrong)
        assert not self.failed, self.failed[:5]
        assert not self.wrong, self.wrong[:5]
