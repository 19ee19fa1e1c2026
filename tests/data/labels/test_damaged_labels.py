"""Damaged label files: read as they are written, or refused in one clear line. The seeds are fixed."""

import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common.errors import DataError
from data.labels.label_file import LabelRow, read_labels_and_notes

CLASSES = ["wave", "clap hands", "üben", "a, b; c", 'say "x"', "1"]
FOREIGN = [b"\xff\xfe", b"\xef\xbb\xbf", b"\x1b[2J", b"..", *(bytes([byte]) for byte in b'";,\t\n\r\0/\\[')]
HEADERS = [("label", "youtube_id"), ("Class", "id"), ("action", "filename"), ("label", "path")]
TIMES = [(), ("time_start", "time_end"), ("start", "end"), ("start_frame", "end_frame")]


def made(numbers: random.Random) -> tuple[str, str, list[list[str]]]:
    """A separator, an encoding, and the header and rows of a valid file."""
    separator, encoding = numbers.choice(",,;\t"), numbers.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16"])
    header, times = numbers.choice(HEADERS), numbers.choice(TIMES)
    table = [[*header, *times, numbers.choice(["split", "subset", "note"])]]
    for number in range(numbers.randrange(1, 9)):
        video = numbers.choice(["v{}", "v{}.mp4", "a/v{}.avi", "a\\v{}.mp4", "v.{}"]).format(number)
        if "\\" in video and header[1] == "path":
            video = f"x/{video}"
        start = numbers.randrange(9000)
        values = [str(start), str(start + numbers.randrange(1, 99))]
        if times and "frame" not in times[0] and numbers.random() < 0.5:
            values = [f"{start // 60}:{start % 60:02d}", f"{(start + 60) // 60}:{start % 60:02d}.5"]
        table.append([numbers.choice(CLASSES), video, *values[: len(times)], numbers.choice(["train", "val", ""])])
    return separator, encoding, table


def text_of(separator: str, table: list[list[str]]) -> str:
    def field(value: str) -> str:
        return '"' + value.replace('"', '""') + '"' if re.search(r'[",;\t ]', value) else value

    return "".join(separator.join(map(field, row)) + "\r\n" for row in table)


def damaged(content: bytes, separator: str, numbers: random.Random) -> bytes:
    """The content with a flipped bit, a cut, zeros, a piece twice, foreign or random bytes, or other separators."""
    at = numbers.randrange(len(content))
    piece = content[at : at + numbers.randrange(1, 40)]
    other = numbers.choice(",;\t|").encode()
    kinds: list[Callable[[], bytes]] = [
        lambda: content[:at] + bytes([content[at] ^ 1 << numbers.randrange(8)]) + content[at + 1 :],
        lambda: content[:at],
        lambda: content[:at] + content[at + len(piece) :],
        lambda: content[:at] + bytes(len(piece)) + content[at + len(piece) :],
        lambda: content[:at] + piece + content[at:],
        lambda: content[:at] + numbers.choice(FOREIGN) + content[at:],
        lambda: content[:at] + numbers.randbytes(numbers.randrange(1, 9)) + content[at:],
        lambda: content.replace(separator.encode(), other),
        lambda: content[:at] + content[at:].replace(separator.encode(), other),
        lambda: content.decode("utf-8", errors="replace").encode(numbers.choice(["utf-16", "utf-16-be", "utf-8-sig"])),
        lambda: numbers.randbytes(numbers.randrange(1, 200)),
    ]
    return numbers.choice(kinds)()


def check_row(row: LabelRow, lines: list[str], content: bytes) -> None:
    """Every value of a row is written in its line, and nothing else was made of it."""
    line = lines[row.line - 1] if row.line <= len(lines) else ""
    around = plain("\n".join(lines[: row.line]))  # a quoted field may span lines
    assert all(plain(value) in around for value in (row.label, row.youtube_id, row.source.rpartition("/")[2])), (
        row,
        content,
    )
    assert not re.search(r"[/\0]", row.video_id) and row.youtube_id not in ("", ".", ".."), (row, content)
    assert row.video_id.startswith(row.youtube_id), (row, content)
    if row.frames:
        assert all(re.search(rf"(?<![0-9])0*{number}(?![0-9])", line) for number in row.frames), (row, content)
    if row.time_start is not None:
        assert {row.time_start, row.time_end} <= set(numbers_in(line)), (row, content)


def plain(text: str) -> str:
    """Text as it is compared: quotes may be doubled or not, folders and line ends written in several ways."""
    return text.replace('"', "").replace("\\", "/").replace("\r\n", "\n").replace("\r", "\n")


def numbers_in(line: str) -> Iterator[float]:
    """The times that a line may hold, of any reading of commas, and as digits cut at quotes."""
    found = [text.replace(",", ".") for text in re.findall(r"[0-9:.,]+", line) + re.findall("[0-9:.]+", line)]
    for text in [*found, *(each.strip(".") for each in found)]:
        parts = text.split(":")
        if all(re.fullmatch(r"[0-9]+(\.[0-9]*)?|\.[0-9]+", part) for part in parts):
            yield sum(float(part) * 60**place for place, part in enumerate(reversed(parts)))


def trial(folder: Path, seed: int) -> bool:
    """Whether the damaged file of a seed was read; AssertionError if it was read wrongly."""
    numbers = random.Random(seed)
    separator, encoding, table = made(numbers)
    path = folder / "labels.csv"
    whole = text_of(separator, table).encode(encoding)
    path.write_bytes(whole)
    of_line = {row.line: row for row in read_labels_and_notes(path).rows}
    assert [row.label for row in of_line.values()] == [row[0] for row in table[1:]]
    content = damaged(whole, separator, numbers)
    path.write_bytes(content)
    try:
        rows = read_labels_and_notes(path).rows
    except DataError as error:
        assert "\n" not in str(error) and str(path) in str(error) and len(str(error)) < 1000, content
        return False
    except Exception as error:
        raise AssertionError(f"seed {seed}: {content!r}") from error
    text = content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    lines = re.split("\r\n|\r|\n", text)
    original = text_of(separator, table).split("\r\n")
    for row in rows:
        check_row(row, lines, content)
        same = lines[0] == original[0] and lines[: row.line] == original[: row.line]
        assert not same or row == of_line[row.line], (seed, row, of_line[row.line], content)
    return True


@pytest.mark.parametrize("first", range(0, 400, 100))
def test_a_damaged_file_is_read_as_written_or_refused_in_one_line(tmp_path, first):
    """A row with another class or video than it says would be trained on for weeks."""
    assert 10 < sum(trial(tmp_path, seed) for seed in range(first, first + 100)) < 90


@pytest.mark.slow
def test_thousands_of_damaged_files(tmp_path):
    begin = random.randrange(10**9)
    print("first seed", begin)
    for seed in range(begin, begin + 5000):
        trial(tmp_path, seed)
