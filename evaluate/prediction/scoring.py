"""Windows of videos to their best classes."""

from collections.abc import Callable
from contextlib import closing, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.errors import NetworkError, TrainingError
from common.known_errors import describe_known_error, is_of_device
from common.precision import DTYPES
from data.augment.normalise import Normalise
from data.clips.one_video import to_clips
from data.clips.windows import Window
from evaluate.model import TrainedModel
from evaluate.prediction.reading import Job, Outcomes
from evaluate.prediction.results import VideoResult, best_of
from evaluate.preprocessing import Preprocessing
from evaluate.view_scores import mean_of_views, view_scores

KEPT = 5  # classes of a window that are kept at least: the annotated video shows so many


class Scorer:
    """A network with what it needs: frames to log-probabilities."""

    def __init__(
        self, model: TrainedModel, preprocessing: Preprocessing, device: torch.device, precision: str, batch_size: int
    ) -> None:
        self.network = model.network
        self.normalise: Normalise = preprocessing.normalise(DTYPES[precision]).to(device)
        self.device, self.precision, self.batch_size = device, precision, batch_size
        self.clips = 0

    def __call__(self, views: np.ndarray) -> Tensor:
        """Log-probabilities (B, C) of B windows of V views uint8 (B, V, T, h, w, 3); one error a user understands."""
        frames = to_clips(views.reshape(-1, *views.shape[2:])).to(self.device)
        try:
            scores = view_scores(self.network, self.normalise, frames, self.precision, self.batch_size)
        except torch.OutOfMemoryError as error:
            raise TrainingError(f"clips of {frames.shape[2:]} need more memory: lower --val-batch-size") from error
        except RuntimeError as error:
            if is_of_device(error) or describe_known_error(error):
                raise
            shape = "x".join(map(str, frames.shape[2:]))
            raise NetworkError(f"the network cannot compute clips of {shape} ({str(error).splitlines()[0]})") from error
        if scores.isnan().any():
            raise TrainingError("the network's outputs are not finite, so there are no scores")
        self.clips += len(scores)
        return mean_of_views(scores.unflatten(0, views.shape[:2]))


def score_all(
    outcomes: Outcomes, scorer: Scorer, top: int, tell: Callable[[int, int], None] = lambda videos, windows: None
) -> dict[str, VideoResult]:
    """The results of all videos, by name. Windows are scored with others of their own video alone.

    So a video's scores do not depend on which others there are. `tell` gets how many videos and windows are done.
    """
    results: dict[str, VideoResult] = {}
    waiting: dict[str, list[Window]] = {}
    done = windows = 0
    context: Any = closing(outcomes) if hasattr(outcomes, "close") else nullcontext()
    with context:
        for outcome in outcomes:
            job: Job = outcome.job
            result = results.setdefault(job.name, VideoResult(job.name, job.path))
            pending = waiting.setdefault(job.name, [])
            if outcome.is_part:
                assert isinstance(outcome.result, Window)
                pending.append(outcome.result)
                if (len(pending) + 1) * len(pending[0].frames) <= scorer.batch_size:
                    continue
            if pending and not outcome.reason:
                _score(pending, scorer, max(top, KEPT), result)
                windows += len(pending)
                pending.clear()
            if not outcome.is_part:
                done += 1
                del waiting[job.name]
                if outcome.reason:
                    named = str(job.path) in outcome.reason
                    result.windows, result.problem = [], outcome.reason if named else f"{job.path}: {outcome.reason}"
                else:
                    assert isinstance(outcome.result, tuple)
                    result.warnings = tuple(map(str, outcome.result))
            tell(done, windows)
    return results


def _score(windows: list[Window], scorer: Scorer, kept: int, result: VideoResult) -> None:
    scores = scorer(np.stack([window.frames for window in windows]))
    for window, row in zip(windows, scores.cpu(), strict=True):
        result.windows.append(best_of(row, kept, window.start, window.end))
