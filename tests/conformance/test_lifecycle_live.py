"""Versions that come, go and fail while a server is being asked; reloads; the end of the server."""

import os
import shutil
import signal
import threading
import time

import pytest
from live_server import LiveServer

from tfleet import wire

FAST = ("--file_system_poll_wait_seconds=1", "--max_num_load_retries=0")


def release(model_files, version, base, number, damage=False):
    """Puts a copy of half/<version> under base as the version number, with one rename as a release does."""
    staging = base / (".staging-%d" % number)
    shutil.copytree(str(model_files / "half" / str(version)), str(staging))
    if damage:
        with open(str(staging / "saved_model.pb"), "r+b") as file:
            file.truncate(100)
    os.rename(str(staging), str(base / str(number)))


def config(*models):
    """Text of a ModelConfigList's configs from (name, base_path, more)."""
    return "model_config_list { %s }" % " ".join(
        'config { name: "%s" base_path: "%s" model_platform: "tensorflow" %s }' % model for model in models)


def wait_until(condition, seconds=20):
    deadline = time.time() + seconds
    while not condition():
        assert time.time() < deadline
        time.sleep(0.05)


COUNT = 'model_spec { name: "%s" } inputs { key: "n" value { dtype: DT_INT64 tensor_shape { } int64_val: %d } }'


def steps_in(server, model, seconds):
    """How far the model `slow` counts in that time, here and now."""
    began = time.time()
    assert server.call(wire.PREDICT, COUNT % (model, 20000))[0] == "OK"
    return int(20000 * seconds / (time.time() - began))


def test_a_version_replaced_under_load_fails_no_request(own_models, model_files):
    base = own_models / "m"
    base.mkdir()
    release(model_files, 1, base, 1)
    with LiveServer("--model_name=m", "--model_base_path=%s" % base, *FAST) as server:
        stop, wrong, seen = threading.Event(), [], set()

        def ask():
            while not stop.is_set():
                try:
                    version, y = server.predict("m", [2.0])
                    seen.add(version)
                    if y != [{1: 3.0, 2: 4.0, 3: 3.0}[version]]:
                        wrong.append((version, y))
                except AssertionError as failed:
                    wrong.append(failed)

        askers = [threading.Thread(target=ask) for _ in range(4)]
        for asker in askers:
            asker.start()
        for number, content in ((2, 2), (3, 1)):
            release(model_files, content, base, number)
            server.wait_state("m", number, "AVAILABLE")
            server.wait_state("m", number - 1, "END")
        stop.set()
        for asker in askers:
            asker.join()
        assert not wrong, wrong[:3]
        assert seen == {1, 2, 3}
        assert server.states("m") == {3: ("AVAILABLE", ""), 2: ("END", ""), 1: ("END", "")}


def test_a_bad_version_among_good_ones(own_models, model_files):
    good, bad = own_models / "good", own_models / "bad"
    for base in (good, bad):
        base.mkdir()
        release(model_files, 1, base, 1)
    file = own_models / "model.config"
    file.write_text(config(("good", good, ""), ("bad", bad, "")))
    with LiveServer("--model_config_file=%s" % file, "--tfleet_retry_failed_version_on_change", *FAST) as server:
        release(model_files, 2, bad, 2, damage=True)
        release(model_files, 2, good, 2)
        assert server.wait_state("bad", 2, "END") == "Can't parse %s/2/saved_model.pb as binary proto" % bad
        server.wait_state("good", 2, "AVAILABLE")
        assert server.predict("bad", [2.0]) == (1, [3.0])
        assert server.states("bad")[1][0] == "AVAILABLE"
        # With our flag a repaired version is loaded without being taken away first.
        shutil.copy(str(model_files / "half" / "2" / "saved_model.pb"), str(bad / "2" / "saved_model.pb"))
        server.wait_state("bad", 2, "AVAILABLE")
        assert server.predict("bad", [2.0]) == (2, [4.0])


def test_a_failed_version_is_not_tried_again_until_it_was_away(own_models, model_files):
    base = own_models / "m"
    base.mkdir()
    release(model_files, 1, base, 1)
    with LiveServer("--model_name=m", "--model_base_path=%s" % base, *FAST) as server:
        release(model_files, 2, base, 2, damage=True)
        server.wait_state("m", 2, "END")
        shutil.copy(str(model_files / "half" / "2" / "saved_model.pb"), str(base / "2" / "saved_model.pb"))
        time.sleep(2.5)
        assert server.states("m")[2][0] == "END"
        os.rename(str(base / "2"), str(base / "away"))
        time.sleep(2.5)
        os.rename(str(base / "away"), str(base / "2"))
        server.wait_state("m", 2, "AVAILABLE")


def test_requests_in_flight_finish_before_their_version_goes(own_models, model_files):
    base = own_models / "m"
    base.mkdir()
    with LiveServer("--model_name=m", "--model_base_path=%s" % base, *FAST, wait=False) as server:
        # How long a request takes depends on what else the machine does: one that was over too soon, or late, is repeated.
        for version, seconds in ((1, 4.0), (2, 10.0), (3, 30.0)):
            shutil.copytree(str(model_files / "slow" / "1"), str(base / str(version)))
            server.wait_listening()
            server.wait_state("m", version, "AVAILABLE")
            if _finished_before_it_went(server, base, version, seconds):
                return
    pytest.fail("no request was in flight when its version was to go")


def _finished_before_it_went(server, base, version, seconds):
    """Whether a request of about so long was in flight; if so, asserts that the version waited for it."""
    answers = []
    steps = steps_in(server, "m", seconds)
    request = COUNT % ("m", steps)
    asker = threading.Thread(target=lambda: answers.append(server.call(wire.PREDICT, request, timeout=300)))
    asker.start()
    time.sleep(0.3)
    shutil.rmtree(str(base / str(version)))
    wait_until(lambda: server.states("m")[version][0] in ("UNLOADING", "END"))
    time.sleep(0.1)  # the state is told first
    refused = server.call(wire.PREDICT, request)[0]
    in_flight = asker.is_alive() and server.states("m")[version][0] == "UNLOADING"
    asker.join()
    server.wait_state("m", version, "END")
    if in_flight:
        assert refused == "NOT_FOUND"
        assert answers[0][0] == "OK"
        assert list(answers[0][1].outputs["count"].int64_val) == [steps]
    return in_flight


def test_policies(own_models, model_files):
    base = own_models / "m"
    base.mkdir()
    for number in (1, 2, 5):
        release(model_files, 1, base, number)
    os.rename(str(base / "2"), str(base / "00002"))
    for name in ("text", "7x"):
        (base / name).mkdir()
    file = own_models / "model.config"
    file.write_text(config(
        ("default", base, ""), ("two", base, "model_version_policy { latest { num_versions: 2 } }"),
        ("zero", base, "model_version_policy { latest { num_versions: 0 } }"), ("all", base, "model_version_policy { all {} }"),
        ("some", base, "model_version_policy { specific { versions: 1 versions: 2 versions: 9 } }")))
    with LiveServer("--model_config_file=%s" % file, *FAST) as server:
        expected = {"default": {5}, "two": {5, 2}, "zero": {5}, "all": {5, 2, 1}, "some": {2, 1}}
        for name, versions in expected.items():
            wait_until(lambda n=name, v=versions: {k: s[0] for k, s in server.states(n).items()} == dict.fromkeys(v, "AVAILABLE"))
        # A release that vanished for a while comes back with its own number.
        os.rename(str(base / "5"), str(base / "aside"))
        server.wait_state("default", 2, "AVAILABLE")
        server.wait_state("default", 5, "END")
        os.rename(str(base / "aside"), str(base / "5"))
        server.wait_state("default", 5, "AVAILABLE")
        assert server.predict("some", [2.0]) == (2, [3.0])


def test_no_version_left_unloads_everything_but_a_missing_path_nothing(own_models, model_files):
    one, two = own_models / "one", own_models / "two"
    for base in (one, two):
        base.mkdir()
        release(model_files, 1, base, 1)
    file = own_models / "model.config"
    file.write_text(config(("one", one, ""), ("two", two, "")))
    with LiveServer("--model_config_file=%s" % file, *FAST) as server:
        os.rename(str(two), str(own_models / "away"))
        release(model_files, 2, one, 2)
        time.sleep(2.5)
        # One missing base_path stops the updates of all models, and nothing is unloaded.
        assert server.states("one") == {1: ("AVAILABLE", "")}
        assert server.predict("two", [2.0]) == (1, [3.0])
        two.mkdir()
        server.wait_state("two", 1, "END")
        server.wait_state("one", 2, "AVAILABLE")
        assert server.call(wire.PREDICT, 'model_spec { name: "two" }') == ("NOT_FOUND", "Servable not found for request: Latest(two)")


def test_a_missing_path_blocks_only_itself_with_our_flag(own_models, model_files):
    one = own_models / "one"
    one.mkdir()
    release(model_files, 1, one, 1)
    file = own_models / "model.config"
    file.write_text(config(("absent", own_models / "absent", ""), ("one", one, "")))
    with LiveServer("--model_config_file=%s" % file, "--tfleet_missing_path_blocks_only_itself", *FAST) as server:
        assert server.predict("one", [2.0]) == (1, [3.0])
        release(model_files, 2, one, 2)
        server.wait_state("one", 2, "AVAILABLE")
        shutil.copytree(str(one), str(own_models / "absent"))
        server.wait_state("absent", 2, "AVAILABLE")


def reload_request(text):
    return "config { %s }" % text


def test_reload_replaces_the_whole_config(own_models, model_files):
    bases = {name: own_models / name for name in ("a", "b")}
    for base in bases.values():
        base.mkdir()
        release(model_files, 1, base, 1)
    with LiveServer("--model_name=a", "--model_base_path=%s" % bases["a"], *FAST) as server:
        assert server.call(wire.RELOAD_CONFIG, reload_request(config(("b", bases["b"], ""))))[0] == "OK"
        assert server.predict("b", [2.0]) == (1, [3.0])
        server.wait_state("a", 1, "END")
        code, answer = server.call(wire.RELOAD_CONFIG, reload_request("model_config_list {}"))
        assert (code, answer.status.error_code) == ("OK", 0)
        server.wait_state("b", 1, "END")


def test_reload_with_a_model_that_fails(own_models, model_files):
    base = own_models / "a"
    base.mkdir()
    release(model_files, 1, base, 1)
    bad = own_models / "bad"
    (bad / "4").mkdir(parents=True)
    with LiveServer("--model_name=a", "--model_base_path=%s" % base, *FAST) as server:
        code, message = server.call(wire.RELOAD_CONFIG, reload_request(config(("a", base, ""), ("bad", bad, ""))))
        assert code == "UNKNOWN"
        assert message.startswith("1 model(s) did not become available: {{name: bad version: 4} due to error: NOT_FOUND: Could not find SavedModel")
        assert server.predict("a", [2.0]) == (1, [3.0])
        code, message = server.call(wire.RELOAD_CONFIG, reload_request(config(("a", base, "logging_config {}"))))
        assert (code, message) == ("FAILED_PRECONDITION", "No request-logger-creator provided.")
        code, message = server.call(wire.RELOAD_CONFIG, 'config { model_config_list { config { name: "a" base_path: "/a" model_platform: "other" } } }')
        assert (code, message) == ("INVALID_ARGUMENT", "Illegal to change a model's platform. For model a platform was tensorflow and new "
                                                       "platform requested is other")


def test_reload_polls_at_once_with_our_flag(own_models, model_files):
    bases = {name: own_models / name for name in ("a", "b")}
    for base in bases.values():
        base.mkdir()
        release(model_files, 1, base, 1)
    slow_poll = ("--file_system_poll_wait_seconds=3600", "--max_num_load_retries=0")
    both = reload_request(config(("a", bases["a"], ""), ("b", bases["b"], "")))
    with LiveServer("--model_name=a", "--model_base_path=%s" % bases["a"], *slow_poll) as server:
        assert server.call(wire.RELOAD_CONFIG, both, timeout=2)[0] == "DEADLINE_EXCEEDED"
        assert server.predict("a", [2.0]) == (1, [3.0])
    with LiveServer("--model_name=a", "--model_base_path=%s" % bases["a"], "--tfleet_reload_polls_at_once", *slow_poll) as server:
        assert server.call(wire.RELOAD_CONFIG, both, timeout=10)[0] == "OK"
        for is_gone in (True, False):  # the second time the old one may still be on its way out
            only_a = reload_request(config(("a", bases["a"], "")))
            assert server.call(wire.RELOAD_CONFIG, only_a, timeout=10)[0] == "OK"
            if is_gone:
                server.wait_state("b", 1, "END")
            code, answer = server.call(wire.RELOAD_CONFIG, both, timeout=10)
            assert code == "OK", answer
            server.wait_state("b", 1, "AVAILABLE")
        assert server.predict("b", [2.0]) == (1, [3.0])
        assert server.predict("b", [2.0]) == (1, [3.0])


def test_labels(own_models, model_files):
    base = own_models / "m"
    base.mkdir()
    release(model_files, 1, base, 1)
    release(model_files, 2, base, 2)

    def labelled(**labels):
        entries = " ".join('version_labels { key: "%s" value: %d }' % item for item in labels.items())
        return reload_request(config(("m", base, "model_version_policy { all {} } " + entries)))

    def error(version):
        return "FAILED_PRECONDITION", ("Request to assign label to version %d of model m, which is not currently available for inference" % version)

    file = own_models / "model.config"
    file.write_text(config(("m", base, "model_version_policy { all {} }")))
    for allowed in (False, True):
        with LiveServer("--model_config_file=%s" % file, "--allow_version_labels_for_unavailable_models=%s" % str(allowed).lower(), *FAST) as server:
            server.wait_state("m", 1, "AVAILABLE")
            assert server.call(wire.RELOAD_CONFIG, labelled(stable=1, also=1))[0] == "OK"
            assert server.http("POST", "/v1/models/m/labels/also:predict", '{"instances": [2]}')[2] == b'{\n    "predictions": [3.0\n    ]\n}'
            # Moving a label needs an available version, with the flag or without it.
            assert server.call(wire.RELOAD_CONFIG, labelled(stable=7)) == error(7)
            assert server.http("POST", "/v1/models/m/labels/stable:predict", '{"instances": [2]}')[0] == 200
            # A new label may point ahead only with the flag.
            answer = server.call(wire.RELOAD_CONFIG, labelled(stable=2, new=7))
            assert answer[0] == "OK" if allowed else answer == error(7)
            if allowed:
                assert server.http("POST", "/v1/models/m/labels/stable:predict", '{"instances": [2]}')[2] == b'{\n    "predictions": [4.0\n    ]\n}'
                # The map was replaced as a whole.
                assert server.http("POST", "/v1/models/m/labels/also:predict", '{"instances": [2]}')[0] == 400


def test_polling_of_the_config_file(own_models, model_files):
    bases = {name: own_models / name for name in ("a", "b")}
    for base in bases.values():
        base.mkdir()
        release(model_files, 1, base, 1)
    file = own_models / "model.config"
    file.write_text(config(("a", bases["a"], "")))
    with LiveServer("--model_config_file=%s" % file, "--model_config_file_poll_wait_seconds=1", *FAST) as server:
        file.write_text("model_config_list { config { broken")
        time.sleep(2.5)
        assert "PollFilesystemAndReloadConfig failed to ReloadConfig: INVALID_ARGUMENT: Invalid protobuf file: '%s'" % file in server.log
        assert server.predict("a", [2.0]) == (1, [3.0])
        file.write_text(config(("b", bases["b"], "")))
        server.wait_state("b", 1, "AVAILABLE")
        server.wait_state("a", 1, "END")


def slow_request(server, answers):
    request = COUNT % ("slow", steps_in(server, "slow", 3.0))
    asker = threading.Thread(target=lambda: answers.append(server.call(wire.PREDICT, request, timeout=60)))
    asker.start()
    time.sleep(0.3)
    return asker


def test_sigterm_drains_with_our_flag(own_models, model_files):
    with LiveServer("--model_name=slow", "--model_base_path=%s/slow" % model_files, "--enable_grpc_healthcheck_service",
                    "--tfleet_drain_seconds=30", *FAST) as server:
        grpc_answers, rest_answers = [], []
        askers = [slow_request(server, grpc_answers),
                  threading.Thread(target=lambda: rest_answers.append(server.http("POST", "/v1/models/slow:predict", '{"inputs": 200000}')))]
        askers[1].start()
        health = server._channel.unary_stream(wire.HEALTH_WATCH)(b"", timeout=60)
        statuses = [next(health)]
        time.sleep(0.2)
        assert server.terminate() == 0
        statuses += list(health)
        assert [wire.HealthCheckResponse.FromString(status).status for status in statuses] == [1, 2]
        for asker in askers:
            asker.join()
        assert grpc_answers[0][0] == "OK"
        assert rest_answers[0][0] == 200


def test_sigterm_ends_at_once_by_default(own_models, model_files):
    with LiveServer("--model_name=slow", "--model_base_path=%s/slow" % model_files, *FAST) as server:
        answers = []
        asker = slow_request(server, answers)
        began = time.time()
        assert server.terminate() == -signal.SIGTERM
        assert time.time() - began < 2
        asker.join()
        assert answers[0][0] == "UNAVAILABLE"


@pytest.mark.parametrize("number", [signal.SIGINT])
def test_interrupt(own_models, model_files, number):
    with LiveServer("--model_base_path=%s/half" % model_files, *FAST) as server:
        assert server.terminate(number) == 128 + number
        assert "Traceback" not in server.log
