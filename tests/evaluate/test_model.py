"""Any file of the project gives the network, its classes and its clips; nothing is guessed."""

import json

import pytest
import torch

from common.errors import UserError
from common.normalisation import NORMALISATIONS, SRTG, Normalisation
from data.augment.normalise import Normalise
from evaluate.model import load_model
from evaluate.preprocessing import Preprocessing
from evaluate.views import ClipOptions, chosen_preprocessing
from network import registry
from network.resnet3d import Recursion
from tests.evaluate.trained import checkpoint_of, save_checkpoint
from tests.network.weights.other_projects import HARA, hara_shapes, weights_of
from tests.small_dataset import CLASSES
from tests.tiny_network import TinyNetwork
from train import export


@pytest.fixture(autouse=True)
def tiny_networks(monkeypatch):
    monkeypatch.setitem(registry._builders, "srtg_tiny", lambda n, gates, at: TinyNetwork(n, Recursion(gates, at)))


def clips(batch=2, length=4):
    return torch.randn(batch, 3, length, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".onnx", ".pt2"])
def test_every_file_gives_the_same_network_classes_and_clips(tmp_path, suffix):
    """An engineer who deploys an export would else predict other classes, or from other pixels, than was evaluated."""
    if suffix == ".onnx":
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
    save_checkpoint(
        tmp_path / "x.pth",
        interval="2@30",
        crop_scale=1.25,
        normalisation=Normalisation((1.0, 2.0, 3.0), (50.0, 60.0, 70.0)),
    )
    original = load_model(tmp_path / "x.pth")
    if suffix != ".pth":
        export.main([str(tmp_path / "x.pth"), str(tmp_path / f"x{suffix}")])
    model = load_model(tmp_path / f"x{suffix}")
    assert model.classes == CLASSES
    assert model.preprocessing == Preprocessing(4, 32, "2@30", 1.25, Normalisation((1.0, 2.0, 3.0), (50.0, 60.0, 70.0)))
    assert model.facts == {"name": "srtg_tiny", "gates": True, "placement": "final", "num_classes": 4}
    with torch.no_grad():
        torch.testing.assert_close(model.network(clips()), original.network(clips()), rtol=1e-3, atol=1e-5)


def test_a_file_of_an_older_version_has_the_clips_of_its_options(tmp_path):
    """Runs of last year would have to be trained again."""
    checkpoint = checkpoint_of()
    del checkpoint["preprocessing"]
    checkpoint["options"] = {"clip_length": 8, "clip_size": 48, "val_frame_interval": 3, "variant": ""}
    torch.save(checkpoint, tmp_path / "x.pth")
    assert load_model(tmp_path / "x.pth").preprocessing == Preprocessing(8, 48, 3)
    del checkpoint["options"]["clip_size"]
    torch.save(checkpoint, tmp_path / "x.pth")
    assert load_model(tmp_path / "x.pth").preprocessing is None


def test_what_a_flag_changes_is_said_and_what_is_unknown_is_refused(tmp_path):
    """Clips of another shape give another score; it must not be taken for that of the training's clips."""
    model = load_model(save_checkpoint(tmp_path / "x.pth"))
    assert chosen_preprocessing(ClipOptions(), model) == (Preprocessing(4, 32, 2), "")
    chosen, line = chosen_preprocessing(ClipOptions(clip_length=8, val_size=32), model)
    assert chosen == Preprocessing(8, 32, 2)
    assert "4x32x32" in line and "8x32x32" in line and "--clip-length" in line and "--val-size" not in line
    checkpoint = checkpoint_of()
    del checkpoint["preprocessing"]
    torch.save(checkpoint, tmp_path / "y.pth")
    unknown = load_model(tmp_path / "y.pth")
    with pytest.raises(UserError, match="--clip-length, --val-size and --val-frame-interval"):
        chosen_preprocessing(ClipOptions(clip_length=8, val_size=32), unknown)
    chosen, line = chosen_preprocessing(ClipOptions(clip_length=8, val_size=32, val_frame_interval="all"), unknown)
    assert chosen == Preprocessing(8, 32, "all") and line


def test_normalisation_of_the_file_is_applied_exactly():
    """Weights with another normalisation lose up to two thirds of their decisions."""
    frames = torch.randint(0, 256, (2, 3, 4, 6, 6), dtype=torch.uint8)
    own = Preprocessing(4, 6, 1, normalisation=Normalisation((10.0, 20.0, 30.0), (2.0, 4.0, 8.0))).normalise()(frames)
    for channel, (mean, std) in enumerate(((10, 2), (20, 4), (30, 8))):
        torch.testing.assert_close(own[:, channel], (frames[:, channel].float() - mean) / std)
    assert torch.equal(Preprocessing(4, 6, 1, normalisation=SRTG).normalise()(frames), Normalise()(frames))


def test_weights_of_others_are_evaluated_with_their_normalisation(tmp_path):
    """They were evaluated with this project's: at chance, where grey levels are not divided."""
    torch.save(weights_of(hara_shapes(*HARA["resnet3d_10"])), tmp_path / "x.pth")
    options = ClipOptions(clip_length=4, val_size=32, val_frame_interval=1)
    for name, expected in (("auto", "hara2020"), ("hara2018", "hara2018")):
        model = load_model(tmp_path / "x.pth", normalisation=name)
        assert chosen_preprocessing(options, model)[0].normalisation == NORMALISATIONS[expected]
    with pytest.raises(UserError, match="--normalisation out"):
        load_model(save_checkpoint(tmp_path / "y.pth"), normalisation="imagenet")


def test_class_names_come_from_the_file_or_from_a_list_never_from_numbers(tmp_path):
    path = save_checkpoint(tmp_path / "x.pth")
    with pytest.raises(UserError, match="another order"):
        load_model(path, classes=tuple(reversed(CLASSES)))
    checkpoint = checkpoint_of()
    del checkpoint["classes"]
    torch.save(checkpoint, tmp_path / "y.pth")
    with pytest.raises(UserError, match="--classes"):
        load_model(tmp_path / "y.pth").class_names()
    with pytest.raises(UserError, match="4 classes"):
        load_model(tmp_path / "y.pth", classes=("a", "b"))
    assert load_model(tmp_path / "y.pth", classes=CLASSES).class_names() == CLASSES


@pytest.mark.parametrize("name", ["missing.pth", "missing.onnx", "folder", "text.onnx", "text.pt2", "text.pth"])
def test_what_is_no_trained_file_is_one_line(tmp_path, name):
    """A traceback would not say which file is wrong."""
    if name.endswith(".onnx"):
        pytest.importorskip("onnxruntime")
    (tmp_path / "folder").mkdir()
    for text in ("text.onnx", "text.pt2", "text.pth"):
        (tmp_path / text).write_text("no network")
    with pytest.raises(UserError, match=name.replace(".", r"\.")) as error:
        load_model(tmp_path / name)
    assert "\n" not in str(error.value)


def test_an_onnx_file_of_another_program_is_refused(tmp_path):
    """Its inputs, classes and normalisation are not known."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    sides = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = onnx.helper.make_graph([node], "g", sides[:1], sides[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, tmp_path / "x.onnx")
    with pytest.raises(UserError, match=r"x\.onnx"):
        load_model(tmp_path / "x.onnx")
    model.metadata_props.add(key="network", value=json.dumps({"name": "r3d_18"}))
    onnx.save(model, tmp_path / "x.onnx")
    with pytest.raises(UserError, match=r"x\.onnx.*gates"):
        load_model(tmp_path / "x.onnx")
