"""Which class a mirrored clip has: a table of the user's, for classes that mirroring changes.

    swipe left,swipe right      a mirrored clip of either class is one of the other
    read a sign,-               clips of this class are not mirrored
    "left, then right",bow      quotes as in any CSV

Clips of classes that the table does not name keep their class.
"""

import csv
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

from common.errors import DataError
from common.text import quoted
from data.clips.dataset import DO_NOT_MIRROR
from data.labels.csv_file import read_rows
from data.labels.text import did_you_mean

NOT = "-"
MOST_ROWS = 1000
"""A checkpoint has them all."""


def read_mirrored(path: Path) -> tuple[str, ...]:
    """The rows of a table, each a line of CSV. DataError, which names the line, if they do not make sense."""
    pairs: dict[str, str] = {}
    for line, fields in read_rows(path):
        if len(fields) != 2 or not all(fields):
            raise DataError(
                f"{path}, line {line}: give two columns, a class and the one that it becomes when it is mirrored (or "
                f"{NOT} to mirror no clip of it)"
            )
        name, other = fields
        known = pairs.get(name)
        if known not in (None, other):
            raise DataError(f"{path}, line {line}: {quoted(name)} becomes {quoted(other)}, and {quoted(known)} before")
        pairs[name] = other
    for name, other in pairs.items():
        back = name if other == NOT else pairs.get(other, name)
        if back != name:
            raise DataError(
                f"{path}: {quoted(name)} becomes {quoted(other)}, which becomes {quoted(back)}: mirrored twice, a clip "
                "is as it was"
            )
        twice = [each for each in pairs if each != name and pairs[each] == other != NOT]
        if twice:
            raise DataError(f"{path}: {quoted(name)} and {quoted(twice[0])} both become {quoted(other)}")
    if not pairs:
        raise DataError(f"{path} has no rows")
    if len(pairs) > MOST_ROWS:
        raise DataError(f"{path} has {len(pairs)} rows, more than {MOST_ROWS}")
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerows(pairs.items())
    return tuple(text.getvalue().splitlines())


def mirrored_labels(rows: Sequence[str], classes: Sequence[str]) -> list[int]:
    """The label of each class's mirrored clips, or DO_NOT_MIRROR, by the rows of `read_mirrored`.

    DataError for a name that is no class.
    """
    numbers = {name: number for number, name in enumerate(classes)}
    labels = list(range(len(classes)))
    for name, other in csv.reader(rows):
        for each in (name,) if other == NOT else (name, other):
            if each not in numbers:
                raise DataError(f"{quoted(each)} is none of the {len(classes)} classes{did_you_mean(each, classes)}")
        if other == NOT:
            labels[numbers[name]] = DO_NOT_MIRROR
        else:
            labels[numbers[name]], labels[numbers[other]] = numbers[other], numbers[name]
    return labels
