"""Declared preprocessing, held to arithmetic done by hand, and the declarations that say it."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from tfleet import wire
from tfleet.client import boxes, declaration, inputs, preprocessing
from tfleet.errors import TfleetError

F32 = np.dtype(np.float32)
GRADIENT = Image.fromarray(np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3))


def pixels(how, picture=GRADIENT, shape=(-1, -1, 3), dtype=F32):
    return preprocessing.pixels(picture, list(shape), dtype, preprocessing.DEFAULT._replace(**how), "Input 'x'")


def test_mean_and_std_are_those_of_keras_and_torch():
    plain = np.asarray(GRADIENT).astype(np.float32)
    caffe, _ = pixels({"values": (0, 255), "colours": "BGR", "mean": (103.939, 116.779, 123.68)})
    np.testing.assert_allclose(caffe, plain[:, :, ::-1] - np.float32([103.939, 116.779, 123.68]), atol=1e-4)
    torch, _ = pixels({"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)})
    np.testing.assert_allclose(torch, (plain / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225], atol=1e-5)
    inception, _ = pixels({"values": (-1, 1)})
    np.testing.assert_allclose(inception, plain / 127.5 - 1, atol=1e-6)
    same, _ = pixels({"values": (-1, 1)}, dtype=np.dtype(np.uint8))
    assert same.dtype == np.uint8 and (same == plain).all()


def test_a_letterbox_keeps_proportions_and_its_boxes_come_back():
    for size in ((300, 300), (128, 300), (300, 128), (64, 96)):
        for width, height in ((640, 480), (100, 400), (400, 30)):
            picture = Image.new("RGB", (width, height), "black")
            left, top, right, bottom = (int(share * side) for share, side in zip((0.3, 0.2, 0.8, 0.7), (width, height) * 2))
            picture.paste("white", (left, top, right, bottom))
            array, placement = pixels({"size": size, "fit": "letterbox", "fill": 7, "values": (0, 255)}, picture)
            assert array.shape == size + (3,) and (array[0, 0] == 7).all() == (placement.top > 0 or placement.left > 0)
            assert abs(placement.height * size[0] / height - placement.width * size[1] / width) < 1 / min(width, height)
            rows, columns = np.where(array[:, :, 0] > 128)
            seen = np.array([rows.min() / size[0], columns.min() / size[1], (rows.max() + 1) / size[0], (columns.max() + 1) / size[1]])
            found = preprocessing.back(seen[np.newaxis], placement)[0]
            pixel = np.array([1 / (placement.height * size[0]), 1 / (placement.width * size[1])] * 2)
            expected = np.array([top / height, left / width, bottom / height, right / width])
            assert (np.abs(found - expected) <= 1.5 * pixel).all(), (size, width, height)


def test_a_stretched_picture_fills_its_input():
    array, placement = pixels({"size": (8, 4)})
    assert array.shape == (8, 4, 3) and placement == preprocessing.whole(8, 4)
    np.testing.assert_array_equal(preprocessing.back(np.float32([[0.1, 0.2, 0.3, 0.4]]), placement), np.float32([[0.1, 0.2, 0.3, 0.4]]))


@pytest.mark.parametrize(
    "how, shape, dtype, message",
    [
        ({"fit": "letterbox"}, (-1, -1, 3), F32, "takes pictures of any size: say with --size HEIGHTxWIDTH"),
        ({"size": (5, 5)}, (8, -1, 3), F32, r"takes pictures of 8xany pixels \(height x width\), but 5x5 is declared"),
        ({"mean": (1.0,)}, (-1, -1, 3), np.dtype(np.uint8), r"takes whole numbers \(uint8\): mean and std are for floats"),
        ({"mean": (1.0, 2.0, 3.0)}, (-1, -1, 1), F32, "has 1 channels, but mean has 3 numbers"),
        ({}, (-1, -1, 7), F32, "takes 7 channels, which no picture has"),
    ],
)
def test_preprocessing_that_does_not_fit(how, shape, dtype, message):
    with pytest.raises(TfleetError, match=message):
        pixels(how, shape=shape, dtype=dtype)


def test_models_that_take_files_get_them_upright(tmp_path):
    lying = Image.new("RGB", (8, 4), "white")
    lying.paste("black", (0, 0, 4, 4))
    exif = lying.getexif()
    exif[0x0112] = 6
    lying.save(str(tmp_path / "lying.jpg"), exif=exif, quality=95)
    lying.save(str(tmp_path / "plain.png"))
    signature = wire.SignatureDef()
    signature.inputs["image_bytes"].dtype = wire.DT.Value("DT_STRING")
    signature.inputs["image_bytes"].tensor_shape.dim.add(size=-1)
    for name, same in (("lying.jpg", False), ("plain.png", True)):
        picture, content = inputs.open_image(str(tmp_path / name), decode=False)
        sent = inputs.prepare(name, picture, content, signature, preprocessing.DEFAULT).arrays["image_bytes"]
        assert sent.shape == (1,) and (sent[0] == content) == same
        with Image.open(io.BytesIO(sent[0])) as received:  # as a model does: without a look at the orientation
            assert received.size == ((8, 4) if same else (4, 8)) and received.getexif().get(0x0112, 1) == 1


def test_a_declaration_beside_the_model(tmp_path):
    np.save(str(tmp_path / "anchors.npy"), np.ones((3, 4)))
    path = tmp_path / "how.json"
    path.write_text(
        json.dumps(
            {
                "preprocessing": {"size": [640, 480], "fit": "letterbox", "colours": "BGR", "mean": [1, 2, 3], "values": [0, 255]},
                "decoder": {"kind": "ssd", "anchors": "anchors.npy", "activation": "softmax"},
                "suppression": {"method": "gaussian", "sigma": 0.3, "most": 10},
                "labels": "names.txt",
            }
        )
    )
    found = declaration.load(str(path))
    assert found.preprocessing.size == (640, 480) and found.preprocessing.mean == (1, 2, 3) and found.preprocessing.std is None
    assert found.decoder.anchors.shape == (3, 4) and found.decoder.activation == "softmax" and found.decoder.background
    assert found.suppression == boxes.DEFAULT._replace(method="gaussian", sigma=0.3, most=10)
    assert found.labels == str(tmp_path / "names.txt")
    made = declaration.load('{"decoder": {"kind": "ssd", "anchors": {"feature_maps": [[2, 2]], "reduce_lowest": false}}}')
    assert made.decoder.anchors.shape == (24, 4) and made.preprocessing == preprocessing.DEFAULT
    assert declaration.load('{"decoder": {"kind": "ssd", "anchors": "priors"}}').decoder.anchors == "priors"


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "The declaration is not valid JSON"),
        ('{"preprocesing": {}}', "it has no field 'preprocesing': did you mean 'preprocessing'"),
        ('{"preprocessing": {"sizes": [1, 2]}}', "preprocessing has no field 'sizes': did you mean 'size'"),
        ('{"preprocessing": {"size": [1]}}', r"preprocessing.size is \[1\], not \[height, width\]"),
        ('{"preprocessing": {"size": [1.5, 2]}}', r"not \[height, width\]"),
        ('{"preprocessing": {"colours": "GBR"}}', 'preprocessing.colours is "GBR", not one of RGB, BGR'),
        ('{"preprocessing": {"values": [1, 0]}}', r"preprocessing.values is \[1, 0\], not \[low, high\]"),
        ('{"preprocessing": {"std": [0]}}', "not a number over 0 for each channel"),
        ('{"preprocessing": []}', "preprocessing is not a JSON object"),
        ('{"suppression": {"iou": 45}}', "suppression.iou is 45, not a number from 0 to 1"),
        ('{"decoder": {}}', "decoder needs a kind: boxes, faster_rcnn, ssd"),
        ('{"decoder": {"kind": "yolo"}}', 'decoder.kind is "yolo", not one of boxes, ssd, faster_rcnn'),
        ('{"decoder": {"kind": "ssd", "anchors": [[1, 2]]}}', "decoder.anchors are not rows of four numbers"),
        ('{"decoder": {"kind": "ssd", "anchors": {"maps": 1}}}', "decoder.anchors is not .* unexpected keyword"),
        ('{"decoder": {"kind": "ssd", "background": 1}}', "decoder.background is 1, not true or false"),
        ('{"labels": ["a"]}', "labels is the path of a label map"),
        ("/no/such.json", "Could not read /no/such.json: No such file"),
    ],
)
def test_mistakes_in_declarations(text, message):
    with pytest.raises(TfleetError, match=message):
        declaration.load(text)
