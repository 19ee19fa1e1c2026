"""The quality of a JPEG by its tables: if this fails, a passport tells of a quality that the frames never had."""

import random

import cv2
import numpy as np
import pytest
import simplejpeg

from data.store.jpeg_quality import jpeg_quality

PICTURE = np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)


def by_opencv(picture: np.ndarray, quality: int, *more: int) -> bytes:
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality, *more])[1].tobytes()


@pytest.mark.parametrize("quality", [1, 2, 25, 49, 50, 75, 90, 95, 99, 100])
def test_the_quality_is_that_of_the_writer(quality):
    """simplejpeg and OpenCV write the frames of most datasets; grey frames have one table."""
    assert jpeg_quality(simplejpeg.encode_jpeg(PICTURE, quality)) == quality
    assert jpeg_quality(by_opencv(PICTURE, quality)) == quality
    assert jpeg_quality(by_opencv(PICTURE[..., 0], quality)) == quality
    assert jpeg_quality(by_opencv(PICTURE, quality, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)) == quality


def test_other_tables_have_no_quality():
    """Those of a camera or of FFmpeg would be taken for the next quality."""
    jpeg = bytearray(simplejpeg.encode_jpeg(PICTURE, 75))
    jpeg[jpeg.index(b"\xff\xdb") + 20] += 1
    assert jpeg_quality(bytes(jpeg)) is None
    # Two qualities in one file.
    assert (
        jpeg_quality(by_opencv(PICTURE, 75, cv2.IMWRITE_JPEG_LUMA_QUALITY, 75, cv2.IMWRITE_JPEG_CHROMA_QUALITY, 50))
        is None
    )


def test_damaged_bytes_have_none_or_one():
    """A passport would end in a traceback, or never."""
    jpeg = simplejpeg.encode_jpeg(PICTURE, 75)
    generator = random.Random(0)
    for end in range(0, 700, 7):
        assert jpeg_quality(jpeg[:end]) in (None, 75)
        damaged = bytearray(jpeg)
        damaged[generator.randrange(200)] = generator.randrange(256)
        assert jpeg_quality(bytes(damaged)) in (None, *range(1, 101))
    for blob in (
        b"",
        b"\xff\xd8",
        b"\xff" * 50,
        b"\xff\xd8\xff\xdb\x00\x00" * 5,
        b"\xff\xd8\xff\xdb\x00\x43\x00" + b"1" * 9,
    ):
        assert jpeg_quality(blob) is None
