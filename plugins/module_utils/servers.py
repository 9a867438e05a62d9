# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Model servers as the role ``model_server`` starts them: their flags, and what a container of one is given. Pure functions, used on the controller."""
import posixpath

from ansible_collections.tfleet.serving.plugins.module_utils.models import ModelsError, client_address

# Servers of one host that share its files are this many ports apart.
PORT_STEP = 10


def server_flags(flags, ours):
    """Return the sorted arguments of a model server, in TensorFlow Serving's grammar: ``--name=value``, ``true`` and ``false`` in lower case.

    :param flags: {name: value}.
    :param ours: whether it is tfleet's own server; TensorFlow Serving's would only report flags that it does not know.
    """
    return ["--%s=%s" % (name, {"True": "true", "False": "false"}.get(str(value), value))
            for name, value in sorted(flags.items()) if ours or not name.startswith("tfleet_")]


def container_servers(gpu, name, grpc_port, rest_port, guard_file, listen_address):
    """Return one dictionary for each container of a host: name, ports, address, start guard's file, and the GPU in Docker's terms.

    :param gpu: empty for none, ``nvidia`` for the NVIDIA runtime (a Jetson has no other way, facts/jetson.md, section 4d), ``all`` or a number for a
        server's GPUs; of a list each member gets a server of its own.
    :raises ModelsError: a GPU that is none of these, or that is listed twice.
    """
    several = isinstance(gpu, (list, tuple))
    chosen = [_gpu(each) for each in (gpu if several else [gpu])]
    if several and (len(set(chosen)) != len(chosen) or not chosen or not all(each.isdigit() for each in chosen)):
        raise ModelsError("model_server_gpu: %r is not a list of different GPUs, such as [0, 1]." % (gpu,))
    servers = []
    for index, each in enumerate(chosen):
        ports = [int(port) + PORT_STEP * index for port in (grpc_port, rest_port)]
        stem, ending = posixpath.splitext(guard_file)
        servers.append({
            "name": "%s-gpu%s" % (name, each) if several else name,
            "grpc_port": ports[0],
            "rest_port": ports[1],
            "address": client_address(listen_address, ports[0]),
            # Docker wants an IPv6 address in brackets here too.
            "published": ["%s:%d:%d" % ("[%s]" % listen_address if ":" in str(listen_address) else listen_address, port, port) for port in ports],
            "guard_file": "%s-gpu%s%s" % (stem, each, ending) if several else guard_file,
            "runtime": "nvidia" if each == "nvidia" else None,
            "device_requests": _device_requests(each),
        })
    return servers


def _gpu(value):
    text = "" if value is None else str(value)
    if text not in ("", "nvidia", "all") and not text.isdigit():
        raise ModelsError("model_server_gpu: %r is no GPU. Write nvidia on a Jetson, and all, a number, or a list of numbers on a server." % value)
    return text


def _device_requests(gpu):
    if gpu in ("", "nvidia"):
        return []
    return [dict({"driver": "nvidia", "capabilities": [["gpu"]]}, **({"count": -1} if gpu == "all" else {"device_ids": [gpu]}))]


def read_only_mounts(paths):
    """Return Docker's bind mounts of directories, each at the place that it has outside; one inside another needs none of its own."""
    wanted = sorted({posixpath.normpath(path) for path in paths})
    return [{"type": "bind", "source": path, "target": path, "read_only": True} for path in wanted
            if not any(path.startswith(other + "/") for other in wanted)]


def memory_shortage(available_bytes, largest_block_bytes, free_memory, free_block):
    """Return the sentence why a server should not be started on a host now, empty if nothing speaks against it.

    :param available_bytes: MemAvailable; None where it is not known, which is no reason.
    :param largest_block_bytes: size of the largest contiguous free block; None where it is not known.
    :param free_memory: bytes of memory that must be available, 0 for any.
    :param free_block: bytes that must be free in one piece, 0 for any.
    """
    reasons = []
    if free_memory and available_bytes is not None and available_bytes < free_memory:
        reasons.append("only %s of memory are available, and model_server_free_memory is %s" % (_mib(available_bytes), _mib(free_memory)))
    if free_block and largest_block_bytes is not None and largest_block_bytes < free_block:
        reasons.append("the largest free block of memory is %s, and model_server_free_block is %s" % (_mib(largest_block_bytes), _mib(free_block)))
    return " and ".join(reasons)


def _mib(size):
    return "%d MiB" % (size // 2 ** 20) if size >= 2 ** 20 else "%d KiB" % (size // 2 ** 10)
