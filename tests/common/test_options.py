"""Flags from dataclasses: a field defines what the command line accepts and what a resumed run compares."""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import pytest

from common.cli import CommandParser
from common.errors import DataError
from common.options import add_options, check_bounds, differences, option, part, plain, read_options


@dataclass(frozen=True)
class Rate:
    lr: float = option(0.1, "rate", "schedule", above=0, is_compared=True)
    lr_steps: tuple[int, ...] = option((4, 8), "steps", "schedule", is_compared=True)
    method: str = option("sgd", "method", "schedule", choices={"sgd": 1, "adamw": 2}, is_fixed=True)


@dataclass(frozen=True)
class All(Rate):
    folder: Path = option(Path(), "folder", "data", required=True)
    file: Path | None = option(None, "file", "data", aliases=("--fyle",))
    count: int = option(1, "count", "data", minimum=1, below=9)
    fast: bool = option(False, "fast", "data")
    hidden: str = ""


def read(*words: str, defaults: All = All()) -> All:  # noqa: B008 - frozen
    parser = CommandParser(prog="x")
    add_options(parser, defaults)
    return read_options(All, parser.parse_args(["--folder", "here", *words]))


def test_each_field_is_read_in_its_own_type():
    assert read() == All(folder=Path("here"))
    words = ["--lr", "2", "--lr-steps", "1,2", "3", "--fyle", "f", "--count", "5", "--fast", "--method", "adamw"]
    assert read(*words) == All(2.0, (1, 2, 3), "adamw", Path("here"), Path("f"), 5, True)
    assert read("--fast", "False").fast is False


def test_a_script_s_defaults_are_an_instance():
    assert read(defaults=All(lr=0.5, fast=True)) == All(lr=0.5, fast=True, folder=Path("here"))


@pytest.mark.parametrize(
    ("flag", "value"), [("--lr", "0"), ("--count", "0"), ("--count", "9"), ("--count", str(2**31))]
)
def test_a_value_out_of_its_bounds_names_the_flag(flag, value):
    with pytest.raises(DataError, match=rf"{flag} .*must be"):
        read(flag, value)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_number_that_is_not_finite_names_the_flag(value):
    """Infinite rates and bounds end in NaN weights, or in no bound at all."""
    with pytest.raises(DataError, match=f"--lr {value}: must be"):
        check_bounds(All(lr=value))


@pytest.mark.parametrize("value", ["nan", "inf", "1e400", "1_0", "٣"])
def test_a_number_is_read_as_it_is_written_everywhere_else(capsys, value):
    """`1_0` is 10 for Python and a typing mistake for everyone else."""
    parser = CommandParser(prog="x")
    add_options(parser, All())
    for flag in ("--lr", "--count"):
        with pytest.raises(SystemExit):
            parser.parse_args(["--folder", "d", flag, value])
        assert flag in (error := capsys.readouterr().err) and repr(value) in error


def test_what_is_required_and_what_may_be_chosen_is_checked(capsys):
    parser = CommandParser(prog="x")
    add_options(parser, All())
    for words, fact in ((["--lr", "1"], "--folder"), (["--folder", "d", "--method", "lion"], "'lion'")):
        with pytest.raises(SystemExit):
            parser.parse_args(words)
        assert fact in capsys.readouterr().err


def test_a_field_without_a_flag_has_none():
    parser = argparse.ArgumentParser()
    add_options(parser, All())
    assert "--hidden" not in parser.format_help() and "--fast" in parser.format_help()


def test_a_part_holds_its_own_options_alone():
    assert part(All(lr=3.0, count=7), Rate) == Rate(3.0)


def test_a_resumed_run_is_compared_with_what_was_saved():
    """A change is reported. A flag that is missing in an older checkpoint counts as its default."""
    saved = plain(All(lr=0.2, count=3))
    assert saved["lr_steps"] == [4, 8] and saved["folder"] == "."
    assert differences(All(lr=0.3), saved) == {"--lr": (0.2, 0.3)}
    assert differences(All(), {}) == {}
    assert differences(All(lr_steps=(4,)), {}) == {"--lr-steps": ([4, 8], [4])}
    with pytest.raises(DataError, match=r"--method adamw.*--method sgd"):
        differences(All(method="adamw"), saved)
