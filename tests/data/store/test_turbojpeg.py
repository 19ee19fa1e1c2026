"""With libjpeg-turbo 3, clips are read in less time, with the same pixels and the same checks for damage.

SRTG_TURBOJPEG=/path/to/libturbojpeg.so.0 pytest tests/data runs all tests of reading with another library.
"""

import random
from contextlib import nullcontext

import cv2
import numpy as np
import pytest
import simplejpeg

from benchmarks.corpus import scene_frames
from data.store import jpeg as jpeg_module
from data.store.crop_box import CropBox
from data.store.jpeg import CropDecoder
from data.store.turbojpeg import _library, thread_decoder

SIZE = (96, 128)
BOXES = [
    CropBox(0, 0, 40, 40, 40, 40),
    CropBox(31, 53, 40, 40, 40, 40, True),
    CropBox(56, 88, 40, 40, 40, 40),
    CropBox(10, 33, 60, 60, 70, 70),
    CropBox(16, 38, 80, 80, 40, 40),
    CropBox(16, 48, 80, 80, 20, 20),
]
needs_library = pytest.mark.skipif(thread_decoder() is None, reason="no libjpeg-turbo 3 on this system")


def read(blob: bytes, box: CropBox) -> np.ndarray | str:
    """The pixels, or the error."""
    out = np.empty((box.out_height, box.out_width, 3), np.uint8)
    try:
        CropDecoder(SIZE, box).decode(blob, out)
    except ValueError as error:
        return str(error)
    return out


@pytest.fixture
def without(monkeypatch):
    """Read as on a system without the library."""

    def read_without(blob: bytes, box: CropBox) -> np.ndarray | str:
        with monkeypatch.context() as patched:
            patched.setattr(jpeg_module, "thread_decoder", lambda: None)
            return read(blob, box)

    return read_without


def kinds() -> dict[str, bytes]:
    """The same picture as JPEGs of several kinds."""
    pixels = next(scene_frames(2, SIZE, 1))
    subsamplings = ("420", "422", "444", "411", "440")
    made = {name: simplejpeg.encode_jpeg(pixels, 90, colorsubsampling=name) for name in subsamplings}
    made["grey"] = simplejpeg.encode_jpeg(pixels[..., :1].copy(), 90, colorspace="GRAY")
    made["four inks"] = simplejpeg.encode_jpeg(np.dstack([pixels, pixels[..., :1]]), 90, colorspace="CMYK")
    made["progressive"] = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    made["restarts"] = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_RST_INTERVAL, 3])[1].tobytes()
    return made


@needs_library
@pytest.mark.parametrize("kind", kinds())
def test_the_pixels_are_those_of_the_other_decoder(kind, without):
    """A run that is resumed on another machine must see the same clips."""
    blob = kinds()[kind]
    for box in BOXES:
        assert np.array_equal(read(blob, box), without(blob, box)), box


@needs_library
@pytest.mark.parametrize(
    "rounds", [200, pytest.param(20_000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])], ids=["short", "long"]
)
def test_damage_is_found_wherever_the_other_decoder_finds_it(rounds, without):
    """Also outside of the box: else the same video is bad on one machine and good on another."""
    rng, blobs = random.Random(7), list(kinds().values())
    found = 0
    for number in range(rounds):
        data = bytearray(blobs[number % len(blobs)])
        for _ in range(rng.choice([1, 2, 20])):
            data[rng.randrange(len(data))] = rng.randrange(256)
        length = rng.choice([len(data), len(data), rng.randrange(len(data))])
        blob, box = bytes(data[:length]), rng.choice(BOXES)
        ours, others = read(blob, box), without(blob, box)
        assert np.array_equal(ours, others) if isinstance(others, np.ndarray) else ours == others
        found += isinstance(others, str)
    assert rounds / 4 < found < rounds


def test_another_library_is_not_used_and_none_can_be_asked_for(monkeypatch):
    """Version 2 has the same file name; calling version 3's functions in it would crash."""
    for named in ("none", "/no/such/file", "libc.so.6"):
        monkeypatch.setenv("SRTG_TURBOJPEG", named)
        _library.cache_clear()
        with nullcontext() if named == "none" else pytest.warns(UserWarning, match=named):
            assert thread_decoder() is None
    monkeypatch.undo()
    _library.cache_clear()


@needs_library
def test_a_frame_of_another_size_is_named(without):
    blob = simplejpeg.encode_jpeg(next(scene_frames(2, (64, 64), 1)), 90)
    message = str(read(blob, BOXES[0]))
    assert "64x64" in message and "128x96" in message
