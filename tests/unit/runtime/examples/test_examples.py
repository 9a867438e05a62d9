"""Examples in TFRecord files: what is written is read, what others write is read, what is damaged is told."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from tfleet import examples
from tfleet.errors import TfleetError
from tfleet.examples import features
from tfleet.wire import tfrecord


def picture(color=(200, 10, 60), size=(12, 8), form="PNG"):
    stream = io.BytesIO()
    Image.new("RGB", size, color).save(stream, form)
    return stream.getvalue()


def example(**changes):
    plain = {"name": "a.png", "image": picture(), "size": (8, 12), "label": None, "text": "", "objects": None, "arrays": {}}
    return examples.Example(**dict(plain, **changes))


def objects(*boxes):
    count = len(boxes)
    return examples.Objects(np.array(boxes, np.float32).reshape(count, 4), np.arange(count), ["n%d" % n for n in range(count)], np.arange(count) % 2 == 1)


def write(path, *records):
    path.write_bytes(tfrecord.encode(examples.encode(record) if isinstance(record, examples.Example) else record for record in records))
    return str(path)


def arrays_of(path, shape, dtype="float32", batch_size=8, **options):
    return list(examples.batches(path, {"images": {"dtype": dtype, "shape": shape}}, batch_size, **options))


# What is in an Example


def test_a_classified_picture_comes_back():
    given = example(label=3, text="three", arrays={"weights": np.array([0.5, 2.0], np.float32), "ids": np.array([7]), "words": np.array([b"\xff"], object)})
    read = examples.decode(examples.encode(given))
    assert (read.name, read.image, read.size, read.label, read.text, read.objects) == ("a.png", given.image, (8, 12), 3, "three", None)
    assert {key: (values.dtype, values.tolist()) for key, values in read.arrays.items()} == {
        "weights": (np.float32, [0.5, 2.0]),
        "ids": (np.int64, [7]),
        "words": (object, [b"\xff"]),
    }


def test_boxes_come_back_with_their_classes():
    read = examples.decode(examples.encode(example(objects=objects((0.1, 0.2, 0.3, 0.4), (0, 0, 1, 1)))))
    np.testing.assert_array_equal(read.objects.boxes, np.array([[0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1]], np.float32))
    assert (read.objects.classes.tolist(), read.objects.names, read.objects.difficult.tolist()) == ([0, 1], ["n0", "n1"], [False, True])


def test_a_picture_without_objects_differs_from_one_that_nobody_labelled():
    assert examples.decode(examples.encode(example(objects=objects()))).objects.boxes.shape == (0, 4)
    assert examples.decode(examples.encode(example())).objects is None


def test_equal_examples_have_equal_bytes():
    assert examples.encode(example(label=1)) == examples.encode(example(label=1))


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (b"\x00garbage", "no tf.train.Example"),
        (b"", "no features"),
        (examples.encode(example(arrays={"image/object/bbox/xmin": np.array([0.5], np.float32)})), "boxes are incomplete"),
        (examples.encode(example(arrays={"image/class/label": np.array([1, 2])})), "image/class/label is not one whole number"),
    ],
)
def test_records_that_make_no_sense_are_refused_with_their_place(tmp_path, broken, said):
    path = write(tmp_path / "x.tfrecord", example(), broken)
    place = 16 + len(examples.encode(example()))
    with pytest.raises(TfleetError, match="x.tfrecord: the record at byte %d cannot be used: .*%s" % (place, said)):
        list(examples.read(path))


# Files and shards


def test_shards_are_found_by_the_name_of_the_whole(tmp_path):
    for number in range(3):
        write(tmp_path / ("t.tfrecord-%05d-of-00003" % number), example(name=str(number)))
    write(tmp_path / "u.tfrecord", example(name="u"))
    assert [read.name for read in examples.read(str(tmp_path / "t.tfrecord"))] == ["0", "1", "2"]
    assert [read.name for read in examples.read([str(tmp_path / "u.tfrecord"), str(tmp_path / "t.tfrecord")])] == ["u", "0", "1", "2"]
    assert [read.name for read in examples.read(str(tmp_path))] == ["0", "1", "2", "u"]
    assert examples.count(str(tmp_path)) == 4


@pytest.mark.parametrize("asked", ["t.tfrecord", "."])
def test_a_missing_shard_is_told(tmp_path, asked):
    for number in (0, 2):
        write(tmp_path / ("t.tfrecord-%05d-of-00003" % number), example())
    with pytest.raises(TfleetError, match=r"of its 3 shards t\.tfrecord-00001-of-00003 is missing"):
        examples.locate(str(tmp_path / asked))


def test_two_sets_of_shards_are_not_mixed(tmp_path):
    for name in ("t.tfrecord-00000-of-00001", "t.tfrecord-00000-of-00002", "t.tfrecord-00001-of-00002"):
        write(tmp_path / name, example())
    with pytest.raises(TfleetError, match="several sets of shards"):
        examples.locate(str(tmp_path))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x1f\x8b\x08\x00" + bytes(60), "compressed: unpack it"),
        (picture(), "It is a picture"),
        (b"PK\x03\x04" + bytes(60), "golden.npz becomes a TFRecord file"),
        (b"text", "no TFRecord at byte 0"),
    ],
)
def test_other_files_are_named(tmp_path, content, said):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(TfleetError, match=said):
        list(examples.read(str(tmp_path / "x")))


def test_damage_is_found_where_it_is(tmp_path):
    path = write(tmp_path / "x.tfrecord", example(), example(), example())
    size = 16 + len(examples.encode(example()))
    with open(path, "r+b") as stream:
        stream.seek(size + 40)
        stream.write(b"\x00\x01")
    read = examples.read(path)
    next(read)
    with pytest.raises(TfleetError, match="the record at byte %d is damaged" % size):
        next(read)


def test_a_length_larger_than_the_file_asks_for_no_memory(tmp_path):
    length = struct.pack("<Q", 2**62)
    (tmp_path / "x.tfrecord").write_bytes(length + tfrecord._masked(length) + b"abc")
    with pytest.raises(TfleetError, match="byte 0 is damaged or cut short"):
        list(examples.read(str(tmp_path / "x.tfrecord")))


# What a model takes


def test_pixels_have_the_dtype_size_and_range_of_the_input(tmp_path):
    path = write(tmp_path / "x.tfrecord", example(), example())
    ((arrays, shown),) = arrays_of(path, [-1, 4, 6, 3], "uint8")
    assert arrays["images"].shape == (2, 4, 6, 3)
    assert arrays["images"].dtype == np.uint8
    assert arrays["images"][1, 2, 3].tolist() == [200, 10, 60]
    assert [one.name for one in shown] == ["a.png", "a.png"]
    np.testing.assert_allclose(arrays_of(path, [-1, 4, 6, 3])[0][0]["images"][0, 0, 0], np.array([200, 10, 60]) / 255, atol=1e-6)
    np.testing.assert_allclose(arrays_of(path, [-1, 4, 6, 3], values=(-1.0, 1.0))[0][0]["images"][0, 0, 0], np.array([200, 10, 60]) / 127.5 - 1, atol=1e-6)
    assert arrays_of(path, [-1, 4, 6, 1])[0][0]["images"].shape == (2, 4, 6, 1)
    assert arrays_of(path, [-1], "string")[0][0]["images"].tolist() == [picture(), picture()]


def test_batches_end_at_the_limit_and_where_the_size_changes(tmp_path):
    other = example(image=picture(size=(5, 5)))
    path = write(tmp_path / "x.tfrecord", example(), example(), example(), other, example())
    assert [arrays["images"].shape[0] for arrays, _ in arrays_of(path, [-1, -1, -1, 3], "uint8", 2)] == [2, 1, 1, 1]
    assert [arrays["images"].shape[0] for arrays, _ in arrays_of(path, [-1, 4, 4, 3], "uint8", 2, limit=3)] == [2, 1]


def test_a_fixed_batch_is_filled_and_what_is_real_is_known(tmp_path):
    path = write(tmp_path / "x.tfrecord", *[example(name=str(number)) for number in range(5)])
    assert [(arrays["images"].shape[0], len(shown)) for arrays, shown in arrays_of(path, [4, 8, 12, 3], "uint8", 64)] == [(4, 4), (4, 1)]
    assert [arrays["images"].shape for arrays, _ in arrays_of(path, [1, -1, -1, 3], "uint8", 64)] == [(1, 8, 12, 3)] * 5


def test_single_pictures_have_no_batch(tmp_path):
    path = write(tmp_path / "x.tfrecord", example(), example())
    assert [arrays["images"].shape for arrays, _ in arrays_of(path, [-1, -1, 3], "uint8", 1)] == [(8, 12, 3)] * 2
    with pytest.raises(TfleetError, match="takes one example at a time"):
        arrays_of(path, [8, 12, 3], "uint8", 2)


def test_a_feature_of_the_inputs_name_fills_it(tmp_path):
    path = write(tmp_path / "x.tfrecord", *[example(arrays={"x": np.arange(6, dtype=np.float32) + n, "id": np.array([n])}) for n in range(2)])
    inputs = {"x": {"dtype": "float64", "shape": [-1, 2, 3]}, "id": {"dtype": "int32", "shape": [-1]}}
    ((arrays, _shown),) = examples.batches(path, inputs, 8)
    assert (arrays["x"].shape, arrays["x"].dtype, arrays["x"][1, 1, 2]) == ((2, 2, 3), np.float64, 6)
    assert (arrays["id"].dtype, arrays["id"].tolist()) == (np.int32, [0, 1])


@pytest.mark.parametrize(
    ("given", "info", "said"),
    [
        (example(image=None, arrays={"y": np.array([1.0])}), {"dtype": "float32", "shape": [-1, 1]}, "neither a feature `x` nor a picture.*are: y"),
        (example(), {"dtype": "float32", "shape": [-1, 3]}, r"is a picture, but the input `x` is float32 \[-1, 3\]"),
        (example(), {"dtype": "float32", "shape": [-1, 3, 8, 12]}, "takes 12 channels"),
        (example(arrays={"x": np.array([1.0, 2.0], np.float32)}), {"dtype": "float32", "shape": [-1, 3]}, r"has 2 values, which do not fill .* \[3\]"),
        (example(arrays={"x": np.array([b"a"], object)}), {"dtype": "float32", "shape": [-1, 1]}, "is text, but the input is float32"),
        (example(image=picture()[:45]), {"dtype": "uint8", "shape": [-1, -1, -1, 3]}, r"Example 0 \(a.png\) cannot be decoded"),
    ],
)
def test_examples_of_another_model_are_refused(tmp_path, given, info, said):
    with pytest.raises(TfleetError, match=said):
        list(examples.batches(write(tmp_path / "x.tfrecord", given), {"x": info}, 1))


# Beside TensorFlow


def test_tensorflow_reads_what_we_write(tmp_path, tf):
    path = write(tmp_path / "x.tfrecord", example(label=3, text="three", objects=objects((0, 0.25, 0.5, 1))), example(label=4, text="four", objects=objects()))
    wanted = {
        "image/encoded": tf.io.FixedLenFeature([], tf.string),
        "image/class/label": tf.io.FixedLenFeature([], tf.int64),
        "image/object/bbox/xmin": tf.io.VarLenFeature(tf.float32),
        "image/object/class/text": tf.io.VarLenFeature(tf.string),
    }
    read = [tf.io.parse_single_example(record, wanted) for record in tf.data.TFRecordDataset(path)]
    assert [int(one["image/class/label"]) for one in read] == [3, 4]
    assert [one["image/object/bbox/xmin"].values.numpy().tolist() for one in read] == [[0.25], []]
    assert read[0]["image/object/class/text"].values.numpy().tolist() == [b"n0"]
    assert tf.io.decode_image(read[0]["image/encoded"]).shape == (8, 12, 3)


def test_what_tensorflow_writes_is_read(tmp_path, tf):
    path = str(tmp_path / "x.tfrecord")
    train = tf.train
    given = {
        "image/encoded": train.Feature(bytes_list=train.BytesList(value=[picture()])),
        "image/filename": train.Feature(bytes_list=train.BytesList(value=[b"b.png"])),
        "image/object/is_crowd": train.Feature(int64_list=train.Int64List(value=[1])),
        "image/object/class/label": train.Feature(int64_list=train.Int64List(value=[9])),
    }
    given.update({"image/object/bbox/" + edge: train.Feature(float_list=train.FloatList(value=[0.5])) for edge in ("xmin", "xmax", "ymin", "ymax")})
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(train.Example(features=train.Features(feature=given)).SerializeToString())
    (read,) = examples.read(path)
    assert (read.name, read.size, read.image, read.arrays) == ("b.png", None, picture(), {})
    assert (read.objects.classes.tolist(), read.objects.names, read.objects.difficult.tolist()) == ([9], [""], [True])


def test_formats_are_told_by_their_first_bytes():
    assert [features.image_format(picture(form=form)) for form in ("PNG", "JPEG", "GIF", "BMP", "TIFF")] == ["png", "jpeg", "gif", "bmp", None]


@pytest.mark.parametrize("size", [0, 1, 9, 4095, 4096, 4097, 8191, 8192, 65536 + 31, 300001])
def test_sums_are_the_same_however_they_are_computed(size, monkeypatch):
    data = np.random.RandomState(size).bytes(size)
    wide = tfrecord.crc32c(data)
    monkeypatch.setattr(tfrecord, "_WIDE_FROM", 2**40)
    assert wide == tfrecord.crc32c(data)
    assert tfrecord.crc32c(b"123456789") == 0xE3069283
