"""Where a clip is read: ClipDataset, which turns a ClipRequest into frames and a label, in a worker process."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

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


class ClipDataset(Dataset[Clip]):
    """A map-style dataset whose keys are ClipRequests.

    Every random choice is keyed by (seed, epoch, index), so a clip depends neither on the number of workers nor on the
    order of requests. A video that cannot be read is reported in the Clip and not raised: an exception would arrive
    from a worker as a traceback. With `replace_bad`, another random video is read instead. `source` names one of
    SOURCES, by default that of the videos.
    """

    def __init__(
        self, videos: VideoList, sampling: ClipSampling, seed: int, replace_bad: bool = False, source: str = ""
    ) -> None:
        self.videos = videos
        self.sampling = sampling
        self.seed = seed
        self.replace_bad = replace_bad
        self.open_video = SOURCES[source or videos.source]

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
        key = (self.seed, request.epoch, request.index)
        rng = np.random.default_rng(key)
        # A second generator: a clip's augmentation stays the same if reading draws more numbers, as for a replacement.
        params_rng = np.random.default_rng(np.random.SeedSequence(key, spawn_key=(0,)))
        params = self.sampling.augmentation_params(params_rng)
        bad: list[BadVideo] = []
        index = request.index
        while True:
            try:
                repeated = self._read(request._replace(index=index), rng, out)
            except VideoSourceError as error:
                replacement = self._replacement(rng) if self.replace_bad and len(bad) < REPLACEMENT_TRIES else None
                bad.append(BadVideo(index, str(error), replacement))
                if replacement is None:
                    return Clip(NO_FRAMES, -1, index, 0, tuple(bad), params)
                index = replacement
            else:
                return Clip(NO_FRAMES, int(self.videos.labels[index]), index, repeated, tuple(bad), params)

    def _replacement(self, rng: np.random.Generator) -> int:
        return int(rng.integers(len(self.videos)))

    def _read(self, request: ClipRequest, rng: np.random.Generator, out: np.ndarray) -> int:
        """Decode the clip and return how many of its frames are repeated."""
        place = self.videos.place(request.index)
        with self.open_video(place) as video:
            rate = known_rate(video, place) if self.sampling.needs_rate else None
            views = self.sampling.frames(len(video), request, rng, rate)
            boxes = self.sampling.crop_boxes(video.size(), request.shape, rng)
            indices = np.concatenate([view.indices for view in views]).tolist()
            assert out.flags.c_contiguous, "reshape would copy it"
            crops = out.reshape(len(boxes), len(indices), *out.shape[2:])
            if len(boxes) == 1:
                video.read(indices, boxes[0], crops[0])
            else:
                video.read_crops(indices, boxes, crops)
        return sum(view.repeated for view in views)


def known_rate(video: VideoSource, place: Path | VideoPart) -> float:
    """The frames a second of a video; VideoSourceError if that is not known."""
    rate = video.rate()
    if rate is None:
        path = place.path if isinstance(place, VideoPart) else place
        raise VideoSourceError(f"{path}: it is not known how many frames a second it has; {RATE_REMEDY}")
    return rate
