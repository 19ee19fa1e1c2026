"""Where a frame is read from a video file: IndexedVideo, a VideoSource that decodes only what a clip needs.

Frames are numbered as `VideoReader` gives them, and have its pixels: index i is the frame that a conversion stores as
frame i + 1, before its JPEG. Decoding begins at the last keyframe before the first frame that is wanted; files in which
no search is exact are decoded from their start. Frames that are neither wanted nor needed by others are not decoded.
"""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from math import inf
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from common.files import changed_at
from common.files import reason as os_reason
from data.store.crop_box import CropBox, copy_crop_of_whole
from data.store.keyframe_index import WHOLE, FrameIndex
from data.store.tone_map import hdr_light
from data.store.video_container import VideoError, open_video, reason
from data.store.video_error import UnreadableError, check_readable, check_system
from data.store.video_file import ABSENT_IS_LIMITED
from data.store.video_frames import FrameDecoder
from data.store.video_pixels import Upright
from data.store.video_source import VideoPart, VideoSourceError, clip_array

# Decoders that can leave out the frame of a packet that no other frame needs. That of AV1 leaves out others, too.
LEAVING_OUT = {"h264", "hevc"}
FAR = 8  # frames; if a keyframe lies further ahead, it is searched for, else what is between is decoded
REMEDY = "replace the file, or remove it, and start again"
LATER = "the file may be whole: start again when that is over"


class VideoFileError(VideoSourceError):
    """A video file that cannot be read."""


class IndexedVideo:
    """The frames of a part of a video file, by index: a VideoSource.

    In a `with` block the file is opened once, at the first `read`. Do not share one between threads.
    """

    def __init__(self, part: VideoPart) -> None:
        self._part = part
        try:
            self._index = FrameIndex.unpack(part.packed, part.size)
        except VideoError as error:
            raise VideoFileError(f"{part.path} {error}") from None
        self._opened = ExitStack()
        self._streams: tuple[InputContainer, VideoStream] | None = None
        self._is_used = False  # packets have been taken from the stream
        self._is_inside = False

    def __enter__(self) -> "IndexedVideo":
        self._is_inside = True
        return self

    def __exit__(self, *_: object) -> None:
        self._is_inside = False
        self._close()

    def __len__(self) -> int:
        """The number of frames of the part, as the index has it."""
        return self._part.frames

    def size(self) -> tuple[int, int]:
        """The height and width of the upright frames in pixels, as the index has them."""
        return self._index.size

    def rate(self) -> float | None:
        """The frames a second of the part, on average; None if that is not known."""
        return self._index.rate(self._part.first, self._part.frames)

    def is_variable(self) -> bool:
        """Whether the steps between the frames of the part are uneven in time."""
        return self._index.is_variable(self._part.first, self._part.frames)

    def read(
        self, indices: Sequence[int], crop_box: CropBox | None = None, out: np.ndarray | None = None
    ) -> np.ndarray:
        """Read the frames at the 0-based `indices`, in that order; an index may repeat.

        Returns RGB uint8 (T, H, W, 3), the whole frames or the `crop_box` of each (bilinear; by area at a third of the
        size or less). If `out` is given, the frames are written to it and it is returned.

        VideoSourceError if the file is damaged, has changed since it was indexed, or an index is out of range; `out` is
        then undefined. ValueError if `out` is not a writable, contiguous uint8 array of that shape.
        """
        box = crop_box or CropBox(0, 0, *self.size(), *self.size())
        clip = clip_array((len(indices), box.out_height, box.out_width, 3), out)
        self.read_crops(indices, [box], clip[None])
        return clip

    def read_crops(self, indices: Sequence[int], crop_boxes: Sequence[CropBox], out: np.ndarray) -> None:
        """Read several crops of the same frames, each decoded once: `read` of each box, in `out` (K, T, h, w, 3)."""
        positions = self._positions(indices)
        for box in crop_boxes:
            box.check_inside(*self.size())
        try:
            self._open()
            assert self._streams is not None
            upright = Upright(WHOLE, self.size())
            codec = self._streams[1].codec_context
            limited_grey, light = codec.name in ABSENT_IS_LIMITED, hdr_light(codec)
            for index, frame in self._frames(sorted(positions)):
                first, *others = positions[index]
                pixels = upright(frame, limited_grey, light)
                for box, clip in zip(crop_boxes, out, strict=True):
                    copy_crop_of_whole(pixels, box, clip[first])
                    for position in others:
                        clip[position] = clip[first]
        except (VideoError, av.FFmpegError, OSError, ValueError, MemoryError) as error:
            raise self._error(error) from error
        finally:
            if not self._is_inside:
                self._close()

    def _positions(self, indices: Sequence[int]) -> dict[int, list[int]]:
        """Where each frame of the file is wanted in the clip."""
        if len(indices) == 0:
            raise ValueError("no frame indices given")
        positions: dict[int, list[int]] = {}
        for position, index in enumerate(map(int, indices)):
            if not 0 <= index < self._part.frames:
                raise VideoFileError(f"{self._part.path} has {self._part.frames} frames: index {index} is out of range")
            positions.setdefault(self._part.first + index, []).append(position)
        return positions

    def _open(self) -> None:
        if self._streams is not None:
            return
        status = os.stat(self._part.path)  # noqa: PTH116 - done for each clip, and Path is slow
        if (status.st_size, changed_at(status)) != (self._part.size, self._part.mtime):
            raise VideoError("was changed since the videos were scanned: start again")
        self._streams = self._opened.enter_context(open_video(Path(self._part.path)))
        self._streams[1].codec_context.thread_count = 1
        self._streams[1].thread_type = "NONE"
        self._is_used = False

    def _close(self) -> None:
        self._streams = None
        self._opened.close()

    def _frames(self, wanted: Sequence[int]) -> Iterator[tuple[int, VideoFrame]]:
        """The wanted frames (ascending numbers of the file) with their numbers. VideoError if one does not come."""
        given = 0
        read = self._from_start(wanted) if self._index.stamps is None else self._by_search(deque(wanted))
        for index, frame in read:
            yield index, frame
            given += 1
        if given < len(wanted):
            raise VideoError(f"frame {wanted[given]} of {len(self._index.times)} does not come when it is decoded")

    def _from_start(self, wanted: Sequence[int]) -> Iterator[tuple[int, VideoFrame]]:
        self._begin()
        assert self._streams is not None
        decoder = FrameDecoder(*self._streams, 1, lambda: None)
        numbers = set(wanted)
        for index, each in enumerate(decoder.frames(0.0, inf)):
            if decoder.faults:
                raise VideoError(decoder.faults[0].what)
            _check(index, each.frame)
            if index in numbers:
                yield index, each.frame
            if index == wanted[-1]:
                return

    def _by_search(self, wanted: deque[int]) -> Iterator[tuple[int, VideoFrame]]:
        """From the keyframe before a frame on; further back if it does not come.

        So it is where the picture is built up over several frames (recovery points in H.264).
        """
        back = 0
        while wanted:
            entry = max(-1, self._index.before(wanted[0]) - back)
            came = False
            for index, frame in self._decoded(entry, set(wanted)):
                if index > wanted[0]:
                    break
                if index < wanted[0]:
                    continue
                yield index, frame
                wanted.popleft()
                came, back = True, 0
                if not wanted:
                    return
                ahead = self._index.before(wanted[0])
                if ahead >= 0 and self._index.keyframes[ahead] > index + FAR:
                    break
            if not came:
                if entry < 0:
                    return
                back = 2 * back + 1

    def _decoded(self, entry: int, wanted: set[int]) -> Iterator[tuple[int, VideoFrame]]:
        """The frames from a keyframe on, by its place among the keyframes, in the order of showing; -1: the start."""
        assert self._index.stamps is not None
        stamps = self._index.stamps
        first = int(self._index.keyframes[entry]) if entry >= 0 else 0
        if entry < 0:
            self._begin()
        assert self._streams is not None
        container, stream = self._streams
        self._is_used = True
        if entry >= 0:
            try:
                container.seek(int(stamps[first]), stream=stream)
            except av.FFmpegError:  # as for a time below zero in Matroska
                return
        context = stream.codec_context
        began = entry < 0
        for packet in container.demux(stream):
            if packet.size:
                began = began or packet.pts == stamps[first]
                if not began:
                    if _number(stamps, packet.pts) > first:
                        return  # the search ended behind the keyframe
                    continue
                if context.name in LEAVING_OUT:
                    context.skip_frame = "DEFAULT" if _number(stamps, packet.pts) in wanted else "NONREF"
            for frame in stream.decode(packet if packet.size else None):
                if (index := _number(stamps, frame.pts)) >= first:
                    _check(index, frame)
                    yield index, frame
            if not packet.size:
                return

    def _begin(self) -> None:
        """Go to the file's start, which no search finds in some files."""
        if self._is_used:
            self._close()
            self._open()
        self._is_used = True

    def _error(self, error: Exception) -> VideoFileError:
        """What to say of an error; if it is of the system, not that the file is to be replaced."""
        try:
            check_system(error)
            if not isinstance(error, UnreadableError):
                check_readable(Path(self._part.path))
        except UnreadableError as of_system:
            error = of_system
        if isinstance(error, UnreadableError):
            return VideoFileError(f"{self._part.path} {error}; {LATER}")
        if isinstance(error, VideoError):
            return VideoFileError(f"{self._part.path} {error}; {REMEDY}")
        why = os_reason(error) if isinstance(error, OSError) else reason(error)
        return VideoFileError(f"{self._part.path} cannot be decoded ({why}); {REMEDY}")


def _check(index: int, frame: VideoFrame) -> None:
    """VideoError if a frame is damaged, also if it is not wanted: others may be made from it."""
    if frame.is_corrupt:
        raise VideoError(f"frame {index} decodes with errors")


def _number(stamps: np.ndarray, stamp: int | None) -> int:
    """The number of the frame with a time; -1 if there is none."""
    if stamp is None:
        return -1
    number = int(np.searchsorted(stamps, stamp))
    return number if number < len(stamps) and stamps[number] == stamp else -1
