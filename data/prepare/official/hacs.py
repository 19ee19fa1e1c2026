"""HACS Clips v1.1.1: one CSV `classname,youtube_id,subset,start,end,label`.

Label 1 means that the clip shows the class, -1 that it does not.
"""

from pathlib import Path

from common.errors import DataError
from common.files import what_is_at
from common.text import quoted
from data.labels.csv_file import check_single
from data.labels.label_file import check_folder_name, parse_seconds, parse_split
from data.prepare.official.common import Official, annotation_folder, files_like, make_clip_row, table_of

COLUMNS = ("classname", "youtube_id", "subset", "start", "end", "label")
FILES = "HACS_clips*.csv"


def read_hacs(annotations: Path) -> Official:
    """Read the positive clips. Raises DataError."""
    path = annotations if what_is_at(annotations) == "file" else _find_file(annotation_folder(annotations, [FILES]))
    columns, lines = table_of(path, COLUMNS[:1])
    missing = [name for name in COLUMNS if name not in columns]
    if missing:
        raise DataError(f"{path}: no column {missing[0]}; the header of HACS Clips is {','.join(COLUMNS)}")
    check_single(path, columns, COLUMNS)
    places = [columns.index(name) for name in COLUMNS]
    official = Official({"HACS_clips_v1.1": []}, [path], class_counts=(200,))
    rows = official.rows["HACS_clips_v1.1"]
    for line, fields in lines:
        name, youtube_id, subset, start, end, label = (fields[place] for place in places)
        place = f"{path}, line {line}"
        if label in ("-1", "-1.0"):
            official.dropped.add("label -1: does not show the class", f"line {line}: {name} {youtube_id}")
        elif label in ("", "0"):
            official.dropped.add("no label", f"line {line}: {youtube_id}")
        elif label not in ("1", "1.0"):
            raise DataError(f"{place}: label {quoted(label)} is neither 1 nor -1")
        else:
            check_folder_name(name, "classname", place)
            check_folder_name(youtube_id, "youtube_id", place)
            times = parse_seconds(start, "start", place), parse_seconds(end, "end", place)
            if times[1] <= times[0]:
                official.dropped.add("the clip ends before it starts", f"line {line}: {youtube_id} {start}-{end} s")
                continue
            split = parse_split(subset, place)
            if not split:
                raise DataError(f"{place}: the subset is empty; it is training, validation or testing")
            rows.append(make_clip_row(name, youtube_id, times, split, line))
    return official


def _find_file(folder: Path) -> Path:
    paths = [path for path in files_like(folder, FILES) if COLUMNS[0] in table_of(path, COLUMNS[:1])[0]]
    if len(paths) != 1:
        names = ", ".join(path.name for path in paths) or f"none whose header is {','.join(COLUMNS)}"
        raise DataError(f"{folder}: expected one {FILES}, found {names}; give the file itself")
    return paths[0]
