"""Names that are alike are told: two spellings of one class are two classes of the network."""

import pytest

from data.labels.text import spelling_notes


@pytest.mark.parametrize("names", ["Wave wave", "jump_up jump-up", "01 1", "a01 A1", "class_007_b class7b", "00 0"])
def test_spellings_of_one_class_are_told(names: str) -> None:
    """Excel writes 1 for 01 when it saves a label file: three classes become six."""
    (line,) = spelling_notes(names.split())
    first, second = sorted(names.split())
    assert line.startswith(f"{first!r} and {second!r} are different classes")


@pytest.mark.parametrize("names", ["1 10 100 0", "a1 a2 b1", "0.5 0.05", "10 01"])
def test_other_names_are_not(names: str) -> None:
    """A line that is wrong for most datasets is not read in the others."""
    assert spelling_notes(names.split()) == []
