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
  runtime_image:
    description:
      - Name of the tfleet runtime image on the host. The command then runs in a throw-away container of it instead of O(runtime), with no more than the
        files it needs mounted, and with the host's network only if it talks to a server. Paths must be absolute.
      - The image is never pulled; the role P(tfleet.serving.tensorflow_runtime#role) brings it.
    type: str
    default: ""
  runtime_memory:
    description: Memory limit of the throw-away container in Docker's notation, such as V(1g). Empty means none.
    type: str
    default: ""
  runtime_gpu:
    description:
      - The GPU that the throw-away container sees. Empty means none.
      - V(nvidia) is the NVIDIA runtime, as Jetsons need it; anything else is a device of C(docker run --gpus), such as V(all) or V(0).
    type: str
    default: ""
requirements:
  - the tfleet runtime (role tfleet.serving.tensorflow_runtime, or C(pip install) of the folder C(runtime))
  - for O(runtime_image), Docker 19.03 or later
notes:
  - Runs on Python 3.6 and later and needs nothing but its standard library; TensorFlow lives in the runtime's own environment.
"""
