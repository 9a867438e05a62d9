"""Which runs are made in the thread of the request, and when they lose that place."""

import time

import numpy as np
import pytest

from tfleet.server.light_runs import IN_CALLER, NORMAL, WITH_LOCK, LightRuns, may_wait, run_options, shapes_of

Y = ("y:0",)
TWO = ((2,),)  # the shapes of one input


def after(*runs, allowed=True):
    """LightRuns that has seen runs of an input [2]: (how, seconds) each."""
    light = LightRuns(allowed)
    for how, seconds in runs:
        light.learn(Y, TWO, how, seconds)
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
    assert after(*runs).choose(Y, TWO, None) == how


def test_only_runs_like_the_known_ones():
    light = after((NORMAL, 0.0001))
    assert light.choose(Y, ((1,),), 100) == IN_CALLER
    assert light.choose(Y, ((3,),), None) == NORMAL  # more to do
    assert light.choose(Y, None, None) == NORMAL  # strings
    assert light.choose(Y, TWO, 99) == NORMAL  # nothing could end it in time
    assert light.choose(("z:0",), TWO, None) == NORMAL
    assert after((NORMAL, 0.0001), allowed=False).choose(Y, TWO, None) == NORMAL


def test_clients_cannot_fill_the_memory_with_kinds_of_runs():
    light = LightRuns(True)
    for number in range(1000):
        light.learn((str(number),), TWO, NORMAL, 0)
    assert light.choose(("63",), TWO, None) == IN_CALLER
    assert light.choose(("64",), TWO, None) == NORMAL
    light.learn(("63",), ((4,),), NORMAL, 0)  # known ones are still learnt
    assert light.choose(("63",), ((4,),), None) == IN_CALLER


@pytest.mark.parametrize(("how", "counted"), [(NORMAL, True), (IN_CALLER, True), (WITH_LOCK, False)])
def test_time_of_others_does_not_count_once_the_lock_is_kept(how, counted):
    began = LightRuns.clock(how)
    time.sleep(0.05)
    assert (LightRuns.clock(how) - began > 0.03) is counted


def test_shapes():
    assert shapes_of([np.zeros(3, np.float32), np.zeros((2, 2), np.int64)]) == ((3,), (2, 2))
    assert shapes_of([np.zeros(3, np.float32), np.array([b"a"], object)]) is None
    assert shapes_of([]) == ()


@pytest.mark.parametrize(("shapes", "how"), [
    (((8,), (8,)), IN_CALLER), (((1,), (8,)), IN_CALLER), (((9,), (1,)), NORMAL),
    (((8, 1), (1, 8)), NORMAL),  # as many bytes, eight times the work if they are added
    (((8,),), NORMAL), (((8,), ()), NORMAL),
])
def test_as_many_bytes_of_another_shape_are_no_known_run(shapes, how):
    light = LightRuns(True)
    light.learn(Y, ((8,), (8,)), NORMAL, 0.0001)
    assert light.choose(Y, shapes, None) == how


@pytest.mark.parametrize(("ops", "waits"), [
    (["MatMul", "Relu", "VarHandleOp", "PartitionedCall", "BatchMatMulV2"], False), (["MatMul", "StatelessWhile"], True), (["Enter"], True),
    (["EagerPyFunc"], True), (["QueueDequeueV2"], True), (["IteratorGetNext"], True), (["BatchFunction"], True),
    (["Range", "Sum"], True), (["Fill"], True), (["PadV2"], True), (["ResizeBilinear"], True), (["StatelessRandomUniformV2"], True), (["RFFT"], True),
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
