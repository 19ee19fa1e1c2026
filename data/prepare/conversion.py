"""The conversion of one video: what is there already, and how a database is made of a file or a folder of frames."""

import errno
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from common.errors import DataError
from common.files import atomic_file, reason, write_errors
from data.labels.clip_length import Times, length_problem
from data.prepare.frame_files import FrameFilesReader, encode_jpeg
from data.prepare.frame_folder import Frames, find_frames, of_an_earlier_extraction
from data.store.frame_store import (
    DATABASE,
    FRAME_COUNT,
    FrameStore,
    FrameStoreError,
    is_whole,
    leftovers,
    write_frames,
)
from data.store.origin import Origin, file_content, folder_content, read_origin, whole_content
from data.store.video_error import UnreadableError
from data.store.video_file import Span, VideoError, VideoReader

STOPPING = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # no further video can be written either


class Settings(NamedTuple):
    """How videos are converted."""

    short_side: int
    quality: int
    keep_partial: bool
    threads: int  # for decoding, in each worker
    videos: Path | None = None  # the folder that holds all sources
    frames: str = ""  # the pattern that chooses the frames in a folder (frame_pattern)
    fps: float | None = None  # resample to this rate


class Job(NamedTuple):
    """One video to convert into a folder."""

    source: Path
    span: Span | None
    folder: Path
    replaces: bool = False  # a database that was made from something else
    cut: Times | None = None  # the times of the whole video that the file should hold, if it was cut beforehand
    frames: tuple[int, int] | None = None  # in place of a span: the first frame, from 0, and one after the last

    @property
    def is_whole(self) -> bool:
        """Whether the source is converted from its first frame to its last."""
        return self.span is None and self.frames is None


class Converted(NamedTuple):
    """The result of a job: what to warn of, and whether its frames are smaller than asked for, as the source is."""

    warnings: list[str]
    is_small: bool
    is_variable: bool = False  # whether the steps between its frames are uneven


class Unwritable(NamedTuple):
    """The result of a job that shows that no further one can be written either."""

    reason: str


class There(NamedTuple):
    """What is in the folder of a job: nothing, or a database and how it differs from what the job would make."""

    is_whole: bool
    has_origin: bool = True
    differences: tuple[str, ...] = ()
    is_damaged: bool = False  # something may be missing of the video, as --keep-partial allows
    is_counted: bool = True  # it has the file n_frames
    is_small: bool = False  # as in Converted, if the database says it
    warnings: tuple[str, ...] = ()  # of its conversion, as far as the database keeps them
    keeps_warnings: bool = False  # all of them; those of older versions keep only what is missing
    is_variable: bool = False  # as in Converted, if the database says it


def look(settings: Settings, job: Job) -> There:
    """What is there already of a video. DataError if that, or the source, cannot be read."""
    try:
        is_counted = is_whole(job.folder)
        if not is_counted and not (job.folder / DATABASE).is_file():
            return There(False)
    except OSError as error:
        raise DataError(f"its folder cannot be made or read ({reason(error)})") from error
    if not is_counted and count_frames(job) == 0:
        return There(False)
    made = read_origin(job.folder / DATABASE)
    if made is None:
        uncounted = f"origin: unknown, of a whole {DATABASE} without {FRAME_COUNT}"
        return There(True, False, () if is_counted else (uncounted,))
    now = origin_of(settings, job)
    if made.whole:
        now = _with_whole(now, job.source, settings.frames)
    warnings = [*made.warnings.splitlines(), *made.remarks.splitlines()]
    if made.seconds is not None and job.is_whole and job.cut and (why := length_problem(made.seconds, job.cut)):
        warnings.append(why)
    return There(
        is_whole=True,
        differences=tuple(made.differences(now)),
        is_damaged=made.is_damaged,
        is_counted=is_counted,
        is_small=made.is_small,
        warnings=tuple(warnings),
        keeps_warnings=made.pixels != "",
        is_variable=made.is_variable,
    )


def check_links(job: Job, replaces: bool) -> None:
    """DataError if writing the video would change another dataset.

    A video folder that is a link is never written through. A class folder may lie on another disk: new videos go there,
    but a database that is there may belong to another dataset, and is not replaced.
    """
    for place in (job.folder, job.folder.parent) if replaces else (job.folder,):
        if place.is_symlink():
            raise DataError(
                f"{place} is a link: nothing is {'replaced' if replaces else 'written'} through it; give as OUT the "
                "dataset to which it leads, or remove the link"
            )


def count_frames(job: Job) -> int:
    """The number of frames in the database of a job; 0 if it is proved damaged. DataError if it cannot be read."""
    try:
        with FrameStore(job.folder) as store:
            count = store.check_numbering()
            for index in (0, count - 1):
                store.read([index])
    except FrameStoreError as error:
        if error.damaged:
            return 0
        raise
    return count


def write_count(job: Job) -> None:
    """Write the file n_frames of a whole database that lacks it. DataError."""
    remove_leftovers(job)  # of a run that was killed before it wrote this file
    count = count_frames(job)
    path = job.folder / FRAME_COUNT
    with write_errors(path), atomic_file(path) as temporary:
        temporary.write_text(str(count))


def origin_of(settings: Settings, job: Job) -> Origin:
    """What a database made by this job will say of its source. DataError if that cannot be read."""
    if settings.fps and job.source.is_dir():
        raise VideoError("is a folder of frames without times: --fps cannot resample it; convert it without --fps")
    size, content = content_of(job.source, settings.frames)
    start, end = job.span or (None, None)
    first_frame, end_frame = job.frames or (None, None)
    videos = settings.videos or job.source.parent
    return Origin(
        videos=_name(videos),
        source=job.source.relative_to(videos).as_posix(),
        size=size,
        content=content,
        start=start,
        end=end,
        short_side=settings.short_side,
        quality=settings.quality,
        keep_partial=settings.keep_partial,
        pattern=settings.frames if job.source.is_dir() else "",
        fps=settings.fps,
        is_resampled=settings.fps is not None,
        first_frame=first_frame,
        end_frame=end_frame,
    )


def convert_video(settings: Settings, job: Job, beat: Callable[[], None]) -> Converted | Unwritable:
    """Write the database of one video. DataError if it cannot be decoded to its end."""
    remove_leftovers(job)
    if job.source.is_dir() and job.span is not None:
        raise VideoError("is a folder of frames without times: the clip cannot be cut out")
    origin = origin_of(settings, job)
    left_out: list[str] = []
    missing: list[str] = []  # of the video, by the names of its frames; the readers add what they find
    remarks: list[str] = []
    video: VideoReader | None = None
    reader: FrameFilesReader | VideoReader
    jpegs: Iterable[bytes]
    if job.source.is_dir():
        frames = _frames(job.source, settings.keep_partial, settings.frames)
        left_out, missing = frames.left_out, frames.gaps
        if earlier := of_an_earlier_extraction(frames.files):
            left_out = [*left_out, earlier]
        files = frames.files if job.frames is None else _chosen(frames, job.frames)
        reader = FrameFilesReader(files, settings.short_side, settings.quality, settings.keep_partial, beat)
        jpegs, lost, remarks = reader, reader.losses, reader.remarks
    else:
        reader = video = _reader(settings, job, beat)
        jpegs = (encode_jpeg(pixels, settings.quality) for pixels in video)
        lost, remarks = video.losses, video.remarks

    def rows() -> dict[str, str]:
        if video and video.is_damaged:
            _look_again(_reader(settings, job, beat), video)
        seconds = video.seconds if video and job.is_whole else None
        height, width = reader.size
        made = replace(origin, seconds=seconds, pixels=f"{width}x{height}")
        if video:
            made = replace(made, fps=video.rate, is_variable=video.is_variable)
        return _rows(made, job.source, settings.frames, [*missing, *lost], [*left_out, *remarks])

    try:
        write_frames(job.folder, _readable(jpegs), rows)
    except OSError as error:
        what = f"cannot be written ({reason(error)})"
        if error.errno in STOPPING:
            return Unwritable(what)
        raise DataError(what) from error
    if video and job.cut and (problem := length_problem(video.seconds, job.cut)):
        remarks = [*remarks, problem]
    is_variable = video is not None and video.is_variable
    return Converted([*left_out, *missing, *lost, *remarks], min(reader.size) < settings.short_side, is_variable)


def _reader(settings: Settings, job: Job, beat: Callable[[], None]) -> VideoReader:
    side, threads, is_partial = settings.short_side, settings.threads, settings.keep_partial
    return VideoReader(job.source, side, job.span, threads, is_partial, beat, settings.fps, job.frames)


def _look_again(again: VideoReader, damaged: VideoReader) -> None:
    """UnreadableError if there is less damage at a second look: the disk, or its server, failed for a moment."""
    for _ in again:
        pass
    if len(again.losses) < len(damaged.losses):
        what = "the disk may have failed for a moment: convert it again"
        raise UnreadableError(f"{damaged.losses[0]}; at a second look, it is less damaged: {what}")


def remove_leftovers(job: Job) -> None:
    """Remove the temporary files that a killed process left of a video, and then the folder if it is empty."""
    with suppress(OSError):
        for path in leftovers(job.folder):
            path.unlink(missing_ok=True)
        job.folder.rmdir()


def _readable(jpegs: Iterable[bytes]) -> Iterator[bytes]:
    """The frames; a source that cannot be read raises VideoError, so that an OSError is always one of writing."""
    try:
        yield from jpegs
    except OSError as error:
        raise VideoError(f"cannot be read ({reason(error)})") from error


def _rows(
    origin: Origin, source: Path, pattern: str, warnings: Sequence[str], remarks: Sequence[str]
) -> dict[str, str]:
    """The rows of the table Origin, for a damaged source with a fingerprint of all its bytes."""
    if warnings:
        origin = _with_whole(origin, source, pattern)
    return origin.rows(warnings, remarks)


def _with_whole(origin: Origin, source: Path, pattern: str) -> Origin:
    try:
        files = _frames(source, keep_partial=True, pattern=pattern).files if source.is_dir() else [source]
        return replace(origin, whole=whole_content(files))
    except OSError as error:
        raise VideoError(f"cannot be read ({reason(error)})") from error


def content_of(source: Path, pattern: str) -> tuple[int, str]:
    """Size and fingerprint of a file or a folder of frames."""
    if source.is_dir():
        files = _frames(source, keep_partial=True, pattern=pattern).files
        try:
            return folder_content(files)
        except OSError as error:
            raise VideoError(f"cannot be read ({reason(error)})") from error
    if not source.is_file():
        raise VideoError("is no file, or a link to none")
    try:
        status = source.stat()
        return _file_content(source, (status.st_dev, status.st_ino, status.st_ctime_ns, status.st_size))
    except OSError as error:
        raise VideoError(f"cannot be read ({reason(error)})") from error


@lru_cache(maxsize=1024)  # many clips may be cut out of one file
def _file_content(source: Path, _: tuple[int, ...]) -> tuple[int, str]:
    return file_content(source)


@lru_cache
def _name(videos: Path) -> str:
    return videos.resolve().name


def _chosen(frames: Frames, wanted: tuple[int, int]) -> Sequence[Path]:
    """The files of the wanted frames. VideoError if some are missing, of these or of those before."""
    first, end = wanted
    if frames.gaps:
        raise VideoError(f"frames {first} to {end} cannot be counted: {frames.gaps[0]}")
    if len(frames.files) < end:
        raise VideoError(f"has {len(frames.files)} frames, the clip should be frames {first} to {end}")
    return frames.files[first:end]


def _frames(folder: Path, keep_partial: bool, pattern: str) -> Frames:
    try:
        return find_frames(folder, keep_partial, pattern)
    except OSError as error:
        raise VideoError(f"cannot be read ({reason(error)})") from error
