"""Which columns of a table hold, or seem to hold, the times or frame numbers of clips."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

# Names that other tools give the columns time_start and time_end, and that mean nothing else.
CERTAIN = re.compile(
    r"((t|time|clip|segment)[ _-]?)?(start|end|begin|stop)([ _-]?(t|time|s|sec|secs|seconds|frame|frames))?"
)
# Those of them, and with a unit, that are read: in seconds or as a clock shows them, and in frames.
OF_SECONDS = re.compile(
    r"((?P<of>t|time|clip|segment)[ _-]?)?(?P<edge>start|begin|end|stop)([ _-]?(t|time))?"
    r"([ _-]?[(\[]?(s|sec|secs|seconds)\.?[)\]]?)?"
)
OF_FRAMES = re.compile(
    r"((?P<of>clip|segment)[ _-]?)?"
    r"((?P<edge>start|begin|end|stop)[ _-]?frames?|frames?[ _-]?(?P<last>start|begin|end|stop))"
)
OF_ELAN = re.compile(r"(?P<edge>begin|end) time - (?P<of>ss\.msec|hh:mm:ss\.ms)")  # in the order of preference
FIRST_EDGES = ("start", "begin")
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
LONGEST_NAME = 40  # characters of a name that is read
LONGEST = 24  # letters of a word that is taken apart; longer ones could take minutes
GLUED = re.compile(  # startms, clipend, tmin, maxtime
    rf"(?:{_UNITS})*(?P<edge>{_EDGES})(?:{_UNITS})*|(?P<time>{_TIMES})?(?P<bound>{_BOUNDS})(?(time)|(?P<unit>{_TIMES}))"
)
NUMBERED = re.compile(r"(t|ts|time|timestamp)[ _-]?[0-9]")  # t0, t1


class Pair(NamedTuple):
    """The two columns that hold where clips start and end, in "seconds" or "frames"."""

    start: str
    end: str
    unit: str


def pair_of_times(columns: Sequence[str]) -> Pair | None:
    """The columns, given in lower case, of which it is certain that they hold the times or frames of clips.

    None if there is no such pair, or if there are several, as these may contradict each other. `time_start` and
    `time_end` come before all others.
    """
    if "time_start" in columns and "time_end" in columns:
        return Pair("time_start", "time_end", "seconds")
    found = {(of, unit): pair for of, unit, pair in _pairs(columns)}
    elan = [pair for (of, unit), pair in found.items() if unit == "elan"]
    if elan and len(elan) == len(found):  # its columns hold the same times
        start, end = elan[0] if len(elan) == 1 else found["ss.msec", "elan"]
        return Pair(start, end, "seconds")
    if len(found) != 1:
        return None
    ((_, unit), (start, end)) = next(iter(found.items()))
    return Pair(start, end, unit)


def _pairs(columns: Sequence[str]) -> Iterator[tuple[str, str, tuple[str, str]]]:
    """What each pair is of, its unit and its columns. One without an end or a start is none, nor is one of three."""
    for unit, pattern in (("seconds", OF_SECONDS), ("frames", OF_FRAMES), ("elan", OF_ELAN)):
        sides: dict[str, tuple[list[str], list[str]]] = {}
        for name in dict.fromkeys(columns):
            match = pattern.fullmatch(name) if len(name) <= LONGEST_NAME else None
            if match is None:
                continue
            parts = match.groupdict()
            of = "" if parts["of"] in (None, "t", "time") else parts["of"]
            is_start = (parts["edge"] or parts.get("last")) in FIRST_EDGES
            sides.setdefault(of, ([], []))[0 if is_start else 1].append(name)
        for of, (starts, ends) in sides.items():
            if len(starts) == len(ends) == 1:
                yield of, unit, (starts[0], ends[0])


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
