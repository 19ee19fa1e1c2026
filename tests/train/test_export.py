"""Files for other programs: they answer as the network does, and say what they take."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from common.errors import UserError
from network import create_network, load_checkpoint, registry
from network.resnet3d import Recursion
from network.weights.exporting import export_onnx, export_program
from network.weights.reading import read_checkpoint
from tests.tiny_network import TinyNetwork
from train import export

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ["clap", "jump", "run"]


@pytest.fixture(autouse=True)
def tiny_networks(monkeypatch):
    """Known in these tests alone."""
    monkeypatch.setitem(registry._builders, "srtg_tiny", lambda n, gates, at: TinyNetwork(n, Recursion(gates, at)))


def network_of(name, gates=False, num_classes=3):
    """With weights that make every block matter; of the gates, some open and some do not."""
    torch.manual_seed(0)
    network = create_network(name, num_classes, gates=gates).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            torch.nn.init.normal_(module.running_mean, std=0.1)
    return network


def checkpoint_of(name, gates=False):
    facts = {"name": name, "gates": gates, "placement": "final", "num_classes": 3}
    return {"network": facts, "weights": network_of(name, gates).state_dict(), "classes": CLASSES}


def answers(network, *shape):
    torch.manual_seed(sum(shape))
    clips = torch.randn(*shape)
    with torch.no_grad():
        return clips, network(clips)


def check_onnx(network, path, shapes):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [value.name for value in (*session.get_inputs(), *session.get_outputs())] == ["clips", "logits"]
    for shape in shapes:
        clips, expected = answers(network, *shape)
        (logits,) = session.run(None, {"clips": clips.numpy()})
        np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    return session


def check_program(network, path, shape):
    program = torch.export.load(path)
    for batch in (1, 3):
        clips, expected = answers(network, batch, 3, *shape)
        with torch.no_grad():
            torch.testing.assert_close(program.module()(clips), expected, rtol=1e-3, atol=1e-5)


def test_command_writes_onnx_that_answers_as_the_network(tmp_path, capsys):
    """Of any length, single frames too: unrolled recursions would answer for one length alone."""
    pytest.importorskip("onnxscript")
    torch.save(checkpoint_of("srtg_tiny", gates=True), tmp_path / "x.pth")
    export.main([str(tmp_path / "x.pth"), str(tmp_path / "x.onnx")])
    network, classes, _ = export.load_network(tmp_path / "x.pth")
    assert classes == CLASSES
    shapes = [(2, 3, 4, 32, 40), (1, 3, 16, 48, 48), (3, 3, 1, 32, 32), (1, 3, 33, 32, 32)]
    session = check_onnx(network, tmp_path / "x.onnx", shapes)
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["classes"]) == CLASSES
    assert "(batch, 3, frames, height, width) of any sizes, opset 20" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("frames", [4, 9])
def test_command_writes_a_program_that_answers_as_the_network(tmp_path, frames):
    torch.save(checkpoint_of("srtg_tiny", gates=True), tmp_path / "x.pth")
    arguments = ["--clip-length", str(frames), "--clip-size", "32"]
    export.main([str(tmp_path / "x.pth"), str(tmp_path / "x.pt2"), *arguments])
    check_program(export.load_network(tmp_path / "x.pth")[0], tmp_path / "x.pt2", (frames, 32, 32))


def test_safetensors_there_and_back(tmp_path):
    """Weights, classes and facts survive, and the file starts a run as the .pth does."""
    checkpoint = checkpoint_of("srtg_tiny", gates=True)
    torch.save(checkpoint, tmp_path / "x.pth")
    export.main([str(tmp_path / "x.pth"), str(tmp_path / "x.safetensors")])
    read = read_checkpoint(tmp_path / "x.safetensors")
    assert (read["network"], read["classes"]) == (checkpoint["network"], CLASSES)
    network = create_network("srtg_tiny", 3, gates=True)
    report, origin = load_checkpoint(network, read, ["run", "clap", "jump"])
    assert report.complete
    assert report.classes_reordered
    assert origin == "srtg_tiny of this project"
    assert torch.equal(network.layer1[0].sar.lstm.weight_ih_l0, checkpoint["weights"]["layer1.0.sar.lstm.weight_ih_l0"])
    export.main([str(tmp_path / "x.safetensors"), str(tmp_path / "y.safetensors")])
    again = read_checkpoint(tmp_path / "y.safetensors")
    assert (again["network"], again["classes"]) == (checkpoint["network"], CLASSES)
    assert all(torch.equal(again["weights"][name], tensor) for name, tensor in read["weights"].items())


def test_safetensors_of_others_are_state_dicts(tmp_path):
    from safetensors.torch import save_file

    save_file(network_of("r3d_10").state_dict(), tmp_path / "x.safetensors")
    report, _ = load_checkpoint(create_network("r3d_10", 3), read_checkpoint(tmp_path / "x.safetensors"))
    assert report.complete


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x.pth", "x.tflite"], r"x\.tflite ends in none of \.onnx, \.pt2, \.safetensors"),
        (["x.pth", "nowhere/x.onnx"], "the folder .*nowhere does not exist"),
        (["missing.pth", "x.onnx"], r"missing\.pth does not exist"),
        (["bad.safetensors", "x.onnx"], r"bad\.safetensors cannot be read as safetensors"),
        (["plain.pth", "x.onnx"], "does not say what network it is for.*--network"),
        (["plain.pth", "x.onnx", "--network", "r3d_18"], "not of this network"),
        (["x.pth", "x.onnx", "--network", "r3d_18"], "is of r3d_10, not of r3d_18"),
    ],
)
def test_mistakes_are_named(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    torch.save(checkpoint_of("r3d_10"), "x.pth")
    torch.save(network_of("r3d_10").state_dict(), "plain.pth")
    Path("bad.safetensors").write_bytes(b"no such file")
    with pytest.raises(UserError, match=message):
        export.main(arguments)
    assert not list(tmp_path.glob("*x.onnx*"))


FAMILIES = [
    "r3d_18", "r2plus1d_18", "srtg_r3d_50", "srtg_r2plus1d_50", "srtg_tv_r3d_18", "tv_r2plus1d_18", "resnet3d_50",
    "srtg_resnet3d_18", "r3dxt50_32x4d", "r2plus1dxt50_32x4d", "wide_r3d50_2", "wide_r2plus1d50_2", "ir_csn_50",
    "ip_csn_50", "srtg_ir_csn_26",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_exports(tmp_path, name):
    network = network_of(name, gates=name.startswith("srtg_"))
    export_onnx(network, tmp_path / "x.onnx", {})
    check_onnx(network, tmp_path / "x.onnx", [(2, 3, 4, 32, 32), (1, 3, 9, 48, 40)])
    for frames in (4, 9):
        export_program(network, tmp_path / "x.pt2", (frames, 32, 32), {})
        check_program(network, tmp_path / "x.pt2", (frames, 32, 32))


HUB = """
import sys, torch
network = torch.hub.load(sys.argv[1], "srtg_r3d_10", source="local", num_classes=3, gates=True, pretrained=sys.argv[2])
sys.path.insert(0, sys.argv[1])
import hubconf
entries = [name for name in dir(hubconf) if callable(getattr(hubconf, name)) and not name.startswith("_")]
print(len(entries), [name for name in entries if "r3d_34" in name], float(network.fc.weight.sum()))
"""


def test_torch_hub_has_every_network(tmp_path):
    """From a folder outside the project, as a user calls it; nothing but networks is an entry."""
    checkpoint = checkpoint_of("srtg_r3d_10", gates=True)
    torch.save(checkpoint, tmp_path / "x.pth")
    environment = os.environ | {"TORCH_HOME": str(tmp_path)}
    command = [sys.executable, "-c", HUB, str(ROOT), str(tmp_path / "x.pth")]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    total = float(checkpoint["weights"]["fc.weight"].sum())
    names = [name for name in registry.network_names() if name != "srtg_tiny"]
    assert done.stdout.strip() == f"{len(names)} ['r3d_34', 'srtg_r3d_34'] {total}"
