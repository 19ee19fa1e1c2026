"""The search for videos: if this fails, videos that are on disk are missed, or get the class of another."""

import os
import shutil

import pytest

from common.errors import DataError
from data.labels.class_folders import ClassFolders, find_videos, in_threads, list_folders
from data.labels.label_file import LabelRow
from data.labels.video_list import pack
from data.store.frame_store import FrameStore
from tests.numbered import write_numbered_database
from tests.other_user import without_rights


def rows_of(*names: str) -> list[LabelRow]:
    """Rows of "class/id" names."""
    return [LabelRow(label, name, "", name, None, None, 0) for label, name in (text.split("/") for text in names)]


def test_class_folders_may_have_underscores_for_spaces_and_several_spellings(tmp_path):
    for folder in ("playing_guitar/a", "playing guitar/b", "brush hair/c", "stray/d"):
        write_numbered_database(tmp_path / folder, 2)
    folders = ClassFolders(tmp_path, ["playing guitar", "brush_hair"])
    found = find_videos(folders, rows_of("playing guitar/a", "playing guitar/b", "brush_hair/c", "playing guitar/d"))
    assert [video and video.class_folder for video in found] == ["playing_guitar", "playing guitar", "brush hair", None]


def test_the_folder_spelled_as_the_label_is_preferred(tmp_path):
    for folder in ("playing_guitar/a", "playing guitar/a"):
        write_numbered_database(tmp_path / folder, 2)
    (video,) = find_videos(ClassFolders(tmp_path, ["playing guitar"]), rows_of("playing guitar/a"))
    assert video.class_folder == "playing guitar"


def test_a_video_in_two_folders_of_its_class_is_said(tmp_path):
    """The old folder may be the one that is read."""
    for folder in ("wave hand/a", "wave hand/b", "wave_hand/b", "wave_hand/c", "box/b"):
        write_numbered_database(tmp_path / folder, 2)
    rows = rows_of("wave hand/a", "wave hand/b", "wave hand/c", "box/b")
    (line,) = ClassFolders(tmp_path, ["wave hand", "box"]).twice(rows)
    assert line == "1 video in several folders of the class: wave hand/b is read, not that in wave_hand"
    assert not ClassFolders(tmp_path, ["wave hand", "box"]).twice(rows[:1])


def test_two_classes_that_would_share_a_folder_are_an_error(tmp_path):
    with pytest.raises(DataError, match=r"'brush hair' and 'brush_hair'"):
        ClassFolders(tmp_path, ["brush hair", "brush_hair"])


def test_classes_that_look_alike_are_told_apart(tmp_path):
    """Two Unicode forms of a name are printed alike: the message seemed to name one class twice."""
    with pytest.raises(DataError, match=r"Unicode form: '\\xdcbung' and 'U\\u0308bung'\) of the labels would share"):
        ClassFolders(tmp_path, ["\xdcbung", "U\u0308bung"])
    with pytest.raises(DataError, match="'U\u0308_1' and '\xdc 1' of the labels would share"):
        ClassFolders(tmp_path, ["U\u0308_1", "\xdc 1"])


def test_accents_composed_or_not_are_one_class(tmp_path):
    """macOS writes folder names with combining accents, label files have composed ones."""
    write_numbered_database(tmp_path / "U\u0308bung" / "a", 2)
    (video,) = find_videos(ClassFolders(tmp_path, ["Übung"]), rows_of("Übung/a"))
    assert video.frames == 2


@pytest.mark.parametrize(
    ("spoil", "frames", "problem"),
    [
        (lambda v: None, 4, ""),
        (lambda v: (v / "n_frames").write_text(" 7\n"), 7, ""),
        (lambda v: (v / "n_frames").unlink(), 4, ""),
        (lambda v: (v / "n_frames").write_text("0"), 0, "n_frames"),
        (lambda v: (v / "n_frames").write_text("-3"), 0, "n_frames"),
        (lambda v: (v / "n_frames").write_text("99999999999"), 0, "n_frames"),
        (lambda v: (v / "n_frames").write_text(""), 0, "n_frames"),
        (lambda v: (v / "n_frames").write_text("many"), 0, "'many'"),
        (lambda v: (v / "n_frames").write_text("1_5"), 0, "'1_5'"),
        (lambda v: (v / "frames.db").unlink(), 0, "no frames.db"),
        (lambda v: ((v / "n_frames").unlink(), (v / "frames.db").write_bytes(b"x" * 5000)), 0, "cannot be counted"),
        (lambda v: ((v / "n_frames").unlink(), (v / "n_frames").mkdir()), 0, "n_frames"),
        (lambda v: (shutil.rmtree(v), v.write_text("a file")), 0, "no frames.db"),
        (lambda v: ((v / "n_frames").unlink(), os.mkfifo(v / "n_frames")), 0, "plain file"),
        (lambda v: ((v / "n_frames").unlink(), (v / "n_frames").symlink_to("/dev/zero")), 0, "plain file"),
        (lambda v: (v / "n_frames").write_text("9" * 5000), 0, "n_frames"),
        (lambda v: ((v / "frames.db").unlink(), (v / "frames.db").symlink_to("gone")), 0, "link to nothing"),
        (lambda v: ((v / "frames.db").unlink(), (v / "frames.db").symlink_to("frames.db")), 0, "symbolic links"),
        (lambda v: (shutil.rmtree(v), v.symlink_to(v)), 0, "symbolic links"),
    ],
)
def test_the_number_of_frames_or_what_is_wrong_with_the_video(tmp_path, spoil, frames, problem):
    folder = write_numbered_database(tmp_path / "wave" / "a?b#c%20", 4)
    spoil(folder)
    (video,) = find_videos(ClassFolders(tmp_path, ["wave"]), rows_of("wave/a?b#c%20"))
    assert video.frames == frames
    assert problem in video.problem and bool(video.problem) == bool(problem)


def test_a_folder_without_permission_is_said_to_be_that(tmp_path):
    folder = write_numbered_database(tmp_path / "wave" / "a", 4)
    for parent in folder.parents[:5]:
        if parent.owner() == folder.owner():
            parent.chmod(0o755)
    folder.chmod(0o444)
    try:
        with without_rights():
            (video,) = find_videos(ClassFolders(tmp_path, ["wave"]), rows_of("wave/a"))
    finally:
        folder.chmod(0o755)
    assert video.frames == 0 and "Permission denied" in video.problem


def test_a_link_to_itself_among_the_classes_or_videos_costs_nothing_else(tmp_path):
    write_numbered_database(tmp_path / "wave" / "a", 4)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "wave" / "loop").symlink_to(tmp_path / "wave" / "loop")
    folders = ClassFolders(tmp_path, ["wave"])
    assert folders.present == ["wave"] and list_folders(tmp_path / "wave") == ["a"]
    found = find_videos(folders, rows_of("wave/a", "wave/loop"))
    assert [video.frames for video in found] == [4, 0]


def test_counting_leaves_nothing_beside_the_database(tmp_path):
    folder = write_numbered_database(tmp_path / "wave" / "a", 4)
    (folder / "n_frames").unlink()
    find_videos(ClassFolders(tmp_path, ["wave"]), rows_of("wave/a"))
    assert [path.name for path in folder.iterdir()] == ["frames.db"]


def test_many_videos_stay_in_the_order_of_their_rows(tmp_path):
    """Threads read chunks of videos: in another order, videos would have the labels of others."""
    names = [f"v{i}" for i in range(700)]
    for i, name in enumerate(names):
        folder = tmp_path / "wave" / name
        folder.mkdir(parents=True)
        (folder / "frames.db").touch()
        (folder / "n_frames").write_text(str(i + 1))
    found = find_videos(ClassFolders(tmp_path, ["wave"]), rows_of(*(f"wave/{name}" for name in reversed(names))))
    assert [video.frames for video in found] == list(range(700, 0, -1))


def test_a_folder_that_cannot_be_listed_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        ClassFolders(tmp_path / "nowhere", ["wave"])


def test_an_error_in_a_thread_reaches_the_caller():
    def fail(item: int) -> int:
        raise DataError(f"item {item}")

    with pytest.raises(DataError, match="item 1"):
        list(in_threads("things", fail, [1]))


def test_the_list_and_the_frame_store_agree_on_the_folder(tmp_path):
    write_numbered_database(tmp_path / "wave" / "-a!(1)+", 3)
    (video,) = find_videos(ClassFolders(tmp_path, ["wave"]), rows_of("wave/-a!(1)+"))
    assert len(FrameStore(pack(tmp_path, ("wave",), [(0, video)]).folder(0))) == 3
