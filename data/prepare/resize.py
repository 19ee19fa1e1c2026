"""Re-encode videos into files that are read fast: python -m data.prepare.resize VIDEOS OUT

VIDEOS/<class>/<file> becomes OUT/videos/<class>/<file without suffix>.mp4 (H.264, without sound), which training reads
with --source videos: small frames and many keyframes, so that few frames are decoded for a clip. Frames and their times
stay, and frames are upright. Videos that are already there are skipped: to continue an interrupted run, give the same
command again. A file that was made from something else, or with other settings, stays, and is listed as `differs`.
Failures do not stop the run, but a full disk does; they are listed at the end and in OUT/resize_failures.csv. The exit
status is 1 if anything failed, is missing or differs.
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from common.cli import CommandParser, positive_integer, run_command
from common.errors import DataError
from common.files import reason
from common.processes import available_cpus
from data.labels.class_folders import in_threads
from data.labels.label_file import LabelRow, read_together
from data.labels.locate import VIDEOS
from data.prepare.conversion_run import Ended, Plan, print_result
from data.prepare.convert import check_class_folders, end_on_sigterm
from data.prepare.encoding import Encoded, Job, Settings, Unwritable, encode_video, lost_frames, made_and_held, made_now
from data.prepare.encoding import remove_leftovers as clean_up
from data.prepare.labelled_sources import find_labelled_sources
from data.prepare.report import Report, check_list, printable, progress_bar, write_problems
from data.prepare.run_lock import only_run
from data.prepare.same_places import told_apart
from data.prepare.sources import Source, Sources, find_sources
from data.prepare.worker_pool import Outcome, run_jobs
from data.store.truncation import missing_bytes
from data.store.video_suffixes import is_video

LIST = "resize_failures.csv"
SHORT_SIDE = 256
UNKNOWN = "already there, origin unknown"


def main(arguments: Sequence[str] | None = None) -> int:
    """Re-encode as the command line says; return the exit status."""
    options = _parser().parse_args(arguments)
    end_on_sigterm()
    check_places(options.videos, options.out)
    found = _find(options.videos, options.out, options.labels)
    report = Report(f"{options.videos} to {options.out / VIDEOS}")
    settings = Settings(options.short_side, options.gop, options.crf, options.videos)
    plan = Plan(options.videos, options.out, options.workers, options.replace)
    return print_result(report, encode_sources(found, settings, plan, report))


def encode_sources(found: Sources, settings: Settings, plan: Plan, report: Report) -> Ended:
    """Encode the videos that were found, and fill the report. DataError if that cannot begin.

    `right` of the result are the files that were made, or were there and do not differ.
    """
    report.count("encoded", 0)
    report.notes += found.notes
    for problem in found.problems:
        report.add(*problem)
    listed: Path | None = plan.out / LIST
    check_list(plan.out / LIST)
    with only_run(plan.out, command="resize"):
        jobs, right = _jobs(found.videos, plan.out / VIDEOS, settings, plan.replace, report)
        stopped = _encode(jobs, settings, plan.workers, report, right)
        try:
            write_problems(plan.out / LIST, report.problems)
        except DataError as error:
            listed, stopped = None, stopped or str(error)
    if found.ignored:
        kinds = (f"{number} {kind}" for kind, number in sorted(found.ignored.items()))
        report.notes.append(f"ignored: {', '.join(kinds)}")
    return Ended(stopped, listed, right)


def check_places(videos: Path, out: Path) -> None:
    """DataError if there is no folder of videos, or if sources and results would be mixed."""
    target = out / VIDEOS
    try:
        if not videos.is_dir():
            raise DataError(f"{videos}: no such folder; give the folder that holds the videos")
        if (target.exists() or target.is_symlink()) and not target.is_dir():
            raise DataError(f"{target} is no folder, or a link to none, but the videos go there; move it away")
        here, there = videos.resolve(), target.resolve()
    except OSError as error:
        raise DataError(f"{error.filename or videos}: {reason(error)}") from error
    check_class_folders(target, "videos")
    if here == there or here in there.parents or there in here.parents:
        raise DataError(f"the new videos go to {target}, and the old ones are in {videos}: give another OUT")


def _find(videos: Path, out: Path, labels: Sequence[Path]) -> Sources:
    if not labels:
        found = find_sources(videos, out)._replace(notes=())  # on folders of frames that are taken; here they fail
        return told_apart(found, videos, out / VIDEOS)
    rows: list[LabelRow] = []
    for read in read_together(labels):
        for note in read.notes:
            print(printable(note), file=sys.stderr)
        rows += read.rows
    return told_apart(find_labelled_sources(videos, out, rows), videos, out / VIDEOS)


def _jobs(
    sources: Sequence[Source], target: Path, settings: Settings, replace: bool, report: Report
) -> tuple[list[Job], set[Path]]:
    """The videos to encode, and the files that stay and do not differ; the report gets what is to be told of others."""
    jobs = [
        Job(each.path, each.span, target / each.label / f"{each.video_id}.mp4", False, each.cut, each.frames)
        for each in sources
    ]
    wanted = []
    right = set[Path]()
    for job, there in zip(jobs, in_threads("what is there", partial(_look, settings), jobs), strict=True):
        state, reasons = there
        if state == "failed":
            report.add("failed", _name(job, settings), "; ".join(reasons))
        elif state == "":
            wanted.append(job)
        elif state == "differs" and replace:
            wanted.append(job._replace(replaces=True))
        elif state == "differs":
            item = f"{job.file.parent.name}/{job.file.name}"
            report.add("differs", item, f"{'; '.join(reasons)}; --replace encodes it again")
        else:
            right.add(job.file)
            report.count(state)
            for warning in reasons:
                report.add("warning", _name(job, settings), warning)
    if report.counts[UNKNOWN]:
        report.notes.append("origin unknown: these files do not say what they were made from; delete one to make it")
    return wanted, right


def _look(settings: Settings, job: Job) -> tuple[str, Sequence[str]]:
    """What is at the place of a job's file: "" for nothing, and reasons or warnings."""
    try:
        others = _others(job)
        if others:
            return "failed", [f"{others[0]} is a video of the same name, beside which no other can be; move it away"]
        if job.file.parent.is_symlink() or job.file.is_symlink():
            return "failed", [f"{job.file} is a link, or in one: nothing is written through it"]
        now = made_now(settings, job)
        if not job.file.exists():
            return "", ()
        before, held = made_and_held(job.file)
        if missing := missing_bytes(job.file):
            return "failed", [f"{job.file} is cut short: {missing} bytes are missing at its end; delete it"]
    except OSError as error:
        return "failed", [f"{job.file}: {reason(error)}"]
    except DataError as error:
        return "failed", [str(error)]
    if before is None:
        return UNKNOWN, ()
    if lost := lost_frames(before, held):
        return "failed", [f"{job.file} {lost}; delete it"]
    differences = before.differences(now)
    return ("differs", differences) if differences else ("already there", before.warnings)


def _others(job: Job) -> list[Path]:
    """Videos of the same name with another suffix: training could not tell which is meant."""
    if not job.file.parent.is_dir():
        return []
    same = (job.file.with_name(job.file.stem + suffix) for suffix in (".avi", ".mkv", ".webm", ".mov"))
    return [path for path in same if is_video(path.name) and path.exists()]


def _encode(jobs: Sequence[Job], settings: Settings, workers: int, report: Report, right: set[Path]) -> str:
    """Encode the videos; return why the work stopped early, if it did. Files that are made are added to `right`."""
    outcomes = run_jobs(partial(encode_video, settings), jobs, workers, clean_up=clean_up)
    with progress_bar() as progress, closing(outcomes):
        task = progress.add_task("encoding", total=len(jobs))
        outcome: Outcome[Job, Encoded | Unwritable]
        for number, outcome in enumerate(outcomes, start=1):
            progress.advance(task)
            item = _name(outcome.job, settings)
            if isinstance(outcome.result, Unwritable):
                report.add("failed", item, outcome.result.reason)
                report.count("not begun or not finished", len(jobs) - number)
                return f"stopped: {outcome.job.file} {outcome.result.reason}; give the same command again to go on"
            if outcome.result is None:
                report.add("failed", item, outcome.reason)
                continue
            right.add(outcome.job.file)
            report.count("replaced" if outcome.job.replaces else "encoded")
            for warning in outcome.result.warnings:
                report.add("warning", item, warning)
    return ""


def _name(job: Job, settings: Settings) -> str:
    """The source's path and, of a clip, its seconds or frames."""
    part = f" {job.span.start:g}-{job.span.end:g} s" if job.span else ""
    part = f" frames {job.frames[0]}-{job.frames[1]}" if job.frames else part
    return f"{job.source.relative_to(settings.videos)}{part}"


def _parser() -> CommandParser:
    parser = CommandParser(prog="python -m data.prepare.resize", description=__doc__)
    add = parser.add_argument
    add("videos", type=Path, metavar="VIDEOS", help="holds <class>/<video file>")
    add("out", type=Path, metavar="OUT", help="the dataset folder: files go to OUT/videos/<class>/<video>.mp4")
    add(
        "--labels",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="encode only the videos that this label file names, from anywhere under VIDEOS; where it has times, cut "
        "the clips out of whole videos <youtube_id>.*; may be given several times",
    )
    add(
        "--short-side", type=side, default=SHORT_SIDE, metavar="PIXELS", help="the frames' shorter side; never enlarged"
    )
    add_encoding_flags(parser)
    add("--workers", type=positive_integer, default=available_cpus(), help="videos that are encoded at a time")
    add(
        "--replace",
        action="store_true",
        help="encode again the videos whose file was made from another file or span, or with other settings; the old "
        "file stays until the new one is complete",
    )
    return parser


def add_encoding_flags(parser: CommandParser) -> None:
    """Add the flags that no other way of preparing videos has."""
    add = parser.add_argument
    add("--gop", type=positive_integer, default=16, help="the most frames from a keyframe to the next")
    add("--crf", type=_crf, default=20, help="quality of H.264, 0 (lossless) to 51: lower is better and larger")


def side(text: str) -> int:
    """The `type` of --short-side."""
    if not text.isdecimal() or not 2 <= int(text) <= 8192:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 2 and 8192")
    return int(text)


def _crf(text: str) -> int:
    if not text.isdecimal() or not 0 <= int(text) <= 51:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 0 and 51")
    return int(text)


if __name__ == "__main__":
    run_command(main, "give the same command again to go on")
