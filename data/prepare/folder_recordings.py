"""What is said and refused of folders that hold the same recordings: classes, and folders below the classes."""

import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from functools import partial
from typing import NamedTuple

from common.errors import DataError
from common.groups import joined
from common.text import composed
from data.labels.text import counted, first_names
from data.prepare.file_names import is_video
from data.prepare.folder_groups import merged
from data.prepare.folder_layout import Layout, Video, folder_of_class
from data.prepare.folder_names import part_of
from data.prepare.folder_shared import Key
from data.prepare.folder_tree import Tree
from data.prepare.folder_twins import COPIES, NAMED, ONE_LENGTH, Twins, Videos, find_twins

MOST_BELOW = 100  # names of folders below the classes, such as subjects, that are compared


class Views(NamedTuple):
    """Videos below the classes that are of one recording: their places, and the names of the folders with the same.

    `apart`: the classes that have them on both sides of the split, as they would have one group alone.
    """

    same: list[list[int]]
    folders: list[list[str]]
    apart: list[str]


def check_classes(tree: Tree, layout: Layout, known: Collection[str]) -> None:
    """DataError if the folders of classes hold the same recordings: they are editions of one dataset, or views.

    If all these classes are `known` from earlier runs, it is a warning; and where names, one length or the same files
    explain what they have in common, a line.
    """
    videos = layout.videos
    labels = [video.label for video in videos]
    twins = find_twins(Videos(labels, lambda place: _key(videos[place]), lambda place: videos[place].path))
    sure = [pair for pair in twins if pair.is_sure]
    new = [pair for pair in sure if not set(pair.folders) <= set(known)]
    if new:
        same = _like_folders(new)[0]
        raise DataError(f"{tree.videos}: {_said(new, same)}. {_remedy(tree, layout, same)}")
    if sure:
        layout.notes.append(f"warning: {_said(sure, _like_folders(sure)[0])}; is each a class?")
    for why in (COPIES, ONE_LENGTH, NAMED):
        pairs = [pair for pair in twins if pair.else_ == why and (why == COPIES or _have_names(pair, videos))]
        if pairs:
            warning = "" if why == NAMED else "warning: "
            layout.notes.append(f"{warning}{_said(pairs, _like_folders(pairs)[0])}, {why}: is each a class?")


def _said(pairs: Sequence[Twins], labels: Sequence[str]) -> str:
    """What is found of the classes, with the numbers of a pair of them."""
    pair = next(pair for pair in pairs if set(pair.folders) <= set(labels))
    others = {name for each in pairs for name in each.folders}.difference(labels)
    more = f"; so have {counted(len(others), 'other class')}" if others else ""
    paths = counted(len(pair.common), "path")
    if not pair.is_sure:
        return f"the classes {first_names(labels)} have {paths} in common{more}"
    return (
        f"the classes {first_names(labels)} would hold the same recordings, as editions of one dataset or views of "
        f"several cameras do: {' and '.join(pair.folders)} have {paths} in common, and the lengths of "
        f"{pair.compared} that were compared agree{more}"
    )


def _remedy(tree: Tree, layout: Layout, labels: Sequence[str]) -> str:
    above = folder_of_class(tree, layout.videos, labels[0])
    folders = "^" + "[^/]+/" * len(above)
    are_all = len(labels) == len({video.label for video in layout.videos})
    first = tree.videos.joinpath(*above, labels[0])
    if not are_all:
        remedy = f"move all but one of them out of {tree.videos}"
    elif above:
        remedy = "keep one of them alone in each split"
    else:
        remedy = f"give one of them alone, as {first}"
    if are_all and all(video.folders for video in layout.videos):
        remedy += f", or for all, say where the class is, as --class-from '{folders}[^/]+/([^/]+)/'"
    return f"If they are classes, say --class-from '{folders}([^/]+)/'; if not, {remedy}"


def _like_folders(pairs: Sequence[Twins]) -> list[list[str]]:
    """The folders that hold the same recordings, the most first."""
    return joined(pair.folders for pair in pairs)


def _have_names(pair: Twins, videos: Sequence[Video]) -> bool:
    """Whether two folders have more in common than numbers, as s1/cam.avi, s2/cam.avi and so on."""
    return len({re.sub(r"[0-9]+", "0", "/".join(_key(videos[place]))) for place, _ in pair.common}) > 1


def views_below(videos: Sequence[Video], told: Sequence[Sequence[int]]) -> Views:
    """The videos that lie in folders of the same recordings below their class, as <class>/<camera>/<subject>/<video>.

    `told` are the places of copies and of recordings in two forms.
    """
    views = Views([], [], [])
    group = {place: number for number, places in enumerate(told) for place in places}
    for depth in range(max((len(video.folders) for video in videos), default=0)):
        folders = [video.folders[depth] if depth < len(video.folders) else "" for video in videos]
        key = partial(_key_below, videos, depth)
        new = []
        for pair in find_twins(Videos(folders, key, lambda place: videos[place].path, True), MOST_BELOW):
            same = [list(each) for each in pair.common if len({group.get(place, -1 - place) for place in each}) > 1]
            if pair.is_sure and same:
                new.append(pair)
                views.same.extend(same)
        views.folders.extend(_like_folders(new))
    return views


def with_views(names: Sequence[str], videos: Sequence[Video], views: Views) -> tuple[list[str], Views]:
    """The names of groups after views of one recording are in one, and the views with the classes that are left out.

    A class that would have one group alone, of several, is left out: it could not be divided.
    """
    labels = [video.label for video in videos]
    before, same = _groups(labels, names), views.same
    for whole in (False, True):
        found = merged(names, same)
        after = _groups(labels, found)
        single = sorted(label for label in after if len(after[label]) == 1 < len(before[label]))
        if not single:
            break
        views = views._replace(apart=sorted({*views.apart, *single}))
        same = [] if whole else [places for places in same if labels[places[0]] not in single]
    else:
        found = list(names)
        views = views._replace(apart=sorted(after))
    return found, views


def _groups(labels: Sequence[str], names: Sequence[str]) -> dict[str, set[str]]:
    """The groups of each class."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for label, name in zip(labels, names, strict=True):
        found[label].add(name)
    return found


def notes_on_views(views: Views, splits: Sequence[str], is_kept: bool) -> list[str]:
    """A line on folders of the same recordings; `is_kept` if these were put on one side of the split."""
    both = sum(len({splits[place] for place in places}) > 1 for places in views.same)
    if not views.folders:
        return []
    which = first_names([" = ".join(names) for names in views.folders], 160)
    what = f"folders below the classes with the same recordings, as editions or views, by paths and lengths: {which}"
    if views.apart and is_kept:
        what += f"; not kept on one side of the split in {counted(len(views.apart), 'class')}, "
        what += f"{first_names(views.apart)}, as nothing would be left for the other side"
    if both:
        return [f"warning: {what}; in two splits: {counted(both, 'pair')}"]
    return [f"{what}{'; kept on one side of the split' if is_kept and not views.apart else ''}"]


def _key(video: Video, without: int | None = None) -> Key:
    """The path of a video below its class, without the folder of a depth, and without its suffix."""
    name = video.name.rpartition(".")[0] if is_video(video.name) else video.name
    rest = video.folders if without is None else (*video.folders[:without], *video.folders[without + 1 :])
    return *composed("\0".join((*video.above, *rest, name))).casefold().split("\0"), part_of(video)


def _key_below(videos: Sequence[Video], depth: int, place: int) -> Key:
    """The path of a video with its class, without the folder of a depth."""
    return videos[place].label, *_key(videos[place], depth)
