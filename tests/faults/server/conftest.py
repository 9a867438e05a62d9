"""The models that the faults are tried on, and the way to the helpers of the conformance tests."""

import os
import subprocess
import sys

import pytest

_HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [_HERE, os.path.join(_HERE, "..", "..", "conformance")]


@pytest.fixture(scope="session")
def model_files(tmp_path_factory):
    """A directory with the models of served_models.py and fault_models.py, written by TensorFlow in a process of its own."""
    root = tmp_path_factory.mktemp("models")
    done = subprocess.run([sys.executable, os.path.join(_HERE, "fault_models.py"), str(root)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          universal_newlines=True, check=False)
    assert done.returncode == 0, done.stdout
    return root
