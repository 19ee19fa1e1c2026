"""The scores of a run as CSV files, one row per epoch."""

import csv
import math
import shutil
from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from common.files import OtherFileError, atomic_file, free_name, open_plain_text, reason, write_errors
from common.logs import LOG
from common.text import quoted, shortened
from evaluate.metrics import Scores, all_metrics
from train.monitor.reported import (
    DIGITS,
    DIGITS_OF_OTHERS,
    LOSS,
    PERCENTAGES,
    SPLITS,
    Reported,
    other_scores,
    scores_in,
)
from train.monitor.reports import EpochReport, LogReport

Row = dict[str, object]
LARGEST = 2**23  # bytes; a row has about 100, and a hundred thousand take seconds to read


FILES = ("scores_train.csv", "scores_val.csv")
AVERAGES = "averages"
VALIDATION = {
    "clip": "clips",
    "interval": "clips",
    "clips_per_video": "clips",
    "crops_per_clip": "clips",
    "crop_scale": "clips",
    "video_list": "videos",
    "weights": AVERAGES,
}
"""The columns that say how and on what a validation was done, and what is another one if a value is."""
TEXTS = {"clip", "interval", "video_list", "weights"}
"""Of these columns, those that may hold no numbers: an interval is one, or a text such as 2@30."""


class Dropped(NamedTuple):
    """What `drop_rows` found."""

    copies: list[Path]
    """Files that were copied to `<name>.abandoned`."""
    own_steps: int | None
    """Where there were rows of another attempt: the steps of the run up to the first of them. Training's rows tell it,
    where there are some: those of a validation may have been edited alone."""


def drop_rows(folder: Path, first: int, keep_copies: bool, reported: Sequence[Reported] = ()) -> Dropped:
    """Drop the rows of a run's score files from epoch `first` on, as the run goes back to it. DataError.

    `reported` are the epochs that the run has finished, as `Progress` has them. From the first row on that has another
    loss, the rows of a file are of another attempt, such as a copy of the run from which the checkpoints are not: they
    are dropped, too. A warning names the epochs that are lacking then.
    With `keep_copies`, files that have rows to drop are copied to `<name>.abandoned` first; those of another attempt
    always are.
    In rows of this attempt, scores that it has not reported, such as edited ones, are written again, with a warning.
    """
    copies, own_steps, lost = [], dict[str, int | None](), dict[str, list[str]]()
    has_begun = any((folder / name).exists() for name in FILES)  # else the scores begin here, as in a new folder
    for split, path in zip(SPLITS, (folder / name for name in FILES), strict=True):
        entries = {entry[0]: entry for entry in reported if entry[0] < first}
        with write_errors(path):
            rows = {epoch_of(row): row for row in _read(path, set())}
            others = [
                epoch
                for epoch in rows.keys() & entries.keys()
                if LOSS in other_scores(rows[epoch], entries[epoch], split)
            ]
            begin = min(others, default=first)
            if rows:
                own_steps[split] = _steps_before(begin, rows) if others else None
            edited = _own_cells(rows, entries, split, begin)
            is_abandoned = (keep_copies or bool(others)) and max(rows, default=-1) >= begin
            if is_abandoned or edited:
                copy = free_name(path, "abandoned" if is_abandoned else "edited")
                shutil.copyfile(path, copy)
                copies += [copy] if is_abandoned else []
            if edited:
                _tell_edited(path, copy, edited)
                _write_rows(path, list(rows.values()))
            _replace_rows(path, begin, [])
        finished: Sequence[int] = sorted(epoch for epoch, entry in entries.items() if entry[SPLITS[split]] is not None)
        if not reported and split == "train":  # of an older version, which says no losses; it trained in each epoch
            finished = range(1, first)
        last = max((epoch for epoch in rows if epoch < begin), default=0)
        if has_begun and (after := finished[bisect_right(finished, last) :]):
            named = f"epoch {after[0]}" if len(after) == 1 else f"epochs {after[0]} to {after[-1]}"
            lost.setdefault(named, []).append(path.name)
    for named, names in lost.items():
        LOG.warning(
            "%s: no rows of %s of this run in %s: the rows are in the folder that the checkpoints came from, or could "
            "not be written",
            folder, named, " and ".join(names),
        )  # fmt: skip
    return Dropped(copies, own_steps.get("train", own_steps.get("val")))


def _steps_before(epoch: int, rows: Mapping[int, Row]) -> int:
    """The steps of the run before an epoch, as the row of the epoch before says; 0 if none tells."""
    before = max((each for each in rows if each < epoch), default=0)
    cell = str(rows[before].get("step", "")) if before in rows else ""
    return int(cell) if cell.isascii() and cell.isdecimal() and len(cell) < 19 else 0


def _own_cells(
    rows: Mapping[int, Row], entries: Mapping[int, Reported], split: str, first: int
) -> dict[int, list[str]]:
    """Put the run's scores in place of others in its rows before epoch `first`: {epoch: names of the scores}."""
    found = {}
    for epoch in sorted(rows.keys() & entries.keys()):
        if epoch < first and (names := other_scores(rows[epoch], entries[epoch], split)):
            own = scores_in(entries[epoch], split)
            rows[epoch].update({name: _cell(name, own[name]) for name in names})
            found[epoch] = names
    return found


class ScoreFiles:
    """`scores_train.csv` and `scores_val.csv`: one row per epoch, also if the run was interrupted and resumed.

    `validation` are the values of the columns VALIDATION: a resumed run may have others, and then its scores cannot be
    compared with those of the rows before.
    Rows of a later epoch than the one reported are of an attempt before, and dropped. A row that cannot be written is
    written with the next one.
    """

    def __init__(self, folder: Path, validation: Mapping[str, object] | None = None) -> None:
        self.validation = dict(validation or {})
        self.train_file, self.val_file = (folder / name for name in FILES)
        self.unwritten: dict[Path, list[Row]] = {self.train_file: [], self.val_file: []}
        self.unreported: dict[Path, int] = {}  # the first epoch since whose report a file is not up to date

    def on_step(self, step: int, steps: int) -> None:
        """Nothing."""

    def on_log(self, report: LogReport) -> None:
        """Nothing."""

    def on_epoch(self, report: EpochReport) -> None:
        """Write the epoch's rows in place of rows of this and later epochs, which an interrupted run may have left."""
        for path in self.unwritten:
            self.unreported.setdefault(path, report.epoch)
        row: Row = {"epoch": report.epoch, "step": report.global_step, "lr": f"{report.lr:.6g}"}
        row |= _columns(report.train) | {
            "clips": report.clips,
            "seconds": f"{report.seconds:.2f}",
            "repeated_frames": report.repeated_frames,
            "bad_videos": len(report.bad_videos),
        }
        self.unwritten[self.train_file].append(row)
        if report.val:
            row = {"epoch": report.epoch, "step": report.global_step}
            row |= _columns(report.val) | {
                "videos": f"{report.val.examples:.0f}",
                "bad_videos": len(report.val.bad_videos),
            }
            row |= self.validation
            self.unwritten[self.val_file].append(row)
        self._write()

    def close(self) -> None:
        """Try once more to write what is left."""
        self._write()

    def _write(self) -> None:
        for path, first in list(self.unreported.items()):
            rows = self.unwritten[path]
            _replace_rows(path, first, rows)
            rows.clear()
            del self.unreported[path]


def scores_of_epoch(folder: Path, epoch: int, reported: Sequence[Reported] = ()) -> dict[str, float]:
    """The scores of an epoch's validation, as the run has reported them: see `drop_rows`.

    Of the epochs of older versions, nothing but the losses is known: their scores are those of `scores_val.csv`; none
    if it has none, or another loss. A warning says what the file has not, or has otherwise.
    """
    entry = next((entry for entry in reported if entry[0] == epoch), None)
    own = scores_in(entry, "val") if entry and len(entry) > SPLITS["val"] + 1 else {}
    path, names = folder / FILES[1], [metric.name for metric in all_metrics()]
    why = f"it has no row of epoch {epoch}"
    try:
        for row in parse_rows(path, names):
            if epoch_of(row) != epoch:
                continue
            others = other_scores(row, entry, "val") if entry else []
            if not others:
                return own or {name: float(str(row[name])) for name in names if row.get(name)}
            why = f"its row of epoch {epoch} is of another attempt, such as a copy of the run"
            if LOSS not in others:
                why = f"its row of epoch {epoch} has another {', '.join(others)}, as if edited"
    except OSError as error:
        why = reason(error)
    except (ValueError, csv.Error, OtherFileError) as error:
        why = shortened(str(error), 200)
    taken = "; those of the checkpoint are given" if own else ""
    LOG.warning("%s does not give the scores of the last epoch: %s%s", path, why, taken)
    return own


def _columns(scores: Scores) -> Row:
    return {name: _cell(name, value) for name, value in scores.values().items()}


def _cell(name: str, value: float) -> str:
    return f"{value:.{DIGITS.get(name, DIGITS_OF_OTHERS)}f}"


def _tell_edited(path: Path, copy: Path, edited: Mapping[int, Sequence[str]]) -> None:
    epoch, names = next(iter(edited.items()))
    LOG.warning(
        "%s had scores that the run has not reported, as if edited (%s of epoch %d%s): they are written again from the "
        "checkpoint; the file as it was is %s",
        path, ", ".join(names), epoch, f", and of {len(edited) - 1} more" if len(edited) > 1 else "", copy.name,
    )  # fmt: skip


def _replace_rows(path: Path, first: int, new: list[Row]) -> None:
    """Drop the rows from epoch `first` on, and append the new rows. Columns of older versions are kept."""
    before = _read(path, new[-1].keys() - TEXTS if new else set())
    kept = [row for row in before if epoch_of(row) < first]
    if not new and len(kept) == len(before):
        return
    _write_rows(path, [*kept, *new], dict.fromkeys(name for row in [*new[-1:], *before] for name in row))


def _write_rows(path: Path, rows: Sequence[Row], first: Collection[str] = ()) -> None:
    """Write the rows; the columns `first` are the first."""
    columns = dict.fromkeys(name for row in [dict.fromkeys(first), *rows] for name in row)
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns))
        writer.writeheader()
        writer.writerows(rows)


def validation_changes(rows: Sequence[Row], ignored: str = "") -> dict[int, str]:
    """The rows of scores_val.csv from which on the validation is another: {index: "videos", "clips and averages" ...}.

    `ignored` is what may be another one. Rows of older versions do not say how they came about, except for the number
    of videos.
    """
    changes = {}
    for index, (before, row) in enumerate(pairwise(rows), start=1):
        found = {
            what
            for name, what in VALIDATION.items()
            if what != ignored and before.get(name) and row.get(name) and before[name] != row[name]
        }
        counts = _all_videos(before), _all_videos(row)
        if None not in counts and counts[0] != counts[1]:
            found.add("videos")
        if found:
            changes[index] = " and ".join(sorted(found, reverse=True))
    return changes


def _all_videos(row: Row) -> int | None:
    """The number of videos of a validation, also of those that could not be read; None if the row does not tell."""
    counts = [str(row.get(name, "")) for name in ("videos", "bad_videos")]
    return sum(map(int, counts)) if all(len(count) < 10 and count.isdecimal() for count in counts) else None


def _read(path: Path, numbers: set[str]) -> list[Row]:
    """The rows of a score file; none if it is missing. A damaged one, as by a spreadsheet, is moved aside."""
    if not path.exists():
        return []
    try:
        return parse_rows(path, numbers)
    except (ValueError, csv.Error, OtherFileError) as error:  # ValueError: also text that is not UTF-8
        aside = free_name(path, "damaged")
        path.rename(aside)
        LOG.warning(
            "%s is no score file of a run (%s): it is now %s, and a new one begins",
            path, shortened(str(error), 200), aside.name,
        )  # fmt: skip
        return []


def parse_rows(path: Path, numbers: Collection[str]) -> list[Row]:
    """The rows, by epoch; ValueError for another form, an epoch twice, or no numbers in the columns `numbers`.

    Scores in percent must be 0 to 100. Cells that are empty or NaN are no scores.

    csv.Error, OtherFileError and OSError, if it is no text, no plain file or cannot be read.
    """
    with open_plain_text(path, LARGEST, newline="") as file:  # a spreadsheet writes a mark at the beginning
        header, *lines = [cells for cells in csv.reader(file) if any(cells)] or [[]]
    if "epoch" not in header:  # also of an empty file, as a crash of the machine may leave
        raise ValueError("it has no column epoch")
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise ValueError(f"it has two columns {quoted(twice)}")
    rows = []
    for number, cells in enumerate(lines, start=1):
        if len(cells) != len(header):
            raise ValueError(f"row {number} has {len(cells)} cells and the header {len(header)}")
        for name, cell in zip(header, cells, strict=True):
            if name in numbers and cell:
                _check_number(name, cell, number)
        rows.append(dict[str, object](zip(header, cells, strict=True)))
    rows.sort(key=epoch_of)  # a spreadsheet may have sorted them by a score
    for epoch, after in pairwise(map(epoch_of, rows)):
        if epoch == after:
            raise ValueError(f"it has epoch {epoch} twice")
    return rows


def _check_number(name: str, cell: str, row: int) -> None:
    try:
        value = float(cell)
    except ValueError:
        raise ValueError(f"row {row} has {quoted(cell)} where a number is expected") from None
    if name in PERCENTAGES and not (0 <= value <= 100 or math.isnan(value)):
        raise ValueError(f"row {row} has {quoted(cell)} as {name}, where 0 to 100 is expected")


def epoch_of(row: Row) -> int:
    """The epoch of a row; ValueError if it is no whole number."""
    number = float(str(row["epoch"]))
    if number != number // 1:  # also for NaN
        raise ValueError(f"it has {quoted(str(row['epoch']))} where an epoch is expected")
    return int(number)
