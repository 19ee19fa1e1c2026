"""Label files as other programs write them. What is understood is shown, and means what the file says."""

import codecs
import re

import pytest

from common.errors import DataError
from data.labels.label_file import label_text, read_labels, read_labels_and_notes

ROWS = [("wave", "a", "train", 1.5, 3.0), ("box", "b", "val", 62.25, 3723.0)]
TIMES = {"1.5": "00:01.5", "3.0": "0:00:03", "62.25": "1:02.25", "3723.0": "1:02:03"}


@pytest.fixture
def label_file(tmp_path):
    def write(content: str | bytes):
        path = tmp_path / "labels.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def fields(path):
    return [(row.label, row.youtube_id, row.split, row.time_start, row.time_end) for row in read_labels(path)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("clock", [False, True])
def test_the_same_rows_in_any_form(label_file, encoding, separator, clock):
    """Excel writes semicolons in half of Europe, and UTF-16 with tabs as its text."""
    lines = [["Action", "File Size", "ID", "Start", "Stop Time", "Subset"]]
    for label, name, split, *times in ROWS:
        shown = [TIMES[str(time)] if clock else str(time) for time in times]
        shown = [text.replace(".", ",") if separator != "," else text for text in shown]
        lines.append([label, "7", name, *shown, split])
    text = "\r\n".join(separator.join(line) for line in lines) + "\r\n"
    mark = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}.get(encoding, b"")
    path = label_file(mark + text.encode(encoding))
    assert fields(path) == ROWS
    (note,) = read_labels_and_notes(path).notes
    assert ("UTF-16" in note) == encoding.startswith("utf-16")
    assert ("between columns" in note) == (separator != ",")
    for word in ("'action'", "'id'", "'start', 'stop time' (seconds)", "'subset'", "1 column (file size)"):
        assert word in note


@pytest.mark.parametrize(
    "content",
    [
        '"label";"id"\n"a;b";"c,d"\n',
        'label;"id"\n"a;b";c,d\n',
        'label\t"note; with, all\tof them"\tid\na;b\tx\tc,d\n',
        '"label","id;x","id"\na;b,,"c,d"\n',
        "sep=;\nlabel;id\n\"a;b\";c,d\n",
        "\n\n  \nlabel;id\n\n\"a;b\";c,d\n",
        'id;"two\nlines";label\nc,d;x;"a;b"\n',
    ],
)  # fmt: skip
def test_separators_within_quotes_are_letters(label_file, content):
    (row,) = read_labels(label_file(content))
    assert (row.label, row.video_id) == ("a;b", "c,d")


def test_a_header_that_fits_with_commas_is_read_with_them(label_file):
    """As before: columns that are not read may have any name."""
    (row,) = read_labels(label_file("id,x;label;y;z;id;u,label\na,b;c;d;e;f,wave\n"))
    assert (row.label, row.video_id) == ("wave", "a")


@pytest.mark.parametrize("content", ["label\nwave\n", "id\na\n", "filename;\na;\n", "label;\nwave;\n", "x\n", ";;\n"])
def test_one_column_alone_is_no_label_file(label_file, content):
    with pytest.raises(DataError, match="no column"):
        read_labels(label_file(content))


@pytest.mark.parametrize(
    ("header", "row", "label", "video", "split", "unread"),
    [
        ("class,name", "wave,a", "wave", "a", "", []),
        ("Action,FILE", "wave,a", "wave", "a", "", []),
        ("action,class,label,id", "x,y,wave,a", "wave", "a", "", ["action", "class"]),
        ("action,class,video", "x,wave,a", "wave", "a", "", ["action"]),
        ("label,name,path,file,filename,video_id,video", "wave,t,u,v,w,x,a", "wave", "a", "", ["name", "video_id"]),
        ("label,name,path,file,filename", "wave,t,u,v,a", "wave", "a", "", ["name", "path", "file"]),
        ("label,video,id,youtube_id", "wave,x,y,a", "wave", "a", "", ["video", "id"]),
        ("label,id,subset,split", "wave,a,val,train", "wave", "a", "train", ["subset"]),
        ("label,id,Subset", "wave,a,Validation", "wave", "a", "val", []),
        ("label,id,subset", "wave,a,children", "wave", "a", "", ["subset", "'children'"]),
    ],
)
def test_the_first_of_several_columns_is_taken_and_the_others_are_named(
    label_file, header, row, label, video, split, unread
):
    """Label files that were read before have `label`, `id` and `split`: they mean the same."""
    path = label_file(f"{header}\n{row}\n")
    (found,), notes = read_labels_and_notes(path)
    assert (found.label, found.video_id, found.split) == (label, video, split)
    assert all(name in notes[0].partition("not read")[2] for name in unread)
    assert unread or "not read" not in "".join(notes)


@pytest.mark.parametrize(
    ("written", "video_id", "source"),
    [
        ("clip", "clip", ""),
        ("clip.mp4", "clip", "clip.mp4"),
        ("clip.MOV", "clip", "clip.MOV"),
        ("waving/a/clip.mp4", "clip", "waving/a/clip.mp4"),
        ("waving\\a\\clip.mp4", "clip", "waving/a/clip.mp4"),
        ("./clip", "clip", ""),
        ("./a//clip.avi", "clip", "a/clip.avi"),
        ("/data/waving/clip.mp4", "clip", "data/waving/clip.mp4"),
        ("C:\\data\\clip.mp4", "clip", "C:/data/clip.mp4"),
        ("../../etc/passwd", "passwd", "../../etc/passwd"),
        ("frames/clip/", "clip", "frames/clip"),
        ("v1.2", "v1.2", ""),
        ("a.b/v1.2", "v1.2", "a.b/v1.2"),
        ("a.mp4.mp4", "a.mp4", "a.mp4.mp4"),
        (".mp4", ".mp4", ""),
        ("...mp4", "...mp4", ""),
        ("._a.mp4", "._a.mp4", ""),
    ],
)
@pytest.mark.parametrize("column", ["id", "path"])
def test_the_id_is_the_last_part_of_a_path_without_a_suffix_of_videos(label_file, column, written, video_id, source):
    path = label_file(f"label,{column}\nwave,{written}\n")
    (row,) = read_labels(path)
    assert (row.video_id, row.youtube_id, row.source) == (video_id, video_id, source)
    assert read_labels(label_file(label_text([row]))) == [row], "a file that was written of it says the same"


def test_a_backslash_in_an_id_that_is_no_path_stays(label_file):
    """Such names were read before; a column named path holds paths."""
    assert read_labels(label_file("label,id\nwave,a\\b\n"))[0].video_id == "a\\b"
    assert read_labels(label_file("label,path\nwave,a\\b\n"))[0].source == "a/b"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0:00", 0),
        ("75:30", 4530),
        ("01:02.5", 62.5),
        ("1:02:03.001", 3723.001),
        ("100:00:00", 360000),
        ("0:00.29", 0.29),
    ],
)
def test_times_as_a_clock_shows_them(label_file, text, seconds):
    """Sums of binary fractions would differ in the last bit, and so would the times in the database."""
    (row,) = read_labels(label_file(f"label,id,begin,end\nwave,a,{text},999999\n"))
    assert row.time_start == seconds


@pytest.mark.parametrize(
    "text", ["1:5", "1:60", "1:60:00", "1:2:03", "-1:00", "1:00:00:00", ":30", "1:", "1:00,5", "1,5", "1 :00", "٣:00"]
)
def test_what_is_no_time_is_an_error(label_file, text):
    """Hours, minutes, seconds and frames: nobody knows which part is which."""
    with pytest.raises(DataError, match=r"line 2: begin .* is not a time in seconds"):
        read_labels(label_file(f'label,id,begin,end\nwave,a,"{text}",999999\n'))


@pytest.mark.parametrize(
    "pair",
    [
        "start,end", "time_start,time_end", "Start_Time,t_end", "begin,stop", "start (s),end [sec]",
        "clip_start,clip_end", "start_time,end", "starttime,endtime", "segment start,segment end",
        "start_sec.,end_secs", "t-start,time-stop",
        "Begin Time - ss.msec,End Time - ss.msec",
        "Begin Time - hh:mm:ss.ms,End Time - hh:mm:ss.ms",
    ],
)  # fmt: skip
def test_columns_that_are_certain_to_hold_times_are_read(label_file, pair):
    (row,) = read_labels(label_file(f"label,id,{pair}\nwave,a,1.5,2.5\n"))
    assert (row.video_id, row.time_start, row.time_end) == ("a_000001_000002", 1.5, 2.5)


def test_the_columns_of_elan_are_read_once(label_file):
    names = [f"{edge} Time - {unit}" for edge in ("Begin", "End") for unit in ("hh:mm:ss.ms", "ss.msec", "msec")]
    header = "\t".join(["label", "id", *names, "Duration - ss.msec"])
    path = label_file(f"{header}\nwave\ta\t00:00:01.500\t1.5\t1500\t00:00:02.500\t2.5\t2500\t1\n")
    (row,), (note,) = read_labels_and_notes(path)
    assert (row.time_start, row.time_end) == (1.5, 2.5)
    assert "5 columns" in note and "'begin time - ss.msec', 'end time - ss.msec' (seconds)" in note


@pytest.mark.parametrize("pair", ["start_frame,end_frame", "Frame Start,frame_end", "start_frame,stop_frame"])
def test_frames_in_place_of_seconds(label_file, pair):
    path = label_file(f"label,id,{pair}\nwave,a,12,34.0\nwave,b,,\n")
    (row, whole), notes = read_labels_and_notes(path)
    assert (row.video_id, row.youtube_id, row.frames) == ("a_f000012_f000034", "a", (12, 34))
    assert (row.time_start, row.time_end, whole.frames, whole.video_id) == (None, None, None, "b")
    assert "from 0; the end is not included" in notes[0] and "1 of 2 rows" in notes[1]
    assert [each._replace(line=0) for each in read_labels(label_file(label_text([row, whole])))] == [
        row._replace(line=0),
        whole._replace(line=0),
    ]


def test_a_file_of_the_projects_own_form_needs_no_line(label_file):
    text = "label,youtube_id,time_start,time_end,split\nwave,a,1,2,train\n"
    assert read_labels_and_notes(label_file(text)).notes == []
    (line,) = read_labels_and_notes(label_file(text.replace("\n", ",x\n"))).notes
    assert line.endswith("labels.csv: not read: 1 column (x)")
    (line,) = read_labels_and_notes(label_file("label,id\nwave,a.mp4\nwave,b\n")).notes
    assert "1 row" in line and "'id'" in line


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        ("id,file,label", ["1,5.mp4,clap", "2,10.mp4,wave"]),
        ("id,video,label", ["1,/data/upload/1.mp4,clap", "2,/data/upload/9.mp4,wave"]),
        ("id,Video,label", ["1,2,clap", "2,1,wave"]),
        ("video,path,label", ["1,run/2.mp4,clap", "2,run/1.mp4,wave"]),
        ("id,video_file,label", ["1,2.mp4,clap", "2,1.mp4,wave"]),
        ("label,youtube_id,filename", ["clap,abc,abd.mp4"]),
    ],
)
def test_two_columns_that_name_different_videos_are_refused(label_file, header, rows):
    """An `id` that numbers the rows would give each video 1.mp4 to 12.mp4 the class of another."""
    with pytest.raises(DataError, match=r"line [23]: the columns .* and .* name different videos, .*: remove"):
        read_labels(label_file("\n".join([header, *rows, ""])))


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        ("id,file,label", ["a,run/a.mp4,clap", "B,v_b.AVI,wave", "c,,wave"]),
        ("youtube_id,filename,start,end,label", ["abc,abc_000001_000003.mp4,1,3,clap", "abd,,1,3,wave"]),
        ("id,file,label", ["a_000001_000003,whole/a.mp4,clap"]),
        ("id,path,label", ["a,https://x.org/watch?v=1.mp4,clap"]),
        ("id,path,label", ["1,run/,clap", "2,walk/,wave"]),
        ("id,name,label", ["1,Ann,clap", "2,Ben,wave"]),
        ("id,source,label", ["1,DSC9.MP4,clap", "2,DSC7.MP4,wave"]),
    ],
)
def test_other_columns_that_do_not_contradict_the_ids_are_no_mistake(label_file, header, rows):
    """Cameras, titles, folders, the file that a clip was cut from: such tables were read before."""
    assert len(read_labels(label_file("\n".join([header, *rows, ""])))) == len(rows)


@pytest.mark.parametrize(
    ("header", "unit", "refused"),
    [
        ("start,end,unit", "frames", True),
        ("start,end,unit", "Frame", True),
        ("time_start,time_end,time_unit", "ms", True),
        ("start_frame,end_frame,units", "seconds", True),
        ("start,end,unit", "frame_number", True),
        ("start,end,unit_of_time", "Frames (0-based)", True),
        ("start,end,segment_unit", "video frames", True),
        ("start_frame,end_frame,unit", "time in seconds", True),
        ("start,end,unit", "frame assembly", False),
        ("start,end,unit", "Room F", False),
        ("start,end,business_unit", "us", False),
        ("start_frame,end_frame,unit", "second video", False),
        ("start,end,unit", "sec.", False),
        ("start,end,unit", "", False),
        ("start,end,unit", "kitchen", False),
        ("start_frame,end_frame,unit", "frames", False),
    ],
)
def test_a_column_that_says_another_unit_is_not_passed_over(label_file, header, unit, refused):
    """Frames 10 to 25 would be cut from 10 to 25 seconds."""
    path = label_file(f"label,video,{header}\nrun,a.mp4,10,25,{unit}\n")
    if not refused:
        assert len(read_labels(path)) == 1
        return
    with pytest.raises(DataError, match=f"line 2: .* says '{re.escape(unit)}'.*start_frame"):
        read_labels(path)


@pytest.mark.parametrize(
    ("header", "end", "said"),
    [
        ("start,end,fps", "25", True),
        ("start,end,video_fps", "25", True),
        ("start,end,frames_per_second", "25", True),
        ("start,end,frames_per_shot", "25", False),
        ("start,end,fps", "25.5", False),
        ("time_start,time_end,fps", "25", False),
    ],
)
def test_whole_numbers_beside_a_rate_may_be_frames(label_file, header, end, said):
    """Tools that export frame numbers give the rate beside them."""
    notes = read_labels_and_notes(label_file(f"label,video,{header}\nrun,a.mp4,10,{end},30\n"))[1]
    assert any("if they are frames" in note for note in notes) == said
