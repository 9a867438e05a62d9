#!/usr/bin/python
# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Ansible module: a variant of a SavedModel, by TF-TRT on the device's GPU, or by TensorFlow Lite or Grappler for the CPU."""

DOCUMENTATION = r"""
module: tftrt_convert
short_description: Build a TF-TRT, TensorFlow Lite or folded variant of a SavedModel
version_added: "0.1.0"
author: tfleet contributors (@tfleet)
description:
  - Converts a SavedModel on the device and leaves at O(dest) either the whole variant, with its provenance, or nothing.
  - A TF-TRT variant holds engines for one hardware class. It is refused on devices of another class at release and at load.
  - TensorFlow and TensorRT run in a child process, which has a time limit. Memory and disk are looked at before it begins.
  - The conversion goes on if the connection is lost. The next run finds it, waits for it, and returns its result.
extends_documentation_fragment: tfleet.serving.runtime
options:
  src:
    description: The native SavedModel folder on the device.
    type: path
    required: true
  dest:
    description: The folder to make. It must not exist, be empty, or already be this very variant.
    type: path
    required: true
  variant:
    description:
      - V(tftrt) converts for TensorRT on this device's GPU, V(tflite) to TensorFlow Lite, V(grappler) freezes variables and folds constants.
    type: str
    choices: [tftrt, tflite, grappler]
    default: tftrt
  precision:
    description: Of the computation. V(INT8) needs O(calibration). For V(grappler) only V(FP32).
    type: str
    choices: [FP32, FP16, INT8]
    default: FP32
  signature:
    description: The signature to convert. The result has no other.
    type: str
    default: serving_default
  tags:
    description: The tag set of the SavedModel.
    type: list
    elements: str
    default: [serve]
  hardware_class:
    description: The class of this device, RV(tfleet.serving.jetson_facts#module:ansible_facts.tfleet_device.hardware_class). Required for V(tftrt).
    type: str
  device_precisions:
    description: What the device's chip can do, C(tfleet_device.precisions). A precision that is not among them is refused before anything begins.
    type: list
    elements: str
    default: []
  calibration:
    description: TFRecord files of typical examples, from which INT8 learns the ranges of values.
    type: list
    elements: path
    default: []
  calibration_examples:
    description: Use at most so many of them.
    type: int
    default: 500
  calibration_batch:
    description: For V(tftrt), so many at once.
    type: int
    default: 8
  values:
    description: The range of values that pictures become in float inputs.
    type: str
    default: 0..1
  batch_sizes:
    description: For V(tftrt), batch sizes to build engines for; those of C(allowed_batch_sizes).
    type: list
    elements: int
    default: []
  shapes:
    description:
      - For V(tftrt), shapes to build engines for by input, where more than the batch is free.
      - Of each input one shape or a list of shapes, written V([1, 300, 300, 3]) or V(1x300x300x3).
    type: dict
    default: {}
  dynamic_shape:
    description: For V(tftrt), one engine for a range of shapes. Needs O(batch_sizes) or O(shapes) for its profile.
    type: bool
    default: false
  profile_strategy:
    description: For O(dynamic_shape), what the profiles are made of.
    type: str
    choices: [Range, Optimal, Range+Optimal, ImplicitBatchModeCompatible]
  workspace_bytes:
    description: For V(tftrt), GPU memory that TensorRT may use. Without it TensorFlow's default, which is too much for small devices.
    type: int
  minimum_segment_size:
    description: For V(tftrt), parts with fewer operations stay in TensorFlow.
    type: int
    default: 3
  cached_engines:
    description: For V(tftrt), how many engines each segment keeps. Without it one for each shape that is built.
    type: int
  build:
    description: For V(tftrt), whether engines are built now. Otherwise the first requests build them.
    type: bool
    default: true
  build_at_runtime:
    description: For V(tftrt), whether the server may build engines for shapes that have none. Otherwise those run in TensorFlow.
    type: bool
    default: true
  gpu_memory_bytes:
    description: For V(tftrt), GPU memory that the conversion may use. Without it the memory grows as it is needed.
    type: int
  ignore_memory:
    description: Begin even if the estimate says that memory will not suffice.
    type: bool
    default: false
  time_limit:
    description: Seconds after which the conversion is ended.
    type: int
    default: 7200
  wait:
    description:
      - Seconds to wait for the end. Without it until the end or the time limit.
      - V(0) returns at once; run the task again, with C(until) and C(retries), to see RV(progress) and at last the result.
    type: int
  server_unit:
    description: A systemd unit, such as the model server's, that is stopped for the time of the conversion and started again whatever comes of it.
    type: str
    default: ""
  server_container:
    description: A Docker container that is stopped and started likewise.
    type: str
    default: ""
attributes:
  check_mode:
    support: full
    description:
      - Tells whether the variant is there, and for V(tftrt) what TF-TRT would take (RV(plan)). That needs no GPU, but a TensorFlow with TF-TRT and a
        C++ compiler; without them C(msg) says so and nothing fails.
  diff_mode:
    support: full
    description: Variant and fingerprint before and after.
  idempotent:
    support: full
    description: The fingerprint of source, options, calibration data and hardware class decides.
seealso:
  - module: tfleet.serving.saved_model
  - module: tfleet.serving.model_release
"""

EXAMPLES = r"""
- name: Convert the detector for this device's GPU, with engines for the batch sizes of the server
  tfleet.serving.tftrt_convert:
    src: /srv/build/detector/native
    dest: /srv/build/detector/tftrt
    precision: FP16
    hardware_class: "{{ ansible_facts.tfleet_device.hardware_class }}"
    device_precisions: "{{ ansible_facts.tfleet_device.precisions }}"
    batch_sizes: [1, 4]
    shapes: {image_tensor: [[1, 300, 300, 3]]}
    workspace_bytes: 33554432
    minimum_segment_size: 50
    server_unit: tfleet-model-server

- name: See without a GPU what TF-TRT would take
  tfleet.serving.tftrt_convert:
    src: /srv/build/detector/native
    dest: /srv/build/detector/tftrt
    hardware_class: any
  check_mode: true
  register: planned

- name: Convert to whole numbers for the CPU
  tfleet.serving.tftrt_convert:
    src: /srv/build/digits/native
    dest: /srv/build/digits/tflite
    variant: tflite
    precision: INT8
    calibration: [/srv/data/digits.tfrecord]

- name: Begin a long conversion, and look every minute how far it is
  tfleet.serving.tftrt_convert:
    src: /srv/build/detector/native
    dest: /srv/build/detector/tftrt
    hardware_class: "{{ ansible_facts.tfleet_device.hardware_class }}"
    wait: 0
  register: converted
  until: converted.finished
  retries: 90
  delay: 60
"""

RETURN = r"""
dest:
  description: The folder of the variant.
  type: str
  returned: always
variant:
  description: Its name, as releases have it.
  type: str
  returned: when it is known
  sample: tftrt-orin-sm87-l4t36.4.3-FP16
fingerprint:
  description: SHA-256 of what decides the result.
  type: str
  returned: when it is known
finished:
  description: Whether the conversion has ended. False only with O(wait).
  type: bool
  returned: success
progress:
  description: How far it is.
  type: dict
  returned: when it has not ended
  sample: {"phase": "building engines", "done": 1, "total": 3, "elapsed_seconds": 74.1, "line": "building engines, 1 of 3, 74 s, 1320 MiB"}
summary:
  description: What is in the variant; for V(tftrt) its engines, the operations they took and those that were left, with reasons.
  type: dict
  returned: when the conversion has ended
plan:
  description: The estimate of C(tfleet plan).
  type: dict
  returned: in check mode, for V(tftrt), if there is anything to do
seconds:
  description: How long it took.
  type: float
  returned: when the variant was made
peak_bytes:
  description: The most memory it held.
  type: int
  returned: when the variant was made
"""

import json
import os
import subprocess

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tfleet.serving.plugins.module_utils import conversion_options
from ansible_collections.tfleet.serving.plugins.module_utils.detached import Detached
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.runtime import RUNTIME_ARGUMENT_SPEC, RuntimeFailure, RuntimeMissing, runtime_of

PROVENANCE = os.path.join("assets.extra", "tfleet_provenance.json")
# What the command itself needs beyond the conversion: the probe before, the writing after.
MARGIN_SECONDS = 300


def conversion_arguments(params):
    """The options of ``tfleet convert`` and ``tfleet plan`` for the module's parameters."""
    args = ["--precision", params["precision"], "--signature", params["signature"], "--tags", ",".join(params["tags"])]
    if params["precision"] == "INT8":
        args += ["--calibration-examples", params["calibration_examples"], "--calibration-batch", params["calibration_batch"], "--values=" + params["values"]]
    for path in params["calibration"]:
        args += ["--calibration", path]
    for option, key in (("--hardware-class", "hardware_class"), ("--profile-strategy", "profile_strategy"), ("--workspace-bytes", "workspace_bytes"),
                        ("--cached-engines", "cached_engines"), ("--gpu-memory-bytes", "gpu_memory_bytes")):
        if params[key] is not None:
            args += [option, params[key]]
    for option, key in (("--batch-sizes", "batch_sizes"), ("--device-precisions", "device_precisions")):
        if params[key]:
            args += [option, ",".join(str(part) for part in params[key])]
    for alias, listed in sorted(params["shapes"].items()):
        for shape in shapes_of(alias, listed):
            args += ["--shape", "%s=%s" % (alias, "x".join(str(size) for size in shape))]
    for option, wanted in (("--dynamic-shape", params["dynamic_shape"]), ("--no-build", not params["build"]),
                           ("--no-build-at-runtime", not params["build_at_runtime"])):
        if wanted:
            args.append(option)
    return args + ["--minimum-segment-size", params["minimum_segment_size"]]


def shapes_of(alias, given):
    """The shapes of one input. Raises ModuleError."""
    try:
        return conversion_options.shapes(alias, given)
    except ValueError as error:
        raise ModuleError("shapes: %s" % error)


def on_disk(dest):
    """Variant and fingerprint of what is at ``dest``, empty if there is none."""
    try:
        with open(os.path.join(dest, PROVENANCE), encoding="utf-8") as stream:
            recorded = json.load(stream)
    except (OSError, ValueError):
        return {}
    return {key: recorded[key] for key in ("variant", "fingerprint") if key in recorded}


def diff(dest, before, after):
    """Ansible's diff of two identities."""
    return {"before_header": dest, "after_header": dest, "before": before, "after": after}


class Server(object):
    """What is stopped for the time of a conversion. A note beside the job says so, for the run that finds it stopped after a crash.

    :param note: path of that note
    """

    def __init__(self, unit, container, note):
        self.note = note
        self.kinds = [kind for kind in ({"start": ["systemctl", "start", unit], "stop": ["systemctl", "stop", unit],
                                         "runs": ["systemctl", "is-active", "--quiet", unit]} if unit else None,
                                        {"start": ["docker", "start", container], "stop": ["docker", "stop", container],
                                         "runs": ["docker", "inspect", "--format", "{{.State.Running}}", container]} if container else None) if kind]

    def stop(self):
        """Stop what runs, and note how it is started again. Raises ModuleError."""
        running = [kind for kind in self.kinds if self._runs(kind["runs"])]
        if not running:
            return
        with open(self.note, "w", encoding="utf-8") as stream:
            json.dump([kind["start"] for kind in running], stream)
            stream.flush()
            os.fsync(stream.fileno())
        for kind in running:
            _call(kind["stop"], "It was to be stopped for the time of the conversion")

    def start(self):
        """Start what a run stopped, this one or one that was killed. Whether there was anything. Raises ModuleError."""
        try:
            with open(self.note, encoding="utf-8") as stream:
                starts = json.load(stream)
        except (OSError, ValueError):
            return False
        for argv in starts:
            _call(argv, "It was stopped for the time of a conversion and is down now: start it by hand")
        os.unlink(self.note)
        return True

    @staticmethod
    def _runs(argv):
        try:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        except OSError:
            return False
        said = process.communicate()[0].decode("utf-8", "replace").strip()
        return process.returncode == 0 and said != "false"


def _call(argv, why):
    try:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except OSError as error:
        raise ModuleError("`%s` cannot be run: %s. %s." % (" ".join(argv), error.strerror, why))
    said = process.communicate()[0].decode("utf-8", "replace").strip()
    if process.returncode != 0:
        raise ModuleError("`%s` failed: %s. %s." % (" ".join(argv), said or "exit status %d" % process.returncode, why))


class Conversion(object):
    """One conversion of this module's parameters."""

    def __init__(self, params, runtime):
        self.params = params
        self.runtime = runtime
        self.src = os.path.abspath(params["src"])
        self.dest = os.path.abspath(params["dest"])
        parent, name = os.path.split(self.dest)
        self.job = Detached(os.path.join(parent, ".%s.conversion" % name))
        self.server = Server(params["server_unit"], params["server_container"], os.path.join(parent, ".%s.server-stopped" % name))
        self.args = conversion_arguments(params)
        self.before = on_disk(self.dest)
        self.notes = []

    def look(self):
        """What ``tfleet convert --dry-run`` answers: nothing heavy, nothing written. Raises RuntimeFailure."""
        args = [self.src, self.dest, "--variant", self.params["variant"]] + self.args + ["--dry-run"] + (["--ignore-memory"] if self._memory_later() else [])
        return self.runtime.run("convert", args, reads=[self.src] + self.params["calibration"], writes=[self.dest])

    def _memory_later(self):
        """Memory that the server holds is free only when it is stopped."""
        return self.params["ignore_memory"] or bool(self.server.kinds)

    def check(self):
        """Check mode."""
        try:
            answer = self.look()
        except RuntimeFailure as failure:
            if not isinstance(failure, RuntimeMissing) and not failure.result.get("missing"):
                raise
            changed = not self.before
            after = {"source": self.src} if changed else self.before
            return {"changed": changed, "dest": self.dest, "finished": True, "diff": diff(self.dest, self.before, after),
                    "msg": "Would convert %s to %s, but not yet: %s" % (self.src, self.dest, failure)}
        result = self._result(answer)
        if answer["changed"] and self.params["variant"] == "tftrt":
            try:
                planned = self.runtime.run("plan", [self.src] + self.args, reads=[self.src] + self.params["calibration"])
                result["plan"] = {key: value for key, value in planned.items() if key != "ok"}
            except RuntimeFailure as failure:
                result["msg"] = "Would convert, but what TF-TRT would take cannot be told here: %s" % failure
        return result

    def ensure(self):
        """Convert, or find the conversion that runs, or its result. Raises ModuleError."""
        if not self.job.running() and self.server.start():
            self.notes.append("A conversion was killed and had left the server stopped: it was started again.")
        if not self.job.exists() or self.job.request() != self._request():
            if self.job.running():
                raise ModuleError("Another conversion to `%s` is running (%s). Wait for it, or choose another dest."
                                  % (self.dest, self.job.progress().get("line", "starting")))
            answer = self.look()
            if not answer["changed"]:
                self.job.forget()
                return self._result(answer)
            self.runtime.timeout = self.params["time_limit"] + MARGIN_SECONDS
            self.runtime.argv("convert", [], [self.src], [self.dest])  # what is missing is told by this run
            os.makedirs(os.path.dirname(self.dest), exist_ok=True)
            self.job.start(self._request(), self._work)
        seconds = self.params["time_limit"] + 2 * MARGIN_SECONDS if self.params["wait"] is None else self.params["wait"]
        if not self.job.wait(seconds):
            progress = self.job.progress()
            return {"changed": True, "dest": self.dest, "finished": False, "progress": progress, "msg": progress.get("line", "starting"),
                    "diff": diff(self.dest, self.before, self.before)}
        return self._ended()

    def _request(self):
        return {"src": self.src, "variant": self.params["variant"], "arguments": [str(arg) for arg in self.args]}

    def _work(self):
        """The detached process."""
        args = [self.src, self.dest, "--variant", self.params["variant"]] + self.args
        args += ["--time-limit", self.params["time_limit"], "--progress-file", self.job.progress_path()]
        args += ["--ignore-memory"] if self.params["ignore_memory"] else []
        self.server.stop()
        try:
            return self.runtime.run("convert", args, reads=[self.src] + self.params["calibration"], writes=[self.dest, self.job.progress_path()])
        finally:
            self.server.start()

    def _ended(self):
        result = self.job.result()
        if result is None:
            progress = self.job.progress().get("line", "starting")
            self.job.forget()
            if self.server.start():
                self.notes.append("The server was started again.")
            raise ModuleError("The process that converted to `%s` was killed while it was at: %s. Nothing was left behind%s. Run again."
                              % (self.dest, progress, "".join("; " + note.lower().rstrip(".") for note in self.notes)))
        self.job.forget()
        if "failure" in result:
            raise ModuleError(result["failure"].pop("msg"), **result["failure"])
        return self._result(result["answer"])

    def _result(self, answer):
        result = {key: value for key, value in answer.items() if key not in ("ok", "dry_run")}
        after = {key: answer[key] for key in ("variant", "fingerprint")}
        result.update(finished=True, diff=diff(self.dest, self.before, after))
        if self.notes:
            result["warnings"] = self.notes
        return result


def main():
    """Entry point."""
    module = AnsibleModule(
        argument_spec=dict(
            RUNTIME_ARGUMENT_SPEC,
            src={"type": "path", "required": True},
            dest={"type": "path", "required": True},
            variant={"type": "str", "choices": ["tftrt", "tflite", "grappler"], "default": "tftrt"},
            precision={"type": "str", "choices": ["FP32", "FP16", "INT8"], "default": "FP32"},
            signature={"type": "str", "default": "serving_default"},
            tags={"type": "list", "elements": "str", "default": ["serve"]},
            hardware_class={"type": "str"},
            device_precisions={"type": "list", "elements": "str", "default": []},
            calibration={"type": "list", "elements": "path", "default": []},
            calibration_examples={"type": "int", "default": 500},
            calibration_batch={"type": "int", "default": 8},
            values={"type": "str", "default": "0..1"},
            batch_sizes={"type": "list", "elements": "int", "default": []},
            shapes={"type": "dict", "default": {}},
            dynamic_shape={"type": "bool", "default": False},
            profile_strategy={"type": "str", "choices": ["Range", "Optimal", "Range+Optimal", "ImplicitBatchModeCompatible"]},
            workspace_bytes={"type": "int"},
            minimum_segment_size={"type": "int", "default": 3},
            cached_engines={"type": "int"},
            build={"type": "bool", "default": True},
            build_at_runtime={"type": "bool", "default": True},
            gpu_memory_bytes={"type": "int"},
            ignore_memory={"type": "bool", "default": False},
            time_limit={"type": "int", "default": 7200},
            wait={"type": "int"},
            server_unit={"type": "str", "default": ""},
            server_container={"type": "str", "default": ""},
        ),
        required_if=[("variant", "tftrt", ("hardware_class",))],
        supports_check_mode=True,
    )
    try:
        conversion = Conversion(module.params, runtime_of(module))
        result = conversion.check() if module.check_mode else conversion.ensure()
    except ModuleError as failure:
        module.fail_json(**dict(failure.result, msg=str(failure)))
    except OSError as error:
        module.fail_json(msg="%s: %s. Check the owner and the mode of the folder." % (error.filename, error.strerror))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
