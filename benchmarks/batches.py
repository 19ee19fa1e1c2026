"""The speed of reading batches with worker processes: compared to one core, and to the usual DataLoader.

    python -m benchmarks.batches [--workers 2] [--seconds 3] [--only rates|rows]

The first table has batches of 24x16x224x224: clips per second of wall-clock time with N workers, and its ratio to N
times the speed of one core; the CPU time per clip of all processes, which depends less on other work on the machine;
and how busy the main process is, which only fetches batches. The second table has the four batches of the original's
README: the sustained speed, and the time to fetch one batch that workers had already finished, which says nothing about
the speed of reading.

The databases have frames of 340x256 in JPEG quality 90, about 17 kB each, and are in the system's cache. Linux only:
CPU times are read from /proc.
"""

import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
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
from common.cli import CommandParser, positive_integer, run_command
from common.errors import DataError
from common.logs import make_console
from common.processes import available_cpus
from data.clips.dataset import ClipDataset
from data.clips.sampling import RandomClips
from data.clips.types import ClipRequest, ClipShape
from data.labels.video_list import FoundVideo, VideoList, pack
from data.loading.loader import BatchLoader

SIZE = (256, 340)  # height and width of the source
FRAMES = 64
AHEAD = 2  # batches that are read ahead
ROUNDS = 5
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
    """A batch sampler without an end: all videos in turn, in batches of the given sizes in turn."""

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


def dataset_of(videos: VideoList) -> ClipDataset:
    return ClipDataset(videos, RandomClips((2, 2), flip=True), seed=0)


def own(videos: VideoList, sizes: Sequence[tuple[int, ClipShape]], workers: int) -> Iterator[Tensor]:
    """This project's loader."""
    loader = BatchLoader(dataset_of(videos), Endless(len(videos), sizes), workers, torch.cuda.is_available())
    return (batch.frames for batch in loader)


def stock(videos: VideoList, sizes: Sequence[tuple[int, ClipShape]], workers: int) -> Iterator[Tensor]:
    """The usual way: a worker reads a batch clip by clip, stacks it, and sends it through new shared memory."""
    loader = DataLoader(
        dataset_of(videos),
        batch_sampler=Endless(len(videos), sizes),  # type: ignore[arg-type]
        num_workers=workers,
        collate_fn=_stack,
        prefetch_factor=AHEAD,
        pin_memory=torch.cuda.is_available(),
    )
    return iter(loader)


def _stack(clips: list) -> Tensor:
    return torch.stack([clip.frames for clip in clips]).flatten(0, 1).permute(0, 4, 1, 2, 3)


def threads(videos: VideoList, sizes: Sequence[tuple[int, ClipShape]], workers: int) -> Iterator[Tensor]:
    """Threads of the main process, which decode into one buffer per batch, two batches ahead."""
    dataset = dataset_of(videos)
    with ThreadPoolExecutor(workers) as pool:
        pending = []
        for requests in Endless(len(videos), sizes):
            frames = torch.empty((len(requests), 1, *requests[0].shape, 3), dtype=torch.uint8)
            jobs = [pool.submit(dataset.read, *job) for job in zip(requests, frames.numpy(), strict=True)]
            pending.append((frames, jobs))
            if len(pending) > AHEAD:
                frames, jobs = pending.pop(0)
                for job in jobs:
                    job.result()
                yield frames.flatten(0, 1).permute(0, 4, 1, 2, 3)


class Rate(NamedTuple):
    """The measured speed of a loader."""

    clips: float  # per second of wall-clock time
    core: float  # seconds of CPU time per clip, of all processes together
    main: float  # CPU time of the main process per wall-clock time


def core_seconds() -> float:
    """The CPU time of this process and its living children so far, in seconds."""
    ticks = 0
    for child in multiprocessing.active_children():
        fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])  # user and system
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def settle() -> None:
    """Wait until no worker reads ahead any more: that would count as time of the next loader."""
    before = -1.0
    while (now := core_seconds()) > before + 0.02:
        before = now
        time.sleep(0.3)


def sustained(batches: Iterator[Tensor], seconds: float) -> Rate:
    """The speed after the batches that were read ahead at the start have been fetched."""
    for _ in range(AHEAD + 1):
        next(batches)
    started, core, main, clips = time.perf_counter(), core_seconds(), time.process_time(), 0
    while (elapsed := time.perf_counter() - started) < seconds:
        clips += len(next(batches))
    return Rate(clips / elapsed, (core_seconds() - core) / clips, (time.process_time() - main) / elapsed)


def fetch_seconds(batches: Iterator[Tensor], pause: float, repeats: int = 3) -> float:
    """Median seconds to fetch one batch after a pause in which the workers have finished it."""
    next(batches)
    times = []
    for _ in range(repeats):
        time.sleep(pause)
        started = time.perf_counter()
        next(batches)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def one_core(videos: VideoList, size: tuple[int, ClipShape], seconds: float) -> Rate:
    """The speed of one process that reads clip by clip into the same memory."""
    dataset = dataset_of(videos)
    out = np.empty((1, *size[1], 3), np.uint8)
    requests = (request for batch in Endless(len(videos), [size]) for request in batch)
    for request in islice(requests, len(videos)):
        dataset.read(request, out)
    started, core, clips = time.perf_counter(), time.process_time(), 0
    while (elapsed := time.perf_counter() - started) < seconds:
        dataset.read(next(requests), out)
        clips += 1
    return Rate(clips / elapsed, (time.process_time() - core) / clips, 1.0)


def loops_at_once(videos: VideoList, size: tuple[int, ClipShape], seconds: float, workers: int) -> Rate:
    """The same in `workers` independent processes: the limit of this machine."""
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        rates = pool.map(partial(one_core, videos, size), [seconds] * workers, chunksize=1)
    return Rate(sum(rate.clips for rate in rates), statistics.mean(rate.core for rate in rates), 0.0)


def show_rates(videos: VideoList, workers: int, seconds: float) -> None:
    changing = [(24, ClipShape(16, 112, 112)), (12, ClipShape(16, 158, 158)), (6, ClipShape(16, 224, 224))]
    loaders = {
        "this project, 1 worker": (1, own(videos, [BATCH], 1)),
        f"this project, {workers} workers": (workers, own(videos, [BATCH], workers)),
        f"{workers} threads of the main process": (workers, threads(videos, [BATCH], workers)),
        f"stock DataLoader, {workers} workers": (workers, stock(videos, [BATCH], workers)),
        f"this project, {workers} workers, shapes of a short cycle": (workers, own(videos, changing, workers)),
    }
    loop, apart = "a loop on one core", f"{workers} such loops at once"
    found: dict[str, list[tuple[Rate, float, float]]] = {name: [] for name in (loop, apart, *loaders)}
    for _ in range(ROUNDS):  # alternate, so that a slow moment of the machine affects all
        core = one_core(videos, BATCH, seconds)
        found[loop].append((core, 1.0, 1.0))
        rate = loops_at_once(videos, BATCH, seconds, workers)
        found[apart].append((rate, rate.clips / core.clips / workers, core.core / rate.core))
        for name, (number, batches) in loaders.items():
            rate = sustained(batches, seconds)
            found[name].append((rate, rate.clips / core.clips / number, core.core / rate.core))
            settle()
    table = Table(title=f"Batches of {_name(BATCH)}, medians of {ROUNDS}", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("")
    for heading in ("clips/s", "of n x one core", "core ms a clip", "one core's / that", "main process busy"):
        table.add_column(heading, justify="right")
    for name, rounds in found.items():
        clips = statistics.median(rate.clips for rate, _, _ in rounds)
        core_ms = 1000 * statistics.median(rate.core for rate, _, _ in rounds)
        main = "" if name in (loop, apart) else f"{100 * statistics.median(rate.main for rate, _, _ in rounds):.1f} %"
        of_cores, of_core_time = (statistics.median(values[part] for values in rounds) for part in (1, 2))
        row = [f"{clips:.1f}", f"{of_cores:.2f}", f"{core_ms:.2f}", f"{of_core_time:.2f}"]
        if "short cycle" in name:  # not the same clips as the loop's
            row[1] = row[3] = ""
        table.add_row(name, *row, main)
    make_console().print(table)


def show_original_rows(videos: VideoList, workers: int, seconds: float) -> None:
    table = Table(title=f"The original's four batches, {workers} workers", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("batch")
    for heading in ("sustained, clips/s", "core ms a clip", "fetching a ready batch, ms", "as clips/s"):
        table.add_column(heading, justify="right")
    for size in ROWS:
        rate = sustained(own(videos, [size], workers), seconds)
        settle()
        fetch = fetch_seconds(own(videos, [size], workers), pause=1 + (AHEAD + 1) * size[0] / rate.clips)
        fetched = (f"{1000 * fetch:.2f}", f"{size[0] / fetch:.3g}")
        table.add_row(_name(size), f"{rate.clips:.1f}", f"{1000 * rate.core:.2f}", *fetched)
    make_console().print(table)


def _name(size: tuple[int, ClipShape]) -> str:
    return "x".join(map(str, (size[0], *size[1])))


def main() -> int:
    """Measure and print."""
    parser = CommandParser(prog="python -m benchmarks.batches", description="Speed of reading batches by processes.")
    parser.add_argument("--workers", type=positive_integer, default=available_cpus())
    parser.add_argument("--videos", type=positive_integer, default=24)
    parser.add_argument("--seconds", type=positive_integer, default=3, help="duration of each measurement")
    parser.add_argument("--only", choices=("rates", "rows"), help="print only one of the two tables")
    arguments = parser.parse_args()
    if not Path("/proc/self/stat").exists():
        raise DataError("benchmarks.batches needs Linux: it reads CPU times from /proc")
    with tempfile.TemporaryDirectory() as folder:
        videos = make_videos(Path(folder), arguments.videos)
        size = sum(path.stat().st_size for path in Path(folder).rglob("frames.db")) / (arguments.videos * FRAMES)
        print(f"{arguments.videos} videos of {FRAMES} frames of {SIZE[1]}x{SIZE[0]}, {size / 1000:.1f} kB each\n")
        if arguments.only != "rows":
            show_rates(videos, arguments.workers, arguments.seconds)
        if arguments.only != "rates":
            show_original_rows(videos, arguments.workers, 2 * arguments.seconds)
    return 0


if __name__ == "__main__":
    run_command(main)
