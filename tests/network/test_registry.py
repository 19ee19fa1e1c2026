import zlib

import pytest
import torch

from common.errors import NetworkError
from network import create_network, network_names, registry
from network.registry import register
from network.resnet3d import R3D, Depth, basic_convs, register_resnet

# For the published networks of 400 classes: tensors in the state dict, parameters, and the CRC-32 of the sorted lines
# "<name> <size>x<size>...", joined by newlines.
PUBLISHED = {
    "r3d_18": (122, 33_371_472, 0x6B5740A7),
    "srtg_r3d_18": (186, 44_543_312, 0x818CD278),
    "r3d_34": (218, 63_681_104, 0x74FE945D),
    "srtg_r3d_34": (346, 83_861_072, 0x6816FC8B),
    "r3d_50": (314, 36_724_688, 0x36B15F58),
    "srtg_r3d_50": (442, 56_904_656, 0xD3492693),
    "r3d_101": (620, 69_060_048, 0x7BC5B118),
    "srtg_r3d_101": (884, 107_135_440, 0x9D68D5ED),
    "r3d_152": (926, 95_690_704, 0x150FADEB),
    "srtg_r3d_152": (1326, 148_507_600, 0xE8797642),
    "r3d_200": (1214, 103_305_168, 0xD0BA1FD5),
    "srtg_r3d_200": (1742, 160_349_136, 0xC564A86E),
    "r2plus1d_18": (224, 31_505_325, 0xAE620811),
    "srtg_r2plus1d_18": (288, 42_677_165, 0xF0F265A0),
    "r2plus1d_34": (416, 61_831_661, 0x26378F8B),
    "srtg_r2plus1d_34": (544, 82_011_629, 0x2401C7C9),
    "r2plus1d_50": (416, 34_863_287, 0x08BAEF99),
    "srtg_r2plus1d_50": (544, 55_043_255, 0xE2A0D407),
    "r2plus1d_101": (824, 67_218_231, 0xF21F91AF),
    "srtg_r2plus1d_101": (1088, 105_293_623, 0x66288083),
    "r2plus1d_152": (1232, 93_866_167, 0x64865753),
    "srtg_r2plus1d_152": (1632, 146_683_063, 0x8F744FCD),
    "r2plus1d_200": (1616, 101_489_847, 0x9FA3D8F7),
    "srtg_r2plus1d_200": (2144, 158_533_815, 0x12A49CD7),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_names_and_shapes(name):
    """A renamed or reshaped parameter would make the published checkpoints load in part or not at all."""
    with torch.device("meta"):
        network = create_network(name, 400)
    state_dict = network.state_dict()
    lines = sorted(f"{tensor} {'x'.join(map(str, value.shape))}" for tensor, value in state_dict.items())
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert (len(state_dict), parameters, zlib.crc32("\n".join(lines).encode())) == PUBLISHED[name]


def test_names():
    """A name that disappears breaks the commands and checkpoints that have it. Shallow networks come first."""
    depths = (10, 18, 34, 50, 101, 152, 200)
    plain = [f"{family}_{depth}" for family in ("r2plus1d", "r3d", "resnet3d") for depth in depths]
    plain += [f"{family}xt{row}" for family in ("r2plus1d", "r3d") for row in ("50_32x4d", "101_32x8d")]
    plain += [f"wide_{family}{row}" for family in ("r2plus1d", "r3d") for row in ("50_2", "101_2")]
    plain += [f"{kind}_csn_{depth}" for kind in ("ip", "ir") for depth in (26, 50, 101, 152)]
    plain += ["tv_r3d_18", "tv_r2plus1d_18", "tv_r2plus1d_34"]
    assert sorted(network_names()) == sorted(plain + [f"srtg_{name}" for name in plain])
    assert network_names("srtg_r3d_1?") == ["srtg_r3d_10", "srtg_r3d_18"]
    assert network_names("r3d_*") == [f"r3d_{depth}" for depth in depths]
    assert network_names("densenet*") == []


@pytest.mark.parametrize("typed", ["srtg_r3d34", "srtg-r3d-34", "SRTG_R3D_34", "srtg_r3d_35"])
def test_unknown_name_lists_near_ones(typed):
    """A mistyped name is answered with the right one."""
    with pytest.raises(NetworkError, match=f"'{typed}'.*srtg_r3d_34"):
        create_network(typed, 10)


def test_name_like_no_other_lists_all():
    """Without near names, users need all of them."""
    with pytest.raises(NetworkError, match=r"r2plus1d_10, .*srtg_r3d_200"):
        create_network("?", 10)


def test_duplicate_name_is_refused():
    """The second builder would silently replace the first, and checkpoints would be built with another network."""
    with pytest.raises(NetworkError, match="'r3d_18'"):
        register("r3d_18", lambda num_classes, gates, placement: create_network("r3d_34", num_classes))
    assert sum(parameter.numel() for parameter in create_network("r3d_18", 400).parameters()) == 33_371_472


def test_bad_arguments_are_refused():
    """The message names the value, and the values there are."""
    with pytest.raises(NetworkError, match=r"'bottom'.*start, top, mid, end, res, final"):
        create_network("srtg_r3d_18", 10, placement="bottom")
    with pytest.raises(NetworkError, match=r"srtg_r3d_18.*\b0 classes"):
        create_network("srtg_r3d_18", 0)
    with pytest.raises(NetworkError, match=r"srtg_r3d_18.*'run'"):
        create_network("srtg_r3d_18", ("run", "jump"))


@pytest.mark.parametrize("arguments", [{"gates": True}, {"placement": "top"}])
def test_option_without_effect_warns(arguments):
    """Gates on a network without SRTG do nothing; without a warning, users would compare a network with itself."""
    with pytest.warns(UserWarning, match="r3d_10.*SRTG"):
        create_network("r3d_10", 10, **arguments)


def test_a_row_of_a_table_gives_a_network_with_and_without_srtg(monkeypatch):
    """Adding a variant takes nothing else: no list of names, no second place."""
    monkeypatch.setattr(registry, "_builders", dict(registry._builders))
    register_resnet("r3d_14", R3D, Depth(basic_convs, (1, 2, 2, 1)))
    assert [name for name in network_names() if name.endswith("r3d_14")] == ["r3d_14", "srtg_r3d_14"]
    with torch.device("meta"):
        plain, srtg = create_network("r3d_14", 5), create_network("srtg_r3d_14", 5, gates=True)
        assert [len(stage) for stage in (plain.layer1, plain.layer2, plain.layer3, plain.layer4)] == [1, 2, 2, 1]
        assert len(srtg.open_gate_fractions()) == 6
