"""The facts of a dataset that its script states."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DatasetSpec:
    """One dataset.

    `train_labels` and `val_labels` are the names of its label files. `num_classes` is the number of classes of a
    complete copy; a copy with fewer is allowed, and the log says so. `class_index` is the name of the file with the
    dataset's own class order, one class name a line; None if the order is that of the sorted names.
    """

    name: str
    train_labels: str
    val_labels: str
    num_classes: int | None = None
    class_index: str | None = None
