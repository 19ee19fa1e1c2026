import json
import re
import struct
from unicodedata import normalize

import pytest
import torch

from common.errors import DataError, NetworkError
from common.normalisation import SRTG
from network import VideoNetwork, create_network, load_checkpoint, load_weights
from network.base import EPS
from network.weights.facts import training_facts
from network.weights.loading import load_network, saved_facts
from network.weights.reading import read_checkpoint
from tests.network.weights.other_projects import HARA, hara_shapes, torchvision_shapes, weights_of

CLASSES = ["run", "jump", "swim", "walk"]
FACTS = {"name": "srtg_r3d_10", "gates": False, "placement": "final", "num_classes": 4}


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


def test_classes_in_another_unicode_form_are_the_same(source):
    """Of labels that went over a Mac, fine-tuning began with a new classifier: its line named all but the reason."""
    names = ["gehen", "Übung", "springen", "Größe"]
    order = [normalize("NFD", name) for name in sorted(names)]
    network = new_network()
    report = load_weights(network, source.state_dict(), [normalize("NFC", name) for name in names], order)
    assert report.complete and report.classes_reordered
    rows = [names.index(normalize("NFC", name)) for name in order]
    assert torch.equal(network.fc.weight, source.fc.weight[rows])
    both = [normalize(form, "Übung") for form in ("NFC", "NFD")]  # which of them would be meant is not known
    skipped = load_weights(
        new_network(), source.state_dict(), [*both, "a", "b"], [*both[:1], *both[:1], "a", "b"]
    ).skipped
    assert [each.name for each in skipped] == ["fc.weight", "fc.bias"]


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
            {"state_dict": {f"module.{name}": tensor for name, tensor in weights.items()}},
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
    network, classes, read, *_ = load_network(tmp_path / "x.pth")
    expected = facts | {"normalisation": SRTG, "eps": EPS}
    assert (classes, read, network.name, network.training) == (CLASSES, expected, "srtg_r3d_10", False)
    clips = torch.randn(2, 3, 4, 24, 24)
    assert torch.equal(logits(network, clips), logits(source, clips))


def test_network_of_a_checkpoint_of_others_is_the_one_named(tmp_path, source):
    """A state dict does not say what network it is for, and has no class names."""
    torch.save(source.state_dict(), tmp_path / "x.pth")
    network, classes, facts, *_ = load_network(tmp_path / "x.pth", "srtg_r3d_10")
    assert (classes, facts["num_classes"]) == (None, 4)
    assert torch.equal(network.fc.weight, source.fc.weight)
    for name in ("", "srtg_r3d_18"):
        with pytest.raises(NetworkError, match=r"x\.pth"):
            load_network(tmp_path / "x.pth", name)
    with pytest.raises(DataError, match=r"y\.pth"):
        load_network(tmp_path / "y.pth", "srtg_r3d_10")


def changed(source, name, value):
    return source.state_dict() | {name: value}


@pytest.mark.filterwarnings("ignore")  # torch's own, of sparse, quantised and nested tensors
@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.zeros(4, 512).to_sparse(), "sparse"),
        (torch.quantize_per_tensor(torch.zeros(4, 512), 0.1, 0, torch.qint8), "quantised"),
        (torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]), "nested"),
        (torch.zeros(4, 512, device="meta"), "no values"),
        (torch.zeros(4, 512, dtype=torch.int32), "int32"),
        (torch.zeros(4, 512, dtype=torch.bool), "bool"),
        (torch.zeros(4, 512, dtype=torch.complex64), "complex64"),
        (torch.full((4, 512), float("nan")), "not finite"),
        (torch.full((4, 512), 1e300, dtype=torch.float64), "not finite"),
        (None, "NoneType"),
        ([1.0], "list"),
    ],
)
def test_what_is_no_plain_finite_tensor_is_refused_by_name(source, value, words):
    """It would be cast, fail in torch's kernels, or give NaN for every clip."""
    network = new_network()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    checkpoint = {"network": FACTS, "weights": changed(source, "fc.weight", value), "classes": CLASSES}
    with pytest.raises(NetworkError, match=rf"fc\.weight .*{words}"):
        load_checkpoint(network, checkpoint, CLASSES)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_a_negative_variance_is_refused(source):
    """Its square root is NaN."""
    name = "layer1.0.conv1.1.running_var"
    with pytest.raises(NetworkError, match=r"layer1\.0\.conv1\.1\.running_var"):
        load_weights(new_network(), changed(source, name, -torch.ones(64)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_another_precision_is_converted_and_said(source, dtype):
    """A file of half precision is usual for download; the user should know that the weights were rounded."""
    network = new_network()
    report = load_weights(network, {name: tensor.to(dtype) for name, tensor in source.state_dict().items()})
    assert report.complete and "fc.weight" in report.converted
    assert "converted" in [state for state, _, _ in report.rows()]
    assert torch.equal(network.fc.weight, source.fc.weight.to(dtype).float())


def test_batch_norms_count_of_steps_may_be_missing(source):
    """Files of old PyTorch, such as torchvision's of 2019, have none, and nothing depends on it."""
    weights = {name: tensor for name, tensor in source.state_dict().items() if "num_batches_tracked" not in name}
    assert load_weights(new_network(), weights, strict=True).complete


@pytest.mark.parametrize("name", ["fc.weight", "fc.bias", "stem.0.weight"])
def test_scalars_in_the_place_of_weights_are_an_error(source, name):
    """`len` of a scalar is a TypeError of torch."""
    checkpoint = {"network": FACTS, "weights": changed(source, name, torch.tensor(1.0)), "classes": CLASSES}
    with pytest.raises(NetworkError, match=name.replace(".", r"\.")):
        load_checkpoint(new_network(), checkpoint, CLASSES, strict=True)


def test_thousands_of_other_tensors_are_not_all_listed(source):
    """The table of 20,000 rows took half a minute to draw; names may hold whatever their author wrote."""
    others = {f"n{number}\x1b[2J.x": torch.zeros(1) for number in range(5000)} | {"x" * 10**6: torch.zeros(1)}
    rows = load_weights(new_network(), source.state_dict() | others).rows()
    assert len(rows) < 60
    assert any("4981 more" in names for _, names, _ in rows)
    assert all(len(names) < 200 and names.isprintable() for _, names, _ in rows)


@pytest.mark.parametrize(
    "changes", [{"gates": True}, {"placement": "mid"}, {"num_classes": 5}, {"name": "srtg_r3d_18"}]
)
def test_strict_loading_compares_what_no_tensor_shows(source, changes):
    """The tensors of a network with gates fit one without, which computes something else from them."""
    ((key, value),) = changes.items()
    checkpoint = {"network": FACTS | changes, "weights": source.state_dict()}
    with pytest.raises(NetworkError, match=rf"{key} {value}, not {FACTS[key]}"):
        load_checkpoint(new_network(), checkpoint, strict=True)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"format": "1"}, "format"), ({"network": 5}, "network"), ({"network": {"name": "r3d_10"}}, "gates"),
        ({"network": FACTS | {"name": ["r3d_10"]}}, "network"), ({"network": FACTS | {"gates": 1}}, "gates"),
        ({"network": FACTS | {"placement": "left"}}, "placement"),
        ({"network": FACTS | {"num_classes": True}}, "number of classes"), ({"classes": 5}, "classes"),
        ({"classes": ["a", 1, None, "b"]}, "classes"), ({"classes": ["a"] * 4}, "twice"),
        ({"classes": ["a", "b"]}, "2 classes"),
        ({"network": FACTS | {"normalisation": [1.0]}}, "normalisation"),
        ({"network": FACTS | {"normalisation": {"mean": [1.0, 2.0, 3.0], "std": [1.0, 0.0, 1.0]}}}, "std"),
        ({"network": FACTS | {"normalisation": {"mean": [1.0, 2.0], "std": [1.0] * 3}}}, "mean"),
        ({"network": FACTS | {"eps": 0.0}}, "eps"), ({"network": FACTS | {"eps": "1e-3"}}, "eps"),
    ],
)  # fmt: skip
def test_what_a_checkpoint_says_of_its_network_is_checked(changes, word):
    """A value of another type fails somewhere else later, or is taken for another."""
    checkpoint = {"format": 1, "versions": {"srtg": "0.1.0"}, "network": FACTS, "classes": CLASSES, "weights": {}}
    assert saved_facts(checkpoint) == FACTS | {"normalisation": SRTG, "eps": EPS, "classes": CLASSES}
    with pytest.raises(NetworkError, match=word):
        saved_facts(checkpoint | changes)


def test_a_later_format_names_the_version_that_wrote_it():
    """Its fields may mean something else here."""
    with pytest.raises(NetworkError, match=r"\b99\b.*\b7\.0\b"):
        saved_facts({"format": 99, "versions": {"srtg": "7.0"}, "network": FACTS, "weights": {}})


PREPROCESSING = {
    "clip_length": 16, "clip_size": 112, "interval": "2@30", "crop_scale": 1.15, "colour": "RGB",
    "mean": [124.0, 117.0, 104.0], "std": [60.0, 60.0, 60.0],
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"options": [1]}, "field `options` is a list"),
        ({"options": {"clip_size": True}}, "clip_size is True"),
        ({"options": {"clip_length": 16.0}}, "clip_length is 16.0"),
        ({"options": {"val_frame_interval": 0}}, "val_frame_interval is 0"),
        ({"options": {"clip_length": 2**40}}, "clip_length is 1099511627776: 2147483647"),
        ({"options": {"variant": ["2"]}}, "variant is a list"),
        ({"videos": "0a"}, "field `videos` is 0a"),
        ({"videos": {"train": {"a": 1}}}, "`videos` has a dict for train"),
        ({"videos": {"train": "a" * 10**6}}, "for train, which no run saves"),
        ({"content": {"val": {"counts": 5}}}, "`content` has a dict for val"),
        ({"content": {"val": [[["a"]]]}}, "`content` has a list for val"),
        ({"preprocessing": 5}, "field `preprocessing` is 5"),
        ({"preprocessing": {"clip_length": 16}}, "lacks clip_size"),
        ({"preprocessing": PREPROCESSING | {"flow": True}}, "has flow"),
        ({"preprocessing": PREPROCESSING | {"interval": "2@"}}, "val_frame_interval is 2@"),
        ({"preprocessing": PREPROCESSING | {"crop_scale": 0.5}}, "crop scale is 0.5"),
        ({"preprocessing": PREPROCESSING | {"colour": "BGR"}}, "colours BGR"),
        ({"preprocessing": PREPROCESSING | {"mean": [1.0, 2.0]}}, "mean is a list"),
        ({"preprocessing": PREPROCESSING | {"std": [1.0, 0.0, 1.0]}}, "must be above 0"),
    ],
)
def test_what_a_file_says_of_its_training_is_checked(tmp_path, changes, message):
    """Anybody can write the metadata of an exported file; a value of another kind would end in a traceback."""
    own = {"network": FACTS, "weights": {}, "classes": CLASSES}
    with pytest.raises(NetworkError, match=re.escape(message)):
        training_facts(own | changes)
    header = json.dumps({"__metadata__": {"srtg": json.dumps(own | changes)}}).encode()
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(NetworkError, match=re.escape(message)):
        training_facts(read_checkpoint(tmp_path / "x.safetensors"))
    with pytest.raises(NetworkError, match="`videos` is a Tensor"):
        training_facts(own | {"videos": torch.zeros(2)})
    assert not any(training_facts(changes).values())  # of another project


def test_a_checkpoint_of_others_has_no_saved_facts():
    assert saved_facts({"state_dict": {"a": torch.zeros(1)}, "epoch": 3}) is None
