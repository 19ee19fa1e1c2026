"""Where a run starts: from nothing, from somebody's weights, or where an earlier run was."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from common.errors import DataError, NetworkError
from common.options import differences
from network import VideoNetwork
from network.weights.loading import LoadReport, load_checkpoint
from network.weights.reading import read_checkpoint
from train.checkpoint.files import Checkpoint, CheckpointFolder, is_own
from train.monitor.logs import LOG
from train.schedule.plan import Plan

RUN_ID = "TORCHELASTIC_RUN_ID"


@dataclass(frozen=True)
class StartingPoint:
    """The checkpoint to start from, if any, and whether to go on with its run or only take its weights."""

    path: Path | None = None
    checkpoint: Checkpoint | None = None
    is_resume: bool = False


def find_starting_point(
    folder: CheckpointFolder, pretrained: Path | None, resume_epoch: str, evaluate: bool = False
) -> StartingPoint:
    """What to start from, as the flags say; DataError if it is not there or would overwrite another run.

    A restart by torchrun goes on with the run by itself.
    """
    newest = None if evaluate else _restarted_from(folder, resume_epoch)
    if resume_epoch == "auto":
        newest = newest or folder.newest()
    if newest:
        return _resume(*newest)
    if resume_epoch == "auto" and evaluate:
        raise DataError(f"{folder.folder} holds no checkpoint to evaluate")
    if resume_epoch == "auto":
        LOG.warning("nothing to resume in %s: the run starts from its beginning", folder.folder)
    elif resume_epoch:
        return _resume_at(int(resume_epoch), folder, pretrained)
    if not evaluate and folder.newest():
        raise DataError(
            f"{folder.folder} holds checkpoints of an earlier run: go on with it by --resume-epoch auto, give this run "
            "another --task-name, or remove the folder"
        )
    if pretrained:
        return StartingPoint(pretrained, read_checkpoint(pretrained))
    return StartingPoint()


def load_pretrained(network: VideoNetwork, start: StartingPoint, classes: Sequence[str]) -> LoadReport:
    """Load the weights of a checkpoint, ours or published, and log a table of what became of every tensor.

    NetworkError if nothing fits.
    """
    assert start.checkpoint is not None
    try:
        report, origin = load_checkpoint(network, start.checkpoint, list(classes))
    except NetworkError as error:
        raise NetworkError(f"{start.path}: {error}") from error
    if is_own(start.checkpoint):
        origin += f", after {_describe_position(start.checkpoint)}"
    table = Table("", "tensors", "", title=escape(f"{start.path}: {origin}"), title_justify="left", box=box.SIMPLE_HEAD)
    for row in report.rows():
        table.add_row(*row)
    log_table(table)
    return report


def log_table(table: Table) -> None:
    """Log a rich table: as it is on the console, as text in the file."""
    from rich.console import Console

    console = Console(width=120, no_color=True)
    with console.capture() as capture:
        console.print(table)
    LOG.info(capture.get().rstrip(), extra={"rich": table})


def check_same_run(start: StartingPoint, network: dict[str, object], classes: Sequence[str]) -> None:
    """DataError if the checkpoint to go on with is of another network or other classes."""
    assert start.checkpoint is not None
    theirs = start.checkpoint["network"]
    if theirs != network:
        raise DataError(
            f"{start.path} is of {theirs}, this run of {network}; --pretrained-3d without --resume-epoch takes its "
            "weights for a new run"
        )
    if list(start.checkpoint["classes"]) != list(classes):
        ours, old = list(classes), list(start.checkpoint["classes"])
        first = next((pair for pair in zip(old, ours, strict=False) if pair[0] != pair[1]), (len(old), len(ours)))
        raise DataError(
            f"{start.path} was trained with other classes or another order of them ({first[0]!r} where the labels now "
            f"have {first[1]!r}): restore the label files, or start a new run from its weights with --pretrained-3d"
        )


def check_schedule(start: StartingPoint, options: Any, num_videos: int, plan: Plan) -> None:
    """Warn of options (a dataclass of flags) that differ from those of the run to go on with.

    DataError if, in the middle of an epoch, they make its clips others: some would be read twice and others never.
    """
    assert start.checkpoint is not None
    theirs, position = start.checkpoint["options"], start.checkpoint["position"]
    changes = [
        f"{flag} {_shown(before)}, now {_shown(now)}" for flag, (before, now) in differences(options, theirs).items()
    ]
    if start.checkpoint["num_videos"] != num_videos:
        changes.append(f"{start.checkpoint['num_videos']} training videos, now {num_videos}")
    if changes:
        LOG.warning("%s was trained with %s", start.path, "; ".join(changes))
    epoch, step = position["epoch"], position["step"]
    if step and not (
        start.checkpoint["num_videos"] == num_videos
        and theirs["random_seed"] == options.random_seed
        and epoch <= plan.num_epochs
        and step <= plan.steps_in_epoch(epoch)
        and plan.clips_before(epoch, step) == start.checkpoint["progress"]["clips"]
    ):
        raise DataError(
            f"{start.path} is a state after step {step} of epoch {epoch}, and these steps would now be others "
            f"({'; '.join(changes)}): restore what has changed, or go on from a whole epoch by --resume-epoch N"
        )


def _shown(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _resume(path: Path, checkpoint: Checkpoint) -> StartingPoint:
    if not is_own(checkpoint):
        raise DataError(
            f"{path} holds weights only, no state to resume from: take --pretrained-3d without --resume-epoch"
        )
    return StartingPoint(path, checkpoint, is_resume=True)


def _resume_at(epoch: int, folder: CheckpointFolder, pretrained: Path | None) -> StartingPoint:
    path = pretrained or folder.epoch_file(epoch - 1)
    start = _resume(path, read_checkpoint(path))
    assert start.checkpoint is not None
    position = start.checkpoint["position"]
    if (position["epoch"], position["step"]) != (epoch, 0):
        raise DataError(
            f"{path} is a state after {_describe_position(start.checkpoint)}: --resume-epoch {epoch} does not fit it"
        )
    return start


def _describe_position(checkpoint: Checkpoint) -> str:
    position = checkpoint["position"]
    if position["step"]:
        return f"step {position['step']} of epoch {position['epoch']}"
    return f"epoch {position['epoch'] - 1}"


def _restarted_from(folder: CheckpointFolder, resume_epoch: str) -> tuple[Path, Checkpoint] | None:
    """The newest checkpoint if it is of this very run, of which torchrun lost a process and started it again."""
    run_id = os.environ.get(RUN_ID, "none")
    if run_id == "none" and not int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)):
        return None
    newest = folder.newest()
    if newest and newest[1].get("run_id") == run_id and newest[1]["options"]["resume_epoch"] == resume_epoch:
        return newest
    return None
