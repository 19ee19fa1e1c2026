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
    (["thumb.jpg", *(f"{n}.tif" for n in range(5))], "TIF"),
    (["notes.txt"], "no frames"),
    ([*(f"{n}.jpg" for n in range(3)), *(f"{n}.heic" for n in range(3, 6))], "2 series"),
])  # fmt: skip
def test_an_order_that_cannot_be_told_fails(tmp_path: Path, files: list[str], shown: str) -> None:
    touch(tmp_path, *files)
    with pytest.raises(VideoError, match=shown):
        find_frames(tmp_path, keep_partial=True)


def test_frames_in_folders_of_the_folder_are_named(tmp_path: Path) -> None:
    """The rest of the frames lay in part2/, and a clip of the first part was trained without a word."""
    frames = [f"cam1_{n:03d}.jpg" for n in range(5)]
    inner = {
        "thumbs": [f"cam1_{n}.jpg" for n in range(5)],  # the same numbers
        "cam2": [f"cam2_{n:03d}.jpg" for n in range(9)],
        "flow/x": [f"flow_x_{n:03d}.jpg" for n in range(5)],
        "notes": ["a.txt"],
        "@eaDir": frames,
        ".cache": ["cam1_005.jpg"],
    }
    touch(tmp_path, *frames)
    for name, held in inner.items():
        (tmp_path / name).mkdir(parents=True)
        touch(tmp_path / name, *held)
    found = find_frames(tmp_path)
    assert [path.name for path in found.files] == frames
    assert found.left_out == [
        "left out 9 pictures in the folder cam2",
        "left out 5 pictures in the folder flow",
        "left out 5 pictures in the folder thumbs",
    ]
    (tmp_path / "part2").mkdir()
    touch(tmp_path / "part2", "cam1_005.jpg", "cam1_006.jpg")
    with pytest.raises(VideoError, match=r"2 pictures in the folder part2, such as cam1_005\.jpg"):
        find_frames(tmp_path)
    found = find_frames(tmp_path, keep_partial=True)
    assert [path.name for path in found.files] == frames
    assert len(found.gaps) == 1 and "part2" in found.gaps[0]


def test_a_poster_above_the_video_is_no_video(tmp_path: Path) -> None:
    """A recording with its picture, and its video a folder deeper, became a video of one frame."""
    (tmp_path / "camera1").mkdir()
    touch(tmp_path, "poster.jpg")
    (warning,) = find_frames(tmp_path).left_out
    assert "has one frame: poster.jpg" in warning
    touch(tmp_path / "camera1", "rec.mp4")
    for keep_partial in (False, True):
        with pytest.raises(VideoError, match=r"holds 1 picture, and 1 video .* camera1/rec\.mp4: "):
            find_frames(tmp_path, keep_partial)
    touch(tmp_path, *(f"{n}.jpg" for n in range(3)))
    assert "left out 1 video in folders of this folder, such as camera1/rec.mp4" in find_frames(tmp_path).left_out


def test_frames_without_a_suffix_or_behind_a_link_in_a_folder_of_the_folder_are_named(tmp_path: Path) -> None:
    """The second half of a video lay there, and the first half was converted without a word."""
    for name in ("video", "elsewhere"):
        (tmp_path / name / "rest").mkdir(parents=True)
    frames = [f"{n}.jpg" for n in range(5)]
    touch(tmp_path / "video", *frames)
    (tmp_path / "video" / "rest" / "up").symlink_to(tmp_path)  # has no end
    assert find_frames(tmp_path / "video").left_out == []
    touch(tmp_path / "elsewhere", "img_1.jpg")
    (tmp_path / "video" / "rest" / "more").symlink_to(tmp_path / "elsewhere")
    assert find_frames(tmp_path / "video").left_out == ["left out 1 picture in the folder rest"]
    (tmp_path / "video" / "rest" / "5").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(VideoError, match="2 pictures in the folder rest, such as 5, "):
        find_frames(tmp_path / "video")


def test_pictures_without_a_suffix_are_named(tmp_path: Path) -> None:
    """A program that wrote some frames without .jpg left a video of the others."""
    frames = [f"img_{n}.jpg" for n in range(5)]
    touch(tmp_path, *frames, "README", "img_5.txt")
    (tmp_path / "img_5").write_bytes(b"\xff\xd8\xff\xe0")
    found = find_frames(tmp_path)
    assert [path.name for path in found.files] == frames and "img_5:" in found.left_out[0]
    (tmp_path / "img_6.JPG_").write_bytes(b"\xff\xd8\xff\xe0")
    (tmp_path / "img_7.JPG_").write_bytes(b"\x89PNG")
    with pytest.raises(VideoError, match="holds 3 series of pictures"):
        find_frames(tmp_path, keep_partial=True)
    for name in frames[1:]:
        (tmp_path / name).unlink()
    (tmp_path / "img_5").unlink()
    with pytest.raises(VideoError, match="without a suffix"):
        find_frames(tmp_path)
