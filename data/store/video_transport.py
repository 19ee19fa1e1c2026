"""Finds the places where packets of an MPEG transport stream are missing or damaged."""

from bisect import bisect_left
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np

DISCONTINUITY, ERROR = 0x80, 0x80
FEW_PACKETS, MOST_PACKETS = 1 << 12, 1 << 15  # read at a time; few behind a break: the next may be near
PIECE = 1 << 16  # bytes in which packets are looked for behind a break


class Break(NamedTuple):
    """What should start at `place` does not; `start` is where the element before it, which may be damaged, starts.

    `is_joined`: nothing is damaged, but another file starts there, which decoders leave out, unless it `is_read`.
    """

    start: int
    place: int
    is_joined: bool = False
    is_read: bool = False

    def __str__(self) -> str:
        if self.is_joined:
            left_out = "" if self.is_read else ", and is not read"
            return f"another video starts at byte {self.place} of the file{left_out} (split the file there)"
        return f"the file is damaged at byte {self.place}: what should start there is missing"


def transport_breaks(file: BinaryIO, stream_id: int) -> Iterator[Break]:
    """Packets of a transport stream (ISO 13818-1, 2.4.3): lost ones are seen from the video's continuity counter.

    None for a file of another kind. `stream_id` is the number of the video's packets.
    """
    base, length = _transport_start(file, 0, (188, 192, 204))
    counter, clock, count = -1, -1, MOST_PACKETS
    while length:
        file.seek(base)
        data = file.read(length * count)
        rows = np.frombuffer(data, np.uint8, len(data) // length * length).reshape(-1, length)
        lost = np.flatnonzero(rows[:, 0] != 0x47)
        rows = rows[: lost[0]] if lost.size else rows
        places = np.flatnonzero(((rows[:, 1] & 0x1F).astype(int) << 8 | rows[:, 2]) == stream_id)
        video = rows[places]
        uncounted = _uncounted(video, counter)
        clocks = list(_clocks(video)) if uncounted else []  # once: a bad reception loses thousands of packets
        for row in uncounted:
            number = bisect_left(clocks, (row, -1))
            before = clocks[number - 1][1] if number else clock
            # Where the clock goes back, another recording starts: nothing is lost.
            if number == len(clocks) or clocks[number][1] > before:
                place = base + int(places[row]) * length
                yield Break(max(0, place - length), place)
        last = video[(video[:, 3] & 0x10) > 0]
        counter = int(last[-1, 3]) & 15 if last.size else counter
        clock = next((time for _, time in _clocks(video, -1)), clock)
        base += rows.shape[0] * length
        if lost.size:
            yield Break(max(0, base - length), base)
            base, length = _transport_start(file, base, (length,))
            counter, count = -1, FEW_PACKETS
        elif len(data) < length * count:
            if 0 < len(data) % length < 188:  # packets of 192 bytes start with a time: the last one seems shorter
                yield Break(base, base + len(data) % length)
            return
        else:
            count = min(2 * count, MOST_PACKETS)


def _transport_start(file: BinaryIO, place: int, lengths: tuple[int, ...]) -> tuple[int, int]:
    """Where the next packets start, and their length; 0, 0 if there are none."""
    while True:
        file.seek(place)
        data = np.frombuffer(file.read(PIECE if place else 4096), np.uint8)
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
        if not place or data.size < PIECE:
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


def _clocks(rows: np.ndarray, step: int = 1) -> Iterator[tuple[int, int]]:
    """The packets that start a frame and state when to decode it, with that time; the last first if `step` is -1."""
    for number in np.flatnonzero(rows[:, 1] & 0x40)[::step].tolist():
        row = rows[number]
        start = 4 + (1 + int(row[4]) if row[3] & 0x20 else 0)
        packet = row[start:].tobytes()
        if packet[:3] == b"\0\0\1" and len(packet) >= 19 and packet[7] & 0x80:
            time = packet[14:19] if packet[7] & 0x40 else packet[9:14]
            yield number, (time[0] >> 1 & 7) << 30 | time[1] << 22 | time[2] >> 1 << 15 | time[3] << 7 | time[4] >> 1
