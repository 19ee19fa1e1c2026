"""folder --source videos: the files that training reads, and label files that name them, from one command."""

import csv
import os
from pathlib import Path

import pytest

from common.errors import DataError
from data.labels.dataset_spec import DatasetSpec
from data.labels.splits import load_splits
from data.prepare.folder import main
from data.store.keyframe_index import index_video
from data.store.origin import file_content
from data.store.video_file import VideoReader
from network.weights.reading import read_checkpoint
from tests.data.prepare.test_folder import keep_signal_handler, labels, make, sources, split_of
from tests.data.store.tags import rewritten
from tests.numbered import encode_numbered_video, frame_number, numbered_jpegs
from tests.processes import Server
from tests.runs import LAST, RUN, TINY, TINY_FLAGS

SPEC = DatasetSpec("custom", "train.csv", "val.csv", class_index="custom_classes.txt")
__all__ = ["keep_signal_handler"]


def run(videos: Path, out: Path, *flags: object, source: str = "videos") -> int:
    return main([str(videos), str(out), "--source", source, "--workers", "1", *map(str, flags)])


def numbers(out: Path, video: str) -> list[int]:
    """The numbers that the frames of a video of the dataset show."""
    return [frame_number(frame) for frame in VideoReader(out / "videos" / f"{video}.mp4", 1 << 30)]


def problems(out: Path) -> list[tuple[str, str]]:
    with (out / "resize_failures.csv").open(newline="", encoding="utf-8") as file:
        return [(row["kind"], row["item"]) for row in csv.DictReader(file)]


def tree(folder: Path, files: str) -> Path:
    """Videos of 20 frames of 64x64; the n-th shows the numbers from 20n on."""
    for place, file in enumerate(files.split()):
        encode_numbered_video(folder / file, 20, 64, 64, start=20 * place)
    return folder


def test_a_nested_tree_becomes_files_that_train(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else a user encodes with one command and writes the label files with a script of their own."""
    files = " ".join(f"{c}/s{s}/day/{k}.mkv" for c in ("wave", "jump") for s in range(3) for k in "ab")
    videos, out = tree(tmp_path / "raw", files), tmp_path / "out"
    assert run(videos, out, "--by-folder", 1, "--short-side", 32, "--gop", 4) == 0
    printed = capsys.readouterr().out
    assert f"train_custom.py --dataset {out} --source videos" in printed and "verify" not in printed
    assert not (out / "jpg").exists() and problems(out) == []
    found = sources(out)
    for place, file in enumerate(files.split()):
        (video,) = (name for name, source in found.items() if source == file)
        assert numbers(out, video) == list(range(20 * place, 20 * place + 20))
    index = index_video(next((out / "videos/wave").iterdir()))
    assert index.size == (32, 32) and max(index.keyframes[1:] - index.keyframes[:-1]) <= 4
    sides = {split: {found[video].split("/")[1] for video in rows} for split, rows in labels(out).items()}
    assert not sides["train"] & sides["val"]
    splits = load_splits(out, SPEC, source="videos")
    assert (len(splits.train), len(splits.val)) == (8, 4)
    flags = ("--source", "videos", "--batch-size", 4, "--end-epoch", 1, "--model-dir", "runs", "--workers", 0)
    process = server.start(TINY, "--dataset", out, *TINY_FLAGS, *flags, folder=tmp_path)
    assert process.wait() == 0, process.output()
    assert read_checkpoint(tmp_path / "runs" / RUN / LAST)["num_videos"] == 8


def test_segments_of_a_label_file_become_files(tmp_path: Path) -> None:
    """In times and in frames: else the whole recording would stand under the name of its part."""
    videos, out = tmp_path / "raw", tmp_path / "out"
    for place, name in enumerate("ab"):
        encode_numbered_video(videos / f"{name}.mp4", 50, 32, 32, start=50 * place)
    times = ((0.2, 0.6), (1, 1.4), (1.48, 1.8))  # two within a second
    rows = "".join(f"{c},{v},{t},{e}\n" for v in "ab" for c, (t, e) in zip("xyy", times, strict=True))
    (tmp_path / "rows.csv").write_text("label,youtube_id,time_start,time_end\n" + rows)
    assert run(videos, out, "--labels", tmp_path / "rows.csv") == 0
    found = {video: numbers(out, video) for video in split_of(out)}
    expected = [range(5, 15), range(25, 35), range(37, 45)]
    assert sorted(found.values()) == sorted([n + 50 * k for n in part] for part in expected for k in (0, 1))
    (tmp_path / "rows.csv").write_text("label,id,start_frame,end_frame\nx,a,10,20\ny,a,30,40\nx,b,10,20\ny,b,1,5\n")
    assert run(videos, tmp_path / "frames", "--labels", tmp_path / "rows.csv") == 0
    assert {tuple(numbers(tmp_path / "frames", video)) for video in split_of(tmp_path / "frames")} == {
        tuple(range(*part)) for part in ((10, 20), (30, 40), (60, 70), (51, 55))
    }


def test_a_second_run_adds_and_tells_what_differs(tmp_path: Path) -> None:
    """A video that fails is in no label file until it is there; other settings change nothing in silence."""
    videos, out = make(tmp_path / "raw", "wave/1.mp4 wave/2.mp4 jump/1.mp4 jump/2.mp4"), tmp_path / "out"
    (videos / "wave" / "broken.mp4").write_bytes(b"no video")
    assert run(videos, out) == 1 and problems(out) == [("failed", "wave/broken.mp4")]
    before = split_of(out)
    assert len(before) == 4
    kept = {path: path.read_bytes() for path in (out / "videos").rglob("*.mp4")}
    make(videos, "wave/broken.mp4 jump/s1/2.mp4", 50)
    assert run(videos, out) == 0
    after = split_of(out)
    assert before.items() <= after.items() and set(after) - set(before) == {"wave/broken", "jump/s1_2"}
    assert numbers(out, "jump/s1_2") == [204, 205, 206]
    for flags in (("--crf", 30), ("--gop", 2), ("--short-side", 16)):
        assert run(videos, out, *flags) == 1
        assert [kind for kind, _ in problems(out)] == ["differs"] * 6 and split_of(out) == after
    assert all(path.read_bytes() == content for path, content in kept.items())
    assert run(videos, out, "--crf", 30, "--replace") == 0 and split_of(out) == after
    for path in (*(out / "labels").iterdir(), out / "folder_names.csv", out / "folder_state.json"):
        path.unlink()  # as after resize, or a run that was interrupted: the files are there already
    assert run(videos, out, "--crf", 30) == 0 and set(split_of(out)) == set(after)


@pytest.mark.parametrize("is_whole_file", [False, True])
def test_a_file_that_was_cut_since_is_not_taken_for_whole(tmp_path: Path, is_whole_file: bool) -> None:
    """It would come into the label files of a run that begins with it."""
    videos, out = make(tmp_path / "raw", "wave/1.mp4 wave/2.mp4 wave/3.mp4 jump/1.mp4 jump/2.mp4"), tmp_path / "out"
    assert run(videos, out) == 0
    made = out / "videos/wave/3.mp4"
    if is_whole_file:  # of another program, which keeps the tag
        rewritten(made, dict, frames=2)
    else:
        made.write_bytes(made.read_bytes()[:-100])
    assert run(videos, out) == 1 and problems(out) == [("failed", "wave/3.mp4")]
    assert "wave/3" not in split_of(out)
    made.unlink()
    assert run(videos, out) == 0 and "wave/3" in split_of(out)


def test_both_sources_share_the_label_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run of the other source moves and drops no video; what a source lacks is told."""
    videos, out = make(tmp_path / "raw", "wave/1.mp4 wave/2.mp4 jump/1.mp4 jump/2.mp4"), tmp_path / "out"
    (videos / "jump" / "c").mkdir()
    for number, data in enumerate(numbered_jpegs(range(3), 32, 32)):
        (videos / "jump" / "c" / f"f{number}.jpg").write_bytes(data)
    assert run(videos, out, source="frames") == 0
    before = split_of(out)
    assert len(before) == 5
    capsys.readouterr()
    assert run(videos, out) == 1 and problems(out) == [("failed", "jump/c")]  # they have no times
    assert split_of(out) == before
    assert "not in " + str(out / "videos") in capsys.readouterr().out
    assert len(load_splits(out, SPEC).train) + len(load_splits(out, SPEC).val) == 5
    (videos / "jump" / "c").rename(tmp_path / "c")
    with pytest.raises(DataError):  # its row would go
        run(videos, out)
    assert run(videos, out, "--replace-labels") == 0
    make(videos, "wave/3.mp4", 9)
    capsys.readouterr()
    assert run(videos, out) == 0
    assert "not in " + str(out / "jpg") in capsys.readouterr().out and "wave/3" in split_of(out)
    for source, count in (("videos", 5), ("frames", 4)):
        splits = load_splits(out, SPEC, source=source)
        assert len(splits.train) + len(splits.val) == count
    assert run(videos, out, source="frames") == 0
    printed = capsys.readouterr().out
    assert not any(f"not in {out / folder}" in printed for folder in ("jpg", "videos"))


@pytest.mark.parametrize("first", ["frames", "videos"])
def test_what_the_other_source_has_of_older_files_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], first: str
) -> None:
    """Training with the other source reads them without a word: the frames of a file that is gone, under its label."""
    second = "videos" if first == "frames" else "frames"
    videos, out = make(tmp_path / "raw", "wave/1.mp4 wave/2.mp4 jump/1.mp4 jump/2.mp4"), tmp_path / "out"
    assert run(videos, out, "--short-side", 20, source=first) == run(videos, out, source=second) == 0
    assert "reads older" not in capsys.readouterr().out  # other settings are no other file
    make(videos, "jump/1.mp4", 50)
    for flags in (["--replace"], []):  # also of an earlier run
        assert run(videos, out, *flags, source=second) == 0
        printed = capsys.readouterr().out
        assert f"--source {first} reads older files or parts of 1 video (jump/1)" in printed
    assert run(videos, out, "--short-side", 20, "--replace", source=first) == 0
    capsys.readouterr()
    assert run(videos, out, source=second) == 0 and "reads older" not in capsys.readouterr().out


@pytest.mark.parametrize("first", ["frames", "videos"])
def test_a_run_that_goes_on_reads_only_what_may_have_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """Each run would read all videos once more for the other source. Other bytes of the same size must be told."""
    second = "videos" if first == "frames" else "frames"
    videos, out = make(tmp_path / "raw", "wave/1.mp4 wave/2.mp4 jump/1.mp4 jump/2.mp4"), tmp_path / "out"
    assert run(videos, out, source=first) == run(videos, out, source=second) == 0
    read: list[Path] = []

    def reads(path: Path) -> tuple[int, str]:
        read.append(path)
        return file_content(path)

    monkeypatch.setattr("data.prepare.folder_source.file_content", reads)
    assert run(videos, out, source=second) == 0 and read == []
    changed = videos / "jump" / "1.mp4"
    data = bytearray(changed.read_bytes())
    os.utime(changed)  # touched, with the same bytes
    capsys.readouterr()
    assert run(videos, out, source=second) == 0 and read == [changed]
    assert "reads older" not in capsys.readouterr().out
    data[data.rindex(b"Lavf")] ^= 1  # a tag: it can still be decoded
    changed.write_bytes(data)
    assert run(videos, out, "--replace", source=second) == 0
    assert f"--source {first} reads older files or parts of 1 video (jump/1)" in capsys.readouterr().out


def test_names_leave_room_for_a_suffix(tmp_path: Path) -> None:
    """A file has a longer name than the folder of a database, above all while it is written."""
    videos, out = make(tmp_path / "raw", "wave/1.mp4 wave/2.mp4 jump/1.mp4"), tmp_path / "out"
    make(videos, f"jump/{'n' * 240}.mp4", 9)
    assert run(videos, out) == 0 and len(split_of(out)) == 4
    assert len(load_splits(out, SPEC, source="videos").train) == 2


def test_no_label_files_name_this_command(tmp_path: Path) -> None:
    """Files of resize have none."""
    make(tmp_path / "out" / "videos", "wave/1.mp4")
    for folder in (tmp_path / "out", tmp_path):
        with pytest.raises(DataError, match=r"data\.prepare\.folder VIDEOS DATASET --source videos"):
            load_splits(folder, SPEC, source="videos")


@pytest.mark.parametrize(
    ("source", "flags"),
    [
        ("videos", ("--quality", 90)),  # also as the default is
        ("videos", ("--fps", 25)),
        ("videos", ("--keep-partial",)),
        ("videos", ("--frames", "img_*.jpg")),
        ("videos", ("--short-side", 1)),
        ("videos", ("--short-side", 10000)),
        ("frames", ("--gop", 16)),
        ("frames", ("--crf", 20)),
        ("films", ()),
    ],
)
def test_flags_that_have_no_effect_are_refused(tmp_path: Path, source: str, flags: tuple[object, ...]) -> None:
    videos = make(tmp_path / "raw", "wave/1.mp4 wave/2.mp4 jump/1.mp4 jump/2.mp4")
    with pytest.raises(SystemExit) as ended:
        run(videos, tmp_path / "out", *flags, source=source)
    assert ended.value.code == 2 and not (tmp_path / "out").exists()


def test_the_default_short_side_depends_on_the_source(tmp_path: Path) -> None:
    videos = tmp_path / "raw"
    for place, name in enumerate(("wave/1", "wave/2", "jump/1", "jump/2")):
        encode_numbered_video(videos / f"{name}.mp4", 2, 400, 400, start=9 * place)
    assert run(videos, tmp_path / "out") == 0
    assert index_video(tmp_path / "out/videos/wave/1.mp4").size == (256, 256)
    with pytest.raises(DataError):  # new files among the old ones
        run(videos, videos)
