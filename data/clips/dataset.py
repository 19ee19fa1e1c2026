"""From a request for a clip to its pixels: what a loader's worker does."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from data.augment.params import draw_augmentation, no_augmentation
from data.clips.crop import centre_crop, random_crop
from data.clips.sampling import SampledFrames, random_clip, spaced_clips
from data.labels.dataset_spec import ClipRequest, ClipShape
from data.labels.splits import VideoList
from data.store.frame_store import FrameStore, FrameStoreError, Region

REPLACEMENT_TRIES = 10  # draws for one bad video before the clip counts as lost
NO_FRAMES = torch.empty(0, dtype=torch.uint8)


class Recipe(Protocol):
    """How clips are taken from a video: which frames, which part of them."""

    @property
    def views(self) -> int:
        """How many clips are taken from each video."""

    def frames(self, num_frames: int, request: ClipRequest, rng: np.random.Generator) -> list[SampledFrames]:
        """The views of the video, each T frame indices."""

    def region(self, size: tuple[int, int], shape: ClipShape, rng: np.random.Generator) -> Region:
        """The part of frames of `size` (height, width) that all views show."""

    def augmentation(self, rng: np.random.Generator) -> np.ndarray:
        """The draw for `data.augment`, float32 (NUM_DRAWS,), the same for all views."""


@dataclass(frozen=True)
class RandomClip:
    """One clip at a random interval, start and crop: training.

    `flip` mirrors every other clip; `distort` draws what the device is to do with it beside.
    """

    intervals: tuple[int, int]
    flip: bool
    distort: bool = False

    @property
    def views(self) -> int:
        """One."""
        return 1

    def frames(self, num_frames: int, request: ClipRequest, rng: np.random.Generator) -> list[SampledFrames]:
        """One view."""
        return [random_clip(num_frames, request.shape.frames, self.intervals, request.interval_stretch, rng)]

    def region(self, size: tuple[int, int], shape: ClipShape, rng: np.random.Generator) -> Region:
        """A random crop."""
        return random_crop(size, shape, self.flip, rng)

    def augmentation(self, rng: np.random.Generator) -> np.ndarray:
        """A random draw if `distort`, else that which changes nothing."""
        return draw_augmentation(rng) if self.distort else no_augmentation()


@dataclass(frozen=True)
class SpacedClips:
    """Evenly spaced clips, the middle one if `clips` is 1, of the centre crop: validation."""

    interval: int
    clips: int = 1

    @property
    def views(self) -> int:
        """`clips`."""
        return self.clips

    def frames(self, num_frames: int, request: ClipRequest, rng: np.random.Generator) -> list[SampledFrames]:
        """`clips` views."""
        return spaced_clips(num_frames, request.shape.frames, self.interval, self.clips)

    def region(self, size: tuple[int, int], shape: ClipShape, rng: np.random.Generator) -> Region:
        """The centre crop."""
        return centre_crop(size, shape)

    def augmentation(self, rng: np.random.Generator) -> np.ndarray:
        """That which changes nothing."""
        return no_augmentation()


class BadVideo(NamedTuple):
    """A video that could not be read, and the one that was drawn in its place (None if none was)."""

    video: int
    reason: str
    replacement: int | None


class Clip(NamedTuple):
    """One item: V views of one video, usually one."""

    frames: Tensor  # uint8 (V, T, h, w, 3), RGB; NO_FRAMES if the clip is lost, or where its frames are in a batch
    label: int
    video: int  # that the pixels come from
    repeated_frames: int
    bad_videos: tuple[BadVideo, ...]
    augmentation: np.ndarray  # float32 (NUM_DRAWS,): what the device is to do with the frames

    @property
    def is_lost(self) -> bool:
        """Whether the video could not be read and was not replaced."""
        return bool(self.bad_videos) and self.bad_videos[-1].replacement is None


class VideoIterator(Dataset[Clip]):
    """A map-style dataset whose keys are ClipRequests.

    Every random choice is keyed by (seed, draw, index) of the request, so a clip depends on neither the number of
    workers nor the order of requests. A video that cannot be read is reported in the item, not raised: an exception
    would cross the process border as a traceback. With `replace_bad` another video of the same epoch takes its place.
    """

    def __init__(self, videos: VideoList, recipe: Recipe, seed: int, replace_bad: bool = False) -> None:
        self.videos = videos
        self.recipe = recipe
        self.seed = seed
        self.replace_bad = replace_bad

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, request: ClipRequest) -> Clip:
        frames = torch.empty((self.recipe.views, *request.shape, 3), dtype=torch.uint8)
        clip = self.read(request, frames.numpy())
        return clip if clip.is_lost else clip._replace(frames=frames)

    def read(self, request: ClipRequest, out: np.ndarray) -> Clip:
        """Decode a clip into `out`, uint8 (V, T, h, w, 3); the Clip returned is without the frames.

        If the clip is lost, `out` holds anything.
        """
        key = (self.seed, request.draw, request.index)
        rng = np.random.default_rng(key)
        # From a generator of its own, so that it depends neither on what is read nor on how much that has to draw.
        own_rng = np.random.default_rng(np.random.SeedSequence(key, spawn_key=(0,)))
        augmentation = self.recipe.augmentation(own_rng)
        bad: list[BadVideo] = []
        index = request.index
        while True:
            try:
                repeated = self._read(request._replace(index=index), rng, out)
            except FrameStoreError as error:
                replacement = self._replacement(rng) if self.replace_bad and len(bad) < REPLACEMENT_TRIES else None
                bad.append(BadVideo(index, str(error), replacement))
                if replacement is None:
                    return Clip(NO_FRAMES, -1, index, 0, tuple(bad), augmentation)
                index = replacement
            else:
                return Clip(NO_FRAMES, int(self.videos.labels[index]), index, repeated, tuple(bad), augmentation)

    def _replacement(self, rng: np.random.Generator) -> int:
        return int(rng.integers(len(self.videos)))

    def _read(self, request: ClipRequest, rng: np.random.Generator, out: np.ndarray) -> int:
        """Decode the clip and return how many of its frames are repeated."""
        with FrameStore(self.videos.folder(request.index)) as store:
            views = self.recipe.frames(len(store), request, rng)
            region = self.recipe.region(store.size(), request.shape, rng)
            indices = np.concatenate([view.indices for view in views]).tolist()
            assert out.flags.c_contiguous, "reshape would copy it"
            store.read(indices, region, out=out.reshape(len(indices), *out.shape[2:]))
        return sum(view.repeated for view in views)
