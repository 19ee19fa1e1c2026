"""Each parameter learns at the documented share of the rate, and decays or not, as the flags say."""

import pytest

from network.resnet3d import Recursion
from tests.tiny_network import TinyNetwork
from train.optim import OptimizerOptions, make_optimizer, set_lr
from train.parameter_groups import make_groups, parts_of


def network():
    return TinyNetwork(4, Recursion(False, "final"))


def by_name(groups, key):
    return {name: group[key] for group in groups for name in group["names"]}


def test_the_rate_falls_by_stage_from_the_classifier_down():
    """The convention of BEiT and MAE. An LSTM learns as fast as its stage."""
    net = network()
    optimizer = make_optimizer(net, OptimizerOptions(layer_decay=0.75))
    set_lr(optimizer, 2.0)
    rates = by_name(optimizer.param_groups, "lr")
    assert parts_of(net) == ("stem", "layer1", "layer2", "layer3", "layer4", "fc")
    for depth, part in enumerate(reversed(parts_of(net))):
        (rate,) = {rate for name, rate in rates.items() if name.startswith(f"{part}.")}
        assert rate == pytest.approx(2.0 * 0.75**depth)
    assert any("lstm" in name for name in rates)
    assert set(rates) == {name for name, _ in net.named_parameters()}


def test_layer_decay_and_the_factor_of_loaded_weights_multiply():
    loaded = [name for name, _ in network().named_parameters() if not name.startswith("fc.") and "sar" not in name]
    shares = by_name(make_groups(network(), loaded, loaded_lr_factor=0.1, layer_decay=0.5), "lr_share")
    assert shares["fc.weight"] == 1
    assert shares["layer4.0.conv1.0.0.weight"] == pytest.approx(0.1 * 0.5)
    assert shares["layer4.0.sar.lstm.weight_ih_l0"] == pytest.approx(0.5)  # new
    assert shares["stem.0.weight"] == pytest.approx(0.1 * 0.5**5)


def test_norms_and_biases_decay_unless_the_flag_says_no():
    """Decay of a norm's weight pulls its output to zero; the literature of today leaves norms and biases out."""
    net = network()
    optimizer = make_optimizer(net, OptimizerOptions(decay_norms=False, weight_decay=0.2))
    decays = by_name(optimizer.param_groups, "weight_decay")
    spared = {name for name, decay in decays.items() if decay == 0}
    norms = {"stem.1.weight", "stem.1.bias", "layer1.0.conv1.1.weight", "layer2.0.downsample.1.bias"}
    biases = {"fc.bias", "layer3.0.sar.lstm.bias_ih_l0", "layer3.0.sar.lstm.bias_hh_l1"}
    assert norms | biases <= spared
    assert {name for name, parameter in net.named_parameters() if parameter.dim() > 1} == set(decays) - spared
    assert {decays[name] for name in set(decays) - spared} == {0.2}
    (group,) = make_optimizer(net, OptimizerOptions(weight_decay=0.2)).param_groups
    assert group["weight_decay"] == 0.2 and len(group["names"]) == len(decays)
