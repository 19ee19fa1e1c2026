"""How the options of a run take clips from its videos, and what is said of that at its start.

`options` are those of a script (a dataclass of flags).
"""

import re
from collections.abc import Sequence
from typing import Any

from common.errors import DataError
from common.logs import LOG
from common.text import quoted
from data.clips.dataset import RATE_REMEDY
from data.clips.intervals import ANY, WHOLE, Intervals, interval_of, intervals_of
from data.clips.sampling import SPAN, RandomClips, UniformClips
from data.clips.span_report import mixed_rates, sampled_times, span_text, uneven_steps, unknown_rates
from data.labels.video_list import VideoList

OTHER_SIDE = {"left": "right", "right": "left"}
FLAGS = {"training": "--train-frame-interval", "validation": "--val-frame-interval"}


def training_intervals(options: Any) -> Intervals | None:
    """The intervals of the training clips; None if these span their whole videos."""
    return None if options.train_sampling == SPAN else intervals_of(options.train_frame_interval)


def training_clips(options: Any) -> RandomClips:
    """How training clips are taken."""
    found = training_intervals(options)
    lowest, highest, rate = found or ANY
    return RandomClips(
        (lowest, highest),
        flip=options.augment != "none",
        augment=options.augment == "full",
        rate=rate,
        sampling=options.train_sampling if found else SPAN,
    )


def validation_clips(options: Any) -> UniformClips:
    """How validation clips are taken."""
    found = interval_of(options.val_frame_interval)
    interval, _, rate = found or ANY
    return UniformClips(interval, options.val_clips, rate, span=found is None, crops=options.val_crops)


def unused_interval(options: Any) -> str:
    """What to say if the interval that the command line gives has no effect; else empty."""
    given = "train_frame_interval" in options.given and options.train_frame_interval != WHOLE
    if options.train_sampling != SPAN or not given:
        return ""
    return f"--train-frame-interval has no effect: with --train-sampling {SPAN}, a clip covers the whole video"


def check_rates(videos: VideoList, options: Any, split: str) -> None:
    """DataError if the interval is a time and some of a sample of the videos have no known rate."""
    found = interval_of(options.val_frame_interval) if split == "validation" else training_intervals(options)
    if found and found.rate and (unknown := unknown_rates(sampled_times(videos), split)):
        raise DataError(f"{FLAGS[split]} {found}: {unknown}: {RATE_REMEDY}")


def tell_mirroring(classes: Sequence[str], options: Any) -> None:
    """Log that clips are mirrored; a warning if that makes a class look like another, by their names."""
    if options.augment == "none":
        return
    LOG.info("half of the training clips are mirrored (--augment %s)", options.augment)
    if pairs := mirrored_classes(classes):
        LOG.warning(
            "mirrored clips of class %s look like %s: where that is so, give --augment none", *map(quoted, pairs[0])
        )


def mirrored_classes(classes: Sequence[str]) -> list[tuple[str, str]]:
    """The pairs of classes whose names differ in "left" and "right" alone, in the order of the first."""
    known = {name.casefold(): name for name in classes}
    pairs = []
    for name in classes:
        other = re.sub("left|right", _other_side, name.casefold())
        if "left" in name.casefold() and other != name.casefold() and other in known:
            pairs.append((name, known[other]))
    return pairs


def _other_side(side: re.Match[str]) -> str:
    return OTHER_SIDE[side[0]]


def tell_spans(videos: VideoList, options: Any, split: str) -> None:
    """Log what a clip spans of the split's videos; a warning if an interval is not the same time in all of them."""
    found = interval_of(options.val_frame_interval) if split == "validation" else training_intervals(options)
    times = sampled_times(videos)
    if uneven := uneven_steps(times, found, split):
        LOG.warning("%s; data.prepare.convert --fps makes their steps even", uneven)
    LOG.info("%s", span_text(times, options.clip_length, found, split))
    if mixed := mixed_rates(times, found, split):
        LOG.warning(
            "%s; convert with --fps, or give the interval as a time, such as %s %d@30",
            mixed, FLAGS[split], found.lowest if found else 1,
        )  # fmt: skip
