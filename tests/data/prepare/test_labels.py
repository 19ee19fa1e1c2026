"""Official annotations with their quirks, small, and the label files that must come of them."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from common.errors import DataError
from data.labels.class_order import read_class_index
from data.labels.dataset_spec import DatasetSpec
from data.labels.label_file import read_labels
from data.labels.splits import load_splits
from data.prepare.labels import main

KINETICS = "label,youtube_id,time_start,time_end,split"
HACS = "classname,youtube_id,subset,start,end,label"


def write(path: Path, *lines: str, end: str = "\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(line + end for line in lines).encode())
    return path


@pytest.fixture
def official(tmp_path) -> Path:
    folder = tmp_path / "official"
    folder.mkdir()
    return folder


@pytest.fixture
def convert(official, tmp_path, capsys, monkeypatch):
    """Run the command on the annotations; return (files written: [label/video id], what was printed)."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(name: str, *flags: str, annotations: Path = official) -> tuple[dict[str, list[str]], str]:
        out = tmp_path / "out"
        assert main([name, str(annotations), str(out), *flags]) == 0
        written = {
            path.stem: [f"{row.label}/{row.video_id}" for row in read_labels(path)] for path in out.glob("*.csv")
        }
        for path in out.glob("*.csv"):
            assert {row.split for row in read_labels(path)} == {path.stem.rpartition("_")[2]}
        return written, " ".join(capsys.readouterr().out.replace("│", " ").split())

    return run


def error_of(name: str, annotations: Path, out: Path, *flags: str) -> str:
    with pytest.raises(DataError) as error:
        main([name, str(annotations), str(out), *flags])
    assert "\n" not in str(error.value)
    assert not out.exists() or not any(out.iterdir()), "an error leaves nothing behind that is taken for whole"
    return str(error.value)


@pytest.mark.parametrize(
    ("name", "file", "header", "row", "column"),
    [
        ("kinetics", "kinetics-400_train.csv", "label,youtube_id,time_start,time_end,split,label",
         "run,a,1,5,train,walk", "label"),
        ("hacs", "HACS_clips_v1.1.1.csv", "classname,youtube_id,subset,start,end,label,start",
         "run,a,training,1,3,1,2", "start"),
    ],
)  # fmt: skip
def test_a_column_that_is_there_twice_is_an_error(official, tmp_path, name, file, header, row, column):
    """The two contradict each other, and only one would be read."""
    write(official / file, header, row)
    assert f"{file}: the header has 2 columns {column}; remove all but one" in error_of(name, official, tmp_path / "o")


@pytest.mark.parametrize(
    ("name", "file", "lines", "expected"),
    [
        ("kinetics", "kinetics-400_val.csv", (KINETICS, "yoga,a,1,11,val"),
         {"kinetics-400_val": ["yoga/a_000001_000011"]}),
        ("hacs", "HACS_clips_v1.1.1.csv", (HACS, "yoga,a,training,1,3,1"),
         {"HACS_clips_v1.1_train": ["yoga/a_000001_000003"]}),
        ("hmdb51", "wave_test_split1.txt", ("v.avi 1",), {"hmdb_split1_train": ["wave/v"]}),
    ],
)  # fmt: skip
def test_files_of_a_mac_and_of_a_spreadsheet_are_read(official, convert, name, file, lines, expected):
    """macOS writes `._NAME` beside each file of a foreign disk; spreadsheets of many countries write semicolons."""
    write(official / file, *(line.replace(",", ";") for line in lines))
    (official / f"._{file}").write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        ")
    assert convert(name)[0] == expected


# HACS


def test_hacs_drops_and_counts_what_is_no_example_of_its_class(official, convert):
    write(official / "HACS_clips_v1.1.1.csv", HACS,
          "Archery,a2X2hz1G6i8,training,15.5,17.5,1",
          "Archery,NUdji_CqvcY,training,77.5,79.5,-1",
          "Archery,0O_qMHxBfXg,training,24.5,26.5,-1",
          "Applying sunscreen,-cqvcY,validation,3.0,5.0,1",
          "Archery,test1,testing,0.0,2.0,1")  # fmt: skip
    files, printed = convert("hacs")
    assert files == {
        "HACS_clips_v1.1_train": ["Archery/a2X2hz1G6i8_000015_000017"],
        "HACS_clips_v1.1_val": ["Applying sunscreen/-cqvcY_000003_000005"],
        "HACS_clips_v1.1_test": ["Archery/test1_000000_000002"],
    }
    assert re.search("label -1.* 2 line 3: Archery NUdji_CqvcY", printed)
    assert "2 of 200 classes" in printed


def test_hacs_float_times_are_kept_for_cutting(official, convert, tmp_path):
    write(official / "HACS_clips_v1.1.1.csv", HACS, "Archery,a2X2hz1G6i8,training,15.25,17.5,1")
    convert("hacs", annotations=official / "HACS_clips_v1.1.1.csv")
    text = (tmp_path / "out" / "HACS_clips_v1.1_train.csv").read_text()
    assert text == "label,youtube_id,time_start,time_end,split\nArchery,a2X2hz1G6i8,15.25,17.5,train\n"


def test_hacs_clips_of_one_second_are_written_once_so_that_the_label_file_is_valid(official, convert):
    clips = ("15.0,17.0", "15.5,17.5", "16.0,18.0")
    write(official / "HACS_clips_v1.1.1.csv", HACS, *(f"Archery,a,training,{times},1" for times in clips))
    files, printed = convert("hacs")
    assert files == {"HACS_clips_v1.1_train": ["Archery/a_000015_000017", "Archery/a_000016_000018"]}
    assert re.search("same folder.* 1 .*a 15.5-17.5 s, as a 15-17 s", printed)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("Archery,a,training,1,3,2", "line 2: label '2' is neither 1 nor -1"),
        ("Archery,a,training,x,3,1", "line 2: start 'x'"),
        ("Archery,a,dev,1,3,1", "line 2: unknown split 'dev'"),
        ("Archery,a,,1,3,1", "line 2: the subset is empty"),
        ("Archery,a,training,1,3", "line 2: 5 fields"),
        ("Archery,a,training,1_5,30,1", "line 2: start '1_5' is not a time"),
    ],
)
def test_hacs_with_a_value_out_of_place_is_an_error_with_its_line(official, tmp_path, row, words):
    write(official / "HACS_clips_v1.1.1.csv", HACS, row)
    assert words in error_of("hacs", official, tmp_path / "out")


def test_hacs_label_files_beside_the_official_file_are_not_mistaken_for_it(official, convert):
    write(official / "HACS_clips_v1.1.1.csv", HACS, "Archery,a,training,1,3,1")
    write(official / "HACS_clips_v1.1_train.csv", KINETICS, "Archery,b,1,3,train")
    assert convert("hacs")[0] == {"HACS_clips_v1.1_train": ["Archery/a_000001_000003"]}


# Kinetics


def test_kinetics_files_of_every_release_give_the_same_names(official, convert):
    write(official / "kinetics-400_train.csv", f"{KINETICS},is_cc",
          '"air drumming",--nQbRBEz2s,104,114,train,0', "abseiling,3caPS4FHFF8,36,46,train,1")  # fmt: skip
    write(official / "kinetics-400_val.csv", KINETICS, "air drumming,-x,84.0,94.0,validate")
    files, printed = convert("kinetics")
    assert files == {
        "kinetics-400_train": ["air drumming/--nQbRBEz2s_000104_000114", "abseiling/3caPS4FHFF8_000036_000046"],
        "kinetics-400_val": ["air drumming/-x_000084_000094"],
    }
    assert "2 of 400 classes" in printed


def test_kinetics_test_files_without_labels_are_counted_not_invented(official, convert):
    write(official / "kinetics-400_test.csv", "youtube_id,time_start,time_end,split", "--6bJUbfpnQ,17,27,test")
    write(official / "kinetics-400_val.csv", KINETICS, "yoga,a,1,11,val")
    files, printed = convert("kinetics")
    assert list(files) == ["kinetics-400_val"]
    assert "test row without a label 1 kinetics-400_test.csv, line 2: --6bJUbfpnQ" in printed
    assert "no train rows, no kinetics-400_train.csv" in printed


def test_kinetics_test_files_with_labels_are_written(official, convert):
    write(official / "kinetics-600_test.csv", KINETICS, "yoga,a,1,11,test")
    assert convert("kinetics")[0] == {"kinetics-600_test": ["yoga/a_000001_000011"]}


def test_kinetics_split_comes_from_the_file_name_where_no_column_says_it(official, convert):
    write(official / "kinetics-600_validate.csv", "label,youtube_id,time_start,time_end", "yoga,a,1,11")
    assert list(convert("kinetics")[0]) == ["kinetics-600_val"]


@pytest.mark.parametrize(
    ("folder", "file", "variant"),
    [
        ("kinetics700_2020", "train.csv", 700),
        ("annotations", "kinetics_600_train.csv", 600),
        ("kinetics400", "kinetics-700_train.csv", 700),
        ("K400", "train.csv", 400),
    ],
)
def test_the_variant_is_read_from_the_names(tmp_path, convert, folder, file, variant):
    write(tmp_path / folder / file, KINETICS, "yoga,a,1,11,train")
    assert list(convert("kinetics", annotations=tmp_path / folder)[0]) == [f"kinetics-{variant}_train"]


def test_a_variant_that_no_name_tells_is_asked_for(official, convert, tmp_path):
    write(official / "train.csv", KINETICS, "yoga,a,1,11,train")
    assert "give --variant" in error_of("kinetics", official, tmp_path / "out")
    assert list(convert("kinetics", "--variant", "600")[0]) == ["kinetics-600_train"]


def test_several_variants_in_a_folder_are_told_apart_by_the_flag(official, convert, tmp_path):
    write(official / "kinetics-400_train.csv", KINETICS, "yoga,a,1,11,train")
    write(official / "kinetics-600_train.csv", KINETICS, "yoga,b,1,11,train")
    assert "Kinetics-400 and Kinetics-600" in error_of("kinetics", official, tmp_path / "out")
    files, printed = convert("kinetics", "--variant", "400")
    assert files == {"kinetics-400_train": ["yoga/a_000001_000011"]}
    assert "kinetics-600_train.csv not read" in printed
    assert "not of --variant 700" in error_of("kinetics", official, tmp_path / "out2", "--variant", "700")


def test_two_releases_of_one_set_in_a_folder_are_joined_without_repetition(tmp_path, convert):
    folder = tmp_path / "kinetics400"
    write(folder / "kinetics-400_val.csv", KINETICS, '"air drumming",--nQ,104,114,val', "yoga,a,1,11,val")
    write(folder / "validate.csv", KINETICS, "air drumming,--nQ,104.0,114.0,validate", "yoga,b,1,11,validate")
    files, printed = convert("kinetics", annotations=folder)
    assert files["kinetics-400_val"] == [
        "air drumming/--nQ_000104_000114",
        "yoga/a_000001_000011",
        "yoga/b_000001_000011",
    ]
    assert re.search("repeated.* 1 air drumming: --nQ 104-114 s", printed)


def test_kinetics_csv_files_that_list_no_clips_are_passed_over_and_named(tmp_path, convert):
    write(tmp_path / "k600" / "kinetics_600_labels.csv", "id,name", "0,yoga")
    write(tmp_path / "k600" / "train.csv", KINETICS, "yoga,a,1,11,train")
    assert "kinetics_600_labels.csv not read" in convert("kinetics", annotations=tmp_path / "k600")[1]


def test_kinetics_clips_that_end_before_they_start_are_counted_out(tmp_path, convert):
    write(tmp_path / "k600" / "train.csv", KINETICS, "yoga,a,1,11,train", "yoga,b,11,1,train")
    files, printed = convert("kinetics", annotations=tmp_path / "k600")
    assert files == {"kinetics-600_train": ["yoga/a_000001_000011"]}
    assert "ends before it starts 1 train.csv, line 3" in printed


def test_kinetics_class_order_keeps_quotes_and_brackets(tmp_path, convert):
    """Without its brackets the first class would be the second: every published weight would mean another class."""
    names = ["cooking sausages (not on barbeque)", "cooking sausages and eggs", "massaging person's head", "yoga"]
    rows = [f'"{name}",{number},1,11,train' for number, name in enumerate(reversed(names))]
    write(tmp_path / "k700" / "train.csv", KINETICS, *rows, *(row.replace("train", "val") for row in rows))
    convert("kinetics", annotations=tmp_path / "k700")
    for number, name in enumerate(reversed(names)):
        folder = tmp_path / "data" / "jpg" / name.replace(" ", "_") / f"{number}_000001_000011"
        write(folder / "n_frames", "9")
        write(folder / "frames.db", "")
    spec = DatasetSpec("Kinetics-700", "kinetics-700_train.csv", "kinetics-700_val.csv", 700)
    splits = load_splits(tmp_path / "data", spec, tmp_path / "out")
    assert splits.train.classes == tuple(names)
    assert splits.train.labels.tolist() == [3, 2, 1, 0]


def test_official_files_are_never_replaced(tmp_path):
    path = write(tmp_path / "kinetics400" / "kinetics-400_val.csv", f"{KINETICS},is_cc", "yoga,a,1,11,val,1")
    with pytest.raises(DataError, match="would be replaced"):
        main(["kinetics", str(path.parent), str(path.parent)])
    assert "is_cc" in path.read_text()


def _write_ucf101(folder):
    write(folder / "classInd.txt", "1 YoYo", "2 Wave")
    write(folder / "trainlist01.txt", "YoYo/a.avi 1", "Wave/b.avi 2")
    write(folder / "testlist01.txt", "YoYo/c.avi")


def test_files_that_are_there_are_kept_and_none_is_written_beside_them(official, convert, tmp_path):
    """A label file may have been corrected by hand; with the others new and the status 2, the labels would not fit."""
    _write_ucf101(official)
    out = tmp_path / "out"
    convert("ucf101")
    convert("ucf101")  # the same again is no fault
    text = (out / "ucf101_split1_val.csv").read_text()
    (out / "ucf101_split1_train.csv").unlink()
    write(out / "ucf101_classes.txt", "Wave", "YoYo")
    with pytest.raises(DataError, match=r"ucf101_classes.txt is there and has another content: move it away"):
        main(["ucf101", str(official), str(out)])
    (out / "ucf101_classes.txt").unlink()
    (out / "ucf101_classes.txt").mkdir()
    with pytest.raises(DataError, match=r"ucf101_classes.txt is a folder"):
        main(["ucf101", str(official), str(out)])
    assert sorted(path.name for path in out.iterdir()) == ["ucf101_classes.txt", "ucf101_split1_val.csv"]
    assert (out / "ucf101_split1_val.csv").read_text() == text


# Mini-Kinetics


@pytest.fixture
def kinetics400(tmp_path) -> Path:
    folder = tmp_path / "kinetics400"
    write(folder / "train.csv", KINETICS,
          "yoga,-a,1,11,train", "surfing water,b,84.0,94.0,train", "yoga,twice,1,11,train",
          "digging,twice,30,40,train", "yoga,both,5,15,train")  # fmt: skip
    write(folder / "validate.csv", KINETICS, "yoga,v,2,12,validate", "yoga,both,50,60,validate")
    write(folder / "test.csv", "youtube_id,time_start,time_end,split", "t,17,27,test")
    return folder


def test_mini_kinetics_ids_are_joined_with_the_clips_of_kinetics_400(official, convert, kinetics400):
    write(official / "train_ytid_list.txt", "-a", "b", "gone", "t", end="\r\n")
    write(official / "val_ytid_list.txt", "v")
    files, printed = convert("mini-kinetics", "--kinetics400", str(kinetics400))
    assert files == {
        "kinetics-200_train": ["yoga/-a_000001_000011", "surfing water/b_000084_000094"],
        "kinetics-200_val": ["yoga/v_000002_000012"],
    }
    assert "train id that is in no file of Kinetics-400 2 gone" in printed
    assert "2 of 200 classes" in printed


def test_mini_kinetics_id_in_both_sets_of_kinetics_takes_the_clip_of_its_own(official, convert, kinetics400):
    write(official / "train_ytid_list.txt", "both")
    write(official / "val_ytid_list.txt", "both")
    files, _ = convert("mini-kinetics", "--kinetics400", str(kinetics400))
    assert files == {
        "kinetics-200_train": ["yoga/both_000005_000015"],
        "kinetics-200_val": ["yoga/both_000050_000060"],
    }


def test_mini_kinetics_id_in_several_rows_brings_no_class_that_is_not_of_the_200(official, convert, kinetics400):
    write(official / "train_ytid_list.txt", "-a", "twice")
    files, printed = convert("mini-kinetics", "--kinetics400", str(kinetics400))
    assert files == {"kinetics-200_train": ["yoga/-a_000001_000011", "yoga/twice_000001_000011"]}
    assert "clip of another class of an id with several clips 1 digging twice_000030_000040" in printed


def test_mini_kinetics_id_with_several_clips_of_its_class_keeps_them_and_says_so(official, convert, kinetics400):
    write(kinetics400 / "more_train.csv", KINETICS, "yoga,-a,1,11,train", "yoga,-a,21,31,train")
    write(official / "train_ytid_list.txt", "-a")
    files, printed = convert("mini-kinetics", "--kinetics400", str(kinetics400))
    assert sorted(files["kinetics-200_train"]) == ["yoga/-a_000001_000011", "yoga/-a_000021_000031"]
    assert "1 ids have more than one clip" in printed


def test_mini_kinetics_without_a_single_match_is_an_error_that_names_the_files(official, kinetics400, tmp_path):
    write(official / "train_ytid_list.txt", "x", "y")
    message = error_of("mini-kinetics", official, tmp_path / "out", "--kinetics400", str(kinetics400))
    assert "none of the 2 ids" in message and "validate.csv" in message and "ytid" not in message


# Moments in Time


CATEGORIES = ["clapping,0", "adult+female+singing,1", "blocking,2"]


def test_moments_have_no_header_and_the_categories_give_the_order(official, convert, tmp_path):
    write(official / "moments_categories.txt", "blocking,2", "clapping,0", "adult+female+singing,1")
    write(official / "trainingSet.csv",
          "blocking/getty-karate-video-id635808620_4.mp4,blocking,3,0",
          "adult+female+singing/flickr-21762215@N07-32585105503_99.mp4,adult+female+singing,4,1",
          "clapping/yt-a.b, c_1.mp4,clapping,3,0",
          '"clapping/yt-d,e_1.mp4",clapping,3,0')  # fmt: skip
    write(official / "validationSet.csv", "clapping/yt--x_2.mp4,clapping,3,0")
    files, printed = convert("mit")
    assert files == {
        "Moments_in_Time_train": [
            "blocking/getty-karate-video-id635808620_4",
            "adult+female+singing/flickr-21762215@N07-32585105503_99",
            "clapping/yt-a.b, c_1",
            "clapping/yt-d,e_1",
        ],
        "Moments_in_Time_val": ["clapping/yt--x_2"],
    }
    order = read_class_index(tmp_path / "out" / "Moments_in_Time_classes.txt")
    assert order == ("clapping", "adult+female+singing", "blocking")
    assert "the class index has 3 classes, complete annotations have 339 or 305" in printed


def test_moments_row_whose_label_is_not_its_folder_is_counted_out(official, convert):
    """The video would be found under one class and be trained as another."""
    write(official / "moments_categories.txt", *CATEGORIES)
    write(official / "trainingSet.csv",
          "blocking/a.mp4,clapping,3,0", "blocking/b.mp4,blocking,3,0",
          "training/adult+female+singing/c.mp4,adult female singing,3,0")  # fmt: skip
    files, printed = convert("mit")
    assert files == {"Moments_in_Time_train": ["blocking/b", "adult+female+singing/c"]}
    assert "not that of the video's folder 1 trainingSet.csv, line 1" in printed


def test_moments_of_version_2_have_305_classes(official, convert):
    write(official / "moments_categories.txt", *(f"class{i},{i}" for i in range(305)))
    write(official / "trainingSet.csv", *(f"class{i}/v.mp4,class{i},3,0" for i in range(305)))
    assert "complete annotations" not in convert("mit")[1]


def test_moments_of_one_version_with_the_categories_of_the_other_are_an_error(official, tmp_path):
    write(official / "moments_categories.txt", *CATEGORIES)
    write(official / "trainingSet.csv", "zooming/a.mp4,zooming,3,0")
    message = error_of("mit", official, tmp_path / "out")
    assert "line 1: class 'zooming'" in message and "305" in message


@pytest.mark.parametrize(
    ("categories", "row", "words"),
    [
        (["clapping,0", "praying,2"], "clapping/a.mp4,clapping,3,0", "not 0 to 1"),
        (["clapping,0", "praying,0"], "clapping/a.mp4,clapping,3,0", "line 2: index 0"),
        (["clapping"], "clapping/a.mp4,clapping,3,0", "line 1: 'clapping' is not name,index"),
        (["clapping,0"], "clapping/a.mp4,clapping", "line 1: 'clapping/a.mp4,clapping' is not"),
        (["clapping,0"], "a.mp4,clapping,3,0", "line 1: 'a.mp4' names no class folder"),
    ],
)
def test_moments_files_that_are_no_such_files_are_an_error_with_the_line(official, tmp_path, categories, row, words):
    write(official / "moments_categories.txt", *categories)
    write(official / "trainingSet.csv", row)
    assert words in error_of("mit", official, tmp_path / "out")


def test_moments_without_categories_is_an_error(official, tmp_path):
    write(official / "trainingSet.csv", "clapping/a.mp4,clapping,3,0")
    assert "moments_categories.txt is missing" in error_of("mit", official, tmp_path / "out")


# UCF-101


def ucf(folder: Path, split: int = 1, end: str = "\r\n") -> None:
    write(folder / "classInd.txt", "1 ApplyEyeMakeup", "2 HandstandPushups", "3 YoYo", end=end)
    write(folder / f"trainlist{split:02d}.txt",
          "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1",
          "HandstandPushups/v_HandStandPushups_g01_c01.avi 2",
          "YoYo/v_YoYo_g25_c05.avi 3", end=end)  # fmt: skip
    write(folder / f"testlist{split:02d}.txt", "HandstandPushups/v_HandStandPushups_g07_c04.avi", end=end)


@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_ucf101_keeps_the_file_s_own_spelling_and_the_folder_s_class(official, convert, tmp_path, end):
    """The folder is HandstandPushups, its files are v_HandStandPushups...: neither may be "corrected"."""
    ucf(official, end=end)
    files, printed = convert("ucf101")
    assert files == {
        "ucf101_split1_train": [
            "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01",
            "HandstandPushups/v_HandStandPushups_g01_c01",
            "YoYo/v_YoYo_g25_c05",
        ],
        "ucf101_split1_val": ["HandstandPushups/v_HandStandPushups_g07_c04"],
    }
    assert (tmp_path / "out" / "ucf101_classes.txt").read_bytes() == b"ApplyEyeMakeup\nHandstandPushups\nYoYo\n"
    assert "split 2 and 3" in printed


def test_ucf101_class_order_is_that_of_the_numbers(official, convert, tmp_path):
    ucf(official)
    write(official / "classInd.txt", "3 YoYo", "2 HandstandPushups", "1 ApplyEyeMakeup")
    convert("ucf101")
    order = read_class_index(tmp_path / "out" / "ucf101_classes.txt")
    assert order == ("ApplyEyeMakeup", "HandstandPushups", "YoYo")


def test_ucf101_splits_are_chosen_by_the_flag_and_found_in_the_archive_s_own_folder(official, convert, tmp_path):
    ucf(official / "ucfTrainTestlist", 1)
    ucf(official / "ucfTrainTestlist", 3)
    assert sorted(convert("ucf101", "--split", "3")[0]) == ["ucf101_split3_train", "ucf101_split3_val"]
    assert len(convert("ucf101", "--split", "all")[0]) == 4
    assert "of split 2" in error_of("ucf101", official, tmp_path / "out2", "--split", "2")


@pytest.mark.parametrize(
    ("train", "index", "words"),
    [
        ("YoYo/v_YoYo_g25_c05.avi 2", "1 ApplyEyeMakeup\n2 YoYoYo\n3 YoYo\n", "line 1: class number 2 is YoYoYo"),
        ("YoYo/v_YoYo_g25_c05.avi 0", "1 YoYo\n", "line 1: class number 0 is none"),
        ("YoYo/v_YoYo_g25_c05.avi", "1 YoYo\n", "line 1: 'YoYo/v_YoYo_g25_c05.avi' has no class number"),
        ("Yoyo/v_YoYo_g25_c05.avi 1", "1 YoYo\n", "line 1: folder 'Yoyo'"),
        ("YoYo/v_YoYo_g25_c05.avi 1", "0 YoYo\n", "not 1 to 1"),
        ("YoYo/v_YoYo_g25_c05.avi 1", "1 YoYo\n1 Box\n", "line 2: class number 1 is there twice"),
        ("YoYo/v_YoYo_g25_c05.avi 1", "YoYo\n", "line 1: 'YoYo' is not a number"),
    ],
)
def test_ucf101_lists_that_contradict_the_index_are_an_error_with_the_line(official, tmp_path, train, index, words):
    ucf(official)
    (official / "classInd.txt").write_text(index)
    write(official / "trainlist01.txt", train)
    assert words in error_of("ucf101", official, tmp_path / "out")


@pytest.mark.parametrize("name", ["v_YoYo_g25_c0", "v_YoYo_g25_c05", "v_YoYo_g25_c05.av"])
def test_a_ucf101_list_that_ends_within_a_name_is_an_error(official, tmp_path, name):
    """The rest of the videos would be missing, and the last one have a name that no file has."""
    ucf(official)
    (official / "testlist01.txt").write_text(f"YoYo/v_YoYo_g01_c01.avi\nYoYo/{name}")
    assert "testlist01.txt, line 2: " in error_of("ucf101", official, tmp_path / "out")


def test_lists_without_any_suffix_are_those_of_frame_folders(official, convert):
    """Users of folders of frames strip .avi from the lists: all of them would be refused as cut short."""
    ucf(official)
    for path in official.glob("*list01.txt"):
        path.write_text(path.read_text().replace(".avi", ""))
    files, _ = convert("ucf101")
    assert files["ucf101_split1_val"] == ["HandstandPushups/v_HandStandPushups_g07_c04"]
    assert len(files["ucf101_split1_train"]) == 3


def test_hmdb51_lists_without_any_suffix_are_those_of_frame_folders(official, convert, tmp_path):
    write(official / "wave_test_split1.txt", "v_1.5_a 1 ", "v_1.5_b 2")
    assert convert("hmdb51")[0] == {"hmdb_split1_train": ["wave/v_1.5_a"], "hmdb_split1_val": ["wave/v_1.5_b"]}
    write(official / "wave_test_split1.txt", "a.avi 1", "b 2")
    assert "wave_test_split1.txt, line 2: 'b' does not end" in error_of("hmdb51", official, tmp_path / "out2")


def test_a_list_that_ends_between_two_lines_is_noted(official, convert):
    """Only the number of rows shows it; an excerpt, which lacks classes, has a note of its own."""
    classes = [f"C{number}" for number in range(1, 102)]
    write(official / "classInd.txt", *(f"{number} {name}" for number, name in enumerate(classes, 1)))
    videos = [f"{name}/v_{name}_g{group:02d}_c01.avi" for name in classes for group in range(1, 60)]
    write(official / "trainlist01.txt", *(f"{video} {video.partition('/')[0][1:]}" for video in videos))
    write(official / "testlist01.txt", *(f"C1/v_C1_g60_c{number:04d}.avi" for number in range(3783)))
    printed = convert("ucf101")[1]
    assert "ucf101_split1_train.csv has 5959 rows, complete annotations have 9537: is a file of" in printed
    assert "ucf101_split1_val.csv has" not in printed


# HMDB-51


def test_hmdb51_takes_the_class_from_the_file_name_and_the_code_from_the_right(official, convert):
    write(official / "brush_hair_test_split1.txt",
          "Brushing_Her_Hair__[_NEW_AUDIO_]_UPDATED!!!!_brush_hair_h_cm_np1_fr_goo_0.avi 2 ",
          "Geena_und_die_Radschl_ge___;-)_brush_hair_f_cm_np1_fr_med_2.avi 1 ",
          "#437_How_To_(Ride) 2_brush_hair_1.avi 1 ",
          "April_09_brush_hair_u_nm_np1_ba_goo_4.avi 0 ")  # fmt: skip
    write(official / "wave_test_split1.txt", "jenny_~_rad_wave_f_cm_np1_ri_med_0.avi 1")
    files, printed = convert("hmdb51")
    assert files == {
        "hmdb_split1_train": [
            "brush_hair/Geena_und_die_Radschl_ge___;-)_brush_hair_f_cm_np1_fr_med_2",
            "brush_hair/#437_How_To_(Ride) 2_brush_hair_1",
            "wave/jenny_~_rad_wave_f_cm_np1_ri_med_0",
        ],
        "hmdb_split1_val": ["brush_hair/Brushing_Her_Hair__[_NEW_AUDIO_]_UPDATED!!!!_brush_hair_h_cm_np1_fr_goo_0"],
    }
    assert "not used in split 1 (code 0) 1 brush_hair_test_split1.txt, line 4" in printed
    assert "2 of 51 classes" in printed and "split 2 and 3" in printed


def test_hmdb51_splits_are_files_of_their_own(official, convert, tmp_path):
    for split, codes in ((1, "12"), (2, "21")):
        write(official / "x" / f"wave_test_split{split}.txt", *(f"v{i}.avi {code} " for i, code in enumerate(codes)))
    assert convert("hmdb51", "--split", "2")[0] == {"hmdb_split2_train": ["wave/v1"], "hmdb_split2_val": ["wave/v0"]}
    assert len(convert("hmdb51")[0]) == 4
    assert "of split 3" in error_of("hmdb51", official, tmp_path / "out2", "--split", "3")


@pytest.mark.parametrize("line", ["v.avi 3", "v.avi", "v.avi x "])
def test_hmdb51_with_an_unknown_code_is_an_error_with_its_line(official, tmp_path, line):
    write(official / "wave_test_split1.txt", "a.avi 1 ", line)
    assert "line 2: " in error_of("hmdb51", official, tmp_path / "out")


@pytest.mark.parametrize("line", ["#437_How_To_(Ride) 2", "a_wave_1.a 1"])
def test_an_hmdb51_file_that_ends_within_a_name_is_an_error(official, tmp_path, line):
    """A name that holds a space would be cut there, and its next digit be the code."""
    (official / "wave_test_split1.txt").write_text(f"a.avi 1 \n{line}")
    assert "line 2: " in error_of("hmdb51", official, tmp_path / "out")


def test_an_hmdb51_file_with_too_few_lines_is_noted(official, convert):
    for number in range(51):
        lines = [f"v{place}.avi {1 if place < 70 else 2} " for place in range(100 if number else 99)]
        write(official / f"class{number}_test_split1.txt", *lines)
    printed = convert("hmdb51")[1]
    assert "hmdb_split1_val.csv has 1529 rows, complete annotations have 1530" in printed
    assert "hmdb_split1_train.csv has" not in printed


# Diving-48


VOCABULARY = [["Back", "15som", "05Twis", "FREE"], ["Forward", "Dive", "NoTwis", "PIKE"]]


def diving(folder: Path, train: object, vocabulary: object = VOCABULARY) -> None:
    write(folder / "Diving48_V2_train.json", json.dumps(train))
    write(folder / "Diving48_vocab.json", json.dumps(vocabulary))


def test_diving48_labels_are_positions_and_frames_are_no_times(official, convert, tmp_path):
    diving(official, [
        {"vid_name": "-mmq0PT-u8k_00155", "label": 1, "start_frame": 0, "end_frame": 48},
        {"vid_name": "2x00lRzlTVQ_00000", "label": 0, "start_frame": 10, "end_frame": 70},
    ])  # fmt: skip
    write(
        official / "Diving48_V2_test.json",
        json.dumps([{"vid_name": "v", "label": 0, "start_frame": 0, "end_frame": 1}]),
    )
    files, printed = convert("diving48")
    assert files == {
        "diving48_train": ["Forward_Dive_NoTwis_PIKE/-mmq0PT-u8k_00155", "Back_15som_05Twis_FREE/2x00lRzlTVQ_00000"],
        "diving48_val": ["Back_15som_05Twis_FREE/v"],
    }
    order = read_class_index(tmp_path / "out" / "diving48_classes.txt")
    assert order == ("Back_15som_05Twis_FREE", "Forward_Dive_NoTwis_PIKE")
    assert "complete annotations have 48" in printed


def test_diving48_takes_the_second_version_where_both_are(official, convert):
    diving(official, [{"vid_name": "new", "label": 0}])
    write(official / "Diving48_train.json", json.dumps([{"vid_name": "old", "label": 0}]))
    files, printed = convert("diving48")
    assert files == {"diving48_train": ["Back_15som_05Twis_FREE/new"]}
    assert "Diving48_train.json not read" in printed


def test_diving48_of_the_first_version_is_converted_with_a_note(official, convert):
    diving(official, [])
    (official / "Diving48_V2_train.json").unlink()
    write(official / "Diving48_train.json", json.dumps([{"vid_name": "old", "label": 0}]))
    assert "first version" in convert("diving48")[1]


@pytest.mark.parametrize(
    ("train", "vocabulary", "words"),
    [
        ([{"vid_name": "a", "label": 2}], VOCABULARY, "entry 0: label 2"),
        ([{"vid_name": "a", "label": -1}], VOCABULARY, "entry 0: label -1"),
        ([{"vid_name": "a", "label": "0"}], VOCABULARY, "entry 0: label '0'"),
        ([{"vid_name": "a"}], VOCABULARY, "entry 0: no vid_name and label"),
        ([{"vid_name": "x/a", "label": 0}], VOCABULARY, "entry 0: vid_name 'x/a'"),
        ({"a": 1}, VOCABULARY, "expected a JSON list"),
        ([], [["Back"], ["Back"]], "entries 0 and 1 are the same class"),
        ([], ["Back"], "entry 0"),
    ],
)
def test_diving48_files_that_make_no_sense_are_an_error_with_the_entry(official, tmp_path, train, vocabulary, words):
    diving(official, train, vocabulary)
    assert words in error_of("diving48", official, tmp_path / "out")


@pytest.mark.parametrize(
    "content",
    ["[" * 100_000, "[" + "9" * 5000 + "]", '[{"vid_name": "\\ud800", "label": 0}]'],
    ids=["deep", "digits", "half a character"],
)
def test_json_that_python_chokes_on_is_named(official, tmp_path, content):
    """Each was another traceback: RecursionError, ValueError, UnicodeEncodeError."""
    diving(official, [])
    write(official / "Diving48_V2_train.json", content)
    assert "Diving48_V2_train.json" in error_of("diving48", official, tmp_path / "out")


def test_a_truncated_json_file_is_named(official, tmp_path):
    diving(official, [])
    write(official / "Diving48_V2_train.json", '[{"vid_name"')
    assert "Diving48_V2_train.json: not JSON" in error_of("diving48", official, tmp_path / "out")


# All


def test_training_rows_that_no_class_has_are_noted(official, convert):
    ucf(official)
    write(official / "trainlist01.txt", "YoYo/v_YoYo_g25_c05.avi 3")
    assert "classes of ucf101_split1_val.csv without a training row: 1, as 'HandstandPushups'" in convert("ucf101")[1]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hacs", "HACS_clips*.csv"),
        ("kinetics", "*.csv"),
        ("mit", "trainingSet.csv"),
        ("ucf101", "classInd.txt"),
        ("hmdb51", "test_split"),
        ("diving48", "train.json"),
    ],
)
def test_a_folder_of_something_else_is_an_error_that_says_what_is_expected_and_what_is_there(
    official, tmp_path, name, expected
):
    write(official / "holiday.jpeg", "x")
    message = error_of(name, official, tmp_path / "out")
    assert expected in message and "holiday.jpeg" in message
    assert str(tmp_path / "nowhere") in error_of(name, tmp_path / "nowhere", tmp_path / "out")


DIGITS = "9" * 5000  # more than Python turns into a number


@pytest.mark.parametrize(
    ("name", "file", "content"),
    [
        ("ucf101", "classInd.txt", f"{DIGITS} YoYo"),
        ("ucf101", "classInd.txt", "1 .."),
        ("ucf101", "classInd.txt", "² YoYo"),
        ("ucf101", "trainlist01.txt", f"YoYo/v_YoYo_g25_c05.avi {DIGITS}"),
        ("ucf101", "testlist01.txt", f"YoYo/v_YoYo_g25_c05.avi {DIGITS}"),
        ("mit", "moments_categories.txt", f"yawning,{DIGITS}"),
        ("mit", "moments_categories.txt", "..,0"),
        ("mit", "trainingSet.csv", "x" * 100_000),
        ("hacs", "HACS_clips_v1.1.1.csv", HACS + f"\nArchery,a,training,1,2,{DIGITS}"),
        ("kinetics", "kinetics-400_train.csv", KINETICS + f"\nabseiling,a,0,{DIGITS},train"),
        ("hmdb51", "wave_test_split1.txt", f"a.avi {DIGITS}"),
    ],
)
def test_a_value_that_is_out_of_all_bounds_is_named_in_a_line(official, tmp_path, name, file, content):
    """It is foreign text: neither a traceback nor a page of digits helps."""
    ucf(official)
    write(official / "moments_categories.txt", "yawning,0")
    write(official / "trainingSet.csv", "yawning/a.mp4,yawning,3,0")
    write(official / file, content)
    message = error_of(name, official, tmp_path / "out")
    assert file in message and len(message) < 1000


@pytest.mark.parametrize("name", ["hacs", "kinetics", "mit", "ucf101", "hmdb51", "diving48"])
def test_annotations_with_a_name_that_is_too_long_are_an_error(tmp_path, name):
    """`Path.exists` raises for it."""
    assert "too long" in error_of(name, tmp_path / ("x" * 300), tmp_path / "out")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ucf", "a", "o"], "'ucf'"),
        (["ucf101", "", "o"], "ANNOTATIONS: .*empty"),
        (["ucf101", "a", "o", "--variant", "400"], r"--variant .*ucf101"),
        (["kinetics", "a", "o", "--split", "1"], r"--split .*kinetics"),
        (["kinetics", "a", "o", "--variant", "500"], "500"),
        (["mini-kinetics", "a", "o"], "mini-kinetics needs --kinetics400"),
        (["hmdb51", "a", "o", "--splits", "1"], "did you mean --split"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line_and_status_2(arguments, words, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    message = capsys.readouterr().err
    assert re.search(words, message) and message.count("\n") == 1


def test_the_command_itself_runs_and_reports_a_mistake_with_status_2(official, tmp_path):
    ucf(official)
    command = [sys.executable, "-m", "data.prepare.labels"]
    done = subprocess.run([*command, "ucf101", official, tmp_path / "out"], capture_output=True, text=True)
    assert done.returncode == 0 and "ucf101_split1_train.csv" in done.stdout.replace("\n", ""), done.stderr
    done = subprocess.run([*command, "hmdb51", official, tmp_path / "out"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
