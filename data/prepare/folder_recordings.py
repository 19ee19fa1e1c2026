"""What is said and refused of folders that hold the same recordings: classes, and folders below the classes."""

import re
from collections import defaultdict
from collections.abc import Collection, Hashable, Sequence
from pathlib import PurePath
from typing import NamedTuple

from common.errors import DataError
from common.text import composed
from data.labels.text import counted, first_names
from data.prepare.file_names import is_video
from data.prepare.folder_layout import Layout, Video, folder_of_class
from data.prepare.folder_names import part_of
from data.prepare.folder_tree import Tree
from data.prepare.folder_twins import Twins, by_folder, find_twins, joined

MOST_BELOW = 100  # names of folders below the classes, such as subjects, that are compared


class Views(NamedTuple):
    """Videos below the classes that are of one recording: their places, and the names of the folders with the same.

    `are_first`: some of them are the first folders below the classes.
    """

    same: list[list[int]]
    folders: list[list[str]]
    are_first: bool


def check_classes(tree: Tree, layout: Layout, known: Collection[str]) -> None:
    """DataError if the folders of classes hold the same recordings: they are editions of one dataset, or views.

    Where all videos are of one length, and if all these classes are `known` from earlier runs, it is a note.
    """
    twins = find_twins(by_folder((video.label, _key(video), video.path) for video in layout.videos))
    sure = [pair for pair in twins if pair.is_sure]
    new = [pair for pair in sure if not set(pair.folders) <= set(known)]
    if new:
        labels = joined(new)[0]
        raise DataError(f"{tree.videos}: {_said(new, labels)}. {_remedy(tree, layout, labels)}")
    unsure = [pair for pair in twins if not pair.is_sure and _have_names(pair)]
    for pairs, what in ((sure, "is each a class?"), (unsure, "all of one length: is each a class?")):
        if pairs:
            layout.notes.append(f"warning: {_said(pairs, joined(pairs)[0])}; {what}")


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
        remedy = f"Move all but one of them out of {tree.videos}"
    elif above:
        remedy = "Keep one of them alone in each split"
    else:
        remedy = f"Give one of them alone, as {first}"
    if are_all and all(video.folders for video in layout.videos):
        remedy += f", or for all, say where the class is, as --class-from '{folders}[^/]+/([^/]+)/'"
    return f"{remedy}. If they are classes, say --class-from '{folders}([^/]+)/'"


def _have_names(pair: Twins) -> bool:
    """Whether two folders have more in common than numbers, as s1/cam.avi, s2/cam.avi and so on."""
    return len({re.sub(r"[0-9]+", "0", str(key)) for key in pair.common}) > 1


def views_below(videos: Sequence[Video], told: Sequence[Sequence[int]]) -> Views:
    """The videos that lie in folders of the same recordings below their class, as <class>/<camera>/<subject>/<video>.

    `told` are the places of copies and of recordings in two forms.
    """
    views = Views([], [], False)
    group = {place: number for number, places in enumerate(told) for place in places}
    for depth in range(max((len(video.folders) for video in videos), default=0)):
        places: defaultdict[tuple[str, Hashable], list[int]] = defaultdict(list)
        for place, video in enumerate(videos):
            if depth < len(video.folders):
                places[video.folders[depth], (video.label, *_key(video, depth))].append(place)
        paths = by_folder((folder, key, videos[numbers[0]].path) for (folder, key), numbers in places.items())
        new = []
        for pair in find_twins(paths, MOST_BELOW):
            same = [[place for folder in pair.folders for place in places[folder, key]] for key in pair.common]
            same = [each for each in same if len({group.get(place, -1 - place) for place in each}) > 1]
            if pair.is_sure and same:
                new.append(pair)
                views.same.extend(same)
        views.folders.extend(joined(new))
        if new and depth == 0:
            views = views._replace(are_first=True)
    return views


def notes_on_views(views: Views, splits: Sequence[str], is_kept: bool) -> list[str]:
    """A line on folders of the same recordings; `is_kept` if these were put on one side of the split."""
    both = sum(len({splits[place] for place in places}) > 1 for places in views.same)
    if not views.folders:
        return []
    which = first_names([" = ".join(names) for names in views.folders], 160)
    what = f"folders below the classes with the same recordings, as editions or views, by paths and lengths: {which}"
    if both:
        return [f"warning: {what}; in two splits: {counted(both, 'pair')}"]
    return [f"{what}{'; kept on one side of the split' if is_kept else ''}"]


def _key(video: Video, without: int | None = None) -> tuple[Hashable, ...]:
    """The path of a video below its class, without the folder of a depth, and without its suffix."""
    name = PurePath(video.name).stem if is_video(video.name) else video.name
    rest = [folder for depth, folder in enumerate(video.folders) if depth != without]
    return video.above, without, *(composed(each).casefold() for each in (*rest, name)), part_of(video)
