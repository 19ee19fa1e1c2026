"""Whether the frames of a clip are those of the times that its label row, or its name, says."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from data.labels.clip_length import cut_times, is_too_long, length_problem, seconds_of_clip, times_text
from data.labels.label_row import (
    LabelRow,
    clip_name,
    clip_name_in_milliseconds,
    describe_clip,
    frames_name,
)
from data.labels.made_from import AGAIN, source_problem
from data.prepare.folder_names import part_text
from data.prepare.folder_state import NAMES
from data.store.origin import Origin

MOST = 0.5  # seconds of a frame: a clip that was cut short has few frames for its times
SHORT = "shorter than their times"


def clip_problems(
    name: str, rows: Sequence[LabelRow], made: Origin, frames: int, listed: str | None = None
) -> Iterator[tuple[str, str]]:
    """What differs in the database of a video folder `name` from its label rows, as (kind, reason).

    `listed` is the part of a video that data.prepare.folder wants there, if it does.
    Clips that are too long, as a whole video is, may hold what is not of their class. SHORT ones are no problem.
    """
    reasons = [why for why in dict.fromkeys(times_problem(row, made, frames) for row in rows) if why]
    for why in reasons or filter(None, [_listed_problem(listed, made)]):
        yield "other times", why
    for why in dict.fromkeys(source_problem(row, made) for row in rows):
        if why:
            yield "other file", why
    if (seconds := seconds_of_clip(name, made)) is None:
        return
    cuts = [cut_times(row, name) for row in rows] or [cut_times(None, name)]
    for cut in dict.fromkeys(cuts):
        if cut and (why := length_problem(seconds, cut)):
            yield "other length" if is_too_long(seconds, cut) else SHORT, why


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
        return f"holds the whole of {made.source}, the labels say {times_text(row.time_start, row.time_end)}; {AGAIN}"
    if row.time_start is None or row.time_end is None:
        name_with = (clip_name, clip_name_in_milliseconds)
        # data.prepare.folder may put folders before the name.
        if any(row.video_id.endswith(of("", made.start, made.end)) for of in name_with):
            return ""
        held = f"holds {times_text(made.start, made.end)} of {made.source}"
        return f"{held}, the labels have no times; give the row its times, or delete this folder and convert again"
    frame = min(MOST, (made.end - made.start) / frames)
    if abs(made.start - row.time_start) <= frame and abs(made.end - row.time_end) <= frame:
        return ""
    held = f"holds {times_text(made.start, made.end)} of {made.source}"
    return f"{held}, the labels say {times_text(row.time_start, row.time_end)}; {AGAIN}"


def _listed_problem(listed: str | None, made: Origin) -> str:
    """How a database differs from the part of a video in the list of data.prepare.folder; empty if it does not."""
    span = None if made.start is None or made.end is None else (made.start, made.end)
    held = part_text(span, made.frames)
    if listed is None or listed == held:
        return ""
    wanted = f"{NAMES} says {listed or 'the whole'}; data.prepare.folder with --replace makes it again"
    return f"holds {held or 'the whole'} of {made.source}, {wanted}"


def _frames_problem(row: LabelRow, made: Origin, names: set[str]) -> str:
    if row.frames == made.frames or (made.frames is None and made.start is None and row.youtube_id not in names):
        return ""  # one that was cut beforehand has a longer name
    is_named_so = made.frames and row.video_id.endswith(frames_name("", made.frames))  # perhaps with its folders
    if is_named_so and row.frames is None and row.time_start is None:
        return ""
    held = "the whole" if made.start is None or made.end is None else times_text(made.start, made.end)
    held = f"frames {made.frames[0]} to {made.frames[1]}" if made.frames else held
    return f"holds {held} of {made.source}, the labels say {describe_clip(row)}; {AGAIN}"
