#!/usr/bin/python
# Copyright: the tfleet authors
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Ansible module: how fast builds of a model are, compared with each other."""

DOCUMENTATION = r"""
module: model_benchmark
short_description: Measure builds of a model against each other, in-process or served
version_added: "0.1.0"
author: tfleet contributors (@tfleet)
description:
  - Measures builds in many short turns, one after the other and back again, so that what disturbs the host disturbs all of them, and reports the ratios to
    the first build with their spread.
  - Concludes nothing where the noise is larger than the difference; V(undecided) then is the verdict, and nobody should promote a build on it.
  - In-process each build runs in a process of its own, by the model server's own code. Served, the requests go over gRPC, to running servers
    (V(grpc://host:port/model)) or to servers of its own that it starts on the loopback for folders, and ends.
  - Notes power mode, clocks, temperature and throttling of the host, and whether it was busy.
extends_documentation_fragment: tfleet.serving.runtime
options:
  builds:
    description: What is measured. The others are compared with the first; one alone is only measured.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name in the results.
        type: str
        required: true
      source:
        description: Folder of a SavedModel or with C(model.tflite), or V(grpc://host:port/model), with V(/version) or V(/label) behind it if not the latest.
        type: str
        required: true
  mode:
    description: How folders are measured; V(served) starts a server for each of them. Models at V(grpc://) are always served.
    type: str
    choices: [inprocess, served]
    default: inprocess
  signature:
    description: Signature to call. Default is the golden file's, else V(serving_default).
    type: str
  golden:
    description: Golden file (C(.npz)) on the managed host whose inputs are asked.
    type: path
  tfrecord:
    description: TFRecord files of tf.train.Example on the managed host whose pictures or arrays are asked.
    type: list
    elements: path
  images:
    description: Pictures on the managed host to ask.
    type: list
    elements: path
  random:
    description: Number of different requests of seeded random numbers. This is the default, with four of them.
    type: int
  values:
    description: Range of a picture's numbers for a float input.
    type: str
    default: 0..1
  batch_sizes:
    description: Rows of a request.
    type: list
    elements: int
    default: [1]
  rounds:
    description: Turns of each build. Five are the least from which anything is concluded.
    type: int
    default: 10
  window:
    description: Seconds of a turn.
    type: float
    default: 2
  warmup:
    description: Runs of each build before its first turn, in-process. A server is asked until its throughput and its median have settled.
    type: int
    default: 10
  concurrency:
    description: Numbers of clients that each wait for their answer before they ask again. Served only. Default is one client.
    type: list
    elements: int
  rate:
    description: Requests a second that are sent whether answers come or not; latency counts from when a request was due. Served only.
    type: list
    elements: float
  batching:
    description:
      - Batching of the servers that are started for folders.
      - V(both) measures each build without and with it. V(search) looks for the parameters with the highest throughput within O(latency_target_ms), for one
        build.
    type: str
    choices: ["off", "on", both, search]
    default: "off"
  batching_parameters:
    description: Batching parameters file on the managed host, for V(on) and V(both). Default is batches as large as there are clients, without waiting.
    type: path
  latency_target_ms:
    description: Milliseconds that the O(percentile) of a search is to stay within.
    type: float
  percentile:
    description: Percentile that a search looks at.
    type: float
    default: 99
  margin:
    description: Faster means faster by this share at least.
    type: float
    default: 0.05
  csv:
    description: File to write on the managed host with the results as a table.
    type: path
  plot:
    description: SVG file to write on the managed host with the speed bars.
    type: path
  timeout:
    description: Seconds that each answer of a server may take.
    type: float
    default: 60
  proc_root:
    description: Where the host's V(/proc) is, if the runtime sees it somewhere else.
    type: path
    default: /proc
  sys_root:
    description: Where the host's V(/sys) is.
    type: path
    default: /sys
  etc_root:
    description: Where the host's V(/etc) is, with the names of the power modes.
    type: path
    default: /etc
  var_root:
    description: Where the host's V(/var) is, with the power mode that was chosen.
    type: path
    default: /var
attributes:
  check_mode:
    support: full
    description: Measures nothing, because measuring disturbs what runs on the host; says what it would measure.
  diff_mode:
    support: none
    description: Changes nothing.
  idempotent:
    support: full
    description: Never reports a change; the files of O(csv) and O(plot) are reports.
seealso:
  - module: tfleet.serving.model_parity
"""

EXAMPLES = r"""
- name: Compare a converted model with its source, for the batch sizes that the server builds
  tfleet.serving.model_benchmark:
    builds:
      - {name: native, source: /srv/work/digits/native}
      - {name: tflite-int8, source: /srv/work/digits/tflite-int8}
    batch_sizes: [1, 8]
    golden: /srv/models/digits/.golden/2/golden.npz

- name: Compare both as they are served to four clients
  tfleet.serving.model_benchmark:
    builds:
      - {name: native, source: /srv/work/digits/native}
      - {name: tflite-int8, source: /srv/work/digits/tflite-int8}
    mode: served
    concurrency: [4]
    golden: /srv/models/digits/.golden/2/golden.npz
  register: benchmark

- name: Promote only what is faster beyond doubt
  ansible.builtin.assert:
    that: benchmark.summary[0].verdict == 'faster'
    fail_msg: "{{ benchmark.summary[0].reason }}"

- name: Measure two versions on the running server at fifty requests a second
  tfleet.serving.model_benchmark:
    builds:
      - {name: version 2, source: "grpc://127.0.0.1:8500/detector/2"}
      - {name: version 3, source: "grpc://127.0.0.1:8500/detector/3"}
    rate: [50]
    images: [/srv/pictures/street.jpg]
    plot: /srv/reports/detector.svg

- name: Look for batching parameters that keep 99 of 100 answers within 50 ms
  tfleet.serving.model_benchmark:
    builds:
      - {name: digits, source: /srv/models/digits/2}
    mode: served
    concurrency: [16]
    batching: search
    latency_target_ms: 50
"""

RETURN = r"""
ok:
  description: Whether it was measured. Null in check mode.
  returned: always
  type: bool
mode:
  description: V(inprocess) or V(served).
  returned: when it was measured
  type: str
signature:
  description: Signature that was called.
  returned: when it was measured
  type: str
builds:
  description: The builds, with their memory in MB where it could be seen (C(model) is what loading it added, C(peak) the most the process had).
  returned: when it was measured
  type: list
  elements: dict
  sample: [{name: native, source: /srv/work/digits/native, memory_mb: {model: 14.2, resident: 512.0, peak: 530.1}}]
results:
  description: A line for each build and setting, throughput in rows a second, latencies in milliseconds, errors by gRPC status code.
  returned: when it was measured
  type: list
  elements: dict
  sample:
    - name: native
      batch_size: 1
      concurrency: 4
      rate: null
      throughput: 812.2
      requests_per_second: 812.2
      latency_ms: {mean: 4.9, p50: 4.7, p90: 6.1, p95: 6.9, p99: 9.4, p99.9: 14.0, max: 15.2}
      requests: 16244
      errors: {}
      cpu_ms: 1.2
      memory_mb: {resident: 515.0, peak: 530.0}
comparisons:
  description: A line for each build but the first and each setting, as in RV(summary).
  returned: when it was measured
  type: list
  elements: dict
summary:
  description:
    - A line for each build but the first over all settings. The ratio is above 1 if it is faster than the first; V(low) and V(high) are the ends of its 99 %
      interval. At a fixed rate the mean latency is compared, else the throughput.
    - The C(verdict) is V(faster) (by the margin even at the lower end), V(slower), V(same) (shown not to be faster by the margin) or V(undecided) (the noise is
      larger than the difference, or requests failed). The C(reason) is a sentence.
  returned: when it was measured
  type: list
  elements: dict
  sample:
    - {name: tflite-int8, baseline: native, ratio: 1.42, low: 1.37, high: 1.48, verdict: faster,
       reason: "tflite-int8 has 1.420 times the speed of native (99 % of such runs: 1.370 to 1.480)."}
batching:
  description:
    - What the search for batching parameters found, with the parameters as C(best) and as the text of a C(file), both null if nothing stays within the target.
  returned: with O(batching=search)
  type: dict
margin:
  description: The margin that was asked for.
  returned: when it was measured
  type: float
rounds:
  description: The turns of each build.
  returned: when it was measured
  type: int
conditions:
  description: Power mode, clocks, governor, throttling, temperature and load of the host, null where it does not tell, with notes on what disturbed it.
  returned: when it was measured
  type: dict
  sample: {power_mode: MAXN, clocks_mhz: {gpu: {before: 1377, after: 1377, highest: 1377}}, throttled: false, hottest_celsius: 41.5, load: 0.2, notes: []}
chart:
  description: The speed bars as the text of an SVG image.
  returned: when it was measured
  type: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tfleet.serving.plugins.module_utils import measuring
from ansible_collections.tfleet.serving.plugins.module_utils.errors import ModuleError
from ansible_collections.tfleet.serving.plugins.module_utils.runtime import RUNTIME_ARGUMENT_SPEC, runtime_of
from ansible_collections.tfleet.serving.plugins.module_utils.server_answers import allow

ROOTS = ("proc_root", "sys_root", "etc_root", "var_root")


def arguments(params):
    """Return the arguments of ``tfleet benchmark``.

    :raises ModuleError: a number or a name that makes no sense.
    """
    for name in ("rounds", "warmup", "random"):
        if params[name] is not None and params[name] < 1:
            raise ModuleError("%s %d is less than 1." % (name, params[name]))
    for name in ("batch_sizes", "concurrency", "rate"):
        if any(not number > 0 for number in params[name] or []):
            raise ModuleError("%s %s has a number that is not more than 0." % (name, params[name]))
    for build in params["builds"]:
        if "=" in build["name"] or "/" in build["name"]:
            raise ModuleError("The name of the build '%s' has a character that it cannot have: = or /." % build["name"])
    args = ["%s=%s" % (build["name"], measuring.absolute(build["source"])) for build in params["builds"]]
    args += measuring.arguments(params)
    if params["mode"] == "served" and not any(build["source"].startswith(measuring.SCHEME) for build in params["builds"]):
        args.append("--served")
    for option in ("batch_sizes", "concurrency", "rate"):
        if params[option]:
            args.append("--%s=%s" % (option.replace("_", "-"), ",".join("%g" % number for number in params[option])))
    for option in ("rounds", "window", "warmup", "batching", "batching_parameters", "latency_target_ms", "percentile", "margin", "csv", "plot"):
        if params[option] is not None:
            args.append("--%s=%s" % (option.replace("_", "-"), params[option]))
    args += ["--%s=%s" % (root.replace("_", "-"), params[root]) for root in _elsewhere(params)]
    return args


def seconds(params):
    """Return about how long it takes, so that the launcher waits for it: turns, settling, and a minute for each server or process to start."""
    settings = len(params["batch_sizes"]) * max(len(params["concurrency"] or []), len(params["rate"] or []), 1)
    targets = len(params["builds"]) * (2 if params["batching"] == "both" else 1)
    if params["batching"] == "search":
        targets, settings = 4 * 3, 2  # the sizes up to 16 clients, three timeouts for each
    return targets * (60 + settings * params["window"] * (params["rounds"] + 5))


def _elsewhere(params):
    """The roots that are not where the runtime itself sees them."""
    return [root for root in ROOTS if params[root] != "/" + root[: -len("_root")]]


def measure(params, runtime, check_mode):
    """Return what ``tfleet benchmark`` answers.

    :raises RuntimeFailure: it could not be measured.
    :raises ModuleError: an option that makes no sense.
    """
    args = arguments(params)
    if check_mode:
        names = ", ".join(build["name"] for build in params["builds"])
        return {"changed": False, "ok": None, "msg": "Would measure %s %s." % (names, "over gRPC" if "--served" in args else "(%s)" % params["mode"])}
    keywords = measuring.needs(params, [measuring.absolute(build["source"]) for build in params["builds"]])
    keywords["reads"] += [params[root] for root in _elsewhere(params)]
    keywords["reads"] += [params["batching_parameters"]] if params["batching_parameters"] else []
    keywords["writes"] = [params[name] for name in ("csv", "plot") if params[name]]
    allow(runtime, seconds(params))
    return dict(runtime.run("benchmark", args, **keywords), changed=False)


def main():
    """Entry point of the module."""
    module = AnsibleModule(
        argument_spec=dict(
            RUNTIME_ARGUMENT_SPEC,
            builds={
                "type": "list", "elements": "dict", "required": True,
                "options": {"name": {"type": "str", "required": True}, "source": {"type": "str", "required": True}},
            },
            mode={"type": "str", "choices": ["inprocess", "served"], "default": "inprocess"},
            batch_sizes={"type": "list", "elements": "int", "default": [1]},
            rounds={"type": "int", "default": 10},
            window={"type": "float", "default": 2},
            warmup={"type": "int", "default": 10},
            concurrency={"type": "list", "elements": "int"},
            rate={"type": "list", "elements": "float"},
            batching={"type": "str", "choices": ["off", "on", "both", "search"], "default": "off"},
            batching_parameters={"type": "path"},
            latency_target_ms={"type": "float"},
            percentile={"type": "float", "default": 99},
            margin={"type": "float", "default": 0.05},
            csv={"type": "path"},
            plot={"type": "path"},
            proc_root={"type": "path", "default": "/proc"},
            sys_root={"type": "path", "default": "/sys"},
            etc_root={"type": "path", "default": "/etc"},
            var_root={"type": "path", "default": "/var"},
            **measuring.REQUESTS_ARGUMENT_SPEC
        ),
        mutually_exclusive=[measuring.ONE_OF, ("concurrency", "rate")],
        required_if=[("batching", "search", ("latency_target_ms",))],
        supports_check_mode=True,
    )
    try:
        result = measure(module.params, runtime_of(module), module.check_mode)
    except ModuleError as error:
        module.fail_json(**dict(error.result, msg=str(error)))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
