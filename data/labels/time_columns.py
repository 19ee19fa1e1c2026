"""Which columns of a table seem to hold the times of clips under other names than time_start and time_end."""

import re
from collections.abc import Sequence
from typing import NamedTuple

# Names that other tools give the columns time_start and time_end, and that mean nothing else.
CERTAIN = re.compile(
    r"((t|time|clip|segment)[ _-]?)?(start|end|begin|stop)([ _-]?(t|time|s|sec|secs|seconds|frame|frames))?"
)
# Words of a name that say nothing of what begins or ends.
UNITS = (  # noqa: SIM905 (a hundred quotes and commas hide the words)
    "t time times timestamp timestamps timecode timecodes tc ts s sec secs second seconds ms msec msecs millis "
    "millisecond milliseconds us usec microseconds ns m min mins minute minutes h hr hour hours hms frame frames frm f "
    "idx index number num no nr pos position point offset span interval range clip segment seg event action video vid "
    "trim"
).split()
STRONG = {
    **dict.fromkeys(("start", "starts", "starting", "begin", "begins", "beginning", "beg", "onset", "st"), "start"),
    **dict.fromkeys(("end", "ends", "ending", "stop", "stops", "finish", "finishes", "fin", "offset", "ed"), "end"),
    **dict.fromkeys(("duration", "dur", "length", "len"), "length"),  # as good as an end beside a start
}
WEAK = {"from": "start", "to": "end", "until": "end", "till": "end", "in": "start", "out": "end"}  # have other meanings
BOUNDS = {"min": "start", "max": "end", "first": "start", "last": "end"}  # of times alone
SIDES = ("start", "end", "length")
TIMES = ("t", "time", "timestamp", "ts", "frame")
_EDGES = "|".join(sorted((*STRONG, "from", "to"), key=len, reverse=True))
_UNITS = "|".join(sorted(UNITS, key=len, reverse=True))
_TIMES = "|".join(TIMES)
_BOUNDS = "|".join(BOUNDS)
LONGEST = 24  # letters of a word that is taken apart; longer ones could take minutes
GLUED = re.compile(  # startms, clipend, tmin, maxtime
    rf"(?:{_UNITS})*(?P<edge>{_EDGES})(?:{_UNITS})*|(?P<time>{_TIMES})?(?P<bound>{_BOUNDS})(?(time)|(?P<unit>{_TIMES}))"
)
NUMBERED = re.compile(r"(t|ts|time|timestamp)[ _-]?[0-9]")  # t0, t1


class _Edge(NamedTuple):
    """A name that says where something begins or ends."""

    side: str  # one of SIDES
    what: tuple[str, ...]  # the other words, without units: () for the clip


def columns_of_times(columns: Sequence[str], only_certain: bool = False) -> list[str]:
    """The columns, given in lower case, that seem to hold the times of clips, in their order.

    A name that may mean something else counts if there are both of a pair: `from` and `to`, `start (ms)` and
    `end (ms)`, but not `start_ms` and `end_product`. With `only_certain`, those are left out.
    """
    found = {name for name in columns if CERTAIN.fullmatch(name)}
    if not only_certain:
        edges = {name: edge for name in columns if (edge := _edge(name))}
        sides = {side: {edge.what for edge in edges.values() if edge.side == side} for side in SIDES}
        # `offset` beside a duration is a start. A start and an end, without a length, are a pair too.
        pairs = (sides["start"] & (sides["end"] | sides["length"])) | (sides["end"] & sides["length"])
        found |= {name for name, edge in edges.items() if edge.what in pairs}
        numbered = {name for name in columns if NUMBERED.fullmatch(name)}
        found |= numbered if len(numbered) > 1 else set()
    return [name for name in columns if name in found]


def _edge(name: str) -> _Edge | None:
    """What a name says of a beginning or an end."""
    words: list[str] = []
    for word in re.findall(r"[^\W\d_]+|\d+", name):
        is_whole = word in STRONG or word in UNITS or len(word) > LONGEST
        glued = None if is_whole else GLUED.fullmatch(word)
        words += filter(None, glued.group("edge", "time", "bound", "unit")) if glued else [word]
    for sides in (STRONG, WEAK, BOUNDS):
        edges = [word for word in words if word in sides]
        # `start_offset` is a start, and `offset` alone an end
        edge = next((word for word in edges if word not in UNITS), edges[0] if edges else None)
        if edge is None:
            continue
        others = tuple(word for word in words if word != edge and word not in UNITS)
        if sides is STRONG or (not others and (sides is WEAK or set(words) & set(TIMES))):
            return _Edge(sides[edge], others)
    return None
