"""A camera, or a file that is played as one: its last seconds are predicted again and again, as JSON lines."""

import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import av
import cv2
import numpy as np

from common.errors import DataError, UserError
from common.files import what_is_at
from common.json_text import json_text
from common.logs import LOG
from data.clips.one_video import crop_boxes, crops_of
from data.clips.sampling import ClipSampling
from data.clips.types import ClipShape
from data.clips.windows import MOST_HELD, NEAR, HeldFrame, views_of
from data.store.crop_box import CropBox
from data.store.video_file import VideoError, VideoReader
from data.store.video_pixels import Upright
from evaluate.prediction.results import best_of
from evaluate.prediction.scoring import Scorer

CAMERA = "camera:"
MOST_CAMERAS = 1000
LONGEST_WAIT = 10.0  # seconds without a frame


class Camera(Protocol):
    """Gives frames at the pace of time."""

    name: str
    dropped: int
    """Frames that came while the one before was still in work, as far as known."""
    speed: float
    """Seconds of the video in a second."""

    def frames(self) -> Iterator[tuple[float, np.ndarray]]:
        """Seconds since the first frame, and RGB uint8 (H, W, 3)."""


class Device:
    """A camera of this machine, by its number."""

    speed = 1.0
    dropped = 0

    def __init__(self, number: int, short_side: int) -> None:
        self.name = f"{CAMERA}{number}"
        self._upright = Upright(short_side)
        cv2.utils.logging.setLogLevel(0)  # it prints its attempts
        self._capture = cv2.VideoCapture(number)
        if not self._capture.isOpened():
            self._capture.release()
            device = f"/dev/video{number}"
            why = f"{device} cannot be opened" if os.path.exists(device) else f"there is no {device}"  # noqa: PTH110
            raise DataError(f"{self.name}: no camera ({why})")

    def frames(self) -> Iterator[tuple[float, np.ndarray]]:
        """Frames as long as the camera gives them."""
        start = None
        try:
            while True:
                there, pixels = self._capture.read()
                if not there:
                    raise DataError(f"{self.name} gives no more frames")
                now = time.monotonic()
                start = now if start is None else start
                yield (
                    now - start,
                    self._upright(av.VideoFrame.from_ndarray(np.asarray(pixels, np.uint8), format="bgr24")),
                )
        finally:
            self._capture.release()


class PlayedFile:
    """A video file at its own pace, or `speed` times as fast. A frame that is late is dropped, as a camera does."""

    def __init__(self, path: Path, short_side: int, speed: float) -> None:
        self.name, self.speed, self.dropped = f"{CAMERA}{path}", speed, 0
        self._reader = VideoReader(path, short_side)
        self._path = path

    def frames(self) -> Iterator[tuple[float, np.ndarray]]:
        """The frames up to the file's end."""
        began, first, before = 0.0, 0.0, 0.0
        try:
            for number, pixels in enumerate(self._reader):
                if not number:
                    began, first = time.monotonic(), self._reader.time
                at = self._reader.time - first
                wait = began + at / self.speed - time.monotonic()
                if wait > 0:
                    time.sleep(wait)
                if number and -wait > max(at - before, 1e-3) / self.speed:
                    self.dropped += 1
                else:
                    yield at, pixels
                before = at
        except VideoError as error:
            raise DataError(f"{self._path} {error}") from error


def open_camera(text: str, short_side: int, speed: float | None) -> Camera:
    """The camera of `camera:N` or `camera:FILE`. DataError if there is none."""
    name = text.removeprefix(CAMERA)
    if name.isdecimal() and name.isascii():
        if speed is not None:
            raise DataError(f"--speed {speed:g} is for camera:FILE: a camera has its own pace")
        if int(name) >= MOST_CAMERAS:
            raise DataError(f"{text}: give the number of a camera, 0 for the first one")
        return Device(int(name), short_side)
    if not name or what_is_at(Path(name)) != "file":
        raise DataError(f"{text}: give the number of a camera, 0 for the first one, or a video file")
    return PlayedFile(Path(name), short_side, speed or 1.0)


@dataclass
class Live:
    """The last seconds of a camera, which a thread reads."""

    camera: Camera
    sampling: ClipSampling
    shape: ClipShape
    seconds: float
    every: float
    top: int
    held: deque[HeldFrame] = field(default_factory=deque)
    read: int = 0
    most_held: int = 0
    arrived: float = 0.0
    """When the last frame came, as time.monotonic()."""
    error: UserError | None = None
    has_ended: bool = False
    is_stopped: bool = False
    news: threading.Condition = field(default_factory=threading.Condition)

    def start(self) -> None:
        """Begin to read."""
        threading.Thread(target=self._fill, daemon=True).start()

    def _fill(self) -> None:
        boxes: list[CropBox] = []
        try:
            for at, pixels in self.camera.frames():
                boxes = boxes or crop_boxes((pixels.shape[0], pixels.shape[1]), self.sampling, self.shape)
                crops = crops_of(pixels, boxes)
                with self.news:
                    self._hold(HeldFrame(at, crops))
                if self.is_stopped:
                    return
        except UserError as error:
            self.error = error
        except Exception as error:  # else the main thread would wait for ever
            self.error = DataError(f"{self.camera.name} cannot be read ({error})")
        finally:
            with self.news:
                self.has_ended = True
                self.news.notify_all()

    def _hold(self, frame: HeldFrame) -> None:
        self.held.append(frame)
        # A frame at each end would be one more than a window of a file has.
        while len(self.held) > 1 and self.held[0].time < frame.time - self.seconds + NEAR:
            self.held.popleft()
        if len(self.held) * frame.crops.nbytes > MOST_HELD:
            raise DataError(f"{self.seconds:g} s of the camera need more than {MOST_HELD >> 30} GiB: lower --window")
        self.read += 1
        self.most_held = max(self.most_held, len(self.held))
        self.arrived = time.monotonic()
        self.news.notify_all()

    def wait(self, due: float) -> tuple[list[HeldFrame], float]:
        """The frames held when the camera has come to the time `due`, and when the last one came (time.monotonic()).

        No frames if the camera ends before; DataError if it fails.
        """
        with self.news:
            while not (self.held and self.held[-1].time >= due) and not self.has_ended:
                before = self.read
                self.news.wait(LONGEST_WAIT)
                if self.read == before and not self.has_ended:
                    raise DataError(f"{self.camera.name} has given no frame for {LONGEST_WAIT:g} s")
            if self.held and self.held[-1].time >= due:
                return list(self.held), self.arrived
        if self.error:
            raise self.error
        return [], 0.0


def watch(live: Live, scorer: Scorer, classes: Sequence[str]) -> int:
    """Print a JSON line for each prediction until the camera ends or Ctrl-C; return the exit status."""
    live.start()
    due, skipped, predictions, is_told = live.seconds, 0, 0, False
    try:
        while True:
            frames, arrived = live.wait(due)
            if not frames:
                break
            at = frames[-1].time
            views = views_of(frames, live.seconds, live.sampling, live.shape)
            best = best_of(scorer(views[None])[0].cpu(), min(live.top, len(classes)), frames[0].time, at)
            now = time.monotonic()
            line = {
                "time": round(at, 3),
                "classes": [classes[label] for label in best.classes],
                "scores": best.scores,
                "frames": len(frames),
                "latency": round(now - arrived, 3),
                "skipped": skipped,
            }
            print(json_text(line), flush=True)
            predictions += 1
            behind = at + (now - arrived) * live.camera.speed - due  # in seconds of the camera, as `due` and `every`
            skipped = max(0, int(behind // live.every))
            due += live.every * (1 + skipped)
            if skipped and not is_told:
                is_told = True
                LOG.warning(
                    "a prediction took %.2f s and was ready %.2f s%s after its time, while --every is %g s: %d left "
                    "out; `skipped` counts them", now - arrived, behind,
                    "" if live.camera.speed == 1 else " of the video", live.every, skipped,
                )  # fmt: skip
    except KeyboardInterrupt:
        pass
    finally:
        live.is_stopped = True
    if not predictions and live.has_ended:
        raise DataError(f"{live.camera.name} has ended before a window of {live.seconds:g} s was full")
    dropped = f", {live.camera.dropped} frames dropped" if live.camera.dropped else ""
    LOG.info("%d predictions of %d frames%s", predictions, live.read, dropped)
    return 0
