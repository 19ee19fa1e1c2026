"""The quality that a JPEG was written with, as libjpeg counts it (1 to 100): its quantisation tables tell."""

from collections.abc import Iterator
from functools import cache

import numpy as np

# ITU-T T.81, annex K.1, tables K.1 (luminance) and K.2 (chrominance), row by row.
LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
CHROMINANCE = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99,
    99, 99, 99, *[99] * 32,
)  # fmt: skip
ENTRIES = 64  # of a table
SCANS, TABLES = 0xDA, 0xDB  # the markers (table B.1) that begin the picture's data, and quantisation tables
Table = tuple[int, ...]


def jpeg_quality(blob: bytes) -> int | None:
    """The quality at which libjpeg writes exactly the JPEG's tables; None if it was written with others.

    Pillow, OpenCV and libjpeg-turbo write such tables; FFmpeg and cameras mostly do not.
    """
    tables = dict(_tables(blob))
    if not tables or not tables.keys() <= {0, 1}:
        return None
    fitting = [_qualities(number).get(table, frozenset()) for number, table in tables.items()]
    return max(frozenset.intersection(*fitting), default=None)


def _tables(blob: bytes) -> Iterator[tuple[int, Table]]:
    """The numbers and tables before the picture's data, row by row as in the standard; of a table twice, both."""
    position = 2
    while position + 4 <= len(blob) and blob[position] == 0xFF and blob[position + 1] != SCANS:
        marker, length = blob[position + 1], int.from_bytes(blob[position + 2 : position + 4], "big")
        if marker == TABLES:
            yield from _tables_of(blob[position + 4 : position + 2 + length])
        position += 1 if marker == 0xFF else 2 + length  # 0xFF may be repeated before a marker


def _tables_of(segment: bytes) -> Iterator[tuple[int, Table]]:
    while segment:
        width = 2 if segment[0] >> 4 else 1  # bytes of an entry
        entries, rest = segment[1 : 1 + width * ENTRIES], segment[1 + width * ENTRIES :]
        if len(entries) == width * ENTRIES:
            values = np.frombuffer(entries, ">u2" if width == 2 else np.uint8).tolist()
            yield segment[0] & 15, tuple(values[place] for place in _zigzag_places())
        segment = rest


@cache
def _zigzag_places() -> Table:
    """For each entry of a table, row by row, its place in the zigzag order of a file (figure A.6)."""
    order = sorted(
        ((row, column) for row in range(8) for column in range(8)),
        key=lambda at: (sum(at), at[0] if sum(at) % 2 else at[1]),
    )
    return tuple(order.index((row, column)) for row in range(8) for column in range(8))


@cache
def _qualities(number: int) -> dict[Table, frozenset[int]]:
    """The qualities of each table that libjpeg writes as number 0 (luminance) or 1 (chrominance): jcparam.c.

    The lowest qualities have the same table of chrominance.
    """
    standard = np.array(CHROMINANCE if number else LUMINANCE)
    tables: dict[Table, frozenset[int]] = {}
    for quality in range(1, 101):
        scale = 5000 // quality if quality < 50 else 200 - 2 * quality
        table = tuple(((standard * scale + 50) // 100).clip(1, 255).tolist())
        tables[table] = tables.get(table, frozenset()) | {quality}
    return tables
