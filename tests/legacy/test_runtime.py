"""The runtime on the TensorFlow releases that devices have: runtime_check.py runs there, with nothing but the runtime installed."""

import pytest

from .conftest import HERE, run


@pytest.mark.parametrize("tensorflow", ["tensorflow_1", "tensorflow_2"])
def test_runtime_on_an_old_tensorflow(tensorflow, request, tmp_path):
    place = request.getfixturevalue(tensorflow)
    print(run(place / "bin/python", HERE / "runtime_check.py", cwd=tmp_path))
