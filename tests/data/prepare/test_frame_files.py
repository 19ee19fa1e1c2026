"""Folders of pictures become databases with the right frames in the right order, whatever lies beside them."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from data.prepare.convert import main
from data.prepare.frame_files import FrameFilesReader
from data.store.frame_store import FrameStore
from data.store.origin import read_origin
from data.store.video_file import VideoError
from tests.numbered import encode_numbered_video, frame_numbers, numbered_frame, numbered_jpegs
from tests.other_user import without_rights


def write(folder: Path, numbers: range, name: str) -> None:
    """Write numbered frames as files of a name such as img_{:05d}.jpg."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        path = folder / name.format(number)
        if path.suffix == ".jpg":
            path.write_bytes(numbered_jpegs([number])[0])
        else:
            path.write_bytes(cv2.imencode(path.suffix, numbered_frame(number)[..., ::-1])[1].tobytes())


def converted(videos: Path, out: Path, *flags: str) -> tuple[int, dict[str, list[int]], dict[str, tuple[str, str]]]:
    """Convert; the status, the numbers of the frames of each video, and kind and reason of each problem."""
    status = main([str(videos), str(out), "--workers", "1", *flags])
    numbers = {}
    for database in sorted(out.glob("jpg/*/*/frames.db")):
        with FrameStore(database.parent) as store:
            numbers[str(database.parent.relative_to(out / "jpg"))] = frame_numbers(store.read(range(len(store))))
    with (out / "convert_failures.csv").open(newline="") as file:
        return status, numbers, {row["item"]: (row["kind"], row["reason"]) for row in csv.DictReader(file)}


def test_png_bmp_and_webp_frames_are_converted(tmp_path: Path) -> None:
    for suffix in ("png", "bmp", "webp"):
        write(tmp_path / "videos" / "run" / suffix, range(8, 12), "{}." + suffix)
    status, numbers, problems = converted(tmp_path / "videos", tmp_path / "out", "--quality", "97")
    assert numbers == {f"run/{suffix}": [8, 9, 10, 11] for suffix in ("bmp", "png", "webp")}
    assert status == 0 and not problems
    status, _, problems = converted(tmp_path / "videos", tmp_path / "out", "--quality", "90")
    assert status == 1 and {kind for kind, _ in problems.values()} == {"differs"}


def test_rgb_frames_beside_optical_flow_are_converted_by_one_command(tmp_path: Path) -> None:
    """The folders of TSN: flow would become a video, or half of one."""
    videos, out = tmp_path / "videos", tmp_path / "out"
    for name, start in (("run/v1", 1), ("run/v2", 5)):
        write(videos / name, range(start, start + 3), "img_{:05d}.jpg")
        for flow in ("flow_x", "flow_y"):
            write(videos / name, range(start + 100, start + 103), flow + "_{:05d}.jpg")
    write(videos / "walk" / "v3", range(3), "rgb_{:05d}.jpg")
    encode_numbered_video(videos / "walk" / "v4.mp4", 5)
    status, numbers, problems = converted(videos, out)
    assert status == 1 and set(numbers) == {"walk/v3", "walk/v4"} and set(problems) == {"run/v1", "run/v2"}
    assert all("--frames 'img_*.jpg'" in reason for _, reason in problems.values())
    status, numbers, problems = converted(videos, out, "--frames", "img_*.jpg")
    assert (numbers["run/v1"], numbers["run/v2"], numbers["walk/v4"]) == ([1, 2, 3], [5, 6, 7], [0, 1, 2, 3, 4])
    assert status == 1 and [item for item, (kind, _) in problems.items() if kind == "failed"] == ["walk/v3"]
    assert read_origin(out / "jpg" / "run" / "v1" / "frames.db").pattern == "img_*.jpg"
    assert read_origin(out / "jpg" / "walk" / "v4" / "frames.db").pattern == ""
    _, numbers, problems = converted(videos, out, "--frames", "flow_x_*.jpg")
    assert {item for item, (kind, _) in problems.items() if kind == "differs"} == {"run/v1", "run/v2"}
    assert "--frames img_*.jpg, is flow_x_*.jpg" in problems["run/v1"][1] and numbers["run/v1"] == [1, 2, 3]
    _, numbers, _ = converted(videos, out, "--frames", "flow_x_*.jpg", "--replace")
    assert numbers["run/v1"] == [101, 102, 103]


@pytest.mark.parametrize("labels", [False, True])
def test_frames_in_a_folder_of_the_videos_folder_are_converted(tmp_path: Path, labels: bool) -> None:
    videos, out = tmp_path / "videos", tmp_path / "out"
    for name, start in (("run/v1", 1), ("walk/v2", 5)):
        write(videos / name / "rgb", range(start, start + 3), "{:06d}.png")
        write(videos / name / "depth", range(start + 100, start + 103), "{:06d}.png")
    encode_numbered_video(videos / "walk" / "v2" / "preview.mp4", 2)
    (tmp_path / "l.csv").write_text("label,id\nrun,v1\nwalk,v2\n")
    flags = ["--labels", str(tmp_path / "l.csv")] if labels else []
    status, numbers, problems = converted(videos, out, *flags)
    assert status == 1 and not numbers
    assert "--frames 'depth/*.png'" in problems["run/v1"][1]
    status, numbers, problems = converted(videos, out, *flags, "--frames", "rgb/*.png")
    assert (status, numbers) == (0, {"run/v1": [1, 2, 3], "walk/v2": [5, 6, 7]}) and not problems


def test_a_database_that_was_made_without_a_pattern_is_the_same_if_its_frames_are(tmp_path: Path) -> None:
    """A dataset of years would be converted again because one class needs a pattern."""
    write(tmp_path / "videos" / "run" / "v", range(3), "img_{}.jpg")
    assert converted(tmp_path / "videos", tmp_path / "out")[0] == 0
    assert converted(tmp_path / "videos", tmp_path / "out", "--frames", "*.jpg")[0] == 0
    write(tmp_path / "videos" / "run" / "v", range(3), "x_{}.jpg")
    status, _, problems = converted(tmp_path / "videos", tmp_path / "out", "--frames", "x_*.jpg")
    assert status == 1 and problems["run/v"][0] == "differs"


def read(folder: Path, keep_partial: bool = False) -> tuple[FrameFilesReader, list[int]]:
    reader = FrameFilesReader(sorted(folder.iterdir()), 360, 95, keep_partial)
    return reader, [int(cv2.imdecode(np.frombuffer(data, np.uint8), 0).mean().round()) for data in reader]


def test_deep_and_transparent_frames_are_read_and_said(tmp_path: Path) -> None:
    """Depth in millimetres has values of a few thousands: its frames become almost black."""
    for number in range(3):
        deep = np.full((48, 64), 257 * 10 * number + 257, np.uint16)
        (tmp_path / f"{number}.png").write_bytes(cv2.imencode(".png", deep)[1].tobytes())
    reader, levels = read(tmp_path)
    assert levels == [1, 11, 21]
    (remark,) = reader.remarks
    assert remark.startswith("3 frames have 16 bits") and "5397, becomes 21" in remark
    clear = np.full((48, 64, 4), 128, np.uint8)
    (tmp_path / "1.png").write_bytes(cv2.imencode(".png", clear)[1].tobytes())
    reader, levels = read(tmp_path)
    assert levels == [1, 128, 21] and any(remark.startswith("1 frames are transparent") for remark in reader.remarks)


@pytest.mark.parametrize("odd", ["empty", "cut short", "text", "folder", "dangling link"])
def test_an_odd_file_among_the_frames_is_named(tmp_path: Path, odd: str) -> None:
    folder = tmp_path / "videos" / "run" / "v"
    write(folder, range(5), "{}.png")
    path = folder / "2.png"
    data = path.read_bytes()
    if odd in ("empty", "cut short", "text"):
        path.write_bytes({"empty": b"", "cut short": data[:-20], "text": b"not found" * 9}[odd])
    else:
        path.unlink()
        path.mkdir() if odd == "folder" else path.symlink_to("nowhere")
    status, numbers, problems = converted(tmp_path / "videos", tmp_path / "out")
    assert status == 1 and not numbers
    assert problems["run/v"][0] == "failed" and "2.png" in problems["run/v"][1]


def test_a_frame_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    """It is not damaged: --keep-partial must not leave it out."""
    write(tmp_path, range(3), "{}.png")
    (tmp_path / "0.png").chmod(0)
    reader = FrameFilesReader([tmp_path / f"{n}.png" for n in range(3)], 360, 95, keep_partial=True)
    with without_rights(), pytest.raises(VideoError, match=r"0\.png cannot be read"):
        list(reader)


def test_links_mixed_suffixes_and_files_of_systems_make_no_difference(tmp_path: Path) -> None:
    """A dataset of links to frames elsewhere is usual where disks are small."""
    folder = tmp_path / "videos" / "run" / "a video"
    write(tmp_path / "frames", range(12), "{}.png")
    write(tmp_path / "frames", range(12, 14), "{}.jpg")
    folder.mkdir(parents=True)
    for number in range(12):
        (folder / f"Frame ({number}).{'PNG' if number % 2 else 'png'}").symlink_to(
            tmp_path / "frames" / f"{number}.png"
        )
    for name in ("Thumbs.db", "._Frame (3).png", ".DS_Store", "notes.txt"):
        (folder / name).write_bytes(b"x")
    status, numbers, problems = converted(tmp_path / "videos", tmp_path / "out")
    assert (status, numbers) == (0, {"run/a video": list(range(12))}) and not problems
