import os
import subprocess
import sys
from pathlib import Path

import torch

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
