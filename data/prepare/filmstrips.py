"""Draws videos as rows of frames."""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

from common.files import atomic_file

FRAMES_SHOWN = 12
FRAME_WIDTH, GAP = 96, 7  # pixels
FOOT = 30  # pixels under the rows, for the arrow of time
DPI = 150


def draw_filmstrips(path: Path, videos: Mapping[str, np.ndarray]) -> None:
    """Write a PNG with the videos, each uint8 RGB (T, H, W, 3), as rows of evenly spaced frames beside their names."""
    strips = np.concatenate([_strip(frames) for frames in videos.values()])
    row_height = len(strips) // len(videos)
    left = 34 + 10 * max(map(len, videos))
    height, width = len(strips) + GAP + FOOT, left + strips.shape[1] + GAP
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    figure.figimage(strips, xo=left, yo=FOOT)
    for row, name in enumerate(videos):
        middle = height - GAP - (row + 0.5) * row_height
        label = name.replace("_", " ")
        figure.text((left - 15) / width, middle / height, label, ha="right", va="center", fontsize=7.5)
    base = FOOT / 2 / height
    figure.text(left / width, base, "time", va="center", fontsize=7, color="0.35")
    ends = ((left + 44) / width, base), ((width - 2 * GAP) / width, base)
    figure.add_artist(FancyArrowPatch(*ends, arrowstyle="->", mutation_scale=8, color="0.35", linewidth=0.8))
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", facecolor="white")


def _strip(frames: np.ndarray) -> np.ndarray:
    """A row of evenly spaced frames with white gaps to the right of and below each."""
    size = (FRAME_WIDTH, max(1, round(FRAME_WIDTH * frames.shape[1] / frames.shape[2])))
    shown = frames[np.linspace(0, len(frames) - 1, FRAMES_SHOWN).round().astype(int)]
    scaled = np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC) for frame in shown])
    padded = np.pad(scaled, ((0, 0), (0, GAP), (0, GAP), (0, 0)), constant_values=255)
    return np.concatenate(list(padded), axis=1)
