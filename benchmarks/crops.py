"""The speed of reading clips by each kind of --crop, and with --repeat-clips: CPU milliseconds of a clip on one core.

    python -m benchmarks.crops [--videos 12] [--rounds 7] [--repeats 2]

Clips of 16 frames at interval 2 from frames.db, warm in the system's cache. All kinds read each video in turn, so that
other work on the machine slows them alike; the median over all clips is shown, and its ratio to today's default.
"""

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich import box
from rich.table import Table

from benchmarks.batches import make_videos
from common.cli import CommandParser, positive_integer, run_command
from common.logs import make_console
from data.clips.cropping import Cropping
from data.clips.dataset import ClipDataset
from data.clips.sampling import RandomClips
from data.clips.types import ClipRequest, ClipShape

KINDS = {
    "fixed": Cropping(),
    "fixed, 294/224": Cropping(scale=294 / 224),
    "jitter": Cropping("jitter"),
    "resized": Cropping("resized"),
}
SIDES = (224, 112)


def milliseconds(datasets: Sequence[ClipDataset], shape: ClipShape, rounds: int, repeats: int) -> list[float]:
    """The median CPU milliseconds of a clip of each dataset, in groups of `repeats` clips of a video."""
    outs = list(np.empty((repeats, 1, *shape, 3), np.uint8))
    times: list[list[float]] = [[] for _ in datasets]
    for epoch in range(rounds + 1):
        for index in range(len(datasets[0])):
            for dataset, found in zip(datasets, times, strict=True):
                asked = [ClipRequest(index, shape, epoch, repeat=repeat) for repeat in range(repeats)]
                started = time.thread_time()
                clips = dataset.read_all(asked, outs)
                if epoch:
                    found.append((time.thread_time() - started) / repeats * 1000)
                assert not any(clip.bad_videos for clip in clips)
    return [statistics.median(found) for found in times]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit status 0."""
    parser = CommandParser(prog="python -m benchmarks.crops", description=__doc__.split("\n")[0])
    parser.add_argument("--videos", type=positive_integer, default=12, help="videos of 64 frames of 340x256")
    parser.add_argument("--rounds", type=positive_integer, default=7, help="how often each is read")
    parser.add_argument("--repeats", type=positive_integer, default=2, help="clips of a video that is opened once")
    options = parser.parse_args(arguments)
    table = Table("--crop", box=box.SIMPLE_HEAD)
    for side in SIDES:
        for heading in (f"ms, {side}", "of fixed", f"ms with {options.repeats} repeats", "of fixed"):
            table.add_column(heading, justify="right")
    with tempfile.TemporaryDirectory() as folder:
        videos = make_videos(Path(folder), options.videos)
        datasets = [ClipDataset(videos, RandomClips((2, 2), True, cropping=kind), 0) for kind in KINDS.values()]
        columns = []
        for side in SIDES:
            for repeats in (1, options.repeats):
                found = milliseconds(datasets, ClipShape(16, side, side), options.rounds, repeats)
                columns += [[f"{each:.2f}" for each in found], [f"{each / found[0]:.2f}" for each in found]]
        for name, *cells in zip(KINDS, *columns, strict=True):
            table.add_row(name, *cells)
    make_console().print(table)
    return 0


if __name__ == "__main__":
    run_command(main)
