"""From a request for a clip to its pixels: what a loader's worker does."""

import numpy as np
import torch
from torch.utils.data import Dataset

from data.clips.sampling import ClipSampling
from data.clips.types import NO_FRAMES, BadVideo, Clip, ClipRequest
from data.labels.video_list import VideoList
from data.store.frame_store import FrameStore, FrameStoreError

REPLACEMENT_TRIES = 10  # draws for one bad video before the clip counts as lost


class ClipDataset(Dataset[Clip]):
    """A map-style dataset whose keys are ClipRequests.

    Every random choice is keyed by (seed, draw, index) of the request, so a clip depends on neither the number of
    workers nor the order of requests. A video that cannot be read is reported in the item, not raised: an exception
    would cross the process border as a traceback. With `replace_bad` another video of the same epoch takes its place.
    """

    def __init__(self, videos: VideoList, sampling: ClipSampling, seed: int, replace_bad: bool = False) -> None:
        self.videos = videos
        self.sampling = sampling
        self.seed = seed
        self.replace_bad = replace_bad

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, request: ClipRequest) -> Clip:
        frames = torch.empty((self.sampling.views, *request.shape, 3), dtype=torch.uint8)
        clip = self.read(request, frames.numpy())
        return clip if clip.is_lost else clip._replace(frames=frames)

    def read(self, request: ClipRequest, out: np.ndarray) -> Clip:
        """Decode a clip into `out`, uint8 (V, T, h, w, 3); the Clip returned is without the frames.

        If the clip is lost, `out` holds anything.
        """
        key = (self.seed, request.epoch, request.index)
        rng = np.random.default_rng(key)
        # From a generator of its own, so that it depends neither on what is read nor on how much that has to draw.
        own_rng = np.random.default_rng(np.random.SeedSequence(key, spawn_key=(0,)))
        augmentation = self.sampling.augmentation(own_rng)
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
            views = self.sampling.frames(len(store), request, rng)
            box = self.sampling.crop_box(store.size(), request.shape, rng)
            indices = np.concatenate([view.indices for view in views]).tolist()
            assert out.flags.c_contiguous, "reshape would copy it"
            store.read(indices, box, out=out.reshape(len(indices), *out.shape[2:]))
        return sum(view.repeated for view in views)
