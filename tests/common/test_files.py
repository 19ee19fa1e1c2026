"""A file that another program may read at any time is complete or absent."""

import errno
import os
import stat
from pathlib import Path

import pytest

from common.errors import DataError
from common.files import PICTURES, atomic_file, check_new_files, check_output, write_errors, write_new_files


def test_a_file_appears_only_when_it_is_complete(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("old")
    with atomic_file(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_after_an_error_the_old_file_is_there_and_no_other(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_file(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_named_as_such(tmp_path):
    with (
        pytest.raises(DataError, match=r"x\.csv.*disk is full; free space"),
        write_errors(tmp_path / "x.csv", "free space"),
    ):
        Path("/dev/full").write_text("x" * 100_000)


def test_of_several_files_all_are_written_or_none(tmp_path, monkeypatch):
    """New train labels beside old val labels would be two halves of two datasets."""
    texts = {tmp_path / "a.csv": "new", tmp_path / "b.csv": "new"}
    real = Path.write_text

    def write_text(path: Path, text: str, encoding: str) -> None:
        real(path, text[:1], encoding=encoding)
        if "b.csv" in path.name:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_text", write_text)
    with pytest.raises(DataError, match=f"^{tmp_path}/b.csv cannot be written: the disk is full$"):
        write_new_files(texts)
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    write_new_files(texts)
    assert {path: path.read_text() for path in tmp_path.iterdir()} == texts


@pytest.mark.parametrize("is_stuck", [False, True])
def test_files_renamed_before_one_that_cannot_be_are_removed_again(tmp_path, monkeypatch, is_stuck):
    """A folder with new train labels alone would be taken for whole; what cannot be removed is named."""
    texts = {tmp_path / "a.csv": "new", tmp_path / "b.csv": "new"}
    rename, unlink = Path.replace, Path.unlink

    def replace(path: Path, target: Path) -> None:
        if target.name == "b.csv":
            raise OSError(errno.EIO, "Input/output error", str(path))
        rename(path, target)

    def remove(path: Path, missing_ok: bool = False) -> None:
        if path.name == "a.csv" and is_stuck:
            raise OSError(errno.EIO, "Input/output error", str(path))
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr(Path, "unlink", remove)
    named = f"; delete {tmp_path}/a.csv, which was written before" if is_stuck else ""
    with pytest.raises(DataError, match=f"^{tmp_path}/b.csv cannot be written: Input/output error{named}$"):
        write_new_files(texts)
    assert [path.name for path in tmp_path.iterdir()] == (["a.csv"] if is_stuck else [])


@pytest.mark.parametrize("there", ["other", "folder", "link"])
def test_a_file_with_another_content_is_not_replaced(tmp_path, there):
    """Label files are corrected by hand."""
    path = tmp_path / "a.csv"
    path.mkdir() if there == "folder" else path.symlink_to("b") if there == "link" else path.write_text(there)
    with pytest.raises(DataError, match=rf"a\.csv is (there|a {there}).*move it away"):
        check_new_files({tmp_path / "new.csv": "x", path: "x"})


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a.mp4", "--output .*a.mp4: give a name that ends in .png, .pdf or .svg"),
        ("a", "--output .*a: give a name that ends in"),
        ("folder.png", "folder.png is a folder; give another name"),
        ("pipe.png", "pipe.png is a pipe or device; give another name"),
        ("read.png", "read.png is the file that is read; give another name"),
        ("link.png", "link.png is a link; give another name"),
        ("new.PNG", ""),
    ],
)
def test_an_output_is_of_its_kind_and_not_the_input(tmp_path, name, words):
    """A slip in a command must not cost a video, a label file or the weights that it reads."""
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "read.png").touch()
    (tmp_path / "link.png").symlink_to("elsewhere.png")
    os.mkfifo(tmp_path / "pipe.png")
    if not words:
        return check_output(tmp_path / name, PICTURES, "--output", tmp_path / "read.png")
    with pytest.raises(DataError, match=words):
        check_output(tmp_path / name, PICTURES, "--output", tmp_path / "read.png")


def test_a_file_system_that_cannot_flush_folders_is_written_to(tmp_path, monkeypatch):
    """Some network file systems answer EINVAL; the file itself is flushed all the same."""
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with atomic_file(tmp_path / "a") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "a").read_text() == "new"


def test_no_pipe_or_device_is_replaced_by_a_file(tmp_path):
    """As root, `--output /dev/null` made /dev/null a picture."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(OSError, match="pipe"), atomic_file(path) as temporary:
            temporary.write_text("new")
    assert (tmp_path / "pipe").is_fifo()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_new_files_are_written_through_no_link(tmp_path):
    """A folder that somebody gave had links under the temporary names, and the files they led to were overwritten."""
    (tmp_path / "mine").write_text("mine")
    (tmp_path / f".a.csv.{os.getpid()}.tmp").symlink_to(tmp_path / "mine")
    write_new_files({tmp_path / "a.csv": "new"})
    assert (tmp_path / "mine").read_text() == "mine"
    assert (tmp_path / "a.csv").read_text() == "new" and not (tmp_path / "a.csv").is_symlink()
