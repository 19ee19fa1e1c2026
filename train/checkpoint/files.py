"""Checkpoints: what they hold, how they are named, saved and found again.

A checkpoint is a dict of tensors and plain types, saved by torch.save, and loads with `weights_only=True`:

    format          1
    network         {"name", "gates", "placement", "num_classes", "normalisation", "eps"}; older files lack the last
                    two, which say how clips are normalised, and the eps of batch norm
    weights         the network's state dict (other tools call it "state_dict")
    optimizer, scaler, batch_norm   state dicts; batch_norm holds the statistics of sub-batches, empty without them
    ema             with --ema: {"updates", "weights"}, the moving average of the weights and statistics
    precise_bn      with --precise-bn, where the state was validated: the batch-norm statistics of the validation, by
                    their names in the weights (of `ema`, if it is there); training does not go on with them
    precise_bn_of   a number that tells those weights: `fingerprint` in network/weights/averages.py; older files lack it
    position        {"epoch", "step"}: the next step is number `step` (from 0) of `epoch` (from 1)
    progress        counts of the current epoch and of the run, and the losses of the epochs before: plain numbers and
                    lists
    rng             states of the random generators
    classes         class names in the order of the classifier's rows
    loaded          names of the parameters that fine-tuning loaded from another checkpoint
    source          {"path", "size", "mtime_ns", "checksum"}: the file whose weights the run started from; empty for new
                    weights, None if it is not known; older files lack it
    num_videos      number of training videos
    trained_videos  hashes of the class names and names of all videos that the weights were trained on, also in the runs
                    that they came from: a sorted int64 tensor; older files lack it
    preprocessing   the clips and the normalisation that the network takes: PREPROCESSING in network/weights/facts.py;
                    older files lack it
    videos          {"train", "val"}: digests of the videos' names and labels, in their order; older files lack it
    content         {"train", "val"}: {"counts", "samples"}, digests of the videos' numbers of frames and of a frame of
                    some videos ("" for one that could not be read); older files lack it
    options         every option of the run
    run_key         drawn when the run was started, the same in all of its checkpoints; older files lack it
    run_id          torchrun's id of the run, or its process; "none" without torchrun
    world_size      number of ranks; older files lack it
    versions        of Python, torch and the project
"""

import errno
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch

from common.errors import DataError, TrainingError
from common.files import atomic_file, free_name, reason, write_errors
from common.logs import LOG
from network.weights.averages import STATISTICS_OF
from network.weights.facts import FORMAT as FORMAT
from network.weights.reading import DamagedError, read_checkpoint
from train.checkpoint.attempts import (
    are_of_one_attempt,
    is_foreign,
    is_of_other_attempt,
    may_be_of_its_end,
    read_plain_part,
)
from train.checkpoint.attempts import is_resumable as is_resumable
from train.checkpoint.links import copy_file, replace_links
from train.checkpoint.progress import Best, best_of

Checkpoint = dict[str, Any]
OF_VALIDATION = ("precise_bn", STATISTICS_OF)


class CheckpointFolder:
    """The checkpoints of one run: `<network>_ep-%04d.pth`, `<network>_last.pth` and `<network>_best.pth`."""

    def __init__(self, folder: Path, network: str, keep: int, check: Callable[[], None] = lambda: None) -> None:
        """`check` raises a TrainingError if the folder is no longer the run's; nothing may be written there then."""
        self.folder = folder
        self.check = check
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
        """The file of the state with the best validation, by --best-by."""
        return self.folder / f"{self.network}_best.pth"

    def save(
        self,
        checkpoint: Checkpoint,
        epoch: int | None = None,
        is_best: bool = False,
        unfinished: Mapping[str, Any] | None = None,
    ) -> None:
        """Write `last`; also as the file of a finished `epoch` and as `best`, if asked. Each file is whole or absent.

        `unfinished` are the position and the progress before the epoch was finished, which `last` gets if one of the
        other files cannot be written: a run that resumes from it finishes the epoch again, and so writes them. With the
        new position, it would never.
        A file of another run that has been put in their place is moved aside, and links among them become copies.
        TrainingError with the reason if the disk is full or fails.
        """
        targets = [self.epoch_file(epoch)] if epoch is not None else []
        targets += [self.best] if is_best else []
        problem: TrainingError | None = None
        with _write_errors(self.last, self._kept_before):
            self.folder.mkdir(parents=True, exist_ok=True)
            replace_links(self.folder, self.network)
            with atomic_file(self.last) as temporary:
                _torch_save(checkpoint, temporary)
                try:
                    # First: a run that is killed in between resumes from the `last` of before and writes them again.
                    for target in targets:
                        with _write_errors(target, partial(self._kept_instead, unfinished), bool(unfinished)):
                            self._keep_foreign(target, checkpoint)
                            copy_file(temporary, target)
                except TrainingError as error:
                    problem = error
                    if unfinished:
                        _torch_save(_before_validation(checkpoint) | dict(unfinished), temporary)
                self._keep_foreign(self.last, checkpoint)
        if problem:
            raise problem
        if epoch is not None:
            self._drop_old(epoch, checkpoint)

    def _kept_before(self) -> str:
        """What there is, for a message, if `last` cannot be written; somebody may have deleted the folder."""
        return "the checkpoint before it is intact" if os.path.lexists(self.last) else "there is none before it"

    def _kept_instead(self, unfinished: Mapping[str, Any] | None) -> str:
        """What there is, for a message, if `save` cannot write the file of an epoch or `best`."""
        if not unfinished:
            return f"{self.last.name} has been written"
        epoch, step = _position(unfinished)
        return f"{self.last.name} has the state after step {step} of epoch {epoch}, its last"

    def epoch_files(self) -> list[Path]:
        """The files of finished epochs that exist, oldest first."""
        return [path for _, path in sorted(self._numbered())]

    def files(self) -> list[Path]:
        """All checkpoints that exist: those of epochs, oldest first, then `best` and `last`."""
        with write_errors(self.folder):
            return [*self.epoch_files(), *filter(os.path.lexists, (self.best, self.last))]

    def strangers(self, path: Path, checkpoint: Checkpoint, best: Best) -> list[Path]:
        """The checkpoints here that are not of the run which goes on from `checkpoint`, read from the file `path`.

        They are of another run, or of a copy of this one that went on apart, which somebody has put there, or were
        saved later than its position, as by a run that is then rewound, or `best` has other scores than the run's
        `best`. A run that was killed while it saved the end of an epoch finds the files of that epoch, which it writes
        again: see `may_be_of_its_end`.
        """
        with write_errors(self.folder):
            position = _position(checkpoint)
            is_last = _is_same(path, self.last)
            numbered = sorted(self._numbered())
            found = [
                file
                for epoch, file in numbered
                if epoch > position[0]
                or (epoch == position[0] and not (is_last and may_be_of_its_end(file, checkpoint)))
                or is_of_other_attempt(file, epoch, checkpoint)
            ]
            if os.path.lexists(self.best) and not self._is_best_of(path, checkpoint, best):
                found.append(self.best)
            # At the end: a process that is killed while it moves them still finds `last`.
            if os.path.lexists(self.last) and not is_last:
                saved = read_plain_part(self.last)
                if saved is None or _position(saved) > position or not are_of_one_attempt(saved, checkpoint):
                    found.append(self.last)
        return [file for file in found if file not in self.damaged and not _is_same(file, path)]

    def _is_best_of(self, path: Path, checkpoint: Checkpoint, best: Best) -> bool:
        """Whether `best` has the run's best scores, or is of the validation at which the run was killed."""
        if _is_same(self.best, path):
            return True
        saved = read_plain_part(self.best)
        if saved is None or not are_of_one_attempt(saved, checkpoint):
            return False
        if _position(saved) > _position(checkpoint):
            return bool(saved["progress"]["global_step"] == checkpoint["progress"]["global_step"])
        return best_of(saved["progress"]) == best

    def best_is_of(self, checkpoint: Checkpoint, best: Best) -> bool:
        """Whether `best` is there, of the run of `checkpoint`, and has these scores."""
        saved = read_plain_part(self.best)
        if saved is None or not are_of_one_attempt(saved, checkpoint):
            return False
        return best_of(saved["progress"]) == best

    def move_aside(self, paths: Sequence[Path]) -> list[Path]:
        """Rename files to `<name>.abandoned`, or with a number if that exists. Returns the new paths."""
        moved = []
        with write_errors(self.folder):
            for path in paths:
                moved.append(free_name(path, "abandoned"))
                path.rename(moved[-1])
        return moved

    def _numbered(self) -> list[tuple[int, Path]]:
        """The files of finished epochs with the epochs; a folder of such a name is none."""
        pattern = re.compile(re.escape(self.network) + r"_ep-([0-9]{4,})\.pth")
        found = [(int(match[1]), path) for path in _list(self.folder) if (match := pattern.fullmatch(path.name))]
        return [(epoch, path) for epoch, path in found if not path.is_dir()]

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

    def replace_links(self) -> None:
        """Put copies in the place of checkpoints that are links to others here; DataError if they cannot be written."""
        if self.folder.is_dir():
            with write_errors(self.folder):
                replace_links(self.folder, self.network)

    def remove_leftovers(self) -> None:
        """Remove unfinished files of killed runs, and rename to `<name>.damaged` what `newest` found damaged.

        Must not be called while another process writes here.
        """
        own = r"(options|tracker)\.json|scores_(train|val)\.csv"
        own += rf"|{re.escape(self.network)}_(last|best|ep-[0-9]{{4,}})\.pth"
        with write_errors(self.folder):
            for path in _list(self.folder):
                if re.fullmatch(rf"\.({own})\.[0-9]+\.tmp", path.name) and not path.is_dir():  # of `atomic_file`
                    path.unlink(missing_ok=True)
            for path in self.damaged:
                path.rename(free_name(path, "damaged"))
            self.damaged = []

    def _keep_foreign(self, path: Path, checkpoint: Checkpoint) -> bool:
        """Move a file aside, and log that, if it is of another run than `checkpoint`. OSError."""
        if not is_foreign(path, checkpoint):
            return False
        aside = free_name(path, "abandoned")
        path.rename(aside)
        LOG.warning("%s is no checkpoint of this run, which has not written it: it is now %s", path, aside.name)
        return True

    def _drop_old(self, epoch: int, checkpoint: Checkpoint) -> None:
        """Keep the newest `keep` epoch files up to `epoch`, and delete older ones of the run of `checkpoint`.

        Ignore files of later epochs: somebody has put them there since the run was resumed, which moves them aside.
        """
        files = self.epoch_files()
        if self.keep:
            old = files[: files.index(self.epoch_file(epoch)) + 1][: -self.keep]
            old = [path for path in old if not self._keep_foreign(path, checkpoint)]
            for path in old:
                path.unlink()
            if len(old) > 1:  # the run had another --keep before
                LOG.info("deleted %s to %s, as of --keep %d", old[0], old[-1].name, self.keep)


@contextmanager
def _write_errors(path: Path, remaining: Callable[[], str], again: bool = False) -> Iterator[None]:
    """Raise a TrainingError with the system's reason if the block, which writes `path`, fails.

    `remaining` tells then which checkpoint there is; `again` says that a run that resumes from what remains writes it.
    """
    try:
        yield
    except OSError as error:
        remedy = "free disk space, then " if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        effect = ", which finishes the epoch again and writes its files" if again else ""
        raise TrainingError(
            f"{path} cannot be written: {reason(error)}; {remaining()}: {remedy}--resume-epoch auto{effect}"
        ) from error


def _before_validation(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint without what a validation adds to a state."""
    return {name: value for name, value in checkpoint.items() if name not in OF_VALIDATION}


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


def _position(checkpoint: Mapping[str, Any]) -> tuple[int, int]:
    return checkpoint["position"]["epoch"], checkpoint["position"]["step"]


def _is_same(path: Path, other: Path) -> bool:
    with suppress(OSError):
        return path.samefile(other)
    return False


def _list(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []
