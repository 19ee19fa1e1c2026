"""Scores with fewer clips of one pass: each must be of clips that are spread over the video."""

import pytest

from evaluate.clip_order import clip_order, counts_of


@pytest.mark.parametrize("clips", [1, 2, 3, 4, 5, 7, 10, 12, 15, 20, 30, 100])
def test_each_beginning_has_one_clip_in_each_part_of_the_video(clips):
    """Scores of "2 clips" from the first half of a video would be too low."""
    order = clip_order(clips)
    assert sorted(order) == list(range(clips))
    assert order[0] == (clips - 1) // 2
    for count in counts_of(clips):
        assert sorted(clip * count // clips for clip in order[:count]) == list(range(count))


def test_ten_clips_give_the_counts_of_the_papers():
    assert [counts_of(clips) for clips in (10, 5, 3, 1)] == [(1, 2, 5, 10), (1, 5), (1, 3), (1,)]
