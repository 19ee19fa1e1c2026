"""Draws the SRTG block in a residual block: python -m figures.draw_block --output figures/srtg_block.png"""

from pathlib import Path

import matplotlib

from common.cli import CommandParser, run_command
from common.files import atomic_file, check_output

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch

INK, FAINT, RED = "#22313f", "#66757f", "#c0392b"
CONV, SQUEEZE, RECURSION, GATE, PRODUCT = "#e3e9ee", "#cfe8dc", "#d3e2f6", "#fbe5bf", "#f6d0c9"

Point = tuple[float, float]


def write(
    axes: Axes, at: Point, text: str, size: float = 10, align: str = "center", colour: str = INK, weight: str = "normal"
) -> None:
    """Write text at a point, aligned as `align` says."""
    axes.text(*at, text, ha=align, va="center", fontsize=size, color=colour, weight=weight, zorder=6)


def box(axes: Axes, centre: Point, size: Point, title: str, colour: str, note: str = "") -> None:
    """A rounded box with a title and, below it, a smaller note."""
    (x, y), (width, height) = centre, size
    axes.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - height / 2),
            width,
            height,
            boxstyle=f"round,pad=0,rounding_size={min(0.14, height / 4)}",
            facecolor=colour,
            edgecolor=INK,
            linewidth=1.0,
            zorder=3,
        )
    )
    write(axes, (x, y + (0.17 if note else 0)), title, 11, weight="bold")
    write(axes, (x, y - 0.2), note, 8.5)


def operator(axes: Axes, centre: Point, sign: str, colour: str) -> None:
    """A circle with the sign of an operation."""
    axes.add_patch(Circle(centre, 0.28, facecolor=colour, edgecolor=INK, linewidth=1.0, zorder=3))
    write(axes, (centre[0], centre[1] - 0.01), sign, 15)


def arrow(axes: Axes, *points: Point, colour: str = INK, width: float = 1.4, dashed: bool = False) -> None:
    """An arrow through points."""
    style = (0, (4, 2.5)) if dashed else "solid"
    xs, ys = zip(*points, strict=True)
    axes.plot(xs[:-1], ys[:-1], color=colour, linewidth=width, linestyle=style, zorder=2)
    axes.add_patch(
        FancyArrowPatch(
            *points[-2:],
            arrowstyle="-|>",
            mutation_scale=8 * width**0.5,
            color=colour,
            linewidth=width,
            linestyle=style,
            shrinkA=0,
            shrinkB=0,
            zorder=5,
        )
    )


def draw_residual_block(axes: Axes) -> None:
    """The residual block: two convolutions and a shortcut."""
    y = 7.0
    write(axes, (0.1, y + 1.9), "Residual block", 12.5, "left", weight="bold")
    write(axes, (0.1, y - 0.3), "(B, C', T', H', W')", 9.5, "left", colour=FAINT)
    arrow(axes, (0.1, y), (1.9, y))
    box(axes, (2.8, y), (1.8, 1.0), "conv 1", CONV, "3×3×3, BN, ReLU")
    arrow(axes, (3.7, y), (4.3, y))
    box(axes, (5.2, y), (1.8, 1.0), "conv 2", CONV, "3×3×3, BN")
    arrow(axes, (6.1, y), (6.57, y))
    operator(axes, (6.85, y), "+", "white")
    arrow(axes, (7.13, y), (7.55, y))
    box(axes, (8.05, y), (1.0, 0.7), "ReLU", CONV)
    arrow(axes, (1.5, y), (1.5, y + 1.25), (6.85, y + 1.25), (6.85, y + 0.28))
    box(axes, (4.2, y + 1.25), (3.6, 0.85), "shortcut", "white", "1×1×1, BN where the shape changes")


def draw_srtg(axes: Axes) -> None:
    """Squeeze, recursion, gate and product: what SRTG adds after addition and ReLU."""
    axes.add_patch(
        FancyBboxPatch(
            (8.95, 0.35),
            7.2,
            7.6,
            boxstyle="round,pad=0,rounding_size=0.25",
            facecolor="#f8fafb",
            edgecolor=FAINT,
            linewidth=1.0,
            linestyle=(0, (5, 3)),
            zorder=0,
        )
    )
    write(axes, (12.55, 8.3), "Squeeze and Recursion Temporal Gate", 12.5, weight="bold")
    arrow(axes, (8.55, 7.0), (14.72, 7.0))
    write(axes, (12.4, 7.3), "x  (B, C, T, H, W)", 10, colour=FAINT)
    operator(axes, (15.0, 7.0), "×", PRODUCT)
    write(axes, (15.0, 7.55), "per frame and channel", 8.5)
    arrow(axes, (15.28, 7.0), (17.6, 7.0))
    write(axes, (16.3, 7.3), "(B, C, T, H, W)", 10, "left", colour=FAINT)

    arrow(axes, (10.4, 7.0), (10.4, 6.2))
    box(axes, (10.4, 5.7), (2.3, 1.0), "squeeze", SQUEEZE, "mean over H and W")
    arrow(axes, (10.4, 5.2), (10.4, 3.65))
    write(axes, (10.25, 4.75), "a  (T, B, C)", 10, "right", colour=FAINT)
    draw_recursion(axes, (11.55, 2.15))
    arrow(axes, (13.95, 2.15), (15.0, 2.15), (15.0, 3.85))
    write(axes, (14.85, 3.2), "a*", 10, "right", colour=FAINT)
    write(axes, (15.15, 3.2), "(T, B, C)", 10, "left", colour=FAINT)
    arrow(axes, (10.4, 4.4), (14.05, 4.4), dashed=True)
    box(axes, (15.0, 4.4), (1.9, 1.1), "temporal\ngate", GATE)
    arrow(axes, (15.0, 4.95), (15.0, 6.72))
    write(axes, (14.85, 6.05), "open  a*", 10, "right")
    write(axes, (14.85, 5.65), "closed  1 ", 10, "right")


def draw_recursion(axes: Axes, centre: Point) -> None:
    """The two-layer LSTM, unrolled over four frames; time goes to the right."""
    x, y = centre
    box(axes, centre, (4.8, 3.0), "", RECURSION)
    write(axes, (x, y - 1.2), "recursion: 2-layer LSTM of width C", 11, weight="bold")
    steps = [x - 1.65 + 1.1 * step for step in range(4)]
    rows = (y - 0.2, y + 0.6)
    for step, column in enumerate(steps):
        for layer, row in enumerate(rows, start=1):
            box(axes, (column, row), (0.62, 0.4), "", "white")
            write(axes, (column, row), f"layer {layer}", 7)
            if step:
                arrow(axes, (steps[step - 1] + 0.31, row), (column - 0.31, row), width=1)
        arrow(axes, (column, rows[0] - 0.45), (column, rows[0] - 0.2), width=1)
        arrow(axes, (column, rows[0] + 0.2), (column, rows[1] - 0.2), width=1)
        arrow(axes, (column, rows[1] + 0.2), (column, rows[1] + 0.5), width=1)
        write(axes, (column, rows[0] - 0.6), f"$a_{step + 1}$", 9)
        write(axes, (column, rows[1] + 0.65), f"$a^*_{step + 1}$", 9)


def draw_cycles(axes: Axes) -> None:
    """How the gate decides: a consistent and an inconsistent clip of four frames."""
    write(axes, (0.1, 5.0), "When is a clip's gate open?", 11, "left", weight="bold")
    lines = (
        "Each frame of a looks for its soft nearest neighbour in a*, and from there",
        "for the nearest frame of a. If every frame comes back to itself, and every",
        "frame of a* does so through a, the gate is open. Without gates, all are.",
    )
    for number, line in enumerate(lines):
        write(axes, (0.1, 4.55 - 0.36 * number), line, 9.5, "left")
    draw_cycle(axes, 0.9, (0, 1, 2, 3), "open")
    draw_cycle(axes, 5.1, (0, 2, 2, 3), "closed")


def draw_cycle(axes: Axes, left: float, returns: tuple[int, ...], verdict: str) -> None:
    """Four frames a above their recursions a*; from frame t an arrow goes down to a* and up to frame returns[t]."""
    top, bottom, spread = 2.75, 1.35, 0.8
    for frame, back in enumerate(returns):
        x, home = left + spread * frame, left + spread * back
        landing = (x + home) / 2
        colour = INK if back == frame else RED
        # An arrow to another frame ends beside that frame's own arrow.
        aside = 0.07 if back == frame else -0.2
        arrow(axes, (x - 0.07, top - 0.17), (landing - 0.07, bottom + 0.2), colour=colour, width=1.1)
        arrow(axes, (landing + 0.07, bottom + 0.2), (home + aside, top - 0.17), colour=colour, width=1.1)
        if back != frame:
            axes.plot(landing, bottom, marker="D", markersize=5, color=RED, zorder=4)
        axes.add_patch(Circle((x, top), 0.15, facecolor=SQUEEZE, edgecolor=INK, linewidth=0.9, zorder=4))
        axes.add_patch(Circle((x, bottom), 0.15, facecolor=RECURSION, edgecolor=INK, linewidth=0.9, zorder=4))
    write(axes, (left - 0.45, top), "a")
    write(axes, (left - 0.45, bottom), "a*")
    write(axes, (left + 1.5 * spread, 0.8), verdict, 11, weight="bold", colour=RED if verdict == "closed" else INK)


def main() -> int:
    """Write the picture that --output names."""
    parser = CommandParser(prog="python -m figures.draw_block", description="Draw the SRTG block.")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the PNG file to write")
    output = parser.parse_args().output
    check_output(output, [".png"], "--output")
    figure, axes = plt.subplots(figsize=(17.7 * 0.88, 8.9 * 0.88))
    axes.set(xlim=(0, 17.7), ylim=(0, 8.9), aspect="equal")
    axes.axis("off")
    draw_residual_block(axes)
    draw_srtg(axes)
    draw_cycles(axes)
    write(axes, (0.1, 0.1), "B clips, C channels, T frames of H×W pixels", 9.5, "left", colour=FAINT)
    with atomic_file(output) as temporary:
        figure.savefig(temporary, format="png", dpi=125, bbox_inches="tight", pad_inches=0.15)
    return 0


if __name__ == "__main__":
    run_command(main)
