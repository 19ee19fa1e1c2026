"""The log of a run: in colour on the console, as plain text in a file."""

import copy
import io
import logging
import os
import re
import shutil
import sys
from collections.abc import Mapping
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from common.console import safe_console
from common.errors import DataError
from common.files import atomic_file, reason, what_is_at, write_errors
from common.text import printable

LOG = logging.getLogger("srtg")
LOG_WIDTH = 120  # columns of lines and tables
FILE_ONLY = {"file_only": True}  # `extra` of a record that is not for the console
LOG_LINE = re.compile(rb"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ ", re.MULTILINE)
LOG_START = 2**16  # bytes; the log may follow other text, as of nohup
WARNINGS = "py.warnings"  # the logger of `warnings.warn`
MOST_RECORDS = 100_000  # held until there is a file


class StandardOutput:
    """Standard output as a file that never fails.

    When its reader is gone or the disk is full, `failure` says so and the output is dropped. Characters that its
    encoding lacks are written as escapes.
    """

    def __init__(self) -> None:
        self.failure = ""
        self.stream: Any = sys.stdout  # a progress bar replaces sys.stdout by one that prints through the console
        if hasattr(self.stream, "reconfigure"):
            self.stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        """Write, unless it has failed before."""
        return self._try("write", text) or 0

    def flush(self) -> None:
        """Flush, unless it has failed before."""
        self._try("flush")

    def _try(self, method: str, *arguments: str) -> Any:
        if self.failure or self.stream is None:
            return None
        try:
            return getattr(self.stream, method)(*arguments)
        except (OSError, ValueError) as error:  # ValueError: it was closed
            self.failure = reason(error) if isinstance(error, OSError) else str(error)
            self._drop()
            return None

    def __getattr__(self, name: str) -> Any:
        """`encoding`, `isatty`, `fileno`: those of standard output."""
        return getattr(self.stream, name)

    def _drop(self) -> None:
        """Send what is still written there nowhere; else Python would fail to flush it at its exit."""
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())
        except (OSError, ValueError):  # it is no file, or is closed
            return


class ConsoleHandler(logging.Handler):
    """Prints through a rich Console, which keeps lines above a progress bar.

    A record may carry a coloured version of its message: `LOG.info(text.plain, extra={"rich": text})`.
    """

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console
        self.is_gone = False

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record. If standard output has failed, log that once."""
        if hasattr(record, "file_only"):
            return
        text = Text(_message(record), style=_STYLES.get(record.levelname, ""))
        self.console.print(getattr(record, "rich", None) or text, soft_wrap=True, highlight=False)
        failure = getattr(self.console.file, "failure", "")
        if failure and not self.is_gone:
            self.is_gone = True
            LOG.warning("standard output is gone (%s): the run goes on, and only the log file has its lines", failure)


def _message(record: logging.LogRecord) -> str:
    """The message of a record in which only the format has lines: a foreign value cannot make a line of the log."""
    if record.name == WARNINGS:  # one has two lines: the warning and the line of the program
        return printable(" ".join(record.getMessage().split()))
    shown = copy.copy(record)
    if isinstance(shown.args, Mapping):
        shown.args = {name: _value(each) for name, each in shown.args.items()}
    elif shown.args:
        shown.args = tuple(map(_value, shown.args))
    return printable(shown.getMessage(), keep="\n\t")


def _value(value: object) -> object:
    """A value of a message: itself, unless its text has control characters."""
    text = str(value)
    shown = printable(text)
    return value if shown == text else shown


class _LineFormatter(logging.Formatter):
    """Indents a traceback, whose message may be foreign text, so that none of its lines looks like one of the log."""

    def formatException(self, ei: Any) -> str:
        """The lines of a traceback."""
        lines = printable(super().formatException(ei), keep="\n\t").split("\n")
        return "\n".join(f"    {line}" for line in lines)


_STYLES = {"WARNING": "yellow", "ERROR": "red", "DEBUG": "dim"}


class LogFile(logging.FileHandler):
    """Appends to the log file. If it cannot be written, a warning says so once; each later line is tried again."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8", errors="backslashreplace")
        self.setFormatter(_LineFormatter("%(asctime)s %(levelname)-7s %(message)s"))
        self.has_failed = False

    def format(self, record: logging.LogRecord) -> str:
        """The line or lines of a record."""
        shown = copy.copy(record)
        shown.msg, shown.args, shown.exc_text = _message(record), (), None
        return super().format(shown)

    def handleError(self, record: logging.LogRecord) -> None:
        """Warn on the console, the first time; logging would print a traceback for each line."""
        error = sys.exc_info()[1]
        if not self.has_failed:
            self.has_failed = True
            why = reason(error) if isinstance(error, OSError) else str(error)
            LOG.warning(
                "%s cannot be written (%s): lines may be missing there; the run goes on", self.baseFilename, why
            )

    def close(self) -> None:
        """Close the file; lines that could not be written are lost."""
        try:
            super().close()
        except OSError as error:
            if not self.has_failed:
                print(f"{self.baseFilename} cannot be written ({reason(error)})", file=sys.stderr)


def make_console() -> Console:
    """A console as wide as the terminal; 120 columns for a file or pipe, so that tables are not cut.

    If standard output fails, it drops what is printed.
    """
    output: Any = StandardOutput()
    console = safe_console(file=output)
    return console if console.is_terminal else safe_console(file=output, width=LOG_WIDTH)


def start_logging(console: Console, is_first_rank: bool, debug: bool) -> None:
    """Log to the console, and hold the lines for `log_to_file`.

    Ranks other than the first log only errors: their warnings would repeat the first's.
    """
    held = MemoryHandler(MOST_RECORDS, flushLevel=logging.CRITICAL + 1, flushOnClose=False)
    LOG.handlers = [ConsoleHandler(console), held] if is_first_rank else [ConsoleHandler(console)]
    LOG.propagate = False
    LOG.setLevel(logging.ERROR if not is_first_rank else logging.DEBUG if debug else logging.INFO)
    logging.captureWarnings(True)
    warnings = logging.getLogger(WARNINGS)
    warnings.handlers = LOG.handlers
    warnings.setLevel(LOG.level)


def log_to_file(path: Path) -> bool:
    """Also log to a file, the lines so far included; append if it exists. DataError if it cannot be written.

    A file that is open under this path is closed: it may have been moved or deleted.
    """
    with write_errors(path, "give another --log-file or --model-dir"):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_fifo():
            raise DataError(f"{path} is a pipe, which the run would wait for: delete it, or give another --log-file")
        if path.is_symlink():
            _check_link(path)
        if not _is_log(path):
            raise DataError(f"{path} exists and is no log of a run: give another --log-file")
        if path.is_file() and path.stat().st_nlink > 1:  # of a run's folder copied with `cp -al`: the original's log
            with atomic_file(path.resolve()) as temporary:
                shutil.copy(path, temporary)
        handler = LogFile(path)
    held = [each for each in LOG.handlers if isinstance(each, MemoryHandler)]
    before = _files_of(path)  # one that was moved or deleted since
    # `handlers` of LOG and of warnings are one list.
    LOG.handlers[:] = [each for each in LOG.handlers if each not in (*held, *before)] + [handler]
    for file in before:
        file.close()
    for each in held:
        each.setTarget(handler)
        each.flush()
        each.close()
    return True


def _check_link(path: Path) -> None:
    """DataError unless a link leads to a log that has lines, or to a device such as /dev/null or the terminal.

    Who gave a run's folder may have put a link there, to a file that is to be made or filled: a start-up file of the
    shell would then have lines of the log, which name what the folder's files say.
    """
    named = f"{path} is a link to {printable(os.path.realpath(path))}"  # `realpath` does not raise
    if not what_is_at(path):
        raise DataError(f"{named}, which does not exist: delete the link, or give --log-file that path")
    if path.is_file() and not path.stat().st_size:
        raise DataError(f"{named}, which is empty: delete the link, or give --log-file that path")
    if path.is_block_device():
        raise DataError(f"{named}, which is a disk: delete the link, or give another --log-file")


def _is_log(path: Path) -> bool:
    """Whether a file is absent, empty or has a line of a run's log near its beginning; devices take any text."""
    if not path.is_file():
        return True
    with path.open("rb") as file:
        start = file.read(LOG_START)
    return not start or LOG_LINE.search(start) is not None


def is_logged_to(path: Path) -> bool:
    """Whether lines go to the file that was opened at `path`, which may have been moved since."""
    return bool(_files_of(path))


def _files_of(path: Path) -> list[LogFile]:
    place = os.path.abspath(path)  # noqa: PTH100 (as FileHandler has it: links are kept)
    return [each for each in LOG.handlers if isinstance(each, LogFile) and each.baseFilename == place]


def is_file_awaited() -> bool:
    """Whether lines are held for a log file that is not yet open."""
    return any(isinstance(each, MemoryHandler) for each in LOG.handlers)


def log_table(table: Table) -> None:
    """Log a rich table: as a table on the console, as text in the file."""
    text = io.StringIO()  # Console.capture would also write to standard output, which may be full
    safe_console(file=text, width=LOG_WIDTH, force_terminal=False, color_system=None).print(table)
    LOG.info(text.getvalue().rstrip(), extra={"rich": table})


def print_result(text: str) -> None:
    """Print the last line of a run, for machines."""
    # JSON has its own escapes.
    Console(file=StandardOutput()).print(text, soft_wrap=True, highlight=False, markup=False)  # type: ignore[arg-type]
