"""The Trainer on a device: it does not wait, says when the memory is short, and resumes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.gpu.training import ALONE, Trained, random_batch, train_step
from common.errors import TrainingError
from data.augment.params import identity_params
from data.clips.dataset import ClipDataset
from data.clips.sampling import RandomClips, UniformClips
from data.clips.types import ClipShape
from data.labels.dataset_spec import DatasetSpec
from data.labels.splits import load_splits
from data.loading.loader import BatchLoader, SequentialBatches
from network import create_network
from network.resnet3d import Recursion
from network.weights.reading import read_checkpoint
from tests.devices import DEVICES, PRECISIONS, no_waiting, tf32
from tests.plans import make_plan
from tests.tiny_network import TinyNetwork
from train.checkpoint.state import restore_state
from train.schedule.plan import StepSpec
from train.schedule.sampler import ScheduleSampler
from train.step_graphs import REPLAYED_FROM

SHAPE = ClipShape(4, 32, 32)
SPEC = StepSpec(SHAPE, 8, 2, 1.0)  # two sub-batches


@pytest.fixture(scope="module")
def splits(small_dataset):
    return load_splits(small_dataset, DatasetSpec("custom", "train.csv", "val.csv"))


def tiny(gates=True):
    torch.manual_seed(0)
    return TinyNetwork(4, Recursion(gates, "final"))


def plan_of(batch_size=4, epochs=2, videos=32):
    """At a small rate: at the usual one, ten steps of a tiny network turn a last digit into a tenth of the change."""
    return make_plan(
        num_videos=videos,
        clip_length=4,
        clip_size=32,
        batch_size=batch_size,
        lr_base=0.001,
        lr_steps=(),
        end_epoch=epochs,
    )


def distance(weights, others, start):
    """The distance of two states, as a share of the way from `start` to the second."""
    names = [name for name in start if start[name].is_floating_point()]
    apart = sum(float((weights[name] - others[name]).square().sum()) for name in names) ** 0.5
    moved = sum(float((others[name] - start[name]).square().sum()) for name in names) ** 0.5
    return apart / moved


@pytest.mark.parametrize(("device", "precision"), PRECISIONS)
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("graphs", [True, False], ids=["graphs", "launched"])
def test_a_step_of_the_trainer_never_waits_for_the_device(device, precision, accumulate, graphs, tmp_path):
    """Augmentation, sub-batches, gates, scaler, update and scores: one wait among them idles the GPU at every step."""
    trained = Trained(tiny(), torch.device(device), precision, tmp_path)
    trainer = trained.trainer(plan_of(8, videos=256), graphs=graphs)
    trainer.options = replace(trainer.options, accumulate=accumulate)
    batch = random_batch(SPEC, 4, trained.device)
    # Libraries are loaded, algorithms chosen; passes are recorded and compared, which waits.
    before_it = 2 * REPLAYED_FROM if graphs else 2  # a scaler that looks for its scale puts the comparison off
    for _ in range(before_it):
        train_step(trainer, batch, SPEC)
    if device == "cuda" and graphs:
        assert trainer.passes.recordings
    before = [parameter.detach().clone() for parameter in trained.network.parameters()]
    with no_waiting(device):
        train_step(trainer, batch, SPEC)
    assert trained.optimizer_step.bad_step() is None
    assert trainer.progress.global_step == before_it + 1
    if not trained.optimizer_step.take_skipped():  # by the scaler, which still looks for its scale
        changed = [not torch.equal(*pair) for pair in zip(before, trained.network.parameters(), strict=True)]
        assert any(changed)


@pytest.mark.parametrize("device", DEVICES)
def test_three_steps_change_the_weights_as_on_the_cpu(device, tmp_path):
    """Forward pass, backward pass, batch norm over sub-batches and the fused update, all of them."""
    states = []
    for each in ("cpu", device):
        trained = Trained(tiny(gates=False), torch.device(each), "fp32", tmp_path)
        trainer = trained.trainer(plan_of(8))
        batch = random_batch(SPEC, 4, torch.device("cpu"))
        # Without rotations: at the border, a pixel may come from inside on one device and from outside on the other.
        params = torch.from_numpy(np.stack([identity_params()] * SPEC.batch_size))
        batch = batch._replace(frames=batch.frames.to(each), labels=batch.labels.to(each), augmentation_params=params)
        with tf32(False):
            for _ in range(3):
                train_step(trainer, batch, SPEC)
        state = trained.network.state_dict()  # aggregates batch norm's statistics
        states.append({name: value.cpu().clone() for name, value in state.items()})
    assert distance(states[1], states[0], tiny(gates=False).state_dict()) <= (0 if device == "cpu" else 0.02)


@pytest.mark.parametrize("device", DEVICES)
def test_too_little_memory_is_one_error_that_says_what_to_do(device, splits, tmp_path, monkeypatch):
    """Else a user sees a traceback of PyTorch, which knows none of the flags."""
    trained = Trained(tiny(), torch.device(device), "fp32", tmp_path)
    loader, sampler, trainer = with_loader(trained, splits, plan_of(16))
    trainer.epoch_started = 0.0
    ask = too_much_memory if device == "cuda" else out_of_memory
    monkeypatch.setattr(trainer, "augment", lambda clips, params: ask())
    with pytest.raises(TrainingError, match=r"memory does not hold a batch of 16 clips of 4x32x32.*--accumulate 2"):
        trainer.train_epoch(loader, sampler)


def too_much_memory():
    """PyTorch's own error."""
    return torch.empty(2**42, dtype=torch.uint8, device="cuda")


def out_of_memory():
    raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize("device", DEVICES)
def test_a_resumed_run_ends_like_one_that_was_not_stopped(device, splits, tmp_path, monkeypatch):
    """Equal bits on the CPU. On a GPU some sums are made in any order: 20 % of the way since the resume at most."""
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    whole = fitted(splits, device, tmp_path)
    start = read_checkpoint(tmp_path / "network_ep-0001.pth")
    resumed = fitted(splits, device, tmp_path / "resumed", start)
    apart = distance(resumed["weights"], whole["weights"], start["weights"])
    print(f"apart by {apart:.2g} of the way since the resume")
    assert apart <= (0 if device == "cpu" else 0.2)
    assert resumed["progress"]["clips"] == whole["progress"]["clips"]
    assert resumed["position"] == whole["position"]
    assert ("cuda" in resumed["rng"]) == (device == "cuda")
    assert {value.device.type for value in whole["weights"].values()} == {"cpu"}  # as it is read, wherever it was made


def fitted(splits, device, folder, start=None):
    """The last checkpoint of a run of two epochs."""
    network = tiny()
    if start:
        network.load_state_dict(start["weights"])
    trained = Trained(network, torch.device(device), "fp32", folder)
    progress = None
    if start:
        progress = restore_state(start, trained.network, trained.optimizer_step, trained.device, ALONE)
    loader, sampler, trainer = with_loader(trained, splits, plan_of(), progress)
    val = ClipDataset(splits.val, UniformClips(1), seed=0)
    batches = SequentialBatches(len(splits.val), 4, SHAPE)
    trainer.folder.keep = 0  # all
    trainer.fit(loader, sampler, BatchLoader(val, batches, 0, device == "cuda"))
    return read_checkpoint(folder / "network_last.pth")


def with_loader(trained, splits, plan, progress=None):
    sampler = ScheduleSampler(plan, seed=5)
    dataset = ClipDataset(splits.train, RandomClips((1, 2), flip=True, augment=True), seed=5)
    loader = BatchLoader(dataset, sampler, 0, trained.device.type == "cuda")
    return loader, sampler, trained.trainer(plan, progress=progress)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["srtg_r3d_18", "srtg_r2plus1d_18"])
def test_real_networks_train_in_every_precision(name, tmp_path):
    """The tiny network has few of the kernels that the real ones use."""
    spec = StepSpec(ClipShape(8, 64, 64), 4, 1, 1.0)
    for precision in ("fp32", "bf16", "fp16"):
        torch.manual_seed(0)
        trained = Trained(create_network(name, 4, gates=True), torch.device("cuda"), precision, tmp_path)
        trainer = trained.trainer(plan_of())
        batch = random_batch(spec, 4, trained.device)
        for _ in range(2):
            train_step(trainer, batch, spec)
        with no_waiting("cuda"):
            train_step(trainer, batch, spec)
        assert trained.optimizer_step.bad_step() is None
