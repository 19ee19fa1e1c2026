"""A loader for a notebook: the same clips whatever reads them, and nothing is left of it however a loop ends."""

import gc
import importlib.util
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from rich.progress import track
from torch import Tensor
from torch.utils.data import Subset

from common.normalisation import NORMALISATIONS, SRTG
from data import ClipLoader, DataError, Normalise, open_split
from data.clips.by_index import Clips
from data.loading.loader import BatchLoader
from tests.processes import ROOT
from tests.small_dataset import write_small_dataset

SCRIPT = ROOT / "tests" / "scripts" / "loop_in_a_notebook.py"


def opened(dataset: Path, split: str = "train", **changed: object) -> Clips:
    shape = {"clip_length": 4, "clip_size": 16, "interval": 2, "report": lambda line: None}
    return open_split(dataset, split, **{**shape, **changed})


@pytest.fixture
def clips(small_dataset) -> Clips:
    return opened(small_dataset)


def read(loader: ClipLoader) -> tuple[Tensor, Tensor]:
    frames, labels = zip(*loader, strict=True)
    return torch.cat(frames), torch.cat(labels)


def alone(clips: Clips, epoch: int) -> tuple[Tensor, Tensor]:
    """The clips of an epoch, read one by one."""
    clips.set_epoch(epoch)
    frames, labels = zip(*clips, strict=True)
    clips.set_epoch(0)
    return torch.stack(frames), torch.tensor(labels)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_clips_of_one_epoch_after_the_other_normalised(clips, workers):
    """The network must see what a look at `clips[i]` shows."""
    expected = [alone(clips, epoch) for epoch in range(3)]
    loader = ClipLoader(clips, batch_size=5, workers=workers, shuffle=False)
    assert len(loader) == 7
    for epoch in (0, 1, 2, 1):
        if epoch == 1:
            clips.set_epoch(1)
        frames, labels = read(loader)
        assert frames.dtype == torch.float32 and torch.equal(frames, Normalise()(expected[epoch][0]))
        assert torch.equal(labels, expected[epoch][1])


def test_each_epoch_has_every_video_once_in_an_order_of_its_own(clips):
    """Whatever the number of workers, and again after `set_epoch`."""
    expected = [Normalise()(alone(clips, epoch)[0]) for epoch in (0, 1)]
    orders = []
    for workers in (0, 2):
        loader = ClipLoader(clips, batch_size=8, workers=workers)
        clips.set_epoch(0)
        for known in expected:
            frames, labels = read(loader)
            order = [next(i for i in range(32) if torch.equal(frame, known[i])) for frame in frames]
            assert labels.tolist() == clips.labels[order].tolist()
            orders.append(order)
    assert orders[:2] == orders[2:] and orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(32))


def test_a_validation_is_in_order(small_dataset):
    """Else predictions could not be matched with `clips.path`."""
    clips = opened(small_dataset, "val")
    for _ in range(2):
        assert read(ClipLoader(clips, batch_size=3, workers=1))[1].tolist() == clips.labels.tolist()


def test_a_subset_is_read_alone_and_clip_by_clip_the_same(clips):
    """To leave out a bad video, or to try a loop on a few."""
    chosen = Subset(Subset(clips, [9, 3, 30, -1]), [2, 0, 3])
    frames, labels = read(ClipLoader(chosen, batch_size=2, workers=1, shuffle=False))
    assert torch.equal(frames, Normalise()(alone(clips, 0)[0][[30, 9, 31]]))
    assert labels.tolist() == clips.labels[[30, 9, 31]].tolist()
    assert len(ClipLoader(Subset(clips, []), 2)) == 0 and list(ClipLoader(Subset(clips, []), 2)) == []
    for other in ("MINE", Subset([1, 2], [0])):
        with pytest.raises(DataError, match="open_split"):
            ClipLoader(other, 2)


def test_augmented_clips_are_others_but_normalised_alike(small_dataset, clips):
    plain, augmented = (
        torch.cat([frames for frames, _ in ClipLoader(opened(small_dataset), 8, workers=0, augment=augment)])
        for augment in (False, True)
    )
    changed = ((plain - augmented).abs() > 0.01).flatten(1).any(dim=1).float().mean()
    assert 0.4 < changed < 1
    assert (plain - augmented).abs().mean() < 0.5
    with pytest.raises(DataError, match="augment"):
        ClipLoader(opened(small_dataset, "val"), 8, augment=True)


def test_randaugment_is_applied_or_refused(small_dataset):
    """A user takes the clips for augmented ones."""
    plain, augmented = (
        torch.cat(
            [frames for frames, _ in ClipLoader(opened(small_dataset, randaugment=word), 8, 0, augment=bool(word))]
        )
        for word in (None, "8x30")
    )
    assert ((plain - augmented).abs() > 0.01).flatten(1).any(dim=1).all()
    with pytest.raises(DataError, match="augment=True"):
        ClipLoader(opened(small_dataset, randaugment="2x9"), 8)
    for split, word in (("val", "2x9"), ("train", "2"), ("train", (2, 9))):
        with pytest.raises(DataError, match="randaugment"):
            opened(small_dataset, split, randaugment=word)


def test_clips_are_normalised_as_the_network_expects(small_dataset):
    """Weights of other projects were trained on other pixels."""
    val = opened(small_dataset, "val")
    (plain, _), (other, _) = (
        next(iter(ClipLoader(val, 2, workers=0, normalisation=each))) for each in (SRTG, NORMALISATIONS["hara2018"])
    )
    levels = [
        frames * torch.tensor(each.std).view(1, 3, 1, 1, 1) + torch.tensor(each.mean).view(1, 3, 1, 1, 1)
        for frames, each in ((plain, SRTG), (other, NORMALISATIONS["hara2018"]))
    ]
    torch.testing.assert_close(*levels, rtol=0, atol=1e-3)
    assert not torch.equal(plain, other)


def test_batches_may_be_kept(clips):
    """Their memory is not that of the workers, so `list(loader)` is no mistake."""
    kept = list(ClipLoader(clips, batch_size=2, workers=2, shuffle=False))
    assert torch.equal(torch.cat([frames for frames, _ in kept]), Normalise()(alone(clips, 0)[0]))


def test_a_progress_bar_takes_it(clips):
    assert sum(len(labels) for _, labels in track(ClipLoader(clips, 12, workers=0), disable=True)) == 32


def test_a_loop_that_is_left_does_not_change_the_next(clips):
    """Whoever looks at one batch in a cell must get whole epochs in the next."""
    expected = [alone(clips, epoch) for epoch in (0, 1)]
    loader = ClipLoader(clips, batch_size=4, workers=2, shuffle=False)
    for _ in loader:
        break
    assert torch.equal(read(loader)[0], Normalise()(expected[1][0]))


def test_two_loops_at_once_are_refused(clips):
    """Each would get some batches of the other's epoch."""
    loader = ClipLoader(clips, batch_size=4, workers=1)
    first, second = iter(loader), iter(loader)
    assert sum(1 for _ in second) == 8
    with pytest.raises(RuntimeError, match="second ClipLoader"):
        next(first)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_video_that_cannot_be_read_stops_the_loop_with_one_line(tmp_path, workers):
    """It must neither be left out in silence nor end in a traceback of torch's workers."""
    clips = opened(write_small_dataset(tmp_path, train=4, val=1, classes=("run",)))
    (clips.path(2) / "frames.db").write_bytes(b"no database")
    loader = ClipLoader(clips, 2, workers=workers, shuffle=False)
    batches = iter(loader)
    next(batches)
    with pytest.raises(DataError) as error:
        next(batches)
    assert str(clips.path(2)) in str(error.value) and "\n" not in str(error.value)
    assert next(iter(loader))[0].shape == (2, 3, 4, 16, 16)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"batch_size": 0}, "batch_size 0"),
        ({"batch_size": 2.5}, "batch_size 2.5"),
        ({"workers": -1}, "workers -1"),
        ({"device": "gpu"}, "gpu"),
        ({"device": "cuda:99"}, "cuda:99"),
    ],
)
def test_a_mistake_is_one_line(clips, changed, told):
    with pytest.raises(DataError, match=told) as error:
        ClipLoader(clips, **{"batch_size": 4, **changed})
    assert "\n" not in str(error.value)


def test_a_transform_is_not_dropped_in_silence(small_dataset):
    with pytest.raises(DataError, match="transform"):
        ClipLoader(opened(small_dataset, transform=torch.flip), 4)


def test_ctrl_c_while_a_batch_is_awaited_ends_the_workers_and_the_next_loop_is_whole(clips, monkeypatch):
    """Half of a worker's message may have been read: the loop after it would hang, or get a wrong batch."""
    expected = Normalise()(alone(clips, 1)[0])
    loader = ClipLoader(clips, batch_size=4, workers=2, shuffle=False)
    batches = iter(loader)
    before = set(multiprocessing.active_children())
    next(batches)
    workers = set(multiprocessing.active_children()) - before
    with monkeypatch.context() as patch:
        patch.setattr(BatchLoader, "_join", lambda *_: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            next(batches)
    assert len(workers) == 2 and not any(worker.is_alive() for worker in workers)
    assert torch.equal(read(loader)[0], expected)


def test_a_loader_in_a_reference_cycle_ends_its_workers_as_any_other(clips):
    """An exception makes such cycles. Python then stood still for ten seconds for each worker, at some later moment."""
    loader = ClipLoader(clips, batch_size=4, workers=2)
    before = set(multiprocessing.active_children())
    batches = iter(loader)
    next(batches)
    workers = set(multiprocessing.active_children()) - before
    loader.cycle = batches
    del loader, batches
    gc.collect()
    assert [worker.exitcode for worker in workers] == [0, 0]  # not ended by a signal


@pytest.mark.parametrize("ending", ["broken off", "deleted while iterated", "never iterated", "in an error"])
def test_nothing_is_left_and_nothing_is_said_when_python_ends(small_dataset, server, tmp_path, ending):
    """A notebook's kernel hung for seconds when it was stopped, or printed the death of its workers."""
    process = server.start(SCRIPT, small_dataset, ending, folder=tmp_path)
    if ending == "in an error":
        assert process.wait(30) == 1
        assert process.stderr.splitlines()[-1] == "ValueError: the reason"
        assert process.stdout == ""
    else:
        assert (process.wait(30), process.stdout) == (0, "end\n")
        assert not [line for line in process.stderr.splitlines() if "classes" not in line and "labels" not in line]
    assert process.members() == []


def test_a_loop_is_interrupted_as_in_a_notebook(small_dataset, server, tmp_path):
    """The signal goes to the whole group of processes; the loop after it is a whole epoch."""
    process = server.start(SCRIPT, small_dataset, "interrupted", folder=tmp_path)
    process.wait_for("ready")
    os.killpg(process.pid, signal.SIGINT)
    assert (process.wait(30), process.stdout) == (0, "ready\nend\n")
    assert "Traceback" not in process.stderr
    assert process.members() == []


PROGRAM = """
import sys
from data import ClipLoader, open_split
clips = open_split(sys.argv[1], "train", clip_length=4, clip_size=16, interval=2)
loader = ClipLoader(clips, batch_size=4)
for frames, labels in loader:
    break
print(sum(len(labels) for _, labels in loader))
"""
INTERPRETERS = {
    "stdin": ([sys.executable, "-"], PROGRAM),
    "-c": ([sys.executable, "-c", PROGRAM], ""),
    "IPython": ([sys.executable, "-m", "IPython", "--colors=NoColor", "-c", PROGRAM], ""),
}


@pytest.mark.parametrize("name", INTERPRETERS)
def test_no_main_guard_is_needed(small_dataset, name):
    """A notebook has no file, and no `if __name__ == "__main__"`."""
    if name == "IPython" and importlib.util.find_spec("IPython") is None:
        pytest.skip("IPython is not installed")
    command, program = INTERPRETERS[name]
    done = subprocess.run(
        [*command, str(small_dataset)], cwd=ROOT, input=program, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "32"
