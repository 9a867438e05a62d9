"""From a picture to the numbers that a model was trained with, and from its boxes back to the picture."""

from typing import Any, List, NamedTuple, Optional, Tuple

import numpy as np

from tfleet.errors import TfleetError

STRETCH, LETTERBOX = "stretch", "letterbox"
RGB, BGR = "RGB", "BGR"

Preprocessing = NamedTuple(
    "Preprocessing",
    [
        ("size", Optional[Tuple[int, int]]),  # height and width, where the signature leaves them free
        ("fit", str),  # STRETCH, or LETTERBOX: the picture keeps its proportions, and what is left over is filled
        ("fill", int),  # grey around a letterboxed picture, 0 to 255
        ("colours", str),  # RGB or BGR
        ("values", Tuple[float, float]),  # what 0 and 255 become in floats
        ("mean", Optional[Tuple[float, ...]]),  # subtracted, then divided by std; in `values` and in the order of `colours`
        ("std", Optional[Tuple[float, ...]]),
    ],
)

DEFAULT = Preprocessing(None, STRETCH, 114, RGB, (0.0, 1.0), None, None)

Placement = NamedTuple(
    "Placement",
    [
        ("size", Tuple[int, int]),  # height and width of the input in pixels
        ("top", float),  # where the picture lies in it, in shares of its sides
        ("left", float),
        ("height", float),
        ("width", float),
    ],
)

# Pillow's name of what has that many channels; a free number gets colour.
_MODES = {1: "L", 3: "RGB", 4: "RGBA", -1: "RGB"}


def whole(height: int, width: int) -> Placement:
    """Of a picture that fills the input."""
    return Placement((height, width), 0.0, 0.0, 1.0, 1.0)


def pixels(picture: Any, shape: List[int], dtype: np.dtype, how: Preprocessing, what: str) -> Tuple[np.ndarray, Placement]:
    """A Pillow image as an array [height, width, channels] of the dtype, and where the picture lies in it.

    Resized where height and width in `shape` are not -1 (free) or `how` says so, in grey where the channels are 1; integers get 0 to 255, floats the
    range of `how`. Raises TfleetError, which begins with `what`, if `shape` is no picture's or not the one that was declared.
    """
    channels = shape[2]
    if channels not in _MODES:
        raise TfleetError("%s takes %d channels, which no picture has." % (what, channels))
    height, width = _size(shape, how, what)
    fitted = picture if picture.mode == _MODES[channels] else picture.convert(_MODES[channels])  # which would copy it
    placement = whole(height if height > 0 else fitted.height, width if width > 0 else fitted.width)
    if how.fit == LETTERBOX:
        if min(height, width) <= 0:
            raise TfleetError("%s takes pictures of any size: say with --size HEIGHTxWIDTH which one they are letterboxed to." % what)
        fitted, placement = _letterboxed(fitted, height, width, how.fill)
    elif (fitted.height, fitted.width) != placement.size:
        fitted = fitted.resize(placement.size[::-1], _bilinear())
    array = np.asarray(fitted).reshape(fitted.height, fitted.width, -1)
    if how.colours == BGR and array.shape[2] >= 3:
        array = array[:, :, [2, 1, 0] + list(range(3, array.shape[2]))]
    return _scaled(array, dtype, how, what), placement


def back(boxes: np.ndarray, placement: Placement) -> np.ndarray:
    """Boxes [...,4] (ymin, xmin, ymax, xmax) from shares of the input's sides to shares of the picture's."""
    offset = np.array([placement.top, placement.left] * 2)
    share = np.array([placement.height, placement.width] * 2)
    return np.asarray((boxes - offset) / share)


def _size(shape: List[int], how: Preprocessing, what: str) -> Tuple[int, int]:
    height, width = shape[:2]
    if how.size is None:
        return height, width
    if not all(fixed in (-1, declared) for fixed, declared in zip((height, width), how.size)):
        wanted = "x".join("any" if side < 0 else str(side) for side in (height, width))
        raise TfleetError("%s takes pictures of %s pixels (height x width), but %dx%d is declared." % ((what, wanted) + how.size))
    return how.size


def _letterboxed(picture: Any, height: int, width: int, fill: int) -> Tuple[Any, Placement]:
    from PIL import Image

    scale = min(height / picture.height, width / picture.width)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    left, top = (width - size[0]) // 2, (height - size[1]) // 2
    letterbox = Image.new(picture.mode, (width, height), (fill,) * len(picture.getbands()) if len(picture.getbands()) > 1 else fill)
    letterbox.paste(picture if picture.size == size else picture.resize(size, _bilinear()), (left, top))
    return letterbox, Placement((height, width), top / height, left / width, size[1] / height, size[0] / width)


def _scaled(array: np.ndarray, dtype: np.dtype, how: Preprocessing, what: str) -> np.ndarray:
    if dtype.kind != "f":
        if how.mean or how.std:
            raise TfleetError("%s takes whole numbers (%s): mean and std are for floats." % (what, dtype.name))
        return array.astype(dtype, copy=False)
    low, high = how.values
    numbers = array.astype(dtype)
    if (low, high) == (0.0, 1.0):
        numbers /= dtype.type(255)
    elif (low, high) != (0.0, 255.0):
        numbers *= dtype.type((high - low) / 255)
        numbers += dtype.type(low)
    for given, name, change in ((how.mean, "mean", np.subtract), (how.std, "std", np.divide)):
        if given:
            if len(given) not in (1, array.shape[2]):
                raise TfleetError("%s has %d channels, but %s has %d numbers." % (what, array.shape[2], name, len(given)))
            change(numbers, np.array(given, dtype), out=numbers)
    return numbers


def _bilinear() -> Any:
    from PIL import Image

    return getattr(Image, "Resampling", Image).BILINEAR  # Pillow 9.1 moved the names of the filters
