"""Scalars of TensorBoard's event files, only those asked for: a long run has millions of others.

A file is a sequence of records: length (8 bytes, little endian), checksum (4 bytes), an Event of protocol buffers of
that length, checksum (4 bytes). Both are CRC-32C, turned (TensorFlow's "masked"). In Python a byte takes 0.1 us, so the
checksum of an Event is only compared if the Event is parsed.
"""

import math
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from common.errors import DataError
from common.files import open_plain

LARGEST = 2**32  # bytes of an event file
LARGEST_RECORD = 2**24
MOST_POINTS = 1_000_000  # that are asked for; they take half a minute
HEAD = struct.Struct("<QI")
RESTART = b"\x3a\x02\x08\x01"  # in an Event: session_log {status: START}, as SummaryWriter(purge_step=...) writes it
START = 1  # SessionLog.START: points of this step and later ones are dropped

Points = list[tuple[int, float, float]]
"""Step, value, time in seconds since 1970."""


def event_files(folder: Path) -> list[Path]:
    """TensorBoard's files in a folder, in the order of time."""
    return sorted(folder.glob("events.out.tfevents.*"))


def read_scalars(files: Sequence[Path], tags: Sequence[str]) -> dict[str, Points]:
    """The points of each scalar whose name begins with one of `tags`, by step; a resumed run replaces later ones.

    DataError if a file is damaged, or they are more than MOST_POINTS; OSError if it cannot be read. The end of a file
    may be missing: a run writes it.
    """
    from google.protobuf.message import DecodeError  # not needed by other commands
    from tensorboard.compat.proto.event_pb2 import Event

    entries: list[tuple[str, int, float, float]] = []  # scalars, and restarts as ones without a name
    words = [RESTART, *(tag.encode() for tag in tags)]  # to parse no more of a file than is needed
    for path in files:
        for record, checksum in _records(path):
            if not any(word in record for word in words):
                continue
            if _checksum(record) != checksum:
                raise DataError(f"{path} is damaged: the checksum of a record is wrong")
            try:
                event = Event.FromString(record)
            except DecodeError:
                raise DataError(f"{path} is damaged, or no file of TensorBoard") from None
            if event.HasField("session_log") and event.session_log.status == START:
                entries.append(("", event.step, 0.0, 0.0))
            for value in event.summary.value:
                if value.tag and value.tag.startswith(tuple(tags)) and value.HasField("simple_value"):
                    entries.append((value.tag, event.step, value.simple_value, event.wall_time))
            if len(entries) > MOST_POINTS:
                raise DataError(f"{path}: more than {MOST_POINTS:,} points of {' and '.join(tags)}, too many to show")
    found = _latest(entries)
    return {tag: [(step, *point) for step, point in sorted(points.items())] for tag, points in found.items() if points}


def _latest(entries: Sequence[tuple[str, int, float, float]]) -> dict[str, dict[int, tuple[float, float]]]:
    """By name and step, the points that no later one and no later restart replaces: gone through from the end."""
    found: dict[str, dict[int, tuple[float, float]]] = {}
    first_dropped: float = math.inf
    for name, step, value, time in reversed(entries):
        if not name:
            first_dropped = min(first_dropped, step)
        elif step < first_dropped:
            found.setdefault(name, {}).setdefault(step, (value, time))
    return found


def _records(path: Path) -> Iterator[tuple[bytes, int]]:
    """The Events with the checksums that they should have."""
    checksums: dict[int, int] = {}  # of lengths: a file has few
    with open_plain(path, LARGEST) as file:
        while len(head := file.read(HEAD.size)) == HEAD.size and any(head):  # zeros: the machine stopped meanwhile
            length, checksum = HEAD.unpack(head)
            if length not in checksums:
                checksums[length] = _checksum(head[:8])
            if checksums[length] != checksum:
                raise DataError(f"{path} is damaged, or no file of TensorBoard: the checksum of a length is wrong")
            if length > LARGEST_RECORD:
                raise DataError(f"{path} is damaged, or no file of TensorBoard")
            record = file.read(length + 4)
            if len(record) < length + 4:
                return
            yield record[:-4], int.from_bytes(record[-4:], "little")


def _checksum(content: bytes) -> int:
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

    return int(masked_crc32c(content))
