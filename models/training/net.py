"""Convolutions that are trained with batch normalisation and frozen without it.

A model's forward function is written once, as `forward(conv, x)`: `conv(name, x)` applies the named convolution. While training,
`conv` is `ConvNet.train`; in the frozen graph it is `folded(weights)`, where each normalisation is folded into its convolution.
"""
from typing import Callable, Dict, NamedTuple, Sequence

import numpy as np
import tensorflow as tf

EPSILON = 1e-3
MOMENTUM = 0.98

ConvFunction = Callable[[str, tf.Tensor], tf.Tensor]


def configure(threads: int) -> None:
    """Make training repeatable and let it use `threads` cores. Call before anything is computed."""
    tf.get_logger().setLevel("ERROR")  # resize_nearest_neighbor is deprecated in TensorFlow 2, and all that 1.15 has
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()


class Conv(NamedTuple):
    """One convolution. `norm` False makes an output layer: a bias, no normalisation, no ReLU."""

    name: str
    kernel: int
    inputs: int
    outputs: int
    stride: int = 1
    padding: str = "SAME"
    norm: bool = True
    bias: float = 0.0


class ConvNet(tf.Module):
    """The variables of a list of convolutions."""

    def __init__(self, layers: Sequence[Conv], seed: int) -> None:
        super().__init__()
        self.layers = {layer.name: layer for layer in layers}
        random = np.random.default_rng(seed)
        self.kernels: Dict[str, tf.Variable] = {}
        self.offsets: Dict[str, tf.Variable] = {}
        self.scales: Dict[str, tf.Variable] = {}
        self.moments: Dict[str, Sequence[tf.Variable]] = {}
        for layer in layers:
            fan_in = layer.kernel ** 2 * layer.inputs
            deviation = np.sqrt(2.0 / fan_in) if layer.norm else 0.01
            kernel = random.normal(0, deviation, (layer.kernel, layer.kernel, layer.inputs, layer.outputs))
            self.kernels[layer.name] = tf.Variable(kernel.astype(np.float32))
            self.offsets[layer.name] = tf.Variable(np.full(layer.outputs, layer.bias, np.float32))
            if layer.norm:
                self.scales[layer.name] = tf.Variable(np.ones(layer.outputs, np.float32))
                self.moments[layer.name] = [tf.Variable(np.full(layer.outputs, value, np.float32), trainable=False)
                                            for value in (0.0, 1.0)]

    @property
    def parameters(self) -> int:
        """How many numbers the frozen graph will hold (kernels and biases)."""
        return sum(int(np.prod(v.shape)) for group in (self.kernels, self.offsets) for v in group.values())

    def train(self, name: str, x: tf.Tensor) -> tf.Tensor:
        """Apply convolution `name` with the batch's own statistics, and move the running ones."""
        layer = self.layers[name]
        x = tf.nn.conv2d(x, self.kernels[name], layer.stride, layer.padding)
        if not layer.norm:
            return x + self.offsets[name]
        x, mean, variance = tf.compat.v1.nn.fused_batch_norm(x, self.scales[name], self.offsets[name], epsilon=EPSILON)
        for running, now in zip(self.moments[name], (mean, variance)):
            running.assign(MOMENTUM * running + (1 - MOMENTUM) * now)
        return tf.nn.relu(x)

    def fold(self) -> Dict[str, tuple]:
        """Return {name: (layer, kernel, bias)} as float32 arrays, normalisation folded in."""
        weights = {}
        for name, layer in self.layers.items():
            kernel, bias = self.kernels[name].numpy(), self.offsets[name].numpy()
            if layer.norm:
                mean, variance = (moment.numpy() for moment in self.moments[name])
                factor = self.scales[name].numpy() / np.sqrt(variance + EPSILON)
                kernel, bias = kernel * factor, bias - mean * factor
            weights[name] = (layer, kernel.astype(np.float32), bias.astype(np.float32))
        return weights


def folded(weights: Dict[str, tuple]) -> ConvFunction:
    """Return the `conv` of a frozen graph, whose weights are constants."""

    def conv(name: str, x: tf.Tensor) -> tf.Tensor:
        layer, kernel, bias = weights[name]
        with tf.name_scope(name):
            x = tf.nn.conv2d(x, tf.constant(kernel, name="kernel"), layer.stride, layer.padding, name="conv")
            x = tf.nn.bias_add(x, tf.constant(bias, name="bias"), name="add_bias")
            return tf.nn.relu(x, name="relu") if layer.norm else x

    return conv
