"""Which part of another video a file that data.prepare.resize made is: its tag `comment` says it."""

import json
import struct
from typing import NamedTuple

MAKER = "srtg resize"  # `made_by` of the tag
PACKED = struct.Struct("<ddqq")


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


def cut_of(comment: str) -> Cut | None:
    """What a tag says; None if it is of another program, or of a file that was made from a whole video."""
    if MAKER not in comment:
        return None
    try:
        values = json.loads(comment)
        if values["made_by"] != MAKER:
            return None
        if values.get("start") is not None:
            return Cut(float(values["start"]), float(values["end"]))
        if values.get("first_frame") is not None:
            return Cut(-1.0, -1.0, int(values["first_frame"]), int(values["end_frame"]))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        pass
    return None
