"""What the role model_server starts: flags of either server, containers for GPUs, mounts, and the gate of free memory."""

import pytest
from ansible_collections.tfleet.serving.plugins.module_utils import servers
from ansible_collections.tfleet.serving.plugins.module_utils.models import ModelsError

GUARD = "/var/lib/tfleet-model-server/start_guard.json"


def containers(gpu="", grpc=8500, rest=8501, listen="127.0.0.1"):
    return servers.container_servers(gpu, "tfleet-model-server", grpc, rest, GUARD, listen)


def test_flags_are_written_in_the_grammar_of_tensorflow_serving():
    flags = {"port": 8500, "enable_batching": True, "flush_filesystem_caches": "False", "tfleet_drain_seconds": 10, "model_name": "true or not"}
    assert servers.server_flags(flags, True) == [
        "--enable_batching=true", "--flush_filesystem_caches=false", "--model_name=true or not", "--port=8500", "--tfleet_drain_seconds=10"]


def test_tensorflow_servings_own_server_gets_no_flag_of_ours():
    assert servers.server_flags({"port": 8500, "tfleet_drain_seconds": 10, "tfleet_bind_address": "0.0.0.0"}, False) == ["--port=8500"]


@pytest.mark.parametrize("gpu, runtime, requests", [
    ("", None, []),
    (None, None, []),
    ("nvidia", "nvidia", []),
    ("all", None, [{"driver": "nvidia", "capabilities": [["gpu"]], "count": -1}]),
    (0, None, [{"driver": "nvidia", "capabilities": [["gpu"]], "device_ids": ["0"]}]),
    ("1", None, [{"driver": "nvidia", "capabilities": [["gpu"]], "device_ids": ["1"]}]),
])
def test_one_server_with_the_gpu_in_the_hosts_own_way(gpu, runtime, requests):
    (server,) = containers(gpu)
    assert (server["runtime"], server["device_requests"]) == (runtime, requests)
    assert server["name"] == "tfleet-model-server" and server["guard_file"] == GUARD
    assert (server["grpc_port"], server["rest_port"]) == (8500, 8501)


def test_a_list_of_gpus_is_one_server_for_each_with_ports_and_a_record_of_its_own():
    first, second = containers([0, 3])
    assert [server["name"] for server in (first, second)] == ["tfleet-model-server-gpu0", "tfleet-model-server-gpu3"]
    assert [server["device_requests"][0]["device_ids"] for server in (first, second)] == [["0"], ["3"]]
    assert (first["grpc_port"], first["rest_port"], second["grpc_port"], second["rest_port"]) == (8500, 8501, 8510, 8511)
    assert second["address"] == "127.0.0.1:8510" and second["published"] == ["127.0.0.1:8510:8510", "127.0.0.1:8511:8511"]
    assert second["guard_file"] == "/var/lib/tfleet-model-server/start_guard-gpu3.json"


@pytest.mark.parametrize("gpu", ["yes", "0,1", -1, [], [0, 0], ["all"], [0, "nvidia"], ["x"]])
def test_what_is_no_gpu_is_refused_by_the_name_of_the_variable(gpu):
    with pytest.raises(ModelsError, match="model_server_gpu"):
        containers(gpu)


@pytest.mark.parametrize("listen, published, address", [
    ("0.0.0.0", "0.0.0.0:8500:8500", "127.0.0.1:8500"),
    ("192.0.2.7", "192.0.2.7:8500:8500", "192.0.2.7:8500"),
    ("::1", "[::1]:8500:8500", "[::1]:8500"),
])
def test_ports_are_published_on_the_configured_address_and_asked_where_that_is_reached(listen, published, address):
    (server,) = containers(listen=listen)
    assert server["published"][0] == published and server["address"] == address


def test_mounts_are_read_only_at_their_own_places_and_none_lies_in_another():
    mounts = servers.read_only_mounts(["/etc/tfleet", "/data/models/", "/data/models/digits", "/data/models-2/x", "/etc/tfleet"])
    assert [mount["source"] for mount in mounts] == ["/data/models", "/data/models-2/x", "/etc/tfleet"]
    assert all(mount == {"type": "bind", "source": mount["source"], "target": mount["source"], "read_only": True} for mount in mounts)


@pytest.mark.parametrize("available, block, free_memory, free_block, words", [
    (4 << 30, 4 << 20, 2 << 30, 4 << 20, []),
    (4 << 30, 1 << 10, 0, 0, []),
    (None, None, 2 << 30, 4 << 20, []),
    (1 << 30, 4 << 20, 2 << 30, 4 << 20, ["1024 MiB", "2048 MiB", "model_server_free_memory"]),
    (4 << 30, 256 << 10, 2 << 30, 4 << 20, ["256 KiB", "4 MiB", "model_server_free_block"]),
    (1 << 30, 256 << 10, 2 << 30, 4 << 20, ["model_server_free_memory", " and ", "model_server_free_block"]),
])
def test_a_start_waits_for_memory_and_says_what_is_missing(available, block, free_memory, free_block, words):
    sentence = servers.memory_shortage(available, block, free_memory, free_block)
    assert bool(sentence) == bool(words)
    for word in words:
        assert word in sentence
