"""The ids of videos, which name their folders: different for each, valid, and the same when videos are added."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from common.text import printable
from data.labels.label_row import clip_name, clip_name_in_milliseconds, frames_name
from data.labels.made_from import stem as without_suffix
from data.prepare.folder_layout import Video
from data.prepare.report import as_listed
from data.store.video_suffixes import SUFFIXES, is_video, suffix

Key = tuple[str, str, str]  # class, path below VIDEOS, times: what tells a video of a dataset from the others
EDGES = re.compile(r"^\s+|\s+$|[\x00-\x1f\x7f-\x9f\u2028\u2029]")
LONGEST_ID = 220  # bytes: in videos/, a suffix follows, and while it is written, a file has a longer name
LEVELS = 5  # of names, from the shortest on


def key_of(video: Video, videos: Path) -> Key:
    """What tells a video from all others of the dataset, as a list has it."""
    return video.label, listed(video.path.relative_to(videos).as_posix()), part_of(video)


def listed(text: str) -> str:
    """A path as the list of names has it: escapes for what is not UTF-8 and what a reader would strip or break."""
    return EDGES.sub(lambda match: "".join(f"\\x{ord(each):02x}" for each in match[0]), as_listed(text))


def part_of(video: Video) -> str:
    """The times or frames of a part of a video, as a list has them; empty for a whole one."""
    return part_text(video.span, video.frames)


def part_text(span: tuple[float, float] | None, frames: tuple[int, int] | None) -> str:
    """Seconds from and to, or the first frame and one after the last, as a list has them; empty for a whole video."""
    if frames:
        return f"frames {frames[0]}-{frames[1]}"
    return f"{span[0]!r}-{span[1]!r} s" if span else ""


def ids_of(
    videos: Sequence[Video], keys: Sequence[Key], known: Mapping[Key, str], fold: Callable[[str], str] = str
) -> list[str]:
    """The id of each video. One that has an id in `known` keeps it; of the others, those that would share one do not.

    Their names get milliseconds, then the folders in which they lie, then the suffix, then a digest of the path. So
    names do not change when other videos are added later, and a new video has the name that it has in a new dataset,
    unless an older one has that. Names that `fold` makes equal count as one: the disk does not tell them apart.
    """
    ids = [known.get(key, "") for key in keys]
    if fold is not str:  # older versions gave such ids
        places = [(fold(video.label), fold(name)) for video, name in zip(videos, ids, strict=True)]
        first = {place: number for number, place in reversed(list(enumerate(places)))}
        ids = [
            name if first[place] == number else "" for number, (name, place) in enumerate(zip(ids, places, strict=True))
        ]
    # A label file's row clip.mp4 may mean clip: older versions gave such ids.
    taken = {
        (fold(video.label), fold(each))
        for video, name in zip(videos, ids, strict=True)
        if name
        for each in (name, without_suffix(name))
    }
    levels = dict.fromkeys(range(len(ids)), 0)
    _lengthen(videos, keys, levels, set(), fold)
    new = {place: level for place, level in levels.items() if not ids[place]}
    for place, name in _lengthen(videos, keys, new, taken, fold).items():
        ids[place] = name
    return ids


def unreadable(known: Mapping[Key, tuple[str, str]], in_any_split: bool) -> set[Key]:
    """The videos whose ids, as older versions gave them, are not told from another's in a label file.

    `known` has the id and split of each. Of clip and clip.mp4 in one split it is the second; `in_any_split`, also if
    they are in two.
    """
    sharing: defaultdict[tuple[str, ...], list[Key]] = defaultdict(list)
    for key, (name, split) in known.items():
        sharing[key[0], without_suffix(name), "" if in_any_split else split].append(key)
    return {key for keys in sharing.values() if len(keys) > 1 for key in keys if is_video(known[key][0])}


def _lengthen(
    videos: Sequence[Video],
    keys: Sequence[Key],
    levels: dict[int, int],
    taken: Collection[tuple[str, str]],
    fold: Callable[[str], str],
) -> dict[int, str]:
    """The names of the videos at the places that have a level, which rises until names are not shared or `taken`."""
    names = {place: _name(videos[place], keys[place], level) for place, level in levels.items()}
    while True:
        sharing: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        for place, name in names.items():
            sharing[fold(videos[place].label), fold(name)].append(place)
        moved = False
        for pair, places in sharing.items():
            if len(places) == 1 and pair not in taken:
                continue
            for place in places:
                if levels[place] < LEVELS - 1:
                    levels[place] += 1
                    names[place] = _name(videos[place], keys[place], levels[place])
                    moved = True
        if not moved:
            return names


def _name(video: Video, key: Key, level: int) -> str:
    """The name of a video: its own, with milliseconds, its folders, its suffix, a digest of class, path and times."""
    stem, times = video.name, ""
    if video.span and stem.endswith(times := clip_name("", *video.span)):
        stem = stem.removesuffix(times)
        times = clip_name_in_milliseconds("", *video.span) if level >= 1 else times
    elif video.frames and stem.endswith(times := frames_name("", video.frames)):
        stem = stem.removesuffix(times)
    else:
        times = ""
    if level >= 2:
        stem = "_".join((*video.above, *video.folders, stem))
    if level >= 3 and suffix(video.path.name) in SUFFIXES:  # a folder of frames may be take.0
        stem = f"{stem}_{video.path.suffix[1:]}"
    if level >= 4:
        stem = f"{stem}_{_digest(key)}"
    return _valid(stem + times, key)


def _valid(name: str, key: Key) -> str:
    """The name as that of a folder: without what a label file does not keep, and of at most 220 bytes.

    A suffix of videos is not kept either: the id in a row clip.mp4 is clip.
    """
    valid = printable(as_listed(name))
    valid = re.sub(r"[\\/]", "%", valid) if valid != name else valid
    valid = valid.strip().lstrip(".").strip() or f"video_{_digest(key)}"
    if is_video(valid):
        valid = "_".join(valid.rsplit(".", 1))
    encoded = valid.encode()
    if len(encoded) <= LONGEST_ID:
        return valid
    return encoded[: LONGEST_ID - 9].decode(errors="ignore").strip() + "_" + _digest(key)


def _digest(key: Key) -> str:
    return hashlib.blake2b("\0".join(key).encode(), digest_size=4).hexdigest()
