"""Two processes that write into one folder would mix or remove each other's files."""

import errno
import fcntl
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from common import owner_file
from common.errors import DataError
from common.lock import is_named_in, locked
from common.processes import process_start
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


def refuse_locks(monkeypatch: pytest.MonkeyPatch, number: int = errno.ENOSYS) -> None:
    """As on a file system without locks."""

    def refuse(*_: object) -> None:
        raise OSError(number, "no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(owner_file, "SETTLE", 0.0)


@contextmanager
def holder_without_locks(path: Path, other_machine: bool = False, beat: float = 20.0) -> Iterator[subprocess.Popen]:
    """Another process that holds `path`, which has no locks."""
    lines = ["import errno, fcntl", "from common import owner_file", f"owner_file.BEAT = {beat}"]
    lines += ["def refuse(*_): raise OSError(errno.ENOSYS, 'no locks here')", "fcntl.flock = refuse"]
    lines += ["owner_file.process_space = lambda: '0123'"] if other_machine else []
    command = [sys.executable, "-c", "\n".join(lines) + HOLD, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        try:
            yield holder
        finally:
            holder.kill()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_no_reason_to_stop(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    refuse_locks(monkeypatch, number)
    with locked(tmp_path / ".lock", "training"):
        assert is_named_in(tmp_path / ".lock")
    assert "no locks" in caplog.text
    assert (tmp_path / ".lock").read_text() == ""


def test_without_locks_a_second_process_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs wrote over each other's checkpoints, and both ended with status 0. The first is killed at the end."""
    path = tmp_path / ".lock"
    with holder_without_locks(path) as holder:
        for _ in range(2):  # with locks, as another mount of the same folder may have them, and without
            with pytest.raises(DataError, match=f"training.*process {holder.pid} "), locked(path, "training"):
                pass
            refuse_locks(monkeypatch)
        holder.kill()
        for _ in range(50):  # until the kernel has ended it; this process has not asked for its status
            if not process_start(holder.pid):
                break
            time.sleep(0.1)
        with locked(path, "training"):
            pass


def test_without_locks_a_process_of_another_machine_is_refused_while_it_shows_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can ask whether it runs: it would be taken for ended, or its folder would be closed for ever."""
    path = tmp_path / ".lock"
    refuse_locks(monkeypatch)
    with holder_without_locks(path, other_machine=True, beat=0.1) as holder:
        with pytest.raises(DataError, match=f"process {holder.pid} "), locked(path, "training"):
            pass
        holder.kill()
        holder.wait()
        monkeypatch.setattr(owner_file, "SILENCE", 1.0)
        with locked(path, "training"):
            assert is_named_in(path)


def test_without_locks_of_two_that_claim_at_the_same_time_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / ".lock"
    refuse_locks(monkeypatch)

    def replace(_: float) -> None:
        (tmp_path / "other").write_text("process 1 on elsewhere\n")
        (tmp_path / "other").rename(path)

    monkeypatch.setattr(owner_file.time, "sleep", replace)
    with pytest.raises(DataError, match="process 1 on elsewhere"), locked(path, "training"):
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


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_what_is_no_file_has_no_owner(tmp_path: Path, kind: str) -> None:
    """A pipe of that name in a folder that somebody gave was waited for."""
    path = tmp_path / ".owner"
    os.mkfifo(path) if kind == "pipe" else path.mkdir()
    assert not owner_file.is_owned(path)
