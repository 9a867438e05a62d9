# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What of a host decides whether its containers get the GPU: observations only, what they mean is container_findings.py's."""
import glob
import json
import os
import re
import stat
from typing import Dict

LOCALE = {"LC_ALL": "C.UTF-8"}
MESSAGE_CHARACTERS = 4000


def observe(params, run_command, get_bin_path):
    """Return the observations; None stands for what could not be asked.

    :param params: ``runtime`` {name, path}, ``devices``, ``csv_directory``, ``csv_files``, ``csv_targets``, ``stale_files``, ``daemon_options`` (path),
        ``snap`` (path), and ``test`` (argv of a container to run, or []).
    """
    messages: Dict[str, str] = {}
    return {
        "docker": _docker(run_command, get_bin_path, messages),
        "snap": os.path.exists(params["snap"]),
        "runtime_installed": bool(get_bin_path(params["runtime"]["path"])),
        "runtime_registered": _registered(params["daemon_options"], params["runtime"]["name"]),
        "devices": {path: _is_device(path) for path in params["devices"]},
        "gpus": _gpus(run_command, get_bin_path, messages),
        "stale_files": [path for path in params["stale_files"] if os.path.lexists(path)],
        "csv": {name: _csv(os.path.join(params["csv_directory"], name), name in params["csv_targets"]) for name in params["csv_files"]},
        "test": _test(run_command, params["test"], messages),
        "messages": messages,
    }


def _docker(run_command, get_bin_path, messages):
    if not get_bin_path("docker"):
        return None
    code, out, err = run_command(["docker", "info", "--format", "{{json .}}"], environ_update=LOCALE)
    try:
        info = json.loads(out)
    except ValueError:
        info = {}
    # The client answers without a daemon too.
    if code or not info.get("ServerVersion"):
        messages["docker info"] = _short(err or "; ".join(info.get("ServerErrors") or []))
        return None
    return {
        "version": info["ServerVersion"],
        "runtimes": sorted(info.get("Runtimes") or {}),
        "default_runtime": info.get("DefaultRuntime"),
        "cgroup_driver": info.get("CgroupDriver"),
        "rootless": any("name=rootless" in option for option in info.get("SecurityOptions") or []),
    }


def _registered(path, name):
    try:
        with open(path, "rb") as stream:
            return name in json.loads(stream.read().decode("utf-8")).get("runtimes", {})
    except (OSError, ValueError, AttributeError):
        return False


def _is_device(path):
    try:
        return stat.S_ISCHR(os.stat(path).st_mode)
    except OSError:
        return False


def _gpus(run_command, get_bin_path, messages):
    """Return the number of GPUs that the driver lists, None without nvidia-smi or with a driver that does not answer."""
    if not get_bin_path("nvidia-smi"):
        return None
    code, out, err = run_command(["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"], environ_update=LOCALE)
    if code:
        messages["nvidia-smi"] = _short(out + err)
        return None
    return len(re.findall(r"^\d+\b", out, re.MULTILINE))


def _csv(path, check_targets):
    """Return {"exists", "missing"}: which of the files that a CSV file names are not on the host."""
    try:
        with open(path) as stream:
            entries = [line.split(",", 1) for line in stream.read().splitlines() if "," in line]
    except OSError:
        return {"exists": False, "missing": []}
    targets = [target.strip() for _kind, target in entries] if check_targets else []
    return {"exists": True, "missing": [target for target in targets if not glob.glob(target)]}


def _test(run_command, argv, messages):
    if not argv:
        return None
    code, out, err = run_command(argv, environ_update=LOCALE)
    if code:
        messages[" ".join(argv)] = _short(err + out)
    return code == 0


def _short(text):
    return text.strip()[-MESSAGE_CHARACTERS:]
