"""Errors that stop a run: videos that cannot be read, too little memory, losses that are not finite."""

from collections.abc import Sequence
from pathlib import Path

from common.errors import DataError, TrainingError
from data.clips.types import BadVideo
from train.checkpoint.progress import Progress
from train.schedule.plan import Plan, StepSpec


def admit_bad_videos(found: Sequence[BadVideo], so_far: list[BadVideo], limit: int) -> None:
    """Add a batch's bad videos to those of the epoch.

    DataError if a video was not replaced, or if the epoch has more than `limit` bad videos (0: none is allowed).
    """
    for bad in found:
        if limit == 0:
            raise DataError(f"{bad.reason}; convert it again, or replace such videos with --on-bad-video skip")
        so_far.append(bad)
        if bad.replacement is None:
            raise DataError(f"{bad.reason}; none of the replacements tried could be read either: check --dataset")
        if len(so_far) > limit:
            raise DataError(
                f"{bad.reason}; the epoch has {len(so_far)} bad videos and --bad-video-limit allows {limit}: convert "
                "them again, or raise the limit"
            )


def memory_error(spec: StepSpec, world_size: int, accumulate: int, last: Path) -> TrainingError:
    """The error of a batch that does not fit the GPU's memory; `last` is the newest checkpoint."""
    parts = 2 * accumulate
    return TrainingError(
        f"the GPU's memory does not hold a batch of {spec.batch_size // world_size} clips of "
        f"{'x'.join(map(str, spec.shape))} in {accumulate} parts. Give --accumulate {parts}, which keeps the schedule "
        f"(where {parts} does not divide the number of sub-batches, batch-norm statistics cover fewer clips), or "
        f"--checkpoint-activations, which takes more time; --resume-epoch auto resumes from {last}, if it was saved"
    )


def not_finite_error(plan: Plan, progress: Progress, global_step: int, last: Path) -> TrainingError:
    """The error of a step, at most an epoch back, whose loss or gradient was not finite."""
    epoch, step = _locate(plan, progress, global_step)
    spec = plan.step_spec(epoch, step)
    state = f"{last} is the last good state" if last.exists() else "no checkpoint has been written yet"
    return TrainingError(
        f"the loss or its gradient is not finite at step {step + 1} of epoch {epoch}: batch {spec.batch_size}, shape "
        f"{'x'.join(map(str, spec.shape))}, lr {plan.lr(epoch, step):.3g}. No update was made from this step on; "
        f"{state}. Lower --lr-base, set --clip-grad, raise --warmup-epochs or use --precision bf16 or fp32; "
        "--debug-mode names the first block with such values",
        on_all_ranks=True,
    )


def _locate(plan: Plan, progress: Progress, global_step: int) -> tuple[int, int]:
    """Epoch and step (from 0) of `global_step`, which is at most an epoch back."""
    back = progress.global_step - global_step
    if back <= progress.step:
        return progress.epoch, progress.step - back
    epoch = progress.epoch - 1
    return epoch, plan.steps_in_epoch(epoch) - (back - progress.step)
