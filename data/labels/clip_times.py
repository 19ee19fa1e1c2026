"""Whether a database holds the part of a video that its label row says."""

from pathlib import Path

from data.labels.clip_length import times_text
from data.labels.label_row import (
    LabelRow,
    clip_name,
    clip_name_in_milliseconds,
    describe_clip,
    frames_name,
)
from data.labels.made_from import AGAIN
from data.store.origin import Origin

MOST = 0.5  # seconds of a frame: a clip that was cut short has few frames for its times


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


def _frames_problem(row: LabelRow, made: Origin, names: set[str]) -> str:
    if row.frames == made.frames or (made.frames is None and made.start is None and row.youtube_id not in names):
        return ""  # one that was cut beforehand has a longer name
    is_named_so = made.frames and row.video_id.endswith(frames_name("", made.frames))  # perhaps with its folders
    if is_named_so and row.frames is None and row.time_start is None:
        return ""
    held = "the whole" if made.start is None or made.end is None else times_text(made.start, made.end)
    held = f"frames {made.frames[0]} to {made.frames[1]}" if made.frames else held
    return f"holds {held} of {made.source}, the labels say {describe_clip(row)}; {AGAIN}"
