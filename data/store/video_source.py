"""What a clip is read from: the frames of one video, in whatever kind of file they are stored.

FrameStore (frames.db) and IndexedVideo (video files) are such sources. Another kind needs this protocol, and a row in
data.clips.dataset.SOURCES.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from common.errors import DataError
from data.store.crop_box import CropBox


class VideoSourceError(DataError):
    """A video that cannot be read: names the file, the frame, the reason and the remedy."""


class VideoPart(NamedTuple):
    """The frames first, first + 1, ... of a video file, as it was when it was indexed."""

    path: str
    size: int  # bytes
    mtime: int  # nanoseconds
    packed: bytes  # its FrameIndex (keyframe_index.py)
    first: int
    frames: int


class VideoSource(Protocol):
    """The frames of one video, by 0-based index; a context manager that holds the file open.

    Methods raise VideoSourceError for all that is wrong with the video or its file.
    """

    def __enter__(self) -> "VideoSource": ...

    def __exit__(self, *_: object) -> None: ...

    def __len__(self) -> int:
        """The number of frames that can be read."""

    def size(self) -> tuple[int, int]:
        """The height and width of the frames in pixels."""

    def rate(self) -> float | None:
        """The frames a second, on average; None if that is not known."""

    def is_variable(self) -> bool:
        """Whether the steps between the frames are known to be uneven in time."""

    def read(
        self, indices: Sequence[int], crop_box: CropBox | None = None, out: np.ndarray | None = None
    ) -> np.ndarray:
        """Read the frames at `indices`, in that order; an index may repeat.

        Returns RGB uint8 (T, H, W, 3), the whole frames or the `crop_box` of each. If `out` is given, it is contiguous
        and of that shape; the frames are written to it, and it is returned.
        """

    def read_crops(self, indices: Sequence[int], crop_boxes: Sequence[CropBox], out: np.ndarray) -> None:
        """Read several crops of the same frames: `read` of each box, written to `out` (K, T, h, w, 3)."""


def clip_array(shape: tuple[int, ...], out: np.ndarray | None) -> np.ndarray:
    """`out` if a clip of that shape fits it, else ValueError; a new array if `out` is None."""
    if out is None:
        return np.empty(shape, np.uint8)
    if out.shape != shape or out.dtype != np.uint8:
        raise ValueError(f"out is {out.dtype} {out.shape}, but the clip is uint8 {shape}")
    if not (out.flags.c_contiguous and out.flags.writeable):
        raise ValueError("out must be contiguous and writable")
    return out
