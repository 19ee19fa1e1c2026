import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import hubconf
from common.errors import NetworkError
from network import create_network, network_names

ROOT = Path(__file__).resolve().parents[2]

HUB = """
import sys, torch
network = torch.hub.load(sys.argv[1], "srtg_r3d_10", source="local", num_classes=3, gates=True, pretrained=sys.argv[2])
sys.path.insert(0, sys.argv[1])
import hubconf
entries = [name for name in dir(hubconf) if callable(getattr(hubconf, name)) and not name.startswith("_")]
print(len(entries), [name for name in entries if "r3d_34" in name], float(network.fc.weight.sum()))
"""


def test_torch_hub_has_every_network(tmp_path):
    """Called from a folder outside the project, as users do; only networks are entries."""
    weights = create_network("srtg_r3d_10", 3, gates=True).state_dict()
    facts = {"name": "srtg_r3d_10", "gates": True, "placement": "final", "num_classes": 3}
    torch.save({"network": facts, "weights": weights, "classes": ["a", "b", "c"]}, tmp_path / "x.pth")
    environment = os.environ | {"TORCH_HOME": str(tmp_path)}
    command = [sys.executable, "-c", HUB, str(ROOT), str(tmp_path / "x.pth")]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    total = float(weights["fc.weight"].sum())
    assert done.stdout.strip() == f"{len(network_names())} ['r3d_34', 'srtg_r3d_34'] {total}"


@pytest.fixture
def checkpoint(tmp_path):
    """The file of a network with gates, within the block."""
    facts = {"name": "srtg_r3d_10", "gates": True, "placement": "mid", "num_classes": 3}
    torch.save({"network": facts, "weights": create_network(**facts).state_dict()}, tmp_path / "x.pth")
    return str(tmp_path / "x.pth")


def test_the_file_decides_what_the_caller_does_not_say(checkpoint):
    """Without the gates the same weights compute something else, and no tensor shows it."""
    network = hubconf.srtg_r3d_10(pretrained=checkpoint)
    assert (network.num_classes, network.gates, network.placement) == (3, True, "mid")
    assert (hubconf.srtg_r3d_10().num_classes, hubconf.srtg_r3d_10().gates) == (400, False)


@pytest.mark.parametrize(
    ("name", "arguments", "values"),
    [
        ("srtg_r3d_10", {"gates": False}, "gates True, not False"),
        ("srtg_r3d_10", {"placement": "final"}, "placement mid, not final"),
        ("srtg_r3d_10", {"num_classes": 4}, "num_classes 3, not 4"),
        ("srtg_r3d_18", {}, "name srtg_r3d_10, not srtg_r3d_18"),
    ],
)
def test_what_contradicts_the_file_is_an_error(checkpoint, name, arguments, values):
    with pytest.raises(NetworkError, match=rf"x\.pth.*{values}"):
        getattr(hubconf, name)(pretrained=checkpoint, **arguments)


@pytest.mark.parametrize(
    "given", [{"gates": "False"}, {"num_classes": "4"}, {"num_classes": 4.0}, {"num_classes": True}]
)
def test_arguments_of_another_type_are_refused(given):
    """gates="False" is true in Python, and built a network with gates."""
    with pytest.raises(ValueError, match=next(iter(given))):
        hubconf.srtg_r3d_10(**given)
