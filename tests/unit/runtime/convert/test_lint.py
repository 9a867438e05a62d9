"""The linter: each fault, seeded into a real graph, is found with its nodes, and models without one have no warning."""

import json

import pytest

from tfleet import cli
from tfleet.convert.export import export
from tfleet.convert.lint import lint
from tfleet.convert.lint.rules import render
from tfleet.errors import TfleetError


def codes(warnings):
    return sorted(warning["code"] for warning in warnings)


@pytest.fixture
def linted(tf, tmp_path):
    """``linted(build, outputs)``: the warnings for a TF 1 graph that ``build`` makes with constants as its weights, exported with its signature."""

    def run(build, outputs=("y",), inputs=("x",), v2_control_flow=True):
        switch = tf.compat.v1.enable_control_flow_v2 if v2_control_flow else tf.compat.v1.disable_control_flow_v2
        switch()
        try:
            with tf.Graph().as_default() as graph:
                build()
        finally:
            tf.compat.v1.enable_control_flow_v2()
        (tmp_path / "graph.pb").write_bytes(graph.as_graph_def().SerializeToString())
        declared = {"serving_default": {"inputs": {name: name + ":0" for name in inputs}, "outputs": {name: name + ":0" for name in outputs}}}
        answer = export(str(tmp_path / "graph.pb"), str(tmp_path / "model"), declared=declared)
        # What export tells is what lint finds in the result, and what an unchanged export still tells.
        assert lint(str(tmp_path / "model"))["warnings"] == answer["warnings"]
        assert export(str(tmp_path / "graph.pb"), str(tmp_path / "model"), declared=declared)["warnings"] == answer["warnings"]
        return answer["warnings"]

    return run


def placeholder(tf, shape=(None, 4, 4, 2), dtype="float32", name="x"):
    return tf.compat.v1.placeholder(dtype, shape, name)


def fused(tf, x, training, name="bn"):
    ones = tf.constant([1.0, 2.0])
    moments = {} if training else {"mean": ones, "variance": ones}
    return tf.compat.v1.nn.fused_batch_norm(x, ones, ones, is_training=training, name=name, **moments)[0]


# Training mode


def test_fused_batch_norm_in_training_mode(tf, linted):
    (warning,) = linted(lambda: tf.identity(fused(tf, placeholder(tf), True, "head/bn"), name="y"))
    assert (warning["code"], warning["nodes"], warning["count"]) == ("batch_norm_training", ["head/bn"], 1)
    assert "training=False" in warning["advice"]


def test_batch_norm_of_single_operations_in_training_mode(tf, linted):
    def build(axes):
        x = placeholder(tf)
        mean, variance = tf.nn.moments(x, axes, name="bn/moments")
        tf.identity(tf.nn.batch_normalization(x, mean[..., :], variance, None, None, 1e-3), name="y")

    (warning,) = linted(lambda: build([0, 1, 2]))
    assert (warning["code"], warning["nodes"]) == ("batch_norm_training", ["bn/moments/mean"])


def test_averages_over_one_example_are_no_batch_norm(tf, linted):
    def build():
        mean, variance = tf.nn.moments(placeholder(tf), [1, 2, 3], keepdims=True, name="norm/moments")
        tf.add(mean, variance, name="y")

    assert linted(build) == []


@pytest.mark.parametrize("v2_control_flow", [True, False])
@pytest.mark.parametrize("default", [True, False])
def test_a_switch_for_training_counts_by_its_default(tf, linted, default, v2_control_flow):
    """What TF 1 models have: both forms in the graph, chosen by a placeholder with a default, which nobody feeds on a server."""

    def build():
        x = placeholder(tf)
        training = tf.compat.v1.placeholder_with_default(default, [], "is_training")
        tf.identity(tf.cond(training, lambda: fused(tf, x, True, "bn_train"), lambda: fused(tf, x, False, "bn_infer")), name="y")

    assert codes(linted(build, v2_control_flow=v2_control_flow)) == (["batch_norm_training"] if default else [])


@pytest.mark.parametrize("v2_control_flow", [True, False])
def test_a_switch_that_clients_feed_may_be_fed_wrong(tf, linted, v2_control_flow):
    def build():
        x, training = placeholder(tf), placeholder(tf, (), "bool", "training")
        tf.identity(tf.cond(training, lambda: fused(tf, x, True), lambda: fused(tf, x, False)), name="y")

    assert codes(linted(build, inputs=("x", "training"), v2_control_flow=v2_control_flow)) == ["batch_norm_training"]


@pytest.mark.parametrize("scope", ["dropout", "block_3"])
def test_dropout_left_on_by_name_or_by_form(tf, linted, scope):
    (warning,) = linted(lambda: tf.identity(tf.nn.dropout(placeholder(tf), 0.5, name=scope), name="y"))
    assert warning["code"] == "dropout_training"
    assert warning["nodes"][0].startswith(scope + "/random_uniform")


def test_a_keras_model_traced_in_training_mode(tf, keras_files, tmp_path):
    model = keras_files[0]
    function = tf.function(lambda image: {"probabilities": model(image, training=True)})
    concrete = function.get_concrete_function(tf.TensorSpec([None, 8, 8, 1], tf.float32, name="image"))
    module = tf.Module()
    module.state = list(concrete.graph.variables)
    tf.saved_model.save(module, str(tmp_path / "m"), signatures=concrete)
    answer = export(str(tmp_path / "m"), str(tmp_path / "exported"))
    assert codes(answer["warnings"]) == ["batch_norm_training", "dropout_training"]
    assert all("(function " in node for warning in answer["warnings"] for node in warning["nodes"])


# Operations and devices


def test_a_random_operation(tf, linted):
    (warning,) = linted(lambda: tf.add(placeholder(tf), tf.random.normal([2]), name="y"))
    assert (warning["code"], warning["nodes"]) == ("random_op", ["random_normal/RandomStandardNormal"])


def test_a_python_function(tf, linted):
    (warning,) = linted(lambda: tf.identity(tf.compat.v1.py_func(lambda x: x, [placeholder(tf)], tf.float32, name="ours"), name="y"))
    assert (warning["code"], warning["nodes"]) == ("py_func", ["ours"])


def test_what_no_signature_runs_is_not_told(tf, linted):
    def build():
        x = placeholder(tf)
        tf.identity(x, name="y")
        tf.add(x, tf.random.normal([2]), name="augmented")

    assert linted(build) == []


@pytest.mark.parametrize("device", ["/gpu:0", "/device:GPU:1", "/job:ps/task:0"])
def test_hard_wired_devices(tf, linted, tmp_path, device):
    def build():
        with tf.device(device):
            y = tf.square(placeholder(tf), name="there")
        tf.identity(y, name="y")

    (warning,) = linted(build)
    assert (warning["code"], warning["nodes"]) == ("hard_wired_device", ["there"])
    cleared = export(
        str(tmp_path / "graph.pb"),
        str(tmp_path / "cleared"),
        declared={"serving_default": {"inputs": {"x": "x:0"}, "outputs": {"y": "y:0"}}},
        device="clear",
    )
    assert cleared["warnings"] == []


# Inputs


@pytest.mark.parametrize(
    ("shape", "dtype", "expected"),
    [
        ((1, None, None, 3), "uint8", ["fixed_batch"]),
        ((8, 10), "float32", ["fixed_batch"]),
        ((224, 224, 3), "float32", ["fixed_batch"]),
        ((None, None, 3), "uint8", ["fixed_batch"]),
        ((None, 5), "int64", ["int64_input"]),
        ((None, 5), "int32", []),
        ((None, 8, 3), "float32", []),
        ((), "float32", []),
        ((None,), "string", []),
    ],
)
def test_inputs(tf, linted, shape, dtype, expected):
    found = linted(lambda: tf.identity(placeholder(tf, shape, dtype), name="y"))
    assert codes(found) == expected
    assert all(warning["nodes"] == ["x (x of serving_default)"] for warning in found)


# Variables


def saved(tf, path, var_list, **options):
    """A TF 1 SavedModel of y = w * x + b whose saver knows the variables in ``var_list``."""
    v1 = tf.compat.v1
    with v1.Session(graph=tf.Graph()) as session:
        x = v1.placeholder(tf.float32, [None], "x")
        variables = {name: v1.get_variable(name, [], use_resource=options.pop("resource", False)) for name in ("w", "b")}
        y = tf.add(variables["w"] * x, variables["b"], name="y")
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(path))
        signature = v1.saved_model.predict_signature_def({"x": x}, {"y": y})
        init = v1.variables_initializer([variables["b"]]) if options.get("init") else None
        builder.add_meta_graph_and_variables(
            session, ["serve"], {"serving_default": signature}, saver=v1.train.Saver([variables[name] for name in var_list]), main_op=init
        )
        builder.save()
    return str(path)


@pytest.mark.parametrize("resource", [True, False])
def test_a_variable_that_nothing_initialises(tf, tmp_path, resource):
    (warning,) = lint(saved(tf, tmp_path / "m", ["w"], resource=resource))["warnings"]
    assert (warning["code"], warning["nodes"]) == ("uninitialised_variable", ["b"])


def test_variables_that_are_restored_or_initialised_are_in_order(tf, tmp_path):
    assert lint(saved(tf, tmp_path / "all", ["w", "b"]))["warnings"] == []
    assert lint(saved(tf, tmp_path / "init", ["w"], init=True))["warnings"] == []


def test_a_variable_that_the_checkpoint_lacks(tf, tmp_path):
    path, other = saved(tf, tmp_path / "m", ["w", "b"]), saved(tf, tmp_path / "other", ["w"])
    for name in ("variables.index", "variables.data-00000-of-00001"):
        with open("%s/variables/%s" % (other, name), "rb") as stream, open("%s/variables/%s" % (path, name), "wb") as out:
            out.write(stream.read())
    assert [warning["nodes"] for warning in lint(path)["warnings"]] == [["b"]]


def test_linting_changes_nothing_in_what_is_written(tf, tmp_path):
    export(saved(tf, tmp_path / "m", ["w", "b"]), str(tmp_path / "exported"))
    from tfleet.convert import saved_model

    assert sorted(saved_model.read(str(tmp_path / "exported")).meta_graphs[0].signature_def) == ["serving_default"]


# Models without a fault


def test_models_in_order_have_no_warnings(linear, function_graph, tf2_saved_model, keras_files, tmp_path):
    declared = {"serving_default": {"inputs": {"features": "features:0"}, "outputs": {"y": "Identity:0"}}}
    assert lint(tf2_saved_model)["warnings"] == []
    assert lint(linear)["warnings"] == []
    assert export(function_graph, str(tmp_path / "function"), declared=declared)["warnings"] == []
    for number, path in enumerate(keras_files[1:]):
        assert export(path, str(tmp_path / ("keras%d" % number)))["warnings"] == []


def test_public_architectures_in_order_have_no_warnings(tf, tmp_path):
    """MobileNetV2 (batch norm, dropout's place), and layer normalisation, which Keras computes like batch norm."""
    model = tf.keras.applications.MobileNetV2((96, 96, 3), alpha=0.35, weights=None, classes=10)
    model.save(str(tmp_path / "mobile.keras"))
    assert export(str(tmp_path / "mobile.keras"), str(tmp_path / "mobile"))["warnings"] == []
    layers = tf.keras.layers
    normed = tf.keras.Sequential([layers.Input((16,)), layers.LayerNormalization(), layers.Dropout(0.5), layers.GaussianNoise(0.1), layers.Dense(2)])
    normed.save(str(tmp_path / "normed.keras"))
    assert export(str(tmp_path / "normed.keras"), str(tmp_path / "normed"))["warnings"] == []


# The command


def test_the_command_lists_and_with_strict_fails(tf, tmp_path, capsys):
    path = saved(tf, tmp_path / "m", ["w"])
    assert cli.main(["lint", path, "--json"]) == 0
    assert codes(json.loads(capsys.readouterr().out)["warnings"]) == ["uninitialised_variable"]
    assert cli.main(["lint", path]) == 0
    assert "nodes: b\n" in capsys.readouterr().out
    assert cli.main(["lint", path, "--strict", "--json"]) == 1
    assert "nodes: b" in json.loads(capsys.readouterr().out)["msg"]
    assert cli.main(["lint", saved(tf, tmp_path / "ok", ["w", "b"]), "--strict"]) == 0


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(TfleetError, match="There is no"):
        lint(str(tmp_path / "nothing"))
    with pytest.raises(TfleetError, match="is not a SavedModel"):
        lint(str(tmp_path))


def test_many_nodes_are_counted_and_some_named():
    warning = {"code": "c", "nodes": ["n%d" % number for number in range(20)], "count": 33, "text": "T.", "advice": "A."}
    assert render([warning]) == ["warning: T.  [c]", "  nodes: n0, n1, n2, n3, n4 and 28 more", "  A."]
