"""Finds the places where packets of an MPEG transport stream are missing or damaged."""

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np

DISCONTINUITY, ERROR = 0x80, 0x80


class Break(NamedTuple):
    """What should start at `place` does not; `start` is where the element before it, which may be damaged, starts.

    `is_joined`: nothing is damaged, but another file starts there, which decoders leave out.
    """

    start: int
    place: int
    is_joined: bool = False

    def __str__(self) -> str:
        if self.is_joined:
            return f"another video starts at byte {self.place} of the file, and is not read; split the file there"
        return f"the file is damaged at byte {self.place}: what should start there is missing"


def transport_breaks(file: BinaryIO, stream_id: int) -> Iterator[Break]:
    """Packets of a transport stream (ISO 13818-1, 2.4.3): lost ones are seen from the video's continuity counter.

    None for a file of another kind. `stream_id` is the number of the video's packets.
    """
    base, length = _transport_start(file, 0, (188, 192, 204))
    counter, clock = -1, -1
    while length:
        file.seek(base)
        data = file.read(length << 15)
        rows = np.frombuffer(data, np.uint8, len(data) // length * length).reshape(-1, length)
        lost = np.flatnonzero(rows[:, 0] != 0x47)
        rows = rows[: lost[0]] if lost.size else rows
        video = np.flatnonzero(((rows[:, 1] & 0x1F).astype(int) << 8 | rows[:, 2]) == stream_id)
        for row in _uncounted(rows[video], counter):
            before = _clock(rows[video[:row]], last=True)
            after = _clock(rows[video[row:]], last=False)
            # Where the clock goes back, another recording starts: nothing is lost.
            if after < 0 or after > (before if before >= 0 else clock):
                place = base + int(video[row]) * length
                yield Break(max(0, place - length), place)
        if video.size:
            last = rows[video][(rows[video][:, 3] & 0x10) > 0]
            counter = int(last[-1, 3]) & 15 if last.size else counter
            last_clock = _clock(rows[video], last=True)
            clock = last_clock if last_clock >= 0 else clock
        base += rows.shape[0] * length
        if lost.size:
            yield Break(max(0, base - length), base)
            base, length = _transport_start(file, base, (length,))
            counter = -1
        elif len(data) < length << 15:
            if 0 < len(data) % length < 188:  # packets of 192 bytes start with a time: the last one seems shorter
                yield Break(base, base + len(data) % length)
            return


def _transport_start(file: BinaryIO, place: int, lengths: tuple[int, ...]) -> tuple[int, int]:
    """Where the next packets start, and their length; 0, 0 if there are none."""
    while True:
        file.seek(place)
        data = np.frombuffer(file.read(1 << 20 if place else 4096), np.uint8)
        for length in lengths:
            needed = 7 * length + 1
            if data.size < needed:
                continue
            starts = np.logical_and.reduce(
                [data[k * length : data.size - needed + 1 + k * length] == 0x47 for k in range(8)]
            )
            found = np.flatnonzero(starts)
            if found.size and (place or found[0] < length):
                return place + int(found[0]), length
        if not place or data.size < 1 << 20:
            return 0, 0
        place += data.size - 8 * max(lengths)


def _uncounted(rows: np.ndarray, counter: int) -> list[int]:
    """The rows before which packets are missing; `counter` is that of the packet before, or -1."""
    paid = (rows[:, 3] & 0x10) > 0
    marked = ((rows[:, 3] & 0x20) > 0) & (rows[:, 4] > 0) & ((rows[:, 5] & DISCONTINUITY) > 0)
    bad = (rows[:, 1] & ERROR) > 0
    places = np.flatnonzero(paid)
    counters = (rows[places, 3] & 15).astype(int)
    before = np.concatenate(([counter], counters[:-1])) if places.size else counters
    steps = (counters - before) & 15
    wrong = (steps > 1) & (before >= 0) & ~marked[places]  # a packet may be sent twice
    return sorted({*places[wrong].tolist(), *np.flatnonzero(bad).tolist()})


def _clock(rows: np.ndarray, last: bool) -> int:
    """The last or first decoding time in packets that start a frame; -1 if there is none."""
    for row in rows[(rows[:, 1] & 0x40) > 0][:: -1 if last else 1]:
        start = 4 + (1 + int(row[4]) if row[3] & 0x20 else 0)
        packet = row[start:].tobytes()
        if packet[:3] == b"\0\0\1" and len(packet) >= 19 and packet[7] & 0x80:
            time = packet[14:19] if packet[7] & 0x40 else packet[9:14]
            return (time[0] >> 1 & 7) << 30 | time[1] << 22 | time[2] >> 1 << 15 | time[3] << 7 | time[4] >> 1
    return -1
