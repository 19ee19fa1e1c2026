"""Checkpoints: what they hold, how they are named, saved and found again.

A checkpoint is a dict of tensors and plain types, saved by torch.save, and loads with `weights_only=True`:

    format          1
    network         {"name", "gates", "placement", "num_classes"}
    weights         the network's state dict (other tools call it "state_dict")
    optimizer, scaler, batch_norm   state dicts; batch_norm holds the statistics of sub-batches, empty without them
    position        {"epoch", "step"}: the next step is number `step` (from 0) of `epoch` (from 1)
    progress        counts of the current epoch and of the run: plain numbers and lists
    rng             states of the random generators
    classes         class names in the order of the classifier's rows
    loaded          names of the parameters that fine-tuning loaded from another checkpoint
    num_videos      number of training videos
    videos          {"train", "val"}: digests of the videos' names and labels, in their order; older files lack it
    options         every option of the run
    run_id          torchrun's id of the run, or "none"
    versions        of Python, torch and the project
"""

import errno
import os
import platform
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from common.errors import DataError, TrainingError
from common.files import atomic_file, reason, write_errors
from common.version import VERSION
from network.weights.facts import FORMAT as FORMAT
from network.weights.reading import DamagedError, read_checkpoint
from train.monitor.logs import LOG

Checkpoint = dict[str, Any]


class CheckpointFolder:
    """The checkpoints of one run: `<network>_ep-%04d.pth`, `<network>_last.pth` and `<network>_best.pth`."""

    def __init__(self, folder: Path, network: str, keep: int) -> None:
        self.folder = folder
        self.network = network
        self.keep = keep
        self.damaged: list[Path] = []  # found by `newest`

    def epoch_file(self, epoch: int) -> Path:
        """The file of a finished epoch, from 1."""
        return self.folder / f"{self.network}_ep-{epoch:04d}.pth"

    @property
    def last(self) -> Path:
        """The file of the newest state, also from the middle of an epoch."""
        return self.folder / f"{self.network}_last.pth"

    @property
    def best(self) -> Path:
        """The file of the state with the best validation top-1."""
        return self.folder / f"{self.network}_best.pth"

    def save(self, checkpoint: Checkpoint, epoch: int | None = None, is_best: bool = False) -> None:
        """Write `last`; also as the file of a finished `epoch` and as `best`, if asked. Each file is whole or absent.

        TrainingError with the reason if the disk is full or fails.
        """
        targets = [self.epoch_file(epoch)] if epoch is not None else []
        targets += [self.best] if is_best else []
        problem: TrainingError | None = None
        with _write_errors(self.last, "the checkpoint before it is intact"):
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_file(self.last) as temporary:
                _torch_save(checkpoint, temporary)
                try:
                    # First: a run that is killed in between resumes from the `last` of before and writes them again.
                    for target in targets:
                        with _write_errors(target, f"{self.last.name} has been written"):
                            _link_or_copy(temporary, target)
                except TrainingError as error:
                    problem = error
        if problem:
            raise problem
        if epoch is not None:
            self._drop_old(epoch)

    def epoch_files(self) -> list[Path]:
        """The files of finished epochs that exist, oldest first."""
        pattern = re.compile(re.escape(self.network) + r"_ep-(\d{4,})\.pth")
        found = [(int(match[1]), path) for path in _list(self.folder) if (match := pattern.fullmatch(path.name))]
        return [path for _, path in sorted(found)]

    def newest(self) -> tuple[Path, Checkpoint] | None:
        """The newest whole checkpoint: `last`, else the newest whole epoch. None if there are no files.

        A damaged file is skipped with a warning; `remove_leftovers` renames it. DataError if all files are damaged, and
        if one cannot be read for another reason: it may be whole, and the run would overwrite it.
        """
        with write_errors(self.folder):
            candidates = [path for path in (self.last, *reversed(self.epoch_files())) if os.path.lexists(path)]
        damaged: dict[Path, str] = {}
        for path in candidates:
            try:
                checkpoint = read_checkpoint(path)
            except DamagedError as error:
                damaged[path] = str(error)
                continue
            if damaged and list(damaged) != self.damaged:
                LOG.warning("%s: going on from the older %s", "; ".join(damaged.values()), path)
            self.damaged = list(damaged)
            return path, checkpoint
        if damaged:
            raise DataError(f"no checkpoint in {self.folder} can be read: {'; '.join(damaged.values())}")
        return None

    def remove_leftovers(self) -> None:
        """Remove unfinished files of killed processes, and rename to `<name>.damaged` what `newest` found damaged.

        Must not be called while another process writes here.
        """
        with write_errors(self.folder):
            for path in _list(self.folder):
                if re.fullmatch(r"\..+\.\d+\.tmp", path.name):  # of `atomic_file`
                    path.unlink(missing_ok=True)
            for path in self.damaged:
                path.rename(_free_name(path))
            self.damaged = []

    def _drop_old(self, epoch: int) -> None:
        """Keep the newest `keep` epoch files up to `epoch`, and delete older ones.

        Ignore files of later epochs: they were left by a run that was since rewound.
        """
        files = self.epoch_files()
        if self.keep:
            up_to_now = files[: files.index(self.epoch_file(epoch)) + 1]
            for path in up_to_now[: -self.keep]:
                path.unlink()


def is_resumable(checkpoint: Checkpoint) -> bool:
    """Whether this project wrote the checkpoint, so that training can be resumed from it."""
    return "format" in checkpoint and "position" in checkpoint


def versions() -> dict[str, str]:
    """The versions of the project, torch and Python."""
    return {"srtg": VERSION, "torch": str(torch.__version__), "python": platform.python_version()}


@contextmanager
def _write_errors(path: Path, remaining: str) -> Iterator[None]:
    """Raise a TrainingError with the system's reason if the block, which writes `path`, fails."""
    try:
        yield
    except OSError as error:
        remedy = "free disk space, then " if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise TrainingError(
            f"{path} cannot be written: {reason(error)}; {remaining}: {remedy}--resume-epoch auto"
        ) from error


def _torch_save(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint; OSError with the system's reason if that fails."""
    try:
        torch.save(checkpoint, path)
    except RuntimeError as error:
        if "DataLoader worker" in str(error):  # raised by torch's signal handler, at any line of the program
            raise
        # torch says only at which byte its writer failed. One more block fails for the same reason.
        with path.open("ab", buffering=0) as file:
            for _ in range(16):
                file.write(bytes(2**20))
        raise OSError(str(error).splitlines()[0]) from error


def _link_or_copy(source: Path, target: Path) -> None:
    with atomic_file(target) as temporary:
        try:
            os.link(source, temporary)  # safe: `last` is replaced as a whole, its content never changes
        except OSError:  # the file system has no hard links
            shutil.copyfile(source, temporary)


def _free_name(path: Path) -> Path:
    """`<name>.damaged`, or `<name>.damaged-2` and so on if that exists."""
    name, number = f"{path.name}.damaged", 1
    while os.path.lexists(path.with_name(name)):
        number += 1
        name = f"{path.name}.damaged-{number}"
    return path.with_name(name)


def _list(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []
