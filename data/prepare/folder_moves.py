"""Which row of an earlier run each video is of: a file that was moved, renamed or given another class keeps its side.

Else --replace-labels could put a video that was trained on into val. An id and class, or a class, path and times tell
it; then the content, which the databases and files of the rows keep; where they do not, or where no new row has it, the
path alone, as another take may lie at it now; then, without a known content, the name of the file.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from common.errors import DataError
from common.text import composed
from data.labels.class_folders import in_threads
from data.labels.text import counted, first_names
from data.prepare.folder_layout import Video
from data.prepare.folder_names import Key
from data.prepare.folder_source import Store
from data.prepare.folder_state import Named, State
from data.prepare.found_again import Content, found_again

Pair = tuple[str, str]  # class and id


class Moves(NamedTuple):
    """The row of an earlier run that each video is of, if any, and what rows that would be gone are now."""

    before: list[Named | None]
    pairs: dict[Pair, Pair]

    @property
    def sides(self) -> list[str]:
        """The split that each video had; empty for new ones."""
        return [row.split if row else "" for row in self.before]


def find_moves(
    videos: Sequence[Video],
    rows: Sequence[Named],
    keys: Sequence[Key],
    state: State,
    stores: Sequence[Store],
    pattern: str,
) -> Moves:
    """Find the rows of an earlier run, `state`, for the videos and their new `rows`.

    `keys` are those by which the earlier run knows the videos; `pattern` is that of --frames. If there
    are new videos, the databases tell which rows were made from other files than those at their paths now; of the new
    videos, only files of the sizes of such rows are read.
    """
    labelled = {pair: Named(*pair, split, "", "", "") for pair, split in state.labelled.items()}
    by_key = {row.key: row for row in state.names}
    before = [labelled.get(pair_of(row)) or by_key.get(key) for row, key in zip(rows, keys, strict=True)]
    there, now = set(keys), set(map(pair_of, rows)).intersection(labelled)
    gone = [row for row in state.names if row.key not in there]
    # Rows of label files alone, if the list of names is gone: only their content tells where they are.
    listed = set(map(pair_of, state.names))
    gone += [row for pair, row in labelled.items() if pair not in listed and pair not in now]
    new = [place for place, row in enumerate(before) if row is None]
    moves = Moves(before, {})
    if (state.names or gone) and new:
        paths = {key: video.path for key, video in zip(keys, videos, strict=True)}
        others = _of_others([row for row in state.names if row.key in there], paths, stores)
        new, told, left = _by_content([*gone, *others], new, rows, moves, videos, stores, pattern)
        gone, new = _by_path(gone, left, new, rows, moves)
        # A new take may have the file name of one that was deleted, whose content is known.
        _by_name([old for old in gone if pair_of(old) not in now | told], new, rows, moves)
    return moves


def pair_of(row: Named) -> Pair:
    """What names a video in the label files."""
    return row.label, row.video_id


def _of_others(rows: Sequence[Named], paths: Mapping[Key, Path], stores: Sequence[Store]) -> list[Named]:
    """The rows of which what is there may be of another file than the one at their path now."""

    def look(row: Named) -> bool:
        return any(store.may_be_of_another(row, paths[row.key]) for store in stores)

    return [row for row, is_other in zip(rows, in_threads("what is there", look, rows), strict=True) if is_other]


def _by_content(
    earlier: Sequence[Named],
    new: Sequence[int],
    rows: Sequence[Named],
    moves: Moves,
    videos: Sequence[Video],
    stores: Sequence[Store],
    pattern: str,
) -> tuple[list[int], set[Pair], set[str]]:
    """Find `earlier` rows made from the same bytes.

    Returned are the other places, the rows whose content is known, and the paths whose files are elsewhere now.
    """

    def contents(old: Named) -> list[Content]:
        return [content for store in stores if (content := _content(store, old))]

    told, left = set[Pair](), set[str]()
    of_content: defaultdict[Content, list[Named]] = defaultdict(list)
    for old, every in zip(earlier, in_threads("moved files", contents, earlier), strict=True):
        told.update([pair_of(old)] if every else [])
        for content in dict.fromkeys(every):
            of_content[content].append(old)
    of_path: defaultdict[Path, list[int]] = defaultdict(list)
    for place in new:
        of_path[videos[place].path].append(place)
    for content, paths in found_again(of_content, of_path, pattern).items():
        places = [place for path in paths for place in of_path[path]]
        now = {composed(rows[place].source) for place in places}
        for place in places:
            moves.before[place] = _nearest(of_content[content], rows[place])
        for old in of_content[content]:
            if composed(old.source) in now:
                continue
            left.add(composed(old.source))
            same = [rows[place] for place in places if rows[place].times == old.times]
            if other := _nearest(same, old):
                moves.pairs.setdefault(pair_of(old), pair_of(other))
    return _left(new, moves), told, left


def _by_path(
    gone: Sequence[Named], left: Collection[str], new: Sequence[int], rows: Sequence[Named], moves: Moves
) -> tuple[list[Named], list[int]]:
    """Find rows of the same path, whose class or times are others now; return the other rows and places.

    At the paths in `left`, whose files are elsewhere now, is something else.
    """
    found: defaultdict[str, list[Named]] = defaultdict(list)
    for old in gone:
        if (path := composed(old.source)) not in left:
            found[path].append(old)
    for place in new:
        moves.before[place] = _nearest(found.get(composed(rows[place].source), []), rows[place])
    taken = {composed(rows[place].source) for place in new}
    return [old for old in gone if composed(old.source) not in taken], _left(new, moves)


def _by_name(gone: Sequence[Named], new: Sequence[int], rows: Sequence[Named], moves: Moves) -> None:
    """Find rows without a known content by the name of the file: in the same class, or with one folder renamed.

    Each must be the only one with it.
    """
    of_name: defaultdict[Pair, list[int]] = defaultdict(list)
    for place in new:
        of_name[_name(rows[place])].append(place)
    found = {}
    for old in gone:
        places = [place for place in of_name.get(_name(old), []) if _is_moved(old, rows[place])]
        if len(places) == 1:
            found[pair_of(old)] = old, places[0]
    claims = Counter(place for _, place in found.values())
    for old, place in found.values():
        if claims[place] == 1:
            moves.before[place] = old
            moves.pairs[pair_of(old)] = pair_of(rows[place])


def _name(row: Named) -> Pair:
    return composed(row.source).rpartition("/")[2], row.times


def _is_moved(old: Named, new: Named) -> bool:
    """Whether a video of the same name is of the same class, or differs in the name of one folder."""
    folders, others = (composed(row.source).split("/")[:-1] for row in (old, new))
    return new.label == old.label or (len(others) == len(folders) and sum(map(str.__ne__, others, folders)) == 1)


def _nearest(found: Sequence[Named], row: Named) -> Named | None:
    """Of rows of one file or content, one with the path, times, class and id of a row, as far as there is one."""
    return max(
        found,
        key=lambda each: (
            each.source == row.source,
            each.times == row.times,
            each.label == row.label,
            each.video_id == row.video_id,
        ),
        default=None,
    )


def _left(new: Sequence[int], moves: Moves) -> list[int]:
    return [place for place in new if moves.before[place] is None]


def _content(store: Store, row: Named) -> Content | None:
    """What the database or file of a row was made from; None if that cannot be told."""
    try:
        made = store.made_from(row)
    except (OSError, DataError):
        return None
    return (made.size, made.content) if made else None


def note_on_sides(moves: Moves, rows: Sequence[Named], labelled: Mapping[Pair, str]) -> list[str]:
    """A line on videos of earlier label files, `labelled`, in another split now: what was trained on may be val."""
    changed = [
        as_text(pair_of(old), old.split, pair_of(row), row.split)
        for old, row in zip(moves.before, rows, strict=True)
        if old and pair_of(old) in labelled and old.split != row.split
    ]
    return (
        [f"in another split than before: {counted(len(changed), 'video')}, {first_names(changed)}"] if changed else []
    )


def as_text(old: Pair, was: str, new: Pair, split: str) -> str:
    """What became of a row, as "run/a is run/b", with the splits if they differ."""
    if was == split:
        return f"{'/'.join(old)} is {'/'.join(new)}"
    return f"{'/'.join(old)} ({was}) is {'/'.join(new)} ({split})"
