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

import os
import platform
import re
import shutil
from pathlib import Path
from typing import Any

import torch

from common.errors import DataError, TrainingError
from common.files import atomic_file
from network.weights.reading import read_checkpoint

FORMAT = 1
VERSION = "0.1.0"

Checkpoint = dict[str, Any]


class CheckpointFolder:
    """The checkpoints of one run: `<network>_ep-%04d.pth`, `<network>_last.pth` and `<network>_best.pth`."""

    def __init__(self, folder: Path, network: str, keep: int) -> None:
        self.folder = folder
        self.network = network
        self.keep = keep

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

        TrainingError if the disk is full or fails.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with atomic_file(self.last) as temporary:
                torch.save(checkpoint, temporary)
        except (OSError, RuntimeError) as error:  # torch raises RuntimeError for any failure of its writer
            if "DataLoader worker" in str(error):  # raised by torch's signal handler, at any line of the program
                raise
            reason = str(error).splitlines()[0]
            raise TrainingError(
                f"{self.last} cannot be written ({reason}); the checkpoint before it is intact: free disk space, then "
                "--resume-epoch auto"
            ) from error
        if epoch is not None:
            _link_or_copy(self.last, self.epoch_file(epoch))
            self._drop_old(epoch)
        if is_best:
            _link_or_copy(self.last, self.best)

    def epoch_files(self) -> list[Path]:
        """The files of finished epochs that exist, oldest first."""
        pattern = re.compile(re.escape(self.network) + r"_ep-(\d{4,})\.pth")
        found = [(int(match[1]), path) for path in _list(self.folder) if (match := pattern.fullmatch(path.name))]
        return [path for _, path in sorted(found)]

    def newest(self) -> tuple[Path, Checkpoint] | None:
        """The newest readable checkpoint: `last`, else the newest readable epoch. None if there are no files.

        DataError if there are files but none can be read.
        """
        candidates = [path for path in (self.last, *reversed(self.epoch_files())) if path.exists()]
        problems = []
        for path in candidates:
            try:
                return path, read_checkpoint(path)
            except DataError as error:
                problems.append(str(error))
        if problems:
            raise DataError(f"no checkpoint in {self.folder} can be read: {'; '.join(problems)}")
        return None

    def remove_leftovers(self) -> None:
        """Remove unfinished files of killed processes. Must not be called while another process writes here."""
        for path in _list(self.folder):
            if re.fullmatch(rf"\.{re.escape(self.network)}_.*\.pth\.\d+\.tmp", path.name):
                path.unlink()

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


def _link_or_copy(source: Path, target: Path) -> None:
    with atomic_file(target) as temporary:
        try:
            os.link(source, temporary)  # safe: `last` is replaced as a whole, its content never changes
        except OSError:  # the file system has no hard links
            shutil.copyfile(source, temporary)


def _list(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []
