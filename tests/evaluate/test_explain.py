"""`python -m evaluate.explain`: the heat is where and when the class is, and gates are as the network's."""

import os
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from torch import nn

from common.errors import UserError
from data.clips.one_video import read_clips
from evaluate import explain
from evaluate.explanation.film import CURSOR, pictures
from evaluate.explanation.gates import cycles, recorded
from evaluate.explanation.heat import grad_cam, on_frames
from evaluate.explanation.picture import Explained
from evaluate.layer_features.clips import Video
from evaluate.model import load_model
from network import create_network, registry
from network.base import VideoNetwork
from network.srtg import temporal_gate
from tests.evaluate.tiny_model import BUILDERS, FRAMES, SIZE, exit_status, write_checkpoint
from tests.numbered import encode_numbered_video, write_numbered_database


@pytest.fixture(autouse=True)
def tiny_networks(monkeypatch):
    """Register tiny networks for these tests only."""
    for name, builder in BUILDERS.items():
        monkeypatch.setitem(registry._builders, name, builder)


class Colours(VideoNetwork):
    """Class 0 is the mean of red, class 1 that of blue; layer4 has a position for each 8 x 8 pixels of each frame."""

    def __init__(self) -> None:
        super().__init__()
        self.layer4 = nn.Sequential(nn.Conv3d(3, 2, (1, 8, 8), (1, 8, 8), bias=False), nn.ReLU())
        self.fc = nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            self.layer4[0].weight.zero_()
            self.layer4[0].weight[0, 0] = self.layer4[0].weight[1, 2] = 1 / 64
            self.fc.weight.copy_(torch.eye(2))

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        return self.fc(self.layer4(clips).mean((2, 3, 4)))


@pytest.mark.parametrize(("target", "frame", "row", "column"), [(0, 5, 3, 60), (1, 1, 40, 10)])
def test_the_heat_is_where_and_when_the_class_is(target, frame, row, column):
    """A picture that points elsewhere is worse than none. Red is in a corner of frame 5, blue elsewhere in frame 1."""
    clip = torch.zeros(1, 3, 8, 48, 64)
    clip[0, 0, 5, :8, 56:] = 1
    clip[0, 2, 1, 36:44, 8:16] = 1
    network = Colours().eval()
    heat = on_frames(grad_cam(network, clip, "layer4", target), (8, 48, 64))
    assert float(heat.max()) == 1 and float(heat.min()) >= 0
    at_frame, at_row, at_column = np.unravel_index(int(heat.argmax()), heat.shape)
    assert at_frame == frame and abs(at_row - row) <= 8 and abs(at_column - column) <= 8
    others = torch.cat([heat[:frame], heat[frame + 1 :]])
    assert float(others.max()) < 0.01


@pytest.mark.parametrize("layer", ["stem", "layer2", "layer4"])
@pytest.mark.parametrize("name", ["srtg_r3d_10", "tiny"])
def test_the_heat_is_grad_cam_s(name, layer):
    """Against its definition in NumPy, with the gradient of the whole graph."""
    torch.manual_seed(0)
    network = create_network(name, 5).eval()
    clip = torch.randn(1, 3, 8, 32, 32)
    kept: list[torch.Tensor] = []
    handle = network.get_submodule(layer).register_forward_hook(lambda module, inputs, output: kept.append(output))
    logits = network(clip)
    handle.remove()
    (gradient,) = torch.autograd.grad(logits[0, 3], kept[0])
    features, gradient = kept[0][0].detach().numpy(), gradient[0].numpy()
    expected = np.zeros(features.shape[1:])
    for channel in range(len(features)):
        expected += gradient[channel].mean() * features[channel]
    found = grad_cam(network, clip, layer, 3).numpy()
    np.testing.assert_allclose(found, np.maximum(expected, 0), rtol=1e-3, atol=1e-6 * np.abs(expected).max())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_no_heat_is_no_division_by_zero():
    """A class that nothing speaks for would be a picture of NaN."""
    assert torch.equal(on_frames(torch.zeros(1, 2, 2), (4, 8, 8)), torch.zeros(4, 8, 8))


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_cycles_are_the_gate_s(frames):
    """The matrix would show another reason than that for which a gate is closed."""
    generator = torch.Generator().manual_seed(frames)
    states = set()
    for trial in range(60):
        a = torch.randn(frames, 1, 6, generator=generator)
        b = a + (0.2 + trial / 30) * torch.randn(frames, 1, 6, generator=generator)
        there, back = cycles(a[:, 0], b[:, 0]), cycles(b[:, 0], a[:, 0])
        is_open = there.consistent == back.consistent == frames
        assert is_open == bool(temporal_gate(a, b))
        torch.testing.assert_close(there.weights.sum(dim=1), torch.ones(frames))
        states.add(is_open)
    assert states == ({True} if frames == 1 else {True, False})


@pytest.mark.parametrize("gates", [False, True])
def test_strengths_are_what_features_are_multiplied_by(gates):
    """The curves would be of something else."""
    torch.manual_seed(3)
    network = create_network("srtg_tiny", 3, gates=gates).eval()
    ratios, modules = [], [network.get_submodule(f"layer{number}.0.sar") for number in (1, 2, 3, 4)]
    for module in modules:
        module.register_forward_pre_hook(lambda module, inputs: inputs[0] + 1)  # no zeros, which have no ratio
        module.register_forward_hook(lambda module, inputs, output: ratios.append((output / inputs[0])[0].mean((2, 3))))
    network.reset_open_gate_fractions()
    with torch.inference_mode(), recorded(network) as found:
        network(torch.randn(1, 3, 8, 64, 64))
    assert [each.block for each in found] == [f"layer{number}.0" for number in (1, 2, 3, 4)]
    assert [len(each.strength) for each in found] == [8, 4, 2, 1]
    for each, ratio, module in zip(found, ratios, modules, strict=True):
        assert each.has_gate == gates and each.scales == (each.is_open or not gates)
        torch.testing.assert_close(ratio.mean(dim=0), each.strength if each.scales else torch.ones(len(each.strength)))
        if gates:
            assert module.gate_counts.tolist() == [int(each.is_open), 1]
    assert {each.scales for each in found} == ({True, False} if gates else {True})


def run(*arguments: object) -> int:
    return explain.main([*map(str, arguments)])


@pytest.mark.parametrize("name", ["tiny", "srtg_tiny"])
def test_a_picture_and_a_film_are_written(tmp_path, name):
    """Of video files and of databases, with and without SRTG; nothing else is left."""
    write_checkpoint(tmp_path / "x.pth", name, gates=name != "tiny")
    encode_numbered_video(tmp_path / "a.mp4", 20, height=64, width=48)
    write_numbered_database(tmp_path / "b", 20)
    run(tmp_path / "x.pth", tmp_path / "a.mp4", "--output", tmp_path / "a.png", "--layer", "layer1")
    run(tmp_path / "x.pth", tmp_path / "b", "--output", tmp_path / "b_film.mp4", "--class", "run", "--val-clips", 3)
    assert cv2.imread(str(tmp_path / "a.png")).std() > 10
    with av.open(str(tmp_path / "b_film.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == FRAMES
    assert {path.name for path in tmp_path.iterdir()} == {"x.pth", "a.mp4", "b", "a.png", "b_film.mp4"}


@pytest.mark.parametrize("name", ["x.png", "x.mp4"])
def test_only_its_own_pictures_and_films_are_replaced(tmp_path, monkeypatch, name):
    """A recording, or the confusion.png of an evaluation, would be lost."""
    write_checkpoint(tmp_path / "x.pth")
    encode_numbered_video(tmp_path / "a.mp4", 12)
    output = tmp_path / name
    for _ in range(2):  # the second run replaces the first one's, and an empty file is nothing
        assert run(tmp_path / "x.pth", tmp_path / "a.mp4", "--output", output) == 0
    output.write_bytes(b"")
    assert run(tmp_path / "x.pth", tmp_path / "a.mp4", "--output", output) == 0
    if name == "x.png":
        cv2.imwrite(str(output), cv2.imread(str(output)))
    else:
        encode_numbered_video(output, 12)
    foreign = output.read_bytes()
    monkeypatch.setattr(explain, "load_model", None)  # refused before anything is computed
    for content in (foreign, b"some text"):
        output.write_bytes(content)
        with pytest.raises(UserError, match=name) as caught:
            run(tmp_path / "x.pth", tmp_path / "a.mp4", "--output", output)
        assert caught.value.exit_status == 2 and output.read_bytes() == content


def test_a_film_may_have_a_time_in_its_name(tmp_path, monkeypatch):
    """FFmpeg takes what is before the colon for a protocol."""
    write_checkpoint(tmp_path / "x.pth")
    encode_numbered_video(tmp_path / "a.mp4", 12)
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert run("x.pth", "a.mp4", "--output", "run-12:30.mp4") == 0


def test_a_list_of_other_files_under_the_name_of_a_film_is_not_followed(tmp_path):
    """FFmpeg opened it, and waited for the pipe that it named."""
    write_checkpoint(tmp_path / "x.pth")
    encode_numbered_video(tmp_path / "a.mp4", 12)
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "film.mp4").write_text("ffconcat version 1.0\nfile pipe.mp4\n")
    with pytest.raises(UserError, match=r"film\.mp4"):
        run(tmp_path / "x.pth", tmp_path / "a.mp4", "--output", tmp_path / "film.mp4")


def test_scores_are_those_of_an_evaluation(tmp_path):
    """The mean probability over all views; the picture shows the view that has most of the class."""
    write_checkpoint(tmp_path / "x.pth")
    encode_numbered_video(tmp_path / "a.mp4", 40, height=64, width=96)
    model = load_model(tmp_path / "x.pth")
    options = explain.ExplainOptions(val_clips=3, val_crops=2)
    views = explain._views(model, model.needs_preprocessing(), tmp_path / "a.mp4", options)
    preprocessing = model.needs_preprocessing()
    clips = read_clips(tmp_path / "a.mp4", preprocessing.sampling(3, 2), preprocessing.shape)
    with torch.inference_mode():
        expected = model.network(preprocessing.normalise()(clips)).softmax(dim=1).mean(dim=0)
    torch.testing.assert_close(views.of_video, expected)
    assert views.video[:2] == (40, pytest.approx(25))
    assert views.video.times == pytest.approx([number / 25 for number in range(41)])


def test_frames_have_the_times_of_their_file():
    """Of a picture that starts after the sound, they were those of another moment than players show."""
    frames = np.array([0, 1])
    assert explain._labels(Video(2, 25.0, (2.0, 2.04, 2.08)), frames) == ["frame 1, 2.00 s", "frame 2, 2.04 s"]
    assert explain._labels(Video(2, 25.0), frames) == ["frame 1, 0.00 s", "frame 2, 0.04 s"]
    assert explain._labels(Video(2, None), frames) == ["frame 1", "frame 2"]


def test_the_cursor_of_a_film_moves_with_its_frames(tmp_path):
    """Else curve and picture are of different moments."""
    frames = np.zeros((5, SIZE, SIZE, 3), np.uint8)
    heat = np.linspace(0, 1, 5, dtype=np.float32)[:, None, None].repeat(SIZE, 1).repeat(SIZE, 2)
    explained = Explained("a title", frames, heat, [f"frame {n}" for n in range(5)], [])
    columns = [np.flatnonzero((picture == CURSOR).all(axis=2).any(axis=0)) for picture in pictures(explained)]
    middles = [column.mean() for column in columns]
    steps = np.diff(middles)
    assert len(middles) == 5 and steps.min() > 50 and steps.max() - steps.min() < 3


@pytest.mark.parametrize("suffix", [".png", ".mp4"])
def test_a_name_that_the_font_lacks_is_one_line(tmp_path, capsys, recwarn, suffix):
    """Lines of code with Python's warnings would say nothing to who reads them."""
    write_checkpoint(tmp_path / "x.pth")
    encode_numbered_video(tmp_path / "视频.mp4", FRAMES)
    assert run(tmp_path / "x.pth", tmp_path / "视频.mp4", "--output", tmp_path / f"a{suffix}") == 0
    assert not [each for each in recwarn if "Glyph" in str(each.message)]
    assert capsys.readouterr().out.count("boxes are drawn") == 1


def test_frames_are_counted_from_one(tmp_path, monkeypatch):
    """As the curves count them, and as "of 8" says."""
    write_checkpoint(tmp_path / "x.pth")
    encode_numbered_video(tmp_path / "a.mp4", FRAMES)
    written: list[Explained] = []
    monkeypatch.setattr(explain, "write_sheet", lambda explained, path: written.append(explained))
    run(tmp_path / "x.pth", tmp_path / "a.mp4", "--output", tmp_path / "a.png")
    assert f"frames 1 to {FRAMES} of {FRAMES};" in written[0].title
    assert written[0].labels[0] == "frame 1, 0.00 s" and written[0].labels[-1].startswith(f"frame {FRAMES}, ")


@pytest.mark.parametrize("title", ["short\nlines", f"{'a_name_' * 30}\n{'a long line ' * 15}"])
def test_the_head_of_a_film_has_room_for_title_and_label(title):
    """They would lie over each other, or end outside of the picture."""
    frames = np.zeros((2, SIZE, SIZE, 3), np.uint8)
    heat = np.zeros((2, SIZE, SIZE), np.float32)
    first, second = pictures(Explained(title, frames, heat, ["", "frame 2, 0.04 s"], []))
    assert (first[:, -8:] == 255).all()
    is_label = (first != second).any(axis=(1, 2))
    rows = np.flatnonzero(is_label[: len(first) // 3])
    assert len(rows) > 5 and (first[rows[0] : rows[-1] + 1] == 255).all()


MISTAKES = {
    "no checkpoint": "nothing.pth a.mp4",
    "a text as checkpoint": "text.txt a.mp4",
    "a folder as checkpoint": "empty a.mp4",
    "an exported file": "x.onnx a.mp4",
    "an exported program": "x.pt2 a.mp4",
    "no video": "x.pth nothing.mp4",
    "a text as video": "x.pth text.txt",
    "a damaged video": "x.pth damaged.mp4",
    "a folder without frames": "x.pth empty",
    "unknown class": "x.pth a.mp4 --class jumb",
    "unknown layer": "x.pth a.mp4 --layer layer9",
    "a layer without pixels": "x.pth a.mp4 --layer fc",
    "another network": "x.pth a.mp4 --network tiny",
    "classes of another number": "x.pth a.mp4 --classes text.txt",
    "empty classes": "nameless.pth a.mp4 --classes empty.txt",
    "no class names": "nameless.pth a.mp4",
    "huge clips": "x.pth a.mp4 --clip-length 2147483647",
    "no clips": "x.pth a.mp4 --val-clips 0",
    "the video as output": "x.pth a.mp4 --output a.mp4",
    "another suffix": "x.pth a.mp4 --output x.pth",
    "no such folder": "x.pth a.mp4 --output nowhere/x.png",
    "a folder as output": "x.pth a.mp4 --output folder.png",
    "output below a file": "x.pth a.mp4 --output text.txt/x.png",
    "a long checkpoint": "LONG a.mp4",
    "a long video": "x.pth LONG",
    "a long output": "x.pth a.mp4 --output LONG.png",
    "long classes": "x.pth a.mp4 --classes LONG",
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_one_line(tmp_path, monkeypatch, name):
    """And nothing that was there before is lost."""
    monkeypatch.chdir(tmp_path)
    network = write_checkpoint(Path("x.pth"))
    facts = {"name": "srtg_tiny", "gates": True, "placement": "final", "num_classes": 4}
    torch.save({"network": facts, "weights": network.state_dict(), "options": {}}, "nameless.pth")
    for folder in ("empty", "folder.png"):
        Path(folder).mkdir()
    for file in ("text.txt", "x.onnx", "x.pt2"):
        Path(file).write_text("some text")
    Path("empty.txt").touch()
    encode_numbered_video(Path("a.mp4"), 12)
    whole = Path("a.mp4").read_bytes()
    Path("damaged.mp4").write_bytes(whole[: len(whole) // 2])
    words = MISTAKES[name].replace("LONG", "x" * 300).split()
    with pytest.raises((UserError, SystemExit, OSError)) as caught:
        run(*words, *(() if "--output" in words else ("--output", "out.png")))
    status = exit_status(caught.value)
    assert status == 2 and "\n" not in str(caught.value)
    assert Path("a.mp4").read_bytes() == whole and not Path("out.png").exists()


def test_a_class_that_is_misspelled_has_a_hint(tmp_path):
    """Of 700 classes, nobody knows the spelling."""
    write_checkpoint(tmp_path / "x.pth")
    encode_numbered_video(tmp_path / "a.mp4", 12)
    with pytest.raises(UserError, match="'walk fast'"):
        run(tmp_path / "x.pth", tmp_path / "a.mp4", "--output", tmp_path / "o.png", "--class", "Walk_Fast")
