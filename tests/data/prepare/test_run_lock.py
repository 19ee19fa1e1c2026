"""Two runs in one folder would remove each other's temporary files."""

import subprocess
import sys
from pathlib import Path

import pytest

from common.errors import DataError
from data.prepare.run_lock import check_idle, only_run
from data.prepare.verify import main

ROOT = Path(__file__).parents[3]
HOLD = """
import sys, pathlib
from data.prepare.run_lock import only_run
with only_run(pathlib.Path(sys.argv[1]), command="download"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_lock_of_another_process_is_named_and_ends_with_it(tmp_path: Path) -> None:
    """Also when that process is killed: nobody should have to remove a lock file by hand."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        try:
            with (
                pytest.raises(DataError, match=f"{tmp_path}.*another download"),
                only_run(tmp_path, command="download"),
            ):
                pass
            with only_run(tmp_path, command="convert"):
                pass  # another command's files are not touched
        finally:
            holder.kill()
    with only_run(tmp_path, command="download"):
        pass


def test_parts_of_a_conversion_run_side_by_side_but_nothing_is_deleted_meanwhile(tmp_path: Path) -> None:
    with (
        only_run(tmp_path, (1, 2)),
        only_run(tmp_path, (2, 2)),
        pytest.raises(DataError, match=f"{tmp_path}.*another convert"),
    ):
        check_idle(tmp_path)
    check_idle(tmp_path)


@pytest.mark.parametrize(("held", "wanted"), [
    ((0, 2), (2, 2)), ((1, 2), (1, 3)), ((0, 1), (1, 2)), ((1, 2), (0, 1)), ((1, 1), (0, 1)), ((3, 16), (7, 8)),
])  # fmt: skip
def test_parts_that_overlap_refuse_each_other(tmp_path: Path, held: tuple[int, int], wanted: tuple[int, int]) -> None:
    """They would remove each other's temporary files: videos would fail for no reason."""
    with only_run(tmp_path, held):
        for _ in range(2):  # the refused one leaves nothing that would refuse others
            with pytest.raises(DataError, match=f"{tmp_path}.*another convert"), only_run(tmp_path, wanted):
                pass
    with only_run(tmp_path, wanted):
        pass


@pytest.mark.parametrize("name", ["jpg", "frames"])
def test_links_to_one_folder_refuse_each_other_whatever_its_name(tmp_path: Path, name: str) -> None:
    """Two runs would remove each other's temporary files; verify would delete what one is writing."""
    (tmp_path / "disk" / name).mkdir(parents=True)
    for out in ("a", "b"):
        (tmp_path / out).mkdir()
        (tmp_path / out / "jpg").symlink_to(tmp_path / "disk" / name)
    with only_run(tmp_path / "a"):
        with pytest.raises(DataError, match="another convert"), only_run(tmp_path / "b", (0, 2)):
            pass
        with pytest.raises(DataError, match="another convert"):
            check_idle(tmp_path / "b")
    with only_run(tmp_path / "b"):
        pass
    assert main([str(tmp_path / "a"), "--workers", "1"]) == 0  # the lock's file is not called stray


def test_two_folders_with_one_jpg_refuse_each_other(tmp_path: Path) -> None:
    (tmp_path / "a" / "jpg").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "jpg").symlink_to(tmp_path / "a" / "jpg")
    with only_run(tmp_path / "a"), pytest.raises(DataError, match="another convert"), only_run(tmp_path / "b"):
        pass
