"""The ways of reading one clip, uint8 (T, h, w, 3) or (3, T, h, w), that benchmarks.loading compares."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import av
import cv2
import numpy as np
import simplejpeg

from data.store.crop_box import CropBox, scratch_frame
from data.store.frame_store import FrameStore


def clip_blobs(folder: Path, indices: Sequence[int]) -> list[bytes]:
    """The JPEGs of frames of a database, by the usual SQL query."""
    names = [f"{folder.name}/frame_{index + 1:05d}" for index in indices]
    with closing(sqlite3.connect(folder / "frames.db")) as connection:
        query = f"SELECT ObjId, frames FROM Images WHERE ObjId IN ({','.join('?' * len(names))})"
        blobs = dict(connection.execute(query, names).fetchall())
    return [blobs[name] for name in names]


def decode_all(blobs: list[bytes]) -> None:
    """Only decode the whole frames, into one buffer: the limit of the speed."""
    height, width, *_ = simplejpeg.decode_jpeg_header(blobs[0])
    buffer = scratch_frame(height, width)
    for blob in blobs:
        simplejpeg.decode_jpeg(blob, "RGB", buffer=buffer)


def read_by_store(folder: Path, indices: Sequence[int], box: CropBox) -> np.ndarray:
    """By this project's FrameStore."""
    with FrameStore(folder) as store:
        store.size(indices[0])
        return store.read(indices, box)


def read_by_opencv(folder: Path, indices: Sequence[int], box: CropBox) -> np.ndarray:
    """The usual way: decode, resize whole frames, crop, transpose to (3, T, h, w)."""
    return _clip([_imdecode(blob) for blob in clip_blobs(folder, indices)], box)


def read_files_by_opencv(folder: Path, indices: Sequence[int], box: CropBox) -> np.ndarray:
    """The usual way from a folder of JPEG files."""
    paths = (folder / f"frame_{index + 1:05d}.jpg" for index in indices)
    return _clip([_imdecode(path.read_bytes()) for path in paths], box)


def read_by_pyav(file: Path, indices: Sequence[int], box: CropBox) -> np.ndarray:
    """The usual way from a video: seek to the keyframe before the clip, decode, keep the frames at `indices`."""
    wanted = set(indices)
    frames = []
    with av.open(str(file)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        assert stream.time_base is not None
        assert stream.average_rate is not None
        per_frame = 1 / (stream.time_base * stream.average_rate)
        container.seek(int(min(indices) * per_frame), stream=stream)
        for frame in container.decode(stream):
            assert frame.pts is not None
            index = round(frame.pts / per_frame)
            if index in wanted:
                frames.append(frame.to_ndarray(format="rgb24"))
            if index >= max(indices):
                break
    return _clip(frames, box)


def _imdecode(blob: bytes) -> np.ndarray:
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(blob, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def _clip(frames: list[np.ndarray], box: CropBox) -> np.ndarray:
    scale = box.out_height / box.height
    height, width = frames[0].shape[:2]
    size = round(width * scale), round(height * scale)
    top = min(round(box.top * scale), size[1] - box.out_height)
    left = min(round(box.left * scale), size[0] - box.out_width)
    rows, columns = slice(top, top + box.out_height), slice(left, left + box.out_width)
    clip = np.stack([cv2.resize(frame, size)[rows, columns] for frame in frames])
    return np.ascontiguousarray(clip.transpose(3, 0, 1, 2))
