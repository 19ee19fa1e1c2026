"""How fast batches come from worker processes: against one core's rate, and against the usual way.

    python -m benchmarks.batches [--workers 2] [--seconds 8]

First what N workers yield of batches of 24x16x224x224 in clips per second of the wall clock, and which share of N times
one core's rate that is; the main process takes the batches and does nothing else, and its own time is shown. Then the
four batches of the original's README, each in two ways: the rate that lasts, and the rate at which one batch is fetched
that the workers had ready before it was asked for, which says nothing of how fast clips are read.

The databases are of frames of 340x256 in JPEG quality 90, about 17 kB each, and are warm in the system's cache.
"""

import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from rich import box
from rich.table import Table
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.corpus import make_corpus
from data.commandline import CommandParser, positive_integer, run_command
from data.datasets import ClipRequest, ClipShape
from data.loaders import BatchLoader
from data.video_iterator import RandomClip, VideoIterator
from data.video_list import FoundVideo, VideoList, pack
from train.logs import make_console

SIZE = (256, 340)  # height and width of the source
FRAMES = 64
BATCH = (24, ClipShape(16, 224, 224))
ROWS = (
    (1536, ClipShape(4, 80, 80)),
    (384, ClipShape(8, 112, 112)),
    (96, ClipShape(16, 158, 158)),
    (48, ClipShape(16, 224, 224)),
)


def make_videos(folder: Path, videos: int) -> VideoList:
    """A corpus of one class."""
    made = make_corpus(folder / "class", SIZE, videos, FRAMES)
    return pack(folder, ("class",), [(0, FoundVideo("class", video.name, FRAMES, "")) for video in made])


class Endless:
    """Batches of all videos in turn, for ever; of one size, or of several as a short cycle has them."""

    def __init__(self, num_videos: int, sizes: Sequence[tuple[int, ClipShape]]) -> None:
        self.num_videos = num_videos
        self._sizes = sizes

    def __len__(self) -> int:
        return 2**31

    def __iter__(self) -> Iterator[list[ClipRequest]]:
        clip = 0
        for step in count():
            clips, shape = self._sizes[step % len(self._sizes)]
            yield [
                ClipRequest(each % self.num_videos, shape, each // self.num_videos)
                for each in range(clip, clip + clips)
            ]
            clip += clips

    def sizes(self) -> Sequence[tuple[int, ClipShape]]:
        return self._sizes


def dataset_of(videos: VideoList) -> VideoIterator:
    return VideoIterator(videos, RandomClip((2, 2), flip=True), seed=0)


def own(videos: VideoList, sizes: Sequence[tuple[int, ClipShape]], workers: int) -> Iterable[Tensor]:
    """This project's loader."""
    loader = BatchLoader(dataset_of(videos), Endless(len(videos), sizes), workers, torch.cuda.is_available())
    return (batch.frames for batch in loader)


def stock(videos: VideoList, sizes: Sequence[tuple[int, ClipShape]], workers: int) -> Iterable[Tensor]:
    """The usual way: a worker reads a batch clip by clip, stacks it, and sends it through shared memory of its own."""
    loader = DataLoader(
        dataset_of(videos),
        batch_sampler=Endless(len(videos), sizes),  # type: ignore[arg-type]
        num_workers=workers,
        collate_fn=_stack,
        prefetch_factor=2,
        pin_memory=torch.cuda.is_available(),
    )
    return iter(loader)


def _stack(clips: list) -> Tensor:
    return torch.stack([clip.frames for clip in clips]).flatten(0, 1).permute(0, 4, 1, 2, 3)


class Rate(NamedTuple):
    """What was measured of a loader."""

    clips: float  # a second
    main: float  # share of the wall clock that the main process computed


def sustained(batches: Iterable[Tensor], seconds: float, warm_up: int = 4) -> Rate:
    """Clips per second once the batches that were ready at the start are gone."""
    source = iter(batches)
    for _ in islice(source, warm_up):
        pass
    started, computed, clips = time.perf_counter(), time.process_time(), 0
    while (elapsed := time.perf_counter() - started) < seconds:
        clips += len(next(source))
    return Rate(clips / elapsed, (time.process_time() - computed) / elapsed)


def fetch_seconds(batches: Iterable[Tensor], pause: float, repeats: int = 5) -> float:
    """Median seconds to get one batch after a pause in which the workers have prepared it."""
    source = iter(batches)
    next(source)
    times = []
    for _ in range(repeats):
        time.sleep(pause)
        started = time.perf_counter()
        next(source)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def one_core(videos: VideoList, size: tuple[int, ClipShape], seconds: float) -> float:
    """Clips per second that one process reads into memory that is there, one after the other."""
    dataset = dataset_of(videos)
    out = np.empty((1, *size[1], 3), np.uint8)
    requests = (request for batch in Endless(len(videos), [size]) for request in batch)
    for request in islice(requests, len(videos)):
        dataset.read(request, out)
    started = time.perf_counter()
    clips = 0
    while (elapsed := time.perf_counter() - started) < seconds:
        dataset.read(next(requests), out)
        clips += 1
    return clips / elapsed


def both_cores(videos: VideoList, size: tuple[int, ClipShape], seconds: float, workers: int) -> float:
    """The same in `workers` processes at once that have nothing to do with each other: what the machine can give."""
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        return sum(pool.map(partial(one_core, videos, size), [seconds] * workers, chunksize=1))


def show_rates(videos: VideoList, workers: int, seconds: float) -> None:
    core = statistics.mean(one_core(videos, BATCH, seconds / 2) for _ in range(2))
    apart = both_cores(videos, BATCH, seconds, workers)
    short_cycle = [(4 * 6, ClipShape(16, 112, 112)), (2 * 6, ClipShape(16, 158, 158)), (6, ClipShape(16, 224, 224))]
    rates = {
        "this project, 1 worker": (1, sustained(own(videos, [BATCH], 1), seconds)),
        f"this project, {workers} workers": (workers, sustained(own(videos, [BATCH], workers), seconds)),
        f"stock DataLoader, {workers} workers": (workers, sustained(stock(videos, [BATCH], workers), seconds)),
    }
    table = Table(title=f"Batches of {_name(BATCH)}", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("")
    for heading in ("clips/s", "of n x one core", "main process busy"):
        table.add_column(heading, justify="right")
    table.add_row("one core, in a loop", f"{core:.1f}", "1.00", "")
    table.add_row(f"{workers} such loops at once, apart", f"{apart:.1f}", f"{apart / core / workers:.2f}", "")
    for name, (number, rate) in rates.items():
        table.add_row(name, f"{rate.clips:.1f}", f"{rate.clips / core / number:.2f}", f"{100 * rate.main:.1f} %")
    make_console().print(table)
    changing = sustained(own(videos, short_cycle, workers), seconds)
    names = ", ".join(map(_name, short_cycle))
    print(f"{names} in turn: {changing.clips:.1f} clips/s, main process {100 * changing.main:.1f} %\n")


def show_original_rows(videos: VideoList, workers: int, seconds: float) -> None:
    table = Table(title=f"The original's four batches, {workers} workers", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("batch")
    for heading in ("sustained, clips/s", "fetching a ready batch, ms", "as clips/s"):
        table.add_column(heading, justify="right")
    for size in ROWS:
        rate = sustained(own(videos, [size], workers), seconds, warm_up=2).clips
        fetch = fetch_seconds(own(videos, [size], workers), pause=1 + 3 * size[0] / rate, repeats=3)
        table.add_row(_name(size), f"{rate:.1f}", f"{1000 * fetch:.2f}", f"{size[0] / fetch:.3g}")
    make_console().print(table)


def _name(size: tuple[int, ClipShape]) -> str:
    return "x".join(map(str, (size[0], *size[1])))


def main() -> int:
    """Measure and print."""
    parser = CommandParser(prog="python -m benchmarks.batches", description="Speed of reading batches by processes.")
    parser.add_argument("--workers", type=positive_integer, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--videos", type=positive_integer, default=24)
    parser.add_argument("--seconds", type=positive_integer, default=6, help="that each figure is measured for")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        videos = make_videos(Path(folder), arguments.videos)
        size = sum(path.stat().st_size for path in Path(folder).rglob("frames.db")) / (arguments.videos * FRAMES)
        print(f"{arguments.videos} videos of {FRAMES} frames of {SIZE[1]}x{SIZE[0]}, {size / 1000:.1f} kB each\n")
        show_rates(videos, arguments.workers, arguments.seconds)
        show_original_rows(videos, arguments.workers, arguments.seconds)
    return 0


if __name__ == "__main__":
    run_command(main)
