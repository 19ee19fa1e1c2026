"""verify --delete-broken deletes what is proved damaged, and nothing else: if these fail, users lose whole videos."""

import csv
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from common.lock import is_being_written
from data.prepare.verify import main
from data.prepare.video_check import check_and_delete
from data.store.frame_store import FrameStore, write_frames
from tests.data.store.test_database import large_progressive_jpeg, memory_in_use
from tests.numbered import frame_numbers, numbered_jpegs, write_database
from tests.other_user import without_rights

JPEGS = numbered_jpegs(range(6), 16, 16)


@pytest.fixture(autouse=True)
def keep_signal_handler() -> Iterator[None]:
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


def kinds(dataset: Path) -> list[str]:
    with (dataset / "verify_problems.csv").open(newline="") as file:
        return [row["kind"] for row in csv.DictReader(file)]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def delete(jpg: Path, folder: Path, decode: str = "first") -> list[str]:
    """Check the video and delete what is broken; the kinds of problems."""
    verdict, _ = check_and_delete(decode, jpg, folder, lambda: None)
    return [kind for kind, _ in verdict.problems]


@contextmanager
def program(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Another process that runs `code`, which prints a line when it is ready, and then waits for its stdin to end."""
    command = [sys.executable, "-c", f"import os, sqlite3, sys\n{code}\nprint('ready', flush=True)\nsys.stdin.read()"]
    process = subprocess.Popen(
        [*command, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.communicate()


OPEN = "c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
AT_WORK = {
    "WAL, open to read": "c.execute('PRAGMA journal_mode = WAL'); c.execute('SELECT * FROM Images').fetchone()",
    "WAL with a change": "c.execute('PRAGMA journal_mode = WAL'); c.execute('UPDATE Images SET size = 2')",
    "writing with a journal": "c.execute('BEGIN'); c.execute('DELETE FROM Images')",
    "writing without a journal": (
        "c.execute('PRAGMA journal_mode = OFF'); c.execute('PRAGMA cache_size = 1'); c.execute('BEGIN'); "
        "c.execute('DELETE FROM Images WHERE rowid > 3')"
    ),
}


@pytest.mark.parametrize("code", AT_WORK.values(), ids=AT_WORK)
def test_a_database_that_another_program_works_on_is_left(tmp_path: Path, code: str) -> None:
    folder = write_database(tmp_path / "jpg" / "walk" / "a", JPEGS)
    with program(OPEN + code, folder / "frames.db"):
        assert set(delete(tmp_path / "jpg", folder)) <= {"unreadable", "wrong count"}
        assert (folder / "frames.db").exists()
    with closing(sqlite3.connect(folder / "frames.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_new_database_that_is_being_filled_is_left_and_its_rows_arrive(tmp_path: Path) -> None:
    """It has no rows yet, which looks like a damaged one."""
    folder = tmp_path / "jpg" / "walk" / "a"
    folder.mkdir(parents=True)
    code = OPEN + (
        "c.execute('CREATE TABLE Images (ObjId TEXT, frames BLOB, size INT)'); c.execute('BEGIN IMMEDIATE')\n"
        "c.execute('INSERT INTO Images VALUES (?, zeroblob(9), 1)', ('v/frame_00001',))\n"
        "import atexit; atexit.register(c.execute, 'COMMIT')"
    )
    with program(code, folder / "frames.db"):
        assert delete(tmp_path / "jpg", folder) == ["unreadable"]
    assert FrameStore(folder).check_numbering() == 1


def test_a_file_that_is_being_copied_is_left(tmp_path: Path) -> None:
    whole = (write_database(tmp_path / "whole", JPEGS) / "frames.db").read_bytes()
    folder = tmp_path / "jpg" / "walk" / "a"
    folder.mkdir(parents=True)
    code = "f = open(sys.argv[1], 'wb', buffering=0); f.write(open(sys.argv[2], 'rb').read(9000))"
    with program(code, folder / "frames.db", tmp_path / "whole" / "frames.db"):
        assert is_being_written(folder / "frames.db")
        assert delete(tmp_path / "jpg", folder) == ["unreadable"]
    assert (folder / "frames.db").read_bytes() == whole[:9000]
    assert delete(tmp_path / "jpg", folder) == ["broken"]
    assert not folder.exists()


@pytest.mark.parametrize("mode", ["TRUNCATE", "PERSIST"])
def test_a_whole_database_with_the_journal_of_an_ended_change_is_whole(tmp_path: Path, mode: str) -> None:
    folder = write_database(tmp_path / "jpg" / "walk" / "a", JPEGS)
    with closing(sqlite3.connect(folder / "frames.db", isolation_level=None)) as connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
        connection.execute("UPDATE Images SET size = 2")
    assert (folder / "frames.db-journal").exists()
    assert delete(tmp_path / "jpg", folder, "all") == []


def test_whole_frames_that_need_more_memory_than_there_is_are_left(tmp_path: Path) -> None:
    folder = tmp_path / "jpg" / "walk" / "a"
    write_frames(folder, [large_progressive_jpeg()])
    pid = os.fork()  # as the limit would hit the other tests
    if pid == 0:
        status = 9
        try:
            in_use = memory_in_use()
            for more in range(0, 200, 20):
                resource.setrlimit(resource.RLIMIT_AS, (in_use + more * 10**6, -1))
                if "broken" in delete(tmp_path / "jpg", folder, "all"):
                    break
            else:
                status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert delete(tmp_path / "jpg", folder, "all") == []


def of_another_program(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "frames.db")) as connection:
        connection.execute("ALTER TABLE Images RENAME TO Frames")


def change(*statements: str) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        with closing(sqlite3.connect(folder / "frames.db")) as connection:
            for statement in statements:
                connection.execute(statement)
            connection.commit()

    return run


def pictures(start: bytes) -> Callable[[Path], None]:
    return change(f"UPDATE Images SET frames = x'{start.hex()}' || zeroblob(99)")


def renumbered(expression: str) -> Callable[[Path], None]:
    return change(f"UPDATE Images SET ObjId = printf('a/frame_%05d', {expression}) WHERE rowid <= 6")


def other_size(folder: Path) -> None:
    (folder / "frames.db").unlink()
    write_database(folder, [*JPEGS[:3], *numbered_jpegs(range(3, 6), 24, 16)])


SECOND_SERIES = "INSERT INTO Images SELECT replace(ObjId, 'a/', 'a/flow/'), frames, size FROM Images"
NOT_DAMAGED: dict[str, Callable[[Path], None]] = {
    "of another program": of_another_program,
    "PNG": pictures(b"\x89PNG\r\n\x1a\n"),
    "TIFF": pictures(b"II*\0"),
    "AVIF": pictures(b"\0\0\0\x1cftypavif"),
    "JPEG XL": pictures(b"\xff\x0a"),
    "JPEG-LS": pictures(b"\xff\xd8\xff\xf7"),
    "PPM": pictures(b"P6\n32 32\n255\n"),
    "NumPy": pictures(b"\x93NUMPY\1\0"),
    "raw pixels": change("UPDATE Images SET frames = zeroblob(16 * 16 * 3)"),
    "text": change("UPDATE Images SET frames = '/9j/4AAQSkZJRg'"),
    "numbers": change("UPDATE Images SET frames = 3"),
    "every tenth frame": renumbered("10 * rowid - 9"),
    "numbered from 100": renumbered("99 + rowid"),
    "key frames": renumbered("7 * rowid * rowid"),
    "two series": change(SECOND_SERIES),
    "a row of another name": change("INSERT INTO Images VALUES ('a/sound', x'00', 0)"),
    "frames of two sizes": other_size,
}


@pytest.mark.parametrize("change", NOT_DAMAGED.values(), ids=NOT_DAMAGED)
def test_a_database_of_another_kind_is_left(tmp_path: Path, change: Callable[[Path], None]) -> None:
    """Frames that another program wrote in its own way are whole; deleted, they may be lost for good."""
    folder = write_database(tmp_path / "jpg" / "walk" / "a", JPEGS)
    change(folder)
    assert delete(tmp_path / "jpg", folder, "all") == ["unreadable"]
    assert (folder / "frames.db").exists() and (folder / "n_frames").exists()


DAMAGED: dict[str, Callable[[Path], None]] = {
    "a JPEG cut": change("UPDATE Images SET frames = substr(frames, 1, 300)"),
    "zeros in the first": change("UPDATE Images SET frames = zeroblob(500) WHERE rowid = 1"),
    "an empty one": change("UPDATE Images SET frames = x'' WHERE rowid = 4"),
    "one without content": change("UPDATE Images SET frames = NULL WHERE rowid = 6"),
    "one frame missing": change("DELETE FROM Images WHERE rowid = 3"),
    "one frame twice": change(
        "CREATE TABLE T AS SELECT * FROM Images", "INSERT INTO T SELECT * FROM T WHERE rowid = 2",
        "DROP TABLE Images", "ALTER TABLE T RENAME TO Images",
    ),
    "a name overwritten": change("UPDATE Images SET ObjId = CAST(x'FF0012' AS TEXT) WHERE rowid = 4"),
}  # fmt: skip


@pytest.mark.parametrize("change", DAMAGED.values(), ids=DAMAGED)
def test_what_is_proved_damaged_is_deleted(tmp_path: Path, change: Callable[[Path], None]) -> None:
    """Else convert would never make the video again."""
    folder = write_database(tmp_path / "jpg" / "walk" / "a", JPEGS)
    change(folder)
    assert delete(tmp_path / "jpg", folder, "all") == ["broken"]
    assert not folder.exists()


def cut(folder: Path) -> None:
    os.truncate(folder / "frames.db", 5000)


@pytest.mark.parametrize("linked", ["video", "class", "database", "count"])
def test_nothing_is_deleted_through_a_link(tmp_path: Path, linked: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The files belong to another dataset, or to somebody else."""
    outside = write_database(tmp_path / "outside" / "walk" / "a", JPEGS)
    cut(outside)
    folder = tmp_path / "data" / "jpg" / "walk" / "a"
    if linked == "class":
        folder.parent.parent.mkdir(parents=True)
        folder.parent.symlink_to(outside.parent)
    elif linked == "video":
        folder.parent.mkdir(parents=True)
        folder.symlink_to(outside)
    else:
        shutil.copytree(outside, folder)
        name = "frames.db" if linked == "database" else "n_frames"
        (folder / name).unlink()
        (folder / name).symlink_to(outside / name)
    before = tree(tmp_path / "outside")
    assert main([str(tmp_path / "data"), "--workers", "1", "--delete-broken"]) == 1
    assert tree(tmp_path / "outside") == before and kinds(tmp_path / "data") == ["broken"]
    assert "link" in capsys.readouterr().out
    assert (folder / "n_frames").exists()
    assert (folder / "frames.db").exists() == (linked != "count")


def test_a_dataset_behind_a_link_is_cleaned_under_its_own_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dataset that somebody gave, whose `jpg` led to another one, had that one's videos deleted."""
    folder = write_database(tmp_path / "disk" / "jpg" / "walk" / "a", JPEGS)
    cut(folder)
    before = tree(tmp_path / "disk")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "jpg").symlink_to(tmp_path / "disk" / "jpg")
    assert main([str(tmp_path / "data"), "--workers", "1", "--delete-broken"]) == 1
    assert tree(tmp_path / "disk") == before
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("left ")]
    assert line.endswith(f"through the link {tmp_path}/data/jpg: to delete there, verify {tmp_path}/disk")
    (tmp_path / "link").symlink_to(tmp_path / "disk")  # the user names the dataset itself
    assert main([str(tmp_path / "link"), "--workers", "1", "--delete-broken"]) == 1
    assert not folder.exists()


def test_the_count_beside_a_link_whose_disk_is_not_mounted_is_left(tmp_path: Path) -> None:
    folder = write_database(tmp_path / "jpg" / "walk" / "a", JPEGS)
    (folder / "frames.db").rename(tmp_path / "kept.db")
    (folder / "frames.db").symlink_to(tmp_path / "disk" / "kept.db")
    assert delete(tmp_path / "jpg", folder) == ["unreadable"]
    assert (folder / "n_frames").exists()


@contextmanager
def as_nobody(*folders: Path) -> Iterator[None]:
    """Without root's rights over the folders, whose parents are opened."""
    for folder in folders:
        for parent in folder.parents:
            if parent.owner() == folder.owner() and parent != Path("/"):
                parent.chmod(parent.stat().st_mode | 0o755)
    try:
        with without_rights():
            yield
    finally:
        for folder in folders:
            folder.chmod(0o755)


@pytest.mark.parametrize("mode", [0o000, 0o444])
def test_a_folder_without_permission_is_unreadable_and_not_empty(tmp_path: Path, mode: int) -> None:
    folder = write_database(tmp_path / "jpg" / "walk" / "a", JPEGS)
    folder.chmod(mode)
    with as_nobody(folder):
        verdict, deletion = check_and_delete("first", tmp_path / "jpg", folder, lambda: None)
    ((kind, reason),) = verdict.problems
    assert kind == "unreadable" and "Permission denied" in reason and not deletion.deleted
    assert frame_numbers(FrameStore(folder).read([5])) == [5]


def test_a_broken_database_that_may_not_be_deleted_is_said_to_be_left(tmp_path: Path) -> None:
    folder = write_database(tmp_path / "jpg" / "walk" / "a", JPEGS)
    cut(folder)
    folder.chmod(0o555)
    with as_nobody(folder):
        verdict, deletion = check_and_delete("first", tmp_path / "jpg", folder, lambda: None)
    assert [kind for kind, _ in verdict.problems] == ["broken"]
    (left,) = deletion.left
    assert str(folder / "frames.db") in left and "Permission denied" in left
    assert (folder / "n_frames").exists()


@pytest.mark.timeout(60)
def test_odd_files_are_problems_and_never_waited_for(tmp_path: Path) -> None:
    for name in ("fifo", "folder", "device", "long"):
        folder = write_database(tmp_path / "jpg" / "walk" / name, JPEGS)
        (folder / "n_frames").unlink()
    os.mkfifo(tmp_path / "jpg/walk/fifo/n_frames")
    (tmp_path / "jpg/walk/folder/n_frames").mkdir()
    (tmp_path / "jpg/walk/device/n_frames").symlink_to("/dev/zero")
    (tmp_path / "jpg/walk/long/n_frames").write_bytes(b"6" * 5000)
    (tmp_path / "jpg/walk/loop").symlink_to(tmp_path / "jpg/walk/loop")
    (tmp_path / "jpg/loop").symlink_to(tmp_path / "jpg/loop")
    assert main([str(tmp_path), "--workers", "1"]) == 1
    assert sorted(kinds(tmp_path)) == ["stray", "stray", "unreadable", "unreadable", "unreadable", "wrong count"]


def test_a_folder_of_label_files_is_taken_as_training_takes_it(tmp_path: Path) -> None:
    write_database(tmp_path / "data" / "jpg" / "walk" / "a", JPEGS)
    for name in ("train", "val"):
        (tmp_path / f"{name}.csv").write_text(f"label,id\nwalk,{'a' if name == 'train' else 'b'}\n")
    assert main([str(tmp_path / "data"), "--labels", str(tmp_path), "--workers", "1"]) == 1
    assert kinds(tmp_path / "data") == ["missing"]
    with pytest.raises(ValueError, match="holds no CSV file"):
        main([str(tmp_path / "data"), "--labels", str(tmp_path / "data" / "jpg"), "--workers", "1"])


def test_a_list_that_cannot_be_written_is_not_named_as_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut(write_database(tmp_path / "jpg" / "walk" / "a", JPEGS))
    (tmp_path / "verify_problems.csv").mkdir()
    assert main([str(tmp_path), "--workers", "1"]) == 1
    printed = capsys.readouterr()
    assert "verify_problems.csv" not in printed.out and "here alone" in printed.err
