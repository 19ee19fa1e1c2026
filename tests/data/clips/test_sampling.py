"""Which frames a clip has: a mistake here trains on wrong frames, and nothing else would show it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.clips.sampling import (
    RandomClips,
    Rates,
    UniformClips,
    centre_start,
    normal_start,
    random_clip,
    span_clip,
    uniform_clips,
    uniform_start,
)
from data.clips.types import ClipRequest, ClipShape
from data.store.frame_times import Resampler


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


def request(number=0, frames=4, factor=1.0):
    return ClipRequest(number, ClipShape(frames, 8, 8), 2, factor)


def test_the_clips_drawn_by_default_are_those_of_earlier_versions():
    """A run that is resumed after an update would otherwise go on with other clips; numbers of version 0.1."""
    videos = ((20, 1.0), (9, 1.0), (300, 2.5), (3, 1.0), (64, 1.0), (11, 4.0))
    drawn = [
        RandomClips((1, 3), flip=True).frames(
            count, request(number, factor=factor), np.random.default_rng((5, 2, number))
        )
        for number, (count, factor) in enumerate(videos)
    ]
    assert [view.indices.tolist() for (view,) in drawn] == [
        [2, 5, 8, 11], [2, 4, 6, 8], [182, 189, 196, 203], [0, 0, 1, 2], [26, 29, 32, 35], [1, 2, 3, 4],
    ]  # fmt: skip


# Intervals in time


def resampled(num_frames, rate, fps):
    """The frames of a video of a constant rate after `convert --fps`."""
    steps = Resampler(fps)
    counts = [steps.repeats(number / rate) for number in range(num_frames)][1:]
    counts.append(steps.last_repeats(num_frames / rate))
    return [index for index, count in enumerate(counts) for _ in range(count)]


@given(
    num_frames=st.integers(1, 300),
    rate=st.sampled_from([10, 12.5, 15, 24, 25, 50, 60, 120, 24000 / 1001, 30000 / 1001, 60000 / 1001]),
    fps=st.sampled_from([5, 25, 30, 29.97]),
    length=st.integers(1, 32),
    lowest=st.integers(1, 4),
    more=st.integers(0, 3),
    factor=st.floats(1, 4),
    seed=st.integers(0, 2**32),
)
def test_intervals_in_time_give_the_frames_of_a_video_that_was_converted_at_that_rate(
    num_frames, rate, fps, length, lowest, more, factor, seed
):
    """2@30 and `convert --fps 30` with interval 2 must be the same clips, or one of them is not what it says."""
    frames = resampled(num_frames, rate, fps)
    intervals, rng, other = (lowest, lowest + more), np.random.default_rng(seed), np.random.default_rng(seed)
    clip = random_clip(num_frames, length, intervals, factor, rng, rates=Rates(rate, fps))
    same = random_clip(len(frames), length, intervals, factor, other)
    assert rng.bit_generator.state == other.bit_generator.state
    if isinstance(same.interval, int) and not same.repeated:  # else it is covered evenly, by its own frames
        assert clip.indices.tolist() == [frames[index] for index in same.indices]
    assert len(clip.indices) == length and clip.indices.min() >= 0 and clip.indices.max() < num_frames
    assert clip.repeated == (np.diff(clip.indices) == 0).sum()
    views = uniform_clips(num_frames, length, lowest, 3, Rates(rate, fps))
    for view, expected in zip(views, uniform_clips(len(frames), length, lowest, 3), strict=True):
        if (length - 1) * lowest < len(frames):
            assert view.indices.tolist() == [frames[index] for index in expected.indices]


def test_the_same_time_is_between_frames_whatever_the_rate():
    """An interval of 2 is 33 ms of one video and 80 ms of another."""
    for rate, step in ((15, 1), (30, 2), (60, 4), (120, 8)):
        (view,) = UniformClips(2, rate=30).frames(600, request(), np.random.default_rng(0), rate)
        assert set(np.diff(view.indices)) == {step} and (view.interval, view.repeated) == (step, 0)
    (view,) = UniformClips(2, rate=30).frames(600, request(), np.random.default_rng(0), 25)
    assert np.diff(view.indices).tolist() in ([2, 1, 2], [1, 2, 2], [2, 2, 1]) and view.interval == pytest.approx(5 / 3)


def test_frames_of_a_slow_video_are_repeated_and_counted():
    (view,) = UniformClips(1, rate=30).frames(100, request(frames=8), np.random.default_rng(0), 10)
    assert view.indices.tolist() == sorted(view.indices) and view.repeated == 8 - len(set(view.indices)) > 3


def test_a_video_shorter_than_the_time_of_the_clip_is_covered_with_all_the_frames_that_it_has():
    (view,) = UniformClips(8, rate=30).frames(40, request(frames=16), np.random.default_rng(0), 60)
    assert (view.indices[0], view.indices[-1], view.repeated) == (0, 39, 0)
    (view,) = UniformClips(8, rate=30).frames(40, request(), np.random.default_rng(0), 60)
    assert view.indices.tolist() == [0, 13, 26, 39]
    (view,) = UniformClips(8, rate=30).frames(10, request(frames=16), np.random.default_rng(0), 60)
    assert set(view.indices) == set(range(10)) and view.repeated == 6


def test_a_multigrid_factor_raises_an_interval_in_time():
    sampling = RandomClips((2, 2), flip=False, rate=30)
    steps = {
        int(np.diff(sampling.frames(900, request(factor=2.0), np.random.default_rng(seed), 60)[0].indices)[0])
        for seed in range(100)
    }
    assert steps == {4, 6, 8}


def test_only_an_interval_in_time_needs_the_video_s_rate():
    """To read it takes a query for each clip."""
    assert not RandomClips((1, 2), flip=True).needs_rate and not UniformClips(2).needs_rate
    assert RandomClips((1, 2), flip=True, rate=30).needs_rate and UniformClips(2, rate=30).needs_rate
    assert not RandomClips((1, 2), flip=True, rate=30, sampling="span").needs_rate
    assert not UniformClips(2, rate=30, span=True).needs_rate


# Where a clip starts


def starts(draw, last, number=4000):
    rng = np.random.default_rng(0)
    return np.array([draw(last, rng) for _ in range(number)])


def test_starts_are_distributed_as_they_are_called():
    uniform, normal, centre = (starts(draw, 100) for draw in (uniform_start, normal_start, centre_start))
    assert (uniform.min(), uniform.max()) == (0, 100) and abs(uniform.std() - 100 / 12**0.5) < 1.5
    assert normal.min() >= 0 and normal.max() <= 100 and normal.max() - normal.min() > 90
    assert abs(normal.mean() - 50) < 1.5
    assert abs(normal.std() - 22) < 1  # a sigma of 25, cut off at two sigmas
    assert set(centre) == {50}
    for draw in (uniform_start, normal_start, centre_start):
        assert set(starts(draw, 0, 20)) == {0}
        assert set(starts(draw, 2, 200)) <= {0, 1, 2}
    assert set(starts(normal_start, 2, 200)) == {0, 1, 2}


@pytest.mark.parametrize("sampling", ["normal", "centre"])
def test_where_a_clip_starts_changes_nothing_else(sampling):
    clips = [
        RandomClips((1, 3), flip=True, sampling=sampling).frames(100, request(), np.random.default_rng(seed))[0]
        for seed in range(300)
    ]
    assert {int(step) for clip in clips for step in np.diff(clip.indices)} == {1, 2, 3}
    middles = np.array([clip.indices.mean() for clip in clips])
    assert middles.std() < (1 if sampling == "centre" else 25) and abs(middles.mean() - 49.5) < 4


# Clips over the whole video


@given(num_frames=st.integers(1, 400), length=st.integers(1, 64), data=st.data())
def test_a_span_covers_the_whole_video_at_even_steps(num_frames, length, data):
    """With a large interval a clip of 16 frames at interval 2 covers half of 30 frames, and never both ends."""
    clip = span_clip(num_frames, length, data.draw(st.integers(0, num_frames - 1)))
    assert clip.indices.shape == (length,) and clip.indices.dtype == np.int64
    assert clip.indices.min() >= 0 and clip.indices.max() < num_frames
    steps = np.diff(clip.indices)
    if num_frames < length:
        assert set(clip.indices) == set(range(num_frames)) and clip.repeated == length - num_frames
        return
    assert clip.repeated == 0 and (length == 1 or steps.max() - steps.min() <= 1)
    for place, index in enumerate(clip.indices.tolist()):  # one of each segment
        assert place * num_frames / length - 1 < index < (place + 1) * num_frames / length


def test_a_span_is_shifted_at_random_and_all_frames_are_seen():
    sampling = RandomClips((7, 9), flip=True, sampling="span")
    clips = [sampling.frames(64, request(factor=4.0), np.random.default_rng(seed))[0] for seed in range(300)]
    assert {index for clip in clips for index in clip.indices.tolist()} == set(range(64))
    assert {tuple(np.diff(clip.indices)) for clip in clips} == {(16, 16, 16)}


def test_validation_over_the_whole_video_has_the_middles_of_its_segments():
    (view,) = UniformClips(1, span=True).frames(32, request(), np.random.default_rng(0))
    assert view.indices.tolist() == [4, 12, 20, 28]
    views = UniformClips(1, clips=4, span=True).frames(32, request(), np.random.default_rng(0))
    assert [view.indices.tolist() for view in views] == [
        [first, first + 8, first + 16, first + 24] for first in (1, 3, 5, 7)
    ]
