"""The result of a command reaches the user, and never changes the command's exit status."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from common.errors import DataError
from data.prepare.convert import main as convert
from data.prepare.report import Problem, Report, read_problems, write_problems
from tests.numbered import encode_numbered_video

ROOT = Path(__file__).parents[3]
PRINT = """
import sys
from pathlib import Path
from data.prepare.report import Report, progress_bar
report = Report("videos")
report.count("converted")
report.add("failed", "walk/" + "x" * 30 + sys.argv[1], "the reason is as long as reasons often are")
with progress_bar() as bar:
    bar.add_task("converting", total=1)
report.print()
sys.exit(3)
"""


def run(name: str, **streams: object) -> "subprocess.CompletedProcess[str]":
    environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    environment |= streams.pop("environment", {})  # type: ignore[arg-type]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    return subprocess.run([sys.executable, "-c", PRINT, name], cwd=ROOT, env=environment, text=True, **streams)  # type: ignore[call-overload, no-any-return]


def test_a_table_in_a_pipe_is_not_cut_at_80_columns() -> None:
    """grep should find a reason in one line."""
    done = run("a.mp4")
    assert done.returncode == 3
    assert any(
        "a.mp4" in line and "the reason is as long as reasons often are" in line for line in done.stdout.splitlines()
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_full_disk_under_the_output_leaves_the_exit_status(stream: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = run("a.mp4", **{stream: full})
    assert done.returncode == 3
    assert "Traceback" not in (done.stderr or "")
    assert stream == "stderr" or "the disk is full" in done.stderr


def test_a_closed_pipe_leaves_the_exit_status() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = run("a.mp4", stdout=writer)
    os.close(writer)
    assert (done.returncode, "Traceback" in done.stderr) == (3, False)


def test_names_that_the_terminal_cannot_show_are_shown_otherwise() -> None:
    done = run("né→\x1b[31m.mp4", environment={"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, "Traceback" in done.stderr) == (3, False)
    assert done.stdout.isascii() and "\x1b" not in done.stdout and ".mp4" in done.stdout
    assert "\x1b" not in run("\x1b]0;title\x07.mp4").stdout


def test_a_list_is_named_only_if_it_was_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = Report("videos")
    report.add("failed", "a", "b")
    report.print(csv_path=None)
    assert "listed" not in capsys.readouterr().out
    write_problems(tmp_path / "new" / "list.csv", report.problems)
    assert read_problems(tmp_path / "new" / "list.csv") == [Problem("failed", "a", "b")]
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=f"{tmp_path}/file/list.csv"):
        write_problems(tmp_path / "file" / "list.csv", report.problems)


def test_a_list_with_a_name_that_is_not_utf_8_can_be_read_again(tmp_path: Path) -> None:
    """A further conversion into the folder was refused for the list that the first had written."""
    write_problems(tmp_path / "list.csv", [Problem("failed", "a/x\udcff.mp4", "b")])
    assert read_problems(tmp_path / "list.csv") == [Problem("failed", "a/x\\udcff.mp4", "b")]


def test_a_file_of_another_kind_is_not_replaced_by_the_list(tmp_path: Path) -> None:
    """A label file of this name would be gone, after hours of work that the list reports on."""
    path = tmp_path / "list.csv"
    path.write_text("label,id\nrun,v1\n")
    with pytest.raises(DataError, match=r"list.csv: the header is label,id, not kind,item,reason; move it away"):
        write_problems(path, [Problem("failed", "a", "b")])
    assert path.read_text() == "label,id\nrun,v1\n"


def test_convert_looks_at_the_place_of_its_list_before_it_works(tmp_path: Path) -> None:
    """A user would learn of it only when all videos are converted."""
    encode_numbered_video(tmp_path / "videos" / "walk" / "a.mp4", 2)
    (tmp_path / "out" / "convert_failures.csv").mkdir(parents=True)
    with pytest.raises(DataError, match=r"convert_failures.csv is a folder"):
        convert([str(tmp_path / "videos"), str(tmp_path / "out")])
    assert not (tmp_path / "out" / "jpg").exists()


def test_many_problems_of_one_reason_are_one_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Twelve equal rows hide the one that is different. The list has each."""
    report = Report("videos")
    for number in range(12):
        report.add("failed", f"a/{number:02d}.mp4", "no video stream")
    report.add("failed", "b/other.mp4", "is empty")
    report.print(csv_path=tmp_path / "list.csv")
    printed = capsys.readouterr().out
    assert printed.count("no video stream") == 1 and "a/00.mp4" in printed and "b/other.mp4" in printed
    report.print()  # nothing else names them
    assert capsys.readouterr().out.count("no video stream") == 12


def test_a_list_with_a_name_that_looks_like_rows_can_be_read_again(tmp_path: Path) -> None:
    """One odd file name made every later run of convert stop at the command's own list."""
    problems = [Problem("failed", "run/a\nfailed,b,c,d\ne.mp4", "no video", "/videos")]
    write_problems(tmp_path / "list.csv", problems)
    assert read_problems(tmp_path / "list.csv") == problems
