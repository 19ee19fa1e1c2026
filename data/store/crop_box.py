"""The part of a frame that goes into a clip."""

import threading
from typing import NamedTuple

import cv2
import numpy as np

cv2.setNumThreads(0)  # loading is parallel over clips: OpenCV's own threads would only compete, and do not survive fork

_scratch = threading.local()  # the buffer that frames are decoded into before they are cropped, one a thread


class CropBox(NamedTuple):
    """A rectangle of the source frame, in whole pixels, the size it is scaled to, and whether to mirror it."""

    top: int
    left: int
    height: int
    width: int
    out_height: int
    out_width: int
    flip: bool = False

    @property
    def scales(self) -> bool:
        """Whether the rectangle is enlarged or shrunk, not merely cropped."""
        return (self.height, self.width) != (self.out_height, self.out_width)

    @property
    def reduction(self) -> int:
        """The factor, 1, 2 or 4, that a source may be reduced by beforehand without harm to the output.

        A reduced source must hold the rectangle in whole pixels, and no fewer of them than the output has.
        """
        for factor in (4, 2):
            on_grid = not (self.top % factor or self.left % factor or self.height % factor or self.width % factor)
            if on_grid and self.height >= factor * self.out_height and self.width >= factor * self.out_width:
                return factor
        return 1

    def reduced(self, factor: int) -> "CropBox":
        """The same part of a source that was reduced by that factor."""
        top, left, height, width = (edge // factor for edge in self[:4])
        return self._replace(top=top, left=left, height=height, width=width)

    def check_inside(self, height: int, width: int) -> None:
        """ValueError unless the rectangle lies within a frame of that size and the output has pixels."""
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
    # Bilinear interpolation looks at 2x2 pixels: shrinking to a third, it would skip more than half of them. Up to
    # there its aliasing is mild, and averaging the whole area would take ten times as long.
    shrinks = box.height >= 3 * box.out_height or box.width >= 3 * box.out_width
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    cv2.resize(source, (box.out_width, box.out_height), dst=out, interpolation=interpolation)
    if box.flip:
        cv2.flip(out, 1, dst=out)


def scratch_frame(height: int, width: int) -> np.ndarray:
    """A frame (height, width, 3) in the thread's own buffer, which the thread's next call overwrites."""
    wanted = height * width * 3
    if getattr(_scratch, "buffer", None) is None or _scratch.buffer.size < wanted:
        _scratch.buffer = np.empty(wanted, np.uint8)
    return _scratch.buffer[:wanted].reshape(height, width, 3)
