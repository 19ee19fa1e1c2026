"""Reading CSV and text files with byte order marks, any line ending, spaces after commas, or quoted fields."""

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TextIO

from common.errors import DataError
from common.files import open_plain, open_plain_text, reason
from common.text import shortened

LARGEST = 2**30  # bytes; the largest official annotations have a tenth of it
NOT_UTF8 = "not UTF-8 text; save the file as UTF-8"
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}  # the first one that fits the header is taken
UTF8, UTF16 = "utf-8-sig", "utf-16"  # as Python names them with a byte order mark
SEPARATOR_LINE = re.compile(r'"?sep=(.?)"?', re.IGNORECASE)  # a spreadsheet's note to itself


class Form(NamedTuple):
    """How a table is written."""

    separator: str = ","
    encoding: str = UTF8


PLAIN = Form()


@contextmanager
def open_text(path: Path, newline: str | None = None, encoding: str = UTF8) -> Iterator[TextIO]:
    """Open a text file, with or without a byte order mark. DataError for what is no plain file, or has over 1 GiB.

    A pipe would be waited for, and a device may have no end.
    """
    try:
        with open_plain_text(path, LARGEST, newline, encoding) as file:
            yield file
    except OSError as error:
        raise DataError(f"{path}: {reason(error)}") from None


def find_form(path: Path, is_header: Callable[[Sequence[str]], bool]) -> Form:
    """The form in which a file's first row is a header, which `is_header` says of column names in lower case.

    UTF-16 is told by its byte order mark. Commas in UTF-8 if no form fits. Raises DataError if the file cannot be read.
    """
    encoding = _encoding(path)
    first = _separator_line(path, encoding)
    for separator in sorted(SEPARATORS, key=lambda each: each != first):  # a stable order
        form = Form(separator, encoding)
        try:
            columns = _header(path, read_rows(path, form), form)
        except DataError:  # quotes that are right with another separator
            continue
        if is_header(columns):
            return form
    return Form(",", encoding)


def _encoding(path: Path) -> str:
    try:
        with open_plain(path, LARGEST) as file:
            mark = file.read(4)
    except OSError as error:
        raise DataError(f"{path}: {reason(error)}") from None
    is_utf16 = mark[:2] in (b"\xff\xfe", b"\xfe\xff") and mark != b"\xff\xfe\0\0"  # that one is of UTF-32
    return UTF16 if is_utf16 else UTF8


def _separator_line(path: Path, encoding: str) -> str:
    """The separator that the first line names, as some spreadsheets write it; empty if it names none."""
    try:
        with open_text(path, encoding=encoding) as file:
            named = SEPARATOR_LINE.fullmatch(file.readline(100).strip(" \r\n"))
    except UnicodeDecodeError:
        return ""
    return named[1] if named else ""


def read_rows(path: Path, form: Form = PLAIN) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, fields) of each row that is not blank, without the spaces around fields.

    Raises DataError, naming file and line, if the file cannot be read, is not text of this form, or has a quote that is
    not closed (which would hide all rows up to the next quote).
    """
    line = 0
    not_text = NOT_UTF8 if form.encoding == UTF8 else "not UTF-16 text, as its first bytes say; save it as UTF-8"
    try:
        with open_text(path, newline="", encoding=form.encoding) as file:
            reader = csv.reader(file, delimiter=form.separator, skipinitialspace=True, strict=True)
            for row in reader:
                line = reader.line_num
                fields = list(map(str.strip, row))  # the fastest way; there are millions of rows
                if any(fields):
                    yield line, fields
    except csv.Error as error:
        # Python 3.10 refuses zeros, which later versions read: in UTF-16 every second byte is one.
        what = not_text if "NUL" in str(error) else error
        raise DataError(f"{path}, after line {line}: {what}") from None
    except UnicodeError:
        raise DataError(f"{path}, after line {line}: {not_text}") from None


def read_table(
    path: Path, form: Form = PLAIN, may_span: bool = False
) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """Return the column names in lower case, and an iterator over (line number, fields) of the rows.

    Raises DataError if the file is empty, if a row has more or fewer fields than the header, or if a quoted field
    spans lines that look like rows: then a quote is missing, unless the file was written by a program (`may_span`).
    """
    rows = read_rows(path, form)
    columns = _header(path, rows, form)

    def checked() -> Iterator[tuple[int, list[str]]]:
        before = 0
        for line, fields in rows:
            if not may_span and line != before + 1 and _hides_rows(fields, len(columns), form.separator):
                raise DataError(
                    f"{path}, row that ends on line {line}: a quoted field spans lines that look like rows of their "
                    "own, which it would hide; remove the stray quote, or the line breaks"
                )
            before = line
            if len(fields) != len(columns):
                raise DataError(
                    f"{path}, line {line}: {len(fields)} fields where the header has {len(columns)} "
                    f"({shortened(', '.join(columns))}); put names that hold {SEPARATORS[form.separator]} in quotes"
                )
            yield line, fields

    return columns, checked()


def _header(path: Path, rows: Iterator[tuple[int, list[str]]], form: Form) -> list[str]:
    """The column names in lower case, which the first row holds. DataError if there is none."""
    _, header = next(rows, (0, None))
    if header is not None and SEPARATOR_LINE.fullmatch(form.separator.join(header)):
        _, header = next(rows, (0, None))
    if header is None:
        raise DataError(f"{path}: the file is empty")
    if any("\0" in name for name in header):  # in UTF-16 every second byte
        raise DataError(f"{path}: {NOT_UTF8}")
    return [name.lower() for name in header]


def _hides_rows(fields: Sequence[str], columns: int, separator: str) -> bool:
    """Whether a line within a quoted field has as many fields as a row; a note of several lines seldom has."""
    lines = [text for field in fields[:-1] for text in field.split("\n")[1:-1]] + fields[-1].split("\n")[1:]
    return columns > 1 and any(text.count(separator) == columns - 1 for text in lines)


def check_single(path: Path, columns: Sequence[str], names: Sequence[str]) -> None:
    """Raise DataError if one of these names is that of several columns: they may contradict each other."""
    for name in names:
        if columns.count(name) > 1:
            raise DataError(f"{path}: the header has {columns.count(name)} columns {name}; remove all but one")


def fields_as_written(path: Path, lines: Sequence[int], form: Form = PLAIN) -> list[list[str]]:
    """The fields of the rows that end on these lines, with the spaces that `read_rows` takes away."""
    with open_text(path, newline="", encoding=form.encoding) as file:
        reader = csv.reader(file, delimiter=form.separator)
        numbered = ((reader.line_num, row) for row in reader)
        fields = {line: row for line, row in numbered if line in lines}
    return [fields.get(line, []) for line in lines]


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number, text) of each line that is not blank, without the spaces around it. Raises DataError."""
    text = read_text(path)
    for line, content in enumerate(text.split("\n"), start=1):
        if content.strip():
            yield line, content.strip()


def read_text(path: Path) -> str:
    """The content of a text file. Raises DataError."""
    try:
        with open_text(path) as file:
            return file.read()
    except UnicodeDecodeError:
        raise DataError(f"{path}: {NOT_UTF8}") from None
