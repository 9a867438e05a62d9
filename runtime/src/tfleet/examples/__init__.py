"""Labelled pictures, and arrays, in TFRecord files of tf.train.Example: what calibrates, compares and warms up a model. No TensorFlow here.

    for example in examples.read("voc.tfrecord"):        # a file, all its shards, a folder, or a list of these
        example.name, example.image, example.label, example.objects

    signature = inspect("/srv/models/digits")["meta_graphs"][0]["signatures"]["serving_default"]
    for arrays, shown in examples.batches("digits.tfrecord", signature["inputs"], 32):
        arrays["images"]                                  # [<=32, 8, 8, 1], what the model takes; `shown` are the Examples in its rows

The features have the names of the TensorFlow Object Detection API and of its slim library (image/encoded, image/class/label,
image/object/bbox/xmin, …), so that files of theirs can be read, and ours by them. Any other feature is an array by its name.
"""

from tfleet.examples.arrays import batches, value_range
from tfleet.examples.features import Example, Objects, decode, encode
from tfleet.examples.shards import count, locate, read

__all__ = ["Example", "Objects", "batches", "count", "decode", "encode", "locate", "read", "value_range"]
