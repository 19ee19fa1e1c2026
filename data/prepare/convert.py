"""Convert videos to frame databases: python -m data.prepare.convert VIDEOS OUT

VIDEOS/<class>/<file> becomes OUT/jpg/<class>/<file without suffix>/{frames.db,n_frames}. Videos that are already there
are skipped: to continue an interrupted run, give the same command again. A database that was made from something else
stays, and is listed as `differs`. Failures do not stop the run, but a full disk does; they are listed at the end and in
OUT/convert_failures.csv. The exit status is 1 if anything failed, is missing or differs.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from common.cli import CommandParser, finite_number, positive_integer, run_command
from common.errors import DataError
from common.files import reason
from common.processes import available_cpus
from data.labels.label_file import LabelRow, read_together
from data.labels.segment_names import as_on_disk
from data.labels.text import first_names, some
from data.prepare.conversion import (
    Settings,
)
from data.prepare.conversion_run import Plan, convert_sources, print_result
from data.prepare.file_names import is_video
from data.prepare.frame_pattern import check_pattern
from data.prepare.labelled_sources import find_labelled_sources
from data.prepare.report import (
    Report,
    printable,
)
from data.prepare.same_places import told_apart
from data.prepare.sources import Shard, Sources, find_sources


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert as the command line says; return the exit status."""
    options = _parser().parse_args(arguments)
    end_on_sigterm()
    check_folders(options.videos, options.out)
    found = _find(options.videos, options.out, options.labels, options.shard, options.frames or "")
    report = Report(f"{options.videos} to {options.out / 'jpg'}")
    plan = Plan(
        options.videos, options.out, options.workers, options.replace, options.shard, has_labels=bool(options.labels)
    )
    return print_result(report, convert_sources(found, settings_of(options), plan, report))


def settings_of(options: argparse.Namespace) -> Settings:
    """The settings that the flags of `add_conversion_flags` say."""
    return Settings(
        options.short_side,
        options.quality,
        options.keep_partial,
        1,
        options.videos,
        options.frames or "",
        options.fps,
    )


def end_on_sigterm() -> None:
    """Let SIGTERM end the process as an exception does, so that what was begun is tidied up."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def check_folders(videos: Path, out: Path) -> None:
    """DataError if there is no folder of videos, or if databases and videos would be mixed."""
    jpg = out / "jpg"
    try:
        if not videos.is_dir():
            raise DataError(f"{videos}: no such folder; give the folder that holds the videos")
        if (jpg.exists() or jpg.is_symlink()) and not jpg.is_dir():
            raise DataError(f"{jpg} is no folder, or a link to none, but the databases go there; move it away")
        inside = jpg.is_dir() and jpg.resolve() in (videos.resolve(), *videos.resolve().parents)
        inner = jpg.iterdir() if jpg.is_dir() else ()
        mixed = [path.name for path in inner if is_video(path.name) and not path.is_dir()]  # a class may be named so
    except OSError as error:
        raise DataError(f"{error.filename or videos}: {reason(error)}") from error
    check_class_folders(jpg, "databases")
    if inside:
        raise DataError(f"{videos} is in {jpg}, where the databases go; give another OUT")
    if mixed:
        raise DataError(f"{jpg} holds {some(mixed, 'video')}, but the databases go there; give another OUT")


def check_class_folders(folder: Path, what: str) -> None:
    """DataError if the folder of a class is a link to nothing, as to a disk that is not mounted.

    None of its videos could be written, and `data.prepare.folder` would take them out of the label files.
    """
    try:
        inner = sorted(folder.iterdir()) if folder.is_dir() else ()
        dead = [path for path in inner if path.is_symlink() and not path.exists() and not path.name.startswith(".")]
        links = [f"{path} is a link to {path.readlink()}" for path in dead]
    except OSError as error:
        raise DataError(f"{error.filename or folder}: {reason(error)}") from error
    if links:
        raise DataError(
            f"{first_names(links, 300)}, where nothing is, but {what} go there; mount the disk, or remove the link"
        )


def _find(videos: Path, out: Path, labels: list[Path], shard: Shard, frames: str) -> Sources:
    """The sources of this shard."""
    if labels:
        found = find_labelled_sources(videos, out, as_on_disk(_read_rows(labels), out / "jpg"), frames)
    else:
        found = find_sources(videos, out, frames)
    found = told_apart(found, videos, out / "jpg")
    return found._replace(
        videos=[video for video in found.videos if shard.has(f"{video.label}/{video.video_id}")],
        problems=[problem for problem in found.problems if shard.has(problem.item)],
    )


def _read_rows(files: Sequence[Path]) -> list[LabelRow]:
    """The rows of all label files, which share the names of folders. DataError as by read_together."""
    rows: list[LabelRow] = []
    for read in read_together(files):
        for note in read.notes:
            print(printable(note), file=sys.stderr)
        rows += read.rows
    return rows


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="python -m data.prepare.convert",
        description=__doc__,
    )
    add = parser.add_argument
    add(
        "videos",
        type=Path,
        metavar="VIDEOS",
        help="holds <class>/<video file> or <class>/<video>/<frame>.jpg (or .png)",
    )
    add("out", type=Path, metavar="OUT", help="the dataset folder: databases go to OUT/jpg/<class>/<video>/")
    add(
        "--labels",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="convert only the videos that this label file names, from anywhere under VIDEOS; where it has times, cut "
        "the clips out of whole videos <youtube_id>.*; may be given several times",
    )
    add(
        "--shard",
        type=_shard,
        default=Shard(0, 1),
        metavar="I/N",
        help="convert one of N parts, for job arrays; I counts from 0 or from 1 (N/N is the same part as 0/N); a "
        "video's part depends only on its name",
    )
    return add_conversion_flags(parser)


def add_conversion_flags(parser: CommandParser, or_else: str = "") -> CommandParser:
    """Add the flags that say how videos are converted, those of `settings_of` among them.

    `or_else` tells when --short-side has another default, in a command that can also make other files than databases.
    """
    made, how = (
        ("database or file", "value of these flags") if or_else else ("database", "--short-side, --quality or --fps")
    )
    add = parser.add_argument
    add(
        "--short-side",
        type=positive_integer,
        default=360,
        metavar="PIXELS",
        help=f"scale the shorter side down to this, never up (default: %(default)s{or_else})",
    )
    add("--quality", type=_quality, default=90, help="of the JPEG frames, 1 to 100")
    add(
        "--fps",
        type=_rate,
        metavar="X",
        help="repeat or drop frames so that there are this many a second, 1 to 1000; for video files, not for folders "
        "of frames, which have no times (default: the frames as they are)",
    )
    add(
        "--workers",
        type=positive_integer,
        default=available_cpus(),
        help="processes (default: the CPUs, %(default)s here)",
    )
    add(
        "--keep-partial",
        action="store_true",
        help="keep the frames of a damaged video that can be decoded, with a warning, instead of failing the video",
    )
    add(
        "--replace",
        action="store_true",
        help=f"convert again the videos whose {made} was made from another file or span, or with another {how}, and "
        "those with damage; the old one stays until the new one is complete",
    )
    add(
        "--frames",
        type=_pattern,
        metavar="PATTERN",
        help="in folders of frames, take the pictures of this name only, such as 'img_*.jpg' beside flow_x_*.jpg, or "
        "'rgb/*.png' in a folder of the video's folder (default: folders with several series of pictures fail)",
    )
    return parser


def _pattern(text: str) -> str:
    try:
        return check_pattern(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _quality(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 1 and 100")
    return int(text)


def _rate(text: str) -> float:
    rate = finite_number(text)
    if not 1 <= rate <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 1 and 1000")
    return rate


def _shard(text: str) -> Shard:
    part, _, parts = text.partition("/")
    if not part.isdecimal() or not parts.isdecimal() or not int(part) <= int(parts) or int(parts) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N with I from 0 or 1 up to N, such as 1/4")
    return Shard(int(part), int(parts))


if __name__ == "__main__":
    run_command(main, "give the same command again to go on")
