"""The data passport: what the videos of a split are, as plain types for JSON and as lines for the log."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from common.files import changed_at
from common.logs import LOG
from data.labels.class_folders import in_threads
from data.labels.clip_length import cut_times, is_too_long, length_problem, seconds_of_clip
from data.labels.clip_times import times_problem
from data.labels.label_counts import kind_of
from data.labels.label_row import LabelRow
from data.labels.other_video import other_file, other_video
from data.labels.text import counted
from data.labels.video_list import VideoList
from data.store.cut_tag import made_from
from data.store.frame_store import FrameStore
from data.store.jpeg import jpeg_size
from data.store.jpeg_quality import jpeg_quality
from data.store.origin import Origin, read_origin
from data.store.video_source import VideoPart, VideoSourceError

UNKNOWN = "unknown"
MOST_KINDS = 8  # sizes, rates and qualities that are named one by one
OTHERS = "others"
SHOWN = 3  # of them in a line


class _Look(NamedTuple):
    """What a sampled video is; `problem` if it cannot be read."""

    size: str = ""  # width x height of the frame in its middle
    rate: float | None = None  # frames a second
    quality: str = UNKNOWN  # of that frame; empty if it is of no JPEG
    problem: str = ""
    other: str = ""  # what its database or file is of, if that is clearly another video
    long: str = ""  # how a clip is longer than its name says
    times: str = ""  # of which other part of its video than its label row says a database is
    squeezed: str = ""  # how the pixels of a file are not square


def passport_of(videos: VideoList, split: str) -> dict[str, Any]:
    """What the videos of a split are, as plain types.

    The arrays of `videos` tell most; sizes, rates and JPEG qualities are those of at most VideoList.SAMPLED videos, of
    which one frame each is read. A video that cannot be read is counted and raises nothing. docs/evaluation-files.md
    describes the entries.
    """
    counts = videos.counts
    frames = videos.frame_counts
    places = [videos.place(index) for index in videos.sample()]
    looks = list(in_threads("samples", _look, list(zip_longest(places, videos.sampled_rows))))
    readable = [look for look in looks if not look.problem]
    rates = [look.rate for look in readable if look.rate is not None]
    others = {
        "of_other_videos": [look.other for look in readable if look.other],
        "longer_than_named": [look.long for look in readable if look.long],
        "of_other_times": [look.times for look in readable if look.times],
        "not_square": [look.squeezed for look in readable if look.squeezed],
    }
    return {
        "split": split,
        "source": videos.source,
        "labelled_videos": None if counts is None else counts.named,
        "videos": len(videos),
        "absent": None if counts is None else counts.absent,
        "unusable": None if counts is None else sum(number for _, number in counts.unusable),
        "unusable_reasons": {} if counts is None else dict(counts.unusable),
        "ids": _digest_of_ids(videos),
        "classes": len(videos.classes),
        "classes_with_videos": int(np.count_nonzero(np.bincount(videos.labels, minlength=len(videos.classes)))),
        "frames": {
            "min": int(frames.min(initial=np.iinfo(np.int32).max)) if len(frames) else 0,
            "median": float(np.median(frames)) if len(frames) else 0.0,
            "max": int(frames.max(initial=0)),
        },
        "sampled": len(looks),
        "unreadable": len(looks) - len(readable),
        "unreadable_reasons": dict(Counter(kind_of(look.problem) for look in looks if look.problem).most_common()),
        "sizes": _shares(look.size for look in readable),
        "rates": _shares(_rate(look.rate) for look in readable),
        "rate_range": [min(rates), max(rates)] if rates else None,
        "jpeg_qualities": _shares(look.quality for look in readable if look.quality),
        **{name: {"videos": len(each), "such_as": each[0]} for name, each in others.items() if each},
    }


def passport_lines(passport: Mapping[str, Any]) -> list[str]:
    """A passport for the log."""
    split, videos = passport["split"], passport["videos"]
    frames = passport["frames"]
    lines = [f"{split}: {_presence(passport)}, ids {passport['ids']}"]
    if videos:
        lengths = f"{frames['min']} to {frames['max']} frames, median {frames['median']:g}"
        lengths = counted(frames["min"], "frame") if frames["min"] == frames["max"] else lengths
        of_classes = f"{passport['classes_with_videos']} of {counted(passport['classes'], 'class')} with videos"
        lines.append(f"{split}: {lengths}; {of_classes}")
    if readable := passport["sampled"] - passport["unreadable"]:
        parts = [_shown(passport["sizes"], "{} pixels"), _shown_rates(passport)]
        if passport["jpeg_qualities"]:
            parts.append(_shown(passport["jpeg_qualities"], "JPEG quality {}"))
        lines.append(f"{split}: {'; '.join(parts)} (of {counted(readable, 'video')} looked at)")
    if passport["unreadable"]:
        reasons = _counted_reasons(passport["unreadable_reasons"])
        lines.append(
            f"{split}: {passport['unreadable']} of {passport['sampled']} videos looked at cannot be read ({reasons})"
        )
    return lines


def warning_of_others(passport: Mapping[str, Any]) -> list[str]:
    """Lines if some of the videos looked at are databases or files of other videos or classes than their names say.

    So are those of whole videos that are named as clips of them, of other times than those of their label rows, and
    files whose pixels are not square.
    """
    lines = []
    looked_at = counted(passport["sampled"], "video") + " looked at"
    if others := passport.get("of_other_videos"):
        kind, renamed, remedy = "database", "the folder renamed", "python -m data.prepare.verify lists all"
        if passport["source"] == "videos":
            kind, renamed = "file", "renamed"
            remedy = "The data.prepare.resize or data.prepare.folder that made the files lists all as `differs`"
        lines.append(
            f"{passport['split']}: {others['videos']} of {looked_at} have a {kind} of another video: "
            f"{others['such_as']}. Was it copied, or {renamed}? {remedy}"
        )
    if longer := passport.get("longer_than_named"):
        lines.append(
            f"{passport['split']}: {longer['videos']} of {looked_at} are longer than the times of the clip: "
            f"{longer['such_as']} python -m data.prepare.verify lists all"
        )
    if times := passport.get("of_other_times"):
        lines.append(
            f"{passport['split']}: {times['videos']} of {looked_at} hold other times of their video than the labels "
            f"say: {times['such_as']}. python -m data.prepare.verify lists all"
        )
    if squeezed := passport.get("not_square"):
        lines.append(
            f"{passport['split']}: {squeezed['videos']} of {looked_at} have pixels that are not square: "
            f"{squeezed['such_as']}"
        )
    return lines


def tell_passport(passport: Mapping[str, Any]) -> list[str]:
    """Log a passport; the lines that are warnings."""
    for line in passport_lines(passport):
        LOG.info("%s", line)
    warnings = warning_of_others(passport)
    for line in warnings:
        LOG.warning("%s", line)
    return warnings


def _presence(passport: Mapping[str, Any]) -> str:
    named = passport["labelled_videos"]
    kind = "video files" if passport["source"] == "videos" else "frame databases"
    if named is None:
        return f"{counted(passport['videos'], 'video')} ({kind})"
    missing = [f"{passport['absent']} not on disk"] if passport["absent"] else []
    if passport["unusable"]:
        missing.append(f"{passport['unusable']} cannot be used ({_counted_reasons(passport['unusable_reasons'])})")
    text = f"{passport['videos']} of {counted(named, 'labelled video')} ({kind})"
    return ", ".join([text, *missing])


def _counted_reasons(reasons: Mapping[str, int]) -> str:
    if len(reasons) == 1:
        return next(iter(reasons))
    shown = [f"{reason}: {number}" for reason, number in list(reasons.items())[:SHOWN]]
    more = sum(list(reasons.values())[SHOWN:])
    return ", ".join([*shown, *([f"other reasons: {more}"] if more else [])])


def _shown(shares: Mapping[str, float], form: str) -> str:
    """The most frequent kinds: "340x256 pixels (80 %), 320x240 (20 %)"."""
    first, *others = list(shares.items())[:SHOWN]
    if len(shares) == 1:
        return form.format(first[0])
    dots = ", ..." if len(shares) > SHOWN else ""
    rest = "".join(f", {kind} ({100 * share:.0f} %)" for kind, share in others)
    return f"{form.format(first[0])} ({100 * first[1]:.0f} %){rest}{dots}"


def _shown_rates(passport: Mapping[str, Any]) -> str:
    rates = passport["rates"]
    if rates.keys() == {UNKNOWN}:
        return "frame rate unknown"
    if len(rates) <= SHOWN:
        return _shown(rates, "{} frames/s")
    lowest, highest = passport["rate_range"]
    unknown = f" (unknown: {100 * rates[UNKNOWN]:.0f} %)" if UNKNOWN in rates else ""
    return f"{lowest:.4g} to {highest:.4g} frames/s{unknown}"


def _digest_of_ids(videos: VideoList) -> str:
    """A digest of which videos there are, by class and name.

    It depends neither on their order, nor on where they lie, nor on the class order; see VideoList.hashes.
    """
    hashes = np.sort(videos.hashes()).astype("<i8")
    return hashlib.blake2b(hashes.tobytes(), digest_size=16).hexdigest()


def _shares(kinds: Iterable[str]) -> dict[str, float]:
    """The share of each kind, the most frequent first."""
    counts = Counter(kinds)
    total = counts.total()
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shares = {kind: number / total for kind, number in ordered[:MOST_KINDS]}
    if others := sum(number for _, number in ordered[MOST_KINDS:]):
        shares[OTHERS] = others / total
    return shares


def _look(sampled: tuple[Path | VideoPart, LabelRow | None]) -> _Look:
    place, row = sampled
    return _look_at_file(place) if isinstance(place, VideoPart) else _look_at_frames(place, row)


def _look_at_frames(folder: Path, row: LabelRow | None) -> _Look:
    store = FrameStore(folder)
    try:
        with store:
            jpeg = store.jpeg(len(store) // 2)  # many videos begin and end with a title
            rate = store.rate()
            made, frames = _made(store), len(store)
            other = other_video(folder, store.video_id(), made)
    except VideoSourceError as error:
        return _Look(problem=_without_remedy(str(error), store.path))
    height, width = jpeg_size(jpeg)
    quality = jpeg_quality(jpeg)
    name = f"{folder.parent.name}/{folder.name}"
    return _Look(
        f"{width}x{height}",
        rate,
        UNKNOWN if quality is None else str(quality),
        other=other and f"{name} {other}",
        long=f"{name} {long}" if made is not None and (long := _longer_than_named(folder.name, made)) else "",
        times=f"{name} {times}" if made is not None and row and (times := times_problem(row, made, frames)) else "",
    )


def _made(store: FrameStore) -> Origin | None:
    """What a database was made from; a damaged note of it does not make the frames unreadable."""
    with suppress(VideoSourceError):
        return read_origin(Path(store.path))
    return None


def _longer_than_named(name: str, made: Origin) -> str:
    """How a clip that was cut beforehand is longer than its name says; empty if it is not, or the name says nothing."""
    seconds, cut = seconds_of_clip(name, made), cut_times(None, name)
    return length_problem(seconds, cut) if seconds is not None and cut and is_too_long(seconds, cut) else ""


def _look_at_file(part: VideoPart) -> _Look:
    from data.store.keyframe_index import FrameIndex  # loads FFmpeg, which databases do not need
    from data.store.video_container import VideoError

    try:
        status = os.stat(part.path)  # noqa: PTH116 (as a text)
    except OSError as error:
        return _Look(problem=f"cannot be opened ({error.strerror})")
    if (status.st_size, changed_at(status)) != (part.size, part.mtime):
        return _Look(problem="has changed since it was indexed")
    try:
        index = FrameIndex.unpack(part.packed, part.size)
    except VideoError as error:
        return _Look(problem=str(error))
    height, width = index.size
    other, squeezed = _of_header(Path(part.path))
    return _Look(f"{width}x{height}", index.rate(part.first, part.frames), "", other=other, squeezed=squeezed)


def _of_header(path: Path) -> tuple[str, str]:
    """What a file is of if its tag says that it is clearly of another video, and how its pixels are not square."""
    from data.store.video_container import VideoError, open_video
    from data.store.video_pixels import squeeze

    name, other, squeezed = f"{path.parent.name}/{path.name}", "", ""
    with suppress(VideoError, OSError), open_video(path) as (container, stream):
        squeezed = squeeze(stream)
        made = made_from(container.metadata.get("comment", ""))
        other = other_file(path, made) if made is not None else ""
    return other and f"{name} {other}", squeezed and f"{name}, {squeezed}"


def _without_remedy(message: str, path: str) -> str:
    """A reader's message without the path, which each video has another of, and without what to do about it."""
    return message.replace(path, "").partition("; ")[0].strip(" :")


def _rate(rate: float | None) -> str:
    return UNKNOWN if rate is None else f"{rate:.4g}"
