"""Check a dataset folder against its label files: python -m data.prepare.verify DATASET

Lists the videos in DATASET/jpg/<class>/<video>/ that are missing, empty, broken, have a wrong frame count, are stray
(not in the labels) or hold temporary files of a killed run; also writes them to DATASET/verify_problems.csv. The exit
status is 0 if there are none, else 1. Without --labels, the CSV files in DATASET/labels are used; if there are none,
only the databases are checked.
"""

import argparse
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from common.cli import CommandParser, positive_integer, run_command
from common.errors import DataError
from common.processes import available_cpus
from data.labels.class_folders import ClassFolders, list_folders, list_names
from data.labels.label_file import LabelRow, read_labels
from data.labels.locate import find_jpg
from data.prepare.report import Problem, Report, printable, progress_bar, write_problems
from data.prepare.run_lock import check_idle
from data.prepare.worker_pool import run_jobs
from data.store.frame_store import DATABASE, FRAME_COUNT, FrameStore, FrameStoreError, leftovers

CHUNK = 16  # frames decoded at a time


class Verdict(NamedTuple):
    """The result for a video folder: the number of frames in its database, and its problems as (kind, reason)."""

    frames: int
    problems: list[tuple[str, str]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Verify as the command line says; return the exit status."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    jpg = find_jpg(options.dataset)
    if options.delete_broken:
        check_idle(jpg.parent)
    label_files = options.labels or sorted((jpg.parent / "labels").glob("*.csv"))
    rows = [row for path in label_files for row in read_labels(path)]
    report = Report(f"{jpg} against {', '.join(map(str, label_files)) or 'no label file'}")
    report.count("videos checked", 0)
    report.count("frames", 0)
    if rows:
        videos, problems = _compare(jpg, rows)
    else:
        videos, problems = _all_videos(jpg)
    for problem in problems:
        report.add(*problem)
    deleted = _check_videos(videos, jpg, options, report)
    csv_path = jpg.parent / "verify_problems.csv"
    listed: Path | None = csv_path
    try:
        write_problems(csv_path, report.problems)
    except DataError as error:  # a read-only dataset can be verified, too
        print(error, file=sys.stderr)
        listed = None
    report.print(csv_path=listed)
    for path in deleted:
        print(f"deleted {printable(str(path))}")
    return 1 if report.problems else 0


def check_video(decode: str, folder: Path, beat: Callable[[], None]) -> Verdict:
    """Check one video folder; `decode` says which frames are decoded: "none", "first" or "all"."""
    left = leftovers(folder)
    problems = (
        [("leftover", f"of a killed run, or of one that is running: {', '.join(path.name for path in left)}")]
        if left
        else []
    )
    if not (folder / DATABASE).exists():
        others = sorted(set(list_names(folder)) - {path.name for path in left})
        held = f"; it holds {', '.join(others[:3])}{', ...' if len(others) > 3 else ''}" if others else ""
        return Verdict(0, [*problems, ("empty", f"no {DATABASE}{held}")])
    try:
        with FrameStore(folder) as store:
            count = store.check_numbering()
            _decode(store, {"none": 0, "first": 1, "all": count}[decode], beat)
    except FrameStoreError as error:
        reason = str(error).removeprefix(f"{folder}/")
        return Verdict(0, [*problems, ("broken" if error.damaged else "unreadable", reason)])
    said = _frame_count_said(folder)
    if said != str(count):
        problems.append(("wrong count", f"{FRAME_COUNT} says {said}, {DATABASE} holds {count}"))
    return Verdict(count, problems)


def _frame_count_said(folder: Path) -> str:
    try:
        return (folder / FRAME_COUNT).read_text(errors="replace").strip()[:40] or "nothing"
    except OSError as error:
        return f"nothing ({error.strerror})"


def _decode(store: FrameStore, count: int, beat: Callable[[], None]) -> None:
    """Decode the first `count` frames, all of which must have the size of the first."""
    for start in range(0, count, CHUNK):
        beat()
        # `read` compares the sizes of the frames of one call: include the first each time.
        store.read([0, *range(start, min(start + CHUNK, count))])


def _check_videos(videos: list[Path], jpg: Path, options: argparse.Namespace, report: Report) -> list[Path]:
    """Check the video folders in parallel, and return what was deleted."""
    deleted: list[Path] = []
    with progress_bar() as progress:
        task = progress.add_task("verifying", total=len(videos))
        for outcome in run_jobs(
            partial(check_video, options.decode), videos, min(options.workers, max(1, len(videos)))
        ):
            progress.advance(task)
            report.count("videos checked")
            verdict = outcome.result or Verdict(0, [("unreadable", outcome.reason)])
            report.count("frames", verdict.frames)
            for kind, reason in verdict.problems:
                report.add(kind, str(outcome.job.relative_to(jpg)), reason)
            if options.delete_broken:
                deleted += _delete(outcome.job, {kind for kind, _ in verdict.problems})
    return deleted


def _delete(folder: Path, kinds: set[str]) -> list[Path]:
    """Delete broken files, which convert makes again, and the folder if it is then empty; return what was deleted."""
    paths: list[Path] = []
    if "leftover" in kinds:
        paths += leftovers(folder)
    if "broken" in kinds:
        paths += [folder / (DATABASE + suffix) for suffix in ("", "-journal", "-wal", "-shm")]
    if kinds & {"broken", "empty", "wrong count"}:
        paths.append(folder / FRAME_COUNT)
    deleted = [path for path in paths if path.is_file() and not path.is_symlink()]
    for path in deleted:
        path.unlink()
    if kinds:
        with suppress(OSError):  # the folder is not empty
            folder.rmdir()
            deleted.append(folder)
    return deleted


def _compare(jpg: Path, rows: list[LabelRow]) -> tuple[list[Path], list[Problem]]:
    """The folders of the videos in the labels, and the missing and stray ones as problems."""
    folders = ClassFolders(jpg, sorted({row.label for row in rows}))
    unlabelled = {folder: set(list_folders(jpg / folder)) for folder in folders.present}
    problems = list(_stray_files(jpg, "", folders.present))
    for folder, videos in unlabelled.items():
        problems += _stray_files(jpg, folder, videos)
    present: list[Path] = []
    for label, video_id in dict.fromkeys((row.label, row.video_id) for row in rows):
        place = next((folder for folder in folders.of_class[label] if video_id in unlabelled[folder]), None)
        if place is None:
            problems.append(Problem("missing", f"{label}/{video_id}", "in the labels, not on disk"))
        else:
            unlabelled[place].remove(video_id)
            present.append(jpg / place / video_id)
    known = {folder for names in folders.of_class.values() for folder in names}
    for folder, videos in unlabelled.items():
        if folder in known:
            problems += [Problem("stray", f"{folder}/{name}", "not in the labels") for name in videos]
        else:
            problems.append(Problem("stray", folder, f"a class of {len(videos)} videos, not in the labels"))
    return sorted(present), problems


def _all_videos(jpg: Path) -> tuple[list[Path], list[Problem]]:
    """All video folders, and stray files as problems."""
    classes = list_folders(jpg)
    problems = list(_stray_files(jpg, "", classes))
    videos: list[Path] = []
    for folder in classes:
        names = list_folders(jpg / folder)
        videos += [jpg / folder / name for name in names]
        problems += _stray_files(jpg, folder, names)
    return videos, problems


def _stray_files(jpg: Path, folder: str, folders: Iterable[str]) -> Iterator[Problem]:
    for name in set(list_names(jpg / folder)).difference(folders):
        yield Problem("stray", str(Path(folder, name)), "a file where only folders are expected")


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="python -m data.prepare.verify",
        description=__doc__,
    )
    add = parser.add_argument
    add("dataset", type=Path, metavar="DATASET", help="the folder that holds jpg/<class>/<video>/frames.db")
    add("--labels", type=Path, action="append", metavar="FILE", help="a label file; may be given several times")
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
        "stray and unreadable files stay",
    )
    return parser


if __name__ == "__main__":
    run_command(main)
