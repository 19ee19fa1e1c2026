"""Real commands on a device: torchrun, a training script, an export."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from network import registry
from network.resnet3d import Recursion
from network.weights.loading import load_network
from tests.devices import DEVICES, SLOW_ON_CPU, tf32
from tests.processes import ROOT
from tests.runs import LAST, RUN, TINY
from tests.tiny_network import TinyNetwork
from train import export

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1")


def run(*command, folder):
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "TERM": "dumb"}
    done = subprocess.run(
        [sys.executable, *map(str, command)], cwd=folder, env=environment, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("device", DEVICES)
def test_one_rank_of_torchrun_steps_like_no_rank(device, tmp_path):
    """NCCL must reduce the GPU's tensors, gloo those of the CPU; DistributedDataParallel must not change a gradient."""
    printed = run(*TORCHRUN, ROOT / "tests" / "scripts" / "step_of_one_rank.py", device, folder=tmp_path)
    assert printed.split() == ["nccl" if device == "cuda" else "gloo", "same"]


@pytest.mark.parametrize("device", SLOW_ON_CPU)
def test_a_script_trains_stops_and_resumes_under_torchrun(device, small_dataset, tmp_path):
    """The whole way of a user, with worker processes, multigrid and gates."""
    flags = ["--dataset", small_dataset, "--network", "srtg_tiny", "--gates", "--device", device, "--workers", 2,
             "--long-cycles", "--short-cycles", "--lr-steps", 1, "--model-dir", tmp_path]  # fmt: skip
    run(*TORCHRUN, TINY, *flags, "--end-epoch", 2, folder=tmp_path)
    printed = run(TINY, *flags, "--end-epoch", 3, "--resume-epoch", "auto", folder=tmp_path)
    result = json.loads(printed.strip().splitlines()[-1])
    assert result["epochs"] == 4  # 1.5 times 3, rounded
    folder = tmp_path / RUN.replace("False", "True")
    options = json.loads(next(folder.glob("*.json")).read_text())
    assert (folder / LAST).exists() and options


@pytest.mark.parametrize("device", DEVICES)
def test_the_exported_network_answers_as_the_one_on_the_device(device, tmp_path, monkeypatch):
    """A checkpoint is written by a GPU and deployed elsewhere: onnxruntime must give the same scores on the CPU."""
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    monkeypatch.setitem(registry._builders, "srtg_tiny", lambda n, gates, at: TinyNetwork(n, Recursion(gates, at)))
    torch.manual_seed(0)
    network = TinyNetwork(3, Recursion(False, "final")).to(device)
    network.train()
    clips = torch.randn(6, 3, 4, 32, 32)
    network(clips.to(device))  # batch norm gets statistics
    facts = {"name": "srtg_tiny", "gates": False, "placement": "final", "num_classes": 3}
    checkpoint = {"network": facts, "weights": network.state_dict(), "classes": ["a", "b", "c"]}
    torch.save(checkpoint, tmp_path / "x.pth")
    export.main([str(tmp_path / "x.pth"), str(tmp_path / "x.onnx")])
    session = onnxruntime.InferenceSession(tmp_path / "x.onnx", providers=["CPUExecutionProvider"])
    with torch.no_grad(), tf32(False):
        expected = network.eval()(clips.to(device)).cpu().numpy()
        loaded = load_network(tmp_path / "x.pth").network.eval()(clips).numpy()
    (logits,) = session.run(None, {"clips": clips.numpy()})
    for ours in (logits, loaded):
        np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-3 * float(np.abs(expected).max()))
