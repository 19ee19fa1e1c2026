"""Lists of paths as UCF-101, TSN and others have them: each line is its own video of its own class, or is told."""

import unicodedata
from pathlib import Path

import pytest

from common.errors import DataError
from data.prepare.folder_files import LabelFile, by_files
from data.prepare.folder_layout import Layout
from data.prepare.folder_lists import names_of_numbers, ordered, read_classes
from data.prepare.folder_tree import walk
from data.prepare.path_index import PathIndex


def find(folder: Path, files: str, *lists: str, classes: str = "") -> Layout:
    """The layout of empty files "a/b.mp4 c.mp4" by lists with these lines; ~ is a space in the name of a file."""
    for file in files.split():
        path = folder / "videos" / file.replace("~", " ")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    named = []
    for place, text in enumerate(lists):
        (folder / f"{place}.txt").write_text(text)
        named.append(LabelFile(folder / f"{place}.txt", ("train", "val", "test")[place]))
    known = None
    if classes:
        (folder / "classes.txt").write_text(classes)
        known = read_classes(folder / "classes.txt")
    return by_files(walk(folder / "videos", folder / "out"), folder / "out", named, known)


def taken(found: Layout, folder: Path) -> dict[str, str]:
    """The class and split of each file."""
    root = folder / "videos"
    return {str(video.path.relative_to(root)): f"{video.label} {video.split}" for video in found.videos}


def test_the_class_is_the_folder(tmp_path: Path) -> None:
    """As in EgoGestAR; and UCF-101's train lists have numbers, its test lists have none."""
    found = find(tmp_path, "wave/a.mp4 wave/b.mp4 jump/a.mp4", "wave/a.mp4 2\njump/a.mp4 1\n", "wave/b.mp4\n")
    assert taken(found, tmp_path) == {"wave/a.mp4": "wave train", "jump/a.mp4": "jump train", "wave/b.mp4": "wave val"}


def test_the_class_is_the_number(tmp_path: Path) -> None:
    """As in the lists of TSN: a path, perhaps the number of frames, and the class."""
    found = find(tmp_path, "a.avi b.avi x/c~3.avi", "a.avi 17\nb 120 3\nx/c 3.avi,17\n")
    assert taken(found, tmp_path) == {"a.avi": "17 train", "b.avi": "3 train", "x/c 3.avi": "17 train"}


@pytest.mark.parametrize(("rows", "is_said"), [("a.mp4 0 1\nb.mp4 1 0\n", True), ("a.mp4 1\nb.mp4 0\n", False)])
def test_a_first_of_two_numbers_is_said_to_be_that_of_frames(tmp_path: Path, rows: str, is_said: bool) -> None:
    """A list with the class first, or with two classes a line, would be read as another in silence."""
    found = find(tmp_path, "a.mp4 b.mp4", rows)
    assert {video.label for video in found.videos} == {"0", "1"}
    assert any("number of frames" in note and "line 1" in note for note in found.notes) == is_said


@pytest.mark.parametrize(
    ("classes", "numbers", "expected"),
    [
        ("x\ny\nz\n", "0 2", "xz"),
        ("x\ny\nz\n", "1 3", "xz"),
        ("x\ny\nz\n", "1 2", ""),  # from 0 or from 1?
        ("1 x\n2 y\n3 z\n", "1 2", "xy"),
        ("0 x\n1 y\n2 z\n", "1 2", "yz"),
        ("x\ny\n", "0 2", ""),
        ("Klasse\nx\ny\n", "0 1", ""),  # a header, or has the last class no video?
        ("Klasse\nx\ny\n", "1 2", ""),
        ('"x"\n"y"\n', "0 1", ""),
        ("names:\n- x\n- y\n", "0 2", ""),
        ('{\n"x",\n"y",\n', "0 2", ""),
        ("class_name,\nx,\ny,\n", "0 2", ""),
    ],
)
def test_numbers_get_the_names_of_classes(tmp_path: Path, classes: str, numbers: str, expected: str) -> None:
    """Counted from 0 in place of 1, each video would get the class of its neighbour."""
    lines = "".join(f"{name} {number}\n" for name, number in zip(("a.mp4", "b.mp4"), numbers.split(), strict=True))
    if not expected:
        with pytest.raises(DataError):
            find(tmp_path, "a.mp4 b.mp4", lines, classes=classes)
        return
    found = find(tmp_path, "a.mp4 b.mp4", lines, classes=classes)
    assert [video.label for video in found.videos] == list(expected)


def test_folders_tell_that_the_last_class_has_no_video(tmp_path: Path) -> None:
    found = find(tmp_path, "x/a.mp4 y/b.mp4 c.mp4", "x/a.mp4 0\ny/b.mp4 1\nc.mp4 0\n", classes="x\ny\nz\n")
    assert [video.label for video in found.videos] == ["x", "y", "x"]


def test_folders_tell_from_which_number_classes_count(tmp_path: Path) -> None:
    (tmp_path / "videos" / "q").mkdir(parents=True)
    found = find(tmp_path, "y/a.mp4 z/b.mp4 q/c.mp4", "y/a.mp4 2\nz/b.mp4 3\n", classes="x\ny\nz\nw\n")
    assert [video.label for video in found.videos] == ["y", "z"]
    assert "q/c.mp4" in " ".join(found.notes)  # no list names it


@pytest.mark.parametrize(
    "lists",
    [
        ("a/1.mp4\n", "a/1.mp4\n"),  # refused by the split: the same video in both
        ("a/1.mp4 1\na/1.mp4 2\n",),
        ("a/1.mp4\nA/../a/1.mp4\n",),
        ("".join(f"a/{i}.mp4 1\nb/{i}.mp4 2\n" for i in range(10)) + "a/10.mp4 2\n",),  # one wrong number
        ("a/1.mp4 1\na/2.mp4\nb/1.mp4 1\n",),
        ("c/1.mp4\n",),  # none is there
        ("\n\n",),
        ("label\n",),
    ],
)
def test_a_list_that_contradicts_itself_is_refused(tmp_path: Path, lists: tuple[str, ...]) -> None:
    """One of the lines is wrong; which, only the user knows."""
    files = " ".join(f"{folder}/{i}.mp4" for folder in "ab" for i in range(11))
    with pytest.raises(DataError):
        found = find(tmp_path, files, *lists)
        if len(lists) == 2:  # told when splits are made
            assert len({video.split for video in found.videos}) == 2
            raise DataError


@pytest.mark.parametrize(("lists", "facts"), [
    ("a/1.mp4 1\na/1.mp4 2\nb/1.mp4 3\n", ("'a/1.mp4 1'", "'a/1.mp4 2'", "different classes")),
    ("hand\t00:00:00.2\t00:00:00.6\tpush\ta/9.mp4\n", ("header", "label")),
])  # fmt: skip
def test_what_is_wrong_with_a_list_is_said(tmp_path: Path, lists: str, facts: tuple[str, ...]) -> None:
    """Both lines as written; and a table without a header was taken for a list of odd paths."""
    with pytest.raises(DataError) as caught:
        find(tmp_path, "a/1.mp4 b/1.mp4", lists)
    assert all(fact in str(caught.value) for fact in facts)


@pytest.mark.parametrize("names", ["000 wave\n001 jump\n", "0 wave\n1 jump\n", "wave\njump\n"])
def test_numbers_in_paths_get_the_names_of_classes(tmp_path: Path, names: str) -> None:
    """Names such as S000_A001_rgb.avi hold the number of the action, and a file of the dataset has its name."""
    (tmp_path / "names.txt").write_text(names)
    classes = read_classes(tmp_path / "names.txt")
    assert names_of_numbers(["000", "001", "000"], classes) == ["wave", "jump", "wave"]
    assert names_of_numbers(["wave", "001"], classes) == ["wave", "001"]
    with pytest.raises(DataError):
        names_of_numbers(["000", "002"], classes)


@pytest.mark.parametrize(
    "names",
    [
        "name\nwave\njump\n",
        "# classes\nwave\njump\n",
        "Class Name\nwave\n",
        "id,name\n0,wave\n1,jump\n",
        "x\n0 a\n1 b\n",
    ],
)
def test_a_header_is_no_class(tmp_path: Path, names: str) -> None:
    """Each class would get the name of the one before it."""
    (tmp_path / "names.txt").write_text(names)
    classes = read_classes(tmp_path / "names.txt")
    with pytest.raises(DataError, match="seems to be a header"):
        names_of_numbers(["0", "1"], classes)
    with pytest.raises(DataError, match="seems to be a header"):
        ordered(set(classes.names[1:]), classes)


@pytest.mark.parametrize(
    "names",
    ["wave\naction painting\n", "0 name\n1 class\n", "labelling\nwave\n", "100 metres\nwave\n", "step 1\nstep 2\n"],
)
def test_names_like_a_header_or_a_number_are_classes(tmp_path: Path, names: str) -> None:
    (tmp_path / "names.txt").write_text(names)
    classes = read_classes(tmp_path / "names.txt")
    assert names_of_numbers(["0", "1"], classes) == classes.names


def test_a_class_may_be_named_as_a_header(tmp_path: Path) -> None:
    """Films are of the genres action and comedy."""
    (tmp_path / "names.txt").write_text("action\ncomedy\n")
    assert ordered({"action", "comedy"}, read_classes(tmp_path / "names.txt"))[0] == ["action", "comedy"]


@pytest.mark.parametrize("names", ["1;jump\n0;wave\n", "1: jump\n0: wave\n", "1 = jump\n0=wave\n"])
def test_numbers_and_names_are_told_apart_by_any_sign(tmp_path: Path, names: str) -> None:
    """Else each line would be a name, in the order of the file."""
    (tmp_path / "names.txt").write_text(names)
    assert read_classes(tmp_path / "names.txt").names == ["wave", "jump"]


@pytest.mark.parametrize(
    "names", ["0 wave\n1 jump\n3 run\n", "0 wave\njump\n2 run\n", "0 wave\n1 jump\n1 run\n", "wave 1\njump 0\nrun 2\n"]
)
def test_numbers_with_a_gap_name_no_numbers(tmp_path: Path, names: str) -> None:
    """Number 2 would be the third line, whatever that says."""
    (tmp_path / "names.txt").write_text(names)
    with pytest.raises(DataError, match="do not count"):
        names_of_numbers(["0", "1", "2"], read_classes(tmp_path / "names.txt"))


def test_a_path_is_taken_with_more_or_fewer_folders_but_never_another_file(tmp_path: Path) -> None:
    """Lists are written on other machines; names such as 001.mp4 come in each class."""
    index = PathIndex([("wave", "001.mp4"), ("jump", "001.avi"), ("x", "run", "001.mp4"), ("c.mp4",), ("c.avi",)])
    assert index.find("wave/001.mp4") == index.find("/data/wave/001.mp4") == index.find(r"wave\001") == [
        ("wave", "001.mp4")
    ]  # fmt: skip
    assert index.find("run/001.mp4") == [("x", "run", "001.mp4")]
    assert index.find("jump/001.mp4") == index.find("swim/001.mp4") == index.find("") == index.find("/") == []
    assert len(index.find("001")) == 3 and index.find("c.avi") == [("c.avi",)]
    found = find(tmp_path, "wave/a.mp4 jump/a.mp4 b.mp4", "/old/wave/a.mp4\n/old/jump/a.mp4\n/old/swim/a.mp4\n")
    assert set(taken(found, tmp_path)) == {"wave/a.mp4", "jump/a.mp4"}
    assert [(problem.kind, problem.item) for problem in found.problems] == [("missing", "/old/swim/a.mp4")]


def test_folders_may_have_underscores_for_the_spaces_of_a_list(tmp_path: Path) -> None:
    """Such folders are of one class everywhere; here all their videos were left out. Names of files stay apart."""
    index = PathIndex([("play_it", "a_1.mp4"), ("two words", "b.mp4"), ("c d", "c.mp4"), ("c_d", "c.mp4")])
    assert index.find("play it/a_1.mp4") == index.find("x/play it/a_1") == [("play_it", "a_1.mp4")]
    assert index.find("two_words/b.mp4") == [("two words", "b.mp4")]
    assert index.find("c_d/c.mp4") == [("c_d", "c.mp4")] and index.find("play it/a 1.mp4") == []
    apart = unicodedata.normalize("NFD", "é")
    assert PathIndex([("é_x", "é.mp4")]).find(f"{apart} x/{apart}.mp4") == [("é_x", "é.mp4")]
    files, lines = "play_it/a.mp4 two~words/b.mp4 é_x/é.mp4", "play it/a.mp4\ntwo_words/b.mp4\né x/é.mp4\n"
    found = find(tmp_path, files, lines)
    assert len(taken(found, tmp_path)) == 3 and not found.problems
    assert not any("Unicode" in note for note in found.notes)


def test_two_folders_of_a_list_do_not_mean_one_file(tmp_path: Path) -> None:
    """A flat copy of a dataset whose names come in each class has lost all but one of them."""
    with pytest.raises(DataError):
        find(tmp_path, "001.mp4", "wave/001.mp4\njump/001.mp4\n")


def test_a_comma_and_a_space_may_stand_before_the_number(tmp_path: Path) -> None:
    found = find(tmp_path, "a.mp4 b.mp4", "a.mp4, 1\nb.mp4, 2\n")
    assert taken(found, tmp_path) == {"a.mp4": "1 train", "b.mp4": "2 train"}


def test_a_row_of_a_table_is_no_path(tmp_path: Path) -> None:
    """Else the folder of the video, or the text before it, would be the class: not jump, as the rows say."""
    files = "val/a.mp4 val/b.mp4 c.mp4"
    rows = "jump\t./val/a.mp4\nwave\t./val/b.mp4\n"
    found = find(tmp_path, files, "sep=\t\nclass\tpath\n" + rows)
    assert taken(found, tmp_path) == {"val/a.mp4": "jump train", "val/b.mp4": "wave train"}
    for lines in (rows, "jump,x/c.mp4\n"):  # without a header
        with pytest.raises(DataError):
            find(tmp_path, files, lines)


def test_two_lists_do_not_give_a_video_two_classes(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        find(tmp_path, "a.mp4 b.mp4", "a.mp4 1\n", "b.mp4 2\na.mp4 2\n")


def test_the_folder_of_a_class_is_no_subject(tmp_path: Path) -> None:
    """Else --by-folder 1 would take all videos of a class for those of a subject."""
    text = "class,path\nhop it,hop_it/s1/a.mp4\nwave,wave/s1/a.mp4\nwave,hop_it/s2/b.mp4\n"
    found = find(tmp_path, "hop_it/s1/a.mp4 wave/s1/a.mp4 hop_it/s2/b.mp4", text)
    assert [video.folders for video in found.videos] == [("s1",), ("s1",), ("s2",)]


def test_numbers_sort_by_value() -> None:
    """Else class 10 stands before class 2, and a list of names by number names the wrong ones."""
    assert ordered({"10", "9", "1"}, None)[0] == ["1", "9", "10"]
    assert ordered({"10", "9", "a"}, None)[0] == ["10", "9", "a"]


def test_accents_may_be_in_another_unicode_form(tmp_path: Path) -> None:
    """A list of a Linux machine beside files of macOS: such videos were left out."""
    apart, composed = (unicodedata.normalize(form, "é") for form in ("NFD", "NFC"))
    files = f"caf{apart}/{apart}.mp4 caf{apart}/x.mp4 run/{apart}.mp4 run/x.mp4"
    lines = [f"caf{composed}/{composed}.mp4", f"caf{composed}/x", f"run/{apart}.mp4", "run/x.mp4"]
    found = find(tmp_path, files, "".join(f"{line}\n" for line in lines))
    assert len(taken(found, tmp_path)) == 4 and not found.problems
    (line,) = [note for note in found.notes if "Unicode form" in note]
    assert "2 lines" in line and "line 1" in line
