"""From a folder of videos to files that train: each video in its own class and on one side of the split, or told."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.errors import DataError
from data.labels.dataset_spec import DatasetSpec
from data.labels.splits import load_splits
from data.prepare import convert, verify
from data.prepare.folder import main
from data.store.frame_store import FrameStore
from tests.numbered import encode_numbered_video, frame_numbers, numbered_jpegs

ROOT = Path(__file__).parents[3]
SPEC = DatasetSpec("custom", "train.csv", "val.csv", class_index="custom_classes.txt")


@pytest.fixture(autouse=True)
def keep_signal_handler() -> Iterator[None]:
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


def make(folder: Path, files: str, first: int = 0) -> Path:
    """Encode tiny videos "a/b.mp4 c.mp4"; the n-th shows the numbers from 4n on. Spaces are written ~."""
    for place, file in enumerate(files.split(), start=first):
        encode_numbered_video(folder / file.replace("~", " "), 3, 32, 32, start=4 * place % 500)
    return folder


def run(videos: Path, out: Path, *flags: object) -> int:
    return main([str(videos), str(out), "--workers", "1", *map(str, flags)])


def labels(out: Path) -> dict[str, set[str]]:
    """The rows of each label file, as class/id."""
    found = {}
    for path in sorted((out / "labels").glob("*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
        assert header == ["label", "id"]
        found[path.stem] = {"/".join(row) for row in rows}
        assert len(found[path.stem]) == len(rows)
    return found


def sources(out: Path) -> dict[str, str]:
    """The file that each video was made from, by class/id, as the list of names says."""
    with (out / "folder_names.csv").open(newline="", encoding="utf-8") as file:
        return {f"{row['label']}/{row['id']}": row["source"] for row in csv.DictReader(file)}


def first_number(out: Path, video: str) -> int:
    with FrameStore(out / "jpg" / video) as store:
        return frame_numbers(store.read([0]))[0]


def split_of(out: Path) -> dict[str, str]:
    return {video: split for split, videos in labels(out).items() for video in videos}


# Layouts


def test_class_folders_become_files_that_train(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Else a user needs a script of their own between converting and training."""
    videos = make(tmp_path / "videos", " ".join(f"{c}/{i}.mp4" for c in ("wave", "jump~up") for i in range(5)))
    assert run(videos, tmp_path / "out") == 0
    split = labels(tmp_path / "out")
    assert {name: len(rows) for name, rows in split.items()} == {"train": 8, "val": 2}
    assert {row.split("/")[0] for row in split["val"]} == {"wave", "jump up"}
    loaded = load_splits(tmp_path / "out", SPEC)
    assert (len(loaded.train), len(loaded.val), loaded.train.classes) == (8, 2, ("jump up", "wave"))
    printed = capsys.readouterr().out
    assert "layout: <class>/<video>" in printed and "train_custom.py --dataset" in printed
    assert verify.main([str(tmp_path / "out")]) == 0


def test_split_folders_give_their_own_splits_and_numbers_sort_by_value(tmp_path: Path) -> None:
    """Else val videos would be trained on; and class 10 would come before class 2."""
    files = "Training/10/a.mp4 Training/2/a.mp4 valid/10/a.mp4 valid/2/b.mp4 TEST/2/a.mp4"
    videos = make(tmp_path / "videos", files)
    assert run(videos, tmp_path / "out") == 0
    assert labels(tmp_path / "out") == {
        "train": {"10/Training_a", "2/Training_a"}, "val": {"10/valid_a", "2/b"}, "test": {"2/TEST_a"},
    }  # fmt: skip
    for place, file in enumerate(files.split()):  # the same name in several splits
        (video,) = (name for name, source in sources(tmp_path / "out").items() if source == file)
        assert first_number(tmp_path / "out", video) == 4 * place
    assert load_splits(tmp_path / "out", SPEC).train.classes == ("2", "10")
    with pytest.raises(DataError):  # the videos have splits
        run(videos, tmp_path / "out", "--val", "0.5")


def test_split_folders_in_those_of_classes(tmp_path: Path) -> None:
    """Else videos that somebody kept for validation would be trained on."""
    files = "wave/train/a.mp4 wave/val/a.mp4 jump/train/a.mp4 jump/val/s1/b.mp4"
    videos = make(tmp_path / "videos", files)
    assert run(videos, tmp_path / "out") == 0
    assert labels(tmp_path / "out") == {"train": {"wave/train_a", "jump/a"}, "val": {"wave/val_a", "jump/b"}}


def test_a_class_with_the_name_of_a_video_is_no_video(tmp_path: Path) -> None:
    """Else a run could not be continued: its own class folders would be taken for videos."""
    videos = make(tmp_path / "videos", "a.mp4/1.mp4 a.mp4/2.mp4 b/1.mp4 b/2.mp4")
    assert run(videos, tmp_path / "out") == run(videos, tmp_path / "out") == 0


def test_test_videos_without_val_videos_are_for_validation(tmp_path: Path) -> None:
    """As with label files: most academic datasets have a train and a test split."""
    videos = make(
        tmp_path / "videos", "train/a/1.mp4 train/b/1.mp4 train/b/3.mp4 train/a/3.mp4 Test/a/2.mp4 Test/b/2.mp4"
    )
    assert run(videos, tmp_path / "out") == 0
    assert labels(tmp_path / "out") == {"train": {"a/1", "a/3", "b/1", "b/3"}, "val": {"a/2", "b/2"}}
    shutil.rmtree(videos / "Test")  # train videos alone are divided
    assert run(videos, tmp_path / "train") == 0
    assert {name: len(rows) for name, rows in labels(tmp_path / "train").items()} == {"train": 2, "val": 2}


def test_no_subject_is_on_both_sides_over_all_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Else the validation measures how well the network knows the subjects."""
    files = " ".join(f"{c}/s{s}/day/{k}.mp4" for c in ("wave", "jump") for s in range(4) for k in "ab")
    videos = make(tmp_path / "videos", files)
    assert run(videos, tmp_path / "out", "--by-folder", "1", "--short-side", "16") == 0
    found = sources(tmp_path / "out")
    sides = {split: {found[video].split("/")[1] for video in rows} for split, rows in labels(tmp_path / "out").items()}
    assert len(sides["train"]) == 3 and len(sides["val"]) == 1 and not sides["train"] & sides["val"]
    assert {first_number(tmp_path / "out", video) for video in found} == {4 * place for place in range(16)}
    capsys.readouterr()
    assert run(videos, tmp_path / "other", "--dry-run") == 0
    assert "--by-folder" in capsys.readouterr().out and not (tmp_path / "other").exists()


def test_a_flat_folder_with_a_label_file_with_times(tmp_path: Path) -> None:
    """Else each user cuts their recordings by hand; clips of one recording must not be on both sides."""
    videos = tmp_path / "videos"
    for place, name in enumerate("abcd"):
        encode_numbered_video(videos / f"{name}.mp4", 50, 32, 32, start=50 * place)
    rows = "".join(f"{c},{v},{t},{t + 0.4}\n" for v in "abcd" for c, t in (("wave", 0), ("jump", 1), ("wave", 1.5)))
    (tmp_path / "rows.csv").write_text("label,youtube_id,time_start,time_end\n" + rows)
    assert run(videos, tmp_path / "out", "--labels", tmp_path / "rows.csv") == 0
    split = labels(tmp_path / "out")
    recordings = {name: {row.split("/")[1][0] for row in rows} for name, rows in split.items()}
    assert not recordings["train"] & recordings["val"] and len(recordings["val"]) == 1
    assert first_number(tmp_path / "out", "jump/a_000001_000001") == 25
    assert verify.main([str(tmp_path / "out")]) == 0


def test_a_label_file_with_paths_splits_and_short_parts(tmp_path: Path) -> None:
    """The same name in two folders, and two parts within a second, are four videos; convert --labels refuses them."""
    videos = tmp_path / "videos"
    for place, name in enumerate(("s1/a", "s2/a", "s3/b")):
        encode_numbered_video(videos / f"{name}.mp4", 50, 32, 32, start=50 * place)
    rows = ["path;action;start;end;subset"]
    rows += [f"{name}.mp4;{c};{t};{t + 0.4};{split}" for name, c, t, split in (
        ("s1/a", "wave", 1, "train"), ("s1/a", "wave", 1.5, "training"), ("s2/a", "wave", 1, "val"),
        ("s2/a", "jump", 1, "val"), ("s3/b", "jump", 0, "train"), ("s1/a", "swim", 0.2, "test"),
    )]  # fmt: skip
    (tmp_path / "rows.csv").write_bytes("\n".join(rows).encode("utf-16"))
    assert run(videos, tmp_path / "out", "--labels", tmp_path / "rows.csv") == 0
    split = labels(tmp_path / "out")
    assert {name: len(rows) for name, rows in split.items()} == {"train": 3, "val": 2, "test": 1}
    numbers = {name: {first_number(tmp_path / "out", row) for row in rows} for name, rows in split.items()}
    assert numbers == {"train": {25, 38, 100}, "val": {75}, "test": {5}}
    assert verify.main([str(tmp_path / "out")]) == 0
    (tmp_path / "rows.csv").write_text(
        "video;class;start_frame;end_frame\ns1/a.mp4;x;3;6\ns2/a.mp4;x;4;8\ns3/b.mp4;y;1;3\n"
    )
    assert run(videos, tmp_path / "frames", "--labels", tmp_path / "rows.csv") == 0
    found = {first_number(tmp_path / "frames", row) for row in split_of(tmp_path / "frames")}
    assert found in ({3, 54, 101}, {2, 53, 100})  # as numbers count from 0 or 1
    assert verify.main([str(tmp_path / "frames")]) == 0


def test_the_class_is_in_the_names_of_a_flat_folder(tmp_path: Path) -> None:
    videos = make(tmp_path / "videos", "wave_1.mp4 wave_2.mp4 jump_1.mp4 jump_2.mp4 notes.mp4")
    assert run(videos, tmp_path / "out", "--class-from", "^([a-z]+)_") == 0
    assert {row.split("/")[0] for row in labels(tmp_path / "out")["val"]} == {"wave", "jump"}
    with (tmp_path / "out" / "convert_failures.csv").open() as file:
        assert [(row["kind"], row["item"]) for row in csv.DictReader(file)] == [("left out", "notes.mp4")]
    for pattern in ("wave", "(", "(a)(b)"):
        with pytest.raises(SystemExit):
            run(videos, tmp_path / "out", "--class-from", pattern)
    with pytest.raises(DataError):
        run(videos, tmp_path / "other", "--class-from", "(swim)")
    assert not (tmp_path / "other").exists()


def test_convert_and_training_name_this_command(tmp_path: Path) -> None:
    """Who has another layout would else write a script of their own."""
    videos = make(tmp_path / "videos", "train/wave/1.mp4 train/jump/1.mp4")
    assert convert.main([str(videos), str(tmp_path / "out")]) == 1
    with (tmp_path / "out" / "convert_failures.csv").open() as file:
        assert all("data.prepare.folder" in row["reason"] for row in csv.DictReader(file))
    with pytest.raises(DataError, match=r"data\.prepare\.folder"):
        convert.main([str(videos / "train" / "wave"), str(tmp_path / "out2")])
    with pytest.raises(DataError, match=r"data\.prepare\.folder"):
        load_splits(videos, SPEC)
    (tmp_path / "out" / "jpg").mkdir(exist_ok=True)
    with pytest.raises(DataError, match=r"data\.prepare\.folder"):
        load_splits(tmp_path / "out", SPEC)


# Later runs


def test_a_second_run_adds_and_moves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Else a val video is trained on by the run that goes on after videos were added."""
    names = [f"{c}/{i}.mp4" for c in ("wave", "jump") for i in range(4)]
    videos, out = make(tmp_path / "videos", " ".join(names)), tmp_path / "out"
    (videos / "wave" / "broken.mp4").write_bytes(b"no video")
    assert run(videos, out) == 1  # a video fails, and is not in the label files
    before = split_of(out)
    assert "wave/broken" not in before and len(before) == 8
    make(videos, "wave/broken.mp4 wave/0.avi wave/s1/0.mp4 jump/9.mp4", 50)
    assert run(videos, out) == 0
    after = split_of(out)
    assert before.items() <= after.items()
    assert set(after) - set(before) == {"wave/broken", "wave/0_avi", "wave/s1_0", "jump/9"}
    assert first_number(out, "wave/s1_0") == 4 * 52
    written = {path: path.read_bytes() for path in (out / "labels").iterdir()}
    for flags in (("--seed", "5"), ("--val", "0.5"), ("--group-from", "([0-9])")):
        with pytest.raises(DataError):
            run(videos, out, *flags)
    names_file = (out / "folder_names.csv").read_bytes()
    (out / "folder_names.csv").unlink()  # which of the three files is wave/0?
    with pytest.raises(DataError):
        run(videos, out)
    (out / "folder_names.csv").write_bytes(names_file)
    (videos / "jump" / "3.mp4").unlink()
    with pytest.raises(DataError):  # rows would go
        run(videos, out)
    assert {path: path.read_bytes() for path in (out / "labels").iterdir()} == written
    assert run(videos, out, "--replace-labels") == 0
    assert split_of(out) == {video: split for video, split in after.items() if video != "jump/3"}
    capsys.readouterr()


def test_label_files_of_somebody_else_stay(tmp_path: Path) -> None:
    """They may hold hours of a user's work."""
    videos, out = make(tmp_path / "videos", "wave/1.mp4 wave/2.mp4 jump/1.mp4 jump/2.mp4"), tmp_path / "out"
    (out / "labels").mkdir(parents=True)
    (out / "labels" / "val.csv").write_text("label,id\nwave,1\n")
    with pytest.raises(DataError):
        run(videos, out)
    assert not (out / "jpg").exists() and len(list((out / "labels").iterdir())) == 1
    (out / "labels" / "val.csv").unlink()
    assert run(videos, out) == 0
    with (out / "labels" / "train.csv").open("a") as file:
        file.write("wave,mine\n")
    with pytest.raises(DataError):
        run(videos, out, "--replace-labels")
    assert "wave,mine" in (out / "labels" / "train.csv").read_text()


def test_a_database_that_differs_is_not_added(tmp_path: Path) -> None:
    """Its frames are of another file, and so perhaps of another class."""
    videos, out = make(tmp_path / "videos", "wave/1.mp4 wave/2.mp4 wave/3.mp4 jump/1.mp4 jump/2.mp4"), tmp_path / "out"
    shutil.copytree(make(tmp_path / "first", "wave/1.mp4 wave/2.mp4 jump/1.mp4 jump/2.mp4", 60), tmp_path / "first2")
    assert run(tmp_path / "first2", out) == 0
    for path in (*(out / "labels").iterdir(), out / "folder_names.csv", out / "folder_state.json"):
        path.unlink()
    assert run(videos, out) == 1
    assert not (out / "labels" / "train.csv").exists()  # one class alone is left
    assert run(videos, out, "--replace") == 0
    assert len(split_of(out)) == 5 and first_number(out, "wave/1") == 0


@pytest.mark.slow
def test_a_run_that_was_interrupted_goes_on(tmp_path: Path) -> None:
    """Label files are written for whole videos alone, and hours of converting are not lost."""
    videos = make(tmp_path / "videos", " ".join(f"{c}/{i}.mp4" for c in ("wave", "jump") for i in range(30)))
    out = tmp_path / "out"
    words = [sys.executable, "-m", "data.prepare.folder", str(videos), str(out), "--workers", "1"]
    process = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    limit = time.monotonic() + 60
    while not list(out.glob("jpg/*/*/n_frames")) and time.monotonic() < limit:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in errors
    assert not (out / "labels").exists()
    assert run(videos, out) == 0
    assert len(split_of(out)) == 60


# What is told


def test_the_same_bytes_in_two_classes_or_splits_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One of the labels is wrong, or the validation is not one."""
    videos = make(tmp_path / "videos", " ".join(f"{c}/{i}.mp4" for c in ("wave", "jump") for i in range(6)))
    shutil.copy(videos / "wave" / "1.mp4", videos / "jump" / "copy.mp4")
    for place in range(5):
        shutil.copy(videos / "wave" / "2.mp4", videos / "wave" / f"copy{place}.mp4")
    assert run(videos, tmp_path / "out") == 0
    with (tmp_path / "out" / "convert_failures.csv").open() as file:
        listed = {row["item"]: row["reason"] for row in csv.DictReader(file)}
    assert set(listed) == {"wave/1.mp4"} and "jump/copy.mp4" in listed["wave/1.mp4"]
    split = split_of(tmp_path / "out")
    assert len({split[f"wave/{name}"] for name in ("2", *(f"copy{place}" for place in range(5)))}) == 1
    assert split["wave/1"] == split["jump/copy"]
    splits = make(tmp_path / "splits", "train/a/1.mp4 train/b/2.mp4 val/a/3.mp4 val/b/4.mp4")
    shutil.copy(splits / "train" / "a" / "1.mp4", splits / "val" / "a" / "3.mp4")
    capsys.readouterr()
    assert run(splits, tmp_path / "out2", "--dry-run") == 0
    assert "train/a/1.mp4 = val/a/3.mp4" in capsys.readouterr().out


def test_few_videos_and_classes_that_a_split_lacks_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    videos = make(tmp_path / "videos", "wave/1.mp4 wave/2.mp4 swim/1.mp4")
    (videos / "run").mkdir()
    (videos / "run" / "1.xyz").touch()
    assert run(videos, tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert "fewer than 5 videos: 2 classes, swim (1), wave (2)" in printed
    assert "without a val video: 1 class, swim" in printed
    assert "without a video: 1 class folder, run" in printed
    assert load_splits(tmp_path / "out", SPEC).train.classes == ("swim", "wave")


def test_classes_of_a_file_give_the_order(tmp_path: Path) -> None:
    """Weights of another project have its class order."""
    videos = make(tmp_path / "videos", "a/1.mp4 a/2.mp4 b/1.mp4 b/2.mp4")
    (tmp_path / "names.txt").write_text("b\nunused\na\n")
    assert run(videos, tmp_path / "out", "--classes", tmp_path / "names.txt") == 0
    assert load_splits(tmp_path / "out", SPEC).train.classes == ("b", "a")
    (tmp_path / "names.txt").write_text("b\nc\n")
    with pytest.raises(DataError):
        run(videos, tmp_path / "other", "--classes", tmp_path / "names.txt")


@pytest.mark.parametrize(
    ("folders", "result"),
    [
        ("v0/RGB v0/depth v0/flow_x v1/RGB v1/depth v2/RGB", "--frames 'RGB/*.png'"),
        ("v0/rgb v0/flow/u v0/flow/v v1/rgb v1/flow/u v1/flow/v", "--frames 'rgb/*.png'"),
        ("rgb depth", "--frames"),
        ("v0/rgb v1/rgb", ""),
        ("s0/v0/frames s0/v1/frames", ""),
        ("s0/left s0/right s1/left s1/right", "warning"),
        ("left right", ""),
        ("s0/day1 s0/day2 s1/day1 s1/day3", ""),
        ("rgb/v0 rgb/v1 depth/v5", ""),
        ("s0/rgb s0/depth s1/a s1/b s2/a s2/c s3/a s3/b s4/b", ""),
    ],
)
def test_kinds_of_pictures_of_a_recording_are_not_taken_for_videos(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], folders: str, result: str
) -> None:
    """RGB, depth and flow of one recording would be mixed, and be in train and val."""
    videos = tmp_path / "videos"
    for folder in (f"{label}/{each}" for label in ("wave", "jump") for each in folders.split()):
        (videos / folder).mkdir(parents=True)
        (videos / folder / "000.png").write_bytes(folder.encode())
    out = [videos, tmp_path / "out", "--dry-run"]
    if result.startswith("--frames"):
        with pytest.raises(DataError) as error:
            run(*out)
        assert result in str(error.value) and "\n" not in str(error.value)
    else:
        run(*out)
        assert ("--frames" in capsys.readouterr().out) == (result == "warning")
    if result.startswith("--frames '"):
        capsys.readouterr()
        run(*out, "--frames", result.split("'")[1])
        assert "--frames" not in capsys.readouterr().out


def test_a_later_run_keeps_the_class_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Else weights of the first run name the wrong classes after it."""
    videos, out = make(tmp_path / "videos", "a/1.mp4 a/2.mp4 c/1.mp4 c/2.mp4"), tmp_path / "out"
    names, order = tmp_path / "names.txt", out / "labels" / "custom_classes.txt"
    names.write_text("c\nunused\na\n")
    assert run(videos, out, "--classes", names) == 0
    make(videos, "b/1.mp4 b/2.mp4", first=9)
    capsys.readouterr()
    assert run(videos, out) == 0
    assert order.read_text().split() == ["c", "unused", "a", "b"]
    assert any(line.startswith("new: ") and "(b)" in line for line in capsys.readouterr().out.splitlines())
    names.write_text("a\nb\nc\n")
    with pytest.raises(DataError, match="custom_classes"):
        run(videos, out, "--classes", names)
    assert order.read_text().split() == ["c", "unused", "a", "b"]
    assert run(videos, out, "--classes", names, "--replace-labels") == 0
    assert order.read_text().split() == ["a", "b", "c"] and "class order" in capsys.readouterr().out
    shutil.rmtree(videos / "b")
    assert run(videos, out, "--replace-labels") == 0
    assert order.read_text().split() == ["a", "c"]


def test_the_class_order_stays_without_the_label_files(tmp_path: Path) -> None:
    """A user who deletes them, to have them written again, would get other class numbers than the weights have."""
    videos, out = make(tmp_path / "videos", "b/1.mp4 b/2.mp4 c/1.mp4 c/2.mp4"), tmp_path / "out"
    order, state = out / "labels" / "custom_classes.txt", out / "folder_state.json"
    assert run(videos, out) == 0
    make(videos, "a/1.mp4 a/2.mp4", first=9)
    assert run(videos, out) == 0
    before = labels(out)
    shutil.rmtree(out / "labels")
    assert run(videos, out) == 0
    assert order.read_text().split() == ["b", "c", "a"] and labels(out) == before
    older = {name: value for name, value in json.loads(state.read_text()).items() if name != "classes"}
    state.write_text(json.dumps(older))  # of a version that did not keep it
    assert run(videos, out) == 0
    assert order.read_text().split() == ["b", "c", "a"] and json.loads(state.read_text())["classes"] == ["b", "c", "a"]
    state.write_text(json.dumps(older | {"classes": 3}))
    with pytest.raises(DataError, match="damaged"):
        run(videos, out)


def test_frames_in_folders_are_videos_at_any_depth(tmp_path: Path) -> None:
    """A poster beside them, and previews of the files beside them, are none."""
    videos = make(tmp_path / "videos", "wave/s1/a.mp4 jump/s1/a.mp4 jump/s2/a.mp4")
    for folder, numbers in (("wave/s2/b", range(8, 12)), ("wave/s1/thumbs", range(2)), ("jump/s3/c/d", range(3))):
        (videos / folder).mkdir(parents=True)
        for number, data in zip(numbers, numbered_jpegs(numbers, 32, 32), strict=True):
            (videos / folder / f"{number}.jpg").write_bytes(data)
    (videos / "jump" / "s3" / "poster.jpg").write_bytes(data)
    assert run(videos, tmp_path / "out") == 0
    assert set(sources(tmp_path / "out").values()) == {
        "wave/s1/a.mp4", "wave/s2/b", "jump/s1/a.mp4", "jump/s2/a.mp4", "jump/s3/c/d",
    }  # fmt: skip
    assert first_number(tmp_path / "out", "wave/b") == 8


def test_odd_names_and_loops(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each video gets a folder that a label file can name, or is told; a loop of links ends."""
    videos = make(tmp_path / "videos", "wave/1.mp4 wave/~2~.mp4 wave/2.mp4 jump/1.mp4 jump/2.mp4 last~/1.mp4")
    (videos / "jump" / "1.mp4").rename(videos / "jump" / os.fsdecode(b"\xff.mp4"))
    (videos / "jump" / "2.mp4").rename(videos / "jump" / ("é" * 120 + "\n.mp4"))
    (videos / "wave" / "loop").symlink_to(videos)
    (videos / "wave" / "up").symlink_to(tmp_path)
    (videos / "swim").symlink_to(videos / "wave")
    assert run(videos, tmp_path / "out") == 1  # a class whose name ends in a space
    split = split_of(tmp_path / "out")
    assert len(split) == 5 and {video.split("/")[0] for video in split} == {"wave", "jump"}
    assert verify.main([str(tmp_path / "out")]) == 0
    with (tmp_path / "out" / "convert_failures.csv").open() as file:
        assert {"last ", "wave/loop", "wave/up", "swim"} <= {row["item"] for row in csv.DictReader(file)}
    before = split
    capsys.readouterr()
    assert run(videos, tmp_path / "out") == 1
    assert split_of(tmp_path / "out") == before


@pytest.mark.parametrize(
    "files",
    [
        "a.mp4 b.mp4",  # no classes
        "wave/1.mp4 wave/2.mp4",  # one class
        "x/wave/1.mp4 x/jump/2.mp4",  # the folder above
        "wave/1.mp4 jump/1.mp4 a.mp4",  # beside the classes
        "train/wave/1.mp4 val/wave/1.mp4 other/1.mp4",  # classes or splits?
        "train/wave/1.mp4 training/jump/1.mp4 val/wave/2.mp4",  # a split twice
        "train/1.mp4 val/2.mp4",  # splits without classes
        "val/wave/1.mp4 val/jump/2.mp4 test/wave/3.mp4 test/jump/4.mp4",  # no train videos, and no classes val and test
        "train/wave/1.mp4 train/jump/2.mp4 extra/wave/3.mp4 extra/jump/4.mp4",  # a split, or a class train?
        "train_set/wave/1.mp4 train_set/jump/2.mp4 dev/run/3.mp4 dev/hop/4.mp4",  # other names of splits
        "wave/train/1.mp4 wave/val/2.mp4 jump/train/3.mp4 jump/4.mp4",  # in no split
        "hop_it/1.mp4 hop~it/2.mp4",  # one class folder
        "wave/1.mp4 jump/1.mp4",  # nothing for val
        "notes.txt",
    ],
)
def test_a_tree_that_is_not_clear_is_refused(tmp_path: Path, files: str) -> None:
    """Nothing is converted before it is clear what is what."""
    for file in files.split():
        path = tmp_path / "videos" / file.replace("~", " ")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.encode())
    with pytest.raises(DataError):
        run(tmp_path / "videos", tmp_path / "out")
    assert not (tmp_path / "out").exists()
