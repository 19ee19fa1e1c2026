"""Finds numbers in a video's headers that cannot be meant: one changed bit there gives other times or fewer frames."""

import struct
from collections.abc import Sequence
from pathlib import Path

from av.container import InputContainer

from data.store.frame_times import average_rate
from data.store.video_boxes import boxes, read_at
from data.store.video_frames import EDITED

FASTEST = 1000.0  # frames a second, as the most of --fps
OFF, OFF_SECONDS = 0.1, 0.25  # by how much stated lengths may differ


def absurd_rate(times: Sequence[float], step: float, tick: float) -> str:
    """What is odd about the rate of frames with these times; empty if nothing is."""
    rate = average_rate(times, step, tick) or 0.0
    return f"its times make {rate:,.0f} frames a second" if rate > FASTEST else ""


def hides_too_much(container: InputContainer, track: int, shown: float) -> bool:
    """Whether the edit list of a file, if it is MP4 or MOV, agrees with no other length in its headers.

    It shows `shown` seconds. Writers state these for the track. Older ones state all that is stored there, and their
    edit lists hide the first part only.
    """
    found = _lengths(Path(container.name), track) if container.format.name == EDITED else None
    if found is None:
        return False
    of_track, stored, (start, edit) = found
    to_the_end = _agree(shown, edit) and _agree(start + shown, stored)
    return not (_agree(shown, of_track) or to_the_end)


def _agree(seconds: float, stated: float) -> bool:
    return abs(seconds - stated) <= max(OFF_SECONDS, OFF * stated)


def _lengths(path: Path, track: int) -> tuple[float, float, tuple[float, float]] | None:
    """Seconds of a track, of what is stored of it, and the start and length of its only edit; None if not told."""
    movie_scale, of_track, edit = 0, 0, (0, 0)
    is_wanted = False
    with path.open("rb") as file:
        for name, place, held in boxes(file, 0, path.stat().st_size):
            if name not in (b"mvhd", b"tkhd", b"elst", b"mdhd"):
                continue
            data = read_at(file, place, min(held, 36))
            wide = data[:1] == b"\1"
            try:
                if name == b"mvhd":
                    (movie_scale,) = struct.unpack_from(">I", data, 20 if wide else 12)
                elif name == b"tkhd":
                    number, of_track = struct.unpack_from(">I4xQ" if wide else ">I4xI", data, 20 if wide else 12)
                    is_wanted, edit = number == track, (0, 0)
                elif name == b"elst" and is_wanted:
                    count, length, start = struct.unpack_from(">IQq" if wide else ">IIi", data, 4)
                    edit = (start, length) if count == 1 else (0, 0)
                elif name == b"mdhd" and is_wanted:
                    scale, stored = struct.unpack_from(">IQ" if wide else ">II", data, 20 if wide else 12)
                    if not (movie_scale and scale and of_track and stored and edit[1]):
                        return None
                    seconds = (edit[0] / scale, edit[1] / movie_scale)
                    return of_track / movie_scale, stored / scale, seconds
            except struct.error:
                return None
    return None
