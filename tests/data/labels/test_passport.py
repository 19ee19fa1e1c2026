"""The data passport: if this fails, two evaluations on different data look alike, or a missing tenth goes unseen."""

import json
import shutil
import sqlite3
from fractions import Fraction
from pathlib import Path

import pytest

from data.labels import scan_cache
from data.labels import splits as splits_module
from data.labels.dataset_spec import DatasetSpec
from data.labels.label_counts import MOST_REASONS, OTHERS, LabelCounts, kind_of
from data.labels.passport import passport_lines, passport_of, warning_of_others
from data.labels.splits import load_splits, load_val
from data.labels.video_list import FoundVideo, VideoList, pack
from data.prepare import convert
from tests.numbered import encode_numbered_video, jpeg, numbered_frame, numbered_jpegs, write_database

SPEC = DatasetSpec("Some", "train.csv", "val.csv")
CLASSES = ("run", "wave")


def write_video(folder: Path, frames: int = 4, size: tuple[int, int] = (48, 64), quality: int = 90) -> None:
    write_database(folder, [jpeg(numbered_frame(number, *size), quality) for number in range(frames)])


@pytest.fixture
def dataset(tmp_path) -> Path:
    """8 val videos are named: one is absent, two cannot be used; sizes and qualities are mixed."""
    jpg = tmp_path / "data" / "jpg"
    write_video(jpg / "run" / "t0")
    write_video(jpg / "wave" / "t1")
    for number, (frames, size, quality) in enumerate([(4, (48, 64), 75), (6, (48, 64), 75), (8, (32, 40), 75)]):
        write_video(jpg / "run" / f"r{number}", frames, size, quality)
    write_video(jpg / "wave" / "w0", 10, quality=90)
    write_video(jpg / "wave" / "w1", 20, quality=90)
    for name in ("empty", "none"):
        (jpg / "wave" / name).mkdir()
    labels = tmp_path / "data" / "labels"
    labels.mkdir()
    (labels / "train.csv").write_text("label,id\nrun,t0\nwave,t1\nwave,gone1\nwave,gone2\n")
    rows = [("run", f"r{number}") for number in range(3)]
    rows += [("wave", name) for name in ("w0", "w1", "gone", "empty", "none")]
    (labels / "val.csv").write_text("label,id\n" + "".join(f"{label},{name}\n" for label, name in rows))
    return tmp_path / "data"


def test_missing_videos_sizes_and_qualities_are_counted(dataset):
    """Scores on a part of the videos would pass for those of the whole."""
    passport = passport_of(load_splits(dataset, SPEC).val, "val")
    assert json.loads(json.dumps(passport)) == passport
    expected = {
        "split": "val", "source": "frames", "labelled_videos": 8, "videos": 5, "absent": 1, "unusable": 2,
        "unusable_reasons": {"has no frames.db": 2}, "classes": 2, "classes_with_videos": 2,
        "frames": {"min": 4, "median": 8.0, "max": 20}, "sampled": 5, "unreadable": 0, "unreadable_reasons": {},
        "sizes": {"64x48": 0.8, "40x32": 0.2}, "rates": {"unknown": 1.0}, "rate_range": None,
        "jpeg_qualities": {"75": 0.6, "90": 0.4},
    }  # fmt: skip
    assert {name: passport[name] for name in expected} == expected
    assert passport.keys() == {*expected, "ids"}
    text = "\n".join(passport_lines(passport))
    for part in ("5 of 8", "1 not on disk", "2 cannot", "64x48", "(80 %)", "quality 75 (60 %), 90 (40 %)", "4 to 20"):
        assert part in text


def test_validation_alone_and_a_kept_scan_count_the_same(dataset, monkeypatch):
    """An evaluation of its own, or the second start, would not know how many videos are absent."""
    scanned = load_splits(dataset, SPEC)
    alone, _ = load_val(dataset, SPEC)
    monkeypatch.setattr(splits_module, "SMALL", 0)
    monkeypatch.setattr(scan_cache, "SETTLED", 0)
    load_splits(dataset, SPEC)
    monkeypatch.setattr(splits_module, "scan_dataset", None)  # the kept one is read
    kept = load_splits(dataset, SPEC)
    assert scanned.train.counts == kept.train.counts == LabelCounts(4, 2, ())
    assert scanned.val.counts == kept.val.counts == alone.counts == LabelCounts(8, 1, (("has no frames.db", 2),))
    assert passport_of(kept.val, "val") == passport_of(alone, "val")


def test_video_files_have_a_passport(tmp_path):
    """Of files there are no JPEGs; rate and size are those of their index."""
    for split, rate in (("train", 25), ("val", 30)):
        for label in CLASSES:
            encode_numbered_video(tmp_path / "videos" / label / f"{split}.mp4", 6, rate=rate)
    (tmp_path / "videos" / "run" / "bad.mp4").write_bytes(b"no video")
    (tmp_path / "labels").mkdir()
    for split in ("train", "val"):
        rows = "".join(f"{label},{split}\n" for label in CLASSES) + "run,bad\n" * (split == "val")
        (tmp_path / "labels" / f"{split}.csv").write_text("label,id\n" + rows)
    videos = load_splits(tmp_path, SPEC, source="videos").val
    passport = passport_of(videos, "val")
    assert passport["source"] == "videos"
    assert (passport["labelled_videos"], passport["videos"], passport["unusable"]) == (3, 2, 1)
    assert not any("bad.mp4" in reason for reason in passport["unusable_reasons"])
    assert passport["sizes"] == {"64x48": 1.0}
    assert passport["rates"] == {"30": 1.0}
    assert passport["jpeg_qualities"] == {}
    (tmp_path / "videos" / "run" / "val.mp4").unlink()
    (tmp_path / "videos" / "wave" / "val.mp4").write_bytes(b"other")
    assert passport_of(videos, "val")["unreadable"] == 2


def test_files_of_pixels_that_are_not_square_are_told(tmp_path):
    """A camcorder's frames are squeezed beside those of a telephone, and the network sees both."""
    for label, aspect in zip(CLASSES, (None, Fraction(4, 3)), strict=True):
        encode_numbered_video(tmp_path / "videos" / label / "v.mp4", 6, pixel_aspect=aspect)
    (tmp_path / "labels").mkdir()
    for split in ("train", "val"):
        (tmp_path / "labels" / f"{split}.csv").write_text("label,id\n" + "".join(f"{label},v\n" for label in CLASSES))
    passport = passport_of(load_splits(tmp_path, SPEC, source="videos").val, "val")
    assert passport["not_square"]["videos"] == 1
    (line,) = warning_of_others(passport)
    assert f"{CLASSES[1]}/v.mp4, frames keep the stored 64x48, players show 85x48" in line


def test_videos_that_cannot_be_read_are_counted(dataset):
    """An evaluation that skips bad videos would end with the first one of the sample."""
    videos = load_val(dataset, SPEC)[0]
    (dataset / "jpg/run/r0/frames.db").write_bytes(b"no database" * 1000)
    (dataset / "jpg/run/r1/frames.db").write_bytes(b"no database" * 1000)
    shutil.rmtree(dataset / "jpg/run/r2")
    with sqlite3.connect(dataset / "jpg/wave/w0/frames.db") as connection:
        connection.execute("UPDATE Images SET frames = x'00'")
    connection.close()
    passport = passport_of(videos, "val")
    assert (passport["sampled"], passport["unreadable"]) == (5, 4)
    assert sorted(passport["unreadable_reasons"].values()) == [1, 1, 2]
    assert not any(str(dataset) in reason for reason in passport["unreadable_reasons"])
    assert passport["sizes"] == {"64x48": 1.0}
    assert any("4 of 5" in line for line in passport_lines(passport))


def test_a_database_of_a_whole_video_named_as_a_clip_is_told(tmp_path):
    """A training on minutes of other things said nothing; `verify` alone did."""
    long, right, cut = "dQw4w9WgXcQ_000003_000005", "aQw4w9WgXcQ_000000_000004", "cQw4w9WgXcQ"
    for name in (long, right, cut, "x_000000_000001"):
        encode_numbered_video(tmp_path / "videos" / "run" / f"{name}.mp4", 100, 32, 32)  # 4 s
    (tmp_path / "labels").mkdir()
    rows = [f"run,{long},,", f"run,{right},,", f"run,{cut},1,2", "run,x_000000_000001,,"]
    for name in ("train.csv", "val.csv"):
        (tmp_path / "labels" / name).write_text("\n".join(["label,youtube_id,time_start,time_end", *rows, ""]))
    labels = ["--labels", str(tmp_path / "labels" / "val.csv")]
    assert convert.main([str(tmp_path / "videos"), str(tmp_path), *labels, "--workers", "1"]) == 0
    passport = passport_of(load_val(tmp_path, SPEC)[0], "val")
    assert passport["longer_than_named"]["videos"] == 1
    (line,) = warning_of_others(passport)
    assert f"run/{long} lasts 4.0 s" in line and "1 of 4 videos looked at are longer" in line and "verify" in line


@pytest.mark.parametrize("is_kept", [False, True], ids=["scanned", "from a kept scan"])
def test_other_times_than_those_of_the_labels_are_told(tmp_path, monkeypatch, is_kept):
    """Corrected times in a label file leave the folder's name as it was: old frames would be trained on."""
    encode_numbered_video(tmp_path / "videos" / "long.mp4", 100, 32, 32)  # 4 s
    labels = tmp_path / "data" / "labels"
    labels.mkdir(parents=True)
    (labels / "train.csv").write_text("label,file,start,end\nrun,long.mp4,0,1.5\nwave,long.mp4,2,3.5\n")
    (labels / "val.csv").write_text("label,file,start_frame,end_frame\nrun,long.mp4,40,50\nwave,long.mp4,50,60\n")
    files = [argument for name in ("train", "val") for argument in ("--labels", str(labels / f"{name}.csv"))]
    assert convert.main([str(tmp_path / "videos"), str(tmp_path / "data"), *files, "--workers", "1"]) == 0
    if is_kept:
        monkeypatch.setattr(splits_module, "SMALL", 0)
        monkeypatch.setattr(scan_cache, "SETTLED", 0)

    def read():
        splits = load_splits(tmp_path / "data", SPEC)
        if is_kept:
            with monkeypatch.context() as patch:
                patch.setattr(splits_module, "scan_dataset", None)
                splits = load_splits(tmp_path / "data", SPEC)
        return [passport_of(videos, split) for split, videos in (("train", splits.train), ("val", splits.val))]

    assert not any(warning_of_others(passport) for passport in read())
    (labels / "train.csv").write_text("label,file,start,end\nrun,long.mp4,0.4,1.2\nwave,long.mp4,2,3.5\n")
    train, val = read()
    assert train["of_other_times"]["videos"] == 1 and "of_other_times" not in val
    (line,) = warning_of_others(train)
    assert "run/long_000000_000001 holds 0 to 1.5 s" in line and "0.4 to 1.2 s" in line and "1 of 2 videos" in line


def test_the_hash_is_of_the_videos_alone(tmp_path):
    """The same videos in another place or order are the same; one more or fewer is not."""
    videos = [(index % 2, FoundVideo(CLASSES[index % 2], f"v{index}", 4, "")) for index in range(6)]
    lists = {
        "same": pack(tmp_path / "one", CLASSES, videos),
        "order": pack(tmp_path / "two", CLASSES, videos[::-1]),
        "class order": pack(tmp_path, CLASSES[::-1], [(1 - label, video) for label, video in videos]),
        "fewer": pack(tmp_path, CLASSES, videos[1:]),
        "other label": pack(tmp_path, CLASSES, [(1, videos[0][1]), *videos[1:]]),
    }
    ids = {name: passport_of(each, "val")["ids"] for name, each in lists.items()}
    assert ids["same"] == ids["order"] == ids["class order"]
    assert len({ids["same"], ids["fewer"], ids["other label"]}) == 3
    assert passport_of(lists["same"], "val")["labelled_videos"] is None


def test_an_empty_list_has_a_passport(tmp_path):
    """A list that is not of a scan may be empty."""
    passport = passport_of(pack(tmp_path, CLASSES, []), "val")
    assert (passport["videos"], passport["sampled"], passport["sizes"]) == (0, 0, {})
    assert passport["frames"] == {"min": 0, "median": 0.0, "max": 0}
    assert passport_lines(passport)


def test_only_a_sample_is_opened(tmp_path):
    """A million databases would be opened before an evaluation begins."""
    write_database(tmp_path / "run" / "v", numbered_jpegs(range(3)))
    passport = passport_of(pack(tmp_path, ("run",), [(0, FoundVideo("run", "v", 3, ""))] * 20_000), "val")
    assert passport["videos"] == 20_000
    assert passport["sampled"] == VideoList.SAMPLED


def test_reasons_are_few_kinds():
    """Each damaged file has its own path and numbers: a thousand reasons would be listed one by one."""
    assert (
        kind_of("(run/a (1).mp4) has no frames from 3 to 4.5 s: it lasts until 2.00 s") == "has no frames from N to N s"
    )
    assert kind_of("has '1x' in its file n_frames, not a number") == "has '...' in its file n_frames, not a number"
    problems = [f"is {letter}" for letter in "abcdefghijklmnop"] + ["is a"] * 3
    counts = LabelCounts.of(30, 2, problems)
    assert counts.unusable[0] == ("is a", 4)
    assert len(counts.unusable) == MOST_REASONS + 1
    assert counts.unusable[-1][0] == OTHERS
    assert sum(number for _, number in counts.unusable) == len(problems)
    assert LabelCounts.from_plain(json.loads(json.dumps(counts))) == counts
