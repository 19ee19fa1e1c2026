"""The draws of random layers depend on seed, step, rank and part alone."""

import copy

import pytest
import torch

from network.regularisation import set_drop_path, set_dropout
from tests.train.test_step_graphs import STEPS, Setting, StandIn, assert_same
from train.recorder import CudaRecorder
from train.regularisation import KeyedDraws, NoDraws, RegularisationOptions, make_draws

CPU = torch.device("cpu")


def drawn(seed=1, rank=0, step=5, part=0):
    KeyedDraws(seed, rank, CPU).begin(step, part)
    return torch.rand(4)


def test_the_draws_are_those_of_the_key():
    """After a resume, or a validation that drew something, a run would end with other weights."""
    first = drawn()
    torch.rand(7)
    assert torch.equal(drawn(), first)
    others = [drawn(seed=2), drawn(rank=1), drawn(step=6), drawn(part=1)]
    assert not any(torch.equal(other, first) for other in others)


def test_without_random_layers_the_generator_is_left_alone():
    """The golden losses of the default recipe would move."""
    before = torch.get_rng_state()
    draws = make_draws(RegularisationOptions(), 1, 0, CPU)
    assert isinstance(draws, NoDraws)
    draws.begin(3, 0)
    assert torch.equal(torch.get_rng_state(), before)
    assert isinstance(make_draws(RegularisationOptions(dropout=0.1), 1, 0, CPU), KeyedDraws)
    assert isinstance(make_draws(RegularisationOptions(drop_path=0.1), 1, 0, CPU), KeyedDraws)


class DrawnPasses:
    """Passes that begin with the draws of their number."""

    def __init__(self, passes, device):
        self.passes, self.draws, self.count = passes, KeyedDraws(1, 0, device), 0

    def __call__(self, *arguments):
        self.draws.begin(self.count, 0)
        self.count += 1
        return self.passes(*arguments)

    def finish(self):
        self.passes.finish()


@pytest.mark.parametrize("parts", [1, 2])
def test_replayed_passes_draw_what_launched_ones_do(parts):
    """The comparison of both would fail, and no graph would be used; or the replayed network would be another."""
    recorder = StandIn()
    settings = [Setting(), Setting(recorder)]
    for setting in settings:
        set_dropout(setting.network, 0.5)
        set_drop_path(setting.network, 0.5)
        setting.passes = DrawnPasses(setting.passes, CPU)
        for number in range(STEPS):
            setting.step(number, parts)
    assert recorder.replayed > 4
    assert_same(*settings)


@pytest.mark.gpu
def test_cuda_graphs_draw_what_launched_passes_do(caplog, monkeypatch):
    """The seed of the default generator is read when a graph is replayed: without that, each step drops the same."""
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    device = torch.device("cuda")
    launched, replayed = Setting(None, device), Setting(CudaRecorder(device), device)
    passes = replayed.passes
    for setting in (launched, replayed):
        set_dropout(setting.network, 0.5)
        set_drop_path(setting.network, 0.5)
        setting.passes = DrawnPasses(setting.passes, device)
    for number in range(STEPS):
        # Step by step from the same weights: else a gate that flips makes two runs of one.
        copy_tensors(launched.network, replayed.network)
        launched.step(number)
        replayed.step(number)
    assert len(passes.recordings) == 2 and not caplog.records, caplog.text
    torch.testing.assert_close(replayed.losses, launched.losses, rtol=1e-3, atol=1e-3)
    before = copy.deepcopy(launched.network)
    losses = []
    for count in (0, 0, 1):
        copy_tensors(before, replayed.network)
        replayed.passes.count = count
        replayed.step(0)
        losses.append(replayed.losses[-1])
    assert abs(losses[1] - losses[0]) < 1e-3 < abs(losses[2] - losses[0])


def copy_tensors(source, target):
    """Set parameters and buffers where they are, which recordings read."""
    with torch.no_grad():
        for own in ("parameters", "buffers"):
            for one, other in zip(getattr(source, own)(), getattr(target, own)(), strict=True):
                other.copy_(one)
