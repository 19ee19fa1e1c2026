"""Reads the clips of videos in worker processes: a video that kills its worker does not end the others."""

from collections.abc import Generator, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeAlias

from common.errors import DataError
from data.clips.one_video import read_views
from data.clips.sampling import ClipSampling
from data.clips.types import ClipShape
from data.clips.windows import Window, read_windows
from data.prepare.worker_pool import Beat, Outcome, run_jobs


class Job(NamedTuple):
    """A video to read."""

    name: str
    path: Path


class Reading(NamedTuple):
    """How videos are read; picklable."""

    sampling: ClipSampling
    shape: ClipShape
    short_side: int
    keep_partial: bool
    window: float | None
    """Seconds; None: the whole video is one."""
    stride: float


Warnings: TypeAlias = tuple[str, ...]
Outcomes: TypeAlias = Iterable[Outcome[Job, Window | Warnings]]


def read_job(reading: Reading, job: Job, beat: Beat) -> Generator[Window | Warnings, None, Window | Warnings]:
    """The windows of a video, then its warnings."""
    if reading.window is not None:
        return (
            yield from read_windows(
                job.path, reading.sampling, reading.shape, reading.window, reading.stride, reading.short_side,
                reading.keep_partial, beat,
            )
        )  # fmt: skip
    video = read_views(job.path, reading.sampling, reading.shape, reading.short_side, reading.keep_partial, beat)
    yield Window(video.start, video.end, video.frames)
    return video.warnings


def read_all(reading: Reading, jobs: list[Job], workers: int) -> Outcomes:
    """The windows of all videos, one video's in the order of time; `workers` 0 reads them in this process."""
    if not workers:
        return _read_here(reading, jobs)
    return run_jobs(partial(read_job, reading), jobs, min(workers, len(jobs)))


def _read_here(reading: Reading, jobs: list[Job]) -> Iterator[Outcome[Job, Window | Warnings]]:
    for job in jobs:
        parts = read_job(reading, job, lambda: None)
        try:
            while True:
                yield Outcome(job, next(parts), is_part=True)
        except StopIteration as end:
            yield Outcome(job, end.value)
        except DataError as error:
            yield Outcome(job, None, str(error))
