"""Finds the videos to convert in a folder of class folders."""

import os
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from common.errors import DataError
from common.files import inode_of
from data.labels.clip_length import Times, cut_times
from data.labels.text import counted, first_names, letters, some
from data.prepare.file_names import is_frame, is_video
from data.prepare.folder_contents import (
    HIDDEN,
    LABELS,
    LAYOUT,
    OTHERS,
    PLAIN_FOLDER,
    choice_of_frames,
    contents,
    entries_of,
    first_within,
    is_hidden,
    joined_names,
    kind_of,
)
from data.prepare.previews import is_preview, may_be_preview, named_after
from data.prepare.report import Problem
from data.store.folder_entries import LOST, is_folder, is_lost
from data.store.video_file import Span

UNCERTAIN_CLASS = "by its name it may hold previews or frames of the videos of the other classes: is it a class?"
SPACE = "its name, or that of its class, begins or ends with a space, which label files do not keep: rename it"


class Source(NamedTuple):
    """A video to convert: a file or a folder of frames, its class and id, and the part to cut out."""

    path: Path
    label: str
    video_id: str
    span: Span | None = None
    cut: Times | None = None  # of a clip that was cut beforehand, the times that it should hold
    frames: tuple[int, int] | None = None  # in place of a span: the first frame, from 0, and one after the last


class Sources(NamedTuple):
    """The videos found, those that cannot be converted, and the number of ignored files by suffix."""

    videos: list[Source]
    problems: list[Problem]
    ignored: Counter[str]
    notes: Sequence[str] = ()


class Shard(NamedTuple):
    """Part `part` of `parts`, counted from 0 or from 1: the last part is the same as part 0."""

    part: int
    parts: int

    def has(self, item: str) -> bool:
        """Whether the video "<class>/<id>" belongs to this part; that depends only on its name."""
        return zlib.crc32(os.fsencode(item)) % self.parts == self.part % self.parts


def find_sources(videos: Path, out: Path, pattern: str = "") -> Sources:
    """Find VIDEOS/<class>/<file> and VIDEOS/<class>/<folder of frames>, sorted by name.

    A `pattern` of frames with a slash is looked for in folders of these folders (frame_pattern). The databases are
    skipped if `out` is `videos`. DataError if there is no video in this layout.
    """
    loose: list[str] = []
    ignored: Counter[str] = Counter()
    problems: list[Problem] = []
    found: dict[tuple[str, str], list[Path]] = {}
    folders: dict[str, list[str]] = {}
    files: Counter[str] = Counter()
    databases = inode_of(out / "jpg")
    entries = list(entries_of(videos, videos, problems))
    for entry in entries:
        if is_hidden(entry):
            ignored[HIDDEN] += 1
        elif not is_folder(entry):
            if is_video(entry.name):
                loose.append(entry.name)
            elif is_lost(entry):
                problems.append(Problem("failed", entry.name, LOST))
            else:
                ignored[kind_of(entry)] += 1
        elif inode_of(Path(entry.path)) != databases:
            for each in contents(Path(entry.path), videos, problems, pattern):
                if each.problem:
                    problems.append(Problem("failed", f"{entry.name}/{each.name}", each.problem))
                    continue
                if each.doubt:
                    what = f"left out: {each.doubt}" if each.is_preview else f"{each.doubt}: is it a video?"
                    problems.append(Problem("warning", f"{entry.name}/{each.name}", what))
                if each.is_preview:
                    continue
                if each.kind == PLAIN_FOLDER and (deeper := first_within(each.path, videos, problems)):
                    choice = f", or {choice_of_frames(deeper)}" if is_frame(deeper) else ""
                    what = f"holds no frames or video itself, but {deeper}: {LAYOUT}{LABELS}{choice}{OTHERS}"
                    problems.append(Problem("failed", f"{entry.name}/{each.name}", what))
                elif each.kind in ("video", "frames"):
                    found.setdefault((entry.name, each.name), []).append(each.path)
                    if each.kind == "video":
                        files[entry.name] += 1
                    else:
                        folders.setdefault(entry.name, []).append(each.name)
                else:
                    ignored[each.kind] += 1
    if loose:
        raise DataError(
            f"{videos} holds {some(loose, 'video')} outside class folders: {LAYOUT}; move each video into the folder "
            f"of its class, or name a label file with --labels{OTHERS}"
        )
    if not found and not problems:
        raise DataError(
            f"no videos in {videos}: {LAYOUT}; it holds {some([entry.name for entry in entries], 'name')}{OTHERS}"
        )
    previews = dict(previews_of_classes(videos, found, folders, files))
    problems += (Problem("warning", label, f"left out: {why}") for label, why in previews.items())
    kept = dict.fromkeys(label for label, _ in found if label not in previews and may_be_preview(label))
    problems += (Problem("warning", label, UNCERTAIN_CLASS) for label in kept)
    sources: list[Source] = []
    for (label, video_id), paths in found.items():
        if label in previews:
            continue
        if label != label.strip() or video_id != video_id.strip():
            problems.append(Problem("failed", str(paths[0].relative_to(videos)), SPACE))
        elif len(paths) == 1:
            sources.append(Source(paths[0], label, video_id, None, cut_times(None, video_id)))
        else:
            names = joined_names(paths, videos)
            why = f"{names} would become the same database: remove or rename all but one"
            problems.append(Problem("failed", f"{label}/{video_id}", why))
    taken = {(source.label, source.video_id) for source in sources}
    of_frames = {
        label: [f"{label}/{name}" for name in names if (label, name) in taken] for label, names in folders.items()
    }
    return Sources(sources, problems, ignored, note_on_folders(of_frames, files))


def previews_of_classes(
    videos: Path, found: Iterable[tuple[str, str]], folders: Mapping[str, Sequence[str]], files: Mapping[str, int]
) -> Iterator[tuple[str, str]]:
    """The classes that hold previews of the others, such as VIDEOS/thumbnails/<class>/<video>.jpg, and why."""
    classes = {label for label, _ in found}
    for label, names in folders.items():
        if label in files:
            continue
        is_named = is_preview(label)
        known = set(map(letters, classes - {label})) if is_named else classes - {label}
        # Classes and videos may both have plain numbers.
        are_classes = (is_named or not all(map(str.isdecimal, names))) and 2 * sum(
            (letters(name) if is_named else name) in known for name in names
        ) > len(names)
        if is_named and are_classes:
            yield label, "by its name and those of its folders it holds previews of the classes; rename it if it is one"
        elif is_named or are_classes:
            pictures = [entry.name for name in names for entry in entries_of(videos / label / name, videos, [])]
            after = named_after(label, pictures, {video_id for other, video_id in found if other != label})
            if after.video and (after.is_sure or is_named):
                yield label, f"its pictures are named after videos of other classes, such as {after.video}"


def note_on_folders(folders: Mapping[str, Sequence[str]], files: Mapping[str, int]) -> list[str]:
    """A line on frame folders that are the fewer in their class: they may be no videos.

    `folders` are the paths of those of each class, `files` the numbers of video files.
    """
    few = [path for label, paths in folders.items() if len(paths) <= files.get(label, 0) for path in paths]
    if not few:
        return []
    where = f"in classes that otherwise hold video files {'was' if len(few) == 1 else 'were'}"
    what = "a video" if len(few) == 1 else "videos"
    return [f"{counted(len(few), 'folder')} of frames {where} taken as {what}: {first_names(few)}"]


def links_out(found: Sequence[Source], videos: Path) -> str:
    """A note that counts the videos which lie outside of `videos`, reached through links; empty if there are none."""
    root = os.path.realpath(videos)

    @cache
    def inside(path: Path) -> bool:
        return Path(os.path.realpath(path)).is_relative_to(root)

    out = []
    for path in dict.fromkeys(video.path for video in found):
        if not inside(path.parent) or (path.is_symlink() and not inside(path)):
            out.append(path)
    if not out:
        return ""
    example = f"{out[0]} is {os.path.realpath(out[0])}"
    return f"{counted(len(out), 'video')} reached through links out of {videos}, such as {example}"
