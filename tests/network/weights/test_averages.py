"""Which weights of a checkpoint are used: those that its run validated, by default."""

import pytest
import torch

from common.errors import NetworkError
from evaluate.model import load_model
from network import create_network, load_network
from network.weights.averages import STATISTICS_OF, fingerprint, weights_to_use, without_averages

NAME, STATISTIC = "fc.bias", "stem.1.running_mean"


@pytest.fixture
def checkpoint():
    torch.manual_seed(0)
    network = create_network("r3d_10", 2)
    facts = {"name": "r3d_10", "gates": False, "placement": "final", "num_classes": 2}
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    averaged = weights | {NAME: torch.full((2,), 5.0), STATISTIC: torch.full((64,), 6.0)}
    return {
        "format": 1, "network": facts, "weights": weights, "classes": ["a", "b"],
        "ema": {"updates": torch.tensor(3), "weights": averaged},
        "precise_bn": {STATISTIC: torch.full((64,), 7.0)},
    }  # fmt: skip


def test_what_was_validated_is_loaded_and_said(checkpoint, tmp_path):
    """A score that nobody can repeat, and predictions by other weights than the published ones."""
    path = tmp_path / "x.pth"
    torch.save(checkpoint, path)
    for loaded in (load_network(path), load_model(path)):
        state = loaded.network.state_dict()
        assert (state[NAME] == 5).all() and (state[STATISTIC] == 7).all()
        assert "--ema" in loaded.origin and "--precise-bn" in loaded.origin
    assert not {"ema", "precise_bn"} & load_model(path).checkpoint.keys()  # they have the size of the network


def test_raw_weights_are_those_of_training(checkpoint, tmp_path):
    """To compare both, or to go on with another program."""
    path = tmp_path / "x.pth"
    torch.save(checkpoint, path)
    loaded = load_network(path, weights="raw")
    assert all(torch.equal(loaded.network.state_dict()[name], value) for name, value in checkpoint["weights"].items())
    assert "--ema" not in loaded.origin
    assert without_averages(checkpoint).keys() == checkpoint.keys() - {"ema", "precise_bn"}


def test_a_file_without_averages_loads_as_before(checkpoint):
    """Files of earlier versions have none."""
    weights, note = weights_to_use(without_averages(checkpoint))
    assert note == "" and weights.keys() == checkpoint["weights"].keys()


@pytest.mark.parametrize(
    "damage",
    [
        {"ema": None},
        {"ema": {"updates": 1}},
        {"ema": {"weights": [1]}},
        {"ema": {"weights": {NAME: torch.zeros(2)}}},
        {"precise_bn": None},
        {"precise_bn": {"elsewhere": torch.zeros(2)}},
        {"precise_bn": {STATISTIC: torch.zeros(3)}},
        {"precise_bn": {STATISTIC: torch.full((64,), float("nan"))}},
    ],
)
def test_a_damaged_field_is_an_error_that_names_the_file(checkpoint, tmp_path, damage):
    """Half of an average in place of the weights would give scores without a word."""
    path = tmp_path / "x.pth"
    torch.save(checkpoint | damage, path)
    with pytest.raises(NetworkError, match=r"x\.pth"):
        load_network(path)


@pytest.mark.parametrize("odd", ["12", 1.0, True, [1]])
def test_an_odd_field_is_not_said_to_be_of_other_weights(checkpoint, odd):
    """Who reads that looks for weights that were changed."""
    with pytest.raises(NetworkError, match=r"`precise_bn_of` is a .*and no whole number"):
        weights_to_use(checkpoint | {STATISTICS_OF: odd})


@pytest.mark.parametrize("statistics", [{"elsewhere": torch.zeros(2)}, {STATISTIC: torch.zeros(3)}, {STATISTIC: 1}])
def test_statistics_of_other_weights_are_refused_also_where_tensors_may_be_skipped(checkpoint, statistics):
    """Fine-tuning skips what has another shape: it would go on with the running statistics."""
    with pytest.raises(NetworkError, match=r"precise_bn|running_mean"):
        weights_to_use(checkpoint | {"precise_bn": statistics})


@pytest.fixture
def marked(checkpoint):
    """A checkpoint as runs save it: it says of which weights its statistics are."""
    averaged = checkpoint["ema"]["weights"]
    averaged["stem.1.weight"] = averaged["stem.1.weight"] * 0.9
    mark = fingerprint(checkpoint["ema"]["weights"], checkpoint["precise_bn"])
    return checkpoint | {"options": {"ema": 0.9}, STATISTICS_OF: mark}


def without_average(checkpoint):
    return {name: value for name, value in checkpoint.items() if name != "ema"}


def changed(checkpoint, name, values):
    average = checkpoint["ema"]
    return checkpoint | {"ema": average | {"weights": average["weights"] | {name: values}}}


@pytest.mark.parametrize("lost", ["options", STATISTICS_OF, ""])
def test_an_average_that_was_taken_out_takes_its_statistics_along(marked, tmp_path, lost):
    """A file made smaller would be scored as a network that never existed: raw weights under other statistics."""
    path = tmp_path / "x.pth"
    stripped = {name: value for name, value in without_average(marked).items() if name != lost}
    torch.save(stripped, path)
    with pytest.raises(NetworkError, match=r"x\.pth.*precise_bn.*delete `precise_bn`.*--weights raw"):
        load_network(path)
    assert torch.equal(load_network(path, weights="raw").network.state_dict()[NAME], marked["weights"][NAME])
    torch.save({name: value for name, value in stripped.items() if name != "precise_bn"}, path)
    assert torch.equal(load_network(path).network.state_dict()[NAME], marked["weights"][NAME])


@pytest.mark.parametrize("name", ["stem.0.weight", "stem.1.bias", "layer4.0.conv2.0.0.weight"])
def test_weights_that_were_changed_under_their_statistics_are_refused(marked, name):
    """As when several files are averaged, and one of them lends its other fields."""
    edited = changed(marked, name, marked["ema"]["weights"][name] + 1e-4)
    with pytest.raises(NetworkError, match=r"precise_bn.*other weights.*`ema`"):
        weights_to_use(edited)
    edited.pop(STATISTICS_OF)  # an older file
    weights_to_use(edited)


def test_changes_on_which_no_statistic_depends_are_no_fault(marked):
    """Another classifier, memory layout, order or precision, or counts that were left out, are common and harmless."""
    weights_to_use(changed(marked, NAME, torch.zeros(2)))
    averaged, stem = marked["ema"]["weights"], "stem.0.weight"
    weights_to_use(changed(marked, stem, averaged[stem].to(memory_format=torch.channels_last_3d)))
    counted = {name: value for name, value in reversed(averaged.items()) if "num_batches" not in name}
    weights_to_use(marked | {"ema": marked["ema"] | {"weights": counted}})
    halved = {name: value.half() if value.is_floating_point() else value for name, value in averaged.items()}
    statistics = {name: value.half() for name, value in marked["precise_bn"].items()}
    weights_to_use(marked | {"ema": marked["ema"] | {"weights": halved}, "precise_bn": statistics})
