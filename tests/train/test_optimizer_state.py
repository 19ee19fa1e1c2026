"""The saved state of an optimiser goes to the parameters of the same names, or is refused."""

import copy
import re

import pytest
import torch

from common.errors import DataError
from tests.train.test_optim import add_gradients, network, update
from train.optim import OptimizerOptions, make_optimizer, set_lr
from train.optimizer_state import load_optimizer_state, share_of_loaded, with_names

NAMES = ["0.weight", "0.bias", "2.weight", "2.bias"]


def trained(loaded=(), frozen=None, steps=2, **options):
    """A network after some steps, and its optimiser."""
    net = network()
    if frozen is not None:
        net[frozen].requires_grad_(False)
    optimizer = make_optimizer(net, OptimizerOptions(**options), loaded)
    for step in range(steps):
        update(net, optimizer, step)
    return net, optimizer


def momentum_of(net, optimizer):
    return {
        name: optimizer.state[parameter].get("momentum_buffer", optimizer.state[parameter].get("exp_avg"))
        for name, parameter in net.named_parameters()
    }


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_each_parameter_gets_its_own_momentum_in_other_groups(kind):
    """Other rates or no decay of biases make other groups: by number, momentum would go to another parameter."""
    net, optimizer = trained(optimizer=kind)
    saved = copy.deepcopy(optimizer.state_dict())
    other = network()
    options = OptimizerOptions(kind, layer_decay=0.5, decay_norms=False, loaded_lr_factor=0.1)
    resumed = make_optimizer(other, options, ["2.weight"])
    assert len(resumed.param_groups) > 2
    load_optimizer_state(resumed, saved)
    expected, found = momentum_of(net, optimizer), momentum_of(other, resumed)
    assert all(torch.equal(found[name], expected[name]) for name in NAMES)


def old(state):
    """As older versions saved a state."""
    groups = [{name: value for name, value in group.items() if name != "names"} for group in state["param_groups"]]
    return state | {"param_groups": groups}


@pytest.mark.parametrize("loaded", [[], ["0.bias", "2.weight"], NAMES])
def test_a_state_without_names_is_read_in_the_order_in_which_it_was_saved(loaded):
    """Older versions numbered the new parameters first, then the loaded ones."""
    net = network()
    named = dict(net.named_parameters())
    groups = [
        {"params": [named[name] for name in NAMES if (name in loaded) == is_loaded]} for is_loaded in (False, True)
    ]
    before = torch.optim.SGD([group for group in groups if group["params"]], lr=0.1, momentum=0.9, nesterov=True)
    for group in before.param_groups:
        group["lr_share"] = 1.0
    add_gradients(net, 0)
    before.step()
    other = network()
    resumed = make_optimizer(other, OptimizerOptions(), loaded)
    load_optimizer_state(resumed, with_names(copy.deepcopy(before.state_dict()), NAMES, loaded))
    expected, found = momentum_of(net, before), momentum_of(other, resumed)
    assert all(torch.equal(found[name], expected[name]) for name in NAMES)


@pytest.mark.parametrize("key", ["lr_share", "lr_factor"])
def test_a_state_without_names_tells_the_share_of_what_was_loaded(key):
    """The options beside it may say another one. A state with names is of a version that saved the right option."""
    _, optimizer = trained(["0.weight"], loaded_lr_factor=0.25)
    state = old(optimizer.state_dict())
    for group in state["param_groups"]:
        group[key] = group.pop("lr_share")
    assert share_of_loaded(state) == 0.25
    assert share_of_loaded(optimizer.state_dict()) is None


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_what_was_frozen_begins_at_zero_and_what_is_frozen_now_is_dropped(kind):
    _, optimizer = trained(frozen=0, optimizer=kind)
    saved = copy.deepcopy(optimizer.state_dict())
    frozen = ["0.weight", "0.bias"]
    learning = network()
    resumed = make_optimizer(learning, OptimizerOptions(kind))
    load_optimizer_state(resumed, saved, frozen)
    found = momentum_of(learning, resumed)
    assert all(bool((found[name] == 0).all()) == (name in frozen) for name in NAMES)
    freezing = network()
    freezing[2].requires_grad_(False)
    resumed = make_optimizer(freezing, OptimizerOptions(kind))
    load_optimizer_state(resumed, saved, frozen)
    assert not any(resumed.state.get(parameter) for parameter in freezing[2].parameters())
    with pytest.raises(DataError, match="of 2 of 4 parameters"):  # nothing says that the others were frozen
        load_optimizer_state(make_optimizer(network(), OptimizerOptions(kind)), saved)


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_a_resumed_run_takes_the_flags_of_now(kind):
    """The log says that they changed; from the checkpoint's own they would be as before, in silence."""
    before = make_optimizer(network(), OptimizerOptions(kind, momentum=0.0, weight_decay=0.1, layer_decay=0.5))
    now = make_optimizer(network(), OptimizerOptions(kind, momentum=0.5, weight_decay=0.2, decay_norms=False))
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
        lambda state: state["param_groups"][0].pop("names"),
        lambda state: state["param_groups"][0].update(names=["0.weight"] * 4),
        lambda state: state["param_groups"][0].update(names=["0.weight", "0.bias", "2.weight", 5]),
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


@pytest.mark.parametrize("damage", [{"step": 2.0}, {"step": -5.0}, {"step": 1e6}, {"exp_avg_sq": -1e-9}])
def test_adamw_s_counts_and_squares_are_of_this_run(damage):
    """The first step would be of another size, or not finite: the message would blame the learning rate."""
    state = saved_state("adamw")
    load_optimizer_state(make_optimizer(network(), OptimizerOptions("adamw")), copy.deepcopy(state), steps=1)
    load_optimizer_state(make_optimizer(network(), OptimizerOptions("adamw")), copy.deepcopy(state), steps=9)
    name, value = next(iter(damage.items()))
    state["state"][2][name].fill_(value)
    said = "negative" if name == "exp_avg_sq" else re.escape(f"is {value:g}, and the run has made 1 steps")
    with pytest.raises(DataError, match=rf"{name} of 2\.weight.*{said}"):
        load_optimizer_state(make_optimizer(network(), OptimizerOptions("adamw")), state, steps=1)
