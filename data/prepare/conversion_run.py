"""Converts given videos: what is there, what is converted, and the report of both."""

import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NamedTuple

from common.errors import DataError
from common.files import inode_of
from data.labels.class_folders import in_threads
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
from data.prepare.found_again import found_again
from data.prepare.report import (
    Problem,
    Report,
    check_list,
    printable,
    progress_bar,
)
from data.prepare.run_lock import only_run
from data.prepare.sources import Shard, Source, Sources, links_out
from data.prepare.vanished import vanished
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


def convert_sources(found: Sources, settings: Settings, plan: Plan, report: Report) -> Ended:
    """Convert the videos that were found, and fill the report. DataError if that cannot begin."""
    jpg = plan.out / "jpg"
    report.count("converted", 0)
    report.notes += found.notes
    if outside := links_out(found.videos, plan.videos):
        report.notes.append(outside)
    for problem in found.problems:
        report.add(*problem)
    if not plan.has_labels:
        _count_vanished(plan.videos, jpg, found.videos, settings.frames, plan.shard, report)
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


def _count_vanished(
    videos: Path, jpg: Path, found: Sequence[Source], pattern: str, shard: Shard, report: Report
) -> None:
    """Report the databases whose video has been removed or moved: label files made of OUT/jpg would still name them."""
    name = videos.resolve().name
    gone = vanished(videos, jpg, {(video.label, video.video_id) for video in found}, shard.has)
    by_path = {video.path: video for video in found}
    same = found_again(set(gone.contents.values()), by_path, pattern)
    for item, source in gone.sources.items():
        if paths := same.get(gone.contents[item]):
            now = by_path[max(paths, key=lambda path: path.name == Path(source).name)]
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
