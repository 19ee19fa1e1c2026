"""What would stop the run although its command is right: bad videos. Said before the numbers."""

from data.labels.text import counted
from train.estimate.meter import Measured, Videos
from train.estimate.set_up import Run


def problems(run: Run, measured: Measured) -> list[str]:
    """A line for each."""
    return [
        *_of_videos(run, measured.train_videos, "training", len(run.splits.train)),
        *_of_videos(run, measured.val_videos, "validation", len(run.splits.val)),
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
