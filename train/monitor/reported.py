"""What a run reported of its epochs, as its checkpoints keep it, and whether rows of its score files say the same."""

import math
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from common.files import what_is_at
from evaluate.metrics import Scores
from network.weights.reading import read_plainly

Reported = Sequence[Any]
"""An epoch: its number, its training loss, and its validation loss or None; then the other scores of both, by name.

Older versions kept the losses alone.
"""
SPLITS = {"train": 1, "val": 2}
"""The places of the losses; the other scores are two places further."""
LOSS = "loss"
PERCENTAGES = {"top1", "top5", "mean_class"}
DIGITS = {LOSS: 6}
DIGITS_OF_OTHERS = 4
"""After the point, in the score files."""
MOST_NAMED = 3


def entry_of(epoch: int, train: Scores, val: Scores | None) -> list[Any]:
    """What is kept of an epoch; a score that was not counted is left out."""
    kept: list[Any] = [epoch, train.loss, val.loss if val else None]
    for scores in (train, val):
        others = scores.values().items() if scores else ()
        kept.append({name: value for name, value in others if name != LOSS and math.isfinite(value)})
    return kept


def is_reported(value: object) -> bool:
    """Whether a value may be what is kept of an epoch."""
    return (
        isinstance(value, list | tuple)
        and len(value) in (3, 5)
        and type(value[0]) is int
        and 1 <= value[0] < 2**53
        and _is_number(value[1])
        and (value[2] is None or _is_number(value[2]))
        and all(isinstance(others, Mapping) and _are_scores(others) for others in value[3:])
    )


def _are_scores(others: Mapping[Any, Any]) -> bool:
    return all(isinstance(name, str) and _is_number(value) for name, value in others.items())


def _is_number(value: object) -> bool:
    return (type(value) is float and math.isfinite(value)) or (type(value) is int and abs(value) < 2**53)


def scores_in(entry: Reported, split: str) -> dict[str, float]:
    """The scores of an epoch, the loss too; of an older version's the loss alone. None if it was not validated."""
    place = SPLITS[split]
    if entry[place] is None:
        return {}
    return {LOSS: entry[place], **(entry[place + 2] if len(entry) > place + 2 else {})}


def other_scores(row: Mapping[str, object], entry: Reported, split: str) -> list[str]:
    """The scores of which a row has another value than the epoch, as precisely as it tells it.

    A cell without a number may be any. Of an epoch that was not validated, a loss is another.
    """
    known = scores_in(entry, split)
    if not known:
        return [LOSS] if _told(row.get(LOSS)) else []
    return [name for name, value in known.items() if not _is_value(row.get(name), name, value)]


def _told(cell: object) -> tuple[Decimal, int] | None:
    """The number in a cell, and the exponent of its last digit; None if it has none."""
    try:
        told = Decimal(str(cell or "nan").strip())
    except InvalidOperation:
        return None
    digits = told.as_tuple().exponent
    return (told, digits) if isinstance(digits, int) else None  # no int: no finite number


def _is_value(cell: object, name: str, value: float) -> bool:
    """Whether a cell may be of this value. A spreadsheet leaves zeros out, adds some, and may round."""
    if (found := _told(cell)) is None:
        return True
    told, digits = found
    digits = min(digits, 0 if name in PERCENTAGES else 300)  # 1E+2 is 100 %
    return abs(float(told) - value) <= 0.51 * max(10.0**digits, 10.0 ** -DIGITS.get(name, DIGITS_OF_OTHERS))


def rows_of_others(rows: Sequence[Mapping[str, object]], reported: Sequence[Reported], split: str) -> str:
    """The rows that are not of the epochs reported, in words such as `top1 of epoch 3`; nothing if there are none."""
    entries = {entry[0]: entry for entry in reported}
    found = [f"{', '.join(names)} of epoch {epoch}" for epoch, names in _others(rows, entries, split)]
    more = f" and of {len(found) - MOST_NAMED} more epochs" if len(found) > MOST_NAMED else ""
    return ", ".join(found[:MOST_NAMED]) + more


def _others(
    rows: Sequence[Mapping[str, object]], entries: Mapping[int, Reported], split: str
) -> Iterator[tuple[int, list[str]]]:
    for row in rows:
        epoch = int(float(str(row["epoch"])))
        if epoch in entries and (names := other_scores(row, entries[epoch], split)):
            yield epoch, names


def _time(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def reported_in(folder: Path) -> tuple[str, list[Reported]]:
    """The name of the newest state in the folder of a run, and the epochs that it has; none if it does not tell."""
    for path in sorted(folder.glob("*_last.pth"), key=_time, reverse=True):
        try:
            reported = read_plainly(path)["progress"]["reported"] if what_is_at(path) == "file" else None
        except Exception:  # `read_plainly` documents few errors
            continue
        if isinstance(reported, list) and all(map(is_reported, reported)):
            return path.name, reported
    return "", []
