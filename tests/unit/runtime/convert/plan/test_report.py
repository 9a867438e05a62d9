"""The segmenter's log, as TensorFlow 2.17 wrote it, read back."""

from tfleet.convert.plan import report

LOG = """\
2026-11-21 13:44:13.337776: I tensorflow/compiler/tf2tensorrt/segment/segment.cc:922] Not a TF-TRT candidate, (Op type: NoOp), (Op name: _SOURCE), (Reason: Op type NoOp is not supported.)
2026-11-21 13:44:13.338073: I tensorflow/compiler/tf2tensorrt/segment/segment.cc:960] Accepted as a TF-TRT candidate, (Op type: Conv2D), (Op name: StatefulPartitionedCall/functional_1/conv2d_1/convolution
2026-11-21 13:44:13.338012: I tensorflow/compiler/tf2tensorrt/segment/segment.cc:922] Not a TF-TRT candidate, (Op type: Placeholder), (Op name: images), (Reason: excluded by segmenter option. Most likely an input or output node.)
2026-11-21 13:44:13.338117: I tensorflow/compiler/tf2tensorrt/segment/segment.cc:922] Not a TF-TRT candidate, (Op type: Shape), (Op name: flatten/Shape), (Reason: Shape is only supported for explicit batch mode.)
2026-11-21 13:44:13.338118: I tensorflow/compiler/tf2tensorrt/segment/segment.cc:922] Not a TF-TRT candidate, (Op type: Shape), (Op name: crop/Shape), (Reason: Shape is only supported for explicit batch mode.)
2026-11-21 13:44:13.338135: I tensorflow/compiler/tf2tensorrt/segment/segment.cc:922] Not a TF-TRT candidate, (Op type: Reshape), (Op name: flatten/Reshape), (Reason: The input "shape" for Reshape must be a constant (in implicit batch mode).)
2026-11-21 13:44:13.338763: I tensorflow/compiler/tf2tensorrt/segment/segment.cc:1115] Segment original size: 1
"""  # noqa: E501


def test_verdicts():
    verdicts = report.parse(LOG.splitlines())
    assert sorted(verdicts) == ["StatefulPartitionedCall/functional_1/conv2d_1/convolution", "crop/Shape", "flatten/Reshape", "flatten/Shape", "images"]
    assert verdicts["StatefulPartitionedCall/functional_1/conv2d_1/convolution"] == ("Conv2D", "")
    assert verdicts["flatten/Shape"] == ("Shape", "Shape is only supported for explicit batch mode.")
    assert verdicts["flatten/Reshape"].reason == 'The input "shape" for Reshape must be a constant (in implicit batch mode).'


def test_reasons_are_grouped_and_counted():
    found = report.reasons(report.parse(LOG.splitlines()))
    assert found[0] == {"op": "Shape", "reason": "Shape is only supported for explicit batch mode.", "count": 2, "nodes": ["crop/Shape", "flatten/Shape"]}
    assert {entry["op"] for entry in found} == {"Shape", "Placeholder", "Reshape"}
