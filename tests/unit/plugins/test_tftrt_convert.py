"""Module tftrt_convert with the real runtime: conversions for the CPU, which go through everything but TensorRT itself."""

import json
import os
import shutil
import signal
import stat

import pytest
from ansible_collections.tfleet.serving.plugins.module_utils import conversion_options
from ansible_collections.tfleet.serving.plugins.module_utils.detached import Detached
from ansible_collections.tfleet.serving.plugins.modules import tftrt_convert
from ansible_collections.tfleet.serving.tests.unit.plugins.serving_tools import exported


@pytest.fixture
def native(tfleet_runtime, tmp_path):
    return shutil.copytree(exported(tfleet_runtime, 1), str(tmp_path / "native"))


@pytest.fixture
def parameters(native, tfleet_runtime, tmp_path):
    return {"src": native, "dest": str(tmp_path / "variants" / "one"), "variant": "grappler", "runtime": tfleet_runtime}


def left(parameters):
    folder = os.path.dirname(parameters["dest"])
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def test_four_times(four_times, parameters):
    check, change, _check_same, same = four_times("tftrt_convert", **parameters)
    assert check["variant"] == change["variant"] == same["variant"] == "grappler"
    assert check["fingerprint"] == change["fingerprint"] == same["fingerprint"]
    assert change["finished"] and change["seconds"] > 0 and change["summary"]["nodes_after"] > 0 and same["summary"] == change["summary"]
    assert left(parameters) == ["one"]


def test_it_goes_on_by_itself_and_is_found_again(run_module, parameters):
    first = run_module("tftrt_convert", wait=0, **parameters)
    assert first["changed"] and not first["finished"]
    second = run_module("tftrt_convert", wait=0, **parameters)
    assert second["finished"] or "line" in second["progress"] or second["msg"] == "starting"
    other = run_module("tftrt_convert", **dict(parameters, variant="tflite"))
    assert other["failed"] and "Another conversion to" in other["msg"]
    last = second if second["finished"] else run_module("tftrt_convert", **parameters)
    assert last["finished"] and last["changed"] and os.path.exists(parameters["dest"])
    assert not run_module("tftrt_convert", **parameters)["changed"] and left(parameters) == ["one"]


def test_a_killed_conversion_is_told_and_repeated(run_module, parameters):
    run_module("tftrt_convert", wait=0, **parameters)
    job = Detached(os.path.join(os.path.dirname(parameters["dest"]), ".one.conversion"))
    inode = str(os.stat(os.path.join(job.folder, "lock")).st_ino)
    with open("/proc/locks") as locks:
        # The process that took the lock has ended; its child, which inherited it, is the one whose session it is.
        assert any(line.split()[5].endswith(":" + inode) for line in locks)
    for name in os.listdir("/proc"):
        try:
            with open("/proc/%s/cmdline" % name, "rb") as stream:
                line = stream.read()
            holds = any(os.path.samefile("/proc/%s/fd/%s" % (name, fd), os.path.join(job.folder, "lock")) for fd in os.listdir("/proc/%s/fd" % name))
        except OSError:
            continue
        if holds and line:
            os.kill(int(name), signal.SIGKILL)
    assert job.wait(5)
    result = run_module("tftrt_convert", **parameters)
    assert result["failed"] and "was killed while it was at" in result["msg"] and "Run again" in result["msg"]
    assert run_module("tftrt_convert", **parameters)["changed"]


def test_a_failure_leaves_nothing(run_module, parameters):
    result = run_module("tftrt_convert", **dict(parameters, signature="serving"))
    assert result["failed"] and "has no signature `serving`" in result["msg"] and result["signatures"] == ["serving_default"]
    assert left(parameters) == []


def test_the_time_limit(run_module, parameters):
    result = run_module("tftrt_convert", **dict(parameters, time_limit=1))
    assert result["failed"] and "did not finish within 1 seconds" in result["msg"] and left(parameters) == []


def test_a_plan_in_check_mode_needs_no_gpu(run_module, parameters):
    """The TensorFlow of the tests has no TF-TRT: that is said, and nothing fails. tests/tftrt has the plans themselves."""
    result = run_module("tftrt_convert", check=True, **dict(parameters, variant="tftrt", hardware_class="orin", precision="FP16"))
    assert result["changed"] and result["variant"] == "tftrt-orin-FP16" and "made without TF-TRT" in result["msg"]
    assert not result.get("failed") and left(parameters) == []


def test_check_mode_goes_on_without_a_runtime_or_a_source(run_module, parameters, tmp_path):
    for missing in ({"runtime": str(tmp_path / "no-tfleet")}, {"src": str(tmp_path / "later")}):
        result = run_module("tftrt_convert", check=True, **dict(parameters, **missing))
        assert result["changed"] and "Would convert" in result["msg"]
        assert run_module("tftrt_convert", **dict(parameters, **missing))["failed"]
    assert left(parameters) == []


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"variant": "tftrt"}, "hardware_class"),
        ({"variant": "tftrt", "hardware_class": "nano", "precision": "INT8", "device_precisions": ["FP32", "FP16"], "calibration": ["/a"]}, "has no INT8"),
        ({"variant": "tftrt", "hardware_class": "nano", "dynamic_shape": True}, "need a profile"),
        ({"variant": "tflite", "precision": "INT8"}, "needs calibration data"),
        ({"variant": "tftrt", "hardware_class": "nano", "shapes": {"images": "1x8xwide"}}, "shapes: the shape of images is '1x8xwide': write [1, 300"),
        ({"variant": "tftrt", "hardware_class": "nano"}, "made without TF-TRT"),
    ],
)
def test_what_is_refused(run_module, parameters, options, part):
    result = run_module("tftrt_convert", **dict(parameters, **options))
    assert result["failed"] and part in result["msg"] and left(parameters) == []


@pytest.mark.parametrize("shapes", [[1, 8, 8, 1], ["1", "8", "8", "1"], "1x8x8x1", ["1x8x8x1"], [[1, 8, 8, 1]]])
def test_a_shape_may_be_written_in_any_way(shapes):
    assert conversion_options.shapes("images", shapes) == [[1, 8, 8, 1]]


def test_shapes_become_arguments():
    given = dict.fromkeys(("hardware_class", "profile_strategy", "workspace_bytes", "cached_engines", "gpu_memory_bytes", "batch_sizes", "device_precisions"))
    given.update(precision="FP32", signature="s", tags=["serve"], calibration=[], minimum_segment_size=3)
    given.update(dynamic_shape=False, build=True, build_at_runtime=True)
    args = tftrt_convert.conversion_arguments(dict(given, shapes={"images": [1, 8, 8, 1], "masks": ["1x4", [2, 4]]}))
    assert [args[place + 1] for place, arg in enumerate(args) if arg == "--shape"] == ["images=1x8x8x1", "masks=1x4", "masks=2x4"]


@pytest.mark.parametrize("shapes", [[], "", 8.5, {}, [1, 0], [1, True], [[1, 8], "wide"], [[]], "1x-1", None])
def test_what_is_no_shape_is_told(shapes):
    with pytest.raises(ValueError, match=r"the shape of images is .* 1x300x300x3"):
        conversion_options.shapes("images", shapes)


@pytest.fixture
def systemctl(tmp_path, monkeypatch):
    """A systemctl that keeps the state of one unit in a file, and what it was asked in another."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "systemctl").write_text(
        "#!/bin/sh\necho $1 >> %(log)s\ncase $1 in start) echo active > %(state)s;; stop) echo inactive > %(state)s;; "
        "is-active) grep -q '^active' %(state)s;; esac\n" % {"log": tmp_path / "asked", "state": tmp_path / "state"}
    )
    (folder / "systemctl").chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", "%s:%s" % (folder, os.environ["PATH"]))
    (tmp_path / "state").write_text("active\n")
    return tmp_path


def test_the_server_is_stopped_for_the_time(run_module, parameters, systemctl):
    assert run_module("tftrt_convert", server_unit="model-server", **parameters)["changed"]
    assert (systemctl / "asked").read_text().split() == ["is-active", "stop", "start"]
    assert (systemctl / "state").read_text() == "active\n" and left(parameters) == ["one"]
    assert not run_module("tftrt_convert", server_unit="model-server", **parameters)["changed"]
    assert (systemctl / "asked").read_text().split() == ["is-active", "stop", "start"]


def test_the_server_comes_back_after_a_failure(run_module, parameters, systemctl):
    assert run_module("tftrt_convert", server_unit="model-server", signature="serving", **parameters)["failed"]
    assert (systemctl / "state").read_text() == "active\n" and left(parameters) == []


def test_a_server_that_did_not_run_stays_stopped(run_module, parameters, systemctl):
    (systemctl / "state").write_text("inactive\n")
    assert run_module("tftrt_convert", server_unit="model-server", **parameters)["changed"]
    assert (systemctl / "state").read_text() == "inactive\n"


def test_a_server_left_stopped_by_a_killed_run_is_started(run_module, parameters, systemctl):
    os.makedirs(os.path.dirname(parameters["dest"]))
    with open(os.path.join(os.path.dirname(parameters["dest"]), ".one.server-stopped"), "w") as stream:
        json.dump([["systemctl", "start", "model-server"]], stream)
    (systemctl / "state").write_text("inactive\n")
    result = run_module("tftrt_convert", server_unit="model-server", **parameters)
    assert "it was started again" in json.dumps(result["warnings"]) and left(parameters) == ["one"]
