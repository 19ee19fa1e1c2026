"""What a folder holds: video files, folders of frames, folders of other folders, and what is no video."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from common.errors import DataError
from common.files import inode_of, reason
from data.labels.text import some
from data.prepare.file_names import is_frame, is_hidden_folder, is_other_image, is_picture, is_video, suffix
from data.prepare.frame_folder import begins_as_picture
from data.prepare.frame_pattern import has_frames
from data.prepare.pictures import is_animated_webp
from data.prepare.previews import is_preview, may_be_preview, named_after
from data.prepare.report import Problem
from data.store.folder_entries import LOST, is_evaluation, is_folder, is_lost
from data.store.own_films import films_among

LAYOUT = "expected VIDEOS/<class>/<video file> or VIDEOS/<class>/<video>/<frame>.jpg"
LABELS = ", or name a label file with --labels"
OTHERS = "; python -m data.prepare.folder takes other layouts"
PLAIN_FOLDER = "folders without frames"
OF_EVALUATION = "the folder of an evaluation, whose pictures are no frames"
UNREAD = "the folder cannot be read"
PICTURES = "frames, not converted: only JPEG, PNG, BMP and WebP frames are read; write them as PNG or JPEG"

ANIMATED_WEBP = "animated WebP"
WEBP_REMEDY = "an animated WebP picture, which is not read; write it as MP4 or GIF"
HIDDEN = "hidden (names that begin with a dot, folders of systems such as @eaDir)"  # unfinished or deleted files


class Found(NamedTuple):
    """Something in a folder. `kind` is "video", "frames", "pictures" or a kind of what is ignored."""

    path: Path
    kind: str
    name: str  # of a video, its id
    problem: str = ""
    doubt: str = ""  # why it may be no video
    is_preview: bool = False  # it is taken for a video only if a label row names it


def contents(folder: Path, videos: Path, problems: list[Problem], pattern: str) -> Iterator[Found]:
    """What a folder holds. Folders that cannot be read are added to `problems`."""
    entries = entries_of(folder, videos, problems)
    folders = {entry.name for entry in entries if is_folder(entry)}
    files = [entry.name for entry in entries if entry.name not in folders and is_video(entry.name)]
    beside = {Path(name).stem for name in files} if folders else set()
    films = films_among(folder, files, folders)
    for entry in entries:
        path = Path(entry.path)
        if is_hidden(entry):
            yield Found(path, HIDDEN, entry.name)
        elif is_folder(entry):
            if has_frames(path, pattern):
                yield Found(path, "frames", entry.name)
            elif found := _folder_found(path, beside, folders, videos, problems):
                yield found
        elif is_video(entry.name):
            maker = films.get(entry.name)
            yield Found(path, "video", path.stem, "", f"a film of {maker}" if maker else "", bool(maker))
        elif is_lost(entry):
            problems.append(Problem("failed", str(path.relative_to(videos)), LOST))
        elif suffix(entry.name) == ".webp" and is_animated_webp(path):
            is_video_preview = any(is_video(each.name) and Path(each.name).stem == path.stem for each in entries)
            yield Found(path, ANIMATED_WEBP, entry.name, "" if is_video_preview else WEBP_REMEDY)
        else:
            yield Found(path, kind_of(entry), entry.name)


def _folder_found(
    path: Path, beside: set[str], folders: set[str], videos: Path, problems: list[Problem]
) -> Found | None:
    """What a folder without frames of the pattern is; None if it cannot be read, which is one of the problems."""
    entries = _entries(path, videos, problems)
    if entries is None:
        return None
    names = [entry.name for entry in entries if not (is_picture(entry.name) and is_folder(entry))]
    if is_evaluation(names):
        return Found(path, "frames", path.name, "", OF_EVALUATION, True)
    inside = [name for name in names if is_video(name)]
    if inside:
        deeper = f"a folder of {some(inside, 'video')}, not converted: {LAYOUT}{LABELS}{OTHERS}"
        return Found(path, PLAIN_FOLDER, path.name, deeper)
    if any(is_frame(name) for name in names):
        return Found(path, "frames", path.name, "", *_doubt(path.name, names, beside, folders))
    bare = next((entry for entry in entries if not suffix(entry.name) and not is_folder(entry)), None)
    if bare is not None and begins_as_picture(Path(bare.path)):  # its conversion says what to do
        return Found(path, "frames", path.name)
    pictures = [name for name in names if is_other_image(name)]
    if pictures:
        kind = Path(pictures[0]).suffix[1:].upper()
        return Found(path, "pictures", path.name, f"{len(pictures)} {kind} {PICTURES}")
    return Found(path, PLAIN_FOLDER, path.name)


def _doubt(name: str, names: Sequence[str], videos: set[str], folders: set[str]) -> tuple[str, bool]:
    """Why a folder that holds `names` may be of previews of the videos beside it, and whether that is sure enough.

    Without video files, the folders beside it are the videos; only a folder with such a name is compared with them.
    """
    is_named = is_preview(name)
    if videos and is_named:
        return "by its name it holds previews of the videos beside it; rename it if it is a video", True
    if not videos:
        if not (may_be_preview(name) and len(folders) > 1):
            return "", False
        videos = folders - {name}
    after = named_after(name, names, videos)
    if not after.video:
        return "", False
    return f"its pictures are named after videos beside it, such as {after.video}", after.is_sure or is_named


def choice_of_frames(deeper: str) -> str:
    """The flag that takes a picture in a folder of the video's folder, and those beside it, for the frames."""
    return f"--frames '{Path(deeper).parent}/*{Path(deeper).suffix}'"


def first_within(folder: Path, videos: Path, problems: list[Problem]) -> str:
    """The first picture or video in the folders of a folder, at any depth; empty if there is none."""
    seen = {inode_of(place) for place in (folder, *folder.resolve().parents)}
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        for entry in reversed(entries_of(place, videos, problems)):
            if is_folder(entry):
                if not is_hidden_folder(entry.name) and (identity := inode_of(Path(entry.path))) not in seen:
                    seen.add(identity)
                    waiting.append(Path(entry.path))
            elif place != folder and entry.name[0] != "." and (is_video(entry.name) or is_picture(entry.name)):
                return str(Path(entry.path).relative_to(folder))
    return ""


def everything_under(videos: Path, out: Path, problems: list[Problem], pattern: str) -> Iterator[Found]:
    """What `videos` and all folders under it that hold no frames hold; a folder linked twice comes once."""
    seen = {inode_of(out / "jpg")}
    waiting, links = [videos], list[Path]()
    while waiting or links:
        # A link comes after all folders: else what is in one would seem to lie in the class folder of the link.
        folder = waiting.pop() if waiting else links.pop(0)
        identity = inode_of(folder)
        if identity in seen:
            continue
        seen.add(identity)
        found = list(contents(folder, videos, problems, pattern))
        yield from found
        inner = [each.path for each in found if each.kind == PLAIN_FOLDER]
        links += [path for path in inner if path.is_symlink()]
        waiting += [path for path in reversed(inner) if not path.is_symlink()]


def entries_of(folder: Path, videos: Path, problems: list[Problem]) -> Sequence[os.DirEntry[str]]:
    """The entries of a folder by name. DataError if `videos` cannot be read; other folders become a problem."""
    return _entries(folder, videos, problems) or []


def _entries(folder: Path, videos: Path, problems: list[Problem]) -> Sequence[os.DirEntry[str]] | None:
    """As `entries_of`, but None if the folder cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        if folder == videos:
            raise DataError(f"{folder}: {reason(error)}; give the folder that holds the videos") from error
        problem = Problem("failed", str(folder.relative_to(videos)), f"{UNREAD} ({reason(error)})")
        if problem not in problems:
            problems.append(problem)
        return None


def is_hidden(entry: os.DirEntry[str]) -> bool:
    """Whether it would be a class or a video, but for the dot before its name, or is of a system."""
    if is_folder(entry):
        return is_hidden_folder(entry.name)
    return entry.name.startswith(".") and is_video(entry.name)


def kind_of(entry: os.DirEntry[str]) -> str:
    """What a file that is no video counts as: its suffix, or its name."""
    return Path(entry.name).suffix.lower() or entry.name


def joined_names(paths: Iterable[Path], videos: Path) -> str:
    """The paths below `videos`, for a message."""
    return " and ".join(str(path.relative_to(videos)) for path in sorted(paths))
