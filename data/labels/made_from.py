"""Whether a database was made from the file that its label row names."""

import os
from collections.abc import Sequence
from pathlib import Path

from common.text import composed
from data.labels.label_row import LabelRow
from data.store.origin import Origin
from data.store.video_suffixes import is_video

AGAIN = "python -m data.prepare.convert VIDEOS DATASET --labels FILE --replace makes it again"


def source_problem(row: LabelRow, made: Origin) -> str:
    """How the file that a database was made of differs from its row's path; empty if it may be that file."""
    name = stem(Path(made.source).name)
    if "/" not in row.source or composed(name) != composed(row.youtube_id):
        return ""
    if fits(row.source, Path(made.source), Path(made.videos), any_form=True, any_space=True):
        return ""
    return f"was made from {made.videos}/{made.source}, the labels say {row.source}; {AGAIN}"


def fits(
    written: str,
    path: Path,
    videos: Path,
    with_suffix: bool = False,
    any_form: bool = False,
    any_space: bool = False,
) -> bool:
    """Whether the path of a label row may be that of a file, whose own `path` is one in the folder `videos`.

    One must end with the other: a row may leave folders out, or name those above the videos. Suffixes may differ, as
    videos may have been encoded anew, but `with_suffix`. So may the Unicode forms of `any_form`, and of `any_space`
    spaces and underscores in folders, as they may in the folder of a class.
    """
    parts = written.split("/")
    parts = parts[len(parts) - parts[::-1].index("..") :] if ".." in parts else parts
    own = [*videos.parts, *path.parts]
    if any_form:
        parts, own = list(map(composed, parts)), list(map(composed, own))
    if any_space:
        parts, own = _with_spaces(parts), _with_spaces(own)
    if not with_suffix:
        parts, own = [*parts[:-1], stem(parts[-1])], [*own[:-1], stem(own[-1])]
    same = 0
    while same < min(len(parts), len(own)) and parts[-1 - same] == own[-1 - same]:
        same += 1
    return same == len(parts) or same >= len(path.parts)


def _with_spaces(parts: Sequence[str]) -> list[str]:
    """The parts of a path, with spaces for underscores in all but the last."""
    return [*(part.replace("_", " ") for part in parts[:-1]), parts[-1]]


def stem(name: str) -> str:
    """A file's name without a suffix of videos."""
    return os.path.splitext(name)[0] if is_video(name) else name  # noqa: PTH122 (called for each row)
