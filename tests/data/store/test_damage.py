"""Every kind of broken video is read right or named in a clear error, at once; none gives wrong frames in silence.

What cannot be seen: changed bytes within a JPEG that leave a valid JPEG of another picture; they hold no checksum.
"""

import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg

from benchmarks.corpus import scene_frames
from data.store.frame_store import CropBox, FrameStore, FrameStoreError, write_frames
from tests.numbered import frame_numbers, jpeg, numbered_frame, numbered_jpegs, write_numbered_database

COUNT = 12
REGIONS = {
    "whole": None,
    "cropped": CropBox(0, 4, 16, 16, 16, 16),
    "scaled": CropBox(0, 4, 20, 20, 24, 24),
    "reduced": CropBox(0, 4, 24, 24, 12, 12),
}


def sql(*statements: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        with closing(sqlite3.connect(folder / "frames.db")) as connection:
            for statement in statements:
                connection.execute(statement)
            connection.commit()

    return damage


def frame(blob: object) -> Callable[[Path], None]:
    """Put another blob in the place of frame 6."""

    def damage(folder: Path) -> None:
        with closing(sqlite3.connect(folder / "frames.db")) as connection:
            connection.execute("UPDATE Images SET frames = ? WHERE ObjId LIKE '%frame_00006'", (blob,))
            connection.commit()

    return damage


def cut(share: float) -> Callable[[Path], None]:
    return lambda folder: os.truncate(folder / "frames.db", int((folder / "frames.db").stat().st_size * share))


def zeros(start: float) -> Callable[[Path], None]:
    """Zero the database from a share of it on: what a full disk or a lost connection leaves."""

    def damage(folder: Path) -> None:
        data = bytearray((folder / "frames.db").read_bytes())
        first = int(len(data) * start)
        data[first:] = bytes(len(data) - first)
        (folder / "frames.db").write_bytes(data)

    return damage


def directory(folder: Path) -> None:
    (folder / "frames.db").unlink()
    (folder / "frames.db").mkdir()


def killed_while_writing(journal_mode: str) -> Callable[[Path], None]:
    """Have a process that has begun to write leave what SQLite had written by then."""
    program = (
        "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); "
        f"c.execute('PRAGMA journal_mode = {journal_mode}'); c.execute('PRAGMA cache_size = 1'); c.execute('BEGIN'); "
        "c.execute('UPDATE Images SET frames = zeroblob(9999)'); os.kill(os.getpid(), 9)"
    )

    def damage(folder: Path) -> None:
        subprocess.run([sys.executable, "-c", program, folder / "frames.db"], check=False)

    return damage


def left_behind(suffix: str) -> Callable[[Path], None]:
    return lambda folder: (folder / f"frames.db{suffix}").write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + bytes(504))


def count_says(text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "n_frames").write_text(text)


def rows_moved(folder: Path) -> None:
    sql("UPDATE Images SET rowid = rowid + 1000", "UPDATE Images SET rowid = 3000 - rowid")(folder)


def view(folder: Path) -> None:
    sql("ALTER TABLE Images RENAME TO Frames", "CREATE VIEW Images AS SELECT * FROM Frames")(folder)


def encoded(*flags: int) -> bytes:
    """Frame 6 as another JPEG."""
    return cv2.imencode(".jpg", numbered_frame(5)[..., ::-1], flags)[1].tobytes()


SIX = numbered_jpegs([5])[0]
PNG = cv2.imencode(".png", numbered_frame(5))[1].tobytes()
FINE = None  # instead of a reason: all frames are read, and right
CORPUS: dict[str, tuple[Callable[[Path], object], str | None]] = {
    "nothing is wrong": (lambda folder: None, FINE),
    "database empty": (cut(0), "is no whole frame database"),
    "database cut in its first page": (cut(0.05), "is no whole frame database"),
    "database cut in the middle": (cut(0.5), "is no whole frame database"),
    "database cut at its end": (cut(0.99), "frame_000.. holds|is no whole frame database"),
    "database zero throughout": (zeros(0), "is no whole frame database"),
    "database zero from the middle": (zeros(0.5), "frames.db"),
    "no database": (lambda folder: (folder / "frames.db").unlink(), "No such file"),
    "no folder": (lambda folder: folder.rename(folder.with_name("elsewhere")), "No such file"),
    "directory instead of a file": (directory, "is no file"),
    "text instead of a database": (
        lambda f: (f / "frames.db").write_text("<html>" * 999),
        "is no whole frame database",
    ),
    "hot journal": (left_behind("-journal"), "frames.db-journal beside it"),
    "WAL left behind": (left_behind("-wal"), "frames.db-wal beside it"),
    "killed with a journal": (killed_while_writing("DELETE"), "frames.db-journal beside it"),
    "killed with a WAL": (killed_while_writing("WAL"), "frames.db-wal beside it"),
    "view instead of a table": (view, "Images that is no table|no such column"),
    "table missing": (sql("DROP TABLE Images"), "no such table"),
    "table of another name": (sql("ALTER TABLE Images RENAME TO Frames"), "no such table"),
    "column missing": (sql("ALTER TABLE Images RENAME COLUMN frames TO images"), "no such column"),
    "numbers for names": (sql("UPDATE Images SET ObjId = rowid"), "row named"),
    "text for JPEGs": (sql("UPDATE Images SET frames = 'text'"), "frame_0000. holds no readable JPEG"),
    "numbers for JPEGs": (sql("UPDATE Images SET frames = 3"), "frame_0000. holds no JPEG but 3"),
    "no rows": (sql("DELETE FROM Images"), "holds no frames"),
    "a gap": (sql("DELETE FROM Images WHERE ObjId LIKE '%00006'"), "lacks frame_00006"),
    "the first missing": (sql("DELETE FROM Images WHERE ObjId LIKE '%00001'"), "lacks frame_00001"),
    "counted from 0": (
        sql("UPDATE Images SET ObjId = printf('v/frame_%05d', rowid - 1) WHERE rowid <= 12"),
        "lacks frame_00012",
    ),
    "rows moved": (rows_moved, FINE),
    "JPEG empty": (frame(b""), "frame_00006 holds no readable JPEG"),
    "JPEG missing": (frame(None), "frame_00006 holds no JPEG but None"),
    "JPEG cut": (frame(SIX[:-30]), "frame_00006 holds a damaged JPEG"),
    "JPEG without its last byte": (frame(SIX[:-1]), "frame_00006 holds a damaged JPEG"),
    "JPEG of its header only": (frame(SIX[:200]), "frame_00006 holds"),
    "JPEG smaller than its neighbours": (frame(numbered_jpegs([5], 40, 64)[0]), "frame_00006 is 64x40 pixels where"),
    "JPEG larger than its neighbours": (frame(numbered_jpegs([5], 96, 128)[0]), "frame_00006 is 128x96 pixels where"),
    "PNG instead of JPEG": (frame(PNG), "frame_00006 holds no readable JPEG.*PNG"),
    "progressive JPEG": (frame(encoded(cv2.IMWRITE_JPEG_PROGRESSIVE, 1)), FINE),
    "JPEG of full colours": (
        frame(encoded(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)),
        FINE,
    ),
    "n_frames too large": (count_says("99"), FINE),
    "n_frames too small": (count_says("1"), FINE),
    "n_frames is no number": (count_says("many"), FINE),
    "n_frames absent": (lambda folder: (folder / "n_frames").unlink(), FINE),
}


@pytest.mark.timeout(10)
@pytest.mark.parametrize("box", REGIONS.values(), ids=REGIONS)
@pytest.mark.parametrize(("damage", "reason"), CORPUS.values(), ids=CORPUS)
def test_each_is_read_right_or_named(
    tmp_path: Path, damage: Callable[[Path], object], reason: str | None, box: CropBox | None
) -> None:
    folder = write_numbered_database(tmp_path / "v", COUNT)
    damage(folder)
    if reason is FINE:
        assert frame_numbers(FrameStore(folder).read(range(COUNT), box)) == list(range(COUNT))
        return
    with pytest.raises(FrameStoreError, match=reason) as caught:
        FrameStore(folder).read(range(COUNT), box)
    assert str(folder / "frames.db") in str(caught.value)


def test_a_jpeg_of_four_inks_is_read_as_other_programs_read_it(tmp_path: Path) -> None:
    blob = simplejpeg.encode_jpeg(np.full((48, 64, 4), (200, 20, 60, 30), np.uint8), colorspace="CMYK")
    write_frames(tmp_path / "v", [blob])
    expected = cv2.imdecode(np.frombuffer(blob, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.array_equal(FrameStore(tmp_path / "v").read([0])[0], expected)


@pytest.mark.timeout(20)
def test_ten_thousand_frames_are_no_burden(tmp_path: Path) -> None:
    small = numbered_jpegs(range(512), 8, 8)
    write_frames(tmp_path / "v", (small[number % 512] for number in range(10_000)))
    indices = [9_999, 0, 5_000]
    assert frame_numbers(FrameStore(tmp_path / "v").read(indices)) == [index % 512 for index in indices]


def test_a_jpeg_cut_anywhere_is_never_read(tmp_path: Path) -> None:
    """Even where the rows that are missing lie below the box."""
    whole = jpeg(next(scene_frames(0, (96, 128), 1)))
    for length in range(0, len(whole), 37):
        write_frames(tmp_path / "v", [whole])
        frame_of_cut = whole[:length]
        with closing(sqlite3.connect(tmp_path / "v" / "frames.db")) as connection:
            connection.execute("UPDATE Images SET frames = ?", (frame_of_cut,))
            connection.commit()
        for box in REGIONS.values():
            with pytest.raises(FrameStoreError, match="frame_00001 holds"):
                FrameStore(tmp_path / "v").read([0], box)


@pytest.mark.parametrize(
    "rounds", [150, pytest.param(6000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])], ids=["short", "long"]
)
def test_random_damage_of_a_jpeg_stays_within_it(tmp_path: Path, rounds: int) -> None:
    """The damaged frame is named or decodes to something; the others are as they were, and nothing crashes."""
    jpegs = [jpeg(each) for each in scene_frames(1, (48, 64), 3)]
    draw = random.Random(5)
    folder = tmp_path / "v"
    write_frames(folder, jpegs)
    right = {name: FrameStore(folder).read([0, 1, 2], box) for name, box in REGIONS.items()}
    named = 0
    with closing(sqlite3.connect(folder / "frames.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = MEMORY")
        connection.execute("PRAGMA synchronous = OFF")
        for _ in range(rounds):
            data = bytearray(jpegs[1])
            header_only = draw.random() < 0.4
            for _ in range(draw.choice([1, 2, 20])):
                data[draw.randrange(700 if header_only else len(data))] = draw.randrange(256)
            connection.execute("UPDATE Images SET frames = ? WHERE ObjId LIKE '%frame_00002'", (bytes(data),))
            for name, box in REGIONS.items():
                try:
                    clip = FrameStore(folder).read([0, 1, 2], box)
                except FrameStoreError as error:
                    assert "frame_00002" in str(error)
                    named += 1
                    clip = FrameStore(folder).read([0, 0, 2], box)
                else:
                    if name == "cropped":  # what a decoder makes of it that goes on in spite of damage: none was shown
                        anyway = simplejpeg.decode_jpeg(bytes(data), "RGB", strict=False)
                        assert np.array_equal(clip[1], anyway[:16, 4:20])
                assert clip.shape == right[name].shape
                assert np.array_equal(clip[[0, 2]], right[name][[0, 2]])
    assert named > rounds  # a quarter of the reads at the least


def test_a_header_that_promises_more_rows_is_found_out(tmp_path: Path) -> None:
    """A header that promises more rows than there are, all of them below the data."""
    whole = jpeg(next(scene_frames(2, (96, 128), 1)))
    header = whole.index(b"\xff\xc0\x00\x11\x08\x00\x60\x00\x80")
    taller = whole[: header + 5] + (192).to_bytes(2, "big") + whole[header + 7 :]
    write_frames(tmp_path / "v", [taller])
    assert simplejpeg.decode_jpeg_header(taller)[:2] == (192, 128)
    with pytest.raises(FrameStoreError, match="frame_00001 holds a damaged JPEG"):
        FrameStore(tmp_path / "v").read([0], CropBox(0, 0, 120, 120, 60, 60))


def test_damage_is_found_in_a_jpeg_with_restart_intervals(tmp_path: Path) -> None:
    """Its decoder resumes after damage, as if nothing had been."""
    pixels = next(scene_frames(2, (96, 128), 1))
    whole = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_RST_INTERVAL, 8])[1].tobytes()
    box = CropBox(0, 0, 20, 20, 20, 20)
    write_frames(tmp_path / "whole", [whole])
    expected = simplejpeg.decode_jpeg(whole, "RGB")[:20, :20]
    assert np.array_equal(FrameStore(tmp_path / "whole").read([0], box)[0], expected)
    first = whole.index(b"\xff\xd0")
    write_frames(tmp_path / "v", [whole[:first] + b"\x11\x11" + whole[first + 2 :]])
    with pytest.raises(FrameStoreError, match="frame_00001 holds a damaged JPEG"):
        FrameStore(tmp_path / "v").read([0], box)
