"""Frames at another rate, the average rate, and whether it varies: a clip's seconds are counted by them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.store.frame_times import Resampler, average_rate, count_at, is_variable, late_by


def shown(times: list[float], last: float, fps: float) -> list[int]:
    """The indices of the frames that are written, of frames with these times; the last one is shown until `last`."""
    steps = Resampler(fps)
    counts = [*[steps.repeats(time) for time in times][1:], steps.last_repeats(last)]
    return [index for index, count in enumerate(counts) for _ in range(count)]


@pytest.mark.parametrize(
    ("rate", "fps", "expected"),
    [
        (25, 30, [0, 0, 1, 2, 3, 4, 5, 5, 6, 7, 8, 9]),
        (60, 30, [0, 2, 4, 6, 8]),
        (15, 30, [number // 2 for number in range(20)]),
        (30, 25, [0, 1, 2, 3, 4, 6, 7, 8, 9]),
        (30, 30, list(range(10))),
        (24, 1, [0]),
    ],
)
def test_a_frame_is_the_one_that_is_shown_at_its_time(rate: int, fps: int, expected: list[int]) -> None:
    """Also where the file starts later, and where it rounds its times to a millisecond, up or down."""
    for start in (0.0, 1000.2):
        for round_off in (lambda time: time, lambda time: round(time, 3), lambda time: int(time * 1000) / 1000):
            times = [round_off(start + number / rate) for number in range(10)]
            assert shown(times, start + 10 / rate, fps) == expected


def test_times_that_jitter_around_the_same_rate_give_each_frame_once() -> None:
    """Phones write times that are some milliseconds off: frames would be doubled and dropped for nothing."""
    rng = np.random.default_rng(0)
    times = [number / 30 + float(rng.uniform(-0.003, 0.003)) * (number > 0) for number in range(300)]
    assert shown(times, 10.0, 30) == list(range(300))


@given(st.lists(st.floats(0, 0.5), min_size=1, max_size=40), st.floats(1, 60))
def test_the_seconds_stay_right_within_one_frame(steps: list[float], fps: float) -> None:
    times = [0.0, *np.cumsum(steps).tolist()]
    last = times[-1] + 0.04
    indices = shown(times, last, fps)
    assert abs(len(indices) / fps - last) <= 1 / fps + 1e-9
    assert indices == sorted(indices) and len(indices) >= 1
    for place, index in enumerate(indices):
        assert times[index] <= (place + late_by(fps)) / fps + 1e-9  # it has appeared
        assert index == len(times) - 1 or times[index + 1] > place / fps - 1e-9  # and the next one has not


def test_pauses_may_be_most_of_hours_and_not_of_days() -> None:
    """Slides of a lecture stand still for minutes; a small file of a picture every ten minutes would fill a disk."""

    def repeats_too_much(step: float, hours: float, fps: float, others: int = 0) -> bool:
        steps = Resampler(fps)
        for number in range(others):
            steps.repeats(number / fps)
        for number in range(int(hours * 3600 / step)):
            steps.repeats(others / fps + number * step)
        return steps.repeats_too_much

    assert not repeats_too_much(90, 2.5, 30) and not repeats_too_much(9, 24, 30)
    assert repeats_too_much(599, 4, 30) and repeats_too_much(11, 4, 30)
    assert not repeats_too_much(599, 4, 30, others=60_000)  # as much as a long video has


def test_times_that_go_back_or_stand_still_lose_no_frame_that_is_shown() -> None:
    assert shown([0.0, 0.1, 0.1, 0.05, 0.2], 0.3, 10) == [0, 3, 4]


@pytest.mark.parametrize(
    ("frames", "rate", "fps"), [(10, 25, 30), (5, 60, 30), (7, 24, 30), (1, 25, 30), (300, 30, 30)]
)
def test_the_number_of_frames_is_known_from_the_rate(frames: int, rate: int, fps: int) -> None:
    """2@30 counts the steps of a video by it; a video converted with --fps 30 has as many frames."""
    assert count_at(frames / rate, fps) == len(shown([n / rate for n in range(frames)], frames / rate, fps))


def test_the_average_rate_is_by_time_stamps() -> None:
    assert average_rate([0.0, 0.1, 0.3, 0.4], 1 / 25, 0.001) == pytest.approx(7.5)
    assert average_rate([5.0], 1 / 25, 0.001) is None
    assert average_rate([5.0, 5.0], 1 / 25, 0.001) is None
    assert average_rate([], 1 / 25, 0.001) is None
    rounded = [round(number * 1001 / 30000, 3) for number in range(50)]
    assert average_rate(rounded, 1001 / 30000, 0.001) == pytest.approx(
        30000 / 1001, abs=1e-9
    )  # not 29.97 and a bit, from 49 rounded steps
    assert average_rate(rounded, 1 / 25, 0.001) == pytest.approx(30000 / 1001, abs=0.05)


def test_only_clearly_uneven_steps_make_a_rate_variable() -> None:
    """A remark on each video that drops a frame, or rounds its times, would be read by nobody."""
    rng = np.random.default_rng(1)
    even = [number / 30 for number in range(300)]
    assert not is_variable(even, 1 / 90000)
    assert not is_variable([round(time, 3) for time in even], 0.001)
    assert not is_variable([number / 240 // 0.001 * 0.001 for number in range(300)], 0.001)
    assert not is_variable([time for index, time in enumerate(even) if index not in (50, 120, 200)], 1 / 90000)
    assert not is_variable(even[:1], 0.001) and not is_variable([], 0.001)
    assert is_variable([time + float(rng.uniform(0, 0.02)) for time in even], 1 / 90000)
    assert is_variable([time + 0.4 * (index // 10) for index, time in enumerate(even)], 1 / 90000)
