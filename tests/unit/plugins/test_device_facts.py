"""What devices of every kind say of themselves, the strange ones included."""

import json

import pytest
from ansible_collections.tfleet.serving.plugins.module_utils import hardware_data
from ansible_collections.tfleet.serving.plugins.module_utils.device_identity import identify
from ansible_collections.tfleet.serving.plugins.module_utils.hardware_data import number

from .device_tools import DEVICES, device, observe, trees

JETSON = "agx-orin-64gb-6.2.1"
RELEASES = hardware_data.load("l4t")["releases"]

# facts/jetson.md, section 2c: every element of the table, and those that name the module's half on a carrier of somebody else.
ELEMENTS = [
    ("tegra210", "tx1", None, ["p2371-2180", "jetson-cv"]),
    ("tegra186", "tx2", None, ["p2771-0000", "p2771-0888", "p3489-0000", "lightning", "quill", "storm", "p9999-0000+p3310-1000"]),
    ("tegra186", "tx2-nx", None, ["p3509-0000+p3636-0001"]),
    ("tegra210", "nano", None, ["p3450-0000", "p3450-0002", "jetson-nano", "p3449-0000-b00+p3448-0000-b00", "p9999-0000+p3448-0002"]),
    ("tegra210", "nano", "2GB", ["p9999-0000+p3448-0003"]),
    ("tegra194", "agx-xavier", None, ["p2972-0000", "p2972-0006", "jetson-xavier", "galen-industrial", "jetson-xavier-industrial", "p9999-0000+p2888-0004"]),
    ("tegra194", "xavier-nx", None, ["p3509-0000+p3668-0000", "p3509-0000+p3668-0001", "p3449-0000+p3668-0000", "p3449-0000+p3668-0001"]),
    ("tegra194", "xavier-nx", "16GB", ["p3449-0000+p3668-0003"]),
    ("tegra234", "agx-orin", None, ["p3737-0000+p3701-0000", "p3737-0000+p3701-0001"]),
    ("tegra234", "agx-orin", "32GB", ["p3737-0000+p3701-0004"]),
    ("tegra234", "agx-orin", "64GB", ["p3737-0000+p3701-0005"]),
    ("tegra234", "agx-orin", "industrial", ["p3737-0000+p3701-0008"]),
    ("tegra234", "orin-nx", "16GB", ["p3509-0000+p3767-0000", "p3768-0000+p3767-0000", "p3768-0000+p3767-0000-super"]),
    ("tegra234", "orin-nx", "8GB", ["p3768-0000+p3767-0001", "p3768-0000+p3767-0001-super"]),
    ("tegra234", "orin-nano", "p3767-0003", ["p3509-0000+p3767-0003", "p3768-0000+p3767-0003"]),
    ("tegra234", "orin-nano", "p3767-0004", ["p3768-0000+p3767-0004", "p3768-0000+p3767-0004-super"]),
    ("tegra234", "orin-nano", "p3767-0005", ["p3768-0000+p3767-0005", "p3768-0000+p3767-0005-super"]),
    ("tegra264", "thor", "p3834-0005", ["p3971-0050+p3834-0005"]),
    ("tegra264", "thor", "p3834-0008", ["p3971-0080+p3834-0008", "p3971-0089+p3834-0008", "p4071-0000+p3834-0008"]),
]  # fmt: skip


@pytest.mark.parametrize("name", DEVICES)
def test_device(name, tmp_path):
    found = device(name, tmp_path)
    assert {key: found[key] for key in DEVICES[name]["expect"]} == DEVICES[name]["expect"]
    for text in DEVICES[name].get("notes", []):
        assert any(text in note for note in found["notes"]), found["notes"]
    if "notes" not in DEVICES[name]:
        # The samples of tegrastats have words left out.
        assert [note for note in found["notes"] if not note.startswith("tegrastats: not understood: ...")] == []


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("source", ["file", "package"])
def test_every_release_is_found_by_its_file_and_by_its_package(release, source, tmp_path):
    major, _dot, revision = release.partition(".")
    soc = hardware_data.load("l4t")["generations"][major]["socs"][0]
    row = {"compatible": [f"nvidia,{soc}"]}
    if source == "file":
        row["release"] = f"# R{major} (release), REVISION: {revision}, GCID: 1, BOARD: generic, EABI: aarch64, DATE: Mon Jun  1 09:28:48 PM UTC 2026"
    else:
        row["package"] = f"{release}-20250918154033"
    found = device(row, tmp_path)
    assert (found["kind"], found["soc"], found["l4t"], found["jetpack"]) == ("jetson", soc, release, RELEASES[release]["jetpack"])
    assert [found[key]["expected"] for key in ("cuda", "tensorrt", "cudnn")] == [RELEASES[release][key] for key in ("cuda", "tensorrt", "cudnn")]


@pytest.mark.parametrize("soc, module, variant, element", [(*row[:3], element) for row in ELEMENTS for element in row[3]])
def test_module_by_its_compatible_element(soc, module, variant, element):
    assert identify([f"nvidia,{element}", f"nvidia,{soc}"]) == (soc, module, variant)
    # The list's order is the maker's business.
    assert identify([f"nvidia,{soc}", "nvidia,tegra23x", f"nvidia,{element}"]) == (soc, module, variant)


def test_every_module_has_an_element_here():
    assert {row[1] for row in ELEMENTS} == set(hardware_data.load("jetsons")["modules"])


@pytest.mark.parametrize("compatible", [[], ["nvidia,"], ["tegra234"], ["nvidia,p3767-0005"], ["nvidia,tegra23x"], ["other,p3701-0005", "nvidia,tegra9999"]])
def test_a_list_that_names_no_soc_names_no_module(compatible):
    assert identify(compatible) == (None, None, None)


def test_a_module_that_does_not_fit_the_soc_is_none():
    assert identify(["nvidia,p3450-0000", "nvidia,tegra234"]) == ("tegra234", None, None)


def test_the_device_tree_is_found_below_sys_too(tmp_path):
    trees.build(DEVICES[JETSON], tmp_path)
    (tmp_path / "sys/firmware/devicetree").mkdir(parents=True)
    (tmp_path / "proc/device-tree").rename(tmp_path / "sys/firmware/devicetree/base")
    assert observe(tmp_path)["compatible"] == DEVICES[JETSON]["compatible"]


def test_an_override_stands_in_for_an_unknown_release(tmp_path):
    found = device("unknown-release", tmp_path, l4t_override="36.4.7")
    assert (found["l4t"], found["l4t_known_as"], found["jetpack"]) == ("36.9.1", "36.4.7", "6.2.1")
    assert any("Treated like L4T 36.4.7 by preflight_l4t_override; the device itself tells 36.9.1" in note for note in found["notes"])


def test_an_override_that_is_unknown_itself_changes_nothing(tmp_path):
    found = device(JETSON, tmp_path, l4t_override="1.2.3")
    assert (found["l4t"], found["l4t_known_as"], found["jetpack"]) == ("36.4.7", None, None)


def test_only_the_first_line_of_the_release_file_counts(tmp_path):
    trees.build(DEVICES[JETSON], tmp_path)
    path = tmp_path / "etc/nv_tegra_release"
    path.write_text("# KERNEL_VARIANT: oot\n" + path.read_text())
    assert observe(tmp_path)["l4t_file"] is None


def test_installed_versions_are_those_of_the_packages(tmp_path):
    found = device("nano-b01-4.6.1", tmp_path)
    assert [found[key]["installed"] for key in ("cuda", "tensorrt", "cudnn")] == ["10.2.300", "8.2.1", "8.2.1.32"]


def test_a_removed_package_is_not_installed(tmp_path):
    trees.build(DEVICES[JETSON], tmp_path)
    trees.command(tmp_path, "dpkg-query", "echo 'libnvinfer8 8.2.1-1 config-files'\necho 'libnvinfer10 10.3.0.30-1 installed'")
    assert observe(tmp_path)["packages"] == {"libnvinfer10": "10.3.0.30-1"}


def test_without_a_package_manager_the_packages_are_unknown(tmp_path):
    trees.build(DEVICES[JETSON], tmp_path)
    (tmp_path / "bin/dpkg-query").unlink()
    assert observe(tmp_path)["packages"] is None


# ---- power ----
@pytest.mark.parametrize("name", [name for name, row in DEVICES.items() if "power" in row])
def test_power_modes_and_the_one_that_is_set(name, tmp_path):
    modes = trees.TABLE["power_modes"][DEVICES[name]["power"]]
    power = device(name, tmp_path)["power"]
    assert power["modes"] == [{"id": number, "name": mode} for number, mode in enumerate(modes)]
    assert (power["id"], power["mode"]) == (DEVICES[name]["mode"], modes[DEVICES[name]["mode"]])
    assert power["default_id"] == 0


@pytest.mark.parametrize("script", ["echo 'NVPM ERROR: must be root' >&2; exit 1", "read answer && exec sleep 600; exit 3", "exec sleep 600"])
def test_a_mode_that_nvpmodel_does_not_tell_is_read_from_its_state(script, tmp_path):
    trees.build(DEVICES["tx2-4.6.1"], tmp_path)
    trees.command(tmp_path, "nvpmodel", script)
    power = observe(tmp_path)["power"]
    assert (power["id"], power["mode"]) == (3, "MAXP_CORE_ARM")


def test_a_mode_that_nothing_tells_is_unknown_and_noted(tmp_path):
    trees.build(DEVICES["tx2-4.6.1"], tmp_path)
    trees.command(tmp_path, "nvpmodel", "echo 'NVPM ERROR: must be root' >&2; exit 1")
    (tmp_path / "var/lib/nvpmodel/status").unlink()
    found = observe(tmp_path)
    assert (found["power"]["id"], found["power"]["mode"]) == (None, None)
    assert found["notes"][0] == "nvpmodel -q did not tell the power mode, but said: NVPM ERROR: must be root."


# ---- memory ----
def test_memory_swap_and_zram(tmp_path):
    trees.build(DEVICES["nano-4.4"], tmp_path)
    (tmp_path / "proc/swaps").write_text(
        "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
        "/dev/zram0                              partition\t507360\t\t1024\t\t5\n"
        "/mnt/swap\\040file                       file\t\t4194300\t\t0\t\t-2\n"
        "what is this\n"
    )  # fmt: skip
    for name, size in (("zram0", "519536640"), ("zram1", "0")):
        (tmp_path / "sys/block" / name).mkdir(parents=True)
        (tmp_path / "sys/block" / name / "disksize").write_text(size + "\n")
        (tmp_path / "sys/block" / name / "comp_algorithm").write_text("lzo [lzo-rle] lz4 zstd\n")
    found = observe(tmp_path)
    assert found["memory"] == {"total_bytes": 8040512 * 1024, "available_bytes": 5240832 * 1024}
    assert found["swap"] == [
        {"path": "/dev/zram0", "type": "zram", "size_bytes": 507360 * 1024, "used_bytes": 1024 * 1024, "priority": 5},
        {"path": "/mnt/swap file", "type": "file", "size_bytes": 4194300 * 1024, "used_bytes": 0, "priority": -2},
    ]
    assert found["zram"] == [
        {"device": "/dev/zram0", "size_bytes": 519536640, "used_bytes": 1024 * 1024, "swap": True, "algorithm": "lzo-rle"},
        {"device": "/dev/zram1", "size_bytes": 0, "used_bytes": 0, "swap": False, "algorithm": "lzo-rle"},
    ]
    assert [note for note in found["notes"] if "what is this" in note]
    assert (found["largest_free_block_bytes"], found["largest_free_blocks"]) == (2 * 1024**2, 2)


# ---- health ----
def test_thermal_zones_without_those_that_are_off_refuse_or_lie(tmp_path):
    assert device(JETSON, tmp_path)["thermal"] == [
        {"zone": "CPU-therm", "celsius": 41.5, "critical_celsius": 96.5},
        {"zone": "GPU-therm", "celsius": 40.0, "critical_celsius": None},
    ]


def test_over_current_events_and_the_log_tell_of_throttling(tmp_path):
    trees.build(DEVICES[JETSON], tmp_path)
    other, monitor = tmp_path / "sys/class/hwmon/hwmon0", tmp_path / "sys/class/hwmon/hwmon10"
    for place, name in ((other, "ina3221"), (monitor, "soctherm_oc")):
        place.mkdir(parents=True)
        (place / "name").write_text(name + "\n")
    for counter, events in (("oc1", 0), ("oc2", 0), ("oc3", 7)):
        (monitor / f"{counter}_event_cnt").write_text(f"{events}\n")
    trees.command(tmp_path, "dmesg", "echo '[    9.1] soctherm: System throttled due to Over-current'")
    found = observe(tmp_path)
    assert found["over_current"] == {"oc1": 0, "oc2": 0, "oc3": 7}
    assert found["throttling"] == ["over-current oc3: 7 events", "kernel: System throttled due to Over-current (1 times)"]


def test_throttling_is_unknown_where_nothing_tells_and_empty_where_nothing_happened(tmp_path):
    trees.build(DEVICES[JETSON], tmp_path)
    assert observe(tmp_path)["throttling"] is None
    trees.command(tmp_path, "dmesg", "echo '[    9.1] all is well'")
    assert observe(tmp_path)["throttling"] == []


# ---- system ----
def test_default_target_by_its_link_else_by_systemctl(tmp_path):
    trees.build(DEVICES[JETSON], tmp_path)
    assert observe(tmp_path)["default_target"] is None
    trees.command(tmp_path, "systemctl", "echo graphical.target")
    assert observe(tmp_path)["default_target"] == "graphical.target"
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    (tmp_path / "etc/systemd/system/default.target").symlink_to("/lib/systemd/system/multi-user.target")
    assert observe(tmp_path)["default_target"] == "multi-user.target"


def test_docker_and_its_runtimes(tmp_path):
    trees.build(DEVICES[JETSON], tmp_path)
    assert observe(tmp_path)["docker"] == {"installed": False, "version": None, "runtimes": None, "default_runtime": None}
    told = {"ServerVersion": "27.5.1", "Runtimes": {"runc": {}, "nvidia": {}}, "DefaultRuntime": "nvidia"}
    trees.command(tmp_path, "docker", f"echo '{json.dumps(told)}'")
    assert observe(tmp_path)["docker"] == {"installed": True, "version": "27.5.1", "runtimes": ["nvidia", "runc"], "default_runtime": "nvidia"}


@pytest.mark.parametrize(
    "script, says",
    [
        ("echo 'permission denied while trying to connect' >&2; exit 1", "did not answer: permission denied"),
        ('echo \'{"ServerErrors": ["Cannot connect to the Docker daemon"]}\'; exit 1', "Cannot connect to the Docker daemon"),
        ("echo '[]'", "did not answer: []"),
        ("exec sleep 600", "did not answer within 1 seconds"),
    ],
)
def test_an_engine_that_does_not_answer_is_noted(script, says, tmp_path):
    trees.build(DEVICES[JETSON], tmp_path)
    trees.command(tmp_path, "docker", script)
    found = observe(tmp_path)
    assert found["docker"] == {"installed": True, "version": None, "runtimes": None, "default_runtime": None}
    assert any("docker is installed" in note and says in note for note in found["notes"])


def test_free_space_of_a_directory_that_is_not_there_yet(tmp_path):
    disk = device(JETSON, tmp_path)["disk"]
    assert disk["path"] == str(tmp_path / "var/lib/tfleet/models")
    assert 0 < disk["free_bytes"] <= disk["total_bytes"]


# ---- nothing makes it fail ----
def test_every_file_may_be_missing(tmp_path):
    found = observe(tmp_path)
    assert (found["jetson"], found["l4t"], found["memory"], found["swap"], found["zram"]) == (False, None, None, None, [])


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"\xff\xfe\xfd", b"9" * 5000, b"a: b: c\n" * 1000, b"\n\n\n"])
def test_every_file_may_hold_anything(content, tmp_path):
    row = {**DEVICES["tx2-4.6.1"], "pci": True}
    trees.build(row, tmp_path)
    for path in tmp_path.rglob("*"):
        if path.is_file() and "bin" not in path.parts and path.name != "arch":
            path.write_bytes(content)
    assert json.dumps(observe(tmp_path))


def test_gpus_of_a_server(tmp_path):
    found = device("server-with-gpu", tmp_path)
    assert found["gpus"] == [
        {"index": 0, "name": "NVIDIA RTX A4000", "uuid": "GPU-0b6f8e0a-1111-2222-3333-444455556666", "driver": "550.54.14",
         "memory_bytes": 16376 * 1024**2, "compute_capability": "8.6"},
    ]  # fmt: skip
    assert found["cuda"]["driver"] == "12.4"


@pytest.mark.parametrize("line", ["", "No devices were found", "0, a, b", "x, NVIDIA, GPU-1, 550, 1, 8.6", "0, NVIDIA, GPU-1, [N/A], [N/A], [N/A]"])
def test_strange_lines_of_nvidia_smi(line, tmp_path):
    found = device("server-with-gpu", tmp_path, gpus=[line])
    assert found["driver"] is None
    if "GPU-1, [N/A]" in line:
        assert found["gpus"] == [{"index": 0, "name": "NVIDIA", "uuid": "GPU-1", "driver": None, "memory_bytes": None, "compute_capability": None}]
    else:
        assert found["gpus"] == []
        assert not line or any(line in note for note in found["notes"])


def test_releases_are_compared_as_numbers():
    assert number("36.10.0") > number("36.9.0")
