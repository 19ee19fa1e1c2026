"""The entrance for notebooks and scripts of one's own: open_split and read_video. docs/python.md shows their use."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from common import interrupt
from common.cli import LARGEST, LARGEST_CROP_SCALE
from common.errors import DataError
from common.files import what_is_at
from common.text import quoted
from data.augment.randaugment import RandAugment, read_randaugment
from data.clips.by_index import Clips, whole_number
from data.clips.crop import RESIZED_SIDE_PER_CROP
from data.clips.cropping import Cropping
from data.clips.dataset import SOURCES
from data.clips.intervals import ANY, Intervals, intervals_of, read_interval
from data.clips.one_video import read_clips
from data.clips.sampling import SAMPLINGS, SPAN, RandomClips, UniformClips
from data.clips.types import ClipShape
from data.labels.dataset_spec import DatasetSpec
from data.labels.shared_arrays import SharedArrays
from data.labels.splits import load_splits, load_val
from data.labels.text import did_you_mean, is_or_are, some
from data.labels.video_list import VideoList

TEST_LABELS = "test.csv"
SPLITS = ("train", "val", "test")
CUSTOM = DatasetSpec("custom", "train.csv", "val.csv", class_index="custom_classes.txt")  # as in train_custom.py


def open_split(
    dataset: str | os.PathLike[str],
    split: str,
    *,
    clip_length: int,
    clip_size: int,
    interval: int | tuple[int, int] | str,
    crop_scale: float = RESIZED_SIDE_PER_CROP,
    sampling: str = "uniform",
    classes: Sequence[str] | None = None,
    training: bool | None = None,
    flip: bool = True,
    randaugment: str | None = None,
    seed: int = 0,
    transform: Callable[[Tensor], Any] | None = None,
    labels: str | os.PathLike[str] | None = None,
    spec: DatasetSpec = CUSTOM,
    source: str = "frames",
    report: Callable[[str], object] = print,
) -> Clips:
    """The clips of a dataset's split, "train", "val" or "test": one a video, T = `clip_length`, h = w = `clip_size`.

    `interval` is the distance between two frames, or the lowest and highest of it; a text such as "2@30" is a time
    (2/30 of a second), and "all" spans the whole video. The shorter side of a frame is `crop_scale` times that of its
    crop, as with `--crop-scale`. `source` is "frames", or "videos" for video files.

    For training (`training`, by default of the split "train"), each clip has a random interval, start and crop, and
    half of them are mirrored unless `flip` is False; `sampling`, one of "uniform", "normal", "centre" and "span", says
    where in its video a clip starts. Otherwise it is in the middle of the video and of the frame, at the highest
    interval. `randaugment`, such as "2x9", is for a ClipLoader that augments: it is drawn in place of `--augment full`.

    `classes` is the class order of a network: labels then count in it. `labels` is a label file, or the folder that has
    it; `spec` the names of the label files of an official dataset. `transform` is called with the frames of each clip,
    uint8 (3, T, h, w). `report` is called with each line on what was found and what is missing.

    DataError if there is no such dataset or split, for labels that contradict it or `classes`, and for clips that
    cannot be.
    """
    interrupt.restore()
    splits = SPLITS if spec == CUSTOM else SPLITS[:2]  # official datasets validate on their test videos
    if split not in splits:
        raise DataError(f"split {quoted(split)}: must be one of {', '.join(map(repr, splits))}")
    if split == "test":
        _check_test_labels(_absolute(dataset), None if labels is None else _absolute(labels))
        spec = replace(spec, val_labels=TEST_LABELS)
    seed = whole_number("seed", seed, least=0)
    is_random = split == "train" if training is None else training
    operations = _randaugment(randaugment, is_random)
    shape, intervals = _clip_shape(clip_length, clip_size), _intervals(interval)
    place = None if labels is None else _absolute(labels)
    if source not in SOURCES:
        raise DataError(f"source {quoted(source)}: must be one of {' and '.join(map(repr, SOURCES))}")
    if sampling not in SAMPLINGS:
        raise DataError(f"sampling {quoted(sampling)}: must be one of {', '.join(map(repr, SAMPLINGS))}")
    videos, lines = _videos(_absolute(dataset), split, spec, place, classes, source)
    for line in lines:
        report(line)
    # The augmentation is drawn, which takes no time; ClipLoader applies it if it is asked to.
    lowest, highest, rate = intervals or ANY
    scale = _crop_scale(crop_scale)
    clips: RandomClips | UniformClips = UniformClips(highest, rate=rate, span=intervals is None, crop_scale=scale)
    if is_random:
        how, cropping = SPAN if intervals is None else sampling, Cropping(scale=scale)
        clips = RandomClips(
            (lowest, highest), flip, augment=True, rate=rate, sampling=how, cropping=cropping, randaugment=operations
        )
    return Clips(videos, clips, shape, is_random, seed, transform)


def read_video(
    path: str | os.PathLike[str],
    *,
    clip_length: int,
    clip_size: int,
    interval: int | str,
    crop_scale: float = RESIZED_SIDE_PER_CROP,
    clips: int = 1,
) -> Tensor:
    """Evenly spaced clips of one video, as in an evaluation: uint8 (V, 3, T, h, w), V = `clips`.

    `path` is a video file, or the folder of a converted video, as `Clips.path` gives it. DataError if there is none, if
    it cannot be read to its end, and for clips that cannot be.
    """
    interrupt.restore()
    shape, intervals = _clip_shape(clip_length, clip_size), _intervals(interval)
    _, highest, rate = intervals or ANY
    number = whole_number("clips", clips)
    sampling = UniformClips(highest, number, rate, span=intervals is None, crop_scale=_crop_scale(crop_scale))
    return read_clips(_absolute(path), sampling, shape)


def _randaugment(word: str | None, is_random: bool) -> RandAugment | None:
    """The operations that are drawn for clips. DataError if there are none of this word, or clips are not random."""
    try:
        found = read_randaugment(word)
    except DataError as error:
        raise DataError(f"randaugment {quoted(str(word))}: {error}") from None
    if found and not is_random:
        raise DataError("randaugment is for random clips, as of a training split: leave it out")
    return found


def _crop_scale(value: float) -> float:
    """DataError unless it is a number that --crop-scale may be."""
    if not isinstance(value, int | float) or not 1 <= value < LARGEST_CROP_SCALE:
        raise DataError(f"crop_scale {quoted(str(value))}: must be a number from 1 to below {LARGEST_CROP_SCALE}")
    return float(value)


def _check_test_labels(dataset: Path, labels: Path | None) -> None:
    """DataError unless there is a label file of test videos: val rows of another one would be taken for them."""
    place = labels or (dataset.parent if dataset.name == "jpg" else dataset) / "labels"
    if what_is_at(place / TEST_LABELS) != "file":
        raise DataError(f"split 'test': there is no {place / TEST_LABELS}, which data.prepare.folder writes")


def _absolute(path: str | os.PathLike[str]) -> Path:
    """The path from the root, so that it holds when a notebook changes its folder; links stay."""
    if not os.fspath(path):
        raise DataError("the path is empty")
    return Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100 (keeps links)


def _videos(
    dataset: Path, split: str, spec: DatasetSpec, labels: Path | None, classes: Sequence[str] | None, source: str
) -> tuple[VideoList, tuple[str, ...]]:
    """The videos of the split with the labels of `classes`, and what to say of them."""
    if split != "train":
        return load_val(dataset, spec, labels, classes, source)
    found = load_splits(dataset, spec, labels, source)
    return (found.train if classes is None else _in_order(found.train, tuple(classes))), found.report


def _in_order(videos: VideoList, classes: tuple[str, ...]) -> VideoList:
    """The videos with labels that count in `classes`. DataError if one of theirs is not among them."""
    unknown = [name for name in videos.classes if name not in classes]
    if unknown:
        raise DataError(
            f"{some(unknown, 'class')} of the labels {is_or_are(unknown)} not among the {len(classes)} of the network"
            + did_you_mean(unknown[0], classes)
        )
    of_network = np.array([classes.index(name) for name in videos.classes])
    arrays = SharedArrays({**videos.arrays, "labels": of_network[videos.labels]})
    return replace(videos, classes=classes, arrays=arrays)


def _clip_shape(length: int, size: int) -> ClipShape:
    length, size = whole_number("clip_length", length), whole_number("clip_size", size)
    if 3 * length * size**2 > LARGEST:
        raise DataError(f"clips of {length} frames of {size}x{size} are too large: lower clip_length or clip_size")
    return ClipShape(length, size, size)


def _intervals(interval: int | tuple[int, int] | str) -> Intervals | None:
    """The lowest and highest interval, in frames or in time; None for the whole video."""
    if isinstance(interval, str):
        try:
            return intervals_of(read_interval(interval))
        except DataError as error:
            raise DataError(f"interval {quoted(interval)}: {error}") from None
    if not isinstance(interval, tuple | list):
        return Intervals(*(whole_number("interval", interval),) * 2)
    both = [whole_number("interval", each) for each in interval]
    if len(both) != 2 or both[0] > both[1]:
        raise DataError(f"interval {quoted(interval)}: must be one number, or the lowest and the highest")
    return Intervals(both[0], both[1])
