# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The device's side of the swarm: a peer that lives as long as the module that starts it."""
import inspect
import json
import os
import subprocess
import sys
import tempfile

from ansible_collections.tfleet.serving.plugins.module_utils import swarm_peer
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.runtime import child_environment, find_command


class SwarmError(ModuleError):
    """The swarm did not bring the release."""


def pythons(wanted):
    """Return the interpreters that may have libtorrent, the likeliest first: the module's own, the system's, the runtime's."""
    found = []
    for name in (sys.executable, "/usr/bin/python3", wanted):
        path = find_command(name, os.environ.get("PATH")) if name else None
        if path and path not in found:
            found.append(path)
    return found


def take_part(request, python=None):
    """Fetch in a swarm what is missing in ``request["save_path"]`` and stay for the others while they need it.

    :param request: see swarm_peer.
    :param python: an interpreter with libtorrent, such as the runtime's.
    :returns: swarm_peer's last state, which is not ``done`` if its seconds were over.
    :raises SwarmError: with ``missing_libtorrent`` in its result if no Python here has it.
    """
    with tempfile.NamedTemporaryFile(mode="w", suffix=".py", prefix="tfleet-peer-", encoding="utf-8") as program:
        # Ansible's modules come as an archive, from which no other interpreter could start it.
        program.write(inspect.getsource(swarm_peer))
        program.flush()
        why = []
        for path in pythons(python):
            state = _run([path, program.name], request)
            if not state.get("missing"):
                break
            why.append(state["why"])
        else:
            raise SwarmError("No Python of this host has libtorrent (%s). Install python3-libtorrent, or choose another transport." % "; ".join(why),
                             missing_libtorrent=True)
    if not state["done"] and state.get("why"):
        raise SwarmError("The swarm did not bring the release: %s. What has come is kept. Hosts and controller must reach each other on TCP port %d "
                         "(model_release_swarm_port); or choose another transport." % (state["why"], request["port"]), stalled=True)
    return state


def _run(argv, request):
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=child_environment(os.environ, {}), cwd="/")
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    try:
        process.stdin.write(json.dumps(request).encode("utf-8") + b"\n")
        process.stdin.flush()
        last = {}
        for line in process.stdout:
            last.update(json.loads(line.decode("utf-8")))
    finally:
        # The peer ends with its input, at once if it still works.
        process.stdin.close()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    said = process.stderr.read().decode("utf-8", "replace").strip()
    process.stdout.close()
    process.stderr.close()
    if "done" not in last:
        raise SwarmError("The peer of the swarm broke off (exit status %s): %s" % (process.returncode, said[-500:]))
    return last
