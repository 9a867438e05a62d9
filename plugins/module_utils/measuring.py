# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What the modules model_parity and model_benchmark share: how builds are named, and which requests they are asked."""
import os

from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError

SCHEME = "grpc://"

REQUESTS_ARGUMENT_SPEC = {
    "signature": {"type": "str"},
    "golden": {"type": "path"},
    "tfrecord": {"type": "list", "elements": "path"},
    "images": {"type": "list", "elements": "path"},
    "random": {"type": "int"},
    "values": {"type": "str", "default": "0..1"},
    "timeout": {"type": "float", "default": 60},
}

ONE_OF = ("golden", "tfrecord", "images", "random")


def arguments(params):
    """Return the arguments of the ``tfleet`` command by which its requests are chosen.

    :raises ModuleError: a number that makes no sense.
    """
    if not params["timeout"] > 0:
        raise ModuleError("timeout %g is not more than 0." % params["timeout"])
    args = ["--timeout", "%g" % params["timeout"], "--values=" + params["values"]]
    for option in ("signature", "golden", "random"):
        if params[option] is not None:
            args.append("--%s=%s" % (option, params[option]))
    for option, name in (("tfrecord", "--tfrecord"), ("images", "--image")):
        if params[option]:
            args += [name, *params[option]]
    return args


def absolute(source):
    """Return a build's name with its path made absolute; the command may run elsewhere than the module."""
    return source if source.startswith(SCHEME) else os.path.abspath(os.path.expanduser(source))


def needs(params, sources):
    """Return what the command reads and whether it needs the network, as keywords of ``Runtime.run``."""
    paths = [source for source in sources if not source.startswith(SCHEME)]
    files = [params["golden"], params.get("label_map")]
    files += (params["tfrecord"] or []) + (params["images"] or [])
    reads = paths + [path for path in files if path]
    # The shards of a TFRecord lie beside the name that was given.
    reads += [os.path.dirname(path) for path in params["tfrecord"] or [] if not os.path.exists(path)]
    return {"reads": reads, "network": len(paths) < len(sources)}
