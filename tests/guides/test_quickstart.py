"""docs/quickstart.md as a newcomer follows it: its files are written, its commands run in their order. The device is this machine, without root."""

import re
import shutil

import live_server
import pytest
from pages import CHECKOUT, COMMANDS

PAGE = CHECKOUT / "docs/quickstart.md"
STORY = [command for command in COMMANDS if command.page == "docs/quickstart.md" and command.runs and "YOUR.jpg" not in command.text]


@pytest.fixture(scope="module")
def device(place):
    """The page's inventory, for this machine and the embedded backend; and what makes `edge-1` this machine."""
    grpc, rest = live_server.free_ports(2)
    work = place.root / ".tfleet"
    options = {
        "ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}", "model_server_backend": "embedded",
        "tensorflow_runtime_state": "provided", "tfleet_runtime": CHECKOUT / ".venv/bin/tfleet", "tfleet_config_dir": work / "serving",
        "tfleet_models_root": work / "models", "tfleet_listen_address": "127.0.0.1", "tfleet_grpc_port": grpc, "tfleet_rest_port": rest,
    }  # fmt: skip
    place.more["ansible-playbook"] = [word for name, value in options.items() for word in ("-e", f"{name}={value}")]
    place.stand_ins.append((r"^edge-1:8500$", f"127.0.0.1:{grpc}"))
    shutil.rmtree(place.root / "inventories/mine", ignore_errors=True)
    for name, content in re.findall(r"^`(inventories/[^`]+)`:\n\n```yaml\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE):
        path = place.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("---\n" + content.replace("/srv/", f"{place.root}/srv/"))
    yield place
    if (work / "serving/server.pid").exists():
        place.run(["ansible-playbook", "-i", "inventories/mine", "playbooks/stop.yml"])
    del place.more["ansible-playbook"]


def test_the_page_has_a_story():
    assert len(STORY) >= 9


@pytest.mark.parametrize("command", STORY, ids=lambda command: f"line {command.line}")
def test_step(command, device):
    said = device.run(command.words)
    if "site.yml" in command.text and "--check" not in command.text:
        assert '"ok": true' in said
    if "--annotate" in command.text:
        assert (device.root / "belt.png").stat().st_size > 10000
    if "status.yml" in command.text:
        assert "AVAILABLE" in said
