"""The speed of reading clips on one core: the frame store compared to its limit and to other ways.

    python -m benchmarks.loading [--videos 12] [--repeats 5] [--folder FOLDER] [--quick]

Makes videos of 300 frames (benchmarks/corpus.py), reads a random clip of 16 frames with interval 2 from each video by
each method, and prints the median clips per second, and its ratio to the limit (only decoding the same 16 whole frames
from memory into one buffer) and to plain OpenCV. In each round, a method reads all videos before the next method does.
Warm: the files are in the system's cache; CPU time is counted. Cold (not on systems without posix_fadvise, such as
macOS): the video's files are dropped from the cache before each clip; wall-clock time is counted, which depends on the
disk.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich import box
from rich.table import Table

from benchmarks.corpus import FRAMES, jpeg_folders, make_corpus, mp4_files, without_index
from benchmarks.readers import (
    clip_blobs,
    decode_all,
    read_by_opencv,
    read_by_pyav,
    read_by_store,
    read_files_by_opencv,
)
from common.cli import CommandParser, positive_integer, run_command
from common.logs import make_console
from data.clips.crop import RESIZED_SIDE_PER_CROP, random_crop
from data.clips.types import ClipShape
from data.store.crop_box import CropBox

LIMIT, PLAIN = "limit (decode from memory)", "plain OpenCV, frames.db"
SPAN = 31  # of 16 frames with interval 2
SIZES = {"340x256": (256, 340), "640x360": (360, 640)}
CROPS = (
    (224, 294),
    (224, 257),
    (112, 129),
)  # the crop, and the shorter side of the frame that it is cut from (in training 257 and 129)


class Call(NamedTuple):
    """One clip by one method: the call, and the file or folder that it reads (None: memory)."""

    read: Callable[[], object]
    path: Path | None = None


def random_crop_box(size: tuple[int, int], crop: int, shorter_side: int, rng: np.random.Generator) -> CropBox:
    """A random square crop of a frame scaled to that shorter side; by training's function if possible."""
    if shorter_side == round(crop * RESIZED_SIDE_PER_CROP):
        return random_crop(size, ClipShape(len(range(0, SPAN, 2)), crop, crop), False, rng)
    side = round(size[0] * crop / shorter_side)
    top, left = (int(rng.integers(0, length - side + 1)) for length in size)
    return CropBox(top, left, side, side, crop, crop)


def drop_from_cache(path: Path) -> None:
    """Ask the system to drop the pages of a file, or of a folder's files, from its cache."""
    for file in path.iterdir() if path.is_dir() else [path]:
        descriptor = os.open(file, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def seconds_a_clip(methods: dict[str, list[Call]], repeats: int, cold: bool) -> dict[str, float]:
    """Median seconds of each method's calls, after one warm-up round.

    Methods alternate by the round, not by the call: as in a loader, a call follows one of the same method.
    """
    times: dict[str, list[float]] = {name: [] for name in methods}
    clock = time.perf_counter if cold else time.thread_time
    for round_number in range(repeats + 1):
        for name, calls in methods.items():
            for call in calls:
                if cold and call.path is not None:
                    drop_from_cache(call.path)
                started = clock()
                call.read()
                if round_number > 0:
                    times[name].append(clock() - started)
    return {name: statistics.median(values) for name, values in times.items()}


def make_forms(folder: Path, size: tuple[int, int], videos: int, quick: bool) -> dict[str, list[Path]]:
    """The corpus in each format, by the name of the method that reads it."""
    folders = make_corpus(folder / "own", size, videos)
    forms = {"frame store": folders, "frame store, unindexed": without_index(folders, folder / "unindexed")}
    forms[PLAIN] = folders
    if not quick:
        os.sync()  # unwritten pages cannot be dropped
        forms["plain OpenCV, JPEG files"] = jpeg_folders(folders, folder / "files")
        for keyframes in (30, 250):
            forms[f"PyAV, mp4, keyframe each {keyframes}"] = mp4_files(folders, folder / f"mp4_{keyframes}", keyframes)
        os.sync()
    return forms


def methods_for(
    forms: dict[str, list[Path]], size: tuple[int, int], crop: int, shorter_side: int
) -> dict[str, list[Call]]:
    """The calls that read the same clips of all videos by each method."""
    rng = np.random.default_rng(0)
    methods: dict[str, list[Call]] = {name: [] for name in (LIMIT, *forms)}
    for number, folder in enumerate(forms[PLAIN]):
        start = int(rng.integers(0, FRAMES - SPAN + 1))
        indices = list(range(start, start + SPAN, 2))
        crop_box = random_crop_box(size, crop, shorter_side, rng)
        methods[LIMIT].append(Call(partial(decode_all, clip_blobs(folder, indices))))
        for name, paths in forms.items():
            if "PyAV" in name:
                read: Callable[..., object] = read_by_pyav
            elif "files" in name:
                read = read_files_by_opencv
            else:
                read = read_by_opencv if name == PLAIN else read_by_store
            methods[name].append(Call(partial(read, paths[number], indices, crop_box), paths[number]))
    return methods


def main() -> int:
    """Measure and print."""
    parser = CommandParser(prog="python -m benchmarks.loading", description="Speed of reading clips on one core.")
    parser.add_argument("--videos", type=positive_integer, default=12)
    parser.add_argument("--repeats", type=positive_integer, default=5)
    parser.add_argument("--folder", type=Path, help="make the videos here and use those that exist")
    parser.add_argument("--quick", action="store_true", help="only frames.db, only warm")
    arguments = parser.parse_args()
    can_drop = hasattr(os, "posix_fadvise")
    table = Table(title="Reading clips of 16 frames, one core", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("source, crop of the shorter side, cache: method", no_wrap=True)
    for heading in ("clips/s", "of the limit", "of plain OpenCV"):
        table.add_column(heading, justify="right")
    with tempfile.TemporaryDirectory() as temporary:
        for name, size in SIZES.items():
            forms = make_forms((arguments.folder or Path(temporary)) / name, size, arguments.videos, arguments.quick)
            for crop, shorter_side in CROPS:
                methods = methods_for(forms, size, crop, shorter_side)
                for cache in ("warm", "cold") if can_drop and not arguments.quick else ("warm",):
                    seconds = seconds_a_clip(methods, arguments.repeats, cache == "cold")
                    for method, value in seconds.items():
                        ratios = (f"{seconds[other] / value:.2f}" for other in (LIMIT, PLAIN))
                        table.add_row(
                            f"{name}, {crop} of {shorter_side}, {cache}: {method}", f"{1 / value:.1f}", *ratios
                        )
                    table.add_section()
    make_console().print(table)
    return 0


if __name__ == "__main__":
    run_command(main)
