"""Batches are copied to the device completely, and while it computes."""

import time

import pytest
import torch

from common.garbage import no_garbage_collection
from data.clips.dataset import ClipDataset
from data.clips.sampling import UniformClips
from data.clips.types import ClipShape
from data.labels.dataset_spec import DatasetSpec
from data.labels.splits import load_splits
from data.loading import batch_memory, prefetch
from data.loading.loader import Batch, BatchLoader, SequentialBatches
from data.loading.prefetch import on_device
from tests.devices import no_waiting


def loader_of(small_dataset, workers: int, pin_memory: bool) -> BatchLoader:
    videos = load_splits(small_dataset, DatasetSpec("custom", "train.csv", "val.csv")).train
    batches = SequentialBatches(len(videos), 4, ClipShape(4, 32, 32))
    return BatchLoader(ClipDataset(videos, UniformClips(1), seed=0), batches, workers, pin_memory)


@pytest.mark.parametrize("is_ahead", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_on_the_cpu_a_loop_that_holds_each_batch_until_the_next_gets_all_batches(small_dataset, workers, is_ahead):
    """As the trainer's loops do; if one more batch were held, the memory would not suffice."""
    expected = [batch.frames.clone() for batch in loader_of(small_dataset, 0, pin_memory=False)]
    loader = loader_of(small_dataset, workers, pin_memory=False)
    for _ in range(2):
        seen = []
        batches = on_device(loader, torch.device("cpu"))
        for batch, frames in zip(batches, expected, strict=True):
            if is_ahead:
                batches.fetch_ahead()
                batches.fetch_ahead()  # does nothing more
            assert torch.equal(batch.frames, frames)
            seen += batch.videos.tolist()
        assert seen == list(range(32))


def test_the_end_of_a_loop_leaves_no_batch_in_a_reference_cycle(small_dataset, monkeypatch):
    """The memory of batches was free again only when Python collected garbage, which it may be doing already."""

    def no_collection():
        raise AssertionError("the memory of a batch is free only after a collection")

    def watched(batches):
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            yield batch

    monkeypatch.setattr(batch_memory, "collect", no_collection)
    loader = loader_of(small_dataset, 0, pin_memory=False)
    with no_garbage_collection():
        for _ in range(6):
            batches = on_device(loader, torch.device("cpu"))
            for batch in watched(batches):
                batches.fetch_ahead()
                assert len(batch.labels)


def test_an_error_of_the_next_batch_is_raised_when_that_batch_is_asked_for():
    """Else it would cost a step whose batch was read, and a checkpoint that is due after this step."""

    def failing():
        yield "first"
        yield "second"
        raise ValueError("the third")

    batches = on_device(failing(), torch.device("cpu"))
    for expected in ("first", "second"):
        assert next(batches) == expected
        batches.fetch_ahead()
    with pytest.raises(ValueError, match="the third"):
        next(batches)
    assert next(batches, None) is None


def test_an_error_of_the_beginning_is_raised_when_the_first_batch_is_asked_for():
    """An epoch that is begun early must not end the one before it, which is not saved yet."""

    class Broken:
        def __iter__(self):
            raise ValueError("cannot begin")

    batches = on_device(Broken(), torch.device("cpu"))
    with pytest.raises(ValueError, match="cannot begin"):
        next(batches)


def test_the_end_is_told_when_it_is_asked_for():
    batches = on_device(iter(["only"]), torch.device("cpu"))
    assert next(batches) == "only"
    for _ in range(2):
        batches.fetch_ahead()
        assert next(batches, None) is None


def test_ctrl_c_while_the_next_batch_is_fetched_is_not_kept_for_later():
    """It stops the program where it is."""

    def interrupted():
        yield "first"
        raise KeyboardInterrupt

    batches = on_device(interrupted(), torch.device("cpu"))
    next(batches)
    with pytest.raises(KeyboardInterrupt):
        batches.fetch_ahead()


class Noted:
    """In the place of the copies to a GPU: copies on the host, and notes in which order things are done."""

    def __init__(self, device):
        self.notes, self.source = [], []

    def begin(self, batch):
        self.notes.append("begin")
        self.source.append(batch.frames)
        return batch._replace(frames=batch.frames.clone())

    def hand_over(self, batch):
        self.notes.append("hand over")

    def release_source(self):
        self.notes.append("release")
        self.source.clear()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_copy_is_awaited_only_when_its_batch_is_asked_for(small_dataset, workers, monkeypatch):
    """What is enqueued before need not wait. The loader's memory holds one batch that is copied, beside those read."""
    monkeypatch.setattr(prefetch, "_Copies", Noted)
    loader = loader_of(small_dataset, workers, pin_memory=False)
    expected = [batch.frames.clone() for batch in loader_of(small_dataset, 0, pin_memory=False)]
    for _ in range(2):
        batches, held = on_device(loader, torch.device("cuda")), []
        for batch in batches:
            held.append(batch.frames)
            batches.fetch_ahead()
            batches._copies.notes.append("asked")
            assert len(batches._copies.source) == (len(held) < len(expected))
        assert all(map(torch.equal, held, expected))
        one_ahead = ["release", "begin", "asked", "hand over"]
        assert batches._copies.notes == ["release", "begin", "hand over", *7 * one_ahead, "release", "asked"]


@pytest.mark.gpu
@pytest.mark.parametrize("is_ahead", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_on_a_gpu_all_batches_arrive_whole_while_it_computes(small_dataset, workers, is_ahead):
    """Fails if a step does not wait for its copy, or if the memory is overwritten before it is copied."""
    device = torch.device("cuda")
    expected = [batch.frames.clone() for batch in loader_of(small_dataset, 0, pin_memory=False)]
    loader = loader_of(small_dataset, workers, pin_memory=True)
    for _ in range(3):
        sums = []
        batches = on_device(loader, device)
        for batch in batches:
            torch.cuda._sleep(50_000_000)  # the step: the next copies are enqueued while it runs
            assert batch.frames.device.type == batch.labels.device.type == "cuda"
            assert batch.videos.device.type == batch.augmentation_params.device.type == "cpu"
            sums.append(batch.frames.clone())
            if is_ahead:
                batches.fetch_ahead()
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


@pytest.mark.gpu
def test_the_next_batch_is_copied_while_a_gpu_computes(small_dataset):
    """A step that ends with a report waits for the GPU: with the next batch there, the GPU has work at once."""
    batches = on_device(loader_of(small_dataset, 2, pin_memory=True), torch.device("cuda"))
    next(batches)
    finished = torch.cuda.Event()
    with no_waiting("cuda"):
        torch.cuda._sleep(20_000_000_000)  # seconds
        finished.record()
        batches.fetch_ahead()
    assert batches._copies is not None
    while not batches._copies.copied.query():
        time.sleep(0.001)
    assert not finished.query()
    ahead = batches._ahead
    assert isinstance(ahead, Batch)
    assert next(batches) is ahead


@pytest.mark.gpu
def test_further_epochs_take_no_further_memory(small_dataset):
    """Memory that was freed in one stream serves no other: a stream for each epoch would keep some batches of each."""
    loader, reserved = loader_of(small_dataset, 0, pin_memory=True), []
    for _ in range(8):
        batches = on_device(loader, torch.device("cuda"))
        for batch in batches:
            batch.frames.sum()
            batches.fetch_ahead()
        del batch
        torch.cuda.synchronize()
        reserved.append(torch.cuda.memory_reserved())
    assert reserved[-1] == reserved[1]
