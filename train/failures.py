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


def memory_error(plan: Plan, spec: StepSpec, accumulate: int, last: Path) -> TrainingError:
    """The error of a batch that does not fit the GPU's memory; `last` is the newest checkpoint."""
    return TrainingError(
        f"the GPU's memory does not hold a batch of {spec.batch_size // plan.world_size} clips of "
        f"{'x'.join(map(str, spec.shape))} in {accumulate} parts. Give {_more_parts(plan, spec, accumulate)}"
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
    effect = "batch norm stays the same"
    if changed:
        shapes = ", ".join(dict.fromkeys("x".join(map(str, other.shape)) for other in changed))
        effect = f"but batch norm covers fewer clips at {shapes}"
    return f"--accumulate {parts} (the schedule stays the same, {effect}), or "


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
