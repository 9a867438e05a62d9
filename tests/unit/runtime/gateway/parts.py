"""A picture's file, and what a model server in this process answers."""

import io

import grpc
import numpy as np
from PIL import Image

from tfleet import wire

LABELS = {"1": "cat", "2": "<img src=x onerror=alert(1)>"}
TOKEN = "0123456789abcdef0123456789abcdef"


def picture(form="PNG", size=(40, 30), mode="RGB", **options):
    """The file of a picture."""
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert(mode).save(buffer, form, **options)
    return buffer.getvalue()


def signature(inputs):
    """What GetModelMetadata answers, for inputs {alias: (dtype, shape)}."""
    found = wire.SignatureDefMap()
    for alias, (dtype, shape) in inputs.items():
        info = found.signature_def["serving_default"].inputs[alias]
        info.name, info.dtype = alias + ":0", wire.DT.Value(dtype)
        for size in shape:
            info.tensor_shape.dim.add(size=size)
    return found


class Served:
    """A model server's answers. `inputs` is its signature, `version` what it serves, `labels` what they point to, `fail` an RPC status to fail with."""

    def __init__(self, version=7, labels=None, inputs=None, outputs=None):
        self.version, self.labels, self.fail = version, labels or {"stable": version}, None
        self.inputs = inputs or {"image": ("DT_UINT8", [1, -1, -1, 3])}
        self.outputs = outputs or detector
        self.asked = []

    def answers(self):
        return {wire.PREDICT: self.predict, wire.GET_MODEL_METADATA: self.metadata, wire.GET_MODEL_STATUS: self.status}

    def _chosen(self, spec, context):
        if self.fail:
            context.abort(getattr(grpc.StatusCode, self.fail[0]), self.fail[1])
        if spec.WhichOneof("version_choice") == "version_label":
            if spec.version_label not in self.labels:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Unrecognized servable version label: %s" % spec.version_label)
            return self.labels[spec.version_label]
        if spec.HasField("version") and spec.version.value != self.version:
            context.abort(grpc.StatusCode.NOT_FOUND, "Servable not found for request: Specific(%s, %d)" % (spec.name, spec.version.value))
        return self.version

    def predict(self, request, context):
        answer = wire.PredictResponse()
        answer.model_spec.name = request.model_spec.name
        answer.model_spec.version.value = self._chosen(request.model_spec, context)
        arrays = {alias: wire.tensors.to_numpy(request.inputs[alias]) for alias in request.inputs}
        self.asked.append(arrays)
        for alias, array in self.outputs(arrays).items():
            answer.outputs[alias].CopyFrom(wire.tensors.to_proto(np.asarray(array)))
        return answer

    def metadata(self, request, context):
        answer = wire.GetModelMetadataResponse()
        answer.model_spec.name = request.model_spec.name
        answer.model_spec.version.value = self._chosen(request.model_spec, context)
        answer.metadata["signature_def"].Pack(signature(self.inputs))
        return answer

    def status(self, request, context):
        answer = wire.GetModelStatusResponse()
        if self.fail:
            self._chosen(request.model_spec, context)
        answer.model_version_status.add(version=self.version, state="AVAILABLE").status.SetInParent()
        answer.model_version_status.add(version=self.version - 1, state="END").status.SetInParent()
        return answer


def detector(_arrays):
    return {
        "detection_boxes": np.float32([[[0.1, 0.1, 0.5, 0.5], [0.2, 0.6, 0.4, 0.9], [0, 0, 1, 1]]]),
        "detection_scores": np.float32([[0.9, 0.8, 0.1]]),
        "detection_classes": np.float32([[1, 2, 1]]),
        "num_detections": np.float32([3]),
    }
