"""The modules on a Python 3.6 target under ansible-core 2.16, against a model server on TensorFlow 1.15: JetPack 4.

The tests are steps of one deployment, in the order of the file; each step does its change, then finds nothing left to do.
"""

import contextlib
import json
import os

import pytest
import yaml

from ..conformance.live_server import free_ports
from ..fixtures.devices import build as trees
from ..unit.plugins.system_tree import Tree
from .conftest import CHECKOUT, run

DIGITS = CHECKOUT / "models/digits/1"
SIGNATURES = {"serving_default": {"inputs": {"images": "images:0"}, "outputs": {"scores": "scores:0", "classes": "classes:0"}}}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("device")


@pytest.fixture(scope="module")
def environment(core, place):
    """Environment variables of ansible-core 2.16 with nothing but this collection."""
    environment = {
        **os.environ,
        "PATH": f"{core}/bin:{os.environ['PATH']}",
        "ANSIBLE_HOME": str(place / "ansible"),
        "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / ".ansible/collections"),
        "ANSIBLE_CONFIG": str(place / "ansible.cfg"),
    }
    (place / "ansible.cfg").touch()
    assert "core 2.16" in run(core / "bin/ansible", "--version", env=environment)
    return environment


@pytest.fixture(scope="module")
def ansible(core, tensorflow_1, place, environment):
    """A function that runs one module of the collection on the target and returns its result."""

    def call(module, check=False, **arguments):
        mode = ["--check"] if check else []
        run(
            core / "bin/ansible", "localhost", "--inventory", "localhost,", "--connection", "local", "--diff", *mode,
            "--extra-vars", f"ansible_python_interpreter={tensorflow_1}/bin/python",
            "--module-name", f"tfleet.serving.{module}", "--args", json.dumps(arguments), "--tree", place / "results",
            cwd=place, env={**environment, "PATH": f"{core}/bin:{os.environ['PATH']}"},
        )  # fmt: skip
        return json.loads((place / "results/localhost").read_text())

    return call


@pytest.fixture(scope="module")
def tfleet(tensorflow_1):
    return str(tensorflow_1 / "bin/tfleet")


@pytest.fixture(scope="module")
def server(ansible, place, tfleet):
    """What model_server_process is told; the ports are chosen once. A step that fails leaves no server behind."""
    grpc_port, rest_port = free_ports(2)
    yield {
        "argv": [
            tfleet, "serve", f"--port={grpc_port}", f"--rest_api_port={rest_port}", f"--model_config_file={place}/model.config",
            "--allow_version_labels_for_unavailable_models=true", "--tfleet_bind_address=127.0.0.1", "--file_system_poll_wait_seconds=1",
        ],
        "pid_file": f"{place}/server.pid",
        "log_file": f"{place}/server.log",
        "ports": [grpc_port, rest_port],
    }  # fmt: skip
    ansible("model_server_process", state="stopped", pid_file=f"{place}/server.pid")


@pytest.fixture(scope="module")
def address(server):
    return f"127.0.0.1:{server['ports'][0]}"


def changes_once(ansible, module, **arguments):
    """Check mode announces the change, the run makes it, and the next two see nothing to do."""
    assert ansible(module, check=True, **arguments)["changed"]
    result = ansible(module, **arguments)
    assert result["changed"]
    assert not ansible(module, check=True, **arguments)["changed"]
    assert not ansible(module, **arguments)["changed"]
    return result


@contextlib.contextmanager
def on_the_path(directory):
    """Have the modules find their commands in ``directory`` first."""
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{directory}:{before}"
    try:
        yield
    finally:
        os.environ["PATH"] = before


def test_saved_model_from_a_frozen_graph(ansible, place, tfleet):
    result = changes_once(ansible, "saved_model", runtime=tfleet, src=str(DIGITS / "frozen_graph.pb"), dest=f"{place}/saved_model", signatures=SIGNATURES)
    assert result["signatures"]["serving_default"]["inputs"]["images"]["dtype"]


def test_saved_model_info_of_both_forms(ansible, place, tfleet):
    graph = ansible("saved_model_info", runtime=tfleet, path=str(DIGITS / "frozen_graph.pb"))
    assert "images:0" in [tensor["name"] for tensor in graph["candidates"]["inputs"]]
    model = ansible("saved_model_info", runtime=tfleet, path=f"{place}/saved_model")
    assert set(model["meta_graphs"][0]["signatures"]) == {"serving_default"}


def test_model_release(ansible, place):
    result = changes_once(ansible, "model_release", src=f"{place}/saved_model", dest=f"{place}/digits-1.tar", model="digits", version=1)
    assert result["manifest"]["version"] == 1


def test_model_version(ansible, place):
    (place / "models/digits").mkdir(parents=True)
    result = changes_once(ansible, "model_version", base_path=f"{place}/models/digits", model="digits", version=1, src=f"{place}/digits-1.tar")
    assert result["versions"] == [1]
    assert (place / "models/digits/1/saved_model.pb").exists()


def test_model_server_process(ansible, place, server):
    (place / "model.config").write_text(
        'model_config_list { config { name: "digits" base_path: "%s/models/digits" model_platform: "tensorflow"\n'
        '  version_labels { key: "stable" value: 1 } } }\n' % place
    )
    assert changes_once(ansible, "model_server_process", **server)["pid"]


def test_model_server_info(ansible, place, address, tfleet):
    result = ansible(
        "model_server_info", runtime=tfleet, address=address, config_file=f"{place}/model.config", wait=[{"name": "digits", "version": 1}], timeout=60
    )
    assert result["models"]["digits"]["versions"][0]["state"] == "AVAILABLE"


@pytest.mark.parametrize("target", [{"version": 1}, {"label": "stable"}])
def test_grpc_predict_against_the_golden_outputs(ansible, address, tfleet, target):
    result = ansible("grpc_predict", runtime=tfleet, address=address, model="digits", golden=str(DIGITS / "golden.npz"), **target)
    assert (result["version"], result["changed"]) == (1, False)


def test_model_server_reload(ansible, place, address, tfleet):
    config = place / "model.config"
    config.write_text(config.read_text().replace("stable", "canary"))
    ansible("model_server_reload", runtime=tfleet, address=address, config_file=str(config))
    assert ansible("grpc_predict", runtime=tfleet, address=address, model="digits", label="canary", golden=str(DIGITS / "golden.npz"))["version"] == 1


def test_model_server_process_stopped(ansible, server):
    changes_once(ansible, "model_server_process", state="stopped", pid_file=server["pid_file"])


@pytest.fixture(scope="module")
def nano(place):
    """Variables of a Jetson Nano with JetPack 4.6.1 that is made of files."""
    tree = trees.build(trees.TABLE["devices"]["nano-b01-4.6.1"], place / "nano")
    return {**{f"{root}_root": str(tree / root) for root in ("proc", "sys", "etc", "var")}, "command_path": [str(tree / "bin")]}


def test_jetson_facts(ansible, nano):
    device = ansible("jetson_facts", **nano)["ansible_facts"]["tfleet_device"]
    assert (device["module"], device["jetpack"], device["power"]["mode"], device["largest_free_blocks"]) == ("nano", "4.6.1", "5W", 2)


def test_the_collector_of_monitoring(tensorflow_1, place, nano):
    """As its timer runs it on JetPack 4, from the files that the role installs."""
    library = place / "library/ansible_collections/tfleet/serving/plugins/module_utils"
    library.mkdir(parents=True)
    for name in yaml.safe_load((CHECKOUT / "roles/monitoring/vars/main.yml").read_text())["__monitoring_collector_modules"]:
        (library / f"{name}.py").write_text((CHECKOUT / f"plugins/module_utils/{name}.py").read_text())
    run(tensorflow_1 / "bin/python", "-m", "ansible_collections.tfleet.serving.plugins.module_utils.monitoring_collector",
        "--output", place / "tfleet.prom", "--model-config", place / "none", *[f"--{root}-root={nano[root + '_root']}" for root in ("proc", "sys", "etc")],
        cwd=place, env={"PATH": f"{nano['command_path'][0]}:/usr/bin:/bin", "PYTHONPATH": str(place / "library")})
    page = (place / "tfleet.prom").read_text()
    for sample in ('power_rail_watts{rail="POM_5V_IN"} 1.75', 'power_mode_info{mode="5W"} 1', 'thermal_zone_celsius{zone="CPU-therm"} 41.5'):
        assert f"\ntfleet_{sample}\n" in page


def test_preflight_of_a_jetpack_4_host(core, tensorflow_1, place, environment, nano):
    """On the ansible-core that manages it, such a host has nothing in the way; values that are known only later are no mistakes."""
    host = {f"jetson_facts_{name}": value for name, value in nano.items()}
    host.update(model_server_memory_max="{{ ansible_facts.memtotal_mb }}M", model_server_start_timeout="{{ known_later }}")
    common = {"ansible_connection": "local", "ansible_python_interpreter": f"{tensorflow_1}/bin/python", "ansible_become": False,
              "model_server_backend": "container", "tfleet_work_dir": str(place / "work")}  # fmt: skip
    (place / "hosts.json").write_text(json.dumps({"all": {"vars": common, "children": {"jetsons": {"hosts": {"nano": host}}}}}))
    run(core / "bin/ansible-playbook", "-i", place / "hosts.json", CHECKOUT / "playbooks/preflight.yml", cwd=place, env=environment)
    found = json.loads((place / "work/reports/preflight.json").read_text())[0]
    assert found["problems"] == []
    assert found["decision"]["image"] == "nvcr.io/nvidia/l4t-tensorflow:r32.7.1-tf2.7-py3"


# ---- a Jetson's memory and power, on trees and real files (the swap of this machine is left alone) ----
def test_nvpmodel(ansible, place):
    device = place / "jetson"
    (device / "etc").mkdir(parents=True)
    for name in ("nvpmodel", "nvpmodel.conf"):
        text = (CHECKOUT / "tests/system/device" / name).read_text()
        text = text.replace("/etc/nvpmodel.conf", f"{device}/etc/nvpmodel.conf").replace("/var/lib/nvpmodel/status", f"{device}/status")
        (device / ("etc/nvpmodel.conf" if name.endswith("conf") else name)).write_text(text)
    (device / "nvpmodel").chmod(0o755)
    (device / "status").write_text("pmode:0000 fmode:quiet\n")
    arguments = {"etc_root": f"{device}/etc", "record_dir": f"{device}/originals"}
    with on_the_path(device):
        assert changes_once(ansible, "nvpmodel", mode="MAXN_SUPER", **arguments)["mode"] == "MAXN_SUPER"
        assert ansible("nvpmodel", mode="7W", **arguments)["reboot_required"]
        changes_once(ansible, "nvpmodel", state="original", **arguments)


def test_swapfile_and_zram(ansible, place):
    tree = Tree(place / "host")
    (tree.root / "etc/fstab").write_text("UUID=1 / ext4 defaults 0 1\n")
    (tree.root / "etc/default/zramswap").write_text("PERCENT=50\n")
    (tree.root / "etc/systemd/system/zramswap.service").write_text("[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n")
    with on_the_path(tree.root / "bin"):
        swap = {"path": f"{tree.root}/disk/swapfile", "keep_free_percent": 0, **tree.roots}
        assert changes_once(ansible, "swapfile", size="8M", **swap)["active"]
        changes_once(ansible, "swapfile", size="16M", **swap)
        changes_once(ansible, "swapfile", state="original", **swap)
        zram = {"sys_root": f"{tree.root}/sys", **tree.roots}
        assert changes_once(ansible, "zram", size="1G", **zram)["manager"] == "zram-tools"
        assert ansible("zram", state="gathered", **zram)["size_bytes"] == 1 << 30
        changes_once(ansible, "zram", state="original", **zram)
