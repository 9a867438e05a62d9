# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The model server of a device as a rollout talks to it: its model.config, its versions, its answers, its counters, its log.

Several servers may share the files of a device (one for each GPU): each is asked, and each must be right.
"""
import hashlib
import os
import typing
import urllib.request

from ansible_collections.tfleet.serving.plugins.module_utils.durable import replacing
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.model_entry import entry_of, with_entry
from ansible_collections.tfleet.serving.plugins.module_utils.process import log_tail
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_gate import request_counts
from ansible_collections.tfleet.serving.plugins.module_utils.runtime import RuntimeFailure, last_lines, reaching, redact
from ansible_collections.tfleet.serving.plugins.module_utils.server_answers import unreachable
from ansible_collections.tfleet.serving.plugins.module_utils.server_process import servers

# With a latency budget `tfleet predict` asks at least six times; none is this long.
NO_BUDGET_MS = 3600000
METRICS_SECONDS = 10
LARGEST_METRICS = 16 * 1024 * 1024
LOG_LINES = 30


class ServerError(ModuleError):
    """The server does not do what a step of the rollout needs."""


class Server(object):
    """The servers of one device.

    :param runtime: a Runtime.
    :param addresses: of their gRPC ports.
    :param metrics: URLs of their counters; empty where monitoring is off.
    :param config_file: path of the model.config that they share.
    :param log: {"file"}, {"unit"} or {"containers"}: where they write.
    :param run_command: AnsibleModule.run_command.
    """

    def __init__(self, runtime, addresses, metrics, config_file, log, run_command):
        self.runtime = runtime
        self.addresses = addresses
        self.metrics = metrics
        self.config_file = config_file
        self.log = log
        self.run_command = run_command

    # ---- model.config ----
    def config(self):
        """Return the text of model.config.

        :raises ServerError: there is none.
        """
        try:
            with open(self.config_file, "rb") as stream:
                return stream.read().decode("utf-8")
        except FileNotFoundError:
            raise ServerError("There is no %s on this device: no model server was set up. Run playbooks/site.yml for it first." % self.config_file) from None

    def entry(self, model):
        """Return what model.config says of a model, None if nothing."""
        return entry_of(self.config(), model)

    def configure(self, model, entry):
        """Have every server take another entry of a model, all other models as they are; says whether it was another.

        They read it even if it was no other: a run that was killed has written it, and told nobody.

        :raises ServerError: a server refused it; the old one is back then.
        """
        old = self.config()
        text = with_entry(old, model, entry)
        if text != old:
            self._write(text)
        try:
            self._reload()
        except RuntimeFailure as failure:
            self._write(old)
            # Those that took it go back too; who does not answer reads the file when it starts.
            try:
                self._reload()
            except RuntimeFailure:
                pass
            raise ServerError("The server refused its new model.config, so the old one is back: %s" % failure) from failure
        return text != old

    def write(self, model, entry):
        """Leave an entry of a model for a server that does not answer and will read it when it starts."""
        self._write(with_entry(self.config(), model, entry))

    def _write(self, text):
        status = os.stat(self.config_file)
        with replacing(self.config_file, status.st_mode & 0o777) as stream:
            if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(stream.fileno(), status.st_uid, status.st_gid)
            stream.write(text.encode("utf-8"))

    def _reload(self):
        for address in self.addresses:
            needs = reaching(address)
            needs["reads"] = [self.config_file] + needs.get("reads", [])
            self.runtime.run("reload", ["--address", address, "--config=" + self.config_file], **needs)

    # ---- versions ----
    def look(self):
        """Return what the servers serve: {"reachable", "models": {name: {"available": [version], "labels": {}}}}.

        ``available`` are the versions that every server has; labels are those of model.config.
        """
        found: typing.Dict[str, typing.Dict[str, typing.Any]] = {}
        for address in self.addresses:
            try:
                answer = self.runtime.run("status", ["--address", address, "--timeout", "10", "--config", self.config_file],
                                          **dict(reaching(address), reads=[self.config_file] + reaching(address).get("reads", [])))
            except RuntimeFailure as failure:
                if not unreachable(failure):
                    raise
                return {"reachable": False, "models": {}, "msg": str(failure)}
            for name, model in answer["models"].items():
                available = {int(row["version"]) for row in model["versions"] if row["state"] == "AVAILABLE"}
                entry = found.setdefault(name, {"available": available, "labels": {label: int(version) for label, version in model["labels"].items()}})
                entry["available"] &= available
        return {"reachable": True, "models": {name: dict(entry, available=sorted(entry["available"])) for name, entry in found.items()}}

    def wait(self, model, version, seconds):
        """Wait until every server has the version AVAILABLE.

        :raises RuntimeFailure: it failed to load, or did not come.
        """
        for address in self.addresses:
            self.runtime.run("status", ["--address", address, "--wait", "%s=%d" % (model, version), "--timeout", "%g" % seconds], **reaching(address))

    # ---- answers ----
    def ask(self, model, golden, version=None, label=None, timeout=60):
        """Ask every server for its golden answers; returns {"version", "p50" (ms, the slowest server's), "worst_error", "samples"}.

        ``samples`` are at most 3 of the examples, in a few KB: {"input": name, "output": {name of an output: values}, "expected": the same}. An older runtime
        tells none.

        :raises RuntimeFailure: no answer, or a wrong one.
        """
        result = None
        for address in self.addresses:
            args = ["--address", address, "--model=" + model, "--golden=" + golden, "--timeout", "%g" % timeout, "--latency-budget-ms=%d" % NO_BUDGET_MS]
            args.append("--version=%d" % version if version is not None else "--label=" + label)
            needs = reaching(address)
            needs["reads"] = [golden] + needs.get("reads", [])
            answer = self.runtime.run("predict", args, **needs)
            mine = {"version": int(answer["version"]), "p50": answer["latency_ms"]["p50"], "worst_error": answer["worst_error"],
                    "samples": answer.get("samples", [])}
            if result is None or mine["p50"] > result["p50"]:
                result = mine
        return result

    def counts(self, model):
        """Return {status: requests} of a model over all servers, None where the counters cannot be read."""
        total: typing.Dict[str, int] = {}
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        for url in self.metrics:
            try:
                with opener.open(url, timeout=METRICS_SECONDS) as answer:
                    text = answer.read(LARGEST_METRICS).decode("utf-8", "replace")
            except (OSError, ValueError):
                return None
            for status, count in request_counts(text, model).items():
                total[status] = total.get(status, 0) + count
        return total if self.metrics else None

    def processes(self):
        """Return what server_process.servers() tells of them."""
        ports = [int(address.rpartition(":")[2]) for address in self.addresses if address.rpartition(":")[2].isdigit()]
        return servers(ports, self.log.get("containers", []), self.run_command)

    # ---- log ----
    def log_lines(self):
        """Return the last lines that the servers wrote, without secrets; empty if they cannot be read."""
        if self.log.get("file"):
            return redact(log_tail(self.log["file"]))
        if self.log.get("unit"):
            commands = [["journalctl", "--unit", self.log["unit"], "--lines", str(LOG_LINES), "--no-pager", "--output", "cat"]]
        else:
            commands = [["docker", "container", "logs", "--tail", str(LOG_LINES), name] for name in self.log.get("containers", [])]
        said = []
        for command in commands:
            _status, out, err = self.run_command(command, errors="replace")
            said.append(out + err)
        return redact(last_lines("\n".join(said), LOG_LINES))


def digest(entry):
    """Return what tells one entry of model.config from another, or from none."""
    return hashlib.sha256((entry or "").encode("utf-8")).hexdigest()
