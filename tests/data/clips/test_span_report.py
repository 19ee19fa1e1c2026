"""What is said of the seconds that clips span: a run on clips of half a second is seen only in its scores."""

from dataclasses import replace
from pathlib import Path

import pytest

from data.clips.intervals import Intervals
from data.clips.span_report import VideoTime, mixed_rates, sampled_times, span_text, uneven_steps, unknown_rates
from data.labels.video_list import FoundVideo, VideoList, pack
from data.store.frame_store import write_frames
from data.store.origin import Origin
from tests.numbered import numbered_jpegs

ORIGIN = Origin("v", "a.mp4", 1, "ab", None, None, 360, 90, False)


def videos_of(jpg: Path, *rates: float | None, frames: int = 6) -> VideoList:
    """A list of videos of these rates."""
    found = []
    for number, rate in enumerate(rates):
        name = f"video_{number}"
        write_frames(jpg / "run" / name, numbered_jpegs(range(frames)), replace(ORIGIN, fps=rate).rows)
        found.append((0, FoundVideo("run", name, frames, "")))
    return pack(jpg, ("run",), found)


def times(*rates: float | None, frames: int = 70) -> list[VideoTime]:
    return [VideoTime(Path(f"v{number}"), frames, rate) for number, rate in enumerate(rates)]


def test_frames_and_rates_of_a_sample_are_read(tmp_path: Path) -> None:
    """Videos that cannot be read are left out: reading them for a clip tells what is wrong."""
    videos = videos_of(tmp_path, 25.0, None, 30.0, 30.0)
    (tmp_path / "run" / "video_2" / "frames.db").write_bytes(b"none")
    folders = [videos.folder(index) for index in (0, 1, 3)]
    assert sampled_times(videos) == [
        VideoTime(folders[0], 6, 25.0), VideoTime(folders[1], 6, None), VideoTime(folders[2], 6, 30.0)
    ]  # fmt: skip
    assert unknown_rates(sampled_times(videos), "training").endswith(str(folders[1]))


@pytest.mark.parametrize(
    ("rates", "intervals", "told", "not_told"),
    [
        ((25.0, 25.0, 50.0), Intervals(2, 4), ["16 frames at interval 2-4 spans 1.24 to 2.44 s", "2.8 s", "of 3"], []),
        ((25.0,), Intervals(2, 2), ["interval 2 spans 1.24 s"], [" to "]),
        ((25.0, None), Intervals(2, 2, 30.0), ["2@30 spans 1.03 s", "2.8 s", "of 1", "of 1 it is not known"], []),
        ((None, None), Intervals(2, 4), ["spans 31 to 61 frames", "70 frames", "of 2"], [" s ", " s;"]),
        ((None,), Intervals(2, 2, 30.0), ["spans 1.03 s", "70 frames"], []),
        ((25.0,), None, ["spans the whole video", "2.8 s"], ["interval"]),
        ((), Intervals(2, 2), ["spans 31 frames"], ["videos"]),
    ],
)
def test_the_span_in_seconds(
    rates: tuple[float | None, ...], intervals: Intervals | None, told: list[str], not_told: list[str]
) -> None:
    text = span_text(times(*rates), 16, intervals, "training")
    assert [part for part in told if part not in text] == [] and [part for part in not_told if part in text] == [], text


def test_different_rates_are_told_where_an_interval_counts_frames() -> None:
    mixed = times(24.0, 30.0, 60.0, None)
    text = mixed_rates(mixed, Intervals(2, 2), "training")
    assert "3 sampled training" in text and "24 to 60" in text and "0.033 to 0.083 s" in text
    assert mixed_rates(mixed, Intervals(2, 2, 30.0), "training") == mixed_rates(mixed, None, "training") == ""
    assert mixed_rates(times(25.0, 30.0), Intervals(2, 2), "training") == ""  # a fifth
    assert mixed_rates(times(None, None), Intervals(2, 2), "training") == ""
    assert mixed_rates([], Intervals(2, 2), "training") == ""


def test_unknown_rates_are_counted_and_one_is_named() -> None:
    assert unknown_rates(times(25.0, 30.0), "training") == unknown_rates([], "training") == ""
    assert unknown_rates(times(25.0, None, None), "training").startswith("2 of 3 ") and "v1" in unknown_rates(
        times(25.0, None), "training"
    )


def test_uneven_steps_are_told_where_intervals_are_times(tmp_path: Path) -> None:
    """2@30 is a time only on average in the video of a phone."""
    name = write_frames(
        tmp_path / "run" / "v", numbered_jpegs(range(6)), replace(ORIGIN, fps=30.0, is_variable=True).rows
    )
    found = sampled_times(pack(tmp_path, ("run",), [(0, FoundVideo("run", "v", name, ""))]))
    assert [each.is_variable for each in found] == [True]
    told = uneven_steps([*found, *times(30.0)], Intervals(2, 2, 30.0), "training")
    assert told.startswith("1 of 2") and str(tmp_path / "run" / "v") in told
    assert not uneven_steps(found, Intervals(2, 2), "training") and not uneven_steps(found, None, "training")
