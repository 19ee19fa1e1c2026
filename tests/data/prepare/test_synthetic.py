import hashlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from common.errors import DataError
from data.labels.label_file import read_labels
from data.prepare import resize, synthetic
from data.prepare.run_lock import only_run
from data.prepare.synthetic import CODECS, Settings, encode, list_videos, main, make_dataset, render_video
from data.prepare.synthetic_scene import class_table, draw_scene, render

SMALL = Settings(videos=96, val_videos=32, classes=8, frames=24, height=48, width=48, fps=16, seed=3)
COMMAND = [sys.executable, "-m", "data.prepare.synthetic"]
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """A small set of videos, made by two workers."""
    out = tmp_path_factory.mktemp("synthetic")
    make_dataset(out, SMALL, workers=2)
    return out


def decode(path):
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def videos_of(dataset, split):
    """Decoded videos (N, T, H, W, 3) of a split and their labels (N,), in the order they were made in."""
    videos = [video for video in list_videos(SMALL) if video.split == split]
    labels = np.array([list(class_table(8)).index(video.label) for video in videos])
    return np.stack([decode(dataset / "videos" / video.path) for video in videos]), labels


def bag(frames):
    """The frames without their order."""
    return sorted(hashlib.sha256(np.ascontiguousarray(frame)).hexdigest() for frame in frames)


def files_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("classes", "frames", "size"), [(8, 32, (64, 64)), (8, 17, (32, 50)), (48, 24, (32, 36))])
def test_all_classes_of_a_scene_have_the_same_frames_in_other_orders(classes, frames, size):
    """Else a network could name a class without looking at motion, and the demo would show nothing."""
    table = class_table(classes)
    for seed in range(3):
        num_events = len(next(iter(table.values())))
        scene = draw_scene(np.random.default_rng(seed), num_events, frames, *size)
        videos = [np.stack(list(render(scene, parts))) for parts in table.values()]
        assert videos[0].shape == (frames, *size, 3)
        assert all(bag(video) == bag(videos[0]) for video in videos)
        assert len({video.tobytes() for video in videos}) == classes


def test_a_folder_may_have_a_time_in_its_name(tmp_path, monkeypatch):
    """FFmpeg takes what is before the colon for a protocol."""
    monkeypatch.chdir(tmp_path)
    few = replace(SMALL, videos=6, val_videos=2, classes=2)
    assert make_dataset(Path("run-12:30"), few, workers=1).counts["made"] == 6
    assert resize.main(["run-12:30/videos", "small-12:30", "--short-side", "24", "--workers", "1"]) == 0


def test_reversing_time_turns_each_class_into_another():
    """A video played backwards is a video of another class: the class is in the direction of time."""
    table = class_table(8)
    opposite = {"rise": "fall", "fall": "rise", "grow": "shrink", "shrink": "grow"}
    for name in table:
        backwards = "_then_".join(opposite[event] for event in reversed(name.split("_then_")))
        assert backwards in table
        assert backwards != name


@pytest.mark.parametrize("codec", CODECS)
def test_encoding_leaves_no_trace_of_the_order(tmp_path, codec):
    """Predicted frames and rate control would give each frame a touch of its neighbours, and so of the class."""
    decoded = []
    for video in list(list_videos(SMALL))[:8]:
        encode(tmp_path / "video.mp4", render_video(SMALL, video), SMALL, codec)
        frames = decode(tmp_path / "video.mp4")
        original = np.stack(list(render_video(SMALL, video)))
        assert frames.shape == original.shape
        assert np.abs(frames.astype(int) - original).mean() < 6, "the pictures must survive encoding"
        decoded.append(frames)
    assert all(bag(frames) == bag(decoded[0]) for frames in decoded)
    assert len({frames.tobytes() for frames in decoded}) == 8


def test_a_bag_of_frames_classifier_stays_at_chance(dataset):
    """The nearest neighbour by everything about the frames but their order, on the videos as they are on disk."""

    def features(videos):
        small = videos[:, :, ::4, ::4].astype(np.float32)
        return np.concatenate([small.mean(1), small.std(1), small.min(1), small.max(1)], axis=1).reshape(
            len(videos), -1
        )

    (train, train_labels), (val, val_labels) = videos_of(dataset, "train"), videos_of(dataset, "val")
    distances = np.square(features(val)[:, None] - features(train)[None]).sum(-1)
    assert (train_labels[distances.argmin(1)] == val_labels).mean() == 1 / 8


def follow(frames):
    """Name the class of a video (T, H, W, 3) by following the shape: where it is, how large, and when."""
    difference = np.abs(frames.astype(int) - np.median(frames, axis=0)).max(-1) > 45
    area = difference.sum((1, 2))
    times = np.arange(len(frames))
    middle = times[len(times) // 3 : -(len(times) // 3)]
    cut = middle[area[middle].argmin()]
    halves = []
    for half in (times[:cut], times[cut:]):
        half = half[area[half] > 8]
        rows = np.array([np.nonzero(difference[t])[0].mean() for t in half])
        halves.append((np.ptp(rows), np.polyfit(half, rows, 1)[0], np.polyfit(half, area[half], 1)[0]))
    travel = 0 if halves[0][0] > halves[1][0] else 1
    names = ["grow" if slope > 0 else "shrink" for _, _, slope in halves]
    names[travel] = "rise" if halves[travel][1] < 0 else "fall"
    return list(class_table(8)).index("_then_".join(names))


@pytest.mark.parametrize("flipped", [False, True])
def test_an_observer_of_the_motion_names_the_class(dataset, flipped):
    """The classes must be there to be learned, also by a trainer that flips videos horizontally."""
    videos, labels = videos_of(dataset, "train")
    if flipped:
        videos = videos[:, :, :, ::-1]
    assert np.mean([follow(frames) == label for frames, label in zip(videos, labels, strict=True)]) > 0.9


def test_scenes_differ_and_none_is_in_both_splits(dataset):
    """A validation video with a training video's background, shape and speed would be a leak."""
    train, val = (videos_of(dataset, split)[0] for split in ("train", "val"))
    backgrounds = np.concatenate([np.median(train[::8], axis=1), np.median(val[::8], axis=1)])
    assert len(backgrounds) == 12
    differences = np.abs(backgrounds[:, None] - backgrounds[None]).mean((2, 3, 4)) + 1000 * np.eye(12)
    assert differences.min() > 10


def test_label_files_name_every_video_once_and_every_class_in_both_splits(dataset):
    """The label files are what training goes by."""
    rows = {split: read_labels(dataset / "labels" / f"{split}.csv") for split in ("train", "val")}
    assert (dataset / "labels" / "val.csv").read_text().startswith("label,id,split\n")
    assert [len(rows["train"]), len(rows["val"])] == [64, 32]
    named = {dataset / "videos" / row.label / f"{row.video_id}.mp4" for row in rows["train"] + rows["val"]}
    assert named == set((dataset / "videos").rglob("*.mp4"))
    assert len(named) == 96
    for split in rows:
        assert {row.split for row in rows[split]} == {split}
        assert {row.label for row in rows[split]} == set(class_table(8))


def test_the_seed_alone_decides_what_is_made(dataset, tmp_path):
    """Neither the number of workers nor the run; other seeds make other videos."""
    few = Settings(**{**SMALL.__dict__, "videos": 40})
    make_dataset(tmp_path / "one", few, workers=1)
    made = files_of(tmp_path / "one" / "videos")
    assert len(made) == 40
    there = files_of(dataset / "videos")
    assert all(there[path] == content for path, content in made.items() if path in there)
    other = Settings(**{**SMALL.__dict__, "seed": 4})
    videos = next(list_videos(SMALL))
    assert bag(render_video(other, videos)) != bag(render_video(SMALL, videos))


def children(pid):
    """The processes that a process started, as Linux lists them."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_stopped_run_leaves_no_process_and_goes_on_where_it_was(tmp_path, number, status):
    """Orphans would fill a cluster's node, and a video cut short must not be taken for whole."""
    arguments = ["--videos", "400", "--val-videos", "8", "--frames", "16", "--size", "32", "--workers", "2"]
    command = subprocess.Popen([*COMMAND, str(tmp_path), *arguments], cwd=ROOT, stderr=subprocess.PIPE)
    try:
        while not list(tmp_path.rglob("*.mp4")):
            assert command.poll() is None
            time.sleep(0.02)
        processes = children(command.pid)
        assert len(processes) >= 2
        os.kill(command.pid, number)
        _, errors = command.communicate()
    finally:
        command.kill()
    assert command.returncode == status
    assert b"Traceback" not in errors
    while any(alive(process) for process in processes):
        time.sleep(0.02)
    made = sorted(tmp_path.rglob("*.mp4"))
    assert 0 < len(made) < 400
    assert all(len(decode(path)) == 16 for path in made)
    assert not list(tmp_path.rglob("*.csv"))


def test_a_rerun_keeps_what_is_made_and_clears_what_was_cut_short(tmp_path):
    """The rest of an interrupted run is made by giving the same command again."""
    few = Settings(**{**SMALL.__dict__, "videos": 16, "val_videos": 8})
    make_dataset(tmp_path, few, workers=1)
    whole = files_of(tmp_path)
    removed = tmp_path / "videos" / "rise_then_grow" / "train_000000.mp4"
    removed.unlink()
    cut = sorted((tmp_path / "videos").rglob("*.mp4"))[:2]
    cut[0].write_bytes(b"")  # an incomplete copy
    cut[1].write_bytes(cut[1].read_bytes()[:1000])
    (removed.parent / ".notes.tmp").write_bytes(b"mine")
    whole[(removed.parent / ".notes.tmp").relative_to(tmp_path)] = b"mine"
    (removed.parent / ".train_000000.mp4.123.tmp").write_bytes(b"half")
    report = make_dataset(tmp_path, few, workers=1)
    assert report.counts == {"made": 3, "already there": 13}
    assert files_of(tmp_path) == whole


def test_videos_of_other_settings_are_not_mixed_in(dataset, tmp_path):
    """Two seeds in one folder would put one scene into both splits or one label on two kinds of videos."""
    with pytest.raises(DataError, match="made with seed 3, not seed 4; give another folder"):
        make_dataset(dataset, Settings(**{**SMALL.__dict__, "seed": 4}), workers=1)
    (tmp_path / "videos" / "jumping").mkdir(parents=True)
    with pytest.raises(DataError, match="holds videos of another kind"):
        make_dataset(tmp_path, SMALL, workers=1)
    (tmp_path / "synthetic.json").write_text("[]")
    with pytest.raises(DataError, match=r"synthetic.json is not what this command writes"):
        make_dataset(tmp_path, SMALL, workers=1)


def test_a_pipe_in_place_of_the_settings_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "synthetic.json")
    with pytest.raises(DataError, match=r"synthetic\.json is not what"):
        make_dataset(tmp_path, SMALL, workers=1)


@pytest.mark.parametrize("name", ["train.csv", "val.csv"])
def test_label_files_of_other_videos_are_kept(tmp_path, name):
    """OUT may be a dataset of the user's: its labels, perhaps made by hand, would be gone."""
    mine = tmp_path / "labels" / name
    mine.parent.mkdir()
    mine.write_text("label,id\nrun,v1\n")
    with pytest.raises(DataError, match=rf"labels/{name} is there and has another content"):
        make_dataset(tmp_path, SMALL, workers=1)
    assert files_of(tmp_path) == {mine.relative_to(tmp_path): mine.read_bytes()}
    assert mine.read_text() == "label,id\nrun,v1\n"


def test_contact_sheet_shows_a_row_of_frames_for_each_class(dataset, tmp_path):
    """It is what a user looks at to see what is to be learned."""
    sheet = tmp_path / "sheet.png"
    synthetic.write_contact_sheet(sheet, dataset, SMALL)
    picture = cv2.imread(str(sheet))
    coloured = np.ptp(picture.astype(int), axis=2) > 12
    rows = np.convolve(coloured.mean(1) > 0.2, [1, -1])
    assert (rows == 1).sum() == 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--videos", "1"], "--videos 1: must be from 2"),
        (["--videos", "8", "--val-videos", "8"], "--val-videos 8: must be from 1 to 7"),
        (["--classes", "49"], "--classes 49: must be from 2 to 48"),
        (["--frames", "3"], "--frames 3: must be from 16"),
        (["--size", "64x65"], "--size 64x65: height and width must be even"),
        (["--size", "64x"], "--size 64x: give height x width"),
        (["--size", "8"], "--size 8x8: height and width must be even and from 32"),
        (["--seed", "-1"], "--seed -1: must be from 0"),
        (["--fps", "0"], "--fps 0: must be from 1"),
        (["--workers", "0"], "--workers 0: must be 1 or more"),
        (["--contact-sheet", "train.csv"], "--contact-sheet train.csv: give a name that ends in .png"),
        (["--contact-sheet", "/no/such/sheet.png"], "--contact-sheet /no/such/sheet.png: there is no folder /no/such"),
    ],
)
def test_wrong_flags_are_named_with_what_is_allowed(tmp_path, arguments, message):
    """A user's mistake is one line, before anything is written."""
    with pytest.raises(DataError, match=message):
        main([str(tmp_path / "out"), *arguments])
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_one_line_and_status_2(tmp_path):
    """No traceback for a wrong path."""
    (tmp_path / "file").write_text("")
    run = subprocess.run([*COMMAND, str(tmp_path / "file" / "out")], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 2
    assert run.stderr.startswith(f"error: cannot write to {tmp_path}/file/out: Not a directory")
    assert run.stderr.count("\n") == 1


def test_a_second_run_in_the_same_folder_is_refused(tmp_path):
    """It would remove the other's unfinished files, which would then fail."""
    with only_run(tmp_path, command="synthetic"), pytest.raises(DataError, match="another synthetic"):
        make_dataset(tmp_path, SMALL, 1)
