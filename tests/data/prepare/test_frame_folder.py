"""The frames of a folder are one whole series in order, or the video fails: else it would hold other pictures."""

import os
from pathlib import Path

import pytest

from data.prepare.conversion import Converted, Job, Settings, convert_video
from data.prepare.frame_folder import find_frames, of_an_earlier_extraction
from data.prepare.frame_pattern import check_pattern
from data.store.video_file import VideoError
from tests.numbered import numbered_jpegs


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


@pytest.mark.parametrize("ordered", [
    ["IMG_20240101_235958.jpg", "IMG_20240101_235959.jpg", "IMG_20240102_000003.jpg"],
    ["PXL_20240131_120000123.jpg", "PXL_20240131_120000160.jpg", "PXL_20240201_120000001.jpg"],
    ["At 2024-01-01 09.59.59.png", "At 2024-01-01 10.00.00.png", "At 2024-01-02 08.00.01.png"],
    ["20231231235959.jpg", "20240101000000.jpg", "20240101000007.jpg"],
    ["1403636579763555584.png", "1403636579813555456.png", "1403636579863555585.png"],  # nanoseconds
    ["1305031102.png", "1305031104.png", "1305031107.png"],
    [f"0000000{n:03d}.png" for n in range(5)],  # as KITTI counts
    [f"frame ({n}).PNG" for n in range(1, 12)],
    [f"clip {'Take' if n % 2 else 'take'} {n}.webp" for n in range(12)],
    [f"{n}.bmp" for n in range(12)],
    [f"{n:06d}.jpg" for n in range(99_995, 100_003)],
    [f"{n:05d}.jpg" for n in range(99_995, 100_003)],
])  # fmt: skip
def test_frames_are_ordered_by_time_or_number_as_cameras_name_them(tmp_path: Path, ordered: list[str]) -> None:
    """Pauses between times were called gaps, and the frames before and after midnight two series."""
    touch(tmp_path, *ordered, "Thumbs.db", "._x.png", ".DS_Store", "desktop.ini")
    found = find_frames(tmp_path)
    assert [path.name for path in found.files] == ordered
    assert not found.left_out and not found.gaps


@pytest.mark.parametrize(("files", "shown"), [
    # Two recordings, each of which is counted, are not one video.
    ([f"20240101_1{hour}0000_{n:05d}.jpg" for hour in (2, 3) for n in range(3)], "2 series"),
    # A fixed time before the number does not hide a gap.
    ([f"v_20240101_120000_{n:05d}.jpg" for n in (1, 2, 3, 5)], "00003.jpg is followed by .*00005.jpg"),
    ([f"1{n:09d}.jpg" for n in (1, 2, 3, 5)], "is followed by"),
    ([f"99999999_{n:06d}.jpg" for n in (1, 2, 4)], "is followed by"),  # no date
    (["0.png", "1.png", "3.png"], "1.png is followed by 3.png"),
    (["Frame_1.png", "frame_1.PNG"], "same number"),
])  # fmt: skip
def test_numbers_that_look_like_times_do_not_hide_a_fault(tmp_path: Path, files: list[str], shown: str) -> None:
    touch(tmp_path, *files)
    with pytest.raises(VideoError, match=shown):
        find_frames(tmp_path)


TSN = [f"{kind}_{n:05d}.jpg" for kind in ("flow_x", "flow_y", "img") for n in range(1, 5)]


@pytest.mark.parametrize(("pattern", "chosen"), [
    ("img_*.jpg", TSN[8:]),
    ("IMG_*.JPG", TSN[8:]),
    ("flow_x_*", TSN[:4]),
    ("img_0000[12].jpg", TSN[8:10]),
])  # fmt: skip
def test_a_pattern_chooses_one_of_several_series(tmp_path: Path, pattern: str, chosen: list[str]) -> None:
    touch(tmp_path, *TSN)
    found = find_frames(tmp_path, pattern=pattern)
    assert [path.name for path in found.files] == chosen
    # Of the series itself nothing is left out in silence.
    assert ["img_00003.jpg" in warning for warning in found.left_out] == ([True] if len(chosen) == 2 else [])


@pytest.mark.parametrize(("files", "pattern", "shown"), [
    (TSN, "flow_*.jpg", "2 series"),
    (TSN, "rgb_*.jpg", "no picture that --frames rgb_.* but flow_x_00001.jpg"),
    (TSN, "rgb/*.jpg", "no frames"),
    (["cam1/1.jpg", "cam2/1.jpg"], "cam*/*.jpg", "several folders: cam1, cam2"),
    (["rgb/1.jpg", "rgb/3.jpg", "rgb/4.jpg"], "rgb/*.jpg", "1.jpg is followed by 3.jpg"),
    (["1.png", "2.png", "1.jpg", "2.jpg"], "*", "2 series"),
])  # fmt: skip
def test_a_pattern_that_does_not_choose_one_series_fails(
    tmp_path: Path, files: list[str], pattern: str, shown: str
) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
    touch(tmp_path, *files)
    with pytest.raises(VideoError, match=shown):
        find_frames(tmp_path, pattern=pattern)


def test_a_pattern_finds_frames_in_a_folder_of_the_videos_folder(tmp_path: Path) -> None:
    for name in ("RGB", "depth", "RGB/thumbs"):
        (tmp_path / name).mkdir()
        touch(tmp_path / name, *(f"{n}.png" for n in range(9, 12)))
    found = find_frames(tmp_path, pattern="rgb/*.png")
    assert found.files == [tmp_path / "RGB" / f"{n}.png" for n in (9, 10, 11)] and not found.left_out
    touch(tmp_path / "RGB" / "thumbs", "12.png")  # the rest of the series
    with pytest.raises(VideoError, match=r"thumbs, such as 12\.png"):
        find_frames(tmp_path, pattern="rgb/*.png")


@pytest.mark.parametrize("files", [
    TSN,
    [f"{kind}_{n}.jpg" for kind in ("img", "img_flow") for n in range(3)],
    [f"{n}.{kind}" for kind in ("png", "jpg") for n in range(3)],
    [f"cam{camera}_{n}.jpg" for camera in (1, 2) for n in range(3)],
    [f"[a]_{n}.{kind}" for kind in ("png", "jpg") for n in range(3)],
])  # fmt: skip
def test_the_pattern_that_is_proposed_works(tmp_path: Path, files: list[str]) -> None:
    """Else a user who follows the message gets the same message again."""
    touch(tmp_path, *files)
    with pytest.raises(VideoError) as caught:
        find_frames(tmp_path)
    assert find_frames(tmp_path, pattern=str(caught.value).split("'")[1]).files


def test_no_pattern_is_proposed_where_none_works(tmp_path: Path) -> None:
    touch(tmp_path, *(f"frame_{n}{copy}.jpg" for n in range(3) for copy in ("", " (1)")))
    with pytest.raises(VideoError, match="2 series") as caught:
        find_frames(tmp_path)
    assert "--frames" not in str(caught.value)


@pytest.mark.parametrize("pattern", ["", " ", "/img_*.jpg", "rgb/", "../*.jpg", "**/*.jpg", "a//b.jpg", "./*.jpg"])
def test_a_pattern_that_names_no_file_below_a_folder_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="pattern"):
        check_pattern(pattern)


def remark(folder: Path, *hours: float) -> str:
    """What is said of frames that were written at these hours, in the order of their numbers."""
    files = [folder / f"{number:05d}.jpg" for number in range(len(hours))]
    touch(folder, *(path.name for path in files))
    for path, hour in zip(files, hours, strict=True):
        os.utime(path, (hour * 3600, hour * 3600))
    return of_an_earlier_extraction(files)


def test_the_rest_of_an_earlier_longer_extraction_is_told(tmp_path: Path) -> None:
    """`ffmpeg -r 10` into the folder of `ffmpeg -r 25` leaves frames behind its own, and the video ends twice."""
    assert remark(tmp_path, 100, 100, 100.01, 4, 4.01).startswith(
        "the last 2 frames, from 00003.jpg on, are older by 4 days than all before: left behind by an earlier"
    )
    assert "the last 3 frames, from 00002.jpg on, are older by 5 hours" in remark(tmp_path, 30, 30, 25, 25, 2)
    assert "the last frame, 00002.jpg, is older by an hour" in remark(tmp_path, 5, 5, 3.9)


@pytest.mark.parametrize("hours", [
    [1, 1, 1, 1], [1], [1, 2, 30, 400],  # recorded over weeks, or a copy that went on later
    [9, 8.9, 9, 8.9, 8.5],  # copied by several processes
    [50, 40, 30, 20, 10],  # numbered from the last on
    [5, 90, 5, 5, 5],  # a frame was edited
    [90, 5, 90, 5],
])  # fmt: skip
def test_other_times_of_frames_are_no_earlier_extraction(tmp_path: Path, hours: list[float]) -> None:
    assert remark(tmp_path, *hours) == ""


def test_the_warning_on_an_earlier_extraction_is_that_of_the_video(tmp_path: Path) -> None:
    place = tmp_path / "v"
    place.mkdir()
    for number, data in enumerate(numbered_jpegs(range(5), 32, 32)):
        (place / f"{number}.jpg").write_bytes(data)
    os.utime(place / "4.jpg", (10**9, 10**9))
    result = convert_video(Settings(32, 90, False, 1), Job(place, None, tmp_path / "out"), lambda: None)
    assert isinstance(result, Converted) and len(result.warnings) == 1
    assert "the last frame, 4.jpg, is older" in result.warnings[0]
