"""Whether the frames of a database are those of the times that its label row says."""

from pathlib import Path

from data.labels.label_file import LabelRow, clip_name, format_seconds
from data.store.origin import Origin

MOST = 0.5  # seconds of a frame: a clip that was cut short has few frames for its times
AGAIN = "python -m data.prepare.convert VIDEOS DATASET --labels FILE --replace makes it again"


def times_problem(row: LabelRow, made: Origin, frames: int) -> str:
    """How the part of a video that a database of `frames` frames holds differs from its row; empty if it does not.

    Times that differ by less than the duration of a frame are the same: they may have been rounded.
    """
    source = Path(made.source)
    names = {source.name.removeprefix("v_"), source.stem.removeprefix("v_"), source.stem}  # a folder has no suffix
    if made.start is None or made.end is None:
        # A clip that was cut beforehand has a longer name.
        if row.time_start is None or row.time_end is None or row.youtube_id not in names:
            return ""
        return f"holds the whole of {made.source}, the labels say {_times(row.time_start, row.time_end)}; {AGAIN}"
    if row.time_start is None or row.time_end is None:
        if row.video_id in {clip_name(name, made.start, made.end) for name in names}:
            return ""
        held = f"holds {_times(made.start, made.end)} of {made.source}"
        return f"{held}, the labels have no times; give the row its times, or delete this folder and convert again"
    frame = min(MOST, (made.end - made.start) / frames)
    if abs(made.start - row.time_start) <= frame and abs(made.end - row.time_end) <= frame:
        return ""
    held = f"holds {_times(made.start, made.end)} of {made.source}"
    return f"{held}, the labels say {_times(row.time_start, row.time_end)}; {AGAIN}"


def _times(start: float, end: float) -> str:
    return f"{format_seconds(start)} to {format_seconds(end)} s"
