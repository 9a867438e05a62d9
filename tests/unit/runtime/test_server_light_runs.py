"""Which runs are made in the thread of the request, and when they lose that place."""

import time

import numpy as np
import pytest

from tfleet.server.light_runs import IN_CALLER, NORMAL, WITH_LOCK, LightRuns, may_wait, run_options, size_of

Y = ("y:0",)


def after(*runs, allowed=True):
    """LightRuns that has seen runs of 8 bytes: (how, seconds) each."""
    light = LightRuns(allowed)
    for how, seconds in runs:
        light.learn(Y, 8, how, seconds)
    return light


@pytest.mark.parametrize(("runs", "how"), [
    ([], NORMAL),
    ([(NORMAL, 0.001)], NORMAL),
    ([(NORMAL, 0.0004)], IN_CALLER),
    ([(NORMAL, 0.0004), (IN_CALLER, 0.0002)], IN_CALLER),
    ([(NORMAL, 0.0004), (IN_CALLER, 0.00005)], WITH_LOCK),
    ([(NORMAL, 0.0004), (IN_CALLER, 0.00005), (WITH_LOCK, 0.0009)], WITH_LOCK),
    ([(NORMAL, 0.0004), (IN_CALLER, 0.00005), (WITH_LOCK, 0.002)], IN_CALLER),
    ([(NORMAL, 0.0004), (IN_CALLER, 0.00005), (WITH_LOCK, 0.006)], NORMAL),
    ([(NORMAL, 0.0004), (IN_CALLER, 0.006)], NORMAL),
])
def test_what_was_quick_is_run_where_it_is_quickest(runs, how):
    assert after(*runs).choose(Y, 8, None) == how


def test_only_runs_like_the_known_ones():
    light = after((NORMAL, 0.0001))
    assert light.choose(Y, 4, 100) == IN_CALLER
    assert light.choose(Y, 9, None) == NORMAL  # more to do
    assert light.choose(Y, None, None) == NORMAL  # strings
    assert light.choose(Y, 8, 99) == NORMAL  # nothing could end it in time
    assert light.choose(("z:0",), 8, None) == NORMAL
    assert after((NORMAL, 0.0001), allowed=False).choose(Y, 8, None) == NORMAL


def test_clients_cannot_fill_the_memory_with_kinds_of_runs():
    light = LightRuns(True)
    for number in range(1000):
        light.learn((str(number),), 8, NORMAL, 0)
    assert light.choose(("63",), 8, None) == IN_CALLER
    assert light.choose(("64",), 8, None) == NORMAL
    light.learn(("63",), 16, NORMAL, 0)  # known ones are still learnt
    assert light.choose(("63",), 16, None) == IN_CALLER


@pytest.mark.parametrize(("how", "counted"), [(NORMAL, True), (IN_CALLER, True), (WITH_LOCK, False)])
def test_time_of_others_does_not_count_once_the_lock_is_kept(how, counted):
    began = LightRuns.clock(how)
    time.sleep(0.05)
    assert (LightRuns.clock(how) - began > 0.03) is counted


def test_sizes():
    assert size_of([np.zeros(3, np.float32), np.zeros((2, 2), np.int64)]) == 44
    assert size_of([np.zeros(3, np.float32), np.array([b"a"], object)]) is None
    assert size_of([]) == 0


@pytest.mark.parametrize(("ops", "waits"), [
    (["MatMul", "Relu", "VarHandleOp", "PartitionedCall", "BatchMatMulV2"], False), (["MatMul", "StatelessWhile"], True), (["Enter"], True),
    (["EagerPyFunc"], True), (["QueueDequeueV2"], True), (["IteratorGetNext"], True), (["BatchFunction"], True),
])
def test_graphs_that_may_wait(ops, waits):
    assert may_wait(ops) is waits


@pytest.mark.parametrize(("timeout", "encoded"), [
    (None, b""), (1, b"\x10\x01"), (0, b"\x10\x01"), (127, b"\x10\x7f"), (128, b"\x10\x80\x01"), (30000, b"\x10\xb0\xea\x01")])
def test_options_of_a_normal_run(timeout, encoded):
    assert run_options(NORMAL, timeout) == encoded


def test_options_of_a_light_run_are_tensorflows():
    config = pytest.importorskip("tensorflow").compat.v1.RunOptions
    for how in (IN_CALLER, WITH_LOCK):
        assert config.FromString(run_options(how, 5)).inter_op_thread_pool == -1
    assert config.FromString(run_options(NORMAL, 300)).timeout_in_ms == 300
