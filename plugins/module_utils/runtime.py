# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The one launcher of the ``tfleet`` runtime.

Modules never import TensorFlow, NumPy or gRPC: what needs them is a ``tfleet`` command, started here with ``--json``, and the one
JSON object on its standard output is the module's result. This is the only place that knows time-outs and that turns a killed or
aborted process into a sentence saying what to do. Standard library only, Python 3.6.

The pure functions at the top need neither Ansible nor a process. ``Runtime`` starts the command on the host;
``container_runtime.ContainerRuntime`` starts it in a throw-away container and keeps everything else.
"""

import json
import os
import platform
import re
import signal
import subprocess

from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError

RUNTIME_ARGUMENT_SPEC = {
    "runtime": {"type": "path", "default": "tfleet"},
    "runtime_timeout": {"type": "int", "default": 600},
    "runtime_env": {"type": "dict", "default": {}},
    "runtime_image": {"type": "str", "default": ""},
    "runtime_memory": {"type": "str", "default": ""},
    "runtime_gpu": {"type": "str", "default": ""},
}

_SECRET_NAME = re.compile(r"pass|secret|token|credential|auth|api[_-]?key|access[_-]?key|private", re.IGNORECASE)
_URL_USER = re.compile(r"([a-z][a-z0-9+.-]*://)[^/\s@'\"]+@", re.IGNORECASE)
_URL_QUERY = re.compile(r"([a-z][a-z0-9+.-]*://[^\s?'\"]+)\?[^\s'\"]+", re.IGNORECASE)
_MASK = "********"
_STDERR_LINES = 12
_GRACE_SECONDS = 5


class RuntimeFailure(ModuleError):  # noqa: N818 (the collection's word for it)
    """The runtime could not do what it was asked for.

    ``str(error)`` is for people: what failed, where, and the next step. ``result`` holds what is known besides (at least ``rc``
    where a process ended, ``stderr`` with its last lines, and everything the runtime itself answered).
    """

    def __init__(self, message, result=None):
        super().__init__(message)
        self.result = dict(result or {})


class RuntimeMissing(RuntimeFailure):
    """There is no such command on this host (yet): check mode goes on without it."""


def secret_values(env, args=()):
    """The values that must never appear in a message: of variables and options with a secret's name."""
    values = [str(value) for name, value in (env or {}).items() if _SECRET_NAME.search(str(name))]
    previous = ""
    for arg in args:
        name, equals, value = arg.partition("=")
        if name.startswith("--") and equals and _SECRET_NAME.search(name):
            values.append(value)
        elif previous.startswith("--") and "=" not in previous and _SECRET_NAME.search(previous):
            values.append(arg)
        previous = arg
    return [value for value in values if value]


def redact(text, secrets=()):
    """``text`` without the given secrets, without user:password@ in URLs and without their query strings (signed links)."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, _MASK)
    text = _URL_USER.sub(r"\g<1>" + _MASK + "@", text)
    return _URL_QUERY.sub(r"\g<1>?" + _MASK, text)


def redact_result(value, secrets=()):
    """``redact`` for every string inside a JSON value."""
    if isinstance(value, dict):
        return {key: redact_result(item, secrets) for key, item in value.items()}
    if isinstance(value, list):
        return [redact_result(item, secrets) for item in value]
    return redact(value, secrets) if isinstance(value, str) else value


def child_environment(base, extra):
    """``base`` with a fixed locale (messages are parsed and shown, never translated) and ``extra`` on top, values as strings."""
    env = dict(base)
    env.update({"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "LANGUAGE": "", "PYTHONIOENCODING": "utf-8"})
    env.update({str(name): str(value) for name, value in (extra or {}).items()})
    return env


def find_command(command, path):
    """The absolute path of an executable file ``command``, looked up in ``path`` if it has no slash; None if there is none."""
    command = os.path.expanduser(command)
    if os.sep in command:
        found = os.path.abspath(command)
        return found if os.path.isfile(found) and os.access(found, os.X_OK) else None
    for folder in (path or os.defpath).split(os.pathsep):
        found = os.path.join(folder or os.curdir, command)
        if os.path.isfile(found) and os.access(found, os.X_OK):
            return os.path.abspath(found)
    return None


def interpreter_of(path):
    """The interpreter that a script's first line names; ``path`` itself for a binary or an unreadable file."""
    try:
        with open(path, "rb") as script:
            first = script.readline(512)
    except (IOError, OSError):
        return path
    if not first.startswith(b"#!"):
        return path
    return first[2:].decode("utf-8", "replace").strip() or path


def last_lines(text, count=_STDERR_LINES):
    """The last ``count`` non-empty lines of ``text``."""
    return "\n".join([line for line in text.splitlines() if line.strip()][-count:])


def memory_sentence(meminfo_path="/proc/meminfo"):
    """What is free on this host now, as a sentence; empty where the kernel does not tell."""
    values = {}
    try:
        with open(meminfo_path) as meminfo:
            for line in meminfo:
                name, _colon, rest = line.partition(":")
                if rest.split():
                    values[name] = int(rest.split()[0]) // 1024
    except (IOError, OSError, ValueError):
        return ""
    if "MemAvailable" not in values or "MemTotal" not in values:
        return ""
    return "Now %d of %d MiB of memory and %d of %d MiB of swap are free. " % (
        values["MemAvailable"],
        values["MemTotal"],
        values.get("SwapFree", 0),
        values.get("SwapTotal", 0),
    )


def signal_of(returncode):
    """The signal number behind an exit status: -9 (our own child) and 137 (a shell's or container's report of it) are both 9."""
    if returncode < 0:
        return -returncode
    return returncode - 128 if 128 < returncode < 128 + 65 else 0


def describe_exit(returncode, name, where, stderr=""):
    """A sentence for a runtime that ended with ``returncode`` and no answer: what happened, where, and what to do."""
    doing = "`tfleet %s` on %s" % (name, where)
    number = signal_of(returncode)
    tail = last_lines(stderr)
    said = " It said last:\n%s" % tail if tail else ""
    if number == signal.SIGKILL:
        return (
            "%s was killed (exit status %d), most likely by the kernel because the host ran out of memory. %sFree memory (stop the "
            "model server or other programs for the time), add swap or zram, or use a smaller model or batch, and run it again; "
            "`dmesg | grep -i oom` shows what the kernel did.%s" % (doing, returncode, memory_sentence(), said)
        )
    if number == signal.SIGABRT:
        return (
            "%s aborted in native code (exit status %d). That is mostly a library that is missing or of another version than "
            "TensorFlow was built for (libnvinfer, CUDA, cuDNN), or a processor without instructions it needs. Run the same command by "
            "hand on the host and read what it says last.%s" % (doing, returncode, said)
        )
    if number in (signal.SIGSEGV, signal.SIGILL, signal.SIGBUS):
        return (
            "%s crashed in native code (exit status %d, %s). %sRun `tfleet inspect` on the model and the same command by hand on the "
            "host; if both crash, reinstall the runtime's TensorFlow for this host.%s"
            % (
                doing,
                returncode,
                signal.Signals(number).name,
                "The processor lacks an instruction this TensorFlow was built with. " if number == signal.SIGILL else "",
                said,
            )
        )
    if number:
        return "%s was ended by signal %d. Something else on the host stopped it: run it again, and look for what ended it.%s" % (doing, number, said)
    if returncode == 2:
        return (
            "%s did not understand its options: the runtime installed there is of another release than this collection. "
            "Install the runtime that belongs to it (role tensorflow_runtime) and run again.%s" % (doing, said)
        )
    if returncode == 0:
        return (
            "%s ended well but did not answer with one JSON object. The option `runtime` names something that is not the tfleet "
            "command, or a wrapper prints on standard output: correct it.%s" % (doing, said)
        )
    return (
        "%s failed with exit status %d and without a JSON answer. Check that the option `runtime` names a working tfleet: run it on the "
        "host with --version.%s" % (doing, returncode, said)
    )


def reaching(address):
    """What a command needs in order to reach a model server at this address, as keywords of ``Runtime.run``."""
    return {"reads": [address[len("unix:"):]]} if address.startswith("unix:") else {"network": True}


def parse_answer(stdout):
    """The one JSON object that ``stdout`` holds, or None if it holds anything else."""
    try:
        answer = json.loads(stdout)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) and isinstance(answer.get("ok"), bool) else None


class Runtime(object):
    """Starts commands of one tfleet runtime on this host.

    :param command: path of the ``tfleet`` command, or its name to be found in PATH
    :param env: variables added to the child's environment
    :param timeout: seconds one command may take
    """

    def __init__(self, command="tfleet", env=None, timeout=600):
        self.command = command
        self.env = dict(env or {})
        self.timeout = timeout

    def argv(self, name, args, reads=(), writes=(), network=False):  # noqa: ARG002 only a container must be given them
        """The argument vector of one command; on the host it may read, write and connect anyway.

        Raises RuntimeMissing if the command does not exist here.
        """
        environment = child_environment(os.environ, self.env)
        found = find_command(self.command, environment.get("PATH"))
        if found is None:
            raise RuntimeMissing(
                "There is no executable tfleet runtime `%s` on host %s, needed for `tfleet %s`. Install it with the role "
                "tfleet.serving.tensorflow_runtime, or give the path of the tfleet command in the option `runtime`." % (self.command, platform.node(), name)
            )
        return [found, name] + list(args) + ["--json"]

    def where(self):
        """Host, command and interpreter, for messages."""
        environment = child_environment(os.environ, self.env)
        found = find_command(self.command, environment.get("PATH")) or self.command
        interpreter = interpreter_of(found)
        if interpreter == found:
            return "host %s (%s)" % (platform.node(), found)
        return "host %s (%s, interpreter %s)" % (platform.node(), found, interpreter)

    def describe(self, returncode, name, stderr):
        """The sentence for a command that ended without an answer."""
        return describe_exit(returncode, name, self.where(), stderr)

    def end(self, process):
        """End a command that takes too long, with all it started. Returns what it wrote on standard error."""
        return _end(process)

    def run(self, name, args=(), stdin=None, reads=(), writes=(), network=False):
        """Run ``tfleet <name> <args> --json`` and return its answer.

        :param stdin: text for the command's standard input; None gives it an empty one
        :param reads: absolute paths of files and directories among ``args`` that the command reads, if they exist
        :param writes: absolute paths that it makes or replaces
        :param network: whether it talks to a server
        :raises RuntimeFailure: with the runtime's own message if it answered ``ok: false``, or with a sentence of ours if it could
            not answer (missing, killed, aborted, too slow, not JSON)
        """
        args = [str(arg) for arg in args]
        secrets = secret_values(self.env, args)
        argv = self.argv(name, args, reads, writes, network)
        try:
            process = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=child_environment(os.environ, self.env), start_new_session=True
            )
        except OSError as error:
            raise RuntimeMissing(
                "`%s` cannot be started on %s: %s. If its interpreter was removed or upgraded, install the runtime again "
                "(role tfleet.serving.tensorflow_runtime)." % (argv[0], self.where(), error.strerror)
            )
        stdout, stderr = self._communicate(process, name, stdin, secrets)
        stderr = redact(stderr, secrets)
        answer = parse_answer(stdout)
        known = {"rc": process.returncode, "stderr": last_lines(stderr)}
        if answer is None:
            raise RuntimeFailure(self.describe(process.returncode, name, stderr), known)
        answer = redact_result(answer, secrets)
        if answer["ok"] and process.returncode == 0:
            return answer
        known.update(answer)
        if answer["ok"]:
            raise RuntimeFailure(self.describe(process.returncode, name, stderr), known)
        raise RuntimeFailure(answer.get("msg") or self.describe(process.returncode, name, stderr), known)

    def _communicate(self, process, name, stdin, secrets):
        """Standard output and error as text; ends the whole process group when the time is up."""
        try:
            stdout, stderr = process.communicate((stdin or "").encode("utf-8"), timeout=self.timeout)
            return stdout.decode("utf-8", "replace"), stderr.decode("utf-8", "replace")
        except subprocess.TimeoutExpired:
            stderr = self.end(process)
        text = redact(stderr.decode("utf-8", "replace"), secrets)
        tail = last_lines(text)
        raise RuntimeFailure(
            "`tfleet %s` on %s did not finish within %s seconds and was ended. Raise `runtime_timeout` if the model is large or the "
            "host slow; otherwise look at what it waited for.%s" % (name, self.where(), self.timeout, " It said last:\n%s" % tail if tail else ""),
            {"rc": process.returncode, "stderr": tail, "timed_out": True},
        )


def _end(process):
    """End ``process`` and all it started: first politely, then not. Returns what it wrote on standard error."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except OSError:
            pass
        try:
            return process.communicate(timeout=_GRACE_SECONDS)[1]
        except subprocess.TimeoutExpired:
            continue
    return b""


def runtime_of(module):
    """The Runtime that an AnsibleModule's parameters name; secrets of ``runtime_env`` are masked in all the module prints."""
    params = module.params
    module.no_log_values.update(secret_values(params["runtime_env"]))
    if params["runtime_image"]:
        # Here, because that module builds on this one.
        from ansible_collections.tfleet.serving.plugins.module_utils.container_runtime import ContainerRuntime

        return ContainerRuntime(params["runtime_image"], params["runtime_env"], params["runtime_timeout"], params["runtime_memory"], params["runtime_gpu"])
    return Runtime(params["runtime"], params["runtime_env"], params["runtime_timeout"])
