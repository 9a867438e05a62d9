#!/usr/bin/env python3
"""The Molecule test hosts: containers with systemd, made by molecule/shared/create.yml and reached through the Docker connection.

A script, because the containers' names carry the checkout, so that two checkouts can test at the same time, and testinfra
takes an inventory's values as they stand: it would not fill in a template.
"""

import hashlib
import json
import pathlib
import sys

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
GROUPS = {
    "gpu_servers": ["tfleet-lab-gpu"],
    "cpu_servers": ["tfleet-lab-1", "tfleet-lab-container"],
    "jetsons": ["tfleet-lab-jetson"],
    # The host of Molecule's scenario `container`, whose model server runs in one.
    "container_lab": ["tfleet-lab-container"],
}


def variables(host):
    """What Ansible needs to reach one host."""
    return {
        "ansible_connection": "community.docker.docker",
        "ansible_host": f"{host}-{hashlib.sha256(str(CHECKOUT).encode()).hexdigest()[:8]}",
        "ansible_python_interpreter": "/usr/bin/python3",
    }


hostvars = {host: variables(host) for hosts in GROUPS.values() for host in hosts}
inventory = {group: {"hosts": hosts} for group, hosts in GROUPS.items()}
json.dump({**inventory, "_meta": {"hostvars": hostvars}}, sys.stdout)
