"""The client of a TensorFlow model server. Needs grpcio, protobuf, numpy and, for pictures, Pillow; never TensorFlow."""
