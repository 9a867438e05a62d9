#!/usr/bin/python
# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Ansible module: a model server as a background process, without root and without a service manager."""

DOCUMENTATION = r"""
module: model_server_process
short_description: Run a model server as a background process with a pid file
version_added: "0.1.0"
author: tfleet contributors (@tfleet)
description:
  - Starts, restarts and stops a server that no service manager looks after, as the C(embedded) backend of the role
    P(tfleet.serving.model_server#role) does. The process outlives the Ansible run and has no terminal.
  - A process is recognised by its number, start time and boot, recorded in C(<pid_file>.json), so that a number that was given to
    another process is never signalled.
  - The server is started only if nobody else has its ports, and counts as started when it listens on all of them.
options:
  state:
    description:
      - V(started) runs the server; it is restarted if O(argv) or O(env) are not those it was started with.
      - V(restarted) restarts it in any case, V(stopped) ends it and removes its pid file.
    type: str
    choices: [started, restarted, stopped]
    default: started
  argv:
    description: Command and arguments as a list; no shell is involved. Required unless O(state=stopped).
    type: list
    elements: str
  pid_file:
    description: Absolute path of the pid file. Its directory must exist.
    type: path
    required: true
  log_file:
    description: Absolute path of the file that the server's output is appended to. Its directory must exist. Required unless O(state=stopped).
    type: path
  env:
    description: Variables added to the server's environment. They are recorded in C(<pid_file>.json), which only its owner may read.
    type: dict
    default: {}
  ports:
    description: TCP ports the server listens on when it is up.
    type: list
    elements: int
    default: []
  start_timeout:
    description: Seconds until the server must listen on its ports. A server that is alive then is left running, and the module fails.
    type: int
    default: 60
  stop_timeout:
    description: Seconds the server gets to end by itself after SIGTERM, before it is killed.
    type: int
    default: 30
attributes:
  check_mode:
    support: full
    description: Says what would be done. The command need not exist yet.
  diff_mode:
    support: full
    description: Shows state, command and environment before and after.
  idempotent:
    support: partial
    description: O(state=restarted) always restarts.
seealso:
  - module: tfleet.serving.model_server_info
  - module: tfleet.serving.model_server_reload
"""

EXAMPLES = r"""
- name: Run the model server
  tfleet.serving.model_server_process:
    argv: [/opt/tfleet/bin/tfleet, serve, --port=8500, --rest_api_port=8501, --model_config_file=/srv/tfleet/model.config]
    pid_file: /srv/tfleet/server.pid
    log_file: /srv/tfleet/server.log
    ports: [8500, 8501]

- name: Restart it with another thread count and more time to load its models
  tfleet.serving.model_server_process:
    state: restarted
    argv: [/opt/tfleet/bin/tfleet, serve, --port=8500, --model_config_file=/srv/tfleet/model.config]
    env:
      OMP_NUM_THREADS: "2"
    pid_file: /srv/tfleet/server.pid
    log_file: /srv/tfleet/server.log
    ports: [8500]
    start_timeout: 300

- name: Stop it
  tfleet.serving.model_server_process:
    state: stopped
    pid_file: /srv/tfleet/server.pid
"""

RETURN = r"""
state:
  description: What the process is now (in check mode, would be), V(started) or V(stopped).
  returned: success
  type: str
  sample: started
pid:
  description: Number of the running process. Null if it is stopped, or would be started in check mode.
  returned: success
  type: int
  sample: 4711
actions:
  description: What was done, or would be done in check mode, in this order.
  returned: success
  type: list
  elements: str
  sample: ["stop process 4711, its command or environment changed", "start /opt/tfleet/bin/tfleet"]
log:
  description: The last lines the server wrote.
  returned: when it ended instead of starting, or does not listen in time
  type: str
  sample: Could not find base path /srv/models/digits for servable digits
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tfleet.serving.plugins.module_utils import listeners as ports_of
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.lock import alone_in
from ansible_collections.tfleet.serving.plugins.module_utils.process import BackgroundProcess, ProcessError, belongs_to, log_tail
from ansible_collections.tfleet.serving.plugins.module_utils.runtime import find_command, secret_values


def ensure(params, check_mode):
    """Bring the process to its state and return the module's result.

    :param params: the module's parameters.
    :raises ModuleError: what is in the way, with ``log`` where the server said something.
    """
    for name in ("pid_file", "log_file"):
        if params[name] is not None and not os.path.isabs(params[name]):
            raise ProcessError("%s %r is relative. Write an absolute path." % (name, params[name]))
    if params["state"] != "stopped" and not params["argv"]:
        raise ProcessError("argv is empty. Give the command and its arguments as a list.")
    env = {name: str(value) for name, value in params["env"].items()}
    process = BackgroundProcess(params["pid_file"])
    directory = os.path.dirname(params["pid_file"])
    if check_mode or not os.path.isdir(directory):
        return _ensure(process, params, env, check_mode)
    # Whoever starts or stops the same server at the same time waits as long as that may take.
    with alone_in(directory, params["start_timeout"] + params["stop_timeout"] + 30):
        return _ensure(process, params, env, check_mode)


def _ensure(process, params, env, check_mode):
    record = process.running()
    plan = _plan(process, params, env, record)
    if "start" in plan:
        _refuse_taken_ports(params["ports"], record)
    result = {
        "changed": bool(plan),
        "state": "stopped" if params["state"] == "stopped" else "started",
        "pid": record.pid if record is not None and not {"stop", "start"} & set(plan) else None,
        "actions": [_sentence(step, params, record) for step in plan],
        "diff": {"before": _picture(*(record.argv, record.env) if record else ()),
                 "after": _picture(*(params["argv"], env) if params["state"] != "stopped" else ()),
                 "before_header": params["pid_file"], "after_header": params["pid_file"]},
    }
    if not check_mode:
        if "start" in plan:
            _require_command(params["argv"][0], env)
        for step in plan:
            if step == "stop":
                process.stop(record, params["stop_timeout"])
            elif step == "forget":
                process.forget()
            elif step == "note":
                process.write_pid_file(record.pid)
            else:
                result["pid"] = _start(process, params, env)
        if params["state"] == "started" and "start" not in plan:
            # An earlier run may have given up on it while it was still loading its models.
            _wait(process, params, record)
    return result


def _plan(process, params, env, record):
    if record is None:
        if params["state"] == "stopped":
            return ["forget"] if process.files_exist() else []
        return ["start"]
    if params["state"] == "stopped":
        return ["stop"]
    if params["state"] == "restarted" or (record.argv, record.env) != (params["argv"], env):
        return ["stop", "start"]
    return [] if process.pid_file_is(record.pid) else ["note"]


def _sentence(step, params, record):
    if step == "stop":
        why = {"stopped": "", "restarted": " to restart it"}.get(params["state"], ", its command or environment changed")
        return "stop process %d%s" % (record.pid, why)
    return {"forget": "remove %s of a process that is gone", "note": "write %s again", "start": "start %s"}[step] % (
        params["argv"][0] if step == "start" else params["pid_file"])


def _refuse_taken_ports(ports, record):
    for listener in ports_of.listeners(ports):
        if record is None or not belongs_to(listener.pid, record.pid):
            raise ProcessError("%s Nothing was started or stopped." % ports_of.sentence(listener), port=listener.port, pid=listener.pid)


def _require_command(command, env):
    # Before anything is stopped: a wrong path must not end a server that serves.
    if find_command(command, env.get("PATH", os.environ.get("PATH"))) is None:
        raise ProcessError("There is no executable %s on this host. Install it first (role tensorflow_runtime installs the model server), or "
                           "correct argv. Nothing was started or stopped." % command)


def _start(process, params, env):
    offset = os.path.getsize(params["log_file"]) if os.path.exists(params["log_file"]) else 0
    popen = process.start(params["argv"], env, params["log_file"])
    _wait(process, params, process.running(), popen, offset)
    return popen.pid


def _wait(process, params, record, popen=None, offset=0):
    try:
        ending = process.wait_until_listening(record, params["ports"], params["start_timeout"], popen)
    except ProcessError as error:
        log = log_tail(params["log_file"], offset)
        raise ProcessError("%s%s" % (error, _said(params, log)), log=log, **error.result) from error
    if ending is not None:
        process.forget()
        log = log_tail(params["log_file"], offset)
        raise ProcessError("%s ended with %s instead of starting.%s" % (params["argv"][0], ending, _said(params, log)), log=log)


def _said(params, log):
    return " The last lines of %s:\n%s" % (params["log_file"], log) if log else " %s holds nothing of it." % params["log_file"]


def _picture(argv=None, env=None):
    return {"state": "stopped"} if argv is None else {"state": "started", "argv": argv, "env": env}


def main():
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["started", "restarted", "stopped"], "default": "started"},
            "argv": {"type": "list", "elements": "str"},
            "pid_file": {"type": "path", "required": True},
            "log_file": {"type": "path"},
            "env": {"type": "dict", "default": {}},
            "ports": {"type": "list", "elements": "int", "default": []},
            "start_timeout": {"type": "int", "default": 60},
            "stop_timeout": {"type": "int", "default": 30},
        },
        required_if=[("state", "started", ("argv", "log_file")), ("state", "restarted", ("argv", "log_file"))],
        supports_check_mode=True,
    )
    module.no_log_values.update(secret_values(module.params["env"]))
    try:
        result = ensure(module.params, module.check_mode)
    except ModuleError as error:
        module.fail_json(**dict(error.result, msg=str(error)))
    except OSError as error:
        module.fail_json(msg="The process of %s could not be brought to state %s: %s. Check who owns that file and its directory."
                         % (module.params["pid_file"], module.params["state"], error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
