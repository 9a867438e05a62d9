"""The requests of the benchmark, and whether a server answers them as the model does in-process."""

import json
import os

import numpy as np

from tfleet import wire


class Payloads:
    """Files with the requests: npy for the in-process worker, pb for gRPC, json for REST."""

    def __init__(self, directory):
        self._directory = directory
        os.makedirs(directory)
        random = np.random.RandomState(7)
        self._write("cnn", "images", random.rand(1, 224, 224, 3))
        self._write("half_plus_two", "x", random.rand(3))
        self._write("first_pixel", "images", random.rand(16, 300, 300, 3))
        self._write("recurrent", "state", random.rand(1, 4096))
        np.save(self.array("recurrent_32"), random.rand(32, 4096).astype(np.float32))
        images = np.load(self.array("first_pixel"))
        with open(self.document("first_pixel"), "w", encoding="ascii") as stream:
            json.dump({"instances": images.tolist()}, stream)

    def _write(self, model, alias, values):
        array = values.astype(np.float32)
        np.save(self.array(model), array)
        request = wire.PredictRequest()
        request.model_spec.name = model
        request.inputs[alias].CopyFrom(wire.tensors.to_proto(array))
        with open(self.message(model), "wb") as stream:
            stream.write(request.SerializeToString())

    def array(self, model):
        return os.path.join(self._directory, model + ".npy")

    def message(self, model):
        return os.path.join(self._directory, model + ".pb")

    def document(self, model):
        return os.path.join(self._directory, model + ".json")

    def answer(self, server, model):
        """The server's PredictResponse to the model's request."""
        with open(self.message(model), "rb") as stream:
            return server.ask(wire.PREDICT, stream.read())

    def check(self, server, worker, model, path):
        """Raises RuntimeError unless the server answers as the model in-process."""
        expected = os.path.join(self._directory, model + "_answer.npy")
        worker(model=path, input=self.array(model), seconds=0, output=expected)
        (output,) = self.answer(server, model).outputs.values()
        if not np.allclose(wire.tensors.to_numpy(output), np.load(expected), rtol=1e-3, atol=1e-5):
            raise RuntimeError("the server's answer of %s is not the model's" % model)
        return expected
