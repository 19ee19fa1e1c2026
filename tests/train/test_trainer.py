"""The Trainer: steps, evaluation, checkpoints, and what stops it."""

import copy
import errno
import math
import os
import random
import shutil
import signal
import threading
import time

import pytest
import torch
import torch.nn.functional as F

from common.distributed.stop_signal import StoppedBySignal, do_nothing
from common.errors import DataError, TrainingError
from common.ranks import Ranks
from data.augment.augment import Augment
from data.augment.normalise import Normalise
from data.clips.dataset import ClipDataset
from data.clips.sampling import RandomClips, UniformClips
from data.clips.types import ClipShape
from data.labels.dataset_spec import DatasetSpec
from data.labels.splits import load_splits
from data.loading import loader as loader_module
from data.loading.loader import BatchLoader, SequentialBatches
from network.resnet3d import Recursion
from network.sub_batch_norm import use_sub_batch_norm
from network.weights.reading import read_checkpoint
from tests.plans import make_plan
from tests.runs import assert_same
from tests.small_dataset import write_small_dataset
from tests.tiny_network import TinyNetwork
from train import trainer as trainer_module
from train.checkpoint.files import CheckpointFolder
from train.checkpoint.progress import Progress
from train.checkpoint.state import restore_state
from train.debug import check_blocks
from train.freezing import Freezing
from train.losses import LossOptions, make_loss
from train.optim import OptimizerOptions, make_optimizer
from train.optimizer_step import OptimizerStep
from train.schedule.sampler import ScheduleSampler
from train.trainer import Trainer, TrainerOptions

CPU = torch.device("cpu")
ALONE = Ranks(0, 0, 1)
SHAPE = ClipShape(4, 32, 32)
SPEC = DatasetSpec("custom", "train.csv", "val.csv")


@pytest.fixture(scope="module")
def splits(small_dataset):
    return load_splits(small_dataset, SPEC)


def plan_of(splits, **changes):
    options = {
        "clip_length": 4, "clip_size": 32, "batch_size": 4, "lr_base": 0.02, "lr_steps": (2,), "end_epoch": 3,
    } | changes  # fmt: skip
    return make_plan(num_videos=len(splits.train), **options)


class Listener:
    """A callback that keeps the reports and runs a test's function at a step or epoch."""

    def __init__(self, at_step=None, at_epoch=None):
        self.steps, self.logs, self.epochs = 0, [], []
        self.at_step, self.at_epoch = at_step or {}, at_epoch or (lambda report: None)

    def on_step(self, step, steps):
        self.steps += 1
        self.at_step.get(self.steps, lambda: None)()

    def on_log(self, report):
        self.logs.append(report)

    def on_epoch(self, report):
        self.epochs.append(report)
        self.at_epoch(report)

    def close(self):
        pass


class Run:
    """A Trainer with its loaders, from the beginning or from a checkpoint."""

    def __init__(self, splits, folder, *, plan=None, listener=None, start=None, val=None, skip=False, gates=False,
                 workers=0, seed=5, freezing=None, optimizer="sgd", mixing=None, **settings):  # fmt: skip
        torch.manual_seed(0)
        self.network = TinyNetwork(4, Recursion(gates, "final"))
        if start:
            self.network.load_state_dict(start["weights"])
        self.plan = plan or plan_of(splits)
        use_sub_batch_norm(self.network)
        freezing = freezing or Freezing()
        freezing.begin_epoch(self.network, start["position"]["epoch"] if start else 1)
        made = make_optimizer(self.network, OptimizerOptions(optimizer))
        optimizer_step = OptimizerStep(self.network.parameters(), made, CPU, ALONE, "fp32", 0.0)
        progress = restore_state(start, self.network, optimizer_step, CPU, ALONE) if start else Progress()
        self.listener = listener or Listener()
        self.folder = CheckpointFolder(folder, "tiny", keep=0)
        options = TrainerOptions(precision="fp32", on_bad_video="skip" if skip else "stop", **settings)
        self.trainer = Trainer(
            self.network, make_loss(LossOptions()), optimizer_step, self.plan, CPU, ALONE, options, self.folder,
            {"format": 1}, [self.listener], progress, freezing=freezing, mixing=mixing,
        )  # fmt: skip
        self.sampler = ScheduleSampler(self.plan, seed)
        dataset = ClipDataset(splits.train, RandomClips((1, 2), flip=True, augment=True), seed, replace_bad=skip)
        self.loader = BatchLoader(dataset, self.sampler, workers, pin_memory=False)
        self.val_loader = val or validation(splits)

    def fit(self):
        return self.trainer.fit(self.loader, self.sampler, self.val_loader)

    def position(self):
        position = read_checkpoint(self.folder.last)["position"]
        return position["epoch"], position["step"]


def validation(splits, clips=1, batch_size=3, workers=0):
    dataset = ClipDataset(splits.val, UniformClips(1, clips), seed=0)
    return BatchLoader(dataset, SequentialBatches(len(splits.val), batch_size, SHAPE), workers, pin_memory=False)


def final(folder):
    """The last checkpoint without the times."""
    checkpoint = read_checkpoint(folder / "tiny_last.pth")
    checkpoint["progress"].pop("seconds")
    return checkpoint


def test_a_run_reports_every_epoch_and_learns(splits, tmp_path):
    run = Run(splits, tmp_path, log_every=3)
    last = run.fit()
    epochs = run.listener.epochs
    assert [report.epoch for report in epochs] == [1, 2, 3]
    assert epochs[-1] is last
    assert run.listener.steps == 24
    assert [(report.epoch, report.step) for report in run.listener.logs[:4]] == [(1, 3), (1, 6), (1, 8), (2, 3)]
    assert {report.clips for report in epochs} == {32}
    assert {report.train.examples for report in epochs} == {32}
    assert {report.val.examples for report in epochs} == {7}
    assert epochs[2].train.loss < epochs[0].train.loss
    assert [report.lr for report in epochs] == pytest.approx([0.02, 0.02, 0.002])
    logs = run.listener.logs[:3]
    assert sum(report.scores.sums["loss"][0] for report in logs) == pytest.approx(epochs[0].train.sums["loss"][0])
    assert [report.scores.examples for report in logs] == [12, 12, 8]
    assert logs[0].batch_shape == (4, 3, 4, 32, 32)
    assert logs[0].grad_norm > 0
    assert (logs[0].memory_bytes, logs[0].open_gates) == (0, {})


def test_the_best_file_is_of_the_best_epoch(splits, tmp_path):
    run = Run(splits, tmp_path)
    run.fit()
    reports = run.listener.epochs
    best_top1 = -1.0
    for report in reports:
        assert report.is_best == (report.val.top1 > best_top1)
        best_top1 = max(best_top1, report.val.top1)
    best = [report.epoch for report in reports if report.is_best][-1]
    assert read_checkpoint(run.folder.best)["position"]["epoch"] == best + 1
    assert read_checkpoint(run.folder.last)["progress"]["best_top1"] == best_top1


def test_validation_does_not_count_as_time_of_a_step(splits, tmp_path):
    """Otherwise the first report of every epoch shows a slow machine that waits for data."""
    epoch_ends, window_starts = [], []
    listener = Listener(
        at_step={step: lambda: window_starts.append(run.trainer.speed.started) for step in (9, 17)},
        at_epoch=lambda report: epoch_ends.append(time.perf_counter()),
    )
    run = Run(splits, tmp_path, listener=listener)
    run.fit()
    assert len(window_starts) == 2
    assert all(start > end for start, end in zip(window_starts, epoch_ends, strict=False))


@pytest.mark.parametrize("workers", [0, 1])
def test_the_next_epoch_is_read_while_an_epoch_is_validated(splits, tmp_path, workers):
    """Else each epoch begins with a wait for its first batch. It changes no clip of the run."""
    at_validation, plan = [], plan_of(splits, end_epoch=2)

    def note(report):
        at_validation.append((run.sampler.epoch, len(run.loader._memory._reserved) > 0))

    run = Run(splits, tmp_path, plan=plan, workers=workers, listener=Listener(at_epoch=note))
    run.trainer.begin_reading(run.loader, run.sampler, 1)
    run.fit()
    assert at_validation[0] == (2, workers > 0)
    assert at_validation[1][0] == 2  # the plan ends there
    late = Run(splits, tmp_path / "late", plan=plan)
    late.trainer.begin_reading(late.loader, late.sampler, 2)  # which is not where the run begins
    late.fit()
    assert_same(final(tmp_path), final(tmp_path / "late"))


def test_open_gates_are_reported_for_training_steps_only(splits, tmp_path):
    """For each block, without the clips of validation."""
    run = Run(splits, tmp_path, gates=True)
    run.fit()
    for report in run.listener.logs:
        assert set(report.open_gates) == {f"layer{number}.0" for number in (1, 2, 3, 4)}
        assert all(0 <= share <= 1 for share in report.open_gates.values())
        assert {share * 32 % 1 for share in report.open_gates.values()} == {0.0}  # of the epoch's 32 clips


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_an_accumulated_batch_gives_the_update_of_the_whole_with_the_same_sub_batches(splits, tmp_path, parts):
    """A GPU too small for eight base batches must train the same network: every sub-batch keeps its clips."""
    plan = plan_of(splits, long_cycles=True, warmup_epochs=0.0)
    assert plan.step_spec(1, 0).batch_factor == 8
    networks, scores = [], []
    for accumulate in (1, parts):
        run = Run(splits, tmp_path, plan=plan, accumulate=accumulate)
        run.network.train()
        run.trainer.speed.begin_step(0.0, 32)
        run.trainer.train_step(next(iter(run.loader)), plan.step_spec(1, 0))
        networks.append(run.network)
        scores.append(run.trainer.score_sums.take())
    for whole, accumulated in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
        torch.testing.assert_close(accumulated, whole, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(scores[1], scores[0])


def test_a_batch_divides_also_where_parts_and_sub_batches_do_not(tmp_path):
    """Three parts of eight sub-batches: each part then has an equal share of every sub-batch; the run must not fail."""
    splits = load_splits(write_small_dataset(tmp_path / "data", train=48, val=4, frames=4), SPEC)
    plan = plan_of(splits, long_cycles=True, batch_size=6, end_epoch=6)
    assert {phase.batch_factor for phase in plan.phases} >= {8, 4, 1}
    run = Run(splits, tmp_path, plan=plan, accumulate=3)
    run.fit()
    assert {report.train.examples for report in run.listener.epochs} == {48}


def test_accumulated_gradients_are_those_of_the_mean_loss(splits, tmp_path):
    """The sum over parts, or the last part alone, would change the learning rate with --accumulate."""
    run = Run(splits, tmp_path)
    run.network.eval()  # without batch norm the parts are independent
    batch = next(iter(run.loader))
    loss = F.cross_entropy(run.network(Normalise()(batch.frames)), batch.labels)
    loss.backward()
    expected = [parameter.grad.clone() for parameter in run.network.parameters()]
    run.network.zero_grad()
    run.trainer.speed.begin_step(0.0, 4)
    for part in range(2):
        labels = batch.labels[part::2]
        run.trainer._forward_backward(Normalise()(batch.frames[part::2]), labels, labels, 4, is_last=part == 1)
    for parameter, gradient in zip(run.network.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_training_clips_are_augmented_by_their_own_draws_and_validation_never(splits, tmp_path, accumulate):
    run = Run(splits, tmp_path, plan=plan_of(splits, end_epoch=1, lr_steps=()), accumulate=accumulate)
    seen = {True: [], False: []}
    run.network.register_forward_pre_hook(lambda module, inputs: seen[module.training].append(inputs[0]))
    run.fit()
    run.sampler.set_position(1, 0)
    expected = []
    for batch in run.loader:
        clips = Augment()(batch.frames, batch.augmentation_params)
        expected += [clips[part::accumulate] for part in range(accumulate)]
        assert not torch.allclose(clips, Normalise()(batch.frames), atol=0.1)
    assert_same(seen[True], expected)
    for ours, batch in zip(seen[False], run.val_loader, strict=True):
        assert torch.equal(ours, Normalise()(batch.frames))


def poison(network, at_call):
    """Make the network return NaN from its `at_call`-th call in training on."""
    calls = {"made": 0}

    def hook(module, inputs, output):
        calls["made"] += module.training
        return output * float("nan") if module.training and calls["made"] >= at_call else output

    network.register_forward_hook(hook)


@pytest.mark.parametrize("every", [0, 1])
def test_a_loss_that_is_not_finite_stops_the_run_before_the_update(splits, tmp_path, every):
    """If weights of NaN overwrite the good ones, the whole run is lost."""
    run = Run(splits, tmp_path, save_every_steps=every)
    poison(run.network, at_call=11)
    with pytest.raises(TrainingError) as error:
        run.fit()
    for fact in ("step 3 of epoch 2", "batch 4,", "4x32x32", "lr 0.02", "tiny_last.pth", "--lr-base", "--debug-mode"):
        assert fact in str(error.value)
    assert run.position() == ((2, 2) if every else (2, 0))
    saved = read_checkpoint(run.folder.last)
    assert all(value.isfinite().all() for value in saved["weights"].values())
    if every:
        assert all(torch.equal(value, saved["weights"][name]) for name, value in run.network.named_parameters())


def test_the_step_of_a_bad_loss_is_named_also_if_it_is_seen_later(splits, tmp_path):
    """On a GPU the loss is checked only from time to time, perhaps after the end of the epoch."""
    run = Run(splits, tmp_path)
    run.trainer.progress = Progress(epoch=2, step=1, global_step=9)
    run.trainer.optimizer_step.first_bad_step.fill_(7)
    with pytest.raises(TrainingError, match="at step 8 of epoch 1"):
        run.trainer.save()
    run.trainer.optimizer_step.first_bad_step.fill_(8)
    with pytest.raises(TrainingError, match="at step 1 of epoch 2"):
        run.trainer.save()
    assert not run.folder.last.exists()


@pytest.mark.parametrize("name", ["layer2.0.conv1.0.0.weight", "stem.1.running_var"])
def test_a_state_that_is_not_finite_replaces_no_good_one(splits, tmp_path, name):
    """Batch norm's running variance may overflow while loss and gradient are finite; the run was lost with it."""

    def overflow():
        with torch.no_grad():
            run.network.state_dict()[name].view(-1)[-1] = math.inf

    run = Run(splits, tmp_path, listener=Listener(at_step={16: overflow}))
    with pytest.raises(TrainingError) as error:
        run.fit()
    assert error.value.on_all_ranks
    for fact in (f"weights.{name}", "step 8 of epoch 2", "tiny_last.pth is the last good state"):
        assert fact in str(error.value)
    assert run.position() == (2, 0)
    for path in tmp_path.glob("*.pth"):
        assert all(value.isfinite().all() for value in read_checkpoint(path)["weights"].values())
    assert [report.epoch for report in run.listener.epochs] == [1]


def test_a_validation_that_is_not_finite_is_neither_best_nor_the_end_of_an_epoch(splits, tmp_path):
    run = Run(splits, tmp_path)
    run.network.register_forward_hook(
        lambda module, inputs, output: output * math.nan if not module.training and run.listener.epochs else output
    )
    with pytest.raises(TrainingError, match=r"after epoch 2, the validation loss is nan.*tiny_ep-0001\.pth"):
        run.fit()
    assert run.position() == (2, 8)
    assert [path.name for path in run.folder.epoch_files()] == ["tiny_ep-0001.pth"]
    assert read_checkpoint(run.folder.best)["position"] == {"epoch": 2, "step": 0}


def test_only_a_state_of_this_run_is_called_good(splits, tmp_path):
    """A file that another, diverged run has left is no remedy."""
    (tmp_path / "tiny_last.pth").write_bytes(b"of an earlier run")
    run = Run(splits, tmp_path)
    poison(run.network, at_call=1)
    with pytest.raises(TrainingError, match="no state has been saved yet"):
        run.fit()


def test_a_callback_that_fails_costs_neither_state_nor_epochs(splits, tmp_path):
    def fail(*_):
        raise ValueError("a spreadsheet was here")

    run = Run(splits, tmp_path, listener=Listener(at_step={3: fail}, at_epoch=fail))
    run.fit()
    assert run.position() == (4, 0)
    assert [report.epoch for report in run.listener.epochs] == [1, 2, 3]


def test_a_run_killed_between_its_last_step_and_the_epoch_s_file_ends_like_another(splits, tmp_path):
    """At each of these moments another file is missing."""

    class Killed(BaseException):
        pass

    whole = Run(splits, tmp_path / "whole", plan=plan_of(splits, long_cycles=True, end_epoch=2, lr_steps=(1,)))
    whole.fit()
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    for moment in ("validate", "_epoch_report"):
        folder = tmp_path / moment
        run = Run(splits, folder, plan=whole.plan)

        def kill(*_):
            raise Killed

        setattr(run.trainer, moment, kill)
        with pytest.raises(Killed):
            run.fit()
        resumed = Run(splits, folder, plan=whole.plan, start=read_checkpoint(run.folder.last))
        resumed.fit()
        assert resumed.listener.steps == whole.listener.steps - whole.plan.steps_in_epoch(1)
        assert_same(final(folder), final(tmp_path / "whole"))
        assert sorted(path.name for path in folder.iterdir()) == names
        for ours, theirs in zip(resumed.listener.epochs, whole.listener.epochs, strict=True):
            assert (ours.train, ours.val, ours.is_best) == (theirs.train, theirs.val, theirs.is_best)


def test_debug_mode_names_the_block_where_it_begins(splits, tmp_path):
    run = Run(splits, tmp_path)
    check_blocks(run.network)
    run.network(torch.zeros(2, 3, 4, 32, 32))
    with torch.no_grad():
        run.network.layer3[0].conv1[0][0].weight[0, 0] = float("inf")
    with pytest.raises(TrainingError, match=r"layer3\.0\b.*\(2, 6,"):
        run.network(torch.ones(2, 3, 4, 32, 32))


KINDS = {
    "fixed": {},
    "short": {"short_cycles": True},
    "long": {"long_cycles": True},
    "both": {"long_cycles": True, "short_cycles": True},
    "per-epoch": {"long_cycles": True, "short_cycles": True, "per_epoch": True},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_taken_up_at_any_step_ends_as_the_whole_run(splits, tmp_path, kind):
    """If a checkpoint lacks position, momentum, sub-batch statistics or counts, the rest of the run changes.

    The base batch is so small that every shape has several steps. Some of all checkpoints are tried.
    """
    plan = plan_of(splits, batch_size=2, clip_size=24, end_epoch=2, lr_steps=(1,), **KINDS[kind])
    whole = Run(splits, tmp_path / "whole", plan=plan, save_every_steps=1)
    saved = []
    save = whole.folder.save

    def keep(checkpoint, *args):
        saved.append(copy.deepcopy(checkpoint))
        save(checkpoint, *args)

    whole.folder.save = keep
    whole.fit()
    middle = [checkpoint for checkpoint in saved if checkpoint["position"]["step"]]
    if "long_cycles" in KINDS[kind]:
        assert any(checkpoint["batch_norm"] for checkpoint in middle)
    for number, checkpoint in enumerate((middle[0], *random.sample(middle[1:], 2))):
        resumed = Run(splits, tmp_path / str(number), plan=plan, start=checkpoint)
        resumed.fit()
        assert_same(final(tmp_path / str(number)), final(tmp_path / "whole"), str(checkpoint["position"]))


def send(number):
    return lambda: os.kill(os.getpid(), number)


def test_steps_go_on_while_a_checkpoint_is_written_and_do_not_change_it(splits, tmp_path):
    """The file must hold the state of one step to the bit, however long the disk takes."""
    gate = threading.Event()
    whole = Run(splits, tmp_path / "whole", save_every_steps=3)
    run = Run(splits, tmp_path / "slow", save_every_steps=3, listener=Listener(at_step={5: gate.set}))
    save = run.folder.save

    def save_slowly(checkpoint, *args):
        assert gate.wait(60), "the steps wait for the file"
        save(checkpoint, *args)
        if not (tmp_path / "third").exists():
            shutil.copytree(tmp_path / "slow", tmp_path / "third")

    run.folder.save = save_slowly
    run.fit()
    third = read_checkpoint(tmp_path / "third" / "tiny_last.pth")
    assert third["position"] == {"epoch": 1, "step": 3}
    Run(splits, tmp_path / "third", start=third).fit()
    whole.fit()
    for folder in ("slow", "third"):
        assert_same(final(tmp_path / folder), final(tmp_path / "whole"))


def test_a_checkpoint_that_cannot_be_written_ends_the_run_soon(splits, tmp_path):
    """The writing thread's error must not be lost: the run would train on and keep nothing."""
    (tmp_path / "tiny_last.pth").mkdir()
    run = Run(splits, tmp_path, save_every_steps=3)
    run.listener.at_step = {4: lambda: wait_for_thread("checkpoint")}
    with pytest.raises(TrainingError, match=r"tiny_last\.pth cannot be written: .*--resume-epoch auto"):
        run.fit()
    assert run.listener.steps in (3, 4)


@pytest.mark.parametrize("val_frequency", [1, 3])
@pytest.mark.parametrize("epoch", [2, 3])
def test_an_epoch_whose_files_cannot_be_written_is_finished_when_the_run_resumes(
    splits, tmp_path, monkeypatch, val_frequency, epoch
):
    """Its file and the run's best state were lost for ever, with one line; at the last epoch there was no best."""
    settings = {"val_frequency": val_frequency, "best_by": "loss"}
    whole = Run(splits, tmp_path / "whole", **settings)
    whole.fit()
    run = Run(splits, tmp_path / "full", **settings)
    copy = shutil.copyfile

    def fill(source, target):
        if f"ep-{epoch:04d}" in target.name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return copy(source, target)

    monkeypatch.setattr(shutil, "copyfile", fill)
    run.listener.at_step = {8 * epoch + 1: lambda: wait_for_thread("checkpoint")}
    with pytest.raises(TrainingError, match=rf"ep-{epoch:04d}\.pth cannot be written: the disk is full"):
        run.fit()
    monkeypatch.undo()
    assert run.position() == (epoch, 8)
    resumed = Run(splits, tmp_path / "full", start=read_checkpoint(run.folder.last), **settings)
    resumed.fit()
    assert [report.epoch for report in resumed.listener.epochs] == [2, 3][epoch - 2 :]
    assert [path.name for path in resumed.folder.files()] == [path.name for path in whole.folder.files()]
    for ours, theirs in zip(resumed.folder.files(), whole.folder.files(), strict=True):
        one, other = read_checkpoint(ours), read_checkpoint(theirs)
        one["progress"].pop("seconds")
        other["progress"].pop("seconds")
        assert_same(one, other)


def test_a_signal_after_a_full_disk_loses_no_best_state(splits, tmp_path, monkeypatch):
    """The state that the signal saves is a later one: a resumed run would never write the file of the best."""
    run = Run(splits, tmp_path)
    copy, is_full = shutil.copyfile, threading.Event()

    def fill(source, target):
        if "ep-0001" in target.name and not is_full.is_set():
            is_full.set()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return copy(source, target)

    monkeypatch.setattr(shutil, "copyfile", fill)
    monkeypatch.setattr(run.trainer.writer, "check", lambda: None)  # the write fails just as the signal comes
    run.listener.at_step = {9: lambda: is_full.wait(60) and send(signal.SIGTERM)()}
    with pytest.raises(StoppedBySignal):
        run.fit()
    assert run.position()[0] == 2
    assert read_checkpoint(run.folder.best)["position"] == {"epoch": 2, "step": 0}
    assert read_checkpoint(run.folder.epoch_file(1))["position"] == {"epoch": 2, "step": 0}


def wait_for_thread(name):
    for thread in threading.enumerate():
        if thread.name == name:
            thread.join(60)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_after_a_signal_the_run_saves_and_goes_on_later_as_if_nothing_had_been(splits, tmp_path, number):
    whole = Run(splits, tmp_path / "whole")
    whole.fit()
    run = Run(splits, tmp_path / "cut", listener=Listener(at_step={11: send(number)}))
    with pytest.raises(StoppedBySignal):
        run.fit()
    assert run.position() in ((2, 3), (2, 4))  # the step in progress is completed, and perhaps the next
    resumed = Run(splits, tmp_path / "cut", start=read_checkpoint(run.folder.last))
    resumed.fit()
    assert_same(final(tmp_path / "cut"), final(tmp_path / "whole"))
    assert [report.epoch for report in resumed.listener.epochs] == [2, 3]
    for ours, theirs in zip(resumed.listener.epochs, whole.listener.epochs[1:], strict=True):
        assert (ours.train, ours.val, ours.clips, ours.lr) == (theirs.train, theirs.val, theirs.clips, theirs.lr)


def reading_process(run):
    (worker,) = run.loader._workers
    return worker


def test_a_step_may_outlast_the_signal_that_its_reading_processes_get_too(splits, tmp_path, monkeypatch):
    """`timeout` and torchrun signal all processes of a run.

    After ten seconds the one that read clips ended, an error was raised wherever the run was, and nothing was saved.
    """
    monkeypatch.setattr(loader_module, "SECONDS_AFTER_SIGTERM", 1)
    run = Run(splits, tmp_path, workers=1, listener=Listener())

    def take_long_after_a_signal():
        os.kill(reading_process(run).pid, signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        reading_process(run).join(2.5)  # the time in which it would end

    run.listener.at_step = {3: take_long_after_a_signal}
    with pytest.raises(StoppedBySignal):
        run.fit()
    assert run.position() in ((1, 3), (1, 4))
    assert reading_process(run).is_alive()
    run.loader.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_run_saves_though_its_reading_process_has_died_of_the_signal(splits, tmp_path, number):
    """The state is whole between two steps: to lose it for a batch that is not needed any more helps nobody."""
    run = Run(splits, tmp_path, workers=1)
    calls = []

    def lose_the_worker(*_):
        calls.append(1)
        if len(calls) == 3:  # in the middle of the third step
            os.kill(os.getpid(), number)
            reading_process(run).kill()
            reading_process(run).join(60)

    run.network.register_forward_hook(lose_the_worker)
    run.loader.start_workers()
    before = signal.getsignal(signal.SIGCHLD)
    try:
        with pytest.raises(StoppedBySignal) as stopped:
            run.fit()
        assert stopped.value.is_saved and stopped.value.name == number.name
        assert run.position()[0] == 1 and run.position()[1] >= 3
        # torch's would still report the death, at the end of any other process, while the run ends.
        assert signal.getsignal(signal.SIGCHLD) is do_nothing
        run.loader.close()
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_a_signal_during_validation_does_not_wait_for_its_end(splits, tmp_path):
    """Validation of a large dataset takes longer than a scheduler waits. The epoch's steps must not be repeated."""
    whole = Run(splits, tmp_path / "whole")
    whole.fit()
    run = Run(splits, tmp_path / "cut")
    calls = []

    def signal_in_evaluation(module, inputs, output):
        if not module.training:
            calls.append(1)
            if len(calls) == 4:  # the first batch of the second epoch's validation
                os.kill(os.getpid(), signal.SIGTERM)

    run.network.register_forward_hook(signal_in_evaluation)
    with pytest.raises(StoppedBySignal):
        run.fit()
    assert len(calls) in (4, 5)
    assert run.position() == (2, 8)
    assert [report.epoch for report in run.listener.epochs] == [1]
    resumed = Run(splits, tmp_path / "cut", start=read_checkpoint(run.folder.last))
    resumed.fit()
    assert resumed.listener.steps == 8
    assert [report.epoch for report in resumed.listener.epochs] == [2, 3]
    assert resumed.listener.epochs[0].train == whole.listener.epochs[1].train
    assert_same(final(tmp_path / "cut"), final(tmp_path / "whole"))


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_validation_whose_reading_stands_still_can_be_stopped(splits, tmp_path, monkeypatch, epoch):
    """It hung without a word, and the signal had no effect."""
    monkeypatch.setattr(trainer_module, "SECONDS_TO_READ", 0.5)
    val = validation(splits, workers=1)
    val.start_workers()
    run = Run(splits, tmp_path, val=val)
    (worker,) = val._workers

    def stand_still():
        os.kill(worker.pid, signal.SIGSTOP)
        threading.Timer(1.0, send(signal.SIGTERM)).start()

    run.listener.at_step = {8 * epoch: stand_still}
    before = signal.getsignal(signal.SIGCHLD)
    try:
        with pytest.raises(StoppedBySignal) as stopped:
            run.fit()
        assert stopped.value.is_saved and run.position() == (epoch, 8)
        val.close()
        assert not worker.is_alive()
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_a_second_signal_does_not_damage_the_file(splits, tmp_path, monkeypatch):
    """A scheduler may send another signal while the checkpoint is written."""
    save = torch.save

    def save_among_signals(checkpoint, path):
        os.kill(os.getpid(), signal.SIGTERM)
        save(checkpoint, path)
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.getsignal(signal.SIGTERM)
    run = Run(splits, tmp_path, listener=Listener(at_step={3: send(signal.SIGTERM)}))
    monkeypatch.setattr(torch, "save", save_among_signals)
    with pytest.raises(StoppedBySignal):
        run.fit()
    assert run.position() in ((1, 3), (1, 4))
    assert signal.getsignal(signal.SIGTERM) is before  # after training the old handler is back


def test_an_epoch_is_reported_before_it_is_saved(splits, tmp_path):
    """A run killed in between reports the epoch again. In the other order its row would be lost."""

    class Killed(BaseException):  # a callback's Exception would not end the run
        pass

    def kill(report):
        if report.epoch == 2:
            raise Killed

    run = Run(splits, tmp_path, listener=Listener(at_epoch=kill))
    with pytest.raises(Killed):
        run.fit()
    resumed = Run(splits, tmp_path, start=read_checkpoint(run.folder.last))
    resumed.fit()
    reported = [report.epoch for report in (*run.listener.epochs, *resumed.listener.epochs)]
    assert sorted(set(reported)) == [1, 2, 3]


@pytest.mark.parametrize("val_frequency", [1, 5])
def test_a_folder_of_another_run_gets_neither_rows_nor_states(splits, tmp_path, val_frequency):
    """The folder was moved during epoch 2, and another run has begun in its place."""

    def refuse():
        raise TrainingError("no longer the folder of this run")

    run = Run(splits, tmp_path, val_frequency=val_frequency)
    steps = run.plan.steps_in_epoch(1)
    run.listener.at_step = {steps + 1: lambda: setattr(run.folder, "check", refuse)}
    with pytest.raises(TrainingError, match="no longer the folder"):
        run.fit()
    assert [report.epoch for report in run.listener.epochs] == [1]
    assert run.position() == (2, 0)


def saves_of(splits, tmp_path, **settings):
    """The positions at which a run saves, and its epochs' files."""
    run = Run(splits, tmp_path, **settings)
    positions = []
    save = run.folder.save

    def note(checkpoint, *args):
        positions.append(tuple(checkpoint["position"].values()))
        save(checkpoint, *args)

    run.folder.save = note
    run.fit()
    return positions, [path.name for path in run.folder.epoch_files()]


def test_checkpoints_come_when_they_were_asked_for(splits, tmp_path):
    ends = [(1, 8), (2, 0), (2, 8), (3, 0), (3, 8), (4, 0)]  # before and after each validation
    all_files = [f"tiny_ep-000{epoch}.pth" for epoch in (1, 2, 3)]
    assert saves_of(splits, tmp_path / "plain") == (ends, all_files)
    positions, _ = saves_of(splits, tmp_path / "steps", save_every_steps=3)
    assert positions == sorted([*ends, *((epoch, step) for epoch in (1, 2, 3) for step in (3, 6))])
    positions, _ = saves_of(splits, tmp_path / "minutes", save_every_minutes=1e-9)
    assert positions == sorted([*ends, *((epoch, step) for epoch in (1, 2, 3) for step in range(1, 8))])
    # The last epoch always has its file and its validation; `last` is written after every epoch.
    assert saves_of(splits, tmp_path / "second", save_frequency=2) == (ends, all_files[1:])
    without = [(2, 0), (3, 0), (3, 8), (4, 0)]
    assert saves_of(splits, tmp_path / "val", val_frequency=4) == (without, all_files)


def test_validation_comes_every_so_many_epochs_and_at_the_end(splits, tmp_path):
    run = Run(splits, tmp_path, val_frequency=2)
    run.fit()
    assert [report.val is not None for report in run.listener.epochs] == [False, True, True]


def naive_scores(network, splits, clips):
    """Mean loss, top-1 and number of videos, one video at a time, its views averaged as probabilities."""
    dataset = ClipDataset(splits.val, UniformClips(1, clips), seed=0)
    (loader,) = [SequentialBatches(len(splits.val), 1, SHAPE)]
    losses, hits = [], 0
    network = copy.deepcopy(network).eval()
    with torch.no_grad():
        for (request,) in loader:
            clip = dataset[request]
            if clip.is_lost:
                continue
            probabilities = network(Normalise()(clip.frames.permute(0, 4, 1, 2, 3))).softmax(1).mean(0)
            losses.append(-math.log(probabilities[clip.label]))
            hits += int(probabilities.argmax()) == clip.label
    return sum(losses) / len(losses), 100 * hits / len(losses), len(losses)


@pytest.mark.parametrize(("clips", "batch_size"), [(1, 3), (3, 2)])
def test_evaluation_counts_every_video_once_and_averages_its_views(splits, tmp_path, clips, batch_size):
    run = Run(splits, tmp_path, plan=plan_of(splits, end_epoch=1, lr_steps=()))
    run.fit()
    scores = run.trainer.validate(validation(splits, clips, batch_size))
    loss, top1, videos = naive_scores(run.network, splits, clips)
    assert (scores.loss, scores.top1, scores.examples) == (pytest.approx(loss, rel=1e-4), top1, videos)
    assert videos == 7


def test_evaluation_leaves_the_network_as_it_was(splits, tmp_path):
    """An update or batch statistics from validation videos would be training on them."""
    run = Run(splits, tmp_path)
    before = copy.deepcopy(run.network.state_dict())
    run.trainer.validate(validation(splits))
    assert_same(dict(run.network.state_dict()), dict(before))
    assert all(parameter.grad is None for parameter in run.network.parameters())


def damaged_splits(tmp_path, train=(), val=()):
    """A new dataset in which the videos with these numbers cannot be read."""
    splits = load_splits(write_small_dataset(tmp_path / "data", frames=4), SPEC)
    for videos, numbers in ((splits.train, train), (splits.val, val)):
        for number in numbers:
            (videos.folder(number) / "frames.db").write_bytes(b"no database")
    return splits


def test_a_bad_video_stops_the_run_with_its_file(tmp_path):
    splits = damaged_splits(tmp_path, train=[9])
    run = Run(splits, tmp_path)
    with pytest.raises(DataError, match=r"train_009/frames\.db .*--on-bad-video skip"):
        run.fit()
    # The steps before it are saved, and a run with the mended video ends as if it had never been damaged.
    assert run.position() == (1, run.listener.steps)
    assert run.listener.steps > 0
    mended = load_splits(write_small_dataset(tmp_path / "mended", frames=4), SPEC)
    Run(mended, tmp_path, start=read_checkpoint(run.folder.last)).fit()
    Run(mended, tmp_path / "whole").fit()
    assert_same(final(tmp_path), final(tmp_path / "whole"))


def test_bad_videos_are_replaced_and_listed_up_to_the_limit(tmp_path):
    splits = damaged_splits(tmp_path, train=[3, 9, 20])
    run = Run(splits, tmp_path, skip=True, bad_video_limit=12)
    run.fit()
    for report in run.listener.epochs:
        assert {bad.video for bad in report.bad_videos} == {3, 9, 20}  # each epoch asks for all videos
        assert all(bad.replacement is not None for bad in report.bad_videos)
        assert report.train.examples == 32
    with pytest.raises(DataError, match=r"frames\.db .*\b\d bad videos.*--bad-video-limit allows 2\b"):
        Run(splits, tmp_path / "limited", skip=True, bad_video_limit=2).fit()


def test_if_no_video_can_be_read_the_run_stops(tmp_path):
    splits = damaged_splits(tmp_path, train=range(32))
    with pytest.raises(DataError, match=r"frames\.db .*--dataset"):
        Run(splits, tmp_path, skip=True, bad_video_limit=100).fit()


@pytest.mark.parametrize(("clips", "batch_size"), [(1, 3), (3, 1)])
def test_a_bad_video_in_validation_is_left_out_of_the_scores(tmp_path, clips, batch_size):
    """If another video were read in its place, that one would count twice."""
    splits = damaged_splits(tmp_path, val=[0, 6])
    run = Run(splits, tmp_path, skip=True, plan=plan_of(splits, end_epoch=1, lr_steps=()), bad_video_limit=2,
              val=validation(splits, clips, batch_size))  # fmt: skip
    val = run.fit().val
    assert [(bad.video, bad.replacement) for bad in val.bad_videos] == [(0, None), (6, None)]
    assert val.examples == 5 and val.show_videos() == "5 of 7 videos; 2 could not be read"
    loss, top1, videos = naive_scores(run.network, splits, clips)
    assert (val.loss, val.top1, videos) == (pytest.approx(loss, rel=1e-4), top1, 5)


@pytest.mark.parametrize("skip", [False, True])
def test_a_bad_video_in_validation_does_not_cost_the_epoch(tmp_path, skip):
    """It is found after hours of training; a resumed run must not train them again."""
    splits = damaged_splits(tmp_path, val=[5, 6])
    run = Run(splits, tmp_path, skip=skip, bad_video_limit=1)
    with pytest.raises(DataError, match=r"validation.*frames\.db"):
        run.fit()
    assert run.position() == (1, 8)
    resumed = Run(splits, tmp_path, start=read_checkpoint(run.folder.last), skip=True)
    resumed.fit()
    assert [report.epoch for report in resumed.listener.epochs] == [1, 2, 3]
    assert resumed.listener.steps == 16
    assert [report.train.examples for report in resumed.listener.epochs] == [32, 32, 32]


def test_frames_repeated_in_short_videos_are_reported(tmp_path):
    splits = load_splits(write_small_dataset(tmp_path / "data", frames=3, train=8, val=2), SPEC)
    run = Run(splits, tmp_path, plan=plan_of(splits, end_epoch=1, lr_steps=()))
    assert run.fit().repeated_frames == 8
