"""Opens a video file with FFmpeg: only formats that hold their own frames, and only a stream that can be decoded."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from data.store.jpeg import MAX_PIXELS
from data.store.own_films import maker_named
from data.store.video_error import VideoError, told_from_damage
from data.store.video_tables import absurd_promise

# FFmpeg chooses the format by the content. Others name further files or addresses (hls, dash, concat, sdp, image2), are
# no videos (tty, text), or are read nowhere else (games).
FORMATS = (
    "matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,avi,flv,live_flv,asf,asf_o,mpeg,mpegvideo,mpegts,ogg,mxf,rm,gif,apng,"
    "yuv4mpegpipe,nut,ivf,dv,wtv,h261,h263,h264,hevc,vvc,m4v,vc1,av1,obu,mjpeg,dirac,cavsvideo,swf,ivr,nsv,ty,gxf,amv"
)
# Sound, subtitles and fonts are streams, too, and recordings of several programs have tens. Opening decodes a frame of
# each, before its size is known here.
MOST_STREAMS = 100


@contextmanager
def open_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """A file's container and its main video stream, which has a decoder and a size within bounds; VideoError.

    A film of evaluate.predict or explain is refused: it shows a video that has its own split, with names of classes.
    What the system does not give is an UnreadableError, also within the block.
    """
    with told_from_damage(path), _opened(path) as opened:
        yield opened


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    if not path.is_file():
        raise VideoError("is no file, or a link to none")
    if path.stat().st_size == 0:
        raise VideoError("the file is empty (0 bytes)")
    if absurd := absurd_promise(path):
        raise VideoError(f"is damaged: {absurd}")
    try:
        # FFmpeg would take a relative path such as "a:b.mp4" for a protocol. PyAV's `options` would also go to the
        # streams; it crashes where these appear only while the file is read (FLV, MPEG).
        container = av.open(
            str(path.absolute()),
            metadata_errors="ignore",
            container_options={
                "protocol_whitelist": "file",
                "format_whitelist": FORMATS,
                "max_streams": str(MOST_STREAMS),
            },
        )
    except av.error.MemoryError:
        raise VideoError(f"cannot be opened: more than {MOST_STREAMS} streams, or too little memory") from None
    except (av.FFmpegError, ValueError) as error:
        raise VideoError(_why_not_open(path, error)) from error
    with container:
        if maker := maker_named(container.metadata.get("comment", "")):
            raise VideoError(f"is a film of {maker}, which shows another video: keep it in another folder")
        streams = video_streams(container)
        if not streams:
            raise VideoError("has no video stream")
        best = container.streams.best("video")  # the default one, as players show it
        stream = next((each for each in streams if best is not None and each.index == best.index), streams[0])
        if stream.codec_context is None:
            raise VideoError(f"no decoder for {_codec_name(container)}; encode it anew, for example as H.264")
        check_size(stream.codec_context.width, stream.codec_context.height)
        stream.codec_context.options = {"max_pixels": str(2 * MAX_PIXELS)}  # later frames may be larger
        yield container, stream


def video_streams(container: InputContainer) -> list[VideoStream]:
    """The video streams; a picture attached to a file, such as a cover, counts as one of FFmpeg's, but not here."""
    return [each for each in container.streams.video if not each.disposition & Disposition.attached_pic]


def check_size(width: int, height: int) -> None:
    """Raise VideoError for frames with more than MAX_PIXELS."""
    if width * height > MAX_PIXELS:
        raise VideoError(f"frames of {width}x{height} pixels are too large (more than {MAX_PIXELS} pixels)")


def reason(error: Exception) -> str:
    """FFmpeg's message without the error number and the file name that PyAV adds."""
    return str(getattr(error, "strerror", None) or error)


def _why_not_open(path: Path, error: Exception) -> str:
    with path.open("rb") as file:
        start = file.read(512).lstrip(b"\xef\xbb\xbf\r\n\t ")
    kinds = {b"#EXTM3U": "HLS", b"ffconcat": "ffconcat", b"v=0": "SDP"}
    kind = next((name for magic, name in kinds.items() if start.startswith(magic)), "DASH" if b"<MPD" in start else "")
    if kind:
        return f"is a playlist ({kind}), which names other files, and no video"
    if isinstance(error, ValueError) and isinstance(error, av.FFmpegError) and reason(error) == "Invalid argument":
        return "its content is in none of the video formats that are read"
    return f"cannot be opened as a video ({reason(error)})"


def _codec_name(container: InputContainer) -> str:
    """The name of the first video stream's codec, which PyAV gives only where there is a decoder."""
    level = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)
    try:
        text: str = container.dumps_format()  # type: ignore[attr-defined]
    finally:
        av.logging.set_level(level)
    _, found, name = text.partition("Video: ")
    codec = re.match(r"none \((.{4})|([^,(]+)", name) if found else None
    return (codec[1] or codec[2]).strip() if codec else "its codec"
