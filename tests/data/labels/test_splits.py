"""From `--dataset` and `--labels` to videos, and what a user reads if labels and folders do not match."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from common.errors import DataError
from data.labels.class_order import read_class_index
from data.labels.dataset_spec import DatasetSpec
from data.labels.hints import hint_for_rows
from data.labels.label_row import LabelRow
from data.labels.locate import LabelFiles, find_label_files, find_val_labels
from data.labels.split_rows import Recordings, read_split_rows, read_val_rows
from data.labels.splits import Splits, load_splits, load_val
from data.labels.text import locale_hint
from data.store.frame_store import FrameStore
from tests.numbered import write_numbered_database
from tests.other_user import without_rights

SPEC = DatasetSpec("UCF101", "ucf101_split1_train.csv", "ucf101_split1_val.csv", 101, "ucf101_classes.txt")
TIMED = "label,youtube_id,time_start,time_end\n"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def sample_video(tmp_path_factory) -> Path:
    return write_numbered_database(tmp_path_factory.mktemp("sample") / "video", 4)


class Disk:
    """A dataset folder under construction."""

    def __init__(self, root: Path, sample_video: Path) -> None:
        self.root = root
        self.sample_video = sample_video
        root.mkdir(parents=True)

    def videos(self, *names: str, under: str = "jpg") -> "Disk":
        for name in names:
            shutil.copytree(self.sample_video, self.root / under / name)
        return self

    def files(self, *names: str, under: str = "jpg") -> "Disk":
        for name in names:
            write(self.root / under / name, "x")
        return self

    def labels(
        self, train: Iterable[str], val: Iterable[str], place: str = "labels", header: str = "label,id\n"
    ) -> "Disk":
        write(self.root / place / SPEC.train_labels, header + "".join(f"{row}\n" for row in train))
        write(self.root / place / SPEC.val_labels, header + "".join(f"{row}\n" for row in val))
        return self

    def load(self, dataset: Path | None = None, labels: Path | None = None) -> Splits:
        return load_splits(dataset or self.root, SPEC, labels)

    def error(self, dataset: Path | None = None, labels: Path | None = None) -> str:
        with pytest.raises(DataError) as error:
            self.load(dataset, labels)
        assert "\n" not in str(error.value), "an error is one line"
        return str(error.value)


@pytest.fixture
def disk(tmp_path, sample_video) -> Disk:
    return Disk(tmp_path / "above" / "data" / "UCF", sample_video)


@pytest.fixture
def whole(disk) -> Disk:
    """A dataset of two classes where nothing is missing."""
    disk.videos("wave/a", "wave/b", "playing_guitar/c", "wave/d", "playing_guitar/e")
    return disk.labels(["wave,a", "wave,b", "playing guitar,c"], ["wave,d", "playing guitar,e"])


def contents(splits: Splits) -> list[tuple[str, str]]:
    return [
        (videos.folder(i).name, videos.classes[videos.labels[i]])
        for videos in (splits.train, splits.val)
        for i in range(len(videos))
    ]


def said(splits: Splits, *words: str) -> bool:
    return any(all(word in line for word in words) for line in splits.report)


EVERYTHING = [("a", "wave"), ("b", "wave"), ("c", "playing guitar"), ("d", "wave"), ("e", "playing guitar")]


def test_every_labelled_video_is_found_first_and_last_included(whole):
    splits = whole.load()
    assert contents(splits) == EVERYTHING
    assert splits.train.classes == splits.val.classes == ("playing guitar", "wave")
    assert len(FrameStore(splits.val.folder(1))) == 4
    assert said(splits, "UCF101: 2 classes (a complete copy has 101), 3 train and 2 val videos")


def test_the_dataset_may_be_given_as_its_jpg_folder_with_slash_or_relative(whole, monkeypatch):
    monkeypatch.chdir(whole.root.parent)
    for dataset in ("UCF", "UCF/", "UCF/jpg", "UCF/jpg/", "./UCF", str(whole.root) + "/"):
        assert contents(whole.load(Path(dataset))) == EVERYTHING
    monkeypatch.chdir(whole.root)
    assert contents(whole.load(Path())) == EVERYTHING


@pytest.mark.parametrize("dataset", ["UCF", "UCF/jpg", "../data/UCF"])
def test_label_files_are_found_in_the_place_of_the_original(disk, monkeypatch, dataset):
    disk.videos("wave/a", "wave/b").labels(["wave,a"], ["wave,b"], place="../../labels")
    monkeypatch.chdir(disk.root.parent)
    assert contents(disk.load(Path(dataset))) == [("a", "wave"), ("b", "wave")]


def test_a_dataset_behind_a_link_finds_the_labels_beside_the_link(disk, tmp_path):
    disk.videos("wave/a", "wave/b")
    link = tmp_path / "project" / "data" / "UCF"
    link.parent.mkdir(parents=True)
    link.symlink_to(disk.root)
    disk.labels(["wave,a"], ["wave,b"], place=str(tmp_path / "project" / "labels"))
    assert contents(disk.load(link)) == [("a", "wave"), ("b", "wave")]


def test_the_flag_labels_comes_first_then_the_dataset_s_labels_then_the_original_place(whole, tmp_path):
    whole.labels(["wave,b"], ["wave,d"], place="../../labels")
    whole.labels(["wave,a"], ["wave,d"], place=str(tmp_path / "mine"))
    assert len(whole.load().train) == 3
    assert contents(whole.load(labels=tmp_path / "mine")) == [("a", "wave"), ("d", "wave")]


SINGLE = "label,id,split\nwave,a,train\nwave,d,validation\nplaying guitar,c,training\nplaying guitar,e,test\n"


def test_one_label_file_with_a_split_column_serves_both(whole, tmp_path):
    path = write(tmp_path / "mine.csv", SINGLE)
    splits = whole.load(labels=path)
    assert contents(splits) == [("a", "wave"), ("c", "playing guitar"), ("d", "wave")]
    assert said(splits, "1 test row", "not used")
    assert contents(whole.load(labels=path.parent)) == contents(splits), "the only CSV file of a folder"


def test_test_rows_validate_where_there_are_no_others(whole, tmp_path):
    splits = whole.load(labels=write(tmp_path / "mine.csv", "label,id,split\nwave,a,train\nwave,d,test\n"))
    assert contents(splits) == [("a", "wave"), ("d", "wave")]
    assert said(splits, "test rows are used for validation")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("label,id\nwave,a\n", ["line 2", "no split"]),
        ("label,id,split\nwave,a,train\nwave,d,\n", ["line 3", "no split"]),
        ("label,id,split\nwave,a,train\n", ["no val rows", "folder"]),
        ("label,id,split\nwave,a,val\n", ["no train rows"]),
    ],
)
def test_a_single_label_file_without_both_splits_is_an_error(whole, tmp_path, text, words):
    message = whole.error(labels=write(tmp_path / "mine.csv", text))
    assert all(word in message for word in ["mine.csv", *words])


def test_rows_of_another_split_in_a_file_are_left_out_and_reported(whole):
    write(whole.root / "labels" / SPEC.train_labels, SINGLE)
    splits = whole.load()
    assert contents(splits)[:2] == [("a", "wave"), ("c", "playing guitar")] and len(splits.train) == 2
    assert said(splits, SPEC.train_labels, "1 val", "1 test", "not used")


def test_a_val_file_of_test_rows_is_used_and_reported(whole):
    write(whole.root / "labels" / SPEC.val_labels, "label,id,split\nwave,d,testing\nplaying guitar,e,testing\n")
    splits = whole.load()
    assert len(splits.val) == 2 and said(splits, "2 test rows", "used for validation")


def test_a_train_file_that_holds_another_split_is_an_error(whole):
    write(whole.root / "labels" / SPEC.train_labels, "label,id,split\nwave,d,val\n")
    assert "says otherwise: 1 val" in whole.error()


def test_classes_are_those_of_both_files_in_the_order_of_their_names_as_written(disk):
    """Brackets, quotes and capitals count in the order: published weights were trained so."""
    classes = ["cook (not fish)", "cook a fish", "Yoga", "massaging person's head", "zumba"]
    disk.videos(*(f"{name}/v" for name in classes))
    splits = disk.labels([f"{name},v" for name in classes[:4]], ["zumba,v"]).load()
    assert splits.train.classes == ("Yoga", "cook (not fish)", "cook a fish", "massaging person's head", "zumba")
    assert splits.val.labels.tolist() == [4]
    assert said(splits, "no train video of 1 of the 5 classes: zumba")


def test_the_class_index_beside_the_labels_gives_the_order(whole):
    write(whole.root / "labels" / "ucf101_classes.txt", "\ufeffwave\r\nswim\r\n\r\nplaying guitar\r\n")
    splits = whole.load()
    assert splits.train.classes == ("wave", "playing guitar")
    assert splits.train.labels.tolist() == [0, 0, 1]
    assert contents(splits) == EVERYTHING


def test_without_the_class_index_the_order_is_sorted_which_is_reported(whole):
    assert said(whole.load(), "sorted", "no class index", "ucf101_classes.txt")


def test_a_class_that_the_index_lacks_is_an_error_that_names_it(whole):
    write(whole.root / "labels" / "ucf101_classes.txt", "Wave\nplaying guitar\n")
    message = whole.error()
    assert "(wave)" in message and "did you mean 'Wave'" in message and "ucf101_classes.txt" in message


def test_a_class_in_another_unicode_form_is_pointed_out_in_both(whole):
    """The names are printed alike, and the class seemed to be missing where it is."""
    form = r"did you mean '\xdcbung'\? \(they differ in their Unicode form: 'U\\u0308bung' and '\\xdcbung'\)"
    whole.videos("U\u0308bung/u").labels(["wave,a", "U\u0308bung,u"], ["wave,d"])
    write(whole.root / "labels" / "ucf101_classes.txt", "wave\n\xdcbung\n")
    assert re.search(form, whole.error())
    write(whole.root / "labels" / SPEC.val_labels, "label,id\nU\u0308bung,u\n")
    with pytest.raises(DataError, match=form):
        load_val(whole.root, SPEC, None, ["wave", "\xdcbung"])


@pytest.mark.parametrize(("text", "words"), [("a\nb\na\n", "'a' is on lines 1 and 3"), ("\n", "empty")])
def test_a_class_index_with_a_class_twice_or_none_is_an_error(tmp_path, text, words):
    with pytest.raises(DataError, match=words):
        read_class_index(write(tmp_path / "classes.txt", text))


def test_missing_videos_are_counted_and_the_first_named(whole):
    whole.labels(["wave,a", *(f"wave,gone{i}" for i in range(5)), "playing guitar,c"], ["wave,d"])
    splits = whole.load()
    assert contents(splits) == [("a", "wave"), ("c", "playing guitar"), ("d", "wave")]
    path = whole.root / "labels" / SPEC.train_labels
    assert said(splits, f"5 of 7 videos of the train labels {path} are not on disk", "wave/gone0", "and 2 more")
    assert not said(splits, "val labels", "not on disk")


def test_unusable_videos_are_left_out_and_named(whole):
    (whole.root / "jpg/wave/a/n_frames").write_text("0")
    (whole.root / "jpg/wave/d/frames.db").unlink()
    splits = whole.load()
    assert contents(splits) == [("b", "wave"), ("c", "playing guitar"), ("e", "playing guitar")]
    assert said(splits, "1 of 3 videos of the train labels", "cannot be used", "wave/a", "n_frames")
    assert said(splits, "1 of 2 videos of the val labels", "cannot be used", "wave/d", "frames.db")


def test_stray_folders_and_files_are_no_error(whole):
    whole.videos("stray/x", "wave/stray").files("readme.txt", "wave/notes.txt")
    assert contents(whole.load()) == EVERYTHING


def test_a_video_in_both_splits_is_reported(whole):
    whole.labels(["wave,a", "wave,b", "playing guitar,c"], ["wave,b", "playing guitar,e"])
    assert said(whole.load(), "in both the train and the val labels", "1 video, wave/b")


@pytest.mark.parametrize(
    ("train", "val", "told"),
    [
        ("wave,a,5,10", "wave,a,6,11", "wave/a 5-10 s and wave/a 6-11 s"),
        ("wave,a,5,10", "box,a,0,30", "wave/a 5-10 s and box/a 0-30 s"),
        ("wave,a,5,10", "box,a,5,10", "wave/a 5-10 s and box/a 5-10 s"),
        ("wave,a,,", "wave,a,6,11", "wave/a and wave/a 6-11 s"),
        ("wave,a,5,10", "wave,a,,", "wave/a 5-10 s and wave/a"),
        ("wave,a,5,10", "wave,a,10,15", None),
        ("wave,a,5,10", "wave,a,5,10", None),
        ("wave,a,,", "box,a,,", None),
    ],
)
def test_clips_of_one_video_that_overlap_in_time_in_both_splits_are_reported(tmp_path, train, val, told):
    """The same frames are trained and validated: the score is too good. What is the same clip has a line of its own."""
    files = LabelFiles(write(tmp_path / "t.csv", f"{TIMED}{train}\n"), write(tmp_path / "v.csv", f"{TIMED}{val}\n"))
    expected = f"1 video has clips in the train and the val labels that overlap in time: {told}"
    lines = [line for line in read_split_rows(files).report if "overlap" in line]
    assert lines == ([expected] if told else [])


def test_many_clips_of_one_video_are_compared_in_little_time(tmp_path):
    """A comparison of each with each would take hours. Only the last clip of the videos overlaps."""
    count = 20_000
    train = "".join(f"wave,a,{3 * i},{3 * i + 1}\n" for i in range(count))
    val = "".join(f"wave,a,{3 * i + 1},{3 * i + 2}\n" for i in range(count - 1)) + f"wave,a,{3 * count - 3},999999\n"
    files = LabelFiles(write(tmp_path / "t.csv", TIMED + train), write(tmp_path / "v.csv", TIMED + val))
    (line,) = read_split_rows(files).report[1:]
    assert line.endswith("wave/a 59997-59998 s and wave/a 59997-999999 s")


def test_rows_without_times_among_others_are_counted(tmp_path):
    """A row that lost its times is trained as the whole video, of hours instead of seconds."""
    rows = "".join(f"wave,v{i},{i},{i + 2},train\n" for i in range(6)) + "wave,x,,,train\nwave,y,9,11,val\n"
    path = write(tmp_path / "l.csv", "label,youtube_id,time_start,time_end,split\n" + rows)
    line = f"1 of 8 rows of {path} has no times: whole videos, not clips (line 8)"
    assert read_split_rows(LabelFiles(path, path)).report.count(line) == 1
    assert read_val_rows(path, path)[1].count(line) == 1
    train = write(tmp_path / "t.csv", TIMED + "wave,a,5,10\n")
    val = write(tmp_path / "v.csv", TIMED + "wave,b,5,10\nwave,c,,\nwave,d,,\n")
    line = f"2 of 3 rows of {val} have no times: whole videos, not clips (line 3, line 4)"
    assert read_split_rows(LabelFiles(train, val)).report[1:] == [line]
    assert read_val_rows(train, val)[1][1:] == [line]


def test_columns_that_are_not_read_are_named(tmp_path):
    """No list knows all names of times: a user sees that `Von` and `Bis` did not count, or a split called `fold`."""
    train = write(tmp_path / "t.csv", "label,id,fold,camera,Von,Bis\nwave,a,1,2,5,10\n")
    val = write(tmp_path / "v.csv", "label,id,\nwave,b,\n")
    line = f"{train}: not read: 4 columns (fold, camera, von, bis)"
    assert read_split_rows(LabelFiles(train, val)).report[1:] == [line]
    assert read_val_rows(None, train)[1].count(line) == 1


def test_a_class_that_is_spelled_in_two_ways_is_reported(disk):
    """They are two classes of the network, and each lacks the videos of the other."""
    disk.videos("Wave/a", "Wave/b", "wave/c", "box/d").labels(["Wave,a", "Wave,b", "box,d"], ["wave,c"])
    assert said(disk.load(), "'Wave' and 'wave'")


def test_an_id_in_two_classes_is_reported(disk):
    """The same video cannot be of both for a network with one class for each clip; 001 may be another in each class."""
    name = "dQw4w9WgXcQ"
    disk.videos(f"wave/{name}", "wave/001", f"box/{name}", "box/001", "box/c")
    disk.labels([f"wave,{name}", "wave,001", f"box,{name}", "box,001"], ["box,c"])
    splits = disk.load()
    assert said(splits, "1 id", f"{name} (wave and box)")
    assert contents(splits) == [
        (name, "wave"), ("001", "wave"), (name, "box"), ("001", "box"), ("c", "box")
    ]  # fmt: skip


def test_nothing_is_said_of_names_that_are_all_different(whole):
    """A line that is always there is not read."""
    assert not said(whole.load(), "two classes") and not said(whole.load(), "punctuation")


def test_names_that_are_too_long_are_clear_errors(whole, tmp_path):
    """`Path.exists` and the like raise for them."""
    long = tmp_path / ("x" * 300)
    for message in (whole.error(dataset=long), whole.error(labels=long)):
        assert str(long) in message and "too long" in message


def test_clips_of_train_and_val_with_the_same_whole_seconds_have_folders_of_their_own(disk):
    """The folder in whole seconds may hold the other one, as of a conversion with one label file."""
    disk.labels(["wave,a,1.0,3.0", "wave,b,1,3"], ["wave,a,1.5,3.5", "wave,c,1,3"], header=TIMED)
    disk.videos("wave/a_000001_000003", "wave/b_000001_000003", "wave/c_000001_000003")
    assert [name for name, _ in contents(disk.load())] == ["b_000001_000003", "c_000001_000003"]
    assert sum("a_000001_000003 may be of another clip" in line for line in disk.load().report) == 2
    disk.videos("wave/a_000001.000_000003.000", "wave/a_000001.500_000003.500")
    expected = ["a_000001.000_000003.000", "b_000001_000003", "a_000001.500_000003.500", "c_000001_000003"]
    assert [name for name, _ in contents(disk.load())] == expected


def test_an_evaluation_takes_no_clip_of_the_train_labels(disk):
    """It reads the val labels, and the folder in whole seconds may be of a train clip."""
    disk.labels(["wave,a,1.0,3.0"], ["wave,a,1.5,3.5", "wave,c,1,3"], header=TIMED)
    disk.videos("wave/a_000001_000003", "wave/c_000001_000003")
    names = {"wave": 0}
    for classes in (None, names):
        videos, report = load_val(disk.root, SPEC, None, classes)
        assert [videos.folder(index).name for index in range(len(videos))] == ["c_000001_000003"]
        assert any("may be of another clip" in line for line in report)
    (disk.root / "labels" / SPEC.train_labels).write_text("label,id\nwave\n")
    report = load_val(disk.root, SPEC, None, names)[1]
    assert any("were not compared" in line for line in report), "train labels that cannot be read are told"
    (disk.root / "labels" / SPEC.train_labels).unlink()
    disk.videos("wave/a_000001.500_000003.500")
    videos, _ = load_val(disk.root, SPEC, None, names)
    found = [videos.folder(index).name for index in range(len(videos))]
    assert found == ["a_000001.500_000003.500", "c_000001_000003"], "its own folder, without the train labels"


def test_a_folder_that_is_named_with_a_suffix_of_videos_is_found_as_before(disk):
    """Frame folders such as a.mp4/ are converted to folders of that name, and label files name them so."""
    disk.videos("wave/a.mp4", "wave/b").labels(["wave,a.mp4"], ["wave,x/b.avi"])
    assert contents(disk.load()) == [("a.mp4", "wave"), ("b", "wave")]


def test_two_files_of_one_name_in_train_and_val_are_an_error_that_names_both(disk):
    disk.videos("wave/1").labels(["wave,a/1.mp4"], ["wave,b/1.mp4"])
    message = disk.error()
    assert "'a/1.mp4'" in message and "'b/1.mp4'" in message and "data.prepare.folder" in message


def test_overlaps_of_frames_and_of_files_with_one_name_are_told(tmp_path):
    train, val = tmp_path / "t.csv", tmp_path / "v.csv"
    header = "label,path,start_frame,end_frame\n"
    train.write_text(header + "wave,x/1.mp4,0,10\nbox,y/1.mp4,0,10\nwave,2,0,10\nwave,3,0,10\nwave,4,,\n")
    val.write_text(header + "box,x/1.mp4,9,20\nwave,y/1.mp4,10,20\nwave,2,10,20\nwave,3,,\nwave,4,5,6\n")
    line = read_split_rows(LabelFiles(train, val)).report[-1]
    assert line.startswith("3 videos have") and "wave/1 frames 0-10 and box/1 frames 9-20" in line


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("jump/a2X2hz1G6i8.mp4", "run/a2X2hz1G6i8.mp4", True),  # an id of YouTube
        ("jump/001.mp4", "/data/v/jump/001.mp4", True),
        ("jump/001.mp4", "jump/001", True),
        ("jump_high/001.mp4", "jump high/001.mp4", True),
        ("jump/001.mp4", "run/001.mp4", False),
        ("jump/001.mp4", "/data/v/run/001.mp4", False),
        ("jump/video_00004.mp4", "run/video_00004.mp4", False),  # looks like an id of YouTube
        ("v/c 1.mp4", "w/c_1.mp4", False),
    ],
)
def test_rows_of_one_recording_are_known_by_paths_and_ids(tmp_path, one, other, is_same):
    """Clips of one recording would be neighbours, and their overlap would not be told; or those of two are mixed up."""
    train, val = tmp_path / "t.csv", tmp_path / "v.csv"
    others = "wave,x/video_00001.mp4,0,1\nwave,x/video_00002.mp4,0,1\n" if "video_" in one else ""
    train.write_text(f"label,path,start,end\nwave,{one},0,5\n{others}")
    val.write_text(f"label,path,start,end\nbox,{other},4,6\n")
    rows = read_split_rows(LabelFiles(train, val))
    recording = Recordings([*rows.train, *rows.val])
    assert (recording(rows.train[0]) == recording(rows.val[0])) == is_same
    assert any("overlap" in line for line in rows.report) == is_same


def test_names_that_are_not_ascii_are_found(disk):
    disk.videos("Übung/クリップ", "Übung/ü#1")
    assert contents(disk.labels(["Übung,クリップ"], ["Übung,ü#1"]).load()) == [("クリップ", "Übung"), ("ü#1", "Übung")]


# What is missing.


def test_without_label_files_the_error_says_where_it_looked_and_what_is_there(disk):
    disk.videos("wave/a")
    write(disk.root / "labels" / "kinetics-400_train.csv", "label,id\nwave,a\n")
    message = disk.error()
    for word in (SPEC.train_labels, SPEC.val_labels, "kinetics-400_train.csv", "data.prepare.labels", "--labels"):
        assert word in message
    assert str(disk.root / "labels") in message
    assert f"{disk.root.parent.parent / 'labels'} does not exist" in message


def test_one_label_file_of_two_is_an_error_that_names_the_other(whole):
    (whole.root / "labels" / SPEC.val_labels).unlink()
    assert f"{SPEC.val_labels} is not beside it" in whole.error()


def test_labels_that_do_not_exist_are_named(whole, tmp_path):
    assert str(tmp_path / "no.csv") in whole.error(labels=tmp_path / "no.csv")


def test_only_the_dataset_s_own_labels_folder_may_have_another_file_name(disk):
    """A lone CSV file in the shared place may be another dataset's."""
    disk.videos("wave/a", "wave/d")
    path = write(disk.root.parent.parent / "labels" / "other.csv", SINGLE)
    with pytest.raises(DataError, match="no label files of UCF101"):
        find_label_files(disk.root, SPEC)
    shutil.copytree(path.parent, disk.root / "labels")
    assert find_label_files(disk.root, SPEC).train == disk.root / "labels" / "other.csv"


def test_a_class_without_any_video_is_an_error_that_names_it(whole):
    whole.labels(["wave,a", "juggling,j", "juggling,k"], ["wave,d"])
    message = whole.error()
    assert "1 class" in message and "'juggling'" in message and str(whole.root / "jpg/juggling") in message
    whole.labels(["wave,a", "juggling,j"], ["wave,d", *(f"class {i},x" for i in range(9))])
    message = whole.error()
    assert "10 classes" in message and "'class 0'" in message and "7 more" in message
    assert str(whole.root / "jpg/class 0") in message and "data.prepare.convert" in message


def test_a_class_whose_videos_are_all_unusable_is_an_error(whole):
    for name in "ce":
        (whole.root / "jpg/playing_guitar" / name / "n_frames").write_text("0")
    message = whole.error()
    assert "'playing guitar'" in message and str(whole.root / "jpg/playing_guitar") in message


def test_a_misspelled_class_folder_is_pointed_out(whole):
    (whole.root / "jpg/playing_guitar").rename(whole.root / "jpg/PlayingGuitar")
    assert "'PlayingGuitar'" in whole.error()


@pytest.mark.parametrize(
    ("given", "build", "words"),
    [
        ("../UFC", lambda d: d.videos("wave/a"), ["does not exist", "/UCF?"]),
        ("no/such/place", lambda d: d.videos("wave/a"), ["does not exist", "UCF holds 1 name (jpg)"]),
        ("labels/ucf101_split1_train.csv", lambda d: d.labels([], []), ["is a file"]),
        ("", lambda d: d.videos("wave/a", under="."), ["no folder jpg", "move", "UCF/wave"]),
        ("", lambda d: d.videos("wave/a", under="inner/jpg"), ["no folder jpg", "one level deeper", "UCF/inner"]),
        ("jpg/wave", lambda d: d.videos("wave/a"), ["no folder jpg", "inside", "give ROOT"]),
        ("jpg/wave/a", lambda d: d.videos("wave/a"), ["no folder jpg", "inside", "give ROOT"]),
        ("", lambda d: d.files("wave/a.avi", under="."), ["no folder jpg", "UCF/wave/a.avi", "data.prepare.convert"]),
        ("", lambda d: d.files("a.MP4", under="."), ["no folder jpg", "UCF/a.MP4", "data.prepare.convert"]),
        ("", lambda d: d.files("x.txt", under="."), ["no folder jpg", "1 name (x.txt)"]),
        ("", lambda d: d, ["no folder jpg", "nothing"]),
    ],
)
def test_the_error_for_a_folder_without_a_dataset_says_what_it_is_instead(disk, given, build, words):
    build(disk)
    message = disk.error(disk.root / given)
    for word in words:
        assert word.replace("ROOT", str(disk.root)) in message


IDS = ["wave,a", "wave,b", "playing guitar,c"]
CLIPS = ["wave,a,1,11", "wave,-b,84.0,94.0"]
CONVERT = "data.prepare.convert"


@pytest.mark.parametrize(
    ("train", "build", "there", "hints"),
    [
        (IDS, lambda d: (d.root / "jpg").mkdir(), "jpg holds nothing", [CONVERT]),
        (["wave," + 300 * "x"], lambda d: d.videos("wave/a"), "wave holds 1 name (a)", ["labels of another"]),
        (IDS, lambda d: d.files("a.avi", "b.avi"), "jpg holds 2 names (a.avi, b.avi)", ["jpg/a.avi", CONVERT]),
        (IDS, lambda d: d.files("wave/a.avi"), "wave holds 1 name (a.avi)", ["jpg/wave/a.avi", CONVERT]),
        (IDS, lambda d: d.files("wave/a/img_00001.jpg"), "no frames.db", ["jpg/wave/a/img_00001.jpg", CONVERT]),
        (IDS, lambda d: d.videos("train/wave/a"), "jpg holds 1 name (train)", ["jpg/train", "move", "level"]),
        (IDS, lambda d: d.videos("Wave/a"), "(Wave)", ["'Wave'", "'wave'", "rename"]),
        (IDS, lambda d: d.videos("Playing-Guitar/c"), "(Playing-Guitar)", ["'playing guitar'", "rename"]),
        (IDS, lambda d: d.videos("a", "b"), "2 names (a, b)", ["jpg/a", "folders named after their classes"]),
        (IDS, lambda d: d.videos("BMX/x", "Box/y"), "2 names (BMX, Box)", ["another dataset"]),
        (IDS, lambda d: d.videos("wave/x", "wave/y"), "2 names (x, y)", ["another split or version"]),
        (IDS, lambda d: d.videos("wave/a_000001_000011"), "1 name", ["wave/a_000001_000011", "time_start", "time_end"]),
        (IDS, lambda d: d.videos("wave/v_a"), "(v_a)", ["wave/v_a", "write the ids"]),
        (["wave,a.xyz"], lambda d: d.videos("wave/v_a.xyz"), "(v_a.xyz)", ["wave/v_a.xyz", "write the ids"]),
        (CLIPS, lambda d: d.videos("wave/a"), "1 name (a)", ["wave/a", "no times", "convert with the label file"]),
        (CLIPS, lambda d: d.videos("wave/v_-b"), "1 name (v_-b)", ["wave/v_-b", "no times"]),
        (CLIPS, lambda d: d.videos("wave/a_1_11"), "(a_1_11)", ["wave/a_1_11", "digits", "a_000001_000011"]),
        (CLIPS, lambda d: d.files("wave/v_a.mp4"), "(v_a.mp4)", ["wave/v_a.mp4", CONVERT]),
        (CLIPS, lambda d: d.files("wave/a_000001_000011.mp4"), "1 name", ["wave/a_000001_000011.mp4", CONVERT]),
    ],
)
def test_the_error_when_no_video_is_found_says_where_it_looked_what_is_there_and_why(disk, train, build, there, hints):
    """This is what users ask most."""
    build(disk)
    disk.labels(train, train[:1], header=TIMED if train is CLIPS else "label,id\n")
    message = disk.error()
    name = "a_000001_000011" if train is CLIPS else train[0].split(",")[1]
    videos = f"{len(train)} video{'s' if len(train) > 1 else ''}"
    assert f"{videos} of the train labels {disk.root / 'labels' / SPEC.train_labels}" in message
    facts, _, advice = message.partition(" Hint: ")
    assert f"looked for {disk.root / 'jpg' / 'wave' / name / 'frames.db'}" in facts and there in facts
    for hint in hints:
        assert hint in advice


def test_ids_that_end_in_numbers_are_not_taken_for_times(disk):
    """`clip_1` and `clip_1_3` are two videos; the hint must not ask for columns with times."""
    disk.videos("wave/clip_1_3")
    assert "time_start" not in disk.labels(["wave,clip_1_2"], ["wave,clip_1_4"]).error()


def test_a_val_split_without_videos_is_an_error_of_its_own(whole):
    whole.labels(["wave,a", "playing guitar,c"], ["wave,x"])
    message = whole.error()
    assert "val labels" in message and "wave/x" in message


def test_a_split_that_is_mostly_missing_gets_the_hint_too(disk):
    disk.videos("wave/a", "wave/b_000001_000002", "wave/c_000001_000002", "wave/d")
    splits = disk.labels(["wave,a", "wave,b", "wave,c"], ["wave,d"]).load()
    assert said(splits, "2 of 3 videos", "Hint", "time_start")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission_is_named(whole):
    (whole.root / "jpg" / "wave").chmod(0)
    try:
        assert "Permission denied" in whole.error()
    finally:
        (whole.root / "jpg" / "wave").chmod(0o755)


def test_an_evaluation_needs_the_val_videos_and_labels_alone(disk):
    """Who evaluates has often not downloaded the training videos."""
    disk.videos("wave/v1", "playing guitar/v2")
    val = write(disk.root / "labels" / SPEC.val_labels, "label,id\nwave,v1\nplaying guitar,v2\n")
    for labels in (None, val, val.parent):
        videos, _ = load_val(disk.root, SPEC, labels)
        assert videos.classes == ("playing guitar", "wave")
        assert [videos.folder(i).name for i in range(len(videos))] == ["v1", "v2"]
        assert videos.labels.tolist() == [1, 0]


def test_an_evaluation_takes_the_class_order_of_the_network(disk):
    """A class without val videos must not shift the rows of the classifier."""
    disk.videos("wave/v1")
    write(disk.root / "labels" / SPEC.val_labels, "label,id\nwave,v1\n")
    videos, report = load_val(disk.root, SPEC, None, ["zoom", "wave", "abseil"])
    assert videos.classes == ("zoom", "wave", "abseil") and videos.labels.tolist() == [1]
    assert any("2 of the 3 classes" in line for line in report)
    with pytest.raises(DataError, match=r"\(wave\).* 2 .*'waves'") as error:
        load_val(disk.root, SPEC, None, ["waves", "abseil"])
    assert SPEC.val_labels in str(error.value)


def test_an_evaluation_takes_the_classes_of_the_train_labels_too_if_no_network_names_them(whole):
    videos, _ = load_val(whole.root, SPEC)
    assert videos.classes == whole.load().val.classes
    assert videos.digest() == whole.load().val.digest()


@pytest.mark.parametrize(("split", "ids"), [("train,val", ["v2"]), ("train,test", ["v2"]), ("train,train", None)])
def test_an_evaluation_takes_val_rows_and_else_test_rows_of_one_file(disk, split, ids):
    disk.videos("wave/v1", "wave/v2")
    one, two = split.split(",")
    labels = write(disk.root / "all.csv", f"label,id,split\nwave,v1,{one}\nwave,v2,{two}\n")
    if ids is None:
        with pytest.raises(DataError, match=r"all\.csv"):
            load_val(disk.root, SPEC, labels)
        return
    videos, _ = load_val(disk.root, SPEC, labels)
    assert [videos.folder(i).name for i in range(len(videos))] == ids


def test_an_evaluation_refuses_a_single_file_with_and_without_splits_as_training_does(disk):
    """Rows that lost their split were trained on, or not: scored as val videos they change the result in silence."""
    disk.videos("wave/v1", "wave/v2", "wave/v3")
    labels = write(disk.root / "all.csv", "label,id,split\nwave,v1,train\nwave,v2,\nwave,v3,val\n")
    for load in (load_splits, load_val):
        with pytest.raises(DataError, match=r"all\.csv, line 3: no split"):
            load(disk.root, SPEC, labels)


def test_an_evaluation_says_what_training_says_of_the_same_labels(whole):
    """A video in both splits, unused rows, an id in two classes: what a score is worth depends on them."""
    name = "dQw4w9WgXcQ"
    rows = f"wave,a,train\nwave,d,val\nwave,d,train\nwave,b,test\nwave,{name},val\nplaying guitar,e,val\n"
    rows += f"playing guitar,{name},val\n"
    whole.videos(f"wave/{name}", f"playing guitar/{name}")
    labels = write(whole.root / "all.csv", f"label,id,split\n{rows}")
    training, (_, evaluation) = load_splits(whole.root, SPEC, labels).report, load_val(whole.root, SPEC, labels)
    for words in ("in both the train and the val labels: 1 video", "1 test rows", "1 id of the labels is in two"):
        assert [line for line in training if words in line] == [line for line in evaluation if words in line] != []
    val = write(whole.root / "labels" / SPEC.val_labels, "label,id,split\nwave,d,val\nplaying guitar,e,train\n")
    assert f"{val} is the val label file: its 1 train rows are not used" in load_val(whole.root, SPEC)[1]
    write(val, "label,id,split\nwave,d,train\n")
    with pytest.raises(DataError, match="is the val label file, but the column split of its rows says otherwise"):
        load_val(whole.root, SPEC)


@pytest.mark.parametrize(
    ("first", "second", "taken"),
    [
        (["mine.csv"], [SPEC.train_labels, SPEC.val_labels], "first/mine.csv"),
        (["mine.csv"], [SPEC.val_labels], "first/mine.csv"),
        ([SPEC.train_labels], [SPEC.train_labels, SPEC.val_labels], "is not beside it"),
        ([SPEC.val_labels], [SPEC.train_labels, SPEC.val_labels], f"first/{SPEC.val_labels}"),
        ([SPEC.train_labels, SPEC.val_labels], ["mine.csv"], f"first/{SPEC.val_labels}"),
        ([SPEC.val_labels, "mine.csv"], [], f"first/{SPEC.val_labels}"),
        (["my_train.csv"], [SPEC.train_labels, SPEC.val_labels], f"second/{SPEC.val_labels}"),
        (["mine.csv", "more.csv"], [SPEC.val_labels], f"second/{SPEC.val_labels}"),
        ([], [SPEC.train_labels, SPEC.val_labels], f"second/{SPEC.val_labels}"),
        ([], [SPEC.train_labels], "is not beside it"),
        ([], ["mine.csv"], "no label files of UCF101"),
    ],
)
def test_an_evaluation_searches_for_labels_in_the_places_and_the_order_of_training(disk, first, second, taken):
    """Else the score is that of videos that the network was trained on."""
    places = {"first": disk.root / "labels", "second": disk.root.parent.parent / "labels"}
    for place, names in (("first", first), ("second", second)):
        for name in names:
            write(places[place] / name, SINGLE)
    place, _, name = taken.partition("/")
    if not name:
        for find in (find_label_files, find_val_labels):
            with pytest.raises(DataError, match=taken):
                find(disk.root, SPEC)
        return
    train, val = find_val_labels(disk.root, SPEC)
    assert val == places[place] / name
    if train is not None:  # training needs both
        assert find_label_files(disk.root, SPEC) == (train, val)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([SPEC.train_labels], [SPEC.train_labels, f"{SPEC.val_labels} is not beside it"]),
        (["my_train.csv"], [SPEC.val_labels, "PLACE holds 1 CSV file (my_train.csv)", "--labels"]),
        (["a.csv", "b.csv"], [SPEC.val_labels, "PLACE holds 2 CSV files (a.csv, b.csv)", "--labels"]),
        ([], ["PLACE: no such label file or folder"]),
    ],
)
def test_an_evaluation_with_a_folder_without_val_labels_says_what_it_holds(whole, tmp_path, names, words):
    """The labels in the usual places are those of other videos."""
    place = tmp_path / "mine"
    for name in names:
        write(place / name, SINGLE)
    with pytest.raises(DataError) as error:
        load_val(whole.root, SPEC, place)
    for word in words:
        assert word.replace("PLACE", str(place)) in str(error.value)


def test_an_evaluation_with_a_folder_of_one_label_file_takes_its_val_rows(whole, tmp_path):
    write(tmp_path / "mine" / "all.csv", "label,id,split\nwave,a,train\nwave,b,val\n")
    write(whole.root / "labels" / "mine.csv", SINGLE)
    videos, _ = load_val(whole.root, SPEC, tmp_path / "mine")
    assert [videos.folder(i).name for i in range(len(videos))] == ["b"]


def test_accents_that_are_encoded_in_another_way_are_pointed_out(whole):
    """Macs take accents apart; the two names look the same in the message."""
    whole.videos("wave/re\u0301sume\u0301").labels(["wave,r\u00e9sum\u00e9", "wave,a"], ["wave,d", "playing guitar,e"])
    message = "\n".join(whole.load().report)
    assert r"holds 're\u0301sume\u0301', and the labels 'r\xe9sum\xe9': the accents are encoded in two ways" in message


def test_what_macos_writes_beside_a_label_file_is_none(whole, tmp_path):
    """On exFAT and SMB each file has such a companion: the only label file of the folder was not found."""
    labels = write(tmp_path / "mine" / "all.csv", SINGLE)
    (tmp_path / "mine" / "._all.csv").write_bytes(b"\0\5\x16\7\xff")
    assert find_label_files(whole.root, SPEC, labels.parent) == (labels, labels)


@pytest.mark.parametrize("others", [[], ["wave,a", "wave,b"]])
def test_a_video_folder_with_spaces_at_its_ends_is_pointed_out(whole, others):
    """A label file cannot name it, and the names look alike in the message."""
    whole.videos("wave/f ").labels(["wave,f", *others], ["wave,d", "playing guitar,e"])
    message = "\n".join(whole.load().report) if others else whole.error()
    assert "'f '" in message and "spaces at the ends are ignored" in message and "rename it to 'f'" in message


def test_a_video_in_two_folders_of_its_class_is_in_the_log(whole):
    whole.videos("playing guitar/c", "playing guitar/e")
    assert said(whole.load(), "2 videos in several folders", "playing guitar/c is read, not that in playing_guitar")
    assert any("playing guitar/e is read" in line for line in load_val(whole.root, SPEC)[1])


@pytest.mark.parametrize(
    ("mode", "given", "words"),
    [
        (0o311, "UFC", ["UFC does not exist", "folder ABOVE cannot be listed: Permission denied"]),
        (0o600, "UCF", ["UCF: Permission denied", "may not enter the folder ABOVE"]),
    ],
)
def test_a_folder_above_without_permission_is_named(sample_video, mode, given, words):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        above = Path(folder, "data")
        Disk(above / "UCF", sample_video).videos("wave/a")
        above.chmod(mode)
        try:
            with without_rights(), pytest.raises(DataError) as error:
                load_splits(above / given, SPEC)
        finally:
            above.chmod(0o755)
    for word in words:
        assert word.replace("ABOVE", str(above)) in str(error.value)


def test_class_names_that_the_locale_cannot_write_are_explained(monkeypatch):
    """The same names were both in the labels and in jpg: "are the labels of another dataset?"."""
    assert locale_hint(["n\xe9"]) == ""
    monkeypatch.setattr("sys.getfilesystemencoding", lambda: "ascii")
    assert locale_hint(["wave"]) == ""
    assert "ascii" in locale_hint(["wave", "n\xe9"]) and "PYTHONUTF8=1" in locale_hint(["n\xe9"])
    row = LabelRow("n\xe9", "v", "val", "v", None, None, 0)
    assert "PYTHONUTF8=1" in hint_for_rows([row], None)
