"""The inventory variable tfleet_models: what it may say, and what follows from it."""
import pytest
from ansible_collections.tfleet.serving.plugins.module_utils import models as rules
from ansible_collections.tfleet.serving.plugins.module_utils import reporting


def release(version, **more):
    return dict({"version": version, "source": "models/digits/%s/frozen_graph.pb" % version}, **more)


def digits(**more):
    return dict({"name": "digits", "releases": [release(1), release(2)]}, **more)


def normalise(*models):
    return rules.normalise(list(models), "/srv/models", "/checkout")


def test_defaults_are_filled_in():
    (model,) = normalise(digits())
    assert model["base_path"] == "/srv/models/digits"
    assert model["keep"] == 3
    assert model["policy"] == {"latest": {"num_versions": 2}}
    assert model["labels"] == {"canary": 2, "stable": 2}
    assert model["serve"] == [1, 2]
    assert [item["source"] for item in model["releases"]] == ["/checkout/models/digits/1/frozen_graph.pb", "/checkout/models/digits/2/frozen_graph.pb"]
    assert model["releases"][0]["kind"] == "auto" and model["releases"][0]["tags"] == ["serve"]


def test_one_tag_may_be_written_without_a_list():
    assert normalise(digits(releases=[release(1, tags="serve")]))[0]["releases"][0]["tags"] == ["serve"]


def test_releases_are_sorted_by_number():
    (model,) = normalise({"name": "m", "releases": [release(10), release(9)]})
    assert [item["version"] for item in model["releases"]] == [9, 10]
    assert model["labels"]["stable"] == 10


@pytest.mark.parametrize("policy, serve", [
    ({"latest": {"num_versions": 1}}, [2]),
    ({"latest": {}}, [2]),
    ({"all": {}}, [1, 2]),
    ({"all": None}, [1, 2]),
    ({"specific": {"versions": [1]}}, [1]),
])
def test_the_policy_decides_what_is_served(policy, serve):
    (model,) = normalise(digits(policy=policy))
    assert model["serve"] == serve
    assert model["labels"] == {"canary": serve[-1], "stable": serve[-1]}


@pytest.mark.parametrize("models, words", [
    ("digits", ["must be a list", "text"]),
    (["digits"], ["tfleet_models[0]", "dictionary"]),
    ([{"releases": []}], ["no name"]),
    ([digits(name="a/b")], ["a/b", "letters"]),
    ([digits(name="../up")], ["letters"]),
    ([digits(relases=[])], ["unknown key 'relases'", "did you mean releases"]),
    ([digits(base_path="models/digits")], ["relative", "absolute"]),
    ([digits(), digits(base_path="/elsewhere")], ["two models have the name digits"]),
    ([digits(base_path="/srv/one"), digits(name="other", base_path="/srv/one")], ["two models have the base_path /srv/one"]),
    ([digits(base_path="s3://bucket/digits")], ["not on this host"]),
    ([digits(), digits(name="other", base_path="/srv/models/digits/")], ["two models have the base_path"]),
    ([digits(), digits(name="other", base_path="/srv/models/digits/1")], ["lies inside that of digits"]),
    ([digits(name="a\n")], ["letters"]),
    ([digits(releases=[release("7\n")])], ["integer"]),
    ([digits(releases=[release(1, golden=3)])], ["golden must be text, not int"]),
    ([digits(releases=[release(1, variant=["x"])])], ["variant must be text, not a list"]),
    ([digits(releases=[release(1, tags={"serve": 1})])], ["tags must be a list of texts"]),
    ([digits(releases=[release(1, source="HTTP://a/b.pb")])], ["checksum: sha256"]),
    ([digits(keep=0)], ["keep must be between 1"]),
    ([digits(keep=1)], ["2 releases", "keep is 1"]),
    ([digits(releases=[release(0)])], ["version must be between 1"]),
    ([digits(releases=[release(-3)])], ["version must be between 1"]),
    ([digits(releases=[release("v2")])], ["integer", "'v2'"]),
    ([digits(releases=[release(True)])], ["integer", "True"]),
    ([digits(releases=[release(1.5)])], ["integer", "1.5"]),
    ([digits(releases=[release(2 ** 63)])], ["2^63-1"]),
    ([digits(releases=[release(1), release("1")])], ["version 1 is released twice"]),
    ([digits(releases=[{"version": 1}])], ["no source"]),
    ([digits(releases=[{"source": "x"}])], ["no version"]),
    ([digits(releases=[release(1, source="https://a/b.pb")])], ["checksum: sha256"]),
    ([digits(releases=[release(1, checksum="md5:1")])], ["64 hexadecimal"]),
    ([digits(releases=[release(1, kind="frozen")])], ["kind 'frozen'", "did you mean frozen_graph"]),
    ([digits(releases=[release(1, latency_budget_ms="fast")])], ["positive number"]),
    ([digits(releases=[release(1, latency_budget_ms=float("nan"))])], ["positive number"]),
    ([digits(releases=[release(1, signatures={"serving_default": {"inputs": {"x": "image"}, "outputs": {"y": "y:0"}}})])], ['"image:0"', "names an operation"]),
    ([digits(releases=[release(1, signatures={"s": {"inputs": {}, "outputs": {"y": "y:0"}}})])], ["inputs must name at least one"]),
    ([digits(policy={"last": 2})], ["policy 'last' is unknown"]),
    ([digits(policy={"latest": {}, "all": {}})], ["exactly one"]),
    ([digits(policy={"specific": {"version": [1]}})], ["unknown key 'version'", "did you mean versions"]),
    ([digits(policy={"specific": {"versions": []}})], ["needs versions"]),
    ([digits(labels={"stable": 3})], ["stable", "version 3", "not among its releases (1, 2)"]),
    ([digits(labels={"a b": 1})], ["without '/'"]),
    ([digits(policy={"latest": {"num_versions": 1}}, labels={"stable": 1})], ["policy does not load", "Raise num_versions"]),
])
def test_what_is_wrong_is_said_with_the_remedy(models, words):
    with pytest.raises(rules.ModelsError) as error:
        rules.normalise(models, "/srv/models", "/checkout")
    for word in words:
        assert word in str(error.value)


def test_a_model_whose_versions_somebody_else_brings_may_have_labels():
    (model,) = normalise({"name": "half", "base_path": "/models/half", "policy": {"specific": {"versions": [2, 3]}}, "labels": {"stable": 2}})
    assert (model["releases"], model["serve"], model["labels"]) == ([], [], {"stable": 2})
    assert rules.served_labels([model], {}, {"half": [2, 3]}, "all") == {"half": {"stable": 2}}


def test_a_relative_models_root_is_refused():
    with pytest.raises(rules.ModelsError, match="absolute"):
        rules.normalise([], "models", "/checkout")


@pytest.mark.parametrize("listen, address", [
    ("127.0.0.1", "127.0.0.1:8500"), ("10.1.2.3", "10.1.2.3:8500"), ("0.0.0.0", "127.0.0.1:8500"), ("::", "127.0.0.1:8500"), ("::1", "[::1]:8500"),
])
def test_clients_on_the_host_reach_the_server_where_it_listens(listen, address):
    assert rules.client_address(listen, 8500) == address


def test_versions_on_disk_are_sorted_by_model_and_number():
    models = normalise(digits(), {"name": "other", "base_path": "/data/other", "releases": [release(1)]})
    found = rules.versions_on_disk(models, ["/srv/models/digits/10", "/srv/models/digits/9", "/data/other/3", "/elsewhere/1"])
    assert found == {"digits": [9, 10], "other": [3]}


class TestLabels:
    """A label stays where it is until its turn to move has come."""

    models = normalise(digits(labels={"canary": 2, "stable": 2}))
    disk = {"digits": [1, 2]}

    def test_nothing_moves_before_the_proof(self):
        now = {"digits": {"canary": 1, "stable": 1}}
        assert rules.served_labels(self.models, now, self.disk, []) == now

    def test_canary_moves_first(self):
        now = {"digits": {"canary": 1, "stable": 1}}
        assert rules.served_labels(self.models, now, self.disk, ["canary"]) == {"digits": {"canary": 2, "stable": 1}}

    def test_all_follow_and_an_undeclared_one_goes(self):
        now = {"digits": {"canary": 2, "stable": 1, "old": 1}}
        assert rules.served_labels(self.models, now, self.disk, "all") == {"digits": {"canary": 2, "stable": 2}}

    def test_a_label_on_a_version_that_is_gone_is_dropped(self):
        now = {"digits": {"stable": 7}}
        assert rules.served_labels(self.models, now, self.disk, []) == {"digits": {}}


class TestRollback:
    models = normalise(digits(), {"name": "other", "releases": [release(1)]})

    def plan(self, labels, disk, **more):
        return rules.rollback_plan(self.models, {"digits": labels}, {"digits": disk, "other": [1]}, **more)

    def test_to_the_version_below_the_newest(self):
        result = self.plan({"canary": 3, "stable": 3}, [1, 2, 3])
        assert result["plan"] == [{"name": "digits", "base_path": "/srv/models/digits", "to": 2, "aside": [3]}]
        assert result["labels"] == {"digits": {"canary": 2, "stable": 2}}
        assert result["policies"] == {"digits": {"specific": {"versions": [2, 3]}}}
        assert result["wait"] == [{"name": "digits", "version": 2}]
        assert result["sentences"] == ["digits returns from version 3 to version 2.",
                                       "other stays: no older version is on the host (it holds: 1)."]

    def test_a_deployment_that_stopped_half_way_returns_to_stable(self):
        assert self.plan({"canary": 3, "stable": 1}, [1, 2, 3])["plan"][0]["to"] == 1

    def test_an_exact_version(self):
        plan = self.plan({"stable": 3}, [1, 2, 3], names=["digits"], version="1")["plan"]
        assert plan[0]["to"] == 1 and plan[0]["aside"] == [2, 3]

    @pytest.mark.parametrize("more, words", [
        ({"names": ["digit"]}, "did you mean digits"),
        ({"names": ["digits"], "version": 9}, "version 9 is not on this host. It holds: 1, 2"),
        ({"version": 1}, "rollback_version needs rollback_model"),
    ])
    def test_what_cannot_be_done_is_said(self, more, words):
        with pytest.raises(rules.ModelsError) as error:
            self.plan({"stable": 2}, [1, 2], **more)
        assert words in str(error.value)


class TestReport:
    models = normalise(digits(releases=[release(1), release(2, golden="g.npz", sample="s.png")]))

    def answer(self, **more):
        item = reporting.smoke_items(self.models, [more.pop("address", "127.0.0.1:8500")], more.pop("label", None))[0]
        return dict({"item": item, "ok": True, "version": 2, "latency_ms": {"p50": 1.0, "max": 2.0},
                     "worst_error": {"abs": 1e-6}, "requests": 4}, **more)

    def test_only_releases_with_golden_answers_are_asked(self):
        assert [item["version"] for item in reporting.smoke_items(self.models, ["a:1"])] == [2]
        assert reporting.smoke_items(self.models, ["a:1"], "stable")[0]["label"] == "stable"
        assert reporting.smoke_items(self.models, ["a:1"], "stable", {"digits": {"stable": 1}}) == []

    def test_every_server_of_a_host_is_asked_and_has_a_line_of_its_own(self):
        assert [item["address"] for item in reporting.smoke_items(self.models, ["a:1", "a:2"])] == ["a:1", "a:2"]
        results = [reporting.smoke_result(self.answer(address="a:1"), "h"), reporting.smoke_result(self.answer(address="a:2", ok=False, msg="x"), "h")]
        assert [(line["address"], line["ok"]) for line in reporting.smoke_summary(results)] == [("a:1", True), ("a:2", False)]

    def test_one_line_for_each_version_with_the_worst(self):
        results = [reporting.smoke_result(self.answer(), "h"),
                   reporting.smoke_result(self.answer(label="stable", latency_ms={"p50": 3.0, "max": 4.0}), "h")]
        (line,) = reporting.smoke_summary(results)
        assert line["ok"] is True and line["by"] == ["version", "stable"] and line["requests"] == 8
        assert line["latency_ms"]["p50"] == 3.0

    def test_an_answer_of_another_version_is_wrong(self):
        result = reporting.smoke_result(self.answer(label="stable", version=1), "h")
        assert result["ok"] is False and "came from version 1" in result["msg"]

    def test_a_failure_names_host_model_and_version(self):
        result = reporting.smoke_result(self.answer(ok=False, failed=True, msg="unreachable"), "nano-7")
        assert result["ok"] is False and result["msg"] == "nano-7 at 127.0.0.1:8500, model digits, version 2: unreachable"

    def test_a_failure_before_an_answer_leaves_the_answers_figures(self):
        wrong = reporting.smoke_result(self.answer(ok=False, msg="x", latency_ms=None, worst_error=None), "h")
        (line,) = reporting.smoke_summary([wrong, reporting.smoke_result(self.answer(), "h")])
        assert (line["ok"], line["latency_ms"]["p50"]) == (False, 1.0)

    def test_only_a_version_that_was_not_stable_before_is_taken_back(self):
        wrong = reporting.smoke_result(self.answer(ok=False, msg="x"), "h")
        assert reporting.unproven_models([wrong], {}) == ["digits"]
        assert reporting.unproven_models([wrong], {"digits": {"stable": 1}}) == ["digits"]
        assert reporting.unproven_models([wrong], {"digits": {"stable": 2}}) == []

    def test_a_failed_line_makes_the_summary_fail(self):
        results = [reporting.smoke_result(self.answer(), "h"), reporting.smoke_result(self.answer(ok=False, msg="x", latency_ms=None), "h")]
        assert reporting.smoke_summary(results)[0]["ok"] is False

    def test_the_table_shows_state_labels_and_reasons(self):
        host = {
            "inventory_hostname": "nano", "preflight_models": self.models,
            "model_server_versions_on_disk": {"digits": [1, 2]}, "model_server_labels_now": {"digits": {"stable": 1}},
            "model_server_seen": {"reachable": True, "models": {"digits": {"versions": [
                {"version": 2, "state": "END", "error_message": "no saved_model.pb"}, {"version": 1, "state": "AVAILABLE", "error_message": ""}]}}},
        }
        table = reporting.status_table([host, {"inventory_hostname": "gone"}])
        assert [line.split() for line in table.splitlines()[1:3]] == [
            ["nano", "digits", "2", "END", "1", "2"], ["nano", "digits", "1", "AVAILABLE", "stable", "1", "2"]]
        assert "not reached" in table
        assert table.endswith("\n\nnano, digits version 2: no saved_model.pb")
