"""What a file of `resize` says of itself is text that any program may have changed: no start may fail on it."""

import json

import pytest

from data.prepare.encoding import _read_tag
from data.store.cut_tag import Cut, cut_of, made_from

TAG = {"made_by": "srtg resize", "source": "a/b.mp4", "video": "x/y"}


@pytest.mark.parametrize("number", [2**70, -(2**63), 2**63])
def test_numbers_of_frames_that_no_file_has_are_none(number: int) -> None:
    """Each start with video files ended in a traceback that named none of them."""
    for first, end in ((number, number + 9), (0, number)):
        assert cut_of(json.dumps(TAG | {"first_frame": first, "end_frame": end})) is None
    cut = cut_of(json.dumps(TAG | {"first_frame": 3, "end_frame": 9}))
    assert cut == Cut(-1.0, -1.0, 3, 9) == Cut.unpack(cut.packed())


def test_a_tag_of_many_brackets_is_none() -> None:
    """It ended `resize` with a traceback."""
    nested = "[" * 100_000
    assert _read_tag(nested) is None
    assert made_from(f"srtg resize{nested}") is None and cut_of(f"srtg resize{nested}") is None
