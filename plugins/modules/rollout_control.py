#!/usr/bin/python
# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Ansible module: what happens between the steps of a rollout. All of it is done by the action of the same name, on the controller."""

DOCUMENTATION = r"""
module: rollout_control
short_description: Plan a rollout, begin its waves, decide after each, end it
version_added: "0.1.0"
author: tfleet contributors (@tfleet)
description:
  - The part of playbooks/rollout.yml that runs once and on the controller. It reads and writes the ledger, and decides from it alone.
  - The variables C(rollout_*) of the inventory are its input; docs/rollout.md lists them.
options:
  do:
    description:
      - V(plan) makes the waves, takes the controller's lock and begins the ledger, or reads the one that C(rollout_resume) names. Sets the fact
        C(rollout_control).
      - V(begin) waits for working hours, approval and the end of a pause before a wave.
      - V(decide) counts who failed, and says who goes on and who goes back. Sets the fact C(rollout_verdict).
      - V(end) closes the ledger, gives the lock back and returns what the report shows.
      - V(waiting) returns what hosts wait for in the last rollout of each model, and how its last ones went, for playbooks/status.yml.
      - V(lock) takes the controller's lock for playbooks/rollback.yml.
      - V(by_hand) notes in the ledger what playbooks/rollback.yml took back, and gives the lock back.
    type: str
    choices: [plan, begin, decide, end, waiting, lock, by_hand]
    required: true
  hosts:
    description: The hosts that take part - all of them to plan, else those of the wave.
    type: list
    elements: str
    default: []
  built:
    description: With O(do=plan), whether all releases of the hosts are there. Where they are not, a resumed rollout does what it owes, and nothing begins.
    type: bool
    default: true
  models:
    description: With O(do=lock) and O(do=by_hand), the models that return to an earlier version.
    type: list
    elements: str
    default: []
  after:
    description: With O(do=decide), the step that the hosts have been through - all of them with V(stage), else those of the wave.
    type: str
    choices: [stage, gate, check]
  work_dir:
    description: Directory on the controller in which C(rollouts) is kept.
    type: path
  directory:
    description: Directory of the rollout.
    type: path
attributes:
  check_mode:
    support: full
    description: V(plan) shows the waves; nothing is waited for, decided or written.
  diff_mode:
    support: none
    description: The ledger tells what was decided.
  idempotent:
    support: none
    description: Each call is a line of the ledger.
seealso:
  - module: tfleet.serving.rollout_host
"""

EXAMPLES = r"""
- name: Plan the rollout
  tfleet.serving.rollout_control:
    do: plan
    hosts: "{{ ansible_play_hosts_all }}"
    work_dir: /home/ops/tfleet/.tfleet
  run_once: true
  delegate_to: localhost
  delegate_facts: true

- name: Decide after the gate
  tfleet.serving.rollout_control:
    do: decide
    after: gate
    hosts: "{{ ansible_play_batch }}"
    directory: "{{ hostvars['localhost'].rollout_control.directory }}"
  run_once: true
  delegate_to: localhost
  delegate_facts: true

- name: End the rollout
  tfleet.serving.rollout_control:
    do: end
    directory: "{{ hostvars['localhost'].rollout_control.directory }}"
  run_once: true
  delegate_to: localhost
"""

RETURN = r"""
ok:
  description: With O(do=end), whether every host of the plan serves the version.
  returned: with O(do=end)
  type: bool
msg:
  description: With O(do=end), how it ended, and what to do next.
  returned: with O(do=end)
  type: str
sentences:
  description: With O(do=waiting), what is not finished, and how to go on.
  returned: with O(do=waiting)
  type: list
  elements: str
trends:
  description: With O(do=waiting), for each model its last rollouts as templates/reports/status.html.j2 shows them.
  returned: with O(do=waiting)
  type: list
  elements: dict
report:
  description: With O(do=end), what templates/reports/rollout.html.j2 shows.
  returned: with O(do=end)
  type: dict
"""
