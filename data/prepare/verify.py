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
import signal
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from common.cli import CommandParser, positive_integer, run_command
from common.errors import DataError
from common.files import reason
from common.groups import joined
from common.processes import available_cpus
from data.labels.class_folders import ClassFolders, list_folders, list_names
from data.labels.hints import HINT, hint_for_segments, hint_for_spelling
from data.labels.label_file import LabelRow, read_together
from data.labels.label_row import written_name
from data.labels.locate import csv_files, find_jpg
from data.labels.text import counted, locale_hint, some, spelling_notes
from data.prepare.clip_problems import SHORT, clip_problems
from data.prepare.deletion import Deletion
from data.prepare.folder_state import NAMES, read_names
from data.prepare.frame_rates import constant_rate, rates_text
from data.prepare.report import Problem, Report, printable, progress_bar, write_problems
from data.prepare.run_lock import check_idle, is_lock
from data.prepare.video_check import Verdict, check_and_delete, check_only
from data.prepare.worker_pool import run_jobs
from data.store.frame_store import FRAME_COUNT


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify as the command line says; return the exit status."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    jpg = find_jpg(options.dataset)
    if options.delete_broken:
        check_idle(jpg.parent)
    label_files = _label_files(options.labels, jpg.parent)
    read = read_together(label_files)
    rows = [row for of_file, _ in read for row in of_file]
    report = Report(f"{jpg} against {', '.join(map(str, label_files)) or 'no label file'}")
    report.count("videos checked", 0)
    report.count("frames", 0)
    report.notes += (note for _, notes in read for note in notes)
    report.notes += spelling_notes({row.label for row in rows})
    videos, problems = _compare(jpg, rows, report) if label_files else _all_videos(jpg)
    if any(problem.kind == "missing" for problem in problems):
        report.notes += filter(None, [locale_hint(name for row in rows for name in (row.label, row.video_id))])
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


def _check_videos(
    videos: Mapping[Path, Sequence[LabelRow]], jpg: Path, options: argparse.Namespace, report: Report
) -> Deletion:
    """Check the video folders, of which each has its label rows, in parallel.

    Return what was deleted and what was left.
    """
    deletion = Deletion([], [])
    partly: list[str] = []
    short: list[str] = []
    warned: list[str] = []
    uncompared = 0
    listed = _listed_parts(jpg.parent, report)
    rates = Counter[float | None]()
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
            if verdict.frames:
                rates[constant_rate(made)] += 1
            if made is None:
                uncompared += verdict.frames > 0 and any(row.time_start is not None for row in rows)
            else:
                if made.keep_partial and made.is_damaged:
                    partly.append(item)
                elif made.warnings or made.remarks:
                    warned.append(item)
                part = (made.start, made.end, made.first_frame, made.end_frame)
                by_content.setdefault((made.size, made.content, *part), []).append(item)
                if made.digest:  # of a copy in another container, too
                    by_content.setdefault((made.digest,), []).append(item)
                for kind, why in clip_problems(outcome.job.name, rows, made, verdict.frames, listed.get(item)):
                    if kind == SHORT:
                        short.append(item)
                    else:
                        report.add(kind, item, why)
            for kind, why in verdict.problems:
                report.add(kind, item, why)
            deletion.deleted.extend(of_video.deleted)
            deletion.left.extend(of_video.left)
    if rates:
        report.notes.append(f"frames a second: {rates_text(rates)}")
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
    if warned:
        report.count("converted with a warning", len(warned))
        report.notes.append(
            f"converted with a warning, which convert lists again in convert_failures.csv: {some(warned, 'video')}"
        )
    _tell_copies(joined(by_content.values()), videos, jpg, report)
    return deletion


def _tell_copies(
    copies: Sequence[Sequence[str]], videos: Mapping[Path, Sequence[LabelRow]], jpg: Path, report: Report
) -> None:
    """Count the groups of videos of one content, and name them; first those that the label files have in two splits."""

    def text(names: Sequence[str]) -> str:
        return " = ".join(names)

    def is_divided(names: Sequence[str]) -> bool:
        # Several divisions of a dataset may have a video on either side.
        sides = [{row.split for row in videos[jpg / name]} - {""} for name in names]
        return len(set[str]().union(*(each for each in sides if len(each) == 1))) > 1

    if not copies:
        return
    report.count("same content", len(copies))
    divided = sorted(text(names) for names in copies if is_divided(names))
    if divided:
        report.count("same content in two splits", len(divided))
        report.notes.append(
            f"in two splits, though made from the same bytes or of the same frames: {some(divided, 'group')}"
        )
    what = "made from the same bytes or of the same frames, which should not be in both splits"
    report.notes.append(f"{what}: {some(sorted(map(text, copies)), 'group')}")


def _listed_parts(dataset: Path, report: Report) -> dict[str, str]:
    """The part of its video that each video of data.prepare.folder should hold, by class/id, as its list has it."""
    try:
        return {f"{named.label}/{named.video_id}": named.times for named in read_names(dataset / NAMES)}
    except DataError as error:
        report.notes.append(f"no times were compared with this list: {error}")
        return {}


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


def _compare(jpg: Path, rows: list[LabelRow], report: Report) -> tuple[dict[Path, list[LabelRow]], list[Problem]]:
    """The folders of the videos in the labels, with their rows, and the missing and stray ones as problems."""
    folders = ClassFolders(jpg, sorted({row.label for row in rows}), lambda: rows)
    problems = list(_stray_files(jpg, "", folders.present))
    unlabelled = {folder: set(_video_names(jpg, folder, problems)) for folder in folders.present}
    present: dict[Path, list[LabelRow]] = {}
    missing: list[LabelRow] = []
    by_video: dict[tuple[str, str, str], list[LabelRow]] = {}
    for row in rows:  # c1 and c1.avi may be two videos, that of c1.avi.mp4 the second
        by_video.setdefault((row.label, row.video_id, written_name(row)), []).append(row)
    names = Counter((label, video_id) for label, video_id, _ in by_video)
    for (label, video_id, written), of_video in by_video.items():
        place, name = folders.find(of_video[0]) or ("", "")
        if (path := jpg / place / name) in present:
            present[path] += of_video
        elif name not in unlabelled.get(place, ()):
            why = "in the labels, not on disk" + hint_for_segments(of_video, folders)
            item = video_id if names[label, video_id] == 1 else written
            problems.append(Problem("missing", f"{label}/{item}", why))
            missing.append(of_video[0])
        else:
            unlabelled[place].remove(name)
            present[path] = of_video
    report.notes += filter(None, [*folders.remarks, hint_for_spelling(missing, folders).removeprefix(HINT)])
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
