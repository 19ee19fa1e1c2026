import pytest
import torch

from common.errors import NetworkError
from network import VideoNetwork, create_network, load_weights, recognise

CLASSES = ["run", "jump", "swim", "walk"]


@pytest.fixture(scope="module")
def source() -> VideoNetwork:
    """A network whose weights are to be loaded elsewhere."""
    torch.manual_seed(1)
    return create_network("srtg_r3d_10", len(CLASSES)).eval()


def new_network(name: str = "srtg_r3d_10", num_classes: int = len(CLASSES)) -> VideoNetwork:
    torch.manual_seed(2)
    return create_network(name, num_classes).eval()


def logits(network: VideoNetwork, clips: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return network(clips)


def test_same_network_loads_whole(source):
    """Every tensor is loaded, and the network answers as its source."""
    network = new_network()
    report = load_weights(network, source.state_dict(), strict=True)
    assert report.complete
    assert report.loaded == tuple(source.state_dict())
    clips = torch.randn(2, 3, 4, 24, 24)
    assert torch.equal(logits(network, clips), logits(source, clips))


def test_other_class_count_leaves_the_classifier_new(source):
    """Fine-tuning on another dataset takes all but the classifier, and says so with both shapes."""
    network = new_network(num_classes=9)
    before = network.fc.weight.clone()
    report = load_weights(network, source.state_dict())
    assert torch.equal(network.fc.weight, before)
    assert torch.equal(network.stem[0].weight, source.stem[0].weight)
    assert [(s.name, s.shape_in_checkpoint, s.shape_in_network) for s in report.skipped] == [
        ("fc.weight", (4, 512), (9, 512)),
        ("fc.bias", (4,), (9,)),
    ]
    assert ("skipped", "fc.weight", "4x512 in the checkpoint, 9x512 in the network: of another shape") in report.rows()


def test_every_tensor_is_accounted_for():
    """A tensor that is in neither list was lost without a word."""
    source, network = new_network("srtg_r3d_10", 5), new_network("r3d_18", 7)
    report = load_weights(network, source.state_dict())
    skipped = {skipped.name for skipped in report.skipped}
    assert {*report.loaded} | skipped | {*report.missing} == {*network.state_dict()}
    assert {*report.loaded} | skipped | {*report.unexpected} == {*source.state_dict()}
    assert all("sar.lstm" in name for name in report.unexpected)
    assert all(name.split(".")[1] == "1" for name in report.missing)
    assert len(report.rows()) == 5 + 2 + 4 + 4  # stages loaded, fc twice, and what is new and unused of four stages
    assert report.rows()[-1] == (
        "unused",
        "layer4.0.sar.lstm.weight_ih_l0 ... layer4.0.sar.lstm.bias_hh_l1 (8 tensors)",
        "not in the network",
    )


def test_classes_in_another_order_are_remapped(source):
    """Without this, a checkpoint would answer `jump` where it has seen `swim`."""
    order = ["walk", "run", "swim", "jump"]
    network = new_network()
    report = load_weights(network, source.state_dict(), CLASSES, order)
    assert report.classes_reordered
    assert [row for row in report.rows() if "rows put into the order" in row[2]]
    clips = torch.randn(2, 3, 4, 24, 24)
    expected = logits(source, clips)[:, [CLASSES.index(name) for name in order]]
    torch.testing.assert_close(logits(network, clips), expected)


def test_same_classes_load_as_they_are(source):
    report = load_weights(new_network(), source.state_dict(), CLASSES, list(CLASSES), strict=True)
    assert not report.classes_reordered


def test_other_classes_leave_the_classifier_new(source):
    """As many classes, but others: rows of another class are worse than new ones."""
    network = new_network()
    before = network.fc.weight.clone()
    report = load_weights(network, source.state_dict(), CLASSES, ["run", "jump", "swim", "dance"])
    assert torch.equal(network.fc.weight, before)
    assert [skipped.reason for skipped in report.skipped] == ["for other classes"] * 2


def test_class_names_that_do_not_fit_the_checkpoint_are_an_error(source):
    with pytest.raises(NetworkError, match=r"names 3 classes, but its fc\.weight is for 4"):
        load_weights(new_network(), source.state_dict(), CLASSES[:3], CLASSES)


def test_nothing_in_common_is_an_error_that_names_both_sides(source):
    """The wrong file must not be taken for a start from its weights."""
    with pytest.raises(NetworkError, match=r"conv1\.weight against stem\.0\.weight, .*\(106 in all\)"):
        load_weights(new_network(), {"conv1.weight": torch.ones(3)})


def test_strict_changes_nothing_if_it_cannot_load_all(source):
    network = new_network(num_classes=9)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(NetworkError, match=r"not of this network: skipped fc\.weight; skipped fc\.bias"):
        load_weights(network, source.state_dict(), strict=True)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_published_checkpoint_answers_to_rgb_as_it_did_to_bgr(source):
    """The original's networks read BGR; without the reversal red and blue would be mixed up in silence."""
    checkpoint = {
        "epoch": 80,
        "state_dict": {f"module.{name}": tensor for name, tensor in source.state_dict().items()},
        "optimizer": {"state": {}, "param_groups": []},
    }
    published = recognise(checkpoint)
    assert "published with the paper" in published.origin
    assert "reversed" in published.origin
    network = new_network()
    load_weights(network, published.state_dict, strict=True)
    bgr = torch.randn(2, 3, 4, 24, 24)
    torch.testing.assert_close(logits(network, bgr.flip(1)), logits(source, bgr))
    # What the caller read from the file is as it was.
    assert torch.equal(checkpoint["state_dict"]["module.stem.0.weight"], source.stem[0].weight)


@pytest.mark.parametrize("name", ["r2plus1d_10", "srtg_r3d_50"])
def test_published_form_is_known_in_every_family(name):
    with torch.device("meta"):
        state_dict = create_network(name, 400).state_dict()
    assert "reversed" in recognise({"state_dict": state_dict}).origin
    assert "reversed" in recognise({f"module.{tensor}": value for tensor, value in state_dict.items()}).origin


@pytest.mark.parametrize("wrap", [lambda weights: weights, lambda weights: {"model": weights, "epoch": 3}])
def test_other_state_dicts_are_for_rgb(source, wrap):
    """Weights saved from a network of this project are taken as they are."""
    weights = recognise(wrap(source.state_dict()))
    assert torch.equal(weights.state_dict["stem.0.weight"], source.stem[0].weight)
    assert weights.origin == "a state dict"


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module."])
def test_prefixes_of_wrappers_are_taken_off(source, prefix):
    state_dict = {prefix + name: tensor for name, tensor in source.state_dict().items()}
    assert list(recognise(state_dict).state_dict) == list(source.state_dict())


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("bgr", [False, True])
def test_order_of_channels_can_be_said(source, bgr, published):
    """Where the form says nothing, or says wrong, the caller decides."""
    checkpoint = {"state_dict": source.state_dict()} if published else source.state_dict()
    stem = recognise(checkpoint, bgr=bgr).state_dict["stem.0.weight"]
    assert torch.equal(stem, source.stem[0].weight.flip(1) if bgr else source.stem[0].weight)


@pytest.mark.parametrize(
    ("checkpoint", "message"),
    [
        ({"epoch": 3, "loss": 0.1}, "has no weights: its keys are epoch, loss"),
        ({"state_dict": {}}, "has no weights"),
        ({"module.a": torch.ones(1), "a": torch.ones(1)}, "names a tensor twice"),
    ],
)
def test_what_is_no_checkpoint_is_refused(checkpoint, message):
    with pytest.raises(NetworkError, match=message):
        recognise(checkpoint)


def test_bgr_without_a_stem_is_refused():
    with pytest.raises(NetworkError, match=r"need a stem\.0\.weight of 3 input channels"):
        recognise({"fc.weight": torch.ones(2, 2)}, bgr=True)
