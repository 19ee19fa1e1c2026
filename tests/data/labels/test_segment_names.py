"""Clips that are equal in whole seconds: each has a folder of its own, and it is the same for every command."""

import itertools
from pathlib import Path

import pytest

from common.errors import DataError
from data.labels.label_file import read_beside, read_labels, read_labels_and_notes, read_together
from data.labels.segment_names import names_of_folder

TIMED = "label,youtube_id,time_start,time_end,split\n"
A, B, C = "wave,a,12.5,12.9,train", "wave,a,12.1,12.4,val", "wave,a,12,13.0,train"
ALONE = ["box,a,12.5,12.9,train", "wave,b,12.5,12.9,train", "wave,a,13.5,13.9,train"]
SHORT = "a_000012.500_000012.900", "a_000012.100_000012.400"


@pytest.fixture
def write(tmp_path):
    def file(name: str, *rows: str, header: str = TIMED) -> Path:
        path = tmp_path / f"{name}.csv"
        path.write_text(header + "".join(f"{row}\n" for row in rows))
        return path

    return file


def names(rows) -> list[str]:
    return [row.video_id for row in rows]


def test_only_clips_with_one_name_get_milliseconds(write):
    """The folders of datasets that exist have the others' names."""
    rows, notes = read_labels_and_notes(write("x", A, *ALONE, B, C))
    assert names(rows) == [
        SHORT[0], "a_000012_000012", "b_000012_000012", "a_000013_000013", SHORT[1], "a_000012_000013",
    ]  # fmt: skip
    assert [(row.time_start, row.time_end) for row in rows[:1]] == [(12.5, 12.9)]
    assert sum("milliseconds" in note and SHORT[0] in note for note in notes) == 1


@pytest.mark.parametrize("order", itertools.permutations(range(3)))
def test_all_files_decide_together_in_any_order(write, order):
    """train.csv and val.csv are read together by training, and in any order by convert and verify."""
    paths = [write("train", A, *ALONE), write("val", B), write("test", C)]
    expected = [[SHORT[0], *("a_000012_000012", "b_000012_000012", "a_000013_000013")], [SHORT[1]], ["a_000012_000013"]]
    read = read_together([paths[place] for place in order])
    assert [names(each.rows) for each in read] == [expected[place] for place in order]


def test_a_clip_that_two_files_of_one_name_share_with_a_third(write):
    """Names in milliseconds of one file are those that the others' rows must have."""
    together = read_together([write("one", A, B), write("two", "wave,a,12.2,12.3,train"), write("three", A)])
    assert [names(each.rows) for each in together] == [list(SHORT), ["a_000012.200_000012.300"], [SHORT[0]]]


def test_rows_of_one_file_are_named_as_beside_the_other(write):
    val, train = write("val", B, "wave,c,1,2,val"), write("train", A, *ALONE)
    assert names(read_beside(val, train).rows) == [SHORT[1], "c_000001_000002"]
    assert names(read_beside(val, write("none", *ALONE)).rows) == ["a_000012_000012", "c_000001_000002"]


def test_the_rest_of_a_millisecond_is_cut_off_as_of_a_second(write):
    """In binary, 1000 times 12.001 is less than 12001; a rounded end would be that of another clip."""
    rows = read_labels(write("x", "wave,a,12.001,12.0029999,train", "wave,a,12.5,12.9999,train"))
    assert names(rows) == ["a_000012.001_000012.002", "a_000012.500_000012.999"]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([A, B, "wave,a,12.5004,12.9001,val"], ["lines 2 and 4", "12.5-12.9 s", "12.5004-12.9001 s", "milliseconds"]),
        ([A, B, A], ["line 4 repeats line 2"]),
        ([B, A, "wave,b,1,2,val", A.replace("12.5", "12.50")], ["line 5 repeats line 3"]),
        ([A, B, "wave,a_000012_000012,,,train"], ["lines 2 and 4", "a_000012_000012"]),
        ([A, "wave,a_000012_000012,,,train", B], ["lines 2 and 3"]),
        ([A, B, f"wave,{SHORT[0]},,,train"], ["lines 2 and 4", SHORT[0], "milliseconds"]),
        (["wave,x/a,2.5,2.9,", "wave,x/a,2.1,2.2,", "wave,y/a,2.3,2.4,"], ["lines 2 and 4", "data.prepare.folder"]),
        (["wave,x/a,12.5,12.9,", "wave,y/a,12.3,12.4,"], ["lines 2 and 3", "'x/a'", "'y/a'", "data.prepare.folder"]),
    ],
)  # fmt: skip
def test_clips_that_would_still_share_a_folder_are_an_error_that_names_both(write, rows, words):
    with pytest.raises(DataError) as error:
        read_labels(write("x", *rows))
    assert all(word in str(error.value) for word in words), error.value
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([A], ["wave,a,12.5004,12.9001,val"]),
        ([A], ["wave,a_000012_000012,,,train"]),
        ([A, B], ["wave,a_000012_000012,,,train"]),
        ([A, B], [f"wave,{SHORT[0]},,,train"]),
        ([A, B], ["wave,a,12.5004,12.9001,val", "wave,d,1,2,val", "wave,e,1,2,val"]),
        (["wave,x/a.mp4,,,train"], ["wave,y/a.mp4,,,val"]),
        (["wave,a.mp4,,,train"], ["wave,a.avi,,,val"]),
    ],
)
def test_so_are_those_of_two_files(write, one, other, swapped):
    paths = [write("one", *one), write("other", *other)]
    with pytest.raises(DataError) as error:
        read_together(paths[::-1] if swapped else paths)
    assert all(path.name in str(error.value) for path in paths)


def test_the_same_clip_in_both_splits_or_files_is_reported_later(write):
    both = [A, A.replace("train", "val"), B]
    assert names(read_labels(write("x", *both))) == [SHORT[0], *SHORT]
    read = read_together([write("x", *both), write("y", *both), write("y", *both)])
    assert [names(each.rows) for each in read] == [[SHORT[0], *SHORT]] * 3
    paths = [write("v", "wave,a/b.mp4,,,"), write("w", "wave,b.mp4,,,"), write("u", "wave,b,,,")]
    assert [names(each.rows) for each in read_together(paths)] == [["b"]] * 3


def test_two_files_of_one_name_are_two_videos_for_one_folder(write):
    path = write("x", "wave,x/001.mp4", "box,y/001.mp4", "wave,y/001.mp4", header="label,id\n")
    with pytest.raises(DataError, match=r"lines 2 and 4 .*'x/001\.mp4' and 'y/001\.mp4'.*data\.prepare\.folder"):
        read_labels(path)


def test_a_folder_with_milliseconds_is_taken_before_that_in_whole_seconds(write):
    """Label files that are read alone do not say that the clip shares its name with one of another file."""
    (alone,) = read_labels(write("x", A))
    assert list(names_of_folder(alone)) == [SHORT[0], "a_000012_000012"]
    shared, _ = read_labels(write("x", A, B))
    assert list(names_of_folder(shared)) == [SHORT[0]], "the folder in whole seconds may be of the other"
    (whole,) = read_labels(write("x", "wave,x/a.mp4,,,"))
    assert list(names_of_folder(whole)) == ["a.mp4", "a"]


def test_thousands_of_short_clips_of_one_video(write):
    """Gestures of a long recording: all pairs must not be compared."""
    rows = [f"wave,a,{second}.{tenth},{second}.{tenth}5,train" for second in range(1500) for tenth in range(10)]
    assert len(set(names(read_labels(write("x", *rows))))) == len(rows)
