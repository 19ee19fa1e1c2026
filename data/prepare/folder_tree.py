"""All videos in a folder, at any depth: what a layout is then recognised in."""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from common.files import inode_of
from data.prepare.file_names import is_frame, is_video
from data.prepare.folder_contents import PLAIN_FOLDER, Found, contents, entries_of, first_within
from data.prepare.report import Problem
from data.store.folder_entries import is_folder

MEDIA = ("video", "frames")


class Tree(NamedTuple):
    """The videos (files, and folders of frames) in the order of their paths; what is none; the files that are none."""

    videos: Path
    found: list[Found]
    problems: list[Problem]
    ignored: Counter[str]
    out: Path  # the dataset

    def parts(self, each: Found) -> tuple[str, ...]:
        """The path of a video below the folder, as names."""
        return each.path.relative_to(self.videos).parts


def walk(videos: Path, out: Path, pattern: str = "") -> Tree:
    """Find all videos under `videos`, but no databases of `out`. DataError if `videos` cannot be read.

    `pattern` is that of --frames.

    A folder is read once: a link to one that is read anyway, or to one above `videos`, is left out with a warning.
    """
    tree = Tree(videos, [], [], Counter(), out)
    seen = {inode_of(out / "jpg"): out / "jpg"}
    above = {inode_of(parent) for parent in videos.resolve().parents}
    waiting, links = [videos], list[Path]()
    while waiting or links:
        # A link comes after all folders: else what is in one would be taken under the name of the other.
        folder = waiting.pop() if waiting else links.pop(0)
        identity = inode_of(folder)
        if identity in above or identity in seen:
            if (other := seen.get(identity)) != out / "jpg":
                what = f"the same folder as {other.relative_to(videos)}" if other else f"a link to a folder of {videos}"
                tree.problems.append(Problem("warning", str(folder.relative_to(videos)), f"left out: {what}"))
            continue
        seen[identity] = folder
        inner = []
        for each in contents(folder, videos, tree.problems, pattern):
            if each.kind == "frames" and not pattern and _holds_more(each.path, videos):
                tree.ignored["pictures beside folders"] += 1
                inner.append(each.path)
            elif each.kind == PLAIN_FOLDER:
                inner.append(each.path)
            else:
                _add(tree, each)
        links += [path for path in inner if path.is_symlink()]
        waiting += [path for path in reversed(inner) if not path.is_symlink()]
    tree.found.sort(key=tree.parts)
    return tree


def _add(tree: Tree, each: Found) -> None:
    """Add what is in a folder, and is no folder of others."""
    item = str(each.path.relative_to(tree.videos))
    if each.problem:
        tree.problems.append(Problem("failed", item, each.problem))
        return
    if each.doubt:
        what = f"left out: {each.doubt}" if each.is_preview else f"{each.doubt}: is it a video?"
        tree.problems.append(Problem("warning", item, what))
    if each.kind in MEDIA:
        if not each.is_preview:
            tree.found.append(each)
    else:
        tree.ignored[each.kind] += 1


def _holds_more(folder: Path, videos: Path) -> bool:
    """Whether a folder with JPEG files is no video: it has no more of them than folders with videos or frames."""
    names = list(entries_of(folder, videos, []))
    inner = [Path(entry.path) for entry in names if is_folder(entry)]
    pictures = sum(is_frame(entry.name) for entry in names)
    if not inner or pictures > len(inner):
        return False
    return pictures <= sum(first_within(path, videos, []) != "" or _has_media(path, videos) for path in inner)


def _has_media(folder: Path, videos: Path) -> bool:
    """Whether a folder itself holds videos or JPEG files."""
    return any(is_video(entry.name) or is_frame(entry.name) for entry in entries_of(folder, videos, []))
