"""Batches, and the processes that read them."""

import os
import signal
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data.annotations import load_splits
from data.datasets import ClipRequest, ClipShape, DatasetSpec
from data.loaders import Batch, EachOnce, collate, make_loader
from data.video_iterator import BadVideo, Clip, RandomClip, SpacedClips, VideoIterator

SPEC = DatasetSpec("custom", "train.csv", "val.csv")
SHAPES = (ClipShape(4, 16, 16), ClipShape(2, 24, 24))


@pytest.fixture(scope="module")
def splits(small_dataset):
    return load_splits(small_dataset, SPEC)


def requests() -> list[list[ClipRequest]]:
    """Batches of two shapes in turn, of all the training videos."""
    return [[ClipRequest(step * 4 + i, SHAPES[step % 2], 7) for i in range(4)] for step in range(8)]


def read(splits, workers: int, start: str | None = None) -> list[Batch]:
    dataset = VideoIterator(splits.train, RandomClip((1, 2), flip=True, distort=True), seed=5)
    loader = make_loader(dataset, requests(), workers, pin_memory=False)
    if start:
        loader.multiprocessing_context = start
    return list(loader)


def check_equal(ours: Sequence[Batch], theirs: Sequence[Batch]) -> None:
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        assert all(torch.equal(mine[field], other[field]) for field in (0, 1, 2, -1))
        assert mine[3:-1] == other[3:-1]


def test_batches_do_not_depend_on_the_number_of_workers_or_how_they_start(splits):
    """A run must be the same on a machine with other cores, and on systems that spawn processes instead of forking."""
    expected = read(splits, 0)
    for workers, start in ((1, "fork"), (2, "fork"), (1, "spawn")):
        check_equal(read(splits, workers, start), expected)


def test_a_batch_is_laid_out_as_the_network_takes_it(splits):
    for batch, request in zip(read(splits, 0), requests(), strict=True):
        shape = request[0].shape
        assert batch.frames.shape == (4, 3, *shape)
        assert batch.frames.dtype == torch.uint8
        assert batch.frames.is_contiguous(memory_format=torch.channels_last_3d)
        assert batch.videos.tolist() == [asked.index for asked in request]
        assert batch.labels.tolist() == splits.train.labels[batch.videos].tolist()


def test_the_views_of_a_video_lie_side_by_side(splits):
    dataset = VideoIterator(splits.val, SpacedClips(1, clips=2), seed=0)
    (batch,) = make_loader(dataset, [[ClipRequest(3, SHAPES[0], 0), ClipRequest(5, SHAPES[0], 0)]], 0, False)
    assert batch.frames.shape == (4, 3, 4, 16, 16)
    assert batch.labels.shape == (2,)
    for row, index in ((0, 3), (2, 5)):
        views = dataset[ClipRequest(index, SHAPES[0], 0)].frames
        assert torch.equal(batch.frames[row : row + 2], views.permute(0, 4, 1, 2, 3))


def clip(video: int, *bad: BadVideo, repeated: int = 0, is_empty: bool = False) -> Clip:
    frames = torch.empty(0, dtype=torch.uint8) if is_empty else torch.full((1, 2, 4, 4, 3), video, dtype=torch.uint8)
    return Clip(frames, video, video, repeated, bad, torch.full((2,), float(video)))


def test_counts_and_bad_videos_of_the_clips_add_up():
    lost, replaced = BadVideo(3, "broken", None), BadVideo(4, "broken", 1)
    batch = collate([clip(0, repeated=2), clip(3, lost, is_empty=True), clip(1, replaced, repeated=1)])
    assert batch.videos.tolist() == [0, 1]
    assert batch.frames.shape == (2, 3, 2, 4, 4)
    assert batch.repeated_frames == 3
    assert batch.bad_videos == (lost, replaced)
    assert batch.augmentation.tolist() == [[0, 0], [1, 1]]


def test_a_batch_that_nothing_of_could_be_read_still_tells_why():
    lost = BadVideo(3, "broken", None)
    batch = collate([clip(3, lost, is_empty=True)])
    assert batch.bad_videos == (lost,)
    assert len(batch.labels) == 0


@given(videos=st.integers(0, 60), batch_size=st.integers(1, 9), ranks=st.integers(1, 5))
def test_an_evaluation_asks_for_every_video_once_whatever_the_number_of_ranks(videos, batch_size, ranks):
    """Padding to equal shares, as samplers usually do, counts some videos twice."""
    shares = [EachOnce(videos, batch_size, SHAPES[0], rank, ranks) for rank in range(ranks)]
    batches = [list(share) for share in shares]
    asked = [request.index for share in batches for batch in share for request in batch]
    assert sorted(asked) == list(range(videos))
    for share, batch_list in zip(shares, batches, strict=True):
        assert len(share) == len(batch_list)
        assert all(1 <= len(batch) <= batch_size for batch in batch_list)
        assert {
            (request.shape, request.draw, request.interval_stretch) for batch in batch_list for request in batch
        } <= {(SHAPES[0], 0, 1.0)}


def test_workers_answer_on_after_signals_that_are_the_main_process_s_to_answer(splits):
    """A scheduler sends its signals to every process of a job: workers that die of them spoil the orderly stop."""
    dataset = VideoIterator(splits.train, RandomClip((1, 2), flip=True, distort=True), seed=5)
    loader = make_loader(dataset, requests(), workers=1, pin_memory=False)
    batches = iter(loader)
    received = [next(batches)]
    (worker,) = batches._workers
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        os.kill(worker.pid, number)
    received += list(batches)
    assert worker.is_alive()
    check_equal(received, read(splits, 0))
    worker.kill()


def test_reading_leaves_the_random_state_of_the_process_to_training(splits):
    """Else a run that begins an epoch again in the middle would draw other numbers than one that was not stopped."""
    before = torch.get_rng_state()
    read(splits, 0)
    assert torch.equal(torch.get_rng_state(), before)
