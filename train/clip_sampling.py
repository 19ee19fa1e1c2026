"""How the options of a run take clips from its videos, and what is said of that at its start.

`options` are those of a script (a dataclass of flags).
"""

import csv
import re
from collections.abc import Sequence
from typing import Any

from common.errors import DataError
from common.logs import LOG
from common.text import quoted
from data.augment.randaugment import HIGHEST, RandAugment, read_randaugment
from data.clips.cropping import DEFAULT, Cropping
from data.clips.dataset import RATE_REMEDY
from data.clips.intervals import ANY, WHOLE, Intervals, interval_of, intervals_of
from data.clips.mirroring import mirrored_labels
from data.clips.sampling import SPAN, RandomClips, UniformClips
from data.clips.span_report import mixed_rates, sampled_times, span_text, uneven_steps, unknown_rates
from data.labels.video_list import VideoList

MOST_PAIRS = 5  # in a message
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
        cropping=training_crops(options),
        randaugment=randaugment_of(options),
    )


def randaugment_of(options: Any) -> RandAugment | None:
    """What --randaugment says; None without it. DataError that names the flag."""
    word = options.randaugment
    try:
        return read_randaugment(word)
    except DataError as error:
        raise DataError(f"--randaugment {quoted(word)}: {error}") from None


def training_crops(options: Any) -> Cropping:
    """How the crops of training clips are drawn."""
    return Cropping(options.crop, options.crop_scale, options.crop_jitter, options.crop_area, options.crop_aspect)


def flipped_labels(classes: Sequence[str], options: Any) -> list[int] | None:
    """The label of each class's mirrored clips, as ClipDataset takes them; None without --flip-labels. DataError."""
    if not options.flip_labels or options.augment == "none":
        return None
    try:
        return mirrored_labels(options.flip_labels, classes)
    except DataError as error:
        raise DataError(f"--flip-labels: {error}") from None


def validation_clips(options: Any) -> UniformClips:
    """How validation clips are taken."""
    found = interval_of(options.val_frame_interval)
    interval, _, rate = found or ANY
    return UniformClips(interval, options.val_clips, rate, found is None, options.val_crops, options.crop_scale)


def unused_interval(options: Any) -> str:
    """What to say if the interval that the command line gives has no effect; else empty."""
    given = "train_frame_interval" in options.given and options.train_frame_interval != WHOLE
    if options.train_sampling != SPAN or not given:
        return ""
    return f"--train-frame-interval has no effect: with --train-sampling {SPAN}, a clip covers the whole video"


def unused_crops(options: Any) -> list[str]:
    """What to say of the flags of crops that have no effect."""
    kinds = {"crop_jitter": "jitter", "crop_area": "resized", "crop_aspect": "resized"}
    lines = [
        f"--{name.replace('_', '-')} has no effect: it is of --crop {kind}, and this run has --crop {options.crop}"
        for name, kind in kinds.items()
        if name in options.given and kind != options.crop
    ]
    if options.flip_labels and options.augment == "none":
        lines.append("--flip-labels has no effect: with --augment none, no clip is mirrored")
    return lines


def check_rates(videos: VideoList, options: Any, split: str) -> None:
    """DataError if the interval is a time and some of a sample of the videos have no known rate."""
    found = interval_of(options.val_frame_interval) if split == "validation" else training_intervals(options)
    if found and found.rate and (unknown := unknown_rates(sampled_times(videos), split)):
        raise DataError(f"{FLAGS[split]} {found}: {unknown}: {RATE_REMEDY}")


def tell_randaugment(options: Any) -> None:
    """Log what --randaugment does, and what it takes the place of."""
    found = randaugment_of(options)
    if found is None:
        return
    LOG.info(
        "--randaugment: each training clip goes through %d random operations of magnitude %d of %d; %s of the clips "
        "are mirrored", found.operations, found.magnitude, HIGHEST, "none" if options.augment == "none" else "half",
    )  # fmt: skip


def tell_crops(options: Any) -> None:
    """Log how crops are drawn, if not as by default."""
    crops = training_crops(options)
    if crops != DEFAULT:
        LOG.info(
            "training crops (--crop %s): %s; validation: cut from a shorter side of %.4g times the crop's", crops.kind,
            crops.show(), options.crop_scale,
        )  # fmt: skip


def tell_mirroring(classes: Sequence[str], options: Any) -> None:
    """Log that clips are mirrored; a warning if that makes a class look like another, by their names."""
    if options.augment == "none":
        return
    LOG.info("half of the training clips are mirrored (--augment %s)", options.augment)
    labels = flipped_labels(classes, options) or list(range(len(classes)))
    if options.flip_labels:
        never, others = sum(label < 0 for label in labels), sum(0 <= to != label for label, to in enumerate(labels))
        LOG.info("--flip-labels: %d classes become others when mirrored, %d are not mirrored", others, never)
    handled = {row_name for row in options.flip_labels for row_name in next(csv.reader([row]))}
    if pairs := [pair for pair in mirrored_classes(classes) if not handled.issuperset(pair)]:
        shown = ", ".join(f"{quoted(one)} like {quoted(other)}" for one, other in pairs[:MOST_PAIRS])
        more = f", and {len(pairs) - MOST_PAIRS} more pairs" if len(pairs) > MOST_PAIRS else ""
        LOG.warning(
            "mirrored clips of a class may look like another: %s%s; where that is so, give --flip-labels FILE with a "
            "row for each pair, or --augment none", shown, more,
        )  # fmt: skip


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
