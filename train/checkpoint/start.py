"""Where a run starts: with new weights, with the weights of a checkpoint, or by resuming a checkpoint."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.markup import escape
from rich.table import Table

from common.errors import DataError, NetworkError
from common.logs import LOG, log_table
from common.normalisation import Normalisation
from common.options import differences, flag_name, plain
from common.processes import environment_number
from common.ranks import Ranks
from common.text import composed, printable, quoted, shortened
from data.labels.text import note_on_form
from evaluate.known_videos import Contents, other_content, other_dataset
from network import VideoNetwork
from network.weights.averages import AVERAGES, without_averages
from network.weights.facts import in_file, saved_facts
from network.weights.inflating import load_inflated
from network.weights.loading import LoadReport, load_checkpoint, load_weights
from network.weights.reading import read_checkpoint
from train.averaging import WeightAverage
from train.checkpoint.checks import check_resumable, is_count, is_position
from train.checkpoint.files import Checkpoint, CheckpointFolder, is_resumable
from train.checkpoint.progress import Progress
from train.checkpoint.run_id import AGENT
from train.checkpoint.source import check_source, saved_source
from train.checkpoint.state import restore_state
from train.checkpoint.videos import SPLITS, Digests, has_same_validation, has_same_videos
from train.optimizer_state import share_of_loaded
from train.optimizer_step import OptimizerStep
from train.parameter_groups import part_of
from train.schedule.plan import Plan

FROZEN = ("freeze", "head_only")
KEPT = ("keep", "decay_norms", "loaded_lr_factor", "layer_decay", *FROZEN, "freeze_bn", "unfreeze_after")
"""Options that a run to resume takes from its checkpoint unless a flag is given; FROZEN are one setting."""


@dataclass(frozen=True)
class StartingPoint:
    """The checkpoint to start from, if any, and whether to resume its run or only load its weights."""

    path: Path | None = None
    checkpoint: Checkpoint | None = None
    is_resume: bool = False
    is_inflated: bool = False
    """Whether it is a 2D network's."""


def find_starting_point(
    folder: CheckpointFolder,
    pretrained: Path | None,
    resume_epoch: str,
    evaluate: bool = False,
    checkpoint: Checkpoint | None = None,
    run_id: str = "none",
    inflate: Path | None = None,
) -> StartingPoint:
    """Find the checkpoint that the flags ask for; DataError if it is missing or the run would overwrite another.

    `checkpoint` is the content of the file `pretrained`, if it has been read; `inflate` is the file of a 2D network. If
    torchrun restarts the run `run_id`, it is resumed without a flag; but not another run that it finds after this one
    was refused.
    """
    restarted = None if evaluate else _restarted_from(folder, resume_epoch, run_id)
    if restarted:
        return _resume(*restarted)
    if resume_epoch == "auto":
        newest = folder.newest()
        if newest:
            return _resume(*newest)
        if evaluate:
            raise DataError(f"{folder.folder} holds no checkpoint to evaluate: give --pretrained-3d FILE")
        if not folder.files():
            LOG.warning("nothing to resume in %s: the run starts at epoch 1", folder.folder)
    elif resume_epoch:
        if not evaluate and pretrained:
            _check_own(pretrained, folder)
        return _resume_at(int(resume_epoch), folder, pretrained, checkpoint)
    if not evaluate:
        check_unused(folder)
    if pretrained and resume_epoch == "auto" and not pretrained.exists():
        raise DataError(
            f"--pretrained-3d {pretrained} does not exist, and {folder.folder} holds no run to resume: if the run that "
            "started from it has another network or gates, give --network, --gates and --placement"
        )
    if pretrained:
        return StartingPoint(pretrained, checkpoint or read_checkpoint(pretrained))
    if inflate:
        return StartingPoint(inflate, read_checkpoint(inflate), is_inflated=True)
    return StartingPoint()


def check_unused(folder: CheckpointFolder) -> None:
    """DataError if the folder holds any checkpoint of the network, which a new run would overwrite."""
    files = folder.files()
    if files == [folder.best]:
        raise DataError(
            f"{folder.folder} holds {folder.best.name} of an earlier run and nothing that is newer: give this run "
            "another --task-name (with --pretrained-3d FILE to start from it), or move the file away"
        )
    if files:
        raise DataError(
            f"{folder.folder} holds checkpoints of an earlier run: resume it with --resume-epoch auto, give this run "
            "another --task-name, or delete the folder"
        )


def strangers_to(
    start: StartingPoint, folder: CheckpointFolder, progress: Progress, is_over: bool = False
) -> list[Path]:
    """The checkpoints in the folder that are not of the run to resume, as `CheckpointFolder.strangers` has it.

    Without a `best` of it, the best is counted anew, with a warning: a best score always has its file. `is_over`: no
    epoch is left to find another.
    """
    assert start.path is not None and start.checkpoint is not None
    found = folder.strangers(start.path, start.checkpoint, progress.best)
    if folder.best in found or not folder.best_is_of(start.checkpoint, progress.best):
        if progress.best_top1 >= 0:
            result = "the result of the run, which is over, names none" if is_over else "the best is counted anew"
            LOG.warning("%s has no file of the best state so far: %s", folder.folder, result)
        progress.forget_best()
        if folder.best.exists() and folder.best.samefile(start.path):  # the first state would take its place
            found.append(folder.best)
    return found


def move_aside(
    start: StartingPoint, folder: CheckpointFolder, strangers: Sequence[Path], others: Sequence[Path] = ()
) -> None:
    """Rename `strangers_to` the run, and log that; `others` are further files that were kept of the attempt before."""
    moved = [*folder.move_aside(strangers), *others]
    if moved:
        this = f"{start.path}, from which this run goes on" if start.is_resume else "this run, which begins anew"
        LOG.warning(
            "%s holds files that are not of %s, or a best state whose score no longer counts; they are now %s",
            folder.folder, this, ", ".join(path.name for path in moved),
        )  # fmt: skip


def load_pretrained(
    network: VideoNetwork,
    start: StartingPoint,
    classes: Sequence[str],
    normalisation: Normalisation | None = None,
    rates: Callable[[str, bool], str] | None = None,
    weights: str = "auto",
) -> LoadReport:
    """Load the weights of a checkpoint of any project, and log a table of what was loaded, skipped and missing.

    The network gets the normalisation that the weights were trained with, or `normalisation`, as in `load_checkpoint`.
    With `rates`, a function of a part of the network and whether it was loaded, the table shows how fast each learns.
    `weights` says which, as `load_network` takes it. NetworkError if nothing fits.
    """
    assert start.checkpoint is not None
    checkpoint = without_averages(start.checkpoint) if weights == "raw" else start.checkpoint
    if weights == "raw" and not start.checkpoint.keys() & set(AVERAGES):
        LOG.warning("--weights raw has no effect: %s has no other weights", start.path)
    with in_file(start.path):
        if start.is_inflated:
            report, origin = load_inflated(network, checkpoint, normalisation)
        else:
            report, origin = load_checkpoint(network, checkpoint, list(classes), normalisation=normalisation)
    if is_resumable(start.checkpoint):
        origin += f", after {describe_position(start.checkpoint)}"
    headings = ("", "tensors", "rate", "") if rates is not None else ("", "tensors", "")
    table = Table(
        *headings, title=escape(printable(f"{start.path}: {origin}")), title_justify="left", box=box.SIMPLE_HEAD
    )
    for state, tensors, remark in report.rows():
        row = [state, tensors, remark]
        if rates is not None:
            row.insert(2, rates(part_of(tensors), state == "loaded") if state in ("loaded", "skipped", "new") else "")
        table.add_row(*(escape(printable(cell)) for cell in row))
    log_table(table)
    if "fc.weight" in report.loaded and not (saved_facts(start.checkpoint) or {}).get("classes"):
        LOG.warning("%s names no classes: its classifier is taken to have the order of the labels' classes", start.path)
    return report


def load_resumed(network: VideoNetwork, start: StartingPoint) -> None:
    """Load the weights of the checkpoint to resume, with the normalisation and the eps that they were trained with.

    NetworkError if one does not fit, is missing, is not finite or was rounded since: a run saves its own precision.
    """
    assert start.checkpoint is not None
    with in_file(start.path):
        report = load_weights(network, start.checkpoint["weights"], strict=True)
        facts = saved_facts(start.checkpoint)
        assert facts is not None
        network.normalisation = facts["normalisation"]
        network.set_eps(facts["eps"])
        if report.converted:
            raise NetworkError(
                f"{report.converted[0]} has another precision than a run saves: load the weights into a new run, "
                "--pretrained-3d without --resume-epoch"
            )


def resume_state(
    start: StartingPoint,
    network: VideoNetwork,
    optimizer_step: OptimizerStep,
    device: torch.device,
    ranks: Ranks,
    average: WeightAverage | None = None,
) -> Progress:
    """`restore_state`, with the file's name in its error."""
    assert start.checkpoint is not None
    try:
        return restore_state(start.checkpoint, network, optimizer_step, device, ranks, average)
    except DataError as error:
        raise DataError(f"{start.path} cannot be resumed: {error}") from error


def check_same_run(
    start: StartingPoint,
    network: dict[str, object],
    classes: Sequence[str],
    normalisation: Normalisation | None = None,
) -> None:
    """DataError if the checkpoint to resume has another network, other classes or another class order.

    Also if `normalisation` is given and another than the network's.
    """
    assert start.checkpoint is not None
    saved = start.checkpoint["network"]
    facts = saved_facts(start.checkpoint)
    assert facts is not None
    if normalisation not in (None, facts["normalisation"]):
        assert normalisation is not None
        raise DataError(
            f"--normalisation {normalisation.name}: {start.path} was trained with {facts['normalisation'].show()}; "
            "leave it out"
        )
    if new := {name: value for name, value in network.items() if saved.get(name) != value}:
        changes = "; ".join(f"{name} {saved.get(name)}, now {value}" for name, value in new.items())
        raise DataError(
            f"{start.path} was trained with another network ({changes}): give the same --network, --gates, --placement "
            "and labels, or load its weights into a new run: --pretrained-3d without --resume-epoch"
        )
    if list(start.checkpoint["classes"]) != list(classes):
        old = list(start.checkpoint["classes"])
        pairs = zip(old, classes, strict=False)
        first = next((pair for pair in pairs if pair[0] != pair[1]), (len(old), len(classes)))
        forms = {composed(name): name for name in classes}
        form = next(filter(None, (note_on_form(name, forms.get(composed(name), name)) for name in old)), "")
        raise DataError(
            f"{start.path} was trained with other classes or another class order ({quoted(first[0])}, in the labels "
            f"now {quoted(first[1])}){form}: restore the label files, or load its weights into a new run: "
            "--pretrained-3d without --resume-epoch"
        )


def with_saved(start: StartingPoint, options: Any, pretrained: Checkpoint | None = None) -> Any:
    """The options (a dataclass of flags) of a run to resume, with what its checkpoint decides in place of defaults.

    These are the file that it started from, whether it fine-tunes, what of it learns how fast, and how many checkpoints
    to keep: a default would delete those that an earlier command kept. A flag that is given has its effect, which
    `check_schedule` tells. DataError for --fine-tune if the run does not, or the other way round, and as in
    `check_source`; `pretrained` is the content of --pretrained-3d.
    """
    assert start.checkpoint is not None
    given = options.pretrained_3d
    if given and start.path and not (given.exists() and given.samefile(start.path)):
        flags = "it and --fine-tune" if options.fine_tune else "it"
        check_source(start.path, start.checkpoint, given, pretrained, flags)
    inflated = start.checkpoint["options"].get("inflate")
    if options.inflate and start.path:
        content = read_checkpoint(options.inflate) if options.inflate.exists() else None
        check_source(start.path, start.checkpoint, options.inflate, content, "it", "--inflate")
    saved: dict[str, Any] = {"inflate": Path(inflated) if isinstance(inflated, str) else None}
    saved["pretrained_3d"] = None if saved["inflate"] else saved_source(start.checkpoint)
    is_fine_tuning = bool(start.checkpoint["loaded"]) or start.checkpoint["options"].get("fine_tune") is True
    if options.fine_tune != is_fine_tuning and (options.fine_tune or "fine_tune" in options.given):
        flag, does = ("--fine-tune", "does not fine-tune") if options.fine_tune else ("--fine-tune False", "fine-tunes")
        raise DataError(
            f"{flag}: {start.path} is of a run that {does}; leave it out, or give this run another --task-name and no "
            "--resume-epoch"
        )
    saved["fine_tune"] = is_fine_tuning
    return replace(options, **saved, **_kept(start, options))


def _kept(start: StartingPoint, options: Any) -> dict[str, Any]:
    """The saved values of KEPT that no flag gives and that differ from the defaults; the log tells them."""
    assert start.checkpoint is not None
    before, now = dict(start.checkpoint["options"]), plain(options)
    if not is_count(before.get("keep")):
        before.pop("keep", None)
    if start.checkpoint["loaded"]:  # the options of older versions may have another value
        before["loaded_lr_factor"] = share_of_loaded(start.checkpoint["optimizer"]) or before.get("loaded_lr_factor")
    given = {*options.given, *(FROZEN if not {*FROZEN}.isdisjoint(options.given) else ())}
    kept = {}
    for name in KEPT:
        value = before.get(name)
        if name not in given and value is not None and value != now[name]:
            LOG.info("%s was saved with %s %s, which still holds", start.path, flag_name(name), _shown(value))
            kept[name] = tuple(value) if isinstance(value, list) else value
    return kept


def check_schedule(
    start: StartingPoint,
    options: Any,
    num_videos: int,
    plan: Plan,
    digests: Digests | None = None,
    contents: Contents | None = None,
) -> None:
    """Warn if options (a dataclass of flags) or videos differ from those of the run to resume.

    `digests` are those of the training and validation videos and their labels, by split, and `contents` what the videos
    hold. DataError if a change alters the rest of an epoch that has begun: some videos would be read twice and others
    never, or the epoch would be half of other frames.
    """
    assert start.checkpoint is not None
    saved, position = start.checkpoint["options"], start.checkpoint["position"]
    changes = [
        f"{flag} {_shown(before)}, now {_shown(now)}" for flag, (before, now) in differences(options, saved).items()
    ]
    if clips := _other_norm_clips(start.checkpoint, options, plan.world_size):
        changes.append(clips)
    changed_splits = _other_videos(start.checkpoint, num_videos, digests, contents)
    changes += changed_splits.values()
    if path := other_dataset(start.checkpoint, options.dataset):
        if changed_splits:
            changes.append(path)
        else:
            is_known = "content" in start.checkpoint
            known = "the videos are the same" if is_known else "it does not tell what the videos held"
            LOG.info("%s was saved with %s: %s", start.path, path, known)
    epoch, step = position["epoch"], position["step"]
    if step and not (
        "train" not in changed_splits
        and saved["random_seed"] == options.random_seed
        and saved.get("repeat_clips", 1) == options.repeat_clips
        and epoch <= plan.num_epochs
        and step <= plan.steps_in_epoch(epoch)
        and plan.clips_before(epoch, step) == start.checkpoint["progress"]["clips"]
    ):
        raise DataError(
            f"{start.path} was saved after step {step} of epoch {epoch}, and the rest of this epoch would now differ "
            f"({'; '.join(changes) or 'this version divides it in another way'}): restore these values, or resume from "
            "a finished epoch with --resume-epoch N"
        )
    if changes and epoch <= plan.num_epochs and not has_same_validation(start.checkpoint, options, digests, contents):
        by_flag_alone = has_same_validation(
            start.checkpoint | {"options": saved | {"best_by": options.best_by}}, options, digests, contents
        )
        changes.append(f"{'' if by_flag_alone else 'another validation, '}so the best is counted anew")
    if changes:
        LOG.warning("%s was trained with %s", start.path, "; ".join(changes))


def _other_norm_clips(checkpoint: Checkpoint, options: Any, world_size: int) -> str:
    """What the ranks were, if batch norm is over other clips with the ranks of now; --sync-bn is a flag that is told.

    With it, each rank divides its own clips into sub-batches and parts: they are as large as before, of other clips.
    Empty if the checkpoint does not tell.
    """
    before, saved = checkpoint.get("world_size"), checkpoint["options"]
    if before is None or options.sync_bn != bool(saved.get("sync_bn")):
        return ""
    if options.sync_bn:
        if before == world_size or not (options.long_cycles or options.accumulate > 1):
            return ""
        flag = "--long-cycles" if options.long_cycles else "--accumulate"
        return f"{before} ranks, now {world_size} (with {flag}, batch norm takes other clips of a batch together)"
    if not all(is_count(saved.get(name), 1) for name in ("batch_size", "accumulate")):
        return ""
    clips = saved["batch_size"] // (before * saved["accumulate"])
    clips_now = options.batch_size // (world_size * options.accumulate)
    if before == world_size or clips == clips_now:
        return ""
    return f"{before} ranks, now {world_size} (batch norm over {clips_now} clips, before {clips}; --sync-bn is off)"


def _other_videos(
    checkpoint: Checkpoint, num_videos: int, digests: Digests | None, contents: Contents | None
) -> dict[str, str]:
    """What the videos were that are others now, by split."""
    found = {}
    for split, noun in SPLITS.items():
        order = ", or in another order" if split == "train" else ""
        if not has_same_videos(checkpoint, digests, split):
            found[split] = f"other {noun} videos or labels than now{order}"
        elif content := other_content(checkpoint, contents, split):
            found[split] = f"{content} in the same {noun} videos"
    if checkpoint["num_videos"] != num_videos:
        found["train"] = f"{checkpoint['num_videos']} training videos, now {num_videos}"
    return found


def _shown(value: object) -> str:
    return shortened(" ".join(map(str, value)) or "none" if isinstance(value, list) else str(value))


def _resume(path: Path, checkpoint: Checkpoint) -> StartingPoint:
    if not is_resumable(checkpoint):
        raise DataError(
            f"{path} holds only weights, which cannot be resumed: give --pretrained-3d without --resume-epoch"
        )
    check_resumable(path, checkpoint)
    return StartingPoint(path, checkpoint, is_resume=True)


def _check_own(path: Path, folder: CheckpointFolder) -> None:
    """DataError if the run of a file from elsewhere would overwrite the checkpoints in the folder."""
    if folder.files() and path.parent.resolve() != folder.folder.resolve():
        raise DataError(
            f"{folder.folder} holds checkpoints of an earlier run, and {path} is none of them: give this run another "
            "--task-name, or resume the earlier one without --pretrained-3d"
        )


def _resume_at(
    epoch: int, folder: CheckpointFolder, pretrained: Path | None, checkpoint: Checkpoint | None
) -> StartingPoint:
    path = pretrained or folder.epoch_file(epoch - 1)
    start = _resume(path, checkpoint or read_checkpoint(path))
    assert start.checkpoint is not None
    position = start.checkpoint["position"]
    if (position["epoch"], position["step"]) != (epoch, 0):
        raise DataError(
            f"--resume-epoch {epoch} needs a checkpoint saved after epoch {epoch - 1}, but {path} was saved after "
            f"{describe_position(start.checkpoint)}"
        )
    return start


def describe_position(checkpoint: Checkpoint) -> str:
    """Where a run's checkpoint was saved: `epoch 3` or `step 5 of epoch 4`."""
    position = checkpoint["position"]
    if not is_position(position):
        return "an unknown step"
    if position["step"]:
        return f"step {position['step']} of epoch {position['epoch']}"
    return f"epoch {position['epoch'] - 1}"


def _restarts() -> int:
    name = "TORCHELASTIC_RESTART_COUNT"
    return environment_number(name) if name in os.environ else 0


def _restarted_from(folder: CheckpointFolder, resume_epoch: str, run_id: str) -> tuple[Path, Checkpoint] | None:
    """The newest checkpoint, if torchrun has restarted this run (after losing a process, or as a requeued job)."""
    if run_id == "none" or (run_id.startswith(AGENT) and not _restarts()):
        return None
    newest = folder.newest()
    if newest is None or newest[1].get("run_id") != run_id:
        return None
    check_resumable(*newest)
    return newest if newest[1]["options"].get("resume_epoch") == resume_epoch else None
