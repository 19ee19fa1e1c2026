"""What a file that data.prepare.resize made is of: its tag `comment` says it."""

import json
import struct
from typing import Any, NamedTuple

MAKER = "srtg resize"  # `made_by` of the tag
PACKED = struct.Struct("<ddqq")
LARGEST = 1 << 63  # of a number of a frame; others may write anything into a tag


class Cut(NamedTuple):
    """The times in seconds, or the frames, that a file was cut from; the others are -1."""

    start: float
    end: float
    first_frame: int = -1
    end_frame: int = -1

    def packed(self) -> bytes:
        """The cut as bytes."""
        return PACKED.pack(*self)

    @classmethod
    def unpack(cls, data: bytes) -> "Cut":
        """Undo `packed`. struct.error if the length is another one."""
        return cls(*PACKED.unpack(data))


class MadeFrom(NamedTuple):
    """What a file was made from."""

    source: str  # the path of its source in the folder VIDEOS
    video: str  # its own class and id, CLASS/ID; empty if an older version made it
    is_part: bool  # of its source


def made_from(comment: str) -> MadeFrom | None:
    """What a tag says; None if it is of another program."""
    values = _values(comment)
    source, video = values.get("source"), values.get("video", "")
    if not isinstance(source, str) or not isinstance(video, str):
        return None
    return MadeFrom(source, video, any(values.get(name) is not None for name in ("start", "first_frame")))


def _values(comment: str) -> dict[str, Any]:
    """The values of a tag; none if it is of another program."""
    if MAKER not in comment:
        return {}
    try:
        values = json.loads(comment)
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) and values.get("made_by") == MAKER else {}


def cut_of(comment: str) -> Cut | None:
    """What a tag says; None if it is of another program, or of a file that was made from a whole video."""
    values = _values(comment)
    try:
        if values.get("start") is not None:
            return Cut(float(values["start"]), float(values["end"]))
        if values.get("first_frame") is not None:
            first, end = int(values["first_frame"]), int(values["end_frame"])
            return Cut(-1.0, -1.0, first, end) if max(abs(first), abs(end)) < LARGEST else None
    except (ValueError, KeyError, TypeError, OverflowError):
        pass
    return None
