"""Label files as users write and download them. An invalid row must be named, not guessed at."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import DataError
from data.labels.csv_file import read_lines
from data.labels.label_file import LabelRow, clip_name, label_text, read_labels
from data.store.video_suffixes import is_video

TIMED = "label,youtube_id,time_start,time_end,split\n"


def write(path: Path, content: str | bytes) -> Path:
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content, encoding="utf-8")
    return path


@pytest.fixture
def label_file(tmp_path):
    return lambda content: write(tmp_path / "labels.csv", content)


def test_rows_without_times_name_folders_by_their_id(label_file):
    rows = read_labels(label_file("label,id,split\nwave,v_wave_g01,train\nbox,v_box_g01,val\n"))
    assert [(row.label, row.video_id, row.split, row.time_start) for row in rows] == [
        ("wave", "v_wave_g01", "train", None),
        ("box", "v_box_g01", "val", None),
    ]


def test_times_become_whole_seconds_in_the_folder_name_and_stay_exact_for_cutting(label_file):
    (row,) = read_labels(label_file(TIMED + "Archery,a2X2hz1G6i8,15.5,17.5,training\n"))
    assert row.video_id == "a2X2hz1G6i8_000015_000017"
    assert (row.youtube_id, row.time_start, row.time_end) == ("a2X2hz1G6i8", 15.5, 17.5)


def test_times_written_as_floats_give_the_same_folder_as_integers(label_file):
    (row,) = read_labels(label_file(TIMED + "testifying,---QUuC4vJs,84.0,94.0,validate\n"))
    assert row.video_id == "---QUuC4vJs_000084_000094"


@pytest.mark.parametrize("text", ["1_5", "1e1", "٣", "+3", "0x3", "1.5.0", "nan", "inf", "1,5", ".", "1e-1_0"])
def test_a_time_has_plain_decimal_digits(label_file, text):
    """Python reads 1_5 as 15: a slip of the pen would cut another part out of the video."""
    with pytest.raises(DataError, match=r"line 2: time_end .* is not a time in seconds"):
        read_labels(label_file(f'label,youtube_id,time_start,time_end\nwave,a,0,"{text}"\n'))


@pytest.mark.parametrize(("text", "seconds"), [("84.0", 84), ("84.", 84), (".5", 0.5), ("007", 7), ("1.5e-05", 1.5e-5)])
def test_times_as_official_files_and_python_write_them_are_read(label_file, text, seconds):
    """Label files that older versions wrote have times just above 0 with an exponent."""
    (row,) = read_labels(label_file(f"label,youtube_id,time_start,time_end\nwave,a,{text},99\n"))
    assert row.time_start == seconds
    assert "e-" not in label_text([row])


def test_seconds_beyond_six_digits_are_not_cut_off():
    assert clip_name("x", 1234567.0, 1234577.0) == "x_1234567_1234577"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("train", "train"),
        ("training", "train"),
        ("val", "val"),
        ("validate", "val"),
        ("validation", "val"),
        ("test", "test"),
        ("Testing", "test"),
        ("", ""),
    ],
)
def test_every_name_in_use_for_a_split_is_understood(label_file, written, meant):
    assert read_labels(label_file(f"label,id,split\nwave,a,{written}\n"))[0].split == meant


@pytest.mark.parametrize(
    "content",
    [
        "label, id, split\nplaying guitar, -a#!()+, train\n",
        "\ufefflabel,id,split\nplaying guitar,-a#!()+,train\n",
        "label,id,split\r\nplaying guitar,-a#!()+,train\r\n",
        "label,id,split\rplaying guitar,-a#!()+,train\r",
        '"label","id","split"\n"playing guitar","-a#!()+","train"\n',
        'id, label, split\n-a#!()+, "playing guitar", train\n',
        "Label,ID,Split\n\nplaying guitar,-a#!()+,train\n\n",
        "is_cc,split,id,label\n1,train,-a#!()+,playing guitar\n",
    ],
    ids=["spaces", "BOM", "CRLF", "CR", "quotes", "spaces and quotes", "blank lines and capitals", "other columns"],
)
def test_the_same_row_in_any_style_of_csv(label_file, content):
    (row,) = read_labels(label_file(content))
    assert (row.label, row.video_id, row.split) == ("playing guitar", "-a#!()+", "train")


def test_quotes_and_brackets_that_belong_to_a_class_stay_in_it(label_file):
    """Without them the sorted order would change, and so the class of each output of a published network."""
    rows = read_labels(
        label_file('label,id\nmassaging person\'s head,a\npunching person (boxing),b\n"eating, drinking",c\n')
    )
    assert [row.label for row in rows] == ["massaging person's head", "punching person (boxing)", "eating, drinking"]


def test_only_some_rows_may_have_times(label_file):
    rows = read_labels(label_file(TIMED + "wave,a,1,2,train\nwave,b,,,train\n"))
    assert [row.video_id for row in rows] == ["a_000001_000002", "b"]


def test_names_that_are_not_ascii_are_read(label_file):
    (row,) = read_labels(label_file("label,id\nÜbung,クリップ\n"))
    assert (row.label, row.video_id) == ("Übung", "クリップ")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["empty"]),
        ("label,id\n", ["no rows"]),
        ("name,id\nwave,a\n", ["no column label", "name, id"]),
        ("label,clip\nwave,a\n", ["no column youtube_id, id, video", "label, clip"]),
        ("label,id,time_start\nwave,a,1\n", ["no column time_end"]),
        ("classname,youtube_id,subset,start,end,label\nArchery,a,training,1,2,1\n", ["HACS", "data.prepare.labels"]),
        (TIMED + "wave,a,1,2,train\nwave,b,soon,2,train\n", ["line 3", "time_start", "'soon'"]),
        (TIMED + "wave,a,1,nan,train\n", ["line 2", "time_end", "'nan'"]),
        (TIMED + "wave,a,-1,2,train\n", ["line 2", "'-1'"]),
        (TIMED + "wave,a,1,,train\n", ["line 2", "time_end", "''"]),
        (TIMED + "wave,a,7,7,train\n", ["line 2", "time_end 7 is not after time_start 7"]),
        ("label,id,split\nwave,a,dev\n", ["line 2", "'dev'", "validation"]),
        ("label,id\nwave,a\nwave,b\nwave,a\n", ["line 4 repeats line 2", "wave", "a"]),
        ("label,id\nwave,a,b\n", ["line 2", "3 fields", "2", "quotes"]),
        ("label,id,split\nwave,a\n", ["line 2", "2 fields"]),
        ("label,id\n,a\n", ["line 2", "label is empty"]),
        ("label,id\nwave,\n", ["line 2", "id is empty"]),
        ("label,id\nwave/box,a\n", ["line 2", "'wave/box'", "/"]),
        ("label,id\nwave,wave/..\n", ["line 2", "'..'"]),
        ("label,id\nwave,/\n", ["line 2", "'/'"]),
        ("label,id\nwave,..\n", ["line 2", "'..'"]),
        ('label,id\nwave,a\n"wave,b\nwave,c\n', ["after line 2"]),
        (b"label,id\nwave,\xff\xfe\n", ["UTF-8"]),
        ("label,id\nwave,a\n".encode("utf-16")[:-1], ["UTF-16"]),
        ("label,id\nwave,a\n".encode("utf-16") + b"\x00\xd8", ["UTF-16"]),
        ("label,id\nwave,a\n".encode("utf-32"), ["UTF-8"]),
        ("label,id\nwave,a\n".encode("utf-16-le"), ["UTF-8"]),
        (b"label,id\nwave,\xed\xa0\x80\n", ["UTF-8"]),
        ("label|id\nwave|a\n", ["'label|id'", "no column label"]),
        ("label;id\nwave,a\n", ["line 2", "1 fields", "semicolons"]),
        ("label\tid\nwave;x\ta;\tb\n", ["line 2", "3 fields", "tabs"]),
        ("label;id\nwave;a\nwave;a\n", ["line 3 repeats line 2"]),
        ('label;id;note\nwave;a;"good\nwave;b;ok\nwave;c;bad"\n', ["ends on line 4", "stray quote"]),
        ("label,label,id\nwave,box,a\n", ["2 columns label"]),
        ("label,id,start\nwave,a,1\n", ["columns start would", "time_start"]),
        ("label,id,start,begin,end\nwave,a,1,2,3\n", ["start, begin, end"]),
        ("label,id,start,end,start_frame,end_frame\nwave,a,1,2,1,2\n", ["start, end, start_frame", "and 1 more"]),
        ("label,id,clip_start,segment_end\nwave,a,1,2\n", ["clip_start, segment_end"]),
        ("label,id,time_start,end_frame\nwave,a,1,2\n", ["end_frame"]),
        ("label,id,start_frame,end_frame\nwave,a,1,1.5\n", ["line 2", "end_frame '1.5'"]),
        ("label,id,start_frame,end_frame\nwave,a,-1,5\n", ["line 2", "start_frame '-1'"]),
        ("label,id,start_frame,end_frame\nwave,a,5,5\n", ["line 2", "end_frame 5 is not after start_frame 5"]),
        ("label,id,start_frame,end_frame\nwave,a,5,\n", ["line 2", "end_frame ''"]),
        ("action,id,start,end\nwave,a,1:75,2:00\n", ["line 2", "start '1:75'"]),
        ("action;id;subset\nwave;a;train\nwave;b;trian\n", ["line 3", "'trian'"]),
        ('label,id,note\nwave,a,"good\nwave,b,ok\nwave,c,bad"\n', ["ends on line 4", "stray quote"]),
        ('label,id,note\nwave,a,"good\nwave,b,bad"\n', ["ends on line 3", "stray quote"]),
        ('note,label,id\n"good,wave,a\nok,wave,b\nbad",wave,c\n', ["ends on line 4", "stray quote"]),
        (TIMED + "wave,a,0,1e300,train\n", ["line 2", "time_end", "'1e300'"]),
        (TIMED + "wave,a,0,inf,train\n", ["line 2", "time_end", "'inf'"]),
        (",".join(f"c{i}" for i in range(100_000)) + "\n", ["no column label", "c0, c1"]),
        ("label,id\n" + "wave," * 100_000 + "a\n", ["line 2", "100001 fields"]),
        (TIMED + f"wave,a,{'9' * 100_000},1,train\n", ["line 2", "time_start"]),
        (f"label,id,split\nwave,a,{'x' * 100_000}\n", ["line 2", "unknown split"]),
        (f"label,id\nwave,{'x/' * 50_000}..\n", ["line 2", "'..'"]),
        (f"label,id\nwave,{'x/' * 50_000}/../\n", ["line 2", "'..'"]),
        (f"label,id\nwave,{'x' * 9000}\nwave,{'x' * 9000}\n", ["line 3 repeats line 2"]),
    ],
)
def test_an_invalid_file_is_an_error_that_names_file_line_and_value(label_file, content, words):
    path = label_file(content)
    with pytest.raises(DataError) as error:
        read_labels(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1000, "what a file holds may be megabytes, and a terminal shows a few lines"
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    "pair",
    [
        "start (ms),end (ms)", "start_ms,end_ms", "frame_start,end", "start_timestamp,stop_timestamp", "from,to",
        "onset,offset", "start_min,end_min", "begin,finish", "start,duration", "t0,t1", "tmin,tmax",
        "clipStartMs,clipEndMs", "start_offset,end_offset", "from_sec,until_sec", "first_frame,last_frame",
        "onset,duration", "in,out", "action start,action stop", "start[h],end[h]", "start_time_ms,finish",
        "offset,duration", "offset,length_s", "st,ed", "beg_sec,fin_sec",
    ],
)  # fmt: skip
def test_times_in_columns_of_any_name_are_refused(label_file, pair):
    """Their unit is not certain, and without times whole videos were converted and trained as the clips."""
    with pytest.raises(DataError, match="whole videos taken for the clips: name them time_start and time_end") as error:
        read_labels(label_file(f"label,id,{pair}\nwave,a,1,2{',3' * (pair.count(',') - 1)}\n"))
    assert f"in the columns {pair.lower().replace(',', ', ')} would" in str(error.value)


@pytest.mark.parametrize(
    "others",
    [
        "end_product,start_up", "to,source", "from,note", "offset,fps", "duration,length", "split_from,to_do",
        "min,max", "label_1,label_2", "first_name,last_name", "from_user,to_user", "trend,friend", "t0,onset",
        "x" + "ms" * 500 + ",startx" + "ms" * 500,
    ],
)  # fmt: skip
def test_columns_that_only_resemble_times_are_ignored(label_file, others):
    assert read_labels(label_file(f"label,id,{others}\nwave,a,1,2\n"))[0].video_id == "a"


def test_times_in_other_units_may_stand_beside_those_that_are_read(label_file):
    (row,) = read_labels(label_file("label,id,time_start,time_end,start_ms,end_ms\nwave,a,1,2,1000,2000\n"))
    assert (row.time_start, row.time_end) == (1, 2)
    with pytest.raises(DataError, match="start, end would not be read beside time_start and time_end: remove them"):
        read_labels(label_file("label,id,time_start,time_end,start,end\nwave,a,1,2,1,3\n"))


def test_what_is_no_file_is_a_clear_error(tmp_path):
    """A pipe would be waited for without a word, and a device without an end fills the memory."""
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "zero.csv").symlink_to("/dev/zero")
    for path in (tmp_path / "no.csv", tmp_path, tmp_path / "pipe.csv", tmp_path / "zero.csv", tmp_path / ("x" * 300)):
        with pytest.raises(DataError, match=str(path)):
            read_labels(path)
        with pytest.raises(DataError, match=str(path)):
            list(read_lines(path))


def test_a_file_too_large_for_labels_is_refused_before_it_is_read(tmp_path):
    """A video given by mistake as label file must not be read into memory."""
    with (tmp_path / "video.csv").open("wb") as file:
        file.truncate(2**30 + 1)
    with pytest.raises(DataError, match="1 GiB"):
        read_labels(tmp_path / "video.csv")


def test_names_that_no_folder_can_have_are_left_out_where_asked(label_file):
    """A downloader goes on with the other rows, and must be able to say which it left out."""
    refused = []
    rows = read_labels(label_file("label,id\nwave,a\n..,b\nwave,x/..\nwave,c\n"), refused)
    assert [row.video_id for row in rows] == ["a", "c"]
    assert [place for place, _ in refused] == ["labels.csv, line 3", "labels.csv, line 4"]
    assert all(reason.startswith(word) for (_, reason), word in zip(refused, ("label '..'", "id '..'"), strict=True))


def test_an_id_that_equals_the_folder_name_of_a_clip_is_an_error(label_file):
    with pytest.raises(DataError, match="lines 2 and 3"):
        read_labels(label_file(TIMED + "wave,a,1,2,train\nwave,a_000001_000002,,,train\n"))


def test_the_same_video_under_two_classes_is_no_mistake(label_file):
    assert len(read_labels(label_file("label,id\nwave,a\nbox,a\n"))) == 2


names = st.text(
    st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp", "Zs"), blacklist_characters="/\ufeff"), min_size=1
).filter(lambda name: not is_video(name))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            names,
            names.filter(lambda name: name not in (".", "..")),
            st.one_of(st.none(), st.tuples(st.floats(0, 9e5), st.floats(0.001, 1e4))),
            st.sampled_from(["train", "val", "test", ""]),
        ),
        min_size=1,
        max_size=5,
        unique_by=lambda row: row[1],
    )
)
def test_what_is_written_reads_back_the_same(tmp_path_factory, rows):
    """Ids, classes and times must be the same, to the last bit."""
    expected = []
    for label, youtube_id, span, split in rows:
        if label in (".", ".."):
            label = "dots"
        start, end = (span[0], span[0] + span[1]) if span else (None, None)
        video_id = youtube_id if start is None or end is None else clip_name(youtube_id, start, end)
        expected.append(LabelRow(label, video_id, split, youtube_id, start, end, 0))
    path = tmp_path_factory.mktemp("labels") / "labels.csv"
    path.write_text(label_text(expected))
    assert [row._replace(line=0) for row in read_labels(path)] == expected


@pytest.mark.parametrize("note", ["dark\nand shaky", "dark, but\nnot shaky\n\n", "dark\r\nshaky"])
def test_a_note_of_several_lines_hides_nothing(label_file, note):
    """Spreadsheets write such notes, and training ignores them."""
    rows = read_labels(label_file(f'label,note,id\nwave,"{note}",a\n\nwave,"{note}",b\n'))
    assert [row.video_id for row in rows] == ["a", "b"]


@pytest.mark.parametrize(
    ("row", "note"),
    [("wave,a ", "'a' and 'a '"), ("wave, a", "'a' and ' a'"), ('" wave",a', "'wave' and ' wave'"), ("wave,a", None)],
)
def test_a_row_repeated_but_for_spaces_is_shown_with_them(label_file, row, note):
    """Without the spaces the two lines look different in the file and alike in the message."""
    with pytest.raises(DataError, match="line 3 repeats line 2") as error:
        read_labels(label_file(f"label,id\nwave,a\n{row}\n"))
    assert ("spaces at the ends are ignored" in str(error.value)) == (note is not None)
    assert note is None or note in str(error.value)


@pytest.mark.parametrize("first", ["sep=,", "SEP=,", '"sep=,"', "\ufeffsep=,"])
def test_the_separator_line_of_a_spreadsheet_is_skipped(label_file, first):
    (row,) = read_labels(label_file(f"{first}\r\nlabel,id\r\nwave,a\r\n"))
    assert (row.label, row.video_id, row.line) == ("wave", "a", 3)
    with pytest.raises(DataError, match="the file is empty"):
        read_labels(label_file(f"{first}\r\n"))


@pytest.mark.parametrize("separator", [";", "\t", ","])
@pytest.mark.parametrize("named", [True, False])
def test_the_separator_is_that_of_the_header_whatever_the_first_line_names(label_file, separator, named):
    """A spreadsheet writes the separator of the country; an editor may have changed it since."""
    first = f"sep={separator if named else '|'}\r\n"
    (row,) = read_labels(label_file(f"{first}label{separator}id\r\nwave{separator}a\r\n"))
    assert (row.label, row.video_id, row.line) == ("wave", "a", 3)
