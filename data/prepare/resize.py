"""Re-encode videos into files that are read fast: python -m data.prepare.resize VIDEOS OUT

VIDEOS/<class>/<file> becomes OUT/videos/<class>/<file without suffix>.mp4 (H.264, without sound), which training reads
with --source videos: small frames and many keyframes, so that few frames are decoded for a clip. Frames and their times
stay, and frames are upright. Videos that are already there are skipped: to continue an interrupted run, give the same
command again. A file that was made from something else, or with other settings, stays, and is listed as `differs`.
Failures do not stop the run, but a full disk does; they are listed at the end and in OUT/resize_failures.csv. The exit
status is 1 if anything failed, is missing or differs.
"""

import argparse
import signal
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
from data.prepare.encoding import Encoded, Job, Settings, Unwritable, encode_video, made_before, made_now
from data.prepare.encoding import remove_leftovers as clean_up
from data.prepare.report import Report, check_list, printable, progress_bar, write_problems
from data.prepare.run_lock import only_run
from data.prepare.sources import Source, Sources, find_labelled_sources, find_sources
from data.prepare.worker_pool import Outcome, run_jobs
from data.store.video_suffixes import is_video

LIST = "resize_failures.csv"
UNKNOWN = "already there, origin unknown"


def main(arguments: Sequence[str] | None = None) -> int:
    """Re-encode as the command line says; return the exit status."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    target = options.out / "videos"
    _check_folders(options.videos, target)
    found = _find(options.videos, options.out, options.labels)
    report = Report(f"{options.videos} to {target}")
    report.count("encoded", 0)
    report.notes += found.notes
    for problem in found.problems:
        report.add(*problem)
    listed = options.out / LIST
    check_list(listed)
    settings = Settings(options.short_side, options.gop, options.crf, options.videos)
    with only_run(options.out, command="resize"):
        stopped = _encode(_jobs(found.videos, target, settings, options.replace, report), settings, options, report)
        write_problems(listed, report.problems)
    if found.ignored:
        kinds = (f"{number} {kind}" for kind, number in sorted(found.ignored.items()))
        report.notes.append(f"ignored: {', '.join(kinds)}")
    is_printed = report.print(csv_path=listed)
    if stopped:
        print(f"error: {printable(stopped)}", file=sys.stderr)
    bad = any(report.counts[kind] for kind in ("failed", "missing", "differs"))
    return 1 if stopped or bad or not is_printed else 0


def _check_folders(videos: Path, target: Path) -> None:
    """DataError if there is no folder of videos, or if sources and results would be mixed."""
    try:
        if not videos.is_dir():
            raise DataError(f"{videos}: no such folder; give the folder that holds the videos")
        if (target.exists() or target.is_symlink()) and not target.is_dir():
            raise DataError(f"{target} is no folder, but the videos go there; move it away")
        here, there = videos.resolve(), target.resolve()
    except OSError as error:
        raise DataError(f"{error.filename or videos}: {reason(error)}") from error
    if here == there or here in there.parents or there in here.parents:
        raise DataError(f"the new videos go to {target}, and the old ones are in {videos}: give another OUT")


def _find(videos: Path, out: Path, labels: Sequence[Path]) -> Sources:
    if not labels:
        return find_sources(videos, out)
    rows: list[LabelRow] = []
    for read in read_together(labels):
        for note in read.notes:
            print(printable(note), file=sys.stderr)
        rows += read.rows
    return find_labelled_sources(videos, out, rows)


def _jobs(sources: Sequence[Source], target: Path, settings: Settings, replace: bool, report: Report) -> list[Job]:
    """The videos to encode; the others are counted, or added to the report's problems."""
    jobs = [
        Job(each.path, each.span, target / each.label / f"{each.video_id}.mp4", False, each.cut, each.frames)
        for each in sources
    ]
    wanted = []
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
            report.count(state)
            for warning in reasons:
                report.add("warning", _name(job, settings), warning)
    if report.counts[UNKNOWN]:
        report.notes.append("origin unknown: these files do not say what they were made from; delete one to make it")
    return wanted


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
        before = made_before(job.file)
    except OSError as error:
        return "failed", [f"{job.file}: {reason(error)}"]
    except DataError as error:
        return "failed", [str(error)]
    if before is None:
        return UNKNOWN, ()
    differences = before.differences(now)
    return ("differs", differences) if differences else ("already there", before.warnings)


def _others(job: Job) -> list[Path]:
    """Videos of the same name with another suffix: training could not tell which is meant."""
    if not job.file.parent.is_dir():
        return []
    same = (job.file.with_name(job.file.stem + suffix) for suffix in (".avi", ".mkv", ".webm", ".mov"))
    return [path for path in same if is_video(path.name) and path.exists()]


def _encode(jobs: Sequence[Job], settings: Settings, options: argparse.Namespace, report: Report) -> str:
    """Encode the videos; return why the work stopped early, if it did."""
    outcomes = run_jobs(partial(encode_video, settings), jobs, options.workers, clean_up=clean_up)
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
    add("--short-side", type=_side, default=256, metavar="PIXELS", help="the frames' shorter side; never enlarged")
    add("--gop", type=positive_integer, default=16, help="the most frames from a keyframe to the next")
    add("--crf", type=_crf, default=20, help="quality of H.264, 0 (lossless) to 51: lower is better and larger")
    add("--workers", type=positive_integer, default=available_cpus(), help="videos that are encoded at a time")
    add(
        "--replace",
        action="store_true",
        help="encode again the videos whose file was made from another file or span, or with other settings; the old "
        "file stays until the new one is complete",
    )
    return parser


def _side(text: str) -> int:
    if not text.isdecimal() or not 2 <= int(text) <= 8192:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 2 and 8192")
    return int(text)


def _crf(text: str) -> int:
    if not text.isdecimal() or not 0 <= int(text) <= 51:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 0 and 51")
    return int(text)


if __name__ == "__main__":
    run_command(main, "give the same command again to go on")
