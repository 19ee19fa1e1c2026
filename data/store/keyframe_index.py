"""The index of a video file: its frames in the order of showing, their times, and where decoding can begin.

It is made of the packets, of which only a few are decoded, in MP4 and Matroska files whose decoder gives one frame for
each packet. Other files are decoded once: in AVI, MPEG and FLV files packets do not tell which frames a decoder gives.
The frames are those of `VideoReader` without a span, in the same order.
"""

import struct
import zlib
from collections.abc import Sequence
from fractions import Fraction
from itertools import islice
from math import inf, isfinite
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from data.store.frame_times import average_rate, is_variable
from data.store.truncation import missing_bytes
from data.store.video_container import MAX_PIXELS, VideoError, open_video
from data.store.video_damage import hole_in
from data.store.video_error import check_readable, told_from_damage
from data.store.video_file import ABSENT_IS_LIMITED, broken_promise, stated_end
from data.store.video_frames import SEEKABLE, TIMELESS, FrameDecoder
from data.store.video_pixels import Upright
from data.store.video_structure import breaks

ONE_EACH = {"h264", "hevc", "vp9", "av1", "libdav1d", "mjpeg", "prores"}  # decoders that give a frame for each packet
DECODED = 12  # frames that are decoded to see that they come in the order of their times
MOST_SORTED = 16  # frames that a decoder holds back to sort them, as H.264 and HEVC allow
WHOLE = 1 << 30  # a shorter side that no video has
# height, width; the numbers of stamps, keyframes and times; tick (two numbers), origin, end, step
HEADER = struct.Struct("<IIIIIqqqdd")
MOST_FRAMES = 1 << 26  # three weeks at 30 a second
DAMAGED = "has a damaged index; delete the folder .index of the dataset, and start again"


class FrameIndex(NamedTuple):
    """The N frames of a video file, upright."""

    size: tuple[int, int]  # height, width
    times: np.ndarray  # float64 (N,), seconds from the file's start
    end: float  # seconds, when the last frame disappears
    step: float  # seconds between frames, as the file's header says; 0 if the file has no times
    tick: tuple[int, int]  # seconds of a tick, as a fraction
    stamps: np.ndarray | None  # int64 (N,), ascending: their times in ticks; None if the file is read from its start
    keyframes: np.ndarray  # int64 (K,), ascending: the frames from which decoding can begin; 0 if `stamps` is None
    comment: str = ""  # the tag of this name; `packed` leaves it and the next one out
    warning: str = ""  # what the file has less of than its header announces, or shows again

    def before(self, index: int) -> int:
        """Which of the keyframes is the last at or before a frame; -1 if there is none."""
        return int(np.searchsorted(self.keyframes, index, side="right")) - 1

    def part(self, start: float, end: float) -> tuple[int, int]:
        """The first frame and the number of frames with start <= time < end, as a span of VideoReader has them."""
        late = np.flatnonzero(self.times >= end)
        stop = int(late[0]) if late.size else len(self.times)
        inside = np.flatnonzero(self.times[:stop] >= start)
        return (int(inside[0]), len(inside)) if inside.size else (0, 0)

    def rate(self, first: int, frames: int) -> float | None:
        """The frames a second of a part; None if its times do not tell.

        As `average_rate`, so that it is that of a conversion.
        """
        if self.step <= 0:
            return None
        return average_rate(self.times[first : first + frames].tolist(), self.step, self.tick[0] / self.tick[1])

    def is_variable(self, first: int, frames: int) -> bool:
        """Whether the steps between the frames of a part are clearly uneven."""
        return is_variable(self.times[first : first + frames].tolist(), self.tick[0] / self.tick[1])

    def packed(self) -> bytes:
        """The index as bytes: about a hundred if the rate is constant."""
        stamps = self.times[:0].astype(np.int64) if self.stamps is None else self.stamps
        times, origin = self.times, 0
        if self.stamps is not None:
            origin = int(stamps[0]) - round(float(times[0]) * self.tick[1] / self.tick[0])
            if np.array_equal(_seconds(stamps, origin, self.tick), times):
                times = times[:0]
        counts = (len(stamps), len(self.keyframes), len(times))
        header = HEADER.pack(*self.size, *counts, *self.tick, origin, self.end, self.step)
        # At a constant rate, the second differences are zeros. Whole numbers that overflow come back as they were.
        parts = (np.diff(stamps, 2, prepend=np.zeros(2, np.int64)), self.keyframes, times.view(np.int64))
        return header + zlib.compress(b"".join(part.astype("<i8").tobytes() for part in parts))

    @staticmethod
    def frames_in(data: bytes) -> int:
        """The number of frames of a packed index, without unpacking it."""
        _, _, stamped, _, timed, *_ = HEADER.unpack_from(data)
        return int(stamped or timed)

    @staticmethod
    def end_in(data: bytes) -> float:
        """When the last frame of a packed index disappears, without unpacking it; 0 if the file has no times."""
        *_, end, step = HEADER.unpack_from(data)
        return float(end) if step > 0 else 0.0

    @staticmethod
    def check_header(data: bytes, file_bytes: int) -> None:
        """VideoError if a packed index cannot be that of a file of `file_bytes`, without unpacking it."""
        if len(data) < HEADER.size:
            raise VideoError(DAMAGED)
        height, width, stamped, keyframes, timed, over, under, _, end, step = HEADER.unpack_from(data)
        frames = stamped or timed
        if (
            not 0 < frames <= min(MOST_FRAMES, file_bytes)
            or timed not in (0, frames)
            or keyframes > frames
            or not 0 < height * width <= MAX_PIXELS
            or min(over, under) < 1
            or not (isfinite(end) and 0 <= step < inf)
        ):
            raise VideoError(DAMAGED)

    @classmethod
    def unpack(cls, data: bytes, file_bytes: int) -> "FrameIndex":
        """Undo `packed`. VideoError if it cannot be the index of a file of `file_bytes`.

        It may be from a file that somebody else wrote, with any numbers, and unpack to any size.
        """
        cls.check_header(data, file_bytes)
        height, width, stamped, keyframes, timed, over, under, origin, end, step = HEADER.unpack_from(data)
        frames = stamped or timed
        numbers = _decompressed(data[HEADER.size :], stamped + keyframes + timed)
        second, found, times = np.split(numbers, (stamped, stamped + keyframes))
        stamps = np.cumsum(np.cumsum(second)) if stamped else None
        if stamps is not None and not timed:
            shown = _seconds(stamps, origin, (over, under))
        else:
            shown = times.view(np.float64)
        inside = not keyframes or 0 <= found[0] <= found[-1] < frames
        ascending = _ascend(found) and (stamps is None or _ascend(stamps))
        if not (inside and ascending and np.isfinite(shown).all()):
            raise VideoError(DAMAGED)
        return cls((height, width), shown, end, step, (over, under), stamps, found)


def _decompressed(data: bytes, number: int) -> np.ndarray:
    """So many whole numbers; VideoError if there are more or fewer. No more than they take is unpacked."""
    unpacking = zlib.decompressobj()
    try:
        content = unpacking.decompress(data, 8 * number + 1)
    except zlib.error:
        raise VideoError(DAMAGED) from None
    if len(content) != 8 * number or not unpacking.eof:
        raise VideoError(DAMAGED)
    return np.frombuffer(content, "<i8")


def _ascend(numbers: np.ndarray) -> bool:
    return bool((numbers[1:] > numbers[:-1]).all())


def _seconds(stamps: np.ndarray, origin: int, tick: tuple[int, int]) -> np.ndarray:
    return (stamps - origin) * tick[0] / tick[1]


def index_video(path: Path) -> FrameIndex:
    """Make the index of a file. VideoError if the file is damaged, as far as its structure and packets tell.

    UnreadableError or OSError if the system does not give all of it, or not the memory.
    """
    if not path.is_file():
        raise VideoError("is no file, or a link to none")
    if missing := missing_bytes(path):
        raise VideoError(f"the file is cut short: {missing} bytes are missing at its end")
    with open_video(path) as (container, stream):
        stream_id, comment = stream.id, container.metadata.get("comment", "")
        found, is_sorted = _by_packets(container, stream)
    with told_from_damage(path):
        if broken := next(breaks(path, stream_id), None):
            raise VideoError(str(broken))
    if found is not None:
        found = _checked(path, found, 1 if is_sorted else DECODED)
    found = found or _by_decoding(path)
    if found.warning:
        check_readable(path)
    return found._replace(comment=comment)


def _by_packets(container: InputContainer, stream: VideoStream) -> tuple[FrameIndex | None, bool]:
    """The index as the packets tell it, without the size, and whether they are stored in the order of showing.

    None if packets do not tell it.
    """
    sorts = stream.codec_context.has_b_frames  # the decoder, whatever times the packets have
    if container.format.name not in SEEKABLE or stream.codec_context.name not in ONE_EACH:
        return None, False
    decoder = FrameDecoder(container, stream, 1, _no_beat)
    stamps: list[int] = []
    times: list[float] = []
    durations: list[float] = []
    keys: list[bool] = []
    stated = stated_end(decoder, container, stream)
    for packet, time in decoder.packets():
        if packet.pts is None:
            return None, False
        if packet.is_discard:  # before the start that an edit list names: it is decoded, and not shown
            if stamps:
                return None, False
            continue
        stamps.append(packet.pts)
        times.append(time)
        durations.append(float(packet.duration or 0) * decoder.tick)
        keys.append(packet.is_keyframe and packet.pts not in decoder.gradual)
    _check_faults(decoder)
    if not stamps:
        raise VideoError("has no frames")
    tick = (stream.time_base or Fraction(1)).as_integer_ratio()
    found = _sorted(stamps, times, durations, keys, decoder, stated, tick, MOST_SORTED if sorts else 0)
    if found is not None:
        warning = broken_promise(decoder, container, stream, found.times.tolist(), durations) or decoder.remark
        found = found._replace(warning=warning)
    return found, not sorts and stamps == sorted(stamps)


def _sorted(
    stamps: Sequence[int],
    times: Sequence[float],
    durations: Sequence[float],
    keys: Sequence[bool],
    decoder: FrameDecoder,
    stated: float,
    tick: tuple[int, int],
    most_late: int,
) -> FrameIndex | None:
    """The index of frames in the order of storage; None if two have the same time, or no decoder would sort them so.

    At most `most_late` frames that are shown after a frame may be stored before it.
    """
    stored = np.array(stamps, np.int64)
    order = np.argsort(stored, kind="stable")
    ascending = stored[order]
    if len(stored) > 1 and not (np.diff(ascending) > 0).all():
        return None
    place = np.empty(len(order), np.int64)  # in the order of showing, of each in the order of storage
    place[order] = np.arange(len(order))
    if _is_out_of_order(place, np.flatnonzero(keys), most_late):
        return None
    # Frames that are stored before a keyframe and shown after it would be missing if decoding began there.
    highest = np.maximum.accumulate(place)
    alone = np.array(keys, bool) & (highest == place)
    shown = np.array(times)[order]
    lasting = np.array(durations)[order]
    if hole := hole_in(shown.tolist(), lasting.tolist(), decoder.tick):
        raise VideoError(f"frames are missing between {hole[0]:.2f} s and {hole[1]:.2f} s")
    end = max(float(shown[-1]) + max(float(lasting[-1]), decoder.step), stated)
    return FrameIndex((0, 0), shown, end, decoder.step, tick, ascending, np.sort(place[alone]))


def _is_out_of_order(place: np.ndarray, keys: np.ndarray, most_late: int) -> bool:
    """Whether a frame is stored too late for its place in the order of showing, as after parts were exchanged.

    It is where it comes before the keyframe before the last one, too.
    """
    stored = np.arange(len(place))
    if (stored - place).max() > most_late:
        return True
    before = np.searchsorted(keys, stored, side="right") - 2
    behind = before >= 0
    return bool((place[behind] < place[keys[before[behind]]]).any())


def _checked(path: Path, found: FrameIndex, frames: int) -> FrameIndex | None:
    """The index with the frames' size; None if the first `frames` do not come in the order of the index.

    Where an H.264 stream does not state how many frames must be sorted, FFmpeg guesses it, and may lose frames. Of
    interlaced frames, a packet may hold one field.
    """
    assert found.stamps is not None
    with open_video(path) as (container, stream):
        limited_grey = stream.codec_context.name in ABSENT_IS_LIMITED
        decoder = FrameDecoder(container, stream, 1, _no_beat)
        size = (0, 0)
        try:
            for index, each in enumerate(islice(decoder.frames(0.0, inf), frames)):
                if index >= len(found.stamps) or each.frame.pts != found.stamps[index] or each.frame.interlaced_frame:
                    return None
                if index == 0:
                    size = _size_of(each.frame, limited_grey)
        except (av.FFmpegError, ValueError):
            return None  # decoding all says what is wrong
    return found._replace(size=size) if size[0] else None


def _by_decoding(path: Path) -> FrameIndex:
    """The index of a file that is decoded once."""
    with open_video(path) as (container, stream):
        limited_grey = stream.codec_context.name in ABSENT_IS_LIMITED
        decoder = FrameDecoder(container, stream, 1, _no_beat)
        stated = stated_end(decoder, container, stream)
        stamps: list[int | None] = []
        times: list[float] = []
        durations: list[float] = []
        keys: list[bool] = []
        size = (0, 0)
        try:
            for each in decoder.frames(0.0, inf):
                _check_faults(decoder)
                if each.frame.is_corrupt:
                    raise VideoError(f"frames decode with errors, the first at {each.time:.2f} s")
                if not times:
                    size = _size_of(each.frame, limited_grey)
                times.append(each.time)
                durations.append(each.duration)
                stamps.append(each.frame.pts)
                keys.append(each.frame.key_frame and each.frame.pts not in decoder.gradual)
        except (av.FFmpegError, ValueError) as error:
            if isinstance(error, VideoError):
                raise
            raise VideoError(f"decoding stops after {len(times)} frames ({error})") from error
        _check_faults(decoder)
        if not times:
            raise VideoError("has no frames")
        if not decoder.counted and (hole := hole_in(times, durations, decoder.tick)):
            raise VideoError(f"frames are missing between {hole[0]:.2f} s and {hole[1]:.2f} s")
        end = max(times[-1] + max(durations[-1], decoder.step), stated)
        seeks = container.format.name in SEEKABLE
        step = 0.0 if container.format.name in TIMELESS else decoder.step
        tick = (stream.time_base or Fraction(1)).as_integer_ratio()
        warning = broken_promise(decoder, container, stream, times, durations) or decoder.remark
    whole = FrameIndex(size, np.array(times), end, step, tick, None, np.zeros(1, np.int64), warning=warning)
    return _with_stamps(whole, stamps, keys) if seeks else whole


def _with_stamps(whole: FrameIndex, stamps: Sequence[int | None], keys: Sequence[bool]) -> FrameIndex:
    """The same with the times of the decoded frames, if they rise: a frame can then be found by its time."""
    if None in stamps:
        return whole
    found = np.array(stamps, np.int64)
    if len(found) > 1 and not (np.diff(found) > 0).all():
        return whole
    return whole._replace(stamps=found, keyframes=np.flatnonzero(keys))


def _size_of(frame: av.VideoFrame, limited_grey: bool) -> tuple[int, int]:
    height, width, _ = Upright(WHOLE)(frame, limited_grey).shape
    return height, width


def _check_faults(decoder: FrameDecoder) -> None:
    if decoder.faults:
        fault = decoder.faults[0]
        raise VideoError(f"{fault.what}, the first at {fault.time:.2f} s")


def _no_beat() -> None:
    pass
