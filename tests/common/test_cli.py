"""How commands read flags, report mistakes and show their help."""

import argparse
import errno
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from common import interrupt
from common.cli import USAGE_ERROR, CommandParser, StoreNumbers, boolean, numbers, positive_integer, run_command
from common.errors import DataError, TrainingError
from tests.processes import ROOT


def test_booleans_are_words_in_any_case():
    """`--long-cycles False` must not switch the cycles on, as `bool("False")` would."""
    assert [boolean(text) for text in ("True", "false", "FALSE", "yes", "no", "1", "0", "on", "off")] == [
        True, False, False, True, False, True, False, True, False
    ]  # fmt: skip
    with pytest.raises(argparse.ArgumentTypeError, match="'maybe'"):
        boolean("maybe")


def test_a_positive_integer_is_at_least_one():
    """`--workers 0` or `--size 1.5` would fail later, without the flag's name."""
    assert positive_integer("12") == 12
    for text in ("0", "-1", "1.5", "x", "", "1_0", "٣", "²", str(2**31)):
        with pytest.raises(argparse.ArgumentTypeError, match=repr(text)):
            positive_integer(text)


def test_numbers_may_be_separated_by_spaces_or_commas():
    assert numbers(["40", "60", "75"]) == numbers("40,60,75") == numbers(["40,", "60 ,75"]) == (40, 60, 75)
    assert numbers([]) == numbers("") == ()
    with pytest.raises(DataError, match="'40 x'"):
        numbers(["40", "x"])
    for large in (str(2**31), "9" * 5000):
        with pytest.raises(DataError, match=large[:10]):
            numbers(["40", large])


def test_a_flag_of_numbers_takes_both_spellings_and_names_itself_on_error(capsys):
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr-steps", nargs="+", action=StoreNumbers, default=(1, 2))
    assert parser.parse_args([]).lr_steps == (1, 2)
    assert parser.parse_args(["--lr-steps", "40", "60", "75"]).lr_steps == (40, 60, 75)
    assert parser.parse_args(["--lr-steps", "40,60,75"]).lr_steps == (40, 60, 75)
    with pytest.raises(SystemExit):
        parser.parse_args(["--lr-steps", "4.5"])
    assert "--lr-steps: '4.5'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "facts"),
    [
        (["--bach-size", "8"], ["--bach-size", "did you mean --batch-size?"]),
        (["--batch", "8"], ["--batch", "did you mean --batch-size?"]),  # no abbreviations: they change with the flags
        (["--batch-size", "x"], ["--batch-size", "'x'"]),
        (["--zzz"], ["--zzz"]),
    ],
)
def test_a_mistake_in_the_flags_is_one_line_and_status_2(capsys, words, facts):
    """The reason must not drown in a screen of usage."""
    parser = CommandParser(prog="train")
    parser.add_argument("--batch-size", type=int)
    with pytest.raises(SystemExit) as exit_:
        parser.parse_args(words)
    assert exit_.value.code == USAGE_ERROR
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("train: error: ") and output.err.count("\n") == 1
    assert all(fact in output.err for fact in facts)


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (DataError("no such file a.csv"), 2, "error: no such file a.csv\n"),
        (TrainingError("step 7"), 1, "error: step 7\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_a_command_reports_a_user_s_mistake_in_one_line(capsys, error, status, line):
    """Scripts that call the commands read the status; people read the line, not a traceback."""

    def fail() -> int:
        raise error

    with pytest.raises(SystemExit) as exit_:
        run_command(fail)
    assert (exit_.value.code, capsys.readouterr().err) == (status, line)


def test_too_little_memory_is_one_line(capsys):
    """A damaged or huge file may ask for any amount, in any command."""

    def fail() -> int:
        raise MemoryError("Unable to allocate 7 TiB")

    with pytest.raises(SystemExit) as ended:
        run_command(fail)
    assert ended.value.code == 1
    assert capsys.readouterr().err.splitlines() == [
        "error: memory ran out (Unable to allocate 7 TiB): end other programs, or work on less"
    ]


def test_a_rank_leaves_it_to_its_launcher_to_say_that_it_was_interrupted(monkeypatch, capsys):
    """`evaluate.run --gpus 8` said it eight times, and a second Ctrl-C once more."""

    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(interrupt, "_RANK_OF", [os.getppid()])
    with pytest.raises(SystemExit) as end:
        run_command(interrupted)
    assert end.value.code == 130
    assert capsys.readouterr().err == ""


def test_ctrl_c_says_how_to_go_on(capsys):
    """Else a user starts a conversion of hours from the beginning."""

    def stop() -> int:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as exit_:
        run_command(stop, "give the same command again")
    assert (exit_.value.code, capsys.readouterr().err) == (130, "interrupted; give the same command again\n")


def test_a_failed_access_to_a_file_is_one_line_that_names_it(capsys, tmp_path):
    """A path that is too long, or a folder that is closed, is the user's to change; a traceback does not say so."""
    long = tmp_path / ("x" * 300)
    with pytest.raises(SystemExit) as exit_:
        run_command(lambda: len(long.read_bytes()))
    error = capsys.readouterr().err
    assert exit_.value.code == 2
    assert error.startswith("error: ") and str(long) in error and error.count("\n") == 1


def test_a_failure_of_the_program_keeps_its_traceback():
    """An OSError that names no file is not the user's to mend: whoever mends it needs the place."""

    def fail() -> int:
        raise OSError(errno.EINVAL, "Invalid argument")

    with pytest.raises(OSError, match="Invalid"):
        run_command(fail)


def test_what_names_hold_does_not_reach_the_terminal(capsys):
    """An escape sequence in a class name could clear the screen, and a newline feign another message."""
    with pytest.raises(SystemExit):
        run_command(lambda: int(raised(DataError("class \x1b[31mred\nerror: \udcff \u202e" + "x" * 10**6))))
    with pytest.raises(SystemExit):
        CommandParser(prog="train").parse_args(["--\x1b[2J"])
    error = capsys.readouterr().err
    assert "\\x1b[31mred\\nerror: \ufffd \\u202e" in error and "\\x1b[2J" in error
    assert not set("\x1b\udcff\u202e") & set(error) and error.count("\n") == 2 and len(error) < 6000


def raised(error: Exception) -> str:
    raise error


def test_an_empty_path_is_no_path(capsys):
    """An unset variable would mean the current folder."""
    parser = CommandParser(prog="train")
    parser.add_argument("--dataset", type=Path)
    assert parser.parse_args(["--dataset", "."]).dataset == Path()
    with pytest.raises(SystemExit):
        parser.parse_args(["--dataset", ""])
    assert "--dataset" in capsys.readouterr().err


PRINT = "from common.cli import run_command\nrun_command(lambda: print('line\\n' * {}) or 0)"


def run_python(code: str, stdout: Any, environment: dict[str, str] | None = None) -> tuple[int, str]:
    """The status and stderr of `python -c code`."""
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=stdout, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env=os.environ | (environment or {}),
    )  # fmt: skip
    return done.returncode, done.stderr


HELP = "from common.cli import CommandParser\nCommandParser().parse_args(['--help'])"


@pytest.mark.parametrize(("code", "status"), [(PRINT.format(1), 1), (PRINT.format(100_000), 1), (HELP, 0)])
def test_a_reader_that_has_ended_is_no_mistake(code, status):
    """`... | head` takes what it needs. The outputs fail at different places: in the middle, or at the end."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        assert run_python(code, writer) == (status, "")
    finally:
        os.close(writer)


@pytest.mark.parametrize("lines", [1, 100_000])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_an_output_that_takes_no_more_is_one_line(lines):
    """A report sent to a full disk must not look like a complete one."""
    with Path("/dev/full").open("w") as full:
        status, error = run_python(PRINT.format(lines), full)
    assert status == 1
    assert error == "error: the disk is full\n"


def test_names_that_the_terminal_cannot_show_are_escaped():
    """A class of another script than the terminal's must not end the command."""
    code = "from common.cli import run_command\nrun_command(lambda: print('n\\u00e9') or 0)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, cwd=ROOT, env=os.environ | {"PYTHONIOENCODING": "ascii"}
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"n\\xe9\n", b"")


class Part(NamedTuple):
    index: int
    count: int


def make_parser() -> CommandParser:
    description = "Train.\n\n    python train.py --dataset DIR"
    parser = CommandParser(prog="train.py", description=description)
    add = parser.add_argument
    add("--dataset", metavar="DIR", required=True, help="folder of the dataset")
    add("--labels", type=Path, help="label file")
    add("--task-name", default="", help="name of the run")
    add("--files", action="append", default=[], help="more files")
    add("--shard", type=str, default=Part(0, 1), help="part of the work")
    add("--each-kind", action="store_true", help="a row for each")
    add("--gates", type=boolean, nargs="?", const=True, default=False, metavar="True|False", help="use gates")
    add("--cycles", type=boolean, nargs="?", const=True, default=True, metavar="True|False", help="use cycles")
    add("--interval", nargs="+", action=StoreNumbers, default=(2,), metavar="N", help="one number")
    add("--intervals", nargs="+", action=StoreNumbers, default=(4, 6), metavar="N", help="two numbers")
    add("--lr", type=float, default=0.1, help="learning rate")
    add("--keep", type=int, default=0, help="files to keep")
    add("--share", default="5%", help="a share")
    add("--workers", type=int, default=4, help="processes (default: the CPUs, %(default)s here)")
    add("--sleep", type=float, default=1.0, help="seconds (default %(default)g)")
    add("--warm-up", type=int, default=7, help="a seventh by default")
    add("--hidden", default="x", help=argparse.SUPPRESS)
    return parser


def test_the_help_shows_a_default_only_where_there_is_something_to_say(monkeypatch):
    """`(default: None)` on every second flag hides the defaults that matter."""
    monkeypatch.setenv("COLUMNS", "200")
    page = make_parser().format_help()
    assert dict(re.findall(r"^  --([\w-]+).*?\s{2,}(\S.*)$", page, re.MULTILINE)) == {
        "dataset": "folder of the dataset",
        "labels": "label file",
        "task-name": "name of the run",
        "files": "more files",
        "shard": "part of the work",
        "each-kind": "a row for each",
        "gates": "use gates",
        "cycles": "use cycles (default: True)",
        "interval": "one number (default: 2)",
        "intervals": "two numbers (default: 4 6)",
        "lr": "learning rate (default: 0.1)",
        "keep": "files to keep (default: 0)",
        "share": "a share (default: 5%)",
        "workers": "processes (default: the CPUs, 4 here)",
        "sleep": "seconds (default 1)",
        "warm-up": "a seventh by default",
    }


def test_the_usage_is_one_line_that_names_what_is_required(monkeypatch):
    """The usage of a training script with its fifty flags fills a screen otherwise."""
    monkeypatch.setenv("COLUMNS", "40")
    parser = make_parser()
    assert parser.format_help().splitlines()[0] == "usage: train.py --dataset DIR [options]"
    parser.add_argument("videos", metavar="VIDEOS", nargs="+")
    parser.add_argument("out", metavar="OUT")
    assert parser.format_usage() == "usage: train.py VIDEOS [VIDEOS ...] OUT --dataset DIR [options]\n"
    assert CommandParser(prog="train.py", usage="%(prog)s FILE").format_usage() == "usage: train.py FILE\n"


def test_a_description_of_several_lines_keeps_them_and_one_line_is_wrapped(monkeypatch):
    """The commands in a description are to be copied as they stand."""
    monkeypatch.setenv("COLUMNS", "40")
    assert "\nTrain.\n\n    python train.py --dataset DIR\n" in make_parser().format_help()
    page = CommandParser(description="word " * 30).format_help()
    assert max(len(line) for line in page.splitlines()) <= 40
