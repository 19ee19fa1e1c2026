"""The frames of a folder are one whole series in order, or the video fails: else it would hold other pictures."""

from pathlib import Path

import pytest

from data.prepare.frame_folder import find_frames
from data.store.video_file import VideoError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).touch()
    return folder


def names(folder: Path, keep_partial: bool = False) -> list[str]:
    return [path.name for path in find_frames(folder, keep_partial).files]


@pytest.mark.parametrize("ordered", [
    [f"frame_{n}.jpg" for n in range(8, 12)],
    [f"v_Run_g01_c02_{n:05d}.jpg" for n in range(1, 12)],
    [f"img{n}.{'JPEG' if n % 2 else 'jpg'}" for n in range(12)],
    [f"image-{n:04d}-of-0300.jpg" for n in range(298, 301)],
    [f"{n}.jpg" for n in range(0, 50, 5)],  # every fifth frame
    ["1305031102.975304.jpg", "1305031103.008637.jpg", "1305031103.041970.jpg"],  # times
    ["only.jpg"],
])  # fmt: skip
def test_frames_are_ordered_by_their_numbers(tmp_path: Path, ordered: list[str]) -> None:
    touch(tmp_path, *ordered, "notes.txt", "._1.jpg")
    found = find_frames(tmp_path)
    assert [path.name for path in found.files] == ordered
    assert not found.left_out and not found.gaps


@pytest.mark.parametrize("others", ["flow_x_{:05d}.jpg", "cam2_{:05d}.jpg", "img_{:05d}.png"])
def test_several_series_are_not_mixed(tmp_path: Path, others: str) -> None:
    """RGB and optical flow in one folder would become one video that alternates between them."""
    first = "cam1_{:05d}.jpg" if others.startswith("cam") else "img_{:05d}.jpg"
    touch(tmp_path, *(pattern.format(n) for pattern in (first, others) for n in range(1, 6)))
    with pytest.raises(VideoError) as caught:
        find_frames(tmp_path, keep_partial=True)
    assert first.format(1) in str(caught.value) and others.format(1) in str(caught.value)


def test_a_thumbnail_is_left_out_and_named(tmp_path: Path) -> None:
    frames = [f"img_{n:03d}.jpg" for n in range(5)]
    touch(tmp_path, *frames, "thumbnail.jpg", "cover.png")
    assert names(tmp_path) == frames
    (warning,) = find_frames(tmp_path).left_out
    assert "thumbnail.jpg" in warning and "cover.png" in warning


def test_the_other_endings_of_jpeg_files_are_frames_too(tmp_path: Path) -> None:
    """The rest of a series was left out without a word because a program called it .jfif."""
    frames = [*(f"{n}.jpg" for n in range(3)), *(f"{n}.jfif" for n in range(3, 6)), "6.JPE"]
    touch(tmp_path, *frames)
    assert [path.name for path in find_frames(tmp_path).files] == frames


def test_a_gap_fails_and_is_closed_only_when_told(tmp_path: Path) -> None:
    frames = [f"img_{n:05d}.jpg" for n in range(1, 21) if not 5 < n <= 15]
    touch(tmp_path, *frames)
    with pytest.raises(VideoError, match=r"img_00005\.jpg.*img_00016\.jpg.*10.*--keep-partial"):
        find_frames(tmp_path)
    found = find_frames(tmp_path, keep_partial=True)
    assert [path.name for path in found.files] == frames
    assert "img_00005.jpg" in found.gaps[0]


@pytest.mark.parametrize(("files", "shown"), [
    (["frame_1.jpg", "frame_001.jpg"], "frame_001.jpg and frame_1.jpg"),
    (["frame_1.jpg", "frame_2.jpg", "frame_2.jpeg"], "frame_2.jpeg and frame_2.jpg"),
    (["a.jpg", "b.jpg"], "a.jpg, b.jpg"),
    (["thumb.jpg", *(f"{n}.png" for n in range(5))], "PNG"),
    (["notes.txt"], "no JPEG"),
    ([*(f"{n}.jpg" for n in range(3)), *(f"{n}.heic" for n in range(3, 6))], "2 series"),
])  # fmt: skip
def test_an_order_that_cannot_be_told_fails(tmp_path: Path, files: list[str], shown: str) -> None:
    touch(tmp_path, *files)
    with pytest.raises(VideoError, match=shown):
        find_frames(tmp_path, keep_partial=True)
