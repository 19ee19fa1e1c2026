"""Frames whose number can be read back from their pixels, as databases and as encoded videos.

Frame n has a single colour: red, green and blue are the three octal digits of n mod 512, 32 levels apart. So the number
survives JPEG, video compression, resizing, cropping and flipping.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import simplejpeg


def numbered_frame(number: int, height: int = 48, width: int = 64) -> np.ndarray:
    """The frame with that number: RGB uint8 (height, width, 3)."""
    digits = [(number // 64) % 8, (number // 8) % 8, number % 8]
    return np.full((height, width, 3), [16 + 32 * digit for digit in digits], dtype=np.uint8)


def frame_number(frame: np.ndarray) -> int:
    """The number (mod 512) of an RGB frame (H, W, 3) or of its float copy in 0-255."""
    red, green, blue = (int(level // 32) for level in frame.reshape(-1, 3).mean(axis=0))
    return red * 64 + green * 8 + blue


def frame_numbers(clip: np.ndarray) -> list[int]:
    """The numbers of the frames of a clip (T, H, W, 3)."""
    return [frame_number(frame) for frame in clip]


def jpeg(frame: np.ndarray, quality: int = 90) -> bytes:
    return simplejpeg.encode_jpeg(np.ascontiguousarray(frame), quality=quality, colorsubsampling="420")


def numbered_jpegs(numbers: Iterable[int], height: int = 48, width: int = 64) -> list[bytes]:
    return [jpeg(numbered_frame(number, height, width)) for number in numbers]


def write_database(
    video_folder: Path,
    jpegs: Sequence[object],
    *,
    indexed: bool = True,
    order: Sequence[int] | None = None,
    n_frames: str | None = None,
) -> Path:
    """Write frames.db and n_frames with plain sqlite3, and return the folder.

    `indexed` False gives the schema of dataset2database: no key, no index. `order` lists 0-based frames in the order in
    which their rows are inserted. `n_frames` is the text of that file, by default the true number.
    """
    video_folder.mkdir(parents=True, exist_ok=True)
    key = "ObjId TEXT PRIMARY KEY" if indexed else "ObjId STRING"
    connection = sqlite3.connect(video_folder / "frames.db")
    connection.execute(f"CREATE TABLE Images ({key}, frames BLOB, size INT)")
    for index in order if order is not None else range(len(jpegs)):
        blob = jpegs[index]
        name = f"{video_folder.name}/frame_{index + 1:05d}"
        size = simplejpeg.decode_jpeg_header(blob)[1] if isinstance(blob, bytes) and simplejpeg.is_jpeg(blob) else 0
        connection.execute("INSERT INTO Images VALUES (?, ?, ?)", (name, blob, size))
    connection.commit()
    connection.close()
    (video_folder / "n_frames").write_text(str(len(jpegs)) if n_frames is None else n_frames)
    return video_folder


def write_numbered_database(
    video_folder: Path, count: int, height: int = 48, width: int = 64, start: int = 0, **layout: object
) -> Path:
    """Write a database whose frame at index i shows the number start + i; `layout` as in write_database."""
    jpegs = numbered_jpegs(range(start, start + count), height, width)
    return write_database(video_folder, jpegs, **layout)  # type: ignore[arg-type]


def encode_video(
    path: Path,
    frames: Iterable[np.ndarray],
    *,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    rate: int = 25,
    first_pts: int = 0,
    pts: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    metadata: dict[str, str] | None = None,
    pixel_aspect: Fraction | None = None,
) -> Path:
    """Encode RGB frames (H, W, 3) to a video file and return its path. The suffix decides the container.

    `pts` are the frames' times in units of 1 / `rate`, by default one after the other from `first_pts` on.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", container_options=container_options or {}) as container:
        container.metadata.update(metadata or {})
        stream = container.add_stream(codec, rate=rate, options=options or _fine_options(codec))
        stream.pix_fmt = pixel_format
        for index, pixels in enumerate(frames):
            if index == 0:
                stream.height, stream.width = pixels.shape[:2]
                stream.codec_context.time_base = Fraction(1, rate)
                if pixel_aspect:
                    stream.codec_context.sample_aspect_ratio = pixel_aspect
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = pts[index] if pts else first_pts + index, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def encode_numbered_video(
    path: Path, count: int, height: int = 48, width: int = 64, start: int = 0, **encoding: object
) -> Path:
    """Encode a video whose frame at index i shows the number start + i; `encoding` as in encode_video."""
    frames = (numbered_frame(number, height, width) for number in range(start, start + count))
    return encode_video(path, frames, **encoding)  # type: ignore[arg-type]


def _fine_options(codec: str) -> dict[str, str]:
    if codec in ("libx264", "libx265"):
        return {"crf": "10", "preset": "ultrafast", "threads": "1"}
    if codec == "mpeg4":
        return {"qmin": "2", "qmax": "2"}
    return {}
