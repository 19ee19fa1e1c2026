"""The picture of an explanation: frames with heat, curves over the frames, and a matrix for each SRTG block."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from matplotlib.font_manager import FontProperties
from matplotlib.patheffects import Normal, Stroke
from matplotlib.textpath import TextToPath
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from common.files import atomic_file, write_errors
from common.text import printable, shortened
from evaluate.explanation.gates import Recursion
from evaluate.explanation.mark import MADE_BY

INK, FAINT, OPEN, CLOSED = "#22313f", "#8795a1", "#1e8449", "#c0392b"
WIDTH, PER_ROW = 13.0, 8  # of the sheet: inches, and frames in a row
MOST_FRAMES = 16  # of the sheet
MOST_CURVES = 8  # blocks with a curve of their own; more are rows of a picture
HEAD, NAMES, BETWEEN, LARGEST = 0.38, 0.5, 0.3, 1.3  # inches of the matrices: text, names, gaps, side
HEAT = colormaps["turbo"]
STRONGEST = 0.6  # opacity of the heat where it is 1


@dataclass(frozen=True)
class Explained:
    """What is drawn. T frames of h x w pixels."""

    title: str
    frames: NDArray[np.uint8]  # (T, h, w, 3)
    heat: NDArray[np.float32]  # (T, h, w), between 0 and 1
    labels: Sequence[str]  # of the frames
    recursions: Sequence[Recursion]


def overlay(explained: Explained) -> NDArray[np.uint8]:
    """The frames with the heat over them: uint8 (T, h, w, 3)."""
    colours = HEAT(explained.heat)[..., :3] * 255
    opacity = STRONGEST * np.sqrt(explained.heat)[..., None]
    mixed: NDArray[np.uint8] = (explained.frames * (1 - opacity) + colours * opacity).round().astype(np.uint8)
    return mixed


def write_sheet(explained: Explained, path: Path) -> None:
    """Write a PNG: rows of frames, each above the same frame with heat; below them the curves and matrices."""
    number = len(explained.frames)
    chosen = np.linspace(0, number - 1, min(number, MOST_FRAMES)).round().astype(int)
    columns = min(PER_ROW, len(chosen))
    rows = math.ceil(len(chosen) / columns)
    gap = np.full_like(explained.frames[:, : max(1, explained.frames.shape[1] // 50)], 255)
    pairs = np.concatenate([explained.frames, gap, overlay(explained)], axis=1)  # each frame above itself with heat
    cell = 0.95 * WIDTH / PER_ROW
    tall = cell * pairs.shape[1] / pairs.shape[2]
    line = tall + 0.27  # with the frame's label
    title = wrapped_title(explained, WIDTH, 10)
    heights = [0.17 + 0.19 * len(title), rows * line, *panel_heights(explained, WIDTH)]
    figure = Figure(figsize=(WIDTH, sum(heights)), dpi=100, facecolor="white")
    FigureCanvasAgg(figure)
    head, top, *panels = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    head.text(0.012, 0.45, "\n".join(title), fontsize=10, color=INK, va="center", parse_math=False, linespacing=1.4)
    for place, frame in enumerate(chosen):
        row, column = divmod(place, columns)
        bottom = (rows - row) * line - 0.2 - tall
        rectangle = (column / PER_ROW + 0.003, bottom / heights[1], cell / WIDTH, tall / heights[1])
        axes = top.add_axes(rectangle)
        axes.imshow(pairs[frame], interpolation="bilinear")
        axes.set_title(explained.labels[frame], fontsize=8, color=INK, pad=2)
        axes.axis("off")
    draw_panels(panels, explained)
    with write_errors(path), atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Comment": MADE_BY})


def wrapped_title(explained: Explained, width: float, size: int) -> list[str]:
    """The lines of the title at a font size, none wider than a picture of `width` inches."""
    return [part for line in printable(explained.title, keep="\n").split("\n") for part in _wrapped(line, width, size)]


def _wrapped(line: str, width: float, size: int) -> list[str]:
    font, measure = FontProperties(size=size), TextToPath()
    most, columns = 0.96 * 72 * width, max(1, len(line))
    while True:
        parts = textwrap.wrap(line, columns)
        widths = [measure.get_text_width_height_descent(part, font, ismath=False)[0] for part in parts]
        if columns <= 10 or max(widths, default=0) <= most:
            return parts
        columns = int(0.95 * columns)


def panel_heights(explained: Explained, width: float) -> list[float]:
    """The inches of the panels that `draw_panels` draws in a picture of this width."""
    if not explained.recursions:
        return [1.6]
    _, rows, side = _matrices(len(explained.recursions), width)
    return [2.1, HEAD + rows * (side + NAMES)]


def draw_panels(panels: Sequence[SubFigure], explained: Explained) -> Axes:
    """Draw the curves and, if there are SRTG blocks, the matrices; returns the axes of the curves, x from 1 to T."""
    axes = panels[0].subplots()
    panels[0].subplots_adjust(left=0.06, right=0.86, top=0.87, bottom=0.2)
    width = panels[0].get_figure(root=True).get_figwidth()
    number = len(explained.frames)
    of_frames = explained.heat.mean(axis=(1, 2))
    axes.set_xlim(0.5, number + 0.5)
    axes.set_xlabel("frame of the clip", fontsize=8, labelpad=1)
    axes.tick_params(labelsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if explained.recursions:
        _draw_strengths(axes, explained.recursions, number)
        shade = axes.twinx()
        shade.set_yticks([])
    else:
        shade = axes
        axes.set_ylabel("mean heat", fontsize=8)
    shade.set_ylim(0, max(0.05, float(of_frames.max()) * 1.1))
    middle = np.arange(1, number + 1)
    if len(explained.recursions) > MOST_CURVES:
        outline = [Stroke(linewidth=3, foreground=INK), Normal()]
        shade.plot(middle, of_frames, color="white", linewidth=1.5, path_effects=outline, label="mean heat")
    else:
        shade.set_zorder(axes.get_zorder() - 1)  # bars behind the curves
        axes.patch.set_visible(False)
        shade.bar(middle, of_frames, width=0.9, color="#f5b041", alpha=0.45, label="mean heat")
    _legend(axes, shade)
    if explained.recursions:
        _draw_matrices(panels[1], explained.recursions, width)
    return axes


def _legend(axes: Axes, shade: Axes) -> None:
    handles, names = axes.get_legend_handles_labels()
    if shade is not axes:
        more, more_names = shade.get_legend_handles_labels()
        handles, names = handles + more, names + more_names
    place = 1.01 if len(handles) > 1 or shade is axes else 1.07  # beside the colours of the strips
    axes.legend(handles, names, fontsize=7, loc="center left", bbox_to_anchor=(place, 0.5), frameon=False)


def _draw_strengths(axes: Axes, recursions: Sequence[Recursion], number: int) -> None:
    """The recursion strength of each block by frame; each frame of a block covers several of the clip."""
    text = "recursion strength: the mean over channels of a*, which a frame's features are multiplied by"
    if len(recursions) <= MOST_CURVES and not all(each.scales for each in recursions):
        text += " (dashed: gate closed, not multiplied)"
    axes.set_title(text, fontsize=8, color=INK, loc="left", pad=4)
    if len(recursions) > MOST_CURVES:
        _draw_strips(axes, recursions, number)
        return
    axes.set_ylabel("strength", fontsize=8)
    for place, each in enumerate(recursions):
        edges = np.linspace(0.5, number + 0.5, len(each.strength) + 1)
        colour = colormaps["viridis"](0.9 * place / max(1, len(recursions) - 1))
        axes.stairs(
            each.strength.numpy(), edges, baseline=None, color=colour, linewidth=1.8,
            linestyle="-" if each.scales else "--", label=f"{each.block}, {each.state}",
        )  # fmt: skip


def _draw_strips(axes: Axes, recursions: Sequence[Recursion], number: int) -> None:
    """A row for each block."""
    places = (np.arange(number) + 0.5) / number
    strips = np.stack([each.strength.numpy()[(places * len(each.strength)).astype(int)] for each in recursions])
    image = axes.imshow(
        strips, aspect="auto", extent=(0.5, number + 0.5, len(recursions) - 0.5, -0.5), interpolation="nearest"
    )
    step = math.ceil(len(recursions) / 12)
    axes.set_yticks(range(0, len(recursions), step), [each.block for each in recursions[::step]], fontsize=6)
    bar = axes.get_figure().colorbar(image, ax=axes, fraction=0.02, pad=0.01)  # type: ignore[union-attr]
    bar.ax.tick_params(labelsize=7)


def _matrices(blocks: int, width: float) -> tuple[int, int, float]:
    """The columns and rows of the matrices, and the side of one in inches."""
    columns = min(blocks, 8 if blocks <= 16 else 12)
    return columns, math.ceil(blocks / columns), min(LARGEST, width / columns - BETWEEN)


def _draw_matrices(figure: SubFigure, recursions: Sequence[Recursion], width: float) -> None:
    """The soft nearest neighbours of each block's frames, and where each frame returns to."""
    columns, rows, side = _matrices(len(recursions), width)
    height = HEAD + rows * (side + NAMES)
    text = (
        "cycle consistency: a row is a frame of a; white: its soft nearest neighbour among the frames of a*; dot: the "
        "frame of a that is nearest to that neighbour, green if it is the same frame"
    )
    lines = textwrap.fill(text, round(17 * width))
    figure.text(0.012, 1 - 0.05 / height, lines, fontsize=8, color=INK, va="top", linespacing=1.3)
    for place, recursion in enumerate(recursions):
        row, column = divmod(place, columns)
        left, bottom = 0.15 + column * (side + BETWEEN), height - HEAD - row * (side + NAMES) - NAMES / 2 + 0.02 - side
        axes = figure.add_axes((left / width, bottom / height, side / width, side / height))
        _draw_matrix(axes, recursion, small=columns > 8)


def _draw_matrix(axes: Axes, recursion: Recursion, small: bool) -> None:
    frames = len(recursion.strength)
    axes.imshow(recursion.there.weights.numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    returns = recursion.there.returns.numpy()
    is_right = returns == np.arange(frames)
    size = max(2.0, min(36.0, 900 / frames**2))
    axes.scatter(returns, np.arange(frames), s=size, c=np.where(is_right, "#2ecc71", "#e74c3c"), linewidths=0)
    axes.set_xticks([])
    axes.set_yticks([])
    colour = (OPEN if recursion.is_open else CLOSED) if recursion.has_gate else INK
    for side in axes.spines.values():
        side.set_color(colour)
        side.set_linewidth(1.5)
    counts = f"{recursion.there.consistent} and {recursion.back.consistent} of {frames} return"
    name = shortened(recursion.block, 30)
    axes.set_title(f"{name}: {recursion.state}", fontsize=6 if small else 8, color=colour, pad=3)
    if not small:
        axes.set_xlabel(counts, fontsize=7, color=FAINT, labelpad=2)


def enlarged(frames: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Frames whose height is about `side` pixels, and even."""
    height = max(2, side // 2 * 2)
    width = max(2, round(frames.shape[2] * height / frames.shape[1] / 2) * 2)
    return np.stack([cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR) for frame in frames])
