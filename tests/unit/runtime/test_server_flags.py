"""The command line's grammar."""

import pytest

from tfleet.server import flags


def test_defaults_are_the_documented_ones():
    parsed = flags.parse([])
    assert (parsed.port, parsed.rest_api_port, parsed.model_name, parsed.max_num_load_retries) == (8500, 0, "default", 5)
    assert parsed.load_retry_interval_micros == 60000000
    assert parsed.enable_model_warmup is True
    assert parsed.bind_address == "0.0.0.0"
    assert parsed.leftover == []


@pytest.mark.parametrize(("argument", "name", "value"), [
    ("--port=1", "port", 1),
    ("--port=-1", "port", -1),
    ("--model_name=", "model_name", ""),
    ("--model_name=a=b", "model_name", "a=b"),
    ("--enable_batching", "enable_batching", True),
    ("--enable_batching=true", "enable_batching", True),
    ("--enable_batching=False", "enable_batching", False),
    ("--enable_batching=1", "enable_batching", True),
    ("--enable_model_warmup=0", "enable_model_warmup", False),
    ("--per_process_gpu_memory_fraction=0.5", "per_process_gpu_memory_fraction", 0.5),
    ("--load_retry_interval_micros=3000000000", "load_retry_interval_micros", 3000000000),
])
def test_values(argument, name, value):
    assert getattr(flags.parse([argument]), name) == value


def test_last_one_wins():
    assert flags.parse(["--port=1", "--port=2"]).port == 2


def test_what_is_not_understood_is_left_over():
    parsed = flags.parse(["--port", "1", "-port=2", "--unknown=3", "free", "--", "--port=4"])
    assert parsed.port == 8500
    assert parsed.leftover == ["--port", "1", "-port=2", "--unknown=3", "free", "--port=4"]


@pytest.mark.parametrize("argument", ["--port=", "--port=1.5", "--port= 1", "--port=2147483648", "--enable_batching=yes", "--help",
                                      "--per_process_gpu_memory_fraction=much"])
def test_bad_values(argument):
    with pytest.raises(flags.UsageError):
        flags.parse([argument])


def test_usage_names_every_flag():
    text = flags.usage("program")
    assert all("\t--%s=" % flag.name in text for flag in flags.FLAGS)
    assert '\t--saved_model_tags="serve"       \tstring\t' in text


def test_a_misspelt_name_in_code_is_an_error():
    with pytest.raises(TypeError):
        flags.Flags(prot=1)
