"""Public architectures with random weights, saved as their authors save them: python architectures.py FOLDER NAME… (FOLDER/NAME each).

Small pictures and few channels: what is tried is whether and how they convert, not what they see.
"""

import os
import sys

import numpy as np

SIZE = {"mobilenet_v2": 96, "resnet50": 64, "ssd": 64, "faster_rcnn": 64}
DETECTORS = ("ssd", "faster_rcnn")


def save(name, folder):
    """The SavedModel of one architecture, with the signature serving_default: images -> scores, or -> boxes, scores, classes."""
    import tensorflow as tf

    tf.random.set_seed(7)
    tf.keras.utils.set_random_seed(7)
    module = tf.Module()
    call, batch = {"mobilenet_v2": _classifier, "resnet50": _classifier, "ssd": _ssd, "faster_rcnn": _faster_rcnn}[name](tf, module, name)
    function = tf.function(call, input_signature=[tf.TensorSpec([batch, SIZE[name], SIZE[name], 3], tf.float32, name="images")])
    tf.saved_model.save(module, folder, {"serving_default": function})


def pictures(name, count=1, seed=0):
    """Random pictures for it, from 0 to 1."""
    return np.random.RandomState(seed).random_sample((count, SIZE[name], SIZE[name], 3)).astype(np.float32)


def _classifier(tf, module, name):
    applications, shape = tf.keras.applications, (SIZE[name], SIZE[name], 3)
    model = applications.MobileNetV2(shape, alpha=0.35, weights=None, classes=10) if name == "mobilenet_v2" else _resnet50(shape)
    # Keras 3 keeps TensorFlow's variables inside of its own: only they are found again when a session loads the SavedModel.
    module.variables_of_the_model = [variable.value for variable in model.variables]
    return (lambda images: {"scores": model(images, training=False)}), None


def _resnet50(shape):
    """All of ResNet50's layers with a quarter of its channels, as alpha does it for MobileNetV2: 6 MB instead of 100."""
    from keras.src.applications import resnet

    def stacks(x):
        for number, (channels, blocks, stride) in enumerate([(16, 3, 1), (32, 4, 2), (64, 6, 2), (128, 3, 2)]):
            x = resnet.stack_residual_blocks_v1(x, channels, blocks, stride1=stride, name="conv%d" % (number + 2))
        return x

    return resnet.ResNet(stacks, preact=False, use_bias=True, weights_name="resnet50", weights=None, input_shape=shape, classes=10)


def _convolution(tf, module, number, inside, outside, size=3):
    weights = np.random.RandomState(number).normal(0, (2.0 / (size * size * inside)) ** 0.5, (size, size, inside, outside))
    setattr(module, "w%d" % number, tf.Variable(weights.astype(np.float32)))
    return getattr(module, "w%d" % number)


def _backbone(tf, module):
    layers = [_convolution(tf, module, number, inside, outside) for number, (inside, outside) in enumerate([(3, 16), (16, 32), (32, 32)])]

    def features(images):
        for weights in layers:
            images = tf.nn.relu6(tf.nn.conv2d(images, weights, 2, "SAME"))
        return images

    return features


def _ssd(tf, module, name):
    """Anchors on one feature map, decoded, and suppressed in the graph, for one picture."""
    features, cells, classes = _backbone(tf, module), SIZE[name] // 8, 4
    box_head, class_head = _convolution(tf, module, 10, 32, 4), _convolution(tf, module, 11, 32, classes)
    centres = (np.arange(cells, dtype=np.float32) + 0.5) / cells
    anchors = np.stack(np.meshgrid(centres, centres, indexing="ij"), -1).reshape(-1, 2)

    def call(images):
        seen = features(images)
        offsets = tf.reshape(tf.nn.conv2d(seen, box_head, 1, "SAME"), [-1, 4])
        scores = tf.nn.sigmoid(tf.reshape(tf.nn.conv2d(seen, class_head, 1, "SAME"), [-1, classes]))
        middle, half = anchors + 0.05 * tf.tanh(offsets[:, :2]), 0.1 * tf.exp(0.1 * tf.tanh(offsets[:, 2:]))
        boxes = tf.concat([middle - half, middle + half], 1)
        best = tf.reduce_max(scores, 1)
        kept = tf.image.non_max_suppression(boxes, best, 10, 0.5, 0.3)
        return {
            "detection_boxes": tf.gather(boxes, kept)[None],
            "detection_scores": tf.gather(best, kept)[None],
            "detection_classes": tf.gather(tf.cast(tf.argmax(scores, 1, output_type=tf.int32), tf.float32), kept)[None],
        }

    return call, 1


def _faster_rcnn(tf, module, name):
    """Proposals, suppressed; the feature map cropped and resized at each; a head for every crop."""
    features, cells = _backbone(tf, module), SIZE[name] // 8
    objectness, head = _convolution(tf, module, 20, 32, 1), _convolution(tf, module, 21, 32, 16)
    module.dense = tf.Variable(np.random.RandomState(22).normal(0, 0.1, (7 * 7 * 16, 4)).astype(np.float32))
    corners = np.stack(np.meshgrid(np.arange(cells), np.arange(cells), indexing="ij"), -1).reshape(-1, 2).astype(np.float32) / cells
    anchors = np.concatenate([corners, np.minimum(corners + 0.4, 1.0)], 1)

    def call(images):
        seen = features(images)
        scores = tf.reshape(tf.nn.sigmoid(tf.nn.conv2d(seen, objectness, 1, "SAME")), [-1])
        kept = tf.image.non_max_suppression(anchors, scores, 8, 0.7)
        proposals = tf.gather(anchors, kept)
        crops = tf.image.crop_and_resize(seen, proposals, tf.zeros_like(kept), [14, 14])
        pooled = tf.nn.max_pool2d(tf.nn.relu(tf.nn.conv2d(crops, head, 1, "SAME")), 2, 2, "SAME")
        logits = tf.matmul(tf.reshape(pooled, [-1, 7 * 7 * 16]), module.dense)
        return {"detection_boxes": proposals[None], "detection_scores": tf.reduce_max(tf.nn.softmax(logits), 1)[None],
                "detection_classes": tf.cast(tf.argmax(logits, 1, output_type=tf.int32), tf.float32)[None]}  # fmt: skip

    return call, 1


if __name__ == "__main__":
    for wanted in sys.argv[2:]:
        save(wanted, os.path.join(sys.argv[1], wanted))
