"""The table of scores that an evaluation prints."""

from collections.abc import Mapping
from typing import NamedTuple

from rich import box
from rich.markup import escape
from rich.table import Table

from evaluate.metrics import METRICS

Interval = tuple[float, float, float]


class _Form(NamedTuple):
    name: str
    unit: str
    digits: int


FORMS = {"mean_class": _Form("mean-class", "%", 2)}  # of scores that METRICS may lack


def score_table(
    scores: Mapping[str, Interval], by_clips: Mapping[int, Mapping[str, float]] | None = None, title: str = ""
) -> Table:
    """A row a metric: its value and 95 % interval, and its values with fewer clips.

    `scores` gives value, lowest and highest of each metric by the name that METRICS or the score files have; NaN is
    shown as "-". `by_clips` gives the values by the number of clips of each video: a column each.
    """
    # Two spaces between columns, and headings of two lines: six columns fit into 80 characters.
    table = Table(title=escape(title) or None, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("95 %\ninterval", justify="right", no_wrap=True)
    by_clips = by_clips or {}
    for clips in sorted(by_clips):
        table.add_column(f"{clips}\nclip" + "s" * (clips != 1), justify="right", no_wrap=True)
    for name, (value, low, high) in scores.items():
        form = _form(name)
        interval = f"{_number(low, form)} to {_number(high, form)}" if low == low and high == high else "-"
        fewer = [_number(by_clips[clips].get(name, float("nan")), form) for clips in sorted(by_clips)]
        table.add_row(
            escape(form.name + (f" ({form.unit})" if form.unit else "")), _number(value, form), interval, *fewer
        )
    return table


def _form(name: str) -> _Form:
    """How a metric is shown: METRICS has the text of its line in the log, such as `top-1 {}%`."""
    for metric in METRICS:
        if metric.name == name:
            before, _, after = metric.text.partition("{}")
            return _Form(before.strip(), after.strip(), metric.digits)
    return FORMS.get(name, _Form(name, "", 4))


def _number(value: float, form: _Form) -> str:
    if value != value:
        return "-"
    digits = min(form.digits, 3) if abs(value) >= 10 else form.digits  # a large loss is no wider than a small one
    return f"{value:.{digits}f}" if abs(value) < 1000 else f"{value:.1e}"
