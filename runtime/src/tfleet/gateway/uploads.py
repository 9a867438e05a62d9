"""A client's bytes become a picture here, or nothing: format by content, size by the header before anything is decoded, and never another decoder."""

import io
import struct
import zlib
from typing import Any, NamedTuple, Optional

from tfleet.gateway.refusal import RefusedError

MEDIA_TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
_OTHERS = (
    (b"GIF8", "a GIF file"),
    (b"BM", "a BMP file"),
    (b"II*\0", "a TIFF file"),
    (b"MM\0*", "a TIFF file"),
    (b"%PDF", "a PDF document"),
    (b"<svg", "an SVG drawing"),
    (b"PK\x03\x04", "a ZIP archive or an office document"),
)
_ORIENTATION = 0x0112  # EXIF's tag
_SCAN, _SCANS = b"\xff\xda", 100
"""A progressive JPEG has about ten scans, each of which costs a pass over the whole picture; thousands fit into a small file."""
_LONGEST = 65535
"""Pixels of a side, as of a JPEG; Pillow keeps a pointer for each line, which in a picture one pixel wide is more than the pixels."""

Upload = NamedTuple(
    "Upload",
    [
        ("picture", Any),  # upright Pillow image, shrunk if it was larger than what models get
        ("content", Optional[bytes]),  # the file, if a model that reads files may have it as it is
        ("width", int),  # of the file's picture, upright
        ("height", int),
    ],
)


def read(content: bytes, pixels: int, longest_side: int) -> Upload:
    """The picture in a file's bytes. Raises RefusedError 415 if it is none, 422 if it is damaged or has more than so many pixels."""
    from PIL import Image, ImageOps

    kind = _kind(content)
    if kind == "JPEG" and content.count(_SCAN) > _SCANS:
        raise RefusedError(422, "damaged", "The picture is put together in a way that takes too long to decode. Save it anew, and send that.")
    try:
        picture = Image.open(io.BytesIO(content), formats=[kind])
        _require_size(picture, pixels)
        width, height = picture.size
        if longest_side and kind == "JPEG":
            # Decoded at a half, a quarter or an eighth where that is enough.
            picture.draft(None, (longest_side, longest_side))
        picture.load()
        turned = picture.getexif().get(_ORIENTATION, 1)
        upright = _plain(ImageOps.exif_transpose(picture) if turned != 1 else picture)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_many(pixels)
    # Decoders raise many kinds of errors for damaged files.
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError, struct.error, zlib.error):
        raise RefusedError(422, "damaged", "The picture cannot be decoded: its file is damaged or was cut off. Send it again, or another one.")
    shrunk = bool(longest_side) and max(width, height) > longest_side
    if shrunk:
        upright.thumbnail((longest_side, longest_side), getattr(Image, "Resampling", Image).BILINEAR)
    if turned in (5, 6, 7, 8):
        width, height = height, width
    whole = kind != "WEBP" and turned == 1 and not shrunk  # tf.io.decode_image knows no WebP, and no model reads EXIF
    return Upload(upright, content if whole else None, width, height)


def _plain(picture: Any) -> Any:
    """In one of the modes that can be shrunk; of 16 bits the upper eight, where Pillow would cut off what is above 255."""
    if picture.mode.startswith("I"):
        return picture.point(lambda value: value * (1 / 256) + 0).convert("L")
    return picture if picture.mode in ("L", "LA", "RGB", "RGBA") else picture.convert("RGB")


def _kind(content: bytes) -> str:
    if content.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WEBP"
    if not content:
        raise RefusedError(415, "not_a_picture", "There is no picture in the request. Choose a JPEG, PNG or WebP file.")
    what = next((name for start, name in _OTHERS if content.lstrip().startswith(start)), "HEIC" if content[4:12] in (b"ftypheic", b"ftypmif1") else "")
    what = {"": "This is no picture", "HEIC": "This is a HEIC picture"}.get(what, "This is " + what)
    raise RefusedError(415, "not_a_picture", what + ", whatever its name says. Send a JPEG, PNG or WebP file.")


def _require_size(picture: Any, pixels: int) -> None:
    if picture.width * picture.height > pixels:
        raise _too_many(pixels, "It is %d x %d" % picture.size)
    if max(picture.size) > _LONGEST:
        raise RefusedError(422, "too_many_pixels", "The picture is %d x %d, and a side may have %d pixels. Cut it up." % (picture.size + (_LONGEST,)))


def _too_many(pixels: int, what: str = "It is very large") -> RefusedError:
    return RefusedError(422, "too_many_pixels", "The picture has too many pixels. %s, and at most %.3g million are decoded. Shrink it." % (what, pixels / 1e6))
