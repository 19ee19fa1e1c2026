"""Reading for hours: memory and descriptors do not grow, for changing shapes and iterations left early."""

import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pytest

from data.clips.dataset import ClipDataset
from data.clips.sampling import RandomClips, UniformClips
from data.clips.types import ClipRequest, ClipShape
from data.labels.dataset_spec import DatasetSpec
from data.labels.splits import load_splits
from data.loading.loader import BatchLoader, SequentialBatches

SIZES = ((16, ClipShape(4, 64, 64)), (8, ClipShape(8, 80, 80)), (4, ClipShape(8, 112, 112)))
MINUTES = float(os.environ.get("LONG_RUN_MINUTES", "10"))


class Usage(NamedTuple):
    """What this process and its children use together."""

    megabytes: float  # of memory; what they share is counted once, and files such as libraries are not
    descriptors: int


class Epoch:
    """A batch sampler of `steps` batches of changing shape."""

    def __init__(self, num_videos: int, steps: int) -> None:
        self.num_videos = num_videos
        self.steps = steps

    def __len__(self) -> int:
        return self.steps

    def __iter__(self):
        for step in range(self.steps):
            clips, shape = SIZES[step % len(SIZES)]
            yield [ClipRequest((step + clip) % self.num_videos, shape, step) for clip in range(clips)]

    def sizes(self):
        return SIZES


def usage() -> Usage:
    kilobytes = descriptors = 0
    for pid in (os.getpid(), *(child.pid for child in multiprocessing.active_children())):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        # Not Pss_File: it grows when other processes that use the same libraries end.
        kilobytes += sum(int(line.split()[1]) for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:")))
        descriptors += len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return Usage(kilobytes / 1024, descriptors)


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="measures memory in Linux's /proc")
@pytest.mark.timeout(60 * MINUTES + 300)
@pytest.mark.parametrize("seconds", [4, pytest.param(60 * MINUTES, marks=pytest.mark.slow)])
def test_memory_and_descriptors_do_not_grow(small_dataset, seconds):
    """A leak of one kilobyte per clip ends a run of days. `LONG_RUN_MINUTES=60 pytest -m slow -s` prints the usage."""
    # In a process of its own: forked workers slowly copy what earlier tests left in this one, as they count references.
    start_method = multiprocessing.get_start_method()
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh_process:
        samples = fresh_process.submit(usage_while_reading, small_dataset, seconds, start_method).result()
    settled, last = samples[len(samples) // 4], samples[-1]
    assert last.descriptors <= settled.descriptors
    assert last.megabytes < settled.megabytes + 8


def usage_while_reading(folder: Path, seconds: float, start_method: str) -> list[Usage]:
    multiprocessing.set_start_method(start_method, force=True)  # of the workers; a spawned process spawns by default
    splits = load_splits(folder, DatasetSpec("custom", "train.csv", "val.csv"))
    train = ClipDataset(splits.train, RandomClips((1, 2), flip=True, augment=True), seed=5)
    val = ClipDataset(splits.val, UniformClips(1), seed=0)
    training = BatchLoader(train, Epoch(len(splits.train), 30), workers=2, pin_memory=False)
    validation = BatchLoader(val, SequentialBatches(len(splits.val), 3, SIZES[2][1]), workers=2, pin_memory=False)
    samples: list[Usage] = []
    started, clips, epoch = time.monotonic(), 0, 0
    while time.monotonic() - started < seconds or len(samples) < 8:
        for batch in islice(training, 30 - epoch % 3):  # some epochs are left in the middle
            clips += len(batch.labels)
        for batch in validation:
            clips += len(batch.labels)
        epoch += 1
        if time.monotonic() - started >= (len(samples) + 1) * seconds / 60:
            samples.append(usage())
            print(f"{time.monotonic() - started:7.1f} s {epoch:6d} epochs {clips:9d} clips {samples[-1]}")
    return samples
