"""What stops a run, in words: videos that cannot be read, memory that does not suffice, losses that are not finite."""

from collections.abc import Sequence
from pathlib import Path

from common.errors import DataError, TrainingError
from data.clips.types import BadVideo
from train.checkpoint.progress import Progress
from train.schedule.plan import Plan, StepSpec


def admit_bad_videos(found: Sequence[BadVideo], so_far: list[BadVideo], limit: int) -> None:
    """Add a batch's bad videos to those of the epoch; DataError if one was not replaced or they exceed `limit`."""
    for bad in found:
        if limit == 0:
            raise DataError(f"{bad.reason}; --on-bad-video skip goes on without such videos")
        so_far.append(bad)
        if bad.replacement is None:
            raise DataError(f"{bad.reason}; and no video drawn in its place could be read")
        if len(so_far) > limit:
            raise DataError(f"{bad.reason}; this is one more than the {limit} that --bad-video-limit allows an epoch")


def memory_error(spec: StepSpec, world_size: int, accumulate: int, last: Path) -> TrainingError:
    """The error of a step whose batch does not fit the GPU's memory; `last` is the newest checkpoint."""
    return TrainingError(
        f"the GPU's memory does not hold a batch of {spec.batch_size // world_size} clips of "
        f"{'x'.join(map(str, spec.shape))} in {accumulate} parts: --accumulate {2 * accumulate} takes it in "
        f"{2 * accumulate}, with the same schedule and batch statistics, and --checkpoint-activations keeps less of "
        f"each; --resume-epoch auto goes on from {last}, if it was saved"
    )


def not_finite_error(plan: Plan, progress: Progress, global_step: int, last: Path) -> TrainingError:
    """The error of a step, at most an epoch ago, whose loss or gradient was not finite."""
    epoch, step = _locate(plan, progress, global_step)
    spec = plan.step_spec(epoch, step)
    state = f"{last} is the last good state" if last.exists() else "no checkpoint has been written yet"
    return TrainingError(
        f"the loss or its gradient is not finite at step {step + 1} of epoch {epoch}: batch {spec.batch_size}, shape "
        f"{'x'.join(map(str, spec.shape))}, lr {plan.lr(epoch, step):.3g}. No update was made from it on; {state}. "
        "Lower --lr-base, set --clip-grad, warm up longer (--warmup-epochs) or use --precision bf16 or fp32; "
        "--debug-mode names the block where it begins",
        on_all_ranks=True,
    )


def _locate(plan: Plan, progress: Progress, global_step: int) -> tuple[int, int]:
    """Epoch and step (from 0) of a step that is at most an epoch ago."""
    back = progress.global_step - global_step
    if back <= progress.step:
        return progress.epoch, progress.step - back
    epoch = progress.epoch - 1
    return epoch, plan.steps_in_epoch(epoch) - (back - progress.step)
