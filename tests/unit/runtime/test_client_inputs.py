"""Requests from files, JSON and pictures, by the model's signature."""

import io

import numpy as np
import pytest
from PIL import Image

from tfleet import wire
from tfleet.client import inputs
from tfleet.client.answers import Metadata
from tfleet.errors import TfleetError


def signature(**infos):
    found = wire.SignatureDef()
    for alias, (dtype, shape) in infos.items():
        found.inputs[alias].dtype = wire.DT.Value(dtype)
        if shape is None:
            found.inputs[alias].tensor_shape.unknown_rank = True
        else:
            found.inputs[alias].tensor_shape.SetInParent()
            for size in shape:
                found.inputs[alias].tensor_shape.dim.add(size=size)
    return found


X = signature(x=("DT_FLOAT", [-1, 2]))


def test_inline_json_takes_the_signatures_dtype():
    arrays = inputs.from_options(["x=[[1, 2.5]]"], X)
    assert arrays["x"].dtype == np.float32 and arrays["x"].tolist() == [[1, 2.5]]
    strings = inputs.from_options(['s=["a", {"b64": "AP8="}]'], signature(s=("DT_STRING", [-1])))
    assert strings["s"].tolist() == ["a", b"\x00\xff"]
    assert inputs.from_options(["x=7"], signature(x=("DT_INT64", [])))["x"].shape == ()
    assert inputs.from_options(["x=[true]"], signature(x=("DT_BOOL", None)))["x"].dtype == bool


def test_files_and_stdin(tmp_path, monkeypatch):
    np.save(str(tmp_path / "x.npy"), np.array([[1, 2]]))
    (tmp_path / "x.json").write_text("[[3, 4]]")
    assert inputs.from_options(["x=%s/x.npy" % tmp_path], X)["x"].tolist() == [[1, 2]]
    assert inputs.from_options(["x=%s/x.json" % tmp_path], X)["x"].tolist() == [[3, 4]]
    assert inputs.from_options(["x=@%s/x.json" % tmp_path], X)["x"].tolist() == [[3, 4]]
    monkeypatch.setattr("sys.stdin", io.StringIO("[[5, 6]]"))
    assert inputs.from_options(["x=-"], X)["x"].tolist() == [[5, 6]]


@pytest.mark.parametrize(
    "options, message",
    [
        (["y=[[1, 2]]"], r"The signature has no input 'y'. Its inputs are: x: DT_FLOAT \[-1,2\]."),
        ([], r"The signature also needs x. Its inputs are: x: DT_FLOAT \[-1,2\]."),
        (["x"], "'x' is not an input: write alias="),
        (["x=[[1,2]]", "x=[[1,2]]"], "Input 'x' is given twice"),
        (["x=[1, 2]"], r"have shape \[2\]: the batch dimension is missing. Put the values into one more pair of brackets"),
        (["x=[[1, 2, 3]]"], r"have shape \[1, 3\]. Change the values to the shape of the signature"),
        (["x=[[1, 2], [3]]"], "not numbers in a regular array|is no regular array"),
        (['x=[["a", "b"]]'], "the values are not numbers in a regular array"),
        (["x=[[1, 1e300]]"], "cannot hold the value 1e\\+300"),
        (["x=nonsense"], "is neither a .npy or .json file nor JSON"),
        (["x=/no/such.npy"], "Could not read /no/such.npy: No such file or directory"),
        (["x=/no/such.json"], "Could not read /no/such.json: No such file or directory"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(TfleetError, match=message):
        inputs.from_options(options, X)


@pytest.mark.parametrize(
    "dtype, text, message",
    [
        ("DT_UINT8", "[300]", "cannot hold the value 300"),
        ("DT_UINT8", "[-1]", "cannot hold the value -1"),
        ("DT_INT32", "[1.5]", "cannot hold the value 1.5"),
        ("DT_UINT64", "[-1]", "cannot hold the value -1"),
        ("DT_STRING", "[1]", "give text, or"),
        ("DT_STRING", '[{"b64": "?"}]', "broken base64"),
        ("DT_RESOURCE", "[1]", "DT_RESOURCE cannot be converted"),
    ],
)
def test_values_that_a_dtype_cannot_hold(dtype, text, message):
    with pytest.raises(TfleetError, match=message):
        inputs.from_options(["x=" + text], signature(x=(dtype, [-1])))


def test_npy_of_another_dtype_is_converted_if_nothing_is_lost(tmp_path):
    path = str(tmp_path / "x.npy")
    np.save(path, np.float64([1, 2]))
    assert inputs.from_options(["x=" + path], signature(x=("DT_INT32", [-1])))["x"].dtype == np.int32
    np.save(path, np.array([b"a"]))
    with pytest.raises(TfleetError, match=r"not numbers"):
        inputs.from_options(["x=" + path], signature(x=("DT_INT32", [-1])))
    with open(path, "wb") as stream:
        stream.write(b"no numpy")
    with pytest.raises(TfleetError, match=r"is not an array saved by numpy.save"):
        inputs.from_options(["x=" + path], X)


def test_inputs_with_defaults_may_be_left_out():
    both = signature(x=("DT_FLOAT", [-1, 2]), y=("DT_FLOAT", []))
    both.defaults["y"].dtype = 1
    assert list(inputs.from_options(["x=[[1, 2]]"], both)) == ["x"]


def test_files_of_pictures_as_values(png):
    with open(png, "rb") as stream:
        content = stream.read()
    assert inputs.from_options(["b=" + png], signature(b=("DT_STRING", [-1])))["b"].tolist() == [content]
    with pytest.raises(TfleetError, match="is a picture's file: send it with --image"):
        inputs.from_options(["x=" + png], X)


def test_pixels_of_another_range_are_explained(tmp_path):
    path = str(tmp_path / "x.npy")
    np.save(path, np.full((1, 4, 4, 3), 0.5))
    with pytest.raises(TfleetError, match="whole numbers from 0 to 255: multiply by 255 and round"):
        inputs.from_options(["x=" + path], signature(x=("DT_UINT8", [-1, -1, -1, 3])))


def test_unknown_signature_names_the_known_ones():
    with pytest.raises(TfleetError, match=r"has no signature 's'. Its signatures are: raw \(x: DT_FLOAT \[-1,2\] -> nothing\)"):
        inputs.signature_of(Metadata("m", 1, {"raw": X}), "s")


@pytest.fixture
def png(tmp_path):
    path = str(tmp_path / "p.png")
    Image.fromarray(np.arange(24, dtype=np.uint8).reshape(2, 4, 3)).save(path)
    return path


@pytest.mark.parametrize(
    "dtype, shape, expected",
    [
        ("DT_UINT8", [1, -1, -1, 3], (1, 2, 4, 3)),
        ("DT_UINT8", [-1, 5, 6, 3], (1, 5, 6, 3)),
        ("DT_UINT8", [-1, 5, -1, 3], (1, 5, 4, 3)),
        ("DT_FLOAT", [-1, 8, 8, 1], (1, 8, 8, 1)),
        ("DT_INT32", [-1, -1, 3], (2, 4, 3)),
        ("DT_FLOAT", None, (1, 2, 4, 3)),
        ("DT_HALF", [-1, -1, -1, -1], (1, 2, 4, 3)),
        ("DT_UINT8", [-1, 2, 2, 4], (1, 2, 2, 4)),
    ],
)
def test_pictures_become_what_the_signature_wants(dtype, shape, expected, png):
    arrays, picture = inputs.from_image(png, signature(image=(dtype, shape)))
    assert picture.size == (4, 2)
    array = arrays["image"]
    assert array.shape == expected and array.dtype == wire.tensors.numpy_dtype(wire.DT.Value(dtype))
    if array.dtype.kind == "f":
        assert array.min() >= 0 and array.max() <= 0.1


def test_pixels_keep_their_values(png):
    arrays, _ = inputs.from_image(png, signature(image=("DT_UINT8", [1, None or -1, -1, 3])))
    assert arrays["image"].reshape(-1).tolist() == list(range(24))


def test_encoded_pictures(png):
    with open(png, "rb") as stream:
        content = stream.read()
    assert inputs.from_image(png, signature(b=("DT_STRING", [-1])))[0]["b"].tolist() == [content]
    assert inputs.from_image(png, signature(b=("DT_STRING", [])))[0]["b"].tolist() == content


def test_rotated_photographs_stand_upright(tmp_path):
    path = str(tmp_path / "p.jpg")
    image = Image.new("RGB", (8, 4))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(path, exif=exif)
    assert inputs.from_image(path, signature(x=("DT_UINT8", [1, -1, -1, 3])))[0]["x"].shape == (1, 8, 4, 3)


def test_bad_pictures(png, tmp_path):
    with open(png, "rb") as stream:
        content = stream.read()
    with pytest.raises(TfleetError, match=r"Could not read the image /no.png: No such file"):
        inputs.open_image("/no.png")
    with pytest.raises(TfleetError, match=r"a.png is not a picture in a known format"):
        inputs.decode_image(b"text", "a.png")
    with pytest.raises(TfleetError, match=r"a.png cannot be decoded: .* Use an undamaged JPEG or PNG file"):
        inputs.decode_image(content[:50], "a.png")
    with pytest.raises(TfleetError, match=r"is DT_FLOAT .-1,2., which is not a picture"):
        inputs.from_image(png, X)
    with pytest.raises(TfleetError, match=r"--image needs a signature with one input; this one has: x: .*, y: "):
        inputs.from_image(png, signature(x=("DT_FLOAT", []), y=("DT_FLOAT", [])))
