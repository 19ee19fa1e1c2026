"""A database says what it was made from; else another video could stand under its name and nobody would notice."""

import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from common.version import VERSION
from data.store.frame_store import FrameStore, write_frames
from data.store.origin import (
    MAX_LETTERS,
    PIECE,
    FramesDigest,
    Origin,
    file_content,
    folder_content,
    read_origin,
)
from data.store.video_source import VideoSourceError
from tests.numbered import frame_numbers, numbered_jpegs, write_database

ORIGIN = Origin("train", "walk/a.mp4", 123, "ab" * 16, 1.5, 3.25, 360, 90, False)


def written(origin: Origin, frames: int) -> Origin:
    """As it is in the database of that many frames."""
    digest = FramesDigest()
    for jpeg in numbered_jpegs(range(frames)):
        digest.add(jpeg)
    return replace(origin, digest=digest.text())


def test_it_is_read_back_as_written_and_the_frames_with_it(tmp_path: Path) -> None:
    write_frames(tmp_path / "v", numbered_jpegs(range(5)), lambda: ORIGIN.rows(["one", "two"]))
    assert read_origin(tmp_path / "v" / "frames.db") == written(replace(ORIGIN, warnings="one\ntwo"), 5)
    assert frame_numbers(FrameStore(tmp_path / "v").read(range(5))) == list(range(5))
    assert FrameStore(tmp_path / "v").check_numbering() == 5
    whole = replace(ORIGIN, start=None, end=None, keep_partial=True, seconds=0.4)
    write_frames(tmp_path / "w", numbered_jpegs(range(1)), whole.rows)
    assert read_origin(tmp_path / "w" / "frames.db") == written(whole, 1)


def test_the_table_is_what_the_documentation_says(tmp_path: Path) -> None:
    """Other programs may read it."""
    write_frames(tmp_path / "v", numbered_jpegs(range(5)), ORIGIN.rows)
    with closing(sqlite3.connect(tmp_path / "v" / "frames.db")) as connection:
        rows = connection.execute("SELECT name, value FROM Origin").fetchall()
    assert dict(rows) == {
        "videos": "train", "source": "walk/a.mp4", "size": "123", "content": "ab" * 16, "start": "1.5", "end": "3.25",
        "short_side": "360", "quality": "90", "keep_partial": "no", "version": VERSION,
        "digest": written(ORIGIN, 5).digest,
    }  # fmt: skip


def test_remarks_are_kept_apart_from_what_is_missing(tmp_path: Path) -> None:
    """Pictures that were left out are no damage: such a video would be converted again at each --replace."""
    write_frames(tmp_path / "v", numbered_jpegs(range(2)), lambda: ORIGIN.rows([], ["one\nname", "two"]))
    made = read_origin(tmp_path / "v" / "frames.db")
    assert made is not None and (made.remarks, made.is_damaged) == ("one name\ntwo", False)
    assert made.differences(ORIGIN) == []


@pytest.mark.parametrize(("pixels", "small"), [("480x359", True), ("480x360", False), ("", False), ("x", False)])
def test_small_frames_are_known_if_it_is_said(tmp_path: Path, pixels: str, small: bool) -> None:
    write_frames(tmp_path / "v", numbered_jpegs(range(2)), replace(ORIGIN, pixels=pixels).rows)
    made = read_origin(tmp_path / "v" / "frames.db")
    assert made is not None and made.is_small is small


def test_the_rate_is_read_without_the_rest(tmp_path: Path) -> None:
    """Each clip whose interval is a time needs it."""
    made = replace(ORIGIN, fps=30000 / 1001, is_variable=True)
    write_frames(tmp_path / "v", numbered_jpegs(range(2)), made.rows)
    assert read_origin(tmp_path / "v" / "frames.db") == written(made, 2)
    assert FrameStore(tmp_path / "v").rate() == 30000 / 1001
    with FrameStore(tmp_path / "v") as store:
        assert store.rate() == 30000 / 1001


@pytest.mark.parametrize("value", ["", "fast", "0", "0.001", "-25", "nan", "inf", "1e9", "9" * 300, None, 25, b"25"])
def test_a_rate_that_no_video_has_is_not_known(tmp_path: Path, value: object) -> None:
    """A clip would be taken at no interval at all, or training end in a traceback."""
    write_frames(tmp_path / "v", numbered_jpegs(range(2)), replace(ORIGIN, fps=25.0).rows)
    with closing(sqlite3.connect(tmp_path / "v" / "frames.db")) as connection:
        connection.execute("ALTER TABLE Origin RENAME TO Old")
        connection.execute("CREATE TABLE Origin (name, value)")
        connection.execute("INSERT INTO Origin SELECT * FROM Old WHERE name != 'fps'")
        connection.execute("INSERT INTO Origin VALUES ('fps', ?)", (value,))
        connection.commit()
    assert FrameStore(tmp_path / "v").rate() is None


@pytest.mark.parametrize("statement", [
    None,
    "CREATE TABLE Origin (name TEXT, value TEXT)",
    "CREATE TABLE Origin (other)",
    "CREATE TABLE Origin AS SELECT 'size' name, 'many' value",
])  # fmt: skip
def test_a_database_without_origin_has_none(tmp_path: Path, statement: str | None) -> None:
    """Those of dataset2database and of older versions must stay usable, and so must those of other programs."""
    write_database(tmp_path / "v", numbered_jpegs(range(3)), indexed=False)
    if statement:
        with closing(sqlite3.connect(tmp_path / "v" / "frames.db")) as connection:
            connection.execute(statement)
    assert read_origin(tmp_path / "v" / "frames.db") is None
    assert FrameStore(tmp_path / "v").rate() is None


@pytest.mark.timeout(30)
@pytest.mark.parametrize("query", [
    "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x AS name, x AS value FROM c WHERE x < 0",
    "SELECT 'source' AS name, hex(zeroblob(400000000)) AS value",
])  # fmt: skip
def test_a_view_in_place_of_the_table_is_not_run(tmp_path: Path, query: str) -> None:
    """convert would wait for it for ever, deaf to SIGTERM, or take gigabytes."""
    write_database(tmp_path / "v", numbered_jpegs(range(3)))
    with closing(sqlite3.connect(tmp_path / "v" / "frames.db")) as connection:
        connection.execute(f"CREATE VIEW Origin AS {query}")
    assert read_origin(tmp_path / "v" / "frames.db") is None
    assert FrameStore(tmp_path / "v").rate() is None


@pytest.mark.parametrize("change", [
    "UPDATE Origin SET value = 7 WHERE name = 'size'",
    "INSERT INTO Origin VALUES ('warnings', 7)",
    "UPDATE Origin SET value = x'61' WHERE name = 'source'",
    "UPDATE Origin SET value = NULL WHERE name = 'start'",
])  # fmt: skip
def test_a_value_that_is_no_text_is_not_taken_for_an_origin(tmp_path: Path, change: str) -> None:
    """A number in place of the warnings would end convert with a traceback."""
    write_frames(tmp_path / "v", numbered_jpegs(range(3)), ORIGIN.rows)
    with closing(sqlite3.connect(tmp_path / "v" / "frames.db")) as connection:
        connection.execute("ALTER TABLE Origin RENAME TO Old")
        connection.execute("CREATE TABLE Origin (name, value)")
        connection.execute("INSERT INTO Origin SELECT * FROM Old")
        connection.execute(change)
        connection.commit()
    assert read_origin(tmp_path / "v" / "frames.db") is None


def test_a_row_without_a_name_does_no_harm(tmp_path: Path) -> None:
    """One changed byte in one database ended every conversion and every start of training with a traceback."""
    write_frames(tmp_path / "v", numbered_jpegs(range(3)), ORIGIN.rows)
    with closing(sqlite3.connect(tmp_path / "v" / "frames.db")) as connection:
        connection.execute("INSERT INTO Origin VALUES (NULL, 'x')")
        connection.execute("INSERT INTO Origin VALUES (x'ff', x'ff')")
        connection.commit()
    assert read_origin(tmp_path / "v" / "frames.db") == written(ORIGIN, 3)
    assert FrameStore(tmp_path / "v").rate() is None


def test_a_huge_value_is_read_in_part_and_one_of_a_change_that_goes_on_not_at_all(tmp_path: Path) -> None:
    write_frames(tmp_path / "v", numbered_jpegs(range(3)), ORIGIN.rows)
    path = tmp_path / "v" / "frames.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE Origin SET value = ? WHERE name = 'source'", ("a" * 10**6,))
        connection.commit()
    made = read_origin(path)
    assert made is not None and made.source == "a" * MAX_LETTERS
    (tmp_path / "v" / "frames.db-journal").write_bytes(b"x" * 512)
    with pytest.raises(VideoSourceError, match="is writing it"):
        read_origin(path)


def test_later_rows_do_no_harm(tmp_path: Path) -> None:
    write_frames(tmp_path / "v", numbered_jpegs(range(3)), lambda: ORIGIN.rows() | {"frame_rate": "25"})
    assert read_origin(tmp_path / "v" / "frames.db") == written(ORIGIN, 3)


def test_a_damaged_database_is_not_taken_for_one_without_origin(tmp_path: Path) -> None:
    (tmp_path / "frames.db").write_bytes(b"SQLite format 3\0" + bytes(5000))
    with pytest.raises(VideoSourceError, match=r"frames\.db"):
        read_origin(tmp_path / "frames.db")
    with pytest.raises(VideoSourceError, match="No such file"):
        read_origin(tmp_path / "none.db")


@pytest.mark.parametrize(("change", "kind"), [
    ({"size": 124}, "file"), ({"content": "cd" * 16}, "file"), ({"end": 3.5}, "span"),
    ({"start": None, "end": None}, "span"),
    ({"short_side": 256}, "size"), ({"quality": 80}, "quality"), ({"fps": 30.0, "is_resampled": True}, "rate"),
])  # fmt: skip
def test_each_difference_is_named(change: dict[str, object], kind: str) -> None:
    (found,) = ORIGIN.differences(replace(ORIGIN, **change))  # type: ignore[arg-type]
    assert found.startswith(kind)


def test_what_makes_the_same_frames_is_no_difference() -> None:
    """--keep-partial for a few damaged videos must not make all others be converted again."""
    same = replace(ORIGIN, videos="val", source="b/c.mp4", version="9", keep_partial=True)
    assert ORIGIN.differences(same) == []
    assert same.differences(ORIGIN) == []
    partial = replace(same, warnings="decoding stops")
    assert partial.differences(same) == []
    assert len(partial.differences(ORIGIN)) == 1


@pytest.mark.parametrize("size", [0, 1, PIECE, 3 * PIECE, 3 * PIECE + 1, 10 * PIECE + 7])
def test_the_fingerprint_sees_beginning_middle_end_and_size(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "a").write_bytes(data)
    found = file_content(tmp_path / "a")
    assert found[0] == size
    (tmp_path / "b").write_bytes(data)
    assert file_content(tmp_path / "b") == found
    places = {0, size // 2, size - 1} if size else set()
    for place in places:
        (tmp_path / "b").write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        assert file_content(tmp_path / "b")[1] != found[1], place
    (tmp_path / "b").write_bytes(data + b"\0")
    assert file_content(tmp_path / "b")[1] != found[1]


def test_the_fingerprint_of_a_folder_sees_names_sizes_and_both_ends(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.jpg" for number in range(4)]
    for path in files:
        path.write_bytes(b"abc")
    total, before = folder_content(files)
    assert total == 12
    assert folder_content(files[:3])[1] != before
    for path, data in ((files[0], b"abd"), (files[1], b"abcd"), (files[3], b"xbc")):
        path.write_bytes(data)
        assert folder_content(files)[1] != before
        path.write_bytes(b"abc")
    assert folder_content(files)[1] == before
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(VideoSourceError, match=r"pipe\.jpg"):
        folder_content([*files, tmp_path / "pipe.jpg"])
