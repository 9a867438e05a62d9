"""The handwritten digits that ship inside scikit-learn, split once for every demo model.

Source: the UCI "Optical Recognition of Handwritten Digits" test set, 1797 images of 8x8 pixels with values 0..16
(`sklearn.datasets.load_digits`). A quarter of each class is held out. Neither model ever sees a held-out digit while it is
trained, in scenes as little as alone.
"""
from typing import NamedTuple

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SPLIT_SEED = 20
HELD_OUT_FRACTION = 0.25


class Digits(NamedTuple):
    """`images` float32 [N,8,8] with values 0..16, `labels` int64 [N] with values 0..9."""

    images: np.ndarray
    labels: np.ndarray


class Split(NamedTuple):
    train: Digits
    held_out: Digits

    def description(self) -> dict:
        """What metrics.json says about the data."""
        return {
            "source": "scikit-learn load_digits (UCI handwritten digits)",
            "split": "stratified, seed %d" % SPLIT_SEED,
            "train": len(self.train.labels),
            "held_out": len(self.held_out.labels),
        }


def load() -> Split:
    """Return the training and the held-out digits; the same on every call and every machine."""
    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8).astype(np.float32)
    train_x, test_x, train_y, test_y = train_test_split(
        images, labels.astype(np.int64), test_size=HELD_OUT_FRACTION, stratify=labels, random_state=SPLIT_SEED)
    return Split(Digits(train_x, train_y), Digits(test_x, test_y))
