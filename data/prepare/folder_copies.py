"""Videos that are there twice: files with the same bytes, and what is probably one recording in two forms."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePath

from common.text import composed
from data.labels.text import SHOWN, counted, first_names
from data.prepare.file_names import is_video
from data.prepare.folder_groups import copies
from data.prepare.folder_layout import Layout, Video
from data.prepare.folder_names import part_of
from data.prepare.folder_tree import Tree
from data.prepare.previews import may_be_preview
from data.prepare.report import Problem
from data.prepare.sources import note_on_folders

SEPARATORS = "_-. "
COLOURS = ("rgb", "color", "colour")  # what frames are called beside optical flow
FOLDERS = {"video", "videos", "clips"}  # of videos beside their frames


def by_file(videos: Sequence[Video]) -> Mapping[Path, list[int]]:
    """The places of the videos that are made from each file: their classes may put them into different groups."""
    places: defaultdict[Path, list[int]] = defaultdict(list)
    for place, video in enumerate(videos):
        places[video.path].append(place)
    return places


def same_bytes(
    tree: Tree, videos: Sequence[Video], places: Mapping[Path, list[int]], problems: list[Problem]
) -> list[list[int]]:
    """The places of videos with the same bytes, of those `by_file`. Copies in two classes are told.

    What cannot be read fails later.
    """
    found, _ = copies(places)
    for paths in found:
        first: dict[str, tuple[str, Path]] = {}  # of each part of the videos, the first class and file
        told: set[tuple[str, str]] = set()
        for path in paths:
            for place in places[path]:
                label, part = videos[place].label, part_of(videos[place])
                other, there = first.setdefault(part, (label, path))
                if other != label and (part, label) not in told:
                    told.add((part, label))
                    what = f"of class {label}: the same bytes as {there.relative_to(tree.videos)} of class {other}"
                    item = str(path.relative_to(tree.videos))
                    problems.append(Problem("warning", item, f"{what}: one of the labels is wrong?"))
    return [[place for path in paths for place in places[path]] for paths in found]


def same_recording(tree: Tree, videos: Sequence[Video]) -> list[list[int]]:
    """The places of the videos that are probably one recording: of one folder and name, in two or more forms.

    Forms are the suffix (`a.avi`, `a.mp4`) and a folder of frames (`a/`, `a.mp4/`, `a_frames/`). They may also lie in
    folders that are named after the form, as `mp4/a.mp4`, `videos/a.mp4` and `frames/a/`, and frames in `a/frames/`
    beside `a/a.mp4`. Case does not count in the name, unless two names differ in nothing else: `a.mp4` and `A.mp4`.
    """
    folders = _of_frames(tree)
    found: defaultdict[tuple[str, ...], list[tuple[int, str]]] = defaultdict(list)
    for place, video in enumerate(videos):
        *above, name = _recording(video.path.relative_to(tree.videos), video.path in folders)
        found[(*above, name.casefold())].append((place, name))
    several = (each for named in found.values() if len(named) > 1 for each in _told_by_case(videos, named, folders))
    return [places for places in several if len({videos[place].path for place in places}) > 1]


def _told_by_case(
    videos: Sequence[Video], named: Sequence[tuple[int, str]], folders: Collection[Path]
) -> list[list[int]]:
    """The places of videos whose names differ in case at most, in several groups if one folder has two in one form."""
    names: defaultdict[tuple[Path, str], set[str]] = defaultdict(set)
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for place, name in named:
        path = videos[place].path
        names[path.parent, "" if path in folders else path.suffix.casefold()].add(name)
        groups[name].append(place)
    is_told = any(len(each) > 1 for each in names.values())
    return list(groups.values()) if is_told else [[place for place, _ in named]]


def _of_frames(tree: Tree) -> set[Path]:
    return {each.path for each in tree.found if each.kind == "frames"}


def is_form(folder: str) -> bool:
    """Whether a folder is named after a form of videos, as run/mp4 or run/frames."""
    name = PurePath(folder).name.casefold()
    return name in FOLDERS or may_be_preview(name) or is_video(f"a.{name}")


def _recording(path: PurePath, is_folder: bool) -> tuple[str, ...]:
    """The folder and name of a video, without what names its form."""
    name = composed(path.name)
    forms = FOLDERS if is_folder else {path.suffix[1:].casefold(), *FOLDERS}
    if not is_folder or is_video(name):
        name = PurePath(name).stem
    elif may_be_preview(name.casefold()) and path.parent.name:  # rec0/frames beside rec0/rec0.mp4
        name = composed(path.parent.name)
    elif cut := next((cut for cut in range(len(name) - 1, 0, -1) if name[cut] in SEPARATORS), 0):
        last = name[cut + 1 :].casefold()
        name = name[:cut] if may_be_preview(last) or last in COLOURS else name
    above = (part for part in path.parent.parts if part.casefold() not in forms)
    if is_folder:
        above = (part for part in above if not may_be_preview(part))
    return *above, name


def notes_on_copies(
    tree: Tree, videos: Sequence[Video], same: Sequence[Sequence[int]], splits: Sequence[str], is_random: bool
) -> list[str]:
    """Lines on videos with the same bytes."""
    both, within = _told(tree, videos, same, splits)
    lines = []
    if both:
        lines.append(
            f"warning: the same bytes in two splits: copies of {counted(len(both), 'video')}, {first_names(both, 160)}"
        )
    if within:
        kept = ", kept on one side of the split" if is_random else ""
        lines.append(
            f"the same bytes several times{kept}: copies of {counted(len(within), 'video')}, {first_names(within, 160)}"
        )
    return lines


def notes_on_forms(
    tree: Tree,
    videos: Sequence[Video],
    same: Sequence[Sequence[int]],
    splits: Sequence[str],
    is_random: bool,
    copies: Sequence[Sequence[int]],
) -> list[str]:
    """Lines on recordings in two forms, `same`, that are no `copies` of one file, of which other lines tell."""
    copy_of = {place: number for number, places in enumerate(copies) for place in places}
    others = [places for places in same if len({copy_of.get(place, -1 - place) for place in places}) > 1]
    both, within = _told(tree, videos, others, splits)
    lines = []
    for names, where in ((both, ", in two splits"), (within, ", kept on one side of the split" if is_random else "")):
        if names:
            seem = f"{counted(len(names), 'recording')} {'seems' if len(names) == 1 else 'seem'}"
            which = f"{first_names(names, 160)}; if so, remove one of each"
            lines.append(f"warning: {seem} to be there in two forms{where}: {which}")
    return lines


def _told(
    tree: Tree, videos: Sequence[Video], same: Sequence[Sequence[int]], splits: Sequence[str]
) -> tuple[list[str], list[str]]:
    """The paths of the videos at each of the places, for a message: those in two splits, and the others."""
    both: list[str] = []
    within: list[str] = []
    for places in same:
        paths = list(dict.fromkeys(str(videos[place].path.relative_to(tree.videos)) for place in places))
        more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
        is_split = len({splits[place] for place in places}) > 1
        (both if is_split else within).append(" = ".join(paths[:SHOWN]) + more)
    return both, within


def notes_on_frames(tree: Tree, layout: Layout) -> list[str]:
    """A line on frame folders that are the fewer in their class, as `convert` has it: they may be no videos."""
    frames = _of_frames(tree)
    folders: defaultdict[str, list[str]] = defaultdict(list)
    files: defaultdict[str, int] = defaultdict(int)
    for video in layout.videos:
        if video.path in frames:
            folders[video.label].append(str(video.path.relative_to(tree.videos)))
        else:
            files[video.label] += 1
    return note_on_folders(folders, files)
