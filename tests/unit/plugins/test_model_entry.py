"""One model's entry in the text of a model.config, as the role writes it and as people do."""
import subprocess

import pytest
from ansible_collections.tfleet.serving.plugins.module_utils import model_entry
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.model_config import ConfigError, fields_of, model_config, models_of, values

WRITTEN = """# Ansible managed: config { name: "faces" }
model_config_list {
  config {
    name: "cats"
    base_path: "/models/{cats}"
    model_platform: "tensorflow"
    model_version_policy {
      latest { num_versions: 2 }
    }
    version_labels { key: "stable" value: 12 }
  }
  config {
    name: "faces"
    base_path: "/models/faces"
    model_platform: "tensorflow"
    model_version_policy {
      all {}
    }
  }
}
"""
BY_HAND = ("model_config_list: { config: { base_path: '/m/#1' name: 'cats' model_platform: 'tensorflow' } "
           "config { base_path: '/f' name: \"faces\" model_platform: 'tensorflow' } }")

ANY_FORM = ("model_config_list <\n  config: [{ base_path: '/m' name: 'ca' \"ts\"; model_platform: 'tensorflow', model_version_policy: { all {} };\n"
            "    version_labels: [{ key: 'a' value: 7 }, { key: 'b', value: 12 }] }];\n"
            "  config { name: \"f\\x61ces\" base_path: '/f' model_platform: 'tensorflow' }\n>\n")
ALL = pytest.mark.parametrize("text", [WRITTEN, BY_HAND, ANY_FORM], ids=["ours", "by hand", "any"])


def entry(name, more=""):
    return 'config {\n    name: "%s"\n    base_path: "/models/%s"\n%s  }' % (name, name, more)


@ALL
def test_an_entry_is_found_and_replaced_and_nothing_else(text):
    cats, faces = model_entry.entry_of(text, "cats"), model_entry.entry_of(text, "faces")
    assert cats in text
    assert "faces" not in cats
    assert model_entry.entry_of(text, "dogs") is None
    assert model_entry.with_entry(text, "cats", cats) == text
    other = model_entry.with_entry(text, "cats", entry("cats"))
    assert model_entry.entry_of(other, "cats") == entry("cats")
    assert model_entry.entry_of(other, "faces") == faces
    assert model_entry.with_entry(other, "cats", cats) == text
    assert model_entry.entry_of(model_entry.with_entry(text, "cats", None), "cats") is None


@pytest.mark.parametrize(("name", "after"), [("ants", None), ("dogs", "cats"), ("zebras", "faces")])
def test_a_new_entry_comes_where_the_role_would_write_it_and_goes_without_a_trace(name, after):
    text = model_entry.with_entry(WRITTEN, name, entry(name))
    before = text[:text.index("  config {\n    name: \"%s\"" % name)]
    assert before.endswith("model_config_list {\n" if after is None else "\n  }\n")
    assert after is None or 'name: "%s"' % after in before
    assert model_entry.with_entry(text, name, None) == WRITTEN
    assert model_entry.with_entry("model_config_list {\n}\n", name, entry(name)) == "model_config_list {\n  %s\n}\n" % entry(name)


@ALL
@pytest.mark.parametrize("labels", [True, False])
def test_an_entry_for_some_versions_is_read_by_the_server_as_it_is_meant(text, labels, tfleet_runtime, tmp_path):
    narrowed = model_entry.serving(model_entry.entry_of(text, "cats"), {7, 12}, labels)
    assert narrowed.split("{", 2)[1].split() == ["model_version_policy"]
    assert narrowed.count("model_version_policy") == 1
    assert ("version_labels" in narrowed) is (labels and "version_labels" in text)
    assert "latest" not in narrowed
    path = tmp_path / "model.config"
    path.write_text(model_entry.with_entry(text, "cats", narrowed))
    said = subprocess.run([tfleet_runtime, "config", "check", "--kind", "model", str(path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          universal_newlines=True, check=False)
    assert said.returncode == 0, said.stdout
    assert model_entry.serving(narrowed, {7, 12}, labels) == narrowed


@pytest.mark.parametrize(("text", "words"), [
    ("", "has no model_config_list"), ("model_config_list: 1", "has no model_config_list"), (WRITTEN + WRITTEN, "has 2 model_config_list"),
    ("model_config_list { config: [{ name: 'cats' }, { name: 'faces' }] }", "has several models in one config"), (WRITTEN[:-2], "A field was expected"),
])
def test_a_file_whose_models_cannot_be_told_apart_is_named(text, words):
    with pytest.raises(ModuleError, match=words):
        model_entry.entry_of(text, "cats")


def test_what_is_written_of_models_is_what_is_read_of_them():
    models = [{"name": "b", "base_path": "/m/b", "policy": {"all": {}}}, {"name": 'Aa "x"', "base_path": "/m/é", "policy": {"latest": {"num_versions": 2}}}]
    labels = {"b": {}, 'Aa "x"': {"stable": 1, "Canary": 2}}
    text = model_config(models, labels, {"b": {"specific": {"versions": [3, 1]}}})
    assert models_of(text) == [{"name": model["name"], "base_path": model["base_path"], "labels": labels[model["name"]]} for model in reversed(models)]
    policies = [values(entry, "model_version_policy")[0] for entry in values(values(fields_of(text), "model_config_list")[0], "config")]
    assert [(kind.name, [(field.name, field.value) for field in kind.value]) for (kind,) in policies] == [
        ("latest", [("num_versions", "2")]), ("specific", [("versions", "3"), ("versions", "1")])]


def test_numbers_and_texts_in_every_form_that_the_server_takes():
    labels = 'version_labels { key: "a" value: 0x1F } version_labels { key: "b" value: 017 }'
    text = r'model_config_list { config { name: "caf\303\251" base_path: "/m/é" %s } }' % labels
    assert models_of(text) == [{"name": "café", "base_path": "/m/é", "labels": {"a": 31, "b": 15}}]
    with pytest.raises(ConfigError, match="A number was expected, not 'two'"):
        models_of(text.replace("017", "two"))
