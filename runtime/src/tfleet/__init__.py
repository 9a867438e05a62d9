"""tfleet takes a TensorFlow model from a file to a verified, served version: the part that runs where TensorFlow lives."""

__version__ = "0.1.0"
