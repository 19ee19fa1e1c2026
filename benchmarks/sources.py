"""What frames in databases and video files cost: bytes an hour of video, and clips a second on one core.

    python -m benchmarks.sources [--videos 12] [--repeats 5] [--folder FOLDER]

Makes videos of ten seconds (benchmarks/moving_scene.py) as they are found: H.264 of 640x360, a keyframe each 250
frames. They are converted into databases of two qualities and two sizes, and encoded again by data.prepare.resize with
a keyframe each 30 and 16 frames. Of each video, a random clip of 16 frames with interval 2 is read from every form, as
in training with --clip-size 224; CPU time is counted, with the files in the system's cache. The disk that whole
datasets need is computed from the bytes an hour.
"""

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from time import thread_time
from typing import NamedTuple

import av
import numpy as np
from rich import box
from rich.table import Table

from benchmarks.corpus import FRAMES, SCENE
from benchmarks.loading import SPAN, Call, seconds_a_clip
from benchmarks.moving_scene import moving_frames
from common.cli import CommandParser, positive_integer, run_command
from common.files import atomic_file
from common.logs import make_console
from data.clips.crop import random_crop
from data.clips.types import ClipShape
from data.prepare import conversion, encoding
from data.store.frame_store import DATABASE, FrameStore, is_whole
from data.store.indexed_video import IndexedVideo
from data.store.keyframe_index import index_video
from data.store.video_source import VideoPart, VideoSource

RATE = 30
CROP = ClipShape(16, 224, 224)
DATABASES = {f"frames.db, short side {side}, quality {q}": (side, q) for side in (256, 360) for q in (75, 90)}
FOUND = "mp4 as found: 640x360, keyframe each 250"
FILES = {f"mp4, short side {side}, keyframe each {gop}": (side, gop) for side in (256, 360) for gop in (30, 16)}
HOURS = {"Kinetics-400": 240_000 * 10 / 3600, "HACS": 1_500_000 * 2 / 3600, "UCF-101": 13_320 * 7.2 / 3600}


class Form(NamedTuple):
    """The videos in one form: the file of each, and how it is opened."""

    files: list[Path]
    open: Callable[[int], VideoSource]

    def bytes_an_hour(self) -> float:
        """Of video."""
        total = sum(file.stat().st_size for file in self.files)
        return total / (len(self.files) * FRAMES / RATE) * 3600


def found_videos(folder: Path, videos: int) -> list[Path]:
    """Videos as a download has them; existing ones are kept."""
    files = [folder / "found" / "class" / f"{number:03d}.mp4" for number in range(videos)]
    for number, file in enumerate(files):
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.exists():
            continue
        with atomic_file(file) as temporary, av.open(str(temporary), "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=RATE, options={"crf": "23", "g": "250", "threads": "1"})
            stream.height, stream.width = SCENE
            stream.pix_fmt = "yuv420p"
            for pixels in moving_frames(number, SCENE, FRAMES):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode(None))
    return files


def as_databases(files: Sequence[Path], folder: Path, side: int, quality: int) -> Form:
    """The videos as databases, by data.prepare.convert."""
    settings = conversion.Settings(side, quality, False, 1, files[0].parents[1])
    places = [folder / f"db_{side}_{quality}" / file.stem for file in files]
    for file, place in zip(files, places, strict=True):
        if not is_whole(place):
            conversion.convert_video(settings, conversion.Job(file, None, place), lambda: None)
    return Form([place / DATABASE for place in places], lambda number: FrameStore(places[number]))


def as_files(files: Sequence[Path], folder: Path, side: int, gop: int) -> Form:
    """The videos encoded again, by data.prepare.resize."""
    settings = encoding.Settings(side, gop, 20, files[0].parents[1])
    made = [folder / f"mp4_{side}_{gop}" / file.name for file in files]
    for file, target in zip(files, made, strict=True):
        if not target.exists():
            encoding.encode_video(settings, encoding.Job(file, None, target), lambda: None)
    return indexed(made)


def indexed(files: Sequence[Path]) -> Form:
    """The form of video files."""
    parts = []
    for file in files:
        index, status = index_video(file), file.stat()
        parts.append(VideoPart(str(file), status.st_size, status.st_mtime_ns, index.packed(), 0, len(index.times)))
    return Form(list(files), lambda number: IndexedVideo(parts[number]))


def read_clip(form: Form, number: int, start: int, seed: int) -> None:
    """Read a clip as training does."""
    with form.open(number) as video:
        crop = random_crop(video.size(), CROP, False, np.random.default_rng(seed))
        assert len(video) == FRAMES
        video.read(range(start, start + SPAN, 2), crop)


def main() -> int:
    """Measure and print."""
    parser = CommandParser(prog="python -m benchmarks.sources", description="What databases and video files cost.")
    parser.add_argument("--videos", type=positive_integer, default=12)
    parser.add_argument("--repeats", type=positive_integer, default=5)
    parser.add_argument("--folder", type=Path, help="make the videos here and use those that exist")
    arguments = parser.parse_args()
    console = make_console()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        files = found_videos(folder, arguments.videos)
        forms = {name: as_databases(files, folder, *how) for name, how in DATABASES.items()}
        began = thread_time()
        forms[FOUND] = indexed(files)
        indexing = (thread_time() - began) / len(files)
        forms |= {name: as_files(files, folder, *how) for name, how in FILES.items()}
        seconds = seconds_a_clip(_calls(forms, len(files)), arguments.repeats, cold=False)
        sizes = {name: form.bytes_an_hour() / 1e9 for name, form in forms.items()}
    table = Table(title="Clips of 16x224x224, one core", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("source", no_wrap=True)
    for heading in ("GB/hour", "clips/s", *(f"{name}, TB" for name in HOURS)):
        table.add_column(heading, justify="right")
    for name, gigabytes in sizes.items():
        disks = (f"{gigabytes * hours / 1000:.3f}" for hours in HOURS.values())
        table.add_row(name, f"{gigabytes:.2f}", f"{1 / seconds[name]:.0f}", *disks)
    console.print(table)
    console.print(f"indexing a file as found takes {1000 * indexing:.1f} ms of CPU time, once")
    return 0


def _calls(forms: dict[str, Form], videos: int) -> dict[str, list[Call]]:
    rng = np.random.default_rng(0)
    starts = rng.integers(0, FRAMES - SPAN + 1, videos).tolist()
    return {
        name: [Call(partial(read_clip, form, number, start, number)) for number, start in enumerate(starts)]
        for name, form in forms.items()
    }


if __name__ == "__main__":
    run_command(main)
