"""Where a clip is read: ClipDataset, which turns a ClipRequest into frames and a label, in a worker process."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from data.clips.sampling import ClipSampling
from data.clips.types import NO_FRAMES, BadVideo, Clip, ClipRequest
from data.labels.video_list import VideoList
from data.store.frame_store import FrameStore
from data.store.video_source import VideoPart, VideoSource, VideoSourceError


def open_video_file(part: VideoPart) -> VideoSource:
    """Open a part of a video file."""
    from data.store.indexed_video import IndexedVideo  # loads FFmpeg, which databases do not need

    return IndexedVideo(part)


# What videos can be read from, by name: opens a video by its place (VideoList.place).
SOURCES: dict[str, Callable[[Any], VideoSource]] = {"frames": FrameStore, "videos": open_video_file}
RATE_REMEDY = (
    "give an interval in frames, such as 2, or all; or convert what is of a video file again (convert --fps X "
    "--replace): folders of frames have no rate"
)
REPLACEMENT_TRIES = 10  # videos tried instead of a bad one before the clip counts as lost


DO_NOT_MIRROR = -1


class _Frames(NamedTuple):
    """What was decoded."""

    repeated: int  # frames
    is_mirrored: bool


class _OpenVideos:
    """Keeps the video open that was read last, for the next clip of it."""

    def __init__(self, open_video: Callable[[Any], VideoSource]) -> None:
        self._open_video = open_video
        self._place: object = None
        self._video: VideoSource | None = None
        self._opened = ExitStack()

    def get(self, place: object) -> VideoSource:
        """The video at this place, which is opened if the last one was another."""
        if self._video is None or place != self._place:
            self.close()
            self._video, self._place = self._opened.enter_context(self._open_video(place)), place
        return self._video

    def close(self) -> None:
        """Close it, as at the end, or where an error may have left it in the middle of something."""
        self._video = None
        self._opened.close()


class ClipDataset(Dataset[Clip]):
    """A map-style dataset whose keys are ClipRequests.

    Every random choice is keyed by (seed, epoch, index, repeat), so a clip depends neither on the number of workers nor
    on the order of requests. A video that cannot be read is reported in the Clip and not raised: an exception would
    arrive from a worker as a traceback. With `replace_bad`, another random video is read instead. `source` names one of
    SOURCES, by default that of the videos.
    `mirrored_labels`: for each class, that of its mirrored clips, or DO_NOT_MIRROR; by default each stays as it is.
    """

    def __init__(
        self,
        videos: VideoList,
        sampling: ClipSampling,
        seed: int,
        replace_bad: bool = False,
        source: str = "",
        mirrored_labels: Sequence[int] | None = None,
    ) -> None:
        self.videos = videos
        self.sampling = sampling
        self.seed = seed
        self.replace_bad = replace_bad
        self.open_video = SOURCES[source or videos.source]
        self.mirrored_labels = mirrored_labels

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, request: ClipRequest) -> Clip:
        frames = torch.empty((self.sampling.views, *request.shape, 3), dtype=torch.uint8)
        clip = self.read(request, frames.numpy())
        return clip if clip.is_lost else clip._replace(frames=frames)

    def read(self, request: ClipRequest, out: np.ndarray) -> Clip:
        """Decode a clip into `out`, uint8 (V, T, h, w, 3), and return the Clip without frames.

        If the clip is lost, `out` is undefined.
        """
        return self.read_all([request], [out])[0]

    def read_all(self, requests: Sequence[ClipRequest], outs: Sequence[np.ndarray]) -> list[Clip]:
        """`read` of each; a video that is asked for several times in a row is opened once.

        One that cannot be read is in the `bad_videos` of the first of its clips that are replaced, so that it counts
        once.
        """
        videos, clips, told = _OpenVideos(self.open_video), list[Clip](), set[tuple[int, int]]()
        try:
            for request, out in zip(requests, outs, strict=True):
                clip, video = self._clip(request, out, videos), (request.epoch, request.index)
                if video in told and clip.bad_videos and not clip.is_lost:
                    clip = clip._replace(bad_videos=clip.bad_videos[1:])
                elif clip.bad_videos:
                    told.add(video)
                clips.append(clip)
        finally:
            videos.close()
        return clips

    def _clip(self, request: ClipRequest, out: np.ndarray, videos: _OpenVideos) -> Clip:
        # The first clip of a video has the draws that it has where there is one alone. A zero would not always do:
        # numpy only overlooks it if the seed is short.
        key = (self.seed, request.epoch, request.index, *([request.repeat] if request.repeat else []))
        rng = np.random.default_rng(key)
        # A second generator: a clip's augmentation stays the same if reading draws more numbers, as for a replacement.
        params_rng = np.random.default_rng(np.random.SeedSequence(key, spawn_key=(0,)))
        params = self.sampling.augmentation_params(params_rng)
        bad: list[BadVideo] = []
        index = request.index
        while True:
            try:
                read = self._read(request._replace(index=index), rng, out, videos)
            except VideoSourceError as error:
                videos.close()
                replacement = self._replacement(rng) if self.replace_bad and len(bad) < REPLACEMENT_TRIES else None
                bad.append(BadVideo(index, str(error), replacement))
                if replacement is None:
                    return Clip(NO_FRAMES, -1, index, 0, tuple(bad), params)
                index = replacement
            else:
                label = int(self.videos.labels[index])
                if read.is_mirrored and self.mirrored_labels is not None:
                    label = self.mirrored_labels[label]
                return Clip(NO_FRAMES, label, index, read.repeated, tuple(bad), params)

    def _replacement(self, rng: np.random.Generator) -> int:
        return int(rng.integers(len(self.videos)))

    def _read(self, request: ClipRequest, rng: np.random.Generator, out: np.ndarray, videos: _OpenVideos) -> _Frames:
        """Decode the clip."""
        place = self.videos.place(request.index)
        video = videos.get(place)
        rate = known_rate(video, place) if self.sampling.needs_rate else None
        views = self.sampling.frames(len(video), request, rng, rate)
        boxes = self.sampling.crop_boxes(video.size(), request.shape, rng)
        if self.mirrored_labels is not None and self.mirrored_labels[self.videos.labels[request.index]] < 0:
            boxes = [box._replace(flip=False) for box in boxes]  # drawn all the same: other choices stay as they are
        indices = np.concatenate([view.indices for view in views]).tolist()
        assert out.flags.c_contiguous, "reshape would copy it"
        crops = out.reshape(len(boxes), len(indices), *out.shape[2:])
        if len(boxes) == 1:
            video.read(indices, boxes[0], crops[0])
        else:
            video.read_crops(indices, boxes, crops)
        return _Frames(sum(view.repeated for view in views), boxes[0].flip)


def known_rate(video: VideoSource, place: Path | VideoPart) -> float:
    """The frames a second of a video; VideoSourceError if that is not known."""
    rate = video.rate()
    if rate is None:
        path = place.path if isinstance(place, VideoPart) else place
        raise VideoSourceError(f"{path}: it is not known how many frames a second it has; {RATE_REMEDY}")
    return rate
