"""Which advice comes of which plan, and the table for people."""

from tfleet.convert.plan import advice, estimate


def answer(**changes):
    made = {
        "tensorrt": "8.6.1",
        "precision": "FP16",
        "estimate": "An estimate.",
        "dynamic_shape": False,
        "minimum_segment_size": 3,
        "segments": [segment("a", 60, 980), segment("b", 40, 15), segment("c", 4, 5)],
        "nodes": {"total": 120, "taken": 104, "share": 0.8667},
        "flops": {"total": 1000, "taken": 1000, "share": 1.0, "uncounted_nodes": 0},
        "left": [],
        "too_small": {"count": 0, "operations": {}, "flops": 0, "nodes": []},
        "notes": [],
        "advice": [],
    }
    made.update(changes)
    return made


def segment(name, nodes, flops):
    return {"name": name, "nodes": nodes, "operations": {"Conv2D": nodes}, "flops": flops}


def left(op, reason, count=1):
    return [{"op": op, "reason": reason, "count": count, "nodes": [op.lower()]}]


def codes(**changes):
    return [entry["code"] for entry in advice.of(answer(**changes))]


def text(code, **changes):
    return next(entry["text"] for entry in advice.of(answer(**changes)) if entry["code"] == code)


def test_small_segments_that_compute_nothing():
    assert "minimum_segment_size 5, 1 of the 3 segments go" in text("raise_minimum_segment_size")
    assert "raise_minimum_segment_size" not in codes(segments=[segment("a", 60, 500), segment("b", 4, 500)])


def test_small_segments_that_compute_something():
    said = text("lower_minimum_segment_size", too_small={"count": 1, "operations": {"MatMul": 1}, "flops": 263, "nodes": ["dense"]})
    assert "26.3 % of the computation" in said


def test_suppression_types_batch_loops_asserts():
    assert "has it on the CPU" in text("nms_on_cpu", left=left("CombinedNonMaxSuppressionV2", "Op type is not supported."))
    assert "nms_on_cpu" in codes(left=left("NonMaxSuppressionV5", "not supported"))
    assert "Cast" in text("types", left=left("Cast", "Output type int64 is not supported"))
    assert "3 operations stay only because" in text("dynamic_shape", left=left("Shape", "Shape is only supported for explicit batch mode.", 3))
    assert "dynamic_shape" not in codes(left=left("Shape", "Shape is only supported for explicit batch mode."), dynamic_shape=True)
    assert "While" in text("control_flow", left=left("While", "not supported"))
    assert "asserts" in codes(left=left("Assert", "not supported"))


def test_nothing_taken():
    assert "release the native variant" in text("native", segments=[], flops={"total": 10, "taken": 0, "share": 0.0, "uncounted_nodes": 0})


def test_the_table():
    shown = estimate.render(answer(left=left("NonMaxSuppressionV5", "not supported"), advice=[{"code": "x", "text": "Do this."}], notes=["Know that."]))
    assert "TF-TRT for TensorRT 8.6.1, FP16: takes 104 of 120 operations (86.7 %), 100.0 % of 1.0 kFLOP" in shown
    assert "(An estimate.)" in shown and "advice: Do this." in shown and "note: Know that." in shown
    assert "1      NonMaxSuppressionV5  not supported" in shown


def test_the_table_of_nothing():
    shown = estimate.render(answer(segments=[], flops={"total": 0, "taken": 0, "share": None, "uncounted_nodes": 0}))
    assert "no segments: TF-TRT would take nothing" in shown and "FLOP" not in shown
