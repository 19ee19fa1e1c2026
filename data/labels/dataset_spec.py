"""What the project knows of a dataset."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DatasetSpec:
    """The facts of one dataset that its script states.

    `train_labels` and `val_labels` are the label files' names, tried in each folder that may hold them.
    `class_index` names the file with the dataset's own class order (one class name a line), or is None where the
    order is that of the sorted names. `num_classes` is what a complete copy has; fewer is allowed and said.
    """

    name: str
    train_labels: str
    val_labels: str
    num_classes: int | None = None
    class_index: str | None = None
