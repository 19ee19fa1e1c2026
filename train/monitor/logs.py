"""The log of a run: in colour on the console, as plain text in a file."""

import logging
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

LOG = logging.getLogger("srtg")
LOG_WIDTH = 120  # columns of lines and tables


class ConsoleHandler(logging.Handler):
    """Prints through a rich Console, which keeps lines above a progress bar.

    A record may carry a coloured version of its message: `LOG.info(text.plain, extra={"rich": text})`.
    """

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        message = getattr(record, "rich", None) or Text(record.getMessage(), style=_STYLES.get(record.levelname, ""))
        self.console.print(message, soft_wrap=True, highlight=False)


_STYLES = {"WARNING": "yellow", "ERROR": "red", "DEBUG": "dim"}


def make_console() -> Console:
    """A console as wide as the terminal; 120 columns for a file or pipe, so that tables are not cut."""
    console = Console()
    return console if console.is_terminal else Console(width=LOG_WIDTH)


def start_logging(console: Console, is_first_rank: bool, debug: bool) -> None:
    """Log to the console. Ranks other than the first log only errors: their warnings would repeat the first's."""
    LOG.handlers = [ConsoleHandler(console)]
    LOG.propagate = False
    LOG.setLevel(logging.ERROR if not is_first_rank else logging.DEBUG if debug else logging.INFO)
    logging.captureWarnings(True)
    warnings = logging.getLogger("py.warnings")
    warnings.handlers = LOG.handlers
    warnings.setLevel(LOG.level)


def log_to_file(path: Path) -> None:
    """Also log to a file; append if it exists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    LOG.addHandler(handler)
    logging.getLogger("py.warnings").addHandler(handler)


def log_table(table: Table) -> None:
    """Log a rich table: as a table on the console, as text in the file."""
    console = Console(width=LOG_WIDTH, force_terminal=False, color_system=None)
    with console.capture() as capture:
        console.print(table)
    LOG.info(capture.get().rstrip(), extra={"rich": table})
