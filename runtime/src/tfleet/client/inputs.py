"""Makes a request's arrays from what people have (files, JSON, pictures), as the model's signature wants them."""

import base64
import json
import os
import sys
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from tfleet import files, wire
from tfleet.client import preprocessing
from tfleet.client.answers import Metadata, describe_signatures, describe_tensor, shape_of
from tfleet.client.preprocessing import Placement, Preprocessing
from tfleet.errors import TfleetError

_ORIENTATION = 0x0112  # EXIF's tag
_TURNED = "tfleet_turned"
"""In a Pillow image's info: the format of the file that had it lying on its side."""


def signature_of(metadata: Metadata, name: str) -> Any:
    """The wire.SignatureDef of that name (serving_default if empty). Raises TfleetError, naming those that exist."""
    name = name or "serving_default"
    if name not in metadata.signatures:
        raise TfleetError(
            "Model '%s' has no signature '%s'. Its signatures are: %s."
            % (metadata.model, name, describe_signatures(metadata.signatures))
        )
    return metadata.signatures[name]


def from_options(options: List[str], signature: Any) -> Dict[str, np.ndarray]:
    """Arrays by alias from texts `alias=FILE.npy|FILE.json|@FILE|-|JSON`, converted to the signature's dtypes.

    Raises TfleetError for unreadable values, for aliases the signature does not have or needs besides, and for values that
    do not fit its dtypes and shapes.
    """
    arrays = {}
    for option in options:
        alias, equals, text = option.partition("=")
        if not equals or not alias:
            raise TfleetError("'%s' is not an input: write alias=FILE.npy, alias=FILE.json or alias=JSON." % option)
        if alias not in signature.inputs:
            raise TfleetError("The signature has no input '%s'. Its inputs are: %s." % (alias, describe_inputs(signature)))
        if alias in arrays:
            raise TfleetError("Input '%s' is given twice." % alias)
        arrays[alias] = fit(alias, _read(alias, text, signature.inputs[alias]), signature.inputs[alias])
    missing = sorted(set(signature.inputs) - set(arrays) - set(signature.defaults))
    if missing:
        raise TfleetError("The signature also needs %s. Its inputs are: %s." % (", ".join(missing), describe_inputs(signature)))
    return arrays


Prepared = NamedTuple(
    "Prepared",
    [
        ("name", str),
        ("picture", Any),  # upright Pillow image, as it was
        ("arrays", Dict[str, np.ndarray]),  # the request, with its batch dimension if the signature asks for one
        ("placement", Placement),  # of the picture in what is sent
    ],
)


def from_image(path: str, signature: Any, values: Tuple[float, float] = (0.0, 1.0)) -> Tuple[Dict[str, np.ndarray], Any]:
    """The request for one picture and the picture itself (a Pillow image), by the signature's only input.

    Strings get the file's bytes. Numbers get pixels: resized where height and width are fixed, in grey where the last
    dimension is 1, from 0 to 255 for integers and over the range `values` for floats, with the batch dimension the signature asks for.
    """
    picture, content = open_image(path)
    prepared = prepare(path, picture, content, signature, preprocessing.DEFAULT._replace(values=values))
    return prepared.arrays, prepared.picture


def prepare(name: str, picture: Any, content: Optional[bytes], signature: Any, how: Preprocessing) -> Prepared:
    """The request for a Pillow image by the signature's only input. `content` is the image's file if it has one.

    Models that take encoded pictures get the file, encoded anew only if it says by its EXIF orientation that it lies on its side: no model reads that.
    """
    if len(signature.inputs) != 1:
        raise TfleetError("--image needs a signature with one input; this one has: %s. Use --input." % describe_inputs(signature))
    alias = next(iter(signature.inputs))
    info = signature.inputs[alias]
    shape = shape_of(info)
    if info.dtype == wire.DT.Value("DT_STRING"):
        array = np.empty((), dtype=object)
        array[()] = content if content is not None and not picture.info.get(_TURNED) else _encoded(picture)
        whole = preprocessing.whole(picture.height, picture.width)
        return Prepared(name, picture, {alias: array if shape == [] else array.reshape(1)}, whole)
    rank = 4 if shape is None else len(shape)
    wanted = (shape or [-1] * rank)[-3:] if rank in (3, 4) else [0, 0, 0]
    if wanted[2] not in (-1, 1, 3, 4):
        raise TfleetError("Input '%s' is %s, which is not a picture. Use --input." % (alias, describe_tensor(info)))
    fitted, placement = preprocessing.pixels(picture, wanted, _numpy_dtype(alias, info), how, "Input '%s'" % alias)
    return Prepared(name, picture, {alias: fitted[np.newaxis] if rank == 4 else fitted}, placement)


def pixels(picture: Any, shape: List[int], dtype: np.dtype, values: Tuple[float, float], what: str) -> np.ndarray:
    """A Pillow image as an array [height, width, channels], stretched to what `shape` fixes; see preprocessing.pixels."""
    return preprocessing.pixels(picture, shape, dtype, preprocessing.DEFAULT._replace(values=values), what)[0]


def _encoded(picture: Any) -> bytes:
    import io

    buffer = io.BytesIO()
    if picture.info.get(_TURNED) == "JPEG":
        picture.convert("RGB").save(buffer, "JPEG", quality=95)
    else:
        picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def open_image(path: str, decode: bool = True) -> Tuple[Any, bytes]:
    """An upright Pillow image and the file's bytes. Raises TfleetError for a file that is missing, damaged or no picture.

    Without `decode` its pixels are only read when somebody looks at them, or if it has to be turned.
    """
    try:
        with open(path, "rb") as stream:
            content = stream.read()
    except OSError as error:
        raise TfleetError("Could not read the image %s: %s." % (path, files.reason(error)))
    return decode_image(content, path, decode), content


def decode_image(content: bytes, name: str, decode: bool = True) -> Any:
    """An upright Pillow image from a file's bytes. Raises TfleetError with the name given."""
    import io

    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise TfleetError("Pictures need Pillow, which this environment lacks: pip install 'Pillow>=8.4'.")
    try:
        image = Image.open(io.BytesIO(content))
        if decode:
            image.load()
        if image.getexif().get(_ORIENTATION, 1) == 1:
            return image
        upright = ImageOps.exif_transpose(image)
        upright.info[_TURNED] = image.format
        return upright
    except Image.UnidentifiedImageError:
        raise TfleetError("%s is not a picture in a known format. Use a JPEG or PNG file." % name)
    # Decoders raise many kinds of errors for damaged files.
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, Image.DecompressionBombError) as error:
        raise TfleetError("%s cannot be decoded: %s. Use an undamaged JPEG or PNG file." % (name, str(error).rstrip(".")))


def fit(alias: str, array: np.ndarray, info: Any) -> np.ndarray:
    """The array in the dtype of a wire.TensorInfo. Raises TfleetError where values would change or the shape does not fit."""
    wanted = _numpy_dtype(alias, info)
    if wanted == np.dtype(object):
        if array.dtype.kind not in "OSU":
            raise TfleetError("Input '%s' is %s, but the values are numbers." % (alias, describe_tensor(info)))
    elif array.dtype.kind not in "biufc":
        raise TfleetError(
            "Input '%s' is %s, but the values are not numbers in a regular array: check for text and for rows of "
            "different lengths." % (alias, describe_tensor(info))
        )
    else:
        array = _converted(alias, array, wanted, info)
    _check_shape(alias, array, info)
    return array


def describe_inputs(signature: Any) -> str:
    """`images: DT_FLOAT [-1,8,8,1], ...`"""
    return ", ".join("%s: %s" % (alias, describe_tensor(signature.inputs[alias])) for alias in sorted(signature.inputs))


def _converted(alias: str, array: np.ndarray, wanted: np.dtype, info: Any) -> np.ndarray:
    with np.errstate(all="ignore"):
        converted = array.astype(wanted)
        # Rounding a float64 to a float32 is expected; a lost fraction, an overflow or a wrapped number is a mistake.
        wrapped = (converted != array) | ((converted < 0) != (array < 0))
        changed = np.isfinite(converted) != np.isfinite(array) if wanted.kind in "fc" else wrapped
    if changed.any():
        example = array[changed].reshape(-1)[0]
        advice = "Correct the value, or save array.astype('%s') if that is what you mean." % wanted.name
        if wanted.kind in "iu" and array.dtype.kind == "f" and array.ndim >= 3 and np.nanmin(array) >= 0 and np.nanmax(array) <= 1:
            advice = "A picture for it has whole numbers from 0 to 255: multiply by 255 and round, or send the file with --image."
        raise TfleetError("Input '%s' is %s, which cannot hold the value %s. %s" % (alias, describe_tensor(info), example, advice))
    return converted


def _check_shape(alias: str, array: np.ndarray, info: Any) -> None:
    shape = shape_of(info)
    if shape is None or _fits(array.shape, shape):
        return
    what = "Input '%s' is %s, but the values have shape %s" % (alias, describe_tensor(info), list(array.shape))
    if _fits(array.shape, shape[1:]):
        raise TfleetError(
            "%s: the batch dimension is missing. Put the values into one more pair of brackets, or save array[numpy.newaxis]." % what
        )
    raise TfleetError("%s. Change the values to the shape of the signature (-1 is any size)." % what)


def _fits(actual: Tuple[int, ...], wanted: List[int]) -> bool:
    return len(actual) == len(wanted) and all(size in (-1, found) for size, found in zip(wanted, actual))


def _numpy_dtype(alias: str, info: Any) -> np.dtype:
    try:
        return wire.tensors.numpy_dtype(info.dtype)
    except ValueError as error:
        raise TfleetError("Input '%s' cannot be filled: %s." % (alias, error))


def _read(alias: str, text: str, info: Any) -> np.ndarray:
    if text.endswith(".npy"):
        return read_npy(text)
    if text.lower().endswith((".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp")):
        return _read_file(alias, text, info)
    if text == "-":
        value = _parse(alias, sys.stdin.read(), "standard input")
    elif text.startswith("@"):
        value = files.read_json(text[1:])
    elif text.endswith(".json") or os.path.isfile(text):
        value = files.read_json(text)
    else:
        value = _parse(alias, text, "neither a .npy or .json file nor JSON")
    strings = info.dtype == wire.DT.Value("DT_STRING")
    try:
        array = np.array(_decoded(value), dtype=object) if strings else np.asarray(value)
    except (ValueError, TypeError, KeyError):
        raise TfleetError(
            "The value of input '%s' is no regular array: check for rows of different lengths and, in {\"b64\": \"...\"}, "
            "for broken base64." % alias
        )
    if strings and not all(isinstance(element, (bytes, str)) for element in array.reshape(-1)):
        raise TfleetError(
            "Input '%s' is %s: give text, or {\"b64\": \"...\"} for bytes, in a regular array." % (alias, describe_tensor(info))
        )
    return array


def read_npy(path: str) -> np.ndarray:
    """An array that numpy.save wrote. Raises TfleetError."""
    try:
        return np.load(path, allow_pickle=False)
    except OSError as error:
        raise TfleetError("Could not read %s: %s." % (path, files.reason(error)))
    except (ValueError, EOFError) as error:
        raise TfleetError("%s is not an array saved by numpy.save: %s." % (path, error))


def _read_file(alias: str, path: str, info: Any) -> np.ndarray:
    """A picture's bytes, as image_bytes takes them, with the batch dimension that the signature asks for."""
    if info.dtype != wire.DT.Value("DT_STRING"):
        raise TfleetError("Input '%s' is %s, and %s is a picture's file: send it with --image %s." % (alias, describe_tensor(info), path, path))
    try:
        with open(path, "rb") as stream:
            content = stream.read()
    except OSError as error:
        raise TfleetError("Could not read %s: %s." % (path, files.reason(error)))
    array = np.empty((), dtype=object)
    array[()] = content
    return array if shape_of(info) == [] else array.reshape(1)


def _parse(alias: str, text: str, otherwise: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise TfleetError("The value of input '%s' is %s: %s." % (alias, otherwise, error))


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(element) for element in value]
    if isinstance(value, dict):
        return base64.b64decode(value["b64"], validate=True)
    return value
