"""What clips span of their videos, in seconds: by a sample of the videos, for a line of the log."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from data.clips.dataset import SOURCES
from data.clips.intervals import Intervals
from data.labels.text import counted
from data.labels.video_list import VideoList
from data.store.video_source import VideoSourceError

MIXED = 1.2  # rates that differ by this factor are told


class VideoTime(NamedTuple):
    """The number of frames of a video, and how many of them there are a second (None: not known)."""

    path: Path
    frames: int
    rate: float | None
    is_variable: bool = False  # the steps between its frames are uneven


def sampled_times(videos: VideoList) -> list[VideoTime]:
    """The times of up to 64 videos that are spread evenly over the list. Those that cannot be read are left out."""
    times = []
    for index in videos.sample():
        try:
            with SOURCES[videos.source](videos.place(index)) as video:
                times.append(VideoTime(videos.path(index), len(video), video.rate(), video.is_variable()))
        except VideoSourceError:
            continue
    return times


def span_text(times: Sequence[VideoTime], length: int, intervals: Intervals | None, split: str) -> str:
    """What a clip of `length` frames spans (intervals None: the whole video), and how long the videos are.

    `split` is "training" or "validation". In seconds, by the median rate, if any is known; else in frames.
    """
    known = [(each.frames, each.rate) for each in times if each.rate]
    rate = median(rate for _, rate in known) if known else None
    what = f"a {split} clip of {counted(length, 'frame')}"
    if intervals is None:
        what += " spans the whole video"
    else:
        steps = [(length - 1) * interval + 1 for interval in (intervals.lowest, intervals.highest)]
        unit = intervals.rate or rate
        ends = [f"{each / unit:.3g}" if unit else f"{each}" for each in dict.fromkeys(steps)]
        what += f" at interval {intervals} spans {' to '.join(ends)} {'s' if unit else 'frames'}"
    if not times:
        return what
    unknown = len(times) - len(known)
    if not known:
        frames = median(each.frames for each in times)
        return f"{what}; the videos have {frames:g} frames (median of {unknown}), how many a second is not known"
    seconds = median(frames / rate for frames, rate in known)
    more = f"; of {unknown} it is not known" if unknown else ""
    return f"{what}; the videos last {seconds:.3g} s (median of {len(known)}{more})"


def mixed_rates(times: Sequence[VideoTime], intervals: Intervals | None, split: str) -> str:
    """What to warn of if the rates of videos differ much and the intervals count frames; empty if not."""
    rates = sorted(each.rate for each in times if each.rate)
    if intervals is None or intervals.rate or not rates or rates[-1] <= MIXED * rates[0]:
        return ""
    seconds = [f"{intervals.lowest / rate:.2g}" for rate in (rates[-1], rates[0])]
    return (
        f"the {len(rates)} sampled {split} videos have {rates[0]:.4g} to {rates[-1]:.4g} frames a second (median "
        f"{median(rates):.4g}): an interval of {intervals.lowest} is {' to '.join(seconds)} s"
    )


def uneven_steps(times: Sequence[VideoTime], intervals: Intervals | None, split: str) -> str:
    """What to warn of if intervals are times and some videos have uneven steps; empty if not."""
    uneven = [each.path for each in times if each.is_variable]
    if intervals is None or not intervals.rate or not uneven:
        return ""
    return (
        f"{len(uneven)} of {len(times)} sampled {split} videos have uneven steps between their frames, as {uneven[0]}: "
        f"an interval of {intervals} is a time only on average in them"
    )


def unknown_rates(times: Sequence[VideoTime], split: str) -> str:
    """Which of the sampled videos do not tell their rate; empty if all do."""
    unknown = [each.path for each in times if each.rate is None]
    if not unknown:
        return ""
    return (
        f"{len(unknown)} of {len(times)} sampled videos do not tell how many frames a second they have, as {unknown[0]}"
    )
