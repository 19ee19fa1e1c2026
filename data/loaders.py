"""DataLoaders of clips, and the batches that they make."""

import signal
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from data.datasets import ClipRequest, ClipShape
from data.video_iterator import BadVideo, Clip, VideoIterator

SECONDS_AFTER_SIGTERM = 10  # that a worker lives on


class Batch(NamedTuple):
    """What a loader yields.

    Shapes: B videos, V views of each, T frames of h x w pixels.
    """

    frames: Tensor  # uint8 (B * V, 3, T, h, w), the views of a video side by side; channels_last_3d in memory
    labels: Tensor  # int64 (B,)
    videos: Tensor  # int64 (B,), numbers of those that the pixels come from
    repeated_frames: int
    bad_videos: tuple[BadVideo, ...]
    augmentation: Tensor  # float32 (B, NUM_DRAWS), the draws for data.augment; they stay on the host

    def pin_memory(self) -> "Batch":
        """The batch in page-locked memory, from which copies to a GPU do not wait."""
        return self._replace(frames=self.frames.pin_memory(), labels=self.labels.pin_memory())


def collate(clips: Sequence[Clip]) -> Batch:
    """Stack clips; those that could not be read leave only their entry in `bad_videos`."""
    good = [clip for clip in clips if clip.frames.numel()]
    # (B, V, T, h, w, 3) seen as (B * V, 3, T, h, w): no copy, and already channels last.
    frames = (
        torch.stack([clip.frames for clip in good]).flatten(0, 1).permute(0, 4, 1, 2, 3) if good else torch.empty(0)
    )
    return Batch(
        frames,
        torch.tensor([clip.label for clip in good], dtype=torch.int64),
        torch.tensor([clip.video for clip in good], dtype=torch.int64),
        sum(clip.repeated_frames for clip in good),
        tuple(bad for clip in clips for bad in clip.bad_videos),
        torch.stack([clip.augmentation for clip in good]) if good else torch.empty(0),
    )


class EachOnce(Sampler[list[ClipRequest]]):
    """Batches that ask for every `step`-th video from `first` on, once and in order: an evaluation's batch sampler."""

    def __init__(self, num_videos: int, batch_size: int, shape: ClipShape, first: int = 0, step: int = 1) -> None:
        self.indices = range(first, num_videos, step)
        self.batch_size = batch_size
        self.shape = shape

    def __len__(self) -> int:
        return -(-len(self.indices) // self.batch_size)

    def __iter__(self) -> Iterator[list[ClipRequest]]:
        for start in range(0, len(self.indices), self.batch_size):
            chosen = self.indices[start : start + self.batch_size]
            yield [ClipRequest(index, self.shape, 0, 1.0) for index in chosen]


def make_loader(
    dataset: VideoIterator, batch_sampler: Sampler[list[ClipRequest]], workers: int, pin_memory: bool
) -> DataLoader[Batch]:
    """A DataLoader whose worker processes live as long as it does; with no workers it reads in this process."""
    return DataLoader(
        dataset,  # type: ignore[arg-type]  # its items are Clips, of which `collate` makes Batches
        batch_sampler=batch_sampler,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin_memory,
        persistent_workers=workers > 0,
        worker_init_fn=_start_worker if workers else None,
        prefetch_factor=2 if workers else None,
        # A loader draws a number whenever an epoch begins. From the generator of the process, a run that begins one
        # again in the middle would have another random state from there on than one that did not.
        generator=torch.Generator(),
    )


def _start_worker(_: int) -> None:
    cv2.setNumThreads(0)  # the workers are the parallelism; threads inside each would fight for the same cores
    # A signal to the whole job is the main process's to answer: it saves, and the workers end with it. But SIGTERM may
    # also be its own way to end a worker that it waits for, so that one only puts the end off.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(SECONDS_AFTER_SIGTERM))
