"""One table and one document for the fleet."""

import json

from ansible_collections.tfleet.serving.plugins.module_utils.compatibility import resolve
from ansible_collections.tfleet.serving.plugins.module_utils.preflight_report import fleet_json, fleet_table, problems_by_host

from .device_tools import device


def host(name, found, problems=(), **arguments):
    return {"inventory_hostname": name, "tfleet_device": found, "preflight_resolved": resolve(found, **arguments), "preflight_problems": list(problems)}


def fleet(tmp_path):
    two = device("server-with-two-gpus", tmp_path / "two")
    return [
        host("line-1", device("nano-b01-4.6.1", tmp_path / "nano")),
        host("orin", device("agx-orin-64gb-6.2.1", tmp_path / "orin")),
        host("thor", device("thor-7.0", tmp_path / "thor"), ["There is no image."]),
        {"inventory_hostname": "gone"},
        {"inventory_hostname": "old", "preflight_problems": ["/usr/bin/python3 is Python 3.5.2."]},
        host("gateway", device("server-without-gpu", tmp_path / "cpu"), in_image=False),
        host("gpu", {**two, "gpus": [two["gpus"][0]] * 2}),
    ]


def test_table(tmp_path):
    lines = fleet_table(fleet_json(fleet(tmp_path))).splitlines()
    cells = {line.split()[0]: [cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines[:8]}
    assert cells["host"] == ["host", "device", "system", "TensorFlow", "runs in", "TF-TRT", "precisions"]
    assert cells["line-1"] == ["line-1", "Jetson Nano", "L4T 32.7.1 (JetPack 4.6.1)", "2.7.0", "l4t-tensorflow:r32.7.1-tf2.7-py3", "yes", "FP32, FP16"]
    assert cells["orin"][3:6] == ["?", "tensorflow:24.11-tf2-py3-igpu", "to be tried"]
    assert cells["thor"][1:] == ["Jetson Thor p3834-0008", "L4T 38.2.0 (JetPack 7.0)", "?", "no image", "no", "FP32, FP16, INT8"]
    assert cells["gateway"][1:] == ["x86_64, no GPU", "-", "as pinned", "an environment", "no", "-"]
    assert cells["gpu"][1:] == ["2 x NVIDIA A100-PCIE-40GB", "driver 535.183.01", "2.17.0", "serving:2.17.0-gpu", "yes", "?"]
    assert cells["gone"] == ["gone", "not reached"]
    assert cells["old"] == ["old", "not understood, see below"]
    assert "* thor: There is no image." in lines
    assert "* old: /usr/bin/python3 is Python 3.5.2." in lines
    assert lines.index("Problems") < lines.index("Notes")
    assert all(line == line.rstrip() for line in lines)


def test_a_fleet_without_problems_has_no_such_heading(tmp_path):
    assert fleet_table(fleet_json([fleet(tmp_path)[5]])).splitlines()[2:] == []


def test_document(tmp_path):
    found = json.loads(json.dumps(fleet_json(fleet(tmp_path))))
    assert [entry["host"] for entry in found] == ["gateway", "gone", "gpu", "line-1", "old", "orin", "thor"]
    by_host = {entry["host"]: entry for entry in found}
    assert by_host["gone"] == {"host": "gone", "reached": False, "device": None, "decision": None, "problems": []}
    assert by_host["line-1"]["decision"]["hardware_class"] == "nano_l4t-32.7.1_trt-8.2.1_tf-2.7.0"
    assert by_host["thor"]["problems"] == ["There is no image."]


def test_a_sentence_about_many_hosts_is_said_once():
    hosts = [{"inventory_hostname": f"nano-{number}", "preflight_problems": ["No."]} for number in range(300)] + [{"inventory_hostname": "gone"}]
    assert problems_by_host(hosts, "preflight_problems") == ["nano-0, nano-1, nano-2, nano-3, nano-4 and 295 more: No."]
