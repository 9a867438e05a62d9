import os

import pytest


@pytest.fixture(scope="session")
def tf():
    """TensorFlow, as the judge of what we write: nothing under test imports it."""
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow

    return tensorflow
