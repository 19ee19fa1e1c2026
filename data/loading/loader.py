"""Batches of clips, read by worker processes straight into memory that the main process hands out.

A batch's way: the batch sampler says in the main process which clips, and a slot of the BatchMemory is chosen for them;
the clips are dealt out to all workers, each of which decodes its share into the slot; what comes back through a pipe is
only what is known of the clips beside their pixels. So the main process neither copies nor waits for memory, the shape
may be another in each batch, and the memory that is needed depends on the batch, not on the number of workers.
"""

import math
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from common.processes import signal_at_parent_death
from data.clips.dataset import ClipDataset
from data.clips.types import BadVideo, Clip, ClipRequest, ClipShape
from data.loading.batch_memory import BatchMemory

SECONDS_AFTER_SIGTERM = 10  # that a worker lives on
BATCHES_AHEAD = 2  # that are being read while one is used, at least
CLIPS_AHEAD = 4  # for each worker, at least: else small batches would leave workers idle


class Batch(NamedTuple):
    """What a loader yields.

    Shapes: B videos, V views of each, T frames of h x w pixels.
    """

    frames: Tensor  # uint8 (B * V, 3, T, h, w), the views of a video side by side; channels_last_3d in memory
    labels: Tensor  # int64 (B,)
    videos: Tensor  # int64 (B,), numbers of those that the pixels come from
    repeated_frames: int
    bad_videos: tuple[BadVideo, ...]
    augmentation: Tensor  # float32 (B, NUM_PARAMS), the draws for data.augment; they stay on the host


class BatchSampler(Protocol):
    """Says which clips each batch has; those of a batch are of one shape."""

    def __iter__(self) -> Iterator[Sequence[ClipRequest]]:
        """The requests of each batch."""

    def __len__(self) -> int:
        """The number of batches."""

    def sizes(self) -> Iterable[tuple[int, ClipShape]]:
        """Number and shape of the clips of the batches, of each kind that any iteration may yield."""


def collate(frames: Tensor, clips: Sequence[Clip]) -> Batch:
    """Make a batch of frames (B, V, T, h, w, 3) and the clips that they belong to.

    Clips that could not be read leave only their entry in `bad_videos`; the others' frames are then copied.
    """
    good = [clip for clip in clips if not clip.is_lost]
    if len(good) < len(clips):
        frames = frames[[not clip.is_lost for clip in clips]]
    return Batch(
        # (B, V, T, h, w, 3) seen as (B * V, 3, T, h, w): no copy, and already channels last.
        frames.flatten(0, 1).permute(0, 4, 1, 2, 3),
        torch.tensor([clip.label for clip in good], dtype=torch.int64),
        torch.tensor([clip.video for clip in good], dtype=torch.int64),
        sum(clip.repeated_frames for clip in good),
        tuple(bad for clip in clips for bad in clip.bad_videos),
        torch.from_numpy(np.stack([clip.augmentation for clip in good])) if good else torch.empty(0),
    )


class SequentialBatches(Sampler[list[ClipRequest]]):
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

    def sizes(self) -> list[tuple[int, ClipShape]]:
        """The whole batches'; the last may be smaller."""
        return [(min(self.batch_size, len(self.indices)), self.shape)]


class BatchLoader:
    """Iterates over batches, time and again with the same workers, which live as long as it does.

    With no workers it reads in this process. The frames of a batch lie in memory that is used again once no tensor
    that shares it is left: hold two batches at most while asking for another, or clone the frames. RuntimeError if more
    are held. `start_method` is that of the workers, None for the platform's own.
    """

    def __init__(
        self,
        dataset: ClipDataset,
        batch_sampler: BatchSampler,
        workers: int,
        pin_memory: bool,
        start_method: str | None = None,
    ) -> None:
        self.dataset = dataset
        self.batch_sampler = batch_sampler
        self._pin_memory = pin_memory
        sizes = list(batch_sampler.sizes())
        fewest = max(1, min((clips for clips, _ in sizes), default=1))
        ahead = max(BATCHES_AHEAD, -(-CLIPS_AHEAD * workers // fewest)) if workers else 0
        views = dataset.sampling.views
        largest = max((clips * views * math.prod(shape) * 3 for clips, shape in sizes), default=0)
        # The batches ahead, one that the consumer asks for, and two that it may still hold when it does.
        self._memory = BatchMemory(ahead + 3, largest)
        self._shares_of_batch = max(1, workers)
        self._shares: DataLoader[_Part] = DataLoader(
            _ShareReader(dataset, self._memory),
            batch_size=None,
            sampler=_Shares(batch_sampler, self._memory, self._shares_of_batch),
            num_workers=workers,
            collate_fn=_as_it_is,  # type: ignore[arg-type]  # with a batch_size of None it gets an item
            persistent_workers=workers > 0,
            worker_init_fn=partial(_start_worker, _parent_of_workers(start_method)) if workers else None,
            prefetch_factor=ahead or None,
            multiprocessing_context=start_method if workers else None,
            # A loader draws a number whenever an epoch begins. From the generator of the process, a run that begins one
            # again in the middle would have another random state from there on than one that did not.
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[Batch]:
        with _interrupts_put_off():
            parts = iter(self._shares)
        if self._pin_memory:
            self._memory.page_lock()
        for parts_of_batch in zip(*[parts] * self._shares_of_batch, strict=True):
            yield self._join(parts_of_batch)

    def _join(self, parts: Sequence["_Part"]) -> Batch:
        """The batch whose shares have all been read."""
        share = parts[0].share
        clips: dict[int, Clip] = {}
        for part in parts:
            clips |= zip(part.share.positions, part.clips, strict=True)
        frames = self._memory.lend(share.slot, share.array_shape(self.dataset.sampling.views))
        return collate(frames, [clips[position] for position in range(share.batch_size)])


class _Share(NamedTuple):
    """The clips of a batch that one worker reads."""

    slot: int  # of the BatchMemory
    batch_size: int
    shape: ClipShape
    positions: range  # in the batch, of the requests
    requests: Sequence[ClipRequest]

    def array_shape(self, views: int) -> tuple[int, ...]:
        """The shape of the whole batch in its slot: (B, V, T, h, w, 3)."""
        return self.batch_size, views, *self.shape, 3


class _Part(NamedTuple):
    """What a worker returns of a share, whose pixels are in their place."""

    share: _Share  # without the requests
    clips: list[Clip]  # without the frames


class _Shares(Sampler[_Share]):
    """Chooses a slot for each batch and deals its clips out to the workers, share n of a batch to worker n.

    Runs in the main process, a fixed number of shares ahead of what has been read. The dealing goes on where the last
    batch ended, so that each worker gets the same number of clips in the long run.
    """

    def __init__(self, batch_sampler: BatchSampler, memory: BatchMemory, workers: int) -> None:
        self.batch_sampler = batch_sampler
        self.memory = memory
        self.workers = workers

    def __len__(self) -> int:
        return len(self.batch_sampler) * self.workers

    def __iter__(self) -> Iterator[_Share]:
        # The workers are done with all that an iteration before this one, left early, had asked of them.
        self.memory.take_back_unlent()
        dealt = 0
        for requests in self.batch_sampler:
            shape = requests[0].shape
            assert all(request.shape == shape for request in requests), requests
            slot = self.memory.take()
            for worker in range(self.workers):
                positions = range((worker - dealt) % self.workers, len(requests), self.workers)
                yield _Share(slot, len(requests), shape, positions, [requests[i] for i in positions])
            dealt += len(requests)


class _ShareReader(Dataset["_Part"]):
    """Reads shares of batches into their slots."""

    def __init__(self, dataset: ClipDataset, memory: BatchMemory) -> None:
        self.dataset = dataset
        self.memory = memory

    def __getitem__(self, share: _Share) -> _Part:
        batch = self.memory.array(share.slot, share.array_shape(self.dataset.sampling.views))
        clips = [
            self.dataset.read(request, out=batch[position])
            for position, request in zip(share.positions, share.requests, strict=True)
        ]
        return _Part(share._replace(requests=()), clips)


def _as_it_is(part: _Part) -> _Part:
    return part


@contextmanager
def _interrupts_put_off() -> Iterator[None]:
    """Have Ctrl-C wait: Python drops an exception that comes while it forks, and with it the user's wish to stop."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: received.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if received:
        signal.raise_signal(signal.SIGINT)


def _parent_of_workers(start_method: str | None) -> int | None:
    """The process id of this; None with a fork server, which is the workers' parent and ends with this process."""
    server = (start_method or multiprocessing.get_start_method()) == "forkserver"
    return None if server else os.getpid()


def _start_worker(parent: int | None, _: int) -> None:
    cv2.setNumThreads(0)  # the workers are the parallelism; threads inside each would fight for the same cores
    # The system ends a worker with the main process, however that ends; torch's own look at it comes every few seconds,
    # and not while a result waits in a full pipe.
    signal_at_parent_death(signal.SIGKILL, parent)
    # A signal to the whole job is the main process's to answer: it saves, and the workers end with it. But SIGTERM may
    # also be its own way to end a worker that it waits for, so that one only puts the end off.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(SECONDS_AFTER_SIGTERM))
