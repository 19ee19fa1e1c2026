"""Make short videos whose classes differ only in motion and in the order of events.

    python -m data.prepare.synthetic OUT --videos 480 --val-videos 96 --classes 8 --frames 32 --size 64x64 --seed 0

writes OUT/videos/<class>/<id>.mp4 and the label files OUT/labels/{train,val}.csv. Each scene (background, shape,
colours, sizes, places, speeds; see data/prepare/synthetic_scene.py) is rendered once for every class: the classes of a
split have the same frames in different orders. Each frame is encoded independently with a fixed quantiser, so that this
also holds for the decoded frames. Training and validation videos have different scenes.
"""

import json
import re
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, cast

import av
import numpy as np

from common.cli import CommandParser, run_command
from common.errors import DataError
from common.files import atomic_file, check_new_files, check_output, open_plain_text, reason, write_new_files
from common.processes import available_cpus
from data.labels.label_file import LabelRow, label_text
from data.prepare.report import Report, progress_bar
from data.prepare.run_lock import only_run
from data.prepare.synthetic_scene import MAX_CLASSES, MIN_FRAMES, MIN_SIZE, class_table, draw_scene, render
from data.prepare.worker_pool import run_jobs
from data.store.video_file import VideoError, check_whole

SPLITS = ("train", "val")
SETTINGS_FILE = "synthetic.json"
LARGEST_SETTINGS = 2**20  # bytes
MAX_SIDE = 4096
# Encoders in order of preference. The quantiser is fixed, as rate control would depend on neighbouring frames.
CODECS = {"libx264": {"preset": "veryfast", "qp": "20"}, "mpeg4": {"qmin": "3", "qmax": "3"}}


@dataclass(frozen=True)
class Settings:
    """The settings of a set of videos; equal settings give equal frames."""

    videos: int  # of both splits
    val_videos: int
    classes: int
    frames: int
    height: int
    width: int
    fps: int
    seed: int

    def check(self) -> None:
        """Raise DataError for a value out of range."""
        limits = {
            "--videos": (self.videos, 2, 10**6),
            "--val-videos": (self.val_videos, 1, self.videos - 1),
            "--classes": (self.classes, 2, MAX_CLASSES),
            "--frames": (self.frames, MIN_FRAMES, 10**5),
            "--fps": (self.fps, 1, 240),
            "--seed": (self.seed, 0, 2**63 - 1),
        }
        for flag, (value, low, high) in limits.items():
            if not low <= value <= high:
                raise DataError(f"{flag} {value}: must be from {low} to {high}")
        for side in (self.height, self.width):
            if side % 2 or not MIN_SIZE <= side <= MAX_SIDE:
                size = f"--size {self.height}x{self.width}"
                raise DataError(f"{size}: height and width must be even and from {MIN_SIZE} to {MAX_SIDE}")


class Video(NamedTuple):
    """A video to make; `number` counts within its split."""

    split: str
    number: int
    label: str

    @property
    def video_id(self) -> str:
        """The id in the label file, and the name of the video file."""
        return f"{self.split}_{self.number:06d}"

    @property
    def path(self) -> Path:
        """The video file under the folder of videos."""
        return Path(self.label, f"{self.video_id}.mp4")


def list_videos(settings: Settings) -> Iterator[Video]:
    """The videos of both splits; consecutive videos show the same scene in one class after the other."""
    labels = list(class_table(settings.classes))
    for split, videos in zip(SPLITS, (settings.videos - settings.val_videos, settings.val_videos), strict=True):
        for number in range(videos):
            yield Video(split, number, labels[number % len(labels)])


def render_video(settings: Settings, video: Video) -> Iterator[np.ndarray]:
    """A video's frames before encoding, each uint8 RGB (H, W, 3)."""
    parts = class_table(settings.classes)[video.label]
    key = (settings.seed, SPLITS.index(video.split), video.number // settings.classes)
    scene = draw_scene(np.random.default_rng(key), len(parts), settings.frames, settings.height, settings.width)
    return render(scene, parts)


def encode(path: Path, frames: Iterable[np.ndarray], settings: Settings, codec: str) -> None:
    """Write RGB frames, uint8 (H, W, 3), as an MP4 file; each frame is encoded independently of its neighbours."""
    with atomic_file(path) as temporary, av.open(str(temporary.absolute()), "w", format="mp4") as container:
        stream = cast(av.VideoStream, container.add_stream(codec, rate=settings.fps, options=CODECS[codec]))
        stream.height, stream.width = settings.height, settings.width
        stream.pix_fmt = "yuv420p"
        stream.gop_size = 1
        stream.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def best_codec() -> str:
    """H.264 if PyAV's FFmpeg can encode it, else MPEG-4 part 2, which is always there."""
    return next(codec for codec in CODECS if codec in av.codecs_available)


def _make_video(settings: Settings, folder: Path, codec: str, video: Video, beat: Callable[[], None]) -> bool:
    """Make one video unless it exists and is whole; return whether it was made."""

    def frames() -> Iterator[np.ndarray]:
        for frame in render_video(settings, video):
            beat()
            yield frame

    path = folder / video.path
    if path.exists():
        with suppress(VideoError):
            check_whole(path)
            return False
    try:
        encode(path, frames(), settings, codec)
    except OSError as error:
        raise DataError(reason(error)) from error
    return True


def make_dataset(out: Path, settings: Settings, workers: int) -> Report:
    """Write videos, label files and settings to `out`; keep the videos of an interrupted run with these settings."""
    settings.check()
    report = Report("synthetic videos")
    report.count("made", 0)
    labels = _label_files(out / "labels", settings)
    try:
        _claim_folder(out, settings, labels)
        with only_run(out, command="synthetic"):
            _make_videos(out, settings, workers, report)
            write_new_files(labels)
    except OSError as error:
        raise DataError(f"cannot write to {out}: {reason(error)}") from error
    return report


def _label_files(folder: Path, settings: Settings) -> dict[Path, str]:
    """The text of the label file of each split."""
    rows: dict[str, list[LabelRow]] = {split: [] for split in SPLITS}
    for video in list_videos(settings):
        rows[video.split].append(LabelRow(video.label, video.video_id, video.split, video.video_id, None, None, 0))
    return {folder / f"{split}.csv": label_text(of_split) for split, of_split in rows.items()}


def _make_videos(out: Path, settings: Settings, workers: int, report: Report) -> None:
    for label in class_table(settings.classes):
        folder = out / "videos" / label
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob(".*.mp4.[0-9]*.tmp"):  # of a run that was killed
            leftover.unlink()
    (out / "labels").mkdir(exist_ok=True)
    make = partial(_make_video, settings, out / "videos", best_codec())
    with progress_bar() as bar, closing(run_jobs(make, list_videos(settings), workers)) as outcomes:
        task = bar.add_task("making videos", total=settings.videos)
        for outcome in outcomes:
            if outcome.result is None:
                raise DataError(f"cannot make {out / 'videos' / outcome.job.path}: {outcome.reason}")
            report.count("made" if outcome.result else "already there")
            bar.advance(task)


def _claim_folder(out: Path, settings: Settings, labels: dict[Path, str]) -> None:
    """Write the settings to `out`; DataError if it holds videos of other settings, or label files of other videos."""
    path = out / SETTINGS_FILE
    wanted = asdict(settings) | {"codec": best_codec()}
    if path.exists():
        try:
            with open_plain_text(path, LARGEST_SETTINGS) as file:
                found = json.load(file)
            differing = [name for name in wanted if found.get(name) != wanted[name]]
        except (ValueError, AttributeError, RecursionError):
            raise DataError(f"{path} is not what this command writes; give another folder") from None
        if differing:
            there = ", ".join(f"{name} {found.get(name)}" for name in differing)
            asked = ", ".join(f"{name} {wanted[name]}" for name in differing)
            raise DataError(f"{out} holds videos made with {there}, not {asked}; give another folder or delete it")
    elif (out / "videos").exists() and any((out / "videos").iterdir()):
        raise DataError(f"{out / 'videos'} holds videos of another kind; give another folder")
    check_new_files(labels)
    if path.exists():
        return
    out.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")


def write_contact_sheet(path: Path, out: Path, settings: Settings) -> None:
    """Draw one video of each class as a row of frames, each of a different scene if there are enough."""
    from data.prepare.filmstrips import draw_filmstrips  # imports matplotlib, which the workers do not need

    labels = list(class_table(settings.classes))
    train_videos = settings.videos - settings.val_videos
    strips = {}
    for position, label in enumerate(labels):
        indices = range(position, train_videos, len(labels))
        if indices:
            video = Video("train", indices[position % len(indices)], label)
            with av.open(str((out / "videos" / video.path).absolute())) as container:
                strips[label] = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    try:
        draw_filmstrips(path, strips)
    except OSError as error:
        raise DataError(f"cannot write {path}: {reason(error)}") from error


def _parse_size(text: str) -> tuple[int, int]:
    match = re.fullmatch("([0-9]+)(?:x([0-9]+))?", text.lower())
    if not match:
        raise DataError(f"--size {text}: give height x width in pixels, as 64x64, or one number for both")
    return int(match[1]), int(match[2] or match[1])


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="python -m data.prepare.synthetic",
        description=__doc__,
    )
    add = parser.add_argument
    add("out", metavar="OUT", type=Path, help="folder for videos/ and labels/")
    add("--videos", type=int, metavar="N", default=480, help="videos of both splits together")
    add("--val-videos", type=int, metavar="N", help="how many of them are for validation (default: a fifth)")
    add("--classes", type=int, metavar="N", default=8, help=f"2 to {MAX_CLASSES}")
    add("--frames", type=int, metavar="N", default=32, help="frames in a video")
    add("--size", default="64x64", metavar="HxW", help="height x width in pixels")
    add("--fps", type=int, metavar="N", default=16, help="frames a second")
    add("--seed", type=int, metavar="N", default=0, help="each seed gives different scenes")
    add(
        "--workers",
        type=int,
        metavar="N",
        default=available_cpus(),
        help="processes; the videos do not depend on it (default: the CPUs, %(default)s here)",
    )
    add("--contact-sheet", type=Path, metavar="FILE.png", help="also draw one video of each class to this file")
    return parser


def _val_videos(videos: int, classes: int) -> int:
    """A fifth of the videos, rounded down to whole scenes if possible."""
    return max(1, videos // 5 // max(classes, 1) * classes or videos // 5)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the videos that the command line asks for; return the exit status."""
    options = _parser().parse_args(arguments)
    height, width = _parse_size(options.size)
    settings = Settings(
        videos=options.videos,
        val_videos=_val_videos(options.videos, options.classes) if options.val_videos is None else options.val_videos,
        classes=options.classes,
        frames=options.frames,
        height=height,
        width=width,
        fps=options.fps,
        seed=options.seed,
    )
    if options.workers < 1:
        raise DataError(f"--workers {options.workers}: must be 1 or more")
    sheet = options.contact_sheet
    if sheet:
        check_output(sheet, [".png"], "--contact-sheet")
    if sheet and not sheet.parent.is_dir():
        raise DataError(f"--contact-sheet {sheet}: there is no folder {sheet.parent}; make it first")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    report = make_dataset(options.out, settings, options.workers)
    if sheet:
        write_contact_sheet(sheet, options.out, settings)
    return 0 if report.print() else 1


if __name__ == "__main__":
    run_command(main)
