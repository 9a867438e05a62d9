#!/usr/bin/python
# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Ansible module: what a rollout has to know of a host. The action of the same name does it, and asks the device by the module ``jetson_facts``."""

DOCUMENTATION = r"""
module: rollout_target
short_description: Tell what a host is, what it is to serve, and which release a rollout brings to it
version_added: "0.1.0"
author: tfleet contributors (@tfleet)
description:
  - What the role preflight finds out in four tasks (M(tfleet.serving.jetson_facts) and the filters C(resolve), C(with_variants) and C(normalise)), and what
    a rollout makes of it, in one. In a rollout to many hosts each task of each host is a process of the controller.
  - A host that does not answer is no failure, it only lacks the facts about itself. What is declared wrongly is one.
options:
  device:
    description: Options of M(tfleet.serving.jetson_facts).
    type: dict
    default: {}
  runtime:
    description: Options of the filter C(resolve), C(groups) excepted.
    type: dict
    default: {}
  models:
    description: The host's C(tfleet_models).
    type: list
    elements: dict
    required: true
  models_root:
    description: Directory on the host below which models lie that have no C(base_path).
    type: path
    required: true
  source_root:
    description: Directory on the controller from which relative paths start.
    type: path
    required: true
  conversions_dir:
    description: Directory on the controller with what the role model_conversion has recorded of each hardware class.
    type: path
    required: true
  model:
    description: Name of the model that is rolled out; empty where none is.
    type: str
    default: ""
  version:
    description: The version that was asked for, a number or a number for each hardware class; empty for the one that is declared.
    type: raw
attributes:
  check_mode:
    support: full
    description: Reads only, in check mode too.
  diff_mode:
    support: none
    description: There is nothing to change.
seealso:
  - module: tfleet.serving.jetson_facts
  - module: tfleet.serving.rollout_host
"""

EXAMPLES = r"""
- name: Look at the host, and choose what it gets
  tfleet.serving.rollout_target:
    device: {disk: /var/lib/tfleet/models}
    runtime: {tensorflow: 2, in_image: true}
    models: "{{ tfleet_models }}"
    models_root: /var/lib/tfleet/models
    source_root: /home/ops/tfleet
    conversions_dir: /home/ops/tfleet/.tfleet/conversions
    model: digits

- name: Only if it gets the version that was asked for, each hardware class its own
  tfleet.serving.rollout_target:
    models: "{{ tfleet_models }}"
    models_root: /var/lib/tfleet/models
    source_root: /home/ops/tfleet
    conversions_dir: /home/ops/tfleet/.tfleet/conversions
    model: digits
    version: {xavier: 3, cpu-x86_64: 2}

- name: Tell what it has and is to serve, where nothing is rolled out yet
  tfleet.serving.rollout_target:
    device: {l4t_override: "36.4.7"}
    models: "{{ tfleet_models }}"
    models_root: /var/lib/tfleet/models
    source_root: /home/ops/tfleet
    conversions_dir: /home/ops/tfleet/.tfleet/conversions
"""

RETURN = r"""
ansible_facts:
  description: What is known of the host.
  returned: success
  type: dict
  contains:
    tfleet_device:
      description: As of M(tfleet.serving.jetson_facts).
      returned: when the host answers
      type: dict
    preflight_resolved:
      description: What may run on it, as of the filter C(resolve); empty if the host does not answer.
      returned: success
      type: dict
    preflight_models:
      description: The models with all their defaults, as of the filter C(normalise).
      returned: success
      type: list
      elements: dict
    rollout_item:
      description: The release that it gets, with its C(labels), C(policy) and C(files) beside it; empty if it does not have the model, or O(model) is empty.
      returned: success
      type: dict
msg:
  description: Why the host did not answer.
  returned: when it did not
  type: str
"""
