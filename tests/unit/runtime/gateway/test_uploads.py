"""What becomes a picture, and what never reaches a decoder."""

import io
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from PIL import Image

from tfleet.gateway import uploads
from tfleet.gateway.refusal import RefusedError

from .parts import picture

LIMIT, SIDE = 1000000, 2048


def refusal(content, pixels=LIMIT, side=SIDE):
    with pytest.raises(RefusedError) as refused:
        uploads.read(content, pixels, side)
    return refused.value.status, refused.value.code


def bomb(width, height):
    """A PNG of a few bytes whose header promises a picture of that size."""
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000000)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_three_formats_are_taken(form, mode):
    content = picture(form, mode=mode)
    found = uploads.read(content, LIMIT, SIDE)
    assert (found.width, found.height, found.picture.size) == (40, 30, (40, 30))
    assert found.content == (None if form == "WEBP" else content)


def test_several_pictures_in_one_file_are_the_first_one():
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(buffer, "MPO", save_all=True, append_images=[Image.new("RGB", (400, 300))])  # as some phones do
    assert uploads.read(buffer.getvalue(), LIMIT, SIDE).picture.size == (40, 30)
    for form in ("PNG", "WEBP"):
        buffer = io.BytesIO()
        Image.new("RGB", (40, 30), "red").save(buffer, form, save_all=True, append_images=[Image.new("RGB", (40, 30))] * 50, duration=10)
        red, _, blue = uploads.read(buffer.getvalue(), LIMIT, SIDE).picture.convert("RGB").getpixel((5, 5))
        assert red > 200 and blue < 50


@pytest.mark.parametrize("content, said", [
    (b"", "no picture in the request"), (b"hello", "no picture"), (picture("GIF"), "a GIF file"), (picture("BMP"), "a BMP file"),
    (picture("TIFF"), "a TIFF file"), (b"%PDF-1.7", "a PDF"), (b"<svg xmlns='x'/>", "an SVG"), (b"\0\0\0\x18ftypheic", "a HEIC"), (b"%!PS-Adobe", "no picture"),
    (b"RIFF\0\0\0\0WAVE", "no picture"),
])  # fmt: skip
def test_anything_else_is_refused_by_its_content(content, said):
    with pytest.raises(RefusedError) as refused:
        uploads.read(content, LIMIT, SIDE)
    assert (refused.value.status, refused.value.code) == (415, "not_a_picture") and said in refused.value.message


def test_the_name_and_the_type_that_a_client_says_do_not_matter(gateway, predict):
    client = gateway()
    named = [("photo.jpg", "image/jpeg", picture("PNG"), 200), ("photo.png", "image/png", b"MZ\x90 a program", 415), ("x.txt", "text/plain", picture(), 200)]
    for name, kind, content, status in named:
        answer = predict(client, {"picture": (io.BytesIO(content), name, kind)}, content_type="multipart/form-data")
        assert answer.status_code == status
    # What curl calls a form when nobody has said what it is.
    assert predict(client, content_type="application/x-www-form-urlencoded").status_code == 200


@pytest.mark.parametrize("size", [(30000, 30000), (1001, 1000), (60000, 60000), (1, 65536), (65536, 1)])
def test_a_bomb_is_refused_by_its_header(size):
    assert refusal(bomb(*size)) == (422, "too_many_pixels")


def test_a_bomb_is_not_decoded(monkeypatch):
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("it was decoded"))
    assert refusal(bomb(30000, 30000)) == (422, "too_many_pixels")


def test_a_picture_takes_no_more_memory_than_the_guide_says(tmp_path):
    guide = (Path(__file__).parents[4] / "docs/gateway.md").read_text()
    said = int(re.search(r"`pixels` x (\d+) bytes", guide).group(1))
    on_its_side = Image.Exif()
    on_its_side[0x0112] = 6
    # WebP takes most: its decoder has the picture twice. As 5400 x 5400 with a longest side of 2048.
    Image.new("RGBA", (3000, 3000), (1, 2, 3, 100)).save(str(tmp_path / "large"), "WEBP", lossless=True, quality=0, method=0, exif=on_its_side)
    (tmp_path / "small").write_bytes(picture("WEBP", (3000, 20)))
    code = (
        "import sys\nfrom tfleet.gateway import uploads\n"
        "for path in sys.argv[1:]:\n    uploads.read(open(path, 'rb').read(), 10 ** 7, 1138)\n"
        "    print([line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')][0])\n"
    )
    small, large = subprocess.check_output([sys.executable, "-c", code, str(tmp_path / "small"), str(tmp_path / "large")]).split()
    assert said / 2 < 1024 * (int(large) - int(small)) / 3000 ** 2 <= said


def test_a_jpeg_of_thousands_of_scans_is_not_decoded():
    content = picture("JPEG", (64, 64), progressive=True)
    assert 1 < content.count(b"\xff\xda") < 20 and uploads.read(content, LIMIT, SIDE).width == 64
    last = content[content.rindex(b"\xff\xda"):-2]
    assert uploads.read(content[:-2] + 20 * last + content[-2:], LIMIT, SIDE).width == 64
    assert refusal(content[:-2] + 5000 * last + content[-2:]) == (422, "damaged")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_a_damaged_file_is_refused_wherever_it_ends(form):
    whole = picture(form, (64, 64))
    for length in (16, 40, len(whole) // 2, len(whole) - 30):
        assert refusal(whole[:length]) == (422, "damaged"), length


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow, about the EXIF part
def test_flipped_bytes_never_raise_anything_else():
    import random

    chance = random.Random(1)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "x" * 50
    for content in (picture("JPEG", exif=exif.tobytes()), picture("PNG", mode="P"), picture("WEBP")):
        for _ in range(300):
            broken = bytearray(content)
            for _ in range(chance.randint(1, 8)):
                broken[chance.randrange(12, len(broken))] = chance.randrange(256)
            try:
                uploads.read(bytes(broken), LIMIT, SIDE)
            except RefusedError as refused:
                assert refused.status in (415, 422)


@pytest.mark.parametrize("orientation", [3, 6])
def test_a_picture_on_its_side_is_turned_and_never_sent_as_the_file(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = uploads.read(picture("JPEG", (64, 32), exif=exif.tobytes()), LIMIT, SIDE)
    assert found.picture.size == (found.width, found.height) == ((32, 64) if orientation == 6 else (64, 32))
    assert found.content is None


MODES = [("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "P"), ("PNG", "1"), ("PNG", "RGBA"), ("PNG", "LA"), ("WEBP", "RGB")]


@pytest.mark.parametrize("form, mode", MODES)
def test_a_large_picture_is_shrunk(form, mode):
    content = picture(form, (1000, 500), mode)
    found = uploads.read(content, LIMIT, 100)
    assert found.picture.size == (100, 50) and (found.width, found.height) == (1000, 500) and found.content is None
    assert found.picture.convert("RGB").getextrema()[0][1] > 0
    assert uploads.read(content, LIMIT, 0).picture.size == (1000, 500)


@pytest.mark.parametrize("side", [0, 100])
def test_16_bits_keep_their_shades(side):
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((200, 200)).convert("I").point(lambda value: value * 256 + 0).convert("I;16").save(buffer, "PNG")
    low, high = uploads.read(buffer.getvalue(), LIMIT, side).picture.getextrema()
    assert low < 5 and 250 < high <= 255
    assert len(uploads.read(buffer.getvalue(), LIMIT, side).picture.getcolors()) > 90


def test_a_file_with_much_text_does_not_grow():
    content = bytearray(picture())
    text = zlib.compress(b"x" * 5000000)
    data = b"zTXta\0\0" + text
    content[33:33] = struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))
    assert refusal(bytes(content))[0] == 422
