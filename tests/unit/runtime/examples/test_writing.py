"""`tfleet tfrecord`: from labelled pictures of each kind to files, with every fault of the labels told and nothing half written."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from tfleet import cli, examples
from tfleet.client import golden
from tfleet.errors import TfleetError
from tfleet.examples import checks, writing
from tfleet.progress import Progress
from tfleet.wire import tfrecord

XML = (
    "<annotation><filename>%s</filename><size><width>%d</width><height>%d</height><depth>3</depth></size>"
    "<object><name>cat</name><difficult>1</difficult><bndbox><xmin>2</xmin><ymin>1</ymin><xmax>8</xmax><ymax>6</ymax></bndbox></object>"
    "<object><name>ant</name><bndbox><xmin>0</xmin><ymin>0</ymin><xmax>10</xmax><ymax>8</ymax></bndbox></object></annotation>"
)


def save(path, size=(10, 8), color=(1, 2, 3), **options):
    os.makedirs(os.path.dirname(str(path)), exist_ok=True)
    Image.new("RGB", size, color).save(str(path), **options)
    return path


@pytest.fixture
def folders(tmp_path):
    """Two classes, five pictures each."""
    for number in range(10):
        save(tmp_path / "pictures" / ("cat", "ant")[number % 2] / ("%d.png" % number), color=(number, 0, 0))
    return tmp_path / "pictures"


@pytest.fixture
def voc(tmp_path):
    """VOC's layout with one picture: a difficult cat, and an ant that fills it."""
    root = tmp_path / "voc"
    save(root / "JPEGImages" / "a.jpg")
    (root / "Annotations").mkdir()
    (root / "Annotations" / "a.xml").write_text(XML % ("a.jpg", 10, 8))
    return root


@pytest.fixture
def coco(tmp_path):
    """COCO's layout: two pictures, one without objects."""
    save(tmp_path / "coco" / "val" / "a.png")
    save(tmp_path / "coco" / "val" / "b.png", color=(9, 9, 9))
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": 8, "width": 10}, {"id": 2, "file_name": "b.png", "height": 8, "width": 10}],
        "annotations": [{"id": 5, "image_id": 1, "category_id": 18, "bbox": [5, 2, 5, 4], "iscrowd": 1}],
        "categories": [{"id": 18, "name": "dog"}, {"id": 44, "name": "bottle"}],
    }
    (tmp_path / "coco" / "annotations").mkdir()
    path = tmp_path / "coco" / "annotations" / "val.json"
    path.write_text(json.dumps(content))
    return path, content


def written(source, tmp_path, **options):
    result = writing.write(str(source), str(tmp_path / "out" / "x.tfrecord"), **options)
    return result, list(examples.read(result["dest"]))


def refusal(source, tmp_path, **options):
    with pytest.raises(TfleetError) as caught:
        written(source, tmp_path, **options)
    assert not (tmp_path / "out").exists() or os.listdir(str(tmp_path / "out")) == []
    return caught.value


def codes(error):
    return sorted(problem["code"] for problem in error.result["problems"])


# From each kind of source


def test_folders_become_classes(folders, tmp_path):
    result, read = written(folders, tmp_path)
    assert (result["kind"], result["examples"], result["labels"], result["changed"]) == ("folders", 10, {"0": "ant", "1": "cat"}, True)
    assert {(one.label, one.text) for one in read} == {(0, "ant"), (1, "cat")}
    assert {one.size for one in read} == {(8, 10)}
    assert json.loads((tmp_path / "out" / "x.tfrecord.labels.json").read_text()) == {"0": "ant", "1": "cat"}


def test_the_first_examples_are_a_fair_sample(folders, tmp_path):
    _result, read = written(folders, tmp_path, limit=6)
    assert 2 <= sum(one.label for one in read) <= 4


def test_voc_boxes_become_shares_and_classes_count_from_one(voc, tmp_path):
    result, (one,) = written(voc, tmp_path)
    assert (result["kind"], result["labels"], one.size) == ("voc", {"1": "ant", "2": "cat"}, (8, 10))
    np.testing.assert_allclose(one.objects.boxes, [[1 / 8, 0.2, 0.75, 0.8], [0, 0, 1, 1]], atol=1e-6)
    assert (one.objects.names, one.objects.classes.tolist(), one.objects.difficult.tolist()) == (["cat", "ant"], [2, 1], [True, False])


def test_coco_keeps_its_numbers(coco, tmp_path):
    result, read = written(coco[0], tmp_path)
    assert (result["kind"], result["labels"]) == ("coco", {"18": "dog", "44": "bottle"})
    by_name = {one.name: one.objects for one in read}
    np.testing.assert_allclose(by_name["a.png"].boxes, [[0.25, 0.5, 0.75, 1.0]], atol=1e-6)
    assert (by_name["a.png"].classes.tolist(), by_name["a.png"].difficult.tolist(), len(by_name["b.png"].boxes)) == ([18], [True], 0)


def test_recorded_inputs_become_features(tmp_path):
    inputs = {"x": np.arange(8, dtype=np.float32).reshape(2, 2, 2), "id": np.array([3, 4], np.int32)}
    golden.write(str(tmp_path / "golden.npz"), {"model": "m", "signature_name": "s", "tolerance": {}}, [(inputs, {"y": np.zeros(2)})] * 2)
    result, read = written(tmp_path / "golden.npz", tmp_path)
    assert (result["kind"], len(read), sorted(os.listdir(str(tmp_path / "out")))) == ("golden", 4, ["x.tfrecord"])
    wanted = {"x": {"dtype": "float32", "shape": [-1, 2, 2]}, "id": {"dtype": "int32", "shape": [-1]}}
    ((arrays, _shown),) = examples.batches(result["dest"], wanted, 2, limit=2)
    np.testing.assert_array_equal(arrays["x"], inputs["x"])
    np.testing.assert_array_equal(arrays["id"], inputs["id"])


def test_a_label_map_gives_the_numbers(folders, voc, tmp_path):
    (tmp_path / "labels.json").write_text(json.dumps({"7": "cat", "9": "ant"}))
    for source in (folders, voc):
        result, read = written(source, tmp_path, labels=str(tmp_path / "labels.json"))
        numbers = {one.label for one in read} if source is folders else set(read[0].objects.classes.tolist())
        assert (result["labels"], numbers) == ({"7": "cat", "9": "ant"}, {7, 9})


# Files


def test_the_same_again_changes_nothing(folders, tmp_path):
    first, _ = written(folders, tmp_path, number_of_shards=2)
    stamps = {path: os.stat(path).st_mtime_ns for path in first["files"]}
    second, _ = written(folders, tmp_path, number_of_shards=2)
    assert (second["changed"], second["files"]) == (False, first["files"])
    assert {path: os.stat(path).st_mtime_ns for path in first["files"]} == stamps


def test_another_number_of_shards_replaces_the_old_ones(folders, tmp_path):
    written(folders, tmp_path, number_of_shards=4)
    result, read = written(folders, tmp_path, number_of_shards=3)
    assert (result["changed"], len(read)) == (True, 10)
    assert sorted(os.listdir(str(tmp_path / "out"))) == ["x.tfrecord-0000%d-of-00003" % number for number in range(3)] + ["x.tfrecord.labels.json"]


# What is wrong with labels and pictures


def test_nothing_is_written_where_a_label_is_missing(folders, tmp_path):
    save(folders / "stray.png")
    error = refusal(folders, tmp_path)
    assert codes(error) == ["missing_label"]
    assert "stray.png: it lies in no folder that names its class" in str(error)
    assert "--skip-bad (10 others are in order)" in str(error)


def test_what_is_bad_can_be_left_out(folders, tmp_path):
    save(folders / "stray.png")
    (folders / "cat" / "broken.png").write_bytes((folders / "cat" / "0.png").read_bytes()[:45])
    result, read = written(folders, tmp_path, skip_bad=True)
    assert (len(read), sorted(problem["code"] for problem in result["problems"])) == (10, ["missing_label", "undecodable"])


def test_a_size_that_is_not_the_pictures_is_told(voc, tmp_path):
    (voc / "Annotations" / "a.xml").write_text(XML % ("a.jpg", 20, 16))
    error = refusal(voc, tmp_path)
    assert codes(error) == ["wrong_size"]
    assert "tells 20 x 16 pixels, the picture has 10 x 8" in str(error)


@pytest.mark.parametrize(
    ("before", "after", "code", "said"),
    [
        ("a.jpg", "b/zz.jpg", None, None),
        ("<xmax>8</xmax>", "<xmax>80</xmax>", "outside_box", "leaves the picture"),
        ("<xmax>8</xmax>", "<xmax>2</xmax>", "empty_box", "has no area"),
        ("<xmax>8</xmax>", "<xmax>wide</xmax>", "bad_annotation", "bndbox/xmax is 'wide', not a number"),
        ("<xmax>8</xmax>", "", "bad_annotation", "bndbox/xmax is missing"),
        ("<name>cat</name>", "<name/>", "bad_annotation", "an object has no name"),
        ("<width>10</width>", "<width>0</width>", "bad_annotation", "tells the size 0 x 8"),
        ("</annotation>", "", "bad_annotation", "no XML"),
        ("<annotation>", '<!DOCTYPE a [<!ENTITY b "c">]><annotation>', "bad_annotation", "document type"),
    ],
)
def test_faults_of_voc_files(voc, tmp_path, before, after, code, said):
    path = voc / "Annotations" / "a.xml"
    path.write_text(path.read_text().replace(before, after, 1))
    if code is None:  # the picture is found by the name of the annotation
        assert len(written(voc, tmp_path)[1]) == 1
        return
    error = refusal(voc, tmp_path)
    assert codes(error) == [code]
    assert said in str(error)


def test_a_picture_that_is_not_there_is_told_and_none_outside_is_taken(voc, tmp_path):
    save(tmp_path / "secret.jpg")
    (voc / "Annotations" / "b.xml").write_text(XML % ("../secret.jpg", 10, 8))
    error = refusal(voc, tmp_path)
    assert codes(error) == ["missing_picture"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda content: content["annotations"][0].update(category_id=3), "unknown_label"),
        (lambda content: content["annotations"][0].update(image_id=77), "missing_picture"),
        (lambda content: content["images"][0].update(file_name="z.png"), "missing_picture"),
        (lambda content: content["images"][0].update(width=99), "wrong_size"),
    ],
)
def test_faults_of_coco_files(coco, tmp_path, change, code):
    path, content = coco
    change(content)
    path.write_text(json.dumps(content))
    assert codes(refusal(path, tmp_path)) == [code]


@pytest.mark.parametrize("content", ["[]", "{", '{"images": [], "annotations": [], "categories": 3}', '{"images": [{}], "annotations": [], "categories": []}'])
def test_other_json_is_refused(tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(TfleetError, match=r"x\.json is not"):
        written(tmp_path / "x.json", tmp_path)


def test_a_turned_picture_and_an_unknown_format_are_told(folders, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(folders / "cat" / "turned.jpg", exif=exif)
    Image.new("RGB", (4, 4)).save(str(folders / "cat" / "odd.png"), "TIFF")
    error = refusal(folders, tmp_path)
    assert codes(error) == ["rotated", "unknown_format"]
    assert "store it upright" in str(error)


def test_a_label_that_the_map_lacks_is_told(folders, tmp_path):
    (tmp_path / "labels.json").write_text('["ant"]')
    error = refusal(folders, tmp_path, labels=str(tmp_path / "labels.json"))
    assert set(codes(error)) == {"unknown_label"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"number_of_shards": 11}, "11 shards are asked for, but there are 10"),
        ({"number_of_shards": 0}, "0 shards are asked for"),
        ({"kind": "voc"}, "is not voc"),
        ({"images": "/nowhere"}, "/nowhere does not exist"),
    ],
)
def test_impossible_wishes(folders, tmp_path, options, said):
    with pytest.raises(TfleetError, match=said):
        written(folders, tmp_path, **options)


# Checking what is there


def test_a_file_in_order_has_no_problems(voc, folders, tmp_path):
    first, _ = written(folders, tmp_path, number_of_shards=2)
    answer = checks.check(first["dest"], {0: "ant", 1: "cat"})
    assert (answer["problems"], answer["examples"], answer["classes"], len(answer["files"])) == ([], 10, {"ant": 5, "cat": 5}, 2)


def test_every_fault_in_a_file_is_found(voc, tmp_path):
    _result, (good,) = written(voc, tmp_path)
    faults = [
        good,
        good._replace(size=(80, 100)),
        good._replace(objects=None),
        good._replace(image=good.image[:200]),
        good._replace(objects=good.objects._replace(classes=np.array([2, 3]))),
        good._replace(objects=good.objects._replace(boxes=good.objects.boxes * 10)),
        good._replace(image=None, objects=None),
    ]
    content = tfrecord.encode([examples.encode(fault) for fault in faults] + [b"\x00nonsense"])
    (tmp_path / "bad.tfrecord").write_bytes(content)
    (tmp_path / "cut.tfrecord").write_bytes(content[:-3])
    found = checks.check([str(tmp_path / "bad.tfrecord"), str(tmp_path / "cut.tfrecord")], {1: "ant", 2: "cat"})["problems"]
    for code in ("wrong_size", "missing_label", "undecodable", "unknown_label", "outside_box", "no_content", "no_example", "double", "damaged"):
        assert [problem for problem in found if problem["code"] == code], code
    assert all("tfrecord" in problem["where"] for problem in found)


# The command


def run(capsys, *arguments):
    code = cli.main(["tfrecord"] + [str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_the_command_writes_reads_and_checks(voc, tmp_path, capsys):
    dest = tmp_path / "x.tfrecord"
    code, out, _err = run(capsys, "write", voc, dest, "--json")
    assert (code, json.loads(out)["changed"]) == (0, True)
    assert "(unchanged, voc, 1 Examples" in run(capsys, "write", voc, dest)[1]
    assert "a.jpg  10 x 8, " in run(capsys, "read", dest)[1]
    assert "cat [0.125, 0.2, 0.75, 0.8]" in run(capsys, "read", dest)[1]
    assert "1 Examples, 2 objects" in run(capsys, "check", dest)[1]


def test_the_command_fails_on_problems_and_lists_them(voc, tmp_path, capsys):
    run(capsys, "write", voc, tmp_path / "x.tfrecord")
    (tmp_path / "labels.json").write_text('{"1": "ant"}')
    code, out, _err = run(capsys, "check", tmp_path / "x.tfrecord", "--label-map", tmp_path / "labels.json", "--json")
    answer = json.loads(out)
    assert (code, answer["ok"], answer["problems"][0]["code"]) == (1, False, "unknown_label")
    assert "its class 2 is not in the label map" in run(capsys, "check", tmp_path / "x.tfrecord", "--label-map", tmp_path / "labels.json")[2]


class Stream(object):
    def __init__(self, terminal):
        self.terminal, self.text = terminal, ""

    def isatty(self):
        return self.terminal

    def write(self, text):
        self.text += text

    def flush(self):
        pass


def test_progress_is_redrawn_for_people_and_quiet_in_logs():
    terminal, log = Stream(True), Stream(False)
    for stream in (terminal, log):
        with Progress("writing", unit="pictures", stream=stream) as progress:
            progress._shown -= 1
            progress.update(5, "now", total=50)
            progress.update(6)  # too soon
    assert terminal.text.startswith("\rwriting: 5 of 50 pictures (10 %), 0 s, now\r")
    assert "6 of" not in terminal.text
    assert log.text == ""
