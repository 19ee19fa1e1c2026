"""Which problems of earlier conversions stay in the list of a new one: those of videos that it did not try."""

import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from data.prepare.file_names import is_video
from data.prepare.report import Problem, as_listed

SPAN = re.compile(r" [0-9.e+-]+-[0-9.e+-]+ s$")  # behind the path of a video of which a clip is cut out
OF_DATABASES = ("differs", "gone")  # kinds whose item is a folder of OUT/jpg


def kept_problems(
    before: Sequence[Problem], tried: Collection[str], videos: Path, jpg: Path, has_labels: bool
) -> list[Problem]:
    """Those of the problems `before` that a run on `videos` leaves as they are.

    `tried` are the items that it looked at: files, folders, and videos as <class>/<id>. What is no longer there is no
    problem either, if the list says that it was in the same `videos`.
    """
    place = as_listed(str(videos.resolve()))
    tried = set(map(as_listed, tried))
    kept = []
    for problem in before:
        path = SPAN.sub("", problem.item)
        video = path.rpartition(".")[0] if is_video(path) else path  # another file may have become it
        if not tried.isdisjoint((problem.item, video)):
            continue
        if problem.kind in OF_DATABASES:
            is_moot = not os.path.lexists(jpg / path)
        else:  # with labels, the item may be a row instead of a path
            is_path = not has_labels or is_video(path)
            is_moot = problem.videos == place and is_path and problem.kind != "missing"
            is_moot = is_moot and not os.path.lexists(videos / path)
        if not is_moot:
            kept.append(problem)
    return kept
