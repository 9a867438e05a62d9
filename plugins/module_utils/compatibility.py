# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What a device is, and what may run on it: pure functions over the readings of ``jetson_facts`` and the data files.

``describe`` turns readings into ``tfleet_device``; ``resolve`` turns that into a decision: the image, whether TF-TRT is possible and why not, the
precisions, the hardware class. A thing that is unknown is None with a note, or a problem that says what to do; nothing is guessed.
"""
import re
from typing import Any, Dict, List

from ansible_collections.tfleet.serving.plugins.module_utils import hardware_data
from ansible_collections.tfleet.serving.plugins.module_utils.hardware_data import DataError, number, within

_PART = re.compile(r"p\d{4}-\d{4}")
# Where the release of L4T stands in the tags of NVIDIA and of the community.
_TAG_L4T = re.compile(r"(?:^|-)r(\d{2}\.\d+(?:\.\d+)*)(?=-|$)")


# ---- what the device is ----
def identify(compatible):
    """Return (soc, module, variant) of a device tree's compatible list, as keys and values of data/jetsons.yml; None for what is not there."""
    data = hardware_data.load("jetsons")
    names = [element[len("nvidia,"):] for element in compatible if element.startswith("nvidia,")]
    soc = next((name for name in names if name in data["socs"]), None)
    for name in names:
        for module, row in data["modules"].items():
            if row["soc"] == soc and name in row["elements"]:
                return soc, module, None
        # The halves of carrier+module: the last that is known is the module, whatever the carrier board.
        for part in reversed(_PART.findall(name)):
            for key in (part, part.split("-")[0]):
                for module, row in data["modules"].items():
                    if row["soc"] == soc and key in row["parts"]:
                        return soc, module, row["parts"][key]
    return soc, None, None


def describe(observed, l4t_override=None):
    """Return ``tfleet_device`` for the readings of :meth:`device_facts.Device.observe`.

    :param l4t_override: a release of data/l4t.yml that the device is to be treated like, where its own is unknown or cannot be read.
    """
    notes = list(observed["notes"])
    device = {key: observed[key] for key in (
        "architecture", "l4t", "model", "driver", "gpus", "power", "zram", "swap", "memory", "largest_free_block_bytes", "largest_free_blocks",
        "default_target", "thermal", "over_current", "throttling", "docker", "disk")}
    device.update({
        "kind": "jetson" if observed["jetson"] else "gpu_server" if observed["gpus"] or observed["gpu_on_bus"] else "cpu_server",
        "l4t_known_as": None, "jetpack": None, "soc": None, "module": None, "variant": None, "compute_capability": None, "precisions": None,
        "cuda": {"expected": None, "installed": _newest(observed["packages"], r"cuda-cudart-\d+-\d+$"), "driver": observed["driver_cuda"]},
        "tensorrt": {"expected": None, "installed": _newest(observed["packages"], r"libnvinfer\d+$")},
        "cudnn": {"expected": None, "installed": _newest(observed["packages"], r"libcudnn\d+(-cuda-\d+)?$")},
        "packages_known": observed["packages"] is not None,
    })
    if device["kind"] == "jetson":
        _describe_jetson(device, observed["compatible"], l4t_override, notes)
    elif device["kind"] == "gpu_server":
        device["compute_capability"] = next((gpu["compute_capability"] for gpu in device["gpus"]), None)
    else:
        device["precisions"] = []
    device["hardware_class"] = _device_class(device)
    device["notes"] = notes
    return device


def _newest(packages, pattern):
    versions = [version for name, version in (packages or {}).items() if re.match(pattern, name)]
    # 10.2.89-1 and 8.2.1-1+cuda10.2: what follows the numbers is the packager's.
    return ".".join(map(str, max(map(number, versions)))) if versions else None


def _describe_jetson(device, compatible, l4t_override, notes):
    data = hardware_data.load("jetsons")
    device["soc"], device["module"], device["variant"] = identify(compatible)
    if device["soc"] is not None:
        soc = data["socs"][device["soc"]]
        device.update(compute_capability=soc["compute_capability"], precisions=list(soc["precisions"]))
    if device["module"] is None:
        notes.append("The device tree names no %s: compatible is %s. If the board is a Jetson's, add its element to %s." % (
            "SoC that is known" if device["soc"] is None else "module that is known", ", ".join(compatible) or "empty", hardware_data.path_of("jetsons")))
    if device["l4t"] is None:
        notes.append("Neither nv_tegra_release nor the package nvidia-l4t-core tells the release of L4T.")
    known_as = l4t_override or device["l4t"]
    if known_as is None:
        return
    try:
        release = hardware_data.l4t_release(known_as)
    except DataError as error:
        notes.append(str(error))
        return
    if l4t_override and l4t_override != device["l4t"]:
        notes.append("Treated like L4T %s by preflight_l4t_override; the device itself tells %s." % (l4t_override, device["l4t"] or "nothing"))
    device.update(l4t_known_as=known_as, jetpack=release["jetpack"])
    for key in ("cuda", "tensorrt", "cudnn"):
        device[key]["expected"] = release[key]
    if device["module"] and known_as.split(".")[0] not in data["modules"][device["module"]]["l4t"]:
        notes.append("L4T %s does not run on %s by %s: one of the two was read from a wrong place." % (
            known_as, data["modules"][device["module"]]["name"], hardware_data.path_of("jetsons")))


def _device_class(device):
    """The device's half of the hardware class; None if a part of it is unknown."""
    if device["kind"] == "jetson":
        name = "-".join(filter(None, (device["module"] or device["soc"], device["variant"])))
        return "%s_l4t-%s" % (name, device["l4t"]) if name and device["l4t"] else None
    if device["kind"] == "gpu_server":
        capabilities = sorted({gpu["compute_capability"] for gpu in device["gpus"]} - {None}, key=number)
        known = capabilities and all(gpu["compute_capability"] for gpu in device["gpus"]) and device["driver"]
        return "sm-%s_driver-%s" % ("+".join(capabilities), device["driver"]) if known else None
    return "cpu-%s" % device["architecture"]


# ---- what may run on it ----
def resolve(device, tensorflow=2, image=None, precisions=(), in_image=True):
    """Return the decision for one device.

    :param device: ``tfleet_device``.
    :param tensorflow: 1 or 2, TensorFlow's first number.
    :param image: a reference (name:tag) instead of the image that the data files choose.
    :param precisions: those of TF-TRT that are wanted; empty if no model is to be converted.
    :param in_image: whether TensorFlow runs in an image; if not, it is in a virtual environment, and that there is no image is no problem.
    :returns: {in_image, image, tag, confidence, tensorflow, tensorrt, cuda, python, environment, wheel, tftrt: {possible, reason}, precisions,
        hardware_class, notes, problems}. ``image`` is told without being used too; ``tensorflow``, ``tensorrt`` and ``cuda`` are those of what is used.
        ``possible`` is None where only a try can tell. ``problems`` are sentences; with any, nothing may be changed.
    """
    decision: Dict[str, Any] = dict.fromkeys(("image", "tag", "confidence", "tensorflow", "tensorrt", "cuda", "python", "wheel", "hardware_class"))
    decision.update(in_image=in_image, environment={}, tftrt={"possible": False, "reason": None}, precisions=device["precisions"], notes=[], problems=[])
    if tensorflow not in (1, 2):
        decision["problems"].append("TensorFlow %s was asked for; write 1 or 2." % tensorflow)
        return decision
    if device["kind"] == "gpu_server" and not device["gpus"] and in_image:
        decision["problems"].append("The host has an NVIDIA GPU whose driver does not answer: no container gets to it. %s" % " ".join(
            note for note in device["notes"] if "nvidia-smi" in note))
    if device["kind"] == "jetson" and not _jetson_is_known(device, decision["problems"]):
        return decision
    if image:
        _take(decision, image)
        _check_image(device, decision)
    else:
        none = _choose(device, tensorflow, decision)
        if none and in_image:
            decision["problems"].append(none)
    if device["kind"] == "jetson":
        decision["wheel"] = _wheel(device["l4t_known_as"], tensorflow)
    if in_image:
        _fill_from_host(device, decision)
    else:
        _take_environment(device, decision)
    decision["tftrt"] = _tftrt(device, decision)
    _check_precisions(device, decision, precisions)
    decision["hardware_class"] = _full_class(device, decision)
    return decision


def _jetson_is_known(device, problems):
    if device["l4t_known_as"] is not None:
        return True
    if device["l4t"] is None:
        problems.append("The release of L4T cannot be read: /etc/nv_tegra_release is missing or damaged, and the package nvidia-l4t-core is not installed. "
                        "Install that package, or set preflight_l4t_override to the release that `head -1 /etc/nv_tegra_release` should tell.")
    else:
        try:
            hardware_data.l4t_release(device["l4t"])
        except DataError as error:
            problems.append(str(error))
        else:
            problems.append("preflight_l4t_override names a release that %s does not have. Name one that is there." % hardware_data.path_of("l4t"))
    return False


def _choose(device, tensorflow, decision):
    """Put the image of the data files into the decision, or return the sentence why there is none."""
    data = hardware_data.load("containers")
    key = "tf%d" % tensorflow
    if device["kind"] == "jetson":
        l4t = device["l4t_known_as"]
        row: Dict[str, Any] = next((row for row in data["selection"] if within(l4t, row["first"], row["last"])), {})
        if key not in row:
            return ("There is no NVIDIA image with TensorFlow %d for L4T %s (JetPack %s). Name one of your own in preflight_image, or serve on the CPU "
                    "with the backend systemd." % (tensorflow, l4t, device["jetpack"]))
        repository, tag = row[key]
        decision["confidence"] = row["confidence"][key]
    elif tensorflow == 1:
        return "There is no image with TensorFlow 1 for a server. TensorFlow Serving 2 loads the SavedModels of TensorFlow 1: leave preflight_tensorflow at 2."
    elif device["architecture"] != data["servers"]["architecture"]:
        return ("The official serving images are for %s only, and this server is %s. Use the backend systemd, or name an image of your own in "
                "preflight_image." % (data["servers"]["architecture"], device["architecture"]))
    else:
        repository, tag = data["servers"][device["kind"]]
    if tag not in data["images"].get(repository, {}):
        raise DataError("%s: %s:%s is chosen for a host, but not described under images. Add it there." % (
            hardware_data.path_of("containers"), repository, tag))
    _take(decision, "%s:%s" % (data["repositories"][repository]["name"], tag))
    if device["kind"] == "jetson" and decision["confidence"] in ("L", "M"):
        decision["notes"].append("%s on L4T %s is %s. Try it on one device first; preflight_image names another." % (
            tag, device["l4t_known_as"], "a likely pair that nobody verified" if decision["confidence"] == "L" else "a pair of one credible report"))
    return None


def known_image(reference):
    """Return (key of the repository, row) of an image that data/containers.yml describes, whichever registry it is pulled from; else (None, None)."""
    data = hardware_data.load("containers")
    name, tag = split_reference(reference)
    for repository, images in data["images"].items():
        known = data["repositories"][repository]["name"]
        # A mirror keeps the last two parts of the name.
        if tag in images and name.split("/")[-2:] == known.split("/")[-2:]:
            return repository, images[tag]
    return None, None


def split_reference(reference):
    """Return (name, tag) of an image reference; the tag is None if it has none."""
    name = str(reference).split("@")[0]
    head, colon, tag = name.rpartition(":")
    # The colon of a registry's port is followed by a slash.
    return (head, tag) if colon and "/" not in tag else (name, None)


def _take(decision, reference):
    decision["image"] = reference
    decision["tag"] = split_reference(reference)[1]
    row = known_image(reference)[1]
    if row is None:
        decision["notes"].append("What is in the image %s is not known: its TensorFlow and TensorRT are looked up when it first runs." % reference)
        return
    decision.update({key: row[key] for key in ("tensorflow", "tensorrt", "cuda", "python")})
    decision["confidence"] = decision["confidence"] or row["confidence"]


def _check_image(device, decision):
    """Problems of an image that a person named."""
    data = hardware_data.load("containers")
    repository, row = known_image(decision["image"])
    if device["kind"] != "jetson":
        if repository and data["repositories"][repository]["generations"]:
            decision["problems"].append("The image %s is for Jetsons, and this host is a server. Leave preflight_image out for it." % decision["image"])
        return
    host = device["l4t_known_as"]
    generations = data["repositories"][repository]["generations"] if repository else None
    if generations is not None and host.split(".")[0] not in generations:
        decision["problems"].append("The image %s is for %s, and this host has L4T %s (JetPack %s). %s" % (
            decision["image"], " and ".join("L4T " + each for each in generations) or data["servers"]["architecture"] + " servers", host, device["jetpack"],
            _instead(device)))
        return
    match = _TAG_L4T.search(decision["tag"] or "")
    l4t = (row and row["l4t"]) or (match.group(1) if match else None)
    if l4t is not None and not l4t_fits(host, l4t):
        decision["problems"].append("The image %s was made for L4T %s and cannot run on L4T %s, which this host has (JetPack %s). %s" % (
            decision["image"], l4t, host, device["jetpack"], _instead(device)))


def _instead(device):
    decision: Dict[str, Any] = {"notes": [], "confidence": None, "image": None}
    images: List[str] = []
    for major in (2, 1):
        _choose(device, major, decision)
        images += [decision["image"]] if decision["image"] else []
        decision["image"] = None
    return "Leave preflight_image out to get %s." % " or ".join(images) if images else "There is none to take instead: %s." % (
        hardware_data.load("tftrt")["instead"])


def l4t_fits(host, image):
    """Say whether an image made for one release of L4T may run on another."""
    if number(host)[:3] == number(image)[:3]:
        return True
    data = hardware_data.load("containers")
    for row in data["selection"]:
        if within(host, row["first"], row["last"]):
            chosen = [data["images"][repository][tag]["l4t"] for repository, tag in (row[key] for key in ("tf1", "tf2") if key in row)]
            if image in chosen:
                return True
    for group in data["groups"]:
        if within(host, group["first"], group["last"]):
            return not group["exact"] and within(image, group["first"], group["last"])
    return False


def _wheel(l4t, tensorflow):
    wheels = hardware_data.load("containers")["wheels"]
    key = "tf%d" % tensorflow
    for row in wheels["files"]:
        if within(l4t, row["first"], row["last"]) and key in row:
            return {"url": "/".join((wheels["base"], row["directory"], "tensorflow", row[key].replace("+", "%2B"))),
                    "tensorflow": row[key].split("-")[1].split("+")[0], "confidence": row["confidence"]}
    return None


def _take_environment(device, decision):
    """What a virtual environment runs: NVIDIA's wheel on a Jetson with the host's TensorRT, and what the requirements pin elsewhere."""
    wheel = decision["wheel"] or {"tensorflow": None, "confidence": None}
    decision.update(tensorflow=wheel["tensorflow"], confidence=wheel["confidence"], cuda=device["cuda"]["installed"], python=None, environment={},
                    tensorrt=device["tensorrt"]["installed"], notes=[])


def _fill_from_host(device, decision):
    """An image of JetPack 4 gets CUDA and TensorRT from the host."""
    for key in ("cuda", "tensorrt"):
        if decision[key] == "host":
            decision[key] = device[key]["installed"] or device[key]["expected"]
    offered = device["cuda"]["driver"] or device["cuda"]["expected"]
    if decision["cuda"] and offered and number(decision["cuda"])[:2] > number(offered)[:2]:
        requirement = hardware_data.load("containers")["cuda_requirement"]
        decision["environment"] = dict(requirement["environment"]) if device["kind"] == "jetson" else {}
        decision["notes"].append(
            "The image brings CUDA %s, and the host offers %s. If it does not start (%s…), %s." % (
                decision["cuda"], offered, requirement["message"],
                "take an older one in preflight_image" if device["kind"] == "jetson" else "install a newer driver"))


def _tftrt(device, decision):
    data = hardware_data.load("tftrt")
    known = number(decision["tensorflow"]) if decision["tensorflow"] else None
    generation = (device["l4t_known_as"] or "").split(".")[0]
    repository, row = known_image(decision["image"]) if decision["image"] else (None, None)
    if device["kind"] == "cpu_server":
        return _no("this host has no NVIDIA GPU")
    if device["kind"] == "gpu_server" and not device["gpus"]:
        return _no("the GPU's driver does not answer")
    if generation in data["without_tensorrt"]:
        return _no("%s. %s" % (data["without_tensorrt"][generation], data["instead"]))
    if decision["in_image"] and decision["image"] is None:
        return _no("there is no image to run it in")
    if known and not within(".".join(map(str, known)), data["first"], data["last"]):
        return _no("TensorFlow %s has no TF-TRT; %s is the last that has it" % (decision["tensorflow"], data["last"]))
    if not decision["in_image"]:
        return {"possible": None, "reason": "the TensorFlow of the environment decides; the role tensorflow_runtime tries it in a child process"}
    if row and row["tensorrt"] == "host" and device["packages_known"] and device["tensorrt"]["installed"] is None:
        return _no("the image takes TensorRT from the host, and no libnvinfer is installed there. Install the package nvidia-jetpack, or tensorrt, from "
                   "the L4T repository")
    if row and repository == "tensorflow-serving" and row["tensorrt"] is None:
        return _no("the image %s has no TensorRT; take its -gpu tag" % decision["tag"])
    if decision["tensorrt"] is None:
        return {"possible": None, "reason": "not known of the image %s; the role tensorflow_runtime tries it in a child process" % decision["tag"]}
    reason = None
    if number(decision["tensorrt"]) >= number(data["explicit_batch_from_tensorrt"]):
        reason = "only with dynamic shapes: TensorRT %s refuses implicit batch" % decision["tensorrt"]
    return {"possible": True, "reason": reason}


def _no(reason):
    return {"possible": False, "reason": reason}


def _check_precisions(device, decision, wanted):
    if not wanted:
        return
    if decision["tftrt"]["possible"] is False:
        decision["problems"].append("TF-TRT with %s is wanted, but is not possible here: %s." % (", ".join(wanted), decision["tftrt"]["reason"].rstrip(".")))
        return
    for precision in wanted:
        if device["precisions"] is not None and precision not in device["precisions"]:
            decision["problems"].append("%s is wanted, but the GPU (compute capability %s) has none in TensorRT. It has %s: take %s." % (
                precision, device["compute_capability"], " and ".join(device["precisions"]), device["precisions"][-1]))


def _full_class(device, decision):
    """The hardware class: the device's half with TensorRT and TensorFlow, or with the image's tag, which fixes both, where they are not known."""
    if device["hardware_class"] is None:
        return None
    if device["kind"] == "cpu_server":
        return "%s_tf-%s" % (device["hardware_class"], decision["tensorflow"]) if decision["tensorflow"] else None
    if decision["tensorrt"] and decision["tensorflow"]:
        return "%s_trt-%s_tf-%s" % (device["hardware_class"], decision["tensorrt"], decision["tensorflow"])
    return "%s_image-%s" % (device["hardware_class"], decision["tag"]) if decision["in_image"] and decision["tag"] else None


# ---- Ansible and the host's own programs ----
def host_problems(facts, core, backend, power_mode=""):
    """Return what stands in the way on a host besides the decision of :func:`resolve`, as sentences.

    :param facts: ``ansible_facts`` with python, service_mgr and tfleet_device.
    :param core: release of ansible-core.
    :param backend: ``model_server_backend``.
    :param power_mode: name of the power mode that is wanted; empty for none.
    """
    device, python = facts["tfleet_device"], facts["python"]["version"]
    problems = [core_problem(core, "%s.%s.%s" % (python["major"], python["minor"], python["micro"]), facts["python"]["executable"])]
    if device["l4t_known_as"] is not None and problems[0] is None:
        # apt runs again under the system's Python if another one cannot import python3-apt.
        problems.append(core_problem(core, hardware_data.l4t_release(device["l4t_known_as"])["generation"]["python"], "/usr/bin/python3 of this JetPack"))
    if backend == "systemd" and facts["service_mgr"] != "systemd":
        problems.append("The host runs %s as its service manager, and model_server_backend is systemd. Set model_server_backend to embedded for a machine "
                        "without systemd." % facts["service_mgr"])
    modes = [mode["name"] for mode in (device["power"] or {}).get("modes", [])]
    if power_mode and modes and _short(power_mode) not in map(_short, modes):
        problems.append("The board has no power mode %s (jetson_power_mode). It has %s." % (power_mode, ", ".join(modes)))
    return [problem for problem in problems if problem]


def _short(mode):
    # Some boards write MODE_15W for what the others call 15W.
    return mode[len("MODE_"):] if mode.startswith("MODE_") else mode


def core_problem(core, python, whose):
    """Return why an ansible-core cannot manage a host with a Python, with the remedy; None if it can.

    :param core: such as 2.19.14. One that data/ansible.yml does not know is held to what tfleet's own modules need.
    :param python: such as 3.6.9.
    :param whose: the path of that Python.
    """
    data = hardware_data.load("ansible")
    own, found = data["oldest_target"], number(python)[:2]
    if found < number(own):
        return "%s is Python %s, and the modules need %s or later. Set ansible_python_interpreter to another one." % (whose, python, own)
    row = data["cores"].get(".".join(str(core).split(".")[:2]))
    if row is None or found >= number(row["target"]):
        return None
    last = max((name for name, each in data["cores"].items() if number(each["target"]) <= found), key=number)
    collections = ", ".join("%s %s" % item for item in sorted(data["collections"].get(last, {}).items()))
    return ("%s is Python %s, which ansible-core %s cannot manage: it needs %s or later. The last that can is %s. Make a second environment with it on "
            "the controller, with Python %s or later: `python3 -m venv .venv-core-%s && .venv-core-%s/bin/pip install 'ansible-core==%s.*'`%s. Run "
            "its ansible-playbook with --limit for such hosts." % (
                whose, python, core, row["target"], last, data["cores"][last]["controller"], last, last, last,
                " (collections for it: %s)" % collections if collections else ""))
