"""OUT/convert_failures.csv, the list of the problems of all conversions into OUT, or that of a shard."""

import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from common.files import inode_of, write_errors
from data.labels.text import counted, is_or_are, some
from data.prepare.file_names import is_video
from data.prepare.report import Problem, Report, as_listed, read_problems, write_problems
from data.prepare.sources import Shard

SPAN = re.compile(r" [0-9.e+-]+-[0-9.e+-]+ s$")  # behind the path of a video of which a clip is cut out
OF_DATABASES = ("differs", "gone")  # kinds whose item is a folder of OUT/jpg
OF_SHARD = re.compile(r"convert_failures_[0-9]+_of_[0-9]+\.csv")


class Known(NamedTuple):
    """The warnings of databases that are there, and the items of those that may have had others."""

    warnings: list[Problem]
    untold: set[str]


class FailureList:
    """The list of a run: what it held before, and what the run found. A run of all parts takes over the shards'."""

    def __init__(self, out: Path, shard: Shard) -> None:
        self.out, self.shard = out, shard
        self.path = out / f"convert_failures{f'_{shard.part}_of_{shard.parts}' if shard.parts > 1 else ''}.csv"
        self.of_shards: list[Path] = []
        self.before: list[Problem] = []

    def read(self) -> None:
        """Read what earlier runs have listed; only while no other run writes it."""
        self.of_shards = sorted(
            path for path in self.out.glob("convert_failures_*.csv") if OF_SHARD.fullmatch(path.name)
        )
        taken = self.of_shards if self.shard.parts == 1 else []
        found = (problem for path in (self.path, *taken) for problem in read_problems(path))
        self.before = list(dict.fromkeys(found))

    def write(self, report: Report, tried: Collection[str], known: Known, videos: Path, has_labels: bool) -> None:
        """Write the problems of the report, and those of before whose videos were not `tried` in this run. DataError.

        The warnings of databases that stay are listed again, as a run that was stopped wrote no list.
        """
        tried = {problem.item for problem in report.problems} | set(tried)
        kept = kept_problems(self.before, tried, videos, self.out / "jpg", has_labels)
        now = [*report.problems, *known.warnings]
        told = {(problem.item, as_listed(problem.reason)) for problem in now}
        untold = set(map(as_listed, known.untold))
        there = set(kept)
        for problem in self.before:
            is_untold = problem.item in untold and (problem.item, problem.reason) not in told
            if problem.kind == "warning" and is_untold and problem not in there:
                kept.append(problem)
        place = str(videos.resolve())
        write_problems(self.path, [*kept, *(problem._replace(videos=place) for problem in now)])
        if known.warnings:
            warned = len({problem.item for problem in known.warnings})
            of_videos = f"of the conversion of {counted(warned, 'video')} already there"
            report.notes.append(f"{counted(len(known.warnings), 'warning')} {of_videos}: see {self.path}")
        if kept:
            report.notes.append(
                f"{counted(len(kept), 'problem')} of earlier runs, of videos that were not tried now, "
                f"{is_or_are(kept)} still listed in {self.path}"
            )
        self._tell_of_shards(report)

    def _tell_of_shards(self, report: Report) -> None:
        """Remove the lists of parts that a run of all parts has taken over, and tell of those of another division."""
        if self.shard.parts == 1:
            for path in self.of_shards:
                with write_errors(path):
                    path.unlink(missing_ok=True)
            if self.of_shards:
                names = some([path.name for path in self.of_shards], "list")
                report.notes.append(f"taken over and removed: {names} of shards")
            return
        stale = [path.name for path in self.of_shards if not path.name.endswith(f"_of_{self.shard.parts}.csv")]
        stale += ["convert_failures.csv"] if (self.out / "convert_failures.csv").exists() else []
        if stale:
            what = f"{some(stale, 'list')} of another number of shards, or of none, may be out of date"
            report.notes.append(f"{what}; a run without --shard takes them over")


def kept_problems(
    before: Sequence[Problem], tried: Collection[str], videos: Path, jpg: Path, has_labels: bool
) -> list[Problem]:
    """Those of the problems `before` that a run on `videos` leaves as they are.

    `tried` are the items that it looked at: files, folders, and videos as <class>/<id>. What is no longer there is no
    problem either, if the list says that it was in the same `videos`. A file of another folder that is still there was
    not tried, though it has the same name. `missing` rows ask for a video from any folder.
    """
    place = as_listed(str(videos.resolve()))
    tried = set(map(as_listed, tried))
    places = {problem.videos for problem in before}
    here = {each for each in places if each in ("", place) or inode_of(Path(each)) == inode_of(videos)}
    kept = []
    for problem in before:
        path = SPAN.sub("", problem.item)
        video = path.rpartition(".")[0] if is_video(path) else path  # another file may have become it
        is_tried = not tried.isdisjoint((problem.item, video))
        if is_tried and (problem.videos in here or not _is_elsewhere(problem, path)):
            continue
        if problem.kind in OF_DATABASES:
            is_moot = not os.path.lexists(jpg / path)
            if problem.kind == "differs" and problem.videos == place and not has_labels:
                is_moot = is_moot or not _has_video(videos, path)
        else:  # with labels, the item may be a row instead of a path
            is_path = not has_labels or is_video(path)
            is_moot = problem.videos == place and is_path and problem.kind != "missing"
            is_moot = is_moot and not os.path.lexists(videos / path)
        if not is_moot:
            kept.append(problem)
    return kept


def _is_elsewhere(problem: Problem, path: str) -> bool:
    """Whether a problem is of something in its own folder that is still there; else that may have been renamed."""
    if problem.kind == "differs":  # of a video that may lie anywhere in it
        return Path(problem.videos).is_dir()
    return problem.kind not in ("missing", "gone") and os.path.lexists(Path(problem.videos) / path)


def _has_video(videos: Path, item: str) -> bool:
    """Whether a folder may have the video <class>/<id>: as a file of any suffix, or as a folder."""
    label, _, video_id = item.rpartition("/")
    try:
        names = os.listdir(videos / label)  # noqa: PTH208 (names alone)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return any(as_listed(name) == video_id or os.path.splitext(as_listed(name))[0] == video_id for name in names)  # noqa: PTH122
