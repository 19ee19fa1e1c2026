"""The re-encoding of one video for `resize`: what is there already, and how a file that seeks fast is made."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from glob import escape
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from common.errors import DataError
from common.files import atomic_file, reason
from common.version import VERSION
from data.labels.clip_length import Times, length_problem
from data.prepare.conversion import STOPPING, Unwritable
from data.store.cut_tag import MAKER
from data.store.keyframe_index import index_video
from data.store.origin import MAX_WARNINGS, file_content
from data.store.video_container import open_video
from data.store.video_file import Span, VideoError, VideoReader

TICK = Fraction(1, 90_000)  # seconds; 25, 30 and 29.97 frames a second are whole numbers of it
SMPTE170M, LIMITED = 6, 1  # of ITU-T H.273: what RGB is turned into
FAST = {"tune": "fastdecode"}  # frames decode in three fifths of the time, and take a sixth more bytes


class Settings(NamedTuple):
    """How videos are re-encoded."""

    short_side: int
    gop: int
    crf: int
    videos: Path  # the folder that holds all sources


class Job(NamedTuple):
    """One video to re-encode into a file."""

    source: Path
    span: Span | None
    file: Path
    replaces: bool = False  # a file that was made from something else
    cut: Times | None = None  # the times of the whole video that the source should hold, if it was cut beforehand
    frames: tuple[int, int] | None = None  # in place of a span: the first frame, from 0, and one after the last

    @property
    def is_whole(self) -> bool:
        """Whether the source is encoded from its first frame to its last."""
        return self.span is None and self.frames is None


@dataclass(frozen=True)
class Made:
    """What a file was made from, kept as JSON in its tag `comment`."""

    source: str  # the path of the source in the folder VIDEOS
    size: int  # of the source, in bytes
    content: str  # a fingerprint: data.store.origin.file_content
    start: float | None  # seconds
    end: float | None
    short_side: int
    gop: int
    crf: int
    first_frame: int | None = None
    end_frame: int | None = None
    warnings: tuple[str, ...] = ()
    version: str = VERSION
    video: str = ""  # the class and id that it was made for; empty in files of older versions
    frames: int | None = None  # as many as were written

    def differences(self, now: "Made") -> list[str]:
        """What would be different if the file were made again as `now`."""
        found = []
        if (self.size, self.content) != (now.size, now.content):
            found.append(f"file: was {self.source} ({self.size} bytes), is {now.source} ({now.size} bytes)")
        if (self.start, self.end) != (now.start, now.end):
            found.append(f"span: was {_span(self.start, self.end)}, is {_span(now.start, now.end)}")
        if (self.first_frame, self.end_frame) != (now.first_frame, now.end_frame):
            before, after = (_frames(made.first_frame, made.end_frame) for made in (self, now))
            found.append(f"frames: were {before}, are {after}")
        for name, flag in (("short_side", "--short-side"), ("gop", "--gop"), ("crf", "--crf")):
            if getattr(self, name) != getattr(now, name):
                found.append(f"{flag} was {getattr(self, name)}, is {getattr(now, name)}")
        return found


def made_now(settings: Settings, job: Job) -> Made:
    """What the file of a job will say. DataError if the source cannot be read."""
    if job.source.is_dir():
        raise DataError(
            "is a folder of frames, which have no times: only databases are made of it (data.prepare.convert)"
        )
    if not job.source.is_file():
        raise DataError("is no file, or a link to none")
    try:
        size, content = file_content(job.source)
    except OSError as error:
        raise DataError(f"cannot be read ({reason(error)})") from error
    start, end = job.span or (None, None)
    source = job.source.relative_to(settings.videos).as_posix()
    how = (settings.short_side, settings.gop, settings.crf)
    video = f"{job.file.parent.name}/{job.file.stem}"
    first, last = job.frames or (None, None)
    return Made(source, size, content, start, end, *how, first, last, video=video)


def made_before(file: Path) -> Made | None:
    """What a file says that it was made from; None if it does not. VideoError if it cannot be opened."""
    return made_and_held(file)[0]


def made_and_held(file: Path) -> tuple[Made | None, int]:
    """As `made_before`, and the number of frames that the file's header has; 0 if it has none."""
    with open_video(file) as (container, stream):
        return _read_tag(container.metadata.get("comment", "")), stream.frames


def lost_frames(made: Made, held: int) -> str:
    """How a file was shortened since it was made, as by another program that keeps the tag; empty if it was not."""
    if made.frames is None or held in (0, made.frames):
        return ""
    return f"has {held} of the {made.frames} frames that were written to it"


def _read_tag(text: str) -> Made | None:
    try:
        values = json.loads(text)
        if not isinstance(values, dict) or values.pop("made_by") != MAKER:
            return None
        known = {field.name for field in fields(Made)}
        values = {name: value for name, value in values.items() if name in known}
        return Made(**(values | {"warnings": tuple(map(str, values.get("warnings", ())))}))
    except (ValueError, KeyError, TypeError, RecursionError):  # others may write anything
        return None


class Encoded(NamedTuple):
    """The result of a job: what to warn of."""

    warnings: tuple[str, ...]


def encode_video(settings: Settings, job: Job, beat: Callable[[], None]) -> Encoded | Unwritable:
    """Write the file of one video. DataError if the source cannot be decoded to its end."""
    remove_leftovers(job)
    made = made_now(settings, job)
    reader = VideoReader(job.source, settings.short_side, job.span, beat=beat, frames=job.frames)
    try:
        job.file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(job.file) as temporary:
            warnings = _write(reader, settings, job, made, temporary)
    except OSError as error:  # FFmpeg's errors are OSErrors, too; those of the source are VideoErrors
        what = f"cannot be written ({reason(error)})"
        if error.errno in STOPPING:
            return Unwritable(what)
        raise DataError(what) from error
    return Encoded(warnings)


def _write(reader: VideoReader, settings: Settings, job: Job, made: Made, path: Path) -> tuple[str, ...]:
    """Encode the frames, and then the tag with what is known at the end; return the warnings."""
    frames = _Frames(reader, job.is_whole)
    video = path.with_name(f"{path.name}.video.tmp")
    video.unlink(missing_ok=True)  # it may be a link to another file
    try:
        with av.open(str(video.absolute()), "w", format="mp4") as container:
            options = FAST | {"crf": str(settings.crf), "g": str(settings.gop), "threads": "1"}
            stream = container.add_stream("libx264", options=options)
            context = stream.codec_context
            for number, (pixels, pts) in enumerate(frames):
                if number == 0:
                    stream.height, stream.width = pixels.shape[:2]
                    stream.pix_fmt, context.time_base = "yuv420p", TICK
                    context.colorspace = context.color_primaries = context.color_trc = SMPTE170M
                    context.color_range = LIMITED
                    if reader.aspect != 1:
                        context.sample_aspect_ratio = reader.aspect
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame.pts, frame.time_base = pts, TICK
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        warnings = [*reader.warnings, *frames.remarks]
        if job.cut and (problem := length_problem(reader.seconds, job.cut)):
            warnings.append(problem)
        tag = asdict(made) | {"made_by": MAKER, "warnings": warnings[:MAX_WARNINGS], "frames": frames.count}
        _copy(video, path, {"comment": json.dumps(tag)})
    finally:
        with suppress(OSError):
            video.unlink(missing_ok=True)
    index = index_video(path)  # the disk may have been full without an error of FFmpeg
    if len(index.times) != frames.count or index.size != frames.size:
        raise DataError(f"the file that was written has {len(index.times)} frames instead of {frames.count}")
    return tuple(warnings)


class _Frames:
    """The frames of a video with even sides, with their times in ticks from that of the first frame on."""

    def __init__(self, reader: VideoReader, is_whole: bool) -> None:
        self.count = 0
        self.size = (0, 0)
        self.remarks: list[str] = []
        self._reader = reader
        self._is_whole = is_whole

    def __iter__(self) -> Iterator[tuple[np.ndarray, int]]:
        start, last = 0.0, -1
        for pixels in self._readable():
            height, width = pixels.shape[0] // 2 * 2, pixels.shape[1] // 2 * 2
            if not height or not width:
                raise VideoError(f"its frames of {pixels.shape[1]}x{pixels.shape[0]} pixels are too small for H.264")
            if self.count == 0:
                self.size = (height, width)
                start = self._reader.time
                if self._is_whole and start > 0.05:
                    self.remarks.append(
                        f"the times of the file made begin with the picture: they are {start:.2f} s less than before"
                    )
            pts = round((self._reader.time - start) / TICK)
            if pts <= last:
                raise VideoError(f"two frames have the same time, {self._reader.time:.3f} s")
            self.count, last = self.count + 1, pts
            yield np.ascontiguousarray(pixels[:height, :width]), pts

    def _readable(self) -> Iterator[np.ndarray]:
        """A source that cannot be read raises VideoError, so that an OSError is always one of writing."""
        try:
            yield from self._reader
        except OSError as error:
            raise VideoError(f"cannot be read ({reason(error)})") from error


def _copy(video: Path, path: Path, tags: Mapping[str, str]) -> None:
    """Copy the packets into a file with these tags, and its tables at the beginning."""
    with (
        av.open(str(video.absolute())) as source,
        av.open(str(path.absolute()), "w", format="mp4", container_options={"movflags": "faststart"}) as target,
    ):
        target.metadata.update(tags)
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)


def remove_leftovers(job: Job) -> None:
    """Remove the temporary files that a killed process left of a video."""
    with suppress(OSError):
        for path in job.file.parent.glob(f".{escape(job.file.name)}.*.tmp"):
            path.unlink(missing_ok=True)


def _frames(first: int | None, end: int | None) -> str:
    return "all" if first is None else f"{first} to {end}"


def _span(start: float | None, end: float | None) -> str:
    return "the whole" if start is None else f"{start!r} to {end!r} s"
