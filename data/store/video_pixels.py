"""Turns decoded frames into RGB arrays: colours by the video's own matrix, range and light, upright, scaled down."""

from collections import Counter
from fractions import Fraction
from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from av.video.stream import VideoStream

from data.store.tone_map import Light, tone_map
from data.store.video_container import VideoError, check_size

# Numbers of ITU-T H.273, which FFmpeg uses too.
RGB, BT709, UNSPECIFIED, RESERVED, BT470BG, SMPTE170M = 0, 1, 2, 3, 5, 6
CONVERTIBLE = {RGB, BT709, UNSPECIFIED, RESERVED, 4, BT470BG, SMPTE170M, 7, 9, 10}  # 4 FCC, 7 SMPTE 240M, 9, 10 BT.2020
PALETTES = {"pal8", "monob", "monow"}
LIMITED, FULL, BICUBIC = int(ColorRange.MPEG), int(ColorRange.JPEG), int(Interpolation.BICUBIC)


class OtherSizes:
    """Counts the frames of a video that have another size than the one to which all are scaled: by default the first's.

    Sizes are (height, width).
    """

    def __init__(self, size: tuple[int, int] | None = None) -> None:
        self._size = size
        self._counts: Counter[tuple[int, int]] = Counter()

    def add(self, height: int, width: int) -> None:
        """Count one frame of this size."""
        self._size = self._size or (height, width)
        self._counts[height, width] += 1

    def majority(self) -> tuple[tuple[int, int], int] | None:
        """The size of more than half of the frames, and their number; None if there is none."""
        most = max(self._counts.items(), key=lambda item: item[1], default=None)
        return most if most and 2 * most[1] > sum(self._counts.values()) else None

    def remark(self) -> str:
        """What a user should know; empty if all frames have that size."""
        others = [size for size in self._counts if size != self._size]
        if self._size is None or not others:
            return ""
        height, width = self._size
        count = sum(self._counts[size] for size in others)
        distorts = any(abs(h * width - w * height) > max(h, w, height, width) for h, w in others)
        what = "scaled to that size" + (", which distorts them" if distorts else "")
        sizes = " and ".join(f"{w}x{h}" for h, w in others[:3]) + (" ..." if len(others) > 3 else "")
        return f"{count} frames of {sizes} instead of {width}x{height} pixels are {what}"


class Upright:
    """Turns decoded frames into upright RGB arrays uint8 (H, W, 3).

    All have the scaled size of the first one, or `size` (height, width) if that is given.
    """

    def __init__(self, short_side: int, size: tuple[int, int] | None = None) -> None:
        self.sizes = OtherSizes()
        self.transposes = False  # the frame given last
        self._short_side = short_side
        self._size = size
        self._kind: tuple[object, ...] = ()  # of the frame before, which decides the following three
        self._source, self._levels, self._by_table = SMPTE170M, LIMITED, False
        self._reformatter = VideoReformatter()

    def __call__(self, frame: VideoFrame, limited_grey: bool = False, light: Light | None = None) -> np.ndarray:
        """The frame's pixels. `limited_grey`: of grey frames, an unspecified range is the limited one.

        `light`: of HDR, which is mapped to the brightness and colours of other videos.
        """
        check_size(frame.width, frame.height)
        transpose, flip_columns, flip_rows = _orientation(frame)
        self.transposes = transpose
        stored = (frame.width, frame.height) if transpose else (frame.height, frame.width)
        self.sizes.add(*stored)
        if self._size is None:
            self._size = scaled_size(*stored, self._short_side)
        height, width = self._size[::-1] if transpose else self._size
        kind = (frame.colorspace, frame.color_range, frame.format.name, frame.width, frame.height)
        if kind != self._kind:
            matrix, full = colours(frame, limited_grey)
            self._by_table = not full and _without_matrix(frame)
            # Where source and target are equal, PyAV leaves FFmpeg's defaults, or the settings of the frame before. So
            # the target is 5, which RGB does not use, and the source never: 6 is another name of it.
            self._source = SMPTE170M if matrix == BT470BG else matrix
            self._levels = FULL if full or self._by_table else LIMITED
            self._kind = kind
        pixels = self._reformatter.reformat(
            frame,
            width,
            height,
            "rgb48le" if light else "rgb24",
            src_colorspace=self._source,
            dst_colorspace=BT470BG,
            src_color_range=self._levels,
            dst_color_range=FULL,
            interpolation=BICUBIC,
        ).to_ndarray()
        if light:
            pixels = tone_map(LIMITED_TO_FULL_16[pixels] if self._by_table else pixels, light)
        elif self._by_table:
            pixels = LIMITED_TO_FULL[pixels]
        if transpose:
            pixels = pixels.transpose(1, 0, 2)
        return np.ascontiguousarray(pixels[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1])


LIMITED_TO_FULL_16 = np.clip(np.rint((np.arange(2**16) - 4096) * 65535 / 56064), 0, 65535).astype(np.uint16)
LIMITED_TO_FULL = np.clip(np.rint((np.arange(256) - 16) * 255 / 219), 0, 255).astype(np.uint8)


def colours(frame: VideoFrame, limited_grey: bool) -> tuple[int, bool]:
    """The matrix by which the frame turns into RGB, and whether its levels are those of the full range.

    As ffmpeg and OpenCV do, an unspecified matrix is taken as BT.601 whatever the size, as for the frames that
    published weights were trained on. An unspecified range is taken as full for RGB and grey, and as limited else.
    VideoError for a matrix that FFmpeg does not convert.
    """
    matrix, levels, name = int(frame.colorspace), int(frame.color_range), frame.format.name
    if matrix not in CONVERTIBLE and not _without_matrix(frame):
        raise VideoError(f"its colours (matrix {matrix} of ITU-T H.273) cannot be converted to RGB")
    if matrix in (RGB, UNSPECIFIED, RESERVED) or matrix not in CONVERTIBLE:
        matrix = SMPTE170M
    if name in PALETTES:
        return matrix, True
    if levels in (LIMITED, FULL):
        return matrix, levels == FULL
    return matrix, name.startswith("yuvj") or (_without_matrix(frame) and not (limited_grey and _is_grey(name)))


def _is_grey(name: str) -> bool:
    return name.startswith(("gray", "ya"))


def _without_matrix(frame: VideoFrame) -> bool:
    """Whether the frame is grey or RGB: FFmpeg takes its levels for full range, whatever it says."""
    return frame.format.is_rgb or frame.format.name in PALETTES or _is_grey(frame.format.name)


def scaled_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """The size (height, width) with the shorter side scaled down to `short_side` pixels; never scaled up."""
    scale = short_side / min(height, width)
    return (height, width) if scale >= 1 else (max(1, round(height * scale)), max(1, round(width * scale)))


def pixel_aspect(stream: VideoStream) -> Fraction:
    """The width of a stored pixel by its height; 1 if the file tells none, or one that no camera or disc has."""
    aspect = stream.sample_aspect_ratio or Fraction(1)
    return aspect if Fraction(1, 4) <= aspect <= 4 else Fraction(1)


def squeeze(stream: VideoStream) -> str:
    """What becomes of pixels that are not square, which stay as stored; empty if they are, within 2 %."""
    aspect, context = pixel_aspect(stream), stream.codec_context
    if abs(aspect - 1) <= Fraction(1, 50):
        return ""
    shown = f"{round(context.width * aspect)}x{context.height}"
    return f"frames keep the stored {context.width}x{context.height}, players show {shown}"


def _orientation(frame: VideoFrame) -> tuple[bool, bool, bool]:
    """Whether the display matrix transposes the frame, and whether it then mirrors the columns and the rows.

    The matrix (ISO 14496-12, 8.5.3), in rows a b u, c d v, x y w, shows the pixel of column p and row q at column
    a p + c q and row b p + d q. Other angles are taken as the nearest multiple of 90 degrees.
    """
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return False, False, False
    matrix = np.frombuffer(data, np.int32)
    a, b, c, d = (int(value) for value in matrix[[0, 1, 3, 4]])
    if abs(b) + abs(c) > abs(a) + abs(d):
        return True, c < 0, b < 0
    return False, a < 0, d < 0
