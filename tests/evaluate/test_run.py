"""python -m evaluate.run: scores that can be published, of the clips and classes that the file says."""

import csv
import errno
import json
import re
import shutil
import sqlite3
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from common.errors import DataError, TrainingError, UserError
from common.normalisation import Normalisation
from data.clips.types import ClipRequest
from data.labels.dataset_spec import DatasetSpec
from data.labels.splits import load_val
from evaluate import explain, features, predict, run
from evaluate.comparison.about_differences import differences, evaluated_otherwise
from evaluate.model import load_model
from evaluate.results.content import other_frames
from evaluate.results.predictions import read_predictions
from evaluate.results.trained_texts import trained_share
from network import registry
from network.resnet3d import Recursion
from tests.evaluate.trained import checkpoint_of, save_checkpoint
from tests.processes import ROOT
from tests.small_dataset import CLASSES, write_labels, write_small_dataset
from tests.tiny_network import TinyNetwork
from train import export

SCRIPT = ROOT / "tests" / "scripts" / "evaluate_tiny.py"


@pytest.fixture(autouse=True)
def tiny_networks(monkeypatch):
    monkeypatch.setitem(registry._builders, "srtg_tiny", lambda n, gates, at: TinyNetwork(n, Recursion(gates, at)))


def evaluated(capsys, *arguments) -> dict:
    """The JSON line of a command that ends well."""
    assert run.main([str(each) for each in (*arguments, "--device", "cpu", "--workers", "0")]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_the_scores_are_those_of_the_predictions_that_are_written(small_dataset, tmp_path, capsys):
    """A table that does not follow from the file of predictions cannot be checked by anybody."""
    model = save_checkpoint(tmp_path / "run" / "x.pth")
    result = evaluated(capsys, model, small_dataset, "--val-clips", 10, "--val-crops", 3)
    folder = tmp_path / "run" / "evaluation_val_10x3"
    assert result["folder"] == str(folder)
    files = {"summary.json", "predictions.npz", "per_class.csv", "confusion.csv", "confusion.png", "worst.csv"}
    assert {path.name for path in folder.iterdir()} == files
    predictions = read_predictions(folder)
    assert predictions.classes == CLASSES and len(predictions) == 7
    rows = predictions.log_probabilities
    np.testing.assert_allclose(np.exp(rows).sum(axis=1), 1, rtol=1e-5)
    assert result["top1"] == pytest.approx(100 * (rows.argmax(axis=1) == predictions.labels).mean())
    assert result["loss"] == pytest.approx(-rows[np.arange(7), predictions.labels].mean(), rel=1e-5)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["scores"]["top1"]["value"] == pytest.approx(result["top1"])
    assert set(summary["by_clips"]) == {"1", "2", "5"}
    assert summary["passport"]["val"]["videos"] == 7 and not summary["bad_videos"]
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"x.pth", folder.name}


def test_the_views_are_all_clips_at_all_crops(small_dataset, tmp_path, capsys):
    """One clip counted three times, or crops of one clip alone, would be another protocol than 10 x 3."""
    path = save_checkpoint(tmp_path / "x.pth")
    evaluated(capsys, path, small_dataset, "--val-clips", 2, "--val-crops", 3)
    found = read_predictions(tmp_path / "evaluation_val_2x3")
    videos, _ = load_val(small_dataset, DatasetSpec("d", "train.csv", "val.csv"), None, CLASSES)
    model = load_model(path)
    from data.store.frame_store import FrameStore

    sampling = model.preprocessing.sampling(2, 3)
    for index in range(len(videos)):
        with FrameStore(videos.folder(index)) as video:
            probabilities = []
            shape, rng = model.preprocessing.shape, np.random.default_rng(0)
            for clip in sampling.frames(len(video), ClipRequest(index, shape, 0), rng):
                for box in sampling.crop_boxes(video.size(), shape, rng):
                    frames = torch.from_numpy(video.read(clip.indices.tolist(), box)).permute(3, 0, 1, 2)[None]
                    with torch.no_grad():
                        probabilities.append(model.network(model.preprocessing.normalise()(frames)).softmax(1)[0])
        assert len(probabilities) == 6
        folder = videos.folder(index)
        row = found.ids.tolist().index(f"{folder.parent.name}/{folder.name}")
        mean = torch.stack(probabilities).mean(0).log()
        np.testing.assert_allclose(found.log_probabilities[row], mean.numpy(), atol=1e-5)


@pytest.mark.parametrize("batch", [1, 4, 64])
def test_the_scores_do_not_depend_on_the_batch_size(small_dataset, tmp_path, capsys, batch):
    """Another GPU, with another batch, would give another table."""
    path = save_checkpoint(tmp_path / "x.pth")
    evaluated(capsys, path, small_dataset, "--val-clips", 3, "--output", tmp_path / "a", "--val-batch-size", 7)
    evaluated(capsys, path, small_dataset, "--val-clips", 3, "--output", tmp_path / "b", "--val-batch-size", batch)
    one, other = read_predictions(tmp_path / "a"), read_predictions(tmp_path / "b")
    assert one.ids.tolist() == other.ids.tolist()
    np.testing.assert_allclose(one.log_probabilities, other.log_probabilities, atol=1e-5)


def test_two_ranks_count_each_video_once(server, small_dataset, tmp_path, capsys):
    """Padding would count some of 7 videos twice, and the table of classes would be of one rank's videos."""
    path = save_checkpoint(tmp_path / "x.pth")
    evaluated(capsys, path, small_dataset, "--output", tmp_path / "one")
    flags = ("--device", "cpu", "--gpus", 2, "--workers", 0, "--output", tmp_path / "two")
    process = server.start(SCRIPT, path, small_dataset, *flags, folder=tmp_path)
    assert process.wait() == 0, process.output()
    one, two = read_predictions(tmp_path / "one"), read_predictions(tmp_path / "two")
    assert one.ids.tolist() == two.ids.tolist()
    np.testing.assert_allclose(one.log_probabilities, two.log_probabilities, atol=1e-5)
    assert json.loads(process.stdout.splitlines()[-1])["videos"] == 7


def test_a_video_that_cannot_be_read_is_an_error_or_is_counted_and_listed(tmp_path, capsys):
    """Scores of the videos that happen to be readable would be published as those of the split."""
    dataset = write_small_dataset(tmp_path / "data", train=4)
    (dataset / "jpg" / "jump" / "val_001" / "frames.db").write_bytes(b"no database" * 100)
    path = save_checkpoint(tmp_path / "x.pth")
    assert run.main([str(path), str(dataset), "--device", "cpu", "--workers", "0"]) == 2
    assert "val_001" in capsys.readouterr().err
    assert not (tmp_path / "evaluation_val_1x1").exists()
    result = evaluated(capsys, path, dataset, "--on-bad-video", "skip")
    assert (result["videos"], result["bad_videos"]) == (6, 1)
    summary = json.loads((tmp_path / "evaluation_val_1x1" / "summary.json").read_text())
    assert [bad["id"] for bad in summary["bad_videos"]] == ["jump/val_001"]
    assert "6 of 7" in summary["text"]


def test_predictions_name_their_run(small_dataset, tmp_path, capsys):
    """Two epochs of it could not be told from two seeds."""
    torch.save(checkpoint_of() | {"run_key": "0123456789abcdef"}, tmp_path / "x.pth")
    assert "run_key" not in evaluated(capsys, tmp_path / "x.pth", small_dataset)
    assert read_predictions(tmp_path / "evaluation_val_1x1").about["run_key"] == "0123456789abcdef"


@pytest.mark.parametrize(
    ("factor", "words"),
    [(1e38, "loss is inf over 7 videos.*so far apart that the loss overflows"), (np.inf, "loss is nan.*not finite")],
)
def test_outputs_that_are_too_large_are_not_called_infinite(
    small_dataset, tmp_path, monkeypatch, capsys, factor, words
):
    """Who is told that finite outputs are not would look for a NaN that is nowhere."""
    path = save_checkpoint(tmp_path / "x.pth")
    forward, seen = TinyNetwork.forward, []

    def scaled(self, clips):
        logits = forward(self, clips)
        logits = (logits - logits.mean(1, keepdim=True)).sign() * 3 * factor
        seen.append(logits.isfinite().all())
        return logits

    monkeypatch.setattr(TinyNetwork, "forward", scaled)
    assert run.main([str(path), str(small_dataset), "--device", "cpu", "--workers", "0"]) == 1
    assert re.search(words, capsys.readouterr().err)
    assert all(seen) == np.isfinite(factor)
    assert not (tmp_path / "evaluation_val_1x1").exists()


def test_an_evaluation_of_another_file_is_kept(small_dataset, tmp_path, capsys):
    """The scores of epoch 20 would be gone when those of the last epoch are computed."""
    for name in ("a.pth", "b.pth"):
        save_checkpoint(tmp_path / name, gates=name == "a.pth")
    for name in ("a.pth", "a.pth", "b.pth"):
        evaluated(capsys, tmp_path / name, small_dataset)
    folders = {path.name for path in tmp_path.iterdir() if path.is_dir()}
    assert folders == {"evaluation_val_1x1", "evaluation_val_1x1.before"}
    kept = json.loads((tmp_path / "evaluation_val_1x1.before" / "summary.json").read_text())
    assert kept["checkpoint"] == str(tmp_path / "a.pth")


def test_an_evaluation_of_other_videos_or_views_or_with_other_files_is_kept(small_dataset, tmp_path, capsys):
    """A subset given by --labels, or a second run without the time probe, would delete hours of work."""
    path, out = save_checkpoint(tmp_path / "x.pth"), tmp_path / "out"
    few = write_labels(tmp_path / "few.csv", [("clap", "val_000"), ("jump", "val_001")])
    for flags in ((), ("--labels", few), ("--val-clips", 2)):
        evaluated(capsys, path, small_dataset, "--output", out, *flags)
    assert sorted(each.name for each in tmp_path.glob("out*")) == ["out", "out.before", "out.before-2"]
    (out / "notes.txt").write_text("mine")
    evaluated(capsys, path, small_dataset, "--output", out, "--val-clips", 2)
    assert (tmp_path / "out.before-3" / "notes.txt").read_text() == "mine"
    evaluated(capsys, path, small_dataset, "--output", out, "--val-clips", 2)
    assert len(list(tmp_path.glob("out*"))) == 4


def test_an_evaluation_at_another_crop_scale_or_normalisation_is_kept(small_dataset, tmp_path, capsys):
    """That of 30 views was deleted, and `compare` took the difference of two scales for one of two networks."""
    path, out = save_checkpoint(tmp_path / "x.pth"), tmp_path / "out"
    for scale in ("1.2", "2"):
        line = evaluated(capsys, path, small_dataset, "--output", out, "--crop-scale", scale)
        assert line["crop_scale"] == float(scale) and "mean" in line["normalisation"]
    found = [read_predictions(each) for each in (tmp_path / "out.before", out)]
    assert [each.about["crop_scale"] for each in found] == [1.2, 2.0]
    differ = differences(found[:1], found[1:])
    assert [each.name for each in evaluated_otherwise(differ)] == ["crop_scale"]
    summary = json.loads((out / "summary.json").read_text())
    summary["normalisation"] = "another"
    (out / "summary.json").write_text(json.dumps(summary))
    evaluated(capsys, path, small_dataset, "--output", out, "--crop-scale", "2")
    assert len(list(tmp_path.glob("out*"))) == 3


def test_a_whole_evaluation_is_not_replaced_by_one_of_fewer_videos(tmp_path, capsys):
    """A disk that gives errors for an hour would cost the scores of all videos."""
    dataset = write_small_dataset(tmp_path / "data", train=4)
    path, out = save_checkpoint(tmp_path / "x.pth"), tmp_path / "out"
    whole = evaluated(capsys, path, dataset, "--output", out)["videos"]
    next((dataset / "jpg").glob("*/val_001")).joinpath("frames.db").write_bytes(b"damaged")
    for _ in range(2):
        assert evaluated(capsys, path, dataset, "--output", out, "--on-bad-video", "skip")["videos"] == whole - 1
    assert json.loads((tmp_path / "out.before" / "summary.json").read_text())["videos"] == whole
    assert len(list(tmp_path.glob("out*"))) == 2


def test_an_evaluation_with_notes_in_its_files_is_kept(small_dataset, tmp_path, capsys):
    """Who looks through worst.csv for wrong labels notes there what they found."""
    path, out = save_checkpoint(tmp_path / "x.pth"), tmp_path / "out"
    evaluated(capsys, path, small_dataset, "--output", out)
    for number, name in enumerate(("worst.csv", "summary.json"), start=1):
        content = (out / name).read_text()
        notes = content.replace("\n", ",wrong\n") if number == 1 else content.replace("{", '{"notes": "mine",', 1)
        (out / name).write_text(notes)
        for _ in range(2):
            evaluated(capsys, path, small_dataset, "--output", out)
            assert len(list(tmp_path.glob("out*"))) == 1 + number
        (kept,) = [each for each in tmp_path.glob("out.*") if (each / name).read_text() == notes]
        assert kept != out and (out / name).read_text() != notes


@pytest.mark.parametrize("is_there", [False, True])
def test_a_finished_evaluation_that_finds_no_place_is_kept(small_dataset, tmp_path, capsys, monkeypatch, is_there):
    """A disk mounted there meanwhile: the scores of hours were deleted."""
    path, out, rename = save_checkpoint(tmp_path / "x.pth"), tmp_path / "out", Path.rename
    if is_there:
        evaluated(capsys, path, small_dataset, "--output", out)

    def fail(self, target):
        if target == out or (self == out and target.name.startswith("out.")):
            raise OSError(errno.EBUSY, "busy")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(DataError, match=r"out cannot be replaced: .*; the results are in .*out\.new$"):
        evaluated(capsys, path, small_dataset, "--output", out)
    assert json.loads((tmp_path / "out.new" / "summary.json").read_text())["videos"] == 7
    assert out.exists() == is_there and not list(tmp_path.glob(".out*"))


def test_an_evaluation_of_other_frames_under_the_same_ids_is_kept(tmp_path, capsys):
    """Videos that were converted anew, at another quality, give other scores: those before would be gone."""
    dataset = write_small_dataset(tmp_path / "data", train=4)
    path, out = save_checkpoint(tmp_path / "x.pth"), tmp_path / "out"
    assert "content" not in evaluated(capsys, path, dataset, "--output", out)
    shutil.rmtree(dataset)
    write_small_dataset(dataset, train=4, height=60, width=72)
    line = evaluated(capsys, path, dataset, "--output", out)
    assert sorted(each.name for each in tmp_path.glob("out*")) == ["out", "out.before"] and line["videos"] == 7
    before, after = (read_predictions(tmp_path / name).about for name in ("out.before", "out"))
    assert other_frames(before, after) == "other frames (in 7 of 7 videos looked at)"
    summary = json.loads((out / "summary.json").read_text())
    assert summary["content"] == after["content"]
    state = path.stat()
    assert after["checkpoint_file"] == {"size": state.st_size, "changed": state.st_mtime_ns}
    del summary["content"], summary["files"]  # as of an older version
    (out / "summary.json").write_text(json.dumps(summary))
    evaluated(capsys, path, dataset, "--output", out)
    assert len(list(tmp_path.glob("out*"))) == 2


def test_scores_of_training_videos_say_so_wherever_they_are_kept(small_dataset, tmp_path, capsys):
    """100 % of the training videos would be read as a result by whoever finds the summary."""
    path = save_checkpoint(tmp_path / "x.pth")
    checkpoint = checkpoint_of()
    videos, _ = load_val(small_dataset, DatasetSpec("d", "train.csv", "val.csv"), None, CLASSES)
    checkpoint["videos"] = {"train": videos.digest(), "val": "other"}
    torch.save(checkpoint, path)
    result = evaluated(capsys, path, small_dataset)
    summary = json.loads((tmp_path / "evaluation_val_1x1" / "summary.json").read_text())
    assert len(result["warnings"]) == len(summary["warnings"]) == 1 and "trained" in result["warnings"][0]
    assert trained_share(result["warnings"][0]) == 1  # by which evaluate.fuse --splits knows it


def test_exchanged_databases_are_told_wherever_the_scores_are_kept(tmp_path, capsys):
    """The scores were others without a word; `verify` alone named the videos."""
    dataset = write_small_dataset(tmp_path / "data", train=4)
    path = save_checkpoint(tmp_path / "x.pth")
    assert evaluated(capsys, path, dataset)["warnings"] == []
    one, other = (dataset / "jpg" / name / "frames.db" for name in ("clap/val_000", "jump/val_001"))
    for place, target in ((one, tmp_path / "t"), (other, one), (tmp_path / "t", other)):
        place.rename(target)
    (line,) = evaluated(capsys, path, dataset)["warnings"]
    assert "2 of 7 videos looked at" in line and "clap/val_000 holds frames of 'val_001'" in line
    summary = json.loads((tmp_path / "evaluation_val_1x1" / "summary.json").read_text())
    assert summary["warnings"] == [line]


def test_the_test_split_is_of_its_own_file(small_dataset, tmp_path, capsys):
    """Val scores would be taken for test scores."""
    dataset = write_small_dataset(tmp_path / "data", train=4, val=5)
    path = save_checkpoint(tmp_path / "x.pth")
    with pytest.raises(UserError, match=r"--split val"):
        evaluated(capsys, path, dataset, "--split", "test")
    write_labels(dataset / "labels" / "test.csv", [("clap", "val_000"), ("jump", "val_001")])
    assert evaluated(capsys, path, dataset, "--split", "test")["videos"] == 2
    assert evaluated(capsys, path, dataset)["videos"] == 5
    labels = tmp_path / "all.csv"
    with labels.open("w", newline="") as file:
        rows = [("label", "id", "split"), ("clap", "val_000", "test"), ("run", "val_002", "val")]
        csv.writer(file).writerows(rows)
    for split in ("val", "test"):
        assert evaluated(capsys, path, dataset, "--split", split, "--labels", labels)["videos"] == 1


def test_an_onnx_file_and_its_metadata_are_enough_for_the_same_scores(small_dataset, tmp_path, capsys):
    """Who deploys the file without this project must get what was evaluated. The reader below uses none of it."""
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    dataset = write_small_dataset(tmp_path / "data", train=4, val=8, frames=12, height=44, width=60)
    save_checkpoint(tmp_path / "x.pth", normalisation=Normalisation((90.0, 100.0, 110.0), (50.0, 60.0, 70.0)))
    export.main([str(tmp_path / "x.pth"), str(tmp_path / "x.onnx")])
    evaluated(capsys, tmp_path / "x.onnx", dataset)
    found = read_predictions(tmp_path / "evaluation_val_1x1")

    session = onnxruntime.InferenceSession(tmp_path / "x.onnx", providers=["CPUExecutionProvider"])
    metadata = {name: json.loads(text) for name, text in session.get_modelmeta().custom_metadata_map.items()}
    how = metadata["preprocessing"]
    length, size, step = how["clip_length"], how["clip_size"], how["interval"]
    assert metadata["classes"] == list(found.classes)
    for row, video in enumerate(found.ids.tolist()):
        with sqlite3.connect(dataset / "jpg" / video / "frames.db") as database:
            blobs = [blob for (blob,) in database.execute("SELECT frames FROM Images ORDER BY ObjId")]
        start = (len(blobs) - 1 - (length - 1) * step) // 2
        clip = []
        for blob in blobs[start : start + length * step : step]:
            frame = cv2.imdecode(np.frombuffer(blob, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
            side = round(min(frame.shape[:2]) / how["crop_scale"])
            top, left = ((edge - side) // 2 for edge in frame.shape[:2])
            crop = np.ascontiguousarray(frame[top : top + side, left : left + side])
            clip.append(cv2.resize(crop, (size, size), interpolation=cv2.INTER_LINEAR))
        values = (np.stack(clip).astype(np.float32) - how["mean"]) / how["std"]
        (logits,) = session.run(None, {"clips": values.astype(np.float32).transpose(3, 0, 1, 2)[None]})
        expected = logits[0] - np.log(np.exp(logits[0]).sum())
        np.testing.assert_allclose(found.log_probabilities[row], expected, atol=0.02)  # JPEG's fast transform


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("missing.pth", "DATA"), "missing.pth"),
        (("text.pth", "DATA"), "text.pth"),
        (("folder", "DATA"), "folder"),
        (("x.pth", "nowhere"), "nowhere"),
        (("x.pth", "folder"), "folder"),
        (("others.pth", "DATA"), "walk fast"),
        (("unnamed.pth", "DATA"), "--classes"),
        (("unnamed.pth", "DATA", "--classes", "names.txt"), "names"),
        (("unknown.pth", "DATA"), "--clip-length"),
        (("x.pth", "DATA", "--output", "text.pth"), "text.pth"),
        (("x.pth", "DATA", "--output", "full"), "full"),
        (("x.pth", "DATA", "--labels", "text.pth"), "text.pth"),
        (("x.pth", "DATA", "--val-frame-interval", "2@30"), "2@30.*rate|rate.*2@30|how many"),
        (("x.pth", "DATA", "--clip-length", "2000000", "--val-size", "30000"), "--clip-length"),
    ],
)
def test_mistakes_are_one_line(small_dataset, tmp_path, monkeypatch, capsys, arguments, word):
    """A traceback, or scores of something else, would be the answer to a slip."""
    monkeypatch.chdir(tmp_path)
    save_checkpoint(tmp_path / "x.pth")
    save_checkpoint(tmp_path / "others.pth", classes=("clap", "jump", "run"))
    for name, field in (("unnamed.pth", "classes"), ("unknown.pth", "preprocessing")):
        checkpoint = checkpoint_of()
        del checkpoint[field]
        torch.save(checkpoint, name)
    Path("text.pth").write_text("no network")
    Path("names.txt").write_text("a\nb\n")
    Path("folder").mkdir()
    Path("full").mkdir()
    Path("full/thesis.tex").write_text("")
    given = [str(small_dataset) if each == "DATA" else each for each in arguments]
    with pytest.raises(UserError, match=word) as error:
        run.main([*given, "--device", "cpu", "--workers", "0"])
    assert "\n" not in str(error.value) and error.value.exit_status == 2
    assert Path("full/thesis.tex").exists()


@pytest.mark.parametrize(
    ("module", "work", "flag"),
    [
        (run, "run", "--val-batch-size"),
        (predict, "_videos", "--val-batch-size"),
        (features, "_features", "--batch-size"),
        (explain, "_explain", "--val-clips"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
@pytest.mark.parametrize("error", [MemoryError("bad_alloc"), RuntimeError("CUDA error: unspecified launch failure")])
def test_a_failure_of_the_machine_is_one_line(monkeypatch, tmp_path, module, work, flag, error):
    """Out of an .onnx or .pt2 file, it was a traceback of twenty lines."""

    def fail(*_: object) -> int:
        raise error

    monkeypatch.setattr(module, work, fail)
    output = tmp_path / ("x.png" if module is explain else "x")
    output = ["--output", str(output)] if module is not predict else []
    with pytest.raises(TrainingError, match=flag if isinstance(error, MemoryError) else "the GPU or its driver failed"):
        module.main(["x.onnx", str(tmp_path), *output])
