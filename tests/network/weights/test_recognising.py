"""Weights of other projects: recognised, translated with the same outputs, or refused with a reason."""

from collections import OrderedDict

import pytest
import torch
from torch import Tensor

from common.errors import NetworkError
from common.normalisation import NORMALISATIONS, SRTG
from network import VideoNetwork, create_network, load_checkpoint, load_weights, recognise
from network.base import EPS
from network.weights.recognising import network_facts
from tests.network.plain_formulation import clips
from tests.network.weights.exported import network_of
from tests.network.weights.other_projects import (
    HARA,
    hara_logits,
    hara_shapes,
    torchvision_logits,
    torchvision_shapes,
    weights_of,
)


@pytest.fixture(scope="module")
def source() -> VideoNetwork:
    """The network whose weights were saved in some form."""
    torch.manual_seed(1)
    return create_network("srtg_r3d_10", 4).eval()


def test_published_checkpoint_answers_to_rgb_as_it_did_to_bgr(source):
    """The original's networks read BGR; without the reversal, red and blue would be swapped without an error."""
    checkpoint = {
        "epoch": 80,
        "state_dict": {f"module.{name}": tensor for name, tensor in source.state_dict().items()},
        "optimizer": {"state": {}, "param_groups": []},
    }
    published = recognise(checkpoint)
    assert published.is_paper
    assert "BGR" in published.origin
    network = create_network("srtg_r3d_10", 4).eval()
    load_weights(network, published.state_dict, strict=True)
    bgr = torch.randn(2, 3, 4, 24, 24)
    with torch.no_grad():
        torch.testing.assert_close(network(bgr.flip(1)), source(bgr))
    # The caller's tensors are not changed.
    assert torch.equal(checkpoint["state_dict"]["module.stem.0.weight"], source.stem[0].weight)


@pytest.mark.parametrize("name", ["r2plus1d_10", "srtg_r3d_50"])
def test_the_papers_form_is_recognised_in_every_family(name):
    """Weights of a family that is not recognised would get RGB frames where they need BGR."""
    with torch.device("meta"):
        state_dict = create_network(name, 400).state_dict()
    parallel = {f"module.{tensor}": value for tensor, value in state_dict.items()}
    assert recognise({"state_dict": parallel}).is_paper


def test_a_file_with_half_of_the_papers_form_is_taken_as_rgb_and_said_to_be(source):
    """Any project saves {"state_dict": ...}, and any run on several GPUs `module.` names: the stem stays as it is."""
    weights = dict(source.state_dict())  # without the modules' names, which would tell whose they are
    for checkpoint in ({"state_dict": weights}, {"model": {f"module.{name}": each for name, each in weights.items()}}):
        found = recognise(checkpoint)
        assert not found.is_paper
        assert torch.equal(found.state_dict["stem.0.weight"], source.stem[0].weight)
        assert "RGB" in found.origin and "BGR" in found.origin


def in_parallel(network: VideoNetwork) -> dict:
    """As torch.save({"state_dict": nn.DataParallel(network).state_dict()}), which has the modules' names."""
    parallel = torch.nn.Module()
    parallel.module = network
    return {"epoch": 3, "state_dict": parallel.state_dict()}


def test_this_projects_weights_in_the_papers_form_keep_their_colours(source, caplog):
    """A common habit of scripts: the stem would be reversed, and every clip read with the wrong colours."""
    network = create_network("srtg_r3d_10", 4)
    load_checkpoint(network, in_parallel(source))
    assert torch.equal(network.stem[0].weight, source.stem[0].weight) and network.normalisation == SRTG
    assert not caplog.text


def test_where_the_modules_names_do_not_tell_a_warning_does(source, caplog):
    """Of a file that was put together anew, nothing tells the colours; the paper's own files need no warning."""
    checkpoint = in_parallel(source)
    network = create_network("srtg_r3d_10", 4)
    original = OrderedDict(checkpoint["state_dict"])
    original._metadata = {"module.stem.0": {}, "module.avgpool": {}}
    report, origin = load_checkpoint(network, {"state_dict": original})
    assert report.complete and "published with the paper" in origin and not caplog.text
    load_checkpoint(network, {"state_dict": dict(checkpoint["state_dict"])}, normalisation=SRTG)
    assert "BGR" in caplog.text and "network.module.state_dict()" in caplog.text
    caplog.clear()
    bgr = NORMALISATIONS["srtg-original"]
    load_checkpoint(network, {"state_dict": dict(checkpoint["state_dict"])}, normalisation=bgr)
    assert not caplog.text


@pytest.mark.parametrize("wrap", [lambda weights: weights, lambda weights: {"model": weights, "epoch": 3}])
def test_other_state_dicts_are_taken_as_rgb(source, wrap):
    """Weights saved from a network of this project must not get their channels reversed."""
    weights = recognise(wrap(source.state_dict()))
    assert torch.equal(weights.state_dict["stem.0.weight"], source.stem[0].weight)
    assert not weights.is_paper
    assert "BGR" not in weights.origin


@pytest.mark.parametrize("metadata", [{1: {}}, 5, ["a", 3], {None: 1}], ids=repr)
def test_an_attribute_that_is_none_of_torchs_is_passed_over(source, metadata):
    """A file may have any; each such one ended in a traceback."""
    state_dict = OrderedDict(source.state_dict())
    state_dict._metadata = metadata
    assert recognise({"state_dict": state_dict}).state_dict.keys() == source.state_dict().keys()


def test_a_name_of_many_prefixes_does_not_take_hours():
    """It was cut off one at a time: a file of 8 MB kept every command busy."""
    assert recognise({"net." * 2_000_000 + "bias": torch.zeros(2)}).state_dict.keys() == {"bias"}


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module."])
def test_prefixes_are_removed(source, prefix):
    """Weights saved from DataParallel or a compiled network would match no name."""
    state_dict = {prefix + name: tensor for name, tensor in source.state_dict().items()}
    assert list(recognise(state_dict).state_dict) == list(source.state_dict())


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("bgr", [False, True])
def test_callers_can_set_the_order_of_channels(source, bgr, published):
    """If the form of the file does not tell, or misleads, the caller decides."""
    checkpoint = {"state_dict": source.state_dict()} if published else source.state_dict()
    stem = recognise(checkpoint, bgr=bgr).state_dict["stem.0.weight"]
    assert torch.equal(stem, source.stem[0].weight.flip(1) if bgr else source.stem[0].weight)


@pytest.mark.parametrize(
    ("checkpoint", "message"),
    [
        ({"epoch": 3, "loss": 0.1}, "epoch, loss.*state_dict"),
        ({"state_dict": {}}, "state_dict"),
        ({"module.a": torch.ones(1), "a": torch.ones(1)}, r"module\."),
    ],
)
def test_what_is_no_checkpoint_is_refused(checkpoint, message):
    """The message names the keys that were found and those that are tried."""
    with pytest.raises(NetworkError, match=message):
        recognise(checkpoint)


def test_bgr_without_a_stem_is_refused():
    """Without channels to reverse, the weights would get the wrong colours."""
    with pytest.raises(NetworkError, match=r"stem\.0\.weight"):
        recognise({"fc.weight": torch.ones(2, 2)}, bgr=True)


def loaded(name: str, checkpoint: dict) -> VideoNetwork:
    network = create_network(name, 5).eval()
    report, _ = load_checkpoint(network, checkpoint)
    assert report.complete, report.rows()
    return network


def assert_same(logits: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("kind", ["r3d", "r2plus1d"])
def test_torchvision_weights_give_torchvision_outputs(kind):
    """Else a network trained with torchvision would predict something else here."""
    weights = weights_of(torchvision_shapes(kind))
    x = clips(2, 3, 5, 26, 19).float()
    network = loaded(f"tv_{kind}_18", weights)
    with torch.no_grad():
        assert_same(network(x), torchvision_logits(weights, x))


@pytest.mark.parametrize("name", ["resnet3d_18", "resnet3d_50"])
def test_hara_weights_give_hara_outputs(name):
    """Else a network trained with 3D-ResNets-PyTorch would predict something else here."""
    weights = weights_of(hara_shapes(*HARA[name]))
    checkpoint = {
        "epoch": 200,
        "arch": "resnet",
        "state_dict": {f"module.{key}": value for key, value in weights.items()},
    }
    x = clips(2, 3, 5, 26, 19).float()
    with torch.no_grad():
        assert_same(loaded(name, checkpoint)(x), hara_logits(weights, x))


@pytest.mark.parametrize("name", HARA)
def test_each_depth_of_hara_is_recognised(name):
    """All tensors of each published depth find their place."""
    weights = weights_of(hara_shapes(*HARA[name]), "meta")
    published = recognise({"state_dict": weights})
    assert published.network == name
    with torch.device("meta"):
        assert load_weights(create_network(name, 5), published.state_dict).complete


def test_files_without_batch_counters_load_completely():
    """Files from PyTorch 0.3 have none; they must not be refused for that."""
    weights = weights_of(hara_shapes(*HARA["resnet3d_10"]))
    loaded("resnet3d_10", {name: value for name, value in weights.items() if not name.endswith("tracked")})


def test_srtg_can_be_added_to_weights_of_others():
    """Everything but SRTG and the classifier comes from the file."""
    network = create_network("srtg_resnet3d_10", 7)
    report, origin = load_checkpoint(network, weights_of(hara_shapes(*HARA["resnet3d_10"])))
    assert "Hara" in origin
    assert all(".sar.lstm." in name for name in report.missing)
    assert [skipped.name for skipped in report.skipped] == ["fc.weight", "fc.bias"]
    assert not report.unexpected


def test_torchvision_r2plus1d_is_recognised_by_its_modules():
    """Its tensors have the names and shapes of the paper's r2plus1d_18, but it has no max-pool."""
    weights = weights_of(torchvision_shapes("r2plus1d"), "meta")
    with torch.device("meta"):
        ours, theirs = create_network("r2plus1d_18", 5), create_network("tv_r2plus1d_18", 5)
        assert {n: v.shape for n, v in weights.items()} == {n: v.shape for n, v in ours.state_dict().items()}
        assert "tv_r2plus1d_18" in recognise(weights).origin
        weights._metadata = OrderedDict({"": {"version": 1}, "stem": {}, "layer1.0.relu": {}})
        with pytest.raises(NetworkError, match="--network tv_r2plus1d_18"):
            load_checkpoint(ours, weights)
        assert load_checkpoint(theirs, weights)[0].complete


@pytest.mark.parametrize(("kind", "pool"), [("r3d", "stem.3"), ("r2plus1d", "stem.6")])
def test_a_max_pool_in_the_stem_is_refused(kind, pool):
    """VMZ's networks may have one, which has no tensors: loaded as torchvision's, they would answer something else."""
    weights = weights_of(torchvision_shapes(kind), "meta")
    modules = {"": {"version": 1}, "stem": {}, "stem.0": {}, "layer1.0.relu": {}}
    weights._metadata = OrderedDict(modules)
    assert "torchvision" in recognise(weights).origin
    weights._metadata = OrderedDict(modules | {pool: {}})
    with pytest.raises(NetworkError, match=pool):
        recognise(weights)


def changed(name: str, **changes: tuple[int, ...] | None) -> OrderedDict:
    shapes = hara_shapes(*HARA[name]) | {key.replace("__", "."): shape for key, shape in changes.items()}
    return weights_of({key: shape for key, shape in shapes.items() if shape is not None}, "meta")


SHORTCUT_A = {name: shape for name, shape in hara_shapes(*HARA["resnet3d_18"]).items() if "downsample" not in name}


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        (weights_of(torchvision_shapes("mc3"), "meta"), "mc3_18.*--network tv_r3d_18"),
        (weights_of(SHORTCUT_A, "meta"), "shortcut type A.*type B"),
        (changed("resnet3d_18", conv1__weight=(64, 3, 3, 7, 7)), "64x3x3x7x7.*64x3x7x7x7"),
        (changed("resnet3d_18", conv1__weight=(64, 1, 7, 7, 7)), "64x1x7x7x7.*64x3x7x7x7"),
        (changed("resnet3d_18", layer2__0__bn1__weight=(64,)), r"layer2\.0\.conv1\.1\.weight"),
        (changed("resnet3d_50", layer1__0__conv2__weight=(128, 4, 3, 3, 3)), "layer1.0.conv2.*ResNeXt"),
        (weights_of(hara_shapes((2, 2, 2, 3), False), "meta"), "resnet3d_20"),
        ({"conv1_s.weight": torch.ones(1), "fc.bias": torch.ones(1)}, r"Hara's R\(2\+1\)D"),
    ],
)  # fmt: skip
def test_what_has_no_counterpart_is_refused_with_a_reason(weights, reason):
    """Loaded in part, such weights would give a network that predicts nonsense."""
    with pytest.raises(NetworkError, match=reason):
        recognise(weights)


def test_facts_of_this_projects_checkpoints_are_those_saved():
    """Gates and placement have no tensors: a network built without them would predict something else."""
    saved = {"name": "srtg_r3d_10", "gates": True, "placement": "mid", "num_classes": 4}
    classifier = {"fc.bias": torch.zeros(4), "fc.weight": torch.zeros(4, 512)}
    assert network_facts({"network": saved, "weights": classifier}) == saved | {"normalisation": SRTG, "eps": EPS}
    with pytest.raises(NetworkError, match=r"srtg_r3d_10.*r3d_18.*--network"):
        network_facts({"network": saved, "weights": {}}, "r3d_18")


def test_facts_of_other_checkpoints_are_recognised_or_asked_for(source):
    """The number of classes comes from the classifier, the network from the weights or the user."""
    facts = {"gates": False, "placement": "final"}
    weights = weights_of(hara_shapes(*HARA["resnet3d_10"]), "meta")
    weights |= {"fc.bias": torch.zeros(5), "fc.weight": torch.zeros(5, 512)}
    hara = facts | {"normalisation": NORMALISATIONS["hara2020"], "eps": EPS}
    assert network_facts(weights) == {"name": "resnet3d_10", "num_classes": 5, **hara}
    facts |= {"normalisation": SRTG, "eps": EPS}
    assert network_facts(source.state_dict(), "srtg_r3d_10") == {"name": "srtg_r3d_10", "num_classes": 4, **facts}
    with pytest.raises(NetworkError, match="--network"):
        network_facts(source.state_dict())
    headless = {name: tensor for name, tensor in source.state_dict().items() if not name.startswith("fc.")}
    with pytest.raises(NetworkError, match=r"fc\.bias"):
        network_facts(headless, "srtg_r3d_10")


@pytest.mark.parametrize(
    ("wrap", "said"),
    [
        (lambda w: {"weights": w}, "`weights`"),
        (lambda w: {"model_state": w, "epoch": 3}, "`model_state`"),
        (lambda w: {"state_dict": {"state_dict": w}}, "`state_dict.state_dict`"),
        (lambda w: {"state_dict": {f"model.{name}": value for name, value in w.items()}}, "`model.`"),
        (lambda w: {"state_dict": {f"module.net.{name}": value for name, value in w.items()}}, "`module.net.`"),
    ],
)
def test_wrappers_and_prefixes_of_other_tools_are_removed_and_said(wrap, said):
    """Lightning, SlowFast and hand-written scripts save the same weights in other places."""
    weights = create_network("r3d_10", 5).state_dict()
    found = recognise(wrap(weights), bgr=False)
    assert found.state_dict.keys() == weights.keys()
    assert said in found.origin


def test_two_sets_of_weights_are_not_chosen_between():
    """One may be the average of the other over time, or of another network."""
    weights = create_network("r3d_10", 5).state_dict()
    with pytest.raises(NetworkError, match="`model` and `net`"):
        recognise({"model": weights, "net": weights})


@pytest.mark.parametrize(
    "checkpoint",
    [
        {0: torch.zeros(2)}, {"state_dict": {(1, 2): torch.zeros(1)}}, {torch.tensor(1.0): torch.zeros(1)},
        {None: torch.zeros(2), "state_dict": None}, {"state_dict": {}}, {},
    ],
)  # fmt: skip
def test_tensors_without_names_are_an_error(checkpoint):
    with pytest.raises(NetworkError):
        recognise(checkpoint)


def test_torchvisions_file_of_2019_loads_without_its_counts_of_steps():
    weights = weights_of(torchvision_shapes("r3d"), "meta")
    found = recognise({name: value for name, value in weights.items() if "num_batches_tracked" not in name})
    assert found.network == "tv_r3d_18"


def test_a_lightning_file_is_not_taken_for_one_of_the_paper():
    """Both have the key `state_dict`; of the paper's, the stem's input channels are reversed."""
    weights = create_network("r3d_10", 5).state_dict()
    found = recognise({"state_dict": {f"model.{name}": value for name, value in weights.items()}})
    assert not found.is_paper
    assert torch.equal(found.state_dict["stem.0.weight"], weights["stem.0.weight"])
    assert recognise({"state_dict": {f"module.{name}": value for name, value in weights.items()}}).is_paper


@pytest.mark.parametrize(
    "prefix",
    ["_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "module.model.", "module.module.", "model.module."],
)
def test_a_compiled_network_in_parallel_is_not_taken_for_one_of_the_paper(prefix):
    """It is of this project, also where the modules' names were lost: its red and blue were exchanged."""
    weights = create_network("r3d_10", 5).state_dict()
    found = recognise({"state_dict": {f"{prefix}{name}": value for name, value in weights.items()}})
    assert not found.is_paper and not found.doubt and "BGR" not in found.origin
    assert torch.equal(found.state_dict["stem.0.weight"], weights["stem.0.weight"])


def many_classes(count, saved_rows=3, **changes):
    """A checkpoint that claims `count` classes."""
    facts = {"name": "r3d_10", "gates": False, "placement": "final", "num_classes": count}
    weights = network_of("r3d_10", num_classes=saved_rows).state_dict() | changes
    return {"network": facts, "weights": {name: value for name, value in weights.items() if value is not None}}


@pytest.mark.parametrize(
    "count", [4, 2 * 10**7, 10**12, 10**30, 1 << 20_000], ids=["4", "2e7", "1e12", "1e30", "large"]
)
def test_a_number_of_classes_that_the_file_does_not_hold_is_refused(count):
    """The network would be built first, and 20 million classes take 41 GB."""
    with pytest.raises(NetworkError, match=r"classes, but the file has a classifier of 3") as caught:
        network_facts(many_classes(count))
    assert len(str(caught.value)) < 200
    with pytest.raises(NetworkError, match=r"classes, but the file has a classifier of none"):
        network_facts(many_classes(count, **{"fc.weight": None, "fc.bias": None}))


@pytest.mark.parametrize("is_own", [True, False])
def test_a_small_classifier_does_not_ask_for_a_large_network(is_own):
    """Expanded and empty tensors have any size in a file of a kilobyte."""
    count = 2 * 10**7
    for bias, weight in [
        (torch.zeros(1).expand(count), torch.zeros(1, 1).expand(count, 512)),
        (torch.zeros(count, device="meta"), torch.zeros(count, 512, device="meta")),
        (torch.zeros(count, dtype=torch.uint8), torch.zeros(count, 1, dtype=torch.uint8)),
    ]:
        checkpoint = many_classes(count, **{"fc.bias": bias, "fc.weight": weight})
        with pytest.raises(NetworkError, match=r"fc\.\w+ in the checkpoint is expanded|has no fc|has 20000000x1 as fc"):
            network_facts(checkpoint if is_own else checkpoint["weights"], "" if is_own else "r3d_10")


def test_a_dict_that_holds_itself_is_refused():
    checkpoint = {"epoch": 1}
    checkpoint["model"] = checkpoint
    with pytest.raises(NetworkError, match="no weights"):
        recognise(checkpoint)
