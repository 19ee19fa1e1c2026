"""The optimiser is the published one, and in fine-tuning each group has its own rate."""

import copy

import pytest
import torch
from torch import nn

from common.errors import DataError
from train.optim import OptimizerOptions, load_optimizer_state, make_optimizer, set_lr


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def add_gradients(net, seed):
    torch.manual_seed(seed)
    net(torch.randn(5, 3)).square().sum().backward()


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


@pytest.mark.parametrize("is_old", [False, True])
def test_shares_of_the_rate_survive_saving(tmp_path, is_old):
    """A resumed fine-tuning must go on with its two rates."""
    optimizer = make_optimizer(network(), OptimizerOptions(loaded_lr_factor=0.25), ["0.weight"])
    saved = optimizer.state_dict()
    if is_old:  # as in older checkpoints
        for group in saved["param_groups"]:
            group["lr_factor"] = group.pop("lr_share")
    torch.save(saved, tmp_path / "state")
    other = make_optimizer(network(), OptimizerOptions(loaded_lr_factor=1.0), ["0.weight"])
    load_optimizer_state(other, torch.load(tmp_path / "state", weights_only=True))
    set_lr(other, 1.0)
    assert [group["lr"] for group in other.param_groups] == [1.0, 0.25]


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


def test_frozen_parameters_are_left_out():
    net = network()
    net[0].weight.requires_grad_(False)
    optimizer = make_optimizer(net, OptimizerOptions())
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 3


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


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_a_resumed_run_takes_the_flags_of_now(kind):
    """The log says that they changed; from the checkpoint's own they would be as before, in silence."""
    before = make_optimizer(network(), OptimizerOptions(kind, momentum=0.0, weight_decay=0.1))
    now = make_optimizer(network(), OptimizerOptions(kind, momentum=0.5, weight_decay=0.2))
    expected = [{k: v for k, v in group.items() if k != "params"} for group in now.param_groups]
    load_optimizer_state(now, before.state_dict())
    assert [{k: v for k, v in group.items() if k != "params"} for group in now.param_groups] == expected
    if kind == "sgd":  # one without momentum has saved none
        buffers = [now.state[parameter]["momentum_buffer"] for parameter in now.param_groups[0]["params"]]
        assert all((buffer == 0).all() for buffer in buffers)


def saved_state(kind="sgd"):
    """The state of an optimiser after one step, as a checkpoint has it."""
    net = network()
    optimizer = make_optimizer(net, OptimizerOptions(kind))
    set_lr(optimizer, 0.1)
    add_gradients(net, 0)
    optimizer.step()
    return copy.deepcopy(optimizer.state_dict())


@pytest.mark.parametrize(
    "momentum",
    [
        torch.zeros(3), torch.zeros(()), torch.zeros(10**6), torch.zeros(3, 4), torch.zeros(1).expand(10**6, 10**6),
        torch.zeros(4, 3, dtype=torch.int32), torch.zeros(4, 3).half(), torch.full((4, 3), float("nan")), None, 1.0,
        torch.zeros(4, 3).to_sparse(), torch.zeros(4, 3, device="meta"),
    ],
    ids=lambda value: f"{getattr(value, 'dtype', value)} {tuple(getattr(value, 'shape', ()))}",
)  # fmt: skip
def test_momentum_that_is_not_its_parameters_is_refused(momentum):
    """The fused kernel checks no shape: it wrote behind the end of a shorter buffer, and the process crashed later."""
    state = saved_state()
    state["state"][0] = {"momentum_buffer": momentum}
    with pytest.raises(DataError, match="momentum"):
        load_optimizer_state(make_optimizer(network(), OptimizerOptions()), state)


def test_momentum_gets_the_layout_of_its_parameter():
    """The fused kernel reads by position: transposed in memory, each value would go to another weight."""
    state = saved_state()
    buffer = state["state"][0]["momentum_buffer"]
    state["state"][0]["momentum_buffer"] = buffer.t().contiguous().t()
    optimizer = make_optimizer(network(), OptimizerOptions())
    load_optimizer_state(optimizer, state)
    loaded = optimizer.state[optimizer.param_groups[0]["params"][0]]["momentum_buffer"]
    assert torch.equal(loaded, buffer) and loaded.is_contiguous()


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state.clear(),
        lambda state: state.update(param_groups=state["param_groups"] * 2),
        lambda state: state["param_groups"][0].update(params=[1, 0, 2, 3]),
        lambda state: state["param_groups"][0].update(lr_share=float("nan")),
        lambda state: state["param_groups"][0].pop("lr_share"),
        lambda state: state.update(state=5),
        lambda state: state["state"].update({7: state["state"][0]}),
        lambda state: state["state"].update({0: 5}),
        lambda state: state["state"].pop(2),
        lambda state: state.update(saved_state("adamw")),
    ],
)
def test_a_state_of_other_parameters_is_refused(change):
    """Momentum of another parameter, or lost, changes the run without a word."""
    state = saved_state()
    change(state)
    with pytest.raises(DataError):
        load_optimizer_state(make_optimizer(network(), OptimizerOptions()), state)


def test_adamw_needs_all_that_it_keeps():
    state = saved_state("adamw")
    load_optimizer_state(make_optimizer(network(), OptimizerOptions("adamw")), copy.deepcopy(state))
    del state["state"][1]["exp_avg_sq"]
    with pytest.raises(DataError, match="exp_avg_sq"):
        load_optimizer_state(make_optimizer(network(), OptimizerOptions("adamw")), state)


def test_adamw_of_a_part_of_the_parameters_is_refused():
    """The others would start anew, at the size of the first step, in the middle of a run."""
    state = saved_state("adamw")
    del state["state"][1]
    with pytest.raises(DataError, match="state of 3 of 4 parameters"):
        load_optimizer_state(make_optimizer(network(), OptimizerOptions("adamw")), state)
    state["state"] = {}
    load_optimizer_state(make_optimizer(network(), OptimizerOptions("adamw")), state)
