"""The module model_server_process: real processes, started and stopped by a module that is a process of its own."""
import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from ansible_collections.tfleet.serving.plugins.module_utils import listeners, process
from ansible_collections.tfleet.serving.tests.unit.plugins import serving_tools

LISTEN = """
import signal, socket, subprocess, sys, time
mode, port = sys.argv[1], int(sys.argv[2])
print("a line for the log", flush=True)
if mode == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if mode == "dies":
    sys.exit("no model today")
if mode == "crashes":
    import os
    os.abort()
if mode == "never":
    time.sleep(600)
if mode == "slow":
    time.sleep(2)
with socket.socket() as server:
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", port))
    server.listen()
    if mode == "parent":
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    time.sleep(600)
"""


@pytest.fixture
def port():
    return serving_tools.free_port()


@pytest.fixture
def arguments(tmp_path, port):
    def build(mode="serves", **changes):
        return dict({"argv": [sys.executable, "-c", LISTEN, mode, str(port)], "pid_file": str(tmp_path / "server.pid"),
                     "log_file": str(tmp_path / "server.log"), "ports": [port], "start_timeout": 20, "stop_timeout": 5}, **changes)
    return build


@pytest.fixture
def server(run_module, arguments, tmp_path):
    """Run the module for the server of this test; whatever it started is ended with the test."""
    def run(mode="serves", check=False, **changes):
        return run_module("model_server_process", check=check, **arguments(mode, **changes))
    yield run
    run_module("model_server_process", pid_file=str(tmp_path / "server.pid"), state="stopped", stop_timeout=0)


def alive(pid):
    return process.status_of(pid) is not None


def in_session(session):
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and process.belongs_to(int(name), session)]


def test_started_four_times(server, port, tmp_path):
    check = server(check=True)
    assert (check["changed"], check["pid"], check["state"]) == (True, None, "started")
    assert not (tmp_path / "server.log").exists()
    started = server()
    assert (started["changed"], started["actions"]) == (True, ["start %s" % sys.executable])
    assert started["diff"] == check["diff"]
    pid = started["pid"]
    assert int((tmp_path / "server.pid").read_text()) == pid
    assert [entry.pid for entry in listeners.listeners([port])] == [pid]
    for check_mode in (True, False):
        same = server(check=check_mode)
        assert (same["changed"], same["pid"], same["actions"]) == (False, pid, [])
        assert same["diff"]["before"] == same["diff"]["after"]


def test_stopped_four_times(run_module, server, arguments, tmp_path):
    pid = server()["pid"]
    stop = {"pid_file": str(tmp_path / "server.pid"), "state": "stopped"}
    check = run_module("model_server_process", check=True, **stop)
    assert (check["changed"], alive(pid)) == (True, True)
    stopped = run_module("model_server_process", **stop)
    assert (stopped["changed"], stopped["pid"], stopped["state"], alive(pid)) == (True, None, "stopped", False)
    assert stopped["diff"] == check["diff"]
    assert [name for name in os.listdir(str(tmp_path)) if name.startswith("server.pid")] == []
    for check_mode in (True, False):
        assert run_module("model_server_process", check=check_mode, **stop)["changed"] is False


def test_the_process_is_detached_and_quiet(server, tmp_path):
    pid = server()["pid"]
    assert process.status_of(pid).session == pid
    assert os.getsid(pid) != os.getsid(0)
    assert os.readlink("/proc/%d/cwd" % pid) == "/"
    assert os.readlink("/proc/%d/fd/0" % pid) == "/dev/null"
    # Nothing else that the module had open, such as the pipes to Ansible, is open in it.
    others = {name: os.readlink("/proc/%d/fd/%s" % (pid, name)) for name in os.listdir("/proc/%d/fd" % pid) if int(name) > 2}
    assert all(target.startswith("socket:") for target in others.values()), others
    assert (tmp_path / "server.log").read_text() == "a line for the log\n"


def test_other_arguments_or_environment_mean_a_restart(server):
    first = server()["pid"]
    check = server(check=True, env={"THREADS": 2})
    assert (check["changed"], check["actions"][0]) == (True, "stop process %d, its command or environment changed" % first)
    second = server(env={"THREADS": 2})
    assert second["changed"] is True
    assert not alive(first)
    with open("/proc/%d/environ" % second["pid"], "rb") as stream:
        assert b"THREADS=2" in stream.read().split(b"\0")
    assert server(env={"THREADS": 2})["changed"] is False
    third = server("parent", env={"THREADS": 2})
    assert (third["changed"], alive(second["pid"])) == (True, False)


def test_restarted_always_restarts(server):
    first = server()["pid"]
    second = server(state="restarted")
    assert (second["changed"], second["pid"] != first, alive(first)) == (True, True, False)
    assert second["actions"][0] == "stop process %d to restart it" % first


def test_what_the_server_started_ends_with_it(run_module, server, tmp_path):
    pid = server("parent")["pid"]
    deadline = time.time() + 10
    while len(in_session(pid)) < 2 and time.time() < deadline:
        time.sleep(0.05)
    assert len(in_session(pid)) == 2
    run_module("model_server_process", pid_file=str(tmp_path / "server.pid"), state="stopped")
    assert in_session(pid) == []


def test_a_server_that_does_not_listen_to_reason_is_killed(run_module, server, tmp_path):
    pid = server("deaf")["pid"]
    begin = time.time()
    assert run_module("model_server_process", pid_file=str(tmp_path / "server.pid"), state="stopped", stop_timeout=1)["changed"] is True
    assert not alive(pid)
    assert time.time() - begin >= 1


def test_a_server_that_ends_at_once_fails_with_its_last_words(server, tmp_path):
    (tmp_path / "server.log").write_text("of an earlier run\n")
    result = server("dies")
    assert result["failed"] is True
    assert "ended with exit status 1 instead of starting" in result["msg"]
    assert result["log"] == "a line for the log\nno model today"
    assert not (tmp_path / "server.pid").exists()


def test_a_server_that_crashes_names_the_signal(server):
    assert "ended with signal SIGABRT" in server("crashes")["msg"]


def test_a_server_that_takes_long_is_waited_for(server):
    assert server("slow")["changed"] is True


def test_a_server_that_takes_too_long_is_left_and_waited_for_by_the_next_run(server, port, tmp_path):
    result = server("never", start_timeout=1)
    assert result["failed"] is True
    assert "is alive but does not listen on port %d after 1 seconds" % port in result["msg"]
    assert result["log"] == "a line for the log"
    assert alive(int((tmp_path / "server.pid").read_text()))
    again = server("never", start_timeout=1)
    assert (again["failed"], again["pid"]) == (True, result["pid"])


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::1"])
def test_a_port_of_somebody_else_is_named_and_nothing_is_started(server, port, tmp_path, address):
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as other:
        other.bind((address, port))
        other.listen()
        for check in (True, False):
            result = server(check=check)
            assert (result["failed"], result["port"], result["pid"]) == (True, port, os.getpid())
            assert "Port %d is taken by process %d (" % (port, os.getpid()) in result["msg"]
    assert not (tmp_path / "server.pid").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process as another user")
def test_a_port_of_a_process_that_may_not_be_looked_into_is_told_as_such(collections_path, port):
    # Everything is imported as root: the other user may not read pytest's folder.
    code = """if True:
        import os, sys
        sys.path.insert(0, sys.argv[1])
        from ansible_collections.tfleet.serving.plugins.module_utils import listeners
        os.setgroups([]), os.setgid(65534), os.setuid(65534)
        print(listeners.sentence(listeners.listeners([int(sys.argv[2])])[0]))
    """
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        done = subprocess.run([sys.executable, "-c", code, collections_path, str(port)], stdout=subprocess.PIPE, check=True)
    assert done.stdout.decode().startswith("Port %d is taken by a process of user 0 that this user may not look into." % port)


def test_a_wrong_command_does_not_end_the_server_that_runs(server, arguments):
    pid = server()["pid"]
    result = server(argv=["/nonexistent/server"])
    assert result["failed"] is True
    assert "There is no executable /nonexistent/server" in result["msg"]
    assert alive(pid)
    assert server(check=True, argv=["/nonexistent/server"])["changed"] is True


def test_a_command_that_cannot_be_executed_leaves_no_pid_file(server, tmp_path):
    script = tmp_path / "script"
    script.write_text("#!/nonexistent/interpreter\n")
    script.chmod(0o755)
    result = server(argv=[str(script)])
    assert "could not be started" in result["msg"]
    assert [name for name in os.listdir(str(tmp_path)) if name.startswith("server.pid")] == []


def test_a_reused_number_is_never_signalled(server, run_module, tmp_path):
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as innocent:
        try:
            start_time = process.status_of(innocent.pid).start_time
            record = {"pid": innocent.pid, "start_time": start_time - 1, "boot_id": process.boot_id(), "argv": ["x"], "env": {}}
            for wrong in (record, dict(record, start_time=start_time, boot_id="an earlier boot")):
                (tmp_path / "server.pid").write_text("%d\n" % innocent.pid)
                (tmp_path / "server.pid.json").write_text(json.dumps(wrong))
                stopped = run_module("model_server_process", pid_file=str(tmp_path / "server.pid"), state="stopped")
                assert stopped["actions"] == ["remove %s of a process that is gone" % (tmp_path / "server.pid")]
                assert innocent.poll() is None
        finally:
            innocent.kill()


def test_a_pid_file_of_somebody_else_is_not_touched(server, tmp_path):
    (tmp_path / "server.pid").write_text("%d\n" % os.getpid())
    for state in ("started", "stopped"):
        result = server(state=state)
        assert result["failed"] is True
        assert "was not started by this module" in result["msg"]
    (tmp_path / "server.pid").unlink()


def test_after_a_kill_the_next_run_starts_it_again(server):
    pid = server()["pid"]
    os.kill(pid, signal.SIGKILL)
    deadline = time.time() + 10
    while alive(pid) and time.time() < deadline:
        time.sleep(0.02)
    assert server(check=True)["changed"] is True
    again = server()
    assert (again["changed"], again["pid"] != pid) == (True, True)


def test_a_module_killed_right_after_the_start_does_not_lose_the_server(server, arguments, collections_path, port, tmp_path):
    # The module is ended while it waits; the server wrote its own record before that.
    call = tmp_path / "call.json"
    call.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": arguments("slow")}))
    with subprocess.Popen([sys.executable, "-m", "ansible_collections.tfleet.serving.plugins.modules.model_server_process", str(call)],
                          env=dict(os.environ, PYTHONPATH=collections_path), stdout=subprocess.DEVNULL) as module:
        deadline = time.time() + 20
        while not (tmp_path / "server.pid").exists() and time.time() < deadline:
            time.sleep(0.01)
        module.kill()
    pid = int((tmp_path / "server.pid").read_text())
    result = server("slow")
    assert (result["changed"], result["pid"]) == (False, pid)
    assert [entry.pid for entry in listeners.listeners([port])] == [pid]


def test_a_lost_pid_file_is_written_again(server, tmp_path):
    pid = server()["pid"]
    (tmp_path / "server.pid").unlink()
    result = server()
    assert (result["changed"], result["pid"], result["actions"]) == (True, pid, ["write %s again" % (tmp_path / "server.pid")])
    assert server()["changed"] is False


def test_the_record_may_hold_secrets_so_only_the_owner_reads_it(server, tmp_path):
    server(env={"MODEL_TOKEN": "hush-hush"})
    assert os.stat(str(tmp_path / "server.pid.json")).st_mode & 0o777 == 0o600
    assert "hush-hush" in (tmp_path / "server.pid.json").read_text()
    assert "hush-hush" not in json.dumps(server(env={"MODEL_TOKEN": "hush-hush", "MORE": "1"}))


@pytest.mark.parametrize("changes, word", [
    ({"argv": []}, "argv is empty"), ({"pid_file": "server.pid"}, "relative"), ({"log_file": "server.log"}, "relative"),
    ({"pid_file": "/nonexistent/server.pid"}, "directory of /nonexistent/server.pid does not exist"), ({"argv": None}, "argv"),
    ({"log_file": "/nonexistent/server.log"}, "directory of /nonexistent/server.log does not exist"),
])
def test_options_that_make_no_sense_are_named(run_module, arguments, changes, word):
    given = {key: value for key, value in arguments(**changes).items() if value is not None}
    result = run_module("model_server_process", **given)
    assert result["failed"] is True
    assert word in result["msg"]
