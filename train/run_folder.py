"""The folder of a run: its lock, its log, and the files that are written or moved aside before the first step."""

import csv
import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from common.errors import DataError, TrainingError
from common.files import OtherFileError, atomic_file, inode_of, open_plain_text, write_errors
from common.json_text import json_text
from common.lock import is_named_in, locked
from common.logs import LOG, is_logged_to, log_to_file
from common.version import versions
from train.checkpoint.files import CheckpointFolder
from train.checkpoint.start import StartingPoint, move_aside
from train.monitor.reported import LOSS, SPLITS, Reported, other_scores
from train.monitor.score_files import FILES, drop_rows, epoch_of, parse_rows

OPTIONS = "options.json"
PASSPORT = "passport.json"  # what the videos of both splits are
KEY = "run_key"  # in both, and in the checkpoints
LARGEST = 2**20  # bytes of options.json, which has a few thousand


class RunFolder:
    """The folder `path` of a run, whose log is `log_file`: a name in it, or a path. `held` releases the lock."""

    def __init__(self, path: Path, log_file: str, held: ExitStack) -> None:
        self.path = path
        self.log_file = Path(log_file) if os.sep in log_file else path / log_file
        self._held = held
        self._is_locked = False
        self._files: dict[str, Any] = {}  # what `begin` has written, by name: written again if the folder is made anew
        self._inodes: tuple[tuple[int, int] | None, ...] = (None, None)  # of the folder and of its lock file

    def lock_if_there(self) -> bool:
        """Lock the folder if it exists. DataError if another run has it, or if it or the log cannot be used.

        A folder that does not exist is created by `begin`, when the command is known to be right.
        """
        if os.path.isdir(self.log_file):  # noqa: PTH112 - Path.is_dir raises for a name that is too long
            raise DataError(f"--log-file {self.log_file} is a folder: give a file")
        with write_errors(self.path, "give another --model-dir or --task-name"):
            try:
                self.path.stat()
            except FileNotFoundError:
                return False
        self._lock()
        return True

    def open_log(self) -> bool:
        """Log to the file too."""
        return log_to_file(self.log_file)

    def begin(
        self,
        checkpoints: CheckpointFolder,
        start: StartingPoint,
        epoch: int,
        strangers: Sequence[Path],
        options: Mapping[str, Any] | None,
        run_key: str,
        passport: Mapping[str, Any] | None = None,
    ) -> int | None:
        """Write the first files of a run whose command is right. DataError if the folder cannot be written.

        The run goes on from `start` with `epoch`. What an attempt before left of this epoch and later ones is moved
        aside: the checkpoints `strangers`, and the rows of the score files; all rows if they are of another run than
        this one, which has `run_key`, or if `start` is from elsewhere; also rows of a copy of the run that went on
        apart. `options` go to options.json; they are None if no epoch is left: the files there are of the run as it
        was. `passport` goes to passport.json.

        Returns, if the scores of steps before were not all of this run, up to which step they are.
        """
        if not self._is_locked:
            self._lock()
            if checkpoints.files():
                raise DataError(
                    f"{self.path}: another run has trained there since this one began; give another --task-name"
                )
        self.open_log()
        if options is not None:
            checkpoints.replace_links()
        checkpoints.remove_leftovers()
        if options is None:
            return None
        reported = start.checkpoint["progress"].get("reported", []) if start.is_resume and start.checkpoint else []
        is_new = self._has_scores_of_another(start, run_key, reported)
        dropped = drop_rows(self.path, 0 if is_new else epoch, bool(strangers) or is_new, reported)
        move_aside(start, checkpoints, strangers, dropped.copies)
        facts = {"options": options, "versions": versions(), "command": sys.argv, KEY: run_key}
        self._files = {OPTIONS: facts} if passport is None else {OPTIONS: facts, PASSPORT: {**passport, KEY: run_key}}
        self._write_files()
        return 0 if is_new else dropped.own_steps

    def _has_scores_of_another(self, start: StartingPoint, run_key: str, reported: Sequence[Reported]) -> bool:
        """Whether the scores that may be there are none of the run; a line if only options.json tells it."""
        if not start.is_resume or _is_elsewhere(start, self.path):
            return True
        if not is_of_another_run(self.path, run_key, reported):
            return False
        if any((self.path / name).exists() for name in FILES):
            LOG.warning(
                "%s is of another run than %s, and the score files are taken for that run's",
                self.path / OPTIONS, start.path,
            )  # fmt: skip
        return True

    def _write_files(self) -> None:
        for name, content in self._files.items():
            path = self.path / name
            with write_errors(path), atomic_file(path) as temporary:
                temporary.write_text(json_text(content, indent=2) + "\n", encoding="utf-8")

    def check(self) -> None:
        """TrainingError if another run has begun in this place since the run's folder was moved or deleted.

        If the folder is only gone, it is made and locked again, with a warning: what follows is written there, and the
        options and the passport again.
        """
        folder, lock = inode_of(self.path), inode_of(self._lock_file)
        if (folder, lock) == self._inodes:
            return
        is_moved = folder != self._inodes[0]
        if folder is None and _is_unreachable(self.path):
            return  # the disk fails, or its server does not answer: the next save says so
        if not is_moved and lock is not None:
            self._check_lock_file()
            return
        try:
            if is_moved and folder is not None and any(self.path.glob("*.pth")):
                raise DataError("it holds other checkpoints")
            self._lock()
        except (DataError, OSError) as error:
            raise TrainingError(
                f"{self.path} is no longer the folder of this run, which was moved or deleted: it is another run's, or "
                "a copy. This run stops and writes nothing there; in a copy, --resume-epoch auto goes on"
            ) from error
        if is_moved:
            self._begin_anew()

    def _begin_anew(self) -> None:
        """Go on with the log and the files of the run's beginning in the new folder; what fails is a warning."""
        problems = []
        for renew in (self._reopen_log, self._write_files):
            try:
                renew()
            except DataError as error:
                problems.append(f"; {error}")
        LOG.warning(
            "%s was moved or deleted while the run goes on: it is made anew for what follows%s",
            self.path, "".join(problems),
        )  # fmt: skip

    def _reopen_log(self) -> None:
        if self.log_file.parent == self.path and is_logged_to(self.log_file):
            log_to_file(self.log_file)

    def _check_lock_file(self) -> None:
        """TrainingError if another run has put its lock file in the place of this run's, also if that run has ended."""
        if is_named_in(self._lock_file):  # a copy of the file was put in its place: the lock is on the file of before
            with suppress(DataError, OSError):
                self._lock()
                return
        raise TrainingError(
            f"{self.path} is no longer the folder of this run: another has taken the lock file "
            f"{self._lock_file.name}, which was deleted, is on a file system without locks, or showed no sign of "
            "this run for two minutes. This run stops and writes nothing there"
        )

    def _lock(self) -> None:
        remedy = "wait for it, or give this run another --task-name"
        self._held.enter_context(locked(self._lock_file, "run", remedy))
        self._is_locked = True
        self._inodes = inode_of(self.path), inode_of(self._lock_file)

    @property
    def _lock_file(self) -> Path:
        return self.path / ".train.lock"


def is_of_another_run(folder: Path, run_key: str, reported: Sequence[Reported] = ()) -> bool:
    """Whether options.json says that the files in a run's folder, such as its scores, are of another run.

    False if it does not tell, as those of older versions, or if the scores are of the epochs that the run has
    `reported`: then it was copied there alone.
    """
    try:
        with open_plain_text(folder / OPTIONS, LARGEST) as file:
            facts = json.load(file)
    except (OSError, OtherFileError, ValueError, RecursionError):  # ValueError: no JSON, or no UTF-8
        return False
    key = facts.get(KEY) if isinstance(facts, dict) else None
    return isinstance(key, str) and key != run_key and not _are_scores_of(folder, reported)


def _are_scores_of(folder: Path, reported: Sequence[Reported]) -> bool:
    """Whether the score files have epochs that a run has reported, and all with its losses."""
    entries, found = {entry[0]: entry for entry in reported}, False
    for name, split in zip(FILES, SPLITS, strict=True):
        try:
            rows = parse_rows(folder / name, ())
        except (OSError, OtherFileError, ValueError, csv.Error):
            continue
        for row in rows:
            if entry := entries.get(epoch_of(row)):
                if LOSS in other_scores(row, entry, split):
                    return False
                found = True
    return found


def _is_elsewhere(start: StartingPoint, folder: Path) -> bool:
    return start.path is not None and start.path.parent.resolve() != folder.resolve()


def _is_unreachable(path: Path) -> bool:
    """Whether the system cannot tell if there is a folder."""
    try:
        path.stat()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
