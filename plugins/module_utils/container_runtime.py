# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The launcher's second way to start a ``tfleet`` command: a throw-away container of the runtime image.

Such a container has its own memory limit, so that a conversion that needs too much dies alone and not the model server; it sees the
paths that the command was given and no others, has no network unless it talks to a server, no capabilities, and the identity of the
caller: what it may read and write is what the caller may.
"""

import binascii
import os
import platform
import re
import subprocess

from ansible_collections.tfleet.serving.plugins.module_utils.runtime import Runtime, RuntimeFailure, RuntimeMissing, child_environment, find_command, last_lines

_FIXED_ENVIRONMENT = ("LANG", "LC_ALL", "LANGUAGE", "PYTHONIOENCODING")
_NO_IMAGE = re.compile(r"no such (image|object)", re.IGNORECASE)
# `docker run` itself: the engine refused, the command of the image cannot be run, or is not there.
_ENGINE_FAILED = 125
_COMMAND_FAILED = (126, 127)


def gpu_arguments(gpu):
    """``docker run``'s options for a GPU. A Jetson's GPU comes through the NVIDIA runtime, never by --gpus (facts/jetson.md, section 4d)."""
    if not gpu:
        return []
    if gpu == "nvidia":
        return ["--runtime", "nvidia", "--env", "NVIDIA_VISIBLE_DEVICES=all"]
    return ["--gpus", gpu if gpu == "all" else '"device=%s"' % gpu]


def mounts(reads, writes):
    """``{path: writable}`` for the paths of one command: the same path inside as outside, and nothing above it.

    A path that is read and does not exist is left out: the command says so itself. One that is written is made or replaced by a rename,
    so its directory is mounted, or the nearest one above it that exists.

    :raises RuntimeFailure: a relative path, or one that would take the whole host along.
    """
    chosen = {}
    for path in list(reads) + list(writes):
        if not os.path.isabs(path):
            raise RuntimeFailure("The path `%s` is relative, and a container shares no working directory with the host. Write an absolute path." % path)
    for path in writes:
        directory = os.path.dirname(os.path.normpath(path))
        while not os.path.isdir(directory):
            directory = os.path.dirname(directory)
        if directory == "/":
            raise RuntimeFailure("Writing `%s` would need the host's root directory mounted. Make the directory that it belongs in first." % path)
        chosen[directory] = True
    for path in map(os.path.normpath, reads):
        if os.path.exists(path) and not any(path == place or path.startswith(place + "/") for place in chosen):
            chosen[path] = False
    return chosen


def mount_argument(path, writable):
    """One ``--mount`` option. Its value is a line of CSV, so a path with a comma stands in quotes."""
    fields = ["type=bind"] + ['"%s=%s"' % (name, path.replace('"', '""')) for name in ("source", "target")] + ([] if writable else ["readonly"])
    return ["--mount", ",".join(fields)]


class ContainerRuntime(Runtime):
    """Starts commands of the tfleet runtime image.

    :param image: name of an image that the host has; it is never pulled
    :param memory: memory limit in Docker's notation, empty for none
    :param gpu: see ``gpu_arguments``
    """

    def __init__(self, image, env=None, timeout=600, memory="", gpu=""):
        super().__init__("docker", env, timeout)
        self.image = image
        self.memory = memory
        self.gpu = gpu
        self._container = ""

    def argv(self, name, args, reads=(), writes=(), network=False):
        """The argument vector of ``docker run``. Raises RuntimeMissing if the host has no Docker or no such image."""
        docker = self._docker(name)
        self._container = "tfleet-%s-%d-%s" % (name, os.getpid(), binascii.hexlify(os.urandom(4)).decode())
        argv = [docker, "run", "--rm", "--interactive", "--init", "--name", self._container, "--label", "tfleet.role=command", "--log-driver", "none",
                "--no-healthcheck", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",  # noqa: S108 inside the container
                "--user", "%d:%d" % (os.geteuid(), os.getegid()), "--network", "host" if network else "none"]
        if os.geteuid() == 0:
            # Root reads and writes other people's files on the host, and so it does in the few directories that are mounted.
            argv += ["--cap-add", "DAC_OVERRIDE"]
        if self.memory:
            argv += ["--memory", self.memory]
        argv += gpu_arguments(self.gpu)
        for variable in _FIXED_ENVIRONMENT + tuple(sorted(self.env)):
            # By name: the value goes from the client's environment to the engine, and never stands in a process list.
            argv += ["--env", variable]
        for path, writable in sorted(mounts(reads, writes).items()):
            argv += mount_argument(path, writable)
        return argv + [self.image, name] + list(args) + ["--json"]

    def where(self):
        """Host and image, for messages."""
        return "host %s (container of image %s)" % (platform.node(), self.image)

    def describe(self, returncode, name, stderr):
        """The launcher's sentence, with what only a container can fail of."""
        tail = " It said:\n%s" % last_lines(stderr) if stderr.strip() else ""
        if returncode == _ENGINE_FAILED:
            return ("`tfleet %s` was not started on %s: the Docker engine refused the container. If it speaks of a runtime or of a device driver, "
                    "run playbooks/provision.yml for this host (role nvidia_container_toolkit).%s" % (name, self.where(), tail))
        if returncode in _COMMAND_FAILED:
            return ("`tfleet %s` was not started on %s: that is not the tfleet runtime image. Build or load the right one with the role "
                    "tfleet.serving.tensorflow_runtime, or correct `runtime_image`.%s" % (name, self.where(), tail))
        sentence = super().describe(returncode, name, stderr)
        if returncode == 137 and self.memory:
            return "The container may use %s of memory (`runtime_memory`). If the host has more to give, raise it. %s" % (self.memory, sentence)
        return sentence

    def end(self, process):
        """End the container too: it does not go with the client that started it."""
        try:
            self._call(["rm", "--force", self._container])
        except OSError:
            pass
        return super().end(process)

    def _docker(self, name):
        docker = find_command(self.command, child_environment(os.environ, {}).get("PATH"))
        if docker is None:
            raise RuntimeMissing("There is no docker command on host %s, needed for `tfleet %s` in image %s. Install the engine with the role "
                                 "tfleet.serving.docker_engine." % (platform.node(), name, self.image))
        self._found = docker
        inspected = self._call(["image", "inspect", "--format", "{{.Id}}", self.image])
        if inspected[0] != 0 and _NO_IMAGE.search(inspected[1]):
            raise RuntimeMissing("Host %s has no image %s, needed for `tfleet %s`. Build, pull or load it with the role "
                                 "tfleet.serving.tensorflow_runtime." % (platform.node(), self.image, name))
        if inspected[0] != 0:
            raise RuntimeFailure("The Docker engine on host %s does not answer, needed for `tfleet %s` in image %s: %s Look at `systemctl status docker`, "
                                 "and whether this user may use it." % (platform.node(), name, self.image, last_lines(inspected[1])))
        return docker

    def _call(self, arguments):
        process = subprocess.Popen(
            [self._found] + arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=child_environment(os.environ, {}))
        _stdout, stderr = process.communicate()
        return process.returncode, stderr.decode("utf-8", "replace")
