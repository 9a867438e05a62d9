"""The smoke call of `tests.bench.client` as it is usually written: tensorflow and tensorflow-serving-api at the top of the file.

The RPC path is given as a string because prediction_service_pb2_grpc of tensorflow-serving-api 2.17.1 does not import with
protobuf 4; its own imports would only add to the time.
"""

import argparse
import json
import sys

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--golden", required=True)
    args = parser.parse_args()
    arrays = np.load(args.golden, allow_pickle=False)
    meta = json.loads(str(arrays["meta"]))
    call = grpc.insecure_channel(args.address).unary_unary(
        "/tensorflow.serving.PredictionService/Predict",
        request_serializer=predict_pb2.PredictRequest.SerializeToString,
        response_deserializer=predict_pb2.PredictResponse.FromString,
    )
    for example in range(meta["examples"]):
        request = predict_pb2.PredictRequest()
        request.model_spec.name = args.model
        request.model_spec.signature_name = meta["signature_name"]
        for name in arrays.files:
            if name.startswith("%d/inputs/" % example):
                request.inputs[name.split("/", 2)[2]].CopyFrom(tf.make_tensor_proto(arrays[name]))
        response = call(request, 10)
        for output, tolerance in meta["tolerance"].items():
            expected = arrays["%d/outputs/%s" % (example, output)]
            actual = tf.make_ndarray(response.outputs[output])
            if not np.allclose(actual, expected, atol=tolerance["abs"], rtol=tolerance["rel"]):
                sys.exit("output %s of example %d differs" % (output, example))


if __name__ == "__main__":
    main()
