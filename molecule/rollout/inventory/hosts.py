#!/usr/bin/env python3
"""The eight hosts of this scenario: containers with systemd, named after the checkout as those of inventories/lab are."""

import hashlib
import json
import pathlib
import sys

CHECKOUT = pathlib.Path(__file__).resolve().parents[3]
HOSTS = ["tfleet-rollout-%d" % number for number in range(1, 9)]


def variables(host):
    """What Ansible needs to reach one host."""
    return {
        "ansible_connection": "community.docker.docker",
        "ansible_host": f"{host}-{hashlib.sha256(str(CHECKOUT).encode()).hexdigest()[:8]}",
        "ansible_python_interpreter": "/usr/bin/python3",
        "rollout_site": "north" if HOSTS.index(host) % 2 else "south",
    }


inventory = {"cpu_servers": {"hosts": HOSTS}, "gpu_servers": {"hosts": []}, "jetsons": {"hosts": []}, "monitoring_servers": {"hosts": ["tfleet-rollout-5"]}}
json.dump({**inventory, "_meta": {"hostvars": {host: variables(host) for host in HOSTS}}}, sys.stdout)
