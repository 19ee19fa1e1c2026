"""What is drawn below a video: the five best classes as bars, and a strip of the whole video with a cursor."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import font_manager
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont

from evaluate.prediction.results import Best, shares
from evaluate.prediction.tables import clock, percent

WIDTH = 960
MARGIN, ROW, TEXT = 20, 30, 18  # pixels
NAMES, BARS = 430, 840  # where the names end and the bars end
STRIP, SCALE = 28, 26  # heights of the strip and of the times below it
BARS_SHOWN = 5
HEIGHT = MARGIN + BARS_SHOWN * ROW + 12 + STRIP + SCALE + 8
BACK, INK, DIM, EMPTY = (24, 26, 30), (236, 238, 240), (150, 156, 164), (52, 56, 62)
COLOURS = (
    *((78, 161, 255), (255, 159, 64), (92, 200, 110), (255, 99, 110), (178, 132, 255)),
    *((222, 190, 60), (64, 208, 208), (255, 140, 200), (170, 140, 110), (150, 200, 60)),
)
OTHER = (140, 146, 154)  # the colour of rarer classes


class Panel:
    """Pictures uint8 (HEIGHT, WIDTH, 3) of the scores at a time; one is drawn anew where the window changes."""

    def __init__(self, windows: Sequence[Best], classes: Sequence[str], stride: float) -> None:
        self._windows, self._classes = windows, classes
        self._parts = shares(windows, stride)
        self._end = max(self._parts[-1][1], 1e-3)
        self._start = self._parts[0][0]
        frequent = Counter(each.classes[0] for each in windows).most_common(len(COLOURS))
        self._colours = {label: COLOURS[place] for place, (label, _) in enumerate(frequent)}
        names = "".join({classes[label] for each in windows for label in each.classes[:BARS_SHOWN]})
        path, self.lacking = font_for(names)
        self._font, self._small = (ImageFont.truetype(path, size) for size in (TEXT, 14))
        self._strip = self._draw_strip()
        self._number = 0
        self._drawn: tuple[int, np.ndarray] | None = None

    def at(self, time: float) -> np.ndarray:
        """The picture at a time in seconds; times rise from call to call."""
        while self._number + 1 < len(self._parts) and time >= self._parts[self._number + 1][0]:
            self._number += 1
        if self._drawn is None or self._drawn[0] != self._number:
            self._drawn = (self._number, self._draw_bars(self._windows[self._number]))
        picture = np.concatenate([self._drawn[1], self._strip])
        x, top = self._x(time), picture.shape[0] - STRIP - SCALE - 8
        picture[top - 4 : top + STRIP + 4, max(0, x - 3) : x + 4] = BACK
        picture[top - 4 : top + STRIP + 4, max(0, x - 1) : x + 2] = INK
        return picture

    def _x(self, time: float) -> int:
        share = (time - self._start) / max(1e-9, self._end - self._start)
        return MARGIN + round(min(1.0, max(0.0, share)) * (WIDTH - 2 * MARGIN))

    def _colour(self, label: int) -> tuple[int, int, int]:
        return self._colours.get(label, OTHER)

    def _draw_bars(self, best: Best) -> np.ndarray:
        image = Image.new("RGB", (WIDTH, HEIGHT - STRIP - SCALE - 8), BACK)
        draw = ImageDraw.Draw(image)
        for row, (label, score) in enumerate(zip(best.classes[:BARS_SHOWN], best.scores, strict=False)):
            y = MARGIN // 2 + row * ROW
            name = fitting(self._classes[label], self._font, NAMES - 2 * MARGIN)
            ink = INK if row == 0 else DIM
            draw.text((NAMES - MARGIN, y + ROW // 2), name, ink, self._font, anchor="rm")
            draw.rectangle((NAMES, y + 6, BARS, y + ROW - 6), EMPTY)
            if (end := NAMES + round(score * (BARS - NAMES))) > NAMES:
                draw.rectangle((NAMES, y + 6, end, y + ROW - 6), self._colour(label))
            draw.text((WIDTH - MARGIN, y + ROW // 2), percent(score), ink, self._font, anchor="rm")
        return np.asarray(image)

    def _draw_strip(self) -> np.ndarray:
        image = Image.new("RGB", (WIDTH, STRIP + SCALE + 8), BACK)
        draw = ImageDraw.Draw(image)
        draw.rectangle((MARGIN, 0, WIDTH - MARGIN, STRIP - 1), EMPTY)
        for window, (start, end) in zip(self._windows, self._parts, strict=True):
            left, right = self._x(start), self._x(end)
            draw.rectangle((left, 0, max(left, right - 1), STRIP - 1), self._colour(window.classes[0]))
        for place, anchor in ((0.0, "lt"), (0.5, "mt"), (1.0, "rt")):
            time = self._start + place * (self._end - self._start)
            draw.text((self._x(time), STRIP + 8), clock(time), DIM, self._small, anchor=anchor)
        return np.asarray(image)


def fitting(name: str, font: Any, width: float) -> str:
    """The name in one line, with its middle left out if it is wider than `width` pixels."""
    name = " ".join(name.split())
    if font.getlength(name) <= width:
        return name
    for kept in range(len(name) - 1, 0, -1):
        text = f"{name[: (kept + 1) // 2]}…{name[len(name) - kept // 2 :]}"
        if font.getlength(text) <= width:
            return text
    return "…"


def font_for(text: str) -> tuple[str, str]:
    """A font file that has all characters of a text, and those that it lacks if there is none: then DejaVu Sans."""
    usual = font_manager.findfont("DejaVu Sans")
    others = sorted({entry.fname for entry in font_manager.fontManager.ttflist} - {usual})
    wanted = {character for character in text if not character.isspace()}
    if lacking := _lacking(usual, wanted):
        for path in others:
            if not _lacking(path, wanted):
                return path, ""
    return usual, "".join(sorted(lacking))


def _lacking(path: str, wanted: set[str]) -> set[str]:
    try:
        known = FT2Font(path).get_charmap()
    except (OSError, RuntimeError):
        return wanted
    return {character for character in wanted if ord(character) not in known}
