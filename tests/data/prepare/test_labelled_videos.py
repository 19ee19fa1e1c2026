"""Videos that label files name by paths, frames and short segments: each row gets the pictures that it says."""

import csv
import unicodedata
from pathlib import Path

import av
import pytest

from common.errors import DataError
from data.labels.dataset_spec import DatasetSpec
from data.labels.label_file import read_labels
from data.labels.splits import load_splits, load_val
from data.labels.video_list import VideoList
from data.prepare import convert, resize, verify
from data.prepare.labelled_sources import find_rows
from data.prepare.report import Problem
from data.store.frame_store import FrameStore
from data.store.origin import read_origin
from data.store.video_file import VideoError, VideoReader
from tests.numbered import encode_numbered_video, frame_number, frame_numbers, numbered_jpegs

SPEC = DatasetSpec("custom", "train.csv", "val.csv")


def run(folder: Path, *labels: str, flags: tuple[str, ...] = ()) -> tuple[int, dict[str, str]]:
    """Convert folder/v to folder/out; the status, and the listed items with their kinds."""
    given = [text for name in labels for text in ("--labels", str(folder / "out" / "labels" / name))]
    status = convert.main([str(folder / "v"), str(folder / "out"), *given, "--workers", "1", *flags])
    with (folder / "out" / "convert_failures.csv").open(newline="") as file:
        return status, {row["item"]: row["kind"] for row in csv.DictReader(file)}


def check(folder: Path, *labels: str) -> tuple[int, dict[str, str]]:
    """Verify folder/out; the status, and the problems with their kinds."""
    given = [text for name in labels for text in ("--labels", str(folder / "out" / "labels" / name))]
    status = verify.main([str(folder / "out"), *given, "--workers", "1"])
    with (folder / "out" / "verify_problems.csv").open(newline="") as file:
        return status, {row["item"]: row["kind"] for row in csv.DictReader(file)}


def write(folder: Path, name: str, *lines: str, encoding: str = "utf-8") -> None:
    path = folder / "out" / "labels" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding=encoding)


def shown(videos: VideoList) -> list[tuple[str, list[int]]]:
    """The name and the first and last frame number of each video."""
    found = []
    for index in range(len(videos)):
        store = FrameStore(videos.folder(index))
        found.append((videos.folder(index).name, frame_numbers(store.read([0, len(store) - 1]))))
    return found


def frames_in(folder: Path, name: str) -> list[int]:
    store = FrameStore(folder / "out" / "jpg" / name)
    return frame_numbers(store.read(range(len(store))))


def test_a_flat_folder_with_a_table_of_a_spreadsheet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Semicolons, UTF-16, suffixes and clock times, as Excel writes them: one command to frames that train."""
    encode_numbered_video(tmp_path / "v" / "rec 1.mp4", 100)
    encode_numbered_video(tmp_path / "v" / "rec.2.mov", 100, start=200)
    rows = ["wave;rec 1.mp4;00:00,4;00:01,2;Training", "clap;rec.2.mov;0:02;00:00:03;Validation"]
    write(tmp_path, "labels.csv", "Action;Filename;Start;End;Subset", *rows, encoding="utf-16")
    assert run(tmp_path, "labels.csv") == (0, {})
    assert "UTF-16" in capsys.readouterr().err
    assert check(tmp_path) == (0, {})
    splits = load_splits(tmp_path / "out", SPEC)
    assert shown(splits.train) == [("rec 1_000000_000001", [10, 29])]
    assert shown(splits.val) == [("rec.2_000002_000003", [250, 274])]
    assert any("UTF-16" in line and "'filename'" in line for line in splits.report)


def test_a_path_tells_which_of_several_videos_of_one_name_is_meant(tmp_path: Path) -> None:
    """Recordings of several subjects are all named 1.mp4."""
    for number, place in enumerate(("x/1.mp4", "y/1.mp4", "y/s/1.mp4", "x/2.mp4", "clap/3.mp4", "3.mp4")):
        encode_numbered_video(tmp_path / "v" / place, 3, start=10 * number)
    above = str(tmp_path / "v").replace("/", "\\")
    rows = ["wave,x/1.mp4", "clap,s\\1.mp4", rf"turn,{above}\y\1.mp4", "wave,clap/3.mp4", "turn,other/videos/3.mp4"]
    write(tmp_path, "train.csv", "class,path", *rows, "clap,y/2.mp4", "turn,x/2.avi")
    status, listed = run(tmp_path, "train.csv")
    assert status == 1
    kinds = {"clap/2": "missing", "wave/3": "warning", "turn/2": "warning"}
    assert {name: listed.get(name) for name in kinds} == kinds, "a row must not get a video of another path"
    assert frames_in(tmp_path, "clap/1") == [20, 21, 22]
    assert frames_in(tmp_path, "turn/1") == [10, 11, 12]
    assert frames_in(tmp_path, "wave/3") == [40, 41, 42]
    assert frames_in(tmp_path, "turn/3") == [50, 51, 52]
    assert frames_in(tmp_path, "turn/2") == [30, 31, 32]
    assert "clap/2" not in {f"{path.parent.name}/{path.name}" for path in (tmp_path / "out" / "jpg").glob("*/*")}


def test_two_paths_that_may_both_mean_one_file_get_none(tmp_path: Path) -> None:
    """All recordings were copied into one folder, and of those with one name the last one is left."""
    encode_numbered_video(tmp_path / "v" / "1.mp4", 3)
    write(tmp_path, "train.csv", "class,path", "wave,a/1.mp4", "clap,b/1.mp4")
    status, listed = run(tmp_path, "train.csv")
    assert status == 1 and listed["clap/1"] == "failed"


def test_a_database_of_another_file_than_the_path_says_is_found(tmp_path: Path) -> None:
    """It was converted by folders of classes, and the label files were written by hand."""
    encode_numbered_video(tmp_path / "v" / "wave" / "1.mp4", 3)
    assert run(tmp_path)[0] == 0
    write(tmp_path, "train.csv", "class,path", "wave,wave/1.mp4")
    assert check(tmp_path) == (0, {})
    write(tmp_path, "train.csv", "class,path", "wave,other/1.mp4")
    assert check(tmp_path) == (1, {"wave/1": "other file"})


def test_folders_may_have_underscores_for_the_spaces_of_a_path(tmp_path: Path) -> None:
    """`verify` called such databases those of another file, and the command that it advised found no video."""
    places = ("play_it/a.mp4", "two words/b.mp4", "c d/c.mp4", "c_d/c.mp4", "e_f/e.mp4", "g_h/h.mp4")
    for number, place in enumerate(places):
        encode_numbered_video(tmp_path / "v" / place, 3, start=10 * number)
    assert run(tmp_path)[0] == 0
    rows = ["play it,play it/a.mp4", "two_words,/data/two_words/b.avi", "c d,c_d/c.mp4", "e f,e f/e.mp4"]
    write(tmp_path, "all.csv", "class,path", *rows, "g_h,g_h/h.mp4")
    assert check(tmp_path, "all.csv") == (1, {"c_d/c": "stray"}), "the class c d has two folders with this video"
    write(tmp_path, "all.csv", "class,path", *rows, "g h,g h/h.mp4", "e_g,e_f/e.mp4")
    (tmp_path / "out" / "jpg").rename(tmp_path / "before")
    status, listed = run(tmp_path, "all.csv")
    assert frames_in(tmp_path, "play it/a")[0] == 0 and frames_in(tmp_path, "two_words/b")[0] == 10
    assert frames_in(tmp_path, "c d/c")[0] == 30 and frames_in(tmp_path, "g h/h")[0] == 50
    assert frames_in(tmp_path, "e_g/e")[0] == 40, "the path that is written, which is not that of e f"
    assert status == 1 and {name for name, kind in listed.items() if kind != "warning"} == {"e f/e"}
    assert listed.keys() == {"two_words/b", "e_g/e", "e f/e"}
    resized = tmp_path / "resized"
    given = ["--labels", str(tmp_path / "out" / "labels" / "all.csv"), "--workers", "1"]
    resize.main([str(tmp_path / "v"), str(resized), *given])
    assert convert.main([str(resized / "videos"), str(tmp_path / "again"), *given]) == 1
    found = {path.parent.parent.name for path in (tmp_path / "again" / "jpg").glob("*/*/frames.db")}
    assert found == {"play it", "two_words", "c d", "g h"}, "all whose path is in the folder of their class"


def test_a_folder_of_frames_that_is_named_as_a_video(tmp_path: Path) -> None:
    """It had a database of this name before suffixes were read, which stays valid."""
    folder = tmp_path / "v" / "wave" / "1.mp4"
    folder.mkdir(parents=True)
    for number, data in enumerate(numbered_jpegs(range(5))):
        (folder / f"{number}.jpg").write_bytes(data)
    assert run(tmp_path)[0] == 0
    write(tmp_path, "train.csv", "label,id", "wave,1.mp4")
    assert run(tmp_path, "train.csv") == (0, {}) and check(tmp_path) == (0, {})
    assert [path.name for path in (tmp_path / "out" / "jpg" / "wave").iterdir()] == ["1.mp4"]


@pytest.mark.parametrize("suffix", ["mp4", "avi", "mkv", "ts"])
def test_clips_of_numbered_frames_are_cut_to_the_frame(tmp_path: Path, suffix: str) -> None:
    """Times would be off by a frame where the rate varies, as it does here in formats that have times."""
    pts = [2 * number + number % 2 for number in range(60)] if suffix in ("mp4", "mkv") else None
    codec = {"avi": "mpeg4"}.get(suffix, "libx264")
    encode_numbered_video(tmp_path / "v" / f"a.{suffix}", 60, codec=codec, pts=pts)
    rows = ["wave,a,12,34", "wave,a,0,1", "clap,a,50,60"]
    write(tmp_path, "train.csv", "label,id,start_frame,end_frame", *rows)
    assert run(tmp_path, "train.csv") == (0, {})
    assert frames_in(tmp_path, "wave/a_f000012_f000034") == list(range(12, 34))
    assert frames_in(tmp_path, "wave/a_f000000_f000001") == [0]
    assert frames_in(tmp_path, "clap/a_f000050_f000060") == list(range(50, 60))
    made = read_origin(tmp_path / "out" / "jpg" / "wave" / "a_f000012_f000034" / "frames.db")
    assert made is not None and (made.frames, made.start, made.seconds) == ((12, 34), None, None)
    assert run(tmp_path, "train.csv") == (0, {}) and check(tmp_path) == (0, {})


def test_other_frames_than_those_of_the_label_file_are_found(tmp_path: Path) -> None:
    """A folder was renamed to that of a row, or holds the whole video."""
    encode_numbered_video(tmp_path / "v" / "a.mp4", 40)
    header = "label,id,start_frame,end_frame"
    write(tmp_path, "train.csv", header, "wave,a,10,20", "wave,a,30,39")
    assert run(tmp_path, "train.csv") == (0, {})
    folder = tmp_path / "out" / "jpg" / "wave"
    (folder / "a_f000030_f000039").rename(folder / "other")
    (folder / "a_f000010_f000020").rename(folder / "a_f000030_f000039")
    (folder / "other").rename(folder / "a_f000010_f000020")
    names = ("wave/a_f000010_f000020", "wave/a_f000030_f000039")
    status, listed = check(tmp_path)
    assert status == 1 and all(listed[name] == "other times" for name in names)
    status, listed = run(tmp_path, "train.csv")
    assert (status, listed) == (1, dict.fromkeys(names, "differs"))
    assert run(tmp_path, "train.csv", flags=("--replace",)) == (0, {})
    assert frames_in(tmp_path, names[1]) == list(range(30, 39)) and check(tmp_path) == (0, {})


def test_frames_that_a_video_does_not_have_are_said(tmp_path: Path) -> None:
    encode_numbered_video(tmp_path / "v" / "a.mp4", 40)
    write(tmp_path, "train.csv", "label,id,start_frame,end_frame", "wave,a,30,45", "wave,a,35,60", "wave,a,99,100")
    status, listed = run(tmp_path, "train.csv")
    assert status == 1
    kinds = {listed[item] for item in listed if item.endswith(("35-60", "99-100"))}
    assert kinds == {"failed"} and listed["a.mp4 frames 30-45"] == "warning"
    assert frames_in(tmp_path, "wave/a_f000030_f000045") == list(range(30, 40))


def test_numbered_frames_of_a_folder_of_frames(tmp_path: Path) -> None:
    folder = tmp_path / "v" / "a"
    folder.mkdir(parents=True)
    for number, data in enumerate(numbered_jpegs(range(20))):
        (folder / f"img_{number + 1}.jpg").write_bytes(data)
    write(tmp_path, "train.csv", "label,id,start_frame,end_frame", "wave,a,5,9")
    assert run(tmp_path, "train.csv") == (0, {})
    assert frames_in(tmp_path, "wave/a_f000005_f000009") == [5, 6, 7, 8]
    (folder / "img_3.jpg").unlink()
    write(tmp_path, "train.csv", "label,id,start_frame,end_frame", "wave,a,6,9")
    status, listed = run(tmp_path, "train.csv", flags=("--keep-partial",))
    assert status == 1 and set(listed.values()) == {"failed"}, "a gap shifts the count"


@pytest.mark.parametrize(("codec", "options"), [("mpeg4", {"g": "10"}), ("libx264", {"bf": "3", "g": "10"})])
def test_damage_before_or_in_numbered_frames_is_not_passed_over(
    tmp_path: Path, codec: str, options: dict[str, str]
) -> None:
    """A lost frame shifts the count, and all clips behind it would hold other frames; those before it are right.

    With bidirectional frames, the decoder reads the damaged packet before it gives the frames that come before it.
    """
    path = encode_numbered_video(tmp_path / "a.mp4", 60, codec=codec, options=options)
    content = path.read_bytes()
    with av.open(str(path)) as container:
        packets = [(packet.pts, packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    _, place, size = sorted(packets)[31]
    path.write_bytes(content[: place + 6] + bytes(size - 6) + content[place + size :])
    assert [frame_number(pixels) for pixels in VideoReader(path, 360, frames=(3, 25))] == list(range(3, 25))
    for frames in ((20, 58), (50, 58), (31, 32)):
        with pytest.raises(VideoError):
            list(VideoReader(path, 360, frames=frames))


def test_short_segments_have_their_own_folders_in_every_command(tmp_path: Path) -> None:
    """Several gestures in a second: train and val labels decide together, and each is found by either alone."""
    encode_numbered_video(tmp_path / "v" / "a.mp4", 100)
    header = "label,id,start,end"
    write(tmp_path, "train.csv", header, "wave,a,1.0,1.2", "wave,a,1.2,1.4", "clap,a,2.0,2.4")
    write(tmp_path, "val.csv", header, "wave,a,1.4,1.6", "clap,a,2.4,2.8")
    assert run(tmp_path, "val.csv", "train.csv") == (0, {})
    for names in (("train.csv", "val.csv"), ("val.csv", "train.csv")):
        assert run(tmp_path, *names) == (0, {}) and check(tmp_path, *names) == (0, {})
    before = sorted((tmp_path / "out" / "jpg").glob("*/*"))
    assert run(tmp_path, "val.csv") == (0, {})
    assert sorted((tmp_path / "out" / "jpg").glob("*/*")) == before, "they are already there"
    train = [("a_000001.000_000001.200", [25, 29]), ("a_000001.200_000001.400", [30, 34])]
    train.append(("a_000002.000_000002.400", [50, 59]))
    val = [("a_000001.400_000001.600", [35, 39]), ("a_000002.400_000002.800", [60, 69])]
    splits = load_splits(tmp_path / "out", SPEC)
    assert (shown(splits.train), shown(splits.val)) == (train, val)
    assert shown(load_val(tmp_path / "out", SPEC, None, ["clap", "wave"])[0]) == val
    (tmp_path / "out" / "labels" / "train.csv").unlink()
    assert shown(load_val(tmp_path / "out", SPEC, None, ["clap", "wave"])[0]) == val
    assert set(check(tmp_path, "val.csv")[1].values()) == {"stray"}


def test_segments_of_a_conversion_with_one_label_file_are_not_mixed_up(tmp_path: Path) -> None:
    """Converted by the train labels alone, the folder in whole seconds is not that of a val row, nor read for one."""
    encode_numbered_video(tmp_path / "v" / "a.mp4", 100)
    header = "label,id,start,end"
    write(tmp_path, "train.csv", header, "wave,a,1.0,1.2", "clap,a,2,3")
    write(tmp_path, "val.csv", header, "wave,a,1.4,1.6", "clap,a,3,4")
    assert run(tmp_path, "train.csv") == (0, {})
    assert set(run(tmp_path, "val.csv")[1].values()) == {"differs"}
    with pytest.raises(DataError, match="a_000001_000001 may be of another clip"):
        load_splits(tmp_path / "out", SPEC)
    write(tmp_path, "train.csv", header, "wave,a,1.0,1.2", "clap,a,2,3", "wave,a,0,1")
    assert run(tmp_path, "train.csv") == (0, {})
    splits = load_splits(tmp_path / "out", SPEC)
    assert shown(splits.train) == [("a_000002_000003", [50, 74]), ("a_000000_000001", [0, 24])]
    assert shown(splits.val) == [("a_000003_000004", [75, 99])]
    assert sum("may be of another clip" in line for line in splits.report) == 2
    assert shown(load_val(tmp_path / "out", SPEC, None, ["clap", "wave"])[0]) == [("a_000003_000004", [75, 99])]
    assert check(tmp_path, "val.csv")[1]["wave/a_000001_000001"] == "other times"
    assert run(tmp_path, "train.csv", "val.csv") == (0, {})
    assert shown(load_splits(tmp_path / "out", SPEC).val)[0] == ("a_000001.400_000001.600", [35, 39])


FORMS = unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é")


@pytest.mark.parametrize(("form", "other"), [FORMS, FORMS[::-1]])
@pytest.mark.parametrize("place", ["", "caf{}/", "v/caf{}/"])
def test_accents_may_be_in_another_unicode_form(tmp_path: Path, form: str, other: str, place: str) -> None:
    """Files of macOS and a table of a spreadsheet: the videos of such classes were left out, or of another class."""
    for start, name in enumerate((f"caf{form}/x", f"caf{form}/{form}", f"ren{form}/x", f"ren{form}/{form}")):
        encode_numbered_video(tmp_path / "v" / f"{name}.mp4", 3, 32, 32, start=10 * start)
    rows = [
        f"{label}{other},{place.replace('caf', label).format(other)}{name}.mp4"
        for label in ("caf", "ren")
        for name in ("x", other)
    ]
    write(tmp_path, "all.csv", "class,file", *rows)
    status, listed = run(tmp_path, "all.csv")
    assert (status, set(listed.values())) == (0, {"warning"}) and len(listed) == 1
    found = [frames_in(tmp_path, f"{label}{other}/{name}")[0] for label in ("caf", "ren") for name in ("x", other)]
    assert found == [0, 10, 20, 30]
    assert check(tmp_path, "all.csv") == (0, {})


def test_a_file_in_another_unicode_form_is_not_guessed(tmp_path: Path) -> None:
    """Two files may be meant, or the file is another row's: of train and val, both would read it."""
    composed, apart = FORMS
    for start, name in enumerate((f"run/a/{apart}", f"run/b/{apart}", f"run/{apart}2")):
        encode_numbered_video(tmp_path / "v" / f"{name}.mp4", 3, 32, 32, start=10 * start)
    write(tmp_path, "all.csv", "class,file", f"run,{composed}.mp4", f"run,{apart}2.mp4", f"run,{composed}2.mp4")
    assert run(tmp_path, "all.csv") == (1, {f"run/{composed}": "failed", f"run/{composed}2": "missing"})
    for start, form in enumerate(FORMS, start=4):
        encode_numbered_video(tmp_path / "v" / "run" / f"{form}3.mp4", 3, 32, 32, start=10 * start)
    write(tmp_path, "both.csv", "class,file", f"run,{apart}3.mp4", f"run,{composed}3.mp4")
    assert run(tmp_path, "both.csv")[0] == 0
    assert [frames_in(tmp_path, f"run/{form}3")[0] for form in FORMS] == [40, 50]


@pytest.mark.parametrize("form", ["a", *FORMS])
def test_no_warning_tells_from_where_a_missing_video_is_taken(tmp_path: Path, form: str) -> None:
    """The line would say that a file of another class was taken, and the next one that there is no video."""
    encode_numbered_video(tmp_path / "v" / "walk" / f"{unicodedata.normalize('NFC', form)}.avi", 3, 32, 32)
    encode_numbered_video(tmp_path / "v" / "run" / "b.mp4", 3, 32, 32)
    write(tmp_path, "all.csv", "class,file", f"run,{form}.mp4", "run,b.mp4", "walk,c.mp4")
    rows = read_labels(tmp_path / "out" / "labels" / "all.csv")
    _, warnings, _ = find_rows(tmp_path / "v", tmp_path / "out", rows)
    assert warnings == []


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("Run_00.MP4", "; did you mean run/run_00.mp4?"),
        ("run-0", "; did you mean run/run_00.mp4?"),
        ("B", ""),
        ("other", ""),
    ],
)
def test_a_name_that_is_nearly_that_of_a_video_is_told(tmp_path: Path, written: str, hint: str) -> None:
    """Tables made on Windows have names in another case; a row would be missing, and no line say why."""
    for name in ("run_00", "b"):
        encode_numbered_video(tmp_path / "v" / "run" / f"{name}.mp4", 3, 32, 32)
    write(tmp_path, "l.csv", "label,file", f"run,{written}", "run,b")
    (missing, _), _, _ = find_rows(tmp_path / "v", tmp_path / "o", read_labels(tmp_path / "out" / "labels" / "l.csv"))
    assert isinstance(missing, Problem) and missing.reason.endswith(f"under {tmp_path / 'v'}{hint}")


def test_rows_of_one_file_with_and_without_its_suffix_are_found(tmp_path: Path) -> None:
    """Two people write one file differently: the rows of the second would be left out."""
    encode_numbered_video(tmp_path / "v/run/r02.mp4", 50)
    write(tmp_path, "train.csv", "label,path,start,end,split", "run,run/r02.mp4,0,0.8,train", "run,run/r02,1,1.6,train")
    assert run(tmp_path, "train.csv") == (0, {})
    assert len(list((tmp_path / "out/jpg/run").iterdir())) == 2
