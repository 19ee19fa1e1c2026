"""Where a batch is read: BatchLoader, whose worker processes decode clips directly into the batch's memory.

In the main process, the batch sampler yields the requests of a batch, and a slot of the BatchMemory is reserved for it.
The requests are split into one chunk per worker. Each worker decodes its chunk into the slot and returns everything but
the pixels through a pipe. So the main process copies no pixels, each batch may have another shape, and the size of the
memory depends on the batch and not on the number of workers.
"""

import errno
import gc
import math
import multiprocessing
import os
import signal
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from common.distributed.stop_signal import do_nothing
from common.errors import DataError
from common.processes import signal_at_parent_death
from data.clips.dataset import ClipDataset
from data.clips.types import BadVideo, Clip, ClipRequest, ClipShape
from data.loading.batch_memory import BatchMemory
from data.loading.waiting import Waiting

STOPPING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)  # that a run may catch
SECONDS_AFTER_SIGTERM = 3600  # until a worker obeys it, where the kernel does not end it with the main process
SECONDS_TO_END = 2.0  # that workers have to end by themselves
SECONDS_TO_DIE = 10.0  # that all of them have when they are killed
BATCHES_AHEAD = 2  # at least so many are read ahead
CLIPS_AHEAD = 4  # at least so many per worker are read ahead; with small batches, workers would otherwise be idle


class Batch(NamedTuple):
    """What a loader yields.

    Shapes: B videos, V views of each, T frames of h x w pixels.
    """

    frames: Tensor  # uint8 (B * V, 3, T, h, w), the views of a video are neighbours; channels_last_3d in memory
    labels: Tensor  # int64 (B,)
    videos: Tensor  # int64 (B,), indices of the videos that were read
    repeated_frames: int
    bad_videos: tuple[BadVideo, ...]
    augmentation_params: Tensor  # float32 (B, NUM_PARAMS), for data.augment; on the host


class BatchSampler(Protocol):
    """Yields the requests of each batch; all requests of a batch have the same shape."""

    def __iter__(self) -> Iterator[Sequence[ClipRequest]]:
        """The requests of each batch."""

    def __len__(self) -> int:
        """The number of batches."""

    def sizes(self) -> Iterable[tuple[int, ClipShape]]:
        """(batch size, clip shape) of every kind of batch that any iteration may yield."""


def collate(frames: Tensor, clips: Sequence[Clip]) -> Batch:
    """Make a batch of frames (B, V, T, h, w, 3) and their B clips.

    Lost clips are left out except for their entry in `bad_videos`; the frames of the others are then copied.
    """
    good = [clip for clip in clips if not clip.is_lost]
    if len(good) < len(clips):
        frames = frames[[not clip.is_lost for clip in clips]]
    return Batch(
        # (B, V, T, h, w, 3) viewed as (B * V, 3, T, h, w): no copy, and channels last in memory.
        frames.flatten(0, 1).permute(0, 4, 1, 2, 3),
        torch.tensor([clip.label for clip in good], dtype=torch.int64),
        torch.tensor([clip.video for clip in good], dtype=torch.int64),
        sum(clip.repeated_frames for clip in good),
        tuple(bad for clip in clips for bad in clip.bad_videos),
        torch.from_numpy(np.stack([clip.augmentation_params for clip in good])) if good else torch.empty(0),
    )


class SequentialBatches(Sampler[list[ClipRequest]]):
    """An evaluation's batch sampler: videos first, first + step, ... in order, each exactly once, without padding."""

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
        """That of the full batches; the last one may be smaller."""
        return [(min(self.batch_size, len(self.indices)), self.shape)]


class BatchLoader:
    """Iterates over batches, any number of times, with workers that live as long as it does (0: reads in this process).

    The memory of a batch is used again when no tensor that shares it is left: hold at most two batches when fetching
    another, or clone their frames; else RuntimeError. `start_method` is that of multiprocessing, None for the default.
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
        # Slots: the batches that are read ahead, the one that the caller fetches, and two that it may still hold.
        self._memory = BatchMemory(ahead + 3, largest)
        self._chunks_per_batch = max(1, workers)
        self.waiting = Waiting(dataset.videos.path)
        self._chunk_sampler = _ChunkSampler(batch_sampler, self._memory, self._chunks_per_batch, self.waiting.asked)
        self._chunks: DataLoader[_ReadChunk] = DataLoader(
            _ChunkReader(dataset, self._memory),
            batch_size=None,
            sampler=self._chunk_sampler,
            num_workers=workers,
            collate_fn=_identity,  # type: ignore[arg-type]  # with batch_size None it gets a single item
            persistent_workers=workers > 0,
            worker_init_fn=partial(_start_worker, _has_server(start_method)) if workers else None,
            prefetch_factor=ahead or None,
            multiprocessing_context=start_method if workers else None,
            # DataLoader draws a seed from the global generator at every epoch. Give it a private generator, so that
            # resuming in mid-epoch does not change the global random state.
            generator=torch.Generator(),
        )
        self._workers: list[BaseProcess] = []
        self._end_workers: weakref.finalize | None = None
        _LOADERS.add(self)

    def __len__(self) -> int:
        return len(self.batch_sampler)

    @property
    def pixels(self) -> int:
        """About the views x frames x height x width of an iteration: as if all batches were of the largest kind."""
        largest = max((clips * math.prod(shape) for clips, shape in self.batch_sampler.sizes()), default=0)
        return len(self) * largest * self.dataset.sampling.views

    def __iter__(self) -> Iterator[Batch]:
        """Begin to read: the workers read the first batches before they are asked for. An earlier iteration ends."""
        chunks = self._read_chunks()
        if self._pin_memory:
            self._memory.page_lock()
        return self._joined(chunks)

    def start_workers(self) -> None:
        """Start the workers, if there are any, without a batch to read; else the first iteration does.

        A process that is forked copies the parent's page tables and only one of its threads. So the fewer there are
        of both, the better: start them before the network is on a GPU.
        """
        if self._chunks.num_workers and not self._has_workers:
            self._chunk_sampler.is_idle = True
            try:
                self._read_chunks()
            finally:
                self._chunk_sampler.is_idle = False

    @property
    def _has_workers(self) -> bool:
        return self._chunks._iterator is not None

    def _read_chunks(self) -> Iterator["_ReadChunk"]:
        """The chunks of a new iteration, whose reading begins; the workers, if they are new, are noted."""
        if self._has_workers:
            return self._read_anew()
        if self._chunks.num_workers:
            gc.collect()  # here, and not in a worker: see `_start_worker`
            _kill_workers_at_exit()
        others = set(multiprocessing.active_children())
        with _deferred_signals():
            try:
                chunks = self._start_reading()
            finally:  # also those that were started before one could not be
                self._workers += [process for process in multiprocessing.active_children() if process not in others]
            if self._end_workers is None and (iterator := self._chunks._iterator):
                self.waiting.note_waits_of(iterator)
                # Else torch's iterator would end them when it is deleted. In a reference cycle, as an exception makes
                # one, its queues are deleted first: it would wait five seconds for each worker, which is never told to
                # end.
                self._end_workers = weakref.finalize(self, _end_workers, iterator, self._workers, os.getpid())
                self._end_workers.atexit = False  # type: ignore[misc]  # see `_kill_workers`; no slot in typeshed
        return chunks

    def _read_anew(self) -> Iterator["_ReadChunk"]:
        """As `_read_chunks`, by the workers that there are. It waits until each has done what it was asked for before.

        They end if that wait is given up, as after a signal: half of them would have begun anew.
        """
        try:
            return self._start_reading()
        except BaseException:
            self.close()
            raise

    def _joined(self, chunks: Iterator["_ReadChunk"]) -> Iterator[Batch]:
        for chunks_of_batch in zip(*[self._noted(chunks)] * self._chunks_per_batch, strict=True):
            yield self._join(chunks_of_batch)

    def _noted(self, chunks: Iterator["_ReadChunk"]) -> Iterator["_ReadChunk"]:
        """The chunks, which are no longer waited for when they have come."""
        for chunk in chunks:
            if self.waiting.asked:
                self.waiting.asked.popleft()
            yield chunk

    def close(self) -> None:
        """End the workers. An iteration that is under way cannot go on; the next one starts others."""
        if self._end_workers is not None:
            self._end_workers()
        self._end_workers = self._chunks._iterator = None

    def _start_reading(self) -> Iterator["_ReadChunk"]:
        try:
            return iter(self._chunks)
        except OSError as error:  # workers cannot be started; torch's unfinished iterator fails when it is deleted
            hook = sys.unraisablehook
            sys.unraisablehook = lambda _: None
            error.__traceback__ = None  # it holds the iterator, which is deleted here
            sys.unraisablehook = hook
            if error.errno == errno.ENOSPC:  # of the semaphores of their queues
                raise DataError(
                    "/dev/shm is full, which the processes that read clips need: enlarge it (docker run --shm-size), "
                    "or give --workers 0"
                ) from error
            raise

    def _join(self, chunks: Sequence["_ReadChunk"]) -> Batch:
        """The batch of all its chunks."""
        clips: dict[int, Clip] = {}
        for read in chunks:
            clips |= zip(read.chunk.positions, read.clips, strict=True)
        chunk = chunks[0].chunk
        frames = self._memory.tensor(chunk.slot, chunk.batch_shape(self.dataset.sampling.views))
        return collate(frames, [clips[position] for position in range(chunk.batch_size)])


def _end_workers(iterator: Any, workers: list[BaseProcess], parent: int) -> None:
    """End the workers of a loader's iterator, in the process that started them."""
    if os.getpid() != parent:
        return

    def kill() -> None:
        for process in workers:
            process.kill()

    # A second Ctrl-C would leave workers, with a traceback of an exception that Python ignores here.
    with _deferred_signals(kill), _unreported_deaths():
        timer = threading.Timer(SECONDS_TO_END, kill)  # torch would wait five seconds for each that stands still
        timer.daemon = True
        if iterator._worker_pids_set:  # in other threads, too, torch would report the deaths as errors
            torch.utils.data._utils.signal_handling._remove_worker_pids(id(iterator))
            iterator._worker_pids_set = False
        with suppress(RuntimeError):  # no thread starts any more while Python ends
            timer.start()
        try:
            iterator._shutdown_workers()
        finally:
            timer.cancel()
            if timer.is_alive():
                timer.join()  # no process is forked beside it
            _kill(workers)  # those that are busy
            workers.clear()


def _kill(workers: Sequence[BaseProcess]) -> None:
    """Kill worker processes, also stopped ones, and wait for their end.

    One that waits within the kernel for a disk that does not answer ends only when the disk does: it is left.
    """
    for process in workers:
        process.kill()
    until = time.monotonic() + SECONDS_TO_DIE
    for process in workers:
        process.join(max(0.0, until - time.monotonic()))
        if process.exitcode is None:
            multiprocessing.process._children.discard(process)  # type: ignore[attr-defined]  # waited for at the exit


@contextmanager
def _unreported_deaths() -> Iterator[None]:
    """Inside this context, torch does not raise an error, wherever this process is, about workers that have died."""
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGCHLD, do_nothing) if is_main else None
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGCHLD, before)


_LOADERS: "weakref.WeakSet[BatchLoader]" = weakref.WeakSet()
_KILLING_AT_EXIT: set[int] = set()  # the process that will; one that was forked from it has none of its finalizers


def _kill_workers_at_exit() -> None:
    """Have this process kill its workers when it ends, be it Python's main process or a child of multiprocessing."""
    if os.getpid() not in _KILLING_AT_EXIT:
        _KILLING_AT_EXIT.add(os.getpid())
        Finalize(None, _kill_workers, exitpriority=100)


def _kill_workers() -> None:
    """Kill the workers of the loaders that are left when this process ends, as after an exception.

    multiprocessing would then send SIGTERM and wait for the workers, which ignore it (see `_start_worker`).
    """
    noted = [process for loader in _LOADERS for process in loader._workers]
    workers = [process for process in noted if process._parent_pid == os.getpid()]  # type: ignore[attr-defined]
    if workers and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, do_nothing)  # torch's handler would report their death as an error
    _kill(workers)


class _Chunk(NamedTuple):
    """The requests of a batch that one worker reads."""

    slot: int  # of the BatchMemory
    batch_size: int
    shape: ClipShape
    positions: Sequence[int]  # of the requests in the batch
    requests: Sequence[ClipRequest]

    def batch_shape(self, views: int) -> tuple[int, ...]:
        """The shape of the whole batch in its slot: (B, V, T, h, w, 3)."""
        return self.batch_size, views, *self.shape, 3


class _ReadChunk(NamedTuple):
    """What a worker returns after it has written a chunk's pixels to the slot."""

    chunk: _Chunk  # without the requests
    clips: list[Clip]  # without the frames


class _ChunkSampler(Sampler[_Chunk]):
    """Reserves a slot for each batch and splits its requests into chunks: chunk n of a batch is read by worker n.

    Runs in the main process, a fixed number of chunks ahead of the reading. Videos are assigned round-robin across
    batches, so that all workers read the same number of clips in the long run. All clips of a video in a batch (see
    --repeat-clips) are one worker's, one after the other, so that it opens the video once.
    """

    def __init__(
        self, batch_sampler: BatchSampler, memory: BatchMemory, workers: int, asked: deque[Sequence[int]]
    ) -> None:
        """`asked` gets the videos of each chunk."""
        self.batch_sampler = batch_sampler
        self.memory = memory
        self.workers = workers
        self.asked = asked
        self.is_idle = False  # whether an iteration is to have no chunks

    def __len__(self) -> int:
        return len(self.batch_sampler) * self.workers

    def __iter__(self) -> Iterator[_Chunk]:
        # If the iteration before was left early, DataLoader has waited for its chunks: no worker writes any more.
        self.memory.release_reserved()
        self.asked.clear()
        if self.is_idle:
            return
        assigned = 0
        for requests in self.batch_sampler:
            shape = requests[0].shape
            assert all(request.shape == shape for request in requests), requests
            slot = self.memory.reserve()
            videos: dict[tuple[int, int], list[int]] = {}
            for position, request in enumerate(requests):
                videos.setdefault((request.index, request.epoch), []).append(position)
            groups = list(videos.values())
            for worker in range(self.workers):
                own = groups[(worker - assigned) % self.workers :: self.workers]
                positions = [position for group in own for position in group]
                self.asked.append([requests[i].index for i in positions])
                yield _Chunk(slot, len(requests), shape, positions, [requests[i] for i in positions])
            assigned += len(groups)


class _ChunkReader(Dataset[_ReadChunk]):
    """Reads chunks of batches into their slots; runs in the workers."""

    def __init__(self, dataset: ClipDataset, memory: BatchMemory) -> None:
        self.dataset = dataset
        self.memory = memory

    def __getitem__(self, chunk: _Chunk) -> _ReadChunk:
        batch = self.memory.array(chunk.slot, chunk.batch_shape(self.dataset.sampling.views))
        clips = self.dataset.read_all(chunk.requests, [batch[position] for position in chunk.positions])
        return _ReadChunk(chunk._replace(requests=()), clips)


def _identity(read: _ReadChunk) -> _ReadChunk:
    return read


@contextmanager
def _deferred_signals(at_once: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Defer signals until the block ends: Python ignores an exception that one of them raises in a hook of fork.

    `at_once` is called when one comes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []

    def note(number: int, _: object) -> None:
        received.append(number)
        at_once()

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *STOPPING)}
    for number, handler in before.items():
        if callable(handler):
            signal.signal(number, note)
    try:
        yield
    finally:
        for number, handler in before.items():
            if callable(handler):
                signal.signal(number, handler)
    for each in dict.fromkeys(received):
        signal.raise_signal(each)


def _has_server(start_method: str | None) -> bool:
    """Whether the workers' parent is a fork server, which ends with this process."""
    return (start_method or multiprocessing.get_start_method()) == "forkserver"


def _start_worker(has_server: bool, _: int) -> None:
    starter = multiprocessing.parent_process()
    parent = None if has_server or starter is None else starter.pid
    gc.freeze()  # what the main process no longer needs is not a worker's to end, such as another loader's processes
    cv2.setNumThreads(0)  # workers are the parallelism; threads in each would compete for the same cores
    # Have the kernel end the worker when the main process ends. DataLoader checks that only every few seconds, and not
    # while a result waits in a full pipe.
    ends_with_parent = signal_at_parent_death(signal.SIGKILL, parent)
    # Signals sent to the whole job are handled by the main process, which may need its workers for long: until its step
    # and its checkpoint are done. It ends them by SIGKILL (`_end_workers`, `_kill_workers`), so they need obey nothing
    # else. Where the kernel does not end a worker with its parent, SIGTERM does, long after: none is left for ever.
    for number in (signal.SIGINT, *STOPPING):
        signal.signal(number, signal.SIG_IGN)
    if not ends_with_parent:
        signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(SECONDS_AFTER_SIGTERM))
