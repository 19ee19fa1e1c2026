"""Errors that stop a run: bad videos, too little memory, numbers that are not finite, lost processes."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.cli import print_error
from common.errors import TrainingError, UserError
from common.logs import LOG
from common.ranks import Ranks
from data.clips.types import BadVideo
from train.checkpoint.files import CheckpointFolder
from train.checkpoint.progress import Progress
from train.schedule.plan import Plan, StepSpec


def bad_video_problem(found: Sequence[BadVideo], limit: int) -> str:
    """Why a batch cannot be trained on: one of its videos was not replaced. `limit` 0: videos may not be replaced."""
    for bad in found:
        if limit == 0:
            return f"{bad.reason}; or read other videos in place of such ones: --on-bad-video skip"
        if bad.replacement is None:
            return f"{bad.reason}; none of the replacements tried could be read either: check --dataset"
    return ""


def too_many_bad_videos(bad: BadVideo, count: int, limit: int) -> str:
    """Why an epoch with `count` bad videos, of which `bad` is one, cannot go on."""
    return (
        f"{bad.reason}; the epoch has {count} bad videos and --bad-video-limit allows {limit}: convert them again, or "
        "raise the limit"
    )


def memory_error(plan: Plan, spec: StepSpec, accumulate: int, last: Path, graphs: bool = False) -> TrainingError:
    """The error of a batch that does not fit the GPU's memory; `last` is the newest checkpoint.

    `graphs`: whether passes are recorded, which keeps their memory.
    """
    freed = "--graphs False, which frees the memory of recorded passes, or " if graphs else ""
    return TrainingError(
        f"the GPU's memory does not hold a batch of {spec.batch_size // plan.world_size} clips of "
        f"{'x'.join(map(str, spec.shape))} in {accumulate} parts. Give {freed}{_more_parts(plan, spec, accumulate)}"
        "--checkpoint-activations, which takes more time, or a smaller --batch-size, which changes the schedule; "
        f"--resume-epoch auto resumes from {last}, if it was saved"
    )


def _more_parts(plan: Plan, spec: StepSpec, accumulate: int) -> str:
    """The advice to divide the batch into more parts, or nothing if it has no more to give.

    The next number of parts that keeps the statistics of batch norm at this shape, else the next that divides the
    batch. Parts of one clip are not proposed: at small shapes batch norm cannot normalise them.
    """
    clips = plan.base_batch_size // plan.world_size
    possible = [parts for parts in range(accumulate + 1, clips) if clips % parts == 0]
    if not possible:
        return ""
    parts = next((parts for parts in possible if spec.batch_factor % parts == 0), possible[0])
    changed = [other for other in plan.step_specs if other.norm_clips(1, parts) < other.norm_clips(1, accumulate)]
    effect = "batch norm covers as many clips"
    if changed:
        shapes = ", ".join(dict.fromkeys("x".join(map(str, other.shape)) for other in changed))
        effect = f"but batch norm covers fewer clips at {shapes}"
    return f"--accumulate {parts} (the schedule stays the same, {effect}), or "


def not_finite_error(plan: Plan, progress: Progress, global_step: int, good_state: Path | None) -> TrainingError:
    """The error of a step, at most an epoch back, whose loss or gradient was not finite."""
    epoch, step = _locate(plan, progress, global_step)
    spec = plan.step_spec(epoch, step)
    return TrainingError(
        f"the loss or its gradient is not finite at step {step + 1} of epoch {epoch}: batch {spec.batch_size}, shape "
        f"{'x'.join(map(str, spec.shape))}, lr {plan.lr(epoch, step):.3g}. No update was made from this step on; "
        f"{_good(good_state)}. {_remedy()}",
        on_all_ranks=True,
    )


def not_finite_state_error(name: str, epoch: int, step: int, good_state: Path | None) -> TrainingError:
    """The error of a state with the tensor `name`, which is not finite; it is then not saved."""
    return TrainingError(
        f"{name} is not finite after step {step} of epoch {epoch}, so this state was not saved; {_good(good_state)}. "
        f"{_remedy()}",
        on_all_ranks=True,
    )


def not_finite_validation_error(error: TrainingError, epoch: int, folder: CheckpointFolder) -> TrainingError:
    """The error of an epoch whose validation loss is not finite: `error`, and from where to go on."""
    kept = [earlier for earlier in range(1, epoch) if folder.epoch_file(earlier).exists()]
    earlier = f"{folder.last} has this state. "
    if kept:
        earlier += f"An earlier one is {folder.epoch_file(kept[-1])}: --resume-epoch {kept[-1] + 1}. "
    return TrainingError(f"after epoch {epoch}, {error}; {earlier}{_remedy()}", on_all_ranks=True)


def tell(error: UserError, ranks: Ranks) -> None:
    """Say why the run ends, once for all ranks that share the error: before what may take long, or be killed."""
    if error.is_told:
        return
    error.is_told = True
    if error.on_all_ranks and not ranks.is_first:
        return
    if isinstance(error, TrainingError):
        LOG.error("%s", error)
    else:
        print_error(f"error: {error}")


def first_not_finite(tensors: Mapping[str, Tensor]) -> str:
    """The name of the first floating-point tensor with NaN or infinity; empty if there is none.

    Waits for the device once.
    """
    floats = {name: each for name, each in tensors.items() if each.is_floating_point() and each.numel()}
    # The extremes of a tensor are NaN if one of its values is. `isfinite` would take twenty times as long on a CPU.
    extremes = [extreme for each in floats.values() for extreme in torch.aminmax(each.detach())]
    if not extremes or bool(torch.stack([each.float().to(extremes[0].device) for each in extremes]).isfinite().all()):
        return ""
    return next((name for name, each in floats.items() if not each.isfinite().all()), "")


def named_tensors(state: Any, name: str) -> dict[str, Tensor]:
    """The tensors within dicts and lists, by a name such as `optimizer.state.3.momentum_buffer`."""
    if isinstance(state, Tensor):
        return {name: state}
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(state, Mapping):
        items = state.items()
    elif isinstance(state, list | tuple):
        items = enumerate(state)
    return {found: each for key, value in items for found, each in named_tensors(value, f"{name}.{key}").items()}


def _good(state: Path | None) -> str:
    return f"{state} is the last good state" if state else "no state has been saved yet"


def _remedy() -> str:
    return (
        "Lower --lr-base, set --clip-grad, raise --warmup-epochs or use --precision bf16 or fp32; --debug-mode names "
        "the first block with such values"
    )


def _locate(plan: Plan, progress: Progress, global_step: int) -> tuple[int, int]:
    """Epoch and step (from 0) of `global_step`, which is at most an epoch back."""
    back = progress.global_step - global_step
    if back <= progress.step:
        return progress.epoch, progress.step - back
    epoch = progress.epoch - 1
    return epoch, plan.steps_in_epoch(epoch) - (back - progress.step)
