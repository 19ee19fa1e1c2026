"""How fast clips are read on one core: the frame store against its limit and against plain OpenCV.

    python -m benchmarks.loading [--videos 24] [--repeats 5]

Makes databases of textured frames (JPEG quality 90), reads a clip of 16 frames with interval 2 from each video by each
method in turn, and prints the median clips per second of the core's own time and the ratio to the limit: decoding the
same 16 whole frames from memory and nothing else. All files are warm, in the system's cache.
"""

import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from rich import box
from rich.table import Table

from data.commandline import CommandParser, positive_integer, run_command
from data.frame_store import FrameStore, Region, write_frames
from train.logs import make_console

FRAMES = 31  # what 16 frames with interval 2 span
INDICES = list(range(0, FRAMES, 2))
SIZES = {"340x256": (256, 340), "640x360": (360, 640)}


def make_videos(folder: Path, size: tuple[int, int], videos: int) -> list[Path]:
    """Databases of moving textured frames of `size` (height, width)."""
    rng = np.random.default_rng(0)
    folders = []
    for number in range(videos):
        coarse = rng.integers(0, 256, (size[0] // 6, size[1] // 6, 3), dtype=np.uint8)
        texture = cv2.resize(coarse, (size[1] + FRAMES, size[0]), interpolation=cv2.INTER_CUBIC)
        frames = (np.ascontiguousarray(texture[:, start : start + size[1]]) for start in range(FRAMES))
        folders.append(folder / f"video_{number}")
        write_frames(folders[-1], (simplejpeg.encode_jpeg(frame, quality=90) for frame in frames))
    return folders


def without_index(folders: list[Path], target: Path) -> list[Path]:
    """Copies of databases as dataset2database writes them: no key, no index, rows in any order."""
    rng = np.random.default_rng(1)
    copies = []
    for folder in folders:
        with closing(sqlite3.connect(folder / "frames.db")) as source:
            rows = source.execute("SELECT ObjId, frames, size FROM Images").fetchall()
        copies.append(target / folder.name)
        copies[-1].mkdir(parents=True)
        with closing(sqlite3.connect(copies[-1] / "frames.db")) as copy:
            copy.execute("CREATE TABLE Images (ObjId STRING, frames BLOB, size INT)")
            copy.executemany("INSERT INTO Images VALUES (?, ?, ?)", [rows[row] for row in rng.permutation(len(rows))])
            copy.commit()
    return copies


def crop_of(size: tuple[int, int], crop: int) -> Region:
    """A crop whose source is 256/294 of the shorter side, as in training."""
    side = round(size[0] * 256 / 294)
    return Region((size[0] - side) // 2, (size[1] - side) // 2, side, side, crop, crop)


def read_by_store(folder: Path, region: Region) -> np.ndarray:
    """This project's way: (T, h, w, 3)."""
    with FrameStore(folder) as store:
        return store.read(INDICES, region)


def read_by_opencv(folder: Path, region: Region) -> np.ndarray:
    """The plain way: decode, resize whole frames, crop, bring to (3, T, h, w)."""
    names = [f"{folder.name}/frame_{index + 1:05d}" for index in INDICES]
    with closing(sqlite3.connect(folder / "frames.db")) as connection:
        query = f"SELECT ObjId, frames FROM Images WHERE ObjId IN ({','.join('?' * len(names))})"
        blobs = dict(connection.execute(query, names).fetchall())
    scale = region.out_height / region.height
    top, left = round(region.top * scale), round(region.left * scale)
    clip = []
    for name in names:
        frame = cv2.cvtColor(cv2.imdecode(np.frombuffer(blobs[name], np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        frame = cv2.resize(frame, (round(frame.shape[1] * scale), round(frame.shape[0] * scale)))
        clip.append(frame[top : top + region.out_height, left : left + region.out_width])
    return np.ascontiguousarray(np.stack(clip).transpose(3, 0, 1, 2))


def limit(blobs: list[bytes]) -> None:
    """Decode the whole frames, nothing else."""
    for blob in blobs:
        simplejpeg.decode_jpeg(blob, "RGB")


def seconds_a_clip(methods: dict[str, list[Callable[[], object]]], repeats: int) -> dict[str, float]:
    """Median seconds of the core's time that each method's calls take; methods take turns call by call."""
    times: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(repeats + 1):
        for calls in zip(*methods.values(), strict=True):
            for name, call in zip(methods, calls, strict=True):
                started = time.thread_time()
                call()
                times[name].append(time.thread_time() - started)
    warm_up = len(next(iter(methods.values())))
    return {name: statistics.median(values[warm_up:]) for name, values in times.items()}


def compare(folders: list[Path], copies: list[Path], region: Region, repeats: int) -> dict[str, float]:
    """Seconds a clip of each method, the limit first."""
    blobs = []
    for folder in folders:
        with closing(sqlite3.connect(folder / "frames.db")) as connection:
            rows = connection.execute("SELECT frames FROM Images ORDER BY rowid").fetchall()
        blobs.append([rows[index][0] for index in INDICES])
    methods: dict[str, list[Callable[[], object]]] = {
        "limit (decode from memory)": [partial(limit, clip) for clip in blobs],
        "frame store": [partial(read_by_store, folder, region) for folder in folders],
        "frame store, unindexed": [partial(read_by_store, copy, region) for copy in copies],
        "plain OpenCV": [partial(read_by_opencv, folder, region) for folder in folders],
    }
    return seconds_a_clip(methods, repeats)


def main() -> int:
    """Measure and print."""
    parser = CommandParser(prog="python -m benchmarks.loading", description="Speed of reading clips on one core.")
    parser.add_argument("--videos", type=positive_integer, default=24)
    parser.add_argument("--repeats", type=positive_integer, default=5)
    arguments = parser.parse_args()
    table = Table(title="Reading clips of 16 frames, one core, warm", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("source, crop: method")
    for heading in ("clips/s", "of the limit", "of plain OpenCV"):
        table.add_column(heading, justify="right")
    for name, size in SIZES.items():
        with tempfile.TemporaryDirectory() as temporary:
            folders = make_videos(Path(temporary, "own"), size, arguments.videos)
            copies = without_index(folders, Path(temporary, "unindexed"))
            for crop in (224, 112):
                seconds = compare(folders, copies, crop_of(size, crop), arguments.repeats)
                best, plain = seconds["limit (decode from memory)"], seconds["plain OpenCV"]
                for method, value in seconds.items():
                    table.add_row(
                        f"{name}, {crop}: {method}", f"{1 / value:.1f}", f"{best / value:.2f}", f"{plain / value:.2f}"
                    )
    make_console().print(table)
    return 0


if __name__ == "__main__":
    run_command(main)
