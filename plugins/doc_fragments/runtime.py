# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Documentation of the options that every module with a tfleet runtime behind it has."""


class ModuleDocFragment(object):
    DOCUMENTATION = r"""
options:
  runtime:
    description:
      - Path of the C(tfleet) command on the host, in the virtual environment that holds TensorFlow or the client.
      - A name without a slash is looked up in E(PATH).
    type: path
    default: tfleet
  runtime_timeout:
    description: Seconds the command may take before it is ended.
    type: int
    default: 600
  runtime_env:
    description:
      - Environment variables for the command, for example proxies.
      - Values of variables whose names speak of a secret (password, token, ...) never appear in messages.
    type: dict
    default: {}
requirements:
  - the tfleet runtime (role tfleet.serving.tensorflow_runtime, or C(pip install) of the folder C(runtime))
notes:
  - Runs on Python 3.6 and later and needs nothing but its standard library; TensorFlow lives in the runtime's own environment.
"""
