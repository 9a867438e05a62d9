# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What may run on a device: the image, whether TF-TRT is possible and why not, the precisions, the hardware class.

Pure functions over ``tfleet_device`` and the data files. A thing that is unknown is None with a note, or a problem that says what to do; nothing is guessed.
"""
import re
from typing import Any, Dict, List

from ansible_collections.tfleet.serving.plugins.module_utils import hardware_data
from ansible_collections.tfleet.serving.plugins.module_utils.hardware_data import DataError, number, within

# Where the release of L4T stands in the tags of NVIDIA and of the community.
_TAG_L4T = re.compile(r"(?:^|-)r(\d{2}\.\d+(?:\.\d+)*)(?=-|$)")


def resolve(device, tensorflow=2, image=None, precisions=(), in_image=True, groups=()):
    """Return the decision for one device.

    :param device: ``tfleet_device``.
    :param tensorflow: 1 or 2, TensorFlow's first number.
    :param image: a reference (name:tag) instead of the image that the data files choose.
    :param precisions: those of TF-TRT that are wanted; empty if no model is to be converted.
    :param in_image: whether TensorFlow runs in an image; if not, it is in a virtual environment, and that there is no image is no problem.
    :param groups: names of the host's groups, to tell whether it is in the right one.
    :returns: {in_image, image, tag, confidence, tensorflow, tensorrt, cuda, python, environment, wheel, tftrt: {possible, reason}, precisions,
        hardware_class, notes, problems}. ``image`` is told without being used too; ``tensorflow``, ``tensorrt`` and ``cuda`` are those of what is used.
        ``possible`` is None where only a try can tell. ``problems`` are sentences; with any, nothing may be changed.
    """
    decision: Dict[str, Any] = dict.fromkeys(("image", "tag", "confidence", "tensorflow", "tensorrt", "cuda", "python", "wheel", "hardware_class"))
    decision.update(in_image=in_image, environment={}, tftrt={"possible": False, "reason": None}, precisions=device["precisions"], notes=[], problems=[])
    if tensorflow not in (1, 2):
        decision["problems"].append("TensorFlow %s was asked for; write 1 or 2." % tensorflow)
        return decision
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
    _note_group(device, groups, decision["notes"])
    decision["tftrt"] = _tftrt(device, decision)
    _check_precisions(device, decision, precisions)
    decision["hardware_class"] = _full_class(device, decision)
    return decision


def hardware_class_of(resolved, device, facts=None):
    """Return the hardware class of a host, at least its architecture; "" if nothing is known of it.

    :param resolved: result of :func:`resolve`; None or {} if nothing was decided.
    :param device: ``tfleet_device``; None or {} if it did not answer.
    :param facts: Ansible's own facts of the host.
    """
    device = device or {}
    return str((resolved or {}).get("hardware_class") or device.get("hardware_class") or device.get("architecture") or (facts or {}).get("architecture") or "")


def _jetson_is_known(device, problems):
    if device["l4t_known_as"] is not None:
        return True
    override = device.get("l4t_override")
    if override:
        near = hardware_data.nearest_l4t(override)
        problems.append("preflight_l4t_override is %s, a release that %s does not have. Name one that is there%s." % (
            override, hardware_data.path_of("l4t"), ", such as " + near if near else ""))
    elif device["l4t"] is None:
        problems.append("The release of L4T cannot be read: /etc/nv_tegra_release is missing or damaged, and the package nvidia-l4t-core is not installed. "
                        "Install that package, or set preflight_l4t_override to the release that `head -1 /etc/nv_tegra_release` should tell.")
    else:
        try:
            hardware_data.l4t_release(device["l4t"])
        except DataError as error:
            problems.append(str(error))
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
    name = str(reference).split("@", maxsplit=1)[0]
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


def _note_group(device, groups, notes):
    wrong = [group for group in groups if group in ("jetsons", "gpu_servers", "cpu_servers") and group != device["kind"] + "s"]
    if wrong:
        notes.append("The host is in the group %s, but what it tells of itself makes it one for %ss." % (" and ".join(wrong), device["kind"]))


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
    unfit = _linked_with_another(device, decision, row)
    if unfit:
        return _no(unfit)
    if row and repository == "tensorflow-serving" and row["tensorrt"] is None:
        return _no("the image %s has no TensorRT; take its -gpu tag" % decision["tag"])
    if decision["tensorrt"] is None:
        return {"possible": None, "reason": "not known of the image %s; the role tensorflow_runtime tries it in a child process" % decision["tag"]}
    reason = None
    if number(decision["tensorrt"]) >= number(data["explicit_batch_from_tensorrt"]):
        reason = "only with dynamic shapes: TensorRT %s refuses implicit batch" % decision["tensorrt"]
    return {"possible": True, "reason": reason}


def _linked_with_another(device, decision, row):
    """Why an image that takes TensorRT from the host cannot use the one that is installed there; None if it can."""
    installed = device["tensorrt"]["installed"]
    if not row or row["tensorrt"] != "host" or installed is None:
        return None
    linked = hardware_data.l4t_release(row["l4t"])["tensorrt"]
    same = number(installed)[:len(number(linked))] == number(linked)
    if number(installed)[0] != number(linked)[0] or (number(installed) < number(linked) and not same):
        return "the image was linked with TensorRT %s, and the host has %s: the same major release is needed, not older" % (linked, installed)
    for fault in hardware_data.load("tftrt")["faults"]:
        if fault["tensorflow"] == decision["tensorflow"] and not same:
            return "the image was linked with TensorRT %s, the host has %s, and TensorFlow %s fails then (%s). %s" % (
                linked, installed, fault["tensorflow"], fault["says"], fault["cause"])
    return None


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
