"""Every kind of broken video is read correctly or reported at once with its file; none gives wrong frames silently.

Exception: changed bytes within a JPEG that leave a valid JPEG of another picture. JPEGs have no checksum.
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
from data.store.crop_box import CropBox
from data.store.frame_store import FrameStore, FrameStoreError, write_frames
from tests.numbered import frame_numbers, jpeg, numbered_frame, numbered_jpegs, write_numbered_database

COUNT = 12
BOXES = {
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
    """Replace the blob of frame 6."""

    def damage(folder: Path) -> None:
        with closing(sqlite3.connect(folder / "frames.db")) as connection:
            connection.execute("UPDATE Images SET frames = ? WHERE ObjId LIKE '%frame_00006'", (blob,))
            connection.commit()

    return damage


def cut(fraction: float) -> Callable[[Path], None]:
    return lambda folder: os.truncate(folder / "frames.db", int((folder / "frames.db").stat().st_size * fraction))


def zeros(start: float) -> Callable[[Path], None]:
    """Zero the database from a fraction of its size on, as a full disk or a lost connection does."""

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
    """Kill a process in the middle of an SQLite transaction."""
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
FINE = None  # all frames are read correctly
UNREADABLE = "data.prepare.verify"  # the remedy where the whole database is bad
CORPUS: dict[str, tuple[Callable[[Path], object], str | None]] = {
    "nothing is wrong": (lambda folder: None, FINE),
    "database empty": (cut(0), UNREADABLE),
    "database cut in its first page": (cut(0.05), UNREADABLE),
    "database cut in the middle": (cut(0.5), UNREADABLE),
    "database cut at its end": (cut(0.99), f"frame_000..|{UNREADABLE}"),
    "database zero throughout": (zeros(0), UNREADABLE),
    "database zero from the middle": (zeros(0.5), "frames.db"),
    "no database": (lambda folder: (folder / "frames.db").unlink(), "No such file"),
    "no folder": (lambda folder: folder.rename(folder.with_name("elsewhere")), "No such file"),
    "directory instead of a file": (directory, "not a plain file"),
    "text instead of a database": (
        lambda f: (f / "frames.db").write_text("<html>" * 999),
        UNREADABLE,
    ),
    "hot journal": (left_behind("-journal"), "frames.db-journal beside it"),
    "WAL left behind": (left_behind("-wal"), "frames.db-wal beside it"),
    "killed with a journal": (killed_while_writing("DELETE"), "frames.db-journal beside it"),
    "killed with a WAL": (killed_while_writing("WAL"), "frames.db-wal beside it"),
    "view instead of a table": (view, "Images|no such column"),
    "table missing": (sql("DROP TABLE Images"), "no such table"),
    "table of another name": (sql("ALTER TABLE Images RENAME TO Frames"), "no such table"),
    "column missing": (sql("ALTER TABLE Images RENAME COLUMN frames TO images"), "no such column"),
    "numbers for names": (sql("UPDATE Images SET ObjId = rowid"), "<video id>/frame_<number>"),
    "text for JPEGs": (sql("UPDATE Images SET frames = 'text'"), "frame_0000."),
    "numbers for JPEGs": (sql("UPDATE Images SET frames = 3"), "frame_0000..*3"),
    "no rows": (sql("DELETE FROM Images"), "no frames"),
    "a gap": (sql("DELETE FROM Images WHERE ObjId LIKE '%00006'"), "frame_00006"),
    "the first missing": (sql("DELETE FROM Images WHERE ObjId LIKE '%00001'"), "frame_00001"),
    "counted from 0": (
        sql("UPDATE Images SET ObjId = printf('v/frame_%05d', rowid - 1) WHERE rowid <= 12"),
        "frame_00012",
    ),
    "rows moved": (rows_moved, FINE),
    "JPEG empty": (frame(b""), "frame_00006.* 0 bytes"),
    "JPEG missing": (frame(None), "frame_00006.*None"),
    "JPEG cut": (frame(SIX[:-30]), "frame_00006"),
    "JPEG without its last byte": (frame(SIX[:-1]), "frame_00006"),
    "JPEG of its header only": (frame(SIX[:200]), "frame_00006"),
    "JPEG smaller than its neighbours": (frame(numbered_jpegs([5], 40, 64)[0]), "frame_00006.*64x40"),
    "JPEG larger than its neighbours": (frame(numbered_jpegs([5], 96, 128)[0]), "frame_00006.*128x96"),
    "PNG instead of JPEG": (frame(PNG), "frame_00006.*PNG"),
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


@pytest.mark.timeout(60)  # none may hang
@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES)
@pytest.mark.parametrize(("damage", "reason"), CORPUS.values(), ids=CORPUS)
def test_each_is_read_correctly_or_reported(
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


def test_a_cmyk_jpeg_is_read_as_other_programs_read_it(tmp_path: Path) -> None:
    blob = simplejpeg.encode_jpeg(np.full((48, 64, 4), (200, 20, 60, 30), np.uint8), colorspace="CMYK")
    write_frames(tmp_path / "v", [blob])
    expected = cv2.imdecode(np.frombuffer(blob, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.array_equal(FrameStore(tmp_path / "v").read([0])[0], expected)


def test_a_video_of_ten_thousand_frames_is_read(tmp_path: Path) -> None:
    small = numbered_jpegs(range(512), 8, 8)
    write_frames(tmp_path / "v", (small[number % 512] for number in range(10_000)))
    indices = [9_999, 0, 5_000]
    assert frame_numbers(FrameStore(tmp_path / "v").read(indices)) == [index % 512 for index in indices]


def test_a_jpeg_cut_anywhere_is_never_read(tmp_path: Path) -> None:
    """Even if the missing rows lie below the box."""
    whole = jpeg(next(scene_frames(0, (96, 128), 1)))
    for length in range(0, len(whole), 37):
        write_frames(tmp_path / "v", [whole])
        with closing(sqlite3.connect(tmp_path / "v" / "frames.db")) as connection:
            connection.execute("UPDATE Images SET frames = ?", (whole[:length],))
            connection.commit()
        for box in BOXES.values():
            with pytest.raises(FrameStoreError, match="frame_00001"):
                FrameStore(tmp_path / "v").read([0], box)


@pytest.mark.parametrize(
    "rounds", [150, pytest.param(6000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])], ids=["short", "long"]
)
def test_random_damage_of_a_jpeg_stays_within_it(tmp_path: Path, rounds: int) -> None:
    """The damaged frame is reported or decodes to something; the others are unchanged, and nothing crashes."""
    jpegs = [jpeg(each) for each in scene_frames(1, (48, 64), 3)]
    rng = random.Random(5)
    folder = tmp_path / "v"
    write_frames(folder, jpegs)
    right = {name: FrameStore(folder).read([0, 1, 2], box) for name, box in BOXES.items()}
    named = 0
    with closing(sqlite3.connect(folder / "frames.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = MEMORY")
        connection.execute("PRAGMA synchronous = OFF")
        for _ in range(rounds):
            data = bytearray(jpegs[1])
            header_only = rng.random() < 0.4
            for _ in range(rng.choice([1, 2, 20])):
                data[rng.randrange(700 if header_only else len(data))] = rng.randrange(256)
            connection.execute("UPDATE Images SET frames = ? WHERE ObjId LIKE '%frame_00002'", (bytes(data),))
            for name, box in BOXES.items():
                try:
                    clip = FrameStore(folder).read([0, 1, 2], box)
                except FrameStoreError as error:
                    assert "frame_00002" in str(error)
                    named += 1
                    clip = FrameStore(folder).read([0, 0, 2], box)
                else:
                    if name == "cropped":  # the same pixels as from a decoder that ignores damage: there was none
                        anyway = simplejpeg.decode_jpeg(bytes(data), "RGB", strict=False)
                        assert np.array_equal(clip[1], anyway[:16, 4:20])
                assert clip.shape == right[name].shape
                assert np.array_equal(clip[[0, 2]], right[name][[0, 2]])
    assert named > rounds  # at least a quarter of the reads


def test_a_header_that_states_more_rows_than_the_data_has_is_found(tmp_path: Path) -> None:
    whole = jpeg(next(scene_frames(2, (96, 128), 1)))
    header = whole.index(b"\xff\xc0\x00\x11\x08\x00\x60\x00\x80")
    taller = whole[: header + 5] + (192).to_bytes(2, "big") + whole[header + 7 :]
    write_frames(tmp_path / "v", [taller])
    assert simplejpeg.decode_jpeg_header(taller)[:2] == (192, 128)
    with pytest.raises(FrameStoreError, match="frame_00001"):
        FrameStore(tmp_path / "v").read([0], CropBox(0, 0, 120, 120, 60, 60))


def test_damage_is_found_in_a_jpeg_with_restart_intervals(tmp_path: Path) -> None:
    """The decoder resumes after the damage at the next restart marker."""
    pixels = next(scene_frames(2, (96, 128), 1))
    whole = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_RST_INTERVAL, 8])[1].tobytes()
    box = CropBox(0, 0, 20, 20, 20, 20)
    write_frames(tmp_path / "whole", [whole])
    expected = simplejpeg.decode_jpeg(whole, "RGB")[:20, :20]
    assert np.array_equal(FrameStore(tmp_path / "whole").read([0], box)[0], expected)
    first = whole.index(b"\xff\xd0")
    write_frames(tmp_path / "v", [whole[:first] + b"\x11\x11" + whole[first + 2 :]])
    with pytest.raises(FrameStoreError, match="frame_00001"):
        FrameStore(tmp_path / "v").read([0], box)
