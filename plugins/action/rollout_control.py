# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Action of the module ``rollout_control``: what happens between the steps of a rollout, on the controller alone, from the ledger alone."""
import getpass
import json
import os
import platform
import re
import time
import uuid
from typing import Dict, List, Tuple

from ansible import constants
from ansible.errors import AnsibleActionFail, AnsiblePromptNoninteractive
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible_collections.tfleet.serving.plugins.module_utils import rollout_state as states
from ansible_collections.tfleet.serving.plugins.module_utils.compatibility import hardware_class_of
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_decision import STOP, budget, decide
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_ledger import Ledger, LedgerError, first_line, known, model_of, name_of
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_lock import BY_HAND, ControllerLock
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_report import report, summary, trend, waiting
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_settings import ARGUMENTS, DEFAULTS, root_of, settings, within_hours
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_waves import Host, plan

# Steps after which is decided: all that a host must have answered by then, and where it stands if all was well.
ANSWERED = {"stage": ("stage",), "gate": ("stage", "gate"), "check": ("stage", "gate", "promote", "check")}
PASSED = {"stage": ("staged", states.DONE), "gate": ("gated",), "check": (states.DONE,)}
UNBUILT = "The releases cannot be built: a task before this one failed, and says why above. Correct it, or take the release out of tfleet_models."
LOST = "What %s gets is not known: a task before this one failed there, and says why above. Correct it, or leave it out with --limit."
NOTHING = " This run has changed nothing."
POLL_SECONDS = 2
# So many rollouts of a model are looked back upon.
TRENDS = 10
PAUSE, APPROVED = "pause", "approved-%d"


class ActionModule(ActionBase):
    """Plan, begin a wave, decide, end."""

    _supports_check_mode = True
    _requires_connection = False
    _VALID_ARGS = frozenset(("do", "work_dir", "hosts", "built", "models", "after", "directory"))

    def run(self, tmp=None, task_vars=None):
        """Return what the playbook needs next; a refusal fails the task."""
        super().run(tmp, task_vars)
        self._vars = dict(task_vars or {})
        if self._task.args["do"] == "plan":
            self._built = boolean(self._task.args.get("built", True))
            # A variable of the inventory may be made of others.
            self._vars.update({name: self._templar.template(self._vars[name]) for name in (*DEFAULTS, *ARGUMENTS) if name in self._vars})
        if self._task.check_mode and self._task.args["do"] not in ("plan", "waiting"):
            return {"changed": False, "msg": "Would do: %s." % self._task.args["do"]}
        try:
            return getattr(self, "_" + self._task.args["do"])(self._task.args)
        except ModuleError as error:
            raise AnsibleActionFail(str(error)) from error

    def _say(self, text, bad=False):
        self._display.display("rollout: " + text, color=constants.COLOR_ERROR if bad else constants.COLOR_OK)

    # ---- plan ----
    def _plan(self, args):
        checked = settings(self._vars)
        if checked["rollout_approval"] == "prompt" and not self._task.check_mode:
            self._refuse_silence()
        root = root_of(args["work_dir"])
        rollout = os.path.basename(str(self._vars.get("rollout_resume") or ""))
        if rollout:
            chosen, model = None, Ledger(os.path.join(root, rollout)).read()[0]["model"]
        else:
            model, chosen = self._model(), self._chosen(args["hosts"])
            rollout = name_of(model, {version for _host, version in chosen}, root)
        if self._task.check_mode:
            return self._made(root, rollout, chosen, args["hosts"], checked)
        # Before the ledgers are read: what they tell would be old news as soon as another run went on.
        lock = ControllerLock(root, model)
        stale = lock.take(rollout, os.getppid(), _me(), str(self._vars.get("rollout_take_over") or ""))
        try:
            result = self._made(root, rollout, chosen, args["hosts"], checked)
        except ModuleError:
            lock.release(rollout)
            raise
        if stale and stale != rollout:
            self._say("the run of %s is gone without an end; its lock was taken over." % stale)
        return result

    def _made(self, root, rollout, chosen, names, checked):
        """The plan of a new rollout to the hosts that were chosen, or what is left of one that is resumed, for the hosts of this run."""
        if chosen is None:
            ledger, state, left_out = self._resumed(root, rollout, names)
        else:
            (ledger, state), left_out = self._planned(root, rollout, chosen, checked), set()
        waves = [dict(wave, hosts=[name for name in wave["hosts"] if name in names and name not in left_out]) for wave in state.waves()]
        waves, owed = [wave for wave in waves if wave["hosts"]], [name for name in state.owed() if name in names]
        self._refuse_lost(owed + [name for wave in waves for name in wave["hosts"]])
        # For a typing error in a budget: before anything begins.
        budget(checked, len(state.hosts))
        self._show(state, waves, owed)
        control = {"id": rollout, "run": uuid.uuid4().hex, "directory": ledger.directory, "model": state.plan["model"], "by": _me(), "settings": checked,
                   "order": [], "sizes": [], "owed": [], "supersede": state.plan["supersede"]}
        # In check mode nobody is to take part in what follows.
        if not self._task.check_mode:
            control.update(order=[name for wave in waves for name in wave["hosts"]], sizes=[len(wave["hosts"]) for wave in waves], owed=owed)
            if chosen is not None:
                ledger.create(state.plan)
            ledger.append({"step": "run", "outcome": "begin", "by": _me(), "pid": os.getppid(), "waiting": len(control["order"]), "owed": owed,
                           "settings": checked})
        # A verdict that a fact cache has kept is none of this run.
        return {"changed": False, "ansible_facts": {"rollout_control": control, "rollout_verdict": {}}}

    def _refuse_silence(self):
        """Where nobody can answer, ansible.builtin.pause only warns and goes on, as if each wave had been approved."""
        try:
            # Only Ansible's main process has the terminal. This asks it for nothing, and fails as the question of a wave would.
            self._display.prompt_until("rollout: each wave asks for your approval.", seconds=0)
        except AnsiblePromptNoninteractive as error:
            raise ModuleError("rollout_approval is prompt, and nobody can answer: this run has no terminal, or is in its background. Run it in the "
                              "foreground of one, or set rollout_approval to file: then each wave waits for a file that the run names.") from error

    def _chosen(self, names):
        """[(Host, version)] of the hosts that have the model."""
        self._refuse_lost(names)
        if not self._built:
            raise LedgerError(UNBUILT + NOTHING)
        chosen = []
        for name in names:
            variables = self._vars["hostvars"][name]
            item = variables.get("rollout_item") or {}
            if item:
                chosen.append((Host(name, str(variables.get("rollout_site", "")), _class_of(variables)), item["version"]))
        if not chosen:
            raise LedgerError("No host of this run has the model %s in tfleet_models. Check rollout_model, --limit and the inventory." % self._model())
        return chosen

    def _planned(self, root, rollout, chosen, checked):
        model, hosts = self._model(), [host for host, _version in chosen]
        self._refuse_unfinished(root, model)
        waves = plan(hosts, checked["rollout_canaries"], checked["rollout_waves"], checked["rollout_site_share"])
        line = {"step": "plan", "rollout": rollout, "model": model, "by": _me(), "supersede": _chain(root, str(self._vars.get("rollout_supersede") or "")),
                "waves": [dict(wave._asdict(), hosts=list(wave.hosts)) for wave in waves],
                "targets": {host.name: version for host, version in chosen},
                "sites": {host.name: host.site for host in hosts if host.site}, "classes": {host.name: host.hardware_class for host in hosts}}
        return Ledger(os.path.join(root, rollout)), states.State([line])

    def _refuse_lost(self, names):
        """Ansible goes on without a host whose task failed: a rollout that was planned without it would call itself done."""
        lost = [name for name in names if name not in self._vars["ansible_play_hosts"]]
        if lost:
            raise LedgerError(LOST % _some(lost) + NOTHING)

    def _model(self):
        model = self._vars.get("rollout_model")
        if not model:
            raise LedgerError("Say what to roll out: -e rollout_model=NAME, or -e rollout_resume=ID to go on with a rollout.")
        return str(model)

    def _refuse_unfinished(self, root, model):
        """A rollout that was killed stands half way: whoever begins another one shall know it."""
        # Before they are read: one that is damaged is left for ever as soon as another took its place.
        left = {str(self._vars.get("rollout_supersede") or ""), *_superseded(root)}
        names = [name for name in known(root) if model_of(name) == model]
        for name in names:
            if name in left:
                continue
            try:
                half_way = states.State(Ledger(os.path.join(root, name)).read()).half_way()
            except LedgerError as error:
                if name == names[-1]:
                    raise
                # The one after it was refused as long as this one stood half way.
                self._say("left out: %s. %s" % (name, error), bad=True)
                continue
            if half_way:
                raise LedgerError(
                    "The rollout %s of %s stands half way on %s. Go on with it: -e rollout_resume=%s. Or leave it, and begin this one with "
                    "-e rollout_supersede=%s: those of them that fail return to what they had before that one."
                    % (name, model, _some(half_way), name, name))

    def _resumed(self, root, rollout, names):
        """The ledger, what it tells, and the hosts that stay out of the waves: what they wait for holds up no rollback that others owe."""
        ledger = Ledger(os.path.join(root, rollout))
        state = states.State(ledger.read())
        model = self._vars.get("rollout_model")
        if model and model != state.plan["model"]:
            raise LedgerError("%s is a rollout of %s, not of %s." % (rollout, state.plan["model"], model))
        state.add({"step": "run"})
        owed = [name for name in state.owed() if name in names]
        homeless = [name for name in owed if self._vars["hostvars"][name].get("rollout_item") == {}]
        if homeless:
            raise LedgerError("%s have to be rolled back, and tfleet_models has no %s for them by now, so nobody knows where it lies. Take the inventory as "
                              "it was." % (_some(homeless), state.plan["model"]))
        left_out = set()
        for hosts, why in self._cannot_go_on(rollout, state, names):
            if not owed:
                raise LedgerError(why + NOTHING)
            self._say("left out: %s. %s" % (_some(hosts), why), bad=True)
            left_out.update(hosts)
        return ledger, state, left_out

    def _cannot_go_on(self, rollout, state, names):
        """[(hosts, why)] of those that still wait and cannot be led on with this inventory."""
        found = []
        # A ledger outlives inventories: what went from there cannot take part.
        unfinished = [host for host in state.hosts.values() if host.waiting or host.status == states.OWED]
        gone = [host.name for host in unfinished if host.name not in self._vars["hostvars"]]
        if gone:
            found.append((gone, "%s names hosts that this inventory does not have: %s. Take the inventory it was begun with." % (rollout, _some(gone))))
        others: Dict[Tuple[int, int], List[str]] = {}
        lost, unbuilt = [], []
        for host in unfinished:
            if not host.waiting or host.name not in names:
                continue
            declared = (self._vars["hostvars"][host.name].get("rollout_item") or {}).get("version")
            if declared is not None and declared != host.version:
                others.setdefault((host.version, declared), []).append(host.name)
            elif host.name not in self._vars["ansible_play_hosts"]:
                lost.append(host.name)
            elif not self._built:
                unbuilt.append(host.name)
        for (version, declared), hosts in others.items():
            found.append((hosts, "%s brings version %s to %s, and tfleet_models declares version %s there by now. Begin a new rollout, or take the inventory "
                          "as it was." % (rollout, version, _some(hosts), declared)))
        if lost:
            found.append((lost, LOST % _some(lost)))
        if unbuilt:
            found.append((unbuilt, UNBUILT))
        return found

    def _show(self, state, waves, owed):
        total = len(state.hosts)
        versions = ", ".join(map(str, sorted(set(state.plan["targets"].values()))))
        self._say("%s, %s to version %s on %d hosts" % (state.plan["rollout"], state.plan["model"], versions, total))
        for wave in waves:
            self._say("  %s %d: %d host(s): %s" % (wave["kind"], wave["number"], len(wave["hosts"]), _some(wave["hosts"])))
        if owed:
            self._say("  to be rolled back first: %s" % _some(owed), bad=True)
        if not waves and not owed:
            self._say("  nothing is left to do")

    # ---- a wave begins ----
    def _begin(self, args):
        ledger, state = self._state(args)
        wave = state.hosts[args["hosts"][0]].wave
        checked = self._checked()
        self._wait(ledger.directory, wave, checked)
        ledger.append({"step": "wave", "wave": wave, "hosts": args["hosts"]})
        done = len(state.named(states.DONE))
        self._say("wave %d of %d begins: %s (%d of %d hosts done)" % (wave, len(state.plan["waves"]), _some(args["hosts"]), done, len(state.hosts)))
        return {"changed": False}

    def _wait(self, directory, wave, checked):
        said = None
        approval = os.path.join(directory, APPROVED % wave)
        while True:
            clock = time.localtime()
            minutes = within_hours(checked["rollout_hours"], clock.tm_hour * 60 + clock.tm_min)
            if minutes is not None:
                why = "wave %d waits for the working hours %s, %d minutes from now (the controller's clock)" % (wave, checked["rollout_hours"], minutes)
            elif os.path.exists(os.path.join(directory, PAUSE)):
                why = "wave %d waits until %s is removed" % (wave, os.path.join(directory, PAUSE))
            elif checked["rollout_approval"] == "file" and not os.path.exists(approval):
                why = "wave %d waits for your approval: touch %s" % (wave, approval)
            else:
                return
            # Minutes that pass are no news.
            key = re.sub(r"[0-9]+ minutes", "", why)
            if key != said:
                self._say(why)
                said = key
            time.sleep(POLL_SECONDS)

    # ---- decide ----
    def _decide(self, args):
        ledger, state = self._state(args)
        after, hosts = args["after"], args["hosts"]
        # Those that failed at the gate are no longer asked.
        asked = [name for name in hosts if not state.hosts[name].failed and not state.hosts[name].unreachable] if after == "check" else hosts
        for name, step in state.silent(asked, ANSWERED[after]).items():
            line = {"host": name, "step": step, "outcome": states.SILENT, "seconds": 0,
                    "msg": "%s left no answer for the step %s. Look at the host and at the output of the run above." % (name, step)}
            ledger.append(line)
            state.add(line)
        checked = self._checked()
        # What fails while it is brought to a host tells nothing against those that have the version.
        policy = "host" if after == "stage" else checked["rollout_rollback"]
        decision = decide(state, hosts, budget(checked, len(state.hosts)), policy)
        wave = None if after == "stage" else state.hosts[hosts[0]].wave
        line = {"step": "decision", "wave": wave, "after": after, "verdict": decision.verdict, "reason": decision.reason, "roll_back": decision.roll_back}
        ledger.append(line)
        state.add(line)
        stop = decision.verdict == STOP
        good = [name for name in hosts if state.hosts[name].status in PASSED[after]]
        self._say("%s: %d of %d hosts passed. %s" % ("wave %d, %s" % (wave, after) if wave else "staging", len(good), len(hosts), decision.reason), bad=stop)
        if decision.roll_back:
            self._say("to be rolled back: %s" % _some(decision.roll_back), bad=True)
        verdict = {"stop": stop, "go": [] if stop else good, "back": [] if stop else decision.roll_back, "owed": state.owed() if stop else [],
                   "reason": decision.reason}
        if after == "stage":
            # Hosts that have it all already take part in no wave.
            waves = [[name for name in wave["hosts"] if name in hosts and state.hosts[name].status != states.DONE] for wave in state.plan["waves"]]
            verdict.update(order=[name for wave in waves for name in wave], sizes=[len(wave) for wave in waves if wave])
        return {"changed": False, "ansible_facts": {"rollout_verdict": verdict}}

    # ---- end ----
    def _end(self, args):
        ledger, state = self._state(args)
        told = summary(state)
        ledger.append({"step": "end", "outcome": told["outcome"], "counts": told["counts"]})
        ControllerLock(os.path.dirname(ledger.directory), state.plan["model"]).release(state.plan["rollout"])
        for sentence in told["sentences"]:
            self._say(sentence, bad=told["outcome"] != "done")
        return {"changed": False, "ok": told["outcome"] == "done", "msg": " ".join(told["sentences"]), "report": report(ledger.read(), state)}

    # ---- apart from a rollout ----
    def _waiting(self, args):
        """What hosts wait for in the last rollout of each model, and how the last ones went."""
        sentences, trends = [], []
        for model, ledgers in _of_each(root_of(args["work_dir"])):
            went = []
            for ledger in ledgers[-TRENDS:]:
                try:
                    lines = ledger.read()
                except LedgerError as error:
                    # One record that is lost hides no other.
                    sentences.append("Left out: %s" % error)
                    continue
                state = states.State(lines)
                went.append(trend(lines, state))
                if ledger is ledgers[-1]:
                    sentences += waiting(state)
            if went:
                trends.append({"name": model, "rollouts": went})
        return {"changed": False, "sentences": sentences, "trends": trends}

    def _lock(self, args):
        """playbooks/rollback.yml begins: no rollout of these models may."""
        root, taken = root_of(args["work_dir"]), []
        try:
            for model in args["models"]:
                lock = ControllerLock(root, model)
                lock.take(BY_HAND, os.getppid(), _me(), str(self._vars.get("rollout_take_over") or ""))
                taken.append(lock)
        except ModuleError:
            for lock in taken:
                lock.release(BY_HAND)
            raise
        return {"changed": False}

    def _by_hand(self, args):
        """playbooks/rollback.yml took hosts back: the last rollout of the model shall know it, and the next one may begin."""
        for model, ledgers in _of_each(root_of(args["work_dir"])):
            ledger = ledgers[-1]
            try:
                state = states.State(ledger.read())
            except LedgerError as error:
                # The hosts are back: what is not written down is no reason to leave them unproven.
                self._say("not noted: %s" % error, bad=True)
                continue
            for name in args["hosts"]:
                plan_of = (self._vars["hostvars"][name].get("model_release_rollback") or {}).get("plan", [])
                for entry in plan_of:
                    if entry["name"] == model and name in state.hosts and state.hosts[name].touched:
                        ledger.append({"host": name, "step": states.ROLLBACK, "outcome": states.OK, "seconds": 0, "version": entry["to"],
                                       "msg": "%s returned it to version %s by hand." % (_me(), entry["to"])})
        for model in args["models"]:
            ControllerLock(root_of(args["work_dir"]), model).release(BY_HAND)
        return {"changed": False}

    # ---- what they share ----
    def _state(self, args):
        ledger = Ledger(args["directory"])
        return ledger, states.State(ledger.read())

    def _checked(self):
        return self._vars["hostvars"]["localhost"]["rollout_control"]["settings"]


def _class_of(variables):
    facts = variables.get("ansible_facts") or {}
    return hardware_class_of(variables.get("preflight_resolved"), facts.get("tfleet_device"), facts)


def _superseded(root):
    """The rollouts whose place a later one took."""
    return [rollout for name in known(root) for rollout in _plan_of(root, name).get("supersede", ())]


def _chain(root, rollout):
    """The rollout whose place is taken, and those whose place it took: hosts to which it never came are still held by them."""
    return [rollout, *_plan_of(root, rollout).get("supersede", ())] if rollout else []


def _plan_of(root, rollout):
    """The first line of a ledger, {} where there is none or a damaged one: of a rollout of another controller only its name is known."""
    try:
        return dict(json.loads(first_line(os.path.join(root, rollout)).decode("utf-8")))
    except (TypeError, ValueError):
        return {}


def _of_each(root):
    """[(model, [Ledger])] of all rollouts, each model's last one at the end."""
    found: Dict[str, List[Ledger]] = {}
    for name in known(root):
        if model_of(name):
            found.setdefault(model_of(name), []).append(Ledger(os.path.join(root, name)))
    return sorted(found.items())


def _me():
    return "%s@%s" % (getpass.getuser(), platform.node())


def _some(names, count=8):
    return ", ".join(names[:count]) + (" and %d more" % (len(names) - count) if len(names) > count else "")
