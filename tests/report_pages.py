"""The pages of rollout.yml and status.yml, written by these playbooks' own tasks from what a test says that the hosts have told."""

import json
import os
import pathlib
import subprocess
import sys

import yaml

CHECKOUT = pathlib.Path(__file__).resolve().parents[1]
ROLLOUT = "digits-2-20261121T180000Z"


def write(playbook, place, hosts, **facts):
    """Run the tasks of a playbook's last play, but for those of roles, on hosts with these variables; `facts` are the controller's. Returns the output."""
    play = yaml.safe_load((CHECKOUT / "playbooks" / (playbook + ".yml")).read_text())[-1]
    play["roles"] = []
    play["tasks"] = [{"ansible.builtin.set_fact": {"tfleet_device": "{{ device }}", "cacheable": True}, "when": "device is defined"},
                     *(task for task in play["tasks"] if "ansible.builtin.include_role" not in task)]
    # Paths of the checkout are those beside the playbook.
    (place / "playbooks").mkdir(parents=True)
    (place / "templates").symlink_to(CHECKOUT / "templates")
    (place / "playbooks" / "play.yml").write_text(yaml.safe_dump([play]))
    own = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory = {"all": {"hosts": {"localhost": {**own, **facts}}, "vars": {"tfleet_work_dir": str(place), "model_server_backend": "embedded"},
                         "children": {"cpu_servers": {"hosts": {name: {**own, **variables} for name, variables in hosts.items()}},
                                      "gpu_servers": {}, "jetsons": {}}}}
    (place / "hosts.json").write_text(json.dumps(inventory))
    done = subprocess.run([str(pathlib.Path(sys.executable).with_name("ansible-playbook")), "-i", str(place / "hosts.json"), str(place / "playbooks/play.yml")],
                          cwd=CHECKOUT, env={**os.environ, "NO_COLOR": "1", "ANSIBLE_HOME": str(CHECKOUT / ".ansible")}, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.stdout


def rollout_page(place, lines):
    """The page of a rollout with these lines, the plan first; one that is not done ends the run with an error."""
    directory = place / "rollouts" / ROLLOUT
    directory.mkdir(parents=True)
    (directory / "ledger.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    output = write("rollout", place, {"h1": {}}, rollout_control={"directory": str(directory)})
    assert (directory / "report.html").exists(), output
    return directory / "report.html"


def status_page(place, hosts, *rollouts):
    """The page of a fleet of these hosts, and of rollouts with these lines."""
    (place / "reports").mkdir(parents=True)
    for lines in rollouts:
        directory = place / "rollouts" / lines[0]["rollout"]
        directory.mkdir(parents=True)
        (directory / "ledger.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    output = write("status", place, hosts)
    assert (place / "reports/status.html").exists(), output
    return place / "reports/status.html"


# ---- a fleet ----
SCORES = [0.01, 0.02, 0.9, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01]
OBJECTS = {"detection_boxes": [[[0.1, 0.1, 0.5, 0.4], [0.4, 0.5, 0.9, 0.95]]], "detection_scores": [[0.98, 0.75]], "detection_classes": [[3, 7]]}


def samples(name="seven.png"):
    """A sample of each kind that can be drawn."""
    return [{"input": name, "output": {"scores": [SCORES], "classes": [2]}, "expected": {"scores": [SCORES], "classes": [2]}},
            {"input": "scene.png", "output": OBJECTS, "expected": OBJECTS}, {"input": "0", "output": {"y": [1.5]}, "expected": {"y": [1.5001]}}]


def ledger(names=("orin-1", "orin-2", "nano-1"), rollout=ROLLOUT, model="digits", text=""):
    """Lines of a rollout: a canary that is done, a host that failed at the gate and went back, others that are not reached; `text` is in all messages."""
    canary, failed, *others = names
    waves = [{"number": 1, "kind": "canary", "hosts": [canary]}, {"number": 2, "kind": "wave", "hosts": [failed, *others]}]
    lines = [{"step": "plan", "rollout": rollout, "model": model, "by": "ops@controller" + text, "supersede": [], "waves": waves, "format": 1,
              "targets": dict.fromkeys(names, 2), "classes": {}}, {"step": "run"}]
    detail = {"rounds": [[9.0, 9.5], [8.7, 9.9]], "samples": samples("seven.png" + text)}

    def add(host, step, outcome="ok", **more):
        lines.append({"host": host, "step": step, "outcome": outcome, "seconds": 2.5, "version": 2, **more})

    for name in (canary, failed):
        add(name, "stage", detail={"transport": {"bytes_sent": 34567890}})
    for name in others:
        add(name, "stage", "unreachable", msg="no route to host" + text)
    for step in ("gate", "promote", "check"):
        add(canary, step, detail={**detail, "requests": 1234, "errors": 0})
    add(failed, "gate", "failed", msg="It does not pass." + text, detail={**detail, "log": "E out of memory" + text})
    lines.append({"step": "decision", "wave": 2, "after": "gate", "verdict": "stop", "reason": "1 of 3 hosts failed, 0 may." + text, "roll_back": [failed]})
    add(failed, "rollback", "failed", msg="The disk is gone." + text)
    lines.append({"step": "end", "outcome": "stopped"})
    return [{"time": "2026-11-21T18:%02d:%02dZ" % divmod(3 * number, 60), **line} for number, line in enumerate(lines)]


def host(model="digits", site="north", stable=2, state="AVAILABLE", error="", available=4):
    """Variables of a host as the roles preflight and model_server leave them; `device` becomes the fact tfleet_device."""
    gib = 1 << 30
    return {
        "rollout_site": site, "preflight_models": [{"name": model, "labels": {"stable": 2}}], "model_server_versions_on_disk": {model: [1, 2]},
        "model_server_seen": {"reachable": True, "address": "127.0.0.1:8500",
                              "models": {model: {"versions": [{"version": 2, "state": state, "error_message": error},
                                                              {"version": 1, "state": "AVAILABLE", "error_message": ""}]}}},
        "model_server_labels_now": {model: {"stable": stable}},
        "device": {"architecture": "aarch64", "hardware_class": "orin", "memory": {"total_bytes": 8 * gib, "available_bytes": available * gib},
                   "disk": {"free_bytes": 100 * gib, "total_bytes": 200 * gib}, "swap": [{"used_bytes": gib}], "throttling": None,
                   "thermal": [{"zone": "CPU-therm", "celsius": 51.0, "critical_celsius": 100.0}]},
    }
