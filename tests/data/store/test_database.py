"""A crafted, unfinished or unreadable frames.db is read rightly, or refused at once and not called damaged.

If these fail, training hangs on a dataset of others, reads frames that were never committed, or whole databases are
deleted as damaged.
"""

import os
import pickle
import random
import resource
import sqlite3
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg

from data.store import frame_store
from data.store.crop_box import CropBox
from data.store.frame_store import FrameStore, FrameStoreError, count_text, write_frames
from data.store.jpeg import NotDecodedError, check_scans
from tests.numbered import frame_numbers, numbered_jpegs, write_database, write_numbered_database

JPEGS = numbered_jpegs(range(6), 16, 16)


def database(folder: Path, *statements: str, values: str | None = None) -> Path:
    """A database made by these statements; `values` is an INSERT that gets the name and JPEG of each of six frames."""
    folder.mkdir()
    with closing(sqlite3.connect(folder / "frames.db")) as connection:
        for statement in statements:
            connection.execute(statement)
        if values:
            connection.executemany(values, [(f"v/frame_{n:05d}", jpeg) for n, jpeg in enumerate(JPEGS, start=1)])
        connection.commit()
    return folder


def refused(folder: Path) -> FrameStoreError:
    """The error, which counting, reading and check_numbering share."""
    errors = []
    for use in (len, lambda store: store.read([0]), FrameStore.check_numbering):
        with pytest.raises(FrameStoreError) as caught:
            use(FrameStore(folder))
        errors.append(caught.value)
    assert len({str(error) for error in errors}) == 1
    return errors[0]


# Crafted schemas


ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x, 'v/frame_' || x, x'00', 1 FROM c"
NOT_PLAIN = {
    "endless view": [f"CREATE VIEW Images(_rowid_, ObjId, frames, size) AS {ENDLESS}"],
    "view with row ids": [
        "CREATE TABLE T (ObjId TEXT, frames BLOB, size INT)",
        "CREATE VIEW Images AS SELECT rowid AS _rowid_, * FROM T",
    ],
    "virtual table": ["CREATE VIRTUAL TABLE Images USING fts5(ObjId, frames, size)"],
    "computed frames": [
        "CREATE TABLE Images (ObjId TEXT, size INT, frames BLOB AS (zeroblob(900000000)))",
        "INSERT INTO Images VALUES ('v/frame_00001', 1)",
    ],
    "computed names": [
        "CREATE TABLE Images (n INT, frames BLOB, ObjId TEXT AS/**/(hex(zeroblob(40000000)) || '/frame_0000' || n))",
        "INSERT INTO Images VALUES (1, x'00')",
    ],
    "a column _rowid_": [
        "CREATE TABLE Images (ObjId TEXT, frames BLOB, size INT, _rowid_ INT)",
        "INSERT INTO Images VALUES ('v/frame_00001', x'00', 1, 1)",
    ],
    "no row ids": ["CREATE TABLE Images (ObjId TEXT PRIMARY KEY, frames BLOB, size INT) WITHOUT ROWID"],
    "a view stored as a table": [
        f"CREATE VIEW Images(_rowid_, ObjId, frames, size) AS {ENDLESS}",
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET type = 'table'",
    ],
    "a view under another name": [
        f"CREATE VIEW Images(_rowid_, ObjId, frames, size) AS {ENDLESS}",
        "CREATE TABLE Other (ObjId TEXT, frames BLOB, size INT)",
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_master SET name = CASE name WHEN 'Images' THEN 'Other' ELSE 'Images' END",
    ],
}


@pytest.mark.timeout(30)
@pytest.mark.parametrize("statements", NOT_PLAIN.values(), ids=NOT_PLAIN)
def test_a_table_that_sqlite_would_compute_is_refused_at_once(tmp_path: Path, statements: list[str]) -> None:
    error = refused(database(tmp_path / "v", *statements))
    assert str(tmp_path / "v" / "frames.db") in str(error)
    assert not error.damaged or "malformed" in str(error)


PLAIN = {
    "another spelling": ("CREATE TABLE IF NOT EXISTS 'images'(ObjId TEXT, frames BLOB, size INT)", ""),
    "a column rowid that is equal in all rows": (
        "CREATE TABLE Images (ObjId TEXT PRIMARY KEY, frames BLOB, size INT, rowid INT DEFAULT 1)",
        "",
    ),
    "a column rowid that is text": (
        "CREATE TABLE Images (ObjId TEXT, frames BLOB, size INT, rowid TEXT DEFAULT 'a')",
        "",
    ),
    "numbered by its own column": (
        "CREATE TABLE Images (rowid INTEGER PRIMARY KEY, ObjId TEXT, frames BLOB, size INT)",
        "",
    ),
    "a trigger": (
        "CREATE TABLE Images (ObjId TEXT, frames BLOB, size INT)",
        "CREATE TRIGGER t AFTER DELETE ON Images BEGIN DELETE FROM Images; END",
    ),
    "other tables": ("CREATE TABLE Images (ObjId TEXT, frames BLOB, size INT)", "CREATE TABLE Other (a, b)"),
}


@pytest.mark.parametrize(("table", "more"), PLAIN.values(), ids=PLAIN)
def test_a_plain_table_with_more_in_it_is_read_and_checked_alike(tmp_path: Path, table: str, more: str) -> None:
    values = "INSERT INTO Images (ObjId, frames, size) VALUES (?, ?, 16)"
    folder = database(tmp_path / "v", table, *([more] if more else []), values=values)
    assert FrameStore(folder).check_numbering() == len(FrameStore(folder)) == 6
    assert frame_numbers(FrameStore(folder).read(range(6))) == list(range(6))


@pytest.mark.timeout(30)
def test_rows_that_lead_in_circles_end_at_the_first_repeated_name(tmp_path: Path) -> None:
    """A page of the table that names the same pages often, over several levels, would be read for years."""
    folder = tmp_path / "v"
    folder.mkdir()
    with closing(sqlite3.connect(folder / "frames.db")) as connection:
        connection.execute("PRAGMA page_size = 512")
        connection.execute("CREATE TABLE Images (ObjId TEXT, frames BLOB, size INT)")
        names = [(f"{'x' * 300}/frame_{number:05d}", b"") for number in range(2000, 0, -1)]
        connection.executemany("INSERT INTO Images VALUES (?, ?, 1)", names)
        connection.commit()
    data = bytearray((folder / "frames.db").read_bytes())
    for start in range(0, len(data), 512):
        if data[start] == 5:  # an inner page of the table: let all its pointers be those of the first
            cells = [int.from_bytes(data[at : at + 2], "big") for at in range(start + 12, start + 510, 2)]
            for cell in cells[: int.from_bytes(data[start + 3 : start + 5], "big")]:
                data[start + cell : start + cell + 4] = data[start + cells[0] : start + cells[0] + 4]
    (folder / "frames.db").write_bytes(data)
    with pytest.raises(FrameStoreError, match=r"twice|malformed"):
        FrameStore(folder).check_numbering()


def test_a_long_or_odd_name_makes_a_short_plain_message(tmp_path: Path) -> None:
    for number, name in enumerate(("x" * 5_000_000, "\x1b[2J")):
        folder = database(tmp_path / str(number), "CREATE TABLE Images (ObjId, frames BLOB, size INT)")
        with closing(sqlite3.connect(folder / "frames.db")) as connection:
            connection.execute("INSERT INTO Images VALUES (?, x'00', 1)", (name,))
            connection.commit()
        message = str(refused(folder))
        assert len(message) < 1000 and message.isprintable()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="older versions cannot limit it")
def test_a_value_too_large_for_a_frame_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.store.database.MAX_VALUE", 100_000)
    folder = write_database(tmp_path / "v", JPEGS)
    with closing(sqlite3.connect(folder / "frames.db")) as connection:
        connection.execute("UPDATE Images SET frames = zeroblob(?) WHERE rowid = 2", (100_001,))
        connection.commit()
    with pytest.raises(FrameStoreError, match="too big") as caught:
        FrameStore(folder).read([1])
    assert not caught.value.damaged
    assert frame_numbers(FrameStore(folder).read([0])) == [0]


# Pictures that take long


def progressive_scans(number: int, height: int, width: int) -> bytes:
    """A grey progressive JPEG with that many scans."""

    def segment(marker: int, content: bytes) -> bytes:
        return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content

    blocks = -(-height // 8) * -(-width // 8)
    frame = bytes([8]) + height.to_bytes(2, "big") + width.to_bytes(2, "big") + bytes([1, 1, 0x11, 0])
    one_code = bytes([1] + [0] * 15)  # one code of one bit
    first = segment(0xDA, bytes([1, 1, 0, 0, 0, 0])) + bytes(-(-blocks // 8))
    bits = "0" + f"{blocks - 0x4000:014b}"  # all blocks end in one run
    run = int(bits.ljust(16, "1"), 2).to_bytes(2, "big").replace(b"\xff", b"\xff\0")
    further = segment(0xDA, bytes([1, 1, 0, 1, 63, 0])) + run
    tables = segment(0xDB, bytes([0] + [1] * 64)) + segment(0xC2, frame)
    tables += segment(0xC4, bytes([0x00]) + one_code + bytes([0])) + segment(
        0xC4, bytes([0x10]) + one_code + bytes([0xE0])
    )
    return b"\xff\xd8" + tables + first + further * (number - 1) + b"\xff\xd9"


@pytest.mark.parametrize("filler", [b"", b"\xff", b"\xff\xd0"])
@pytest.mark.parametrize(("scans", "size"), [(10, (1024, 1280)), (1600, (1024, 1280)), (1600, (1024, 1024))])
def test_a_jpeg_of_very_many_scans_is_refused(tmp_path: Path, scans: int, size: tuple[int, int], filler: bytes) -> None:
    """Each scan is a pass over all pixels, and takes ten bytes of the file: a clip took minutes."""
    jpeg = progressive_scans(scans, *size)
    write_frames(tmp_path / "v", [jpeg[:2] + filler + jpeg[2:]])
    for box in (None, CropBox(0, 0, 512, 512, 64, 64)):
        if scans == 10:
            if filler != b"\xff\xd0":
                assert FrameStore(tmp_path / "v").read([0], box).shape[0] == 1
            continue
        with pytest.raises(FrameStoreError, match=r"frame_00001.*1600 scans") as caught:
            FrameStore(tmp_path / "v").read([0], box)
        assert not caught.value.damaged


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("marker", [0xC0, 0xC1, 0xC9])
def test_a_jpeg_of_very_many_empty_scans_of_any_kind_is_refused(marker: int, hidden: bool) -> None:
    """300 KB that are not progressive took minutes: a scan of one component needs no bytes to be a pass."""
    sound = simplejpeg.encode_jpeg(np.zeros((64, 64, 3), np.uint8))
    start = sound.index(b"\xff\xc0")
    scan = b"\xff\xda\0\x08\1\1\0\0\x3f\0"
    jpeg = sound[:start] + bytes([0xFF, marker]) + sound[start + 2 : sound.index(b"\xff\xda")] + scan * 3000
    if hidden:  # libjpeg goes on behind FF 00; as the length of an element, 00 02 leads to another frame's header
        jpeg = jpeg[:2] + b"\xff\0\0\x02" + sound[start : start + 19] + jpeg[2:]
    with pytest.raises(NotDecodedError, match="3000 scans"):
        check_scans(jpeg)
    check_scans(sound)


def test_frames_that_share_their_bytes_do_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crafted file of 100 MB took 7 GB of a worker for a clip: its rows led to the same pages."""
    monkeypatch.setattr(frame_store, "MUCH", 1 << 16)
    blob = JPEGS[0] + bytes(1 << 18)
    folder = write_database(tmp_path / "v", [blob] * 6)
    assert frame_numbers(FrameStore(folder).read(range(6))) == [0] * 6
    monkeypatch.setattr(FrameStore, "_fetch", lambda self, connection, index: blob * 2)  # as rows of shared pages do
    with pytest.raises(FrameStoreError, match="more bytes than the file has") as caught:
        FrameStore(folder).read(range(6))
    assert caught.value.damaged


def test_names_without_end_do_not_fill_the_memory(tmp_path: Path) -> None:
    """A thousand names were fetched before one was looked at: 5 MB whose rows share their pages took 4 GB."""
    names = [f"v/frame_{number:05d}" + "x" * 200_000 for number in range(1, 101)]
    folder = database(tmp_path / "v", "CREATE TABLE Images (ObjId TEXT, frames BLOB, size INT)")
    with closing(sqlite3.connect(folder / "frames.db")) as connection:
        connection.executemany("INSERT INTO Images VALUES (?, x'00', 1)", [(name,) for name in names])
        connection.commit()
    tracemalloc.start()
    error = refused(folder)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "v/frame_00001xxx" in str(error) and len(str(error)) < 1000 and peak < 5_000_000


def test_a_whole_picture_that_is_too_large_is_refused_but_not_called_damaged(tmp_path: Path) -> None:
    write_frames(tmp_path / "v", [simplejpeg.encode_jpeg(np.zeros((6000, 6000, 1), np.uint8), 90, "GRAY", "Gray")])
    with pytest.raises(FrameStoreError, match="6000x6000") as caught:
        FrameStore(tmp_path / "v").read([0])
    assert not caught.value.damaged


# Databases that programs write, and journals


def changes(folder: Path, journal_mode: str, end: str) -> sqlite3.Connection:
    connection = sqlite3.connect(folder / "frames.db", isolation_level=None)
    connection.execute(f"PRAGMA journal_mode = {journal_mode}")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("UPDATE Images SET size = size + 1")
    connection.execute(end)
    return connection


@pytest.mark.parametrize("mode", ["TRUNCATE", "PERSIST"])
def test_a_journal_of_an_ended_change_is_none(tmp_path: Path, mode: str) -> None:
    folder = write_database(tmp_path / "v", JPEGS)
    changes(folder, mode, "COMMIT").close()
    assert (folder / "frames.db-journal").exists()
    assert frame_numbers(FrameStore(folder).read(range(6))) == list(range(6))


def test_an_empty_wal_is_none(tmp_path: Path) -> None:
    folder = write_database(tmp_path / "v", JPEGS)
    (folder / "frames.db-wal").touch()
    assert frame_numbers(FrameStore(folder).read(range(6))) == list(range(6))


def test_a_wal_with_changes_is_refused_and_not_called_damaged(tmp_path: Path) -> None:
    folder = write_database(tmp_path / "v", JPEGS)
    with closing(changes(folder, "WAL", "COMMIT")):
        error = refused(folder)
    assert "frames.db-wal" in str(error) and not error.damaged
    assert len(FrameStore(folder)) == 6, "the last program to close it ends the WAL"


def test_the_journal_of_a_linked_database_is_found_beside_the_file_itself(tmp_path: Path) -> None:
    """Beside the link there is none, and frames that were never committed would be read."""
    folder = write_database(tmp_path / "kept", JPEGS)
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "frames.db").symlink_to(folder / "frames.db")
    assert frame_numbers(FrameStore(tmp_path / "v").read([3])) == [3]
    program = (
        "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); "
        "c.execute('PRAGMA cache_size = 1'); c.execute('BEGIN'); "
        "c.execute('UPDATE Images SET frames = (SELECT frames FROM Images WHERE rowid = 1)'); "
        "c.execute('CREATE TABLE T AS SELECT zeroblob(300000)'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, folder / "frames.db"], check=False)
    assert (folder / "frames.db-journal").stat().st_size
    error = refused(tmp_path / "v")
    assert "frames.db-journal" in str(error) and not error.damaged


# Reasons that are not damage


@contextmanager
def limited(kind: int, limit: int) -> Iterator[None]:
    old = resource.getrlimit(kind)
    resource.setrlimit(kind, (limit, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, old)


def large_progressive_jpeg() -> bytes:
    """Takes 72 MB for its pixels and as much while it is decoded."""
    return cv2.imencode(".jpg", np.zeros((4000, 6000, 3), np.uint8), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()


def memory_in_use() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
def test_too_little_memory_is_not_damage(tmp_path: Path) -> None:
    """In a process of its own, as its limit would hit the other tests."""
    write_frames(tmp_path / "v", [large_progressive_jpeg()])
    pid = os.fork()
    if pid == 0:
        status = 9
        try:
            for more in range(0, 200, 10):
                with limited(resource.RLIMIT_AS, memory_in_use() + more * 10**6):
                    try:
                        FrameStore(tmp_path / "v").read([0])
                        status = 0
                    except FrameStoreError as error:
                        if error.damaged or "memory" not in str(error):
                            status = 8
                            break
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_too_many_open_files_are_not_damage(tmp_path: Path) -> None:
    folder = write_database(tmp_path / "v", JPEGS)
    FrameStore(folder).read([0])
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    with limited(resource.RLIMIT_NOFILE, lowest), pytest.raises(FrameStoreError, match="open files") as caught:
        FrameStore(folder).read([0])
    assert not caught.value.damaged


def test_a_path_that_sqlite_cannot_open_is_not_damage(tmp_path: Path) -> None:
    folder = tmp_path.joinpath(*["d" * 200] * 3)
    folder.parent.mkdir(parents=True)
    write_database(tmp_path / "v", JPEGS).rename(folder)
    error = refused(folder)
    assert "511 bytes" in str(error) and not error.damaged


def test_a_link_to_nothing_and_one_to_itself_are_named(tmp_path: Path) -> None:
    (tmp_path / "frames.db").symlink_to(tmp_path / "gone.db")
    assert "gone.db, which is not there" in str(refused(tmp_path))
    (tmp_path / "gone.db").symlink_to(tmp_path / "frames.db")
    assert "symbolic links" in str(refused(tmp_path))


def test_an_error_from_a_worker_still_says_whether_it_is_damage() -> None:
    for damaged in (False, True):
        error = pickle.loads(pickle.dumps(FrameStoreError("frames.db", damaged)))
        assert (str(error), error.damaged) == ("frames.db", damaged)


@pytest.mark.timeout(30)
def test_n_frames_that_is_no_plain_file_is_not_waited_for(tmp_path: Path) -> None:
    makers: list[Callable[[Path], object]] = [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")]
    for number, make in enumerate(makers):
        (tmp_path / str(number)).mkdir()
        make(tmp_path / str(number) / "n_frames")
        with pytest.raises(OSError, match=r"plain file|directory"):
            count_text(str(tmp_path / str(number)))


def endless_schema(folder: Path) -> Path:
    """A database whose schema repeats the row of the index of Images 61^12 times, each of them legal."""
    write_numbered_database(folder, 6, 16, 16)
    data = (folder / "frames.db").read_bytes()
    pages = [data[start : start + 4096] for start in range(0, len(data), 4096)]
    cells = [data[at : at + 2] for at in range(108, 108 + 2 * int.from_bytes(data[103:105], "big"), 2)]
    first = len(pages) + 1  # two leaves, each with one of the rows, and on them the inner pages
    for cell in cells[:2]:
        pages.append(b"\x0d\0\0\0\x01" + cell + b"\0" + cell + data[110:4096].rjust(4086, b"\0"))

    def inner(children: list[int], start: int) -> bytes:
        cells = b"".join(child.to_bytes(4, "big") + bytes([n + 1]) for n, child in enumerate(children[:-1]))
        places = b"".join((4096 - len(cells) + 5 * n).to_bytes(2, "big") for n in range(len(children) - 1))
        head = b"\x05\0\0" + (len(children) - 1).to_bytes(2, "big") + (4096 - len(cells)).to_bytes(2, "big") + b"\0"
        return (head + children[-1].to_bytes(4, "big") + places).ljust(4096 - start - len(cells), b"\0") + cells

    for _ in range(11):
        pages.append(inner([len(pages)] * 61, 0))
    header = bytearray(data[:100])
    header[28:32] = len(pages).to_bytes(4, "big")
    pages[0] = bytes(header) + inner([first, *[len(pages)] * 61], 100)
    (folder / "frames.db").write_bytes(b"".join(pages))
    return folder


@pytest.mark.timeout(30)
def test_a_schema_without_end_is_refused_at_once(tmp_path: Path) -> None:
    """SQLite reads the whole schema before the first query: training would wait for it, without a word."""
    error = refused(endless_schema(tmp_path / "v"))
    assert "schema does not end" in str(error) and not error.damaged


def test_a_database_with_many_other_tables_is_read(tmp_path: Path) -> None:
    tables = [f"CREATE TABLE t{number} (a PRIMARY KEY, b)" for number in range(300)]
    values = "INSERT INTO Images VALUES (?, ?, 16)"
    folder = database(tmp_path / "v", *tables, "CREATE TABLE Images (ObjId, frames, size)", values=values)
    assert frame_numbers(FrameStore(folder).read(range(6))) == list(range(6))


def test_frames_numbered_from_0_are_refused_but_not_called_damaged(tmp_path: Path) -> None:
    """They are whole: verify --delete-broken must not delete them."""
    folder = write_numbered_database(tmp_path / "v", 4, 16, 16)
    with closing(sqlite3.connect(folder / "frames.db")) as connection:
        for number in range(1, 5):
            connection.execute("UPDATE Images SET ObjId = ? WHERE rowid = ?", (f"v/frame_{number - 1:05d}", number))
        connection.commit()
    with pytest.raises(FrameStoreError, match="from 0") as caught:
        FrameStore(folder).check_numbering()
    assert not caught.value.damaged


# Random damage


@pytest.mark.parametrize(
    "rounds", [300, pytest.param(2000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])], ids=["short", "long"]
)
@pytest.mark.parametrize("indexed", [True, False])
def test_random_damage_gives_the_right_answer_or_an_error(tmp_path: Path, indexed: bool, rounds: int) -> None:
    """Counting, sizes and reading; only bytes within a JPEG may change a picture, as JPEG has no checksum."""
    folder = write_numbered_database(tmp_path / "v", 8, 16, 16, indexed=indexed)
    whole, jpegs = (folder / "frames.db").read_bytes(), numbered_jpegs(range(8), 16, 16)
    right = FrameStore(folder).read(range(8))
    rng = random.Random(indexed)
    errors = 0
    for _ in range(rounds):
        data = bytearray(whole)
        if cut := rng.random() < 0.3:
            del data[rng.randrange(len(data)) :]
        for _ in range(0 if cut else rng.choice([1, 2, 10])):
            page = rng.randrange(len(data) // 4096) * 4096
            data[rng.choice([rng.randrange(len(data)), page + rng.randrange(16), rng.randrange(200)])] ^= rng.randrange(
                1, 256
            )
        (folder / "frames.db").write_bytes(data)
        uses: list[Callable[[FrameStore], object]] = [
            len,
            lambda store: store.size(7),
            lambda store: store.read(range(8)),
        ]
        for use, expected in zip(uses, (8, (16, 16), right), strict=True):
            try:
                with FrameStore(folder) as store:
                    found = use(store)
            except FrameStoreError as error:
                assert str(folder) in str(error) and len(str(error)) < 1500
                errors += 1
            else:
                # A page that says it has fewer rows hides the last frames; verify compares their number with n_frames.
                hides_last = use is len and found < 8  # type: ignore[operator]
                is_right = hides_last or np.array_equal(found, expected)  # type: ignore[arg-type]
                assert is_right or not all(jpeg in data for jpeg in jpegs)
    assert errors > rounds / 2
