"""Whether a clip that was cut beforehand lasts as long as its label row, or its name, says.

One that is longer may be a whole video under the name of a clip, most of which is not of its class.
"""

import re
from pathlib import Path

from data.labels.label_row import LabelRow, format_seconds
from data.labels.text import is_youtube_name
from data.store.origin import Origin

Times = tuple[float, float]  # start and end, in seconds of the whole video

# As clip_name writes them, and the downloaders of Kinetics. Other names may have numbers of frames.
NAMED = re.compile(r"_([0-9]{6})_([0-9]{6})")  # the end of the name
OFF_SECONDS, OFF_PART = 1.0, 0.1  # a clip may be longer or shorter by the larger of both


def cut_times(row: LabelRow | None, name: str) -> Times | None:
    """The times of the whole video that a clip should hold, by its row or else its name; None if neither says."""
    if row is not None and row.time_start is not None and row.time_end is not None:
        return row.time_start, row.time_end
    found = NAMED.fullmatch(name, max(1, len(name) - 14))  # fast, for all names of a dataset
    if found is None or found[1] >= found[2] or not is_youtube_name(name):
        return None
    return float(found[1]), float(found[2])


def seconds_of_clip(name: str, made: Origin) -> float | None:
    """How long the whole file lasts that the database of a video `name` was made from; None unless it is named so."""
    is_part = made.start is not None or made.frames is not None
    return None if is_part or Path(made.source).stem != name else made.seconds


def is_too_long(seconds: float, cut: Times) -> bool:
    """Whether a clip is longer than it should be by more than cuts at keyframes and rounded times explain."""
    length = cut[1] - cut[0]
    return seconds - length > max(OFF_SECONDS, OFF_PART * length)


def times_text(start: float, end: float) -> str:
    """For messages; in seconds."""
    return f"{format_seconds(start)} to {format_seconds(end)} s"


def length_problem(seconds: float, cut: Times) -> str:
    """How a clip that was cut beforehand differs in length from what it should have; empty if it hardly does."""
    length = cut[1] - cut[0]
    if abs(seconds - length) <= max(OFF_SECONDS, OFF_PART * length):
        return ""
    what = f"lasts {seconds:.1f} s, but its label row or name says {times_text(*cut)}, which are {length:g} s"
    return f"{what}: is it the whole video?" if seconds > length else f"{what}: was it cut short?"
