"""Frames are read correctly and in order from any database of the format; damage is reported with file and frame."""

import multiprocessing
import os
import random
import sqlite3
import threading
from contextlib import AbstractContextManager
from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg

from benchmarks.corpus import scene_frames
from common.errors import DataError
from common.files import atomic_file
from data.store.crop_box import CropBox
from data.store.frame_store import FrameStore, FrameStoreError, is_whole, leftovers, write_frames
from tests.numbered import (
    frame_numbers,
    jpeg,
    numbered_jpegs,
    write_database,
    write_numbered_database,
)
from tests.other_user import without_rights


def picture(seed: int = 0, height: int = 90, width: int = 120) -> np.ndarray:
    """A smooth random picture in which no two crops look the same."""
    coarse = np.random.default_rng(seed).integers(0, 255, (height // 15, width // 15, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[Path, list[np.ndarray]]:
    """A database of six pictures, and their full frames as OpenCV decodes them (RGB)."""
    jpegs = [jpeg(picture(seed)) for seed in range(6)]
    write_frames(tmp_path / "v", jpegs)
    decoded = [cv2.imdecode(np.frombuffer(each, np.uint8), cv2.IMREAD_COLOR)[..., ::-1] for each in jpegs]
    return tmp_path / "v", decoded


def both_layouts(tmp_path: Path, count: int) -> list[Path]:
    """The same frames in this project's layout, and in that of dataset2database with its rows shuffled."""
    order = list(range(count))
    random.Random(1).shuffle(order)
    write_frames(tmp_path / "ours", numbered_jpegs(range(count)))
    return [tmp_path / "ours", write_numbered_database(tmp_path / "theirs", count, indexed=False, order=order)]


def test_databases_of_both_layouts_give_the_same_frames(tmp_path: Path) -> None:
    ours, theirs = (FrameStore(folder) for folder in both_layouts(tmp_path, 40))
    assert len(ours) == len(theirs) == 40
    assert frame_numbers(ours.read(range(40))) == list(range(40))
    assert np.array_equal(ours.read(range(40)), theirs.read(range(40)))


@pytest.mark.parametrize("layout", [0, 1])
def test_frames_come_in_the_order_of_the_indices_with_repeats(tmp_path: Path, layout: int) -> None:
    store = FrameStore(both_layouts(tmp_path, 20)[layout])
    indices = [7, 0, 19, 7, 7, 3, 0]
    assert frame_numbers(store.read(indices)) == indices
    assert frame_numbers(store.read(indices, CropBox(0, 0, 48, 64, 24, 32))) == indices
    assert frame_numbers(store.read(np.array([5, 4]))) == [5, 4]


def test_rows_out_of_order_are_found_even_if_the_last_row_is_in_its_place(tmp_path: Path) -> None:
    folder = write_numbered_database(tmp_path / "v", 6, indexed=False, order=[4, 2, 0, 1, 3, 5])
    assert frame_numbers(FrameStore(folder).read(range(6))) == list(range(6))
    with FrameStore(folder) as store:
        assert frame_numbers(store.read([5, 2])) == [5, 2]


def test_a_moved_video_and_strange_names_still_load(tmp_path: Path) -> None:
    for name in ("a #1?.%20(+)!", "-dash", "frame_7", "1e5", "ünï 動画", "x:y&mode=rwc"):
        folder = write_numbered_database(tmp_path / "a class" / name, 3, indexed=False, order=[2, 0, 1])
        moved = folder.rename(folder.with_name("moved " + name))
        for place in (moved, os.path.relpath(moved)):
            assert frame_numbers(FrameStore(place).read([0, 1, 2])) == [0, 1, 2]


def test_a_folder_whose_name_is_not_utf8_is_written_and_read(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    write_frames(folder, numbered_jpegs(range(2)))
    assert frame_numbers(FrameStore(folder).read([1, 0])) == [1, 0]


@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize("order", [range(6), range(5, -1, -1)])
def test_frames_of_two_videos_in_one_database_are_damage(tmp_path: Path, indexed: bool, order: range) -> None:
    """Else a clip would show two videos under one label."""
    folder = write_numbered_database(tmp_path / "v", 6, indexed=indexed, order=order)
    alter(folder, "UPDATE Images SET ObjId = 'w/frame_00003' WHERE ObjId = 'v/frame_00003'")
    for use in (FrameStore.check_numbering, lambda store: store.read([1, 2])):
        with pytest.raises(FrameStoreError, match="holds frames of 'v' and of 'w'") as caught:
            use(FrameStore(folder))
        assert caught.value.damaged


@pytest.mark.parametrize("text", ["3", "999", "nonsense", ""])
def test_the_database_is_counted_whatever_n_frames_says(tmp_path: Path, text: str) -> None:
    folder = write_numbered_database(tmp_path / "v", 5, n_frames=text)
    assert len(FrameStore(folder)) == 5
    (folder / "n_frames").unlink()
    assert len(FrameStore(folder)) == 5


def test_whole_frames_and_unscaled_crops_are_exact(pictures: tuple[Path, list[np.ndarray]]) -> None:
    folder, decoded = pictures
    store = FrameStore(folder)
    assert np.array_equal(store.read(range(6)), np.stack(decoded))
    for flip in (False, True):
        clip = store.read([1, 4], CropBox(11, 23, 50, 61, 50, 61, flip))
        expected = [decoded[index][11:61, 23:84] for index in (1, 4)]
        assert np.array_equal(clip, np.stack([each[:, ::-1] if flip else each for each in expected]))


@pytest.mark.parametrize("out", [(70, 90), (33, 44), (20, 25), (9, 9)])
def test_a_scaled_crop_is_that_part_of_the_picture(
    pictures: tuple[Path, list[np.ndarray]], out: tuple[int, int]
) -> None:
    folder, decoded = pictures
    clip = FrameStore(folder).read([2], CropBox(10, 31, 60, 80, *out, flip=True))
    expected = cv2.resize(decoded[2][10:70, 31:111], out[::-1], interpolation=cv2.INTER_AREA)[:, ::-1]
    assert clip.shape == (1, *out, 3)
    assert np.abs(clip[0].astype(int) - expected).mean() < 2


def test_a_clip_is_decoded_into_the_given_array(pictures: tuple[Path, list[np.ndarray]]) -> None:
    store = FrameStore(pictures[0])
    for box in (None, CropBox(3, 5, 40, 50, 40, 50), CropBox(3, 5, 40, 50, 20, 30, flip=True)):
        expected = store.read([3, 0, 3], box)
        batch = np.full((4, *expected.shape), 77, np.uint8)
        assert store.read([3, 0, 3], box, batch[2]).base is batch
        assert np.array_equal(batch[2], expected)
        assert (batch[[0, 1, 3]] == 77).all()


def test_an_array_of_another_shape_or_layout_is_refused(pictures: tuple[Path, list[np.ndarray]]) -> None:
    read_only = np.empty((2, 90, 120, 3), np.uint8)
    read_only.flags.writeable = False
    for out, reason in (
        (np.empty((3, 90, 120, 3), np.uint8), r"\(3, 90, 120, 3\).*\(2, 90, 120, 3\)"),
        (np.empty((2, 90, 120, 3), np.int8), "int8.*uint8"),
        (np.empty((2, 90, 3, 120), np.uint8).transpose(0, 1, 3, 2), "contiguous"),
        (read_only, "writable"),
    ):
        with pytest.raises(ValueError, match=reason):
            FrameStore(pictures[0]).read([0, 1], out=out)


SCENE_BOXES = {
    "enlarged": CropBox(30, 40, 195, 195, 224, 224),
    "at the lower edge": CropBox(61, 40, 195, 195, 224, 224, True),
    "shrunk": CropBox(11, 21, 223, 223, 158, 158),
    "half": CropBox(10, 20, 224, 224, 112, 112, True),
    "below half": CropBox(10, 20, 224, 224, 80, 80),
    "quarter": CropBox(12, 20, 224, 224, 56, 56),
}


@pytest.mark.parametrize("box", SCENE_BOXES.values(), ids=SCENE_BOXES)
def test_faster_decoding_of_scaled_crops_is_not_visible(tmp_path: Path, box: CropBox) -> None:
    write_frames(tmp_path / "v", [jpeg(frame) for frame in scene_frames(3, (256, 340), 2)])
    store = FrameStore(tmp_path / "v")
    part = store.read([1])[0, box.top : box.top + box.height, box.left : box.left + box.width]
    interpolation = cv2.INTER_AREA if box.reduction > 1 else cv2.INTER_LINEAR
    expected = cv2.resize(part, (box.out_width, box.out_height), interpolation=interpolation)
    difference = store.read([1], box)[0].astype(int) - (expected[:, ::-1] if box.flip else expected)
    assert np.abs(difference).mean() < 1.5
    assert np.abs(difference.mean()) < 1  # the fast transform rounds down


def test_a_crop_box_outside_the_frame_is_refused(pictures: tuple[Path, list[np.ndarray]]) -> None:
    for box in (CropBox(-1, 0, 10, 10, 5, 5), CropBox(0, 0, 91, 10, 5, 5), CropBox(0, 111, 9, 10, 5, 5)):
        with pytest.raises(ValueError, match="120x90"):
            FrameStore(pictures[0]).read([0], box)


def test_size_is_that_of_the_frame_and_a_with_block_opens_the_database_once(
    pictures: tuple[Path, list[np.ndarray]], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **named: opened.append(args) or connect(*args, **named))
    with FrameStore(pictures[0]) as store:
        assert (len(store), store.size(), store.size(5)) == (6, (90, 120), (90, 120))
        store.read([5, 1])
    assert len(opened) == 1


def test_grey_jpegs_come_as_rgb(tmp_path: Path) -> None:
    grey = simplejpeg.encode_jpeg(np.full((16, 16, 1), 90, np.uint8), colorspace="GRAY", colorsubsampling="Gray")
    write_frames(tmp_path / "v", [grey])
    assert (FrameStore(tmp_path / "v").read([0]) == 90).all()


def test_threads_and_forks_do_not_disturb_each_other(tmp_path: Path) -> None:
    folders = [write_numbered_database(tmp_path / str(n), 8, 40 + 8 * n, 64, start=100 * n) for n in range(4)]
    wrong: list[int] = []

    def read_often(number: int) -> None:
        height = 40 + 8 * number
        for _ in range(30):
            clip = FrameStore(folders[number]).read(range(8), CropBox(0, 0, height, 64, 20, 20))
            wrong.extend(set(frame_numbers(clip)) - set(range(100 * number, 100 * number + 8)))

    threads = [threading.Thread(target=read_often, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    with FrameStore(folders[0]) as store:
        store.read([0])
        process = multiprocessing.get_context("fork").Process(target=read_often, args=(1,))
        process.start()
        assert frame_numbers(store.read(range(8), CropBox(0, 0, 40, 64, 20, 20))) == list(range(8))
        process.join()
    assert process.exitcode == 0


# Damage


def replace_row(folder: Path, number: int, blob: object) -> None:
    with sqlite3.connect(folder / "frames.db") as connection:
        connection.execute("UPDATE Images SET frames = ? WHERE ObjId LIKE ?", (blob, f"%frame_{number:05d}"))
    connection.close()


def alter(folder: Path, *statements: str) -> None:
    connection = sqlite3.connect(folder / "frames.db")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


PNG = cv2.imencode(".png", np.zeros((48, 64, 3), np.uint8))[1].tobytes()


@pytest.mark.parametrize(
    ("blob", "reason"),
    [
        (numbered_jpegs([3])[0][:-40], "frame_00004"),
        (numbered_jpegs([3])[0][:100], "frame_00004"),
        (PNG, r"frame_00004.*PNG"),
        (b"", "frame_00004.* 0 bytes"),
        ("text", "frame_00004.*text"),
        (None, "frame_00004.*None"),
        (17, "frame_00004.*17"),
        (numbered_jpegs([3], 40, 64)[0], "frame_00004.*64x40.*64x48"),
        (numbered_jpegs([3], 64, 80)[0], "frame_00004.*80x64.*64x48"),
        (numbered_jpegs([3])[0].replace(b"\x00\x30\x00\x40", b"\xdc\xdc\xdc\xdc"), "frame_00004 .*56540x56540"),
    ],
    ids=["cut", "header only", "png", "empty", "text", "null", "number", "smaller", "larger", "header lies"],
)
def test_a_bad_frame_is_named_and_the_others_still_load(tmp_path: Path, blob: object, reason: str) -> None:
    folder = write_numbered_database(tmp_path / "v", 8)
    replace_row(folder, 4, blob)
    for box in (None, CropBox(0, 0, 48, 64, 24, 24)):
        with pytest.raises(FrameStoreError, match=reason) as caught:
            FrameStore(folder).read([0, 3, 5], box)
        assert str(folder / "frames.db") in str(caught.value)
        may_be_whole = blob is PNG or "but the first frame read is" in str(caught.value)
        assert caught.value.damaged != may_be_whole, "a picture of another format or size may be whole"
        assert ("data.prepare.verify" in str(caught.value)) == caught.value.damaged
        assert FrameStore(folder).read([0, 5], box).shape[0] == 2


def test_a_damaged_header_of_the_first_frame_does_not_take_minutes(tmp_path: Path) -> None:
    folder = write_numbered_database(tmp_path / "v", 2)
    replace_row(folder, 1, numbered_jpegs([0])[0].replace(b"\x00\x30\x00\x40", b"\xdc\xdc\xdc\xdc"))
    with pytest.raises(FrameStoreError, match=r"frame_00001.*56540x56540"):
        FrameStore(folder).read([0])


@pytest.mark.parametrize(
    ("statements", "reason"),
    [
        (["DROP TABLE Images"], "no such table"),
        (["ALTER TABLE Images RENAME COLUMN frames TO images"], "no such column"),
        (["DELETE FROM Images"], "no frames"),
        (["DELETE FROM Images WHERE ObjId LIKE '%00003'"], "frame_00003"),
        (["DELETE FROM Images WHERE ObjId LIKE '%00001'"], "frame_00001"),
        (["UPDATE Images SET ObjId = 'v/frame_00003' WHERE ObjId LIKE '%00002'"], "frame_00003.*twice"),
        (["UPDATE Images SET ObjId = 'v/00002.jpg' WHERE ObjId LIKE '%00002'"], "'v/00002.jpg'"),
        (["UPDATE Images SET ObjId = 12 WHERE ObjId LIKE '%00002'"], "12"),
        (["UPDATE Images SET ObjId = 'v/frame_00000' WHERE ObjId LIKE '%00001'"], "frame_00001"),
    ],
)
def test_a_database_with_wrong_content_is_named(tmp_path: Path, statements: list[str], reason: str) -> None:
    folder = write_numbered_database(tmp_path / "v", 5, indexed=False, order=[3, 1, 4, 0, 2])
    alter(folder, *statements)
    with pytest.raises(FrameStoreError, match=reason) as caught:
        FrameStore(folder).read([0, 1, 2])
    assert str(folder / "frames.db") in str(caught.value)


def test_a_gap_is_found_by_check_numbering_and_when_read(tmp_path: Path) -> None:
    folder = write_numbered_database(tmp_path / "v", 9)
    alter(folder, "DELETE FROM Images WHERE ObjId LIKE '%00006'")
    assert frame_numbers(FrameStore(folder).read([4, 6])) == [4, 6]
    with pytest.raises(FrameStoreError, match=r"frame_00006.* 8 frames.* 9"):
        FrameStore(folder).read([4, 5])
    with pytest.raises(FrameStoreError, match="frame_00006"):
        FrameStore(folder).check_numbering()


@pytest.mark.parametrize("suffix", ["-journal", "-wal"])
def test_a_database_that_a_program_is_writing_is_refused(tmp_path: Path, suffix: str) -> None:
    folder = write_numbered_database(tmp_path / "v", 3)
    (folder / f"frames.db{suffix}").write_bytes(b"anything")
    with pytest.raises(FrameStoreError, match=f"frames.db{suffix}"):
        FrameStore(folder).read([0])


def test_a_wrong_path_is_named_and_creates_nothing(tmp_path: Path) -> None:
    with pytest.raises(FrameStoreError, match="No such file") as caught:
        len(FrameStore(tmp_path / "nothing"))
    assert isinstance(caught.value, DataError)
    assert not caught.value.damaged
    assert list(tmp_path.iterdir()) == []


def test_a_folder_or_a_pipe_instead_of_the_file_is_named_and_does_not_hang(tmp_path: Path) -> None:
    (tmp_path / "a" / "frames.db").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    os.mkfifo(tmp_path / "b" / "frames.db")
    for name in "ab":
        with pytest.raises(FrameStoreError, match=f"/{name}/frames.db"):
            FrameStore(tmp_path / name).read([0])


def test_an_empty_or_other_file_is_named(tmp_path: Path) -> None:
    for name, content in (("a", b""), ("b", b"no database at all" * 100)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "frames.db").write_bytes(content)
        with pytest.raises(FrameStoreError, match=f"/{name}/frames.db.*data.prepare.verify"):
            FrameStore(tmp_path / name).read([0])


def test_a_file_without_permission_is_named_as_that(tmp_path: Path) -> None:
    folder = write_numbered_database(tmp_path / "v", 2)
    (folder / "frames.db").chmod(0)
    for parent in (folder, *folder.parents[:4]):
        if parent.owner() == folder.owner():
            parent.chmod(0o755)
    with without_rights(), pytest.raises(FrameStoreError, match="ermission denied") as caught:
        FrameStore(folder).read([0])
    assert not caught.value.damaged


@pytest.mark.parametrize("index", [-1, 5, 10**9])
def test_an_index_out_of_range_is_refused(tmp_path: Path, index: int) -> None:
    folder = write_numbered_database(tmp_path / "v", 5)
    with pytest.raises(FrameStoreError, match=f"5 frames.*{index}"):
        FrameStore(folder).read([0, index])


def stored_jpeg(folder: Path, number: int) -> bytes:
    connection = sqlite3.connect(folder / "frames.db")
    row = connection.execute("SELECT frames FROM Images WHERE ObjId LIKE ?", (f"%frame_{number:05d}",)).fetchone()
    connection.close()
    return row[0]


def damage_and_read(folder: Path, whole: bytes, frames: np.ndarray, rng: random.Random) -> None:
    """Cut or alter the database at random: frames that are read are right, unless their own JPEG was altered."""
    jpegs = numbered_jpegs(range(len(frames)))
    data = bytearray(whole)
    cut = rng.random() < 0.4
    if cut:
        del data[rng.randrange(len(data)) :]
    else:
        for _ in range(rng.choice([1, 3, 30])):
            data[rng.randrange(len(data))] = rng.randrange(256)
    (folder / "frames.db").write_bytes(data)
    for indices in ([0, 1], range(len(frames)), [len(frames) - 1]):
        try:
            clip = FrameStore(folder).read(indices)
        except FrameStoreError as error:
            assert str(folder) in str(error)
            continue
        assert clip.shape == (len(indices), *frames.shape[1:])
        for index, frame in zip(indices, clip, strict=True):
            if not np.array_equal(frame, frames[index]):  # damage within a JPEG can go undetected
                assert not cut
                assert stored_jpeg(folder, index + 1) not in jpegs


@pytest.mark.parametrize(
    "rounds", [150, pytest.param(5000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])], ids=["short", "long"]
)
@pytest.mark.parametrize("layout", [0, 1])
def test_random_damage_never_gives_wrong_frames_of_a_cut_file_and_never_crashes(
    tmp_path: Path, layout: int, rounds: int
) -> None:
    folder = both_layouts(tmp_path, 12)[layout]
    whole, frames = (folder / "frames.db").read_bytes(), FrameStore(folder).read(range(12))
    rng = random.Random(layout)
    for _ in range(rounds):
        damage_and_read(folder, whole, frames, rng)


# Writing


def test_the_written_format_is_the_one_that_other_readers_expect(tmp_path: Path) -> None:
    jpegs = numbered_jpegs(range(12))
    assert write_frames(tmp_path / "some class" / "v 1", iter(jpegs)) == 12
    folder = tmp_path / "some class" / "v 1"
    assert sorted(path.name for path in folder.iterdir()) == ["frames.db", "n_frames"]
    assert int((folder / "n_frames").read_text()) == 12
    connection = sqlite3.connect(folder / "frames.db")
    names = ["v 1/frame_00012", "v 1/frame_00001"]
    rows = connection.execute("SELECT Objid, frames FROM Images WHERE ObjId IN (?, ?)", names).fetchall()
    assert dict(rows) == {"v 1/frame_00012": jpegs[11], "v 1/frame_00001": jpegs[0]}
    plan = connection.execute("EXPLAIN QUERY PLAN SELECT frames FROM Images WHERE ObjId = ?", names[:1]).fetchall()
    assert "USING INDEX" in plan[0][3]
    assert connection.execute("SELECT rowid, size FROM Images ORDER BY rowid").fetchall()[11] == (12, 64)
    connection.close()


@pytest.mark.slow
def test_numbers_grow_to_six_digits(tmp_path: Path) -> None:
    frame = jpeg(np.zeros((8, 8, 3), np.uint8))
    write_frames(tmp_path / "v", (frame for _ in range(100_002)))
    connection = sqlite3.connect(tmp_path / "v" / "frames.db")
    last = connection.execute("SELECT ObjId FROM Images WHERE rowid IN (99999, 100000)").fetchall()
    connection.close()
    assert last == [("v/frame_99999",), ("v/frame_100000",)]
    store = FrameStore(tmp_path / "v")
    assert len(store) == store.check_numbering() == 100_002
    assert store.read([99_998, 99_999, 100_001]).shape[0] == 3


def test_a_source_that_fails_midway_leaves_nothing(tmp_path: Path) -> None:
    def failing() -> object:
        yield from numbered_jpegs(range(5))
        raise RuntimeError("the decoder gave up")

    with pytest.raises(RuntimeError, match="gave up"):
        write_frames(tmp_path / "v", failing())  # type: ignore[arg-type]
    for frames, reason in (([], "no frames"), ([b"not a JPEG"], "frame_00001")):
        with pytest.raises(FrameStoreError, match=reason):
            write_frames(tmp_path / "v", frames)
    assert list(tmp_path.iterdir()) == []


def test_an_older_video_stays_until_the_new_one_is_complete(tmp_path: Path) -> None:
    folder = tmp_path / "v"
    write_frames(folder, numbered_jpegs(range(5)))
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(FrameStoreError):
        write_frames(folder, [*numbered_jpegs(range(3)), b"not a JPEG"])
    assert is_whole(folder)
    assert frame_numbers(FrameStore(folder).read(range(5))) == list(range(5))
    write_frames(folder, numbered_jpegs(range(100, 103)))
    assert frame_numbers(FrameStore(folder).read(range(3))) == [100, 101, 102]
    assert (folder / "n_frames").read_text() == "3"
    assert (folder / "notes.txt").read_text() == "mine"
    assert not leftovers(folder)


def test_an_old_count_never_stands_beside_a_new_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "v"
    write_frames(folder, numbered_jpegs(range(5)))

    def end_at_the_count(path: Path) -> AbstractContextManager[Path]:
        if path.name == "n_frames":
            raise KeyboardInterrupt  # a kill could come here too
        return atomic_file(path)

    monkeypatch.setattr("data.store.frame_store.atomic_file", end_at_the_count)
    with pytest.raises(KeyboardInterrupt):
        write_frames(folder, numbered_jpegs(range(3)))
    assert len(FrameStore(folder)) == 3
    assert not is_whole(folder)


def test_a_path_that_sqlite_cannot_open_is_said_to_be_too_long(tmp_path: Path) -> None:
    """Else the line says no more than "unable to open database file" of a folder in which everything can be written."""
    folder = tmp_path.joinpath(*["d" * 200] * 3)
    with pytest.raises(OSError, match="unable to open database file: SQLite opens no path of more than 511 bytes"):
        write_frames(folder, numbered_jpegs(range(3), 32, 32))
    assert not folder.exists()


def test_only_files_that_this_module_writes_are_leftovers(tmp_path: Path) -> None:
    """They are deleted; a user's copy beside the database is not."""
    ours = {".frames.db.12.tmp", ".frames.db.12.tmp-journal", ".n_frames.7.tmp"}
    for name in (*ours, ".frames.db.old.tmp", ".frames.db.12.tmp.bak", ".frames.db.tmp", ".n_frames.7.tmp2"):
        (tmp_path / name).touch()
    assert {path.name for path in leftovers(tmp_path)} == ours


def test_files_left_by_a_killed_process_with_the_same_id_do_no_harm(tmp_path: Path) -> None:
    folder = tmp_path / "v"
    write_database(folder, numbered_jpegs(range(9)))
    (folder / "frames.db").rename(folder / f".frames.db.{os.getpid()}.tmp")
    (folder / "n_frames").unlink()
    assert not is_whole(folder)
    assert len(leftovers(folder)) == 1
    write_frames(folder, numbered_jpegs(range(4)))
    assert len(FrameStore(folder)) == 4
    assert not leftovers(folder)
