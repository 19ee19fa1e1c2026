"""A file that another program may read at any time is complete or absent."""

import errno
import os
import stat
from pathlib import Path

import pytest

from common.errors import DataError
from common.files import atomic_file, write_errors


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
