"""Whether a database or a video file is of another video than its name says: it was copied there, or renamed."""

import os
import re
from pathlib import Path

from common.text import quoted
from data.labels.text import canonical_name, is_youtube_name, letters
from data.store.cut_tag import MadeFrom
from data.store.frame_store import DATABASE
from data.store.origin import Origin

TIMES = re.compile(r"_\d+_\d+$")


def has_other_name(folder: Path, video_id: str) -> bool:
    """Whether the frames are of another video than the folder's name says; names may differ in a suffix.

    `video_id` is the name that the database gives; empty if it gives none.
    """
    if not video_id:
        return False
    stem = Path(video_id).stem
    return not any(video_id in (name, Path(name).stem) or stem == name for name in _names(folder))


def has_clearly_other_name(folder: Path, video_id: str) -> bool:
    """As `has_other_name`; the names may also differ in times, punctuation, case or a `v_` before them.

    Folders that were renamed in such a way are common, and hold the right frames.
    """
    return has_other_name(folder, video_id) and _core(video_id) not in map(_core, _names(folder))


def other_class(folder: Path, made: Origin) -> str:
    """The class of the dataset from whose folder the video's file was taken, if it is another; else empty.

    001.mp4 may be in each class. Clips, and videos named by YouTube, are taken from wherever they lie.
    """
    if made.start is not None or is_youtube_name(Path(made.source).stem):
        return ""
    classes = [os.fsencode(place.name).decode(errors="replace") for place in Path(made.source).parents if place.name]
    own = {_spelling(place.parent.name) for place in (folder, Path(os.path.realpath(folder)))}
    if any(_spelling(name) in own for name in classes):
        return ""
    return next((name for name in classes if (folder.parent.parent / name).is_dir()), "")


def other_video(folder: Path, video_id: str, made: Origin | None) -> str:
    """What the database of a video is of if it is clearly of another video or class, for a message; else empty.

    Another class counts only if it has a video of the same name, too: else the labels may have corrected the class.
    """
    if has_clearly_other_name(folder, video_id):
        return f"holds frames of {quoted(video_id)}"
    name = other_class(folder, made) if made is not None else ""
    if made is not None and name and (folder.parent.parent / name / folder.name).is_dir():
        return f"was made from {quoted(made.source)}"
    return ""


def other_file(path: Path, made: MadeFrom) -> str:
    """As `other_video`, of a file that data.prepare.resize made.

    Files are renamed and moved more often than databases: it counts only if the dataset has the video that the tag
    names, too, under its own name.
    """
    own = [(_spelling(place.parent.name), _core(place.stem)) for place in map(_decoded, (path, path.resolve()))]
    label, _, name = made.video.rpartition("/")
    if not made.video:  # the source's own name, of which an id may have been made, as of those of its folders
        label, name = made.source.partition("/")[0], Path(made.source).stem
        is_longer = any(_core(name) in each and (each != _core(name) or _spelling(label) == of) for of, each in own)
        if made.is_part or is_youtube_name(name) or is_longer:
            return ""
    if not label or (_spelling(label), _core(name)) in own:
        return ""
    there = path.parent.parent / label / f"{name}.mp4"
    return f"was made from {quoted(made.source)}" if there.is_file() and not there.samefile(path) else ""


def _decoded(path: Path) -> Path:
    return Path(os.fsencode(path).decode(errors="replace"))


def _names(folder: Path) -> list[str]:
    """The folder's name, and that of the folder in which its database lies, if either is a link."""
    target = Path(os.path.realpath(folder / DATABASE)).parent
    return [os.fsencode(place.name).decode(errors="replace") for place in (folder, target)]


def _core(name: str) -> str:
    return letters(TIMES.sub("", Path(name).stem).removeprefix("v_")) or name


def _spelling(name: str) -> str:
    return canonical_name(name).casefold()
