"""Convert videos to frame databases: python -m data.prepare.convert VIDEOS OUT

VIDEOS/<class>/<file> becomes OUT/jpg/<class>/<file without suffix>/{frames.db,n_frames}. Videos that are already there
are skipped: to continue an interrupted run, give the same command again. Failures do not stop the run; they are listed
at the end and in OUT/convert_failures.csv.
"""

import argparse
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from common.cli import CommandParser, positive_integer, run_command
from common.errors import DataError
from common.processes import available_cpus
from data.labels.label_file import read_labels
from data.prepare.jpeg_folder import JpegFolderReader, encode_jpeg
from data.prepare.report import Report, printable, progress_bar, write_problems
from data.prepare.run_lock import only_run
from data.prepare.sources import Shard, Sources, find_labelled_sources, find_sources
from data.prepare.worker_pool import Outcome, run_jobs
from data.store.frame_store import is_whole, leftovers, write_frames
from data.store.video_file import Span, VideoError, VideoReader


class Settings(NamedTuple):
    """How videos are converted."""

    short_side: int
    quality: int
    keep_partial: bool
    threads: int  # for decoding, in each worker


class Job(NamedTuple):
    """One video to convert into a folder."""

    source: Path
    span: Span | None
    folder: Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert as the command line says; return the exit status."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    found = _find(options.videos, options.out, options.labels, options.shard)
    report = Report(f"{options.videos} to {options.out / 'jpg'}")
    report.count("converted", 0)
    jobs: list[Job] = []
    for source in found.videos:
        folder = options.out / "jpg" / source.label / source.video_id
        if is_whole(folder):
            report.count("already there")
        else:
            jobs.append(Job(source.path, source.span, folder))
    for problem in found.problems:
        report.add(*problem)
    with only_run(options.out, _suffix(options.shard)):
        workers = min(options.workers, max(1, len(jobs)))
        settings = Settings(options.short_side, options.quality, options.keep_partial, options.workers // workers)
        _convert(jobs, settings, workers, options.videos, report)
        csv_path = options.out / f"convert_failures{_suffix(options.shard)}.csv"
        write_problems(csv_path, report.problems)
    if found.ignored:
        report.count("ignored, no videos", found.ignored.total())
    report.print(csv_path=csv_path)
    if found.ignored:
        print("ignored: " + ", ".join(f"{number} {printable(kind)}" for kind, number in sorted(found.ignored.items())))
    return 1 if report.counts["failed"] or report.counts["missing"] else 0


def convert_video(settings: Settings, job: Job, beat: Callable[[], None]) -> list[str]:
    """Write the database of one video; return warnings. DataError if it cannot be decoded to its end."""
    remove_leftovers(job)
    if job.source.is_dir():
        if job.span is not None:
            raise VideoError("is a folder of frames without times: the clip cannot be cut out")
        folder_reader = JpegFolderReader(job.source, settings.short_side, settings.quality, settings.keep_partial, beat)
        write_frames(job.folder, folder_reader)
        return folder_reader.warnings
    reader = VideoReader(job.source, settings.short_side, job.span, settings.threads, settings.keep_partial, beat)
    write_frames(job.folder, (encode_jpeg(pixels, settings.quality) for pixels in reader))
    return reader.warnings


def remove_leftovers(job: Job) -> None:
    """Remove the temporary files that a killed process left of a video, and then the folder if it is empty."""
    for path in leftovers(job.folder):
        path.unlink(missing_ok=True)
    with suppress(OSError):
        job.folder.rmdir()


def _find(videos: Path, out: Path, labels: list[Path], shard: Shard) -> Sources:
    """The sources of this shard."""
    if not videos.is_dir():
        raise DataError(f"{videos}: no such folder; give the folder that holds the videos")
    if labels:
        rows = [row for path in labels for row in read_labels(path)]
        found = find_labelled_sources(videos, out, rows)
    else:
        found = find_sources(videos, out)
    return Sources(
        [video for video in found.videos if shard.has(f"{video.label}/{video.video_id}")],
        [problem for problem in found.problems if shard.has(problem.item)],
        found.ignored,
    )


def _convert(jobs: list[Job], settings: Settings, workers: int, videos: Path, report: Report) -> None:
    outcomes: Iterator[Outcome[Job, list[str]]] = run_jobs(
        partial(convert_video, settings), jobs, workers, clean_up=remove_leftovers
    )
    with progress_bar() as progress:
        task = progress.add_task("converting", total=len(jobs))
        for outcome in outcomes:
            progress.advance(task)
            item = _name(outcome.job, videos)
            if outcome.result is None:
                report.add("failed", item, outcome.reason)
                continue
            report.count("converted")
            for warning in outcome.result:
                report.add("warning", item, warning)


def _name(job: Job, videos: Path) -> str:
    """The source's path and, of a clip, its seconds."""
    span = f" {job.span.start:g}-{job.span.end:g} s" if job.span else ""
    return f"{job.source.relative_to(videos)}{span}"


def _suffix(shard: Shard) -> str:
    return "" if shard.parts == 1 else f"_{shard.part}_of_{shard.parts}"


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="python -m data.prepare.convert",
        description=__doc__,
    )
    add = parser.add_argument
    add("videos", type=Path, metavar="VIDEOS", help="holds <class>/<video file> or <class>/<video>/<frame>.jpg")
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
        "--short-side",
        type=positive_integer,
        default=360,
        metavar="PIXELS",
        help="scale the shorter side down to this, never up",
    )
    add("--quality", type=_quality, default=90, help="of the JPEG frames, 1 to 100")
    add(
        "--workers",
        type=positive_integer,
        default=available_cpus(),
        help="processes (default: the CPUs, %(default)s here)",
    )
    add(
        "--shard",
        type=_shard,
        default=Shard(0, 1),
        metavar="I/N",
        help="convert one of N parts, for job arrays; I counts from 0 or from 1 (N/N is the same part as 0/N); a "
        "video's part depends only on its name",
    )
    add(
        "--keep-partial",
        action="store_true",
        help="keep the frames of a damaged video that can be decoded, with a warning, instead of failing the video",
    )
    return parser


def _quality(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 1 and 100")
    return int(text)


def _shard(text: str) -> Shard:
    part, _, parts = text.partition("/")
    if not part.isdecimal() or not parts.isdecimal() or not int(part) <= int(parts) or int(parts) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N with I from 0 or 1 up to N, such as 1/4")
    return Shard(int(part), int(parts))


if __name__ == "__main__":
    run_command(main)
