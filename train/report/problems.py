"""What could not be read: it is said on the page and on the console, and does not stop the report."""

import csv
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common.errors import DataError
from common.files import open_plain_text, reason
from common.text import shortened

LARGEST_TEXT = 2**26  # bytes of a CSV file that is read
LARGEST_JSON = 2**23  # bytes of a JSON file, which takes up to 25 times as much memory
MOST_ROWS = 200_000
LARGEST_NUMBER = 1e100


class Problems(list[str]):
    """Lines, each of a file that is there and could not be used. `notes` are lines about what is merely gone.

    `frames_from` are the folders of which frames are shown: who sends the page must know.
    """

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []
        self.frames_from: dict[str, None] = {}

    @contextmanager
    def noted(self, path: Path, what: str = "") -> Iterator[None]:
        """Note an error of reading `path` instead of raising it, and that `what` is left out. No file is no error."""
        try:
            yield
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, KeyError, csv.Error, RecursionError, OverflowError) as error:
            why = reason(error) if isinstance(error, OSError) else shortened(str(error), 200)
            named = why if str(path) in why else f"{path}: {why or type(error).__name__}"
            self.append(named + (f"; left out: {what}" if what else ""))


def inside(run: Path, path: Path) -> Path:
    """`path`, which is one in the folder `run`; DataError if a link in it leads out of the folder.

    The page is sent on, and a run may come from anyone: else it would hold any file of this machine. The folder of the
    run itself may be a link.
    """
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(run)):  # Path.resolve raises for a loop
        raise DataError(f"{path} is reached through a link out of the run's folder, which is not followed")
    return path


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; ValueError if it has none, OSError if it cannot be read."""
    with open_plain_text(path, LARGEST_JSON) as file:
        try:
            value = json.load(file)
        except ValueError as error:
            raise DataError(f"{path} is damaged, or no JSON ({shortened(str(error), 120)})") from None
    if not isinstance(value, dict):
        raise DataError(f"{path} holds no JSON object")
    return value


def read_table(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """The rows of a CSV file, which must have these columns; DataError if it has not, OSError."""
    try:
        with open_plain_text(path, LARGEST_TEXT, newline="") as file:
            reader = csv.reader(file)
            head = next(reader, [])
            if missing := [name for name in columns if name not in head]:
                raise DataError(f"{path} has no column {missing[0]}")
            rows = []
            for cells in reader:
                if cells and len(cells) != len(head):
                    raise DataError(f"{path}: line {reader.line_num} has {len(cells)} cells and the header {len(head)}")
                rows += [dict(zip(head, cells, strict=True))] if cells else []
                if len(rows) > MOST_ROWS:
                    raise DataError(f"{path} has more than {MOST_ROWS:,} rows, which are too many to show")
    except DataError:
        raise
    except (ValueError, csv.Error) as error:  # ValueError: no UTF-8
        raise DataError(f"{path} is damaged ({shortened(str(error), 120)})") from None
    return rows


def number(value: object) -> float | None:
    """A number of a CSV or JSON file, which may write it as text; None for anything else, and beyond all sense."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    if abs(found) < 1 / LARGEST_NUMBER:
        return 0.0
    return found if abs(found) < LARGEST_NUMBER else None  # also for NaN
