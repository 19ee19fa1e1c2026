"""The result of a command: counts of outcomes and a list of problems, as a table and as a CSV file."""

import csv
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TextIO, cast

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from common.errors import DataError
from common.files import atomic_file, reason, what_is_at
from common.text import printable, shortened
from data.labels.csv_file import read_table
from data.labels.text import counted

PRINTED_PROBLEMS = 50  # the CSV has them all
HANDFUL = 5  # problems of one reason; more become one row of the table
PIPE_WIDTH = 120  # characters, of a table that goes to a file or pipe


class Problem(NamedTuple):
    """A problem: its kind ("failed", "missing", "warning"...), the video or file that has it, and the reason.

    `videos` is the folder in which the item is, if the list may have the problems of several.
    """

    kind: str
    item: str
    reason: str
    videos: str = ""


COLUMNS = list(Problem._fields[:3])  # of each list; others follow where a problem has them


class Report:
    """Counts of outcomes, and problems, in the order in which they were added.

    >>> report = Report("convert")
    >>> report.count("converted")
    >>> report.add("failed", "jumping/a.mp4", "no video stream")
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self.counts: Counter[str] = Counter()
        self.problems: list[Problem] = []
        self.tables: list[Table] = []  # of the command, below those of counts and problems
        self.notes: list[str] = []
        self.is_short = False  # many problems of one reason are one row, though no list has each

    def count(self, outcome: str, number: int = 1) -> None:
        """Add `number` to the count of an outcome; after 0, the table shows the outcome, too."""
        self.counts[outcome] += number

    def add(self, kind: str, item: str, reason: str, videos: str = "") -> None:
        """Add a problem and count it under its kind."""
        self.counts[kind] += 1
        self.problems.append(Problem(kind, item, " ".join(reason.split()), videos))

    def print(self, console: Console | None = None, csv_path: Path | None = None) -> bool:
        """Print the tables of counts and of problems (the first 50 rows), then `tables` and notes.

        `csv_path` is the list that was written, if any: then many problems of one reason are one row. An output that
        takes no more is given up. Returns False if that is a fault, as a full disk is, True if its reader has
        ended.
        """
        output = _Lasting(sys.stdout) if sys.stdout and console is None else None
        console = console or _console(output)
        self._print_tables(console, csv_path)
        for table in self.tables:
            console.print(table)
        for note in self.notes:
            console.print(Text(printable(note)), soft_wrap=True)
        return output is None or not output.has_failed

    def _print_tables(self, console: Console, csv_path: Path | None) -> None:
        console.print(Text(printable(self.title)), soft_wrap=True)
        counts = Table("outcome")
        counts.add_column("number", justify="right")
        for outcome, number in self.counts.items():
            counts.add_row(Text(printable(outcome)), str(number))
        console.print(counts)
        if not self.problems:
            return
        problems = Table()
        problems.add_column("problem", no_wrap=True)
        problems.add_column("item", overflow="fold", ratio=2)
        problems.add_column("reason", overflow="fold", ratio=3)
        is_short = self.is_short or csv_path is not None
        alike = self._alike() if is_short else [[problem] for problem in sorted(self.problems)]
        for same in alike[:PRINTED_PROBLEMS]:
            kind, item, why, _ = same[0]
            item = item if len(same) == 1 else f"{counted(len(same), 'video')}, such as {item}"
            problems.add_row(*(Text(printable(field)) for field in (kind, item, why)))
        console.print(problems)
        hidden = sum(map(len, alike[PRINTED_PROBLEMS:]))
        if hidden > 0:
            console.print(f"... and {hidden} more")
        if csv_path is not None:
            console.print(Text(f"all problems are listed in {printable(str(csv_path))}"), soft_wrap=True)

    def _alike(self) -> list[list[Problem]]:
        """The problems in order, those of one kind and reason together if they are more than a handful."""
        by_reason: defaultdict[tuple[str, str], list[Problem]] = defaultdict(list)
        for problem in sorted(self.problems):
            by_reason[problem.kind, problem.reason].append(problem)
        rows: list[list[Problem]] = []
        for same in by_reason.values():
            rows += [same] if len(same) > HANDFUL else [[problem] for problem in same]
        return sorted(rows)


def write_problems(path: Path, problems: Iterable[Problem]) -> None:
    """Write the problems, sorted, as CSV with the header kind,item,reason, and videos if any has that.

    DataError if that fails. A file that was not written here is not replaced.
    """
    check_list(path)
    rows = sorted(problems)
    width = len(Problem._fields) if any(problem.videos for problem in rows) else len(COLUMNS)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            atomic_file(path) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.writer(file)
            writer.writerow(Problem._fields[:width])
            writer.writerows(map(as_listed, problem[:width]) for problem in rows)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {reason(error)}") from error


def as_listed(text: str) -> str:
    """The text as a list has it: what is not UTF-8 in the name of a file becomes an escape."""
    return text.encode(errors="backslashreplace").decode()


def read_problems(path: Path) -> list[Problem]:
    """Read what `write_problems` wrote, nothing if there is no such file; DataError if it is another kind of file."""
    # The name of a file may have line breaks that look like rows.
    return [Problem(*fields) for _, fields in read_table(path, may_span=True)[1]] if check_list(path) else []


def check_list(path: Path) -> bool:
    """Whether there is a list that `write_problems` wrote; DataError if it is another kind of file."""
    there = what_is_at(path)
    if there not in ("", "file"):
        raise DataError(f"{path} is a {there}, but the list of problems is to be written there; move it away")
    columns = read_table(path)[0] if there else COLUMNS
    if columns not in (COLUMNS, list(Problem._fields)):
        raise DataError(f"{path}: the header is {shortened(','.join(columns))}, not {','.join(COLUMNS)}; move it away")
    return bool(there)


def progress_bar() -> Progress:
    """A progress bar on stderr with counts, elapsed time and remaining time; use it in a `with`."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=_console(_Lasting(sys.stderr) if sys.stderr else None),
    )


def _console(stream: "_Lasting | None") -> Console:
    console = Console(file=cast(Any, stream), stderr=stream is None)
    if not console.is_terminal:
        console.width = max(PIPE_WIDTH, console.width)
    return console


class _Lasting:
    """An output stream that writes what its encoding lacks as escapes, and never fails: then it drops what comes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.has_failed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text, or drop it."""
        encoding = self._stream.encoding or "utf-8"
        try:
            self._stream.write(text.encode(encoding, errors="backslashreplace").decode(encoding))
        except OSError as error:
            self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """Flush what was written, or drop it."""
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """Send the rest to nowhere: Python would fail on it again when the process ends."""
        with suppress(OSError, ValueError):
            self.has_failed |= not isinstance(error, BrokenPipeError)
            if self._stream is sys.stdout and not isinstance(error, BrokenPipeError):
                print(f"the output cannot be written: {reason(error)}", file=sys.stderr)
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)
