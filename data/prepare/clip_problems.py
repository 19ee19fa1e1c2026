"""Whether the frames of a clip are those of the times that its label row, its name, or the list of its folder says."""

from collections.abc import Iterator, Sequence

from data.labels.clip_length import cut_times, is_too_long, length_problem, seconds_of_clip
from data.labels.clip_times import times_problem
from data.labels.label_row import LabelRow
from data.labels.made_from import source_problem
from data.prepare.folder_names import part_text
from data.prepare.folder_state import NAMES
from data.store.origin import Origin

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


def _listed_problem(listed: str | None, made: Origin) -> str:
    """How a database differs from the part of a video in the list of data.prepare.folder; empty if it does not."""
    span = None if made.start is None or made.end is None else (made.start, made.end)
    held = part_text(span, made.frames)
    if listed is None or listed == held:
        return ""
    wanted = f"{NAMES} says {listed or 'the whole'}; data.prepare.folder with --replace makes it again"
    return f"holds {held or 'the whole'} of {made.source}, {wanted}"
