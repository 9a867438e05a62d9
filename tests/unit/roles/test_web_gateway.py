"""What the role web_gateway makes of an inventory's variables, evaluated by Ansible itself; nothing is started."""

import http.server
import json
import os
import pathlib
import socketserver
import subprocess
import sys
import threading

import numpy as np
import pytest
import yaml

from tfleet.client import declaration
from tfleet.gateway import settings

CHECKOUT = pathlib.Path(__file__).parents[3]
ROLE = CHECKOUT / "roles/web_gateway"
DETECTOR = str(CHECKOUT / "models/digits_detector/label_map.json")
MODELS = [
    {"name": "digits", "labels": {"stable": 1, "canary": 2}, "releases": [{"version": 1, "label_map": None}, {"version": 2, "label_map": None}]},
    {"name": "digits_detector", "labels": {"stable": 1}, "releases": [{"version": 1, "label_map": "/old.json"}, {"version": 2, "label_map": DETECTOR}]},
]


def play(tmp_path, tasks, **variables):
    """Runs tasks with the role's variables on this machine; (exit code, output)."""
    playbook = [{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks,
                 "vars_files": [str(ROLE / "defaults/main.yml"), str(ROLE / "vars/main.yml")]}]
    path = tmp_path / "play.yml"
    path.write_text(yaml.safe_dump(playbook))
    extra = {"role_path": str(ROLE), "ansible_python_interpreter": sys.executable, "preflight_models": MODELS, **variables}
    done = subprocess.run(
        [str(pathlib.Path(sys.executable).parent / "ansible-playbook"), "-i", "localhost,", "-e", json.dumps(extra), str(path)],
        env={**os.environ, "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"), "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default", "ANSIBLE_NOCOLOR": "1"},
        cwd=CHECKOUT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def written(tmp_path):
    """written(**variables) -> the settings that the role would write, as the gateway reads them."""

    def render(**variables):
        target = tmp_path / "gateway.json"
        (copy,) = [task for task in yaml.safe_load((ROLE / "tasks/configure.yml").read_text()) if task["name"].startswith("Copy the label maps")]
        code, output = play(
            tmp_path,
            [copy,
             {"ansible.builtin.template": {"src": str(ROLE / "templates/gateway.json.j2"), "dest": str(target), "mode": "0600"}}],
            web_gateway_config_dir=str(tmp_path), __web_gateway_owned=False, **variables)  # fmt: skip
        assert code == 0, output
        return settings.load(str(target))

    return render


def test_all_models_are_offered_with_their_labels_and_the_newest_label_map(written, tmp_path):
    found = written(model_server_backend="container", model_server_gpu=[0, 1])
    assert found.servers == ("127.0.0.1:8500", "127.0.0.1:8510") and found.listen == ("127.0.0.1", 8502)
    assert [(model.name, model.labels, model.label_map) for model in found.models] == [
        ("digits", ("canary", "stable"), None), ("digits_detector", ("stable",), str(tmp_path / "digits_detector.label_map.json"))]
    assert (tmp_path / "digits_detector.label_map.json").read_text() == pathlib.Path(DETECTOR).read_text()
    assert found.token_file is None


def test_everything_can_be_said(written, tmp_path):
    declaration = tmp_path / "how.json"
    declaration.write_text('{"preprocessing": {"size": [300, 300]}}')
    found = written(
        web_gateway_token="x" * 20, web_gateway_listen_address="::", web_gateway_port=8600, web_gateway_servers=["a:1", "b:2"],
        web_gateway_proxy_addresses=["10.0.0.0/8"], web_gateway_proxy_user_header="X-User", web_gateway_settings={"rate": 2, "at_once": 1},
        web_gateway_models=[{"name": "m", "labels": ["s"], "min_score": 0.2, "declaration": str(declaration)}])  # fmt: skip
    assert found.listen == ("::", 8600) and found.servers == ("a:1", "b:2") and (found.rate, found.at_once) == (2, 1)
    assert found.token_file == str(tmp_path / "token") and found.proxy_user_header == "X-User"
    assert found.models[0].declaration == str(tmp_path / "m.declaration.json") and found.models[0].min_score == 0.2


def test_the_files_that_a_declaration_names_come_with_it(written, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    np.save(source / "boxes.npy", np.float32([[0, 0, 1, 1], [0, 0, 0.5, 0.5]]))
    (source / "token").write_text("bolt\nnut\n")
    (source / "ssd.json").write_text(json.dumps({"decoder": {"kind": "ssd", "anchors": "boxes.npy"}, "labels": "token"}))
    declarations = {"raw": CHECKOUT / "models/digits_detector/raw.json", "ssd": source / "ssd.json"}
    found = written(web_gateway_models=[{"name": name, "declaration": str(path)} for name, path in declarations.items()])
    raw, ssd = [declaration.load(model.declaration) for model in found.models]
    assert raw.suppression == declaration.load(str(declarations["raw"])).suppression and raw.decoder.kind == "boxes"
    assert pathlib.Path(raw.labels).read_text() == pathlib.Path(DETECTOR).read_text()
    assert ssd.decoder.anchors.tolist() == [[0, 0, 1, 1], [0, 0, 0.5, 0.5]]
    assert pathlib.Path(ssd.labels).parent == tmp_path and pathlib.Path(ssd.labels).read_text() == "bolt\nnut\n"
    assert not (tmp_path / "token").exists()


@pytest.mark.parametrize("variables, said", [
    ({"web_gateway_listen_address": "0.0.0.0"}, "would answer everybody who reaches 0.0.0.0"),
    ({"web_gateway_listen_address": "0.0.0.0", "web_gateway_proxy_user_header": "X-User"}, "would answer everybody"),
    ({"preflight_models": []}, "there are no models"),
    ({"web_gateway_token": "a-long-and-good-token\nshort"}, "token of at least 16 characters"),
    ({"web_gateway_token": " \n"}, "token of at least 16 characters"),
])  # fmt: skip
def test_what_nobody_should_have_is_refused_before_anything_is_changed(tmp_path, variables, said):
    code, output = play(tmp_path, [{"ansible.builtin.include_tasks": str(ROLE / "tasks/variables.yml")}], **variables)
    assert code != 0 and said in " ".join(output.split()) and "a-long-and-good-token" not in output


def test_two_tokens_are_good(tmp_path):
    code, output = play(tmp_path, [{"ansible.builtin.include_tasks": str(ROLE / "tasks/variables.yml")}], web_gateway_token="\n".join(["x" * 16, "", "y" * 20]))
    assert code == 0, output


@pytest.fixture
def stranger():
    """The port of somebody else who answers as a gateway does."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_words):
            pass

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.mark.parametrize("tasks, said", [("container", "Something listens on port"), ("wait", "Something answers at")])
def test_somebody_elses_gateway_is_not_taken_for_the_container(tmp_path, stranger, tasks, said):
    # Whether Docker is here or not: it has no such container.
    looked = {"ansible.builtin.set_fact": {"__web_gateway_container_before": {"stdout": ""}}}
    code, output = play(tmp_path, [looked, {"ansible.builtin.include_tasks": str(ROLE / f"tasks/{tasks}.yml")}], web_gateway_backend="container",
                        web_gateway_container="tfleet-gateway-that-nobody-has", web_gateway_port=stranger)  # fmt: skip
    assert code != 0 and said in output


def test_what_the_runtime_is_told_does_not_follow_itself():
    (include,) = yaml.safe_load((ROLE / "tasks/runtime.yml").read_text())
    assert include["vars"] and not [name for name in include["vars"] if name in (ROLE / "defaults/main.yml").read_text()]
