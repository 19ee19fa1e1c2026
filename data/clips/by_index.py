"""The clips of a split by their number, as torch's DataLoader and a notebook ask for them: Clips."""

import operator
from collections.abc import Callable, Sequence
from functools import cached_property
from numbers import Integral
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from common.cli import LARGEST
from common.errors import DataError
from common.text import quoted
from data.clips.dataset import ClipDataset
from data.clips.epochs import SharedEpochs
from data.clips.sampling import RandomClips, UniformClips
from data.clips.types import ClipRequest, ClipShape
from data.labels.video_list import VideoList


def whole_number(name: str, value: object, least: int = 1) -> int:
    """An argument as a plain integer; DataError unless it is a whole number of `least` or more."""
    if not isinstance(value, Integral) or not least <= int(value) <= LARGEST:
        raise DataError(f"{name} {quoted(value)}: must be a whole number of {least} or more")
    return int(value)


class Clips(Dataset[tuple[Any, int]]):
    """One clip of each video of a split: `clips[i]` is (frames, label).

    Frames are uint8 (3, T, h, w), RGB, or what `transform` makes of that; the label is the index of the class in
    `classes`. Random clips (`is_random`) are keyed by (seed, epoch, i): the n-th clip of video i is that of epoch + n,
    in whatever process it is read. So a video has another clip each time, and the same ones again after `set_epoch`.
    IndexError as of a list; DataError, of one line, for a video that cannot be read.
    """

    def __init__(
        self,
        videos: VideoList,
        sampling: RandomClips | UniformClips,
        shape: ClipShape,
        is_random: bool,
        seed: int = 0,
        transform: Callable[[Tensor], Any] | None = None,
    ) -> None:
        assert sampling.views == 1, sampling
        self.videos = videos
        self.sampling = sampling
        self.shape = shape
        self.is_random = is_random
        self.seed = seed
        self.transform = transform
        self._dataset = ClipDataset(videos, sampling, seed)
        self._epochs = SharedEpochs(len(videos))
        self._passes = 0  # of loaders, since the epoch began; workers need not know

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: SupportsIndex) -> tuple[Any, int]:
        number = self._number(index)
        clip = self._dataset[ClipRequest(number, self.shape, self._epochs.next_of(number))]
        if clip.is_lost:
            raise DataError(clip.bad_videos[-1].reason)
        frames = clip.frames[0].permute(3, 0, 1, 2)  # (T, h, w, 3) to (3, T, h, w)
        return frames if self.transform is None else self.transform(frames), clip.label

    def views(self, index: SupportsIndex, clips: int = 10) -> Tensor:
        """Evenly spaced clips of a video, as in an evaluation: uint8 (V, 3, T, h, w), V = `clips`."""
        number = self._number(index)
        uniform = self.sampling.evenly(whole_number("clips", clips))
        clip = ClipDataset(self.videos, uniform, self.seed)[ClipRequest(number, self.shape, 0)]
        if clip.is_lost:
            raise DataError(clip.bad_videos[-1].reason)
        return clip.frames.permute(0, 4, 1, 2, 3)  # (V, T, h, w, 3) to (V, 3, T, h, w)

    @property
    def classes(self) -> Sequence[str]:
        """The class names, in the order of the labels."""
        return self.videos.classes

    @cached_property
    def labels(self) -> np.ndarray:
        """The class index of each video: int64 (N,)."""
        return self.videos.labels.copy()  # torch.from_numpy warns of arrays that cannot be written

    @property
    def epoch(self) -> int:
        """The epoch that was set last; 0 at first."""
        return self._epochs.epoch

    def set_epoch(self, epoch: int) -> None:
        """Draw the clips of this epoch, 0 or more, from now on, also in workers that run already."""
        self._epochs.set(whole_number("epoch", epoch, least=0))
        self._passes = 0

    def next_epoch(self) -> int:
        """The epoch of a loader's next pass over all videos: the one that was set, then one later each time."""
        self._passes += 1
        return self.epoch + self._passes - 1

    def path(self, index: SupportsIndex) -> Path:
        """The folder of a video's frames, or the video file; IndexError as of a list."""
        return self.videos.path(self._number(index))

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.shape))
        kind = "random" if self.is_random else "centred"
        return f"<{len(self)} {kind} clips of {shape}, {len(self.classes)} classes>"

    def _number(self, index: SupportsIndex) -> int:
        try:
            number = operator.index(index)
        except TypeError:
            raise TypeError(
                f"a clip has a whole number, not {index!r}; torch.utils.data.Subset(clips, numbers) has several"
            ) from None
        if not -len(self) <= number < len(self):
            raise IndexError(f"clip {number} of {len(self)}")
        return number % len(self)
