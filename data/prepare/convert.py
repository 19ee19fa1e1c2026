"""Convert videos to frame databases: python -m data.prepare.convert VIDEOS OUT

VIDEOS/<class>/<file> becomes OUT/jpg/<class>/<file without suffix>/{frames.db,n_frames}. Videos that are already there
are skipped: to continue an interrupted run, give the same command again. A database that was made from something else
stays, and is listed as `differs`. Failures do not stop the run, but a full disk does; they are listed at the end and in
OUT/convert_failures.csv. The exit status is 1 if anything failed, is missing or differs.
"""

import argparse
import signal
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NamedTuple

from common.cli import CommandParser, finite_number, positive_integer, run_command
from common.errors import DataError
from common.files import inode_of, reason
from common.processes import available_cpus
from data.labels.class_folders import in_threads
from data.labels.label_file import LabelRow, read_together
from data.labels.segment_names import as_on_disk
from data.labels.text import counted, some
from data.prepare.conversion import (
    Converted,
    Job,
    Settings,
    There,
    Unwritable,
    check_links,
    convert_video,
    look,
    remove_leftovers,
    write_count,
)
from data.prepare.failure_list import FailureList, Known
from data.prepare.file_names import is_video
from data.prepare.frame_pattern import check_pattern
from data.prepare.report import (
    Problem,
    Report,
    check_list,
    printable,
    progress_bar,
)
from data.prepare.run_lock import only_run
from data.prepare.sources import Shard, Source, Sources, find_labelled_sources, find_sources
from data.prepare.vanished import moved_to, vanished
from data.prepare.worker_pool import Outcome, run_jobs
from data.store.frame_store import DATABASE

CHUNK = 64  # videos that a thread looks at in one call
SMALL = "smaller than --short-side"
VARIABLE = "of a variable frame rate"
OF_OTHERS = "databases of no video here"
WITH_DAMAGE = "already there, with damage"


class Plan(NamedTuple):
    """What a run converts, and how the work is done."""

    videos: Path  # the folder that holds all sources
    out: Path
    workers: int
    replace: bool = False  # databases that differ
    shard: Shard = Shard(0, 1)
    has_labels: bool = False  # the sources are those that rows name, from anywhere in `videos`


class Ended(NamedTuple):
    """How a run ended: why it stopped early, if it did, the list that it wrote, and the folders that are right now.

    `right` are the folders of the databases that were made, or were there and do not differ from the source.
    """

    stopped: str
    listed: Path | None
    right: set[Path]


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


def convert_sources(found: Sources, settings: Settings, plan: Plan, report: Report) -> Ended:
    """Convert the videos that were found, and fill the report. DataError if that cannot begin."""
    jpg = plan.out / "jpg"
    report.count("converted", 0)
    report.notes += found.notes
    for problem in found.problems:
        report.add(*problem)
    if not plan.has_labels:
        _count_vanished(plan.videos, jpg, found.videos, plan.shard, report)
    stopped, left = "", set[Path]()
    failures = FailureList(plan.out, plan.shard)
    check_list(failures.path)
    with only_run(plan.out, plan.shard):
        failures.read()
        jobs, known, right = _jobs(found.videos, jpg, settings, plan.replace, report)
        if jobs:
            workers = min(plan.workers, len(jobs))
            settings = settings._replace(threads=plan.workers // workers)
            stopped, left = _convert(jobs, settings, workers, plan.out, report, right)
        listed: Path | None = failures.path
        try:
            tried = _tried(found.videos, left, settings, plan.videos, jpg)
            failures.write(report, tried, known, plan.videos, plan.has_labels)
        except DataError as error:
            listed = None
            if not stopped:  # else the same is said below
                stopped = str(error)
    if small := report.counts.pop(SMALL, 0):
        kept = f"the frames of {counted(small, 'video')} have a shorter side of less than {settings.short_side} pixels"
        report.notes.append(f"{kept}, as their source: nothing is enlarged")
    if variable := report.counts.pop(VARIABLE, 0):
        what = "--fps 30 --replace converts them again, with even steps"
        report.notes.append(f"{counted(variable, 'video')} of a variable frame rate: {what}")
    if found.ignored:
        report.count("ignored, no videos", found.ignored.total())
        kinds = (f"{number} {kind}" for kind, number in sorted(found.ignored.items()))
        report.notes.append(f"ignored: {', '.join(kinds)}")
    return Ended(stopped, listed, right)


def print_result(report: Report, ended: Ended) -> int:
    """Print the report of a run; return the exit status."""
    is_printed = report.print(csv_path=ended.listed)
    if ended.stopped:
        print(f"error: {printable(ended.stopped)}", file=sys.stderr)
    has_problems = any(report.counts[kind] for kind in ("failed", "missing", "differs"))
    return 1 if ended.stopped or not is_printed or has_problems else 0


def end_on_sigterm() -> None:
    """Let SIGTERM end the process as an exception does, so that what was begun is tidied up."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def _count_vanished(videos: Path, jpg: Path, found: Sequence[Source], shard: Shard, report: Report) -> None:
    """Report the databases whose video has been removed or moved: label files made of OUT/jpg would still name them."""
    name = videos.resolve().name
    gone = vanished(videos, jpg, {(video.label, video.video_id) for video in found}, shard.has)
    by_name: defaultdict[str, list[Source]] = defaultdict(list)
    for video in found if gone.sources else ():
        by_name[video.path.name].append(video)
    for item, source in gone.sources.items():
        if now := moved_to(source, gone.contents[item], by_name):
            there = f"{now.path.relative_to(videos)}, {now.label}/{now.video_id}"
            what = f"{source} was moved, or a copy of it was removed: the same file is {there}"
        else:
            what = f"{source} is not in {videos}: it was removed, or is in another folder {name}"
        report.add("gone", item, f"{what}; delete {jpg / item} if it should not be used")
    for other, items in sorted(gone.of_others.items()):
        report.count(OF_OTHERS, len(items))
        origin = f"made from another folder, {other}" if other else "of unknown origin"
        report.notes.append(f"of no video in {videos}, {origin}: {some(items, 'database')}")
    if any(gone.of_others):
        report.notes.append(
            f"if {videos} is a renamed or cleaned copy of one of these folders, delete these databases: label files "
            f"made of {jpg} would name them"
        )
    if gone.not_taken:
        report.count(OF_OTHERS, len(gone.not_taken))
        report.notes.append(f"made from what is in {videos} but is not taken now: {some(gone.not_taken, 'database')}")
    if gone.not_looked_at:
        report.notes.append(
            f"{gone.not_looked_at} more databases of no video here were not looked at: some may be gone"
        )


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
    if inside:
        raise DataError(f"{videos} is in {jpg}, where the databases go; give another OUT")
    if mixed:
        raise DataError(f"{jpg} holds {some(mixed, 'video')}, but the databases go there; give another OUT")


def _find(videos: Path, out: Path, labels: list[Path], shard: Shard, frames: str) -> Sources:
    """The sources of this shard."""
    if labels:
        found = find_labelled_sources(videos, out, as_on_disk(_read_rows(labels), out / "jpg"), frames)
    else:
        found = find_sources(videos, out, frames)
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


def _jobs(
    videos: Sequence[Source], jpg: Path, settings: Settings, replace: bool, report: Report
) -> tuple[list[Job], Known, set[Path]]:
    """The videos to convert, of what to warn, and the folders of databases that stay and do not differ.

    Converted are those that are not there, with `replace` also those that differ.
    """

    def look_at(chunk: Sequence[Job]) -> list[There | str]:
        return [_look(settings, job, replace) for job in chunk]

    every = [_job(video, jpg) for video in videos]
    chunks = [every[start : start + CHUNK] for start in range(0, len(every), CHUNK)]
    found = (there for chunk in in_threads("what is there", look_at, chunks, CHUNK) for there in chunk)
    jobs: list[Job] = []
    known = Known([], set())
    right = set[Path]()
    states: Counter[str] = Counter()
    for job, there in zip(every, found, strict=True):
        if isinstance(there, str):
            report.add("failed", _name(job, settings), there)
        elif not there.is_whole:
            jobs.append(job)
        elif (there.differences or there.is_damaged) and replace:
            jobs.append(job._replace(replaces=True))
        elif there.differences:
            item = str(job.folder.relative_to(jpg))
            report.add("differs", item, f"{'; '.join(there.differences)}; --replace converts it again")
        else:
            right.add(job.folder)
            states[_state(there)] += 1
            item = _name(job, settings)
            known.warnings.extend(Problem("warning", item, why) for why in there.warnings)
            if not there.keeps_warnings:
                known.untold.add(item)
            if there.is_small:
                report.count(SMALL)
            if there.is_variable:
                report.count(VARIABLE)
    for state, number in sorted(states.items()):
        report.count(state, number)
    if states["already there, origin unknown"]:
        report.notes.append(
            "origin unknown: these databases do not say what they were made from, so they were not compared with the "
            "videos; to make one again, delete its folder"
        )
    if states[WITH_DAMAGE]:
        report.notes.append("with damage: something may be missing of these videos; --replace converts them again")
    return jobs, known, right


def _job(video: Source, jpg: Path) -> Job:
    return Job(video.path, video.span, jpg / video.label / video.video_id, cut=video.cut, frames=video.frames)


def _look(settings: Settings, job: Job, replace: bool) -> There | str:
    try:
        there = look(settings, job)
        if not there.is_whole:
            check_links(job, replaces=(job.folder / DATABASE).exists())
        elif replace and (there.differences or there.is_damaged):
            check_links(job, replaces=True)
        elif not there.is_counted and not there.differences:
            check_links(job, replaces=False)
            write_count(job)
        return there
    except DataError as error:
        return str(error)


def _state(there: There) -> str:
    """What a database counts as that stays and does not differ."""
    if not there.has_origin:
        return "already there, origin unknown"
    if there.is_damaged:
        return WITH_DAMAGE
    return "already there" if there.is_counted else "already there, n_frames written"


def _tried(sources: Sequence[Source], left: set[Path], settings: Settings, videos: Path, jpg: Path) -> set[str]:
    """The items of the list that this run looked at; `left` are the folders of the videos that were not begun."""
    tried = set[str]()
    for source in sources:
        job = _job(source, jpg)
        if job.folder not in left:
            tried |= {_name(job, settings), f"{source.label}/{source.video_id}"}
            tried |= {str(folder) for folder in source.path.relative_to(videos).parents}
    return tried


def _convert(
    jobs: list[Job], settings: Settings, workers: int, out: Path, report: Report, right: set[Path]
) -> tuple[str, set[Path]]:
    """Convert the videos; return why the work stopped early, if it did, and the folders of those not tried.

    The folders of those that succeed are added to `right`.

    It stops if `out` is moved or deleted: the rest would come into a new folder, which no lock keeps for this run.
    """
    place = inode_of(out)
    left = {job.folder for job in jobs}
    outcomes = run_jobs(partial(convert_video, settings), jobs, workers, clean_up=remove_leftovers)
    with progress_bar() as progress, closing(outcomes):
        task = progress.add_task("converting", total=len(jobs))
        outcome: Outcome[Job, Converted | Unwritable]
        for number, outcome in enumerate(outcomes, start=1):
            progress.advance(task)
            item = _name(outcome.job, settings)
            if inode_of(out) != place:
                report.count("not begun or not finished", len(jobs) - number + 1)
                return (
                    f"stopped: {out} was moved or deleted; give the same command with the folder as it is now to go on"
                ), left
            left.discard(outcome.job.folder)
            if isinstance(outcome.result, Unwritable):
                report.add("failed", item, outcome.result.reason)
                report.count("not begun or not finished", len(jobs) - number)
                return (
                    f"stopped: {outcome.job.folder} {outcome.result.reason}; give the same command again to go on",
                    left,
                )
            if outcome.result is None:
                report.add("failed", item, outcome.reason)
                continue
            right.add(outcome.job.folder)
            report.count("replaced" if outcome.job.replaces else "converted")
            if outcome.result.is_small:
                report.count(SMALL)
            if outcome.result.is_variable:
                report.count(VARIABLE)
            for warning in outcome.result.warnings:
                report.add("warning", item, warning)
    return "", left


def _name(job: Job, settings: Settings) -> str:
    """The source's path and, of a clip, its seconds or frames."""
    span = f" {job.span.start:g}-{job.span.end:g} s" if job.span else ""
    span = f" frames {job.frames[0]}-{job.frames[1]}" if job.frames else span
    return f"{job.source.relative_to(settings.videos or job.source.parent)}{span}"


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
