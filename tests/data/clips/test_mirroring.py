"""The table of --flip-labels: a mistake in it gives half of the clips of a class a wrong label."""

from pathlib import Path

import pytest

from common.errors import DataError
from data.clips.mirroring import mirrored_labels, read_mirrored

CLASSES = ("bow", "left, then right", "right, then left", "swipe left", "swipe right", "text")


def read(tmp_path: Path, text: str) -> tuple[str, ...]:
    path = tmp_path / "mirrored.csv"
    path.write_text(text, encoding="utf-8")
    return read_mirrored(path)


@pytest.mark.parametrize("both", ["", "swipe right,swipe left\n"])
def test_a_row_is_a_pair_and_a_dash_is_no_mirror(tmp_path: Path, both: str) -> None:
    rows = read(tmp_path, f'swipe left, swipe right\n\n{both}"left, then right","right, then left"\ntext,-\n')
    assert mirrored_labels(rows, CLASSES) == [0, 2, 1, 4, 3, -1]


def test_a_class_that_stays_itself_is_said_to_be_thought_of(tmp_path: Path) -> None:
    assert mirrored_labels(read(tmp_path, "bow,bow\n"), CLASSES) == list(range(6))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("swipe left\n", "line 1"), ("bow,text\na,b,c\n", "line 2"), ("bow,\n", "line 1"), ("", "no rows"),
        ("bow,text\nbow,-\n", "line 2"), ("bow,text\ntext,-\n", "mirrored twice"),
        ("bow,text\ntext,swipe left\n", "mirrored twice"), ("bow,text\nswipe left,text\n", "both become"),
        ("".join(f"{n},-\n" for n in range(1001)), "more than 1000"),
    ],
)  # fmt: skip
def test_a_table_that_makes_no_sense_is_refused(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(DataError, match=named):
        read(tmp_path, text)


def test_a_name_that_is_no_class_is_refused_and_the_nearest_is_named(tmp_path: Path) -> None:
    """Else a typing error leaves the class as it is, in silence."""
    for text in ("swipe_left,swipe right\n", "swipe right,swipe_left\n", "swipe_left,-\n"):
        with pytest.raises(DataError, match="'swipe left'"):
            mirrored_labels(read(tmp_path, text), CLASSES)
