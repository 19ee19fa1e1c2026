"""Finds damage that decoders do not report: zeros in place of data, and holes in the times of a constant rate."""

from collections.abc import Sequence

import numpy as np

ARITHMETIC = {"vp8", "vp9", "av1"}
VARIABLE_LENGTH = {"wmv1", "wmv2", "wmv3", "vc1", "msmpeg4v1", "msmpeg4v2", "msmpeg4", "mpeg4", "flv", "h263"}
START_CODES = {"h264", "hevc", "vvc"}  # three zeros cannot occur within a unit, only between units
LONG_RUN, SHORT_RUN, TINY = bytes(512), bytes(64), 8
FEWEST, MISSING, HOLES = 25, 3, 2


def zeros_replace_data(codec: str, data: bytes) -> bool:
    """Whether a packet holds a run of zeros that its codec does not write, as a sparse or interrupted copy leaves."""
    if codec in START_CODES:
        place = data.find(SHORT_RUN) if _may_hold(len(SHORT_RUN), data) else -1
        return place >= 0 and data[place:].lstrip(b"\0")[:1] not in (b"", b"\1")
    if codec in ARITHMETIC or codec in VARIABLE_LENGTH:
        return _has_long_run(data) or (len(data) >= TINY and data[0] == 0 and not data.strip(b"\0"))
    return codec == "mjpeg" and _has_long_run(data) and not _jpeg_zeros_are_flat(data)


def _has_long_run(data: bytes) -> bool:
    return _may_hold(len(LONG_RUN), data) and LONG_RUN in data


def _may_hold(length: int, data: bytes) -> bool:
    """Whether a run of `length` zeros is possible. It covers two samples; the search itself takes 50 times as long."""
    return b"\0\0" in data[:: length // 2]


def _jpeg_zeros_are_flat(data: bytes) -> bool:
    """Whether zeros are blocks of one colour: whether the code of zeros means "end of block" in a Huffman table."""
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF and data[place + 1] != 0xDA:
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        table = place + 4
        while data[place + 1] == 0xC4 and table + 17 < end:
            if data[table] & 0x10 and data[table + 17] == 0:
                return True
            table += 17 + sum(data[table + 1 : table + 17])
        place = end
    return False


def hole_in(times: Sequence[float], durations: Sequence[float], tick: float) -> tuple[float, float] | None:
    """The frames' times before and after the first hole; None if there is none, or if nothing can tell.

    Only where the rate is constant but for at most two gaps, each of more than three frames that no frame's own
    duration covers. Where single frames are dropped or times vary, a gap may be as it was filmed.
    """
    if len(times) < FEWEST:
        return None
    steps = np.diff(times)
    step = float(np.sort(steps)[len(steps) // 2])  # np.median imports numpy.ma, which takes longer than all else
    tolerance = min(max(0.0015, 1.5 * tick), step / 4)
    unusual = np.flatnonzero(np.abs(steps - step) > tolerance)
    gaps = [index for index in unusual if steps[index] > max((MISSING + 0.5) * step, durations[index] + tolerance)]
    if not gaps or len(gaps) < len(unusual) or len(gaps) > HOLES:
        return None
    return times[gaps[0]], times[gaps[0] + 1]
