"""The distance between frames as a flag gives it: a mistake must be refused, and numbers must stay what they were."""

import pytest

from common.errors import DataError
from data.clips.intervals import Intervals, interval_of, intervals_of, read_interval, read_single_interval


@pytest.mark.parametrize(
    ("words", "option", "intervals"),
    [
        (["2"], (2,), Intervals(2, 2)),
        (["1", "2"], (1, 2), Intervals(1, 2)),
        (["1,2"], (1, 2), Intervals(1, 2)),
        (["2@30"], "2@30", Intervals(2, 2, 30.0)),
        (["1", "2@30"], "1,2@30", Intervals(1, 2, 30.0)),
        (["1,2@30"], "1,2@30", Intervals(1, 2, 30.0)),
        (["1,", "2@29.97"], "1,2@29.97", Intervals(1, 2, 29.97)),
        (["4@30.000"], "4@30", Intervals(4, 4, 30.0)),
        (["all"], "all", None),
    ],
)
def test_what_is_understood(words: list[str], option: object, intervals: Intervals | None) -> None:
    """A checkpoint holds the option: whole numbers where whole numbers were given, as those of older versions."""
    assert read_interval(words) == option == read_interval(" ".join(words))
    assert type(read_interval(words)) is type(option)
    assert intervals_of(option) == intervals  # type: ignore[arg-type]
    if isinstance(option, tuple):
        assert intervals_of(list(option)) == intervals


def test_one_interval_is_a_whole_number_or_a_text() -> None:
    assert [read_single_interval(word) for word in ("3", "3@25", "all")] == [3, "3@25", "all"]
    assert [interval_of(option) for option in (3, "3@25", "all")] == [Intervals(3, 3), Intervals(3, 3, 25.0), None]


@pytest.mark.parametrize(
    "words",
    ["", ",", "0", "-1", "0@30", "2@", "@30", "2@0", "2@0.5", "2@1001", "2@30fps", "2@1e2", "2@nan", "3,2@30", "3 2",
     "1 2 3", "1,2,3@30", "1@30 2@30", "2 @30 1", "2.5", "every", "ALL", "all 2", "1_0", "9" * 23, "9" * 23 + "@30"],
)  # fmt: skip
def test_what_is_no_interval_is_refused(words: str) -> None:
    with pytest.raises(DataError):
        intervals_of(read_interval(words))
    with pytest.raises(DataError):
        interval_of(read_single_interval(words))


@pytest.mark.parametrize("words", ["1 2", "1,2", "1,2@30"])
def test_a_range_is_no_single_interval(words: str) -> None:
    """Validation would be at the lower one, and nothing would say so."""
    with pytest.raises(DataError):
        interval_of(read_single_interval(words))


def test_its_text_is_what_a_user_gives() -> None:
    shown = [str(each) for each in (Intervals(2, 2), Intervals(1, 2), Intervals(2, 4, 30.0), Intervals(2, 2, 29.97))]
    assert shown == ["2", "1-2", "2-4@30", "2@29.97"]
