"""How commands read flags, report mistakes and show their help."""

import argparse
import re
from pathlib import Path
from typing import NamedTuple

import pytest

from common.cli import USAGE_ERROR, CommandParser, StoreNumbers, boolean, numbers, positive_integer, run_command
from common.errors import DataError, TrainingError


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
    for text in ("0", "-1", "1.5", "x", ""):
        with pytest.raises(argparse.ArgumentTypeError, match=repr(text)):
            positive_integer(text)


def test_numbers_may_be_separated_by_spaces_or_commas():
    assert numbers(["40", "60", "75"]) == numbers("40,60,75") == numbers(["40,", "60 ,75"]) == (40, 60, 75)
    assert numbers([]) == numbers("") == ()
    with pytest.raises(DataError, match="'40 x'"):
        numbers(["40", "x"])


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
