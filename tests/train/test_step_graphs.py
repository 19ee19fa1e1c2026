"""Recorded passes train what passes train that are launched operation by operation.

CUDA graphs need a GPU. On the CPU a stand-in takes their place, which runs again what it was to record.
"""

import copy
from contextlib import contextmanager, nullcontext

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from common.ranks import Ranks
from network.resnet3d import Recursion
from network.sub_batch_norm import set_num_splits, use_sub_batch_norm
from tests.devices import PRECISIONS, no_waiting
from tests.tiny_network import TinyNetwork
from train.flat_gradients import FlatGradients
from train.losses import LossOptions, make_loss
from train.optim import OptimizerOptions, make_optimizer
from train.optimizer_step import OptimizerStep
from train.passes import Computation, EagerPasses
from train.recorder import CudaRecorder
from train.step_graphs import REPLAYED_FROM, RecordedPasses

ALONE = Ranks(0, 0, 1)
SHAPES = ((8, 3, 4, 32, 32), (16, 3, 4, 24, 24))  # as in a short cycle
STEPS = 2 * (REPLAYED_FROM + 3)


class StandIn:
    """Runs again what it was to record, within `around()`. With `refuses`, it raises."""

    def __init__(self, around=lambda: nullcontext, refuses=False):
        self.around, self.refuses = around, refuses
        self.recorded = self.replayed = 0
        self.share = 0.0

    def record(self, run):
        if self.refuses:
            raise RuntimeError("operation not permitted when stream is capturing\nmore")
        self.recorded += 1
        context = self.around()

        def replay():
            self.replayed += 1
            with context():
                run()

        return replay

    def share_of_memory(self):
        return self.share

    def release(self):
        self.share = 0.0


def recorder_of(device):
    return StandIn() if device.type == "cpu" else CudaRecorder(device)


class Setting:
    """A network with batch norm and gates, and its passes."""

    def __init__(self, recorder=None, device="cpu", precision="fp32", ranks=ALONE):
        self.device = torch.device(device)
        torch.manual_seed(0)
        self.network = TinyNetwork(4, Recursion(True, "final")).to(self.device)
        use_sub_batch_norm(self.network)
        self.network.train()
        optimizer = make_optimizer(self.network, OptimizerOptions())
        self.update = OptimizerStep(self.network.parameters(), optimizer, self.device, ranks, precision, 0.0)
        loss = make_loss(LossOptions(label_smoothing=0.1))
        computation = Computation(self.network, loss, self.update, self.device, precision)
        self.passes = RecordedPasses(computation, ranks, recorder) if recorder else EagerPasses(computation, ranks)
        self.losses = []

    def step(self, number, parts=1, rank=0, between=lambda: None):
        """A step at one of the shapes."""
        shape = SHAPES[number % 2]
        generator = torch.Generator().manual_seed(1000 * rank + number)
        clips = torch.randn(shape, generator=generator).to(self.device)
        labels = torch.randint(4, shape[:1], generator=generator).to(self.device)
        losses = []
        for part in range(parts):
            is_last = part == parts - 1
            given = clips[part::parts].contiguous(), labels[part::parts]
            outputs = self.passes(*given, len(clips), is_last, between)
            losses.append(outputs.loss_sum / len(clips))
        self.passes.finish()
        self.update.update(torch.stack(losses).sum(), 0.01, number)
        self.losses.append(float(torch.stack(losses).sum()))

    def state(self):
        return {name: value.clone() for name, value in self.network.state_dict().items()}


def assert_same(one, other):
    assert one.losses == other.losses
    for (name, value), right in zip(one.state().items(), other.state().values(), strict=True):
        assert torch.equal(value, right), name
    assert one.network.open_gate_fractions() == other.network.open_gate_fractions()


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_replayed_steps_are_those_of_single_operations(parts):
    """A gradient that is lost, added twice or of other clips, or statistics that count twice, would train otherwise."""
    eager, recorded = Setting(), Setting(recorder := StandIn())
    for number in range(STEPS):
        eager.step(number, parts)
        recorded.step(number, parts)
    assert recorder.replayed > 2 * recorder.recorded > 0
    assert_same(recorded, eager)


def test_other_sub_batches_are_recorded_anew():
    """A recording uses the statistics of the sub-batches that there were; others have other memory."""
    eager, recorded = Setting(), Setting(recorder := StandIn())
    counts = []
    for splits in (2, 1, 2):
        for setting in (eager, recorded):
            set_num_splits(setting.network, splits)
            setting.passes.forget()
        for number in range(STEPS):
            eager.step(number)
            recorded.step(number)
        counts.append(recorder.recorded)
    assert counts == [4, 8, 12]  # two passes of two shapes
    assert_same(recorded, eager)


@pytest.mark.parametrize("change", ["buffers", "frozen"])
def test_an_epoch_that_begins_with_other_tensors_is_recorded_anew(change):
    """Whoever moves a network or freezes a part of it between epochs would else train what it was before."""
    recorded = Setting(recorder := StandIn())
    for number in range(STEPS):
        recorded.step(number)
    recorded.passes.begin_epoch()
    assert recorder.recorded == 4 and recorded.passes.recordings
    if change == "buffers":
        set_num_splits(recorded.network, 2)
    else:
        recorded.network.stem.requires_grad_(False)
    recorded.passes.begin_epoch()
    assert not recorded.passes.recordings
    before = recorded.network.stem[0].weight.clone()
    for number in range(STEPS):
        recorded.step(number)
    assert recorder.recorded == 8
    assert torch.equal(recorded.network.stem[0].weight, before) == (change == "frozen")


def spoiling(setting, what):
    """What a wrong recording could do."""
    network, gradients = setting.network, setting.passes.gradients

    def around():
        recorded_weights = [parameter.detach().clone() for parameter in network.parameters()]

        @contextmanager
        def context():
            own = [parameter.detach().clone() for parameter in network.parameters()]
            if what == "stale weights":
                set_all(network.parameters(), recorded_weights)
            yield
            set_all(network.parameters(), own)
            if what == "gradient":
                gradients.flat.mul_(1.1)
            elif what == "buffer":
                network.stem[1].running_mean.add_(1)
            elif what == "a gradient of the recursion":
                for view, parameter in zip(gradients.views, gradients.parameters, strict=True):
                    if parameter is network.layer4[0].sar.lstm.bias_hh_l0:
                        view.zero_()

        return context

    return around


def set_all(tensors, values):
    for tensor, value in zip(tensors, values, strict=True):
        tensor.data.copy_(value)  # not noticed by autograd


WRONG = ("gradient", "a gradient of the recursion", "buffer", "stale weights")


@pytest.mark.parametrize("what", [*WRONG, "refused", "memory"])
@pytest.mark.parametrize("parts", [1, 2])
def test_what_cannot_be_recorded_rightly_is_not_replayed(what, parts, caplog):
    """The run goes on as if nothing had been recorded, and says why."""
    eager, recorded = Setting(), Setting(recorder := StandIn())
    if what == "refused":
        recorder.refuses = True
    elif what == "memory":
        recorder.share = 0.95
    else:
        recorder.around = spoiling(recorded, what)
    for number in range(STEPS):
        eager.step(number, parts)
        recorded.step(number, parts)
    assert_same(recorded, eager)
    assert recorder.recorded <= 4 and not recorded.passes.recordings
    assert recorded.passes.memory is None, "of a batch of clips"
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1


def test_a_hook_is_still_called(caplog):
    """Whoever watches a layer or its gradient would see nothing any more; who changes them would train otherwise."""
    eager, recorded = Setting(), Setting(recorder := StandIn())
    calls = []

    def twice(weight):
        weight.grad.mul_(2)

    for setting in (eager, recorded):
        setting.network.layer2.register_forward_hook(lambda module, inputs, output: calls.append(module))
        setting.network.fc.weight.register_post_accumulate_grad_hook(twice)
    for number in range(STEPS):
        eager.step(number)
        recorded.step(number)
    assert len(calls) == 2 * STEPS and not recorder.recorded
    assert_same(recorded, eager)
    assert "hooks" in caplog.text


def test_a_hook_that_comes_later_is_called_from_the_next_epoch_on():
    recorded, calls = Setting(StandIn()), []
    for number in range(STEPS):
        recorded.step(number)
    recorded.network.layer2.register_forward_hook(lambda module, inputs, output: calls.append(module))
    recorded.passes.begin_epoch()
    assert not recorded.passes.recordings and not recorded.passes.is_recording
    for number in range(STEPS):
        recorded.step(number)
    assert len(calls) == STEPS


def test_a_parameter_without_a_gradient_stays_as_it_is(caplog):
    """A gradient of zero in place of none would let weight decay take it away."""
    eager, recorded = Setting(), Setting(StandIn())
    for setting in (eager, recorded):
        setting.network.unused = nn.Parameter(torch.ones(3))
        setting.passes.begin_epoch()
        optimizer = make_optimizer(setting.network, OptimizerOptions(weight_decay=0.1))
        setting.update = OptimizerStep(setting.network.parameters(), optimizer, setting.device, ALONE, "fp32", 0.0)
        setting.passes.computation.optimizer_step = setting.update
        for number in range(STEPS):
            setting.step(number)
        assert torch.equal(setting.network.unused, torch.ones(3))
    assert_same(recorded, eager)
    assert "gradient" in caplog.text


def test_a_batch_that_failed_leaves_no_gradient():
    """An out-of-memory error that is survived, as in an estimate, must not add to the next step."""
    eager, recorded = Setting(), Setting(StandIn())
    with pytest.raises(RuntimeError):
        clips, labels = torch.randn(SHAPES[0]), torch.zeros(8, dtype=torch.int64)
        recorded.passes(clips, labels, 16, False, lambda: None)
        recorded.passes(clips[:, :, :, :, :0], labels, 16, True, lambda: None)
    for buffer, value in zip(recorded.network.buffers(), eager.network.buffers(), strict=True):
        buffer.copy_(value)
    for number in range(STEPS):
        eager.step(number)
        recorded.step(number)
    assert_same(recorded, eager)


def fail_once(setting, at):
    """The backward pass of the pass number `at` finds no memory, unless nothing is recorded."""
    passes, backward = setting.passes, setting.update.backward
    count = 0

    def backward_or_not(loss):
        nonlocal count
        count += 1
        if count == at:
            assert passes.recordings
            raise torch.OutOfMemoryError("no memory")
        backward(loss)

    setting.update.backward = backward_or_not


@pytest.mark.parametrize("parts", [1, 2])
def test_a_shape_that_finds_no_memory_beside_recordings_is_trained_without(parts, caplog):
    """A run that fits the memory without graphs must not end at the first step of a new phase."""
    eager, recorded = Setting(), Setting(StandIn())
    marks = []
    for number in (*range(0, STEPS, 2), *range(1, STEPS, 2)):  # one shape after the other
        if number == 1:
            assert recorded.passes.recordings and not recorded.passes.on_trial
            fail_once(recorded, parts)
        eager.step(number, parts)
        recorded.step(number, parts, between=lambda: marks.append(None))
    assert_same(recorded, eager)
    assert not recorded.passes.is_recording and not recorded.passes.recordings
    assert len(marks) == parts * STEPS
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1


def test_numbers_that_are_not_finite_are_no_difference(caplog):
    """Under the scaler of fp16, the first gradients overflow: the recording has to wait, not to be given up."""
    recorded = Setting(recorder := StandIn())
    with torch.no_grad():
        kept = recorded.network.fc.weight.clone()
        recorded.network.fc.weight.fill_(float("nan"))
    for number in range(STEPS):
        recorded.step(number)
    assert not recorder.recorded and not caplog.records
    with torch.no_grad():
        recorded.network.fc.weight.copy_(kept)
        for buffer in recorded.network.buffers():
            buffer.copy_(torch.ones_like(buffer))
    recorded.update.first_bad_step.fill_(-1)
    for number in range(STEPS):
        recorded.step(number)
    assert recorder.recorded == 4


def test_random_operations_draw_the_same(caplog):
    """A recording with dropout is compared at the draws of the step; else it would seem to be wrong."""
    recorded = Setting(recorder := StandIn())
    recorded.network.fc = nn.Sequential(nn.Dropout(0.5), recorded.network.fc)
    for number in range(STEPS):
        recorded.step(number)
    assert recorder.recorded == 4 and not caplog.records


def test_flat_gradients_have_the_layout_of_their_parameters():
    """The fused optimiser takes a slow way where a gradient lies otherwise than its weight."""
    convolution = nn.Conv3d(8, 16, 3).to(memory_format=torch.channels_last_3d)
    linear = nn.Linear(5, 3)
    linear.bias.requires_grad_(False)
    gradients = FlatGradients([*convolution.parameters(), *linear.parameters()])
    assert [view.stride() for view in gradients.views] == [each.stride() for each in gradients.parameters]
    assert len(gradients.views) == 3
    gradients.attach()
    (convolution(torch.randn(2, 8, 3, 3, 3)).sum() + linear(torch.randn(4, 5)).sum()).backward()
    expected = copy.deepcopy([each.grad for each in gradients.parameters])
    assert float(gradients.flat.norm()) == pytest.approx(float(torch.stack([each.norm() for each in expected]).norm()))
    assert [view.data_ptr() for view in gradients.views] == [each.grad.data_ptr() for each in gradients.parameters]


def train_rank(rank, folder, case):
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    torch.set_num_threads(1)
    recorder = StandIn(refuses=case == "one refuses" and rank == 1)
    eager, recorded = (Setting(each, ranks=Ranks(rank, rank, 2)) for each in (None, recorder))
    numbers = range(STEPS)
    if case == "one finds no memory":
        numbers = (*range(0, STEPS, 2), *range(1, STEPS, 2))
    for number in numbers:
        if case == "one finds no memory" and rank == 1 and number == 1:
            fail_once(recorded, 2)
        eager.step(number, 2, rank)
        recorded.step(number, 2, rank)
    if case == "all record":
        if rank == 0:  # as a callback could, which only the first rank has
            norm = recorded.network.stem[1]
            norm.running_mean = norm.running_mean.clone()
        for setting in (eager, recorded):
            setting.passes.begin_epoch()
            for number in range(STEPS):
                setting.step(number, 2, rank)
        assert recorder.replayed > 2 * recorder.recorded > 0
    else:
        assert not recorded.passes.recordings
    torch.testing.assert_close(recorded.losses, eager.losses, rtol=1e-5, atol=1e-6)
    for (name, value), right in zip(recorded.state().items(), eager.state().values(), strict=True):
        torch.testing.assert_close(value, right, rtol=1e-4, atol=1e-5, msg=name)
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.parametrize("case", ["all record", "one refuses", "one finds no memory"])
def test_two_ranks_train_as_with_launched_passes(tmp_path, case):
    """Ranks whose gradients are not averaged train two networks; ranks that do not agree to record wait for ever."""
    mp.spawn(train_rank, (str(tmp_path), case), nprocs=2)


@pytest.mark.gpu
def test_a_recording_that_fails_leaves_the_device_as_it_was():
    """Else the run goes on in another stream, beside its own copies of batches, and nothing can be drawn any more."""
    device = torch.device("cuda")
    recorder, stream = CudaRecorder(device), torch.cuda.current_stream()

    def wait():
        assert float(torch.rand(1, device=device)) < 2

    with pytest.raises(RuntimeError):
        recorder.record(wait)
    assert torch.cuda.current_stream() == stream
    assert float(torch.rand(2, device=device).sum()) < 3
    before, side = torch.cuda.memory_reserved(), torch.cuda.Stream()
    for _ in range(20):  # as batches that are copied in a stream of their own
        with torch.cuda.stream(side):
            batch = torch.empty(100 << 20, dtype=torch.uint8, device=device)
        batch.record_stream(torch.cuda.current_stream())
        del batch
        torch.cuda.synchronize()
    assert torch.cuda.memory_reserved() - before < 500 << 20
    recorded = Setting(CudaRecorder(device), device)
    for number in range(STEPS):
        recorded.step(number)
    assert len(recorded.passes.recordings) == 2


@pytest.mark.parametrize(("device", "precision"), PRECISIONS)
def test_replays_on_a_device_train_the_network(device, precision, caplog, monkeypatch):
    """The real recordings, at two shapes in turn and with other sub-batches; nothing in a replayed step waits."""
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)  # else a gate that flips makes two runs of one
    device = torch.device(device)
    eager, recorded = Setting(None, device, precision), Setting(recorder_of(device), device, precision)
    for splits in (1, 2):
        for setting in (eager, recorded):
            set_num_splits(setting.network, splits)
            setting.passes.forget()
        for number in range(STEPS):
            eager.step(number)
            recorded.step(number)
    assert not caplog.records, caplog.text
    assert len(recorded.passes.recordings) == 2
    torch.testing.assert_close(recorded.losses, eager.losses, rtol=0.02, atol=0.02)
    clips, labels = torch.randn(SHAPES[0], device=device), torch.zeros(8, dtype=torch.int64, device=device)
    with no_waiting(device.type):
        recorded.passes(clips, labels, 8, True, lambda: None)
        recorded.passes.finish()
