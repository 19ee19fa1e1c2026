"""Batches for a training loop of one's own: ClipLoader, a BatchLoader whose batches are ready for a network."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler, Subset

from common.errors import DataError
from common.normalisation import SRTG, Normalisation
from common.text import quoted
from data.augment.augment import Augment
from data.augment.normalise import Normalise
from data.clips.by_index import Clips, whole_number
from data.clips.dataset import ClipDataset
from data.clips.sampling import RandomClips
from data.clips.types import ClipRequest, ClipShape
from data.loading.loader import Batch, BatchLoader
from data.loading.prefetch import on_device


class EpochBatches(Sampler[list[ClipRequest]]):
    """The requests of the given videos of an epoch, in order or shuffled; the last batch may be smaller.

    The order depends on the seed and `epoch` alone. Of all videos, it is that of a training run with this seed.
    """

    def __init__(self, videos: Sequence[int], batch_size: int, shape: ClipShape, seed: int, shuffle: bool) -> None:
        self.videos = np.array(videos, np.int64)
        self.batch_size = batch_size
        self.shape = shape
        self.seed = seed
        self.shuffle = shuffle
        self.epoch = 0

    def __len__(self) -> int:
        return -(-len(self.videos) // self.batch_size)

    def __iter__(self) -> Iterator[list[ClipRequest]]:
        epoch, order = self.epoch, self.videos
        if self.shuffle:
            order = np.random.default_rng((self.seed, epoch)).permutation(order)
        for start in range(0, len(order), self.batch_size):
            yield [ClipRequest(video, self.shape, epoch) for video in order[start : start + self.batch_size].tolist()]

    def sizes(self) -> list[tuple[int, ClipShape]]:
        """That of the full batches."""
        return [(min(self.batch_size, len(self.videos)), self.shape)]


class ClipLoader:
    """Iterates over the clips of a split in batches, any number of times: (frames, labels) on `device`.

    `clips` are those of open_split, or a torch.utils.data.Subset of them.
    Frames are float32 (B, 3, T, h, w), normalised as in training; with `augment`, random clips are augmented as in
    training with `--augment full`, or by RandAugment if they were opened with it. `normalisation` is what the network
    expects, its attribute of this name. Labels are int64 (B,). Each iteration is an epoch, with other random clips and,
    with `shuffle` (by default if clips are random), in another order: that of `clips.epoch` first, then one later each
    time.
    The worker processes live as long as the loader; with 0 workers, clips are read in this process.

    DataError for arguments that cannot be, and for a video that cannot be read.
    """

    def __init__(
        self,
        clips: Clips | Subset[tuple[Tensor, int]],
        batch_size: int,
        workers: int = 2,
        shuffle: bool | None = None,
        device: torch.device | str = "cpu",
        augment: bool = False,
        normalisation: Normalisation = SRTG,
    ) -> None:
        clips, videos = _all_and_chosen(clips)
        if clips.transform is not None:
            raise DataError("the clips have a transform, which this loader does not apply: open them without it")
        if augment and not clips.is_random:
            raise DataError("augment is for random clips, as of a training split: leave it out")
        if isinstance(clips.sampling, RandomClips) and clips.sampling.randaugment and not augment:
            raise DataError("the clips were opened with randaugment, which this loader applies with augment=True")
        self.clips = clips
        self.device = _checked_device(device)
        self._workers = min(whole_number("workers", workers, least=0), len(videos))
        self._augment = Augment(normalisation=normalisation) if augment else None
        self._normalise = Normalise(normalisation=normalisation).to(self.device)
        self._dataset = ClipDataset(clips.videos, clips.sampling, clips.seed)
        is_shuffled = clips.is_random if shuffle is None else shuffle
        batch_size = whole_number("batch_size", batch_size)
        self._batches = EpochBatches(videos, batch_size, clips.shape, clips.seed, is_shuffled)
        self._loader = self._new_loader()
        self._newest: object = None  # of the iterations

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self._batches.epoch = self.clips.next_epoch()
        self._newest = iteration = object()
        return self._read(iteration)

    def _read(self, iteration: object) -> Iterator[tuple[Tensor, Tensor]]:
        batches = on_device(self._loader, self.device)
        while True:
            if self._newest is not iteration:
                raise RuntimeError(
                    "this loader was iterated anew meanwhile: make a second ClipLoader for a second loop"
                )
            with self._left_at_ctrl_c():
                batch = next(batches, None)
            if batch is None:
                return
            if batch.bad_videos:
                raise DataError(batch.bad_videos[0].reason)
            ready = self._ready(batch)
            del batch
            if self.device.type == "cuda":  # whose loop may wait for each step
                with self._left_at_ctrl_c():
                    batches.fetch_ahead()
            yield ready

    @contextmanager
    def _left_at_ctrl_c(self) -> Iterator[None]:
        """Ctrl-C may leave half of a message from a worker: its loader is left, and another one is made."""
        try:
            yield
        except KeyboardInterrupt:
            self._loader.close()
            self._loader = self._new_loader()
            raise

    def _ready(self, batch: Batch) -> tuple[Tensor, Tensor]:
        if self._augment is not None:
            return self._augment(batch.frames, batch.augmentation_params), batch.labels
        return self._normalise(batch.frames), batch.labels

    def _new_loader(self) -> BatchLoader:
        return BatchLoader(self._dataset, self._batches, self._workers, pin_memory=self.device.type == "cuda")


def _all_and_chosen(clips: Clips | Subset[tuple[Tensor, int]]) -> tuple[Clips, Sequence[int]]:
    """The clips of the whole split, and the numbers of those that were chosen. DataError if they are something else."""
    if isinstance(clips, Subset):
        whole, numbers = _all_and_chosen(clips.dataset)  # type: ignore[arg-type]
        return whole, [numbers[index] for index in clips.indices]
    if not isinstance(clips, Clips):
        raise DataError(f"ClipLoader takes clips as open_split gives them, or a Subset of these, not {quoted(clips)}")
    return clips, range(len(clips))


def _checked_device(device: torch.device | str) -> torch.device:
    try:
        checked = torch.device(device)
    except RuntimeError as error:
        raise DataError(f"device {device!r}: {str(error).splitlines()[0]}") from None
    if checked.type == "cuda" and (checked.index or 0) >= torch.cuda.device_count():
        raise DataError(f"device {str(device)!r}: torch sees {torch.cuda.device_count()} GPUs here")
    return checked
