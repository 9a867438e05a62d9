"""Text-format files: the server's rules, and the checks and imports for people."""

import json
import os
import subprocess
import sys

import pytest
from google.protobuf import text_format

from tfleet import cli, wire
from tfleet.errors import TfleetError
from tfleet.server import config, config_check
from tfleet.server.status import StatusError

GOOD = """model_config_list {
  config: [
    { name: 'a', base_path: '/m/a', model_platform: 'tensorflow' },
    { name: "b" base_path: "gs://bucket/b" model_platform: "tensorflow" model_version_policy: { specific { versions: [3, 1] } }
      version_labels { key: "stable" value: 3 } }
  ]
}
"""


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "the.config"
        path.write_text(text)
        return str(path)

    return write


def test_import_says_what_an_inventory_does_not_take(tmp_path):
    path = tmp_path / "model.config"
    path.write_text('model_config_list { config { name: "odd name" base_path: "/m/a" model_platform: "tensorflow" '
                    'model_version_policy { specific { versions: 0 } } } }')
    notes = " ".join(config_check.import_models(str(path)).notes)
    assert "odd name" in notes and "letters" in notes
    assert "positive version numbers" in notes


def test_good_config(file):
    models = config.validate(config.read_model_config(file(GOOD)))
    assert sorted(models) == ["a", "b"]
    assert dict(models["b"].version_labels) == {"stable": 3}


@pytest.mark.parametrize(("models", "message"), [
    ('config { name: "a" base_path: "/a" model_platform: "tensorflow" } config { name: "a" base_path: "/b" model_platform: "tensorflow" }',
     "Illegal to list model a multiple times in config list"),
    ('config { name: "a" base_path: "a" model_platform: "tensorflow" }', "Expected model a to have an absolute path or URI; got base_path()=a"),
    ('config { name: "a" base_path: "/a" }',
     "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform, model name is a"),
    ('config { name: "a" base_path: "/a" model_type: TENSORFLOW model_platform: "tensorflow" }',
     "Illegal setting both ModelServerConfig::model_type (deprecated) and ModelServerConfig::model_platform, model name is a"),
    ('config { name: "a" base_path: "/a" model_platform: "caffe" }', "Model a requests unsupported platform caffe"),
])
def test_refused_models(models, message):
    parsed = text_format.Parse("model_config_list { %s }" % models, wire.ModelServerConfig())
    with pytest.raises(StatusError) as failure:
        config.validate(parsed)
    assert str(failure.value) == "INVALID_ARGUMENT: " + message


def test_deprecated_model_type_is_enough():
    parsed = text_format.Parse('model_config_list { config { name: "a" base_path: "/a" model_type: TENSORFLOW } }', wire.ModelServerConfig())
    assert list(config.validate(parsed)) == ["a"]


@pytest.mark.parametrize(("text", "message"), [
    ("max_batch_size { value: 8 } allowed_batch_sizes: [2, 8]", None),
    ("max_batch_size { value: 128 } allowed_batch_sizes: 32",
     "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 32; expected 128"),
    ("allowed_batch_sizes: 1000", None),
    ("max_batch_size { value: 8 } allowed_batch_sizes: [8, 8]", "allowed_batch_sizes entries must be monotonically increasing and positive"),
    ("max_batch_size { value: 0 }", "max_batch_size must be positive; was 0"),
    ("batch_timeout_micros { value: -1 }", "batch_timeout_micros must be non-negative; was -1"),
    ("max_batch_size { value: 8 } max_execution_batch_size { value: 9 } enable_large_batch_splitting { value: true }",
     "max_execution_batch_size must be less than or equal to max_batch_size; was 9 and 8"),
])
def test_batching(file, text, message):
    if message is None:
        assert config_check.check("batching", file(text)) == ([], [])
    else:
        with pytest.raises(TfleetError, match=message.replace("(", r"\(")):
            config_check.check("batching", file(text))


@pytest.mark.parametrize(("text", "path"), [
    ("", ""), ("prometheus_config { enable: true }", "/monitoring/prometheus/metrics"), ('prometheus_config { enable: true path: "/m" }', "/m"),
    ('prometheus_config { path: "/m" }', "")])
def test_monitoring(text, path):
    parsed = text_format.Parse(text, wire.MonitoringConfig())
    config.check_monitoring(parsed)
    assert config.monitoring_path(parsed) == path


def test_monitoring_path_without_a_slash(file):
    with pytest.raises(TfleetError, match=r"must begin with a slash"):
        config_check.check("monitoring", file('prometheus_config { enable: true path: "m" }'))


@pytest.mark.parametrize(("text", "line", "column", "message", "suggestion"), [
    ('model_config_list {\n config { name: "a"\n  model_version_policy { specific { version: 1 } } } }', 3, 37,
     "Specific has no field `version:`; did you mean `versions:`?", "versions"),
    ("model_config_list { config { platform: 1 } }", 1, 30, "ModelConfig has no field `platform:`", None),
    ("models {}", 1, 1, "its fields are custom_model_config, model_config_list.", None),
    ("model_config_list {\n  config { base_path: /m/a } }", 2, 23, "texts have to stand in quotes", None),
    ('model_config_list {\n config { name: "a" base_path: "/a" model_platform: "tensorflow" }\n config { name: "a" base_path: "/b" } }', 3, 11,
     "Illegal to list model a multiple times in config list: keep one of the two", None),
    ('model_config_list {\n config { name: "a"\n   base_path: "m/a" model_platform: "tensorflow" } }', 3, 4,
     "write the whole path, beginning with a slash", None),
    ('model_config_list { config { name: "a" base_path: "/a" } }', 1, 30, 'write `model_platform: "tensorflow"`', None),
    ('model_config_list { config { name: "a" base_path: "/a" model_platform: "tensorflow" version_labels { key: "stable" value: 3 }\n'
     " model_version_policy { specific { versions: 1 versions: 2 } } } }", 1, 30,
     "Label stable of model a points to version 3, which its policy `specific` (1, 2) does not serve", None),
    ("model_config_list {", 1, 19, 'Expected "}".', None),
])
def test_check_says_what_is_wrong_where(file, text, line, column, message, suggestion):
    path = file(text)
    with pytest.raises(TfleetError) as failure:
        config_check.check("model", path)
    assert str(failure.value).startswith("%s:%d:%d: " % (path, line, column)), str(failure.value)
    assert message in str(failure.value)
    assert (failure.value.result["line"], failure.value.result["column"]) == (line, column)
    assert failure.value.result.get("suggestion") == suggestion


def test_check_warns_of_what_is_hardly_meant(file):
    checked = config_check.check("model", file(
        'model_config_list { config { name: "a" base_path: "/m/a/1" model_type: TENSORFLOW model_version_policy { latest { num_versions: 0 } } } '
        'config { name: "b" base_path: "/m/b" model_platform: "tensorflow" model_version_policy { specific {} } } }'))
    assert [model["policy"] for model in checked.models] == [{"latest": {"num_versions": 1}}, {"specific": {"versions": []}}]
    text = "\n".join(checked.warnings)
    for part in ("which the server takes as 1", "deprecated model_type", "has to be the directory above the version", "nothing of it would be served"):
        assert part in text


def test_missing_and_binary_files(tmp_path):
    with pytest.raises(TfleetError, match=r"cannot be read: No such file"):
        config_check.check("model", str(tmp_path / "no"))
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TfleetError, match=r"is not UTF-8 text"):
        config_check.import_models(str(tmp_path / "binary"))


def test_import_of_a_good_file(file):
    imported = config_check.import_models(file(GOOD))
    assert imported.models == [
        {"name": "a", "base_path": "/m/a", "policy": {"latest": {"num_versions": 1}}, "labels": {}},
        {"name": "b", "base_path": "gs://bucket/b", "policy": {"specific": {"versions": [1, 3]}}, "labels": {"stable": 3}},
    ]
    assert [note for note in imported.notes if "allow_version_labels_for_unavailable_models" not in note] == []


def test_import_repairs_what_is_unambiguous_and_says_so(file):
    path = file('model_config_list {\n config { name: "a" base_path: "/a" model_platform: "tensorflow"\n'
                "  model_version_policy { specific { version: 1 version: 2 } }\n  version_label { key: \"stable\" value: 2 } }\n"
                ' config { name: "a" base_path: "/other" } }')
    imported = config_check.import_models(path)
    assert imported.models == [{"name": "a", "base_path": "/a", "policy": {"specific": {"versions": [1, 2]}}, "labels": {"stable": 2}}]
    assert [note.split(":")[1:3] for note in imported.notes[:3]] == [["3", "37"], ["3", "49"], ["4", "3"]]
    assert "it was read as `versions`" in imported.notes[0]
    assert any("listed more than once" in note for note in imported.notes)


def test_import_gives_up_on_what_could_mean_anything(file):
    with pytest.raises(TfleetError, match=r"its fields are"):
        config_check.import_models(file("model_config_list { config { zzz: 1 } }"))


def test_command_line(file, capsys):
    path = file(GOOD)
    assert cli.main(["config", "check", "--kind", "model", path, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["ok"], answer["kind"], [model["name"] for model in answer["models"]]) == (True, "model", ["a", "b"])
    assert cli.main(["config", "import", path]) == 0
    text = capsys.readouterr().out
    assert "tfleet_models:\n  - name: \"a\"\n    base_path: \"/m/a\"\n    policy: {\"latest\": {\"num_versions\": 1}}\n" in text
    assert cli.main(["config", "check", file("x: 1"), "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert (answer["ok"], answer["line"]) == (False, 1)


def test_yaml_is_yaml(file):
    yaml = pytest.importorskip("yaml")
    imported = config_check.import_models(file(GOOD))
    assert yaml.safe_load(config_check.yaml_text(imported.models, imported.notes)) == {"tfleet_models": imported.models}
    assert yaml.safe_load(config_check.yaml_text([])) == {"tfleet_models": []}


def test_configuration_needs_no_tensorflow():
    modules = ", ".join("tfleet.server." + name for name in ("flags", "config", "config_check", "batching", "metrics", "rest", "grpc_service"))
    code = "import sys, %s; sys.exit('tensorflow' in sys.modules)" % modules
    assert subprocess.run([sys.executable, "-c", code], env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)), check=False).returncode == 0
