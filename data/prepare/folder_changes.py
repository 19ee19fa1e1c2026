"""What would change in the label files of earlier runs, but for new rows and classes: it is refused.

Videos would change their split or name, or be gone, or classes change their order.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from common.errors import DataError
from common.text import quoted
from data.labels.text import some
from data.prepare.folder_moves import Pair, as_text
from data.prepare.folder_state import CLASSES, NAMES, Named, State
from data.store.video_suffixes import is_video

RENAMED = "named anew, as the files were moved"
UNREAD = "named anew, as an id with a suffix of videos is read as that without it"
SHARED = "named anew, as the disk takes its name for that of another video"
UNNAMED = "removed: the file is there, but no label row, or path, gives it this class and these times now"
GONE = "removed, as there is no such video in VIDEOS now"
UNLISTED = (
    f"removed, as {NAMES} has no such row: if it was changed, as by a spreadsheet, put the old one back or move it away"
)
WHYS = RENAMED, UNREAD, SHARED, UNNAMED, GONE, UNLISTED


def order_change(state: State, classes: Sequence[str]) -> str:
    """How the class order differs from the one that is there, but for classes at its end; empty if it does not."""
    for place, was in enumerate(state.classes):
        now = quoted(classes[place]) if place < len(classes) else "missing"
        if list(classes[place : place + 1]) != [was]:
            return f"the class order of {CLASSES} would change: class {place}, from 0, was {quoted(was)} and is {now}"
    return ""


def changes(
    state: State,
    names: Sequence[Named],
    classes: Sequence[str],
    moved_to: Mapping[Pair, Pair],
    paths: Collection[str] = (),
) -> list[str]:
    """What would change in the label files but for new rows and classes: of videos their split, of classes the order.

    Or videos are gone. `moved_to` are the new class and id of rows whose files were moved; `paths` are those of all
    videos in VIDEOS, also of those that have no class now.
    """
    now = {(named.label, named.video_id): named.split for named in names}
    moved = [
        f"{'/'.join(pair)} from {split} to {now[pair]}"
        for pair, split in sorted(state.labelled.items())
        if split != now.get(pair, split)
    ]
    what = []
    if moved:
        flags = [f"--{name.replace('_', '-')} {value}" for name, value in state.split.items() if name != "from"]
        flags = [flag for flag in flags if not flag.endswith(" None")]
        what.append(
            f"{some(moved, 'video')} would move: they were split by {' '.join(flags) or 'folders or label files'}"
        )
    lost = _lost(state, names, moved_to, paths)
    what += [f"{some(lost[why], 'video')} would be {why}" for why in WHYS if why in lost]
    if order := order_change(state, classes):
        what.append(order)
    return what


def _lost(
    state: State, names: Sequence[Named], moved_to: Mapping[Pair, Pair], paths: Collection[str]
) -> Mapping[str, list[str]]:
    """The rows of the label files that no video has now, by one of WHYS."""
    now = {(named.label, named.video_id): named.split for named in names}
    new = [named for named in names if (named.label, named.video_id) not in state.labelled]
    of_key = {named.key: named for named in new}
    of_source: defaultdict[str, list[Named]] = defaultdict(list)
    for named in new:
        of_source[named.source].append(named)
    before = {(named.label, named.video_id): named for named in state.names}
    lost: defaultdict[str, list[str]] = defaultdict(list)
    for pair in sorted(pair for pair in state.labelled if pair not in now):
        row, old = "/".join(pair), before.get(pair)
        if old and (same := of_key.get(old.key)):
            lost[UNREAD if is_video(pair[1]) else SHARED].append(f"{row} is {same.label}/{same.video_id}")
        elif pair in moved_to:
            other = moved_to[pair]
            lost[RENAMED].append(as_text(pair, state.labelled[pair], other, now[other]))
        elif old and (old.source in of_source or old.source in paths):
            lost[UNNAMED].append(row + _instead(old, of_source[old.source]))
        else:
            lost[GONE if old else UNLISTED].append(row)
    return lost


def _instead(old: Named, new: Sequence[Named]) -> str:
    """What the same file has in place of an old row: its part in another class, or another part in the same class."""
    for named in new:
        if named.times == old.times:
            return f", now of class {named.label}"
    return next((f", now {named.times or 'whole'}" for named in new if named.label == old.label), "")


def check_moves(
    dataset: Path,
    state: State,
    names: Sequence[Named],
    classes: Sequence[str],
    moved_to: Mapping[Pair, Pair],
    paths: Collection[str],
) -> None:
    """DataError if label files that are there would change but for new rows."""
    if what := changes(state, names, classes, moved_to, paths):
        raise DataError(
            f"{dataset / 'labels'}: {'; '.join(what)}. Nothing was done: --replace-labels writes the label files anew"
        )
