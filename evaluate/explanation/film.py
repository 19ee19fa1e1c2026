"""The film of an explanation: each frame beside itself with heat; below, the curves with a cursor, and the matrices."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import av
import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from common.files import atomic_file, write_errors
from common.text import printable
from data.prepare.synthetic import best_codec
from evaluate.explanation.mark import MADE_BY
from evaluate.explanation.picture import INK, Explained, draw_panels, enlarged, overlay, panel_heights

FRAMES_A_SECOND = 4
SIDE = 400  # pixels of a frame
GAP, HEAD = 16, 64
CURSOR = (192, 57, 43)
OPTIONS = {"libx264": {"crf": "18", "preset": "medium"}, "mpeg4": {"qmin": "2", "qmax": "3"}}


def write_film(explained: Explained, path: Path) -> None:
    """Write an MP4 of the clip's frames, FRAMES_A_SECOND."""
    with write_errors(path), atomic_file(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        container.metadata["comment"] = MADE_BY
        codec = best_codec()
        stream = cast(av.VideoStream, container.add_stream(codec, rate=FRAMES_A_SECOND, options=OPTIONS[codec]))
        stream.pix_fmt = "yuv420p"
        for number, picture in enumerate(pictures(explained)):
            if number == 0:
                stream.height, stream.width = picture.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def pictures(explained: Explained) -> Iterator[NDArray[np.uint8]]:
    """The pictures of the film, uint8 (H, W, 3), one for each frame of the clip."""
    plain, heated = (enlarged(frames, SIDE) for frames in (explained.frames, overlay(explained)))
    height, width = plain.shape[1:3]
    total = max(2 * width + 3 * GAP, 960)
    total += total % 2
    panel, left, right, top, bottom = _panel(explained, total)
    start = (total - 2 * width - GAP) // 2
    for number, (one, other) in enumerate(zip(plain, heated, strict=True)):
        picture = np.full((HEAD + height + GAP + len(panel), total, 3), 255, np.uint8)
        picture[HEAD + height + GAP :] = panel
        picture[HEAD : HEAD + height, start : start + width] = one
        picture[HEAD : HEAD + height, start + width + GAP : start + 2 * width + GAP] = other
        picture[:HEAD] = _head(explained, number, total)
        x = round(left + (right - left) * (number + 0.5) / len(plain))
        y = HEAD + height + GAP
        cv2.line(picture, (x, y + top), (x, y + bottom), CURSOR, 2)
        yield picture


def _panel(explained: Explained, width: int) -> tuple[NDArray[np.uint8], int, int, int, int]:
    """Curves and matrices, and the edges of the curves: left, right, top, bottom in pixels."""
    inches = width / 100
    heights = panel_heights(explained, inches)
    rows = round(100 * sum(heights)) // 2 * 2
    figure = Figure(figsize=(inches, rows / 100), dpi=100, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    panels = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    axes = draw_panels(list(panels), explained)
    canvas.draw()
    edges = axes.get_window_extent()
    image = np.asarray(canvas.buffer_rgba())[..., :3]
    found = (round(edges.x0), round(edges.x1), round(rows - edges.y1), round(rows - edges.y0))
    return np.ascontiguousarray(image[:rows, :width]), *found


def _head(explained: Explained, number: int, width: int) -> NDArray[np.uint8]:
    figure = Figure(figsize=(width / 100, HEAD / 100), dpi=100, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    text = printable(explained.title, keep="\n")
    figure.text(0.015, 0.5, text, fontsize=9, color=INK, va="center", parse_math=False, linespacing=1.4)
    figure.text(0.985, 0.5, explained.labels[number], fontsize=9, color=INK, va="center", ha="right")
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:HEAD, :width, :3]
