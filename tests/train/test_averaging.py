"""The moving average of the weights, against a plain formulation."""

import copy

import pytest
import torch

from common.errors import DataError
from common.ranks import Ranks
from network.resnet3d import Recursion
from network.sub_batch_norm import aggregate_statistics, set_num_splits, use_sub_batch_norm
from tests.devices import DEVICES, no_waiting
from tests.tiny_network import TinyNetwork
from train.averaging import WeightAverage
from train.checkpoint.state import snapshot
from train.optim import OptimizerOptions, make_optimizer
from train.optimizer_step import OptimizerStep

CPU, ALONE = torch.device("cpu"), Ranks(0, 0, 1)
NO, YES = torch.tensor(False), torch.tensor(True)


def network_of(splits=1, seed=0):
    torch.manual_seed(seed)
    network = TinyNetwork(3, Recursion(False, "final"))
    use_sub_batch_norm(network)
    set_num_splits(network, splits)
    return network


def change(network, seed):
    """As a step does: other weights, and statistics of a batch of clips."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))
        network(torch.randn(8, 3, 4, 16, 16, generator=generator))


def values(network):
    """Its parameters and statistics: those of sub-batches aggregated."""
    aggregate_statistics(copy.deepcopy(network))
    return {name: value.clone() for name, value in network.state_dict().items()}


@pytest.mark.parametrize("splits", [1, 4])
@pytest.mark.parametrize("decay", [0.5, 0.9999])
def test_it_is_the_average_of_the_formula(splits, decay):
    """A rate that is not warmed up leaves the initial weights in it for thousands of steps."""
    network = network_of(splits)
    average = WeightAverage(network, decay)
    expected = {name: value.double() for name, value in values(network).items()}
    for number in range(6):
        change(network, number)
        average.update(NO)
        now, kept = values(network), min(decay, (1 + number) / (10 + number))
        for name, value in expected.items():
            expected[name] = kept * value + (1 - kept) * now[name].double()
    state = average.state_dict()
    assert int(state["updates"]) == 6
    for name, value in state["weights"].items():
        if name.endswith("num_batches_tracked"):
            assert torch.equal(value, network.state_dict()[name])
        else:
            assert torch.allclose(value.double(), expected[name], atol=1e-5), name


def test_a_skipped_update_moves_nothing():
    """After an overflow in fp16 the statistics may be infinite; and the average would move to old weights."""
    network = network_of()
    average = WeightAverage(network, 0.9)
    change(network, 0)
    average.update(NO)
    before = snapshot(average.state_dict())
    change(network, 1)
    network.stem[1].running_var.fill_(float("inf"))
    average.update(YES)
    after = average.state_dict()
    assert int(after["updates"]) == 1
    learned = [name for name in before["weights"] if not name.endswith("tracked")]
    assert all(torch.equal(after["weights"][name], before["weights"][name]) for name in learned)


def test_an_overflow_in_fp16_does_not_move_it():
    """The scaler skips the update on the device; the average has to know."""
    network = network_of()
    step = OptimizerStep(network.parameters(), make_optimizer(network, OptimizerOptions()), CPU, ALONE, "fp16", 0.0)
    step.scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    average = WeightAverage(network, 0.9)
    for factor, updates in ((1.0, 1), (float("inf"), 1), (1.0, 2)):
        before = snapshot(average.state_dict())["weights"]
        loss = network(torch.randn(4, 3, 4, 16, 16)).mean()
        step.backward(loss * factor)
        step.update(torch.tensor(1.0), 0.1, 0)
        average.update(step.is_skipped)
        after = average.state_dict()
        assert int(after["updates"]) == updates
        assert torch.equal(after["weights"]["fc.weight"], before["fc.weight"]) == (factor > 1)


@pytest.mark.parametrize("device", DEVICES)
def test_an_update_does_not_wait_for_the_device(device):
    """The host would launch nothing of the next step until the device is done."""
    network = network_of(2).to(device)
    average, is_skipped = WeightAverage(network, 0.9), torch.zeros((), dtype=torch.bool, device=device)
    average.update(is_skipped)
    with no_waiting(device):
        average.update(is_skipped)
    assert int(average.updates) == 2


def test_the_network_in_training_is_not_touched():
    """Its statistics, its mode and the addresses that CUDA graphs know."""
    network = network_of(2)
    tensors = [*network.parameters(), *network.buffers()]
    before = [(tensor.data_ptr(), tensor.clone()) for tensor in tensors]
    average = WeightAverage(network, 0.9)
    average.update(NO)
    average.state_dict()
    assert network.training and not average.network.training
    assert all(parameter.grad is None for parameter in network.parameters())
    for tensor, (address, value) in zip(tensors, before, strict=True):
        assert tensor.data_ptr() == address and torch.equal(tensor, value)


def test_a_loaded_average_goes_on_to_the_bit():
    """The rate depends on the number of updates: without it, a resumed average would forget."""
    network = network_of()
    average = WeightAverage(network, 0.99)
    for number in range(3):
        change(network, number)
        average.update(NO)
    other_network = copy.deepcopy(network)
    other = WeightAverage(other_network, 0.99)
    other.load_state_dict(snapshot(average.state_dict()))
    for each, followed in ((average, network), (other, other_network)):
        change(followed, 7)
        each.update(NO)
    one, two = (snapshot(each.state_dict()) for each in (average, other))
    assert torch.equal(one["updates"], two["updates"])
    assert all(torch.equal(one["weights"][name], two["weights"][name]) for name in one["weights"])


@pytest.mark.parametrize(
    "damage",
    [
        lambda state: None,
        lambda state: {"weights": state["weights"]},
        lambda state: state | {"updates": 3},
        lambda state: state | {"updates": torch.tensor(-1)},
        lambda state: state | {"updates": torch.tensor(0.5)},
        lambda state: state | {"updates": torch.zeros(2, dtype=torch.int64)},
        lambda state: {"updates": state["updates"]},
        lambda state: state | {"weights": {}},
        lambda state: state | {"weights": dict(state["weights"]) | {"fc.bias": torch.zeros(2)}},
        lambda state: state | {"weights": dict(state["weights"]) | {"fc.bias": torch.full((3,), float("nan"))}},
        lambda state: state | {"weights": dict(state["weights"]) | {"fc.bias": torch.zeros(3).half()}},
        lambda state: state | {"weights": dict(state["weights"]) | {"stem.1.running_var": -torch.ones(4)}},
        lambda state: state | {"weights": dict(state["weights"]) | {"elsewhere": torch.zeros(3)}},
    ],
)
def test_a_damaged_state_is_refused(damage):
    """The run would go on with another average, or end with a traceback."""
    average = WeightAverage(network_of(), 0.9)
    state = snapshot(average.state_dict())
    with pytest.raises(DataError, match="ema"):
        average.load_state_dict(damage(state))


def test_an_average_that_this_run_cannot_have_is_refused():
    """At a count of a billion it would hardly move any more; that of another run would be validated as this one's."""
    network = network_of()
    average = WeightAverage(network, 0.9)
    for number in range(3):
        change(network, number)
        average.update(NO)
    state = snapshot(average.state_dict())
    other = copy.deepcopy(network)
    WeightAverage(other, 0.9).load_state_dict(state, 3)
    with pytest.raises(DataError, match=r"`ema` averages 3 updates.*2 steps"):
        WeightAverage(other, 0.9).load_state_dict(state, 2)
    change(other, 4)
    with pytest.raises(DataError, match=r"`ema` is not of these weights.*num_batches_tracked.*another run"):
        WeightAverage(other, 0.9).load_state_dict(state, 9)
