"""Decodes a video from a time on: each frame once, in the order of showing, with its time and what went wrong."""

from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from data.store.gradual_refresh import refreshes_gradually
from data.store.time_order import TimeOrder, why_times_go_back
from data.store.video_container import VideoError, open_video, reason
from data.store.video_damage import zeros_replace_data
from data.store.video_error import check_system

# Formats whose index and times are exact. In others, a search by time lands behind the time or between keyframes.
SEEKABLE = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"}
EDITED = "mov,mp4,m4a,3gp,3g2,mj2"  # the format whose edit lists FFmpeg follows
MOST_REPEATED = 300_000  # frames; a disk would fill with copies
# Formats without times, or with times in the order of storage: the n-th frame has the n-th time.
TIMELESS = {"h264", "hevc", "h263", "h261", "vvc", "vc1", "mjpeg", "obu"}  # FFmpeg takes any rate for 25 a second
COUNTED = {"avi", "mpegvideo", "m4v"} | TIMELESS
# Recordings of broadcasts: they start anywhere, and their clock may jump.
PROGRAM = "mpeg"
RECORDED = {"mpegts", PROGRAM, "mpegvideo", "h264", "hevc"}
LEAPS = (0.0, 1.0, 10.0)  # seconds before a time where a keyframe that is shown before that time is looked for
JUMP, OFF = 10.0, 1.0  # seconds
# By how many seconds a picture starts after its file. Up to the first, only the coder of the sound needed a start
# (AAC 21 to 48 ms, Opus 7 ms). Beyond the second, the streams have clocks of their own.
PRIMING, LATEST = 0.05, 600.0


class Fault(NamedTuple):
    """Something that went wrong, at a time in seconds from the file's start."""

    time: float
    what: str


class TimedFrame(NamedTuple):
    """A decoded frame, its time in seconds from the file's start, and how long it is to be shown (0: not known)."""

    frame: VideoFrame
    time: float
    duration: float


class FrameDecoder:
    """The frames of a stream, with times from the file's start, as in players and `ffmpeg -ss`.

    The picture starts `late` seconds after it where sound comes first. After each frame, `faults` are those of the
    packets read since the last sound start. `first_byte` and `last_byte` are where the packets that the frames need lie
    in the file.
    """

    def __init__(self, container: InputContainer, stream: VideoStream, threads: int, beat: Callable[[], None]) -> None:
        _set_threads(stream, threads)
        assert stream.time_base is not None
        self.faults: list[Fault] = []
        self.first_byte = self.last_byte = 0
        self.skipped = 0  # frames before the first keyframe of a recording
        self.hidden = 0  # packets read of frames before the start that an edit list names, which are not shown
        self.gradual: set[int | None] = set()  # times in ticks of packets marked as keyframes from which none can begin
        self.repeated = 0  # packets read again for an edit list that shows them more than once
        self.tick = float(stream.time_base)
        self._went_back = ""  # why times do
        self._container = container
        self._stream = stream
        self._threads = threads
        self._beat = beat
        self._format = container.format.name
        self._codec = stream.codec_context.name
        self._late = 0 if self._format in COUNTED else _late_ticks(container, stream)
        self.other_clock = self._late * self.tick if self._late * self.tick > LATEST else 0.0  # seconds, not counted
        if not PRIMING < self._late * self.tick <= LATEST:
            self._late = 0
        numerator, denominator = stream.time_base.as_integer_ratio()
        self.late = self._late * numerator / denominator
        self.step = 1.0 / float(stream.average_rate or stream.guessed_rate or 25)  # seconds between frames, on average

    @property
    def counted(self) -> bool:
        """Whether times are counted from the first frame on, so that a loss shifts all frames behind it."""
        return self._format in COUNTED or self._format == PROGRAM

    @property
    def remark(self) -> str:
        """What a user may not expect of the frames that were read; empty if nothing."""
        return f"its edit list shows {_frames(self.repeated)} again" if self.repeated else ""

    def packets(self) -> Iterator[tuple[Packet, float]]:
        """The packets in the order of storage, with the times of their frames as far as packets tell; decodes none."""
        clock = _Clock(self._stream, self._format, self.step, self._late)
        for packet in self._packets():
            if packet.size:
                time = clock.packet(packet)
                self._inspect(packet, time)
                yield packet, time

    def frames(self, start: float, end: float) -> Iterator[TimedFrame]:
        """The frames from a keyframe at or before `start` on, up to `end` or a little further."""
        if start > self.late and self._format in SEEKABLE:
            for leap in LEAPS:
                frames = self._after_seek(start - leap, start, end)
                first = next(frames, None)
                if first is not None and first.time <= start:
                    return chain([first], frames)
            self._forget()
            return self._reopened(start, end)
        return self._from_keyframe(start, end) if self._format in RECORDED else self._decode(start, end)

    def _reopened(self, start: float, end: float) -> Iterator[TimedFrame]:
        """The frames from the file's start: Matroska's index lacks what is before 0, so no search finds it."""
        with open_video(Path(self._container.name)) as (self._container, self._stream):
            _set_threads(self._stream, self._threads)
            yield from self._decode(start, end)

    def _after_seek(self, time: float, start: float, end: float) -> Iterator[TimedFrame]:
        """The frames from the keyframe on that a search finds; those shown before it may lack their references."""
        self._forget()
        try:
            ticks = max(0, int(time / self.tick) - self._late)
            self._container.seek((self._stream.start_time or 0) + ticks, stream=self._stream)
        except av.FFmpegError:
            return
        found = False
        for each in self._decode(start, end):
            found = found or each.frame.key_frame
            if found:
                yield each

    def _from_keyframe(self, start: float, end: float) -> Iterator[TimedFrame]:
        """The frames of a recording from its first keyframe on; what comes before cannot be decoded."""
        found = False
        for each in self._decode(start, end):
            if not found and each.frame.key_frame:
                found = True
                self.faults = [fault for fault in self.faults if fault.time >= each.time]
            if found:
                yield each
            else:
                self.skipped += 1

    def _forget(self) -> None:
        self.faults.clear()
        self.first_byte = self.last_byte = 0

    def _decode(self, start: float, end: float) -> Iterator[TimedFrame]:
        clock = _Clock(self._stream, self._format, self.step, self._late)
        place = 0
        for packet in self._packets():
            time = clock.packet(packet)
            if packet.size:
                if packet.pts is not None:
                    clock.order.packet(time)
                place = packet.pos if packet.pos is not None else place  # a part of the packet before has no place
                if packet.is_keyframe and time <= max(start, self.late) and not self.counted:
                    self._forget()
                    self.first_byte = place
                if time < end:
                    self.last_byte = max(self.last_byte, place + packet.size)
                self._inspect(packet, time)
            try:
                frames = self._stream.decode(packet if packet.size else None)
            except av.error.EOFError:
                return
            except av.FFmpegError as error:
                check_system(error)
                self.faults.append(Fault(time, f"packets cannot be decoded ({reason(error)})"))
                continue
            for frame in frames:
                self._beat()
                time = clock.frame(frame)
                if clock.went_back is not None:
                    self._went_back = self._went_back or why_times_go_back(Path(self._container.name), self._stream.id)
                    self.faults.append(Fault(clock.went_back, self._went_back))
                yield TimedFrame(frame, time, float(frame.duration or 0) * self.tick)

    def _packets(self) -> Iterator[Packet]:
        """The packets, and an empty one at the end only: a decoder takes it for the end."""
        packets = self._container.demux(self._stream)
        places: set[int] = set()
        self.repeated = 0
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError as error:
                check_system(error)
                self.faults.append(Fault(self.late, f"reading stops ({reason(error)})"))
                packet = None
            if packet is None:
                yield Packet()
                return
            if packet.size:
                self.hidden += packet.is_discard
                if self._format == EDITED and not packet.is_discard and packet.pos is not None:
                    self._count_repeated(packet.pos, places)
                yield packet

    def _count_repeated(self, place: int, places: set[int]) -> None:
        if place not in places:
            places.add(place)
            return
        self.repeated += 1
        if self.repeated > min(MOST_REPEATED, self._container.size):
            raise VideoError(
                f"its edit list shows {_frames(len(places))} again, more than {self.repeated - 1} times in all"
            )

    def _inspect(self, packet: Packet, time: float) -> None:
        is_key = packet.is_keyframe and self._codec == "h264"
        if is_key and refreshes_gradually(bytes(packet), self._stream.codec_context.extradata or b""):
            self.gradual.add(packet.pts)
        if packet.is_corrupt and self._format != "mpegts":  # there the mark also stands where recordings were joined
            self.faults.append(Fault(time, "a packet is cut short"))
        elif zeros_replace_data(self._codec, bytes(packet)):
            self.faults.append(Fault(time, "zeros stand in place of data"))


def _frames(number: int) -> str:
    return f"{number} frame{'s' * (number != 1)}"


def _late_ticks(container: InputContainer, stream: VideoStream) -> int:
    """How much later than the file a stream starts, in its own ticks; 0 if not known.

    In MP4 and Matroska players show what is at time 0 first: sound that is just beside it starts there.
    """
    if container.start_time is None or stream.start_time is None or stream.time_base is None:
        return 0
    start = Fraction(container.start_time, av.time_base)
    if container.format.name in SEEKABLE and abs(start) <= PRIMING:
        start = Fraction(0)
    return max(0, stream.start_time - round(start / stream.time_base))


def _set_threads(stream: VideoStream, threads: int) -> None:
    stream.codec_context.thread_count = threads
    stream.thread_type = "AUTO" if threads > 1 else "NONE"


class _Clock:
    """Gives packets and frames their times in seconds from the file's start, `late` ticks before the stream's."""

    def __init__(self, stream: VideoStream, format_name: str, step: float, late: int) -> None:
        self._start = (stream.start_time or 0) - late
        assert stream.time_base is not None
        self._scale = stream.time_base.as_integer_ratio()
        self._step = step
        self._counted = format_name in COUNTED
        self._recorded = format_name in RECORDED
        self._program = format_name == PROGRAM
        self._expected: int | None = None  # the next frame's time
        self._stored: deque[int] = deque()
        self._first_stored: int | None = None
        self._shift = 0.0
        self._late = self._seconds(late)
        self._last = self._late - step
        self.order = TimeOrder(format_name, step)
        self.went_back: float | None = None  # the time from which that of the last frame goes back

    def packet(self, packet: Packet) -> float:
        """The time of a packet's frame, as far as the packet tells."""
        if self._counted and packet.dts is not None:
            if self._first_stored is None:
                self._first_stored = packet.dts
            self._stored.append(packet.dts)
            return self._seconds(packet.dts - self._first_stored)
        stamp = packet.pts if packet.pts is not None else packet.dts
        return self._last if stamp is None else self._seconds(stamp - self._start) + self._shift

    def frame(self, frame: VideoFrame) -> float:
        """The next frame's time."""
        if self._counted:
            known = self._stored.popleft() - (self._first_stored or 0) if self._stored else None
        else:
            known = None if frame.pts is None else frame.pts - self._start
        if self._program:
            known = self._by_durations(known, frame.duration)
        time = self._last + self._step if known is None else self._seconds(known) + self._shift
        has_begun = self._last >= self._late
        goes_back = self.order.frame(time, known is not None) and has_begun
        self.went_back = self._last if goes_back else None
        jumps = self._recorded and not self._last - self._step / 2 < time < self._last + JUMP
        if goes_back or (jumps and has_begun):
            self._shift += self._last + self._step - time
            time = self._last + self._step
        self._last = time
        return time

    def _by_durations(self, known: int | None, duration: int) -> int | None:
        """The time from those of the frames before: times of frames that share a packet are some frames off."""
        if known is not None and (self._expected is None or abs(self._seconds(known - self._expected)) >= OFF):
            self._expected = known
        time = self._expected
        if time is not None:
            self._expected = time + (duration or round(self._step / self._seconds(1)))
        return time

    def _seconds(self, ticks: int) -> float:
        numerator, denominator = self._scale
        return ticks * numerator / denominator  # integers: rounded once
