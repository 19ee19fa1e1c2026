"""CropBox, the rectangle of a frame that a clip shows, and how it is cut out of a decoded frame."""

import threading
from typing import NamedTuple

import cv2
import numpy as np

cv2.setNumThreads(0)  # clips are read in parallel: OpenCV's threads would compete with that, and do not survive a fork

_scratch = threading.local()  # for each thread, the buffer that a frame is decoded into before it is cropped


class CropBox(NamedTuple):
    """A rectangle of the source frame in whole pixels, the size that it is scaled to, and whether it is mirrored."""

    top: int
    left: int
    height: int
    width: int
    out_height: int
    out_width: int
    flip: bool = False

    @property
    def scales(self) -> bool:
        """Whether the rectangle is enlarged or shrunk, and not only cropped."""
        return (self.height, self.width) != (self.out_height, self.out_width)

    @property
    def reduction(self) -> int:
        """The factor 1, 2 or 4 by which the source may be decoded smaller without loss of detail in the output.

        In the smaller source the rectangle must have whole pixels, and at least as many as the output.
        """
        for factor in (4, 2):
            on_grid = not (self.top % factor or self.left % factor or self.height % factor or self.width % factor)
            if on_grid and self.height >= factor * self.out_height and self.width >= factor * self.out_width:
                return factor
        return 1

    def reduced(self, factor: int) -> "CropBox":
        """The same rectangle of a source that was decoded smaller by that factor."""
        top, left, height, width = (edge // factor for edge in self[:4])
        return self._replace(top=top, left=left, height=height, width=width)

    def check_inside(self, height: int, width: int) -> None:
        """Raise ValueError unless the rectangle lies within a frame of that size and the output has pixels."""
        inside = self.top >= 0 and 0 < self.height <= height - self.top
        inside = inside and self.left >= 0 and 0 < self.width <= width - self.left
        if not inside or self.out_height < 1 or self.out_width < 1:
            raise ValueError(f"{self} does not lie within a frame of {width}x{height} pixels")


def copy_crop(frame: np.ndarray, box: CropBox, out: np.ndarray) -> None:
    """Crop, scale and mirror `frame` (H, W, 3) into `out` (out_height, out_width, 3); exact where nothing is scaled."""
    source = frame[box.top : box.top + box.height, box.left : box.left + box.width]
    if not box.scales:
        if box.flip:
            cv2.flip(source, 1, dst=out)
        else:
            out[...] = source
        return
    # Bilinear interpolation reads 2x2 pixels, so at a third of the size it skips more than half of the source. Above a
    # third its aliasing is mild, and averaging the whole area takes ten times as long.
    shrinks = box.height >= 3 * box.out_height or box.width >= 3 * box.out_width
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    cv2.resize(source, (box.out_width, box.out_height), dst=out, interpolation=interpolation)
    if box.flip:
        cv2.flip(out, 1, dst=out)


def copy_crop_of_whole(frame: np.ndarray, box: CropBox, out: np.ndarray) -> None:
    """`copy_crop` of a frame that was decoded at its full size, so that it is as of a JPEG that is decoded smaller.

    Bilinear interpolation alone skips pixels that a smaller JPEG averages: the same video would look sharper as a file.
    """
    if (factor := box.reduction) > 1:
        part = frame[box.top : box.top + box.height, box.left : box.left + box.width]
        frame = cv2.resize(part, (box.width // factor, box.height // factor), interpolation=cv2.INTER_AREA)
        box = box.reduced(factor)._replace(top=0, left=0)
    copy_crop(frame, box, out)


def scratch_frame(height: int, width: int) -> np.ndarray:
    """A frame (height, width, 3) in this thread's buffer; the thread's next call returns the same memory."""
    wanted = height * width * 3
    if getattr(_scratch, "buffer", None) is None or _scratch.buffer.size < wanted:
        _scratch.buffer = np.empty(wanted, np.uint8)
    return _scratch.buffer[:wanted].reshape(height, width, 3)
