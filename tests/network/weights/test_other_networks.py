"""Weights of other projects come with their normalisation and eps: without either, a file loads whole and is wrong."""

import logging
from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from common.errors import NetworkError
from common.normalisation import NORMALISATIONS, SRTG, Normalisation
from network import VideoNetwork, create_network, load_checkpoint, load_network, load_weights, recognise
from network.base import EPS
from network.weights.facts import facts_of, saved_facts
from tests.network.plain_formulation import clips
from tests.network.weights.csn_projects import VMZ, MMAction, Names, PyTorchVideo, csn_logits, csn_shapes
from tests.network.weights.other_projects import (
    CHANNELS,
    HARA,
    Shapes,
    hara_shapes,
    norm_shapes,
    torchvision_shapes,
    weights_of,
)
from tests.network.weights.test_recognising import assert_same

OF_VMZ = ["", "stem", "stem.3", "layer1.0.conv2.0.2"]  # paths of modules, as torch.save keeps them with a state dict
PROJECTS = {
    "pytorchvideo": (PyTorchVideo(), "pytorchvideo"),
    "mmaction ir": (MMAction("ir"), "imagenet"),
    "mmaction ip": (MMAction("ip"), "imagenet"),
    "vmz ir": (VMZ("ir"), "torchvision"),
    "vmz ip": (VMZ("ip"), "torchvision"),
}


def with_modules(weights: dict[str, Tensor], paths: list[str]) -> OrderedDict:
    found = OrderedDict(weights)
    found._metadata = OrderedDict((path, {}) for path in paths)
    return found


def with_small_variances(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """As in trained networks: there eps counts. The scales of the norms make up for it."""
    for name in weights:
        if name.endswith("running_var"):
            weights[name] *= 1e-3
            weights[name.replace("running_var", "weight")] *= 1e-3**0.5
    return weights


def loaded(name: str, checkpoint: dict) -> VideoNetwork:
    network = create_network(name, 5).eval()
    report, _ = load_checkpoint(network, checkpoint)
    assert report.complete, report.rows()
    return network


@pytest.mark.parametrize("project", PROJECTS)
def test_csn_of_others_give_their_outputs(project):
    """Else 77 to 83 % on Kinetics-400 would become something else, without an error."""
    names, normalisation = PROJECTS[project]
    weights = with_small_variances(weights_of(csn_shapes(names, 26)))
    network = loaded(f"{names.kind}_csn_26", with_modules(weights, OF_VMZ))
    x = clips(2, 3, 5, 26, 19).float()
    with torch.no_grad():
        expected = csn_logits(names, 26, weights, x)
        assert_same(network(x), expected)
        network.set_eps(1e-5 if names.eps == 1e-3 else 1e-3)
        assert not torch.allclose(network(x), expected, rtol=1e-2)  # the test can tell
    assert network.normalisation == NORMALISATIONS[normalisation]


@pytest.mark.parametrize(
    ("names", "depth", "network", "eps"),
    [
        (PyTorchVideo(), 101, "ir_csn_101", 1e-5), (MMAction("ir"), 50, "ir_csn_50", 1e-3),
        (MMAction("ir"), 152, "ir_csn_152", 1e-3), (MMAction("ip"), 152, "ip_csn_152", 1e-3),
        (VMZ("ir"), 152, "ir_csn_152", 1e-3), (VMZ("ip"), 152, "ip_csn_152", 1e-3),
    ],
)  # fmt: skip
def test_published_csn_are_recognised(names: Names, depth, network, eps):
    """All tensors of each published depth find their place."""
    weights = with_modules(weights_of(csn_shapes(names, depth), "meta"), OF_VMZ)
    found = recognise({"model_state": weights} if isinstance(names, PyTorchVideo) else {"state_dict": weights})
    assert (found.network, found.eps) == (network, eps)
    with torch.device("meta"):
        assert load_weights(create_network(network, 5), found.state_dict).complete


def test_a_backbone_alone_is_recognised():
    """MMAction2's backbones of IG65M have no prefix and no classifier."""
    weights = weights_of(csn_shapes(MMAction("ir"), 50), "meta")
    backbone = {name.removeprefix("backbone."): value for name, value in weights.items() if "cls_head" not in name}
    found = recognise(backbone)
    assert (found.network, "fc.weight" in found.state_dict) == ("ir_csn_50", False)


CONFIG = """data_preprocessor=dict(type='ActionDataPreprocessor',
    mean=[110.2008, 100.63983, 95.99475], std=[58.14765, 56.46975,
        55.332195])"""


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ({}, "imagenet"), ({"cfg": CONFIG}, "torchvision"), ({"config": CONFIG}, "torchvision"),
        ({"cfg": CONFIG + ", to_bgr=False"}, "torchvision"), ({"cfg": CONFIG + ", to_rgb=False"}, "torchvision"),
        ({"cfg": CONFIG + "mean=[1, 2, 3]"}, "imagenet"), ({"cfg": 5}, "imagenet"),
    ],
)  # fmt: skip
def test_mmaction_configuration_tells_the_normalisation(meta, expected, caplog):
    """MMAction2 publishes CSN of two normalisations with the same tensors. Without its text, a warning names them."""
    weights = weights_of(csn_shapes(MMAction("ir"), 26))
    network = create_network("ir_csn_26", 5)
    load_checkpoint(network, {"state_dict": weights, "meta": meta})
    assert network.normalisation.mean == pytest.approx(NORMALISATIONS[expected].mean, abs=1e-3)
    assert network.normalisation.std == pytest.approx(NORMALISATIONS[expected].std, abs=1e-3)
    assert ("--normalisation torchvision" in caplog.text) == (expected == "imagenet")


def test_ip_csn_without_modules_is_taken_as_this_projects_with_a_warning(caplog):
    """VMZ's has the same names; a wrong guess would be silent."""
    weights = weights_of(csn_shapes(VMZ("ip"), 26))
    network = loaded("ip_csn_26", dict(weights))
    assert (network.eps, network.normalisation) == (EPS, SRTG)
    assert "0.001" in caplog.text
    caplog.clear()
    loaded("ip_csn_26", create_network("ip_csn_26", 5).state_dict())
    assert not caplog.text


def ig65m_shapes() -> Shapes:
    """torchvision's VideoResNet of 34 layers, with the middle channels that ig65m-pytorch gives it."""
    shapes = {"stem.0.weight": (45, 3, 1, 7, 7), **norm_shapes("stem.1", 45)}
    shapes |= {"stem.3.weight": (64, 45, 3, 1, 1), **norm_shapes("stem.4", 64)}
    into = 64
    for stage, (out, count) in enumerate(zip(CHANNELS, (3, 4, 6, 3), strict=True), start=1):
        for block in range(count):
            name = f"layer{stage}.{block}"
            for conv, channels in (("conv1", into), ("conv2", out)):
                middle = {
                    64: {64: 144},
                    128: {64: 230, 128: 288},
                    256: {128: 460, 256: 576},
                    512: {256: 921, 512: 1152},
                }
                shapes[f"{name}.{conv}.0.0.weight"] = (middle[out][channels], channels, 1, 3, 3)
                shapes |= norm_shapes(f"{name}.{conv}.0.1", middle[out][channels])
                shapes[f"{name}.{conv}.0.3.weight"] = (out, middle[out][channels], 3, 1, 1)
                shapes |= norm_shapes(f"{name}.{conv}.1", out)
            if into != out:
                shapes |= {
                    f"{name}.downsample.0.weight": (out, into, 1, 1, 1),
                    **norm_shapes(f"{name}.downsample.1", out),
                }
            into = out
    return shapes | {"fc.weight": (5, 512), "fc.bias": (5,)}


def ig65m_logits(w: dict[str, Tensor], x: Tensor) -> Tensor:
    def norm(name: str, x: Tensor) -> Tensor:
        statistics = (w[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *statistics, training=False, eps=1e-3)

    def conv(name: str, x: Tensor, stride: int) -> Tensor:
        x = F.conv3d(x, w[f"{name}.0.0.weight"], None, (1, stride, stride), (0, 1, 1))
        return F.conv3d(norm(f"{name}.0.1", x).relu(), w[f"{name}.0.3.weight"], None, (stride, 1, 1), (1, 0, 0))

    x = norm("stem.1", F.conv3d(x, w["stem.0.weight"], None, (1, 2, 2), (0, 3, 3))).relu()
    x = norm("stem.4", F.conv3d(x, w["stem.3.weight"], None, 1, (1, 0, 0))).relu()
    for stage, count in enumerate((3, 4, 6, 3), start=1):
        for block in range(count):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            out = norm(f"{name}.conv1.1", conv(f"{name}.conv1", x, stride)).relu()
            out = norm(f"{name}.conv2.1", conv(f"{name}.conv2", out, 1))
            if stride == 2:
                x = norm(f"{name}.downsample.1", F.conv3d(x, w[f"{name}.downsample.0.weight"], None, stride))
            x = (out + x).relu()
    return F.linear(x.mean((2, 3, 4)), w["fc.weight"], w["fc.bias"])


def test_ig65m_weights_give_their_outputs():
    """The R(2+1)D-34 of 65 million videos has an eps and middle channels of its own."""
    weights = with_small_variances(weights_of(ig65m_shapes()))
    network = loaded("tv_r2plus1d_34", weights)
    x = clips(1, 3, 3, 18, 17).float()
    with torch.no_grad():
        assert_same(network(x), ig65m_logits(weights, x))
    assert (network.eps, network.normalisation) == (1e-3, NORMALISATIONS["torchvision"])


@pytest.mark.parametrize(
    ("checkpoint", "normalisation"),
    [
        (weights_of(torchvision_shapes("r3d"), "meta"), "torchvision"),
        (weights_of(ig65m_shapes(), "meta"), "torchvision"),
        ({"state_dict": weights_of(hara_shapes(*HARA["resnet3d_10"]), "meta")}, "hara2020"),
    ],
)
def test_normalisation_of_others_is_known(checkpoint, normalisation):
    found = recognise(checkpoint)
    assert found.is_known
    assert found.normalisation == NORMALISATIONS[normalisation]


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [
        ("srtg", (124, 117, 104), (59.88, 59.88, 59.88)),
        ("srtg-original", (104, 117, 124), (59.88, 59.88, 59.88)),  # BGR in its own files
        ("torchvision", (110.2008, 100.63983, 95.99475), (58.14765, 56.46975, 55.332195)),
        ("imagenet", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
        ("pytorchvideo", (114.75,) * 3, (57.375,) * 3),
        ("hara2020", (110.7975, 103.3005, 96.2625), (70.584, 69.1815, 69.7935)),
        ("hara2018", (114.7748, 107.7354, 99.475), (1, 1, 1)),
    ],
)
def test_named_normalisations(name, mean, std):
    """In grey levels, as the projects publish them."""
    assert NORMALISATIONS[name].mean == pytest.approx(mean, abs=1e-3)
    assert NORMALISATIONS[name].std == pytest.approx(std, abs=1e-2)


def test_the_papers_weights_expect_the_mean_of_bgr_reversed():
    """The original subtracts (124, 117, 104) from BGR frames: red is its last channel."""
    weights = create_network("r3d_10", 5).state_dict()
    network = create_network("r3d_10", 5)
    load_checkpoint(network, {"state_dict": {f"module.{name}": value for name, value in weights.items()}})
    assert network.normalisation.mean == (104, 117, 124)


def test_hara_files_are_ambiguous_and_a_flag_decides(caplog):
    """Those of 2018 take grey levels that are not divided: a network of the others would be at chance."""
    weights = weights_of(hara_shapes(*HARA["resnet3d_10"]))
    network = create_network("resnet3d_10", 5)
    load_checkpoint(network, weights)
    assert "hara2018" in caplog.text and "hara2020" in caplog.text
    caplog.clear()
    load_checkpoint(network, weights, normalisation=NORMALISATIONS["hara2018"])
    assert network.normalisation == NORMALISATIONS["hara2018"]
    assert not caplog.text


def test_another_normalisation_than_a_known_one_is_warned_of(caplog):
    network = create_network("tv_r3d_18", 5)
    load_checkpoint(network, weights_of(torchvision_shapes("r3d")), normalisation=SRTG)
    assert network.normalisation == SRTG
    assert "torchvision" in caplog.text


def test_unknown_weights_are_taken_with_this_projects_and_said_to_be():
    network = create_network("r3d_10", 5, normalisation=NORMALISATIONS["imagenet"])
    _, origin = load_checkpoint(network, create_network("r3d_10", 5).state_dict())
    assert network.normalisation == SRTG
    assert "srtg" in origin and "does not tell" in origin


def own_checkpoint(normalisation: Normalisation = NORMALISATIONS["torchvision"], eps: float = 1e-3) -> dict:
    network = create_network("r3d_10", 5, normalisation=normalisation, eps=eps)
    return {"network": facts_of(network), "weights": network.state_dict(), "classes": list("abcde")}


def test_files_of_this_project_keep_both(tmp_path):
    """A network that was fine-tuned from others' weights still expects what they did."""
    torch.save(own_checkpoint(), tmp_path / "x.pth")
    network, _, facts, *_ = load_network(tmp_path / "x.pth")
    assert (network.normalisation, network.eps) == (NORMALISATIONS["torchvision"], 1e-3)
    assert (facts["normalisation"], facts["eps"]) == (network.normalisation, 1e-3)
    norms = [module.eps for module in network.modules() if isinstance(module, torch.nn.BatchNorm3d)]
    assert set(norms) == {1e-3}
    other = create_network("r3d_10", 5)
    load_checkpoint(other, own_checkpoint())
    assert facts_of(other) == facts_of(network)


def test_a_flag_must_not_contradict_a_file_of_this_project():
    with pytest.raises(NetworkError, match=r"torchvision.*leave --normalisation out"):
        load_checkpoint(create_network("r3d_10", 5), own_checkpoint(), normalisation=SRTG)


def test_older_files_have_the_normalisation_of_their_preprocessing():
    """It was always this project's, unless somebody wrote another one."""
    old = own_checkpoint()
    old["network"] = {name: old["network"][name] for name in ("name", "gates", "placement", "num_classes")}
    assert (saved_facts(old)["normalisation"], saved_facts(old)["eps"]) == (SRTG, EPS)
    clips_of = {"clip_length": 4, "clip_size": 32, "interval": 1, "crop_scale": 1.1, "colour": "RGB"}
    preprocessing = clips_of | {"mean": [1.0, 2.0, 3.0], "std": [4.0, 5.0, 6.0]}
    found = saved_facts(old | {"preprocessing": preprocessing})["normalisation"]
    assert found == Normalisation((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    with pytest.raises(NetworkError, match="its preprocessing gives"):
        saved_facts(own_checkpoint() | {"preprocessing": preprocessing})


@pytest.mark.parametrize("prefix", ["model.", "backbone.", "encoder.", "model.backbone."])
@pytest.mark.parametrize("wrapper", ["model_state", "weights", "ema"])
def test_prefixes_and_wrappers_are_removed(prefix, wrapper):
    weights = create_network("r3d_10", 5).state_dict()
    found = recognise({wrapper: {prefix + name: value for name, value in weights.items()}})
    assert list(found.state_dict) == list(weights)


def test_an_unknown_prefix_or_wrapper_is_named():
    """Else the user sees two lists of names and has to find the difference."""
    weights = create_network("r3d_10", 5).state_dict()
    with pytest.raises(NetworkError, match=r"without the prefix `video_tower\.`"):
        load_checkpoint(create_network("r3d_10", 5), {f"video_tower.{name}": value for name, value in weights.items()})
    with pytest.raises(NetworkError, match=r"tensors under student_weights"):
        recognise({"student_weights": weights, "epoch": 3})


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        ({"backbone.conv1.conv.conv_s.weight": torch.ones(1)}, r"83 middle channels"),
        ({"backbone.conv1.conv.weight": torch.ones(1), "backbone.layer1.0.conv1.conv.weight": torch.ones(1)}, "no CSN"),
        (
            {"blocks.0.conv.weight": torch.ones(1), "blocks.1.res_blocks.0.branch2.conv_a.weight": torch.ones(1)},
            "PyTorchVideo's, but no CSN",
        ),
        ({"conv1.weight": torch.ones(64, 3, 7, 7), "layer1.0.conv1.weight": torch.ones(1)}, "--inflate"),
    ],
)
def test_networks_without_counterpart_are_refused_with_the_reason(weights, reason):
    with pytest.raises(NetworkError, match=reason):
        recognise(weights)


@pytest.fixture(autouse=True)
def log(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("srtg"), "propagate", True)
    caplog.set_level(logging.INFO, "srtg")
