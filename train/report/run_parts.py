"""The sections of the page about the run: its head, plan, curves, data, command, options and files."""

import math
import os
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import PurePath
from typing import NamedTuple

from train.checkpoint.checks import is_scalar
from train.report.charts import Line, binned, heat_map, line_chart
from train.report.evaluation_files import EvaluationFiles, Scores, Value
from train.report.markup import Html, facts, joined, table, tag, warned
from train.report.problems import number
from train.report.run_files import GATES, WAITING, RunFiles, epoch_of_step, values_of
from train.schedule.learning import learning_warnings
from train.schedule.table import TIME_MODEL, plan_summary, rows

NAMES = {"top1": "top-1", "top5": "top-5", "mean_class": "mean class", "loss": "loss"}
BINS = 60  # columns of the map of gates, at most
MOST_CHANGES = 200  # of the validation, that are marked
INTERVAL = "95 % interval"
COMMITS = ("git", "commit", "git_commit")


class Section(NamedTuple):
    """A part of the page; without content it is only said why."""

    key: str
    title: str
    content: Html
    why_not: str = ""


def head(run: RunFiles, evaluations: Sequence[EvaluationFiles]) -> Html:
    """Name, network, dataset and times of the run, and its scores."""
    options, network = run.options, run.network
    what = [network.get("name"), f"gates {'on' if network.get('gates') else 'off'}" if "gates" in network else None]
    classes = run.plain.get("classes")
    data = str(options.get("dataset") or "").rstrip("/").rpartition("/")[2]
    pairs = [
        ("network", ", ".join(str(each) for each in what if each) or None),
        ("dataset", " ".join(filter(None, (data, str(options.get("variant") or "")))) or None),
        ("classes", len(classes) if isinstance(classes, list) else None),
        ("epochs", _epochs_done(run)),
        ("began", date_of(run.began)),
        ("last entry", date_of(run.ended)),
        ("duration", _duration(sum(value or 0 for value in values_of(run.train, "seconds")))),
    ]
    cards = [_evaluation_card(evaluations[0], options.get("dataset"))] if evaluations else []
    cards += _epoch_cards(run)
    none = tag("p", "No scores yet: neither an evaluation nor the validation of an epoch.", class_="dim")
    return joined((
        tag("h1", run.folder.resolve().name),
        facts((name, value) for name, value in pairs if value is not None),
        tag("div", *cards, class_="cards") if cards else none,
    ))  # fmt: skip


def plan_section(run: RunFiles) -> Section:
    """The phases of the schedule."""
    plan = run.plan
    if plan is None:
        return Section("plan", "Plan", Html(""), run.no_plan)
    total = sum(map(plan.pixels_of, plan.phases))
    lines = []
    for group in rows(plan):
        phase, crops = group[0], [step.shape.height for step in group[0].short_cycle]
        rates = [f"{each.lr:.4g}" for each in group]
        if not plan.lr_schedule.uses_lr_steps:
            rates = [f"{phase.lr:.3g} to {plan.scheduled_lr(group[-1], group[-1].last_epoch):.2g}"]
        steps = sum(each.num_epochs * plan.steps_per_epoch(each) for each in group)
        lines.append((
            phase.name, f"{phase.first_epoch} to {group[-1].last_epoch}", phase.frames, _alternating(crops),
            _alternating(phase.batch_sizes), ", ".join(rates), f"{steps:,}",
            f"{sum(map(plan.pixels_of, group)) / total:.1%}" if total else "",
        ))  # fmt: skip
    heads = ("phase", "epochs", "frames", "crop", "batch", "learning rate", "steps", "time")
    said = [*plan_summary(plan), *learning_warnings(plan), TIME_MODEL]
    notes = tag("ul", *(tag("li", line) for line in said), class_="dim notes")
    return Section("plan", "Plan", joined((table(heads, lines, right=range(1, len(heads))), notes)))


def curves_section(run: RunFiles) -> Section:
    """Scores, learning rate and speeds over the epochs."""
    if not (run.train or run.val):
        return Section("curves", "Curves", Html(""), "no epoch has been finished, or its score files are not there")
    marks = _marks(run)
    figures = [
        line_chart("Loss", _score_lines(run, "loss"), limits=(0, None), marks=marks),
        line_chart("Top-1", _score_lines(run, "top1"), "%", (0, 100), marks),
        line_chart("Mean-class accuracy", _score_lines(run, "mean_class"), "%", (0, 100), marks),
        line_chart("Learning rate of the last step", [_line(run, "lr", "learning rate")], marks=marks, is_log=True),
        line_chart("Speed, validation included", [_speed_line(run)], "clips/s", (0, None)),
        line_chart("Waiting for data", [_waiting_line(run)], "%", (0, 100)),
    ]
    changes = run.changes
    notes = [
        f"Validated on other {what} from epoch {run.val[row]['epoch']} on: scores before cannot be compared."
        for row, what in changes.items()
        if len(changes) <= MOST_CHANGES
    ]
    if len(changes) > MOST_CHANGES:
        notes.append(f"The validation changed {len(changes):,} times, which is not marked: scores cannot be compared.")
    if marks:
        notes.append("Dotted lines: the ends of the plan's phases, and changes of the validation.")
    if WAITING not in run.scalars:
        notes.append("Without TensorBoard's files the share of time spent waiting for data is not known.")
    said = tag("ul", *(tag("li", note) for note in notes), class_="dim notes") if notes else None
    return Section("curves", "Curves", joined((warned(run.mixed), tag("div", *figures, class_="charts"), said)))


def gates_section(run: RunFiles) -> Section:
    """The share of open gates of each block over the steps."""
    blocks = {name[len(GATES) :]: points for name, points in run.scalars.items() if name.startswith(GATES)}
    if not blocks:
        has_gates = run.network.get("gates")
        why = "TensorBoard's files with them are not there" if has_gates else "the network has no gates"
        return Section("gates", "Gates over training", Html(""), why)
    steps = sorted({step for points in blocks.values() for step, _, _ in points})
    number_of_bins = min(BINS, len(steps))
    edges = [0.0] + [float(steps[(len(steps) * (place + 1)) // number_of_bins - 1]) for place in range(number_of_bins)]
    names = sorted(blocks, key=lambda name: [(len(part), part) for part in name.split(".")])
    columns = [_step_name(run, int(step)) for step in edges[1:]]
    shares = [binned([(step, value) for step, value, _ in blocks[name]], edges) for name in names]
    drawing = heat_map("Share of open gates in each block, the newest at the right", names, columns, shares)
    return Section("gates", "Gates over training", drawing)


def command_section(run: RunFiles) -> Section:
    """Command, options, versions and commit."""
    facts_of, options = run.facts, run.options
    command = facts_of.get("command")
    parts = [warned(run.others)] if run.others else []
    if isinstance(command, list) and command:
        parts.append(tag("pre", shlex.join(["python", *(str(word) for word in command if is_scalar(word))])))
    given = options.get("given")
    given = [str(name) for name in given if str(name) in options] if isinstance(given, list) else []
    if given:
        parts.append(tag("h3", "Options given, by flags or by --recipe"))
        parts.append(facts(((_flag(name), _shown(options[name])) for name in given), "columns"))
    others = [(_flag(name), _shown(value)) for name, value in options.items() if name not in (*given, "given")]
    if others:
        what = "Other options, with the script's defaults" if given else "All options"
        parts.append(tag("details", tag("summary", f"{what} ({len(others)})"), facts(others, "columns")))
    pairs = [(name, _shown(value)) for name, value in run.versions.items()]
    pairs += [("commit", str(facts_of[name])) for name in COMMITS if facts_of.get(name) and is_scalar(facts_of[name])]
    if pairs:
        parts += [tag("h3", "Versions"), facts(pairs)]
    why = "" if parts else "there is no options.json that can be read"
    return Section("command", "Command, options and versions", joined(parts), why)


def checkpoints_section(run: RunFiles) -> Section:
    """The files of weights."""
    if not run.checkpoints:
        return Section("checkpoints", "Checkpoints", Html(""), "there are no files of weights")
    lines = [
        (file.name, f"{file.size / 2**20:,.1f} MiB", date_of(from_stamp(file.time)) or "") for file in run.checkpoints
    ]
    total = sum(file.size for file in run.checkpoints) / 2**30
    said = tag("p", f"{_counted(len(lines), 'file')}, {total:.2f} GiB in {run.folder.resolve()}", class_="dim")
    return Section(
        "checkpoints", "Checkpoints", joined((table(("file", "size", "written"), lines, "plain", right=(1, 2)), said))
    )


def cards_of(scores: Scores) -> list[Html]:
    """The scores of an evaluation or epoch as large numbers, with their intervals."""
    found = []
    for name, value in sorted(scores.items(), key=lambda item: list(NAMES).index(item[0])):
        unit = "" if name == "loss" else " %"
        shown = f"{value.value:.3f}" if name == "loss" else f"{value.value:.1f}"
        interval = None
        if value.low is not None and value.high is not None:
            interval = tag("small", f"{value.low:.1f} to {value.high:.1f}", title=INTERVAL)
        number_ = tag("span", shown, tag("i", unit), class_="big")
        found.append(tag("div", number_, interval, tag("span", NAMES.get(name, name), class_="dim")))
    return found


def _evaluation_card(evaluation: EvaluationFiles, dataset: object) -> Html:
    clips, crops = evaluation.views
    title = f"newest evaluation: {evaluation.split}, {clips} × {crops} views"
    scores = {name: value for name, value in evaluation.best_scores.items() if name in NAMES and name != "loss"}
    numbers = cards_of(scores) or [tag("p", "its summary.json has no scores", class_="dim")]
    checkpoint = evaluation.summary.get("checkpoint")
    checkpoint = checkpoint.get("path", checkpoint.get("file")) if isinstance(checkpoint, Mapping) else checkpoint
    file = checkpoint.rpartition("/")[2] if isinstance(checkpoint, str) else None
    about = " · ".join(filter(None, (file, _videos(evaluation.summary), other_dataset(evaluation, dataset))))
    of = tag("p", about, class_="dim") if about else None
    shown = tag("div", *numbers, class_="numbers")
    return tag("div", tag("h2", title), shown, of, warned(evaluation.warnings), class_="card")


def other_dataset(evaluation: EvaluationFiles, dataset: object) -> str | None:
    """The dataset of the evaluation, if it is another than that of the run. A relative path may be the same."""
    own = evaluation.summary.get("dataset")
    if not isinstance(own, str) or not isinstance(dataset, str) or not own or not dataset:
        return None
    a, b = (_parts(each) for each in (own, dataset))
    shorter = min(len(a), len(b))
    if a[len(a) - shorter :] == b[len(b) - shorter :]:
        return None
    return f"on another dataset than the run's: {own if a[-1] == b[-1] else a[-1]}"


def _parts(path: str) -> tuple[str, ...]:
    return tuple(part for part in PurePath(os.path.normpath(path)).parts if part != "..")


def _epoch_cards(run: RunFiles) -> list[Html]:
    """The validation of the best epoch: the best since the validation changed last."""
    name, is_lower_better = _best_by(run)
    start = max(run.changes, default=0)
    found = [(value, row) for row, value in enumerate(values_of(run.val, name)) if row >= start and value is not None]
    if not found:
        return []
    sign = -1 if is_lower_better else 1
    _, best = max(found, key=lambda pair: (sign * pair[0], -pair[1]))
    row = run.val[best]
    scores = {each: Value(value) for each in NAMES if (value := number(row.get(each))) is not None and each != "loss"}
    title = f"best epoch in training: {row['epoch']}"
    said = f"{_counted(row['clips_per_video'], 'clip')} a video" if row.get("clips_per_video") else None
    about = " · ".join(filter(None, (f"by {NAMES.get(name, name)}", said, _videos(row))))
    numbers = tag("div", *cards_of(scores), class_="numbers")
    return [tag("div", tag("h2", title), numbers, tag("p", about, class_="dim"), class_="card")]


def _best_by(run: RunFiles) -> tuple[str, bool]:
    """The column of scores_val.csv by which the run chooses its best epoch, and whether lower is better."""
    chosen = str(run.options.get("best_by") or "top1").replace("-", "_").replace("top_1", "top1").removeprefix("val_")
    columns = run.val[0].keys() if run.val else ()
    return (chosen, chosen == "loss") if chosen in columns else ("top1", False)


def _videos(row: Mapping[str, object]) -> str | None:
    count = number(row.get("videos"))
    return None if count is None else _counted(f"{count:,.0f}", "video")


def _counted(count: object, what: str) -> str:
    return f"{count} {what}" + ("" if str(count) == "1" else "s")


def _epochs_done(run: RunFiles) -> str | None:
    done = max((value or 0 for value in values_of(run.train, "epoch")), default=0)
    if run.plan is None:
        return f"{done:.0f}" if done else None
    return f"{done:.0f}" if done >= run.plan.num_epochs else f"{done:.0f} of {run.plan.num_epochs} so far"


def _marks(run: RunFiles) -> list[tuple[float, str]]:
    """Where the plan's phases end, between two epochs, and where the validation is another."""
    plan, marks = run.plan, []
    if plan is not None and len(plan.phases) <= 24:
        done = max((value or 0 for value in values_of(run.train, "epoch")), default=0)
        ends = {phase.last_epoch: phase for phase in plan.phases}
        marks = [(end + 0.5, f"phase {phase.name} ends") for end, phase in ends.items() if end < done]
    epochs = values_of(run.val, "epoch")
    changes = run.changes if len(run.changes) <= MOST_CHANGES else {}
    return marks + [((epochs[row] or 0) - 0.5, f"validated on other {what}") for row, what in changes.items()]


def _score_lines(run: RunFiles, column: str) -> list[Line]:
    epochs = values_of(run.val, "epoch")
    breaks = [(epochs[row] or 0) - 0.5 for row in run.changes]
    lines = [_line(run, column, "training", "train")]
    val = values_of(run.val, column)
    return [*lines, Line("val", "validation", [epoch or 0 for epoch in epochs], val, breaks)]


def _line(run: RunFiles, column: str, label: str, name: str = "other") -> Line:
    return Line(name, label, [epoch or 0 for epoch in values_of(run.train, "epoch")], values_of(run.train, column))


def _speed_line(run: RunFiles) -> Line:
    line = _line(run, "clips", "training")
    seconds = values_of(run.train, "seconds")
    speeds = [
        clips / time if clips is not None and time else None for clips, time in zip(line.ys, seconds, strict=True)
    ]
    return line._replace(ys=speeds)


def _waiting_line(run: RunFiles) -> Line:
    """The mean of each epoch's reports."""
    line = _line(run, "step", "training")
    points = [(step, 100 * value) for step, value, _ in run.scalars.get(WAITING, []) if math.isfinite(value)]
    steps = [step for step in line.ys if step is not None]
    if not points or not steps or len(steps) < len(line.ys) or sorted(set(steps)) != steps:
        return line._replace(ys=[None] * len(line.xs))
    return line._replace(ys=binned(points, [0.0, *steps]))


def _step_name(run: RunFiles, step: int) -> str:
    epoch = epoch_of_step(run, step)
    return f"step {step:,}" + (f", epoch {epoch:.4g}" if epoch is not None else "")


def _alternating(numbers: Sequence[int]) -> str:
    return str(numbers[0]) if len(set(numbers)) == 1 else "/".join(map(str, numbers))


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _shown(value: object) -> str:
    """An option; `RunFiles.options` has no nested ones, which Python may not show."""
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return "" if value is None else str(value)


def date_of(time: datetime | None) -> str | None:
    """A time for the page."""
    return None if time is None else time.strftime("%-d %B %Y, %H:%M")


def from_stamp(seconds: float) -> datetime | None:
    """The local time of seconds since 1970; None for a number that is no time."""
    try:
        return datetime.fromtimestamp(seconds)
    except (OverflowError, ValueError, OSError):
        return None


def _duration(seconds: float) -> str | None:
    if not 0 < seconds < 1e10:
        return None
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = timedelta(seconds=seconds) // timedelta(minutes=1)
    days, hours, rest = minutes // 1440, minutes // 60 % 24, minutes % 60
    words = [f"{days} d"] * bool(days) + [f"{hours} h"] * bool(hours or days) + [f"{rest} min"]
    return " ".join(words)
