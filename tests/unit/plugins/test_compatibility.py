"""What may run on which device: the selection of facts/jetson.md, section 3f, the rule of 3e, and every refusal with its way out."""

import copy
import pathlib
import re

import pytest
from ansible_collections.tfleet.serving.plugins.module_utils import hardware_data
from ansible_collections.tfleet.serving.plugins.module_utils.compatibility import known_image, l4t_fits, resolve, split_reference
from ansible_collections.tfleet.serving.plugins.module_utils.host_problems import core_problem, host_problems

from .device_tools import DEVICES, device

L4T_TENSORFLOW = "nvcr.io/nvidia/l4t-tensorflow:"
IGPU = "nvcr.io/nvidia/tensorflow:"
SOC_OF_GENERATION = {"32": "tegra186", "34": "tegra194", "35": "tegra194", "36": "tegra234", "38": "tegra264", "39": "tegra234"}


@pytest.fixture
def jetson(tmp_path):
    """``jetson(l4t)`` is tfleet_device of a Jetson with a release of L4T; of one that JetPack 4 needs it has TensorRT installed."""

    def make(l4t, soc=None, packages=None):
        row = {"package": f"{l4t}-20250101000000", "compatible": [f"nvidia,{soc or SOC_OF_GENERATION[l4t.split('.')[0]]}"],
               "packages": {"libnvinfer8": "8.2.1-1+cuda10.2"} if packages is None else packages}  # fmt: skip
        return device(row, tmp_path / f"{l4t}-{soc}")

    return make


@pytest.fixture
def named(tmp_path):
    """``named(name)`` is tfleet_device of a row of devices.yml."""
    return lambda name: device(name, tmp_path / name)


# ---- the image ----
@pytest.mark.parametrize(
    "l4t, tf2, tf1",
    [
        ("32.4.2", None, L4T_TENSORFLOW + "r32.4.2-tf1.15-py3"),
        ("32.4.3", L4T_TENSORFLOW + "r32.4.3-tf2.2-py3", L4T_TENSORFLOW + "r32.4.3-tf1.15-py3"),
        ("32.4.4", L4T_TENSORFLOW + "r32.4.4-tf2.3-py3", L4T_TENSORFLOW + "r32.4.4-tf1.15-py3"),
        ("32.5.0", L4T_TENSORFLOW + "r32.5.0-tf2.3-py3", L4T_TENSORFLOW + "r32.5.0-tf1.15-py3"),
        ("32.5.2", L4T_TENSORFLOW + "r32.5.0-tf2.3-py3", L4T_TENSORFLOW + "r32.5.0-tf1.15-py3"),
        ("32.6.1", L4T_TENSORFLOW + "r32.6.1-tf2.5-py3", L4T_TENSORFLOW + "r32.6.1-tf1.15-py3"),
        ("32.7.1", L4T_TENSORFLOW + "r32.7.1-tf2.7-py3", L4T_TENSORFLOW + "r32.7.1-tf1.15-py3"),
        ("32.7.6", L4T_TENSORFLOW + "r32.7.1-tf2.7-py3", L4T_TENSORFLOW + "r32.7.1-tf1.15-py3"),
        ("34.1.0", L4T_TENSORFLOW + "r34.1.0-tf2.8-py3", L4T_TENSORFLOW + "r34.1.0-tf1.15-py3"),
        ("34.1.1", L4T_TENSORFLOW + "r34.1.1-tf2.8-py3", L4T_TENSORFLOW + "r34.1.1-tf1.15-py3"),
        ("35.1.0", L4T_TENSORFLOW + "r35.1.0-tf2.9-py3", L4T_TENSORFLOW + "r35.1.0-tf1.15-py3"),
        ("35.2.1", L4T_TENSORFLOW + "r35.2.1-tf2.11-py3", L4T_TENSORFLOW + "r35.1.0-tf1.15-py3"),
        ("35.3.1", L4T_TENSORFLOW + "r35.3.1-tf2.11-py3", L4T_TENSORFLOW + "r35.1.0-tf1.15-py3"),
        ("35.6.4", L4T_TENSORFLOW + "r35.3.1-tf2.11-py3", L4T_TENSORFLOW + "r35.1.0-tf1.15-py3"),
        ("36.2.0", IGPU + "24.04-tf2-py3-igpu", None),
        ("36.3.0", IGPU + "24.04-tf2-py3-igpu", None),
        ("36.4.0", IGPU + "24.11-tf2-py3-igpu", None),
        ("36.5.2", IGPU + "24.11-tf2-py3-igpu", None),
        ("38.4.0", None, None),
        ("39.2.0", None, None),
    ],
)
def test_image_of_a_jetson(jetson, l4t, tf2, tf1):
    found = jetson(l4t)
    for major, image in ((2, tf2), (1, tf1)):
        decision = resolve(found, major)
        assert decision["image"] == image
        assert bool(decision["problems"]) is (image is None), decision["problems"]
        if image is None:
            assert f"no NVIDIA image with TensorFlow {major} for L4T {l4t}" in decision["problems"][0]
            assert resolve(found, major, in_image=False)["problems"] == []


@pytest.mark.parametrize(
    "name, image, tensorflow",
    [
        ("server-with-gpu", "docker.io/tensorflow/serving:2.17.0-gpu", "2.17.0"),
        ("server-without-gpu", "docker.io/tensorflow/serving:2.17.0", "2.17.0"),
    ],
)
def test_image_of_a_server(named, name, image, tensorflow):
    decision = resolve(named(name))
    assert (decision["image"], decision["tensorflow"], decision["problems"]) == (image, tensorflow, [])


def test_tensorflow_1_on_a_server_is_refused(named):
    assert "loads the SavedModels of TensorFlow 1" in resolve(named("server-with-gpu"), 1)["problems"][0]


def test_there_is_no_serving_image_for_an_arm_server(named):
    assert "are for x86_64 only, and this server is aarch64" in resolve(named("arm-server-with-gpu"))["problems"][0]


def test_a_pair_that_nobody_verified_says_so(jetson):
    assert "nobody verified" in resolve(jetson("36.4.7"))["notes"][0]
    assert "nobody verified" in resolve(jetson("35.4.1"), 1)["notes"][0]
    assert resolve(jetson("32.7.4"))["notes"] == []


def test_jetpack_4_takes_cuda_and_tensorrt_from_the_host(jetson):
    decision = resolve(jetson("32.7.4", packages={"libnvinfer8": "8.2.1-1+cuda10.2", "cuda-cudart-10-2": "10.2.300-1"}))
    assert (decision["tensorrt"], decision["cuda"], decision["python"]) == ("8.2.1", "10.2.300", "3.6")


@pytest.mark.parametrize("tensorflow", [0, 3, "2"])
def test_another_tensorflow_is_refused(jetson, tensorflow):
    assert resolve(jetson("36.4.7"), tensorflow)["problems"] == [f"TensorFlow {tensorflow} was asked for; write 1 or 2."]


# ---- an image that somebody named ----
@pytest.mark.parametrize(
    "reference, parts",
    [
        ("a/b:1", ("a/b", "1")),
        ("reg:5000/a/b", ("reg:5000/a/b", None)),
        ("reg:5000/a/b:1", ("reg:5000/a/b", "1")),
        ("a/b:1@sha256:00ff", ("a/b", "1")),
        ("a", ("a", None)),
    ],
)
def test_split_reference(reference, parts):
    assert split_reference(reference) == parts


def test_a_mirror_of_a_known_image_is_known():
    assert known_image("registry.example.net:5000/mirror/nvidia/l4t-tensorflow:r32.7.1-tf2.7-py3@sha256:00")[1]["tensorflow"] == "2.7.0"
    assert known_image("nvcr.io/nvidia/l4t-tensorflow:r99.1-tf2.7-py3") == (None, None)
    assert known_image("example.net/other/l4t-tensorflow-x:r32.7.1-tf2.7-py3") == (None, None)


@pytest.mark.parametrize(
    "host, image, fits",
    [
        ("38.2.0", "39.2.0", True),
        ("39.2.1", "38.4.0", True),
        ("39.2.0", "36.4.0", False),
        ("36.3.0", "36.2.0", True),
        ("36.3.0", "36.4.0", False),
        ("36.4.7", "36.4.0", True),
        ("36.5.0", "36.4.3", True),
        ("36.4.7", "36.3.0", False),
        ("35.6.4", "35.1.0", True),
        ("35.1.0", "34.1.1", False),
        ("34.1.1", "34.1.0", True),
        ("32.7.6", "32.7.1", True),
        ("32.7.1", "32.7.4", True),
        ("32.7.1", "32.6.1", False),
        ("32.6.1", "32.7.1", False),
        ("32.6.1", "32.6.1", True),
        ("32.5.2", "32.5.0", True),
        ("32.5.1", "32.4.4", False),
        ("32.4.4", "32.4.3", False),
    ],
)
def test_rule_for_container_and_host(host, image, fits):
    assert l4t_fits(host, image) is fits


@pytest.mark.parametrize(
    "l4t, image, says",
    [
        ("32.6.1", L4T_TENSORFLOW + "r32.7.1-tf2.7-py3", "was made for L4T 32.7.1 and cannot run on L4T 32.6.1"),
        ("36.4.7", L4T_TENSORFLOW + "r35.3.1-tf2.11-py3", "is for L4T 32 and L4T 34 and L4T 35, and this host has L4T 36.4.7 (JetPack 6.2.1)"),
        ("36.3.0", "registry.local/team/serving:r36.4.3-tf2.16", "was made for L4T 36.4.3 and cannot run on L4T 36.3.0"),
        ("39.2.0", IGPU + "25.02-tf2-py3-igpu", "is for L4T 36, and this host has L4T 39.2.0 (JetPack 7.2)"),
        ("32.7.1", "docker.io/tensorflow/serving:2.17.0-gpu", "is for x86_64 servers, and this host has L4T 32.7.1"),
        ("35.4.1", "dustynv/l4t-tensorflow:tf2-r32.7.1", "was made for L4T 32.7.1 and cannot run on L4T 35.4.1"),
    ],
)
def test_an_image_of_another_l4t_is_refused_with_the_right_one(jetson, l4t, image, says):
    found = jetson(l4t)
    problem = resolve(found, image=image)["problems"][0]
    assert says in problem
    right = [each for each in (resolve(found, major, in_image=False)["image"] for major in (2, 1)) if each]
    if right:
        assert f"Leave preflight_image out to get {' or '.join(right)}." in problem
    else:
        assert "There is none to take instead: Serve the native variant" in problem


def test_an_image_of_a_jetson_is_refused_on_a_server(named):
    assert "is for Jetsons" in resolve(named("server-with-gpu"), image=L4T_TENSORFLOW + "r35.3.1-tf2.11-py3")["problems"][0]


def test_an_own_image_is_taken_as_it_is(jetson):
    decision = resolve(jetson("39.2.0"), image="registry.local/team/tensorflow:2.20-cuda13")
    assert (decision["image"], decision["tensorflow"], decision["problems"]) == ("registry.local/team/tensorflow:2.20-cuda13", None, [])
    assert "is not known" in decision["notes"][0]


def test_an_image_with_a_newer_cuda_than_the_host_offers_is_noted(jetson, named):
    decision = resolve(jetson("36.4.7"), image=IGPU + "25.02-tf2-py3-igpu")
    assert decision["environment"] == {"NVIDIA_DISABLE_REQUIRE": "true"}
    assert "brings CUDA 12.8.0.38, and the host offers 12.6.68" in " ".join(decision["notes"])
    old = named("server-with-gpu")
    old["cuda"]["driver"] = "11.4"
    assert "install a newer driver" in " ".join(resolve(old)["notes"])
    assert resolve(named("server-with-gpu"))["notes"] == []


def test_an_image_that_is_chosen_and_not_described_names_the_file(jetson, monkeypatch):
    data = copy.deepcopy(hardware_data.load("containers"))
    del data["images"]["l4t-tensorflow"]["r32.7.1-tf2.7-py3"]
    monkeypatch.setattr(hardware_data, "load", lambda name: data)
    found = {"kind": "jetson", "l4t_known_as": "32.7.1", "precisions": [], "packages_known": False}
    with pytest.raises(hardware_data.DataError, match=r"data/containers\.yml: l4t-tensorflow:r32\.7\.1-tf2\.7-py3 is chosen"):
        resolve(found)


# ---- TF-TRT ----
def test_tf_trt_where_everything_is_known(jetson, named):
    assert resolve(jetson("35.4.1"))["tftrt"] == {"possible": True, "reason": None}
    assert resolve(named("server-with-gpu"))["tftrt"] == {"possible": True, "reason": None}
    assert resolve(jetson("32.7.1"))["tftrt"] == {"possible": True, "reason": None}


def test_tf_trt_with_tensorrt_10_needs_dynamic_shapes(jetson):
    tftrt = resolve(jetson("36.4.7"), image=IGPU + "25.02-tf2-py3-igpu")["tftrt"]
    assert tftrt["possible"] is True
    assert "dynamic shapes: TensorRT 10.8.0.43" in tftrt["reason"]


def test_tf_trt_of_an_unknown_image_is_to_be_tried(jetson):
    assert resolve(jetson("36.4.7"))["tftrt"]["possible"] is None
    assert resolve(jetson("36.4.7"), in_image=False)["tftrt"]["possible"] is None


@pytest.mark.parametrize(
    "name, arguments, reason",
    [
        ("server-without-gpu", {}, "has no NVIDIA GPU"),
        ("server-with-a-broken-driver", {}, "the GPU's driver does not answer"),
        ("agx-orin-7.2", {"in_image": False}, "no NVIDIA image of TensorFlow with TensorRT for JetPack 7"),
        ("thor-7.0", {"image": "registry.local/own:1"}, "no NVIDIA image of TensorFlow with TensorRT for JetPack 7"),
        ("server-with-gpu", {"image": "tensorflow/serving:2.17.0"}, "take its -gpu tag"),
        ("tx2-nx-4.6.4", {}, "no libnvinfer is installed there. Install the package nvidia-jetpack"),
    ],
)
def test_tf_trt_is_not_possible_and_why(named, name, arguments, reason):
    tftrt = resolve(named(name), **arguments)["tftrt"]
    assert tftrt["possible"] is False
    assert reason in tftrt["reason"]


def test_tf_trt_ends_with_tensorflow_2_17(jetson, monkeypatch):
    data = copy.deepcopy(hardware_data.load("containers"))
    data["images"]["l4t-tensorflow"]["r35.3.1-tf2.11-py3"]["tensorflow"] = "2.18.0"
    original = hardware_data.load
    monkeypatch.setattr(hardware_data, "load", lambda name, shape=None: data if name == "containers" else original(name, shape))
    assert resolve(jetson("35.4.1"))["tftrt"] == {"possible": False, "reason": "TensorFlow 2.18.0 has no TF-TRT; 2.17 is the last that has it"}


@pytest.mark.parametrize(
    "l4t, installed, says",
    [
        ("32.7.4", "7.1.3-1+cuda10.2", "linked with TensorRT 8.2.1, and the host has 7.1.3: the same major release is needed, not older"),
        ("32.7.4", "8.0.1-1+cuda10.2", "linked with TensorRT 8.2.1, and the host has 8.0.1"),
        ("32.7.4", "8.2.3-1+cuda10.2", "TensorFlow 2.7.0 fails then (has no attribute 'versionTupleToString')"),
        ("32.7.4", "8.2.1.8-1+cuda10.2", None),
        ("32.6.1", "8.0.3-1+cuda10.2", None),
    ],
)
def test_jetpack_4_needs_the_tensorrt_that_the_image_was_linked_with(jetson, l4t, installed, says):
    tftrt = resolve(jetson(l4t, packages={"libnvinfer8": installed}))["tftrt"]
    assert tftrt["possible"] is (says is None)
    assert says is None or says in tftrt["reason"]


# ---- precisions ----
@pytest.mark.parametrize("name", ["nano-b01-4.6.1", "tx2-4.6.1"])
def test_int8_is_refused_on_nano_and_tx2(named, name):
    found = named(name)
    assert resolve(found, precisions=["FP16"])["problems"] == []
    problem = resolve(found, precisions=["FP16", "INT8"])["problems"]
    capability = found["compute_capability"]
    assert problem == [f"INT8 is wanted, but the GPU (compute capability {capability}) has none in TensorRT. It has FP32 and FP16: take FP16."]


def test_int8_is_taken_on_xavier_and_orin(jetson):
    for l4t in ("35.4.1", "36.4.7"):
        assert resolve(jetson(l4t), precisions=["INT8"])["problems"] == []


def test_jetpack_7_with_tf_trt_is_refused(named):
    problem = resolve(named("agx-orin-7.2"), image="registry.local/own:1", precisions=["FP16"])["problems"]
    assert len(problem) == 1
    assert problem[0].startswith("TF-TRT with FP16 is wanted, but is not possible here: There is no NVIDIA image")
    assert "convert the model to ONNX" in problem[0]


# ---- what is unknown ----
def test_an_unknown_l4t_is_refused_naming_file_and_variable(named):
    decision = resolve(named("unknown-release"))
    assert decision["image"] is None
    assert "data/l4t.yml has no such release" in decision["problems"][0]
    assert "preflight_l4t_override" in decision["problems"][0]


def test_an_unreadable_l4t_is_refused(named):
    assert "cannot be read" in resolve(named("empty-release-file"))["problems"][0]


@pytest.mark.parametrize("row", ["agx-orin-64gb-6.2.1", "unknown-release", "empty-release-file"])
def test_an_override_for_a_release_that_is_not_there_is_refused_by_its_name(tmp_path, row):
    (problem,) = resolve(device(row, tmp_path, l4t_override="36.9"))["problems"]
    assert problem.startswith("preflight_l4t_override is 36.9, a release that ")
    assert problem.endswith("data/l4t.yml does not have. Name one that is there, such as 36.5.2.")


def test_an_override_makes_it_possible(tmp_path):
    decision = resolve(device("unknown-release", tmp_path, l4t_override="36.4.7"))
    assert (decision["image"], decision["problems"]) == (IGPU + "24.11-tf2-py3-igpu", [])


def test_a_gpu_without_a_driver_is_refused_where_tf_trt_is_wanted(named):
    # The driver may come later; the role nvidia_container_toolkit says what cures it.
    found = named("server-with-a-broken-driver")
    assert resolve(found)["problems"] == []
    assert "the GPU's driver does not answer" in resolve(found, precisions=["FP16"])["problems"][0]


@pytest.mark.parametrize("name", DEVICES)
def test_every_device_gets_a_decision_or_a_sentence(named, name):
    found = named(name)
    for arguments in ({}, {"tensorflow": 1}, {"in_image": False}, {"precisions": ["INT8"]}, {"image": "x"}):
        decision = resolve(found, **arguments)
        assert decision["image"] or decision["problems"] or not decision["in_image"]
        assert all(text.endswith(".") for text in decision["problems"] + decision["notes"]), decision


@pytest.mark.parametrize(
    "name, groups, says",
    [
        ("server-without-gpu", ["jetsons", "lab"], "in the group jetsons, but what it tells of itself makes it one for cpu_servers"),
        ("nano-4.4", ["gpu_servers"], "makes it one for jetsons"),
        ("nano-4.4", ["jetsons", "lab"], None),
    ],
)
def test_a_host_in_another_group_is_noted(named, name, groups, says):
    notes = [note for note in resolve(named(name), groups=groups)["notes"] if "in the group" in note]
    assert len(notes) == (says is not None)
    assert says is None or says in notes[0]


# ---- the hardware class ----
@pytest.mark.parametrize(
    "name, arguments, hardware_class",
    [
        ("nano-b01-4.6.1", {}, "nano_l4t-32.7.1_trt-8.2.1_tf-2.7.0"),
        ("nano-b01-4.6.1", {"tensorflow": 1}, "nano_l4t-32.7.1_trt-8.2.1_tf-1.15.5"),
        ("agx-orin-64gb-6.2.1", {}, "agx-orin-64GB_l4t-36.4.7_image-24.11-tf2-py3-igpu"),
        ("agx-orin-64gb-6.2.1", {"image": IGPU + "25.02-tf2-py3-igpu"}, "agx-orin-64GB_l4t-36.4.7_trt-10.8.0.43_tf-2.17.0"),
        ("nano-b01-4.6.1", {"in_image": False}, "nano_l4t-32.7.1_trt-8.2.1_tf-2.7.0"),
        ("server-with-gpu", {}, "sm-8.6_driver-550.54.14_trt-8.6.1_tf-2.17.0"),
        ("server-without-gpu", {}, "cpu-x86_64_tf-2.17.0"),
        ("server-without-gpu", {"in_image": False}, None),
        ("agx-orin-7.2", {"in_image": False}, None),
        ("server-with-an-old-driver", {}, None),
    ],
)
def test_hardware_class(named, name, arguments, hardware_class):
    assert resolve(named(name), **arguments)["hardware_class"] == hardware_class


# ---- wheels ----
@pytest.mark.parametrize(
    "l4t, tensorflow, end",
    [
        ("32.7.4", 2, "v461/tensorflow/tensorflow-2.7.0%2Bnv22.1-cp36-cp36m-linux_aarch64.whl"),
        ("35.1.0", 1, "v50/tensorflow/tensorflow-1.15.5%2Bnv22.4-cp38-cp38-linux_aarch64.whl"),
        ("36.4.7", 2, "v61/tensorflow/tensorflow-2.16.1%2Bnv24.08-cp310-cp310-linux_aarch64.whl"),
    ],
)
def test_wheel(jetson, l4t, tensorflow, end):
    wheel = resolve(jetson(l4t), tensorflow)["wheel"]
    assert wheel["url"] == "https://developer.download.nvidia.com/compute/redist/jp/" + end
    assert wheel["tensorflow"] == end.split("tensorflow-")[1].split("%")[0]


@pytest.mark.parametrize("l4t, tensorflow", [("32.4.3", 2), ("36.4.7", 1), ("39.2.0", 2)])
def test_where_there_is_no_wheel(jetson, l4t, tensorflow):
    assert resolve(jetson(l4t), tensorflow)["wheel"] is None


# ---- Ansible ----
@pytest.mark.parametrize(
    "core, python, last, package",
    [
        ("2.16.19", "3.6.9", None, None),
        ("2.17.0", "3.6.9", "2.16", "9"),
        ("2.19.14", "3.6.9", "2.16", "9"),
        ("2.19.14", "3.7.3", "2.17", "10"),
        ("2.19.14", "3.8.10", None, None),
        ("2.20.1", "3.8.10", "2.19", "12"),
        ("2.21.0", "3.10.12", None, None),
        ("2.99.0", "3.8.10", None, None),
        ("2.21.0", "3.12.3", None, None),
    ],
)
def test_ansible_core_against_the_hosts_python(core, python, last, package):
    problem = core_problem(core, python, "/usr/bin/python3")
    if last is None:
        assert problem is None
    else:
        assert f"/usr/bin/python3 is Python {python}, which ansible-core {core} cannot manage" in problem
        assert f".venv-core-{last}/bin/pip install 'ansible=={package}.*' setuptools==80.9.0 wheel==0.48.0`" in problem


def test_the_second_environment_gets_the_pinned_builders():
    # Ansible alone brings neither, and provision.yml builds tfleet's package with the Python that runs it.
    checkout = pathlib.Path(__file__).parents[3]
    pinned = re.findall(r"^(?:setuptools|wheel)==\S+", (checkout / "runtime/requirements.txt").read_text(), re.MULTILINE)
    command = "/bin/pip install 'ansible==9.*' " + " ".join(sorted(pinned))
    assert command in core_problem("2.19.14", "3.6.9", "/usr/bin/python3")
    assert command in (checkout / "docs/jetson.md").read_text()


def test_a_python_too_old_for_the_modules():
    assert core_problem("2.16.0", "3.5.2", "/usr/bin/python3") == (
        "/usr/bin/python3 is Python 3.5.2, and the modules need 3.6 or later. Set ansible_python_interpreter to another one."
    )


def facts(found, python=(3, 10, 12), service_mgr="systemd"):
    version = dict(zip(("major", "minor", "micro"), python))
    return {"tfleet_device": found, "python": {"version": version, "executable": "/usr/bin/python3.10"}, "service_mgr": service_mgr}


def test_a_host_with_nothing_in_the_way(named):
    assert host_problems(facts(named("agx-orin-64gb-6.2.1")), "2.19.14", "systemd", "MODE_30W") == []


def test_the_systems_python_counts_even_where_another_one_answers(named):
    # apt's module runs again under /usr/bin/python3.
    problems = host_problems(facts(named("xavier-nx-16gb-5.0.2")), "2.20.1", "systemd")
    assert len(problems) == 1
    assert "/usr/bin/python3 of this JetPack is Python 3.8, which ansible-core 2.20.1 cannot manage" in problems[0]


def test_a_host_without_systemd(named):
    assert "runs sysvinit as its service manager" in host_problems(facts(named("server-with-gpu"), service_mgr="sysvinit"), "2.19.14", "systemd")[0]
    assert host_problems(facts(named("server-with-gpu"), service_mgr="sysvinit"), "2.19.14", "embedded") == []


def test_a_power_mode_that_the_board_does_not_have(named):
    found = named("tx2-4.6.1")
    problem = "The board has no power mode 15W (jetson_power_mode). It has MAXN, MAXQ, MAXP_CORE_ALL, MAXP_CORE_ARM, MAXP_CORE_DENVER."
    assert host_problems(facts(found), "2.16.0", "systemd", "15W") == [problem]
    assert host_problems(facts(found), "2.16.0", "systemd", "MAXQ") == []
    assert host_problems(facts(named("agx-xavier-4.6")), "2.16.0", "systemd", "15W") == []
    # What is not known is not refused.
    assert host_problems(facts(named("tx1-4.5")), "2.16.0", "systemd", "15W") == []
