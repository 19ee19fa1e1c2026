"""The optimiser is the published one, and in fine-tuning each group has its own rate."""

import copy

import pytest
import torch
from torch import nn

from train.optim import OptimizerOptions, create_states, make_optimizer, set_lr


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def add_gradients(net, seed):
    torch.manual_seed(seed)
    net(torch.randn(5, 3)).square().sum().backward()


def update(net, optimizer, seed):
    add_gradients(net, seed)
    set_lr(optimizer, 0.1)
    optimizer.step()
    optimizer.zero_grad()


def test_what_was_loaded_learns_slower_and_what_is_new_at_the_base_rate():
    """The original's code does the opposite of its README: its new classifier hardly learns, the rest is forgotten."""
    net = network()
    optimizer = make_optimizer(net, OptimizerOptions(loaded_lr_factor=0.1), loaded=["0.weight", "0.bias"])
    set_lr(optimizer, 0.5)
    rates = {id(parameter): group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    named = {name: rates[id(parameter)] for name, parameter in net.named_parameters()}
    assert named == pytest.approx({"0.weight": 0.05, "0.bias": 0.05, "2.weight": 0.5, "2.bias": 0.5})
    set_lr(optimizer, 0.1)  # the factor is applied to the schedule's rate, not to the rate before
    assert sorted(group["lr"] for group in optimizer.param_groups) == pytest.approx([0.01, 0.1])


@pytest.mark.parametrize("loaded", [[], ["0.weight", "0.bias", "2.weight", "2.bias"]])
def test_a_group_without_parameters_is_left_out(loaded):
    optimizer = make_optimizer(network(), OptimizerOptions(loaded_lr_factor=0.1), loaded)
    (group,) = optimizer.param_groups
    assert len(group["params"]) == 4
    assert group["lr_share"] == (0.1 if loaded else 1.0)


def test_a_skipped_first_update_leaves_momentum_at_zero_and_weights_alone():
    """The fused kernel does not initialise a momentum buffer that it creates: arbitrary memory reaches the weights."""
    net = network()
    before = copy.deepcopy(net.state_dict())
    optimizer = make_optimizer(net, OptimizerOptions())
    set_lr(optimizer, 0.1)
    add_gradients(net, 0)
    optimizer.found_inf = torch.ones(())
    optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    buffers = [optimizer.state[parameter]["momentum_buffer"] for parameter in net.parameters()]
    assert all((buffer == 0).all() for buffer in buffers)
    optimizer.found_inf = torch.zeros(())
    optimizer.step()
    reference = network()
    add_gradients(reference, 0)
    torch.optim.SGD(reference.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4, nesterov=True).step()
    for mine, other in zip(net.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_frozen_parameters_stay_as_they_are_and_begin_without_momentum(kind):
    """Weight decay alone would move them; and momentum from elsewhere would be their first update."""
    net = network()
    net[0].requires_grad_(False)
    frozen = copy.deepcopy(net[0].state_dict())
    optimizer = make_optimizer(net, OptimizerOptions(kind, weight_decay=0.1))
    for step in range(3):
        update(net, optimizer, step)
    assert all(torch.equal(value, frozen[name]) for name, value in net[0].state_dict().items())
    assert not any(optimizer.state.get(parameter) for parameter in net[0].parameters())
    net[0].requires_grad_(True)
    create_states(optimizer)
    assert all(optimizer.state[parameter] for parameter in net.parameters())
    reference = copy.deepcopy(net)
    fresh = make_optimizer(reference[0], OptimizerOptions(kind, weight_decay=0.1))
    set_lr(fresh, 0.1)
    update(net, optimizer, 3)
    add_gradients(reference, 3)
    fresh.step()
    for mine, other in zip(net[0].parameters(), reference[0].parameters(), strict=True):
        assert torch.equal(mine, other)


@pytest.mark.parametrize(
    ("options", "reference"),
    [
        (OptimizerOptions(),
         lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-4, nesterov=True)),
        (OptimizerOptions(momentum=0.5, weight_decay=0.1),
         lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.5, weight_decay=0.1, nesterov=True)),
        (OptimizerOptions(momentum=0.0, weight_decay=0.0), lambda p: torch.optim.SGD(p, lr=0.1)),
        (OptimizerOptions("adamw", momentum=0.8, weight_decay=0.05),
         lambda p: torch.optim.AdamW(p, lr=0.1, betas=(0.8, 0.999), weight_decay=0.05)),
    ],
    ids=["as the paper trained", "sgd", "plain sgd", "adamw"],
)  # fmt: skip
def test_updates_are_those_of_the_optimiser_named(options, reference):
    ours, theirs = network(), network()
    optimizer, plain = make_optimizer(ours, options), reference(theirs.parameters())
    for step in range(4):
        add_gradients(ours, step)
        add_gradients(theirs, step)
        set_lr(optimizer, 0.1)
        optimizer.step()
        plain.step()
        optimizer.zero_grad()
        plain.zero_grad()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other)
