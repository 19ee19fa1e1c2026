"""The dataset that a folder is to become: class order, ids, groups and splits, before anything is converted."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from common.errors import DataError
from common.text import composed, shortened
from data.labels.text import counted, first_names, some
from data.prepare.folder_copies import by_file, notes_on_copies, notes_on_forms, same_bytes, same_recording
from data.prepare.folder_failures import rows_without_video
from data.prepare.folder_files import splits_in
from data.prepare.folder_forms import check_spellings, classes_as_before, keys_as_before
from data.prepare.folder_groups import Grouping, groups_of, merged
from data.prepare.folder_layout import Layout, Video
from data.prepare.folder_lists import Classes, ordered
from data.prepare.folder_moves import Moves, find_moves
from data.prepare.folder_names import Key, ids_of, key_of, listed, part_of, unreadable
from data.prepare.folder_recordings import notes_on_views, views_below, with_views
from data.prepare.folder_source import Store
from data.prepare.folder_splits import known_sides, sides_of, split_groups
from data.prepare.folder_state import Named, State
from data.prepare.folder_tree import Tree
from data.prepare.report import Problem
from data.prepare.same_places import check_classes, fold_for


class Wish(NamedTuple):
    """What the user asks for; `val` and `seed` are None unless they were given."""

    val: float | None
    seed: int | None
    grouping: Grouping
    classes: Classes | None = None
    replaces: bool = False  # the label files are written anew
    stores: Sequence[Store] = ()  # what earlier runs made of the videos; the first one will hold the class folders
    frames: str = ""  # the pattern of --frames


class Dataset(NamedTuple):
    """The dataset to be: its videos with their names, the class order, how the split was made, and what to tell."""

    videos: list[Video]
    names: list[Named]
    classes: list[str]
    split: dict[str, Any]
    problems: list[Problem]
    notes: list[str]
    moves: Moves


VAL, SEED = 0.2, 0


def plan_dataset(tree: Tree, layout: Layout, wish: Wish, state: State) -> Dataset:
    """Give each video its id, group and split. Videos that earlier runs have split stay, if the flags are the same.

    DataError if there are fewer than two classes, or if a split would be empty.
    """
    problems, notes = list(layout.problems), list(layout.notes)
    videos, classes = _classes(_once(tree, layout.videos, notes), problems, wish, state, notes)
    keys = [key_of(video, tree.videos) for video in videos]
    known_keys = keys_as_before(keys, {named.key for named in state.names}, notes)
    ids = _ids(tree, videos, known_keys, wish, state)
    paths = [path for _, path, _ in keys]
    named = zip(paths, ids, videos, strict=True)
    if renamed := [f"{path} is {name}" for path, name, video in named if composed(name) != composed(video.name)]:
        notes.append(
            f"named differently, as folder_names.csv says: {counted(len(renamed), 'video')}, {first_names(renamed)}"
        )
    groups = groups_of(videos, paths, wish.grouping)
    if groups.alone:
        which = f"{counted(len(groups.alone), 'video')}: {first_names(groups.alone)}"
        notes.append(f"the flag finds no group of {which}; each is a group of its own")
    notes += groups.notes
    places = by_file(videos)
    same, forms = same_bytes(tree, videos, places, problems), same_recording(tree, videos)
    views, own_groups = views_below(videos, [*same, *forms]), wish.grouping == Grouping()
    names = merged(groups.names, [*same, *forms, *places.values()])
    narrower = merged(paths, [*same, *forms, *places.values()]), groups.names
    if own_groups:
        names, views = with_views(names, videos, views)
    rows = [
        Named(video.label, name, "", listed(group), path, part_of(video))
        for video, name, group, path in zip(videos, ids, names, paths, strict=True)
    ]
    moves = find_moves(videos, rows, known_keys, state, wish.stores, wish.frames)
    splits, split, lines = _splits(tree, videos, moves.sides, (*narrower, names), layout, wish, state)
    notes += lines
    lines, of_files = _of_files(tree, videos, splits)
    notes += lines
    is_random = split["from"] == "random"
    notes += notes_on_copies(tree, videos, same, splits, is_random)
    notes += notes_on_forms(tree, videos, forms, splits, is_random, same)
    notes += notes_on_views(views, splits, is_random and own_groups)
    notes += _of_groups(names if own_groups else groups.names, splits, [*same, *forms, *views.same], of_files)
    rows = [row._replace(split=side) for row, side in zip(rows, splits, strict=True)]
    return Dataset(videos, rows, classes, split, problems, notes, moves)


def _classes(
    videos: Sequence[Video], problems: Sequence[Problem], wish: Wish, state: State, notes: list[str]
) -> tuple[list[Video], list[str]]:
    """The videos, with the classes that earlier runs named, and the class order. DataError if that is not clear."""
    before = {*state.classes, *(named.label for named in state.names)}
    videos = classes_as_before(videos, before.intersection(wish.classes.names) if wish.classes else before, notes)
    labels = dict.fromkeys(video.label for video in videos)
    if len(labels) < 2:
        raise DataError(
            f"all {counted(len(videos), 'video')} are of one class, {next(iter(labels))}: two are needed"
            + rows_without_video(problems)
        )
    gone = {named.label for named in state.names if wish.replaces} - labels.keys()
    classes, lines = ordered(set(labels), wish.classes, [name for name in state.classes if name not in gone])
    check_spellings(classes, () if wish.classes else set(state.classes).difference(labels))
    notes += lines
    return videos, classes


def _once(tree: Tree, videos: Sequence[Video], notes: list[str]) -> list[Video]:
    """The videos without repetitions. DataError if one is in two splits."""
    first: dict[tuple[object, ...], Video] = {}
    repeated = []
    for video in videos:
        other = first.setdefault((video.path, video.label, part_of(video)), video)
        if other is not video:
            path = str(video.path.relative_to(tree.videos))
            if other.split != video.split:
                times = f" {part}" if (part := part_of(video)) else ""
                raise DataError(
                    f"{path}{times}, {video.label}, is labelled as {other.split} and as {video.split}: remove one"
                )
            repeated.append(path)
    if repeated:
        notes.append(f"named twice, taken once: {some(repeated, 'video')}")
    return list(first.values())


def _ids(tree: Tree, videos: Sequence[Video], keys: Sequence[Key], wish: Wish, state: State) -> list[str]:
    """The id of each video, which the disk tells from the others. DataError if there is none."""
    unread = unreadable({named.key: (named.video_id, named.split) for named in state.names}, wish.replaces)
    known = {named.key: named.video_id for named in state.names if named.key not in unread}
    ids = ids_of(videos, keys, known)
    pairs = ((video.label, name) for video, name in zip(videos, ids, strict=True))
    target = wish.stores[0].folder if wish.stores else None
    if target and (fold := fold_for(pairs, target)):
        check_classes(dict.fromkeys(video.label for video in videos), fold, target)
        ids = ids_of(videos, keys, known, fold)
    _check_ids(videos, ids, tree)
    return ids


def _check_ids(videos: Sequence[Video], ids: Sequence[str], tree: Tree) -> None:
    """DataError if two videos have the same id after all."""
    first: dict[tuple[str, str], Video] = {}
    for video, name in zip(videos, ids, strict=True):
        if (other := first.setdefault((video.label, name), video)) is not video:
            pair = " and ".join(str(each.path.relative_to(tree.videos)) for each in (other, video))
            raise DataError(f"{pair} would both be {video.label}/{shortened(name)}: rename one")


def _splits(
    tree: Tree,
    videos: Sequence[Video],
    known: Sequence[str],
    groupings: Sequence[Sequence[str]],
    layout: Layout,
    wish: Wish,
    state: State,
) -> tuple[list[str], dict[str, Any], list[str]]:
    """The split of each video, how it was found, and lines on it. `known` are those of earlier runs.

    `groupings` have the names of the recording of each video, of its group, and of the groups that share recordings.
    """
    numbers = splits_in(videos, tree)
    lines = []
    if set(numbers) <= {"", "train"}:
        if "train" in numbers:
            lines.append("there are only train videos: val is a part of them")
        return _random(videos, known, groupings, layout, wish, state, lines)
    for flag, value in (("--val", wish.val), ("--seed", wish.seed)):
        if value is not None:
            raise DataError(f"{flag} has no effect, as the videos have splits ({', '.join(numbers)}): leave it out")
    splits = [video.split for video in videos]
    if "val" not in numbers:
        lines.append(f"there are no val videos: the {numbers['test']} test videos are used for validation")
        splits = ["val" if split == "test" else split for split in splits]
    if "train" not in numbers:
        raise DataError(f"there are no train videos, only {' and '.join(numbers)}")
    return splits, {"from": "given"}, lines


def _random(
    videos: Sequence[Video],
    known: Sequence[str],
    groupings: Sequence[Sequence[str]],
    layout: Layout,
    wish: Wish,
    state: State,
    lines: list[str],
) -> tuple[list[str], dict[str, Any], list[str]]:
    """A random split, in which videos stay that have a `known` one from the same flags.

    A new one has the side of its recording, then that of its group: copies may have joined groups of two sides.
    """
    *narrower, groups = groupings
    part = VAL if wish.val is None else wish.val
    seed = SEED if wish.seed is None else wish.seed
    pattern = wish.grouping.pattern.pattern if wish.grouping.pattern else None
    split = {"from": "random", "val": part, "seed": seed, "by_folder": wish.grouping.by_folder, "group_from": pattern}
    if state.names and not state.text:
        lines.append(
            "warning: folder_state.json is missing: videos keep the splits of folder_names.csv, whatever --val and "
            "--seed are; the class order is made anew, or give --classes"
        )
    elif state.split != split:
        known = [""] * len(videos)
    fixed = {group: sides.most_common(1)[0][0] for group, sides in sides_of(groups, known).items()}
    sides = split_groups([video.label for video in videos], groups, part, seed, fixed)
    splits = [own or sides[group] for own, group in zip(known_sides(known, narrower), groups, strict=True)]
    if "val" not in splits or "train" not in splits:
        what = f"{counted(len(videos), 'video')} in {counted(len(set(groups)), 'group')}"
        raise DataError(
            f"{what} cannot be divided into train and val: each class needs two groups"
            + (_why_one_group(videos, groups, wish.grouping) if len(set(groups)) == 1 else "")
            + rows_without_video(layout.problems)
        )
    flags = f"--val {part:g} --seed {seed}"
    kept = f"; {counted(sum(map(bool, known)), 'video')} as before" if any(known) else ""
    whole = ", with whole groups on one side" if wish.grouping != Grouping() else ""
    lines.append(f"split: random, a part of each class ({flags}){whole}{kept}")
    if wish.grouping == Grouping() and layout.is_nested:
        lines.append(
            "a subject may be on both sides of the split: if the first folders below the classes are subjects, give "
            "--by-folder 1"
        )
    return splits, split, lines


def _why_one_group(videos: Sequence[Video], groups: Sequence[str], grouping: Grouping) -> str:
    """The end of a message on videos that are all in one group: what makes it one, and what helps."""
    files = list(dict.fromkeys(video.path for video in videos))
    if len(files) == 1:
        return f". All are parts of one recording, {files[0]}: add others, or give a label file with a column split"
    if grouping == Grouping():
        same = "with the same bytes, or of one name with several suffixes,"
        what = f". {counted(len(files), 'video file')} {same} are one group, such as {files[0]}"
        return f"{what} and {files[1]}: replace copies by other recordings, or give a label file with a column split"
    flag = "--group-from" if grouping.pattern else f"--by-folder {grouping.by_folder}"
    what = f". {flag} puts all into the group {shortened(groups[0])}"
    return f"{what}: give another --by-folder or --group-from, or a label file with a column split"


def _of_files(tree: Tree, videos: Sequence[Video], splits: Sequence[str]) -> tuple[list[str], list[int]]:
    """A line on files that have several classes, in different splits; and the places of such videos."""
    first: dict[tuple[Path, str], tuple[str, str]] = {}
    both: dict[int, str] = {}
    for place, (video, split) in enumerate(zip(videos, splits, strict=True)):
        label, other = first.setdefault((video.path, part_of(video)), (video.label, split))
        if other != split:
            both[place] = f"{video.path.relative_to(tree.videos)} ({other}: {label}, {split}: {video.label})"
    if not both:
        return [], []
    what = f"{counted(len(both), 'file')}, {first_names(list(both.values()), 160)}; remove one of the rows"
    return [f"warning: of two classes, and in two splits: {what}"], list(both)


def _of_groups(
    groups: Sequence[str], splits: Sequence[str], same: Sequence[Sequence[int]], of_files: Sequence[int]
) -> list[str]:
    """A line on groups in two splits, but for those at the places `of_files` and of `same`, of which other lines tell.

    Of `same`, that are the places which are themselves in two splits.
    """
    divided = [places for places in same if len({splits[place] for place in places}) > 1]
    told = {groups[place] for places in [*divided, of_files] for place in places}
    both = [group for group, sides in sides_of(groups, splits).items() if len(sides) > 1 and group not in told]
    return [f"warning: in two splits: {counted(len(both), 'group')}, {first_names(both)}"] if both else []


def class_counts(names: Sequence[Named]) -> dict[str, Counter[str]]:
    """The numbers of videos of each class by split."""
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for named in names:
        found[named.label][named.split] += 1
    return found
