"""How a video's frames.db is opened: read-only, without locks, and only if SQLite reads frames from it and no more.

A file of others may hold a view, a virtual table or computed columns in place of the table Images. SQLite would run
them, without end if they are made so. A file that a program is writing would give frames that are never committed.
"""

import errno
import os
import re
import sqlite3
import stat
from pathlib import Path
from urllib.parse import quote

from common.files import reason
from data.store.video_source import VideoSourceError

REMEDY = "delete the video's folder and convert it again (python -m data.prepare.verify DATASET --delete-broken does)"
CONVERT = "convert the video to frames (python -m data.prepare.convert)"
ERRORS = (sqlite3.Error, UnicodeDecodeError, MemoryError)  # of a query; SQLite's message may quote damaged names
DAMAGE = ("malformed", "not a database")  # in SQLite's messages for SQLITE_CORRUPT and SQLITE_NOTADB
MAX_VALUE = 2**27  # bytes of a JPEG or a name; a file may state up to 1 GB for each
SHOWN = 200  # characters of a message or name that comes from the file

# SQLite reads the whole schema before the first query. In a damaged or crafted file its rows may have no end, or each
# be large. A schema of ours takes 30 steps, and has statements of less than 100 bytes.
MAX_SCHEMA_STEPS = 20_000  # of SQLite's virtual machine: a thousand tables
MAX_SCHEMA_TEXT = 2**16  # bytes of a statement

_LIMIT_LENGTH = 0  # SQLITE_LIMIT_LENGTH of sqlite3.h
_TABLES = "SELECT type, sql FROM sqlite_master WHERE name = '{}' COLLATE NOCASE"
_TABLES_IMAGES = _TABLES.format("Images")
# SQLite stores the statement with its first words in this spelling. The name must be checked, too: a crafted schema may
# store the statement of one table under the name of another.
_PLAIN_TABLE = re.compile(rb"""CREATE TABLE\s*["'`\[]?(\w+)["'`\]]?\s*\(""", re.IGNORECASE)
_NOT_STORED = re.compile(rb"\bas\b|_rowid_", re.IGNORECASE)  # `name type AS (expression)`, or a column _rowid_


class FrameStoreError(VideoSourceError):
    """A database or frame that cannot be read.

    `damaged`: the file's content is proved to be bad. Otherwise the file may be whole: its path, its permissions, the
    memory, another program or the index asked for is the reason, or the file is of a kind that is not read.
    """

    def __init__(self, message: str, damaged: bool = False) -> None:
        super().__init__(message)
        self.damaged = damaged


def open_database(path: str) -> sqlite3.Connection:
    """Open frames.db to read the table Images; text comes as bytes. FrameStoreError, also for an unfinished change."""
    _check_no_change(path, _real_path(path))
    absolute = path if path.startswith("/") else os.path.join(os.getcwd(), path)  # noqa: PTH109, PTH118 - Path is slow
    uri = f"file://{quote(os.fsencode(absolute))}?mode=ro&immutable=1"
    try:
        connection = sqlite3.connect(uri, uri=True, isolation_level=None)
    except ERRORS as error:
        raise database_error(path, error) from error
    try:
        connection.text_factory = bytes  # names need not be UTF-8
        set_limit = getattr(connection, "setlimit", None)  # since Python 3.11
        if set_limit is not None:
            set_limit(_LIMIT_LENGTH, MAX_SCHEMA_TEXT)
        connection.set_progress_handler(_stop, MAX_SCHEMA_STEPS)
        tables = connection.execute(_TABLES_IMAGES).fetchall()
        if len(tables) != 1 or not _is_plain(b"images", *tables[0]):
            raise _no_plain_table(path, tables, connection)
        connection.set_progress_handler(None, 0)
        if set_limit is not None:
            set_limit(_LIMIT_LENGTH, MAX_VALUE)
    except ERRORS as error:
        connection.close()
        raise database_error(path, error) from error
    except FrameStoreError:
        connection.close()
        raise
    return connection


def has_plain_table(connection: sqlite3.Connection, name: str) -> bool:
    """Whether there is a table of that name (letters alone) from which SQLite reads what is stored and no more.

    May raise ERRORS.
    """
    tables = connection.execute(_TABLES.format(name)).fetchall()
    return len(tables) == 1 and _is_plain(name.lower().encode(), *tables[0])


def database_error(path: str, error: Exception) -> FrameStoreError:
    """The error to raise for one of ERRORS."""
    if isinstance(error, MemoryError):
        return FrameStoreError(f"{path} cannot be read: there is not enough memory")
    try:
        Path(path).open("rb").close()  # SQLite does not say why a file cannot be opened
    except OSError as cause:
        return FrameStoreError(f"{path} cannot be read ({reason(cause)})")
    text = shown(str(error))
    if text == "interrupted":
        return FrameStoreError(f"{path}: its schema does not end; it is not read; move it away, and {CONVERT}")
    if isinstance(error, UnicodeDecodeError) or any(words in text for words in DAMAGE):
        return FrameStoreError(f"{path} is not a complete frame database ({text}); {REMEDY}", damaged=True)
    return FrameStoreError(f"{path} cannot be read as a frame database ({text}{path_hint(path, text)})")


def path_hint(path: str, text: str) -> str:
    """What to add to SQLite's message on a file that it cannot open, if its path is too long."""
    if "unable to open" not in text or len(os.path.abspath(os.fsencode(path))) <= 500:  # noqa: PTH100 - as above
        return ""
    return ": SQLite opens no path of more than 511 bytes"


def shown(text: str) -> str:
    """Text from the file for a message: its beginning, in one line, without control characters."""
    cut = text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in cut)


def _real_path(path: str) -> str:
    """The path of the file itself, beside which its journal lies; FrameStoreError unless it is a plain file."""
    real = path
    try:
        mode = os.lstat(path).st_mode
        if stat.S_ISLNK(mode):
            real = os.path.realpath(path)
            mode = os.stat(path).st_mode  # noqa: PTH116 - done for each clip, and Path is slow
    except OSError as error:
        if error.errno == errno.ENOENT and os.path.islink(path):  # noqa: PTH114 - as above
            raise FrameStoreError(f"{path} is a link to {real}, which is not there") from error
        remedy = f"; {CONVERT}" if error.errno == errno.ENOENT else ""
        raise FrameStoreError(f"{path} cannot be read ({reason(error)}){remedy}") from error
    if not stat.S_ISREG(mode):
        raise FrameStoreError(f"{path} is not a plain file; move it away, and {CONVERT}")
    return real


def _check_no_change(path: str, real: str) -> None:
    """FrameStoreError if a program is changing the database, or was killed while it did."""
    for suffix in ("-journal", "-wal"):
        if os.access(real + suffix, os.F_OK) and _holds_change(real + suffix):
            raise FrameStoreError(
                f"{path} has a {os.path.basename(real)}{suffix} beside it: a program is writing it, or was killed "  # noqa: PTH119 - as above
                "while writing; wait for that program. If it was killed, open the database once with the program "
                "sqlite3, which ends the unfinished change, or delete the video's folder and convert it again"
            )


def _holds_change(path: str) -> bool:
    """Whether a journal or WAL is needed to read its database.

    After a change, SQLite deletes its journal, empties it (TRUNCATE) or overwrites its header with zeros (PERSIST).
    Before it changes the database, it writes the header.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 - as above
            return True
        with Path(path).open("rb") as file:
            first = file.read(1)
    except FileNotFoundError:  # the change has ended
        return False
    except OSError:
        return True
    return first not in (b"", b"\0") if path.endswith("-journal") else first != b""


def _stop() -> int:
    return 1


def _is_plain(name: bytes, kind: bytes, sql: object) -> bool:
    """Whether an entry of the schema is a table whose columns are all stored, and whose rows `_rowid_` numbers."""
    if kind != b"table" or not isinstance(sql, bytes) or _NOT_STORED.search(sql):
        return False
    statement = _PLAIN_TABLE.match(sql)
    return statement is not None and statement[1].lower() == name


def _no_plain_table(path: str, tables: list[tuple[bytes, object]], connection: sqlite3.Connection) -> Exception:
    if tables:
        return FrameStoreError(
            f"{path} has no plain table Images (a view, a virtual table, or one with computed columns or a column "
            f"_rowid_): it is not read; move it away, and {CONVERT}"
        )
    others = connection.execute("SELECT name FROM sqlite_master ORDER BY rowid LIMIT 1").fetchone()
    if others is None:
        return FrameStoreError(f"{path} is empty (no such table: Images); {REMEDY}", damaged=True)
    name = others[0].decode(errors="replace") if isinstance(others[0], bytes) else str(others[0])
    held = f"it holds {shown(name)!r}, and seems to be of another program"
    return FrameStoreError(
        f"{path} is not a frame database (no such table: Images): {held}; move it away, and {CONVERT}"
    )
