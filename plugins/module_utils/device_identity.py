# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What a device is, by its readings and the data files: the readings of ``jetson_facts`` become the fact ``tfleet_device``.

A thing that is unknown is None, with a note where a person should know; nothing is guessed.
"""
import re

from ansible_collections.tfleet.serving.plugins.module_utils import hardware_data
from ansible_collections.tfleet.serving.plugins.module_utils.hardware_data import DataError, number

_PART = re.compile(r"p\d{4}-\d{4}")


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
        "l4t_known_as": None, "l4t_override": l4t_override, "jetpack": None, "soc": None, "module": None, "variant": None, "compute_capability": None,
        "precisions": None,
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
