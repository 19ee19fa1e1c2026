"""Pictures that are frames: every kind of PNG gives the right pixels, and damage or a lie in a header is found."""

import os
import random
import struct
import zlib

import cv2
import numpy as np
import pytest

from data.prepare.pictures import PNG, decode_picture, is_animated_webp, read_header
from data.store.video_file import VideoError
from tests.data.store.test_database import progressive_scans

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}
HEIGHT, WIDTH = 13, 21
PASSES = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def write_png(values: np.ndarray, depth: int, colour: int, before: bytes = b"", interlaced: bool = False) -> bytes:
    """A PNG of values (H, W, channels) of `depth` bits, after PNG 3rd edition, sections 8 to 11."""

    def rows(part: np.ndarray) -> bytes:
        if depth == 16:
            packed = part.astype(">u2").reshape(len(part), -1).view(np.uint8)
        elif depth == 8:
            packed = part.astype(np.uint8).reshape(len(part), -1)
        else:
            bits = (part.reshape(len(part), -1, 1) >> np.arange(depth)[::-1]) & 1
            packed = np.packbits(bits.reshape(len(part), -1).astype(np.uint8), axis=1)
        return b"".join(b"\0" + row.tobytes() for row in packed)

    parts = [values[y::h, x::w] for y, x, h, w in PASSES] if interlaced else [values]
    data = zlib.compress(b"".join(rows(part) for part in parts if part.size))
    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], depth, colour, 0, 0, interlaced)
    return PNG + chunk(b"IHDR", head) + before + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def values_of(depth: int, colour: int) -> np.ndarray:
    generator = np.random.default_rng(depth + colour)
    return generator.integers(0, 2**depth, (HEIGHT, WIDTH, CHANNELS[colour]))


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(
    ("depth", "colour"),
    [
        *((depth, GREY) for depth in (1, 2, 4, 8, 16)),
        *((depth, PALETTE) for depth in (1, 2, 4, 8)),
        *((depth, colour) for depth in (8, 16) for colour in (RGB, GREY_ALPHA, RGBA)),
    ],
)
def test_every_kind_of_png_has_its_pixels(depth: int, colour: int, interlaced: bool) -> None:
    """Frames of screens (palettes), depth and microscopes (16 bits) would be trained on in other colours."""
    values = values_of(depth, colour)
    palette = np.random.default_rng(0).integers(0, 256, (2**depth if colour == PALETTE else 0, 3)).astype(np.uint8)
    before = chunk(b"PLTE", palette.tobytes()) if colour == PALETTE else b""
    picture = decode_picture(write_png(values, depth, colour, before, interlaced))
    if colour == PALETTE:
        expected = palette[values[..., 0]].astype(float)
    else:
        expected = values[..., :3] if colour in (RGB, RGBA) else values[..., :1].repeat(3, 2)
        expected = expected * 255 / (2**depth - 1)
    assert picture.pixels.shape == (HEIGHT, WIDTH, 3) and picture.pixels.dtype == np.uint8
    assert np.abs(picture.pixels - expected).max() <= 0.51
    assert picture.is_transparent == (colour in (GREY_ALPHA, RGBA)) and not picture.is_kept
    colours = values[..., :3] if colour in (RGB, RGBA) else values[..., 0]
    assert picture.brightest == (colours.max() if depth == 16 else 0)


def test_transparency_is_told_only_where_something_is_transparent() -> None:
    """Screenshots have an opaque fourth channel, of which nothing is lost."""
    values = values_of(8, RGBA)
    values[..., 3] = 255
    assert not decode_picture(write_png(values, 8, RGBA)).is_transparent
    grey, rgb = values_of(8, GREY), values_of(8, RGB)
    for transparent, colour in ((grey, GREY), (rgb, RGB)):
        key = struct.pack(f">{CHANNELS[colour]}H", *transparent[0, 0])
        assert decode_picture(write_png(transparent, 8, colour, chunk(b"tRNS", key))).is_transparent


def png() -> bytes:
    return write_png(values_of(8, RGB), 8, RGB)


def test_any_damaged_byte_or_missing_end_of_a_png_is_found() -> None:
    """A copy that broke off would give frames that are grey from some row on."""
    data = png()
    assert decode_picture(data).pixels.shape == (HEIGHT, WIDTH, 3)
    for place in range(0, len(data), 7):
        with pytest.raises(ValueError):
            decode_picture(data[:place])
        with pytest.raises(ValueError):
            decode_picture(data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :])
    short = write_png(values_of(8, RGB)[:5], 8, RGB)
    stated = short.replace(struct.pack(">II", WIDTH, 5), struct.pack(">II", WIDTH, HEIGHT))
    with pytest.raises(ValueError):  # the right checksums, but too few rows
        decode_picture(stated[:29] + struct.pack(">I", zlib.crc32(stated[12:29])) + stated[33:])


def test_an_animation_is_refused_and_not_taken_for_its_first_picture() -> None:
    data = write_png(values_of(8, RGB), 8, RGB, chunk(b"acTL", struct.pack(">II", 2, 0)))
    animated = b"RIFF\x64\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0\x14\0\0\x0c\0\0" + bytes(70)
    for each in (data, animated):
        with pytest.raises(VideoError, match="animation"):
            decode_picture(each)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (PNG + chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)) + bytes(99), "100000x100000"),
        (PNG + chunk(b"IHDR", struct.pack(">IIBBBBB", 5_000, 5_000, 8, 2, 0, 0, 0)) + bytes(99), "5000x5000"),
        (b"BM" + bytes(16) + struct.pack("<ii", 60_000, -50_000) + bytes(99), "60000x50000"),
        (b"RIFF\x64\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xff\x3f\0\xff\x3f\0" + bytes(70), "16384x16384"),
        (b"RIFF\x64\0\0\0WEBPVP8L\x0a\0\0\0\x2f\xff\xff\xff\x0f" + bytes(70), "16384x16384"),
        (b"BM", "0x0"),
        (b"RIFF\0\0\0\0WEBP", "0x0"),
        (b"RIFF\0\0\0\0WEBPVP8X", "1x1|damaged"),
        (PNG, "0x0"),
        (b"GIF89a" + bytes(99), "no JPEG, PNG"),
        (b"\xff\xd8\xff", "JPEG"),
    ],
)
def test_a_lie_in_a_header_is_refused_before_pixels_are_decoded(data: bytes, told: str) -> None:
    """A few bytes that promise 10 gigapixels would fill the memory of every worker."""
    with pytest.raises(ValueError, match=told):
        decode_picture(data)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_of_other_formats_have_their_pixels_upright(orientation: int) -> None:
    y, x = np.mgrid[:48, :64]
    pixels = np.stack([4 * x, 5 * y, x + y], -1).astype(np.uint8)
    block = b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHH", 0x112, 3, 1, orientation, 0) + bytes(4)
    data = write_png(pixels, 8, RGB, chunk(b"eXIf", block))
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)  # turns it
    assert np.array_equal(decode_picture(data).pixels, expected)
    webp = cv2.imencode(".webp", pixels[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes()
    for found in (cv2.imencode(".bmp", pixels[..., ::-1])[1].tobytes(), webp):
        assert np.array_equal(decode_picture(found).pixels, pixels)
    extended = b"VP8X\x0a\0\0\0\x08\0\0\0" + struct.pack("<I", 63)[:3] + struct.pack("<I", 47)[:3]
    body = b"WEBP" + extended + webp[12:] + b"EXIF" + struct.pack("<I", len(block)) + block
    turned = b"RIFF" + struct.pack("<I", len(body)) + body
    assert np.array_equal(decode_picture(turned).pixels, expected)
    assert read_header(data).orientation == 1 and read_header(turned).shown == expected.shape[:2]


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".webp", ".jpg"])
def test_random_bytes_give_a_picture_or_a_reason(suffix: str) -> None:
    """One odd file would end the conversion of a whole dataset with a traceback."""
    data = cv2.imencode(suffix, np.full((24, 32, 3), 80, np.uint8))[1].tobytes()
    chance = random.Random(0)
    for _ in range(300):
        changed = bytearray(data[: chance.randrange(1, len(data) + 1)])
        for _ in range(chance.randrange(4)):
            changed[chance.randrange(min(64, len(changed)))] = chance.randrange(256)
        for function in (read_header, decode_picture):
            try:
                function(bytes(changed))
            except ValueError as error:
                assert len(str(error)) < 300 and "\n" not in str(error)


def test_a_pipe_is_no_animation_and_not_waited_for(tmp_path) -> None:
    """`convert` looks into each file that is named as one."""
    os.mkfifo(tmp_path / "a.webp")
    assert not is_animated_webp(tmp_path / "a.webp")


def test_a_jpeg_of_very_many_scans_is_refused() -> None:
    """A picture of 20 KB took minutes to convert, and so would every clip with it."""
    with pytest.raises(ValueError, match="1600 scans"):
        decode_picture(progressive_scans(1600, 1024, 1024))
    assert decode_picture(progressive_scans(10, 1024, 1024)).pixels.shape == (1024, 1024, 3)
