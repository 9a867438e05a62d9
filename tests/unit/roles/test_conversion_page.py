"""The page of conversions and benchmarks: it opens without a server, tells every decision, and hosts cannot write into it."""

import base64
import datetime
import html.parser
import pathlib

import jinja2
import pytest

TEMPLATE = pathlib.Path(__file__).parents[3] / "templates/reports/conversion.html.j2"
NASTY = '<script>alert("x")</script>'


def flatten(values):
    return [item for value in values for item in (flatten(value) if isinstance(value, list) else [value])]


def render(*entries):
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # as Ansible renders; the template escapes
    environment.filters["flatten"] = flatten
    environment.filters["ansible.builtin.b64encode"] = lambda text: base64.b64encode(text.encode()).decode()
    environment.filters["tfleet.serving.base64_file"] = lambda path: base64.b64encode(pathlib.Path(path).read_bytes()).decode()
    environment.globals["now"] = lambda: datetime.datetime(2026, 1, 1)
    return environment.from_string(TEMPLATE.read_text()).render(conversion_report={"title": "Conversions", "entries": list(entries)})


def parity(holds=True, **more):
    output = {"max_abs": 0.001, "mean_abs": 0.0001, "max_rel": 0.1, "mean_rel": 0.01, "equal": 0.5, "top1": 0.987, "topk": 1.0, "whole": False}
    outputs = {"scores": output, "classes": dict(output, top1=None, topk=None, whole=True, max_abs=7)}
    problems = [] if holds else ["Output 'scores' is off."]
    found = {"holds": holds, "outputs": outputs, "problems": problems, "rows": 72, "batch_size": 16, "worst": []}
    return dict(found, **dict({"detection": None, "map": None, "accuracy": None}, **more))


def benchmark(verdict="faster", high=1.5, name="tflite-int8"):
    row = {"name": "native", "batch_size": 1, "concurrency": 4, "rate": None, "throughput": 100.0, "cpu_ms": None, "memory_mb": None, "errors": {},
           "latency_ms": {"p50": 1.0, "p90": 1.0, "p99": 1.0, "p99.9": 1.0}}  # fmt: skip
    line = {"name": name, "baseline": "native", "ratio": 1.4, "low": 1.3, "high": high, "verdict": verdict, "reason": name + " has 1.4 times."}
    return {"mode": "served", "chart": "<svg/>", "builds": [{"name": "native"}, {"name": name}], "rounds": 10, "results": [row, dict(row, name=name)],
            "summary": [line], "conditions": {"power_mode": "MAXN", "notes": ["It was busy."]}}  # fmt: skip


def entry(decision="promoted", variant="tflite-int8", **more):
    candidate = {"variant": variant, "version": 4, "decision": decision, "reason": "Because.", "parity": parity(), "picture": None}
    candidate.update(more)
    return {"model": "digits", "host": "edge", "hardware_class": "cpu-x86_64", "native": "version 2", "candidates": [candidate]}


class Page(html.parser.HTMLParser):
    """Collects where a page points to, and whether its elements are closed."""

    def __init__(self, text):
        super().__init__()
        self.targets, self.open, self.tags = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.targets += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_it_opens_without_a_server(tmp_path):
    picture = tmp_path / "worst.png"
    picture.write_bytes(b"\x89PNG")
    page = Page(render(dict(entry(picture=str(picture)), benchmarks=[benchmark()])))
    assert page.open == [] and page.tags.isdisjoint({"script", "link", "iframe"})
    assert len(page.targets) == 2 and all(target.startswith("data:image/") for target in page.targets)


@pytest.mark.parametrize("decision, words", [
    ("promoted", "1 of 1 promoted"), ("kept native", "the native build stays"), ("failed", "could not be judged"), ("measured", "nothing was released"),
])
def test_every_decision_has_its_verdict(decision, words):
    assert words in render(entry(decision))


def test_speed_and_errors_stand_in_the_table():
    text = render(dict(entry(), benchmarks=[benchmark()]))
    for words in ("×1.40", "1.30 – 1.50", "98.7 %", ">0.001<", "faster</span>", "It was busy.", "power mode MAXN"):
        assert words in text, words


def test_what_was_not_measured_is_left_open():
    text = render(entry("failed", parity=None, version=None), dict(entry("kept native", parity=parity(False)), benchmarks=[benchmark("undecided", None)]))
    assert "Output &#39;scores&#39; is off." in text and "1.30 – ?" in text
    assert render() and "Nothing was compared" in render()


def test_a_detector_is_told_by_its_objects():
    found = {"reference": 9, "candidate": 8, "matched": 0.9, "classes": None, "min_iou": 0.5}
    text = render(entry(parity=parity(detection=found, map={"reference": 0.96, "candidate": 0.95})))
    assert "90.0 %" in text and "mAP 0.9600 and 0.9500" in text


def test_hosts_cannot_write_into_it():
    nasty = dict(entry(variant=NASTY, reason=NASTY, parity=parity(False, problems=[NASTY])), model=NASTY, host=NASTY, hardware_class=NASTY, native=NASTY)
    measured = benchmark(name=NASTY)
    measured["conditions"] = {"power_mode": NASTY, "notes": [NASTY]}
    measured["chart"] = NASTY
    # Where a number belongs a host may tell anything.
    measured["rounds"] = measured["results"][0]["batch_size"] = measured["summary"][0]["verdict"] = NASTY
    page = Page(render(dict(nasty, benchmarks=[measured])))
    assert "script" not in page.tags
