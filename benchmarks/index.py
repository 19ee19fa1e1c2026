"""The time to start with a large dataset, and the memory that its list of videos takes in each worker.

    python -m benchmarks.index [--rows 1500000] [--folder FOLDER]

Makes a dataset of that many videos in 200 classes, all hard links to a few small databases. New processes then find its
videos by its label files: first without an index, then with the index that the first one wrote. Last, it compares the
private memory of a worker that uses the list with that of a worker with one video, for fork and for spawn.
"""

import multiprocessing
import os
import random
import shutil
import tempfile
import time
from pathlib import Path
from string import ascii_letters, digits

import numpy as np
import simplejpeg
from rich import box
from rich.table import Table

from common.cli import CommandParser, positive_integer, run_command
from common.logs import make_console
from data.labels.dataset_spec import DatasetSpec
from data.labels.kept_places import FOLDER
from data.labels.splits import load_splits
from data.labels.video_list import ARRAYS, FoundVideo, VideoList, pack
from data.store.frame_store import DATABASE, FRAME_COUNT, write_frames

SPEC = DatasetSpec("HACS", "HACS_clips_v1.1_train.csv", "HACS_clips_v1.1_val.csv", 200)
CLASSES = 200
FRAMES = 30
LINKS = 50_000  # to one file; file systems limit them
VAL_SHARE = 30  # every 30th video is for validation


def make_dataset(folder: Path, rows: int) -> None:
    """Write label files and video folders; do nothing if the folder has label files."""
    labels = folder / "labels"
    if labels.is_dir():
        return
    rng = random.Random(0)
    letters = ascii_letters + digits + "-_"
    lines: dict[str, list[str]] = {"train": [], "val": []}
    seed = folder / "seed"
    for row in range(rows):
        if row % LINKS == 0:
            write_frames(seed, [simplejpeg.encode_jpeg(np.zeros((8, 8, 3), np.uint8))] * FRAMES)
        label, name, begin = f"Class number {row % CLASSES}", "".join(rng.choices(letters, k=11)), rng.randrange(200)
        split = "train" if row % VAL_SHARE else "val"
        video = folder / "jpg" / label / f"{name}_{begin:06d}_{begin + 2:06d}"
        video.mkdir(parents=True)
        for part in (DATABASE, FRAME_COUNT):
            os.link(seed / part, video / part)
        lines[split].append(f"{label},{name},{begin}.0,{begin + 2}.0,{split}\n")
    shutil.rmtree(seed)
    labels.mkdir()
    for split, text in lines.items():
        header = "label,youtube_id,time_start,time_end,split\n"
        (labels / f"HACS_clips_v1.1_{split}.csv").write_text(header + "".join(text))


def start(folder: Path) -> tuple[float, int]:
    """Seconds to find the videos, and their number."""
    begin = time.perf_counter()
    splits = load_splits(folder, SPEC)
    return time.perf_counter() - begin, len(splits.train) + len(splits.val)


def own_megabytes(videos: VideoList) -> float:
    """Private memory of this process after using the whole list. The list itself is in shared memory."""
    for name in ARRAYS:
        videos.arrays[name].max()
    for index in np.random.default_rng(0).integers(0, len(videos), 10_000):
        videos.folder(int(index))
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Anonymous:")) / 1024


def worker_megabytes(folder: Path, method: str) -> float:
    """Private memory that the list adds to a worker."""
    context = multiprocessing.get_context(method)
    own = []
    one_video = pack(folder / "jpg", ("class",), [(0, FoundVideo("class", "video", FRAMES, ""))])
    for videos in (one_video, load_splits(folder, SPEC).train):
        with context.Pool(1) as pool:
            own.append(pool.apply(own_megabytes, (videos,)))
    return own[1] - own[0]


def start_in_process(folder: Path) -> tuple[float, int]:
    """`start` in a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(start, (folder,))


def main() -> int:
    """Make, measure, print."""
    parser = CommandParser(prog="python -m benchmarks.index", description="Starts with a large dataset.")
    parser.add_argument("--rows", type=positive_integer, default=1_500_000, help="number of videos")
    parser.add_argument("--folder", type=Path, help="keep the dataset in this folder, and use it if it exists")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary) / "dataset"
        make_dataset(folder, arguments.rows)
        shutil.rmtree(folder / FOLDER, ignore_errors=True)
        time.sleep(3)  # only folders that have not changed for a moment are indexed
        first, videos = start_in_process(folder)
        later = sorted(start_in_process(folder)[0] for _ in range(3))
        workers = {method: worker_megabytes(folder, method) for method in ("fork", "spawn")}
        size = sum(file.stat().st_size for file in (folder / FOLDER).glob("*.npz"))  # no such file for a small dataset
    table = Table(title=f"A dataset of {videos:,} videos", title_justify="left", box=box.SIMPLE, show_header=False)
    table.add_column("")
    table.add_column("", justify="right")
    table.add_row("first start: scans every video's folder", f"{first:.1f} s")
    table.add_row("later starts: read the index, median of 3", f"{later[1]:.1f} s")
    table.add_row("size of the index", f"{size / 1e6:.0f} MB")
    for method, megabytes in workers.items():
        row = f"private memory that the list adds to a worker ({method})"
        table.add_row(row, f"{max(0.0, megabytes):.1f} MB")
    make_console().print(table)
    return 0


if __name__ == "__main__":
    run_command(main)
