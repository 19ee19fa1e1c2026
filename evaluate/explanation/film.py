"""The film of an explanation: each frame beside itself with heat; below, the curves with a cursor, and the matrices."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import av
import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from common.files import atomic_file, write_errors
from data.prepare.synthetic import best_codec
from evaluate.explanation.mark import MADE_BY
from evaluate.explanation.picture import INK, Explained, draw_panels, enlarged, overlay, panel_heights, wrapped_title

FRAMES_A_SECOND = 4
SIDE = 400  # pixels of a frame
GAP, LINE = 16, 18
CURSOR = (192, 57, 43)
OPTIONS = {"libx264": {"crf": "18", "preset": "medium"}, "mpeg4": {"qmin": "2", "qmax": "3"}}


def write_film(explained: Explained, path: Path) -> None:
    """Write an MP4 of the clip's frames, FRAMES_A_SECOND."""
    with (
        write_errors(path),
        atomic_file(path) as temporary,
        av.open(str(temporary.absolute()), "w", format="mp4") as container,
    ):
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
    title = wrapped_title(explained, total / 100, 9)
    head = (LINE * (len(title) + 1) + GAP) // 2 * 2
    panel, left, right, top, bottom = _panel(explained, total)
    start = (total - 2 * width - GAP) // 2
    for number, (one, other) in enumerate(zip(plain, heated, strict=True)):
        picture = np.full((head + height + GAP + len(panel), total, 3), 255, np.uint8)
        picture[head + height + GAP :] = panel
        picture[head : head + height, start : start + width] = one
        picture[head : head + height, start + width + GAP : start + 2 * width + GAP] = other
        picture[:head] = _head(title, explained.labels[number], head, total)
        x = round(left + (right - left) * (number + 0.5) / len(plain))
        y = head + height + GAP
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


def _head(title: Sequence[str], label: str, height: int, width: int) -> NDArray[np.uint8]:
    """The title, and below it the label of the frame."""
    figure = Figure(figsize=(width / 100, height / 100), dpi=100, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    for place, line in enumerate([*title, label]):
        middle, weight = 1 - (GAP / 2 + LINE * (place + 0.5)) / height, "bold" if place == len(title) else "normal"
        figure.text(0.015, middle, line, fontsize=9, weight=weight, color=INK, va="center", parse_math=False)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:height, :width, :3]
