"""When the weights are updated, and when not."""

import copy

import pytest
import torch
from torch import nn

from common.ranks import Ranks
from train.optim import OptimizerOptions, make_optimizer
from train.optimizer_step import OptimizerStep

CPU = torch.device("cpu")
BASE = 0.1


def network(device=CPU):
    torch.manual_seed(0)
    return nn.Linear(3, 2).to(device)


def updater_of(net, precision="fp32", clip_grad=0.0, device=CPU, optimizer=None):
    optimizer = optimizer or make_optimizer(net, OptimizerOptions())
    return OptimizerStep(net.parameters(), optimizer, device, Ranks(0, 0, 1), precision, clip_grad)


OPTIMIZERS_OF_ALL_KINDS = {
    "sgd": lambda net: make_optimizer(net, OptimizerOptions()),
    "adamw": lambda net: make_optimizer(net, OptimizerOptions("adamw")),
    # One that the device cannot tell to skip an update.
    "not fused": lambda net: torch.optim.RMSprop([{"params": net.parameters(), "lr_share": 1.0}], momentum=0.9),
}


def step(net, optimizer_step, global_step, factor=1.0):
    """A step on fixed inputs whose loss is multiplied by `factor`."""
    inputs = torch.linspace(-1, 1, 12, device=net.weight.device).view(4, 3)
    loss = net(inputs).square().mean() * factor
    optimizer_step.backward(loss)
    optimizer_step.update(loss.detach(), BASE, global_step)


def state(net):
    return copy.deepcopy(net.state_dict())


def is_same(net, before):
    return all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_step_without_scaler_is_plain_sgd():
    net, reference = network(), network()
    optimizer_step = updater_of(net)
    optimizer = torch.optim.SGD(reference.parameters(), lr=BASE, momentum=0.9, weight_decay=1e-4, nesterov=True)
    for number in range(3):
        step(net, optimizer_step, number)
        reference(torch.linspace(-1, 1, 12).view(4, 3)).square().mean().backward()
        norm = torch.stack([parameter.grad.norm() for parameter in reference.parameters()]).norm()
        torch.testing.assert_close(optimizer_step.grad_norm, norm)
        optimizer.step()
        optimizer.zero_grad()
    torch.testing.assert_close(net.weight, reference.weight)
    torch.testing.assert_close(net.bias, reference.bias)
    assert optimizer_step.bad_step() is None
    assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("kind", OPTIMIZERS_OF_ALL_KINDS)
def test_from_a_loss_that_is_not_finite_on_the_weights_stay_and_the_step_is_known(kind, precision, factor):
    """One update from NaN makes all weights NaN, and the host checks only from time to time, many steps later."""
    net = network()
    optimizer_step = updater_of(net, precision, optimizer=OPTIMIZERS_OF_ALL_KINDS[kind](net))
    optimizer_step.scaler = torch.amp.GradScaler("cpu", enabled=precision == "fp16", init_scale=4.0)
    start = state(net)
    step(net, optimizer_step, 0)
    assert not is_same(net, start)
    before, buffers = state(net), copy.deepcopy(optimizer_step.optimizer.state_dict())
    step(net, optimizer_step, 1, factor)
    step(net, optimizer_step, 2)
    step(net, optimizer_step, 3, factor)
    assert is_same(net, before)
    for key, values in optimizer_step.optimizer.state_dict()["state"].items():
        assert all(torch.equal(value, buffers["state"][key][name]) for name, value in values.items())
    assert optimizer_step.bad_step() == 1


class BesideABadOne(Ranks):
    """One of two ranks; the loss of the other one is not finite."""

    def maximum(self, tensor):
        return torch.maximum(tensor, torch.ones_like(tensor))


def test_a_bad_loss_of_another_rank_stops_this_one_too():
    """If only some ranks update, they train different networks from then on."""
    net = network()
    before = state(net)
    optimizer_step = OptimizerStep(
        net.parameters(), make_optimizer(net, OptimizerOptions()), CPU, BesideABadOne(0, 0, 2), "fp32", 0.0
    )
    step(net, optimizer_step, 3)
    assert is_same(net, before)
    assert optimizer_step.bad_step() == 3


def test_a_gradient_that_is_not_finite_under_a_finite_loss_counts_like_the_loss():
    """The loss would show it only a step later, when the weights are already lost and perhaps saved."""
    net = network()
    optimizer_step = updater_of(net)
    before = state(net)
    net.weight.register_hook(lambda gradient: gradient * float("inf"))
    step(net, optimizer_step, 7)
    assert optimizer_step.bad_step() == 7
    assert is_same(net, before)


def test_the_scaler_skips_an_overflow_lowers_the_scale_and_goes_on():
    """In half precision overflows are normal: they are counted and are no errors."""
    net, reference = network(), network()
    optimizer_step, plain = updater_of(net, "fp16"), updater_of(reference)
    optimizer_step.scaler = torch.amp.GradScaler(
        "cpu", init_scale=2.0**127
    )  # the scaled gradient overflows, not the loss
    before = state(net)
    step(net, optimizer_step, 0, 1e3)
    assert is_same(net, before)
    assert optimizer_step.scaler.get_scale() == 2.0**126
    assert optimizer_step.bad_step() is None
    assert optimizer_step.take_skipped() == 1
    assert optimizer_step.take_skipped() == 0
    optimizer_step.scaler.update(2.0**10)
    step(net, optimizer_step, 1)
    step(reference, plain, 0)
    torch.testing.assert_close(net.weight, reference.weight)
    assert optimizer_step.take_skipped() == 0


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_clipping_limits_the_norm_of_the_true_gradient(precision):
    """Clipping the scaled gradient would clip nearly all of it. The logged norm is that before clipping."""
    net, reference = network(), network()
    optimizer_step, plain = updater_of(net, precision, clip_grad=0.05), updater_of(reference)
    optimizer_step.scaler = torch.amp.GradScaler("cpu", enabled=precision == "fp16", init_scale=1024.0)
    step(net, optimizer_step, 0)
    step(reference, plain, 0)
    norm = float(plain.grad_norm)
    assert norm > 0.05
    torch.testing.assert_close(optimizer_step.grad_norm, plain.grad_norm)
    start = network()
    decay = 1e-4 * start.weight
    # Without the decay the first update is -lr * 1.9 times the gradient.
    ours = (net.weight - start.weight) / (-BASE * 1.9) - decay
    theirs = (reference.weight - start.weight) / (-BASE * 1.9) - decay
    torch.testing.assert_close(ours, theirs * (0.05 / norm), rtol=1e-4, atol=1e-6)


def test_a_gradient_below_the_limit_is_left_alone():
    net, reference = network(), network()
    step(net, updater_of(net, clip_grad=1e3), 0)
    step(reference, updater_of(reference), 0)
    assert torch.equal(net.weight, reference.weight)


def test_state_is_restored(tmp_path):
    """Momentum and scale; a run that changes its precision starts with a new scale."""
    net = network()
    optimizer_step = updater_of(net, "fp16")
    for number in range(2):
        step(net, optimizer_step, number)
    optimizer_step.scaler.update(512.0)
    torch.save([net.state_dict(), optimizer_step.state_dict()], tmp_path / "state")
    weights, saved = torch.load(tmp_path / "state", weights_only=True)
    other = network()
    other.load_state_dict(weights)
    resumed = updater_of(other, "fp16")
    resumed.load_state_dict(saved)
    assert resumed.scaler.get_scale() == 512.0
    step(net, optimizer_step, 2)
    step(other, resumed, 2)
    assert torch.equal(net.weight, other.weight)
    updater_of(network(), "fp32").load_state_dict(saved)
    plain = updater_of(network(), "fp32").state_dict()
    updater_of(network(), "fp16").load_state_dict(plain)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_on_a_gpu_no_update_comes_from_a_bad_loss_and_the_host_need_not_wait(precision):
    device = torch.device("cuda")
    net = network(device)
    optimizer_step = updater_of(net, precision, clip_grad=1.0, device=device)
    for number in range(20):  # the scaler finds its scale
        step(net, optimizer_step, number)
    assert optimizer_step.bad_step() is None
    before = state(net)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step(net, optimizer_step, 20, float("nan"))
        step(net, optimizer_step, 21)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert is_same(net, before)
    assert optimizer_step.bad_step() == 20
