"""The picture of a dataset's augmented clips shows what training sees."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from common.errors import DataError
from data.augment.params import KINDS, identity_params
from data.augment.randaugment import OPERATIONS, RandAugment
from data.clips.types import ClipShape
from data.preview import describe, main, make_row
from tests.numbered import encode_numbered_video, frame_numbers
from tests.processes import ROOT

SHAPE = ClipShape(2, 32, 32)


def preview(*arguments: object, module: str = "data.preview") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


def test_the_command_writes_a_picture(small_dataset: Path, tmp_path: Path):
    done = preview(small_dataset, "--output", tmp_path / "sheet.png", "--rows", 3, "--frames", 2, "--size", 32)
    assert done.returncode == 0, done.stderr
    picture = cv2.imread(str(tmp_path / "sheet.png"))
    assert picture.std() > 10
    assert list(tmp_path.iterdir()) == [tmp_path / "sheet.png"]


def test_deleted_videos_are_not_shown(tmp_path: Path, monkeypatch):
    """The picture would be of a class that training does not have."""
    encode_numbered_video(tmp_path / "videos" / "@Recycle" / "a.mp4", 12)
    arguments = ["preview", str(tmp_path), "--source", "videos", "--output", str(tmp_path / "x.png")]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(DataError, match="contains no videos"):
        main()


@pytest.mark.parametrize("name", ["a.mp4", "train.csv", "last.pth"])
def test_a_file_that_is_no_picture_is_not_replaced(small_dataset: Path, tmp_path: Path, name: str, monkeypatch):
    """After a slip in the command, a video or a label file would be a picture."""
    (tmp_path / name).write_text("mine")
    monkeypatch.setattr("sys.argv", ["preview", str(small_dataset), "--output", str(tmp_path / name)])
    with pytest.raises(DataError, match=rf"--output .*{name}: give a name that ends in .png"):
        main()
    assert (tmp_path / name).read_text() == "mine"


def test_a_folder_without_videos_is_named(tmp_path: Path):
    done = preview(tmp_path, "--output", tmp_path / "sheet.png")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert str(tmp_path) in done.stderr and "frames.db" in done.stderr
    assert not list(tmp_path.iterdir())
    (tmp_path / "jpg").mkdir()
    with pytest.raises(DataError, match=r"jpg .*data\.prepare\.convert"):
        make_row(tmp_path, SHAPE, None, (0, 0))


def test_clips_are_those_of_video_files(tmp_path: Path) -> None:
    """With --source videos, training reads these."""
    file = encode_numbered_video(tmp_path / "videos/wave/a.mkv", 9, start=9)
    with pytest.raises(DataError, match="--source videos"):
        make_row(tmp_path, SHAPE, None, (0, 0))
    for place in (tmp_path, file):
        original = make_row(place, SHAPE, None, (0, 0), source="videos").original
        first, second = frame_numbers(original)
        assert 9 <= first == second - 2 < 16
    (tmp_path / "videos/wave/a.mkv").write_bytes(b"no video")
    with pytest.raises(DataError, match=r"a\.mkv"):
        make_row(tmp_path, SHAPE, None, (0, 0), source="videos")


@pytest.mark.parametrize("module", ["data.preview", "data.augment"])
def test_messages_name_the_command_that_was_called(module: str):
    done = preview("--size", module=module)
    assert done.returncode == 2
    assert done.stderr.startswith(f"python -m {module}: error: ")


def test_rows_are_clips_as_in_training_before_and_after_augmentation(small_dataset: Path):
    """From a dataset or one of its videos; the same for the same seed."""
    video = next((small_dataset / "jpg").glob("*/*"))
    for folder in (small_dataset, video):
        rows = [make_row(folder, SHAPE, None, (0, row)) for row in range(12)]
        for row in rows:
            assert row.original.shape == row.augmented.shape == (2, 32, 32, 3)
            assert row.augmented.dtype == np.uint8
            if row.title == "unchanged":
                assert np.array_equal(row.original, row.augmented)
            elif row.title == "flip":
                assert np.array_equal(row.original[:, :, ::-1], row.augmented)
        again = make_row(folder, SHAPE, None, (0, 3))
        assert again.title == rows[3].title
        assert np.array_equal(again.augmented, rows[3].augmented)
        assert len({row.title for row in rows}) > 4


def test_each_kind_is_named(small_dataset: Path):
    titles = [make_row(small_dataset, SHAPE, kind, (0, 0)).title for kind in KINDS]
    starts = ("rotation", "perspective", "Gaussian blur", "motion blur", "hue", "add", "noise", "colour", "contrast")
    assert all(title.startswith(starts) and "\n" not in title for title in titles)
    assert describe(identity_params(), flip=False) == "unchanged"
    assert describe(identity_params(), flip=True) == "flip"


def test_operations_of_randaugment_are_named(small_dataset: Path):
    """One row for each, or rows as in training."""
    recipe = RandAugment(2, 9)
    titles = [make_row(small_dataset, SHAPE, name, (0, 0), randaugment=recipe).title for name in OPERATIONS[1:]]
    assert all(title.startswith(name) for title, name in zip(titles, OPERATIONS[1:], strict=True))
    assert titles[OPERATIONS.index("posterize") - 1] == "posterize 7"
    rows = [make_row(small_dataset, SHAPE, None, (0, row), randaugment=recipe) for row in range(12)]
    assert len({row.title for row in rows}) > 4
    for row in rows:
        lines = [line for line in row.title.splitlines() if line not in ("flip", "unchanged")]
        assert all(line.startswith(OPERATIONS) for line in lines) and len(lines) <= 2


def test_a_mistake_in_randaugment_names_the_flag(small_dataset: Path, tmp_path: Path, monkeypatch):
    for word in ("9", ""):
        command = ["preview", str(small_dataset), "--output", str(tmp_path / "sheet.png"), "--randaugment", word]
        monkeypatch.setattr("sys.argv", command)
        with pytest.raises(DataError, match=f"--randaugment '{word}': .*2x9"):
            main()


def test_a_path_that_is_too_long_or_closed_is_one_line(tmp_path: Path):
    for folder in (tmp_path / ("x" * 300), tmp_path / "loop"):
        if folder.name == "loop":
            folder.symlink_to(folder)
        with pytest.raises(DataError, match="neither a dataset"):
            make_row(folder, SHAPE, None, (0, 0))
