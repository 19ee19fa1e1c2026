"""Videos for measuring reading speed, in several formats; videos that exist in the folder are used again.

    make_corpus(folder, (256, 340), videos=12)      # [folder/video_000, ...] with frames.db
    without_index(folders, folder), jpeg_folders(...), mp4_files(...)     # the same frames in other formats

The time to decode a JPEG depends on its bytes. So the frames are neither noise nor of one colour: they have the size of
real frames at quality 90 and 4:2:0 (340x256: about 17 kB; nine real clips had 14 to 30 kB).
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import simplejpeg

from common.files import atomic_file
from data.store.frame_store import is_whole, write_frames

FRAMES = 300  # ten seconds at 30 frames a second, as in HACS and Kinetics
QUALITY = 90
SCENE = (360, 640)  # height and width; smaller frames are scaled from it


def scene_frames(seed: int, size: tuple[int, int], frames: int) -> Iterator[np.ndarray]:
    """RGB frames (height, width, 3) of a camera that pans over a textured scene, with sensor noise."""
    rng = np.random.default_rng(seed)
    height, width = SCENE[0], SCENE[1] + frames
    scene = np.full((height, width, 3), 128, np.float32)
    for cell, contrast in ((96, 50), (32, 26), (16, 14), (6, 4)):
        rows, columns = height // cell + 2, width // cell + 2
        light = rng.normal(0, contrast, (rows, columns, 1))
        colour = rng.normal(0, contrast / 3, (rows, columns, 3))
        scene += cv2.resize((light + colour).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    noise = rng.normal(0, 1, (size[0] + frames, size[1], 1)).astype(np.float32)
    for index in range(frames):
        frame = scene[:, index : index + SCENE[1]]
        if size != SCENE:
            frame = cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA)
        yield np.clip(frame + noise[index : index + size[0]], 0, 255).astype(np.uint8)


def make_corpus(folder: Path, size: tuple[int, int], videos: int, frames: int = FRAMES) -> list[Path]:
    """Make video folders with frames.db of frames of `size` (height, width); existing ones are kept."""
    return [make_video(folder, size, frames, number) for number in range(videos)]


def make_video(folder: Path, size: tuple[int, int], frames: int, number: int) -> Path:
    """Make the folder of one video, unless it is there."""
    video = folder / f"video_{number:03d}"
    if not is_whole(video):
        pixels = scene_frames(number, size, frames)
        write_frames(video, (simplejpeg.encode_jpeg(each, QUALITY, colorsubsampling="420") for each in pixels))
    return video


def without_index(folders: list[Path], target: Path) -> list[Path]:
    """Copies of the databases in dataset2database's layout: no key, no index, rows in any order."""
    rng = np.random.default_rng(1)
    copies = [target / folder.name for folder in folders]
    for folder, copied in zip(folders, copies, strict=True):
        if not is_whole(copied):
            copied.mkdir(parents=True, exist_ok=True)
            rows = _rows(folder)
            with closing(sqlite3.connect(copied / "frames.db")) as copy:
                copy.execute("DROP TABLE IF EXISTS Images")
                copy.execute("CREATE TABLE Images (ObjId STRING, frames BLOB, size INT)")
                copy.executemany(
                    "INSERT INTO Images VALUES (?, ?, 0)", [rows[row] for row in rng.permutation(len(rows))]
                )
                copy.commit()
            (copied / "n_frames").write_text(str(len(rows)))
    return copies


def jpeg_folders(folders: list[Path], target: Path) -> list[Path]:
    """The same JPEGs as files frame_00001.jpg, ..., in one folder per video."""
    copies = [target / folder.name for folder in folders]
    for folder, copied in zip(folders, copies, strict=True):
        copied.mkdir(parents=True, exist_ok=True)
        for name, jpeg in _rows(folder):
            (copied / f"{name.rpartition('/')[2]}.jpg").write_bytes(jpeg)
    return copies


def mp4_files(folders: list[Path], target: Path, keyframes: int) -> list[Path]:
    """The same frames in H.264, a keyframe every `keyframes` frames, 30 frames a second; existing files are kept."""
    import av  # here, since nothing else in this file needs it

    files = [target / f"{folder.name}.mp4" for folder in folders]
    target.mkdir(parents=True, exist_ok=True)
    options = {"crf": "23", "preset": "veryfast", "threads": "1", "g": str(keyframes), "sc_threshold": "0"}
    for folder, file in zip(folders, files, strict=True):
        if file.exists():
            continue
        with atomic_file(file) as temporary, av.open(str(temporary), "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=30, options=options)
            for index, (_, jpeg) in enumerate(_rows(folder)):
                frame = av.VideoFrame.from_ndarray(simplejpeg.decode_jpeg(jpeg, "RGB"), format="rgb24")
                if index == 0:
                    stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "yuv420p"
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return files


def _rows(folder: Path) -> list[tuple[str, bytes]]:
    with closing(sqlite3.connect(folder / "frames.db")) as connection:
        return connection.execute("SELECT ObjId, frames FROM Images ORDER BY ObjId").fetchall()
