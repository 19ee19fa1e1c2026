"""`python -m train.export`: the files it writes compute what the network computes, and say what they take."""

import json
import logging
from pathlib import Path

import pytest
import torch

from common.errors import UserError
from common.normalisation import NORMALISATIONS
from evaluate.preprocessing import Preprocessing
from network import create_network, load_checkpoint, registry
from network.resnet3d import Recursion
from network.weights.facts import training_facts
from network.weights.loading import load_network
from network.weights.reading import read_checkpoint
from tests.network.weights.exported import check_onnx, check_program, network_of
from tests.network.weights.other_projects import HARA, hara_shapes, weights_of
from tests.tiny_network import TinyNetwork
from train import export
from train.file_settings import settings_from_file
from train.options import TrainOptions

CLASSES = ["clap", "jump", "run"]


@pytest.fixture(autouse=True)
def tiny_networks(monkeypatch):
    """Register a tiny network for these tests only."""
    monkeypatch.setitem(registry._builders, "srtg_tiny", lambda n, gates, at: TinyNetwork(n, Recursion(gates, at)))


def checkpoint_of(name, gates=False):
    facts = {"name": name, "gates": gates, "placement": "final", "num_classes": 3}
    return {"network": facts, "weights": network_of(name, gates).state_dict(), "classes": CLASSES}


def test_command_writes_onnx_that_answers_as_the_network(tmp_path, capsys):
    """For clips of any length, single frames too: an unrolled LSTM would work for one length only."""
    pytest.importorskip("onnxscript")
    torch.save(checkpoint_of("srtg_tiny", gates=True), tmp_path / "x.pth")
    export.main([str(tmp_path / "x.pth"), str(tmp_path / "x.onnx")])
    network, classes, *_ = load_network(tmp_path / "x.pth")
    assert classes == CLASSES
    shapes = [(2, 3, 4, 32, 40), (1, 3, 16, 48, 48), (3, 3, 1, 32, 32), (1, 3, 33, 32, 32)]
    session = check_onnx(network, tmp_path / "x.onnx", shapes)
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["classes"]) == CLASSES
    assert "(batch, 3, frames, height, width)" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("frames", [4, 9])
def test_command_writes_a_program_that_answers_as_the_network(tmp_path, frames):
    """Else a deployed .pt2 would predict something else than the evaluation did."""
    torch.save(checkpoint_of("srtg_tiny", gates=True), tmp_path / "x.pth")
    arguments = ["--clip-length", str(frames), "--clip-size", "32"]
    export.main([str(tmp_path / "x.pth"), str(tmp_path / "x.pt2"), *arguments])
    check_program(load_network(tmp_path / "x.pth").network, tmp_path / "x.pt2", (frames, 32, 32))


def test_safetensors_round_trip(tmp_path):
    """Weights, classes and facts survive, so that the file can replace the .pth."""
    checkpoint = checkpoint_of("srtg_tiny", gates=True)
    checkpoint["network"] |= {"normalisation": NORMALISATIONS["torchvision"].plain(), "eps": 1e-3}
    torch.save(checkpoint, tmp_path / "x.pth")
    export.main([str(tmp_path / "x.pth"), str(tmp_path / "x.safetensors")])
    read = read_checkpoint(tmp_path / "x.safetensors")
    assert (read["network"], read["classes"]) == (checkpoint["network"], CLASSES)
    network = create_network("srtg_tiny", 3, gates=True)
    report, origin = load_checkpoint(network, read, ["run", "clap", "jump"])
    assert report.complete
    assert report.classes_reordered
    assert "srtg_tiny" in origin
    assert (network.normalisation, network.eps) == (NORMALISATIONS["torchvision"], 1e-3)
    assert torch.equal(network.layer1[0].sar.lstm.weight_ih_l0, checkpoint["weights"]["layer1.0.sar.lstm.weight_ih_l0"])
    export.main([str(tmp_path / "x.safetensors"), str(tmp_path / "y.safetensors")])
    again = read_checkpoint(tmp_path / "y.safetensors")
    assert (again["network"], again["classes"]) == (checkpoint["network"], CLASSES)
    assert all(torch.equal(again["weights"][name], tensor) for name, tensor in read["weights"].items())


def test_an_export_of_others_weights_says_their_normalisation(tmp_path, capsys):
    """It said this project's, and who deployed the file fed other pixels than were trained with."""
    torch.save(weights_of(hara_shapes(*HARA["resnet3d_10"])), tmp_path / "hara.pth")
    for flags, name in (([], "hara2020"), (["--normalisation", "hara2018"], "hara2018")):
        export.main([str(tmp_path / "hara.pth"), str(tmp_path / "x.safetensors"), *flags])
        expected = NORMALISATIONS[name]
        assert str(expected.of_unit_range()["mean"]) in capsys.readouterr().out
        assert load_network(tmp_path / "x.safetensors").network.normalisation == expected


TRAINED = {
    "options": {"clip_length": 4, "clip_size": 32, "val_frame_interval": 3, "variant": "2"},
    "videos": {"train": "0a", "val": "1b"},
    "content": {"val": {"counts": "2c", "samples": ["3d", ""]}},
}


@pytest.mark.parametrize("interval", [3, "2@30"])
def test_an_export_is_evaluated_as_the_checkpoint_that_it_was_made_of(tmp_path, interval):
    """Weights of UCF-101's split 2 were scored on split 1, their training videos, with clips of another length."""
    trained = TRAINED | {"options": TRAINED["options"] | {"val_frame_interval": interval}}
    checkpoint = checkpoint_of("srtg_tiny") | trained
    checkpoint["options"] = trained["options"] | {"model_dir": "/home/ann", "batch_size": 7}
    torch.save(checkpoint, tmp_path / "x.pth")
    export.main([str(tmp_path / "x.pth"), str(tmp_path / "x.safetensors")])
    export.main([str(tmp_path / "x.safetensors"), str(tmp_path / "y.safetensors")])
    given = TrainOptions(evaluate=True, variant="1")
    expected, _ = settings_from_file(given, tmp_path / "x.pth", checkpoint, ("1", "2"))
    assert (expected.variant, expected.clip_length, expected.val_frame_interval) == ("2", 4, interval)
    for name in ("x.safetensors", "y.safetensors"):
        read = read_checkpoint(tmp_path / name)
        options, notes = settings_from_file(given, tmp_path / name, read, ("1", "2"))
        assert options == expected and [level for level, _ in notes] == [logging.INFO]
        found = training_facts(read)
        expected_clips = Preprocessing(4, 32, interval)
        assert Preprocessing.from_facts(found) == Preprocessing.from_facts(training_facts(checkpoint)) == expected_clips
        assert {name: found[name] for name in trained} == trained
        assert b"/home/ann" not in (tmp_path / name).read_bytes()  # exported files are given to others


def test_a_program_takes_the_clips_of_the_checkpoint(tmp_path, capsys):
    """It took 16 frames of 224 pixels whatever the network was trained with, and its metadata did not tell."""
    torch.save(checkpoint_of("srtg_tiny") | TRAINED, tmp_path / "x.pth")
    export.main([str(tmp_path / "x.pth"), str(tmp_path / "x.pt2"), "--clip-length", "5"])
    assert "(batch, 3, 5, 32, 32)" in capsys.readouterr().out
    files = {"facts.json": ""}
    torch.export.load(tmp_path / "x.pt2", extra_files=files)
    about = json.loads(files["facts.json"])
    assert {name: json.loads(about[name]) for name in TRAINED} == TRAINED


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x.pth", "x.tflite"], r"x\.tflite.*\.onnx, \.pt2 or \.safetensors"),
        (["x.pth", "nowhere/x.onnx"], "nowhere"),
        (["weights.safetensors", "weights.safetensors"], r"^weights\.safetensors is the file that is read"),
        (["weights.safetensors", "link.safetensors"], r"^link\.safetensors is the file that is read"),
        (["missing.pth", "x.onnx"], r"missing\.pth"),
        (["bad.safetensors", "x.onnx"], r"bad\.safetensors"),
        (["plain.pth", "x.onnx"], r"plain\.pth.*--network"),
        (["plain.pth", "x.onnx", "--network", "r3d_18"], r"plain\.pth.*layer1"),
        (["x.pth", "x.onnx", "--network", "r3d_18"], r"x\.pth.*r3d_10.*r3d_18.*--network"),
        (["x.pth", "x.onnx", "--clip-length", "8"], r"^--clip-length: only for \.pt2, x\.onnx takes clips of any"),
        (
            ["x.pth", "x.safetensors", "--clip-size", "8", "--clip-length", "8"],
            r"^--clip-length and --clip-size: only for \.pt2, x\.safetensors has weights alone",
        ),
        (["large.pth", "x.pt2"], r"large\.pth: its clips of 2147483647 frames.*--clip-length"),
    ],
)
def test_mistakes_are_named(tmp_path, monkeypatch, arguments, message):
    """The message names the file and the remedy, and no half-written output is left."""
    monkeypatch.chdir(tmp_path)
    torch.save(checkpoint_of("r3d_10"), "x.pth")
    torch.save(network_of("r3d_10").state_dict(), "plain.pth")
    torch.save(checkpoint_of("r3d_10") | {"options": {"clip_length": 2**31 - 1}}, "large.pth")
    for name in ("bad.safetensors", "weights.safetensors"):
        Path(name).write_bytes(b"no such file")
    Path("link.safetensors").symlink_to("weights.safetensors")
    with pytest.raises(UserError, match=message):
        export.main(arguments)
    assert not list(tmp_path.glob("*x.onnx*")) + list(tmp_path.glob("*x.pt2*"))
    assert not Path("x.safetensors").exists()
    assert Path("weights.safetensors").read_bytes() == b"no such file"
