# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Action of the module ``rollout_host``: one step on one host, and exactly one line of the ledger, whatever happens.

A host that fails, hangs or cannot be reached is data here: Ansible goes on with every other host, and the rollout decides.
"""
import contextlib
import hashlib
import json
import os
import time

from ansible import constants
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.tfleet.serving.plugins.module_utils.detached import LATE, Detached
from ansible_collections.tfleet.serving.plugins.module_utils.durable import sha256_file
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.release_archive import open_release
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_configs import rollout_configs
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_ledger import Ledger
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_state import FAILED, OK, UNREACHABLE
from ansible_collections.tfleet.serving.plugins.module_utils.runtime import redact

MODULE = "tfleet.serving.rollout_host"
STAGE = "tfleet.serving.release_stage"
PACKAGES = "tfleet.serving.apt_packages"
# Options that stay on the controller, or go to the transport.
OWN = ("run", "job", "ledger", "release", "files", "transport", "packages", "environment")
# What the later steps of a host get as it was in the first. Addresses and proxies, which may hold a password, are not among it.
COMMON = ("run", "rollout", "by", "supersede", "ledger", "settings", "model", "version", "base_path", "labels", "policy", "keep", "latency_budget_ms", "files",
          "release", "manifest_sha256", "release_bytes", "runtime", "runtime_image", "addresses", "metrics", "config_file", "log", "owner", "group", "mode",
          "reserve_bytes", "hardware_class", "trusted_keys", "roots")
# Which step is told what stage has seen, and which texts of model.config (rollout_configs).
SEEN_BY, CONFIGS_OF = ("gate",), {"look": ("final",), "gate": ("bridge", "kept", "alone", "moved"), "promote": ("canary", "stable"), "check": ("final",)}
# What stays out of the ledger: it is there already, or nobody asks for it later.
DROPPED = ("invocation", "_ansible_parsed", "_ansible_no_log", "changed", "failed", "msg", "deprecations", "warnings", "exception", "stdout", "stdout_lines",
           "stderr", "stderr_lines")
LONGEST_MESSAGE = 4000
# What a step says that goes on after its task; where the task has no limit, so long is waited for it.
BEGUN, WAIT_SECONDS = "begun", 3600


class ActionModule(ActionBase):
    """Lead the host through one step."""

    _supports_check_mode = True
    _requires_connection = True

    def run(self, tmp=None, task_vars=None):
        """Return {"outcome", "msg", …}; ``failed`` and ``unreachable`` are never set."""
        super().run(tmp, task_vars)
        step, begin = self._task.args["step"], time.time()
        waits, job = step == "wait", self._task.args.get("job") or {}
        if waits:
            # The answer is that of the step which was begun.
            step, begin = "gate", job.get("since", begin)
        if self._task.check_mode:
            return {"changed": False, "outcome": "none", "msg": "Would do the step %s." % step}
        self._host = (task_vars or {}).get("inventory_hostname")
        # What is empty has the module's own default.
        self._args = {key: value for key, value in dict(self._task.args.get("common") or {}, **self._task.args).items()
                      if key != "common" and value not in (None, "")}
        try:
            answer = self._wait(step, job) if waits else self._step(step, task_vars)
            if answer.get("job") and not waits:
                return {"changed": False, "outcome": BEGUN, "job": dict(answer["job"], since=begin)}
            outcome, message = (FAILED, answer.get("msg", "no message")) if answer.get("failed") else (OK, answer.get("note", ""))
            if answer.get("failed") and (answer.get("unreachable") or _gone(answer)):
                outcome, message = UNREACHABLE, str(answer.get("module_stderr") or message).strip()
        except AnsibleConnectionFailure as error:
            answer, outcome, message = {}, UNREACHABLE, str(error)
        except (AnsibleError, ModuleError) as error:
            answer, outcome, message = {}, FAILED, str(error)
        except BaseException as error:
            # The time limit of the task comes as one of these, and differs between releases of ansible-core.
            if "Timeout" not in type(error).__name__:
                raise
            # Staging has this limit for standing still only (release_stage), and whatever stands still then, the version is not to blame.
            answer, outcome, message = {}, UNREACHABLE if step == "stage" else FAILED, self._given_up(step)
        seconds = time.time() - begin
        if waits and isinstance(answer.get("seconds"), (int, float)):
            # As the device measured it. Then the answer lay there, while those of others were collected.
            took = answer.pop("seconds")
            seconds, answer["waited"] = took, round(max(0.0, seconds - took), 2)
        return self._finish(step, outcome, message, answer, seconds)

    def _given_up(self, step):
        # After the other steps the host goes back, and is done with this rollout.
        again = "go on with -e rollout_resume=%s" % self._args["rollout"] if step in ("stage", "rollback") else "begin a new rollout"
        return ("The step %s was not done within %s seconds (rollout_step_seconds), so it was given up. The host may hang: look at it and end what "
                "hangs there, then %s." % (step, self._task.timeout or WAIT_SECONDS, again))

    def _finish(self, step, outcome, message, answer, seconds):
        message, version = redact(str(message))[:LONGEST_MESSAGE], answer.pop("version", None)
        line = {"host": self._host, "step": step, "outcome": outcome, "seconds": round(seconds, 2),
                # A rollback takes back what the device holds, whatever the inventory declares by now.
                "version": version if isinstance(version, int) else self._args["version"]}
        if message:
            line["msg"] = message
        detail = {key: value for key, value in answer.items() if key not in DROPPED and value not in (None, "", [], {})}
        if detail:
            line["detail"] = detail
        Ledger(self._args["ledger"]).append(line)
        if outcome != OK:
            color = constants.COLOR_ERROR if outcome == FAILED else constants.COLOR_UNREACHABLE
            self._display.display("%s: %s %s: %s" % (self._host, step, outcome, message), color=color)
        result = {"changed": bool(answer.get("changed")), "outcome": outcome, "seconds": line["seconds"]}
        if message:
            result["msg"] = message
        if step == "stage" and outcome == OK:
            result["ansible_facts"] = {"rollout_seen": answer["seen"], "rollout_common": {key: self._args[key] for key in COMMON if key in self._args}}
        return result

    def _step(self, step, task_vars):
        if step == "stage":
            return self._stage(task_vars)
        more = {}
        if step == "gate":
            more = {"arrived": self._bring(self._args["seen"].get("missing", ())), "companions": self._digests(),
                    "src": self._args["seen"].get("src", ""), "in_background": True}
        return self._module(step, task_vars, **more)

    def _wait(self, step, job):
        """The answer of the step that was begun."""
        if not job:
            raise AnsibleError("The step wait needs the job that the step gate has returned.")
        limit = self._task.timeout or WAIT_SECONDS
        said = self._low_level_execute_command(Detached(job["folder"]).wait_command(limit - (time.time() - job["since"])))
        answer = _told(said["stdout"])
        if answer is not None:
            return answer
        if said["rc"] == LATE:
            return {"failed": True, "msg": self._given_up(step)}
        # By a terminal, which ssh may ask for, errors come among the output.
        words = " ".join((said["stdout"] + said["stderr"]).split())[-500:]
        return {"failed": True, "module_stderr": said["stderr"], "msg": "The step %s has left no answer: its process was killed, the device was restarted, or "
                "its directory for temporary files is full. Look at the device's own log for that time and at its disk, then begin a new rollout. It said, "
                "with exit code %d: %s" % (step, said["rc"], words)}

    def _module(self, step, task_vars, **more):
        args = {key: value for key, value in self._args.items() if key not in OWN}
        if step not in SEEN_BY:
            args.pop("seen", None)
        if CONFIGS_OF.get(step):
            # A host that nobody has looked at yet is asked whether all is as declared.
            item = dict({"labels": {}, "policy": {}}, **args)
            declared = {"labels": {item["model"]: item["labels"]}, "versions": []}
            texts = rollout_configs((step != "look" and self._args.get("seen")) or declared, item)
            args["configs"] = {name: texts[name] for name in CONFIGS_OF[step]}
        args.update(more, step=step)
        return self._execute_module(module_name=MODULE, module_args=args, task_vars=task_vars)

    # ---- stage ----
    def _stage(self, task_vars):
        self._read_release()
        look = self._module("look", task_vars, companions=self._digests())
        if look.get("failed"):
            return look
        seen = {key: look[key] for key in ("versions", "available", "labels", "entry_sha256", "missing", "there")}
        answer = {"changed": False, "seen": seen, "held": look.get("held")}
        # What is there may have been signed since.
        signature = self._args["release"] + ".sig" if self._args.get("release") else ""
        to_bring = not look["there"] or (os.path.exists(signature) and sha256_file(signature) != look["signature_sha256"])
        if not to_bring and look["settled"]:
            return dict(answer, settled=True, note="Nothing is left to do: it serves this version already, and answers rightly.")
        installed = self._install(task_vars)
        if installed.get("failed"):
            return installed
        if to_bring:
            staged = self._transport(task_vars)
            if staged.get("failed") or staged.get("unreachable"):
                away = bool(staged.get("unreachable") or staged.get("stalled"))
                return {"failed": True, "unreachable": away, "msg": staged.get("msg", "no message")}
            seen["src"] = staged["staged"]
            answer["changed"] = bool(staged.get("changed"))
            answer["transport"] = {key: staged[key] for key in ("transport", "reason", "bytes_sent", "bytes_reused", "seconds") if key in staged}
        return answer

    def _read_release(self):
        """Add what the device is told of the release, so that it takes no other."""
        if not self._args.get("release"):
            return
        with contextlib.closing(open_release(self._args["release"])) as release:
            self._args["manifest_sha256"] = hashlib.sha256(release.content).hexdigest()
            self._args["release_bytes"] = sum(entry["size"] for entry in release.manifest["files"])

    def _install(self, task_vars):
        """Install what bringing and verifying the release needs."""
        packages = dict.fromkeys(self._args.get("packages") or (), "")
        if not packages:
            return {}
        args = {"set_by": "model_release", "packages": packages, "environment": self._args.get("environment") or {}}
        return self._execute_module(module_name=PACKAGES, module_args=args, task_vars=task_vars)

    def _transport(self, task_vars):
        task = self._task.copy()
        options = ("model", "version", "base_path", "release", "reserve_bytes")
        task.args = dict(self._args["transport"], **{key: self._args[key] for key in options if self._args.get(key) is not None})
        task.action = STAGE
        action = self._shared_loader_obj.action_loader.get(
            STAGE, task=task, connection=self._connection, play_context=self._play_context, loader=self._loader, templar=self._templar,
            shared_loader_obj=self._shared_loader_obj)
        return action.run(task_vars=task_vars)

    # ---- what comes beside the version ----
    def _digests(self):
        return {name: sha256_file(path) for name, path in (self._args.get("files") or {}).items()}

    def _bring(self, names):
        """Copy files to the host's temporary directory; returns {name: path there}."""
        arrived = {}
        for name in names:
            if not self._connection._shell.tmpdir:
                self._make_tmp_path()
            arrived[name] = self._transfer_file(self._args["files"][name], self._connection._shell.join_path(self._connection._shell.tmpdir, name))
        if arrived:
            self._fixup_perms2([self._connection._shell.tmpdir, *arrived.values()])
        return arrived


def _told(text):
    """What a detached step has told, None if nothing; sudo, a shell's profile or a terminal may say something before or after."""
    for line in reversed(text.splitlines()):
        with contextlib.suppress(ValueError):
            told = json.loads(line)
            if isinstance(told, dict) and isinstance(told.get("answer"), dict):
                return told["answer"]
            if isinstance(told, dict) and isinstance(told.get("failure"), dict):
                return dict(told["failure"], failed=True)
    return None


def _gone(answer):
    """Whether a module's failure is that of the way to the host: a container that does not run tells it on standard error, with no exception."""
    said = " ".join(str(answer.get(key, "")) for key in ("module_stderr", "msg", "stderr"))
    return any(words in said for words in ("is not running", "No such container", "Failed to create temporary directory"))
