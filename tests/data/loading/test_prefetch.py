"""Batches are copied to the device completely, and while it computes."""

import pytest
import torch

from data.clips.dataset import ClipDataset
from data.clips.sampling import UniformClips
from data.clips.types import ClipShape
from data.labels.dataset_spec import DatasetSpec
from data.labels.splits import load_splits
from data.loading.loader import BatchLoader, SequentialBatches
from data.loading.prefetch import on_device


def loader_of(small_dataset, workers: int, pin_memory: bool) -> BatchLoader:
    videos = load_splits(small_dataset, DatasetSpec("custom", "train.csv", "val.csv")).train
    batches = SequentialBatches(len(videos), 4, ClipShape(4, 32, 32))
    return BatchLoader(ClipDataset(videos, UniformClips(1), seed=0), batches, workers, pin_memory)


@pytest.mark.parametrize("workers", [0, 2])
def test_on_the_cpu_a_loop_that_holds_each_batch_until_the_next_gets_all_batches(small_dataset, workers):
    """As the trainer's loops do; if one more batch were held, the memory would not suffice."""
    seen = []
    for _ in range(2):
        for batch in on_device(loader_of(small_dataset, workers, pin_memory=False), torch.device("cpu")):
            seen += batch.videos.tolist()
    assert seen == 2 * list(range(32))


@pytest.mark.gpu
@pytest.mark.parametrize("workers", [0, 2])
def test_on_a_gpu_all_batches_arrive_whole_while_it_computes(small_dataset, workers):
    """Fails if a step does not wait for its copy, or if the memory is overwritten before it is copied."""
    device = torch.device("cuda")
    expected = [batch.frames.clone() for batch in loader_of(small_dataset, 0, pin_memory=False)]
    loader = loader_of(small_dataset, workers, pin_memory=True)
    for _ in range(3):
        sums = []
        for batch in on_device(loader, device):
            torch.cuda._sleep(50_000_000)  # the step: the next copies are enqueued while it runs
            assert batch.frames.device.type == batch.labels.device.type == "cuda"
            assert batch.videos.device.type == batch.augmentation_params.device.type == "cpu"
            sums.append(batch.frames.clone())
        for ours, theirs in zip(sums, expected, strict=True):
            assert torch.equal(ours.cpu(), theirs)


@pytest.mark.gpu
def test_fetching_a_batch_does_not_wait_for_the_step(small_dataset):
    batches = on_device(loader_of(small_dataset, 2, pin_memory=True), torch.device("cuda"))
    next(batches)
    next(batches)
    torch.cuda.synchronize()
    finished = torch.cuda.Event()
    torch.cuda._sleep(20_000_000_000)  # seconds
    finished.record()
    next(batches)
    assert not finished.query()
