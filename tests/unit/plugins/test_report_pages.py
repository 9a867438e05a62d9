"""The pages of rollouts and of the fleet: what they draw and say, whatever names and messages the hosts come up with."""

import html.parser
import json
import os
import pathlib
import subprocess
import sys

import numpy
import pytest
from ansible_collections.tfleet.serving.plugins.module_utils.fleet_status import fleet_status
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_report import trend
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_samples import drawn
from ansible_collections.tfleet.serving.plugins.module_utils.rollout_state import State
from ansible_collections.tfleet.serving.tests import report_pages as pages

from tfleet.client.samples import shortened

HOSTILE = """</title></text></pre><script>alert(1)</script><img src=x onerror="alert(1)">'"&amp;"""
# Braces in a ledger are text; in an inventory, which is trusted, they are Ansible's.
BRACES = HOSTILE + "{{ 7 * 7 }}"


class Seen(html.parser.HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.attributes, self.texts = [], [], []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.texts.append(data)


# ---- pages ----
def harmless(path):
    seen = Seen(path)
    assert not {"script", "img", "link", "iframe", "object", "form"} & set(seen.tags)
    assert not [attribute for attribute in seen.attributes if attribute[0].startswith("on") or attribute[0] in ("src", "href", "srcset")]
    assert "url(" not in path.read_text()
    # It is shown, each character of it.
    assert [text for text in seen.texts if HOSTILE in text]
    return seen


def test_a_page_of_a_rollout_shows_all_of_it_and_runs_nothing_of_it(tmp_path):
    names = tuple(name + BRACES for name in ("a", "b", "c"))
    lines = pages.ledger(names, model="digits" + BRACES, rollout="r" + BRACES, text=BRACES)
    # Where a number belongs a device may tell anything.
    told = {"requests": HOSTILE, "errors": [HOSTILE]}
    lines.insert(2, dict(lines[2], host=names[1], step="check", detail=told))
    lines.insert(2, dict(lines[3], host=names[1], detail={"transport": {"bytes_sent": HOSTILE}}))
    seen = harmless(pages.rollout_page(tmp_path, lines))
    text = " ".join(" ".join(seen.texts).split())
    assert BRACES in text
    for words in ("1 of 3 hosts serve digits", "It does not pass.", "E out of memory", "The disk is gone.", "no route to host", "0 to 9.5 ms", "1234",
                  "32.97 MB", "0.98"):
        assert words in text, words
    classes = [value for name, value in seen.attributes if name == "class"]
    assert {"stage", "gate", "promote", "check", "failed", "unreachable"} <= set(classes)
    assert seen.tags.count("figure") == 6


def test_a_page_of_the_fleet_shows_all_of_it_and_runs_nothing_of_it(tmp_path):
    hosts = {"good": pages.host(), "drifted": pages.host(stable=1, site="south" + HOSTILE),
             "broken": pages.host(model="digits" + HOSTILE, state="END", error=HOSTILE), "away": {"rollout_site": "south" + HOSTILE}}
    seen = harmless(pages.status_page(tmp_path, hosts, pages.ledger(), pages.ledger(rollout="digits-3-20261122T180000Z", text=BRACES)))
    text = " ".join(" ".join(seen.texts).split())
    for words in ("2 in trouble, 1 worth a look, 1 well.", "digits: the label stable is on version 1, declared is version 2.", "It was not reached",
                  "4 GiB of 8 GiB", "digits-3-20261122T180000Z", "rollback owed", "CPU-therm 51"):
        assert words in text, words


def test_a_fleet_of_which_no_host_answers_is_shown_as_such_and_not_as_it_was_before(tmp_path):
    away = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1, "tfleet_models": []}
    (tmp_path / "hosts.json").write_text(json.dumps({"cpu_servers": {"hosts": {"away": away, "gone": away}}}))
    (tmp_path / "reports").mkdir()
    page = tmp_path / "reports/status.html"
    page.write_text("the page of yesterday")
    command = [str(pathlib.Path(sys.executable).with_name("ansible-playbook")), "-i", str(tmp_path / "hosts.json"), "playbooks/status.yml", "--check",
               "-e", "tfleet_work_dir=%s" % tmp_path]
    done = subprocess.run(command, cwd=pages.CHECKOUT, env={**os.environ, "ANSIBLE_HOME": str(pages.CHECKOUT / ".ansible")},
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 4, done.stdout
    text = " ".join(" ".join(Seen(page).texts).split())
    assert "2 in trouble." in text and text.count("It was not reached") == 2, text


# ---- what is drawn ----
def test_classes_are_bars_of_the_best_that_were_expected_and_answered():
    sample, _objects, _number = pages.samples()
    sample["output"] = {"scores": [[0.0] * 9 + [1.0]], "classes": [9]}
    drawing = drawn(sample)
    assert (drawing["kind"], drawing["top"]) == ("bars", 1.0)
    assert drawing["rows"][0] == {"name": "2", "output": 0.0, "expected": 0.9}
    assert drawing["rows"][-1] == {"name": "9", "output": 1.0, "expected": 0.01}
    # Logits are no shares.
    assert drawn({"input": "x", "output": {"scores": [4.0, -1.0]}, "expected": {"scores": [8.0, 2.0]}})["top"] == 8.0


def test_objects_are_boxes_inside_the_picture():
    drawing = drawn({"input": "x", "expected": pages.OBJECTS,
                     "output": {"detection_boxes": [[[-0.5, 0.2, 0.5, 7.0]]], "detection_scores": [[0.9]], "detection_classes": [[1]]}})
    assert (drawing["kind"], len(drawing["expected"])) == ("boxes", 2)
    (box,) = drawing["output"]
    assert box == {"x": 0.2, "y": 0.0, "width": 0.8, "height": 0.5, "text": "1 0.90"}


@pytest.mark.parametrize("output", [{"y": [1.0, 2.0]}, {"y": 1.0}, {"y": ["a"]}, {}, {"z": None}, {"y": [float("nan")]}])
def test_anything_else_is_a_table_of_numbers(output):
    drawing = drawn({"input": "x", "output": output, "expected": {"y": [1.0, 3.0]}})
    assert (drawing["kind"], [row["expected"] for row in drawing["rows"]]) == ("numbers", ["1", "3"])


@pytest.mark.parametrize(("model", "version", "kind"), [("digits", 2, "bars"), ("digits_detector", 1, "boxes")])
def test_what_the_runtime_keeps_of_the_demo_models_can_be_drawn(model, version, kind):
    golden = numpy.load(str(pages.CHECKOUT / ("models/%s/%d/golden.npz" % (model, version))))
    outputs = {alias.split("/")[2]: golden[alias] for alias in golden.files if alias.startswith("0/outputs/")}
    (sample,) = shortened([("0", outputs, outputs)])
    drawing = drawn(json.loads(json.dumps(sample)))
    assert drawing["kind"] == kind
    assert drawing.get("rows") or drawing["output"] == drawing["expected"] != []


# ---- the fleet ----
def state_of(**more):
    variables = {"inventory_hostname": "h", **pages.host(), **more}
    (site,) = fleet_status([{**variables, "ansible_facts": {"tfleet_device": variables["device"]}}])["sites"]
    (host,) = site["hosts"]
    return host["state"], host["problems"]


def test_a_host_is_well_worth_a_look_or_in_trouble():
    assert state_of() == ("good", [])
    assert state_of(**pages.host(stable=1))[0] == "unsure"
    assert state_of(**pages.host(available=0.25)) == ("unsure", ["Only 256 MiB of 8 GiB are free: memory."])
    assert state_of(model_server_seen={"reachable": False, "address": "here"}, model_server_labels_now={"digits": {"stable": 2}})[0] == "bad"
    assert state_of(model_server_seen=None)[0] == "bad"
    hot = pages.host()
    hot["device"].update(thermal=[{"zone": "GPU-therm", "celsius": 95.0, "critical_celsius": 100.0}], throttling=["kernel: throttled"])
    assert state_of(**hot) == ("unsure", ["The zone GPU-therm has 95 °C, 100 are critical.", "It was slowed down: kernel: throttled."])


def test_hosts_without_a_site_come_last():
    hosts = [{"inventory_hostname": name, **pages.host(site=site)} for name, site in (("b", ""), ("d", "south"), ("c", "north"), ("a", "south"))]
    assert [(site["name"], [host["name"] for host in site["hosts"]]) for site in fleet_status(hosts)["sites"]] == [
        ("north", ["c"]), ("south", ["a", "d"]), ("", ["b"])]


def test_a_rollout_is_a_point_of_a_trend():
    lines = pages.ledger()
    point = trend(lines, State(lines))
    assert (point["outcome"], point["hosts"], point["versions"], point["new_ms"]) == ("stopped", 3, [2], 9.5)
    assert {count["status"]: count["number"] for count in point["counts"]} == {"done": 1, "owed": 1, "unreachable": 1}
