"""Which frames a clip has: a mistake here trains on wrong frames, and nothing else would show it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.clips.sampling import random_clip, uniform_clips


def random_clips(num_frames, length, intervals, max_factor=1.0, number=300):
    rng = np.random.default_rng(0)
    return [random_clip(num_frames, length, intervals, max_factor, rng) for _ in range(number)]


@given(
    num_frames=st.integers(1, 400),
    length=st.integers(1, 64),
    lowest=st.integers(1, 8),
    more=st.integers(0, 4),
    max_factor=st.floats(1, 4),
    seed=st.integers(0, 2**32),
)
def test_a_random_clip_is_in_the_video_ascending_and_evenly_spaced(num_frames, length, lowest, more, max_factor, seed):
    clip = random_clip(num_frames, length, (lowest, lowest + more), max_factor, np.random.default_rng(seed))
    check_clip(clip, num_frames, length, lowest, highest=max(lowest, int((lowest + more) * max_factor)))
    if (length - 1) * lowest < num_frames:
        assert clip.interval >= lowest or length == 1  # an interval that fits is never lowered below the range


@given(
    num_frames=st.integers(1, 400),
    length=st.integers(1, 64),
    interval=st.integers(1, 8),
    clips=st.integers(1, 10),
)
def test_uniform_clips_are_in_the_video_ascending_and_evenly_spaced(num_frames, length, interval, clips):
    views = uniform_clips(num_frames, length, interval, clips)
    assert len(views) == clips
    for view in views:
        check_clip(view, num_frames, length, interval, interval)
    assert [view.indices[0] for view in views] == sorted(view.indices[0] for view in views)


def check_clip(clip, num_frames, length, lowest, highest):
    assert clip.indices.dtype == np.int64
    assert clip.indices.shape == (length,)
    assert clip.indices.min() >= 0
    assert clip.indices.max() < num_frames
    steps = np.diff(clip.indices)
    assert clip.repeated == max(0, length - num_frames)
    if clip.repeated:
        assert (steps == 0).sum() == clip.repeated
        assert set(clip.indices) == set(range(num_frames))  # every frame there is, in order
        assert clip.interval == 1
    elif clip.interval == int(clip.interval) >= lowest:
        assert set(steps) <= {clip.interval}
        assert clip.interval <= highest
    else:  # the whole video, as evenly as whole frames allow
        assert clip.interval == (num_frames - 1) / (length - 1) < highest
        even = np.linspace(0, num_frames - 1, length)
        assert np.abs(clip.indices - even).max() <= 0.5 + 1e-9
        assert (clip.indices[0], clip.indices[-1]) == (0, num_frames - 1)
        assert steps.min() >= 1  # no frame twice


@given(
    num_frames=st.integers(1, 400),
    length=st.integers(1, 64),
    lowest=st.integers(1, 8),
    more=st.integers(0, 4),
    max_factor=st.floats(1, 4),
    seed=st.integers(0, 2**32),
)
def test_the_crop_drawn_next_and_clips_that_fit_are_those_of_earlier_versions(
    num_frames, length, lowest, more, max_factor, seed
):
    """A run resumed with another version must read the same clips; only short videos get other frames."""
    rng, earlier = np.random.default_rng(seed), np.random.default_rng(seed)
    clip = random_clip(num_frames, length, (lowest, lowest + more), max_factor, rng)
    drawn = int(earlier.integers(lowest, max(lowest, int((lowest + more) * max_factor)) + 1))
    whole = drawn if length == 1 else max(1, min(drawn, (num_frames - 1) // (length - 1)))
    start = int(earlier.integers(0, max(num_frames - (length - 1) * whole - 1, 0) + 1))
    assert rng.bit_generator.state == earlier.bit_generator.state
    if num_frames >= length and whole == drawn:
        assert clip.indices.tolist() == [start + i * drawn for i in range(length)]
        assert clip.interval == drawn


def test_both_ends_of_the_range_of_intervals_and_all_starts_are_reached():
    """A half-open range would never use the highest interval that the user gave."""
    clips = random_clips(40, 4, (2, 5))
    assert {clip.interval for clip in clips} == {2, 3, 4, 5}
    for interval in (2, 3, 4, 5):
        starts = {int(clip.indices[0]) for clip in random_clips(16, 4, (interval, interval))}
        assert starts == set(range(16 - 3 * interval))


def test_one_interval_is_always_that_one():
    assert {clip.interval for clip in random_clips(100, 8, (3, 3), number=50)} == {3}


def test_max_factor_raises_only_the_highest_interval():
    """Multigrid's short clips must be able to span as much of the action as the long ones."""
    assert {clip.interval for clip in random_clips(400, 4, (2, 3), max_factor=4.0, number=1000)} == set(range(2, 13))
    assert {clip.interval for clip in random_clips(400, 4, (2, 2), max_factor=1.5)} == {2, 3}


def test_a_video_shorter_than_the_span_is_covered_from_its_first_frame_to_its_last():
    """With whole intervals only, a clip of 16 frames at interval 2 from a video of 30 would show half of it."""
    for clips in (1, 3):
        for clip in uniform_clips(num_frames=30, length=16, interval=2, clips=clips):
            assert clip.indices.tolist() == [0, 2, 4, 6, 8, 10, 12, 14, 15, 17, 19, 21, 23, 25, 27, 29]
            assert clip.repeated == 0 and clip.interval == pytest.approx(29 / 15)
    assert {tuple(clip.indices) for clip in random_clips(8, 4, (4, 6))} == {(0, 2, 5, 7)}
    clip = uniform_clips(num_frames=10, length=4, interval=5, clips=1)[0]
    assert (clip.indices.tolist(), clip.interval, clip.repeated) == ([0, 3, 6, 9], 3, 0)


def test_a_video_shorter_than_the_clip_repeats_frames_evenly_and_counts_them():
    """Repeats only at the end would freeze the action; without the count, too short videos would go unnoticed."""
    clip = uniform_clips(num_frames=3, length=6, interval=2, clips=1)[0]
    assert clip.indices.tolist() == [0, 0, 1, 1, 2, 2]
    assert (clip.interval, clip.repeated) == (1, 3)
    assert random_clip(1, 4, (1, 2), 1.0, np.random.default_rng(0)).indices.tolist() == [0, 0, 0, 0]
    assert random_clip(5, 7, (2, 2), 2.0, np.random.default_rng(0)).indices.tolist() == [0, 0, 1, 2, 2, 3, 4]


@pytest.mark.parametrize(
    ("num_frames", "length", "interval", "expected"),
    [
        (16, 16, 1, list(range(16))),
        (17, 4, 2, [5, 7, 9, 11]),
        (18, 4, 2, [5, 7, 9, 11]),
        (100, 1, 7, [49]),
        (7, 4, 2, [0, 2, 4, 6]),
    ],
)
def test_the_centre_clip_is_in_the_middle(num_frames, length, interval, expected):
    assert uniform_clips(num_frames, length, interval, 1)[0].indices.tolist() == expected
    before, after = expected[0], num_frames - 1 - expected[-1]
    assert 0 <= after - before <= 1


def test_uniform_clips_go_from_the_first_frame_to_the_last():
    views = uniform_clips(num_frames=20, length=4, interval=2, clips=3)
    assert [view.indices.tolist() for view in views] == [[0, 2, 4, 6], [6, 8, 10, 12], [13, 15, 17, 19]]
