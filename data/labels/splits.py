"""The train and validation videos of a dataset: the entrance to this package."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from data.labels.class_order import class_index_file, class_order
from data.labels.dataset_spec import DatasetSpec
from data.labels.locate import find_class_folders, find_label_files, find_val_labels
from data.labels.scan import scan_dataset, scan_val
from data.labels.scan_cache import cached_scan, scan_key
from data.labels.video_list import VideoList

SMALL = 1_000_000  # bytes of label files, about 30,000 videos: smaller datasets are scanned at each start


class Splits(NamedTuple):
    """The videos for training and for validation, with the same classes, and lines for the log: what is missing."""

    train: VideoList
    val: VideoList
    report: tuple[str, ...]


def load_splits(dataset: Path, spec: DatasetSpec, labels: Path | None = None, source: str = "frames") -> Splits:
    """Find label files and videos of a dataset.

    `dataset` holds the folder jpg, or is that folder. `labels` is a label file, or a folder with the two that `spec`
    names; without it they are looked for in `<dataset>/labels` and `<dataset>/../../labels`. Videos that are not on
    disk or cannot be used are left out and reported. With the source "videos", the folder videos takes the place of
    jpg; its files are indexed once, which takes some milliseconds each. Raises DataError if label files or folders are
    missing or contradict each other, or if a split or a class has no video.
    """
    jpg = find_class_folders(dataset, source)
    files = find_label_files(jpg.parent, spec, labels, source)
    if source != "frames" or sum(path.stat().st_size for path in set(files)) < SMALL:
        scan = scan_dataset(jpg, files, spec, source)
    else:
        index = class_index_file(files, spec)
        read = list(dict.fromkeys(files)) + ([index] if index else [])
        places = [jpg.parent, files.train.parent]
        scan = cached_scan(
            places,
            spec.name,
            scan_key(read, jpg, asdict(spec)),
            scan=lambda: scan_dataset(jpg, files, spec),
            order=lambda names: class_order(files, spec, names)[0],
            key_now=lambda: scan_key(read, jpg, asdict(spec)),
        )
    return Splits(scan.train, scan.val, scan.report)


def load_val(
    dataset: Path,
    spec: DatasetSpec,
    labels: Path | None = None,
    classes: Sequence[str] | None = None,
    source: str = "frames",
    split: str = "val",
) -> tuple[VideoList, tuple[str, ...]]:
    """Find the val videos alone, for an evaluation, and lines for the log. Training videos are not needed.

    With the `split` "test", they are the test videos: `spec.val_labels` then names their label file.

    `classes` is the class order of a network; the labels may name fewer classes, but no others. The rest, and the
    DataErrors, are as in `load_splits`.
    """
    jpg = find_class_folders(dataset, source)
    return scan_val(jpg, find_val_labels(jpg.parent, spec, labels, source), spec, classes, source, split)
