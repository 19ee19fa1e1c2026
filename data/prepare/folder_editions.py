"""Folders that do not belong in VIDEOS: an older copy of the dataset, or the folder of a class within another one."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from common.errors import DataError
from data.labels.text import counted, first_names, letters
from data.prepare.folder_copies import is_form
from data.prepare.folder_layout import Layout, Video, folder_of_class
from data.prepare.folder_state import STATE
from data.prepare.folder_tree import Tree


class _Named(NamedTuple):
    """A folder below a class that has the name of another class."""

    inside: str  # the class in which it lies
    name: str  # of the other class
    path: str  # of the folder, below VIDEOS


def check_made_here(tree: Tree) -> None:
    """DataError if videos lie in a dataset that this command made: they are copies of other videos."""
    folders = set[Path]()
    for folder in {each.path.parent for each in tree.found}:
        while folder != tree.videos and folder not in folders:
            folders.add(folder)
            folder = folder.parent
    made = next((folder for folder in sorted(folders) if (folder / STATE).is_file()), None)
    if made is not None:
        raise DataError(
            f"{made} is a dataset that this command made, and its videos would be taken for others: move it out of "
            f"{tree.videos}"
        )


def check_editions(tree: Tree, layout: Layout, known: Collection[str]) -> Layout:
    """The layout, with a note on folders in a class that are named as another class. DataError for a copy of classes.

    No class that is `known` from earlier runs is refused. Another one is a copy if most of its videos lie in folders of
    two or more other classes. Names that are numbers may be those of subjects, too; and if most classes have such
    folders, as <hand>/<camera> with `left` and `right`, the folders do not stand for classes, and only those are told
    that hold all videos of a class. Another note is on a folder that may be a class in the folder of another one.
    """
    found = _named_as_classes(tree, layout.videos)
    strays = _strays([video for place, video in enumerate(layout.videos) if place not in found])
    if strays:
        which = first_names([f"{path} ({counted(number, 'video')})" for path, number in strays.items()])
        what = "perhaps classes in the folder of another one, as only their videos lie deeper; if so, move them"
        layout.notes.append(f"warning: {what}: {which}")
    numbers = Counter(found.values())
    inside = defaultdict[str, set[str]](set)
    for each in numbers:
        inside[each.inside].add(each.name)
    names = set[str]().union(*inside.values())
    classes = {video.label for video in layout.videos}
    of_class = Counter(video.label for video in layout.videos)
    if 2 * len(inside) > len(classes) and 2 * len(names & inside.keys()) > len(names):
        whole = {each for each in numbers if numbers[each] == of_class[each.inside] and not each.name.isdecimal()}
        numbers = Counter({each: numbers[each] for each in whole})
        inside.clear()
    for label, others in inside.items():
        number = sum(count for each, count in numbers.items() if each.inside == label)
        is_sure = len(others) > 1 and not all(map(str.isdecimal, others))
        if is_sure and label not in names and label not in known and 2 * number > of_class[label]:
            above = folder_of_class(tree, layout.videos, label)
            place, pattern = tree.videos.joinpath(*above, label), "^" + "[^/]+/" * len(above) + "([^/]+)/"
            raise DataError(
                f"{place} holds folders of other classes ({first_names(sorted(others))}), as an older copy of the "
                f"dataset does, and would be a class: move it out of {tree.videos}. If it is a class, say --class-from "
                f"'{pattern}'"
            )
    if not numbers:
        return layout
    which = first_names([f"{each.path} ({counted(count, 'video')})" for each, count in sorted(numbers.items())])
    what = "named as another class, but their videos are of the class in which they lie; move them if that is wrong"
    layout.notes.append(f"warning: {counted(len(numbers), 'folder')} in those of classes, {what}: {which}")
    return layout


def _strays(videos: Sequence[Video]) -> Mapping[str, int]:
    """The folders that may be classes in the folder of another one, and their numbers of videos; few classes have any.

    All other videos lie at one depth below their classes, and those in these folders one deeper.
    """
    depths = defaultdict[str, Counter[int]](Counter)
    for video in videos:
        depths[video.label][len(video.folders)] += 1
    mixed = {label for label, numbers in depths.items() if len(numbers) > 1}
    usual = {depth for label, numbers in depths.items() if label not in mixed for depth in numbers}
    if len(usual) != 1 or not mixed or len(mixed) > max(1, len(depths) // 10):
        return {}
    (depth,) = usual
    if any(set(depths[label]) != {depth, depth + 1} for label in mixed):
        return {}
    found = Counter(f"{v.label}/{v.folders[0]}" for v in videos if v.label in mixed and len(v.folders) > depth)
    others = {f"{v.label}/{v.folders[0]}" for v in videos if v.label in mixed and 0 < len(v.folders) <= depth}
    return {path: count for path, count in sorted(found.items()) if path not in others and not is_form(path)}


def _named_as_classes(tree: Tree, videos: Sequence[Video]) -> Mapping[int, _Named]:
    """For the place of each video in such a folder, the last folder below its class with the name of another one."""
    spelled = cache(letters)  # there are few names, but many videos
    classes = {spelled(label): label for label in sorted({video.label for video in videos}) if spelled(label)}
    found = {}
    for place, video in enumerate(videos):
        for depth, folder in enumerate(video.folders):
            if (name := spelled(folder)) in classes and name != spelled(video.label):
                parts = video.path.relative_to(tree.videos).parts
                end = len(parts) - 1 - len(video.folders) + depth + 1
                found[place] = _Named(video.label, classes[name], "/".join(parts[:end]))
    return found
