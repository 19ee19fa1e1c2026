import argparse

import pytest

from common.cli import StoreNumbers, boolean, numbers
from common.errors import DataError


def test_booleans_are_words_in_any_case():
    """`--long-cycles False` must not switch the cycles on, as `bool("False")` would."""
    assert [boolean(text) for text in ("True", "false", "FALSE", "yes", "no", "1", "0", "on", "off")] == [
        True, False, False, True, False, True, False, True, False
    ]  # fmt: skip
    with pytest.raises(argparse.ArgumentTypeError, match="'maybe' is neither True nor False"):
        boolean("maybe")


def test_numbers_may_be_separated_by_spaces_or_commas():
    assert numbers(["40", "60", "75"]) == numbers("40,60,75") == numbers(["40,", "60 ,75"]) == (40, 60, 75)
    assert numbers([]) == numbers("") == ()
    assert numbers("0.5 1", float) == (0.5, 1.0)
    with pytest.raises(DataError, match="'40 x' is not a list"):
        numbers(["40", "x"])


def test_a_flag_of_numbers_takes_both_spellings_and_names_itself_on_error(capsys):
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr-steps", nargs="+", action=StoreNumbers, default=(1, 2))
    assert parser.parse_args([]).lr_steps == (1, 2)
    assert parser.parse_args(["--lr-steps", "40", "60", "75"]).lr_steps == (40, 60, 75)
    assert parser.parse_args(["--lr-steps", "40,60,75"]).lr_steps == (40, 60, 75)
    with pytest.raises(SystemExit):
        parser.parse_args(["--lr-steps", "4.5"])
    assert "--lr-steps: '4.5' is not a list of whole numbers" in capsys.readouterr().err
