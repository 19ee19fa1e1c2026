"""What the folder of a run holds besides its evaluations: options, scores, plan, checkpoints, events, times."""

import argparse
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from common.errors import DataError
from common.files import open_plain, what_is_at
from common.options import read_options
from common.text import shortened
from train.checkpoint.attempts import read_plain_part
from train.checkpoint.checks import is_option, is_scalar
from train.monitor.reported import SPLITS, rows_of_others
from train.monitor.score_files import FILES, Row, parse_rows, validation_changes
from train.report.events import Points, event_files, read_scalars
from train.report.other_run import is_of_other_run, other_values
from train.report.problems import Problems, inside, number, read_json
from train.run_folder import OPTIONS, PASSPORT
from train.schedule.multigrid import make_plan
from train.schedule.options import ScheduleOptions
from train.schedule.plan import Plan

GATES, WAITING = "open_gates/", "speed/wait_share"
LOG_TIME = re.compile(rb"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),\d{3} [A-Z]+ ", re.MULTILINE)
ENDS = 2**16  # bytes of a log's beginning and end in which a time is looked for
LARGEST_LOG = 2**40
MOST_READ = 10  # checkpoints of which the newest is looked for
SCORE_COLUMNS = ("epoch", "step", "lr", "loss", "top1", "top5", "mean_class", "clips", "seconds")


class CheckpointFile(NamedTuple):
    """A file of weights in the run's folder."""

    name: str
    size: int  # bytes
    time: float  # of its last change, in seconds since 1970


@dataclass
class RunFiles:
    """The files of a run; what is missing is empty."""

    folder: Path
    facts: dict[str, Any] = field(default_factory=dict)
    """All of options.json: "options", "versions", "command" ..."""
    train: list[Row] = field(default_factory=list)
    val: list[Row] = field(default_factory=list)
    checkpoints: list[CheckpointFile] = field(default_factory=list)
    plain: Mapping[str, Any] = field(default_factory=dict)
    """Of the newest checkpoint all but its tensors."""
    mixed: list[str] = field(default_factory=list)
    """A line for each score file with rows that the newest checkpoint has otherwise."""
    others: list[str] = field(default_factory=list)
    """A line for each other file that does not fit the newest checkpoint."""
    plan: Plan | None = None
    no_plan: str = ""  # why there is none
    scalars: dict[str, Points] = field(default_factory=dict)
    passport: dict[str, Any] = field(default_factory=dict)
    began: datetime | None = None
    ended: datetime | None = None

    @property
    def options(self) -> dict[str, Any]:
        """The options of the run by name, as plain types; those of the checkpoint where options.json has none.

        Values that no run has are left out: a nested list, or one of thousands of numbers, may take hours.
        """
        return {name: value for name, value in self._saved_options().items() if is_option(value)}

    @property
    def odd_options(self) -> list[str]:
        """The names of the options that are left out."""
        return [name for name, value in self._saved_options().items() if not is_option(value)]

    def _saved_options(self) -> dict[str, Any]:
        for holder in (self.facts, self.plain):
            if isinstance(options := holder.get("options"), dict):
                return {name: value for name, value in options.items() if isinstance(name, str)}
        return {}

    @property
    def network(self) -> dict[str, Any]:
        """Name and gates of the network, as the checkpoint or else the options say."""
        if isinstance(saved := self.plain.get("network"), Mapping):
            return _scalars(saved)
        options = self.options
        found = {"name": options.get("network")} if options.get("network") else {}
        return found | ({"gates": options["gates"]} if "gates" in options else {})

    @property
    def versions(self) -> dict[str, Any]:
        """The versions of the libraries by name."""
        saved = self.facts.get("versions") or self.plain.get("versions")
        return _scalars(saved) if isinstance(saved, Mapping) else {}

    @property
    def changes(self) -> dict[int, str]:
        """The rows of `val` from which on the validation is another."""
        return validation_changes(self.val)


def _scalars(values: Mapping[Any, Any]) -> dict[str, Any]:
    """The plain values: a nested list of a few bytes, as of a made checkpoint, can take years to show."""
    return {name: value for name, value in values.items() if isinstance(name, str) and is_scalar(value)}


def is_run(folder: Path) -> bool:
    """Whether a folder looks like a run's."""
    return any(what_is_at(folder / name) == "file" for name in (OPTIONS, *FILES))


def read_run(folder: Path, problems: Problems) -> RunFiles:
    """The files of the run in a folder; what cannot be read is noted and left out."""
    run = RunFiles(folder)
    with problems.noted(folder / OPTIONS, "what it says of the run"):
        run.facts = read_json(inside(folder, folder / OPTIONS))
    for name, path in zip(("train", "val"), (folder / each for each in FILES), strict=True):
        with problems.noted(path, "its curve"):
            setattr(run, name, _epochs(parse_rows(inside(folder, path), SCORE_COLUMNS)))
    with problems.noted(folder / PASSPORT, "the passport"):
        run.passport = read_json(inside(folder, folder / PASSPORT))
    with problems.noted(folder, "the list of checkpoints"):
        run.checkpoints = _checkpoints(folder)
    name, run.plain = _newest_checkpoint(run, problems)
    run.mixed = list(_mixed_scores(run))
    run.others = list(_drop_others(run, name))
    problems.notes += (f"{folder}: {line}" for line in (*run.mixed, *run.others))
    try:
        run.plan = _plan_of(run)
    except DataError as error:
        run.no_plan = str(error)
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, AssertionError) as error:
        run.no_plan = f"{OPTIONS} has values of which no plan can be made ({shortened(str(error), 100)})"
    if run.no_plan:
        problems.notes.append(f"{folder}: no plan is shown: {run.no_plan}")
    with problems.noted(folder / "tensorboard", "the waiting share and the gates over training"):
        run.scalars = read_scalars(_event_files(folder), (GATES, WAITING))
    _read_times(run, problems)
    return run


def values_of(rows: list[Row], column: str) -> list[float | None]:
    """The numbers of a column; None where a row has none."""
    return [number(row.get(column)) for row in rows]


def epoch_of_step(run: RunFiles, step: int) -> float | None:
    """Where in the run a step is, in epochs (2.5: in the middle of the third); None if the scores do not tell."""
    before = (0.0, 0.0)
    for row in run.train:
        epoch, last = number(row.get("epoch")), number(row.get("step"))
        if epoch is None or last is None:
            return None
        if step <= last and last > before[1]:
            return before[0] + (epoch - before[0]) * (step - before[1]) / (last - before[1])
        before = epoch, last
    return before[0] if run.train else None


def _epochs(rows: list[Row]) -> list[Row]:
    if not rows:
        raise DataError("it has no epochs")
    return rows


def _checkpoints(folder: Path) -> list[CheckpointFile]:
    files = [path for path in folder.iterdir() if path.suffix in (".pth", ".safetensors") and path.is_file()]
    states = [(path.name, path.stat()) for path in files if not path.name.startswith(".")]
    return sorted(CheckpointFile(name, state.st_size, state.st_mtime) for name, state in states)


def _event_files(folder: Path) -> list[Path]:
    """TensorBoard's files of a run, in their order; DataError if one is reached through a link out of its folder."""
    return [inside(folder, path) for path in event_files(inside(folder, folder / "tensorboard"))]


def _newest_checkpoint(run: RunFiles, problems: Problems) -> tuple[str, Mapping[str, Any]]:
    """The name and the plain part; empty if there is none."""
    files = [file for file in run.checkpoints if file.name.endswith(".pth")]
    files.sort(key=lambda file: (file.name.endswith("_last.pth"), file.time), reverse=True)
    found: list[tuple[str, Mapping[str, Any]]] = []
    for file in files[:MOST_READ]:
        with problems.noted(run.folder / file.name, "what it says of the run"):
            if plain := read_plain_part(inside(run.folder, run.folder / file.name)):
                if file.name.endswith("_last.pth"):
                    return file.name, plain
                found.append((file.name, plain))
    # The first of equals; a copy has other times.
    return max(found, key=lambda each: _position(each[1]), default=("", {}))


def _position(plain: Mapping[str, Any]) -> tuple[int, int]:
    """The epoch and step that a checkpoint was saved at."""
    return plain["position"]["epoch"], plain["position"]["step"]


def _mixed_scores(run: RunFiles) -> Iterator[str]:
    progress = run.plain.get("progress", {})
    for name, split, rows in zip(FILES, SPLITS, (run.train, run.val), strict=True):
        if others := rows_of_others(rows, progress.get("reported", []), split):
            yield f"{name} has other scores than the newest checkpoint, as if edited or of another run: {others}"


def _drop_others(run: RunFiles, name: str) -> Iterator[str]:
    """Leave out what is of another run than the newest checkpoint, which is `name`; a line for each such file."""
    if is_of_other_run(run.facts, run.plain):
        run.facts = {}
        yield f"{OPTIONS} is of another run than {name}: the options shown are those in {name}"
    elif flags := other_values(run.facts.get("options"), run.plain.get("options")):
        yield (
            f"{OPTIONS} has other values than {name}, as if edited, of another run, or of a resume that has not saved "
            f"yet: {flags}"
        )
    if is_of_other_run(run.passport, run.plain):
        run.passport = {}
        yield f"{PASSPORT} is of another run than {name}: it is not shown"


def _plan_of(run: RunFiles) -> Plan:
    """The plan that the run's options give. DataError says what is missing; other errors come from odd options."""
    saved = run.options
    if not saved:
        raise DataError(f"there are no options in {OPTIONS}")
    if odd := run.odd_options:
        named = shortened(", ".join(odd), 60)
        raise DataError(f"{OPTIONS} or the checkpoint has values that no run has, which are left out ({named})")
    videos = run.plain.get("num_videos") or _videos_in(run.passport)
    if not isinstance(videos, int):
        raise DataError("no checkpoint says how many training videos there are")
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in saved.items()}
    options = read_options(ScheduleOptions, argparse.Namespace(**values))
    ranks = run.plain.get("world_size") or saved.get("gpus") or 1
    return make_plan(options, videos, ranks if isinstance(ranks, int) else 1)


def _videos_in(passport: Mapping[str, Any]) -> object:
    train = passport.get("train")
    return train.get("videos") if isinstance(train, dict) else None


def _read_times(run: RunFiles, problems: Problems) -> None:
    """When the run began and wrote its last line: from its log, else from TensorBoard, else from the files."""
    path = run.folder / PurePath(str(run.options.get("log_file") or "train.log")).name  # --log-file may be any path
    with problems.noted(path, "its times"):
        run.began, run.ended = _log_times(inside(run.folder, path))
    stamps = [time for points in run.scalars.values() for _, _, time in points]
    if not run.began:
        with suppress(OSError):
            stamps = stamps or [(run.folder / each).stat().st_mtime for each in (OPTIONS, *FILES)]
        with suppress(OverflowError, ValueError, OSError):
            run.began, run.ended = (datetime.fromtimestamp(end(stamps)) if stamps else None for end in (min, max))


def _log_times(path: Path) -> tuple[datetime | None, datetime | None]:
    with open_plain(path, LARGEST_LOG) as file:
        head = file.read(ENDS)
        file.seek(max(0, file.seek(0, 2) - ENDS))
        times = LOG_TIME.findall(head) + LOG_TIME.findall(file.read(ENDS))
    found = [datetime.strptime(time.decode(), "%Y-%m-%d %H:%M:%S") for time in (times[:1] + times[-1:])]
    return (found[0], found[-1]) if found else (None, None)
