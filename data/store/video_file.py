"""Reads an encoded video with PyAV: its frames upright, scaled, in the order in which they are shown."""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import NamedTuple, TypeAlias

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from data.store.frame_times import LONGEST_PAUSE, MOST_STILL, Resampler, average_rate, is_variable
from data.store.header_sense import absurd_rate, hides_too_much
from data.store.tone_map import Light, hdr_light
from data.store.truncation import missing_bytes
from data.store.video_container import VideoError, open_video, reason, video_streams
from data.store.video_damage import hole_in
from data.store.video_error import check_readable, check_system, told_from_damage
from data.store.video_frames import TIMELESS, FrameDecoder, TimedFrame
from data.store.video_pixels import Upright, pixel_aspect, scaled_size, squeeze
from data.store.video_structure import breaks

__all__ = ["Span", "VideoError", "VideoReader", "check_whole", "scaled_size"]

KEPT_PROMISE = 0.9  # a video with less than this part of its announced frames or seconds gets a warning
LATE = 0.1  # seconds of what is to be read that may lack a picture at their start without a remark
SHOWN = 0.5  # of its frames: a file whose edit list hides more gets a warning if the header's lengths do not agree
SHORT_CLIP = 0.25  # a clip may lack this part of its seconds at its end, but at most a tenth and a second
DURATION = re.compile(r"([0-9]+):([0-9]{2}):([0-9]{2}(?:\.[0-9]+)?)")  # of a stream of Matroska, as muxers tag it
ToPixels: TypeAlias = Callable[[VideoFrame], np.ndarray]
ABSENT_IS_LIMITED = {"h264", "hevc"}  # codecs whose standard says so


class Span(NamedTuple):
    """A part of a video: the frames with start <= time < end, in seconds from the file's start."""

    start: float
    end: float


class VideoReader:
    """Iterates, once, over a video's frames: RGB uint8 (H, W, 3).

    Frames come in the decoder's order, which is the display order; times are only used to select a `span`, whose frames
    are those that decoding from the start would give. `frames` selects by number instead: the first frame, counted from
    0, and one after the last; the video is then decoded from its start, and damage before the clip counts as in it,
    since it shifts the count. The shorter side is scaled down to `short_side` pixels, never up;
    all frames get the size of the first. The display matrix and the colour space are applied. The sample aspect ratio
    is not: pixels stay as stored, as in databases made with ffmpeg, and a remark tells it.

    With `fps`, frames are repeated or dropped so that the steps between them are even, see `Resampler`.

    Raises VideoError if frames are damaged or missing; with `keep_partial`, only if no frame can be decoded, or the
    system does not give all of the file or memory (UnreadableError), which is no damage. If it is
    False, the message names the flag that sets it; None is for commands that have no such flag. After the
    last frame, `losses` says what is, or may be, missing, `remarks` what else is special, `seconds` how long the frames
    last, `size` their height and width, `rate` how many a second there are (None: the file does not tell), and
    `is_variable` whether their steps are uneven. `beat` is called for each frame that is decoded.
    """

    def __init__(
        self,
        path: Path,
        short_side: int,
        span: Span | None = None,
        threads: int = 1,
        keep_partial: bool | None = None,
        beat: Callable[[], None] = lambda: None,
        fps: float | None = None,
        frames: tuple[int, int] | None = None,
    ) -> None:
        self.path = path
        self.losses: list[str] = []
        self.remarks: list[str] = []
        self.seconds = 0.0
        self.size = (0, 0)
        self._stored_aspect = Fraction(1)
        self.rate: float | None = fps
        self.is_variable = False
        self._fps = fps
        self._span = span
        self._frames = frames
        self._before: list[tuple[float, float]] = []  # times and durations of the frames before numbered ones
        self._start, self._end = span or Span(0.0, math.inf)
        self._threads = threads
        self._keep_partial = keep_partial
        self._beat = beat
        self._upright = Upright(short_side)
        self._times: list[float] = []
        self._durations: list[float] = []
        self._faults: set[str] = set()
        self._has_ended = True  # no frame comes after the span

    @property
    def time(self) -> float:
        """The time of the frame that was given last, in seconds from the file's start."""
        return self._times[-1]

    @property
    def aspect(self) -> Fraction:
        """The width of a pixel of the frame that was given last by its height."""
        return 1 / self._stored_aspect if self._upright.transposes else self._stored_aspect

    @property
    def is_damaged(self) -> bool:
        """Whether frames were lost, or may have been: not for a header alone that promises more than there is."""
        return bool(self._faults)

    @property
    def warnings(self) -> list[str]:
        """What a user should know: the losses, and the remarks."""
        return [*self.losses, *self.remarks]

    def __iter__(self) -> Iterator[np.ndarray]:
        with open_video(self.path) as (container, stream):
            decoder = FrameDecoder(container, stream, self._threads, self._beat)
            self._stored_aspect = pixel_aspect(stream)
            yield from self._read(decoder, stream)
            self._check_faults(decoder)
            if not self._times:
                wanted = f" from {self._span.start:g} to {self._span.end:g} s" if self._span else ""
                wanted = f" {self._frames[0]} to {self._frames[1]}" if self._frames else wanted
                found = f" ({'; '.join(self.losses)})" if self.losses else ""
                late = f": the picture starts {decoder.late:.1f} s after the file" if decoder.late >= self._end else ""
                raise VideoError(f"has no frames{wanted}{late}{found}")
            self.seconds = self._times[-1] - self._times[0] + self._last_duration(decoder)
            if self._fps is None and container.format.name not in TIMELESS:
                self.rate = average_rate(self._times, decoder.step, decoder.tick)
                self.is_variable = is_variable(self._times, decoder.tick)
            self._check_holes(decoder, stream)
            self._check_promises(decoder, container, stream)
            if sizes := self._upright.sizes.remark():
                self.remarks.append(sizes)
            if others := _others(container, stream):
                self.remarks.append(others)
            if squeezed := squeeze(stream):
                self.remarks.append(f"its pixels are not square: {squeezed}")
            if decoder.late - max(0.0, self._start) > LATE:
                self.remarks.append(f"the picture starts {decoder.late:.1f} s after the file")
            if decoder.other_clock:
                self.remarks.append(
                    f"the picture starts {decoder.other_clock:.0f} s after the file: times are counted from the picture"
                )
            if decoder.remark:
                self.remarks.append(decoder.remark)
            if decoder.skipped:
                self.remarks.append(f"{decoder.skipped} frames before the first keyframe are left out")
            if container.format.name in TIMELESS:
                rate = stream.codec_context.framerate
                said = f", though it says {float(rate):g}" if rate and rate != 25 else ""
                self.remarks.append(f"is a stream without times: 25 frames a second are assumed{said}")
            if light := hdr_light(stream.codec_context):
                self.remarks.append(f"is HDR ({light.name}): mapped to the brightness and colours of other videos")

    def _read(self, decoder: FrameDecoder, stream: VideoStream) -> Iterator[np.ndarray]:
        codec = stream.codec_context
        to_pixels = partial(self._pixels, codec.name in ABSENT_IS_LIMITED, hdr_light(codec))
        for frames in self._resampled(decoder, to_pixels, self._fps) if self._fps else (self._all(decoder, to_pixels),):
            try:
                yield from frames
            except (av.FFmpegError, ValueError) as error:
                if isinstance(error, VideoError):
                    raise
                check_system(error)
                self._lose(f"decoding stops after {len(self._times)} frames ({reason(error)})")

    def _pixels(self, limited_grey: bool, light: Light | None, frame: VideoFrame) -> np.ndarray:
        pixels = self._upright(frame, limited_grey, light)
        self.size = (pixels.shape[0], pixels.shape[1])
        return pixels

    def _all(self, decoder: FrameDecoder, to_pixels: ToPixels) -> Iterator[np.ndarray]:
        for each in self._checked(decoder):
            pixels = to_pixels(each.frame)
            self._note(each)
            yield pixels

    def _resampled(self, decoder: FrameDecoder, to_pixels: ToPixels, fps: float) -> Iterator[Iterator[np.ndarray]]:
        """The frames before the last one, then the last one, which is there also where decoding stops early."""
        steps = Resampler(fps)
        shown: VideoFrame | None = None

        def before() -> Iterator[np.ndarray]:
            nonlocal shown
            for each in self._checked(decoder):
                repeats = steps.repeats(each.time)
                if repeats > LONGEST_PAUSE * fps:
                    raise VideoError(
                        f"its time stamps jump from {self._times[-1]:.1f} to {each.time:.1f} s, and --fps would repeat "
                        "one frame for as long; convert it without --fps"
                    )
                if steps.repeats_too_much:
                    raise VideoError(
                        f"its frames stand still for most of its time: up to {each.time:.0f} s, --fps {fps:g} would "
                        f"make far more than {MOST_STILL:,} frames of {len(self._times):,}; convert it without --fps"
                    )
                if repeats and shown is not None:
                    yield from repeat(to_pixels(shown), repeats)
                shown = each.frame
                self._note(each)

        def last() -> Iterator[np.ndarray]:
            if shown is not None:
                yield from repeat(to_pixels(shown), steps.last_repeats(self._shown_until(decoder)))

        yield before()
        yield last()

    def _checked(self, decoder: FrameDecoder) -> Iterator[TimedFrame]:
        for each in self._wanted(decoder):
            self._check_faults(decoder, each.time)
            if each.frame.is_corrupt:
                self._lose("frames decode with errors", each.time)
            yield each

    def _note(self, each: TimedFrame) -> None:
        self._times.append(each.time)
        self._durations.append(each.duration)

    def _shown_until(self, decoder: FrameDecoder) -> float:
        """When the last frame of the span disappears, in seconds from the file's start."""
        if not self._has_ended:  # the next frame comes after the span
            return min(self._end, self._times[-1] + LONGEST_PAUSE)
        return min(self._times[-1] + self._last_duration(decoder), self._end)

    def _last_duration(self, decoder: FrameDecoder) -> float:
        """For how long the last frame is shown, in seconds; a duration that makes no sense is not taken."""
        duration = max(self._durations[-1], decoder.step)
        return duration if duration <= LONGEST_PAUSE else min(decoder.step, LONGEST_PAUSE)

    def _wanted(self, decoder: FrameDecoder) -> Iterator[TimedFrame]:
        """The frames of the span, those of the numbers, or all."""
        if self._frames is not None:
            yield from self._numbered(decoder, *self._frames)
            return
        for each in decoder.frames(self._start, self._end):
            if each.time >= self._end:
                self._has_ended = False
                return
            if each.time >= self._start or self._span is None:
                yield each

    def _numbered(self, decoder: FrameDecoder, first: int, end: int) -> Iterator[TimedFrame]:
        for number, each in enumerate(decoder.frames(0.0, math.inf)):
            if number == end:
                self._end = each.time
                self._has_ended = False
                return
            if number >= first:
                yield each
            else:
                self._before.append((each.time, each.duration))

    def _check_faults(self, decoder: FrameDecoder, time: float | None = None) -> None:
        """Report what the decoder met in packets of the wanted frames or of those that they need.

        The decoder reads ahead. Faults after `time` are kept for later, as the end of numbered frames is not known yet.
        """
        until = self._end if self._frames is None or time is None else time
        faults = decoder.faults
        decoder.faults = [] if self._frames is None else [fault for fault in faults if fault.time >= until]
        for fault in faults:
            if fault.time < until:
                self._lose(fault.what, fault.time)

    def _check_holes(self, decoder: FrameDecoder, stream: VideoStream) -> None:
        """Find what decoders do not report: bytes, packets or frames that are not there."""
        first, last = (0, math.inf) if self._span is None else (decoder.first_byte, decoder.last_byte)
        if self._frames is not None:
            first, last = 0, math.inf if self._has_ended else decoder.last_byte
        if self._span is None and self._frames is None and (missing := missing_bytes(self.path)):
            return self._lose(f"the file is cut short: {missing} bytes are missing at its end")
        for found in breaks(self.path, stream.id):
            if found.start > last:
                break
            if found.place >= first or found.is_joined:  # behind it, times are those of another file
                return self._lose(str(found))
        if not decoder.counted and (hole := hole_in(*self._all_times(), decoder.tick)):
            self._lose(f"frames are missing between {hole[0]:.2f} s and {hole[1]:.2f} s")

    def _check_promises(self, decoder: FrameDecoder, container: InputContainer, stream: VideoStream) -> None:
        """Warn of fewer frames or seconds than announced; headers are often wrong."""
        if self._frames is not None:
            self._check_numbers(*self._frames)
        elif self._span is not None:
            self._check_span(self._span, decoder, stated_end(decoder, container, stream))
        elif broken := broken_promise(decoder, container, stream, self._times, self._durations):
            self._add_loss(broken)

    def _check_span(self, span: Span, decoder: FrameDecoder, stated_end: float) -> None:
        """Fail if the video ends before the middle of the clip, and warn if it ends well before the clip does.

        Annotations often end up to a second late. Where frames come after the clip, they pause, as screens do.
        """
        last, length = self._times[-1], span.end - span.start
        text = f"the last frame is at {last:.2f} s, the clip should last until {span.end:g} s"
        shown_until = last + max(self._durations[-1], decoder.step)
        if self._has_ended and max(shown_until, stated_end) < span.start + 0.499 * length:  # times are rounded
            self._lose(f"the video ends before the middle of the clip: {text}")
        elif last < span.start + KEPT_PROMISE * length - 1 or (
            self._has_ended and shown_until < span.end - SHORT_CLIP * length
        ):
            self._add_loss(text)

    def _all_times(self) -> tuple[list[float], list[float]]:
        """Times and durations of the frames, and of those before that were counted."""
        before = self._before
        return [time for time, _ in before] + self._times, [duration for _, duration in before] + self._durations

    def _check_numbers(self, first: int, end: int) -> None:
        """Fail if less than half of the wanted frames are there, and warn if any is not."""
        count = len(self._times)
        if count == end - first:
            return
        text = f"the video has {len(self._before) + count} frames, the clip should be frames {first} to {end}"
        if 2 * count < end - first:
            self._lose(text)
        else:
            self._add_loss(text)

    def _lose(self, what: str, time: float | None = None) -> None:
        """Fail, or warn once of each kind of fault."""
        text = what if time is None else f"{what}, the first at {time:.2f} s"
        if not self._keep_partial:
            raise VideoError(text if self._keep_partial is None else f"{text} (--keep-partial keeps the rest)")
        if what not in self._faults:
            self._faults.add(what)
            self._add_loss(text)

    def _add_loss(self, text: str) -> None:
        if not self.losses:
            check_readable(self.path, self._beat)  # else FFmpeg may have hidden an error of the disk
        self.losses.append(text)


def _others(container: InputContainer, stream: VideoStream) -> str:
    """The remark of a file with several videos; empty if `stream` is the only one."""
    contexts = [each.codec_context for each in video_streams(container) if each.index != stream.index]
    if not contexts:
        return ""
    sizes = " and ".join(f"one of {each.width}x{each.height}" if each else "one without a decoder" for each in contexts)
    chosen = f"{stream.codec_context.width}x{stream.codec_context.height}"
    return f"holds {len(contexts) + 1} videos: the main one, of {chosen} pixels, is read, and not {sizes}"


def broken_promise(
    decoder: FrameDecoder,
    container: InputContainer,
    stream: VideoStream,
    times: Sequence[float],
    durations: Sequence[float],
) -> str:
    """What a whole file has less of than its header announces, or is odd in that; empty if nothing is."""
    last, count = times[-1], len(times)
    if odd := absurd_rate(times, decoder.step, decoder.tick):
        return odd
    if stream.frames and not decoder.hidden:
        is_kept = count >= KEPT_PROMISE * stream.frames - 1
        return "" if is_kept else f"{count} frames where the header promises {stream.frames}"
    if count < SHOWN * stream.frames:
        shown = last - times[0] + max(durations[-1], decoder.step)
        if hides_too_much(container, stream.id, shown):
            return (
                f"its edit list shows {count} of {stream.frames} frames, and does not agree with the header's lengths"
            )
    if "matroska" in container.format.name:
        promised = _stated_seconds(decoder, container, stream)
        is_kept = not promised or not _ends_early(times, durations[-1], promised)
    else:
        promised = (container.duration or 0) / av.time_base
        is_kept = last >= KEPT_PROMISE * promised - 1
    return "" if is_kept else f"the last frame is at {last:.2f} s where the header promises {promised:.2f} s"


def _ends_early(times: Sequence[float], duration: float, promised: float) -> bool:
    """Whether the frames end before a stated duration by more than rounding, a pause or an inexact writer makes."""
    step = (times[-1] - times[0]) / max(1, len(times) - 1)
    missing = promised - (times[-1] + max(step, duration))
    return missing > max(0.25, 4 * step, (1 - KEPT_PROMISE) * promised)


def stated_end(decoder: FrameDecoder, container: InputContainer, stream: VideoStream) -> float:
    """When the last frame should disappear, in seconds from the file's start, as the file says; 0 if it does not."""
    if "matroska" in container.format.name:
        return _stated_seconds(decoder, container, stream)
    return decoder.late + float(stream.duration * (stream.time_base or 0)) if stream.duration else 0.0


def _stated_seconds(decoder: FrameDecoder, container: InputContainer, stream: VideoStream) -> float:
    """When a Matroska or WebM file says that its video ends, in seconds from the file's start; 0 if it does not.

    The duration of the file is that of the longest stream: sound may go on after the video.
    """
    if stated := DURATION.fullmatch(stream.metadata.get("DURATION", "")):
        hours, minutes, seconds = map(float, stated.groups())
        end = 3600 * hours + 60 * minutes + seconds
    else:
        end = container.duration / av.time_base if container.duration and len(container.streams) == 1 else 0.0
    return end - float((stream.start_time or 0) * (stream.time_base or 0)) + decoder.late


def check_whole(path: Path) -> None:
    """Raise VideoError if the file is cut short or cannot be opened as a video; it is not decoded."""
    with told_from_damage(path):
        if missing := missing_bytes(path):
            raise VideoError(f"the file is cut short: {missing} bytes are missing at its end")
    with open_video(path) as (_, stream):
        stream_id = stream.id
    with told_from_damage(path):
        if found := next(breaks(path, stream_id), None):
            raise VideoError(str(found))
