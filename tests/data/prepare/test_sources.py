"""Each row of the labels gets its own video or none: another class's would teach the network the wrong class."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.errors import DataError
from data.labels.label_file import read_labels
from data.labels.text import is_youtube_name
from data.prepare.folder_contents import PLAIN_FOLDER, contents
from data.prepare.folder_tree import walk
from data.prepare.labelled_sources import find_labelled_sources
from data.prepare.report import Problem
from data.prepare.sources import Sources, find_sources
from evaluate.results.predictions import FILE
from evaluate.results.summary import SUMMARY

YOUTUBE = "dQw4w9WgXcQ"


def find(folder: Path, files: str, rows: str, times: bool = False) -> Sources:
    """Search for rows "class,id class,id" among empty files "a/b.mp4 c.mp4"."""
    for file in files.split():
        path = folder / "videos" / file.replace("~", " ")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    header = "label,id,time_start,time_end" if times else "label,id"
    lines = [header, *(row.replace("~", " ") for row in rows.split())]
    (folder / "labels.csv").write_text("\n".join(lines))
    return find_labelled_sources(folder / "videos", folder / "out", read_labels(folder / "labels.csv"))


def taken(found: Sources, folder: Path) -> dict[str, str]:
    """Row -> the file that was taken for it."""
    root = folder / "videos"
    return {f"{video.label}/{video.video_id}": str(video.path.relative_to(root)) for video in found.videos}


def test_another_classs_video_of_the_same_name_is_not_taken(tmp_path: Path) -> None:
    found = find(tmp_path, "wave/001.mp4 wrestle/001.mp4 wrestle/002.mp4", "wave,001 wave,002 wrestle,001 wrestle,002")
    assert taken(found, tmp_path) == {
        "wave/001": "wave/001.mp4", "wrestle/001": "wrestle/001.mp4", "wrestle/002": "wrestle/002.mp4",
    }  # fmt: skip
    (problem,) = found.problems
    assert (problem.kind, problem.item) == ("missing", "wave/002")
    assert "wrestle/002.mp4" in problem.reason


def test_a_file_that_is_taken_for_two_classes_is_said(tmp_path: Path) -> None:
    """One of the two labels is a mistake, or the dataset has several labels for a video, which training does not."""
    found = find(tmp_path, "001.mp4 002.mp4", "jump,001 run,001 run,002")
    assert len(found.videos) == 3
    (problem,) = found.problems
    assert (problem.kind, problem.item) == ("warning", "run/001")
    assert "001.mp4" in problem.reason and "'jump'" in problem.reason
    rows = "jump,002,1,2 jump,002,2,3 run,002,2.0,3.0 run,002,4,5"
    assert [problem.item for problem in find(tmp_path, "", rows, times=True).problems] == ["run/002_000002_000003"]


def test_a_link_does_not_move_videos_into_another_class(tmp_path: Path) -> None:
    """Videos that can be reached through jump/link, too, lie in wave."""
    (tmp_path / "videos" / "jump").mkdir(parents=True)
    (tmp_path / "videos" / "jump" / "link").symlink_to("../wave")
    found = find(tmp_path, "jump/002.mp4 wave/001.mp4", "wave,001 jump,002 jump,001")
    assert taken(found, tmp_path) == {"wave/001": "wave/001.mp4", "jump/002": "jump/002.mp4"}


def test_class_folders_count_at_any_depth_and_in_any_spelling(tmp_path: Path) -> None:
    files = "x/walk_dog/s1/clip0.mp4 x/Wrestle/s1/clip0.mp4"
    found = find(tmp_path, files, "walk~dog,clip0 wrestle,clip0")
    assert not found.problems
    assert taken(found, tmp_path) == {
        "walk dog/clip0": "x/walk_dog/s1/clip0.mp4", "wrestle/clip0": "x/Wrestle/s1/clip0.mp4",
    }  # fmt: skip


def test_classes_that_differ_in_case_have_each_their_own_folder(tmp_path: Path) -> None:
    found = find(tmp_path, "run/1.mp4 Run/1.mp4", "run,1 Run,1")
    assert taken(found, tmp_path) == {"run/1": "run/1.mp4", "Run/1": "Run/1.mp4"}


@pytest.mark.parametrize(("one", "other"), [("walk~dog", "walk_dog"), ("n\u00e9", "ne\u0301")])
def test_classes_that_would_share_a_folder_are_refused(tmp_path: Path, one: str, other: str) -> None:
    """Training refuses them, after hours of conversion."""
    with pytest.raises(DataError, match="share a folder"):
        find(tmp_path, "x/1.mp4 x/2.mp4", f"{one},1 {other},2")


@pytest.mark.parametrize("files", ["train/wave/1.mp4 val/wave/1.mp4", "wave/1.mp4 wave/1.avi", "1.mp4 other/1.mp4"])
def test_two_candidates_are_named_and_none_is_taken(tmp_path: Path, files: str) -> None:
    found = find(tmp_path, files, "wave,1")
    (problem,) = found.problems
    assert not found.videos and problem.kind == "failed"
    assert all(file in problem.reason for file in files.split())


@pytest.mark.parametrize(
    "files", ["wave/1.mp4 zumba/2.mp4", "wave/1.mp4 wrestle/2.mp4", "wave/1.mp4 wrestle/a/b/2.mp4"]
)
def test_the_folder_of_a_class_that_the_labels_may_not_have_is_no_place_either(tmp_path: Path, files: str) -> None:
    found = find(tmp_path, files, "wave,1 wave,2 wrestle,3")
    assert taken(found, tmp_path) == {"wave/1": "wave/1.mp4"}
    reasons = {problem.item: problem.reason for problem in found.problems}
    assert files.split()[1] in reasons["wave/2"]


def test_a_folder_that_names_two_classes_is_not_taken_for_both(tmp_path: Path) -> None:
    assert taken(find(tmp_path, "wave/run/1.mp4", "wave,1 run,2"), tmp_path) == {"wave/1": "wave/run/1.mp4"}
    assert not find(tmp_path, "wave/run/1.mp4", "wave,1 run,1").videos


def test_videos_in_no_class_folder_are_found_anywhere(tmp_path: Path) -> None:
    found = find(tmp_path, "1.mp4 deep/er/2.mp4", "wave,1 run,2")
    assert taken(found, tmp_path) == {"wave/1": "1.mp4", "run/2": "deep/er/2.mp4"}
    assert not found.problems


def test_a_video_beside_class_folders_is_taken_with_a_warning_at_least(tmp_path: Path) -> None:
    found = find(tmp_path, "wave/1.mp4 new/2.mp4", "wave,1 run,2")
    assert taken(found, tmp_path)["run/2"] == "new/2.mp4"
    assert [(problem.kind, problem.item) for problem in found.problems] == [("warning", "run/2")]


@pytest.mark.parametrize("file", [f"{YOUTUBE}.mp4", f"v_{YOUTUBE}.mp4", f"{YOUTUBE}_000001_000003.mp4"])
def test_a_youtube_video_is_taken_from_the_folder_of_another_class_and_said(tmp_path: Path, file: str) -> None:
    """The downloaders of HACS and Kinetics keep one file for all clips of a video."""
    found = find(tmp_path, f"wave/{file}", f"wave,{YOUTUBE},5,7 run,{YOUTUBE},1,3", times=True)
    videos = {video.label: video for video in found.videos}
    assert videos["run"].path.name == file
    assert (videos["run"].span is None) == ("_0000" in file)
    (problem,) = (problem for problem in found.problems if problem.kind == "warning")
    assert problem.item.startswith("run/") and f"wave/{file}" in problem.reason


@pytest.mark.parametrize("others", ["wave,video_00005 jump,video_00005 run,video_00006 ", ""])
def test_a_name_that_only_looks_like_a_youtube_id_is_not_taken_from_another_class(tmp_path: Path, others: str) -> None:
    """Else `wave` would be taught with a video of `jump`."""
    files = "jump/video_00004.mp4 wave/x.mp4"
    found = find(tmp_path, files, f"{others}wave,video_00004 jump,video_00004")
    assert taken(found, tmp_path) == {"jump/video_00004": "jump/video_00004.mp4"}
    assert ("missing", "wave/video_00004") in [(problem.kind, problem.item) for problem in found.problems]


def test_most_ids_must_be_of_youtube_before_another_classs_folder_is_searched(tmp_path: Path) -> None:
    found = find(tmp_path, "jump/video_00004.mp4 wave/x.mp4", "wave,video_00004 wave,x jump,y")
    assert taken(found, tmp_path) == {"wave/x": "wave/x.mp4"}


def test_a_youtube_id_is_told_from_other_names() -> None:
    """All ids of YouTube that the excerpts of HACS and Kinetics hold end in one of 16 characters."""
    assert all(map(is_youtube_name, [YOUTUBE, "---QUuC4vJs", "v_a2X2hz1G6i8", "-0-A1Rxx0Zg_000010_000020"]))
    assert not any(map(is_youtube_name, ["subject_001", "001", "clip0", YOUTUBE + "x", "a b" * 4]))


def test_what_is_not_converted_is_named(tmp_path: Path) -> None:
    for file in ("a/tiffs/1.tif", "a/jpgs/1.jpg", "a/pngs/1.png", "a/deep/x.mp4", "a/deep/poster.jpg", "a/other/x.txt"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    (tmp_path / "a" / "loop").symlink_to("loop")
    (tmp_path / "gone").symlink_to("nowhere")
    found = find_sources(tmp_path, tmp_path / "out")
    assert [video.video_id for video in found.videos] == ["jpgs", "pngs"]
    reasons = {problem.item: problem.reason for problem in found.problems}
    assert set(reasons) == {"a/tiffs", "a/deep", "a/loop", "gone"}
    assert "TIF" in reasons["a/tiffs"] and "x.mp4" in reasons["a/deep"]


@pytest.mark.parametrize(("folder", "picture"), [("x", "clip_00{}.jpg"), ("Thumbnails", "{}.jpg")])
def test_pictures_of_the_videos_beside_them_are_no_video(tmp_path: Path, folder: str, picture: str) -> None:
    """Each class had a video "thumbnails" whose frames were of other videos."""
    files = [f"wave/clip_00{n}.mp4" for n in range(3)] + [f"wave/{folder}/{picture.format(n)}" for n in range(3)]
    for file in [*files, f"run/{folder}/{picture.format(0)}"]:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    found = find_sources(tmp_path, tmp_path / "out")
    assert [f"{each.label}/{each.video_id}" for each in found.videos] == [
        f"run/{folder}", *(f"wave/clip_00{n}" for n in range(3)),
    ]  # fmt: skip
    (problem,) = found.problems
    assert (problem.kind, problem.item) == ("warning", f"wave/{folder}") and "left out" in problem.reason
    (tmp_path / "labels.csv").write_text(f"label,id\nwave,{folder}\n")
    found = find_labelled_sources(tmp_path, tmp_path / "out", read_labels(tmp_path / "labels.csv"))
    assert [each.video_id for each in found.videos] == [folder]


def test_frames_and_videos_with_plain_numbers_are_converted_with_a_warning(tmp_path: Path) -> None:
    """Both count from 1: the frames need not be pictures of the videos."""
    for file in ("wave/1.mp4", "wave/2.mp4", "wave/x/1.jpg", "wave/x/2.jpg"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    found = find_sources(tmp_path, tmp_path / "out")
    assert [each.video_id for each in found.videos] == ["1", "2", "x"]
    assert [(each.kind, each.item) for each in found.problems] == [("warning", "wave/x")]


def test_a_video_whose_frames_or_files_lie_deeper_fails_by_its_name(tmp_path: Path) -> None:
    """Only the number of such folders was told, with status 0: the class trained without them."""
    for file in ("a/1.mp4", "a/parts/part1/1.jpg", "a/parts/part2/2.jpg", "a/deep/x/y/z.avi", "a/no/x/a.txt"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    (tmp_path / "a" / "no" / "x" / "up").symlink_to(tmp_path)
    found = find_sources(tmp_path, tmp_path / "out")
    assert [video.video_id for video in found.videos] == ["1"]
    reasons = {problem.item: problem.reason for problem in found.problems if problem.kind == "failed"}
    assert set(reasons) == {"a/parts", "a/deep"}
    assert "part1/1.jpg" in reasons["a/parts"] and "x/y/z.avi" in reasons["a/deep"]
    (tmp_path / "labels.csv").write_text("label,id\na,z\n")
    found = find_labelled_sources(tmp_path, tmp_path / "out", read_labels(tmp_path / "labels.csv"))
    assert [video.video_id for video in found.videos] == ["z"] and not found.problems


def test_folders_that_systems_add_are_no_classes_or_videos(tmp_path: Path) -> None:
    """Deleted videos, and the pictures that a file server makes of each, would be trained on."""
    for file in ("a/1.mp4", "a/@eaDir/1.jpg", "#recycle/2.mp4", "@eaDir/a/3.mp4", "$RECYCLE.BIN/4.mp4"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    found = find_sources(tmp_path, tmp_path / "out")
    assert [f"{video.label}/{video.video_id}" for video in found.videos] == ["a/1"] and not found.problems


@pytest.mark.parametrize(
    "system",
    ["@Recycle", "RECYCLER", "$Recycle.Bin", "@Recently-Snapshot", "~snapshot", "found.000", "FOUND.012", "LOST.DIR"],
)
def test_a_deleted_video_is_no_label_row_s(tmp_path: Path, system: str) -> None:
    """It lies in the folder of its class there, and a label file still names it."""
    for file in ("a/1.mp4", f"{system}/a/2.mp4", f"a/{system}/2.mp4", "recycled/3.mp4"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    (tmp_path / "labels.csv").write_text("label,id\na,1\na,2\nrecycled,3\n")
    found = find_labelled_sources(tmp_path, tmp_path / "out", read_labels(tmp_path / "labels.csv"))
    assert [video.video_id for video in found.videos] == ["1", "3"]
    assert [(problem.kind, problem.item) for problem in found.problems] == [("missing", "a/2")]
    assert [video.video_id for video in find_sources(tmp_path, tmp_path / "out").videos] == ["1", "3"]


def test_the_folder_of_an_evaluation_is_no_video(tmp_path: Path) -> None:
    """Its confusion matrix would be trained on, as a video of the class in whose folder it lies."""
    for file in ("a/1.mp4", "runs/evaluation_val_1x1/confusion.png", "b/2/confusion.png", "b/2/summary.json"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    for name in (SUMMARY, FILE):
        (tmp_path / "runs" / "evaluation_val_1x1" / name).touch()
    found = find_sources(tmp_path, tmp_path / "out")
    assert [f"{video.label}/{video.video_id}" for video in found.videos] == ["a/1", "b/2"]
    assert [each.item for each in found.problems if "evaluation" in each.reason] == ["runs/evaluation_val_1x1"]
    tree = walk(tmp_path, tmp_path / "out")
    assert [tree.parts(each)[-1] for each in tree.found] == ["1.mp4", "2"] and len(tree.problems) == 1


def test_raw_streams_are_videos(tmp_path: Path) -> None:
    """The documentation names them, but they were ignored."""
    (tmp_path / "a").mkdir()
    for name in ("1.h264", "2.HEVC", "3.265"):
        (tmp_path / "a" / name).touch()
    assert [video.video_id for video in find_sources(tmp_path, tmp_path / "out").videos] == ["1", "2", "3"]


def test_hidden_files_and_folders_are_no_videos(tmp_path: Path) -> None:
    """Deleted and unfinished videos would be trained on, or a class .Trash-1000 would appear."""
    for file in ("a/1.mp4", "a/.2.mp4", "a/.old/1.jpg", ".Trash-1000/files/3.mp4", ".partial/4.mp4", "a/._1.mp4"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    found = find_sources(tmp_path, tmp_path / "out")
    assert [f"{video.label}/{video.video_id}" for video in found.videos] == ["a/1"] and not found.problems
    assert max(found.ignored.values()) == 4
    (tmp_path / "labels.csv").write_text("label,id\na,1\na,3\n")
    found = find_labelled_sources(tmp_path, tmp_path / "out", read_labels(tmp_path / "labels.csv"))
    assert [video.video_id for video in found.videos] == ["1"]


def test_a_name_that_label_files_cannot_hold_is_refused(tmp_path: Path) -> None:
    """They drop the space at its end: the database would be stray, and its row missing."""
    for file in ("a/1 .mp4", "b /1.mp4", "a/2.mp4"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    found = find_sources(tmp_path, tmp_path / "out")
    assert [video.video_id for video in found.videos] == ["2"]
    assert {problem.item for problem in found.problems} == {"a/1 .mp4", "b /1.mp4"}
    assert {problem.kind for problem in found.problems} == {"failed"}


def test_a_row_whose_frames_are_tiff_files_is_told_so(tmp_path: Path) -> None:
    found = find(tmp_path, "wave/1/1.tif", "wave,1")
    assert [(problem.kind, "TIF" in problem.reason) for problem in found.problems] == [("failed", True)]


def test_frames_without_a_suffix_are_no_empty_folder(tmp_path: Path) -> None:
    """The folder was counted as one without frames, with status 0; its conversion says what to do."""
    for folder, data in (("v1", b"\xff\xd8\xff\xe0"), ("v2", b"notes")):
        (tmp_path / "wave" / folder).mkdir(parents=True)
        (tmp_path / "wave" / folder / "0001").write_bytes(data)
    found = find_sources(tmp_path, tmp_path / "out")
    assert [each.video_id for each in found.videos] == ["v1"]


def test_an_animated_webp_picture_is_told(tmp_path: Path) -> None:
    """It was one of the files that are no videos, and its class trained without it."""
    head = b"RIFF\x64\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0\x14\0\0\x0c\0\0" + bytes(70)
    (tmp_path / "videos" / "wave").mkdir(parents=True)
    (tmp_path / "videos" / "wave" / "2.webp").write_bytes(head.replace(b"\x02", b"\0"))
    (tmp_path / "videos" / "wave" / "1.webp").write_bytes(head)
    found = find_sources(tmp_path / "videos", tmp_path / "out")
    assert [(each.kind, each.item) for each in found.problems] == [("failed", "wave/1.webp")]
    assert found.ignored == {".webp": 1}
    (tmp_path / "videos" / "wave" / "1.mp4").touch()  # it is a preview of that
    found = find_sources(tmp_path / "videos", tmp_path / "out")
    assert not found.problems and found.ignored == {".webp": 1, "animated WebP": 1}
    found = find(tmp_path, "", "wave,1")
    assert [each.path.name for each in found.videos] == ["1.mp4"] and found.ignored["animated WebP"] == 1


def found_among(folder: Path, files: str) -> tuple[list[str], dict[str, str], Sources]:
    """The folders that are taken as videos among empty files "a/b.mp4 a/x/1.jpg", and the reasons of the problems."""
    for file in files.split():
        (folder / file.replace("~", " ")).parent.mkdir(parents=True, exist_ok=True)
        (folder / file.replace("~", " ")).touch()
    found = find_sources(folder, folder / "out")
    taken = [f"{each.label}/{each.video_id}" for each in found.videos if each.path.is_dir()]
    return taken, {each.item: f"{each.kind}: {each.reason}" for each in found.problems}, found


@pytest.mark.parametrize(
    "pictures",
    [
        "images/f0.mp4.jpg images/f1.mp4.jpg",
        "x/0.avi.jpg",
        "x/f0_cover.jpg x/f1_cover.jpg x/other.jpg",
        "frames/f0_001.jpg frames/f0_002.jpg",
        "keyframes/1.jpg",
        "covers/1.jpg",
        "stills/1.jpg",
        "screenshots/Screenshot_1.jpg",
        "e_previews/1.jpg",
        "Thumbnails~2/1.jpg",
    ],
)
def test_previews_by_other_names_are_no_video(tmp_path: Path, pictures: str) -> None:
    """Each became a video of its class, with status 0: the network learned from pictures of other videos."""
    files = ["f0.mp4", "f1.mp4", "0.avi", *pictures.split()]
    taken, reasons, found = found_among(tmp_path, " ".join(f"run/{file}" for file in files))
    assert not taken and not found.notes
    ((item, reason),) = reasons.items()
    assert item == f"run/{pictures.partition('/')[0].replace('~', ' ')}" and reason.startswith("warning: left out")


@pytest.mark.parametrize(
    ("files", "has_warning"),
    [
        ("jump.mp4 jump_2/jump_2_001.jpg", False),
        ("jump.mp4 x/jump_001.jpg x/jump_002.jpg", True),
        ("images/img_1.jpg f0.mp4", False),
        ("standing_still/1.jpg woman_covers_ears/1.jpg a.mp4 b.mp4", False),
        ("1.mp4 2.mp4 x/1_1.jpg x/2_1.jpg", True),
    ],
)
def test_frame_folders_beside_videos_stay_videos(tmp_path: Path, files: str, has_warning: bool) -> None:
    """Datasets of files and of frame folders would lose videos whose frames are named like another file."""
    taken, reasons, found = found_among(tmp_path, " ".join(f"run/{file}" for file in files.split()))
    folders = {f"run/{file.partition('/')[0]}" for file in files.split() if "/" in file}
    assert set(taken) == folders and set(reasons) == (folders if has_warning else set())
    assert all("is it a video?" in reason for reason in reasons.values())
    (note,) = found.notes
    assert note.startswith(f"{len(folders)} folder") and all(folder in note for folder in folders)


def test_previews_beside_frame_folders_are_no_video(tmp_path: Path) -> None:
    """Only folders beside video files were compared."""
    taken, reasons, found = found_among(tmp_path, "run/v1/1.jpg run/v2/1.jpg run/images/v1.jpg run/images/v2.jpg")
    assert taken == ["run/v1", "run/v2"] and set(reasons) == {"run/images"} and not found.notes


@pytest.mark.parametrize(
    "previews",
    [
        "thumbnails/run/1.jpg thumbnails/Walk/1.jpg",
        "thumbnails/all/run0.jpg thumbnails/all/walk0.jpg",
        "media/run/run0.jpg media/walk/walk0.mp4.jpg",
    ],
)
def test_a_tree_of_previews_is_no_class(tmp_path: Path, previews: str) -> None:
    """A class "thumbnails" appeared, whose videos had the names of the classes."""
    taken, reasons, found = found_among(tmp_path, f"run/run0.mp4 run/run1.mp4 walk/walk0.mp4 {previews}")
    assert not taken and len(found.videos) == 3
    ((item, reason),) = reasons.items()
    assert item == previews.partition("/")[0] and reason.startswith("warning: left out")


@pytest.mark.parametrize(
    ("files", "doubtful"),
    [
        ("1/1/1.jpg 1/2/1.jpg 2/1/1.jpg 2/2/1.jpg", ""),
        ("previews/a/1.jpg run/b/1.jpg", "previews"),
        ("thumbnails/run0_thumbs/1.jpg run/run0/1.jpg", "thumbnails"),
        ("previews/run0_preview.mp4 run/run0.mp4", "previews"),
        ("frames/run0/1.jpg run/run0.mp4", "frames"),
    ],
)
def test_classes_stay_classes_and_those_named_as_previews_are_told(tmp_path: Path, files: str, doubtful: str) -> None:
    """Classes and videos may have the same plain numbers, and a class may be called like previews, or be some."""
    _, reasons, found = found_among(tmp_path, files)
    assert len(found.videos) == len(files.split())
    assert list(reasons) == ([doubtful] if doubtful else [])
    assert all("is it a class?" in reason for reason in reasons.values())


def test_a_folder_that_cannot_be_read_is_a_failure_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was also counted among the ignored, as a folder without frames."""
    for place in ("wave/closed", "wave/empty"):
        (tmp_path / "videos" / place).mkdir(parents=True)
    (tmp_path / "videos" / "wave" / "001.mp4").touch()
    scandir = os.scandir

    def closed(path: Path) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    found = find_sources(tmp_path / "videos", tmp_path / "out")
    assert [(problem.kind, problem.item) for problem in found.problems] == [("failed", "wave/closed")]
    assert found.ignored == {"folders without frames": 1}  # wave/empty


def test_names_that_the_locale_cannot_write_are_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under LC_ALL=C of an older Python, files are missing whose names look the same."""
    monkeypatch.setattr("sys.getfilesystemencoding", lambda: "ascii")
    assert find(tmp_path, "wave/001.mp4", "wave,002").notes == []
    (note,) = find(tmp_path, "wave/001.mp4", "n\xe9,001 n\xe9,002").notes
    assert "PYTHONUTF8=1" in note and "'n\\xe9'" in note


def test_empty_folders_are_not_compared_with_all_problems(tmp_path: Path) -> None:
    """With thousands of both, as of a download that failed, a run would stand still before it begins."""

    class Unwalked(list[Problem]):
        def __iter__(self) -> Iterator[Problem]:
            raise AssertionError

    (tmp_path / "empty").mkdir()
    (found,) = contents(tmp_path, tmp_path, Unwalked([Problem("failed", "a", "broken")]), "")
    assert (found.name, found.kind) == ("empty", PLAIN_FOLDER)
