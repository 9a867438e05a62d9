#!/usr/bin/python
# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Ansible module: a release is brought to the device, beside the versions that are served. The device's part; the controller's is the action plugin."""

DOCUMENTATION = r"""
module: release_stage
short_description: Bring a release to a device, beside the versions that it serves
version_added: "0.1.0"
author: tfleet contributors (@tfleet)
description:
  - Fills C(<base_path>/.staging/<version>) with the files of a release made by M(tfleet.serving.model_release), its manifest and its signature, flushed
    to the disk. M(tfleet.serving.model_version) verifies that directory and renames it into place.
  - What is already there is not sent again. Blocks are recognised by their digests, in the half of a broken transfer as in the version
    in service, so a break or a reboot costs one block, and a release that changed in a few places costs those places.
  - The transports differ only in who brings the missing blocks; what they leave is the same.
options:
  model:
    description: Name of the model, as in the release.
    type: str
    required: true
  version:
    description: Version number, as in the release.
    type: int
    required: true
  base_path:
    description: Absolute path of the model's directory on the device.
    type: path
    required: true
  release:
    description:
      - The release archive on the controller, with its C(.index) and, if it is signed, C(.sig) beside it.
      - Left out, the release is known to the mirrors in O(urls) only, as for a device that pulls by itself.
    type: path
  transport:
    description:
      - V(push) sends the missing blocks over Ansible's own connection. With rsync where SSH and both sides have it, else in packed copies.
      - V(pull) has the device fetch them from O(urls) with HTTP ranges.
      - V(swarm) has the devices of the play fetch them from each other, and each of them once from the controller. Needs libtorrent on both sides.
      - V(auto) decides by the number of hosts, the size and what is there, and says why in RV(reason).
    type: str
    choices: [auto, push, pull, swarm]
    default: auto
  urls:
    description: Base addresses of HTTP servers that have the archive, its index and its signature. When one fails the next is asked.
    type: list
    elements: str
    default: []
  bandwidth_limit:
    description:
      - Bytes a second that a transfer may take of the link of any one machine, the controller included. 0 is no limit.
      - With V(push), the hosts that Ansible works on at once share it.
    type: int
    default: 0
  reserve_bytes:
    description: Bytes that must stay free on the disk of the device; checked before anything is written.
    type: int
    default: 0
  timeout:
    description:
      - Seconds without a single byte after which the transfer has failed.
      - A time limit of the task (its keyword C(timeout)) is for who stands still too. It begins anew whenever something has come.
    type: int
    default: 120
  swarm_port:
    description: TCP port on which the peers of a swarm, the controller included, reach each other while a transfer runs.
    type: int
    default: 6881
  swarm_encryption:
    description: Encrypt what peers say to each other. What they send is checked by digests with or without.
    type: bool
    default: false
  swarm_python:
    description: Interpreter on the device that has libtorrent, if neither Ansible's nor the system's has it.
    type: path
  work:
    description: Set by the controller's part.
    type: dict
attributes:
  check_mode:
    support: full
    description: Says whether the release is to be brought; nothing is sent.
  diff_mode:
    support: none
    description: Nothing that is served changes.
  idempotent:
    support: full
    description: A release that is staged, in place or set aside is not brought again.
seealso:
  - module: tfleet.serving.model_release
  - module: tfleet.serving.model_version
"""

EXAMPLES = r"""
- name: Stage version 2 of digits in the way that suits the play
  tfleet.serving.release_stage:
    model: digits
    version: 2
    base_path: /srv/models/digits
    release: .tfleet/releases/digits-2.tar
    reserve_bytes: 1073741824
  register: stage

- name: Put it in place
  tfleet.serving.model_version:
    base_path: /srv/models/digits
    model: digits
    version: 2
    src: "{{ stage.staged }}"

- name: Have a device behind NAT fetch it, at two megabytes a second, from either of two mirrors
  tfleet.serving.release_stage:
    model: digits
    version: 2
    base_path: /srv/models/digits
    transport: pull
    urls: ["https://releases.example.net/models", "http://192.0.2.10:8080"]
    bandwidth_limit: 2000000

- name: Bring it to a whole site through its own network
  tfleet.serving.release_stage:
    model: digits
    version: 2
    base_path: /srv/models/digits
    release: .tfleet/releases/digits-2.tar
    transport: swarm
"""

RETURN = r"""
staged:
  description: Directory of the whole release on the device, the C(src) for M(tfleet.serving.model_version).
  returned: success
  type: str
  sample: /srv/models/digits/.staging/2
transport:
  description: How it came.
  returned: success
  type: str
  sample: swarm
reason:
  description: Why that way.
  returned: success
  type: str
  sample: 16 hosts want 200 MB each, and both sides have libtorrent
bytes_sent:
  description: Bytes of the release that this device got over the network.
  returned: success
  type: int
  sample: 10485760
bytes_reused:
  description: Bytes of the release that it had already.
  returned: success
  type: int
  sample: 189514240
stalled:
  description: Whether it failed because no byte came, so that the release cannot be to blame.
  returned: failure
  type: bool
  sample: true
seconds:
  description: How long it took.
  returned: success
  type: float
  sample: 5.2
"""

import base64
import os
import zlib

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tfleet.serving.plugins.module_utils import manifest as manifests
from ansible_collections.tfleet.serving.plugins.module_utils import release_index, sources, swarm
from ansible_collections.tfleet.serving.plugins.module_utils.arrival import Arrival
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.runtime import find_command


def ensure(params, check_mode):
    """Settle what is here and fetch what is not, as the controller's part says in ``work``.

    :returns: the module's result; ``missing`` tells the controller what it is to send, and is empty when the release is staged.
    """
    work = params["work"] or {}
    mirrors = None
    if work.get("fetch") == "pull":
        mirrors = sources.Mirrors(params["urls"], sources.archive_name(params["model"], params["version"]), params["bandwidth_limit"], params["timeout"])
    index, signature = _release(params, work, mirrors)
    arrival = Arrival(params["base_path"], index, signature, params["reserve_bytes"])
    elsewhere = arrival.elsewhere()
    if elsewhere:
        return dict(_result(arrival, {}), staged=elsewhere, changed=not check_mode and arrival.sign(elsewhere))
    if check_mode:
        return dict(_result(arrival, {}), changed=not arrival.complete(), msg="Would stage version %d of %s." % (params["version"], params["model"]))
    with arrival.lock():
        if arrival.complete():
            return dict(_result(arrival, {}), changed=arrival.sign(arrival.path))
        arrival.begin()
        if work.get("fetch") == "swarm":
            result = _swarm(arrival, params, work)
        else:
            missing = arrival.missing()
            result = _result(arrival, missing)
            if missing and not work.get("fetch"):
                # It is the controller's turn.
                return dict(result, parts=arrival.receive_parts())
            if missing:
                result["bytes_sent"], whole = _fetch(arrival, missing, work, mirrors)
                result["missing"] = {} if whole else missing
        if not result["missing"]:
            arrival.finish()
    return result


def _release(params, work, mirrors):
    """Return (index, signature), from the controller or the mirrors."""
    if work.get("index"):
        index = release_index.parse(zlib.decompress(base64.b64decode(work["index"])), "the index from the controller")
        signature = base64.b64decode(work["signature"]) if work.get("signature") else None
        return index, signature
    if mirrors is None:
        raise ModuleError("There is no release to stage: give the archive on the controller (release), or the mirrors (urls).")
    return sources.index_from(mirrors, params["model"], params["version"])


def _fetch(arrival, missing, work, mirrors):
    """Bring what is missing; returns how many bytes came over the network, and whether it is all."""
    try:
        whole = sources.fetch(arrival, missing, mirrors or sources.Archive(work["archive"]), work.get("seconds"))
    except OSError as error:
        raise arrival.explain(error) from error
    return mirrors.bytes if mirrors else 0, whole


def _swarm(arrival, params, work):
    """Be a peer, who finds out by itself what is missing."""
    request = dict(work["swarm"], save_path=os.path.dirname(arrival.path), timeout=params["timeout"], seconds=work.get("seconds"), watch=None)
    try:
        state = swarm.take_part(request, params["swarm_python"])
    except swarm.SwarmError:
        # Its engine stops where the disk is full, too.
        arrival.check_space()
        raise
    return dict(_result(arrival, {} if state["done"] else arrival.missing()), bytes_sent=state["received"], bytes_reused=state["checked"])


def _result(arrival, missing):
    total = sum(entry["size"] for entry in arrival.manifest["files"])
    lacking = arrival.bytes_of(missing)
    return {"changed": True, "staged": arrival.path, "missing": missing, "bytes": total, "bytes_sent": 0, "bytes_reused": total - lacking,
            "rsync": bool(find_command("rsync", os.environ.get("PATH")))}


def main():
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec={
            "model": {"type": "str", "required": True},
            "version": {"type": "int", "required": True},
            "base_path": {"type": "path", "required": True},
            "release": {"type": "path"},
            "transport": {"type": "str", "choices": ["auto", "push", "pull", "swarm"], "default": "auto"},
            "urls": {"type": "list", "elements": "str", "default": []},
            "bandwidth_limit": {"type": "int", "default": 0},
            "reserve_bytes": {"type": "int", "default": 0},
            "timeout": {"type": "int", "default": 120},
            "swarm_port": {"type": "int", "default": 6881},
            "swarm_encryption": {"type": "bool", "default": False},
            "swarm_python": {"type": "path"},
            "work": {"type": "dict"},
        },
        supports_check_mode=True,
    )
    try:
        manifests.check_model(module.params["model"])
        manifests.check_version(module.params["version"])
        result = ensure(module.params, module.check_mode)
    except ModuleError as error:
        module.fail_json(**dict(error.result, msg=str(error)))
    except OSError as error:
        module.fail_json(msg="Version %d of %s could not be staged in %s: %s. What has come is kept; put that right and run again."
                         % (module.params["version"], module.params["model"], module.params["base_path"], error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
