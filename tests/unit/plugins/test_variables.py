"""Variables of an inventory that tfleet would misunderstand, one sentence each."""

import pathlib
import re

import pytest
import yaml
from ansible.errors import AnsibleUndefinedVariable
from ansible_collections.tfleet.serving.plugins.plugin_utils import variables as rules

CHECKOUT = pathlib.Path(__file__).parents[3]
REMOVED = {"model_server_models": "write the models under tfleet_models."}


def problems(**variables):
    return rules.variable_problems(variables, REMOVED)


def test_what_tfleet_does_not_own_is_left_alone():
    assert problems(ansible_user="x", site="lab", models=[], rollback_model="digits", model_serverx=1, _model_server_x=1, __model_server_x=1) == []


def test_declared_variables_with_fitting_values():
    assert problems(model_server_grpc_port="9500", tfleet_grpc_port=8500, model_server_flags={}, preflight_tftrt_precisions=["FP16"]) == []


@pytest.mark.parametrize(
    "name, near",
    [
        ("model_server_grpc_prot", "model_server_grpc_port"),
        ("model_server_backed", "model_server_backend"),
        ("tfleet_model_root", "tfleet_models_root"),
        ("preflight_l4t_overide", "preflight_l4t_override"),
        ("jetson_facts_procroot", "jetson_facts_proc_root"),
        ("serving_smoke_time_out", "serving_smoke_timeout"),
    ],
)
def test_an_unknown_name_gets_the_nearest(name, near):
    assert problems(**{name: 1}) == [f"{name} is unknown to tfleet. Did you mean {near}?"]


def test_an_unknown_name_that_is_near_to_none():
    assert problems(tfleet_zzzzqqqq=1) == ["tfleet_zzzzqqqq is unknown to tfleet. The variables are in inventories/example/group_vars/all.yml."]


def test_a_removed_name_says_what_to_write():
    assert problems(model_server_models=[]) == ["model_server_models is no longer a variable: write the models under tfleet_models."]


@pytest.mark.parametrize(
    "name, value, says",
    [
        ("model_server_grpc_port", "fast", "unable to convert to int"),
        ("model_server_state", "started", "value of model_server_state must be one of"),
        ("preflight_tftrt_precisions", ["FP8"], "value of preflight_tftrt_precisions must be one or more of"),
        ("model_server_monitoring", "perhaps", "unable to convert to bool"),
        ("model_server_flags", ["a"], "unable to convert to dict"),
    ],
)
def test_a_value_of_the_wrong_kind(name, value, says):
    found = problems(**{name: value})
    assert len(found) == 1
    assert found[0].startswith(name + ": ")
    assert says in found[0]
    # Sentences of several variables and hosts are told in one line.
    assert found[0].endswith(".") and not found[0].endswith("..")


def test_a_value_that_is_known_only_later_is_left_to_the_role():
    class Variables(dict):
        def __getitem__(self, name):
            raise AnsibleUndefinedVariable("'ansible_facts' has no memtotal_mb")

    assert rules.variable_problems(Variables(model_server_grpc_port=None), {}) == []
    # ansible-core 2.16 hands out what it cannot work out.
    assert problems(model_server_grpc_port="{{ ansible_facts.port }}") == []


def test_facts_that_the_roles_set_are_no_variables_of_the_inventory():
    assert problems(preflight_models=[], preflight_problems=[], preflight_resolved={}, tfleet_device={}, model_server_seen={}) == []


@pytest.fixture
def roles(tmp_path):
    """A directory of roles with one role, whose option is secret."""
    meta = tmp_path / "vault/meta"
    meta.mkdir(parents=True)
    option = {"type": "list", "elements": "dict", "no_log": True, "description": "x", "default": "A sentence."}
    spec = {"argument_specs": {"main": {"options": {"vault_logins": option}}}}
    (meta / "argument_specs.yml").write_text(yaml.safe_dump(spec))
    return str(tmp_path)


def test_a_secret_value_is_not_shown(roles):
    found = rules.variable_problems({"vault_logins": ["hunter2"]}, {}, roles)
    assert found == ["vault_logins is not what it must be: list. Its value is secret and not shown."]
    assert rules.variable_problems({"vault_login": 1}, {}, roles) == ["vault_login is unknown to tfleet. Did you mean vault_logins?"]


def test_removed_names_are_not_declared_and_do_not_stand_in_the_examples():
    removed = yaml.safe_load((CHECKOUT / "roles/preflight/vars/main.yml").read_text())["__preflight_removed"]
    assert not set(removed) & set(rules.declared())
    for path in CHECKOUT.glob("inventories/**/*.yml"):
        assert [name for name in removed if re.search(rf"\b{name}\b", path.read_text())] == []


@pytest.mark.parametrize("path", sorted(CHECKOUT.glob("inventories/*/group_vars/*.yml")), ids=lambda path: "/".join(path.parts[-3:]))
def test_the_inventories_of_the_checkout_hold_no_unknown_variable(path):
    assert problems(**yaml.safe_load(path.read_text())) == []
