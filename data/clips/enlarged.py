"""Whether the frames of a dataset are large enough for the clips that are cut from them."""

from statistics import median
from typing import NamedTuple

import numpy as np

from data.clips.cropping import DEFAULT, Cropping
from data.clips.dataset import SOURCES
from data.clips.types import ClipShape
from data.labels.video_list import VideoList
from data.store.video_source import VideoSourceError

SAMPLED = 32  # videos; of each database one frame's header read, which takes a millisecond


class Enlarged(NamedTuple):
    """What to tell of frames that are enlarged; `is_by_much` if most are smaller than the clip itself."""

    text: str
    is_by_much: bool


def enlarged_frames(videos: VideoList, shape: ClipShape, split: str, cropping: Cropping = DEFAULT) -> Enlarged | None:
    """What to tell if clips of this shape, cut in this way, enlarge the frames of some videos; None if there are none.

    `split` is "training" or "validation". Looks at a sample that is spread evenly over the videos. Those that cannot be
    read are left out.
    """
    sizes = []
    for index in np.linspace(0, len(videos) - 1, min(SAMPLED, len(videos))).round().astype(int).tolist():
        try:
            sizes.append(SOURCES[videos.source](videos.place(index)).size())
        except VideoSourceError:
            continue
    count = sum(cropping.enlarges(size, shape) for size in sizes)
    if not count:
        return None
    middle, side = median(map(min, sizes)), min(shape.height, shape.width)
    return Enlarged(
        f"frames are enlarged in {count} of {len(sizes)} sampled {split} videos (the median of the shorter sides is "
        f"{middle:g} pixels): clips of {shape.width}x{shape.height} are cut from {cropping.source(shape)}",
        middle < side,
    )
