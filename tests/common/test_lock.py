"""Two processes that write into one folder would mix or remove each other's files."""

import errno
import fcntl
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from common.errors import DataError
from common.lock import locked
from tests.other_user import without_rights

ROOT = Path(__file__).parents[2]
HOLD = """
import sys, pathlib
from common.lock import locked
with locked(pathlib.Path(sys.argv[1]), "training"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_holder_is_named_and_the_lock_ends_with_it(tmp_path: Path) -> None:
    """Also when that process is killed: nobody should have to remove a lock file by hand."""
    path = tmp_path / ".lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        try:
            named = f"{tmp_path}.*training.*{holder.pid} on {socket.gethostname()}"
            for _ in range(2):  # asking for the lock does not remove the holder's name
                with pytest.raises(DataError, match=named), locked(path, "training"):
                    pass
        finally:
            holder.kill()
    with locked(path, "training"):
        pass


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_no_reason_to_stop(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(tmp_path / ".lock", "training"):
        pass


def test_a_lock_file_that_is_a_link_is_refused_and_its_target_is_untouched(tmp_path: Path) -> None:
    """In a folder that others can write to, a link would empty a file elsewhere; a pipe would wait for ever."""
    (tmp_path / "elsewhere").write_text("mine")
    (tmp_path / ".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"\.lock.*link"), locked(tmp_path / ".lock", "training"):
        pass
    assert (tmp_path / "elsewhere").read_text() == "mine"
    (tmp_path / ".hard").hardlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"\.hard.*link"), locked(tmp_path / ".hard", "training"):
        pass
    assert (tmp_path / "elsewhere").read_text() == "mine"
    os.mkfifo(tmp_path / ".pipe")
    with pytest.raises(DataError, match=r"\.pipe"), locked(tmp_path / ".pipe", "training"):
        pass


def test_an_error_inside_the_block_is_not_taken_for_one_of_the_lock(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="mine"), locked(tmp_path / ".lock", "training"):
        raise OSError(errno.ENOSYS, "mine")


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file"), locked(tmp_path / "file" / ".lock", "training"):
        pass


def test_a_lock_file_of_another_user_is_named_and_not_the_folder() -> None:
    """In a folder that all may write to, a colleague's lock file locked everybody out, and the folder was blamed."""
    with tempfile.TemporaryDirectory() as place:  # pytest's folders are closed to others
        Path(place).chmod(0o777)
        lock = Path(place, ".lock")
        lock.touch()
        lock.chmod(0o444)
        with without_rights(), pytest.raises(DataError, match=r"\.lock.*another user"), locked(lock, "training"):
            pass


def test_a_folder_whose_disk_is_not_mounted_is_named(tmp_path: Path) -> None:
    (tmp_path / "results").symlink_to("/nonexistent/disk")
    with pytest.raises(DataError, match="results is a link to nothing"), locked(tmp_path / "results" / ".lock", "run"):
        pass
