"""Recordings whose folders of RGB, depth and flow pictures would be taken for videos of their own."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from common.errors import DataError
from data.labels.text import counted, first_names, some
from data.prepare.file_names import is_frame
from data.prepare.folder_contents import choice_of_frames, entries_of
from data.prepare.folder_layout import Layout, Video
from data.prepare.folder_tree import Tree

KNOWN = (  # in the order in which one is proposed
    "rgb", "color", "colour", "gray", "grey", "ir", "infrared", "thermal", "depth", "flow", "flow_x", "flow_y",
    "flow_u", "flow_v", "mask", "masks", "seg", "segmentation", "skeleton", "pose",
)  # fmt: skip
LETTERS = {"u", "v", "x", "y"}  # of flow, if there is nothing else
VIEWS = {"left", "right"}  # beside one of KNOWN
MOST = 10  # folders of a recording
MOST_OTHERS = 5


def check_modalities(tree: Tree, layout: Layout) -> list[str]:
    """A warning if the folders of pictures may be modalities; DataError if their names say that they are.

    The former is so if the same few names are in all folders, the latter if names that are known are beside each other
    in at least half of the folders.
    """
    frames = {each.path for each in tree.found if each.kind == "frames"}
    inside: defaultdict[Path, list[Video]] = defaultdict(list)
    for video in layout.videos:
        if video.path in frames:
            inside[video.path.parent].append(video)
    mixed = [videos for videos in inside.values() if _are_modalities([video.path.name for video in videos])]
    if mixed and 2 * len(mixed) >= len(inside):
        best = min((video for videos in inside.values() for video in videos), key=_rank)
        example = some([str(video.path.relative_to(tree.videos)) for video in mixed[0]], "folder")
        raise DataError(
            f"{example} seem to be one recording, in kinds of pictures that would be taken for videos of their own; "
            f"so in {len(mixed)} of {counted(len(inside), 'folder')} with pictures: {_remedy(tree, best)}. If they are "
            "videos of their own, rename them"
        )
    same = {frozenset(video.path.name.casefold() for video in videos) for videos in inside.values()}
    below = all(video.folders for videos in inside.values() for video in videos)
    if len(inside) < 2 or len(same) != 1 or not below or not 2 <= len(next(iter(same))) <= MOST_OTHERS:
        return []
    videos = next(iter(inside.values()))
    which = first_names([video.path.name for video in videos], 40)
    return [
        f"warning: each of {counted(len(inside), 'folder')} has the folders of pictures {which}, which are taken for "
        f"videos: if they are kinds of pictures of one recording, {_remedy(tree, videos[0])}"
    ]


def _are_modalities(names: Sequence[str]) -> bool:
    """Whether folders beside each other are those of one recording by their names."""
    folded = {name.casefold() for name in names}
    if not 2 <= len(folded) <= MOST:
        return False
    known = folded.intersection(KNOWN)
    if not known:
        return folded <= LETTERS
    return len(folded & (known | LETTERS | VIEWS)) > 1


def _rank(video: Video) -> tuple[int, str]:
    """Its place among the folders that may be proposed: lower is better."""
    name = video.path.name.casefold()
    return (KNOWN.index(name) if name in KNOWN else len(KNOWN)), str(video.path)


def _remedy(tree: Tree, video: Video) -> str:
    if not video.folders:  # its parent is the class
        return "put each recording into a folder of its own below its class, and choose one kind with --frames"
    pictures = [entry.name for entry in entries_of(video.path, tree.videos, []) if is_frame(entry.name)]
    return f"choose one with {choice_of_frames(f'{video.path.name}/{pictures[0]}' if pictures else video.path.name)}"
