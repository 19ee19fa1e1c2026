"""The time probe on the console, and its files time_probe.csv and time_probe_per_class.csv."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich import box
from rich.markup import escape
from rich.table import Table

from common.logs import LOG, log_table
from common.text import printable, shortened
from evaluate.probing.time_probe import FORWARDS, REVERSED, SHUFFLED, ClassProbe, TimeProbe
from evaluate.results.bootstrap import ScoreInterval
from evaluate.results.folder import Addition
from evaluate.results.tables import write_csv

FILE, PER_CLASS_FILE = "time_probe.csv", "time_probe_per_class.csv"
COMPARED = ("top1", "mean_class", "loss")
COLUMNS = (
    "condition", "videos",
    *(f"{score}{part}" for score in COMPARED for part in ("", "_difference", "_low", "_high")),
    "open_gates", "open_gates_difference", "videos_changed", "mean_factor",
)  # fmt: skip
MOST_CLASSES = 20  # on the console; all are in the file
MOST_NAME = 40  # characters of a class name there


def write_time_probe(folder: Path, probe: TimeProbe) -> None:
    """Write both files to a folder. DataError if they cannot be written."""
    write_csv(folder / FILE, [COLUMNS, *condition_rows(probe)])
    names = [each.name for each in probe.conditions]
    columns = ("class", "videos", *names, "reversed_as", "reversed_as_percent")
    write_csv(folder / PER_CLASS_FILE, [columns, *class_rows(probe)])


def addition_of(probe: TimeProbe) -> Addition:
    """The probe as a part of an evaluation's folder."""
    write, show = partial(write_time_probe, probe=probe), partial(show_time_probe, probe)
    return Addition("time_probe", probe.entry(), write, show)


def show_time_probe(probe: TimeProbe) -> None:
    """Log both tables, what is missing, and the conclusion."""
    log_table(condition_table(probe))
    log_table(class_table(probe))
    _tell_limits(probe)
    LOG.info("%s", probe.conclusion())


def _tell_limits(probe: TimeProbe) -> None:
    """Log what is missing from the probe, and how far intervals could change."""
    for name, reason in probe.left_out.items():
        LOG.info("%s is left out: %s", name, reason)
    for each in probe.conditions:
        if each.change:
            LOG.info(
                "%s: the interval changes in %d of %d videos by half of the way or more; %.2f times on average",
                each.name, each.change.videos, each.change.of, each.change.factor,
            )  # fmt: skip
    for line in probe.warnings():
        LOG.warning("time probe: %s", line)
    if probe.unread:
        LOG.warning("the time probe leaves out %d videos that could not be read in each condition", probe.unread)


def condition_rows(probe: TimeProbe) -> list[tuple[object, ...]]:
    """A row a condition with the columns COLUMNS: percent, but for the loss; differences against forwards."""
    rows: list[tuple[object, ...]] = []
    forwards = probe.conditions[0]
    for each in probe.conditions:
        row: list[object] = [each.name, probe.videos]
        for score in COMPARED:
            difference = each.differences[score]
            ends = (difference.value, difference.low, difference.high)
            row += [_number(each.scores[score]), *("" if each.name == FORWARDS else _number(end) for end in ends)]
        gates = each.mean_open_gates
        more = gates - forwards.mean_open_gates
        row += [_number(gates), "" if each.name == FORWARDS else _number(more)]
        row += [each.change.videos, _number(each.change.factor)] if each.change else ["", ""]
        rows.append(tuple(row))
    return rows


def class_rows(probe: TimeProbe) -> list[tuple[object, ...]]:
    """A row a class, in class order: top-1 in percent in each condition, and what its reversed videos are taken for."""
    rows: list[tuple[object, ...]] = []
    for each in probe.classes:
        share = _number(100 * each.reversed_times / each.videos) if each.videos else ""
        rows.append((each.name, each.videos, *map(_number, each.top1.values()), each.reversed_as, share))
    return rows


def condition_table(probe: TimeProbe) -> Table:
    """The conditions: scores, the points of top-1 against forwards, and open gates."""
    has_gates = bool(probe.conditions[0].open_gates)
    table = _table(f"Time probe on {probe.videos} videos")
    table.add_column("", no_wrap=True)
    for heading in ("top-1\n(%)", "against forwards\n(95 % interval)", "mean-class\n(%)", "loss"):
        table.add_column(heading, justify="right", no_wrap=True)
    if has_gates:
        table.add_column("open\ngates (%)", justify="right", no_wrap=True)
    for each in probe.conditions:
        difference = "" if each.name == FORWARDS else _interval(each.differences["top1"])
        values = (f"{each.scores['top1']:.2f}", difference, f"{each.scores['mean_class']:.2f}")
        gates = [f"{each.mean_open_gates:.2f}"] if has_gates else []
        table.add_row(each.name.replace("_", " "), *values, f"{each.scores['loss']:.4f}", *gates)
    return table


def class_table(probe: TimeProbe) -> Table:
    """The classes, at most MOST_CLASSES: those that reversal or shuffling costs most."""
    shown = shown_classes(probe.classes)
    with_videos = sum(each.videos > 0 for each in probe.classes)
    title = "Top-1 (%) by class"
    table = _table(
        title if len(shown) == with_videos else f"{title}: the {len(shown)} that lose most, of {with_videos}"
    )
    table.add_column("class", overflow="fold")
    names = [name for name in (FORWARDS, REVERSED, SHUFFLED) if name in probe.classes[0].top1]
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("reversed videos\nare mostly taken for", overflow="fold")
    for each in shown:
        taken = f"{_name(each.reversed_as)} ({100 * each.reversed_times / each.videos:.0f} %)"
        table.add_row(_name(each.name), *(f"{each.top1[name]:.1f}" for name in names), taken)
    return table


def shown_classes(classes: Sequence[ClassProbe]) -> list[ClassProbe]:
    """In class order, those with videos; if they are too many, those that lose most."""
    with_videos = [each for each in classes if each.videos]

    def cost(each: ClassProbe) -> float:
        return each.top1[FORWARDS] - min(each.top1[REVERSED], each.top1.get(SHUFFLED, each.top1[REVERSED]))

    chosen = sorted(with_videos, key=cost, reverse=True)[:MOST_CLASSES]
    return [each for each in with_videos if each in chosen] if len(with_videos) <= MOST_CLASSES else chosen


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))


def _name(name: str) -> str:
    return escape(shortened(printable(name), MOST_NAME))


def _interval(each: ScoreInterval) -> str:
    if each.low != each.low:
        return f"{each.value:+.2f}"
    return f"{each.value:+.2f} ({each.low:+.2f} to {each.high:+.2f})"


def _number(value: float) -> str:
    return "" if value != value else f"{value:.4f}"
