"""The content of a split: if this fails, a run goes on with other pixels, or is refused with the same ones."""

import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from data.labels.class_folders import ClassFolders, find_videos
from data.labels.content import UNREAD, Content, content_of
from data.labels.label_file import LabelRow
from data.labels.video_list import FoundVideo, VideoList, pack
from tests.numbered import numbered_jpegs, write_database, write_numbered_database

COUNTS = (5, 7, 6)


def write_videos(jpg: Path, counts: tuple[int, ...] = COUNTS, start: int = 0, **layout: object) -> VideoList:
    for number, frames in enumerate(counts):
        write_numbered_database(jpg / "wave" / f"v{number}", frames, start=start + 64 * number, **layout)
    return videos_in(jpg)


def videos_in(jpg: Path) -> VideoList:
    names = sorted(path.name for path in (jpg / "wave").iterdir())
    rows = [LabelRow("wave", name, "", None, None, "", 0) for name in names]
    return pack(jpg, ("wave",), [(0, video) for video in find_videos(ClassFolders(jpg, ["wave"]), rows)])


def test_a_copy_elsewhere_has_the_same_content(tmp_path):
    """Datasets are moved to faster disks within a run."""
    content = content_of(write_videos(tmp_path / "one"))
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    for count in (tmp_path / "two").rglob("n_frames"):
        count.unlink()  # the scan then counts the rows
    assert content_of(videos_in(tmp_path / "two")) == content
    assert Content.from_plain(content.plain()) == content


@pytest.mark.parametrize("order", [None, (1, 0, 2, 4, 3)])
def test_a_database_of_dataset2database_has_the_content_of_its_frames(tmp_path, order):
    """It has no table Origin, no key, and its rows are in any order."""
    content = content_of(write_videos(tmp_path / "own", (5, 5)))
    assert content_of(write_videos(tmp_path / "theirs", (5, 5), indexed=False, order=order)) == content


def test_other_pixels_and_other_cuts_have_another_content(tmp_path):
    """Under the same names, a run went on with them in silence."""
    content = content_of(write_videos(tmp_path / "one"))
    pixels = content_of(write_videos(tmp_path / "pixels", start=8))
    assert content.differences(pixels) == "other frames (in 3 of 3 videos looked at)"
    cuts = content_of(write_videos(tmp_path / "cuts", (5, 7, 7)))
    assert content.differences(cuts) == "other numbers of frames and other frames (in 1 of 3 videos looked at)"
    assert content.differences(content) == ""


def test_a_video_that_cannot_be_read_counts_as_unknown(tmp_path):
    """A run that skips bad videos goes on after one more has become bad, or is mended."""
    videos = write_videos(tmp_path)
    content = content_of(videos)
    (tmp_path / "wave/v0/frames.db").write_bytes(b"no database")
    (tmp_path / "wave/v1/frames.db").unlink()
    os.mkfifo(tmp_path / "wave/v1/frames.db")
    write_database(tmp_path / "wave/v3", [b"no JPEG"] * 3)
    bad = content_of(videos)
    assert bad.samples == (UNREAD, UNREAD, content.samples[2])
    assert bad.differences(content) == content.differences(bad) == ""
    assert content_of(videos_in(tmp_path)).samples[-1] == UNREAD


def test_a_sample_of_a_large_split_is_spread_over_all_of_it(tmp_path):
    videos = pack(tmp_path, ("wave",), [(0, FoundVideo("wave", f"v{i}", 1, "")) for i in range(1000)])
    sample = videos.sample()
    assert len(sample) == 64 and sample == sorted(set(sample)) and (sample[0], sample[-1]) == (0, 984)
    assert pack(tmp_path, ("wave",), [(0, FoundVideo("wave", "v", 1, ""))] * 3).sample() == [0, 1, 2]


def test_a_video_that_states_more_frames_than_any_has_is_not_usable(tmp_path):
    """Its number of frames has no place in the arrays: it would be a traceback."""
    folder = write_database(tmp_path / "wave" / "v", numbered_jpegs([1]))
    with sqlite3.connect(folder / "frames.db") as connection:
        connection.execute("UPDATE Images SET _rowid_ = ?, ObjId = ?", (2**40, f"v/frame_{2**40}"))
    (folder / "n_frames").unlink()
    (video,) = find_videos(ClassFolders(tmp_path, ["wave"]), [LabelRow("wave", "v", "", None, None, "", 0)])
    assert video is not None and video.frames == 0 and f"has {2**40} frames" in video.problem


@pytest.mark.parametrize(
    "value",
    [
        None, 3, {}, {"counts": "a", "samples": "b"}, {"counts": "a", "samples": [1]},
        {"counts": "a" * 99, "samples": []}, {"counts": "a", "samples": [""] * 65},
    ],
)  # fmt: skip
def test_what_no_run_saves_is_no_content(value):
    assert Content.from_plain(value) is None
