"""Batches and the processes that read them: the right clips, in order, without leaks, whatever the workers do."""

import errno
import gc
import multiprocessing
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from common.errors import DataError
from data.clips.dataset import ClipDataset
from data.clips.sampling import RandomClips, UniformClips
from data.clips.types import NO_FRAMES, BadVideo, Clip, ClipRequest, ClipShape
from data.labels.dataset_spec import DatasetSpec
from data.labels.splits import load_splits
from data.loading import loader as loader_module
from data.loading.loader import Batch, BatchLoader, SequentialBatches, collate
from tests.processes import ENVIRONMENT, ROOT
from tests.small_dataset import write_small_dataset

SPEC = DatasetSpec("custom", "train.csv", "val.csv")
SHAPES = (ClipShape(4, 16, 16), ClipShape(2, 24, 24))


@pytest.fixture(scope="module")
def splits(small_dataset):
    return load_splits(small_dataset, SPEC)


class Batches:
    """A batch sampler of given batches."""

    def __init__(self, batches: list[list[ClipRequest]]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[ClipRequest]]:
        return iter(self.batches)

    def sizes(self) -> set[tuple[int, ClipShape]]:
        return {(len(batch), batch[0].shape) for batch in self.batches}


def requests(num_batches: int = 8, batch_size: int = 4) -> list[list[ClipRequest]]:
    """Batches of two alternating shapes, from all training videos."""
    numbers = range(num_batches * batch_size)
    return [
        [ClipRequest(i % 32, SHAPES[step % 2], 7 + i // 32) for i in numbers[step * batch_size :][:batch_size]]
        for step in range(num_batches)
    ]


def training(splits, batches: Sequence[Sequence[ClipRequest]], workers: int, start_method=None) -> BatchLoader:
    dataset = ClipDataset(splits.train, RandomClips((1, 2), flip=True, augment=True), seed=5)
    return BatchLoader(dataset, Batches(batches), workers, pin_memory=False, start_method=start_method)


def kept(loader: Iterable[Batch]) -> list[Batch]:
    """The batches with copies of their frames."""
    return [batch._replace(frames=batch.frames.clone()) for batch in loader]


def read(splits, workers: int, start_method: str | None = None) -> list[Batch]:
    return kept(training(splits, requests(), workers, start_method))


def check_equal(ours: Sequence[Batch], theirs: Sequence[Batch]) -> None:
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        for name in ("frames", "labels", "videos", "augmentation_params"):
            assert torch.equal(getattr(mine, name), getattr(other, name)), name
        assert (mine.repeated_frames, mine.bad_videos) == (other.repeated_frames, other.bad_videos)


def test_batches_do_not_depend_on_the_number_of_workers_or_how_they_start(splits):
    """A run must be the same with another number of cores, and on systems that spawn processes instead of forking."""
    expected = read(splits, 0)
    for workers, start_method in ((1, "fork"), (3, "fork"), (6, "fork"), (1, "spawn")):
        check_equal(read(splits, workers, start_method), expected)


@pytest.mark.slow
def test_batches_do_not_depend_on_a_fork_server(splits):
    """The default of Python 3.14."""
    check_equal(read(splits, 2, "forkserver"), read(splits, 0))


def test_batches_are_what_the_dataset_gives_clip_by_clip(splits):
    dataset = ClipDataset(splits.train, RandomClips((1, 2), flip=True, augment=True), seed=5)
    for batch, asked in zip(read(splits, 2), requests(), strict=True):
        clips = torch.cat([dataset[request].frames for request in asked])
        assert torch.equal(batch.frames, clips.permute(0, 4, 1, 2, 3))


def test_a_batch_has_the_layout_that_the_network_expects(splits):
    for batch, request in zip(read(splits, 0), requests(), strict=True):
        shape = request[0].shape
        assert batch.frames.shape == (4, 3, *shape)
        assert batch.frames.dtype == torch.uint8
        assert batch.frames.is_contiguous(memory_format=torch.channels_last_3d)
        assert batch.videos.tolist() == [each.index for each in request]
        assert batch.labels.tolist() == splits.train.labels[batch.videos].tolist()


def test_the_views_of_a_video_are_neighbours_in_the_batch(splits):
    dataset = ClipDataset(splits.val, UniformClips(1, clips=2), seed=0)
    asked = [[ClipRequest(3, SHAPES[0], 0), ClipRequest(5, SHAPES[0], 0)]]
    (batch,) = BatchLoader(dataset, Batches(asked), workers=2, pin_memory=False)
    assert batch.frames.shape == (4, 3, 4, 16, 16)
    assert batch.labels.shape == (2,)
    for row, index in ((0, 3), (2, 5)):
        views = dataset[ClipRequest(index, SHAPES[0], 0)].frames
        assert torch.equal(batch.frames[row : row + 2], views.permute(0, 4, 1, 2, 3))


def damaged(splits, tmp_path, *indices: int) -> ClipDataset:
    """A new dataset in which the videos at `indices` cannot be read."""
    ours = load_splits(write_small_dataset(tmp_path, train=8, val=1), SPEC)
    for index in indices:
        (ours.train.folder(index) / "frames.db").write_bytes(b"no database")
    return ClipDataset(ours.train, RandomClips((1, 2), flip=True), seed=5)


@pytest.mark.parametrize("workers", [0, 2])
def test_clips_that_cannot_be_read_are_left_out_and_reported(splits, tmp_path, workers):
    """Wherever in the batch they are, the others keep their order and labels."""
    dataset = damaged(splits, tmp_path, 0, 2, 5)
    asked = [ClipRequest(index, SHAPES[0], 1) for index in range(7)]
    (batch,) = BatchLoader(dataset, Batches([asked]), workers, pin_memory=False)
    assert batch.videos.tolist() == [1, 3, 4, 6]
    assert batch.labels.tolist() == dataset.videos.labels[batch.videos].tolist()
    clips = torch.cat([dataset[asked[index]].frames for index in batch.videos])
    assert torch.equal(batch.frames, clips.permute(0, 4, 1, 2, 3))
    assert [(bad.video, bad.replacement) for bad in batch.bad_videos] == [(0, None), (2, None), (5, None)]
    assert all("frames.db" in bad.reason for bad in batch.bad_videos)


def test_a_batch_without_any_readable_clip_reports_why(splits, tmp_path):
    dataset = damaged(splits, tmp_path, 3)
    (batch,) = BatchLoader(dataset, Batches([[ClipRequest(3, SHAPES[0], 1)]]), 1, pin_memory=False)
    assert [bad.video for bad in batch.bad_videos] == [3]
    assert len(batch.labels) == len(batch.frames) == 0


def test_counts_and_bad_videos_of_the_clips_add_up():
    lost, replaced = BadVideo(3, "broken", None), BadVideo(4, "broken", 1)
    frames = torch.arange(3, dtype=torch.uint8).view(3, 1, 1, 1, 1, 1).expand(3, 1, 2, 4, 4, 3)
    params = np.eye(3, dtype=np.float32)
    clips = [
        Clip(NO_FRAMES, 0, 0, 2, (), params[0]),
        Clip(NO_FRAMES, -1, 3, 0, (lost,), params[1]),
        Clip(NO_FRAMES, 1, 1, 1, (replaced,), params[2]),
    ]
    batch = collate(frames, clips)
    assert batch.videos.tolist() == [0, 1]
    assert batch.frames.shape == (2, 3, 2, 4, 4)
    assert batch.frames.flatten(1).unique(dim=1).flatten().tolist() == [0, 2]
    assert batch.repeated_frames == 3
    assert batch.bad_videos == (lost, replaced)
    assert batch.augmentation_params.tolist() == [[1, 0, 0], [0, 0, 1]]


@pytest.mark.parametrize("workers", [0, 2])
def test_frames_in_use_are_not_written_to(splits, workers):
    """Otherwise a step would train on a mixture of two batches, and nothing would show it."""
    expected = read(splits, 0)
    loader = iter(training(splits, requests(), workers))
    held = next(loader)
    part = held.frames[::2, :, 1:]  # a view keeps the batch in use
    del held
    following = next(loader)
    assert torch.equal(part, expected[0].frames[::2, :, 1:])
    assert torch.equal(following.frames, expected[1].frames)
    del part, following
    check_equal(kept(loader), expected[2:])


def test_holding_too_many_batches_is_an_error_with_a_remedy(splits):
    with pytest.raises(RuntimeError, match=r"batch.frames.clone\(\)"):
        list(training(splits, requests(), workers=1))


def test_an_iteration_that_is_left_early_does_not_change_the_next(splits):
    """A run may stop in mid-epoch, and training never exhausts an epoch's iterator."""
    expected = read(splits, 0)
    loader = training(splits, requests(), workers=2)
    before = set(multiprocessing.active_children())
    workers = set()
    for stop in (1, 3, 8, 2):
        check_equal(kept(islice(loader, stop)), expected[:stop])
        workers |= set(multiprocessing.active_children()) - before
        assert len(workers) == 2  # the same for all shapes and epochs


def test_small_batches_keep_all_workers_busy(splits):
    """With batches of one clip, each worker must still have clips to read."""
    one_by_one = requests(num_batches=32, batch_size=1)
    batches = kept(training(splits, one_by_one, workers=3))
    assert [batch.videos.tolist() for batch in batches] == [[batch[0].index] for batch in one_by_one]


def mapped_in_dev_shm() -> set[str]:
    """The files in /dev/shm that this process or a child has mapped, semaphores excepted."""
    found: set[str] = set()
    for pid in (os.getpid(), *(child.pid for child in multiprocessing.active_children())):
        found.update(re.findall(r"/dev/shm/(?!sem\.).*", Path(f"/proc/{pid}/maps").read_text()))
    return found


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="reads Linux's /proc")
def test_batches_do_not_use_dev_shm(splits):
    """Docker's 64 MB of /dev/shm end other loaders with a bus error."""
    before = mapped_in_dev_shm()
    batches = iter(training(splits, requests(), workers=2))
    next(batches)
    assert mapped_in_dev_shm() <= before


def test_batches_are_the_same_without_memfd(splits, monkeypatch):
    """As on systems other than Linux."""
    monkeypatch.delattr(os, "memfd_create", raising=False)
    check_equal(read(splits, 2), read(splits, 0))


@given(videos=st.integers(0, 60), batch_size=st.integers(1, 9), ranks=st.integers(1, 5))
def test_an_evaluation_reads_every_video_once_for_any_number_of_ranks(videos, batch_size, ranks):
    """Padding to equal parts, as samplers usually do, counts some videos twice."""
    samplers = [SequentialBatches(videos, batch_size, SHAPES[0], rank, ranks) for rank in range(ranks)]
    batches = [list(sampler) for sampler in samplers]
    asked = [request.index for batch_list in batches for batch in batch_list for request in batch]
    assert sorted(asked) == list(range(videos))
    for sampler, batch_list in zip(samplers, batches, strict=True):
        assert len(sampler) == len(batch_list)
        assert all(1 <= len(batch) <= batch_size for batch in batch_list)
        assert {
            (request.shape, request.epoch, request.max_interval_factor) for batch in batch_list for request in batch
        } <= {(SHAPES[0], 0, 1.0)}


def test_workers_go_on_after_signals_that_the_main_process_handles(splits):
    """A scheduler signals every process of a job: if workers died of it, the main process could not stop in order."""
    before = set(multiprocessing.active_children())
    loader = training(splits, requests(), workers=1)
    batches = iter(loader)
    received = kept(islice(batches, 1))
    (worker,) = set(multiprocessing.active_children()) - before
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP):
        os.kill(worker.pid, number)
    received += kept(batches)
    assert worker.is_alive()
    check_equal(received, read(splits, 0))
    worker.kill()


def ends_in_time(process, seconds=60):
    process.join(seconds)
    return not process.is_alive()


def test_a_worker_that_the_kernel_does_not_end_obeys_sigterm_after_a_time(splits, monkeypatch):
    """On other systems than Linux a worker whose main process was killed may wait in a full pipe for ever."""
    monkeypatch.setattr(loader_module, "signal_at_parent_death", lambda number, parent: False)
    monkeypatch.setattr(loader_module, "SECONDS_AFTER_SIGTERM", 1)
    others = set(multiprocessing.active_children())
    loader = training(splits, requests(), workers=1)
    loader.start_workers()
    (worker,) = set(multiprocessing.active_children()) - others
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler would raise an error
    list(islice(loader, 1))  # the worker has begun
    os.kill(worker.pid, signal.SIGTERM)
    try:
        assert ends_in_time(worker)
        loader.close()
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_a_signal_while_the_workers_end_leaves_none_and_is_not_lost(splits):
    """A second Ctrl-C left processes, with a traceback."""
    loader = training(splits, requests(), workers=2)
    batches = iter(loader)
    next(batches)
    workers, iterator = list(loader._workers), loader._chunks._iterator
    shutdown = iterator._shutdown_workers

    def interrupted():
        signal.raise_signal(signal.SIGINT)
        shutdown()

    iterator._shutdown_workers = interrupted
    before = signal.getsignal(signal.SIGCHLD)
    with pytest.raises(KeyboardInterrupt):
        loader.close()
    assert len(workers) == 2 and not any(worker.is_alive() for worker in workers)
    assert signal.getsignal(signal.SIGCHLD) is before


class Left:
    """Something in a cycle, whose end is noted, as another loader's iteration that ends its processes."""

    def __init__(self, note):
        self.itself, self.note = self, note

    def __del__(self):
        with self.note.open("a") as file:
            file.write(f"{os.getpid()}\n")


def test_a_worker_does_not_collect_the_garbage_of_the_main_process(splits, tmp_path, monkeypatch):
    """Else PyTorch prints a traceback of a loader that a notebook no longer uses."""
    plain = ClipDataset.read

    def read_and_collect(*arguments, **options):
        gc.collect()
        return plain(*arguments, **options)

    monkeypatch.setattr(ClipDataset, "read", read_and_collect)
    gc.collect()
    gc.disable()
    try:
        Left(tmp_path / "note")
        assert len(read(splits, 2)) == 8
    finally:
        gc.enable()
    gc.collect()
    assert (tmp_path / "note").read_text().split() == [str(os.getpid())], "its end was not noted by the workers"


def test_reading_does_not_change_the_global_random_state(splits):
    """Otherwise a run that is resumed in mid-epoch would differ from one that was not stopped."""
    before = torch.get_rng_state()
    read(splits, 0)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("is_early", [False, True])
def test_a_signal_while_the_workers_start_is_not_lost(splits, number, is_early):
    """Python ignores an exception raised in a hook of fork (logging has one), and the run would go on."""
    loader = training(splits, requests(), workers=2)
    interrupts = [True]

    def interrupt() -> None:
        if interrupts:
            interrupts.clear()
            signal.raise_signal(number)

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    os.register_at_fork(after_in_parent=interrupt)  # cannot be unregistered, so it interrupts only once
    before = signal.signal(number, stop)
    try:
        with pytest.raises(KeyboardInterrupt):
            loader.start_workers() if is_early else next(iter(loader))
    finally:
        signal.signal(number, before)
    assert not interrupts
    assert len(loader._workers) == 2  # which end with the program at once
    check_equal(kept(loader), read(splits, 0))


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_workers_that_start_early_wait_for_the_first_iteration(splits, start_method):
    """They would read an evaluation's videos hours before it, or the first batches twice."""
    others = set(multiprocessing.active_children())
    loader = training(splits, requests(), 2, start_method)
    loader.start_workers()
    loader.start_workers()  # does nothing more
    started = set(multiprocessing.active_children()) - others
    assert len(started) == 2
    assert len(loader._memory._reserved) == 0
    for _ in range(2):
        check_equal(kept(loader), read(splits, 0))
        assert set(multiprocessing.active_children()) - others == started
    loader.close()


def test_without_workers_there_is_nothing_to_start(splits):
    loader = training(splits, requests(), 0)
    loader.start_workers()
    check_equal(kept(loader), read(splits, 0))


def test_an_iteration_begins_to_read_before_it_is_asked_for_a_batch(splits):
    """So the first batches of an epoch are read while the epoch before is validated."""
    loader = training(splits, requests(), workers=2)
    iterator = iter(loader)
    assert len(loader._memory._reserved) == 2
    check_equal(kept(iterator), read(splits, 0))


SCRIPT = """
import sys
from pathlib import Path
from data.clips.dataset import ClipDataset
from data.clips.sampling import UniformClips
from data.clips.types import ClipShape
from data.labels.dataset_spec import DatasetSpec
from data.labels.splits import load_splits
from data.loading.loader import BatchLoader, SequentialBatches
videos = load_splits(Path(sys.argv[1]), DatasetSpec("custom", "train.csv", "val.csv")).val
dataset = ClipDataset(videos, UniformClips(2), 1)
loader = BatchLoader(dataset, SequentialBatches(len(videos), 2, ClipShape(4, 32, 32)), 2, pin_memory=False)
for batch in loader:
    pass
if len(sys.argv) > 2:
    raise ValueError("the reason")
print("end", flush=True)
"""


@pytest.mark.parametrize("fails", [False, True])
def test_a_loader_that_a_script_leaves_behind_ends_with_it(small_dataset, tmp_path, fails):
    """Python waited ten seconds for its workers, and a false report of their death hid the real error."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, script, small_dataset, *(["fail"] if fails else [])],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": ENVIRONMENT["PYTHONPATH"]}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == fails
    if fails:
        assert done.stderr.splitlines()[-1] == "ValueError: the reason"
    else:
        assert (done.stdout, done.stderr) == ("end\n", "")


CHILD = """
import multiprocessing, sys
from pathlib import Path
import torch.multiprocessing
from data.clips.dataset import ClipDataset
from data.clips.sampling import UniformClips
from data.clips.types import ClipShape
from data.labels.dataset_spec import DatasetSpec
from data.labels.splits import load_splits
from data.loading.loader import BatchLoader, SequentialBatches

def make():
    videos = load_splits(Path(sys.argv[1]), DatasetSpec("custom", "train.csv", "val.csv")).val
    dataset = ClipDataset(videos, UniformClips(2), 1)
    return BatchLoader(dataset, SequentialBatches(len(videos), 2, ClipShape(4, 32, 32)), 2, pin_memory=False)

def fail(rank, loader=None):
    global left
    left = loader or make()
    next(iter(left))
    raise ValueError("the reason")

if __name__ == "__main__":
    if sys.argv[2] == "torch":
        torch.multiprocessing.spawn(fail, nprocs=1)
    loader = make() if sys.argv[2] == "inherited" else None
    child = multiprocessing.get_context("fork").Process(target=fail, args=(0, loader))
    child.start()
    child.join()
    sys.exit(child.exitcode)
"""


@pytest.mark.parametrize("how", ["fork", "inherited", "torch"])
def test_a_child_process_that_fails_ends_with_its_loader(small_dataset, tmp_path, how):
    """It sent SIGTERM to its workers, which ignore it, and waited for them: for ever, with its reason untold."""
    script = tmp_path / "script.py"
    script.write_text(CHILD)
    done = subprocess.run(
        [sys.executable, script, small_dataset, how],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": ENVIRONMENT["PYTHONPATH"]}, capture_output=True, text=True,
        timeout=200,
    )  # fmt: skip
    assert done.returncode == 1
    assert "ValueError: the reason" in done.stderr
    assert "killed by signal" not in done.stderr


def test_workers_that_have_died_untold_end_without_an_error(splits):
    """After a signal that had ended one, the others stayed, and a page of "Exception ignored" hid what was saved."""
    loader = training(splits, requests(), workers=2)
    batches = iter(loader)
    next(batches)
    workers = list(loader._workers)
    before = signal.signal(signal.SIGCHLD, lambda *_: None)  # as after a signal
    workers[0].kill()
    os.waitid(os.P_PID, workers[0].pid, os.WEXITED | os.WNOWAIT)  # dead, but nobody has asked for its status
    assert before is not None
    signal.signal(signal.SIGCHLD, before)
    loader.close()
    assert not any(worker.is_alive() for worker in workers)


def test_a_full_dev_shm_is_named_with_a_remedy(small_dataset, monkeypatch):
    """In a container /dev/shm may have 64 KB; "the disk is full" would send a user to the wrong disk."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    dataset = ClipDataset(load_splits(small_dataset, SPEC).val, UniformClips(1), 0)
    loader = BatchLoader(dataset, SequentialBatches(7, 2, ClipShape(2, 16, 16)), workers=1, pin_memory=False)
    monkeypatch.setattr(DataLoader, "__iter__", refuse)
    with pytest.raises(DataError, match=r"/dev/shm.*--workers 0"):
        next(iter(loader))


@pytest.mark.parametrize("workers", [0, 2])
def test_all_clips_of_a_video_in_a_batch_are_read_from_one_opening(splits, tmp_path, workers):
    """--repeat-clips pays where opening and searching take the time. The batch is in the order that was asked for."""
    dataset = ClipDataset(splits.train, RandomClips((1, 2), flip=True, augment=True), seed=5)
    batches = [
        [ClipRequest(index, SHAPES[0], 7, repeat=repeat) for repeat in range(3) for index in range(first, first + 4)]
        for first in (0, 4)
    ]
    opened, open_video = tmp_path / "opened", dataset.open_video

    def counting(place):
        with opened.open("a") as file:
            file.write(f"{place}\n")
        return open_video(place)

    alone = [[dataset[request] for request in batch] for batch in batches]
    dataset.open_video = counting
    read = [
        batch._replace(frames=batch.frames.clone()) for batch in BatchLoader(dataset, Batches(batches), workers, False)
    ]
    places = opened.read_text().splitlines()
    assert len(places) == len(set(places)) == 8
    for batch, clips in zip(read, alone, strict=True):
        assert torch.equal(batch.frames, torch.cat([clip.frames for clip in clips]).permute(0, 4, 1, 2, 3))
        assert batch.labels.tolist() == [clip.label for clip in clips]
        assert batch.augmentation_params.tolist() == [clip.augmentation_params.tolist() for clip in clips]
