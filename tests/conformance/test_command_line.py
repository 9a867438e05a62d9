"""Section 1 of the specification: grammar, exit codes, what is printed where, and when the ports open."""

import os
import re
import socket

import pytest
from live_server import LiveServer, free_ports, run_to_end

pytestmark = pytest.mark.usefixtures("own_models")


def test_version():
    code, out, _ = run_to_end("--version")
    assert code == 0
    assert re.fullmatch(r"TensorFlow ModelServer: (\d+\.\d+\.\d+)\S*\+tfleet\.\S+\nTensorFlow Library: \1\S*\n", out), out


def test_help_prints_every_flag_on_stdout():
    code, out, _ = run_to_end("--help")
    assert code == 255
    assert out.startswith("usage: tensorflow_model_server\nFlags:\n\t--port=8500                      \tint32\t")
    assert '--model_name="default"' in out


@pytest.mark.parametrize("flag", ["--port=abc", "--port=1x", "--enable_batching=maybe", "--port=99999999999", "--per_process_gpu_memory_fraction=x"])
def test_bad_value(flag):
    code, out, err = run_to_end(flag)
    assert code == 255
    assert out.startswith("usage: ")
    assert "Couldn't interpret value %s for flag %s." % (flag.split("=")[1], flag[2:].split("=")[0]) in err


@pytest.mark.parametrize(("flags", "message"), [
    ([], "INVALID_ARGUMENT: Both server_options.model_base_path and server_options.model_config_file are empty!"),
    (["--model_base_path=a/b"], "INVALID_ARGUMENT: Expected model default to have an absolute path or URI; got base_path()=a/b"),
    (["--model_config_file=/no/such/file"], "NOT_FOUND: /no/such/file; No such file or directory"),
    (["--model_base_path=/m", "--port=0"],
     "INVALID_ARGUMENT: server_options.port is 0 and server_options.grpc_socket_path is empty: there is nothing to listen on"),
])
def test_start_fails(flags, message):
    ports = [] if "--port=0" in flags else ["--port=%d" % free_ports(1)[0]]
    assert run_to_end(*(ports + flags))[:2] == (255, "Failed to start server. Error: %s\n" % message)


def test_config_with_a_syntax_error(own_models):
    config = own_models / "model.config"
    config.write_text("model_config_list { config { nam: 1 } }")
    code, out, err = run_to_end("--port=%d" % free_ports(1)[0], "--model_config_file=%s" % config)
    assert (code, out) == (255, "Failed to start server. Error: INVALID_ARGUMENT: Invalid protobuf file: '%s'\n" % config)
    assert "Error parsing text-format tensorflow.serving.ModelServerConfig: 1:30" in err


def test_unknown_argument_is_said_and_ignored(model_files):
    with LiveServer("--model_base_path=%s/half" % model_files, "--no_such_flag=1", "positional") as server:
        assert server.predict("default", [1.0]) == (2, [3.5])
        assert "unknown argument: --no_such_flag=1\nusage: " in server.log


@pytest.mark.parametrize("flag", ["port", "rest_api_port"])
def test_port_in_use(model_files, flag):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen(1)
        port = holder.getsockname()[1]
        flags = ["--%s=%d" % (flag, port)] + (["--port=%d" % free_ports(1)[0]] if flag != "port" else [])
        code, out, _ = run_to_end("--tfleet_bind_address=127.0.0.1", "--model_base_path=%s/half" % model_files, *flags)
    assert code == 255
    assert out == ("Failed to start server. Error: UNAVAILABLE: Cannot listen on 127.0.0.1:%d: the port is in use. Stop the process that has it "
                   "(ss -ltnp names it) or choose another --%s\n" % (port, flag))


def test_first_model_fails(own_models):
    (own_models / "3").mkdir()
    code, out, _ = run_to_end("--port=%d" % free_ports(1)[0], "--model_base_path=%s" % own_models, "--max_num_load_retries=0")
    path = own_models / "3"
    assert (code, out) == (
        255, "Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available: {{name: default version: 3} due to error: "
        "NOT_FOUND: Could not find SavedModel .pb or .pbtxt at supplied export directory path: %s. Check that the directory exists and that you "
        "have the right permissions for accessing it.}, }\n" % path)


def test_no_meta_graph_with_the_tags(model_files):
    code, out, _ = run_to_end("--port=%d" % free_ports(1)[0], "--model_base_path=%s/half" % model_files, "--max_num_load_retries=0",
                              "--saved_model_tags=serve,gpu")
    assert code == 255
    assert ("NOT_FOUND: Could not find meta graph def matching supplied tags: { serve gpu }. To inspect available tag-sets in the SavedModel, "
            "please use the SavedModel CLI: `saved_model_cli`}, }") in out


def test_labels_fail_the_start_without_their_flag(model_files):
    code, out, _ = run_to_end("--port=%d" % free_ports(1)[0], "--model_config_file=%s/model.config" % model_files)
    assert (code, out) == (255, "Failed to start server. Error: FAILED_PRECONDITION: Request to assign label to version 2 of model half, which is "
                                "not currently available for inference\n")


def test_ports_open_when_the_model_is_there_and_the_log_says_so(own_models, model_files):
    base = own_models / "later"
    with LiveServer("--model_base_path=%s" % base, wait=False) as server:
        wait_for_log(server, "Could not find base path %s for servable default with error NOT_FOUND" % base)
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", int(server.address.split(":")[1]))) != 0
        os.symlink(str(model_files / "half"), str(base))
        server.wait_listening()
        assert server.predict("default", [1.0]) == (2, [3.5])
        assert "Running gRPC ModelServer at %s ..." % server.address in server.log
        assert "Exporting HTTP/REST API at:localhost:%s ..." % server.rest_address.split(":")[1] in server.log


def wait_for_log(server, text, seconds=30):
    """Waits for a line of the server's output."""
    import time

    deadline = time.time() + seconds
    while text not in server.log:
        assert time.time() < deadline, server.log
        time.sleep(0.05)


def test_rest_on_the_grpc_port_is_skipped(model_files):
    with LiveServer("--model_base_path=%s/half" % model_files, wait=False) as server:
        port = server.address.split(":")[1]
    with LiveServer("--model_base_path=%s/half" % model_files, "--port=%s" % port, "--rest_api_port=%s" % port, wait=False) as server:
        wait_for_log(server, "--rest_api_port cannot be same as --port. Please use a different port for HTTP/REST API. Skipped exporting HTTP/REST API.")


def test_unix_socket_alone(own_models, model_files):
    import grpc

    path = own_models / "server.sock"
    with LiveServer("--model_base_path=%s/half" % model_files, "--port=0", "--grpc_socket_path=%s" % path) as server:
        server.close()
        server._channel = grpc.insecure_channel("unix:%s" % path)
        assert server.predict("default", [1.0]) == (2, [3.5])
