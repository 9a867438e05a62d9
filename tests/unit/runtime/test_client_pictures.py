"""Results as people read them: names, boxes, captions, label maps."""

import json

import numpy as np
import pytest
from PIL import Image

from tfleet.client import drawing, label_map, pictures, results
from tfleet.errors import TfleetError

DETECTIONS = {
    "num_detections": np.float32([3]),
    "detection_boxes": np.float32([[[0.5, 0.5, 0.9, 0.9], [0.1, 0.1, 0.4, 0.4], [0, 0, 1, 1], [0, 0, 1, 1]]]),
    "detection_scores": np.float32([[0.6, 0.9, 0.2, 0.99]]),
    "detection_classes": np.float32([[2, 1, 1, 1]]),
}
SCORES = {"scores": np.float32([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3]])}


def test_detections_are_sorted_and_cut_by_number_and_score():
    found = results.detections(DETECTIONS, {1: "one"}, 0.5)
    assert [(item.name, round(item.score, 3)) for item in found] == [("one", 0.9), ("2", 0.6)]
    (row,) = results.read(DETECTIONS, {}, 0.1)
    assert len(row["detections"]) == 3 and row["detections"][0]["box"] == pytest.approx([0.1, 0.1, 0.4, 0.4])


@pytest.mark.parametrize("output, place", [("detection_boxes", (0, 0, 2)), ("detection_scores", (0, 0)), ("detection_classes", (0, 0))])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_detections_that_are_no_numbers_are_left_out(output, place, value):
    outputs = {alias: np.float32(DETECTIONS[alias]) for alias in DETECTIONS}
    expected = results.read(outputs, {}, 0)[0]["detections"]
    first = results.detections(dict(outputs, num_detections=np.float32([1])), {}, 0)[0]
    outputs[output] = outputs[output].copy()
    outputs[output][place] = value
    (row,) = results.read(outputs, {}, 0)
    assert row["detections"] == [one for one in expected if one["score"] != round(first.score, 6)] and len(row["detections"]) == len(expected) - 1
    json.dumps(row, allow_nan=False)


def test_masks_tint_what_they_cover():
    outputs = dict(DETECTIONS, detection_masks=np.zeros((1, 4, 15, 15), np.float32))
    outputs["detection_masks"][0, 0, :, :7] = 0.9  # the left half of the second best object
    picture = drawing.draw_detections(Image.new("RGB", (640, 480), "white"), results.detections(outputs, {}, 0.5))
    pixels = np.asarray(picture).astype(int)
    tinted = pixels[int(480 * 0.7), int(640 * 0.6)]
    assert tinted.min() < 200 < tinted.max() and pixels[int(480 * 0.7), int(640 * 0.8)].tolist() == [255, 255, 255]
    assert results.detections(DETECTIONS, {}, 0.5)[0].mask is None


def test_imagenet_names_fit_with_and_without_background():
    names = {number: "class %d" % number for number in range(1000)}
    with_background = {0: "background"}
    with_background.update((number + 1, name) for number, name in names.items())
    assert label_map.fitted(with_background, 1001) is with_background and label_map.fitted(names, 1000) is names
    assert label_map.fitted(with_background, 1000) == names
    assert label_map.fitted(names, 1001)[1000] == "class 999" and 0 not in label_map.fitted(names, 1001)
    few = {0: "a", 1: "b", 2: "c"}
    assert label_map.fitted(few, 4) is few and label_map.fitted(few, 2) is few


def test_classes():
    first, second = results.read(SCORES, {0: "a", 1: "b"}, 0.5)
    assert (first["class"], first["label"], first["score"]) == (1, "b", 0.7)
    assert [entry["label"] for entry in second["top"]] == ["a", "2", "b"]


def test_what_is_no_classifier():
    assert results.read({"y": np.float32([[1, 2]])}, {}, 0.5) == []
    assert results.read({"y": np.float32([2.5])}, {}, 0.5) == []
    assert results.class_scores({"y": np.float32([[0.25, 0.75]])}) == "y"


def test_names_beside_the_scores():
    outputs = {"scores": np.float32([[0.1, 0.9]]), "classes": np.array([[b"cat", b"dog"]], dtype=object)}
    assert results.classify(outputs, {})[0]["label"] == "dog"


def test_short_values_fit_in_json():
    shown = results.short({"y": np.float32([[np.nan, 1, np.inf]]), "s": np.array([b"\xff"], dtype=object), "long": np.arange(99)})
    assert shown["y"] == {"dtype": "float32", "shape": [1, 3], "values": ["nan", 1.0, "inf"]}
    assert shown["s"]["dtype"] == "string" and len(shown["long"]["values"]) == 8


@pytest.mark.parametrize("size", [(32, 24), (640, 480), (3000, 2000), (1000, 20), (20, 1000)])
def test_boxes_and_names_are_drawn_at_any_size(size):
    picture = drawing.draw_detections(Image.new("RGB", size), results.detections(DETECTIONS, {1: "one", 2: "two"}, 0.5))
    assert max(picture.size) >= drawing.MIN_LONG_SIDE and min(picture.size) >= drawing.MIN_SHORT_SIDE
    assert abs(picture.width / picture.height - size[0] / size[1]) < 0.01 * size[0] / size[1]
    pixels = np.asarray(picture)
    for number, box in ((1, (0.1, 0.1, 0.4, 0.4)), (2, (0.5, 0.5, 0.9, 0.9))):
        wanted = tuple(int(drawing.colour(number)[place : place + 2], 16) for place in (1, 3, 5))
        coloured = (pixels == wanted).all(axis=2)
        # Each side of the box has its colour.
        assert coloured[int((picture.height - 1) * box[2]), int(picture.width * (box[1] + box[3]) / 2)]
        assert coloured[int(picture.height * (box[0] + box[2]) / 2), int((picture.width - 1) * box[3])]
        # The name's tag is as high as letters that one can read.
        assert coloured.any(axis=1).sum() >= 14
    # Letters: light ones on the green and red tags.
    assert (pixels.min(axis=2) > 200).sum() > 20


def test_boxes_outside_the_picture_are_cut():
    wild = [results.Detection((-1.0, float("nan"), 7.0, 9.0), 1, "x", 0.9, None), results.Detection((0.9, 0.9, 0.1, 0.1), 2, "y", 0.8, None)]
    assert drawing.draw_detections(Image.new("RGB", (50, 50)), wild).size == (500, 500)


def test_caption_adds_a_strip_and_fits_long_lines():
    picture = drawing.caption(Image.new("L", (8, 8)), ["5  99.1 %", "long " * 100])
    assert picture.width == 480 and picture.height > 520
    strip = np.asarray(picture)[490:]
    assert (strip.min(axis=2) > 200).any()
    assert not (strip[:, -2:].min(axis=2) > 200).any()


def test_letters_without_a_glyph_are_replaced():
    picture = drawing.caption(Image.new("L", (8, 8)), ["\u00fc \u65e5\u672c"])
    assert picture.width == 480


def test_annotate_writes_one_sheet(tmp_path):
    path = str(tmp_path / "out.png")
    images = pictures.images_in({"x": np.zeros((2, 8, 8, 1), np.float32), "other": np.float32([1])})
    shown = [pictures.Shown(image, row, SCORES, SCORES if row else None) for row, image in enumerate(images)]
    pictures.annotate(path, shown, {}, 0.5)
    with Image.open(path) as picture:
        assert picture.width > 500
    pictures.annotate(path, [pictures.Shown(images[0], 0, DETECTIONS, None)], {}, 0.5)
    with Image.open(path) as picture:
        assert picture.size == (480, 480)
    pictures.annotate(path, [pictures.Shown(images[0], 0, {"y": np.float32([2.5])}, None)], {}, 0.5)
    with pytest.raises(TfleetError, match=r"the requests hold no images"):
        pictures.annotate(path, [], {}, 0.5)


def test_what_looks_like_pictures():
    assert pictures.images_in({"x": np.float32([[1, 2]])}) == []
    assert pictures.images_in({"x": np.zeros((1, 8, 8, 3)), "y": np.zeros((1, 8, 8, 3))}) == []
    (image,) = pictures.images_in({"x": np.uint8([[[[1, 2, 3]] * 4] * 4])})
    assert image.getpixel((0, 0)) == (1, 2, 3)


@pytest.mark.parametrize(
    "text, labels",
    [
        ('{"1": "one", "2": "two"}', {1: "one", 2: "two"}),
        ('["zero", "one"]', {0: "zero", 1: "one"}),
        ("zero\none\n\n", {0: "zero", 1: "one"}),
        ("item {\n  id: 1\n  name: 'n1'\n}\n# item\nitem { name: \"/m/2\" id: 2 display_name: \"two } it's\" }", {1: "n1", 2: "two } it's"}),
    ],
)
def test_label_maps(text, labels, tmp_path):
    path = tmp_path / "labels"
    path.write_text(text)
    assert label_map.load(str(path)) == labels


@pytest.mark.parametrize(
    "text, message",
    [
        ("{1: 2}", "is not JSON such as"),
        ('{"a": "b"}', "is not JSON such as"),
        ("[1]", "names by class number are expected"),
        ("item { id: 1 }", "has an item without an id and a name: { id: 1 }"),
        ("", "is empty"),
    ],
)
def test_bad_label_maps(text, message, tmp_path):
    path = tmp_path / "labels"
    path.write_text(text)
    with pytest.raises(TfleetError, match=message):
        label_map.load(str(path))
    with pytest.raises(TfleetError, match=r"Could not read the label map"):
        label_map.load(str(tmp_path / "none"))
