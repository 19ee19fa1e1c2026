"""`python -m evaluate.predict`: the classes of videos, of windows of long videos, and of what a camera sees."""

import csv
import json
import os
import re
import signal
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from common.errors import DataError, NetworkError, UserError
from data.clips.dataset import ClipDataset
from data.labels.dataset_spec import DatasetSpec
from data.labels.splits import load_val
from data.loading.loader import BatchLoader, SequentialBatches
from data.store.frame_store import write_frames
from evaluate.model import load_model
from evaluate.predict import main
from evaluate.prediction.panel import HEIGHT
from evaluate.view_scores import mean_of_views, view_scores
from network import registry
from tests.evaluate.tiny_files import CLASSES, write_tiny_file
from tests.evaluate.tiny_model import BUILDERS
from tests.numbered import encode_numbered_video, encode_video, jpeg, write_numbered_database
from tests.small_dataset import noisy_frames


@pytest.fixture(autouse=True)
def tiny_networks(monkeypatch):
    """Register tiny networks for these tests only."""
    for name, builder in BUILDERS.items():
        monkeypatch.setitem(registry._builders, name, builder)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return write_tiny_file(tmp_path_factory.mktemp("network") / "tiny.pth")


@pytest.fixture
def predict(checkpoint, capsys):
    """Run the command, without processes unless told otherwise; the status and the last line of its output."""

    def run(source, *flags, workers=0, file=checkpoint):
        status = main([str(file), str(source), "--workers", str(workers), "--device", "cpu", *map(str, flags)])
        return status, json.loads(capsys.readouterr().out.splitlines()[-1])

    return run


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def noisy_video(path: Path, frames: int = 20, seed: int = 0, rate: int = 10) -> Path:
    return encode_video(path, noisy_frames(frames, 48, 64, 120, seed), rate=rate)


def test_the_scores_of_a_frame_store_are_those_of_an_evaluation(checkpoint, predict, small_dataset, tmp_path):
    """Bit for bit where the network gets the same clips at a time; else a label could differ from the table's."""
    output = tmp_path / "scores.json"
    predict(small_dataset / "jpg", "--val-clips", 3, "--val-crops", 3, "--val-batch-size", 9, "--output", output)
    scores = {
        each["video"]: {best["class"]: best["score"] for best in each["predictions"]}
        for each in json.loads(output.read_text())["videos"]
    }
    model = load_model(checkpoint)
    videos, _ = load_val(small_dataset, DatasetSpec("custom", "train.csv", "val.csv"), None, model.classes)
    dataset = ClipDataset(videos, model.preprocessing.sampling(3, 3), 0)
    for batch_size, tolerance in ((1, 0.0), (7, 1e-6)):
        batches = SequentialBatches(len(videos), batch_size, model.preprocessing.shape, 0, 1)
        normalise = model.preprocessing.normalise()
        views = [
            view_scores(model.network, normalise, each.frames, "fp32", 100)
            for each in BatchLoader(dataset, batches, 0, False)
        ]
        expected = mean_of_views(torch.cat(views).unflatten(0, (-1, 9))).exp().numpy()
        assert len(expected) == 7 and expected.std(axis=0).min() > 1e-3
        for index, row in enumerate(expected):
            name = Path(videos.place(index)).relative_to(small_dataset / "jpg").as_posix()
            found = np.array([scores[name][label] for label in CLASSES], np.float32)
            np.testing.assert_allclose(found, row, rtol=0, atol=tolerance)


def test_a_file_has_the_scores_of_its_frame_store_but_for_the_jpeg(predict, tmp_path):
    """A prediction of a new video would be worth less than the table says."""
    file = noisy_video(tmp_path / "videos" / "a.mp4")
    from data.store.video_file import VideoReader

    decoded = list(VideoReader(file, 360))
    write_frames(tmp_path / "videos" / "b", (jpeg(frame, quality=95) for frame in decoded))
    predict(tmp_path / "videos", "--val-clips", 2, "--val-crops", 3, "--output", tmp_path / "x.csv", "--top", 4)
    of_file, of_store = (
        {row[f"class_{place}"]: float(row[f"score_{place}"]) for place in range(1, 5)}
        for row in rows(tmp_path / "x.csv")
    )
    assert max(abs(of_file[label] - of_store[label]) for label in CLASSES) < 0.02


def test_a_long_video_that_is_decoded_twice_has_the_same_clips(predict, tmp_path, monkeypatch):
    """The frames of long videos are not all held; another way of reading must not be seen in the scores."""
    file, output = noisy_video(tmp_path / "a.mp4"), tmp_path / "x.csv"
    predict(file, "--val-clips", 2, "--val-crops", 3, "--output", output)
    before = output.read_bytes()
    monkeypatch.setattr("data.clips.one_video.MOST_HELD", 1000)
    predict(file, "--val-clips", 2, "--val-crops", 3, "--output", output)
    assert output.read_bytes() == before


def test_a_folder_is_searched_to_any_depth_and_broken_videos_do_not_stop_the_others(predict, tmp_path):
    """Else a folder of thousands of videos needs as many commands as it has broken files."""
    folder = tmp_path / "videos"
    for name in ("b/deep/er/two.mkv", "a.mp4"):
        noisy_video(folder / name)
    write_numbered_database(folder / "c" / "store", 12)
    (folder / "broken.mp4").write_bytes(b"no video")
    (folder / "empty.avi").touch()
    (folder / "notes.txt").touch()
    output = folder / "x.csv"
    for workers in (2, 0):  # the second run neither takes its own output for a video nor refuses to replace it
        status, line = predict(folder, "--output", output, "--top", 2, workers=workers)
        assert (status, line["videos"], line["predicted"], line["problems"], line["clips"]) == (1, 5, 3, 2, 3)
        assert line["clips_per_second"] > 0
        found = rows(output)
        assert [row["video"] for row in found] == ["a.mp4", "b/deep/er/two.mkv", "broken.mp4", "c/store", "empty.avi"]
        assert [bool(row["problem"]) for row in found] == [False, False, True, False, True]
        assert [bool(row["class_1"]) for row in found] == [True, True, False, True, False]
        assert list(found[0]) == ["video", "class_1", "score_1", "class_2", "score_2", "problem"]


def test_what_a_folder_has_beside_its_videos_is_said(checkpoint, predict, tmp_path, capsys):
    """Deleted videos and films of this command would be predicted; a disk that is not mounted would go unnoticed."""
    folder = tmp_path / "videos"
    source = noisy_video(folder / "a.mp4")
    predict(source, "--output", folder / "a_film.mp4")
    for name in ("#recycle/old.mp4", "b/@eaDir/a.mp4", "b/$RECYCLE.BIN/S-1/R1.mp4"):
        noisy_video(folder / name)
    for name in ("b/1.insv", "b/2.MOD"):
        (folder / name).touch()
    arguments = (checkpoint, folder, "--workers", 0, "--device", "cpu", "--output", tmp_path / "x.csv")
    assert main([*map(str, arguments)]) == 0
    assert [row["video"] for row in rows(tmp_path / "x.csv")] == ["a.mp4"]
    said = capsys.readouterr().out
    assert "2 other files left out: neither videos nor frames (1 .insv, 1 .mod)" in said
    assert "left out: 3 folders (#recycle, b/$RECYCLE.BIN, b/@eaDir) of systems" in said
    assert "left out: 1 film (a_film.mp4) of evaluate.predict" in said
    (folder / "walk").symlink_to("/no/such/disk/walk")
    (folder / "b" / "c.mp4").symlink_to("/no/such/disk/c.mp4")
    (folder / "b" / "loop").symlink_to("loop")
    status, line = predict(folder, "--output", tmp_path / "x.csv")
    found = {row["video"]: row["problem"] for row in rows(tmp_path / "x.csv")}
    assert (status, line["predicted"], line["problems"]) == (1, 1, 3)
    assert sorted(found) == ["a.mp4", "b/c.mp4", "b/loop", "walk"]
    assert all("a link to itself or to nothing" in found[name] for name in ("b/c.mp4", "b/loop", "walk"))


def test_no_video_that_can_be_read_is_an_error_and_writes_nothing(predict, tmp_path):
    """A script that goes on with an empty table would not notice."""
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(b"no video")
    for source in (tmp_path, tmp_path / "a.mp4"):
        with pytest.raises(DataError, match=r"a\.mp4"):
            predict(source, "--output", tmp_path / "x.csv")
    assert not (tmp_path / "x.csv").exists()


def test_json_says_what_csv_says(predict, tmp_path):
    """Two outputs that differ cannot both be right."""
    noisy_video(tmp_path / "a.mp4")
    (tmp_path / "b.mp4").touch()
    predict(tmp_path, "--output", tmp_path / "x.csv")
    predict(tmp_path, "--output", tmp_path / "x.json")
    first, second = json.loads((tmp_path / "x.json").read_text())["videos"]
    head = json.loads((tmp_path / "x.json").read_text(), object_pairs_hook=list)
    assert len({name for name, _ in head}) == len(head)  # strict readers refuse a name twice
    row = rows(tmp_path / "x.csv")[0]
    pairs = [(row[f"class_{place}"], float(row[f"score_{place}"])) for place in range(1, 5)]
    assert [(each["class"], each["score"]) for each in first["predictions"]] == pairs
    assert second["video"] == "b.mp4" and second["problem"]


def test_names_that_are_not_utf8_can_be_told_apart(predict, tmp_path):
    """Two videos of one name in the table: whose class is whose?"""
    for byte in (b"\xe8", b"\xe9"):
        noisy_video(tmp_path / "videos" / os.fsdecode(b"a" + byte + b".mp4"))
    names = ["a\\udce8.mp4", "a\\udce9.mp4"]
    for output in ("x.csv", "x.json"):
        predict(tmp_path / "videos", "--output", tmp_path / output)
    assert [row["video"] for row in rows(tmp_path / "x.csv")] == names
    assert [each["video"] for each in json.loads((tmp_path / "x.json").read_text())["videos"]] == names


def test_segments_do_not_outlive_the_windows_that_they_are_of(predict, tmp_path):
    """They would lie beside the table of another video."""
    video, output = noisy_video(tmp_path / "a.mp4"), tmp_path / "x.csv"
    segments = tmp_path / "x_segments.csv"
    predict(video, "--window", 1, "--output", output)
    assert segments.exists()
    predict(video, "--output", output)
    assert not segments.exists()
    segments.write_text("name,start\n")
    predict(video, "--output", output)
    assert segments.read_text() == "name,start\n"


def test_a_flag_that_replaces_the_preprocessing_is_used_and_said(predict, tmp_path, caplog, capsys, checkpoint):
    """Scores of other clips than those trained on must not pass as the network's."""
    noisy_video(tmp_path / "a.mp4")
    _, usual = predict(tmp_path / "a.mp4")
    main([str(checkpoint), str(tmp_path / "a.mp4"), "--device", "cpu", "--clip-length", "3", "--val-size", "24",
          "--val-frame-interval", "all"])  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    line = json.loads(lines[-1])
    assert (usual["clip"], usual["interval"]) == ("4x32x32", 2)
    assert (line["clip"], line["interval"]) == ("3x24x24", "all")
    assert any("--clip-length" in each and "--val-size" in each for each in lines)


def test_names_of_classes_may_come_from_a_file(predict, tmp_path):
    """Weights of other projects have none."""
    nameless = write_tiny_file(tmp_path / "nameless.pth", None)
    video = noisy_video(tmp_path / "a.mp4")
    names = tmp_path / "names.txt"
    names.write_text("one\ntwo\nthree\nfour\n")
    with pytest.raises(NetworkError, match="--classes"):
        predict(video, file=nameless)
    predict(video, "--classes", names, "--output", tmp_path / "x.csv", file=nameless)
    assert rows(tmp_path / "x.csv")[0]["class_1"] in ("one", "two", "three", "four")


def test_a_window_has_the_frames_of_its_seconds_in_a_file_and_in_a_database(predict, tmp_path, checkpoint):
    """A label at another time than the action."""
    file = noisy_video(tmp_path / "videos" / "a.mp4", 43)
    from data.prepare.convert import main as convert

    (tmp_path / "videos" / "walk").mkdir()
    file = file.rename(tmp_path / "videos" / "walk" / "a.mp4")
    convert([str(tmp_path / "videos"), str(tmp_path / "data"), "--workers", "1", "--quality", "95"])
    times, scores = [], []
    for source in (file, tmp_path / "data" / "jpg" / "walk" / "a"):
        status, line = predict(source, "--window", 1, "--stride", 0.5, "--output", tmp_path / "x.csv")
        found = rows(tmp_path / "x.csv")
        assert (status, line["windows"]) == (0, len(found))
        times.append([(float(row["start"]), float(row["end"])) for row in found])
        scores.append([float(row["score_1"]) for row in found])
    expected = [(start / 2, start / 2 + 1) for start in range(7)] + [(3.3, 4.3)]
    assert times == [expected, expected]
    np.testing.assert_allclose(scores[0], scores[1], atol=0.08)
    # A window is predicted as a file with only its frames is.
    frames = noisy_frames(43, 48, 64, 120, 0)[5:15]
    write_frames(tmp_path / "part", (jpeg(frame, quality=95) for frame in frames))
    predict(tmp_path / "part", "--output", tmp_path / "part.csv")
    assert float(rows(tmp_path / "part.csv")[0]["score_1"]) == pytest.approx(scores[0][1], abs=0.08)
    segments = rows(tmp_path / "x_segments.csv")
    assert [segments[0]["start"], segments[-1]["end"]] == ["0.0", "4.3"]
    assert sum(int(each["windows"]) for each in segments) == 8


def test_an_annotated_video_has_the_times_of_its_source_and_marks_them(predict, tmp_path):
    """A browser must play it, and the cursor be where the picture is."""
    pts = [0, 1, 2, 5, 6, 7, 8, 9, 10, 19]
    source = encode_numbered_video(tmp_path / "a.mp4", 10, rate=10, pts=pts)
    for flags in ((), ("--window", 0.5)):
        predict(source, "--output", tmp_path / "x.mp4", *flags)
        with av.open(str(tmp_path / "x.mp4")) as film:
            stream = film.streams.video[0]
            assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
            assert (stream.width % 2, stream.height % 2) == (0, 0)
            frames = list(film.decode(stream))
        assert [frame.time for frame in frames] == pytest.approx([each / 10 for each in pts], abs=1e-3)
        cursors = []
        for frame in frames:
            strip = frame.to_ndarray(format="gray")[-HEIGHT:][-54, 20:-20].astype(int)  # the colour is darker
            cursors.append(int(np.median(np.flatnonzero(strip > 215))))
        assert np.diff(cursors).min() > 10
        assert np.corrcoef(cursors, pts)[0, 1] > 0.999


@pytest.mark.parametrize("name", ["x.csv", "x.json", "x.mp4", "x_segments.csv"])
def test_a_file_that_the_command_did_not_write_stays(predict, tmp_path, name):
    """The label file or the recording of a user would be lost."""
    source = noisy_video(tmp_path / "videos" / "a.mp4")
    foreign = tmp_path / name
    if name.endswith(".mp4"):
        noisy_video(foreign)
    else:
        foreign.write_text("label,id\nrun,a\n")
    before = foreign.read_bytes()
    with pytest.raises(DataError, match=name):
        predict(source, "--window", 1, "--output", str(foreign).replace("_segments", ""))
    assert foreign.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["videos", name])


@pytest.mark.parametrize("flags", [(), ("--window", 1)])
@pytest.mark.parametrize("suffix", ["csv", "json"])
def test_predictions_to_which_somebody_has_added_are_not_replaced(predict, tmp_path, flags, suffix):
    """The true classes that somebody had filled in by hand went with the next prediction of that name."""
    source, output = noisy_video(tmp_path / "a.mp4"), tmp_path / f"x.{suffix}"
    for top in (1, 4):  # of any number of classes, predictions are replaced
        predict(source, "--output", output, "--top", top, *flags)
    if suffix == "csv":
        output.write_text("".join(f"{line},true\n" for line in output.read_text().splitlines()))
    else:
        output.write_text(json.dumps(json.loads(output.read_text()) | {"checked": True}))
    before = output.read_bytes()
    with pytest.raises(DataError, match="or was changed since"):
        predict(source, "--output", output, *flags)
    assert output.read_bytes() == before


BAD = {
    "no such video": ("{}/none.mp4",),
    "a text file": ("{}/text.txt",),
    "an empty folder": ("{}/empty",),
    "a file of no frames": ("{}/sound.mp4",),
    "a window longer than the video": ("{}/a.mp4", "--window", "30", "--workers", "0"),
    "a window of no length": ("{}/a.mp4", "--window", "0"),
    "a stride without windows": ("{}/a.mp4", "--stride", "1"),
    "a stride of no length": ("{}/a.mp4", "--window", "1", "--stride", "0"),
    "windows with gaps": ("{}/a.mp4", "--window", "0.5", "--stride", "0.6", "--workers", "0"),
    "no classes": ("{}/a.mp4", "--top", "0"),
    "clips too large": ("{}/a.mp4", "--val-size", "2000000"),
    "an output of no kind": ("{}/a.mp4", "--output", "{}/x.txt"),
    "the input as output": ("{}/a.mp4", "--output", "{}/a.mp4"),
    "an output in no folder": ("{}/a.mp4", "--output", "{}/none/x.csv"),
    "one film of two videos": ("{}/two", "--output", "{}/x.mp4"),
    "other classes": ("{}/a.mp4", "--classes", "{}/names.txt"),
    "no camera": ("camera:99",),
    "no name of a camera": ("camera:",),
    "an output of a camera": ("camera:{}/a.mp4", "--output", "{}/x.csv"),
    "a pace without a camera": ("{}/a.mp4", "--every", "1"),
    "a camera shorter than a window": ("camera:{}/a.mp4", "--window", "60", "--speed", "100"),
}


@pytest.fixture(scope="module")
def bad_inputs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    noisy_video(folder / "a.mp4")
    for name in ("a", "b"):
        noisy_video(folder / "two" / f"{name}.mp4", 4)
    (folder / "text.txt").write_text("no video")
    (folder / "names.txt").write_text("one\ntwo\n")
    (folder / "sound.mp4").write_bytes((folder / "a.mp4").read_bytes()[:900])
    (folder / "empty").mkdir()
    return folder


@pytest.mark.parametrize("case", BAD)
def test_a_bad_input_is_one_line_and_status_2(checkpoint, bad_inputs, case, capsys):
    """A traceback, or a result that means something else."""
    before = sorted(bad_inputs.iterdir())
    with pytest.raises(UserError) as caught:
        main([str(checkpoint), *(word.format(bad_inputs) for word in BAD[case])])
    assert caught.value.exit_status == 2 and "\n" not in str(caught.value)
    assert sorted(bad_inputs.iterdir()) == before


def test_a_checkpoint_that_is_none_is_status_2(bad_inputs):
    """As above."""
    for name in ("none.pth", "text.txt", "a.mp4", "empty"):
        with pytest.raises(UserError) as caught:
            main([str(bad_inputs / name), str(bad_inputs / "a.mp4")])
        assert caught.value.exit_status == 2


def test_a_camera_gives_a_line_for_each_prediction(checkpoint, tmp_path, capsys):
    """The last seconds at even times, and no line that is not JSON."""
    source = noisy_video(tmp_path / "a.mp4", 80)
    flags = ["--window", "2", "--every", "1", "--speed", "4", "--device", "cpu"]
    assert main([str(checkpoint), f"camera:{source}", *flags]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0]["time"] >= 2.0
    times = [line["time"] for line in lines]
    due = 2.0
    for line, time in zip(lines, times, strict=True):  # a busy machine leaves some out, and says so
        due += line["skipped"]
        assert time >= due - 1e-6
        due += 1
        assert 1 <= line["frames"] <= 20 and line["latency"] > 0
        assert len(line["classes"]) == len(line["scores"]) == 4


def test_a_slow_network_leaves_predictions_out_and_says_so(checkpoint, tmp_path, capsys, monkeypatch):
    """Lines that come later and later would be taken for what is seen now."""
    import time

    from evaluate.prediction import scoring

    real = scoring.view_scores
    monkeypatch.setattr(scoring, "view_scores", lambda *words: (time.sleep(0.6), real(*words))[1])
    source = noisy_video(tmp_path / "a.mp4", 60)
    flags = ["--window", "1", "--every", "1", "--speed", "2", "--device", "cpu"]
    assert main([str(checkpoint), f"camera:{source}", *flags]) == 0
    captured = capsys.readouterr()
    lines = [json.loads(line) for line in captured.out.splitlines()]
    assert len(lines) < 6 and max(line["skipped"] for line in lines) >= 1
    # 0.6 s of the clock are less than --every; those of the video are more.
    said = " ".join(captured.err.split())
    assert "--every" in said and float(re.search(r"([\d.]+) s of the video", said)[1]) >= 1


def test_ctrl_c_ends_a_camera_with_a_clean_line(checkpoint, tmp_path, server):
    """It is how one ends it; a traceback would say that something is wrong."""
    source = noisy_video(tmp_path / "a.mp4", 600)
    script = tmp_path / "run.py"
    script.write_text(
        "from tests.tiny_network import register_tiny_networks\nregister_tiny_networks()\n"
        "from common.cli import run_command\nfrom evaluate.predict import main\nrun_command(main)\n"
    )
    process = server.start(script, checkpoint, f"camera:{source}", "--window", 1, folder=tmp_path)
    process.wait_for('"time"')
    os.kill(process.pid, signal.SIGINT)
    assert process.wait() == 0
    assert "Traceback" not in process.output() and "predictions" in process.stderr


@pytest.mark.slow
def test_an_onnx_file_gives_the_same_scores(predict, tmp_path, server):
    """Who deploys the exported file would get other labels."""
    pytest.importorskip("onnxruntime")
    checkpoint = tmp_path / "small.pth"
    from network import create_network

    torch.manual_seed(0)
    network = create_network("r3d_10", 4)
    torch.save(
        torch.load(write_tiny_file(checkpoint, clip_length=8, clip_size=40), weights_only=True)
        | {"weights": network.state_dict()}
        | {"network": {"name": "r3d_10", "gates": False, "placement": "final", "num_classes": 4}},
        checkpoint,
    )
    for form in ("onnx", "pt2"):
        process = server.start("-m", "train.export", checkpoint, tmp_path / f"x.{form}", folder=tmp_path)
        assert process.wait() == 0, process.output()
    video = noisy_video(tmp_path / "a.mp4", 30)
    found = []
    for name in ("small.pth", "x.onnx", "x.pt2"):
        predict(video, "--output", tmp_path / "x.json", "--val-clips", 2, file=tmp_path / name)
        (of_video,) = json.loads((tmp_path / "x.json").read_text())["videos"]
        found.append({each["class"]: each["score"] for each in of_video["predictions"]})
    assert found[0] == pytest.approx(found[1], abs=1e-4)
    assert found[0] == pytest.approx(found[2], abs=1e-4)


def test_a_path_is_no_markup(checkpoint, capsys, tmp_path):
    """A path with `[/b]` was a traceback, after all the work."""
    (tmp_path / "v[").mkdir()
    video = noisy_video(tmp_path / "v[" / "b] [red]x.mp4")
    assert main([str(checkpoint), str(video), "--workers", "0", "--device", "cpu"]) == 0
    assert "b] [red]x" in capsys.readouterr().out
