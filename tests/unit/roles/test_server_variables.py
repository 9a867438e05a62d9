"""What the roles tensorflow_runtime and model_server make of an inventory's variables, evaluated by Ansible itself; nothing is started."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
import yaml

CHECKOUT = pathlib.Path(__file__).parents[3]
SHOWN = ["model_server_image", "__model_server_ours", "__model_server_argv", "__model_server_servers", "__model_server_mounts", "__model_server_check",
         "model_server_free_memory", "tensorflow_runtime_form", "tensorflow_runtime_requirements", "tensorflow_runtime_image_base", "tensorflow_runtime_gpu",
         "tensorflow_runtime_gpu_required", "tensorflow_runtime_wheel", "serving_smoke_addresses", "tensorflow_runtime_environment"]
JETSON = {"kind": "jetson"}
SERVING = "docker.io/tensorflow/serving:2.17.0-gpu"
OURS = "tfleet-runtime:current"


def play(tmp_path, facts, variables, tasks):
    """Runs tasks with both roles' variables on this machine; (exit code, output)."""
    playbook = [{
        "hosts": "localhost", "connection": "local", "gather_facts": False,
        "vars_files": [str(CHECKOUT / f"roles/{role}/{kind}/main.yml") for kind in ("defaults", "vars") for role in ("tensorflow_runtime", "model_server")]
                      + [str(CHECKOUT / "roles/serving_smoke/defaults/main.yml")],
        "tasks": [{"ansible.builtin.set_fact": {"preflight_models": [{"name": "digits", "base_path": "/data/digits"}]}},
                  {"ansible.builtin.set_fact": {"tfleet_device": facts, "cacheable": True}}, *tasks],
    }]
    path = tmp_path / "play.yml"
    path.write_text(yaml.safe_dump(playbook))
    extra = {"role_path": str(CHECKOUT / "roles/x"), "ansible_python_interpreter": sys.executable, **variables}
    done = subprocess.run(
        [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), "-i", "localhost,", "-e", json.dumps(extra), str(path)],
        env={**os.environ, "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"), "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default", "ANSIBLE_NOCOLOR": "1"},
        cwd=CHECKOUT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def evaluated(tmp_path, facts=None, **variables):
    """{name: value} of the variables shown."""
    target = tmp_path / "shown.json"
    values = {name: "{{ %s }}" % name for name in SHOWN}
    code, output = play(tmp_path, facts or {}, variables, [{"ansible.builtin.copy": {"content": "{{ shown | to_json }}", "dest": str(target), "mode": "0600"},
                                                            "vars": {"shown": values}}])
    assert code == 0, output
    return json.loads(target.read_text())


def test_a_jetson_serves_with_the_runtime_image_on_the_image_for_its_l4t(tmp_path):
    shown = evaluated(tmp_path, JETSON, model_server_backend="container", tfleet_runtime_image=OURS, model_server_memory_max="2G",
                      preflight_resolved={"image": "nvcr.io/nvidia/l4t-tensorflow:r32.7.1-tf2.7-py3", "wheel": None})
    assert shown["tensorflow_runtime_form"] == "image"
    assert shown["tensorflow_runtime_image_base"] == "nvcr.io/nvidia/l4t-tensorflow:r32.7.1-tf2.7-py3"
    assert (shown["tensorflow_runtime_gpu"], shown["tensorflow_runtime_gpu_required"]) == ("nvidia", True)
    assert shown["model_server_image"] == OURS and shown["__model_server_ours"] is True
    (server,) = shown["__model_server_servers"]
    assert server["runtime"] == "nvidia" and server["device_requests"] == []
    assert "--tensorflow_session_config_file=/etc/tfleet/session.pbtxt" in shown["__model_server_argv"]
    assert "--tfleet_bind_address=0.0.0.0" in shown["__model_server_argv"] and "--enable_grpc_healthcheck_service=true" in shown["__model_server_argv"]
    assert shown["model_server_free_memory"] == "2G"
    assert {mount["source"]: mount["read_only"] for mount in shown["__model_server_mounts"]} == {
        "/etc/tfleet": True, "/var/lib/tfleet/models": True, "/data/digits": True, "/var/lib/tfleet-model-server": False}
    assert shown["__model_server_check"].endswith("%s config check --kind KIND /dev/stdin < \"$0\"' %%s" % OURS)


def test_a_server_with_gpus_serves_with_the_official_image_and_the_client(tmp_path):
    shown = evaluated(tmp_path, {"kind": "gpu_server"}, model_server_backend="container", preflight_resolved={"image": SERVING}, model_server_gpu=[0, 1])
    assert shown["tensorflow_runtime_form"] == "client"
    assert shown["tensorflow_runtime_requirements"].endswith("runtime/requirements-client.txt")
    assert shown["model_server_image"] == SERVING and shown["__model_server_ours"] is False
    assert [server["grpc_port"] for server in shown["__model_server_servers"]] == [8500, 8510]
    assert shown["serving_smoke_addresses"] == [server["address"] for server in shown["__model_server_servers"]] == ["127.0.0.1:8500", "127.0.0.1:8510"]
    assert not [flag for flag in shown["__model_server_argv"] if "tfleet_" in flag]
    assert shown["__model_server_check"] == "/opt/tfleet/venv/bin/tfleet config check --kind KIND %s"
    assert all(mount["read_only"] for mount in shown["__model_server_mounts"])


def test_an_image_that_has_no_python_is_never_built_on(tmp_path):
    shown = evaluated(tmp_path, {"kind": "cpu_server"}, model_server_backend="container", tfleet_runtime_image=OURS,
                      preflight_resolved={"image": "docker.io/tensorflow/serving:2.17.0"})
    assert shown["tensorflow_runtime_image_base"] == "" and shown["tensorflow_runtime_gpu_required"] is False


def test_a_jetson_without_docker_gets_the_wheel_for_its_l4t(tmp_path):
    url = "https://example.net/tensorflow-2.7.0%2Bnv22.1-cp36-cp36m-linux_aarch64.whl"
    shown = evaluated(tmp_path, JETSON, model_server_backend="systemd", preflight_resolved={"image": None, "wheel": {"url": url}})
    assert shown["tensorflow_runtime_form"] == "environment" and shown["tensorflow_runtime_wheel"] == url
    assert shown["__model_server_argv"][:2] == ["/opt/tfleet/venv/bin/tfleet", "serve"]


def test_without_a_word_the_unit_runs_our_server_from_its_environment(tmp_path):
    shown = evaluated(tmp_path)
    assert shown["tensorflow_runtime_form"] == "environment" and shown["tensorflow_runtime_requirements"].endswith("runtime/requirements.txt")
    assert shown["tensorflow_runtime_gpu_required"] is False and shown["__model_server_ours"] is True
    assert "--tfleet_bind_address=127.0.0.1" in shown["__model_server_argv"]
    assert not [flag for flag in shown["__model_server_argv"] if "session_config" in flag or "gpu_memory" in flag]


def test_tensorflow_servings_own_server_gets_none_of_our_flags_and_no_subcommand(tmp_path):
    shown = evaluated(tmp_path, model_server_program="tensorflow-model-server", tfleet_listen_address="0.0.0.0", model_server_gpu_memory_fraction=0.5)
    assert shown["tensorflow_runtime_form"] == "client"
    assert shown["__model_server_argv"][0] == "/usr/bin/tensorflow_model_server"
    assert all(flag.startswith("--") and "tfleet_" not in flag for flag in shown["__model_server_argv"][1:])
    assert "--per_process_gpu_memory_fraction=0.5" in shown["__model_server_argv"]


@pytest.mark.parametrize("role, variables, words", [
    ("model_server", {"model_server_backend": "container"}, "no image is known for this host. Set tfleet_runtime_image"),
    ("model_server", {"tfleet_runtime_image": OURS}, "Set model_server_backend to container"),
    ("model_server", {"model_server_program": "tensorflow-model-server"}, "tfleet_listen_address is 127.0.0.1"),
    ("model_server", {"model_server_program": "tensorflow-model-server", "model_server_backend": "embedded"}, "for model_server_backend systemd only"),
    ("tensorflow_runtime", {"tfleet_runtime_image": OURS}, "tensorflow_runtime_image_base is empty"),
    ("tensorflow_runtime", {"tfleet_runtime_image": OURS, "tensorflow_runtime_image_source": "pull"}, "tensorflow_runtime_image_reference is empty"),
    ("tensorflow_runtime", {"tfleet_runtime_image": OURS, "tensorflow_runtime_image_source": "archive", "tensorflow_runtime_image_archive": "/x.tar"},
     "Name the file and its sha256"),
    ("tensorflow_runtime", {"model_server_backend": "container"}, "there is no official serving image for it"),
])
def test_variables_that_do_not_belong_together_are_refused_with_what_to_write(tmp_path, role, variables, words):
    code, output = play(tmp_path, {}, variables, [{"ansible.builtin.include_role": {"name": f"tfleet.serving.{role}", "tasks_from": "variables"}}])
    assert code != 0
    assert words in " ".join(output.split()), output


# ---- what fetches on the hosts ----
def test_the_proxies_of_the_fleet_reach_pip_and_builds_unless_the_role_has_its_own(tmp_path):
    proxies, own = {"https_proxy": "http://proxy.example.net:3128"}, {"PIP_INDEX_URL": "https://pip.example.net/simple"}
    assert evaluated(tmp_path)["tensorflow_runtime_environment"] == {}
    assert evaluated(tmp_path, tfleet_proxy_environment=proxies)["tensorflow_runtime_environment"] == proxies
    assert evaluated(tmp_path, tfleet_proxy_environment=proxies, tensorflow_runtime_environment=own)["tensorflow_runtime_environment"] == own


# ---- the package of the hosts, built on the controller ----
@pytest.mark.parametrize("says, remedy", [("error: invalid command 'bdist_wheel'", True), ("error: disk full", False)], ids=["no wheel", "another reason"])
def test_a_package_that_is_not_built_says_what_the_environment_lacks(tmp_path, says, remedy):
    source = tmp_path / "source"
    source.mkdir()
    (source / "setup.py").write_text(f"raise SystemExit({says!r})\n")
    variables = {"tensorflow_runtime_source": str(source), "tensorflow_runtime_work_dir": str(tmp_path / "work")}
    code, output = play(tmp_path, {}, variables, [{"ansible.builtin.include_tasks": str(CHECKOUT / "roles/tensorflow_runtime/tasks/package.yml")}])
    assert code == 2 and "The package tfleet was not built on the controller." in output and says in output
    assert ("-m pip install setuptools==80.9.0 wheel==0.48.0`" in " ".join(output.split())) is remedy
