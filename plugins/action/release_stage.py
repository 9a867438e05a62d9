# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Action of the module ``release_stage``: chooses the transport, and does the controller's part of it."""
import base64
import json
import os
import signal
import sys
import time
import typing
import zlib

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible_collections.tfleet.serving.plugins.module_utils import release_index
from ansible_collections.tfleet.serving.plugins.module_utils import signature as signatures
from ansible_collections.tfleet.serving.plugins.module_utils.durable import canonical_json
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.runtime import redact_result
from ansible_collections.tfleet.serving.plugins.plugin_utils import release_sending, swarm_control
from ansible_collections.tfleet.serving.plugins.plugin_utils.transport_choice import choose, megabytes

MODULE = "tfleet.serving.release_stage"
TRANSPORTS = ("auto", "push", "pull", "swarm")
# So many times in a row the device may lack no less than before.
VAIN_ROUNDS = 3


class ActionModule(ActionBase):
    """Bring a release to the host of the task."""

    _supports_check_mode = True
    _requires_connection = True

    def run(self, tmp=None, task_vars=None):
        """Return {"staged", "changed", "transport", "reason", "bytes_sent", "bytes_reused", "seconds"}, or a failure."""
        super().run(tmp, task_vars)
        begin = time.time()
        try:
            result = self._stage(task_vars or {})
        except AnsibleConnectionFailure as error:
            result = {"failed": True, "unreachable": True, "msg": "The connection broke while the release was being staged: %s. What has come is kept." % error}
        except ModuleError as error:
            result = dict(error.result, failed=True, msg=str(error))
        except (AnsibleError, OSError) as error:
            result = {"failed": True, "msg": "The release was not staged: %s. What has come is kept; put that right and run again." % error}
        for key in ("missing", "parts", "rsync"):
            result.pop(key, None)
        # An address to fetch from may hold a user and a password, and the module's invocation has them all.
        result = redact_result(result)
        result["seconds"] = round(time.time() - begin, 2)
        if not result.get("failed") and result.get("changed") and not self._task.check_mode:
            self._say(result, task_vars or {})
        return result

    def _stage(self, task_vars):
        self._options(task_vars)
        self._moved()
        transport, reason = self._choice()
        if self._task.check_mode:
            return dict(self._module(task_vars, {"fetch": "pull"} if transport == "pull" else {}), transport=transport, reason=reason)
        result = None
        if transport == "swarm":
            result = self._swarm(task_vars)
            if result.get("failed") and not result.get("unreachable") and self._wanted == "auto":
                transport, reason = "push", "%s; but the swarm failed here: %s" % (reason, result.get("msg"))
                result = None
        elif transport == "pull":
            result = self._fetch(task_vars, {"fetch": "pull"})
        if result is None:
            result = self._push(task_vars)
        result.update(transport=transport, reason=reason)
        return result

    def _options(self, task_vars):
        """Read the options that the controller's part needs; the module checks them all."""
        get = self._task.args.get
        self._wanted = get("transport") or "auto"
        if self._wanted not in TRANSPORTS:
            raise ModuleError("transport must be one of %s, not %r." % (", ".join(TRANSPORTS), self._wanted))
        self._rate, self._timeout, self._port = (int(get(name) or default) for name, default in (
            ("bandwidth_limit", 0), ("timeout", 120), ("swarm_port", 6881)))
        self._encryption = boolean(get("swarm_encryption") or False)
        self._archive = os.path.abspath(os.path.expanduser(get("release"))) if get("release") else None
        self._hosts = list(task_vars.get("ansible_play_hosts_all") or [task_vars.get("inventory_hostname")])
        self._index = self._signature = None
        if self._archive:
            path = release_index.path_of(self._archive)
            with release_sending.locked(self._archive + ".lock"):
                if not os.path.exists(path) or os.stat(path).st_mtime_ns < os.stat(self._archive).st_mtime_ns:
                    release_index.write(path, self._archive)
            self._index = release_index.load(path)
            self._signature = signatures.read(self._archive + ".sig")
            found = self._index["parsed"]
            if (found["model"], found["version"]) != (get("model"), int(get("version"))):
                raise ModuleError("%s is version %d of %s, but version %s of %s is to be staged. Give the release that belongs to it."
                                  % (self._archive, found["version"], found["model"], get("version"), get("model")))

    def _choice(self):
        if self._connection.transport == "local" and self._archive:
            return "push", "the host is this machine"
        if self._wanted != "auto":
            if self._wanted != "pull" and not self._archive:
                raise ModuleError("transport %s needs the release on the controller. Give release, or choose pull." % self._wanted)
            return self._wanted, "it was asked for"
        size = sum(entry["size"] for entry in self._index["parsed"]["files"]) if self._index else 0
        return choose(len(self._hosts), size, self._connection.transport, bool(self._archive), bool(self._task.args.get("urls")),
                      swarm_control.has_libtorrent())

    def _module(self, task_vars, work):
        if self._index:
            index = canonical_json({key: value for key, value in self._index.items() if key != "parsed"})
            work["index"] = base64.b64encode(zlib.compress(index)).decode("ascii")
            if self._signature is not None:
                work["signature"] = base64.b64encode(self._signature).decode("ascii")
        arguments = {key: value for key, value in self._task.args.items() if value is not None and key not in ("release", "transport")}
        return self._execute_module(module_name=MODULE, module_args=dict(arguments, work=work), task_vars=task_vars)

    def _moved(self):
        """Begin the time limit of the task anew: it is for who stands still, not for a link that is slow."""
        if self._task.timeout:
            signal.alarm(self._task.timeout)

    def _fetch(self, task_vars, work):
        """Have the host fetch what it lacks until it lacks nothing; under a time limit it tells in between that it gets farther."""
        if self._task.timeout:
            work = dict(work, seconds=max(1, self._task.timeout // 3))
        first: typing.Dict[str, typing.Any] = {}
        sent = 0
        while True:
            result = self._module(task_vars, work)
            first = first or result
            sent += result.get("bytes_sent", 0)
            if result.get("failed") or not result.get("missing"):
                break
            self._moved()
        return dict(result, bytes_sent=sent, bytes_reused=first.get("bytes_reused", 0), changed=bool(first.get("changed")))

    # ---- push ----
    def _push(self, task_vars):
        """Send what the host says that it lacks until it lacks nothing."""
        if self._connection.transport == "local":
            return self._module(task_vars, {"fetch": "archive", "archive": self._archive})
        rate = self._rate // max(1, min(len(self._hosts), self._forks(task_vars))) if self._rate else 0
        first: typing.Dict[str, typing.Any] = {}
        sent, vain, least = 0, 0, sys.maxsize
        while True:
            result = self._module(task_vars, {})
            first = first or result
            if result.get("failed") or not result.get("missing"):
                break
            lacking = sum(count for runs in result["missing"].values() for _first, count in runs)
            vain, least = 0 if lacking < least else vain + 1, min(least, lacking)
            if vain == VAIN_ROUNDS:
                result = {"failed": True, "msg": "%d blocks were sent %d times, and were not as they should be any time. Look at the disk and the memory of "
                                                 "the host (dmesg), then run again." % (lacking, VAIN_ROUNDS)}
                break
            self._moved()
            shell = release_sending.rsync_command(self._connection) if result["rsync"] else None
            try:
                if shell:
                    source = release_sending.tree(self._archive)
                    sent += release_sending.rsync(self._connection, shell, source, result["missing"], result["staged"], rate, self._timeout, self._moved)
                else:
                    sent += self._copy(result, rate)
            except AnsibleConnectionFailure:
                raise
            except (AnsibleError, release_sending.SendingError) as error:
                # Is its disk full? Only the host can tell, and make room again for the server that runs there.
                result = {} if getattr(error, "result", {}).get("unreachable") else self._module(task_vars, {})
                if not result.get("failed"):
                    raise
                break
        result.update(bytes_sent=sent, bytes_reused=first.get("bytes_reused", 0), changed=bool(first.get("changed")))
        return result

    def _copy(self, result, rate):
        sent, begin = 0, time.time()
        for path in release_sending.parts(self._archive, self._index, result["missing"]):
            self._connection.put_file(path, self._connection._shell.join_path(result["parts"], os.path.basename(path)))
            sent += os.path.getsize(path)
            self._moved()
            if rate:
                # Copying knows no rate of its own: the pauses between the parts make it one.
                time.sleep(max(0.0, sent / float(rate) - (time.time() - begin)))
        return sent

    @staticmethod
    def _forks(task_vars):
        return int(task_vars.get("ansible_forks") or 1)

    # ---- swarm ----
    def _swarm(self, task_vars):
        if not swarm_control.has_libtorrent():
            raise ModuleError("The Python that runs Ansible has no libtorrent. Install it (pip install libtorrent), or choose another transport.")
        hostvars, name = task_vars["hostvars"], task_vars["inventory_hostname"]

        def lookup(host):
            variables = hostvars[host]
            return str(variables.get("ansible_host") or host), str(variables.get("rollout_site") or "")

        hosts = swarm_control.addresses(self._archive, self._hosts, lookup)
        own = [host[1] for host in hosts if host[0] == name]
        if not own:
            raise ModuleError("The address of this host cannot be resolved on the controller, so nobody could reach it in a swarm. Set ansible_host, or choose "
                              "another transport.")
        with swarm_control.seeding(self._archive, hosts, self._port, self._rate, self._encryption) as (info, port):
            peers, late = swarm_control.peers_of(name, hosts, self._port)
            controller = swarm_control.own_address(own[0])
            (late if late else peers).append([controller, port])
            request = {"metainfo": info, "port": self._port, "peers": peers, "late_peers": late, "allowed": [host[1] for host in hosts] + [controller],
                       "rate": self._rate, "encryption": self._encryption}
            return self._fetch(task_vars, {"fetch": "swarm", "swarm": request})

    # ---- progress ----
    def _say(self, result, task_vars):
        """One line for the whole fleet, each time a host has the release."""
        if len(self._hosts) < 2 or not self._archive:
            return
        path = self._archive + ".progress"
        with release_sending.locked(path + ".lock"):
            try:
                with open(path) as stream:
                    state = json.load(stream)
            except (OSError, ValueError):
                state = {}
            # Ansible's processes for the hosts have one parent, which is this run.
            if state.get("run") != os.getppid():
                state = {"run": os.getppid(), "begin": time.time() - result["seconds"], "hosts": [], "sent": 0, "reused": 0}
            host = task_vars.get("inventory_hostname")
            if host not in state["hosts"]:
                state["hosts"].append(host)
            state["sent"] += result["bytes_sent"]
            state["reused"] += result["bytes_reused"]
            with open(path, "w") as stream:
                json.dump(state, stream)
        self._display.display("%s %s: %d of %d hosts have it after %.0f s (%s), %s sent, %s were there" % (
            self._task.args.get("model"), self._task.args.get("version"), len(state["hosts"]), len(self._hosts), time.time() - state["begin"],
            result["transport"], megabytes(state["sent"]), megabytes(state["reused"])))
