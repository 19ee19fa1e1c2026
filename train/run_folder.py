"""The folder of a run: its lock, its log, and the files that are written or moved aside before the first step."""

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from common.errors import DataError
from common.files import atomic_file, write_errors
from common.json_text import json_text
from common.lock import locked
from train.checkpoint.files import CheckpointFolder, versions
from train.checkpoint.start import StartingPoint, move_aside
from train.monitor.logs import log_to_file
from train.monitor.score_files import drop_rows


class RunFolder:
    """The folder `path` of a run, whose log is `log_file`: a name in it, or a path. `held` releases the lock."""

    def __init__(self, path: Path, log_file: str, held: ExitStack) -> None:
        self.path = path
        self.log_file = Path(log_file) if os.sep in log_file else path / log_file
        self._held = held
        self._is_locked = False

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
    ) -> bool:
        """Write the first files of a run whose command is right. DataError if the folder cannot be written.

        The run goes on from `start` with `epoch`. What an attempt before left of this epoch and later ones is moved
        aside: the checkpoints `strangers`, and the rows of the score files. `options` go to options.json; they are None
        if no epoch is left: the files there are of the run as it was.
        """
        if not self._is_locked:
            self._lock()
            if checkpoints.files():
                raise DataError(
                    f"{self.path}: another run has trained there since this one began; give another --task-name"
                )
        self.open_log()
        checkpoints.remove_leftovers()
        if options is None:
            return True
        copies = drop_rows(self.path, epoch, keep_copies=bool(strangers)) if start.is_resume else []
        move_aside(start, checkpoints, strangers, copies)
        path = self.path / "options.json"
        with write_errors(path), atomic_file(path) as temporary:
            facts = {"options": options, "versions": versions(), "command": sys.argv}
            temporary.write_text(json_text(facts, indent=2) + "\n", encoding="utf-8")
        return True

    def _lock(self) -> None:
        lock = locked(self.path / ".train.lock", "run", "wait for it, or give this run another --task-name")
        self._held.enter_context(lock)
        self._is_locked = True
