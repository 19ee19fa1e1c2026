"""Whether the frames of a clip are those of the times that its label row, or its name, says."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from data.labels.label_row import (
    LabelRow,
    clip_name,
    clip_name_in_milliseconds,
    describe_clip,
    format_seconds,
    frames_name,
)
from data.labels.made_from import AGAIN, source_problem
from data.labels.text import is_youtube_name
from data.store.origin import Origin
from data.store.video_file import Span

# As clip_name writes them, and the downloaders of Kinetics. Other names may have numbers of frames.
NAMED = re.compile(r".+_([0-9]{6})_([0-9]{6})")
OFF_SECONDS, OFF_PART = 1.0, 0.1  # a clip may be longer or shorter by the larger of both

MOST = 0.5  # seconds of a frame: a clip that was cut short has few frames for its times
SHORT = "shorter than their times"


def clip_problems(name: str, rows: Sequence[LabelRow], made: Origin, frames: int) -> Iterator[tuple[str, str]]:
    """What differs in the database of a video folder `name` from its label rows, as (kind, reason).

    Clips that are too long, as a whole video is, may hold what is not of their class. SHORT ones are no problem.
    """
    for why in dict.fromkeys(times_problem(row, made, frames) for row in rows):
        if why:
            yield "other times", why
    for why in dict.fromkeys(source_problem(row, made) for row in rows):
        if why:
            yield "other file", why
    if made.start is not None or made.frames or made.seconds is None or Path(made.source).stem != name:
        return
    cuts = [cut_times(row, name) for row in rows] or [cut_times(None, name)]
    for cut in dict.fromkeys(cuts):
        if cut and (why := length_problem(made.seconds, cut)):
            yield "other length" if made.seconds > cut.end - cut.start else SHORT, why


def times_problem(row: LabelRow, made: Origin, frames: int) -> str:
    """How the part of a video that a database of `frames` frames holds differs from its row; empty if it does not.

    Times that differ by less than the duration of a frame are the same: they may have been rounded.
    """
    source = Path(made.source)
    names = {source.name.removeprefix("v_"), source.stem.removeprefix("v_"), source.stem}  # a folder has no suffix
    if row.frames or made.frames:
        return _frames_problem(row, made, names)
    if made.start is None or made.end is None:
        # A clip that was cut beforehand has a longer name.
        if row.time_start is None or row.time_end is None or row.youtube_id not in names:
            return ""
        return f"holds the whole of {made.source}, the labels say {_times(row.time_start, row.time_end)}; {AGAIN}"
    if row.time_start is None or row.time_end is None:
        name_with = (clip_name, clip_name_in_milliseconds)
        # data.prepare.folder may put folders before the name.
        if any(row.video_id.endswith(of("", made.start, made.end)) for of in name_with):
            return ""
        held = f"holds {_times(made.start, made.end)} of {made.source}"
        return f"{held}, the labels have no times; give the row its times, or delete this folder and convert again"
    frame = min(MOST, (made.end - made.start) / frames)
    if abs(made.start - row.time_start) <= frame and abs(made.end - row.time_end) <= frame:
        return ""
    held = f"holds {_times(made.start, made.end)} of {made.source}"
    return f"{held}, the labels say {_times(row.time_start, row.time_end)}; {AGAIN}"


def _frames_problem(row: LabelRow, made: Origin, names: set[str]) -> str:
    if row.frames == made.frames or (made.frames is None and made.start is None and row.youtube_id not in names):
        return ""  # one that was cut beforehand has a longer name
    is_named_so = made.frames and row.video_id.endswith(frames_name("", made.frames))  # perhaps with its folders
    if is_named_so and row.frames is None and row.time_start is None:
        return ""
    held = "the whole" if made.start is None or made.end is None else _times(made.start, made.end)
    held = f"frames {made.frames[0]} to {made.frames[1]}" if made.frames else held
    return f"holds {held} of {made.source}, the labels say {describe_clip(row)}; {AGAIN}"


def cut_times(row: LabelRow | None, name: str) -> Span | None:
    """The times of the whole video that a clip should hold, by its row or else its name; None if neither says."""
    if row is not None and row.time_start is not None and row.time_end is not None:
        return Span(row.time_start, row.time_end)
    found = NAMED.fullmatch(name) if is_youtube_name(name) else None
    return Span(float(found[1]), float(found[2])) if found and int(found[1]) < int(found[2]) else None


def length_problem(seconds: float, cut: Span) -> str:
    """How a clip that was cut beforehand differs in length from what it should have; empty if it hardly does."""
    length = cut.end - cut.start
    if abs(seconds - length) <= max(OFF_SECONDS, OFF_PART * length):
        return ""
    what = f"lasts {seconds:.1f} s, but its label row or name says {_times(*cut)}, which are {length:g} s"
    return f"{what}: is it the whole video?" if seconds > length else f"{what}: was it cut short?"


def _times(start: float, end: float) -> str:
    return f"{format_seconds(start)} to {format_seconds(end)} s"
