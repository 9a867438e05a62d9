"""Versions, directories and configuration that go wrong while the models are being asked."""

import os
import shutil
import time

import pytest
import releasing
from live_server import LiveServer, run_to_end
from load import Load
from releasing import config, release

OURS = ("--tfleet_missing_path_blocks_only_itself", "--tfleet_reload_polls_at_once", "--tfleet_retry_failed_version_on_change",
        "--tfleet_failed_model_blocks_only_itself", "--max_num_load_retries=0", "--file_system_poll_wait_seconds=1")
RIGHT = {1: 3.0, 2: 4.0}  # of the models half/1 and half/2


def right(version):
    """Version n of the tests' models holds half/1 or half/2 in turn."""
    return RIGHT[2 - version % 2]


ALL_RIGHT = {version: right(version) for version in range(1, 100)}


class Site:
    """The directories and the model.config of a server."""

    def __init__(self, root, models):
        self.root, self._models = root, models
        self.file = root / "model.config"
        self.released = {}

    def good(self, version):
        return self._models / "half" / str(2 - version % 2)

    def add(self, model, spoil=lambda directory: None):
        """Releases the next version; its number."""
        number = self.released[model] = self.released.get(model, 0) + 1
        (self.root / model).mkdir(exist_ok=True)
        release(self.good(number), self.root / model, number, spoil)
        return number

    def write(self, *more):
        policies = {"all": "model_version_policy { all {} }"}
        names = ("good", "bad", "absent", "m", "all")
        self.file.write_text(config(*[(name, self.root / name, policies.get(name, "")) for name in names + more]))


@pytest.fixture(scope="module")
def site(tmp_path_factory, model_files):
    one = Site(tmp_path_factory.mktemp("site"), model_files)
    for model in ("good", "m", "all"):
        one.add(model)
    one.add("bad", releasing.short_graph)
    one.write()
    return one


@pytest.fixture(scope="module")
def server(site):
    # Root reads everything; without this capability permissions mean to it what they mean to the service's user.
    drop = "-dac_override,-dac_read_search"
    with LiveServer("--model_config_file=%s" % site.file, "--model_config_file_poll_wait_seconds=1", *OURS,
                    prefix=("setpriv", "--bounding-set=" + drop, "--inh-caps=" + drop)) as running:
        yield running


def test_a_bad_model_among_good_ones(server, site, fault):
    row = fault("a bad model and one without a directory among good ones", "starting")
    with Load(server, "good", ALL_RIGHT) as load:
        load.wait_answers(20)
        assert server.wait_state("bad", 1, "END") == "Can't parse %s/bad/1/saved_model.pb as binary proto" % site.root
        assert server.states("absent") == {}
        shutil.copy(str(site.good(1) / "saved_model.pb"), str(site.root / "bad" / "1" / "saved_model.pb"))
        server.wait_state("bad", 1, "AVAILABLE")
        site.add("absent")
        server.wait_state("absent", 1, "AVAILABLE")
        assert (server.predict("bad", [2.0]), server.predict("absent", [2.0])) == ((1, [3.0]), (1, [3.0]))
        load.wait_answers(20)
    load.report(row)


def test_versions_replaced_under_load(server, site, fault):
    row = fault("a version replaced", "under load")
    with Load(server, "m", ALL_RIGHT, grpc_clients=3, rest_clients=3) as load:
        for _ in range(6):
            number = site.add("m")
            server.wait_state("m", number, "AVAILABLE")
            server.wait_state("m", number - 1, "END")
            load.wait_answers(20)
    load.report(row)
    row.note = "%d versions, answers of each: %s" % (6, sorted(load.versions.items()))
    assert set(load.versions) >= set(range(1, 8)), load.versions


def test_a_base_path_that_vanishes_and_comes_back(server, site, fault):
    row = fault("base_path vanishes and comes back", "under load")
    now = site.released["m"]
    with Load(server, "m", ALL_RIGHT) as load:
        for _ in range(2):
            os.rename(str(site.root / "m"), str(site.root / "m-away"))
            logged = len(server.log)
            deadline = time.time() + 20
            while "Could not find base path %s/m for servable m" % site.root not in server.log[logged:]:
                assert time.time() < deadline
                time.sleep(0.05)
            other = site.add("good")
            server.wait_state("good", other, "AVAILABLE")
            os.rename(str(site.root / "m-away"), str(site.root / "m"))
            load.wait_answers(20)
        assert server.states("m")[now] == ("AVAILABLE", "")
        number = site.add("m")
        server.wait_state("m", number, "AVAILABLE")
    load.report(row)


def test_files_that_cannot_be_read(server, site, fault):
    row = fault("damaged, unreadable and missing files", "loading")
    with Load(server, "all", ALL_RIGHT) as load:
        spoiled = {site.add("all", way): way.__name__ for way in releasing.WAYS}
        reasons = {}
        for number, name in spoiled.items():
            reasons[name] = server.wait_state("all", number, "END", seconds=40)
        load.wait_answers(20)
        assert all(reasons.values()), reasons
        assert "Permission denied" in reasons["unreadable_file"] + reasons["unreadable_directory"], reasons
        assert "Input/output error" in reasons["read_error"], reasons
        # What was only unreadable becomes readable.
        for number, name in spoiled.items():
            if name == "unreadable_directory":
                os.chmod(str(site.root / "all" / str(number)), 0o755)
                server.wait_state("all", number, "AVAILABLE")
                assert server.predict("all", [2.0], number) == (number, [right(number)])
        for number, name in spoiled.items():
            path = str(site.root / "all" / str(number))
            if name != "unreadable_directory":
                os.rename(path, path + "-away")
        load.wait_answers(20)
    row.note = "%d ways: %s" % (len(spoiled), ", ".join(sorted(reasons)))
    load.report(row)


def test_files_that_change_while_they_are_read(server, site, model_files, fault):
    row = fault("files cut short while they are loaded", "loading")
    with Load(server, "m", ALL_RIGHT) as load:
        before = server.predict("m", [2.0])
        number = site.released["m"] = site.released["m"] + 1
        release(model_files / "big" / "1", site.root / "m", number)
        while server.states("m").get(number, ("",))[0] not in ("LOADING", "AVAILABLE"):
            time.sleep(0.005)
        directory = site.root / "m" / str(number)
        data = directory / "variables" / "variables.data-00000-of-00001"
        os.truncate(str(data), 1000)
        deadline = time.time() + 40
        while server.states("m")[number][0] not in ("END", "AVAILABLE"):
            assert time.time() < deadline
            time.sleep(0.05)
        state, why = server.states("m")[number]
        row.note = "the version became %s: %s" % (state, why[:80])
        if state == "END":
            assert server.predict("m", [2.0]) == before
        # 2.0 / 2 + 4 * 0.5: a version is wholly the old one or wholly the new one.
        load._right[number] = 3.0
        load.wait_answers(20)
        os.rename(str(directory), str(site.root / "m" / ("%d-away" % number)))
        good = site.add("m")
        server.wait_state("m", good, "AVAILABLE")
        load.wait_answers(20)
    load.report(row)


def test_a_config_file_that_is_broken_and_mended(server, site, fault):
    row = fault("model.config broken, empty, missing and mended", "under load")
    with Load(server, "good", ALL_RIGHT) as load:
        whole = site.file.read_text()
        broken = 0
        for text in ("model_config_list { config { broken", whole[:len(whole) // 2], "\x00\xff" * 100, whole.replace('"m"', '"good"'), None):
            logged = len(server.log)
            if text is None:
                site.file.unlink()
            else:
                site.file.write_text(text)
            deadline = time.time() + 20
            while "PollFilesystemAndReloadConfig failed to ReloadConfig" not in server.log[logged:]:
                assert time.time() < deadline, text
                time.sleep(0.05)
            assert server.predict("m", [2.0])[1] in ([3.0], [4.0])
            broken += 1
        site.file.write_text("")
        time.sleep(1.5)
        assert server.predict("m", [2.0])[1] in ([3.0], [4.0])
        site.add("new")
        site.write("new")
        server.wait_state("new", 1, "AVAILABLE")
        site.write()
        server.wait_state("new", 1, "END")
    load.report(row)
    row.note = "%d broken forms and an empty file" % broken


def test_ports_that_are_taken(server, site, fault):
    row = fault("a second server on the same ports", "starting")
    grpc_port, rest_port = (address.rsplit(":", 1)[1] for address in (server.address, server.rest_address))
    with Load(server, "good", ALL_RIGHT) as load:
        by_socket = ["--port=0", "--grpc_socket_path=%s/socket" % site.root]
        for taken, flags in ((grpc_port, ["--port=" + grpc_port]), (rest_port, [*by_socket, "--rest_api_port=" + rest_port])):
            code, out, _ = run_to_end("--tfleet_bind_address=127.0.0.1", "--model_config_file=%s" % site.file, *OURS, *flags)
            assert code == 255
            assert "Failed to start server. Error: UNAVAILABLE: Cannot listen on 127.0.0.1:%s: the port is in use" % taken in out
        load.wait_answers(20)
    load.report(row)
