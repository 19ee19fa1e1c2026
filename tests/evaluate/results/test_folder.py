"""The folder of an evaluation: what cannot be its place is refused before the work begins, with what to do."""

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from common.errors import DataError
from evaluate.results.folder import result_folder
from evaluate.results.summary import SUMMARY


@pytest.mark.parametrize("flag", ["--output", "--evaluation-dir"])
@pytest.mark.parametrize("what", ["file", "other files", "read-only"])
def test_a_wrong_place_is_refused_with_the_flag_of_another(tmp_path, monkeypatch, what, flag):
    """evaluate.run and the scripts have other flags for it, and the message named none."""
    place = tmp_path / "evaluation_val_1x1"
    if what == "file":
        place.write_text("")
    elif what == "other files":
        place.mkdir()
        (place / "notes.txt").write_text("")
    else:

        def fail(**_):
            raise OSError(errno.EROFS, "read-only")

        monkeypatch.setattr(tempfile, "TemporaryDirectory", fail)
    with pytest.raises(DataError, match=f"give another folder with {flag}"):
        result_folder(place, {}, flag)


def test_no_place_is_left_behind(tmp_path):
    """The folder is made when there are results."""
    assert result_folder(tmp_path / "new" / "evaluation", {}, "--output").path.name == "evaluation"
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize("place", [os.mkfifo, os.mkdir, lambda path: path.write_text("[" * 10**5)])
def test_what_is_no_summary_is_refused_and_not_waited_for(tmp_path, place):
    """A pipe would be waited for without end, before anything is evaluated."""
    place(tmp_path / SUMMARY)
    with pytest.raises(DataError, match="something else than an evaluation"):
        result_folder(tmp_path, {"split": "val"}, "--output")


def test_a_link_to_nothing_makes_no_folder_elsewhere(tmp_path):
    """In a run's folder that somebody gave, it made a folder anywhere, such as one that a program reads at its start.

    A link to a folder, as on another disk, is taken.
    """
    (tmp_path / "evaluation_val_1x1").symlink_to(tmp_path / "other" / "autostart")
    with pytest.raises(DataError, match=r"evaluation_val_1x1 is a link to .*autostart.*--output"):
        result_folder(tmp_path / "evaluation_val_1x1", {}, "--output")
    assert not (tmp_path / "other").exists()
    (tmp_path / "other" / "autostart").mkdir(parents=True)
    assert result_folder(tmp_path / "evaluation_val_1x1", {}, "--output").path == tmp_path / "other" / "autostart"


MOUNTED = """
import sys
from pathlib import Path
from common.errors import DataError
from evaluate.results.folder import result_folder
try:
    result_folder(Path(sys.argv[1]), {}, "--output")
except DataError as error:
    print(error)
"""


@pytest.mark.parametrize("mount", ["mount -t tmpfs none", "mount --bind other"])
def test_a_mount_point_is_refused_before_the_work(tmp_path, mount):
    """As /out of a container: it cannot be renamed, and a finished evaluation of hours was deleted."""
    place = tmp_path / "out"
    for folder in (place, tmp_path / "other"):
        folder.mkdir()
    mounted = f"{mount} {place} && cd {Path.cwd()} && "

    def in_it(command):
        command = ["unshare", "-rm", "sh", "-c", mounted + command, sys.executable, MOUNTED, place]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    if not shutil.which("unshare") or in_it("true").returncode:
        pytest.skip("this machine lets nobody mount")
    found = in_it('"$0" -c "$1" "$2"')
    assert f"give a folder in it with --output, such as {place}/evaluation" in found.stdout, found


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EXDEV])
def test_a_folder_that_cannot_be_renamed_is_refused_before_the_work(tmp_path, monkeypatch, number):
    """A mount point, or a folder of a container's image; one that can be renamed is left as it is."""
    place = tmp_path / "out"
    place.mkdir()
    (place / SUMMARY).write_text('{"scores": {}}')
    assert result_folder(place, {}, "--output").path == place
    assert [each.name for each in tmp_path.rglob("*")] == ["out", SUMMARY]

    def fail(*_):
        raise OSError(number, "no")

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(DataError, match=r"cannot be replaced.*give a folder in it with --output"):
        result_folder(place, {}, "--output")
    assert [each.name for each in tmp_path.rglob("*")] == ["out", SUMMARY]
