"""A comparison on the console."""

import math
import sys
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from common.console import safe_console
from common.text import printable, shortened
from evaluate.comparison.about_differences import AboutDifference
from evaluate.comparison.comparing import LEVEL, Comparison, SideScore, shown_classes
from evaluate.results.bootstrap import ScoreInterval

WIDTH = 120  # of a file or pipe
WIDE = 118  # columns from which on a score and its interval stand in one line
NAMES = {"top1": ("top-1 (%)", 2), "top5": ("top-5 (%)", 2), "mean_class": ("mean-class (%)", 2), "loss": ("loss", 4)}
MOST_CLASSES = 20  # of the table; all are in the file
MOST_OPTIONS = 10
MOST_SEEDS = 6


def make_console() -> Console:
    """A console as wide as the terminal; 120 columns for a file or pipe, so that tables are not cut."""
    return safe_console() if sys.stdout.isatty() else safe_console(width=WIDTH)


def print_comparison(
    console: Console, a: Sequence[str], b: Sequence[str], comparison: Comparison, options: Sequence[AboutDifference]
) -> None:
    """Print the sides, scores, wins, classes and options; `a` and `b` are the names of the seeds' files."""
    for side, names in (("A", a), ("B", b)):
        for number, name in enumerate(names[:MOST_SEEDS]):
            _line(console, f"{side if not number else ' '}  {printable(name)}")
        if len(names) > MOST_SEEDS:
            _line(console, f"   and {len(names) - MOST_SEEDS} more")
    console.print()
    console.print(_score_table(comparison, " " if console.width >= WIDE else "\n"))
    _line(console, _wins(comparison))
    console.print()
    _print_classes(console, comparison)
    if options:
        console.print(_option_table(options[:MOST_OPTIONS]))
        if len(options) > MOST_OPTIONS:
            _line(console, f"and {len(options) - MOST_OPTIONS} more; --output writes all")
            console.print()


def interval_table(title: str, rows: Sequence[tuple[str, Mapping[str, ScoreInterval]]]) -> Table:
    """Scores with intervals: a row for each name, the last one of all; a column for each score."""
    table = _table(title)
    table.add_column("", overflow="fold")
    for text, _ in NAMES.values():
        table.add_column(f"{text}\n(95 % interval)", justify="right")
    for number, (name, scores) in enumerate(rows):
        cells = [_interval(scores[score], digits, "\n") for score, (_, digits) in NAMES.items()]
        table.add_row(escape(printable(name)), *cells, style="bold" if number == len(rows) - 1 else None)
    return table


def _line(console: Console, text: str) -> None:
    console.print(text, soft_wrap=True, highlight=False, markup=False)


def _table(title: str | None = None) -> Table:
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))


def _score_table(comparison: Comparison, between: str) -> Table:
    """`between` stands between a score and its interval or range."""
    table = _table(f"Scores on {comparison.videos} videos")
    table.add_column("", no_wrap=True)
    for side, seeds in zip(("A", "B"), comparison.seeds, strict=True):
        heading = f"{side}, mean ± sd\n(range of {seeds} seeds)" if seeds > 1 else f"{side}\n(95 % interval)"
        table.add_column(heading, justify="right")
    table.add_column("B - A\n(95 % interval)", justify="right")
    for name, (text, digits) in NAMES.items():
        score = comparison.scores[name]
        cells = [_side(each, digits, between) for each in (score.a, score.b)]
        table.add_row(text, *cells, _interval(score.difference, digits, between, sign="+"))
    return table


def _side(score: SideScore, digits: int, between: str) -> str:
    if score.interval:
        return _interval(score.interval, digits, between)
    if not math.isfinite(score.mean):
        return f"{score.mean}"
    spread = f"{score.mean:.{digits}f} ± {score.deviation:.{digits}f}"
    return f"{spread}{between}({min(score.seeds):.{digits}f} to {max(score.seeds):.{digits}f})"


def _interval(each: ScoreInterval, digits: int, between: str, sign: str = "") -> str:
    value = "-" if math.isnan(each.value) else f"{each.value:{sign}.{digits}f}"
    if each.low != each.low:
        return value
    return f"{value}{between}({each.low:{sign}.{digits}f} to {each.high:{sign}.{digits}f})"


def _wins(comparison: Comparison) -> str:
    found = comparison.discordant
    if comparison.seeds == (1, 1):
        return (
            f"Top-1: videos that A alone has right: {found.a_wins}, B alone: {found.b_wins}; "
            f"McNemar's exact test: p = {_p(found.p)}"
        )
    return (
        f"Top-1: videos that more of A's seeds have right: {found.a_wins}, of B's: {found.b_wins}; "
        "no test of these, as it would not cover seeds"
    )


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else f"{value:.1e}" if value else "below 1e-300"


def _print_classes(console: Console, comparison: Comparison) -> None:
    shown = shown_classes(comparison.classes, MOST_CLASSES)
    significant = sum(each.holm_p < LEVEL for each in comparison.classes)
    total = len(comparison.classes)
    if not shown:
        _line(console, f"No class differs in its top-1, of {total}.")
        return
    differ = sum(bool(each.discordant.a_wins or each.discordant.b_wins) for each in comparison.classes)
    title = f"Classes: {significant} of {total} differ significantly (p by Holm below {LEVEL})"
    if len(shown) < differ:
        title += f"; the {len(shown)} most different"
    _line(console, title + (": these networks, other seeds are not covered" if max(comparison.seeds) > 1 else ""))
    table = _table()
    table.add_column("class", overflow="fold")
    for heading in ("videos", "A top-1 %", "B top-1 %", "A wins", "B wins", "p", "p by Holm"):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in shown:
        wins = each.discordant
        style = "bold" if each.holm_p < LEVEL else None
        table.add_row(
            escape(shortened(printable(each.name), 50)), str(each.videos), f"{each.a:.2f}", f"{each.b:.2f}",
            str(wins.a_wins), str(wins.b_wins), _p(wins.p), _p(each.holm_p), style=style,
        )  # fmt: skip
    console.print(table)


def _option_table(options: Sequence[AboutDifference]) -> Table:
    table = _table("What else differs")
    table.add_column("", overflow="fold")
    table.add_column("A", overflow="fold")
    table.add_column("B", overflow="fold")
    for each in options:
        table.add_row(*(escape(printable(text)) for text in each))
    return table
