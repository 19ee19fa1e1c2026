"""Line charts and a heat map as SVG in the page: colours come from the page's style, so they follow light and dark."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from train.report.markup import Html, joined, tag

WIDTH, HEIGHT = 460, 256  # units of the drawing; the page scales it
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 12, 36  # margins
MOST_BANDS = 400  # columns with a text of their own
LOG_RANGE = 30.0  # a scale is logarithmic where the largest value is so many times a usual one


class Line(NamedTuple):
    """Points of a line. Its style is that of class `name` in the page: train, val, other."""

    name: str
    label: str
    xs: Sequence[float]
    ys: Sequence[float | None]  # None interrupts the line
    breaks: Sequence[float] = ()  # the line is interrupted before these x


class Scale(NamedTuple):
    """From values to units of the drawing."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def __call__(self, value: float) -> float:
        """The place of a value; those outside are at the end."""
        low, high, at = (math.log10(each) for each in (self.low, self.high, max(value, self.low))) if self.is_log else (
            self.low, self.high, value,
        )  # fmt: skip
        share = min(1.0, max(0.0, (at - low) / (high - low)))
        return round(self.start + share * (self.end - self.start), 1)


def line_chart(
    title: str,
    lines: Sequence[Line],
    unit: str = "",
    limits: tuple[float | None, float | None] = (None, None),
    marks: Sequence[tuple[float, str]] = (),
    x_name: str = "epoch",
    is_log: bool = False,
) -> Html:
    """A chart of lines over epochs. `marks` are vertical lines with their meaning.

    `limits` are the least and the largest value that the scale has; None: those of the data.
    """
    drawn = [line for line in lines if any(value is not None for value in line.ys)]
    if not drawn:
        return Html("")
    values = [value for line in drawn for value in line.ys if value is not None]
    horizontal = _x_scale([x for line in drawn for x in line.xs])
    vertical = _y_scale(values, limits, is_log or _is_wide(values))
    parts = [*_grid(horizontal, vertical, x_name)]
    for at, meaning in marks:
        x = horizontal(at)
        rule = tag("line", x1=x, x2=x, y1=TOP, y2=HEIGHT - BOTTOM, class_="mark")
        parts.append(tag("g", rule, tag("title", meaning)))
    for line in drawn:
        parts += _drawn(line, horizontal, vertical)
    parts += _bands(drawn, horizontal, unit, x_name)
    names = tag(
        "span", *(tag("span", line.label, class_=f"key {line.name}") for line in drawn if drawn[1:]), class_="keys"
    )
    head = tag("figcaption", tag("b", title), f" ({unit})" if unit else "", names)
    return tag("figure", head, _svg(parts, title), class_="chart")


def heat_map(
    title: str, names: Sequence[str], columns: Sequence[str], shares: Sequence[Sequence[float | None]]
) -> Html:
    """A row for each name and a cell for each column, the darker the larger its share (0 to 1); the last is written."""
    height, left, right = 17 if len(names) <= 24 else 12, 74, 46
    width = (2 * WIDTH - left - right) / len(columns)
    parts = []
    for row, (name, values) in enumerate(zip(names, shares, strict=True)):
        y = row * height + 2
        parts.append(tag("text", name, x=left - 6, y=y + height - 4, text_anchor="end"))
        for column, value in enumerate(values):
            if value is None:
                continue
            place = {
                "x": round(left + column * width, 1),
                "y": y,
                "width": round(width + 0.15, 2),
                "height": height - 1,
            }
            shown = tag("title", f"{name}, {columns[column]}: {100 * value:.0f} %")
            cell = tag("rect", **place, fill_opacity=round(0.04 + 0.96 * min(1.0, max(0.0, value)), 2))
            parts.append(tag("g", cell, shown))
        last = next((value for value in reversed(values) if value is not None), 0.0)
        parts.append(tag("text", f"{100 * last:.0f} %", x=2 * WIDTH - 4, y=y + height - 4, text_anchor="end"))
    bottom = len(names) * height + 2
    for column in sorted({0, len(columns) // 2, len(columns) - 1}):
        x = left + (column + 0.5) * width
        anchor = "start" if not column else "end" if column == len(columns) - 1 else "middle"
        parts.append(tag("text", columns[column], x=round(x, 1), y=bottom + 14, text_anchor=anchor))
    view = f"0 0 {2 * WIDTH} {bottom + 20}"
    drawing = tag(
        "svg", *parts, viewBox=view, role="img", aria_label=title, class_="heat" if len(names) <= 24 else "heat dense"
    )
    return tag("figure", tag("figcaption", tag("b", title)), tag("div", drawing, class_="wide"), class_="chart whole")


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers between two values, at most `most` and at least one step of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10, 20) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 12) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _x_scale(xs: Sequence[float]) -> Scale:
    low, high = min(xs), max(xs)
    return Scale(low, high if high > low else low + 1, LEFT, WIDTH - RIGHT)


def _is_wide(values: Sequence[float]) -> bool:
    usual = sorted(values)[len(values) // 2]
    return min(values) > 0 and max(values) > LOG_RANGE * usual


def _y_scale(values: Sequence[float], limits: tuple[float | None, float | None], is_log: bool) -> Scale:
    if is_log and min(values) > 0:
        low, high = min(values), max(values)
        low, high = (low / 2, high * 2) if high < 2 * low else (low / 1.2, high * 1.2)
        return Scale(low, high, HEIGHT - BOTTOM, TOP, is_log=True)
    low = min(values) if limits[0] is None else limits[0]
    high = max(values) if limits[1] is None else limits[1]
    if not high > low:
        high = low + (abs(low) or 1)
    room = 0.04 * (high - low)
    return Scale(
        low if limits[0] is not None else low - room, high if limits[1] is not None else high + room,
        HEIGHT - BOTTOM, TOP,
    )  # fmt: skip


def _grid(horizontal: Scale, vertical: Scale, x_name: str) -> list[Html]:
    parts = []
    for value in _log_ticks(vertical) if vertical.is_log else ticks(vertical.low, vertical.high):
        y = vertical(value)
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
        parts.append(tag("text", _shown(value), x=LEFT - 6, y=y + 4, text_anchor="end"))
    for value in ticks(horizontal.low, horizontal.high, 7):
        if value == value // 1:
            parts.append(tag("text", f"{value:.0f}", x=horizontal(value), y=HEIGHT - BOTTOM + 15, text_anchor="middle"))
    parts.append(tag("text", x_name, x=WIDTH - RIGHT, y=HEIGHT - 4, text_anchor="end", class_="dim"))
    return parts


def _log_ticks(scale: Scale) -> list[float]:
    first, last = math.floor(math.log10(scale.low)), math.ceil(math.log10(scale.high))
    steps = (1, 2, 5) if last - first <= 2 else (1,)
    every = max(1, (last - first) // 6)
    found = [step * 10.0**power for power in range(first, last + 1, every) for step in steps]
    return [value for value in found if scale.low <= value <= scale.high]


def _drawn(line: Line, horizontal: Scale, vertical: Scale) -> list[Html]:
    """The line's unbroken parts, and points where it has few."""
    parts: list[list[str]] = [[]]
    points = [(x, y) for x, y in zip(line.xs, line.ys, strict=True)]
    breaks = sorted(line.breaks)
    for number, (x, y) in enumerate(points):
        is_break = number and bisect_right(breaks, points[number - 1][0]) < bisect_right(breaks, x)
        if y is None or is_break:
            parts.append([])
        if y is not None:
            parts[-1].append(f"{horizontal(x)} {vertical(y)}")
    path = "".join("M" + "L".join(part) for part in parts if part)
    drawn = [tag("path", d=path, class_=f"line {line.name}")]
    if len(points) <= 40:
        dots = [place.split() for part in parts for place in part]
        drawn += [tag("circle", cx=x, cy=y, r=2.2, class_=f"dot {line.name}") for x, y in dots]
    return drawn


def _bands(lines: Sequence[Line], horizontal: Scale, unit: str, x_name: str) -> list[Html]:
    """Invisible columns that show the values of a place when the pointer is over them."""
    xs = sorted({x for line in lines for x in line.xs})
    if len(xs) > MOST_BANDS:
        return []
    edges = [LEFT, *(round((horizontal(a) + horizontal(b)) / 2, 1) for a, b in pairwise(xs)), WIDTH - RIGHT]
    found = [dict(zip(line.xs, line.ys, strict=True)) for line in lines]
    bands = []
    for x, (start, end) in zip(xs, pairwise(edges), strict=True):
        values = [(line.label, of.get(x)) for line, of in zip(lines, found, strict=True)]
        shown = [f"{label}: {_shown(value)} {unit}".strip() for label, value in values if value is not None]
        place = {"x": start, "y": TOP, "width": round(max(0.1, end - start), 1), "height": HEIGHT - TOP - BOTTOM}
        words = tag("title", "\n".join([f"{x_name} {x:g}", *shown]))
        bands.append(tag("g", tag("rect", **place, class_="band"), words))
    return bands


def _shown(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 and abs(value) < 1e7 else f"{value:.4g}"


def _svg(parts: Sequence[Html], title: str) -> Html:
    return tag("svg", joined(parts), viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=title)


def binned(points: Sequence[tuple[int, float]], edges: Sequence[float]) -> list[float | None]:
    """The means of the values whose steps are in (edges[i], edges[i+1]]; None where there are none."""
    sums, counts = [0.0] * (len(edges) - 1), [0] * (len(edges) - 1)
    for step, value in points:
        place = min(len(counts) - 1, max(0, bisect_right(edges, step - 0.5) - 1))
        sums[place] += value
        counts[place] += 1
    return [total / count if count else None for total, count in zip(sums, counts, strict=True)]
