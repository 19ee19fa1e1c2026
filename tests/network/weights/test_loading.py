import pytest
import torch

from common.errors import DataError, NetworkError
from network import VideoNetwork, create_network, load_checkpoint, load_weights
from network.weights.loading import load_network
from tests.network.weights.other_projects import HARA, hara_shapes, torchvision_shapes, weights_of

CLASSES = ["run", "jump", "swim", "walk"]


@pytest.fixture(scope="module")
def source() -> VideoNetwork:
    """A network whose weights are loaded into others."""
    torch.manual_seed(1)
    return create_network("srtg_r3d_10", len(CLASSES)).eval()


def new_network(name: str = "srtg_r3d_10", num_classes: int = len(CLASSES)) -> VideoNetwork:
    torch.manual_seed(2)
    return create_network(name, num_classes).eval()


def logits(network: VideoNetwork, clips: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return network(clips)


def test_same_network_loads_completely(source):
    """Every tensor is loaded, and the outputs are those of the source."""
    network = new_network()
    report = load_weights(network, source.state_dict(), strict=True)
    assert report.complete
    assert report.loaded == tuple(source.state_dict())
    clips = torch.randn(2, 3, 4, 24, 24)
    assert torch.equal(logits(network, clips), logits(source, clips))


def test_other_class_count_leaves_the_classifier_new(source):
    """Fine-tuning on another dataset takes all but the classifier, and the report has both shapes."""
    network = new_network(num_classes=9)
    before = network.fc.weight.clone()
    report = load_weights(network, source.state_dict())
    assert torch.equal(network.fc.weight, before)
    assert torch.equal(network.stem[0].weight, source.stem[0].weight)
    assert [(s.name, s.shape_in_checkpoint, s.shape_in_network) for s in report.skipped] == [
        ("fc.weight", (4, 512), (9, 512)),
        ("fc.bias", (4,), (9,)),
    ]
    (remark,) = [remark for state, name, remark in report.rows() if (state, name) == ("skipped", "fc.weight")]
    assert "4x512 in the checkpoint" in remark and "9x512 in the network" in remark


def test_every_tensor_is_accounted_for():
    """A tensor in no list would be lost without notice."""
    source, network = new_network("srtg_r3d_10", 5), new_network("r3d_18", 7)
    report = load_weights(network, source.state_dict())
    skipped = {skipped.name for skipped in report.skipped}
    assert {*report.loaded} | skipped | {*report.missing} == {*network.state_dict()}
    assert {*report.loaded} | skipped | {*report.unexpected} == {*source.state_dict()}
    assert all("sar.lstm" in name for name in report.unexpected)
    assert all(name.split(".")[1] == "1" for name in report.missing)
    assert len(report.rows()) == 5 + 2 + 4 + 4  # stages loaded, fc twice, and what is new and unused of four stages
    state, names, _ = report.rows()[-1]
    assert (state, names.split()[0]) == ("unused", "layer4.0.sar.lstm.weight_ih_l0")
    assert "layer4.0.sar.lstm.bias_hh_l1 (8 tensors)" in names


def test_classes_in_another_order_are_remapped(source):
    """Else the network would answer `jump` for what it learnt as `swim`."""
    order = ["walk", "run", "swim", "jump"]
    network = new_network()
    report = load_weights(network, source.state_dict(), CLASSES, order)
    assert report.classes_reordered
    assert [names.split(".")[0] for _, names, remark in report.rows() if remark] == ["fc"]
    clips = torch.randn(2, 3, 4, 24, 24)
    expected = logits(source, clips)[:, [CLASSES.index(name) for name in order]]
    torch.testing.assert_close(logits(network, clips), expected)


def test_same_classes_load_unchanged(source):
    """Rows that are in the right order must not be reported as reordered."""
    report = load_weights(new_network(), source.state_dict(), CLASSES, list(CLASSES), strict=True)
    assert not report.classes_reordered


def test_other_classes_leave_the_classifier_new(source):
    """As many classes, but others: rows of other classes would give wrong names to what they recognise."""
    network = new_network()
    before = network.fc.weight.clone()
    report = load_weights(network, source.state_dict(), CLASSES, ["run", "jump", "swim", "dance"])
    assert torch.equal(network.fc.weight, before)
    assert [skipped.name for skipped in report.skipped] == ["fc.weight", "fc.bias"]


def test_class_names_that_do_not_fit_the_checkpoint_are_an_error(source):
    """A damaged class list would give rows the wrong names."""
    with pytest.raises(NetworkError, match=r"\b3\b.*fc\.weight.*\b4x512\b"):
        load_weights(new_network(), source.state_dict(), CLASSES[:3], CLASSES)


def test_nothing_in_common_is_an_error_that_names_both_sides():
    """A run must not start from new weights because the file was the wrong one."""
    with pytest.raises(NetworkError, match=r"conv1\.weight.*stem\.0\.weight.*\b106\b"):
        load_weights(new_network(), {"conv1.weight": torch.ones(3)})


def test_strict_changes_nothing_if_it_cannot_load_all(source):
    """A half-loaded network must not be used after the error was caught."""
    network = new_network(num_classes=9)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(NetworkError, match=r"fc\.weight.*fc\.bias"):
        load_weights(network, source.state_dict(), strict=True)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize(
    ("shapes", "name", "fits"),
    [
        (torchvision_shapes("r3d"), "srtg_r3d_18", "tv_r3d_18"),
        (torchvision_shapes("r3d"), "tv_r2plus1d_18", "tv_r3d_18"),
        (hara_shapes(*HARA["resnet3d_18"]), "r3d_18", "resnet3d_18"),
        (hara_shapes(*HARA["resnet3d_50"]), "resnet3d_101", "resnet3d_50"),
    ],
)
def test_a_network_that_computes_something_else_is_refused(shapes, name, fits):
    """The tensors would fit, in part or all, and the outputs would be wrong without an error."""
    with torch.device("meta"):
        network = create_network(name, 5)
    with pytest.raises(NetworkError, match=rf"{name}.*--network {fits}, or srtg_{fits}"):
        load_checkpoint(network, weights_of(shapes, "meta"))


def test_weights_of_another_pool_are_refused():
    """The shapes of torchvision's and the paper's r2plus1d_18 agree; only the max-pool differs."""
    with torch.device("meta"):
        paper, torchvision = create_network("r2plus1d_18", 5), create_network("tv_r2plus1d_18", 5)
        weights = paper.state_dict()
        facts = {"gates": False, "placement": "final", "num_classes": 5}
        for checkpoint in (
            {"state_dict": weights},
            {"network": facts | {"name": "srtg_r2plus1d_18"}, "weights": weights, "classes": list("abcde")},
        ):
            with pytest.raises(NetworkError, match=r"max-pool.*tv_r2plus1d_18"):
                load_checkpoint(torchvision, checkpoint)
            load_checkpoint(paper, checkpoint)
        with pytest.raises(NetworkError, match=r"tv_r2plus1d_18.*max-pool"):
            load_checkpoint(paper, {"network": facts | {"name": "tv_r2plus1d_18"}, "weights": weights})


def test_network_of_a_checkpoint_comes_with_gates_weights_and_classes(tmp_path):
    """Evaluation and export have nothing but the file: a lost gate or class order would change the outputs."""
    source = create_network("srtg_r3d_10", 4, gates=True, placement="mid").eval()
    facts = {"name": "srtg_r3d_10", "gates": True, "placement": "mid", "num_classes": 4}
    torch.save({"network": facts, "weights": source.state_dict(), "classes": CLASSES}, tmp_path / "x.pth")
    network, classes, read = load_network(tmp_path / "x.pth")
    assert (classes, read, network.name, network.training) == (CLASSES, facts, "srtg_r3d_10", False)
    clips = torch.randn(2, 3, 4, 24, 24)
    assert torch.equal(logits(network, clips), logits(source, clips))


def test_network_of_a_checkpoint_of_others_is_the_one_named(tmp_path, source):
    """A state dict does not say what network it is for, and has no class names."""
    torch.save(source.state_dict(), tmp_path / "x.pth")
    network, classes, facts = load_network(tmp_path / "x.pth", "srtg_r3d_10")
    assert (classes, facts["num_classes"]) == (None, 4)
    assert torch.equal(network.fc.weight, source.fc.weight)
    for name in ("", "srtg_r3d_18"):
        with pytest.raises(NetworkError, match=r"x\.pth"):
            load_network(tmp_path / "x.pth", name)
    with pytest.raises(DataError, match=r"y\.pth"):
        load_network(tmp_path / "y.pth", "srtg_r3d_10")
