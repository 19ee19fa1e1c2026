"""What the project knows of a dataset and of a clip's shape."""

from dataclasses import dataclass
from typing import NamedTuple


class ClipShape(NamedTuple):
    """The shape of a clip: T frames of H x W pixels."""

    frames: int
    height: int
    width: int


class ClipRequest(NamedTuple):
    """What a batch sampler asks of the dataset: one clip of the video `index`.

    `draw` keys the clip's random draws together with the seed and the index (in training it is the epoch).
    `interval_stretch` is the factor up to which the sampling interval may be stretched, so that a clip of fewer
    frames can still span what a whole one does (multigrid, https://arxiv.org/abs/1912.00998, section 3).
    """

    index: int  # type: ignore[assignment]  # shadows tuple.index, which nobody calls on a request
    shape: ClipShape
    draw: int
    interval_stretch: float = 1.0


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
