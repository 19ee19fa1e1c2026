"""`python -m evaluate.features`: the features are those of the network, of the right frames, and complete."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from common.errors import UserError
from data.clips.one_video import read_clips
from evaluate import features
from evaluate.layer_features.videos import Root, classes_of, find_videos, read_rows
from evaluate.model import load_model
from network import registry
from tests.data.store.test_video_spans import encode_with_sound
from tests.evaluate.tiny_model import BUILDERS, FRAMES, exit_status, write_checkpoint
from tests.numbered import encode_numbered_video, frame_number, write_numbered_database
from tests.small_dataset import CLASSES, write_small_dataset


@pytest.fixture(autouse=True)
def tiny_networks(monkeypatch):
    """Register tiny networks for these tests only."""
    for name, builder in BUILDERS.items():
        monkeypatch.setitem(registry._builders, name, builder)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """12 train and 5 val videos of 12 frames."""
    return write_small_dataset(tmp_path_factory.mktemp("dataset"), train=12, val=5, frames=12)


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    write_checkpoint(tmp_path / "x.pth")
    return tmp_path / "x.pth"


def run(*arguments: object) -> int:
    return features.main([*map(str, arguments), "--device", "cpu", "--workers", "0"])


def index_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "index.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def views_of(checkpoint: Path, video: Path, clips: int = 1, crops: int = 1) -> tuple[torch.nn.Module, torch.Tensor]:
    """The network of a checkpoint, and its normalised views of a video."""
    model = load_model(checkpoint)
    preprocessing = model.needs_preprocessing()
    views = read_clips(video, preprocessing.sampling(clips, crops), preprocessing.shape)
    return model.network, preprocessing.normalise()(views)


@pytest.mark.parametrize("layer", ["stem", "layer1", "layer3", "layer4"])
def test_features_are_a_hook_s(dataset, checkpoint, tmp_path, layer):
    """Else what is analysed is not what the network computes."""
    for pool in ("mean", "time", "none"):
        assert run(checkpoint, dataset, "--output", tmp_path / pool, "--layer", layer, "--pool", pool) == 0
    video = "run/train_002"
    network, views = views_of(checkpoint, dataset / "jpg" / video)
    outputs = []
    network.get_submodule(layer).register_forward_hook(lambda module, inputs, output: outputs.append(output))
    with torch.inference_mode():
        network(views)
    (expected,) = outputs[0].numpy()  # (C, t, h, w)
    found = {pool: np.load(tmp_path / pool / "features" / f"{video}.npy") for pool in ("mean", "time", "none")}
    np.testing.assert_array_equal(found["none"], expected.swapaxes(0, 1))
    np.testing.assert_allclose(found["time"], expected.mean((2, 3)).T, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["mean"], expected.mean((1, 2, 3))[None], rtol=1e-5, atol=1e-6)
    assert all(each.dtype == np.float32 for each in found.values())


def test_pooled_features_give_the_logits(dataset, checkpoint, tmp_path):
    """A linear classifier on the features must mean what the network's own does."""
    for layer in ("layer4", "fc", "logits"):
        run(checkpoint, dataset, "--output", tmp_path / layer, "--layer", layer)
    video = "jump/val_001"
    network, views = views_of(checkpoint, dataset / "jpg" / video)
    found = {layer: np.load(tmp_path / layer / f"features/{video}.npy") for layer in ("layer4", "fc", "logits")}
    with torch.inference_mode():
        logits = network(views)
        for layer in ("layer4", "fc"):
            torch.testing.assert_close(network.fc(torch.from_numpy(found[layer])), logits)
    torch.testing.assert_close(torch.from_numpy(found["logits"]), logits)


def test_several_views_are_averaged_over_crops(dataset, checkpoint, tmp_path):
    """Crop after crop, each with all clips: another order would mix times."""
    run(checkpoint, dataset, "--output", tmp_path / "f", "--pool", "time", "--val-clips", 3, "--val-crops", 2)
    video = "clap/train_000"
    network, views = views_of(checkpoint, dataset / "jpg" / video, clips=3, crops=2)
    outputs = []
    network.layer4.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    with torch.inference_mode():
        network(views)
    by_crop = outputs[0].mean((3, 4)).unflatten(0, (2, 3)).mean(0)  # (clips, C, t)
    expected = by_crop.transpose(1, 2).flatten(0, 1).numpy()
    np.testing.assert_allclose(np.load(tmp_path / f"f/features/{video}.npy"), expected, rtol=1e-5, atol=1e-6)
    rows = [row for row in index_of(tmp_path / "f") if row["video"] == video]
    assert [(row["first_frame"], row["last_frame"]) for row in rows] == [("0", "7"), ("2", "9"), ("4", "11")]


def test_the_index_tells_classes_splits_and_times(dataset, checkpoint, tmp_path):
    """Without them, nobody knows what a row of a file is of."""
    run(checkpoint, dataset, "--output", tmp_path / "f")
    rows = index_of(tmp_path / "f")
    assert len(rows) == 17
    for row in rows:
        folder, video = row["video"].split("/")
        assert row["file"] == f"features/{row['video']}.npy" and (tmp_path / "f" / row["file"]).is_file()
        assert (row["class"], row["split"]) == (folder, video.split("_")[0])
        assert int(row["label"]) == sorted(CLASSES).index(folder)
        assert (row["row"], row["first_frame"], row["last_frame"], row["start"]) == ("0", "2", "9", "")


@pytest.mark.parametrize("kind", ["file", "database"])
def test_windows_have_the_frames_of_their_seconds(checkpoint, tmp_path, monkeypatch, kind):
    """A row would be of another moment than the index says. 42 frames, 10 a second; windows of 1 s every 0.5 s."""
    videos = tmp_path / "videos"
    path = encode_numbered_video(videos / "deep/er/a.mkv", 42, rate=10)
    if kind == "database":
        path.unlink()
        write_numbered_database(videos / "deep/er/a.mkv", 42)
        monkeypatch.setattr("evaluate.layer_features.clips.known_rate", lambda store, place: 10.0)
    seen = []
    original = features.layer_of_views

    def look(layer, normalise, views, device, batch):
        seen.append([[frame_number(frame.permute(1, 2, 0).numpy()) for frame in view.unbind(1)] for view in views])
        return original(layer, normalise, views, device, batch)

    monkeypatch.setattr(features, "layer_of_views", look)
    flags = ("--window", 1, "--stride", 0.5, "--val-frame-interval", "all")
    assert run(checkpoint, videos, "--output", tmp_path / "f", *flags) == 0
    rows = index_of(tmp_path / "f")
    assert [(float(row["start"]), float(row["end"])) for row in rows] == [
        (start, start + 1) for start in (0, 0.5, 1, 1.5, 2, 2.5, 3, 3.2)
    ]
    assert np.load(tmp_path / "f" / rows[0]["file"]).shape == (8, 8)
    for row, (clip,) in zip(rows, seen, strict=True):
        assert len(clip) == FRAMES and clip == sorted(clip)
        assert int(row["first_frame"]) <= clip[0] < clip[-1] <= int(row["last_frame"])


@pytest.mark.parametrize("flags", [("--window", "0.4", "--stride", "0.4"), ()])
def test_times_are_those_of_the_file(checkpoint, tmp_path, flags):
    """Of a picture that starts 2 s after the sound, rows lay 2 s before the times of labels and of `predict`."""
    (tmp_path / "videos").mkdir()
    encode_with_sound(tmp_path / "videos" / "v.mp4", 20, 2, "libx264", "aac")
    assert run(checkpoint, tmp_path / "videos", "--output", tmp_path / "f", *flags) == 0
    rows = index_of(tmp_path / "f")
    assert len(rows) == (2 if flags else 1)
    for row in rows:
        times = [2 + int(row["first_frame"]) / 25, 2 + (int(row["last_frame"]) + 1) / 25]
        assert [float(row["start"]), float(row["end"])] == pytest.approx(times, abs=1e-3)


def test_shards_fill_one_folder_as_one_run_does(dataset, checkpoint, tmp_path):
    """Several machines share a large dataset; a missing or doubled row would not be noticed."""
    run(checkpoint, dataset, "--output", tmp_path / "one")
    for shard in ("2/3", "1/3", "3/3"):
        run(checkpoint, dataset, "--output", tmp_path / "three", "--shard", shard)
    assert content(tmp_path / "one") == content(tmp_path / "three")
    with pytest.raises(UserError, match="--shard"):
        run(checkpoint, dataset, "--output", tmp_path / "three", "--shard", "1/3", "--knn")


def test_a_second_run_does_what_is_missing_alone(dataset, checkpoint, tmp_path, capsys):
    """A stopped run of hours goes on; a half-written file or a replaced video is not taken for whole."""
    videos = tmp_path / "videos"
    for name in ("a", "b", "c", "d"):
        encode_numbered_video(videos / f"{name}.mp4", 12)
    run(checkpoint, videos, "--output", tmp_path / "f")
    before = content(tmp_path / "f")
    (tmp_path / "f/features/a.mp4.npy").write_bytes(before["features/a.mp4.npy"][:-4])
    (tmp_path / "f/rows/b.mp4.json").unlink()
    encode_numbered_video(videos / "c.mp4", 12, start=100)
    capsys.readouterr()
    assert run(checkpoint, videos, "--output", tmp_path / "f") == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (result["written"], result["there_before"]) == (3, 1)
    after = content(tmp_path / "f")
    same = {name for name, data in after.items() if before[name] == data}
    assert before.keys() == after.keys() and before.keys() - same == {"features/c.mp4.npy", "rows/c.mp4.json"}


@pytest.mark.parametrize("change", ["weights", "gates", "layer", "pool", "window", "clips", "videos"])
def test_other_settings_into_the_same_folder_are_refused(dataset, checkpoint, tmp_path, change):
    """Features of two networks or layers would be compared as if they were of one."""
    videos = tmp_path / "videos"
    encode_numbered_video(videos / "a.mp4", 20)
    encode_numbered_video(tmp_path / "others/a.mp4", 20)
    run(checkpoint, videos, "--output", tmp_path / "f")
    before = content(tmp_path / "f")
    flags = {"layer": ("--layer", "layer3"), "pool": ("--pool", "time"), "window": ("--window", 0.5)}
    flags["clips"] = ("--val-clips", 2)
    if change in ("weights", "gates"):
        write_checkpoint(checkpoint, gates=change != "gates", seed=int(change == "weights"))
    with pytest.raises(UserError, match="give another folder"):
        folder = tmp_path / "others" if change == "videos" else videos
        run(checkpoint, folder, "--output", tmp_path / "f", *flags.get(change, ()))
    assert content(tmp_path / "f") == before


def test_a_broken_video_stops_no_other(checkpoint, tmp_path, capsys):
    """One of a million is always broken."""
    for name in ("a", "c"):
        encode_numbered_video(tmp_path / f"videos/{name}.mp4", 12)
    (tmp_path / "videos/b.mp4").write_text("no video")
    for kind in ((), ("--window", 0.2)):
        folder = tmp_path / f"f{len(kind)}"
        assert run(checkpoint, tmp_path / "videos", "--output", folder, *kind) == 1
        result = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert (result["written"], result["failed"]) == (2, 1)
        assert {row["video"] for row in index_of(folder)} == {"a.mp4", "c.mp4"}


def test_what_a_folder_has_beside_its_videos_is_said(checkpoint, tmp_path, capsys):
    """Features of deleted videos would be neighbours of others; a disk that is not mounted would go unnoticed."""
    for name in ("run/a.mp4", "#recycle/run/b.mp4", "run/@eaDir/a.mp4"):
        encode_numbered_video(tmp_path / "videos" / name, 12)
    (tmp_path / "videos/run/1.insv").touch()
    assert run(checkpoint, tmp_path, "--output", tmp_path / "f") == 0
    assert {row["video"] for row in index_of(tmp_path / "f")} == {"run/a.mp4"}
    said = capsys.readouterr().out
    assert "1 other file left out: neither videos nor frames (1 .insv)" in said
    assert "left out: 2 folders (#recycle, run/@eaDir) of systems" in said
    (tmp_path / "videos/walk").symlink_to("/no/such/disk/walk")
    (tmp_path / "videos/run/b.mp4").symlink_to("b.mp4")
    assert run(checkpoint, tmp_path, "--output", tmp_path / "f") == 1
    said = capsys.readouterr().out
    assert json.loads(said.splitlines()[-1])["failed"] == 2
    for name in ("walk", "run/b.mp4"):
        assert f"left out: {tmp_path}/videos/{name}: a link to itself or to nothing" in said
    (tmp_path / "videos/run/a.mp4").unlink()
    with pytest.raises(UserError, match="is its disk mounted"):
        run(checkpoint, tmp_path, "--output", tmp_path / "g")


def test_a_video_may_have_the_id_frames_db(checkpoint, tmp_path):
    """As of frames.db.mp4: its class folder was taken for a video, which hid all videos in it."""
    for name in ("frames.db", "other"):
        write_numbered_database(tmp_path / "d/jpg/wave" / name, FRAMES, 32, 32)
    assert run(checkpoint, tmp_path / "d", "--output", tmp_path / "out") == 0
    assert [row["video"] for row in index_of(tmp_path / "out")] == ["wave/frames.db", "wave/other"]


def test_an_index_with_names_that_are_not_utf8_is_utf8(checkpoint, tmp_path):
    """One such name, and the table of all videos could not be read."""
    encode_numbered_video(tmp_path / "videos" / os.fsdecode(b"caf\xe9.mp4"), 12)
    assert run(checkpoint, tmp_path / "videos", "--output", tmp_path / "out") == 0
    (row,) = csv.DictReader((tmp_path / "out" / "index.csv").read_text("utf-8").splitlines())
    assert row["video"] == "caf\\udce9.mp4"


@pytest.mark.parametrize("windows", [(), ("--window", 0.2)])
def test_a_video_that_is_replaced_while_it_is_read_is_computed_again(checkpoint, tmp_path, monkeypatch, windows):
    """Features of the old file would count as those of the new one for good."""
    video, other = tmp_path / "videos" / "a.mp4", tmp_path / "b.mp4"
    encode_numbered_video(video, 12)
    encode_numbered_video(tmp_path / "videos" / "c.mp4", 12)
    encode_numbered_video(other, 16)
    real = features.Job.features

    def features_of(job, path, pieces):
        found = real(job, path, pieces)
        if other.exists():
            other.replace(video)
        return found

    monkeypatch.setattr(features.Job, "features", features_of)
    words = (checkpoint, video.parent, "--output", tmp_path / "out", *windows)
    assert run(*words) == 1
    assert {row["video"] for row in index_of(tmp_path / "out")} == {"c.mp4"}
    assert run(*words) == 0
    about = json.loads((tmp_path / "out" / "rows" / "a.mp4.json").read_text())
    assert about["frames"] == 16


def test_threads_that_read_ahead_change_nothing(dataset, checkpoint, tmp_path):
    """They are the default."""
    run(checkpoint, dataset, "--output", tmp_path / "one")
    features.main(
        [str(checkpoint), str(dataset), "--output", str(tmp_path / "two"), "--device", "cpu", "--workers", "3"]
    )
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_neighbours_are_scored_by_a_label_file_or_the_dataset_s_own(dataset, checkpoint, tmp_path, capsys):
    """A wrong match of rows and videos would give chance."""
    run(checkpoint, dataset, "--output", tmp_path / "f", "--knn")
    own = json.loads(capsys.readouterr().out.splitlines()[-1])["knn"]
    labels = dataset / "labels"
    run(checkpoint, dataset, "--output", tmp_path / "f", "--knn", labels / "train.csv", labels / "val.csv")
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["knn"] == own
    assert own["videos"] == 5 and own["top1"] == 100  # classes are grey levels


def test_features_that_were_changed_give_no_scores(dataset, checkpoint, tmp_path):
    """Scores of exchanged files, without a word. One of the two is found by its time, and computed again at once."""
    command = (checkpoint, dataset, "--output", tmp_path / "f", "--knn")
    assert run(*command) == 0
    before = content(tmp_path / "f")
    one, two = sorted((tmp_path / "f/features").rglob("train*.npy"))[:2]
    one.rename(tmp_path / "x")
    two.rename(one)
    (tmp_path / "x").rename(two)
    with pytest.raises(UserError, match=r"the features of 1 of the videos.*same command again"):
        run(*command)
    assert run(*command) == 0
    assert content(tmp_path / "f") == before


def test_clips_of_one_video_are_no_neighbours(dataset, checkpoint, tmp_path, capsys):
    """The nearest neighbour of a video would be itself, and the score 100 %."""
    rows = ["label,id,split", "clap,train_000,train", "jump,train_001,train", "clap,train_000,val"]
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    run(checkpoint, dataset, "--output", tmp_path / "f", "--knn", tmp_path / "labels.csv")
    found = json.loads(capsys.readouterr().out.splitlines()[-1])["knn"]
    assert (found["videos"], found["top1"]) == (1, 0)


def test_recordings_of_one_name_in_several_classes_are_several_videos(checkpoint, tmp_path, capsys):
    """Neighbours of wrong classes were left out as parts of the same video: the score was too high."""
    rows = ["label,path,start,end,split"]
    for number, name in enumerate(("clap/1", "jump/1", "clap/2", "jump/2")):
        for split, start in (("train", 0), ("val", 1)):
            rows.append(f"{name[:4]},{name}.mp4,{start},{start + 1},{split}")
            write_numbered_database(tmp_path / f"jpg/{name}_00000{start}_00000{start + 1}", 20 + number)
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    run(checkpoint, tmp_path, "--output", tmp_path / "f", "--knn", tmp_path / "labels.csv")
    vectors, labels = {}, {}
    for row in index_of(tmp_path / "f"):
        vectors[row["video"]] = np.load(tmp_path / "f" / row["file"]).mean(axis=0)
        labels[row["video"]] = row["class"]
    hits = 0
    for name in (each for each in vectors if each.endswith("_000001_000002")):
        mine = name.removesuffix("_000001_000002")
        others = [each for each in vectors if each.endswith("_000000_000001") and not each.startswith(mine)]
        unit = {each: vectors[each] / np.linalg.norm(vectors[each]) for each in (name, *others)}
        hits += labels[max(others, key=lambda each: unit[each] @ unit[name])] == labels[name]
    found = json.loads(capsys.readouterr().out.splitlines()[-1])["knn"]
    assert (found["videos"], found["top1"]) == (4, 25.0 * hits)


@pytest.mark.parametrize(
    ("rows", "files", "expected"),
    [
        ("jump,003,val clap,001,train", "clap/001 clap/003", {"clap/001": ("clap", "train")}),  # jump/003 is lost
        ("jump,003,val clap,001,train", "clap/001 x/003", {"clap/001": ("clap", "train"), "x/003": ("jump", "val")}),
        ("jump,jump/c~1.mp4,train jump,jump/c_1.mp4,val", "jump/c~1 jump/c_1",
         {"jump/c 1": ("jump", "train"), "jump/c_1": ("jump", "val")}),
    ],
)  # fmt: skip
def test_a_row_has_no_other_video(tmp_path, rows, files, expected):
    """The features of another class's video of the same name were scored as this row's."""
    for name in files.split():
        path = tmp_path / "videos" / f"{name.replace('~', ' ')}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    lines = [row.replace("~", " ") for row in rows.split()]
    (tmp_path / "labels.csv").write_text("\n".join(["label,path,split", *lines]) + "\n")
    root = Root(tmp_path / "videos", tmp_path, False)
    videos, _ = find_videos(root.path)
    found = classes_of(videos, root, read_rows(root, [tmp_path / "labels.csv"]), ())
    told = {video.name.removesuffix(".mp4"): each for video, each in zip(videos, found, strict=True) if any(each)}
    assert told == expected


def test_a_part_is_not_the_whole_recording_at_its_path(tmp_path):
    """Clips of val were scored by the features of a recording that holds their train clips."""
    (tmp_path / "a.mp4").touch()
    rows = ["label,path,start,end,split", "jump,a.mp4,0,1,train", "clap,a.mp4,1,2,val"]
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    root = Root(tmp_path, tmp_path, False)
    videos, _ = find_videos(tmp_path)
    assert classes_of(videos, root, read_rows(root, [tmp_path / "labels.csv"]), ()) == [("", "")]


MISTAKES = {
    "no checkpoint": "nothing.pth DATASET",
    "a text as checkpoint": "text.pth DATASET",
    "a folder as checkpoint": "empty DATASET",
    "no videos": "x.pth nothing",
    "an empty folder": "x.pth empty",
    "a file as folder": "x.pth text.pth",
    "unknown layer": "x.pth DATASET --layer layer5",
    "frames of logits": "x.pth DATASET --layer logits --pool time",
    "pixels of crops": "x.pth DATASET --pool none --val-crops 3",
    "stride alone": "x.pth DATASET --stride 1",
    "window of nothing": "x.pth DATASET --window 0",
    "window of no number": "x.pth DATASET --window nan",
    "window longer than all videos": "x.pth videos --window 60",
    "stride below a frame": "x.pth videos --window 0.2 --stride 1e-9",
    "no shard": "x.pth DATASET --shard 3/2",
    "no labels": "x.pth DATASET --knn nothing.csv",
    "labels of other videos": "x.pth DATASET --knn others.csv",
    "text as labels": "x.pth DATASET --knn text.pth",
    "huge clips": "x.pth DATASET --clip-length 2147483647",
    "output that is a file": "x.pth DATASET --output text.pth",
    "output that is something else": "x.pth DATASET --output videos",
    "damaged settings": "x.pth DATASET --output damaged",
    "all videos broken": "x.pth broken",
    "a long checkpoint": "LONG DATASET",
    "a long folder": "x.pth LONG",
    "a long output": "x.pth DATASET --output LONG",
    "long labels": "x.pth DATASET --knn LONG",
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_one_line(dataset, checkpoint, tmp_path, monkeypatch, name):
    """And nothing that was there before is lost."""
    monkeypatch.chdir(tmp_path)
    for folder in ("empty", "damaged", "broken"):
        Path(folder).mkdir()
    Path("text.pth").write_text("some text")
    Path("damaged/settings.json").write_text("{")
    Path("broken/a.mp4").write_text("no video")
    Path("others.csv").write_text("label,id,split\nclap,x,train\nclap,y,val\n")
    encode_numbered_video(Path("videos/a.mp4"), 12)
    words = [str(dataset) if word == "DATASET" else word for word in MISTAKES[name].replace("LONG", "x" * 300).split()]
    output = () if "--output" in words else ("--output", "out")
    with pytest.raises((UserError, SystemExit, OSError)) as caught:
        run(*words, *output)
    status = exit_status(caught.value)
    assert status == 2 and "\n" not in str(caught.value)
    assert Path("text.pth").read_text() == "some text" and Path("damaged/settings.json").read_text() == "{"


def test_an_unknown_layer_lists_the_others(dataset, checkpoint, tmp_path):
    """The user cannot know their names."""
    with pytest.raises(UserError, match=r"stem, layer1, layer2, layer3, layer4, fc, logits"):
        run(checkpoint, dataset, "--output", tmp_path / "f", "--layer", "layer5")
