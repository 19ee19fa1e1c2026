"""Check a dataset folder against its label files: python -m data.prepare.verify DATASET

Lists the videos in DATASET/jpg/<class>/<video>/ that are missing, empty, broken (proved damaged), unreadable (a program
is writing them, permissions, memory, another format), lack frames, have a wrong frame count, another video's name or
other times than their label row, are longer than these times, are stray (not in the labels) or hold temporary files of
a killed run; also writes them to DATASET/verify_problems.csv. The exit status is 0 if there are none, else 1. Without
--labels, the CSV files in DATASET/labels are used; if there are none, only the databases are checked.
"""

import argparse
import errno
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from common.cli import CommandParser, positive_integer, run_command
from common.errors import DataError
from common.files import reason
from common.processes import available_cpus
from common.text import quoted
from data.labels.class_folders import ClassFolders, list_folders, list_names
from data.labels.label_file import LabelRow, read_labels
from data.labels.locate import csv_files, find_jpg
from data.labels.text import counted, some
from data.prepare.class_of_file import is_youtube_name, spelling
from data.prepare.clip_times import SHORT, clip_problems
from data.prepare.deletion import Deletion, delete_broken, identity, is_being_written
from data.prepare.report import Problem, Report, printable, progress_bar, write_problems
from data.prepare.run_lock import check_idle, is_lock
from data.prepare.worker_pool import run_jobs
from data.store.frame_store import (
    DATABASE,
    FRAME_COUNT,
    REMEDY,
    FrameStore,
    FrameStoreError,
    count_text,
    leftovers,
)
from data.store.origin import Origin, read_origin

CHUNK = 16  # frames decoded at a time
CHUNK_PIXELS = 2**25  # fewer if they are large


class Verdict(NamedTuple):
    """The result for a video folder: the number of frames in its database, and its problems as (kind, reason).

    `made` is what the database was made from; None if that is unknown.
    """

    frames: int
    problems: list[tuple[str, str]]
    made: Origin | None = None


class _Found(NamedTuple):
    """What is in a database: the frames, the video that it names and its origin; or the problem, as (kind, reason)."""

    frames: int = 0
    video_id: str = ""
    origin: Origin | None = None
    problem: tuple[str, str] | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify as the command line says; return the exit status."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    jpg = find_jpg(options.dataset)
    if options.delete_broken:
        check_idle(jpg.parent)
    label_files = _label_files(options.labels, jpg.parent)
    rows = [row for path in label_files for row in read_labels(path)]
    report = Report(f"{jpg} against {', '.join(map(str, label_files)) or 'no label file'}")
    report.count("videos checked", 0)
    report.count("frames", 0)
    videos, problems = _compare(jpg, rows) if label_files else _all_videos(jpg)
    for problem in problems:
        report.add(*problem)
    deletion = _check_videos(videos, jpg, options, report)
    csv_path: Path | None = jpg.parent / "verify_problems.csv"
    try:
        write_problems(jpg.parent / "verify_problems.csv", report.problems)
    except DataError as error:  # a read-only dataset can be verified, too
        print(f"{error}; the problems are listed here alone", file=sys.stderr)
        csv_path = None
    is_printed = report.print(csv_path=csv_path)
    for path in deletion.deleted:
        print(f"deleted {printable(str(path))}")
    for what in deletion.left:
        print(f"left {printable(what)}")
    return 1 if report.problems or not is_printed else 0


def check_video(decode: str, folder: Path, beat: Callable[[], None]) -> Verdict:
    """Check one video folder; `decode` says which frames are decoded: "none", "first" or "all".

    Kind "broken" is for databases that are proved damaged: they were read twice, and nobody writes them. Those that
    cannot be read for another reason are "unreadable".
    """
    left = leftovers(folder)
    problems: list[tuple[str, str]] = []
    if left:
        names = ", ".join(path.name for path in left)
        problems.append(("leftover", f"of a killed run, or of one that is running: {names}"))
    try:
        (folder / DATABASE).lstat()
    except FileNotFoundError:
        others = sorted(set(list_names(folder)) - {path.name for path in left})
        held = f"; it holds {', '.join(others[:3])}{', ...' if len(others) > 3 else ''}" if others else ""
        return Verdict(0, [*problems, ("empty", f"no {DATABASE}{held}")])
    except OSError as error:
        return Verdict(0, [*problems, ("unreadable", f"{DATABASE} cannot be looked for ({reason(error)})")])
    before = identity(folder / DATABASE)
    found = _check_database(decode, folder, beat)
    problem = found.problem
    if problem and problem[0] == "broken":
        again = _check_database(decode, folder, beat)
        if again != found or identity(folder / DATABASE) != before:
            problem = ("unreadable", f"{problem[1].removesuffix(f'; {REMEDY}')}; but it changed while it was checked")
        elif is_being_written(folder / DATABASE):
            problem = ("unreadable", f"{problem[1].removesuffix(f'; {REMEDY}')}; but a program is writing it")
    if problem:
        return Verdict(0, [*problems, problem])
    problems += [*_check_count(folder, found.frames), *_check_name(folder, found.video_id)]
    made = found.origin
    if made is None:
        return Verdict(found.frames, problems)
    problems += _check_class(folder, made)
    return Verdict(found.frames, problems, made)


def check_and_delete(decode: str, jpg: Path, folder: Path, beat: Callable[[], None]) -> tuple[Verdict, Deletion]:
    """As check_video; then delete what is broken."""
    before = identity(folder / DATABASE)
    verdict = check_video(decode, folder, beat)
    kinds = {kind for kind, _ in verdict.problems}
    return verdict, delete_broken(jpg, folder, kinds, before) if kinds else Deletion([], [])


def check_only(decode: str, folder: Path, beat: Callable[[], None]) -> tuple[Verdict, Deletion]:
    """As check_video; nothing is deleted."""
    return check_video(decode, folder, beat), Deletion([], [])


def _check_database(decode: str, folder: Path, beat: Callable[[], None]) -> _Found:
    try:
        with FrameStore(folder) as store:
            count = store.check_numbering()
            _decode(store, {"none": 0, "first": 1, "all": count}[decode], beat)
            return _Found(count, store.video_id(), read_origin(folder / DATABASE))
    except FrameStoreError as error:
        kind = "broken" if error.damaged else "unreadable"
        return _Found(problem=(kind, str(error).removeprefix(f"{folder}/")))


def _check_count(folder: Path, count: int) -> Iterator[tuple[str, str]]:
    """What is wrong with the file n_frames."""
    try:
        said = count_text(str(folder)).decode(errors="replace").strip()[:40] or "nothing"
    except FileNotFoundError:
        said = "nothing (there is no such file)"
    except OSError as error:
        yield "unreadable", f"{FRAME_COUNT} cannot be read ({reason(error)}); {DATABASE} holds {count} frames"
        return
    if (
        re.fullmatch("[0-9]{1,9}", said) and int(said) > count
    ):  # without it, nothing would tell of frames that were lost
        what = f"{FRAME_COUNT} says {said}, {DATABASE} holds {count}: were frames lost?"
        yield "frames missing", f"{what} Delete the folder and convert the video again"
    elif said != str(count):
        yield "wrong count", f"{FRAME_COUNT} says {said}, {DATABASE} holds {count}"


def _check_name(folder: Path, video_id: str) -> Iterator[tuple[str, str]]:
    """Whether the frames are of another video than the folder's name says; names may differ in a suffix."""
    if not video_id:
        return
    target = Path(os.path.realpath(folder / DATABASE)).parent  # another name if the folder or the file is a link
    names = [os.fsencode(place.name).decode(errors="replace") for place in (folder, target)]
    if not any(video_id in (name, Path(name).stem) or Path(video_id).stem == name for name in names):
        yield "other name", f"{DATABASE} holds frames of {quoted(video_id)}; was it copied, or the folder renamed?"


def _check_class(folder: Path, made: Origin) -> Iterator[tuple[str, str]]:
    """Whether the video was made from the file of another class of the dataset; 001.mp4 may be in each.

    Clips, and videos named by YouTube, are taken from wherever they lie.
    """
    if made.start is not None or is_youtube_name(Path(made.source).stem):
        return
    classes = [os.fsencode(place.name).decode(errors="replace") for place in Path(made.source).parents if place.name]
    own = {spelling(place.parent.name) for place in (folder, Path(os.path.realpath(folder)))}
    if any(spelling(name) in own for name in classes):
        return
    for name in classes:
        if (folder.parent.parent / name).is_dir():
            yield (
                "other class",
                f"{DATABASE} was made from {quoted(made.source)}; was it copied from class {quoted(name)}?",
            )
            return


def _decode(store: FrameStore, count: int, beat: Callable[[], None]) -> None:
    """Decode the first `count` frames, all of which must have the size of the first."""
    if count == 0:
        return
    height, width = store.size()
    chunk = min(CHUNK, max(1, CHUNK_PIXELS // (height * width)))
    for start in range(0, count, chunk):
        beat()
        # `read` compares the sizes of the frames of one call: include the first each time.
        store.read([0, *range(start, min(start + chunk, count))])


def _check_videos(
    videos: Mapping[Path, Sequence[LabelRow]], jpg: Path, options: argparse.Namespace, report: Report
) -> Deletion:
    """Check the video folders, of which each has its label rows, in parallel.

    Return what was deleted and what was left.
    """
    deletion = Deletion([], [])
    partly: list[str] = []
    short: list[str] = []
    uncompared = 0
    by_content: dict[tuple[object, ...], list[str]] = {}
    check = (
        partial(check_and_delete, options.decode, jpg) if options.delete_broken else partial(check_only, options.decode)
    )
    with progress_bar() as progress:
        task = progress.add_task("verifying", total=len(videos))
        for outcome in run_jobs(check, list(videos), min(options.workers, max(1, len(videos)))):
            progress.advance(task)
            report.count("videos checked")
            failed = Verdict(0, [("unreadable", outcome.reason)]), Deletion([], [])
            verdict, of_video = outcome.result or failed
            report.count("frames", verdict.frames)
            item, rows, made = str(outcome.job.relative_to(jpg)), videos[outcome.job], verdict.made
            if made is None:
                uncompared += verdict.frames > 0 and any(row.time_start is not None for row in rows)
            else:
                if made.keep_partial and made.is_damaged:
                    partly.append(item)
                by_content.setdefault((made.size, made.content, made.start, made.end), []).append(item)
                for kind, why in clip_problems(outcome.job.name, rows, made, verdict.frames):
                    if kind == SHORT:
                        short.append(item)
                    else:
                        report.add(kind, item, why)
            for kind, why in verdict.problems:
                report.add(kind, item, why)
            deletion.deleted.extend(of_video.deleted)
            deletion.left.extend(of_video.left)
    if uncompared:
        report.notes.append(
            f"{counted(uncompared, 'database')} of rows with times do not say which part of a video they hold: their "
            "times were not compared"
        )
    if short:
        report.count(SHORT, len(short))
        report.notes.append(f"{SHORT}, cut short beforehand or at the end of their videos: {some(short, 'clip')}")
    if partly:
        report.count("kept with damage", len(partly))
        report.notes.append(f"kept with damage, by convert --keep-partial: {some(partly, 'video')}")
    copies = [" = ".join(sorted(names)) for names in by_content.values() if len(names) > 1]
    if copies:
        report.count("same content", len(copies))
        report.notes.append(f"made from the same bytes, which should not be in both splits: {some(copies, 'group')}")
    return deletion


def _label_files(given: list[Path] | None, dataset: Path) -> list[Path]:
    """The label files to compare with: those that --labels names, and the CSV files of folders that it names."""
    paths: list[Path] = []
    for place in given or ([dataset / "labels"] if os.path.isdir(dataset / "labels") else []):  # noqa: PTH112
        if os.path.isdir(place):  # noqa: PTH112 (Path.is_dir raises for a name that is too long)
            names = sorted(csv_files(place))
            if given and not names:
                raise DataError(f"--labels {place}: the folder holds no CSV file")
            paths += [place / name for name in names]
        else:
            paths.append(place)
    return paths


def _compare(jpg: Path, rows: list[LabelRow]) -> tuple[dict[Path, list[LabelRow]], list[Problem]]:
    """The folders of the videos in the labels, with their rows, and the missing and stray ones as problems."""
    folders = ClassFolders(jpg, sorted({row.label for row in rows}))
    problems = list(_stray_files(jpg, "", folders.present))
    unlabelled = {folder: set(_video_names(jpg, folder, problems)) for folder in folders.present}
    present: dict[Path, list[LabelRow]] = {}
    by_video: dict[tuple[str, str], list[LabelRow]] = {}
    for row in rows:
        by_video.setdefault((row.label, row.video_id), []).append(row)
    for (label, video_id), of_video in by_video.items():
        place = next((folder for folder in folders.of_class[label] if video_id in unlabelled[folder]), None)
        if place is None:
            problems.append(Problem("missing", f"{label}/{video_id}", "in the labels, not on disk"))
        else:
            unlabelled[place].remove(video_id)
            present[jpg / place / video_id] = of_video
    known = {folder for names in folders.of_class.values() for folder in names}
    for folder, videos in unlabelled.items():
        if folder in known:
            problems += [Problem("stray", f"{folder}/{name}", "not in the labels") for name in videos]
        else:
            problems.append(Problem("stray", folder, f"a class of {len(videos)} videos, not in the labels"))
    return dict(sorted(present.items())), problems


def _all_videos(jpg: Path) -> tuple[dict[Path, list[LabelRow]], list[Problem]]:
    """All video folders, and stray files as problems."""
    classes = list_folders(jpg)
    problems = list(_stray_files(jpg, "", classes))
    return {jpg / folder / name: [] for folder in classes for name in _video_names(jpg, folder, problems)}, problems


def _video_names(jpg: Path, folder: str, problems: list[Problem]) -> list[str]:
    """The video folders of a class folder. Its other names, or why it cannot be listed, become problems."""
    try:
        names = list_folders(jpg / folder)
        problems += _stray_files(jpg, folder, names)
    except DataError as error:
        problems.append(Problem("unreadable", folder, str(error)))
        return []
    return names


def _stray_files(jpg: Path, folder: str, folders: Iterable[str]) -> Iterator[Problem]:
    for name in set(list_names(jpg / folder)).difference(folders):
        if not folder and is_lock(name):  # where jpg is a link to this folder
            continue
        yield Problem("stray", str(Path(folder, name)), _why_no_folder(jpg / folder / name))


def _why_no_folder(path: Path) -> str:
    try:
        path.stat()
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOENT):
            return "a link that leads nowhere"
        return f"cannot be looked at ({reason(error)})"
    return "a file where only folders are expected"


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="python -m data.prepare.verify",
        description=__doc__,
    )
    add = parser.add_argument
    add("dataset", type=Path, metavar="DATASET", help="the folder that holds jpg/<class>/<video>/frames.db")
    add(
        "--labels",
        type=Path,
        action="append",
        metavar="FILE",
        help="a label file, or a folder of them; may be given several times",
    )
    add(
        "--decode",
        choices=["none", "first", "all"],
        default="first",
        help="which frames of each video to decode; frame names and counts are always checked",
    )
    add(
        "--workers",
        type=positive_integer,
        default=available_cpus(),
        help="processes (default: the CPUs, %(default)s here)",
    )
    add(
        "--delete-broken",
        action="store_true",
        help=f"delete broken databases, wrong {FRAME_COUNT} files and leftovers, so that convert makes them again; "
        "stray and unreadable files stay, and all that is reached through a link",
    )
    return parser


if __name__ == "__main__":
    run_command(main)
