"""What would stop the run although its command is right: bad videos, a disk without room. Said before the numbers."""

from data.labels.text import counted
from train.estimate.costs import Costs
from train.estimate.disk import free_bytes
from train.estimate.meter import Measured
from train.estimate.set_up import Run
from train.estimate.sizes import size_text
from train.estimate.validation import Videos

REPORT_BYTES, EPOCH_BYTES = 1000, 600  # of log, score files and TensorBoard


def problems(run: Run, measured: Measured) -> list[str]:
    """A line for each."""
    return [
        *_of_videos(run, measured.train_videos, "training", len(run.splits.train)),
        *_of_videos(run, measured.val_videos, "validation", len(run.splits.val)),
        *_of_disk(run, measured.costs),
    ]


def _of_videos(run: Run, videos: Videos, split: str, number: int) -> list[str]:
    """What the run does at videos that cannot be read, of the `number` that a split has."""
    if not videos.bad:
        return []
    bad, tried, limit = len(videos.bad), len(videos.tried), run.bad_videos_allowed
    text = f"{bad} of the {counted(tried, f'{split} video')} that were tried could not be read ({bad / tried:.1%}): "
    # In training a video that is read in place of a bad one may be bad as well.
    expected = number * bad / (max(1, tried - bad) if split == "training" else tried)
    if not limit:
        text += "the run will stop at the first of them: --on-bad-video skip"
    elif expected > limit:
        text += f"about {expected:,.0f} in an epoch, and the run will stop at more than {limit} (--bad-video-limit)"
    else:
        text += f"the run {'reads others in their place' if split == 'training' else 'leaves them out of the scores'}"
    return [f"{text}; python -m data.prepare.verify finds them"]


def _of_disk(run: Run, costs: Costs) -> list[str]:
    """Whether the run's files fit the disk; its checkpoints that are there already take no further room."""
    there = sum(path.stat().st_size for path in run.trainer.folder.files() if path.is_file())
    needed, free = disk_bytes(run, costs) - there, free_bytes(run.place)
    if needed <= free:
        return []
    return [
        f"the run needs {size_text(needed)} on the disk of {run.place}, which has {size_text(free)} free: a lower "
        "--keep or another --model-dir"
    ]


def disk_bytes(run: Run, costs: Costs) -> int:
    """The most bytes that the run's files have at a time."""
    return costs.checkpoints() * costs.checkpoint_bytes + log_bytes(run, costs)


def log_bytes(run: Run, costs: Costs) -> int:
    """Log, score files and TensorBoard's events, about."""
    plan = costs.plan
    reports = plan.total_steps // run.log_every + plan.num_epochs
    return reports * REPORT_BYTES + plan.num_epochs * EPOCH_BYTES
