"""Finds the frames of a video in a folder of pictures: which files they are, in which order, and what is missing."""

import os
import re
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from common.files import inode_of
from data.labels.text import counted, first_names
from data.prepare.file_names import is_frame, is_hidden_folder, is_picture, is_video
from data.prepare.frame_pattern import matches, place_of_frames
from data.prepare.numbered_names import UNNAMED, Name, continues, gap_in, in_order, series_of, several, split
from data.store.video_file import VideoError

NO_SUFFIX = re.compile(r"|\.[0-9]+")  # of a name such as img.0001
DEEPER = "move the videos one level below their class, or remove what is no frame"
LATER = 3600  # seconds between two extractions into one folder
MOST_FALLS = 2  # of the times, in a folder with the rests of earlier extractions; other orders mean something else
STARTS = re.compile(rb"\xff\xd8\xff|\x89PNG|GIF8|II\*\0|MM\0\*|RIFF....WEBP", re.DOTALL)  # of pictures


class Frames(NamedTuple):
    """The pictures of a video in order, and what to warn of: pictures that are no frames, and missing frames."""

    files: list[Path]
    left_out: list[str]
    gaps: list[str]


def find_frames(folder: Path, keep_partial: bool = False, pattern: str = "") -> Frames:
    """The pictures of one numbered series, in the order of their numbers: frame_2.jpg before frame_10.jpg.

    A single file of another name, such as thumbnail.jpg, and the pictures in folders of the folder are left out with a
    warning. So are videos in these folders, but if there are as many videos as frames, these may be their posters:
    VideoError, as for several series, also of pictures without a suffix, a number that comes twice, names without
    numbers, and numbers that are missing or lie in such a folder; `keep_partial` closes these gaps with a warning.

    A `pattern` (see frame_pattern) chooses the series, and may name a folder in which it is. What it leaves out is only
    named if it belongs to the series. VideoError if it finds nothing. OSError if the folder cannot be read.
    """
    place = place_of_frames(folder, pattern)
    entries = sorted(place.iterdir())
    others = [path for path in entries if not is_picture(path.name) and not is_hidden_folder(path.name)]
    every = [split(path) for path in entries if is_picture(path.name)]
    every += [split(path, UNNAMED) for path in others if begins_as_picture(path)]
    frames, odd = _choose([name for name in every if matches(name.path.name, pattern)], every, pattern)
    left_out = [f"left out {' and '.join(odd)}: not of the series of {frames[0].path.name}"] if odd else []
    if pattern and (more := _unmatched(frames, every, pattern)):
        left_out.append(f"left out {more}, and perhaps others of the series, which --frames {pattern} does not match")
    gaps: list[str] = []
    if len(frames) == 1:
        left_out.append(f"has one frame: {frames[0].path.name} is the only picture of its series; is it a video?")
    videos: list[str] = []
    seen: set[tuple[int, int] | None] = set()
    for inner in (path for path in others if path.is_dir()):
        seen = seen or {inode_of(each) for each in (place, *place.resolve().parents)}
        within, more = _pictures_within(inner, frames[0].texts[-1], seen, videos), ""
        if within and (first := continues(frames, within)):
            more = f", such as {first}, which seem to be frames of the same series"
            if not keep_partial:
                remedy = "move them to the others, or out of this folder (--keep-partial leaves them out)"
                raise VideoError(f"holds {counted(len(within), 'picture')} in the folder {inner.name}{more}: {remedy}")
        if within and (more or not pattern):
            what = f"left out {counted(len(within), 'picture')} in the folder {inner.name}{more}"
            (gaps if more else left_out).append(what)
    if videos:
        what = f"{counted(len(videos), 'video')} in folders of this folder, such as {videos[0]}"
        if len(videos) >= len(frames):
            raise VideoError(f"holds {counted(len(frames), 'picture')}, and {what}: {DEEPER}")
        left_out.append(f"left out {what}")
    frames, numbers = in_order(frames)
    if numbers and (gap := gap_in(frames, numbers)):
        if not keep_partial:
            raise VideoError(f"{gap}; --keep-partial closes the gap")
        gaps.append(f"{gap}: closed up")
    return Frames([name.path for name in frames], left_out, gaps)


def _choose(names: Sequence[Name], every: Sequence[Name], pattern: str) -> tuple[list[Name], list[str]]:
    """The one series among `names`, those of `every` picture that the pattern matches, and the odd files beside it."""
    series = sorted(series_of(names), key=len, reverse=True)
    if not series and every:
        held = first_names([name.path.name for name in every])
        raise VideoError(f"has no picture that --frames {pattern} matches, but {held}")
    if not series:
        raise VideoError("holds no frames")
    frames, odd = series[0], [each[0].path.name for each in series[1:]]
    if len(series) > 1 and (len(series[1]) > 1 or len(odd) >= len(frames)):
        raise VideoError(several(series))
    first = frames[0].path
    if frames[0].texts[-1] == UNNAMED:
        what = f"holds {len(frames)} pictures without a suffix such as .jpg, which are not read"
        raise VideoError(f"{what}: {first.name}...; rename them")
    if not is_frame(first.name):
        raise VideoError(f"holds {first.suffix[1:].upper()} frames, which are not read; write them as PNG or JPEG")
    return frames, odd


def _unmatched(frames: Sequence[Name], every: Sequence[Name], pattern: str) -> str:
    """The first picture that the pattern does not match though its number continues the series; empty if none."""
    rest = [name.of_kind("") for name in every if not matches(name.path.name, pattern)]
    return continues([name.of_kind("") for name in frames], rest) if rest else ""


def of_an_earlier_extraction(files: Sequence[Path]) -> str:
    """What to warn of files in the order of their numbers, the last of which are older by hours than all before them.

    A shorter extraction into the same folder leaves the rest of a longer one behind it. Files that are copied or
    downloaded come in any order within seconds, or later in the order of their numbers.
    """
    try:
        times = [path.stat().st_mtime for path in files]
    except OSError:  # reading them says why
        return ""
    oldest = list(accumulate(times, min))
    newest = list(accumulate(reversed(times), max))[::-1]
    falls = [place for place in range(1, len(times)) if oldest[place - 1] - newest[place] > LATER]
    if not 0 < len(falls) <= MOST_FALLS:
        return ""
    place = falls[0]
    hours = (oldest[place - 1] - newest[place]) / 3600
    by = f"{hours / 24:.0f} days" if hours >= 48 else f"{hours:.0f} hours" if hours >= 1.5 else "an hour"
    more = len(times) - place
    which = f"frame, {files[place].name}, is" if more == 1 else f"{more} frames, from {files[place].name} on, are"
    what = f"the last {which} older by {by} than all before"
    return f"{what}: left behind by an earlier, longer extraction into this folder?"


def begins_as_picture(path: Path) -> bool:
    """Whether a file begins as a picture; not if it cannot be read."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return STARTS.match(file.read(12)) is not None
    except OSError:  # a file without the name of a picture need not be readable
        return False


def _pictures_within(folder: Path, kind: str, seen: set[tuple[int, int] | None], videos: list[str]) -> list[Name]:
    """The pictures in a folder and in all below it, also through links; the names of videos are added to `videos`.

    Those without a suffix are taken to be of the `kind`. Folders that were `seen` are not looked into. OSError if one
    cannot be listed.
    """

    def fail(error: OSError) -> None:
        raise error

    found: list[Name] = []
    for place, folders, files in os.walk(folder, onerror=fail, followlinks=True):
        identity = inode_of(Path(place))
        if identity in seen:
            folders.clear()
            continue
        seen.add(identity)
        folders[:] = sorted(name for name in folders if not is_hidden_folder(name))
        paths = [Path(place, name) for name in sorted(files) if name[0] != "."]
        videos += [str(path.relative_to(folder.parent)) for path in paths if is_video(path.name)]
        found += [split(path) for path in paths if is_picture(path.name)]
        bare = [path for path in paths if NO_SUFFIX.fullmatch(path.suffix) and begins_as_picture(path)]
        found += [split(path, UNNAMED).of_kind(kind) for path in bare]
    return sorted(found)
