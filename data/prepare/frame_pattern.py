"""The pattern of the flag --frames, which chooses one of several series of pictures as the frames of each video.

`img_*.jpg` names files in the video's folder, `rgb/*.png` files in a folder of that. The case of letters does not
matter, as it does not for the order of frames.
"""

import os
from collections.abc import Sequence
from fnmatch import fnmatchcase
from glob import escape
from pathlib import Path

from data.labels.text import first_names
from data.prepare.file_names import is_frame, is_hidden_folder
from data.store.video_file import VideoError


def check_pattern(text: str) -> str:
    """The pattern, or ValueError if it can name no file below a folder."""
    parts = text.split("/")
    if not all(part.strip() for part in parts) or not {".", "..", "**"}.isdisjoint(parts):
        raise ValueError(f"{text!r} is not a pattern of file names such as img_*.jpg, or rgb/*.jpg in a folder rgb")
    return text


def matches(name: str, pattern: str) -> bool:
    """Whether a file's name is among those that the last part of the pattern names; all are by an empty pattern."""
    return not pattern or fnmatchcase(name.casefold(), pattern.casefold().rpartition("/")[2])


def place_of_frames(folder: Path, pattern: str) -> Path:
    """The folder in which the pattern finds the frames of the video in `folder`, which it is without a slash.

    VideoError if no folder below has any, or several have. OSError.
    """
    if "/" not in pattern:
        return folder
    places = _places(folder, pattern)
    if len(places) != 1:
        found = first_names([str(place.relative_to(folder)) for place in places])
        what = f"has frames in several folders: {found}" if places else "has no frames"
        raise VideoError(f"{what} (--frames {pattern})")
    return places[0]


def has_frames(folder: Path, pattern: str) -> bool:
    """Whether a pattern with a slash finds frames in folders of `folder`; those that cannot be read have none."""
    try:
        return "/" in pattern and _places(folder, pattern) != []
    except OSError:
        return False


def pattern_for(names: Sequence[str], others: Sequence[str]) -> str:
    """A pattern for files that differ in a number, which does not match `others`; empty if there is no simple one."""
    start = escape(os.path.commonprefix(names).rstrip("0123456789"))
    end = escape(os.path.splitext(names[0])[1])  # noqa: PTH122 (a name)
    patterns = (f"{start}*{end}", f"{start}[0-9]*{end}")
    return next((each for each in patterns if not any(matches(other, each) for other in others)), "")


def _places(folder: Path, pattern: str) -> list[Path]:
    places = [folder]
    for part in pattern.split("/")[:-1]:
        places = [
            inner
            for place in places
            for inner in sorted(place.iterdir())
            if matches(inner.name, part) and not is_hidden_folder(inner.name) and inner.is_dir()
        ]
    return [
        place
        for place in places
        if any(is_frame(each.name) and matches(each.name, pattern) for each in place.iterdir())
    ]
