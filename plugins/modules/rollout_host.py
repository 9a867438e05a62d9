#!/usr/bin/python
# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Ansible module: one step of a rollout on one host."""

DOCUMENTATION = r"""
module: rollout_host
short_description: Do one step of a rollout on one host, and write it into the ledger
version_added: "0.1.0"
author: tfleet contributors (@tfleet)
description:
  - A step is one call from the controller, whatever it consists of, so that a rollout to a thousand hosts stays one. Only the gate, which takes minutes, is
    begun by one and collected by another.
  - It never fails the host and never makes it unreachable. What happened is one line in the ledger on the controller, and
    M(tfleet.serving.rollout_control) decides from there. The result says C(outcome).
  - playbooks/rollout.yml is its user, docs/rollout.md tells what each step looks at.
extends_documentation_fragment: tfleet.serving.runtime
options:
  step:
    description:
      - V(stage) looks at the host and brings the release into its staging directory; nothing is activated.
      - V(gate) begins to put the version beside the one that is served and to measure it there. It returns at once, so that all hosts of a wave are at it
        together, however few forks there are; O(job) is for the step that follows.
      - V(wait) waits until that is done, and writes its line.
      - V(promote) moves the label C(canary), then all others.
      - V(check) asks once more after the soak, takes the declared policy into use and retires old versions.
      - V(rollback) gives the labels back and moves the version aside.
    type: str
    choices: [stage, gate, wait, promote, check, rollback]
    required: true
  job:
    description: What the step V(gate) has returned under this name. V(wait) needs it.
    type: dict
    default: {}
  common:
    description:
      - Any of the other options, as the step V(stage) has made them. It leaves them as the fact C(rollout_common), so that they are made once for all steps.
      - O(step), O(ledger), O(rollout), O(model), O(version), O(base_path) and O(config_file) are needed, here or beside it.
    type: dict
    default: {}
  ledger:
    description: Directory of the rollout on the controller.
    type: path
  rollout:
    description: Name of the rollout.
    type: str
  by:
    description: Who began it, as it is written on the device.
    type: str
    default: ""
  supersede:
    description: Names of unfinished rollouts whose hold on the device is taken over.
    type: list
    elements: str
    default: []
  model:
    description: Name of the model.
    type: str
  version:
    description: Version that is rolled out to this host. V(rollback) takes back what the device holds, whatever this says.
    type: int
  base_path:
    description: Absolute path of the model's directory on the host.
    type: path
  labels:
    description: Labels of the model as the inventory declares them.
    type: dict
    default: {}
  policy:
    description: Version policy of the model as the inventory declares it.
    type: dict
    default: {}
  keep:
    description: How many of the newest versions stay on the host when all is well.
    type: int
    default: 0
  release:
    description: Packed release on the controller, whose manifest the device's must be.
    type: path
  packages:
    description: Packages that a host to which it is brought must have.
    type: list
    elements: str
    default: []
  environment:
    description: Environment of apt, such as the proxies C(http_proxy) and C(https_proxy). Not logged.
    type: dict
    default: {}
  files:
    description: Files on the controller that belong beside the version, C(golden.npz) above all, by the name that they get.
    type: dict
    default: {}
  seen:
    description: What the step V(stage) has left as the fact C(rollout_seen). V(gate), V(promote) and V(check) need it.
    type: dict
    default: {}
  reason:
    description: With O(step=rollback), why; it is written beside the version that is moved aside.
    type: str
    default: ""
  addresses:
    description: Addresses of the gRPC ports of the host's model servers.
    type: list
    elements: str
    default: [127.0.0.1:8500]
  metrics:
    description: URLs of their counters; empty where monitoring is off.
    type: list
    elements: str
    default: []
  config_file:
    description: The model.config of the servers.
    type: path
  log:
    description: Where the servers write - C(file), C(unit) or C(containers).
    type: dict
    default: {}
  transport:
    description: How the release travels, for M(tfleet.serving.release_stage) - its options by name.
    type: dict
    default: {}
  settings:
    description: The rollout's variables, as M(tfleet.serving.rollout_control) has checked them.
    type: dict
    default: {}
  latency_budget_ms:
    description: Milliseconds that the median answer may take.
    type: float
  owner:
    description: User that owns the version's files.
    type: str
  group:
    description: Group of the version's files.
    type: str
  mode:
    description: Mode of the version's files in octal.
    type: str
    default: "0644"
  reserve_bytes:
    description: Bytes that must stay free on the disk.
    type: int
    default: 0
  hardware_class:
    description: Hardware class of this host.
    type: str
  trusted_keys:
    description: Public keys, one of which must have signed the release.
    type: list
    elements: str
    default: []
  roots:
    description: Directories that stand for C(proc), C(sys), C(etc) and C(var) of the device.
    type: dict
    default: {}
attributes:
  check_mode:
    support: full
    description: Says what step it would be, and asks and changes nothing. playbooks/rollout.yml shows its waves in check mode and ends before the first step.
  diff_mode:
    support: none
    description: The ledger tells what was done.
  idempotent:
    support: full
    description: A step that is done again ends at the same place, after a kill at any moment too.
seealso:
  - module: tfleet.serving.rollout_control
  - module: tfleet.serving.model_version
"""

EXAMPLES = r"""
- name: Bring the release to the host
  tfleet.serving.rollout_host:
    step: stage
    ledger: /home/ops/tfleet/.tfleet/rollouts/digits-2-20261121T171500Z
    rollout: digits-2-20261121T171500Z
    model: digits
    version: 2
    base_path: /var/lib/tfleet/models/digits
    config_file: /etc/tfleet/model.config
    release: /home/ops/tfleet/.tfleet/releases/digits-2.tar

- name: Measure it on both GPUs, whose servers share the files; where memory is short, the host may be without the model for a minute
  tfleet.serving.rollout_host:
    step: gate
    ledger: /home/ops/tfleet/.tfleet/rollouts/digits-2-20261121T171500Z
    rollout: digits-2-20261121T171500Z
    model: digits
    version: 2
    base_path: /var/lib/tfleet/models/digits
    config_file: /etc/tfleet/model.config
    addresses: [127.0.0.1:8500, 127.0.0.1:8510]
    seen: "{{ rollout_seen }}"
    policy: {latest: {num_versions: 1}}
    files: {golden.npz: /home/ops/tfleet/models/digits/2/golden.npz}
    settings: {rollout_exchange_seconds: 60}
  register: gate

- name: Wait for it
  tfleet.serving.rollout_host:
    step: wait
    job: "{{ gate.job }}"
    common: "{{ rollout_common }}"

- name: Move the labels
  tfleet.serving.rollout_host:
    step: promote
    common: "{{ rollout_common }}"
    seen: "{{ rollout_seen }}"

- name: Check after the soak that at most one of a thousand requests failed, and keep three versions
  tfleet.serving.rollout_host:
    step: check
    common: "{{ rollout_common }}"
    seen: "{{ rollout_seen }}"
    settings: {rollout_error_share: 0.001}
    keep: 3

- name: Take it back
  tfleet.serving.rollout_host:
    step: rollback
    common: "{{ rollout_common }}"
    reason: more than one host failed
"""

RETURN = r"""
outcome:
  description: C(ok), C(failed) or C(unreachable), as in the ledger; C(begun) if that is still to come.
  returned: always
  type: str
  sample: ok
msg:
  description: What failed, where, and what to do next.
  returned: when it is not ok
  type: str
job:
  description: With O(step=gate), where its answer will be.
  returned: when it was begun
  type: dict
seen:
  description: With O(step=stage), what the host has and serves; the step V(gate) wants it.
  returned: when it is ok
  type: dict
"""

import functools
import os
import tempfile
import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.parameters import remove_values
from ansible_collections.tfleet.serving.plugins.module_utils.commands import SBIN, Commands
from ansible_collections.tfleet.serving.plugins.module_utils.detached import Detached
from ansible_collections.tfleet.serving.plugins.module_utils.device_facts import Device
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_device import RolloutDevice
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_server import Server
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_settings import device_settings
from ansible_collections.tfleet.serving.plugins.module_utils.runtime import RUNTIME_ARGUMENT_SPEC, runtime_of

COMMAND_SECONDS = 10
# A run that was killed never asks for the answer of what it has begun.
LEFT_SECONDS = 86400

# What the action adds to the options of a task: names of the device side only.
_INTERNAL = {
    "companions": {"type": "dict", "default": {}},
    "arrived": {"type": "dict", "default": {}},
    "src": {"type": "path", "default": ""},
    "in_background": {"type": "bool", "default": False},
}


def device_of(module):
    """The RolloutDevice that a module's parameters describe."""
    params = dict(module.params, **device_settings(module.params["settings"]))
    # A command that cannot be started ends no process: of one in the background nobody would hear.
    run = functools.partial(module.run_command, handle_exceptions=False)
    server = Server(runtime_of(module), params["addresses"], params["metrics"], params["config_file"], params["log"], run)
    roots = dict({name: "/" + name for name in ("proc", "sys", "etc", "var")}, **params["roots"])
    # A reading of its own each time: notes of one are no notes of the other.
    commands = Commands(os.environ.get("PATH", os.defpath).split(os.pathsep) + SBIN, COMMAND_SECONDS)
    return RolloutDevice(params, server, lambda: Device(roots, commands, params["base_path"]).health())


def done(module, device):
    """Do the step and return its result; one that failed has ``failed`` and ``msg``."""
    try:
        return device.step(module.params["step"])
    except ModuleError as error:
        return dict(error.result, failed=True, msg=str(error))
    except OSError as error:
        return _impossible(module, error)


def begun(module, device):
    """Begin the step in a process of its own, and return where its result will be, with the ``seconds`` that it took."""
    def timed():
        started = time.monotonic()
        return dict(remove_values(done(module, device), module.no_log_values), seconds=time.monotonic() - started)

    try:
        # Whatever is copied here for this module alone goes when it ends.
        device.params["arrived"] = {name: "/proc/self/fd/%d" % os.open(path, os.O_RDONLY) for name, path in device.params["arrived"].items()}
        work = Detached(tempfile.mkdtemp(prefix="tfleet-%s-" % module.params["step"]))
        work.forget_old(LEFT_SECONDS)
        work.start({}, timed, 0o700)
    except OSError as error:
        return _impossible(module, error)
    return {"changed": False, "job": {"folder": work.folder}}


def _impossible(module, error):
    return {"failed": True, "msg": "The step %s of the rollout %s could not be done: %s. Check who owns that file or directory, and the disk."
            % (module.params["step"], module.params["rollout"], error)}


def main():
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec=dict(
            RUNTIME_ARGUMENT_SPEC,
            step={"type": "str", "choices": ["look", "gate", "promote", "check", "rollback"], "required": True},
            rollout={"type": "str", "required": True},
            by={"type": "str", "default": ""},
            supersede={"type": "list", "elements": "str", "default": []},
            model={"type": "str", "required": True},
            version={"type": "int", "required": True},
            base_path={"type": "path", "required": True},
            labels={"type": "dict", "default": {}},
            policy={"type": "dict", "default": {}},
            keep={"type": "int", "default": 0},
            manifest_sha256={"type": "str", "default": ""},
            release_bytes={"type": "int", "default": 0},
            seen={"type": "dict", "default": {}},
            configs={"type": "dict", "default": {}},
            reason={"type": "str", "default": ""},
            addresses={"type": "list", "elements": "str", "default": ["127.0.0.1:8500"]},
            metrics={"type": "list", "elements": "str", "default": []},
            config_file={"type": "path", "required": True},
            log={"type": "dict", "default": {}},
            settings={"type": "dict", "default": {}},
            latency_budget_ms={"type": "float"},
            owner={"type": "str"},
            group={"type": "str"},
            mode={"type": "str", "default": "0644"},
            reserve_bytes={"type": "int", "default": 0},
            hardware_class={"type": "str"},
            trusted_keys={"type": "list", "elements": "str", "default": [], "no_log": False},
            roots={"type": "dict", "default": {}},
            **_INTERNAL,
        ),
        supports_check_mode=True,
    )
    if module.check_mode:
        module.exit_json(changed=False, msg="Would do the step %s." % module.params["step"])
    device = device_of(module)
    result = (begun if module.params["in_background"] else done)(module, device)
    if result.get("failed"):
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
