"""Kinetics-400, -600, -700: CSV files `label,youtube_id,time_start,time_end,split[,is_cc]`; and Mini-Kinetics-200."""

import re
from collections import defaultdict
from pathlib import Path

from common.errors import DataError
from common.files import what_is_at
from data.labels.csv_file import check_single, read_lines
from data.labels.label_file import SPLITS, LabelRow, check_folder_name, parse_seconds, parse_split
from data.prepare.official.common import Dropped, Official, annotation_folder, files_like, make_clip_row, table_of

VARIANTS = (200, 400, 600, 700)
CLIP_COLUMNS = ("youtube_id", "time_start", "time_end")
ID_LISTS = {"train": "train_ytid_list.txt", "val": "val_ytid_list.txt"}


def read_kinetics(annotations: Path, variant: int | None) -> Official:
    """Read the clips of one variant, by default the one in the file and folder names. Raises DataError."""
    paths, notes = _clip_files(annotations)
    told = {path: _variant_of(path) for path in paths}
    if variant is None:
        variants = {number for number in told.values() if number is not None}
        if len(variants) != 1 or None in told.values():
            names = " and ".join(f"Kinetics-{number}" for number in sorted(variants)) or "nothing"
            raise DataError(
                f"{annotations}: which variant of Kinetics is this? The names of its files and their folder say "
                f"{names}{'' if None not in told.values() or not variants else ' for some'}; "
                "give --variant 200, 400, 600 or 700"
            )
        (variant,) = variants
    chosen = [path for path in paths if told[path] in (None, variant)]
    if not chosen:
        raise DataError(f"{paths[0]} is of Kinetics-{told[paths[0]]} by its name, not of --variant {variant}")
    notes += [f"{path.name} not read: it is of Kinetics-{told[path]}" for path in paths if path not in chosen]
    assert variant is not None
    official = Official({f"kinetics-{variant}": []}, chosen, class_counts=(variant,), notes=notes)
    for path in chosen:
        official.rows[f"kinetics-{variant}"] += _read_clips(path, official.dropped)
    return official


def read_mini_kinetics(annotations: Path, kinetics400: Path) -> Official:
    """Join the id lists of Mini-Kinetics-200 with the clips of Kinetics-400. Raises DataError."""
    folder = annotation_folder(annotations, list(ID_LISTS.values()))
    paths, notes = _clip_files(kinetics400)
    clips: defaultdict[str, dict[str, LabelRow]] = defaultdict(dict)
    for path in paths:
        for row in _read_clips(path, Dropped()):
            clips[row.youtube_id].setdefault(f"{row.label}/{row.video_id}", row)
    official = Official({"kinetics-200": []}, [*paths], class_counts=(200,), notes=notes)
    candidates: list[tuple[str, str, list[LabelRow]]] = []
    for split, name in ID_LISTS.items():
        if what_is_at(folder / name) != "file":
            official.notes.append(f"{folder} holds no {name}")
            continue
        official.sources.append(folder / name)
        for youtube_id in dict.fromkeys(youtube_id for _, youtube_id in read_lines(folder / name)):
            rows = list(clips.get(youtube_id, {}).values())
            candidates.append((split, youtube_id, [row for row in rows if row.split == split] or rows))
    _choose_clips(candidates, official)
    if not official.rows["kinetics-200"]:
        raise DataError(
            f"none of the {len(candidates)} ids of {folder} is in {', '.join(map(str, paths))}; are they the CSV files "
            "of Kinetics-400, training and validation?"
        )
    return official


def _choose_clips(candidates: list[tuple[str, str, list[LabelRow]]], official: Official) -> None:
    """Add the clips of the candidates (split, id, rows of that id) to the result.

    Some ids have clips of several classes. Of these, only clips of the dataset's classes are kept; ids with clips of
    one class tell which classes these are.
    """
    classes = {rows[0].label for _, _, rows in candidates if len({row.label for row in rows}) == 1}
    several = 0
    for split, youtube_id, rows in candidates:
        if not rows:
            official.dropped.add(f"{split} id that is in no file of Kinetics-400", youtube_id)
        kept = [row for row in rows if row.label in classes] or rows
        several += len(kept) > 1
        for row in rows:
            if row in kept:
                official.rows["kinetics-200"].append(row._replace(split=split))
            else:
                official.dropped.add("clip of another class of an id with several clips", f"{row.label} {row.video_id}")
    if several:
        official.notes.append(f"{several} ids have more than one clip in Kinetics-400: all of them are written")


def _clip_files(annotations: Path) -> tuple[list[Path], list[str]]:
    """The CSV files that list clips, and notes on those that do not."""
    single = what_is_at(annotations) == "file"
    paths = [annotations] if single else files_like(annotation_folder(annotations, ["*.csv"]), "*.csv")
    lists = [path for path in paths if set(CLIP_COLUMNS) <= set(table_of(path, CLIP_COLUMNS)[0])]
    if not lists:
        raise DataError(
            f"{paths[0]}{'' if single else ' and the other CSV files beside it'}: the header of a Kinetics file is "
            f"label,{','.join(CLIP_COLUMNS)},split"
        )
    return lists, [f"{path.name} not read: it lists no clips" for path in paths if path not in lists]


def _variant_of(path: Path) -> int | None:
    """The variant in a file's name, or else in its folder's name."""
    for name in (path.name, path.resolve().parent.name):
        variants = set(re.findall(r"k(?:inetics)?[-_ ]?(200|400|600|700)(?!\d)", name.lower()))
        if len(variants) == 1:
            return int(variants.pop())
    return None


def _read_clips(path: Path, dropped: Dropped) -> list[LabelRow]:
    columns, lines = table_of(path, CLIP_COLUMNS)
    check_single(path, columns, ("label", *CLIP_COLUMNS, "split"))
    youtube_id_at, start_at, end_at = (columns.index(name) for name in CLIP_COLUMNS)
    label_at = columns.index("label") if "label" in columns else None
    split_at = columns.index("split") if "split" in columns else None
    named = re.search(r"train|val|test", path.stem.lower())
    rows: list[LabelRow] = []
    for line, fields in lines:
        place = f"{path}, line {line}"
        youtube_id, start, end = fields[youtube_id_at], fields[start_at], fields[end_at]
        label = "" if label_at is None else fields[label_at]
        split = parse_split(fields[split_at], place) if split_at is not None else ""
        if not split and named is None:
            raise DataError(f"{place}: neither a column split nor the file's name says which split this is")
        split = split or SPLITS[named.group()] if named else split
        if not label:
            dropped.add(f"{split} row without a label", f"{path.name}, line {line}: {youtube_id}")
            continue
        check_folder_name(label, "label", place)
        check_folder_name(youtube_id, "youtube_id", place)
        times = parse_seconds(start, "time_start", place), parse_seconds(end, "time_end", place)
        if times[1] <= times[0]:
            dropped.add("the clip ends before it starts", f"{path.name}, line {line}: {youtube_id} {start}-{end} s")
            continue
        rows.append(make_clip_row(label, youtube_id, times, split, line))
    return rows
