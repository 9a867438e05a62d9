"""Pictures of answers: boxes with names and scores, and captions for classifiers, readable whatever the image's size.

Only the font inside Pillow is used: since 10.1 a scalable one, before that a bitmap of 11 pixels which is enlarged.
"""

import math
import unicodedata
from typing import Any, List, Sequence, Tuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tfleet.client.results import Detection

# Pillow 9.1 moved the names of the filters.
FILTER: Any = getattr(Image, "Resampling", Image)
MIN_LONG_SIDE, MIN_SHORT_SIDE = 480, 160
"""Smaller pictures are enlarged to about this many pixels: a name needs room."""

_PALETTE = (
    "#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080", "#9a6324", "#f032e6", "#808000", "#000075",
    "#ffe119", "#46f0f0",
)  # fmt: skip
_STRIP = "#202428"
_MASKED, _TINT = 0.5, 110  # of 255

Box = Tuple[int, int, int, int]  # left, top, right, bottom in pixels


def draw_detections(image: Image.Image, found: Sequence[Detection]) -> Image.Image:
    """A copy of the image, enlarged if it is small, with each detection's box, name and score."""
    picture = _roomy(image)
    draw = ImageDraw.Draw(picture)
    width, height = picture.size
    text_height = max(14, round(math.sqrt(width * height) / 32))
    line = max(2, text_height // 8)
    boxes = [_pixels(detection.box, width, height) for detection in found]
    for detection, box in reversed(list(zip(found, boxes))):
        if detection.mask is not None:
            _shade(picture, detection.mask, box, colour(detection.number))
    # The best last, so that it lies on top.
    for detection, box in reversed(list(zip(found, boxes))):
        _frame(draw, box, colour(detection.number), line)
    taken: List[Box] = []
    for detection, box in zip(found, boxes):
        tag = _tag("%s  %d%%" % (detection.name, round(100 * detection.score)), text_height, colour(detection.number))
        place = _free_place(tag.size, box, picture.size, taken)
        taken.append((place[0], place[1], place[0] + tag.width, place[1] + tag.height))
        picture.paste(tag, place)
    return picture


def caption(image: Image.Image, lines: Sequence[str]) -> Image.Image:
    """A copy of the image, enlarged if it is small, with the lines of text on a strip below it."""
    picture = _roomy(image, smooth=False)
    text_height = max(18, round(max(picture.size) / 18))
    margin = text_height // 2
    texts = [_fit(_text(line, text_height, "white", _STRIP), picture.width - 2 * margin) for line in lines]
    strip = margin + sum(text.height + margin for text in texts)
    result = Image.new("RGB", (picture.width, picture.height + strip), _STRIP)
    result.paste(picture, (0, 0))
    top = picture.height + margin
    for text in texts:
        result.paste(text, (margin, top))
        top += text.height + margin
    return result


def contact_sheet(pictures: Sequence[Image.Image]) -> Image.Image:
    """Several pictures on one, in rows; a single picture stays as it is."""
    if len(pictures) == 1:
        return pictures[0]
    cell = 480 if len(pictures) <= 6 else 320
    columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    small = []
    for picture in pictures:
        scale = min(cell / picture.width, cell / picture.height)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        small.append(picture.resize(size, FILTER.BILINEAR if scale > 0.5 else FILTER.BOX))
    width, height = max(picture.width for picture in small), max(picture.height for picture in small)
    gap = cell // 20
    sheet = Image.new("RGB", (columns * (width + gap) + gap, rows * (height + gap) + gap), "white")
    for index, picture in enumerate(small):
        sheet.paste(picture, (gap + index % columns * (width + gap), gap + index // columns * (height + gap)))
    return sheet


def side_by_side(pictures: Sequence[Image.Image], titles: Sequence[str], heading: str) -> Image.Image:
    """Pictures of equal content beside each other at one height, each under its title, all under a heading."""
    height = max(picture.height for picture in pictures)
    scaled = [
        picture if picture.height == height else picture.resize((round(picture.width * height / picture.height), height), FILTER.BILINEAR)
        for picture in pictures
    ]
    text_height = max(14, height // 22)
    gap = text_height // 2
    width = sum(picture.width for picture in scaled) + gap * (len(scaled) + 1)
    top = 2 * (text_height + 2 * gap)
    result = Image.new("RGB", (width, top + height + gap), _STRIP)
    line = _fit(_text(heading, text_height, "white", _STRIP), width - 2 * gap)
    result.paste(line, (gap, gap))
    left = gap
    for picture, title in zip(scaled, titles):
        result.paste(_fit(_text(title, text_height, "#aab2bb", _STRIP), picture.width), (left, text_height + 3 * gap))
        result.paste(picture, (left, top))
        left += picture.width + gap
    return result


def columns(pictures: Sequence[Image.Image], count: int) -> Image.Image:
    """Pictures in so many columns, brought to the width of the widest, in their order from left to right."""
    width = max(picture.width for picture in pictures)
    scaled = [
        picture if picture.width == width else picture.resize((width, round(picture.height * width / picture.width)), FILTER.BILINEAR)
        for picture in pictures
    ]
    gap = width // 60
    rows = [scaled[start : start + count] for start in range(0, len(scaled), count)]
    heights = [max(picture.height for picture in row) for row in rows]
    result = Image.new("RGB", (width * len(rows[0]) + gap * (len(rows[0]) - 1), sum(heights) + gap * (len(rows) - 1)), _STRIP)
    top = 0
    for row, height in zip(rows, heights):
        for place, picture in enumerate(row):
            result.paste(picture, (place * (width + gap), top))
        top += height + gap
    return result


def from_array(array: np.ndarray) -> Image.Image:
    """An RGB image from [H,W], [H,W,1] or [H,W,3]: uint8 as it is, other dtypes stretched to the range of their values."""
    pixels = array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if pixels.dtype != np.uint8:
        low, high = float(pixels.min()), float(pixels.max())
        pixels = ((pixels.astype(np.float64) - low) * (255 / (high - low or 1))).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(pixels)).convert("RGB")


def colour(number: int) -> str:
    """The colour of a class: always the same, and different for neighbouring numbers."""
    return _PALETTE[number % len(_PALETTE)]


def _roomy(image: Image.Image, smooth: bool = True) -> Image.Image:
    picture = image.convert("RGB")
    factor = max(math.ceil(MIN_LONG_SIDE / max(picture.size)), math.ceil(MIN_SHORT_SIDE / min(picture.size)))
    if factor == 1:
        return picture.copy()
    return picture.resize((picture.width * factor, picture.height * factor), FILTER.BICUBIC if smooth else FILTER.NEAREST)


def _pixels(box: Tuple[float, float, float, float], width: int, height: int) -> Box:
    ymin, xmin, ymax, xmax = (min(max(edge, 0.0), 1.0) for edge in np.nan_to_num(box))
    left, right = sorted((int(xmin * (width - 1)), int(xmax * (width - 1))))
    top, bottom = sorted((int(ymin * (height - 1)), int(ymax * (height - 1))))
    return left, top, right, bottom


def _shade(picture: Image.Image, mask: np.ndarray, box: Box, fill: str) -> None:
    """Tints where the mask, stretched over the box, is more than a half."""
    left, top, right, bottom = box
    shares = np.nan_to_num(np.asarray(mask, np.float32))
    stretched = Image.fromarray(shares).resize((max(1, right - left + 1), max(1, bottom - top + 1)), FILTER.BILINEAR)
    inside = Image.fromarray(((np.asarray(stretched) > _MASKED) * _TINT).astype(np.uint8))
    picture.paste(fill, (left, top), inside)


def _frame(draw: Any, box: Box, fill: str, line: int) -> None:
    left, top, right, bottom = box
    for inset in range(line):
        if right - inset >= left + inset and bottom - inset >= top + inset:
            draw.rectangle((left + inset, top + inset, right - inset, bottom - inset), outline=fill)


def _free_place(size: Tuple[int, int], box: Box, within: Tuple[int, int], taken: Sequence[Box]) -> Tuple[int, int]:
    """Above the box, below it, inside at its top, or right of it: the first place that no other tag covers."""
    left, top, right, bottom = box
    candidates = [(left, top - size[1]), (left, bottom + 1), (left, top), (right + 1, top), (right - size[0], top - size[1])]
    fitting = [
        (x, y) for x, y in candidates if x >= 0 and y >= 0 and x + size[0] <= within[0] and y + size[1] <= within[1]
    ]
    for x, y in fitting:
        if not any(x < t[2] and t[0] < x + size[0] and y < t[3] and t[1] < y + size[1] for t in taken):
            return x, y
    if fitting:
        return fitting[0]
    return max(0, min(left, within[0] - size[0])), max(0, min(top, within[1] - size[1]))


def _tag(text: str, height: int, background: str) -> Image.Image:
    red, green, blue = (int(background[place : place + 2], 16) for place in (1, 3, 5))
    foreground = "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 150 else "white"
    letters = _text(text, height, foreground, background)
    pad = max(2, height // 6)
    tag = Image.new("RGB", (letters.width + 2 * pad, letters.height + 2 * pad), background)
    tag.paste(letters, (pad, pad))
    return tag


def _text(text: str, height: int, foreground: str, background: str) -> Image.Image:
    """A line of text, `height` pixels high, on its background."""
    mask = _mask(text, height)
    image = Image.new("RGB", mask.size, background)
    image.paste(foreground, (0, 0), mask)
    return image


def _mask(text: str, height: int) -> Image.Image:
    try:
        font: Any = ImageFont.load_default(size=height)
        scale = 1
    except (TypeError, ImportError):  # Pillow before 10.1, or built without FreeType
        font = ImageFont.load_default()
        scale = max(1, round(height / 11))
    text = _drawable(text, font)
    if hasattr(font, "getbbox"):
        left, _, right, bottom = font.getbbox(text)
    else:  # Pillow before 9.2
        left, (right, bottom) = 0, font.getmask(text).size
    # All lines get the same height and base line, whichever letters they have.
    bottom = max(bottom, height // scale)
    mask = Image.new("L", (max(1, right - left), max(1, bottom)), 0)
    ImageDraw.Draw(mask).text((-left, 0), text, fill=255, font=font)
    return mask.resize((mask.width * scale, mask.height * scale), FILTER.NEAREST) if scale > 1 else mask


def _drawable(text: str, font: Any) -> str:
    """The text with letters that the font lacks replaced by their plain form (o for an umlaut), or a question mark."""

    def has(letter: str) -> bool:
        try:
            return bytes(font.getmask(letter)) != bytes(font.getmask("\uffff"))
        except UnicodeEncodeError:  # the bitmap font knows Latin-1 only
            return letter <= "\xff"

    plain = []
    for letter in text:
        if letter < "\x7f" or has(letter):
            plain.append(letter)
        else:
            plain.append(unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode("ascii") or "?")
    return "".join(plain)


def _fit(image: Image.Image, width: int) -> Image.Image:
    if image.width <= width:
        return image
    return image.resize((width, max(1, round(image.height * width / image.width))), FILTER.BILINEAR)
