"""CSN of other projects that compute something else from the same tensors: each would load whole and predict worse."""

import pytest
import torch

from common.errors import NetworkError
from network import create_network, load_checkpoint, recognise
from network.base import EPS
from tests.network.weights.csn_projects import VMZ, MMAction, Names, PyTorchVideo, csn_shapes
from tests.network.weights.other_projects import weights_of
from tests.network.weights.test_other_networks import with_modules

BACKBONE = """model = dict(
    backbone=dict(
        type='ResNet3dCSN',
        pretrained2d=False,
        depth=152,
        with_pool2=False,
        bottleneck_mode='ir',
        norm_eval=True,
        zero_init_residual=False),
    cls_head=dict(type='I3DHead', num_classes=400, in_channels=2048, spatial_type='avg'),
    data_preprocessor=dict(
        mean=[110.2008, 100.63983, 95.99475],
        std=[58.14765, 56.46975, 55.332195],
        format_shape='NCTHW'))
optimizer = dict(type='AdamW', lr=0.1, eps=1e-8)
"""
ALL_SAID = """with_pool2=False, conv1_stride_t=1, pool1_stride_t=1, temporal_strides=(
    1, 2, 2, 2), spatial_strides=[1, 2, 2, 2], dilations=(1, 1, 1, 1, ), style='pytorch', inflate_style='3x3x3',
    norm_cfg=dict(type='SyncBN', requires_grad=True, eps=1e-3), to_bgr=False"""
POOLS = {
    "pytorchvideo": (PyTorchVideo(), "blocks.0.conv", "blocks.0.pool"),
    "vmz ir": (VMZ("ir"), "stem.0", "stem.3"),
    "vmz ip": (VMZ("ip"), "stem.0", "stem.3"),
}


def mmaction(config: str, key: str = "cfg", kind: str = "ir") -> dict:
    return {"state_dict": weights_of(csn_shapes(MMAction(kind), 26), "meta"), "meta": {key: config}}


def with_setting(setting: str) -> str:
    return BACKBONE.replace("with_pool2=False", f"with_pool2=False, {setting}")


@pytest.mark.parametrize("kind", ["ir", "ip"])
@pytest.mark.parametrize("config", [BACKBONE, with_setting(ALL_SAID), ALL_SAID, "", "'with_pool2': False"])
def test_mmactions_published_settings_load(config, kind):
    found = recognise(mmaction(config, kind=kind))
    assert (found.network, found.eps) == (f"{kind}_csn_26", 1e-3)
    assert ("does not tell" in found.origin) == ("with_pool2" not in config)


@pytest.mark.parametrize("key", ["cfg", "config"])
@pytest.mark.parametrize(
    ("config", "named"),
    [
        (BACKBONE.replace("with_pool2=False", "with_pool2 = True"), "with_pool2=True"),
        (BACKBONE.replace("with_pool2=False,", ""), "with_pool2=True"),  # its default
        ("dict('with_pool2': True)", "with_pool2=True"),
        (with_setting("pool1_stride_t=2"), "pool1_stride_t=2"),
        (with_setting("conv1_stride_t=2"), "conv1_stride_t=2"),
        (with_setting("conv1_stride_s=1"), "conv1_stride_s=1"),
        (with_setting("pool1_stride_s=1"), "pool1_stride_s=1"),
        (with_setting("temporal_strides=(1, 1,\n 1, 1)"), "temporal_strides=1, 1, 1, 1"),
        (with_setting("spatial_strides=[1, 2, 2, 1]"), "spatial_strides=1, 2, 2, 1"),
        (with_setting("dilations=(1, 1, 1, 2)"), "dilations=1, 1, 1, 2"),
        (with_setting("style='caffe'"), "style=caffe"),
        (BACKBONE.replace("mean=", "to_rgb=True, mean="), "BGR.*to_rgb=True"),
        (BACKBONE + "img_norm_cfg = dict(mean=[1, 2, 3], to_bgr = True)", "BGR.*to_bgr=True"),
        (with_setting("norm_cfg=dict(eps=1e-3), norm_cfg=dict(eps=1e-4)"), "eps 1e-3, 1e-4"),
        (with_setting("norm_cfg=dict(eps=small)"), "eps small"),
    ],
)
def test_what_mmactions_configuration_says_of_another_network_is_refused(config, named, key):
    """With `with_pool2=True`, the default of its 3D ResNets, there is a second max-pool, over time."""
    with pytest.raises(NetworkError, match=named):
        recognise(mmaction(config, key))


@pytest.mark.parametrize(("norm", "eps"), [("type='BN3d'", EPS), ("type='BN3d', eps=2e-4", 2e-4)])
def test_mmactions_eps_is_that_of_its_configuration(norm, eps):
    """A `norm_cfg` without eps has PyTorch's, not that of the published files."""
    network = create_network("ir_csn_26", 5)
    checkpoint = mmaction(with_setting(f"norm_cfg=dict({norm})"))
    with torch.device("meta"):
        found = recognise(checkpoint)
    assert found.eps == eps
    weights = weights_of(csn_shapes(MMAction(), 26))
    load_checkpoint(network, checkpoint | {"state_dict": weights})
    assert network.eps == eps


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("project", POOLS)
def test_a_stem_without_a_pool_is_refused(project, prefix):
    """`create_csn()` and `use_pool1=False` have none: all features would be half as large as in training."""
    names, stem, pool = POOLS[project]
    weights = {prefix + name: value for name, value in weights_of(csn_shapes(names, 26), "meta").items()}
    paths = ["", prefix + stem]
    with pytest.raises(NetworkError, match="without a max-pool"):
        recognise({"model_state": with_modules(weights, paths)})
    found = recognise({"model_state": with_modules(weights, [*paths, prefix + pool])})
    assert found.network == f"{names.kind}_csn_26"
    assert "does not tell" not in found.origin


@pytest.mark.parametrize("names", [PyTorchVideo(), VMZ("ir")])
@pytest.mark.parametrize("paths", [[], ["", "other.stem"]])
def test_a_file_without_modules_is_taken_as_published_and_said_to_be(names: Names, paths):
    found = recognise(with_modules(weights_of(csn_shapes(names, 26), "meta"), paths))
    assert found.network == "ir_csn_26"
    assert "max-pool" in found.origin


@pytest.mark.parametrize("name", ["ip_csn_26", "ir_csn_26"])
def test_this_projects_csn_are_not_taken_for_vmzs(name):
    """They have `stem.0` and no `stem.3`: their pool is a module beside the stem."""
    with torch.device("meta"):
        found = recognise(create_network(name, 5).state_dict())
    assert (found.network, found.doubt) == ("", "")
