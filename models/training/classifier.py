"""digits: a classifier of one handwritten digit, in two releases, so that there is something to roll back to."""
import time
from pathlib import Path
from typing import Callable, Dict, NamedTuple, Sequence

import numpy as np
import scipy.ndimage
import tensorflow as tf

from . import dataset, frozen
from .net import Conv, ConvFunction, ConvNet, folded

SIGNATURE = {"inputs": {"images": "images:0"}, "outputs": {"scores": "scores:0", "classes": "classes:0"}}
TENSORS = {"images": ("float32", [None, 8, 8, 1]), "scores": ("float32", [None, 10]), "classes": ("int64", [None])}
TOLERANCE = {"scores": {"abs": 1e-4, "rel": 1e-3}, "classes": {"abs": 0.0, "rel": 0.0}}
BATCH = 64


class Release(NamedTuple):
    """How one release is trained. `floor` is the held-out accuracy below which nothing is written."""

    version: int
    layers: Sequence[Conv]
    epochs: int
    augment: bool
    floor: float
    seed: int


RELEASES = (
    Release(version=1, epochs=20, augment=False, floor=0.97, seed=1, layers=(
        Conv("conv1", 3, 1, 8, stride=2),
        Conv("conv2", 3, 8, 16, stride=2),
        Conv("logits", 2, 16, 10, padding="VALID", norm=False))),
    Release(version=2, epochs=60, augment=True, floor=0.985, seed=2, layers=(
        Conv("conv1", 3, 1, 32),
        Conv("conv2", 3, 32, 32),
        Conv("conv3", 3, 32, 64, stride=2),
        Conv("conv4", 3, 64, 64),
        Conv("logits", 4, 64, 10, padding="VALID", norm=False))),
)


def forward(conv: ConvFunction, layers: Sequence[Conv], images: tf.Tensor, keep: float = 1.0) -> tf.Tensor:
    """Return logits [N,10] for images [N,8,8,1] with values 0..16. `keep` < 1 drops features while training."""
    x = images * (1 / 16)
    for layer in layers[:-1]:
        x = conv(layer.name, x)
    if keep < 1:
        x = tf.nn.dropout(x, rate=1 - keep)
    return tf.reshape(conv(layers[-1].name, x), [-1, 10])


def build_graph(weights: Dict[str, tuple], layers: Sequence[Conv]) -> None:
    """Add the served graph, `images` to `scores` and `classes`, to the default graph."""
    images = tf.compat.v1.placeholder(tf.float32, TENSORS["images"][1], name="images")
    logits = forward(folded(weights), layers, images)
    tf.nn.softmax(logits, name="scores")
    tf.argmax(logits, axis=1, name="classes")


def jitter(images: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Turn, slant, scale and shift each image [N,8,8] a little: another hand, the same digit."""
    out = np.empty_like(images)
    for i, image in enumerate(images):
        angle, slant = random.normal(0, 0.1), random.normal(0, 0.12)
        scale = random.uniform(0.9, 1.12, 2)
        matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        matrix = matrix @ np.array([[1, 0], [slant, 1]]) / scale[:, None]
        offset = 3.5 - matrix @ np.full(2, 3.5) + random.uniform(-0.8, 0.8, 2)
        out[i] = scipy.ndimage.affine_transform(image, matrix, offset, order=1)
    return out


def train(release: Release, digits: dataset.Digits, epochs: int, say: Callable[[str], None]) -> Dict[str, tuple]:
    """Train `release` and return its folded weights."""
    tf.random.set_seed(release.seed)
    random = np.random.default_rng(release.seed)
    net = ConvNet(release.layers, release.seed)
    steps = len(digits.labels) // BATCH
    rate = tf.keras.optimizers.schedules.CosineDecay(1e-4, steps * epochs - steps, warmup_target=4e-3, warmup_steps=steps)
    optimizer = tf.keras.optimizers.AdamW(rate, weight_decay=1e-3)

    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 1]), tf.TensorSpec([None], tf.int64)])
    def step(images, labels):
        with tf.GradientTape() as tape:
            logits = forward(net.train, release.layers, images, keep=0.7)
            losses = tf.keras.losses.categorical_crossentropy(tf.one_hot(labels, 10), logits, True, label_smoothing=0.05)
            loss = tf.reduce_mean(losses)
        optimizer.apply_gradients(zip(tape.gradient(loss, net.trainable_variables), net.trainable_variables))
        return loss

    for epoch in range(1, epochs + 1):
        images = jitter(digits.images, random) if release.augment else digits.images
        order = random.permutation(len(images))[:steps * BATCH].reshape(steps, BATCH)
        loss = np.mean([step(images[batch][..., None], digits.labels[batch]).numpy() for batch in order])
        if epoch % 5 == 0 or epoch == epochs:
            say("digits/%d  epoch %2d of %d  loss %.3f" % (release.version, epoch, epochs, loss))
    return net.fold()


def examples(graph: frozen.FrozenGraph, digits: dataset.Digits) -> list:
    """Golden examples: eight requests of one digit and four of sixteen, all held out, none nearly undecided."""
    scores = graph.run(SIGNATURE, {"images": digits.images[..., None]})["scores"]
    top = np.sort(scores, axis=1)
    clear = np.flatnonzero(top[:, -1] - top[:, -2] > 0.05)
    sizes = [1] * 8 + [16] * 4
    parts = np.split(clear[:sum(sizes)], np.cumsum(sizes)[:-1])
    requests = [{"images": digits.images[part][..., None]} for part in parts]
    return [(request, graph.run(SIGNATURE, request)) for request in requests]


def release_one(release: Release, out: Path, quick: bool, say: Callable[[str], None]) -> None:
    """Train, freeze, measure and write one release. Raises ValueError if it misses its accuracy (unless `quick`)."""
    split = dataset.load()
    began = time.monotonic()
    weights = train(release, split.train, 2 if quick else release.epochs, say)
    seconds = time.monotonic() - began
    definition = frozen.freeze(lambda: build_graph(weights, release.layers))
    graph = frozen.FrozenGraph(definition)
    graph.check_signature(SIGNATURE, TENSORS)
    accuracy = measure(graph, split.held_out)
    say("digits/%d  held-out accuracy %.4f on %d digits, trained in %.0f s"
        % (release.version, accuracy, len(split.held_out.labels), seconds))
    if accuracy < release.floor and not quick:
        raise ValueError("digits/%d reached a held-out accuracy of %.4f, less than %.4f: not written"
                         % (release.version, accuracy, release.floor))
    result = {"held_out": round(accuracy, 4), "digits": len(split.held_out.labels)}
    metrics = {
        "model": "digits", "version": release.version, "accuracy": result, "data": split.description(),
        "parameters": sum(kernel.size + bias.size for _, kernel, bias in weights.values()),
        "seed": release.seed, "augmented": release.augment, "training_seconds": round(seconds, 1),
        "versions": {"tensorflow": tf.__version__, "numpy": np.__version__},
    }
    meta = {"model": "digits", "signature_name": "serving_default", "tolerance": TOLERANCE, "accuracy": result,
            "labels": [str(digit) for digit in range(10)]}
    frozen.write_release(out / "digits" / str(release.version), definition, metrics, meta, examples(graph, split.held_out))


def measure(graph: frozen.FrozenGraph, digits: dataset.Digits) -> float:
    """Return the share of `digits` that `graph` classifies correctly."""
    return float(np.mean(graph.run(SIGNATURE, {"images": digits.images[..., None]})["classes"] == digits.labels))


def release(out: Path, quick: bool, say: Callable[[str], None]) -> None:
    """Make all releases of `digits` under `out`, and digits.npy, one held-out digit of each class for people to send."""
    for one in RELEASES:
        release_one(one, out, quick, say)
    held_out = dataset.load().held_out
    first = [int(np.argmax(held_out.labels == digit)) for digit in range(10)]
    np.save(out / "digits" / "digits.npy", held_out.images[first][..., None])
